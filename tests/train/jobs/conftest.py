"""A genome of two contigs in files of their own."""

from __future__ import annotations

import dataclasses
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.impute_cohort import CM
from tests.vcf_text import panel_text, record, vcf_text, write_vcf
from vcfrag_core.copying.parameters import parameters_for
from vcfrag_core.panel.panel import Panel
from vcfrag_train.cli import app
from vcfrag_train.imputing.config import ImputeConfig
from vcfrag_train.jobs.planning.plan import PlanConfig

N_SAMPLES = 24


@dataclasses.dataclass(frozen=True)
class Genome:
    """Two contigs in files of their own, and targets of both in one."""

    folder: Path
    target: Path
    samples: tuple[str, ...]

    @property
    def panels(self) -> tuple[Path, ...]:
        return tuple(self.folder / f"ref.chr{contig}.bcf" for contig in ("20", "21"))

    @property
    def maps(self) -> tuple[Path, ...]:
        return tuple(self.folder / f"map.{contig}.gmap" for contig in ("20", "21"))

    def linked(self, folder: Path) -> Genome:
        """The same files in another folder."""
        for file in self.folder.iterdir():
            (folder / file.name).symlink_to(file)
        return Genome(folder, folder / self.target.name, self.samples)

    def without_phase(self) -> Genome:
        """The same, its targets with sorted alleles and `/`, but for every fifth sample."""
        text = gzip.decompress(self.target.read_bytes()).decode()
        made = []
        for line in text.splitlines():
            cells = line.split("\t")
            if line[0] != "#":
                cells[9:] = [c if s % 5 == 0 else "/".join(sorted(c.split("|"))) for s, c in enumerate(cells[9:])]
            made.append("\t".join(cells))
        return dataclasses.replace(self, target=write_vcf(self.folder / "unphased.vcf.gz", "\n".join(made) + "\n"))

    def config(self, out: str, **changes: Any) -> ImputeConfig:
        """A run by copying alone whose rates are given, and whose typed sites few samples test."""
        chosen = {"copying_only": True, "parameters": parameters_for(5.0), "loo_samples": 4, **changes}
        return self.by_default(out, **chosen)

    def by_default(self, out: str, **changes: Any) -> ImputeConfig:
        """A run as the command makes it, but for what is changed."""
        return ImputeConfig(
            panel=self.panels[0],
            targets=(self.target,),
            out=self.folder / out,
            map=self.maps[0],
            command="vcfrag impute",
            **changes,
        )

    def cut(self, **changes: Any) -> PlanConfig:
        manifest = changes.pop("manifest", self.folder / "job.json")
        return PlanConfig(manifest=manifest, panels=self.panels, maps=self.maps, **changes)


@pytest.fixture(scope="module")
def genome_files(tmp_path_factory: pytest.TempPathFactory, make_panel: Callable[..., Panel]) -> Genome:
    folder = tmp_path_factory.mktemp("genome")
    lines = []
    for number, contig in enumerate(("20", "21")):
        everyone = make_panel(n_samples=40 + N_SAMPLES, n_sites=260, seed=20 + number, contig=contig)
        names = tuple(f"P{i:02d}" for i in range(40 + N_SAMPLES))
        everyone = dataclasses.replace(everyone, samples=names, contig_length=64_000_000)
        write_vcf(folder / f"ref.chr{contig}.bcf", panel_text(everyone.select_samples(names[:40])))
        targets = everyone.select_samples(names[40:])
        calls = targets.haplotypes().T.reshape(targets.n_sites, -1, 2)
        ends = (int(everyone.positions[0]), int(everyone.positions[-1]))
        rows = zip(np.linspace(*ends, 40).astype(int), np.linspace(0, 4 * CM, 40), strict=True)
        text = "".join(f"{p}\t{contig}\t{c:.5f}\n" for p, c in rows)
        (folder / f"map.{contig}.gmap").write_text("pos\tchr\tcM\n" + text)
        for site in range(0, targets.n_sites, 2):
            cells = [f"{a}|{b}" if s % 7 or site % 30 else ".|." for s, (a, b) in enumerate(calls[site].tolist())]
            lines.append(
                record(
                    int(targets.positions[site]), cells, contig=contig, ref=targets.refs[site], alt=targets.alts[site]
                )
            )
        if number == 0:
            cells = ["0|1"] * N_SAMPLES
            lines.append(record(int(targets.positions[-1]) + 50, cells, contig=contig, ref="A", alt="T"))
    target = write_vcf(
        folder / "target.vcf.gz", vcf_text(names[40:], lines, contigs={"20": 64_000_000, "21": 64_000_000})
    )
    return Genome(folder, target, names[40:])


@pytest.fixture
def genome(genome_files: Genome, tmp_path: Path) -> Genome:
    """The files, and a folder of the test's own to write to."""
    return genome_files.linked(tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str]]]:
    """Runs a command: its exit and what it said."""

    def command(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            app.main([str(word) for word in words])
        said = capsys.readouterr()
        return (stop.value.code if isinstance(stop.value.code, int) else 0), said.out + said.err

    return command
