"""The command line `vcfrag`, also called `vcfrag-train`; `vcfrag_train.cli.commands` has a module for each command.

Only the module of the command that was asked for is imported, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, NoReturn

import typer

from vcfrag_core.errors import VcfragError
from vcfrag_core.memory import collect_seldom, share_one_heap, start_without_collecting
from vcfrag_train import extras
from vcfrag_train.cli.ending import ended_by_signals
from vcfrag_train.cli.outputs import guarded
from vcfrag_train.ended import status_of

COMMANDS = {
    "compile": "Compile what jobs need, once for an installation.",
    "panel": "Prepare a reference panel once for all jobs, or look at one.",
    "fit": "Train a model against an index daemon.",
    "impute": "Impute the untyped sites of target samples into a VCF, BCF, BGEN or PGEN file.",
    "phase": "Phase target samples against a panel, with the probability of each heterozygote's phase.",
    "plan": "Plan the imputation of a genome or a cohort in chunks.",
    "run-chunk": "Impute chunks of a plan, anywhere.",
    "merge": "Join the chunks of a plan.",
    "report": "Report on the chunks of a plan, without any truth.",
    "evaluate": "Score an imputed VCF against the truth, by allele frequency.",
    "compare": "Score vcfrag beside Beagle and Minimac4 on the same files.",
    "inspect": "Say what a training run was made from, and whether it can be trusted.",
    "export": "Export a trained model for sharing.",
    "calibrate": "Fit the copying parameters to a panel by leave-one-out.",
    "demo": "Generate a panel, train, impute and evaluate: the whole road in minutes.",
}

# They call `collect_seldom` when they have imported what they need, by `showing` or themselves.
_SAY_WHEN_STARTED = ("impute", "phase", "plan", "run-chunk", "merge")
PROGRAM = "vcfrag"
EXIT_FAILED = 2
EXIT_FAULT = 70
_LONGEST_WORDS = 500
# How pathlib says it.
_LOOP = "Symlink loop from"
_SYSTEM_ADVICE = {
    errno.ENOSPC: "; make room, nothing that was whole before is changed",
    errno.EDQUOT: "; make room, nothing that was whole before is changed",
    errno.EROFS: "; name outputs on a disk that can be written",
    errno.EACCES: "; look at who may read or write it",
    errno.EMFILE: "; allow more open files: `ulimit -n`",
}


def build_app(chosen: str | None = None) -> typer.Typer:
    """The application, with the code of the command `chosen` loaded and the names and summaries of the others."""
    app = typer.Typer(name=PROGRAM, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
    app.callback()(_options)
    for name, summary in COMMANDS.items():
        loaded = _load(name) if name == chosen else _placeholder
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=name, short_help=summary)
        else:
            app.command(name, short_help=summary)(loaded)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 2 refused with one line on stderr, 130 or 143 interrupted.

    A fault of the program ends with 70; `--debug`, wherever it stands, shows the traceback of any failure.
    """
    # What gRPC and htslib say themselves would break the one line of a refusal, and the bar of a run.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("CYVCF2_HTSLIB_LOG_LEVEL", "0")
    given = list(sys.argv[1:] if arguments is None else arguments)
    words = [word for word in given if word != "--debug"]
    chosen = next((word for word in words if not word.startswith("-")), None)
    with _process_of_its_own(chosen) if arguments is None else contextlib.nullcontext():
        try:
            _run(chosen, words)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the user gets one line
            if len(words) < len(given):
                traceback.print_exc()
            _leave_with(error)


@contextlib.contextmanager
def _process_of_its_own(chosen: str | None) -> Iterator[None]:
    """Spares a process work that no command needs (docs/performance.md, Imputing); warnings take one line."""
    warnings.showwarning = lambda message, *_, **__: typer.echo(f"warning: {message}", err=True)
    # NumPy's products here are small, and its idle threads spin on cores that --threads did not ask for.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    share_one_heap()
    (start_without_collecting if chosen in _SAY_WHEN_STARTED else collect_seldom)()
    try:
        with ended_by_signals():
            yield
    finally:
        # The interpreter would look for garbage once more, in hundreds of thousands of objects, before it frees all.
        gc.freeze()


def _run(chosen: str | None, words: Sequence[str]) -> None:
    try:
        build_app(chosen)(words, prog_name=PROGRAM)
    except KeyboardInterrupt as stopped:
        raise SystemExit(status_of(stopped)) from None


def _leave_with(error: Exception) -> NoReturn:
    """Ends with the one line that says what failed."""
    if isinstance(error, VcfragError):
        _leave(error.reason, str(error))
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package in extras.PIP_LINES:
            refusal = extras.missing(package)
            _leave(refusal.reason, str(refusal))
    if isinstance(error, MemoryError):
        _leave("MEMORY", f"there is not enough memory for this ({error}); impute fewer samples at a time, or --region")
    if isinstance(error, OSError) and error.errno is not None:
        _leave("SYSTEM", _system_words(error))
    if type(error).__name__ == "MisconfigurationException":
        # Lightning's, which is not imported for its name.
        _leave("CONFIG", f"trainer: {error}")
    if isinstance(error, RuntimeError) and str(error).startswith(_LOOP):
        name = str(error).removeprefix(_LOOP).strip(" '\"")
        _leave("SYSTEM", f"{name}: a link that leads to itself")
    what = " ".join(f"{type(error).__name__}: {error}".split())
    _leave("INTERNAL", f"{what[:_LONGEST_WORDS]}. This is a fault of vcfrag; --debug shows where", EXIT_FAULT)


def _system_words(error: OSError) -> str:
    where = "".join(f"{name}: " for name in (error.filename, error.filename2) if name)
    advice = _SYSTEM_ADVICE.get(error.errno or 0, "")
    return f"{where}{error.strerror}{advice}"


def _print_version(wanted: bool) -> None:
    if wanted:
        # Commands that need no version start sooner without.
        import importlib.metadata

        typer.echo(f"vcfrag {importlib.metadata.version('vcfrag')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where a failure arose; may stand anywhere.")] = False,
) -> None:
    """Retrieval-augmented genotype imputation: train, impute, evaluate, compare."""


def _load(name: str) -> Callable[..., None] | typer.Typer:
    """The function of a command, or the application of a command that has commands of its own."""
    module = importlib.import_module(f"vcfrag_train.cli.commands.{name.replace('-', '_')}")
    if hasattr(module, "command"):
        return _interruptible(guarded(module.command))
    for registered in module.app.registered_commands:
        registered.callback = _interruptible(guarded(registered.callback))
    app: typer.Typer = module.app
    return app


def _interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """The command; Typer takes every interruption for one by Ctrl-C."""

    @functools.wraps(command)
    def run(**options: object) -> None:
        try:
            command(**options)
        except KeyboardInterrupt as stopped:
            raise SystemExit(status_of(stopped)) from None

    return run


def _placeholder() -> None:
    raise NotImplementedError("a command that was not chosen never runs")


def _leave(reason: str, message: str, code: int = EXIT_FAILED) -> NoReturn:
    # A closed standard error changes nothing about how the command ended.
    with contextlib.suppress(OSError, ValueError):
        typer.echo(f"error [{reason}]: {message}", err=True)
    raise SystemExit(code)
