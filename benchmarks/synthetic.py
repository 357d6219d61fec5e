"""Panels that no file holds: mosaics of founders, made as bits, so that a whole chromosome takes seconds."""

from __future__ import annotations

import numpy as np

from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.storage import DenseBits
from vcfrag_core.types import U8Array

FOUNDERS = 128
PIECE_BYTES = 32
FLIPPED_SHARE = 0.002


def panel(n_haplotypes: int, n_sites: int, *, seed: int = 1) -> Panel:
    """A panel whose haplotypes copy pieces of 256 sites from 128 founders, with 0.2 % of alleles changed."""
    n_bytes = (n_sites + 7) // 8
    packed = mosaic(n_haplotypes, n_bytes, seed)
    if n_sites % 8:
        packed[:, -1] &= np.uint8((1 << n_sites % 8) - 1)
    return Panel(
        contig="21",
        positions=(1000 + 120 * np.arange(n_sites)).astype(np.int32),
        refs=("A",) * n_sites,
        alts=("C",) * n_sites,
        site_ids=(".",) * n_sites,
        samples=tuple(f"S{i:06d}" for i in range(n_haplotypes // 2)),
        ploidy=Ploidy.diploid(n_haplotypes // 2),
        bits=DenseBits(packed, n_sites),
        source="synthetic",
    )


def mosaic(n_haplotypes: int, n_bytes: int, seed: int) -> U8Array:
    """(H, bytes) packed haplotypes, made piece by piece."""
    rng = np.random.default_rng(seed)
    packed = np.empty((n_haplotypes, n_bytes), dtype=np.uint8)
    for begin in range(0, n_bytes, PIECE_BYTES):
        stop = min(begin + PIECE_BYTES, n_bytes)
        n_bits = 8 * (stop - begin)
        frequency = rng.beta(0.3, 0.9, n_bits)
        founders = np.packbits(rng.random((FOUNDERS, n_bits)) < frequency, axis=1, bitorder="little")
        packed[:, begin:stop] = founders[rng.integers(0, FOUNDERS, n_haplotypes)]
    n_flipped = int(FLIPPED_SHARE * 8 * packed.size)
    where = rng.integers(0, packed.size, n_flipped)
    packed.reshape(-1)[where] ^= (1 << rng.integers(0, 8, n_flipped)).astype(np.uint8)
    return packed
