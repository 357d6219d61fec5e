"""The run folder: what a training run was made from, what it learned, and the checkpoints, each written whole or not.

RUN/
    config.toml         the resolved configuration
    run.json            versions, seeds, digests, sessions (start and every resume), accepted differences
    splits.json         reference, held-out samples and exclusion groups of both splits, and who is who; of several
                        data sets those of each
    metrics.csv         one row an epoch
    steps.csv           one row a step
    scores.csv          r² of every epoch by data set, mask and MAF bin
    tensorboard/
    checkpoints/
        last, best      text files that name one of the folders beside them
        step-00000120/  see `vcfrag_train.runs.checkpoints`
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from vcfrag_core.errors import ConfigError, ProvenanceMissingError
from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.panel.split import Split
from vcfrag_core.settings import dump_toml, read_toml

FORMAT = 1
Pointer = Literal["last", "best"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunSplits:
    """Both splits of a run and the samples of each role.

    Attributes:
        train: Split of training queries.
        validation: Split of validation queries.
        train_samples: Samples whose haplotypes are queries in training.
        validation_samples: Samples whose haplotypes are queries in validation.
    """

    train: Split
    validation: Split
    train_samples: tuple[str, ...]
    validation_samples: tuple[str, ...]


class RunFolder:
    """Paths and records of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(
        cls, path: Path, *, config: Mapping[str, Any], record: Mapping[str, Any], splits: Mapping[str, RunSplits]
    ) -> RunFolder:
        """Makes the folder and writes what is known before the first step; splits by the name of the data set.

        Raises:
            ConfigError: There is a run in the folder already.
        """
        folder = cls(path)
        if folder.record_path.exists():
            raise ConfigError(f"{path} holds a run already; name another --out, or --resume it")
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
        _write_text(folder.config_path, dump_toml(config))
        _write_json(folder.splits_path, _splits_table(splits))
        _write_json(folder.record_path, {"format": FORMAT, **record})
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The run in an existing folder.

        Raises:
            ProvenanceMissingError: There is no such folder, or it holds no run.json that this version reads.
        """
        if not path.is_dir():
            raise ProvenanceMissingError(f"{path}: there is no such folder; name a run folder, as `fit` printed it")
        folder = cls(path)
        folder.record()
        return folder

    @property
    def config_path(self) -> Path:
        return self.path / "config.toml"

    @property
    def record_path(self) -> Path:
        return self.path / "run.json"

    @property
    def splits_path(self) -> Path:
        return self.path / "splits.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def steps_path(self) -> Path:
        return self.path / "steps.csv"

    @property
    def scores_path(self) -> Path:
        return self.path / "scores.csv"

    def config(self) -> dict[str, Any]:
        """The resolved configuration's tables."""
        return read_toml(self.config_path)

    def record(self) -> dict[str, Any]:
        """run.json.

        Raises:
            ProvenanceMissingError: It is not there, or not of this format.
        """
        table = _read_json(self.record_path)
        found = table.get("format")
        if found != FORMAT:
            raise ProvenanceMissingError(f"{self.record_path}: format {found}, this version reads {FORMAT}")
        return table

    def splits(self) -> dict[str, RunSplits]:
        """splits.json: by the name of the data set; that of a run with one panel has none.

        Raises:
            ProvenanceMissingError: It is not there or cannot be read.
            HeldOutSampleError: A split's reference holds a sample that it holds out.
        """
        return _splits(_read_json(self.splits_path), self.splits_path)

    def every_splits(self) -> list[dict[str, RunSplits]]:
        """The splits in force, and those before differences that somebody accepted.

        Raises:
            As `splits`.
        """
        earlier = _read_json(self.splits_path).get("earlier", [])
        return [self.splits(), *(_splits(table, self.splits_path) for table in earlier)]

    def replace_splits(self, splits: Mapping[str, RunSplits]) -> None:
        """Puts other splits in force; those before stay on record."""
        table = _read_json(self.splits_path)
        earlier = table.pop("earlier", [])
        _write_json(self.splits_path, {**_splits_table(splits), "earlier": [*earlier, table]})

    def add_session(self, session: Mapping[str, Any]) -> None:
        """Records a start or a resume."""
        self.note(sessions=[*self.record().get("sessions", []), {"started": now(), **session}])

    def replace_config(self, config: Mapping[str, Any]) -> None:
        """Puts another configuration in force; the one before stays in run.json."""
        self.note(earlier_configs=[*self.record().get("earlier_configs", []), self.config()])
        _write_text(self.config_path, dump_toml(config))

    def every_config(self) -> list[dict[str, Any]]:
        """The tables of the configuration in force, and of those before it."""
        return [self.config(), *self.record().get("earlier_configs", [])]

    def note(self, **values: Any) -> None:
        """Adds or replaces entries of run.json."""
        _write_json(self.record_path, {**self.record(), **values})

    def point(self, pointer: Pointer, checkpoint: str) -> None:
        """Makes `last` or `best` name a checkpoint."""
        _write_text(self.checkpoints / pointer, checkpoint + "\n")

    def pointed(self, pointer: Pointer) -> Path | None:
        """The checkpoint that `last` or `best` names, if any."""
        path = self.checkpoints / pointer
        if not path.is_file():
            return None
        return self.checkpoints / path.read_text(encoding="utf-8").strip()

    def checkpoint(self) -> Path:
        """The best checkpoint, or the last where none was validated.

        Raises:
            ProvenanceMissingError: The run has no checkpoint.
        """
        for pointer in ("best", "last"):
            found = self.pointed(pointer)
            if found is not None and found.is_dir():
                return found
        raise ProvenanceMissingError(f"{self.path} holds no checkpoint yet")


class CsvLog:
    """Rows appended to a CSV file, flushed one by one; a resumed run drops the rows after its checkpoint.

    Args:
        path: The file.
        columns: Its columns; an existing file with other columns is refused.
        keep: Which rows of an existing file remain.

    Raises:
        ConfigError: The file has other columns.
    """

    def __init__(self, path: Path, columns: Iterable[str], keep_through_step: int) -> None:
        self._columns = list(columns)
        kept = _rows_through(path, self._columns, keep_through_step) if path.exists() else []
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(kept)
        self._file = path.open("a", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._file, self._columns, restval="")

    def add(self, row: Mapping[str, float | int | str]) -> None:
        """Appends one row; floats are written so that they read back exactly."""
        self._writer.writerow({key: repr(v) if isinstance(v, float) else v for key, v in row.items()})
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def now() -> str:
    """UTC to the second, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _rows_through(path: Path, columns: list[str], step: int) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if list(reader.fieldnames or columns) != columns:
            raise ConfigError(f"{path} has columns {reader.fieldnames}, this run writes {columns}")
        return [row for row in reader if row["step"].isdigit() and int(row["step"]) <= step]


def _splits_table(splits: Mapping[str, RunSplits]) -> dict[str, Any]:
    if set(splits) == {""}:
        return _of_one(splits[""])
    return {"data": {name: _of_one(one) for name, one in splits.items()}}


def _of_one(splits: RunSplits) -> dict[str, Any]:
    return {
        "train": _split_table(splits.train),
        "validation": _split_table(splits.validation),
        "train_samples": list(splits.train_samples),
        "validation_samples": list(splits.validation_samples),
    }


def _split_table(split: Split) -> dict[str, Any]:
    return {
        "name": split.name,
        "reference": list(split.reference),
        "held_out": list(split.held_out),
        "groups": dict(split.groups),
    }


def _splits(table: Mapping[str, Any], path: Path) -> dict[str, RunSplits]:
    try:
        return {
            name: RunSplits(
                train=_split(one["train"]),
                validation=_split(one["validation"]),
                train_samples=tuple(one["train_samples"]),
                validation_samples=tuple(one["validation_samples"]),
            )
            for name, one in table.get("data", {"": table}).items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ProvenanceMissingError(f"{path}: not a record of splits ({error})") from error


def _split(table: Mapping[str, Any]) -> Split:
    return Split(
        name=table["name"],
        reference=tuple(table["reference"]),
        held_out=tuple(table["held_out"]),
        groups=table["groups"],
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProvenanceMissingError(f"{path}: no record of a run can be read: {error.strerror}") from error
    except ValueError as error:
        raise ProvenanceMissingError(f"{path}: no record of a run can be read: {error}") from error
    if not isinstance(table, dict):
        raise ProvenanceMissingError(f"{path}: not a record of a run")
    return table


def _write_json(path: Path, table: Mapping[str, Any]) -> None:
    _write_text(path, json.dumps(table, indent=2) + "\n")


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
