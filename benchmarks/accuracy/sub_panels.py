"""Parts of the chr20 panel: few reference samples, other people's reference, few typed sites; beside the peers.

    python -m benchmarks.accuracy.sub_panels --panel 300 [--task random50] [--keep-every 8] [--seed 1 --seed 2]
    python -m benchmarks.accuracy.sub_panels --panel EUR --targets CHS

The panel is so many samples drawn from those that are no target of the development tasks, or all of them of the
populations or super-populations named (EUR,AMR; all). Targets are the tasks' hundred, or up to a hundred of a
population, who are then left out of the panel with their families; the model that ships learned from these, but not
from the tasks' targets. Prints what `benchmarks.accuracy.pooled` says, with several seeds pooled.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.accuracy.pooled import add_pooling_options, settings_of, sums_of, table
from benchmarks.development_tasks import TASKS, Task, build_task, default_data
from vcfrag_core.files.tables.samples import SampleTable, read_sample_table
from vcfrag_core.panel.split_design import exclusion_groups
from vcfrag_core.types import F64Array
from vcfrag_train.compare.compare import ComparisonFiles

ALL: Final = "all"
MOST_TARGETS: Final = 100


def people_of(
    people: SampleTable, held_out: Sequence[str], *, panel: str, targets: str | None, seed: int
) -> tuple[list[str], list[str]]:
    """Names of the reference samples and of the targets; nobody of a target's family is a reference sample.

    Args:
        people: Everybody.
        held_out: The tasks' targets.
        panel: A number of samples to draw, or names of populations and super-populations, or `all`.
        targets: Names of populations; the tasks' targets without.
        seed: Of what is drawn.

    Raises:
        SystemExit: Fewer people are there than were asked for.
    """
    rng = np.random.default_rng(seed)
    free = sorted(set(people.samples) - set(held_out))
    chosen = sorted(held_out)
    if targets is not None:
        chosen = sorted(rng.permutation(_named(people, free, targets))[:MOST_TARGETS].tolist())
    group = exclusion_groups(people.samples, people)
    kin = {group[name] for name in chosen}
    rest = [name for name in free if group[name] not in kin]
    if not panel.isdigit():
        return _named(people, rest, panel), chosen
    if int(panel) > len(rest):
        raise SystemExit(f"--panel {panel}: {len(rest)} samples may be drawn from")
    return sorted(rng.permutation(rest)[: int(panel)].tolist()), chosen


def _named(people: SampleTable, names: Sequence[str], populations: str) -> list[str]:
    wanted = set(populations.split(","))
    columns = people.samples, people.population, people.super_population
    known = {sample: set(codes) for sample, *codes in zip(*columns, strict=True)}
    found = [name for name in names if ALL in wanted or known[name] & wanted]
    if not found:
        raise SystemExit(f"{populations}: nobody is of it")
    return found


def files_of(
    task: Task, reference: Sequence[str], targets: Sequence[str], folder: Path, *, every: int
) -> ComparisonFiles:
    """The task's panel and targets, cut to these people, and to every so many of its typed sites."""
    folder.mkdir(parents=True, exist_ok=True)
    everybody = folder / "all.bcf"
    _run("merge", "-Ob", "-o", everybody, task.panel, task.truth)
    files = ComparisonFiles(
        panel=folder / "panel.bcf",
        target=folder / "target.vcf.gz",
        truth=folder / "truth.bcf",
        genetic_map=task.genetic_map,
        typed=folder / "typed.tsv",
    )
    head, *sites = task.typed.read_text().splitlines(keepends=True)
    assert files.typed is not None
    files.typed.write_text(head + "".join(sites[::every]))
    at = folder / "typed.positions"
    at.write_text("".join("\t".join(site.split("\t")[:2]) + "\n" for site in sites[::every]))
    for path, names, more in (
        (files.panel, reference, ()),
        (files.truth, targets, ()),
        (files.target, targets, ("-T", at)),
    ):
        kind = "-Oz" if path.suffix == ".gz" else "-Ob"
        _run("view", kind, "-s", ",".join(names), *more, "-o", path, everybody)
        _run("index", "-f", path)
    everybody.unlink()
    return files


def _run(*words: object) -> None:
    subprocess.run(["bcftools", *map(str, words)], check=True, stderr=subprocess.DEVNULL)


def main(words: Sequence[str] | None = None) -> None:
    """Compares with one part of the panel, drawn once or several times."""
    options = parser().parse_args(words)
    task = build_task(options.task, options.data, options.work)
    people = read_sample_table(task.samples)
    held_out = (options.data / "task_targets.txt").read_text().split()
    settings = settings_of(options)
    sums: dict[str, list[F64Array]] = {}
    title = f"{options.task}, panel {options.panel}, targets {options.targets or 'of the task'}"
    for seed in options.seed or [1]:
        reference, targets = people_of(people, held_out, panel=options.panel, targets=options.targets, seed=seed)
        name = f"{options.task}-{options.panel}-{options.targets or 'task'}-{options.keep_every}-s{seed}"
        folder = options.work / "sub-panels" / name
        files = files_of(task, reference, targets, folder, every=options.keep_every)
        print(f"{name}: {len(reference)} reference samples, {len(targets)} targets", flush=True)
        for program, one in sums_of(files, folder / "imputed", settings).items():
            sums.setdefault(program, []).append(one)
    for line in table(title, sums, settings, options.resamples, {}):
        print(line)


def parser() -> argparse.ArgumentParser:
    """What may be asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="array", help="whose sites are taken")
    parser.add_argument("--panel", required=True, help="a number of samples, or populations, by commas")
    parser.add_argument("--targets", help="populations, by commas; the tasks' targets without")
    parser.add_argument("--keep-every", type=int, default=1, help="of so many typed sites one is kept")
    parser.add_argument("--seed", type=int, action="append", help="repeat it to pool several draws")
    parser.add_argument("--data", type=Path, default=default_data())
    add_pooling_options(parser)
    return parser


if __name__ == "__main__":
    main()
