"""Generated haplotypes: populations, recombination hotspots, a genotyping array, errors; the same for the same seed.

Simulated with msprime (Baumdicker et al., Genetics 220:iyab229, 2022) under one of `demographies`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vcfrag_core.errors import ConfigError
from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.storage import DenseBits
from vcfrag_core.types import BoolArray, F64Array, I64Array, U8Array
from vcfrag_train.simulate.demographies import OUT_OF_AFRICA, POPULATIONS, demography

if TYPE_CHECKING:
    import msprime

_MUTATION_RATE: Final = 1.25e-8
_COLD_RATE: Final = 4e-9
_HOT_RATE: Final = 3e-7
_HOTSPOT_BASES: Final = 2_000
_TRACT_BASES: Final = 300
_BASES: Final = np.array(list("ACGT"))
_SITES_AT_ONCE: Final = 8 * 256


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SimulationConfig:
    """What is generated.

    Attributes:
        seed: Of everything random here.
        demography: Name of the population history, a key of `demographies.POPULATIONS`.
        reference_per_population: Reference samples of each population.
        targets_per_population: Held-out samples of each population.
        length_bases: Base pairs of the one contig.
        hotspots_per_mb: Recombination hotspots of 2 kb, 75 times as hot as what lies between.
        typed_every_bases: Mean distance of the array's sites.
        least_copies: Copies of either allele that a site must have in the reference.
        gene_conversions_per_crossover: Gene conversions (tracts of 300 bases) for each crossover, on average.
        genotype_error_share: Share of the reference's and the array's genotypes that are wrong.
        switch_errors_per_mb: Switches of phase per megabase and reference sample.
        contig: Its name.
    """

    seed: int = 1
    demography: str = OUT_OF_AFRICA
    reference_per_population: int = 330
    targets_per_population: int = 20
    length_bases: int = 2_000_000
    hotspots_per_mb: int = 18
    typed_every_bases: int = 5_000
    least_copies: int = 2
    gene_conversions_per_crossover: float = 0.0
    genotype_error_share: float = 0.0
    switch_errors_per_mb: float = 0.0
    contig: str = "1"

    def __post_init__(self) -> None:
        if min(self.reference_per_population, self.targets_per_population) < 1:
            raise ConfigError("reference_per_population and targets_per_population must be >= 1")
        if self.length_bases < 50_000 or self.typed_every_bases < 100:
            raise ConfigError("length_bases must be >= 50,000 and typed_every_bases >= 100")
        if not 0 <= self.hotspots_per_mb <= 200:
            raise ConfigError(f"hotspots_per_mb must be in [0, 200], got {self.hotspots_per_mb}")
        if self.demography not in POPULATIONS:
            raise ConfigError(f"no demography {self.demography!r}; known: {', '.join(POPULATIONS)}")
        if self.least_copies < 1 or not 0 <= self.genotype_error_share < 0.5:
            raise ConfigError("least_copies must be >= 1 and genotype_error_share in [0, 0.5)")
        if min(self.gene_conversions_per_crossover, self.switch_errors_per_mb) < 0:
            raise ConfigError("gene_conversions_per_crossover and switch_errors_per_mb must be >= 0")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Reference and targets over the same sites.

    Attributes:
        panel: The reference, with its errors.
        targets: The held-out samples at the same sites, as they are.
        array: The held-out samples at the typed sites, as the array read them.
        genetic_map: The recombination map that the haplotypes came from.
        typed: (V,) sites of the genotyping array.
        population: Every sample's population.
    """

    panel: Panel
    targets: Panel
    array: Panel
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
    populations = POPULATIONS[config.demography]
    per_population = config.reference_per_population + config.targets_per_population
    ancestry = msprime.sim_ancestry(
        samples=dict.fromkeys(populations, per_population),
        demography=demography(config.demography),
        recombination_rate=rates,
        gene_conversion_rate=config.gene_conversions_per_crossover * rates.mean_rate or None,
        gene_conversion_tract_length=_TRACT_BASES if config.gene_conversions_per_crossover else None,
        random_seed=config.seed,
    )
    mutated = msprime.sim_mutations(
        ancestry, rate=_MUTATION_RATE, model=msprime.BinaryMutationModel(), random_seed=config.seed
    )
    population = {f"{name}{i:04d}": name for name in populations for i in range(per_population)}
    held_out = np.tile(np.arange(per_population) >= config.reference_per_population, len(populations))
    everyone = _everyone(config, mutated, list(population), held_out)
    names = list(zip(population, held_out, strict=True))
    panel = everyone.select_samples([name for name, out in names if not out])
    targets = everyone.select_samples([name for name, out in names if out])
    typed = _array(config, panel)
    return Simulation(
        panel=_with_switches(config, _with_genotype_errors(config, panel, 3)),
        targets=targets,
        array=_with_genotype_errors(config, targets.select_sites(np.flatnonzero(typed)), 4),
        genetic_map=_genetic_map(config, rates),
        typed=typed,
        population=population,
    )


def _everyone(config: SimulationConfig, mutated: Any, names: list[str], held_out: BoolArray) -> Panel:
    """All samples at the sites that vary enough among those that are not held out."""
    reference = np.repeat(~held_out, 2)
    positions: list[int] = []
    waiting: list[Any] = []
    packed: list[U8Array] = []
    for variant in mutated.variants(copy=False):
        copies = int(np.count_nonzero(variant.genotypes[reference]))
        if min(copies, int(reference.sum()) - copies) >= config.least_copies:
            positions.append(int(variant.site.position) + 1)
            waiting.append(variant.genotypes.astype(np.uint8))
            if len(waiting) == _SITES_AT_ONCE:
                packed.append(bit.pack(np.stack(waiting, axis=1)))
                waiting.clear()
    if not positions:
        raise ConfigError("nothing that varies was generated; take a longer region or more samples")
    if waiting:
        packed.append(bit.pack(np.stack(waiting, axis=1)))
    rng = np.random.default_rng([config.seed, 1])
    ref = rng.integers(4, size=len(positions))
    alt = (ref + rng.integers(1, 4, size=len(ref))) % 4
    return Panel(
        contig=config.contig,
        positions=np.array(positions, dtype=np.int32),
        refs=tuple(_BASES[ref].tolist()),
        alts=tuple(_BASES[alt].tolist()),
        site_ids=(".",) * len(positions),
        samples=tuple(names),
        ploidy=Ploidy.diploid(len(names)),
        bits=DenseBits(np.concatenate(packed, axis=1), len(positions)),
        contig_length=config.length_bases,
    )


def _with_genotype_errors(config: SimulationConfig, panel: Panel, stream: int) -> Panel:
    """The panel with one allele changed in a share of the genotypes, at random."""
    if config.genotype_error_share == 0:
        return panel
    rng = np.random.default_rng([config.seed, stream])
    count = rng.binomial(panel.n_sites * panel.n_samples, config.genotype_error_share)
    sites = rng.integers(panel.n_sites, size=count)
    packed = panel.packed.copy()
    flips = (np.uint8(1) << (sites & 7).astype(np.uint8)).astype(np.uint8)
    np.bitwise_xor.at(packed, (rng.integers(panel.n_haplotypes, size=count), sites >> 3), flips)
    return dataclasses.replace(panel, bits=DenseBits(packed, panel.n_sites))


def _with_switches(config: SimulationConfig, panel: Panel) -> Panel:
    """The panel with each sample's haplotypes exchanged from random places on."""
    if config.switch_errors_per_mb == 0:
        return panel
    rng = np.random.default_rng([config.seed, 5])
    packed = panel.packed.copy()
    for sample in range(panel.n_samples):
        count = rng.poisson(config.switch_errors_per_mb * config.length_bases / 1e6)
        places = np.searchsorted(panel.positions, rng.integers(1, config.length_bases, size=count))
        exchanged = np.cumsum(np.bincount(places, minlength=panel.n_sites + 1)[: panel.n_sites]) % 2
        first, second = packed[2 * sample], packed[2 * sample + 1]
        differing = (first ^ second) & bit.pack(exchanged[None].astype(np.uint8))[0]
        first ^= differing
        second ^= differing
    return dataclasses.replace(panel, bits=DenseBits(packed, panel.n_sites))


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
