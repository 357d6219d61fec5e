"""Samples and alleles that are exchanged between truth and imputed file are told, with the evidence."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.imputed_text import World, WorldFiles, small_world, write_imputed, write_world
from tests.vcf_text import panel_text, write_vcf
from vcfrag_core.errors import InputError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.types import U8Array
from vcfrag_train.evaluation.evaluate import EvaluationConfig, EvaluationFiles, evaluate
from vcfrag_train.evaluation.tables import console, print_evaluation

CONFIG = EvaluationConfig(resamples=0)


@pytest.fixture(scope="module")
def world() -> World:
    return spread(small_world(n_targets=40), 600_000)


def spread(world: World, bases: int) -> World:
    """The same haplotypes at sites that are spread over so many bases."""
    positions = np.linspace(1000, 1000 + bases, world.targets.n_sites).astype(np.int32)
    reference, targets = (dataclasses.replace(p, positions=positions) for p in (world.reference, world.targets))
    return dataclasses.replace(world, reference=reference, targets=targets)


@pytest.fixture(scope="module")
def files(world: World, tmp_path_factory: pytest.TempPathFactory) -> WorldFiles:
    return write_world(world, tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def imputed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_imputed(tmp_path_factory.mktemp("imputed") / "a.vcf.gz", world, 0.2)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCFRAG_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


def warnings(files: WorldFiles, imputed: Path, truth: Path | None = None) -> tuple[str, ...]:
    given = EvaluationFiles(
        imputed=(("a", imputed),), truth=truth or files.truth, panels=(files.panel,), typed=files.typed
    )
    (method,) = evaluate(given, CONFIG).methods
    return method.warnings


def truth_of(world: World, path: Path, haplotypes: U8Array, samples: tuple[str, ...] | None = None) -> Path:
    panel = Panel.from_haplotypes(
        haplotypes,
        contig=world.targets.contig,
        positions=world.targets.positions,
        samples=samples or world.targets.samples,
    )
    return write_vcf(path, panel_text(panel))


def test_evaluate__says_nothing_of_sound_files(files: WorldFiles, imputed: Path) -> None:
    assert warnings(files, imputed) == ()


def test_evaluate__names_two_samples_that_are_exchanged(
    world: World, files: WorldFiles, imputed: Path, tmp_path: Path
) -> None:
    first, second, *others = world.targets.samples
    truth = truth_of(world, tmp_path / "t.vcf.gz", world.targets.haplotypes(), (second, first, *others))
    (line,) = warnings(files, imputed, truth)
    assert line.startswith("the dosages of 2 of 40 samples fit another sample's truth far better than their own:")
    assert f"{first} (r " in line
    assert f") is rather {second} (r 0.9" in line


def test_evaluate__says_nothing_of_samples_over_so_short_a_stretch_that_many_share_it(
    world: World, files: WorldFiles, tmp_path: Path
) -> None:
    short = spread(world, 400_000)
    first, second, *others = world.targets.samples
    given = write_world(short, tmp_path)
    truth = truth_of(short, tmp_path / "t.vcf.gz", short.targets.haplotypes(), (second, first, *others))
    assert warnings(given, write_imputed(tmp_path / "a.vcf.gz", short, 0.2), truth) == ()


def test_evaluate__tells_that_all_samples_are_shuffled(
    world: World, files: WorldFiles, imputed: Path, tmp_path: Path
) -> None:
    names = world.targets.samples
    truth = truth_of(world, tmp_path / "t.vcf.gz", world.targets.haplotypes(), (*names[1:], names[0]))
    (line,) = warnings(files, imputed, truth)
    assert "of 40 samples fit another" in line
    assert " more. Are the names of one file exchanged?" in line


def test_evaluate__names_sites_whose_calls_are_of_the_other_allele(
    world: World, files: WorldFiles, imputed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    haplotypes = world.targets.haplotypes().copy()
    frequency = haplotypes.mean(axis=0)
    sites = np.flatnonzero(world.hidden & (np.abs(frequency - 0.5) > 0.25))[:4]
    haplotypes[:, sites] = 1 - haplotypes[:, sites]
    truth = truth_of(world, tmp_path / "some.vcf.gz", haplotypes)
    (line,) = warnings(files, imputed, truth)
    assert line.startswith("at 4 of 120 sites homozygotes of one file are homozygous for the other allele")
    assert f"20:{world.targets.positions[sites[0]]} A>C" in line
    assert "and 1 more" in line
    every = truth_of(world, tmp_path / "every.vcf.gz", 1 - world.targets.haplotypes())
    given = EvaluationFiles(imputed=(("a", imputed),), truth=every, panels=(files.panel,), typed=files.typed)
    print_evaluation(evaluate(given, CONFIG), console())
    assert "a: over all sites most homozygotes of one file are homozygous for the other" in capsys.readouterr().out


def test_evaluate__a_truth_of_other_alleles_is_refused_with_what_it_has(
    world: World, files: WorldFiles, imputed: Path, tmp_path: Path
) -> None:
    hidden = np.flatnonzero(world.hidden)
    refs, alts = list(world.targets.refs), list(world.targets.alts)
    for site in hidden[:3]:
        refs[site], alts[site] = alts[site], refs[site]
    refs[hidden[3]], alts[hidden[3]] = "T", "G"
    panel = dataclasses.replace(world.targets, refs=tuple(refs), alts=tuple(alts))
    truth = write_vcf(tmp_path / "t.vcf.gz", panel_text(panel))
    with pytest.raises(
        InputError,
        match=r"lacks 4 of the 120 hidden sites, .*; it has 3 of them with REF and ALT exchanged and 1 of them on the"
        r" other strand, which `bcftools \+fixref`",
    ):
        warnings(files, imputed, truth)
