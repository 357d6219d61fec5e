"""The configuration of a training run: what to train, on what, and how to judge it.

One TOML file, one table for each class below. Paths are relative to the file; `${NAME}` in a path is the
environment's, and `${NAME:-x}` is x where the environment does not say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.errors import ConfigError
from vcfrag_core.masks.curriculum import CurriculumConfig
from vcfrag_core.masks.draw import ArrayLikeMask, MaskPolicy, policy_from_config
from vcfrag_core.settings import from_table, read_toml, to_table
from vcfrag_train.runs.folder import RunFolder

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PanelConfig:
    """The reference panel.

    Attributes:
        path: VCF or BCF.
        name: What the daemon calls it.
        region: `contig:from-to`; the whole file unless given. An outside daemon must serve the same region.
        map: Genetic map; without one, 1 cM per Mb.
        cache_dir: Where the binary cache lies; beside the file unless given.
    """

    path: Path
    name: str = "panel"
    region: str | None = None
    map: Path | None = None
    cache_dir: Path | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SplitConfig:
    """External is learned from, who judges, and who is not touched.

    Attributes:
        samples: Table of populations and families; without one every sample is its own exclusion group.
        file: Table of sample and role that settles everything; the fractions are then not used.
        exclude: List of samples that are neither queries nor reference, one name a line.
        validation_fraction: Share of the samples that is held out for validation.
        seed: Of the choice.
        reference_samples: So many of the training samples are the reference, drawn with the seed; all unless given.
            The others are queries all the same.
        reference_populations: Populations or super-populations of the table, which alone are the reference, so that
            most queries are of people whom it lacks; all unless given.
        queries: `all` training samples, or those `outside` such a reference alone.
    """

    samples: Path | None = None
    file: Path | None = None
    exclude: Path | None = None
    validation_fraction: float = 0.05
    seed: int = 1
    reference_samples: int | None = None
    reference_populations: tuple[str, ...] = ()
    queries: Literal["all", "outside"] = "all"

    def __post_init__(self) -> None:
        _check("split.validation_fraction", self.validation_fraction, 1e-6, 1 - 1e-6)
        _check("split.reference_samples", self.reference_samples, 2, 10**9)
        if self.reference_populations and self.samples is None:
            raise ConfigError("split.reference_populations needs split.samples, the table that says who is of which")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MasksConfig:
    """What is hidden; see `vcfrag_core.masks.curriculum.CurriculumConfig` for all but the last three.

    Attributes:
        array: Table of the array-like policy, such as `{ kind = "array", least_hidden = 0.95 }`.
        array_sites: Table of the sites of a real array (chrom, pos, ref, alt) instead.
        validation_array_sites: The same for validation's array-like mask.
        validation_seed: Validation's own seed.
    """

    levels: tuple[float, ...] = CurriculumConfig().levels
    epochs_per_level: tuple[int, ...] = (1,)
    array_share: float = 0.3
    random_share: float = 1.0
    frequency_share: float = 0.0
    span_share: float = 0.0
    span_sites: float = 32.0
    refresh: Literal["visit", "epoch"] = "visit"
    array: Mapping[str, Any] | None = None
    array_sites: Path | None = None
    validation_array_sites: Path | None = None
    validation_seed: int = 20

    def __post_init__(self) -> None:
        if self.array is not None and self.array_sites is not None:
            raise ConfigError("masks.array and masks.array_sites are two answers to one question: give one")
        self.curriculum(self.array_policy())

    def array_policy(self) -> MaskPolicy:
        """The array-like policy of training, unless it is a real array's sites."""
        return policy_from_config(self.array) if self.array is not None else ArrayLikeMask()

    def curriculum(self, array: MaskPolicy) -> CurriculumConfig:
        """The curriculum with this array-like policy."""
        epochs = self.epochs_per_level
        return CurriculumConfig(
            levels=self.levels,
            epochs_per_level=epochs[0] if len(epochs) == 1 else epochs,
            array_share=self.array_share,
            array=array,
            random_share=self.random_share,
            frequency_share=self.frequency_share,
            span_share=self.span_share,
            span_sites=self.span_sites,
            refresh=self.refresh,
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WindowsConfig:
    """The unit of sampling and of the transformer.

    Attributes:
        sites: Most sites of a window.
        flank_cm: Genetic distance on both sides that belongs to its context; chosen by the density of each mask
            unless given.
    """

    sites: int = 1020
    flank_cm: float | None = None

    def __post_init__(self) -> None:
        _check("windows.sites", self.sites, 1, 10**7)
        _check("windows.flank_cm", self.flank_cm, 0, 1000)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserConfig:
    """How the weights move.

    Attributes:
        learning_rate: Peak of the schedule.
        weight_decay: Of AdamW; not on biases, norms and scalars.
        warmup_steps: Steps of linear warmup.
        schedule: After warmup: `cosine` to `final_share` of the peak at the last step, or `constant`.
        final_share: Share of the peak that remains at the end.
        batch_samples: Samples of a batch; twice as many query haplotypes, all in one window.
        samples_per_visit: Samples drawn for each visit of a window; all of them unless given.
        visits_per_epoch: Visits of windows that make an epoch; one pass over all windows and samples unless given.
        lanes: Visits under way at once over all processes; one for each process unless given.
        uncertain_sites: Most uncertain sites of a query haplotype that train the model, evenly spaced among them; all
            of them unless given. Neighbouring sites repeat each other, so that a share of them teaches nearly as much.
        accumulate_batches: Batches of one optimiser step.
        clip_norm: Largest norm of the gradient; 0 does not clip.
        loss: `cross_entropy` or `focal`.
        focal_gamma: Exponent of the focal loss.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_steps: int = 100
    schedule: Literal["cosine", "constant"] = "cosine"
    final_share: float = 0.05
    batch_samples: int = 8
    samples_per_visit: int | None = None
    visits_per_epoch: int | None = None
    lanes: int | None = None
    uncertain_sites: int | None = None
    accumulate_batches: int = 1
    clip_norm: float = 1.0
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: float = 2.0

    def __post_init__(self) -> None:
        _check("optimiser.learning_rate", self.learning_rate, 1e-12, 10)
        _check("optimiser.weight_decay", self.weight_decay, 0, 10)
        _check("optimiser.warmup_steps", self.warmup_steps, 0, 10**9)
        _check("optimiser.final_share", self.final_share, 0, 1)
        _check("optimiser.batch_samples", self.batch_samples, 1, 10**6)
        for name in ("samples_per_visit", "visits_per_epoch", "lanes"):
            _check(f"optimiser.{name}", getattr(self, name), 1, 10**9)
        _check("optimiser.uncertain_sites", self.uncertain_sites, 1, 10**9)
        _check("optimiser.accumulate_batches", self.accumulate_batches, 1, 10**6)
        _check("optimiser.clip_norm", self.clip_norm, 0, 1e9)
        _check("optimiser.focal_gamma", self.focal_gamma, 0, 10)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrainerConfig:
    """How the run goes; nothing here changes what a step computes, so all of it may change on resume.

    Attributes:
        accelerator: `auto`, `cpu` or `gpu`.
        devices: Processes of this node; `torchrun` and SLURM decide themselves.
        nodes: Machines.
        precision: `32-true`, `bf16-mixed` or `16-mixed`.
        threads: Threads of torch; 0 leaves its default.
        copying_threads: Threads of copying, for each thread that prepares batches.
        checkpoint_steps: Optimiser steps between checkpoints within an epoch.
        patience_epochs: Epochs without improvement after which the run ends; 0 never ends it early.
        monitor: Column of metrics.csv that decides on the best checkpoint and on early stopping.
        monitor_mode: Whether `max` or `min` of it is best.
        prefetch_batches: Batches prepared ahead.
        prefetch_threads: Threads that prepare them.
        validation_samples: Most samples that judge; all unless given.
        validation_windows: Most windows that judge, evenly spaced; all unless given.
        progress_seconds: Least time between lines of progress; 0 prints none.
        sites_at_once: Most uncertain sites whose activations are kept for the backward pass; those of more are made
            again, a part at a time. As many as fit into a CUDA device's free memory unless given, all elsewhere.
        copying_on_device: Whether the model copies in other ways where it trains, by other candidates and rates: four
            of five copies of every query that it is shown. On the host the threads that prepare batches do.
        compile: Let `torch.compile` make the network's kernels, which takes about half a minute at the start.
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    nodes: int = 1
    precision: Precision = "32-true"
    threads: int = 0
    copying_threads: int = 1
    checkpoint_steps: int = 200
    patience_epochs: int = 0
    monitor: str = "half_model_r2"
    monitor_mode: Literal["max", "min"] = "max"
    prefetch_batches: int = 4
    prefetch_threads: int = 2
    validation_samples: int | None = None
    validation_windows: int | None = None
    progress_seconds: float = 5.0
    sites_at_once: int | None = None
    copying_on_device: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("devices", "nodes", "copying_threads", "checkpoint_steps", "prefetch_threads"):
            _check(f"trainer.{name}", getattr(self, name), 1, 10**9)
        _check("trainer.sites_at_once", self.sites_at_once, 1, 10**9)
        for name in ("threads", "patience_epochs", "prefetch_batches", "progress_seconds"):
            _check(f"trainer.{name}", getattr(self, name), 0, 10**9)
        for name in ("validation_samples", "validation_windows"):
            _check(f"trainer.{name}", getattr(self, name), 1, 10**9)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MetricConfig:
    """When the metric that retrieval uses follows the embedding.

    Attributes:
        refresh_windows: Windows of training between refreshes; 0 keeps the first metric.
        refresh_epochs: Epochs between refreshes; 0 for none. One of the two may be given.
    """

    refresh_windows: int = 0
    refresh_epochs: int = 1

    def __post_init__(self) -> None:
        _check("metric.refresh_windows", self.refresh_windows, 0, 10**9)
        _check("metric.refresh_epochs", self.refresh_epochs, 0, 10**9)
        if self.refresh_windows and self.refresh_epochs:
            raise ConfigError("metric: give refresh_windows or refresh_epochs (set the other to 0)")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DaemonConfig:
    """Where the index daemons are; without an address one is embedded in the process.

    Attributes:
        addresses: HOST:PORT each; window n asks number n modulo their count.
        memory_budget_bytes: Of an embedded daemon.
        device_budget_bytes: Of an embedded daemon on a CUDA device, where its engine searches there: training has the
            rest.
        threads: Of an embedded daemon.
    """

    addresses: tuple[str, ...] = ()
    memory_budget_bytes: int = 2 << 30
    device_budget_bytes: int = 2 << 30
    threads: int = 2

    def __post_init__(self) -> None:
        for name in ("memory_budget_bytes", "device_budget_bytes"):
            _check(f"daemon.{name}", getattr(self, name), 1 << 20, 1 << 50)
        _check("daemon.threads", self.threads, 1, 1024)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """One data set of several that a run takes in turns.

    Attributes:
        name: What metrics and records call it.
        panel: Its panel. Data sets may share one: `panel.name` is then the same in both.
        split: Who is in which role. Whoever validates in one data set trains in none.
        masks: What is hidden; that of the run unless given.
        visits: Visits that it has in an epoch; `optimiser.visits_per_epoch` unless given.
    """

    name: str
    panel: PanelConfig
    split: SplitConfig = dataclasses.field(default_factory=SplitConfig)
    masks: MasksConfig | None = None
    visits: int | None = None

    def __post_init__(self) -> None:
        _check("data.visits", self.visits, 1, 10**9)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """A training run.

    Attributes:
        seed: Of weights, batches, masks and dropout.
        epochs: Epochs; the schedule spans them.
        panel: The one panel of a run that has no `data`.
        split: Its split.
        data: Several data sets, taken in turns, instead of `panel` and `split`.
        weights: Folder of an exported model whose weights are the first ones, instead of random ones.
        retrieval: Scales, neighbours and copying; chosen by the density of each mask unless given.
        model: Fields of `vcfrag_core.model.network.ModelConfig`.
    """

    seed: int = 1
    epochs: int = 8
    panel: PanelConfig | None = None
    split: SplitConfig | None = None
    data: tuple[DataConfig, ...] = ()
    weights: Path | None = None
    masks: MasksConfig = dataclasses.field(default_factory=MasksConfig)
    windows: WindowsConfig = dataclasses.field(default_factory=WindowsConfig)
    retrieval: CopyingParameters | None = None
    metric: MetricConfig = dataclasses.field(default_factory=MetricConfig)
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    optimiser: OptimiserConfig = dataclasses.field(default_factory=OptimiserConfig)
    trainer: TrainerConfig = dataclasses.field(default_factory=TrainerConfig)
    daemon: DaemonConfig = dataclasses.field(default_factory=DaemonConfig)

    def __post_init__(self) -> None:
        _check("epochs", self.epochs, 1, 10**9)
        _check("seed", self.seed, 0, 2**63 - 1)
        if (self.panel is None) == (not self.data):
            raise ConfigError("give one table [panel], or one [[data]] for each data set")
        if self.data:
            self._check_data()

    @property
    def data_sets(self) -> tuple[DataConfig, ...]:
        """All data sets; that of a run with one panel has no name."""
        if self.panel is None:
            return self.data
        return (DataConfig(name="", panel=self.panel, split=self.split or SplitConfig()),)

    @property
    def sample_tables(self) -> tuple[Path, ...]:
        """The tables of samples of all data sets."""
        return tuple(one.split.samples for one in self.data_sets if one.split.samples is not None)

    def _check_data(self) -> None:
        if self.split is not None:
            raise ConfigError("[split] belongs to [panel]; each [[data]] has its own [data.split]")
        names = [one.name for one in self.data]
        if "" in names or len(set(names)) < len(names):
            raise ConfigError(f"every [[data]] needs a name of its own, got {', '.join(map(repr, names))}")
        panels: dict[str, PanelConfig] = {}
        for one in self.data:
            if panels.setdefault(one.panel.name, one.panel) != one.panel:
                raise ConfigError(f"two panels have the name {one.panel.name!r}: the daemon knows them by it")
        if self.metric.refresh_windows:
            raise ConfigError("metric.refresh_windows counts the visits of one data set; take metric.refresh_epochs")


def load_config(path: Path) -> FitConfig:
    """The configuration of a TOML file.

    Raises:
        ConfigError: The file cannot be read, or a key is unknown, missing, of the wrong type or out of range.
    """
    try:
        return from_table(FitConfig, read_toml(path), base=path.resolve().parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from error


def run_config(run: Path) -> FitConfig:
    """The configuration of a run folder.

    Raises:
        ProvenanceMissingError: The folder holds no run.
    """
    folder = RunFolder.open(run)
    return from_table(FitConfig, folder.config(), base=folder.path)


def config_table(config: FitConfig) -> dict[str, Any]:
    """The tables of a configuration with every default spelt out and every path absolute."""
    return to_table(config)


def _check(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise ConfigError(f"{name} must be between {low:g} and {high:g}, got {value}")
