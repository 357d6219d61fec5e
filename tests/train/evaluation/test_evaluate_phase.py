"""`vcfrag evaluate --phase`: phased files beside a true phase."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vcf_text import record, vcf_text, write_vcf
from vcfrag_train.cli import app as cli

SAMPLES = ("A", "B")
TRUTH = [["0|1", "1|0"], ["0|1", "0|0"], ["1|0", "0|1"], ["0|1", "1|0"], ["1|1", "1|0"], ["0|1", "0|1"]]


def vcf(path: Path, calls: list[list[str]], contig: str = "20") -> Path:
    return vcf_of(path, calls, contig)


def vcf_of(path: Path, calls: list[list[str]], *contigs: str) -> Path:
    """The same calls on each contig."""
    at = [(contig, 1000 + 100 * i, row) for contig in contigs for i, row in enumerate(calls)]
    lines = [record(position, row, contig=contig, ref="A", alt="C") for contig, position, row in at]
    return write_vcf(path, vcf_text(SAMPLES, lines, contigs=dict.fromkeys(contigs, 100_000)))


def evaluate(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", *(str(word) for word in words)])
    return stop.value.code or 0  # type: ignore[return-value]


def test_evaluate_phase__counts_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = vcf(tmp_path / "truth.vcf.gz", TRUTH)
    same = vcf(tmp_path / "same.vcf.gz", TRUTH)
    other = [[cell[::-1] if i >= 3 and s == 0 else cell for s, cell in enumerate(row)] for i, row in enumerate(TRUTH)]
    switched = vcf(tmp_path / "switched.vcf.gz", other)
    outputs = {name: tmp_path / f"out.{name}" for name in ("json", "tsv", "html")}
    words = [word for name, path in outputs.items() for word in (f"--{name}", path)]
    code = evaluate("--phase", truth, "--imputed", f"one={switched}", "--imputed", same, "--resamples", "50", *words)
    assert code == 0
    assert "2 samples, 6 sites of contig 20, 8 pairs of neighbouring heterozygotes" in capsys.readouterr().out
    figures = json.loads(outputs["json"].read_text())
    one, two = figures["methods"]
    assert (one["switches"], one["pairs"]) == ([1, 0], [4, 4])
    assert one["rates"]["switch_error"][0] == pytest.approx(1 / 8)
    assert two["rates"]["switch_error"][0] == 0
    rows = [line.split("\t") for line in outputs["tsv"].read_text().splitlines()]
    assert rows[1][:3] == ["one", "switch_error", "0.125"]
    html = outputs["html"].read_text()
    assert "<svg" in html
    assert "one" in html


def test_evaluate_phase__compares_within_phase_sets(tmp_path: Path) -> None:
    """As of a truth from reads, whose sets lie either way round."""
    sets = ["5_a", "5_a", "5_a", "9_b", "9_b", "9_b"]
    lines = []
    for i, (row, name) in enumerate(zip(TRUTH, sets, strict=True)):
        cells = [cell[::-1] if name == "9_b" else cell for cell in row]
        line = record(1000 + 100 * i, [f"{cell}:{name}" for cell in cells], ref="A", alt="C")
        lines.append(line.replace("\tGT\t", "\tGT:PS\t"))
    head, _, rest = vcf_text(SAMPLES, lines, contigs={"20": 100_000}).partition("\n")
    declared = '##FORMAT=<ID=PS,Number=1,Type=String,Description="Phase set">'
    truth = write_vcf(tmp_path / "truth.vcf.gz", f"{head}\n{declared}\n{rest}")
    phased = vcf(tmp_path / "phased.vcf.gz", TRUTH)
    assert evaluate("--phase", truth, "--imputed", phased, "--json", tmp_path / "o.json") == 0
    (found,) = json.loads((tmp_path / "o.json").read_text())["methods"]
    assert (found["switches"], found["pairs"]) == ([0, 0], [3, 3])


def test_evaluate_phase__only_common_and_typed_sites(tmp_path: Path) -> None:
    truth = vcf(tmp_path / "truth.vcf.gz", TRUTH)
    part = vcf(tmp_path / "part.vcf.gz", TRUTH[:5])
    typed = tmp_path / "typed.tsv"
    typed.write_text("chrom\tpos\tref\talt\n" + "".join(f"20\t{1000 + 100 * i}\tA\tC\n" for i in (0, 2, 3, 5)))
    assert evaluate("--phase", truth, "--imputed", part, "--typed", typed, "--json", tmp_path / "o.json") == 0
    assert json.loads((tmp_path / "o.json").read_text())["n_sites"] == 3


def test_evaluate_phase__contigs_add_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one file or one for each; a contig that a file lacks is left out and told."""
    switched = [[first[::-1] if i >= 3 else first, second] for i, (first, second) in enumerate(TRUTH)]
    for name, calls in (("truth", TRUTH), ("phased", switched)):
        for contig in ("20", "21"):
            vcf(tmp_path / f"{name}.{contig}.vcf.gz", calls, contig=contig)
        vcf_of(tmp_path / f"{name}.vcf.gz", calls, "20", "21")
    for given in (".vcf.gz", ".{contig}.vcf.gz"):
        words = ("--imputed", tmp_path / f"phased{given}", "--json", tmp_path / "o.json", "--html", tmp_path / "o.html")
        assert evaluate("--phase", tmp_path / f"truth{given}", *words) == 0
        assert "2 samples, 12 sites of contigs 20, 21, 16 pairs" in capsys.readouterr().out
        figures = json.loads((tmp_path / "o.json").read_text())
        assert (figures["contigs"], figures["left_out"]) == (["20", "21"], [])
        # A switch on each contig, and none where one contig ends and the next begins.
        assert figures["methods"][0]["switches"] == [2, 0]
        html = (tmp_path / "o.html").read_text()
        assert "contig 20, Mb" in html
        assert "contig 21, Mb" in html
    assert evaluate("--phase", tmp_path / "truth.vcf.gz", "--imputed", tmp_path / "phased.20.vcf.gz") == 0
    assert "left out, as a file has none of their sites: contigs 21" in capsys.readouterr().out
    assert evaluate("--phase", tmp_path / "truth.21.vcf.gz", "--imputed", tmp_path / "phased.20.vcf.gz") == 2
    assert "it has contigs 20, the truth 21" in capsys.readouterr().err


def test_evaluate_phase__refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = vcf(tmp_path / "truth.vcf.gz", TRUTH)
    assert evaluate("--imputed", truth) == 2
    assert "--truth, --panel and --typed are needed, or --phase" in capsys.readouterr().err
    elsewhere = vcf(tmp_path / "other.vcf.gz", [["0|1", "0|1"]], contig="20")
    far = write_vcf(tmp_path / "far.vcf.gz", vcf_text(SAMPLES, [record(9, ["0|1", "0|1"], contig="20")]))
    assert evaluate("--phase", truth, "--imputed", far) == 2
    assert "no site is in the truth and in every phased file" in capsys.readouterr().err
    unphased = vcf(tmp_path / "unphased.vcf.gz", [[cell.replace("|", "/") for cell in row] for row in TRUTH])
    assert evaluate("--phase", truth, "--imputed", unphased) == 2
    assert "unphased.vcf.gz: its heterozygotes are not phased" in capsys.readouterr().err
    assert evaluate("--phase", unphased, "--imputed", truth) == 2
    assert "no sample has two heterozygotes whose phase both it and the truth" in capsys.readouterr().err
    assert evaluate("--phase", elsewhere, "--imputed", truth, "--region", "7") == 2
