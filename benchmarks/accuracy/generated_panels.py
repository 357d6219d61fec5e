"""Generated panels: vcfrag beside Beagle and Minimac4, default and tuned, on haplotypes that no model has seen.

    python -m benchmarks.accuracy.generated_panels --demography breed --reference 300 --seed 21 [--errors] [--tune]

Makes WORK/NAME with panel, targets, truth and map, runs all programs, and leaves NAME.json and NAME.tsv beside it.
Prints r² by MAF bin, and the error (1 − r²) of vcfrag against the better peer of every bin, with paired intervals of
95 % over the targets; the better peer is chosen on these very targets, which flatters it. With --tune the peers'
settings are chosen over a grid on panel samples, which takes some twenty runs of each. With --unphased the targets'
phase is thrown away for all programs, and SHAPEIT4 phases for Minimac4; `vcfrag evaluate --phase` on what lies in
WORK/NAME/compared-unphased counts their switches.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vcfrag_core.scoring.accuracy import N_BINS
from vcfrag_train.compare.compare import ComparisonConfig, ComparisonFiles, compare
from vcfrag_train.compare.peers import PEERS, UNPHASED_PEERS
from vcfrag_train.evaluation import output, tables
from vcfrag_train.evaluation.evaluate import EvaluationConfig
from vcfrag_train.evaluation.results import EVERYONE, Difference, Evaluation
from vcfrag_train.reporter import LineReporter
from vcfrag_train.simulate.demographies import OUT_OF_AFRICA, POPULATIONS
from vcfrag_train.simulate.files import write_simulation
from vcfrag_train.simulate.simulate import SimulationConfig, simulate

PEER_PROGRAMS: Final = ("beagle", "minimac4", "shapeit4-minimac4")
# Larger panels lack the sites that next to nobody carries, as merged panels do.
LARGE_PANEL: Final = 10_000
LEAST_COPIES: Final = 2
LEAST_COPIES_LARGE: Final = 5


def name_of(options: argparse.Namespace) -> str:
    """Of the set, by what makes it."""
    errors = "errors" if options.errors else "clean"
    size = f"{options.demography}-{options.reference}-s{options.seed}-{options.megabases:g}mb"
    return f"{size}-e{options.typed_every}-{errors}-t{options.targets}"


def simulation_of(options: argparse.Namespace) -> SimulationConfig:
    """What is generated: as many of each population as make up the reference and the targets."""
    n = len(POPULATIONS[options.demography])
    return SimulationConfig(
        seed=options.seed,
        demography=options.demography,
        reference_per_population=-(-options.reference // n),
        targets_per_population=-(-options.targets // n),
        length_bases=int(options.megabases * 1e6),
        typed_every_bases=options.typed_every,
        least_copies=LEAST_COPIES if options.reference < LARGE_PANEL else LEAST_COPIES_LARGE,
        gene_conversions_per_crossover=2.0 if options.errors else 0.0,
        genotype_error_share=1e-3 if options.errors else 0.0,
        switch_errors_per_mb=1.0 if options.errors else 0.0,
    )


def compared(options: argparse.Namespace) -> Evaluation:
    """Makes the set and runs all programs on it."""
    stem = options.work / name_of(options)
    files = write_simulation(simulate(simulation_of(options)), stem)
    config = ComparisonConfig(
        ablations=False,
        unphased=options.unphased,
        peers=UNPHASED_PEERS if options.unphased else PEERS,
        tune=options.tune,
        threads=options.threads,
        evaluation=EvaluationConfig(resamples=options.resamples),
    )
    given = ComparisonFiles(
        panel=files.panel, target=files.target, truth=files.truth, genetic_map=files.genetic_map, typed=files.typed
    )
    phase = "-unphased" if options.unphased else ""
    found = compare(given, config, stem / f"compared{phase}", LineReporter(print))
    json, tsv = (stem.with_name(f"{stem.name}{phase}.{kind}") for kind in ("json", "tsv"))
    output.write(found, output.Targets(json=json, tsv=tsv))
    return found


def against_better_peer(differences: Sequence[Difference], *, tuned: bool) -> list[str]:
    """Change of the first method's error by bin against the peer that has the least there: percent [low, high].

    Args:
        differences: Of the comparison.
        tuned: Against all settings of the peers; against their defaults else.
    """
    rows = [
        row
        for row in differences
        if row.metric == "aggregate_r2" and row.population == EVERYONE and _is_peer(row.against, tuned=tuned)
    ]
    return [_cell(rows, b) for b in range(N_BINS)]


def _is_peer(name: str, *, tuned: bool) -> bool:
    return name in PEER_PROGRAMS or (tuned and name.removesuffix("-tuned").removesuffix("-fixed") in PEER_PROGRAMS)


def _cell(rows: Sequence[Difference], group: int) -> str:
    told = [row.error_change[group] for row in rows if row.error_change[group].value == row.error_change[group].value]
    if not told:
        return ""
    worst = max(told, key=lambda change: change.value)
    return f"{100 * worst.value:+.1f} [{100 * worst.low:+.1f}, {100 * worst.high:+.1f}]"


def main(words: Sequence[str] | None = None) -> None:
    """Compares on one set."""
    options = parser().parse_args(words)
    options.work.mkdir(parents=True, exist_ok=True)
    found = compared(options)
    tables.print_evaluation(found, tables.console())
    print(f"\n{name_of(options)}: {found.sites.n_typed} typed of {found.sites.n_panel} sites")
    print("| against the better peer | " + " | ".join(group.label for group in found.groups[:N_BINS]) + " |")
    print("| --- " * (N_BINS + 1) + "|")
    for title, tuned in (("default", False), ("tuned", True)):
        print(f"| {title} | " + " | ".join(against_better_peer(found.differences, tuned=tuned)) + " |")


def add_panel_options(parser: argparse.ArgumentParser, *, reference: int, megabases: float) -> None:
    """What a generated panel is like, but for its seed; `simulation_of` reads it."""
    parser.add_argument("--demography", choices=sorted(POPULATIONS), default=OUT_OF_AFRICA)
    parser.add_argument(
        "--reference", type=int, default=reference, help="reference samples, of all populations together"
    )
    parser.add_argument("--targets", type=int, default=100, help="of all populations together")
    parser.add_argument("--megabases", type=float, default=megabases)
    parser.add_argument("--typed-every", type=int, default=3_333, help="mean distance of the typed sites, bases")
    parser.add_argument("--errors", action="store_true", help="gene conversion, errors of genotype and phase")


def parser() -> argparse.ArgumentParser:
    """What may be asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_panel_options(parser, reference=2_500, megabases=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tune", action="store_true", help="choose the peers' settings over a grid; takes long")
    parser.add_argument("--unphased", action="store_true", help="throw the targets' phase away")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resamples", type=int, default=1_000)
    parser.add_argument("--work", type=Path, default=Path("bench-out"))
    return parser


if __name__ == "__main__":
    main()
