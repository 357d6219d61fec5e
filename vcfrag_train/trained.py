"""A trained model for use: the weights of a checkpoint, and the proof of what they were made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vcfrag_core.errors import ProvenanceMismatchError
from vcfrag_core.types import F32Array
from vcfrag_train import checkpoints
from vcfrag_train.config import FitConfig
from vcfrag_train.provenance import Acceptance, Provenance
from vcfrag_train.run import RunFolder
from vcfrag_train.toml_config import from_table, read_toml

if TYPE_CHECKING:
    from vcfrag_core.model import ImputationModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A model and its provenance.

    Attributes:
        model: In evaluation mode, on the CPU.
        provenance: What it was made from.
        config: The configuration of its training.
        accepted: Differences that the caller accepted just now.
        folder: The checkpoint.
        metric: (V,) site weights in force on the panel that it was trained on.
    """

    model: ImputationModel
    provenance: Provenance
    config: FitConfig
    accepted: tuple[Acceptance, ...]
    folder: Path
    metric: F32Array


def load_trained(path: Path, *, found: Mapping[str, str] | None = None, accept: Collection[str] = ()) -> TrainedModel:
    """The model of a run's best checkpoint, or of the very checkpoint that is named.

    Args:
        path: A run folder or a checkpoint's folder.
        found: What the model shall be used with, by field of `vcfrag_train.provenance.FIELDS`: `panel` and `map`.
        accept: Fields that may differ, such as `panel` for a panel that it was not trained on.

    Raises:
        ProvenanceMissingError: No checkpoint there, or one that does not say what it was made from.
        ProvenanceMismatchError: Its files are not those that it speaks of, or a field differs and is not accepted.
    """
    from vcfrag_core.model import ImputationModel, ModelConfig

    folder = checkpoint_of(path)
    record = checkpoints.verify(folder)
    accepted = record.check(found or {}, accept)
    weights, table = checkpoints.read_weights(folder)
    model = ImputationModel(from_table(ModelConfig, table, base=folder, where="model"))
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ProvenanceMismatchError(f"{folder}: the tensors are not those of the model's shape ({error})") from error
    return TrainedModel(
        model=model.eval(),
        provenance=record,
        config=from_table(FitConfig, read_toml(folder / checkpoints.CONFIG), base=folder),
        accepted=accepted,
        folder=folder,
        metric=checkpoints.read_metric(folder),
    )


def checkpoint_of(path: Path) -> Path:
    """The checkpoint that a path means: itself, or the best one of a run.

    Raises:
        ProvenanceMissingError: There is none.
    """
    if (path / checkpoints.WEIGHTS).is_file():
        return path
    return RunFolder.open(path).checkpoint()
