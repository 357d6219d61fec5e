"""Training runs: what they leave behind, what repeats, what is refused and what is warned of."""

from __future__ import annotations

import csv
import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vcfrag_core.errors import ConfigError, PanelMismatchError, TrainingError, UnknownPanelError
from vcfrag_core.model.exported import read_weights
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.identity import mask_digest
from vcfrag_indexd.testing import serve
from vcfrag_train.client.client import IndexClient
from vcfrag_train.runs import checkpoints
from vcfrag_train.runs.folder import RunFolder
from vcfrag_train.runs.index_usage import IndexUsage
from vcfrag_train.training import components
from vcfrag_train.training.callbacks.recorder import RetrievalWarning
from vcfrag_train.training.data.dataset import load_training_data
from vcfrag_train.training.session import fit, validate
from vcfrag_train.training.validation.summary import warnings_of

Make = Callable[..., Any]


def epochs_of(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def index_usage_of(run: Path) -> IndexUsage:
    return IndexUsage.read(
        RunFolder.open(run).checkpoints / (run / "checkpoints" / "last").read_text().strip() / "ledger.json"
    )


def timeless(run: Path) -> list[dict[str, str]]:
    clock = ("seconds", "samples_per_second", "waiting_share", "waiting_for_index_share")
    return [{k: v for k, v in row.items() if k not in clock} for row in epochs_of(run)]


def test_fit__leaves_a_whole_run_folder(trained: Path, fit_config: Make) -> None:
    rows = epochs_of(trained)
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert all(0 <= float(row["half_copying_r2"]) <= 1 for row in rows)
    assert float(rows[-1]["half_model_r2"]) > float(rows[-1]["half_random_r2"])
    assert float(rows[-1]["half_nearest_mass"]) > float(rows[-1]["half_nearest_chance"])
    folder = RunFolder.open(trained)
    assert folder.config()["seed"] == 3
    assert list((trained / "tensorboard").glob("events*"))
    checkpoints.verify(folder.checkpoint())


def test_fit__two_runs_with_one_seed_are_the_same(
    trained: Path, fit_config: Make, tmp_path: Path, steps_of: Make
) -> None:
    again = fit(fit_config(), tmp_path / "again")
    assert steps_of(again) == steps_of(trained)
    assert list(index_usage_of(again)) == list(index_usage_of(trained))
    ours, theirs = (read_weights(RunFolder.open(run).checkpoint())[0] for run in (again, trained))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    assert timeless(again) == timeless(trained)


def test_fit__its_number_of_threads_ends_with_it(fit_config: Make, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    fit(fit_config(epochs=1, trainer={"threads": before + 1}), tmp_path / "run")
    assert torch.get_num_threads() == before


def test_fit__how_batches_are_prepared_changes_nothing(
    trained: Path, fit_config: Make, tmp_path: Path, steps_of: Make
) -> None:
    other = fit_config(trainer={"prefetch_batches": 0, "prefetch_threads": 1, "copying_threads": 2})
    assert steps_of(fit(other, tmp_path / "run")) == steps_of(trained)


def test_fit__every_index_is_that_of_the_planned_mask(trained: Path, fit_config: Make) -> None:
    data = load_training_data(fit_config())
    uses = list(index_usage_of(trained))
    train = [use for use in uses if use.role == "train"]
    for use in train:
        key = data.masks.key(use.mask.epoch, use.mask.visit)
        assert mask_digest(data.masks.draw(key)) == use.identity.mask
    assert len({use.identity.mask for use in train}) == 2 * 6
    fixed = {mask_digest(mask) for mask in data.validation.values()}
    assert {use.identity.mask for use in uses if use.role == "validation"} == fixed
    assert {use.mask.kind for use in train} == {"level", "array"}


def test_fit__validation_samples_and_their_families_stay_out(trained: Path, fit_config: Make) -> None:
    data = load_training_data(fit_config())
    index_usage = index_usage_of(trained)
    groups = data.splits.train.groups
    judges = {groups[name] for name in data.splits.validation_samples}
    assert not judges & {groups[name] for name in index_usage.samples("train")}
    assert not judges & {groups[name] for name in data.splits.train.reference}
    assert index_usage.samples("validation") == set(data.splits.validation_samples)


def test_fit__closes_the_indexes_of_an_outside_daemon(
    fit_config: Make, tmp_path: Path, trained: Path, steps_of: Make
) -> None:
    config = fit_config()
    panel = load_training_data(config).panel
    with serve({"panel": panel}) as daemon, serve({"panel": panel}) as other:
        addresses = (daemon.address, other.address)
        outside = dataclasses.replace(config, daemon=dataclasses.replace(config.daemon, addresses=addresses))
        run = fit(outside, tmp_path / "run")
        for address in addresses:
            with IndexClient(address) as client:
                assert client.list_indexes() == []
    assert steps_of(run) == steps_of(trained)


def test_fit__another_panel_on_the_daemon_is_refused(fit_config: Make, tmp_path: Path, panel: Panel) -> None:
    with serve({"panel": panel}) as daemon:
        config = fit_config(daemon={"addresses": (daemon.address,)})
        with pytest.raises(PanelMismatchError, match="the panel differs"):
            fit(config, tmp_path / "run")
        with pytest.raises(UnknownPanelError, match="'chr20'"):
            fit(dataclasses.replace(config, panel=dataclasses.replace(config.panel, name="chr20")), tmp_path / "run")


def test_fit__the_metric_is_refreshed_at_the_window_fixed_in_advance(fit_config: Make, tmp_path: Path) -> None:
    config = fit_config(
        metric={"refresh_windows": 4, "refresh_epochs": 0},
        model={"learn_copying": True},
        optimiser={"learning_rate": 0.05},
    )
    run = fit(config, tmp_path / "run")
    train = [use for use in index_usage_of(run) if use.role == "train"]
    metrics = {
        use.metric_version: {u.identity.metric for u in train if u.metric_version == use.metric_version}
        for use in train
    }
    assert sorted(metrics) == [0, 1, 2]
    assert all(len(digests) == 1 for digests in metrics.values())
    assert len(set.union(*metrics.values())) == 3
    assert [use.metric_version for use in train] == [visit // 4 for visit in range(12)]
    rows = epochs_of(run)
    assert float(rows[0]["metric_change"]) > 0
    assert 0 <= float(rows[1]["neighbours_changed"]) <= 1
    record = checkpoints.verify(RunFolder.open(run).pointed("last"))
    assert record.metric == checkpoints.metric_digest(checkpoints.read_metric(RunFolder.open(run).pointed("last")))


def test_fit__one_mask_an_epoch(fit_config: Make, tmp_path: Path) -> None:
    run = fit(fit_config(masks={"refresh": "epoch", "array_share": 0.0}, epochs=3), tmp_path / "run")
    train = [use for use in index_usage_of(run) if use.role == "train"]
    assert [(use.mask.epoch, use.batches) for use in train] == [(0, 12), (1, 12), (2, 12)]


def test_fit__a_loss_that_is_not_finite_stops_with_the_batch(
    fit_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(*args: Any) -> Any:
        model = make(*args)
        torch.nn.init.constant_(model.head.bias, float("nan"))
        return model

    make = components.make_model
    monkeypatch.setattr("vcfrag_train.training.session.make_model", poisoned)
    with pytest.raises(TrainingError, match=r"loss is nan at step 0: train epoch 0 batch 0, window \d.*mask digest"):
        fit(fit_config(), tmp_path / "run")


def test_fit__early_stopping_and_its_resume(fit_config: Make, tmp_path: Path) -> None:
    config = fit_config(optimiser={"learning_rate": 1e-12}, trainer={"patience_epochs": 1}, epochs=5)
    run = fit(config, tmp_path / "run")
    n_epochs = len(epochs_of(run))
    assert n_epochs < 5
    fit(resume=run)
    assert len(epochs_of(run)) == n_epochs


def test_fit__accumulation_clipping_focal_loss_and_bfloat16(fit_config: Make, tmp_path: Path, steps_of: Make) -> None:
    config = fit_config(
        epochs=1,
        optimiser={"accumulate_batches": 4, "loss": "focal", "clip_norm": 0.01},
        trainer={"precision": "bf16-mixed"},
    )
    steps = steps_of(fit(config, tmp_path / "run"))
    assert [row["step"] for row in steps] == ["1", "2", "3"]
    assert all(np.isfinite(float(row["loss"])) for row in steps)


def test_fit__worthless_retrieval_is_warned_of(fit_config: Make, coin_flips: Any, tmp_path: Path) -> None:

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RetrievalWarning)
        fit(fit_config(coin_flips, epochs=1), tmp_path / "run")
    assert any("retrieval is worthless on mask 'half'" in str(warning.message) for warning in caught)


def test_warnings__silent_when_retrieval_helps() -> None:
    row = {"half_model_r2": 0.9, "half_random_r2": 0.5, "half_nearest_mass": 0.5, "half_nearest_chance": 0.1}
    assert warnings_of(row) == []
    assert len(warnings_of({**row, "half_nearest_mass": 0.1})) == 1


def test_fit__a_second_run_in_one_folder_is_refused(trained: Path, fit_config: Make) -> None:
    with pytest.raises(ConfigError, match="holds a run already"):
        fit(fit_config(), trained)


def test_fit__a_monitor_that_is_no_score_is_refused(fit_config: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.monitor"):
        fit(fit_config(trainer={"monitor": "happiness"}), tmp_path / "run")


def test_validate__gives_the_scores_of_the_checkpoint(trained: Path) -> None:
    scores = validate(trained)
    best = max(epochs_of(trained), key=lambda row: float(row["half_model_r2"]))
    assert scores["half_model_r2"] == float(best["half_model_r2"])
    assert scores["array_loss"] == float(best["array_loss"])
