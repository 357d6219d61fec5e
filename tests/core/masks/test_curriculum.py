"""The curriculum: levels, the share of array-like visits, refreshing, and validation that never changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import ConfigError, RangeError
from vcfrag_core.masks.curriculum import CurriculumConfig, MaskKey, TrainingMasks, validation_masks
from vcfrag_core.masks.draw import ArrayLikeMask, MaskSites, MixtureMask, RandomMask, SitesMask, SpanMask
from vcfrag_core.retrieval.identity import mask_digest

SITES = MaskSites(positions=np.arange(2000) * 50, maf=(np.arange(2000) * 7919 % 501) / 1000)


def masks(seed: int = 1, **config: Any) -> TrainingMasks:
    return TrainingMasks(CurriculumConfig(**config), SITES, seed=seed)


def test_level__rises_from_10_to_80_percent_and_stays() -> None:
    config = CurriculumConfig(epochs_per_level=2)
    assert [config.level(epoch) for epoch in (0, 1, 2, 3, 14, 15, 16, 99)] == [0.1, 0.1, 0.2, 0.2, 0.8, 0.8, 0.8, 0.8]


def test_level__epochs_of_each_level() -> None:
    config = CurriculumConfig(levels=(0.2, 0.5, 0.3), epochs_per_level=(1, 3, 1))
    assert [config.level(epoch) for epoch in range(7)] == [0.2, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3]


def test_masks__hide_the_level_or_what_an_array_hides() -> None:
    training = masks()
    for epoch in (0, 4, 9):
        for visit in range(12):
            key = training.key(epoch, visit)
            hidden = 1 - float(training.draw(key).mean())
            if key.kind == "array":
                assert 0.9295 <= hidden <= 0.9805
            else:
                assert hidden == pytest.approx(training.config.level(epoch), abs=0.05)


@given(share=st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]), epoch=st.integers(0, 50), visits=st.integers(1, 400))
def test_array_share__is_kept_in_every_epoch(share: float, epoch: int, visits: int) -> None:
    training = masks(array_share=share)
    array_like = sum(training.key(epoch, visit).kind == "array" for visit in range(visits))
    assert abs(array_like - share * visits) < 1


def test_array_share__which_visits_differs_between_epochs_and_seeds() -> None:
    patterns = {
        tuple(masks(seed=seed).key(epoch, visit).kind for visit in range(40)) for seed in (1, 2) for epoch in range(6)
    }
    assert len(patterns) > 3


def test_refresh__every_visit_has_its_own_mask() -> None:
    training = masks(refresh="visit")
    digests = [mask_digest(training.draw(training.key(epoch, visit))) for epoch in range(3) for visit in range(20)]
    assert len(set(digests)) == len(digests)


def test_refresh__every_epoch_has_one_mask_of_each_kind() -> None:
    training = masks(refresh="epoch")
    keys = {training.key(epoch, visit) for epoch in range(3) for visit in range(20)}
    assert len(keys) == 6
    assert {(key.kind, key.epoch) for key in keys} == {(kind, e) for kind in ("level", "array") for e in range(3)}
    assert len({mask_digest(training.draw(key)) for key in keys}) == 6


def test_key__equal_keys_equal_masks_in_another_run() -> None:
    one, other = masks(), masks()
    assert one.key(2, 5) == other.key(2, 5)
    np.testing.assert_array_equal(one.draw(one.key(2, 5)), other.draw(other.key(2, 5)))
    assert mask_digest(masks(seed=2).draw(one.key(2, 5))) != mask_digest(one.draw(one.key(2, 5)))


def test_masks__golden() -> None:
    training = masks(seed=7)
    assert [training.key(3, visit).kind for visit in range(10)] == [
        "array",
        "level",
        "level",
        "level",
        "array",
        "level",
        "level",
        "array",
        "level",
        "level",
    ]
    assert mask_digest(training.draw(training.key(3, 4))) == "31ed2027f3ff8c56cf3f8c1f39e3788d"
    fixed = validation_masks(SITES, seed=20)
    assert mask_digest(fixed["half"]) == "3f9a3ca98a9ec0b55afb79bfb775a5dd"
    assert mask_digest(fixed["array"]) == "a11d179a1ffc429a08325c8438098ca4"


def test_level_policy__mixes_kinds_by_their_weights() -> None:
    assert CurriculumConfig().level_policy(0) == RandomMask(0.1)
    mixed = CurriculumConfig(random_share=1, frequency_share=2, span_share=1).level_policy(4)
    assert isinstance(mixed, MixtureMask)
    assert mixed.shares == (0.25, 0.5, 0.25)
    assert [policy.kind for policy in mixed.policies] == ["random", "frequency", "span"]


def test_level_policy__runs_are_as_long_as_a_high_level_needs() -> None:
    config = CurriculumConfig(levels=(0.99,), random_share=0, span_share=1, span_sites=10)
    policy = config.level_policy(0)
    assert isinstance(policy, SpanMask)
    assert policy.mean_sites == pytest.approx(100)


def test_array__may_be_a_real_arrays_sites() -> None:
    training = masks(array=SitesMask((1, 50, 1999)), array_share=1.0)
    assert np.flatnonzero(training.draw(training.key(0, 0))).tolist() == [1, 50, 1999]


def test_validation_masks__half_and_array_and_nothing_of_the_run() -> None:
    fixed = validation_masks(SITES, seed=20)
    assert list(fixed) == ["half", "array"]
    assert float(fixed["half"].mean()) == pytest.approx(0.5, abs=0.05)
    assert 0.0195 <= float(fixed["array"].mean()) <= 0.0705
    again = validation_masks(SITES, seed=20, array=ArrayLikeMask())
    assert all(np.array_equal(fixed[name], again[name]) for name in fixed)
    assert not np.array_equal(validation_masks(SITES, seed=21)["half"], fixed["half"])


def test_validation_masks__are_no_mask_of_training() -> None:
    half = validation_masks(SITES, seed=1)["half"]
    training = TrainingMasks(CurriculumConfig(levels=(0.5,)), SITES, seed=1)
    key = MaskKey("level", RandomMask(0.5), 0, 0)
    assert 0.4 < float((training.draw(key) == half).mean()) < 0.6


@pytest.mark.parametrize(
    "change",
    [
        {"levels": ()},
        {"levels": (0.0,)},
        {"levels": (0.5, 1.0)},
        {"epochs_per_level": 0},
        {"epochs_per_level": (1, 2)},
        {"epochs_per_level": 1.5},
        {"array_share": 1.1},
        {"random_share": 0.0},
        {"span_share": -1.0},
        {"span_sites": 0.5},
        {"refresh": "step"},
    ],
)
def test_config__nonsense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        CurriculumConfig(**change)


@pytest.mark.parametrize(("epoch", "visit"), [(-1, 0), (0, -1)])
def test_key__negative_numbers_are_refused(epoch: int, visit: int) -> None:
    with pytest.raises(RangeError):
        masks().key(epoch, visit)
