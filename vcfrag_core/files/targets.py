"""Reads targets of every kind of file, contig by contig."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from vcfrag_core.errors import EmptyInputError, InputError, TargetError
from vcfrag_core.files.kinds import Kind, kind_of
from vcfrag_core.files.pgen.reader import plink_samples, read_plink_target
from vcfrag_core.files.vcf.reader import Region, open_vcf, parse_region
from vcfrag_core.files.vcf.targets import read_vcf_target
from vcfrag_core.files.waiting import on_disk
from vcfrag_core.genome.contigs import contig_alias, meaning
from vcfrag_core.genome.markers import told_build
from vcfrag_core.targets.calls import TargetCalls
from vcfrag_core.targets.merging import Keep, join_records, merge_targets
from vcfrag_core.targets.splitting import split_records

_GENOTYPES: Final = (".pgen", ".bed")
_TABLES: Final = (".bim", ".fam", ".pvar", ".pvar.zst", ".psam")


def read_target(
    path: str | Path | Sequence[str | Path],
    *,
    region: str | None = None,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
    waiting: Path | None = None,
) -> list[TargetCalls]:
    """The calls of every contig of a file or of several, or of a region, in the files' order.

    What a file is, its content tells. Several files may be of several contigs, or of several people, who then have
    missing calls where their file has no record. The pseudo-autosomal regions join X. The region's contig may go by
    any of its names.

    Args:
        path: VCF or BCF, plain, gzipped or bgzipped, of which an index is used when there is one; PLINK's .bed or
            .pgen, or the name that it shares with the tables beside it.
        region: `20` or `20:100-200`.
        threads: Threads that decompress.
        progress: Called with the number of records read of a VCF, now and then.
        waiting: Folder in whose files large contigs lie until they are used; they are kept in memory without.

    Raises:
        EmptyInputError: No sample, or no record.
        TargetError: Two files have calls of one sample at the same place, or a file without a record of the region has
            samples that no other has.
        InputError and its kinds: See `target_file`, `read_vcf_target` and `read_plink_target`.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    files = list(dict.fromkeys(target_file(each) for each in paths))
    if len(files) < len(paths):
        raise InputError("is given as a target twice", path=next(p for i, p in enumerate(paths) if p in paths[:i]))
    wanted = None if region is None else parse_region(region)
    keep = _in_memory if waiting is None else functools.partial(on_disk, folder=waiting)
    # Of files that declare other contigs alone nothing is read, unless all do.
    having = [file for file in files if wanted is None or len(files) == 1 or not _lacks(file, wanted)] or files
    each = [_split(_one_x(_read(file, wanted, threads, progress, keep)), keep) for file in having]
    if wanted is not None:
        _refuse_lost_samples(files, [file for file, found in zip(having, each, strict=True) if found], wanted)
    contigs = merge_targets(each, keep)
    if not any(calls.n_records for calls in contigs):
        raise EmptyInputError(f"no record{'' if region is None else f' in {region}'}", path=paths[0])
    build = told_build([(calls.contig, calls.contig_length, calls.positions) for calls in contigs])
    return [dataclasses.replace(calls, build=build) for calls in contigs]


def target_file(path: str | Path) -> Path:
    """The file of genotypes that a name means: itself, or that of a PLINK set whose name or table it is.

    Raises:
        InputError: There is no such file, or two sets have this name.
    """
    path = Path(path)
    if path.is_file() and not path.name.endswith(_TABLES):
        return path
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError("is a pipe or a device, and a target is read more than once; write it to a file", path=path)
    ending = next((end for end in _TABLES if path.name.endswith(end)), "")
    stem = path.name.removesuffix(ending)
    found = [file for end in _GENOTYPES if (file := path.parent / (stem + end)).is_file()]
    if not found and path.is_dir():
        raise InputError("is a folder; name a file in it, or a PLINK set", path=path)
    if not found:
        raise InputError(f"there is no such file, nor PLINK's {stem}.pgen or {stem}.bed", path=path)
    if len(found) > 1:
        raise InputError(
            f"which one, {' or '.join(file.name for file in found)}? Give the file's whole name", path=path
        )
    return found[0]


def is_there(path: Path) -> bool:
    """Whether a name means a file of genotypes, as `target_file` finds it, or any other file."""
    return path.is_file() or any(path.with_name(path.name + end).is_file() for end in _GENOTYPES)


def target_samples(path: str | Path) -> tuple[str, ...]:
    """The samples of a target, without reading its records.

    Raises:
        InputError and its kinds: See `target_file`; the file is not one of targets.
    """
    file = target_file(path)
    if kind_of(file) in (Kind.PLINK1, Kind.PLINK2):
        return plink_samples(file)
    with open_vcf(file) as reader:
        return reader.samples


def _refuse_lost_samples(files: Sequence[Path], having: Sequence[Path], region: Region) -> None:
    """Refuses files of which none of a region's records is, and whose samples are in no other; not if all are such.

    Raises:
        TargetError: Names the file and a sample.
    """
    known = {sample for file in having for sample in target_samples(file)}
    for file in files if having else ():
        alone = [sample for sample in target_samples(file) if sample not in known]
        if alone:
            raise TargetError(
                f"has no record in {region}, and {len(alone)} samples that no other target has there, such as"
                f" {alone[0]}: take it away, or them",
                path=file,
            )


def _lacks(file: Path, region: Region) -> bool:
    if kind_of(file) in (Kind.PLINK1, Kind.PLINK2):
        return False
    with open_vcf(file) as reader:
        return bool(reader.contigs) and contig_alias(region.contig, reader.contigs) is None


def _read(
    file: Path, region: Region | None, threads: int, progress: Callable[[int], None] | None, keep: Keep
) -> list[TargetCalls]:
    if kind_of(file) not in (Kind.PLINK1, Kind.PLINK2):
        return read_vcf_target(file, region, threads=threads, progress=progress, keep=keep)
    contigs = read_plink_target(file, None if region is None else region.contig, keep=keep)
    return [calls if region is None else _within(calls, region) for calls in contigs]


def _split(contigs: list[TargetCalls], keep: Keep) -> list[TargetCalls]:
    return [keep(split_records(calls)) for calls in contigs]


def _in_memory(calls: TargetCalls) -> TargetCalls:
    return calls


def _within(calls: TargetCalls, region: Region) -> TargetCalls:
    last = np.iinfo(np.int32).max if region.stop is None else region.stop
    return calls.select((calls.positions >= region.start) & (calls.positions <= last))


def _one_x(contigs: list[TargetCalls]) -> list[TargetCalls]:
    """The contigs, X and its pseudo-autosomal regions as one where they have names of their own, as PLINK's have."""
    known = [meaning(calls.contig) for calls in contigs]
    is_x = [of is not None and of.chromosome == "X" for of in known]
    is_part = [of is not None and of.pseudo_autosomal for of in known]
    whole = [calls for calls, x, part in zip(contigs, is_x, is_part, strict=True) if x and not part]
    parts = [calls for calls, part in zip(contigs, is_part, strict=True) if part]
    if not parts or len(whole) > 1 or len(whole) + len(parts) < 2:
        return contigs
    first = is_x.index(True)
    joined = join_records([*whole, *parts])
    kept = enumerate(zip(contigs, is_x, strict=True))
    return [joined if i == first else calls for i, (calls, x) in kept if i == first or not x]
