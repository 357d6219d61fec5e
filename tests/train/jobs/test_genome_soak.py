"""A genome of 22 contigs by one command that is killed twice, processes and all."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.vcf_text import panel_text, record, vcf_text, write_vcf
from vcfrag_core.panel.panel import Panel

_CONTIGS = [str(number) for number in range(1, 23)]
_LENGTH = 300_000_000
N_TARGETS = int(os.environ.get("VCFRAG_SOAK_TARGETS", "60"))


@pytest.fixture
def files(tmp_path: Path, make_panel: Callable[..., Panel]) -> Path:
    """A folder with a panel and a map for each of 22 contigs, and targets of all in one file."""
    lines = []
    names = [f"P{i:04d}" for i in range(40 + N_TARGETS)]
    for number, contig in enumerate(_CONTIGS):
        everyone = make_panel(n_samples=len(names), n_sites=150, seed=100 + number, contig=contig)
        write_vcf(tmp_path / f"ref.{contig}.bcf", panel_text(renamed(everyone, names).select_samples(names[:40])))
        ends = (int(everyone.positions[0]), int(everyone.positions[-1]))
        rows = zip(np.linspace(*ends, 20).astype(int), np.linspace(0, 8, 20), strict=True)
        text = "".join(f"{p}\t{contig}\t{c:.5f}\n" for p, c in rows)
        (tmp_path / f"map.{contig}.gmap").write_text("pos\tchr\tcM\n" + text)
        calls = everyone.haplotypes()[80:].T.reshape(everyone.n_sites, -1, 2)
        for site in range(0, everyone.n_sites, 2):
            cells = [f"{a}|{b}" for a, b in calls[site].tolist()]
            place, ref, alt = int(everyone.positions[site]), everyone.refs[site], everyone.alts[site]
            lines.append(record(place, cells, contig=contig, ref=ref, alt=alt))
    write_vcf(tmp_path / "target.vcf.gz", vcf_text(names[40:], lines, contigs=dict.fromkeys(_CONTIGS, _LENGTH)))
    return tmp_path


def renamed(panel: Panel, names: list[str]) -> Panel:
    return dataclasses.replace(panel, samples=tuple(names), contig_length=_LENGTH)


@contextlib.contextmanager
def started(folder: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a process group of its own, which is killed at the end, as a machine that fails takes all."""
    words = ["--panel", "ref.{contig}.bcf", "--map", "map.{contig}.gmap", "--target", "target.vcf.gz"]
    words += ["--out", "out.{contig}.vcf.gz", "--jobs", "2", "--samples-per-chunk", str(-(-N_TARGETS // 3))]
    command = [str(Path(sys.executable).with_name("vcfrag")), "impute", "--copying-only", *words, *more]
    with subprocess.Popen(command, cwd=folder, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def n_chunks(folder: Path) -> int:
    return len(list(folder.glob("*.job/chunks/*.zip")))


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("out.*.vcf.gz*")}


@pytest.mark.soak
@pytest.mark.timeout(9000)
def test_impute__a_genome_killed_and_resumed_twice_gives_the_same_bytes(files: Path) -> None:
    with started(files) as process:
        assert process.wait(timeout=3000) == 0
    undisturbed = outputs(files)
    assert sorted(undisturbed) == sorted(f"out.{c}.vcf.gz{end}" for c in _CONTIGS for end in ("", ".tbi"))
    for name in undisturbed:
        (files / name).unlink()
    total = 3 * len(_CONTIGS)
    for number in (1, 2):
        with started(files, *(["--resume"] if number > 1 else [])) as process:
            deadline = time.monotonic() + 3000
            while n_chunks(files) < number * total // 3:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert 0 < n_chunks(files) < total
        assert not outputs(files)
    with started(files, "--resume") as process:
        assert process.wait(timeout=3000) == 0
    assert outputs(files) == undisturbed
    left = {path.name for path in files.iterdir()} - {"target.vcf.gz", *undisturbed}
    assert {name for name in left if not name.startswith(("ref.", "map."))} == {
        "out.genome.cohort.json", "out.genome.qc.json", "out.genome.qc.tsv",
    }  # fmt: skip
    with started(files, "--resume") as process:
        assert process.wait(timeout=600) == 0
    assert outputs(files) == undisturbed
