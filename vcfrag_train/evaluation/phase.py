"""`evaluate --phase`: errors of phased files against a true phase, with paired intervals, and where they lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vcfrag_core.errors import ConfigError, EmptyInputError
from vcfrag_core.files.dosages import read_phased, sample_names
from vcfrag_core.files.names import PLACE, files_of_word
from vcfrag_core.files.tables.sites import every_coding, read_typed_sites
from vcfrag_core.files.vcf.reader import Region, name_contigs, open_vcf, parse_region
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_core.scoring.bootstrap import Interval, bootstrap_weights, interval
from vcfrag_core.scoring.phase import PAIRS, RATES, UNPHASED_HETS, PhaseErrors, error_rates, phase_errors
from vcfrag_core.types import F64Array, I64Array
from vcfrag_train.evaluation.inputs import file_of
from vcfrag_train.evaluation.truth import EvaluationConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhaseResult:
    """Errors of one method's files.

    Attributes:
        name: Its label.
        counts: (S, N_COUNTS) of each sample, over all contigs, as `PhaseErrors` has them.
        contigs: Of each contig, its errors by site.
        rates: Each of RATES with its interval.
        change: Of the first method against this one: by how much each rate of the first differs, paired; 0 is the same.
    """

    name: str
    counts: I64Array
    contigs: tuple[PhaseErrors, ...]
    rates: Mapping[str, Interval]
    change: Mapping[str, Interval]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhaseEvaluation:
    """Phased files beside each other.

    Attributes:
        samples: S names.
        positions: Of each contig, by its name, the (V,) positions that were compared.
        left_out: Contigs of the truth that have no site in every file.
        methods: The methods in the order given.
        level: Of the intervals.
    """

    samples: tuple[str, ...]
    positions: Mapping[str, I64Array]
    left_out: tuple[str, ...]
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
    """Compares files with a true phase, at the sites that all of them and the truth have; contigs add up.

    Args:
        phased: Label and file of each method; `{contig}` in a name stands for a file of each contig.
        truth: VCF or BCF whose phase is true; as `phased`.
        config: Resamples and their seed.
        typed: Only these sites, VCF or table; as `phased`.
        region: A contig, or a part of it; all contigs of the truth that every method has unless given.
        progress: Is told what is read.

    Raises:
        EmptyInputError: No common sample, no common site, or no phase to compare in a file.
        InputError and its kinds: A file cannot be read.
    """
    contigs = [] if region is not None else _contigs_of(truth)
    places = _places(phased, truth, contigs) if region is None else [parse_region(region)]
    samples = _common_samples(phased, truth, places)
    positions: dict[str, I64Array] = {}
    found: list[list[PhaseErrors]] = []
    for where in places:
        at, errors = _compared(phased, truth, typed, where, samples, config.threads, progress)
        if len(at):
            positions[where.contig] = at
            found.append(errors)
    if not found:
        raise EmptyInputError("no site is in the truth and in every phased file", path=truth)
    weights = bootstrap_weights(len(samples), config.resamples, config.seed)
    by_method = [tuple(errors) for errors in zip(*found, strict=True)]
    counts = [np.sum([errors.counts for errors in contigs], axis=0) for contigs in by_method]
    _refuse_nothing_compared(counts, phased, truth)
    replicates = [error_rates(own, weights) for own in counts]
    return PhaseEvaluation(
        samples=samples,
        positions=positions,
        left_out=tuple(contig for contig in contigs if contig not in positions),
        methods=tuple(
            PhaseResult(
                name=name,
                counts=counted,
                contigs=contigs,
                rates={rate: interval(own[rate], config.level) for rate in RATES},
                change={rate: interval(_change(replicates[0][rate], own[rate]), config.level) for rate in RATES},
            )
            for (name, _), counted, contigs, own in zip(phased, counts, by_method, replicates, strict=True)
        ),
        level=config.level,
    )


def _compared(
    phased: tuple[tuple[str, Path], ...],
    truth: Path,
    typed: Path | None,
    where: Region,
    samples: tuple[str, ...],
    threads: int,
    progress: Callable[[str], None],
) -> tuple[I64Array, list[PhaseErrors]]:
    """The common positions of a contig or a part of it, and the errors of each method there."""
    contig = where.contig
    wanted = None
    if typed is not None:
        wanted = every_coding(read_typed_sites(file_of(typed, contig), contig, threads=threads))
    progress(f"reading the truth of contig {contig}")
    true = read_phased(file_of(truth, contig), contig, samples, within=where, sites=wanted, threads=threads)
    files = []
    for name, path in phased:
        progress(f"reading {name} on contig {contig}")
        files.append(
            read_phased(file_of(path, contig), contig, samples, within=where, sites=true.sites, threads=threads)
        )
    common = [key for key in true.sites if all(key in file.sites for file in files)]
    at_truth = true.at(common)
    errors = [phase_errors(*file.at(common), *at_truth) for file in files]
    return np.array([key[0] for key in common], dtype=np.int64), errors


def _refuse_nothing_compared(counts: Sequence[I64Array], phased: tuple[tuple[str, Path], ...], truth: Path) -> None:
    """A file without phase has no errors to count, which must not look like one without errors."""
    for own, (_, path) in zip(counts, phased, strict=True):
        if own[:, PAIRS].any():
            continue
        if own[:, UNPHASED_HETS].any():
            raise EmptyInputError("its heterozygotes are not phased (`/`): there is no phase to compare", path=path)
        raise EmptyInputError(
            f"no sample has two heterozygotes whose phase both it and the truth, {truth}, tell", path=path
        )


def _change(first: F64Array, other: F64Array) -> F64Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return first / other - 1


def _places(phased: tuple[tuple[str, Path], ...], truth: Path, contigs: Sequence[str]) -> list[Region]:
    """The contigs of the truth that every method has."""
    if not contigs:
        raise EmptyInputError("the file has no record", path=truth)
    common = list(contigs)
    for _, path in phased:
        there = _contigs_of(path)
        common = [contig for contig in common if contig_alias(contig, there) is not None]
        if not common:
            raise EmptyInputError(
                f"no site is in the truth and in every phased file: it has contigs {name_contigs(there)}, the truth"
                f" {name_contigs(contigs)}",
                path=path,
            )
    return [Region(contig) for contig in common]


def _contigs_of(path: Path) -> list[str]:
    """The contigs that a file, or the files of a pattern, have records of."""
    found: dict[str, None] = {}
    for file in _files_of(path):
        with open_vcf(file) as reader:
            found |= dict.fromkeys(reader.contigs_with_records())
    return list(found)


def _files_of(path: Path) -> list[Path]:
    files = files_of_word(str(path)) if PLACE in str(path) else [path]
    if not files:
        raise ConfigError(f"{path}: no contig has such a file")
    return files


def _common_samples(phased: tuple[tuple[str, Path], ...], truth: Path, places: Sequence[Region]) -> tuple[str, ...]:
    """The samples that every file has, in the order of the first method's."""
    names = [sample_names(file_of(path, where.contig)) for path in (truth, *(p for _, p in phased)) for where in places]
    there = set(names[0]).intersection(*names)
    samples = tuple(name for name in sample_names(file_of(phased[0][1], places[0].contig)) if name in there)
    if not samples:
        raise EmptyInputError("no sample is in the truth and in every phased file", path=truth)
    return samples
