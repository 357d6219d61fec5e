"""Plans and merges that are killed leave nothing that looks whole; the next one does what one undisturbed does."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.train.jobs.conftest import Genome
from vcfrag_train.jobs.manifest import job_folder, read_manifest
from vcfrag_train.jobs.merge import merge
from vcfrag_train.jobs.planning.plan import plan
from vcfrag_train.jobs.worker import Worker

# Merges, and is killed when METHOD of the writer is called for the NUMBERth time.
_KILLED = """
import os, signal, sys
from pathlib import Path
from vcfrag_core.files.vcf.writer import ImputedWriter
from vcfrag_train.jobs.manifest import job_folder, read_manifest
from vcfrag_train.jobs.merge import merge

manifest, method, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
calls, undisturbed = [], getattr(ImputedWriter, method)

def killed(self, *words):
    calls.append(words)
    if len(calls) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return undisturbed(self, *words)

setattr(ImputedWriter, method, killed)
merge(read_manifest(manifest), job_folder(manifest))
"""

# Plans, and is killed when the targets are to be written.
_KILLED_PLAN = """
import os, signal
from vcfrag_train.cli.app import main
from vcfrag_train.jobs.planning import plan

plan.write_targets = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main()
"""


def test_plan__killed_leaves_what_the_next_one_removes(genome: Genome) -> None:
    manifest = genome.folder / "job.json"
    words = ["plan", "--panel", genome.panels[0], "--map", genome.maps[0], "--target", genome.target]
    words += ["--copying-only", "--out", genome.folder / "o.vcf.gz", "--manifest", manifest]
    killed = [sys.executable, "-c", _KILLED_PLAN, *words]
    run = subprocess.run(killed, capture_output=True, timeout=300, check=False)
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()
    assert [path.name.partition("-job")[2] for path in genome.folder.glob(".partial-*")] == [".job"]
    assert not manifest.exists()
    plan(genome.config("o.vcf.gz"), genome.cut())
    assert not list(genome.folder.glob(".partial-*"))
    assert manifest.exists()


def test_merge__killed_twice_gives_the_same_bytes(genome: Genome) -> None:
    manifest = genome.cut().manifest
    planned = plan(genome.config("o.vcf.gz"), genome.cut(samples_per_chunk=12, windows_per_chunk=2))
    for chunk in planned.chunks:
        Worker(manifest, 1).run(chunk.number)
    output = genome.folder / "o.vcf.gz"
    merge(planned, job_folder(manifest))
    data = output.read_bytes()
    output.unlink()
    for method, number in (("write", 2), ("finish", 1)):
        _kill(manifest, method, number)
        assert not output.exists()
        assert list(genome.folder.glob(".o.vcf.gz.parts/*")), "what was written is kept for the next one"
    merge(read_manifest(manifest), job_folder(manifest))
    assert output.read_bytes() == data
    assert not list(genome.folder.glob(".o.vcf.gz*"))


def _kill(manifest: Path, method: str, number: int) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _KILLED, str(manifest), method, str(number)], capture_output=True, timeout=300
    )
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()
