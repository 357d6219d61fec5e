"""The model of a run or a checkpoint that a user names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from vcfrag_core.imputation.corrector import Corrector
from vcfrag_core.imputation.load import corrector_of
from vcfrag_train.models.trained import load_trained


def named_corrector(checkpoint: Path, found: Mapping[str, str], accept: Collection[str]) -> Corrector:
    """The model of a run, of a checkpoint, or an exported one.

    Args:
        checkpoint: The run's folder, the checkpoint's, or the exported model's.
        found: Digests of what it shall be used with: `panel` and `map`.
        accept: Fields that may differ from those that it was trained with.

    Raises:
        ProvenanceMissingError: The checkpoint does not say what it was made from.
        ProvenanceMismatchError: It was made from something else.
        ConfigError: It needs torch, which is not installed.
    """
    return corrector_of(load_trained(checkpoint, found=found, accept=accept))
