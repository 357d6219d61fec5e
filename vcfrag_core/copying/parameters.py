"""Parameters of retrieval and copying, and the one rule that chooses them from the density of the data."""

from __future__ import annotations

import dataclasses
import math

from vcfrag_core.errors import ConfigError
from vcfrag_core.types import BoolArray, F64Array


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CopyingParameters:
    """How candidates are retrieved and how a query copies from them.

    Attributes:
        scales: Observed sites that a segment should hold, one number for each scale, ascending.
        k: Neighbours of every segment.
        flank_cm: Context on both sides of a window.
        switch_per_cm: Rate lambda of switches between candidates.
        mismatch: Probability mu of a mismatch; a site's weight is log((1 - mu) / mu) unless a metric is learned.
        min_observed: Segments with fewer observed sites are not searched.
    """

    scales: tuple[int, ...]
    k: int
    flank_cm: float
    switch_per_cm: float
    mismatch: float = 1e-3
    min_observed: int = 4

    def __post_init__(self) -> None:
        if not self.scales or list(self.scales) != sorted(set(self.scales)) or self.scales[0] < 1:
            raise ConfigError(f"scales must ascend from 1, got {self.scales}")
        if self.k < 1 or self.min_observed < 1:
            raise ConfigError(f"k and min_observed must be >= 1, got {self.k} and {self.min_observed}")
        if not (self.flank_cm >= 0 and self.switch_per_cm > 0):
            raise ConfigError(f"flank_cm must be >= 0 and switch_per_cm > 0, got {self.flank_cm}, {self.switch_per_cm}")
        if not 1e-6 <= self.mismatch < 0.5:
            raise ConfigError(f"mismatch must lie in [1e-6, 0.5), got {self.mismatch}")

    @property
    def weight(self) -> float:
        """Cost of a mismatch: log((1 - mu) / mu)."""
        return math.log((1 - self.mismatch) / self.mismatch)


SPARSE = CopyingParameters(scales=(16, 64, 200), k=24, flank_cm=2.0, switch_per_cm=3.0)
DENSE = CopyingParameters(scales=(32, 128, 512), k=3, flank_cm=2.0, switch_per_cm=6.0, mismatch=3e-3)
SPARSE_PER_CM = 60.0
DENSE_PER_CM = 750.0
MIN_SPAN_CM = 1e-3
# A short region has few segments: at the k of a long one next to no candidates are found there
# (docs/decisions/context-and-neighbours.md).
LEAST_NEIGHBOURS = 400
MOST_K = 60


def density(observed: BoolArray, cm: F64Array) -> float:
    """Observed sites per centimorgan.

    Args:
        observed: (V,) the mask.
        cm: (V,) genetic positions.
    """
    return float(observed.sum()) / max(float(cm[-1] - cm[0]), MIN_SPAN_CM)


def dense_share(observed_per_cm: float) -> float:
    """Where data lie between a genotyping array, 0, and dense data, 1, on a logarithmic scale; beyond them the nearer.

    Raises:
        ConfigError: A density that is not positive.
    """
    if not (observed_per_cm > 0 and math.isfinite(observed_per_cm)):
        raise ConfigError(f"observed sites per cM must be positive, got {observed_per_cm}")
    share = math.log(observed_per_cm / SPARSE_PER_CM) / math.log(DENSE_PER_CM / SPARSE_PER_CM)
    return min(1.0, max(0.0, share))


def parameters_for(observed_per_cm: float, n_observed: int | None = None) -> CopyingParameters:
    """The parameters for data with this many observed sites per centimorgan.

    Between a genotyping array (60 per cM) and dense data (750 per cM) every number moves geometrically with the
    density; beyond, it stays. Both ends were chosen on panel samples and generated panels
    (docs/decisions/copying-parameters.md, docs/decisions/context-and-neighbours.md). Where there are so few observed
    sites that all segments together have fewer than `LEAST_NEIGHBOURS` neighbours, k is larger, up to `MOST_K`.

    Args:
        observed_per_cm: Density.
        n_observed: Observed sites of the region; None: many.

    Raises:
        ConfigError: A density that is not positive.
    """
    share = dense_share(observed_per_cm)

    def between(sparse: float, dense: float) -> float:
        return float(sparse * (dense / sparse) ** share)

    scales = tuple(round(between(a, b)) for a, b in zip(SPARSE.scales, DENSE.scales, strict=True))
    k = round(between(SPARSE.k, DENSE.k))
    if n_observed is not None:
        k = max(k, min(MOST_K, math.ceil(LEAST_NEIGHBOURS / _expected_segments(n_observed, scales))))
    return CopyingParameters(
        scales=scales,
        k=k,
        flank_cm=between(SPARSE.flank_cm, DENSE.flank_cm),
        switch_per_cm=between(SPARSE.switch_per_cm, DENSE.switch_per_cm),
        mismatch=between(SPARSE.mismatch, DENSE.mismatch),
    )


def _expected_segments(n_observed: int, scales: tuple[int, ...]) -> float:
    """About how many half-overlapping segments a region has; one stands for all scales that do not fit into it."""
    fitting = [scale for scale in scales if scale <= n_observed]
    return sum(2 * n_observed / scale - 1 for scale in fitting) + (len(fitting) < len(scales))
