"""Room on disk: what a run needs on each file system."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.train.jobs.conftest import Genome
from vcfrag_core.errors import ConfigError
from vcfrag_core.files.outputs import OutputFormat
from vcfrag_core.output.header import FORMAT_FIELDS
from vcfrag_train.imputing import room
from vcfrag_train.imputing.room import Need, check_room, output_bytes, part_bytes
from vcfrag_train.jobs.manifest import Manifest
from vcfrag_train.jobs.merge import merge
from vcfrag_train.jobs.planning.plan import plan
from vcfrag_train.jobs.room import needs_of_job, needs_of_merge
from vcfrag_train.jobs.worker import Worker

GB = 10**9


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Free bytes by the first name of a path, each of which is a file system of its own."""
    free: dict[str, int] = {}
    monkeypatch.setattr(room, "_device", lambda folder: hash(folder.parts[1]))
    monkeypatch.setattr(room, "_free", lambda folder: free[folder.parts[1]])
    return free


def test_check_room__adds_up_what_lies_on_one_file_system(disks: dict[str, int]) -> None:
    needs = [Need(Path("/a/job"), "chunks", 3 * GB), Need(Path("/a"), "out.bcf", 2 * GB)]
    parts = Need(Path("/b"), "its parts", 2 * GB)
    disks |= {"a": 5 * GB, "b": 2 * GB}
    assert check_room([*needs, parts]) == []
    disks["a"] -= 1
    (line,) = check_room([*needs, parts])
    assert line.startswith("/a/job: this takes about 5.0 GB there (chunks 3.0 GB, out.bcf 2.0 GB), 5.0 GB are free;")
    disks["b"] = GB // 4
    with pytest.raises(
        ConfigError, match=r"/b: this takes about 2\.0 GB there \(its parts 2\.0 GB\), 0\.2 GB are free"
    ):
        check_room([*needs, parts])


def test_check_room__asks_the_disk_itself(tmp_path: Path) -> None:
    assert check_room([Need(tmp_path, "a file", 1000)]) == []
    with pytest.raises(ConfigError, match="make room, or name another disk by --scratch"):
        check_room([Need(tmp_path, "a file", 1e18)])


def test_needs_of_job__chunks_parts_and_outputs(genome: Genome) -> None:
    one = plan(genome.config("o.vcf.gz"), genome.cut())
    n_genotypes = 24 * sum(stretch.n_written for stretch in one.stretches)
    assert [stretch.n_written for stretch in one.stretches] == [260, 260]
    chunks, output, parts = needs_of_job(one, genome.folder, None, one.chunks)
    assert output.n_bytes == parts.n_bytes == pytest.approx(n_genotypes * _rate(one))
    assert chunks.n_bytes > output.n_bytes
    assert (chunks.folder, output.folder, parts.folder) == (genome.folder,) * 3
    # One contig's parts at a time, in the folder for them; what is done is done.
    other = Path("/elsewhere")
    several = dataclasses.replace(one, out=str(genome.folder / "o.{contig}.vcf.gz"))
    rest, outputs, parts = needs_of_job(several, genome.folder, other, one.chunks[1:])
    assert (outputs.n_bytes, parts.n_bytes, parts.folder) == (output.n_bytes, output.n_bytes / 2, other)
    assert rest.n_bytes < chunks.n_bytes
    assert needs_of_merge(several, None, []) == []


@pytest.mark.parametrize("out", ["o.vcf.gz", "o.bgen"])
def test_needs_of_job__are_about_what_is_written(genome: Genome, out: str) -> None:
    planned = plan(genome.config(out), genome.cut())
    foretold = needs_of_job(planned, genome.folder, None, planned.chunks)
    for chunk in planned.chunks:
        Worker(genome.cut().manifest, 1).run(chunk.number)
    chunks = sum(file.stat().st_size for file in genome.folder.glob("job.job/chunks/*"))
    ((path, _),) = merge(planned, genome.folder / "job.job")
    # Of so few people the sites themselves take more than the genotypes.
    assert 0.2 < chunks / foretold[0].n_bytes < 5
    assert 0.2 < path.stat().st_size / foretold[1].n_bytes < 5


def test_output_bytes__of_every_field_that_is_written() -> None:
    for field in FORMAT_FIELDS:
        assert output_bytes(Path("o.vcf.gz"), OutputFormat(formats=("GT", field))) > output_bytes(
            Path("o.vcf.gz"), OutputFormat(formats=())
        )


def test_output_bytes__by_what_is_written() -> None:
    few, all_fields = OutputFormat(formats=("GT",)), OutputFormat()
    assert output_bytes(Path("o.vcf.gz"), few) < output_bytes(Path("o.bcf"), all_fields)
    assert output_bytes(Path("o.bgen"), all_fields) < output_bytes(Path("o.bgen"), OutputFormat(bgen_bits=16))
    assert part_bytes(Path("o.bcf"), few) == output_bytes(Path("o.bcf"), few)
    assert part_bytes(Path("o.pgen"), few) == part_bytes(Path("o.bgen"), all_fields)


def _rate(manifest: Manifest) -> float:
    return output_bytes(Path(manifest.out), manifest.output)
