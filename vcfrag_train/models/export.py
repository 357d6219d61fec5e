"""Exports a trained model for sharing, and looks up its validation scores."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from vcfrag_core.errors import ConfigError, ProvenanceMissingError
from vcfrag_core.model.exported import SCORES, WEIGHTS, file_digest
from vcfrag_core.model.provenance import PROVENANCE_FILE, Provenance, to_json
from vcfrag_core.model.scores import DATA, MASKS, SIZE
from vcfrag_core.scoring.accuracy import BIN_NAMES
from vcfrag_train.runs import checkpoints
from vcfrag_train.runs.folder import RunFolder

_WHO: Final = ("model", "copying")


def export_model(run: Path, out: Path) -> None:
    """Writes the best checkpoint of a run as an exported model.

    Raises:
        ConfigError: There is something at `out` already.
        ProvenanceMissingError: The run has no checkpoint, or no validation at its step.
        ProvenanceMismatchError: The checkpoint's files are not those that it speaks of.
    """
    check_free(out)
    opened = RunFolder.open(run)
    folder = opened.checkpoint()
    record = checkpoints.verify(folder)
    write_exported(out, (folder / WEIGHTS).read_bytes(), validation_scores(opened, record.step), record)


def check_free(out: Path) -> None:
    """
    Raises:
        ConfigError: There is something at `out` already.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already; name another folder")


def write_exported(out: Path, weights: bytes, scores: Mapping[str, Any], record: Provenance) -> None:
    """Writes a folder with the file of the weights, their scores and their record, whole or not at all."""
    temporary = out.with_name(f".partial-{out.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    (temporary / WEIGHTS).write_bytes(weights)
    (temporary / SCORES).write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    files = {name: file_digest(temporary / name) for name in (WEIGHTS, SCORES)}
    described = {field: _without_folders(text) for field, text in record.described.items()}
    exported = dataclasses.replace(record, files=files, described=described)
    (temporary / PROVENANCE_FILE).write_text(to_json(exported), encoding="utf-8")
    temporary.rename(out)


def validation_scores(run: RunFolder, step: int) -> dict[str, Any]:
    """As of `vcfrag_core.model.scores.ValidationScores`, at the end of the epoch that closed with this step.

    Raises:
        ProvenanceMissingError: The run was not validated at that step.
    """
    with run.metrics_path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["step"]) == step]
    if not rows:
        raise ProvenanceMissingError(f"{run.metrics_path} has no validation at step {step}: finish an epoch first")
    if not run.scores_path.is_file():
        return scores_table(run, rows[-1], [])
    with run.scores_path.open(encoding="utf-8", newline="") as file:
        return scores_table(run, rows[-1], [row for row in csv.DictReader(file) if int(row["step"]) == step])


def scores_table(
    run: RunFolder, over_all: Mapping[str, str | float], of_each: Iterable[Mapping[str, str | float]]
) -> dict[str, Any]:
    """As of `vcfrag_core.model.scores.ValidationScores`.

    Args:
        run: The run whose samples judged: of several data sets each stands beside the size of its reference.
        over_all: Scores by column of metrics.csv.
        of_each: Rows of scores.csv.
    """
    scores: dict[str, Any] = {
        mask: {name: {who: _number(over_all.get(f"{mask}_{who}_r2_{name}")) for who in _WHO} for name in BIN_NAMES}
        for mask in MASKS
    }
    splits = run.splits()
    if set(splits) == {""}:
        return scores
    data: dict[str, dict[str, Any]] = {
        name: {SIZE: len(one.train.reference), **{mask: {} for mask in MASKS}} for name, one in splits.items()
    }
    for row in of_each:
        if row["data"] in data:
            data[str(row["data"])][str(row["mask"])][str(row["maf"])] = {who: _number(row[who]) for who in _WHO}
    return {**scores, DATA: data}


def _number(text: str | float | None) -> float | None:
    value = math.nan if text is None or text == "" else float(text)
    return None if math.isnan(value) else round(value, 6)


def _without_folders(text: str) -> str:
    return re.sub(r"(?:[^\s,]*/)+", "", text)
