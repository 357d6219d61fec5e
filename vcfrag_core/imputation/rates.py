"""The rates of copying, estimated from some of the targets by hiding typed sites of theirs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import numpy as np

from vcfrag_core.copying.estimation import TELLING, Pair, RatePrior, Rates, SampleLoss, estimate_rates, log_loss
from vcfrag_core.copying.hedging import Wanted, hedging_less, is_suspicious
from vcfrag_core.copying.parameters import CopyingParameters, dense_share, density, parameters_for
from vcfrag_core.copying.reference import switch_probabilities
from vcfrag_core.errors import RangeError
from vcfrag_core.imputation.cohort import (
    EstimationConfig,
    drawn_samples,
    estimation_cohort,
    named_in_panel,
    panel_targets,
)
from vcfrag_core.imputation.leave_one_out import (
    HiddenSites,
    HidesSites,
    LeaveOneOut,
    Place,
    folds_for,
)
from vcfrag_core.panel.panel import Panel, frequency_at
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.windows import Window
from vcfrag_core.retrieval import site_weights
from vcfrag_core.streams import Stream
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import BoolArray, F64Array, I8Array, I64Array

Hides = TypeVar("Hides", bound=HidesSites)
# Where sites are hidden, a switch is told later; with all of them the best rate is so much higher
# (docs/decisions/rates-from-the-data.md).
_WITH_ALL_SITES: Final = 1.25
# Where fewer nats than tell are lost, so many times as many sites are hidden, for all samples, and panel samples are
# imputed beside them, unless the panel is so large (sites x haplotypes) that this takes long.
_MORE: Final = 4
_MOST_ALLELES: Final = 10_000_000
# Of the sites to impute every fourth is asked for: those beside each other say nearly the same.
_EVERY: Final = 4
# So few nats an allele are lost where few founders left long tracts and nothing is wrong: whoever is near is worth
# copying from. Larger panels would take too long (docs/decisions/context-and-neighbours.md).
_FORETOLD: Final = 5e-3
_NEIGHBOURS_FORETOLD: Final = 40
_FEW_HAPLOTYPES: Final = 2500
# In a region so short that the rule asks for as many neighbours in any case, so few nats: everybody is copied from, and
# half of the switches suffice (docs/decisions/rates-from-the-data.md).
_FORETOLD_IN_SHORT: Final = 1e-2
_SWITCHES_IN_SHORT: Final = 0.5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RateEstimate:
    """Estimated rates, and what they were made from.

    Attributes:
        switch_per_cm: Rate of switches between candidates.
        mismatch: Probability of a mismatch.
        prior: What was believed beforehand.
        targets: Target samples.
        panel_samples: Panel samples that stood in for targets.
        n_sites: Typed sites that were hidden.
        n_alleles: Called alleles at them.
        loss: Mean negative log probability of those alleles, in nats.
        n_imputed: Sites at which panel samples were imputed, too, where the hidden ones said too little.
        n_tried: Pairs of rates that were tried.
        seed: Of the choice of samples and windows.
        wanted: What the hidden sites ask for, before it is lowered for targets whom the panel hardly knows, or for a
            short region that is foretold; None where no site was hidden.
        wanted_by_panel: What they ask for panel samples; None where these were not asked.
    """

    switch_per_cm: float
    mismatch: float
    prior: RatePrior
    targets: tuple[str, ...] = ()
    panel_samples: tuple[str, ...] = ()
    n_sites: int = 0
    n_alleles: int = 0
    loss: float = float("nan")
    n_imputed: int = 0
    n_tried: int = 0
    seed: int
    wanted: Wanted | None = None
    wanted_by_panel: Wanted | None = None

    def applied(self, parameters: CopyingParameters) -> CopyingParameters:
        """The parameters with these rates."""
        return dataclasses.replace(parameters, switch_per_cm=self.switch_per_cm, mismatch=self.mismatch)

    @property
    def is_lowered(self) -> bool:
        """Whether the rates are lower than the hidden sites ask for."""
        wanted = self.wanted
        return wanted is not None and (_WITH_ALL_SITES * wanted.switch_per_cm, wanted.mismatch) != (
            self.switch_per_cm,
            self.mismatch,
        )

    def judging(self, parameters: CopyingParameters) -> CopyingParameters:
        """The parameters under which hidden sites lose least, for what is judged by that loss: the model, typed sites.

        By log probability others look worse than they are, and a model that repairs nothing better than it is.
        """
        if self.wanted is None or not self.is_lowered:
            return self.applied(parameters)
        switch = _WITH_ALL_SITES * self.wanted.switch_per_cm
        return dataclasses.replace(parameters, switch_per_cm=switch, mismatch=self.wanted.mismatch)

    def record(self) -> dict[str, object]:
        """As the cohort record keeps it."""
        kept = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}

    def fields(self) -> str:
        """`key=value` pairs for the header of an output."""
        values = {
            "switch_per_cm": f"{self.switch_per_cm:.4g}",
            "mismatch": f"{self.mismatch:.4g}",
            "targets": len(self.targets),
            "panel_samples": len(self.panel_samples),
            "sites": self.n_sites,
            "alleles": self.n_alleles,
            "nats_per_allele": f"{self.loss:.4g}",
            "imputed_sites": self.n_imputed,
            "tried": self.n_tried,
            "seed": self.seed,
        }
        if self.wanted_by_panel is not None:
            values["panel_nats_per_allele"] = f"{self.wanted_by_panel.loss:.4g}"
        return ",".join(f"{key}={value}" for key, value in values.items())

    def __str__(self) -> str:
        if not self.n_sites:
            return f"{self.switch_per_cm:.4g} switches per cM, mismatch {self.mismatch:.3g}, from the size of the panel"
        counts = (len(self.targets), "targets"), (len(self.panel_samples), "panel samples")
        who = " and ".join(f"{n} {kind}" for n, kind in counts if n)
        return (
            f"{self.switch_per_cm:.4g} switches per cM, mismatch {self.mismatch:.3g}, estimated from {who} at"
            f" {self.n_sites} typed sites"
        ) + (f", and from panel samples at {self.n_imputed} sites to impute" if self.n_imputed else "")


def estimated(imputer: Hides, targets: Targets, config: EstimationConfig | None = None) -> tuple[Hides, RateEstimate]:
    """The imputer under the rates that these targets ask for, and the estimate."""
    cohort, n_targets = estimation_cohort(imputer.panel, targets, config)
    named = named_in_panel(targets.names)
    found = estimate(imputer, left_out_of(cohort, imputer.cm), n_targets, config, named=named)
    fitted = imputer.with_parameters(found.applied(imputer.parameters(targets.observed)))
    return with_neighbours(fitted, found, targets.observed), found


def with_neighbours(imputer: Hides, found: RateEstimate, observed: BoolArray) -> Hides:
    """The imputer with more neighbours of a segment, where a small panel foretells typed alleles nearly without loss.

    In a short region these are all haplotypes of the panel.
    What was retrieved to estimate the rates is of fewer; so the model is judged before.
    """
    parameters = imputer.parameters(observed)
    k = parameters.k
    if found.loss < foretold_in_short(imputer, observed):
        k = imputer.panel.n_haplotypes
    elif imputer.panel.n_haplotypes <= _FEW_HAPLOTYPES and found.loss < _FORETOLD:
        k = max(k, _NEIGHBOURS_FORETOLD)
    return imputer if k == parameters.k else imputer.with_parameters(dataclasses.replace(parameters, k=k))


def foretold_in_short(imputer: HidesSites, observed: BoolArray) -> float:
    """Nats an allele below which a small panel foretells the typed alleles of a short region; 0 for others."""
    k = parameters_for(density(observed, imputer.cm), int(observed.sum())).k
    few = imputer.panel.n_haplotypes <= _FEW_HAPLOTYPES
    return _FORETOLD_IN_SHORT if few and k >= _NEIGHBOURS_FORETOLD else 0.0


def left_out_of(cohort: Targets, cm: F64Array) -> LeaveOneOut | None:
    """The typed sites of some samples hidden in folds by their density; None where there is no second site."""
    folds = folds_for(cohort.observed, cm)
    return None if folds < 2 else LeaveOneOut(cohort, folds=folds)


def estimate(
    imputer: HidesSites,
    left_out: LeaveOneOut | None,
    n_targets: int,
    config: EstimationConfig | None = None,
    *,
    named: Collection[str] = (),
) -> RateEstimate:
    """The rates that foretell hidden typed alleles best; the prior's where no site can be hidden.

    Args:
        imputer: Retrieves and copies.
        left_out: The samples of `estimation_cohort`; what is retrieved here stays with it.
        n_targets: How many of them are targets.
        config: From how much.
        named: Panel samples that are targets: their alleles at sites to impute are not looked at.
    """
    config = config or EstimationConfig()
    if left_out is not None:
        try:
            return _estimated_from(imputer, left_out, n_targets, config, named)
        except RangeError:
            # Hidden sites leave a window too few, or somebody has nobody to copy from: nothing to go by.
            pass
    prior = RatePrior.of_panel(imputer.panel.n_haplotypes)
    return RateEstimate(switch_per_cm=prior.switch_per_cm, mismatch=prior.mismatch, prior=prior, seed=config.seed)


def _estimated_from(
    imputer: HidesSites, left_out: LeaveOneOut, n_targets: int, config: EstimationConfig, named: Collection[str]
) -> RateEstimate:
    """The estimate at some of the sites; at more, and at sites to impute of panel samples, where these say little."""
    panel = imputer.panel
    everywhere = left_out.places(imputer)
    few = _places(everywhere, config.sites, config.seed)
    asked = _Asked(imputer, left_out).at(few, config)
    found = asked.rates()
    affordable = min(_MORE * config.sites, max(config.sites, _MOST_ALLELES // panel.n_haplotypes))
    if found.loss >= TELLING or affordable == config.sites:
        wanted = asked.wanted(found)
        beside_them = None
        if n_targets and is_suspicious(wanted, asked.prior):
            beside_them = _wanted_by_panel(imputer, left_out, few, config, named)
        return asked.estimate(found, n_targets, config.seed, wanted_by_panel=beside_them)
    more = _places(everywhere, affordable, config.seed)
    windows = list(dict.fromkeys(place.window for place in more))
    hidden = panel_samples_left_out(imputer, left_out.targets.observed, windows, config, named)
    beside = [_Part.of_panel(one, panel) for one in hidden]
    everyone = dataclasses.replace(config, stand_in_below=left_out.targets.ploidy.n_samples)
    asked = asked.at(more, everyone)
    return asked.estimate(asked.rates(beside, found.best_switch_per_cm), n_targets, config.seed, beside)


def _wanted_by_panel(
    imputer: HidesSites, left_out: LeaveOneOut, places: list[Place], config: EstimationConfig, named: Collection[str]
) -> Wanted | None:
    """What some panel samples want, typed and hidden as the targets are; None where nobody can be asked."""
    names = _drawn_from_panel(imputer, config, named)
    if not names:
        return None
    samples = LeaveOneOut(panel_targets(imputer.panel, names, left_out.targets.observed), folds=left_out.folds)
    try:
        asked = _Asked(imputer, samples).at(places, config)
        return asked.wanted(asked.rates())
    except RangeError:
        return None


def _drawn_from_panel(imputer: HidesSites, config: EstimationConfig, named: Collection[str]) -> list[str]:
    """Panel samples who are no targets; none where there is nobody to copy from."""
    others = [name for name in imputer.panel.samples if name not in named]
    if len(set(imputer.split.groups.values())) < 2:
        return []
    return [others[i] for i in drawn_samples(others, config.panel_samples, config.seed)]


def hide_some(imputer: HidesSites, left_out: LeaveOneOut, config: EstimationConfig) -> None:
    """Hides and retrieves what an estimate would first, for who judges by it where the rates are given.

    Nothing is hidden where that leaves a window too few sites.
    """
    with contextlib.suppress(RangeError):
        left_out.keep(imputer, _places(left_out.places(imputer), config.sites, config.seed))


def panel_samples_left_out(
    imputer: HidesSites,
    observed: BoolArray,
    windows: Sequence[Window],
    config: EstimationConfig,
    named: Collection[str] = (),
) -> list[HiddenSites]:
    """Some windows, for panel samples typed at the observed sites who copy from nobody of their own group.

    Their alleles at the sites to impute are known; who is `named` is a target, and passed over. Nothing where there is
    nobody to ask or to copy from, or nothing to impute.
    """
    panel = imputer.panel
    names = _drawn_from_panel(imputer, config, named)
    if not names:
        return []
    alleles = panel.haplotypes(panel.rows_of(names)).astype(np.int8)
    samples = dataclasses.replace(panel_targets(panel, names, observed), alleles=alleles)
    hidden: list[HiddenSites] = []
    n_sites = 0
    with imputer.hidden(samples, np.empty(0, dtype=np.int64)) as at:
        for window in windows:
            n = int((~observed[window.start : window.stop]).sum())
            if n and n_sites < config.panel_sites:
                # Observed ones, too, which count nothing: bits of a whole window are read faster than of most of it.
                hidden.append(at(window, np.arange(window.start, window.stop)))
                n_sites += n
    return hidden


def _loss(parts: Sequence[_Part], ploidy: Ploidy, pool: ThreadPoolExecutor) -> SampleLoss:
    """(S, N) nats of the samples at all parts together."""

    def loss(pairs: Sequence[Pair]) -> F64Array:
        each = np.zeros((ploidy.n_haplotypes, len(pairs)))
        for part in parts:
            each[part.rows.start : part.rows.stop] += part.losses(pairs, pool)
        return np.asarray(ploidy.sums(each), dtype=np.float64)

    return loss


@dataclasses.dataclass(frozen=True, slots=True)
class _Asked:
    """Hidden sites, and of how many samples, from the first on; asking more goes on from what is known of fewer."""

    imputer: HidesSites
    left_out: LeaveOneOut
    places: Sequence[Place] = ()
    n_samples: int = 0
    parts: Sequence[_Part] = ()

    @property
    def ploidy(self) -> Ploidy:
        """Of the samples asked."""
        return self.left_out.targets.ploidy.select(np.arange(self.n_samples))

    @property
    def prior(self) -> RatePrior:
        """Over panels of this size."""
        return RatePrior.of_panel(self.imputer.panel.n_haplotypes)

    @property
    def n_alleles(self) -> int:
        """Called ones that are hidden."""
        return sum(int((part.alleles >= 0).sum()) for part in self.parts)

    def at(self, places: list[Place], config: EstimationConfig) -> _Asked:
        """At these places, those of before first, and as many samples as make up the alleles that are wanted."""
        n_sites = sum(len(place.sites) for place in places)
        wanted = max(config.stand_in_below, config.alleles // max(1, 2 * n_sites))
        n_samples = min(self.left_out.targets.ploidy.n_samples, max(self.n_samples, wanted))
        asked = dataclasses.replace(self, places=places, n_samples=n_samples)
        before, rows = self.ploidy.n_haplotypes, range(asked.ploidy.n_haplotypes)
        parts = list(self.parts)
        for i, hidden in enumerate(self.left_out.keep(self.imputer, places)):
            new = rows[before:] if i < len(self.places) else rows
            if new:
                parts.append(_Part.of(hidden, self.imputer.panel, new))
        return dataclasses.replace(asked, parts=parts)

    def rates(self, beside: Sequence[_Part] = (), near: float | None = None) -> Rates:
        """The rates that these sites ask for, and some of panel samples beside them."""
        with ThreadPoolExecutor(self.imputer.threads) as pool:
            loss = _loss(self.parts, self.ploidy, pool)
            panel_loss = _loss(beside, beside[0].hidden.queries.ploidy, pool) if beside else None
            return estimate_rates(loss, self.prior, panel_loss, near)

    def wanted(self, found: Rates) -> Wanted:
        """The rates that `rates` found, with their loss an allele."""
        return Wanted(
            switch_per_cm=found.switch_per_cm, mismatch=found.mismatch, loss=found.loss / max(1, self.n_alleles)
        )

    def estimate(
        self,
        found: Rates,
        n_targets: int,
        seed: int,
        beside: Sequence[_Part] = (),
        wanted_by_panel: Wanted | None = None,
    ) -> RateEstimate:
        """The estimate from the rates that `rates` found."""
        names = self.left_out.targets.samples[: self.ploidy.n_samples]
        wanted = self.wanted(found)
        observed = self.left_out.targets.observed
        dense = dense_share(density(observed, self.imputer.cm))
        switch, mismatch = hedging_less(wanted, wanted_by_panel, self.prior, dense)
        if wanted.loss < foretold_in_short(self.imputer, observed):
            switch *= _SWITCHES_IN_SHORT
        return RateEstimate(
            switch_per_cm=_WITH_ALL_SITES * switch,
            mismatch=mismatch,
            prior=self.prior,
            targets=names[:n_targets],
            panel_samples=names[n_targets:],
            n_sites=sum(len(place.sites) for place in self.places),
            n_alleles=self.n_alleles,
            loss=wanted.loss,
            n_imputed=sum(len(part.places) for part in beside),
            n_tried=found.n_tried,
            seed=seed,
            wanted=wanted,
            wanted_by_panel=wanted_by_panel,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """Hidden sites of one window for some of the haplotypes, with the truth, and what is known of their losses.

    Attributes:
        rows: Haplotypes.
        hidden: The window.
        places: (n,) which of its sites tell of the rates.
        alleles: (Q, n) the truth at them.
        frequency: (n,) theirs.
        known: (Q,) losses by pair of rates.
    """

    rows: range
    hidden: HiddenSites
    places: I64Array
    alleles: I8Array
    frequency: F64Array
    known: dict[Pair, F64Array] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, hidden: HiddenSites, panel: Panel, rows: range, places: I64Array | None = None) -> _Part:
        """Of these haplotypes, at all sites unless places are given."""
        part = dataclasses.replace(hidden, problem=hidden.problem.part(rows.start, rows.stop))
        places = np.arange(len(hidden.sites)) if places is None else places
        sites = hidden.sites[places]
        return cls(
            rows, part, places, hidden.queries.alleles[rows.start : rows.stop, sites], frequency_at(panel, sites)
        )

    @classmethod
    def of_panel(cls, hidden: HiddenSites, panel: Panel) -> _Part:
        """Of panel samples, at a share of the sites that are not observed."""
        places = np.flatnonzero(~hidden.queries.observed[hidden.sites])[::_EVERY]
        return cls.of(hidden, panel, range(len(hidden.queries.alleles)), places)

    def losses(self, pairs: Sequence[Pair], pool: ThreadPoolExecutor) -> F64Array:
        """(Q, N) nats at N pairs of rates."""
        missing = [pair for pair in pairs if pair not in self.known]
        if missing:
            problem = self.hidden.problem
            n, gaps = len(problem.sites.observed), problem.sites.gaps_cm
            weights = [site_weights.quantise(np.full(n, np.log((1 - mu) / mu))) for _, mu in missing]
            switch = [switch_probabilities(gaps, per_cm).astype(np.float32) for per_cm, _ in missing]
            wanted = np.zeros(len(self.hidden.sites), dtype=np.bool_)
            wanted[self.places] = True
            dosages = problem.dosages(np.stack(weights), np.stack(switch), wanted=wanted, pool=pool)
            for way, pair in enumerate(missing):
                self.known[pair] = log_loss(dosages[:, way, self.places], self.alleles, self.frequency)
        return np.stack([self.known[pair] for pair in pairs], axis=1)


def _places(places: Sequence[Place], enough: int, seed: int) -> list[Place]:
    """Places drawn until enough sites are hidden."""
    order = np.argsort(Stream("rates", seed, "places").raw(len(places)), kind="stable")
    chosen: list[Place] = []
    n_sites = 0
    for i in order.tolist():
        if n_sites >= enough:
            break
        chosen.append(places[i])
        n_sites += len(places[i].sites)
    return chosen
