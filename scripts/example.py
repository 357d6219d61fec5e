"""Writes the example that ships with the library: `python scripts/example.py vcfrag_core/example`."""

from __future__ import annotations

import sys
from pathlib import Path

from vcfrag_train.simulate.files import SimulatedFiles, write_simulation
from vcfrag_train.simulate.simulate import SimulationConfig, simulate

KEPT = {"panel": "panel.vcf.gz", "target": "array.vcf.gz", "truth": "truth.vcf.gz", "genetic_map": "map.txt"}


def main(folder: Path) -> None:
    """Generates, renames and removes what is not part of the example."""
    config = SimulationConfig(
        seed=7, reference_per_population=20, targets_per_population=3, length_bases=300_000, typed_every_bases=3_000
    )
    files: SimulatedFiles = write_simulation(simulate(config), folder)
    for kind, name in KEPT.items():
        getattr(files, kind).rename(folder / name)
    for path in folder.iterdir():
        if path.name not in KEPT.values():
            path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
