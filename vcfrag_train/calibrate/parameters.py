"""The file of calibrated parameters: a [retrieval] table as in a training configuration, and where it comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.errors import ConfigError
from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.panel.panel import Panel
from vcfrag_core.settings import dump_toml, from_table, read_toml, to_table

PARAMETERS: Final = "retrieval"
RECORDS: Final = ("provenance", "scores")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParameterFile:
    """What such a file says.

    Attributes:
        parameters: Retrieval and copying.
        provenance: What they were fitted on; empty where somebody wrote the file by hand.
        scores: How they did before and after.
    """

    parameters: CopyingParameters
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    scores: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read_parameters(path: Path) -> ParameterFile:
    """The parameters of a file.

    Raises:
        ConfigError: The file cannot be read, has no [retrieval] table, or an unknown or wrong key.
    """
    tables = read_toml(path)
    unknown = sorted(set(tables) - {PARAMETERS, *RECORDS})
    if unknown:
        raise ConfigError(f"{path}: unknown table or key {unknown[0]!r}; known are {PARAMETERS}, {', '.join(RECORDS)}")
    if not isinstance(tables.get(PARAMETERS), dict):
        raise ConfigError(f"{path}: there is no table [{PARAMETERS}] with scales, k, flank_cm and switch_per_cm")
    try:
        parameters = from_table(CopyingParameters, tables[PARAMETERS], base=path.parent, where=PARAMETERS)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return ParameterFile(parameters=parameters, **{name: tables.get(name, {}) for name in RECORDS})


def foreign_to(provenance: Mapping[str, Any], panel: Panel, observed_per_cm: float) -> str | None:
    """What a run differs in from what its parameters were calibrated on; None where nothing is known to matter.

    Contigs of a genome have panels and masks of their own; those of the one that was calibrated on are compared.

    Args:
        provenance: Of the file of parameters.
        panel: The panel imputed from.
        observed_per_cm: Typed sites per centimorgan.
    """
    before = provenance.get("observed_per_cm")
    differs = []
    if isinstance(before, int | float) and not before / 2 <= observed_per_cm <= before * 2:
        differs.append(f"at {before:.3g} typed sites per cM, here there are {observed_per_cm:.3g}")
    if provenance.get("contig") == panel.contig and provenance.get("panel", panel.digest) != panel.digest:
        differs.append(f"on another panel of {panel.contig}, {provenance.get('panel_file', 'unnamed')}")
    return f"the parameters were calibrated {' and '.join(differs)}" if differs else None


def write_parameters(content: ParameterFile, path: Path) -> None:
    """Writes the file, whole or not at all."""
    tables = {
        PARAMETERS: to_table(content.parameters),
        "provenance": content.provenance,
        "scores": content.scores,
    }
    with atomic_path(path) as temporary:
        temporary.write_text(dump_toml({name: table for name, table in tables.items() if table}), encoding="utf-8")
