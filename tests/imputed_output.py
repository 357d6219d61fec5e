"""An output of random dosages, and what bcftools reads of it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.vcf_text import need_bcftools
from vcfrag_core.files.vcf.writer import ImputedWriter
from vcfrag_core.output.header import Header
from vcfrag_core.output.records import (
    DEFAULT_FORMATS,
    OutputRecords,
    PassThroughRecord,
    site_records,
)
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy

IDENTITY = {"panel": "p", "mask": "m"}
TWO = Ploidy.diploid(2)


class Imputed:
    """Random dosages of a few samples at a panel's sites, some of them typed."""

    def __init__(self, panel: Panel, *, n_samples: int = 4, seed: int = 1, ploidy: Ploidy | None = None) -> None:
        rng = np.random.default_rng(seed)
        self.ploidy = ploidy or Ploidy.diploid(n_samples)
        shape = (self.ploidy.n_haplotypes, panel.n_sites)
        self.panel = panel
        self.samples = [f"T{i}" for i in range(self.ploidy.n_samples)]
        self.dosage = np.where(rng.random(shape) < 0.5, rng.beta(0.1, 0.4, shape), 0).astype(np.float32)
        self.typed = rng.random(panel.n_sites) < 0.3
        self.alleles = np.where(self.typed, rng.integers(-1, 2, shape), np.int8(-1)).astype(np.int8)
        self.loo = np.where(self.typed, rng.random(shape), np.nan).astype(np.float32)
        self.er2 = np.where(self.typed, rng.random(panel.n_sites), np.nan)

    def write(
        self,
        path: Path,
        *,
        formats: Sequence[str] = DEFAULT_FORMATS,
        windows: int = 3,
        pieces: int = 2,
        threads: int = 1,
        kept: Sequence[PassThroughRecord] = (),
        length: int | None = 63_025_520,
    ) -> Path:
        """The whole output."""
        contig = self.panel.contig
        with ImputedWriter(path, formats=formats, contigs=[contig], threads=threads) as writer:
            writer.begin(contig, IDENTITY)
            for number, sites in enumerate(np.array_split(np.arange(self.panel.n_sites), windows)):
                parts = np.array_split(sites, pieces)
                given = kept if number == 0 else ()
                parts = [(part, given if i == 0 else ()) for i, part in enumerate(np.array_split(sites, pieces))]
                assert not writer.has(contig, number)
                writer.write(contig, number, (self.records(part, formats, own) for part, own in parts))
                assert writer.has(contig, number)
            assert writer.finish(self.header(formats, length)) == self.panel.n_sites + len(kept)
        return path

    def records(
        self, sites: np.ndarray, formats: Sequence[str] = DEFAULT_FORMATS, kept: Sequence[PassThroughRecord] = ()
    ) -> OutputRecords:
        """The records of some sites."""
        return site_records(
            self.panel,
            sites,
            dosage=self.dosage[:, sites],
            alleles=self.alleles[:, sites],
            typed=self.typed[sites],
            er2=self.er2[sites],
            loo=self.loo[:, sites] if "LOO" in formats else None,
            kept=kept,
            ploidy=self.ploidy,
        )

    def header(self, formats: Sequence[str], length: int | None = 63_025_520) -> Header:
        provenance = [
            ("version", "1.0"),
            ("command", "vcfrag impute\n--out x"),
            ("input", "<ID=20,panel=p,mask=m>"),
        ]
        return Header(samples=self.samples, contigs={self.panel.contig: length}, formats=formats, provenance=provenance)


def mosaic(n_sites: int = 300, *, step: int = 5000) -> Panel:
    rng = np.random.default_rng(9)
    return Panel.from_haplotypes(
        rng.integers(0, 2, (6, n_sites)), contig="20", positions=60_000 + step * np.arange(n_sites)
    )


def lines_of(path: Path, *options: str) -> list[list[str]]:
    """The records as bcftools reads them."""
    text = subprocess.run(
        [need_bcftools(), "view", "-H", *options, str(path)], check=True, capture_output=True, text=True
    ).stdout
    return [line.split("\t") for line in text.splitlines()]
