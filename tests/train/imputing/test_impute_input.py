"""`vcfrag impute` on every kind of input: what is matched, repaired, left out, refused, and what QC files say."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.impute_cohort import N_SITES, N_TARGETS, Cohort, Impute, dosage_r2, refused
from tests.vcf_text import panel_text, record, vcf_text, write_vcf
from vcfrag_core.panel.panel import Panel
from vcfrag_core.targets.cohort import decode_sites, encode_sites
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


COMPLEMENT = str.maketrans("ACGT", "TGCA")


def unambiguous(lines: list[list[str]]) -> list[int]:
    return [i for i, line in enumerate(lines) if line[3].translate(COMPLEMENT) != line[4]]


def swapped(line: list[str]) -> None:
    line[3], line[4] = line[4], line[3]
    line[9:] = [cell.translate(str.maketrans("01", "10")) for cell in line[9:]]


def flipped(line: list[str]) -> None:
    line[3], line[4] = line[3].translate(COMPLEMENT), line[4].translate(COMPLEMENT)


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


def invert(lines: list[list[str]], chosen: Sequence[int]) -> None:
    for i in chosen:
        lines[i][9:] = [cell.translate(str.maketrans("01", "10")) for cell in lines[i][9:]]


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
    assert outcome.reasons() == {"used": len(lines), "not_in_panel": 1, "duplicate": 1, "multiallelic": 1, "no_alt": 1}
    assert sorted(row["reason"] for row in outcome.qc) == ["duplicate", "multiallelic", "no_alt", "not_in_panel"]
    assert all(row["meaning"] for row in outcome.qc)
    assert outcome.format_columns == clean.format_columns
    passed = impute(target, "--pass-through", out="passed.vcf.gz")
    kept = [row for row in passed.rows if row[7] == "UNUSED"]
    assert len(kept) == 4
    assert sorted(row[9] for row in kept) == sorted(["0|1", first[9], "1|2", "0|0"])
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


def test_impute__a_short_map_tells_no_person_from_a_sibling(cohort: Cohort, impute: Impute) -> None:
    planted = dataclasses.replace(cohort, truth=cohort.panel.select_samples([cohort.panel.samples[5]]))
    outcome = impute(planted.target(planted.lines(), samples=["renamed"]), "--exclude-same-person")
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


@pytest.mark.parametrize(
    ("spoil", "reason", "message"),
    [
        (lambda c: c.target(c.lines()[::-1], "t.vcf"), "UNSORTED", "`bcftools sort`"),
        (lambda c: c.target([], "t.vcf"), "EMPTY_INPUT", "no record"),
        (
            lambda c: write_vcf(c.folder / "t.vcf", vcf_text([], ["20\t1\t.\tA\tC\t.\t.\t."])),
            "EMPTY_INPUT",
            "no samples",
        ),
        (lambda c: cut(c.target(c.lines())), "TRUNCATED_FILE", "ends early"),
        (lambda c: text_file(c.folder / "t.vcf", ""), "EMPTY_INPUT", "empty"),
        (lambda c: text_file(c.folder / "t.vcf", "hello\n"), "NOT_VCF", "neither VCF nor BCF"),
        (lambda c: c.folder / "nothing.vcf", "INPUT", "no such file"),
        (
            lambda c: c.target(c.lines(contig="7"), contigs={"7": 159_138_663}),
            "UNKNOWN_CONTIG",
            "has none of its contigs: 7; the panel has 20",
        ),
    ],
    ids=["unsorted", "no record", "no samples", "truncated", "empty", "no vcf", "no file", "other contig"],
)
def test_impute__files_that_cannot_be_used(
    cohort: Cohort, impute: Impute, spoil: Callable[[Cohort], Path], reason: str, message: str
) -> None:
    assert message in refused(impute(spoil(cohort)), reason)


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-100])
    return path


def text_file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_impute__region_of_an_unindexed_target(cohort: Cohort, impute: Impute) -> None:
    outcome = impute(cohort.target(cohort.lines()), "--region", "chr20:300000-700000")
    assert outcome.code == 0
    positions = [int(row[1]) for row in outcome.rows]
    assert positions == [p for p in cohort.panel.positions.tolist() if 300_000 <= p <= 700_000]
    # What lies around it is its context: the same answers as from the whole contig.
    whole = {int(row[1]): row for row in impute(cohort.target(cohort.lines()), out="whole.vcf.gz").format_columns}
    assert outcome.format_columns == [whole[position] for position in positions]
    empty = refused(impute(cohort.target(cohort.lines()), "--region", "20:950000-990000", out="e.vcf.gz"), "TARGET")
    assert "the panel has no site in the region" in empty


def test_impute__region_in_any_format_with_records_passed_through(
    cohort: Cohort, impute: Impute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows that lie in the region in part have pieces without a site; what is passed through stays inside, too."""
    import cyvcf2

    monkeypatch.setattr("vcfrag_train.imputing.pieces._CELLS_PER_PIECE", 5 * N_TARGETS)
    lines = cohort.lines()
    strangers = [record(position, ["0|1"] * N_TARGETS).split("\t") for position in (299_999, 350_001, 650_001, 700_001)]
    target = cohort.target(sorted([*lines, *strangers], key=lambda line: int(line[1])))
    options = ("--region", "20:300000-700000", "--pass-through", "--format", "GT,DS,HDS,GP,LOO")
    text = impute(target, *options, map=cohort.long_map_file)
    binary = impute(target, *options, map=cohort.long_map_file, out="out.bcf")
    read = [[str(v) for v in cyvcf2.VCF(str(o.out))] for o in (text, binary)]
    assert [line.split("\t")[9:] for line in read[0]] == [line.split("\t")[9:] for line in read[1]]
    inside = [p for p in cohort.panel.positions.tolist() if 300_000 <= p <= 700_000]
    assert [int(line.split("\t")[1]) for line in read[0]] == sorted([*inside, 350_001, 650_001])
    assert f"20: {len(inside)} of these panel sites lie in the region; the others are context" in text.stderr


def test_impute__region_against_a_daemon_of_the_whole_panel(cohort: Cohort, impute: Impute) -> None:
    target = cohort.target(cohort.lines())
    with serve({"chr20": cohort.panel}) as daemon:
        remote = impute(target, "--daemon", daemon.address, "--region", "20:300000-700000", out="remote.vcf.gz")
    assert remote.format_columns == impute(target, "--region", "20:300000-700000").format_columns


def test_impute__one_contig_under_two_names_is_refused_before_any_work(cohort: Cohort, impute: Impute) -> None:
    text = [*cohort.lines(), *cohort.lines(contig="chr20")]
    outcome = impute(cohort.target(text, contigs={"20": 63_025_520, "chr20": 63_025_520}))
    assert "contigs 20 and chr20 are both the panel's 20" in refused(outcome, "TARGET")
    assert "windows" not in outcome.stderr


def test_impute__a_map_without_the_contig_is_refused_before_any_work(cohort: Cohort, impute: Impute) -> None:
    other = cohort.folder / "other.gmap"
    other.write_text(cohort.map_file.read_text().replace("\t20\t", "\t21\t"))
    outcome = impute(cohort.target(cohort.lines()), map=other)
    assert "the map is for 21, not for 20" in refused(outcome, "GENETIC_MAP")
    assert "target records are typed" not in outcome.stderr


@pytest.mark.parametrize("name", ["Chr20", "NC_000020.10", "CM000682.1", "020"])
def test_impute__other_names_of_a_contig_are_known(cohort: Cohort, impute: Impute, name: str) -> None:
    plain = impute(cohort.target(cohort.lines()), out="plain.vcf.gz")
    outcome = impute(cohort.target(cohort.lines(contig=name), contigs={name: 63_025_520}))
    assert outcome.code == 0
    assert f"contig {name} of the target is 20 of the panel" in outcome.stderr
    assert outcome.format_columns == plain.format_columns


def test_impute__a_prepared_panel_gives_the_same_bytes(cohort: Cohort, impute: Impute) -> None:
    from vcfrag_train.cli.app import main

    target = cohort.target(cohort.lines())
    plain = impute(target, out="plain.vcf.gz")
    prepared = cohort.folder / "panel.vcfrag"
    with pytest.raises(SystemExit) as ended:
        main(["panel", "build", str(cohort.panel_file), "--out", str(prepared)])
    assert ended.value.code == 0
    outcome = impute(target, panel=prepared)
    assert outcome.code == 0
    assert outcome.format_columns == plain.format_columns


def test_impute__a_panel_as_published_is_used_and_counted(cohort: Cohort, impute: Impute) -> None:
    plain = impute(cohort.target(cohort.lines()), out="plain.vcf.gz")
    text = panel_text(cohort.panel).splitlines()
    at = next(i for i, line in enumerate(text) if not line.startswith("#")) + 5
    fields = text[at].split("\t")
    text.insert(at, "\t".join([*fields[:4], f"{fields[4]},<DEL>", *fields[5:]]))
    write_vcf(cohort.panel_file, "\n".join(text) + "\n")
    outcome = impute(cohort.target(cohort.lines()))
    assert outcome.code == 0
    assert "20: of the panel: 1 multiallelic records, 1 symbolic alleles, 1 duplicate sites" in outcome.stderr
    panel_records = outcome.summary["contigs"]["20"]["panel_records"]
    assert panel_records == {"multiallelic_records": 1, "symbolic_alleles": 1, "duplicate_sites": 1}
    assert len(outcome.rows) == len(plain.rows) + 1


def test_impute__missing_alleles_of_a_panel(cohort: Cohort, impute: Impute) -> None:
    text = panel_text(cohort.panel).splitlines()
    fields = text[-1].split("\t")
    text[-1] = "\t".join([*fields[:9], ".|.", *fields[10:]])
    write_vcf(cohort.panel_file, "\n".join(text) + "\n")
    line = refused(impute(cohort.target(cohort.lines())), "MISSING_ALLELE")
    assert "--panel-missing reference" in line
    outcome = impute(cohort.target(cohort.lines()), "--panel-missing", "reference")
    assert outcome.code == 0
    assert outcome.summary["contigs"]["20"]["panel_records"] == {"missing_alleles_as_reference": 2}


def test_impute__several_contigs(cohort: Cohort, impute: Impute) -> None:
    """A panel of two contigs, a target of those and a third."""
    from tests.vcf_text import calls_of

    def lines(panel: Panel, contig: str, chosen: np.ndarray) -> list[str]:
        calls = calls_of(panel)
        sites = zip(panel.positions.tolist(), panel.refs, panel.alts, strict=True)
        return [
            record(p, calls[i], contig=contig, ref=ref, alt=alt) for i, (p, ref, alt) in enumerate(sites) if chosen[i]
        ]

    everything = np.ones(N_SITES, dtype=np.bool_)
    contigs = {"20": 63_025_520, "21": 48_129_895, "22": 51_304_566}
    both_text = vcf_text(
        cohort.panel.samples,
        [*lines(cohort.panel, "20", everything), *lines(cohort.panel, "21", everything)],
        contigs=contigs,
    )
    write_vcf(cohort.panel_file, both_text, index=True)
    both = cohort.folder / "both.gmap"
    body = cohort.map_file.read_text().splitlines()[1:]
    both.write_text("\n".join(["pos\tchr\tcM", *body, *(line.replace("\t20\t", "\t21\t") for line in body)]) + "\n")
    text = [line for contig in ("20", "21", "22") for line in lines(cohort.truth, contig, cohort.typed)]
    target = write_vcf(cohort.folder / "t.vcf", vcf_text(cohort.truth.samples, text, contigs=contigs))
    outcome = impute(target, map=both)
    assert outcome.code == 0
    assert f"contig 22: not in the panel; its {cohort.typed.sum()} records are left out" in outcome.stderr
    rows = outcome.format_columns
    assert [row[0] for row in rows] == ["20"] * N_SITES + ["21"] * N_SITES
    # The same data on both contigs: the same answers, but for ties, which are broken by content.
    assert rows[0][1:5] == rows[N_SITES][1:5]
    assert outcome.reasons("22") == {"not_in_panel": int(cohort.typed.sum())}


def test_impute__cohort_record_is_applied(cohort: Cohort, impute: Impute) -> None:
    lines = cohort.lines()
    chosen = unambiguous(lines)
    swapped(lines[chosen[2]])
    swapped(lines[chosen[5]])
    invert(lines, [chosen[8]])
    target = cohort.target(lines)
    first = impute(target, "--fix-swaps")
    assert first.code == 0, first.stderr
    record = cohort.folder / "out.cohort.json"
    kept = cohort.folder / "kept.json"
    kept.write_text(record.read_text())
    again = impute(target, "--fix-swaps", "--cohort", str(kept), out="again.vcf.gz")
    assert again.format_columns == first.format_columns
    assert not (cohort.folder / "again.cohort.json").exists()
    # A site that is no longer in the file is one without calls; one that the record does not know is not used.
    fewer = [line for i, line in enumerate(lines) if i != 11]
    without = impute(cohort.target(fewer, "fewer.vcf.gz"), "--fix-swaps", "--cohort", str(kept), out="f.vcf.gz")
    uncalled = [[*line[:9], *(".|." for _ in line[9:])] if i == 11 else line for i, line in enumerate(lines)]
    missing = impute(cohort.target(uncalled, "unc.vcf.gz"), "--fix-swaps", "--cohort", str(kept), out="u.vcf.gz")
    assert without.format_columns == missing.format_columns
    content = json.loads(kept.read_text())
    decided = content["contigs"][0]
    typed = decode_sites(decided["typed"])
    typed[np.flatnonzero(typed)[20]] = False
    decided["typed"] = encode_sites(typed)
    decided["verdicts"] = [v for v in decided["verdicts"] if v[4] != "swap_repaired"]
    decided["parameters"]["switch_per_cm"] = 77.0
    edited = text_file(cohort.folder / "edited.json", json.dumps(content))
    third = impute(target, "--cohort", str(edited))
    assert third.reasons() == {"used": len(lines) - 4, "swapped": 2, "inverted_coding": 1, "listed": 1}
    assert any("switch_per_cm=77.0" in line for line in third.header)


def test_impute__cohort_record_of_another_panel_or_map(cohort: Cohort, impute: Impute) -> None:
    target = cohort.target(cohort.lines())
    impute(target)
    record = str(cohort.folder / "out.cohort.json")
    refused(impute(target, "--cohort", record, map=cohort.long_map_file, out="n.vcf.gz"), "PROVENANCE_MISMATCH")
    content = json.loads((cohort.folder / "out.cohort.json").read_text())
    for change, reason in (({"panel": "0" * 32}, "PROVENANCE_MISMATCH"), ({"contig": "7"}, "CONFIG")):
        content["contigs"][0] |= change
        other = text_file(cohort.folder / "other.json", json.dumps(content))
        refused(impute(target, "--cohort", str(other), out="n.vcf.gz"), reason)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n", "not a cohort record"),
        ('{"kind": "other"}', "its `kind` must be"),
        ('{"kind": "vcfrag cohort record 1", "version": "1", "contigs": [], "more": 1}', "unknown key 'more'"),
        ('{"kind": "vcfrag cohort record 1", "contigs": []}', "'version' is missing"),
    ],
)
def test_impute__cohort_refuses_other_files(cohort: Cohort, impute: Impute, text: str, message: str) -> None:
    record = text_file(cohort.folder / "q.json", text)
    assert message in refused(impute(cohort.target(cohort.lines()), "--cohort", str(record)), "INPUT")
