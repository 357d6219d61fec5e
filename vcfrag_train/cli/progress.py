"""How an imputation run is shown: lines on stderr, and on a terminal a bar."""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Iterator

import typer

from vcfrag_core import kernel_cache
from vcfrag_core.memory import collect_seldom
from vcfrag_core.panel.genetic_map import GeneticMapWarning
from vcfrag_train.kernels.notice import telling
from vcfrag_train.reporter import Reporter


class _Lines(Reporter):
    """What the user should know, a line each."""

    say = staticmethod(functools.partial(typer.echo, err=True))


@contextlib.contextmanager
def showing(what: str = "sites", *, compiles: bool = True) -> Iterator[Reporter]:
    """A reporter that writes to stderr; without a terminal only what the user should know, and no bar.

    Args:
        what: What the bar counts.
        compiles: Whether kernels may have to be compiled; where none are used, what compiles them is not imported.
    """
    with _shown(what) as shown, warnings.catch_warnings():
        warnings.simplefilter("always", GeneticMapWarning)
        warnings.showwarning = lambda message, *_, **__: shown.say(f"warning: {message}")
        note = kernel_cache.note() if compiles else None
        if note:
            shown.say(f"note: {note}")
        with telling(shown.say) if note is None and compiles else contextlib.nullcontext():
            collect_seldom()
            yield shown


def _shown(what: str) -> contextlib.AbstractContextManager[Reporter]:
    # There is none where it is closed.
    if sys.stderr is None or not sys.stderr.isatty():
        return contextlib.nullcontext(_Lines())
    # Takes a tenth of a second, and each of a thousand jobs of a cluster has no terminal.
    from vcfrag_train.cli.bar import drawn

    return drawn(what)
