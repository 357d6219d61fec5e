"""Small jobs of every kind on drawn data: what they compile is what jobs of any size need.

A kernel is compiled for the types of its arguments, such as arrays that may not be written; real jobs tell them best.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from vcfrag_core.copying import match_lengths
from vcfrag_core.files.panel.cache import CACHE_DIR_VARIABLE, load_panels
from vcfrag_core.files.panel.reader import read_panel
from vcfrag_core.panel import storage
from vcfrag_core.panel.panel import Panel
from vcfrag_core.phasing.serving import TargetsAsReference
from vcfrag_core.search import blocks
from vcfrag_core.types import I8Array
from vcfrag_train.client.process import running_daemon
from vcfrag_train.imputing.config import ImputeConfig
from vcfrag_train.imputing.pipeline import impute
from vcfrag_train.kernels.notice import STEP, telling
from vcfrag_train.phasing.phase import phase
from vcfrag_train.simulate.files import write_phased_vcf

N_SITES: Final = 300
TYPED_EVERY: Final = 3
N_REFERENCE: Final = 40
N_TARGETS: Final = 4
# So many that their neighbours are searched by the distinct patterns of the panel.
N_MANY: Final = 50
N_FOUNDERS: Final = 12
BASES_APART: Final = 5_000
# Sites in runs, as those to impute between typed ones.
RUNS: Final = np.flatnonzero(np.arange(N_SITES) % 10 != 0)
# Phasing goes another way where typed sites are so dense.
BASES_APART_DENSE: Final = 500


def main(folder: Path, say: Callable[[str], None]) -> None:
    """Runs them in a folder that exists, and says before each kind what it is."""
    panel, phased, unphased, many = _write_inputs(folder, BASES_APART)
    # So few patterns that a large panel keeps these, and who has which.
    repeated = folder / "repeated.vcf.gz"
    alleles = np.tile(_haplotypes(N_FOUNDERS), (N_REFERENCE, 1))[: 2 * N_REFERENCE]
    write_phased_vcf(Panel.from_haplotypes(alleles, positions=BASES_APART * np.arange(1, N_SITES + 1)), repeated)
    (folder / "dense").mkdir()
    dense_panel, _, dense, _ = _write_inputs(folder / "dense", BASES_APART_DENSE)

    def job(
        target: Path,
        panel: Path = panel,
        *,
        copying_only: bool = False,
        daemon: str | None = None,
        serve: TargetsAsReference = TargetsAsReference.NO,
    ) -> ImputeConfig:
        return ImputeConfig(
            panel=panel,
            targets=(target,),
            out=folder / "out.vcf.gz",
            copying_only=copying_only,
            daemon=daemon,
            targets_as_reference=serve,
            threads=2,
        )

    # Twice: a panel that was just read may be written to, one from the cache may not.
    for how in ("a panel just read", "a panel kept"):
        for target, kind in ((phased, "phased"), (unphased, "unphased")):
            say(f"{STEP}{kind} targets, {how}")
            for copying_only in (False, True):
                impute(job(target, copying_only=copying_only))
        say(f"{STEP}many targets and phasing alone, {how}")
        impute(job(many, copying_only=True))
        with _without_tables():
            impute(job(many, copying_only=True))
        phase(job(unphased, copying_only=True))
        phase(job(dense, dense_panel, copying_only=True))
        impute(job(unphased, copying_only=True, serve=TargetsAsReference.YES))
    for read in (read_panel(panel), *load_panels(panel)):
        read.bits.words(RUNS)
    say(f"{STEP}a large panel")
    _like_large_panels(
        lambda panel, copying_only: impute(job(phased, panel, copying_only=copying_only)), (panel, repeated), folder
    )
    if importlib.util.find_spec("vcfrag_indexd") is not None:
        say(f"{STEP}the daemon")
        with running_daemon({"panel": panel}, log=folder / "indexd.log", threads=1) as address:
            for copying_only in (False, True):
                impute(job(phased, copying_only=copying_only, daemon=address))


def _like_large_panels(run: Callable[[Path, bool], object], panels: Sequence[Path], folder: Path) -> None:
    """Panels that are kept and copied from as large ones are, which the cache does not hold yet."""
    usual, cache = (storage.DENSE_BYTES, match_lengths.LARGE_PANEL), os.environ.get(CACHE_DIR_VARIABLE)
    try:
        storage.DENSE_BYTES = match_lengths.LARGE_PANEL = 0
        os.environ[CACHE_DIR_VARIABLE] = str(folder / "large")
        for panel, copying_only in itertools.product(panels, (False, True)):
            run(panel, copying_only)
    finally:
        storage.DENSE_BYTES, match_lengths.LARGE_PANEL = usual
        os.environ.pop(CACHE_DIR_VARIABLE)
        if cache is not None:
            os.environ[CACHE_DIR_VARIABLE] = cache


@contextlib.contextmanager
def _without_tables() -> Iterator[None]:
    """As panels with many patterns are searched."""
    usual = blocks.TABLE_PAIRS
    try:
        blocks.TABLE_PAIRS = 0
        yield
    finally:
        blocks.TABLE_PAIRS = usual


def _write_inputs(folder: Path, bases_apart: int) -> tuple[Path, Path, Path, Path]:
    """Files of a panel, of phased targets, of the same without phase, and of many phased targets."""
    alleles, positions = _haplotypes(2 * (N_REFERENCE + N_MANY)), bases_apart * np.arange(1, N_SITES + 1)
    typed = np.arange(0, N_SITES, TYPED_EVERY)
    panel, phased, unphased, many = (
        folder / name for name in ("panel.vcf.gz", "phased.vcf.gz", "unphased.vcf", "many.vcf.gz")
    )
    reference, targets = alleles[: 2 * N_REFERENCE], alleles[2 * N_REFERENCE :, typed]
    write_phased_vcf(Panel.from_haplotypes(reference, positions=positions), panel)
    for path, n in ((phased, N_TARGETS), (many, N_MANY)):
        names = [f"T{i}" for i in range(n)]
        write_phased_vcf(Panel.from_haplotypes(targets[: 2 * n], positions=positions[typed], samples=names), path)
    with gzip.open(phased, "rt") as text:
        unphased.write_text(text.read().replace("|", "/"))
    return panel, phased, unphased, many


def _haplotypes(count: int) -> I8Array:
    """(count, V) mosaics of a few founders with a little noise: rare sites and common ones, and doubt about both."""
    rng = np.random.default_rng(1)
    frequency = rng.beta(0.3, 1.0, N_SITES)
    founders = rng.random((N_FOUNDERS, N_SITES)) < frequency
    switches = rng.random((count, N_SITES)) < 0.05
    copied = np.maximum.accumulate(np.where(switches, np.arange(N_SITES), 0), axis=1)
    source = np.take_along_axis(rng.integers(0, N_FOUNDERS, (count, N_SITES)), copied, axis=1)
    noise = rng.random((count, N_SITES)) < 0.01
    return (founders[source, np.arange(N_SITES)] ^ noise).astype(np.int8)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    with telling(_say):
        main(Path(sys.argv[1]), _say)
