"""Masks: the same everywhere, different wherever anything differs, and hiding what their policy says."""

from __future__ import annotations

import csv
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import ConfigError, RangeError, ShapeError
from vcfrag_core.files.panel.reader import read_panel
from vcfrag_core.masks.draw import (
    ArrayLikeMask,
    FrequencyMask,
    MaskPolicy,
    MaskSites,
    MixtureMask,
    RandomMask,
    SitesMask,
    SpanMask,
    draw_mask,
    policy_digest,
    policy_from_config,
    policy_to_config,
)
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.identity import mask_digest
from vcfrag_core.types import BoolArray


def made_sites(n: int, seed: int = 0) -> MaskSites:
    """Sites of which about half have a minor allele frequency below 1 %, as in real panels."""
    rng = np.random.default_rng(seed)
    positions = np.cumsum(rng.integers(1, 200, n))
    return MaskSites(positions=positions, maf=np.round(0.5 * rng.beta(0.25, 1.5, n), 4))


def draw(policy: MaskPolicy, sites: MaskSites, **change: Any) -> BoolArray:
    key: dict[str, Any] = {"seed": 1, "split": "train", "epoch": 0, "visit": 0}
    return draw_mask(policy, sites, **(key | change))


POLICIES: list[MaskPolicy] = [
    RandomMask(0.5),
    FrequencyMask(0.5),
    SpanMask(0.5),
    SitesMask((0, 7, 300)),
    ArrayLikeMask(),
    MixtureMask((RandomMask(0.1), ArrayLikeMask(), MixtureMask((SpanMask(0.8),), (1.0,))), (0.5, 0.3, 0.2)),
]
DRAWN = [policy for policy in POLICIES if policy.kind != "sites"]
GOLDEN = {
    "random": "a910b24df10fbb4c1f085ffbddb5a4c8",
    "frequency": "f4fef7041783607c4061f64ae2cd80e0",
    "span": "207a7230d45591493f741d7b842acc97",
    "sites": "3e6adb1cd32b55dbafa27cf1aaf592c3",
    "array": "d157b5146ea2caefd759ac6b8ae65ac6",
    "mixture": "9e69913e0845abb41b046b49807714e7",
}


def golden_sites() -> MaskSites:
    n = 5000
    return MaskSites(positions=100 + 37 * np.arange(n), maf=(np.arange(n) * 7919 % 501) / 1000)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.kind)
def test_draw_mask__golden(policy: MaskPolicy) -> None:
    assert mask_digest(draw(policy, golden_sites(), seed=20, epoch=3, visit=11)) == GOLDEN[policy.kind]


def test_draw_mask__equal_in_another_process() -> None:
    code = (
        "import numpy as np\n"
        "from vcfrag_core.masks.draw import *\n"
        "from vcfrag_core.retrieval.identity import mask_digest\n"
        "sites = MaskSites(positions=np.arange(500), maf=np.arange(500) / 1000)\n"
        "print(mask_digest(draw_mask(ArrayLikeMask(), sites, seed=1, split='train', epoch=0, visit=0)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    sites = MaskSites(positions=np.arange(500), maf=np.arange(500) / 1000)
    assert done.stdout.strip() == mask_digest(draw(ArrayLikeMask(), sites))


@pytest.mark.parametrize("policy", DRAWN, ids=lambda p: p.kind)
def test_draw_mask__each_of_the_five_things_counts(policy: MaskPolicy) -> None:
    sites = made_sites(3000)
    changes: list[dict[str, Any]] = [{}, {"seed": 2}, {"split": "validation"}, {"epoch": 1}, {"visit": 1}]
    digests = {mask_digest(draw(policy, sites, **change)) for change in changes}
    assert len(digests) == len(changes)
    np.testing.assert_array_equal(draw(policy, sites), draw(policy, sites))


def test_draw_mask__a_policy_that_differs_in_one_number_draws_afresh() -> None:
    sites = made_sites(3000)
    one, other = draw(RandomMask(0.5), sites), draw(RandomMask(0.5000001), sites)
    assert 0.4 < float((one == other).mean()) < 0.6


def test_draw_mask__epoch_and_visit_are_not_run_together() -> None:
    sites = made_sites(300)
    assert not np.array_equal(draw(RandomMask(0.5), sites, epoch=1, visit=11), draw(RandomMask(0.5), sites, epoch=11))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_random_mask__hides_its_rate_at_every_frequency(rate: float) -> None:
    sites = made_sites(40_000)
    observed = draw(RandomMask(rate), sites)
    for chosen in (sites.maf < 0.01, sites.maf >= 0.01):
        assert float((~observed)[chosen].mean()) == pytest.approx(rate, abs=0.02)


def test_frequency_mask__hides_rare_sites_more_often_by_the_stated_odds() -> None:
    maf = np.repeat([0.0, 0.01, 0.02, 0.05, 0.5], 40_000)
    sites = MaskSites(positions=np.arange(len(maf)), maf=maf)
    hidden = (~draw(FrequencyMask(0.5, rare_odds=6, half_maf=0.02), sites)).reshape(5, -1).mean(axis=1)
    odds = 1 + 5 * 0.02 / (0.02 + np.array([0.0, 0.01, 0.02, 0.05, 0.5]))
    np.testing.assert_allclose(hidden, odds / (1 + odds), atol=0.01)
    assert bool((np.diff(hidden) < 0).all())


def runs(hidden: BoolArray) -> list[int]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hidden.astype(np.int8), [0]])))
    return (edges[1::2] - edges[0::2]).tolist()


@pytest.mark.parametrize(("rate", "mean_sites"), [(0.3, 10.0), (0.8, 32.0), (0.5, 200.0)])
def test_span_mask__hides_runs_of_the_stated_mean_length(rate: float, mean_sites: float) -> None:
    observed = draw(SpanMask(rate, mean_sites), made_sites(200_000))
    assert float((~observed).mean()) == pytest.approx(rate, abs=0.03)
    assert float(np.mean(runs(~observed))) == pytest.approx(mean_sites, rel=0.1)


def test_sites_mask__observes_those_sites_only() -> None:
    assert np.flatnonzero(draw(SitesMask((0, 7, 9)), made_sites(10))).tolist() == [0, 7, 9]
    with pytest.raises(RangeError, match="names site 9, the panel has 9"):
        draw(SitesMask((0, 7, 9)), made_sites(9))


def test_sites_mask__matching_takes_equal_position_and_alleles() -> None:
    panel = Panel.from_haplotypes(np.zeros((2, 4), dtype=np.uint8), positions=np.array([5, 9, 9, 12]), alts="CCGC")
    records = [(9, "A", "G"), (5, "A", "C"), (12, "A", "T"), (77, "A", "C")]
    assert SitesMask.matching(panel, records).sites == (0, 2)
    with pytest.raises(ConfigError, match="at least one site"):
        SitesMask.matching(panel, [(77, "A", "C")])


@given(seed=st.integers(0, 10_000), n=st.integers(60, 3000))
def test_array_like_mask__hides_93_to_98_percent(seed: int, n: int) -> None:
    observed = draw(ArrayLikeMask(), made_sites(n, seed), seed=seed)
    assert 0.93 - 0.5 / n <= float((~observed).mean()) <= 0.98 + 0.5 / n


def test_array_like_mask__shares_spread_over_the_range() -> None:
    sites = made_sites(2000)
    hidden = [float((~draw(ArrayLikeMask(), sites, visit=visit)).mean()) for visit in range(200)]
    assert min(hidden) < 0.934
    assert max(hidden) > 0.976
    assert float(np.mean(hidden)) == pytest.approx(0.955, abs=0.003)


def spacing(observed: BoolArray) -> float:
    """Coefficient of variation of the gaps; 1 when each site is drawn on its own."""
    gaps = np.diff(np.flatnonzero(observed))
    return float(gaps.std() / gaps.mean())


def test_array_like_mask__common_and_evenly_spaced() -> None:
    sites = made_sites(30_000)
    observed = draw(ArrayLikeMask(), sites)
    assert float(np.median(sites.maf[observed])) > 0.15
    common = np.flatnonzero(sites.maf > 0.2)
    evenly = draw(ArrayLikeMask(), MaskSites(positions=sites.positions[common], maf=sites.maf[common]))
    assert spacing(evenly) < 0.6


@given(seed=st.integers(0, 1000), n=st.integers(1, 60), share=st.floats(0, 1))
def test_array_like_mask__keeps_exactly_its_share_of_any_panel(seed: int, n: int, share: float) -> None:
    observed = draw(ArrayLikeMask(share, share), made_sites(n, seed), seed=seed)
    assert int(observed.sum()) == max(1, round(n * (1 - share)))


def test_array_like_mask__masks_of_two_visits_differ_in_most_sites() -> None:
    sites = made_sites(30_000)
    one, other = (set(np.flatnonzero(draw(ArrayLikeMask(0.95, 0.95), sites, visit=v))) for v in (1, 2))
    assert len(one & other) < 0.5 * len(one)


def test_array_like_mask__keeps_by_frequency_what_a_real_array_keeps(data_dir: Path) -> None:
    """Against 440 sites of a real array, in bins of MAF; within three Poisson deviations."""
    panel = read_panel(data_dir / "1kg_chr20_0.06-2.29Mb_2404.bcf")
    sites = MaskSites.of(panel)
    with (data_dir / "chr20_array_sites.tsv").open() as file:
        records = [(int(row["pos"]), row["ref"], row["alt"]) for row in csv.DictReader(file, delimiter="\t")]
    real = np.zeros(panel.n_sites, dtype=np.bool_)
    real[list(SitesMask.matching(panel, records).sites)] = True
    hidden = 1 - real.mean()
    drawn = [draw(ArrayLikeMask(hidden, hidden), sites, visit=visit) for visit in range(20)]
    edges = [0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.51]
    for low, high in zip(edges, edges[1:], strict=False):
        in_bin = (sites.maf >= low) & (sites.maf < high)
        mean = float(np.mean([observed[in_bin].sum() for observed in drawn]))
        assert abs(int(real[in_bin].sum()) - mean) <= 3 * np.sqrt(mean + 1) + 1
    assert np.mean([spacing(observed) for observed in drawn]) < spacing(real) + 0.05


def test_mixture_mask__follows_its_shares() -> None:
    sites = made_sites(500)
    mixture = MixtureMask((RandomMask(0.1), RandomMask(0.9)), (0.7, 0.3))
    heavy = [float((~draw(mixture, sites, visit=visit)).mean()) > 0.5 for visit in range(600)]
    assert float(np.mean(heavy)) == pytest.approx(0.3, abs=0.06)


def test_mixture_mask__a_share_of_one_is_that_policy_in_every_draw() -> None:
    mixture = MixtureMask((RandomMask(0.9), SitesMask((3,)), RandomMask(0.1)), (0.0, 1.0, 0.0))
    for visit in range(50):
        assert np.flatnonzero(draw(mixture, made_sites(40), visit=visit)).tolist() == [3]


@given(n=st.integers(1, 30), seed=st.integers(0, 1000))
def test_draw_mask__leaves_at_least_one_site(n: int, seed: int) -> None:
    sites = made_sites(n, seed)
    for policy in (RandomMask(1.0), FrequencyMask(1.0), SpanMask(1 - 1e-6, 1e8), ArrayLikeMask(1, 1)):
        assert int(draw(policy, sites, seed=seed).sum()) >= 1
    assert int(draw(RandomMask(1.0), sites, seed=seed).sum()) == 1
    assert bool(draw(RandomMask(0.0), sites, seed=seed).all())


def test_draw_mask__no_sites_is_refused() -> None:
    with pytest.raises(RangeError, match="at least one site"):
        draw(RandomMask(0.5), made_sites(0))


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.kind)
def test_config__round_trip(policy: MaskPolicy) -> None:
    config = policy_to_config(policy)
    assert policy_from_config(config) == policy
    assert policy_digest(policy_from_config(config)) == policy_digest(policy)


def test_config__defaults_and_whole_numbers() -> None:
    assert policy_from_config({"kind": "array"}) == ArrayLikeMask()
    assert policy_digest(policy_from_config({"kind": "random", "rate": 1})) == policy_digest(RandomMask(1.0))
    assert policy_digest(RandomMask(0.5)) != policy_digest(SpanMask(0.5))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "unknown mask kind None"),
        ({"kind": "randon", "rate": 0.5}, "unknown mask kind 'randon'; known are random"),
        ({"kind": "random", "rate": 0.5, "rat": 1}, "unknown key 'rat' of mask kind 'random'"),
        ({"kind": "random"}, "needs 'rate'"),
        ({"kind": "random", "rate": "half"}, "rate must be a number"),
        ({"kind": "random", "rate": True}, "rate must be a number"),
        ({"kind": "random", "rate": 1.5}, r"rate must be a number in \[0, 1\]"),
        ({"kind": "random", "rate": float("nan")}, "rate must be a number"),
        ({"kind": "frequency", "rate": 0.5, "rare_odds": 0.5}, "rare_odds"),
        ({"kind": "span", "rate": 0.9, "mean_sites": 5}, "hidden runs are longer than 5 sites"),
        ({"kind": "sites"}, "needs 'sites'"),
        ({"kind": "sites", "sites": "all"}, "sites must be a list"),
        ({"kind": "sites", "sites": []}, "at least one site index"),
        ({"kind": "sites", "sites": [1.5]}, "integers"),
        ({"kind": "sites", "sites": [3, 3]}, "ascend"),
        ({"kind": "sites", "sites": [-1, 3]}, "ascend"),
        ({"kind": "array", "least_hidden": 0.99}, "exceeds most_hidden"),
        ({"kind": "mixture", "policies": [], "shares": []}, "mixture of 0 policies"),
        ({"kind": "mixture", "policies": [{"kind": "array"}], "shares": [0.5]}, "sum to 0.5"),
        ({"kind": "mixture", "policies": ["array"], "shares": [1.0]}, "must be a table"),
        ({"kind": "mixture", "policies": {"kind": "array"}, "shares": [1.0]}, "policies must be a list"),
        ({"kind": "mixture", "policies": [{"kind": "array", "x": 1}], "shares": [1.0]}, "unknown key 'x'"),
    ],
)
def test_config__nonsense_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        policy_from_config(config)


def test_mask_sites__of_a_panels_rows() -> None:
    panel = Panel.from_haplotypes(np.array([[1, 0, 1], [1, 0, 0], [1, 1, 0], [1, 1, 0]]))
    assert MaskSites.of(panel).maf.tolist() == [0.0, 0.5, 0.25]
    assert MaskSites.of(panel, np.array([0, 1])).maf.tolist() == [0.0, 0.0, 0.5]
    with pytest.raises(RangeError, match="not a number"):
        MaskSites.of(panel, np.array([], dtype=np.int64))


def test_mask_sites__nonsense_is_refused() -> None:
    with pytest.raises(ShapeError):
        MaskSites(positions=np.arange(3), maf=np.zeros(2))
    with pytest.raises(RangeError):
        MaskSites(positions=np.arange(1), maf=np.array([0.7]))


def test_policies__are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RandomMask(0.5).rate = 0.6  # type: ignore[misc]
