"""The parts of an output: interrupted, resumed, damaged, and made of other input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.imputed_output import IDENTITY, Imputed, mosaic
from vcfrag_core.errors import ProvenanceMismatchError
from vcfrag_core.files.parts import parts_folder
from vcfrag_core.files.vcf.writer import ImputedWriter
from vcfrag_core.output.records import (
    DEFAULT_FORMATS,
    OutputRecords,
)


@pytest.mark.parametrize("threads", [1, 3])
def test_imputed_writer__interrupted_run_leaves_no_output_and_can_go_on(tmp_path: Path, threads: int) -> None:
    imputed = Imputed(mosaic(90))
    whole = imputed.write(tmp_path / "whole.vcf.gz")
    path = tmp_path / "o.vcf.gz"
    windows = np.array_split(np.arange(90), 3)

    with pytest.raises(KeyboardInterrupt):
        break_off(path, imputed, windows, threads)
    assert sorted(p.name for p in tmp_path.glob("o.*")) == []
    assert not list(parts_folder(path).glob(".partial-*"))
    with ImputedWriter(path, formats=DEFAULT_FORMATS, contigs=["20"], resume=True) as writer:
        writer.begin("20", IDENTITY)
        assert [writer.has("20", number) for number in range(3)] == [True, False, False]
        for number in (1, 2):
            writer.write("20", number, [imputed.records(windows[number])])
        writer.finish(imputed.header(DEFAULT_FORMATS))
    assert path.read_bytes() == whole.read_bytes()
    assert not parts_folder(path).exists()


def break_off(path: Path, imputed: Imputed, windows: Sequence[np.ndarray], threads: int) -> None:
    """Writes the first window and is interrupted in the second."""

    def pieces() -> Iterator[OutputRecords]:
        yield imputed.records(windows[1][:10])
        raise KeyboardInterrupt

    with ImputedWriter(path, formats=DEFAULT_FORMATS, contigs=["20"], threads=threads) as writer:
        writer.begin("20", IDENTITY)
        writer.write("20", 0, [imputed.records(windows[0])])
        writer.write("20", 1, pieces())


def interrupted(path: Path, imputed: Imputed) -> None:
    with ImputedWriter(path, formats=DEFAULT_FORMATS, contigs=["20"]) as writer:
        writer.begin("20", IDENTITY)
        writer.write("20", 0, [imputed.records(np.arange(5))])


def test_imputed_writer__parts_of_another_input_are_never_taken_up(tmp_path: Path) -> None:
    imputed = Imputed(mosaic(10))
    path = tmp_path / "o.vcf.gz"
    interrupted(path, imputed)
    with (
        ImputedWriter(path, formats=DEFAULT_FORMATS, contigs=["20"], resume=True) as writer,
        pytest.raises(ProvenanceMismatchError, match="made with mask m, this run has other"),
    ):
        writer.begin("20", {**IDENTITY, "mask": "other"})
    with pytest.raises(ProvenanceMismatchError, match="made with formats GT,DS,HDS,GP, this run has GT"):
        ImputedWriter(path, formats=("GT",), contigs=["20"], resume=True)


def test_imputed_writer__without_resume_a_run_starts_anew(tmp_path: Path) -> None:
    imputed = Imputed(mosaic(10))
    path = tmp_path / "o.vcf.gz"
    interrupted(path, imputed)
    with ImputedWriter(path, formats=DEFAULT_FORMATS, contigs=["20"]) as writer:
        writer.begin("20", {"panel": "another"})
        assert not writer.has("20", 0)


def test_imputed_writer__a_damaged_part_is_noticed(tmp_path: Path) -> None:
    imputed = Imputed(mosaic(10))
    path = tmp_path / "o.vcf.gz"
    interrupted(path, imputed)
    (part,) = parts_folder(path).glob("*.part")
    part.write_bytes(part.read_bytes()[:-3])
    with (
        ImputedWriter(path, formats=DEFAULT_FORMATS, contigs=["20"], resume=True) as writer,
        pytest.raises(ProvenanceMismatchError, match="not as it was written"),
    ):
        writer.finish(imputed.header(DEFAULT_FORMATS))
    assert not path.exists()
