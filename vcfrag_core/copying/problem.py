"""One window's worth of copying: its sites, queries and candidates, handed to the compiled kernels query by query."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import numpy as np

from vcfrag_core.copying import kernels
from vcfrag_core.copying.reference import CopyingSites
from vcfrag_core.panel.bits import pack_words
from vcfrag_core.panel.kernels import by_column
from vcfrag_core.panel.storage import HaplotypeBits
from vcfrag_core.shapes import repr_by_shape
from vcfrag_core.types import BoolArray, FloatArray, I8Array, I32Array, I64Array, U8Array, U64Array


@dataclasses.dataclass(frozen=True)
class SiteBits:
    """Panel bits at the sites to impute, whatever the mask.

    Attributes:
        words: (H, ceil(L / 64)) a haplotype's after each other.
        n_sites: L.
    """

    words: U64Array
    n_sites: int

    @functools.cached_property
    def alleles(self) -> U8Array:
        """(ceil(L / 8), H) the same, eight sites of all haplotypes to a row: for gradients, and for devices."""
        return by_column(self.words.view(np.uint8)[:, : (self.n_sites + 7) // 8])


@dataclasses.dataclass(frozen=True, slots=True)
class PanelColumns:
    """What copying reads of the panel: the same for all queries of a window under one mask.

    Attributes:
        bits: Panel bits at the sites to impute.
        observed: (ceil(M / 8), H) panel bits at the observed sites, eight sites to a row.
    """

    bits: SiteBits
    observed: U8Array

    @classmethod
    def of(cls, panel: HaplotypeBits, sites: CopyingSites) -> Self:
        """From a panel's bits."""
        bits = SiteBits(panel.words(sites.sites), len(sites.sites))
        return cls(bits, panel.columns(sites.observed))

    def under(self, panel: HaplotypeBits, sites: CopyingSites) -> Self:
        """The same sites to impute under another mask."""
        return dataclasses.replace(self, observed=panel.columns(sites.observed))


class CopyingProblem:
    """What copying needs to know, besides its parameters.

    Attributes:
        sites: Observed sites of the context and the sites to impute between them.
        words: (H, ceil(L / 64)) panel bits at the sites to impute, a haplotype's after each other.
        observed: (ceil(M / 8), H) panel bits at the observed sites, eight sites to a row.
        queries: (Q, M) alleles, -1 where there is no call.
        candidates: Q arrays of panel rows, one or more each.
        longer_scales: Candidates of longer scales alone, `longer_scale_candidates`: Q arrays for each of them; none
            unless given.
        alike: (Q, M) the query whose dosages stand for each one's between an observed site and the next: itself, or an
            earlier one that stands for itself there; None where each stands for itself.
    """

    __repr__ = repr_by_shape

    def __init__(
        self,
        sites: CopyingSites,
        columns: PanelColumns,
        queries: I8Array,
        candidates: Sequence[I32Array],
        longer_scales: Sequence[Sequence[I32Array]] = (),
        alike: I64Array | None = None,
    ) -> None:
        self.sites = sites
        self._bits = columns.bits
        self.words, self.observed = columns.bits.words, columns.observed
        self.queries = queries
        self.candidates = candidates
        self.longer_scales = longer_scales
        self.alike = alike

    @property
    def rows(self) -> U8Array:
        """(H, 8 ceil(L / 64)) `words` byte by byte, site i being bit i & 7 of byte i >> 3."""
        return self.words.view(np.uint8)

    @property
    def alleles(self) -> U8Array:
        """As in `SiteBits`."""
        return self._bits.alleles

    def part(self, start: int, stop: int) -> CopyingProblem:
        """The same for queries [start, stop) alone, for whom none before them stands; nothing is copied."""
        part = copy.copy(self)
        part.queries, part.candidates = self.queries[start:stop], self.candidates[start:stop]
        part.longer_scales = [candidates[start:stop] for candidates in self.longer_scales]
        part.alike = None if self.alike is None else self.alike[start:stop] - start
        return part

    def dosage(
        self,
        weights: FloatArray,
        switch: FloatArray,
        *,
        called_too: bool = True,
        pool: ThreadPoolExecutor | None = None,
    ) -> FloatArray:
        """(Q, L) dosages for (M,) weights and switch probabilities, in their type.

        Args:
            weights: (M,) cost of a mismatch.
            switch: (M,) switch probabilities.
            called_too: Whether sites at which a query has a call are imputed, too; the allele stands there without.
            pool: Threads.
        """
        return self.dosages(weights[None], switch[None], called_too=called_too, pool=pool)[:, 0]

    def dosages(
        self,
        weights: FloatArray,
        switch: FloatArray,
        *,
        called_too: bool = True,
        wanted: BoolArray | None = None,
        pool: ThreadPoolExecutor | None = None,
    ) -> FloatArray:
        """(Q, W, L) the same for W pairs of (W, M) weights and switch probabilities, which share what they read.

        Of queries with the same calls and candidates, as draws of a phase may be, one is copied.

        Args:
            weights, switch, called_too, pool: As for `dosage`.
            wanted: (L,) sites whose dosages are asked for, all of them unless given; others mean nothing.
        """
        out = np.empty((len(self.queries), len(weights), len(self.sites.sites)), dtype=weights.dtype)
        some = np.arange(len(out))
        self.fill_dosages(out, some, weights, switch, called_too=called_too, wanted=wanted, pool=pool)
        return out

    def fill_dosages(
        self,
        out: FloatArray,
        some: I64Array,
        weights: FloatArray,
        switch: FloatArray,
        *,
        called_too: bool = True,
        wanted: BoolArray | None = None,
        pool: ThreadPoolExecutor | None = None,
    ) -> None:
        """Fills (Q, W, L) dosages of (n,) ascending queries; those of others that stand for them are there.

        Other arguments are as for `dosages`.
        """
        firsts = self._firsts(some.tolist())
        distinct = sorted(set(firsts.values()))
        mismatch = np.exp(-weights)
        fraction = self.sites.fraction.astype(mismatch.dtype)

        def one(q: int) -> None:
            if self.alike is not None and not (self.alike[q] == q).any():
                return
            kernels.copy_dosage(
                self.observed,
                self.words,
                self.candidates[q],
                self.queries[q],
                mismatch,
                switch,
                self.sites.left,
                fraction,
                self.asked(q, called_too=called_too, wanted=wanted),
                out[q],
            )
            if not called_too:
                self.put_calls(q, out[q])

        each_query(lambda n: one(distinct[n]), len(distinct), pool)
        for q, first in firsts.items():
            if first != q:
                out[q] = out[first]
            else:
                self.put_alike(q, out)

    def asked(self, q: int, *, called_too: bool, wanted: BoolArray | None = None) -> U64Array:
        """(ceil(L / 64),) bits of the sites at which query q is imputed: all, or those at which it has no call.

        Of these those alone at which it stands for itself, and the (L,) `wanted` alone, where they are given.
        """
        asked = np.ones(len(self.sites.sites), dtype=np.bool_) if wanted is None else wanted.copy()
        for other, begin, end in self._stretches(q):
            asked[begin:end] &= other == q
        if not called_too:
            places, numbers = self._among_sites
            asked[places] &= self.queries[q, numbers] < 0
        return pack_words(asked)

    def put_calls(self, q: int, dosage: FloatArray) -> None:
        """Puts the alleles that query q is called to have into its (..., L) dosages."""
        places, numbers = self._among_sites
        alleles = self.queries[q, numbers]
        dosage[..., places[alleles >= 0]] = alleles[alleles >= 0]

    def put_alike(self, q: int, dosage: FloatArray) -> None:
        """Puts into query q's of (Q, ..., L) dosages those of the queries that stand for it."""
        for other, begin, end in self._stretches(q):
            if other != q:
                dosage[q, ..., begin:end] = dosage[other, ..., begin:end]

    def _stretches(self, q: int) -> list[tuple[int, int, int]]:
        """Who stands for query q from which of the L sites to before which."""
        if self.alike is None:
            return [(q, 0, len(self.sites.sites))]
        gaps = np.flatnonzero(np.diff(self.alike[q], prepend=-1))
        begins = self._first_sites[gaps]
        ends = np.append(begins[1:], len(self.sites.sites))
        return list(zip(self.alike[q, gaps].tolist(), begins.tolist(), ends.tolist(), strict=True))

    @functools.cached_property
    def _first_sites(self) -> I64Array:
        """(M,) the first of the L sites behind each observed one; the first of them all lies behind the first."""
        return np.searchsorted(self.sites.left, np.arange(len(self.sites.observed)))

    @functools.cached_property
    def _among_sites(self) -> tuple[I64Array, I64Array]:
        """Which of the L sites are observed, and their numbers among the M."""
        numbers = np.flatnonzero(np.isin(self.sites.observed, self.sites.sites))
        return np.searchsorted(self.sites.sites, self.sites.observed[numbers]), numbers

    def _firsts(self, some: Sequence[int]) -> dict[int, int]:
        """Of some queries the first that has the same calls and candidates; each itself where others stand for it."""
        known: dict[tuple[bytes, bytes], int] = {}
        if self.alike is not None:
            return {q: q for q in some}
        return {q: known.setdefault((self.queries[q].tobytes(), self.candidates[q].tobytes()), q) for q in some}

    def gradients(
        self, weights: FloatArray, switch: FloatArray, gradient: FloatArray, pool: ThreadPoolExecutor | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """(M,) derivatives with respect to weights and switch of the sum of gradient (Q, L) times dosage."""
        # Training alone asks for them.
        from vcfrag_core.copying.gradient import copy_gradient

        mismatch = np.exp(-weights)
        by_weight = np.zeros((len(self.queries), len(weights)), dtype=mismatch.dtype)
        by_switch = np.zeros_like(by_weight)
        fraction = self.sites.fraction.astype(mismatch.dtype)

        def one(q: int) -> None:
            copy_gradient(
                self.observed,
                self.alleles,
                self.candidates[q],
                self.queries[q],
                mismatch,
                switch,
                self.sites.left,
                fraction,
                gradient[q],
                by_weight[q],
                by_switch[q],
            )

        each_query(one, len(self.queries), pool)
        return by_weight.sum(axis=0), by_switch.sum(axis=0)


def each_query(work: Callable[[int], None], count: int, pool: ThreadPoolExecutor | None) -> None:
    """work(0) to work(count - 1), in the pool's threads where there is one."""
    if pool is None:
        for q in range(count):
            work(q)
    else:
        list(pool.map(work, range(count)))
