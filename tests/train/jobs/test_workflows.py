"""The recipes in workflows/ run as they stand: with a queue that runs what it is given at once, and by Snakemake."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.train.jobs.conftest import Genome
from vcfrag_train.jobs.genome import impute_job

# Runs every task of an array, one after the other, and prints a job's number as --parsable does.
SBATCH = """#!/bin/sh
set -eu
array=
for word; do
    case $word in
    --array=*) array=${word#--array=}; array=${array%\\%*} ;;
    esac
    wrap=$word
done
echo "$*" | head -c 200 >>"$SBATCH_LOG"
last=${array#*-}
for task in $(seq 0 "${last:-0}"); do
    [ -z "$array" ] || export SLURM_ARRAY_TASK_ID=$task
    sh -c "$wrap" >>"$SBATCH_LOG" 2>&1
done
echo 17
"""


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PATH": f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"}


def run(words: Sequence[object], folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [str(word) for word in words]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=280)


def body(path: Path) -> str:
    text = gzip.decompress(path.read_bytes()).decode()
    return text[text.index("#CHROM") :]


@pytest.mark.soak
@pytest.mark.parametrize("keep", ["", "yes"])
def test_slurm__plans_imputes_reports_and_merges(genome: Genome, repository: Path, keep: str) -> None:
    wanted = body(impute_job(genome.by_default("w.vcf.gz", copying_only=True), genome.cut()).outputs[0][0])
    sbatch = genome.folder / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(SBATCH)
    sbatch.chmod(0o755)
    log = genome.folder / "log"
    words = ["sh", repository / "workflows" / "slurm" / "impute.sh", "job.json", "--panel", "ref.chr{contig}.bcf"]
    words += ["--map", "map.{contig}.gmap", "--target", genome.target.name, "--out", "o.vcf.gz", "--copying-only"]
    words += ["--samples-per-chunk", "12"]
    variables = {**environment(sbatch.parent), "SBATCH_LOG": str(log), "CHUNKS_PER_TASK": "3"}
    variables |= {"REPORT": "page.html", "KEEP": keep}
    done = run(words, genome.folder, variables)
    assert done.returncode == 0, done.stderr + log.read_text()
    assert body(genome.folder / "o.vcf.gz") == wanted
    assert (genome.folder / "page.html").read_text().startswith("<!doctype html>")
    assert (genome.folder / "job.json").exists() == bool(keep)
    if keep:
        done = run(["vcfrag", "report", "job.json", "--out", "again.html"], genome.folder, variables)
        assert done.returncode == 0, done.stderr
    said = log.read_text()
    assert "--array=0-1%200" in said
    assert "--dependency=afterok:17" in said


@pytest.mark.soak
@pytest.mark.skipif(find_spec("snakemake") is None, reason="snakemake is not installed (make soak installs it)")
def test_snakemake__plans_imputes_and_merges(genome: Genome, repository: Path) -> None:
    wanted = body(impute_job(genome.by_default("w.vcf.gz", copying_only=True), genome.cut()).outputs[0][0])
    options = "--panel 'ref.chr{contig}.bcf' --map 'map.{contig}.gmap' --copying-only --samples-per-chunk 24"
    (genome.folder / "config.yaml").write_text(
        f'out: o.vcf.gz\nplan: "--target {genome.target.name} {options}"\nthreads: 1\n'
    )
    words = ["snakemake", "--snakefile", repository / "workflows" / "snakemake" / "Snakefile", "--cores", "1"]
    words += ["--configfile", "config.yaml"]
    done = run(words, genome.folder, environment(Path(sys.executable).parent))
    assert done.returncode == 0, done.stdout + done.stderr
    assert body(genome.folder / "o.vcf.gz") == wanted
