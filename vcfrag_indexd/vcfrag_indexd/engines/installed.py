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


def installed_faiss() -> str | None:
    """`cpu` or `gpu`: the one FAISS that is installed; None where none is.

    Raises:
        ConfigError: Both are, and overwrite each other's files; names the pip lines to run.
    """
    cpu, gpu = installed(CPU_DISTRIBUTIONS), installed(GPU_DISTRIBUTIONS)
    if cpu and gpu:
        raise ConfigError(
            f"{cpu[0]} and {gpu[0]} are both installed and overwrite each other: run "
            f"`pip uninstall -y {cpu[0]} {gpu[0]}` and then `{GPU_LINE}` with a GPU or `{CPU_LINE}` without one"
        )
    return "gpu" if gpu else "cpu" if cpu else None


def import_faiss() -> Any:
    """The faiss module.

    Raises:
        ConfigError: It is not installed, or twice, or it does not load; says why, and the pip line to run.
    """
    if installed_faiss() is None:
        raise ConfigError(f"FAISS is not installed: run `{CPU_LINE}`, or `{GPU_LINE}` on a machine with a GPU")
    try:
        return importlib.import_module("faiss")
    except Exception as error:  # its own code runs here, and a half-installed CUDA fails in many ways
        raise broken_faiss(f"{type(error).__name__}: {error}") from error


def broken_faiss(why: str) -> ConfigError:
    """The error of a FAISS that is there and cannot be used."""
    line = GPU_LINE if installed(GPU_DISTRIBUTIONS) else CPU_LINE
    return ConfigError(
        f"FAISS is installed but does not load ({why}): reinstall it, `{line}`, or take an engine that needs none, "
        "`--engine bitscan`"
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
