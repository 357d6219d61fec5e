"""Local and remote retrievers under one suite: the same answers, the same refusals."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.errors import (
    MaskMismatchError,
    MetricMismatchError,
    OutOfBudgetError,
    PanelMismatchError,
    SplitMismatchError,
    TooManyMissingError,
    UnknownSampleError,
)
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.queries import EXTERNAL, QueryBlock
from vcfrag_core.window.local import LocalRetriever
from vcfrag_core.window.random import RandomRetriever
from vcfrag_core.window.retriever import IndexSpec, Retriever
from vcfrag_train.client.client import IndexClient
from vcfrag_train.client.embedded import embedded_daemon
from vcfrag_train.client.retriever import RemoteRetriever

N_SITES = 200
PARAMETERS = CopyingParameters(scales=(8, 24), k=5, flank_cm=1.0, switch_per_cm=3.0)


@pytest.fixture(scope="module")
def small(make_panel: Callable[..., Panel]) -> Panel:
    return make_panel(n_samples=20, n_sites=N_SITES, seed=5)


@pytest.fixture(scope="module", params=["local", "local reference", "remote"])
def retriever(request: pytest.FixtureRequest, small: Panel) -> Iterator[Retriever]:
    with contextlib.ExitStack() as stack:
        if request.param == "remote":
            address = stack.enter_context(embedded_daemon({"small": small}, threads=1, max_missing_share=0.2))
            client = stack.enter_context(IndexClient(address))
            yield RemoteRetriever(client, panel_name="small", panel_digest=small.digest)
        else:
            engine = "reference" if "reference" in request.param else "bitscan"
            yield stack.enter_context(LocalRetriever(small, engine=engine, max_missing_share=0.2))


@pytest.fixture(scope="module")
def spec(small: Panel) -> IndexSpec:
    return spec_of(small)


def spec_of(panel: Panel, *, seed: int = 1, observed_share: float = 0.5) -> IndexSpec:
    rng = np.random.default_rng(seed)
    groups = {name: name for name in panel.samples} | {panel.samples[1]: panel.samples[0]}
    return IndexSpec.of(
        panel.digest,
        split=Split(name="train", reference=panel.samples, groups=groups),
        observed=rng.random(panel.n_sites) < observed_share,
        weights=np.round(rng.uniform(1, 7, panel.n_sites) * 1024).astype(np.float32) / 1024,
        parameters=PARAMETERS,
    )


def block_of(panel: Panel, spec: IndexSpec, *, samples: tuple[object, ...], start: int = 20) -> QueryBlock:
    rng = np.random.default_rng(3)
    stop = N_SITES - 10
    alleles = panel.haplotypes(slice(0, len(samples)), start, stop).astype(np.int8)
    alleles ^= (rng.random(alleles.shape) < 0.05).astype(np.int8)
    observed = spec.observed[start:stop]
    return QueryBlock(
        start=start,
        stop=stop,
        samples=samples,  # type: ignore[arg-type]
        observed=observed,
        alleles=np.where(observed, alleles, np.int8(-1)),
    )


def test_search__answers_as_the_slow_reference_does(retriever: Retriever, small: Panel, spec: IndexSpec) -> None:
    block = block_of(small, spec, samples=(EXTERNAL, small.samples[0], small.samples[5]))
    with LocalRetriever(small, engine="reference") as slow:
        expected = slow.open(spec).search(block, PARAMETERS.k)
    found = retriever.open(spec).search(block, PARAMETERS.k)
    for field in dataclasses.fields(found):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name), err_msg=field.name)
    # Nobody of the second query's group, two samples, is among its neighbours.
    assert not np.isin(found.ids[:, 1], [0, 1, 2, 3]).any()


def test_open__refuses_what_has_another_digest(retriever: Retriever, small: Panel, spec: IndexSpec) -> None:
    other = spec_of(small, seed=2)
    for field, error in (("panel", PanelMismatchError), ("split", SplitMismatchError)):
        identity = dataclasses.replace(spec.identity, **{field: "0" * 32})
        with pytest.raises(error):
            retriever.open(dataclasses.replace(spec, identity=identity))
    if isinstance(retriever, LocalRetriever):
        with pytest.raises(MaskMismatchError):
            retriever.open(dataclasses.replace(spec, observed=other.observed))
        with pytest.raises(MetricMismatchError):
            retriever.open(dataclasses.replace(spec, weights=other.weights))


@pytest.mark.parametrize("more", [True, False])
def test_search__refuses_another_mask(retriever: Retriever, small: Panel, spec: IndexSpec, more: bool) -> None:
    block = block_of(small, spec, samples=(EXTERNAL,) * 2)
    observed = block.observed.copy()
    observed[np.flatnonzero(observed != more)[0]] = more
    wrong = dataclasses.replace(
        block, observed=observed, alleles=np.where(observed, np.maximum(block.alleles, 0), np.int8(-1))
    )
    with pytest.raises(MaskMismatchError, match="query 0 was masked with another mask"):
        retriever.open(spec).search(wrong, 3)


def test_search__refuses_too_many_missing_and_unknown_names(
    retriever: Retriever, small: Panel, spec: IndexSpec
) -> None:
    assert retriever.max_missing_share == pytest.approx(0.2)
    index = retriever.open(spec)
    block = block_of(small, spec, samples=(EXTERNAL,) * 2)
    with pytest.raises(TooManyMissingError, match="query 0 lacks"):
        index.search(dataclasses.replace(block, alleles=np.full_like(block.alleles, -1)), 3)
    with pytest.raises(UnknownSampleError, match="NOBODY"):
        index.search(dataclasses.replace(block, samples=("NOBODY", EXTERNAL)), 3)


def test_local__an_index_opened_twice_is_closed_once_both_are(small: Panel, spec: IndexSpec) -> None:
    with LocalRetriever(small) as retriever:
        one, two = retriever.open(spec), retriever.open(spec)
        one.close()
        one.close()
        block = block_of(small, spec, samples=(EXTERNAL,))
        assert two.search(block, 3).ids.shape[2] == 3
        two.close()


def test_local__respects_its_memory_budget(small: Panel, spec: IndexSpec) -> None:
    with LocalRetriever(small, memory_budget_bytes=1000) as retriever, pytest.raises(OutOfBudgetError):
        retriever.open(spec).search(block_of(small, spec, samples=(EXTERNAL,)), 3)


def test_random__draws_as_many_as_were_found_and_nobody_of_the_own_group(small: Panel, spec: IndexSpec) -> None:
    block = block_of(small, spec, samples=(EXTERNAL, small.samples[0], small.samples[5]))
    with LocalRetriever(small) as local:
        found = local.open(spec).search(block, PARAMETERS.k)
        counts = [len(set(found.ids[:, q].ravel().tolist()) - {-1}) for q in range(3)]
        drawn = RandomRetriever(local, small, seed=3).open(spec).search(block, PARAMETERS.k)
        again = RandomRetriever(local, small, seed=3).open(spec).search(block, PARAMETERS.k)
    np.testing.assert_array_equal(drawn.ids, again.ids)
    for q, row in enumerate(drawn.ids[0]):
        ids = row[row >= 0]
        assert len(ids) == len(set(ids.tolist())) == counts[q] > 0
        assert np.isfinite(drawn.distances[0, q, : len(ids)]).all()
    assert not np.isin(drawn.ids[0, 1], [0, 1, 2, 3]).any()
