"""An evaluation as one HTML file that needs nothing else: tables, figures, and where the numbers come from."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jinja2

from vcfrag_core.errors import InputError
from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.scoring.bootstrap import Interval
from vcfrag_train.evaluation import plots, tables
from vcfrag_train.evaluation.results import EVERYONE, Evaluation

_TEMPLATE: Final = "report.html.j2"


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """A figure in a table: its text, its interval in small print, and whether it is the best of its column."""

    text: str
    interval: str = ""
    best: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Grid:
    """A table: title, what it shows, column heads, and rows of a label and its cells."""

    title: str
    note: str
    heads: Sequence[str]  # what follows a line break is in small print
    rows: Sequence[tuple[str, Sequence[Cell]]]


@dataclasses.dataclass(frozen=True, slots=True)
class Plot:
    """A figure with its caption; the caption also describes it to a screen reader."""

    title: str
    caption: str
    svg: str


def write_report(evaluation: Evaluation, path: Path, *, run: Path | None = None) -> None:
    """Writes the report, whole or not at all.

    Args:
        evaluation: What to show.
        path: The HTML file.
        run: Run folder with metrics.csv, whose training curves are shown too.

    Raises:
        InputError: The run folder has no metrics.csv that can be read.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(render(evaluation, training_rows(run)), encoding="utf-8")


def training_rows(run: Path | None) -> list[dict[str, str]]:
    """The rows of a run's metrics.csv; none without a run.

    Raises:
        InputError: There is no such file.
    """
    if run is None:
        return []
    path = run / "metrics.csv"
    if not path.is_file():
        raise InputError("no metrics.csv here: is this a run folder of `vcfrag fit`?", path=run)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def render(evaluation: Evaluation, training: Sequence[Mapping[str, str]] = ()) -> str:
    """The report as HTML text."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = resources.files("vcfrag_train.evaluation").joinpath("templates", _TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(template).render(
        evaluation=evaluation,
        headline=headline(evaluation),
        grids=_grids(evaluation),
        figures=_figures(evaluation, training),
        details=_details(evaluation),
    )


def headline(evaluation: Evaluation) -> str:
    """One sentence: the first method's r², and its error beside the best one that differs from it."""
    first = evaluation.methods[0]
    r2 = first.metrics["aggregate_r2"][-1]
    text = f"{first.name} imputes the hidden sites with an aggregate dosage r² of {tables.number(r2.value)}"
    others = [
        difference
        for difference in evaluation.differences
        if (difference.metric, difference.population) == ("aggregate_r2", EVERYONE)
        and math.isfinite(difference.error_change[-1].value)
        and any(value.value for value in difference.difference if math.isfinite(value.value))
    ]
    if not others:
        return f"{text}."
    best = max(others, key=lambda difference: evaluation.method(difference.against).metrics["aggregate_r2"][-1].value)
    change = best.error_change[-1]
    word = "less" if change.value < 0 else "more"
    sure = "" if change.low > 0 or change.high < 0 else ", which the samples do not settle"
    span = f" ({_percent_span(change)})" if math.isfinite(change.low) else ""
    return f"{text}: {abs(100 * change.value):.1f} % {word} error than {best.against}{span}{sure}."


def _percent_span(change: Interval) -> str:
    return f"paired interval {100 * change.low:+.1f} to {100 * change.high:+.1f} %".replace("-", "−")


def _grids(evaluation: Evaluation) -> list[Grid]:
    titles = dict(tables.SHOWN) | {"precision": "precision of ALT", "recall": "recall of ALT"}
    grids = [_change_grid(evaluation)] if evaluation.differences else []
    grids = [_metric_grid(evaluation, "aggregate_r2", titles["aggregate_r2"]), *grids]
    grids += [_metric_grid(evaluation, name, title) for name, title in titles.items() if name != "aggregate_r2"]
    if evaluation.populations:
        grids.append(_population_grid(evaluation))
    grids.append(_estimate_grid(evaluation))
    if any(method.cost for method in evaluation.methods):
        grids.append(_cost_grid(evaluation))
    return grids


def _shown_groups(evaluation: Evaluation) -> list[int]:
    return [g for g, group in enumerate(evaluation.groups) if group.n_sites]


_NOTES: Final = {
    "aggregate_r2": "Over all (site, sample) pairs of a bin; dosages and genotypes centred on the reference frequency.",
    "site_r2": "Sites at which the targets do not vary are left out; constant dosages count as 0.",
    "iqs": "Agreement of the genotype probabilities beyond chance (Lin et al. 2010), over the same sites.",
    "concordance": "Share of genotypes whose most likely value is the true one.",
    "non_reference_concordance": "The same, where the truth, the call or both carry ALT.",
    "f1": "Over allele copies, unordered.",
    "precision": "Share of the ALT copies called that are there.",
    "recall": "Share of the ALT copies there that are called.",
}


def _metric_grid(evaluation: Evaluation, name: str, title: str) -> Grid:
    shown = _shown_groups(evaluation)
    heads = [f"{evaluation.groups[g].label}\nn = {evaluation.groups[g].n_sites:,}" for g in shown]
    columns = [[method.metrics[name][g] for method in evaluation.methods] for g in shown]
    rows = list(zip(*(_best_cells(column) for column in columns), strict=True))
    return Grid(
        title[0].upper() + title[1:],
        _NOTES[name],
        heads,
        [(method.name, row) for method, row in zip(evaluation.methods, rows, strict=True)],
    )


def _best_cells(column: Sequence[Interval]) -> list[Cell]:
    finite = [round(value.value, 4) for value in column if math.isfinite(value.value)]
    best = max(finite, default=math.nan) if len(column) > 1 else math.nan
    return [
        Cell(tables.number(value.value), _span(value), math.isfinite(value.value) and round(value.value, 4) == best)
        for value in column
    ]


def _span(value: Interval) -> str:
    return f"{value.low:.3f} – {value.high:.3f}" if math.isfinite(value.low) else ""


def _change_grid(evaluation: Evaluation) -> Grid:
    shown = _shown_groups(evaluation)
    rows = []
    for difference in evaluation.differences:
        if (difference.metric, difference.population) == ("aggregate_r2", EVERYONE):
            texts = [tables.percent(difference.error_change[g]).partition("\n") for g in shown]
            rows.append((f"against {difference.against}", [Cell(value, span) for value, _, span in texts]))
    return Grid(
        f"Error of {evaluation.methods[0].name}, compared",
        f"Change of 1 − r² with {100 * evaluation.level:g} % paired bootstrap intervals over samples "
        f"({evaluation.resamples} resamples); below 0 is less error.",
        [evaluation.groups[g].label for g in shown],
        rows,
    )


def _population_grid(evaluation: Evaluation) -> Grid:
    heads = [f"{name}\n{count} samples" for name, count in evaluation.populations.items()]
    columns = [[method.populations[name][-1] for method in evaluation.methods] for name in evaluation.populations]
    rows = list(zip(*(_best_cells(column) for column in columns), strict=True))
    return Grid(
        "Aggregate dosage r² by super-population",
        "Over all bins, centred on the frequency of the whole reference.",
        heads,
        [(method.name, row) for method, row in zip(evaluation.methods, rows, strict=True)],
    )


def _estimate_grid(evaluation: Evaluation) -> Grid:
    shown = _shown_groups(evaluation)
    rows = []
    for method in evaluation.methods:
        if method.estimated_r2 is not None:
            pairs = zip(method.estimated_r2.mean_estimated, method.estimated_r2.mean_true, strict=True)
            cells = [Cell(tables.number(a), f"true {tables.number(b)}") for a, b in pairs]
            correlation = Cell(tables.number(method.estimated_r2.correlation))
            rows.append((method.name, [correlation, *(cells[g] for g in shown)]))
    return Grid(
        "Estimated r² against true r² per site",
        "Correlation over sites with MAF ≥ 1 %; then mean estimated and, below, mean true r², where the targets vary.",
        ["correlation", *(evaluation.groups[g].label for g in shown)],
        rows,
    )


def _cost_grid(evaluation: Evaluation) -> Grid:
    rows = [
        (method.name, [Cell(text) for text in tables.cost_cells(method.cost)])
        for method in evaluation.methods
        if method.cost is not None
    ]
    return Grid(
        "Cost of the whole process",
        "Peak memory is the largest resident set of one process; preparation converts the input for the program.",
        ["wall time", "CPU time", "preparation", "peak memory", "threads"],
        rows,
    )


def _figures(evaluation: Evaluation, training: Sequence[Mapping[str, str]]) -> list[Plot]:
    level = f"{100 * evaluation.level:g} % bootstrap intervals over samples"
    found = [
        Plot("Accuracy by allele frequency", f"Bars are {level}.", plots.r2_by_maf(evaluation)),
        Plot("Compared", f"Bars are paired {level}.", plots.error_changes(evaluation)),
        Plot("Calibration", "On the diagonal, what is stated comes true.", plots.calibration(evaluation)),
        Plot("Along the region", "Sites with MAF > 1 % in pieces of equal length.", plots.along_region(evaluation)),
        Plot("By super-population", f"Bars are {level}.", plots.by_population(evaluation)),
        Plot("Training", "Scores of every epoch of the run.", plots.training_curves(training)),
    ]
    return [plot for plot in found if plot.svg]


def _details(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Where the numbers come from, as rows of a name and a value."""
    given: Mapping[str, Any] = evaluation.provenance
    rows = [(name, f"{item['path']}  (BLAKE2b {item['blake2b']})") for name, item in given["files"].items()]
    for method in evaluation.methods:
        digest = f"  (BLAKE2b {method.digest})" if method.digest else ""
        rows.append((method.name, f"{method.source}{digest}, dosages from {method.field}"))
        if method.cost is not None:
            rows.append((f"{method.name}: command", method.cost.command))
    rows.append(("command", given["command"]))
    rows.append(("versions", ", ".join(f"{name} {version}" for name, version in given["versions"].items())))
    rows.append(("settings", ", ".join(f"{name} {value}" for name, value in given["settings"].items())))
    return [*rows, ("written", given["written"])]
