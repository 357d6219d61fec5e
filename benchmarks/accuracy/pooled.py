"""vcfrag and copying alone against fixed settings of Beagle and Minimac4, with sets of targets pooled.

The peers' best setting is chosen bin by bin on the very targets that are compared, which flatters it. Paired intervals
of 95 % are over the targets, drawn for each set apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from vcfrag_core.files.panel.reader import read_panel
from vcfrag_core.scoring.accuracy import GROUPS, N_BINS, best_guess, maf_bin
from vcfrag_core.scoring.bootstrap import Scored, bootstrap_weights, interval, pooled_metrics, sample_sums, weighted
from vcfrag_core.types import F64Array
from vcfrag_train.compare.compare import ComparisonConfig, ComparisonFiles, compare
from vcfrag_train.compare.peers import Peer
from vcfrag_train.evaluation.evaluate import EvaluationConfig, file_method
from vcfrag_train.evaluation.truth import EvaluationFiles, load_evaluation_truth

OWN: Final = ("vcfrag", "vcfrag-copying")
SETTINGS: Final = (
    Peer(name="beagle", program="beagle"),
    Peer(name="beagle-20000", program="beagle", options=("ne=20000", "cluster=0.0001", "err=0.001")),
    Peer(name="beagle-100000", program="beagle", options=("ne=100000", "cluster=0.0001", "err=0.001")),
    Peer(name="beagle-500000", program="beagle", options=("ne=500000", "cluster=0.0001", "err=0.001")),
    Peer(name="minimac4", program="minimac4"),
    Peer(name="minimac4-0.001", program="minimac4", options=("--match-error", "0.001")),
    Peer(name="minimac4-0.0001", program="minimac4", options=("--match-error", "0.0001")),
)
DEFAULTS: Final = ("beagle", "minimac4")


def sums_of(files: ComparisonFiles, work: Path, settings: Sequence[Peer]) -> dict[str, F64Array]:
    """(B, S, N_SUMS) of every program on these files."""
    config = EvaluationConfig(resamples=0)
    compare(files, ComparisonConfig(ablations=False, peers=tuple(settings), threads=1, evaluation=config), work)
    found: dict[str, F64Array] = {}
    outputs = tuple((name, work / f"{name}.vcf.gz") for name in (*OWN, *(peer.name for peer in settings)))
    panel = read_panel(files.panel)
    truth = load_evaluation_truth(
        EvaluationFiles(imputed=outputs, truth=files.truth, panels=(files.panel,), typed=files.typed or files.target),
        config,
        panel,
    )
    bins = maf_bin(truth.frequency)
    for name, path in outputs:
        imputed = file_method(name, path, config).load(truth)
        scored = Scored(
            dosage=imputed.dosage,
            calls=best_guess(imputed.dosage),
            posterior=None,
            truth=truth.truth,
            frequency=truth.frequency,
        )
        found[name] = sample_sums(scored, bins, N_BINS)
        path.unlink()
    return found


def errors_of(sums: Sequence[F64Array], resamples: int) -> F64Array:
    """(1 + R, B) error of the sets of targets together, each resampled apart."""
    total = sum(
        weighted(one, bootstrap_weights(one.shape[1], resamples, seed)) for seed, one in enumerate(sums, start=1)
    )
    return 1 - pooled_metrics(np.asarray(total))["aggregate_r2"]


def change(ours: F64Array, theirs: F64Array) -> list[str]:
    """Percent of their error by which ours is larger, bin by bin, with its interval."""
    cells = []
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 100 * (ours / theirs - 1)
    for column in ratio.T:
        found = interval(column)
        cells.append(f"{found.value:+.1f} [{found.low:+.1f}, {found.high:+.1f}]" if np.isfinite(found.value) else "")
    return cells


def table(
    title: str,
    sums: Mapping[str, Sequence[F64Array]],
    settings: Sequence[Peer],
    resamples: int,
    others: Mapping[str, Mapping[str, Sequence[F64Array]]],
) -> Iterator[str]:
    """Lines of a table: the error of each program, and vcfrag's against the peers and against itself elsewhere.

    Args:
        title: What was imputed.
        sums: (B, S, N_SUMS) of each set, by program.
        settings: Of the peers.
        resamples: Draws of the intervals.
        others: More sums of the same targets by what they are, against which each of vcfrag's own is compared.
    """
    names = [peer.name for peer in settings]
    errors = {name: errors_of(sums[name], resamples) for name in (*OWN, *names)}
    yield f"\n| {title} | {' | '.join(group.label for group in GROUPS[:N_BINS])} |\n{'| --- ' * (N_BINS + 1)}|"
    for name, error in errors.items():
        yield f"| error of {name} | " + " | ".join(f"{value:.4f}" for value in error[0]) + " |"
    against = {"the better default": [n for n in names if n in DEFAULTS], "the best setting": names}
    against |= {name: [name] for name in names}
    for own in OWN:
        for label, some in against.items():
            if not some:
                continue
            least = [min(some, key=lambda n, b=b: errors[n][0, b]) for b in range(N_BINS)]
            theirs = np.stack([errors[n][:, b] for b, n in enumerate(least)], axis=1)
            yield f"| {own} against {label} | " + " | ".join(change(errors[own], theirs)) + " |"
        for label, other in others.items():
            yield (
                f"| {own} against {label} | " + " | ".join(change(errors[own], errors_of(other[own], resamples))) + " |"
            )


def add_pooling_options(parser: argparse.ArgumentParser) -> None:
    """The peers' settings and the draws of the intervals."""
    parser.add_argument("--setting", action="append", choices=[peer.name for peer in SETTINGS], help="repeatable")
    parser.add_argument("--resamples", type=int, default=1_000)
    parser.add_argument("--work", type=Path, default=Path("bench-out"))


def settings_of(options: argparse.Namespace) -> list[Peer]:
    """Those that were asked for; all without."""
    return [peer for peer in SETTINGS if not options.setting or peer.name in options.setting]
