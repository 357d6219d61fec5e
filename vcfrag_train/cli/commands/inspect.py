"""`vcfrag inspect`: says what a training run was made from, and whether it can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    indexes: Annotated[bool, typer.Option("--indexes", help="Print every index with its five digests, too.")] = False,
) -> None:
    """Prints a run's provenance, and in one line whether its validation can be believed.

    Exits with 1 if a validation sample's exclusion group was in a training index or batch, or a mask was not the
    one that the configuration gives.
    """
    from vcfrag_train.inspect.inspection import describe, inspect_run
    from vcfrag_train.runs.folder import RunFolder

    found = inspect_run(run)
    for line in describe(found, RunFolder.open(run).record()):
        typer.echo(line)
    if indexes:
        for use in found.uses:
            identity = use.identity
            typer.echo(
                f"{use.role} steps {use.first_step}-{use.last_step} {use.mask.kind} epoch {use.mask.epoch} "
                f"visit {use.mask.visit}: panel {identity.panel} split {identity.split} mask {identity.mask} "
                f"metric {identity.metric} layout {identity.layout}"
            )
    typer.echo(found.verdict())
    if not found.trustworthy:
        raise typer.Exit(1)
