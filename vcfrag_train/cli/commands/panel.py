"""`vcfrag panel`: prepared reference panels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vcfrag_core.files.panel.calls import MissingRule
from vcfrag_train.cli.outputs import OUTPUT

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Prepare a reference panel, or look at one."
)


@app.command("build")
def build(
    files: Annotated[list[Path], typer.Argument(help="Phased VCF or BCF files, such as one for each chromosome.")],
    out: Annotated[
        Path, typer.Option(help="Prepared panel to write; `impute`, `phase`, `fit` and the daemon take it."), OUTPUT
    ],
    samples: Annotated[Path | None, typer.Option(help="Keep these samples only, one name a line.")] = None,
    min_copies: Annotated[int, typer.Option(help="Keep sites whose rarer allele has at least so many copies.")] = 0,
    panel_missing: Annotated[
        MissingRule, typer.Option(help="Missing alleles: refuse them, or take them for the reference's.")
    ] = MissingRule.REFUSE,
    threads: Annotated[int, typer.Option(help="Threads that decompress and hash.")] = 1,
) -> None:
    """Reads, checks and splits a panel once, all contigs into one file that jobs share and nobody changes."""
    from vcfrag_core.errors import SampleTableError
    from vcfrag_core.files.panel.build import PanelFilter, build_prepared
    from vcfrag_core.files.tables.text import numbered_lines
    from vcfrag_train.cli.progress import showing

    names = None if samples is None else tuple(line.strip() for _, line in numbered_lines(samples, SampleTableError))
    kept = PanelFilter(samples=names, min_copies=min_copies, missing=panel_missing)
    with showing() as reporter:

        def progress(contig: str, n_sites: int) -> None:
            reporter.stage(f"reading {contig}: {n_sites:,} sites")

        entries = build_prepared(out, files, kept, threads=threads, progress=progress)
    stretches = f"{len(entries)} stretch" + "es" * (len(entries) != 1)
    typer.echo(f"wrote {out}: {sum(entry.n_sites for entry in entries)} sites in {stretches}")


@app.command("show")
def show(panel: Annotated[Path, typer.Argument(help="Prepared panel.")]) -> None:
    """Says what a prepared panel holds, stretch by stretch, and what it was made from."""
    from vcfrag_core.files.panel.prepared import read_table

    key, entries = read_table(panel)
    for what, value in key.items():
        typer.echo(f"{what}\t{value}")
    typer.echo("region\tsites\tsamples\thaplotypes\tdigest")
    for entry in entries:
        region = f"{entry.contig}:{entry.first}-{entry.last}"
        typer.echo(f"{region}\t{entry.n_sites}\t{entry.n_samples}\t{entry.n_haplotypes}\t{entry.digest}")
