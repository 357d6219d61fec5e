"""Options that several commands share, each with the one help text that it has everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vcfrag_train.cli.outputs import OUTPUT

Map = Annotated[Path | None, typer.Option(help="Genetic map (PLINK, SHAPEIT or Beagle); 1 cM per Mb without one.")]
Daemon = Annotated[
    str | None, typer.Option(help="HOST:PORT of a running vcfrag-indexd; without it, this process searches itself.")
]
Threads = Annotated[int, typer.Option(help="Threads that read, copy and compress.")]
Json = Annotated[Path | None, typer.Option(help="Write all figures as JSON."), OUTPUT]
Tsv = Annotated[Path | None, typer.Option(help="Write all figures as a table."), OUTPUT]
Html = Annotated[Path | None, typer.Option(help="Write a report, one HTML file."), OUTPUT]
SamplesTable = Annotated[Path | None, typer.Option(help="Table with sample and super_pop columns.")]
Resamples = Annotated[int, typer.Option(help="Bootstrap resamples of the samples; 0: no intervals.")]
ResamplesSeed = Annotated[int, typer.Option(help="Seed of the resamples.")]
