"""`evaluate --phase`: errors of phased files against a true phase, with paired intervals, and where they lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vcfrag_core.errors import ConfigError, EmptyInputError
from vcfrag_core.files.dosages import read_phased, sample_names
from vcfrag_core.files.tables.sites import every_coding, read_typed_sites
from vcfrag_core.files.vcf.reader import Region, name_contigs, open_vcf, parse_region
from vcfrag_core.scoring.bootstrap import Interval, bootstrap_weights, interval
from vcfrag_core.scoring.phase import PAIRS, RATES, UNPHASED_HETS, PhaseErrors, error_rates, phase_errors
from vcfrag_core.types import F64Array, I64Array
from vcfrag_train.evaluation.truth import EvaluationConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhaseResult:
    """Errors of one file.

    Attributes:
        name: Its label.
        errors: Counts, by sample and by site.
        rates: Each of RATES with its interval.
        change: Of the first file against this one: by how much each rate of the first differs, paired; 0 is the same.
    """

    name: str
    errors: PhaseErrors
    rates: Mapping[str, Interval]
    change: Mapping[str, Interval]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhaseEvaluation:
    """Phased files beside each other.

    Attributes:
        contig: Name of the contig.
        samples: S names.
        positions: (V,) positions that were compared.
        methods: The files in the order given.
        level: Of the intervals.
    """

    contig: str
    samples: tuple[str, ...]
    positions: I64Array
    methods: tuple[PhaseResult, ...]
    level: float


def evaluate_phase(
    phased: tuple[tuple[str, Path], ...],
    truth: Path,
    config: EvaluationConfig,
    *,
    typed: Path | None = None,
    region: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> PhaseEvaluation:
    """Compares files with a true phase, at the sites that all of them and the truth have.

    Args:
        phased: Label and file of each.
        truth: VCF or BCF whose phase is true.
        config: Resamples and their seed.
        typed: Only these sites, VCF or table.
        region: The contig, or a part of it; needed where the truth has several contigs.
        progress: Is told what is read.

    Raises:
        EmptyInputError: No common sample, no common site, or no phase to compare in a file.
        InputError and its kinds: A file cannot be read.
    """
    where = _region(truth, region)
    samples = _common_samples(phased, truth)
    wanted = None if typed is None else every_coding(read_typed_sites(typed, where.contig, threads=config.threads))
    progress("reading the truth")
    true = read_phased(truth, where.contig, samples, within=where, sites=wanted, threads=config.threads)
    files = []
    for name, path in phased:
        progress(f"reading {name}")
        files.append(read_phased(path, where.contig, samples, within=where, sites=true.sites, threads=config.threads))
    common = [key for key in true.sites if all(key in file.sites for file in files)]
    if not common:
        raise EmptyInputError("no site is in the truth and in every phased file", path=truth)
    weights = bootstrap_weights(len(samples), config.resamples, config.seed)
    at_truth = true.at(common)
    errors = [phase_errors(*file.at(common), *at_truth) for file in files]
    _refuse_nothing_compared(errors, phased, truth)
    replicates = [error_rates(found.counts, weights) for found in errors]
    return PhaseEvaluation(
        contig=where.contig,
        samples=samples,
        positions=np.array([key[0] for key in common], dtype=np.int64),
        methods=tuple(
            PhaseResult(
                name=name,
                errors=found,
                rates={rate: interval(own[rate], config.level) for rate in RATES},
                change={rate: interval(_change(replicates[0][rate], own[rate]), config.level) for rate in RATES},
            )
            for (name, _), found, own in zip(phased, errors, replicates, strict=True)
        ),
        level=config.level,
    )


def _refuse_nothing_compared(errors: Sequence[PhaseErrors], phased: tuple[tuple[str, Path], ...], truth: Path) -> None:
    """A file without phase has no errors to count, which must not look like one without errors."""
    for found, (_, path) in zip(errors, phased, strict=True):
        if found.counts[:, PAIRS].any():
            continue
        if found.counts[:, UNPHASED_HETS].any():
            raise EmptyInputError("its heterozygotes are not phased (`/`): there is no phase to compare", path=path)
        raise EmptyInputError(
            f"no sample has two heterozygotes whose phase both it and the truth, {truth}, tell", path=path
        )


def _change(first: F64Array, other: F64Array) -> F64Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return first / other - 1


def _region(truth: Path, region: str | None) -> Region:
    """What is compared: the region asked for, or the only contig of the truth."""
    if region is not None:
        return parse_region(region)
    with open_vcf(truth) as reader:
        contigs = list(dict.fromkeys(record.CHROM for record in reader))
    if not contigs:
        raise EmptyInputError("the file has no record", path=truth)
    if len(contigs) > 1:
        raise ConfigError(f"--phase {truth} has several contigs ({name_contigs(contigs)}): name one with --region")
    return Region(contigs[0])


def _common_samples(phased: tuple[tuple[str, Path], ...], truth: Path) -> tuple[str, ...]:
    there = set(sample_names(truth)).intersection(*(sample_names(path) for _, path in phased))
    samples = tuple(name for name in sample_names(phased[0][1]) if name in there)
    if not samples:
        raise EmptyInputError("no sample is in the truth and in every phased file", path=truth)
    return samples
