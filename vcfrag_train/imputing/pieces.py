"""The output's records of imputed windows, a few sites at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vcfrag_core.files.vcf.reader import parse_region
from vcfrag_core.output.records import OutputRecords, PassThroughRecord, site_records
from vcfrag_core.panel.windows import Window
from vcfrag_core.targets.records import Reason
from vcfrag_core.types import F32Array, I64Array
from vcfrag_train.imputing.checks import CheckedTarget
from vcfrag_train.imputing.config import ImputeConfig
from vcfrag_train.imputing.min_r2 import with_min_r2
from vcfrag_train.imputing.selection import chosen_sites

_CELLS_PER_PIECE = 25_000


_PASSED_THROUGH = {
    Reason.NOT_IN_PANEL,
    Reason.OTHER_ALLELES,
    Reason.NO_ALT,
    Reason.MULTIALLELIC,
    Reason.DUPLICATE,
}


class WindowPieces:
    """Makes the records of windows, a few at a time."""

    def __init__(self, checked: CheckedTarget, config: ImputeConfig) -> None:
        self._target = checked
        self._written = checked.written & chosen_sites(checked.panel, checked.observed, config.sites)
        self._min_r2 = config.min_r2
        self._er2 = checked.er2
        self._column = np.cumsum(checked.observed) - 1
        self._with_loo = "LOO" in config.formats and checked.loo is not None
        self._kept = pass_through_records(checked, config.region) if config.pass_through else []
        self._step = max(1, _CELLS_PER_PIECE // len(checked.records.samples))

    def n_written(self, window: Window) -> int:
        """How many sites of the window go to the output, where no estimated r² keeps them from it."""
        return int(self._written[window.start : window.stop].sum())

    def of(self, window: Window, dosage: F32Array, both: F32Array | None = None) -> Iterator[OutputRecords]:
        """The window's records.

        Args:
            window: The window.
            dosage: (Q, L) haplotype dosages.
            both: (S, L) probability that both haplotypes carry ALT, where they depend on each other; see `Integrated`.
        """
        for start in range(window.start, window.stop, self._step):
            stop = min(start + self._step, window.stop)
            sites = start + np.flatnonzero(self._written[start:stop])
            target = self._target
            records = site_records(
                target.panel,
                sites,
                dosage=dosage[:, sites - window.start],
                alleles=target.alleles_at(sites),
                typed=target.observed[sites],
                er2=self._er2[sites],
                loo=self._loo(sites) if self._with_loo else None,
                kept=self._between(start, stop),
                ploidy=target.ploidy,
                both=None if both is None else both[:, sites - window.start],
            )
            yield with_min_r2(records, self._min_r2)

    def _loo(self, sites: I64Array) -> F32Array:
        """(Q, L) leave-one-out dosages, NaN at sites that are not typed."""
        loo = self._target.loo
        out = np.full((len(self._target.alleles), len(sites)), np.nan, dtype=np.float32)
        typed = self._target.observed[sites]
        if loo is not None:
            out[:, typed] = loo[:, self._column[sites[typed]]]
        return out

    def _between(self, start: int, stop: int) -> list[PassThroughRecord]:
        """Kept records from site `start` to just before site `stop`; the contig's ends take what lies beyond."""
        positions = self._target.panel.positions
        low = int(positions[start]) if start else 0
        high = int(positions[stop]) if stop < len(positions) else np.iinfo(np.int64).max
        return [kept for kept in self._kept if low <= kept.position < high]


def pass_through_records(checked: CheckedTarget, region: str | None) -> list[PassThroughRecord]:
    """Target records in the region that are no panel sites, as they go through to the output."""
    records = checked.records
    asked = None if region is None else parse_region(region)
    return [
        PassThroughRecord(
            position=int(records.positions[i]),
            site_id=records.site_ids[i],
            ref=records.refs[i],
            alts=records.alts[i],
            alleles=records.alleles[i],
            ploidy=records.ploidy,
            unphased=None if bool(records.is_phased[i].all()) else ~records.is_phased[i],
        )
        for i, reason in enumerate(checked.matching.reasons)
        if reason in _PASSED_THROUGH and (asked is None or asked.holds(asked.contig, int(records.positions[i])))
    ]
