"""What every test may use: small panels, the real data where it lies, and the rule for tests that need a GPU."""

from __future__ import annotations

import os

# Before NumPy, FAISS or torch start their threads: the tests share two cores.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1" if _name != "NUMBA_NUM_THREADS" else "2")

import functools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from vcfrag_core.panel.panel import Panel

# A shell has what it starts in the background ignore Ctrl-C, and so would every program that the tests end by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent

settings.register_profile(
    "default", max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("soak", parent=settings.get_profile("default"), max_examples=1000, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real 1000 Genomes data: $VCFRAG_DATA, or shared/data beside the checkout."""
    folder = Path(os.environ.get("VCFRAG_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "README.md").is_file():
        pytest.skip(f"the real data are not at {folder}; set VCFRAG_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def make_panel() -> Callable[..., Panel]:
    """Makes a random panel of mosaics: `make_panel(n_samples=20, n_sites=200, seed=1)`."""
    return mosaic_panel


@pytest.fixture
def panel() -> Panel:
    """20 samples x 200 sites with shared haplotype segments."""
    return mosaic_panel(n_samples=20, n_sites=200, seed=1)


def mosaic_panel(*, n_samples: int, n_sites: int, seed: int, n_founders: int = 8, contig: str = "1") -> Panel:
    """A panel of mosaics of a few founders with rare private changes, so that nearest neighbours mean something."""
    rng = np.random.default_rng(seed)
    frequency = rng.beta(0.3, 1.2, n_sites)
    founders = (rng.random((n_founders, n_sites)) < frequency).astype(np.int8)
    switches = rng.random((2 * n_samples, n_sites)) < 0.03
    switches[:, 0] = True
    piece = np.cumsum(switches, axis=1)
    ancestor = rng.integers(n_founders, size=(2 * n_samples, int(piece.max()) + 1))
    rows = np.take_along_axis(ancestor, piece, axis=1)
    haplotypes = founders[rows, np.arange(n_sites)] ^ (rng.random((2 * n_samples, n_sites)) < 0.002)
    return Panel.from_haplotypes(haplotypes, contig=contig)


# What a machine may lack that runs the tests marked gpu; nothing else may be missing.
OPTIONAL = frozenset({"torch", "triton", "lightning", "cuda", "faiss"})


class SkippingModule(pytest.Module):
    """A file of tests, skipped where it imports an optional package that is not installed."""

    def _getobj(self) -> Any:
        try:
            return super()._getobj()
        except self.CollectError as error:
            missing = getattr(error.__cause__, "name", None)
            if missing not in OPTIONAL:
                raise
            pytest.skip(f"{missing} is not installed", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    """A file whose imports may be missing."""
    return SkippingModule.from_parent(parent, path=module_path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests marked gpu where there is no CUDA device."""
    if any(item.get_closest_marker("gpu") for item in items) and not _has_cuda():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))


@functools.cache
def _has_cuda() -> bool:
    try:
        import torch
    except ModuleNotFoundError:
        return False
    return bool(torch.cuda.is_available())
