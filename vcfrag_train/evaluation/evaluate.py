"""Scores imputed genotypes against the truth, at the sites that were hidden and nowhere else.

Every method is measured under the same resamples of the samples, so that differences are paired. The reference
frequencies, which bin the sites and centre the dosages, are those of the panel without the targets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from vcfrag_core.errors import ConfigError
from vcfrag_core.files.dosages import ImputedGenotypes, read_imputed
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.scoring import accuracy
from vcfrag_core.scoring import bootstrap as metric_resampling
from vcfrag_core.scoring import reliability as calibration
from vcfrag_core.scoring.bootstrap import METRICS, Interval, Scored
from vcfrag_core.types import BoolArray, F64Array, I32Array
from vcfrag_train.evaluation.results import (
    EVERYONE,
    Cost,
    Difference,
    Evaluation,
    GroupCount,
    MethodResult,
    RegionError,
    SiteCounts,
)
from vcfrag_train.evaluation.run_metadata import file_blake2b, run_metadata
from vcfrag_train.evaluation.truth import (
    EvaluationConfig,
    EvaluationFiles,
    EvaluationTruth,
    by_ploidy,
    load_evaluation_truth,
    refuse_absent,
    super_populations,
)

__all__ = [
    "EvaluationConfig",
    "EvaluationFiles",
    "Method",
    "check_labels",
    "evaluate",
    "evaluate_methods",
    "file_method",
    "region_error",
]

_REGION_PIECES: Final = 40
_SITES_PER_PIECE: Final = 25
_FEWEST_SITES: Final = 5
_COMMON: Final = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """Something to score: a label, and how to get its genotypes at the hidden sites.

    Attributes:
        name: Its label.
        load: Reads or computes the genotypes.
        source: The file, or what it is.
        digest: Of the file.
        cost: Where it was run from here.
    """

    name: str
    load: Callable[[EvaluationTruth], ImputedGenotypes]
    source: str = ""
    digest: str = ""
    cost: Cost | None = None


Progress = Callable[[str], None]


def evaluate(
    files: EvaluationFiles, config: EvaluationConfig | None = None, progress: Progress | None = None
) -> Evaluation:
    """Scores the imputed files.

    Raises:
        ConfigError: No imputed file, or two of one label.
        UnknownSampleError: A target is not in the truth, or not in another imputed file.
        InputError: A file lacks hidden sites and common_sites is off; names the first and the count.
        EmptyInputError: No site is left to score.
        TargetError: The panel holds no sample but the targets.
        Any error of the readers.
    """
    config = config or EvaluationConfig()
    check_labels([name for name, _ in files.imputed])
    hidden = load_evaluation_truth(
        files, config, panel=load_panel(files.panel, region=files.region, threads=config.threads)
    )
    methods = [file_method(name, path, config) for name, path in files.imputed]
    return evaluate_methods(hidden, methods, files, config, progress)


def check_labels(names: Sequence[str]) -> None:
    """Refuses no label, an empty one, or one that stands there twice.

    Raises:
        ConfigError: As said.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice or not all(names):
        raise ConfigError(
            f"two imputed files are called {twice[0]!r}; label them NAME=FILE"
            if twice
            else "no imputed file, or no label"
        )


def file_method(name: str, path: Path, config: EvaluationConfig, cost: Cost | None = None) -> Method:
    """A method whose genotypes stand in a file."""

    def load(hidden: EvaluationTruth) -> ImputedGenotypes:
        return read_imputed(path, hidden.contig, hidden.rows, hidden.samples, threads=config.threads, lone=hidden.lone)

    return Method(name=name, load=load, source=str(path), digest=file_blake2b(path), cost=cost)


def evaluate_methods(
    hidden: EvaluationTruth,
    methods: Sequence[Method],
    files: EvaluationFiles,
    config: EvaluationConfig,
    progress: Progress | None = None,
) -> Evaluation:
    """Scores methods at the hidden sites, one after another, so that one method's arrays are in memory at a time."""
    weights = metric_resampling.bootstrap_weights(len(hidden.samples), config.resamples, config.seed)
    populations = super_populations(files.samples_table, hidden.samples) | by_ploidy(hidden.lone)
    results: list[MethodResult] = []
    replicates: list[_Replicates] = []
    for method in methods:
        if progress is not None:
            progress(f"scoring {method.name}")
        result, replicate = _measure(hidden, method, weights, populations, config)
        results.append(result)
        replicates.append(replicate)
    return Evaluation(
        contig=hidden.contig,
        samples=hidden.samples,
        populations={name: int(member.sum()) for name, member in populations.items()},
        sites=_site_counts(hidden),
        groups=_group_counts(hidden),
        methods=tuple(results),
        differences=_differences(replicates, config),
        resamples=config.resamples,
        level=config.level,
        provenance=run_metadata(
            {"truth": files.truth, "panel": files.panel, "typed": files.typed}, resampling_seed=config.seed
        ),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Replicates:
    """(R, M, G) figures of everyone, and (R, G) aggregate r² of each population."""

    name: str
    everyone: F64Array
    populations: Mapping[str, F64Array]


def _measure(
    hidden: EvaluationTruth,
    method: Method,
    weights: F64Array,
    populations: Mapping[str, BoolArray],
    config: EvaluationConfig,
) -> tuple[MethodResult, _Replicates]:
    imputed = method.load(hidden)
    refuse_absent(imputed.found, hidden.rows, hidden.contig, method.source)
    scored = Scored(
        dosage=imputed.dosage,
        calls=accuracy.best_guess(imputed.dosage, imputed.posterior),
        posterior=imputed.posterior,
        truth=hidden.truth,
        frequency=hidden.frequency,
    )
    everyone = metric_resampling.measure(scored, weights)
    by_population = metric_resampling.population_r2(scored, weights, populations)
    result = MethodResult(
        name=method.name,
        source=method.source,
        digest=method.digest,
        field=imputed.field,
        has_posterior=imputed.posterior is not None,
        metrics={name: _intervals(everyone[:, m], config) for m, name in enumerate(METRICS)},
        populations={name: _intervals(values, config) for name, values in by_population.items()},
        calibration=_posterior_calibration(imputed, hidden),
        estimated_r2=_estimated_r2(imputed, hidden),
        region=region_error(scored, hidden.positions),
        cost=method.cost,
    )
    return result, _Replicates(method.name, everyone, by_population)


def _intervals(replicates: F64Array, config: EvaluationConfig) -> tuple[Interval, ...]:
    return tuple(metric_resampling.interval(column, config.level) for column in replicates.T)


def _posterior_calibration(imputed: ImputedGenotypes, hidden: EvaluationTruth) -> calibration.ReliabilityCurve | None:
    if imputed.posterior is None:
        return None
    return calibration.posterior_reliability(imputed.posterior, hidden.truth)


def _estimated_r2(imputed: ImputedGenotypes, hidden: EvaluationTruth) -> calibration.EstimatedR2 | None:
    if not bool(np.isfinite(imputed.estimated_r2).any()):
        return None
    true_r2 = accuracy.site_r2(imputed.dosage, hidden.truth)
    return calibration.estimated_r2(imputed.estimated_r2, true_r2, hidden.frequency)


def region_error(scored: Scored, positions: I32Array) -> RegionError:
    """Aggregate r² in pieces of equal length in base pairs."""
    maf = np.minimum(scored.frequency, 1 - scored.frequency)
    used = maf > _COMMON if bool((maf > _COMMON).any()) else np.ones(len(maf), dtype=np.bool_)
    pieces = int(np.clip(used.sum() // _SITES_PER_PIECE, 1, _REGION_PIECES))
    borders = np.linspace(int(positions[0]), int(positions[-1]) + 1, pieces + 1).astype(np.int64)
    piece = np.clip(np.searchsorted(borders, positions, side="right") - 1, 0, pieces - 1)
    labels = np.where(used, piece, -1)
    sums = metric_resampling.sample_sums(scored, labels, pieces).sum(axis=1)
    r2 = metric_resampling.pooled_metrics(sums)["aggregate_r2"]
    enough = np.bincount(piece[used], minlength=pieces) >= _FEWEST_SITES
    return RegionError(
        starts=tuple(borders[:-1].tolist()),
        stops=tuple(borders[1:].tolist()),
        r2=tuple(np.where(enough, r2, np.nan).tolist()),
    )


def _site_counts(hidden: EvaluationTruth) -> SiteCounts:
    return SiteCounts(
        n_panel=hidden.n_panel,
        n_typed=hidden.n_typed,
        n_not_shared=hidden.n_not_shared,
        n_hidden=len(hidden.truth),
        n_fixed=int((accuracy.maf_bin(hidden.frequency) < 0).sum()),
        n_missing_calls=int((hidden.truth == accuracy.MISSING).sum()),
    )


def _group_counts(hidden: EvaluationTruth) -> tuple[GroupCount, ...]:
    bins = accuracy.maf_bin(hidden.frequency)
    varies = accuracy.truth_varies(hidden.truth)
    return tuple(
        GroupCount(
            label=group.label,
            n_sites=int(np.isin(bins, group.bins).sum()),
            n_varying=int((np.isin(bins, group.bins) & varies).sum()),
        )
        for group in accuracy.GROUPS
    )


def _differences(replicates: Sequence[_Replicates], config: EvaluationConfig) -> tuple[Difference, ...]:
    first, *others = replicates
    found = []
    for other in others:
        found += [
            _difference(first.name, other.name, EVERYONE, name, first.everyone[:, m], other.everyone[:, m], config)
            for m, name in enumerate(METRICS)
        ]
        found += [
            _difference(
                first.name, other.name, population, "aggregate_r2", values, other.populations[population], config
            )
            for population, values in first.populations.items()
        ]
    return tuple(found)


def _difference(
    method: str, against: str, population: str, metric: str, a: F64Array, b: F64Array, config: EvaluationConfig
) -> Difference:
    with np.errstate(invalid="ignore", divide="ignore"):
        change = (1 - a) / (1 - b) - 1
    return Difference(
        method=method,
        against=against,
        population=population,
        metric=metric,
        difference=_intervals(a - b, config),
        error_change=_intervals(change, config),
    )
