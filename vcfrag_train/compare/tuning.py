"""The best settings of the peers over a fixed grid, chosen on other samples than those compared."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from vcfrag_core.files.tables.sites import SiteKey
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.scoring.accuracy import N_BINS
from vcfrag_core.types import F64Array
from vcfrag_train.compare.hold_out import draw_people, hold_out
from vcfrag_train.compare.peers import Peer, PeerInput, available_peers, run_peer, without_phase
from vcfrag_train.evaluation.evaluate import evaluate_methods, file_method
from vcfrag_train.evaluation.inputs import EvaluationFiles
from vcfrag_train.evaluation.truth import EvaluationConfig, load_evaluation_truth
from vcfrag_train.reporter import Reporter

MAX_SAMPLES: Final = 100
_SHARE: Final = 0.1
_BEAGLE: Final = (
    ("ne=20000", "ne=100000", "ne=500000"),
    ("", "err=0.001", "err=0.0001"),
    ("", "cluster=0.0001"),
)
_MATCH_ERRORS: Final = ("0.01", "0.001", "0.0001")


def grid(*, unphased: bool = False) -> tuple[Peer, ...]:
    """Every setting that is tried; of targets without phase SHAPEIT4 phases for Minimac4, with its defaults."""
    beagle = [tuple(option for option in options if option) for options in itertools.product(*_BEAGLE)]
    minimac = Peer(name="minimac4", program="minimac4", phaser="shapeit4" if unphased else None)
    settings = [Peer(name="beagle", program="beagle", options=options) for options in beagle]
    settings += [dataclasses.replace(minimac, options=("--match-error", error)) for error in _MATCH_ERRORS]
    return tuple(
        dataclasses.replace(peer, name=f"{_label(peer)}-{number:02d}") for number, peer in enumerate(settings, start=1)
    )


def _label(peer: Peer) -> str:
    return "-".join(peer.programs)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TuningInput:
    """What the settings are chosen on.

    Attributes:
        path: The panel, without the targets that are compared later.
        panel: What is in it.
        genetic_map: Its map.
        groups: Exclusion groups of its samples.
        typed: Sites that the targets are typed at.
        unphased: Whether the targets that are compared later have no phase.
    """

    path: Path
    panel: Panel
    genetic_map: GeneticMap
    groups: Mapping[str, str]
    typed: frozenset[SiteKey]
    unphased: bool = False


def tuned_peers(
    given: TuningInput,
    folder: Path,
    settings: Sequence[Peer],
    *,
    threads: int,
    heap_mb: int,
    seed: int,
    reporter: Reporter,
) -> list[Peer]:
    """Every program that is there with its best setting, as `PROGRAM-tuned` or `PHASER-PROGRAM-tuned`.

    A tenth of the panel's samples, at most 100 and with their families, stand for targets; they are imputed from the
    others with every setting. The best one has the least error, 1 - aggregate r², relative to the best of the program's
    in each MAF bin, in the mean over bins. `tuning.tsv` in the folder lists all.

    Args:
        given: Panel, map, families and typed sites.
        folder: Where everything goes.
        settings: What to try; those of programs that are not there are left out.
        threads: Threads of every program.
        heap_mb: Java's heap for Beagle, megabytes.
        seed: Of the choice of samples.
        reporter: Told what is being done.

    Raises:
        ProgramError: A program ended with an error.
    """
    n = max(1, min(MAX_SAMPLES, round(_SHARE * given.panel.n_samples)))
    people = draw_people(given.panel.samples, given.groups, n, seed, "tuning")
    files = hold_out(given.path, given.panel, people, (), given.typed, folder)
    target = files.target
    if given.unphased:
        target = folder / "unphased.vcf.gz"
        without_phase(files.target, target)
    found, _ = available_peers(settings)
    outputs = []
    for number, peer in enumerate(found, start=1):
        reporter.say(f"tuning, setting {number} of {len(found)}: {_label(peer)} {' '.join(peer.options)}")
        task = PeerInput(panel=files.panel, target=target, genetic_map=given.genetic_map)
        outputs.append(run_peer(peer, task, folder / f"{peer.name}.vcf.gz", threads=threads, heap_mb=heap_mb).output)
    if not found:
        return []
    r2 = _r2_by_bin(found, outputs, files.truth, files.panel, files.target, given.panel)
    _write(found, r2, len(people), folder / "tuning.tsv")
    return [_best(program, found, r2) for program in dict.fromkeys(peer.program for peer in found)]


def _r2_by_bin(
    found: Sequence[Peer], outputs: Sequence[Path], truth: Path, panel_file: Path, typed: Path, panel: Panel
) -> F64Array:
    """(settings, bins) aggregate r²; NaN in empty bins."""
    config = EvaluationConfig(resamples=0)
    labelled = tuple((peer.name, path) for peer, path in zip(found, outputs, strict=True))
    files = EvaluationFiles(imputed=labelled, truth=truth, panels=(panel_file,), typed=typed)
    hidden = load_evaluation_truth(files, config, panel)
    scored = evaluate_methods([hidden], [file_method(name, path, config) for name, path in labelled], files, config)
    return np.array([[group.value for group in method.metrics["aggregate_r2"][:N_BINS]] for method in scored.methods])


def _best(program: str, found: Sequence[Peer], r2: F64Array) -> Peer:
    rows = [i for i, peer in enumerate(found) if peer.program == program]
    error = 1 - r2[rows]
    told = np.isfinite(error).all(axis=0)
    relative = (error[:, told] / np.maximum(error[:, told].min(axis=0), 1e-9)).mean(axis=1)
    best = found[rows[int(np.argmin(relative)) if told.any() else 0]]
    return dataclasses.replace(best, name=f"{_label(best)}-tuned")


def _write(found: Sequence[Peer], r2: F64Array, n_samples: int, path: Path) -> None:
    lines = ["program\toptions\tsamples\t" + "\t".join(f"r2_bin_{b + 1}" for b in range(N_BINS))]
    for peer, values in zip(found, r2.tolist(), strict=True):
        numbers = "\t".join(f"{value:.6f}" for value in values)
        lines.append(f"{_label(peer)}\t{' '.join(peer.options)}\t{n_samples}\t{numbers}")
    path.write_text("\n".join(lines) + "\n")
