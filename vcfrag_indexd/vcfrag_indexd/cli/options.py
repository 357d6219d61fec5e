"""A list of command-line options, stated once as a dataclass and taken by several commands."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def takes(options: type[T]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the fields of `options` as options of its own, after its own parameters.

    Args:
        options: A dataclass whose fields are annotated as typer wants parameters. The command is handed an instance
            as its first argument.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = typing.get_type_hints(options, include_extras=True)
        fields = inspect.signature(options).parameters
        _, *own = inspect.signature(command, eval_str=True).parameters.values()
        listed = [field.replace(annotation=hints[name]) for name, field in fields.items()]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in [*own, *listed]]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            given = options(**{name: values.pop(name) for name in fields})
            command(given, **values)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate
