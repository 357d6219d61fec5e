"""What an index was built from, as five digests. Both sides of every RPC compute them here and nowhere else."""

from __future__ import annotations

import dataclasses

import numpy as np

from vcfrag_core.errors import (
    IdentityError,
    LayoutMismatchError,
    MaskMismatchError,
    MetricMismatchError,
    PanelMismatchError,
    SplitMismatchError,
)
from vcfrag_core.hashing import hasher, update_strings
from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.layout import ENCLOSING_FACTOR, SegmentLayout
from vcfrag_core.types import BoolArray, F32Array


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The five digests that name an index."""

    panel: str
    split: str
    mask: str
    metric: str
    layout: str

    @classmethod
    def of(
        cls, panel_digest: str, *, split: Split, observed: BoolArray, weights: F32Array, layout: SegmentLayout
    ) -> Identity:
        """The identity of an index over a panel, whose digest is known, from the very arrays that it is built from."""
        return cls(
            panel=panel_digest,
            split=split_digest(split),
            mask=mask_digest(observed),
            metric=metric_digest(weights),
            layout=layout_digest(layout),
        )

    def check(self, other: Identity) -> None:
        """Refuses the first digest in which `other` differs, naming both values.

        Raises:
            PanelMismatchError, SplitMismatchError, MaskMismatchError, MetricMismatchError, LayoutMismatchError:
                That digest differs.
        """
        for field, error in _MISMATCH.items():
            mine, theirs = getattr(self, field), getattr(other, field)
            if mine != theirs:
                raise error(f"the {field} differs: the index was built from {mine}, this call speaks of {theirs}")


_MISMATCH: dict[str, type[IdentityError]] = {
    "panel": PanelMismatchError,
    "split": SplitMismatchError,
    "mask": MaskMismatchError,
    "metric": MetricMismatchError,
    "layout": LayoutMismatchError,
}


def split_digest(split: Split) -> str:
    """Name, reference samples, held-out samples and exclusion groups, whatever their order."""
    made = hasher("split")
    update_strings(made, [split.name])
    for names in (split.reference, split.held_out):
        update_strings(made, sorted(names))
    update_strings(made, [text for item in sorted(split.groups.items()) for text in item])
    return made.hexdigest()


def mask_digest(observed: BoolArray) -> str:
    """(V,) observed sites of the contig, as bits after their number."""
    made = hasher("mask")
    made.update(len(observed).to_bytes(8, "little"))
    made.update(bit.pack(np.asarray(observed, dtype=np.bool_)).tobytes())
    return made.hexdigest()


def metric_digest(weights: F32Array) -> str:
    """(V,) site weights as little-endian float32 bytes."""
    made = hasher("metric")
    made.update(np.asarray(weights, dtype="<f4").tobytes())
    return made.hexdigest()


def layout_digest(layout: SegmentLayout) -> str:
    """Sites, segment lengths, the least number of observed sites, and the enclosing factor."""
    made = hasher("layout")
    numbers = [layout.n_sites, layout.min_observed, ENCLOSING_FACTOR, *layout.lengths]
    made.update(np.array(numbers, dtype="<i8").tobytes())
    return made.hexdigest()
