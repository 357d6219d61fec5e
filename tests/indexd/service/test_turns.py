"""Fair turns: between machines, between connections, and in a lane's threads."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_indexd.service import lane as lane_module
from vcfrag_indexd.service.call import Call, Client
from vcfrag_indexd.service.lane import Lane
from vcfrag_indexd.service.turns import FairQueue

A1, A2, B = Client("a", "a:1"), Client("a", "a:2"), Client("b", "b:1")


def test_queue__machines_take_turns_and_so_do_their_connections() -> None:
    queue: FairQueue[str] = FairQueue()
    for client, name in ((A1, "a1"), (A1, "a1'"), (A1, 'a1"'), (A2, "a2"), (B, "b"), (B, "b'")):
        queue.push(client, name)
    assert [queue.pop() for _ in range(len(queue))] == ["a1", "b", "a2", "b'", "a1'", 'a1"']
    with pytest.raises(IndexError):
        queue.pop()


def test_queue__newcomers_may_come_first() -> None:
    queue: FairQueue[str] = FairQueue(newcomers_first=True)
    for client, name in ((A1, "a1"), (A1, "a1'"), (A2, "a2"), (A2, "a2'"), (B, "b")):
        queue.push(client, name)
    assert [queue.pop(), queue.pop()] == ["b", "a2"]
    queue.push(Client("a", "a:3"), "a3")
    assert [queue.pop() for _ in range(len(queue))] == ["a3", "a1", "a2'", "a1'"]


CLIENTS = st.sampled_from([A1, A2, B])


@given(st.lists(st.tuples(CLIENTS, st.sampled_from(["push", "pop", "discard"])), max_size=80))
def test_queue__loses_and_invents_nothing_and_keeps_each_connections_order(steps) -> None:
    queue: FairQueue[tuple[Client, int]] = FairQueue()
    model: dict[Client, list[int]] = {A1: [], A2: [], B: []}
    for i, (client, action) in enumerate(steps):
        if action == "push":
            queue.push(client, (client, i))
            model[client].append(i)
        elif action == "pop" and len(queue):
            whose, number = queue.pop()
            assert number == model[whose].pop(0)
        elif action == "discard" and model[client]:
            number = model[client].pop()
            assert queue.discard(client, (client, number))
            assert not queue.discard(client, (client, number))
        assert sorted(queue, key=str) == sorted(((c, n) for c, ns in model.items() for n in ns), key=str)
        assert len(queue) == sum(map(len, model.values()))


def test_give_way__the_heaviest_machine_or_else_connection_loses_its_youngest() -> None:
    queue: FairQueue[str] = FairQueue()
    for client, name in ((A1, "a1"), (A1, "a1'"), (A2, "a2"), (B, "b")):
        queue.push(client, name)
    assert queue.give_way(B) == "a1'"
    assert queue.give_way(Client("a", "a:3")) == "a1"
    assert queue.give_way(A2) is None
    assert queue.give_way(B) is None
    assert queue.give_way(Client("c", "c:1")) in ("a2", "b")


def test_lane__a_client_waits_for_one_of_anothers_jobs_and_not_for_all() -> None:
    lane, order, go_on, entered = Lane("test"), [], threading.Event(), threading.Event()

    def held(seconds: float) -> None:
        entered.set()
        go_on.wait(60)

    lane.start()
    lane.put(A1, held)
    assert entered.wait(60)
    for i in range(8):
        lane.put(A1, lambda seconds, i=i: order.append(f"big {i}"))
    done = threading.Event()
    lane.put(B, lambda seconds: (order.append("small"), done.set()))
    go_on.set()
    assert done.wait(60)
    lane.close()
    assert order.index("small") <= 1


def test_lane__only_those_next_in_turn_are_taken_along() -> None:
    lane = Lane("test")
    for client, subject in ((A1, "x"), (A1, "x"), (A1, "x"), (B, "x"), (B, "y")):
        lane.put(client, lambda seconds: None, subject=subject)
    taken = lane.take_along(lambda job: job.subject == "x")
    # The other client's second is its next turn, and nobody overtakes it.
    assert [job.client for job in taken] == [A1, B, A1]
    assert lane.take_along(lambda job: job.subject == "x") == []
    assert [job.subject for job in lane.take_along(lambda job: True)] == ["y", "x"]
    assert lane.take_along(lambda job: True) == []


def test_lane__one_that_is_stuck_is_told_from_one_that_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    lane, call, go_on, entered = Lane("test"), Call(), threading.Event(), threading.Event()
    lane.start()
    lane.put(A1, lambda seconds: (entered.set(), go_on.wait(60)), call)
    assert entered.wait(60)
    assert lane.alive()
    monkeypatch.setattr(lane_module, "STUCK_SECONDS", -1.0)
    assert not lane.alive()
    call.progressed = float("inf")
    assert lane.alive()
    go_on.set()
    lane.close()


def test_lane__a_job_that_fails_ends_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    lane, done = Lane("test"), threading.Event()

    def fails(seconds: float) -> None:
        raise MemoryError("no room")

    lane.start()
    lane.put(A1, fails)
    lane.put(A1, lambda seconds: done.set())
    assert done.wait(60)
    assert lane.alive()
    assert "a thread failed and begins again" in caplog.text
    assert "no room" in caplog.text
    lane.close()
