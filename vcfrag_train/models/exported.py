"""A trained model to hand on: weights, provenance and validation scores, without the trainer's state.

weights.safetensors   the model's tensors; the metadata holds its configuration
scores.json           r² of the model and of copying on held-out samples, by validation mask and MAF bin
provenance.json       what it was made from, with a digest of each file above; files are named without their folders
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vcfrag_core.errors import ConfigError, ProvenanceMismatchError, ProvenanceMissingError
from vcfrag_core.scoring.accuracy import MAF_EDGES
from vcfrag_train.fit.validation.scores import BIN_NAMES
from vcfrag_train.runs import checkpoints
from vcfrag_train.runs.folder import RunFolder
from vcfrag_train.runs.provenance import PROVENANCE_FILE, Provenance, read_provenance, to_json

SCORES: Final = "scores.json"
Scores = Mapping[str, Mapping[str, Mapping[str, float | None]]]
_MASKS: Final = ("half", "array")
_WHO: Final = ("model", "copying")


def export_model(run: Path, out: Path) -> None:
    """Writes the best checkpoint of a run as a model to hand on.

    Raises:
        ConfigError: There is something at `out` already.
        ProvenanceMissingError: The run has no checkpoint, or no validation at its step.
        ProvenanceMismatchError: The checkpoint's files are not those that it speaks of.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already; name another folder")
    opened = RunFolder.open(run)
    folder = opened.checkpoint()
    record = checkpoints.verify(folder)
    scores = validation_scores(opened, record.step)
    temporary = out.with_name(f".partial-{out.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    shutil.copyfile(folder / checkpoints.WEIGHTS, temporary / checkpoints.WEIGHTS)
    (temporary / SCORES).write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    files = {name: checkpoints.file_digest(temporary / name) for name in (checkpoints.WEIGHTS, SCORES)}
    described = {field: _without_folders(text) for field, text in record.described.items()}
    handed_on = dataclasses.replace(record, files=files, described=described)
    (temporary / PROVENANCE_FILE).write_text(to_json(handed_on), encoding="utf-8")
    temporary.rename(out)


def read_exported(folder: Path) -> tuple[Provenance, Scores]:
    """The record and the scores of a model that was handed on, after a check of its files.

    Raises:
        ProvenanceMissingError: A file is missing, or the record does not speak of it.
        ProvenanceMismatchError: A file is not the one that the record speaks of.
    """
    record = read_provenance(folder)
    for name in (checkpoints.WEIGHTS, SCORES):
        path = folder / name
        if name not in record.files or not path.is_file():
            raise ProvenanceMissingError(f"{folder}: {name} is missing, or the record does not speak of it")
        if checkpoints.file_digest(path) != record.files[name]:
            raise ProvenanceMismatchError(f"{path} is not the file that the record speaks of")
    return record, json.loads((folder / SCORES).read_text(encoding="utf-8"))


def is_exported(folder: Path) -> bool:
    """Whether the folder holds a model that was handed on."""
    return (folder / SCORES).is_file()


def validation_scores(run: RunFolder, step: int) -> dict[str, dict[str, dict[str, float | None]]]:
    """r² by validation mask, MAF bin and `model` or `copying`, at the end of the epoch that closed with this step.

    Raises:
        ProvenanceMissingError: The run was not validated at that step.
    """
    with run.metrics_path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["step"]) == step]
    if not rows:
        raise ProvenanceMissingError(f"{run.metrics_path} has no validation at step {step}: finish an epoch first")
    return {
        mask: {name: {who: _number(rows[-1], f"{mask}_{who}_r2_{name}") for who in _WHO} for name in BIN_NAMES}
        for mask in _MASKS
    }


def bins_left_to_copying(scores: Scores) -> tuple[tuple[float, float], ...]:
    """MAF bins (low, high] in which the model did worse than copying on held-out samples, under any mask."""
    worse = {
        name
        for by_bin in scores.values()
        for name, r2 in by_bin.items()
        if r2["model"] is not None and r2["copying"] is not None and r2["model"] < r2["copying"]
    }
    edges = zip(MAF_EDGES[:-1], MAF_EDGES[1:], strict=True)
    return tuple(edge for name, edge in zip(BIN_NAMES, edges, strict=True) if name in worse)


def _number(row: Mapping[str, Any], column: str) -> float | None:
    value = float(row[column]) if row.get(column) else math.nan
    return None if math.isnan(value) else round(value, 6)


def _without_folders(text: str) -> str:
    return re.sub(r"(?:[^\s,]*/)+", "", text)
