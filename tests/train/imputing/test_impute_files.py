"""`vcfrag impute` on every kind of files, regions, contigs, panels and cohort records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.impute_cohort import N_SITES, N_TARGETS, Cohort, Impute, invert, refused, swapped, unambiguous
from tests.vcf_text import calls_of, panel_text, record, vcf_text, write_vcf
from vcfrag_core.targets.cohort import decode_sites, encode_sites
from vcfrag_indexd.testing import serve
from vcfrag_train.imputing.pipeline import Run
from vcfrag_train.jobs import worker


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
    assert "the panel has no site in region 20:950000-990000" in empty


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


CONTIGS = {"20": 63_025_520, "21": 48_129_895, "22": 51_304_566}


def two_contigs(cohort: Cohort) -> Path:
    """Makes the cohort's panel one of two contigs; returns a map of both."""
    calls, panel = calls_of(cohort.panel), cohort.panel
    sites = list(zip(panel.positions.tolist(), panel.refs, panel.alts, strict=True))
    lines = [
        record(p, calls[i], contig=contig, ref=ref, alt=alt)
        for contig in ("20", "21")
        for i, (p, ref, alt) in enumerate(sites)
    ]
    write_vcf(cohort.panel_file, vcf_text(panel.samples, lines, contigs=CONTIGS), index=True)
    both = cohort.folder / "both.gmap"
    body = cohort.map_file.read_text().splitlines()[1:]
    both.write_text("\n".join(["pos\tchr\tcM", *body, *(line.replace("\t20\t", "\t21\t") for line in body)]) + "\n")
    return both


def test_impute__several_contigs(cohort: Cohort, impute: Impute) -> None:
    """A panel of two contigs, a target of those and a third."""
    both = two_contigs(cohort)
    text = [line for contig in CONTIGS for line in cohort.lines(contig=contig)]
    target = cohort.target(text, "t.vcf", contigs=CONTIGS)
    outcome = impute(target, map=both)
    assert outcome.code == 0
    assert f"contig 22: not in the panel; its {cohort.typed.sum()} records are left out" in outcome.stderr
    rows = outcome.format_columns
    assert [row[0] for row in rows] == ["20"] * N_SITES + ["21"] * N_SITES
    # The same data on both contigs: the same answers, but for ties, which are broken by content.
    assert rows[0][1:5] == rows[N_SITES][1:5]
    assert outcome.reasons("22") == {"not_in_panel": int(cohort.typed.sum())}


def test_impute__a_contig_without_targets_is_told(cohort: Cohort, impute: Impute) -> None:
    both = two_contigs(cohort)
    outcome = impute(cohort.target(cohort.lines()), map=both)
    assert "the targets have no record on 21 of the panel: nothing is imputed there" in outcome.stderr
    assert {row[0] for row in outcome.format_columns} == {"20"}


def test_impute__a_later_contig_is_tested_before_the_first_is_imputed(
    cohort: Cohort, impute: Impute, monkeypatch: pytest.MonkeyPatch
) -> None:
    def imputed(*_: object, **__: object) -> None:
        raise AssertionError("a window was imputed")

    both, later = two_contigs(cohort), cohort.lines(contig="21")
    invert(later, np.random.default_rng(3).choice(len(later), len(later) // 5, replace=False).tolist())
    target = cohort.target([*cohort.lines(), *later], contigs=CONTIGS)
    for way in (Run, "_impute"), (worker, "run_chunk"):
        monkeypatch.setattr(*way, imputed)
    outcome = impute(target, map=both)
    assert "typed sites" in refused(outcome, "TARGET")
    assert outcome.reasons("20") == {"used": int(cohort.typed.sum())}


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
