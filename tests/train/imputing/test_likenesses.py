"""What is said of targets whom genotypes tell to be, or to be related to, panel samples."""

from __future__ import annotations

import pytest

from vcfrag_core.targets.likeness import TESTED, Likeness, Relation
from vcfrag_train.imputing.likenesses import likeness_lines, likeness_record


def pair(relation: Relation, sample: str = "T1", *, cm: float = 100.0) -> Likeness:
    """A pair whose likeliest relation this is, by 10 nats, with the one after it in `TESTED` the next."""
    place = TESTED.index(relation)
    logs = [-50.0] * len(TESTED)
    logs[place], logs[(place + 1) % len(TESTED)] = -10.0, -20.0
    return Likeness(
        sample=sample,
        panel_sample="P1",
        contigs=("20",),
        n_sites=200,
        cm=cm,
        n_equal=197,
        log_likelihoods=tuple(logs),
    )


@pytest.mark.parametrize(
    ("relation", "one", "two"),
    [
        (Relation.SAME, "1 target is told to be the person of a panel sample of another name, and copies from it",
         "2 targets are told to be the person of a panel sample of another name, and copy from it"),
        (Relation.PARENT_CHILD, "1 target is told to be a parent or child of a panel sample: T1 and P1: parent or",
         "2 targets are told to be a parent or child of a panel sample: T1"),
        (Relation.SIBLING, "1 target is told to be a sibling of a panel sample: T1 and P1: sibling (98.5% of 200",
         "2 targets are told to be a sibling of a panel sample: T1"),
        (Relation.SECOND_DEGREE, "1 target is told to be a relative of the second degree of a panel sample: T1",
         "2 targets are told to be a relative of the second degree of a panel sample: T1"),
    ],
)  # fmt: skip
def test_likeness_lines__one_target_and_two(relation: Relation, one: str, two: str) -> None:
    for start, samples in ((one, ["T1"]), (two, ["T1", "T2"])):
        (line,) = likeness_lines([pair(relation, sample) for sample in samples], excluded=False)
        assert line.startswith(start)


def test_likeness_lines__exclusion_and_too_little_of_the_genome() -> None:
    (line,) = likeness_lines([pair(Relation.SAME)], excluded=True)
    assert "of another name, and does not copy from it: T1 and P1" in line
    line, _ = likeness_lines([pair(Relation.SAME, cm=2.0)], excluded=True)
    assert line.startswith("1 target has nearly the genotypes of a panel sample of another name, too little of the")


def test_likeness__says_how_much_speaks_for_the_relation_told() -> None:
    (line,) = likeness_lines([pair(Relation.SIBLING)], excluded=False)
    assert "; log likelihood of sibling 10.0 above that of second degree, the next; log10 odds of" in line
    record = likeness_record(pair(Relation.SIBLING))
    found = [record[key] for key in ("likeliest", "next", "log_likelihood_difference")]
    assert found == ["sibling", "second_degree", 10.0]
