"""`vcfrag plan`: decides once what depends on the cohort, and writes the manifest of a job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vcfrag_core.files.lock import sole_writer
from vcfrag_train.cli.commands.impute import config_of, files_of
from vcfrag_train.cli.cut import cut_of
from vcfrag_train.cli.inherited import like_impute
from vcfrag_train.cli.outputs import OUTPUT
from vcfrag_train.jobs.manifest import job_folder
from vcfrag_train.reporter import telling_interrupted


@like_impute(without=("daemon", "resume", "cluster", "report", "scratch"))
def command(
    manifest: Annotated[Path, typer.Option(help="Manifest to write, .json; the job's folder lies beside it."), OUTPUT],
    **options: Any,
) -> None:
    """Plans the imputation of a genome or a cohort: a manifest of chunks for `run-chunk`, then `merge`."""
    from vcfrag_train.cli.progress import showing
    from vcfrag_train.jobs.planning.plan import plan

    options |= {"daemon": None, "resume": False, "cluster": None, "report": None, "scratch": None}
    config, cut = config_of(options), cut_of(options, *files_of(options), manifest)
    # Nobody else decides for this manifest, or writes this QC table, meanwhile.
    with (
        showing() as reporter,
        sole_writer(manifest),
        sole_writer(config.qc_table),
        telling_interrupted(reporter.say, lambda: f" before {manifest} was written; the same command starts anew"),
    ):
        made = plan(config, cut, reporter)
    seconds = sum(chunk.seconds for chunk in made.chunks)
    memory = max(chunk.memory_bytes for chunk in made.chunks)
    last = len(made.chunks) - 1
    chunks = f"{last + 1} chunks (0 to {last})" if last else "1 chunk (0)"
    stretches = f"{len(made.stretches)} contig" + "s" * (len(made.stretches) != 1)
    cost = f"about {_duration(seconds)} of one core, {memory / 1e9:.2g} GB each"
    numbers = f"0-{last}" if last else "0"
    typer.echo(
        f"wrote {manifest}: {chunks} of {stretches} for {len(made.samples)} samples; {cost};"
        f" {job_folder(manifest)} goes with it\n"
        f"next: `vcfrag run-chunk {manifest} {numbers}`, by one process or several, then `vcfrag merge {manifest}`"
    )


def _duration(seconds: float) -> str:
    """Seconds in the unit that one would say them in."""
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.2g} hours"
