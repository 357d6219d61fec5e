"""Scores imputed genotypes against the truth, at the sites that were hidden and nowhere else, contig by contig.

Every method is measured under the same resamples of the samples, so that differences are paired. The reference
frequencies, which bin the sites and centre the dosages, are those of the panel without the targets.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from vcfrag_core.errors import ConfigError, InputError
from vcfrag_core.files.dosages import ImputedGenotypes, read_imputed
from vcfrag_core.files.names import files_of_word
from vcfrag_core.files.vcf.reader import name_contigs
from vcfrag_core.scoring import accuracy
from vcfrag_core.scoring import bootstrap as metric_resampling
from vcfrag_core.scoring import reliability as calibration
from vcfrag_core.scoring.bootstrap import METRICS, Interval, Scored, Sums
from vcfrag_core.types import BoolArray, F64Array, I32Array
from vcfrag_train.evaluation.exchanged import Exchanged
from vcfrag_train.evaluation.inputs import EvaluationFiles, file_of, named_files, panels_of
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
from vcfrag_train.evaluation.run_metadata import digest_of, run_metadata
from vcfrag_train.evaluation.truth import (
    EvaluationConfig,
    EvaluationTruth,
    by_ploidy,
    load_evaluation_truth,
    refuse_absent,
    refuse_typed,
    refuse_untyped,
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
    """Scores the imputed files, over all contigs of the panels together.

    Raises:
        ConfigError: No imputed file, or two of one label; a contig has no file of the name asked for.
        UnknownSampleError: A target is not in the truth, or not in another imputed file.
        InputError: A file lacks hidden sites and common_sites is off; names the first and the count. The files of a
            method's contigs are of different samples.
        EmptyInputError: No site is left to score.
        TargetError: The panel holds no sample but the targets.
        Any error of the readers.
    """
    config = config or EvaluationConfig()
    check_labels([name for name, _ in files.imputed])
    methods = [file_method(name, path, config) for name, path in files.imputed]
    return evaluate_methods(_truths(files, config), methods, files, config, progress)


def _truths(files: EvaluationFiles, config: EvaluationConfig) -> Iterator[EvaluationTruth]:
    """The truth of every contig, in the order of the samples that the first one has."""
    samples: tuple[str, ...] | None = None
    for panel in panels_of(files, config.threads):
        hidden = load_evaluation_truth(files, config, panel, samples)
        samples = hidden.samples
        yield hidden


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
    """A method whose genotypes stand in a file, or in one for each contig."""

    def load(hidden: EvaluationTruth) -> ImputedGenotypes:
        file = file_of(path, hidden.contig)
        found = read_imputed(
            file,
            hidden.contig,
            hidden.rows,
            hidden.samples,
            threads=config.threads,
            lone=hidden.lone,
            beside=hidden.typed,
        )
        refuse_absent(found.found, hidden.rows, hidden.contig, file, threads=config.threads)
        refuse_typed(found.typed, hidden.rows, hidden.contig, file)
        refuse_untyped(found.n_imputed_elsewhere, hidden.n_typed, file)
        return found

    return Method(name=name, load=load, source=str(path), digest=digest_of(files_of_word(str(path))), cost=cost)


def evaluate_methods(
    contigs: Iterable[EvaluationTruth],
    methods: Sequence[Method],
    files: EvaluationFiles,
    config: EvaluationConfig,
    progress: Progress | None = None,
) -> Evaluation:
    """Scores methods at the hidden sites of all contigs; the arrays of one contig and method are in memory at a time.

    Raises:
        InputError: The contigs are of different samples.
    """
    counted: list[_Counted] = []
    tallies = [_Tally(method) for method in methods]
    weights = np.zeros((0, 0))
    for hidden in contigs:
        if not counted:
            weights = metric_resampling.bootstrap_weights(len(hidden.samples), config.resamples, config.seed)
        elif hidden.samples != counted[0].samples:
            raise InputError(
                f"its samples on contig {hidden.contig} are not those on {counted[0].contig}",
                path=file_of(files.imputed[0][1], hidden.contig),
            )
        for tally in tallies:
            if progress is not None:
                progress(f"scoring {tally.method.name} on contig {hidden.contig}")
            tally.add(hidden, weights)
        counted.append(_counted(hidden))
    return _evaluation(counted, tallies, weights, files, config)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """What is told of a contig once its methods are scored."""

    contig: str
    samples: tuple[str, ...]
    lone: BoolArray
    sites: SiteCounts
    groups: tuple[GroupCount, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _Replicates:
    """(R, M, G) figures of everyone, and (R, G) aggregate r² of each population."""

    name: str
    everyone: F64Array
    populations: Mapping[str, F64Array]


class _Tally:
    """What is added up of one method, contig by contig."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self._sums: list[Sums] = []
        self._levels: list[F64Array] = []
        self._fields: dict[str, None] = {}
        self._has_posterior = True
        self._estimates: list[tuple[F64Array, F64Array, F64Array]] = []
        self._regions: list[RegionError] = []
        self._exchanged = Exchanged()

    def add(self, hidden: EvaluationTruth, weights: F64Array) -> None:
        """Scores it on a contig."""
        imputed = self.method.load(hidden)
        scored = Scored(
            dosage=imputed.dosage,
            calls=accuracy.best_guess(imputed.dosage, imputed.posterior),
            posterior=imputed.posterior,
            truth=hidden.truth,
            frequency=hidden.frequency,
        )
        self._sums.append(metric_resampling.sums_of(scored, weights))
        self._fields[imputed.field] = None
        self._regions.append(region_error(scored, hidden.positions, hidden.contig))
        if self.method.digest:
            # What was made here of other people's haplotypes, as baselines are, may well be like anybody.
            self._exchanged.add(imputed.dosage, hidden.truth, hidden.frequency, tuple(hidden.rows), hidden.contig)
        if imputed.posterior is None:
            self._has_posterior = False
        else:
            self._levels.append(calibration.posterior_levels(imputed.posterior, hidden.truth))
        if bool(np.isfinite(imputed.estimated_r2).any()):
            true_r2 = accuracy.site_r2(imputed.dosage, hidden.truth)
            self._estimates.append((imputed.estimated_r2, true_r2, hidden.frequency))

    def result(
        self,
        samples: Sequence[str],
        weights: F64Array,
        populations: Mapping[str, BoolArray],
        config: EvaluationConfig,
    ) -> tuple[MethodResult, _Replicates]:
        """Its figures over all contigs, and the replicates that differences are made of."""
        sums = functools.reduce(operator.add, self._sums)
        everyone = metric_resampling.measure(sums, weights)
        by_population = metric_resampling.population_r2(sums, weights, populations)
        result = MethodResult(
            name=self.method.name,
            source=self.method.source,
            digest=self.method.digest,
            field="/".join(self._fields),
            has_posterior=self._has_posterior,
            metrics={name: _intervals(everyone[:, m], config) for m, name in enumerate(METRICS)},
            populations={name: _intervals(values, config) for name, values in by_population.items()},
            calibration=calibration.reliability_curve(np.sum(self._levels, axis=0)) if self._levels else None,
            estimated_r2=self._estimated_r2(),
            region=joined(self._regions),
            cost=self.method.cost,
            warnings=self._exchanged.warnings(samples),
        )
        return result, _Replicates(self.method.name, everyone, by_population)

    def _estimated_r2(self) -> calibration.EstimatedR2 | None:
        if not self._estimates:
            return None
        estimated, true, frequency = (np.concatenate(arrays) for arrays in zip(*self._estimates, strict=True))
        return calibration.estimated_r2(estimated, true, frequency)


def _evaluation(
    contigs: Sequence[_Counted],
    tallies: Sequence[_Tally],
    weights: F64Array,
    files: EvaluationFiles,
    config: EvaluationConfig,
) -> Evaluation:
    names = list(dict.fromkeys(counted.contig for counted in contigs))
    samples, lone = contigs[0].samples, contigs[0].lone
    populations = super_populations(files.samples_table, samples)
    if all(np.array_equal(counted.lone, lone) for counted in contigs):
        populations |= by_ploidy(lone)
    results = [tally.result(samples, weights, populations, config) for tally in tallies]
    return Evaluation(
        contig=name_contigs(names),
        samples=samples,
        populations={name: int(member.sum()) for name, member in populations.items()},
        sites=functools.reduce(operator.add, (counted.sites for counted in contigs)),
        groups=tuple(functools.reduce(operator.add, group) for group in zip(*(c.groups for c in contigs), strict=True)),
        methods=tuple(result for result, _ in results),
        differences=_differences([replicates for _, replicates in results], config),
        resamples=config.resamples,
        level=config.level,
        provenance=run_metadata(named_files(files, names), resampling_seed=config.seed),
    )


def _intervals(replicates: F64Array, config: EvaluationConfig) -> tuple[Interval, ...]:
    return tuple(metric_resampling.interval(column, config.level) for column in replicates.T)


def region_error(scored: Scored, positions: I32Array, contig: str) -> RegionError:
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
        contigs=(contig,) * pieces,
        starts=tuple(borders[:-1].tolist()),
        stops=tuple(borders[1:].tolist()),
        r2=tuple(np.where(enough, r2, np.nan).tolist()),
    )


def joined(regions: Sequence[RegionError]) -> RegionError:
    """The pieces of several contigs, one after the other."""
    return RegionError(
        contigs=tuple(contig for region in regions for contig in region.contigs),
        starts=tuple(start for region in regions for start in region.starts),
        stops=tuple(stop for region in regions for stop in region.stops),
        r2=tuple(r2 for region in regions for r2 in region.r2),
    )


def _counted(hidden: EvaluationTruth) -> _Counted:
    bins = accuracy.maf_bin(hidden.frequency)
    varies = accuracy.truth_varies(hidden.truth)
    return _Counted(
        contig=hidden.contig,
        samples=hidden.samples,
        lone=hidden.lone,
        sites=SiteCounts(
            n_panel=hidden.n_panel,
            n_typed=hidden.n_typed,
            n_lacked=hidden.n_lacked,
            n_not_shared=hidden.n_not_shared,
            n_hidden=len(hidden.truth),
            n_fixed=int((bins < 0).sum()),
            n_missing_calls=int((hidden.truth == accuracy.MISSING).sum()),
        ),
        groups=tuple(
            GroupCount(
                label=group.label,
                n_sites=int(np.isin(bins, group.bins).sum()),
                n_varying=int((np.isin(bins, group.bins) & varies).sum()),
            )
            for group in accuracy.GROUPS
        ),
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
