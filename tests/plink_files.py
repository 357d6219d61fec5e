"""Writes small PLINK sets, PLINK 1's bit by bit as its format says, PLINK 2's by Pgenlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pgenlib

from vcfrag_core.types import I8Array

Variant = tuple[str, int, str, str]


def write_bed(stem: Path, variants: Sequence[Variant], alleles: I8Array, fam: Sequence[str]) -> Path:
    """A .bed with its tables.

    Args:
        stem: The set's name.
        variants: Contig, position, first and second allele of the .bim.
        alleles: (R, S, 2), 0 for the second allele of the .bim, 1 for the first; -1 missing.
        fam: Lines of the .fam.
    """
    copies = np.where((alleles < 0).any(axis=2), -1, alleles.sum(axis=2))
    codes = np.choose(copies + 1, [0b01, 0b11, 0b10, 0b00]).astype(np.uint8)
    padded = np.pad(codes, ((0, 0), (0, -codes.shape[1] % 4)))
    packed = (padded.reshape(len(codes), -1, 4) << np.array([0, 2, 4, 6], dtype=np.uint8)).sum(axis=2, dtype=np.uint8)
    path = stem.with_name(stem.name + ".bed")
    path.write_bytes(b"\x6c\x1b\x01" + packed.tobytes())
    lines = [f"{contig}\trs{i}\t0\t{p}\t{a}\t{b}\n" for i, (contig, p, a, b) in enumerate(variants)]
    stem.with_name(stem.name + ".bim").write_text("".join(lines))
    stem.with_name(stem.name + ".fam").write_text("".join(f"{line}\n" for line in fam))
    return path


def write_pgen(
    stem: Path,
    variants: Sequence[Variant],
    alleles: I8Array,
    psam: Sequence[str],
    *,
    phased: bool = True,
    info: str = ".",
) -> Path:
    """A .pgen with its tables; variants are contig, position, REF and ALT."""
    path = stem.with_name(stem.name + ".pgen")
    n_alts = [alt.count(",") + 1 for *_, alt in variants]
    with pgenlib.PgenWriter(
        bytes(path),
        alleles.shape[1],
        variant_ct=len(variants),
        nonref_flags=False,
        allele_ct_limit=max(n_alts) + 1,
        hardcall_phase_present=phased,
    ) as writer:
        for row, n in zip(alleles, n_alts, strict=True):
            codes = np.where((row < 0).any(axis=1, keepdims=True), -9, row).astype(np.int32).reshape(-1)
            writer.append_alleles(codes, all_phased=phased, allele_ct=n + 1)
    rows = [f"{contig}\t{p}\trs{i}\t{ref}\t{alt}\t{info}\n" for i, (contig, p, ref, alt) in enumerate(variants)]
    table = "##INFO=<ID=PR,Number=0,Type=Flag,Description=Provisional>\n#CHROM\tPOS\tID\tREF\tALT\tINFO\n"
    stem.with_name(stem.name + ".pvar").write_text(table + "".join(rows))
    stem.with_name(stem.name + ".psam").write_text("".join(f"{line}\n" for line in psam))
    return path
