"""Typed sites hidden in folds, from retrieval and from copying, and imputed from the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Final, Protocol, Self

import numpy as np

from vcfrag_core.copying.parameters import CopyingParameters, density
from vcfrag_core.copying.problem import CopyingProblem
from vcfrag_core.errors import RangeError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split import Split
from vcfrag_core.panel.windows import Window
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import BoolArray, F32Array, F64Array, I64Array
from vcfrag_core.window.window import MaskedWindow

# Where typed sites are dense, half of them foretell the others well, and every fold builds its own indexes.
_DENSE_PER_CM: Final = 250.0
_FOLDS: Final = 5
_FOLDS_DENSE: Final = 2


def folds_for(observed: BoolArray, cm: F64Array) -> int:
    """Folds in which typed sites are hidden, by their density; fewer than 2 where there is no second site.

    Args:
        observed: (V,) typed sites.
        cm: (V,) genetic positions.
    """
    folds = _FOLDS_DENSE if density(observed, cm) > _DENSE_PER_CM else _FOLDS
    return min(folds, int(observed.sum()))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HiddenSites:
    """Hidden typed sites of one window, after retrieval.

    Attributes:
        sites: (n,) panel sites.
        queries: The window under the mask that lacks them.
        problem: Copying to them.
    """

    sites: I64Array
    queries: MaskedWindow
    problem: CopyingProblem


class HidesSites(Protocol):
    """What is needed of an `Imputer`."""

    panel: Panel
    cm: F64Array
    split: Split

    @property
    def threads(self) -> int: ...

    def with_parameters(self, parameters: CopyingParameters) -> Self: ...

    def parameters(self, observed: BoolArray) -> CopyingParameters: ...

    def windows(self, observed: BoolArray) -> list[Window]: ...

    def hidden(
        self, targets: Targets, sites: I64Array
    ) -> AbstractContextManager[Callable[[Window, I64Array], HiddenSites]]: ...

    def copied(self, hidden: HiddenSites, pool: ThreadPoolExecutor | None = None) -> F32Array: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Typed sites of one window that one fold hides."""

    fold: int
    window: Window
    sites: I64Array


class LeaveOneOut:
    """Every typed site imputed for some samples, as if it had not been typed.

    Typed site number n is hidden in fold n % folds. What was retrieved for some places may be kept, for trying several
    rates or for a second reading.

    Args:
        targets: The samples.
        folds: Number of folds, at least 2.

    Raises:
        RangeError: Fewer than two folds, or fewer typed sites than folds.
    """

    def __init__(self, targets: Targets, *, folds: int) -> None:
        self.targets = targets
        self.folds = folds
        self.sites: I64Array = np.flatnonzero(targets.observed)
        if not 2 <= folds <= len(self.sites):
            raise RangeError(f"leave-one-out needs 2 to {len(self.sites)} folds, got {folds}")
        self._kept: dict[tuple[int, int, tuple[object, ...]], HiddenSites] = {}

    def places(self, imputer: HidesSites) -> list[Place]:
        """Where sites are hidden: every fold of every window that has typed sites of it."""
        found = []
        windows = imputer.windows(self.targets.observed)
        for fold in range(self.folds):
            hidden = self.sites[fold :: self.folds]
            for window in windows:
                inside = hidden[(hidden >= window.start) & (hidden < window.stop)]
                if len(inside):
                    found.append(Place(fold, window, inside))
        return found

    def keep(self, imputer: HidesSites, places: list[Place]) -> list[HiddenSites]:
        """Retrieves at the places, and remembers it."""
        found = dict(self._retrieved(imputer, places))
        for place, hidden in found.items():
            self._kept[self._key(imputer, *place)] = hidden
        return [found[place.fold, place.window.number] for place in places]

    def kept(self, imputer: HidesSites) -> list[HiddenSites]:
        """What is remembered of retrieval under these parameters, whatever the rates."""
        wanted = self._key(imputer, 0, 0)[2]
        return [hidden for (_, _, parameters), hidden in self._kept.items() if parameters == wanted]

    def dosages(self, imputer: HidesSites) -> F32Array:
        """(Q, M) probabilities of ALT at the typed sites, under the imputer's parameters."""
        out = np.empty((self.targets.ploidy.n_haplotypes, len(self.sites)), dtype=np.float32)
        with ThreadPoolExecutor(imputer.threads) as pool:
            for _, hidden in self._retrieved(imputer, self.places(imputer)):
                out[:, np.searchsorted(self.sites, hidden.sites)] = imputer.copied(hidden, pool)
        return out

    def _retrieved(self, imputer: HidesSites, places: list[Place]) -> Iterator[tuple[tuple[int, int], HiddenSites]]:
        """Fold and window number of each place with its sites after retrieval, remembered or new."""
        for fold in sorted({place.fold for place in places}):
            missing = []
            for place in places:
                if place.fold == fold:
                    kept = self._kept.get(self._key(imputer, fold, place.window.number))
                    if kept is None:
                        missing.append(place)
                    else:
                        yield (fold, place.window.number), kept
            if missing:
                with imputer.hidden(self.targets, self.sites[fold :: self.folds]) as at:
                    for place in missing:
                        yield (fold, place.window.number), at(place.window, place.sites)

    def _key(self, imputer: HidesSites, fold: int, window: int) -> tuple[int, int, tuple[object, ...]]:
        p = imputer.parameters(self.targets.observed)
        return fold, window, (p.scales, p.k, p.flank_cm, p.min_observed)
