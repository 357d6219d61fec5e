"""What a chunk will take: memory, which `--memory` relies on and is never more than foretold, and about how long.

Measured by `benchmarks/scale/jobs.py` and `vcfrag run-chunk` alone (docs/scale.md).
"""

from __future__ import annotations

from typing import Final

from vcfrag_train.jobs.manifest import Stretch

# Imports, and kernels that were compiled before.
BYTES_OF_A_PROCESS: Final = 280_000_000
# Panels up to this size are in memory whole; of larger ones the bits of the windows at work, and those of typed sites.
_MAX_WHOLE_PANEL: Final = 512 * 2**20
_PANEL_COPIES: Final = 1.5
_WINDOWS_OF_BITS: Final = 3
# Of a haplotype at each site: its alleles, a window's dosages and what is made of them, and those of the window before.
_BYTES_PER_CELL: Final = 1.0
_BYTES_PER_WINDOW_CELL: Final = 6.5
_BYTES_PER_CELL_BEFORE: Final = 9.5
# Of phasing, and of an unphased sample: phase sets and joint dosages at each site, phases at typed ones, and each draw.
_BYTES_OF_PHASING: Final = 120_000_000
_BYTES_PER_UNPHASED_SITE: Final = 8
_BYTES_PER_UNPHASED_TYPED: Final = 40
_BYTES_PER_DRAW: Final = 50_000

# Of one thread by copying alone: of a haplotype at each site, and at each typed one.
_SECONDS_PER_CELL: Final = 1.5e-7
_SECONDS_PER_TYPED: Final = 1.0e-6
# What the model takes more, of a haplotype at each site.
_SECONDS_PER_CORRECTED: Final = 5.5e-7
# Of a sample at each site, where it is put into records.
_SECONDS_PER_RECORD: Final = 3.5e-7
# Of an unphased sample: phase at each typed site, and draws, of which some are alike.
_SECONDS_PER_UNPHASED: Final = 3.5e-5
_DRAWS_THAT_DIFFER: Final = 0.87


def memory_of(stretch: Stretch, *, window: int, n_windows: int, n_samples: int, draws: int) -> int:
    """Bytes of a process that imputes a chunk; at least what it takes.

    Args:
        stretch: Of the chunk.
        window: Sites of its largest window.
        n_windows: Its windows: while one is made, the one before is written.
        n_samples: Its samples.
        draws: Of the phase of each unphased one.
    """
    of_window = _BYTES_PER_WINDOW_CELL + _BYTES_PER_CELL_BEFORE * (n_windows > 1)
    cells = 2 * n_samples * (_BYTES_PER_CELL * stretch.n_sites + of_window * window)
    unphased = _BYTES_PER_UNPHASED_SITE * stretch.n_sites + _BYTES_PER_UNPHASED_TYPED * stretch.n_typed
    phasing = min(n_samples, stretch.n_unphased) * (unphased + _BYTES_PER_DRAW * draws)
    phasing += _BYTES_OF_PHASING * (stretch.n_unphased > 0)
    return int(BYTES_OF_A_PROCESS + _panel_bytes(stretch, window) + cells + phasing)


def _panel_bytes(stretch: Stretch, window: int) -> float:
    whole = stretch.n_sites * stretch.n_haplotypes / 8
    if whole <= _MAX_WHOLE_PANEL:
        return _PANEL_COPIES * whole
    held = _WINDOWS_OF_BITS * window + 2 * stretch.n_typed
    return _PANEL_COPIES * _MAX_WHOLE_PANEL + held * stretch.n_haplotypes / 8


def seconds_of(stretch: Stretch, *, n_sites: int, unphased_share: float, draws: int, records: bool) -> float:
    """Seconds of one thread for a sample.

    Args:
        stretch: Of the chunk.
        n_sites: Sites of its windows.
        unphased_share: Of the samples, who are phased along the whole stretch.
        draws: Of the phase of each of them.
        records: Whether the chunk makes records; else `merge` does.
    """
    typed = stretch.n_typed * n_sites / stretch.n_sites
    copying = 2 * (n_sites * _SECONDS_PER_CELL + typed * _SECONDS_PER_TYPED)
    copying *= 1 + unphased_share * max(0.0, _DRAWS_THAT_DIFFER * draws - 1)
    phasing = unphased_share * stretch.n_typed * _SECONDS_PER_UNPHASED
    correcting = (not stretch.copying_only) * 2 * n_sites * _SECONDS_PER_CORRECTED
    return copying + phasing + correcting + records * n_sites * _SECONDS_PER_RECORD
