"""What lifts the accuracy of copying, measured on panel samples only: each variation beside the rule's parameters.

    python -m benchmarks.accuracy.copying --work WORK [--data DATA] [--task array] [--samples 50] [--out TABLE.tsv]

Builds the development tasks' panels under WORK and never reads their targets. Panel samples stand for targets under
a drawn mask, hidden from retrieval and copying both; differences carry paired bootstrap intervals over samples.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.development_tasks import TASKS, build_task, default_data
from vcfrag_core.copying.parameters import CopyingParameters, parameters_for
from vcfrag_core.copying.problem import CopyingProblem
from vcfrag_core.copying.reference import switch_probabilities
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.files.tables.genetic_map import map_for
from vcfrag_core.files.tables.samples import read_sample_table
from vcfrag_core.masks.draw import ArrayLikeMask, MaskSites, RandomMask, draw_mask
from vcfrag_core.panel.split_design import exclusion_groups
from vcfrag_core.scoring.copying import CopyingScore, changes
from vcfrag_core.types import F32Array, I32Array
from vcfrag_core.window.local import LocalRetriever
from vcfrag_train.calibrate.calibrate import choose_samples
from vcfrag_train.calibrate.leave_one_out import CopyingBench, RetrievedWindow

# The real array of the first task types 1.77 % of the panel's sites.
MASKS = {"array": ArrayLikeMask(least_hidden=0.982, most_hidden=0.983), "random50": RandomMask(0.5)}
MAX_K = 32
COLUMNS = ("task", "variation", "candidates", "seconds", "measure", "before", "after", "difference", "low", "high")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variation:
    """One way to impute; what is None is the rule's.

    Attributes:
        name: Name in the table.
        scales: Observed sites per segment.
        k: Neighbours of a segment, one number or one for each scale.
        flank: Factor on the flank.
        switch: Factor on the switch rate.
        mismatch: Mismatch probability.
        rare: Exponent a of the mismatch at observed sites, mu (maf / 0.1)^a.
        share: Candidates of a sample's two haplotypes are put together.
        least_hits: Segments in which a candidate must be near, one number; the longest scale counts always.
        blend: Switch factors whose dosages are averaged.
        by_scale: Averages the dosages of each scale's candidates alone with those of all.
    """

    name: str
    scales: tuple[int, ...] | None = None
    k: int | tuple[int, ...] | None = None
    flank: float = 1.0
    switch: float = 1.0
    mismatch: float | None = None
    rare: float = 0.0
    share: bool = False
    least_hits: int = 1
    blend: tuple[float, ...] = (1.0,)
    by_scale: bool = False


def variations(rule: CopyingParameters) -> Iterator[Variation]:
    """Those that are tried, each around the rule."""
    a, b, c = rule.scales
    yield from (Variation(name=f"switch x {f:g}", switch=f) for f in (0.5, 0.7, 1.4, 2))
    yield from (Variation(name=f"mismatch {m:g}", mismatch=m) for m in (1e-4, 3e-4, 3e-3, 1e-2))
    yield from (Variation(name=f"k {k}", k=k) for k in (4, 8, 12, 16, 24, 32) if k != rule.k)
    yield from (
        Variation(name=f"k {ks[0]}/{ks[1]}/{ks[2]}", k=ks) for ks in ((4, 8, 16), (4, 8, 32), (8, 16, 32), (16, 8, 4))
    )
    for label, scales in (
        ("shortest scale alone", (a,)),
        ("middle scale alone", (b,)),
        ("longest scale alone", (c,)),
        ("two shorter scales", (a, b)),
        ("shortest and longest scale", (a, c)),
        ("two longer scales", (b, c)),
        ("two shorter scales, doubled", (2 * a, 2 * b)),
        ("shortest and doubled middle scale", (a, 2 * b)),
        ("all scales doubled", (2 * a, 2 * b, 2 * c)),
        ("all scales halved", (a // 2, b // 2, c // 2)),
        ("four scales from the shortest, doubling", (a, 2 * a, 4 * a, 8 * a)),
        ("a fourth scale, twice the longest", (a, b, c, 2 * c)),
    ):
        yield Variation(name=label, scales=scales)
    for together in (8, 12, 16, (8, 16, 32)):
        label = "/".join(map(str, together)) if isinstance(together, tuple) else str(together)
        yield Variation(name=f"mismatch 0.003 and k {label}", mismatch=3e-3, k=together)
    yield from (Variation(name=f"near in {n} segments", least_hits=n) for n in (2, 3))
    yield from (Variation(name=f"mismatch by frequency, a = {x:g}", rare=x) for x in (-0.3, 0.3, 0.6))
    for m, x in ((3e-3, 0.6), (1e-2, 0.6), (1e-2, 1.0)):
        yield Variation(name=f"mismatch {m:g} by frequency, a = {x:g}", mismatch=m, rare=x)
    for hits, k in dict.fromkeys(((2, rule.k), (2, 24), (2, 32), (3, 32))):
        yield Variation(name=f"mismatch 0.003, k {k}, near in {hits} segments", mismatch=3e-3, k=k, least_hits=hits)
    yield from (Variation(name=f"mismatch 0.003 and switch x {f:g}", mismatch=3e-3, switch=f) for f in (0.7, 1.4))
    yield Variation(name="candidates shared by both haplotypes", share=True)
    yield Variation(name="mean over switch x 0.5, 1, 2", blend=(0.5, 1.0, 2.0))
    yield Variation(name="mean with each scale alone", by_scale=True)
    yield from (Variation(name=f"flank x {f:g}", flank=f) for f in (0.5, 2))


class Study:
    """Variations on one bench; retrieval is done once for each flank, with every scale and the largest k."""

    def __init__(self, bench: CopyingBench, threads: int) -> None:
        self.bench = bench
        self.rule = parameters_for(bench.observed_per_cm)
        wanted = {s for v in variations(self.rule) for s in v.scales or self.rule.scales}
        self.scales = tuple(sorted(wanted | set(self.rule.scales)))
        self._pool = ThreadPoolExecutor(threads)

    def score(self, variation: Variation) -> tuple[CopyingScore, float]:
        """The score, and the mean number of candidates."""
        wide = dataclasses.replace(
            self.rule, scales=self.scales, k=MAX_K, flank_cm=self.rule.flank_cm * variation.flank
        )
        parts, counts = [], []
        for prepared in self.bench.prepare(wide):
            sets = self._candidate_sets(prepared, variation)
            counts += [len(ids) for ids in sets[0]]
            dosage = np.mean([d for ids in sets for d in self._dosages(prepared, ids, variation)], axis=0)
            parts.append(CopyingScore.of(dosage, prepared.truth, prepared.frequency, self.bench.ploidy))
        return CopyingScore.total(parts), float(np.mean(counts))

    def _candidate_sets(self, prepared: RetrievedWindow, variation: Variation) -> list[list[I32Array]]:
        scales = variation.scales or self.rule.scales
        sets = [self._candidates(prepared, scales, variation)]
        if variation.by_scale:
            sets += [self._candidates(prepared, (scale,), variation) for scale in scales]
        return sets

    def _candidates(self, prepared: RetrievedWindow, scales: Sequence[int], variation: Variation) -> list[I32Array]:
        k = variation.k or self.rule.k
        ks = k if isinstance(k, tuple) else (k,) * len(scales)
        result, found = prepared.result, []
        for q in range(result.ids.shape[1]):
            near = [
                result.ids[result.scales == self.scales.index(s), q, :n].reshape(-1)
                for s, n in zip(scales, ks, strict=True)
            ]
            ids, hits = np.unique(np.concatenate(near), return_counts=True)
            kept = (hits >= variation.least_hits) | np.isin(ids, near[-1])
            found.append(ids[kept & (ids >= 0)].astype(np.int32))
        if variation.share:
            ploidy = self.bench.ploidy
            mine = [[found[q] for q in ploidy.span(s)] for s in range(ploidy.n_samples)]
            shared = (np.unique(np.concatenate(ids)).astype(np.int32) for ids in mine)
            found = list(ploidy.of_haplotypes(shared))
        return found

    def _dosages(self, prepared: RetrievedWindow, candidates: list[I32Array], variation: Variation) -> list[F32Array]:
        problem: CopyingProblem = prepared.problem
        problem.candidates = candidates
        frequency = self.bench.frequency[problem.sites.observed]
        maf = np.clip(np.minimum(frequency, 1 - frequency), 1e-3, 0.5)
        mu = np.clip((variation.mismatch or self.rule.mismatch) * (maf / 0.1) ** variation.rare, 1e-6, 0.4)
        weights = np.log((1 - mu) / mu).astype(np.float32)
        rates = [self.rule.switch_per_cm * variation.switch * factor for factor in variation.blend]
        switches = [switch_probabilities(problem.sites.gaps_cm, rate).astype(np.float32) for rate in rates]
        return [np.asarray(problem.dosage(weights, s, pool=self._pool), dtype=np.float32) for s in switches]


def run_task(name: str, args: argparse.Namespace, write: Callable[[Sequence[str]], None]) -> None:
    """Every variation of one task."""
    task = build_task(name, args.data, args.work)
    panel = load_panel(task.panel, threads=args.threads)
    samples, _ = choose_samples(panel, args.samples, args.seed)
    observed = draw_mask(MASKS[name], MaskSites.of(panel), seed=args.seed, split="calibrate", epoch=0, visit=0)
    bench = CopyingBench(
        panel=panel,
        genetic_map=map_for(panel, task.genetic_map),
        retriever=LocalRetriever(panel, threads=args.threads),
        samples=samples,
        observed=observed,
        groups=exclusion_groups(panel.samples, read_sample_table(task.samples)),
        threads=args.threads,
    )
    study = Study(bench, args.threads)
    base, _ = study.score(Variation(name="rule"))
    for variation in (Variation(name="rule"), *variations(study.rule)):
        if args.only and not any(variation.name.startswith(word) for word in args.only):
            continue
        began = time.perf_counter()
        score, candidates = study.score(variation)
        seconds = time.perf_counter() - began
        for measure, change in changes(base, score, seed=args.seed).items():
            figures = (change.before, change.after, change.difference.value, change.difference.low,
                       change.difference.high)  # fmt: skip
            head = (name, variation.name, f"{candidates:.0f}", f"{seconds:.1f}", measure)
            write([*head, *(f"{figure:.6f}" for figure in figures)])


def main() -> None:
    """Prints the table, and writes it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the tasks")
    parser.add_argument("--data", type=Path, default=default_data(), help="folder of the shared data")
    parser.add_argument("--task", choices=TASKS, action="append", help="one task instead of both")
    parser.add_argument("--only", action="append", help="variations whose names begin so")
    parser.add_argument("--samples", type=int, default=50, help="panel samples that stand for targets")
    parser.add_argument("--seed", type=int, default=1, help="of samples, masks and resamples")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="table to write, tab-separated")
    args = parser.parse_args()
    with args.out.open("w", encoding="utf-8") if args.out else sys.stdout as file:

        def write(row: Sequence[str]) -> None:
            file.write("\t".join(row) + "\n")
            file.flush()

        write(COLUMNS)
        for name in args.task or TASKS:
            run_task(name, args, write)


if __name__ == "__main__":
    main()
