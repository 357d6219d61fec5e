"""Groups under which the help of a command with many options shows them."""

from __future__ import annotations

from typing import Final

READ: Final = "What is read"
METHOD: Final = "How it is imputed"
PHASE: Final = "Targets that are not phased"
CHECKS: Final = "Checks and repairs"
WRITTEN: Final = "What is written"
RUNNING: Final = "Processes, memory and long runs"
