"""Switches along the contigs, as inline SVG."""

from __future__ import annotations

from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vcfrag_core.types import I64Array
from vcfrag_train.evaluation.phase import PhaseEvaluation
from vcfrag_train.evaluation.plots import STYLE, as_svg, look

_MOST_PARTS: Final = 60
_PAIRS_PER_PART: Final = 200


def switches_along(evaluation: PhaseEvaluation) -> str:
    """The switch error of each method in parts of each contig that hold equally many sites; a row for each contig."""
    contigs = evaluation.positions
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 1 + 2 * len(contigs)), layout="constrained")
        rows = figure.subplots(len(contigs), sharey=True, squeeze=False)[:, 0]
        for row, (axes, name) in enumerate(zip(rows, contigs, strict=True)):
            _one_contig(axes, evaluation, row, contigs[name])
            axes.set_xlabel(f"contig {name}, Mb")
            axes.set_ylabel("switch error, %")
        # All rows are on one scale, which is known when all are drawn.
        rows[0].set_ylim(bottom=0)
        rows[0].legend(loc="upper right", ncols=4)
        return as_svg(figure, "phase")


def _one_contig(axes: Axes, evaluation: PhaseEvaluation, row: int, positions: I64Array) -> None:
    n_pairs = int(evaluation.methods[0].contigs[row].pair_sites.sum())
    n_parts = max(1, min(_MOST_PARTS, n_pairs // _PAIRS_PER_PART, len(positions)))
    borders = np.linspace(0, len(positions), n_parts + 1).astype(int)[:-1]
    middle = [part.mean() / 1e6 for part in np.split(positions, borders[1:])]
    for number, method in enumerate(evaluation.methods):
        switches = np.add.reduceat(method.contigs[row].switch_sites, borders)
        pairs = np.add.reduceat(method.contigs[row].pair_sites, borders)
        rate = np.divide(100 * switches, pairs, out=np.full(n_parts, np.nan), where=pairs > 0)
        shown = look(number)
        axes.plot(middle, rate, color=shown.colour, marker=shown.marker, ls=shown.dash, label=method.name)
