"""What a process keeps in memory that it does not need, and the most that it had."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_NEW_OBJECTS: Final = 10_000
_NEW_OBJECTS_AT_START: Final = 500_000
_M_ARENA_MAX: Final = -8
_MADV_DONTNEED: Final = 4
_SMAPS = Path("/proc/self/smaps")
_STATUS = Path("/proc/self/status")
_PEAK = re.compile(rb"^VmHWM:\s+([0-9]+) kB$", re.MULTILINE)
# macOS counts bytes, other systems kilobytes.
_MAXRSS_BYTES: Final = 1 if sys.platform == "darwin" else 1024
# Start and end of a mapping, its protection and its file.
_MAPPING = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)$", re.MULTILINE)
_COMPILER = re.compile(rb"llvmlite|libLLVM")


def share_one_heap() -> None:
    """Lets all threads of this process allocate from one heap; without it each keeps what others could use.

    To be called before threads are started. `MALLOC_ARENA_MAX` of the environment is obeyed instead, and allocators
    other than glibc's are left as they are.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with contextlib.suppress(AttributeError, OSError, TypeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def start_without_collecting() -> None:
    """Keeps Python from looking for cyclic garbage until `collect_seldom` is called, or something is amiss.

    A start makes a quarter of a million objects, nearly all to stay; looking through them took 0.1 s.
    """
    gc.set_threshold(_NEW_OBJECTS_AT_START)


def collect_seldom() -> None:
    """Lets Python look for cyclic garbage after ten thousand new objects, not after 700, and not at those of the start.

    To be called when modules are imported, and before panels and targets are read: they may go again.
    """
    if gc.get_threshold()[0] == _NEW_OBJECTS_AT_START:
        gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)


def peak_bytes() -> int:
    """The most memory that this process has had.

    What the system counts for a process begins with that of its starter, so Linux is asked for the program's own.
    """
    with contextlib.suppress(OSError):
        if found := _PEAK.search(_STATUS.read_bytes()):
            return 1024 * int(found[1])
    return _MAXRSS_BYTES * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def release_compiler() -> None:
    """Lets pages of the compiler's library go, which loading kernels touched: about 60 MB, read again where needed.

    Does nothing on systems that do not tell which pages these are.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        advise = ctypes.CDLL(None).madvise
        for start, stop in _unchanged_mappings(_SMAPS.read_bytes()):
            advise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), _MADV_DONTNEED)


def _unchanged_mappings(smaps: bytes) -> Iterator[tuple[int, int]]:
    """Addresses of the compiler's mappings that nothing has written to, and nothing can: the file holds all of them."""
    headers = list(_MAPPING.finditer(smaps))
    # Where nothing is told, there is no header either, and one end.
    ends = [header.start() for header in headers[1:]] + [len(smaps)]
    for header, end in zip(headers, ends, strict=False):
        start, stop, protection, name = header.groups()
        described = smaps[header.end() : end]
        is_unchanged = re.search(rb"^Anonymous: +0 kB$", described, re.MULTILINE) is not None
        if _COMPILER.search(name) and b"w" not in protection and is_unchanged:
            yield int(start, 16), int(stop, 16)
