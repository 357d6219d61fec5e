"""How typed sites are divided for copying: blocks without switches, segments with one set of candidates, groups."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from vcfrag_core.phasing.parameters import PhasingParameters
from vcfrag_core.types import F32Array, F64Array, I64Array

WINDOW_SEGMENTS = 16
_MIN_SWITCH = 1e-7
_MAX_SWITCH = 0.9


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stretches:
    """The divisions of M typed sites.

    Attributes:
        blocks: (B + 1,) first site of each block, and M.
        segments: (C + 1,) first block of each segment, and B.
        groups: (N + 1,) first segment of each group, whose forward values are held at once, and C.
        windows: (N + 1,) first segment of each window of the haploid chains, and C.
        steps_cm: (B,) distance of each block's middle from that of the one before, 0 at the first.
    """

    blocks: I64Array
    segments: I64Array
    groups: I64Array
    windows: I64Array
    steps_cm: F64Array

    @property
    def middles(self) -> I64Array:
        """(C,) a site in the middle of each segment."""
        borders = self.blocks[self.segments]
        return np.asarray((borders[:-1] + borders[1:]) // 2)

    @property
    def window_sites(self) -> I64Array:
        """(N + 1,) first site of each window of the haploid chains, and M."""
        return np.asarray(self.blocks[self.segments[self.windows]])


def lay_stretches(cm: F64Array, parameters: PhasingParameters, *, borders: I64Array | None = None) -> Stretches:
    """Divides typed sites.

    Args:
        cm: (M,) their genetic positions.
        parameters: How long a block and a segment may be.
        borders: Sites at which a block must begin.
    """
    blocks = _blocks(cm, parameters, frozenset(() if borders is None else borders.tolist()))
    segments = _runs(np.diff(blocks), parameters.segment_sites)
    middle = (cm[blocks[:-1]] + cm[blocks[1:] - 1]) / 2
    n_blocks = len(blocks) - 1
    return Stretches(
        blocks=blocks,
        segments=segments,
        groups=_runs(np.diff(segments), max(1, math.isqrt(n_blocks))),
        windows=_runs(np.ones(len(segments) - 1, dtype=np.int64), WINDOW_SEGMENTS),
        steps_cm=np.diff(middle, prepend=middle[0]),
    )


def switch_probabilities(steps_cm: F64Array, switch_per_cm: float) -> F32Array:
    """(B,) probability of a switch before each block."""
    return np.clip(-np.expm1(-switch_per_cm * steps_cm), _MIN_SWITCH, _MAX_SWITCH).astype(np.float32)


def _blocks(cm: F64Array, parameters: PhasingParameters, borders: frozenset[int]) -> I64Array:
    starts = [0]
    for site, here in enumerate(cm.tolist()):
        full = site - starts[-1] >= parameters.block_sites or here - cm[starts[-1]] > parameters.block_cm
        if site and (full or site in borders):
            starts.append(site)
    return np.array([*starts, len(cm)])


def _runs(sizes: I64Array, least: int) -> I64Array:
    """Starts of runs of items that are together at least so large, except the last, and the number of items."""
    starts, size = [0], 0
    for item, own in enumerate(sizes.tolist()):
        if size >= least:
            starts.append(item)
            size = 0
        size += own
    return np.array([*starts, len(sizes)])
