"""`vcfrag impute` on every kind of records and people: what is matched, repaired, left out, refused and listed."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from tests.impute_cohort import (
    N_SITES,
    N_TARGETS,
    Cohort,
    Impute,
    dosage_r2,
    flipped,
    invert,
    refused,
    swapped,
    unambiguous,
)
from tests.vcf_text import panel_text, record, vcf_text, write_vcf
from vcfrag_indexd.testing import serve


def test_impute__contig_alias_is_matched_and_reported(cohort: Cohort, impute: Impute) -> None:
    plain = impute(cohort.target(cohort.lines()), out="plain.vcf.gz")
    target = cohort.target(cohort.lines(contig="chr20"), contigs={"chr20": 63_025_520})
    outcome = impute(target)
    assert outcome.code == 0
    assert "contig chr20 of the target is 20 of the panel" in outcome.stderr
    assert outcome.summary["contigs"]["20"]["name_in_target"] == "chr20"
    assert outcome.format_columns == plain.format_columns


def test_impute__other_genome_build_is_refused(cohort: Cohort, impute: Impute) -> None:
    lines = cohort.lines()
    for line in lines:
        line[1] = str(int(line[1]) + 37)
    outcome = impute(cohort.target(lines, contigs={"20": 64_444_167}))
    line = refused(outcome, "TARGET")
    # One record has moved beyond the panel's last site.
    assert f"the panel has 0 of {len(lines) - 1} positions (0.0%), and of those 0.0% the same REF allele" in line
    assert "the target is on GRCh38 and the panel is on GRCh37" in line
    contig = outcome.summary["contigs"]["20"]
    assert contig["positions_in_panel_share"] == 0
    assert contig["target_build"] == "GRCh38"
    assert outcome.reasons() == {"not_in_panel": len(lines)}


@pytest.mark.parametrize(
    ("damage", "flags", "dropped", "repaired"),
    [
        ([swapped], ["--fix-swaps"], "swapped", "swap_repaired"),
        ([flipped], ["--fix-flips"], "flipped", "flip_repaired"),
        ([swapped, flipped], ["--fix-swaps", "--fix-flips"], "flipped_and_swapped", "flip_and_swap_repaired"),
    ],
    ids=["swaps", "flips", "both"],
)
def test_impute__swaps_and_flips_are_dropped_or_repaired(
    cohort: Cohort,
    impute: Impute,
    damage: list[Callable[[list[str]], None]],
    flags: list[str],
    dropped: str,
    repaired: str,
) -> None:
    clean = impute(cohort.target(cohort.lines()), out="clean.vcf.gz")
    lines = cohort.lines()
    chosen = unambiguous(lines)[::9]
    for i in chosen:
        for change in damage:
            change(lines[i])
    target = cohort.target(lines)
    by_default = impute(target)
    assert by_default.code == 0
    assert by_default.reasons() == {"used": len(lines) - len(chosen), dropped: len(chosen)}
    options = " and ".join(flags)
    table = by_default.out.with_name("out.qc.tsv")
    assert f"20: {len(chosen)} {dropped}; {table} lists them ({options} would repair some)" in by_default.stderr
    assert [(int(row["position"]), row["reason"], row["used"]) for row in by_default.qc] == [
        (int(lines[i][1]), dropped, "no") for i in chosen
    ]
    fixed = impute(target, *flags)
    assert fixed.reasons() == {"used": len(lines) - len(chosen), repaired: len(chosen)}
    assert {row["used"] for row in fixed.qc} == {"yes"}
    assert f"20: {len(chosen)} {repaired}; {table} lists them\n" in fixed.stderr
    assert fixed.format_columns == clean.format_columns


def test_impute__inverted_coding_is_found_dropped_and_listed(cohort: Cohort, impute: Impute) -> None:
    lines = cohort.lines()
    common = [i for i, line in enumerate(lines) if 0.2 < "".join(line[9:]).count("1") / 12 < 0.8]
    rare = [i for i, line in enumerate(lines) if "".join(line[9:]).count("1") == 0]
    chosen = sorted([*common[5:40:12], *rare[3:60:20]])
    invert(lines, chosen)
    outcome = impute(cohort.target(lines))
    assert outcome.code == 0
    assert [int(row["position"]) for row in outcome.qc] == [int(lines[i][1]) for i in chosen]
    assert {row["reason"] for row in outcome.qc} == {"inverted_coding"}
    assert outcome.reasons() == {"used": len(lines) - len(chosen), "inverted_coding": len(chosen)}
    flags = {int(row[1]): "IMP" in row[7].split(";") for row in outcome.rows}
    assert all(flags[int(lines[i][1])] for i in chosen)


def test_impute__much_inverted_coding_stops_the_run(cohort: Cohort, impute: Impute) -> None:
    lines = cohort.lines()
    chosen = np.random.default_rng(3).choice(len(lines), len(lines) // 5, replace=False).tolist()
    invert(lines, chosen)
    target = cohort.target(lines)
    outcome = impute(target)
    line = refused(outcome, "TARGET")
    n_found = sum(row["reason"] in ("inverted_coding", "contradicted") for row in outcome.qc)
    assert f"{n_found} of {len(lines)} typed sites ({n_found / len(lines):.1%}) are damaged" in line
    assert "out.qc.tsv lists them" in line
    assert "--keep-going damaged" in line
    listed = {int(row["position"]) for row in outcome.qc}
    truly = {int(lines[i][1]) for i in chosen}
    assert len(listed & truly) >= 0.8 * len(truly)
    assert len(listed - truly) <= 0.05 * len(lines)
    refused(impute(target, "--cohort", str(cohort.folder / "none.json")), "INPUT")
    goes_on = impute(target, "--keep-going", "damaged")
    assert goes_on.code == 0
    assert dosage_r2(goes_on, cohort) > 0.7


def test_impute__genotypes_that_are_all_coded_the_other_way_round_are_told(cohort: Cohort, impute: Impute) -> None:
    said = "fit the panel better with 0 and 1 exchanged"
    assert said not in impute(cohort.target(cohort.lines()), out="plain.vcf.gz").stderr
    exchange = str.maketrans("01", "10")
    lines = [[*line[:9], *(cell.translate(exchange) for cell in line[9:])] for line in cohort.lines()]
    assert said in impute(cohort.target(lines), "--keep-going", "damaged").stderr


def test_impute__records_that_are_no_panel_sites_are_counted_listed_and_passed_through(
    cohort: Cohort, impute: Impute
) -> None:
    clean = impute(cohort.target(cohort.lines()), out="clean.vcf.gz")
    lines = cohort.lines()
    calls = ["0|1"] * N_TARGETS
    first = lines[0]
    extra = [
        record(int(first[1]) - 1, calls, ref="A", alt="C").split("\t"),
        [*first],
        record(
            int(lines[3][1]), ["1|2"] * N_TARGETS, ref=lines[3][3], alt="A,C,G,T".replace(f"{lines[3][3]},", "")
        ).split("\t"),
        record(int(lines[5][1]) + 1, calls, ref="A", alt=".").split("\t"),
    ]
    extra[3][9:] = ["0|0"] * N_TARGETS
    target = cohort.target(sorted([*lines, *extra], key=lambda line: int(line[1])))
    outcome = impute(target)
    others = {"not_in_panel": 1, "other_alleles": 2, "duplicate": 2, "no_alt": 1}
    assert outcome.reasons() == {"used": len(lines), **others}
    assert Counter(row["reason"] for row in outcome.qc) == others
    assert "20: 1 records with several ALT alleles are split, one record for each" in outcome.stderr
    assert "target records, one for each ALT allele, are typed sites" in outcome.stderr
    assert all(row["meaning"] for row in outcome.qc)
    assert outcome.format_columns == clean.format_columns
    passed = impute(target, "--pass-through", out="passed.vcf.gz")
    kept = [row for row in passed.rows if row[7] == "UNUSED"]
    assert len(kept) == 6
    of_the_split = ["1|0", "0|1", "0|0"]
    assert sorted(row[9] for row in kept) == sorted(["0|1", first[9], "0|0", *of_the_split])
    assert [row[:5] + row[8:] for row in passed.rows if row[7] != "UNUSED"] == clean.format_columns
    assert [int(row[1]) for row in passed.rows] == sorted(int(row[1]) for row in passed.rows)


def test_impute__missing_calls_are_imputed_and_their_rates_reported(cohort: Cohort, impute: Impute) -> None:
    lines = cohort.lines()
    rng = np.random.default_rng(8)
    blanks = rng.random((len(lines), N_TARGETS)) < 0.02
    blanks[:, 2] = rng.random(len(lines)) < 0.3
    blanks[7] = True
    true = {(int(line[1]), s): line[9 + s] for line in lines for s in range(N_TARGETS)}
    for line, row in zip(lines, blanks, strict=True):
        line[9:] = ["./." if blank else cell for cell, blank in zip(line[9:], row, strict=True)]
    outcome = impute(cohort.target(lines))
    assert outcome.code == 0
    assert outcome.reasons() == {"used": len(lines) - 1, "no_calls": 1}
    n_used = len(lines) - 1
    for s, name in enumerate(cohort.truth.samples):
        wanted = (blanks[:, s].sum() - 1) / n_used
        assert outcome.summary["samples"][name]["missing_share"] == pytest.approx(wanted, abs=1e-5)
    assert f"sample {cohort.truth.samples[2]} misses " in outcome.stderr
    right = total = 0
    for row in outcome.rows:
        for s, cell in enumerate(row[9:]):
            gt = cell.split(":")[0]
            assert "." not in gt
            called = true.get((int(row[1]), s))
            if called is not None:
                blank = blanks[[int(line[1]) for line in lines].index(int(row[1])), s]
                assert blank or gt == called
                right += blank and gt == called
                total += blank
    assert right > 0.8 * total


def test_impute__missing_calls_beyond_a_daemons_limit_are_refused_by_name(cohort: Cohort, impute: Impute) -> None:
    lines = cohort.lines()
    for line in lines[:60]:
        line[9 + 4] = ".|."
    target = cohort.target(lines)
    with serve({"chr20": cohort.panel}) as daemon:
        line = refused(impute(target, "--daemon", daemon.address), "TARGET")
    assert f"sample {cohort.truth.samples[4]}: misses " in line
    assert "the daemon allows 5%" in line
    assert impute(target).code == 0


def test_impute__sample_without_any_call(cohort: Cohort, impute: Impute) -> None:
    lines = cohort.lines()
    for line in lines:
        line[9 + 1] = "."
    line_ = refused(impute(cohort.target(lines)), "TARGET")
    assert f"sample {cohort.truth.samples[1]}: has no call at any typed site of 20: leave it out" in line_
    for line in lines:
        line[9 + 3] = line[9 + 4] = "./."
    assert "of 20 (nor have 2 other samples): leave it out" in refused(impute(cohort.target(lines)), "TARGET")


def test_impute__phase_may_be_required_and_is_looked_for_before_any_work(cohort: Cohort, impute: Impute) -> None:
    lines = cohort.lines()
    lines[4][9:] = ["0/0", "0/1", "1/0", "1/1", "0|1", "0|0"]
    lines[9][9] = "0/1"
    cohort.panel_file.unlink()
    line = refused(impute(cohort.target(lines), "--phased-input", "require"), "UNPHASED")
    assert f"record 20:{lines[4][1]} {lines[4][3]}>{lines[4][4]}, sample {cohort.truth.samples[1]}" in line
    assert "3 heterozygous genotypes in 2 records" in line
    for tool in ("Beagle", "SHAPEIT5", "Eagle"):
        assert tool in line


@pytest.mark.parametrize("call", ["0", "0|1|1"])
def test_impute__other_ploidy_is_refused_with_sample_and_site(cohort: Cohort, impute: Impute, call: str) -> None:
    lines = cohort.lines()
    lines[4][9 + 3] = call
    line = refused(impute(cohort.target(lines)), "PLOIDY")
    assert f"record 20:{lines[4][1]} " in line
    assert f"sample {cohort.truth.samples[3]}: has {'1 allele' if call == '0' else '3 alleles'}" in line


def test_impute__thin_stretch_is_named_and_refused_or_left_out(cohort: Cohort, impute: Impute) -> None:
    lines = [line for line in cohort.lines() if not 450_000 < int(line[1]) < 650_000]
    target = cohort.target(lines)
    line = refused(impute(target, map=cohort.long_map_file), "TARGET")
    assert "fewer than 8 typed sites within 2 cM of " in line
    assert "--keep-going sparse" in line
    region = line.partition(" in 20:")[2].split(";")[0]
    start, stop = (int(x) for x in region.split("-"))
    assert 450_000 < start < 520_000 < 580_000 < stop < 650_000
    outcome = impute(target, "--keep-going", "sparse", map=cohort.long_map_file)
    assert outcome.code == 0
    positions = [int(row[1]) for row in outcome.rows]
    assert positions == [p for p in cohort.panel.positions.tolist() if not start <= p <= stop]
    assert f"20:{start}-{stop}: too few typed sites, {N_SITES - len(positions)} sites left out" in outcome.stderr
    (left_out,) = outcome.summary["contigs"]["20"]["left_out"]  # type: ignore[misc]
    assert left_out == {"start": start, "stop": stop, "sites": N_SITES - len(positions)}


def test_impute__too_few_typed_sites_to_hide_any_leave_the_rates_to_the_panel(cohort: Cohort, impute: Impute) -> None:
    target = cohort.target(cohort.lines()[:4])
    outcome = impute(target, "--least-typed", "4", "--keep-going", "sparse")
    assert outcome.code == 0, outcome.stderr
    assert ", from the size of the panel" in outcome.stderr


def test_impute__too_few_typed_sites_in_all_are_not_to_be_left_out(cohort: Cohort, impute: Impute) -> None:
    target = cohort.target(cohort.lines()[:6])
    for options in ([], ["--keep-going", "sparse"]):
        line = refused(impute(target, *options), "TARGET")
        assert f"fewer than 8 typed sites within 2 cM of {N_SITES} of {N_SITES} panel sites" in line
        assert "no stretch has enough (6 in all): the targets need denser typing" in line
        assert "--keep-going" not in line
        assert "--least-typed" in line


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1000\t20\t0\n2000\t20\t1\n", "covers 20:1000-2000"),
        ("90000\t7\t0\n910000\t7\t40\n", "the map is for 7, not for 20"),
    ],
    ids=["elsewhere", "other contig"],
)
def test_impute__map_that_does_not_fit_is_refused(cohort: Cohort, impute: Impute, rows: str, message: str) -> None:
    other = cohort.folder / "other.gmap"
    other.write_text("pos\tchr\tcM\n" + rows)
    assert message in refused(impute(cohort.target(cohort.lines()), map=other), "GENETIC_MAP")


def test_impute__samples_of_the_panel_are_left_out_of_their_own_retrieval(cohort: Cohort, impute: Impute) -> None:
    """The canary: a person of the panel under the own name is caught; with the guard off r² is 1."""
    planted = dataclasses.replace(cohort, truth=cohort.panel.select_samples([cohort.panel.samples[i] for i in (5, 9)]))
    target = planted.target(planted.lines(), samples=[cohort.panel.samples[i] for i in (5, 9)])
    outcome = impute(target)
    assert outcome.code == 0
    listed = outcome.out.with_name("out.qc.json")
    assert (
        "20: the panel holds 2 of 2 target samples, which do not copy from themselves:"
        f" P05 (by name), P09 (by name); {listed} lists them"
    ) in outcome.stderr.splitlines()
    found = outcome.summary["contigs"]["20"]["samples_in_panel"]
    assert [(p["sample"], p["panel_samples"], p["by_name"], p["by_genotype"]) for p in found] == [  # type: ignore[attr-defined, index]
        ("P05", ["P05"], True, False),
        ("P09", ["P09"], True, False),
    ]
    unguarded = impute(target, "--allow-panel-samples", out="unguarded.vcf.gz")
    assert dosage_r2(unguarded, planted) > 0.995
    assert dosage_r2(outcome, planted) < dosage_r2(unguarded, planted) - 0.01
    refused(impute(target, "--allow-panel-samples", "--exclude-same-person", out="both.vcf.gz"), "CONFIG")


def test_impute__a_person_under_another_name_is_told_and_left_out_on_request(cohort: Cohort, impute: Impute) -> None:
    planted = dataclasses.replace(cohort, truth=cohort.panel.select_samples([cohort.panel.samples[i] for i in (5, 9)]))
    target = planted.target(planted.lines(), samples=["renamed", "other"])
    whole = cohort.folder / "whole.gmap"
    whole.write_text("pos\tchr\tcM\n90000\t20\t0\n910000\t20\t150\n")
    sparse = ("--keep-going", "sparse", "--least-typed", "4")
    told = impute(target, *sparse, map=whole)
    assert told.code == 0, told.stderr
    pairs = told.summary["likeness"]
    assert [(p["sample"], p["panel_sample"], p["relation"]) for p in pairs] == [  # type: ignore[index]
        ("renamed", "P05", "same_person"),
        ("other", "P09", "same_person"),
    ]
    assert min(p["log10_odds_of_same_person"]["sibling"] for p in pairs) > 2.7  # type: ignore[index]
    assert (
        "2 targets are told to be the person of a panel sample of another name, and copy from it unless" in told.stderr
    )
    assert dosage_r2(told, planted) > 0.8
    left_out = impute(target, *sparse, "--exclude-same-person", map=whole, out="excluded.vcf.gz")
    assert "20: the panel holds 2 of 2 target samples" in left_out.stderr
    assert "and do not copy from it" in left_out.stderr
    assert dosage_r2(left_out, planted) < dosage_r2(told, planted) - 0.01
    record = told.out.with_name("out.cohort.json")
    again = impute(target, *sparse, "--exclude-same-person", map=whole, cohort_record=record, out="again.vcf.gz")
    assert "give --exclude-same-person to the run that makes the record" in refused(again, "CONFIG")


def test_impute__a_short_map_tells_no_person_from_a_sibling(cohort: Cohort, impute: Impute) -> None:
    planted = dataclasses.replace(cohort, truth=cohort.panel.select_samples([cohort.panel.samples[5]]))
    outcome = impute(planted.target(planted.lines(), samples=["renamed"]), "--exclude-same-person")
    assert "--exclude-same-person leaves nobody out" in outcome.stderr
    assert [p["relation"] for p in outcome.summary["likeness"]] == ["not_decidable"]  # type: ignore[index]
    assert "too little of the genome to tell" in outcome.stderr
    assert "do not copy from themselves" not in outcome.stderr


def test_impute__many_targets_of_the_panel_are_one_line(cohort: Cohort, impute: Impute) -> None:
    planted = dataclasses.replace(cohort, truth=cohort.panel.select_samples(cohort.panel.samples[:20]))
    outcome = impute(planted.target(planted.lines()))
    (line,) = [line for line in outcome.stderr.splitlines() if "copy from themselves" in line]
    assert "the panel holds 20 of 20 target samples" in line
    assert [name for name in planted.truth.samples if name in line] == list(planted.truth.samples[:3])
    assert " and 17 more; " in line
    assert len(outcome.summary["contigs"]["20"]["samples_in_panel"]) == 20  # type: ignore[arg-type]


def test_impute__panel_and_target_exchanged_are_told(cohort: Cohort, impute: Impute) -> None:
    target = write_vcf(cohort.folder / "large.vcf.gz", panel_text(cohort.panel))
    write_vcf(cohort.panel_file, vcf_text(cohort.truth.samples, ["\t".join(line) for line in cohort.lines()]))
    outcome = impute(target)
    assert "all sites of the panel are typed, so that there is nothing to impute" in outcome.stderr
