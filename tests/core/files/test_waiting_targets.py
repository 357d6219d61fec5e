"""Targets whose contigs wait on disk are what they are in memory, and take none while they wait."""

from __future__ import annotations

import errno
import gc
import resource
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tests.vcf_text import record, vcf_text, write_vcf
from vcfrag_core.files.targets import read_target
from vcfrag_core.files.waiting import on_disk

N_SAMPLES, N_RECORDS = 400, 60
CONTIGS = ("20", "21", "22")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(4)
    words = np.array(["0|0", "0/1", "1|0", "1|1", "./."])
    lines = [
        record(
            100 * i,
            words[rng.integers(len(words), size=N_SAMPLES)].tolist(),
            contig=contig,
            alt="G" if i % 7 else "G,T",
        )
        for contig in CONTIGS
        for i in range(1, N_RECORDS + 1)
    ]
    text = vcf_text([f"S{i}" for i in range(N_SAMPLES)], lines, contigs=dict.fromkeys(CONTIGS, 10_000))
    return write_vcf(tmp_path_factory.mktemp("waiting") / "t.vcf.gz", text)


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcfrag_core.files.waiting.MIN_BYTES", 1)


@pytest.mark.usefixtures("small_files")
def test_read_target__contigs_on_disk_are_what_they_are_in_memory(file: Path, tmp_path: Path) -> None:
    usual, waiting = read_target(file), read_target(file, waiting=tmp_path)
    assert [calls.contig for calls in waiting] == list(CONTIGS)
    for one, other in zip(usual, waiting, strict=True):
        assert np.array_equal(one.alleles, other.alleles)
        assert np.array_equal(one.is_phased, other.is_phased)
        assert (one.refs, one.alts, one.samples) == (other.refs, other.alts, other.samples)
        assert type(other.alleles) is np.ndarray
        other.alleles[0] = 1
    assert not list(tmp_path.iterdir()), "files have no names, so that none is left behind"


@pytest.mark.usefixtures("small_files")
def test_read_target__contigs_on_disk_take_no_memory(file: Path, tmp_path: Path) -> None:
    def held(waiting: Path | None) -> int:
        tracemalloc.start()
        targets = read_target(file, waiting=waiting)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(targets) == len(CONTIGS)
        return held

    genotypes = len(CONTIGS) * N_RECORDS * N_SAMPLES
    assert held(None) - held(tmp_path) > 2.9 * genotypes


def test_read_target__small_contigs_stay_in_memory(file: Path, tmp_path: Path) -> None:
    (calls, *_) = read_target(file, waiting=tmp_path)
    assert not isinstance(calls.alleles.base, np.memmap)


def test_on_disk__no_room_is_what_the_system_says(file: Path, small_files: None, tmp_path: Path) -> None:
    (calls, *_) = read_target([file])
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, allowed[1]))
    try:
        with pytest.raises(OSError, match="File too large") as refused:
            on_disk(calls, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    assert refused.value.errno == errno.EFBIG
