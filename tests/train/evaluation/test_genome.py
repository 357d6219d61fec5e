"""Evaluation over several contigs: one file for each, or all in one, and the same figures as of all sites at once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tests.imputed_text import World, imputed_text, noisy_haplotypes, small_world, write_world
from tests.vcf_text import panel_text, write_vcf
from vcfrag_core.errors import ConfigError, InputError
from vcfrag_core.scoring import accuracy
from vcfrag_core.scoring import bootstrap as resampling
from vcfrag_core.scoring.bootstrap import METRICS, Scored
from vcfrag_train.evaluation import plots, results
from vcfrag_train.evaluation.evaluate import EvaluationConfig, EvaluationFiles, evaluate
from vcfrag_train.evaluation.results import Evaluation

CONFIG = EvaluationConfig(resamples=20)
NOISE = {"sharp": 0.1, "blurred": 0.5}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCFRAG_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def worlds() -> tuple[World, World]:
    return small_world(), small_world(seed=5, n_sites=120, contig="21")


def together(*texts: str) -> str:
    """The records of several files under the header of the first, which declares all contigs."""
    head, _, _ = texts[0].partition("#CHROM")
    columns = next(line for line in texts[0].splitlines() if line.startswith("#CHROM"))
    records = [line for text in texts for line in text.splitlines() if not line.startswith("#")]
    declared = [line for text in texts[1:] for line in text.splitlines() if line.startswith("##contig")]
    return head + "\n".join([*declared, columns, *records]) + "\n"


@pytest.fixture(scope="module")
def one_each(worlds: tuple[World, World], tmp_path_factory: pytest.TempPathFactory) -> EvaluationFiles:
    """A file of each kind for each contig; the imputed ones are named by chr."""
    folder = tmp_path_factory.mktemp("each")
    for world in worlds:
        own = folder / world.reference.contig
        own.mkdir()
        write_world(world, own)
        for name, noise in NOISE.items():
            write_vcf(
                folder / f"{name}.chr{world.reference.contig}.vcf.gz",
                imputed_text(world, noisy_haplotypes(world, noise), info="R2=0.8"),
            )
    return EvaluationFiles(
        imputed=tuple((name, folder / f"{name}.chr{{contig}}.vcf.gz") for name in NOISE),
        truth=folder / "{contig}" / "truth.bcf",
        panels=tuple(folder / world.reference.contig / "panel.vcf.gz" for world in worlds),
        typed=folder / "{contig}" / "typed.tsv",
        samples_table=folder / "20" / "samples.tsv",
    )


@pytest.fixture(scope="module")
def result(one_each: EvaluationFiles) -> Evaluation:
    return evaluate(one_each, CONFIG)


def test_evaluate__several_contigs_are_as_all_their_sites_at_once(
    worlds: tuple[World, World], result: Evaluation
) -> None:
    weights = resampling.bootstrap_weights(12, CONFIG.resamples, CONFIG.seed)
    for name, noise in NOISE.items():
        haplotypes = [noisy_haplotypes(world, noise)[world.hidden] for world in worlds]
        # What the files can say: six digits of a probability.
        posterior = np.round(accuracy.posterior_of_haplotypes(np.concatenate(haplotypes)), 6)
        dosage = np.concatenate(haplotypes).sum(axis=2)
        scored = Scored(
            dosage=dosage,
            calls=accuracy.best_guess(dosage, posterior),
            posterior=posterior,
            truth=np.concatenate([world.copies[world.hidden] for world in worlds]),
            frequency=np.concatenate([world.reference.alt_frequency()[world.hidden] for world in worlds]),
        )
        wanted = resampling.measure(resampling.sums_of(scored, weights), weights)[0]
        for m, metric in enumerate(METRICS):
            got = [value.value for value in result.method(name).metrics[metric]]
            np.testing.assert_allclose(got, wanted[m], atol=2e-4, err_msg=metric)
    assert result.contig == "20, 21"
    assert result.sites.n_hidden == sum(int(world.hidden.sum()) for world in worlds)
    assert result.sites.n_panel == 160 + 120
    assert sum(group.n_sites for group in result.groups[: accuracy.N_BINS]) + result.sites.n_fixed == (
        result.sites.n_hidden
    )


@pytest.fixture(scope="module")
def all_in_one(worlds: tuple[World, World], tmp_path_factory: pytest.TempPathFactory) -> EvaluationFiles:
    """One file of each kind for both contigs."""
    folder = tmp_path_factory.mktemp("one")
    imputed = {
        name: together(*(imputed_text(world, noisy_haplotypes(world, noise), info="R2=0.8") for world in worlds))
        for name, noise in NOISE.items()
    }
    typed = [world.targets.select_sites(np.flatnonzero(world.typed)) for world in worlds]
    return EvaluationFiles(
        imputed=tuple((name, write_vcf(folder / f"{name}.vcf.gz", text)) for name, text in imputed.items()),
        truth=write_vcf(folder / "truth.bcf", together(*(panel_text(world.targets) for world in worlds))),
        panels=(write_vcf(folder / "panel.bcf", together(*(panel_text(world.reference) for world in worlds))),),
        typed=write_vcf(folder / "typed.vcf.gz", together(*map(panel_text, typed))),
    )


def test_evaluate__one_file_of_all_contigs_has_the_same_figures(
    result: Evaluation, all_in_one: EvaluationFiles
) -> None:
    left, right = (json.loads(results.to_json(found)) for found in (evaluate(all_in_one, CONFIG), result))
    assert left["sites"] == right["sites"]
    assert left["groups"] == right["groups"]
    for mine, theirs in zip(left["methods"], right["methods"], strict=True):
        for key in ("name", "metrics", "calibration", "estimated_r2", "region", "field", "has_posterior"):
            assert mine[key] == theirs[key], key


def test_evaluate__a_region_is_its_contig_alone(one_each: EvaluationFiles, all_in_one: EvaluationFiles) -> None:
    found = [evaluate(dataclasses.replace(files, region="21"), CONFIG) for files in (one_each, all_in_one)]
    assert [each.contig for each in found] == ["21", "21"]
    assert found[0].sites == found[1].sites
    assert found[0].sites.n_panel == 120


def test_evaluate__a_region_is_found_by_another_name_of_its_contig(all_in_one: EvaluationFiles) -> None:
    assert evaluate(dataclasses.replace(all_in_one, region="chr21"), CONFIG).contig == "21"


def test_evaluate__refuses_panels_of_which_sites_would_count_twice(
    one_each: EvaluationFiles, all_in_one: EvaluationFiles
) -> None:
    files = dataclasses.replace(one_each, panels=(*one_each.panels, *all_in_one.panels))
    with pytest.raises(ConfigError, match=r"both .*20/panel\.vcf\.gz and .*panel\.bcf have sites of contig 20"):
        evaluate(files, CONFIG)
    twice = dataclasses.replace(one_each, panels=(*one_each.panels, one_each.panels[0]))
    assert evaluate(twice, CONFIG).sites == evaluate(one_each, CONFIG).sites


def test_evaluate__samples_may_stand_in_another_order_on_another_contig(
    worlds: tuple[World, World], one_each: EvaluationFiles, result: Evaluation, tmp_path: Path
) -> None:
    first, second = worlds
    write_vcf(tmp_path / "20.vcf.gz", imputed_text(first, noisy_haplotypes(first, NOISE["sharp"]), info="R2=0.8"))
    names = second.targets.samples
    turned = dataclasses.replace(second, targets=second.targets.select_samples(names[::-1]))
    haplotypes = noisy_haplotypes(second, NOISE["sharp"])[:, ::-1]
    write_vcf(tmp_path / "21.vcf.gz", imputed_text(turned, haplotypes, info="R2=0.8"))
    found = evaluate(dataclasses.replace(one_each, imputed=(("sharp", tmp_path / "{contig}.vcf.gz"),)), CONFIG)
    left, right = (json.loads(results.to_json(each))["methods"][0]["metrics"] for each in (found, result))
    assert left == right


def test_evaluate__refuses_a_contig_without_a_file(one_each: EvaluationFiles, tmp_path: Path) -> None:
    name, pattern = one_each.imputed[0]
    alone = tmp_path / "sharp.chr20.vcf.gz"
    alone.write_bytes(Path(str(pattern).replace("{contig}", "20")).read_bytes())
    files = dataclasses.replace(one_each, imputed=((name, tmp_path / "sharp.chr{contig}.vcf.gz"),))
    with pytest.raises(ConfigError, match=r"contig 21 has no such file, neither .*sharp\.chr21"):
        evaluate(files, CONFIG)


def test_evaluate__refuses_other_samples_on_another_contig(
    worlds: tuple[World, World], one_each: EvaluationFiles, tmp_path: Path
) -> None:
    for world, targets in zip(worlds, (slice(None), slice(3, None)), strict=True):
        fewer = dataclasses.replace(world, targets=world.targets.select_samples(world.targets.samples[targets]))
        write_vcf(tmp_path / f"{world.reference.contig}.vcf.gz", imputed_text(fewer, noisy_haplotypes(fewer, 0.1)))
    files = dataclasses.replace(one_each, imputed=(("some", tmp_path / "{contig}.vcf.gz"),))
    with pytest.raises(InputError, match=r"21\.vcf\.gz.*samples on contig 21 are not those on 20"):
        evaluate(files, CONFIG)


def test_laid_out__contigs_lie_end_to_end(result: Evaluation) -> None:
    region = result.methods[0].region
    layout = plots.laid_out(region)
    assert list(layout.contigs) == ["20", "21"]
    assert layout.middles == sorted(layout.middles)
    width = {
        name: [b - a for c, a, b in zip(region.contigs, region.starts, region.stops, strict=True) if c == name]
        for name in layout.contigs
    }
    assert layout.contigs["21"] == pytest.approx((sum(width["20"]) + sum(width["21"]) / 2) / 1e6)
    assert "contig" in plots.along_region(result)
