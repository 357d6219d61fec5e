"""Target samples that are in the panel: by their name; and those that are like one of its samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from vcfrag_core.panel.panel import Panel, alleles_at, frequency_at
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.targets.evenly import evenly
from vcfrag_core.targets.likeness import Likeness, log_likelihoods, sites_apart
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I64Array

# Panel samples that a target is compared with in earnest: those whose genotypes are nearly all equal, and the nearest.
_NEARLY_EQUAL: Final = 0.98
_MAX_COMPARED: Final = 4
_MAX_SEARCHED_SITES: Final = 512
MIN_SITES: Final = 20
_COMMON: Final = 0.05
_PAIRS_AT_ONCE: Final = 256
# Targets times panel samples whose likeness is in memory.
_SAMPLES_AT_ONCE: Final = 512
_CELLS_AT_ONCE: Final = 5_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SampleMatch:
    """A target sample that does not copy from some of the panel's.

    Attributes:
        sample: Its name in the target.
        panel_samples: Panel samples that are left out when this one is imputed.
        by_name: Whether one of them has its name, where PLINK's FID_IID and IID are one.
        by_genotype: Whether one of them was told to be the same person.
    """

    sample: str
    panel_samples: tuple[str, ...]
    by_name: bool
    by_genotype: bool

    def __str__(self) -> str:
        how = " and ".join(["by name"] * self.by_name + ["by genotype"] * self.by_genotype)
        others = [name for name in self.panel_samples if name != self.sample]
        same = f" = {', '.join(others)}" if others else ""
        return f"{self.sample}{same} ({how})"


def match_samples(samples: Sequence[str], panel: Panel, same: Mapping[str, Sequence[str]]) -> list[SampleMatch]:
    """Target samples that the panel holds: those of its names, and those told to be the same person.

    `FID_IID`, as PLINK calls a sample in a VCF, has the name `IID`, too. Of a panel `IID_IID` and `0_IID` have; any
    other `FID_IID` has where nobody else there has this IID. Whoever has the very name comes first.

    Args:
        samples: Target samples.
        panel: The panel.
        same: Panel samples that a target sample was told to be.
    """
    known = set(panel.samples)
    found = []
    for name, named, _ in _named(samples, panel.samples):
        told = [other for other in same.get(name, ()) if other in known and other not in named]
        if named or told:
            others = tuple(named + told)
            found.append(SampleMatch(sample=name, panel_samples=others, by_name=bool(named), by_genotype=bool(told)))
    return found


def panel_names(samples: Sequence[str], panel: Panel) -> set[str]:
    """The panel's samples that have the name of any of these, as `match_samples` finds them."""
    return {name for _, named, _ in _named(samples, panel.samples) for name in named}


def ambiguous_names(samples: Sequence[str], panel: Panel) -> dict[str, list[str]]:
    """Target samples whose name is the end of several of the panel's, and those: which one is meant nobody knows."""
    return {name: several for name, _, several in _named(samples, panel.samples) if several}


def _named(samples: Sequence[str], panel_samples: Sequence[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Each sample, the panel's that have its name, and where none has, the several that end in it."""
    by_name = {name: [name] for name in panel_samples}
    by_end: dict[str, list[str]] = {}
    for name in panel_samples:
        if "_" in name:
            by_name.setdefault(_individual(name), []).append(name)
            for end in _names(name)[1:]:
                by_end.setdefault(end, []).append(name)
    for name in samples:
        named = list(dict.fromkeys(other for called in _names(name) for other in by_name.get(called, ())))
        individual = _individual(name)
        ending = by_end.get(individual, []) if individual and not named else []
        yield name, named or ending[: len(ending) == 1], ending if len(ending) > 1 else []


def _individual(sample: str) -> str:
    """The IID of `IID_IID` and of `0_IID`, which are no names but PLINK's; the name itself of any other."""
    half = len(sample) // 2
    if sample[:half] == sample[half + 1 :] and sample[half : half + 1] == "_":
        return sample[:half]
    return sample.removeprefix("0_")


def _names(sample: str) -> list[str]:
    """A sample's name, and what of it comes after each underscore."""
    words = sample.split("_")
    return ["_".join(words[i:]) for i in range(len(words))]


def likest_samples(
    samples: Sequence[str], alleles: I8Array, observed: BoolArray, panel: Panel, cm: F64Array, ploidy: Ploidy
) -> list[Likeness]:
    """Each target sample beside the panel samples of other names that are most like it.

    Nothing is said where fewer than `MIN_SITES` sites are far enough apart, nor where someone has a single haplotype.

    Args:
        samples: S target samples.
        alleles: (Q, M) target alleles at the typed sites, -1 missing.
        observed: (V,) typed sites.
        panel: The panel.
        cm: (V,) genetic positions.
        ploidy: Which of the target's haplotypes are one sample.
    """
    sites = _informative(panel, observed)
    apart = sites_apart(cm, sites)
    if not (len(apart) >= MIN_SITES and ploidy.is_diploid and panel.ploidy.is_diploid):
        return []
    typed = np.flatnonzero(observed)
    searched = evenly(sites, _MAX_SEARCHED_SITES)
    columns, apart_columns = np.searchsorted(typed, searched), np.searchsorted(typed, apart)
    place = {name: i for i, name in enumerate(panel.samples)}
    named = {name: [place[other] for other in others] for name, others, _ in _named(samples, panel.samples)}
    at_once = max(_PAIRS_AT_ONCE, _CELLS_AT_ONCE // panel.n_samples)
    found: list[Likeness] = []
    for first in range(0, len(samples), at_once):
        block = np.arange(first, min(first + at_once, len(samples)))
        rows = ploidy.rows(block)
        concordance = genotype_concordance(alleles[rows[:, None], columns], panel, searched, ploidy.select(block))
        pairs = [(s, p) for s in block.tolist() for p in _compared(concordance[s - first], named[samples[s]])]
        for start in range(0, len(pairs), _PAIRS_AT_ONCE):
            some = pairs[start : start + _PAIRS_AT_ONCE]
            found += _likenesses(some, samples, alleles, panel, cm, ploidy, apart, apart_columns)
    return found


def _compared(concordance: F64Array, named: list[int]) -> list[int]:
    """Panel samples to compare a target with, never those of its name."""
    values = np.where(np.isnan(concordance), -1.0, concordance)
    values[named] = -1.0
    nearly_equal = np.flatnonzero(values >= _NEARLY_EQUAL)
    if not len(nearly_equal):
        nearest = int(values.argmax())
        return [nearest] if values[nearest] >= 0 else []
    order = np.argsort(-values[nearly_equal], kind="stable")[:_MAX_COMPARED]
    return [int(p) for p in nearly_equal[order]]


def _likenesses(
    pairs: Sequence[tuple[int, int]],
    samples: Sequence[str],
    alleles: I8Array,
    panel: Panel,
    cm: F64Array,
    ploidy: Ploidy,
    sites: I64Array,
    columns: I64Array,
) -> list[Likeness]:
    """What is known of pairs at some sites, which are these columns of the alleles."""
    targets, others = (np.array(side, dtype=np.int64) for side in zip(*pairs, strict=True))
    rows = panel.ploidy.rows(others)
    first = _copies(alleles[ploidy.rows(targets)[:, None], columns], ploidy.select(targets))
    second = panel.ploidy.select(others).copies(alleles_at(panel, sites, rows).astype(np.int8)).astype(np.int8)
    logs = log_likelihoods(first, second, frequency_at(panel, sites), cm[sites])
    known = first >= 0
    return [
        Likeness(
            sample=samples[s],
            panel_sample=panel.samples[p],
            contigs=(panel.contig,),
            n_sites=int(known[i].sum()),
            cm=float(cm[sites[-1]] - cm[sites[0]]),
            n_equal=int((first[i] == second[i]).sum()),
            log_likelihoods=tuple(logs[i].tolist()),
        )
        for i, (s, p) in enumerate(pairs)
    ]


def groups_of_matches(people: list[SampleMatch]) -> dict[str, str]:
    """Panel sample to exclusion group, for those that stand for one person under several names."""
    groups: dict[str, str] = {}
    for person in people:
        known = {groups.get(name, name) for name in person.panel_samples}
        group = min(known)
        joined = [name for name, old in groups.items() if old in known]
        groups.update(dict.fromkeys([*joined, *person.panel_samples], group))
    return groups


def genotype_concordance(alleles: I8Array, panel: Panel, sites: I64Array, ploidy: Ploidy | None = None) -> F64Array:
    """(S, panel samples) share of equal unphased genotypes at the sites, missing ones left out; NaN without any.

    A lone haplotype counts as homozygous, so that a male is himself however he is written.

    Args:
        alleles: (Q, M) target alleles at the sites.
        panel: The panel.
        sites: (M,) panel sites.
        ploidy: Which haplotypes are one sample; each two in turn unless given.
    """
    none, one, two = _one_hot(_copies(alleles, Ploidy.of_rows(len(alleles), ploidy)))
    called = (none + one + two).sum(axis=1)
    # The panel lacks no call: who has neither one copy nor two has none, so that two products tell all three.
    without = none.sum(axis=1, keepdims=True)
    more = np.concatenate([one - none, two - none], axis=1).T
    share = np.empty((len(none), panel.n_samples))
    starts = panel.ploidy.starts
    # Of a large panel many samples are read at once, since every reading goes through its blocks.
    for first in range(0, panel.n_samples, 32 * _SAMPLES_AT_ONCE):
        several = range(first, min(first + 32 * _SAMPLES_AT_ONCE, panel.n_samples))
        read = alleles_at(panel, sites, slice(int(starts[first]), int(starts[several.stop]))).astype(np.int8)
        for start in several[::_SAMPLES_AT_ONCE]:
            block = np.arange(start, min(start + _SAMPLES_AT_ONCE, several.stop))
            here = read[int(starts[start] - starts[first]) : int(starts[block[-1] + 1] - starts[first])]
            copies = panel.ploidy.select(block).copies(here)
            reference = np.concatenate([copies == 1, copies == 2], axis=1).astype(np.float32)
            share[:, block] = (reference @ more).T + without
    with np.errstate(invalid="ignore", divide="ignore"):
        share /= called[:, None]
    return share


def _informative(panel: Panel, observed: BoolArray) -> I64Array:
    """Typed sites that tell people apart: common ones."""
    sites = np.flatnonzero(observed)
    frequency = frequency_at(panel, sites)
    return sites[np.minimum(frequency, 1 - frequency) >= _COMMON]


def _copies(alleles: I8Array, ploidy: Ploidy) -> I8Array:
    """(S, M) ALT copies, twice those of a lone haplotype; -1 where an allele is missing."""
    return np.where(ploidy.every(alleles >= 0), ploidy.copies(alleles), -1).astype(np.int8)


def _one_hot(copies: I8Array) -> F32Array:
    """(3, S, M) indicator of each genotype."""
    return np.stack([(copies == g).astype(np.float32) for g in range(3)])
