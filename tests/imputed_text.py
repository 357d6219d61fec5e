"""Small panels, truths and imputed files for the tests of evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.conftest import mosaic_panel
from tests.vcf_text import panel_text, record, vcf_text, write_vcf
from vcfrag_core.panel.panel import Panel
from vcfrag_core.scoring import accuracy
from vcfrag_core.types import BoolArray, F64Array, I8Array

_HEADER = (
    '##INFO=<ID=R2,Number=1,Type=Float,Description="Estimated r2">\n'
    '##INFO=<ID=DR2,Number=A,Type=Float,Description="Estimated r2">\n'
    '##FORMAT=<ID=HDS,Number=2,Type=Float,Description="Haplotype dosages">\n'
    '##FORMAT=<ID=GP,Number=G,Type=Float,Description="Genotype probabilities">\n'
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """A reference panel, targets with every site known, and which sites the targets were typed at."""

    reference: Panel
    targets: Panel
    typed: BoolArray

    @property
    def hidden(self) -> BoolArray:
        return ~self.typed

    @property
    def copies(self) -> I8Array:
        """(V, S) true ALT copies."""
        alleles = self.targets.haplotypes().T.reshape(self.targets.n_sites, -1, 2)
        return alleles.sum(axis=2).astype(np.int8)


def small_world(
    *, n_reference: int = 30, n_targets: int = 12, n_sites: int = 160, seed: int = 4, contig: str = "20"
) -> World:
    """Mosaics of the same founders as reference and targets, every fourth site typed."""
    everyone = mosaic_panel(n_samples=n_reference + n_targets, n_sites=n_sites, seed=seed, contig=contig)
    return World(
        reference=everyone.select_samples(everyone.samples[:n_reference]),
        targets=everyone.select_samples(everyone.samples[n_reference:]),
        typed=np.arange(n_sites) % 4 == 0,
    )


def noisy_haplotypes(world: World, noise: float, seed: int = 0) -> F64Array:
    """(V, S, 2) the true alleles blurred, in thousandths."""
    alleles = world.targets.haplotypes().T.reshape(world.targets.n_sites, -1, 2).astype(np.float64)
    blurred = np.clip(alleles + noise * np.random.default_rng(seed).standard_normal(alleles.shape), 0, 1)
    return np.round(blurred, 3)


def imputed_text(
    world: World,
    haplotypes: F64Array,
    fields: Sequence[str] = ("GT", "DS", "HDS", "GP"),
    *,
    info: str = ".",
    contig: str | None = None,
    sites: BoolArray | None = None,
) -> str:
    """An imputed VCF with the FORMAT fields asked for, at `sites` (all unless given)."""
    panel = world.targets
    contig = contig or panel.contig
    posterior = accuracy.posterior_of_haplotypes(haplotypes)
    lines = []
    for v in np.flatnonzero(np.ones(panel.n_sites, dtype=bool) if sites is None else sites):
        columns = {
            "GT": ["|".join(str(round(p)) for p in pair) for pair in haplotypes[v]],
            "DS": [f"{pair.sum():.4g}" for pair in haplotypes[v]],
            "HDS": [",".join(f"{p:.4g}" for p in pair) for pair in haplotypes[v]],
            "GP": [",".join(f"{p:.6g}" for p in row) for row in posterior[v]],
        }
        calls = [":".join(values) for values in zip(*(columns[name] for name in fields), strict=True)]
        site = {"ref": panel.refs[v], "alt": panel.alts[v], "contig": contig, "info": info, "fmt": ":".join(fields)}
        lines.append(record(int(panel.positions[v]), calls, **site))
    text = vcf_text(panel.samples, lines, contigs={contig: 250_000_000})
    return text.replace("#CHROM", _HEADER + "#CHROM", 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorldFiles:
    """The world on disk."""

    panel: Path
    truth: Path
    target: Path
    typed: Path
    samples: Path


def write_world(world: World, folder: Path) -> WorldFiles:
    """Panel, truth, target and typed sites (both as a table and as the target's VCF), and a sample table."""
    typed = world.targets.select_sites(np.flatnonzero(world.typed))
    lines = ["chrom\tpos\tref\talt"]
    rows = zip(typed.positions.tolist(), typed.refs, typed.alts, strict=True)
    lines += [f"{typed.contig}\t{pos}\t{ref}\t{alt}" for pos, ref, alt in rows]
    (folder / "typed.tsv").write_text("\n".join(lines) + "\n")
    people = [f"{name}\t{'AB'[i % 2] * 3}" for i, name in enumerate(world.targets.samples)]
    (folder / "samples.tsv").write_text("\n".join(["sample\tsuper_pop", *people]) + "\n")
    return WorldFiles(
        panel=write_vcf(folder / "panel.vcf.gz", panel_text(world.reference)),
        truth=write_vcf(folder / "truth.bcf", panel_text(world.targets)),
        target=write_vcf(folder / "target.vcf.gz", panel_text(typed)),
        typed=folder / "typed.tsv",
        samples=folder / "samples.tsv",
    )


def write_imputed(path: Path, world: World, noise: float, seed: int = 0, info: str = ".") -> Path:
    """An imputed file of the given quality."""
    return write_vcf(path, imputed_text(world, noisy_haplotypes(world, noise, seed), info=info))
