"""The model's side of a run: network, loss, metric, and the batches that daemons answer for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vcfrag_core.evidence.group_excluded import GroupExcludedReference
from vcfrag_core.model import losses
from vcfrag_core.model.config import ModelConfig
from vcfrag_core.model.network import ImputationModel
from vcfrag_core.model.torch_threads import torch_threads
from vcfrag_core.panel.panel import panel_digest
from vcfrag_core.retrieval.site_weights import quantise
from vcfrag_core.settings import from_table, to_table
from vcfrag_core.types import F32Array
from vcfrag_core.window.context import PanelContext, RecentColumns
from vcfrag_train.client.client import IndexClient
from vcfrag_train.client.embedded import embedded_daemon
from vcfrag_train.client.retriever import RemoteRetriever
from vcfrag_train.training.config import FitConfig, OptimiserConfig
from vcfrag_train.training.data.batches import BatchContext
from vcfrag_train.training.data.dataset import RunData, TrainingData
from vcfrag_train.training.data.indexes import OpenIndexes
from vcfrag_train.training.data.source import MixedSource, RetrievalSource
from vcfrag_train.training.loop import TrainingComponents

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

# As many visits as may be under way at a time: `optimiser.lanes` and those prepared ahead.
MAX_COLUMNS = 8


def model_config(table: Mapping[str, Any]) -> ModelConfig:
    """The network's shape from a configuration's table `model`.

    Raises:
        ConfigError: An unknown key or a value that makes no sense.
    """
    return from_table(ModelConfig, table, base=Path(), where="model")


def make_model(config: ModelConfig, seed: int) -> ImputationModel:
    """A new network; the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ImputationModel(config)


def loss_of(config: OptimiserConfig) -> Loss:
    """The loss that the configuration asks for."""
    if config.loss == "focal":
        return lambda logits, truth, hidden: losses.focal(logits, truth, hidden, gamma=config.focal_gamma)
    return losses.cross_entropy


def site_weights(model: ImputationModel, frequency: F32Array) -> F32Array:
    """(V,) the metric of the model's embedding as it is now, quantised for retrieval."""
    device = model.eta_logit.device
    with torch.no_grad():
        weights = model.site_weights(torch.from_numpy(frequency).to(device))
    return quantise(weights.double().cpu().numpy())


@contextlib.contextmanager
def connected(config: FitConfig, data: RunData, model: ImputationModel) -> Iterator[TrainingComponents]:
    """The components, with clients of the daemons in the configuration or of one that is embedded here.

    While it lasts, torch computes with the configuration's number of threads.

    Raises:
        UnknownPanelError, PanelMismatchError: A daemon does not serve these very panels.
        ServiceError: A daemon cannot be reached.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch_threads(config.trainer.threads))
        addresses = config.daemon.addresses or (stack.enter_context(embedded_for(config, data.sets)),)
        clients = [stack.enter_context(IndexClient(address)) for address in addresses]
        threads = config.trainer.copying_threads
        pool = stack.enter_context(ThreadPoolExecutor(threads, thread_name_prefix="vcfrag-copying"))
        sources = {one.name: _source(config, one, clients, model, pool if threads > 1 else None) for one in data.sets}
        yield TrainingComponents(
            model=model,
            table=to_table(model.config),
            loss=loss_of(config.optimiser),
            site_weights=lambda: np.concatenate([site_weights(model, one.frequency) for one in data.sets]),
            source=MixedSource(sources, data.places()),
        )


def embedded_for(config: FitConfig, sets: Sequence[TrainingData]) -> contextlib.AbstractContextManager[str]:
    """Address of a daemon of this process's own, which serves the panels of these data sets."""
    return embedded_daemon(
        {one.panel_name: one.panel for one in sets},
        threads=config.daemon.threads,
        memory_budget_bytes=config.daemon.memory_budget_bytes,
        device_budget_bytes=config.daemon.device_budget_bytes,
        devices=own_device(config),
    )


def _source(
    config: FitConfig,
    data: TrainingData,
    clients: Sequence[IndexClient],
    model: ImputationModel,
    pool: ThreadPoolExecutor | None,
) -> RetrievalSource:
    """What builds the batches of one data set."""
    digest, train, panel = panel_digest(data.panel), data.splits.train, data.panel
    retrievers = [RemoteRetriever(client, panel_name=data.panel_name, panel_digest=digest) for client in clients]
    groups = panel.ploidy_of(train.reference).of_haplotypes(train.groups[name] for name in train.reference)
    context = BatchContext(
        panel_context=PanelContext(
            panel=panel,
            cm=data.genetic_map.at(panel.positions),
            columns=RecentColumns(panel, MAX_COLUMNS),
        ),
        reference=GroupExcludedReference(panel, panel.rows_of(train.reference), groups),
        n_candidates=model.config.candidates,
        pool=pool,
        copy_otherwise=not config.trainer.copying_on_device,
        counted=data.counted,
    )
    return RetrievalSource(
        context,
        {"train": data.splits.train, "validation": data.splits.validation},
        OpenIndexes(retrievers, panel_digest=digest),
        retrieval=config.retrieval,
        rates=data.rates,
        flank_cm=config.windows.flank_cm,
        seed=config.masks.validation_seed,
        keep_problem=model.config.learn_copying or config.trainer.copying_on_device,
        max_uncertain=config.optimiser.uncertain_sites,
    )


def own_device(config: FitConfig) -> tuple[int, ...]:
    """Of several processes on a machine each one's daemon keeps to the device that it trains on; else all."""
    # As torchrun and Lightning's own launcher say it, or SLURM.
    rank = os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or "0"
    return (int(rank),) if config.trainer.devices > 1 else ()
