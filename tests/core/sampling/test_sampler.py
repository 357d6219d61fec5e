"""The order of training: every item once, windows never mixed, whoever runs it and wherever it was cut."""

from __future__ import annotations

import collections
import itertools
import json
import tracemalloc
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from vcfrag_core.errors import ConfigError, RangeError
from vcfrag_core.sampling.sampler import BatchRequest, SamplerConfig, WindowGroupedSampler

Drawn = tuple[int, int, int, tuple[int, ...]]


def make(rank: int = 0, world_size: int = 1, **config: Any) -> WindowGroupedSampler:
    defaults: dict[str, Any] = {"n_samples": 20, "n_windows": 7, "batch_size": 6, "seed": 1}
    return WindowGroupedSampler(SamplerConfig(**(defaults | config)), rank=rank, world_size=world_size)


def drawn(batch: BatchRequest) -> Drawn:
    return batch.epoch, batch.visit, batch.window, tuple(batch.samples.tolist())


def epoch_of(sampler: WindowGroupedSampler, epoch: int = 0) -> list[Drawn]:
    sampler.set_epoch(epoch)
    return [drawn(batch) for batch in sampler]


@st.composite
def worlds(draw: st.DrawFn) -> list[WindowGroupedSampler]:
    """The samplers of all processes of one run."""
    world_size = draw(st.integers(1, 4))
    config = SamplerConfig(
        n_samples=draw(st.integers(1, 60)),
        n_windows=draw(st.integers(1, 12)),
        batch_size=draw(st.integers(1, 20)),
        seed=draw(st.integers(0, 99)),
        shuffle=draw(st.booleans()),
        samples_per_visit=draw(st.none() | st.integers(1, 60)),
        lanes=draw(st.sampled_from([None, world_size, 2 * world_size])),
    )
    try:
        return [WindowGroupedSampler(config, rank=rank, world_size=world_size) for rank in range(world_size)]
    except ConfigError:
        assume(False)
        raise


@given(samplers=worlds(), epoch=st.integers(0, 3))
def test_epoch__every_item_once_over_all_processes(samplers: list[WindowGroupedSampler], epoch: int) -> None:
    config = samplers[0].config
    items: list[int] = []
    for sampler in samplers:
        sampler.set_epoch(epoch)
        items += [item for batch in sampler for item in batch]
    assert sorted(items) == list(range(config.n_items))


@given(samplers=worlds())
def test_epoch__as_many_batches_in_every_process_and_as_large(samplers: list[WindowGroupedSampler]) -> None:
    batches = [list(sampler) for sampler in samplers]
    assert {len(own) for own in batches} == {len(samplers[0])}
    for step in zip(*batches, strict=True):
        sizes = [len(batch) for batch in step]
        assert 1 <= min(sizes) <= max(sizes) <= samplers[0].config.batch_size
        assert max(sizes) - min(sizes) <= 1


@given(samplers=worlds())
def test_epoch__a_visit_is_one_window(samplers: list[WindowGroupedSampler]) -> None:
    window_of: dict[int, int] = {}
    for batch in itertools.chain(*samplers):
        assert window_of.setdefault(batch.visit, batch.window) == batch.window
        assert list(batch) == [samplers[0].config.item(int(s), batch.window) for s in batch.samples]
    config = samplers[0].config
    assert sorted(window_of) == list(range(config.epoch_visits))
    visits_of_windows = collections.Counter(window_of.values())
    assert set(visits_of_windows.values()) == {config.parts}


@given(samplers=worlds(), data=st.data())
def test_batch_at__is_the_batch_of_the_iteration(samplers: list[WindowGroupedSampler], data: st.DataObject) -> None:
    sampler = samplers[-1]
    position = data.draw(st.integers(0, len(sampler) - 1))
    expected = next(itertools.islice(iter(sampler), position, None))
    assert expected.position == position
    assert drawn(sampler.batch_at(position)) == drawn(expected)


@given(samplers=worlds(), data=st.data())
def test_resume__goes_on_where_it_was_cut(samplers: list[WindowGroupedSampler], data: st.DataObject) -> None:
    sampler = samplers[-1]
    epoch, cut = data.draw(st.integers(0, 3)), data.draw(st.integers(0, len(sampler)))
    whole = epoch_of(sampler, epoch)
    sampler.set_epoch(epoch + 1)
    sampler.set_epoch(epoch)
    before = [drawn(batch) for batch in itertools.islice(sampler, cut)]
    state = json.loads(json.dumps(sampler.state_dict()))
    other = WindowGroupedSampler(sampler.config, rank=len(samplers) - 1, world_size=len(samplers))
    other.load_state_dict(state)
    other.set_epoch(epoch)
    assert before + [drawn(batch) for batch in other] == whole
    assert [drawn(batch) for batch in other] == whole


def test_resume__by_what_was_trained_not_what_a_loader_read_ahead() -> None:
    sampler = make()
    whole = epoch_of(sampler)
    list(itertools.islice(sampler, 9))
    other = make()
    other.load_state_dict(sampler.state_dict(batches_done=4))
    assert [drawn(batch) for batch in other] == whole[4:]


def test_resume__the_next_epoch_is_whole() -> None:
    sampler = make()
    sampler.load_state_dict(make().state_dict(batches_done=5))
    assert len(epoch_of(sampler, 1)) == len(sampler)
    assert sampler.state_dict() == make().state_dict() | {"epoch": 1, "batches_done": len(sampler)}


@pytest.mark.parametrize("change", [{"seed": 2}, {"batch_size": 5}, {"n_windows": 8}, {"samples_per_visit": 10}])
def test_resume__of_another_sampler_is_refused(change: dict[str, int]) -> None:
    (name, value), *_ = change.items()
    with pytest.raises(ConfigError, match=f"the saved sampler has {name} = {value}"):
        make().load_state_dict(make(**change).state_dict())


def test_resume__with_another_number_of_processes() -> None:
    one = make(lanes=2)
    whole = epoch_of(one)
    pair = [make(rank, 2) for rank in range(2)]
    for sampler in pair:
        sampler.load_state_dict(one.state_dict(batches_done=6))
    side_by_side = [drawn(batch) for step in zip(*pair, strict=True) for batch in step]
    assert side_by_side == whole[6:]
    with pytest.raises(ConfigError, match="end within a step"):
        pair[0].load_state_dict(one.state_dict(batches_done=5))


def test_lanes__one_process_takes_in_turn_what_two_take_side_by_side() -> None:
    alone = epoch_of(make(lanes=2), 3)
    pair = [epoch_of(make(rank, 2), 3) for rank in range(2)]
    assert alone == [batch for step in zip(*pair, strict=True) for batch in step]


def test_order__differs_by_epoch_and_seed_and_is_shuffled() -> None:
    orders = [epoch_of(make(n_windows=40, seed=seed), epoch) for seed in (1, 2) for epoch in (0, 1)]
    windows = {tuple(batch[2] for batch in order) for order in orders}
    assert len(windows) == 4
    assert all(list(w) != sorted(w) for w in windows)
    samples = {tuple(order[0][3]) for order in orders}
    assert len(samples) == 4


def test_order__samples_differ_between_windows_of_an_epoch() -> None:
    first = {batch[2]: batch[3] for batch in reversed(epoch_of(make()))}
    assert len(set(first.values())) == 7


def test_order__without_shuffling_is_the_items_own() -> None:
    items = [item for batch in make(shuffle=False) for item in batch]
    assert items == list(range(140))


def test_order__golden() -> None:
    batch = make(n_samples=2404, n_windows=331, batch_size=32, seed=20).batch_at(1000, epoch=2)
    assert (batch.visit, batch.window) == (13, 11)
    assert batch.samples[:5].tolist() == [519, 1630, 727, 370, 48]


def test_samples_per_visit__a_window_comes_in_several_visits() -> None:
    order = epoch_of(make(samples_per_visit=6))
    visits = {visit: window for _, visit, window, _ in order}
    assert len(visits) == 28
    in_order = [visits[v] for v in range(28)]
    assert in_order != sorted(in_order)
    assert max(len(samples) for *_, samples in order) <= 6


def test_visits_per_epoch__epochs_cut_passes_into_pieces() -> None:
    sampler = make(visits_per_epoch=3)
    windows = [batch[2] for epoch in range(7) for batch in epoch_of(sampler, epoch)]
    first_pass = list(dict.fromkeys(windows[: 7 * 4]))
    assert sorted(first_pass) == list(range(7))
    items = [
        window * 20 + sample
        for epoch in range(7)
        for _, _, window, samples in epoch_of(sampler, epoch)
        for sample in samples
    ]
    assert set(collections.Counter(items).values()) == {3}


def test_visit__numbers_run_over_all_processes() -> None:
    visits = [sorted({visit for _, visit, *_ in epoch_of(make(rank, 2))}) for rank in range(2)]
    assert visits == [[0, 2, 4, 6], [1, 3, 5, 6]]


@given(sample=st.integers(0, 10**6 - 1), window=st.integers(0, 999))
def test_item__number_and_back(sample: int, window: int) -> None:
    config = SamplerConfig(n_samples=10**6, n_windows=1000, batch_size=1)
    item = config.item(sample, window)
    assert 0 <= item < config.n_items == 10**9
    assert config.sample_and_window(item) == (sample, window)


@pytest.mark.parametrize("shape", [(10**6, 1000), (1000, 10**6), (10**9, 1), (1, 10**9)])
def test_construction__takes_no_memory_at_a_billion_items(shape: tuple[int, int]) -> None:
    tracemalloc.start()
    try:
        sampler = make(n_samples=shape[0], n_windows=shape[1], batch_size=64, samples_per_visit=10**5)
        batch = sampler.batch_at(len(sampler) - 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sampler.config.n_items == 10**9
    assert 1 <= len(batch) <= 64
    assert peak < 100_000


class Items(Dataset[int]):
    def __getitem__(self, item: int) -> int:
        return item


def test_torch__a_data_loader_takes_it_as_its_batch_sampler() -> None:
    sampler = make()
    loader = DataLoader(Items(), batch_sampler=sampler)  # type: ignore[arg-type]
    batches = list(loader)
    assert len(loader) == len(batches) == len(sampler)
    assert sorted(torch.cat(batches).tolist()) == list(range(140))


@pytest.mark.parametrize(
    "change",
    [{"n_samples": 0}, {"n_windows": 0}, {"batch_size": 0}, {"samples_per_visit": 0}, {"visits_per_epoch": 0}],
)
def test_config__numbers_below_1_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=">= 1"):
        make(**change)


def test_sampler__what_cannot_be_even_is_refused() -> None:
    with pytest.raises(ConfigError, match="3 lanes cannot be dealt evenly to 2 processes"):
        make(world_size=2, lanes=3)
    with pytest.raises(ConfigError, match="more in one lane than in another"):
        make(n_samples=3, n_windows=5, world_size=4)
    with pytest.raises(ConfigError, match="more in one lane than in another"):
        make(n_samples=7, samples_per_visit=4, batch_size=1)


@pytest.mark.parametrize(("rank", "world_size"), [(-1, 1), (1, 1), (2, 2)])
def test_sampler__ranks_outside_the_world_are_refused(rank: int, world_size: int) -> None:
    with pytest.raises(RangeError, match="rank"):
        make(rank, world_size)


def test_sampler__places_outside_are_refused() -> None:
    sampler = make()
    for position in (-1, len(sampler)):
        with pytest.raises(RangeError, match="batch"):
            sampler.batch_at(position)
    with pytest.raises(RangeError, match="epoch -1"):
        sampler.set_epoch(-1)
