"""Two processes with gloo on the CPU against one: the same scores of a checkpoint, the same losses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vcfrag_core.settings import dump_toml
from vcfrag_train.inspect.inspection import inspect_run
from vcfrag_train.training.config import config_table
from vcfrag_train.training.session import fit, validate

Make = Callable[..., Any]

FIT = "from vcfrag_train.cli.app import main; main()"
VALIDATE = """
import json, os, sys
from pathlib import Path
from vcfrag_train.training.config import load_config
from vcfrag_train.training.session import validate
scores = validate(Path(sys.argv[1]), load_config(Path(sys.argv[2])))
Path(sys.argv[3] + os.environ["RANK"]).write_text(json.dumps(scores))
"""


def torchrun(program: str, *words: str) -> None:
    """Runs a program in two processes, as torchrun does."""
    script = Path(words[-1]).parent / "program.py"
    script.write_text(program)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run([*command, str(script), *words], env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-4000:]


def two(fit_config: Make, **changes: Any) -> Any:
    """A run of two lanes in windows of one batch each, so that one process can take the same global batches."""
    optimiser = {"lanes": 2, "samples_per_visit": 4, "visits_per_epoch": 20, **changes.pop("optimiser", {})}
    return fit_config(
        metric={"refresh_windows": 8, "refresh_epochs": 0},
        model={"learn_copying": True, "dropout": 0.0},
        optimiser=optimiser,
        **changes,
    )


def write(config: Any, path: Path) -> str:
    path.write_text(dump_toml(config_table(config)))
    return str(path)


def test_ddp__equal_global_batches_give_equal_losses(fit_config: Make, tmp_path: Path, steps_of: Make) -> None:
    config = two(fit_config, trainer={"devices": 2, "checkpoint_steps": 4})
    torchrun(FIT, "fit", "--config", write(config, tmp_path / "two.toml"), "--out", str(tmp_path / "two"))
    alone = fit(two(fit_config, optimiser={"accumulate_batches": 2}), tmp_path / "one")
    losses = [[float(row["loss"]) for row in steps_of(run)] for run in (tmp_path / "two", alone)]
    assert len(losses[0]) == 20
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert [row["metric_version"] for row in steps_of(tmp_path / "two")] == [
        row["metric_version"] for row in steps_of(alone)
    ]
    found = inspect_run(tmp_path / "two")
    assert found.trustworthy, found.verdict()
    train = [use for use in found.uses if use.role == "train"]
    assert sorted((use.mask.epoch, use.mask.visit) for use in train) == [(e, v) for e in (0, 1) for v in range(20)]


def test_ddp__validating_one_checkpoint_gives_identical_scores(fit_config: Make, trained: Path, tmp_path: Path) -> None:
    config = fit_config(trainer={"devices": 2})
    torchrun(VALIDATE, str(trained), write(config, tmp_path / "two.toml"), str(tmp_path / "scores"))
    alone = json.loads(json.dumps(validate(trained)))
    for rank in (0, 1):
        theirs = json.loads((tmp_path / f"scores{rank}").read_text())
        assert repr(theirs) == repr(alone)
