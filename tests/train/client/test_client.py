"""The client: what it retries and what not, restarts of the daemon, processes of its own, replies that do not fit."""

from __future__ import annotations

import dataclasses
import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from vcfrag_core import errors
from vcfrag_core.errors import (
    ConfigError,
    DeadlineError,
    LayoutMismatchError,
    MaskMismatchError,
    OverloadedError,
    ShapeError,
    UnavailableError,
    UnknownIndexError,
)
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval import site_weights
from vcfrag_core.retrieval.identity import Identity, layout_digest
from vcfrag_core.retrieval.layout import layout_for
from vcfrag_core.retrieval.queries import QueryBlock
from vcfrag_indexd.config.config import LimitsConfig, ServeConfig
from vcfrag_indexd.testing import serve
from vcfrag_proto import status
from vcfrag_proto.v1 import index_pb2 as pb
from vcfrag_train.client import client as client_module
from vcfrag_train.client.client import IndexClient
from vcfrag_train.client.embedded import embedded_daemon

ANY_PORT = "127.0.0.1:0"


@pytest.fixture
def opening(panel: Panel) -> dict[str, Any]:
    """Arguments of open_index over the panel."""
    observed = np.random.default_rng(3).random(panel.n_sites) < 0.5
    split = Split(name="train", reference=panel.samples, groups={name: name for name in panel.samples})
    layout, weights = layout_for(observed, (8, 32)), site_weights.quantise(np.full(panel.n_sites, 6.9))
    identity = Identity.of(panel.digest, split=split, observed=observed, weights=weights, layout=layout)
    return {
        "panel_name": "panel",
        "identity": identity,
        "split": split,
        "layout": layout,
        "observed": observed,
        "weights": weights,
    }


@pytest.fixture
def block(panel: Panel, opening: dict[str, Any]) -> QueryBlock:
    """All haplotypes of the panel as queries."""
    return QueryBlock(
        start=0,
        stop=panel.n_sites,
        samples=tuple(name for name in panel.samples for _ in range(2)),
        observed=opening["observed"],
        alleles=panel.haplotypes().astype(np.int8),
    )


class Scripted:
    """A server whose Info answers what the script says, one entry after another; the last one stays."""

    def __init__(self, *script: Exception | pb.InfoReply) -> None:
        self.script = list(script)
        self.calls = 0
        self.server = grpc.server(ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(
            self._info, response_serializer=lambda message: message.SerializeToString()
        )
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("vcfrag_proto.v1.Index", {"Info": handler}),)
        )
        self.address = f"127.0.0.1:{self.server.add_insecure_port(ANY_PORT)}"
        self.server.start()

    def _info(self, data: bytes, context: grpc.ServicerContext) -> pb.InfoReply:
        entry = self.script[min(self.calls, len(self.script) - 1)]
        self.calls += 1
        if isinstance(entry, errors.VcfragError):
            retry = 0.2 if isinstance(entry, OverloadedError) else None
            context.set_trailing_metadata(((status.DETAILS_KEY, status.encode(entry, retry_after_seconds=retry)),))
            context.abort(status.status_of(entry), str(entry))
        if isinstance(entry, Exception):
            context.abort(grpc.StatusCode.INTERNAL, "no details")
        return entry


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    made: list[Scripted] = []

    def make(*script: Exception | pb.InfoReply) -> Scripted:
        made.append(Scripted(*script))
        return made[-1]

    yield make
    for server in made:
        server.server.stop(0).wait()


@pytest.mark.parametrize(
    "error", [errors.UnavailableError("x"), errors.DrainingError("x"), errors.OverloadedError("x")]
)
def test_retry__what_passes_is_tried_again(scripted, error: errors.VcfragError) -> None:
    server = scripted(error, error, pb.InfoReply(engine="fine"))
    with IndexClient(server.address, timeout_seconds=30) as client:
        assert client.info().engine == "fine"
    assert server.calls == 3


@pytest.mark.parametrize("reason", sorted(set(status.STATUS_OF) - {"UNAVAILABLE", "DRAINING", "OVERLOADED"}))
def test_retry__nothing_else_is_and_every_error_arrives_as_itself(scripted, reason: str) -> None:
    server = scripted(status.ERROR_OF[reason]("what and where"))
    error = status.ERROR_OF[reason]
    with IndexClient(server.address, timeout_seconds=30) as client, pytest.raises(error, match="what and where"):
        client.info()
    assert server.calls == 1


def test_retry__a_status_without_details_is_an_internal_error(scripted) -> None:
    server = scripted(ValueError())
    with IndexClient(server.address) as client, pytest.raises(errors.InternalError, match="no details"):
        client.info()


def test_retry__ends_at_the_deadline_with_the_last_refusal(scripted) -> None:
    server = scripted(errors.OverloadedError("full"))
    with IndexClient(server.address, timeout_seconds=2.0) as client, pytest.raises(OverloadedError, match="full"):
        client.info()
    assert 1 <= server.calls <= 10


def test_retry__nobody_there_is_unavailable() -> None:
    with IndexClient("127.0.0.1:1", timeout_seconds=0.3) as client, pytest.raises((UnavailableError, DeadlineError)):
        client.info()


def test_retry__the_next_address_takes_over(scripted) -> None:
    away, here = scripted(errors.DrainingError("bye")), scripted(pb.InfoReply(engine="here"))
    with IndexClient([away.address, here.address], timeout_seconds=30) as client:
        assert client.info().engine == "here"
        assert client.info().engine == "here"
    assert (away.calls, here.calls) == (1, 2)


def test_client__needs_an_address() -> None:
    with pytest.raises(ConfigError):
        IndexClient([])


def test_search__large_batches_are_split_and_put_together(
    panel: Panel, opening, block: QueryBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve({"panel": panel}) as daemon, IndexClient(daemon.address) as client:
        opened = client.open_index(**opening)
        whole = client.search(opened, block, 5)
        calls = daemon.service.registry.find(opened.handle).searches
        monkeypatch.setattr(client_module, "WORK_PER_CALL", 7 * 5 * len(whole.starts))
        parts = client.search(opened, block, 5)
        assert daemon.service.registry.find(opened.handle).searches - calls == -(-len(block.samples) // 7)
    np.testing.assert_array_equal(parts.ids, whole.ids)
    np.testing.assert_array_equal(parts.distances, whole.distances)


def test_search__a_small_queue_makes_small_calls(panel: Panel, opening, block: QueryBlock) -> None:
    small = ServeConfig(listen=ANY_PORT, limits=LimitsConfig(max_queued_work=4000))
    with serve({"panel": panel}, small) as daemon, IndexClient(daemon.address) as client:
        assert client.search(client.open_index(**opening), block, 5).ids.shape[1] == len(block.samples)


def test_search__a_restarted_daemon_is_told_again_what_this_client_opened(
    panel: Panel, opening, block: QueryBlock
) -> None:
    with serve({"panel": panel}) as first:
        address = first.address
        client = IndexClient(address, timeout_seconds=60)
        opened = client.open_index(**opening)
        before = client.search(opened, block, 5)
        instance = client.info().instance
    with serve({"panel": panel}, ServeConfig(listen=address)):
        after = client.search(opened, block, 5)
        assert client.info().instance != instance
        stranger = IndexClient(address, timeout_seconds=60)
        client.close_index(opened)
        with pytest.raises(UnknownIndexError):
            stranger.search(opened, block, 5)
        with pytest.raises(UnknownIndexError):
            client.search(opened, block, 5)
        stranger.close()
        client.close()
    np.testing.assert_array_equal(before.ids, after.ids)


def test_search__a_restart_with_another_panel_is_refused(panel: Panel, opening, block: QueryBlock) -> None:
    with serve({"panel": panel}) as first:
        address = first.address
        client = IndexClient(address, timeout_seconds=60)
        opened = client.open_index(**opening)
    other = panel.select_samples(panel.samples[::-1])
    with serve({"panel": other}, ServeConfig(listen=address)), pytest.raises(errors.PanelMismatchError):
        client.search(opened, block, 5)
    client.close()


def test_search__an_index_that_had_to_go_is_opened_again(panel: Panel, opening, block: QueryBlock) -> None:
    few = ServeConfig(listen=ANY_PORT, limits=LimitsConfig(max_open_indexes=1))
    other_layout = layout_for(opening["observed"], (16,))
    other = {
        **opening,
        "layout": other_layout,
        "identity": dataclasses.replace(opening["identity"], layout=layout_digest(other_layout)),
    }
    with serve({"panel": panel}, few) as daemon, IndexClient(daemon.address) as client:
        first, second = client.open_index(**opening), client.open_index(**other)
        before = client.search(second, block, 5)
        client.search(first, block, 5)
        np.testing.assert_array_equal(client.search(second, block, 5).ids, before.ids)
        assert len(client.list_indexes()) == 1


def test_search__another_mask_than_the_index_is_refused(panel: Panel, opening, block: QueryBlock) -> None:
    with serve({"panel": panel}) as daemon, IndexClient(daemon.address) as client:
        opened = client.open_index(**opening)
        with pytest.raises(MaskMismatchError):
            client.search(opened, dataclasses.replace(block, observed=~block.observed), 5)


def test_open__arrays_that_are_not_the_identitys_are_refused(panel: Panel, opening) -> None:
    with serve({"panel": panel}) as daemon, IndexClient(daemon.address) as client, pytest.raises(LayoutMismatchError):
        client.open_index(**{**opening, "layout": layout_for(opening["observed"], (16,))})


def test_open__masks_and_metrics_are_sent_once(panel: Panel, opening, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[bool, bool]] = []
    with serve({"panel": panel}) as daemon, IndexClient(daemon.address) as client:
        registry = daemon.service.registry
        open_index = registry.open

        def spy(request):
            sent.append((request.observed is not None, request.weights is not None))
            return open_index(request)

        monkeypatch.setattr(registry, "open", spy)
        opened = client.open_index(**opening)
        client.close_index(opened)
        assert client.open_index(**opening).handle == opened.handle
    assert sent == [(False, False), (True, False), (True, True), (False, False)]


def test_reply__of_another_index_or_size_is_refused(
    panel: Panel, opening, block: QueryBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve({"panel": panel}) as daemon, IndexClient(daemon.address) as client:
        opened = client.open_index(**opening)
        caller = client._caller
        call = caller.call

        def tamper(change: Callable[[pb.SearchReply], object]) -> None:
            def tampered(method: str, *args: Any, **kwargs: Any) -> Any:
                reply = call(method, *args, **kwargs)
                if method == "Search":
                    change(reply)
                return reply

            monkeypatch.setattr(caller, "call", tampered)

        tamper(lambda reply: setattr(reply.identity, "mask", "0" * 32))
        with pytest.raises(MaskMismatchError):
            client.search(opened, block, 5)
        tamper(lambda reply: setattr(reply, "ids", reply.ids[:-4]))
        with pytest.raises(ShapeError):
            client.search(opened, block, 5)


def test_client__works_in_a_spawned_process_and_reopens_there(panel: Panel, opening, block: QueryBlock) -> None:
    spawn = multiprocessing.get_context("spawn")
    with (
        serve({"panel": panel}) as daemon,
        IndexClient(daemon.address) as client,
        ProcessPoolExecutor(1, mp_context=spawn) as pool,
    ):
        opened = client.open_index(**opening)
        expected = client.search(opened, block, 5).ids
        daemon.service.registry.close(opened.handle)
        np.testing.assert_array_equal(pool.submit(client.search, opened, block, 5).result(60).ids, expected)


FORKING = """
import multiprocessing, sys
from vcfrag_train.client.client import IndexClient

def engine(client):
    return client.info().engine

client = IndexClient(sys.argv[1], timeout_seconds=60)
here = client.info().engine
with multiprocessing.get_context("fork").Pool(2) as pool:
    there = pool.map(engine, [client] * 4)
print(here, *there, client.info().engine)
"""


def test_client__works_in_forked_workers_beside_their_parent(panel: Panel) -> None:
    with serve({"panel": panel}) as daemon:
        run = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", FORKING, daemon.address],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert run.stdout.split() == ["bitscan"] * 6, run.stderr


def test_client__a_forked_process_makes_a_channel_of_its_own(panel: Panel, opening, block: QueryBlock) -> None:
    with IndexClient("127.0.0.1:1") as client:
        caller = client._caller
        caller._stub("Info")
        mine = caller._channel
        caller._pid -= 1
        caller._stub("Info")
        assert caller._channel is not mine
        mine.close()


def test_client__threads_that_fail_together_go_on_to_the_next_address_once(panel: Panel) -> None:
    with serve({"panel": panel}) as daemon, IndexClient(["127.0.0.1:1", daemon.address, "127.0.0.1:1"]) as client:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: client.info().panels, range(16)))
        assert found == [{"panel": panel.digest}] * 16
        assert client._caller._address == daemon.address


def test_client__closed_makes_no_channel_again(panel: Panel) -> None:
    with serve({"panel": panel}) as daemon:
        client = IndexClient(daemon.address)
        client.info()
        client.close()
        with pytest.raises(UnavailableError, match="closed"):
            client._caller._stub("Info")
        assert client._caller._channel is None


def test_client__threads_share_it(panel: Panel, opening, block: QueryBlock) -> None:
    with serve({"panel": panel}) as daemon, IndexClient(daemon.address) as client:
        opened = client.open_index(**opening)
        expected = client.search(opened, block, 5).ids
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(lambda _: client.search(opened, block, 5).ids, range(12)):
                np.testing.assert_array_equal(found, expected)


def test_deadline__a_search_that_waits_too_long_fails_typed_and_leaves_the_queue(
    panel: Panel, opening, block: QueryBlock
) -> None:
    from vcfrag_indexd.service.call import ITSELF

    with serve({"panel": panel}) as daemon, IndexClient(daemon.address) as patient:
        opened = patient.open_index(**opening)
        hasty = IndexClient(daemon.address, timeout_seconds=0.3)
        hasty.info()
        go_on = threading.Event()
        daemon.rpc.searching.put(ITSELF, lambda seconds: go_on.wait(60))
        with pytest.raises(DeadlineError):
            hasty.search(opened, block, 5)
        limit = time.monotonic() + 30
        while daemon.service.admission.load.calls:
            assert time.monotonic() < limit
            time.sleep(0.01)
        go_on.set()
        hasty.close()
        assert patient.search(opened, block, 5).ids.size


def test_embedded__serves_panels_in_memory(panel: Panel, opening, block: QueryBlock) -> None:
    with embedded_daemon({"panel": panel}, threads=1) as address, IndexClient(address) as client:
        assert client.info().panels == {"panel": panel.digest}
        opened = client.open_index(**opening)
        assert client.prepare(opened, 0, panel.n_sites) > 0
        assert client.search(opened, block, 5).ids.shape[1:] == (len(block.samples), 5)


def test_embedded__without_the_daemon_installed_names_the_pip_line(monkeypatch: pytest.MonkeyPatch, panel) -> None:
    monkeypatch.setitem(sys.modules, "vcfrag_indexd.serving.server", None)
    with pytest.raises(ConfigError, match="pip install"), embedded_daemon({"panel": panel}):
        pass
