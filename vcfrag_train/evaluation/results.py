"""What an evaluation found, as plain frozen records, and its JSON and TSV forms."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.scoring import accuracy
from vcfrag_core.scoring.bootstrap import METRICS, Interval
from vcfrag_core.scoring.reliability import EstimatedR2, ReliabilityCurve

FORMAT: Final = 1
EVERYONE: Final = "all"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GroupCount:
    """How many sites a row of the tables stands on.

    Attributes:
        label: Its name.
        n_sites: EvaluationTruth sites of these bins.
        n_varying: Those at which the targets vary: the sites of per-site r² and IQS.
    """

    label: str
    n_sites: int
    n_varying: int

    def __add__(self, other: GroupCount) -> GroupCount:
        return GroupCount(
            label=self.label, n_sites=self.n_sites + other.n_sites, n_varying=self.n_varying + other.n_varying
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SiteCounts:
    """Which sites counted, and which did not.

    Attributes:
        n_panel: Sites of the panel.
        n_typed: Those that the targets were typed at.
        n_lacked: Typed positions among the panel's that the panel lacks.
        n_not_shared: EvaluationTruth sites left out because a file lacks them (only where that was allowed).
        n_hidden: EvaluationTruth sites in every file; all figures are about these.
        n_fixed: Those at which the reference does not vary; they are in no MAF bin.
        n_missing_calls: True calls at hidden sites that are missing.
    """

    n_panel: int
    n_typed: int
    n_lacked: int
    n_not_shared: int
    n_hidden: int
    n_fixed: int
    n_missing_calls: int

    def __add__(self, other: SiteCounts) -> SiteCounts:
        names = [field.name for field in dataclasses.fields(self)]
        return SiteCounts(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RegionError:
    """Aggregate r² in pieces of the region.

    Attributes:
        contigs: Contig of each piece.
        starts: Base pair at which each piece starts.
        stops: Base pair after its last.
        r2: Aggregate r² of the piece's sites with MAF > 1 % (of all, where there are none such); NaN for few sites.
    """

    contigs: tuple[str, ...]
    starts: tuple[int, ...]
    stops: tuple[int, ...]
    r2: tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """Wall seconds and processor seconds of a program, and peak bytes; preparation of the panel apart."""

    wall_seconds: float
    cpu_seconds: float
    preparation_seconds: float
    peak_bytes: int
    threads: int
    command: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodResult:
    """One method's figures.

    Attributes:
        name: Its label.
        source: The imputed file, or what it was computed from.
        digest: Of that file; empty where there is none.
        field: The FORMAT field of the dosages.
        has_posterior: Whether there were genotype probabilities (IQS and calibration need them).
        metrics: Per metric, one interval for each group of `accuracy.GROUPS`.
        populations: Per super-population, aggregate r² for each group.
        calibration: Of the genotype probabilities; None without them.
        estimated_r2: Against true per-site r²; None where the file has no estimate.
        region: Along the region.
        cost: Where the program was run from here.
        warnings: What speaks for samples or alleles that are exchanged.
    """

    name: str
    source: str
    digest: str
    field: str
    has_posterior: bool
    metrics: Mapping[str, tuple[Interval, ...]]
    populations: Mapping[str, tuple[Interval, ...]]
    calibration: ReliabilityCurve | None
    estimated_r2: EstimatedR2 | None
    region: RegionError
    cost: Cost | None = None
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """One method against another on the same resamples.

    Attributes:
        method: The first.
        against: The second.
        population: Super-population, or `all`.
        metric: Its name.
        difference: Per group, first minus second.
        error_change: Per group, (1 − first) / (1 − second) − 1: −0.1 is a tenth less error.
    """

    method: str
    against: str
    population: str
    metric: str
    difference: tuple[Interval, ...]
    error_change: tuple[Interval, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All of it.

    Attributes:
        contig: The contig, or the names of all.
        samples: S target samples.
        populations: Samples of each super-population.
        sites: Which sites counted.
        groups: The rows of the tables.
        methods: In the order given.
        differences: The first method against each other one.
        resamples: Bootstrap resamples behind the intervals.
        level: Of the intervals.
        provenance: Files with their digests, versions, command.
    """

    contig: str
    samples: tuple[str, ...]
    populations: Mapping[str, int]
    sites: SiteCounts
    groups: tuple[GroupCount, ...]
    methods: tuple[MethodResult, ...]
    differences: tuple[Difference, ...]
    resamples: int
    level: float
    provenance: Mapping[str, Any]

    def method(self, name: str) -> MethodResult:
        """The method of that label; KeyError where there is none."""
        return {method.name: method for method in self.methods}[name]


def group_number(label: str) -> int:
    """Number of a group of bins by its label."""
    return [group.label for group in accuracy.GROUPS].index(label)


def to_json(evaluation: Evaluation) -> str:
    """The whole evaluation as JSON; what is not a number is null."""
    return json.dumps(_plain({"format": FORMAT, **_fields(evaluation)}), indent=1, allow_nan=False) + "\n"


def _fields(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(_fields(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


# Fields of `Cost` that are numbers.
COSTS: Final = ("wall_seconds", "cpu_seconds", "preparation_seconds", "peak_bytes", "threads")
TSV_COLUMNS: Final = (
    "method",
    "against",
    "population",
    "group",
    "n_sites",
    "metric",
    "value",
    "low",
    "high",
    "error_change",
    "error_change_low",
    "error_change_high",
)


def tsv_rows(evaluation: Evaluation) -> Iterator[tuple[str, ...]]:
    """One row for every figure, cost and difference, in the order of TSV_COLUMNS.

    NaN is NA; what is no difference has nothing in the columns of one. Costs are of the whole process, as the last
    group is of all sites.
    """
    for method in evaluation.methods:
        for metric in METRICS:
            yield from _value_rows(evaluation, method.name, EVERYONE, metric, method.metrics[metric])
        for population, values in method.populations.items():
            yield from _value_rows(evaluation, method.name, population, "aggregate_r2", values)
        if method.cost is not None:
            everything = evaluation.groups[-1]
            head = (method.name, "", EVERYONE, everything.label, str(everything.n_sites))
            for name in COSTS:
                yield (*head, name, f"{getattr(method.cost, name):.12g}", "NA", "NA", "", "", "")
    for difference in evaluation.differences:
        for group, value, change in zip(evaluation.groups, difference.difference, difference.error_change, strict=True):
            head = (difference.method, difference.against, difference.population, group.label, str(group.n_sites))
            yield (*head, difference.metric, *_three(value), *_three(change))


def _value_rows(
    evaluation: Evaluation, method: str, population: str, metric: str, values: tuple[Interval, ...]
) -> Iterator[tuple[str, ...]]:
    for group, value in zip(evaluation.groups, values, strict=True):
        yield (method, "", population, group.label, str(group.n_sites), metric, *_three(value), "", "", "")


def _three(value: Interval) -> tuple[str, str, str]:
    return _number(value.value), _number(value.low), _number(value.high)


def _number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else "NA"


def write_json(evaluation: Evaluation, path: Path) -> None:
    """Writes `to_json`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(to_json(evaluation), encoding="utf-8")


def write_tsv(evaluation: Evaluation, path: Path) -> None:
    """Writes `tsv_rows` under a header, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(TSV_COLUMNS)
        writer.writerows(tsv_rows(evaluation))
