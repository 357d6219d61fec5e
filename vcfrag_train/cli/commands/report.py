"""`vcfrag report`: a page about a job whose chunks are done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vcfrag_train.cli.outputs import OUTPUT


def command(
    manifest: Annotated[Path, typer.Argument(help="Manifest, as `plan` writes it.")],
    out: Annotated[Path, typer.Option(help="Page to write, .html."), OUTPUT],
    threads: Annotated[int, typer.Option(help="Threads that read.")] = 1,
) -> None:
    """Writes what a study would look at first: what was read and dropped, samples, expected accuracy, cost."""
    from vcfrag_train.jobs.genome import check_report, report_job
    from vcfrag_train.jobs.manifest import job_folder, read_manifest

    check_report(out)
    report_job(read_manifest(manifest), job_folder(manifest), out, threads=threads)
    typer.echo(f"wrote {out}")
