"""An evaluation as tables in the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.table import Table

from vcfrag_core.scoring.bootstrap import Interval
from vcfrag_train.evaluation.results import EVERYONE, Cost, Evaluation, MethodResult

_PIPED_WIDTH: Final = 160
SHOWN: Final = {
    "aggregate_r2": "aggregate dosage r²",
    "site_r2": "mean per-site dosage r²",
    "iqs": "IQS",
    "concordance": "concordance",
    "non_reference_concordance": "non-reference concordance",
    "f1": "F1 of ALT",
}


def console() -> Console:
    """Standard output; wide enough for every table where it is not a terminal."""
    found = Console()
    return found if found.is_terminal else Console(width=_PIPED_WIDTH)


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Prints aggregate r² by MAF bin, the paired error changes, the other metrics over all bins, and costs."""
    sites = evaluation.sites
    console.print(
        f"{len(evaluation.samples)} samples, {sites.n_hidden:,} hidden sites of contig {evaluation.contig} "
        f"({sites.n_typed:,} typed, {sites.n_not_shared:,} left out, {sites.n_fixed:,} fixed in the reference)"
    )
    if sites.n_lacked:
        console.print(
            f"the panel lacks {sites.n_lacked:,} of the {sites.n_lacked + sites.n_typed:,} positions that are typed"
        )
    for method in evaluation.methods:
        if "GT" in method.field.split("/"):
            console.print(f"{method.name} has neither DS, HDS nor GP: calls of GT are scored as dosages")
        for warning in method.warnings:
            console.print(f"{method.name}: {warning}", highlight=False, markup=False, soft_wrap=True)
    console.print(by_bin_table(evaluation, "aggregate_r2"))
    if len(evaluation.methods) > 1:
        console.print(change_table(evaluation))
    console.print(overview_table(evaluation))
    if any(method.cost is not None for method in evaluation.methods):
        console.print(cost_table(evaluation))


def by_bin_table(evaluation: Evaluation, metric: str) -> Table:
    """One metric: a row for each method, a column for each group of MAF bins that has sites."""
    table = Table(title=f"{SHOWN[metric]} by minor allele frequency in the reference", title_justify="left")
    table.add_column("method", no_wrap=True)
    shown = _filled_groups(evaluation)
    for g in shown:
        table.add_column(
            f"{evaluation.groups[g].label}\nn={evaluation.groups[g].n_sites:,}", justify="right", overflow="fold"
        )
    for method in evaluation.methods:
        table.add_row(method.name, *(number(method.metrics[metric][g].value) for g in shown))
    return table


def change_table(evaluation: Evaluation) -> Table:
    """Error (1 − aggregate r²) of the first method against each other one, in percent, with paired intervals."""
    first = evaluation.methods[0].name
    level = f"{100 * evaluation.level:g} %"
    table = Table(title=f"error of {first} against ... (1 − r², {level} paired intervals)", title_justify="left")
    table.add_column("against", no_wrap=True)
    shown = _filled_groups(evaluation)
    for g in shown:
        table.add_column(evaluation.groups[g].label, justify="right", overflow="fold")
    for difference in evaluation.differences:
        if difference.metric == "aggregate_r2" and difference.population == EVERYONE:
            table.add_row(difference.against, *(percent(difference.error_change[g]) for g in shown))
    return table


def overview_table(evaluation: Evaluation) -> Table:
    """Every metric over all bins, and the calibration."""
    table = Table(title="over all hidden sites", title_justify="left")
    table.add_column("method", no_wrap=True)
    for title in (*SHOWN.values(), "GP calibration error", "est. / true r²: correlation"):
        table.add_column(title, justify="right", overflow="fold")
    for method in evaluation.methods:
        table.add_row(method.name, *(number(method.metrics[name][-1].value) for name in SHOWN), *_calibration(method))
    return table


def cost_table(evaluation: Evaluation) -> Table:
    """Wall time, processor time and peak memory of the methods that were run from here."""
    table = Table(title="cost of the whole process", title_justify="left")
    for title in ("method", "wall time", "CPU time", "preparation", "peak memory", "threads"):
        table.add_column(title, justify="left" if title == "method" else "right")
    for method in evaluation.methods:
        if method.cost is not None:
            table.add_row(method.name, *cost_cells(method.cost))
    return table


def cost_cells(cost: Cost) -> tuple[str, str, str, str, str]:
    """Wall time, processor time, preparation, peak memory and threads, as text."""
    return (
        f"{cost.wall_seconds:.1f} s",
        f"{cost.cpu_seconds:.1f} s",
        f"{cost.preparation_seconds:.1f} s",
        f"{cost.peak_bytes / 2**20:,.0f} MiB",
        str(cost.threads),
    )


def number(value: float) -> str:
    """Four decimals; a dash for what is not a number."""
    return f"{value:.4f}" if math.isfinite(value) else "–"


def percent(change: Interval) -> str:
    """`−8.1 %` and on a second line `[−9.9, −6.2]`; a dash for what is not a number."""
    if not math.isfinite(change.value):
        return "–"
    text = f"{100 * change.value:+.1f} %"
    if math.isfinite(change.low):
        text += f"\n[{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
    return text.replace("-", "−")


def _calibration(method: MethodResult) -> Iterator[str]:
    yield number(method.calibration.expected_error) if method.calibration else "–"
    yield number(method.estimated_r2.correlation) if method.estimated_r2 else "–"


def _filled_groups(evaluation: Evaluation) -> list[int]:
    return [g for g, group in enumerate(evaluation.groups) if group.n_sites]
