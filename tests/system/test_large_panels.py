"""The benchmark of large panels: what it generates, and in a soak test that 200,000 haplotypes fit a laptop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scale import large_panel
from tests.conftest import mosaic_panel


def test_mosaics__copy_founders_site_by_site() -> None:
    founders = mosaic_panel(n_samples=20, n_sites=160, seed=1)
    rounds = list(large_panel.mosaics(founders, 3_000, 330, seed=2))
    assert np.array_equal(np.concatenate([sites for sites, _ in rounds]), np.arange(330))
    columns = np.concatenate([columns for _, columns in rounds])
    alleles = np.unpackbits(columns, axis=0, bitorder="little")
    assert not alleles[330:].any()
    frequency = np.concatenate([founders.alt_frequency()] * 3)[:330]
    np.testing.assert_allclose(alleles[:330].mean(axis=1), frequency, atol=0.06)
    patterns = {founders.packed[h, 0] for h in range(founders.n_haplotypes)}
    assert np.isin(columns[0], list(patterns)).mean() > 0.99


@pytest.mark.soak
def test_large_panel__a_tenth_of_the_goals_at_two_hundred_thousand_haplotypes(tmp_path: Path) -> None:
    """100,000 sites: at most 0.4 GB, written in at most 4 GiB, opened in at most 1 GiB."""
    sizes = ["--sites", "2000", "--typed", "500", "--many-sites", "100000"]
    made = large_panel.main(["--work", str(tmp_path), "--stages", "columns,reopen", *sizes])
    assert made == 0
    usage = json.loads((tmp_path / "large_panel.json").read_text())
    assert (tmp_path / "many.vcfrag").stat().st_size < 0.4e9
    assert usage["columns"]["peak_bytes"] < 4 * 2**30
    assert usage["reopen"]["peak_bytes"] < 1 * 2**30
    _, n_sites, digest, _ = (tmp_path / "reopen.log").read_text().split()
    assert n_sites == "100000"
    assert len(digest) == 32
