"""`vcfrag calibrate`: fits the copying parameters to a panel."""

from __future__ import annotations

import enum
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from vcfrag_train.cli import options
from vcfrag_train.cli.outputs import OUTPUT


class Density(enum.StrEnum):
    """How many sites are observed."""

    DENSE = "dense"
    ARRAY = "array"


def command(
    panel: Annotated[Path, typer.Option(help="Reference panel: phased VCF or BCF, or a prepared one.")],
    out: Annotated[Path, typer.Option(help="TOML file to write; `impute --parameters` reads it."), OUTPUT],
    map: options.Map = None,
    typed: Annotated[
        Path | None,
        typer.Option(help="Typed sites to calibrate for: VCF, PLINK, or a table chrom, pos, ref, alt."),
    ] = None,
    density: Annotated[
        Density | None, typer.Option(help="array: a drawn array-like mask; dense: a random half of the sites.")
    ] = None,
    observed_share: Annotated[
        float | None, typer.Option(help="Share of the sites observed, at random, between 0 and 1.")
    ] = None,
    samples: Annotated[
        int, typer.Option(help="Panel samples that stand for targets; as many others check the result.")
    ] = 50,
    seed: Annotated[int, typer.Option(help="Seed of samples, mask and resamples.")] = 1,
    daemon: options.Daemon = None,
    samples_table: Annotated[
        Path | None, typer.Option(help="Table of families: nobody copies from their own family.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="Contig or CONTIG:START-STOP of the panel.")] = None,
    threads: Annotated[int, typer.Option(help="Threads that copy.")] = 1,
    rounds: Annotated[int, typer.Option(help="Most rounds of the search over all parameters.")] = 2,
    copying_only: Annotated[
        bool, typer.Option("--copying-only", help="Search switch rate and mismatch only, which is quick.")
    ] = False,
    resamples: options.Resamples = 1000,
) -> None:
    """Fits the parameters of retrieval and copying to a panel, by leaving its own samples out one at a time."""
    from rich.console import Console

    from vcfrag_core.copying.parameter_search import SearchConfig
    from vcfrag_train.calibrate.calibrate import CalibrateConfig, brief, calibrate
    from vcfrag_train.reporter import LineReporter

    config = CalibrateConfig(
        panel=panel,
        out=out,
        map=map,
        typed=typed,
        density=None if density is None else density.value,
        observed_share=observed_share,
        samples=samples,
        seed=seed,
        daemon=daemon,
        samples_table=samples_table,
        region=region,
        threads=threads,
        resamples=resamples,
        search=SearchConfig(rounds=rounds, retrieval=not copying_only),
        command=shlex.join(["vcfrag", *sys.argv[1:]]),
    )
    console = Console(stderr=True)
    content = calibrate(
        config, LineReporter(lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))
    )
    for name, scores in content.scores.items():
        change = scores["mean_error"]
        interval = f" [{change['low']:+.5f}, {change['high']:+.5f}]" if "low" in change else ""
        figures = f"{change['before']:.5f} -> {change['after']:.5f}, difference {change['difference']:+.5f}{interval}"
        typer.echo(f"{name}: mean error {figures}")
    typer.echo(f"wrote {out}: {brief(content.parameters)}")
