"""`vcfrag impute` of targets whose phase is not known: what is written is the mean over draws of it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from cyvcf2 import VCF

from tests.impute_cohort import Cohort, Impute, Outcome, dosage_r2


def without_phase(lines: list[list[str]]) -> list[list[str]]:
    """The same genotypes with their alleles sorted and `/`."""
    return [line[:9] + ["/".join(sorted(cell.split("|"))) for cell in line[9:]] for line in lines]


def cells(outcome: Outcome, field: str) -> np.ndarray:
    """(V, S, n) numbers of a FORMAT field in thousandths."""
    place = outcome.rows[0][8].split(":").index(field)
    text = [[cell.split(":")[place].split(",") for cell in row[9:]] for row in outcome.rows]
    return np.rint(np.array(text, dtype=np.float64) * 1000).astype(int)


@pytest.fixture
def unphased(cohort: Cohort, impute: Impute) -> Outcome:
    outcome = impute(cohort.target(without_phase(cohort.lines()), "unphased.vcf.gz"), out="unphased.out.vcf.gz")
    assert outcome.code == 0
    return outcome


def test_impute__unphased_targets_lose_little(cohort: Cohort, impute: Impute, unphased: Outcome) -> None:
    phased = impute(cohort.target(cohort.lines()))
    assert "not phased" not in phased.stderr
    n = len(cohort.truth.samples)
    assert f"{n} of {n} samples are not phased" in unphased.stderr
    assert [line for line in unphased.header if "vcfrag_phasing" in line] == [
        f"##vcfrag_phasing=<ID=20,unphased_samples={n},draws=8>"
    ]
    assert not any("vcfrag_phasing" in line for line in phased.header)
    assert dosage_r2(unphased, cohort) > dosage_r2(phased, cohort) - 0.05


def test_impute__columns_of_unphased_targets_agree_with_each_other(cohort: Cohort, unphased: Outcome) -> None:
    ds, hds, gp = (cells(unphased, name) for name in ("DS", "HDS", "GP"))
    assert np.array_equal(ds[:, :, 0], hds.sum(axis=2))
    assert (gp.sum(axis=2) == 1000).all()
    assert (gp >= 0).all()
    gt = np.array([[[int(a) for a in cell[:3].split("|")] for cell in row[9:]] for row in unphased.rows])
    copies = gt.sum(axis=2)
    assert np.array_equal(np.take_along_axis(gp, copies[:, :, None], axis=2)[:, :, 0], gp.max(axis=2))
    het = copies == 1
    assert (hds[het][gt[het] == 1] >= hds[het][gt[het] == 0]).all()
    typed = np.array(["TYPED" in row[7] for row in unphased.rows])
    true = cohort.truth.haplotypes().reshape(-1, 2, cohort.truth.n_sites).sum(axis=1).T
    assert np.array_equal(copies[typed], true[typed])


def test_impute__gp_of_unphased_targets_is_no_product_of_haplotypes(unphased: Outcome) -> None:
    hds, gp = cells(unphased, "HDS"), cells(unphased, "GP")
    product = hds[:, :, 0] * hds[:, :, 1] / 1000
    assert (np.abs(gp[:, :, 2] - product) > 20).any()


@pytest.mark.parametrize("options", [("--threads", "3"), ("--draws", "8")])
def test_impute__unphased_targets_give_the_same_bytes(
    cohort: Cohort, impute: Impute, unphased: Outcome, options: tuple[str, ...]
) -> None:
    again = impute(cohort.folder / "unphased.vcf.gz", *options, out="again.vcf.gz")
    assert again.format_columns == unphased.format_columns


def test_impute__order_and_company_of_unphased_targets_change_nothing(
    cohort: Cohort, impute: Impute, unphased: Outcome
) -> None:
    order = [4, 0, 2]
    lines = [line[:9] + [line[9 + s] for s in order] for line in without_phase(cohort.lines())]
    target = cohort.target(lines, "some.vcf.gz", samples=[cohort.truth.samples[s] for s in order])
    record = str(cohort.folder / "unphased.out.cohort.json")
    some = impute(target, "--cohort", record, out="some.out.vcf.gz")
    assert some.code == 0
    assert [row[9:] for row in some.rows] == [[row[9 + s] for s in order] for row in unphased.rows]


@pytest.fixture
def together(cohort: Cohort, impute: Impute) -> Outcome:
    """Targets that serve as references of each other."""
    target = cohort.target(without_phase(cohort.lines()), "unphased.vcf.gz")
    outcome = impute(target, "--targets-as-reference", "yes", out="together.out.vcf.gz")
    assert outcome.code == 0
    return outcome


def test_impute__says_how_many_targets_serve_as_references(
    cohort: Cohort, unphased: Outcome, together: Outcome
) -> None:
    n = len(cohort.truth.samples)
    assert f"{n} targets serve as references of each other" in together.stderr
    assert any(f"targets_as_reference={n}" in line for line in together.header)
    assert together.format_columns != unphased.format_columns
    assert (cohort.folder / "together.out.cohort.npz").is_file()
    assert not (cohort.folder / "unphased.out.cohort.npz").exists()


def test_impute__targets_that_serve_are_those_of_the_record(cohort: Cohort, impute: Impute, together: Outcome) -> None:
    order = [4, 0, 2]
    lines = [line[:9] + [line[9 + s] for s in order] for line in without_phase(cohort.lines())]
    target = cohort.target(lines, "some.vcf.gz", samples=[cohort.truth.samples[s] for s in order])
    record = str(cohort.folder / "together.out.cohort.json")
    some = impute(target, "--cohort", record, "--threads", "2", out="some.out.vcf.gz")
    assert some.code == 0
    assert [row[9:] for row in some.rows] == [[row[9 + s] for s in order] for row in together.rows]
    twice = impute(target, "--cohort", record, "--targets-as-reference", "no", out="twice.vcf.gz")
    assert twice.code == 2
    assert "--cohort says already which targets serve" in twice.stderr
    (cohort.folder / "together.out.cohort.npz").unlink()
    refused = impute(target, "--cohort", record, out="refused.vcf.gz")
    assert refused.code != 0
    assert "belongs beside the record" in refused.stderr


def test_impute__phased_samples_among_unphased_ones_stay_as_they_are(
    cohort: Cohort, impute: Impute, unphased: Outcome
) -> None:
    lines = cohort.lines()
    record = str(cohort.folder / "unphased.out.cohort.json")
    phased = impute(cohort.target(lines), "--cohort", record)
    mixed = [known[:9] + known[9:11] + unknown[11:] for known, unknown in zip(lines, without_phase(lines), strict=True)]
    outcome = impute(cohort.target(mixed, "mixed.vcf.gz"), "--cohort", record, out="mixed.out.vcf.gz")
    assert [row[9:11] for row in outcome.rows] == [row[9:11] for row in phased.rows]
    assert [row[11:] for row in outcome.rows] == [row[11:] for row in unphased.rows]


def test_impute__bcf_of_unphased_targets_says_what_the_vcf_says(
    cohort: Cohort, impute: Impute, unphased: Outcome
) -> None:
    impute(cohort.folder / "unphased.vcf.gz", out="same.bcf")
    for row, record in zip(unphased.rows, VCF(str(cohort.folder / "same.bcf")), strict=True):
        assert int(row[1]) == record.POS
        gp = [[float(x) for x in cell.split(":")[3].split(",")] for cell in row[9:]]
        assert record.format("GP") == pytest.approx(np.array(gp), abs=1e-6)
        assert [cell[:3] for cell in row[9:]] == [f"{a}|{b}" for a, b, _ in record.genotypes]


def test_impute__records_that_are_passed_through_keep_their_slash(cohort: Cohort, impute: Impute) -> None:
    lines = without_phase(cohort.lines())
    extra = [*lines[3]]
    extra[1], extra[9:] = str(int(extra[1]) + 1), ["0/1", "0|1", "1/1", "0|0", "1|0", "0/0"]
    lines.insert(4, extra)
    outcome = impute(cohort.target(lines), "--pass-through")
    (row,) = (row for row in outcome.rows if "UNUSED" in row[7])
    assert row[9:] == ["0/1", "0|1", "1|1", "0|0", "1|0", "0|0"]


def test_impute__a_draw_is_asked_for_within_bounds(cohort: Cohort, impute: Impute) -> None:
    outcome = impute(cohort.target(cohort.lines()), "--draws", "0")
    assert outcome.code == 2
    assert re.search(r"--draws lies in \[1, 32\], got 0", outcome.stderr)
