"""The QC file: a table of target records that were not simply used, and a JSON summary beside it."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from vcfrag_core.errors import InputError
from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_core.targets.matching import Matching
from vcfrag_core.targets.records import MEANING, Reason, TargetRecords

COLUMNS = ("contig", "position", "ref", "alt", "reason", "used", "meaning")


@dataclasses.dataclass(frozen=True, slots=True)
class QcEntry:
    """A target record and what became of it."""

    contig: str
    position: int
    ref: str
    alt: str
    reason: Reason


def entries(records: TargetRecords, matching: Matching) -> list[QcEntry]:
    """What the table says of a contig: every record that was not used just as it was."""
    return [
        QcEntry(
            records.contig,
            int(records.positions[i]),
            records.refs[i],
            ",".join(records.alts[i]) or ".",
            reason,
        )
        for i, reason in enumerate(matching.reasons)
        if reason is not Reason.USED
    ]


def summary_path(path: str | Path) -> Path:
    """Where the JSON summary lies: beside the table, with the suffix .json."""
    return Path(path).with_suffix(".json")


def write_qc(path: str | Path, table: Iterable[QcEntry], summary: Mapping[str, object]) -> None:
    """Writes the table (tab-separated, one header line) and the summary."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(COLUMNS)
        for e in table:
            used = "yes" if e.reason.is_used else "no"
            writer.writerow([e.contig, e.position, e.ref, e.alt, e.reason.value, used, MEANING[e.reason]])
    with atomic_path(summary_path(path)) as temporary:
        temporary.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_qc(path: str | Path) -> list[QcEntry]:
    """The table of a QC file; columns beyond `used` may be missing.

    Raises:
        InputError: No such file, or a line that is not of this form.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    except UnicodeDecodeError as error:
        raise InputError(f"not a QC file: {error}", path=path) from error
    if not lines or lines[0].split("\t")[:5] != list(COLUMNS[:5]):
        raise InputError(f"not a QC file: its first line must be {' '.join(COLUMNS)}, tab-separated", path=path)
    return [_parse(line, number, path) for number, line in enumerate(lines[1:], start=2) if line]


def apply_qc(records: TargetRecords, matching: Matching, listed: Iterable[QcEntry]) -> Matching:
    """The matching with a QC file's verdicts: what it drops is dropped, what it repaired is repaired, all else stays.

    Records are found by contig (with or without `chr`), position, REF and ALT.
    """
    wanted = {
        (e.position, e.ref, e.alt): e.reason for e in listed if contig_alias(e.contig, [records.contig]) is not None
    }
    repairing = {
        (Reason.SWAPPED, Reason.SWAP_REPAIRED),
        (Reason.FLIPPED, Reason.FLIP_REPAIRED),
        (Reason.FLIPPED_SWAPPED, Reason.BOTH_REPAIRED),
    }
    changed: dict[int, Reason] = {}
    for i, own in enumerate(matching.reasons):
        key = (int(records.positions[i]), records.refs[i], ",".join(records.alts[i]) or ".")
        verdict = wanted.get(key)
        if verdict is None or verdict is own:
            continue
        if (own, verdict) in repairing:
            changed[i] = verdict
        elif own.is_used and not verdict.is_used:
            kept = verdict in (Reason.INVERTED, Reason.CONTRADICTED, Reason.NO_CALLS)
            changed[i] = verdict if kept else Reason.LISTED
    return matching.with_reasons(changed)


def _parse(line: str, number: int, path: str | Path) -> QcEntry:
    parts = line.split("\t")
    if len(parts) < 5 or not parts[1].isdigit():
        raise InputError("needs contig, position, ref, alt and reason", path=path, record=f"line {number}")
    try:
        reason = Reason(parts[4])
    except ValueError:
        known = ", ".join(reason.value for reason in Reason)
        raise InputError(f"unknown reason {parts[4]!r}; known: {known}", path=path, record=f"line {number}") from None
    return QcEntry(parts[0], int(parts[1]), parts[2].upper(), parts[3].upper(), reason)
