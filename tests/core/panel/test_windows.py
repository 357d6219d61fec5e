"""Windows cover every site once; contexts hold what lies within the flank and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import ConfigError
from vcfrag_core.panel.windows import lay_windows
from vcfrag_core.types import F64Array

maps = st.lists(st.sampled_from([0.0, 0.01, 0.2, 1.5]), min_size=1, max_size=80).map(np.cumsum)


@given(cm=maps, most=st.integers(1, 90), flank=st.sampled_from([0.0, 0.15, 1.0, 50.0]))
def test_lay_windows__cover_once_and_evenly(cm: F64Array, most: int, flank: float) -> None:
    windows = lay_windows(cm, most, flank)
    sites = [site for w in windows for site in range(w.start, w.stop)]
    assert sites == list(range(len(cm)))
    sizes = [w.stop - w.start for w in windows]
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert [w.number for w in windows] == list(range(len(windows)))


@given(cm=maps, most=st.integers(1, 90), flank=st.sampled_from([0.0, 0.15, 1.0, 50.0]))
def test_lay_windows__contexts_equal_brute_force(cm: F64Array, most: int, flank: float) -> None:
    for w in lay_windows(cm, most, flank):
        inside = [i for i in range(len(cm)) if cm[w.start] - flank <= cm[i] <= cm[w.stop - 1] + flank]
        assert (w.context_start, w.context_stop) == (inside[0], inside[-1] + 1)
        assert w.context_start <= w.start < w.stop <= w.context_stop


def test_lay_windows__no_sites_no_windows() -> None:
    assert lay_windows(np.zeros(0), 10, 1.0) == []


@pytest.mark.parametrize(("most", "flank"), [(0, 1.0), (5, -0.1), (5, float("nan"))])
def test_lay_windows__bad_settings_are_refused(most: int, flank: float) -> None:
    with pytest.raises(ConfigError, match="sites_per_window"):
        lay_windows(np.zeros(4), most, flank)
