"""Calibration on a panel of mosaics whose switch rate and errors are known, and its file on the way into imputation."""

from __future__ import annotations

import dataclasses
import gzip
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vcfrag_core.copying.parameter_search import SearchConfig, search
from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.errors import ConfigError, PanelMismatchError, RangeError, UnknownContigError, UnknownSampleError
from vcfrag_core.files.panel.reader import read_panel
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.identity import mask_digest
from vcfrag_core.window.local import LocalRetriever
from vcfrag_train.calibrate.calibrate import CalibrateConfig, calibrate, choose_samples, observed_sites, warning_of
from vcfrag_train.calibrate.leave_one_out import CopyingBench
from vcfrag_train.calibrate.parameters import ParameterFile, read_parameters, write_parameters
from vcfrag_train.client.embedded import embedded_daemon
from vcfrag_train.reporter import LineReporter
from vcfrag_train.simulate.files import write_phased_vcf

# `make_panel` switches between founders at 3 % of the sites and errs at 0.2 %: over 300 sites and 9 cM, once a cM.
N_SITES = 300
CM_LONG = 9.0
START = CopyingParameters(scales=(8, 24), k=8, flank_cm=1.0, switch_per_cm=1.0)


def write_files(folder: Path, panel: Panel) -> dict[str, Path]:
    """Panel, map, sample table (S0000 and S0001 are of one family), typed sites and a target of two panel samples."""
    first, last = int(panel.positions[0]), int(panel.positions[-1])
    paths = {name: folder / name for name in ("panel.vcf.gz", "map.txt", "samples.tsv", "typed.tsv", "target.vcf.gz")}
    write_phased_vcf(panel, paths["panel.vcf.gz"])
    paths["map.txt"].write_text(f"pos\tchr\tcM\n{first}\t1\t0\n{last}\t1\t{CM_LONG}\n")
    rows = [f"{name}\t{'F1' if i < 2 else '0'}" for i, name in enumerate(panel.samples)]
    paths["samples.tsv"].write_text("sample\tfamily\n" + "\n".join(rows) + "\n")
    typed = np.arange(0, panel.n_sites, 3)
    keys = [f"1\t{panel.positions[i]}\t{panel.refs[i]}\t{panel.alts[i]}" for i in typed]
    paths["typed.tsv"].write_text("chrom\tpos\tref\talt\n" + "\n".join(keys) + "\n")
    write_phased_vcf(panel.select_samples(panel.samples[:2]).select_sites(typed), paths["target.vcf.gz"])
    return paths


@pytest.fixture(scope="module")
def mosaic(make_panel: Callable[..., Panel]) -> Panel:
    return make_panel(n_samples=40, n_sites=N_SITES, seed=9)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, mosaic: Panel) -> dict[str, Path]:
    return write_files(tmp_path_factory.mktemp("calibrate"), mosaic)


@pytest.fixture
def make_bench(mosaic: Panel) -> Callable[..., CopyingBench]:
    def make(**changes: object) -> CopyingBench:
        given: dict[str, object] = {
            "samples": mosaic.samples[:12],
            "observed": np.arange(N_SITES) % 3 == 0,
            "groups": {name: name for name in mosaic.samples},
        }
        genetic_map = GeneticMap(
            positions=mosaic.positions[[0, -1]].astype(np.int64), cm=np.array([0.0, CM_LONG]), contig="1"
        )
        return CopyingBench(
            panel=mosaic, genetic_map=genetic_map, retriever=LocalRetriever(mosaic), **(given | changes)
        )  # type: ignore[arg-type]

    return make


def config(files: dict[str, Path], out: Path, **changes: object) -> CalibrateConfig:
    given: dict[str, object] = {
        "panel": files["panel.vcf.gz"],
        "map": files["map.txt"],
        "typed": files["typed.tsv"],
        "out": out,
        "samples": 10,
        "resamples": 50,
        "search": SearchConfig(rounds=1, retrieval=False),
    }
    return CalibrateConfig(**(given | changes))  # type: ignore[arg-type]


def test_search__recovers_the_mosaics_switch_rate_from_a_bad_start(make_bench: Callable[..., CopyingBench]) -> None:
    bench = make_bench()
    bad = dataclasses.replace(START, switch_per_cm=100.0, mismatch=0.1)
    found = search(lambda p: float(bench.score(p).loss()[0]), bad, SearchConfig(rounds=3, retrieval=False))
    assert found.loss < 0.9 * found.start_loss
    assert 0.5 <= found.parameters.switch_per_cm <= 2
    assert found.parameters.mismatch < 0.02


def test_score__other_switch_rates_use_the_same_retrieval(make_bench: Callable[..., CopyingBench]) -> None:
    bench = make_bench()
    first = bench.prepare(START)
    assert bench.prepare(dataclasses.replace(START, switch_per_cm=9.0, mismatch=0.01)) is first
    assert bench.prepare(dataclasses.replace(START, k=9)) is not first


@pytest.mark.parametrize("family", [False, True])
def test_bench__own_group_is_never_retrieved(
    make_bench: Callable[..., CopyingBench], mosaic: Panel, family: bool
) -> None:
    groups = {name: ("family" if family and i < 6 else name) for i, name in enumerate(mosaic.samples)}
    bench = make_bench(groups=groups)
    group_of_row = np.array([groups[name] for name in mosaic.samples]).repeat(2)
    queries = [groups[name] for name in bench.samples for _ in range(2)]
    seen = 0
    for prepared in bench.prepare(dataclasses.replace(START, k=200)):
        for own, candidates in zip(queries, prepared.problem.candidates, strict=True):
            assert own not in group_of_row[candidates]
            seen += len(candidates)
            # Everybody else is there: only the group was left out.
            assert len(candidates) == int((group_of_row != own).sum())
    assert seen > 0


def test_bench__hidden_alleles_reach_neither_retrieval_nor_copying(
    make_bench: Callable[..., CopyingBench], mosaic: Panel
) -> None:
    bench, other = make_bench(), make_bench()
    other.alleles = np.where(other.observed, other.alleles, 1 - other.alleles).astype(np.int8)
    for one, two in zip(bench.prepare(START), other.prepare(START), strict=True):
        for a, b in zip(one.problem.candidates, two.problem.candidates, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(one.problem.queries, two.problem.queries)
        np.testing.assert_array_equal(one.truth, 1 - two.truth)


def test_bench__scores_every_hidden_site_once(make_bench: Callable[..., CopyingBench]) -> None:
    bench = make_bench()
    score = bench.score(START)
    assert score.n_alleles == 2 * int((~bench.observed).sum())
    sites = np.concatenate([prepared.problem.sites.sites for prepared in bench.prepare(START)])
    np.testing.assert_array_equal(sites, np.flatnonzero(~bench.observed))


def test_calibrate__a_region_by_another_name_of_its_contig(
    files: dict[str, Path], mosaic: Panel, tmp_path: Path
) -> None:
    stop = int(mosaic.positions[99])
    wanted = [
        calibrate(config(files, tmp_path / "p.toml", region=f"{contig}:1-{stop}")).parameters
        for contig in ("1", "chr1")
    ]
    assert wanted[0] == wanted[1]
    with pytest.raises(UnknownContigError, match="no contig 'chr7' here; the file has 1"):
        calibrate(config(files, tmp_path / "p.toml", region=f"chr7:1-{stop}"))


@pytest.mark.parametrize("observed", [np.ones(N_SITES, dtype=np.bool_), np.zeros(N_SITES, dtype=np.bool_)])
def test_bench__refuses_masks_with_nothing_to_do(make_bench: Callable[..., CopyingBench], observed: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="nothing to impute"):
        make_bench(observed=observed)


def test_bench__refuses_samples_that_the_panel_lacks(make_bench: Callable[..., CopyingBench]) -> None:
    with pytest.raises(UnknownSampleError, match="NOBODY"):
        make_bench(samples=("NOBODY",))


def test_calibrate__never_scores_worse_than_the_rule(files: dict[str, Path], tmp_path: Path) -> None:
    content = calibrate(config(files, tmp_path / "p.toml", search=SearchConfig(rounds=1)))
    fit = content.scores["fit"]["mean_error"]
    assert fit["after"] <= fit["before"]
    assert fit["low"] <= fit["difference"] <= fit["high"]
    assert set(content.scores) == {"fit", "check"}
    assert {"mean_error", "log_loss"} <= set(content.scores["check"])


@pytest.mark.parametrize(("after", "words"), [(0.10, None), (0.12, "no less error"), (0.13, "without --parameters")])
def test_warning_of__parameters_that_do_others_no_good(after: float, words: str | None) -> None:
    scores = {"fit": {"mean_error": {"before": 0.2, "after": 0.1}}}
    assert "to check" in str(warning_of(scores))
    said = warning_of(scores | {"check": {"mean_error": {"before": 0.12, "after": after}}})
    assert said is None if words is None else words in str(said)


def test_calibrate__says_where_nobody_is_left_to_check(files: dict[str, Path], tmp_path: Path) -> None:
    lines: list[str] = []
    calibrate(config(files, tmp_path / "p.toml", samples=39), LineReporter(lines.append))
    assert [line for line in lines if line.startswith("warning: no panel samples are left to check")]


def test_calibrate__writes_its_whole_provenance(files: dict[str, Path], mosaic: Panel, tmp_path: Path) -> None:
    out = tmp_path / "p.toml"
    lines: list[str] = []
    settings = config(files, out, seed=4, samples_table=files["samples.tsv"], command="vcfrag calibrate X")
    content = calibrate(settings, LineReporter(lines.append))
    provenance = tomllib.loads(out.read_text())["provenance"]
    assert provenance["panel"] == mosaic.digest
    assert provenance["mask"] == mask_digest(np.arange(N_SITES) % 3 == 0)
    assert provenance["observed_sites"] == 100
    assert provenance["seed"] == 4
    assert provenance["command"] == "vcfrag calibrate X"
    assert len(provenance["map"]) == len(provenance["groups"]) == 32
    fitted, checked = provenance["fit_samples"], provenance["check_samples"]
    assert (len(fitted), len(checked)) == (10, 10)
    assert not set(fitted) & set(checked)
    assert {"version", "contig", "start", "parameters_tried", "map_source", "mask_kind"} <= set(provenance)
    assert read_parameters(out) == content
    assert sum("log-loss" in line for line in lines) == provenance["parameters_tried"]
    assert list(tmp_path.iterdir()) == [out]


def test_calibrate__the_same_seed_gives_the_same_file(files: dict[str, Path], tmp_path: Path) -> None:
    for name, threads in (("a.toml", 1), ("b.toml", 3)):
        calibrate(config(files, tmp_path / name, threads=threads))
    assert (tmp_path / "a.toml").read_bytes() == (tmp_path / "b.toml").read_bytes()


def test_calibrate__families_are_left_out_together(files: dict[str, Path], tmp_path: Path) -> None:
    alone = calibrate(config(files, tmp_path / "a.toml"))
    together = calibrate(config(files, tmp_path / "b.toml", samples_table=files["samples.tsv"]))
    assert alone.provenance["groups"] != together.provenance["groups"]


def test_calibrate__against_a_running_daemon(
    files: dict[str, Path], mosaic: Panel, make_panel: Callable[..., Panel], tmp_path: Path
) -> None:
    inside = calibrate(config(files, tmp_path / "inside.toml"))
    with embedded_daemon({"mine": mosaic}, threads=1) as address:
        outside = calibrate(config(files, tmp_path / "outside.toml", daemon=address))
        assert outside.parameters == inside.parameters
    other = make_panel(n_samples=5, n_sites=N_SITES, seed=1)
    with (
        embedded_daemon({"mine": other}, threads=1) as address,
        pytest.raises(PanelMismatchError, match="does not serve"),
    ):
        calibrate(config(files, tmp_path / "wrong.toml", daemon=address))
    assert not (tmp_path / "wrong.toml").exists()


@pytest.mark.parametrize(
    ("change", "share"),
    [({"observed_share": 0.2}, 0.2), ({"density": "dense"}, 0.5), ({"density": "array"}, 0.045)],
)
def test_observed_sites__follow_the_choice(
    files: dict[str, Path], mosaic: Panel, tmp_path: Path, change: dict[str, object], share: float
) -> None:
    settings = config(files, tmp_path / "p.toml", typed=None, **change)
    observed = observed_sites(settings, mosaic)
    assert abs(float(observed.mean()) - share) < 0.1
    np.testing.assert_array_equal(observed, observed_sites(settings, mosaic))
    other = observed_sites(dataclasses.replace(settings, seed=2), mosaic)
    assert not np.array_equal(observed, other)


def test_choose_samples__two_sets_that_do_not_meet(mosaic: Panel) -> None:
    fitted, checked = choose_samples(mosaic, 15, 1)
    assert (len(fitted), len(checked)) == (15, 15)
    assert not set(fitted) & set(checked)
    assert len(choose_samples(mosaic, 30, 1)[1]) == 10
    assert choose_samples(mosaic, 15, 1) == (fitted, checked)
    assert choose_samples(mosaic, 15, 2) != (fitted, checked)
    with pytest.raises(ConfigError, match="somebody must be left"):
        choose_samples(mosaic, 40, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"typed": None},
        {"density": "array"},
        {"observed_share": 0.5},
        {"typed": None, "observed_share": 1.0},
        {"samples": 1},
        {"out": Path("p.json")},
        {"out": Path("nowhere/p.toml")},
        {"threads": 0},
    ],
)
def test_calibrate_config__refuses_what_makes_no_sense(files: dict[str, Path], change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        config(files, **({"out": Path("p.toml")} | change))  # type: ignore[arg-type]


def test_calibrate__says_when_nothing_can_be_scored(tmp_path: Path) -> None:
    panel = Panel.from_haplotypes(np.zeros((20, 60), dtype=np.int8))
    flat = write_files(tmp_path, panel)
    with pytest.raises(RangeError, match="nothing can be scored"):
        calibrate(config(flat, tmp_path / "p.toml", samples=5))


def run_command(*arguments: object) -> int:
    from vcfrag_train.cli.app import main

    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in arguments])
    return int(stopped.value.code or 0)


def test_command__calibrates_and_imputation_uses_it(
    files: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, imputed = tmp_path / "p.toml", tmp_path / "imputed.vcf.gz"
    panel = ("--panel", files["panel.vcf.gz"], "--map", files["map.txt"])
    code = run_command(
        "calibrate", *panel, "--typed", files["typed.tsv"], "--samples", 8, "--copying-only", "--rounds", 1,
        "--resamples", 20, "--out", out,
    )  # fmt: skip
    assert code == 0
    text = capfd.readouterr().out
    assert "fit: mean error" in text
    assert "check: mean error" in text
    assert f"wrote {out}" in text
    parameters = read_parameters(out).parameters
    target = ("--target", files["target.vcf.gz"], "--copying-only", "--loo-samples", 0, "--least-typed", 4)
    code = run_command("impute", *panel, *target, "--parameters", out, "--out", imputed)
    assert code == 0
    with gzip.open(imputed, "rt") as file:
        header = "".join(line for line in file if line.startswith("##"))
    assert f"switch_per_cm={parameters.switch_per_cm}" in header
    assert f"mismatch={parameters.mismatch}" in header


def test_command__imputation_says_where_parameters_are_foreign(
    files: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = ("--target", files["target.vcf.gz"], "--copying-only", "--loo-samples", 0, "--least-typed", 4)
    panel = read_panel(files["panel.vcf.gz"])
    same = {"contig": panel.contig, "panel": panel.digest}
    for provenance, said in (
        ({}, None),
        ({**same, "observed_per_cm": 1.0}, "calibrated at 1 typed sites per cM, here there are"),
        ({**same, "panel": "0" * 32, "panel_file": "old.bcf"}, f"on another panel of {panel.contig}, old.bcf"),
        ({"contig": "other", "panel": "0" * 32}, None),
    ):
        path = tmp_path / "p.toml"
        write_parameters(ParameterFile(parameters=START, provenance=provenance), path)
        words = ("--panel", files["panel.vcf.gz"], "--map", files["map.txt"], "--parameters", path)
        assert run_command("impute", *words, *target, "--out", tmp_path / "o.vcf.gz") == 0
        text = capfd.readouterr().err
        assert ("the parameters were calibrated" in text) == (said is not None)
        if said is not None:
            assert said in text
            assert f"warning: {panel.contig}: the parameters" in text


def test_command__refuses_a_file_that_holds_no_parameters(
    files: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[retrieval]\nscales = [8]\nk = 3\nflank_cm = 1.0\nswitch_rate = 2.0\n")
    code = run_command(
        "impute", "--panel", files["panel.vcf.gz"], "--target", files["target.vcf.gz"],
        "--parameters", wrong, "--out", tmp_path / "x.vcf.gz",
    )  # fmt: skip
    assert code == 2
    assert "unknown key 'retrieval.switch_rate'" in capfd.readouterr().err


def test_parameter_file__round_trip(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    content = ParameterFile(parameters=START, provenance={"seed": 3}, scores={"fit": {"log_loss": {"after": 0.5}}})
    write_parameters(content, path)
    assert read_parameters(path) == content


def test_parameter_file__its_table_is_that_of_a_training_configuration(tmp_path: Path) -> None:
    from vcfrag_train.training.config import load_config

    path = tmp_path / "p.toml"
    write_parameters(ParameterFile(parameters=START), path)
    run = tmp_path / "fit.toml"
    run.write_text(path.read_text() + '\n[panel]\npath = "panel.bcf"\n')
    assert load_config(run).retrieval == START


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k = 3\n", "unknown table or key 'k'"),
        ("[copying]\nk = 3\n", "unknown table or key 'copying'"),
        ("[scores]\n", "no table"),
        ("retrieval = 3\n", "no table"),
        ("[retrieval]\nk = 3\n", "missing"),
        ("[retrieval]\nscales = [4]\nk = 0\nflank_cm = 1\nswitch_per_cm = 1\n", "k and min_observed"),
        ("[retrieval\n", "not TOML"),
    ],
)
def test_parameter_file__refuses_what_it_cannot_read(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as refused:
        read_parameters(path)
    assert str(path) in str(refused.value)


def test_parameter_file__refuses_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        read_parameters(tmp_path / "none.toml")
