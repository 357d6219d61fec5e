"""What engines take: scratch for the threads that run, FAISS within the budget, a budget that is too small for any."""

from __future__ import annotations

import functools

import pytest

from tests.indexd.attack.conftest import answered, queries
from tests.indexd.conftest import Process
from vcfrag_indexd.engines import installed


def test_threads__of_sixty_four_only_those_that_run_take_scratch(attack, attacked_index) -> None:
    attacked = attack("--threads", "64")
    with attacked.stub() as stub:
        handle = answered(lambda: stub.OpenIndex(attacked_index.open_request(), timeout=90)).handle
        request = attacked_index.request(handle, attacked_index.block(queries(attacked_index, 1)), k=16)
        assert answered(lambda: stub.Search(request, timeout=90)).ids
    attacked.check_memory()


@pytest.mark.skipif(installed.installed_faiss() != "cpu", reason="faiss-cpu is not installed")
def test_faiss__takes_no_more_than_the_budget(attack, attacked_index) -> None:
    attacked = attack("--engine", "faiss-cpu")
    with attacked.stub() as stub:
        handle = answered(lambda: stub.OpenIndex(attacked_index.open_request(), timeout=90)).handle
        for seed in range(4):
            block = attacked_index.block(queries(attacked_index, 100, seed))
            request = attacked_index.request(handle, block, k=16)
            assert answered(functools.partial(stub.Search, request, timeout=90)).ids
    attacked.check_memory()


def test_budget__too_small_for_any_search_is_logged(attacked_file) -> None:
    process = Process("--panel", f"panel={attacked_file}", "--listen", "127.0.0.1:0", "--memory-budget-bytes", "4096")
    assert process.wait_for(r'"event": "first search: kernels are compiled now unless')
    assert process.wait_for(r'"event": "the memory budget is too small for any search"')
    assert process.stop() == 0
    assert not any('"event": "serving"' in line for line in process.lines)
