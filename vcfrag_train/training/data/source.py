"""Where prepared batches come from: retrieval under the batch's own mask, with the identity that answered."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch

from vcfrag_core.copying.parameters import CopyingParameters, density, parameters_for
from vcfrag_core.model.tensors import ModelInput
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.split import Split
from vcfrag_core.panel.windows import Window
from vcfrag_core.retrieval.candidates import longer_scale_candidates, union_of_neighbours
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.streams import Stream
from vcfrag_core.types import BoolArray, F32Array, I8Array, I32Array
from vcfrag_core.window.random import ReferenceRows, random_candidates
from vcfrag_core.window.window import Candidates, MaskedWindow
from vcfrag_train.runs.index_usage import Role
from vcfrag_train.training.data.batches import BatchContext, model_input
from vcfrag_train.training.data.indexes import OpenIndexes
from vcfrag_train.training.data.plan import BatchPlan
from vcfrag_train.training.data.rates import TrainingRates
from vcfrag_train.training.validation.nearest_posterior import nearest_posterior

MIN_FLANK_CM = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreparedBatch:
    """A batch that is ready for the model.

    Attributes:
        plan: What it was to be.
        ploidy: Which queries are one sample.
        batch: The model's input.
        identity: Of the index that answered.
        frequency: (L,) ALT frequency among the training reference.
        search_share: Share of the time of its preparation that the daemon took.
        random: The same batch with random candidates; in validation only.
        candidates: Q arrays of retrieved panel rows; in validation only.
        nearest: Posterior mass on the nearest candidates of one query, and what chance would give; in validation only.
        on_host: (Q, L) truth and (L,) hidden sites where `batch` lies on a device.
    """

    plan: BatchPlan
    ploidy: Ploidy
    batch: ModelInput
    identity: Identity
    frequency: F32Array
    search_share: float = 0.0
    random: ModelInput | None = None
    candidates: tuple[I32Array, ...] = ()
    nearest: tuple[float, float] = (0.0, 0.0)
    on_host: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def truth_and_hidden(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(Q, L) truth and (L,) hidden sites in the host's memory."""
        return self.on_host or (self.batch.truth, self.batch.hidden)

    def pinned(self) -> PreparedBatch:
        """The batch in page-locked memory."""
        random = None if self.random is None else self.random.pinned()
        return dataclasses.replace(self, batch=self.batch.pinned(), random=random)

    def to(self, device: torch.device) -> PreparedBatch:
        """The batch on a device."""
        return dataclasses.replace(
            self,
            on_host=self.truth_and_hidden,
            batch=self.batch.to(device),
            random=None if self.random is None else self.random.to(device),
        )

    def __str__(self) -> str:
        return f"{self.plan}, mask digest {self.identity.mask}, metric digest {self.identity.metric}"


class BatchSource(Protocol):
    """Builds batches, on several threads at once."""

    def build(self, plan: BatchPlan, observed: BoolArray, weights: F32Array) -> PreparedBatch:
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


class MixedSource:
    """Builds the batches of several data sets.

    Args:
        sources: The source of each, by name.
        places: Where each one's sites lie in the metric, which has those of all.
    """

    def __init__(self, sources: Mapping[str, BatchSource], places: Mapping[str, slice]) -> None:
        self._sources = sources
        self._places = places

    def build(self, plan: BatchPlan, observed: BoolArray, weights: F32Array) -> PreparedBatch:
        name = plan.mask.data
        return self._sources[name].build(plan, observed, weights[self._places[name]])

    def close(self) -> None:
        for source in self._sources.values():
            source.close()


class RetrievalSource:
    """Builds batches from what daemons answer.

    Args:
        context: Panel, map, frequencies.
        splits: The split of each role.
        indexes: Opens and closes indexes.
        retrieval: Scales, neighbours and copying; chosen by the density of each mask unless given.
        rates: Rates of copying by density, where `retrieval` is not given; those of the rule without.
        flank_cm: Context on both sides of a window; that of the parameters unless given.
        seed: Of the random neighbours.
        keep_problem: Whether the model trains copying itself and needs the copying problem.
        max_uncertain: Most uncertain sites of a query that train the model; all unless given.
    """

    def __init__(
        self,
        context: BatchContext,
        splits: dict[Role, Split],
        indexes: OpenIndexes,
        *,
        retrieval: CopyingParameters | None,
        rates: TrainingRates | None = None,
        flank_cm: float | None,
        seed: int,
        keep_problem: bool,
        max_uncertain: int | None = None,
    ) -> None:
        self._context = context
        self._splits = splits
        self._indexes = indexes
        self._retrieval = retrieval
        self._parameters_for = parameters_for if rates is None else rates.parameters
        self._flank_cm = flank_cm
        self._seed = seed
        self._keep_problem = keep_problem
        self._max_uncertain = max_uncertain
        self._rows = {role: ReferenceRows(context.panel_context.panel, split) for role, split in splits.items()}

    def build(self, plan: BatchPlan, observed: BoolArray, weights: F32Array) -> PreparedBatch:
        started = time.monotonic()
        split = self._splits[plan.role]
        queries = self._queries(plan, observed, weights)
        index = self._indexes.open(queries.window.number, split, observed, weights, queries.parameters)
        result = index.search(queries.query_block(), queries.parameters.k)
        searched = time.monotonic()
        found = union_of_neighbours(result)
        candidates = Candidates(all_scales=found, longer_scales=longer_scale_candidates(result, found))
        groups = [split.groups[name] for name in queries.samples if isinstance(name, str)]
        inside = slice(queries.window.start, queries.window.stop)
        prepared = PreparedBatch(
            plan=plan,
            ploidy=queries.ploidy,
            batch=self._input(queries, candidates, groups, self._max_uncertain if plan.role == "train" else None),
            identity=index.identity,
            frequency=self._context.reference.frequency[inside].astype(np.float32),
            search_share=(searched - started) / max(time.monotonic() - started, 1e-9),
        )
        if plan.role == "train":
            return prepared
        allowed = [self._rows[plan.role].shown_to(name) for name in queries.samples]
        random = random_candidates(found, allowed, self._generator(plan))
        by_chance = Candidates(all_scales=random, longer_scales=[random] * len(candidates.longer_scales))
        return dataclasses.replace(
            prepared,
            random=self._input(queries, by_chance, groups),
            candidates=tuple(found),
            nearest=nearest_posterior(self._context.panel_context, queries, result),
        )

    def close(self) -> None:
        self._indexes.close()

    def parameters(self, observed: BoolArray) -> CopyingParameters:
        """Retrieval and copying under this mask."""
        if self._retrieval is not None:
            return self._retrieval
        return self._parameters_for(density(observed, self._context.panel_context.cm))

    def _window(self, window: Window, parameters: CopyingParameters, observed: BoolArray) -> Window:
        """The window with the context that suits the mask: wider where too few of its sites are observed."""
        cm = self._context.panel_context.cm
        flank_cm = parameters.flank_cm if self._flank_cm is None else self._flank_cm
        while True:
            start = int(np.searchsorted(cm, cm[window.start] - flank_cm, side="left"))
            stop = int(np.searchsorted(cm, cm[window.stop - 1] + flank_cm, side="right"))
            whole = start == 0 and stop == len(cm)
            if whole or int(observed[start:stop].sum()) >= parameters.min_observed:
                return Window(window.number, window.start, window.stop, start, stop)
            flank_cm = max(2 * flank_cm, MIN_FLANK_CM)

    def _queries(self, plan: BatchPlan, observed: BoolArray, weights: F32Array) -> MaskedWindow:
        parameters = self.parameters(observed)
        window = self._window(plan.window, parameters, observed)
        ploidy = self._context.panel_context.panel.ploidy_of(plan.samples)
        return MaskedWindow(
            window=window,
            observed=observed,
            weights=weights,
            parameters=parameters,
            alleles=self._alleles(plan.samples, window),
            samples=ploidy.of_haplotypes(plan.samples),
            ploidy=ploidy,
        )

    def _alleles(self, samples: Sequence[str], window: Window) -> I8Array:
        """(Q, V) alleles within the context, -1 beyond."""
        panel = self._context.panel_context.panel
        rows = panel.rows_of(samples)
        alleles = np.full((len(rows), panel.n_sites), -1, dtype=np.int8)
        context = slice(window.context_start, window.context_stop)
        alleles[:, context] = panel.haplotypes(rows, window.context_start, window.context_stop)
        return alleles

    def _input(
        self,
        queries: MaskedWindow,
        candidates: Candidates,
        groups: Sequence[str],
        max_uncertain: int | None = None,
    ) -> ModelInput:
        batch, _ = model_input(self._context, queries, candidates, groups, max_uncertain=max_uncertain)
        return batch if self._keep_problem else dataclasses.replace(batch, problem=None)

    def _generator(self, plan: BatchPlan) -> np.random.Generator:
        key = Stream("random neighbours", self._seed, plan.mask.kind, plan.position).raw(2)
        return np.random.Generator(np.random.Philox(key=key))
