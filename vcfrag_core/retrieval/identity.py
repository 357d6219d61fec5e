"""What an index was built from, as five digests. Both sides of every RPC compute them here and nowhere else.

Each digest is BLAKE2b of 16 bytes, in hexadecimal, of a stated byte string under its own personalisation, so that
no two kinds of thing can share one. Changing a byte string means a new personalisation and new golden tests.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable

import numpy as np

from vcfrag_core.errors import (
    IdentityError,
    LayoutMismatchError,
    MaskMismatchError,
    MetricMismatchError,
    PanelMismatchError,
    SplitMismatchError,
)
from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.layout import ENCLOSING_FACTOR, SegmentLayout
from vcfrag_core.types import BoolArray, F32Array, U64Array

DIGEST_BYTES = 16


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


def panel_digest(panel: Panel) -> str:
    """Contig, positions, alleles, sample names and haplotype bits; takes about 1 s per GB of bits."""
    hasher = _hasher("panel")
    _update_strings(hasher, [panel.contig])
    hasher.update(np.asarray(panel.positions, dtype="<i4").tobytes())
    for strings in (panel.refs, panel.alts, panel.samples):
        _update_strings(hasher, strings)
    hasher.update(np.ascontiguousarray(panel.packed).data)
    return hasher.hexdigest()


def split_digest(split: Split) -> str:
    """Name, reference samples, held-out samples and exclusion groups, whatever their order."""
    hasher = _hasher("split")
    _update_strings(hasher, [split.name])
    for names in (split.reference, split.held_out):
        _update_strings(hasher, sorted(names))
    _update_strings(hasher, [text for item in sorted(split.groups.items()) for text in item])
    return hasher.hexdigest()


def mask_digest(observed: BoolArray) -> str:
    """(V,) observed sites of the contig, as bits after their number."""
    hasher = _hasher("mask")
    hasher.update(len(observed).to_bytes(8, "little"))
    hasher.update(bit.pack(np.asarray(observed, dtype=np.bool_)).tobytes())
    return hasher.hexdigest()


def metric_digest(weights: F32Array) -> str:
    """(V,) site weights as little-endian float32 bytes."""
    hasher = _hasher("metric")
    hasher.update(np.asarray(weights, dtype="<f4").tobytes())
    return hasher.hexdigest()


def layout_digest(layout: SegmentLayout) -> str:
    """Sites, segment lengths, the least number of observed sites, and the enclosing factor."""
    hasher = _hasher("layout")
    numbers = [layout.n_sites, layout.min_observed, ENCLOSING_FACTOR, *layout.lengths]
    hasher.update(np.array(numbers, dtype="<i8").tobytes())
    return hasher.hexdigest()


def haplotype_keys(panel: Panel) -> U64Array:
    """(H,) tie-breaking keys: a keyed hash of each haplotype's content and its sample's name.

    Independent of the order of the panel's samples. Haplotypes of one sample with equal content share a key.
    """
    contiguous = np.ascontiguousarray(panel.packed)
    keys = np.empty(panel.n_haplotypes, dtype=np.uint64)
    for h in range(panel.n_haplotypes):
        hasher = hashlib.blake2b(digest_size=8, key=b"vcfrag.tie.1")
        _update_strings(hasher, [panel.samples[h // 2]])
        hasher.update(contiguous[h].data)
        keys[h] = int.from_bytes(hasher.digest(), "little")
    return keys


def text_digest(kind: str, *parts: str | bytes) -> str:
    """Digest of anything else that a record names (a genetic map, a configuration), under its own kind."""
    hasher = _hasher(kind)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.hexdigest()


def _hasher(kind: str) -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=DIGEST_BYTES, person=f"vcfrag.{kind}.1".encode())


def _update_strings(hasher: hashlib.blake2b, strings: Iterable[str]) -> None:
    encoded = [s.encode() for s in strings]
    hasher.update(len(encoded).to_bytes(8, "little"))
    hasher.update(np.array([len(s) for s in encoded], dtype="<i8").tobytes())
    hasher.update(b"".join(encoded))
