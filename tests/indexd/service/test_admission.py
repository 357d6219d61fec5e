"""The queue: one call computes, others wait in order, too much is refused at once, the dead leave."""

from __future__ import annotations

import threading
import time

import pytest

from vcfrag_core.errors import DeadlineError, DrainingError, OutOfBudgetError, OverloadedError, UnavailableError
from vcfrag_indexd.service.admission import Admission, Call


def make(work: int = 100, n_bytes: int = 100, calls: int = 8) -> Admission:
    return Admission(max_work=work, max_bytes=n_bytes, max_calls=calls)


class Waiting(threading.Thread):
    """A call that waits for its turn in a thread of its own."""

    def __init__(self, admission: Admission, call: Call, *, work: int = 10, log: list[str] | None = None) -> None:
        super().__init__(daemon=True)
        self._admission, self._call, self._work, self._log = admission, call, work, log if log is not None else []
        self.error: Exception | None = None
        before = admission.load.calls
        self.start()
        while admission.load.calls == before and self.is_alive():
            time.sleep(0.001)

    def run(self) -> None:
        try:
            with self._admission.enter(self._call, work=self._work, n_bytes=1):
                self._log.append(self._call.request_id)
        except (DeadlineError, UnavailableError) as error:
            self.error = error


def test_enter__calls_compute_one_after_another_in_their_order() -> None:
    admission, log = make(), []
    with admission.enter(Call(), work=10, n_bytes=1):
        waiting = [Waiting(admission, Call(request_id=str(i)), log=log) for i in range(4)]
        assert log == []
        assert admission.load.calls == 5
    for thread in waiting:
        thread.join(10)
    assert log == ["0", "1", "2", "3"]
    assert (admission.load.calls, admission.load.work, admission.load.n_bytes) == (0, 0, 0)


@pytest.mark.parametrize(("work", "n_bytes", "calls"), [(95, 1, 8), (1, 95, 8), (1, 1, 1)])
def test_enter__more_than_the_queue_holds_is_refused_at_once(work: int, n_bytes: int, calls: int) -> None:
    admission = make(calls=calls)
    with admission.enter(Call(), work=work, n_bytes=n_bytes):
        with pytest.raises(OverloadedError), admission.enter(Call(), work=10, n_bytes=10):
            pass
        assert 0 < admission.retry_after_seconds() <= 5.0
    with admission.enter(Call(), work=10, n_bytes=10):
        assert admission.load.calls == 1


def test_enter__a_call_that_alone_exceeds_the_queue_is_told_that_retrying_is_vain() -> None:
    with pytest.raises(OutOfBudgetError), make().enter(Call(), work=101, n_bytes=1):
        pass
    with pytest.raises(OutOfBudgetError), make().enter(Call(), work=1, n_bytes=101):
        pass


def test_enter__a_deadline_ends_the_wait() -> None:
    admission = make()
    with admission.enter(Call(), work=1, n_bytes=1):
        late = Waiting(admission, Call(deadline=time.monotonic() + 0.05))
        late.join(10)
        assert isinstance(late.error, DeadlineError)
        assert admission.load.calls == 1


def test_enter__a_cancelled_call_leaves_the_queue() -> None:
    admission, call = make(), Call()
    with admission.enter(Call(), work=1, n_bytes=1):
        gone = Waiting(admission, call)
        call.cancel()
        admission.wake()
        gone.join(10)
        assert isinstance(gone.error, UnavailableError)
        assert admission.load.calls == 1


def test_drain__refuses_new_calls_and_waits_for_old_ones() -> None:
    admission = make()
    with admission.enter(Call(), work=1, n_bytes=1):
        admission.drain()
        with pytest.raises(DrainingError), admission.enter(Call(), work=1, n_bytes=1):
            pass
        assert not admission.wait_idle(0.01)
    assert admission.wait_idle(0.01)
