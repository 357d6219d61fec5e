"""The run folder, its index usage and its checkpoints: written whole, read back exactly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vcfrag_core.errors import ConfigError, ProvenanceMismatchError, ProvenanceMissingError
from vcfrag_core.model.exported import file_digest, read_weights
from vcfrag_core.model.provenance import FIELDS, PROVENANCE_FILE, Provenance
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.identity import Identity
from vcfrag_train.runs import checkpoints
from vcfrag_train.runs.folder import CsvLog, RunFolder, RunSplits
from vcfrag_train.runs.index_usage import IndexUsage, MaskName


def identity(mask: str = "m", split: str = "s") -> Identity:
    return Identity(panel="p", split=split, mask=mask, metric="w", layout="l")


def make_splits() -> RunSplits:
    groups = {"A": "A", "B": "B", "V": "F1"}
    return RunSplits(
        train=Split(name="train", reference=("A", "B"), held_out=("V",), groups=groups),
        validation=Split(name="validation", reference=("A", "B"), held_out=("V",), groups=groups),
        train_samples=("A", "B"),
        validation_samples=("V",),
    )


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(
        tmp_path / "run", config={"seed": 1, "panel": {"path": "/x"}}, record={"seeds": {}}, splits={"": make_splits()}
    )


@pytest.fixture
def index_usage() -> IndexUsage:
    index_usage = IndexUsage()
    name = MaskName(kind="level", policy="digest", epoch=0, visit=3)
    index_usage.add("train", identity(), name, metric_version=0, step=4, samples=["A", "B"])
    index_usage.add("train", identity(), name, metric_version=0, step=5, samples=["B"])
    index_usage.add("validation", identity("v"), name, metric_version=0, step=5, samples=["V"])
    return index_usage


def make_provenance(step: int = 5) -> Provenance:
    fields = {name: f"digest of {name}" for name in FIELDS}
    return Provenance(fields=fields, described={}, versions={}, step=step, metric="", files={})


def make_snapshot(index_usage: IndexUsage, value: float = 1.0) -> checkpoints.Snapshot:
    shared = torch.full((3,), value)
    return checkpoints.Snapshot(
        weights={"a": shared, "b": shared[:2]},
        model={"layers": 2},
        metric=np.array([1.0, 2.0], dtype=np.float32),
        state={"step": 5, "moments": [torch.ones(2)]},
        index_usage=index_usage,
        config="seed = 1\n",
    )


def test_folder__records_read_back(run: RunFolder) -> None:
    again = RunFolder.open(run.path)
    assert again.config() == {"seed": 1, "panel": {"path": "/x"}}
    assert again.splits() == {"": make_splits()}
    again.add_session({"step": 3})
    assert [s["step"] for s in again.record()["sessions"]] == [3]


def test_folder__a_second_run_in_it_is_refused(run: RunFolder) -> None:
    with pytest.raises(ConfigError, match="holds a run already"):
        RunFolder.create(run.path, config={}, record={}, splits={"": make_splits()})


def test_folder__one_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProvenanceMissingError):
        RunFolder.open(tmp_path)


def test_folder__no_checkpoint_yet(run: RunFolder) -> None:
    with pytest.raises(ProvenanceMissingError, match="no checkpoint"):
        run.checkpoint()


def test_folder__best_before_last(run: RunFolder, index_usage: IndexUsage) -> None:
    for step in (5, 9):
        checkpoints.write_checkpoint(run.checkpoints, make_snapshot(index_usage), make_provenance(step))
    run.point("last", "step-00000009")
    assert run.checkpoint().name == "step-00000009"
    run.point("best", "step-00000005")
    assert run.checkpoint().name == "step-00000005"
    checkpoints.prune(run.checkpoints, keep=["step-00000005"])
    assert not (run.checkpoints / "step-00000009").exists()


def test_ledger__round_trip_and_steps(index_usage: IndexUsage, tmp_path: Path) -> None:
    index_usage.write(tmp_path / "ledger.json")
    again = IndexUsage.read(tmp_path / "ledger.json")
    assert list(again) == list(index_usage)
    train = next(iter(again))
    assert (train.first_step, train.last_step, train.batches) == (4, 5, 2)
    assert again.samples("train") == {"A", "B"}
    assert again.samples("validation") == {"V"}


def test_ledger__merge_spans_both(index_usage: IndexUsage) -> None:
    other = IndexUsage()
    name = next(iter(index_usage)).mask
    other.add("train", identity(), name, metric_version=0, step=9, samples=["C"])
    other.add("train", identity("n"), name, metric_version=0, step=1, samples=["C"])
    index_usage.merge(other)
    uses = {use.identity.mask: use for use in index_usage if use.role == "train"}
    assert (uses["m"].first_step, uses["m"].last_step, uses["m"].batches) == (4, 9, 3)
    assert uses["n"].batches == 1
    assert index_usage.samples("train") == {"A", "B", "C"}


def test_ledger__a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text("[]")
    with pytest.raises(ProvenanceMissingError):
        IndexUsage.read(tmp_path / "ledger.json")


def test_checkpoint__reads_back(run: RunFolder, index_usage: IndexUsage) -> None:
    name = checkpoints.write_checkpoint(run.checkpoints, make_snapshot(index_usage), make_provenance())
    folder = run.checkpoints / name
    record = checkpoints.verify(folder)
    weights, model = read_weights(folder)
    assert weights["b"].tolist() == [1.0, 1.0]
    assert model == {"layers": 2}
    assert checkpoints.read_state(folder)["moments"][0].tolist() == [1.0, 1.0]
    assert record.step == 5
    assert record.metric


def test_checkpoint__written_again_replaces_the_first(run: RunFolder, index_usage: IndexUsage) -> None:
    for value in (1.0, 2.0):
        name = checkpoints.write_checkpoint(run.checkpoints, make_snapshot(index_usage, value), make_provenance())
    checkpoints.verify(run.checkpoints / name)
    assert read_weights(run.checkpoints / name)[0]["a"].tolist() == [2.0] * 3
    assert [path.name for path in run.checkpoints.iterdir()] == [name]


@pytest.mark.parametrize("name", [checkpoints.WEIGHTS, checkpoints.STATE, checkpoints.METRIC, checkpoints.INDEX_USAGE])
def test_checkpoint__a_changed_file_is_refused(run: RunFolder, index_usage: IndexUsage, name: str) -> None:
    folder = run.checkpoints / checkpoints.write_checkpoint(
        run.checkpoints, make_snapshot(index_usage), make_provenance()
    )
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(bytes(data))
    with pytest.raises(ProvenanceMismatchError, match=name):
        checkpoints.verify(folder)


def test_checkpoint__a_missing_file_is_refused(run: RunFolder, index_usage: IndexUsage) -> None:
    folder = run.checkpoints / checkpoints.write_checkpoint(
        run.checkpoints, make_snapshot(index_usage), make_provenance()
    )
    (folder / checkpoints.INDEX_USAGE).unlink()
    with pytest.raises(ProvenanceMissingError, match="ledger"):
        checkpoints.verify(folder)


def test_checkpoint__another_metric_is_refused_even_with_its_digest(run: RunFolder, index_usage: IndexUsage) -> None:
    folder = run.checkpoints / checkpoints.write_checkpoint(
        run.checkpoints, make_snapshot(index_usage), make_provenance()
    )
    np.save(folder / checkpoints.METRIC, np.array([1.0, 3.0], dtype="<f4"))
    record = json.loads((folder / PROVENANCE_FILE).read_text())
    record["files"][checkpoints.METRIC] = file_digest(folder / checkpoints.METRIC)
    (folder / PROVENANCE_FILE).write_text(json.dumps(record))
    with pytest.raises(ProvenanceMismatchError, match="metric"):
        checkpoints.verify(folder)


def test_csv__a_resumed_log_drops_rows_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    log = CsvLog(path, ["step", "loss"], keep_through_step=0)
    for step in (1, 2, 3):
        log.add({"step": step, "loss": 0.1 * step})
    log.close()
    log = CsvLog(path, ["step", "loss"], keep_through_step=2)
    log.add({"step": 3, "loss": 7.0})
    log.close()
    assert path.read_text().splitlines() == ["step,loss", "1,0.1", "2,0.2", "3,7.0"]


def test_csv__other_columns_are_refused(tmp_path: Path) -> None:
    CsvLog(tmp_path / "x.csv", ["step", "loss"], keep_through_step=0).close()
    with pytest.raises(ConfigError, match="columns"):
        CsvLog(tmp_path / "x.csv", ["step", "r2"], keep_through_step=0)


def test_open__says_whether_the_folder_or_its_record_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ProvenanceMissingError, match="none: there is no such folder; name a run folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(ProvenanceMissingError, match=r"run\.json: no record of a run can be read: No such file"):
        RunFolder.open(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ProvenanceMissingError, match=r"run\.json: no record of a run can be read: Expecting"):
        RunFolder.open(tmp_path)
