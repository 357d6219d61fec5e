"""Where prepared batches come from: retrieval under the batch's own mask, with the identity that answered."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from vcfrag_core.copying.parameters import CopyingParameters, density, parameters_for
from vcfrag_core.model.network import ModelInput
from vcfrag_core.panel.split import Split
from vcfrag_core.panel.windows import Window
from vcfrag_core.retrieval.candidates import longer_scale_candidates, union_of_neighbours
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.streams import Stream
from vcfrag_core.types import BoolArray, F32Array, I8Array, I32Array
from vcfrag_train.fit.data.batches import Ground, model_input, query_block, random_candidates
from vcfrag_train.fit.data.indexes import OpenIndexes
from vcfrag_train.fit.data.plan import BatchPlan
from vcfrag_train.fit.validation.nearest_posterior import nearest_mass
from vcfrag_train.runs.index_usage import Role

LEAST_FLANK_CM = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A batch that is ready for the model.

    Attributes:
        plan: What it was to be.
        batch: The model's input.
        identity: Of the index that answered.
        frequency: (L,) ALT frequency among the training reference.
        search_share: Share of the time of its preparation that the daemon took.
        random: The same batch with random candidates; in validation only.
        candidates: Q arrays of retrieved panel rows; in validation only.
        nearest: Posterior mass on the nearest candidates of one query, and what chance would give; in validation only.
    """

    plan: BatchPlan
    batch: ModelInput
    identity: Identity
    frequency: F32Array
    search_share: float = 0.0
    random: ModelInput | None = None
    candidates: tuple[I32Array, ...] = ()
    nearest: tuple[float, float] = (0.0, 0.0)

    def to(self, device: torch.device) -> Prepared:
        """The batch on a device."""
        return dataclasses.replace(
            self,
            batch=self.batch.to(device),
            random=None if self.random is None else self.random.to(device),
        )

    def __str__(self) -> str:
        return f"{self.plan}, mask digest {self.identity.mask}, metric digest {self.identity.metric}"


class BatchSource(Protocol):
    """Builds batches, on several threads at once."""

    def build(self, plan: BatchPlan, observed: BoolArray, weights: F32Array) -> Prepared:
        """Retrieves for a batch and makes the model's input.

        Args:
            plan: Which batch.
            observed: (V,) its mask.
            weights: (V,) the metric that retrieves.
        """
        ...

    def close(self) -> None:
        """Closes the indexes that are still open."""
        ...


class RetrievalSource:
    """Builds batches from what daemons answer.

    Args:
        ground: Panel, map, frequencies.
        splits: The split of each role.
        indexes: Opens and closes indexes.
        retrieval: Scales, neighbours and copying; chosen by the density of each mask unless given.
        flank_cm: Context on both sides of a window; that of the parameters unless given.
        seed: Of the random neighbours.
        keep_problem: Whether the model trains copying itself and needs the copying problem.
        most_uncertain: Most uncertain sites of a query that train the model; all unless given.
    """

    def __init__(
        self,
        ground: Ground,
        splits: dict[Role, Split],
        indexes: OpenIndexes,
        *,
        retrieval: CopyingParameters | None,
        flank_cm: float | None,
        seed: int,
        keep_problem: bool,
        most_uncertain: int | None = None,
    ) -> None:
        self._ground = ground
        self._splits = splits
        self._indexes = indexes
        self._retrieval = retrieval
        self._flank_cm = flank_cm
        self._seed = seed
        self._keep_problem = keep_problem
        self._most_uncertain = most_uncertain
        self._rows = {role: _ReferenceRows(ground, split) for role, split in splits.items()}

    def build(self, plan: BatchPlan, observed: BoolArray, weights: F32Array) -> Prepared:
        started = time.monotonic()
        parameters = self.parameters(observed)
        window = self._window(plan.window, parameters, observed)
        split = self._splits[plan.role]
        index = self._indexes.open(window.number, split, observed, weights, parameters)
        alleles = self._alleles(plan.samples, window)
        names = [name for name in plan.samples for _ in range(2)]
        result = self._indexes.search(window.number, index, query_block(window, alleles, observed, names), parameters.k)
        searched = time.monotonic()
        candidates = union_of_neighbours(result)
        most = self._most_uncertain if plan.role == "train" else None
        groups = [split.groups[name] for name in names]
        longer_scales = longer_scale_candidates(result, candidates)
        batch = self._input(window, alleles, observed, weights, parameters, candidates, longer_scales, groups, most)
        prepared = Prepared(
            plan=plan,
            batch=batch,
            identity=index.identity,
            frequency=self._ground.reference.frequency[window.start : window.stop].astype(np.float32),
            search_share=(searched - started) / max(time.monotonic() - started, 1e-9),
        )
        if plan.role == "train":
            return prepared
        random = random_candidates(
            candidates, [self._rows[plan.role].others(name) for name in names], self._generator(plan)
        )
        return dataclasses.replace(
            prepared,
            random=self._input(
                window, alleles, observed, weights, parameters, random, [random] * len(longer_scales), groups
            ),
            candidates=tuple(candidates),
            nearest=nearest_mass(self._ground, window, alleles[0], observed, weights, parameters, result),
        )

    def close(self) -> None:
        self._indexes.close()

    def parameters(self, observed: BoolArray) -> CopyingParameters:
        """Retrieval and copying under this mask."""
        if self._retrieval is not None:
            return self._retrieval
        return parameters_for(density(observed, self._ground.cm))

    def _window(self, window: Window, parameters: CopyingParameters, observed: BoolArray) -> Window:
        """The window with the context that suits the mask: wider where too few of its sites are observed."""
        cm = self._ground.cm
        flank_cm = parameters.flank_cm if self._flank_cm is None else self._flank_cm
        while True:
            start = int(np.searchsorted(cm, cm[window.start] - flank_cm, side="left"))
            stop = int(np.searchsorted(cm, cm[window.stop - 1] + flank_cm, side="right"))
            whole = start == 0 and stop == len(cm)
            if whole or int(observed[start:stop].sum()) >= parameters.min_observed:
                return Window(window.number, window.start, window.stop, start, stop)
            flank_cm = max(2 * flank_cm, LEAST_FLANK_CM)

    def _alleles(self, samples: Sequence[str], window: Window) -> I8Array:
        """(Q, V) alleles within the context, -1 beyond."""
        panel = self._ground.panel
        context = slice(window.context_start, window.context_stop)
        alleles = np.full((2 * len(samples), panel.n_sites), -1, dtype=np.int8)
        alleles[:, context] = panel.haplotypes(panel.rows_of(samples), window.context_start, window.context_stop)
        return alleles

    def _input(
        self,
        window: Window,
        alleles: I8Array,
        observed: BoolArray,
        weights: F32Array,
        parameters: CopyingParameters,
        candidates: Sequence[I32Array],
        longer_scales: Sequence[Sequence[I32Array]],
        groups: Sequence[str],
        most_uncertain: int | None = None,
    ) -> ModelInput:
        batch, _ = model_input(
            self._ground,
            window,
            alleles,
            observed,
            weights,
            parameters,
            candidates,
            longer_scales,
            groups,
            most_uncertain=most_uncertain,
        )
        return batch if self._keep_problem else dataclasses.replace(batch, problem=None)

    def _generator(self, plan: BatchPlan) -> np.random.Generator:
        key = Stream("random neighbours", self._seed, plan.mask.kind, plan.position).raw(2)
        return np.random.Generator(np.random.Philox(key=key))


class _ReferenceRows:
    """Panel rows of a split's reference, by exclusion group."""

    def __init__(self, ground: Ground, split: Split) -> None:
        self._rows = ground.panel.rows_of(split.reference).astype(np.int32)
        self._groups = np.repeat(np.array([split.groups[name] for name in split.reference]), 2)
        self._split = split

    def others(self, sample: str) -> I32Array:
        """Rows that it may be shown."""
        others: I32Array = self._rows[self._groups != self._split.groups[sample]]
        return others
