"""Small training runs on real files: a panel of mosaics as VCF, its map, its sample table, and a configuration."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.impute_cohort import Cohort, Impute, Outcome, make_cohort
from vcfrag_core.panel.panel import Panel


@dataclasses.dataclass(frozen=True)
class FitFiles:
    """Paths of a panel, its map and its sample table."""

    folder: Path
    panel: Path
    map: Path
    samples: Path


@pytest.fixture(scope="session")
def fit_files(tmp_path_factory: pytest.TempPathFactory, make_panel: Callable[..., Panel]) -> FitFiles:
    """40 samples x 240 sites over 6 cM; S0000 and S0001 are of one family."""
    return write_fit_files(tmp_path_factory.mktemp("fit"), make_panel(n_samples=40, n_sites=240, seed=5))


def write_fit_files(folder: Path, panel: Panel, cm: float = 6.0) -> FitFiles:
    from vcfrag_train.simulate.files import write_phased_vcf

    write_phased_vcf(panel, folder / "panel.vcf.gz")
    ends = (int(panel.positions[0]), int(panel.positions[-1]))
    (folder / "map.txt").write_text(f"pos\tchr\tcM\n{ends[0]}\t{panel.contig}\t0\n{ends[1]}\t{panel.contig}\t{cm}\n")
    rows = [f"{name}\tP\tSP\t{'F1' if i < 2 else '0'}" for i, name in enumerate(panel.samples)]
    (folder / "samples.tsv").write_text("sample\tpop\tsuper_pop\tfamily\n" + "\n".join(rows) + "\n")
    return FitFiles(folder, folder / "panel.vcf.gz", folder / "map.txt", folder / "samples.tsv")


@pytest.fixture(scope="session")
def fit_config(fit_files: FitFiles) -> Callable[..., Any]:
    """Makes a configuration of a run of seconds; `fit_config(optimiser={"lanes": 2})` changes it."""

    def make(files: FitFiles = fit_files, **changes: Any) -> Any:
        from vcfrag_core.copying.parameters import CopyingParameters
        from vcfrag_train.training import config as c

        tables: dict[str, dict[str, Any]] = {
            "panel": {"path": files.panel, "map": files.map, "cache_dir": files.folder / "cache"},
            "split": {"samples": files.samples, "validation_fraction": 0.2},
            "masks": {"levels": (0.3, 0.6), "array": {"kind": "array", "least_hidden": 0.8, "most_hidden": 0.85}},
            "windows": {"sites": 60},
            "metric": {},
            "optimiser": {"batch_samples": 4, "samples_per_visit": 8, "visits_per_epoch": 6, "warmup_steps": 2},
            "trainer": {"accelerator": "cpu", "checkpoint_steps": 3, "progress_seconds": 0.0},
            "daemon": {"threads": 1},
        }
        kinds = {
            "panel": c.PanelConfig,
            "split": c.SplitConfig,
            "masks": c.MasksConfig,
            "windows": c.WindowsConfig,
            "metric": c.MetricConfig,
            "optimiser": c.OptimiserConfig,
            "trainer": c.TrainerConfig,
            "daemon": c.DaemonConfig,
        }
        model = {"width": 16, "heads": 2, "layers": 1, "candidates": 4, "dropout": 0.1}
        parts = {name: kinds[name](**{**table, **changes.pop(name, {})}) for name, table in tables.items()}
        model = {**model, **changes.pop("model", {})}
        # So few neighbours that random ones are worse even among these few haplotypes.
        retrieval = CopyingParameters(scales=(8, 24), k=2, flank_cm=1.0, switch_per_cm=2.0)
        return c.FitConfig(**{"seed": 3, "retrieval": retrieval, "epochs": 2, "model": model, **parts, **changes})

    return make


@pytest.fixture
def steps_of() -> Callable[[Path], list[dict[str, str]]]:
    """The rows of a run's steps.csv, to the last bit, without what depends on the clock."""
    import csv

    def read(run: Path) -> list[dict[str, str]]:
        with (run / "steps.csv").open(newline="") as file:
            return [{k: v for k, v in row.items() if not k.startswith("waiting")} for row in csv.DictReader(file)]

    return read


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, fit_config: Callable[..., Any]) -> Path:
    """The folder of an undisturbed run; look, but do not touch."""
    from vcfrag_train.training.session import fit

    return fit(fit_config(), tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def coin_flips(tmp_path: Path) -> FitFiles:
    """A panel of coin flips, 20 samples x 120 sites: nothing can be imputed."""
    rng = np.random.default_rng(1)
    panel = Panel.from_haplotypes((rng.random((40, 120)) < 0.4).astype(np.int8))
    return write_fit_files(tmp_path, panel)


@pytest.fixture(scope="session")
def cohort_files(tmp_path_factory: pytest.TempPathFactory, make_panel: Callable[..., Panel]) -> Cohort:
    """The panel and targets that `impute` is tried on; look, but do not touch."""
    return make_cohort(tmp_path_factory.mktemp("impute"), make_panel)


@pytest.fixture
def cohort(cohort_files: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cohort:
    """The cohort, with a folder for this test's own files."""
    monkeypatch.setenv("VCFRAG_CACHE_DIR", str(cohort_files.folder / "cache"))
    for file in (cohort_files.panel_file, cohort_files.map_file, cohort_files.long_map_file):
        shutil.copy2(file, tmp_path / file.name)
    return dataclasses.replace(cohort_files, folder=tmp_path)


@pytest.fixture
def impute(cohort: Cohort, capsys: pytest.CaptureFixture[str]) -> Impute:
    """Runs the command on a target file, by copying alone: `impute(file, "--threads", "2", out="other.vcf.gz")`."""

    from vcfrag_train.cli import app as cli

    def run(
        target: Path,
        *options: str,
        out: str = "out.vcf.gz",
        map: Path | None = cohort.map_file,
        by_copying: bool = True,
        panel: Path | None = None,
        cohort_record: Path | None = None,
    ) -> Outcome:
        words = ["impute", "--panel", panel or cohort.panel_file, "--target", target, "--out", cohort.folder / out]
        words += [] if map is None else ["--map", map]
        words += ["--copying-only"] if by_copying else []
        words += [] if cohort_record is None else ["--cohort", cohort_record]
        with pytest.raises(SystemExit) as stop:
            cli.main([str(word) for word in (*words, *options)])
        code = stop.value.code
        return Outcome(code if isinstance(code, int) else 0, capsys.readouterr().err, cohort.folder / out)

    return run
