"""The library's face: six lines from files to dosages, what they load, and what is not exported."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vcfrag_core as vc
import vcfrag_train
from vcfrag_core.errors import (
    ConfigError,
    GeneticMapError,
    PanelMismatchError,
    ProvenanceMissingError,
    RangeError,
    ShapeError,
    TargetError,
    UnknownContigError,
)
from vcfrag_core.files.dosages import read_truth

NOT_NEEDED = ["grpc", "google", "faiss", "torch", "vcfrag_proto", "vcfrag_indexd"]
LOADED = f"import json, sys; print(json.dumps([name for name in {NOT_NEEDED} if name in sys.modules]))"
FILES = {
    "panel": vc.example() / "panel.vcf.gz",
    "array": vc.example() / "array.vcf.gz",
    "truth": vc.example() / "truth.vcf.gz",
    "map": vc.example() / "map.txt",
}


@pytest.fixture(scope="module")
def panel() -> vc.Panel:
    return vc.read_panel(FILES["panel"])


@pytest.fixture(scope="module")
def imputed(panel: vc.Panel) -> vc.Imputed:
    targets = vc.read_targets(FILES["array"], panel)
    return vc.Imputer(panel, vc.read_map(FILES["map"], panel), corrector=vc.load_model()).impute(targets)


def in_a_fresh_process(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def sample_columns(path: Path) -> list[list[str]]:
    """CHROM to ALT, and FORMAT with every sample, of every record."""
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return [row[:5] + row[8:] for row in rows]


@pytest.mark.parametrize("module", [vc, vcfrag_train])
def test_exports__are_all_there_and_nothing_else_is_listed(module: object) -> None:
    names: list[str] = module.__all__  # type: ignore[attr-defined]
    assert dir(module) == sorted(names)
    assert len(names) == len(set(names))
    for name in names:
        assert getattr(module, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.nothing  # type: ignore[attr-defined]


def test_readme__its_lines_print_dosages_and_load_no_daemon(repository: Path) -> None:
    text = (repository / "README.md").read_text()
    (code,) = [block for block in text.split("```python\n")[1:] if "vc.Imputer" in block]
    out = in_a_fresh_process(code.partition("```")[0] + LOADED)
    assert json.loads(out.splitlines()[-1]) == []
    assert out.startswith("[[")


@pytest.fixture(scope="module")
def imputed_unphased(panel: vc.Panel, tmp_path_factory: pytest.TempPathFactory) -> vc.Imputed:
    path = tmp_path_factory.mktemp("unphased") / "array.vcf"
    path.write_text(gzip.decompress(FILES["array"].read_bytes()).decode().replace("0|1", "0/1").replace("1|0", "0/1"))
    genetic_map = vc.read_map(FILES["map"], panel)
    phased = vc.Phaser(panel, genetic_map).phase(vc.read_targets(path, panel), draws=12)
    return vc.Imputer(panel, genetic_map, corrector=vc.load_model()).impute(phased)


@pytest.mark.parametrize("of", ["imputed", "imputed_unphased"])
def test_impute__dosages_are_near_the_truth(panel: vc.Panel, of: str, request: pytest.FixtureRequest) -> None:
    imputed: vc.Imputed = request.getfixturevalue(of)
    assert imputed.model_check is not None
    targets = imputed.targets
    assert imputed.dosages.shape == (panel.n_sites, len(targets.samples))
    np.testing.assert_allclose(imputed.haplotype_dosages.sum(axis=2), imputed.dosages)
    assert float(imputed.dosages.min()) >= 0
    assert float(imputed.dosages.max()) <= 2
    keys = zip(panel.positions.tolist(), panel.refs, panel.alts, strict=True)
    rows = {key: row for row, key in enumerate(keys)}
    truth = read_truth(FILES["truth"], panel.contig, rows, targets.samples).genotypes
    hidden, frequency = ~targets.observed, panel.alt_frequency()
    found = vc.aggregate_r2(imputed.dosages[hidden], truth[hidden], frequency[hidden])
    constant = np.broadcast_to(2 * frequency[hidden, None], truth[hidden].shape)
    assert found > vc.aggregate_r2(constant, truth[hidden], frequency[hidden]) + 0.3
    typed = imputed.dosages[targets.observed]
    np.testing.assert_array_equal(typed, truth[targets.observed])
    assert np.nanmin(imputed.estimated_r2) >= 0


def test_read_targets__refuses_who_is_several_of_the_panel(panel: vc.Panel, tmp_path: Path) -> None:
    """Only one of them would be kept from being copied."""
    first, second = panel.samples[:2]
    twice = dataclasses.replace(panel, samples=(first, f"0_{first}", *panel.samples[2:]))
    lines = gzip.decompress(FILES["array"].read_bytes()).decode().splitlines()
    names = next(line for line in lines if line.startswith("#CHROM")).split("\t")
    for name, refused in ((first, True), (second, False), (f"family_{first}", True)):
        path = tmp_path / "array.vcf"
        path.write_text("\n".join(lines).replace("\t".join(names), "\t".join([*names[:9], name, *names[10:]])) + "\n")
        if refused:
            with pytest.raises(TargetError, match=f"sample {name} is 2 samples of the panel by its name"):
                vc.read_targets(path, twice)
        else:
            assert vc.read_targets(path, twice).samples[0] == name


def test_impute__nobody_is_imputed_from_the_panel_sample_of_the_same_name(panel: vc.Panel) -> None:
    genetic_map, samples = vc.read_map(FILES["map"], panel), panel.samples[:4]
    haplotypes = panel.haplotypes(panel.rows_of(samples)).astype(np.int8)
    hidden = haplotypes.copy()
    observed = vc.read_targets(FILES["array"], panel).observed
    hidden[:, ~observed] = -1
    rates = vc.Imputer(panel, genetic_map).parameters(observed)

    def error(names: tuple[str, ...]) -> float:
        targets = vc.Targets.from_haplotypes(hidden, samples=names)
        found = vc.Imputer(panel, genetic_map, parameters=rates).impute(targets).dosages
        return float(np.square(found - haplotypes[0::2].T - haplotypes[1::2].T)[~observed].mean())

    assert error(tuple(f"other {name}" for name in samples)) < 0.1 * error(samples)


def test_imputer__refuses_the_map_of_another_contig(panel: vc.Panel) -> None:
    genetic_map = dataclasses.replace(vc.read_map(FILES["map"], panel), contig="7")
    for of in (vc.Imputer, vc.Phaser):
        with pytest.raises(GeneticMapError, match=f"the map is of contig 7, the panel of {panel.contig}"):
            of(panel, genetic_map)
    vc.Imputer(panel, dataclasses.replace(genetic_map, contig=f"chr{panel.contig.removeprefix('chr')}"))


@pytest.mark.parametrize("name", ["", "a\tb", "a\nb", None])
def test_write__refuses_samples_that_no_file_can_name(imputed: vc.Imputed, tmp_path: Path, name: str | None) -> None:
    first, *others = imputed.targets.samples
    targets = dataclasses.replace(imputed.targets, samples=(first, first if name is None else name, *others[1:]))
    said = f"two samples have the name {first!r}" if name is None else f"no file can name a sample {name!r}"
    with pytest.raises(ConfigError, match=re.escape(said)):
        dataclasses.replace(imputed, targets=targets).write(tmp_path / "out.vcf.gz")
    assert not list(tmp_path.iterdir())


def test_write__refuses_leave_one_out(imputed: vc.Imputed, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="LOO is not known here"):
        imputed.write(tmp_path / "out.vcf.gz", formats="GT,LOO")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out.vcf.gz", "out.bcf"])
def test_write__the_same_columns_as_the_command(imputed: vc.Imputed, tmp_path: Path, name: str) -> None:
    imputed.write(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, name + (".csi" if ".bcf" in name else ".tbi")]
    words = ["impute", "--panel", FILES["panel"], "--map", FILES["map"], "--target", FILES["array"]]
    code = f"from vcfrag_train.cli.app import main; main({[*map(str, words), '--out', str(tmp_path / f'of-{name}')]})"
    # A proxy that nobody can reach: nothing here goes by the network.
    dead = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY"), "http://127.0.0.1:1")
    wrapped = f"try:\n    {code}\nexcept SystemExit as stop:\n    assert not stop.code\n{LOADED}"
    out = in_a_fresh_process(wrapped, VCFRAG_CACHE_DIR=str(tmp_path / "cache"), **dead)
    assert json.loads(out.splitlines()[-1]) == []
    if name.endswith(".vcf.gz"):
        assert sample_columns(tmp_path / name) == sample_columns(tmp_path / f"of-{name}")
    else:
        again = vc.read_targets(tmp_path / name, imputed.panel)
        np.testing.assert_array_equal(again.alleles, vc.read_targets(tmp_path / f"of-{name}", imputed.panel).alleles)


def test_targets__arrays_in_without_files(panel: vc.Panel) -> None:
    alleles = np.where(np.arange(panel.n_sites) % 3 == 0, panel.haplotypes()[:2].astype(np.int8), np.int8(-1))
    targets = vc.Targets.from_haplotypes(alleles)
    assert targets.samples == ("T0000",)
    assert targets.observed.sum() == -(-panel.n_sites // 3)
    genetic_map = vc.GeneticMap.constant(panel.contig, 1, 300_000)
    dosages = vc.Imputer(panel, genetic_map).impute(targets).dosages
    assert dosages.shape == (panel.n_sites, 1)
    with pytest.raises(RangeError, match="0, 1 or -1"):
        vc.Targets.from_haplotypes(np.full((2, 3), 2))
    with pytest.raises(ShapeError, match="alleles"):
        vc.Targets(
            samples=("a",),
            ploidy=vc.Ploidy.diploid(1),
            alleles=alleles[:1],
            observed=targets.observed,
            names=(vc.EXTERNAL,),
        )


def test_targets__of_another_panel_are_refused(panel: vc.Panel) -> None:
    """As many sites, on the same contig, but others."""
    genetic_map = vc.read_map(FILES["map"], panel)
    targets = vc.read_targets(FILES["array"], panel)
    other = dataclasses.replace(panel, positions=panel.positions + np.int32(7))
    with pytest.raises(PanelMismatchError, match="read for another panel"):
        vc.Imputer(other, genetic_map).impute(targets)
    with pytest.raises(PanelMismatchError, match="read for another panel"):
        vc.Phaser(other, genetic_map).phase(targets)
    with pytest.raises(PanelMismatchError, match="read for another panel"):
        vc.Imputer(other, genetic_map).impute(vc.Phaser(panel, genetic_map).phase(targets))


def test_read_targets__refuses_another_contig(panel: vc.Panel, tmp_path: Path) -> None:
    text = gzip.decompress(FILES["array"].read_bytes()).decode()
    other = tmp_path / "other.vcf"
    other.write_text(text.replace("<ID=1,", "<ID=9,").replace("\n1\t", "\n9\t"))
    with pytest.raises(UnknownContigError, match="has no records of contig 1, but of 9"):
        vc.read_targets(other, panel)


def test_load_model__refuses_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ProvenanceMissingError, match="no exported model"):
        vc.load_model(tmp_path)
