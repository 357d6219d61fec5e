"""Prints docs/cli.md: every command of `vcfrag` with its options, as its own parser knows them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from typing import Any

import typer.main

from vcfrag_train.cli import app as cli

HEAD = """# The commands of vcfrag

<!-- Written by `make docs` from the commands themselves. -->

`vcfrag COMMAND --help` prints the same. Every command ends with exit code 0 when it did what was asked, 2 when it
refused (one line on stderr, `error [REASON]: what, where and what to do`, or a usage message), 1 when a check that was
asked for failed, 130 when it was interrupted, and 70 where vcfrag itself failed (please report it; `--debug`, anywhere
on the line, shows where any failure arose). Output files appear whole or not at all, and never in an input's place.
`--version` prints the version.

| command | what it does |
| --- | --- |
"""


def page() -> str:
    """The whole page."""
    rows = "".join(f"| [{name}](#{name}) | {summary} |\n" for name, summary in cli.COMMANDS.items())
    return HEAD + rows + "".join(section(name) for name in cli.COMMANDS)


def section(name: str) -> str:
    """One command, or each of its own commands: its own words, its usage, its options."""
    group: Any = typer.main.get_command(cli.build_app(name))
    command = group.commands[name]
    if hasattr(command, "commands"):
        parts = "".join(described(f"{name} {own}", part, "###") for own, part in command.commands.items())
        return f"\n## {name}\n\n{inspect.cleandoc(command.help or '')}\n{parts}"
    return described(name, command, "##")


def described(name: str, command: Any, heading: str) -> str:
    """A command under a heading."""
    text = inspect.cleandoc(command.help or "")
    needed = [p for p in command.params if p.required]
    usage = " ".join([f"vcfrag {name}", *(shown(p) for p in needed), "[OPTIONS]"])
    groups: dict[str | None, list[Any]] = {}
    for parameter in command.params:
        if parameter.name != "help":
            groups.setdefault(getattr(parameter, "rich_help_panel", None), []).append(parameter)
    tables = "".join(table(title, parameters) for title, parameters in groups.items())
    return f"\n{heading} {name}\n\n{text}\n\n    {usage}\n{tables}"


def table(title: str | None, parameters: Sequence[Any]) -> str:
    """A group of options under its title; those of no group have none."""
    head = "" if title is None else f"\n{title}:\n"
    return f"{head}\n| option | meaning | default |\n| --- | --- | --- |\n{''.join(row(p) for p in parameters)}"


def shown(parameter: Any) -> str:
    """A required parameter as it is written on the command line."""
    if parameter.param_type_name == "argument":
        return str(parameter.name).upper()
    return f"{parameter.opts[0]} {str(parameter.name).upper()}"


def row(parameter: Any) -> str:
    """One line of a table of options."""
    if parameter.param_type_name == "argument":
        names = f"`{str(parameter.name).upper()}`"
    else:
        names = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
    meaning = " ".join((parameter.help or "").split()).replace("|", "\\|")
    return f"| {names} | {meaning} | {default(parameter)} |\n"


def default(parameter: Any) -> str:
    """The default in words: nothing for what is off or absent unless asked for."""
    if parameter.required:
        return "required"
    value = parameter.default
    if value is None or value is False or value in ((), []) or callable(value):
        return ""
    return "on" if value is True else f"`{getattr(value, 'value', value)}`"


if __name__ == "__main__":
    sys.stdout.write(page())
