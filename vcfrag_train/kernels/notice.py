"""Says that kernels are being compiled, told by numba itself: silence of a minute or two looks like a hang."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from vcfrag_train.reporter import COMPILING

# How the lines begin in which `vcfrag compile` says where it is.
STEP = "kernels for "


@contextlib.contextmanager
def telling(say: Callable[[str], None]) -> Iterator[None]:
    """Says so once, when numba first sets about compiling one of ours within the block; what is kept is only loaded.

    Args:
        say: Takes the line, in whatever thread compiles.
    """
    from numba.core import event

    class Listener(event.Listener):
        told = False

        def on_start(self, event: event.Event) -> None:
            function = getattr(event.data["dispatcher"], "py_func", None)
            if getattr(function, "__module__", "").startswith("vcfrag_core.") and not self.told:
                self.told = True
                say(COMPILING)

        def on_end(self, event: event.Event) -> None:
            """Nothing is said of it."""

    listener = Listener()
    event.register("numba:compile", listener)
    try:
        yield
    finally:
        event.unregister("numba:compile", listener)
