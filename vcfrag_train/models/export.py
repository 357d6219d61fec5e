"""Exports a trained model for sharing, and looks up its validation scores."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any, Final

from vcfrag_core.errors import ConfigError, ProvenanceMissingError
from vcfrag_core.model.exported import SCORES, WEIGHTS, file_digest
from vcfrag_core.model.provenance import PROVENANCE_FILE, to_json
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
    if out.exists():
        raise ConfigError(f"{out} exists already; name another folder")
    opened = RunFolder.open(run)
    folder = opened.checkpoint()
    record = checkpoints.verify(folder)
    scores = validation_scores(opened, record.step)
    temporary = out.with_name(f".partial-{out.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    shutil.copyfile(folder / WEIGHTS, temporary / WEIGHTS)
    (temporary / SCORES).write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    files = {name: file_digest(temporary / name) for name in (WEIGHTS, SCORES)}
    described = {field: _without_folders(text) for field, text in record.described.items()}
    exported = dataclasses.replace(record, files=files, described=described)
    (temporary / PROVENANCE_FILE).write_text(to_json(exported), encoding="utf-8")
    temporary.rename(out)


def validation_scores(run: RunFolder, step: int) -> dict[str, dict[str, Any]]:
    """As of `vcfrag_core.model.scores.ValidationScores`, at the end of the epoch that closed with this step.

    Raises:
        ProvenanceMissingError: The run was not validated at that step.
    """
    with run.metrics_path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["step"]) == step]
    if not rows:
        raise ProvenanceMissingError(f"{run.metrics_path} has no validation at step {step}: finish an epoch first")
    scores: dict[str, dict[str, Any]] = {
        mask: {name: {who: _number(rows[-1].get(f"{mask}_{who}_r2_{name}")) for who in _WHO} for name in BIN_NAMES}
        for mask in MASKS
    }
    of_each = _scores_of_each(run, step)
    return {**scores, DATA: of_each} if of_each else scores


def _scores_of_each(run: RunFolder, step: int) -> dict[str, dict[str, Any]]:
    """Those of each of several data sets, beside the size of its reference."""
    splits = run.splits()
    if set(splits) == {""}:
        return {}
    of_each: dict[str, dict[str, Any]] = {
        name: {SIZE: len(one.train.reference), **{mask: {} for mask in MASKS}} for name, one in splits.items()
    }
    with run.scores_path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if int(row["step"]) == step and row["data"] in of_each:
                of_each[row["data"]][row["mask"]][row["maf"]] = {who: _number(row[who]) for who in _WHO}
    return of_each


def _number(text: str | None) -> float | None:
    value = float(text) if text else math.nan
    return None if math.isnan(value) else round(value, 6)


def _without_folders(text: str) -> str:
    return re.sub(r"(?:[^\s,]*/)+", "", text)
