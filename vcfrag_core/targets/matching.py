"""Which panel site every target record is: by position, REF and ALT, or what stands in the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vcfrag_core.errors import TargetError
from vcfrag_core.genome.builds import lift_over_command
from vcfrag_core.genome.markers import told_build
from vcfrag_core.panel.panel import Panel
from vcfrag_core.targets.records import Reason, TargetRecords
from vcfrag_core.types import BoolArray, I64Array

_COMPLEMENT = str.maketrans("ACGT", "TGCA")
_BASES = frozenset("ACGT")
_AMBIGUOUS = (frozenset("AT"), frozenset("CG"))

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
        exchanged: (R,) records whose allele 0 is the panel's ALT; true of repaired ones only.
        build: How well the coordinates fit.
    """

    sites: I64Array
    reasons: tuple[Reason, ...]
    exchanged: BoolArray
    build: BuildCheck

    def used(self) -> I64Array:
        """Records that are typed and used, in the order of their sites."""
        chosen = np.array([i for i, reason in enumerate(self.reasons) if reason.is_used], dtype=np.int64)
        return chosen[np.argsort(self.sites[chosen], kind="stable")]

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
    they are always dropped. Where several records mean one site, exact ones come before repaired ones, then the file's
    order.

    Args:
        records: The target's.
        panel: The panel of that contig.
        fix_swaps: Repairs REF/ALT exchanges.
        fix_flips: Repairs strand flips.
    """
    n = records.n_records
    lows = np.searchsorted(panel.positions, records.positions, side="left").tolist()
    highs = np.searchsorted(panel.positions, records.positions, side="right").tolist()
    sites = np.full(n, -1, dtype=np.int64)
    reasons = [Reason.NOT_IN_PANEL] * n
    ref_found = np.zeros(n, dtype=np.bool_)
    for i, (low, high) in enumerate(zip(lows, highs, strict=True)):
        here = {(panel.refs[s].upper(), panel.alts[s].upper()): s for s in range(high - 1, low - 1, -1)}
        ref_found[i] = any(ref == records.refs[i] for ref, _ in here)
        reasons[i], sites[i] = _find(records.refs[i], records.alts[i], here)
    build = _build_check(records, panel, reasons, lows, highs, ref_found)
    exchanged = np.array([r in (Reason.SWAPPED, Reason.FLIPPED_SWAPPED) for r in reasons], dtype=np.bool_)
    reasons = [_mended(reason, fix_swaps, fix_flips) for reason in reasons]
    _drop_repeats(sites, reasons)
    return Matching(sites=sites, reasons=tuple(reasons), exchanged=exchanged, build=build)


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


def is_ambiguous(ref: str, alt: str) -> bool:
    """A/T and C/G: the same on both strands."""
    return frozenset((ref, alt)) in _AMBIGUOUS


def _find(ref: str, alts: tuple[str, ...], here: Mapping[tuple[str, str], int]) -> tuple[Reason, int]:
    """What a record is among the panel's sites at its position."""
    if len(alts) > 1:
        return Reason.MULTIALLELIC, -1
    if not alts or not alts[0].isalpha():
        return Reason.NO_ALT, -1
    if not here:
        return Reason.NOT_IN_PANEL, -1
    alt = alts[0]
    if (ref, alt) in here:
        return Reason.USED, here[ref, alt]
    if ref in _BASES and alt in _BASES:
        return _find_recoded(ref, alt, here)
    return Reason.OTHER_ALLELES, -1


def _find_recoded(ref: str, alt: str, here: Mapping[tuple[str, str], int]) -> tuple[Reason, int]:
    if (alt, ref) in here:
        return (Reason.AMBIGUOUS if is_ambiguous(ref, alt) else Reason.SWAPPED), here[alt, ref]
    other = (ref.translate(_COMPLEMENT), alt.translate(_COMPLEMENT))
    if other in here:
        return Reason.FLIPPED, here[other]
    if other[::-1] in here:
        return Reason.FLIPPED_SWAPPED, here[other[::-1]]
    return Reason.OTHER_ALLELES, -1


def _mended(reason: Reason, fix_swaps: bool, fix_flips: bool) -> Reason:
    if reason is Reason.SWAPPED and fix_swaps:
        return Reason.SWAP_REPAIRED
    if reason is Reason.FLIPPED and fix_flips:
        return Reason.FLIP_REPAIRED
    if reason is Reason.FLIPPED_SWAPPED and fix_swaps and fix_flips:
        return Reason.BOTH_REPAIRED
    return reason


def _drop_repeats(sites: I64Array, reasons: list[Reason]) -> None:
    """Leaves one used record per site, an exact one if there is one; what else means the site is a duplicate."""
    order = sorted(range(len(reasons)), key=lambda i: (reasons[i] is not Reason.USED, not reasons[i].is_used))
    taken: set[int] = set()
    for i in order:
        site = int(sites[i])
        if site < 0:
            continue
        if site in taken:
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
) -> BuildCheck:
    inside = np.zeros(records.n_records, dtype=np.bool_)
    if panel.n_sites:
        inside = (records.positions >= panel.positions[0]) & (records.positions <= panel.positions[-1])
    there = inside & (np.array(highs, dtype=np.int64) > np.array(lows, dtype=np.int64))
    # A multi-allelic record says nothing either way.
    neutral = {Reason.MULTIALLELIC, Reason.NO_ALT}
    explained = [reason is not Reason.OTHER_ALLELES and reason not in neutral for reason in reasons]
    counted = there & np.array([reason not in neutral for reason in reasons], dtype=np.bool_)
    return BuildCheck(
        n_records=int(inside.sum()),
        n_positions=int(there.sum()),
        n_refs=int((there & ref_found).sum()),
        n_explained=int((counted & np.array(explained, dtype=np.bool_)).sum()) + int((there & ~counted).sum()),
        target_build=records.build,
        panel_build=told_build([(panel.contig, panel.contig_length, panel.positions)]),
    )
