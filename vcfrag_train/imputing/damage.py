"""What leave-one-out and frequency say against typed sites: damage, or the other strand where a file names no REF."""

from __future__ import annotations

from typing import Final

import numpy as np

from vcfrag_core.targets.records import Reason
from vcfrag_core.targets.sites.site_evidence import SiteEvidence, site_evidence
from vcfrag_core.targets.sites.site_tests import ambiguous_sites
from vcfrag_train.imputing.checks import CheckedTarget

# A site whose strand is unknown is used where one coding is 99 times as likely as the other.
_DECIDED_NATS: Final = 4.6


def turn_by_frequency(target: CheckedTarget) -> set[int]:
    """Codes each record of either strand as its frequency says; returns these records."""
    used = target.matching.used()
    either = target.matching.either_strand[used]
    if not bool(either.any()):
        return set()
    target.turn(set(used[either & (_evidence(target).odds > 0)].tolist()))
    return set(used[either].tolist())


def drop_undecided(target: CheckedTarget) -> bool:
    """Leaves out records of either strand whose coding is not as good as certain; whether there was one."""
    used = target.matching.used()
    either = target.matching.either_strand[used]
    if not bool(either.any()):
        return False
    unsure = used[either & (_evidence(target).odds > -_DECIDED_NATS)]
    target.apply(dict.fromkeys(unsure.tolist(), Reason.AMBIGUOUS))
    return bool(len(unsure))


def damaged_records(target: CheckedTarget) -> dict[int, Reason]:
    """Used records that the tests speak against."""
    evidence, used = _evidence(target), target.matching.used()
    found = dict.fromkeys(used[evidence.inverted].tolist(), Reason.INVERTED)
    return found or dict.fromkeys(used[evidence.contradicted].tolist(), Reason.CONTRADICTED)


def _evidence(target: CheckedTarget) -> SiteEvidence:
    sites, panel, matching = target.sites, target.panel, target.matching
    used = matching.used()
    odds = matching.strand_odds()
    prior = np.where(matching.either_strand[used], np.where(matching.is_turned[used], -odds, odds), np.nan)
    return site_evidence(
        target.alleles,
        target.frequency[sites],
        panel.n_haplotypes,
        ambiguous_sites(panel, sites),
        loo=target.loo,
        tested=target.tested if target.loo is not None else None,
        prior=prior,
    )
