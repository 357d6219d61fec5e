"""`vcfrag impute` on every format of targets, on several files, and on files that name no REF."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.impute_cohort import N_SITES, N_TARGETS, Cohort, Impute, Outcome, dosage_r2, refused
from tests.plink_files import write_bed, write_pgen
from tests.vcf_text import vcf_text, write_vcf

COMPLEMENT = str.maketrans("ACGT", "TGCA")
INVERT = str.maketrans("01", "10")


def typed(cohort: Cohort) -> tuple[list[tuple[str, int, str, str]], np.ndarray]:
    """The typed variants, and (M, S, 2) alleles."""
    sites = np.flatnonzero(cohort.typed).tolist()
    panel = cohort.panel
    variants = [("20", int(panel.positions[i]), panel.refs[i], panel.alts[i]) for i in sites]
    return variants, cohort.truth.haplotypes().T.reshape(N_SITES, -1, 2)[sites].astype(np.int8)


def test_impute__vcf_bcf_and_pgen_of_the_same_data_give_the_same_bytes(cohort: Cohort, impute: Impute) -> None:
    plain = impute(cohort.target(cohort.lines()), out="plain.vcf.gz")
    bcf = impute(cohort.target(cohort.lines(), name="t.bcf"), out="bcf.vcf.gz")
    pgen = write_pgen(cohort.folder / "set", *typed(cohort), ["#IID", *cohort.truth.samples])
    of_file, of_set = impute(pgen, out="pgen.vcf.gz"), impute(cohort.folder / "set", out="set.vcf.gz")
    assert plain.code == bcf.code == of_file.code == of_set.code == 0
    assert plain.format_columns == bcf.format_columns
    for outcome in (of_file, of_set):
        assert [row[5:] for row in outcome.format_columns] == [row[5:] for row in plain.format_columns]
        assert [row[:2] + row[3:5] for row in outcome.format_columns] == [
            row[:2] + row[3:5] for row in plain.format_columns
        ]


def bed_of(cohort: Cohort, variants: list[tuple[str, int, str, str]], alleles: np.ndarray) -> Path:
    """A .bed in which the second allele of a variant is counted."""
    fam = [f"{name} {name} 0 0 0 -9" for name in cohort.truth.samples]
    return write_bed(cohort.folder / "set", [(c, p, alt, ref) for c, p, ref, alt in variants], alleles, fam)


def test_impute__a_bed_is_its_unphased_vcf(cohort: Cohort, impute: Impute) -> None:
    lines = cohort.lines()
    for line in lines:
        line[9:] = ["0/1" if cell in ("0|1", "1|0") else cell for cell in line[9:]]
    plain = impute(cohort.target(lines), out="plain.vcf.gz")
    bed = bed_of(cohort, *typed(cohort))
    outcome = impute(bed)
    assert outcome.code == plain.code == 0, outcome.stderr
    assert outcome.format_columns == plain.format_columns
    refused(impute(bed, "--phased-input", "require", out="no.vcf.gz"), "UNPHASED")


def test_impute__a_bed_with_sites_on_the_other_strand(cohort: Cohort, impute: Impute) -> None:
    """Half of the A/T and C/G sites flipped, in the draws of unphased samples too: no typed genotype is inverted."""
    variants, alleles = typed(cohort)
    alleles = alleles.copy()
    flipped = 0
    for i, (contig, position, ref, alt) in enumerate(variants):
        if ref.translate(COMPLEMENT) == alt and i % 2:
            # The letters stay, what they mean is the other strand's.
            variants[i], alleles[i] = (contig, position, ref, alt), 1 - alleles[i]
            flipped += 1
        elif i % 2:
            variants[i] = (contig, position, ref.translate(COMPLEMENT), alt.translate(COMPLEMENT))
    outcome = impute(bed_of(cohort, variants, alleles))
    assert outcome.code == 0, outcome.stderr
    counts = outcome.reasons()
    assert 0.5 * flipped < counts["turned"] <= flipped
    true = {int(line[1]): line[9:] for line in cohort.lines()}
    rows = [row for row in outcome.rows if "TYPED" in row[7]]
    assert len(rows) > 0.9 * len(variants)
    for row in rows:
        copies = [sum(map(int, cell.split(":")[0].split("|"))) for cell in row[9:]]
        assert copies == [sum(map(int, cell.split("|"))) for cell in true[int(row[1])]]
        assert [float(cell.split(":")[1]) for cell in row[9:]] == copies
    assert dosage_r2(outcome, cohort) > 0.5


def provisional(cohort: Cohort, lines: list[list[str]]) -> Path:
    """A VCF as PLINK 1 writes it, of which no REF can be believed."""
    text = vcf_text(cohort.truth.samples, ["\t".join(line) for line in lines])
    first, _, rest = text.partition("\n")
    return write_vcf(cohort.folder / "plink.vcf", f"{first}\n##source=PLINKv1.90\n{rest}")


def swap(line: list[str]) -> None:
    line[3], line[4] = line[4], line[3]
    line[9:] = [cell.translate(INVERT) for cell in line[9:]]


def test_impute__alleles_without_ref_are_coded_as_the_panel_says(cohort: Cohort, impute: Impute) -> None:
    """A third exchanged, a quarter on the other strand, A/T and C/G among them, and some alleles that do not fit."""
    clean = impute(cohort.target(cohort.lines()), out="clean.vcf.gz")
    lines = cohort.lines()
    rng = np.random.default_rng(4)
    wrong, palindromic = 0, 0
    for i, line in enumerate(lines):
        is_palindromic = line[3].translate(COMPLEMENT) == line[4]
        palindromic += is_palindromic
        if rng.random() < 0.25:
            line[3], line[4] = line[3].translate(COMPLEMENT), line[4].translate(COMPLEMENT)
        if rng.random() < 0.35:
            swap(line)
        if i % 50 == 7 and not is_palindromic:
            line[4] = next(b for b in "ACGT" if b not in (line[3], line[4], line[4].translate(COMPLEMENT)))
            wrong += 1
    outcome = impute(provisional(cohort, lines))
    assert outcome.code == 0, outcome.stderr
    counts = outcome.reasons()
    n_wrong = counts.pop("other_alleles", 0) + counts.pop("ambiguous_strand", 0)
    assert wrong <= n_wrong <= wrong + palindromic
    assert counts.pop("inverted_coding", 0) + counts.pop("contradicted", 0) <= 0.02 * len(lines)
    assert counts["oriented"] > 0.15 * len(lines)
    assert counts["flip_repaired"] > 0.15 * len(lines)
    assert set(counts) <= {"used", "oriented", "flip_repaired", "turned"}
    assert counts["turned"] > 0.1 * palindromic
    assert palindromic > 10
    # No typed site is used in another coding than the panel's.
    true = {int(line[1]): line[9:] for line in cohort.lines()}
    calls = {int(row[1]): [cell.split(":")[0] for cell in row[9:]] for row in outcome.rows if "TYPED" in row[7]}
    assert len(calls) == sum(counts.values())
    assert all(calls[position] == true[position] for position in calls)
    assert dosage_r2(outcome, cohort) > dosage_r2(clean, cohort) - 0.02
    # What was decided holds for a batch whose alleles are named in the other order.
    for line in lines[::2]:
        swap(line)
    record = outcome.out.with_name("out.cohort.json")
    again = impute(provisional(cohort, lines), "--cohort", str(record), out="again.vcf.gz")
    assert again.code == 0, again.stderr
    assert again.format_columns == outcome.format_columns


def test_impute__duplicate_probes_lose_nothing(cohort: Cohort, impute: Impute) -> None:
    """Of two records of a site the one with calls is used, wherever it stands."""
    clean = impute(cohort.target(cohort.lines()), out="clean.vcf.gz")
    lines = cohort.lines()
    doubled = [
        each
        for i, line in enumerate(lines)
        for each in (([*line[:9], *["./."] * N_TARGETS], line) if i % 5 == 0 else (line,))
    ]
    outcome = impute(cohort.target(doubled))
    assert outcome.code == 0
    assert outcome.reasons() == {"used": len(lines), "duplicate": len(doubled) - len(lines)}
    assert outcome.format_columns == clean.format_columns


def test_impute__records_without_alt_are_homozygous(cohort: Cohort, impute: Impute) -> None:
    clean = impute(cohort.target(cohort.lines()), out="clean.vcf.gz")
    lines = cohort.lines()
    n_without = 0
    for line in lines:
        if all(cell == "0|0" for cell in line[9:]):
            line[4], line[9:] = ".", ["0/0"] * N_TARGETS
            n_without += 1
    outcome = impute(cohort.target(lines))
    assert n_without > 5
    assert outcome.reasons() == {"used": len(lines) - n_without, "without_alt": n_without}
    assert outcome.format_columns == clean.format_columns


def test_impute__files_of_several_people_and_contigs(cohort: Cohort, impute: Impute) -> None:
    whole = impute(cohort.target(cohort.lines()), out="whole.vcf.gz")
    names, lines = cohort.truth.samples, cohort.lines()
    first = cohort.target([line[:11] for line in lines], name="first.vcf.gz", samples=names[:2])
    second = cohort.target([[*line[:9], *line[11:]] for line in lines], name="second.bcf", samples=names[2:])
    both = impute(first, "--target", str(second), out="both.vcf.gz")
    assert both.code == 0, both.stderr
    assert both.format_columns == whole.format_columns
    again = impute(first, "--target", str(first))
    assert "is given as a target twice" in refused(again, "INPUT")


def test_impute__chips_merged_are_told_apart_and_imputed_as_well_as_alone(cohort: Cohort, impute: Impute) -> None:
    names, lines = cohort.truth.samples, cohort.lines()
    first = cohort.target([line[:12] for line in lines], name="first.vcf.gz", samples=names[:3])
    second = cohort.target([[*line[:9], *line[12:]] for line in lines[::2]], name="second.vcf.gz", samples=names[3:])
    both = impute(first, "--target", str(second))
    assert both.code == 0, both.stderr
    n = len(lines)
    assert (
        f"samples were typed at different sites, as on several chips: 3 at {n}, 3 at {(n + 1) // 2} sites"
        in both.stderr
    )
    groups = both.summary["contigs"]["20"]["typed_groups"]
    assert [group["typed"] for group in groups] == [n, (n + 1) // 2]  # type: ignore[index]
    truth = cohort.truth.haplotypes().T.reshape(N_SITES, -1, 2).sum(axis=2)
    hidden = ~cohort.typed

    def error(outcome: Outcome, people: slice, columns: slice) -> float:
        dosage = np.array([[float(cell.split(":")[1]) for cell in row[9:]] for row in outcome.rows])
        return float(((dosage[hidden][:, columns] - truth[hidden][:, people]) ** 2).mean())

    for file, people in ((first, slice(0, 3)), (second, slice(3, 6))):
        alone = impute(file, out="alone.vcf.gz")
        assert error(both, people, people) < 1.15 * error(alone, people, slice(0, 3))
