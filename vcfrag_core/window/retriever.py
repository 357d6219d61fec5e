"""External answers a search: an engine in this process, a daemon, or chance."""

from __future__ import annotations

import dataclasses
from typing import Protocol, Self

from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.identity import Identity, layout_digest, mask_digest, metric_digest, split_digest
from vcfrag_core.retrieval.layout import SegmentLayout, layout_for
from vcfrag_core.retrieval.queries import QueryBlock, SearchResult
from vcfrag_core.types import BoolArray, F32Array


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IndexSpec:
    """What an index is opened from, and the digests of that.

    Attributes:
        identity: The five digests, of the very arrays beside them.
        split: The split.
        layout: Segment borders.
        observed: (V,) the mask.
        weights: (V,) site weights, float32 multiples of 2**-10.
    """

    identity: Identity
    split: Split
    layout: SegmentLayout
    observed: BoolArray
    weights: F32Array

    @classmethod
    def of(
        cls,
        panel_digest: str,
        *,
        split: Split,
        observed: BoolArray,
        weights: F32Array,
        parameters: CopyingParameters,
        known_split_digest: str | None = None,
    ) -> Self:
        """The index of a mask and a metric under some parameters, whose scales lay out the segments.

        Args:
            panel_digest: Digest of the panel.
            split: The split.
            observed: (V,) the mask.
            weights: (V,) float32 multiples of 2**-10.
            parameters: Give the layout.
            known_split_digest: The split's, where it was computed before.
        """
        layout = layout_for(observed, parameters.scales, min_observed=parameters.min_observed)
        identity = Identity(
            panel=panel_digest,
            split=known_split_digest or split_digest(split),
            mask=mask_digest(observed),
            metric=metric_digest(weights),
            layout=layout_digest(layout),
        )
        return cls(identity=identity, split=split, layout=layout, observed=observed, weights=weights)


class OpenedIndex(Protocol):
    """An index that answers searches."""

    @property
    def identity(self) -> Identity:
        """The five digests that it was opened by."""

    def search(self, block: QueryBlock, k: int) -> SearchResult:
        """The k nearest reference haplotypes of every query in every segment of the block's range.

        Raises:
            VcfragError: The queries were not made for this index; see `retrieval.consistency`.
        """

    def close(self) -> None:
        """Lets it go; closing again does nothing."""


class Retriever(Protocol):
    """Opens indexes of one panel. Safe in threads."""

    @property
    def max_missing_share(self) -> float:
        """Largest share of a context's observed sites at which a query may lack calls."""

    def open(self, spec: IndexSpec) -> OpenedIndex:
        """The index of a specification.

        Raises:
            IdentityError: Something does not have the digest that is stated for it.
            VcfragError: It cannot be opened.
        """
