"""`vcfrag evaluate`: scores imputed files against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vcfrag_core.errors import ConfigError
from vcfrag_train.cli.outputs import OUTPUT


def command(
    imputed: Annotated[
        list[str], typer.Option(help="Imputed VCF or BCF, as FILE or NAME=FILE; repeat it to compare several.")
    ],
    truth: Annotated[Path, typer.Option(help="VCF or BCF with the true genotypes of the same samples.")],
    panel: Annotated[Path, typer.Option(help="Reference panel; its frequencies bin the sites.")],
    typed: Annotated[Path, typer.Option(help="Typed sites: the target VCF, or a table chrom, pos, ref, alt.")],
    json: Annotated[Path | None, typer.Option(help="Write all figures as JSON."), OUTPUT] = None,
    tsv: Annotated[Path | None, typer.Option(help="Write all figures as a table."), OUTPUT] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report, one HTML file."), OUTPUT] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder whose training curves go into the report.")] = None,
    samples_table: Annotated[Path | None, typer.Option(help="Table with sample and super_pop columns.")] = None,
    region: Annotated[str | None, typer.Option(help="Contig or CONTIG:START-STOP of the panel.")] = None,
    common_sites: Annotated[
        bool, typer.Option("--common-sites", help="Score only the hidden sites that every file has.")
    ] = False,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of the samples; 0: no intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads that decompress.")] = 1,
) -> None:
    """Scores imputed genotypes at the hidden sites, by allele frequency, with paired bootstrap intervals."""
    from vcfrag_train.evaluation import evaluate as evaluation
    from vcfrag_train.evaluation import output, tables

    files = evaluation.EvaluationFiles(
        imputed=tuple(labelled(text) for text in imputed),
        truth=truth,
        panel=panel,
        typed=typed,
        samples_table=samples_table,
        region=region,
    )
    config = evaluation.EvaluationConfig(resamples=resamples, seed=seed, common_sites=common_sites, threads=threads)
    targets = output.Targets(json=json, tsv=tsv, html=html, run=run)
    console = tables.console()
    with output.progress() as progress:
        result = evaluation.evaluate(files, config, progress)
    tables.print_evaluation(result, console)
    for path in output.write(result, targets):
        console.print(f"wrote {path}", highlight=False)


def labelled(text: str, option: str = "--imputed") -> tuple[str, Path]:
    """Label and path of `NAME=FILE`; of `FILE` alone, its name without suffixes.

    Raises:
        ConfigError: The label or the file is empty.
    """
    name, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        return Path(text).name.split(".")[0], Path(text)
    if not name or not path:
        raise ConfigError(f"{option} {text!r}: write FILE or NAME=FILE")
    return name, Path(path)
