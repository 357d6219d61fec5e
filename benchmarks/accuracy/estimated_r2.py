"""Estimated against true r² on panel samples, for the choice of the pseudo-count of `vcfrag_core.output.info_r2`.

    python -m benchmarks.accuracy.estimated_r2 --work WORK [--data DATA] [--task array] [--seed 11] [--out FILE]

Builds the development tasks' panels under WORK and never reads their targets. Panel samples stand for targets under a
drawn mask; they and their families are taken out of the reference, and whoever validated the model that ships is no
stand-in. Prints the correlation at MAF >= 1 % and mean estimated minus mean true r² by MAF bin, for Minimac's ratio of
variances and for every pseudo-count.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.accuracy.copying import MASKS
from benchmarks.development_tasks import TASKS, build_task, default_data
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.files.tables.genetic_map import map_for
from vcfrag_core.files.tables.samples import read_sample_table
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.imputation.load import load_model
from vcfrag_core.masks.draw import MaskSites, draw_mask
from vcfrag_core.output.info_r2 import allele_probabilities, expected_r2
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split_design import VALIDATION, design_by_fraction, exclusion_groups
from vcfrag_core.retrieval.queries import EXTERNAL
from vcfrag_core.scoring import accuracy
from vcfrag_core.scoring.reliability import EstimatedR2
from vcfrag_core.scoring.reliability import estimated_r2 as compared
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array
from vcfrag_train.calibrate.calibrate import choose_samples

PSEUDO_COUNTS = (0.0, 0.1, 0.25, 0.5, 1.0)
# Those of configs/chr20.toml, from which the model that ships was trained.
SPLIT_SEED, VALIDATION_FRACTION = 1, 0.03


def ratio_of_variances(dosage: F32Array) -> F64Array:
    """(L,) variance of the haplotype dosages over p (1 - p): Minimac's Rsq."""
    p = dosage.mean(axis=0, dtype=np.float64)
    variance = dosage.var(axis=0, dtype=np.float64)
    return np.divide(variance, p * (1 - p), out=np.zeros_like(p), where=p * (1 - p) > 1e-12)


def stand_ins(panel: Panel, args: argparse.Namespace, table: Path, seed: int) -> tuple[tuple[str, ...], Panel]:
    """Panel samples that stand for targets, and the panel without their families."""
    pedigree = read_sample_table(table)
    groups = exclusion_groups(panel.samples, pedigree)
    design = design_by_fraction(panel.samples, seed=SPLIT_SEED, validation=VALIDATION_FRACTION, table=pedigree)
    allowed = set(panel.samples) - set(design.samples(VALIDATION))
    chosen, _ = choose_samples(panel.select_samples([s for s in panel.samples if s in allowed]), args.samples, seed)
    out = {groups[name] for name in chosen}
    return chosen, panel.select_samples([name for name in panel.samples if groups[name] not in out])


def imputed(
    reference: Panel, alleles: I8Array, observed: BoolArray, genetic_map: Path, args: argparse.Namespace
) -> Iterator[tuple[str, F32Array]]:
    """(Q, hidden sites) dosages by copying alone and with the model that ships."""
    ways = {"copying": None} if args.copying_only else {"copying": None, "default": load_model()}
    typed = np.where(observed, alleles, np.int8(-1))
    for name, corrector in ways.items():
        imputer = Imputer(reference, map_for(reference, genetic_map), threads=args.threads, corrector=corrector)
        windows = [dosage for _, dosage in imputer.impute_windows(typed, observed, [EXTERNAL] * len(typed))]
        yield name, np.concatenate(windows, axis=1)[:, ~observed]


def run_task(task_name: str, seed: int, args: argparse.Namespace) -> Iterator[tuple[str, str, EstimatedR2]]:
    """Way of imputing, estimate, and how it compares."""
    task = build_task(task_name, args.data, args.work)
    panel = load_panel(task.panel, threads=args.threads)
    chosen, reference = stand_ins(panel, args, task.samples, seed)
    observed = draw_mask(MASKS[task_name], MaskSites.of(reference), seed=seed, split="calibrate", epoch=0, visit=0)
    alleles = panel.haplotypes(panel.rows_of(chosen)).astype(np.int8)
    ploidy = panel.ploidy_of(chosen)
    truth = ploidy.sums(alleles)[:, ~observed].T
    frequency = reference.alt_frequency()[~observed]
    for way, dosage in imputed(reference, alleles, observed, task.genetic_map, args):
        true_r2 = accuracy.site_r2(ploidy.sums(dosage).T, truth)
        yield way, "ratio of variances", compared(ratio_of_variances(dosage), true_r2, frequency)
        unknown = np.zeros(dosage.shape, dtype=np.bool_)
        for count in PSEUDO_COUNTS:
            probability = allele_probabilities(dosage, unknown, reference.n_haplotypes, pseudo_count=count)
            yield way, f"{count:g}", compared(expected_r2(dosage, probability), true_r2, frequency)


def main() -> None:
    """Prints the table, and writes it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the tasks")
    parser.add_argument("--data", type=Path, default=default_data(), help="folder of the shared data")
    parser.add_argument("--task", choices=TASKS, action="append", help="one task instead of both")
    parser.add_argument("--seed", type=int, action="append", help="of samples and masks; repeatable; 11 to 16")
    parser.add_argument("--samples", type=int, default=100, help="panel samples that stand for targets")
    parser.add_argument("--copying-only", action="store_true", help="leave out the model that ships")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="table to write, tab-separated")
    args = parser.parse_args()
    bins = accuracy.GROUPS[: accuracy.N_BINS]
    with args.out.open("w", encoding="utf-8") if args.out else sys.stdout as file:
        heads = ("task", "seed", "imputed by", "estimate", "correlation", *(group.label for group in bins))
        file.write("\t".join(heads) + "\n")
        for task in args.task or TASKS:
            for seed in args.seed or range(11, 17):
                for way, estimate, found in run_task(task, seed, args):
                    gaps = found.mean_estimated[: len(bins)] - found.mean_true[: len(bins)]
                    figures = "\t".join(f"{value:.4f}" for value in (found.correlation, *gaps))
                    file.write(f"{task}\t{seed}\t{way}\t{estimate}\t{figures}\n")
                    file.flush()


if __name__ == "__main__":
    main()
