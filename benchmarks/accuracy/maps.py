"""Windows of panels under maps that are right, scaled, or absent: vcfrag beside Beagle and Minimac4.

    python -m benchmarks.accuracy.maps --demography breed --reference 600 --seed 31 --seed 32 [--errors] [--windows 4]
    python -m benchmarks.accuracy.maps --panel P --target T --truth U --genetic-map M --typed S --whole

Generates a panel for every seed, or takes the files given, cuts windows of 200 kb out of it, and imputes each with
the map as it is, scaled by 0.2 and by 5, and with none, which every program takes for 1 cM per Mb. Prints, for each
map, the error (1 - r²) by MAF bin of vcfrag and of copying alone against each setting of the peers and against the
least of them in every bin, which is chosen on these very targets and flatters it. Windows and seeds are pooled; paired
intervals of 95 % are over the targets, drawn for each seed apart. `against itself with the map` compares
vcfrag under another map with vcfrag under the map as it is. With --whole nothing is cut.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.accuracy.generated_panels import add_panel_options, simulation_of
from benchmarks.accuracy.pooled import add_pooling_options, settings_of, sums_of, table
from vcfrag_core.files.panel.reader import read_panel
from vcfrag_core.files.tables.genetic_map import map_for
from vcfrag_core.types import F64Array
from vcfrag_train.compare.compare import ComparisonFiles
from vcfrag_train.compare.peers import run_index, write_shapeit_map
from vcfrag_train.compare.usage import run_measured
from vcfrag_train.simulate.files import write_simulation
from vcfrag_train.simulate.simulate import simulate

MAPS: Final = {"as it is": 1.0, "x 0.2": 0.2, "x 5": 5.0, "none": None}


def sets_of(options: argparse.Namespace) -> Iterator[tuple[Path, ComparisonFiles]]:
    """Folder and files of every panel."""
    if options.panel is not None:
        yield (
            options.work / options.panel.parent.name,
            ComparisonFiles(
                panel=options.panel,
                target=options.target,
                truth=options.truth,
                genetic_map=options.genetic_map,
                typed=options.typed,
            ),
        )
        return
    for seed in options.seed:
        one = argparse.Namespace(**{**vars(options), "seed": seed})
        errors = "errors" if one.errors else "clean"
        folder = one.work / f"{one.demography}-{one.reference}-s{seed}-{one.megabases:g}mb-{errors}-t{one.targets}"
        files = write_simulation(simulate(simulation_of(one)), folder)
        yield (
            folder,
            ComparisonFiles(
                panel=files.panel,
                target=files.target,
                truth=files.truth,
                genetic_map=files.genetic_map,
                typed=files.typed,
            ),
        )


def windows_of(files: ComparisonFiles, folder: Path, kb: int, count: int) -> Iterator[tuple[Path, ComparisonFiles]]:
    """Some windows of equal length, evenly spread, each as a user would have it."""
    panel = read_panel(files.panel)
    first, last = int(panel.positions[0]), int(panel.positions[-1])
    for number, start in enumerate(np.linspace(first, last - 1000 * kb, count + 2)[1:-1].astype(int).tolist()):
        where = folder / f"window-{number}"
        where.mkdir(parents=True, exist_ok=True)
        region = f"{panel.contig}:{start}-{start + 1000 * kb - 1}"
        cut = {}
        for name in ("panel", "target", "truth"):
            cut[name] = where / f"{name}.vcf.gz"
            run_measured(
                ["bcftools", "view", "-r", region, "-Oz", "-o", cut[name], getattr(files, name)], log=where / "log"
            )
            run_index(cut[name])
        yield where, ComparisonFiles(**cut, genetic_map=files.genetic_map)


def scaled_map(files: ComparisonFiles, scale: float, path: Path) -> Path:
    """The map with every distance times the scale."""
    found = map_for(read_panel(files.panel), files.genetic_map)
    write_shapeit_map(dataclasses.replace(found, cm=scale * found.cm), path)
    return path


def main(words: Sequence[str] | None = None) -> None:
    """Compares on one or several sets."""
    options = parser().parse_args(words)
    options.seed = options.seed or [1]
    settings = settings_of(options)
    sums: dict[str, dict[str, list[F64Array]]] = {}
    for number, (folder, files) in enumerate(sets_of(options)):
        cut = [(folder, files)] if options.whole else windows_of(files, folder, options.kb, options.windows)
        for where, window in cut:
            for label, scale in MAPS.items():
                if options.map and label not in options.map:
                    continue
                work = where / f"map-{label.replace(' ', '-')}"
                work.mkdir(parents=True, exist_ok=True)
                genetic_map = None if scale is None else scaled_map(window, scale, work / "map.gmap")
                found = sums_of(dataclasses.replace(window, genetic_map=genetic_map), work, settings)
                for name, one in found.items():
                    parts = sums.setdefault(label, {}).setdefault(name, [])
                    if len(parts) > number:
                        parts[number] = parts[number] + one
                    else:
                        parts.append(one)
            print(f"{where} done", flush=True)
    if options.out is not None:
        arrays = {
            f"{label}|{name}|{i}": one
            for label, of_map in sums.items()
            for name, parts in of_map.items()
            for i, one in enumerate(parts)
        }
        np.savez_compressed(options.out, **arrays)
    base = sums.get(next(iter(MAPS)))
    for label, of_map in sums.items():
        other = {"itself with the map": base} if base is not None and base is not of_map else {}
        for line in table(f"map {label}", of_map, settings, options.resamples, other):
            print(line)


def parser() -> argparse.ArgumentParser:
    """What may be asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_panel_options(parser, reference=1_000, megabases=2.0)
    parser.add_argument("--seed", type=int, action="append", help="repeat it to pool several panels")
    for name in ("panel", "target", "truth", "genetic-map", "typed"):
        parser.add_argument(f"--{name}", type=Path, help="of a set that is there")
    parser.add_argument("--whole", action="store_true", help="impute all of it and not windows")
    parser.add_argument("--kb", type=int, default=200, help="length of a window")
    parser.add_argument("--windows", type=int, default=4, help="windows of each panel")
    parser.add_argument("--map", action="append", choices=list(MAPS), help="this map alone; repeatable")
    add_pooling_options(parser)
    parser.add_argument("--out", type=Path, help="where the sums go, to be pooled with others")
    return parser


if __name__ == "__main__":
    main()
