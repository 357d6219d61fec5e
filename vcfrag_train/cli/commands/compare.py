"""`vcfrag compare`: vcfrag, Beagle, Minimac4 and baselines on the same files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vcfrag_train.cli import options
from vcfrag_train.cli.outputs import OUTPUT_FOLDER


def command(
    panel: Annotated[Path, typer.Option(help="Reference panel, VCF or BCF.")],
    target: Annotated[Path | None, typer.Option(help="Targets at the typed sites; phased, or see --unphased.")] = None,
    truth: Annotated[Path | None, typer.Option(help="VCF or BCF with the targets' true genotypes.")] = None,
    hold_out: Annotated[
        float | None,
        typer.Option(help="Instead: hold this share of the panel's samples out as targets, typed at --typed."),
    ] = None,
    map: Annotated[Path | None, typer.Option(help="Genetic map; all programs get it.")] = None,
    typed: Annotated[
        Path | None, typer.Option(help="Typed sites, where they are not all of the target file's.")
    ] = None,
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="Trained run to add, as RUN or NAME=RUN; repeatable.")
    ] = None,
    own: Annotated[bool, typer.Option(help="Run vcfrag with default settings and by copying alone.")] = True,
    peers: Annotated[
        bool,
        typer.Option(
            help="Run Beagle and Minimac4, by default and as was best with 2,304 reference samples of 1000 Genomes"
            " (-fixed); for smaller or other panels --tune chooses. Quote gains against the better of default and"
            " tuned."
        ),
    ] = True,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune", help="Tune the peers on other samples of this panel instead (-tuned), over a grid; takes long."
        ),
    ] = False,
    ablations: Annotated[bool, typer.Option(help="Add the constant and neighbour baselines.")] = True,
    unphased: Annotated[
        bool,
        typer.Option(
            "--unphased",
            help="Throw the targets' phase away: Beagle alone and SHAPEIT4 with Minimac4 beside vcfrag, no baselines.",
        ),
    ] = False,
    threads: Annotated[int, typer.Option(help="Threads of every program.")] = 2,
    heap_mb: Annotated[int, typer.Option(help="Java's heap for Beagle, megabytes.")] = 4096,
    keep: Annotated[
        Path | None, typer.Option(help="Folder in which the imputed files and logs stay."), OUTPUT_FOLDER
    ] = None,
    json: options.Json = None,
    tsv: options.Tsv = None,
    html: options.Html = None,
    samples_table: options.SamplesTable = None,
    resamples: options.Resamples = 1000,
    seed: options.ResamplesSeed = 1,
) -> None:
    """Runs vcfrag, Beagle and Minimac4 on the same files and scores them in one table, with time and memory."""
    from vcfrag_core.errors import ConfigError
    from vcfrag_train.cli.commands.evaluate import labelled
    from vcfrag_train.cli.progress import showing
    from vcfrag_train.compare import compare as comparison
    from vcfrag_train.compare.peers import PEERS, UNPHASED_PEERS
    from vcfrag_train.evaluation import evaluate as evaluation
    from vcfrag_train.evaluation import output, tables

    config = comparison.ComparisonConfig(
        checkpoints=tuple(labelled(text, "--checkpoint") for text in checkpoint or ()),
        own=own,
        peers=(UNPHASED_PEERS if unphased else PEERS) if peers else (),
        unphased=unphased,
        tune=tune,
        ablations=ablations,
        threads=threads,
        heap_mb=heap_mb,
        evaluation=evaluation.EvaluationConfig(resamples=resamples, seed=seed),
    )
    targets = output.Targets(json=json, tsv=tsv, html=html)
    with showing(compiles=False) as reporter, comparison.work_folder(keep) as work:
        if hold_out is not None and typed is not None and target is None and truth is None:
            files = comparison.hold_out_share(
                panel, typed, hold_out, work, genetic_map=map, samples_table=samples_table, seed=seed, threads=threads
            )
        elif hold_out is None and target is not None and truth is not None:
            files = comparison.ComparisonFiles(
                panel=panel, target=target, truth=truth, genetic_map=map, typed=typed, samples_table=samples_table
            )
        else:
            raise ConfigError("give --target and --truth, or --hold-out and --typed: the targets are the panel's then")
        result = comparison.compare(files, config, work, reporter)
    console = tables.console()
    tables.print_evaluation(result, console)
    for path in output.write(result, targets):
        console.print(f"wrote {path}", highlight=False)
