"""`vcfrag inspect`: says what a training run was made from, and whether it can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="Run folder, or an exported model.", show_default=False)],
    indexes: Annotated[bool, typer.Option("--indexes", help="Print every index with its five digests, too.")] = False,
) -> None:
    """Prints a run's provenance, and in one line whether its validation can be believed.

    Exits with 1 if a validation sample's exclusion group was in a training index or batch, or a mask was not the
    one that the configuration gives. Of an exported model it prints the record that it was exported with.
    """
    from vcfrag_core.model.exported import is_exported
    from vcfrag_train.inspect.inspection import describe, describe_exported, inspect_run
    from vcfrag_train.runs.folder import RunFolder

    if is_exported(run):
        for line in describe_exported(run):
            typer.echo(line)
        return
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
