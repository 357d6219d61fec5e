"""Chunks on real local Dask clusters, whose workers are killed."""

from __future__ import annotations

import contextlib
import gzip
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.train.jobs.conftest import Genome
from vcfrag_core.errors import ProvenanceMismatchError, UnavailableError
from vcfrag_train.cli import app
from vcfrag_train.jobs.cluster import cluster_runner
from vcfrag_train.jobs.genome import impute_job
from vcfrag_train.jobs.manifest import job_folder, read_manifest
from vcfrag_train.reporter import Reporter

distributed = pytest.importorskip("distributed", reason="Dask is not installed (pip install 'vcfrag[cluster]')")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1"
    ) as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(genome_files: Genome, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What the job writes in one process."""
    genome = genome_files.linked(tmp_path_factory.mktemp("undisturbed"))
    return impute_job(genome.config("o.vcf.gz"), genome.cut(samples_per_chunk=4)).outputs[0][0].read_bytes()


class Killer(Reporter):
    """Kills a worker's process whenever a chunk is done, a few times."""

    def __init__(self, cluster: Any, times: int) -> None:
        self._cluster = cluster
        self.left = times

    def sites(self, done: int, total: int) -> None:
        pids = [nanny.pid for nanny in self._cluster.workers.values() if nanny.pid]
        if 0 < done < total and self.left and pids:
            # It may be about to start again after the last time.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[done % len(pids)], signal.SIGKILL)
                self.left -= 1


def test_cluster__workers_that_are_killed_leave_the_same_bytes(
    genome: Genome, cluster: Any, undisturbed: bytes
) -> None:
    killer = Killer(cluster, times=3)
    runner = cluster_runner(cluster.scheduler_address, jobs=1, threads=1, reporter=killer)
    result = impute_job(genome.config("o.vcf.gz"), genome.cut(samples_per_chunk=4), killer, runner)
    assert killer.left < 3
    assert result.outputs[0][0].read_bytes() == undisturbed


def test_cluster__a_refusal_arrives_as_it_is_and_what_is_done_stays(genome: Genome, cluster: Any) -> None:
    runner = cluster_runner(cluster.scheduler_address, jobs=1, threads=1, reporter=Reporter())

    def spoiled(path: Path, numbers: Any, tell: Any) -> None:
        runner(path, list(numbers)[:2], tell)
        genome.maps[1].unlink()
        genome.maps[1].write_text("pos\tchr\tcM\n1\t21\t0\n30000\t21\t40\n")
        runner(path, list(numbers)[2:], tell)

    with pytest.raises(ProvenanceMismatchError, match=r"genetic map .*map\.21\.gmap is not what the job"):
        impute_job(genome.config("o.vcf.gz"), genome.cut(samples_per_chunk=12), runner=spoiled)
    assert not (genome.folder / "o.vcf.gz").exists()
    manifest = genome.cut().manifest
    assert len(read_manifest(manifest).chunks) >= 4
    assert len(list((job_folder(manifest) / "chunks").glob("*.zip"))) >= 2


@pytest.fixture
def nobody() -> str:
    """An address at which no scheduler answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_cluster__no_scheduler(genome: Genome, nobody: str) -> None:
    import dask

    address = nobody
    runner = cluster_runner(address, jobs=1, threads=1, reporter=Reporter())
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(UnavailableError, match=f"--cluster {address}: no scheduler answers there"),
    ):
        runner(genome.cut().manifest, [0], print)


def test_cluster__a_command_without_a_scheduler_leaves_nothing(
    genome: Genome, nobody: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import dask

    before = sorted(genome.folder.iterdir())
    words = ["impute", "--panel", genome.folder / "ref.chr{contig}.bcf", "--map", genome.folder / "map.{contig}.gmap"]
    words += ["--target", genome.target, "--out", genome.folder / "o.vcf.gz", "--cluster", nobody]
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}), pytest.raises(SystemExit) as stop:
        app.main([str(word) for word in words])
    assert stop.value.code == 2
    assert f"--cluster {nobody}: no scheduler answers there" in capsys.readouterr().err
    assert sorted(genome.folder.iterdir()) == before


@pytest.mark.soak
def test_cluster__local_by_the_command(genome: Genome, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = impute_job(genome.by_default("w.vcf.gz", copying_only=True), genome.cut()).outputs[0][0]
    words = ["impute", "--panel", genome.folder / "ref.chr{contig}.bcf", "--map", genome.folder / "map.{contig}.gmap"]
    words += ["--target", genome.target, "--out", genome.folder / "o.vcf.gz", "--copying-only"]
    words += ["--cluster", "local", "--jobs", "2", "--samples-per-chunk", "12"]
    with pytest.raises(SystemExit) as stop:
        app.main([str(word) for word in words])
    said = capsys.readouterr()
    assert stop.value.code in (0, None), said.err
    assert "on 2 workers of local" in said.err
    lines = [gzip.decompress(path.read_bytes()).decode() for path in (wanted, genome.folder / "o.vcf.gz")]
    assert len({text[text.index("#CHROM") :] for text in lines}) == 1
