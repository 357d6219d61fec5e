"""Which trained model an imputation uses: the one that is named, the one that ships with the package, or none."""

from __future__ import annotations

import importlib.resources
from collections.abc import Collection, Mapping
from pathlib import Path

from vcfrag_core.imputation.corrector import Corrector
from vcfrag_train.models.trained import load_trained

DEFAULT_MODEL = "default_model"


def named_corrector(checkpoint: Path, found: Mapping[str, str], accept: Collection[str]) -> Corrector:
    """The model of a run or of a checkpoint.

    Args:
        checkpoint: The run's folder, or the checkpoint's.
        found: Digests of what it shall be used with: `panel` and `map`.
        accept: Fields that may differ from those that it was trained with.

    Raises:
        ProvenanceMissingError: The checkpoint does not say what it was made from.
        ProvenanceMismatchError: It was made from something else.
        ConfigError: It needs torch, which is not installed.
    """
    trained = load_trained(checkpoint, found=found, accept=accept)
    accepted = "".join(f" accepted={item.field}:{item.found}" for item in trained.accepted)
    record = trained.provenance
    name = (
        f"trained weights={record.files['weights.safetensors']} step={record.step} "
        f"panel={record.fields['panel']} map={record.fields['map']}{accepted}"
    )
    return Corrector(trained.network(), name, left_to_copying=trained.left_to_copying)


def default_corrector() -> Corrector | None:
    """The model that ships with the package; None where none does.

    It is meant for other panels and maps than its own, which its name records, so these are not compared.
    """
    folder = Path(str(importlib.resources.files("vcfrag_train"))) / DEFAULT_MODEL
    if not (folder / "weights.safetensors").is_file():
        return None
    return named_corrector(folder, {}, ())
