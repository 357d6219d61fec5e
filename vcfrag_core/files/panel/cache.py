"""A binary cache of panels, so that a VCF is parsed once."""

from __future__ import annotations

import functools
import glob
import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from vcfrag_core.errors import CacheError, OutputError
from vcfrag_core.files.panel.binary import Key
from vcfrag_core.files.panel.calls import MissingRule
from vcfrag_core.files.panel.prepared import is_prepared, read_own, read_prepared, write_prepared
from vcfrag_core.files.panel.reader import only_stretch, read_panels
from vcfrag_core.files.panel.remade import RemadeBlocks
from vcfrag_core.files.vcf.reader import open_vcf, parse_region
from vcfrag_core.kernel_cache import user_cache
from vcfrag_core.panel.compact import BlockStore, CompactBits
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.storage import DenseBits

CACHE_DIR_VARIABLE = "VCFRAG_CACHE_DIR"

_log = logging.getLogger(__name__)
_MAX_HASHING_THREADS = 8
# Another one wherever the same file is read as another panel than before: entries of an earlier reading are not used.
_READING = 2
# What is looked at of a panel's file besides its size, time and header: so many stretches of so many bytes.
_STRETCHES = 16
_STRETCH_BYTES = 4096


def load_panel(
    path: str | Path,
    *,
    region: str | None = None,
    cache_dir: str | Path | None = None,
    verify_source: bool = False,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
    missing: MissingRule = MissingRule.REFUSE,
) -> Panel:
    """The panel of a file, along which nobody's ploidy changes; otherwise as `load_panels`.

    Raises:
        PloidyError: There are several stretches; names their regions.
    """
    stretches = load_panels(
        path,
        region=region,
        cache_dir=cache_dir,
        verify_source=verify_source,
        threads=threads,
        progress=progress,
        missing=missing,
    )
    return only_stretch(stretches, path)


def load_panels(
    path: str | Path,
    *,
    region: str | None = None,
    cache_dir: str | Path | None = None,
    verify_source: bool = False,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
    missing: MissingRule = MissingRule.REFUSE,
) -> list[Panel]:
    """The panels of a prepared panel, or of a VCF or BCF: from the cache where it was read before, else put there.

    An entry is used only if path, size, modification time, header, some stretches of the file's bytes and region are
    those that it was made from and all its checksums are right; any other is made again, with a logged warning if it
    is damaged, be it that a large panel's block turns out so when it is used. A cache that cannot be written is
    logged, too, and nothing else.

    Args:
        path: The prepared panel, VCF or BCF.
        region: See `read_panels`.
        cache_dir: Where entries lie; `cache_folder()` unless given.
        verify_source: Read the VCF in any case and compare.
        threads: Threads that decompress and hash.
        progress: See `read_panels`; not called where the cache answers.
        missing: See `read_panels`.

    Raises:
        CacheError: `verify_source` found other content in the VCF than in the cache; a damaged prepared panel.
        InputError: See `read_panels`.
    """
    if is_prepared(path):
        return read_prepared(Path(path), None if region is None else parse_region(region), threads=threads)
    key = _key(Path(path), region, missing)
    entry = (Path(cache_dir) if cache_dir is not None else cache_folder()) / _name(key)
    hashing = max(threads, min(_MAX_HASHING_THREADS, os.cpu_count() or 1))
    cached = _lookup(entry, key, hashing)

    def read(progress: Callable[[int], None] | None = None) -> list[Panel]:
        return read_panels(
            path, region=region, threads=threads, progress=progress, missing=missing, scratch=entry.parent
        )

    def stored(panels: list[Panel]) -> list[Panel]:
        # What was read of a file that has changed since must not be found again under what it was.
        if _key(Path(path), region, missing) != key:
            _log.warning("panel cache not written: %s has changed since it was opened", path)
            return panels
        return _stored(entry, panels, key, hashing)

    def kept(panels: list[Panel]) -> list[Panel]:
        for number, panel in enumerate(panels):
            if isinstance(panel.bits, CompactBits):
                # Its blocks are looked at when they are used.
                remake = functools.partial(_made_again, lambda: stored(read()), panel, number)
                panel.bits.store = RemadeBlocks(panel.bits.store, remake)
        return panels

    if cached is not None and not verify_source:
        return kept(cached)
    panels = read(progress)
    if cached is None:
        return kept(stored(panels))
    if (now := _digests(panels)) != (then := _digests(cached)):
        raise CacheError(
            f"holds panel {then}, but {path} now holds {now} with the same size, time and header; remove the cache"
            " entry",
            path=entry,
        )
    return panels


def _made_again(read: Callable[[], list[Panel]], panel: Panel, number: int) -> BlockStore:
    """The blocks of a panel whose cache entry is damaged, from its source."""
    panels = read()
    made = panels[number].bits if number < len(panels) else None
    mine = panel.bits
    same = isinstance(made, CompactBits) and isinstance(mine, CompactBits) and made.block_sites == mine.block_sites
    if not same or panels[number].digest != panel.digest:
        raise CacheError(f"its cache is damaged, and it holds another panel now: run again ({panel.source})")
    return cast("CompactBits", made).store


def _digests(panels: Sequence[Panel]) -> str:
    return " and ".join(panel.digest for panel in panels)


def cache_folder() -> Path:
    """$VCFRAG_CACHE_DIR, else `vcfrag` in $XDG_CACHE_HOME, else in ~/.cache."""
    if chosen := os.environ.get(CACHE_DIR_VARIABLE):
        return Path(chosen)
    return _usual_folder()


def _make_private(folder: Path) -> None:
    """A folder that only its owner may enter, if it is made here or is the usual one; one that was named stays."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    elif folder == _usual_folder() and folder.stat().st_uid == os.geteuid() and folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def _usual_folder() -> Path:
    return user_cache() / "vcfrag"


def _key(path: Path, region: str | None, missing: MissingRule) -> Key:
    with open_vcf(path, region=region) as reader:
        header = hashlib.blake2b(reader.header.encode(), digest_size=16).hexdigest()
    status = path.stat()
    return {
        "path": str(path.absolute()),
        "region": region,
        "size": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "header": header,
        "bytes": _some_bytes(path, status.st_size),
        "missing": missing.value,
        "reading": _READING,
    }


def _some_bytes(path: Path, size: int) -> str:
    """Digest of evenly spread stretches of a file, first and last among them: its times can be put back."""
    made = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        for number in range(_STRETCHES):
            file.seek(max(0, size - _STRETCH_BYTES) * number // (_STRETCHES - 1))
            made.update(file.read(_STRETCH_BYTES))
    return made.hexdigest()


def _name(key: Key) -> str:
    """Of an entry: the file's, then path and region, then what was read."""
    return f"{_place(key)}-{_digest(json.dumps(dict(key), sort_keys=True))}.panel"


def _place(key: Key) -> str:
    """What the names of all entries of one path and region begin with."""
    place = _digest(f"{key['path']}\n{key['region'] or ''}")
    return f"{Path(str(key['path'])).name}-{place}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _lookup(entry: Path, key: Key, threads: int) -> list[Panel] | None:
    if not entry.is_file():
        return None
    try:
        return read_own(entry, key, threads=threads)
    except (CacheError, OSError) as error:
        _log.warning("panel cache not used and made again: %s", error)
        return None


def _stored(entry: Path, panels: list[Panel], key: Key, threads: int) -> list[Panel]:
    """Puts panels into the cache; they, and of large ones those in the cache, so that their temporary files can go."""
    try:
        _make_private(entry.parent)
        write_prepared(entry, panels, key, threads=threads, private=True)
        # Whoever has read an older entry keeps what it read.
        for older in entry.parent.glob(f"{glob.escape(_place(key))}*.panel"):
            if older != entry:
                older.unlink(missing_ok=True)
    except (OSError, OutputError) as error:
        _log.warning("panel cache not written: %s", error)
        return panels
    if all(isinstance(panel.bits, DenseBits) for panel in panels):
        return panels
    return _lookup(entry, key, threads) or panels
