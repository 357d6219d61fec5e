"""What a query is told of the reference: never anything of its own group."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vcfrag_core.errors import RangeError
from vcfrag_core.evidence.group_excluded import FOLDS, GroupExcludedReference
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.pbwt import pbwt_changes
from vcfrag_core.types import F32Array, I64Array


@pytest.fixture(scope="module")
def panel(make_panel: Callable[..., Panel]) -> Panel:
    return make_panel(n_samples=40, n_sites=200, seed=3)


def changes_of(panel: Panel, rows: I64Array) -> F32Array:
    return pbwt_changes(panel.bits, rows, panel.alt_frequency(rows))


def by_sample(panel: Panel) -> GroupExcludedReference:
    return GroupExcludedReference(panel, np.arange(80), [f"g{row // 2}" for row in range(80)])


def test_frequency_for__leaves_the_query_s_own_group_out(panel: Panel) -> None:
    rows = np.arange(10, 70)
    shown = GroupExcludedReference(panel, rows, [f"g{row // 4}" for row in rows])
    found = shown.frequency_for(["g5", None, "g0", "another"], 30, 90)
    others = np.array([row for row in rows if row // 4 != 5])
    np.testing.assert_allclose(found[0], panel.alt_frequency(others)[30:90], atol=1e-6)
    for row in found[1:]:
        np.testing.assert_allclose(row, panel.alt_frequency(rows)[30:90], atol=1e-6)


def test_changes_for__a_query_is_not_among_those_that_are_counted(panel: Panel) -> None:
    shown = GroupExcludedReference(panel, np.arange(80), [f"g{row // 4}" for row in range(80)])
    for number in (0, 3, 19):
        folds = {2 * number % FOLDS, (2 * number + 1) % FOLDS}
        left = np.array([row for row in range(80) if row // 2 % FOLDS not in folds])
        assert not set(left.tolist()) & {4 * number + i for i in range(4)}
        np.testing.assert_array_equal(shown.changes_for([f"g{number}"], 0, 200)[0], changes_of(panel, left))


def test_changes_for__strangers_see_the_whole_reference_and_nothing_else(panel: Panel) -> None:
    rows = np.arange(10, 70)
    shown = GroupExcludedReference(panel, rows, [f"g{row // 2}" for row in rows])
    shown.prepare()
    found = shown.changes_for([None, "g0", "another"], 20, 120)
    for one in found:
        np.testing.assert_array_equal(one, changes_of(panel, rows)[:, 20:120])


def test_changes_for__strangers_of_the_whole_panel_are_told_what_the_panel_keeps(panel: Panel) -> None:
    found = by_sample(panel).changes_for([None], 0, 200)[0]
    assert "allele_changes" in vars(panel)
    np.testing.assert_array_equal(found, changes_of(panel, np.arange(80)))


def test_shown__does_not_depend_on_the_alleles_of_the_query_s_group(panel: Panel) -> None:
    haplotypes = panel.haplotypes()
    haplotypes[12:16] ^= 1
    groups = [f"g{row // 4}" for row in range(80)]
    one, other = (GroupExcludedReference(p, np.arange(80), groups) for p in (panel, Panel.from_haplotypes(haplotypes)))
    assert not np.array_equal(one.frequency, other.frequency)
    np.testing.assert_allclose(one.frequency_for(["g3"], 0, 200), other.frequency_for(["g3"], 0, 200), atol=1e-6)
    np.testing.assert_array_equal(one.changes_for(["g3"], 0, 200), other.changes_for(["g3"], 0, 200))
    assert not np.array_equal(one.changes_for([None], 0, 200), other.changes_for([None], 0, 200))


def test_changes_for__a_sample_is_shown_the_same_whoever_else_forms_a_group(panel: Panel) -> None:
    joined = GroupExcludedReference(
        panel, np.arange(80), ["family" if row // 2 in (6, 13) else f"g{row // 2}" for row in range(80)]
    )
    others = [f"g{number}" for number in range(40) if number not in (6, 13)]
    np.testing.assert_array_equal(by_sample(panel).changes_for(others, 0, 200), joined.changes_for(others, 0, 200))


def test_changes_for__a_group_in_every_fold_leaves_alone(panel: Panel) -> None:
    shown = GroupExcludedReference(panel, np.arange(80), ["many" if row < 40 else f"g{row // 2}" for row in range(80)])
    np.testing.assert_array_equal(shown.changes_for(["many"], 0, 200)[0], changes_of(panel, np.arange(40, 80)))


def test_frequency_for__a_group_that_is_the_whole_reference_is_refused(panel: Panel) -> None:
    shown = GroupExcludedReference(panel, np.arange(4), ["one"] * 4)
    with pytest.raises(RangeError, match="nobody but the group 'one'"):
        shown.frequency_for(["one"], 0, 200)


def test_changes_for__threads_may_ask_together(panel: Panel) -> None:
    shown, alone = by_sample(panel), by_sample(panel)
    groups = [f"g{number}" for number in range(40)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda group: shown.changes_for([group], 0, 200)[0], groups * 2))
    for number, group in enumerate(groups * 2):
        np.testing.assert_array_equal(found[number], alone.changes_for([group], 0, 200)[0])
