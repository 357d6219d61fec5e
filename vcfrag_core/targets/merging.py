"""Several files of targets as one: of other contigs, or of other people."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from vcfrag_core.errors import TargetError
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_core.targets.calls import MISSING, Sex, TargetCalls
from vcfrag_core.types import I32Array, I64Array

Key = tuple[int, str, tuple[str, ...], bool]
T = TypeVar("T")
# What becomes of a contig's calls while others are read.
Keep = Callable[[TargetCalls], TargetCalls]


def merge_targets(files: Sequence[Sequence[TargetCalls]], keep: Keep = lambda calls: calls) -> list[TargetCalls]:
    """The contigs of several files, each once, with everybody of every file.

    Who is not in a file has missing calls at its records; equal records of several files become one.

    Args:
        files: The contigs of each file.
        keep: Is given each contig that was made, and returns what is kept of it.

    Raises:
        TargetError: Two files have a sample in the same place of a contig; names it.
    """
    if len(files) == 1:
        return list(files[0])
    samples = tuple(dict.fromkeys(name for contigs in files for calls in contigs for name in calls.samples))
    by_contig: dict[str, list[TargetCalls]] = {}
    for contigs in files:
        for calls in contigs:
            by_contig.setdefault(contig_alias(calls.contig, by_contig) or calls.contig, []).append(calls)
    return [keep(_merged(name, parts, samples)) for name, parts in by_contig.items()]


def _merged(contig: str, parts: Sequence[TargetCalls], samples: tuple[str, ...]) -> TargetCalls:
    for i, one in enumerate(parts):
        for other in parts[i + 1 :]:
            _refuse_twice(one, other)
    place = {name: i for i, name in enumerate(samples)}
    columns = [np.array([place[name] for name in part.samples], dtype=np.int64) for part in parts]
    keys, rows = _rows(parts)
    order = sorted(range(len(keys)), key=lambda row: keys[row][0])
    rank = np.empty(len(keys), dtype=np.int64)
    rank[order] = np.arange(len(keys))
    alleles = np.full((len(keys), len(samples), 2), MISSING, dtype=np.int8)
    is_phased = np.ones((len(keys), len(samples)), dtype=np.bool_)
    ids = ["."] * len(keys)
    sexes: list[Sex | None] = [None] * len(samples)
    for part, own, column in zip(parts, rows, columns, strict=True):
        alleles[rank[own][:, None], column] = part.alleles
        is_phased[rank[own][:, None], column] = part.is_phased
        for row, site_id in zip(rank[own].tolist(), part.site_ids, strict=True):
            ids[row] = site_id if ids[row] == "." else ids[row]
        for where, sex in zip(column.tolist(), part.sexes, strict=True):
            sexes[where] = sexes[where] or sex
    chosen = [keys[i] for i in order]
    return TargetCalls(
        contig=contig,
        samples=samples,
        sexes=tuple(sexes),
        positions=np.array([key[0] for key in chosen], dtype=np.int32),
        refs=tuple(key[1] for key in chosen),
        alts=tuple(key[2] for key in chosen),
        site_ids=tuple(ids),
        alleles=alleles,
        is_phased=is_phased,
        ref_is_known=np.array([key[3] for key in chosen], dtype=np.bool_),
        phase_sets=_phase_sets(parts, [rank[own] for own in rows], columns, (len(keys), len(samples))),
        contig_length=next((part.contig_length for part in parts if part.contig_length is not None), None),
        split_at=np.unique(np.concatenate([part.split_at for part in parts])),
        source=", ".join(dict.fromkeys(part.source for part in parts)),
    )


def _refuse_twice(one: TargetCalls, other: TargetCalls) -> None:
    both = set(one.samples) & set(other.samples)
    if not both or one.positions[-1] < other.positions[0] or other.positions[-1] < one.positions[0]:
        return
    raise TargetError(
        f"is in {one.source} and in {other.source}, both on {one.contig}; give a person's calls once (`bcftools"
        " concat`, `plink2 --pmerge`), and rename one if they are two people",
        path=one.source,
        sample=next(name for name in one.samples if name in both),
    )


def _rows(parts: Sequence[TargetCalls]) -> tuple[list[Key], list[I64Array]]:
    """The records of all parts, equal ones of several parts once, and which of them each part's are."""
    keys: list[Key] = []
    found: dict[tuple[Key, int], int] = {}
    rows: list[I64Array] = []
    for part in parts:
        own = np.empty(part.n_records, dtype=np.int64)
        seen: dict[Key, int] = {}
        for i, key in enumerate(_keys(part)):
            # A part's second record of a site stays apart from its first.
            times = seen[key] = seen.get(key, -1) + 1
            own[i] = found.setdefault((key, times), len(keys))
            if own[i] == len(keys):
                keys.append(key)
        rows.append(own)
    return keys, rows


def _keys(part: TargetCalls) -> Iterator[Key]:
    return zip(part.positions.tolist(), part.refs, part.alts, part.ref_is_known.tolist(), strict=True)


def _phase_sets(
    parts: Sequence[TargetCalls], rows: Sequence[I64Array], columns: Sequence[I64Array], shape: tuple[int, int]
) -> I32Array | None:
    if all(part.phase_sets is None for part in parts):
        return None
    sets = np.zeros(shape, dtype=np.int32)
    for part, own, column in zip(parts, rows, columns, strict=True):
        if part.phase_sets is not None:
            sets[own[:, None], column] = part.phase_sets
    return sets


def join_records(parts: Sequence[TargetCalls]) -> TargetCalls:
    """The records of several contigs that are one, of the same samples in the same order, under the first's name."""
    first = parts[0]
    order = np.argsort(np.concatenate([part.positions for part in parts]), kind="stable")
    chosen = order.tolist()

    def inorder(values: Sequence[Sequence[T]]) -> tuple[T, ...]:
        joined = [value for part in values for value in part]
        return tuple(joined[i] for i in chosen)

    none = [part.phase_sets is None for part in parts]
    sets = [np.zeros(p.is_phased.shape, dtype=np.int32) if p.phase_sets is None else p.phase_sets for p in parts]
    return dataclasses.replace(
        first,
        positions=np.concatenate([part.positions for part in parts])[order],
        refs=inorder([part.refs for part in parts]),
        alts=inorder([part.alts for part in parts]),
        site_ids=inorder([part.site_ids for part in parts]),
        alleles=np.concatenate([part.alleles for part in parts])[order],
        is_phased=np.concatenate([part.is_phased for part in parts])[order],
        ref_is_known=np.concatenate([part.ref_is_known for part in parts])[order],
        phase_sets=None if all(none) else np.concatenate(sets)[order],
        contig_length=next((part.contig_length for part in parts if part.contig_length is not None), None),
        split_at=np.unique(np.concatenate([part.split_at for part in parts])),
    )
