"""Chunks of everybody hold windows as the output has them; what they and the maps save must not change a byte."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cyvcf2 import VCF

from tests.train.jobs.conftest import Genome
from vcfrag_core.errors import ProvenanceMismatchError, TruncatedFileError
from vcfrag_core.output.genotypes import NONE, ONE
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_train.imputing.config import ImputeConfig
from vcfrag_train.jobs.chunks.certainty import Certainty
from vcfrag_train.jobs.chunks.chunk import run_chunk
from vcfrag_train.jobs.chunks.chunk_file import chunk_file
from vcfrag_train.jobs.genome import impute_job
from vcfrag_train.jobs.manifest import job_folder
from vcfrag_train.jobs.merge import merge
from vcfrag_train.jobs.planning.plan import plan


def written(config: ImputeConfig) -> dict[str, bytes]:
    """What an output and its companions hold, by suffix; they are removed."""
    stem = config.out.name.split(".")[0]
    files = [p for p in config.out.parent.iterdir() if p.name.startswith(f"{stem}.") and ".qc." not in p.name]
    content = {path.name: path.read_bytes() for path in files}
    for path in files:
        path.unlink()
    return content


@pytest.mark.parametrize("name", ["o.bgen", "o.pgen"])
def test_impute_job__everybody_at_once_or_in_batches(genome: Genome, name: str) -> None:
    config = genome.config(name, threads=2)
    impute_job(config, genome.cut(windows_per_chunk=2))
    once = written(config)
    assert len(once) >= 2
    impute_job(config, genome.cut(samples_per_chunk=10))
    batches = written(config)
    # An index of BGEN says when it was made, and of which file.
    assert {k: v for k, v in once.items() if k[-4:] != ".bgi"} == {k: v for k, v in batches.items() if k[-4:] != ".bgi"}


def test_merge__of_everybody_names_a_damaged_chunk_and_opens_no_panel(genome: Genome) -> None:
    manifest = plan(genome.config("o.vcf.gz"), genome.cut())
    folder = job_folder(genome.cut().manifest)
    for chunk in manifest.chunks:
        run_chunk(manifest, folder, chunk.number)
    path = chunk_file(folder, manifest.chunks[1])
    data = path.read_bytes()
    path.write_bytes(data[:500] + bytes(60) + data[560:])
    with pytest.raises(TruncatedFileError, match="chunk 1 is damaged"):
        merge(manifest, folder)
    assert not (genome.folder / "o.vcf.gz").exists()
    path.write_bytes(data)
    for panel in genome.panels:
        panel.unlink()
    ((output, n_records),) = merge(manifest, folder)
    assert output.is_file()
    assert n_records == 2 * 260


def test_run_chunk__reads_a_map_again_only_where_its_file_has_changed(
    genome: Genome, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = genome.folder / "own.gmap"
    own.write_bytes(genome.maps[0].read_bytes() + genome.maps[1].read_bytes().split(b"\n", 1)[1])
    manifest = plan(genome.config("o.vcf.gz"), dataclasses.replace(genome.cut(), maps=(own,)))
    folder = job_folder(genome.cut().manifest)

    def parsed(*_: object) -> None:
        raise AssertionError("the map was read again")

    with monkeypatch.context() as patch:
        patch.setattr("vcfrag_train.jobs.maps.map_for", parsed)
        assert run_chunk(manifest, folder, 0)
    chunk_file(folder, manifest.chunks[0]).unlink()
    os.utime(own, ns=(1, 1))
    assert run_chunk(manifest, folder, 0), "the same map, written again"
    chunk_file(folder, manifest.chunks[0]).unlink()
    own.write_text(own.read_text().replace("0.00000", "0.00001"))
    with pytest.raises(ProvenanceMismatchError, match=r"the genetic map .*own\.gmap is not what the job was planned"):
        run_chunk(manifest, folder, 0)


def test_certainty__is_what_the_formula_says_however_sites_are_cut() -> None:
    rng = np.random.default_rng(3)
    dosage = rng.integers(0, ONE + 1, (50, 6, 2)).astype(np.int16)
    dosage[:, 2, 1] = NONE
    counts = rng.integers(1, 400, 50)
    f = (counts / 400)[:, None, None]
    p = dosage / ONE
    there = dosage != NONE
    explained = np.where(there, (p - f) ** 2, 0).sum(axis=(0, 2))
    total = explained + np.where(there, p * (1 - p), 0).sum(axis=(0, 2))
    ploidy = Ploidy.of([2, 2, 1, 2, 2, 2])
    one, two = Certainty(ploidy, 400), Certainty(ploidy, 400)
    one.add(dosage, counts)
    for part in (slice(0, 7), slice(7, 50)):
        two.add(dosage[part], counts[part])
    assert np.allclose(one.sums(), [explained, total])
    assert np.array_equal(one.sums(), two.sums())


@pytest.mark.parametrize(("name", "choices"), [("o.vcf.gz", {"min_r2": 0.6}), ("o.bcf", {})], ids=["some", "all"])
def test_merge__rows_of_batches_say_what_one_process_says(
    genome: Genome, name: str, choices: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = genome.config(name, pass_through=True, **choices)
    impute_job(config, genome.cut())
    wanted, regions = read_all(config.out)
    monkeypatch.setattr("vcfrag_train.jobs.planning.plan.SAMPLES_OF_ROWS", 5)
    monkeypatch.setattr("vcfrag_core.files.vcf.bgzf.BLOCK_BYTES", 150)
    manifest = plan(config, genome.cut(samples_per_chunk=9, windows_per_chunk=2))
    assert all(chunk.rows for chunk in manifest.chunks)
    folder = job_folder(genome.cut().manifest)
    for chunk in manifest.chunks:
        run_chunk(manifest, folder, chunk.number)
    merge(manifest, folder)
    assert read_all(config.out) == (wanted, regions)


def read_all(path: Path) -> tuple[bytes, list[list[int]]]:
    """The content below the header, and positions of some regions as htslib finds them by the index."""
    content = gzip.decompress(path.read_bytes())
    start = content.index(b"\n20\t") if path.suffix == ".gz" else 9 + int.from_bytes(content[5:9], "little")
    with contextlib.closing(VCF(path)) as vcf:
        everything = [(v.CHROM, v.POS) for v in vcf]
    places = [everything[i] for i in range(0, len(everything), 40)]
    with contextlib.closing(VCF(path)) as vcf:
        return content[start:], [[v.POS for v in vcf(f"{contig}:{at}-{at + 30_000}")] for contig, at in places]
