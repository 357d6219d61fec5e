"""External trains and who validates: families together, shares kept by super-population, whatever the order."""

from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import ConfigError, HeldOutSampleError, SampleTableError, UnknownSampleError
from vcfrag_core.files.tables.samples import SampleTable, read_sample_table
from vcfrag_core.files.tables.splits import read_split_table
from vcfrag_core.panel.split import Split
from vcfrag_core.panel.split_design import (
    SplitDesign,
    design_by_fraction,
    design_from_roles,
    exclusion_groups,
    infer_split,
    joined_groups,
    pedigree_groups,
)
from vcfrag_core.retrieval.identity import split_digest

Row = tuple[str, str | None, str | None, str | None, str | None]


def table_of(rows: Sequence[Row]) -> SampleTable:
    """A table from (sample, super-population, family, father, mother)."""
    samples, strata, family, father, mother = zip(*rows, strict=True)
    return SampleTable(
        samples=samples,
        population=(None,) * len(rows),
        super_population=strata,
        family=family,
        father=father,
        mother=mother,
    )


@st.composite
def pedigrees(draw: st.DrawFn) -> tuple[list[str], SampleTable]:
    """Up to 60 people of three super-populations, with some families and some parents, absent ones too."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n = draw(st.integers(4, 60))
    names = [f"P{i:02d}" for i in range(n)]

    def some(values: Sequence[str], share: float) -> str | None:
        return str(rng.choice(values)) if rng.random() < share else None

    rows: list[Row] = [
        (
            name,
            some(["AFR", "EUR", "SAS"], 0.9),
            some([f"F{i}" for i in range(n)], 0.5),
            some([*names, "absent1", "absent2"], 0.08),
            some(names, 0.08),
        )
        for name in names
    ]
    return names, table_of(rows)


def components(names: Sequence[str], table: SampleTable) -> set[frozenset[str]]:
    """External is joined to whom, by growing sets until nothing changes."""
    links = [
        {f"person:{row[0]}", *(f"family:{row[1]}" for _ in [0] if row[1]), *(f"person:{p}" for p in row[2:] if p)}
        for row in zip(table.samples, table.family, table.father, table.mother, strict=True)
    ]
    found = []
    for name in names:
        group = {f"person:{name}"}
        while True:
            grown = group.union(*(link for link in links if link & group))
            if grown == group:
                break
            group = grown
        found.append(frozenset(n for n in names if f"person:{n}" in group))
    return set(found)


def by_group(groups: dict[str, str]) -> set[frozenset[str]]:
    members = collections.defaultdict(set)
    for sample, group in groups.items():
        members[group].add(sample)
    return {frozenset(m) for m in members.values()}


@given(pedigree=pedigrees())
def test_exclusion_groups__are_the_connected_components(pedigree: tuple[list[str], SampleTable]) -> None:
    names, table = pedigree
    assert by_group(exclusion_groups(names, table)) == components(names, table)


def test_exclusion_groups__names() -> None:
    rows: list[Row] = [
        ("alone", None, None, None, None),
        ("F1", None, None, None, None),
        ("a", None, "F2", None, None),
        ("b", None, "F1", "a", None),
        ("c", None, None, None, "absent"),
        ("d", None, None, None, "absent"),
    ]
    assert exclusion_groups([row[0] for row in rows], table_of(rows)) == {
        "alone": "alone",
        "F1": "F1",
        "a": "family:F1",
        "b": "family:F1",
        "c": "family:c",
        "d": "family:c",
    }


def test_exclusion_groups__joined_by_someone_outside_the_panel() -> None:
    rows: list[Row] = [("a", None, "F1", None, None), ("x", None, "F1", "b", None), ("b", None, None, None, None)]
    groups = exclusion_groups(["a", "b"], table_of(rows))
    assert groups == {"a": "family:F1", "b": "family:F1"}


def test_exclusion_groups__without_a_table_everybody_alone() -> None:
    assert exclusion_groups(["b", "a"]) == {"a": "a", "b": "b"}


@given(pedigree=pedigrees(), seed=st.integers(0, 99), order=st.randoms(use_true_random=False))
def test_design_by_fraction__whatever_the_order(
    pedigree: tuple[list[str], SampleTable], seed: int, order: random.Random
) -> None:
    names, table = pedigree
    shuffled, rows = list(names), list(range(len(names)))
    order.shuffle(shuffled)
    order.shuffle(rows)
    moved = SampleTable(**{f.name: tuple(getattr(table, f.name)[i] for i in rows) for f in dataclasses.fields(table)})
    one = design_by_fraction(names, seed=seed, validation=0.3, unused=0.1, table=table)
    other = design_by_fraction(shuffled, seed=seed, validation=0.3, unused=0.1, table=moved)
    assert one == other


@given(pedigree=pedigrees(), seed=st.integers(0, 99))
def test_design_by_fraction__no_family_is_divided(pedigree: tuple[list[str], SampleTable], seed: int) -> None:
    names, table = pedigree
    design = design_by_fraction(names, seed=seed, validation=0.3, unused=0.2, table=table)
    assert sorted(design.roles) == sorted(names)
    for members in components(names, table):
        assert len({design.roles[name] for name in members}) == 1


@given(seed=st.integers(0, 1000), share=st.floats(0.02, 0.5))
def test_design_by_fraction__shares_by_super_population(seed: int, share: float) -> None:
    sizes = {"AFR": 211, "AMR": 37, "EUR": 100, "SAS": 3}
    rows: list[Row] = [(f"{s}{i}", s, None, None, None) for s, n in sizes.items() for i in range(n)]
    design = design_by_fraction([row[0] for row in rows], seed=seed, validation=share, table=table_of(rows))
    validation = design.samples("validation")
    assert abs(len(validation) - share * 351) <= 0.5 + 1e-9
    for stratum, n in sizes.items():
        assert abs(sum(name.startswith(stratum) for name in validation) - share * n) <= 1 + 1e-9


def test_design_by_fraction__another_seed_another_choice() -> None:
    names = [f"S{i}" for i in range(200)]
    chosen = {design_by_fraction(names, seed=seed, validation=0.2).samples("validation") for seed in range(5)}
    assert len(chosen) == 5


def test_design_by_fraction__golden() -> None:
    names = [f"S{i:02d}" for i in range(20)]
    assert design_by_fraction(names, seed=1, validation=0.2).samples("validation") == ("S01", "S08", "S10", "S16")


@pytest.mark.parametrize(("validation", "unused"), [(-0.1, 0), (0.1, -0.1), (1.0, 0), (0.6, 0.4)])
def test_design_by_fraction__impossible_shares_are_refused(validation: float, unused: float) -> None:
    with pytest.raises(ConfigError, match="leave nothing to train on"):
        design_by_fraction(["a", "b"], seed=1, validation=validation, unused=unused)


def test_splits__reference_held_out_and_groups() -> None:
    design = design_from_roles(
        ["d", "c", "b", "a"], {"a": "train", "b": "train", "c": "validation", "d": "unused"}, table=None
    )
    splits = design.splits()
    assert list(splits) == ["train", "validation", "infer"]
    for name in ("train", "validation"):
        assert splits[name].reference == ("a", "b")
        assert splits[name].held_out == ("c", "d")
        assert splits[name].groups == {name: name for name in "abcd"}
    assert splits["infer"].reference == ("a", "b", "c")
    assert splits["infer"].held_out == ("d",)
    assert len({split_digest(split) for split in splits.values()}) == 3


def test_splits__infer_is_the_whole_panel_when_nobody_is_unused() -> None:
    names = [f"S{i}" for i in range(30)]
    infer = design_by_fraction(names, seed=1).splits()["infer"]
    assert split_digest(infer) == split_digest(infer_split(names))
    assert set(infer.reference) == set(names)


@pytest.mark.parametrize("role", ["train", "validation"])
def test_splits__both_roles_are_needed(role: str) -> None:
    with pytest.raises(ConfigError, match="both are needed"):
        SplitDesign(roles={"a": role}, groups={"a": "a"}).splits()


def test_design_from_roles__every_sample_and_no_other() -> None:
    with pytest.raises(UnknownSampleError, match="1 samples with a role are not in the panel, such as 'x'"):
        design_from_roles(["a"], {"a": "train", "x": "train"})
    with pytest.raises(ConfigError, match="1 samples of the panel have no role, such as 'b'"):
        design_from_roles(["a", "b"], {"a": "train"})
    with pytest.raises(ConfigError, match="'a' has the role 'test'"):
        design_from_roles(["a"], {"a": "test"})


def test_design_from_roles__a_divided_family_is_refused() -> None:
    rows: list[Row] = [("a", None, "F", None, None), ("b", None, "F", None, None)]
    with pytest.raises(ConfigError, match=r"'a' \(train\) and 'b' \(validation\) are of one family"):
        design_from_roles(["a", "b"], {"a": "train", "b": "validation"}, table=table_of(rows))


def test_design_by_fraction__on_the_real_samples(data_dir: Path) -> None:
    table = read_sample_table(data_dir / "samples_2404.tsv")
    design = design_by_fraction(table.samples, seed=1, validation=0.05, table=table)
    validation = set(design.samples("validation"))
    strata = dict(zip(table.samples, table.super_population, strict=True))
    share = {s: n / 2404 for s, n in collections.Counter(strata.values()).items()}
    chosen = collections.Counter(strata[name] for name in validation)
    assert len(validation) == pytest.approx(0.05 * 2404, abs=1)
    assert all(chosen[s] == pytest.approx(0.05 * 2404 * share[s], abs=2) for s in share)
    for sample, *parents in zip(table.samples, table.father, table.mother, strict=True):
        assert all(p not in design.roles or (p in validation) == (sample in validation) for p in parents if p)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("header", ["", "sample\trole\n", "#Sample\tRole\n"])
def test_read_split_table__with_and_without_a_header(tmp_path: Path, header: str) -> None:
    path = write(tmp_path / "s.tsv", f"{header}a\ttrain\nb\tvalidation\n\nc\tunused\r\n")
    assert read_split_table(path) == {"a": "train", "b": "validation", "c": "unused"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\ttrain\nb\n", "record line 2: must be"),
        ("a\ttrain\textra\n", "record line 1: must be"),
        ("\ttrain\n", "record line 1: must be"),
        ("a\ttest\n", "line 1, sample a: unknown role 'test'; known are train, validation, unused"),
        ("a\ttrain\na\ttrain\n", "line 2, sample a: is named twice"),
        ("sample\trole\n", "names no sample"),
        ("", "names no sample"),
    ],
)
def test_read_split_table__what_is_wrong_and_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SampleTableError, match=message):
        read_split_table(write(tmp_path / "s.tsv", text))


def test_read_split_table__no_such_file(tmp_path: Path) -> None:
    with pytest.raises(SampleTableError, match=r"none\.tsv"):
        read_split_table(tmp_path / "none.tsv")


def test_split__needs_a_name_a_reference_and_groups() -> None:
    for bad in (
        {"name": "", "reference": ("a",)},
        {"reference": ()},
        {"reference": ("a", "a")},
        {"reference": ("a",), "held_out": ("b", "b")},
        {"reference": ("a", "z")},
        {"reference": ("a",), "held_out": ("z",)},
    ):
        fields = {"name": "train", "groups": {"a": "a", "b": "b", "z": ""}} | bad
        with pytest.raises(ConfigError):
            Split(**fields)  # type: ignore[arg-type]


def test_split__a_held_out_sample_in_the_reference_is_refused() -> None:
    with pytest.raises(HeldOutSampleError, match="holds 1 held-out samples in its reference, the first is 'b'"):
        Split(name="train", reference=("a", "b"), held_out=("b",), groups={"a": "a", "b": "b"})


def test_joined_groups__one_name_is_one_person_and_every_group_counts() -> None:
    groups = joined_groups(
        [{"A": "A", "B": "family:1"}, {"B": "B", "C": "family:1"}, {"A": "family:2", "D": "family:2"}]
    )
    same = {frozenset(name for name in groups if groups[name] == group) for group in groups.values()}
    assert same == {frozenset("AD"), frozenset("BC")}


def test_pedigree_groups__parents_without_a_row_count() -> None:
    nobody = (None,)
    table = SampleTable(
        samples=("A",), population=nobody, super_population=nobody, family=nobody, father=("F",), mother=nobody
    )
    groups = pedigree_groups(table)
    assert set(groups) == {"A", "F"}
    assert groups["A"] == groups["F"]
