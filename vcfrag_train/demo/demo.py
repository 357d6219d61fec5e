"""The whole road on generated data: panel, daemon, training, imputation, evaluation, report."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcfrag_core.errors import ConfigError
from vcfrag_train.reporter import Reporter
from vcfrag_train.simulate.files import SimulatedFiles, write_simulation
from vcfrag_train.simulate.simulate import SimulationConfig, simulate

if TYPE_CHECKING:
    from vcfrag_train.evaluation.results import Evaluation
    from vcfrag_train.training.config import FitConfig

PANEL_NAME: Final = "demo"
TRAINED: Final = "vcfrag-trained"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DemoConfig:
    """How much of everything.

    Attributes:
        simulation: What is generated.
        epochs: Epochs of training.
        visits_per_epoch: Masks of an epoch; each trains on 16 samples.
        threads: Threads of every step.
        resamples: Bootstrap resamples behind the intervals.
    """

    simulation: SimulationConfig = dataclasses.field(default_factory=SimulationConfig)
    epochs: int = 3
    visits_per_epoch: int = 16
    threads: int = 2
    resamples: int = 500

    @classmethod
    def quick(cls) -> DemoConfig:
        """Everything once, in seconds: enough to see that it works, too little to learn much."""
        small = SimulationConfig(reference_per_population=40, targets_per_population=6, length_bases=400_000)
        return cls(simulation=small, epochs=1, visits_per_epoch=2, resamples=50)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What a demo leaves behind.

    Attributes:
        evaluation: The table.
        files: The generated data.
        run: The run folder of the trained model.
        report: The HTML report.
        json: All figures.
    """

    evaluation: Evaluation
    files: SimulatedFiles
    run: Path
    report: Path
    json: Path


def run_demo(config: DemoConfig, out: Path, reporter: Reporter) -> DemoResult:
    """Does it all in the folder `out`, which must be new, empty or an earlier demo's.

    Args:
        config: How much of everything.
        out: Where everything is left: data/, run/, imputed/, report.html, report.json.
        reporter: Told what is being done.

    Raises:
        ConfigError: `out` holds something else, or the daemon is not installed.
        ProgramError: The daemon or a peer ended with an error.
    """
    from vcfrag_train.compare import compare as comparison
    from vcfrag_train.evaluation import evaluate as evaluation
    from vcfrag_train.evaluation import output

    _prepare(out)
    files = _generate(config, out, reporter)
    run = _train(config, files, out, reporter)
    result = comparison.compare(
        comparison.ComparisonFiles(
            panel=files.panel,
            target=files.target,
            truth=files.truth,
            genetic_map=files.genetic_map,
            samples_table=files.samples,
        ),
        comparison.ComparisonConfig(
            checkpoints=((TRAINED, run),),
            threads=config.threads,
            heap_mb=1024,
            evaluation=evaluation.EvaluationConfig(resamples=config.resamples, threads=config.threads),
        ),
        out / "imputed",
        reporter,
    )
    reporter.say("writing the report")
    report, figures = out / "report.html", out / "report.json"
    output.write(result, output.Targets(html=report, json=figures, run=run))
    return DemoResult(evaluation=result, files=files, run=run, report=report, json=figures)


def _prepare(out: Path) -> None:
    known = {"data", "run", "imputed", "report.html", "report.json", "indexd.log"}
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is not a folder")
    strange = sorted({path.name for path in out.iterdir()} - known) if out.exists() else []
    if strange:
        raise ConfigError(f"{out} holds {strange[0]!r}, which is no demo's: name another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    for name in ("run", "imputed"):
        shutil.rmtree(out / name, ignore_errors=True)


def _generate(config: DemoConfig, out: Path, reporter: Reporter) -> SimulatedFiles:
    reporter.say("generating haplotypes of three populations")
    simulation = simulate(config.simulation)
    files = write_simulation(simulation, out / "data")
    reporter.say(
        f"generated {simulation.panel.n_samples:,} reference and {simulation.targets.n_samples} target samples at "
        f"{simulation.panel.n_sites:,} sites, {int(simulation.typed.sum()):,} of them typed"
    )
    return files


def _train(config: DemoConfig, files: SimulatedFiles, out: Path, reporter: Reporter) -> Path:
    from vcfrag_train.client.process import running_daemon
    from vcfrag_train.training.session import fit

    reporter.say("starting the daemon")
    with running_daemon({PANEL_NAME: files.panel}, log=out / "indexd.log", threads=config.threads) as address:
        reporter.say(f"training against the daemon at {address}")
        return fit(fit_config(config, files, address), out / "run")


def fit_config(config: DemoConfig, files: SimulatedFiles, address: str) -> FitConfig:
    """The training run: a small model, curriculum masks, judged on held-out reference samples."""
    from vcfrag_train.training.config import (
        DaemonConfig,
        FitConfig,
        MasksConfig,
        OptimiserConfig,
        PanelConfig,
        SplitConfig,
        TrainerConfig,
        WindowsConfig,
    )

    return FitConfig(
        seed=config.simulation.seed,
        epochs=config.epochs,
        panel=PanelConfig(path=files.panel, name=PANEL_NAME, map=files.genetic_map),
        split=SplitConfig(samples=files.samples, validation_fraction=0.05),
        masks=MasksConfig(
            levels=(0.5, 0.8), array_share=0.7, array={"kind": "array", "least_hidden": 0.93, "most_hidden": 0.98}
        ),
        # One window: the region is short, and nothing of a context is copied twice.
        windows=WindowsConfig(sites=32_768),
        optimiser=OptimiserConfig(
            learning_rate=2.5e-3,
            warmup_steps=20,
            batch_samples=4,
            samples_per_visit=16,
            visits_per_epoch=config.visits_per_epoch,
            uncertain_sites=400,
        ),
        trainer=TrainerConfig(accelerator="cpu", threads=config.threads, validation_samples=16),
        daemon=DaemonConfig(addresses=(address,)),
    )
