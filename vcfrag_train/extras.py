"""Optional packages, and the pip line that brings each."""

from __future__ import annotations

import importlib.util
from typing import Final

from vcfrag_core.errors import ConfigError

_TRAIN: Final = "pip install 'vcfrag[train]'"
_REPORT: Final = "pip install 'vcfrag[report]'"
PIP_LINES: Final = {
    "torch": _TRAIN,
    "lightning": _TRAIN,
    "tensorboard": _TRAIN,
    "matplotlib": _REPORT,
    "jinja2": _REPORT,
    "msprime": "pip install 'vcfrag[demo]'",
    "distributed": "pip install 'vcfrag[cluster]'",
    "vcfrag_indexd": "pip install 'vcfrag-indexd[cpu]', or name a running daemon with --daemon",
}


def missing(package: str) -> ConfigError:
    """The error that says in one sentence which pip line to run; KeyError for a package that is not optional."""
    return ConfigError(f"{package} is not installed; run: {PIP_LINES[package]}")


def require(*packages: str) -> None:
    """Refuses before any work what would fail half-way.

    Raises:
        ConfigError: One of the packages is not installed.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise missing(package)
