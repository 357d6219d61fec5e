"""A batch of query haplotypes and what a search answers: the shapes on both sides of Search."""

from __future__ import annotations

import dataclasses
import enum
from typing import Final

import numpy as np

from vcfrag_core.errors import RangeError, ShapeError
from vcfrag_core.shapes import repr_by_shape
from vcfrag_core.types import BoolArray, F32Array, I8Array, I32Array


class External(enum.Enum):
    """Stands where a sample's name would, for a person who is not in the panel."""

    EXTERNAL = "external"


EXTERNAL: Final = External.EXTERNAL


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QueryBlock:
    """Query haplotypes over one range of sites.

    Attributes:
        start: First site of the range (the context).
        stop: Site after its last; N = stop - start.
        samples: Q names of the queries' samples, or EXTERNAL; the exclusion group of a name is left out.
        observed: (N,) the mask of this batch within the range.
        alleles: (Q, N) int8, 0 or 1 at observed sites, -1 where the query has no call; ignored where not observed.
    """

    start: int
    stop: int
    samples: tuple[str | External, ...]
    observed: BoolArray
    alleles: I8Array

    def __post_init__(self) -> None:
        n = self.stop - self.start
        if n < 1 or self.observed.shape != (n,) or self.alleles.shape != (len(self.samples), n):
            raise ShapeError(
                f"sites [{self.start}, {self.stop}), {len(self.samples)} samples: observed has shape "
                f"{self.observed.shape}, alleles {self.alleles.shape}"
            )
        if self.alleles.size and (int(self.alleles.min()) < -1 or int(self.alleles.max()) > 1):
            raise RangeError("query alleles are 0, 1 or -1")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The neighbours of every query in every segment.

    Attributes:
        starts: (G,) first site of each segment.
        stops: (G,) site after its last.
        scales: (G,) number of its scale, 0 the shortest.
        ids: (G, Q, K) panel haplotype ids, nearest first; -1 where fewer than K may be returned.
        distances: (G, Q, K) their distances, non-decreasing; +inf where the id is -1.
    """

    starts: I32Array
    stops: I32Array
    scales: I32Array
    ids: I32Array
    distances: F32Array

    __repr__ = repr_by_shape

    def __post_init__(self) -> None:
        g = len(self.starts)
        if not len(self.stops) == len(self.scales) == len(self.ids) == g or self.ids.shape != self.distances.shape:
            raise ShapeError(f"{g} segments, ids {self.ids.shape}, distances {self.distances.shape}")
        if self.ids.ndim != 3 or self.ids.dtype != np.int32:
            raise ShapeError(f"ids must be int32 (G, Q, K), got {self.ids.dtype} {self.ids.shape}")
