"""Makes a prepared panel of VCF and BCF files: read, checked and split once, for every job that follows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from vcfrag_core.errors import ConfigError, EmptyInputError, InputError, UnknownSampleError
from vcfrag_core.files.panel.calls import MissingRule
from vcfrag_core.files.panel.prepared import Entry, is_prepared, read_prepared, read_table, write_prepared
from vcfrag_core.files.panel.reader import read_panels
from vcfrag_core.files.vcf.reader import Region, open_vcf
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_core.panel.panel import Panel

# Names of files that a prepared panel would be taken for.
_OTHERS = (".vcf", ".vcf.gz", ".vcf.bgz", ".bcf", ".bgen", ".pgen", ".bed", ".bref3", ".msav")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PanelFilter:
    """What of a panel is kept.

    Attributes:
        samples: Names of the samples; all unless given.
        min_copies: Copies that the rarer allele of a site has at least among them.
        missing: What missing alleles are taken for.
    """

    samples: tuple[str, ...] | None = None
    min_copies: int = 0
    missing: MissingRule = MissingRule.REFUSE

    def __post_init__(self) -> None:
        if self.min_copies < 0:
            raise ConfigError(f"--min-copies is 0 or more, got {self.min_copies}")

    def applied(self, panel: Panel) -> Panel:
        """The panel of the kept samples and sites.

        Raises:
            EmptyInputError: Nobody, or no site, is left.
        """
        if self.samples is not None:
            wanted = set(self.samples)
            names = [name for name in panel.samples if name in wanted]
            if not names:
                raise EmptyInputError(f"contig {panel.contig} has none of the samples", path=panel.source)
            panel = panel if len(names) == panel.n_samples else panel.select_samples(names)
        if self.min_copies:
            copies = np.rint(panel.alt_frequency() * panel.n_haplotypes)
            kept = np.flatnonzero(np.minimum(copies, panel.n_haplotypes - copies) >= self.min_copies)
            if not len(kept):
                raise EmptyInputError(f"no site of contig {panel.contig} is left", path=panel.source)
            left_out = {"rarer_than_min_copies": panel.n_sites - len(kept)}
            panel = dataclasses.replace(panel.select_sites(kept), counts={**panel.counts, **left_out})
        return panel


def build_prepared(
    out: Path,
    files: Sequence[Path],
    kept: PanelFilter,
    *,
    threads: int = 1,
    progress: Callable[[str, int], None] | None = None,
) -> list[Entry]:
    """Writes a prepared panel of all contigs of the files; one contig is in memory at a time.

    Args:
        out: The prepared panel.
        files: VCF, BCF, or prepared panels; no two hold the same contig.
        kept: What of them is kept.
        threads: Threads that decompress and hash.
        progress: Called now and then with a contig and the number of its sites read so far.

    Raises:
        ConfigError: No file, or the output is one of them, or has the name of another kind of file.
        InputError: A contig that comes twice; see `read_panels`.
        UnknownSampleError: A sample to keep is in no file.
    """
    if not files:
        raise ConfigError("no file to make a panel of")
    if any(out.exists() and file.exists() and out.samefile(file) for file in files):
        raise ConfigError(f"--out {out} is an input")
    if out.name.lower().endswith(_OTHERS):
        raise ConfigError(f"--out {out}: a prepared panel is no file of this kind; name it panel.vcfrag, say")
    made_from = {f"file_{number}": str(file.absolute()) for number, file in enumerate(files, start=1)}
    seen: set[str] = set()

    def panels() -> Iterator[Panel]:
        for panel in _panels(files, kept.missing, threads, progress):
            seen.update(panel.samples)
            yield kept.applied(panel)
        unknown = [name for name in kept.samples or () if name not in seen]
        if unknown:
            raise UnknownSampleError(f"{len(unknown)} of the samples are in no file, such as {unknown[0]!r}")

    return write_prepared(out, panels(), made_from, threads=threads)


def contigs_of(path: Path) -> tuple[str, ...]:
    """Contigs with records of a VCF, BCF or prepared panel."""
    if is_prepared(path):
        return tuple(dict.fromkeys(entry.contig for entry in read_table(path)[1]))
    with open_vcf(path) as reader:
        return reader.contigs_with_records()


def _panels(
    files: Sequence[Path], missing: MissingRule, threads: int, progress: Callable[[str, int], None] | None
) -> Iterator[Panel]:
    file_of: dict[str, Path] = {}
    for path in files:
        contigs = contigs_of(path)
        if not contigs:
            raise EmptyInputError("the file has no records", path=path)
        for contig in contigs:
            same = contig_alias(contig, file_of)
            if same is not None:
                raise InputError(
                    f"contig {contig} is also in {file_of[same]}; join its parts first with `bcftools concat`",
                    path=path,
                )
            file_of[contig] = path
            if is_prepared(path):
                yield from read_prepared(path, Region(contig), threads=threads)
                continue
            said = None if progress is None else lambda n, name=contig: progress(name, n)
            # Without an index a region is found by reading all of the file.
            region = None if len(contigs) == 1 else str(Region(contig))
            yield from read_panels(path, region=region, threads=threads, progress=said, missing=missing)
