"""Generated haplotypes: three populations, recombination hotspots, a genotyping array; the same for the same seed.

Demography: the out-of-Africa model of Gutenkunst et al., PLoS Genet 5:e1000695, 2009, table 1, simulated with msprime
(Baumdicker et al., Genetics 220:iyab229, 2022).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vcfrag_core.errors import ConfigError
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.types import BoolArray, F64Array, I64Array

if TYPE_CHECKING:
    import msprime

POPULATIONS: Final = ("AFR", "EUR", "EAS")
_GENERATION_YEARS: Final = 25
_MUTATION_RATE: Final = 1.25e-8
_COLD_RATE: Final = 4e-9
_HOT_RATE: Final = 3e-7
_HOTSPOT_BASES: Final = 2_000
_BASES: Final = np.array(list("ACGT"))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SimulationConfig:
    """What is generated.

    Attributes:
        seed: Of everything random here.
        reference_per_population: Reference samples of each population.
        targets_per_population: Held-out samples of each population.
        length_bases: Base pairs of the one contig.
        hotspots_per_mb: Recombination hotspots of 2 kb, 75 times as hot as what lies between.
        typed_every_bases: Mean distance of the array's sites.
        contig: Its name.
    """

    seed: int = 1
    reference_per_population: int = 330
    targets_per_population: int = 20
    length_bases: int = 2_000_000
    hotspots_per_mb: int = 18
    typed_every_bases: int = 5_000
    contig: str = "1"

    def __post_init__(self) -> None:
        if min(self.reference_per_population, self.targets_per_population) < 1:
            raise ConfigError("reference_per_population and targets_per_population must be >= 1")
        if self.length_bases < 50_000 or self.typed_every_bases < 100:
            raise ConfigError("length_bases must be >= 50,000 and typed_every_bases >= 100")
        if not 0 <= self.hotspots_per_mb <= 200:
            raise ConfigError(f"hotspots_per_mb must be in [0, 200], got {self.hotspots_per_mb}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Reference and targets over the same sites.

    Attributes:
        panel: The reference; every site has at least two copies of each allele in it.
        targets: The held-out samples at the same sites.
        genetic_map: The recombination map that the haplotypes came from.
        typed: (V,) sites of the genotyping array.
        population: Every sample's population.
    """

    panel: Panel
    targets: Panel
    genetic_map: GeneticMap
    typed: BoolArray
    population: dict[str, str]


def simulate(config: SimulationConfig) -> Simulation:
    """Generates reference, targets, map and array.

    Raises:
        ConfigError: Nothing that varies was generated: the region is too short for so few samples.
    """
    import msprime

    rates = _recombination(config)
    per_population = config.reference_per_population + config.targets_per_population
    ancestry = msprime.sim_ancestry(
        samples=dict.fromkeys(POPULATIONS, per_population),
        demography=_demography(),
        recombination_rate=rates,
        random_seed=config.seed,
    )
    mutated = msprime.sim_mutations(
        ancestry, rate=_MUTATION_RATE, model=msprime.BinaryMutationModel(), random_seed=config.seed
    )
    names = [f"{population}{i:04d}" for population in POPULATIONS for i in range(per_population)]
    held_out = np.tile(np.arange(per_population) >= config.reference_per_population, len(POPULATIONS))
    everyone = _everyone(config, mutated, names, held_out)
    reference = [name for name, out in zip(names, held_out, strict=True) if not out]
    panel = everyone.select_samples(reference)
    return Simulation(
        panel=panel,
        targets=everyone.select_samples([name for name, out in zip(names, held_out, strict=True) if out]),
        genetic_map=_genetic_map(config, rates),
        typed=_array(config, panel),
        population={name: name[:3] for name in names},
    )


def _everyone(config: SimulationConfig, mutated: Any, names: list[str], held_out: BoolArray) -> Panel:
    genotypes = mutated.genotype_matrix()
    counts = genotypes[:, np.repeat(~held_out, 2)].sum(axis=1)
    kept = np.minimum(counts, 2 * int((~held_out).sum()) - counts) >= 2
    if not bool(kept.any()):
        raise ConfigError("nothing that varies was generated; take a longer region or more samples")
    rng = np.random.default_rng([config.seed, 1])
    ref = rng.integers(4, size=int(kept.sum()))
    alt = (ref + rng.integers(1, 4, size=len(ref))) % 4
    panel = Panel.from_haplotypes(
        genotypes[kept].T.astype(np.int8),
        contig=config.contig,
        positions=mutated.tables.sites.position[kept].astype(np.int64) + 1,
        samples=names,
        refs=_BASES[ref].tolist(),
        alts=_BASES[alt].tolist(),
    )
    return dataclasses.replace(panel, contig_length=config.length_bases)


def _recombination(config: SimulationConfig) -> msprime.RateMap:
    """Hotspots at random places that do not touch."""
    import msprime

    rng = np.random.default_rng([config.seed, 0])
    places = np.arange(1, config.length_bases // _HOTSPOT_BASES - 1, 2)
    count = min(round(config.hotspots_per_mb * config.length_bases / 1e6), len(places))
    starts = np.sort(rng.choice(places, size=count, replace=False)) * _HOTSPOT_BASES
    borders = np.stack([starts, starts + _HOTSPOT_BASES], axis=1).reshape(-1)
    hot = np.arange(len(borders) + 1) % 2 == 1
    return msprime.RateMap(
        position=np.concatenate([[0], borders, [config.length_bases]]),
        rate=np.where(hot, _HOT_RATE, _COLD_RATE),
    )


def _genetic_map(config: SimulationConfig, rates: Any) -> GeneticMap:
    positions: I64Array = rates.position.astype(np.int64)
    positions[0] = 1
    cm: F64Array = 100 * np.asarray(rates.get_cumulative_mass(rates.position), dtype=np.float64)
    return GeneticMap(positions=positions, cm=cm, contig=config.contig, source="simulated")


def _array(config: SimulationConfig, panel: Panel) -> BoolArray:
    """(V,) common sites (minor allele frequency of at least 5 %), about one in `typed_every_bases`."""
    frequency = panel.alt_frequency()
    common = np.flatnonzero(np.minimum(frequency, 1 - frequency) >= 0.05)
    wanted = min(config.length_bases // config.typed_every_bases, len(common))
    typed = np.zeros(panel.n_sites, dtype=np.bool_)
    typed[np.random.default_rng([config.seed, 2]).choice(common, size=wanted, replace=False)] = True
    return typed


def _demography() -> msprime.Demography:
    import msprime

    split = 21_200 / _GENERATION_YEARS
    model = msprime.Demography()
    model.add_population(name="AFR", initial_size=12_300)
    model.add_population(name="EUR", initial_size=1_000 * np.exp(0.004 * split), growth_rate=0.004)
    model.add_population(name="EAS", initial_size=510 * np.exp(0.0055 * split), growth_rate=0.0055)
    model.add_population(name="OOA", initial_size=2_100)
    model.add_population(name="ANCIENT", initial_size=12_300)
    model.add_population(name="OLDEST", initial_size=7_300)
    model.set_symmetric_migration_rate(["AFR", "EUR"], 3e-5)
    model.set_symmetric_migration_rate(["AFR", "EAS"], 1.9e-5)
    model.set_symmetric_migration_rate(["EUR", "EAS"], 9.6e-5)
    model.add_population_split(time=split, derived=["EUR", "EAS"], ancestral="OOA")
    model.add_symmetric_migration_rate_change(time=split, populations=["AFR", "OOA"], rate=25e-5)
    model.add_population_split(time=140_000 / _GENERATION_YEARS, derived=["OOA", "AFR"], ancestral="ANCIENT")
    model.add_population_split(time=220_000 / _GENERATION_YEARS, derived=["ANCIENT"], ancestral="OLDEST")
    return model
