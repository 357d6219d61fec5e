"""What benchmarks that generate panels keep in their folder, and how they impute from it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from vcfrag_core.panel.genetic_map import GeneticMap


@dataclasses.dataclass(frozen=True, slots=True)
class WorkFolder:
    """Where everything lies."""

    folder: Path

    @property
    def target(self) -> Path:
        return self.folder / "target.vcf.gz"

    @property
    def map(self) -> Path:
        return self.folder / "map.txt"

    def write_map(self, genetic_map: GeneticMap) -> None:
        """The map as a table that `--map` reads."""
        rows = zip(genetic_map.positions, genetic_map.cm, strict=True)
        self.map.write_text("pos\tchr\tcM\n" + "".join(f"{p}\t1\t{cm:.9f}\n" for p, cm in rows))

    def impute(self, panel: Path, out: str, options: Sequence[str] = ()) -> list[str | Path]:
        """The command that imputes the targets; what an earlier one wrote is gone."""
        for old in self.folder.glob(f"{out.partition('.')[0]}*"):
            old.unlink()
        named = {"--panel": panel, "--target": self.target, "--map": self.map, "--out": self.folder / out}
        files: list[str | Path] = [word for option in named.items() for word in option]
        return [vcfrag(), "impute", *files, *options]


def vcfrag() -> Path:
    """The program of this installation."""
    return Path(sys.executable).with_name("vcfrag")
