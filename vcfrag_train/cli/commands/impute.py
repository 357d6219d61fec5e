"""`vcfrag impute`: imputes the untyped sites of target samples."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from vcfrag_core.errors import ConfigError, VcfragError
from vcfrag_core.files.names import PLACE
from vcfrag_core.files.outputs import BgenValues, PgenValues
from vcfrag_core.files.panel.calls import MissingRule
from vcfrag_core.files.panel.contigs import panel_contigs
from vcfrag_core.files.parts import parts_folder
from vcfrag_core.files.targets import target_samples
from vcfrag_core.output.records import DEFAULT_FORMATS, parse_formats
from vcfrag_core.phasing.serving import TargetsAsReference
from vcfrag_train.calibrate.parameters import read_parameters
from vcfrag_train.cli import groups, options, target_options
from vcfrag_train.cli.outputs import OUTPUT
from vcfrag_train.imputing.config import ImputeConfig, PhasedInput
from vcfrag_train.imputing.finished import find_finished, input_states, refuse_finished_of_another
from vcfrag_train.imputing.selection import parse_sites
from vcfrag_train.jobs.manifest import default_manifest
from vcfrag_train.jobs.planning.inputs import expand
from vcfrag_train.reporter import telling_interrupted

# Above it a job is made of a run: its memory does not grow with the samples.
SAMPLES_OF_ONE_PROCESS: Final = 2000


def command(
    panel: Annotated[
        list[str],
        typer.Option(
            help="Reference panel: phased VCF or BCF, or a prepared one. For a genome several files, a folder, or a"
            " pattern with {contig} in it."
        ),
    ],
    target: Annotated[
        list[Path],
        typer.Option(
            help="Targets, phased or not: VCF or BCF, or a PLINK set by its name or its .pgen or .bed. Several files"
            " may be of several contigs or people: write the option again for each."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Output: .vcf.gz, .bcf, .bgen or .pgen, with what belongs beside it."), OUTPUT
    ],
    map: Annotated[
        list[str] | None,
        typer.Option(help="Genetic map (PLINK, SHAPEIT or Beagle), or several as for --panel; 1 cM per Mb without."),
    ] = None,
    threads: options.Threads = 1,
    sex: target_options.Sex = None,
    region: target_options.Region = None,
    samples: Annotated[
        Path | None,
        typer.Option(
            help="Impute the samples that this file names only, one name a line.", rich_help_panel=groups.READ
        ),
    ] = None,
    panel_missing: target_options.PanelMissing = MissingRule.REFUSE,
    phased_input: Annotated[
        PhasedInput,
        typer.Option(
            help="Unphased heterozygotes: accept them and impute the mean over phase, or require phase.",
            rich_help_panel=groups.PHASE,
        ),
    ] = PhasedInput.ACCEPT,
    draws: Annotated[
        int | None,
        typer.Option(
            help="Draws of each unphased sample's phase that are imputed, 1 to 32, chosen among three times as many or"
            " 32; 8 without.",
            rich_help_panel=groups.PHASE,
        ),
    ] = None,
    targets_as_reference: target_options.Serving = TargetsAsReference.AUTO,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Run folder of a trained model; without it, the model that ships with vcfrag.",
            rich_help_panel=groups.METHOD,
        ),
    ] = None,
    parameters: Annotated[
        Path | None,
        typer.Option(
            help="Copying parameters, as `calibrate` writes them; estimated without.", rich_help_panel=groups.METHOD
        ),
    ] = None,
    copying_only: Annotated[
        bool, typer.Option("--copying-only", help="Impute by copying alone.", rich_help_panel=groups.METHOD)
    ] = False,
    daemon: options.Daemon = None,
    cohort: Annotated[
        Path | None,
        typer.Option(
            help="Apply this cohort record; nothing is estimated or tested then.", rich_help_panel=groups.METHOD
        ),
    ] = None,
    fix_swaps: target_options.FixSwaps = False,
    fix_flips: target_options.FixFlips = False,
    keep_going: target_options.KeepGoingWhere = None,
    least_typed: Annotated[
        int, typer.Option(help="Typed sites that every site needs around it.", rich_help_panel=groups.CHECKS)
    ] = 8,
    max_damaged_share: Annotated[
        float, typer.Option(help="Share of damaged typed sites that stops the run.", rich_help_panel=groups.CHECKS)
    ] = 0.1,
    loo_samples: Annotated[
        int,
        typer.Option(
            help="Samples that test the typed sites by leave-one-out; 0: by frequency alone.",
            rich_help_panel=groups.CHECKS,
        ),
    ] = 16,
    loo_folds: Annotated[
        int | None,
        typer.Option(
            help="Folds of leave-one-out; 5, or 2 where typed sites are dense.", rich_help_panel=groups.CHECKS
        ),
    ] = None,
    allow_panel_samples: target_options.AllowPanelSamples = False,
    exclude_same_person: Annotated[
        bool,
        typer.Option(
            "--exclude-same-person",
            help="Do not copy from panel samples who are the same person as a target by their genotypes.",
            rich_help_panel=groups.CHECKS,
        ),
    ] = False,
    format: Annotated[
        str,
        typer.Option(
            help="FORMAT fields among GT, DS, HDS, GP, LOO; written in this order.", rich_help_panel=groups.WRITTEN
        ),
    ] = ",".join(DEFAULT_FORMATS),
    min_r2: Annotated[
        float | None,
        typer.Option(
            help="Write imputed sites of at least this estimated r² only (INFO R2).", rich_help_panel=groups.WRITTEN
        ),
    ] = None,
    sites: Annotated[
        str,
        typer.Option(
            help="Sites to write: all, imputed, typed, or those of a FILE (VCF, or a table headed chrom pos ref alt).",
            rich_help_panel=groups.WRITTEN,
        ),
    ] = "all",
    x_male_dosage: Annotated[
        int,
        typer.Option(
            help="On X, DS of a man who surely carries ALT: 1, or 2 as association tools want it.",
            rich_help_panel=groups.WRITTEN,
        ),
    ] = 1,
    bgen: Annotated[
        BgenValues,
        typer.Option(
            help="What .bgen holds: probabilities of genotypes, or of the haplotypes' alleles.",
            rich_help_panel=groups.WRITTEN,
        ),
    ] = BgenValues.GENOTYPES,
    bgen_bits: Annotated[
        int, typer.Option(help="Bits of each probability in .bgen: 8 or 16.", rich_help_panel=groups.WRITTEN)
    ] = 8,
    pgen: Annotated[
        PgenValues,
        typer.Option(help="What .pgen holds: dosages, or phased hard calls.", rich_help_panel=groups.WRITTEN),
    ] = PgenValues.DOSAGE,
    pass_through: Annotated[
        bool,
        typer.Option(
            "--pass-through", help="Write target records that are no panel sites, too.", rich_help_panel=groups.WRITTEN
        ),
    ] = False,
    qc: target_options.Qc = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Report of the run, an HTML page: what was read, and how good it likely is.",
            rich_help_panel=groups.WRITTEN,
        ),
        OUTPUT,
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.", rich_help_panel=groups.RUNNING)
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(help="Processes that impute at the same time, of --threads each.", rich_help_panel=groups.RUNNING),
    ] = 1,
    memory: Annotated[
        str | None,
        typer.Option(
            help="What all processes may need together, such as 16G; chunks are cut to fit.",
            rich_help_panel=groups.RUNNING,
        ),
    ] = None,
    scratch: Annotated[
        Path | None,
        typer.Option(
            help="Folder for temporary files; without it they lie beside the output.", rich_help_panel=groups.RUNNING
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Impute on a Dask cluster: HOST:PORT of its scheduler, or local for --jobs workers here.",
            rich_help_panel=groups.RUNNING,
        ),
    ] = None,
    windows_per_chunk: Annotated[
        int | None,
        typer.Option(help="Windows of a chunk; without it about two minutes' work.", rich_help_panel=groups.RUNNING),
    ] = None,
    samples_per_chunk: Annotated[
        int | None,
        typer.Option(
            help="Samples of a chunk; without it all, or as many as --memory has room for.",
            rich_help_panel=groups.RUNNING,
        ),
    ] = None,
) -> None:
    """Imputes target samples against a panel into a VCF, BCF, BGEN or PGEN file."""
    options = dict(locals())
    config = config_of(options)
    if resume and _is_finished(config, options):
        return
    if _is_job(options) or is_large(config):
        _run_job(config, options)
    else:
        _run(config)


def config_of(options: Mapping[str, Any]) -> ImputeConfig:
    """What the options ask for."""
    panels, maps = files_of(options)
    calibrated = None if options["parameters"] is None else read_parameters(options["parameters"])
    return ImputeConfig(
        panel=panels[0],
        targets=tuple(options["target"]),
        out=options["out"],
        map=maps[0] if maps else None,
        checkpoint=options["checkpoint"],
        parameters=None if calibrated is None else calibrated.parameters,
        copying_only=options["copying_only"],
        sex=options["sex"],
        x_male_dosage=options["x_male_dosage"],
        daemon=options["daemon"],
        region=options["region"],
        bgen=options["bgen"],
        bgen_bits=options["bgen_bits"],
        pgen=options["pgen"],
        min_r2=options["min_r2"],
        sites=parse_sites(options["sites"]),
        samples=options["samples"],
        panel_missing=options["panel_missing"],
        threads=options["threads"],
        formats=parse_formats(options["format"]),
        phased_input=options["phased_input"],
        draws=options["draws"],
        targets_as_reference=options["targets_as_reference"],
        fix_swaps=options["fix_swaps"],
        fix_flips=options["fix_flips"],
        qc=options["qc"],
        cohort=options["cohort"],
        resume=options["resume"],
        scratch=options["scratch"],
        keep_going=frozenset(options["keep_going"] or ()),
        least_typed=options["least_typed"],
        max_damaged_share=options["max_damaged_share"],
        loo_samples=options["loo_samples"],
        loo_folds=options["loo_folds"],
        pass_through=options["pass_through"],
        allow_panel_samples=options["allow_panel_samples"],
        exclude_same_person=options["exclude_same_person"],
        parameters_file=options["parameters"],
        parameters_provenance={} if calibrated is None else calibrated.provenance,
        # A run that was interrupted leaves what an undisturbed one does.
        command=shlex.join(["vcfrag", *(word for word in sys.argv[1:] if word != "--resume")]),
    )


def files_of(options: Mapping[str, Any]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Files of the panel and of the genetic map."""
    return expand("--panel", options["panel"]), expand("--map", options["map"] or [])


def _is_job(options: Mapping[str, Any]) -> bool:
    """Whether there is more to it than one process does by itself."""
    panels, maps = files_of(options)
    cut = (
        options["cluster"],
        options["report"],
        options["memory"],
        options["windows_per_chunk"],
        options["samples_per_chunk"],
    )
    several = len(panels) > 1 or len(maps) > 1 or PLACE in str(options["out"])
    return several or options["jobs"] != 1 or any(value is not None for value in cut) or _has_contigs(options)


def _has_contigs(options: Mapping[str, Any]) -> bool:
    """Whether the panel has several contigs, which a job plans all before it imputes the first.

    Leave-one-out dosages of everybody and a daemon are for one process alone.
    """
    if options["region"] is not None or options["daemon"] is not None or "LOO" in parse_formats(options["format"]):
        return False
    panels, _ = files_of(options)
    # A panel that cannot be read is told of where it is opened.
    with contextlib.suppress(VcfragError, OSError):
        return len(panel_contigs(panels[0])) > 1
    return False


def is_large(config: ImputeConfig) -> bool:
    """Whether there are so many samples that they are imputed some at a time, so that memory does not grow with them.

    Leave-one-out dosages of everybody and a daemon are for one process alone.
    """
    if "LOO" in config.formats or config.daemon is not None:
        return False
    return len({name for path in config.targets for name in target_samples(path)}) > SAMPLES_OF_ONE_PROCESS


def _is_finished(config: ImputeConfig, options: Mapping[str, Any]) -> bool:
    """Says so where the run that is resumed has ended; refuses where another one wrote its output."""
    if parts_folder(config.out, config.scratch).is_dir() or default_manifest(config.out, config.scratch).is_file():
        return False
    panels, maps = files_of(options)
    inputs = input_states(config, panels, maps)
    found = find_finished(config.qc_table, config.command, inputs)
    if found is None:
        refuse_finished_of_another(config, inputs)
        return False
    report = options["report"]
    if report is not None and (report.absolute() != found.report or not report.is_file()):
        raise ConfigError(
            f"--report {report}: the run has ended, and the chunks that a report is made of are gone; run without"
            " --resume to write it"
        )
    for path, n_records in found.outputs:
        typer.echo(f"{path} is whole already: {n_records} records of {found.n_samples} samples; nothing is left to do")
    return True


def _run_job(config: ImputeConfig, options: Mapping[str, Any]) -> None:
    from vcfrag_train.cli.cut import cut_of
    from vcfrag_train.cli.progress import showing
    from vcfrag_train.jobs import cluster
    from vcfrag_train.jobs.genome import impute_job

    where = options["cluster"]
    if where is not None:
        cluster.require(where)
    cut = cut_of(options, *files_of(options), default_manifest(config.out, config.scratch))
    with showing("chunks") as reporter:
        runner = None
        if where is not None:
            runner = cluster.cluster_runner(where, jobs=cut.jobs, threads=config.threads, reporter=reporter)
        result = impute_job(config, cut, reporter, runner, report=options["report"])
    for path, n_records in result.outputs:
        typer.echo(f"wrote {path}: {n_records} records of {result.n_samples} samples; QC in {result.qc}")


def _run(config: ImputeConfig) -> None:
    from vcfrag_train.cli.progress import showing
    from vcfrag_train.imputing.pipeline import impute

    with (
        showing() as reporter,
        telling_interrupted(reporter.say, lambda: _what_is_kept(parts_folder(config.out, config.scratch))),
    ):
        result = impute(config, reporter)
    typer.echo(f"wrote {result.out}: {result.n_records} records of {result.n_samples} samples; QC in {result.qc}")


def _what_is_kept(parts: Path) -> str:
    n_windows = len(list(parts.glob("*.part")))
    if not n_windows:
        return " before the first window was written; the same command starts anew"
    written = "1 window is" if n_windows == 1 else f"{n_windows} windows are"
    return f": {written} written, in {parts}; the same command with --resume goes on"
