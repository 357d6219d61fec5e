"""The command line of vcfrag-indexd. Heavy modules are imported inside the commands, so that --help is fast."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vcfrag_core.errors import VcfragError

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)

EXIT_REFUSED = 2
EXIT_FORCED = 3


@app.callback()
def _root() -> None:
    """Holds and searches haplotype indexes for vcfrag."""


@app.command()
def serve(
    panel: Annotated[list[str] | None, typer.Option(help="NAME=FILE, once for every panel.")] = None,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT of the service.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file; the environment and flags override it.")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, bitscan, faiss-cpu, faiss-gpu or reference.")] = None,
    threads: Annotated[int | None, typer.Option(help="Compute threads; 0 for one per core.")] = None,
) -> None:
    """Serves panels until SIGTERM or SIGINT, then finishes the work in flight."""
    from vcfrag_indexd.config_sources import load_config
    from vcfrag_indexd.main import serve_until_signalled

    flags = {"listen": listen, "engine.name": engine, "engine.threads": threads}
    raise typer.Exit(serve_until_signalled(load_config(config, panels=panel or [], flags=flags)))


def main() -> None:
    """Runs the command line; a refusal is one line on stderr and exit code 2."""
    try:
        app()
    except VcfragError as error:
        print(f"error [{error.reason}]: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(EXIT_REFUSED) from None


if __name__ == "__main__":
    main()
