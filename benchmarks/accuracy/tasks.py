"""Accuracy on the two development tasks: vcfrag beside Beagle and Minimac4, default and tuned, and the baselines.

    python -m benchmarks.accuracy.tasks [--task array] [--data DIR] [--work bench-out] [--checkpoint RUN]

Builds the tasks from the shared 1000 Genomes data with bcftools, runs all programs, prints r² by MAF bin with paired
differences, time and memory, and leaves WORK/TASK.json, .tsv and .html, and the imputed files in WORK/TASK/imputed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.development_tasks import TASKS, Task, build_task, default_data
from vcfrag_train.cli.commands.evaluate import labelled
from vcfrag_train.compare.compare import ComparisonConfig, ComparisonFiles, compare
from vcfrag_train.evaluation import output, tables
from vcfrag_train.evaluation.evaluate import EvaluationConfig
from vcfrag_train.evaluation.results import Evaluation
from vcfrag_train.reporter import LineReporter


def main() -> None:
    """Runs the tasks that were asked for."""
    arguments = _parser().parse_args()
    console = tables.console()
    for name in arguments.task or TASKS:
        task = build_task(name, arguments.data, arguments.work)
        result = _run(task, arguments)
        console.print(f"\n[bold]task {name}[/bold]")
        tables.print_evaluation(result, console)
        stem = arguments.work / name
        output.write(
            result,
            output.Targets(
                json=stem.with_suffix(".json"), tsv=stem.with_suffix(".tsv"), html=stem.with_suffix(".html")
            ),
        )


def _run(task: Task, arguments: argparse.Namespace) -> Evaluation:
    files = ComparisonFiles(
        panel=task.panel,
        target=task.target,
        truth=task.truth,
        genetic_map=task.genetic_map,
        typed=task.typed,
        samples_table=task.samples,
    )
    config = ComparisonConfig(
        checkpoints=tuple(labelled(text, "--checkpoint") for text in arguments.checkpoint),
        own=not arguments.peers_only,
        ablations=not arguments.no_ablations,
        threads=arguments.threads,
        heap_mb=arguments.heap_mb,
        evaluation=EvaluationConfig(resamples=arguments.resamples),
    )
    return compare(
        files,
        config,
        arguments.work / task.name / "imputed",
        LineReporter(lambda what: print(f"{task.name}: {what}", file=sys.stderr)),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", action="append", choices=TASKS, help="repeatable; both unless given")
    parser.add_argument("--data", type=Path, default=default_data(), help="folder of the shared data")
    parser.add_argument("--work", type=Path, default=Path("bench-out"), help="where everything is left")
    parser.add_argument("--checkpoint", action="append", default=[], help="trained run to add, RUN or NAME=RUN")
    parser.add_argument("--peers-only", action="store_true", help="do not run vcfrag")
    parser.add_argument("--no-ablations", action="store_true", help="leave out the baselines")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--heap-mb", type=int, default=4096)
    parser.add_argument("--resamples", type=int, default=1000)
    return parser


if __name__ == "__main__":
    main()
