"""A trained model for use: the weights of a checkpoint, and the proof of what they were made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vcfrag_core.errors import ProvenanceMissingError, ShapeError
from vcfrag_core.evidence.inputs import INPUTS_DIGEST
from vcfrag_core.model.config import ModelConfig
from vcfrag_core.model.one_layer import OneLayer
from vcfrag_core.settings import from_table
from vcfrag_core.types import F32Array
from vcfrag_train.extras import require
from vcfrag_train.models.exported import Scores, bins_left_to_copying, is_exported, read_exported, validation_scores
from vcfrag_train.runs import checkpoints
from vcfrag_train.runs.folder import RunFolder
from vcfrag_train.runs.provenance import Acceptance, Provenance

if TYPE_CHECKING:
    from vcfrag_train.models.torch_network import TorchNetwork


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A model and its provenance.

    Attributes:
        config: Its shape.
        tensors: Its parameters by name.
        provenance: What it was made from.
        accepted: Differences that the caller accepted just now.
        folder: The checkpoint, or the exported model.
        left_to_copying: MAF bins (low, high] in which copying did better on held-out samples.
    """

    config: ModelConfig
    tensors: Mapping[str, F32Array]
    provenance: Provenance
    accepted: tuple[Acceptance, ...]
    folder: Path
    left_to_copying: tuple[tuple[float, float], ...]

    def network(self) -> OneLayer | TorchNetwork:
        """The model at work: without torch where its shape allows it.

        Raises:
            ConfigError: It needs torch, which is not installed.
            ProvenanceMismatchError: The tensors are not those of a model of this shape.
        """
        if OneLayer.serves(self.config):
            try:
                return OneLayer(self.config, self.tensors)
            except ShapeError as error:
                raise checkpoints.wrong_tensors(self.folder, error) from error
        require("torch")
        from vcfrag_core.model.network import ImputationModel
        from vcfrag_train.models.torch_network import TorchNetwork

        model = ImputationModel(self.config)
        checkpoints.load_weights(model, self.tensors, self.folder)
        return TorchNetwork(model)


def load_trained(path: Path, *, found: Mapping[str, str] | None = None, accept: Collection[str] = ()) -> TrainedModel:
    """The model of a run's best checkpoint, of the very checkpoint that is named, or one that was exported.

    Args:
        path: A run folder, a checkpoint's folder or an exported model's.
        found: What the model shall be used with, by field of `vcfrag_train.runs.provenance.FIELDS`: `panel` and `map`.
        accept: Fields that may differ, such as `panel` for a panel that it was not trained on.

    Raises:
        ProvenanceMissingError: No checkpoint there, or one that does not say what it was made from.
        ProvenanceMismatchError: Its files are not those that it speaks of, or a field differs and is not accepted.
    """
    folder = checkpoint_of(path)
    record, scores = read_exported(folder) if is_exported(folder) else _checkpoint(folder)
    accepted = record.check({**(found or {}), "inputs": INPUTS_DIGEST}, accept)
    tensors, table = checkpoints.read_weights(folder)
    return TrainedModel(
        config=from_table(ModelConfig, table, base=folder, where="model"),
        tensors=tensors,
        provenance=record,
        accepted=accepted,
        folder=folder,
        left_to_copying=bins_left_to_copying(scores),
    )


def _checkpoint(folder: Path) -> tuple[Provenance, Scores]:
    """The record of a run's checkpoint, and its validation where it closed an epoch and lies in its run."""
    record = checkpoints.verify(folder)
    run = RunFolder(folder.parent.parent)
    try:
        return record, validation_scores(run, record.step)
    except (OSError, ProvenanceMissingError):
        return record, {}


def checkpoint_of(path: Path) -> Path:
    """The checkpoint that a path means: itself, or the best one of a run.

    Raises:
        ProvenanceMissingError: There is none.
    """
    if (path / checkpoints.WEIGHTS).is_file():
        return path
    return RunFolder.open(path).checkpoint()
