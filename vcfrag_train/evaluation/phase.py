"""`evaluate --phase`: errors of phased files against a true phase, with paired intervals, and where they lie."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from vcfrag_core.errors import ConfigError, EmptyInputError
from vcfrag_core.files.dosages import read_phased, sample_names
from vcfrag_core.files.tables.sites import every_coding, read_typed_sites
from vcfrag_core.files.vcf.reader import Region, name_contigs, open_vcf, parse_region
from vcfrag_core.scoring.bootstrap import Interval, bootstrap_weights, interval
from vcfrag_core.scoring.phase import PAIRS, RATES, UNPHASED_HETS, PhaseErrors, error_rates, phase_errors
from vcfrag_core.types import F64Array, I64Array
from vcfrag_train.evaluation.tables import percent
from vcfrag_train.evaluation.truth import EvaluationConfig

_SHOWN = {
    "switch_error": "switch error",
    "flips": "flips",
    "switches_without_flips": "switches, no flips",
    "blockwise_error": "blockwise error",
}


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


def print_phase(evaluation: PhaseEvaluation, console: Console) -> None:
    """Prints a row for each file."""
    n_pairs = int(evaluation.methods[0].errors.pair_sites.sum())
    console.print(
        f"{len(evaluation.samples)} samples, {len(evaluation.positions):,} sites of contig {evaluation.contig},"
        f" {n_pairs:,} pairs of neighbouring heterozygotes"
    )
    table = Table(title=f"errors of phase ({100 * evaluation.level:g} % intervals)", title_justify="left")
    table.add_column("file", no_wrap=True)
    first = evaluation.methods[0].name
    for title in (*_SHOWN.values(), "switches", f"switch error of {first} against it"):
        table.add_column(title, justify="right")
    for method in evaluation.methods:
        cells = [_rate(method.rates[name]) for name in _SHOWN]
        against = "" if method is evaluation.methods[0] else percent(method.change["switch_error"])
        table.add_row(method.name, *cells, f"{int(method.errors.switch_sites.sum()):,}", against)
    console.print(table)


def _rate(rate: Interval) -> str:
    if not np.isfinite(rate.value):
        return "–"
    if not np.isfinite(rate.low):
        return f"{rate.value:.4%}"
    return f"{rate.value:.3%}\n[{max(0.0, rate.low):.3%}, {rate.high:.3%}]"


def as_html(evaluation: PhaseEvaluation) -> str:
    """The figures as a table, and where along the contig the switches lie."""
    from vcfrag_train.evaluation.phase_plot import switches_along

    rows = "".join(
        f"<tr><td>{html.escape(method.name)}</td>"
        + "".join(f"<td>{_rate(method.rates[name])}</td>" for name in _SHOWN)
        + "</tr>"
        for method in evaluation.methods
    )
    titles = "".join(f"<th>{title}</th>" for title in ("file", *_SHOWN.values()))
    title = f"Phase of {len(evaluation.samples)} samples on contig {html.escape(evaluation.contig)}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font-family:sans-serif;max-width:60rem;margin:2rem auto}td,th{padding:.3rem .8rem;"
        "text-align:right;white-space:pre-line}td:first-child,th:first-child{text-align:left}</style>"
        f"<h1>{title}</h1><table><tr>{titles}</tr>{rows}</table>{switches_along(evaluation)}</html>\n"
    )


def as_json(evaluation: PhaseEvaluation) -> str:
    """All figures, the counts of each sample among them."""
    made: dict[str, Any] = {
        "contig": evaluation.contig,
        "samples": list(evaluation.samples),
        "n_sites": len(evaluation.positions),
        "level": evaluation.level,
        "methods": [
            {
                "name": method.name,
                "rates": {name: _plain(rate) for name, rate in method.rates.items()},
                "change_of_the_first": {name: _plain(change) for name, change in method.change.items()},
                "switches": method.errors.counts[:, 1].tolist(),
                "pairs": method.errors.counts[:, 0].tolist(),
            }
            for method in evaluation.methods
        ],
    }
    return json.dumps(made, indent=1) + "\n"


def as_tsv(evaluation: PhaseEvaluation) -> str:
    """A line for each file and rate."""
    lines = ["file\trate\tvalue\tlow\thigh"]
    for method in evaluation.methods:
        for name, rate in method.rates.items():
            lines.append("\t".join([method.name, name, *(_number(x) for x in (rate.value, rate.low, rate.high))]))
    return "\n".join(lines) + "\n"


def _plain(rate: Interval) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in (rate.value, rate.low, rate.high)]


def _number(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else ""
