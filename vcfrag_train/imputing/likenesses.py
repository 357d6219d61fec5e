"""Whom of the panel the targets are like, over all contigs: reported always, left out on request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vcfrag_core.targets.likeness import TESTED, Likeness, Relation, total_likeness
from vcfrag_core.targets.people import likest_samples
from vcfrag_core.types import F64Array
from vcfrag_train.imputing.checks import CheckedTarget

_NAMED: Final = 3
_NEARLY_EQUAL: Final = 0.98
_RELATIVES: Final = {
    Relation.SAME: "the person of",
    Relation.PARENT_CHILD: "a parent or child of",
    Relation.SIBLING: "a sibling of",
    Relation.SECOND_DEGREE: "a relative of the second degree of",
    Relation.STRANGER: "a stranger to",
}


class Likenesses:
    """Gathers the evidence contig by contig."""

    def __init__(self) -> None:
        self._pairs: list[Likeness] = []
        self._contigs: list[str] = []

    def add(self, checked: CheckedTarget, cm: F64Array) -> None:
        """Takes a contig, unless it was taken before, or comes in stretches because some have a single haplotype."""
        panel = checked.panel
        if panel.contig in self._contigs or checked.label != panel.contig:
            return
        found = likest_samples(
            checked.records.samples, checked.alleles, checked.observed, panel, cm, checked.records.ploidy
        )
        if found:
            self._contigs.append(panel.contig)
            # Pairs that were not the likeliest on every contig so far never will be.
            self._pairs = total_likeness([*self._pairs, *found], self._contigs)

    def total(self) -> list[Likeness]:
        """What all contigs together say of pairs that are more than strangers, or could be."""
        return [pair for pair in self._pairs if _is_notable(pair)]

    def same_people(self) -> dict[str, tuple[str, ...]]:
        """Panel samples that are a target sample, by its name."""
        same: dict[str, tuple[str, ...]] = {}
        for pair in self.total():
            if pair.relation is Relation.SAME:
                same[pair.sample] = (*same.get(pair.sample, ()), pair.panel_sample)
        return same


def likeness_record(pair: Likeness) -> dict[str, object]:
    """A pair as the QC summary lists it."""
    return {
        "sample": pair.sample,
        "panel_sample": pair.panel_sample,
        "relation": pair.relation.value,
        "contigs": list(pair.contigs),
        "sites": pair.n_sites,
        "cm": round(pair.cm, 3),
        "concordance": round(pair.concordance, 6),
        "likeliest": pair.likeliest[0].value,
        "next": pair.likeliest[1].value,
        "log_likelihood_difference": round(pair.log_likelihood_difference, 2),
        "log10_odds_of_same_person": {other.value: round(pair.log10_odds(other), 2) for other in TESTED[1:]},
    }


def likeness_lines(pairs: Sequence[Likeness], *, excluded: bool) -> list[str]:
    """What to say of the pairs, a line for each relation."""
    lines = []
    for relation in Relation:
        here = [pair for pair in pairs if pair.relation is relation]
        if not here:
            continue
        named = "; ".join(str(pair) for pair in here[:_NAMED])
        more = f" and {len(here) - _NAMED} more" if len(here) > _NAMED else ""
        what = _what_is_told(relation, len({pair.sample for pair in here}), excluded=excluded)
        lines.append(f"{what}: {named}{more}")
    if excluded and all(pair.relation is not Relation.SAME for pair in pairs):
        lines.append(
            "--exclude-same-person leaves nobody out: no target is told to be a panel sample of another name. A part of"
            " the genome cannot tell a person from a sibling; `vcfrag panel build --samples` makes a panel without"
        )
    return lines


def _what_is_told(relation: Relation, n: int, *, excluded: bool) -> str:
    """What so many targets are to panel samples."""
    if relation is Relation.UNDECIDED:
        return (
            f"{'1 target has' if n == 1 else f'{n} targets have'} nearly the genotypes of a panel sample of another"
            " name, too little of the genome to tell what that means"
        )
    told = f"{'1 target is' if n == 1 else f'{n} targets are'} told to be {_RELATIVES[relation]} a panel sample"
    if relation is not Relation.SAME:
        return told
    if excluded:
        return f"{told} of another name, and {'does' if n == 1 else 'do'} not copy from it"
    return f"{told} of another name, and {'copies' if n == 1 else 'copy'} from it unless --exclude-same-person is given"


def _is_notable(pair: Likeness) -> bool:
    if pair.relation is Relation.UNDECIDED:
        return pair.concordance >= _NEARLY_EQUAL
    return pair.relation is not Relation.STRANGER
