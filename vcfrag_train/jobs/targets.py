"""The targets of a stretch as a job keeps them: alleles at the typed sites, and what was decided of every site."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from vcfrag_core.errors import ProvenanceMismatchError
from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.files.tables.target_reference import read_target_reference
from vcfrag_core.hashing import hasher, update_part
from vcfrag_core.output.records import PassThroughRecord
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.retrieval.queries import EXTERNAL, External
from vcfrag_core.targets.target_reference import TargetReference
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import BoolArray, F64Array, I8Array, I32Array
from vcfrag_train.jobs.manifest import Stretch

_NOBODY: Final = ""
_BLOCK: Final = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StretchTargets:
    """All samples on one stretch.

    Attributes:
        ploidy: Whose haplotypes are whose.
        observed: (V,) typed sites.
        written: (V,) sites that go to the output.
        er2: (V,) leave-one-out r², NaN where there is none.
        alleles: (Q, M) alleles at the typed sites as they were read, -1 missing.
        names: (Q,) panel samples whose groups are not retrieved, or EXTERNAL.
        kept: Records of the target that are passed through.
        phase_sets: (S, M) phase set of each heterozygote, as `Targets` has them; None where all phases are known.
    """

    ploidy: Ploidy
    observed: BoolArray
    written: BoolArray
    er2: F64Array
    alleles: I8Array
    names: tuple[str | External, ...]
    kept: tuple[PassThroughRecord, ...] = ()
    phase_sets: I32Array | None = None

    def of_samples(self, start: int, stop: int, samples: Sequence[str]) -> Targets:
        """Samples `start` to just before `stop` at all sites.

        Args:
            start, stop: Numbers of samples.
            samples: Names of all of them.
        """
        first, last = (int(self.ploidy.starts[s]) for s in (start, stop))
        dense = np.full((last - first, len(self.observed)), -1, dtype=np.int8)
        dense[:, self.observed] = self.alleles[first:last]
        sets = None
        if self.phase_sets is not None:
            sets = np.zeros((stop - start, len(self.observed)), dtype=np.int32)
            sets[:, self.observed] = self.phase_sets[start:stop]
        return Targets(
            samples=tuple(samples[start:stop]),
            ploidy=self.ploidy.select(np.arange(start, stop)),
            alleles=dense,
            observed=self.observed,
            names=self.names[first:last],
            phase_sets=sets,
        )


def write_targets(targets: StretchTargets, folder: Path, number: int) -> str:
    """Writes the files of a stretch; returns their digest."""
    table, alleles, sets = _files(folder, number)
    names = [_NOBODY if isinstance(name, External) else name for name in targets.names]
    kept = targets.kept
    _save(targets.alleles, alleles)
    if targets.phase_sets is not None:
        _save(targets.phase_sets, sets)
    columns: dict[str, Any] = {
        "observed": np.packbits(targets.observed),
        "written": np.packbits(targets.written),
        "er2": targets.er2[targets.observed],
        "n_sites": np.array(len(targets.observed)),
        "ploidy": np.array(str(targets.ploidy)),
        "names": np.array("\n".join(names)),
        "kept_sites": np.array("\n".join(f"{k.position}\t{k.site_id}\t{k.ref}\t{','.join(k.alts)}" for k in kept)),
        "kept_alleles": np.array([k.alleles for k in kept], dtype=np.int8),
        "kept_unphased": np.array([_unphased(k) for k in kept], dtype=np.bool_),
        "has_sets": np.array(targets.phase_sets is not None),
    }
    with atomic_path(table) as temporary, temporary.open("wb") as file:
        np.savez(file, **columns)
    return _digest([alleles] if targets.phase_sets is None else [alleles, sets], columns)


def read_targets(folder: Path, number: int, stretch: Stretch) -> StretchTargets:
    """What was written, the alleles mapped into memory.

    Args:
        folder: The job's folder.
        number: Which stretch.
        stretch: What the manifest says of it.

    Raises:
        ProvenanceMismatchError: The files are not those of the manifest.
    """
    n_sites = stretch.n_sites
    table, alleles, sets = _files(folder, number)
    try:
        with np.load(table, allow_pickle=False) as stored:
            columns = {name: stored[name] for name in stored.files}
        has_sets = bool(columns["has_sets"])
        if _digest([alleles, sets] if has_sets else [alleles], columns) != stretch.targets:
            raise ProvenanceMismatchError(
                f"{alleles} and {table.name} are not the targets that the job was planned with; plan again"
            )
        observed, written = (_flags(columns[name], n_sites) for name in ("observed", "written"))
        er2 = np.full(n_sites, np.nan)
        er2[observed] = columns["er2"]
        ploidy = Ploidy.parse(str(columns["ploidy"]))
        names = str(columns["names"]).split("\n")
        kept = _kept(str(columns["kept_sites"]), columns["kept_alleles"], columns["kept_unphased"], ploidy)
        mapped = np.load(alleles, mmap_mode="r", allow_pickle=False)
        phase_sets = np.load(sets, mmap_mode="r", allow_pickle=False) if has_sets else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ProvenanceMismatchError(f"{table} and {alleles.name} are not as planned ({error}); plan again") from error
    return StretchTargets(
        ploidy=ploidy,
        observed=observed,
        written=written,
        er2=er2,
        alleles=mapped,
        names=tuple(name or EXTERNAL for name in names),
        kept=kept,
        phase_sets=phase_sets,
    )


def target_reference_file(folder: Path, number: int) -> Path:
    """Where a stretch's targets lie that serve as references."""
    return folder / f"targets-{number:04d}.reference.npz"


def target_reference_of(folder: Path, number: int, stretch: Stretch) -> TargetReference | None:
    """A stretch's targets that serve as references; None where nobody does.

    Raises:
        ProvenanceMismatchError: The file is not that of the manifest.
    """
    if not stretch.target_reference:
        return None
    return read_target_reference(target_reference_file(folder, number), stretch.contig, stretch.target_reference)


def _files(folder: Path, number: int) -> tuple[Path, Path, Path]:
    """The table, the alleles and the phase sets of a stretch."""
    stem = f"targets-{number:04d}"
    return folder / f"{stem}.npz", folder / f"{stem}.npy", folder / f"{stem}.sets.npy"


def _save(array: I8Array | I32Array, path: Path) -> None:
    """Writes an array as `np.save` does, but so that the system says why it cannot."""
    rows = np.ascontiguousarray(array)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(rows))
        file.write(rows.reshape(-1).view(np.uint8).data)


def _digest(files: Sequence[Path], columns: Mapping[str, np.ndarray[Any, np.dtype[Any]]]) -> str:
    """Digest of whole files, of which little is in memory at a time, and of a table's columns."""
    made = hasher("targets")
    for path in files:
        made.update(path.stat().st_size.to_bytes(8, "little"))
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                made.update(block)
    for name, column in columns.items():
        update_part(made, name)
        update_part(made, column.dtype.str)
        update_part(made, column.tobytes())
    return made.hexdigest()


def _unphased(kept: PassThroughRecord) -> BoolArray:
    return np.zeros(kept.ploidy.n_samples, dtype=np.bool_) if kept.unphased is None else kept.unphased


def _flags(packed: np.ndarray[tuple[int], np.dtype[np.uint8]], n: int) -> BoolArray:
    return np.unpackbits(packed, count=n).astype(np.bool_)


def _kept(text: str, alleles: I8Array, unphased: BoolArray, ploidy: Ploidy) -> tuple[PassThroughRecord, ...]:
    made = []
    for line, row, no_phase in zip(text.split("\n") if text else [], alleles, unphased, strict=True):
        position, site_id, ref, alts = line.split("\t")
        made.append(
            PassThroughRecord(
                position=int(position),
                site_id=site_id,
                ref=ref,
                alts=tuple(alts.split(",")) if alts else (),
                alleles=row,
                ploidy=ploidy,
                unphased=no_phase if no_phase.any() else None,
            )
        )
    return tuple(made)
