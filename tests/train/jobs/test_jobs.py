"""Jobs: the same bytes however a job is cut, killed and taken up; one genome of several files."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import os
import re
import resource
import shlex
import shutil
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.impute_cohort import Cohort
from tests.train.jobs.conftest import N_SAMPLES, Genome
from vcfrag_core.errors import ConfigError, InputError, ProvenanceMismatchError, TruncatedFileError
from vcfrag_core.imputation.cohort import EstimationConfig
from vcfrag_core.imputation.model_check import ModelCheck
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.phasing.phased import Phased
from vcfrag_core.phasing.phaser import Phaser
from vcfrag_core.phasing.serving import TargetsAsReference
from vcfrag_core.targets.haplotypes import SexReport
from vcfrag_core.targets.records import Reason, TargetRecords
from vcfrag_core.targets.target_reference import TargetReference
from vcfrag_core.targets.targets import Targets
from vcfrag_train.imputing.checks import match_target
from vcfrag_train.imputing.config import ImputeConfig
from vcfrag_train.imputing.finished import find_finished, input_states
from vcfrag_train.imputing.likenesses import Likenesses
from vcfrag_train.imputing.pipeline import impute
from vcfrag_train.imputing.selection import SiteChoice
from vcfrag_train.jobs.chunks.chunk import run_chunk
from vcfrag_train.jobs.chunks.chunk_file import chunk_file, is_done
from vcfrag_train.jobs.genome import impute_job, local_runner, longest_first
from vcfrag_train.jobs.manifest import Manifest, job_folder, read_manifest, write_manifest
from vcfrag_train.jobs.merge import merge, missing_chunks
from vcfrag_train.jobs.planning.forecast import BYTES_OF_A_PROCESS, memory_of
from vcfrag_train.jobs.planning.plan import cut_into_chunks, plan
from vcfrag_train.jobs.targets import target_reference_file
from vcfrag_train.jobs.worker import Worker


def sizes(manifest: Manifest, folder: Path) -> list[list[int]]:
    """Sites of every window of every stretch."""
    from vcfrag_core.files.panel.cache import load_panel
    from vcfrag_train.jobs.maps import windows_of

    panels = [load_panel(s.panel, region=s.region) for s in manifest.stretches]
    return [[w.stop - w.start for w in windows_of(manifest, folder, n, panel)] for n, panel in enumerate(panels)]


SIX_WAYS = [
    {},
    {"windows_per_chunk": 1},
    {"samples_per_chunk": 1},
    {"windows_per_chunk": 2, "samples_per_chunk": 7},
    {"windows_per_chunk": 3, "samples_per_chunk": 23},
    {"windows_per_chunk": 1, "samples_per_chunk": 12},
]


@pytest.mark.parametrize("model", [False, True], ids=["copying", "default model"])
def test_job__six_cuts_of_one_task_give_the_same_bytes(genome: Genome, model: bool) -> None:
    config = dataclasses.replace(genome.config("whole.vcf.gz", pass_through=True), copying_only=not model)
    whole = plan(config, genome.cut())
    windows = sizes(whole, job_folder(genome.cut().manifest))
    assert min(map(len, windows)) >= 3
    outputs, n_chunks = set(), set()
    # By the model, two samples at a time share its matrices; so two cuts of it are enough to tell.
    for ways in SIX_WAYS if not model else (SIX_WAYS[0], SIX_WAYS[4]):
        cut = cut_into_chunks(whole, windows, genome.cut(**ways))
        n_chunks.add(len(cut.chunks))
        folder = job_folder(genome.cut().manifest)
        shutil.rmtree(folder / "chunks", ignore_errors=True)
        for mark in folder.glob("merged-*"):
            mark.unlink()
        write_manifest(cut, genome.cut().manifest)
        worker = Worker(genome.cut().manifest, 1)
        assert all(worker.run(number) for number in reversed(range(len(cut.chunks))))
        ((path, n_records),) = merge(cut, folder)
        assert n_records == 2 * 260 + 1
        outputs.add(path.read_bytes())
    assert len(n_chunks) >= 2
    assert len(outputs) == 1


@pytest.mark.parametrize(
    "verdict",
    [
        {"share": 0.5},
        {"length_factor": 2.5},
        {"trusted": True, "share": 0.5, "length_factor": 0.4},
    ],
    ids=["half", "lengths", "all"],
)
def test_job__chunks_take_the_model_as_it_was_judged(
    genome: Genome, monkeypatch: pytest.MonkeyPatch, verdict: dict[str, float]
) -> None:
    judged = {"used": True, "trusted": False, "length_factor": 1.0, "share": 1.0} | verdict
    monkeypatch.setattr(ModelCheck, "applied", lambda check, imputer: imputer.judged(**judged))
    config = dataclasses.replace(genome.config("job.vcf.gz"), copying_only=False)
    manifest = plan(config, genome.cut(samples_per_chunk=12))
    assert [stretch.verdict for stretch in manifest.stretches] == [judged] * 2
    impute_job(config, genome.cut(samples_per_chunk=12))
    one = dataclasses.replace(config, panel=genome.panels[0], map=genome.maps[0], out=genome.folder / "one.vcf.gz")
    impute(one)
    assert body(one.out) == [line for line in body(config.out) if line.startswith("20\t")]
    assert ("share=0.5" in header_of(one.out)) == ("share" in verdict)


def test_merge__of_more_batches_than_files_may_be_open(genome: Genome, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(genome.config("many.vcf.gz"), copying_only=True)
    planned = plan(config, genome.cut(samples_per_chunk=1))
    worker = Worker(genome.cut().manifest, 1)
    for number in range(len(planned.chunks)):
        worker.run(number)
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}
    least = next(n for n in range(1000) if n - len([number for number in in_use if number < n]) == 12)
    assert len(planned.samples) > 12
    resource.setrlimit(resource.RLIMIT_NOFILE, (least, allowed[1]))
    try:
        with monkeypatch.context() as patch:
            patch.setattr("vcfrag_train.jobs.merge._allow_open_files", lambda: None)
            with pytest.raises(OSError, match="Too many open files"):
                merge(planned, job_folder(genome.cut().manifest))
        ((path, n_records),) = merge(planned, job_folder(genome.cut().manifest))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, allowed)
    assert n_records == len(body(path)) == 2 * 260


@pytest.mark.parametrize("choices", [{}, {"sites": SiteChoice.IMPUTED, "min_r2": 0.6}], ids=["all sites", "some"])
def test_job__says_what_one_process_says(genome: Genome, choices: dict[str, Any]) -> None:
    config = genome.config("job.vcf.gz", pass_through=True, **choices)
    impute_job(config, genome.cut(samples_per_chunk=5, windows_per_chunk=2))
    for contig, panel, map in zip(("20", "21"), genome.panels, genome.maps, strict=True):
        one = dataclasses.replace(config, panel=panel, map=map, out=genome.folder / f"one.{contig}.vcf.gz")
        impute(one)
        assert body(one.out) == [line for line in body(config.out) if line.startswith(f"{contig}\t")]
    assert not job_folder(genome.cut().manifest).exists()
    assert not genome.cut().manifest.exists()
    assert Path(f"{config.out}.tbi").is_file()


def test_job__of_unphased_targets_says_what_one_process_says(genome: Genome) -> None:
    unphased = genome.without_phase()
    config = unphased.config("job.vcf.gz", pass_through=True, draws=4, targets_as_reference=TargetsAsReference.YES)
    impute_job(config, unphased.cut(samples_per_chunk=7, windows_per_chunk=2))
    assert re.search(r"targets_as_reference=\d\d", header_of(config.out))
    assert any("|" in line and "/" in line.split("\t", 9)[9] for line in body(config.out))
    for contig, panel, map in zip(("20", "21"), genome.panels, genome.maps, strict=True):
        one = dataclasses.replace(config, panel=panel, map=map, out=genome.folder / f"one.{contig}.vcf.gz")
        impute(one)
        assert body(one.out) == [line for line in body(config.out) if line.startswith(f"{contig}\t")]


def test_job__chunks_phase_their_own_samples(genome: Genome, monkeypatch: pytest.MonkeyPatch) -> None:
    few = EstimationConfig(min_samples=4, max_samples=5)
    monkeypatch.setattr("vcfrag_train.imputing.decide._estimation", lambda config: few)
    phased: list[tuple[str, ...]] = []
    undisturbed = Phaser.phase

    def counted(
        self: Phaser, targets: Targets, *, draws: int = 1, target_reference: TargetReference | None = None
    ) -> Phased:
        phased.append(targets.samples)
        return undisturbed(self, targets, draws=draws, target_reference=target_reference)

    monkeypatch.setattr(Phaser, "phase", counted)
    unphased = genome.without_phase()
    config = unphased.config("job.vcf.gz", draws=2, targets_as_reference=TargetsAsReference.NO)
    manifest = plan(config, unphased.cut(samples_per_chunk=10))
    assert [len(samples) for samples in phased] == [5, 5], "no more than the decisions need, on either contig"
    assert [stretch.n_unphased for stretch in manifest.stretches] == [19, 19]
    assert {chunk.windows for chunk in manifest.chunks} == {(0, stretch.n_windows) for stretch in manifest.stretches}
    phased.clear()
    folder = job_folder(genome.cut().manifest)
    for chunk in manifest.chunks:
        run_chunk(manifest, folder, chunk.number)
    assert [len(samples) for samples in phased] == [10, 10, 4, 10, 10, 4]
    merge(manifest, folder)
    data = config.out.read_bytes()
    config.out.unlink()
    again = unphased.cut(samples_per_chunk=1, windows_per_chunk=1, manifest=genome.folder / "again.json")
    impute_job(config, again)
    assert config.out.read_bytes() == data


def test_job__refuses_changed_targets_that_serve_as_references(genome: Genome) -> None:
    unphased = genome.without_phase()
    config = unphased.config("job.vcf.gz", draws=2, targets_as_reference=TargetsAsReference.YES)
    manifest = plan(config, unphased.cut())
    folder = job_folder(genome.cut().manifest)
    first, second = (target_reference_file(folder, number) for number in (0, 1))
    shutil.copy(second, first)
    with pytest.raises(ProvenanceMismatchError, match=r"targets-0000\.reference\.npz"):
        run_chunk(manifest, folder, 0)


def header_of(path: Path) -> str:
    return "".join(line for line in gzip.decompress(path.read_bytes()).decode().splitlines() if line[0] == "#")


def body(path: Path) -> list[str]:
    return [line for line in gzip.decompress(path.read_bytes()).decode().splitlines() if line[0] != "#"]


def test_job__one_output_a_contig(genome: Genome) -> None:
    result = impute_job(genome.config("o.{contig}.bcf"), genome.cut())
    assert [(path.name, n) for path, n in result.outputs] == [("o.20.bcf", 260), ("o.21.bcf", 260)]


def test_job__processes_of_their_own_give_the_same_bytes(genome: Genome) -> None:
    one = impute_job(genome.config("o.vcf.gz"), genome.cut(samples_per_chunk=12))
    data = one.outputs[0][0].read_bytes()
    one.outputs[0][0].unlink()
    impute_job(genome.config("o.vcf.gz"), genome.cut(samples_per_chunk=12, jobs=2))
    assert one.outputs[0][0].read_bytes() == data


def test_job__killed_and_resumed_gives_the_same_bytes(genome: Genome) -> None:
    undisturbed = impute_job(genome.config("o.vcf.gz"), genome.cut(samples_per_chunk=6))
    path = undisturbed.outputs[0][0]
    data = path.read_bytes()
    path.unlink()

    def broken(after: int) -> Callable[..., None]:
        def run(manifest: Path, numbers: Sequence[int], tell: Callable[[int], None]) -> None:
            local_runner(1, 1)(manifest, numbers[:after], tell)
            raise KeyboardInterrupt

        return run

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            impute_job(genome.config("o.vcf.gz", resume=True), genome.cut(samples_per_chunk=6), runner=broken(2))
        assert not path.exists()
    manifest = read_manifest(genome.cut().manifest)
    assert len(missing_chunks(manifest, job_folder(genome.cut().manifest))) == len(manifest.chunks) - 4
    other = dataclasses.replace(genome.config("o.vcf.gz", resume=True), command="vcfrag impute --min-r2 0.3 --resume")
    with pytest.raises(ProvenanceMismatchError, match="was planned by `vcfrag impute`; give the same options"):
        impute_job(other, genome.cut())
    again = dataclasses.replace(genome.config("o.vcf.gz", resume=True), command="vcfrag impute --resume --jobs=2")
    impute_job(again, genome.cut(samples_per_chunk=6))
    assert path.read_bytes() == data


def test_longest_first__keeps_stretches_together(genome: Genome) -> None:
    manifest = plan(genome.config("o.vcf.gz"), genome.cut(samples_per_chunk=12))
    seconds = (3.0, 50.0, 49.0, 100.0, 98.0, 51.0)
    chunks = tuple(dataclasses.replace(manifest.chunks[0], number=i, seconds=s) for i, s in enumerate(seconds))
    assert longest_first(dataclasses.replace(manifest, chunks=chunks), [0, 1, 2, 3, 4, 5]) == [3, 4, 1, 2, 5, 0]


def test_run_chunk__skips_what_is_whole_and_makes_damaged_ones_again(genome: Genome) -> None:
    manifest = plan(genome.config("o.vcf.gz"), genome.cut(samples_per_chunk=12))
    folder = job_folder(genome.cut().manifest)
    assert run_chunk(manifest, folder, 0)
    assert not run_chunk(manifest, folder, 0)
    path = chunk_file(folder, manifest.chunks[0])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert not is_done(path, manifest, manifest.chunks[0])
    assert run_chunk(manifest, folder, 0)
    with pytest.raises(ConfigError, match=rf"of {len(manifest.chunks)} chunks are not done: 1, 2"):
        merge(manifest, folder)
    worker = Worker(genome.cut().manifest, 1)
    for number in range(len(manifest.chunks)):
        worker.run(number)
    # Whole by its end, but not within.
    path = chunk_file(folder, manifest.chunks[1])
    data = bytearray(path.read_bytes())
    data[200:260] = bytes(60)
    path.write_bytes(bytes(data))
    with pytest.raises(TruncatedFileError, match="chunk 1 is damaged"):
        merge(manifest, folder)
    assert not (genome.folder / "o.vcf.gz").exists()


def test_run_chunk__refuses_other_inputs(genome: Genome) -> None:
    manifest = plan(genome.config("o.vcf.gz"), genome.cut())
    folder = job_folder(genome.cut().manifest)
    stretch = manifest.stretches[0]
    for changes, what in (
        ({"panel_digest": "another"}, "the panel"),
        ({"map": str(genome.maps[0]), "map_digest": "another"}, "the genetic map"),
        ({"method": "copying another"}, "the model"),
    ):
        other = dataclasses.replace(
            manifest, stretches=(dataclasses.replace(stretch, **changes), *manifest.stretches[1:])
        )
        with pytest.raises(
            ProvenanceMismatchError, match=f"{what} .* is not what the job was planned with; plan again"
        ):
            run_chunk(other, folder, 0)


def test_manifest__round_trip_and_refusals(genome: Genome) -> None:
    manifest = plan(genome.config("o.vcf.gz"), genome.cut(samples_per_chunk=7, windows_per_chunk=1))
    path = genome.cut().manifest
    assert read_manifest(path) == manifest
    content = json.loads(path.read_text())
    changed = "is not as `vcfrag plan` wrote it; plan again"
    for damage, message in (
        ({"kind": "another"}, "its `kind` must be"),
        ({"chunks": 5}, changed),
        ({"chunks": content["chunks"][:1]}, changed),
        ({"sites_per_piece": 0}, changed),
        ({"extra": 1}, changed),
    ):
        path.write_text(json.dumps({**content, **damage}))
        with pytest.raises(InputError, match=message):
            read_manifest(path)
    del content["samples"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=changed):
        read_manifest(path)


def test_plan__memory_decides_how_many_samples_a_chunk_has(genome: Genome) -> None:
    roomy = plan(genome.config("o.vcf.gz"), genome.cut(memory_bytes=10**9))
    assert {chunk.samples for chunk in roomy.chunks} == {(0, N_SAMPLES)}
    alone = memory_of(roomy.stretches[0], window=260, n_windows=1, n_samples=0, draws=12)
    per_sample = max(c.memory_bytes for c in roomy.chunks) - alone
    tight = plan(genome.config("o.vcf.gz"), genome.cut(memory_bytes=2 * (alone + per_sample // 3), jobs=2))
    assert max(c.memory_bytes for c in tight.chunks) <= alone + per_sample // 3
    assert len({chunk.samples for chunk in tight.chunks}) >= 3
    with pytest.raises(ConfigError, match=r"2 jobs on contig 20 need 0\.6 GB at least"):
        plan(genome.config("o.vcf.gz"), genome.cut(memory_bytes=10**8, jobs=2))


def test_plan__refusals(genome: Genome) -> None:
    with pytest.raises(ConfigError, match="--format LOO"):
        plan(genome.config("o.vcf.gz", formats=("GT", "LOO")), genome.cut())
    shutil.copy(genome.panels[0], genome.folder / "again.bcf")
    both = dataclasses.replace(genome.cut(), panels=(*genome.panels, genome.folder / "again.bcf"))
    with pytest.raises(ConfigError, match=r"both .*ref.chr20.bcf and .*again.bcf have contig 20"):
        plan(genome.config("o.vcf.gz"), both)
    with pytest.raises(ConfigError, match="1 or more"):
        genome.cut(jobs=0)


def test_commands__plan_run_chunk_and_merge_give_what_impute_gives(
    genome: Genome, run: Callable[..., tuple[int, str]]
) -> None:
    inputs = ["--panel", genome.folder / "ref.chr{contig}.bcf", "--target", genome.target, "--copying-only"]
    inputs += ["--map", genome.folder / "map.{contig}.gmap"]
    out, manifest = genome.folder / "o.vcf.gz", genome.folder / "m.json"
    code, said = run("plan", *inputs, "--out", out, "--manifest", manifest, "--samples-per-chunk", "10")
    assert code == 0, said
    n_chunks = len(read_manifest(manifest).chunks)
    assert f"{n_chunks} chunks (0 to {n_chunks - 1}) of 2 contigs for {N_SAMPLES} samples" in said
    code, said = run("merge", manifest)
    assert code == 2
    assert "run them first" in said
    assert run("run-chunk", manifest, *range(n_chunks))[0] == 0
    assert "chunk 0: is there already" in run("run-chunk", manifest, "0")[1]
    assert run("run-chunk", manifest, n_chunks)[0] == 2
    assert "is there already" not in run("merge", manifest)[1]
    code, said = run("merge", manifest, "--remove")
    assert f"{out} is there already, whole, and stays as it is" in said
    assert (code, f"{out}: 520 records of {N_SAMPLES} samples" in said) == (0, True)
    assert not manifest.exists()
    rows = body(out)
    assert run("impute", *inputs, "--out", genome.folder / "p.vcf.gz")[0] == 0
    assert body(genome.folder / "p.vcf.gz") == rows
    assert (genome.folder / "p.qc.tsv").is_file()


def test_impute__a_panel_pattern_without_files(cohort: Cohort, run: Callable[..., tuple[int, str]]) -> None:
    code, said = run(
        "impute", "--panel", cohort.folder / "no.{contig}.bcf", "--target", cohort.target(cohort.lines()),
        "--out", cohort.folder / "o.vcf.gz",
    )  # fmt: skip
    assert code == 2
    assert "no contig has such a file: looked for no.*.bcf in" in said
    assert cohort.panel_file.name in said


@pytest.mark.parametrize("how", [[], ["--jobs", "1", "--samples-per-chunk", "12"]], ids=["one process", "job"])
def test_resume__of_a_finished_run_imputes_nothing(
    genome: Genome, run: Callable[..., tuple[int, str]], how: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["impute", "--panel", genome.panels[0], "--map", genome.maps[0], "--target", genome.target]
    words += ["--copying-only", "--out", genome.folder / "o.vcf.gz", *how]
    monkeypatch.setattr("sys.argv", ["vcfrag", *map(str, words)])
    assert run(*words)[0] == 0
    written = (genome.folder / "o.vcf.gz").stat()
    monkeypatch.setattr("sys.argv", ["vcfrag", *map(str, words), "--resume"])
    code, said = run(*words, "--resume")
    assert (code, "is whole already: 260 records of 24 samples; nothing is left to do" in said) == (0, True)
    assert (genome.folder / "o.vcf.gz").stat().st_mtime_ns == written.st_mtime_ns
    # How it is searched changes nothing: nobody answers there.
    monkeypatch.setattr("sys.argv", ["vcfrag", *map(str, words), "--resume", "--daemon", "127.0.0.1:1"])
    assert "is whole already" in run(*words, "--resume", "--daemon", "127.0.0.1:1")[1]
    monkeypatch.setattr("sys.argv", ["vcfrag", *map(str, words), "--resume"])
    # Not where the output is not as it was, another thing is asked for, or an input was changed since.
    data = (genome.folder / "o.vcf.gz").read_bytes()
    (genome.folder / "o.vcf.gz").write_bytes(data[:-28])
    assert "is whole already" not in run(*words, "--resume")[1]
    assert (genome.folder / "o.vcf.gz").read_bytes() == data
    # Nor without the cohort record, which it writes beside the output.
    record = genome.folder / "o.cohort.json"
    decided = record.read_bytes()
    record.unlink()
    assert "is whole already" not in run(*words, "--resume")[1]
    assert record.read_bytes() == decided
    config, qc = genome.by_default("o.vcf.gz"), genome.folder / "o.qc.tsv"
    command = shlex.join(["vcfrag", *map(str, words)])
    assert find_finished(qc, command, input_states(config)) is not None
    assert find_finished(qc, f"{command} --min-r2 0.3", input_states(config)) is None
    # Nor where another file with an old time lies in an input's place, in another folder, or without the index.
    data = genome.target.read_bytes()
    there = genome.target.resolve()
    genome.target.unlink()
    genome.target.write_bytes(data)
    os.utime(genome.target, ns=(0, there.stat().st_mtime_ns))
    assert find_finished(qc, command, input_states(config)) is None
    genome.target.unlink()
    genome.target.symlink_to(there)
    with contextlib.chdir(genome.folder):
        assert find_finished(qc, command, input_states(config)) is None
    assert find_finished(qc, command, input_states(config)) is not None
    (genome.folder / "o.vcf.gz.tbi").unlink()
    assert find_finished(qc, command, input_states(config)) is None


def test_impute__a_large_cohort_is_cut_into_chunks(
    genome: Genome, run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["impute", "--panel", genome.panels[0], "--map", genome.maps[0], "--target", genome.target]
    words += ["--copying-only", "--out", genome.folder / "o.vcf.gz"]
    assert run(*words)[0] == 0
    data = (genome.folder / "o.vcf.gz").read_bytes()
    monkeypatch.setattr("vcfrag_train.cli.commands.impute.SAMPLES_OF_ONE_PROCESS", N_SAMPLES - 1)
    cut = []
    monkeypatch.setattr("vcfrag_train.jobs.planning.plan.CHUNK_BYTES", BYTES_OF_A_PROCESS + 12_000)
    monkeypatch.setattr(
        "vcfrag_train.jobs.genome.missing_chunks", lambda m, f: cut.extend(m.chunks) or missing_chunks(m, f)
    )
    assert run(*words)[0] == 0
    assert len({chunk.samples for chunk in cut}) >= 3
    assert (genome.folder / "o.vcf.gz").read_bytes() == data


def test_match_target__holds_typed_sites_only(make_panel: Callable[..., Panel]) -> None:
    """Planning takes memory by typed sites, not by those of the panel."""
    panel = make_panel(n_samples=30, n_sites=20_000, seed=3)
    typed = np.arange(0, 20_000, 100)
    alleles = panel.haplotypes()[:, typed].astype(np.int8)
    n_samples = 1500
    rows = np.random.default_rng(1).integers(len(alleles), size=2 * n_samples)
    records = TargetRecords(
        contig=panel.contig,
        samples=tuple(f"T{i}" for i in range(n_samples)),
        ploidy=Ploidy.diploid(n_samples),
        positions=panel.positions[typed],
        refs=tuple(panel.refs[i] for i in typed),
        alts=tuple((panel.alts[i],) for i in typed),
        site_ids=(".",) * len(typed),
        alleles=np.ascontiguousarray(alleles[rows].T),
        is_phased=np.ones((len(typed), n_samples), dtype=np.bool_),
        ref_is_known=np.ones(len(typed), dtype=np.bool_),
    )
    config = ImputeConfig(panel=Path("p"), targets=(Path("t"),), out=Path("o.vcf.gz"))
    tracemalloc.start()
    checked = match_target(records, panel, config, None, label="20", sexes=SexReport())
    Likenesses().add(checked, panel.positions * 1e-6)
    checked.apply({5: Reason.INVERTED})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert checked.alleles.shape == (2 * n_samples, len(typed) - 1)
    assert peak < 2 * n_samples * panel.n_sites / 2
    some = checked.of_samples(np.array([7, 3]))
    wanted = alleles[rows[[14, 15, 6, 7]]]
    wanted[:, 5] = -1
    assert np.array_equal(some.alleles[:, typed], wanted)
    assert np.array_equal(checked.alleles_at(typed + 1), np.full((2 * n_samples, len(typed)), -1))
