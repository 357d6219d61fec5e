"""VCF text for tests: records and whole files from a few words or from a panel, and random panels for properties.

`write_vcf` compresses with htslib (through cyvcf2), so that what is read back was not written by the code under test.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cyvcf2
import numpy as np
import pytest
from hypothesis import strategies as st

from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.storage import DenseBits

CONTIGS = {"20": 63_025_520}


def record(
    position: int,
    calls: Iterable[str],
    *,
    contig: str = "20",
    ref: str = "A",
    alt: str = "C",
    site_id: str = ".",
    info: str = ".",
    fmt: str = "GT",
) -> str:
    """One line: `record(100, ["0|1", "1|1"])`; `calls` are the sample columns as they stand."""
    return "\t".join([contig, str(position), site_id, ref, alt, ".", "PASS", info, fmt, *calls])


def vcf_text(samples: Sequence[str], records: Iterable[str], *, contigs: Mapping[str, int] | None = None) -> str:
    """A whole VCF; `contigs` are the header's names and lengths (chr20 of GRCh37 unless given)."""
    lengths = CONTIGS if contigs is None else contigs
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
    lines = [
        "##fileformat=VCFv4.2",
        *(f"##contig=<ID={name},length={length}>" for name, length in lengths.items()),
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
        '##FORMAT=<ID=DS,Number=A,Type=Float,Description="Dosage">',
        "\t".join([*columns, "FORMAT", *samples] if samples else columns),
        *records,
    ]
    return "\n".join(lines) + "\n"


def panel_text(panel: Panel) -> str:
    """The panel as a VCF."""
    lines = []
    for site, calls in enumerate(calls_of(panel)):
        lines.append(
            record(
                int(panel.positions[site]),
                calls,
                contig=panel.contig,
                ref=panel.refs[site],
                alt=panel.alts[site],
                site_id=panel.site_ids[site],
            )
        )
    return vcf_text(panel.samples, lines, contigs={panel.contig: panel.contig_length or 250_000_000})


def calls_of(panel: Panel) -> list[list[str]]:
    """V lists of S phased calls such as `0|1`."""
    alleles = panel.haplotypes().T.reshape(panel.n_sites, panel.n_samples, 2)
    return [[f"{a}|{b}" for a, b in site] for site in alleles.tolist()]


def write_vcf(path: Path, text: str, *, index: bool = False) -> Path:
    """Writes `.vcf`, `.vcf.gz` (bgzipped) or `.bcf` by the name; indexed by bcftools, without which the test skips."""
    if path.suffix == ".vcf":
        path.write_text(text, encoding="utf-8")
        return path
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.vcf"
        plain.write_text(text, encoding="utf-8")
        reader = cyvcf2.VCF(str(plain))
        writer = cyvcf2.Writer(str(path), reader, mode="wb" if path.suffix == ".bcf" else "wz")
        writer.write_header()
        for variant in reader:
            writer.write_record(variant)
        writer.close()
        reader.close()
    if index:
        subprocess.run([need_bcftools(), "index", "--force", str(path)], check=True)
    return path


def need_bcftools() -> str:
    """Path of bcftools; skips the test where there is none."""
    found = shutil.which("bcftools")
    if found is None:
        pytest.skip("bcftools is not on the PATH")
    return found


@st.composite
def panels(draw: st.DrawFn, *, max_samples: int = 6, max_sites: int = 40) -> Panel:
    """Random panels: any number of sites, indels, several ALT of one position, names and ids of several kinds."""
    n_samples = draw(st.integers(1, max_samples))
    n_sites = draw(st.integers(1, max_sites))
    steps = draw(st.lists(st.sampled_from([0, 1, 7, 1000]), min_size=n_sites, max_size=n_sites))
    positions = 1 + draw(st.integers(0, 10**6)) + np.cumsum(steps)
    refs, alts = zip(*_alleles(positions.tolist()), strict=True)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    haplotypes = rng.random((2 * n_samples, n_sites)) < rng.random(n_sites)
    return Panel(
        contig=draw(st.sampled_from(["20", "chr20", "X", "HLA-A"])),
        positions=positions.astype(np.int32),
        refs=refs,
        alts=alts,
        site_ids=tuple(draw(st.sampled_from([".", f"rs{i}"])) for i in range(n_sites)),
        samples=tuple(f"{draw(st.sampled_from(['S', 'NA-', 'ä']))}{i}" for i in range(n_samples)),
        ploidy=Ploidy.diploid(n_samples),
        bits=DenseBits(bit.pack(haplotypes), n_sites),
    )


def _alleles(positions: Sequence[int]) -> list[tuple[str, str]]:
    """REF and ALT of every site, distinct within a position: C, G, T, then longer and longer insertions."""
    seen: dict[int, int] = {}
    alleles = []
    for position in positions:
        number = seen[position] = seen.get(position, -1) + 1
        alleles.append(("A", "CGT"[number]) if number < 3 else ("A", "A" * (number - 1)))
    return alleles
