"""From whom the rates of copying are estimated: some targets, and panel samples left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from vcfrag_core.errors import ConfigError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.retrieval.queries import External
from vcfrag_core.streams import first_numbers
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import BoolArray, I32Array, I64Array


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EstimationConfig:
    """From how much rates are estimated.

    Attributes:
        sites: Typed sites to hide, where there are so many; more come from whole windows.
        alleles: Hidden alleles to impute; so many samples are taken, within the bounds.
        min_samples: Samples at least, where there are so many targets.
        max_samples: Samples at most.
        stand_in_below: Targets below which panel samples are left out, to stand in for the missing ones.
        panel_samples: Panel samples that are left out where typed sites say too little.
        panel_sites: Sites to impute for those, where there are so many; more come from whole windows.
        seed: Of the choice of samples and windows.
    """

    sites: int = 400
    alleles: int = 12_000
    min_samples: int = 16
    max_samples: int = 100
    stand_in_below: int = 8
    panel_samples: int = 16
    panel_sites: int = 20_000
    seed: int = 1

    def __post_init__(self) -> None:
        bounds = 1 <= self.min_samples <= self.max_samples and self.stand_in_below >= 1
        least = min(self.sites, self.alleles, self.panel_samples, self.panel_sites)
        if not bounds or least < 1 or self.seed < 0:
            raise ConfigError(f"an estimate needs samples, sites and alleles, got {self}")


def estimation_cohort(panel: Panel, targets: Targets, config: EstimationConfig | None = None) -> tuple[Targets, int]:
    """The samples to estimate rates from, chosen by a keyed hash of their names, whatever their order.

    Returns:
        Targets, then panel samples that stand in for missing ones and copy from nobody of their own group; and how
        many of them are targets.
    """
    config = config or EstimationConfig()
    n_typed = min(int(targets.observed.sum()), 2 * config.sites)
    wanted = max(config.min_samples, min(config.max_samples, config.alleles // max(1, 2 * n_typed)))
    chosen = drawn_samples(targets.samples, wanted, config.seed)
    cohort = select_targets(targets, chosen)
    missing = config.stand_in_below - len(chosen)
    if missing <= 0:
        return cohort, len(chosen)
    named = named_in_panel(targets.names)
    others = [name for name in panel.samples if name not in named]
    stand_ins = [others[i] for i in drawn_samples(others, missing, config.seed)]
    return _joined(cohort, panel_targets(panel, stand_ins, targets.observed)), len(chosen)


def named_in_panel(names: Iterable[str | External]) -> frozenset[str]:
    """The panel samples among those by whose names targets are searched for."""
    return frozenset(name for name in names if isinstance(name, str))


def drawn_samples(names: Sequence[str], n: int, seed: int = 1) -> I64Array:
    """Numbers of at most n of the names, those of the smallest keyed hashes, in the order of the hashes."""
    hashes = first_numbers("rates", seed, "sample", last=names)
    return np.argsort(hashes, kind="stable")[:n]


def select_targets(targets: Targets, chosen: I64Array) -> Targets:
    """Some of the target samples, in the order given."""
    rows = targets.ploidy.rows(chosen)
    return dataclasses.replace(
        targets,
        samples=tuple(targets.samples[i] for i in chosen.tolist()),
        ploidy=targets.ploidy.select(chosen),
        alleles=targets.alleles[rows],
        names=tuple(targets.names[i] for i in rows.tolist()),
        phase_sets=None if targets.phase_sets is None else targets.phase_sets[chosen],
    )


def panel_targets(panel: Panel, samples: Sequence[str], observed: BoolArray) -> Targets:
    """Panel samples typed at the observed sites, who copy from nobody of their own group.

    Args:
        panel: The panel.
        samples: Whom.
        observed: (V,) typed sites.
    """
    rows = panel.rows_of(samples)
    numbers = np.array([panel.samples.index(name) for name in samples], dtype=np.int64)
    ploidy = panel.ploidy.select(numbers)
    alleles = np.where(observed, panel.haplotypes(rows).astype(np.int8), np.int8(-1))
    return Targets(
        samples=tuple(samples),
        ploidy=ploidy,
        alleles=alleles,
        observed=observed,
        names=ploidy.of_haplotypes(samples),
    )


def _joined(first: Targets, second: Targets) -> Targets:
    return dataclasses.replace(
        first,
        samples=first.samples + second.samples,
        ploidy=Ploidy(np.concatenate([first.ploidy.counts, second.ploidy.counts])),
        alleles=np.concatenate([first.alleles, second.alleles]),
        names=first.names + second.names,
        phase_sets=_joined_sets(first, second),
    )


def _joined_sets(first: Targets, second: Targets) -> I32Array | None:
    """(S, V) phase sets of both; who has none is one set throughout."""
    if first.phase_sets is None and second.phase_sets is None:
        return None
    parts = []
    for some in (first, second):
        one_set = np.zeros((len(some.samples), len(some.observed)), dtype=np.int32)
        parts.append(one_set if some.phase_sets is None else some.phase_sets)
    return np.concatenate(parts)
