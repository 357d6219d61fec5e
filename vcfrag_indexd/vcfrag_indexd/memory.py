"""How the C library keeps what was freed: less of it, so that a daemon is as small after an attack as before."""

from __future__ import annotations

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
ARENAS = 2
KEPT_BYTES = 8 * 1024 * 1024
# Larger allocations are mappings of their own, which go back to the system as soon as they are freed.
MAPPED_BYTES = 2 * 1024 * 1024


def return_freed_memory() -> None:
    """Tells glibc's allocator so; other C libraries are left alone."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_ARENA_MAX, ARENAS)
        library.mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
        library.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def trim() -> None:
    """Gives what the allocator keeps back to the system, where it can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
