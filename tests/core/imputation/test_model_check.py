"""Whether a model is used: judged at hidden typed sites, against the long way round and models whose worth is known."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from vcfrag_core.copying.estimation import RatePrior, log_loss
from vcfrag_core.imputation import model_check
from vcfrag_core.imputation.cohort import EstimationConfig
from vcfrag_core.imputation.corrector import Corrector
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.imputation.leave_one_out import LeaveOneOut
from vcfrag_core.imputation.load import load_model
from vcfrag_core.imputation.model_check import ModelCheck, check_model, recorded_verdict
from vcfrag_core.imputation.rates import estimate, hide_some
from vcfrag_core.model.config import ModelConfig
from vcfrag_core.model.scores import ValidationScores
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import F32Array

N_SITES = 300
FOLDS = 3
OBSERVED = np.arange(N_SITES) % 4 == 0


class Shifting:
    """A model that pulls every probability towards the likelier allele, or away from it."""

    config = ModelConfig(candidates=4)
    eta = 0.0
    learned_copying = None

    def __init__(self, by: float) -> None:
        self.by = by

    def correction(self, candidates_FTN: F32Array, sites_GN: F32Array) -> F32Array:
        posterior = candidates_FTN[0] * candidates_FTN[1]
        return np.float32(self.by) * np.sign(posterior.sum(axis=0)).astype(np.float32)

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        yield


class Recording(Shifting):
    """A model that remembers what `WantingGaps` looks at."""

    def __init__(self, by: float) -> None:
        super().__init__(by)
        self.seen: list[float] = []

    def correction(self, candidates_FTN: F32Array, sites_GN: F32Array) -> F32Array:
        self.seen.append(typical_gap(sites_GN))
        return super().correction(candidates_FTN, sites_GN)


class WantingGaps(Shifting):
    """A model that helps where gaps are as long as those that it learned from, and spoils elsewhere."""

    def __init__(self, gap: float) -> None:
        super().__init__(0.7)
        self.gap = gap

    def correction(self, candidates_FTN: F32Array, sites_GN: F32Array) -> F32Array:
        known = abs(typical_gap(sites_GN) - self.gap) < 0.3
        return super().correction(candidates_FTN, sites_GN) * np.float32(1 if known else -4)


def typical_gap(sites_GN: F32Array) -> float:
    """Of the sites between their observed neighbours, as the model sees it."""
    return float(np.median(sites_GN[4:6].sum(axis=0)))


@pytest.fixture(scope="module")
def panel(make_panel: Callable[..., Panel]) -> Panel:
    return make_panel(n_samples=40, n_sites=N_SITES, seed=6)


@pytest.fixture(scope="module")
def targets(make_panel: Callable[..., Panel]) -> Targets:
    """More of the population that the panel is of, typed at all of its sites."""
    everyone = make_panel(n_samples=52, n_sites=N_SITES, seed=6)
    return Targets.from_haplotypes(everyone.haplotypes()[80:].astype(np.int8))


def imputer_of(panel: Panel, corrector: Corrector | None, cm: float = 6.0) -> Imputer:
    ends = panel.positions[[0, -1]].astype(np.int64)
    genetic_map = GeneticMap(positions=ends, cm=np.array([0.0, cm]), contig=panel.contig)
    return Imputer(panel, genetic_map, corrector=corrector)


def checked(imputer: Imputer, targets: Targets) -> ModelCheck:
    left_out = LeaveOneOut(targets, folds=FOLDS)
    left_out.keep(imputer, left_out.places(imputer))
    return check_model(imputer, left_out, len(targets.samples))


def test_check_model__equals_imputing_the_hidden_sites_outright(panel: Panel, targets: Targets) -> None:
    imputer = imputer_of(panel, Corrector(Shifting(0.7), "some"))
    imputer = imputer.with_parameters(imputer.parameters(targets.observed))
    totals = []
    for way in (imputer.without_model(), imputer):
        total = 0.0
        for fold in range(FOLDS):
            kept = targets.observed.copy()
            kept[fold::FOLDS] = False
            windows = way.impute_windows(targets.alleles, kept, targets.names, ploidy=targets.ploidy)
            dosage = np.concatenate([part for _, part in windows], axis=1)[:, ~kept]
            total += float(log_loss(dosage, targets.alleles[:, ~kept], panel.alt_frequency()[~kept]).sum())
        totals.append(total)
    found = checked(imputer, targets)
    assert found.change == pytest.approx(totals[1] / totals[0] - 1, abs=1e-6)
    assert found.change != 0
    assert (found.n_sites, found.n_alleles) == (N_SITES, N_SITES * 2 * len(targets.samples))


def test_hide_some__leaves_what_an_estimate_of_the_rates_would_judge_by(panel: Panel, targets: Targets) -> None:
    imputer = imputer_of(panel, Corrector(Shifting(0.7), "some"))
    imputer = imputer.with_parameters(imputer.parameters(targets.observed))
    estimated, given = LeaveOneOut(targets, folds=FOLDS), LeaveOneOut(targets, folds=FOLDS)
    config = EstimationConfig(sites=100)
    estimate(imputer, estimated, len(targets.samples), config)
    hide_some(imputer, given, config)
    found = check_model(imputer, given, len(targets.samples))
    assert found == check_model(imputer, estimated, len(targets.samples))
    assert 100 <= found.n_sites < N_SITES


def test_check_model__a_model_that_spoils_is_left_out(panel: Panel, targets: Targets) -> None:
    spoilt = imputer_of(panel, Corrector(Shifting(-3.0), "spoils"))
    found = checked(spoilt, targets)
    assert found.change > 0.1
    assert not found.used
    assert "left out" in str(found)
    by_copying, imputed = (way.impute(targets) for way in (imputer_of(panel, None), spoilt))
    assert np.array_equal(imputed.probabilities, by_copying.probabilities)
    assert imputed.model_check is not None
    assert not imputed.model_check.used
    assert by_copying.model_check is None
    assert spoilt.impute(targets).method == by_copying.method


def test_check_model__a_model_that_changes_nothing_is_left_out(panel: Panel, targets: Targets) -> None:
    found = checked(imputer_of(panel, Corrector(Shifting(0.0), "none")), targets)
    assert found.change == pytest.approx(0, abs=1e-5)
    assert not found.used


def test_check_model__does_not_ask_the_model_where_copying_is_certain(panel: Panel) -> None:
    class Refusing(Shifting):
        def correction(self, candidates_FTN: F32Array, sites_GN: F32Array) -> F32Array:
            raise AssertionError("asked")

    imputer = imputer_of(panel, Corrector(Refusing(0.0), "refuses"))
    in_panel = Targets.from_haplotypes(panel.haplotypes()[:8].astype(np.int8))
    rates = dataclasses.replace(imputer.parameters(in_panel.observed), mismatch=1e-6, switch_per_cm=1e-3)
    found = checked(imputer.with_parameters(rates), in_panel)
    assert found.certain
    assert not found.used
    assert np.isnan(found.change)
    assert found.record()["change_of_loss"] is None


def test_check_model__is_the_same_for_any_number_of_threads(panel: Panel, targets: Targets) -> None:
    one = imputer_of(panel, load_model())
    many = Imputer(panel, GeneticMap(positions=panel.positions[[0, -1]].astype(np.int64), cm=np.array([0.0, 6.0]),
                                     contig=panel.contig), corrector=load_model(), threads=3)  # fmt: skip
    assert checked(one, targets) == checked(many, targets)


def test_check_model__shows_lengths_by_the_switch_rate_where_the_model_knows_no_others(
    panel: Panel, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = RatePrior.of_panel(panel.n_haplotypes).switch_per_cm
    gaps = Recording(0.7)

    def under(scale: float, corrector: Corrector, switch_per_cm: float) -> Imputer:
        imputer = imputer_of(panel, corrector, cm=6.0 * scale)
        rule = imputer.parameters(targets.observed)
        return imputer.with_parameters(dataclasses.replace(rule, switch_per_cm=switch_per_cm))

    # Shifts help nobody here; some spoil less.
    monkeypatch.setattr(model_check, "_NEEDED", 0.2)
    assert checked(under(1.0, Corrector(gaps, "records"), rate), targets).used
    corrector = Corrector(WantingGaps(float(np.median(gaps.seen))), "some")
    for scale in (1.0, 0.1):
        scaled = under(scale, corrector, rate / scale)
        found = checked(scaled, targets)
        assert found.used
        assert found.length_factor == pytest.approx(1 / scale)
        assert found.record()["length_factor"] == found.length_factor
        used, again = found.applied(scaled), recorded_verdict(found.record(), scaled)
        for one in (used, again):
            assert one.corrector is not None
            assert one.corrector.length_factor == found.length_factor
            assert ("length_factor=10 " in one.method(targets.observed)) is (scale < 1)
        assert ("lengths times 10, by" in str(found)) is (scale < 1)
    # Half of it where the whole is not enough: the better of both.
    with monkeypatch.context() as half_alone:
        half_alone.setattr(model_check, "_NEEDED", -10.0)
        half_alone.setattr(model_check, "_NEEDED_OF_HALF", 0.2)
        # As much is asked of half where the rate is so much higher.
        assert not checked(under(0.1, corrector, rate / 0.1), targets).used
        half_alone.setattr(model_check, "_OTHER_RATE", 20.0)
        for scale in (1.0, 0.1):
            found = checked(under(scale, corrector, rate / scale), targets)
            assert (found.used, found.share) == (True, 0.5)
            assert found.length_factor == pytest.approx(1 / scale)
    # Neither as they are nor by the rate.
    lost = under(0.1, corrector, rate)
    found = checked(lost, targets)
    assert (found.used, found.length_factor) == (False, 1.0)
    assert found.applied(lost).corrector is None


def test_check_model__takes_half_of_a_correction_where_copying_hardly_errs(
    panel: Panel, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    imputer = imputer_of(panel, Corrector(Shifting(0.4), "some"))
    imputer = imputer.with_parameters(imputer.parameters(targets.observed))
    whole = checked(imputer, targets)
    monkeypatch.setattr(model_check, "_HALF_BELOW", whole.loss + 1)
    monkeypatch.setattr(ModelCheck, "settled", True)
    assert checked(imputer, targets) == whole
    monkeypatch.setattr(ModelCheck, "settled", False)
    monkeypatch.setattr(ModelCheck, "used", True)
    half = checked(imputer, targets)
    assert half.share == 0.5
    assert 0 < abs(half.change) < abs(whole.change)
    assert "a share of 0.5 of its correction changes the loss" in str(half)
    copied, corrected = (
        np.concatenate([d for _, d in way.impute_windows(targets.alleles, OBSERVED, targets.names)], axis=1)
        for way in (imputer.without_model(), imputer)
    )
    for way in (half.applied(imputer), recorded_verdict(half.record(), imputer)):
        assert " share=0.5" in way.method(targets.observed)
        found = np.concatenate([d for _, d in way.impute_windows(targets.alleles, OBSERVED, targets.names)], axis=1)
        inside = (copied > 1e-5) & (copied < 1 - 1e-5) & (corrected > 1e-5) & (corrected < 1 - 1e-5)
        odds = [np.log(p[inside].astype(np.float64) / (1 - p[inside])) for p in (copied, corrected, found)]
        assert np.abs(odds[1] - odds[0]).max() > 0.1
        np.testing.assert_allclose(odds[2], (odds[0] + odds[1]) / 2, atol=1e-2)


def test_check_model__takes_half_where_the_whole_does_no_good(
    panel: Panel, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    imputer = imputer_of(panel, Corrector(Shifting(0.4), "some"))
    rate = RatePrior.of_panel(panel.n_haplotypes).switch_per_cm
    rule = imputer.parameters(targets.observed)
    imputer = imputer.with_parameters(dataclasses.replace(rule, switch_per_cm=rate))
    monkeypatch.setattr(model_check, "_NEEDED", 10.0)
    halved = imputer.judged(used=True, trusted=False, share=0.5)
    whole, outright = checked(imputer, targets), checked(halved, targets)
    assert whole.share == outright.share == 1
    monkeypatch.setattr(model_check, "_NEEDED", -10.0)
    assert not checked(imputer, targets).used
    monkeypatch.setattr(model_check, "_NEEDED_OF_HALF", 10.0)
    half = checked(imputer, targets)
    assert half.used
    assert (half.share, half.length_factor) == (0.5, 1.0)
    assert half.change == pytest.approx(outright.change, abs=1e-6)
    assert half.change != pytest.approx(whole.change, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "used", "settled"), [(-0.05, True, True), (-0.002, True, False), (0.02, False, False)]
)
def test_model_check__of_half_of_a_correction_where_copying_hardly_errs(
    change: float, used: bool, settled: bool
) -> None:
    found = ModelCheck(
        change=change, standard_error=0.01, targets=("a",) * 16, n_sites=9, n_alleles=99, loss=0.005, share=0.5
    )
    assert (found.used, found.settled) == (used, settled)
    assert found.used is dataclasses.replace(found, loss=0.01, change=change - 0.005).used
    assert ",share=0.5" in found.fields()
    assert not ModelCheck().settled


def test_recorded_verdict__of_a_record_without_a_factor(panel: Panel) -> None:
    imputer = imputer_of(panel, Corrector(Shifting(0.5), "some"))
    corrector = recorded_verdict({"used": True}, imputer).corrector
    assert corrector is not None
    assert corrector.length_factor == 1
    assert recorded_verdict({"used": False, "length_factor": 5.0}, imputer).corrector is None


def test_model_check__trusts_the_model_where_nothing_tells() -> None:
    assert ModelCheck().used
    assert check_model(None, None, 0) == ModelCheck()  # type: ignore[arg-type]
    lone = ModelCheck(change=0.5, targets=("a",), n_sites=9, n_alleles=18)
    assert lone.used
    assert lone.record()["standard_error"] is None
    assert "standard_error=unknown," in lone.fields()
    assert "of 1 target it changes the loss of copying by +50.0% (of one target there is no standard error)" in str(
        lone
    )


@pytest.mark.parametrize(("loss", "used"), [(5e-4, False), (1.9e-3, False), (2.1e-3, True)])
def test_model_check__leaves_certain_copying_alone(loss: float, used: bool) -> None:
    found = ModelCheck(change=-0.1, standard_error=0.02, targets=("a",) * 16, n_sites=1500, n_alleles=48_000, loss=loss)
    assert found.used is used
    assert ("nothing to correct" in str(found)) is not used
    assert f"nats_per_allele={loss:.4g}" in found.fields()
    assert found.record()["loss"] == loss


@pytest.mark.parametrize(("change", "error", "used"), [(-0.05, 0.01, True), (0.01, 0.005, False), (0.01, 0.1, True)])
def test_model_check__weighs_what_was_seen_by_its_error(change: float, error: float, used: bool) -> None:
    found = ModelCheck(change=change, standard_error=error, targets=("a",) * 16, n_sites=99, n_alleles=999)
    assert found.used is used
    assert min(change, -0.03) <= found.believed <= max(change, -0.03)
    assert f"used={'yes' if used else 'no'}," in found.fields()


@pytest.mark.parametrize(("change", "share", "length_factor", "used"), [
    (-0.011, 1.0, 1.0, True), (-0.009, 1.0, 1.0, False), (-0.011, 1.0, 4.0, True), (-0.009, 1.0, 4.0, False),
    (-0.006, 0.5, 1.0, True), (-0.004, 0.5, 1.0, False), (-0.006, 0.5, 0.2, True), (-0.006, 0.5, 4.0, False),
    (-0.011, 0.5, 4.0, True),
])  # fmt: skip
def test_model_check__asks_less_of_half_of_a_correction(
    change: float, share: float, length_factor: float, used: bool
) -> None:
    names = ("a",) * 400
    seen = ModelCheck(change=change, standard_error=0.001, targets=names, n_sites=99, n_alleles=999, loss=0.05)
    assert dataclasses.replace(seen, share=share, length_factor=length_factor).used is used


@pytest.mark.parametrize(
    ("change", "loss", "trusted"), [(-0.05, 0.01, True), (-0.05, 0.004, False), (0.05, 0.01, False)]
)
def test_model_check__trusts_a_model_where_copying_errs(change: float, loss: float, trusted: bool) -> None:
    found = ModelCheck(change=change, standard_error=0.02, targets=("a",) * 16, n_sites=99, n_alleles=999, loss=loss)
    assert found.trusted is trusted
    assert found.record()["trusted"] is trusted
    assert not ModelCheck().trusted


def test_imputer__a_trusted_model_corrects_what_its_scores_dispute(panel: Panel) -> None:
    def of(n_samples: int, error: float, common: float) -> dict[str, object]:
        r2 = {"0-0.1": {"model": 1 - error, "copying": 0.8}, "5-50": {"model": 1 - common, "copying": 0.8}}
        return {"reference_samples": n_samples, "half": r2, "array": r2}

    # On a reference larger than both: they dispute the rarest bin, and agree that common sites are made worse.
    scores = ValidationScores({"half": {}, "array": {}, "data": {"a": of(15, 0.21, 0.3), "b": of(20, 0.1, 0.3)}})
    imputer = imputer_of(panel, Corrector(Shifting(0.5), "some", scores=scores))
    used, trusted = (imputer.judged(used=True, trusted=how).corrector for how in (False, True))
    assert used is not None
    assert trusted is not None
    assert used.left_to_copying == ((0.0, 0.001), (0.05, 0.5))
    assert trusted.left_to_copying == ((0.05, 0.5),)
    assert "copying_at_maf=0-0.001" not in trusted.name
    assert imputer.judged(used=False, trusted=False).corrector is None
