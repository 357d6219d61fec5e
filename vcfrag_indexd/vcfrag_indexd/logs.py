"""Structured logs: through the standard library's `vcfrag_indexd` logger, so that an embedding program decides."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from vcfrag_indexd.config.config import LogConfig

LOGGER_NAME = "vcfrag_indexd"


def get_log() -> Any:
    """The daemon's logger; events are keyword arguments."""
    return structlog.wrap_logger(
        logging.getLogger(LOGGER_NAME),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
    )


def configure(config: LogConfig) -> None:
    """Sends the daemon's events to stderr, as `console` or `json` lines."""
    renderer: Any = structlog.processors.JSONRenderer()
    if config.format == "console":
        # A plain traceback: the pretty one prints local variables, and those are people's alleles.
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    tail = [meta, structlog.processors.format_exc_info, renderer] if config.format == "json" else [meta, renderer]
    handler = logging.StreamHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=tail))
    logger = logging.getLogger(LOGGER_NAME)
    logger.handlers[:] = [handler]
    logger.setLevel(config.level.upper())
    logger.propagate = False
