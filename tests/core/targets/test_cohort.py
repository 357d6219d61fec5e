"""The cohort record: what it says of sites is read back exactly, and others' verdicts are applied."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.errors import InputError, RangeError
from vcfrag_core.files.tables.cohort import read_cohort, write_cohort
from vcfrag_core.targets.cohort import CohortRecord, ContigDecisions, Verdict, decode_sites, encode_sites
from vcfrag_core.targets.records import Reason

PARAMETERS = CopyingParameters(scales=(4, 8), k=3, flank_cm=0.25, switch_per_cm=1 / 3, mismatch=0.0021)


@given(st.lists(st.booleans(), max_size=70))
def test_sites__are_read_back(flags: list[bool]) -> None:
    sites = np.array(flags, dtype=np.bool_)
    assert np.array_equal(decode_sites(encode_sites(sites)), sites)


@pytest.mark.parametrize("text", ["", "9", "x:eJw=", "9:????", "9:eJw=", "-1:" + encode_sites(np.zeros(0, dtype=bool))])
def test_sites__refuse_other_text(text: str) -> None:
    with pytest.raises(RangeError):
        decode_sites(text)


def test_sites__refuse_another_number() -> None:
    _, _, packed = encode_sites(np.ones(9, dtype=np.bool_)).partition(":")
    with pytest.raises(RangeError):
        decode_sites(f"90:{packed}")


def test_record__is_read_back(tmp_path: Path) -> None:
    decided = ContigDecisions(
        contig="chr1",
        panel="p",
        genetic_map="m",
        parameters=PARAMETERS,
        typed=np.array([True, False, True]),
        verdicts=(Verdict("1", 7, "A", "C", Reason.INVERTED), Verdict("1", 9, "G", ".", Reason.NO_ALT)),
        people={"a": ("b", "c")},
        rates={"loss": 0.25, "targets": ["x"]},
        tested=("x", "y"),
        model={"used": False, "change_of_loss": None},
        target_reference={"samples": 2, "digest": "d"},
    )
    write_cohort(CohortRecord(version="3", contigs=(decided,)), tmp_path / "r.json")
    found = read_cohort(tmp_path / "r.json")
    assert found.version == "3"
    again = found.of("chr1")
    assert found.of("chr2") is None
    assert again is not None
    for name in (
        "contig",
        "panel",
        "genetic_map",
        "parameters",
        "verdicts",
        "people",
        "rates",
        "tested",
        "model",
        "target_reference",
    ):
        assert getattr(again, name) == getattr(decided, name)
    assert np.array_equal(again.typed, decided.typed)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"k": 3', '"k": 0'),
        ('"k": 3', '"l": 3'),
        ('"inverted_coding"', '"ugly"'),
        ('"position"', '"position"'),
        ('"typed": "3:', '"typed": "4000:'),
        ('"version": "3"', '"version": 3'),
        ('"model": {}', '"model": {"used": "no"}'),
        ('"model": {}', '"model": {"used": true, "trusted": 1}'),
        ('"model": {}', '"model": {"used": true, "length_factor": 0}'),
        ('"model": {}', '"model": {"used": true, "share": 1.5}'),
        ('"target_reference": {}', '"target_reference": {"samples": 2}'),
        ('"people": {}', '"people": null'),
        ('"people": {}', '"people": {"A": "B"}'),
        ('"rates": {}', '"rates": "slow"'),
        ('"model": {},', ""),
    ],
)
def test_record__refuses_damage(tmp_path: Path, old: str, new: str) -> None:
    decided = ContigDecisions(
        contig="1",
        panel="p",
        genetic_map="m",
        parameters=PARAMETERS,
        typed=np.array([True, False, True]),
        verdicts=(Verdict("1", 7, "A", "C", Reason.INVERTED),),
    )
    path = tmp_path / "r.json"
    write_cohort(CohortRecord(version="3", contigs=(decided,)), path)
    text = path.read_text()
    path.write_text(text.replace(old, new) if old != new else text[:-40])
    with pytest.raises(InputError, match="not a cohort record"):
        read_cohort(path)
