"""Records as lines of a VCF.

A sample's columns follow from its one or two rounded haplotype dosages alone, of which there are 1001 x 1002: each
pair is put into words once, when it first occurs, and after that every cell is a table look-up and a copy of its bytes.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from vcfrag_core.files.vcf.words import Words, WordTable, padded
from vcfrag_core.output.genotypes import NONE, ONE, genotype_columns, pair_key, pair_of
from vcfrag_core.output.info import info_numbers
from vcfrag_core.output.records import OutputRecords, PassThroughRecord, lone_ds
from vcfrag_core.types import I32Array, I64Array, IntArray

_DECIMAL = [(b"%d.%03d" % divmod(i, ONE)).rstrip(b"0").rstrip(b".") for i in range(2 * ONE + 1)]
_LOO = [b":" + text for text in _DECIMAL] + [b":."]
# Bytes of the longest value of each field.
_WIDTHS: Final = {"GT": 3, "DS": 5, "HDS": 11, "GP": 17}
# What words are put together from: numbers in thousandths, and calls by `3 first + second + 1`, second NONE where lone.
_TEXTS: Final = np.array([*_DECIMAL, b"0", b"0|0", b"0|1", b"1", b"1|0", b"1|1"])


class LineFormatter:
    """Makes the lines of a VCF, with the FORMAT fields asked for.

    The table of cells grows to at most about 60 MB, whatever the number of sites.
    """

    def __init__(self, formats: Sequence[str], *, x_male_dosage: int = 1) -> None:
        self._formats = tuple(name for name in formats if name != "LOO")
        self._with_loo = "LOO" in formats
        self._width = padded(sum(1 + _WIDTHS[name] for name in self._formats))
        self._words_of = {
            lone: WordTable(functools.partial(self._words_of_keys, lone=lone), self._width)
            for lone in {1, x_male_dosage}
        }
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
        from vcfrag_core.files.vcf.kernels import join_words

        end = b"\n" if last else b""
        rows, words, others = self._sample_rows(records)
        ends = np.empty(records.n_sites, dtype=np.int64)
        joined = join_words(rows, *words, *others, ends)
        for i, (start, stop) in enumerate(itertools.pairwise([0, *ends.tolist()])):
            if records.typed[i] and self._with_loo and records.loo is not None:
                loo = [_LOO[value] for value in records.loo[i].tolist()]
                named = joined[start:stop].tobytes().split(b"\t")[1:]
                yield (b"".join([b"\t%b%b" % pair for pair in zip(named, loo, strict=True)]) + end,)
            else:
                yield (joined[start:stop].tobytes() + end,)

    def kept(self, records: OutputRecords, n_samples: int) -> list[tuple[int, int, bytes]]:
        """(position, length of REF, line) of the records that are passed through."""
        if "GT" not in self._formats:
            return []
        return [(kept.position, len(kept.ref), _kept_line(records.contig, kept)) for kept in records.kept]

    def _sample_rows(self, records: OutputRecords) -> tuple[I32Array, Words, Words]:
        """(L, S) rows of the samples' words, as `kernels.join_words` takes them."""
        table = self._words_of[lone_ds(records.contig, self._x_male_dosage)]
        rows, others = table.rows(records.dosage), _no_words(self._width)
        if records.both is not None:
            dependent = records.both != NONE
            pairs = records.dosage[dependent]
            of, others = self._dependent(pairs[:, 0], pairs[:, 1], records.both[dependent])
            rows[dependent] = -1 - of
        return rows, table.words, others

    def _dependent(self, first: IntArray, second: IntArray, both: IntArray) -> tuple[I64Array, Words]:
        """(n,) words of samples whose haplotypes depend on each other, and these."""
        keys, of = np.unique(pair_key(first, second) * (ONE + 1) + both, return_inverse=True)
        pairs, alike = np.divmod(keys, ONE + 1)
        return of, self._words(*pair_of(pairs), 1, alike)

    def _words_of_keys(self, keys: I64Array, lone: int) -> Words:
        """Words of independent haplotypes."""
        return self._words(*pair_of(keys), lone)

    def _words(self, first: IntArray, second: IntArray, lone: int, both: IntArray | None = None) -> Words:
        """Words, each after the tab that parts it from the one before."""
        from vcfrag_core.files.vcf.kernels import put_together

        columns = genotype_columns(first, second, both, lone_ds=lone)
        calls = len(_DECIMAL) + 3 * columns.gt[:, 0].astype(np.int16) + columns.gt[:, 1] + 1
        parts = {"GT": calls[:, None], "DS": columns.ds[:, None], "HDS": np.stack((first, second), 1), "GP": columns.gp}
        chosen = [parts[name].astype(np.int16) for name in self._formats]
        before = b"\t" + b":".join(b"," * (part.shape[1] - 1) for part in chosen)
        words = np.zeros((len(first), self._width), dtype=np.uint8)
        lengths = put_together(
            np.concatenate(chosen, axis=1),
            np.frombuffer(before, dtype=np.uint8),
            _TEXTS.view(np.uint8).reshape(len(_TEXTS), -1),
            np.char.str_len(_TEXTS).astype(np.uint8),
            words,
        )
        return words, lengths


def _no_words(width: int) -> Words:
    return np.empty((0, width), dtype=np.uint8), np.empty(0, dtype=np.uint8)


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
