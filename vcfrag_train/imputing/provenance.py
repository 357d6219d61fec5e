"""What the header of an output says that it was made from."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence

from vcfrag_core.hashing import text_digest
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.output.header import Header, ordered_lines
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.phasing.phased import phase_digest
from vcfrag_core.retrieval.identity import mask_digest
from vcfrag_train.imputing.checks import CheckedTarget
from vcfrag_train.imputing.config import ImputeConfig


class Provenance:
    """Is filled contig by contig, as these are checked and decided.

    Args:
        config: The run.
    """

    def __init__(self, config: ImputeConfig) -> None:
        self._config = config
        self._lengths: dict[str, int | None] = {}
        self._models: dict[str, None] = {}
        self._lines: list[tuple[str, str]] = []

    def add(self, key: str, contig: str, fields: str) -> None:
        """A line of a contig: `##vcfrag_KEY=<ID=CONTIG,FIELDS>`."""
        self._lines.append((key, f"<ID={contig},{fields}>"))

    def add_phasing(self, checked: CheckedTarget, *, draws: bool = False) -> None:
        """How many samples were phased, in how many draws where several are imputed, and how many of them served."""
        fields = f"unphased_samples={int(checked.unphased.sum())}"
        fields += f",draws={checked.n_draws}" if draws else ""
        served = checked.target_reference
        fields += "" if served is None else f",targets_as_reference={len(served.samples)}"
        self.add("phasing", checked.label, fields)

    def identity(self, checked: CheckedTarget, imputer: Imputer, genetic_map: GeneticMap) -> dict[str, str]:
        """What the records of a stretch follow from; a run is resumed where it is the same."""
        model = imputer.method(checked.observed)
        panel, mask = checked.panel.digest, mask_digest(checked.observed)
        self._lengths[checked.panel.contig] = checked.panel.contig_length or checked.records.contig_length
        self.add("input", checked.label, f"panel={panel},mask={mask},map={genetic_map.digest}")
        self._models[model] = None
        names = "\n".join([*checked.records.samples, *(str(name) for name in checked.names)])
        return {
            "version": importlib.metadata.version("vcfrag"),
            "panel": panel,
            "mask": mask,
            "map": genetic_map.digest,
            "model": model,
            "target": text_digest("target", names, checked.records.source, checked.alleles.tobytes()),
            "phase": "known" if checked.drawn is None else phase_digest(checked.alleles, checked.drawn),
            "left out": text_digest("written", checked.written.tobytes()),
            "passed through": str(self._config.pass_through),
            "written": f"{self._config.sites} {self._config.min_r2}",
        }

    def lines(self, contig: str) -> tuple[tuple[str, str], ...]:
        """The lines of a contig, in the order of a header."""
        start = f"<ID={contig},"
        return tuple(ordered_lines((key, line) for key, line in self._lines if line.startswith(start)))

    def header(self, samples: Sequence[str]) -> Header:
        """Of an output of these samples."""
        lines = [("version", importlib.metadata.version("vcfrag")), ("command", self._config.command)]
        lines += [("model", model) for model in self._models]
        lines += ordered_lines(self._lines)
        return Header(samples=samples, contigs=self._lengths, formats=self._config.formats, provenance=lines)
