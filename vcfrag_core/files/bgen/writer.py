"""Writes BGEN (layout 2, zlib), with its .sample file and an index that bgenix reads, by the `bgen` library."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vcfrag_core.files.assembled import AssembledWriter, Sexes, lone, names
from vcfrag_core.files.bgen.probabilities import ProbabilityTable
from vcfrag_core.output.header import Header


class BgenWriter(AssembledWriter):
    """A `RecordWriter` of BGEN: beside it `STEM.sample` and `NAME.bgi`.

    A record's identifier is `contig:position:REF:ALT`, and so is its rsid where the panel gives it no ID.

    Args:
        path: The output, `.bgen`.
        contigs: Contigs in the order in which they are written.
        bits: 8 or 16 bits a probability.
        phased: Probabilities of each haplotype's alleles, instead of those of the genotypes.
        resume: Takes up the parts of an interrupted run.
        scratch: Folder of the parts; the output's own without it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        contigs: Sequence[str],
        bits: int = 8,
        phased: bool = False,
        resume: bool = False,
        scratch: Path | None = None,
    ) -> None:
        super().__init__(path, contigs=contigs, resume=resume, scratch=scratch)
        self._bits = bits
        self._phased = phased

    def _make(self, path: Path, header: Header) -> int:
        import bgen

        table = ProbabilityTable(self._bits, phased=self._phased)
        sexes = Sexes(len(header.samples))
        n_records = 0
        # What made the file, in its free data.
        made_from = "\n".join(f"{key}={value}" for key, value in header.provenance)
        with bgen.BgenWriter(
            path, len(header.samples), samples=header.samples, compression="zlib", metadata=made_from
        ) as file:
            for records in self._pieces():
                if not records.n_sites:
                    continue
                sexes.add(records)
                has_one = lone(records)
                ploidy = np.where(has_one, 1, 2).astype(np.uint8) if has_one.any() else 2
                values = table.rows(records.dosage[:, :, 0], records.dosage[:, :, 1], records.both)
                if has_one.all():
                    values, ploidy = np.ascontiguousarray(values[:, :, :2]), 1
                for i, name in enumerate(names(records)):
                    site_id = records.site_ids[i]
                    file.add_variant(
                        varid=name,
                        rsid=name if site_id == "." else site_id,
                        chrom=records.contig,
                        pos=int(records.positions[i]),
                        alleles=[records.refs[i], records.alts[i]],
                        genotypes=values[i],
                        ploidy=ploidy,
                        phased=self._phased,
                        bit_depth=self._bits,
                    )
                n_records += records.n_sites
        _name_file(path)
        _write_samples(path.with_suffix(".sample"), header.samples, sexes.codes())
        return n_records


def _name_file(path: Path) -> None:
    """Makes the index speak of the file by its name alone: where it was made, it does not stay."""
    with contextlib.closing(sqlite3.connect(f"{path}.bgi")) as index:
        index.execute("UPDATE Metadata SET filename = ?", (path.name,))
        index.commit()


def _write_samples(path: Path, samples: Sequence[str], sexes: Sequence[int]) -> None:
    """A .sample file, as the Oxford tools and PLINK define it."""
    lines = ["ID_1 ID_2 missing sex", "0 0 0 D"]
    lines += [f"{name} {name} 0 {sex}" for name, sex in zip(samples, sexes, strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
