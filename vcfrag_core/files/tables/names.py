"""What tables are called that lie beside others; apart, since a command that only names them reads none."""

from __future__ import annotations

from pathlib import Path


def summary_path(table: str | Path) -> Path:
    """Where the JSON summary of a QC table lies: beside it, with the suffix .json."""
    return Path(table).with_suffix(".json")


def beside_record(record: Path) -> Path:
    """The file of targets that serve as references, which belongs to a cohort record."""
    return Path(f"{str(record).removesuffix('.json')}.npz")
