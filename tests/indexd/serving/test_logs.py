"""What the daemon's log says of a fault, and what it must not say."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from vcfrag_indexd import logs
from vcfrag_indexd.config.config import LogConfig


@pytest.fixture(autouse=True)
def _restore_logger() -> Iterator[None]:
    logger = logging.getLogger(logs.LOGGER_NAME)
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before[0], before[1], before[2]


def fail_with_alleles() -> None:
    alleles = "0|1|1|0"
    raise ZeroDivisionError(f"{len(alleles)} alleles")


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_log__has_the_traceback_and_no_local_variable(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogConfig(format=log_format))
    try:
        fail_with_alleles()
    except ZeroDivisionError:
        logs.get_log().exception("internal error", request_id="r1")
    printed = capsys.readouterr().err
    assert "ZeroDivisionError: 7 alleles" in printed
    assert "fail_with_alleles" in printed
    assert "r1" in printed
    assert "0|1|1|0" not in printed
    if log_format == "json":
        assert json.loads(printed)["event"] == "internal error"
