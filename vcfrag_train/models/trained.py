"""A trained model for use: that of a run's checkpoint, or an exported one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from vcfrag_core.errors import ProvenanceMissingError
from vcfrag_core.model.exported import WEIGHTS, TrainedModel, is_exported, read_exported
from vcfrag_core.model.provenance import Provenance
from vcfrag_core.model.scores import Scores
from vcfrag_train.models.export import validation_scores
from vcfrag_train.runs import checkpoints
from vcfrag_train.runs.folder import RunFolder


def load_trained(path: Path, *, found: Mapping[str, str] | None = None, accept: Collection[str] = ()) -> TrainedModel:
    """The model of a run's best checkpoint, of the very checkpoint that is named, or one that was exported.

    Args:
        path: A run folder, a checkpoint's folder or an exported model's.
        found: What the model shall be used with, by field of `vcfrag_core.model.provenance.FIELDS`: `panel` and `map`.
        accept: Fields that may differ, such as `panel` for a panel that it was not trained on.

    Raises:
        ProvenanceMissingError: No checkpoint there, or one that does not say what it was made from.
        ProvenanceMismatchError: Its files are not those that it speaks of, or a field differs and is not accepted.
    """
    folder = checkpoint_of(path)
    record, scores = read_exported(folder) if is_exported(folder) else _checkpoint(folder)
    return TrainedModel.of(folder, record, scores, found=found or {}, accept=accept)


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
    if (path / WEIGHTS).is_file():
        return path
    return RunFolder.open(path).checkpoint()
