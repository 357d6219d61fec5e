"""Digests: golden values, and a change of anything changes them.

The golden values were computed once from these inputs; a change of one means that indexes, caches and run records of
earlier versions can no longer be compared, and calls for a new personalisation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vcfrag_core.errors import IdentityError
from vcfrag_core.hashing import text_digest
from vcfrag_core.panel.keys import haplotype_keys
from vcfrag_core.panel.panel import Panel, panel_digest
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.split import Split
from vcfrag_core.panel.storage import DenseBits
from vcfrag_core.retrieval import identity
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.retrieval.layout import SegmentLayout
from vcfrag_core.types import BoolArray

MAKES_PANELS = Callable[..., Panel]


def small_panel() -> Panel:
    alleles = np.array([[0, 1, 1], [1, 1, 0], [0, 0, 1], [1, 0, 0]])
    return Panel.from_haplotypes(alleles, contig="20", positions=np.array([5, 9, 9]), samples=["B", "Ä"])


def small_split() -> Split:
    return Split(name="train", reference=("a", "b"), held_out=("c",), groups={"a": "f", "b": "b", "c": "f"})


def small_layout() -> SegmentLayout:
    return SegmentLayout(n_sites=100, lengths=(8, 32), min_observed=4)


def test_digests__golden() -> None:
    assert panel_digest(small_panel()) == "dcc4a69b9daf4fa54e6bf0d225ad713b"
    assert identity.split_digest(small_split()) == "d77ef85162768595d47033bd88febefb"
    assert identity.mask_digest(np.arange(11) % 3 == 0) == "8bc816b3905df30ac9485e76856514bf"
    assert (
        identity.metric_digest(np.array([0.5, 6.9072265625, 14], dtype=np.float32))
        == "ae740b4617a13f76358e4d40aec1c482"
    )
    assert identity.layout_digest(small_layout()) == "f51fa0d8fa60e4bc5f0c824858580674"
    assert text_digest("map", "a", b"bc") == "0fb4972c91789385a1d9d6d82cd3c447"
    assert haplotype_keys(small_panel()).tolist() == [
        10752613086277595669,
        17401057580860464880,
        7366315544436266700,
        14762636155034028803,
    ]


def test_digests__golden_of_a_panel_with_a_male() -> None:
    panel = Panel.from_haplotypes(np.eye(3, dtype=np.int8), samples=["A", "B"], ploidy=Ploidy.of([2, 1]))
    assert panel_digest(panel) == "f60750da81292440c97b4c25a781719c"
    other = Panel.from_haplotypes(np.eye(3, dtype=np.int8), samples=["A", "B"], ploidy=Ploidy.of([1, 2]))
    assert panel_digest(other) != panel_digest(panel)


def test_identity__of_arrays_is_their_digests() -> None:
    observed, weights = np.arange(11) % 3 == 0, np.array([0.5, 6.9072265625, 14], dtype=np.float32)
    found = Identity.of("p", split=small_split(), observed=observed, weights=weights, layout=small_layout())
    assert found == Identity(
        panel="p",
        split="d77ef85162768595d47033bd88febefb",
        mask="8bc816b3905df30ac9485e76856514bf",
        metric="ae740b4617a13f76358e4d40aec1c482",
        layout="f51fa0d8fa60e4bc5f0c824858580674",
    )


def test_panel_digest__every_field_that_counts() -> None:
    panel = small_panel()
    changed = [
        dataclasses.replace(panel, contig="21"),
        dataclasses.replace(panel, positions=np.array([5, 8, 9], dtype=np.int32)),
        dataclasses.replace(panel, refs=("A", "G", "A")),
        dataclasses.replace(panel, alts=("C", "C", "G")),
        dataclasses.replace(panel, samples=("B", "C")),
        dataclasses.replace(panel, samples=("Ä", "B")),
        dataclasses.replace(panel, refs=("AA", "", "A")),
    ]
    assert len({panel_digest(p) for p in (panel, *changed)}) == len(changed) + 1


@given(haplotype=st.integers(0, 39), site=st.integers(0, 199))
def test_panel_digest__every_bit_counts(haplotype: int, site: int) -> None:
    alleles = np.zeros((40, 200), dtype=np.uint8)
    before = panel_digest(Panel.from_haplotypes(alleles))
    alleles[haplotype, site] = 1
    assert panel_digest(Panel.from_haplotypes(alleles)) != before


def test_panel_digest__what_it_leaves_out() -> None:
    panel = small_panel()
    other = dataclasses.replace(panel, site_ids=("rs1", "rs2", "."), source="elsewhere.bcf", contig_length=63_025_520)
    assert panel_digest(other) == panel_digest(panel)
    in_fortran_order = dataclasses.replace(panel, bits=DenseBits(np.asfortranarray(panel.packed), panel.n_sites))
    assert panel_digest(in_fortran_order) == panel_digest(panel)


@given(data=st.data(), n=st.integers(1, 40))
def test_mask_digest__every_bit_and_the_length_count(data: st.DataObject, n: int) -> None:
    mask: BoolArray = data.draw(hnp.arrays(np.bool_, n))
    flipped = mask.copy()
    site = data.draw(st.integers(0, n - 1))
    flipped[site] = not flipped[site]
    longer = np.append(mask, False)
    digests = {identity.mask_digest(m) for m in (mask, flipped, longer)}
    assert len(digests) == 3


def test_metric_digest__one_step_at_one_site_counts() -> None:
    weights = np.full(50, 6.90625, dtype=np.float32)
    digests = {identity.metric_digest(weights)}
    for site in range(50):
        changed = weights.copy()
        changed[site] += np.float32(2.0**-10)
        digests.add(identity.metric_digest(changed))
    assert len(digests) == 51


@pytest.mark.parametrize(
    "change", [{"n_sites": 101}, {"lengths": (8, 34)}, {"lengths": (8,)}, {"lengths": (4, 8, 32)}, {"min_observed": 5}]
)
def test_layout_digest__every_field_counts(change: dict[str, object]) -> None:
    changed = dataclasses.replace(small_layout(), **change)  # type: ignore[arg-type]
    assert identity.layout_digest(changed) != identity.layout_digest(small_layout())


def test_split_digest__every_field_counts() -> None:
    split = small_split()
    groups = dict(split.groups)
    changed = [
        dataclasses.replace(split, name="validation"),
        dataclasses.replace(split, reference=("a",)),
        dataclasses.replace(split, reference=("a", "c"), held_out=("b",)),
        dataclasses.replace(split, held_out=()),
        dataclasses.replace(split, groups=groups | {"c": "c"}),
        dataclasses.replace(split, groups=groups | {"d": "d"}),
        dataclasses.replace(split, reference=("ab",), groups=groups | {"ab": "f"}),
    ]
    assert len({identity.split_digest(s) for s in (split, *changed)}) == len(changed) + 1


@given(order=st.permutations(range(6)))
def test_split_digest__order_does_not_count(order: list[int]) -> None:
    names = [f"s{i}" for i in order]
    split = Split(name="x", reference=tuple(names[:4]), held_out=(), groups={n: n for n in names})
    inverse = Split(name="x", reference=tuple(sorted(names[:4])), held_out=(), groups={n: n for n in sorted(names)})
    assert identity.split_digest(split) == identity.split_digest(inverse)


def test_kinds__never_share_a_digest() -> None:
    empty = [
        identity.mask_digest(np.zeros(0, dtype=np.bool_)),
        identity.metric_digest(np.zeros(0, dtype=np.float32)),
        text_digest("map"),
        text_digest("policy"),
    ]
    assert len(set(empty)) == len(empty)


@given(parts=st.lists(st.text(max_size=3), max_size=4), others=st.lists(st.text(max_size=3), max_size=4))
def test_text_digest__parts_do_not_run_together(parts: list[str], others: list[str]) -> None:
    assert (text_digest("map", *parts) == text_digest("map", *others)) == (parts == others)


@given(seed=st.integers(0, 1000))
def test_haplotype_keys__follow_the_haplotype_not_its_place(seed: int) -> None:
    rng = np.random.default_rng(seed)
    panel = Panel.from_haplotypes((rng.random((24, 40)) < 0.4).astype(np.uint8))
    order = rng.permutation(panel.n_samples)
    shuffled = panel.select_samples([panel.samples[i] for i in order])
    np.testing.assert_array_equal(haplotype_keys(shuffled).reshape(-1, 2), haplotype_keys(panel).reshape(-1, 2)[order])


def test_haplotype_keys__depend_on_the_name_and_the_content() -> None:
    keys = haplotype_keys(Panel.from_haplotypes(np.array([[0, 1], [0, 1], [0, 1], [1, 1]])))
    assert keys[0] == keys[1]
    assert len(set(keys.tolist())) == 3


FIVE = Identity(panel="p", split="s", mask="m", metric="w", layout="l")


@pytest.mark.parametrize("field", ["panel", "split", "mask", "metric", "layout"])
def test_check__names_the_field_and_both_values(field: str) -> None:
    other = dataclasses.replace(FIVE, **{field: "other"})
    with pytest.raises(IdentityError, match=f"the {field} differs.*{getattr(FIVE, field)}.*other") as caught:
        FIVE.check(other)
    assert caught.value.reason == f"{field.upper()}_MISMATCH"


def test_check__equal_identities_pass() -> None:
    FIVE.check(dataclasses.replace(FIVE))
    assert dataclasses.replace(FIVE) == FIVE
