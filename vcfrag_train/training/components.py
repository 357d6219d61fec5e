"""The model's side of a run: network, loss, metric, and the batches that daemons answer for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vcfrag_core.evidence.group_excluded import GroupExcludedReference
from vcfrag_core.model import losses
from vcfrag_core.model.config import ModelConfig
from vcfrag_core.model.network import ImputationModel
from vcfrag_core.model.torch_threads import torch_threads
from vcfrag_core.retrieval.site_weights import quantise
from vcfrag_core.settings import from_table, to_table
from vcfrag_core.types import F32Array
from vcfrag_core.window.context import PanelContext, RecentColumns
from vcfrag_train.client.client import IndexClient
from vcfrag_train.client.embedded import embedded_daemon
from vcfrag_train.client.retriever import RemoteRetriever
from vcfrag_train.training.config import FitConfig, OptimiserConfig
from vcfrag_train.training.data.batches import BatchContext
from vcfrag_train.training.data.dataset import TrainingData
from vcfrag_train.training.data.indexes import OpenIndexes
from vcfrag_train.training.data.source import RetrievalSource
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
def connected(config: FitConfig, data: TrainingData, model: ImputationModel) -> Iterator[TrainingComponents]:
    """The components, with clients of the daemons in the configuration or of one that is embedded here.

    While it lasts, torch computes with the configuration's number of threads.

    Raises:
        UnknownPanelError, PanelMismatchError: A daemon does not serve this very panel.
        ServiceError: A daemon cannot be reached.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch_threads(config.trainer.threads))
        addresses = config.daemon.addresses or (stack.enter_context(embedded_for(config, data)),)
        clients = [stack.enter_context(IndexClient(address)) for address in addresses]
        digest = data.fields["panel"]
        retrievers = [RemoteRetriever(client, panel_name=config.panel.name, panel_digest=digest) for client in clients]
        indexes = OpenIndexes(retrievers, panel_digest=digest)
        threads = config.trainer.copying_threads
        pool = stack.enter_context(ThreadPoolExecutor(threads, thread_name_prefix="vcfrag-copying"))
        train, panel = data.splits.train, data.panel
        groups = panel.ploidy_of(train.reference).of_haplotypes(train.groups[name] for name in train.reference)
        context = BatchContext(
            panel_context=PanelContext(
                panel=panel,
                cm=data.genetic_map.at(panel.positions),
                columns=RecentColumns(panel, MAX_COLUMNS),
            ),
            reference=GroupExcludedReference(panel, panel.rows_of(train.reference), groups),
            n_candidates=model.config.candidates,
            pool=pool if threads > 1 else None,
            copy_otherwise=not config.trainer.copying_on_device,
        )
        source = RetrievalSource(
            context,
            {"train": data.splits.train, "validation": data.splits.validation},
            indexes,
            retrieval=config.retrieval,
            rates=data.rates,
            flank_cm=config.windows.flank_cm,
            seed=config.masks.validation_seed,
            keep_problem=model.config.learn_copying or config.trainer.copying_on_device,
            max_uncertain=config.optimiser.uncertain_sites,
        )
        yield TrainingComponents(
            model=model,
            table=to_table(model.config),
            loss=loss_of(config.optimiser),
            site_weights=lambda: site_weights(model, data.frequency),
            source=source,
        )


def embedded_for(config: FitConfig, data: TrainingData) -> contextlib.AbstractContextManager[str]:
    """Address of a daemon of this process's own."""
    return embedded_daemon(
        {config.panel.name: data.panel},
        threads=config.daemon.threads,
        memory_budget_bytes=config.daemon.memory_budget_bytes,
        device_budget_bytes=config.daemon.device_budget_bytes,
        devices=own_device(config),
    )


def own_device(config: FitConfig) -> tuple[int, ...]:
    """Of several processes on a machine each one's daemon keeps to the device that it trains on; else all."""
    # As torchrun and Lightning's own launcher say it, or SLURM.
    rank = os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or "0"
    return (int(rank),) if config.trainer.devices > 1 else ()
