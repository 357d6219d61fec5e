"""Signals: what is in flight is finished, replies in transit among it; a second signal ends at once; SIGHUP nothing."""

from __future__ import annotations

import contextlib
import signal
import time

import pytest

from tests.indexd.attack.conftest import queries
from tests.indexd.attack.http2 import Http2, message
from vcfrag_proto.v1 import index_pb2 as pb

SEARCH = "/vcfrag_proto.v1.Index/Search"
GIB = 2**30
PREFIX_BYTES = 5


def reply_in_transit(attacked, index, connection: Http2) -> tuple[int, int]:
    """A search whose reply of many megabytes has begun to come: its stream, and the bytes of its arrays."""
    with attacked.stub() as stub:
        handle = stub.OpenIndex(index.open_request(), timeout=90).handle
        small = stub.Search(index.request(handle, index.block(queries(index, 1)), k=64), timeout=90)
    n_queries = 12 * 2**20 // len(small.ids + small.distances)
    request = index.request(handle, index.block(queries(index, n_queries)), k=64)
    stream = connection.call(SEARCH)
    connection.pour(stream, message(request.SerializeToString()))
    connection.send(stream, b"", last=True)
    connection.begin_reply(stream)
    return stream, n_queries * len(small.ids + small.distances)


@pytest.fixture
def roomy(attack):
    return attack("--memory-budget-bytes", str(GIB))


def test_drain__a_reply_that_is_fetched_slowly_is_fetched_whole(roomy, attacked_index) -> None:
    with Http2(roomy.address, window=0) as connection:
        stream, n_bytes = reply_in_transit(roomy, attacked_index, connection)
        roomy.process.process.send_signal(signal.SIGTERM)
        roomy.process.wait_for(r'"event": "draining"')
        # Longer than a daemon takes that thinks it has finished.
        time.sleep(4)
        assert roomy.process.process.poll() is None
        assert connection.rest_of_reply(stream) > n_bytes + PREFIX_BYTES
        assert roomy.process.code() == 0
    assert roomy.process.wait_for(r'"finished": (true|false)')[1] == "true"


def test_drain__a_reply_that_nobody_fetches_is_cut_and_the_log_says_so(attack, attacked_index) -> None:
    quick = attack("--memory-budget-bytes", str(GIB), env={"VCFRAG_INDEXD_DRAIN__LIMIT_SECONDS": "0.5"})
    with Http2(quick.address, window=0) as connection:
        reply_in_transit(quick, attacked_index, connection)
        assert quick.process.stop() == 0
    drained = quick.process.wait_for(r'"finished": (true|false), "calls_cut_off": (\d+)')
    assert (drained[1], int(drained[2])) == ("false", 1)


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_drain__a_second_signal_ends_at_once(roomy, attacked_index, first: signal.Signals) -> None:
    with Http2(roomy.address, window=0) as connection:
        reply_in_transit(roomy, attacked_index, connection)
        roomy.process.process.send_signal(first)
        roomy.process.wait_for(r'"event": "draining"')
        assert roomy.process.stop(signal.SIGINT) == 1
    assert not any('"drained"' in line for line in roomy.process.lines)


def test_hangup__reads_tokens_and_certificates_again_and_ends_nothing(attack, tmp_path) -> None:
    token = tmp_path / "token"
    token.write_text("old\n", encoding="ascii")
    token.chmod(0o600)
    attacked = attack(env={"VCFRAG_INDEXD_SECURITY__TOKEN_FILE": str(token)})

    def answers(secret: str) -> bool:
        with attacked.stub() as stub, contextlib.suppress(Exception):
            metadata = (("authorization", f"Bearer {secret}"),)
            return bool(stub.Info(pb.InfoRequest(), timeout=90, metadata=metadata).engine)
        return False

    assert (answers("old"), answers("new")) == (True, False)
    token.write_text("new\n", encoding="ascii")
    attacked.process.process.send_signal(signal.SIGHUP)
    attacked.process.wait_for(r'"event": "tokens read again"')
    assert (answers("old"), answers("new")) == (False, True)
    token.write_text("", encoding="ascii")
    attacked.process.process.send_signal(signal.SIGHUP)
    attacked.process.wait_for(r"the tokens stay as they were")
    assert answers("new")
