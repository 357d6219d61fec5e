"""What a chunk takes is not more than was foretold."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.train.jobs.conftest import N_SAMPLES, Genome
from tests.vcf_text import panel_text, record, vcf_text, write_vcf
from vcfrag_core.panel.panel import Panel
from vcfrag_train.imputing.config import ImputeConfig
from vcfrag_train.jobs.manifest import Manifest, Stretch
from vcfrag_train.jobs.planning.forecast import memory_of, seconds_of
from vcfrag_train.jobs.planning.plan import PlanConfig, plan

# Runs a command and says how many kernels it had to compile.
_RUN = """
from vcfrag_train.cli.app import main
from numba.core import event

compiled = event.RecordingListener()
event.register("numba:compile", compiled)
try:
    main()
finally:
    print("compiled", len(compiled.buffer))
"""


def peak_of(manifest: Path, number: int) -> int:
    """Bytes of a process that imputes a chunk and compiles nothing."""
    for _ in range(6):
        words = [sys.executable, "-c", _RUN, "run-chunk", manifest, str(number)]
        run = subprocess.run(words, check=True, timeout=900, capture_output=True, text=True)
        (file,) = manifest.parent.glob("*.job/chunks/*.zip")
        with zipfile.ZipFile(file) as archive:
            peak = int(json.loads(archive.read("cost"))["peak_bytes"])
        file.unlink()
        if run.stdout.splitlines()[-1] == "compiled 0":
            return peak
    raise AssertionError(f"each process compiled kernels: {run.stdout}")


@pytest.mark.parametrize("unphased", [False, pytest.param(True, marks=pytest.mark.soak)])
@pytest.mark.timeout(900)
def test_memory__of_a_chunk_is_not_more_than_foretold(genome: Genome, unphased: bool) -> None:
    given = genome.without_phase() if unphased else genome
    planned = plan(given.config("o.vcf.gz"), given.cut())
    assert peak_of(given.cut().manifest, 0) <= planned.chunks[0].memory_bytes


@pytest.mark.soak
@pytest.mark.parametrize("shape", [(60, 900, 20_000), (2000, 40, 4_000)], ids=["many targets", "large panel"])
@pytest.mark.timeout(1800)
def test_memory__of_a_large_chunk_is_not_more_than_foretold(
    shape: tuple[int, int, int], make_panel: Callable[..., Panel], tmp_path: Path
) -> None:
    n_reference, n_targets, n_sites = shape
    panel = make_panel(n_samples=n_reference, n_sites=n_sites, seed=5, contig="20")
    write_vcf(tmp_path / "panel.bcf", panel_text(panel))
    alleles = panel.haplotypes()[np.random.default_rng(1).integers(2 * n_reference, size=2 * n_targets)]
    names = [f"T{i:05d}" for i in range(n_targets)]
    lines = []
    for site in range(0, n_sites, 10):
        cells = [f"{a}|{b}" for a, b in alleles[:, site].reshape(-1, 2).tolist()]
        lines.append(record(int(panel.positions[site]), cells, ref=panel.refs[site], alt=panel.alts[site]))
    target = write_vcf(tmp_path / "target.vcf.gz", vcf_text(names, lines))
    ends = int(panel.positions[0]), int(panel.positions[-1])
    (tmp_path / "map.gmap").write_text(f"pos\tchr\tcM\n{ends[0]}\t20\t0\n{ends[1]}\t20\t20\n")
    config = ImputeConfig(
        panel=tmp_path / "panel.bcf",
        targets=(target,),
        out=tmp_path / "o.vcf.gz",
        map=tmp_path / "map.gmap",
        copying_only=True,
        allow_panel_samples=True,
        command="vcfrag impute",
    )
    planned = plan(
        config, PlanConfig(manifest=tmp_path / "job.json", panels=(config.panel,), maps=(tmp_path / "map.gmap",))
    )
    (chunk,) = planned.chunks
    peak = peak_of(tmp_path / "job.json", 0)
    assert chunk.memory_bytes / 4 < peak <= chunk.memory_bytes


def test_forecast__grows_with_all_that_it_follows_from(genome: Genome) -> None:
    stretch = plan(genome.config("o.vcf.gz"), genome.cut()).stretches[0]

    def memory(of: Stretch, *, n_windows: int = 2, n_samples: int = N_SAMPLES) -> int:
        return memory_of(of, window=of.n_sites, n_windows=n_windows, n_samples=n_samples, draws=12)

    def changed(**fields: int) -> Stretch:
        return dataclasses.replace(stretch, **fields)

    least = memory(stretch)
    assert memory(stretch, n_windows=1) < least == memory(stretch, n_windows=9)
    assert memory(stretch, n_samples=N_SAMPLES + 1) > least
    for more in (changed(n_sites=10**6), changed(n_haplotypes=10**5), changed(n_unphased=N_SAMPLES)):
        assert memory(more) > least
    # A panel that is kept in blocks is never in memory whole.
    large = changed(n_sites=10**7, n_haplotypes=2 * 10**5)
    assert memory_of(large, window=10**4, n_windows=2, n_samples=1, draws=12) < 10**7 * 2 * 10**5 / 8 / 50

    def seconds(of: Stretch, n_sites: int = stretch.n_sites, share: float = 0.0, records: bool = False) -> float:
        return seconds_of(of, n_sites=n_sites, unphased_share=share, draws=12, records=records)

    assert seconds(stretch) == pytest.approx(2 * seconds(stretch, stretch.n_sites // 2))
    assert seconds(stretch, share=0.5) > seconds(stretch) < seconds(stretch, records=True)
    assert seconds(changed(n_typed=stretch.n_sites)) > seconds(stretch)
    assert seconds(dataclasses.replace(stretch, copying_only=False)) > seconds(stretch)


def test_cut__memory_leaves_room_for_every_job(genome: Genome) -> None:
    whole: Manifest = plan(genome.config("o.vcf.gz"), genome.cut())
    alone = memory_of(whole.stretches[0], window=whole.stretches[0].n_sites, n_windows=1, n_samples=0, draws=12)
    tight = plan(genome.config("o.vcf.gz"), genome.cut(memory_bytes=3 * (alone + 20_000), jobs=3))
    assert sum(sorted(chunk.memory_bytes for chunk in tight.chunks)[-3:]) <= 3 * (alone + 20_000)
    assert len(tight.chunks) > len(whole.chunks)
