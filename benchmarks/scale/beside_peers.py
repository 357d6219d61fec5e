"""Whole processes on one set: vcfrag, Beagle and Minimac4 in turn, the panel prepared for each of them.

    python -m benchmarks.scale.beside_peers --work DIR [--reference 11500] [--targets 1000] [--errors] [--rounds 2]
    python -m benchmarks.scale.beside_peers --work DIR --task array          # or random50, from $VCFRAG_DATA

Without --task the set is generated, once. All get the map and two threads, and write a VCF. Each peer writes what it
does by default, and once more the fields that vcfrag writes, or as many of them as it has. Prints the mean of the
rounds with the lowest and the highest; leaves all rounds in DIR/NAME.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Final

from benchmarks.accuracy.generated_panels import add_panel_options, name_of, simulation_of
from benchmarks.development_tasks import TASKS, build_task, default_data
from benchmarks.work_folder import vcfrag
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.files.tables.genetic_map import read_genetic_map
from vcfrag_train.compare.peers import write_minimac_map, write_plink_map
from vcfrag_train.compare.usage import Usage, run_measured
from vcfrag_train.simulate.files import write_simulation
from vcfrag_train.simulate.simulate import simulate

_HEAP: Final = {"JAVA_TOOL_OPTIONS": "-Xmx4096m"}
_FIELDS: Final = ("--format", "GT,DS,HDS,GP")

Command = Sequence[str | Path]


def main(words: Sequence[str] | None = None) -> int:
    """Prepares the set and runs all programs on it."""
    options = _parser().parse_args(words)
    options.work.mkdir(parents=True, exist_ok=True)
    work = options.work.resolve()
    name, panel, target, genetic_map = _set(options, work)
    commands = _prepared(work / f"{name}-prepared", panel, target, genetic_map, options.threads)
    cache = {"VCFRAG_CACHE_DIR": str(work / f"{name}-prepared" / "cache")}
    taken: dict[str, list[Usage]] = {label: [] for label in commands}
    for _ in range(options.rounds):
        for label, command in commands.items():
            taken[label].append(run_measured(command, log=work / f"{name}.log", environment=_HEAP | cache))
            print(f"{label}: {taken[label][-1].cpu_seconds:.1f} CPU s", flush=True)
    rows = {label: [_figures(usage) for usage in usages] for label, usages in taken.items()}
    (work / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")
    _print(name, rows)
    return 0


def _set(options: argparse.Namespace, work: Path) -> tuple[str, Path, Path, Path]:
    """Its name, panel, targets and map."""
    if options.task is not None:
        task = build_task(options.task, default_data(), work)
        return task.name, task.panel, task.target, task.genetic_map
    folder = work / name_of(options)
    if not (folder / "complete").exists():
        write_simulation(simulate(simulation_of(options)), folder)
        (folder / "complete").touch()
    return folder.name, folder / "panel.vcf.gz", folder / "target.vcf.gz", folder / "map.txt"


def _prepared(folder: Path, panel: Path, target: Path, genetic_map: Path, threads: int) -> Mapping[str, Command]:
    """What is to be run, once the panel is prepared for all of them."""
    folder.mkdir(exist_ok=True)
    contig_map = read_genetic_map(genetic_map, load_panel(panel, cache_dir=folder / "cache", threads=threads).contig)
    write_plink_map(contig_map, folder / "map.plink")
    write_minimac_map(contig_map, folder / "map.tsv")
    bref, msav, text = folder / "panel.bref3", folder / "panel.msav", folder / "target.vcf.gz"
    if not (folder / "complete").exists():
        as_text = folder / "panel.vcf.gz"
        subprocess.run(["bcftools", "view", "-Oz", "-o", as_text, panel], check=True)
        with bref.open("wb") as file:
            subprocess.run(["bref3", as_text], stdout=file, check=True)
        shutil.copy(target, text)
        subprocess.run(["bcftools", "index", "-f", text], check=True)
        subprocess.run(["minimac4", "--compress-reference", panel, "-o", msav], check=True)
        as_text.unlink()
        (folder / "complete").touch()
    count, out = str(threads), folder / "out.vcf.gz"
    ours: Command = [
        vcfrag(), "impute", "--panel", panel, "--target", target, "--map", genetic_map, "--out", out,
        "--threads", count,
    ]  # fmt: skip
    beagle: Command = [
        "beagle", f"ref={bref}", f"gt={text}", f"map={folder / 'map.plink'}", f"out={folder / 'beagle'}",
        f"nthreads={threads}",
    ]  # fmt: skip
    minimac4: Command = [
        "minimac4", msav, text, "--map", folder / "map.tsv", "--output", folder / "minimac4.vcf.gz",
        "--output-format", "vcf.gz", "--threads", count,
    ]  # fmt: skip
    return {
        "vcfrag, copying alone": [*ours, "--copying-only"],
        "vcfrag, default": ours,
        "Beagle": beagle,
        "Beagle, GP too": [*beagle, "gp=true"],
        "Minimac4": minimac4,
        "Minimac4, the same fields": [*minimac4, *_FIELDS],
    }


def _figures(usage: Usage) -> dict[str, float]:
    return {"wall_s": usage.wall_seconds, "cpu_s": usage.cpu_seconds, "peak_mib": usage.peak_bytes / 2**20}


def _print(name: str, rows: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    print(f"| {name} | wall s | CPU s | peak MiB |\n| --- | --- | --- | --- |")
    for label, rounds in rows.items():
        cells = [
            f"{mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"
            for values in ([one[what] for one in rounds] for what in ("wall_s", "cpu_s"))
        ]
        print(f"| {label} | " + " | ".join([*cells, f"{max(one['peak_mib'] for one in rounds):.0f}"]) + " |")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_panel_options(parser, reference=11_500, megabases=5.0)
    parser.set_defaults(targets=1_000)
    parser.add_argument("--seed", type=int, default=771)
    parser.add_argument("--task", choices=TASKS, help="a development task instead")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
