"""Switches along the contig, as inline SVG."""

from __future__ import annotations

from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from vcfrag_train.evaluation.phase import PhaseEvaluation
from vcfrag_train.evaluation.plots import STYLE, as_svg, look

_MOST_PARTS: Final = 60
_PAIRS_PER_PART: Final = 200


def switches_along(evaluation: PhaseEvaluation) -> str:
    """The switch error of each file in parts of the contig that hold equally many sites."""
    n_pairs = int(evaluation.methods[0].errors.pair_sites.sum())
    n_parts = max(1, min(_MOST_PARTS, n_pairs // _PAIRS_PER_PART, len(evaluation.positions)))
    borders = np.linspace(0, len(evaluation.positions), n_parts + 1).astype(int)[:-1]
    middle = [part.mean() / 1e6 for part in np.split(evaluation.positions, borders[1:])]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 3), layout="constrained")
        axes = figure.add_subplot()
        for number, method in enumerate(evaluation.methods):
            switches = np.add.reduceat(method.errors.switch_sites, borders)
            pairs = np.add.reduceat(method.errors.pair_sites, borders)
            rate = np.divide(100 * switches, pairs, out=np.full(n_parts, np.nan), where=pairs > 0)
            shown = look(number)
            axes.plot(middle, rate, color=shown.colour, marker=shown.marker, ls=shown.dash, label=method.name)
        axes.set_xlabel(f"contig {evaluation.contig}, Mb")
        axes.set_ylabel("switch error, %")
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper right", ncols=4)
        return as_svg(figure, "phase")
