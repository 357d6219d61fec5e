"""From calls to haplotypes: who has one on this stretch of a contig, and what the calls say of it.

The panel says what kind of stretch it is. Where all of its samples have two haplotypes, targets have; where all have
one, targets have one; where some have one, it is X beyond its pseudo-autosomal regions, and men have one. X is told
by its name, too, where the panel is of men only or of women only, and so is what it is not: beside a few haploid
samples of an autosome, as complete hydatidiform moles are, targets have what they are written with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

import numpy as np

from vcfrag_core.errors import PloidyError, TargetError
from vcfrag_core.genome.builds import BUILDS, is_sex_linked
from vcfrag_core.genome.contigs import meaning
from vcfrag_core.genome.markers import told_build
from vcfrag_core.panel.panel import Panel, frequency_at
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.targets.calls import MISSING, NONE, Sex, TargetCalls
from vcfrag_core.targets.records import TargetRecords
from vcfrag_core.types import BoolArray, F64Array, I8Array, I64Array

# Heterozygous calls as a share of those expected by the panel's frequencies: of a man hardly any, by mistake; of a
# woman about all, fewer where her parents were related.
MAX_SHARE_OF_MEN: Final = 0.2
MIN_SHARE_OF_WOMEN: Final = 0.4
MIN_EXPECTED: Final = 5.0
# So many whose heterozygosity contradicts the sex given, if they are most, are no mistakes with single samples.
_MIN_EXCHANGED: Final = 4
# Of a contig that no name tells, fewer haploid samples than this share are genomes of a homozygous line, not men.
_FEW: Final = 0.1
_MAX_RECORDS: Final = 5000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SexReport:
    """Who has one haplotype, how that was told, and which calls did not fit.

    Attributes:
        told_by: How each sample's sex was told, by name: `given`, `one allele` or `heterozygosity`; empty where the
            stretch is not sex-linked.
        men: Samples with one haplotype on a sex-linked stretch.
        unlikely: Samples whose heterozygosity does not fit their sex, with their share of what is expected of a woman.
        heterozygous: Heterozygous calls of samples with one haplotype, by name; they count as missing.
        one_allele: Calls of one allele of samples with two haplotypes, by name; they count as missing.
        half_calls: Calls without phase of which one allele is missing, of samples with two haplotypes, by name; they
            count as missing.
        without_y: On Y, samples told to be women and samples without any call, with the calls of each, which count as
            missing.
    """

    told_by: Mapping[str, str] = dataclasses.field(default_factory=dict)
    men: tuple[str, ...] = ()
    unlikely: Mapping[str, float] = dataclasses.field(default_factory=dict)
    heterozygous: Mapping[str, int] = dataclasses.field(default_factory=dict)
    one_allele: Mapping[str, int] = dataclasses.field(default_factory=dict)
    half_calls: Mapping[str, int] = dataclasses.field(default_factory=dict)
    without_y: Mapping[str, int] = dataclasses.field(default_factory=dict)


def settle_haplotypes(
    calls: TargetCalls, panel: Panel, sexes: Mapping[str, Sex] | None = None
) -> tuple[TargetRecords, SexReport]:
    """The haplotypes of a target on the panel's stretch.

    A sample with one haplotype has it from a call of one allele, of two equal ones, or of one and a missing one; where
    two differ the call is missing.

    Args:
        calls: The target's records on that stretch.
        panel: The panel of it.
        sexes: Sexes by sample, which go before those that the target's file says.

    Raises:
        PloidyError: A call of one allele where the panel's samples have two, on a contig that is not X; names it.
        TargetError: A sample's sex is not told by anything, or the sexes given contradict most samples' heterozygosity.
    """
    counts, report = _counts(calls, panel, sexes or {})
    ploidy = Ploidy.of(counts)
    alleles = calls.alleles.copy()
    one = ploidy.is_haploid
    report = dataclasses.replace(
        report,
        without_y=_drop_without_y(calls, alleles, sexes or {}),
        heterozygous=_named(calls, _keep_one(alleles, one)),
        one_allele=_named(calls, _drop_lone(calls, alleles, ~one)),
    )
    # Without phase, nobody knows which haplotype the called half belongs to.
    half = ~calls.is_phased & ((alleles == MISSING) & (alleles[:, :, ::-1] >= 0)).any(axis=2)
    half[:, one] = False
    alleles[half] = MISSING
    report = dataclasses.replace(report, half_calls=_named(calls, half[_begins_record(calls)].sum(axis=0)))
    return _records(dataclasses.replace(calls, alleles=alleles), ploidy), report


def _begins_record(calls: TargetCalls) -> BoolArray:
    """(R,) whether a record is the only or the first one that a record of the file was split in."""
    begins = np.ones(calls.n_records, dtype=np.bool_)
    refs = np.array(calls.refs, dtype=object)
    same = (calls.positions[1:] == calls.positions[:-1]) & (refs[1:] == refs[:-1])
    begins[1:] = ~(same & np.isin(calls.positions[1:], calls.split_at))
    return begins


def _records(calls: TargetCalls, ploidy: Ploidy) -> TargetRecords:
    alleles = calls.alleles.reshape(calls.n_records, -1)
    if not ploidy.is_diploid:
        alleles = alleles[:, ploidy.in_pairs.reshape(-1)]
    return TargetRecords(
        contig=calls.contig,
        samples=calls.samples,
        ploidy=ploidy,
        positions=calls.positions,
        refs=calls.refs,
        alts=calls.alts,
        site_ids=calls.site_ids,
        alleles=alleles,
        is_phased=~calls.unphased,
        ref_is_known=calls.ref_is_known,
        phase_sets=calls.phase_sets,
        contig_length=calls.contig_length,
        build=calls.build,
        split_at=calls.split_at,
        source=calls.source,
    )


def _counts(calls: TargetCalls, panel: Panel, sexes: Mapping[str, Sex]) -> tuple[I64Array, SexReport]:
    """(S,) haplotypes of each sample, and who is told to be what."""
    s = len(calls.samples)
    if not _is_sex_linked(calls, panel, sexes):
        if _is_mixed(panel):
            return np.where(_one_allele(calls), 1, 2), SexReport()
        return np.full(s, 2 if panel.ploidy.is_diploid else 1), SexReport()
    told, told_by, share = _told(calls, panel, sexes)
    is_man = np.array([sex is Sex.MALE for sex in told])
    unlikely = np.where(is_man, share >= MIN_SHARE_OF_WOMEN, share <= MAX_SHARE_OF_MEN)
    given = np.array([told_by[name] == "given" for name in calls.samples])
    if bool((given & unlikely & is_man).any()):
        # Women without heterozygous calls alone may be inbred.
        _refuse_exchanged(calls, given, share, unlikely)
    return np.where(is_man, 1, 2), SexReport(
        told_by=told_by,
        men=tuple(name for name, man in zip(calls.samples, is_man.tolist(), strict=True) if man),
        unlikely={calls.samples[i]: round(float(share[i]), 3) for i in np.flatnonzero(unlikely).tolist()},
    )


def _is_sex_linked(calls: TargetCalls, panel: Panel, sexes: Mapping[str, Sex]) -> bool:
    """Whether men have one haplotype and women two.

    Raises:
        TargetError: The panel is of X, on both sides of a pseudo-autosomal region's end at which nothing cut it, and
            some targets are men.
    """
    known = meaning(panel.contig)
    if known is None:
        return _is_mixed(panel) and _FEW <= panel.ploidy.is_haploid.mean() <= 1 - _FEW
    if known.chromosome not in ("X", "Y"):
        return False
    if _is_mixed(panel) or known.chromosome != "X":
        return _is_mixed(panel)
    told = told_build([(panel.contig, panel.contig_length, panel.positions)]) or calls.build
    builds = BUILDS if told is None else (told,)
    by_build = np.stack([is_sex_linked(panel.positions, build) for build in builds])
    if not by_build.all(axis=0).any():
        return False
    if by_build.any(axis=0).all():
        return True
    if panel.ploidy.is_diploid:
        beyond = np.stack([is_sex_linked(calls.positions, build) for build in builds])
        _refuse_men(calls, panel, sexes, np.asarray(beyond.all(axis=0)))
    return not panel.ploidy.is_diploid


def _is_mixed(panel: Panel) -> bool:
    """Whether some samples have one haplotype and others two."""
    return bool(panel.ploidy.is_haploid.any()) and not bool(panel.ploidy.is_haploid.all())


def _refuse_men(calls: TargetCalls, panel: Panel, sexes: Mapping[str, Sex], beyond: BoolArray) -> None:
    """Refuses men, given or written with one allele at the (n,) records `beyond`, where X was not cut."""
    lone = _one_allele(calls, beyond)
    if calls.build is not None:
        # Of a human X; in other species all of a stretch may be alike.
        lone |= heterozygosity(calls.select(beyond), panel) <= MAX_SHARE_OF_MEN
    men = [name for name, one in zip(calls.samples, lone.tolist(), strict=True) if one or sexes.get(name) is Sex.MALE]
    if men:
        raise TargetError(
            "is a man, and neither the panel's header tells the build, nor do men of the panel show where"
            f" {panel.contig}'s pseudo-autosomal regions end; give the panel's contig its length (`bcftools reheader"
            " --fai`)",
            path=panel.source,
            sample=men[0],
        )


def _told(calls: TargetCalls, panel: Panel, sexes: Mapping[str, Sex]) -> tuple[list[Sex], dict[str, str], F64Array]:
    """Each sample's sex, how it was told, and (S,) heterozygous calls against those expected, NaN where few are."""
    share, lone = heterozygosity(calls, panel), _one_allele(calls)
    # Who is written with one allele is heterozygous nowhere.
    share[lone & np.isnan(share)] = 0
    told: list[Sex] = []
    told_by: dict[str, str] = {}
    for i, name in enumerate(calls.samples):
        given = sexes.get(name) or calls.sexes[i]
        if given is not None:
            sex, way = given, "given"
        elif lone[i]:
            sex, way = Sex.MALE, "one allele"
        else:
            sex, way = _by_heterozygosity(calls, name, float(share[i])), "heterozygosity"
        told.append(sex)
        told_by[name] = way
    return told, told_by, share


def _refuse_exchanged(calls: TargetCalls, given: BoolArray, share: F64Array, unlikely: BoolArray) -> None:
    """Refuses sexes that the heterozygosity of most of the samples contradicts.

    Raises:
        TargetError: There are such, see `_MIN_EXCHANGED`; names the first.
    """
    known = given & np.isfinite(share)
    wrong = np.flatnonzero(known & unlikely)
    if len(wrong) >= _MIN_EXCHANGED and 2 * len(wrong) > int(known.sum()):
        raise TargetError(
            f"heterozygosity on {calls.contig} contradicts the sex given of {len(wrong)} of {int(known.sum())} samples,"
            f" this is the first ({share[wrong[0]]:.0%} of the heterozygous calls expected of a woman): are men and"
            " women exchanged in --sex or the target's file, or is it of other samples?",
            path=calls.source,
            sample=calls.samples[int(wrong[0])],
        )


def _by_heterozygosity(calls: TargetCalls, name: str, share: float) -> Sex:
    if share <= MAX_SHARE_OF_MEN:
        return Sex.MALE
    if share >= MIN_SHARE_OF_WOMEN:
        return Sex.FEMALE
    why = "too few calls to tell" if np.isnan(share) else f"{share:.0%} of the heterozygous calls expected of a woman"
    raise TargetError(
        f"man or woman? On {calls.contig} it has {why}; say it with --sex FILE (a name and M or F on each line)",
        path=calls.source,
        sample=name,
    )


def _one_allele(calls: TargetCalls, at: BoolArray | slice = slice(None)) -> BoolArray:
    """(S,) samples whose calls, at some records, are of one allele, or of one and a missing one, most of the time."""
    first, second = calls.alleles[at, :, 0], calls.alleles[at, :, 1]
    one = (first >= 0) ^ (second >= 0)
    both = (first >= 0) & (second >= 0)
    return np.asarray(one.sum(axis=0) > both.sum(axis=0))


def heterozygosity(calls: TargetCalls, panel: Panel) -> F64Array:
    """(S,) heterozygous calls as a share of those expected by the panel's frequencies; NaN where fewer than 5 are."""
    records, sites = _shared(calls, panel)
    frequency = frequency_at(panel, sites)
    here = calls.alleles[records]
    called = (here >= 0).all(axis=2)
    het = called & (here[:, :, 0] != here[:, :, 1])
    expected = (2 * frequency * (1 - frequency)) @ called
    share = np.full(len(calls.samples), np.nan)
    np.divide(het.sum(axis=0), expected, out=share, where=expected >= MIN_EXPECTED)
    return share


def _shared(calls: TargetCalls, panel: Panel) -> tuple[I64Array, I64Array]:
    """Records of one ALT at a position with a single panel site, evenly along the stretch, and these sites."""
    low = np.searchsorted(panel.positions, calls.positions, side="left")
    high = np.searchsorted(panel.positions, calls.positions, side="right")
    one_alt = np.array([len(alts) == 1 for alts in calls.alts], dtype=np.bool_)
    records = np.flatnonzero((high - low == 1) & one_alt)
    if len(records) > _MAX_RECORDS:
        records = records[np.arange(_MAX_RECORDS) * len(records) // _MAX_RECORDS]
    return records, low[records].astype(np.int64)


def _keep_one(alleles: I8Array, one: BoolArray) -> I64Array:
    """Puts the only haplotype's allele first, and nothing second; (S,) calls with two different alleles."""
    first, second = alleles[:, one, 0], alleles[:, one, 1]
    differ = (first >= 0) & (second >= 0) & (first != second)
    alleles[:, one, 0] = np.where(differ, MISSING, np.maximum(first, second))
    alleles[:, one, 1] = NONE
    counts = np.zeros(len(one), dtype=np.int64)
    counts[one] = differ.sum(axis=0)
    return counts


def _drop_lone(calls: TargetCalls, alleles: I8Array, two: BoolArray) -> I64Array:
    """Makes calls of one allele missing for samples with two haplotypes; (S,) how many there were."""
    lone = (alleles[:, :, 1] == NONE) & two
    called = lone & (alleles[:, :, 0] >= 0)
    known = meaning(calls.contig)
    if bool(called.any()) and (known is None or known.chromosome != "X"):
        record = int(np.flatnonzero(called.any(axis=1))[0])
        raise PloidyError(
            f"has 1 allele where the panel's samples have two, as {called[record].sum()} of {len(two)} samples here;"
            " write two alleles, or take a panel of haploid samples",
            path=calls.source,
            record=calls.label(record),
            sample=calls.samples[int(np.flatnonzero(called[record])[0])],
        )
    alleles[lone] = MISSING
    return np.asarray(called.sum(axis=0), dtype=np.int64)


def _drop_without_y(calls: TargetCalls, alleles: I8Array, sexes: Mapping[str, Sex]) -> dict[str, int]:
    """Makes the calls on Y of those missing who have none; how many each had."""
    known = meaning(calls.contig)
    if known is None or known.chromosome != "Y":
        return {}
    n_calls = (alleles >= 0).any(axis=2).sum(axis=0)
    told = np.array(
        [(sexes.get(name) or sex) is Sex.FEMALE for name, sex in zip(calls.samples, calls.sexes, strict=True)]
    )
    without = np.flatnonzero(told | (n_calls == 0))
    alleles[:, without] = np.where(alleles[:, without] >= 0, MISSING, alleles[:, without])
    return {calls.samples[i]: int(n_calls[i]) for i in without.tolist()}


def _named(calls: TargetCalls, counts: I64Array) -> dict[str, int]:
    return {calls.samples[i]: int(counts[i]) for i in np.flatnonzero(counts).tolist()}
