"""Plans a job: reads and tests the targets once, decides what depends on the cohort, and cuts the work into chunks."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from vcfrag_core.errors import ConfigError, UnknownContigError
from vcfrag_core.files.atomic import temporary_folder
from vcfrag_core.files.outputs import has_rows
from vcfrag_core.files.panel.contigs import panel_contigs
from vcfrag_core.files.tables.cohort import read_cohort
from vcfrag_core.files.tables.genetic_map import map_for
from vcfrag_core.files.tables.target_reference import write_target_references
from vcfrag_core.files.targets import read_target
from vcfrag_core.files.vcf.reader import name_contigs, parse_region
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.targets.calls import TargetCalls
from vcfrag_train.imputing.checks import CheckedTarget, of_samples_asked
from vcfrag_train.imputing.config import ImputeConfig
from vcfrag_train.imputing.finished import input_states, refuse_tables_of_another
from vcfrag_train.imputing.pieces import pass_through_records
from vcfrag_train.imputing.pipeline import Run
from vcfrag_train.imputing.qc_report import QcReport
from vcfrag_train.imputing.regions import PanelSource, refuse_twice, with_margin
from vcfrag_train.imputing.room import check_room, needs_of_contigs
from vcfrag_train.imputing.selection import chosen_sites
from vcfrag_train.imputing.stretches import TargetStretch
from vcfrag_train.jobs.manifest import Chunk, Manifest, Stretch, job_folder, output_of, write_manifest
from vcfrag_train.jobs.maps import state_of, write_map
from vcfrag_train.jobs.planning.forecast import memory_of, seconds_of
from vcfrag_train.jobs.planning.inputs import find_files
from vcfrag_train.jobs.room import needs_of_job
from vcfrag_train.jobs.targets import StretchTargets, target_reference_file, write_targets
from vcfrag_train.reporter import Reporter

# What a process may need where nobody says.
CHUNK_BYTES: Final = 2 * 2**30
# Batches of fewer are kept as dosages: their cells, compressed by themselves, would take more room in the output.
SAMPLES_OF_ROWS: Final = 1024
_SECONDS_PER_CHUNK: Final = 120.0
_CELLS_PER_PIECE: Final = 200_000
# Fewer share too little of a search.
_LEAST_SAMPLES: Final = 8
_LEAST_PER_PIECE: Final = 16


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PlanConfig:
    """How a job is cut.

    Attributes:
        manifest: The manifest's file.
        panels: Files of the panel.
        maps: Files of the genetic map.
        jobs: Chunks that will be imputed at a time.
        memory_bytes: What all of them may need together; `CHUNK_BYTES` each without.
        windows_per_chunk: Windows of a chunk; about two minutes' work unless given.
        samples_per_chunk: Samples of a chunk; as many as memory has room for unless given.
    """

    manifest: Path
    panels: tuple[Path, ...]
    maps: tuple[Path, ...] = ()
    jobs: int = 1
    memory_bytes: int | None = None
    windows_per_chunk: int | None = None
    samples_per_chunk: int | None = None

    def __post_init__(self) -> None:
        if not self.manifest.parent.is_dir():
            raise ConfigError(f"--manifest {self.manifest}: there is no folder {self.manifest.parent}")
        counts = [n for n in (self.jobs, self.windows_per_chunk, self.samples_per_chunk) if n is not None]
        if min(counts) < 1:
            raise ConfigError("--jobs, --windows-per-chunk and --samples-per-chunk are 1 or more")


class _PlanningRun(Run):
    """A run that ends with the decisions."""

    _phases_later = True
    _imputes = "to be imputed"


def plan(config: ImputeConfig, cut: PlanConfig, reporter: Reporter | None = None) -> Manifest:
    """Plans a job and writes its manifest; every input is checked before it is.

    A job that was planned there before stays as it is where this one is refused.

    Raises:
        InputError and its kinds: Targets, panels or maps cannot be used.
        ConfigError: There is no room for the job, or an option that a job does not have.
    """
    reporter = reporter or Reporter()
    _refuse(config)
    inputs = input_states(config, cut.panels, cut.maps)
    refuse_tables_of_another(config, inputs)
    reporter.stage("reading the targets")
    around = None if config.region is None else str(with_margin(parse_region(config.region)))
    targets = read_target(
        config.targets, region=around, threads=config.threads, waiting=config.scratch or cut.manifest.parent
    )
    targets = of_samples_asked(targets, config, reporter)
    report = QcReport(config.targets, targets[0].samples, config.qc_table)
    folder = job_folder(cut.manifest).resolve()
    try:
        with temporary_folder(folder) as aside:
            manifest = _planned(config, cut, targets, report, reporter, aside)
            manifest = dataclasses.replace(manifest, inputs=inputs)
            folder.mkdir(exist_ok=True)
            for file in aside.iterdir():
                shutil.move(file, folder / file.name)
        write_manifest(manifest, cut.manifest)
        return manifest
    finally:
        report.write()


def _refuse(config: ImputeConfig) -> None:
    """Refuses what takes the whole cohort at a time."""
    if "LOO" in config.formats:
        raise ConfigError("--format LOO: a job has no leave-one-out dosages of everybody; impute in one process")
    if config.daemon is not None:
        raise ConfigError(
            "--daemon: a run with several panels or maps, --jobs, --memory, --cluster, --report or {contig} in --out is"
            " cut into chunks, which search in their own processes; impute one contig without those, or leave it out"
        )


def _planned(
    config: ImputeConfig,
    cut: PlanConfig,
    targets: list[TargetCalls],
    report: QcReport,
    reporter: Reporter,
    folder: Path,
) -> Manifest:
    """The manifest; its targets and maps are written to the folder."""
    files, foreign, others = find_files([calls.contig for calls in targets], cut.panels, cut.maps, config.region)
    for calls in targets:
        if calls.contig in foreign:
            reporter.say(report.add_foreign(calls))
    if not files:
        names = name_contigs([calls.contig for calls in targets])
        own = name_contigs([name for path in cut.panels for name in panel_contigs(path)])
        raise UnknownContigError(f"no panel has any of its contigs: {names}; they have {own}", path=targets[0].source)
    if config.region is None and others:
        reporter.say(f"the targets have no record on {name_contigs(others)} of the panel: nothing is imputed there")
    refuse_twice({contig: sources[0] for contig, sources in files.items()}, Path(targets[0].source))
    if len(cut.panels) == 1:
        # Before hours of tests; what else chunks take, and where room is scarce, is told once they are cut.
        check_room(needs_of_contigs(config, [sources[0].contig for sources in files.values()], len(targets[0].samples)))
    run = _PlanningRun(config, reporter, report, None if config.cohort is None else read_cohort(config.cohort))
    samples = targets[0].samples
    _check_samples(targets)
    stretches: list[Stretch] = []
    windows: list[list[int]] = []
    todo = [calls for calls in targets if calls.contig in files]
    targets.clear()
    for calls in todo:
        run.compare_people(calls, files[calls.contig])
    while todo:
        # Each contig's calls are let go when they are planned.
        calls = todo.pop(0)
        for stretch, sites in _stretches(config, run, calls, files[calls.contig], folder, len(stretches)):
            stretches.append(stretch)
            windows.append(sites)
    run.refuse_nothing_written()
    run.write_cohort()
    run.tell_people()
    manifest = Manifest(
        version=importlib.metadata.version("vcfrag"),
        command=config.command,
        out=str(config.out.absolute()),
        qc=str(config.qc_table.absolute()),
        output=config.output_format,
        min_r2=config.min_r2,
        checkpoint=None if config.checkpoint is None else str(config.checkpoint.absolute()),
        panel_missing=config.panel_missing,
        sites_per_piece=max(_LEAST_PER_PIECE, _CELLS_PER_PIECE // len(samples)),
        samples=samples,
        inputs={},
        stretches=tuple(stretches),
        chunks=(),
    )
    manifest = cut_into_chunks(manifest, windows, cut)
    for line in check_room(needs_of_job(manifest, cut.manifest.absolute().parent, config.scratch, manifest.chunks)):
        reporter.say(line)
    return manifest


def _check_samples(targets: Sequence[TargetCalls]) -> None:
    for calls in targets:
        if calls.samples != targets[0].samples:
            other = next(iter(set(calls.samples) ^ set(targets[0].samples)), calls.samples[0])
            raise ConfigError(
                f"--target: contigs {targets[0].contig} and {calls.contig} have other samples, or in another order:"
                f" {other}; give all contigs of the same samples"
            )


def _stretches(
    config: ImputeConfig, run: Run, calls: TargetCalls, sources: Sequence[PanelSource], folder: Path, number: int
) -> Iterator[tuple[Stretch, list[int]]]:
    """The contig's stretches, and the sites of each one's windows."""
    for place, part in enumerate(run.stretches(calls, sources), start=number):
        yield _of_stretch(config, run, part, folder, place)


def _of_stretch(
    config: ImputeConfig, run: Run, part: TargetStretch, folder: Path, number: int
) -> tuple[Stretch, list[int]]:
    source = part.source
    with run.checked(part) as (checked, imputer, made_from):
        er2 = checked.er2
        checked.forget_phase()
        targets = StretchTargets(
            ploidy=checked.ploidy,
            observed=checked.observed,
            written=checked.written & chosen_sites(checked.panel, checked.observed, config.sites),
            er2=er2,
            alleles=checked.alleles,
            names=checked.names,
            kept=tuple(pass_through_records(checked, config.region)) if config.pass_through else (),
            phase_sets=checked.phase_sets if checked.unphased.any() else None,
        )
        digest = write_targets(targets, folder, number)
        serving = checked.target_reference
        if serving is not None:
            write_target_references({checked.panel.contig: serving}, target_reference_file(folder, number))
        if source.map is not None:
            write_map(map_for(checked.panel, source.map), folder, number)
        sizes = [window.stop - window.start for window in imputer.windows(checked.observed)]
        stretch = _stretch(checked, imputer, source)
        return (
            dataclasses.replace(
                stretch,
                map_digest=made_from["map"],
                n_written=int(targets.written.sum()),
                n_windows=len(sizes),
                lines=run.lines(checked.label),
                targets=digest,
                target_reference="" if serving is None else serving.digest,
            ),
            sizes,
        )


def _stretch(checked: CheckedTarget, imputer: Imputer, source: PanelSource) -> Stretch:
    """What the manifest says of a stretch, but for what is known where it is planned."""
    panel = checked.panel
    return Stretch(
        contig=panel.contig,
        panel=str(source.file.absolute()),
        region=source.region,
        panel_digest=panel.digest,
        map=None if source.map is None else str(source.map.absolute()),
        map_digest="",
        map_state=state_of(source.map),
        parameters=imputer.parameters(checked.observed),
        copying_only=imputer.corrector is None,
        verdict={} if imputer.corrector is None else imputer.corrector.verdict,
        method=imputer.method(checked.observed),
        ploidy=str(checked.ploidy),
        n_sites=panel.n_sites,
        n_typed=int(checked.observed.sum()),
        n_written=0,
        n_haplotypes=panel.n_haplotypes,
        n_unphased=int(checked.unphased.sum()),
        n_draws=checked.n_draws,
        n_windows=0,
        contig_length=panel.contig_length or checked.records.contig_length,
        groups={name: group for name, group in imputer.split.groups.items() if name != group},
        lines=(),
        targets="",
    )


def cut_into_chunks(manifest: Manifest, windows: Sequence[Sequence[int]], cut: PlanConfig) -> Manifest:
    """The manifest with other chunks.

    Args:
        manifest: The job.
        windows: Sites of every window of every stretch.
        cut: How it is cut.

    Raises:
        ConfigError: Not even one sample fits into the memory.
    """
    n_samples = len(manifest.samples)
    chunks: list[Chunk] = []
    for number, (stretch, sizes) in enumerate(zip(manifest.stretches, windows, strict=True)):
        batch = min(n_samples, cut.samples_per_chunk or _samples_that_fit(manifest, stretch, sizes, cut))
        whole = stretch.n_unphased > 0 and cut.windows_per_chunk is None
        if whole:
            # Phase is found along the whole stretch: chunks of some samples each need it once.
            batch = min(batch, cut.samples_per_chunk or _samples_in_time(manifest, stretch, sum(sizes)))
        has_records = has_rows(output_of(manifest, stretch.contig))
        rows = batch >= SAMPLES_OF_ROWS and has_records
        each = [_seconds(manifest, stretch, n, rows or (has_records and batch == n_samples)) for n in sizes]
        for w0, w1 in [(0, len(sizes))] if whole else _runs([batch * n for n in each], cut.windows_per_chunk):
            for s0 in range(0, n_samples, batch):
                s1 = min(s0 + batch, n_samples)
                chunks.append(
                    Chunk(
                        number=len(chunks),
                        stretch=number,
                        windows=(w0, w1),
                        samples=(s0, s1),
                        memory_bytes=_memory(manifest, stretch, sizes[w0:w1], s1 - s0),
                        rows=rows,
                        seconds=round((s1 - s0) * sum(each[w0:w1]), 1),
                    )
                )
    return dataclasses.replace(manifest, chunks=tuple(chunks))


def _seconds(manifest: Manifest, stretch: Stretch, n_sites: int, records: bool) -> float:
    share = stretch.n_unphased / len(manifest.samples)
    return seconds_of(stretch, n_sites=n_sites, unphased_share=share, draws=stretch.n_draws, records=records)


def _samples_in_time(manifest: Manifest, stretch: Stretch, n_sites: int) -> int:
    n_samples = len(manifest.samples)
    fits = int(_SECONDS_PER_CHUNK / _seconds(manifest, stretch, n_sites, records=True))
    return -(-n_samples // -(-n_samples // max(_LEAST_SAMPLES, fits)))


def _runs(seconds: Sequence[float], given: int | None) -> Iterator[tuple[int, int]]:
    """Ranges of windows: so many each, or about `_SECONDS_PER_CHUNK` of work."""
    start, total = 0, 0.0
    for stop, of_window in enumerate(seconds, start=1):
        total += of_window
        full = stop - start == given if given is not None else total >= _SECONDS_PER_CHUNK
        if full or stop == len(seconds):
            yield start, stop
            start, total = stop, 0.0


def _memory(manifest: Manifest, stretch: Stretch, sizes: Sequence[int], n_samples: int) -> int:
    return memory_of(stretch, window=max(sizes), n_windows=len(sizes), n_samples=n_samples, draws=stretch.n_draws)


def _samples_that_fit(manifest: Manifest, stretch: Stretch, sizes: Sequence[int], cut: PlanConfig) -> int:
    n_samples = len(manifest.samples)
    each = CHUNK_BYTES if cut.memory_bytes is None else cut.memory_bytes // cut.jobs
    alone = _memory(manifest, stretch, sizes, 0)
    fits = (each - alone) // (_memory(manifest, stretch, sizes, 1) - alone)
    if cut.memory_bytes is None:
        fits = max(1, fits)
    if fits < 1:
        needed = cut.jobs * _memory(manifest, stretch, sizes, 1)
        raise ConfigError(
            f"--memory: {cut.jobs} jobs on contig {stretch.contig} need {needed / 1e9:.1f} GB at least; give more, or"
            " fewer --jobs"
        )
    # Even batches.
    return -(-n_samples // -(-n_samples // int(fits)))
