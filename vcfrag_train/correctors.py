"""Which trained model an imputation uses: the one that is named, the one that ships with the package, or none."""

from __future__ import annotations

import importlib
import importlib.resources
import importlib.util
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vcfrag_train.extras import require

if TYPE_CHECKING:
    from vcfrag_train.corrector import Corrector

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
        ConfigError: torch is not installed.
    """
    require("torch", "safetensors")
    from vcfrag_train.corrector import Corrector
    from vcfrag_train.trained import load_trained

    trained = load_trained(checkpoint, found=found, accept=accept)
    accepted = "".join(f" accepted={item.field}:{item.found}" for item in trained.accepted)
    record = trained.provenance
    name = (
        f"trained weights={record.files['weights.safetensors']} step={record.step} "
        f"panel={record.fields['panel']} map={record.fields['map']}{accepted}"
    )
    return Corrector(trained.model, name, left_to_copying=trained.left_to_copying)


def preload() -> None:
    """Starts to import torch in the background, for a run that will need it once its files are read."""
    if importlib.util.find_spec("torch") is not None:
        threading.Thread(target=importlib.import_module, args=("vcfrag_train.corrector",), daemon=True).start()


def default_corrector() -> Corrector | None:
    """The model that ships with the package; None where none does, or where torch is not installed.

    It is meant for other panels than its own, so that a difference of panel and map is accepted and recorded.
    """
    folder = Path(str(importlib.resources.files("vcfrag_train"))) / DEFAULT_MODEL
    if not (folder / "weights.safetensors").is_file() or importlib.util.find_spec("torch") is None:
        return None
    return named_corrector(folder, {}, ())
