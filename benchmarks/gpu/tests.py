"""The tests marked `gpu`, and those of the engines' kernels."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

FILES = (
    "tests/core/copying",
    "tests/indexd/engines",
    "tests/train/training/test_on_device.py",
    "tests/system/test_benchmarks.py",
)
ENDED = re.compile(r"(PASSED|FAILED|ERROR|SKIPPED)\s+\S*?([^/\s]*::.*)")


def run(note: Callable[[str, Any], None], *, brief: bool) -> None:
    """How many passed, and which did not; fails where one did not."""
    # Other plugins of the node's pytest may warn, and warnings are errors.
    options = ("-m", "gpu", "-v", "-n", "6", "--timeout", "60", "-p", "no:cacheprovider", "-p", "no:benchmark")
    command = [sys.executable, "-m", "pytest", *options, *FILES]
    code: int | str
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=65)
        text, code = done.stdout + done.stderr, done.returncode
    except subprocess.TimeoutExpired as stopped:
        text, code = (stopped.stdout or b"").decode(errors="replace"), "too slow"
    # A test that failed is told twice: when it ended and in the summary.
    ended = {(what, test.split(" - ")[0].strip()) for what, test in re.findall(ENDED, text)}
    note("count", {what: sum(found == what for found, _ in ended) for what in ("PASSED", "FAILED", "ERROR", "SKIPPED")})
    note("not passed", sorted({test[:200] for what, test in ended if what in ("FAILED", "ERROR")})[:80])
    note("why", sorted({line[:300] for line in text.splitlines() if line.startswith("E   ")})[:60])
    note("details", text[-9000:])
    if code:
        sys.exit(f"pytest ended with {code}")
