"""What the daemon's log says of a fault, what it must not say, and that it holds up nobody."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

FAULT = """
import sys, warnings
from vcfrag_indexd import logs
from vcfrag_indexd.config.config import LogConfig

def fail_with_alleles():
    alleles = "0|1|1|0"
    raise ZeroDivisionError(f"{len(alleles)} alleles")

logs.configure(LogConfig(format=sys.argv[1]))
try:
    fail_with_alleles()
except ZeroDivisionError:
    logs.get_log().exception("internal error", request_id="r1")
print("said by a library", file=sys.stderr, flush=True)
import os
os.write(2, b"said by C\\n")
warnings.warn("said by Python")
logs.flush(30)
"""


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_log__has_the_traceback_and_no_local_variable(log_format: str) -> None:
    done = subprocess.run([sys.executable, "-c", FAULT, log_format], capture_output=True, text=True, check=True)
    for said in ("ZeroDivisionError: 7 alleles", "fail_with_alleles", "r1", "said by a library", "said by C"):
        assert said in done.stderr
    assert "0|1|1|0" not in done.stderr
    assert "said by Python" in done.stderr
    if log_format == "json":
        events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
        assert "internal error" in events


FLOOD = """
import sys
from vcfrag_indexd import logs
from vcfrag_indexd.config.config import LogConfig

logs.configure(LogConfig(format="json"))
for i in range(20_000):
    logs.get_log().info("line", number=i, padding="x" * 100)
print("went on", flush=True)
sys.stdin.readline()
logs.flush(60)
logs.get_log().info("the last")
logs.flush(60)
"""


def test_log__a_stderr_that_nobody_reads_holds_up_nothing_and_says_what_was_left_out() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FLOOD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as flooding:
        assert flooding.stdout.readline() == "went on\n"
        _, said = flooding.communicate("now\n", timeout=120)
    events = [json.loads(line) for line in said.splitlines()]
    assert events[0]["number"] == 0
    assert events[-1]["event"] == "the last"
    left_out = [int(e["event"].split()[0]) for e in events if e["event"].endswith("lines were left out")]
    assert len(left_out) == 1
    assert sum("number" in e for e in events) + left_out[0] == 20_000


def test_log__a_stderr_that_is_closed_ends_nothing() -> None:
    program = "import sys; from vcfrag_indexd import logs; logs.open_standard_streams();" + FLOOD
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, program],
        input="now\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "went on\n"
