"""Which panel site every target record is: by position, REF and ALT, or what stands in the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from vcfrag_core.errors import TargetError
from vcfrag_core.genome.builds import lift_over_command
from vcfrag_core.genome.markers import told_build
from vcfrag_core.panel.panel import Panel
from vcfrag_core.targets.records import Reason, TargetRecords
from vcfrag_core.targets.sites.orientation import Found, find_record, repaired
from vcfrag_core.types import BoolArray, I64Array

MIN_RECORDS_FOR_BUILD = 10
MIN_POSITION_SHARE = 0.5
MIN_REF_SHARE = 0.75
MIN_EXPLAINED_SHARE = 0.5
# Of records that the panel has just so. A header that was not changed when positions were lifted over is no reason.
MIN_SHARE_AGAINST_NAMES = 0.8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BuildCheck:
    """How well a target fits the panel's coordinates.

    Attributes:
        n_records: Target records within the panel's span.
        n_positions: Those whose position the panel has.
        n_refs: Those whose REF the panel has at that position.
        n_explained: Those whose alleles the panel has there, exchanged or on the other strand included.
        target_build: The assembly that the target's file tells, see `told_build`; or None.
        panel_build: The same of the panel's contig.
    """

    n_records: int
    n_positions: int
    n_refs: int
    n_explained: int
    target_build: str | None = None
    panel_build: str | None = None

    @property
    def position_share(self) -> float:
        return self.n_positions / max(1, self.n_records)

    @property
    def ref_share(self) -> float:
        return self.n_refs / max(1, self.n_positions)

    @property
    def explained_share(self) -> float:
        return self.n_explained / max(1, self.n_positions)

    @property
    def names_differ(self) -> bool:
        """Whether both assemblies are known, and differ."""
        return None not in (self.target_build, self.panel_build) and self.target_build != self.panel_build

    @property
    def is_other_build(self) -> bool:
        """Whether the coordinates must be of another assembly: by what the files tell, or because so few fit."""
        if self.names_differ and self.explained_share * self.position_share < MIN_SHARE_AGAINST_NAMES:
            return True
        if self.n_records < MIN_RECORDS_FOR_BUILD:
            return False
        few = self.position_share < MIN_POSITION_SHARE and self.ref_share < MIN_REF_SHARE
        return few or self.explained_share < MIN_EXPLAINED_SHARE


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """What every record of a target is.

    Attributes:
        sites: (R,) panel site of the record, -1 where there is none.
        reasons: R reasons.
        exchanged: (R,) records whose allele 0 is the panel's ALT.
        either_strand: (R,) records that would fit just as well coded the other way round.
        build: How well the coordinates fit.
    """

    sites: I64Array
    reasons: tuple[Reason, ...]
    exchanged: BoolArray
    either_strand: BoolArray
    build: BuildCheck

    def used(self) -> I64Array:
        """Records that are typed and used, in the order of their sites."""
        chosen = np.array([i for i, reason in enumerate(self.reasons) if reason.is_used], dtype=np.int64)
        return chosen[np.argsort(self.sites[chosen], kind="stable")]

    @property
    def is_turned(self) -> BoolArray:
        """(R,) records of either strand that are coded against their letters."""
        return np.array([reason is Reason.TURNED for reason in self.reasons], dtype=np.bool_)

    def strand_odds(self) -> float:
        """Log odds that a record of a file without REF is on the other strand, by those that tell."""
        told = [r for r, either in zip(self.reasons, self.either_strand.tolist(), strict=True) if not either]
        n_flipped = sum(reason is Reason.FLIP_REPAIRED for reason in told)
        n_others = sum(reason in (Reason.USED, Reason.ORIENTED) for reason in told)
        return float(np.log(n_flipped + 0.5) - np.log(n_others + 0.5))

    def turn(self, records: Iterable[int]) -> Matching:
        """The same with some records of either strand coded the other way round."""
        exchanged, reasons = self.exchanged.copy(), list(self.reasons)
        for i in records:
            exchanged[i] ^= True
            as_lettered = Reason.ORIENTED if exchanged[i] else Reason.USED
            reasons[i] = as_lettered if reasons[i] is Reason.TURNED else Reason.TURNED
        return dataclasses.replace(self, exchanged=exchanged, reasons=tuple(reasons))

    def with_reasons(self, changed: Mapping[int, Reason]) -> Matching:
        """The same with other reasons at some records."""
        reasons = tuple(changed.get(i, reason) for i, reason in enumerate(self.reasons))
        return dataclasses.replace(self, reasons=reasons)


def match_records(
    records: TargetRecords, panel: Panel, *, fix_swaps: bool = False, fix_flips: bool = False
) -> Matching:
    """Finds each record in the panel by position, REF and ALT.

    A record that is there only with REF and ALT exchanged, on the other strand, or both is dropped unless repaired;
    only single-nucleotide variants can be either, and A/T and C/G ones with exchanged alleles could be both, so that
    they are always dropped. Where the file names no REF (`TargetRecords.ref_is_known`), the panel says which allele is
    which and on which strand, and A/T and C/G wait for the tests of sites. Where several records mean one site, the
    one with most calls is used, of equal ones an exact one, then the file's first.

    Args:
        records: The target's.
        panel: The panel of that contig.
        fix_swaps: Repairs REF/ALT exchanges.
        fix_flips: Repairs strand flips.
    """
    lows = np.searchsorted(panel.positions, records.positions, side="left").tolist()
    highs = np.searchsorted(panel.positions, records.positions, side="right").tolist()
    found: list[Found] = []
    is_split = np.isin(records.positions, records.split_at)
    ref_found = np.zeros(records.n_records, dtype=np.bool_)
    for i, (low, high) in enumerate(zip(lows, highs, strict=True)):
        here = {(panel.refs[s].upper(), panel.alts[s].upper()): s for s in range(high - 1, low - 1, -1)}
        known = bool(records.ref_is_known[i])
        # A file without REF has the reference's allele where it has either of the panel's, on whichever strand.
        ref_found[i] = any(ref == records.refs[i] for ref, _ in here)
        found.append(find_record(records.refs[i], records.alts[i], here, ref_is_known=known))
        if is_split[i] and found[i].exchanged:
            # REF stands for several alleles here, so that it cannot be the panel's ALT.
            found[i] = Found(Reason.MULTIALLELIC)
        ref_found[i] |= not known and found[i].reason.is_used
    sites = np.array([each.site for each in found], dtype=np.int64)
    build = _build_check(records, panel, [each.reason for each in found], lows, highs, ref_found, is_split)
    reasons = [repaired(each.reason, fix_swaps, fix_flips) for each in found]
    _drop_repeats(records, sites, reasons)
    return Matching(
        sites=sites,
        reasons=tuple(reasons),
        exchanged=np.array([each.exchanged for each in found], dtype=np.bool_),
        either_strand=np.array([each.either_strand for each in found], dtype=np.bool_),
        build=build,
    )


def check_build(records: TargetRecords, panel: Panel, build: BuildCheck) -> None:
    """Refuses a target whose coordinates are those of another assembly.

    Raises:
        TargetError: Too few positions or alleles match; says how many, and what that suggests.
    """
    if not build.is_other_build:
        return
    source, wanted = build.target_build, build.panel_build
    sides = (("target", source), ("panel", wanted))
    known = " and ".join(f"the {side} is on {name}" for side, name in sides if name)
    if source is not None and wanted is not None and source != wanted:
        advice = f"{known}; lift the target over: `{lift_over_command(source, wanted, Path(records.source).name)}`"
    else:
        advice = "it looks like another genome build, or another contig under this name"
        advice += f" ({known})" if known else ""
        advice += "; lift the target over (CrossMap, bcftools +liftover or Picard LiftoverVcf)"
    raise TargetError(
        f"contig {records.contig}: the panel has {build.n_positions} of {build.n_records} positions"
        f" ({build.position_share:.1%}), and of those {build.ref_share:.1%} the same REF allele; {advice}",
        path=records.source,
    )


def _drop_repeats(records: TargetRecords, sites: I64Array, reasons: list[Reason]) -> None:
    """Leaves one used record per site, the one with most calls, an exact one of equal ones; others are duplicates."""
    n_calls = (records.alleles >= 0).sum(axis=1).tolist()
    order = sorted(
        range(len(reasons)), key=lambda i: (not reasons[i].is_used, -n_calls[i], reasons[i] is not Reason.USED)
    )
    taken: set[int] = set()
    for i in order:
        site = int(sites[i])
        if reasons[i].is_used and site in taken:
            reasons[i] = Reason.DUPLICATE
        elif reasons[i].is_used:
            taken.add(site)


def _build_check(
    records: TargetRecords,
    panel: Panel,
    reasons: list[Reason],
    lows: list[int],
    highs: list[int],
    ref_found: BoolArray,
    is_split: BoolArray,
) -> BuildCheck:
    inside = np.zeros(records.n_records, dtype=np.bool_)
    if panel.n_sites:
        inside = (records.positions >= panel.positions[0]) & (records.positions <= panel.positions[-1])
    there = inside & (np.array(highs, dtype=np.int64) > np.array(lows, dtype=np.int64))
    neutral = {Reason.NO_ALT, Reason.WITHOUT_ALT, Reason.INDEL_CODE}
    explained = [reason is not Reason.OTHER_ALLELES and reason not in neutral for reason in reasons]
    # Of several ALT alleles the panel may have some, which says nothing either way.
    counted = there & ~is_split & np.array([reason not in neutral for reason in reasons], dtype=np.bool_)
    return BuildCheck(
        n_records=int(inside.sum()),
        n_positions=int(there.sum()),
        n_refs=int((there & ref_found).sum()),
        n_explained=int((counted & np.array(explained, dtype=np.bool_)).sum()) + int((there & ~counted).sum()),
        target_build=records.build,
        panel_build=told_build([(panel.contig, panel.contig_length, panel.positions)]),
    )
