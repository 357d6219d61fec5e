"""The order of neighbours, written out slowly: what every engine must answer, and what tests compare it with.

A neighbour comes before another when it is smaller in (distance over the segment, distance over the enclosing
segment, keyed hash, id). The hash depends on the haplotype's content, its sample's name and the segment, never on
the file's order; the id decides only between the two equal haplotypes of one sample.
"""

from __future__ import annotations

import numpy as np

from vcfrag_core.hashing import splitmix64
from vcfrag_core.retrieval.layout import Segment
from vcfrag_core.retrieval.site_weights import STEPS_PER_UNIT
from vcfrag_core.types import BoolArray, F32Array, I8Array, I32Array, I64Array, U8Array, U64Array


def tie_hash(keys: U64Array, start: int, stop: int) -> U64Array:
    """(n,) last but one rank of haplotypes with these keys in the segment [start, stop)."""
    return splitmix64(keys ^ splitmix64(np.array([start << 32 | stop], dtype=np.uint64)))


def distances(query: I8Array, reference: U8Array, observed: BoolArray, steps: I32Array) -> I64Array:
    """(n,) distances in steps of 2**-10 from one query to n reference haplotypes over the same N sites.

    Args:
        query: (N,) alleles 0, 1 or -1; a missing one costs nothing.
        reference: (n, N) alleles 0 or 1.
        observed: (N,) the mask.
        steps: (N,) weights as whole numbers of steps.
    """
    counted = observed & (query >= 0)
    differs = reference[:, counted] != query[counted].astype(np.uint8)
    return np.asarray((differs * steps[counted].astype(np.int64)).sum(axis=1), dtype=np.int64)


def nearest(
    query: I8Array,
    reference: U8Array,
    *,
    ids: I32Array,
    keys: U64Array,
    observed: BoolArray,
    steps: I32Array,
    offset: int,
    segment: Segment,
    enclosing: tuple[int, int],
    k: int,
) -> tuple[I32Array, F32Array]:
    """The k nearest of n reference haplotypes to one query in one segment, by sorting all of them.

    Args:
        query: (N,) alleles of the context, 0, 1 or -1.
        reference: (n, N) alleles of the haplotypes that may be returned.
        ids: (n,) their panel haplotype ids.
        keys: (n,) their tie-breaking keys.
        observed: (N,) the mask within the context.
        steps: (N,) weights as whole numbers of steps.
        offset: First site of the context.
        segment: Sites to compare.
        enclosing: First site and site after the last of the enclosing segment.
        k: Neighbours wanted.

    Returns:
        (k,) ids, -1 where fewer than k exist, and (k,) float32 distances, +inf there.
    """
    near, wide = (
        distances(query[a:b], reference[:, a:b], observed[a:b], steps[a:b])
        for a, b in (
            (segment.start - offset, segment.stop - offset),
            (enclosing[0] - offset, enclosing[1] - offset),
        )
    )
    order = np.lexsort((ids, tie_hash(keys, segment.start, segment.stop), wide, near))[:k]
    found_ids = np.full(k, -1, dtype=np.int32)
    found_distances = np.full(k, np.inf, dtype=np.float32)
    found_ids[: len(order)] = ids[order]
    found_distances[: len(order)] = near[order] / STEPS_PER_UNIT
    return found_ids, found_distances
