"""Options that a command has from `impute`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TypeVar

from vcfrag_train.cli.commands import impute

F = TypeVar("F", bound=Callable[..., None])


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


def _parameters(function: Callable[..., None]) -> list[inspect.Parameter]:
    return [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        else parameter
        for parameter in inspect.signature(function, eval_str=True).parameters.values()
    ]
