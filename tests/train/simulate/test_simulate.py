"""Generated data: the same for the same seed, structured as stated, and readable by everybody's tools."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vcfrag_core.errors import ConfigError
from vcfrag_core.panel.panel import panel_digest
from vcfrag_train.simulate.demographies import OUT_OF_AFRICA, POPULATIONS
from vcfrag_train.simulate.files import write_phased_vcf, write_simulation
from vcfrag_train.simulate.simulate import Simulation, SimulationConfig, simulate

SMALL = SimulationConfig(reference_per_population=20, targets_per_population=4, length_bases=300_000)

pytest.importorskip("msprime", reason="msprime comes with the extra `demo`")


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate(SMALL)


def test_simulate__same_seed_same_everything(simulation: Simulation) -> None:
    again = simulate(SMALL)
    assert panel_digest(again.panel) == panel_digest(simulation.panel)
    assert panel_digest(again.targets) == panel_digest(simulation.targets)
    assert again.genetic_map.digest == simulation.genetic_map.digest
    assert np.array_equal(again.typed, simulation.typed)


def test_simulate__another_seed_other_haplotypes(simulation: Simulation) -> None:
    other = simulate(dataclasses.replace(SMALL, seed=2))
    assert panel_digest(other.panel) != panel_digest(simulation.panel)


def test_simulate__reference_and_targets_share_no_sample(simulation: Simulation) -> None:
    assert simulation.panel.n_samples == 60
    assert simulation.targets.n_samples == 12
    assert not set(simulation.panel.samples) & set(simulation.targets.samples)
    assert set(simulation.population.values()) == set(POPULATIONS[OUT_OF_AFRICA])


def test_simulate__every_site_varies_in_the_reference(simulation: Simulation) -> None:
    copies = simulation.panel.haplotypes().sum(axis=0)
    assert copies.min() >= 2
    assert copies.max() <= simulation.panel.n_haplotypes - 2


def test_simulate__array_is_common_sites(simulation: Simulation) -> None:
    frequency = simulation.panel.alt_frequency()[simulation.typed]
    assert int(simulation.typed.sum()) == SMALL.length_bases // SMALL.typed_every_bases
    assert np.minimum(frequency, 1 - frequency).min() >= 0.05


def test_simulate__hotspots_hold_most_of_the_map(simulation: Simulation) -> None:
    cm = np.diff(simulation.genetic_map.cm)
    rates = cm / np.diff(simulation.genetic_map.positions)
    hot = rates > 10 * rates.min()
    assert int(hot.sum()) == round(SMALL.hotspots_per_mb * SMALL.length_bases / 1e6)
    assert cm[hot].sum() > 0.5 * cm.sum()


def test_simulate__populations_differ(simulation: Simulation) -> None:
    panel = simulation.panel
    frequencies = [
        panel.alt_frequency(panel.rows_of([s for s in panel.samples if simulation.population[s] == name]))
        for name in POPULATIONS[OUT_OF_AFRICA]
    ]
    private = [((f > 0) & (sum(g > 0 for g in frequencies) == 1)).sum() for f in frequencies]
    assert private[0] > private[1] > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"targets_per_population": 0},
        {"length_bases": 10},
        {"hotspots_per_mb": -1},
        {"typed_every_bases": 1},
        {"demography": "none"},
        {"genotype_error_share": 0.5},
        {"switch_errors_per_mb": -1.0},
    ],
)
def test_simulation_config__refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SimulationConfig(**wrong)


def test_write_simulation__same_bytes_twice(simulation: Simulation, tmp_path: Path) -> None:
    first = write_simulation(simulation, tmp_path / "a")
    second = write_simulation(simulation, tmp_path / "b")
    for field in dataclasses.fields(first):
        assert getattr(first, field.name).read_bytes() == getattr(second, field.name).read_bytes()
    assert not list(tmp_path.glob("*/.partial-*"))


@pytest.mark.skipif(shutil.which("bcftools") is None, reason="bcftools is not on the PATH")
def test_write_phased_vcf__bcftools_reads_every_region(simulation: Simulation, tmp_path: Path) -> None:
    path = tmp_path / "panel.vcf.gz"
    write_phased_vcf(simulation.panel, path)
    middle = 150_000
    expected = int((simulation.panel.positions >= middle).sum())
    lines = _bcftools("view", "-H", "-r", f"{simulation.panel.contig}:{middle}-", str(path))
    assert len(lines) == expected
    calls = [call for line in lines for call in line.split("\t")[9:]]
    alleles = np.array([[int(call[0]), int(call[2])] for call in calls]).reshape(expected, -1)
    assert np.array_equal(alleles.T, simulation.panel.haplotypes(None, simulation.panel.n_sites - expected))


def _bcftools(*arguments: str) -> list[str]:
    return subprocess.run(["bcftools", *arguments], check=True, capture_output=True, text=True).stdout.splitlines()


@pytest.mark.parametrize("name", POPULATIONS)
def test_simulate__every_history(name: str) -> None:
    config = dataclasses.replace(SMALL, demography=name, length_bases=100_000)
    found = simulate(config)
    assert set(found.population.values()) == set(POPULATIONS[name])
    assert found.panel.n_samples == len(POPULATIONS[name]) * config.reference_per_population
    assert len(found.targets.samples) == len(POPULATIONS[name]) * config.targets_per_population


def test_simulate__least_copies() -> None:
    copies = simulate(dataclasses.replace(SMALL, least_copies=5)).panel.haplotypes().sum(axis=0)
    assert copies.min() == 5


def test_simulate__genotype_errors_are_as_many_as_stated_and_spare_the_truth(simulation: Simulation) -> None:
    share = 0.02
    wrong = simulate(dataclasses.replace(SMALL, genotype_error_share=share))
    assert panel_digest(wrong.targets) == panel_digest(simulation.targets)
    for clean, noisy in ((simulation.panel, wrong.panel), (simulation.array, wrong.array)):
        changed = (clean.haplotypes() != noisy.haplotypes()).sum()
        expected = share * clean.n_sites * clean.n_samples
        assert abs(changed - expected) < 6 * np.sqrt(expected)


def test_simulate__switch_errors_keep_genotypes(simulation: Simulation) -> None:
    switched = simulate(dataclasses.replace(SMALL, switch_errors_per_mb=10)).panel
    clean = simulation.panel.haplotypes().reshape(-1, 2, simulation.panel.n_sites)
    found = switched.haplotypes().reshape(clean.shape)
    assert np.array_equal(found.sum(axis=1), clean.sum(axis=1))
    assert not np.array_equal(found, clean)
    # Each switch is one change of orientation at heterozygous sites.
    heterozygous = clean[:, 0] != clean[:, 1]
    same = found[:, 0] == clean[:, 0]
    changes = sum(int((np.diff(s[h].astype(int)) != 0).sum()) for s, h in zip(same, heterozygous, strict=True))
    assert 0 < changes <= 2 * 10 * 0.3 * simulation.panel.n_samples


def test_simulate__gene_conversion_changes_haplotypes(simulation: Simulation) -> None:
    converted = simulate(dataclasses.replace(SMALL, gene_conversions_per_crossover=2.0))
    assert panel_digest(converted.panel) != panel_digest(simulation.panel)
    assert converted.genetic_map.digest == simulation.genetic_map.digest
