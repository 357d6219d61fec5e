"""The output: columns, header, index, parts and resuming, and that bcftools and plink2 take it."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.imputed_output import IDENTITY, TWO, Imputed, lines_of, mosaic
from tests.vcf_text import need_bcftools, panels
from vcfrag_core.errors import ConfigError, ShapeError
from vcfrag_core.files.outputs import check_output
from vcfrag_core.files.vcf.reader import open_vcf
from vcfrag_core.files.vcf.writer import ImputedWriter
from vcfrag_core.output.cohort_sums import estimated_r2
from vcfrag_core.output.header import Header
from vcfrag_core.output.records import (
    DEFAULT_FORMATS,
    FORMATS,
    PassThroughRecord,
    parse_formats,
    site_records,
)
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy


@given(panel=panels(max_sites=20), seed=st.integers(0, 2**16))
def test_imputed_writer__columns_agree_with_each_other_and_with_the_dosages(
    panel: Panel, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    imputed = Imputed(panel, seed=seed)
    path = imputed.write(tmp_path_factory.mktemp("out") / "o.vcf.gz", formats=FORMATS, windows=min(2, panel.n_sites))
    text = gzip.decompress(path.read_bytes()).decode()
    rows = [line.split("\t") for line in text.splitlines() if line[0] != "#"]
    assert len(rows) == panel.n_sites
    for site, row in enumerate(rows):
        assert row[:5] == [
            panel.contig,
            str(panel.positions[site]),
            panel.site_ids[site],
            panel.refs[site],
            panel.alts[site],
        ]
        assert row[5:7] == [".", "PASS"]
        fields = row[8].split(":")
        assert fields == (list(FORMATS) if imputed.typed[site] else list(DEFAULT_FORMATS))
        for sample, cell in enumerate(row[9:]):
            check_cell(imputed, site, sample, dict(zip(fields, cell.split(":"), strict=True)))


def check_cell(imputed: Imputed, site: int, sample: int, cell: dict[str, str]) -> None:
    rows = slice(2 * sample, 2 * sample + 2)
    alleles, dosage = imputed.alleles[rows, site], imputed.dosage[rows, site]
    hds = [float(x) for x in cell["HDS"].split(",")]
    gp = [float(x) for x in cell["GP"].split(",")]
    gt = [int(x) for x in cell["GT"].split("|")]
    for h in range(2):
        wanted = float(alleles[h]) if imputed.typed[site] and alleles[h] >= 0 else float(dosage[h])
        assert abs(hds[h] - wanted) <= 0.00051
        if imputed.typed[site] and alleles[h] >= 0:
            assert gt[h] == alleles[h]
    assert round(1000 * float(cell["DS"])) == round(1000 * hds[0]) + round(1000 * hds[1])
    assert sum(round(1000 * x) for x in gp) == 1000
    assert gp[sum(gt)] == max(gp)
    if gt[0] != gt[1]:
        assert hds[gt.index(1)] == max(hds)
    if "LOO" in cell:
        both = imputed.loo[rows, site].astype(np.float64)
        assert cell["LOO"] == "." if (alleles < 0).any() else abs(float(cell["LOO"]) - both.sum()) <= 0.0011


@pytest.mark.parametrize("suffix", ["vcf.gz", "bcf"])
def test_imputed_writer__info_column(tmp_path: Path, suffix: str) -> None:
    imputed = Imputed(mosaic(40))
    path = imputed.write(tmp_path / f"o.{suffix}")
    for site, row in enumerate(lines_of(path)):
        info = dict(part.partition("=")[::2] for part in row[7].split(";"))
        known = imputed.typed[site] & (imputed.alleles[:, site] >= 0)
        values = np.where(known, imputed.alleles[:, site], imputed.dosage[:, site].astype(np.float64))
        af = values.mean()
        assert float(info["AF"]) == pytest.approx(af, rel=1e-4)
        assert float(info["MAF"]) == pytest.approx(min(af, 1 - af), rel=1e-4)
        r2 = estimated_r2(imputed.panel, np.array([site]), values[:, None], known[:, None])
        assert float(info["R2"]) == pytest.approx(r2[0], rel=1e-3)
        assert ("TYPED" in info) == imputed.typed[site] == ("IMP" not in info)
        assert ("ER2" in info) == imputed.typed[site]
        if imputed.typed[site]:
            assert float(info["ER2"]) == pytest.approx(imputed.er2[site], rel=1e-3)


@pytest.mark.parametrize("formats", ["GT", "DS", "GT,DS", "GP,GT", "HDS", "GT,DS,HDS,GP,LOO", "DS,LOO"])
def test_imputed_writer__vcf_and_bcf_say_the_same(tmp_path: Path, formats: str) -> None:
    chosen = parse_formats(formats)
    imputed = Imputed(mosaic(60))
    as_text, as_binary = (imputed.write(tmp_path / name, formats=chosen) for name in ("o.vcf.gz", "o.bcf"))
    text, binary = lines_of(as_text), lines_of(as_binary)
    assert text == binary
    assert len(text) == 60
    assert text[0][8].split(":") == [name for name in chosen if name != "LOO" or imputed.typed[0]]


def test_parse_formats__fixed_order_and_refusals() -> None:
    assert parse_formats("gp, gt") == ("GT", "GP")
    assert parse_formats(["LOO", "DS"]) == ("DS", "LOO")
    for text, message in (("GT,XX", "'XX'"), ("", "''"), ("LOO", "typed sites only")):
        with pytest.raises(ConfigError, match=message):
            parse_formats(text)


@pytest.mark.parametrize("suffix", ["vcf.gz", "bcf"])
@pytest.mark.parametrize("step", [1, 700, 500_000])
def test_imputed_writer__the_index_finds_what_a_scan_finds(tmp_path: Path, suffix: str, step: int) -> None:
    imputed = Imputed(mosaic(120, step=step))
    path = imputed.write(tmp_path / f"o.{suffix}", windows=7)
    positions = imputed.panel.positions
    rng = np.random.default_rng(step)
    for _ in range(12):
        start, stop = np.sort(rng.integers(positions[0] - 10, positions[-1] + 10, 2)).tolist()
        region = f"20:{max(1, start)}-{stop}"
        inside = positions[(positions >= start) & (positions <= stop)]
        assert [int(row[1]) for row in lines_of(path, "-r", region)] == inside.tolist()
    assert (
        subprocess.run(
            [need_bcftools(), "index", "-n", str(path)], check=True, capture_output=True, text=True
        ).stdout.strip()
        == "120"
    )


def test_imputed_writer__an_index_of_its_own_and_one_by_bcftools_answer_alike(tmp_path: Path) -> None:
    """Long deletions span the windows of the linear index."""
    rng = np.random.default_rng(3)
    positions = np.sort(rng.integers(1, 3_000_000, 200))
    refs = ["A" * int(n) for n in rng.choice([1, 2, 100, 20_000, 60_000], 200)]
    panel = Panel.from_haplotypes(
        rng.integers(0, 2, (2, 200)),
        contig="20",
        positions=positions,
        refs=refs,
        alts=["A" + "C"[: len(r) > 0] for r in refs],
    )
    own = Imputed(panel, n_samples=1).write(tmp_path / "own.vcf.gz", formats=("GT",))
    theirs = tmp_path / "theirs.vcf.gz"
    shutil.copy(own, theirs)
    subprocess.run([need_bcftools(), "index", "-t", str(theirs)], check=True)
    for start in rng.integers(1, 3_100_000, 25).tolist():
        region = f"20:{start}-{start + 5000}"
        assert lines_of(own, "-r", region) == lines_of(theirs, "-r", region)


def test_imputed_writer__contigs_beyond_512_mb_get_a_csi_index(tmp_path: Path) -> None:
    panel = Panel.from_haplotypes(np.zeros((2, 3)), contig="1", positions=np.array([5, 600_000_000, 2_000_000_000]))
    path = Imputed(panel).write(tmp_path / "o.vcf.gz", length=2_100_000_000, windows=1)
    assert Path(f"{path}.csi").is_file()
    assert not Path(f"{path}.tbi").exists()
    assert [row[1] for row in lines_of(path, "-r", "1:599999999-600000001")] == ["600000000"]
    assert [row[1] for row in lines_of(path, "-r", "1:2000000000-")] == ["2000000000"]


@pytest.mark.parametrize("suffix", ["vcf.gz", "bcf"])
def test_imputed_writer__bytes_depend_neither_on_threads_nor_on_pieces(tmp_path: Path, suffix: str) -> None:
    imputed = Imputed(mosaic(2000), n_samples=30)
    one = imputed.write(tmp_path / f"one.{suffix}")
    many = imputed.write(tmp_path / f"many.{suffix}", threads=3, pieces=9)
    assert one.read_bytes() == many.read_bytes()
    ending = ".tbi" if suffix == "vcf.gz" else ".csi"
    assert Path(f"{one}{ending}").read_bytes() == Path(f"{many}{ending}").read_bytes()


def test_imputed_writer__kept_records_stand_among_the_panels_sites(tmp_path: Path) -> None:
    imputed = Imputed(mosaic(10), n_samples=2)
    alleles, other = np.array([0, 2, -1, 1], dtype=np.int8), np.array([0, 1, 1, 1], dtype=np.int8)
    kept = [
        PassThroughRecord(position=1, site_id="rs1", ref="A", alts=("C", "G"), alleles=alleles, ploidy=TWO),
        PassThroughRecord(position=60_000, site_id=".", ref="AC", alts=("A",), alleles=other, ploidy=TWO),
        PassThroughRecord(position=61_000, site_id=".", ref="T", alts=(), alleles=np.zeros(4, np.int8), ploidy=TWO),
    ]
    for suffix in ("vcf.gz", "bcf"):
        rows = lines_of(imputed.write(tmp_path / f"o.{suffix}", kept=kept, windows=1))
        assert [int(row[1]) for row in rows[:4]] == [1, 60_000, 60_000, 61_000]
        assert rows[0][2:5] + rows[0][7:] == ["rs1", "A", "C,G", "UNUSED", "GT", "0|2", ".|1"]
        assert rows[1][7] != "UNUSED"
        assert rows[2][3:5] + rows[2][7:] == ["AC", "A", "UNUSED", "GT", "0|1", "1|1"]
        assert rows[3][4] == "."
    dosage_only = lines_of(imputed.write(tmp_path / "ds.vcf.gz", kept=(), formats=("DS",), windows=1))
    assert len(dosage_only) == 10


def test_imputed_writer__one_haplotype_has_one_allele_and_two_probabilities(tmp_path: Path) -> None:
    imputed = Imputed(mosaic(40), ploidy=Ploidy.of([1, 2, 1]))
    alleles = np.array([1, 0, 1, -1], dtype=np.int8)
    kept = [PassThroughRecord(position=1, site_id=".", ref="A", alts=("C",), alleles=alleles, ploidy=imputed.ploidy)]
    path = imputed.write(tmp_path / "o.vcf.gz", formats=FORMATS, kept=kept, windows=1)
    rows = lines_of(path)
    assert rows[0][9:] == ["1", "0|1", "."]
    known = (imputed.alleles >= 0) & imputed.typed
    for site, row in enumerate(rows[1:]):
        first = dict(zip(row[8].split(":"), row[9].split(":"), strict=True))
        allele = float(imputed.alleles[0, site]) if known[0, site] else float(imputed.dosage[0, site])
        assert float(first["DS"]) == pytest.approx(allele, abs=6e-4)
        assert first["HDS"] == first["DS"]
        assert [float(p) for p in first["GP"].split(",")] == pytest.approx([1 - allele, allele], abs=6e-4)
        assert first["GT"] == str(int(float(first["DS"]) > 0.5))
        assert row[10].count("|") == 1
    as_bcf = imputed.write(tmp_path / "o.bcf", formats=FORMATS, kept=kept, windows=1)
    assert [row[8:] for row in lines_of(as_bcf)] == [row[8:] for row in rows]


def test_imputed_writer__header(tmp_path: Path) -> None:
    imputed = Imputed(mosaic(5))
    with open_vcf(imputed.write(tmp_path / "o.vcf.gz")) as reader:
        assert reader.samples == tuple(imputed.samples)
        assert reader.contig_length("20") == 63_025_520
        for line in (
            "##vcfrag_version=1.0",
            "##vcfrag_command=vcfrag impute --out x",
            "##vcfrag_input=<ID=20,panel=p,mask=m>",
        ):
            assert line in reader.header.splitlines()
        for name in ("GT", "DS", "HDS", "GP"):
            assert re.search(rf"^##FORMAT=<ID={name},", reader.header, re.MULTILINE)
        for name in ("AF", "MAF", "R2", "ER2", "IMP", "TYPED"):
            assert re.search(rf"^##INFO=<ID={name},", reader.header, re.MULTILINE)
        assert "ID=LOO" not in reader.header


def test_imputed_writer__several_contigs_in_their_order(tmp_path: Path) -> None:
    panels_ = [Panel.from_haplotypes(np.zeros((2, 30)), contig=contig) for contig in ("21", "20", "22")]
    both = [Imputed(panel) for panel in panels_]
    for suffix in ("vcf.gz", "bcf"):
        path = tmp_path / f"o.{suffix}"
        with ImputedWriter(path, formats=("GT",), contigs=["21", "20", "22"]) as writer:
            for imputed in (both[0], both[2]):
                writer.begin(imputed.panel.contig, IDENTITY)
                writer.write(imputed.panel.contig, 0, [imputed.records(np.arange(30), ("GT",))])
            header = Header(
                samples=both[0].samples, contigs={"21": 10**6, "20": None, "22": 10**6}, formats=("GT",), provenance=()
            )
            assert writer.finish(header) == 60
        assert [row[0] for row in lines_of(path)] == ["21"] * 30 + ["22"] * 30
        assert {row[0] for row in lines_of(path, "-r", "22")} == {"22"}
        assert lines_of(path, "-r", "20") == []


def test_check_output__refusals(tmp_path: Path) -> None:
    for name in ("o.vcf", "o.txt", "o.gz"):
        with pytest.raises(ConfigError, match=r"must end in \.vcf\.gz, \.bcf, \.bgen or \.pgen"):
            check_output(tmp_path / name)
    with pytest.raises(ConfigError, match="there is no folder"):
        check_output(tmp_path / "nowhere" / "o.bcf")


def test_output_records__refuses_other_shapes() -> None:
    panel = mosaic(3)
    with pytest.raises((ShapeError, ValueError)):
        site_records(
            panel,
            np.arange(3),
            dosage=np.zeros((4, 2), np.float32),
            alleles=np.full((4, 2), -1, np.int8),
            typed=np.zeros(2, np.bool_),
        )


@pytest.mark.parametrize("suffix", ["vcf.gz", "bcf"])
def test_imputed_writer__bcftools_works_with_it(tmp_path: Path, suffix: str) -> None:
    bcftools = need_bcftools()
    imputed = Imputed(mosaic(200), n_samples=10)
    path = imputed.write(tmp_path / f"o.{suffix}")
    stats = subprocess.run([bcftools, "stats", str(path)], check=True, capture_output=True, text=True)
    assert "number of records:\t200" in stats.stdout
    assert "number of samples:\t10" in stats.stdout
    subprocess.run([bcftools, "index", "-f", str(path)], check=True, capture_output=True)
    tagged = subprocess.run(
        [bcftools, "+fill-tags", str(path), "--", "-t", "AN,AC"], check=True, capture_output=True, text=True
    )
    assert "AN=20" in tagged.stdout
    subprocess.run(
        [bcftools, "view", "-r", "20:60000-400000", "-Ob", "-o", str(tmp_path / "a.bcf"), str(path)], check=True
    )
    subprocess.run([bcftools, "view", "-r", "20:400001-", "-Ob", "-o", str(tmp_path / "b.bcf"), str(path)], check=True)
    joined = subprocess.run(
        [bcftools, "concat", str(tmp_path / "a.bcf"), str(tmp_path / "b.bcf")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert [line.split("\t") for line in joined.stdout.splitlines() if line[0] != "#"] == lines_of(path)
    for run in (stats, tagged, joined):
        assert "[E::" not in run.stderr
        assert "[W::" not in run.stderr


@pytest.mark.parametrize("suffix", ["vcf.gz", "bcf"])
def test_imputed_writer__plink2_reads_the_dosages(tmp_path: Path, suffix: str) -> None:
    plink2 = shutil.which("plink2")
    if plink2 is None:
        pytest.skip("plink2 is not on the PATH")
    imputed = Imputed(mosaic(50), n_samples=10)
    path = imputed.write(tmp_path / f"o.{suffix}")
    flag = "--vcf" if suffix == "vcf.gz" else "--bcf"
    subprocess.run(
        [
            plink2,
            flag,
            str(path),
            "dosage=DS",
            "--export",
            "A-transpose",
            "--set-all-var-ids",
            "@:#",
            "--new-id-max-allele-len",
            "50",
            "--out",
            str(tmp_path / "p"),
        ],
        check=True,
        capture_output=True,
    )
    rows = [line.split("\t") for line in (tmp_path / "p.traw").read_text().splitlines()[1:]]
    known = imputed.typed & (imputed.alleles >= 0)
    dosage = np.where(known, imputed.alleles, imputed.dosage).reshape(10, 2, 50).sum(axis=1)
    for site, row in enumerate(rows):
        counted = np.array([float(x) for x in row[6:]])
        alt = counted if row[4] == imputed.panel.alts[site] else 2 - counted
        np.testing.assert_allclose(alt, dosage[:, site], atol=0.002)
