"""The parts of the loop one by one: prefetching, the gate of the metric, plans of several processes, the schedule."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import TrainingError
from vcfrag_core.masks.curriculum import CurriculumConfig, TrainingMasks
from vcfrag_core.masks.draw import MaskSites
from vcfrag_core.panel.windows import lay_windows
from vcfrag_core.sampling.sampler import SamplerConfig, WindowGroupedSampler
from vcfrag_train.training.callbacks.metric_gate import MetricGate, change
from vcfrag_train.training.callbacks.recorder import Totals, changed_share
from vcfrag_train.training.components import embedded_for, own_device
from vcfrag_train.training.config import (
    DaemonConfig,
    FitConfig,
    MetricConfig,
    OptimiserConfig,
    PanelConfig,
    TrainerConfig,
)
from vcfrag_train.training.data.plan import TrainingPlan
from vcfrag_train.training.data.prefetch import Prefetcher, WaitClock
from vcfrag_train.training.loop import evenly
from vcfrag_train.training.module import schedule
from vcfrag_train.training.validation.scores import Sums

ONES = np.ones(3, dtype=np.float32)


@pytest.mark.parametrize(
    ("environment", "devices", "own"),
    [
        ({}, 1, ()),
        ({"LOCAL_RANK": "3"}, 1, ()),
        ({}, 4, (0,)),
        ({"LOCAL_RANK": "3"}, 4, (3,)),
        ({"SLURM_LOCALID": "2"}, 4, (2,)),
        ({"SLURM_LOCALID": "0", "LOCAL_RANK": "1"}, 4, (1,)),
    ],
)
def test_own_device__each_process_of_a_machine_has_another(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], devices: int, own: tuple[int, ...]
) -> None:
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    config = FitConfig(panel=PanelConfig(path=Path("panel.bcf")), trainer=TrainerConfig(devices=devices))
    assert own_device(config) == own


def test_embedded__searches_with_a_part_of_the_device_that_trains(monkeypatch: pytest.MonkeyPatch, panel) -> None:
    asked = []

    @contextlib.contextmanager
    def running(config, panels):
        asked.append(config)
        yield SimpleNamespace(address="nowhere:1")

    monkeypatch.setattr("vcfrag_indexd.serving.server.running", running)
    monkeypatch.setenv("LOCAL_RANK", "1")
    config = FitConfig(
        panel=PanelConfig(path=Path("panel.bcf")),
        trainer=TrainerConfig(devices=2),
        daemon=DaemonConfig(device_budget_bytes=1 << 28),
    )
    with embedded_for(config, [SimpleNamespace(panel_name="panel", panel=panel)]) as address:
        assert address == "nowhere:1"
    (given,) = asked
    assert given.limits.device_budget_bytes == 1 << 28
    assert given.engine.devices == (1,)
    assert DaemonConfig().device_budget_bytes == 2 << 30


@pytest.mark.parametrize(("depth", "threads"), [(0, 1), (1, 1), (3, 2), (50, 4)])
def test_prefetch__keeps_the_order(depth: int, threads: int) -> None:
    items = Prefetcher(range(20), lambda n: n * n, depth=depth, threads=threads, clock=WaitClock())
    assert list(items) == [n * n for n in range(20)]


def test_prefetch__an_error_comes_where_its_item_would() -> None:
    def build(n: int) -> int:
        if n == 3:
            raise ValueError("three")
        return n

    items = iter(Prefetcher(range(9), build, depth=4, threads=2, clock=WaitClock()))
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(items)


def test_prefetch__builds_ahead_of_the_consumer() -> None:
    begun = threading.Event()

    def build(n: int) -> int:
        if n == 1:
            begun.set()
        return n

    items = iter(Prefetcher(range(3), build, depth=1, threads=1, clock=WaitClock()))
    assert next(items) == 0
    assert begun.wait(10)
    assert list(items) == [1, 2]


def test_prefetch__across_a_refresh_waits_for_the_metric() -> None:
    gate = MetricGate()
    gate.publish(0, ONES)
    versions = [0, 0, 1, 1]
    items = iter(Prefetcher(versions, gate.wait_for, depth=4, threads=2, clock=WaitClock()))
    found = [next(items), next(items)]
    gate.publish(1, 2 * ONES)
    found += items
    assert [weights[0] for weights in found] == [1, 1, 2, 2]


def test_gate__closing_wakes_whoever_waits() -> None:
    gate = MetricGate()
    gate.publish(0, ONES)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gate.wait_for, 1)
        gate.close()
        with pytest.raises(TrainingError, match="version 1"):
            waiting.result(timeout=10)


def test_gate__versions_only_rise() -> None:
    gate = MetricGate()
    gate.publish(2, ONES)
    with pytest.raises(TrainingError, match="version 2 published after version 2"):
        gate.publish(2, ONES)


def test_change__relative_to_the_weights_before() -> None:
    assert change(ONES, ONES) == 0
    assert change(ONES, np.array([1, 1, 2.5], dtype=np.float32)) == pytest.approx(0.5)


def test_changed_share__of_the_candidates_after() -> None:
    before, after = np.array([1, 2, 3, 4], dtype=np.int32), np.array([3, 4, 5, 6], dtype=np.int32)
    assert changed_share(before, after) == 0.5


def make_plan(rank: int, world: int, *, lanes: int, visits: int, refresh: int, samples: int = 12) -> TrainingPlan:
    rng = np.random.default_rng(0)
    sites = MaskSites(positions=np.arange(90), maf=rng.random(90) / 2)
    sampler = SamplerConfig(
        n_samples=samples, n_windows=3, batch_size=4, seed=2, samples_per_visit=8, visits_per_epoch=visits, lanes=lanes
    )
    return TrainingPlan(
        WindowGroupedSampler(sampler, rank=rank, world_size=world),
        lay_windows(np.linspace(0, 3, 90), 30, 0.5),
        [f"S{i}" for i in range(samples)],
        TrainingMasks(CurriculumConfig(levels=(0.5,)), sites, seed=1),
        MetricConfig(refresh_windows=refresh, refresh_epochs=0),
    )


@given(visits=st.integers(2, 9), refresh=st.integers(0, 7), world=st.sampled_from([1, 2, 4]))
def test_plan__processes_share_an_epoch_and_refresh_at_one_step(visits: int, refresh: int, world: int) -> None:
    alone = make_plan(0, 1, lanes=4, visits=visits, refresh=refresh, samples=16)
    parts = [make_plan(r, world, lanes=4, visits=visits, refresh=refresh, samples=16) for r in range(world)]
    for epoch in (0, 1):
        whole = [alone.batch(epoch, position) for position in range(len(alone))]
        shared = [plan.batch(epoch, position) for plan in parts for position in range(len(plan))]
        assert sorted(map(str, whole)) == sorted(
            str(b).replace(f"batch {b.position},", f"batch {place},") for b, place in _places(shared, whole)
        )
        turns = 4 // world
        steps = [
            {plan.batch(epoch, turns * step + turn).metric_version for plan in parts for turn in range(turns)}
            for step in range(len(parts[0]) // turns)
        ]
        assert all(len(versions) == 1 for versions in steps)


def _places(shared, whole):
    where = {(b.window.number, b.samples, b.mask): b.position for b in whole}
    return [(b, where[b.window.number, b.samples, b.mask]) for b in shared]


def test_plan__the_version_after_a_batch_is_that_of_the_next() -> None:
    plan = make_plan(0, 1, lanes=1, visits=5, refresh=2)
    batches = [plan.batch(epoch, position) for epoch in range(3) for position in range(len(plan))]
    after = [plan.version_after(batch.epoch, batch.position) for batch in batches]
    assert after[:-1] == [batch.metric_version for batch in batches[1:]]
    assert sorted({batch.metric_version for batch in batches}) == list(range(8))


def test_plan__goes_on_in_the_middle_of_an_epoch() -> None:
    plan = make_plan(0, 1, lanes=1, visits=5, refresh=2)
    assert list(plan.rest_of_epoch(1, 4)) == [plan.batch(1, position) for position in range(4, len(plan))]


def test_schedule__warms_up_and_decays() -> None:
    config = OptimiserConfig(warmup_steps=10, final_share=0.1)
    shares = [schedule(config, step, 100) for step in range(101)]
    assert shares[:10] == sorted(shares[:10])
    assert max(shares) == shares[10] == 1
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert shares[100] == pytest.approx(0.1)
    assert schedule(OptimiserConfig(warmup_steps=0, schedule="constant"), 50, 100) == 1


def test_totals__state_round_trip() -> None:
    totals = Totals()
    totals.add(0.25, 4, Sums(np.arange(30, dtype=np.float64).reshape(5, 6) / 7))
    again = Totals.of(totals.state())
    assert again.state() == totals.state()


def test_evenly__spreads_over_all() -> None:
    assert evenly(range(10), None) == list(range(10))
    assert evenly(range(10), 2) == [2, 7]
    assert evenly(range(3), 5) == [0, 1, 2]
