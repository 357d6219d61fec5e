"""Sample tables: with a header, or as PLINK writes families."""

from __future__ import annotations

from pathlib import Path

import pytest

from vcfrag_core.errors import SampleTableError
from vcfrag_core.files.tables.samples import read_sample_table


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_read_sample_table__reads_every_column_it_knows(tmp_path: Path) -> None:
    path = write(
        tmp_path / "s.tsv",
        "sample\tpop\tsuper_pop\tgender\tfamily\tfather\tmother",
        "HG1\tACB\tAFR\tmale\tBB01\t0\t0",
        "HG3\tACB\tAFR\tfemale\tBB01\tHG1\tHG2",
        "HG4\tNA\t.\t\t\t\t",
    )
    table = read_sample_table(path)
    assert table.samples == ("HG1", "HG3", "HG4")
    assert table.population == ("ACB", "ACB", None)
    assert table.super_population == ("AFR", "AFR", None)
    assert table.family == ("BB01", "BB01", None)
    assert table.father == (None, "HG1", None)
    assert table.mother == (None, "HG2", None)


def test_read_sample_table__needs_the_sample_column_only(tmp_path: Path) -> None:
    table = read_sample_table(write(tmp_path / "s.tsv", "age\tSample", "7\tA", "8\t0"))
    assert table.samples == ("A", "0")
    assert table.population == table.family == table.mother == (None, None)


def test_read_sample_table__blanks_separate_where_there_are_no_tabs(tmp_path: Path) -> None:
    table = read_sample_table(write(tmp_path / "s.txt", "sample  pop", "A   GBR", "B   FIN"))
    assert table.population == ("GBR", "FIN")


def test_read_sample_table__psam(tmp_path: Path) -> None:
    table = read_sample_table(write(tmp_path / "s.psam", "#FID\tIID\tPAT\tMAT\tSEX", "F\tC\tA\tB\t1"))
    assert (table.samples, table.family, table.father, table.mother) == (("C",), ("F",), ("A",), ("B",))


@pytest.mark.parametrize("suffix", [".fam", ".ped"])
def test_read_sample_table__plink_families(tmp_path: Path, suffix: str) -> None:
    genotypes = " A A C T" if suffix == ".ped" else ""
    path = write(tmp_path / f"s{suffix}", f"F1 A 0 0 1 -9{genotypes}", f"F1 C A B 2 -9{genotypes}")
    table = read_sample_table(path)
    assert table.samples == ("A", "C")
    assert table.family == ("F1", "F1")
    assert (table.father, table.mother) == ((None, "A"), (None, "B"))
    assert table.super_population == (None, None)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "the file is empty"),
        (["name\tpop", "A\tB"], "no column `sample` in the header 'name pop'"),
        (["sample\tpop", "A\tGBR", "B"], "record line 3: 1 fields, not 2"),
        (["sample\tpop", "A\tGBR", "\tGBR"], "record line 3: no sample name"),
        (["sample\tpop", "A\tGBR", "", "A\tFIN"], "record line 4, sample A: is named twice, first in line 2"),
    ],
)
def test_read_sample_table__refuses(tmp_path: Path, lines: list[str], message: str) -> None:
    path = write(tmp_path / "s.tsv", *lines)
    with pytest.raises(SampleTableError, match=message) as caught:
        read_sample_table(path)
    assert str(caught.value).startswith(str(path))


def test_read_sample_table__refuses_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SampleTableError, match="cannot be read: No such file"):
        read_sample_table(tmp_path / "absent.tsv")


def test_read_sample_table__real_samples(data_dir: Path) -> None:
    table = read_sample_table(data_dir / "samples_2404.tsv")
    assert len(table.samples) == 2404
    assert len(set(table.population)) == 26
    assert set(table.super_population) == {"AFR", "AMR", "EAS", "EUR", "SAS"}
    assert sum(father is not None for father in table.father) == 9
