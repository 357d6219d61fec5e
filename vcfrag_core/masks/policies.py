"""Mask policies: how it is drawn which sites are observed. A rate is always the share of sites that are hidden."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import ClassVar, Protocol

import numpy as np

from vcfrag_core.errors import ConfigError, RangeError, ShapeError
from vcfrag_core.masks.spaced import draw_spaced
from vcfrag_core.panel.panel import Panel
from vcfrag_core.shapes import repr_by_shape
from vcfrag_core.streams import Stream
from vcfrag_core.types import BoolArray, F64Array, IntArray

# Lets the rarest sites fill up where there are not enough common ones.
_FLOOR_WEIGHT = 1e-6


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MaskSites:
    """What a policy may know of the sites.

    Attributes:
        positions: (V,) 1-based positions.
        maf: (V,) minor allele frequency among the split's reference haplotypes, in [0, 0.5].
    """

    positions: IntArray
    maf: F64Array

    __repr__ = repr_by_shape

    def __post_init__(self) -> None:
        if self.maf.shape != self.positions.shape or self.maf.ndim != 1:
            raise ShapeError(f"positions {self.positions.shape} and frequencies {self.maf.shape} must both be (V,)")
        if not bool(((self.maf >= 0) & (self.maf <= 0.5)).all()):
            raise RangeError("a minor allele frequency is outside [0, 0.5] or not a number")

    @classmethod
    def of(cls, panel: Panel, rows: IntArray | None = None) -> MaskSites:
        """The panel's sites with their frequencies among the haplotypes `rows` (all unless given)."""
        frequency = panel.alt_frequency(rows)
        return cls(positions=panel.positions, maf=np.minimum(frequency, 1 - frequency))

    @property
    def n_sites(self) -> int:
        return len(self.positions)


class MaskPolicy(Protocol):
    """How a mask is drawn: a frozen dataclass with its own `kind` in configurations."""

    @property
    def kind(self) -> str: ...

    def __hash__(self) -> int: ...

    def observe(self, sites: MaskSites, stream: Stream) -> BoolArray:
        """(V,) observed sites."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class RandomMask:
    """Hides every site with the same probability.

    Attributes:
        rate: Probability of being hidden, in [0, 1].
    """

    kind: ClassVar[str] = "random"
    rate: float

    def __post_init__(self) -> None:
        check_number("rate", self.rate, 0, 1)

    def observe(self, sites: MaskSites, stream: Stream) -> BoolArray:
        return np.asarray(stream.uniform(sites.n_sites) >= self.rate, dtype=np.bool_)


@dataclasses.dataclass(frozen=True, slots=True)
class FrequencyMask:
    """Hides rare sites more often: the odds of being hidden fall from `rare_odds` times the rate's to the rate's.

    At minor allele frequency f the odds are multiplied by 1 + (rare_odds - 1) · half_maf / (half_maf + f).

    Attributes:
        rate: Probability of being hidden that common sites come close to, in [0, 1].
        rare_odds: Factor on the odds of the rarest sites, at least 1.
        half_maf: Frequency at which half of that excess is left.
    """

    kind: ClassVar[str] = "frequency"
    rate: float
    rare_odds: float = 6.0
    half_maf: float = 0.02

    def __post_init__(self) -> None:
        check_number("rate", self.rate, 0, 1)
        check_number("rare_odds", self.rare_odds, 1, 1e6)
        check_number("half_maf", self.half_maf, 1e-6, 0.5)

    def observe(self, sites: MaskSites, stream: Stream) -> BoolArray:
        odds_factor = 1 + (self.rare_odds - 1) * (self.half_maf / (self.half_maf + sites.maf))
        hidden = self.rate * odds_factor / ((1 - self.rate) + self.rate * odds_factor)
        return np.asarray(stream.uniform(sites.n_sites) >= hidden, dtype=np.bool_)


@dataclasses.dataclass(frozen=True, slots=True)
class SpanMask:
    """Hides runs of consecutive sites.

    The contig is cut into blocks of geometric length, each hidden with probability `rate`; adjoining hidden blocks
    make one run, so runs have a mean length of `mean_sites`.

    Attributes:
        rate: Probability of being hidden, in [0, 1).
        mean_sites: Mean length of a hidden run, at least 1 / (1 - rate).
    """

    kind: ClassVar[str] = "span"
    rate: float
    mean_sites: float = 32.0

    def __post_init__(self) -> None:
        check_number("rate", self.rate, 0, 1 - 1e-6)
        check_number("mean_sites", self.mean_sites, 1, 1e9)
        if self.mean_sites * (1 - self.rate) < 1 - 1e-9:
            raise ConfigError(f"at a rate of {self.rate:g} hidden runs are longer than {self.mean_sites:g} sites")

    def observe(self, sites: MaskSites, stream: Stream) -> BoolArray:
        starts = stream.uniform(sites.n_sites) * (self.mean_sites * (1 - self.rate)) < 1
        starts[:1] = True
        block = np.cumsum(starts) - 1
        kept = stream.uniform(sites.n_sites)[starts] >= self.rate
        return np.asarray(kept[block], dtype=np.bool_)


@dataclasses.dataclass(frozen=True, slots=True)
class SitesMask:
    """Observes the given sites and no other: a genotyping array.

    Attributes:
        sites: Ascending site indices.
    """

    kind: ClassVar[str] = "sites"
    sites: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.sites or any(type(i) is not int for i in self.sites):
            raise ConfigError("a sites mask needs at least one site index, all of them integers")
        if self.sites[0] < 0 or any(b <= a for a, b in zip(self.sites, self.sites[1:], strict=False)):
            raise ConfigError("the site indices of a sites mask must ascend from 0 without repeats")

    @classmethod
    def matching(cls, panel: Panel, records: Iterable[tuple[int, str, str]]) -> SitesMask:
        """The panel's sites that an array of (position, REF, ALT) records types; the others are left aside.

        Raises:
            ConfigError: None of the records is in the panel.
        """
        wanted = set(records)
        keys = zip(panel.positions.tolist(), panel.refs, panel.alts, strict=True)
        return cls(tuple(i for i, key in enumerate(keys) if key in wanted))

    def observe(self, sites: MaskSites, stream: Stream) -> BoolArray:
        if self.sites[-1] >= sites.n_sites:
            raise RangeError(f"the sites mask names site {self.sites[-1]}, the panel has {sites.n_sites}")
        observed = np.zeros(sites.n_sites, dtype=np.bool_)
        observed[list(self.sites)] = True
        return observed


@dataclasses.dataclass(frozen=True, slots=True)
class ArrayLikeMask:
    """Observes what a genotyping array would: few sites, mostly common, roughly evenly spaced.

    A site's chance grows with its minor allele frequency f as x / (1 + x), x = (f / half_maf) ** 2.5. On 440 sites of
    a real 330k array among 24,804 panel sites of chr20, half_maf = 0.1 gives the shares kept by frequency: 0.1 % of
    MAF 1 to 2 %, 0.5 % of 2 to 5 %, 2.5 % of 5 to 10 %, 6 % of 10 to 20 % and 8 % above. Spacing comes from drawing
    one site in each stretch of equal summed chance.

    Attributes:
        least_hidden: Least share of sites hidden; the share is drawn evenly between the two.
        most_hidden: Largest share of sites hidden.
        half_maf: Minor allele frequency that has half the chance of the commonest.
    """

    kind: ClassVar[str] = "array"
    least_hidden: float = 0.93
    most_hidden: float = 0.98
    half_maf: float = 0.1

    def __post_init__(self) -> None:
        check_number("least_hidden", self.least_hidden, 0, 1)
        check_number("most_hidden", self.most_hidden, 0, 1)
        check_number("half_maf", self.half_maf, 1e-6, 0.5)
        if self.least_hidden > self.most_hidden:
            raise ConfigError(f"least_hidden {self.least_hidden:g} exceeds most_hidden {self.most_hidden:g}")

    def observe(self, sites: MaskSites, stream: Stream) -> BoolArray:
        share = self.least_hidden + float(stream.uniform(1)[0]) * (self.most_hidden - self.least_hidden)
        n_kept = min(sites.n_sites, max(1, round(sites.n_sites * (1 - share))))
        ratio = sites.maf / self.half_maf
        # x ** 2.5 without pow, which is not rounded alike everywhere.
        odds = ratio * ratio * np.sqrt(ratio)
        observed = np.zeros(sites.n_sites, dtype=np.bool_)
        observed[draw_spaced(odds / (1 + odds) + _FLOOR_WEIGHT, n_kept, stream)] = True
        return observed


@dataclasses.dataclass(frozen=True, slots=True)
class MixtureMask:
    """Each draw follows one of several policies, chosen by share.

    Attributes:
        policies: The policies.
        shares: Their probabilities, one each; positive, summing to 1.
    """

    kind: ClassVar[str] = "mixture"
    policies: tuple[MaskPolicy, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.policies or len(self.policies) != len(self.shares):
            raise ConfigError(f"a mixture of {len(self.policies)} policies has {len(self.shares)} shares")
        for share in self.shares:
            check_number("a share", share, 0, 1)
        if abs(sum(self.shares) - 1) > 1e-9:
            raise ConfigError(f"the shares of a mixture sum to {sum(self.shares):g}, not 1")

    def observe(self, sites: MaskSites, stream: Stream) -> BoolArray:
        ends = np.cumsum(self.shares)
        chosen = int(np.searchsorted(ends[:-1], stream.uniform(1)[0], side="right"))
        return self.policies[chosen].observe(sites, stream)


def check_number(name: str, value: object, low: float, high: float) -> None:
    """Refuses what is not a number in [low, high].

    Raises:
        ConfigError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigError(f"{name} must be a number in [{low:g}, {high:g}], got {value!r}")
