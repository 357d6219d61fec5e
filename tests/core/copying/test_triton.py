"""The device's copying kernels: in Triton's interpreter, compiled without a device, and on one."""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.copying_cases import Case, random_case
from vcfrag_core.copying import layer as copying_layer
from vcfrag_core.copying.layer import Copy, CopyingKernels, HostKernels, copy_dosage, kernels_on
from vcfrag_core.types import F64Array, FloatArray

triton = pytest.importorskip("triton", reason="Triton is not installed")

CPU = torch.device("cpu")
Make = Callable[..., CopyingKernels]


@dataclasses.dataclass(frozen=True)
class Interpreted:
    """The device's kernels, interpreted in another process."""

    process: ProcessPoolExecutor
    on_cpu: Any

    def dosage(self, weights: Tensor, switch: Tensor) -> Tensor:
        answer: Tensor = self.process.submit(self.on_cpu.dosage, weights.detach(), switch.detach()).result()
        return answer.clone()

    def gradients(self, weights: Tensor, switch: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        arguments = (weights.detach(), switch.detach(), gradient.detach())
        by_weight, by_switch = self.process.submit(self.on_cpu.gradients, *arguments).result()
        return by_weight.clone(), by_switch.clone()


def parse(version: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(number) for number in version.split(".")[:2])


@pytest.fixture(scope="module")
def interpreted() -> Iterator[Make]:
    """Makes kernels that run in the interpreter.

    Triton asks whether to interpret when it is imported, once and for all; so a process of its own does, which leaves
    this one as it is for the tests of compiled kernels, whatever the order of tests.
    """
    from vcfrag_core.copying.triton import DeviceProblem

    # It makes a range's bounds from arrays of one element, as NumPy allowed until then.
    if parse(triton.__version__) < (3, 7) and parse(np.__version__) >= (2, 5):
        pytest.skip("the interpreter of Triton before 3.7 does not run on NumPy 2.5")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            process.submit(os.getpid).result()
        yield lambda problem, **limits: Interpreted(process, DeviceProblem(problem, CPU, **limits))


def tensors(case: Case, kind: torch.dtype, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    """The case's weights and switch probabilities."""
    return torch.tensor(case.weights, dtype=kind, device=device), torch.tensor(case.switch, dtype=kind, device=device)


def random_gradient(case: Case, seed: int = 3) -> F64Array:
    return np.random.default_rng(seed).normal(size=(len(case.problem.queries), len(case.problem.sites.sites)))


def assert_gradients_close(got: tuple[Tensor, Tensor], wanted: tuple[FloatArray, FloatArray], atol: float) -> None:
    for ours, theirs in zip(got, wanted, strict=True):
        scale = 1 + np.abs(theirs).max()
        np.testing.assert_allclose(ours.cpu().numpy() / scale, theirs / scale, atol=atol)


def check_against_reference(case: Case, make: Make) -> None:
    """Dosages and gradients of both float types, beside the reference and the host's kernels."""
    kernels, gradient = make(case.problem), random_gradient(case)
    double, single = tensors(case, torch.float64), tensors(case, torch.float32)
    dosage = kernels.dosage(*double).numpy()
    np.testing.assert_allclose(dosage, case.reference(), atol=1e-9)
    np.testing.assert_allclose(dosage, case.problem.dosage(case.weights, case.switch), atol=1e-9)
    np.testing.assert_allclose(kernels.dosage(*single).numpy(), case.reference(), atol=2e-4)
    exact = kernels.gradients(*double, torch.tensor(gradient))
    expected = case.reference_gradients(gradient)
    assert_gradients_close(exact, expected, 1e-9)
    assert_gradients_close(exact, case.problem.gradients(case.weights, case.switch, gradient), 1e-9)
    assert_gradients_close(kernels.gradients(*single, torch.tensor(gradient, dtype=torch.float32)), expected, 1e-4)


@settings(max_examples=6)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_observed=st.integers(1, 20),
    n_candidates=st.integers(1, 40),
    n_queries=st.integers(1, 2),
    extra=st.integers(1, 60),
)
def test_interpreted__equals_reference(
    interpreted: Make, seed: int, n_observed: int, n_candidates: int, n_queries: int, extra: int
) -> None:
    case = random_case(
        seed, n_observed=n_observed, n_candidates=n_candidates, n_sites=n_observed + extra, n_queries=n_queries,
        ragged=True,
    )  # fmt: skip
    check_against_reference(case, interpreted)


@pytest.mark.parametrize(
    ("n_observed", "n_candidates", "n_queries"),
    [(1, 1, 1), (1, 5, 2), (9, 1, 1), (16, 33, 1), (65, 6, 1)],
    ids=["one of each", "one site", "one candidate", "whole blocks", "longer blocks"],
)
def test_interpreted__equals_reference_at_the_edges(
    interpreted: Make, n_observed: int, n_candidates: int, n_queries: int
) -> None:
    case = random_case(
        7, n_observed=n_observed, n_candidates=n_candidates, n_sites=n_observed + 40, n_queries=n_queries
    )  # fmt: skip
    check_against_reference(case, interpreted)


def test_interpreted__equals_reference_beyond_the_observed_sites(interpreted: Make) -> None:
    case = random_case(5, n_observed=4, n_candidates=6, n_sites=60)
    sites = case.problem.sites
    assert sites.sites[0] < sites.observed[0]
    assert sites.sites[-1] > sites.observed[-1]
    check_against_reference(case, interpreted)


def test_interpreted__queries_in_groups_where_borders_need_more_than_there_is(interpreted: Make) -> None:
    case = random_case(8, n_observed=18, n_candidates=5, n_sites=40, n_queries=5, ragged=True)
    check_against_reference(case, functools.partial(interpreted, borders_bytes=4 * 2 * 32 * 3 * 4))


def test_interpreted__where_a_switch_is_certain(interpreted: Make) -> None:
    case = random_case(11, n_observed=20, n_candidates=12, n_sites=60)
    case.switch[[5, 8, 19]] = 1
    check_against_reference(case, interpreted)


def test_interpreted__finite_where_no_path_explains_the_query(interpreted: Make) -> None:
    case = random_case(2, n_observed=20, n_candidates=4, n_sites=30)
    weights, switch = torch.full((20,), 14.0), torch.zeros(20)
    kernels = interpreted(case.problem)
    dosage = kernels.dosage(weights, switch)
    for answer in (dosage, *kernels.gradients(weights, switch, torch.ones_like(dosage))):
        assert torch.isfinite(answer).all()


def test_interpreted__gradient_equals_finite_differences(interpreted: Make) -> None:
    case = random_case(1, n_observed=18, n_candidates=12, n_sites=50, ragged=True)
    kernels = interpreted(case.problem)
    weights = torch.tensor(case.weights / 3, requires_grad=True)
    switch = torch.tensor(np.clip(case.switch, 0.01, 0.9), requires_grad=True)
    # The fast mode compares along random directions and not element by element, which here would take a minute.
    assert torch.autograd.gradcheck(lambda w, s: Copy.apply(w, s, kernels), (weights, switch), fast_mode=True)


def test_interpreted__repeats_bit_for_bit(interpreted: Make) -> None:
    case = random_case(4, n_observed=12, n_candidates=9, n_sites=40, ragged=True)
    check_repeats(case, interpreted(case.problem), tensors(case, torch.float32))


def check_repeats(case: Case, kernels: CopyingKernels, parameters: tuple[Tensor, Tensor]) -> None:
    gradient = torch.tensor(random_gradient(case), dtype=torch.float32, device=parameters[0].device)
    first, second = (
        (kernels.dosage(*parameters), *kernels.gradients(*parameters, gradient)) for _ in range(2)
    )  # fmt: skip
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", ["fp32", "fp64"])
@pytest.mark.parametrize(
    ("name", "barriers"),
    [("sweep_kernel", 0), ("dosage_kernel", 2), ("tangent_sweep_kernel", 0), ("gradient_kernel", 2)],
)
def test_kernels__compile_without_a_device(
    name: str, barriers: int, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from vcfrag_core.copying import triton_kernels as copying_triton_kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    types = {
        "observed": "*u8", "alleles": "*u8", "candidates": "*i32", "offsets": "*i64", "starts": "*i32",
        "query": "*i8", "all_queries": "*i8", "stride": "i32", "n_observed": "i32", "n_sites": "i32", "block": "i32",
        "n_items": "i32", "STATES": "constexpr",
    }  # fmt: skip
    kernel = getattr(copying_triton_kernels, name)
    signature = {p.name: types.get(p.name, f"*{kind}") for p in kernel.params}
    source = ASTSource(fn=kernel, signature=signature, constexprs={"STATES": 1024})
    compiled = triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": 8})
    assert compiled.asm["cubin"]
    # Without them a thread might read scratch before another one has written it. Versions call them differently.
    assert sum(compiled.asm["ttgir"].count(f"{dialect}.barrier") for dialect in ("ttg", "gpu")) == barriers


def test_kernels_on__host_where_tensors_or_triton_are_not_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = random_case(1, n_observed=5, n_candidates=3, n_sites=9).problem
    assert isinstance(kernels_on(CPU, problem, None), HostKernels)
    monkeypatch.setattr(copying_layer.importlib.util, "find_spec", lambda name: None)
    assert isinstance(kernels_on(torch.device("cuda"), problem, None), HostKernels)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_on__host_for_more_candidates_than_a_program_holds(dtype: torch.dtype) -> None:
    problem = random_case(1, n_observed=5, n_candidates=3, n_sites=9).problem
    problem.candidates = [np.zeros(copying_layer.MAX_DEVICE_CANDIDATES[dtype] + 1, dtype=np.int32)] * 2
    assert isinstance(kernels_on(torch.device("cuda"), problem, None, dtype), HostKernels)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """The device, in a process where the layer cannot fall back to the host's kernels unseen."""

    def refused(*arguments: object) -> None:
        raise AssertionError("tensors on a device went to the host's kernels")

    monkeypatch.setattr(HostKernels, "dosage", refused)
    monkeypatch.setattr(HostKernels, "gradients", refused)
    return torch.device("cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("n_candidates", [1, 20, 700, 3000])
def test_device__equals_the_host(cuda: torch.device, n_candidates: int) -> None:
    n_queries, n_observed = (4, 500) if n_candidates == 3000 else (64, 2000)
    case = random_case(
        3, n_observed=n_observed, n_candidates=n_candidates, n_sites=2 * n_observed, n_queries=n_queries, ragged=True
    )  # fmt: skip
    gradient = random_gradient(case)
    wanted = case.problem.dosage(case.weights, case.switch)
    wanted_gradients = case.problem.gradients(case.weights, case.switch, gradient)
    for kind, atol in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        weights, switch = (x.requires_grad_() for x in tensors(case, kind, cuda))
        dosage = copy_dosage(weights, switch, case.problem)
        np.testing.assert_allclose(dosage.detach().cpu().numpy(), wanted, atol=atol)
        dosage.backward(torch.tensor(gradient, dtype=kind, device=cuda))
        assert_gradients_close((weights.grad, switch.grad), wanted_gradients, atol)


@pytest.mark.gpu
def test_device__gradient_equals_finite_differences(cuda: torch.device) -> None:
    case = random_case(1, n_observed=70, n_candidates=12, n_sites=160, ragged=True)
    weights = torch.tensor(case.weights / 3, device=cuda, requires_grad=True)
    switch = torch.tensor(np.clip(case.switch, 0.01, 0.9), device=cuda, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, s: copy_dosage(w, s, case.problem), (weights, switch))


@pytest.mark.gpu
def test_device__repeats_bit_for_bit(cuda: torch.device) -> None:
    case = random_case(4, n_observed=2000, n_candidates=700, n_sites=4000, n_queries=64, ragged=True)
    check_repeats(case, kernels_on(cuda, case.problem, None), tensors(case, torch.float32, cuda))


@pytest.mark.gpu
def test_device__memory_of_a_long_context_is_far_below_its_posteriors(cuda: torch.device) -> None:
    n_queries, n_observed, n_candidates = 32, 50_000, 500
    case = random_case(
        6, n_observed=n_observed, n_candidates=n_candidates, n_sites=n_observed + 5000, n_queries=n_queries
    )  # fmt: skip
    weights, switch = (x.requires_grad_() for x in tensors(case, torch.float32, cuda))
    torch.cuda.reset_peak_memory_stats(cuda)
    before = torch.cuda.memory_allocated(cuda)
    copy_dosage(weights, switch, case.problem).sum().backward()
    posteriors = 4 * n_queries * n_observed * n_candidates
    assert torch.cuda.max_memory_allocated(cuda) - before < posteriors / 6
