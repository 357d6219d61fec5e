"""A binary cache of panels, so that a VCF is parsed once."""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from vcfrag_core.errors import CacheError
from vcfrag_core.files.panel.binary import Key, read_panel_file, write_panel_file
from vcfrag_core.files.panel.reader import read_panel
from vcfrag_core.files.vcf.reader import open_vcf
from vcfrag_core.panel.panel import Panel

CACHE_DIR_VARIABLE = "VCFRAG_CACHE_DIR"

_log = logging.getLogger(__name__)
_MAX_HASHING_THREADS = 8


def load_panel(
    path: str | Path,
    *,
    region: str | None = None,
    cache_dir: str | Path | None = None,
    verify_source: bool = False,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Panel:
    """The panel of a VCF or BCF, from the cache where it was read before, else read and put there.

    An entry is used only if path, size, modification time, header and region are those that it was made from and
    all its checksums are right; any other is made again, with a logged warning if it is damaged. A cache that cannot
    be written is logged, too, and nothing else.

    Args:
        path: The VCF or BCF.
        region: See `read_panel`.
        cache_dir: Where entries lie; `cache_folder()` unless given.
        verify_source: Read the VCF in any case and compare.
        threads: Threads that decompress and hash.
        progress: See `read_panel`; not called where the cache answers.

    Raises:
        CacheError: `verify_source` found other content in the VCF than in the cache.
        InputError: See `read_panel`.
    """
    key = _key(Path(path), region)
    entry = (Path(cache_dir) if cache_dir is not None else cache_folder()) / _name(key)
    hashing = max(threads, min(_MAX_HASHING_THREADS, os.cpu_count() or 1))
    cached = _lookup(entry, key, hashing)
    if cached is not None and not verify_source:
        return cached
    panel = read_panel(path, region=region, threads=threads, progress=progress)
    if cached is None:
        _store(entry, panel, key, hashing)
    elif panel.digest != cached.digest:
        raise CacheError(
            f"holds panel {cached.digest}, but {path} now holds {panel.digest} with the same size, time and header;"
            " remove the cache entry",
            path=entry,
        )
    return panel


def cache_folder() -> Path:
    """$VCFRAG_CACHE_DIR, else `vcfrag` in $XDG_CACHE_HOME, else in ~/.cache."""
    if chosen := os.environ.get(CACHE_DIR_VARIABLE):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vcfrag"


def _make_private(folder: Path) -> None:
    """A folder that only its owner may enter, if it is made here or is the usual one."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    elif folder == cache_folder() and folder.stat().st_uid == os.geteuid() and folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def _key(path: Path, region: str | None) -> Key:
    with open_vcf(path, region=region) as reader:
        header = hashlib.blake2b(reader.header.encode(), digest_size=16).hexdigest()
    status = path.stat()
    return {
        "path": str(path.absolute()),
        "region": region,
        "size": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "header": header,
    }


def _name(key: Key) -> str:
    """Of an entry: the file's, then path and region, then what was read."""
    return f"{_place(key)}-{_digest(json.dumps(dict(key), sort_keys=True))}.panel"


def _place(key: Key) -> str:
    """What the names of all entries of one path and region begin with."""
    place = _digest(f"{key['path']}\n{key['region'] or ''}")
    return f"{Path(str(key['path'])).name}-{place}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _lookup(entry: Path, key: Key, threads: int) -> Panel | None:
    if not entry.is_file():
        return None
    try:
        return read_panel_file(entry, key, threads=threads)
    except (CacheError, OSError) as error:
        _log.warning("panel cache not used and made again: %s", error)
        return None


def _store(entry: Path, panel: Panel, key: Key, threads: int) -> None:
    try:
        _make_private(entry.parent)
        write_panel_file(entry, panel, key, threads=threads)
        # Whoever has read an older entry keeps what it read.
        for older in entry.parent.glob(f"{glob.escape(_place(key))}*.panel"):
            if older != entry:
                older.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("panel cache not written: %s", error)
