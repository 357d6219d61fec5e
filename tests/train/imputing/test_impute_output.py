"""`vcfrag impute`: the format by suffix, and which sites and samples are written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tests.impute_cohort import N_TARGETS, Cohort, Impute, Outcome, refused


def copies(outcome: Outcome) -> np.ndarray:
    """(V, S) DS of a VCF."""
    return np.array([[float(cell.split(":")[1]) for cell in row[9:]] for row in outcome.rows])


def test_impute__bgen_and_pgen_hold_what_the_vcf_says(cohort: Cohort, impute: Impute) -> None:
    from bgen import BgenReader
    from pgenlib import PgenReader

    target = cohort.target(cohort.lines())
    vcf = impute(target)
    wanted = copies(vcf)

    assert impute(target, "--bgen-bits", "16", out="o.bgen").code == 0
    with BgenReader(cohort.folder / "o.bgen") as file:
        assert tuple(file.samples) == cohort.truth.samples
        found = np.array([record.probabilities @ [0, 1, 2] for record in file])
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert (cohort.folder / "o.bgen.bgi").is_file()
    assert len((cohort.folder / "o.sample").read_text().splitlines()) == 2 + N_TARGETS

    assert impute(target, out="o.pgen").code == 0
    row = np.empty(N_TARGETS, dtype=np.float32)
    with PgenReader(bytes(cohort.folder / "o.pgen")) as file:
        for site in range(file.get_variant_ct()):
            file.read_dosages(site, row)
            np.testing.assert_allclose(row, wanted[site], atol=1e-4)
    pvar = [x.split("\t") for x in (cohort.folder / "o.pvar").read_text().splitlines() if not x.startswith("##")]
    assert [x[1] for x in pvar[1:]] == [x[1] for x in vcf.rows]
    assert [x[5] for x in pvar[1:]] == [x[7] for x in vcf.rows]
    assert not list(cohort.folder.glob(".*"))


def test_impute__format_is_refused_where_there_is_none(cohort: Cohort, impute: Impute) -> None:
    target = cohort.target(cohort.lines())
    line = refused(impute(target, "--format", "GT,DS", out="o.bgen"), "CONFIG")
    assert ".bgen has no FORMAT fields; leave --format out" in line
    line = refused(impute(target, "--pass-through", out="o.pgen"), "CONFIG")
    assert ".pgen holds imputed records only; write a VCF or BCF" in line


def test_impute__sites(cohort: Cohort, impute: Impute) -> None:
    target = cohort.target(cohort.lines())
    everything = impute(target)
    typed = impute(target, "--sites", "typed", out="typed.vcf.gz")
    untyped = impute(target, "--sites", "imputed", out="untyped.vcf.gz")
    is_typed = ["TYPED" in row[7].split(";") for row in everything.rows]
    assert typed.rows == [row for row, yes in zip(everything.rows, is_typed, strict=True) if yes]
    assert untyped.rows == [row for row, yes in zip(everything.rows, is_typed, strict=True) if not yes]

    some = everything.rows[3:200:7]
    table = cohort.folder / "sites.tsv"
    lines = ["chr20\t" + "\t".join((row[1], row[3], row[4])) for row in some]
    table.write_text("\n".join(["chrom\tpos\tref\talt", *lines, "chr20\t1\tA\tC", "chr1\t5\tA\tC"]) + "\n")
    chosen = impute(target, "--sites", str(table), out="some.vcf.gz")
    assert chosen.rows == some
    assert "1 of the sites that --sites" in chosen.stderr
    assert "not in the panel, by position and alleles, the first 20:1 A>C" in chosen.stderr.replace("chr20:1", "20:1")
    line = refused(impute(target, "--sites", "tpyed", out="none.vcf.gz"), "CONFIG")
    assert "--sites tpyed: there is no such file" in line
    os.mkfifo(cohort.folder / "pipe")
    line = refused(impute(target, "--samples", str(cohort.folder / "pipe"), out="none.vcf.gz"), "CONFIG")
    assert "pipe: is read several times, so it must be a regular file" in line


def test_impute__tests_sites_by_any_number_of_samples(cohort: Cohort, impute: Impute) -> None:
    target = cohort.target(cohort.lines())
    er2 = [x for row in impute(target, "--loo-samples", "1").rows for x in row[7].split(";") if x.startswith("ER2=")]
    assert not er2, "two haplotypes say nothing of a correlation"
    many = impute(target, "--loo-samples", "200", out="many.vcf.gz")
    assert any("ER2=" in row[7] for row in many.rows)


def test_impute__min_r2(cohort: Cohort, impute: Impute) -> None:
    target = cohort.target(cohort.lines())
    everything = impute(target)
    kept = impute(target, "--min-r2", "0.8", out="kept.vcf.gz").rows
    assert 0 < len(kept) < len(everything.rows)
    info = [dict(x.split("=") for x in row[7].split(";") if "=" in x) for row in everything.rows]
    wanted = [
        row
        for row, values in zip(everything.rows, info, strict=True)
        if float(values["R2"]) >= 0.8 or "TYPED" in row[7].split(";")
    ]
    assert kept == wanted
    assert "--min-r2 lies in [0, 1]" in refused(impute(target, "--min-r2", "1.5", out="none.vcf.gz"), "CONFIG")


def test_impute__samples(cohort: Cohort, impute: Impute) -> None:
    target = cohort.target(cohort.lines())
    names = cohort.folder / "names.txt"
    chosen = (cohort.truth.samples[4], cohort.truth.samples[1])
    names.write_text("\n".join(chosen) + "\n")
    outcome = impute(target, "--samples", str(names))
    assert outcome.code == 0
    assert outcome.header[-1].split("\t")[9:] == sorted(chosen)
    assert f"2 of {N_TARGETS} target samples are chosen (--samples)" in outcome.stderr

    names.write_text("nobody\n")
    line = refused(impute(target, "--samples", str(names), out="none.vcf.gz"), "SAMPLE_TABLE")
    assert "nobody" in line
    assert f"is no sample of {target}" in line
    names.write_text("P60\nP60\n")
    assert "is named twice" in refused(impute(target, "--samples", str(names), out="none.vcf.gz"), "SAMPLE_TABLE")


def test_impute__resumed_with_other_choices_is_refused(cohort: Cohort, impute: Impute, tmp_path: Path) -> None:
    from vcfrag_core.files.parts import PartsFolder

    target = cohort.target(cohort.lines())
    out = cohort.folder / "out.vcf.gz"
    made_from = {"formats": "GT,DS,HDS,GP", "x_male_dosage": "1"}
    # Closed, as by a run that ended: an open one would be another run's.
    PartsFolder(out, ["20"], made_from, resume=False).close()
    assert impute(target, "--min-r2", "0.3", "--resume").code == 0
    parts = PartsFolder(out, ["20"], made_from, resume=False)
    parts.begin("20", {"written": "all 0.3"})
    parts.close()
    outcome = impute(target, "--min-r2", "0.5", "--resume")
    assert outcome.code == 2
    assert "PROVENANCE_MISMATCH" in outcome.stderr
