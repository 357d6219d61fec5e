"""Records with several ALT alleles as several records, one for each, as `bcftools norm -m-` makes them."""

from __future__ import annotations

import dataclasses

import numpy as np

from vcfrag_core.targets.calls import TargetCalls


def split_records(calls: TargetCalls) -> TargetCalls:
    """The calls with one ALT a record, in the order of the file.

    At the record of one ALT allele any other is REF, as in a panel that was split. `split_at` says where that was done:
    there REF stands for more than one allele.
    """
    counts = np.array([max(1, len(alts)) for alts in calls.alts], dtype=np.int64)
    if bool((counts == 1).all()):
        return calls
    rows = np.repeat(np.arange(calls.n_records), counts)
    numbers = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    several = (counts > 1)[rows]
    alleles, own = calls.alleles[rows], numbers[several, None, None]
    there = alleles[several]
    alleles[several] = np.where(there > 0, there == own, there)
    is_phased = calls.is_phased[rows] | (alleles[:, :, 0] == alleles[:, :, 1])
    chosen = rows.tolist()
    return dataclasses.replace(
        calls,
        positions=calls.positions[rows],
        refs=tuple(calls.refs[i] for i in chosen),
        alts=tuple(calls.alts[i][n - 1 : n] for i, n in zip(chosen, numbers.tolist(), strict=True)),
        site_ids=tuple(calls.site_ids[i] for i in chosen),
        alleles=alleles,
        is_phased=is_phased,
        ref_is_known=calls.ref_is_known[rows],
        phase_sets=None if calls.phase_sets is None else calls.phase_sets[rows],
        split_at=np.asarray(calls.positions[counts > 1]),
    )
