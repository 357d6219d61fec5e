"""Records as lines of a VCF.

A sample's columns follow from its one or two rounded haplotype dosages alone, of which there are 1001 x 1002: each
pair is put into words once, when it first occurs, and after that every cell is a table look-up.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vcfrag_core.output.genotypes import N_PAIRS, NONE, ONE, genotype_columns, pair_key, pair_of
from vcfrag_core.output.info import info_numbers
from vcfrag_core.output.records import OutputRecords, PassThroughRecord, lone_ds
from vcfrag_core.types import I64Array, IntArray

_DECIMAL = [(b"%d.%03d" % divmod(i, ONE)).rstrip(b"0").rstrip(b".") for i in range(2 * ONE + 1)]
_LOO = [b":" + text for text in _DECIMAL] + [b":."]
_CALLS = {(0, 0): b"0|0", (0, 1): b"0|1", (1, 0): b"1|0", (1, 1): b"1|1", (0, NONE): b"0", (1, NONE): b"1"}


class LineFormatter:
    """Makes the lines of a VCF, with the FORMAT fields asked for.

    The table of cells grows to at most about 100 MB, whatever the number of sites.
    """

    def __init__(self, formats: Sequence[str], *, x_male_dosage: int = 1) -> None:
        self._formats = tuple(name for name in formats if name != "LOO")
        self._with_loo = "LOO" in formats
        self._cells = {lone: np.full(N_PAIRS, None, dtype=np.object_) for lone in {1, x_male_dosage}}
        self._filled = {lone: np.zeros(N_PAIRS, dtype=np.bool_) for lone in self._cells}
        self._x_male_dosage = x_male_dosage

    def lines(self, records: OutputRecords) -> list[tuple[int, int, bytes]]:
        """(position, length of REF, line) of every record, by position; kept records after the panel's own."""
        heads, cells = self.heads(records, records.n_samples), self.cells(records)
        made = [(*head[:2], head[2] + words) for head, (words,) in zip(heads, cells, strict=True)]
        if records.kept:
            made += self.kept(records, records.n_samples)
            made.sort(key=lambda item: item[0])
        return made

    def heads(self, records: OutputRecords, n_samples: int) -> list[tuple[int, int, bytes]]:
        """(position, length of REF, all before the samples) of the panel's own records."""
        plain = ":".join(self._formats)
        with_loo = ":".join((*self._formats, "LOO"))
        made: list[tuple[int, int, bytes]] = []
        by_site = zip(records.positions.tolist(), info_numbers(records), records.typed.tolist(), strict=True)
        for i, (position, numbers, typed) in enumerate(by_site):
            ref = records.refs[i]
            info = ";".join([*(f"{k}={v}" for k, v in numbers.items()), "TYPED" if typed else "IMP"])
            names = with_loo if typed and self._with_loo and records.loo is not None else plain
            site = f"{records.contig}\t{position}\t{records.site_ids[i]}\t{ref}\t{records.alts[i]}"
            made.append((position, len(ref), f"{site}\t.\tPASS\t{info}\t{names}".encode()))
        return made

    def cells(self, records: OutputRecords, *, first: bool = True, last: bool = True) -> Iterator[tuple[bytes]]:
        """What stands of the samples in each of the panel's own records; the end of line follows the last of all."""
        end = b"\n" if last else b""
        for i, (words, typed) in enumerate(
            zip(self._sample_cells(records).tolist(), records.typed.tolist(), strict=True)
        ):
            if typed and self._with_loo and records.loo is not None:
                words = [cell + _LOO[loo] for cell, loo in zip(words, records.loo[i].tolist(), strict=True)]
            yield (b"\t%b%b" % (b"\t".join(words), end),)

    def kept(self, records: OutputRecords, n_samples: int) -> list[tuple[int, int, bytes]]:
        """(position, length of REF, line) of the records that are passed through."""
        if "GT" not in self._formats:
            return []
        return [(kept.position, len(kept.ref), _kept_line(records.contig, kept)) for kept in records.kept]

    def _sample_cells(self, records: OutputRecords) -> np.ndarray[Any, np.dtype[np.object_]]:
        """(L, S) words of the samples."""
        first, second = records.dosage[:, :, 0], records.dosage[:, :, 1]
        keys = pair_key(first, second)
        lone = lone_ds(records.contig, self._x_male_dosage)
        self._fill(keys, lone)
        cells = self._cells[lone][keys]
        if records.both is not None:
            dependent = records.both != NONE
            cells[dependent] = self._dependent(first[dependent], second[dependent], records.both[dependent])
        return cells

    def _dependent(self, first: IntArray, second: IntArray, both: IntArray) -> np.ndarray[Any, np.dtype[np.object_]]:
        """(n,) words of samples whose haplotypes depend on each other."""
        keys, of = np.unique(pair_key(first, second) * (ONE + 1) + both, return_inverse=True)
        words = np.empty(len(keys), dtype=np.object_)
        pairs, alike = np.divmod(keys, ONE + 1)
        words[:] = self._words(*pair_of(pairs), 1, alike)
        return words[of]

    def _fill(self, keys: I64Array, lone: int) -> None:
        """Puts into words what has not occurred before."""
        cells, filled = self._cells[lone], self._filled[lone]
        new = np.unique(keys[~filled[keys]])
        if len(new):
            cells[new] = self._words(*pair_of(new), lone)
            # Last: another thread may look for the same words.
            filled[new] = True

    def _words(self, first: IntArray, second: IntArray, lone: int, both: IntArray | None = None) -> list[bytes]:
        columns = genotype_columns(first, second, both, lone_ds=lone)
        fields: dict[str, list[bytes]] = {}
        for name in self._formats:
            if name == "GT":
                fields[name] = [_CALLS[a, b] for a, b in columns.gt.tolist()]
            elif name == "DS":
                fields[name] = [_DECIMAL[i] for i in columns.ds.tolist()]
            else:
                numbers = np.stack((first, second), axis=1) if name == "HDS" else columns.gp
                fields[name] = [b",".join([_DECIMAL[i] for i in row if i != NONE]) for row in numbers.tolist()]
        return [b":".join(parts) for parts in zip(*fields.values(), strict=True)]


def _kept_line(contig: str, kept: PassThroughRecord) -> bytes:
    alts = ",".join(kept.alts) or "."
    names = ["." if allele < 0 else str(allele) for allele in kept.alleles.tolist()]
    starts = kept.ploidy.starts.tolist()
    unphased = itertools.repeat(False) if kept.unphased is None else kept.unphased.tolist()
    cells = "\t".join(
        ("/" if no_phase else "|").join(names[a:b])
        for (a, b), no_phase in zip(itertools.pairwise(starts), unphased, strict=False)
    )
    return f"{contig}\t{kept.position}\t{kept.site_id}\t{kept.ref}\t{alts}\t.\tPASS\tUNUSED\tGT\t{cells}\n".encode()
