"""`vcfrag phase`: the targets' own records with phased genotypes and the probability of each phase."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from cyvcf2 import VCF

from tests.impute_cohort import Cohort, make_cohort
from tests.train.imputing.test_impute_unphased import without_phase
from vcfrag_train.cli import app as cli


@pytest.fixture
def cohort(tmp_path: Path, make_panel) -> Cohort:  # type: ignore[no-untyped-def]
    return make_cohort(tmp_path, make_panel)


def phase(cohort: Cohort, target: Path, *options: str, out: str = "phased.vcf.gz") -> tuple[int, Path]:
    words = ["phase", "--panel", cohort.panel_file, "--target", target, "--out", cohort.folder / out]
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in (*words, "--map", cohort.map_file, *options)])
    return stop.value.code or 0, cohort.folder / out  # type: ignore[return-value]


def rows_of(path: Path) -> list[list[str]]:
    text = gzip.decompress(path.read_bytes()).decode()
    return [line.split("\t") for line in text.splitlines() if line[0] != "#"]


def test_phase__keeps_records_and_genotypes(cohort: Cohort, capsys: pytest.CaptureFixture[str]) -> None:
    lines = without_phase(cohort.lines())
    lines[7][9 + 2] = "./."
    lines[8][9 + 1] = "./1"
    code, out = phase(cohort, cohort.target(lines, "u.vcf.gz"))
    assert code == 0
    assert "1 half calls of 1 samples, as ./1, count as missing" in capsys.readouterr().err
    rows = rows_of(out)
    assert [row[:5] for row in rows] == [line[:5] for line in lines]
    assert {row[8] for row in rows} == {"GT:PP"}
    for row, line in zip(rows, lines, strict=True):
        for cell, given in zip(row[9:], line[9:], strict=True):
            gt, _, probability = cell.partition(":")
            if given in ("./.", "./1"):
                assert gt == "./."
            else:
                assert sorted(gt.split("|")) == sorted(given.split("/"))
            assert probability == "." or 0.5 <= float(probability) <= 1
    assert (out.with_name(out.name + ".tbi")).is_file()
    assert "##INFO" not in gzip.decompress(out.read_bytes()).decode()


def test_phase__pp_stands_at_every_heterozygote_but_the_first(cohort: Cohort) -> None:
    _, out = phase(cohort, cohort.target(without_phase(cohort.lines()), "u.vcf.gz"))
    rows = rows_of(out)
    for s in range(len(cohort.truth.samples)):
        cells = [row[9 + s].split(":") for row in rows]
        hets = [i for i, (gt, _) in enumerate(cells) if gt in ("0|1", "1|0")]
        assert [i for i, (_, pp) in enumerate(cells) if pp != "."] == hets[1:]


def test_phase__finds_most_of_the_truth(cohort: Cohort) -> None:
    _, out = phase(cohort, cohort.target(without_phase(cohort.lines()), "u.vcf.gz"))
    wrong = pairs = 0
    truth = cohort.truth.haplotypes()[:, cohort.typed]
    for s in range(len(cohort.truth.samples)):
        mine = np.array([int(row[9 + s][0]) for row in rows_of(out)])
        hets = truth[2 * s] != truth[2 * s + 1]
        turned = mine[hets] != truth[2 * s][hets]
        wrong, pairs = wrong + int((turned[1:] != turned[:-1]).sum()), pairs + int(hets.sum()) - 1
    assert wrong < 0.15 * pairs


def test_phase__bcf_says_what_the_vcf_says(cohort: Cohort) -> None:
    lines = without_phase(cohort.lines())
    lines[3][4], lines[3][9:] = (
        f"{lines[3][4]},T" if lines[3][4] != "T" else "T,C",
        ["1/2", "0/2", "./.", "0/0", "0|1", "1/1"],
    )
    target = cohort.target(lines, "u.vcf.gz")
    _, out = phase(cohort, target)
    code, bcf = phase(cohort, target, "--threads", "2", out="phased.bcf")
    assert code == 0
    with_pp = 0
    for row, record in zip(rows_of(out), VCF(str(bcf)), strict=True):
        assert [str(record.POS), record.REF, ",".join(record.ALT)] == [row[1], row[3], row[4]]
        for cell, (first, second, is_phased) in zip(row[9:], record.genotypes, strict=True):
            names = ["." if a < 0 else str(a) for a in (first, second)]
            assert cell.split(":")[0] == ("|" if is_phased else "/").join(names)
        pp = np.array([np.nan if cell.endswith(":.") else float(cell.split(":")[1]) for cell in row[9:]])
        assert record.format("PP")[:, 0] == pytest.approx(pp, abs=1e-4, nan_ok=True)
        with_pp += int(np.isfinite(pp).sum())
    assert with_pp > 100
    assert "##INFO" not in VCF(str(bcf)).raw_header
    assert (bcf.with_name("phased.bcf.csi")).is_file()


def test_phase__known_phase_and_records_beside_the_panel_stay(cohort: Cohort) -> None:
    lines = cohort.lines()
    extra = [*lines[5]]
    extra[1], extra[9:] = str(int(extra[1]) + 1), ["0|1", "1|0", "0/1", "0|0", "1|1", "."]
    lines.insert(6, extra)
    for line in lines:
        line[9 + 3] = line[9 + 3].replace("|", "/")
    lines[9][9], lines[9][10] = "0|.", ".|1"
    _, out = phase(cohort, cohort.target(lines, "u.vcf.gz"))
    rows = rows_of(out)
    assert [row[1] for row in rows] == [line[1] for line in lines]
    for row, line in zip(rows, lines, strict=True):
        if line is extra:
            # The third sample's phase is not known anywhere else, so it is phased; this site is in no panel.
            assert [cell.split(":")[0] for cell in row[9:]] == ["0|1", "1|0", "0/1", "0|0", "1|1", "./."]
        else:
            assert [cell.split(":")[0] for i, cell in enumerate(row[9:]) if i not in (2, 3)] == [
                cell for i, cell in enumerate(line[9:]) if i not in (2, 3)
            ]


def test_phase__other_suffixes_are_refused(cohort: Cohort) -> None:
    code, out = phase(cohort, cohort.target(cohort.lines()), out="phased.bgen")
    assert code == 2
    assert not out.exists()


def test_phase__panel_that_reaches_beyond_the_targets(cohort: Cohort, capsys: pytest.CaptureFixture[str]) -> None:
    lines = without_phase(cohort.lines())
    some = [line for line in lines if 300_000 <= int(line[1]) <= 700_000]
    alone = [line[1] for line in some]
    code, out = phase(cohort, cohort.target(some, "u.vcf.gz"))
    assert code == 0
    assert [row[1] for row in rows_of(out)] == alone
    assert all("|" in cell for row in rows_of(out) for cell in row[9:])
    said = capsys.readouterr()
    assert f"phasing at {len(some)} of {len(some)} records" in said.err
    assert "imput" not in said.out + said.err
