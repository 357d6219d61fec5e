"""`vcfrag demo`: the whole road on generated data."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from vcfrag_train.cli.outputs import OUTPUT_FOLDER


def command(
    out: Annotated[Path, typer.Option(help="Folder that everything is left in."), OUTPUT_FOLDER] = Path("demo-out"),
    quick: Annotated[bool, typer.Option("--quick", help="Everything once, on little data, in a minute.")] = False,
    seed: Annotated[int, typer.Option(min=1, help="Seed of the data and the training.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of every step.")] = 2,
) -> None:
    """Generates a panel with msprime, starts a daemon, trains a small model, imputes and evaluates.

    Scores whole-window nearest neighbours, copying alone and the trained model on held-out samples, and Beagle and
    Minimac4 where they are on the PATH; prints the table and the path of the report.
    """
    import dataclasses

    from vcfrag_train import extras
    from vcfrag_train.demo.demo import DemoConfig, run_demo
    from vcfrag_train.evaluation import tables
    from vcfrag_train.reporter import LineReporter

    extras.require("torch", "lightning", "matplotlib", "jinja2", "msprime", "vcfrag_indexd")
    base = DemoConfig.quick() if quick else DemoConfig()
    config = dataclasses.replace(base, simulation=dataclasses.replace(base.simulation, seed=seed), threads=threads)
    console = tables.console()
    with _ended_by_signals():
        result = run_demo(config, out, LineReporter(lambda text: console.print(f"· {text}", highlight=False)))
    tables.print_evaluation(result.evaluation, console)
    console.print(f"trained model: {result.run}", highlight=False)
    console.print(f"report: {result.report.resolve()}", highlight=False, soft_wrap=True)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM end the block at once, with what it started: one line, and 130 or 143 as exit status."""
    before = {number: signal.signal(number, _end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    # A second one would break the clean-up off, and leave processes behind.
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    typer.echo("interrupted: what the demo started is ended, and the same command starts anew", err=True)
    raise SystemExit(128 + number)
