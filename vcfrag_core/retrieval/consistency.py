"""The consistency check: whether a search speaks of the index that answers it. No retriever answers without it.

A query divides the sites of the mask into sets (the observed, those without a call). Together the sets are the
mask, site by site, and no two of them share a site: what was masked in one way is never looked up in an index that was
masked in another.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from vcfrag_core.errors import (
    LayoutMismatchError,
    MaskMismatchError,
    MetricMismatchError,
    PanelMismatchError,
    RangeError,
    ShapeError,
    SplitMismatchError,
    TooManyMissingError,
    VcfragError,
)
from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.identity import Identity, layout_digest, mask_digest, metric_digest, split_digest
from vcfrag_core.retrieval.layout import SegmentLayout
from vcfrag_core.retrieval.queries import External, QueryBlock
from vcfrag_core.types import BoolArray, F32Array, I64Array, U8Array

# A limit on the share of missing calls that nothing exceeds.
ANY_SHARE = 1.0
_ONES: I64Array = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1).astype(np.int64)


class SearchedIndex(Protocol):
    """What the check asks of an index."""

    @property
    def identity(self) -> Identity:
        """The five digests that it was built from."""

    @property
    def observed(self) -> BoolArray:
        """(V,) its mask."""

    def site_label(self, site: int) -> str:
        """A site as a message names it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QueryBits:
    """Queries as rows of bits, as they came and before any check.

    Attributes:
        start: First site of the range.
        stop: Site after its last; N = stop - start.
        samples: Q names of the queries' samples, or EXTERNAL.
        observed: Q rows of ceil(N / 8) bytes: sites at which the query has an allele.
        missing: As many: observed sites of the mask at which this query has no call; empty where it has all.
        alleles: As many: 1 for ALT, 0 wherever not observed.
    """

    start: int
    stop: int
    samples: tuple[str | External, ...]
    observed: bytes
    missing: bytes
    alleles: bytes

    @classmethod
    def of(cls, block: QueryBlock) -> QueryBits:
        """The bits of a block: observed where the mask is and the query has a call."""
        called = block.observed & (block.alleles >= 0)
        missing = block.observed & ~called
        return cls(
            start=block.start,
            stop=block.stop,
            samples=block.samples,
            observed=bit.pack(called).tobytes(),
            missing=bit.pack(missing).tobytes() if missing.any() else b"",
            alleles=bit.pack(called & (block.alleles == 1)).tobytes(),
        )

    def sets(self) -> dict[str, U8Array]:
        """The sets of sites that make up the mask, by name, each (Q, ceil(N / 8)) bits.

        Raises:
            ShapeError: Bytes of the wrong size, or padding bits that are not 0.
        """
        observed = self._rows("observed", self.observed)
        missing = self._rows("missing", self.missing) if self.missing else np.zeros_like(observed)
        return {"observed": observed, "missing": missing}

    def allele_bits(self) -> U8Array:
        """(Q, ceil(N / 8)) bits.

        Raises:
            ShapeError: Bytes of the wrong size, or padding bits that are not 0.
        """
        return self._rows("alleles", self.alleles)

    def _rows(self, what: str, data: bytes) -> U8Array:
        return rows_of(what, data, len(self.samples), self.stop - self.start)


def check_search(index: SearchedIndex, stated: Identity, queries: QueryBits, *, max_missing_share: float) -> None:
    """Refuses queries that were not made for this index.

    Args:
        index: Would answer.
        stated: The digests that the caller believes to search in.
        queries: Its queries.
        max_missing_share: Largest share of the mask's sites in the range that a query may lack calls at; ANY_SHARE
            for no limit.

    Raises:
        IdentityError: A digest differs; a MaskMismatchError also where a query's sets are not together the mask, which
            names the first such query and site.
        RangeError: The sites are not within the panel.
        ShapeError: No query, bytes of the wrong size, sets that share a site, an allele where none is observed.
        TooManyMissingError: A query lacks too many calls.
    """
    index.identity.check(stated)
    check_range(queries.start, queries.stop, len(index.observed))
    if not queries.samples:
        raise ShapeError("a search needs at least one query")
    sets, alleles = queries.sets(), queries.allele_bits()
    mask = index.observed[queries.start : queries.stop]
    _check_together(sets, bit.pack(mask), queries.start, index.site_label)
    for (first, ours), (second, others) in itertools.combinations(sets.items(), 2):
        if (ours & others).any():
            raise ShapeError(f"a site is both {first} and {second} in one query")
    if (alleles & ~sets["observed"]).any():
        raise ShapeError("a query has an allele at a site at which it is not observed")
    _check_missing(sets["missing"], mask, max_missing_share)


def check_built_from(
    stated: Identity,
    *,
    panel_name: str,
    panel_digest: str,
    n_sites: int,
    split: Split,
    layout: SegmentLayout,
    observed: BoolArray | None = None,
    weights: F32Array | None = None,
    known_split_digest: str | None = None,
) -> None:
    """Refuses to build an index from anything that has another digest than is stated for it.

    Args:
        stated: The digests that the caller states.
        panel_name: Name of the panel here.
        panel_digest: Its digest.
        n_sites: V, its sites.
        split: The split.
        layout: Segment borders.
        observed: (V,) the mask, unless only its digest came.
        weights: (V,) the metric, unless only its digest came.
        known_split_digest: The split's, where it was computed here before.

    Raises:
        IdentityError: Names both digests.
        ShapeError: An array or the layout is of another number of sites than the panel.
    """
    _expect(PanelMismatchError, f"panel {panel_name!r}", panel_digest, stated.panel)
    _expect(SplitMismatchError, f"split {split.name!r}", known_split_digest or split_digest(split), stated.split)
    _expect(LayoutMismatchError, "the layout", layout_digest(layout), stated.layout)
    if layout.n_sites != n_sites:
        raise ShapeError(f"the layout is of {layout.n_sites} sites, panel {panel_name!r} has {n_sites}")
    if observed is not None:
        if len(observed) != n_sites:
            raise ShapeError(f"the mask is of {len(observed)} sites, the panel has {n_sites}")
        _expect(MaskMismatchError, "the mask", mask_digest(observed), stated.mask)
    if weights is not None:
        if len(weights) != n_sites:
            raise ShapeError(f"{len(weights)} weights for {n_sites} sites")
        _expect(MetricMismatchError, "the metric", metric_digest(weights), stated.metric)


def check_range(start: int, stop: int, n_sites: int) -> None:
    """
    Raises:
        RangeError: Sites [start, stop) are empty or not within the panel.
    """
    if not 0 <= start < stop <= n_sites:
        raise RangeError(f"sites [{start}, {stop}) of a panel of {n_sites}")


def rows_of(what: str, data: bytes, n_rows: int, n_bits: int) -> U8Array:
    """(n_rows, ceil(n_bits / 8)) bits.

    Raises:
        ShapeError: Bytes of the wrong size, or padding bits that are not 0; says of what.
    """
    width = bit.n_bytes(n_bits)
    if len(data) != n_rows * width:
        raise ShapeError(f"{what} has {len(data)} bytes; {n_rows} rows of {n_bits} bits need {n_rows * width}")
    rows = np.frombuffer(data, dtype=np.uint8).reshape(n_rows, width)
    if n_bits % 8 and (rows[:, -1] >> (n_bits % 8)).any():
        raise ShapeError(f"{what} has padding bits that are not 0")
    return rows


def _check_together(sets: Mapping[str, U8Array], mask: U8Array, start: int, site_label: Callable[[int], str]) -> None:
    differs = np.bitwise_or.reduce(list(sets.values())) ^ mask
    if not differs.any():
        return
    query = int(np.flatnonzero(differs.any(axis=1))[0])
    site = int(np.flatnonzero(np.unpackbits(differs[query], bitorder="little"))[0])
    has = "masked" if (mask[site >> 3] >> (site & 7)) & 1 == 0 else "observed"
    raise MaskMismatchError(
        f"query {query} was masked with another mask: site {start + site} "
        f"({site_label(start + site)}) is {has} in the index and not in the query"
    )


def _check_missing(missing: U8Array, mask: BoolArray, max_share: float) -> None:
    counts = _ONES[missing].sum(axis=1)
    n_observed = int(mask.sum())
    if counts.any() and counts.max() > max_share * n_observed:
        query = int(np.argmax(counts))
        raise TooManyMissingError(
            f"query {query} lacks {counts[query]} of {n_observed} observed sites among {len(mask)}, "
            f"more than {max_share:.1%}: mask them as unobserved for all, or drop the sample"
        )


def _expect(error: type[VcfragError], what: str, here: str, stated: str) -> None:
    if here != stated:
        raise error(f"{what} has the digest {here}, this call states {stated}")
