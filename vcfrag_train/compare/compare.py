"""vcfrag beside Beagle, Minimac4 and the baselines: the same files, measured, in one evaluation."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from vcfrag_core.errors import ConfigError, UnphasedError
from vcfrag_core.files.dosages import ImputedGenotypes, read_haplotypes, sample_names
from vcfrag_core.files.panel.cache import CACHE_DIR_VARIABLE
from vcfrag_core.files.panel.reader import read_panel
from vcfrag_core.files.tables.genetic_map import map_for
from vcfrag_core.files.tables.samples import read_sample_table
from vcfrag_core.files.tables.sites import every_coding, read_typed_sites, site_rows
from vcfrag_core.files.targets import read_target
from vcfrag_core.files.vcf.reader import open_vcf
from vcfrag_core.imputation.corrector import Corrector
from vcfrag_core.imputation.load import load_model
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split_design import exclusion_groups
from vcfrag_core.targets.calls import refuse_unphased
from vcfrag_core.targets.people import panel_names
from vcfrag_core.types import I8Array
from vcfrag_train.compare import baselines, peers
from vcfrag_train.compare.baselines import Baseline
from vcfrag_train.compare.hold_out import draw_people, hold_out
from vcfrag_train.compare.peers import PEERS, Peer
from vcfrag_train.compare.tuning import TuningInput, grid, tuned_peers
from vcfrag_train.compare.usage import Usage, run_measured
from vcfrag_train.evaluation.evaluate import Method, evaluate_methods, file_method
from vcfrag_train.evaluation.inputs import EvaluationFiles
from vcfrag_train.evaluation.results import Cost, Evaluation
from vcfrag_train.evaluation.truth import EvaluationConfig, EvaluationTruth, load_evaluation_truth
from vcfrag_train.models.choose import named_corrector
from vcfrag_train.reporter import COMPILING, SILENT, Reporter

_RUN_CLI: Final = "import sys; from vcfrag_train.cli.app import main; main(sys.argv[1:])"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonFiles:
    """The files that every program gets, and the truth.

    Attributes:
        panel: Reference panel.
        target: Phased targets at the typed sites.
        truth: Their true genotypes.
        genetic_map: Map file; None: 1 cM per Mb.
        typed: Typed sites; None: those of the target file.
        samples_table: Where super-populations are looked up.
    """

    panel: Path
    target: Path
    truth: Path
    genetic_map: Path | None = None
    typed: Path | None = None
    samples_table: Path | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonConfig:
    """What to run, and how.

    Attributes:
        checkpoints: Label and run folder of each trained model to add.
        own: Whether to run vcfrag with its default settings and by copying alone.
        peers: The peers to run where they are on the PATH.
        tune: Whether to choose the peers' settings over the grid of `vcfrag_train.compare.tuning`, on panel samples.
        ablations: Whether to compute the baselines, and every trained model with random neighbours.
        threads: Threads of every program.
        heap_mb: Java's heap for Beagle, megabytes.
        evaluation: How to score.
        unphased: Throws the targets' phase away for every program; the baselines, which need it, are left out.
    """

    checkpoints: tuple[tuple[str, Path], ...] = ()
    own: bool = True
    peers: tuple[Peer, ...] = PEERS
    tune: bool = False
    ablations: bool = True
    threads: int = 2
    heap_mb: int = 4096
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
    unphased: bool = False

    def __post_init__(self) -> None:
        if self.threads < 1 or self.heap_mb < 64:
            raise ConfigError(f"threads must be >= 1 and heap_mb >= 64, got {self.threads} and {self.heap_mb}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Own:
    """One way to call `vcfrag impute`."""

    name: str
    options: tuple[str, ...]


def compare(files: ComparisonFiles, config: ComparisonConfig, work: Path, reporter: Reporter = SILENT) -> Evaluation:
    """Runs all programs and scores them together; the first vcfrag row is compared with every other.

    Args:
        files: Panel, targets, truth, map.
        config: What to run.
        work: Folder for the imputed files; they stay there.
        reporter: Told what is being done.

    Raises:
        ConfigError: Nothing to run, or targets without phase where it is not thrown away.
        ProgramError: A program ended with an error.
        Any error of the readers.
    """
    work.mkdir(parents=True, exist_ok=True)
    samples = sample_names(files.target)
    if not config.unphased:
        _require_phase(files.target)
    panel_path, panel = _reference(files.panel, samples, work, config.evaluation.threads)
    if config.unphased:
        unphased = work / "unphased.vcf.gz"
        peers.without_phase(files.target, unphased)
        files = dataclasses.replace(files, target=unphased, typed=files.typed or files.target)
    methods = [
        *_own_methods(files, config, panel_path, work, reporter),
        *_peer_methods(files, config, panel_path, panel, work, reporter),
    ]
    if not methods:
        raise ConfigError("nothing to compare: neither vcfrag nor a peer is run")
    evaluation_files = EvaluationFiles(
        imputed=tuple((method.name, Path(method.source)) for method in methods),
        truth=files.truth,
        panels=(panel_path,),
        typed=files.typed or files.target,
        samples_table=files.samples_table,
    )
    reporter.stage("reading the truth")
    hidden = load_evaluation_truth(evaluation_files, config.evaluation, panel)
    if config.ablations and not config.unphased:
        methods += _ablations(files, panel, samples, config)
    return evaluate_methods([hidden], methods, evaluation_files, config.evaluation, reporter.stage)


def _require_phase(target: Path) -> None:
    """Minimac4 takes unphased genotypes for phased ones without a word.

    Raises:
        ConfigError: A heterozygote is not phased.
    """
    try:
        refuse_unphased(read_target(target))
    except UnphasedError as error:
        raise ConfigError(
            f"{error}; or give --unphased: all programs phase them then, SHAPEIT4 for Minimac4"
        ) from error


def _reference(path: Path, targets: Sequence[str], work: Path, threads: int) -> tuple[Path, Panel]:
    """The panel without the targets: the file itself where they are not in it, else one written for all programs."""
    panel = read_panel(path, threads=threads)
    both = sorted(panel_names(targets, panel))
    if not both:
        return path, panel
    names = work / "targets.txt"
    names.write_text("".join(f"{name}\n" for name in both))
    reduced = work / "panel.bcf"
    run_measured(["bcftools", "view", "-S", f"^{names}", "-Ob", "-o", reduced, path], log=work / "panel.log")
    peers.run_index(reduced)
    return reduced, read_panel(reduced, threads=threads)


def _own_methods(
    files: ComparisonFiles, config: ComparisonConfig, panel: Path, work: Path, reporter: Reporter
) -> Iterator[Method]:
    for own in _own_ways(config):
        reporter.say(f"running {own.name}")
        stem = re.sub(r"[^\w.-]+", "-", own.name)
        output = work / f"{stem}.vcf.gz"
        words = ["impute", "--panel", panel, "--target", files.target, "--out", output, "--threads", config.threads]
        words += [] if files.genetic_map is None else ["--map", files.genetic_map]
        command = [sys.executable, "-c", _RUN_CLI, *(str(word) for word in words), *own.options]
        log = work / f"{stem}.log"
        said_before = log.stat().st_size if log.exists() else 0
        # An empty cache: the whole process reads the panel itself, as Beagle does.
        with tempfile.TemporaryDirectory(prefix=".cache-", dir=work) as cache:
            usage = run_measured(command, log=log, environment={CACHE_DIR_VARIABLE: cache})
        if COMPILING.encode() in log.read_bytes()[said_before:]:
            reporter.say(
                f"{own.name}: its cost includes compiling kernels, done once for an installation: run again for"
                " that of imputation alone"
            )
        if contigs := _without_model(output):
            reporter.say(f"{own.name}: the model did these targets no good and was left out on {', '.join(contigs)}")
        yield file_method(own.name, output, config.evaluation, _cost(usage, (), config.threads))


def _without_model(output: Path) -> list[str]:
    """Contigs on which `impute` left out the model that it was given, by the header of what it wrote."""
    with open_vcf(output) as reader:
        return re.findall(r"^##vcfrag_model_check=<ID=([^,]+),used=no\b", reader.header, re.MULTILINE)


def _own_ways(config: ComparisonConfig) -> tuple[_Own, ...]:
    trained = tuple(_Own(name=name, options=("--checkpoint", str(run))) for name, run in config.checkpoints)
    if not config.own:
        return trained
    return (*trained, _Own(name="vcfrag", options=()), _Own(name="vcfrag-copying", options=("--copying-only",)))


def _peer_methods(
    files: ComparisonFiles, config: ComparisonConfig, panel_path: Path, panel: Panel, work: Path, reporter: Reporter
) -> Iterator[Method]:
    if not config.peers:
        return
    chosen = config.peers
    if config.tune:
        chosen = tuple(peer for peer in chosen if not peer.options)
        chosen += tuple(_tuned(files, config, panel_path, panel, work, reporter))
    found, missing = peers.available_peers(chosen)
    for program in missing:
        reporter.say(f"{program} is not on the PATH and is left out")
    given = peers.PeerInput(panel=panel_path, target=files.target, genetic_map=map_for(panel, files.genetic_map))
    for peer in found:
        reporter.say(f"running {' '.join((peer.name, *peer.options))}")
        output = work / f"{peer.name}.vcf.gz"
        run = peers.run_peer(peer, given, output, threads=config.threads, heap_mb=config.heap_mb)
        yield file_method(peer.name, output, config.evaluation, _cost(run.imputation, run.preparation, config.threads))


def _tuned(
    files: ComparisonFiles, config: ComparisonConfig, panel_path: Path, panel: Panel, work: Path, reporter: Reporter
) -> list[Peer]:
    table = None if files.samples_table is None else read_sample_table(files.samples_table)
    given = TuningInput(
        path=panel_path,
        panel=panel,
        genetic_map=map_for(panel, files.genetic_map),
        groups=exclusion_groups(panel.samples, table),
        typed=every_coding(
            read_typed_sites(files.typed or files.target, panel.contig, threads=config.evaluation.threads)
        ),
        unphased=config.unphased,
    )
    folder, seed = work / "tuning", config.evaluation.seed
    settings = grid(unphased=config.unphased)
    chosen = tuned_peers(
        given, folder, settings, threads=config.threads, heap_mb=config.heap_mb, seed=seed, reporter=reporter
    )
    for peer in chosen:
        reporter.say(f"{peer.name}: {' '.join(peer.options)}; {folder / 'tuning.tsv'} lists what was tried")
    return chosen


def hold_out_share(
    panel_path: Path,
    typed: Path,
    share: float,
    work: Path,
    *,
    genetic_map: Path | None = None,
    samples_table: Path | None = None,
    seed: int = 1,
    threads: int = 1,
) -> ComparisonFiles:
    """A comparison on a share of the panel's own samples, with their families, held out.

    Raises:
        ConfigError: The share is not between 0 and 1, or leaves nobody; the panel has none of the typed sites.
        ProgramError: bcftools is not there.
    """
    if not 0 < share < 1:
        raise ConfigError(f"--hold-out lies between 0 and 1, got {share}")
    panel = read_panel(panel_path, threads=threads)
    groups = exclusion_groups(panel.samples, None if samples_table is None else read_sample_table(samples_table))
    people = draw_people(panel.samples, groups, max(1, round(share * panel.n_samples)), seed, "targets")
    sites = every_coding(read_typed_sites(typed, panel.contig, threads=threads))
    files = hold_out(panel_path, panel, people, (), sites, work / "held-out")
    return ComparisonFiles(
        panel=files.panel,
        target=files.target,
        truth=files.truth,
        genetic_map=genetic_map,
        samples_table=samples_table,
    )


def _cost(run: Usage, preparation: Sequence[Usage], threads: int) -> Cost:
    return Cost(
        wall_seconds=run.wall_seconds,
        cpu_seconds=run.cpu_seconds,
        preparation_seconds=sum(step.wall_seconds for step in preparation),
        peak_bytes=max(step.peak_bytes for step in (run, *preparation)),
        threads=threads,
        command=run.command,
    )


def _ablations(
    files: ComparisonFiles, reference: Panel, samples: Sequence[str], config: ComparisonConfig
) -> Iterator[Method]:
    rows = site_rows(reference.positions.tolist(), reference.refs, reference.alts)
    alleles = read_haplotypes(files.target, reference.contig, rows, samples, threads=config.evaluation.threads)
    for baseline in baselines.BASELINES:
        yield Method(
            name=baseline.name,
            load=functools.partial(_load_baseline, baseline, reference, alleles, samples),
            source="computed here",
        )
    for name, corrector in _correctors(files, reference, config):
        yield Method(
            name=f"{name}, random neighbours",
            load=functools.partial(_load_unretrieved, corrector, files, reference, alleles, samples, config.threads),
            source=f"computed here with {corrector.name}",
        )


def _correctors(files: ComparisonFiles, reference: Panel, config: ComparisonConfig) -> Iterator[tuple[str, Corrector]]:
    """The trained models of this comparison."""
    if config.checkpoints:
        found = {"panel": reference.digest, "map": map_for(reference, files.genetic_map).digest}
        for name, run in config.checkpoints:
            yield name, named_corrector(run, found)
    shipped = load_model() if config.own else None
    if shipped is not None:
        yield "vcfrag", shipped


def _load_baseline(
    baseline: Baseline, reference: Panel, alleles: I8Array, samples: Sequence[str], hidden: EvaluationTruth
) -> ImputedGenotypes:
    order = [samples.index(name) for name in hidden.samples]
    return baselines.impute_baseline(baseline, reference, alleles[:, order], hidden.panel_sites)


def _load_unretrieved(
    corrector: Corrector,
    files: ComparisonFiles,
    reference: Panel,
    alleles: I8Array,
    samples: Sequence[str],
    threads: int,
    hidden: EvaluationTruth,
) -> ImputedGenotypes:
    from vcfrag_train.compare.random_neighbours import impute_unretrieved

    order = [samples.index(name) for name in hidden.samples]
    genetic_map = map_for(reference, files.genetic_map)
    return impute_unretrieved(
        reference, genetic_map, alleles[:, order], hidden.panel_sites, corrector=corrector, threads=threads
    )


@contextlib.contextmanager
def work_folder(keep: Path | None) -> Iterator[Path]:
    """The folder named, which stays, or a temporary one, which does not."""
    if keep is not None:
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="vcfrag-compare-") as folder:
        yield Path(folder)
