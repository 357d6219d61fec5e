"""Training on a CUDA device: the same losses, no waiting, memory as foretold; and its parts, which need none."""

from __future__ import annotations

import csv
import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch

from tests.core.model.test_model import SMALL, model_input
from vcfrag_core.errors import TrainingError
from vcfrag_core.evidence.evidence import other_ways
from vcfrag_core.model.config import ModelConfig
from vcfrag_core.model.losses import cross_entropy
from vcfrag_core.model.memory import bytes_per_site
from vcfrag_core.model.network import ImputationModel
from vcfrag_train.training import components
from vcfrag_train.training.module import FitModule
from vcfrag_train.training.outcomes import Outcome
from vcfrag_train.training.session import fit

Make = Callable[..., Any]
CUDA = torch.device("cuda")


def losses(run: Path) -> list[float]:
    """Of every step."""
    with (run / "steps.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_outcome__is_there_at_once_in_the_hosts_memory() -> None:
    outcome = Outcome.of(torch.zeros(2, 3), torch.tensor(0.5), torch.tensor(2.0))
    assert outcome.wait() == (0.5, 2.0)
    assert outcome.dosage.tolist() == [[0.5] * 3] * 2


def test_fit__a_bound_on_sites_changes_no_loss(fit_config: Make, tmp_path: Path) -> None:
    free, bound = (
        fit(fit_config(model={"dropout": 0.0}, trainer=trainer), tmp_path / name)
        for name, trainer in (("free", {}), ("bound", {"sites_at_once": 5}))
    )
    np.testing.assert_allclose(losses(bound), losses(free), rtol=1e-5)


def test_fit__copying_where_the_model_is_changes_no_loss(fit_config: Make, tmp_path: Path) -> None:
    here, there = (
        fit(fit_config(model={"dropout": 0.0}, trainer={"copying_on_device": on_device}), tmp_path / str(on_device))
        for on_device in (False, True)
    )
    np.testing.assert_allclose(losses(there), losses(here), rtol=1e-4)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_fit__fused_steps_are_clipped_and_skip_what_is_not_finite(
    fit_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """As on a device, where the step itself is told that a loss is not finite; torch has such steps here, too."""
    monkeypatch.setattr(FitModule, "_fused", True)
    config = fit_config(optimiser={"clip_norm": 0.1}, trainer={"precision": precision})
    fused = losses(fit(config, tmp_path / "fused"))
    monkeypatch.setattr(FitModule, "_fused", False)
    np.testing.assert_allclose(fused, losses(fit(config, tmp_path / "apart")), rtol=1e-3)


def test_fused_step__takes_none_where_it_is_told_that_the_loss_is_not_finite() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimiser = torch.optim.AdamW([weight], fused=True)
    weight.grad = torch.full((3,), torch.nan)
    optimiser.found_inf = torch.ones(())
    optimiser.step()
    assert weight.tolist() == [1.0] * 3


@pytest.mark.gpu
@pytest.mark.parametrize("learn_copying", [False, True])
@pytest.mark.parametrize("on_device", [False, True])
def test_fit__on_a_device_has_the_hosts_losses(
    fit_config: Make, tmp_path: Path, learn_copying: bool, on_device: bool
) -> None:
    model = {"dropout": 0.0, "learn_copying": learn_copying}
    here, there = (
        fit(fit_config(model=model, trainer={"accelerator": place, "copying_on_device": on_device}), tmp_path / place)
        for place in ("cpu", "gpu")
    )
    np.testing.assert_allclose(losses(there), losses(here), rtol=2e-3)


@pytest.mark.gpu
def test_fit__in_half_precision_with_clipping_on_a_device(fit_config: Make, tmp_path: Path) -> None:
    config = fit_config(trainer={"accelerator": "gpu", "precision": "bf16-mixed"}, optimiser={"clip_norm": 1.0})
    assert np.isfinite(losses(fit(config, tmp_path / "run"))).all()


@pytest.mark.gpu
def test_fit__a_loss_that_is_not_finite_on_a_device_stops_with_the_batch(
    fit_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(*args: Any) -> Any:
        model = make(*args)
        torch.nn.init.constant_(model.head.bias, float("nan"))
        return model

    make = components.make_model
    monkeypatch.setattr("vcfrag_train.training.session.make_model", poisoned)
    with pytest.raises(TrainingError, match=r"loss is nan at step 0: train epoch 0 batch 0"):
        fit(fit_config(trainer={"accelerator": "gpu"}), tmp_path / "run")


@pytest.mark.gpu
@pytest.mark.parametrize("learn_copying", [False, True])
@pytest.mark.parametrize("on_device", [False, True])
def test_step__waits_for_nothing_on_a_device(learn_copying: bool, on_device: bool) -> None:
    config = dataclasses.replace(SMALL, learn_copying=learn_copying)
    model = ImputationModel(config).to(CUDA)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, fused=True)
    batch = model_input().pinned()
    if on_device:
        n = len(batch.observed_frequency)
        switch = np.full(n, 0.01, dtype=np.float32)
        batch = dataclasses.replace(
            batch, ways=tuple(other_ways(batch.problem, np.full(n, 6.9, dtype=np.float32), switch))
        )

    def step() -> Outcome:
        moved = batch.to(CUDA)
        optimiser.zero_grad(set_to_none=True)
        output = model(moved)
        loss = cross_entropy(output.logits, moved.truth, moved.hidden)
        loss.backward()
        optimiser.step()
        return Outcome.of(output.logits.detach(), loss.detach(), torch.ones((), device=CUDA))

    # Kernels are compiled first.
    step().wait()
    with warnings.catch_warnings():
        # torch says that this mode does not see everything.
        warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype feature")
        try:
            torch.cuda.set_sync_debug_mode("error")
            outcome = step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert np.isfinite(outcome.wait()).all()


@pytest.mark.gpu
@pytest.mark.parametrize("learn_copying", [False, True])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_fit__no_step_waits_on_a_device(
    fit_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learn_copying: bool, precision: str
) -> None:
    """Forward, backward, clipping and the optimiser's step, as Lightning takes them; the first ones compile."""
    watched: list[int] = []

    def optimizer_step(module: FitModule, *args: Any, **kwargs: Any) -> None:
        if module.step >= 2:
            watched.append(module.step)
            torch.cuda.set_sync_debug_mode("error")
        try:
            lightning.LightningModule.optimizer_step(module, *args, **kwargs)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(FitModule, "optimizer_step", optimizer_step)
    model = {"learn_copying": learn_copying}
    trainer = {"accelerator": "gpu", "precision": precision, "copying_on_device": True}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype feature")
        run = fit(fit_config(model=model, trainer=trainer, optimiser={"clip_norm": 1.0}), tmp_path / "run")
    assert len(losses(run)) > len(watched) > 0


@pytest.mark.gpu
@pytest.mark.parametrize("half", [False, True])
def test_memory__of_a_step_is_as_foretold(half: bool) -> None:
    config = ModelConfig(width=256, layers=6, heads=4, expansion=4, candidates=24, dropout=0.1)
    model, n = ImputationModel(config).to(CUDA), 2000
    inputs = (
        torch.randn(n, config.candidates, model.embed_candidate.in_features, device=CUDA),
        torch.randn(n, model.embed_site.in_features, device=CUDA),
    )
    used = []
    for at_once in (None, n // 4):
        model.sites_at_once = at_once
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            model.correction(*inputs).sum().backward()
        used.append(torch.cuda.max_memory_allocated() - before)
    foretold = n * bytes_per_site(config, half=half)
    assert foretold / 2 < used[0] < 1.15 * foretold
    assert used[1] < 0.5 * used[0]
