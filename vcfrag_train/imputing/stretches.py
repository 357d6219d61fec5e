"""The stretches of a panel's contig along which nobody's ploidy changes, and a target's records on each."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from vcfrag_core.files.panel.contigs import FileStretch
from vcfrag_core.panel.panel import Panel
from vcfrag_core.targets.calls import TargetCalls
from vcfrag_train.imputing.regions import PanelSource


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TargetStretch:
    """One stretch.

    Attributes:
        number: Its place on the contig, from 0.
        panel: The panel's sites of it.
        source: What is read for it alone.
        calls: The target's records there.
        label: The contig, with the stretch's first and last site where there are several.
    """

    number: int
    panel: Panel
    source: PanelSource
    calls: TargetCalls
    label: str


def target_stretches(calls: TargetCalls, parts: Sequence[tuple[PanelSource, Panel]]) -> list[TargetStretch]:
    """The records of a contig, stretch by stretch; those between two belong to the one before.

    Args:
        calls: The contig's.
        parts: Its stretches in the panel's files, with where each is read.

    Raises:
        ConfigError: Two files have sites of one stretch.
    """
    parts = sorted(parts, key=lambda part: int(part[1].positions[0]))
    if len(parts) == 1:
        source, panel = parts[0]
        return [TargetStretch(number=0, panel=panel, source=source, calls=calls, label=panel.contig)]
    for (one, panel), (other, next_panel) in itertools.pairwise(parts):
        FileStretch.of(one.file, panel).refuse_overlap(FileStretch.of(other.file, next_panel))
    starts = np.array([panel.positions[0] for _, panel in parts[1:]])
    place = np.searchsorted(starts, calls.positions, side="right")
    found = []
    for number, (source, panel) in enumerate(parts):
        label = f"{panel.contig}:{panel.positions[0]}-{panel.positions[-1]}"
        alone = sum(other is source for other, _ in parts) == 1
        found.append(
            TargetStretch(
                number=number,
                panel=panel,
                source=source if alone else dataclasses.replace(source, region=label),
                calls=calls.select(place == number),
                label=label,
            )
        )
    return found
