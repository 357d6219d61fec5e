"""The speed benchmarks run, say what they compare, and judge their goals as stated; how fast is not asked here."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks import synthetic
from benchmarks.accuracy import generated_panels, pedigree, sub_panels, training_panels
from benchmarks.figures import Figure, amount
from benchmarks.gpu import __main__ as gpu_check
from benchmarks.gpu import daemon, goals, in_process, panels
from benchmarks.scale import beside_peers, growth
from benchmarks.speed import __main__ as speed
from benchmarks.speed import copying, plain_copying
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.files.panel.reader import read_panel
from vcfrag_core.files.tables.samples import SampleTable, read_sample_table
from vcfrag_core.files.tables.splits import read_split_table
from vcfrag_core.scoring.accuracy import N_BINS
from vcfrag_core.scoring.bootstrap import Interval
from vcfrag_core.targets.likeness import Relation
from vcfrag_train.evaluation.results import EVERYONE, Difference
from vcfrag_train.simulate import simulate


@pytest.mark.parametrize("name", ["copying", "sampler"])
def test_quick_topic__prints_and_keeps_every_figure(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert speed.main(["--quick", "--only", name, "--out", str(tmp_path)]) == 0
    kept = json.loads((tmp_path / "speed.json").read_text())
    figures = kept["topics"][name]["figures"]
    printed = capsys.readouterr().out
    assert kept["quick"] is True
    assert len(figures) >= 3
    for figure in figures:
        assert figure["name"] in printed
        assert figure["value"] > 0
        assert (figure["ratio"] is None) == (figure["baseline_value"] is None)


def test_impute__says_what_is_missing_without_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VCFRAG_DATA", str(tmp_path))
    assert speed.main(["--only", "impute", "--out", str(tmp_path / "out")]) == 0
    assert "not measured" in capsys.readouterr().out


def test_copying_gpu__says_that_it_is_not_measured_without_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert speed.main(["--only", "copying_gpu", "--out", str(tmp_path)]) == 0
    assert "not measured: no CUDA device" in capsys.readouterr().out


@pytest.mark.gpu
def test_copying_gpu__measures_both_passes_and_memory(tmp_path: Path) -> None:
    assert speed.main(["--quick", "--only", "copying_gpu", "--out", str(tmp_path)]) == 0
    kept = json.loads((tmp_path / "speed.json").read_text())
    assert [figure["unit"] for figure in kept["topics"]["copying_gpu"]["figures"]] == ["s", "s", "bytes"]


@pytest.mark.parametrize(
    ("value", "baseline", "least_ratio", "most", "reached"),
    [
        (1.0, 10.0, 5.0, None, True),
        (1.0, 4.0, 5.0, None, False),
        (1.0, None, None, 2.0, True),
        (3.0, None, None, 2.0, False),
        (3.0, 30.0, None, None, None),
        (3.0, None, 2.0, None, False),
    ],
)
def test_figure__judges_its_goal(
    value: float, baseline: float | None, least_ratio: float | None, most: float | None, reached: bool | None
) -> None:
    figure = Figure(name="n", value=value, unit="s", baseline_value=baseline, least_ratio=least_ratio, most=most)
    assert figure.reached is reached


def test_amount__chooses_a_readable_size() -> None:
    assert amount(0.0123, "s") == "12.3 ms"
    assert amount(45e-6, "s") == "45 us"
    assert amount(2**21, "bytes") == "2 MiB"
    assert amount(1.5, "x") == "1.5 x"


def test_synthetic_panel__has_no_bits_beyond_its_sites_and_both_alleles() -> None:
    panel = synthetic.panel(40, 1021)
    assert not (panel.packed[:, -1] >> 5).any()
    frequency = panel.alt_frequency()
    assert 0 < frequency.mean() < 0.5
    np.testing.assert_array_equal(panel.packed, synthetic.panel(40, 1021).packed)


def test_copying_baselines__agree_with_the_kernel() -> None:
    case = copying.make(2, 120, 40)
    got = case.problem.dosage(case.weights, case.switch)
    for work in (plain_copying.by_numpy, plain_copying.by_loops):
        answers = [work(case.problem, case.haplotypes, q, case.weights, case.switch) for q in range(2)]
        np.testing.assert_allclose(got, answers, atol=1e-4)


@pytest.mark.parametrize("name", [*gpu_check.STAGES, "through_daemon", "in_process", "warm", "goals"])
def test_gpu_check__has_every_stage(name: str) -> None:
    assert importlib.import_module(f"benchmarks.gpu.{name}").__doc__


def test_gpu_check__keeps_what_a_stage_found_before_it_failed(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("the first stage succeeds on this machine")
    command = [sys.executable, "-m", "benchmarks.gpu", "--only", "device", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    kept = json.loads((tmp_path / "gpu.json").read_text())["device"]
    assert kept["ended"] == "with code 1"
    assert kept["found"]["machine"]["cores"] >= 1
    assert "CUDA" in kept["output"] or "NVIDIA" in kept["output"]


def test_gpu_check__a_daemon_whose_worker_is_killed_or_stuck_answers_the_same(tmp_path: Path) -> None:
    """The very stage, with an engine of the host behind the worker."""
    found = daemon.outlives(panels.written(tmp_path, 64, 1), "bitscan", hang_seconds=2)
    assert found["engine"] == "bitscan"
    for how in ("killed", "stopped"):
        assert found[f"{how}: same answer"] is True
        assert found[f"{how}: another worker"] is True


def test_gpu_check__tells_engines_that_answer_alike(tmp_path: Path) -> None:
    file = panels.written(tmp_path, 64, 1)
    inside = [
        in_process.measure(file, name, 1, 1, weighted=weighted)
        for weighted in (False, True)
        for name in ("bitscan", "reference")
    ]
    assert inside[0]["answers"] == inside[1]["answers"] != inside[2]["answers"] == inside[3]["answers"]
    assert inside[0]["words"] > inside[0]["segments"] > 30


def required(names: Iterable[str]) -> set[str]:
    """The distributions and all that they require here, without extras."""
    waiting, found = list(names), set()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found.add(name)
        wanted = [Requirement(line) for line in importlib.metadata.requires(name) or ()]
        waiting += [r.name for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


LACKING = """
import sys
import pytest

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
sys.exit(pytest.main(["-m", "gpu", "-v", "-p", "no:cacheprovider", *sys.argv[2:]]))
"""


def test_gpu_tests__skip_where_a_package_is_missing(repository: Path) -> None:
    files = ("tests/core/copying/test_triton.py", "tests/train/training/test_on_device.py")
    command = [sys.executable, "-c", LACKING, "torch", *files]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.count("torch is not installed") == 1, done.stdout
    assert "SKIPPED [2]" in done.stdout
    # 5: no test was left to run.
    assert done.returncode in (0, 5), done.stdout


def test_gpu_bundle__brings_all_that_a_node_with_torch_lacks(repository: Path) -> None:
    lines = (repository / "scripts" / "gpu_wheels.txt").read_text().splitlines()
    brought = {canonicalize_name(line) for line in lines if not line.startswith("#")}
    node = required(("torch", "lightning", "numba", "cuda-bindings", "hypothesis", "pytest"))
    ours = required(("vcfrag", "vcfrag-indexd")) - {"vcfrag", "vcfrag-indexd"}
    assert "grpcio" in ours
    assert ours - node <= brought


def found_by_stages() -> dict[str, Any]:
    """What the stages of a check may have found."""
    searched = {"cold_seconds": 8.0, "warm_seconds": 4.0, "lanes_seconds": 3.0, "answers": "a"}
    epochs = [{"waiting_for_index_share": share} for share in ("0.3", "0.01")]
    wrong = {"killed: seconds until the answer": 1.0, "killed: same answer": False}
    faster = {name: value / 2.5 if isinstance(value, float) else value for name, value in searched.items()}
    return {
        "device": {"ended": "well", "found": {"popcounts_per_second": 4e12}},
        "search_small": {
            "ended": "well",
            "found": {
                "daemon bitscan 2": dict.fromkeys(searched, 9.0),
                "daemon bitscan 16": searched,
                "daemon bitscan-gpu 16": {**faster, "warm_seconds": 4.0},
            },
        },
        "search_large": {
            "ended": "stopped after 90 s",
            "found": {
                "daemon bitscan 16": {"failed": "took more than 45 s"},
                "in process bitscan-gpu equal": {
                    "words": 100,
                    "haplotypes": 200_000,
                    "kernels": {"filter_count 1": 8e-4, "from first to last": 16e-4},
                },
            },
        },
        "fit": {"ended": "well", "found": {"copying trained, too": {"epochs": epochs}}},
        "daemon": {"ended": "with code 1", "found": {"bitscan-gpu": wrong}},
        "step": {"missing": "no time was left"},
    }


def test_goals__are_judged_by_what_was_found_and_nothing_else() -> None:
    told = {goal.name: goal for goal in goals.judged(found_by_stages())}
    of = "search of 5,008 haplotypes, times bitscan"
    assert told[f"{of}, cold"].figure == pytest.approx(2.5)
    assert [told[f"{of}, {how}"].reached for how in ("cold", "warm", "four clients")] == [True, False, True]
    assert told["search of 5,008 haplotypes, answers as bitscan's"].reached is True
    # 100 words x 200,000 rows x 64 queries at 4e12 a second are 0.32 ms.
    assert told["share of the popcounts possible, pass over all rows"].figure == pytest.approx(0.4)
    assert told["share of the popcounts possible, whole search"].reached is False
    assert told["share of the last epoch waiting for the index, copying trained, too"].reached is True
    missing = {name for name, goal in told.items() if goal.reached is None}
    assert {name for name in told if "200,000" in name} <= missing
    assert "seconds until bitscan-gpu answers the same after it was killed" in missing
    assert "training step, times the baseline" in missing
    assert all(("not measured" in told[name].line()) == (name in missing) for name in told)


def interval(value: float) -> Interval:
    return Interval(value, value - 0.01, value + 0.01)


def change(against: str, *values: float, metric: str = "aggregate_r2", population: str = EVERYONE) -> Difference:
    groups = tuple(map(interval, values))
    return Difference(
        method="vcfrag", against=against, population=population, metric=metric, difference=groups, error_change=groups
    )


def test_generated_panels__the_better_peer_of_every_bin_is_the_one_compared_with() -> None:
    nothing = float("nan")
    rows = (
        change("vcfrag-copying", *[0.9] * N_BINS),
        change("beagle", nothing, -0.2, 0.1, -0.3, nothing),
        change("beagle", *[0.8] * N_BINS, population="EUR"),
        change("beagle", *[0.8] * N_BINS, metric="iqs"),
        change("minimac4-fixed", nothing, -0.3, -0.05, -0.5, nothing),
        change("minimac4", nothing, -0.1, 0.05, -0.4, nothing),
        change("shapeit4-minimac4-tuned", nothing, 0.3, 0.0, -0.2, 0.2),
    )
    assert generated_panels.against_better_peer(rows, tuned=False) == [
        "",
        "-10.0 [-11.0, -9.0]",
        "+10.0 [+9.0, +11.0]",
        "-30.0 [-31.0, -29.0]",
        "",
    ]
    tuned = generated_panels.against_better_peer(rows, tuned=True)
    assert [cell.partition(" ")[0] for cell in tuned] == ["", "+30.0", "+10.0", "-20.0", "+20.0"]


def test_generated_panels__a_set_is_named_by_what_makes_it() -> None:
    def made(*words: str) -> tuple[str, simulate.SimulationConfig]:
        options = generated_panels.parser().parse_args(words)
        return generated_panels.name_of(options), generated_panels.simulation_of(options)

    name, config = made("--demography", "breed", "--reference", "301", "--seed", "7", "--errors")
    assert name == "breed-301-s7-5mb-e3333-errors-t100"
    assert (config.reference_per_population, config.targets_per_population, config.seed) == (151, 50, 7)
    assert config.genotype_error_share > 0
    assert config.switch_errors_per_mb > 0
    other, clean = made("--demography", "breed", "--reference", "301", "--seed", "7", "--typed-every", "5000")
    assert other != made("--demography", "breed", "--reference", "301", "--seed", "7")[0]
    assert clean.genotype_error_share == clean.switch_errors_per_mb == clean.gene_conversions_per_crossover == 0


def _people() -> SampleTable:
    """Four populations of six; the first two of each are a family."""
    codes = ("CEU", "EUR"), ("TSI", "EUR"), ("CHB", "EAS"), ("YRI", "AFR")
    rows = [(f"{pop}{i}", pop, region, f"F-{pop}" if i < 2 else None) for pop, region in codes for i in range(6)]
    samples, population, super_population, family = zip(*rows, strict=True)
    nobody = (None,) * len(rows)
    return SampleTable(
        samples=samples,
        population=population,
        super_population=super_population,
        family=family,
        father=nobody,
        mother=nobody,
    )


def test_sub_panels__held_out_people_and_their_families_are_never_reference_samples() -> None:
    reference, targets = sub_panels.people_of(_people(), ["CEU0", "YRI5"], panel="all", targets=None, seed=1)
    assert targets == ["CEU0", "YRI5"]
    assert len(reference) == 21
    assert not {"CEU0", "CEU1", "YRI5"} & set(reference)


def test_sub_panels__targets_of_a_population_leave_the_panel() -> None:
    reference, targets = sub_panels.people_of(_people(), ["CEU0"], panel="EUR", targets="TSI,CHB", seed=1)
    assert targets == [f"{pop}{i}" for pop in ("CHB", "TSI") for i in range(6)]
    assert reference == ["CEU1", "CEU2", "CEU3", "CEU4", "CEU5"]


def test_sub_panels__a_draw_is_told_by_its_seed_and_has_as_many_as_were_asked_for() -> None:
    first, other, again = (
        sub_panels.people_of(_people(), ["CEU0"], panel="5", targets=None, seed=seed)[0] for seed in (1, 2, 1)
    )
    assert first == again != other
    assert len(first) == len(other) == 5
    with pytest.raises(SystemExit, match="22 samples may be drawn from"):
        sub_panels.people_of(_people(), ["CEU0"], panel="23", targets=None, seed=1)
    with pytest.raises(SystemExit, match="GBR: nobody"):
        sub_panels.people_of(_people(), ["CEU0"], panel="GBR", targets=None, seed=1)


def test_pedigree__children_are_told_from_their_kin_and_nobody_else_is_called_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pedigree, "POPULATION", 1000)  # a small one is generated fast
    counts = pedigree.table(pedigree.found_pairs(10, 2, seed=5))
    told = {truth for truth, relation in counts if relation is Relation.SAME}
    assert told == {pedigree.SAME}
    assert counts[pedigree.SAME, Relation.SAME] == 8


def test_pedigree__names_say_who_is_who() -> None:
    assert pedigree.true_relation("T5", "D5") == pedigree.SAME
    assert pedigree.true_relation("T5", "D4") == pedigree.true_relation("T5", "S1") == pedigree.SIBLING
    assert pedigree.true_relation("T5", "M1") == pedigree.MOTHER
    assert pedigree.true_relation("T5", "N1") == pedigree.NIECE
    assert {pedigree.true_relation("T5", name) for name in ("D8", "M2", "S0", "N2", "U1")} == {pedigree.STRANGER}


def test_training_panels__are_those_of_the_recipe_and_share_nobody(tmp_path: Path, monkeypatch) -> None:
    recipe = (Path(__file__).parents[2] / "configs" / "any-panel.toml").read_text(encoding="utf-8")
    assert set(re.findall(r'name = "(generated-[^"]*)"', recipe)) == set(training_panels.PANELS)
    assert len({panel.seed for panel in training_panels.PANELS.values()}) == len(training_panels.PANELS)
    small = {
        name: dataclasses.replace(panel, samples=9, bases=60_000) for name, panel in training_panels.PANELS.items()
    }
    monkeypatch.setattr(training_panels, "PANELS", small)
    monkeypatch.setattr(training_panels, "QUERIES", 6)
    monkeypatch.setattr(training_panels, "JUDGES", 2)
    training_panels.main(["--out", str(tmp_path), "--only", *small])
    panels = [read_panel(tmp_path / name / "panel.vcf.gz") for name in small]
    assert [panel.n_samples for panel in panels] == [15, 15]
    assert not set(panels[0].samples) & set(panels[1].samples)
    tables = [read_sample_table(tmp_path / name / "samples.tsv") for name in small]
    assert [set(table.samples) for table in tables] == [set(panel.samples) for panel in panels]
    for name, table in zip(small, tables, strict=True):
        roles = read_split_table(tmp_path / name / "roles.tsv")
        of = dict(zip(table.samples, table.population, strict=True))
        assert [of[one] for one, role in roles.items() if role == "validation"] == ["query"] * 2


def test_growth__larger_panels_hold_the_smaller_ones_at_the_same_sites(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--work", str(tmp_path), "--reference", "30,90", "--targets", "6", "--megabases", "0.1"]
    assert growth.main([*sizes, "--inside", "make"]) == 0
    small, large = (load_panel(growth.Work(tmp_path).panel(size)) for size in (30, 90))
    assert np.array_equal(small.positions, large.positions)
    assert set(small.samples) < set(large.samples)
    assert np.array_equal(large.select_samples(small.samples).packed, small.packed)
    assert growth.main([*sizes, "--inside", "search", "--size", "90"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["size"], found["sites"]) == (90, large.n_sites)
    assert found["typed"] == len(read_panel(growth.Work(tmp_path).target).positions)


def test_beside_peers__every_program_writes_the_same_sites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for program in ("bcftools", "beagle", "bref3", "minimac4"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (scripts/debian_packages.sh)")
    small = ["--reference", "60", "--targets", "6", "--megabases", "0.5", "--rounds", "1", "--work", str(tmp_path)]
    assert beside_peers.main(small) == 0
    printed = capsys.readouterr().out
    (kept,) = tmp_path.glob("*.json")
    rows = json.loads(kept.read_text())
    assert len(rows) == 6
    for label, rounds in rows.items():
        assert f"| {label} |" in printed
        assert all(value > 0 for one in rounds for value in one.values())
    (prepared,) = tmp_path.glob("*-prepared")
    texts = [
        subprocess.run(["bcftools", "view", "-H", prepared / f"{out}.vcf.gz"], check=True, capture_output=True).stdout
        for out in ("out", "beagle", "minimac4")
    ]
    assert len({text.count(b"\n") for text in texts}) == 1
