"""The imputer on a local retriever and on a real daemon, beside the same thing written out slowly in NumPy."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pytest

from vcfrag_core.copying import reference as copying
from vcfrag_core.copying.parameters import CopyingParameters, parameters_for
from vcfrag_core.errors import RangeError, ShapeError, TooManyMissingError, UnknownSampleError
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.keys import haplotype_keys
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.windows import Window
from vcfrag_core.retrieval import site_weights
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.retrieval.layout import layout_for
from vcfrag_core.retrieval.order import nearest
from vcfrag_core.retrieval.queries import EXTERNAL, External, QueryBlock, SearchResult
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array
from vcfrag_core.window.local import LocalRetriever
from vcfrag_core.window.retriever import IndexSpec, OpenedIndex, Retriever
from vcfrag_train.client.client import IndexClient
from vcfrag_train.client.embedded import embedded_daemon
from vcfrag_train.client.retriever import RemoteRetriever

PARAMETERS = CopyingParameters(scales=(6, 18), k=3, flank_cm=1.0, switch_per_cm=4.0)
CM_LONG = 12.0


class CountingRetriever:
    """Counts the indexes that another retriever has open."""

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever
        self.max_missing_share = retriever.max_missing_share
        self.n_open = 0

    def open(self, spec: IndexSpec) -> CountedIndex:
        opened = CountedIndex(self, self._retriever.open(spec))
        self.n_open += 1
        return opened


@dataclasses.dataclass(frozen=True)
class CountedIndex:
    counter: CountingRetriever
    index: OpenedIndex

    @property
    def identity(self) -> Identity:
        return self.index.identity

    def search(self, block: QueryBlock, k: int) -> SearchResult:
        return self.index.search(block, k)

    def close(self) -> None:
        self.index.close()
        self.counter.n_open -= 1


@dataclasses.dataclass(frozen=True)
class Setting:
    """A panel of 16 samples x 300 sites over 12 cM, and a retriever that counts the indexes it has open."""

    panel: Panel
    genetic_map: GeneticMap
    retriever: CountingRetriever

    def imputer(
        self,
        *,
        parameters: CopyingParameters | None = PARAMETERS,
        groups: Mapping[str, str] | None = None,
        threads: int = 1,
    ) -> Imputer:
        return Imputer(
            self.panel,
            self.genetic_map,
            retriever=self.retriever,
            parameters=parameters,
            groups=groups,
            threads=threads,
        )

    @property
    def cm(self) -> F64Array:
        return self.genetic_map.at(self.panel.positions)


@pytest.fixture(scope="module", params=["local", "remote"])
def setting(request: pytest.FixtureRequest, make_panel: Callable[..., Panel]) -> Iterator[Setting]:
    panel = make_panel(n_samples=16, n_sites=300, seed=3, contig="7")
    genetic_map = GeneticMap(
        positions=panel.positions[[0, -1]].astype(np.int64), cm=np.array([0.0, CM_LONG]), contig="7"
    )
    with contextlib.ExitStack() as stack:
        retriever: Retriever
        if request.param == "local":
            retriever = stack.enter_context(LocalRetriever(panel, max_missing_share=0.5))
        else:
            address = stack.enter_context(embedded_daemon({"small": panel}, threads=1, max_missing_share=0.5))
            client = stack.enter_context(IndexClient(address))
            retriever = RemoteRetriever(client, panel_name="small", panel_digest=panel.digest)
        yield Setting(panel, genetic_map, CountingRetriever(retriever))


@pytest.fixture(scope="module")
def observed(setting: Setting) -> BoolArray:
    return np.random.default_rng(8).random(setting.panel.n_sites) < 0.4


def targets(setting: Setting, observed: BoolArray, *, seed: int = 4, n_samples: int = 3) -> I8Array:
    """(Q, V) mosaics of panel haplotypes with some errors and missing calls, -1 at hidden sites."""
    rng = np.random.default_rng(seed)
    v = setting.panel.n_sites
    rows = rng.integers(0, setting.panel.n_haplotypes, (2 * n_samples, v // 50 + 1)).repeat(50, axis=1)[:, :v]
    alleles = setting.panel.haplotypes()[rows, np.arange(v)] ^ (rng.random(rows.shape) < 0.01)
    called = observed & (rng.random(rows.shape) > 0.02)
    return np.where(called, alleles, np.int8(-1)).astype(np.int8)


def whole(setting: Setting) -> Window:
    v = setting.panel.n_sites
    return Window(0, 0, v, 0, v)


def impute_all(
    imputer: Imputer,
    alleles: I8Array,
    observed: BoolArray,
    samples: Sequence[str | External],
    ploidy: Ploidy | None = None,
) -> F32Array:
    windows = imputer.impute_windows(alleles, observed, samples, ploidy=ploidy)
    return np.concatenate([dosage for _, dosage in windows], axis=1)


def slow_dosage(
    setting: Setting,
    window: Window,
    alleles: I8Array,
    observed: BoolArray,
    samples: Sequence[str | External],
    groups: Mapping[str, str] | None = None,
    parameters: CopyingParameters = PARAMETERS,
) -> F64Array:
    """(Q, L) dosages by sorting all haplotypes in every segment and copying in float64."""
    panel, groups = setting.panel, groups or {}
    haplotypes, keys = panel.haplotypes(), haplotype_keys(panel)
    group = np.array([groups.get(name, name) for name in panel.samples]).repeat(2)
    layout = layout_for(observed, parameters.scales, min_observed=parameters.min_observed)
    weights = site_weights.quantise(np.full(panel.n_sites, parameters.weight))
    context = slice(window.context_start, window.context_stop)
    sites = copying.copying_sites(
        window.context_start + np.flatnonzero(observed[context]),
        setting.cm,
        panel.positions,
        np.arange(window.start, window.stop),
    )
    out = []
    for query, sample in zip(alleles, samples, strict=True):
        own = "" if isinstance(sample, External) else groups.get(sample, sample)
        ids = np.flatnonzero(group != own).astype(np.int32)
        found: set[int] = set()
        for segment in layout.segments_within(context.start, context.stop, observed):
            near, _ = nearest(
                query[context],
                haplotypes[ids][:, context],
                ids=ids,
                keys=keys[ids],
                observed=observed[context],
                steps=site_weights.steps(weights[context]),
                offset=context.start,
                segment=segment,
                enclosing=layout.enclosing(segment, context.start, context.stop),
                k=parameters.k,
            )
            found |= {int(i) for i in near if i >= 0}
        states = haplotypes[sorted(found)].astype(np.int8)
        posterior = copying.posterior_reference(
            states[:, sites.observed].T,
            query[sites.observed],
            weights[sites.observed].astype(np.float64),
            copying.switch_probabilities(sites.gaps_cm, parameters.switch_per_cm),
        )
        out.append(copying.dosage_reference(posterior, sites.left, sites.fraction, states[:, sites.sites].T))
    mine = alleles[:, sites.sites]
    return np.where(observed[sites.sites] & (mine >= 0), mine, np.array(out))


def test_impute__equals_the_slow_reference(setting: Setting, observed: BoolArray) -> None:
    alleles = targets(setting, observed)
    samples = [EXTERNAL] * len(alleles)
    imputer = setting.imputer()
    windows = imputer.windows(observed)
    assert len(windows) == 3
    for window, dosage in imputer.impute_windows(alleles, observed, samples):
        assert window == windows[window.number]
        assert dosage.dtype == np.float32
        np.testing.assert_allclose(dosage, slow_dosage(setting, window, alleles, observed, samples), atol=1e-3)


def test_impute__windows_cover_every_site_once(setting: Setting, observed: BoolArray) -> None:
    alleles = targets(setting, observed, n_samples=1)
    found = [w for w, _ in setting.imputer().impute_windows(alleles, observed, [EXTERNAL] * 2)]
    assert [s for w in found for s in range(w.start, w.stop)] == list(range(setting.panel.n_sites))


def test_impute__a_panel_samples_own_group_is_not_retrieved(setting: Setting, observed: BoolArray) -> None:
    panel = setting.panel
    alleles = panel.haplotypes()[4:6].astype(np.int8)
    name, relative = panel.samples[2], panel.samples[9]
    groups = {name: "family", relative: "family"}
    alone = impute_all(setting.imputer(), alleles, observed, [name] * 2)
    family = impute_all(setting.imputer(groups=groups), alleles, observed, [name] * 2)
    for found, kept in ((alone, None), (family, groups)):
        parts = [
            slow_dosage(setting, w, alleles, observed, [name] * 2, kept) for w in setting.imputer().windows(observed)
        ]
        np.testing.assert_allclose(found, np.concatenate(parts, axis=1), atol=1e-3)
    seen = impute_all(setting.imputer(), alleles, observed, [EXTERNAL] * 2)
    assert np.abs(seen - alleles).mean() < np.abs(alone - alleles).mean()


def test_impute__a_query_does_not_depend_on_its_company_or_the_threads(setting: Setting, observed: BoolArray) -> None:
    alleles = targets(setting, observed, n_samples=4)
    samples = [EXTERNAL] * 8
    together = impute_all(setting.imputer(), alleles, observed, samples)
    threaded = impute_all(setting.imputer(threads=3), alleles, observed, samples)
    np.testing.assert_array_equal(together, threaded)
    backwards = impute_all(setting.imputer(), alleles[::-1].copy(), observed, samples)
    np.testing.assert_array_equal(together, backwards[::-1])
    for q in range(8):
        alone = impute_all(setting.imputer(), alleles[[q]], observed, [EXTERNAL], Ploidy.haploid(1))
        np.testing.assert_array_equal(together[[q]], alone)


def test_impute__hidden_alleles_are_never_looked_at(setting: Setting, observed: BoolArray) -> None:
    alleles = targets(setting, observed)
    samples = [EXTERNAL] * len(alleles)
    other = np.where(observed, alleles, 1).astype(np.int8)
    np.testing.assert_array_equal(
        impute_all(setting.imputer(), alleles, observed, samples),
        impute_all(setting.imputer(), other, observed, samples),
    )


def test_impute__windows_agree_with_one_context_away_from_their_borders(setting: Setting, observed: BoolArray) -> None:
    alleles = targets(setting, observed, n_samples=6)
    samples = [EXTERNAL] * len(alleles)
    imputer = setting.imputer(parameters=dataclasses.replace(PARAMETERS, k=32))
    ((_, at_once),) = imputer.impute_windows(alleles, observed, samples, [whole(setting)])
    by_windows = impute_all(imputer, alleles, observed, samples)
    # With all haplotypes as candidates, only what lies beyond a context can make a difference.
    borders = np.array([w.start for w in imputer.windows(observed)[1:]])
    distance = np.abs(setting.cm[:, None] - setting.cm[borders]).min(axis=1)
    difference = np.abs(at_once - by_windows)
    assert difference[:, distance > 1.0].max() < 1e-2
    assert difference.mean() < 1e-3


def test_impute__only_the_windows_asked_for(setting: Setting, observed: BoolArray) -> None:
    alleles, imputer = targets(setting, observed, n_samples=1), setting.imputer()
    every = list(imputer.impute_windows(alleles, observed, [EXTERNAL] * 2))
    chosen = [every[2][0], every[0][0]]
    some = list(imputer.impute_windows(alleles, observed, [EXTERNAL] * 2, chosen))
    assert [w for w, _ in some] == chosen
    np.testing.assert_array_equal(some[0][1], every[2][1])
    np.testing.assert_array_equal(some[1][1], every[0][1])


def test_parameters__follow_the_density_unless_given(setting: Setting, observed: BoolArray) -> None:
    assert setting.imputer().parameters(observed) == PARAMETERS
    ruled = setting.imputer(parameters=None)
    n = int(observed.sum())
    assert ruled.parameters(observed) == parameters_for(n / CM_LONG, n)


def test_impute__closes_its_index(setting: Setting, observed: BoolArray) -> None:
    alleles = targets(setting, observed, n_samples=1)
    for _ in setting.imputer().impute_windows(alleles, observed, [EXTERNAL] * 2):
        assert setting.retriever.n_open == 1
    assert setting.retriever.n_open == 0


@pytest.mark.parametrize("folds", [2, 5])
def test_leave_one_out__equals_brute_force(setting: Setting, observed: BoolArray, folds: int) -> None:
    alleles = targets(setting, observed, n_samples=1)
    samples = [EXTERNAL, setting.panel.samples[0]]
    imputer = setting.imputer()
    found = imputer.leave_one_out(alleles, observed, samples, folds=folds)
    sites = np.flatnonzero(observed)
    assert found.shape == (2, len(sites))
    assert found.dtype == np.float32
    for fold in range(folds):
        hidden = sites[fold::folds]
        kept = observed.copy()
        kept[hidden] = False
        blind = np.where(kept, alleles, np.int8(-1)).astype(np.int8)
        parts = [slow_dosage(setting, w, blind, kept, samples) for w in imputer.windows(observed)]
        slow = np.concatenate(parts, axis=1)
        np.testing.assert_allclose(found[:, fold::folds], slow[:, hidden], atol=1e-3)


def test_leave_one_out__a_site_never_sees_its_own_call(setting: Setting, observed: BoolArray) -> None:
    alleles = targets(setting, observed, n_samples=1)
    samples, sites = [EXTERNAL] * 2, np.flatnonzero(observed)
    first = setting.imputer().leave_one_out(alleles, observed, samples, folds=4)
    flipped = alleles.copy()
    fold = sites[1::4]
    flipped[:, fold] = np.where(alleles[:, fold] < 0, -1, 1 - alleles[:, fold])
    second = setting.imputer().leave_one_out(flipped, observed, samples, folds=4)
    np.testing.assert_array_equal(first[:, 1::4], second[:, 1::4])
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("folds", [1, 0, 100_000])
def test_leave_one_out__refuses_too_few_or_too_many_folds(setting: Setting, observed: BoolArray, folds: int) -> None:
    alleles = targets(setting, observed, n_samples=1)
    with pytest.raises(RangeError, match="folds"):
        setting.imputer().leave_one_out(alleles, observed, [EXTERNAL] * 2, folds=folds)


def test_impute__refuses_arrays_that_do_not_fit(setting: Setting, observed: BoolArray) -> None:
    alleles = targets(setting, observed, n_samples=1)
    for wrong, mask, names in (
        (alleles[:, 1:], observed, [EXTERNAL] * 2),
        (alleles, observed[1:], [EXTERNAL] * 2),
        (alleles, observed, [EXTERNAL]),
    ):
        with pytest.raises(ShapeError):
            list(setting.imputer().impute_windows(wrong, mask, names))


def test_impute__refuses_a_name_that_is_not_in_the_panel(setting: Setting, observed: BoolArray) -> None:
    alleles = targets(setting, observed, n_samples=1)
    with pytest.raises(UnknownSampleError, match="NOBODY"):
        list(setting.imputer().impute_windows(alleles, observed, ["NOBODY", "NOBODY"]))
    assert setting.retriever.n_open == 0


def test_impute__refuses_many_missing_calls(setting: Setting, observed: BoolArray) -> None:
    alleles = np.full((2, setting.panel.n_sites), -1, dtype=np.int8)
    with pytest.raises(TooManyMissingError):
        list(setting.imputer().impute_windows(alleles, observed, [EXTERNAL] * 2))


def test_parameters__refuse_a_mask_without_observed_sites(setting: Setting) -> None:
    with pytest.raises(RangeError, match="no site is observed"):
        setting.imputer(parameters=None).parameters(np.zeros(setting.panel.n_sites, dtype=np.bool_))
