"""What is admitted: counted from message to reply, refused at once when it is too much, shared fairly."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import DeadlineError, DrainingError, OutOfBudgetError, OverloadedError, UnavailableError
from vcfrag_indexd.service.admission import Admission, Load
from vcfrag_indexd.service.call import Call, Client

HERE, THERE = Client("here", "here:1"), Client("there", "there:1")


def make(work: int = 100, n_bytes: int = 100, calls: int = 8) -> Admission:
    return Admission(max_work=work, max_bytes=n_bytes, max_calls=calls)


def test_admit__counts_until_it_is_closed() -> None:
    admission = make()
    ticket = admission.admit(Call(), HERE, n_bytes=7)
    admission.change(ticket, work=5, n_bytes=9)
    assert admission.load == Load(1, 5, 9)
    admission.change(ticket, n_bytes=2)
    assert admission.load == Load(1, 5, 2)
    admission.close(ticket)
    admission.close(ticket)
    admission.change(ticket, n_bytes=50)
    assert admission.load == Load(0, 0, 0)


@pytest.mark.parametrize(("work", "n_bytes", "calls"), [(95, 1, 8), (1, 95, 8), (1, 1, 1)])
def test_admit__more_than_the_queue_holds_is_refused_at_once(work: int, n_bytes: int, calls: int) -> None:
    admission = make(calls=calls)
    first = admission.admit(Call(), HERE, n_bytes=n_bytes)
    admission.change(first, work=work)
    with pytest.raises(OverloadedError):
        admission.change(admission.admit(Call(), HERE, n_bytes=10), work=10)
    assert 0 < admission.retry_after_seconds() <= 5.0
    admission.close(first)


def test_admit__a_call_that_alone_exceeds_the_queue_is_told_that_retrying_is_vain() -> None:
    admission = make()
    with pytest.raises(OutOfBudgetError):
        admission.admit(Call(), HERE, n_bytes=101)
    ticket = admission.admit(Call(), HERE, n_bytes=1)
    with pytest.raises(OutOfBudgetError):
        admission.change(ticket, work=101)
    assert admission.load == Load(1, 0, 1)


def test_admit__what_does_not_count_is_admitted_however_full_it_is() -> None:
    admission = make(calls=1)
    admission.admit(Call(), HERE, n_bytes=1)
    question = admission.admit(Call(), HERE, n_bytes=1, counts=False)
    admission.change(question, n_bytes=99)
    assert admission.load == Load(1, 0, 1)
    admission.drain()
    assert not admission.wait_idle(0.0)


@pytest.mark.parametrize("newcomer", [THERE, Client("here", "here:2")])
def test_admit__the_youngest_waiting_call_of_a_heavier_client_gives_way(newcomer: Client) -> None:
    admission, left = make(calls=4), []

    def leave(name: str) -> bool:
        left.append(name)
        return name != "runs"

    for name in ("waits", "waits longest", "runs"):
        admission.admit(Call(), HERE, n_bytes=1, evict=lambda name=name: leave(name))
    admission.admit(Call(), HERE, n_bytes=1, evict=lambda: leave("runs"))
    admission.admit(Call(), newcomer, n_bytes=1)
    assert left == ["runs", "runs", "waits longest"]
    assert admission.load.calls == 4
    with pytest.raises(OverloadedError):
        admission.admit(Call(), HERE, n_bytes=1)


def test_admit__nobody_gives_way_to_a_client_that_has_as_much() -> None:
    admission = make(calls=2)
    for client in (HERE, THERE):
        admission.admit(Call(), client, n_bytes=1, evict=lambda: pytest.fail("was asked to leave"))
    with pytest.raises(OverloadedError):
        admission.admit(Call(), HERE, n_bytes=1)
    with pytest.raises(OverloadedError):
        admission.admit(Call(), THERE, n_bytes=1)


@given(
    st.lists(
        st.tuples(st.sampled_from(["admit", "change", "close"]), st.integers(0, 5), st.integers(0, 120)), max_size=60
    )
)
def test_admission__the_load_is_the_sum_and_never_above_the_limits(steps: list[tuple[str, int, int]]) -> None:
    admission, tickets = make(calls=4), {}
    for action, i, amount in steps:
        try:
            if action == "admit" and i not in tickets:
                tickets[i] = admission.admit(Call(), Client(f"host{i % 2}", f"host{i % 2}:{i}"), n_bytes=amount)
            elif action == "change" and i in tickets:
                admission.change(tickets[i], work=amount)
            elif action == "close" and i in tickets:
                admission.close(tickets.pop(i))
        except (OverloadedError, OutOfBudgetError):
            pass
        assert admission.load == sum((ticket.load for ticket in tickets.values()), Load())
        assert admission.load.calls <= 4
        assert max(admission.load.work, admission.load.n_bytes) <= 100


def test_drain__refuses_new_calls_and_waits_for_old_ones() -> None:
    admission = make()
    ticket = admission.admit(Call(), HERE, n_bytes=1)
    admission.drain()
    with pytest.raises(DrainingError):
        admission.admit(Call(), HERE, n_bytes=1)
    assert not admission.wait_idle(0.01)
    admission.close(ticket)
    assert admission.wait_idle(0.01)


def test_call__a_checkpoint_ends_what_nobody_waits_for() -> None:
    with pytest.raises(DeadlineError):
        Call(deadline=time.monotonic() - 1).checkpoint()
    call = Call(deadline=time.monotonic() + 1000)
    call.checkpoint()
    call.cancel()
    with pytest.raises(UnavailableError):
        call.checkpoint()
