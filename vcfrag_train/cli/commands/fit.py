"""`vcfrag fit`: trains a model against an index daemon."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vcfrag_train.cli.outputs import OUTPUT_FOLDER

if TYPE_CHECKING:
    from vcfrag_train.training.config import FitConfig


def command(
    config: Annotated[Path | None, typer.Option(help="TOML file that says what to train, on what.")] = None,
    daemon: Annotated[
        list[str] | None,
        typer.Option(
            help="HOST:PORT of an index daemon; again for each of several; `embedded` for one inside this process. "
            "That of the configuration, or of the run that goes on, unless given; embedded where they name none."
        ),
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Run folder to go on with, from its last checkpoint.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the new run; runs/TIME unless given."), OUTPUT_FOLDER
    ] = None,
    parameters: Annotated[
        Path | None,
        typer.Option(help="Copying parameters, as `calibrate` writes them; without, the configuration's or estimated."),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="Goes on though this field of provenance differs (never `inputs`)."),
    ] = None,
) -> None:
    """Trains a model, or goes on with a run as if it had never stopped.

    Writes checkpoints, metrics and provenance to a run folder; Ctrl-C saves and stops. Under torchrun or SLURM it is
    one process of several.
    """
    import dataclasses
    import os

    from vcfrag_core.errors import ConfigError, UnavailableError
    from vcfrag_train import extras
    from vcfrag_train.calibrate.parameters import read_parameters
    from vcfrag_train.client.wait import wait_until_ready
    from vcfrag_train.training.config import load_config, run_config

    extras.require("torch", "lightning")
    if resume is not None and out is not None:
        raise ConfigError("--resume goes on in the run's own folder: --out has no meaning with it")
    settings = load_config(config) if config is not None else (run_config(resume) if resume is not None else None)
    if settings is not None and daemon:
        addresses = () if daemon == ["embedded"] else tuple(daemon)
        settings = dataclasses.replace(settings, daemon=dataclasses.replace(settings.daemon, addresses=addresses))
    if settings is not None and parameters is not None:
        settings = dataclasses.replace(settings, retrieval=read_parameters(parameters).parameters)

    if settings is not None and not (resume is not None and _is_finished(resume, settings)):
        wanted = {one.panel.name for one in settings.data_sets}
        for address in settings.daemon.addresses:
            try:
                wait_until_ready(address, lambda name, _: name in wanted)
            except UnavailableError as error:
                if resume is None or daemon:
                    raise
                raise UnavailableError(
                    f"{error}; the run asked that daemon: name another with --daemon, or go on with one inside this "
                    "process, --daemon embedded"
                ) from None

    from vcfrag_train.training.session import fit

    try:
        run = fit(settings, out, resume=resume, accept=accept or ())
    except KeyboardInterrupt as stopped:
        if str(stopped):
            typer.echo(str(stopped), err=True)
        raise
    if os.environ.get("RANK", "0") == "0":
        typer.echo(str(run))


def _is_finished(resume: Path, settings: FitConfig) -> bool:
    from vcfrag_train.training.session import is_finished

    return is_finished(resume, settings)
