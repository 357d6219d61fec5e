"""A panel kept in compact blocks imputes to the bytes of one in memory: in one process, in jobs, and by a daemon."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from tests.compact_panels import every_panel_is_large
from tests.train.jobs.conftest import Genome
from vcfrag_core.files.panel.cache import CACHE_DIR_VARIABLE, load_panel
from vcfrag_core.panel.compact import CompactBits
from vcfrag_indexd.config.config import EngineConfig, LimitsConfig, ServeConfig
from vcfrag_indexd.testing import serve
from vcfrag_train.imputing.pipeline import impute
from vcfrag_train.jobs.genome import impute_job


def body(path: Path) -> list[str]:
    return [line for line in gzip.decompress(path.read_bytes()).decode().splitlines() if line[0] != "#"]


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_DIR_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("changes", "with_phase"),
    [({}, True), ({"copying_only": False, "parameters": None}, True), ({"draws": 4}, False)],
    ids=["copying", "default", "unphased"],
)
@pytest.mark.usefixtures("own_cache")
def test_impute__the_same_bytes_from_compact_blocks(
    genome: Genome, changes: dict[str, Any], with_phase: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = genome if with_phase else genome.without_phase()
    impute(given.config("dense.vcf.gz", **changes))
    monkeypatch.setenv(CACHE_DIR_VARIABLE, str(tmp_path / "compact"))
    with every_panel_is_large():
        # Once from the records, once from the cache.
        for out in ("read.vcf.gz", "cached.vcf.gz"):
            impute(given.config(out, **changes))
            assert body(given.folder / out) == body(given.folder / "dense.vcf.gz")
        assert isinstance(load_panel(given.panels[0]).bits, CompactBits)


def test_job__the_same_bytes_from_compact_blocks(genome: Genome, own_cache: Path) -> None:
    impute_job(genome.config("dense.vcf.gz"), genome.cut())
    for file in own_cache.iterdir():
        file.unlink()
    with every_panel_is_large():
        impute_job(genome.config("compact.vcf.gz"), genome.cut(samples_per_chunk=7, windows_per_chunk=2))
    assert body(genome.folder / "compact.vcf.gz") == body(genome.folder / "dense.vcf.gz")


@pytest.mark.parametrize("engine", ["bitscan", "faiss-cpu"])
def test_daemon__answers_alike_from_compact_blocks(genome: Genome, own_cache: Path, engine: str) -> None:
    impute(genome.config("dense.vcf.gz"))
    for file in own_cache.iterdir():
        file.unlink()
    config = ServeConfig(
        listen="127.0.0.1:0",
        engine=EngineConfig(name=engine, threads=1),
        limits=LimitsConfig(max_missing_share=0.5),
    )
    with every_panel_is_large(), serve({"panel": genome.panels[0]}, config) as daemon:
        impute(genome.config("compact.vcf.gz", daemon=daemon.address))
    assert body(genome.folder / "compact.vcf.gz") == body(genome.folder / "dense.vcf.gz")
