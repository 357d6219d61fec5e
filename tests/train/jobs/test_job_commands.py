"""What the commands of jobs take and say."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.train.jobs.conftest import Genome
from vcfrag_core.errors import ConfigError
from vcfrag_core.files.lock import sole_writer
from vcfrag_core.files.outputs import stem_of
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.files.panel.prepared import write_prepared
from vcfrag_train.cli.commands.run_chunk import parse_numbers
from vcfrag_train.jobs.manifest import output_of, read_manifest
from vcfrag_train.jobs.planning.plan import plan

Run = Callable[..., tuple[int, str]]


def words(genome: Genome, **options: Any) -> list[object]:
    """Options of a run over chromosome 20."""
    given = {"panel": genome.panels[0], "map": genome.maps[0], "target": genome.target, **options}
    given.setdefault("out", genome.folder / "o.vcf.gz")
    return ["--copying-only", *(word for name, value in given.items() for word in (f"--{name}", value))]


def test_parse_numbers() -> None:
    assert parse_numbers(["4", "0-2", "7-7"]) == [range(4, 5), range(3), range(7, 8)]
    for word in ("3-0", "x", "1-", "-1", "1-2-3", "9" * 5000):
        with pytest.raises(ConfigError, match="name chunks by their numbers, or by ranges such as 0-3"):
            parse_numbers([word])


@pytest.mark.parametrize("name", ["gg.{contig}.bcf", "gg.chr{contig}.bcf"])
def test_stem_of__says_genome_for_all_contigs(name: str) -> None:
    assert stem_of(Path(name)) == "gg.genome"


def test_run_chunk__takes_ranges_and_plan_says_how_long(genome: Genome, run: Run) -> None:
    manifest = genome.folder / "m.json"
    code, said = run("plan", *words(genome), "--manifest", manifest, "--samples-per-chunk", 8)
    assert code == 0, said
    assert "; about 1 s of one core, 0.28 GB each;" in said
    n_chunks = len(read_manifest(manifest).chunks)
    code, said = run("run-chunk", manifest, f"0-{n_chunks}")
    assert code == 2
    assert f"the manifest has chunks 0 to {n_chunks - 1}; there is no chunk {n_chunks}" in said
    assert "done" not in said
    code, said = run("run-chunk", manifest, "0-9999999999")
    assert (code, f"chunks 0 to {n_chunks - 1}; there is no chunk 9999999999" in said) == (2, True)
    code, said = run("run-chunk", manifest, f"0-{n_chunks - 1}")
    assert (code, said.count(": done")) == (0, n_chunks)


@pytest.mark.parametrize(
    ("out", "contig", "name"),
    [
        ("o.chr{contig}.bcf", "20", "o.chr20.bcf"),
        ("o.chr{contig}.bcf", "chr20", "o.chr20.bcf"),
        ("o.{contig}.bcf", "chr20", "o.chr20.bcf"),
        ("o.{contig}.bcf", "20", "o.20.bcf"),
        ("o.bcf", "chr20", "o.bcf"),
    ],
)
def test_output_of__names_a_contig_once(genome: Genome, out: str, contig: str, name: str) -> None:
    manifest = plan(genome.config("job.vcf.gz"), genome.cut())
    assert output_of(dataclasses.replace(manifest, out=out), contig) == Path(name)


def test_impute__one_qc_table_for_all_outputs(genome: Genome, run: Run) -> None:
    code, said = run("impute", *words(genome, out=genome.folder / "o.{contig}.bcf"))
    assert code == 0, said
    assert (genome.folder / "o.genome.qc.tsv").is_file()
    assert (genome.folder / "o.genome.cohort.json").is_file()
    assert not list(genome.folder.glob("*{contig}*"))


@pytest.mark.parametrize("name", ["o.qc.json", "o.cohort.json", "o.qc.tsv"])
def test_plan__a_manifest_that_the_run_would_overwrite(genome: Genome, run: Run, name: str) -> None:
    code, said = run("plan", *words(genome), "--manifest", genome.folder / name)
    assert code == 2
    assert f"{name} is the " in said
    assert "which it would overwrite; give it another name" in said


def test_impute__a_cluster_that_is_no_address(genome: Genome, run: Run) -> None:
    code, said = run("impute", *words(genome), "--cluster", "banana")
    assert code == 2
    assert "--cluster banana: neither local nor HOST:PORT" in said


def test_impute__sites_of_a_file(genome: Genome, run: Run) -> None:
    table = genome.folder / "sites.tsv"
    table.write_text("chrom\tpos\tref\talt\n20\t1x\tA\tC\n")
    code, said = run("impute", *words(genome), "--sites", table)
    assert (code, "'1x' is no position" in said, "reading" in said) == (2, True, False)
    for job in ([], ["--samples-per-chunk", 12]):
        table.write_text("chrom\tpos\tref\talt\n20\t1\tA\tC\n")
        code, said = run("impute", *words(genome), "--sites", table, *job)
        assert code == 2
        assert f"--sites {table}: names no site of the panel on 20" in said
        assert not (genome.folder / "o.vcf.gz").exists()
    both = words(genome, panel=genome.folder / "ref.chr{contig}.bcf", map=genome.folder / "map.{contig}.gmap")
    first = first_site(genome.target)
    table.write_text("chrom\tpos\tref\talt\n" + "\t".join(first) + "\n")
    code, said = run("impute", *both, "--sites", table)
    assert code == 0, said
    assert f"21: --sites {table} names no panel site here; none is written" in said
    assert ": 1 records of" in said


def first_site(target: Path) -> list[str]:
    lines = gzip.decompress(target.read_bytes()).decode().splitlines()
    cells = next(line for line in lines if line[0] != "#").split("\t")
    return [cells[0], cells[1], cells[3], cells[4]]


@pytest.mark.parametrize("how", [[], ["--samples-per-chunk", 12]], ids=["one process", "job"])
@pytest.mark.parametrize("out", ["o.vcf.gz", "o.bgen"])
def test_impute__scratch(
    genome: Genome, run: Run, how: list[object], out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = genome.folder / "scratch"
    path = genome.folder / out
    code, said = run("impute", *words(genome, out=path), "--scratch", scratch, *how)
    assert (code, "--scratch" in said) == (2, True)
    scratch.mkdir()
    seen: list[str] = []

    def interrupt(self: object, header: object) -> int:
        seen.extend(file.name for file in scratch.rglob("*.part"))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        for writer in ("vcf.writer.ImputedWriter", "assembled.AssembledWriter"):
            patch.setattr(f"vcfrag_core.files.{writer}.finish", interrupt)
        assert run("impute", *words(genome, out=path), "--scratch", scratch, *how)[0] == 130
    assert seen
    assert not path.exists()
    assert not [file for file in genome.folder.iterdir() if "part" in file.name or file.suffix == ".job"]
    code, said = run("impute", *words(genome, out=path), "--scratch", scratch, *how, "--resume")
    assert code == 0, said
    assert not list(scratch.iterdir())
    data = path.read_bytes()
    assert run("impute", *words(genome, out=path), *how)[0] == 0
    assert path.read_bytes() == data


def test_impute__no_room(genome: Genome, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcfrag_train.imputing.room._free", lambda folder: 10_000)
    for how in ([], ["--samples-per-chunk", 12]):
        code, said = run("impute", *words(genome), *how)
        assert (code, "make room, or name another disk by --scratch" in said) == (2, True)
        assert re.search(
            rf"{genome.folder}: this takes about 0\.[0-9] MB there \(.*o\.vcf\.gz.*\), 0\.0 MB are free", said
        )
        assert not list(genome.folder.glob("*.job"))


def test_impute__room_is_asked_for_all_contigs_before_the_first(
    genome: Genome, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = genome.folder / "ref.vcfrag"
    write_prepared(panel, [load_panel(path) for path in genome.panels], {})
    given = words(genome, panel=panel)
    del given[given.index("--map") : given.index("--map") + 2]
    # Enough for one of the two contigs, and not a quarter of what both take.
    needed = 2 * 2 * 24 * 260 * 3.3
    monkeypatch.setattr("vcfrag_train.imputing.room._free", lambda folder: int(0.24 * needed))
    monkeypatch.setattr("vcfrag_train.imputing.pipeline.Run.stretches", None)
    code, said = run("impute", *given)
    assert (code, "make room, or name another disk by --scratch" in said) == (2, True), said


def test_impute__little_room_is_said(genome: Genome, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcfrag_train.imputing.room._free", lambda folder: 49_000)
    code, said = run("impute", *words(genome))
    assert (code, "with --resume it goes on where the disk was full" in said) == (0, True)


def test_impute__a_region_that_is_one_position(genome: Genome, run: Run) -> None:
    code, said = run("impute", *words(genome), "--region", "20:1")
    assert code == 2
    assert "the panel has no site in region 20:1; this is one position, write 20:1- for all from there on" in said


def test_resume__a_report_of_a_finished_run(genome: Genome, run: Run) -> None:
    given = words(genome, report=genome.folder / "page.html")
    assert run("impute", *given)[0] == 0
    code, said = run("impute", *given, "--resume")
    assert (code, "is whole already" in said) == (0, True)
    (genome.folder / "page.html").unlink()
    code, said = run("impute", *given, "--resume")
    assert (code, "page.html: the run has ended, and the chunks that a report is made of are gone" in said) == (2, True)


@pytest.mark.parametrize("more", [[], ["--samples-per-chunk", 12]], ids=["one process", "job"])
def test_resume__what_another_run_wrote(
    genome: Genome, run: Run, monkeypatch: pytest.MonkeyPatch, more: list[object]
) -> None:
    def resumed(*options: object) -> tuple[int, str]:
        given = ["impute", *words(genome), *more, *options]
        monkeypatch.setattr("sys.argv", ["vcfrag", *map(str, given)])
        return run(*given)

    out = genome.folder / "o.vcf.gz"
    target = genome.target.resolve()
    genome.target.unlink()
    genome.target.write_bytes(target.read_bytes())
    assert resumed("--draws", "8")[0] == 0
    written = out.stat().st_mtime_ns
    assert "is whole already" in resumed("--draws=8", "--resume", "--jobs", "2")[1]
    to_do = "; remove it, give another --out, or run without --resume to replace it"
    for others, differs in (
        (["--draws", "16"], "it had --draws 8, this one has --draws 16"),
        ([], "it had --draws 8"),
        (["--draws", "8", "--fix-flips"], "this one has --fix-flips"),
        (["--draws", "8", "--qc", genome.folder / "other.tsv"], f"this one has --qc {genome.folder / 'other.tsv'}"),
    ):
        code, said = resumed(*others, "--resume")
        assert (code, "PROVENANCE_MISMATCH" in said) == (2, True), said
        assert f"--resume: {out} is what another run wrote, which has ended: {differs}{to_do}" in said
    os.utime(genome.target, ns=(0, 0))
    code, said = resumed("--draws", "8", "--resume")
    assert (code, f"{genome.target.absolute()}: not the file that it read{to_do}" in said) == (2, True), said
    assert out.stat().st_mtime_ns == written
    # As ever without --resume, or where the output is gone.
    out.unlink()
    assert resumed("--draws", "8", "--resume")[0] == 0
    assert resumed()[0] == 0


def test_commands__another_run_is_refused_before_anything_is_read(genome: Genome, run: Run) -> None:
    out, manifest = genome.folder / "o.vcf.gz", genome.folder / "m.json"
    unreadable = genome.folder / "no.bcf"
    unreadable.write_bytes(b"")
    given = words(genome, panel=unreadable, out=out)
    for held in (out, out.with_name("o.qc.tsv")):
        with sole_writer(held):
            code, said = run("impute", *given)
        assert (code, f"another run writes {held}" in said) == (2, True), said
    for held in (manifest, out.with_name("o.qc.tsv")):
        with sole_writer(held):
            code, said = run("plan", *given, "--manifest", manifest)
        assert (code, f"another run writes {held}" in said) == (2, True), said
    assert not list(genome.folder.glob(".*.lock"))


def test_commands__outputs_of_other_data_share_no_tables(
    genome: Genome, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other, manifest = genome.folder / "o.vcf.gz", genome.folder / "o.bcf", genome.folder / "m.json"
    target = genome.folder / "others.vcf.gz"
    target.write_bytes(genome.target.read_bytes())

    def told(command: list[object], **options: Any) -> tuple[int, str]:
        every = [*command, *words(genome, **options)]
        monkeypatch.setattr("sys.argv", ["vcfrag", *map(str, every)])
        return run(*every)

    assert told(["impute"], out=first)[0] == 0
    decided = (genome.folder / "o.cohort.json").read_bytes()
    refused = f"what was decided for {first} would be overwritten; give --out another name"
    for command in (["impute"], ["plan", "--manifest", manifest], ["impute", "--samples-per-chunk", 12]):
        code, said = told([*command], out=other, target=target)
        assert (code, refused in said) == (2, True), said
    code, said = told(["impute", "--least-typed", 9], out=other)
    assert (code, refused in said) == (2, True), said
    code, said = told(["impute"], out=other, target=target, qc=genome.folder / "named.qc.tsv")
    assert (code, refused in said) == (2, True), said
    assert (genome.folder / "o.cohort.json").read_bytes() == decided
    # The same in another format, the output again, and another in place of what was removed.
    assert told(["plan", "--manifest", manifest, "--format", "GT"], out=other)[0] == 0
    assert told(["plan", "--manifest", manifest], out=first, target=target)[0] == 0
    first.unlink()
    assert told(["plan", "--manifest", manifest], out=other, target=target)[0] == 0
    assert run("run-chunk", manifest, 0)[0] == 0
    assert run("merge", manifest)[0] == 0
    code, said = told(["impute"], out=first)
    assert (code, f"what was decided for {other} would be overwritten" in said) == (2, True), said


def test_commands__outputs_of_other_data_share_no_cohort_record_beside_qc_tables_of_their_own(
    genome: Genome, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = genome.folder / "o.vcf.gz", genome.folder / "o.bcf"
    (genome.folder / "qc").mkdir()
    target = genome.folder / "others.vcf.gz"
    target.write_bytes(genome.target.read_bytes())

    def told(*options: object, **others: Any) -> tuple[int, str]:
        every = ["impute", *words(genome, **others), *options]
        monkeypatch.setattr("sys.argv", ["vcfrag", *map(str, every)])
        return run(*every)

    assert told("--qc", genome.folder / "qc" / "first.tsv", out=first)[0] == 0
    decided = (genome.folder / "o.cohort.json").read_bytes()
    assert json.loads(decided)["qc"] == "qc/first.tsv"
    refused = f"o.cohort.json, what was decided for {first} would be overwritten"
    for named in ([], ["--qc", genome.folder / "other.tsv"]):
        code, said = told(*named, out=other, target=target)
        assert (code, refused in said) == (2, True), said
    assert (genome.folder / "o.cohort.json").read_bytes() == decided
    assert told("--qc", genome.folder / "other.tsv", "--format", "GT", out=other)[0] == 0, "the same data"


def test_commands__a_record_is_applied_to_its_own_data_in_another_format(
    genome: Genome, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = genome.folder / "o.vcf.gz", genome.folder / "o.bcf"
    record, target = genome.folder / "o.cohort.json", genome.folder / "others.vcf.gz"
    target.write_bytes(genome.target.read_bytes())

    def told(*options: object, **others: Any) -> tuple[int, str]:
        every = ["impute", *words(genome, **others), *options]
        monkeypatch.setattr("sys.argv", ["vcfrag", *map(str, every)])
        return run(*every)

    assert told(out=first)[0] == 0
    decided = record.read_bytes()
    code, said = told("--cohort", record, out=other, target=target)
    assert (code, f"what was decided for {first} would be overwritten" in said) == (2, True), said
    code, said = told("--cohort", record, out=other)
    assert code == 0, said
    assert record.read_bytes() == decided


def test_plan_and_run_chunk__interrupted_say_how_to_go_on(
    genome: Genome, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = genome.folder / "m.json"
    given = ["plan", *words(genome), "--manifest", manifest, "--samples-per-chunk", 8]

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vcfrag_train.jobs.planning.plan.cut_into_chunks", interrupted)
        code, said = run(*given)
    assert (code, f"interrupted before {manifest} was written; the same command starts anew" in said) == (130, True)
    assert not manifest.exists()
    assert not list(genome.folder.glob(".*"))
    assert run(*given)[0] == 0
    assert run("run-chunk", manifest, 0)[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr("vcfrag_train.jobs.chunks.chunk_file.ChunkWriter.end", interrupted)
        code, said = run("run-chunk", manifest, "0-2")
    assert code == 130
    assert "interrupted: 1 of 3 chunks are done, and kept; the same command goes on with the others" in said
    assert len(list((genome.folder / "m.job" / "chunks").iterdir())) == 1
    code, said = run("run-chunk", manifest, "0-2")
    assert (code, said.count(": done"), said.count("is there already")) == (0, 2, 1)
