"""Target records placed at a panel's sites, for who imputes without the tests of `vcfrag impute`."""

from __future__ import annotations

from collections import Counter

import numpy as np

from vcfrag_core.errors import TargetError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.queries import EXTERNAL
from vcfrag_core.targets.people import match_samples
from vcfrag_core.targets.records import MEANING, Reason, TargetRecords
from vcfrag_core.targets.sites.duplicates import lend_calls
from vcfrag_core.targets.sites.matching import check_build, match_records
from vcfrag_core.targets.sites.site_tests import target_alleles, typed_phase_sets, without_calls
from vcfrag_core.targets.targets import Targets


def place_targets(records: TargetRecords, panel: Panel, *, fix_swaps: bool = False, fix_flips: bool = False) -> Targets:
    """The records of one contig at the panel's sites; target samples of its names are those.

    Args:
        records: The target's.
        panel: The panel of that contig.
        fix_swaps: Repairs REF/ALT exchanges.
        fix_flips: Repairs strand flips.

    Of A/T and C/G records without a known REF none is used: their strand takes tests.

    Raises:
        TargetError: Another genome build, no record is a panel site, or a sample has the names of several of the panel.
    """
    matching = match_records(records, panel, fix_swaps=fix_swaps, fix_flips=fix_flips)
    records, _ = lend_calls(records, matching)
    check_build(records, panel, matching.build)
    matching = matching.with_reasons(without_calls(records, matching))
    unsure = [i for i in matching.used().tolist() if matching.either_strand[i]]
    matching = matching.with_reasons(dict.fromkeys(unsure, Reason.AMBIGUOUS))
    alleles, observed = target_alleles(records, matching, panel.n_sites)
    if not observed.any():
        counts = ", ".join(f"{n} {MEANING[reason]}" for reason, n in Counter(matching.reasons).most_common())
        raise TargetError(
            f"contig {records.contig}: none of {records.n_records} records can be used ({counts})", path=records.source
        )
    sets = typed_phase_sets(records, matching, np.flatnonzero(observed))
    phase_sets = None if sets is None else np.zeros((len(records.samples), panel.n_sites), dtype=np.int32)
    if phase_sets is not None and sets is not None:
        phase_sets[:, observed] = sets
    people = match_samples(records.samples, panel, {})
    several = next((match for match in people if len(match.panel_samples) > 1), None)
    if several is not None:
        raise TargetError(
            f"sample {several.sample} is {len(several.panel_samples)} samples of the panel by its name"
            f" ({', '.join(several.panel_samples)}), and only one would be left out; rename it, or take them out of the"
            " panel",
            path=records.source,
        )
    found = {match.sample: match.panel_samples[0] for match in people}
    return Targets(
        samples=records.samples,
        ploidy=records.ploidy,
        alleles=alleles,
        observed=observed,
        names=records.ploidy.of_haplotypes(found.get(sample, EXTERNAL) for sample in records.samples),
        phase_sets=phase_sets,
        panel_digest=panel.digest,
    )
