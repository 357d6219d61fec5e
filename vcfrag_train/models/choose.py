"""The model of a run or a checkpoint that a user names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from vcfrag_core.imputation.corrector import Corrector
from vcfrag_core.imputation.load import corrector_of
from vcfrag_train.models.trained import load_trained

# What a model is shown does not depend on these.
USABLE_WITH: Final = ("panel", "map")


def named_corrector(checkpoint: Path, found: Mapping[str, str]) -> Corrector:
    """The model of a run, of a checkpoint, or an exported one.

    Args:
        checkpoint: The run's folder, the checkpoint's, or the exported model's.
        found: Digests of what it is used with, `panel` and `map`: it corrects copying on any, and its name says which
            differ from those of its training.

    Raises:
        ProvenanceMissingError: The checkpoint does not say what it was made from.
        ProvenanceMismatchError: It was made for other inputs, or its files are not those that it speaks of.
        ConfigError: It needs torch, which is not installed.
    """
    return corrector_of(load_trained(checkpoint, found=found, accept=USABLE_WITH))
