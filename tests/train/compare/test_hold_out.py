"""Panel samples held out as targets, and the peers' settings chosen on others."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cyvcf2 import VCF

from tests.imputed_text import World, WorldFiles, small_world, write_world
from tests.vcf_text import need_bcftools
from vcfrag_core.errors import ConfigError
from vcfrag_core.files.panel.reader import read_panel
from vcfrag_core.files.tables.sites import read_typed_sites
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_train.cli.app import main
from vcfrag_train.compare.hold_out import draw_people, hold_out
from vcfrag_train.compare.tuning import TuningInput, grid, tuned_peers
from vcfrag_train.reporter import SILENT


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(n_reference=40, n_sites=300)


@pytest.fixture(scope="module")
def files(world: World, tmp_path_factory: pytest.TempPathFactory) -> WorldFiles:
    return write_world(world, tmp_path_factory.mktemp("world"))


def test_grid__has_every_setting_once() -> None:
    settings = grid()
    assert len({peer.name for peer in settings}) == len(settings) == 21
    assert len({(peer.program, peer.options) for peer in settings}) == 21
    assert sum(peer.program == "minimac4" for peer in settings) == 3
    assert ("ne=500000", "err=0.001", "cluster=0.0001") in {peer.options for peer in settings}


def test_draw_people__in_whole_families_and_others_for_other_purposes() -> None:
    samples = [f"S{i}" for i in range(60)]
    groups = {name: f"family:{i // 3}" if i < 30 else name for i, name in enumerate(samples)}
    drawn = draw_people(samples, groups, 10, 1, "targets")
    assert 10 <= len(drawn) <= 12
    assert list(drawn) == [name for name in samples if name in drawn]
    chosen = {groups[name] for name in drawn}
    assert set(drawn) == {name for name in samples if groups[name] in chosen}
    assert draw_people(samples, groups, 10, 1, "targets") == drawn
    assert draw_people(samples, groups, 10, 2, "targets") != drawn
    assert draw_people(samples, groups, 10, 1, "tuning") != drawn
    with pytest.raises(ConfigError, match="nobody would be left"):
        draw_people(samples, groups, 60, 1, "targets")


def test_hold_out__splits_the_panel_and_types_the_targets(world: World, files: WorldFiles, tmp_path: Path) -> None:
    need_bcftools()
    panel = read_panel(files.panel)
    typed = read_typed_sites(files.target, "20")
    targets, without = panel.samples[3:9:2], panel.samples[20:22]
    held = hold_out(files.panel, panel, targets, without, typed, tmp_path / "out")
    rest, truth, target = (read_panel(path) for path in (held.panel, held.truth, held.target))
    assert rest.samples == tuple(name for name in panel.samples if name not in {*targets, *without})
    assert truth.samples == target.samples == targets
    observed = np.flatnonzero(~world.hidden)
    expected = panel.select_samples(targets)
    np.testing.assert_array_equal(truth.haplotypes(), expected.haplotypes())
    np.testing.assert_array_equal(target.haplotypes(), expected.haplotypes()[:, observed])
    with pytest.raises(ConfigError, match="none of the typed sites"):
        hold_out(files.panel, panel, targets, (), {(7, "A", "C")}, tmp_path / "none")
    lone = Ploidy.of([1, *[2] * (panel.n_samples - 1)])
    mixed = Panel.from_haplotypes(
        panel.haplotypes()[1:], contig="20", positions=panel.positions, samples=panel.samples, ploidy=lone
    )
    with pytest.raises(ConfigError, match=r"1 of \d+ samples have one haplotype, and who is held out has two"):
        hold_out(files.panel, mixed, targets, (), typed, tmp_path / "none")


@pytest.mark.parametrize("unphased", [False, True], ids=["phased", "unphased"])
def test_tuned_peers__take_the_setting_of_least_error_on_panel_samples(
    files: WorldFiles, tmp_path: Path, unphased: bool
) -> None:
    need_bcftools()
    for program in ("minimac4", *(("shapeit4",) if unphased else ())):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on the PATH")
    panel = read_panel(files.panel)
    given = TuningInput(
        path=files.panel,
        panel=panel,
        genetic_map=GeneticMap.constant("20", int(panel.positions[0]), int(panel.positions[-1]) + 1),
        groups={name: name for name in panel.samples},
        typed=read_typed_sites(files.target, "20"),
        unphased=unphased,
    )
    settings = [peer for peer in grid(unphased=unphased) if peer.program == "minimac4"]
    (best,) = tuned_peers(given, tmp_path, settings, threads=1, heap_mb=256, seed=1, reporter=SILENT)
    assert best.name == ("shapeit4-minimac4-tuned" if unphased else "minimac4-tuned")
    with (tmp_path / "tuning.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["options"] for row in rows] == [" ".join(peer.options) for peer in settings]
    assert {row["samples"] for row in rows} == {"4"}
    error = 1 - np.array([[float(row[f"r2_bin_{b}"]) for b in range(1, 6)] for row in rows])
    told = np.isfinite(error).all(axis=0)
    assert told.any()
    relative = (error[:, told] / error[:, told].min(axis=0)).mean(axis=1)
    assert best.options == settings[int(np.argmin(relative))].options
    given_to_peers = tmp_path / ("unphased.vcf.gz" if unphased else "target.vcf.gz")
    assert {call[2] for record in VCF(str(given_to_peers)) for call in record.genotypes} == {not unphased}


def test_compare__on_a_held_out_share_of_the_panel(
    files: WorldFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need_bcftools()
    words = ["compare", "--panel", files.panel, "--hold-out", "0.1", "--typed", files.target, "--no-peers"]
    words += ["--no-ablations", "--threads", 1, "--resamples", 0, "--keep", tmp_path / "kept"]
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in [*words, "--json", tmp_path / "a.json"]])
    assert left.value.code == 0
    table = json.loads((tmp_path / "a.json").read_text())
    assert [method["name"] for method in table["methods"]] == ["vcfrag", "vcfrag-copying"]
    assert len(read_panel(tmp_path / "kept" / "held-out" / "panel.bcf").samples) == 36
    with gzip.open(tmp_path / "kept" / "vcfrag.vcf.gz", "rt") as imputed:
        left_out = ",used=no," in "".join(itertools.takewhile(lambda line: line.startswith("#"), imputed))
    assert ("vcfrag: the model did these targets no good and was left out on" in capsys.readouterr().err) == left_out


def test_compare__refuses_targets_without_phase_unless_asked(
    files: WorldFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unphased = tmp_path / "unphased.vcf"
    unphased.write_text(gzip.decompress(files.target.read_bytes()).decode().replace("0|1", "0/1"))
    words = [
        "compare",
        "--panel",
        files.panel,
        "--target",
        unphased,
        "--truth",
        files.truth,
        "--keep",
        tmp_path / "kept",
    ]
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert "heterozygous genotypes" in said
    assert "give --unphased" in said


@pytest.mark.parametrize(
    "options", [(), ("--hold-out", "0.1"), ("--hold-out", "1.5", "--typed", "t"), ("--target", "t")], ids=str
)
def test_compare__wants_targets_or_a_share(
    files: WorldFiles, tmp_path: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "--panel", str(files.panel), *options, "--keep", str(tmp_path / "kept")]
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert "hold-out" in capsys.readouterr().err
