"""A process for a worker that runs nothing of the script that asked for it.

`multiprocessing` would run the user's main module again in every child: a script without a `__main__` guard that starts
a daemon would start another in each of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection

from vcfrag_core.search.engine import Engine


class Child:
    """A process at the other end of a pipe.

    Args:
        connection: Its end of the pipe; still to be closed here.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Begins; what the engine is made by comes through the pipe first."""
        number = self._connection.fileno()
        # As it is here: a package may be on the path for this process alone.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(number)],
            stdin=subprocess.DEVNULL,
            pass_fds=(number,),
            env={**os.environ, "PYTHONPATH": path},
        )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def join(self, seconds: float) -> None:
        """Waits for its end, so long at most."""
        if self._process is not None:
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                return


def main() -> None:
    """The child's side: makes the engine that it is told to and serves."""
    from vcfrag_indexd.engines.worker_process import run

    connection = Connection(int(sys.argv[1]))
    make_engine: Callable[[], Engine] = connection.recv()
    run(connection, make_engine)


if __name__ == "__main__":
    main()
