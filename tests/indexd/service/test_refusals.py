"""What the service refuses, each by its documented status and reason, over real gRPC."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core import errors
from vcfrag_core.retrieval.identity import mask_digest, metric_digest
from vcfrag_core.retrieval.queries import EXTERNAL
from vcfrag_indexd.config.config import LimitsConfig, ServeConfig
from vcfrag_indexd.testing import serve
from vcfrag_proto import status
from vcfrag_proto.v1 import index_pb2 as pb
from vcfrag_proto.v1 import index_pb2_grpc as rpc

FIELDS = ("panel", "split", "mask", "metric", "layout")


@pytest.fixture(scope="module")
def described_index(make_panel, described):
    return described(make_panel(n_samples=20, n_sites=200, seed=1), held_out=2, families=1)


@pytest.fixture(scope="module")
def stub(described_index) -> Iterator[rpc.IndexStub]:
    config = ServeConfig(listen="127.0.0.1:0", limits=LimitsConfig(max_k=64))
    with serve({"panel": described_index.panel}, config) as daemon, grpc.insecure_channel(daemon.address) as channel:
        yield rpc.IndexStub(channel)


@pytest.fixture(scope="module")
def handle(stub: rpc.IndexStub, described_index) -> str:
    return stub.OpenIndex(described_index.open_request()).handle


@pytest.fixture
def search(described_index, handle: str) -> pb.SearchRequest:
    """A valid search of two queries over sites 3 to 160."""
    return described_index.request(handle, described_index.own(["S0004"], 3, 160))


def refused(call: Callable[[], object], reason: str, match: str = "") -> None:
    """The call fails with the reason and with that reason's status."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    refusal = status.decode(caught.value)
    assert (refusal.error.reason, caught.value.code()) == (reason, status.STATUS_OF[reason])
    assert match in str(refusal.error)
    assert len(refusal.request_id) == 32


def test_search__valid_requests_pass(stub, search) -> None:
    reply = stub.Search(search)
    assert len(reply.ids) == 4 * 2 * 3 * (len(reply.starts) // 4) > 0


@pytest.mark.parametrize("field", FIELDS)
def test_search__another_digest_is_refused_naming_both(stub, search, field: str) -> None:
    mine = getattr(search.identity, field)
    setattr(search.identity, field, "0" * 32)
    refused(lambda: stub.Search(search), f"{field.upper()}_MISMATCH", mine)
    refused(lambda: stub.Search(search), f"{field.upper()}_MISMATCH", "0" * 32)


@pytest.mark.parametrize("field", FIELDS)
def test_open__an_array_without_its_digest_is_refused(stub, described_index, field: str) -> None:
    request = described_index.open_request()
    setattr(request.identity, field, "f" * 32)
    refused(lambda: stub.OpenIndex(request), f"{field.upper()}_MISMATCH")


@given(site=st.integers(3, 159))
def test_search__a_query_masked_more_or_less_is_refused_naming_the_site(stub, described_index, handle, site) -> None:
    block = described_index.own(["S0004"], 3, 160)
    other = dataclasses.replace(described_index, observed=described_index.observed.copy())
    other.observed[site] ^= True
    request = described_index.request(handle, dataclasses.replace(block, observed=other.observed[3:160]))
    refused(lambda: stub.Search(request), "MASK_MISMATCH", f"site {site} ")
    request.identity.mask = mask_digest(other.observed)
    refused(lambda: stub.Search(request), "MASK_MISMATCH")


def test_search__a_mask_of_the_same_rate_and_another_seed_is_refused(stub, described_index, handle) -> None:
    block = described_index.own(["S0004"], 3, 160)
    shuffled = np.random.default_rng(1).permutation(block.observed)
    request = described_index.request(handle, dataclasses.replace(block, observed=shuffled))
    refused(lambda: stub.Search(request), "MASK_MISMATCH")


def test_search__one_of_many_queries_under_another_mask_is_refused(stub, described_index, handle) -> None:
    request = described_index.request(handle, described_index.own(described_index.panel.samples))
    rows = np.frombuffer(request.observed, dtype=np.uint8).reshape(40, 25).copy()
    site = int(np.flatnonzero(~described_index.observed)[4])
    rows[33, site >> 3] |= 1 << (site & 7)
    request.observed = rows.tobytes()
    refused(lambda: stub.Search(request), "MASK_MISMATCH", "query 33")


def test_open__a_split_under_another_splits_digest_is_refused(stub, described_index) -> None:
    request = described_index.open_request()
    request.split.name = "validation"
    refused(lambda: stub.OpenIndex(request), "SPLIT_MISMATCH")


@pytest.mark.parametrize("sample", [pb.QuerySample(), pb.QuerySample(name=""), pb.QuerySample(external=False)])
def test_search__a_query_without_a_sample_is_refused(stub, search, sample: pb.QuerySample) -> None:
    search.samples[1].CopyFrom(sample)
    refused(lambda: stub.Search(search), "NO_SAMPLE", "query 1")


def test_search__an_unknown_sample_is_refused(stub, search) -> None:
    search.samples[0].name = "nobody"
    refused(lambda: stub.Search(search), "UNKNOWN_SAMPLE", "nobody")


def test_search__missing_calls_up_to_the_limit_pass(stub, described_index, handle) -> None:
    block = described_index.own(["S0004"])
    sites = np.flatnonzero(described_index.observed)
    allowed = int(0.05 * len(sites))
    for n, passes in ((allowed, True), (allowed + 1, False)):
        alleles = block.alleles.copy()
        alleles[1, sites[:n]] = -1
        request = described_index.request(handle, dataclasses.replace(block, alleles=alleles))
        if passes:
            assert stub.Search(request).k == 3
        else:
            refused(lambda request=request: stub.Search(request), "TOO_MANY_MISSING", "query 1")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"start": -1}, "RANGE"),
        ({"start": 160}, "RANGE"),
        ({"stop": 201}, "RANGE"),
        ({"k": 0}, "RANGE"),
        ({"k": -3}, "RANGE"),
        ({"k": 65}, "RANGE"),
        ({"observed": b"x"}, "SHAPE"),
        ({"missing": b"x"}, "SHAPE"),
        ({"alleles": b""}, "SHAPE"),
        ({"stop": 150}, "SHAPE"),
        ({"handle": "nothing"}, "UNKNOWN_INDEX"),
    ],
)
def test_search__what_makes_no_sense_is_refused(stub, search, change: dict[str, object], reason: str) -> None:
    for name, value in change.items():
        setattr(search, name, value)
    refused(lambda: stub.Search(search), reason)


def spoil(data: bytes, row: int, bit: int, width: int = 20) -> bytes:
    rows = np.frombuffer(data or bytes(2 * width), dtype=np.uint8).reshape(2, width).copy()
    rows[row, bit >> 3] ^= 1 << (bit & 7)
    return rows.tobytes()


def test_search__padding_bits_are_refused(stub, search) -> None:
    search.alleles = spoil(search.alleles, 1, 159)
    refused(lambda: stub.Search(search), "SHAPE", "padding")


def test_search__an_allele_where_nothing_is_observed_is_refused(stub, search, described_index) -> None:
    hidden = int(np.flatnonzero(~described_index.observed[3:160])[0])
    search.alleles = spoil(search.alleles, 0, hidden)
    refused(lambda: stub.Search(search), "SHAPE", "not observed")


def test_search__a_site_both_observed_and_missing_is_refused(stub, search, described_index) -> None:
    seen = int(np.flatnonzero(described_index.observed[3:160])[0])
    search.missing = spoil(b"", 0, seen)
    refused(lambda: stub.Search(search), "SHAPE", "both observed and missing")


def test_search__no_query_is_refused(stub, search) -> None:
    del search.samples[:]
    refused(lambda: stub.Search(search), "SHAPE")


def test_open__a_reference_that_is_held_out_is_refused(stub, described_index) -> None:
    request = described_index.open_request()
    request.split.held_out.append(request.split.reference[0])
    refused(lambda: stub.OpenIndex(request), "HELD_OUT_SAMPLE")


def test_open__a_reference_that_the_panel_lacks_is_refused(stub, described_index) -> None:
    split = described_index.split
    other = dataclasses.replace(
        split, reference=(*split.reference, "nobody"), groups={**split.groups, "nobody": "nobody"}
    )
    request = dataclasses.replace(described_index, split=other).open_request()
    refused(lambda: stub.OpenIndex(request), "UNKNOWN_SAMPLE")


def test_open__unknown_panel_mask_and_metric(stub, described_index) -> None:
    request = described_index.open_request()
    request.panel = "other"
    refused(lambda: stub.OpenIndex(request), "UNKNOWN_PANEL", "['panel']")
    for field, digest, reason in (("observed", "mask", "UNKNOWN_MASK"), ("weights", "metric", "UNKNOWN_METRIC")):
        request = described_index.open_request()
        request.ClearField(field)
        setattr(request.identity, digest, "e" * 32)
        refused(lambda request=request: stub.OpenIndex(request), reason)


@pytest.mark.parametrize(
    ("weight", "reason"), [(np.nan, "NOT_FINITE"), (np.inf, "NOT_FINITE"), (-1.0, "RANGE"), (0.3, "RANGE")]
)
def test_open__weights_off_the_grid_are_refused(stub, described_index, weight: float, reason: str) -> None:
    weights = described_index.weights.copy()
    weights[5] = weight
    request = described_index.open_request()
    request.weights = weights.tobytes()
    request.identity.metric = metric_digest(weights)
    refused(lambda: stub.OpenIndex(request), reason)


def test_open__arrays_of_another_size_are_refused(stub, described_index) -> None:
    for field, data in (("weights", b"abc"), ("weights", bytes(8)), ("observed", bytes(7))):
        request = described_index.open_request()
        setattr(request, field, data)
        refused(lambda request=request: stub.OpenIndex(request), "SHAPE")


def test_open__layouts_and_splits_that_make_no_sense_are_refused(stub, described_index) -> None:
    for spoilt in (
        lambda r: r.layout.lengths.append(3),
        lambda r: setattr(r.layout, "min_observed", 0),
        lambda r: setattr(r.split, "name", ""),
        lambda r: r.split.reference.append(r.split.reference[0]),
        lambda r: r.split.groups.pop(r.split.reference[0]),
    ):
        request = described_index.open_request()
        spoilt(request)
        refused(lambda request=request: stub.OpenIndex(request), "RANGE")


def test_open__is_idempotent(stub, described_index, handle: str) -> None:
    again = stub.OpenIndex(described_index.open_request())
    assert (again.handle, again.already_open) == (handle, True)


def test_close__an_unknown_index_is_refused(stub) -> None:
    refused(lambda: stub.CloseIndex(pb.CloseIndexRequest(handle="nothing")), "UNKNOWN_INDEX")


def test_prepare__refusals(stub, search) -> None:
    def prepare(**change: object) -> pb.PrepareIndexRequest:
        request = pb.PrepareIndexRequest(handle=search.handle, identity=search.identity, start=0, stop=200)
        for name, value in change.items():
            setattr(request, name, value)
        return request

    refused(lambda: list(stub.PrepareIndex(prepare(handle="nothing"))), "UNKNOWN_INDEX")
    refused(lambda: list(stub.PrepareIndex(prepare(stop=201))), "RANGE")
    other = prepare()
    other.identity.split = "a" * 32
    refused(lambda: list(stub.PrepareIndex(other)), "SPLIT_MISMATCH")


def test_status_tables__cover_every_error_that_crosses_the_wire() -> None:
    local = {"CONFIG", "INPUT", "OUTPUT", "PROVENANCE_MISSING", "PROVENANCE_MISMATCH", "TRAINING", "PROGRAM", "VCFRAG"}
    crossing = set()
    todo = [errors.VcfragError]
    while todo:
        error = todo.pop()
        todo += error.__subclasses__()
        if "reason" in vars(error) and not issubclass(error, errors.InputError) and error.reason not in local:
            crossing.add(error.reason)
    assert crossing == set(status.STATUS_OF) == set(status.ERROR_OF)


def test_contract__names_every_reason(repository: Path) -> None:
    text = (repository / "proto/vcfrag_proto/v1/index.proto").read_text()
    for reason in status.STATUS_OF:
        assert reason in text or (reason.endswith("_MISMATCH") and "any *_MISMATCH" in text), reason


def test_search__external_people_see_everybody(stub, described_index, handle) -> None:
    block = described_index.own(["S0004"])
    request = described_index.request(handle, dataclasses.replace(block, samples=(EXTERNAL, EXTERNAL)))
    ids = np.frombuffer(stub.Search(request).ids, dtype="<i4").reshape(-1, 2, 3)
    assert set(described_index.panel.rows_of(["S0004"])) & set(ids.reshape(-1).tolist())
