"""What was hidden: the sites of a panel that the targets were not typed at, and what is true there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from vcfrag_core.errors import ConfigError, EmptyInputError, InputError, PloidyError, TargetError
from vcfrag_core.files.dosages import read_truth, sample_names, sites_present
from vcfrag_core.files.tables.samples import read_sample_table
from vcfrag_core.files.tables.sites import SiteKey, every_coding, label, read_typed_sites
from vcfrag_core.genome.contigs import meaning
from vcfrag_core.panel.panel import Panel
from vcfrag_core.targets.people import panel_names
from vcfrag_core.types import BoolArray, F64Array, I8Array, I32Array, IntArray
from vcfrag_train.evaluation.exchanged import recoded_words
from vcfrag_train.evaluation.inputs import EvaluationFiles, file_of

# So many typed sites of which the panel has none are no chance of a short stretch.
_TELLING_SITES: Final = 10


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """How to evaluate.

    Attributes:
        resamples: Bootstrap resamples of the samples; 0 for no intervals.
        seed: Of the resamples.
        level: Of the intervals.
        common_sites: Score only the hidden sites that every file has, instead of refusing files that lack some.
        threads: Threads that decompress.
    """

    resamples: int = 1000
    seed: int = 1
    level: float = 0.95
    common_sites: bool = False
    threads: int = 1

    def __post_init__(self) -> None:
        if self.resamples < 0 or not 0 < self.level < 1 or self.threads < 1:
            raise ConfigError(
                f"resamples must be >= 0, level between 0 and 1, threads >= 1; "
                f"got {self.resamples}, {self.level} and {self.threads}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationTruth:
    """The hidden sites and what is true there.

    Attributes:
        contig: Their contig.
        positions: (V,) positions.
        rows: Row of each site.
        panel_sites: (V,) index of each site in the panel.
        samples: S targets.
        frequency: (V,) ALT frequency of the reference.
        truth: (V, S) true ALT copies, twice those of a sample with one haplotype; -1 missing.
        lone: (S,) samples with one haplotype.
        typed: The panel's typed sites.
        n_panel: Sites of the panel.
        n_typed: Those typed.
        n_lacked: Typed positions in between that the panel lacks.
        n_not_shared: EvaluationTruth sites left out, see `SiteCounts`.
    """

    contig: str
    positions: I32Array
    rows: Mapping[SiteKey, int]
    panel_sites: IntArray
    samples: tuple[str, ...]
    frequency: F64Array
    truth: I8Array
    lone: BoolArray
    typed: frozenset[SiteKey]
    n_panel: int
    n_typed: int
    n_lacked: int
    n_not_shared: int


def load_evaluation_truth(
    files: EvaluationFiles, config: EvaluationConfig, panel: Panel, order: tuple[str, ...] | None = None
) -> EvaluationTruth:
    """The hidden sites of the panel, those of every file only where `common_sites` allows it, with the truth.

    Args:
        files: What to evaluate.
        config: How.
        panel: The contig's.
        order: The samples in the order wanted, where they are those of the first imputed file.

    Raises:
        PloidyError: A sample has one haplotype in the truth where the panel's have two, on an autosome; names it.
    """
    first, true = file_of(files.imputed[0][1], panel.contig), file_of(files.truth, panel.contig)
    samples = sample_names(first)
    if not samples:
        raise EmptyInputError("no samples", path=first)
    if order is not None and set(order) == set(samples):
        samples = order
    typed_file = file_of(files.typed, panel.contig)
    listed = read_typed_sites(typed_file, panel.contig, threads=config.threads, without_alt=True)
    typed = every_coding(listed)
    keys = list(zip(panel.positions.tolist(), panel.refs, panel.alts, strict=True))
    is_hidden = np.array([not _is_typed(key, typed) for key in keys], dtype=np.bool_)
    n_lacked = _lacked_by_panel(listed, keys, is_hidden, typed_file)
    wanted = np.flatnonzero(is_hidden)
    if not wanted.size:
        raise EmptyInputError(f"all {panel.n_sites} sites of the panel are typed; nothing was hidden", path=typed_file)
    if config.common_sites:
        wanted = wanted[_shared_sites(files, config, panel.contig, [keys[i] for i in wanted])]
    rows = {keys[i]: row for row, i in enumerate(wanted)}
    truth = read_truth(true, panel.contig, rows, samples, threads=config.threads)
    refuse_absent(truth.found, rows, panel.contig, true, threads=config.threads, split=True)
    _refuse_lone(truth.lone, samples, panel, true)
    return EvaluationTruth(
        contig=panel.contig,
        positions=panel.positions[wanted],
        rows=rows,
        panel_sites=wanted,
        samples=samples,
        frequency=reference_frequency(panel, samples)[wanted],
        truth=truth.genotypes,
        lone=truth.lone,
        typed=frozenset(key for key, hidden in zip(keys, is_hidden.tolist(), strict=True) if not hidden),
        n_panel=panel.n_sites,
        n_typed=int((~is_hidden).sum()),
        n_lacked=n_lacked,
        n_not_shared=int(is_hidden.sum()) - len(wanted),
    )


def reference_frequency(panel: Panel, targets: Sequence[str]) -> F64Array:
    """(V,) ALT frequency of the panel without the targets.

    Raises:
        TargetError: Nobody is left.
    """
    out = panel_names(targets, panel)
    reference = [name for name in panel.samples if name not in out]
    if not reference:
        raise TargetError(f"all {panel.n_samples} samples of the panel are targets; no reference is left")
    return panel.alt_frequency(panel.rows_of(reference))


def _shared_sites(files: EvaluationFiles, config: EvaluationConfig, contig: str, keys: list[SiteKey]) -> BoolArray:
    """(len(keys),) which sites all files have."""
    rows = {key: row for row, key in enumerate(keys)}
    shared = np.ones(len(keys), dtype=np.bool_)
    for path in (files.truth, *(path for _, path in files.imputed)):
        true = path == files.truth
        shared &= sites_present(file_of(path, contig), contig, rows, threads=config.threads, split=true)
    if not bool(shared.any()):
        raise EmptyInputError(
            f"no hidden site of contig {contig} is in all files: are they of one genome build? Where one lacks the"
            " contig, --region names another to score"
        )
    return shared


def _is_typed(key: SiteKey, typed: frozenset[SiteKey]) -> bool:
    """Whether a site of the panel is typed: as it is, or where everybody has two copies of one of its alleles."""
    position, *alleles = key
    return key in typed or (
        all(len(allele) == 1 for allele in alleles) and any((position, allele, "") in typed for allele in alleles)
    )


def _lacked_by_panel(listed: frozenset[SiteKey], keys: Sequence[SiteKey], is_hidden: BoolArray, path: Path) -> int:
    """Positions of typed sites, between the panel's first and last, at which the panel has no site of these alleles.

    Raises:
        InputError: The panel lacks all of them, and they are more than a few.
    """
    first, last = keys[0][0], keys[-1][0]
    within = {position for position, _, _ in listed if first <= position <= last}
    lacked = within - {key[0] for key, hidden in zip(keys, is_hidden.tolist(), strict=True) if not hidden}
    if len(within) >= _TELLING_SITES and len(lacked) == len(within):
        raise InputError(
            f"none of its {len(within):,} typed sites between {first} and {last} is a site of the panel: is it of the"
            " panel's genome build, and the list that these targets were typed at?",
            path=path,
        )
    return len(lacked)


def _refuse_lone(lone: BoolArray, samples: Sequence[str], panel: Panel, path: Path) -> None:
    """Refuses a truth of one haplotype where there are two: that the other is its like nobody says."""
    known = meaning(panel.contig)
    if known is not None and known.is_autosome and panel.ploidy.is_diploid and bool(lone.any()):
        raise PloidyError(
            f"has one allele at most hidden sites of {panel.contig} where the panel's samples have two, as"
            f" {int(lone.sum())} of {len(samples)} samples here; score the others"
            " (`bcftools view -s ^NAME` of the imputed file), or take a truth of both haplotypes",
            path=path,
            sample=samples[int(np.flatnonzero(lone)[0])],
        )


def refuse_typed(typed: BoolArray, rows: Mapping[SiteKey, int], contig: str, path: Path | str) -> None:
    """Refuses a file that marks as typed what the list of typed sites calls hidden: there it did not impute.

    Raises:
        InputError: Some of the (V,) `typed` is True; names the first such site and the count.
    """
    marked = np.flatnonzero(typed)
    if marked.size:
        first = next(key for key, row in rows.items() if row == marked[0])
        raise InputError(
            f"marks {marked.size:,} of the {len(typed):,} sites to score as typed, the first is {label(contig, first)};"
            " --typed lacks them. Give the target itself, or the list of all sites that it is typed at",
            path=path,
        )


def refuse_untyped(n_imputed: int, n_typed: int, path: Path | str) -> None:
    """Refuses a file that marks most of what the list calls typed as imputed: those would go unscored.

    Raises:
        InputError: As said; a few are records that imputation did not use.
    """
    if n_imputed >= _TELLING_SITES and 2 * n_imputed > n_typed:
        raise InputError(
            f"marks {n_imputed:,} of the {n_typed:,} sites that --typed lists as imputed: is the list of other targets?"
            " Give the target itself, or the list of the sites that it is typed at",
            path=path,
        )


def refuse_absent(
    found: BoolArray, rows: Mapping[SiteKey, int], contig: str, path: Path, *, threads: int = 1, split: bool = False
) -> None:
    """Refuses a file that lacks hidden sites.

    Raises:
        InputError: Some of the (V,) `found` is False; names the first such site and the count, and how many the file
            has with other alleles.
    """
    absent = np.flatnonzero(~found)
    recoded = recoded_words(path, contig, rows, found, threads=threads, split=split) if absent.size else ""
    if absent.size and absent.size == len(found) and not recoded:
        raise InputError(
            f"has none of the {len(found)} hidden sites of contig {contig}: where it lacks the contig, --region names"
            " another to score; else look whether it is of the panel's genome build",
            path=path,
        )
    if absent.size:
        first = next(key for key, row in rows.items() if row == absent[0])
        raise InputError(
            f"lacks {absent.size} of the {len(found)} hidden sites, the first is {label(contig, first)}{recoded}; "
            f"--common-sites scores only the sites that all files have, --region only a part; where records"
            " have several ALT alleles, `bcftools norm -m-` splits them and trims what is padded",
            path=path,
        )


def super_populations(table: Path | None, samples: Sequence[str]) -> dict[str, BoolArray]:
    """(S,) members of each super-population, in the order of their names; samples that the table lacks are in none."""
    if table is None:
        return {}
    rows = read_sample_table(table)
    known = dict(zip(rows.samples, rows.super_population, strict=True))
    found = [known.get(sample) for sample in samples]
    names = sorted({name for name in found if name is not None})
    return {name: np.array([value == name for value in found], dtype=np.bool_) for name in names}


def by_ploidy(lone: BoolArray) -> dict[str, BoolArray]:
    """(S,) samples with one haplotype and with two, of X men and women; nothing where all have as many."""
    return {} if bool(lone.all()) or not bool(lone.any()) else {"one haplotype": lone, "two haplotypes": ~lone}
