"""The report's figures as inline SVG: for a screen, a printer, and readers who do not see colours alike.

Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), with Tol's wine for their yellow; every method
also has its own marker and dash. Baselines, which come from no file, are grey.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from vcfrag_core.scoring import accuracy
from vcfrag_core.scoring.bootstrap import Interval
from vcfrag_core.scoring.reliability import ReliabilityCurve
from vcfrag_train.evaluation.results import EVERYONE, Evaluation, RegionError

_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#882255")
_GREYS: Final = ("#6E6E6E", "#9A9A9A")
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h", "p")
_DASHES: Final = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
_SPREAD: Final = 0.6
_FAR_WORSE: Final = -0.5
_LEGEND_COLUMNS: Final = 5
STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """How one method is drawn everywhere."""

    colour: str
    marker: str
    dash: str | tuple[int, tuple[float, ...]]


def look(number: int) -> Look:
    """The look of method `number`; colour, marker and dash repeat after 8, 12 and 4, together after 24."""
    return Look(_COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)], _DASHES[number % len(_DASHES)])


def looks(evaluation: Evaluation) -> list[Look]:
    """The look of every method."""
    found = [look(number) for number in range(len(evaluation.methods))]
    return [
        one if method.digest else dataclasses.replace(one, colour=_GREYS[number % len(_GREYS)])
        for number, (one, method) in enumerate(zip(found, evaluation.methods, strict=True))
    ]


def r2_by_maf(evaluation: Evaluation) -> str:
    """Aggregate r² by MAF bin, and the error 1 − r² on a logarithmic axis, with intervals."""
    bins = [g for g in range(accuracy.N_BINS) if evaluation.groups[g].n_sites]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        crowd = len(evaluation.methods)
        for place, (method, style) in enumerate(zip(evaluation.methods, looks(evaluation), strict=True)):
            values = [method.metrics["aggregate_r2"][g] for g in bins]
            _dots(left, values, style, (place, crowd), method.name, joined=True)
            _dots(right, [_error(value) for value in values], style, (place, crowd), method.name, joined=True)
        left.set(title="Aggregate dosage r²", ylim=(-0.02, 1.02))
        right.set(title="Error, 1 − r² (log scale)")
        _log_axis(right)
        for axes in (left, right):
            bin_axis(axes, [evaluation.groups[g].label for g in bins])
            axes.set_xlabel("minor allele frequency in the reference")
        _legend(figure, left, len(evaluation.methods))
        return as_svg(figure, "r2")


def error_changes(evaluation: Evaluation) -> str:
    """Error of the first method against others of its rank, by MAF bin, with paired intervals; empty without any."""
    shown = [d for d in evaluation.differences if (d.metric, d.population) == ("aggregate_r2", EVERYONE)]
    styles = dict(zip((method.name for method in evaluation.methods), looks(evaluation), strict=True))
    # A baseline with several times the error would leave the others no room on the axis; the table has it.
    shown = [d for d in shown if d.error_change[-1].value > _FAR_WORSE]
    if not shown:
        return ""
    groups = [g for g in range(accuracy.N_BINS) if evaluation.groups[g].n_sites] + [len(evaluation.groups) - 1]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.8), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color="#000000", linewidth=1)
        for place, difference in enumerate(shown):
            values = [difference.error_change[g] for g in groups]
            _dots(axes, values, styles[difference.against], (place, len(shown)), f"against {difference.against}")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_title(f"Change of error, {evaluation.methods[0].name} against the others (below 0: less error)")
        bin_axis(axes, [evaluation.groups[g].label for g in groups])
        axes.set_xlabel("minor allele frequency in the reference")
        _legend(figure, axes, len(shown))
        return as_svg(figure, "change")


def calibration(evaluation: Evaluation) -> str:
    """Stated against observed: genotype probabilities on the left, per-site r² on the right."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for axes in (left, right):
            axes.plot([0, 1], [0, 1], color="#555555", linewidth=0.8)
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        for method, style in zip(evaluation.methods, looks(evaluation), strict=True):
            if method.calibration is not None:
                _curve(left, method.calibration, style, method.name)
            if method.estimated_r2 is not None:
                _curve(right, method.estimated_r2.curve, style, method.name)
        left.set(title="Genotype probabilities", xlabel="stated probability", ylabel="share that was true")
        right.set(title="Estimated r²", xlabel="mean estimated r²", ylabel="mean true r² per site")
        _legend(figure, left, len(evaluation.methods))
        return as_svg(figure, "calibration")


def along_region(evaluation: Evaluation) -> str:
    """Error in pieces of the region, for the methods that are better than half of the best one's r²."""
    chosen = _worth_drawing(evaluation)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        axes = figure.subplots()
        for number in chosen:
            region = evaluation.methods[number].region
            style = looks(evaluation)[number]
            axes.plot(
                laid_out(region).middles,
                [max(1 - r2, 1e-4) if math.isfinite(r2) else math.nan for r2 in region.r2],
                color=style.colour,
                marker=style.marker,
                linestyle=style.dash,
                markersize=3.5,
                linewidth=1,
                label=evaluation.methods[number].name,
            )
        axes.set(xlabel=f"position on {evaluation.contig} (Mb)", title="Error along the region, 1 − r² (log scale)")
        names = laid_out(evaluation.methods[0].region).contigs
        if len(names) > 1:
            axes.set(xlabel="contig", title="Error along the genome, 1 − r² (log scale)")
            axes.set_xticks([*names.values()], [*names])
        _log_axis(axes)
        _legend(figure, axes, len(chosen))
        return as_svg(figure, "region")


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Pieces of contigs that lie end to end: the middle of each piece, and that of each contig by its name, in Mb."""

    middles: list[float]
    contigs: dict[str, float]


def laid_out(region: RegionError) -> Layout:
    """The pieces along one axis: base pairs of the contig itself, or of all contigs one after the other."""
    names = list(dict.fromkeys(region.contigs))
    own = {name: [i for i, contig in enumerate(region.contigs) if contig == name] for name in names}
    first = {name: min(region.starts[i] for i in own[name]) for name in names}
    length = {name: max(region.stops[i] for i in own[name]) - first[name] for name in names}
    shift, before = {}, 0
    for name in names:
        shift[name] = before - first[name] if len(names) > 1 else 0
        before += length[name]
    return Layout(
        middles=[
            (start + stop) / 2e6 + shift[contig] / 1e6
            for contig, start, stop in zip(region.contigs, region.starts, region.stops, strict=True)
        ],
        contigs={name: (first[name] + shift[name] + length[name] / 2) / 1e6 for name in names},
    )


def by_population(evaluation: Evaluation) -> str:
    """Error by super-population over all bins, with intervals; empty where no populations are known."""
    if not evaluation.populations:
        return ""
    chosen = _worth_drawing(evaluation)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        axes = figure.subplots()
        for place, number in enumerate(chosen):
            method = evaluation.methods[number]
            values = [_error(method.populations[name][-1]) for name in evaluation.populations]
            _dots(axes, values, looks(evaluation)[number], (place, len(chosen)), method.name)
        bin_axis(axes, [f"{name}\n{count} samples" for name, count in evaluation.populations.items()])
        axes.set_title("Error by super-population, 1 − r² over all bins (log scale)")
        _log_axis(axes)
        _legend(figure, axes, len(chosen))
        return as_svg(figure, "population")


def training_curves(rows: Sequence[Mapping[str, str]]) -> str:
    """Losses and r² of a run's epochs, from the rows of its accuracy.csv; empty where there is none."""
    if not rows:
        return ""
    losses = [name for name in rows[0] if name.endswith("_loss")]
    scores = [name for name in rows[0] if name.endswith("_r2")]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.0), layout="constrained")
        for axes, names, title in zip(figure.subplots(1, 2), (losses, scores), ("Loss", "r²"), strict=True):
            for number, name in enumerate(names):
                _training_line(axes, rows, name, number)
            axes.set(title=title, xlabel="epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if names:
                axes.legend(fontsize=8)
        return as_svg(figure, "training")


def _training_line(axes: Axes, rows: Sequence[Mapping[str, str]], name: str, number: int) -> None:
    points = [(float(row["epoch"]), float(row[name])) for row in rows if row.get(name) and row.get("epoch")]
    style = look(number)
    axes.plot(
        [x for x, _ in points],
        [y for _, y in points],
        color=style.colour,
        marker=style.marker,
        linestyle=style.dash,
        markersize=4,
        label=name.replace("_", " "),
    )


def _worth_drawing(evaluation: Evaluation) -> list[int]:
    best = max(method.metrics["aggregate_r2"][-1].value for method in evaluation.methods)
    return [n for n, method in enumerate(evaluation.methods) if method.metrics["aggregate_r2"][-1].value > best / 2]


def _error(value: Interval) -> Interval:
    return Interval(1 - value.value, 1 - value.high, 1 - value.low)


def _dots(
    axes: Axes,
    values: Sequence[Interval],
    style: Look,
    place: tuple[int, int],
    label: str,
    *,
    joined: bool = False,
) -> None:
    """One method's estimates with intervals at whole numbers of the x axis, beside the others'; `place`: (i, of n)."""
    shift = _SPREAD * ((place[0] + 0.5) / place[1] - 0.5)
    xs = [x + shift for x in range(len(values))]
    down = [max(0.0, v.value - v.low) if math.isfinite(v.low) else 0.0 for v in values]
    up = [max(0.0, v.high - v.value) if math.isfinite(v.high) else 0.0 for v in values]
    axes.errorbar(
        xs,
        [v.value for v in values],
        yerr=[down, up],
        color=style.colour,
        marker=style.marker,
        linestyle=style.dash if joined else "none",
        linewidth=0.8 if joined else 1.4,
        elinewidth=1.0,
        label=label,
    )


def _curve(axes: Axes, curve: ReliabilityCurve, style: Look, label: str) -> None:
    filled = curve.count > 0
    axes.plot(
        curve.stated[filled],
        curve.observed[filled],
        color=style.colour,
        marker=style.marker,
        linestyle=style.dash,
        linewidth=1,
        label=label,
    )


def _log_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    low, high = axes.get_ylim()
    if high / low < 100:
        axes.yaxis.set_minor_formatter(FuncFormatter(_few_labels))
    else:
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, which="minor", color="#efefef", linewidth=0.5)


def _few_labels(value: float, _: int | None) -> str:
    leading = value / 10 ** math.floor(math.log10(value) + 1e-9)
    return f"{value:g}" if round(leading) in {2, 5} else ""


def bin_axis(axes: Axes, labels: Sequence[str]) -> None:
    """One place for each bin, with lines between them."""
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.grid(visible=False, axis="x")
    for border in range(1, len(labels)):
        axes.axvline(border - 0.5, color="#e3e3e3", linewidth=0.6, zorder=0)


def _legend(figure: Figure, axes: Axes, count: int) -> None:
    rows = math.ceil(count / _LEGEND_COLUMNS)
    columns = math.ceil(count / rows)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9)


def as_svg(figure: Figure, name: str) -> str:
    """The figure as an `svg` element; the salt keeps the ids of one page's figures apart and the bytes the same."""
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
