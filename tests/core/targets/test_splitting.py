"""Targets' records with several ALT alleles: split as bcftools splits them."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.vcf_text import need_bcftools, record, vcf_text, write_vcf
from vcfrag_core.files.targets import read_target
from vcfrag_core.targets.calls import TargetCalls
from vcfrag_core.types import I32Array

N_RECORDS, SAMPLES = 200, ("a", "b", "c", "d")


def several_alts(seed: int) -> tuple[list[str], I32Array]:
    """Records of one to three ALT alleles with calls of every kind, and the positions of those with several."""
    rng = np.random.default_rng(seed)
    records, several = [], []
    for i in range(N_RECORDS):
        n, ref = int(rng.integers(1, 4)), "ACGT"[int(rng.integers(4))]
        alts = [base for base in "ACGT" if base != ref][:n]
        alleles = [".", *map(str, range(n + 1))]
        calls = []
        for _ in SAMPLES:
            pair = [alleles[int(k)] for k in rng.integers(len(alleles), size=2)]
            calls.append(pair[0] if rng.random() < 0.1 else "/|"[int(rng.integers(2))].join(pair))
        records.append(record(100 + i, calls, ref=ref, alt=",".join(alts), site_id=f"rs{i}"))
        if n > 1:
            several.append(100 + i)
    return records, np.array(several, dtype=np.int32)


@pytest.mark.parametrize("seed", [1, 2])
def test_split_records__are_those_of_bcftools(tmp_path: Path, seed: int) -> None:
    records, several = several_alts(seed)
    path = write_vcf(tmp_path / "target.vcf", vcf_text(SAMPLES, records))
    split = tmp_path / "split.vcf"
    subprocess.run([need_bcftools(), "norm", "-m-", "-o", split, path], check=True, capture_output=True)
    (ours,), (theirs,) = read_target(path), read_target(split)
    np.testing.assert_array_equal(ours.split_at, several)
    for field in dataclasses.fields(TargetCalls):
        if field.name not in ("split_at", "source"):
            np.testing.assert_array_equal(getattr(ours, field.name), getattr(theirs, field.name), err_msg=field.name)


def test_split_records__another_alt_is_ref_and_missing_stays_missing(tmp_path: Path) -> None:
    calls = ["0|1", "1|2", "2/1", "./2"]
    path = write_vcf(tmp_path / "t.vcf", vcf_text(SAMPLES, [record(100, calls, alt="C,G"), record(101, calls[:1] * 4)]))
    (found,) = read_target(path)
    assert found.alts == (("C",), ("G",), ("C",))
    assert found.alleles[0].tolist() == [[0, 1], [1, 0], [0, 1], [-1, 0]]
    assert found.alleles[1].tolist() == [[0, 0], [0, 1], [1, 0], [-1, 1]]
    assert found.is_phased[:2, :3].tolist() == [[True, True, False], [True, True, False]]
