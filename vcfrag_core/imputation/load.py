"""Trained models for imputation: an exported one, or the one that ships with the package."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from vcfrag_core.errors import ProvenanceMissingError
from vcfrag_core.imputation.corrector import Corrector
from vcfrag_core.model.exported import TrainedModel, is_exported, read_exported

DEFAULT_MODEL = "default_model"


def load_model(folder: str | Path | None = None) -> Corrector:
    """A model that corrects copying, for any panel and map; its name says what it was trained on.

    Args:
        folder: An exported model; the one that ships with the package unless given.

    Raises:
        ProvenanceMissingError: There is no exported model, or it does not say what it was made from.
        ProvenanceMismatchError: Its files are not those that it speaks of, or it is shown other inputs.
        ConfigError: It needs torch, which is not installed.
    """
    chosen = default_model() if folder is None else Path(folder)
    if not is_exported(chosen):
        raise ProvenanceMissingError(f"{chosen} holds no exported model; `vcfrag export` writes them")
    record, scores = read_exported(chosen)
    return corrector_of(TrainedModel.of(chosen, record, scores, found={}, accept=()))


def corrector_of(trained: TrainedModel) -> Corrector:
    """The model at work.

    Raises:
        ConfigError: It needs torch, which is not installed.
        ProvenanceMismatchError: Its tensors are not those of a model of its shape.
    """
    return Corrector(
        trained.network(),
        trained.name,
        scores=trained.scores,
        differs=[item.field for item in trained.accepted],
        reference_samples=trained.reference_samples,
    )


def default_model() -> Path:
    """Folder of the model that ships with the package."""
    return Path(str(importlib.resources.files("vcfrag_core.model"))) / DEFAULT_MODEL
