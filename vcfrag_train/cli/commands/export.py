"""`vcfrag export`: a trained model for sharing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vcfrag_train.cli.outputs import OUTPUT_FOLDER


def command(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write; `impute --checkpoint` takes it."), OUTPUT_FOLDER],
) -> None:
    """Writes a run's best model with its provenance and its scores, without the trainer's state."""
    from vcfrag_train.models.export import export_model

    export_model(run, out)
    typer.echo(f"wrote {out}")
