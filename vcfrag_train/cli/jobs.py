"""Options that `impute` and `plan` have in common: files of a genome, and how a job is cut."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from vcfrag_core.errors import ConfigError
from vcfrag_train.cli.commands import impute
from vcfrag_train.jobs.planning.plan import PlanConfig

F = TypeVar("F", bound=Callable[..., None])
_UNITS: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def like_impute(without: Sequence[str]) -> Callable[[F], F]:
    """Gives a command `impute`'s options but some, which arrive in `**options`, behind its own."""

    def change(function: F) -> F:
        own = [p for p in _parameters(function) if p.kind is not inspect.Parameter.VAR_KEYWORD]
        others = [p for p in _parameters(impute.command) if p.name not in without]
        required = [p for p in (*own, *others) if p.default is inspect.Parameter.empty]
        optional = [p for p in (*own, *others) if p.default is not inspect.Parameter.empty]
        function.__signature__ = inspect.Signature([*required, *optional])  # type: ignore[attr-defined]
        function.__annotations__ = {p.name: p.annotation for p in (*required, *optional)}
        return function

    return change


def cut_of(options: Mapping[str, Any], manifest: Path) -> PlanConfig:
    """How a job is cut, from `impute`'s options."""
    panels, maps = impute.files_of(options)
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


def _parameters(function: Callable[..., None]) -> list[inspect.Parameter]:
    return [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        else parameter
        for parameter in inspect.signature(function, eval_str=True).parameters.values()
    ]
