"""What depends on the cohort, decided once: rates of copying, damaged typed sites, and whether a model corrects."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from vcfrag_core.errors import RangeError, TargetError
from vcfrag_core.imputation.cohort import EstimationConfig, drawn_samples, estimation_cohort, named_in_panel
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.imputation.leave_one_out import LeaveOneOut, folds_for
from vcfrag_core.imputation.model_check import ModelCheck, check_model, recorded_verdict
from vcfrag_core.imputation.rates import RateEstimate, estimate, hide_some, with_neighbours
from vcfrag_core.targets.cohort import ContigDecisions
from vcfrag_core.targets.records import Reason
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import F32Array, I64Array
from vcfrag_train.imputing.checks import CheckedTarget
from vcfrag_train.imputing.config import ImputeConfig, KeepGoing
from vcfrag_train.imputing.damage import damaged_records, drop_undecided, turn_by_frequency

_ROUNDS: Final = 12


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What was decided for a contig.

    Attributes:
        imputer: Imputes under the parameters decided.
        rates: What the rates of copying were estimated from; None where they were given.
        tested: Samples by which the typed sites were tested.
        model: What the model did for these targets; None where there is none, or others decided.
    """

    imputer: Imputer
    rates: RateEstimate | None
    tested: tuple[str, ...]
    model: ModelCheck | None


def decide(target: CheckedTarget, imputer: Imputer, config: ImputeConfig, given: ContigDecisions | None) -> Decided:
    """Estimates rates and tests typed sites, round by round until no damaged one is found, and judges the model.

    What was decided before is taken as it is.

    Afterwards the target's `loo` holds the dosages for the sites that are left, of everybody where the output shows
    them.

    Args:
        target: The contig; damaged sites are taken from it.
        imputer: Under the parameters of the rule, or those that the user gave.
        config: The run.
        given: What was decided before.

    Raises:
        TargetError: More damaged sites than the stated share.
    """
    target.tested_samples = drawn_samples(target.records.samples, config.loo_samples)
    rates: RateEstimate | None = None
    model: ModelCheck | None = None
    tested: tuple[str, ...] = ()
    if given is None:
        imputer, rates, model = _decided_here(target, imputer, config)
        tested = () if target.loo is None else _names(target)
        if rates is not None:
            fewer, imputer = imputer, with_neighbours(imputer, rates, target.observed)
            target.loo = target.loo if imputer is fewer and not rates.is_lowered else None
    else:
        if config.parameters is None:
            imputer = imputer.with_parameters(given.parameters)
        if given.model:
            imputer = recorded_verdict(given.model, imputer)
    if "LOO" in config.formats:
        target.tested_samples = np.arange(len(target.records.samples))
        target.loo = None
    if target.loo is None:
        left_out = _left_out(target.of_samples(target.tested_samples), imputer, config)
        target.loo = _foretold(left_out, imputer)
    return Decided(imputer=imputer, rates=rates, tested=tested, model=model)


def decided_from(target: CheckedTarget, config: ImputeConfig) -> I64Array:
    """The samples whose haplotypes are looked at to decide; all others are only counted."""
    return drawn_samples(target.records.samples, _estimation(config).max_samples)


def record_of(target: CheckedTarget, decided: Decided, map_digest: str) -> ContigDecisions:
    """What the cohort record keeps of a contig that was decided here."""
    return ContigDecisions(
        contig=target.label,
        panel=target.panel.digest,
        genetic_map=map_digest,
        parameters=decided.imputer.parameters(target.observed),
        typed=target.observed,
        verdicts=tuple(target.verdicts()),
        people={person.sample: person.panel_samples for person in target.people},
        rates={} if decided.rates is None else decided.rates.record(),
        tested=decided.tested,
        model={} if decided.model is None else decided.model.record(),
        target_reference=_served(target),
    )


def _served(target: CheckedTarget) -> dict[str, object]:
    served = target.target_reference
    return {} if served is None else {"samples": len(served.samples), "digest": served.digest}


def _names(target: CheckedTarget) -> tuple[str, ...]:
    return tuple(target.records.samples[s] for s in target.tested_samples.tolist())


def _estimation(config: ImputeConfig) -> EstimationConfig:
    most = max(EstimationConfig().max_samples, config.loo_samples)
    return EstimationConfig(min_samples=max(1, config.loo_samples), max_samples=most)


def _decided_here(
    target: CheckedTarget, imputer: Imputer, config: ImputeConfig
) -> tuple[Imputer, RateEstimate | None, ModelCheck | None]:
    n_typed = int(target.observed.sum())
    damaged: dict[int, Reason] = {}
    turnable = turn_by_frequency(target)
    estimation = _estimation(config)
    for _ in range(_ROUNDS):
        rates, fitted, judging = None, imputer, imputer
        some = target.of_samples(drawn_samples(target.records.samples, estimation.max_samples))
        cohort, n_targets = estimation_cohort(target.panel, some, estimation)
        left_out = _left_out(cohort, imputer, config)
        if config.parameters is None:
            rates = estimate(imputer, left_out, n_targets, estimation, named=named_in_panel(target.names))
            parameters = imputer.parameters(target.observed)
            fitted, judging = (imputer.with_parameters(of(parameters)) for of in (rates.applied, rates.judging))
        target.loo = None
        if left_out is not None and len(target.tested):
            # The cohort begins with the samples tested.
            foretold = _foretold(left_out, judging)
            target.loo = None if foretold is None else foretold[: len(target.tested)]
        found = damaged_records(target)
        if not found and not drop_undecided(target):
            break
        turned = found.keys() & turnable
        target.turn(turned)
        # Once: a site that is wrong either way is damaged.
        turnable -= turned
        dropped = {record: reason for record, reason in found.items() if record not in turned}
        damaged |= dropped
        target.apply(dropped)
        target.loo = None
    _check_share(target, damaged, n_typed, config)
    if imputer.corrector is None:
        return fitted, rates, None
    if rates is None and left_out is not None:
        hide_some(fitted, left_out, estimation)
    model = check_model(judging, left_out, n_targets)
    return model.applied(fitted), rates, model


def _left_out(targets: Targets, imputer: Imputer, config: ImputeConfig) -> LeaveOneOut | None:
    """Their typed sites hidden in folds; None where there are too few."""
    folds = min(config.loo_folds or folds_for(targets.observed, imputer.cm), int(targets.observed.sum()))
    return LeaveOneOut(targets, folds=folds) if folds >= 2 and targets.samples else None


def _foretold(left_out: LeaveOneOut | None, imputer: Imputer) -> F32Array | None:
    """(Q, M) dosages of hidden typed sites; None where none can be hidden."""
    if left_out is None:
        return None
    try:
        return left_out.dosages(imputer)
    except RangeError:
        return None


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
