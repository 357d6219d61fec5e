"""The two development tasks, built with bcftools from the shared 1000 Genomes data.

A task is a folder: panel.bcf (the 2,304 reference samples), target.vcf.gz (100 samples at the typed sites),
truth.bcf (the same samples at every site), typed.tsv (chrom pos ref alt) and samples.tsv. The genetic map is the
shared file itself.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

SOURCE = "1kg_chr20_0.06-2.29Mb_2404.bcf"
TASKS = ("array", "random50")
Site = tuple[str, str, str, str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Files of one task."""

    name: str
    panel: Path
    target: Path
    truth: Path
    typed: Path
    samples: Path
    genetic_map: Path


def default_data() -> Path:
    """The shared data folder: $VCFRAG_DATA, else ../shared/data beside the repository."""
    return Path(os.environ.get("VCFRAG_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def build_task(name: str, data: Path, work: Path) -> Task:
    """Builds the task under `work / name` unless it is there already."""
    folder = work / name
    task = _task(name, folder, data)
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _build(task, data, folder)
        (folder / "complete").touch()
    return task


def _task(name: str, folder: Path, data: Path) -> Task:
    return Task(
        name=name,
        panel=folder / "panel.bcf",
        target=folder / "target.vcf.gz",
        truth=folder / "truth.bcf",
        typed=folder / "typed.tsv",
        samples=data / "samples_2404.tsv",
        genetic_map=data / "chr20.b37.gmap.gz",
    )


def _build(task: Task, data: Path, folder: Path) -> None:
    targets = data / "task_targets.txt"
    if task.name == "array":
        sites = None
        typed = [_site(row) for row in _rows(data / "chr20_array_sites.tsv")]
    else:
        rows = list(_rows(data / "task_random50_sites.tsv"))
        sites = _sites_vcf(folder / "sites.vcf.gz", [_site(row) for row in rows])
        typed = [_site(row) for row in rows if row["typed"] == "1"]
    source = data / SOURCE if sites is None else _restricted(data / SOURCE, sites, folder / "all.bcf")
    _view(source, task.panel, "-Ob", "-S", f"^{targets}")
    _view(source, task.truth, "-Ob", "-S", str(targets))
    _restricted(task.truth, _sites_vcf(folder / "typed.vcf.gz", typed), task.target)
    present = subprocess.run(
        ["bcftools", "query", "-f", "%CHROM\t%POS\t%REF\t%ALT\n", task.target],
        capture_output=True,
        text=True,
        check=True,
    )
    task.typed.write_text("chrom\tpos\tref\talt\n" + present.stdout)


def _rows(path: Path) -> Iterable[dict[str, str]]:
    with path.open(newline="") as file:
        yield from csv.DictReader(file, delimiter="\t")


def _site(row: dict[str, str]) -> Site:
    return row["chrom"], row["pos"], row["ref"], row["alt"]


def _sites_vcf(path: Path, sites: Sequence[Site]) -> Path:
    contigs = "".join(f"##contig=<ID={name}>\n" for name in dict.fromkeys(site[0] for site in sites))
    lines = (f"{c}\t{pos}\t.\t{ref}\t{alt}\t.\t.\t.\n" for c, pos, ref, alt in sites)
    text = f"##fileformat=VCFv4.2\n{contigs}#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n" + "".join(lines)
    with path.open("wb") as file:
        subprocess.run(["bcftools", "view", "-Oz"], input=text.encode(), stdout=file, check=True)
    return _index(path)


def _restricted(source: Path, sites: Path, output: Path) -> Path:
    """The records of `source` whose position and alleles are among `sites`."""
    kind = "-Ob" if output.suffix == ".bcf" else "-Oz"
    subprocess.run(
        ["bcftools", "isec", "-c", "none", "-n=2", "-w1", kind, "-o", output, _indexed(source), sites], check=True
    )
    return _index(output)


def _view(source: Path, output: Path, *options: str) -> None:
    subprocess.run(["bcftools", "view", *options, "-o", output, source], check=True)
    _index(output)


def _indexed(path: Path) -> Path:
    return path if path.with_name(path.name + ".csi").exists() else _index(path)


def _index(path: Path) -> Path:
    subprocess.run(["bcftools", "index", "-f", path], check=True)
    return path
