"""Rates of copying in training: whom they are estimated on, by what rule they follow the density, what is recorded."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vcfrag_core.copying.estimation import RatePrior
from vcfrag_core.copying.parameters import parameters_for
from vcfrag_core.errors import ProvenanceMismatchError
from vcfrag_core.imputation.cohort import EstimationConfig, panel_targets
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.imputation.rates import estimate, left_out_of
from vcfrag_core.panel.panel import Panel
from vcfrag_train.calibrate.parameters import ParameterFile, write_parameters
from vcfrag_train.cli import app
from vcfrag_train.training.config import FitConfig
from vcfrag_train.training.data.dataset import TrainingData, load_run_data, load_training_data, make_training_data
from vcfrag_train.training.data.rates import TrainingRates, estimate_training_rates
from vcfrag_train.training.session import fit
from vcfrag_train.training.validation.nearest_posterior import nearest_posterior

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def config(fit_config: Make) -> FitConfig:
    """A run whose retrieval is not given."""
    return dataclasses.replace(fit_config(epochs=1), retrieval=None)


@pytest.fixture(scope="module")
def data(config: FitConfig) -> TrainingData:
    """What such a run works on."""
    return load_training_data(config)


def rates_of(data: TrainingData) -> TrainingRates:
    assert data.rates is not None
    return data.rates


def test_rates__are_those_that_imputation_finds_for_the_same_samples(data: TrainingData) -> None:
    train = data.splits.train
    panel = data.panel.select_samples(train.reference)
    imputer = Imputer(panel, data.genetic_map, groups=train.groups)
    for one in rates_of(data).masks:
        assert set(one.rates.panel_samples) <= set(train.reference)
        assert one.rates.targets == ()
        assert one.rates.n_alleles > 0
        targets = panel_targets(panel, one.rates.panel_samples, data.validation[one.mask])
        again = estimate(imputer, left_out_of(targets, imputer.cm), 0, EstimationConfig())
        assert again.switch_per_cm == one.rates.switch_per_cm
        assert again.mismatch == one.rates.mismatch


def test_rates__held_out_samples_have_no_say(config: FitConfig, data: TrainingData) -> None:
    haplotypes = data.panel.haplotypes().copy()
    rows = data.panel.rows_of([name for name in data.panel.samples if name not in data.splits.train.reference])
    assert len(rows)
    haplotypes[rows] = np.random.default_rng(1).integers(2, size=haplotypes[rows].shape)
    other = Panel.from_haplotypes(
        haplotypes, positions=data.panel.positions, samples=data.panel.samples, contig=data.panel.contig
    )
    assert rates_of(make_training_data(config, other, data.genetic_map)).table() == rates_of(data).table()


def test_rates__move_geometrically_between_the_masks_and_stay_beyond(data: TrainingData) -> None:
    rates = rates_of(data)
    sparse, dense = rates.masks
    assert sparse.observed_per_cm < dense.observed_per_cm
    for one in (sparse, dense):
        found = rates.parameters(one.observed_per_cm)
        assert found.switch_per_cm == pytest.approx(one.rates.switch_per_cm)
        assert found.mismatch == pytest.approx(one.rates.mismatch)
    between = np.sqrt(sparse.observed_per_cm * dense.observed_per_cm)
    middle = np.sqrt(sparse.rates.switch_per_cm * dense.rates.switch_per_cm)
    assert rates.parameters(between).switch_per_cm == pytest.approx(middle)
    assert rates.parameters(between).k == parameters_for(between).k
    assert rates.parameters(100 * dense.observed_per_cm).switch_per_cm == pytest.approx(dense.rates.switch_per_cm)


def test_rates__of_a_mask_with_nothing_to_hide_are_those_of_the_panel_size(data: TrainingData) -> None:
    nothing = np.zeros(data.panel.n_sites, dtype=np.bool_)
    nothing[100] = True
    train = data.splits.train
    (found,) = estimate_training_rates(data.panel, data.genetic_map, train, {"one": nothing}).masks
    assert found.rates.switch_per_cm == RatePrior.of_panel(2 * len(train.reference)).switch_per_cm
    assert found.rates.n_sites == 0


def test_rates__of_a_mask_whose_sites_are_alone_in_their_windows_are_those_of_the_panel_size(
    data: TrainingData,
) -> None:
    ends = np.zeros(data.panel.n_sites, dtype=np.bool_)
    ends[[0, -1]] = True
    long = dataclasses.replace(data.genetic_map, cm=50 * data.genetic_map.cm)
    (found,) = estimate_training_rates(data.panel, long, data.splits.train, {"ends": ends}).masks
    assert found.rates.n_sites == 0


def test_fit__trains_and_records_the_rates_and_goes_on_under_them(
    config: FitConfig, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()

    def noted(context: Any, queries: Any, result: Any) -> Any:
        seen.add((queries.parameters.switch_per_cm, queries.parameters.mismatch))
        return nearest_posterior(context, queries, result)

    monkeypatch.setattr("vcfrag_train.training.data.source.nearest_posterior", noted)
    run = fit(config, tmp_path / "run")
    wanted = rates_of(data)
    rates = [wanted.parameters(one.observed_per_cm) for one in wanted.masks]
    assert seen == {(one.switch_per_cm, one.mismatch) for one in rates}
    record = json.loads((run / "run.json").read_text())
    assert json.loads(record["fields"]["retrieval"])["rates"] == wanted.table()
    assert "estimated from 0 targets" not in record["described"]["retrieval"]
    assert all(f"mask {one.mask!r}" in record["described"]["retrieval"] for one in wanted.masks)
    assert fit(resume=run) == run


def test_fit__given_parameters_overrule_the_estimate(
    config: FitConfig, fit_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = dataclasses.replace(fit_config().retrieval, switch_per_cm=1.5)
    write_parameters(ParameterFile(parameters=given), tmp_path / "parameters.toml")
    begun: list[FitConfig] = []

    def beginning(settings: FitConfig, *_: object, **__: object) -> Path:
        begun.append(settings)
        return tmp_path

    monkeypatch.setattr("vcfrag_train.training.session.fit", beginning)
    monkeypatch.setattr("vcfrag_train.training.config.load_config", lambda _: config)
    with pytest.raises(SystemExit) as ended:
        app.main(["fit", "--config", "run.toml", "--parameters", str(tmp_path / "parameters.toml")])
    assert ended.value.code == 0
    assert begun[0].retrieval == given
    made = load_training_data(begun[0])
    assert made.rates is None
    with pytest.raises(ProvenanceMismatchError, match="the retrieval differs"):
        raise_if_different(config, begun[0])


def raise_if_different(first: FitConfig, second: FitConfig) -> None:
    from vcfrag_core.model.provenance import Provenance
    from vcfrag_train.training.session import fields_of

    fields = fields_of(first, load_run_data(first))
    record = Provenance(fields=fields, described={}, versions={}, step=0, metric="", files={}, accepted=())
    record.check(fields_of(second, load_run_data(second)))
