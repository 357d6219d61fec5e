"""The metric in force, version by version; whoever builds a batch of the next version waits until it is there."""

from __future__ import annotations

import threading

import numpy as np

from vcfrag_core.errors import TrainingError
from vcfrag_core.retrieval.identity import metric_digest
from vcfrag_core.types import F32Array


class MetricGate:
    """Site weights by version, none at first. Versions only rise; the last two are kept."""

    def __init__(self) -> None:
        self._weights: dict[int, F32Array] = {}
        self._version = -1
        self._closed = False
        self._changed = threading.Condition()

    @property
    def version(self) -> int:
        """The version in force; -1 before the first."""
        return self._version

    @property
    def weights(self) -> F32Array:
        """(V,) the weights in force."""
        with self._changed:
            return self._weights[self._version]

    @property
    def digest(self) -> str:
        return metric_digest(self.weights)

    def publish(self, version: int, weights: F32Array) -> None:
        """Puts a later version in force.

        Raises:
            TrainingError: The version is not later than the one in force.
        """
        with self._changed:
            if version <= self._version:
                raise TrainingError(f"metric version {version} published after version {self._version}")
            kept = {self._version: self._weights[self._version]} if self._weights else {}
            self._weights = {**kept, version: weights}
            self._version = version
            self._changed.notify_all()

    def wait_for(self, version: int) -> F32Array:
        """(V,) the weights of a version, as soon as it is published.

        Raises:
            TrainingError: The gate was closed, or the version is no longer kept.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._version >= version)
            if version not in self._weights:
                raise TrainingError(f"metric version {version} is not at hand, version {self._version} is in force")
            return self._weights[version]

    def close(self) -> None:
        """Wakes everybody who waits; they fail."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def change(before: F32Array, after: F32Array) -> float:
    """Relative change of the weights, sum |after - before| / sum |before|; 0 where both are 0."""
    total = float(np.abs(before, dtype=np.float64).sum())
    moved = float(np.abs(after.astype(np.float64) - before).sum())
    return moved / total if total > 0 else float(moved > 0)
