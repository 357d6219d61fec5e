"""`vcfrag evaluate` and `compare` as a user calls them."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.imputed_text import World, WorldFiles, small_world, write_imputed, write_world
from tests.vcf_text import need_bcftools, panel_text, write_vcf
from vcfrag_core.errors import ConfigError
from vcfrag_core.panel.panel import Panel
from vcfrag_train.cli.app import main
from vcfrag_train.cli.commands.evaluate import labelled
from vcfrag_train.compare import compare as comparison
from vcfrag_train.compare.compare import ComparisonConfig, ComparisonFiles
from vcfrag_train.compare.peers import PEERS
from vcfrag_train.evaluation.evaluate import EvaluationConfig
from vcfrag_train.evaluation.output import Targets


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(n_reference=40, n_sites=300)


@pytest.fixture(scope="module")
def files(world: World, tmp_path_factory: pytest.TempPathFactory) -> WorldFiles:
    found = write_world(world, tmp_path_factory.mktemp("world"))
    positions = world.reference.positions
    (found.panel.parent / "map.txt").write_text(
        f"pos\tchr\tcM\n{positions[0]}\t20\t0.0\n{positions[-1] + 1}\t20\t1.0\n"
    )
    return found


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCFRAG_CACHE_DIR", str(tmp_path / "cache"))


def run(*words: object) -> int:
    """Exit code of the command line."""
    with pytest.raises(SystemExit) as leaving:
        main([str(word) for word in words])
    return int(leaving.value.code or 0)


def test_evaluate__prints_and_writes_everything(
    world: World, files: WorldFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_imputed(tmp_path / "good.vcf.gz", world, 0.1)
    bad = write_imputed(tmp_path / "bad.vcf.gz", world, 0.6)
    outputs = {name: tmp_path / f"out.{name}" for name in ("json", "tsv", "html")}
    # The truth as if it were imputed: calls without dosages.
    words = ["evaluate", "--imputed", good, "--imputed", f"poor={bad}", "--truth", files.truth, "--panel", files.panel]
    words += ["--imputed", f"calls={files.truth}"]
    words += ["--typed", files.target, "--samples-table", files.samples, "--resamples", 30]
    words += [word for name, path in outputs.items() for word in (f"--{name}", path)]
    assert run(*words) == 0
    shown = capsys.readouterr().out
    assert "12 samples, 225 hidden sites of contig 20" in shown
    assert "error of good against" in shown
    assert shown.count("calls of GT are scored") == 1
    assert "calls has neither DS, HDS nor GP" in shown
    table = json.loads(outputs["json"].read_text())
    assert [method["name"] for method in table["methods"]] == ["good", "poor", "calls"]
    with outputs["tsv"].open(newline="") as file:
        assert {row["method"] for row in csv.DictReader(file, delimiter="\t")} == {"good", "poor", "calls"}
    assert outputs["html"].read_text().startswith("<!doctype html>")
    assert {path.name for path in tmp_path.iterdir()} >= {"out.json", "out.tsv", "out.html"}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--imputed", "missing.vcf.gz"], "error [INPUT]: missing.vcf.gz: "),
        (["--imputed", "=x"], "error [CONFIG]: --imputed '=x': write FILE or NAME=FILE"),
        (["--json", "no/such/folder/a.json"], "error [CONFIG]: cannot write no/such/folder/a.json"),
        (["--run", "some"], "error [CONFIG]: --run puts training curves into the report: name it with --html"),
        (["--region", "21"], "error [UNKNOWN_CONTIG]"),
        (["--resamples", "-1"], "error [CONFIG]: resamples must be >= 0"),
    ],
)
def test_evaluate__refuses_with_one_line_and_code_2(
    world: World,
    files: WorldFiles,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    extra: list[str],
    message: str,
) -> None:
    imputed = [] if "--imputed" in extra else ["--imputed", write_imputed(tmp_path / "a.vcf.gz", world, 0.1)]
    words = ["evaluate", *imputed, "--truth", files.truth, "--panel", files.panel, "--typed", files.typed, *extra]
    assert run(*words) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith(message)


def test_labelled__takes_the_name_from_the_file_or_from_before_the_sign(tmp_path: Path) -> None:
    assert labelled("some/where/beagle.vcf.gz") == ("beagle", Path("some/where/beagle.vcf.gz"))
    assert labelled("chr20.run.2.bcf")[0] == "chr20.run.2"
    assert labelled("other.pvar.gz")[0] == "other.pvar"
    assert labelled("a=b.vcf.gz") == ("a", Path("b.vcf.gz"))
    odd = tmp_path / "x=y.vcf"
    odd.touch()
    assert labelled(str(odd)) == ("x=y", odd)
    with pytest.raises(ConfigError):
        labelled("a=")


def test_compare__runs_vcfrag_and_the_baselines_on_the_same_files(
    world: World, files: WorldFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = tmp_path / "kept"
    words = ["compare", "--panel", files.panel, "--target", files.target, "--truth", files.truth]
    words += ["--map", files.panel.parent / "map.txt", "--no-peers", "--threads", 1, "--resamples", 20]
    words += ["--keep", keep, "--json", tmp_path / "a.json"]
    assert run(*words) == 0
    table = json.loads((tmp_path / "a.json").read_text())
    r2 = {method["name"]: method["metrics"]["aggregate_r2"][-1]["value"] for method in table["methods"]}
    assert list(r2)[:2] == ["vcfrag", "vcfrag-copying"]
    assert {"constant", "whole-window 1-NN", "16-NN vote", "16 random"} <= set(r2)
    assert r2["vcfrag-copying"] > max(r2["constant"], r2["16 random"], 0.1)
    cost = table["methods"][0]["cost"]
    assert cost["wall_seconds"] > 0
    assert cost["peak_bytes"] > 2**20
    assert (keep / "vcfrag.vcf.gz").exists()
    assert not list(keep.glob(".cache-*"))
    assert "cost of the whole process" in capsys.readouterr().out


def test_compare__takes_targets_out_of_the_panel_for_every_program(
    world: World, files: WorldFiles, tmp_path: Path
) -> None:
    """With the targets in the panel a program would copy them from themselves."""
    need_bcftools()
    if shutil.which("minimac4") is None:
        pytest.skip("minimac4 is not on the PATH")
    both = Panel.from_haplotypes(
        np.concatenate([world.targets.haplotypes(), world.reference.haplotypes()]),
        contig="20",
        positions=world.targets.positions,
        samples=world.targets.samples + world.reference.samples,
    )
    planted = write_vcf(tmp_path / "both.vcf.gz", panel_text(both))
    config = ComparisonConfig(
        own=False,
        peers=tuple(peer for peer in PEERS if peer.name == "minimac4"),
        ablations=False,
        threads=1,
        evaluation=EvaluationConfig(resamples=0),
    )
    figures = []
    for panel in (files.panel, planted):
        given = ComparisonFiles(
            panel=panel, target=files.target, truth=files.truth, genetic_map=files.panel.parent / "map.txt"
        )
        found = comparison.compare(given, config, tmp_path / panel.stem)
        figures.append(found.method("minimac4").metrics["aggregate_r2"][-1].value)
    assert figures[1] == pytest.approx(figures[0], abs=1e-6)
    assert figures[0] < 0.95


def test_compare__refuses_to_compare_nothing(files: WorldFiles, tmp_path: Path) -> None:
    given = ComparisonFiles(panel=files.panel, target=files.target, truth=files.truth)
    with pytest.raises(ConfigError, match="nothing to compare"):
        comparison.compare(given, ComparisonConfig(own=False, peers=()), tmp_path)


@pytest.mark.parametrize("bad", [{"threads": 0}, {"heap_mb": 1}])
def test_comparison_config__refuses(bad: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        ComparisonConfig(**bad)  # type: ignore[arg-type]


def test_work_folder__stays_only_where_it_was_named(tmp_path: Path) -> None:
    with comparison.work_folder(None) as temporary:
        (temporary / "a").touch()
    assert not temporary.exists()
    with comparison.work_folder(tmp_path / "kept") as kept:
        assert kept == tmp_path / "kept"


def test_evaluate__a_report_without_what_it_needs_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jinja2" else find(name))
    with pytest.raises(ConfigError, match=r"jinja2 is not installed; run: pip install 'vcfrag\[report\]'"):
        Targets(html=tmp_path / "report.html")
    Targets(json=tmp_path / "scores.json")
