"""The calls of a panel's records, checked and packed; they say which samples have one haplotype."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import NoReturn

import numpy as np

from vcfrag_core.errors import MissingAlleleError, NotVcfError, PloidyError, UnphasedError
from vcfrag_core.panel.growing_bits import GrowingBits
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.storage import HaplotypeBits
from vcfrag_core.types import BoolArray, I32Array

# BCF codes of a call, see files.vcf.reader.raw_calls.
_MISSING = 1
_REF = 2
_ALT = 4
_MAX_CODE = 5
_PHASED_BIT = 1
_NO_ALLELE = -2147483647

_BLOCK_BYTES = 16 << 20


class MissingRule(enum.StrEnum):
    """What a missing allele of a panel is taken for."""

    REFUSE = "refuse"
    REFERENCE = "reference"


def in_pairs(calls: I32Array) -> I32Array:
    """(S, 2) codes of (S, 1) or (S, 2) ones: nobody has a second allele where there is one column."""
    if calls.shape[1] != 1:
        return calls
    return np.concatenate([calls, np.full_like(calls, _NO_ALLELE)], axis=1)


def with_one_alt(calls: I32Array, number: int) -> I32Array:
    """The codes as a record with this ALT alone has them: any other allele counts as REF."""
    allele = (calls >> 1) - 1
    codes = np.where(allele == number, _ALT, _REF) | (calls & _PHASED_BIT)
    return np.where((calls == _NO_ALLELE) | (allele < 0), calls, codes).astype(np.int32)


def highest_allele(calls: I32Array) -> int:
    """The highest allele number of the codes; -1 where all are missing."""
    return (int(calls.max()) >> 1) - 1


class _HaploidPattern:
    """Which samples have one haplotype, as the records of a stretch tell; a lone `.` says nothing, nor does `./.`."""

    def __init__(self, n_samples: int) -> None:
        self.is_haploid = np.zeros(n_samples, dtype=np.bool_)
        self._is_known = np.zeros(n_samples, dtype=np.bool_)
        self._all_diploid = False

    def holds(self, calls: I32Array) -> bool:
        """Whether nobody has another number of alleles in (S, 2) codes than before; if so, they are learnt."""
        if self._all_diploid and int(calls.min()) >= 0:
            return True
        if bool(self._differs(calls).any()):
            return False
        self._learn(calls)
        return True

    def _differs(self, calls: I32Array) -> BoolArray:
        """(S,) samples with another number of alleles than before."""
        lone, called = calls[:, 1] == _NO_ALLELE, calls[:, 0] > _MISSING
        return np.asarray(called & self._is_known & (lone != self.is_haploid))

    def _learn(self, calls: I32Array) -> None:
        called = calls[:, 0] > _MISSING
        self.is_haploid |= called & (calls[:, 1] == _NO_ALLELE)
        self._is_known |= called
        self._all_diploid = bool(self._is_known.all()) and not self.is_haploid.any()


class PanelCalls:
    """The calls of one stretch, checked and packed in blocks of records.

    Args:
        path: The file, for messages.
        samples: S names.
        missing: What missing alleles are taken for.
        scratch: See `GrowingBits`.

    Attributes:
        missing_as_reference: Missing alleles that were taken for REF.
    """

    def __init__(self, path: Path, samples: tuple[str, ...], missing: MissingRule, scratch: Path | None = None) -> None:
        self._path, self._samples, self._rule = path, samples, missing
        n_records = max(8, _BLOCK_BYTES // (8 * len(samples)) // 8 * 8)
        self._block: I32Array = np.empty((n_records, 2 * len(samples)), dtype=np.int32)
        self._labels: list[str] = []
        self._pattern = _HaploidPattern(len(samples))
        self._bits = GrowingBits(2 * len(samples), scratch)
        self.missing_as_reference = 0

    def take(self, calls: I32Array, label: str) -> bool:
        """Takes (S, 2) codes, unless somebody has another number of alleles than before; says whether it did."""
        if not self._pattern.holds(calls):
            return False
        self._block[len(self._labels)] = calls.reshape(-1)
        self._labels.append(label)
        if len(self._labels) == len(self._block):
            self._flush()
        return True

    def finish(self) -> tuple[Ploidy, HaplotypeBits]:
        """Whose haplotypes are whose, and the alleles of all records."""
        self._flush()
        ploidy = Ploidy.of(np.where(self._pattern.is_haploid, 1, 2))
        bits = self._bits.finish()
        return ploidy, bits if ploidy.is_diploid else bits.select_rows(np.flatnonzero(ploidy.in_pairs))

    def _flush(self) -> None:
        """Packs the block's records; only the last block may hold a number that is no multiple of 8."""
        block = self._block[: len(self._labels)]
        if block.size:
            self._check(block)
            self._bits.append(block >= _ALT)
        self._labels.clear()

    def _check(self, block: I32Array) -> None:
        """Refuses what is wrong; replaces missing alleles in place where that is the rule."""
        highest = int(block.max())
        if int(block.min()) >= _REF and highest <= _MAX_CODE and bool((block[:, 1::2] & _PHASED_BIT).all()):
            return
        calls = block.reshape(len(block), -1, 2)
        if highest > _MAX_CODE:
            record = int(np.flatnonzero((block > _MAX_CODE).any(axis=1))[0])
            refuse_allele(calls[record], 1, self._path, self._labels[record], self._samples)
        self._check_missing(calls)
        # The code of no allele has the bit of phase.
        unphased = (calls[:, :, 1] & _PHASED_BIT) == 0
        self._refuse_unphased(unphased & (calls[:, :, 0] >> 1 != calls[:, :, 1] >> 1))

    def _check_missing(self, calls: I32Array) -> None:
        missing = calls >> 1 == 0
        # A lone `.` is a missing call of any ploidy.
        missing[:, :, 1] |= (calls[:, :, 1] == _NO_ALLELE) & ~self._pattern.is_haploid
        if not bool(missing.any()):
            return
        if self._rule is MissingRule.REFUSE:
            here = missing.any(axis=2)
            record = int(np.flatnonzero(here.any(axis=1))[0])
            raise MissingAlleleError(
                f"has a missing allele, as {here[record].sum()} of {len(self._samples)} samples here; a reference panel"
                " must be complete: leave such records out with `bcftools view -g ^miss`, have them imputed first, or"
                " take every missing allele for REF with --panel-missing reference",
                **self._where(record, here[record]),
            )
        self.missing_as_reference += int(missing.sum())
        calls[missing] = _REF | _PHASED_BIT

    def _refuse_unphased(self, unphased: BoolArray) -> None:
        if not bool(unphased.any()):
            return
        record = int(np.flatnonzero(unphased.any(axis=1))[0])
        raise UnphasedError(
            f"is not phased, as {unphased[record].sum()} of {len(self._samples)} samples here; phase the panel first"
            " (Beagle, SHAPEIT, Eagle)",
            **self._where(record, unphased[record]),
        )

    def _where(self, record: int, samples: BoolArray) -> dict[str, str]:
        sample = self._samples[int(np.flatnonzero(samples)[0])]
        return {"path": str(self._path), "record": self._labels[record], "sample": sample}


def refuse_ploidy(calls: I32Array, path: Path, label: str, samples: tuple[str, ...]) -> NoReturn:
    """
    Raises:
        PloidyError: Somebody has more than two alleles; names the first.
    """
    n_alleles = (calls != _NO_ALLELE).sum(axis=1)
    sample = int(np.argmax(n_alleles))
    raise PloidyError(
        f"has {n_alleles[sample]} alleles; haploid and diploid panels can be used",
        path=path,
        record=label,
        sample=samples[sample],
    )


def refuse_allele(calls: I32Array, n_alts: int, path: Path, label: str, samples: tuple[str, ...]) -> NoReturn:
    """
    Raises:
        NotVcfError: Somebody has an allele that the record does not have; names the first.
    """
    sample = int(np.flatnonzero(((calls >> 1) - 1 > n_alts).any(axis=1))[0])
    raise NotVcfError("names an allele that the record does not have", path=path, record=label, sample=samples[sample])
