"""Writes PLINK 2's .pgen, .pvar and .psam by Pgenlib.

Pgenlib's Python writer stores dosages or phase, not both: dosages unless phased hard calls are asked for. Like
PLINK 2 itself, it also stores with each dosage the hard call that it rounds to, or a missing one where it is more than
0.1 from any.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from vcfrag_core.errors import ConfigError
from vcfrag_core.files.assembled import AssembledWriter, Sexes, lone, names
from vcfrag_core.files.records import count_records
from vcfrag_core.output.genotypes import ONE, ColumnTable
from vcfrag_core.output.header import INFO_FIELDS, Header
from vcfrag_core.output.info import info_numbers
from vcfrag_core.output.records import OutputRecords
from vcfrag_core.types import F32Array


class PgenWriter(AssembledWriter):
    """A `RecordWriter` of PGEN: beside it `STEM.pvar` and `STEM.psam`.

    A sample with one haplotype is stored as PLINK 2 does it: 0 or 2 ALT copies, or a dosage between.

    Args:
        path: The output, `.pgen`.
        contigs: Contigs in the order in which they are written.
        phased: Phased hard calls, instead of dosages.
        resume: Takes up the parts of an interrupted run.
        scratch: Folder of the parts; the output's own without it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        contigs: Sequence[str],
        phased: bool = False,
        resume: bool = False,
        scratch: Path | None = None,
    ) -> None:
        super().__init__(path, contigs=contigs, resume=resume, scratch=scratch)
        self._phased = phased
        self._columns = ColumnTable()

    def _make(self, path: Path, header: Header) -> int:
        import pgenlib

        n_records = sum(count_records(part) for contig in self._parts.contigs for part in self._parts.parts(contig))
        sexes = Sexes(len(header.samples))
        options = {"hardcall_phase_present": True} if self._phased else {"dosage_present": True}
        if not n_records:
            raise ConfigError(f"--out {self.path}: no site is left to write, and a .pgen file holds at least one")
        with path.with_suffix(".pvar").open("w", encoding="utf-8") as pvar:
            _write_pvar_header(pvar, header)
            with pgenlib.PgenWriter(
                bytes(path), len(header.samples), variant_ct=n_records, nonref_flags=False, **options
            ) as file:
                for records in self._pieces():
                    if records.n_sites:
                        sexes.add(records)
                        self._append(file, records)
                        _write_pvar(pvar, records)
        _write_psam(path.with_suffix(".psam"), header.samples, sexes.codes())
        return n_records

    def _append(self, file: Any, records: OutputRecords) -> None:
        if self._phased:
            first, second = records.dosage[:, :, 0], records.dosage[:, :, 1]
            gt = self._columns.columns(first, second, records.both).gt.astype(np.int32)
            gt[:, lone(records), 1] = gt[:, lone(records), 0]
            for row in gt.reshape(records.n_sites, -1):
                file.append_alleles(np.ascontiguousarray(row), all_phased=True)
            return
        for row in _copies(records):
            file.append_dosages(row)


def _copies(records: OutputRecords) -> F32Array:
    """(L, S) dosages on the scale of 0 to 2 for everybody."""
    first, second = (records.dosage[:, :, i].astype(np.int32) for i in (0, 1))
    second[:, lone(records)] = first[:, lone(records)]
    return np.ascontiguousarray((first + second) / np.float32(ONE), dtype=np.float32)


def _write_pvar_header(file: TextIO, header: Header) -> None:
    lines = [f"##vcfrag_{key}={' '.join(value.split())}" for key, value in header.provenance]
    lines += [f"##contig=<ID={name}{f',length={n}' if n else ''}>" for name, n in header.contigs.items()]
    lines += [line for name, line in INFO_FIELDS.items() if name != "UNUSED"]
    file.write("\n".join([*lines, "#CHROM\tPOS\tID\tREF\tALT\tINFO"]) + "\n")


def _write_pvar(file: TextIO, records: OutputRecords) -> None:
    each = zip(names(records), records.site_ids, info_numbers(records), records.typed.tolist(), strict=True)
    for i, (name, site_id, numbers, typed) in enumerate(each):
        info = ";".join([*(f"{key}={value}" for key, value in numbers.items()), "TYPED" if typed else "IMP"])
        site = (records.contig, str(records.positions[i]), name if site_id == "." else site_id)
        file.write("\t".join([*site, records.refs[i], records.alts[i], info]) + "\n")


def _write_psam(path: Path, samples: Sequence[str], sexes: Sequence[int]) -> None:
    lines = [f"{name}\t{sex or 'NA'}" for name, sex in zip(samples, sexes, strict=True)]
    path.write_text("\n".join(["#IID\tSEX", *lines]) + "\n", encoding="utf-8")
