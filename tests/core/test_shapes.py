"""Records that hold arrays show what these are, not what is in them."""

from __future__ import annotations

import dataclasses

import numpy as np

import vcfrag_core as vc
from vcfrag_core.shapes import repr_by_shape


@dataclasses.dataclass(frozen=True)
class Record:
    values: np.ndarray
    names: tuple[str, ...]
    text: str

    __repr__ = repr_by_shape


def test_repr_by_shape__arrays_by_shape_and_many_items_by_number() -> None:
    few = Record(np.zeros((2, 3), np.int8), ("a", "b"), "longer than four")
    assert repr(few) == "Record(values=int8[2, 3], names=('a', 'b'), text='longer than four')"
    assert repr(dataclasses.replace(few, names=tuple("abcde"))).split("names=")[1].startswith("<5 items>")


def test_repr__of_a_panel_and_of_targets_fits_on_a_screen() -> None:
    alleles = np.random.default_rng(1).integers(0, 2, (40, 300))
    targets = vc.Targets.from_haplotypes(alleles)
    panel = vc.Panel.from_haplotypes(alleles, positions=np.arange(1, 301))
    assert "int8[40, 300]" in repr(targets)
    assert "int32[300]" in repr(panel)
    assert max(len(repr(targets)), len(repr(panel))) < 500
