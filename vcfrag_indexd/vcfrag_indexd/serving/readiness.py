"""Keeps health true: panels read, engine alive, canary answered, threads alive."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from vcfrag_core.errors import OutOfBudgetError, UnavailableError, VcfragError
from vcfrag_indexd.logs import get_log
from vcfrag_indexd.service.call import ITSELF, Call
from vcfrag_indexd.service.lane import Lane
from vcfrag_indexd.service.service import IndexService
from vcfrag_indexd.serving.canary import CANARY_SECONDS, Canary
from vcfrag_indexd.serving.health import LIVE, Health
from vcfrag_indexd.serving.rpc import SERVICE_NAME

WATCH_SECONDS = 0.5
# Until it is ready, somebody waits for it.
HASTY_SECONDS = 0.01
CANARY_EVERY_SECONDS = 30.0
log = get_log()


class Readiness:
    """Looks again and again, and tells `health`.

    Args:
        service: Its panels and engine are looked at.
        lane: Where the canary takes its turn with everybody else's searches.
        health: Told what is found.
        alive: Whether the daemon's threads live.
    """

    def __init__(self, service: IndexService, lane: Lane, health: Health, alive: Callable[[], bool]) -> None:
        self._service = service
        self._lane = lane
        self._health = health
        self._alive = alive
        self._canary = Canary()
        self._canary_passed = False
        self._next_canary = 0.0
        self._restarts = 0
        self._said = ""
        self._stopping = threading.Event()
        self.ready = threading.Event()

    def stop(self) -> None:
        """Ends `watch`."""
        self._stopping.set()

    def watch(self) -> None:
        """Until `stop`; may be begun again after it failed."""
        while not self._stopping.is_set():
            self._look()
            self._stopping.wait(WATCH_SECONDS if self.ready.is_set() else HASTY_SECONDS)

    def _look(self) -> None:
        engine = self._service.engine
        alive, restarts = engine.available(), engine.usage().restarts
        # A worker that went and came between two looks is news, too: Watch shall see every change.
        self._canary_passed = self._canary_passed and alive and restarts == self._restarts
        self._restarts = restarts
        self._tell()
        due = time.monotonic() >= self._next_canary and self._service.admission.load.calls == 0
        if alive and (due or not self._canary_passed):
            self._canary_passed = self._try_canary()
            self._next_canary = time.monotonic() + CANARY_EVERY_SECONDS
        self._tell()

    def _tell(self) -> None:
        self._health.set(LIVE, self._alive())
        panels = self._service.registry.panels()
        for name, held in panels.items():
            self._health.set(f"panel/{name}", held is not None)
        serving = self._canary_passed and all(held is not None for held in panels.values())
        was = self._health.serving()
        self._health.set(SERVICE_NAME, serving)
        self._health.set("", serving)
        if self._health.serving() != was:
            log.info("serving" if serving else "not serving", engine=self._service.engine.name)
        if serving:
            self.ready.set()

    def _try_canary(self) -> bool:
        """Whether the engine answers rightly; as before where it is busy with something else for long."""
        if not self.ready.is_set():
            self._say_once("first search: kernels are compiled now unless they are cached, which may take a while")
        call = Call(deadline=time.monotonic() + CANARY_SECONDS, request_id="canary")
        done, found = threading.Event(), [self._canary_passed]

        def run(queue_seconds: float) -> None:
            try:
                found[0] = self._ask(call)
            finally:
                done.set()

        job = self._lane.put(ITSELF, run)
        while not done.wait(HASTY_SECONDS):
            if self._stopping.is_set() or (time.monotonic() > call.deadline and self._lane.discard(job)):  # type: ignore[operator]
                break
        return found[0]

    def _ask(self, call: Call) -> bool:
        try:
            passed = self._canary.passes(self._service.engine, call)
        except OutOfBudgetError as error:
            self._say_once("the memory budget is too small for any search", why=str(error))
            return False
        except UnavailableError:
            return False
        except VcfragError as error:
            self._say_once("the canary search failed", reason=error.reason, why=str(error))
            return False
        if not passed:
            self._say_once("the engine answers wrongly: the canary search gave another answer than the oracle")
        return passed

    def _say_once(self, event: str, **values: str) -> None:
        if self._said != event:
            self._said = event
            log.warning(event, **values) if values or "wrongly" in event else log.info(event)
