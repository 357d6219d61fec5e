"""An evaluation of phase in a terminal, as HTML, JSON and a table."""

from __future__ import annotations

import html
import json
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from vcfrag_core.files.vcf.reader import name_contigs
from vcfrag_core.scoring.bootstrap import Interval
from vcfrag_core.scoring.phase import PAIRS, SWITCHES
from vcfrag_train.evaluation.phase import PhaseEvaluation
from vcfrag_train.evaluation.tables import percent

_SHOWN = {
    "switch_error": "switch error",
    "flips": "flips",
    "switches_without_flips": "switches, no flips",
    "blockwise_error": "blockwise error",
}

_MEANING = (
    "A switch: a heterozygote lies to the one before otherwise than in the truth. A flip: two switches around one"
    " heterozygote, which is turned alone. Blockwise error: heterozygotes on the wrong haplotype of the whole contig,"
    " as its two haplotypes fit best. Intervals are of the bootstrap over samples."
)


def print_phase(evaluation: PhaseEvaluation, console: Console) -> None:
    """Prints a row for each file."""
    n_pairs = int(evaluation.methods[0].counts[:, PAIRS].sum())
    console.print(
        f"{len(evaluation.samples)} samples, {n_sites(evaluation):,} sites of {named_contigs(evaluation)},"
        f" {n_pairs:,} pairs of neighbouring heterozygotes"
    )
    if evaluation.left_out:
        console.print(f"left out, as a file has none of their sites: contigs {name_contigs(evaluation.left_out)}")
    table = Table(title=f"errors of phase ({100 * evaluation.level:g} % intervals)", title_justify="left")
    table.add_column("file", no_wrap=True)
    first = evaluation.methods[0].name
    for title in (*_SHOWN.values(), "switches", f"switch error of {first} against it"):
        table.add_column(title, justify="right", overflow="fold")
    for method in evaluation.methods:
        cells = [_rate(method.rates[name]) for name in _SHOWN]
        against = "" if method is evaluation.methods[0] else percent(method.change["switch_error"])
        table.add_row(method.name, *cells, f"{int(method.counts[:, SWITCHES].sum()):,}", against)
    console.print(table)


def n_sites(evaluation: PhaseEvaluation) -> int:
    """Sites that were compared, over all contigs."""
    return sum(map(len, evaluation.positions.values()))


def named_contigs(evaluation: PhaseEvaluation) -> str:
    """The contigs, for a line or a title."""
    return f"contig{'s' * (len(evaluation.positions) > 1)} {name_contigs(list(evaluation.positions))}"


def _rate(rate: Interval) -> str:
    if not np.isfinite(rate.value):
        return "–"
    if not np.isfinite(rate.low):
        return f"{rate.value:.4%}"
    return f"{rate.value:.3%}\n[{max(0.0, rate.low):.3%}, {rate.high:.3%}]"


def as_html(evaluation: PhaseEvaluation) -> str:
    """The figures as a table, and where along the contigs the switches lie."""
    from vcfrag_train.evaluation.phase_plot import switches_along

    rows = "".join(
        f"<tr><td>{html.escape(method.name)}</td>"
        + "".join(f"<td>{_rate(method.rates[name])}</td>" for name in _SHOWN)
        + "</tr>"
        for method in evaluation.methods
    )
    titles = "".join(f"<th>{title}</th>" for title in ("file", *_SHOWN.values()))
    title = f"Phase of {len(evaluation.samples)} samples on {html.escape(named_contigs(evaluation))}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font-family:sans-serif;max-width:60rem;margin:2rem auto}td,th{padding:.3rem .8rem;"
        "text-align:right;white-space:pre-line}td:first-child,th:first-child{text-align:left}</style>"
        f"<h1>{title}</h1><p>{_MEANING}</p><table><tr>{titles}</tr>{rows}</table>{switches_along(evaluation)}</html>\n"
    )


def as_json(evaluation: PhaseEvaluation) -> str:
    """All figures, the counts of each sample among them."""
    made: dict[str, Any] = {
        "contigs": list(evaluation.positions),
        "left_out": list(evaluation.left_out),
        "samples": list(evaluation.samples),
        "n_sites": n_sites(evaluation),
        "level": evaluation.level,
        "methods": [
            {
                "name": method.name,
                "rates": {name: _plain(rate) for name, rate in method.rates.items()},
                "change_of_the_first": {name: _plain(change) for name, change in method.change.items()},
                "switches": method.counts[:, SWITCHES].tolist(),
                "pairs": method.counts[:, PAIRS].tolist(),
            }
            for method in evaluation.methods
        ],
    }
    return json.dumps(made, indent=1) + "\n"


def as_tsv(evaluation: PhaseEvaluation) -> str:
    """A line for each file and rate."""
    lines = ["file\trate\tvalue\tlow\thigh"]
    for method in evaluation.methods:
        for name, rate in method.rates.items():
            lines.append("\t".join([method.name, name, *(_number(x) for x in (rate.value, rate.low, rate.high))]))
    return "\n".join(lines) + "\n"


def _plain(rate: Interval) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in (rate.value, rate.low, rate.high)]


def _number(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else ""
