"""The import law where a static tool cannot see: what is loaded in a fresh process."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

import vcfrag_core

NEEDS_TORCH = {
    "vcfrag_core.copying.layer",
    "vcfrag_core.copying.triton",
    "vcfrag_core.copying.triton_kernels",
    "vcfrag_core.model.embedding",
    "vcfrag_core.model.losses",
    "vcfrag_core.model.network",
    "vcfrag_core.model.other_ways",
    "vcfrag_core.model.tensors",
    "vcfrag_core.model.torch_network",
    "vcfrag_core.model.torch_threads",
}


def loaded_after(code: str) -> set[str]:
    """Top-level names in sys.modules after the code ran in a fresh interpreter."""
    report = "import json, sys; print('\\n' + json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def modules_after(code: str) -> set[str]:
    """Whole names in sys.modules after the code ran in a fresh interpreter."""
    program = f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    return set(json.loads(subprocess.check_output([sys.executable, "-c", program], text=True, timeout=120)))


def core_modules() -> list[str]:
    return [module.name for module in pkgutil.walk_packages(vcfrag_core.__path__, "vcfrag_core.")]


def test_core__imports_alone() -> None:
    loaded = loaded_after("import vcfrag_core")
    assert not loaded & {"torch", "faiss", "grpc", "cyvcf2", "numba"}


def test_core__modules_without_torch_leave_it_out() -> None:
    wanted = [name for name in core_modules() if name not in NEEDS_TORCH]
    loaded = loaded_after("".join(f"import {name}\n" for name in wanted))
    assert not loaded & {"torch", "faiss", "grpc", "vcfrag_indexd", "vcfrag_train", "vcfrag_proto"}


def test_copying_layer__leaves_triton_until_tensors_lie_on_a_device() -> None:
    assert "triton" not in loaded_after("import vcfrag_core.copying.layer, vcfrag_core.model.network")


def test_core__files_are_the_only_readers() -> None:
    readers = ("vcfrag_core.files", "vcfrag_core.api")
    wanted = [n for n in core_modules() if not n.startswith(readers) and n not in NEEDS_TORCH]
    assert "cyvcf2" not in loaded_after("".join(f"import {name}\n" for name in wanted))


@pytest.mark.parametrize("module", ["vcfrag_indexd.serving.server", "vcfrag_indexd.cli.app", "vcfrag_indexd.testing"])
def test_daemon__starts_without_torch(module: str) -> None:
    loaded = loaded_after(f"import {module}")
    assert not loaded & {"torch", "lightning", "vcfrag_train"}


def test_chunks__by_copying_alone_of_phased_samples_leave_out_models_phasing_and_checks() -> None:
    loaded = modules_after("import vcfrag_train.jobs.worker")
    assert not loaded & {"vcfrag_core.phasing.phaser", "vcfrag_core.model.one_layer", "vcfrag_train.imputing.checks"}
    assert not loaded & {"vcfrag_core.evidence.evidence", "vcfrag_core.imputation.rates", "vcfrag_core.files.targets"}
    assert not loaded & {"rich.console", "grpc", "scipy.stats"}


def test_impute__imports_nothing_that_phases_until_somebody_is_to_be_phased() -> None:
    assert "vcfrag_core.phasing.phaser" not in modules_after("import vcfrag_train.imputing.pipeline")


def test_merge__of_chunks_of_everybody_leaves_out_kernels_the_reader_of_maps_and_what_draws_a_bar() -> None:
    names = ("cli.progress", "imputing.finished", "jobs.merge")
    loaded = modules_after("\n".join(f"import vcfrag_train.{name}" for name in names))
    assert not loaded & {"numba", "rich", "cyvcf2", "vcfrag_core.files.tables.genetic_map"}
    assert not loaded & {"vcfrag_core.files.targets", "vcfrag_train.imputing.config"}


def test_client__does_not_load_the_daemon() -> None:
    loaded = loaded_after("import vcfrag_train.client.client")
    assert not loaded & {"vcfrag_indexd", "faiss", "torch"}
