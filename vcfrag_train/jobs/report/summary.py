"""What a job's chunks say without any truth: how good sites and samples are likely to be, and what it cost."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from vcfrag_core.errors import InputError
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.files.tables.names import summary_path
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.windows import Window
from vcfrag_core.retrieval.queries import External
from vcfrag_core.targets.likeness import Relation
from vcfrag_core.types import BoolArray, F64Array, I32Array, I64Array
from vcfrag_train.jobs.chunks.chunk_file import ChunkCost, ChunkReader, chunk_file, pieces_of
from vcfrag_train.jobs.manifest import Manifest, is_of_everybody, require_same
from vcfrag_train.jobs.maps import windows_of
from vcfrag_train.jobs.targets import StretchTargets, read_targets

_RELATIVES: Final = {
    Relation.SAME: "the person",
    Relation.PARENT_CHILD: "parent or child",
    Relation.SIBLING: "sibling",
    Relation.SECOND_DEGREE: "relative of the second degree",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StretchSummary:
    """The written sites of a stretch.

    Attributes:
        contig: Its contig.
        positions: (L,) 1-based.
        maf: (L,) minor allele frequency in the panel.
        r2: (L,) estimated r².
        er2: (L,) leave-one-out r² at typed sites, NaN elsewhere.
        typed: (L,) typed ones.
    """

    contig: str
    positions: I32Array
    maf: F64Array
    r2: F64Array
    er2: F64Array
    typed: BoolArray


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SampleSummary:
    """All samples, NaN where there is nothing to tell by.

    Attributes:
        names: S names.
        call_rate: (S,) share of typed genotypes that are called.
        heterozygosity: (S,) heterozygous ones among those called, as a share of what panel frequencies foretell.
        accuracy: (S,) estimated r² over imputed sites with MAF of 1 % and more.
        in_panel: Panel samples that are the same person, by name.
        relatives: What the genotypes say a sample is to panel samples of other names, by its name.
    """

    names: tuple[str, ...]
    call_rate: F64Array
    heterozygosity: F64Array
    accuracy: F64Array
    in_panel: Mapping[str, str]
    relatives: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """A job at a glance.

    Attributes:
        manifest: The job.
        stretches: Its sites.
        samples: Its samples.
        costs: What each chunk took.
        qc: The summary of the QC table.
    """

    manifest: Manifest
    stretches: tuple[StretchSummary, ...]
    samples: SampleSummary
    costs: tuple[ChunkCost, ...]
    qc: Mapping[str, Any]


def summarise(manifest: Manifest, folder: Path, *, threads: int = 1) -> JobSummary:
    """Reads the chunks of a job, which must be done.

    Raises:
        TruncatedFileError: A chunk is missing or damaged.
        InputError: The summary of the QC table is gone.
        ProvenanceMismatchError: Panel or targets are not those that the job was planned with.
    """
    samples = _Samples(len(manifest.samples))
    stretches = []
    for number, stretch in enumerate(manifest.stretches):
        panel = load_panel(Path(stretch.panel), region=stretch.region, threads=threads, missing=manifest.panel_missing)
        require_same("panel", stretch.panel, stretch.panel_digest, panel.digest)
        targets = read_targets(folder, number, stretch)
        samples.add_typed(panel, targets)
        stretches.append(_stretch(manifest, folder, number, panel, targets, samples))
    costs = []
    for chunk in manifest.chunks:
        with ChunkReader(chunk_file(folder, chunk), manifest, chunk) as reader:
            costs.append(reader.cost())
    qc = _qc(Path(manifest.qc))
    return JobSummary(
        manifest=manifest,
        stretches=tuple(stretches),
        samples=dataclasses.replace(samples.summary(manifest.samples), relatives=_relatives(qc)),
        costs=tuple(costs),
        qc=qc,
    )


def _relatives(qc: Mapping[str, Any]) -> dict[str, str]:
    """What each sample is to panel samples of other names, as far as the genotypes tell."""
    found: dict[str, list[str]] = {}
    for pair in qc.get("likeness", ()):
        if pair["relation"] != Relation.UNDECIDED:
            what = _RELATIVES[pair["relation"]]
            found.setdefault(pair["sample"], []).append(f"{what} of panel sample {pair['panel_sample']}")
    return {sample: ", ".join(each) for sample, each in found.items()}


def _qc(table: Path) -> Mapping[str, Any]:
    path = summary_path(table)
    try:
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"the summary of the QC table cannot be read: {error}", path=path) from error
    return content


def _stretch(
    manifest: Manifest, folder: Path, number: int, panel: Panel, targets: StretchTargets, samples: _Samples
) -> StretchSummary:
    sites: list[I64Array] = []
    r2: list[F64Array] = []
    frequency = panel.alt_frequency()
    chunks = [chunk for chunk in manifest.chunks if chunk.stretch == number]
    for window in windows_of(manifest, folder, number, panel):
        of_window = [c for c in chunks if c.windows[0] <= window.number < c.windows[1]]
        of_window.sort(key=lambda chunk: chunk.samples)
        with contextlib.ExitStack() as stack:
            readers = [stack.enter_context(ChunkReader(chunk_file(folder, c), manifest, c)) for c in of_window]
            if not targets.written[window.start : window.stop].any():
                continue
            sites.append(window.start + np.flatnonzero(targets.written[window.start : window.stop]))
            if all(is_of_everybody(manifest, chunk) for chunk in of_window):
                r2 += [reader.r2(window.number) for reader in readers]
            else:
                r2 += _r2_of_batches(manifest, window, targets, readers)
            samples.add_imputed(np.concatenate([reader.samples(window.number) for reader in readers], axis=1))
    chosen = np.concatenate(sites) if sites else np.zeros(0, dtype=np.int64)
    return StretchSummary(
        contig=panel.contig,
        positions=panel.positions[chosen],
        maf=np.minimum(frequency, 1 - frequency)[chosen],
        r2=np.concatenate(r2) if r2 else np.zeros(0),
        er2=targets.er2[chosen],
        typed=targets.observed[chosen],
    )


def _r2_of_batches(
    manifest: Manifest, window: Window, targets: StretchTargets, readers: Sequence[ChunkReader]
) -> Iterator[F64Array]:
    """(L,) R2 of everybody at the sites that are written, piece by piece."""
    batches = [reader.pieces(window.number) for reader in readers]
    for place in pieces_of(window, targets.written, manifest.sites_per_piece):
        if len(place.written):
            first, *others = [next(batch).sums for batch in batches]
            yield sum(others, start=first).r2()


class _Samples:
    """Adds up what is known of each sample."""

    def __init__(self, n_samples: int) -> None:
        self._called, self._typed, self._heterozygous, self._expected, self._explained, self._total = np.zeros(
            (6, n_samples)
        )
        self._people: dict[int, str] = {}

    def add_typed(self, panel: Panel, targets: StretchTargets) -> None:
        frequency = panel.alt_frequency()[targets.observed]
        starts = targets.ploidy.starts
        for sample, n in enumerate(targets.ploidy.counts.tolist()):
            name = targets.names[int(starts[sample])]
            if not isinstance(name, External):
                self._people[sample] = name
            rows = np.asarray(targets.alleles[int(starts[sample]) : int(starts[sample]) + n])
            called: BoolArray = np.asarray((rows >= 0).all(axis=0))
            self._typed[sample] += len(called)
            self._called[sample] += called.sum()
            if n == 2:
                self._heterozygous[sample] += (called & (rows[0] != rows[1])).sum()
                self._expected[sample] += (2 * frequency * (1 - frequency))[called].sum()

    def add_imputed(self, certainty: F64Array) -> None:
        explained, total = certainty
        self._explained += explained
        self._total += total

    def summary(self, names: tuple[str, ...]) -> SampleSummary:
        return SampleSummary(
            names=names,
            call_rate=_ratio(self._called, self._typed),
            heterozygosity=_ratio(self._heterozygous, self._expected),
            accuracy=_ratio(self._explained, self._total),
            in_panel={names[sample]: name for sample, name in sorted(self._people.items())},
        )


def _ratio(part: F64Array, whole: F64Array) -> F64Array:
    return np.asarray(np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0), dtype=np.float64)
