"""Starts a run, goes on with one, or judges a checkpoint: configuration in, run folder out."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from vcfrag_core.errors import ConfigError, ProvenanceMissingError
from vcfrag_core.evidence.inputs import INPUTS_DIGEST
from vcfrag_core.model.exported import WEIGHTS, read_exported, read_weights
from vcfrag_core.model.network import ImputationModel
from vcfrag_core.model.provenance import Acceptance, Provenance, check_names, versions
from vcfrag_core.settings import to_table
from vcfrag_core.types import F32Array
from vcfrag_train.ended import Terminated
from vcfrag_train.runs import checkpoints
from vcfrag_train.runs.folder import RunFolder, now
from vcfrag_train.runs.index_usage import IndexUsage
from vcfrag_train.training.callbacks.checkpointing import Stopped
from vcfrag_train.training.components import connected, make_model, model_config
from vcfrag_train.training.config import FitConfig, config_table, run_config
from vcfrag_train.training.data.dataset import RunData, load_run_data, readable
from vcfrag_train.training.loop import Loop, Restored, TrainingComponents, has_ended

AFTER = " after "
_log = logging.getLogger(__name__)


class ValidationWarning(UserWarning):
    """Scores may be better than they would be on samples that nothing was learned from."""


def fit(
    config: FitConfig | None = None,
    out: Path | None = None,
    *,
    resume: Path | None = None,
    accept: Collection[str] = (),
) -> Path:
    """Trains, and returns the run folder.

    Args:
        config: The configuration; with `resume`, the run's own unless given.
        out: Folder of a new run; `runs/` and the time unless given.
        resume: Folder of a run to go on with.
        accept: Fields of provenance that may differ from the run's; what differed is recorded.

    Raises:
        ConfigError: Neither a configuration nor a run; a setting that makes no sense.
        ProvenanceMissingError: The run or its last checkpoint does not say what it was made from.
        ProvenanceMismatchError: Something differs from the run's and is not accepted.
        TrainingError: A loss is not finite.
        Terminated: A signal asked for the end; a checkpoint was written, and its text says how to go on.
    """
    check_names(accept)
    if resume is not None:
        return _go_on(resume, config, accept)
    if config is None:
        raise ConfigError("fit needs a configuration (--config) or a run to go on with (--resume)")
    return _begin(config, out or Path("runs") / now().replace(":", "").replace("+0000", "Z"))


def validate(run: Path, config: FitConfig | None = None) -> dict[str, float]:
    """Scores a run's best checkpoint on its validation samples; the same with any number of processes.

    Args:
        run: Run folder.
        config: The run's own unless given; what gave the weights their meaning must be the same.

    Raises:
        ProvenanceMismatchError: Something differs from the run's.
    """
    checkpoint = RunFolder.open(run).checkpoint()
    record = checkpoints.verify(checkpoint)
    metric = (checkpoints.read_state(checkpoint)["metric_version"], checkpoints.read_metric(checkpoint))
    with _judging(run, config or run_config(run), record, checkpoint) as (config, data, components):
        return Loop(config, data, components, metric=metric).validate().scores


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """Weights, judged on a run's validation samples.

    Attributes:
        scores: By column of metrics.csv.
        by_data_set: Rows of scores.csv but for epoch and step.
        metric: (V,) the site weights of their embedding.
    """

    scores: Mapping[str, float]
    by_data_set: Sequence[Mapping[str, float | str]]
    metric: F32Array


def judge(run: Path, tensors: Mapping[str, F32Array]) -> Judged:
    """Scores other weights of the shape of a run's model on its validation samples.

    Args:
        run: Run folder.
        tensors: The weights by name.

    Raises:
        ProvenanceMismatchError: Something differs from the run's, or the tensors are of another shape.
    """
    checkpoint = RunFolder.open(run).checkpoint()
    with _judging(run, run_config(run), checkpoints.verify(checkpoint), checkpoint) as (config, data, components):
        checkpoints.load_weights(components.model, tensors, checkpoint)
        metric = components.site_weights()
        scorer = Loop(config, data, components, metric=(0, metric)).validate()
        return Judged(scores=scorer.scores, by_data_set=scorer.by_data_set, metric=metric)


@contextlib.contextmanager
def _judging(
    run: Path, config: FitConfig, record: Provenance, checkpoint: Path
) -> Iterator[tuple[FitConfig, RunData, TrainingComponents]]:
    """A checkpoint's model on its run's data, which must be those of its record."""
    data = load_run_data(config)
    record.check(fields_of(config, data, _of_weights(run, config, record)))
    with connected(config, data, _model(config, checkpoint)) as components:
        yield config, data, components


def is_finished(run: Path, config: FitConfig) -> bool:
    """Whether a run has nothing left to do under a configuration, and needs no daemon any more.

    Raises:
        ProvenanceMissingError: The run has no checkpoint.
        ProvenanceMismatchError: Its last checkpoint is damaged.
    """
    checkpoint = _last_checkpoint(RunFolder.open(run))
    checkpoints.verify(checkpoint)
    return has_ended(checkpoints.read_state(checkpoint), config)


def fields_of(config: FitConfig, data: RunData, begun: Provenance | None = None) -> dict[str, str]:
    """Every field of provenance for a configuration and what it names.

    Args:
        config: The configuration.
        data: Its data sets.
        begun: What the run was made from that began with `config.weights`: it speaks for them where they are gone.

    Raises:
        ProvenanceMissingError: The first weights are gone, and nothing speaks for them.
        ProvenanceMismatchError: They are not what their record says.
    """
    shape = to_table(model_config(config.model))
    metric = {**to_table(config.metric), "embedding": shape.pop("embedding")}
    fields = {**data.fields, "model": readable(shape), "inputs": INPUTS_DIGEST, "metric": readable(metric)}
    if config.weights is not None and begun is not None and not config.weights.is_dir():
        fields["seed"] += "".join(begun.fields["seed"].partition(AFTER)[1:])
    elif config.weights is not None:
        first = _first_weights(config.weights)
        fields["seed"] += f"{AFTER}{first.files[WEIGHTS]}"
        if first.fields["validation"] not in {fields["validation"], *(one.fields["validation"] for one in data.sets)}:
            warnings.warn(
                f"{config.weights} was validated on other samples: who validates here may have taught it",
                ValidationWarning,
                stacklevel=1,
            )
    return fields


def _first_weights(folder: Path) -> Provenance:
    """The record of the exported model that a run begins with.

    Raises:
        ProvenanceMissingError: The folder holds none.
        ProvenanceMismatchError: Its files are not those that it speaks of, or it is shown other inputs.
    """
    record, _ = read_exported(folder)
    record.check({"inputs": INPUTS_DIGEST})
    return record


def _split_seeds(config: FitConfig) -> int | dict[str, int]:
    seeds = {one.name: one.split.seed for one in config.data_sets}
    return seeds.get("", 0) if set(seeds) == {""} else seeds


def _begin(config: FitConfig, out: Path) -> Path:
    data = load_run_data(config)
    fields = fields_of(config, data)
    with _learning(config, data, None) as loop:
        run = RunFolder(out)
        if loop.trainer.is_global_zero:
            run = RunFolder.create(
                out,
                config=config_table(config),
                record={
                    "versions": versions(),
                    "seeds": {
                        "run": config.seed,
                        "split": _split_seeds(config),
                        "validation": config.masks.validation_seed,
                    },
                    "fields": fields,
                    "described": dict(data.described),
                    "sessions": [],
                    "accepted": [],
                },
                splits=data.splits,
            )
        _train(loop, run, fields, data, (), 0)
    return out


def _go_on(path: Path, config: FitConfig | None, accept: Collection[str]) -> Path:
    run = RunFolder.open(path)
    config = config or run_config(path)
    checkpoint = _last_checkpoint(run)
    record = checkpoints.verify(checkpoint)
    data = load_run_data(config)
    fields = fields_of(config, data, _of_weights(path, config, record))
    accepted = (*record.accepted, *record.check(fields, accept))
    if config != run_config(path):
        run.replace_config(config_table(config))
    if data.splits != run.splits():
        run.replace_splits(data.splits)
    if has_ended(checkpoints.read_state(checkpoint), config):
        _tell_finished(path, record.step)
        return path
    with _learning(config, data, checkpoint) as loop:
        _train(loop, run, fields, data, accepted, record.step)
    return path


@rank_zero_only
def _tell_finished(path: Path, step: int) -> None:
    _log.warning("%s is finished, after %d steps: nothing is left to do", path, step)


def _last_checkpoint(run: RunFolder) -> Path:
    try:
        return run.pointed("last") or run.checkpoint()
    except ProvenanceMissingError as error:
        again = f"vcfrag fit --config {run.config_path} --out FOLDER"
        raise ProvenanceMissingError(f"{error}, so there is nothing to go on from; begin again: {again}") from None


def _of_weights(run: Path, config: FitConfig, record: Provenance) -> Provenance | None:
    """A checkpoint's record, where the run began with the weights that the configuration names."""
    return record if config.weights == run_config(run).weights else None


def _train(
    loop: Loop,
    run: RunFolder,
    fields: Mapping[str, str],
    data: RunData,
    accepted: tuple[Acceptance, ...],
    step: int,
) -> None:
    if loop.trainer.is_global_zero:
        run.note(accepted=[dataclasses.asdict(item) for item in accepted], fields=dict(fields))
        run.add_session({"from_step": step, "processes": loop.trainer.world_size, "versions": versions()})

    def provenance(at_step: int) -> Provenance:
        return Provenance(
            fields=fields,
            described=data.described,
            versions=versions(),
            step=at_step,
            metric="",
            files={},
            accepted=accepted,
        )

    try:
        loop.fit(run, provenance)
    except Stopped as stopped:
        said = f"stopped and saved; vcfrag fit --resume {run.path} goes on"
        raise Terminated(stopped.number, said) from None


@contextlib.contextmanager
def _learning(config: FitConfig, data: RunData, checkpoint: Path | None) -> Iterator[Loop]:
    model = _model(config, checkpoint)
    restored = None
    if checkpoint is not None:
        restored = Restored(
            state=checkpoints.read_state(checkpoint),
            metric=checkpoints.read_metric(checkpoint),
            index_usage=IndexUsage.read(checkpoint / checkpoints.INDEX_USAGE),
        )
    with connected(config, data, model) as components:
        yield Loop(config, data, components, restored)


def _model(config: FitConfig, checkpoint: Path | None) -> ImputationModel:
    model = make_model(model_config(config.model), config.seed)
    folder = checkpoint or config.weights
    if folder is not None:
        tensors, _ = read_weights(folder)
        checkpoints.load_weights(model, tensors, folder)
    return model
