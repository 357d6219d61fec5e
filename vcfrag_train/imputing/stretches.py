"""The stretches of a panel's contig along which nobody's ploidy changes, and a target's records on each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from vcfrag_core.panel.panel import Panel
from vcfrag_core.targets.calls import TargetCalls


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TargetStretch:
    """One stretch.

    Attributes:
        number: Its place on the contig, from 0.
        panel: The panel's sites of it.
        calls: The target's records there.
        label: The contig, with the stretch's first and last site where there are several.
    """

    number: int
    panel: Panel
    calls: TargetCalls
    label: str


def target_stretches(calls: TargetCalls, panels: Sequence[Panel]) -> list[TargetStretch]:
    """The records of a contig, stretch by stretch; those between two belong to the one before.

    Args:
        calls: The contig's.
        panels: Its stretches in the panel, in their order.
    """
    if len(panels) == 1:
        return [TargetStretch(number=0, panel=panels[0], calls=calls, label=panels[0].contig)]
    starts = np.array([panel.positions[0] for panel in panels[1:]])
    place = np.searchsorted(starts, calls.positions, side="right")
    return [
        TargetStretch(
            number=number,
            panel=panel,
            calls=calls.select(place == number),
            label=f"{panel.contig}:{panel.positions[0]}-{panel.positions[-1]}",
        )
        for number, panel in enumerate(panels)
    ]
