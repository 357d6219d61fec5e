"""Both wheels, built and installed apart from the checkout, in environments with and without the heavy packages."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Iterable
from email.parser import Parser
from pathlib import Path

import pytest

from vcfrag_core.files.vcf.reader import open_vcf
from vcfrag_core.panel.panel import Panel
from vcfrag_train.simulate.files import write_phased_vcf, write_simulation
from vcfrag_train.simulate.simulate import SimulationConfig, simulate

TRAIN_ONLY = ("torch", "lightning", "pytorch_lightning", "tensorboard", "matplotlib", "jinja2")
ENGINES = ("faiss",)


@dataclasses.dataclass(frozen=True)
class Environment:
    """A virtual environment that holds the wheels and not the checkout."""

    folder: Path

    def run(self, program: str, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        command = [str(self.folder / "bin" / program), *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=clean, capture_output=True, text=True, check=False, timeout=timeout
        )

    @property
    def packages(self) -> Path:
        return next(self.folder.glob("lib/python*/site-packages"))


@pytest.fixture(scope="module")
def wheels(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Distribution name to its wheel, built from the checkout."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in (repository, repository / "vcfrag_indexd"):
        _check([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(project)])
    return {path.name.partition("-")[0]: path for path in folder.glob("*.whl")}


@pytest.fixture(scope="module")
def base(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Both wheels beside their base dependencies only: neither torch nor faiss."""
    return _environment(tmp_path_factory.mktemp("base"), wheels.values(), without=(*TRAIN_ONLY, *ENGINES))


def test_wheels__hold_their_packages_and_nothing_else(wheels: dict[str, Path]) -> None:
    assert _top_level(wheels["vcfrag"]) == {"vcfrag_core", "vcfrag_proto", "vcfrag_train"}
    assert _top_level(wheels["vcfrag_indexd"]) == {"vcfrag_indexd"}


def test_wheels__carry_data_and_licence(wheels: dict[str, Path]) -> None:
    names = zipfile.ZipFile(wheels["vcfrag"]).namelist()
    assert "vcfrag_proto/v1/index_pb2.pyi" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "vcfrag_core/model/default_model/weights.safetensors" in names
    assert any(name.startswith("vcfrag_train/evaluation/templates/") for name in names)
    assert {"vcfrag_core/py.typed", "vcfrag_train/py.typed", "vcfrag_proto/py.typed"} <= set(names)


def test_base_requirements__have_neither_torch_nor_faiss(wheels: dict[str, Path]) -> None:
    for wheel in wheels.values():
        base = [r for r in _requirements(wheel) if "extra ==" not in r]
        names = {re.split(r"[^A-Za-z0-9_.-]", r)[0].lower() for r in base}
        assert not names & {"torch", "lightning", "faiss-cpu", "faiss-gpu", "msprime", "matplotlib"}


def test_extras__name_engines_and_training(wheels: dict[str, Path]) -> None:
    daemon = _requirements(wheels["vcfrag_indexd"])
    assert any(r.startswith("faiss-cpu") and "extra == 'cpu'" in r for r in daemon)
    assert any(r.startswith("faiss-gpu") and "extra == 'gpu'" in r for r in daemon)
    assert "vcfrag" in daemon
    assert any(r.startswith("torch") and "extra == 'train'" in r for r in _requirements(wheels["vcfrag"]))


def test_base_install__console_scripts_answer(base: Environment) -> None:
    for program in ("vcfrag", "vcfrag-indexd"):
        done = base.run(program, "--help")
        assert done.returncode == 0, done.stderr
        assert "Usage" in done.stdout
    assert base.run("vcfrag", "--version").stdout.startswith("vcfrag ")


def test_base_install__is_not_the_checkout(base: Environment) -> None:
    done = base.run("python", "-c", "import vcfrag_core, vcfrag_indexd; print(vcfrag_core.__file__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(base.folder))


@pytest.fixture(scope="module")
def panel_file(make_panel: Callable[..., Panel], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("panel") / "panel.vcf.gz"
    write_phased_vcf(make_panel(n_samples=4, n_sites=20, seed=1), path)
    return path


def test_start_check__names_the_pip_line_without_an_engine(base: Environment, panel_file: Path) -> None:
    done = base.run(
        "vcfrag-indexd", "serve", "--panel", f"p={panel_file}", "--listen", "127.0.0.1:0", "--engine", "faiss-cpu"
    )
    assert done.returncode == 2
    assert _one_line(done.stderr).startswith("error [CONFIG]: ")
    assert "pip install 'vcfrag-indexd[cpu]'" in done.stderr
    assert "pip install 'vcfrag-indexd[gpu]'" in done.stderr


def test_base_install__the_daemon_starts_without_faiss_and_says_so(base: Environment, panel_file: Path) -> None:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [str(base.folder / "bin" / "vcfrag-indexd"), "serve", "--panel", f"p={panel_file}"]
    with subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0"], cwd=base.folder, env=clean, stderr=subprocess.PIPE, text=True
    ) as daemon:
        said = list(itertools.takewhile(lambda line: "listening" not in line, daemon.stderr))
        daemon.terminate()
        said.append(daemon.stderr.read())
    assert daemon.returncode == 0, said
    assert "FAISS is not installed, bitscan searches" in "".join(said)
    assert "pip install 'vcfrag-indexd[gpu]'" in "".join(said)


@pytest.fixture(scope="module")
def without_torch(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Both wheels and FAISS, nothing of the extra `train`."""
    return _environment(tmp_path_factory.mktemp("without-torch"), wheels.values(), without=TRAIN_ONLY)


def test_start_check__refuses_both_engines(without_torch: Environment, panel_file: Path) -> None:
    gpu = without_torch.packages / "faiss_gpu-1.15.1.dist-info"
    gpu.mkdir()
    try:
        (gpu / "METADATA").write_text("Metadata-Version: 2.4\nName: faiss-gpu\nVersion: 1.15.1\n")
        done = without_torch.run("vcfrag-indexd", "serve", "--panel", f"p={panel_file}", "--listen", "127.0.0.1:0")
    finally:
        shutil.rmtree(gpu)
    assert done.returncode == 2
    assert _one_line(done.stderr).startswith("error [CONFIG]: ")
    assert "pip uninstall -y faiss-cpu faiss-gpu" in done.stderr


def test_install_without_torch__imputes_with_the_model_that_ships(without_torch: Environment, tmp_path: Path) -> None:
    small = SimulationConfig(reference_per_population=20, targets_per_population=2, length_bases=200_000)
    files = write_simulation(simulate(small), tmp_path)
    out = tmp_path / "imputed.vcf.gz"
    # One target tells nothing against the model, which is used then.
    with open_vcf(files.target) as target:
        (tmp_path / "one").write_text(target.samples[0] + "\n")
    words = ["--panel", str(files.panel), "--map", str(files.genetic_map), "--target", str(files.target)]
    words += ["--samples", str(tmp_path / "one"), "--out", str(out)]
    done = without_torch.run("vcfrag", "impute", *words, timeout=240)
    assert done.returncode == 0, done.stderr
    header = gzip.decompress(out.read_bytes()).decode().partition("#CHROM")[0]
    assert "trained weights=" in header


def test_base_install__training_names_the_pip_line(base: Environment) -> None:
    done = base.run("vcfrag", "demo", "--quick")
    assert done.returncode == 2
    assert _one_line(done.stderr) == "error [CONFIG]: torch is not installed; run: pip install 'vcfrag[train]'"


@pytest.mark.soak
def test_pip_install__base_brings_neither_torch_nor_faiss(
    wheels: dict[str, Path], repository: Path, tmp_path: Path
) -> None:
    fresh = _pip_install(tmp_path / "fresh", repository, [str(path) for path in wheels.values()])
    installed = fresh.run("python", "-m", "pip", "list").stdout.lower()
    assert "vcfrag-indexd" in installed
    assert not {"torch", "faiss", "lightning", "msprime"} & set(re.findall(r"^[a-z]+", installed, re.MULTILINE))
    assert fresh.run("python", "-m", "pip", "check").returncode == 0
    assert fresh.run("vcfrag", "--help").returncode == 0


@pytest.mark.soak
def test_pip_install__everything_runs_the_demo(wheels: dict[str, Path], repository: Path, tmp_path: Path) -> None:
    wanted = [f"{wheels['vcfrag']}[train,demo]", f"{wheels['vcfrag_indexd']}[cpu]"]
    fresh = _pip_install(tmp_path / "fresh", repository, wanted)
    assert fresh.run("python", "-m", "pip", "check").returncode == 0
    done = fresh.run("vcfrag", "demo", "--quick", "--out", str(tmp_path / "out"), timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000


def _pip_install(folder: Path, repository: Path, wanted: list[str]) -> Environment:
    _check([sys.executable, "-m", "venv", str(folder)])
    constraints = str(repository / "constraints.txt")
    _check([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "-c", constraints, *wanted], timeout=1800)
    return Environment(folder)


def _one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


def _environment(folder: Path, wheels: Iterable[Path], *, without: tuple[str, ...]) -> Environment:
    """A fresh environment with the wheels by pip; dependencies linked from this one's but for `without`."""
    _check([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    environment = Environment(folder)
    ours = ("vcfrag", "_editable_impl_vcfrag", "_vcfrag")
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        name = entry.name.lower().replace("-", "_")
        if entry.suffix != ".pth" and not name.startswith((*without, *ours)):
            (environment.packages / entry.name).symlink_to(entry)
    paths = [str(path) for path in wheels]
    _check([sys.executable, "-m", "pip", "--python", str(folder), "install", "--quiet", "--no-deps", *paths])
    return environment


def _check(command: list[str], timeout: float = 600) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr


def _top_level(wheel: Path) -> set[str]:
    names = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    return {name for name in names if not name.endswith(".dist-info")}


def _requirements(wheel: Path) -> list[str]:
    archive = zipfile.ZipFile(wheel)
    name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
    return Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist", [])
