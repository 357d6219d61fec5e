"""Whether samples or alleles of an imputed file and its truth are exchanged: told by evidence, never repaired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from vcfrag_core.errors import VcfragError
from vcfrag_core.files.dosages import sites_present
from vcfrag_core.files.tables.sites import SiteKey, label
from vcfrag_core.scoring.accuracy import MISSING
from vcfrag_core.targets.evenly import evenly
from vcfrag_core.targets.sites.orientation import codings
from vcfrag_core.types import BoolArray, F32Array, F64Array, FloatArray, I8Array

# Common sites of each contig at which samples are compared. Fewer over all contigs than the least tell nothing, nor
# does so short a stretch that many people share it: sound samples that were imputed badly look exchanged there.
_MAX_SITES: Final = 512
_MIN_SITES: Final = 40
_MIN_BASES: Final = 500_000
_COMMON: Final = 0.05
# Samples that fit their own truth worst, of whom others are looked for.
_MAX_LOOKED_AT: Final = 256
_LEAST_OTHER: Final = 0.7
_LEAST_GAIN: Final = 0.4
# Whoever is homozygous for one allele and should be for the other, in samples, and how many more than agree.
_MIN_OPPOSITE: Final = 10
_OPPOSITE_SHARE: Final = 4
_CELLS_AT_ONCE: Final = 4_000_000
_NAMED: Final = 3


class Exchanged:
    """Gathers, contig by contig, how the dosages of each sample and each site agree with the truth."""

    def __init__(self) -> None:
        self._dosages: list[F32Array] = []
        self._truths: list[F32Array] = []
        self._same = self._opposite = 0.0
        self._sites: list[str] = []
        self._n_sites = self._n_bases = 0

    def add(
        self, dosage: FloatArray, truth: I8Array, frequency: F64Array, keys: Sequence[SiteKey], contig: str
    ) -> None:
        """Takes a contig.

        Args:
            dosage: (V, S) imputed ALT copies.
            truth: (V, S) true ones, -1 missing.
            frequency: (V,) of the reference.
            keys: V sites.
            contig: Their contig.
        """
        common = evenly(np.flatnonzero(np.minimum(frequency, 1 - frequency) >= _COMMON), _MAX_SITES)
        mean = (2 * frequency[common, None]).astype(np.float32)
        called = truth[common] != MISSING
        self._dosages.append(np.where(called, dosage[common] - mean, 0).astype(np.float32))
        self._truths.append(np.where(called, truth[common] - mean, 0).astype(np.float32))
        step = max(1, _CELLS_AT_ONCE // truth.shape[1])
        for start in range(0, len(truth), step):
            some = slice(start, start + step)
            agreement = np.where(truth[some] == MISSING, 0, (dosage[some] - 1) * (truth[some] - 1.0))
            same, opposite = np.maximum(agreement, 0).sum(axis=1), np.maximum(-agreement, 0).sum(axis=1)
            self._same += float(same.sum())
            self._opposite += float(opposite.sum())
            told = np.flatnonzero((opposite >= _MIN_OPPOSITE) & (opposite >= _OPPOSITE_SHARE * same))
            self._sites += [label(contig, keys[start + i]) for i in told.tolist()]
        self._n_sites += len(truth)
        self._n_bases += keys[-1][0] - keys[0][0]

    def warnings(self, samples: Sequence[str]) -> tuple[str, ...]:
        """What to say of it, a line for the samples and one for the alleles.

        Args:
            samples: S names.
        """
        return (*_of_samples(self.others(), samples), *self._of_alleles())

    def others(self) -> list[tuple[int, int, float, float]]:
        """Samples whose dosages fit another sample's truth far better than their own.

        Returns:
            Of each the sample, the other, and the correlations with its own and with the other's truth. The other's
            own dosages fit its truth no better: who is alike by chance is nobody's exchange.
        """
        if sum(map(len, self._dosages)) < _MIN_SITES or self._n_bases < _MIN_BASES:
            return []
        # Sums of squares of each sample, and products with the truth of its own.
        squares = np.sqrt(sum((d * d).sum(axis=0, dtype=np.float64) for d in self._dosages))
        true_squares = np.sqrt(sum((t * t).sum(axis=0, dtype=np.float64) for t in self._truths))
        both = list(zip(self._dosages, self._truths, strict=True))
        own = sum((d * t).sum(axis=0, dtype=np.float64) for d, t in both)
        own = own / np.maximum(squares * true_squares, 1e-9)
        looked_at = np.argsort(own, kind="stable")[:_MAX_LOOKED_AT]
        every = sum((d[:, looked_at].T @ t).astype(np.float64) for d, t in both)
        every = every / np.maximum(squares[looked_at, None] * true_squares, 1e-9)
        best = every.argmax(axis=1)
        found = []
        for i, (sample, other) in enumerate(zip(looked_at.tolist(), best.tolist(), strict=True)):
            mine, others = float(own[sample]), float(every[i, other])
            if others >= max(_LEAST_OTHER, mine + _LEAST_GAIN) and own[other] < others:
                found.append((sample, other, mine, others))
        return found

    def _of_alleles(self) -> Iterator[str]:
        look = "look at REF, ALT and the strand of both files"
        if self._opposite > self._same:
            yield (
                "over all sites most homozygotes of one file are homozygous for the other allele in the other: are"
                f" REF and ALT exchanged in the calls of one? {look}"
            )
        elif self._sites:
            more = f" and {len(self._sites) - _NAMED:,} more" if len(self._sites) > _NAMED else ""
            yield (
                f"at {len(self._sites):,} of {self._n_sites:,} sites homozygotes of one file are homozygous for the"
                f" other allele in the truth, as where REF and ALT are exchanged: {', '.join(self._sites[:_NAMED])}"
                f"{more}; {look}"
            )


def _of_samples(found: Sequence[tuple[int, int, float, float]], samples: Sequence[str]) -> Iterator[str]:
    if found:
        named = "; ".join(
            f"{samples[sample]} (r {mine:.2f}) is rather {samples[other]} (r {others:.2f})"
            for sample, other, mine, others in found[:_NAMED]
        )
        more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        yield (
            f"the dosages of {len(found)} of {len(samples)} samples fit another sample's truth far better than their"
            f" own: {named}{more}. Are the names of one file exchanged?"
        )


def recoded_words(
    path: Path, contig: str, rows: Mapping[SiteKey, int], found: BoolArray, *, threads: int = 1, split: bool = False
) -> str:
    """How many of the sites that a file lacks it has with other alleles, for the refusal; nothing where it has none.

    Args:
        path: VCF or BCF.
        contig: Name of the contig.
        rows: Row of each wanted site.
        found: (V,) which of them the file has.
        threads: Threads that decompress.
        split: See `sites_present`.
    """
    absent = [key for key, row in rows.items() if not found[row]]
    others = [(key, (key[0], *pair)) for key in absent for pair in codings(*key[1:]) - {key[1:]}]
    others = [(key, other) for key, other in others if other not in rows]
    asked = {other: row for row, other in enumerate(dict.fromkeys(other for _, other in others))}
    try:
        there = sites_present(path, contig, asked, threads=threads, split=split)
    except VcfragError:
        return ""
    has = [(key, other) for key, other in others if there[asked[other]]]
    exchanged = {key for key, other in has if other[1:] == key[:0:-1]}
    flipped = {key for key, _ in has} - exchanged
    said = [f"{len(exchanged):,} of them with REF and ALT exchanged"] if exchanged else []
    said += [f"{len(flipped):,} of them on the other strand"] if flipped else []
    return f"; it has {' and '.join(said)}, which `bcftools +fixref` puts right" if said else ""
