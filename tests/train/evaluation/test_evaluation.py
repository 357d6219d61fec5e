"""Evaluation end to end on small files, against the definitions computed from the arrays."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tests.imputed_text import (
    World,
    WorldFiles,
    imputed_text,
    noisy_haplotypes,
    small_world,
    write_imputed,
    write_world,
)
from tests.vcf_text import panel_text, write_vcf
from vcfrag_core.errors import ConfigError, EmptyInputError, InputError, PloidyError, TargetError, UnknownSampleError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.scoring import accuracy
from vcfrag_core.scoring.bootstrap import METRICS
from vcfrag_train.evaluation import evaluate as evaluation
from vcfrag_train.evaluation import results, tables
from vcfrag_train.evaluation.evaluate import EvaluationConfig, EvaluationFiles
from vcfrag_train.evaluation.results import Evaluation, MethodResult
from vcfrag_train.evaluation.run_metadata import file_blake2b

CONFIG = EvaluationConfig(resamples=40)


@pytest.fixture(scope="module")
def world() -> World:
    return small_world()


@pytest.fixture(scope="module")
def files(world: World, tmp_path_factory: pytest.TempPathFactory) -> WorldFiles:
    return write_world(world, tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCFRAG_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


def given(files: WorldFiles, *imputed: tuple[str, Path]) -> EvaluationFiles:
    return EvaluationFiles(
        imputed=imputed, truth=files.truth, panels=(files.panel,), typed=files.typed, samples_table=files.samples
    )


@pytest.fixture(scope="module")
def result(world: World, files: WorldFiles, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    folder = tmp_path_factory.mktemp("imputed")
    sharp = write_imputed(folder / "sharp.vcf.gz", world, 0.05, info="R2=0.9")
    blurred = write_imputed(folder / "blurred.bcf", world, 0.5, seed=1)
    return evaluation.evaluate(given(files, ("sharp", sharp), ("blurred", blurred)), CONFIG)


def assert_same_figures(left: MethodResult, right: MethodResult) -> None:
    for metric in METRICS:
        pairs = [[(v.value, v.low, v.high) for v in method.metrics[metric]] for method in (left, right)]
        np.testing.assert_array_equal(pairs[0], pairs[1], err_msg=metric)


def everything(result: Evaluation, method: str, metric: str) -> float:
    return result.method(method).metrics[metric][results.group_number("all")].value


def test_evaluate__equals_the_definitions_over_the_hidden_sites(world: World, result: Evaluation) -> None:
    haplotypes = noisy_haplotypes(world, 0.05)
    frequency = world.reference.alt_frequency()
    sites = world.hidden & (accuracy.maf_bin(frequency) >= 0)
    dosage, truth = haplotypes.sum(axis=2)[sites], world.copies[sites]
    posterior = accuracy.posterior_of_haplotypes(haplotypes)[sites]
    calls = accuracy.best_guess(dosage, posterior)
    varies = accuracy.truth_varies(truth)
    expected = {
        "aggregate_r2": accuracy.aggregate_r2(dosage, truth, frequency[sites]),
        "site_r2": np.nanmean(accuracy.site_r2(dosage, truth)),
        "iqs": accuracy.iqs(posterior[varies], truth[varies]).mean(),
        "concordance": accuracy.concordance(calls, truth),
        "non_reference_concordance": accuracy.non_reference_concordance(calls, truth),
        "precision": accuracy.alt_scores(calls, truth).precision,
        "recall": accuracy.alt_scores(calls, truth).recall,
        "f1": accuracy.alt_scores(calls, truth).f1,
    }
    assert set(expected) == set(METRICS)
    for name, value in expected.items():
        assert everything(result, "sharp", name) == pytest.approx(value, abs=2e-5), name


def test_evaluate__counts_what_it_scored(world: World, result: Evaluation) -> None:
    assert result.sites.n_panel == world.targets.n_sites
    assert result.sites.n_typed == world.typed.sum()
    assert result.sites.n_hidden == world.hidden.sum()
    fixed = accuracy.maf_bin(world.reference.alt_frequency())[world.hidden] < 0
    assert result.sites.n_fixed == fixed.sum() > 0
    assert result.groups[-1].n_sites == result.sites.n_hidden - result.sites.n_fixed
    assert result.groups[-1].n_varying < result.groups[-1].n_sites


def test_evaluate__a_site_that_the_array_codes_otherwise_is_typed_all_the_same(
    world: World, files: WorldFiles, tmp_path: Path
) -> None:
    heads, *rows = files.typed.read_text().splitlines()
    (column, other) = (heads.split("\t").index(name) for name in ("ref", "alt"))
    lines = [heads]
    for row in rows:
        cells = row.split("\t")
        cells[column], cells[other] = cells[other], cells[column]
        lines.append("\t".join(cells))
    exchanged = tmp_path / "exchanged.tsv"
    exchanged.write_text("\n".join(lines) + "\n")
    imputed = write_imputed(tmp_path / "a.vcf.gz", world, 0.05)
    given_so = dataclasses.replace(given(files, ("a", imputed)), typed=exchanged)
    assert evaluation.evaluate(given_so, CONFIG).sites.n_typed == world.typed.sum()


def test_evaluate__a_record_at_which_nobody_has_alt_is_typed(world: World, files: WorldFiles, tmp_path: Path) -> None:
    heads, *lines = panel_text(world.targets.select_sites(np.flatnonzero(world.typed))).split("\n20\t")
    cells = [line.split("\t") for line in lines]
    without = ["\t".join([*row[:3], ".", *row[4:8], *["0|0"] * len(world.targets.samples)]) for row in cells]
    target = write_vcf(tmp_path / "t.vcf.gz", "\n20\t".join([heads, *without]) + "\n")
    imputed = write_imputed(tmp_path / "a.vcf.gz", world, 0.05)
    found = evaluation.evaluate(dataclasses.replace(given(files, ("a", imputed)), typed=target), CONFIG)
    assert found.sites.n_typed == world.typed.sum()


def test_evaluate__typed_sites_never_count(world: World, files: WorldFiles, tmp_path: Path) -> None:
    """Typed sites that are imputed wrongly change nothing."""
    haplotypes = noisy_haplotypes(world, 0.05)
    spoiled = haplotypes.copy()
    spoiled[world.typed] = 1 - spoiled[world.typed]
    paths = [
        write_vcf(tmp_path / f"{name}.vcf.gz", imputed_text(world, array))
        for name, array in (("a", haplotypes), ("b", spoiled))
    ]
    found = evaluation.evaluate(given(files, ("a", paths[0]), ("b", paths[1])), CONFIG)
    assert_same_figures(found.method("a"), found.method("b"))


def test_evaluate__swapped_haplotypes_score_the_same(world: World, files: WorldFiles, tmp_path: Path) -> None:
    haplotypes = noisy_haplotypes(world, 0.2)
    paths = [
        write_vcf(tmp_path / f"{name}.vcf.gz", imputed_text(world, array, ("GT", "HDS")))
        for name, array in (("a", haplotypes), ("b", haplotypes[:, :, ::-1]))
    ]
    found = evaluation.evaluate(given(files, ("a", paths[0]), ("b", paths[1])), CONFIG)
    for metric in METRICS:
        assert everything(found, "a", metric) == pytest.approx(everything(found, "b", metric), abs=1e-6)


def test_evaluate__differences_are_paired_and_point_the_right_way(result: Evaluation) -> None:
    difference = next(d for d in result.differences if (d.metric, d.population) == ("aggregate_r2", "all"))
    assert (difference.method, difference.against) == ("sharp", "blurred")
    group = results.group_number("all")
    values = [everything(result, name, "aggregate_r2") for name in ("sharp", "blurred")]
    assert difference.difference[group].value == pytest.approx(values[0] - values[1])
    assert difference.error_change[group].value == pytest.approx((1 - values[0]) / (1 - values[1]) - 1)
    assert difference.error_change[group].high < 0 < difference.difference[group].low


def test_evaluate__by_super_population(world: World, result: Evaluation) -> None:
    assert dict(result.populations) == {"AAA": 6, "BBB": 6}
    frequency = world.reference.alt_frequency()
    sites = world.hidden & (accuracy.maf_bin(frequency) >= 0)
    dosage = noisy_haplotypes(world, 0.05).sum(axis=2)[sites][:, ::2]
    expected = accuracy.aggregate_r2(dosage, world.copies[sites][:, ::2], frequency[sites])
    assert result.method("sharp").populations["AAA"][-1].value == pytest.approx(expected, abs=2e-5)
    assert {d.population for d in result.differences} == {"all", "AAA", "BBB"}


def test_evaluate__estimates_only_where_the_file_has_them(result: Evaluation) -> None:
    estimated = result.method("sharp").estimated_r2
    assert estimated is not None
    assert estimated.mean_estimated[-1] == pytest.approx(0.9)
    assert result.method("blurred").estimated_r2 is None


def test_evaluate__targets_in_the_panel_are_left_out_of_its_frequencies(
    world: World, files: WorldFiles, result: Evaluation, tmp_path: Path
) -> None:
    both = Panel.from_haplotypes(
        np.concatenate([world.targets.haplotypes(), world.reference.haplotypes()]),
        contig="20",
        positions=world.targets.positions,
        samples=world.targets.samples + world.reference.samples,
    )
    panel = write_vcf(tmp_path / "both.vcf.gz", panel_text(both))
    sharp = Path(result.method("sharp").source)
    found = evaluation.evaluate(dataclasses.replace(given(files, ("sharp", sharp)), panels=(panel,)), CONFIG)
    assert_same_figures(found.method("sharp"), result.method("sharp"))


def test_evaluate__typed_sites_from_a_vcf_are_the_same(files: WorldFiles, result: Evaluation) -> None:
    sharp = Path(result.method("sharp").source)
    found = evaluation.evaluate(dataclasses.replace(given(files, ("sharp", sharp)), typed=files.target), CONFIG)
    assert_same_figures(found.method("sharp"), result.method("sharp"))


def test_evaluate__refuses_an_imputed_file_that_lacks_hidden_sites(
    world: World, files: WorldFiles, tmp_path: Path
) -> None:
    some = np.arange(world.targets.n_sites) % 3 != 2
    path = write_vcf(tmp_path / "some.vcf.gz", imputed_text(world, noisy_haplotypes(world, 0.1), sites=some))
    lacking = int((world.hidden & ~some).sum())
    with pytest.raises(InputError, match=rf"lacks {lacking} of the 120 hidden sites, the first is 20:1200 A>C"):
        evaluation.evaluate(given(files, ("some", path)), CONFIG)
    found = evaluation.evaluate(given(files, ("some", path)), EvaluationConfig(resamples=0, common_sites=True))
    assert found.sites.n_not_shared == lacking
    assert found.sites.n_hidden == 120 - lacking
    assert np.isnan(found.method("some").metrics["aggregate_r2"][-1].low)


def test_evaluate__refuses_a_list_of_typed_sites_that_is_not_of_these_targets_or_this_panel(
    world: World, files: WorldFiles, tmp_path: Path
) -> None:
    text = imputed_text(world, noisy_haplotypes(world, 0.1))
    flag = "".join(f'##INFO=<ID={name},Number=0,Type=Flag,Description="x">\n' for name in ("TYPED", "IMP"))
    typed = set(world.targets.positions[world.typed].tolist())

    def with_mark(line: str) -> str:
        cells = line.split("\t")
        mark = "" if line[0] == "#" else "TYPED" if int(cells[1]) in typed else "IMP"
        return "\t".join([*cells[:7], mark, *cells[8:]]) if mark else line

    lines = map(with_mark, text.replace("#CHROM", flag + "#CHROM").splitlines())
    marked = write_vcf(tmp_path / "marked.vcf.gz", "\n".join(lines) + "\n")
    assert evaluation.evaluate(given(files, ("a", marked)), CONFIG).sites.n_lacked == 0
    heads, *rows = files.typed.read_text().splitlines()
    assert "typed" not in heads
    short, foreign = tmp_path / "short.tsv", tmp_path / "foreign.tsv"
    short.write_text("\n".join([heads, *rows[2:]]) + "\n")
    with pytest.raises(
        InputError, match=r"marks 2 of the 122 sites to score as typed, the first is 20:\d+ A>C; --typed"
    ):
        evaluation.evaluate(dataclasses.replace(given(files, ("a", marked)), typed=short), CONFIG)
    every = panel_text(
        world.targets.select_sites(np.delete(np.arange(world.targets.n_sites), np.flatnonzero(world.hidden)[:3]))
    )
    long = write_vcf(tmp_path / "long.vcf.gz", every)
    with pytest.raises(InputError, match=r"marks \d+ of the \d+ sites that --typed lists as imputed: is the list of"):
        evaluation.evaluate(dataclasses.replace(given(files, ("a", marked)), typed=long), CONFIG)
    position = heads.split("\t").index("pos")

    def moved(row: str) -> str:
        cells = row.split("\t")
        return "\t".join([*cells[:position], str(int(cells[position]) + 1), *cells[position + 1 :]])

    foreign.write_text("\n".join([heads, *map(moved, rows)]) + "\n")
    with pytest.raises(InputError, match=r"none of its .* typed sites between .* is a site of the panel"):
        evaluation.evaluate(dataclasses.replace(given(files, ("a", marked)), typed=foreign), CONFIG)
    foreign.write_text("\n".join([heads, *rows, *map(moved, rows[1:4])]) + "\n")
    found = evaluation.evaluate(dataclasses.replace(given(files, ("a", marked)), typed=foreign), CONFIG)
    assert (found.sites.n_typed, found.sites.n_lacked) == (world.typed.sum(), 3)


def test_evaluate__refuses_a_truth_that_lacks_sites_or_samples(world: World, files: WorldFiles, tmp_path: Path) -> None:
    imputed = write_imputed(tmp_path / "a.vcf.gz", world, 0.1)
    few = write_vcf(tmp_path / "few.vcf.gz", panel_text(world.targets.select_sites(np.arange(50))))
    with pytest.raises(InputError, match=r"lacks \d+ of the 120 hidden sites"):
        evaluation.evaluate(dataclasses.replace(given(files, ("a", imputed)), truth=few), CONFIG)
    fewer = write_vcf(tmp_path / "fewer.vcf.gz", panel_text(world.targets.select_samples(world.targets.samples[:5])))
    with pytest.raises(UnknownSampleError, match="7 of 12 samples are not in it"):
        evaluation.evaluate(dataclasses.replace(given(files, ("a", imputed)), truth=fewer), CONFIG)


def test_evaluate__refuses_a_truth_of_one_haplotype_on_an_autosome(
    world: World, files: WorldFiles, tmp_path: Path
) -> None:
    imputed = write_imputed(tmp_path / "a.vcf.gz", world, 0.1)
    lines = panel_text(world.targets).splitlines()
    halved = [line if line[0] == "#" else "\t".join([*(f := line.split("\t"))[:-1], f[-1][0]]) for line in lines]
    truth = write_vcf(tmp_path / "truth.vcf.gz", "\n".join(halved) + "\n")
    name = world.targets.samples[-1]
    with pytest.raises(PloidyError, match=rf"{name}.*has one allele at most hidden sites .* as 1 of \d+ samples"):
        evaluation.evaluate(dataclasses.replace(given(files, ("a", imputed)), truth=truth), CONFIG)


def test_evaluate__refuses_when_no_site_is_shared(world: World, files: WorldFiles, tmp_path: Path) -> None:
    nowhere = np.zeros(world.targets.n_sites, dtype=bool)
    nowhere[0] = True
    path = write_vcf(tmp_path / "a.vcf.gz", imputed_text(world, noisy_haplotypes(world, 0.1), sites=nowhere))
    with pytest.raises(InputError, match=r"has none of the 120 hidden sites of contig 20: .*--region names another"):
        evaluation.evaluate(given(files, ("a", path)), CONFIG)
    with pytest.raises(EmptyInputError, match="genome build"):
        evaluation.evaluate(given(files, ("a", path)), EvaluationConfig(common_sites=True))


def test_evaluate__refuses_when_nothing_was_hidden(world: World, files: WorldFiles, tmp_path: Path) -> None:
    imputed = write_imputed(tmp_path / "a.vcf.gz", world, 0.1)
    with pytest.raises(EmptyInputError, match="nothing was hidden"):
        evaluation.evaluate(dataclasses.replace(given(files, ("a", imputed)), typed=files.panel), CONFIG)


def test_evaluate__refuses_a_panel_of_targets_only(world: World, files: WorldFiles, tmp_path: Path) -> None:
    imputed = write_imputed(tmp_path / "a.vcf.gz", world, 0.1)
    with pytest.raises(TargetError, match="no reference is left"):
        evaluation.evaluate(dataclasses.replace(given(files, ("a", imputed)), panels=(files.truth,)), CONFIG)


@pytest.mark.parametrize("names", [[], ["a", "a"], ["a", ""]])
def test_check_labels__refuses(names: list[str]) -> None:
    with pytest.raises(ConfigError):
        evaluation.check_labels(names)


@pytest.mark.parametrize("bad", [{"resamples": -1}, {"level": 1.0}, {"threads": 0}])
def test_evaluation_config__refuses(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        EvaluationConfig(**bad)  # type: ignore[arg-type]


def test_json__round_trips_the_figures_and_has_no_nan(result: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    results.write_json(result, path)
    table = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert [method["name"] for method in table["methods"]] == ["sharp", "blurred"]
    stored = table["methods"][0]["metrics"]["aggregate_r2"][-1]
    assert stored["value"] == pytest.approx(everything(result, "sharp", "aggregate_r2"), abs=1e-6)
    assert table["provenance"]["files"]["truth"]["blake2b"] == file_blake2b(
        Path(result.provenance["files"]["truth"]["path"])
    )
    assert table["methods"][1]["estimated_r2"] is None


def test_tsv__has_every_figure_once(result: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    results.write_tsv(result, path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    keys = [(r["method"], r["against"], r["population"], r["metric"], r["group"]) for r in rows]
    assert len(set(keys)) == len(keys)
    groups = len(accuracy.GROUPS)
    assert len(rows) == groups * (2 * len(METRICS) + 2 * 2 + len(METRICS) + 2)
    wanted = ("sharp", "", "all", "aggregate_r2", "all")
    value = float(rows[keys.index(wanted)]["value"])
    assert value == pytest.approx(everything(result, "sharp", "aggregate_r2"), abs=1e-5)


def test_tsv__has_the_cost_of_what_was_run_from_here(result: Evaluation, tmp_path: Path) -> None:
    cost = results.Cost(
        wall_seconds=2.5, cpu_seconds=3.25, preparation_seconds=0.0, peak_bytes=123_456_789_012, threads=2, command="x"
    )
    sharp, blurred = result.methods
    path = tmp_path / "a.tsv"
    results.write_tsv(dataclasses.replace(result, methods=(dataclasses.replace(sharp, cost=cost), blurred)), path)
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["metric"] in results.COSTS]
    assert {(row["method"], row["population"], row["group"]) for row in rows} == {("sharp", "all", "all")}
    assert [float(row["value"]) for row in rows] == [2.5, 3.25, 0, 123_456_789_012, 2]


def test_tables__show_every_method_and_filled_group(result: Evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_evaluation(result, tables.console())
    shown = capsys.readouterr().out
    assert f"{everything(result, 'sharp', 'aggregate_r2'):.4f}" in shown
    assert "error of sharp against" in shown
    for group in result.groups:
        assert (f"n={group.n_sites:,}" in shown) == (group.n_sites > 0)


def test_region_error__pieces_cover_the_region(result: Evaluation) -> None:
    region = result.method("sharp").region
    assert region.starts[1:] == region.stops[:-1]
    assert region.starts[0] == 1100
    assert np.nanmin(region.r2) > 0.5
