"""A simulation as files: what a user would bring, and the truth beside it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.files.vcf import bgzf
from vcfrag_core.files.vcf import index as vcf_index
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.types import I64Array
from vcfrag_train.simulate.simulate import Simulation

_BLOCK_SITES = 1_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedFiles:
    """Paths of one simulation.

    Attributes:
        panel: The reference, bgzipped VCF with its index.
        target: The held-out samples at the array's sites.
        truth: The held-out samples at every site.
        genetic_map: Columns pos, chr, cM.
        samples: The sample table: sample, pop, super_pop.
        typed: The array's sites: chrom, pos, ref, alt.
    """

    panel: Path
    target: Path
    truth: Path
    genetic_map: Path
    samples: Path
    typed: Path

    @classmethod
    def of(cls, folder: Path) -> SimulatedFiles:
        """Where they lie in a folder."""
        return cls(
            panel=folder / "panel.vcf.gz",
            target=folder / "target.vcf.gz",
            truth=folder / "truth.vcf.gz",
            genetic_map=folder / "map.txt",
            samples=folder / "samples.tsv",
            typed=folder / "typed.tsv",
        )


def write_simulation(simulation: Simulation, folder: Path) -> SimulatedFiles:
    """Writes every file of the simulation into the folder, which is made if need be."""
    files = write_reference(simulation, folder)
    typed = np.flatnonzero(simulation.typed)
    write_phased_vcf(simulation.array, files.target)
    write_phased_vcf(simulation.targets, files.truth)
    _write_text(files.typed, _sites_text(simulation.panel.select_sites(typed)))
    return files


def write_reference(simulation: Simulation, folder: Path) -> SimulatedFiles:
    """Writes panel, map and sample table alone; the paths of the other files are not yet there."""
    folder.mkdir(parents=True, exist_ok=True)
    files = SimulatedFiles.of(folder)
    write_phased_vcf(simulation.panel, files.panel)
    _write_text(files.genetic_map, _map_text(simulation.genetic_map))
    _write_text(files.samples, _samples_text(simulation.population))
    return files


def write_phased_vcf(panel: Panel, path: Path) -> None:
    """Writes the panel as a bgzipped VCF with phased GT and its tabix index beside it; the same bytes every time."""
    lines = [line for start in range(0, panel.n_sites, _BLOCK_SITES) for line in _records(panel, start)]
    header = _header(panel)
    sizes = np.array([len(header), *map(len, lines)], dtype=np.int64)
    borders = np.cumsum(sizes)
    blocks, offsets = bgzf.compress(b"".join([header, *lines]))
    where = bgzf.virtual_offsets(borders, offsets, 0)
    index = vcf_index.ContigRecords(
        contig=panel.contig,
        begins=panel.positions.astype(np.int64) - 1,
        ends=panel.positions.astype(np.int64) - 1 + _ref_lengths(panel),
        starts=where[:-1],
        stops=where[1:],
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(blocks + bgzf.EOF_BLOCK)
    with atomic_path(path.with_name(path.name + ".tbi")) as temporary:
        temporary.write_bytes(vcf_index.tbi([index]))


def _header(panel: Panel) -> bytes:
    length = f",length={panel.contig_length}" if panel.contig_length else ""
    return "\n".join(
        [
            "##fileformat=VCFv4.3",
            '##FILTER=<ID=PASS,Description="All filters passed">',
            f"##contig=<ID={panel.contig}{length}>",
            '##FORMAT=<ID=GT,Number=1,Type=String,Description="Phased genotype">',
            "\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *panel.samples]) + "\n",
        ]
    ).encode()


def _records(panel: Panel, start: int) -> list[bytes]:
    """The lines of at most `_BLOCK_SITES` sites from `start` on."""
    stop = min(start + _BLOCK_SITES, panel.n_sites)
    alleles = panel.haplotypes(None, start, stop).T.reshape(stop - start, -1, 2)
    calls = np.empty((*alleles.shape[:2], 4), dtype=np.uint8)
    calls[:, :, 0::2] = alleles + ord("0")
    calls[:, :, 1] = ord("|")
    calls[:, :, 3] = ord("\t")
    calls[:, -1, 3] = ord("\n")
    return [_site_columns(panel, v) + calls[v - start].tobytes() for v in range(start, stop)]


def _site_columns(panel: Panel, v: int) -> bytes:
    site = (panel.contig, str(panel.positions[v]), panel.site_ids[v], panel.refs[v], panel.alts[v])
    return "\t".join([*site, ".", "PASS", ".", "GT", ""]).encode()


def _ref_lengths(panel: Panel) -> I64Array:
    return np.array([len(ref) for ref in panel.refs], dtype=np.int64)


def _map_text(genetic_map: GeneticMap) -> str:
    rows = zip(genetic_map.positions, genetic_map.cm, strict=True)
    return "pos\tchr\tcM\n" + "".join(f"{position}\t{genetic_map.contig}\t{cm:.9f}\n" for position, cm in rows)


def _samples_text(population: dict[str, str]) -> str:
    return "sample\tpop\tsuper_pop\n" + "".join(f"{name}\t{p}\t{p}\n" for name, p in population.items())


def _sites_text(panel: Panel) -> str:
    rows = zip(panel.positions, panel.refs, panel.alts, strict=True)
    return "chrom\tpos\tref\talt\n" + "".join(f"{panel.contig}\t{p}\t{ref}\t{alt}\n" for p, ref, alt in rows)


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text)
