"""A trained model to hand on: what it carries, what it refuses, and where it leaves the answer to copying."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from vcfrag_core.errors import ConfigError, ProvenanceMismatchError, ProvenanceMissingError
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.imputation.load import load_model
from vcfrag_core.model.exported import read_exported
from vcfrag_core.model.scores import ValidationScores
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_train.imputing.imputers import way_of
from vcfrag_train.models.choose import named_corrector
from vcfrag_train.models.export import export_model
from vcfrag_train.models.trained import load_trained
from vcfrag_train.runs.folder import RunFolder


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "model"
    export_model(trained, out)
    return out


def test_export_model__holds_the_weights_and_scores_of_the_best_checkpoint(trained: Path, exported: Path) -> None:
    record, scores = read_exported(exported)
    checkpoint = RunFolder.open(trained).checkpoint()
    assert (exported / "weights.safetensors").read_bytes() == (checkpoint / "weights.safetensors").read_bytes()
    with RunFolder.open(trained).metrics_path.open(encoding="utf-8", newline="") as file:
        row = next(row for row in csv.DictReader(file) if int(row["step"]) == record.step)
    assert scores["half"]["5-50"]["model"] == pytest.approx(float(row["half_model_r2_5-50"]), abs=1e-6)
    assert scores["array"]["5-50"]["copying"] == pytest.approx(float(row["array_copying_r2_5-50"]), abs=1e-6)


def test_way_of__says_of_a_run_that_it_was_never_validated(trained: Path, tmp_path: Path, panel: Panel) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    ends = panel.positions[[0, -1]]
    genetic_map = GeneticMap(positions=ends, cm=np.array([0.0, 2.0]), contig=panel.contig)
    assert "never validated" not in way_of(Imputer(panel, genetic_map, corrector=named_corrector(run, {})), set())
    RunFolder.open(run).metrics_path.write_text("epoch,step\n", encoding="utf-8")
    imputer, told = Imputer(panel, genetic_map, corrector=named_corrector(run, {})), set[str]()
    assert "; it was never validated on held-out samples, so that no bin is left to copying" in way_of(imputer, told)
    assert "never validated" not in way_of(imputer, told), "once in a run"


def test_way_of__says_once_that_a_panel_is_of_another_size_than_those_of_training(panel: Panel) -> None:
    genetic_map = GeneticMap(positions=panel.positions[[0, -1]], cm=np.array([0.0, 2.0]), contig=panel.contig)
    imputer, told = Imputer(panel, genetic_map, corrector=load_model()), set[str]()
    said = f"; it was trained with 300 to 2502 reference samples and this panel has {panel.n_samples}: --copying-only"
    assert said in way_of(imputer, told)
    assert said not in way_of(imputer, told)


def test_export_model__names_no_folder(trained: Path, exported: Path) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in exported.glob("*.json"))
    assert str(trained.parent) not in text
    assert str(Path.home()) + "/" not in text


def test_export_model__does_not_overwrite(trained: Path, exported: Path) -> None:
    with pytest.raises(ConfigError, match="exists already"):
        export_model(trained, exported)


def test_load_trained__an_exported_model_is_the_run_s(trained: Path, exported: Path) -> None:
    mine, theirs = load_trained(exported), load_trained(trained)
    assert mine.tensors.keys() == theirs.tensors.keys()
    for name, tensor in theirs.tensors.items():
        np.testing.assert_array_equal(mine.tensors[name], tensor)
    assert mine.left_to_copying == theirs.left_to_copying
    with pytest.raises(ProvenanceMismatchError, match="the panel differs"):
        load_trained(exported, found={"panel": "another"})


def test_named_corrector__serves_any_panel_and_map_and_says_what_differs(exported: Path) -> None:
    record, _ = read_exported(exported)
    own = {"panel": record.fields["panel"], "map": record.fields["map"]}
    assert named_corrector(exported, own).differs == ()
    other = named_corrector(exported, own | {"panel": "another"})
    assert other.differs == ("panel",)
    assert "accepted=panel:another" in other.name


@pytest.mark.parametrize("name", ["scores.json", "weights.safetensors"])
def test_read_exported__refuses_changed_and_missing_files(exported: Path, tmp_path: Path, name: str) -> None:
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(ProvenanceMismatchError, match=name):
        read_exported(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ProvenanceMissingError, match=name):
        read_exported(tmp_path)


def test_left_to_copying__where_any_mask_was_worse() -> None:
    better, worse = {"model": 0.9, "copying": 0.8}, {"model": 0.7, "copying": 0.8}
    unknown = {"model": None, "copying": 0.8}
    names = ["0-0.1", "0.1-0.5", "0.5-1", "1-5", "5-50"]
    half = dict(zip(names, [worse, better, unknown, better, better], strict=True))
    array = dict(zip(names, [better, better, better, worse, better], strict=True))
    scores = json.loads(json.dumps({"half": half, "array": array}))
    assert ValidationScores(scores).left_to_copying() == ((0, 0.001), (0.01, 0.05))


def test_left_to_copying__asks_data_sets_of_about_that_size() -> None:
    def of(n_samples: int, error: float) -> dict[str, object]:
        r2 = {"0.5-1": {"model": 1 - error, "copying": 0.8}}
        return {"reference_samples": n_samples, "half": r2, "array": r2}

    data = {"a": of(60, 0.1), "b": of(300, 0.1), "c": of(400, 0.5), "d": of(12_500, 0.3)}
    scores = ValidationScores({"half": {}, "array": {}, "data": data})
    # 0.1 and 0.5 against 0.2 each are worse in the mean.
    assert scores.left_to_copying(350) == ((0.005, 0.01),)
    assert scores.left_to_copying(70) == scores.left_to_copying(20) == ()
    assert scores.left_to_copying(100_000) == ((0.005, 0.01),)
    assert scores.left_to_copying() == ((0.005, 0.01),)
    assert scores.sizes == (60, 300, 400, 12_500)


def test_left_to_copying__beyond_the_largest_reference_each_of_the_largest_must_be_better() -> None:
    def of(n_samples: int, error: float) -> dict[str, object]:
        r2 = {"0-0.1": {"model": 1 - error, "copying": 0.8}}
        return {"reference_samples": n_samples, "half": r2, "array": r2}

    data = {"a": of(300, 0.9), "b": of(2_000, 0.21), "c": of(2_500, 0.1)}
    scores = ValidationScores({"half": {}, "array": {}, "data": data})
    assert scores.left_to_copying(2_500) == scores.left_to_copying(3_750) == ()
    assert scores.left_to_copying(3_751) == scores.left_to_copying(100_000) == ((0.0, 0.001),)
    assert scores.disputed(100_000) == ((0.0, 0.001),)
    assert scores.disputed(2_500) == scores.disputed(300) == ()
    worse = ValidationScores({"half": {}, "array": {}, "data": data | {"b": of(2_000, 0.31)}})
    assert worse.left_to_copying(100_000) == ((0.0, 0.001),)
    assert worse.disputed(100_000) == ()
    better = ValidationScores({"half": {}, "array": {}, "data": data | {"b": of(2_000, 0.19)}})
    assert better.left_to_copying(100_000) == ()
