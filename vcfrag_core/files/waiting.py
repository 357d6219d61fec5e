"""Arrays that wait for their turn on disk: mapped into memory, they take none while nobody looks at them."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from vcfrag_core.targets.calls import TargetCalls

A = TypeVar("A", bound=np.generic)

# Smaller ones are not worth a file.
MIN_BYTES: Final = 1 << 20


def on_disk(calls: TargetCalls, folder: Path) -> TargetCalls:
    """The calls, their large arrays in files of a folder, which have no name there and are gone when the calls are.

    Raises:
        OSError: There is no room, or the folder cannot be written to.
    """
    return dataclasses.replace(
        calls,
        alleles=_mapped(calls.alleles, folder),
        is_phased=_mapped(calls.is_phased, folder),
        phase_sets=None if calls.phase_sets is None else _mapped(calls.phase_sets, folder),
    )


def _mapped(array: np.ndarray[tuple[int, ...], np.dtype[A]], folder: Path) -> np.ndarray[tuple[int, ...], np.dtype[A]]:
    if array.nbytes < MIN_BYTES or _is_mapped(array):
        return array
    with tempfile.TemporaryFile(dir=folder, prefix=".waiting-") as file:
        # Not by `tofile`, which does not say why it could not.
        file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        file.flush()
        # Who writes to it changes a page of its own, as with any other array.
        return np.asarray(np.memmap(file, dtype=array.dtype, mode="c", shape=array.shape))


def _is_mapped(array: np.ndarray[tuple[int, ...], np.dtype[A]]) -> bool:
    return isinstance(array.base, np.memmap)
