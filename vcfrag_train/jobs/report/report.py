"""A job as one HTML page that needs nothing else: what was read, how good it is likely to be, and what it cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np

from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.scoring.accuracy import GROUPS, N_BINS
from vcfrag_core.targets.likeness import TESTED, Relation
from vcfrag_core.targets.records import MEANING, Reason
from vcfrag_core.types import F64Array
from vcfrag_train.jobs.report import plots
from vcfrag_train.jobs.report.summary import JobSummary, SampleSummary

_TEMPLATE: Final = "job.html.j2"
_MOST_SAMPLES: Final = 25
_LOW_CALL_RATE: Final = 0.95
# Robust standard deviations beyond which a sample is named.
_FAR: Final = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """A table: title, note, column heads, and rows of which the first cell is a head, too."""

    title: str
    note: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True, slots=True)
class Plot:
    """A figure with its caption, which also describes it to a screen reader."""

    title: str
    caption: str
    svg: str


def write_report(summary: JobSummary, path: Path) -> None:
    """Writes the page, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(render(summary), encoding="utf-8")


def render(summary: JobSummary) -> str:
    """The page as HTML text."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = resources.files("vcfrag_train.jobs.report").joinpath("templates", _TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(template).render(
        headline=headline(summary),
        facts=_facts(summary),
        plots=_plots(summary),
        tables=[_reasons(summary), _contigs(summary), _frequencies(summary), _samples(summary), _likeness(summary)],
        details=_details(summary),
    )


def headline(summary: JobSummary) -> str:
    """One sentence: what was imputed, and how well it is likely to be."""
    imputed = np.concatenate([s.r2[~s.typed & (s.maf >= 0.01)] for s in summary.stretches])
    n_sites = sum(len(s.positions) for s in summary.stretches)
    text = f"{len(summary.manifest.samples):,} samples at {n_sites:,} sites"
    if not len(imputed):
        return f"{text}; no site with MAF of 1 % and more was imputed."
    return (
        f"{text}; at imputed sites with MAF of 1 % and more the estimated r² is {imputed.mean():.3f} in the mean,"
        f" and below 0.3 at {(imputed < 0.3).mean():.1%} of them."
    )


def flagged(people: SampleSummary) -> list[tuple[int, str]]:
    """Samples that somebody should look at, and why; the worst call rates first."""
    found: dict[int, list[str]] = {}
    for sample in np.flatnonzero(people.call_rate < _LOW_CALL_RATE).tolist():
        found.setdefault(sample, []).append("low call rate")
    for values, low, high in (
        (people.heterozygosity, "few heterozygous calls", "many heterozygous calls"),
        (people.accuracy, "imputed worse than others", ""),
    ):
        far = _robust(values)
        for sample in np.flatnonzero(far < -_FAR).tolist():
            found.setdefault(sample, []).append(low)
        for sample in np.flatnonzero(far > _FAR).tolist() if high else ():
            found.setdefault(sample, []).append(high)
    for sample, name in enumerate(people.names):
        if name in people.in_panel:
            found.setdefault(sample, []).append(f"in the panel as {people.in_panel[name]}")
        if name in people.relatives:
            found.setdefault(sample, []).append(people.relatives[name])
    ordered = sorted(found, key=lambda sample: (np.nan_to_num(people.call_rate[sample], nan=1.0), sample))
    return [(sample, "; ".join(found[sample])) for sample in ordered]


def _robust(values: F64Array) -> F64Array:
    """Distances from the median in robust standard deviations; 0 where there is nothing to tell by."""
    known = values[np.isfinite(values)]
    if not len(known):
        return np.zeros(len(values))
    middle = np.median(known)
    spread = 1.4826 * np.median(np.abs(known - middle))
    return np.nan_to_num((values - middle) / max(float(spread), 1e-3))


def _facts(summary: JobSummary) -> list[tuple[str, str]]:
    stretches = summary.stretches
    n_typed = sum(int(s.typed.sum()) for s in stretches)
    cpu = sum(cost.cpu_seconds for cost in summary.costs)
    return [
        ("samples", f"{len(summary.manifest.samples):,}"),
        ("contigs", str(len({s.contig for s in stretches}))),
        ("sites imputed", f"{sum(len(s.positions) for s in stretches) - n_typed:,}"),
        ("sites typed", f"{n_typed:,}"),
        ("samples in the panel", f"{len(summary.samples.in_panel):,}"),
        ("relatives in the panel", _relatives(summary)),
        ("processor time, planning not counted", f"{cpu:.2g} s" if cpu < 100 else f"{cpu / 3600:.2g} h"),
        ("most memory of a process", f"{max(cost.peak_bytes for cost in summary.costs) / 1e9:.2g} GB"),
    ]


def _relatives(summary: JobSummary) -> str:
    undecided = {p["sample"] for p in summary.qc.get("likeness", ()) if p["relation"] == Relation.UNDECIDED}
    n_undecided = len(undecided - set(summary.samples.relatives))
    return f"{len(summary.samples.relatives):,}" + (f", {n_undecided:,} undecided" if n_undecided else "")


def _plots(summary: JobSummary) -> list[Plot]:
    return [
        Plot(
            "Expected accuracy by frequency",
            "Mean estimated r² (INFO R2) of imputed sites, and of leave-one-out r² (INFO ER2) of typed ones.",
            plots.r2_by_frequency(summary),
        ),
        Plot(
            "Along the genome",
            "Mean estimated r² of imputed sites with MAF of 1 % and more; a dip is where the array leaves a gap.",
            plots.along_genome(summary),
        ),
        Plot(
            "Samples",
            "A sample far from the others may be of other ancestry, contaminated, or badly called.",
            plots.samples(summary),
        ),
    ]


def _reasons(summary: JobSummary) -> Table:
    counts: dict[str, int] = {}
    for contig in summary.qc["contigs"].values():
        for reason, n in contig["reasons"].items():
            counts[reason] = counts.get(reason, 0) + n
    total = max(1, sum(counts.values()))
    rows = [
        (
            reason.value.replace("_", " "),
            f"{counts[reason.value]:,}",
            f"{counts[reason.value] / total:.2%}",
            MEANING[reason],
        )
        for reason in Reason
        if counts.get(reason.value)
    ]
    note = "What became of every record of the targets; the QC table names each one that was not simply used."
    return Table("Records of the targets", note, ("", "records", "share", "meaning"), rows)


def _contigs(summary: JobSummary) -> Table:
    rows = []
    for contig, found in summary.qc["contigs"].items():
        left_out = sum(stretch["sites"] for stretch in found.get("left_out", ()))
        rows.append(
            (
                contig,
                f"{found['records']:,}",
                f"{found['typed_and_used']:,}",
                f"{found.get('panel_sites', 0):,}",
                f"{left_out:,}",
                _share(found.get("positions_in_panel_share")),
                _share(found.get("ref_match_share")),
                _share(found.get("missing_share")),
            )
        )
    heads = ("contig", "records", "typed and used", "panel sites", "left out", "positions in panel", "REF as panel's")
    return Table(
        "Contigs", "Panel sites are left out where too few typed ones are near.", (*heads, "calls missing"), rows
    )


def _frequencies(summary: JobSummary) -> Table:
    imputed, typed = plots.by_bin(summary).values()
    rows = [
        (
            GROUPS[b].label,
            f"{len(imputed[b]):,}",
            *_told(imputed[b]),
            f"{len(typed[b]):,}",
            *_told(typed[b]),
        )
        for b in range(N_BINS)
    ]
    heads = ("MAF in the panel", "imputed sites", "mean R2", "share below 0.3", "typed sites with ER2", "mean ER2")
    note = (
        "R2 foretells how well dosages follow true genotypes where the targets vary; ER2 is measured at typed sites"
        " that vary among those whom it was measured on, and flatters targets whose phase these sites helped to find."
    )
    return Table("Accuracy by frequency", note, (*heads, "share below 0.3"), rows)


def _told(values: F64Array) -> tuple[str, str]:
    return (f"{values.mean():.3f}", f"{(values < 0.3).mean():.1%}") if len(values) else ("–", "–")


def _samples(summary: JobSummary) -> Table:
    people = summary.samples
    found = flagged(people)
    rows = [
        (
            people.names[sample],
            _share(people.call_rate[sample]),
            f"{people.heterozygosity[sample]:.3f}",
            f"{people.accuracy[sample]:.3f}",
            why,
        )
        for sample, why in found[:_MOST_SAMPLES]
    ]
    more = f" {len(found) - _MOST_SAMPLES} more are not shown." if len(found) > _MOST_SAMPLES else ""
    note = f"{len(found)} of {len(people.names):,} samples stand out.{more}"
    return Table("Samples to look at", note, ("sample", "call rate", "heterozygosity", "estimated r²", "why"), rows)


def _likeness(summary: JobSummary) -> Table:
    pairs = summary.qc.get("likeness", [])
    rows = [
        (
            pair["sample"],
            pair["panel_sample"],
            pair["relation"].replace("_", " "),
            f"{len(pair['contigs'])}",
            f"{pair['cm']:.4g}",
            _share(pair["concordance"]),
            *(f"{pair['log10_odds_of_same_person'][relation]:+.1f}" for relation in TESTED[1:]),
        )
        for pair in pairs[:_MOST_SAMPLES]
    ]
    more = f" {len(pairs) - _MOST_SAMPLES} more are not shown." if len(pairs) > _MOST_SAMPLES else ""
    note = (
        f"{len(pairs) or 'No'} pairs: targets whom genotypes tell to be a panel sample of another name, or its"
        " relative, or too like it to say. A relative is a good reference; in a comparison with a truth it must not be"
        f" one. Odds are decimal logarithms of the same person against each other relation.{more}"
    )
    against = (f"against {relation.replace('_', ' ')}" for relation in TESTED[1:])
    heads = ("sample", "panel sample", "relation", "contigs", "cM compared", "equal genotypes", *against)
    return Table("Relatives in the panel", note, heads, rows)


def _details(summary: JobSummary) -> list[tuple[str, str]]:
    manifest = summary.manifest
    details = [
        ("version", manifest.version),
        ("command", manifest.command),
        ("output", manifest.out),
        ("QC", manifest.qc),
    ]
    details += [(f"{s.contig}: model", s.method) for s in manifest.stretches]
    details += [
        (f"{s.contig}: {key.replace('_', ' ')}", _plain(value)) for s in manifest.stretches for key, value in s.lines
    ]
    wall = sum(cost.seconds for cost in summary.costs)
    return [*details, ("chunks", f"{len(summary.costs)}, of {wall:.0f} s of wall time one after the other")]


def _plain(line: str) -> str:
    """A structured line of the header, `<ID=contig,key=value,...>`, without its punctuation and the contig."""
    if not (line.startswith("<") and line.endswith(">")):
        return line
    fields = (field.partition("=") for field in line[1:-1].split(","))
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, _, value in fields if key != "ID")


def _share(value: Any) -> str:
    return "–" if value is None or value != value else f"{float(value):.2%}"
