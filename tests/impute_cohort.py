"""A panel and targets to impute as files, what a run of `vcfrag impute` left, and how to look at it."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tests.vcf_text import panel_text, record, vcf_text, write_vcf
from vcfrag_core.panel.panel import Panel

N_SITES = 400
N_TARGETS = 6
CM = 6.0
LONG_CM = 40.0

MakePanel = Callable[..., Panel]


@dataclasses.dataclass(frozen=True)
class Cohort:
    """A panel, targets of the same population with their truth, and a folder with their files."""

    folder: Path
    panel: Panel
    truth: Panel
    typed: np.ndarray

    @property
    def panel_file(self) -> Path:
        return self.folder / "panel.bcf"

    @property
    def map_file(self) -> Path:
        return self.folder / "map.gmap"

    @property
    def long_map_file(self) -> Path:
        """A map so long that there are several windows, and stretches without typed sites."""
        return self.folder / "long.gmap"

    def lines(self, *, contig: str = "20") -> list[list[str]]:
        """The typed records as columns; tests damage them."""
        calls = self.truth.haplotypes().T.reshape(N_SITES, -1, 2)
        made = []
        for site in np.flatnonzero(self.typed).tolist():
            cells = [f"{a}|{b}" for a, b in calls[site].tolist()]
            line = record(
                int(self.panel.positions[site]),
                cells,
                contig=contig,
                ref=self.panel.refs[site],
                alt=self.panel.alts[site],
            )
            made.append(line.split("\t"))
        return made

    def target(
        self,
        lines: Sequence[Sequence[str]],
        name: str = "target.vcf.gz",
        samples: Sequence[str] | None = None,
        contigs: dict[str, int] | None = None,
    ) -> Path:
        """A target file of these records."""
        text = vcf_text(samples or self.truth.samples, ["\t".join(line) for line in lines], contigs=contigs)
        return write_vcf(self.folder / name, text)


def make_cohort(folder: Path, make_panel: MakePanel) -> Cohort:
    """60 panel samples and 6 targets of one population, at 400 sites of which half are typed."""
    everyone = make_panel(n_samples=66, n_sites=N_SITES, seed=11)
    rng = np.random.default_rng(5)
    positions = np.sort(rng.choice(np.arange(100_000, 900_000), N_SITES, replace=False)).astype(np.int32)
    pairs = [("A", "C"), ("A", "G"), ("C", "T"), ("A", "T"), ("C", "G")]
    chosen = [pairs[i] for i in rng.choice(5, N_SITES, p=[0.3, 0.3, 0.3, 0.05, 0.05])]
    everyone = dataclasses.replace(
        everyone,
        contig="20",
        positions=positions,
        refs=tuple(ref for ref, _ in chosen),
        alts=tuple(alt for _, alt in chosen),
        samples=tuple(f"P{i:02d}" for i in range(66)),
        contig_length=63_025_520,
    )
    typed = rng.random(N_SITES) < 0.5
    panel = everyone.select_samples(everyone.samples[:60])
    cohort = Cohort(folder, panel, everyone.select_samples(everyone.samples[60:]), typed)
    write_vcf(cohort.panel_file, panel_text(panel))
    for file, cm in ((cohort.map_file, CM), (cohort.long_map_file, LONG_CM)):
        rows = zip(np.linspace(90_000, 910_000, 50).astype(int), np.linspace(0, cm, 50), strict=True)
        file.write_text("pos\tchr\tcM\n" + "".join(f"{p}\t20\t{c:.5f}\n" for p, c in rows))
    return cohort


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run said and wrote."""

    code: int
    stderr: str
    out: Path

    @property
    def qc(self) -> list[dict[str, str]]:
        header, *rows = self.out.with_name("out.qc.tsv").read_text().splitlines()
        return [dict(zip(header.split("\t"), row.split("\t"), strict=True)) for row in rows]

    @property
    def summary(self) -> dict[str, dict[str, dict[str, object]]]:
        loaded: dict[str, dict[str, dict[str, object]]] = json.loads(self.out.with_name("out.qc.json").read_text())
        return loaded

    @property
    def rows(self) -> list[list[str]]:
        text = gzip.decompress(self.out.read_bytes()).decode()
        return [line.split("\t") for line in text.splitlines() if line[0] != "#"]

    @property
    def header(self) -> list[str]:
        return [x for x in gzip.decompress(self.out.read_bytes()).decode().splitlines() if x[0] == "#"]

    @property
    def format_columns(self) -> list[list[str]]:
        return [row[:5] + row[8:] for row in self.rows]

    def reasons(self, contig: str = "20") -> dict[str, int]:
        counts: dict[str, int] = self.summary["contigs"][contig]["reasons"]  # type: ignore[assignment]
        return counts


Impute = Callable[..., Outcome]


def refused(outcome: Outcome, reason: str) -> str:
    """The one line of a refusal, which leaves no output."""
    assert outcome.code == 2
    assert not outcome.out.exists()
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("error")]
    assert len(lines) == 1
    assert outcome.stderr.splitlines()[-1] == lines[0]
    assert lines[0].startswith(f"error [{reason}]: ")
    assert "Traceback" not in outcome.stderr
    return lines[0]


def dosage_r2(outcome: Outcome, cohort: Cohort) -> float:
    """Of all imputed genotypes at once."""
    imputed = {int(row[1]): row for row in outcome.rows}
    truth = cohort.truth.haplotypes().reshape(-1, 2, N_SITES).sum(axis=1)
    hidden = [s for s in np.flatnonzero(~cohort.typed) if int(cohort.panel.positions[s]) in imputed]
    ds = [[float(c.split(":")[1]) for c in imputed[int(cohort.panel.positions[s])][9:]] for s in hidden]
    return float(np.corrcoef(np.ravel(ds), truth[:, hidden].T.ravel())[0, 1] ** 2)


COMPLEMENT = str.maketrans("ACGT", "TGCA")


def unambiguous(lines: list[list[str]]) -> list[int]:
    return [i for i, line in enumerate(lines) if line[3].translate(COMPLEMENT) != line[4]]


def swapped(line: list[str]) -> None:
    line[3], line[4] = line[4], line[3]
    line[9:] = [cell.translate(str.maketrans("01", "10")) for cell in line[9:]]


def flipped(line: list[str]) -> None:
    line[3], line[4] = line[3].translate(COMPLEMENT), line[4].translate(COMPLEMENT)


def invert(lines: list[list[str]], chosen: Sequence[int]) -> None:
    for i in chosen:
        lines[i][9:] = [cell.translate(str.maketrans("01", "10")) for cell in lines[i][9:]]
