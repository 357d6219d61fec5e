"""Small panels kept the way in which large ones are."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from vcfrag_core.panel import growing_bits, storage
from vcfrag_core.panel.compact import CompactBits
from vcfrag_core.panel.growing_bits import GrowingBits
from vcfrag_core.panel.panel import Panel

BLOCK_SITES = 64


@contextlib.contextmanager
def every_panel_is_large(block_sites: int = BLOCK_SITES) -> Iterator[None]:
    """Whatever is read or selected meanwhile is kept in compact blocks of so many sites."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "DENSE_BYTES", 0)
        patch.setattr(growing_bits, "_MIN_BLOCK_SITES", block_sites)
        patch.setattr(growing_bits, "_MAX_BLOCK_SITES", block_sites)
        yield


def compact(panel: Panel, block_sites: int = BLOCK_SITES) -> Panel:
    """The same panel in compact blocks."""
    with every_panel_is_large(block_sites):
        growing = GrowingBits(panel.n_haplotypes)
        for start in range(0, panel.n_sites, 24):
            sites = np.arange(start, min(start + 24, panel.n_sites))
            growing.append(panel.bits.alleles(sites).T.astype(np.bool_))
        bits = growing.finish()
    assert isinstance(bits, CompactBits)
    return dataclasses.replace(panel, bits=bits)
