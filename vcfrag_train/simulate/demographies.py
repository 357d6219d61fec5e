"""Population histories to simulate under: published ones of people, and a breed of livestock after a bottleneck."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import msprime

OUT_OF_AFRICA: Final = "out-of-africa"
AMERICAN_ADMIXTURE: Final = "american-admixture"
BREED: Final = "breed"
_GENERATION_YEARS: Final = 25

POPULATIONS: Final[dict[str, tuple[str, ...]]] = {
    OUT_OF_AFRICA: ("AFR", "EUR", "EAS"),
    AMERICAN_ADMIXTURE: ("AFR", "EUR", "EAS", "ADM"),
    BREED: ("OWN", "SISTER"),
}
# Generations ago from which a size of the breed holds, and that size.
_BREED_SIZES: Final = ((5, 150), (25, 1_000), (120, 2_000), (600, 5_000), (3_000, 15_000), (20_000, 40_000))
_BREED_SIZE_NOW: Final = 1_000
_BREEDS_SPLIT: Final = 60


def demography(name: str) -> msprime.Demography:
    """The history of that name, with the populations that `POPULATIONS` lists."""
    return _MODELS[name]()


def _out_of_africa() -> msprime.Demography:
    """Gutenkunst et al., PLoS Genet 5:e1000695, 2009, table 1."""
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


def _american_admixture() -> msprime.Demography:
    """Browning et al., PLoS Genet 7:e1001385, 2011: a population mixed twelve generations ago of three others."""
    import msprime

    split, mixed = 920, 12
    model = msprime.Demography()
    model.add_population(name="AFR", initial_size=14_474)
    model.add_population(name="EUR", initial_size=1_032 * np.exp(0.0038 * split), growth_rate=0.0038)
    model.add_population(name="EAS", initial_size=554 * np.exp(0.0048 * split), growth_rate=0.0048)
    model.add_population(name="ADM", initial_size=30_000 * np.exp(0.05 * mixed), growth_rate=0.05)
    model.add_population(name="OOA", initial_size=1_861)
    model.add_population(name="ANCIENT", initial_size=14_474)
    model.add_population(name="OLDEST", initial_size=7_310)
    model.set_symmetric_migration_rate(["AFR", "EUR"], 2.5e-5)
    model.set_symmetric_migration_rate(["AFR", "EAS"], 0.78e-5)
    model.set_symmetric_migration_rate(["EUR", "EAS"], 3.11e-5)
    model.add_admixture(time=mixed, derived="ADM", ancestral=["AFR", "EUR", "EAS"], proportions=[1 / 6, 1 / 3, 1 / 2])
    model.add_population_split(time=split, derived=["EUR", "EAS"], ancestral="OOA")
    model.add_symmetric_migration_rate_change(time=split, populations=["AFR", "OOA"], rate=15e-5)
    model.add_population_split(time=2_040, derived=["OOA", "AFR"], ancestral="ANCIENT")
    model.add_population_split(time=5_920, derived=["ANCIENT"], ancestral="OLDEST")
    return model


def _breed() -> msprime.Demography:
    """Two breeds of one stock: founded 25 generations ago by few, as dairy cattle are; sizes of our own choice."""
    import msprime

    model = msprime.Demography()
    for name in POPULATIONS[BREED]:
        model.add_population(name=name, initial_size=_BREED_SIZE_NOW)
    model.add_population(name="STOCK", initial_size=1_000)
    model.add_population_split(time=_BREEDS_SPLIT, derived=list(POPULATIONS[BREED]), ancestral="STOCK")
    for time, size in _BREED_SIZES:
        for name in POPULATIONS[BREED] if time < _BREEDS_SPLIT else ("STOCK",):
            model.add_population_parameters_change(time=time, initial_size=size, population=name)
    model.sort_events()
    return model


_MODELS: Final[dict[str, Callable[[], msprime.Demography]]] = {
    OUT_OF_AFRICA: _out_of_africa,
    AMERICAN_ADMIXTURE: _american_admixture,
    BREED: _breed,
}
