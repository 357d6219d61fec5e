"""`vcfrag merge`: joins the chunks of a job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    manifest: Annotated[Path, typer.Argument(help="Manifest, as `plan` writes it.")],
    threads: Annotated[int, typer.Option(help="Threads that compress.")] = 1,
    scratch: Annotated[
        Path | None, typer.Option(help="Folder for temporary files; without it they lie beside the output.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove manifest and chunks afterwards.")] = False,
) -> None:
    """Joins the chunks of a job into its output, with AF, R2 and ER2 of the whole cohort."""
    import shutil

    from vcfrag_core.files.tables.names import summary_path
    from vcfrag_train.cli.progress import showing
    from vcfrag_train.imputing.finished import mark_finished
    from vcfrag_train.jobs.manifest import is_of_everybody, job_folder, read_manifest
    from vcfrag_train.jobs.merge import merge
    from vcfrag_train.reporter import telling_interrupted

    job = read_manifest(manifest)
    with (
        showing(compiles=not all(is_of_everybody(job, chunk) for chunk in job.chunks)) as reporter,
        telling_interrupted(reporter.say, lambda: ": the chunks are as they were; the same command goes on"),
    ):
        outputs = merge(job, job_folder(manifest), threads=threads, scratch=scratch, reporter=reporter)
    if summary_path(Path(job.qc)).is_file():
        mark_finished(Path(job.qc), job.command, outputs, len(job.samples), job.inputs)
    if remove:
        shutil.rmtree(job_folder(manifest))
        manifest.unlink()
    for path, n_records in outputs:
        typer.echo(f"{path}: {n_records} records of {len(job.samples)} samples")
