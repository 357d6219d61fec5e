"""From the files to a target that can be imputed: everything that is refused, dropped or reported on the way."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import NoReturn, Protocol

import numpy as np

from vcfrag_core.errors import TargetError
from vcfrag_core.files.tables.qc import QcEntry, apply_qc, entries
from vcfrag_core.files.vcf.reader import parse_region
from vcfrag_core.output.genotypes import empirical_r2
from vcfrag_core.panel.panel import Panel, frequency_at
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.windows import Window
from vcfrag_core.retrieval.queries import EXTERNAL, External
from vcfrag_core.targets import site_tests as target_qc
from vcfrag_core.targets.matching import Matching, check_build, match_records
from vcfrag_core.targets.people import SampleMatch, find_panel_samples
from vcfrag_core.targets.records import MEANING, Reason, TargetRecords
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I64Array
from vcfrag_train.imputing.config import ImputeConfig, KeepGoing

_ROUNDS = 12
_NAMED = 5
# Where typed sites are dense, half of them foretell the others well, and every fold builds its own indexes.
_DENSE_PER_CM = 250.0
_FOLDS = 5
_FOLDS_DENSE = 2


class LeaveOneOut(Protocol):
    """What is needed of an Imputer to test sites."""

    cm: F64Array

    def leave_one_out(
        self,
        alleles: I8Array,
        observed: BoolArray,
        samples: Sequence[str | External],
        *,
        folds: int = 5,
        ploidy: Ploidy | None = None,
    ) -> F32Array:
        """(Q, M) dosages at the observed sites."""


@dataclasses.dataclass(slots=True, kw_only=True)
class CheckedTarget:
    """One contig of the target in the panel's coding, and what is known of it.

    Attributes:
        panel: The panel.
        records: The target's records.
        matching: What each of them is.
        people: Target samples that the panel holds.
        names: (Q,) what each query is called when neighbours are searched.
        alleles: (Q, V) alleles, -1 where not typed or missing.
        observed: (V,) typed and used sites.
        frequency: (V,) of ALT in the panel at sites that were typed, NaN elsewhere.
        inside: Range of the sites that were asked for; those around it are context.
        thin: Ranges of sites that are left out of the output.
        tested_samples: Samples that `loo` speaks of.
        loo: (len(tested), M) leave-one-out dosages at the observed sites, or None.
    """

    panel: Panel
    records: TargetRecords
    matching: Matching
    people: list[SampleMatch]
    names: tuple[str | External, ...]
    alleles: I8Array
    observed: BoolArray
    frequency: F64Array
    inside: tuple[int, int]
    thin: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    tested_samples: I64Array = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    loo: F32Array | None = None

    @property
    def ploidy(self) -> Ploidy:
        """Which queries are one sample."""
        return self.records.ploidy

    @property
    def tested(self) -> I64Array:
        """Haplotypes that `loo` speaks of."""
        return self.ploidy.rows(self.tested_samples)

    @property
    def sites(self) -> I64Array:
        """(M,) typed and used panel sites."""
        return np.flatnonzero(self.observed)

    @property
    def written(self) -> BoolArray:
        """(V,) sites that go to the output."""
        written = np.zeros(self.panel.n_sites, dtype=np.bool_)
        written[slice(*self.inside)] = True
        for start, stop in self.thin:
            written[start:stop] = False
        return written

    @property
    def er2(self) -> F64Array:
        """(V,) leave-one-out r² at typed sites, NaN elsewhere."""
        values = np.full(self.panel.n_sites, np.nan)
        if self.loo is not None:
            values[self.sites] = empirical_r2(self.loo, self.alleles[self.tested][:, self.sites])
        return values

    def apply(self, changed: dict[int, Reason]) -> None:
        """Gives records other reasons, and takes those no longer used out of the alleles."""
        self.matching = self.matching.with_reasons(changed)
        self.alleles, self.observed = target_qc.target_alleles(self.records, self.matching, self.panel.n_sites)

    def table(self) -> list[QcEntry]:
        """Its rows of the QC file."""
        return entries(self.records, self.matching)


def match_target(
    records: TargetRecords, panel: Panel, config: ImputeConfig, listed: Sequence[QcEntry] | None
) -> CheckedTarget:
    """A contig's records matched with the panel, and the people among its samples whom the panel holds.

    Args:
        listed: Verdicts of a QC file, or None.

    Raises:
        UnphasedError: A heterozygote is not phased.
    """
    records.refuse_unphased()
    matching = match_records(records, panel, fix_swaps=config.fix_swaps, fix_flips=config.fix_flips)
    if listed is None:
        matching = matching.with_reasons(target_qc.without_calls(records, matching))
    else:
        matching = apply_qc(records, matching, listed)
    alleles, observed = target_qc.target_alleles(records, matching, panel.n_sites)
    frequency = np.full(panel.n_sites, np.nan)
    frequency[observed] = frequency_at(panel, np.flatnonzero(observed))
    people: list[SampleMatch] = []
    if not config.allow_panel_samples:
        people = find_panel_samples(records.samples, alleles, observed, panel, records.ploidy)
    found = {person.sample: person.panel_samples[0] for person in people}
    return CheckedTarget(
        panel=panel,
        records=records,
        matching=matching,
        people=people,
        names=records.ploidy.of_haplotypes(found.get(sample, EXTERNAL) for sample in records.samples),
        alleles=alleles,
        observed=observed,
        frequency=frequency,
        inside=_inside(panel, config),
    )


def _inside(panel: Panel, config: ImputeConfig) -> tuple[int, int]:
    """Sites of the region that was asked for; all without one."""
    if config.region is None:
        return 0, panel.n_sites
    region = parse_region(config.region)
    start = int(np.searchsorted(panel.positions, region.start, side="left"))
    return start, panel.n_sites if region.stop is None else int(np.searchsorted(panel.positions, region.stop, "right"))


def refuse_unusable(target: CheckedTarget) -> None:
    """Refuses a contig of which nothing can be used.

    Raises:
        TargetError: Another genome build, or no record that is a panel site.
    """
    records, panel, matching = target.records, target.panel, target.matching
    check_build(records, panel, matching.build)
    if target.inside[0] >= target.inside[1]:
        raise TargetError("the panel has no site in the region", path=records.source)
    if not target.observed.any():
        counts = ", ".join(f"{n} {MEANING[reason]}" for reason, n in Counter(matching.reasons).most_common())
        raise TargetError(
            f"contig {records.contig}: none of {records.n_records} records can be used ({counts}); the panel spans"
            f" {panel.contig}:{panel.positions[0]}-{panel.positions[-1]}",
            path=records.source,
        )


def check_missing(target: CheckedTarget, windows: Sequence[Window], most: float) -> None:
    """Refuses samples with too few calls to be imputed.

    Args:
        windows: All windows.
        most: Share of a context's typed sites that the daemon lets a query miss.

    Raises:
        TargetError: A sample has no call, or misses more than that somewhere.
    """
    panel = target.panel
    for window in windows:
        context = slice(window.context_start, window.context_stop)
        typed = target.observed[context]
        missing = (target.alleles[:, context][:, typed] < 0).sum(axis=1)
        worst = int(missing.argmax())
        if missing[worst] and missing[worst] > most * typed.sum():
            raise TargetError(
                f"misses {missing[worst]} of {typed.sum()} typed alleles in {panel.contig}:"
                f"{panel.positions[window.context_start]}-{panel.positions[window.context_stop - 1]}; the daemon allows"
                f" {most:.0%} (its limits.max_missing_share). Impute without --daemon, or leave the sample out",
                path=target.records.source,
                sample=target.records.samples[int(target.ploidy.sample_of[worst])],
            )
    empty = np.flatnonzero(target_qc.missing_rates(target.alleles, target.observed, target.ploidy) == 1)
    if len(empty):
        others = f" (nor have {len(empty) - 1} other samples)" if len(empty) > 1 else ""
        raise TargetError(
            f"has no call at any typed site of {panel.contig}{others}: leave it out, as with `bcftools view -s ^NAME`",
            path=target.records.source,
            sample=target.records.samples[int(empty[0])],
        )


def check_thin(target: CheckedTarget, cm: F64Array, flank_cm: float, config: ImputeConfig) -> None:
    """Finds stretches with too few typed sites; they are left out of the output, or refused.

    Raises:
        TargetError: There are such stretches and the run is not to go on, or they leave nothing.
    """
    while True:
        thin = target_qc.thin_stretches(cm, target.observed, flank_cm=flank_cm, least=config.least_typed)
        low, high = target.inside
        target.thin = [(max(a, low), min(b, high)) for a, b in thin if a < high and b > low]
        if not target.thin:
            return
        if KeepGoing.SPARSE not in config.keep_going or not bool(target.written.any()):
            _refuse_thin(target, flank_cm, config)
        used = target.matching.used()
        inside = used[~target.written[target.matching.sites[used]]]
        if not len(inside):
            return
        target.apply(dict.fromkeys(inside.tolist(), Reason.THIN))


def _refuse_thin(target: CheckedTarget, flank_cm: float, config: ImputeConfig) -> NoReturn:
    panel = target.panel
    named = [f"{panel.contig}:{panel.positions[a]}-{panel.positions[b - 1]}" for a, b in target.thin[:_NAMED]]
    more = len(target.thin) - len(named)
    n_sites = sum(b - a for a, b in target.thin)
    if target.written.any():
        advice = "leave them out of the output with --keep-going sparse, or impute the rest with --region"
    else:
        advice = f"no stretch has enough ({int(target.observed.sum())} in all): the targets need denser typing"
        advice += ", or a map in which these sites lie closer, or a lower --least-typed, which is less accurate"
    raise TargetError(
        f"fewer than {config.least_typed} typed sites within {flank_cm:.3g} cM of {n_sites} of {panel.n_sites} panel"
        f" sites, in {', '.join(named)}{f' and {more} more stretches' if more > 0 else ''}; {advice}",
        path=target.records.source,
    )


def weigh_sites(target: CheckedTarget, imputer: LeaveOneOut, config: ImputeConfig) -> None:
    """Tests each typed site's coding and drops damaged ones, until no more are found.

    Afterwards `loo` holds the dosages for the sites that are left. Sites that a QC file was given for are believed.

    Raises:
        TargetError: More damaged sites than the stated share.
    """
    everyone = "LOO" in config.formats
    n_samples = len(target.records.samples)
    chosen = target_qc.spread_samples(n_samples, n_samples if everyone else config.loo_samples)
    target.tested_samples = chosen
    n_typed = int(target.observed.sum())
    damaged: dict[int, Reason] = {}
    for _ in range(_ROUNDS):
        target.loo = _leave_one_out(target, imputer, config)
        found = {} if config.qc_from is not None else _damaged(target)
        if not found:
            break
        damaged |= found
        target.apply(found)
        target.loo = None
    _check_share(target, damaged, n_typed, config)
    if target.loo is None:
        target.loo = _leave_one_out(target, imputer, config)


def _leave_one_out(target: CheckedTarget, imputer: LeaveOneOut, config: ImputeConfig) -> F32Array | None:
    n_observed = int(target.observed.sum())
    dense = n_observed > _DENSE_PER_CM * max(float(imputer.cm[-1] - imputer.cm[0]), 1e-3)
    folds = min(config.loo_folds or (_FOLDS_DENSE if dense else _FOLDS), n_observed)
    if not len(target.tested) or folds < 2:
        return None
    names = [target.names[q] for q in target.tested.tolist()]
    ploidy = target.ploidy.select(target.tested_samples)
    return imputer.leave_one_out(target.alleles[target.tested], target.observed, names, folds=folds, ploidy=ploidy)


def _damaged(target: CheckedTarget) -> dict[int, Reason]:
    """Used records that the tests speak against."""
    sites = target.sites
    panel = target.panel
    evidence = target_qc.site_evidence(
        target.alleles[:, sites],
        target.frequency[sites],
        panel.n_haplotypes,
        target_qc.ambiguous_sites(panel, sites),
        loo=target.loo,
        tested=target.tested if target.loo is not None else None,
    )
    used = target.matching.used()
    found = dict.fromkeys(used[evidence.inverted].tolist(), Reason.INVERTED)
    return found or dict.fromkeys(used[evidence.contradicted].tolist(), Reason.CONTRADICTED)


def _check_share(target: CheckedTarget, damaged: dict[int, Reason], n_typed: int, config: ImputeConfig) -> None:
    share = len(damaged) / n_typed
    if share <= config.max_damaged_share or KeepGoing.DAMAGED in config.keep_going:
        return
    n_inverted = sum(reason is Reason.INVERTED for reason in damaged.values())
    raise TargetError(
        f"{len(damaged)} of {n_typed} typed sites ({share:.1%}) are damaged: {n_inverted} coded the other way round,"
        f" {len(damaged) - n_inverted} contradicted by their neighbours, such as"
        f" {target.records.label(min(damaged))}; {config.qc_table} lists them. Repair the input (check strand and REF"
        " against the reference genome), or drop them with --keep-going damaged",
        path=target.records.source,
    )
