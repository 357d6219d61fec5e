"""Dosages integrated over drawn phases, beside every draw imputed by itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.conftest import mosaic_panel
from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.imputation import imputer as imputer_module
from vcfrag_core.imputation import integrate as integrate_module
from vcfrag_core.imputation.corrector import Corrector
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.imputation.integrate import (
    QUERIES_AT_ONCE,
    SEARCHED_AT_ONCE,
    Corrected,
    alike_draws,
    integrate,
    queries_of,
    searched_at_once,
)
from vcfrag_core.imputation.load import load_model
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.windows import Window
from vcfrag_core.phasing.phased import Phased
from vcfrag_core.phasing.phaser import Phaser
from vcfrag_core.targets.calls import UNPHASED
from vcfrag_core.targets.targets import Targets

N_TARGETS = 3
N_DRAWS = 4
PARAMETERS = CopyingParameters(scales=(6, 18), k=3, flank_cm=1.0, switch_per_cm=4.0)


@pytest.fixture(scope="module")
def everybody() -> Panel:
    return mosaic_panel(n_samples=30, n_sites=200, seed=9)


@pytest.fixture(scope="module")
def panel(everybody: Panel) -> Panel:
    return everybody.select_samples(everybody.samples[N_TARGETS:])


@pytest.fixture(scope="module")
def genetic_map(panel: Panel) -> GeneticMap:
    positions = np.array([panel.positions[0], panel.positions[-1]], dtype=np.int64)
    return GeneticMap(positions=positions, cm=np.array([0.0, 8.0]), contig=panel.contig)


@pytest.fixture(scope="module")
def phased(everybody: Panel, panel: Panel, genetic_map: GeneticMap) -> Phased:
    """Targets typed at every third site, the last of them in known phase."""
    truth = everybody.haplotypes(slice(0, 2 * N_TARGETS)).astype(np.int8)
    truth[:, np.arange(truth.shape[1]) % 3 != 0] = -1
    sets = np.zeros((N_TARGETS, truth.shape[1]), dtype=np.int32)
    sets[:-1] = UNPHASED
    targets = dataclasses.replace(Targets.from_haplotypes(truth), phase_sets=sets)
    return Phaser(panel, genetic_map).phase(targets, draws=N_DRAWS)


def imputed(panel: Panel, genetic_map: GeneticMap, phased: Phased, corrector: Corrector | None = None) -> np.ndarray:
    """(2, S, V) DS and the probabilities that both haplotypes carry ALT."""
    imputer = Imputer(panel, genetic_map, parameters=PARAMETERS, corrector=corrector)
    parts = [part for _, part in imputer.impute_phased(phased)]
    dosage = np.concatenate([part.dosage for part in parts], axis=1)
    both = np.concatenate([part.both for part in parts], axis=1)
    return np.stack([dosage.reshape(N_TARGETS, 2, -1).sum(axis=1), both])


def test_integrated__is_the_mean_over_draws_imputed_by_themselves(
    panel: Panel, genetic_map: GeneticMap, phased: Phased, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One stands for another only where it has the same alleles everywhere.
    monkeypatch.setattr(integrate_module, "ALIKE_SITES", len(phased.sites))
    dosage, both = imputed(panel, genetic_map, phased)
    imputer = Imputer(panel, genetic_map, parameters=PARAMETERS)
    # Where all alleles are called, those of a known phase are not imputed.
    hidden = ~phased.targets.observed
    for s in range(N_TARGETS):
        draws = phased.draws_of(s)
        alleles = np.full((draws.shape[0] * 2, panel.n_sites), -1, dtype=np.int8)
        alleles[:, phased.sites] = draws.reshape(len(alleles), -1)
        names = (phased.targets.names[2 * s],) * len(alleles)
        windows = imputer.impute_windows(alleles, phased.targets.observed, names)
        pairs = np.concatenate([part for _, part in windows], axis=1).reshape(len(draws), 2, -1)
        np.testing.assert_allclose(dosage[s, hidden], pairs.sum(axis=1).mean(axis=0)[hidden], atol=1e-5)
        expected = np.full(panel.n_sites, np.nan) if len(draws) == 1 else pairs.prod(axis=1).mean(axis=0)
        np.testing.assert_allclose(both[s, hidden], expected[hidden], atol=1e-5)


def test_integrated__is_the_same_however_many_queries_are_searched_for_together(
    panel: Panel, genetic_map: GeneticMap, phased: Phased, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = imputed(panel, genetic_map, phased, load_model())
    for queries, searched in ((1, 1), (1, 2048), (2 * N_DRAWS + 1, 2 * N_DRAWS)):
        monkeypatch.setattr(integrate_module, "QUERIES_AT_ONCE", queries)
        monkeypatch.setattr(imputer_module, "QUERIES_AT_ONCE", queries)
        monkeypatch.setattr(integrate_module, "SEARCHED_AT_ONCE", searched)
        np.testing.assert_array_equal(imputed(panel, genetic_map, phased, load_model()), together)


@pytest.mark.parametrize(("n_around", "cm_around"), [(0, 0.0), (1, 0.0), (3, 0.0), (100, 0.0), (1, 0.3), (3, 1.0)])
def test_alike_draws__have_the_same_alleles_around(
    phased: Phased, n_around: int, cm_around: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrate_module, "ALIKE_SITES", n_around)
    monkeypatch.setattr(integrate_module, "ALIKE_CM", cm_around)
    samples, cm = np.arange(N_TARGETS), np.cumsum(np.random.default_rng(4).choice([0.0, 0.11, 0.23], len(phased.sites)))
    alleles = queries_of(phased, samples)[0][:, phased.sites]
    found = alike_draws(alleles, cm, phased, samples)
    numbers = np.arange(len(cm))
    spans = np.split(np.arange(len(alleles)), np.cumsum([2 * phased.n_draws(s) for s in range(N_TARGETS)])[:-1])
    for q, m in np.ndindex(*found.shape):
        own = next(span for span in spans if q in span)
        may = own[: 2 if q < own[4 % len(own)] else q - own[0]] if q >= own[0] + 2 else own[:0]
        around = (numbers > m - n_around) & (numbers <= m + n_around)
        around |= (cm >= cm[m] - cm_around) & (cm <= cm[min(m + 1, len(cm) - 1)] + cm_around)
        same = [other for other in may if np.array_equal(alleles[other, around], alleles[q, around])]
        assert found[q, m] == (same[0] if same else q)


def test_integrated__where_draws_are_alike_around_dosages_are_nearly_those_of_each(
    panel: Panel, genetic_map: GeneticMap, phased: Phased, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in (None, load_model()):
        found = imputed(panel, genetic_map, phased, model)
        with monkeypatch.context() as patch:
            patch.setattr(integrate_module, "ALIKE_SITES", len(phased.sites))
            each = imputed(panel, genetic_map, phased, model)
        assert 0 < np.nanmean((found - each) ** 2) < 1e-4


def test_searched_at_once__is_bounded_by_bytes() -> None:
    window, parameters = Window(0, 0, 1000, 0, 1000), dataclasses.replace(PARAMETERS, k=24)
    none, every = np.zeros(1000, dtype=np.bool_), np.ones(1000, dtype=np.bool_)
    assert searched_at_once(window, none, parameters) == SEARCHED_AT_ONCE
    assert QUERIES_AT_ONCE < searched_at_once(window, every, parameters) < SEARCHED_AT_ONCE
    assert searched_at_once(window, every, dataclasses.replace(parameters, k=10**6)) == QUERIES_AT_ONCE


def test_integrated__a_model_that_leaves_every_site_to_copying_changes_nothing(
    panel: Panel, genetic_map: GeneticMap, phased: Phased
) -> None:
    silent = Corrector(load_model().network, "silent", left_to_copying=[(-1.0, 0.5)])
    copied = imputed(panel, genetic_map, phased)
    np.testing.assert_allclose(imputed(panel, genetic_map, phased, silent), copied, atol=1e-6)
    speaking = imputed(panel, genetic_map, phased, load_model())
    assert not np.allclose(speaking[0], copied[0], atol=1e-3)


def test_integrate__both_haplotypes_carry_alt_as_often_as_their_probabilities_allow(phased: Phased) -> None:
    rng, samples, n_sites = np.random.default_rng(1), np.arange(N_TARGETS - 1), 20
    cm = np.linspace(0, 8, phased.targets.alleles.shape[1])

    def draw(n: int) -> np.ndarray:
        return rng.beta(0.3, 0.3, (n, n_sites)).astype(np.float32)

    copied = draw(2 * N_DRAWS * len(samples))
    few = [Corrected(draw(4), draw(4)) for _ in samples]
    found = integrate(phased, samples, copied, few, cm, 0)
    one, other = found.dosage[::2], found.dosage[1::2]
    assert bool((found.both >= np.maximum(0, one + other - 1) - 1e-6).all())
    assert bool((found.both <= np.minimum(one, other) + 1e-6).all())


def test_corrected__with_rest_alike_changes_later_queries_as_the_first_whose_dosage_is_nearest() -> None:
    copied = np.array([[0.10, 0.50, 0.50, 0.99], [0.30, 0.52, 0.90, 0.50], [0.12, 0.51, 0.70, 0.98]], dtype=np.float32)
    corrected = copied.copy()
    corrected[0] += np.array([0.05, 0.10, 0.10, 0.01], dtype=np.float32)
    corrected[1] += np.array([0.20, 0.30, 0.10, 0.10], dtype=np.float32)
    corrected[2, 2] = 0.25
    found = Corrected(copied, corrected).with_rest_alike(2)
    np.testing.assert_array_equal(found.copied, copied)
    np.testing.assert_array_equal(found.corrected[:2], corrected[:2])
    np.testing.assert_allclose(found.corrected[2], [0.17, 0.61, 0.25, 0.99], atol=1e-6)
    above = Corrected(np.full((2, 1), 0.97, np.float32), np.array([[1.0], [0.99]], dtype=np.float32))
    assert above.with_rest_alike(1).corrected.max() == 1
