"""A trained model at work: the same bytes for any company and any number of threads, and what it leaves alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from vcfrag_core.evidence.evidence import CANDIDATE_FEATURES, SITE_FEATURES, Evidence
from vcfrag_core.evidence.inputs import inputs_by_site
from vcfrag_core.imputation.corrector import SITES_PER_CALL, Corrector, between
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.imputation.load import default_model, load_model
from vcfrag_core.model.config import ModelConfig
from vcfrag_core.model.network import ImputationModel
from vcfrag_core.model.one_layer import OneLayer
from vcfrag_core.model.torch_network import TorchNetwork
from vcfrag_core.model.torch_threads import torch_threads
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.queries import EXTERNAL
from vcfrag_core.types import F32Array, I64Array

N_SITES = 900


def model_of(*, layers: int = 1, learn_copying: bool = False, awake: bool = True) -> ImputationModel:
    torch.manual_seed(4)
    model = ImputationModel(ModelConfig(width=16, heads=2, layers=layers, candidates=5, learn_copying=learn_copying))
    if awake:
        torch.nn.init.normal_(model.head.weight, std=0.3)
    return model.eval()


def corrector(model: ImputationModel) -> Corrector:
    if OneLayer.serves(model.config):
        tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
        return Corrector(OneLayer(model.config, tensors), "test")
    return Corrector(TorchNetwork(model), "test")


def random_evidence(counts: tuple[int, ...], seed: int = 1) -> Evidence:
    """Evidence of queries with these numbers of uncertain sites."""
    rng = np.random.default_rng(seed)
    dosage = rng.integers(0, 2, (len(counts), N_SITES)).astype(np.float32)
    query = np.repeat(np.arange(len(counts)), counts)
    site = np.concatenate([np.sort(rng.choice(N_SITES, n, replace=False)) for n in counts] or [np.empty(0, np.int64)])
    n = len(query)
    uncertain = rng.uniform(0.01, 0.99, n).astype(np.float32)
    dosage[query, site] = uncertain
    candidates = rng.uniform(0, 2, (n, 5, len(CANDIDATE_FEATURES))).astype(np.float32)
    candidates[:, :, 0] = np.sort(rng.dirichlet(np.ones(5), n), axis=1)[:, ::-1]
    candidates[:, :, 1] = rng.choice([-1, 1], (n, 5))
    sites = rng.uniform(0, 0.9, (n, len(SITE_FEATURES))).astype(np.float32)
    sites[:, 0] = uncertain
    return Evidence(dosage=dosage, query=query, site=site, candidates=candidates, sites=sites, best_mass=1.0)


def of_queries(evidence: Evidence, queries: I64Array) -> Evidence:
    """The evidence of some queries, in the order given."""
    rows = np.concatenate([np.flatnonzero(evidence.query == q) for q in queries])
    return dataclasses.replace(
        evidence,
        dosage=evidence.dosage[queries],
        query=np.repeat(np.arange(len(queries)), [(evidence.query == q).sum() for q in queries]),
        site=evidence.site[rows],
        candidates=evidence.candidates[rows],
        sites=evidence.sites[rows],
    )


def correct(tool: Corrector, evidence: Evidence, threads: int = 1) -> F32Array:
    with tool.network.undisturbed(), ThreadPoolExecutor(threads) as pool:
        if threads == 1:
            return tool.correct(evidence)
        alone = [of_queries(evidence, np.array([q])) for q in range(len(evidence.dosage))]
        return np.concatenate(list(pool.map(tool.correct, alone)))


@pytest.mark.parametrize("layers", [1, 2])
def test_correct__same_bytes_for_any_company_and_number_of_threads(layers: int) -> None:
    tool = corrector(model_of(layers=layers))
    evidence = random_evidence((3, 0, SITES_PER_CALL, 700, SITES_PER_CALL + 1, 40))
    together = correct(tool, evidence)
    np.testing.assert_array_equal(together, correct(tool, evidence, threads=4))
    for q in range(6):
        np.testing.assert_array_equal(together[[q]], correct(tool, of_queries(evidence, np.array([q]))))
    order = np.array([5, 3, 0, 1, 4, 2])
    np.testing.assert_array_equal(together[order], correct(tool, of_queries(evidence, order), threads=2))


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_correct__equals_the_models_own_answer(layers: int) -> None:
    model = model_of(layers=layers)
    evidence = random_evidence((300, 20))
    corrected = correct(corrector(model), evidence)
    with torch.inference_mode():
        base = model.prior(torch.from_numpy(evidence.sites[:, 0]), torch.from_numpy(evidence.sites[:, 1]))
        delta = model.correction(*map(torch.from_numpy, inputs_by_site(evidence)))
        expected = (base + delta).sigmoid().numpy()
    np.testing.assert_allclose(corrected[evidence.query, evidence.site], expected, atol=1e-5)
    assert np.abs(expected - evidence.dosage[evidence.query, evidence.site]).mean() > 0.01


def test_correct__certain_sites_stay_as_they_are() -> None:
    evidence = random_evidence((100, 50))
    corrected = correct(corrector(model_of()), evidence)
    certain = np.ones(evidence.dosage.shape, dtype=np.bool_)
    certain[evidence.query, evidence.site] = False
    np.testing.assert_array_equal(corrected[certain], evidence.dosage[certain])


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_correct__the_rarest_sites_left_to_copying_lean_to_its_strict_way(share: float) -> None:
    evidence = random_evidence((200, 90))
    rng = np.random.default_rng(3)
    frequency = rng.choice(np.array([0.0005, 0.9995, 0.02, 0.3], dtype=np.float32), len(evidence.query))
    evidence.sites[:, 1] = frequency
    network = corrector(model_of()).network
    tool = Corrector(network, "test", left_to_copying=((0.0, 0.001), (0.01, 0.05)))
    with network.undisturbed():
        corrected = tool.correct(evidence, dense_share=share)[evidence.query, evidence.site]
        everywhere = Corrector(network, "test").correct(evidence, dense_share=share)[evidence.query, evidence.site]
    copied, strict = evidence.sites[:, 0], evidence.sites[:, SITE_FEATURES.index("strict_dosage")]
    rare, left = np.minimum(frequency, 1 - frequency) < 0.001, np.isclose(frequency, 0.02)
    np.testing.assert_allclose(corrected[rare], (1 - share) * copied[rare] + share * strict[rare], rtol=1e-5)
    np.testing.assert_array_equal(corrected[left], copied[left])
    np.testing.assert_allclose(corrected[~rare & ~left], everywhere[~rare & ~left], rtol=1e-5)
    # What the model corrects is its own affair.
    assert np.abs(everywhere[rare] - corrected[rare]).mean() > 0.01


@pytest.mark.parametrize(
    ("n_samples", "dense", "share"), [(60, 1.0, 0.5), (60, 0.75, 0.75), (60, 0.5, 1.0), (300, 1.0, 1.0)]
)
def test_correct__few_copies_in_a_panel_smaller_than_any_of_training_count_by_half(
    n_samples: int, dense: float, share: float
) -> None:
    evidence = random_evidence((200, 90))
    copies = np.random.default_rng(3).choice(np.array([1, 2, 3, 40, 118, 119]), len(evidence.query))
    evidence.sites[:, 1] = copies / 120
    network = corrector(model_of()).network
    tool = Corrector(network, "test", reference_samples=(300, 2_000))
    with network.undisturbed():
        whole = tool.correct(evidence, dense_share=dense)[evidence.query, evidence.site]
        some = tool.for_reference(n_samples).correct(evidence, dense_share=dense)[evidence.query, evidence.site]
    few = np.minimum(copies, 120 - copies) <= 2
    np.testing.assert_array_equal(some[~few], whole[~few])
    np.testing.assert_allclose(some[few], between(evidence.sites[few, 0], whole[few], share), rtol=1e-4)
    assert np.abs(some - whole)[few].mean() > (0.01 if share < 1 else -1)


class Recording(Corrector):
    """Remembers how much the strict way was to count."""

    share = -1.0

    def correct(self, evidence: Evidence, *, dense_share: float = 0.0) -> F32Array:
        self.share = dense_share
        return super().correct(evidence, dense_share=dense_share)


def test_torch_threads__overlapping_users_leave_the_number_as_it_was() -> None:
    before = torch.get_num_threads()
    outer, inner = torch_threads(before + 1), torch_threads(before + 2)
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert torch.get_num_threads() == before + 1
    inner.__exit__(None, None, None)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("layers", [1, 2])
def test_correct__leaves_its_evidence_and_torchs_threads_alone(layers: int) -> None:
    evidence = random_evidence((60,))
    before, threads = evidence.dosage.copy(), torch.get_num_threads()
    correct(corrector(model_of(layers=layers)), evidence)
    np.testing.assert_array_equal(evidence.dosage, before)
    assert torch.get_num_threads() == threads


def test_correct__an_untrained_model_hardly_moves_copying() -> None:
    evidence = random_evidence((400,))
    moved = correct(corrector(model_of(awake=False)), evidence) - evidence.dosage
    assert np.abs(moved).max() < 1e-3


def test_torch_network__puts_the_model_to_evaluation() -> None:
    model = ImputationModel(ModelConfig(width=8, heads=2, dropout=0.5)).train()
    assert not TorchNetwork(model).model.training


@pytest.fixture(scope="module")
def placed(make_panel: Callable[..., Panel]) -> tuple[Panel, GeneticMap]:
    panel = make_panel(n_samples=20, n_sites=240, seed=6, contig="7")
    ends = panel.positions[[0, -1]].astype(np.int64)
    genetic_map = GeneticMap(positions=ends, cm=np.array([0.0, 10.0]), contig="7")
    return panel, genetic_map


@pytest.mark.parametrize(("cm_long", "share"), [(10.0, 0.0), (1.2, 0.2027), (0.1, 1.0)])
def test_imputer_with_a_model__counts_the_strict_way_by_the_density(
    placed: tuple[Panel, GeneticMap], cm_long: float, share: float
) -> None:
    panel, _ = placed
    ends = panel.positions[[0, -1]].astype(np.int64)
    tool = Recording(corrector(model_of()).network, "test")
    imputer = Imputer(panel, GeneticMap(positions=ends, cm=np.array([0.0, cm_long]), contig="7"), corrector=tool)
    observed = np.arange(panel.n_sites) % 2 == 0
    alleles = np.where(observed, panel.haplotypes()[:2], np.int8(-1)).astype(np.int8)
    list(imputer.impute_windows(alleles, observed, [panel.samples[0]] * 2))
    # 120 typed sites on so many cM, between 60 and 750 per cM.
    assert tool.share == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize("learn_copying", [False, True])
def test_imputer_with_a_model__same_bytes_alone_and_together(
    placed: tuple[Panel, GeneticMap], learn_copying: bool
) -> None:
    panel, genetic_map = placed
    rng = np.random.default_rng(2)
    observed = rng.random(panel.n_sites) < 0.4
    alleles = np.where(observed, panel.haplotypes()[:8] ^ (rng.random((8, panel.n_sites)) < 0.02), np.int8(-1)).astype(
        np.int8
    )

    def impute(rows: slice, threads: int, tool: Corrector | None) -> F32Array:
        imputer = Imputer(panel, genetic_map, threads=threads, corrector=tool)
        names = [name for name in panel.samples[:4] for _ in range(2)][rows]
        return np.concatenate([d for _, d in imputer.impute_windows(alleles[rows], observed, names)], axis=1)

    tool = corrector(model_of(learn_copying=learn_copying))
    together = impute(slice(0, 8), 3, tool)
    for start in range(0, 8, 2):
        np.testing.assert_array_equal(together[start : start + 2], impute(slice(start, start + 2), 1, tool))
    copying = impute(slice(0, 8), 1, None)
    assert not np.array_equal(together, copying)
    assert float(together.min()) >= 0
    assert float(together.max()) <= 1


def test_imputer_with_a_model__a_panel_member_is_told_nothing_of_itself(
    make_panel: Callable[..., Panel],
) -> None:
    one = make_panel(n_samples=20, n_sites=240, seed=6, contig="7")
    genetic_map = GeneticMap(positions=one.positions[[0, -1]].astype(np.int64), cm=np.array([0.0, 10.0]), contig="7")
    observed = np.random.default_rng(2).random(one.n_sites) < 0.4
    haplotypes = one.haplotypes()
    haplotypes[4:6, ~observed] ^= 1
    two = Panel.from_haplotypes(haplotypes, contig="7")
    alleles = np.where(observed, one.haplotypes()[4:6], np.int8(-1)).astype(np.int8)

    def impute(panel: Panel) -> F32Array:
        imputer = Imputer(panel, genetic_map, corrector=corrector(model_of()))
        names = [panel.samples[2]] * 2
        return np.concatenate([d for _, d in imputer.impute_windows(alleles, observed, names)], axis=1)

    np.testing.assert_allclose(impute(one), impute(two), atol=1e-6)


def test_imputer_with_a_model__outside_samples_are_corrected_too(
    placed: tuple[Panel, GeneticMap],
) -> None:
    panel, genetic_map = placed
    observed = np.arange(panel.n_sites) % 3 == 0
    alleles = np.where(observed, panel.haplotypes()[[0, 9]], np.int8(-1)).astype(np.int8)
    imputer = Imputer(panel, genetic_map, corrector=corrector(model_of()))
    dosages = [dosage for _, dosage in imputer.impute_windows(alleles, observed, [EXTERNAL] * 2)]
    assert all(bool(np.isfinite(dosage).all()) for dosage in dosages)


def test_load_model__knows_the_size_of_its_training_panel() -> None:
    record = json.loads((default_model() / "provenance.json").read_text(encoding="utf-8"))
    trained = load_model()
    assert trained.reference_samples is not None
    for size in trained.reference_samples:
        assert f"{size} reference" in record["described"]["split"]
    assert trained.differs == ()
