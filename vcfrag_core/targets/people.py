"""Target samples that are in the panel: by their name, and by their genotypes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from vcfrag_core.panel.panel import Panel, alleles_at, frequency_at
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I64Array

SAME_PERSON_CONCORDANCE = 0.98
MIN_SITES = 50
_MAX_SITES = 1024
_COMMON = 0.05


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SampleMatch:
    """A target sample that the panel holds.

    Attributes:
        sample: Its name in the target.
        panel_samples: Panel samples that are left out when this one is imputed; the best match first.
        by_name: Whether one of them has its name.
        by_genotype: Whether one of them has its genotypes.
        concordance: Share of equal genotypes with the first; NaN where it could not be told.
    """

    sample: str
    panel_samples: tuple[str, ...]
    by_name: bool
    by_genotype: bool
    concordance: float

    def __str__(self) -> str:
        how = " and ".join(["by name"] * self.by_name + ["by genotype"] * self.by_genotype)
        others = [name for name in self.panel_samples if name != self.sample]
        same = f" = {', '.join(others)}" if others else ""
        return f"{self.sample}{same} ({how})"


def find_panel_samples(
    samples: tuple[str, ...], alleles: I8Array, observed: BoolArray, panel: Panel, ploidy: Ploidy | None = None
) -> list[SampleMatch]:
    """Target samples that the panel holds, by name or by genotype.

    Two people count as one when 98 % of their genotypes at common typed sites are equal (without phase): unrelated
    ones of the 1000 Genomes reach 79 % on 2 Mb of an array. Identical twins, and siblings who share a short region
    on both sides, cannot be told from the person; leaving them out is right. Where a name and the genotypes point at
    different panel samples, both are left out.

    Args:
        samples: S target samples.
        alleles: (Q, V) target alleles, -1 missing.
        observed: (V,) typed sites.
        panel: The panel.
        ploidy: Which of the target's haplotypes are one sample; each two in turn unless given.
    """
    sites = _informative(panel, observed)
    if len(sites) >= MIN_SITES:
        concordance = genotype_concordance(alleles[:, sites], panel, sites, ploidy)
    else:
        concordance = np.full((len(samples), panel.n_samples), np.nan)
    names = {name: i for i, name in enumerate(panel.samples)}
    found = [_person(sample, concordance[s], names, panel) for s, sample in enumerate(samples)]
    return [person for person in found if person is not None]


def find_by_name(samples: Sequence[str], panel: Panel) -> list[SampleMatch]:
    """Target samples whose names are in the panel, whatever their genotypes."""
    known = set(panel.samples)
    return [
        SampleMatch(sample=name, panel_samples=(name,), by_name=True, by_genotype=False, concordance=float("nan"))
        for name in samples
        if name in known
    ]


def as_decided(sample: str, panel_samples: tuple[str, ...]) -> SampleMatch:
    """A match that was found before."""
    by_name = sample in panel_samples
    return SampleMatch(
        sample=sample,
        panel_samples=panel_samples,
        by_name=by_name,
        by_genotype=not by_name or len(panel_samples) > 1,
        concordance=float("nan"),
    )


def groups_of_matches(people: list[SampleMatch]) -> dict[str, str]:
    """Panel sample to exclusion group, for those that stand for one person under several names."""
    groups: dict[str, str] = {}
    for person in people:
        known = {groups.get(name, name) for name in person.panel_samples}
        group = min(known)
        joined = [name for name, old in groups.items() if old in known]
        groups.update(dict.fromkeys([*joined, *person.panel_samples], group))
    return groups


def _person(sample: str, concordance: F64Array, names: dict[str, int], panel: Panel) -> SampleMatch | None:
    same = np.flatnonzero(concordance >= SAME_PERSON_CONCORDANCE)
    same = same[np.argsort(-concordance[same], kind="stable")]
    named = names.get(sample)
    matches = list(dict.fromkeys([*same.tolist(), *([] if named is None else [named])]))
    if not matches:
        return None
    return SampleMatch(
        sample=sample,
        panel_samples=tuple(panel.samples[i] for i in matches),
        by_name=named is not None,
        by_genotype=bool(len(same)),
        concordance=float(concordance[matches[0]]),
    )


def genotype_concordance(alleles: I8Array, panel: Panel, sites: I64Array, ploidy: Ploidy | None = None) -> F64Array:
    """(S, panel samples) share of equal unphased genotypes at the sites, missing ones left out; NaN without any.

    A lone haplotype counts as homozygous, so that a male is himself however he is written.

    Args:
        alleles: (Q, M) target alleles at the sites.
        panel: The panel.
        sites: (M,) panel sites.
        ploidy: Which haplotypes are one sample; each two in turn unless given.
    """
    target = _one_hot(_copies(alleles, Ploidy.of_rows(len(alleles), ploidy)))
    called = target.sum(axis=(0, 2))
    equal = np.empty((target.shape[1], panel.n_samples))
    starts = panel.ploidy.starts
    for start in range(0, panel.n_samples, 512):
        block = np.arange(start, min(start + 512, panel.n_samples))
        rows = slice(int(starts[block[0]]), int(starts[block[-1] + 1]))
        here = alleles_at(panel, sites, rows).astype(np.int8)
        reference = _one_hot(_copies(here, panel.ploidy.select(block)))
        equal[:, start : start + 512] = sum(target[g] @ reference[g].T for g in range(3))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(equal / called[:, None], dtype=np.float64)


def _informative(panel: Panel, observed: BoolArray) -> I64Array:
    """Typed sites that tell people apart: common ones if there are enough, evenly along the contig."""
    sites = _evenly(np.flatnonzero(observed), 4 * _MAX_SITES)
    frequency = frequency_at(panel, sites)
    common = sites[np.minimum(frequency, 1 - frequency) >= _COMMON]
    return _evenly(common if len(common) >= MIN_SITES else sites, _MAX_SITES)


def _evenly(sites: I64Array, most: int) -> I64Array:
    return sites if len(sites) <= most else sites[np.arange(most) * len(sites) // most]


def _copies(alleles: I8Array, ploidy: Ploidy) -> I8Array:
    """(S, M) ALT copies, twice those of a lone haplotype; -1 where an allele is missing."""
    return np.where(ploidy.every(alleles >= 0), ploidy.copies(alleles), -1).astype(np.int8)


def _one_hot(copies: I8Array) -> F32Array:
    """(3, S, M) indicator of each genotype."""
    return np.stack([(copies == g).astype(np.float32) for g in range(3)])
