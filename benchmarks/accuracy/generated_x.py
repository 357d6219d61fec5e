"""Chromosome X, generated: men haploid, targets' men in every coding, beside Beagle and Minimac4, both sexes apart.

    python -m benchmarks.accuracy.generated_x [--seed 1] [--work bench-out]

Africans, Europeans and East Asians of an out-of-Africa history, every second one a man, who is one haplotype of the
region that lies beyond the first pseudo-autosomal one. Writes WORK/x-SEED: panel, truth and map, and the targets with
men as `1`, `1|1`, `1/.` and `1/1`; imputes them all, and ends with 1 where two codings do not give the same FORMAT
columns; then compares with the peers, with paired intervals, and writes WORK/x-SEED.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import cyvcf2
import numpy as np

from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.files.vcf import bgzf
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_train.simulate.simulate import SimulationConfig, simulate

# The end of the first pseudo-autosomal region of either build lies before it.
FIRST_POSITION: Final = 5_000_000
# chrX of GRCh37.
LENGTH: Final = 155_270_560
CODINGS: Final[dict[str, Callable[[int], str]]] = {
    "haploid": str,
    "two": "{0}|{0}".format,
    "half": "{0}/.".format,
    "unphased": "{0}/{0}".format,
}


def write_vcf(panel: Panel, path: Path, man: Callable[[int], str]) -> Path:
    """The panel with every second sample a man, who is his first haplotype, written as `man` says."""
    haplotypes = panel.haplotypes()
    pairs = np.array([f"{a}|{b}" for a in (0, 1) for b in (0, 1)])
    men = np.array([man(0), man(1)])
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *panel.samples]
    lines = [
        "##fileformat=VCFv4.3",
        f"##contig=<ID=X,length={LENGTH}>",
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
        "\t".join(columns),
    ]
    for site in range(panel.n_sites):
        first, second = haplotypes[0::2, site], haplotypes[1::2, site]
        cells = np.where(np.arange(panel.n_samples) % 2 == 1, men[first], pairs[2 * first + second])
        key = ("X", str(FIRST_POSITION + panel.positions[site]), ".", panel.refs[site], panel.alts[site])
        lines.append("\t".join([*key, ".", "PASS", ".", "GT", *cells.tolist()]))
    blocks, _ = bgzf.compress(("\n".join(lines) + "\n").encode())
    with atomic_path(path) as temporary:
        temporary.write_bytes(blocks + bgzf.EOF_BLOCK)
    return path


def write_map(genetic_map: GeneticMap, path: Path) -> Path:
    """The map, moved as the sites are."""
    rows = zip(genetic_map.positions.tolist(), genetic_map.cm.tolist(), strict=True)
    with atomic_path(path) as temporary:
        temporary.write_text("pos\tchr\tcM\n" + "".join(f"{FIRST_POSITION + p}\tX\t{cm:.9f}\n" for p, cm in rows))
    return path


def write_set(config: SimulationConfig, folder: Path) -> dict[str, Path]:
    """Panel, truth, map and the targets in every coding, by name."""
    made = simulate(config)
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "panel": write_vcf(made.panel, folder / "panel.vcf.gz", str),
        "truth": write_vcf(made.targets, folder / "truth.vcf.gz", str),
        "map": write_map(made.genetic_map, folder / "map.txt"),
    }
    for name, man in CODINGS.items():
        files[name] = write_vcf(made.array, folder / f"{name}.vcf.gz", man)
    return files


def format_columns(path: Path) -> list[str]:
    """What every record of an imputed file says of the samples."""
    return ["\t".join(str(record).rstrip("\n").split("\t")[8:]) for record in cyvcf2.VCF(str(path))]


def vcfrag(*words: object) -> None:
    """Runs the command, and ends with its exit code where it fails."""
    subprocess.run([str(Path(sys.executable).with_name("vcfrag")), *map(str, words)], check=True)


def main() -> int:
    """Makes one set, imputes every coding, and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("bench-out"))
    parser.add_argument("--reference", type=int, default=200, help="of each of the three populations")
    parser.add_argument("--bases", type=int, default=2_000_000)
    options = parser.parse_args()
    config = SimulationConfig(
        seed=options.seed,
        reference_per_population=options.reference,
        targets_per_population=20,
        length_bases=options.bases,
        contig="X",
        genotype_error_share=0.0005,
    )
    folder = options.work / f"x-{options.seed}"
    files = write_set(config, folder)
    print(dataclasses.asdict(config))
    own = ("--panel", files["panel"], "--map", files["map"])
    found = {}
    for name in CODINGS:
        vcfrag("impute", *own, "--target", files[name], "--out", folder / f"{name}.imputed.vcf.gz")
        found[name] = format_columns(folder / f"{name}.imputed.vcf.gz")
    differ = [name for name in CODINGS if found[name] != found["haploid"]]
    print(f"codings that give other FORMAT columns than `haploid`: {', '.join(differ) or 'none'}")
    words = ("--typed", files["haploid"], "--json", folder.with_suffix(".json"), "--keep", folder / "compared")
    vcfrag("compare", *own, "--target", files["haploid"], "--truth", files["truth"], *words, "--no-ablations")
    return int(bool(differ))


if __name__ == "__main__":
    sys.exit(main())
