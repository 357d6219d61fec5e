"""A cohort merged of two chips: the error of each half in one run, against a run of its own.

    python -m benchmarks.accuracy.merged_chips [--data DIR] [--work bench-out] [IMPUTE OPTION ...]

The array task's targets in two files, every second sample typed at all 440 sites and the others at every second one.
Prints for each half the squared error of the dosages at the sites that no chip has, merged as a multiple of alone, with
an interval of 95 % over the half's samples.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cyvcf2
import numpy as np

from benchmarks.development_tasks import Task, build_task, default_data
from vcfrag_core.types import F64Array

RESAMPLES: Final = 10_000


def write_half(task: Task, path: Path, samples: Sequence[str], every: int) -> Path:
    """The samples' calls at every so many records of the task's targets."""
    words = ["bcftools", "view", "-s", ",".join(samples), str(task.target)]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines(keepends=True)
    head = [line for line in lines if line.startswith("#")]
    path.write_text("".join([*head, *lines[len(head) :: every]]), encoding="utf-8")
    return path


def dosages(path: Path, samples: Sequence[str], field: str) -> dict[tuple[int, str, str], F64Array]:
    """(S,) dosages by site, from DS or GT."""
    found = {}
    for record in cyvcf2.VCF(str(path), samples=list(samples)):
        if field == "DS":
            values = record.format("DS")[:, 0].astype(np.float64)
        else:
            values = np.asarray(record.genotype.array())[:, :2].sum(axis=1).astype(np.float64)
        found[record.POS, record.REF, record.ALT[0]] = values
    return found


def errors(path: Path, truth: Path, typed: Path, samples: Sequence[str]) -> F64Array:
    """(S,) squared error of each sample at the sites that are not typed."""
    on_chip = {(v.POS, v.REF, v.ALT[0]) for v in cyvcf2.VCF(str(typed))}
    # cyvcf2 gives the file's order of samples, which is the same in both.
    imputed, true = dosages(path, samples, "DS"), dosages(truth, samples, "GT")
    shared = [key for key in imputed if key in true and key not in on_chip]
    return np.asarray(sum((imputed[key] - true[key]) ** 2 for key in shared))


def impute(task: Task, targets: Sequence[Path], out: Path, more: Sequence[str]) -> Path:
    """Runs `vcfrag impute` on one file or on two."""
    words = [str(Path(sys.executable).with_name("vcfrag")), "impute", "--panel", task.panel, "--map", task.genetic_map]
    for target in targets:
        words += ["--target", target]
    subprocess.run([*map(str, words), "--out", str(out), *more], check=True)
    return out


def main() -> None:
    """Imputes both halves together and alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default_data())
    parser.add_argument("--work", type=Path, default=Path("bench-out"))
    options, more = parser.parse_known_args()
    task = build_task("array", options.data, options.work)
    folder = options.work / "merged-chips"
    folder.mkdir(parents=True, exist_ok=True)
    samples = cyvcf2.VCF(str(task.target)).samples
    halves = [samples[0::2], samples[1::2]]
    files = [write_half(task, folder / f"{i}.vcf", half, 1 + i) for i, half in enumerate(halves)]
    merged = impute(task, files, folder / "merged.vcf.gz", more)
    rng = np.random.default_rng(1)
    for i, half in enumerate(halves):
        alone = impute(task, [files[i]], folder / f"alone-{i}.vcf.gz", more)
        ours, theirs = (errors(path, task.truth, files[0], half) for path in (merged, alone))
        drawn = rng.integers(len(half), size=(RESAMPLES, len(half)))
        low, high = np.percentile(ours[drawn].sum(axis=1) / theirs[drawn].sum(axis=1), [2.5, 97.5])
        ratio = ours.sum() / theirs.sum()
        print(f"chip {i + 1}, {len(half)} samples: {ratio:.4f} [{low:.4f}, {high:.4f}] of alone")


if __name__ == "__main__":
    main()
