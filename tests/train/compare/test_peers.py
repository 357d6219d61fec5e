"""Running Beagle and Minimac4, and measuring what was run."""

from __future__ import annotations

import dataclasses
import gzip
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from cyvcf2 import VCF

from tests.imputed_text import World, WorldFiles, small_world, write_world
from tests.vcf_text import need_bcftools
from vcfrag_core.errors import ConfigError, ProgramError
from vcfrag_core.files.dosages import read_imputed, sample_names
from vcfrag_core.files.tables.sites import site_rows
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.scoring import accuracy
from vcfrag_train.compare import peers
from vcfrag_train.compare.peers import PEERS, UNPHASED_PEERS, Peer, PeerInput
from vcfrag_train.compare.usage import run_measured


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(n_reference=60, n_sites=400)


@pytest.fixture(scope="module")
def files(world: World, tmp_path_factory: pytest.TempPathFactory) -> WorldFiles:
    return write_world(world, tmp_path_factory.mktemp("world"))


def peer_input(world: World, files: WorldFiles) -> PeerInput:
    positions = world.reference.positions
    genetic_map = GeneticMap(
        positions=np.array([positions[0], positions[-1] + 1]), cm=np.array([0.0, 0.4]), contig="20"
    )
    return PeerInput(panel=files.panel, target=files.target, genetic_map=genetic_map)


@pytest.mark.parametrize("peer", UNPHASED_PEERS[2:], ids=lambda peer: peer.name)
def test_run_peer__phases_first_where_it_cannot_impute_unphased_targets(
    peer: Peer, world: World, files: WorldFiles, tmp_path: Path
) -> None:
    need_bcftools()
    if not all(shutil.which(program) for program in peer.programs):
        pytest.skip(f"{' or '.join(peer.programs)} is not on the PATH")
    unphased = tmp_path / "unphased.vcf.gz"
    peers.without_phase(files.target, unphased)
    calls = [call for record in VCF(str(unphased)) for call in record.genotypes]
    assert calls
    assert all(first <= second and not is_phased for first, second, is_phased in calls)
    given = dataclasses.replace(peer_input(world, files), target=unphased)
    run = peers.run_peer(peer, given, tmp_path / "out.vcf.gz", threads=1, heap_mb=256)
    assert "shapeit4" in run.imputation.command
    assert "minimac4" in run.imputation.command
    rows = site_rows(world.reference.positions.tolist(), world.reference.refs, world.reference.alts)
    assert read_imputed(run.output, "20", rows, sample_names(files.target)).found.all()


def test_usage__of_two_programs_one_after_the_other(tmp_path: Path) -> None:
    once = run_measured([sys.executable, "-c", "print(1)"], log=tmp_path / "log")
    twice = once.then(once)
    assert twice.wall_seconds == 2 * once.wall_seconds
    assert twice.cpu_seconds == 2 * once.cpu_seconds
    assert twice.peak_bytes == once.peak_bytes
    assert twice.command == f"{once.command} && {once.command}"


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_run_peer__imputes_and_is_measured(peer: Peer, world: World, files: WorldFiles, tmp_path: Path) -> None:
    need_bcftools()
    if shutil.which(peer.program) is None:
        pytest.skip(f"{peer.program} is not on the PATH")
    output = tmp_path / "out" / f"{peer.name}.vcf.gz"
    run = peers.run_peer(peer, peer_input(world, files), output, threads=1, heap_mb=256)
    assert run.output == output
    log = output.parent / f"{peer.name}.log"
    assert {path.name for path in output.parent.iterdir()} == {output.name, f"{output.name}.csi", log.name}
    assert log.stat().st_size > 0
    assert run.wall_seconds > 0
    assert run.peak_bytes > 2**20
    assert all(word in run.imputation.command for word in peer.options)
    panel = world.reference
    rows = site_rows(panel.positions.tolist(), panel.refs, panel.alts)
    got = read_imputed(output, "20", rows, sample_names(files.target))
    assert got.found.all()
    assert got.posterior is not None
    assert np.isfinite(got.estimated_r2).any()
    hidden = world.hidden
    r2 = accuracy.aggregate_r2(got.dosage[hidden], world.copies[hidden], panel.alt_frequency()[hidden])
    assert r2 > 0.15  # the frequency alone is worth 0


def test_run_peer__takes_targets_as_plain_text(world: World, files: WorldFiles, tmp_path: Path) -> None:
    """Minimac4 asks for an index, which only a compressed file can have."""
    need_bcftools()
    peer = next(peer for peer in PEERS if peer.program == "minimac4")
    if shutil.which(peer.program) is None:
        pytest.skip(f"{peer.program} is not on the PATH")
    plain = tmp_path / "plain.vcf"
    plain.write_bytes(gzip.decompress(files.target.read_bytes()))
    given = dataclasses.replace(peer_input(world, files), target=plain)
    run = peers.run_peer(peer, given, tmp_path / "out.vcf.gz", threads=1)
    rows = site_rows(world.reference.positions.tolist(), world.reference.refs, world.reference.alts)
    assert read_imputed(run.output, "20", rows, sample_names(files.target)).found.all()


def test_run_peer__keeps_the_log_of_a_failure(world: World, files: WorldFiles, tmp_path: Path) -> None:
    need_bcftools()
    if shutil.which("minimac4") is None:
        pytest.skip("minimac4 is not on the PATH")
    broken = dataclasses.replace(peer_input(world, files), panel=tmp_path / "none.bcf")
    output = tmp_path / "out" / "a.vcf.gz"
    with pytest.raises(ProgramError, match=r"minimac4 --compress-reference .* ended with code"):
        peers.run_peer(PEERS[2], broken, output)
    assert {path.name for path in output.parent.iterdir()} == {"minimac4.log"}


def test_run_peer__refuses_what_is_not_there(world: World, files: WorldFiles, tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="not on the PATH"):
        peers.run_peer(Peer(name="x", program="no-such-imputer"), peer_input(world, files), tmp_path / "a.vcf.gz")
    with pytest.raises(ConfigError, match="known: beagle, minimac4"):
        peers.run_peer(Peer(name="x", program="python3"), peer_input(world, files), tmp_path / "a.vcf.gz")


def test_available_peers__names_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "beagle"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found, missing = peers.available_peers()
    assert [peer.name for peer in found] == ["beagle", "beagle-fixed"]
    assert missing == ("minimac4",)


def test_maps__in_both_formats(tmp_path: Path) -> None:
    genetic_map = GeneticMap(positions=np.array([10, 250]), cm=np.array([0.0, 0.123456789]), contig="chr20")
    peers.write_plink_map(genetic_map, tmp_path / "plink")
    peers.write_minimac_map(genetic_map, tmp_path / "minimac")
    assert (tmp_path / "plink").read_text() == "chr20\t.\t0\t10\nchr20\t.\t0.123456789\t250\n"
    assert (tmp_path / "minimac").read_text() == "#chr\tpos\tcM\nchr20\t10\t0\nchr20\t250\t0.123456789\n"


def test_run_measured__peak_memory_is_the_childs_alone(tmp_path: Path) -> None:
    ours = np.ones(40_000_000)  # 305 MiB here
    small = run_measured([sys.executable, "-S", "-c", "pass"], log=tmp_path / "a")
    large = run_measured([sys.executable, "-S", "-c", "x = b'1' * 200_000_000"], log=tmp_path / "b")
    assert small.peak_bytes < 100 * 2**20 < large.peak_bytes < ours.nbytes
    assert small.wall_seconds > 0


def test_run_measured__counts_the_largest_process_of_the_tree(tmp_path: Path) -> None:
    inner = "import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', \"x = b'1' * 200_000_000\"])"
    usage = run_measured([sys.executable, "-S", "-c", inner], log=tmp_path / "a")
    assert usage.peak_bytes > 150 * 2**20


def test_run_measured__says_how_a_program_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(ProgramError, match=r"(?s)ended with code 3: .*out of luck"):
        run_measured([sys.executable, "-c", "import sys; print('out of luck'); sys.exit(3)"], log=log)
    assert "out of luck" in log.read_text()
    with pytest.raises(ProgramError, match=r"ended with code 127: .*No such file"):
        run_measured(["/no/such/program"], log=tmp_path / "other")


def test_run_measured__environment_is_passed_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run_measured(
        [sys.executable, "-c", "import os; print(os.environ['VCFRAG_TEST_WORD'])"],
        log=log,
        environment={"VCFRAG_TEST_WORD": "carried"},
    )
    assert log.read_text() == "carried\n"
