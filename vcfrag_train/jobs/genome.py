"""Plan, chunks and merge on this machine: `vcfrag impute` where there is more than one process's work."""

from __future__ import annotations

import dataclasses
import multiprocessing
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Final

from vcfrag_core.errors import ConfigError, ProgramError, ProvenanceMismatchError
from vcfrag_core.files.atomic import remove_left_behind
from vcfrag_core.files.lock import sole_writer
from vcfrag_core.files.names import PLACE
from vcfrag_train import extras
from vcfrag_train.imputing.config import ImputeConfig
from vcfrag_train.imputing.finished import input_states, mark_finished, what_is_done
from vcfrag_train.imputing.room import check_room
from vcfrag_train.jobs.manifest import Manifest, job_folder, read_manifest
from vcfrag_train.jobs.merge import merge, missing_chunks, remove_work
from vcfrag_train.jobs.planning.plan import PlanConfig, plan
from vcfrag_train.jobs.room import needs_of_job
from vcfrag_train.jobs.worker import Worker, run_here, start
from vcfrag_train.reporter import Reporter, telling_interrupted

_TRIES: Final = 3
# Runs the chunks of these numbers: (manifest's file, numbers, told of each one done).
Runner = Callable[[Path, Sequence[int], Callable[[int], None]], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """What a job wrote.

    Attributes:
        outputs: Each output and its number of records.
        qc: The QC table.
        n_samples: Samples in the outputs.
    """

    outputs: tuple[tuple[Path, int], ...]
    qc: Path
    n_samples: int


def impute_job(
    config: ImputeConfig,
    cut: PlanConfig,
    reporter: Reporter | None = None,
    runner: Runner | None = None,
    *,
    report: Path | None = None,
) -> JobResult:
    """Plans, runs and merges a job; afterwards its folder and manifest are gone.

    With `resume` a manifest that is there is taken up as it was planned.

    Args:
        config: What is imputed.
        cut: How it is cut.
        reporter: Is told how it goes.
        runner: Runs chunks; processes of this machine unless given.
        report: HTML page that is written of it.

    Raises:
        InputError, ConfigError and their kinds: See `plan`, `run_chunk` and `merge`.
        OutputError: Another run of the same output is under way.
        ProgramError: Processes died again and again.
    """
    reporter = reporter or Reporter()
    if report is not None:
        check_report(report)
    # Other outputs may have the manifest's name in common, and other folders of temporary files the output's.
    with sole_writer(cut.manifest), sole_writer(config.qc_table):
        return _impute_job(config, cut, reporter, runner, report)


def _impute_job(
    config: ImputeConfig, cut: PlanConfig, reporter: Reporter, runner: Runner | None, report: Path | None
) -> JobResult:
    if config.resume and cut.manifest.is_file():
        manifest = read_manifest(cut.manifest)
        _refuse_other(manifest, config, cut)
    else:
        with telling_interrupted(reporter.say, lambda: " before the first chunk; the same command starts anew"):
            manifest = plan(config, cut, reporter)
        remove_work(job_folder(cut.manifest))
    with telling_interrupted(reporter.say, lambda: _what_is_kept(manifest, job_folder(cut.manifest))):
        return _planned_job(config, cut, manifest, reporter, runner, report)


def _what_is_kept(manifest: Manifest, folder: Path) -> str:
    """What an interrupted job has done, and how it goes on."""
    # The processes that were at work are gone.
    remove_left_behind(folder / "chunks")
    total = len(manifest.chunks)
    done = total - len(missing_chunks(manifest, folder))
    return f": {done} of {total} chunks are done, in {folder}; the same command with --resume goes on"


def _planned_job(
    config: ImputeConfig,
    cut: PlanConfig,
    manifest: Manifest,
    reporter: Reporter,
    runner: Runner | None,
    report: Path | None,
) -> JobResult:
    folder = job_folder(cut.manifest)
    todo = missing_chunks(manifest, folder)
    total = len(manifest.chunks)
    if config.resume:
        left = [manifest.chunk(number) for number in todo]
        for line in check_room(needs_of_job(manifest, folder, config.scratch, left)):
            reporter.say(line)
        reporter.say(f"{total - len(todo)} of {total} chunks are there from the run that is resumed")
    reporter.stage("imputing chunks")
    done = total - len(todo)
    reporter.sites(done, total)

    def tell(_: int) -> None:
        nonlocal done
        done += 1
        reporter.sites(done, total)

    if todo:
        if runner is not None or cut.jobs > 1:
            todo = longest_first(manifest, todo)
        (runner or local_runner(cut.jobs, config.threads))(cut.manifest, todo, tell)
    if report is not None:
        report_job(manifest, folder, report, threads=config.threads)
    outputs = merge(manifest, folder, threads=config.threads, scratch=config.scratch, reporter=reporter)
    mark_finished(
        config.qc_table,
        config.command,
        outputs,
        len(manifest.samples),
        manifest.inputs,
        record=config.cohort_record,
        report=report,
    )
    shutil.rmtree(folder)
    cut.manifest.unlink()
    return JobResult(outputs=tuple(outputs), qc=config.qc_table, n_samples=len(manifest.samples))


def longest_first(manifest: Manifest, numbers: Sequence[int]) -> list[int]:
    """Chunk numbers in the order in which several processes end soonest: no long one is left for the end.

    Chunks of about the same length stay in the order of their stretches, each of which is opened once then.
    """
    longest = max(manifest.chunk(number).seconds for number in numbers)
    return sorted(numbers, key=lambda number: -round(4 * manifest.chunk(number).seconds / max(longest, 1e-9)))


def check_report(path: Path) -> None:
    """Refuses before any work a report that could not be written.

    Raises:
        ConfigError: It is not called .html, its folder does not exist, or the packages that it needs are not installed.
    """
    if PLACE in str(path):
        raise ConfigError(f"--report {path}: one page is written for all contigs; name it without {PLACE}")
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--report {path}: the name of a page ends in .html")
    extras.require("matplotlib", "jinja2")
    if not path.parent.is_dir():
        raise ConfigError(f"--report {path}: there is no folder {path.parent}")


def report_job(manifest: Manifest, folder: Path, path: Path, *, threads: int = 1) -> None:
    """Writes the report of a job whose chunks are done.

    Raises:
        TruncatedFileError: A chunk is missing or damaged.
        InputError: The summary of the QC table is gone.
    """
    from vcfrag_train.jobs.report.report import write_report
    from vcfrag_train.jobs.report.summary import summarise

    write_report(summarise(manifest, folder, threads=threads), path)


def _refuse_other(manifest: Manifest, config: ImputeConfig, cut: PlanConfig) -> None:
    """Refuses to take up what another command has begun, but for how it was run, or what it began with other inputs."""
    if what_is_done(manifest.command) != what_is_done(config.command):
        raise ProvenanceMismatchError(
            f"--resume: {cut.manifest} was planned by `{manifest.command}`; give the same options, or run without"
            " --resume to start anew"
        )
    there = input_states(config, cut.panels, cut.maps)
    changed = sorted(name for name in {*manifest.inputs, *there} if manifest.inputs.get(name) != there.get(name))
    if changed:
        raise ProvenanceMismatchError(
            f"--resume: {', '.join(changed[:4])}{' and others' * (len(changed) > 4)}: not the file that {cut.manifest}"
            " was planned with; put it back, or run without --resume to start anew"
        )


def local_runner(jobs: int, threads: int) -> Runner:
    """Runs chunks in this process, or in as many processes of this machine as there are jobs."""

    def run(path: Path, numbers: Sequence[int], tell: Callable[[int], None]) -> None:
        if jobs == 1:
            worker = Worker(path, threads)
            for number in numbers:
                worker.run(number)
                tell(number)
            return
        todo = list(numbers)
        for _ in range(_TRIES):
            todo = _run_in_processes(path, todo, jobs, threads, tell)
            if not todo:
                return
        raise ProgramError(f"chunks {todo[:5]} were not imputed in {_TRIES} tries: their processes were killed")

    return run


def start_silent_tracker() -> None:
    """Starts the process that removes Python's semaphores once this one is killed, which it would say on stderr."""
    silent = "ignore:resource_tracker"
    sys.warnoptions.append(silent)
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(silent)


def _run_in_processes(
    path: Path, numbers: Sequence[int], jobs: int, threads: int, tell: Callable[[int], None]
) -> list[int]:
    """Numbers that were not imputed because a process died."""
    left = dict.fromkeys(numbers)
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    start_silent_tracker()
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=start, initargs=(path, threads)) as pool:
        waiting: dict[Future[int], int] = {pool.submit(run_here, number): number for number in numbers}
        try:
            while waiting:
                finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in finished:
                    number = waiting.pop(future)
                    future.result()
                    del left[number]
                    tell(number)
        except BrokenProcessPool:
            return list(left)
        except KeyboardInterrupt:
            # A chunk may take minutes.
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return []
