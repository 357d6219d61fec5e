"""Chunks as futures of a Dask cluster: workers may die, join or pause; only manifests' paths and numbers travel."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcfrag_core.errors import ConfigError, ProgramError, UnavailableError
from vcfrag_train import extras
from vcfrag_train.jobs.genome import Runner, start_silent_tracker
from vcfrag_train.jobs.worker import Worker
from vcfrag_train.reporter import Reporter

if TYPE_CHECKING:
    from distributed import Client

LOCAL: Final = "local"
# Times that a chunk is given to another worker because one died with it.
_TRIES: Final = 5
_WAIT_SECONDS: Final = 600.0


# By default a worker looks at itself every 10 ms and the scheduler every 20, which together takes 8 % of a core.
_QUIET: Final = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.scheduler.work-stealing-interval": "1s",
}


def require(where: str) -> None:
    """Refuses before any work what needs Dask where it is not installed, or a scheduler that does not answer.

    Args:
        where: As `cluster_runner` takes it.

    Raises:
        ConfigError: Dask is not installed, or this is no address.
        UnavailableError: Nobody answers there.
    """
    extras.require("distributed")
    if where != LOCAL:
        with _client(where, jobs=1):
            pass


def cluster_runner(where: str, *, jobs: int, threads: int, reporter: Reporter) -> Runner:
    """Runs chunks on a cluster, one at a time in each worker.

    Args:
        where: `local`, for as many worker processes here as there are jobs, or the scheduler's address.
        jobs: Worker processes of a local cluster.
        threads: Threads of a chunk.
        reporter: Is told how it goes.
    """

    def run(path: Path, numbers: Sequence[int], tell: Callable[[int], None]) -> None:
        with _client(where, jobs) as client:
            _wait_for_workers(client, where)
            reporter.say(f"imputing on {len(client.scheduler_info(n_workers=-1)['workers'])} workers of {where}")
            _run_all(client, path.absolute(), numbers, threads, tell, reporter)

    return run


@contextlib.contextmanager
def _client(where: str, jobs: int) -> Iterator[Client]:
    import dask
    from distributed import Client, LocalCluster

    with contextlib.ExitStack() as stack:
        address = where
        if where == LOCAL:
            stack.enter_context(dask.config.set(_QUIET))
            start_silent_tracker()
            cluster = LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                processes=True,
                dashboard_address=":0",
                host="127.0.0.1",
                # What fails is told by the chunk; a worker that the end of a run meets at its heartbeat is no fault.
                silence_logs=logging.CRITICAL,
            )
            address = stack.enter_context(cluster).scheduler_address
        try:
            client = Client(address, set_as_default=False)
        except ValueError as error:
            raise ConfigError(f"--cluster {where}: neither local nor HOST:PORT of a scheduler ({error})") from error
        except (OSError, TimeoutError) as error:
            raise UnavailableError(f"--cluster {where}: no scheduler answers there ({error})") from error
        stack.enter_context(client)
        with client.as_current():
            try:
                yield client
            except KeyboardInterrupt:
                # Workers are ended while they are at work, of which Dask would tell as of faults.
                logging.getLogger("distributed").setLevel(logging.CRITICAL)
                raise


def _wait_for_workers(client: Client, where: str) -> None:
    try:
        client.wait_for_workers(1, timeout=_WAIT_SECONDS)
    except TimeoutError as error:
        raise UnavailableError(f"--cluster {where}: no worker joined within {_WAIT_SECONDS:.0f} s") from error


def _run_all(
    client: Client,
    path: Path,
    numbers: Sequence[int],
    threads: int,
    tell: Callable[[int], None],
    reporter: Reporter,
) -> None:
    from distributed import KilledWorker, as_completed

    def submit(number: int) -> object:
        # Impure: what a chunk leaves is a file, which only the worker knows to be there.
        return client.submit(run_on_worker, str(path), number, threads, pure=False, retries=2)

    waiting = {submit(number): number for number in numbers}
    tries = dict.fromkeys(numbers, 1)
    finished = as_completed(list(waiting))
    for future in finished:
        number = waiting.pop(future)
        error = future.exception()
        if error is None:
            tell(number)
        elif isinstance(error, KilledWorker) and tries[number] < _TRIES:
            tries[number] += 1
            reporter.say(f"chunk {number}: its workers died; trying again")
            again = submit(number)
            waiting[again] = number
            finished.add(again)
        elif isinstance(error, KilledWorker):
            raise ProgramError(f"chunk {number} was not imputed in {_TRIES} tries: its workers died") from error
        else:
            raise error


_workers: dict[tuple[str, int], Worker] = {}


def run_on_worker(path: str, number: int, threads: int) -> int:
    """Runs a chunk in a worker's process, which keeps the last stretch open."""
    key = (path, threads)
    if key not in _workers:
        _workers.clear()
        _workers[key] = Worker(Path(path), threads)
    _workers[key].run(number)
    return number
