"""Tables of who is a man and who a woman."""

from __future__ import annotations

from pathlib import Path

import pytest

from vcfrag_core.errors import SampleTableError
from vcfrag_core.files.tables.sexes import read_sexes
from vcfrag_core.targets.calls import Sex


@pytest.mark.parametrize("head", ["", "sample\tsex\n"])
def test_read_sexes__every_way_to_write_them(tmp_path: Path, head: str) -> None:
    path = tmp_path / "sex.txt"
    path.write_text(head + "A M\nB\tf\nC 1\nD 2\nE male\nF Female\nG 0\nH NA\n")
    men, women = dict.fromkeys("ACE", Sex.MALE), dict.fromkeys("BDF", Sex.FEMALE)
    assert read_sexes(path) == {**men, **women}


def test_read_sexes__plink_tables(tmp_path: Path) -> None:
    (tmp_path / "t.fam").write_text("F A 0 0 1 -9\nF B 0 0 2 -9\nF C 0 0 0 -9\n")
    (tmp_path / "t.psam").write_text("#IID SEX\nA M\nB F\nC NA\n")
    for name in ("t.fam", "t.psam"):
        assert read_sexes(tmp_path / name) == {"A": Sex.MALE, "B": Sex.FEMALE}


def test_read_sexes__a_line_of_another_form_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sex.txt"
    for text, line in (("A M\nB\n", "line 2"), ("name sex\nA boy\n", "line 2"), ("A M\nA F\n", "line 2")):
        path.write_text(text)
        with pytest.raises(SampleTableError, match=line):
            read_sexes(path)
