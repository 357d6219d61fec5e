"""How a job is cut, from the options that `impute` and `plan` share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vcfrag_core.errors import ConfigError
from vcfrag_train.jobs.planning.plan import PlanConfig

_UNITS: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def cut_of(options: Mapping[str, Any], panels: tuple[Path, ...], maps: tuple[Path, ...], manifest: Path) -> PlanConfig:
    """How the job of a manifest is cut, which imputes against the panels with the genetic maps."""
    memory = options["memory"]
    return PlanConfig(
        manifest=manifest,
        panels=panels,
        maps=maps,
        jobs=options["jobs"],
        memory_bytes=None if memory is None else parse_bytes(memory),
        windows_per_chunk=options["windows_per_chunk"],
        samples_per_chunk=options["samples_per_chunk"],
    )


def parse_bytes(text: str) -> int:
    """`8G`, `500M` or a number of bytes.

    Raises:
        ConfigError: Anything else.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise ConfigError(f"--memory takes a size such as 8G, got {text!r}")
    return int(float(found[1]) * _UNITS[found[2].upper()])
