"""Names of 25 MB, with line breaks and escapes: bounded, printable, quoted."""

from __future__ import annotations

import dataclasses

import grpc
import pytest

from tests.indexd.attack.conftest import answered
from vcfrag_indexd.cli.commands import quoted
from vcfrag_proto import status
from vcfrag_proto.v1 import index_pb2 as pb

BAD = ("a\nb", "a\x1b[2Jb", "a\rb", "a\x00b", "\u202eb", "a\u2028b", "x" * 2000, "x" * 7_000_000)


def reason(call) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        answered(call)
    return status.decode(caught.value).error.reason


@pytest.mark.parametrize("name", BAD, ids=lambda name: ascii(name[:12]))
def test_names__of_splits_are_bounded_and_print(attacked, attacked_index, name: str) -> None:
    split = dataclasses.replace(attacked_index.split, name=name)
    request = dataclasses.replace(attacked_index, split=split).open_request()
    with attacked.stub() as stub:
        assert reason(lambda: stub.OpenIndex(request, timeout=90)) == "RANGE"
        assert stub.ListIndexes(pb.ListIndexesRequest(), timeout=90) is not None
    attacked.check()


@pytest.mark.parametrize("field", ["panel", "handle", "sample", "group", "digest"])
def test_names__of_anything_are_bounded(attacked, attacked_index, field: str) -> None:
    long = "x" * 100_000
    opening = attacked_index.open_request()
    search = attacked_index.request("nothing", attacked_index.own(["S0004"], 0, 100))
    if field == "panel":
        opening.panel = long
    if field == "group":
        opening.split.groups["S0004"] = long
    if field == "digest":
        opening.identity.mask = long
    if field == "handle":
        search.handle = long
    if field == "sample":
        search.samples[0].name = long
    with attacked.stub() as stub:
        if field in ("handle", "sample"):
            assert reason(lambda: stub.Search(search, timeout=90)) == "RANGE"
        else:
            assert reason(lambda: stub.OpenIndex(opening, timeout=90)) == "RANGE"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("train", "train"),
        ("chr20:1-100_v2.b", "chr20:1-100_v2.b"),
        ("", "''"),
        ("two words", "'two words'"),
        ("a\nhandle panel", r"'a\nhandle panel'"),
        ("\x1b[2J", r"'\x1b[2J'"),
        ("\u202etrain", r"'\u202etrain'"),
        ("it's", '"it\'s"'),
    ],
)
def test_quoted__a_listing_cannot_be_forged(name: str, shown: str) -> None:
    assert quoted(name) == shown
