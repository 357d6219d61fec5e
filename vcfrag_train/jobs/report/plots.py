"""Figures of a job's report, in the look of the evaluation's."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from vcfrag_core.scoring.accuracy import GROUPS, N_BINS, maf_bin
from vcfrag_core.types import F64Array
from vcfrag_train.evaluation.plots import STYLE, as_svg, bin_axis, look
from vcfrag_train.jobs.report.summary import JobSummary, StretchSummary

_STRETCHES_OF_A_CONTIG = 120


def r2_by_frequency(summary: JobSummary) -> str:
    """Estimated r² of imputed sites and leave-one-out r² of typed ones, by frequency in the panel."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        axes = figure.subplots()
        for number, (name, values) in enumerate(by_bin(summary).items()):
            style = look(number)
            means = [float(np.mean(v)) if len(v) else np.nan for v in values]
            axes.plot(range(N_BINS), means, color=style.colour, marker=style.marker, linestyle=style.dash, label=name)
        axes.set(ylim=(-0.02, 1.02), ylabel="mean r²", xlabel="minor allele frequency in the panel")
        bin_axis(axes, [group.label for group in GROUPS[:N_BINS]])
        axes.legend(loc="lower right")
        return as_svg(figure, "job-r2")


def by_bin(summary: JobSummary) -> dict[str, list[F64Array]]:
    """Estimated r² of imputed sites and leave-one-out r² of typed ones, in each MAF bin."""
    maf = np.concatenate([s.maf for s in summary.stretches])
    typed = np.concatenate([s.typed for s in summary.stretches])
    r2 = np.concatenate([s.r2 for s in summary.stretches])
    er2 = np.concatenate([s.er2 for s in summary.stretches])
    bins = maf_bin(maf)
    known = np.isfinite(er2)
    return {
        "imputed sites, estimated": [r2[(bins == b) & ~typed] for b in range(N_BINS)],
        "typed sites, leave-one-out": [er2[(bins == b) & known] for b in range(N_BINS)],
    }


def along_genome(summary: JobSummary) -> str:
    """Mean estimated r² of imputed sites with MAF of 1 % and more along each contig."""
    contigs: dict[str, list[StretchSummary]] = {}
    for stretch in summary.stretches:
        contigs.setdefault(stretch.contig, []).append(stretch)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, max(2.2, 1.1 * len(contigs))), layout="constrained")
        rows = figure.subplots(len(contigs), 1, squeeze=False)[:, 0]
        for axes, (contig, stretches) in zip(rows, contigs.items(), strict=True):
            at, values = _along(stretches)
            axes.plot(at, values, color=look(0).colour, drawstyle="steps-mid", marker=".", markersize=2)
            axes.set(ylim=(-0.02, 1.02), ylabel=f"r², {contig}")
        rows[-1].set_xlabel("position, Mb")
        return as_svg(figure, "job-along")


def _along(stretches: list[StretchSummary]) -> tuple[F64Array, F64Array]:
    """Middles of stretches of equal length, in Mb, and the mean r² in each; NaN where there is no site."""
    used = [~s.typed & (s.maf >= 0.01) for s in stretches]
    positions = np.concatenate([s.positions[keep] for s, keep in zip(stretches, used, strict=True)]).astype(np.float64)
    r2 = np.concatenate([s.r2[keep] for s, keep in zip(stretches, used, strict=True)])
    if not len(positions):
        return np.zeros(0), np.zeros(0)
    edges = np.linspace(positions.min(), positions.max() + 1, _STRETCHES_OF_A_CONTIG + 1)
    place = np.digitize(positions, edges) - 1
    n = np.bincount(place, minlength=_STRETCHES_OF_A_CONTIG)[:_STRETCHES_OF_A_CONTIG]
    total = np.bincount(place, weights=r2, minlength=_STRETCHES_OF_A_CONTIG)[:_STRETCHES_OF_A_CONTIG]
    means = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)
    return (edges[:-1] + edges[1:]) / 2e6, means


def samples(summary: JobSummary) -> str:
    """Heterozygosity against call rate, and how accurate samples are likely to be."""
    people = summary.samples
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.scatter(people.call_rate, people.heterozygosity, s=14, color=look(0).colour, alpha=0.6)
        left.set(title="Typed sites", xlabel="call rate", ylabel="heterozygosity / expected")
        known = people.accuracy[np.isfinite(people.accuracy)]
        right.hist(known, bins=40, color=look(0).colour)
        right.set(title="Imputed sites with MAF of 1 % and more", xlabel="estimated r² of a sample", ylabel="samples")
        return as_svg(figure, "job-samples")
