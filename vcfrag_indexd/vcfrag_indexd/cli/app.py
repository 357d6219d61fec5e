"""The command line of vcfrag-indexd. Heavy modules are imported inside the commands, so that --help is fast."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vcfrag_core.errors import ConfigError, VcfragError
from vcfrag_indexd import __version__
from vcfrag_indexd.cli.options import takes

if TYPE_CHECKING:
    from vcfrag_indexd.cli.commands import Remote
    from vcfrag_indexd.config.config import ServeConfig

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

EXIT_REFUSED = 2
EXIT_NOT_SERVING = 1
DEFAULT_ADDRESS = "127.0.0.1:50510"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeFlags:
    """What a daemon can be told by flags."""

    panel: Annotated[list[str] | None, typer.Option(help="NAME=FILE or NAME=FILE@REGION, once for every panel.")] = None
    listen: Annotated[str | None, typer.Option(help="HOST:PORT of the service; port 0 lets the kernel choose.")] = None
    config: Annotated[Path | None, typer.Option(help="TOML file; VCFRAG_INDEXD_* variables and flags override it.")] = (
        None
    )
    engine: Annotated[
        str | None, typer.Option(help="auto, bitscan, bitscan-gpu, faiss-cpu, faiss-gpu or reference.")
    ] = None
    threads: Annotated[int | None, typer.Option(help="Compute threads; 0 for one per core.")] = None
    worker: Annotated[
        bool | None, typer.Option("--worker/--no-worker", help="Run the engine in a supervised process of its own.")
    ] = None
    memory_budget_bytes: Annotated[int | None, typer.Option(help="Bytes for segment indexes and searches.")] = None
    health_listen: Annotated[str | None, typer.Option(help="HOST:PORT of a plaintext port for health only.")] = None
    metrics_listen: Annotated[str | None, typer.Option(help="HOST:PORT of Prometheus metrics.")] = None
    log_format: Annotated[str | None, typer.Option(help="console or json.")] = None

    def asks_for_json(self) -> bool:
        """Whether flags or environment say so, whatever a configuration that cannot be read says."""
        return (self.log_format or os.environ.get("VCFRAG_INDEXD_LOG__FORMAT")) == "json"

    def settings(self) -> ServeConfig:
        """The configuration in force.

        Raises:
            ConfigError: A setting makes no sense.
        """
        from vcfrag_indexd.config.sources import load_config

        flags = {
            "listen": self.listen,
            "health_listen": self.health_listen,
            "metrics_listen": self.metrics_listen,
            "engine.name": self.engine,
            "engine.threads": self.threads,
            "engine.worker": self.worker,
            "limits.memory_budget_bytes": self.memory_budget_bytes,
            "log.format": self.log_format,
        }
        return load_config(self.config, panels=self.panel or [], flags=flags)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HealthFlags:
    """Which daemon is asked, and how it is reached."""

    address: Annotated[str, typer.Option(help="HOST:PORT of the daemon.")] = DEFAULT_ADDRESS
    ca: Annotated[Path | None, typer.Option(help="PEM of the authority that signed its certificate.")] = None
    certificate: Annotated[Path | None, typer.Option(help="PEM chain of your own, for mutual TLS.")] = None
    key: Annotated[Path | None, typer.Option(help="Its private key.")] = None

    def remote(self) -> Remote:
        """The daemon to ask."""
        from vcfrag_indexd.cli.commands import Remote
        from vcfrag_proto.channel import TlsConfig

        tls = None
        if self.ca or self.certificate or self.key:
            tls = TlsConfig(ca_file=self.ca, certificate_file=self.certificate, key_file=self.key)
        return Remote(address=self.address, tls=tls)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoteFlags(HealthFlags):
    """The same for calls that may need a token."""

    token: Annotated[Path | None, typer.Option(help="File with the bearer token.")] = None

    def remote(self) -> Remote:
        return dataclasses.replace(super().remote(), token_file=self.token)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vcfrag-indexd {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Holds haplotype panels and answers nearest-neighbour searches over gRPC."""


@app.command()
@takes(ServeFlags)
def serve(flags: ServeFlags) -> None:
    """Serve panels until SIGTERM or SIGINT, then finish the work in flight."""
    from vcfrag_indexd import logs

    logs.open_standard_streams()
    try:
        settings = flags.settings()
        logs.configure(settings.log)
        from vcfrag_indexd.cli.main import serve_until_signalled

        code = serve_until_signalled(settings)
    except VcfragError as error:
        if not logs.is_json() and not flags.asks_for_json():
            raise
        logs.configure_once_as_json()
        logs.get_log().error(f"error [{error.reason}]: {error}", reason=error.reason)
        code = EXIT_REFUSED
    logs.flush()
    # Threads of gRPC or of a reader that was cut off must not keep a drained process alive.
    os._exit(code)


@app.command("config")
@takes(ServeFlags)
def show_config(flags: ServeFlags) -> None:
    """Print, as TOML, the settings that `serve` would run with."""
    from vcfrag_indexd.config.sources import as_toml

    typer.echo(as_toml(flags.settings()), nl=False)


@app.command()
@takes(ServeFlags)
def bench(
    flags: ServeFlags,
    seconds: Annotated[float, typer.Option(help="Time for all engines together.", min=1.0)] = 60.0,
) -> None:
    """Measure this machine's engines on the panel at hand and remember the fastest for `--engine auto`."""
    from vcfrag_indexd.cli.bench import bench_engines

    bench_engines(flags.settings(), seconds, typer.echo)


@app.command()
@takes(HealthFlags)
def health(
    flags: HealthFlags,
    service: Annotated[str, typer.Option(help="Empty for the daemon, or panel/NAME.")] = "",
) -> None:
    """Print the health of a daemon; exit code 0 if it is SERVING, 1 if not, 2 if nobody answers."""
    from vcfrag_indexd.cli.commands import health_of

    status = health_of(flags.remote(), service)
    typer.echo(status)
    if status != "SERVING":
        raise typer.Exit(EXIT_NOT_SERVING)


@app.command("ls")
@takes(RemoteFlags)
def list_indexes(flags: RemoteFlags) -> None:
    """List the indexes that are open on a daemon."""
    from vcfrag_indexd.cli.commands import list_lines

    for line in list_lines(flags.remote()):
        typer.echo(line)


@app.command()
@takes(RemoteFlags)
def verify(
    flags: RemoteFlags,
    panel: Annotated[str, typer.Argument(metavar="NAME=FILE", help="The daemon's name and your file, or FILE@REGION.")],
) -> None:
    """Compare a panel file with the panel that a daemon holds."""
    from vcfrag_indexd.cli.commands import verify_panel

    name, equals, file = panel.partition("=")
    if not (name and equals and file):
        raise ConfigError(f"give NAME=FILE, got {panel!r}")
    typer.echo(f"same panel: {verify_panel(flags.remote(), name, Path(file))}")


@app.command("close")
@takes(RemoteFlags)
def close_index(flags: RemoteFlags, handle: Annotated[str, typer.Argument(help="As printed by ls.")]) -> None:
    """Close an index of a daemon and free what it holds."""
    from vcfrag_indexd.cli.commands import close

    close(flags.remote(), handle)
    typer.echo(f"closed {handle}")


def main() -> None:
    """Runs the command line; a refusal is one line on stderr and exit code 2."""
    try:
        app()
    except VcfragError as error:
        typer.echo(f"error [{error.reason}]: {error}", err=True)
        raise SystemExit(EXIT_REFUSED) from None


if __name__ == "__main__":
    main()
