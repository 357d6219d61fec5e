"""How search and imputation grow with the panel: the same targets and sites against ever more reference samples.

    python -m benchmarks.scale.growth --work DIR [--errors] [--reference 2500,12500,50000] [--targets 1000]

Samples are generated under the out-of-Africa model, once for the largest panel; the smaller panels are the first of
each population. All panels have the sites that vary among the smallest one's samples, so that nothing grows but the
number of haplotypes; with --own-sites each has those that vary among its own. Prints CPU seconds of opening an index
and of searching every window by one thread, in a process of its own, and of whole runs of `vcfrag impute`; leaves them
in DIR/growth.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.work_folder import WorkFolder
from vcfrag_core.copying.parameters import CopyingParameters, density, parameters_for
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.files.panel.prepared import write_prepared
from vcfrag_core.files.tables.genetic_map import map_for
from vcfrag_core.imputation.windows import imputation_windows
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.split import Split
from vcfrag_core.panel.windows import Window
from vcfrag_core.retrieval import site_weights
from vcfrag_core.retrieval.queries import EXTERNAL
from vcfrag_core.types import BoolArray, I8Array
from vcfrag_core.window.local import LocalRetriever
from vcfrag_core.window.retriever import IndexSpec
from vcfrag_core.window.window import MaskedWindow, retrieve
from vcfrag_train.compare.usage import run_measured
from vcfrag_train.simulate.demographies import OUT_OF_AFRICA, POPULATIONS
from vcfrag_train.simulate.files import write_phased_vcf
from vcfrag_train.simulate.simulate import SimulationConfig, simulate

_LEAST_COPIES: Final = 5
_VARYING: Final = 2
_TIMES: Final = ("opened", "search", "copying", "default")


class Work(WorkFolder):
    """Where everything lies."""

    __slots__ = ()

    @property
    def everyone(self) -> Path:
        return self.folder / "everyone.vcfrag"

    @property
    def array(self) -> Path:
        return self.folder / "array.vcfrag"

    def panel(self, n_samples: int) -> Path:
        return self.folder / f"panel{n_samples}.vcfrag"


def main(words: Sequence[str] | None = None) -> int:
    """Measures every size, and prints what it found as a table."""
    options = _parser().parse_args(words)
    options.work.mkdir(parents=True, exist_ok=True)
    work = Work(options.work.resolve())
    sizes = [int(size) for size in options.reference.split(",")]
    if options.inside == "make":
        _make(options, work, sizes)
    elif options.inside == "search":
        print(json.dumps(_search(work, options.size)))
    else:
        _measure_all(options, work, sizes)
    return 0


def _measure_all(options: argparse.Namespace, work: Work, sizes: Sequence[int]) -> None:
    own: list[str | Path] = [sys.executable, "-m", "benchmarks.scale.growth", "--work", work.folder]
    own += ["--reference", options.reference, "--targets", str(options.targets), "--seed", str(options.seed)]
    own += ["--megabases", str(options.megabases), "--typed-every", str(options.typed_every)]
    own += ["--errors"] * options.errors + ["--own-sites"] * options.own_sites
    run_measured([*own, "--inside", "make"], log=work.folder / "make.log")
    rows = []
    for size in sizes:
        log = work.folder / f"search{size}.log"
        log.unlink(missing_ok=True)
        run_measured([*own, "--inside", "search", "--size", str(size)], log=log)
        row = json.loads(log.read_text().splitlines()[-1])
        for name, option in (("copying", ["--copying-only"]), ("default", [])):
            usage = run_measured(
                work.impute(work.panel(size), "imputed.vcf.gz", [*option, "--threads", str(options.threads)]), log=log
            )
            row[name], row[f"{name}_peak_bytes"] = usage.cpu_seconds, usage.peak_bytes
        rows.append(row)
    (work.folder / "growth.json").write_text(json.dumps(rows, indent=1) + "\n")
    _print(rows)


def _print(rows: Sequence[dict[str, float]]) -> None:
    print("| reference samples | sites | typed | index opened, CPU s | search | copying alone | default | peak MiB |")
    print("| --- " * 8 + "|")
    for row in rows:
        cells = [f"{row[name]:.2f} ({row[name] / rows[0][name]:.2f})" for name in _TIMES]
        counts = [f"{row[name]:,}" for name in ("size", "sites", "typed")]
        print("| " + " | ".join([*counts, *cells, f"{row['default_peak_bytes'] / 2**20:.0f}"]) + " |")


def _make(options: argparse.Namespace, work: Work, sizes: Sequence[int]) -> None:
    """The targets and the panels, of whom and at what the options say."""
    n_populations = len(POPULATIONS[OUT_OF_AFRICA])
    made_by = {"made_by": "benchmarks.scale.growth"}
    if not work.everyone.exists():
        made = simulate(
            SimulationConfig(
                seed=options.seed,
                reference_per_population=-(-max(sizes) // n_populations),
                targets_per_population=-(-options.targets // n_populations),
                length_bases=int(options.megabases * 1e6),
                typed_every_bases=options.typed_every,
                least_copies=_LEAST_COPIES,
                genotype_error_share=1e-3 if options.errors else 0.0,
            )
        )
        work.write_map(made.genetic_map)
        write_prepared(work.array, [made.array], made_by)
        write_prepared(work.everyone, [made.panel], made_by)
    everyone, array = load_panel(work.everyone), load_panel(work.array)
    panels = [_first_of_each(everyone, size, n_populations) for size in sizes]
    shared = _varying(panels[0])
    for size, panel in zip(sizes, panels, strict=True):
        varying = _varying(panel) if options.own_sites else shared
        write_prepared(work.panel(size), [panel.select_sites(np.flatnonzero(varying))], made_by)
    typed = np.isin(array.positions, everyone.positions[shared])
    write_phased_vcf(array.select_sites(np.flatnonzero(typed)), work.target)


def _first_of_each(everyone: Panel, size: int, n_populations: int) -> Panel:
    per_population = everyone.n_samples // n_populations
    place = np.arange(everyone.n_samples)
    order = np.argsort(place % per_population, kind="stable")[:size]
    return everyone.select_samples([everyone.samples[i] for i in np.sort(order).tolist()])


def _varying(panel: Panel) -> BoolArray:
    """(V,) sites of which the panel has either allele more than once."""
    copies = np.rint(panel.alt_frequency() * panel.n_haplotypes)
    found: BoolArray = np.minimum(copies, panel.n_haplotypes - copies) >= _VARYING
    return found


def _search(work: Work, size: int) -> dict[str, float]:
    """A search of every window for all targets, after one that compiles and loads what it needs."""
    panel, array = load_panel(work.panel(size)), load_panel(work.array)
    cm = map_for(panel, work.map).at(panel.positions)
    observed = np.isin(panel.positions, array.positions)
    alleles = np.full((array.n_haplotypes, panel.n_sites), -1, dtype=np.int8)
    kept = np.flatnonzero(np.isin(array.positions, panel.positions))
    alleles[:, observed] = array.select_sites(kept).haplotypes(None, 0, len(kept))
    parameters = parameters_for(density(observed, cm))
    windows = imputation_windows(cm, parameters.flank_cm)
    _search_windows(panel, observed, alleles[:200], parameters, windows[:1])
    # Keys of haplotypes that were made for the first search must be made again.
    panel = load_panel(work.panel(size))
    opened, search = _search_windows(panel, observed, alleles, parameters, windows)
    return {"size": size, "sites": panel.n_sites, "typed": int(observed.sum()), "opened": opened, "search": search}


def _search_windows(
    panel: Panel, observed: BoolArray, alleles: I8Array, parameters: CopyingParameters, windows: Sequence[Window]
) -> tuple[float, float]:
    """CPU seconds of opening an index and of searching all windows."""
    began = time.process_time()
    split = Split(name="all", reference=panel.samples, groups={name: name for name in panel.samples})
    weights = site_weights.quantise(np.full(panel.n_sites, parameters.weight))
    spec = IndexSpec.of(panel.digest, split=split, observed=observed, weights=weights, parameters=parameters)
    index = LocalRetriever(panel).open(spec)
    opened = time.process_time()
    for window in windows:
        queries = MaskedWindow(
            window=window,
            observed=observed,
            weights=weights,
            parameters=parameters,
            alleles=alleles,
            samples=(EXTERNAL,) * len(alleles),
            ploidy=Ploidy.diploid(len(alleles) // 2),
        )
        retrieve(queries, index)
    index.close()
    return opened - began, time.process_time() - opened


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--reference", default="2500,12500,50000", help="reference samples, the smallest panel first")
    parser.add_argument("--targets", type=int, default=1_000)
    parser.add_argument("--megabases", type=float, default=1.5)
    parser.add_argument("--typed-every", type=int, default=3_333, help="mean distance of the typed sites, bases")
    parser.add_argument("--errors", action="store_true", help="one genotype in 1,000 is wrong, panel and targets")
    parser.add_argument("--own-sites", action="store_true", help="each panel has the sites that vary in it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--inside", choices=("make", "search"), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
