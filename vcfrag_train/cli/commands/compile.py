"""`vcfrag compile`: compiles the kernels that jobs need, before any job."""

from __future__ import annotations

import typer


def command() -> None:
    """Compiles every kernel of imputing, phasing and serving once for this processor, so that no job does.

    What it compiled before is left as it is; training compiles two more for itself.

    The kernels go beside the installed package where that can be written, else into the user's cache, and are found
    there by every later job, also where nothing can be written by then. Run it after each installation and upgrade.
    """
    from vcfrag_train.kernels.compile import compile_kernels

    found = compile_kernels(lambda line: typer.echo(line, err=True))
    typer.echo(f"{found.folder}: {found.n_kernels} kernels, {found.n_compiled} of them compiled now")
