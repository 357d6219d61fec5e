"""What a panel is read from: a file, or a contig or region of one."""

from __future__ import annotations

from pathlib import Path


def panel_source(value: str | Path) -> tuple[Path, str | None]:
    """File and region of `FILE` or `FILE@REGION`, the region None for all of it.

    Where there is a file of the whole name, it is that file; else what follows the last `@` is the region, `20` or
    `20:100-200`.
    """
    text = str(value)
    file, at, region = text.rpartition("@")
    if Path(text).is_file() or not (at and file and region) or "/" in region:
        return Path(text), None
    return Path(file), region
