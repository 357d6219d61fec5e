"""One writer at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from vcfrag_core.errors import OutputError
from vcfrag_core.files.lock import refuse_other_writer, sole_writer
from vcfrag_core.files.vcf.writer import ImputedWriter


def test_sole_writer__a_second_one_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    path = tmp_path / "out.bcf"
    with sole_writer(path):
        with pytest.raises(OutputError, match=r"another run writes .*out\.bcf"), sole_writer(path):
            pass
        with pytest.raises(OutputError, match=r"another run writes .*out\.bcf"):
            refuse_other_writer(path)
        with sole_writer(tmp_path / "other.bcf"):
            refuse_other_writer(tmp_path / "third.bcf")
    with sole_writer(path):
        pass
    refuse_other_writer(path)
    assert list(tmp_path.iterdir()) == []


def test_writer__a_second_run_leaves_the_first_ones_parts(tmp_path: Path) -> None:
    path = tmp_path / "out.vcf.gz"
    with ImputedWriter(path, formats=("GT",), contigs=["20"]) as first:
        first.begin("20", {"panel": "a"})
        with pytest.raises(OutputError, match="another run writes"):
            ImputedWriter(path, formats=("GT",), contigs=["20"])
        first.begin("20", {"panel": "a"})
    with ImputedWriter(path, formats=("GT",), contigs=["20"], resume=True) as again:
        again.begin("20", {"panel": "a"})
