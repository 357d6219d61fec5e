"""The command line of vcfrag-indexd. Heavy modules are imported inside the commands, so that --help is fast."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vcfrag_core.errors import VcfragError

if TYPE_CHECKING:
    from vcfrag_indexd.commands import Remote
    from vcfrag_indexd.config import ServeConfig

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Holds haplotype panels and answers nearest-neighbour searches over gRPC.",
)

EXIT_REFUSED = 2
EXIT_NOT_SERVING = 1

PanelOption = Annotated[list[str] | None, typer.Option("--panel", help="NAME=FILE, once for every panel.")]
ListenOption = Annotated[str | None, typer.Option(help="HOST:PORT of the service; port 0 lets the kernel choose.")]
HealthListenOption = Annotated[str | None, typer.Option(help="HOST:PORT of a plaintext port for health only.")]
MetricsListenOption = Annotated[str | None, typer.Option(help="HOST:PORT of Prometheus metrics.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="TOML file; VCFRAG_INDEXD_* variables and flags override it.")
]
EngineOption = Annotated[str | None, typer.Option(help="auto, bitscan, faiss-cpu, faiss-gpu or reference.")]
ThreadsOption = Annotated[int | None, typer.Option(help="Compute threads; 0 for one per core.")]
WorkerOption = Annotated[
    bool | None, typer.Option("--worker/--no-worker", help="Run the engine in a supervised process of its own.")
]
BudgetOption = Annotated[int | None, typer.Option(help="Bytes for segment indexes and searches.")]
LogFormatOption = Annotated[str | None, typer.Option(help="console or json.")]

AddressOption = Annotated[str, typer.Option(help="HOST:PORT of the daemon.")]
CaOption = Annotated[Path | None, typer.Option(help="PEM of the authority that signed its certificate.")]
CertificateOption = Annotated[Path | None, typer.Option(help="PEM chain of your own, for mutual TLS.")]
KeyOption = Annotated[Path | None, typer.Option(help="Its private key.")]
TokenOption = Annotated[Path | None, typer.Option(help="File with the bearer token.")]
DEFAULT_ADDRESS = "127.0.0.1:50510"


@app.command()
def serve(
    panel: PanelOption = None,
    listen: ListenOption = None,
    config: ConfigOption = None,
    engine: EngineOption = None,
    threads: ThreadsOption = None,
    worker: WorkerOption = None,
    memory_budget_bytes: BudgetOption = None,
    health_listen: HealthListenOption = None,
    metrics_listen: MetricsListenOption = None,
    log_format: LogFormatOption = None,
) -> None:
    """Serve panels until SIGTERM or SIGINT, then finish the work in flight."""
    settings = _settings(
        config, panel, listen, engine, threads, worker, memory_budget_bytes, health_listen, metrics_listen, log_format
    )
    from vcfrag_indexd.main import serve_until_signalled

    code = serve_until_signalled(settings)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of gRPC or of a reader that was cut off must not keep a drained process alive.
    os._exit(code)


@app.command("config")
def show_config(
    panel: PanelOption = None,
    listen: ListenOption = None,
    config: ConfigOption = None,
    engine: EngineOption = None,
    threads: ThreadsOption = None,
    worker: WorkerOption = None,
    memory_budget_bytes: BudgetOption = None,
    health_listen: HealthListenOption = None,
    metrics_listen: MetricsListenOption = None,
    log_format: LogFormatOption = None,
) -> None:
    """Print, as TOML, the settings that `serve` would run with."""
    settings = _settings(
        config, panel, listen, engine, threads, worker, memory_budget_bytes, health_listen, metrics_listen, log_format
    )
    from vcfrag_indexd.config_sources import as_toml

    typer.echo(as_toml(settings), nl=False)


@app.command()
def health(
    address: AddressOption = DEFAULT_ADDRESS,
    service: Annotated[str, typer.Option(help="Empty for the daemon, or panel/NAME.")] = "",
    ca: CaOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
) -> None:
    """Print the health of a daemon; exit code 0 if it is SERVING, 1 if not, 2 if nobody answers."""
    from vcfrag_indexd.commands import health_of

    status = health_of(_remote(address, ca, certificate, key, None), service)
    typer.echo(status)
    if status != "SERVING":
        raise typer.Exit(EXIT_NOT_SERVING)


@app.command("ls")
def list_indexes(
    address: AddressOption = DEFAULT_ADDRESS,
    ca: CaOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    token: TokenOption = None,
) -> None:
    """List the indexes that are open on a daemon."""
    from vcfrag_indexd.commands import list_lines

    for line in list_lines(_remote(address, ca, certificate, key, token)):
        typer.echo(line)


@app.command()
def verify(
    panel: Annotated[str, typer.Argument(help="NAME=FILE: the daemon's name and your file.")],
    address: AddressOption = DEFAULT_ADDRESS,
    ca: CaOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    token: TokenOption = None,
) -> None:
    """Compare a panel file with the panel that a daemon holds."""
    from vcfrag_core.errors import ConfigError
    from vcfrag_indexd.commands import verify_panel

    name, equals, file = panel.partition("=")
    if not equals:
        raise ConfigError(f"give NAME=FILE, got {panel!r}")
    typer.echo(f"same panel: {verify_panel(_remote(address, ca, certificate, key, token), name, Path(file))}")


@app.command("close")
def close_index(
    handle: Annotated[str, typer.Argument(help="As printed by ls.")],
    address: AddressOption = DEFAULT_ADDRESS,
    ca: CaOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    token: TokenOption = None,
) -> None:
    """Close an index of a daemon and free what it holds."""
    from vcfrag_indexd.commands import close

    close(_remote(address, ca, certificate, key, token), handle)


def main() -> None:
    """Runs the command line; a refusal is one line on stderr and exit code 2."""
    try:
        app()
    except VcfragError as error:
        typer.echo(f"error [{error.reason}]: {error}", err=True)
        raise SystemExit(EXIT_REFUSED) from None


def _settings(
    config: Path | None,
    panel: list[str] | None,
    listen: str | None,
    engine: str | None,
    threads: int | None,
    worker: bool | None,
    memory_budget_bytes: int | None,
    health_listen: str | None,
    metrics_listen: str | None,
    log_format: str | None,
) -> ServeConfig:
    from vcfrag_indexd.config_sources import load_config

    flags = {
        "listen": listen,
        "health_listen": health_listen,
        "metrics_listen": metrics_listen,
        "engine.name": engine,
        "engine.threads": threads,
        "engine.worker": worker,
        "limits.memory_budget_bytes": memory_budget_bytes,
        "log.format": log_format,
    }
    return load_config(config, panels=panel or [], flags=flags)


def _remote(address: str, ca: Path | None, certificate: Path | None, key: Path | None, token: Path | None) -> Remote:
    from vcfrag_indexd.commands import Remote

    return Remote(address=address, ca_file=ca, certificate_file=certificate, key_file=key, token_file=token)


if __name__ == "__main__":
    main()
