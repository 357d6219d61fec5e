"""Options that are stated once: what a command line gives arrives in the dataclass, and --help shows it."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from vcfrag_indexd.cli.app import app
from vcfrag_indexd.cli.options import takes

runner = CliRunner()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    colour: Annotated[str, typer.Option(help="Of the bicycle shed.")] = "green"
    often: Annotated[list[int] | None, typer.Option(help="Again and again.")] = None


@pytest.fixture
def shed() -> typer.Typer:
    made = typer.Typer(add_completion=False)

    @made.command()
    @takes(Flags)
    def paint(flags: Flags, where: Annotated[str, typer.Argument(help="Which side.")], twice: bool = False) -> None:
        """Paints."""
        typer.echo(f"{where} {twice} {flags}")

    return made


def test_takes__hands_the_options_over(shed: typer.Typer) -> None:
    assert runner.invoke(shed, ["front"]).stdout == f"front False {Flags()}\n"
    given = runner.invoke(shed, ["--often", "1", "back", "--colour", "red", "--often", "2", "--twice"])
    assert given.stdout == f"back True {Flags(colour='red', often=[1, 2])}\n"


def test_takes__leaves_help_and_usage_errors_as_they_are(shed: typer.Typer) -> None:
    shown = runner.invoke(shed, ["--help"]).stdout
    for text in ("Paints.", "Which side.", "Of the bicycle shed.", "Again and again.", "green"):
        assert text in shown
    assert runner.invoke(shed, ["front", "--often", "x"]).exit_code == 2
    assert runner.invoke(shed, []).exit_code == 2


def test_commands__that_share_a_list_have_the_same_options() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]

    def options(name: str) -> list[tuple[list[str], str]]:
        return [(p.opts, p.help) for p in commands[name].params if p.param_type_name == "option"]

    assert options("serve") == options("config")
    assert options("ls") == options("verify") == options("close")
    assert len(options("serve")) == 10
