"""The generated panels that `configs/any-panel.toml` learns from, beside the real one.

    python -m benchmarks.accuracy.training_panels --out DIR [--only NAME ...]

Makes DIR/NAME with panel, map and sample table for each of `PANELS`: out of Africa alone, since American admixture and
breeds are what a model is judged on, and seeds that no reported figure has. Beside the reference, with its errors, the
panel holds queries without any: alleles that are wrong by chance teach nothing. In the table both are populations,
`reference` and `query`, and DIR/NAME/roles.tsv says who validates: queries alone. Nobody has the name of somebody in
another set.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.accuracy.generated_panels import LARGE_PANEL, LEAST_COPIES, LEAST_COPIES_LARGE
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.storage import DenseBits
from vcfrag_train.simulate.demographies import OUT_OF_AFRICA, POPULATIONS
from vcfrag_train.simulate.files import write_reference
from vcfrag_train.simulate.simulate import Simulation, SimulationConfig, simulate


@dataclasses.dataclass(frozen=True, slots=True)
class Generated:
    """A panel: its samples, bases and seed, and whether it has errors of genotype and phase, and gene conversion."""

    samples: int
    bases: int
    seed: int
    errors: bool


PANELS: Final = {
    "generated-300": Generated(300, 2_000_000, 201, errors=False),
    "generated-2500-errors": Generated(2_500, 2_000_000, 204, errors=True),
}


QUERIES: Final = 240
JUDGES: Final = 48


def write_panel(name: str, folder: Path) -> None:
    """Writes one of `PANELS`, everybody named after it."""
    made = generated(PANELS[name])
    queries = [f"{PANELS[name].seed}-{one}" for one in made.targets.samples]
    reference = [f"{PANELS[name].seed}-{one}" for one in made.panel.samples]
    everyone = dataclasses.replace(
        made.panel,
        samples=(*reference, *queries),
        ploidy=Ploidy.diploid(len(reference) + len(queries)),
        bits=DenseBits(np.concatenate([made.panel.packed, made.targets.packed]), made.panel.n_sites),
    )
    population = dict.fromkeys(reference, "reference") | dict.fromkeys(queries, "query")
    write_reference(dataclasses.replace(made, panel=everyone, population=population), folder)
    order = np.random.default_rng(PANELS[name].seed).permutation(queries).tolist()
    judges = set(order[:JUDGES])
    roles = [f"{one}\t{'validation' if one in judges else 'train'}\n" for one in population]
    (folder / "roles.tsv").write_text("sample\trole\n" + "".join(roles), encoding="utf-8")


def generated(panel: Generated) -> Simulation:
    """The reference, with its errors, and the queries."""
    n_populations = len(POPULATIONS[OUT_OF_AFRICA])
    return simulate(
        SimulationConfig(
            seed=panel.seed,
            demography=OUT_OF_AFRICA,
            reference_per_population=-(-panel.samples // n_populations),
            targets_per_population=QUERIES // n_populations,
            length_bases=panel.bases,
            least_copies=LEAST_COPIES if panel.samples < LARGE_PANEL else LEAST_COPIES_LARGE,
            gene_conversions_per_crossover=2.0 if panel.errors else 0.0,
            genotype_error_share=1e-3 if panel.errors else 0.0,
            switch_errors_per_mb=1.0 if panel.errors else 0.0,
        )
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Makes the generated panels of configs/any-panel.toml.")
    parser.add_argument("--out", type=Path, required=True, help="Folder for all of them.")
    parser.add_argument("--only", nargs="+", choices=sorted(PANELS), default=list(PANELS), help="These alone.")
    options = parser.parse_args(arguments)
    for name in options.only:
        write_panel(name, options.out / name)
        print(options.out / name)


if __name__ == "__main__":
    main()
