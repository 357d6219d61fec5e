"""What a run found out about its target, for the QC file and for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vcfrag_core.files.panel.reader import OTHER_SETS
from vcfrag_core.files.tables.names import summary_path
from vcfrag_core.files.tables.qc import write_qc
from vcfrag_core.retrieval.identity import mask_digest
from vcfrag_core.targets.calls import TargetCalls
from vcfrag_core.targets.cohort import Verdict
from vcfrag_core.targets.likeness import Likeness
from vcfrag_core.targets.people import ambiguous_names
from vcfrag_core.targets.records import Reason
from vcfrag_core.targets.sites.site_tests import missing_rates
from vcfrag_core.targets.sites.whole_coding import is_coded_inversely
from vcfrag_core.targets.typed_groups import TypedGroup
from vcfrag_train.imputing.checks import CheckedTarget
from vcfrag_train.imputing.likenesses import likeness_lines, likeness_record

_HIGH_MISSING = 0.05
_NAMED = 3
_GROUPS_NAMED = 6


class QcReport:
    """Gathers what is found, contig by contig.

    Args:
        targets: The target files.
        samples: Its samples.
        table: Where the QC table is written.
    """

    def __init__(self, targets: Sequence[Path], samples: Sequence[str], table: Path) -> None:
        self._targets = tuple(targets)
        self._table = table
        self._samples = tuple(samples)
        self._rows: list[Verdict] = []
        self._contigs: dict[str, dict[str, object]] = {}
        self._missing = np.zeros(len(samples))
        self._typed = 0
        self._likeness: list[dict[str, object]] = []

    def add(self, target: CheckedTarget, model: Mapping[str, object] | None = None) -> list[str]:
        """Takes a contig, and how its model was judged; returns what should be said about it, a line each."""
        records = target.records
        counts = Counter(target.matching.reasons)
        rates = missing_rates(target.alleles, target.ploidy)
        rates[[name in target.sexes.without_y for name in records.samples]] = 0
        n_typed = int(target.observed.sum())
        self._missing += np.nan_to_num(rates) * n_typed
        self._typed += n_typed
        groups = target.groups()
        self._rows += target.verdicts()
        self._contigs[target.label] = {
            **_counts_record(target, counts),
            "missing_share": round(float(np.nan_to_num(rates).mean()), 6),
            **_samples_record(target, groups),
            "left_out": [
                {"start": int(target.panel.positions[a]), "stop": int(target.panel.positions[b - 1]), "sites": b - a}
                for a, b in target.thin
            ],
            "leave_one_out_samples": len(target.tested_samples) if target.loo is not None else 0,
            "model": model,
        }
        return [*_lines(target, counts, rates, self._table), *_group_lines(target, groups)]

    def add_foreign(self, records: TargetCalls) -> str:
        """Takes a contig that the panel does not have; returns the line to say."""
        for i in range(records.n_records):
            alt = ",".join(records.alts[i]) or "."
            self._rows.append(
                Verdict(records.contig, int(records.positions[i]), records.refs[i], alt, Reason.NOT_IN_PANEL)
            )
        self._contigs[records.contig] = {
            "name_in_target": records.contig,
            "records": records.n_records,
            "typed_and_used": 0,
            "reasons": {Reason.NOT_IN_PANEL.value: records.n_records},
        }
        return f"contig {records.contig}: not in the panel; its {records.n_records} records are left out"

    def add_likeness(self, pairs: Sequence[Likeness], *, excluded: bool) -> list[str]:
        """Takes the targets that are like a panel sample; returns the lines to say."""
        self._likeness = [likeness_record(pair) for pair in pairs]
        return likeness_lines(pairs, excluded=excluded)

    def write(self) -> None:
        """Writes the table and the summary."""
        rates = self._missing / max(1, self._typed)
        summary = {
            "targets": [str(target) for target in self._targets],
            "contigs": self._contigs,
            "likeness": self._likeness,
            "samples": {
                name: {"missing_share": round(float(rate), 6)}
                for name, rate in zip(self._samples, rates.tolist(), strict=True)
            },
        }
        write_qc(self._table, self._rows, summary)


def _counts_record(target: CheckedTarget, counts: Counter[Reason]) -> dict[str, object]:
    """What was read of a contig, how it matched the panel, and the builds of both."""
    records, panel, build = target.records, target.panel, target.matching.build
    return {
        "name_in_target": records.contig,
        "panel_digest": panel.digest,
        "mask_digest": mask_digest(target.observed),
        "records": records.n_records,
        "typed_and_used": int(target.observed.sum()),
        "panel_sites": panel.n_sites,
        "panel_records": dict(panel.counts),
        "records_with_several_alts": _n_split(target),
        "reasons": {reason.value: counts[reason] for reason in Reason if counts[reason]},
        "positions_in_panel_share": round(build.position_share, 6),
        "ref_match_share": round(build.ref_share, 6),
        "target_build": build.target_build,
        "panel_build": build.panel_build,
    }


def _samples_record(target: CheckedTarget, groups: Sequence[TypedGroup]) -> dict[str, object]:
    """Who is in the panel, of which sex, typed twice with other calls, or at other sites than the rest."""
    records, sexes = target.records, target.sexes
    return {
        "samples_in_panel": [
            {
                "sample": person.sample,
                "panel_samples": list(person.panel_samples),
                "by_name": person.by_name,
                "by_genotype": person.by_genotype,
            }
            for person in target.people
        ],
        "sexes": {
            "men": list(sexes.men),
            "told_by": dict(sexes.told_by),
            "unlikely": dict(sexes.unlikely),
            "heterozygous_calls_of_men": dict(sexes.heterozygous),
            "calls_of_one_allele_of_others": dict(sexes.one_allele),
            "half_calls_without_phase": dict(sexes.half_calls),
            "calls_of_samples_without_y": dict(sexes.without_y),
        },
        "discordant_duplicates": [
            {
                "record": records.label(each.record),
                "samples_in_both": each.n_both,
                "that_differ": each.n_differ,
                "fills_missing_calls": each.lends,
            }
            for each in target.discordant
        ],
        "typed_groups": [
            {
                "samples": len(group.samples),
                "first_sample": records.samples[int(group.samples[0])],
                "typed": int(group.observed.sum()),
                "mask_digest": mask_digest(group.observed),
            }
            for group in groups
        ],
    }


def _lines(
    target: CheckedTarget,
    counts: Counter[Reason],
    rates: np.ndarray[tuple[int], np.dtype[np.float64]],
    table: Path,
) -> list[str]:
    records, panel = target.records, target.panel
    lines = []
    if records.contig != panel.contig:
        lines.append(f"contig {records.contig} of the target is {panel.contig} of the panel")
    n_split = _n_split(target)
    each = ", one for each ALT allele," if n_split else ""
    lines.append(
        f"{target.label}: {int(target.observed.sum())} of {records.n_records} target records{each} are typed sites of"
        f" the panel's {panel.n_sites}, in {len(records.samples)} samples"
    )
    if bool(target.observed.all()):
        lines.append(
            f"{target.label}: all sites of the panel are typed, so that there is nothing to impute; the panel belongs"
            " to --panel, the samples to be imputed to --target"
        )
    inside = target.inside[1] - target.inside[0]
    if inside < panel.n_sites:
        lines.append(f"{target.label}: {inside} of these panel sites lie in the region; the others are context")
    if panel.counts:
        done = ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in panel.counts.items())
        lines.append(f"{target.label}: of the panel: {done}{_set_words(panel.counts)}")
    if n_split:
        lines.append(f"{target.label}: {n_split} records with several ALT alleles are split, one record for each")
    others = [f"{counts[reason]} {reason.value}" for reason in Reason if reason is not Reason.USED and counts[reason]]
    if others:
        lines.append(f"{target.label}: {', '.join(others)}; {table} lists them{_ways_to_mend(counts)}")
    lines += _sex_lines(target, summary_path(table))
    if target.discordant:
        most = max(target.discordant, key=lambda each: each.n_differ / each.n_both)
        lines.append(
            f"{target.label}: {len(target.discordant)} duplicate records contradict the one that is used, most of all"
            f" {records.label(most.record)} in {most.n_differ} of {most.n_both} samples"
        )
    if target.people:
        lines.append(_people_line(target, summary_path(table)))
    lines += _ambiguous_lines(target)
    if is_coded_inversely(target.alleles, target.ploidy, panel, target.sites, target.frequency[target.sites]):
        lines.append(
            f"{target.label}: the genotypes at most typed sites fit the panel better with 0 and 1 exchanged: are they"
            " coded the other way round, as where A1 and A2 of a .bim are exchanged? What is imputed is wrong then"
        )
    lines += [
        f"{panel.contig}:{panel.positions[a]}-{panel.positions[b - 1]}: too few typed sites, {b - a} sites left out"
        for a, b in target.thin
    ]
    worst, n_high = int(np.nan_to_num(rates).argmax()), int((rates > _HIGH_MISSING).sum())
    if n_high:
        more = f" (and {n_high - 1} other samples more than {_HIGH_MISSING:.0%})" if n_high > 1 else ""
        lines.append(
            f"{target.label}: sample {records.samples[worst]} misses {rates[worst]:.1%} of its typed alleles{more}"
        )
    return lines


def _set_words(counts: Mapping[str, int]) -> str:
    """What phase sets in a panel mean; nothing where it has none, or one for each sample."""
    if not counts.get(OTHER_SETS):
        return ""
    return (
        "; where phase is known within its sets (PS) alone, haplotypes are mixed at the borders of each: phase such a"
        " panel whole (Beagle, SHAPEIT, Eagle), or remove a PS that is left over, `bcftools annotate -x FORMAT/PS`"
    )


def _n_split(target: CheckedTarget) -> int:
    """Records that had several ALT alleles, between the first and the last of the stretch."""
    positions = target.records.positions
    if not len(positions):
        return 0
    return int(((target.records.split_at >= positions[0]) & (target.records.split_at <= positions[-1])).sum())


def _group_lines(target: CheckedTarget, groups: Sequence[TypedGroup]) -> list[str]:
    """What each group was typed at, where there are several."""
    groups = [group for group in groups if bool(group.observed.any())]
    if len(groups) < 2:
        return []
    each = ", ".join(f"{len(group.samples)} at {int(group.observed.sum())}" for group in groups[:_GROUPS_NAMED])
    more = f" and {len(groups) - _GROUPS_NAMED} more groups" if len(groups) > _GROUPS_NAMED else ""
    return [f"{target.label}: samples were typed at different sites, as on several chips: {each} sites{more}"]


def _sex_lines(target: CheckedTarget, summary: Path) -> list[str]:
    """Who is a man and how that is known, and calls that do not fit."""
    sexes, lines = target.sexes, []
    n_missing = sum(sexes.heterozygous.values())
    if sexes.told_by:
        n_men = len(sexes.men)
        n_women = len(sexes.told_by) - n_men
        ways = ", ".join(f"{how} {times}" for how, times in Counter(sexes.told_by.values()).most_common())
        men, women = ("man" if n_men == 1 else "men"), ("woman" if n_women == 1 else "women")
        lines.append(f"{target.label}: {n_men} {men} and {n_women} {women} (told by: {ways})")
    if sexes.unlikely:
        who = ", ".join(f"{name} ({share:.0%})" for name, share in list(sexes.unlikely.items())[:_NAMED])
        lines.append(
            f"{target.label}: heterozygosity speaks against the sex of {len(sexes.unlikely)} samples, such as {who} of"
            f" what a woman has; {summary} lists them"
        )
    if sexes.without_y:
        lines.append(
            f"{target.label}: {len(sexes.without_y)} samples have no Y, being women or without a call;"
            f" {sum(sexes.without_y.values())} calls of theirs count as missing: impute Y with --samples that names"
            f" the others; {summary} lists them"
        )
    if sexes.heterozygous:
        lines.append(
            f"{target.label}: {n_missing} heterozygous calls of {len(sexes.heterozygous)} samples"
            " with one haplotype count as missing"
        )
    if sexes.one_allele:
        lines.append(
            f"{target.label}: {sum(sexes.one_allele.values())} calls of one allele of {len(sexes.one_allele)} samples"
            " with two haplotypes count as missing"
        )
    if sexes.half_calls:
        lines.append(
            f"{target.label}: {sum(sexes.half_calls.values())} half calls of {len(sexes.half_calls)} samples, as ./1,"
            " count as missing: without phase nobody knows which haplotype the allele is of"
        )
    return lines


def _people_line(target: CheckedTarget, summary: Path) -> str:
    people, n_samples = target.people, len(target.records.samples)
    named = ", ".join(str(person) for person in people[:_NAMED])
    more = f" and {len(people) - _NAMED} more" if len(people) > _NAMED else ""
    return (
        f"{target.label}: the panel holds {len(people)} of {n_samples} target samples, which do not copy from"
        f" themselves: {named}{more}; {summary} lists them"
    )


def _ambiguous_lines(target: CheckedTarget) -> list[str]:
    """What to do of targets that may be in the panel under a longer name."""
    known = {person.sample for person in target.people if person.by_name}
    found = ambiguous_names([name for name in target.records.samples if name not in known], target.panel)
    if not found:
        return []
    name, others = next(iter(found.items()))
    return [
        f"{target.label}: the names of {len(found)} targets are the end of several of the panel's (PLINK writes"
        f" FID_IID), who copy from each of them, such as {name} from {', '.join(others[:_NAMED])}: give both files one"
        " kind of names, or build a panel without (`vcfrag panel build --samples`), if they are the same people"
    ]


def _ways_to_mend(counts: Counter[Reason]) -> str:
    """The options that would repair records that are now dropped."""
    both = counts[Reason.FLIPPED_SWAPPED]
    needed = {"--fix-swaps": counts[Reason.SWAPPED] + both, "--fix-flips": counts[Reason.FLIPPED] + both}
    options = [option for option, n in needed.items() if n]
    return f" ({' and '.join(options)} would repair some)" if options else ""
