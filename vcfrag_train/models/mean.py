"""The mean of the weights that a run ends with and of those that it began with, judged anew.

Training on further panels moves a model away from what it knew; half way back it keeps nearly all that it learned and
loses little of what it had (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from vcfrag_core.errors import ConfigError, ProvenanceMismatchError
from vcfrag_core.model.exported import WEIGHTS, read_exported, read_weights
from vcfrag_core.retrieval.identity import metric_digest
from vcfrag_train.models.export import check_free, scores_table, write_exported
from vcfrag_train.runs import checkpoints
from vcfrag_train.runs.folder import RunFolder
from vcfrag_train.training.config import run_config
from vcfrag_train.training.session import AFTER, judge


def export_mean(run: Path, out: Path, first_share: float) -> None:
    """Writes the mean of a run's best weights and of its first ones as an exported model.

    The record is that of the checkpoint, and states both parents by their digest in the field `seed`; the scores are
    those of the mean, on the run's validation samples.

    Args:
        run: Run folder; `weights` of its configuration is still there.
        out: Folder to write.
        first_share: Share of the first weights, between 0 and 1.

    Raises:
        ConfigError: There is something at `out` already, the share is none, or the run began with random weights.
        ProvenanceMissingError: The run has no checkpoint, or its first weights are gone.
        ProvenanceMismatchError: The first weights are not those that it began with, or the data are not its own.
    """
    check_free(out)
    if not 0 < first_share < 1:
        raise ConfigError(f"the share of the first weights must lie between 0 and 1, got {first_share:g}")
    opened = RunFolder.open(run)
    folder, began = opened.checkpoint(), run_config(run).weights
    record = checkpoints.verify(folder)
    if began is None:
        raise ConfigError(f"{run} began with random weights: a mean with them is of no use")
    first, _ = read_exported(began)
    if record.fields["seed"].partition(AFTER)[2] != first.files[WEIGHTS]:
        raise ProvenanceMismatchError(
            f"{run} did not begin with the weights in {began}, which are {first.files[WEIGHTS]}"
        )
    ours, shape = read_weights(folder)
    theirs, _ = read_weights(began)
    mean = {name: np.asarray((1 - first_share) * ours[name] + first_share * theirs[name], np.float32) for name in ours}
    judged = judge(run, mean)
    of_what = (
        f"mean of {first_share:g} of the weights {first.files[WEIGHTS]}, with which training began, and "
        f"{1 - first_share:g} of {record.files[WEIGHTS]}, with which it ended"
    )
    made = dataclasses.replace(
        record,
        metric=metric_digest(judged.metric),
        fields={
            **record.fields,
            "seed": f"{record.fields['seed']} mean {first_share:g} of it, {record.files[WEIGHTS]}",
        },
        described={**record.described, "seed": of_what},
    )
    write_exported(out, _file(mean, shape), scores_table(opened, judged.scores, judged.by_data_set), made)


def _file(tensors: dict[str, np.ndarray], shape: dict[str, object]) -> bytes:
    from safetensors.numpy import save

    return save(tensors, metadata={"model": json.dumps(shape)})
