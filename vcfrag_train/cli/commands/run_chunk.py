"""`vcfrag run-chunk`: imputes chunks of a job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    manifest: Annotated[Path, typer.Argument(help="Manifest, as `plan` writes it.")],
    numbers: Annotated[list[int], typer.Argument(metavar="N...", help="Which chunks, from 0.")],
    threads: Annotated[int, typer.Option(help="Threads that search and copy.")] = 1,
) -> None:
    """Imputes chunks of a job; those that are there and whole are left alone."""
    from vcfrag_train.jobs.genome import Worker

    worker = Worker(manifest, threads)
    for number in numbers:
        done = worker.run(number)
        typer.echo(f"chunk {number}: {'done' if done else 'is there already'}")
