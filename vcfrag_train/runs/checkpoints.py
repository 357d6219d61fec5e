"""Checkpoints: a folder that appears whole or not at all, and is used only with its provenance.

step-00000120/
    weights.safetensors   the model's tensors; the metadata holds its configuration
    metric.npy            (V,) float32 site weights in force for retrieval
    trainer.pt            optimiser, position, early stopping
    ledger.json           every index that the weights learned from
    config.toml           the resolved configuration
    provenance.json       what all of it was made from, with a digest of each file above
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vcfrag_core.errors import ProvenanceMismatchError, ProvenanceMissingError, ShapeError
from vcfrag_core.model.exported import WEIGHTS, file_digest, wrong_tensors
from vcfrag_core.model.provenance import PROVENANCE_FILE, Provenance, read_provenance, to_json
from vcfrag_core.retrieval.identity import metric_digest
from vcfrag_core.types import F32Array
from vcfrag_train.runs.index_usage import IndexUsage

if TYPE_CHECKING:
    import torch

METRIC = "metric.npy"
STATE = "trainer.pt"
INDEX_USAGE = "ledger.json"
CONFIG = "config.toml"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Everything that a checkpoint holds, but its provenance.

    Attributes:
        weights: The model's tensors by name.
        model: Its configuration, for rebuilding it.
        metric: (V,) site weights in force.
        state: What the trainer needs to go on: tensors, numbers, text, and lists and dictionaries of them.
        index_usage: Index uses so far.
        config: Text of the resolved configuration.
    """

    weights: Mapping[str, torch.Tensor]
    model: Mapping[str, Any]
    metric: F32Array
    state: Mapping[str, Any]
    index_usage: IndexUsage
    config: str


def write_checkpoint(checkpoints: Path, snapshot: Snapshot, provenance: Provenance) -> str:
    """Writes step-XXXXXXXX under `checkpoints` and returns its name; `provenance.files` is filled in here."""
    name = f"step-{provenance.step:08d}"
    temporary = checkpoints / f".{name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    _write_files(temporary, snapshot)
    digests = {path.name: file_digest(path) for path in sorted(temporary.iterdir())}
    record = dataclasses.replace(provenance, files=digests, metric=metric_digest(snapshot.metric))
    (temporary / PROVENANCE_FILE).write_text(to_json(record), encoding="utf-8")
    _put_in_place(temporary, checkpoints / name)
    return name


def verify(folder: Path) -> Provenance:
    """The provenance of a checkpoint whose files are the ones that it speaks of.

    Raises:
        ProvenanceMissingError: No provenance, or a file is missing.
        ProvenanceMismatchError: A file's content is not the recorded one, or the metric in force is not.
    """
    record = read_provenance(folder)
    for name in (WEIGHTS, METRIC, STATE, INDEX_USAGE, CONFIG):
        path = folder / name
        if name not in record.files or not path.is_file():
            raise ProvenanceMissingError(f"{folder}: {name} is missing, or the record does not speak of it")
        found = file_digest(path)
        if found != record.files[name]:
            raise ProvenanceMismatchError(
                f"{path} is not the file that the record speaks of: {found} instead of {record.files[name]}"
            )
    if metric_digest(read_metric(folder)) != record.metric:
        raise ProvenanceMismatchError(f"{folder}: the metric differs from the one that was in force ({record.metric})")
    return record


def load_weights(model: torch.nn.Module, tensors: Mapping[str, F32Array], folder: Path) -> None:
    """Puts the tensors of a checkpoint's folder into a model.

    Raises:
        ProvenanceMismatchError: They are not those of a model of this shape: another configuration or version wrote
            them.
    """
    from vcfrag_core.model.torch_network import load_tensors

    try:
        load_tensors(model, tensors)
    except ShapeError as error:
        raise wrong_tensors(folder, error) from error


def read_metric(folder: Path) -> F32Array:
    """(V,) the site weights in force."""
    return np.asarray(np.load(folder / METRIC, allow_pickle=False), dtype=np.float32)


def read_state(folder: Path) -> dict[str, Any]:
    """The trainer's state; nothing but tensors and plain values is unpickled."""
    import torch

    state: dict[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    return state


def prune(checkpoints: Path, keep: Collection[str]) -> None:
    """Removes checkpoints that are not in `keep`, and what an interrupted write left behind."""
    for path in checkpoints.iterdir():
        stale = path.name.startswith(".step-") or (path.name.startswith("step-") and path.name not in keep)
        if path.is_dir() and stale:
            shutil.rmtree(path)


def _write_files(folder: Path, snapshot: Snapshot) -> None:
    import torch
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in snapshot.weights.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"model": json.dumps(snapshot.model)})
    np.save(folder / METRIC, np.asarray(snapshot.metric, dtype="<f4"), allow_pickle=False)
    torch.save(dict(snapshot.state), folder / STATE)
    snapshot.index_usage.write(folder / INDEX_USAGE)
    (folder / CONFIG).write_text(snapshot.config, encoding="utf-8")


def _put_in_place(temporary: Path, final: Path) -> None:
    if final.exists():
        old = temporary.with_name(f"{temporary.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
        temporary.rename(final)
        shutil.rmtree(old)
    else:
        temporary.rename(final)
