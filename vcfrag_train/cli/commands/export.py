"""`vcfrag export`: a trained model for sharing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vcfrag_train.cli.outputs import OUTPUT_FOLDER


def command(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write; `impute --checkpoint` takes it."), OUTPUT_FOLDER],
    first_share: Annotated[
        float | None,
        typer.Option(
            help="Write the mean of the trained weights and of those that the run began with, this share of the "
            "latter, judged anew on the run's validation samples."
        ),
    ] = None,
) -> None:
    """Writes a run's best model with its provenance and its scores, without the trainer's state."""
    if first_share is None:
        from vcfrag_train.models.export import export_model

        export_model(run, out)
    else:
        from vcfrag_train.models.mean import export_mean

        export_mean(run, out, first_share)
    typer.echo(f"wrote {out}")
