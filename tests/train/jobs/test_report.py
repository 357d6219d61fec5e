"""The report of a job: what it says is what the chunks and the outputs say, on a page that needs nothing else."""

from __future__ import annotations

import dataclasses
import gzip
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.train.jobs.conftest import N_SAMPLES, Genome
from vcfrag_core.errors import ConfigError, TruncatedFileError
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_train.cli import app
from vcfrag_train.jobs.genome import impute_job
from vcfrag_train.jobs.manifest import job_folder
from vcfrag_train.jobs.planning.plan import plan
from vcfrag_train.jobs.report.report import flagged, render
from vcfrag_train.jobs.report.summary import JobSummary, SampleSummary, summarise
from vcfrag_train.jobs.worker import Worker


@pytest.fixture(scope="module")
def reported(genome_files: Genome, tmp_path_factory: pytest.TempPathFactory) -> tuple[Genome, JobSummary]:
    """A job whose chunks are done, and its summary."""
    genome = genome_files.linked(tmp_path_factory.mktemp("reported"))
    manifest = plan(genome.config("o.vcf.gz"), genome.cut(samples_per_chunk=9, windows_per_chunk=2))
    worker = Worker(genome.cut().manifest, 1)
    for number in range(len(manifest.chunks)):
        worker.run(number)
    return genome, summarise(manifest, job_folder(genome.cut().manifest))


def test_summary__says_what_the_output_says(reported: tuple[Genome, JobSummary], tmp_path: Path) -> None:
    genome, summary = reported
    out = impute_job(genome.config("p.vcf.gz"), genome.cut(manifest=tmp_path / "again.json")).outputs[0][0]
    rows = [x.split("\t") for x in gzip.decompress(out.read_bytes()).decode().splitlines() if x[0] != "#"]
    info = [dict(word.split("=") for word in row[7].split(";") if "=" in word) for row in rows]
    positions = np.concatenate([s.positions for s in summary.stretches])
    assert positions.tolist() == [int(row[1]) for row in rows]
    r2 = np.concatenate([s.r2 for s in summary.stretches])
    np.testing.assert_allclose(r2, [float(one["R2"]) for one in info], atol=1e-4)
    typed = np.concatenate([s.typed for s in summary.stretches])
    assert typed.tolist() == ["TYPED" in row[7].split(";") for row in rows]
    er2 = np.concatenate([s.er2 for s in summary.stretches])
    assert np.isfinite(er2).tolist() == ["ER2" in one for one in info]
    missing = np.array([sum(".|." in line for line in column) for column in zip(*target_calls(genome), strict=True)])
    n_typed = int(typed.sum())
    np.testing.assert_allclose(summary.samples.call_rate, 1 - missing / n_typed, atol=1e-12)
    f = np.concatenate([load_panel(path).alt_frequency() for path in genome.panels])
    used = ~typed & (np.minimum(f, 1 - f) >= 0.01)
    hds = np.array([[[float(x) for x in cell.split(":")[2].split(",")] for cell in row[9:]] for row in rows])[used]
    explained = ((hds - f[used][:, None, None]) ** 2).sum(axis=(0, 2))
    wanted = explained / (explained + (hds * (1 - hds)).sum(axis=(0, 2)))
    np.testing.assert_allclose(summary.samples.accuracy, wanted, atol=1e-9)


def test_summary__of_chunks_of_everybody(reported: tuple[Genome, JobSummary], tmp_path: Path) -> None:
    genome = reported[0].linked(tmp_path)
    manifest = plan(genome.config("o.vcf.gz"), genome.cut())
    worker = Worker(genome.cut().manifest, 1)
    for number in range(len(manifest.chunks)):
        worker.run(number)
    everybody = summarise(manifest, job_folder(genome.cut().manifest))
    for one, other in zip(everybody.stretches, reported[1].stretches, strict=True):
        assert np.array_equal(one.positions, other.positions)
        assert np.array_equal(one.r2, other.r2)


def test_report__relatives_in_the_panel(reported: tuple[Genome, JobSummary]) -> None:
    _, summary = reported
    odds = {"parent_or_child": -12.0, "sibling": -3.5, "second_degree": 7.1, "stranger": 40.25}
    pair = {"sample": "P41", "panel_sample": "P07", "relation": "parent_or_child", "contigs": ["20", "21"], "cm": 120.0}
    pair |= {"concordance": 0.75, "log10_odds_of_same_person": odds}
    samples = dataclasses.replace(summary.samples, relatives={"P41": "parent or child of panel sample P07"})
    page = render(dataclasses.replace(summary, samples=samples, qc={**summary.qc, "likeness": [pair]}))
    cells = re.sub(r"<[^>]+>", "\n", page).split("\n")
    for cell in ("P07", "parent or child", "120", "75.00%", "-12.0", "-3.5", "+7.1", "+40.2"):
        assert cell in cells
    assert "parent or child of panel sample P07" in page


def target_calls(genome: Genome) -> list[list[str]]:
    text = gzip.decompress(genome.target.read_bytes()).decode()
    rows = [line.split("\t") for line in text.splitlines() if line[0] != "#"]
    # The one record that is no panel site is not typed.
    return [row[9:] for row in rows if (row[3], row[4]) != ("A", "T") or row[9:].count("0|1") != N_SAMPLES]


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.titles: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = tag == "h2"
        self.outside += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith("#")]
        self.outside += [tag] if tag in ("script", "link", "iframe") else []

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.titles.append(data)
            self._in_title = False


def test_report__is_one_page_that_needs_nothing_else(reported: tuple[Genome, JobSummary]) -> None:
    _, summary = reported
    page = render(summary)
    parser = _Links()
    parser.feed(page)
    assert parser.outside == []
    for title in ("Expected accuracy by frequency", "Along the genome", "Samples", "Records of the targets", "Contigs"):
        assert title in parser.titles
    assert page.count("<svg") == 3
    assert f"{N_SAMPLES} samples at 520 sites" in page
    assert "no such site in the panel" in page
    assert ", mask " in page
    assert "&lt;ID=" not in page


def test_flagged__names_who_stands_out() -> None:
    n = 40
    rng = np.random.default_rng(0)
    call_rate, het = np.full(n, 0.999), 1 + 0.01 * rng.normal(size=n)
    accuracy = 0.9 + 0.005 * rng.normal(size=n)
    call_rate[3], het[5], het[6], accuracy[7] = 0.8, 0.3, 2.0, 0.4
    accuracy[8] = np.nan
    people = SampleSummary(
        names=tuple(f"S{i}" for i in range(n)),
        call_rate=call_rate,
        heterozygosity=het,
        accuracy=accuracy,
        in_panel={"S9": "P1"},
    )
    assert dict(flagged(people)) == {
        3: "low call rate",
        5: "few heterozygous calls",
        6: "many heterozygous calls",
        7: "imputed worse than others",
        9: "in the panel as P1",
    }
    assert flagged(people)[0][0] == 3


def test_report__by_the_commands(genome: Genome, capsys: pytest.CaptureFixture[str]) -> None:
    page = genome.folder / "page.html"
    impute_job(genome.config("o.vcf.gz"), genome.cut(), report=page)
    assert page.read_text().startswith("<!doctype html>")
    manifest = plan(genome.config("o.vcf.gz"), genome.cut())
    words = ["report", str(genome.cut().manifest), "--out", str(genome.folder / "again.html")]
    with pytest.raises(SystemExit) as stop:
        app.main(words)
    assert stop.value.code == 2
    assert "chunk 0 is not there or not whole" in capsys.readouterr().err
    worker = Worker(genome.cut().manifest, 1)
    for number in range(len(manifest.chunks)):
        worker.run(number)
    with pytest.raises(SystemExit) as stop:
        app.main(words)
    assert stop.value.code in (0, None)
    # But for what it cost, and the command, it says the same.
    assert headline(genome.folder / "again.html") == headline(page)


def headline(page: Path) -> str:
    found = re.search(r'<p class="lead">(.*?)</p>', page.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_report__refusals(genome: Genome, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="there is no folder"):
        impute_job(genome.config("o.vcf.gz"), genome.cut(), report=genome.folder / "nowhere" / "page.html")
    manifest = plan(genome.config("o.vcf.gz"), genome.cut())
    other = dataclasses.replace(manifest, qc=str(genome.folder / "gone.qc.tsv"))
    with pytest.raises(TruncatedFileError):
        summarise(other, job_folder(genome.cut().manifest))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"matplotlib is not installed; run: pip install 'vcfrag\[report\]'"):
        impute_job(genome.config("o.vcf.gz"), genome.cut(), report=genome.folder / "page.html")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed (scripts/debian_packages.sh)")
def test_report__a_browser_shows_it(reported: tuple[Genome, JobSummary], tmp_path: Path) -> None:
    page, shot = tmp_path / "page.html", tmp_path / "page.png"
    page.write_text(render(reported[1]), encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--screenshot={shot}"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1100,3600", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert shot.is_file(), done.stderr
    assert shot.stat().st_size > 50_000
