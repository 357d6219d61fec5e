"""Reads targets of every kind of file, contig by contig."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from vcfrag_core.errors import EmptyInputError
from vcfrag_core.files.vcf.reader import parse_region
from vcfrag_core.files.vcf.targets import read_vcf_target
from vcfrag_core.genome.markers import told_build
from vcfrag_core.targets.calls import TargetCalls


def read_target(
    path: str | Path,
    *,
    region: str | None = None,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[TargetCalls]:
    """The calls of every contig of a file, or of a region, in the file's order.

    What the file is, its content tells. The region's contig may go by any of its names.

    Args:
        path: VCF or BCF, plain, gzipped or bgzipped; an index is used when there is one.
        region: `20` or `20:100-200`.
        threads: Threads that decompress.
        progress: Called with the number of records read, now and then.

    Raises:
        EmptyInputError: No sample, or no record.
        InputError and its kinds: See `read_vcf_target`.
    """
    wanted = None if region is None else parse_region(region)
    contigs = read_vcf_target(Path(path), wanted, threads=threads, progress=progress)
    if not contigs:
        raise EmptyInputError(f"no record{'' if region is None else f' in {region}'}", path=path)
    build = told_build([(calls.contig, calls.contig_length, calls.positions) for calls in contigs])
    return [dataclasses.replace(calls, build=build) for calls in contigs]
