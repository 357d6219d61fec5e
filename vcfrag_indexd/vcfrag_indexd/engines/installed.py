"""Which FAISS is installed, and the choice of an engine by name."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

from vcfrag_core.errors import ConfigError

CPU_LINE = "pip install 'vcfrag-indexd[cpu]'"
GPU_LINE = "pip install 'vcfrag-indexd[gpu]'"
CPU_DISTRIBUTIONS = ("faiss-cpu",)
GPU_DISTRIBUTIONS = ("faiss-gpu-cu12", "faiss-gpu-cu11", "faiss-gpu", "faiss-gpu-cuvs")


def installed(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the distributions that are installed."""
    return tuple(name for name in names if _version(name) is not None)


def check_faiss() -> str:
    """`cpu` or `gpu`: the one FAISS that is installed.

    Raises:
        ConfigError: None is, or both are (they overwrite each other's files); names the pip line to run.
    """
    cpu, gpu = installed(CPU_DISTRIBUTIONS), installed(GPU_DISTRIBUTIONS)
    if cpu and gpu:
        raise ConfigError(
            f"{cpu[0]} and {gpu[0]} are both installed and overwrite each other: run "
            f"`pip uninstall -y {cpu[0]} {gpu[0]}` and then `{GPU_LINE}` with a GPU or `{CPU_LINE}` without one"
        )
    if not cpu and not gpu:
        raise ConfigError(f"FAISS is not installed: run `{CPU_LINE}`, or `{GPU_LINE}` on a machine with a GPU")
    return "gpu" if gpu else "cpu"


def import_faiss() -> Any:
    """The faiss module.

    Raises:
        ConfigError: As `check_faiss`, or it cannot be imported.
    """
    check_faiss()
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise ConfigError(f"FAISS is installed but cannot be loaded ({error}): reinstall it, `{CPU_LINE}`") from error


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
