"""The mean of first and trained weights: what it is, what its record and scores say, and what it refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vcfrag_core.errors import ConfigError, ProvenanceMismatchError, ProvenanceMissingError
from vcfrag_core.model.exported import read_exported, read_weights
from vcfrag_train.models.export import export_model
from vcfrag_train.models.mean import export_mean
from vcfrag_train.models.trained import load_trained
from vcfrag_train.runs.folder import RunFolder
from vcfrag_train.training.session import fit


@pytest.fixture(scope="module")
def first(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mean") / "first"
    export_model(trained, out)
    return out


@pytest.fixture(scope="module")
def run(first: Path, fit_config: Callable[..., Any]) -> Path:
    """A short run from the first weights, far enough that the mean is neither of both."""
    config = fit_config(weights=first, epochs=1, optimiser={"visits_per_epoch": 2, "learning_rate": 0.02})
    return fit(config, first.parent / "run")


def test_export_mean__is_the_mean_and_names_both(first: Path, run: Path, tmp_path: Path) -> None:
    export_mean(run, tmp_path / "mean", 0.25)
    last = RunFolder.open(run).checkpoint()
    mean, theirs, ours = (read_weights(folder)[0] for folder in (tmp_path / "mean", first, last))
    assert mean.keys() == ours.keys()
    for name in ours:
        np.testing.assert_allclose(mean[name], 0.25 * theirs[name] + 0.75 * ours[name], rtol=1e-5, atol=1e-7)
    assert any(not np.allclose(mean[name], ours[name], atol=1e-4) for name in ours)
    record, scores = read_exported(tmp_path / "mean")
    _, of_run = read_exported(exported(run, tmp_path / "run"))
    parents = [read_exported(folder)[0].files["weights.safetensors"] for folder in (first, tmp_path / "run")]
    assert record.fields["seed"] == f"3 after {parents[0]} mean 0.25 of it, {parents[1]}"
    assert all(parent in record.described["seed"] for parent in parents)
    assert scores["half"]["5-50"]["model"] != of_run["half"]["5-50"]["model"]
    assert scores["half"]["5-50"]["copying"] == of_run["half"]["5-50"]["copying"]
    assert load_trained(tmp_path / "mean").provenance == record


def test_export_mean__scores_are_those_of_the_weights(run: Path, tmp_path: Path) -> None:
    export_mean(run, tmp_path / "mean", 1e-12)
    _, scores = read_exported(tmp_path / "mean")
    _, of_run = read_exported(exported(run, tmp_path / "run"))
    for mask in ("half", "array"):
        for name, r2 in of_run[mask].items():
            assert scores[mask][name] == pytest.approx(r2, abs=2e-6, nan_ok=True)


def test_export_mean__refuses_what_has_no_mean(trained: Path, first: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="began with random weights"):
        export_mean(trained, tmp_path / "mean", 0.5)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        export_mean(run, tmp_path / "mean", 1.0)
    with pytest.raises(ConfigError, match="exists already"):
        export_mean(run, first, 0.5)
    away = first.rename(first.with_name("away"))
    try:
        with pytest.raises(ProvenanceMissingError):
            export_mean(run, tmp_path / "mean", 0.5)
        shutil.copytree(exported(run, tmp_path / "other"), first)
        with pytest.raises(ProvenanceMismatchError, match="did not begin with the weights"):
            export_mean(run, tmp_path / "mean", 0.5)
    finally:
        shutil.rmtree(first, ignore_errors=True)
        away.rename(first)
    assert not (tmp_path / "mean").exists()


def exported(run: Path, out: Path) -> Path:
    export_model(run, out)
    return out
