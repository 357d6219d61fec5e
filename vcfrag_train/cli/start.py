"""Where the program starts: Ctrl-C ends it without a traceback while it imports what it needs, too."""

from __future__ import annotations

import signal


def main() -> None:
    """Runs the command line, as `vcfrag_train.cli.app.main` does."""
    try:
        from vcfrag_train.cli import app
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    app.main()
