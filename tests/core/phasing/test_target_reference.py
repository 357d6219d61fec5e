"""Targets that serve as references: whom others copy from, and that nobody copies from itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import mosaic_panel
from tests.core.phasing.cohorts import PARAMETERS, phaser, same_draws, switches, without_phase
from vcfrag_core.errors import MaskMismatchError, ProvenanceMismatchError, ShapeError
from vcfrag_core.files.tables.target_reference import read_target_reference, write_target_references
from vcfrag_core.imputation.cohort import select_targets
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.split import Split
from vcfrag_core.phasing.serving import MAX_SERVING, TargetsAsReference, serving_samples, without_rows
from vcfrag_core.retrieval.identity import mask_digest
from vcfrag_core.retrieval.queries import EXTERNAL, SearchResult
from vcfrag_core.targets.target_reference import TargetReference
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import I8Array

N_SITES = 160
N_TARGETS = 24
N_PANEL = 8
FEW = dataclasses.replace(PARAMETERS, states=16, draws=6, agreeing=6)


@pytest.fixture(scope="module")
def everybody() -> Panel:
    return mosaic_panel(n_samples=N_PANEL + N_TARGETS, n_sites=N_SITES, seed=6)


@pytest.fixture(scope="module")
def panel(everybody: Panel) -> Panel:
    return everybody.select_samples(everybody.samples[N_TARGETS:])


@pytest.fixture(scope="module")
def truth(everybody: Panel) -> I8Array:
    return everybody.haplotypes(slice(0, 2 * N_TARGETS)).astype(np.int8)


@pytest.fixture(scope="module")
def targets(truth: I8Array) -> Targets:
    return without_phase(truth)


@pytest.fixture(scope="module")
def reference(panel: Panel, targets: Targets) -> TargetReference:
    return phaser(panel, parameters=FEW).target_reference(targets)


def wrongly_phased(truth: I8Array, samples: list[int], names: list[str]) -> TargetReference:
    """The true genotypes of some, everybody's heterozygotes in an order that nobody's haplotypes have."""
    rng = np.random.default_rng(3)
    pairs = truth.reshape(-1, 2, N_SITES)[samples]
    turned = rng.random((len(samples), N_SITES)) < 0.5
    mixed = np.where(turned[:, None], pairs[:, ::-1], pairs).reshape(-1, N_SITES)
    typed = mask_digest(np.ones(N_SITES, dtype=np.bool_))
    return TargetReference.of(typed, tuple(names), ("",) * len(names), mixed)


def test_target_reference__lets_targets_phase_each_other(
    panel: Panel, targets: Targets, truth: I8Array, reference: TargetReference
) -> None:
    alone, _ = switches(phaser(panel, parameters=FEW).phase(targets), truth)
    together, pairs = switches(phaser(panel, parameters=FEW).phase(targets, target_reference=reference), truth)
    assert pairs > 300
    assert together < 0.8 * alone


@pytest.mark.parametrize("names", [None, ["twin0", "twin1", "twin2"]], ids=["itself", "another name"])
def test_target_reference__nobody_copies_from_itself(truth: I8Array, names: list[str] | None) -> None:
    # Copied from itself a sample would keep the wrong phase, without a mismatch; the panel knows the right one.
    panel = mosaic_panel(n_samples=60, n_sites=N_SITES, seed=6)
    others = panel.select_samples(panel.samples[N_TARGETS:])
    some = [0, 1, 2]
    targets = select_targets(without_phase(truth), np.array(some))
    wrong = wrongly_phased(truth, some, names or list(targets.samples))
    phased = phaser(others, parameters=FEW).phase(targets, target_reference=wrong)
    n_wrong, pairs = switches(phased, truth[: 2 * len(some)])
    assert pairs > 60
    assert n_wrong < 0.2 * pairs


def test_target_reference__shares_the_group_of_the_panel_sample_that_it_is(panel: Panel) -> None:
    typed = mask_digest(np.ones(N_SITES, dtype=np.bool_))
    rows = np.zeros((4, N_SITES), dtype=np.int8)
    served = TargetReference.of(typed, ("a", "b"), (panel.samples[1], ""), rows)
    groups = {name: name for name in panel.samples} | {panel.samples[1]: "family"}
    both, split = served.join(panel, Split(name="phase", reference=panel.samples, groups=groups))
    assert both.n_haplotypes == panel.n_haplotypes + 4
    names = [served.query_name(name, EXTERNAL) for name in ("a", "b", "c")]
    assert split.groups[str(names[0])] == "family"
    assert split.groups[str(names[1])] not in groups.values()
    assert names[2] is EXTERNAL
    assert set(both.samples[-2:]) == set(names[:2])


def test_target_reference__threads_company_and_order_change_nothing(
    panel: Panel, targets: Targets, reference: TargetReference
) -> None:
    whole = phaser(panel, parameters=FEW).phase(targets, draws=3, target_reference=reference)
    threaded = phaser(panel, parameters=FEW, threads=3)
    assert threaded.target_reference(targets).digest == reference.digest
    assert same_draws(whole, threaded.phase(targets, draws=3, target_reference=reference))
    order = [7, 0, 3]
    some = phaser(panel, parameters=FEW).phase(
        select_targets(targets, np.array(order)), draws=3, target_reference=reference
    )
    for place, sample in enumerate(order):
        assert np.array_equal(some.draws_of(place), whole.draws_of(sample))
        assert np.array_equal(some.consensus_of(place), whole.consensus_of(sample))


def test_target_reference__holds_known_phase_as_it_is(panel: Panel, truth: I8Array) -> None:
    known = dataclasses.replace(without_phase(truth), alleles=truth.copy(), phase_sets=None)
    served = phaser(panel, parameters=FEW).target_reference(known)
    assert np.array_equal(served.haplotypes_of(known.samples[4]), truth[8:10])
    assert served.haplotypes_of("nobody") is None


def test_target_reference__of_other_sites_is_refused(
    panel: Panel, targets: Targets, reference: TargetReference
) -> None:
    fewer = dataclasses.replace(targets, observed=np.arange(N_SITES) % 5 > 0)
    with pytest.raises(MaskMismatchError, match="typed at other sites"):
        phaser(panel, parameters=FEW).phase(fewer, target_reference=reference)
    with pytest.raises(ShapeError):
        reference.join(
            panel.select_sites(np.arange(9)),
            Split(name="phase", reference=panel.samples, groups={name: name for name in panel.samples}),
        )


def test_serving_samples__are_chosen_by_name() -> None:
    names = [f"n{i}" for i in range(30)]
    alleles = np.zeros((60, 3), dtype=np.int8)
    ploidy = Ploidy.diploid(30)
    chosen = serving_samples(names, alleles, ploidy, 40, TargetsAsReference.AUTO)
    assert [names[s] for s in chosen] == sorted(names)
    turned = serving_samples(names[::-1], alleles, ploidy, 40, TargetsAsReference.AUTO)
    assert [names[::-1][s] for s in turned] == sorted(names)


def test_serving_samples__are_at_most_so_many() -> None:
    names = [f"n{i}" for i in range(MAX_SERVING + 9)]
    alleles = np.zeros((2 * len(names), 3), dtype=np.int8)
    ploidy = Ploidy.diploid(len(names))
    chosen = serving_samples(names, alleles, ploidy, 40, TargetsAsReference.AUTO)
    assert len(set(chosen.tolist())) == MAX_SERVING
    # Each by its own name: who comes in addition drives out at most as many.
    fewer = serving_samples(names[9:], alleles[18:], Ploidy.diploid(MAX_SERVING), 300, TargetsAsReference.AUTO)
    assert len({names[s] for s in chosen} - {names[9 + s] for s in fewer}) <= 9


def test_serving_samples__have_two_haplotypes_and_nearly_all_calls() -> None:
    alleles = np.zeros((7, 10), dtype=np.int8)
    alleles[2:4, 0] = -1
    chosen = serving_samples(list("abcd"), alleles, Ploidy.of([2, 2, 1, 2]), 2, TargetsAsReference.YES)
    assert chosen.tolist() == [0, 3]


@pytest.mark.parametrize(
    ("choice", "n_panel", "n_serving"),
    [
        (TargetsAsReference.AUTO, 40, 20),
        (TargetsAsReference.AUTO, 100_000, 0),
        (TargetsAsReference.YES, 100_000, 20),
        (TargetsAsReference.NO, 40, 0),
    ],
)
def test_serving_samples__go_by_the_panel(choice: TargetsAsReference, n_panel: int, n_serving: int) -> None:
    names = [f"n{i}" for i in range(20)]
    alleles = np.zeros((40, 3), dtype=np.int8)
    assert len(serving_samples(names, alleles, Ploidy.diploid(20), n_panel, choice)) == n_serving


def test_without_rows__moves_the_others_up() -> None:
    found = SearchResult(
        starts=np.array([0], dtype=np.int32),
        stops=np.array([8], dtype=np.int32),
        scales=np.array([0], dtype=np.int32),
        ids=np.array([[[5, 2, 9, 4], [2, 9, 7, -1]]], dtype=np.int32),
        distances=np.array([[[0, 1, 2, 3], [0, 1, 2, np.inf]]], dtype=np.float32),
    )
    left = without_rows(found, np.array([2, 9], dtype=np.int32))
    assert left.ids.tolist() == [[[5, 4, -1, -1], [7, -1, -1, -1]]]
    assert left.distances.tolist() == [[[0, 3, np.inf, np.inf], [2, np.inf, np.inf, np.inf]]]


def test_file__is_read_back_and_refused_when_it_changed(tmp_path: Path, reference: TargetReference) -> None:
    path = tmp_path / "a.cohort.npz"
    write_target_references({"1": reference, "X:1-5": reference}, path)
    found = read_target_reference(path, "X:1-5", reference.digest)
    assert (found.samples, found.people, found.typed) == (reference.samples, reference.people, reference.typed)
    assert np.array_equal(found.packed, reference.packed)
    other = dataclasses.replace(reference, packed=reference.packed ^ np.uint8(1))
    with pytest.raises(ProvenanceMismatchError, match="than the record says"):
        read_target_reference(path, "1", other.digest)
    with pytest.raises(ProvenanceMismatchError, match="is not the file"):
        read_target_reference(path, "2", reference.digest)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ProvenanceMismatchError, match="is not the file"):
        read_target_reference(path, "1", reference.digest)
    with path.open("wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(ProvenanceMismatchError, match="is not the file"):
        read_target_reference(path, "1", reference.digest)
    write_target_references({}, path)
    with pytest.raises(ProvenanceMismatchError, match="belongs beside the record"):
        read_target_reference(path, "1", reference.digest)
