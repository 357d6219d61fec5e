"""`vcfrag evaluate`: scores imputed files against the truth."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from vcfrag_core.errors import ConfigError
from vcfrag_train.cli import options


def command(
    imputed: Annotated[
        list[str],
        typer.Option(
            help="Imputed (or phased) VCF or BCF, no BGEN or PGEN, as FILE or NAME=FILE; repeat it to compare several."
        ),
    ],
    truth: Annotated[
        Path | None,
        typer.Option(help="VCF or BCF with the true genotypes of the same samples. Needed without --phase."),
    ] = None,
    panel: Annotated[
        list[str] | None,
        typer.Option(
            help="Reference panel, also a prepared one, or several files, a folder or a pattern with {contig} in it;"
            " its frequencies bin the sites. Needed without --phase."
        ),
    ] = None,
    typed: Annotated[
        Path | None,
        typer.Option(
            help="Typed sites: the target (VCF, BCF or PLINK), or a table chrom, pos, ref, alt. Needed without --phase."
        ),
    ] = None,
    phase: Annotated[
        Path | None,
        typer.Option(help="Compare phase with this true one instead: switches, flips, blockwise errors."),
    ] = None,
    json: options.Json = None,
    tsv: options.Tsv = None,
    html: options.Html = None,
    run: Annotated[Path | None, typer.Option(help="Run folder whose training curves go into the report.")] = None,
    samples_table: options.SamplesTable = None,
    region: Annotated[
        str | None, typer.Option(help="Contig or CONTIG:START-STOP of the panel; all its contigs without.")
    ] = None,
    common_sites: Annotated[
        bool, typer.Option("--common-sites", help="Score only the hidden sites that every file has.")
    ] = False,
    resamples: options.Resamples = 1000,
    seed: options.ResamplesSeed = 1,
    threads: Annotated[int, typer.Option(help="Threads that decompress.")] = 1,
) -> None:
    """Scores imputed genotypes at the hidden sites, by allele frequency, with paired bootstrap intervals.

    All contigs of the panel are scored together, or the one of --region. Where imputed files, truth or typed sites are
    one file for each contig, write {contig} in their names.

    With --phase it compares the phase of GT with a true one instead, over all contigs that every file has; of the
    other options --typed, --region, the outputs, --resamples, --seed and --threads apply.
    """
    if phase is not None:
        _evaluate_phase(imputed, phase, typed, region, Outputs(json, tsv, html), resamples, seed, threads)
        return
    if truth is None or not panel or typed is None:
        raise ConfigError("--truth, --panel and --typed are needed, or --phase to compare phase")
    from vcfrag_train.evaluation import evaluate as evaluation
    from vcfrag_train.evaluation import output, tables
    from vcfrag_train.jobs.planning.inputs import expand

    files = evaluation.EvaluationFiles(
        imputed=tuple(labelled(text) for text in imputed),
        truth=truth,
        panels=expand("--panel", panel),
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


class Outputs(NamedTuple):
    """Files to write; none that is not named."""

    json: Path | None
    tsv: Path | None
    html: Path | None


def _evaluate_phase(
    phased: list[str],
    truth: Path,
    typed: Path | None,
    region: str | None,
    outputs: Outputs,
    resamples: int,
    seed: int,
    threads: int,
) -> None:
    from vcfrag_core.files.atomic import atomic_path
    from vcfrag_train.evaluation import output, phase_output, tables
    from vcfrag_train.evaluation.phase import evaluate_phase
    from vcfrag_train.evaluation.truth import EvaluationConfig

    output.Targets(json=outputs.json, tsv=outputs.tsv, html=outputs.html)
    config = EvaluationConfig(resamples=resamples, seed=seed, threads=threads)
    files = tuple(labelled(text) for text in phased)
    with output.progress() as progress:
        result = evaluate_phase(files, truth, config, typed=typed, region=region, progress=progress)
    console = tables.console()
    phase_output.print_phase(result, console)
    makers = (phase_output.as_json, phase_output.as_tsv, phase_output.as_html)
    for path, make in zip(outputs, makers, strict=True):
        if path is not None:
            with atomic_path(path) as temporary:
                temporary.write_text(make(result), encoding="utf-8")
            console.print(f"wrote {path}", highlight=False)


# Of genotypes, as a file's label leaves it out.
_IMPUTED_SUFFIX = re.compile(r"(?<=.)(?:(?:\.vcf)?(?:\.b?gz)?|\.bcf)$")


def labelled(text: str, option: str = "--imputed") -> tuple[str, Path]:
    """Label and path of `NAME=FILE`; of `FILE` alone, its name without suffixes.

    Raises:
        ConfigError: The label or the file is empty.
    """
    name, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        return _IMPUTED_SUFFIX.sub("", Path(text).name), Path(text)
    if not name or not path:
        raise ConfigError(f"{option} {text!r}: write FILE or NAME=FILE")
    return name, Path(path)
