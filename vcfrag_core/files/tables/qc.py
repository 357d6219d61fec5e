"""The QC file: a table of target records that were not simply used, and a JSON summary beside it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.files.tables.names import summary_path
from vcfrag_core.targets.cohort import Verdict
from vcfrag_core.targets.records import MEANING, Reason, TargetRecords
from vcfrag_core.targets.sites.matching import Matching

COLUMNS = ("contig", "position", "ref", "alt", "reason", "used", "meaning")


def verdicts_of(records: TargetRecords, matching: Matching) -> list[Verdict]:
    """What the table says of a contig: every record that was not used just as it was."""
    return [
        Verdict(
            records.contig,
            int(records.positions[i]),
            records.refs[i],
            ",".join(records.alts[i]) or ".",
            reason,
        )
        for i, reason in enumerate(matching.reasons)
        if reason is not Reason.USED
    ]


def write_qc(path: str | Path, table: Iterable[Verdict], summary: Mapping[str, object]) -> None:
    """Writes the table (tab-separated, one header line) and the summary."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(COLUMNS)
        for e in table:
            used = "yes" if e.reason.is_used else "no"
            writer.writerow([e.contig, e.position, e.ref, e.alt, e.reason.value, used, MEANING[e.reason]])
    with atomic_path(summary_path(path)) as temporary:
        temporary.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
