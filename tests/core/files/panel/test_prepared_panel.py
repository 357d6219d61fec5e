"""Prepared panels: what goes in comes out, contig by contig, and what is damaged is refused."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

import vcfrag_core as vc
from tests.impute_cohort import MakePanel
from tests.vcf_text import panel_text, record, vcf_text, write_vcf
from vcfrag_core.errors import (
    CacheError,
    ConfigError,
    EmptyInputError,
    InputError,
    PloidyError,
    UnknownContigError,
    UnknownSampleError,
)
from vcfrag_core.files.panel.build import PanelFilter, build_prepared
from vcfrag_core.files.panel.cache import load_panel, load_panels
from vcfrag_core.files.panel.prepared import MAGIC, is_prepared, read_table
from vcfrag_core.files.panel.reader import read_panel, read_panels

SAMPLES = ("A", "B", "C")


@pytest.fixture
def files(tmp_path: Path, make_panel: MakePanel) -> list[Path]:
    """Chromosome 20 in one file; 21 and X, along which ploidy changes, in another."""
    one = write_vcf(tmp_path / "one.bcf", panel_text(make_panel(n_samples=10, n_sites=60, seed=1, contig="20")))
    rng = np.random.default_rng(2)
    records = [record(5 * i, [f"{rng.integers(2)}|1" for _ in SAMPLES], contig="21") for i in range(1, 9)]
    records += [record(5 * i, ["0|1", "1|0" if i < 5 else "1", "0|0"], contig="X") for i in range(1, 9)]
    two = write_vcf(tmp_path / "two.vcf.gz", vcf_text(SAMPLES, records, contigs={"21": 99, "X": 99}), index=True)
    return [one, two]


def test_build_prepared__holds_the_panels_of_its_files(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "all.vcfrag"
    said: list[tuple[str, int]] = []
    entries = build_prepared(out, files, PanelFilter(), progress=lambda contig, n: said.append((contig, n)))
    assert [entry.contig for entry in entries] == ["20", "21", "X", "X"]
    assert {contig for contig, _ in said} == {"20", "21", "X"}
    assert is_prepared(out)
    assert not is_prepared(files[0])
    assert load_panel(out, region="20").digest == read_panel(files[0]).digest == entries[0].digest
    assert load_panel(out, region="chr21").digest == read_panel(files[1], region="21").digest
    ours, theirs = load_panels(out, region="X"), read_panels(files[1], region="X")
    assert [p.digest for p in ours] == [p.digest for p in theirs]
    assert [str(p.ploidy) for p in ours] == ["2x3", "2x1 1x1 2x1"]
    assert [entry.n_haplotypes for entry in entries] == [20, 6, 6, 5]


def test_build_prepared__a_part_of_a_contig_is_the_sites_within(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "all.vcfrag"
    build_prepared(out, files, PanelFilter())
    whole = read_panel(files[0])
    start, stop = int(whole.positions[10]), int(whole.positions[40])
    part = load_panel(out, region=f"20:{start}-{stop}")
    assert part.digest == read_panel(files[0], region=f"20:{start}-{stop}").digest
    assert [p.n_sites for p in load_panels(out, region="X:11-30")] == [2, 2]
    assert load_panels(out, region="X:1-9")[0].n_sites == 1


def test_build_prepared__nobody_changes_it_and_everybody_may_read_it(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "all.vcfrag"
    build_prepared(out, files, PanelFilter())
    assert stat.S_IMODE(out.stat().st_mode) & 0o222 == 0
    assert stat.S_IMODE(out.stat().st_mode) & 0o444 == 0o444
    assert sorted(path.name for path in tmp_path.iterdir() if "partial" in path.name) == []


def test_build_prepared__of_prepared_panels(files: list[Path], tmp_path: Path) -> None:
    parts = [tmp_path / "a.vcfrag", tmp_path / "b.vcfrag"]
    for part, file in zip(parts, files, strict=True):
        build_prepared(part, [file], PanelFilter())
    entries = build_prepared(tmp_path / "all.vcfrag", parts, PanelFilter())
    whole = build_prepared(tmp_path / "whole.vcfrag", files, PanelFilter())
    assert [entry.digest for entry in entries] == [entry.digest for entry in whole]
    key, _ = read_table(tmp_path / "all.vcfrag")
    assert key == {"file_1": str(parts[0]), "file_2": str(parts[1])}


def test_build_prepared__keeps_samples_and_sites_that_are_asked_for(files: list[Path], tmp_path: Path) -> None:
    whole = read_panel(files[0])
    names = (whole.samples[7], whole.samples[2], whole.samples[5])
    build_prepared(tmp_path / "few.vcfrag", files[:1], PanelFilter(samples=names, min_copies=2))
    found = load_panel(tmp_path / "few.vcfrag")
    alleles = whole.haplotypes(whole.rows_of(sorted(names)))
    copies = alleles.sum(axis=0)
    kept = np.flatnonzero(np.minimum(copies, 6 - copies) >= 2)
    assert found.samples == tuple(sorted(names))
    np.testing.assert_array_equal(found.positions, whole.positions[kept])
    np.testing.assert_array_equal(found.haplotypes(), alleles[:, kept])
    assert found.counts == {"rarer_than_min_copies": whole.n_sites - len(kept)}


def test_build_prepared__refuses(files: list[Path], tmp_path: Path, make_panel: MakePanel) -> None:
    out = tmp_path / "all.vcfrag"
    again = write_vcf(tmp_path / "again.vcf", panel_text(make_panel(n_samples=3, n_sites=9, seed=1, contig="chr20")))
    with pytest.raises(InputError, match=r"again\.vcf: contig chr20 is also in .*one\.bcf"):
        build_prepared(out, [*files, again], PanelFilter())
    with pytest.raises(ConfigError, match="no file"):
        build_prepared(out, [], PanelFilter())
    with pytest.raises(ConfigError, match="is an input"):
        build_prepared(files[0], files, PanelFilter())
    with pytest.raises(ConfigError, match=r"all\.vcf\.gz: a prepared panel is no file of this kind"):
        build_prepared(tmp_path / "all.vcf.gz", files, PanelFilter())
    with pytest.raises(EmptyInputError, match="contig 20 has none of the samples"):
        build_prepared(out, files, PanelFilter(samples=("A",)))
    with pytest.raises(UnknownSampleError, match="1 of the samples are in no file, such as 'nobody'"):
        build_prepared(out, files[1:], PanelFilter(samples=("A", "nobody")))
    with pytest.raises(EmptyInputError, match="no site of contig 20 is left"):
        build_prepared(out, files, PanelFilter(min_copies=11))
    assert not out.exists()


def test_load_panels__of_a_prepared_panel_refuses_contigs(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "all.vcfrag"
    build_prepared(out, files, PanelFilter())
    with pytest.raises(UnknownContigError, match="no contig '7' here; the panel has 20, 21, X"):
        load_panels(out, region="7")
    with pytest.raises(UnknownContigError, match="several contigs, of which one is read here: name it as the region"):
        load_panels(out)


def test_read_panel__of_the_face_takes_a_prepared_panel(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "all.vcfrag"
    build_prepared(out, files, PanelFilter())
    whole = vc.read_panel(files[0])
    assert vc.read_panel(out, region="20").digest == whole.digest
    last = int(whole.positions[-1])
    assert vc.read_panel(out, region=f"20:{last}-{last}").n_sites == 1
    with pytest.raises(EmptyInputError, match=f"no site lies in 20:{last + 1}-{last + 2}"):
        vc.read_panel(out, region=f"20:{last + 1}-{last + 2}")
    with pytest.raises(PloidyError, match="one haplotype in one part of X"):
        vc.read_panel(out, region="X")


@pytest.mark.parametrize("where", ["start", "table", "middle", "cut", "short"])
def test_load_panels__refuses_a_damaged_prepared_panel(files: list[Path], tmp_path: Path, where: str) -> None:
    out = tmp_path / "all.vcfrag"
    build_prepared(out, files[:1], PanelFilter())
    content = bytearray(out.read_bytes())
    table = content.rindex(b'{"key"')
    if where in ("start", "table", "middle"):
        content[{"start": len(MAGIC) - 1, "table": table + 9, "middle": table - 5}[where]] ^= 1
    else:
        content = content[: len(content) - 20 if where == "cut" else 9]
    out.chmod(0o644)
    out.write_bytes(content)
    with pytest.raises(CacheError, match=r"this version|damaged|cut short"):
        load_panels(out, region="20")


def test_read_table__says_what_the_file_is_instead(files: list[Path]) -> None:
    with pytest.raises(CacheError, match=r"no prepared panel, but BCF; `vcfrag panel build` makes one"):
        read_table(files[0])
