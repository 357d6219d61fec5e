"""A panel of 200,000 haplotypes: streamed from VCF, written, opened again, imputed from; and a file of a million sites.

    python -m benchmarks.scale.large_panel --work DIR
    python -m benchmarks.scale.large_panel --work DIR --stages direct,open,impute
    python -m benchmarks.scale.large_panel --work DIR --haplotypes 4000 --founders 400 --sites 3000 --many-sites 20000

Haplotypes are mosaics of founders that msprime generates under the out-of-Africa model, at all sites that vary, with a
few alleles changed. `direct` writes the panel of `vcf` and `build` by columns, without a VCF between, which takes a
tenth of the time. What is made stays in DIR, about 6 GB. Memory is the most of any process.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.work_folder import WorkFolder, vcfrag
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.files.panel.prepared import write_prepared
from vcfrag_core.files.vcf import bgzf
from vcfrag_core.files.vcf import index as vcf_index
from vcfrag_core.panel.growing_bits import GrowingBits
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.types import BoolArray, I64Array, U8Array
from vcfrag_train.compare.usage import Usage, run_measured
from vcfrag_train.simulate.simulate import SimulationConfig, simulate

STAGES: Final = ("vcf", "build", "open", "impute", "columns", "reopen")
# A haplotype copies another founder after so many bases, on average.
_PIECE_BASES: Final = 200_000
_SITES_PER_FOUNDER_MB: Final = 9_000
_CHANGED_SHARE: Final = 1e-4
_N_TARGETS: Final = 100
_TARGETS: Final = tuple(f"T{i:03d}" for i in range(_N_TARGETS))
_RECORDS_AT_ONCE: Final = 64


class Work(WorkFolder):
    """Where everything lies."""

    __slots__ = ()

    @property
    def founders(self) -> Path:
        return self.folder / "founders.vcfrag"

    @property
    def vcf(self) -> Path:
        return self.folder / "panel.vcf.gz"

    @property
    def panel(self) -> Path:
        return self.folder / "panel.vcfrag"

    @property
    def many(self) -> Path:
        return self.folder / "many.vcfrag"


def main(words: Sequence[str] | None = None) -> int:
    """Runs the stages asked for, prints what each took, and leaves it in DIR/large_panel.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--haplotypes", type=int, default=200_000)
    parser.add_argument("--founders", type=int, default=10_200)
    parser.add_argument("--sites", type=int, default=50_000)
    parser.add_argument("--typed", type=int, default=10_000)
    parser.add_argument("--many-sites", type=int, default=1_000_000)
    parser.add_argument("--inside", choices=("vcf", "direct", "open", "columns", "reopen"), help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    options.work.mkdir(parents=True, exist_ok=True)
    work = Work(options.work.resolve())
    if options.inside:
        return _inside(options, work)
    _make_founders(options, work)
    results: dict[str, dict[str, object]] = {}
    for stage in options.stages.split(","):
        usage = _run(stage, options, work)
        results[stage] = dataclasses.asdict(usage)
        print(
            f"{stage}: {usage.cpu_seconds:.1f} CPU s, {usage.wall_seconds:.1f} s, "
            f"{usage.peak_bytes / 2**30:.2f} GiB{_size(stage, work)}",
            flush=True,
        )
    (work.folder / "large_panel.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0


def _size(stage: str, work: Work) -> str:
    made = {"vcf": work.vcf, "build": work.panel, "direct": work.panel, "columns": work.many}.get(stage)
    return "" if made is None else f", {made.stat().st_size / 1e9:.2f} GB"


def _run(stage: str, options: argparse.Namespace, work: Work) -> Usage:
    """One stage as a process of its own."""
    names = ("haplotypes", "founders", "sites", "typed", "many_sites")
    given = [word for name in names for word in (f"--{name.replace('_', '-')}", str(getattr(options, name)))]
    own: list[str | Path] = [sys.executable, "-m", "benchmarks.scale.large_panel", "--work", work.folder]
    own += ["--inside", stage]
    if stage == "build":
        work.panel.unlink(missing_ok=True)
        command: list[str | Path] = [vcfrag(), "panel", "build", work.vcf, "--out", work.panel]
    elif stage == "impute":
        command = work.impute(work.panel, "imputed.bcf")
    else:
        command = [*own, *given]
    return run_measured(command, log=work.folder / f"{stage}.log")


def _inside(options: argparse.Namespace, work: Work) -> int:
    if options.inside == "vcf":
        _write_vcf(options, work)
    elif options.inside == "direct":
        _write_directly(options, work)
    elif options.inside == "columns":
        _write_columns(options, work)
    else:
        panel = load_panel(work.panel if options.inside == "open" else work.many)
        print(panel.n_haplotypes, panel.n_sites, panel.digest, panel.alt_frequency().mean())
    return 0


def _make_founders(options: argparse.Namespace, work: Work) -> None:
    if work.founders.exists():
        return
    made = simulate(
        SimulationConfig(
            reference_per_population=options.founders // 6,
            targets_per_population=1,
            length_bases=max(100_000, 1_000_000 * options.sites // _SITES_PER_FOUNDER_MB),
            least_copies=1,
        )
    )
    panel = made.panel.select_sites(np.arange(min(options.sites, made.panel.n_sites)))
    write_prepared(work.founders, [panel], {"made_by": "benchmarks.scale.large_panel"})
    work.write_map(made.genetic_map)


def mosaics(founders: Panel, n_haplotypes: int, n_sites: int, seed: int) -> Iterator[tuple[I64Array, U8Array]]:
    """Founder sites, over and over, with (ceil(n / 8), H) columns of haplotypes that copy one founder after another."""
    rng = np.random.default_rng(seed)
    copied = rng.integers(0, founders.n_haplotypes, n_haplotypes)
    span = int(founders.positions[-1] - founders.positions[0]) + 1
    switch = min(1.0, 8 * span / founders.n_sites / _PIECE_BASES)
    columns = founders.bits.columns(np.arange(founders.n_sites))
    for start in range(0, n_sites, 512):
        sites = np.arange(start, min(start + 512, n_sites))
        out = np.empty((-(-len(sites) // 8), n_haplotypes), dtype=np.uint8)
        for octet in range(len(out)):
            switched = rng.integers(0, n_haplotypes, rng.binomial(n_haplotypes, switch))
            copied[switched] = rng.integers(0, founders.n_haplotypes, len(switched))
            out[octet] = columns[(start // 8 + octet) % (founders.n_sites // 8)][copied]
            changed = rng.integers(0, n_haplotypes, rng.poisson(8 * n_haplotypes * _CHANGED_SHARE))
            out[octet, changed] ^= np.left_shift(1, rng.integers(0, 8, len(changed))).astype(np.uint8)
        if len(sites) % 8:
            out[-1] &= np.uint8((1 << len(sites) % 8) - 1)
        yield sites, out


def _write_columns(options: argparse.Namespace, work: Work) -> None:
    """A prepared panel of many sites, whose columns come as they are made."""
    founders, h, n = load_panel(work.founders), options.haplotypes, options.many_sites
    growing = GrowingBits(h, work.folder)
    for sites, columns in mosaics(founders, h, n, seed=2):
        growing.append_columns(columns, len(sites))
    panel = Panel(
        contig="1",
        positions=np.arange(1, 100 * n, 100, dtype=np.int32),
        refs=("A",) * n,
        alts=("C",) * n,
        site_ids=(".",) * n,
        samples=_names(h // 2),
        ploidy=Ploidy.diploid(h // 2),
        bits=growing.finish(),
    )
    work.many.unlink(missing_ok=True)
    write_prepared(work.many, [panel], {"made_by": "benchmarks.scale.large_panel"})


def _write_directly(options: argparse.Namespace, work: Work) -> None:
    """The prepared panel and the targets of `_write_vcf`."""
    founders, h = load_panel(work.founders), options.haplotypes
    typed, n_sites = _typed(options, founders)
    growing = GrowingBits(h, work.folder)
    with ThreadPoolExecutor(1) as executor, _Vcf(work.target, founders, _TARGETS, executor) as target:
        for sites, columns in mosaics(founders, h + 2 * _N_TARGETS, n_sites, seed=1):
            growing.append_columns(np.ascontiguousarray(columns[:, :h]), len(sites))
            alleles = np.unpackbits(columns[:, h:], axis=0, bitorder="little")[: len(sites)]
            for site, row in zip(sites.tolist(), alleles, strict=True):
                if typed[site]:
                    target.write(site, row)
    panel = dataclasses.replace(
        founders.select_sites(np.arange(n_sites)),
        samples=_names(h // 2),
        ploidy=Ploidy.diploid(h // 2),
        bits=growing.finish(),
    )
    work.panel.unlink(missing_ok=True)
    write_prepared(work.panel, [panel], {"made_by": "benchmarks.scale.large_panel"})


def _typed(options: argparse.Namespace, founders: Panel) -> tuple[BoolArray, int]:
    """Which sites the targets have, the most common ones, and how many sites the panel has."""
    frequency = founders.alt_frequency()
    order = np.argsort(-np.minimum(frequency, 1 - frequency), kind="stable")
    typed = np.zeros(founders.n_sites, dtype=np.bool_)
    typed[order[: options.typed]] = True
    return typed, min(options.sites, founders.n_sites) // 8 * 8


def _names(n: int) -> tuple[str, ...]:
    return tuple(f"P{i:06d}" for i in range(n))


def _write_vcf(options: argparse.Namespace, work: Work) -> None:
    """The panel, and targets that are further mosaics at common sites, as compressed VCF."""
    founders, h = load_panel(work.founders), options.haplotypes
    typed, n_sites = _typed(options, founders)
    samples = (_names(h // 2), _TARGETS)
    with (
        ThreadPoolExecutor(1) as executor,
        _Vcf(work.vcf, founders, samples[0], executor) as panel,
        _Vcf(work.target, founders, samples[1], executor) as target,
    ):
        for sites, columns in mosaics(founders, h + 2 * _N_TARGETS, n_sites, seed=1):
            alleles = np.unpackbits(columns, axis=0, bitorder="little")[: len(sites)]
            for site, row in zip(sites.tolist(), alleles, strict=True):
                panel.write(site, row[:h])
                if typed[site]:
                    target.write(site, row[h:])


class _Vcf:
    """A VCF of one contig that is written record by record, with its index."""

    def __init__(self, path: Path, sites: Panel, samples: tuple[str, ...], executor: ThreadPoolExecutor) -> None:
        self._path, self._sites, self._executor = path, sites, executor
        self._records: list[int] = []
        self._waiting: list[bytes] = []
        self._borders: list[I64Array] = []
        self._file = path.open("wb")
        lines = (
            "##fileformat=VCFv4.3",
            "##contig=<ID=1>",
            '##FORMAT=<ID=GT,Number=1,Type=String,Description="">',
            "\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples]),
        )
        self._append(["\n".join(lines).encode() + b"\n"])

    def __enter__(self) -> _Vcf:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._file.write(bgzf.EOF_BLOCK)
        self._file.close()
        begins = self._sites.positions[self._records].astype(np.int64) - 1
        lengths = np.array([len(self._sites.refs[site]) for site in self._records])
        starts, stops = np.concatenate(self._borders, axis=1)
        index = vcf_index.ContigRecords(contig="1", begins=begins, ends=begins + lengths, starts=starts, stops=stops)
        self._path.with_name(self._path.name + ".tbi").write_bytes(vcf_index.tbi([index]))

    def write(self, site: int, alleles: U8Array) -> None:
        """A record of (H,) alleles."""
        calls = np.full((len(alleles) // 2, 4), ord("|"), dtype=np.uint8)
        calls[:, 0::2] = alleles.reshape(-1, 2) + ord("0")
        calls[:, 3] = ord("\t")
        calls[-1, 3] = ord("\n")
        fixed = (str(self._sites.positions[site]), ".", self._sites.refs[site], self._sites.alts[site])
        self._records.append(site)
        self._waiting.append("\t".join(["1", *fixed, ".", ".", ".", "GT", ""]).encode() + calls.tobytes())
        if len(self._waiting) == _RECORDS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._borders.append(self._append(self._waiting))
            self._waiting.clear()

    def _append(self, pieces: list[bytes]) -> I64Array:
        """(2, n) virtual offsets of where each piece begins and ends."""
        base, ends = self._file.tell(), np.cumsum([len(piece) for piece in pieces])
        blocks, offsets = bgzf.compress(b"".join(pieces), executor=self._executor, level=1)
        self._file.write(blocks)
        starts = np.append(0, ends[:-1])
        return np.stack([bgzf.virtual_offsets(places, offsets, base) for places in (starts, ends)])


if __name__ == "__main__":
    sys.exit(main())
