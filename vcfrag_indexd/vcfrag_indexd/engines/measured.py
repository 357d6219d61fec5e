"""What the engines took on this machine, as `vcfrag-indexd bench` found it, and the choice of `auto` that follows."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.files.panel.cache import cache_folder

FILE_NAME = "engines.json"
NAMES_OF_DEVICES = "from vcfrag_indexd.engines.cuda.driver import device_names; print('\\n'.join(device_names()))"
ASKING_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Seconds of a search by every engine that this machine has.

    Attributes:
        machine: Where: processor, cores and CUDA devices.
        panel: Of which panel: its file, haplotypes and sites.
        seconds: Of a search by each engine, cold and warm alike.
        failed: Why an engine could not be measured, by its name.
    """

    machine: dict[str, Any]
    panel: dict[str, Any]
    seconds: dict[str, float]
    failed: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def by_speed(self) -> list[str]:
        """The engines, the fastest first."""
        return sorted(self.seconds, key=lambda name: self.seconds[name])

    @property
    def fastest(self) -> str:
        """The engine to take."""
        return self.by_speed[0]

    def store(self, folder: Path | None = None) -> Path:
        """Keeps it for `auto`, in place of an earlier one; the file."""
        file = (folder or cache_folder()) / FILE_NAME
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n", encoding="utf-8")
        return file


def stored(folder: Path | None = None) -> Measurement | None:
    """The measurement that was kept on this very machine; None where there is none, or of another machine."""
    file = (folder or cache_folder()) / FILE_NAME
    try:
        found = Measurement(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.seconds and found.machine == this_machine() else None


def this_machine() -> dict[str, Any]:
    """Processor, cores that this process may use, and CUDA devices."""
    return {"processor": _processor(), "cores": len(os.sched_getaffinity(0)), "devices": devices()}


def devices() -> list[str]:
    """Names of the CUDA devices; asked in a process of its own, so that this one never touches CUDA."""
    command = [sys.executable, "-c", NAMES_OF_DEVICES]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=ASKING_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return []
    return asked.stdout.split("\n")[:-1] if asked.returncode == 0 and asked.stdout.strip() else []


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
