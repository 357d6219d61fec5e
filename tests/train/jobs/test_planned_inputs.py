"""What a job was planned with is what its chunks, its merge and its report read."""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.train.jobs.conftest import Genome
from vcfrag_core.errors import ConfigError, OutputError, ProvenanceMismatchError
from vcfrag_core.files.outputs import companions
from vcfrag_train.imputing.finished import find_finished, input_states
from vcfrag_train.jobs.chunks.chunk import run_chunk
from vcfrag_train.jobs.genome import impute_job, local_runner
from vcfrag_train.jobs.manifest import job_folder, write_manifest
from vcfrag_train.jobs.merge import merge
from vcfrag_train.jobs.planning.plan import plan
from vcfrag_train.jobs.report.summary import summarise
from vcfrag_train.jobs.targets import read_targets, write_targets
from vcfrag_train.jobs.worker import Worker


def test_targets__changed_files_are_refused(genome: Genome) -> None:
    cut = genome.cut(samples_per_chunk=12)
    manifest, folder = plan(genome.config("o.vcf.gz", region="20"), cut), job_folder(cut.manifest)
    worker = Worker(cut.manifest, 1)
    for number in range(len(manifest.chunks)):
        worker.run(number)
    for name in ("targets-0000.npy", "targets-0000.npz"):
        path = folder / name
        planned = path.read_bytes()
        path.write_bytes(planned[:200] + bytes([planned[200] ^ 1]) + planned[201:])
        with pytest.raises(ProvenanceMismatchError, match=rf"{name}.* plan"):
            merge(manifest, folder)
        with pytest.raises(ProvenanceMismatchError, match=rf"{name}.* plan"):
            summarise(manifest, folder)
        for chunk in (folder / "chunks").iterdir():
            chunk.unlink()
        with pytest.raises(ProvenanceMismatchError, match=rf"{name}.* plan"):
            run_chunk(manifest, folder, 0)
        path.write_bytes(planned)
        assert run_chunk(manifest, folder, 0)
        assert run_chunk(manifest, folder, 1)


def test_plan__refused_leaves_the_job_that_is_there(genome: Genome, monkeypatch: pytest.MonkeyPatch) -> None:
    cut, config = genome.cut(), genome.config("o.vcf.gz")
    plan(config, cut)
    (job_folder(cut.manifest) / "chunks").mkdir()
    (job_folder(cut.manifest) / "chunks" / "0.zip").write_bytes(b"done")

    def planned() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in (cut.manifest, *job_folder(cut.manifest).rglob("*.*"))}

    before = planned()
    (genome.folder / "some.txt").write_text("\n".join(genome.samples[3:9]) + "\n")
    other = genome.config("o.vcf.gz", samples=genome.folder / "some.txt")
    with monkeypatch.context() as patch:
        patch.setattr("vcfrag_train.imputing.room._free", lambda folder: 0)
        for again in (plan, impute_job):
            with pytest.raises(ConfigError, match="make room"):
                again(other, cut)
            assert planned() == before
    plan(other, cut)
    assert planned() != before
    assert not list(genome.folder.glob(".partial-*"))


def test_write_targets__no_room_is_what_the_system_says(genome: Genome) -> None:
    cut = genome.cut()
    manifest, folder = plan(genome.config("o.vcf.gz", region="20"), cut), job_folder(cut.manifest)
    targets = read_targets(folder, 0, manifest.stretches[0])
    assert write_targets(targets, folder, 1) == manifest.stretches[0].targets
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, allowed[1]))
    try:
        with pytest.raises(OSError, match="File too large") as refused:
            write_targets(targets, folder, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    assert (refused.value.errno, refused.value.filename) == (errno.EFBIG, str(folder / "targets-0002.npy"))


def test_summary__refuses_another_panel(genome: Genome) -> None:
    manifest = plan(genome.config("o.vcf.gz", region="20"), genome.cut())
    changed = dataclasses.replace(manifest.stretches[0], panel_digest="another")
    with pytest.raises(ProvenanceMismatchError, match=r"the panel .* is not what the job was planned with"):
        summarise(dataclasses.replace(manifest, stretches=(changed,)), job_folder(genome.cut().manifest))


@pytest.mark.parametrize("out", ["o.pgen", "o.bcf"])
def test_merge__what_lies_beside_an_output_is_made_again(genome: Genome, out: str) -> None:
    cut = genome.cut()
    manifest, folder = plan(genome.config(out, region="20"), cut), job_folder(cut.manifest)
    Worker(cut.manifest, 1).run(0)
    written = merge(manifest, folder)
    beside = [file for file in companions(genome.folder / out) if file.is_file()]
    assert beside
    for file in beside:
        data = file.read_bytes()
        file.unlink()
        assert merge(manifest, folder) == written
        assert file.read_bytes() == data
    beside[0].unlink()
    for chunk in (folder / "chunks").iterdir():
        chunk.unlink()
    with pytest.raises(ConfigError, match="chunks are not done"):
        merge(manifest, folder)


def test_impute_job__a_second_one_of_the_same_output_is_refused(genome: Genome) -> None:
    config, cut = genome.config("o.vcf.gz", region="20"), genome.cut()
    refused = []

    def runner(path: Path, numbers: Sequence[int], tell: Callable[[int], None]) -> None:
        there = sorted(job_folder(path).iterdir())
        for other in (cut, genome.cut(manifest=genome.folder / "other.json")):
            with pytest.raises(OutputError, match="another run writes"):
                impute_job(config, other)
            refused.append(other)
        assert sorted(job_folder(path).iterdir()) == there
        local_runner(1, 1)(path, numbers, tell)

    assert impute_job(config, cut, runner=runner).outputs == ((config.out, 260),)
    assert len(refused) == 2
    assert not list(genome.folder.glob(".*.lock"))


def test_resume__refuses_inputs_that_changed(genome: Genome) -> None:
    files = {option: genome.folder / f"some.{option}" for option in ("samples", "sites", "sex")}
    files["samples"].write_text("\n".join(genome.samples[:6]) + "\n")
    files["sites"].write_text("chrom\tpos\tref\talt\n")
    files["sex"].write_text("".join(f"{name}\tF\n" for name in genome.samples))
    target = genome.folder / "own.vcf.gz"
    target.write_bytes(genome.target.read_bytes())
    own, cut = dataclasses.replace(genome, target=target), genome.cut()
    config = own.config("o.vcf.gz", region="20", samples=files["samples"], sex=files["sex"], resume=True)
    started = plan(config, cut)
    with_sites = dataclasses.replace(config, sites=files["sites"])
    write_manifest(dataclasses.replace(started, inputs=input_states(with_sites, cut.panels, cut.maps)), cut.manifest)
    for changed in (target, *files.values()):
        status, aside = changed.stat(), genome.folder / "aside"
        changed.rename(aside)
        changed.write_bytes(aside.read_bytes())
        os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
        with pytest.raises(ProvenanceMismatchError, match=f"{changed.name}.*: not the file that") as refused:
            impute_job(with_sites, cut)
        assert str(files["sites" if changed != files["sites"] else "sex"]) not in str(refused.value)
        write_manifest(
            dataclasses.replace(started, inputs=input_states(with_sites, cut.panels, cut.maps)), cut.manifest
        )
    write_manifest(dataclasses.replace(started, inputs=input_states(config, cut.panels, cut.maps)), cut.manifest)
    assert impute_job(config, cut).n_samples == 6


def test_find_finished__an_input_that_changed_while_it_ran(genome: Genome) -> None:
    target = genome.folder / "own.vcf.gz"
    target.write_bytes(genome.target.read_bytes())
    config = dataclasses.replace(genome, target=target).config("o.vcf.gz", region="20")

    def runner(path: Path, numbers: Sequence[int], tell: Callable[[int], None]) -> None:
        target.touch()
        local_runner(1, 1)(path, numbers, tell)

    cut = genome.cut()
    impute_job(config, cut, runner=runner)
    assert find_finished(config.qc_table, config.command, input_states(config, cut.panels, cut.maps)) is None
    impute_job(config, cut)
    assert find_finished(config.qc_table, config.command, input_states(config, cut.panels, cut.maps)) is not None
