"""What a checkpoint says it was made from, and the refusal of anything else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vcfrag_core.errors import ConfigError, ProvenanceMismatchError, ProvenanceMissingError
from vcfrag_core.model.provenance import FIELDS, PROVENANCE_FILE, Provenance, from_json, read_provenance, to_json


def make(**changes: str) -> Provenance:
    fields = {name: f"{name}-1" for name in FIELDS} | changes
    return Provenance(fields=fields, described={"panel": "chr20"}, versions={}, step=7, metric="m", files={})


@pytest.mark.parametrize("field", list(FIELDS))
def test_check__a_difference_in_any_field_is_refused_by_name(field: str) -> None:
    found = {**make().fields, field: "another"}
    remedy = "train anew" if field == "inputs" else f"--accept {field}"
    with pytest.raises(ProvenanceMismatchError, match=rf"the {field} differs?: .*{field}-1.*another.*{remedy}"):
        make().check(found)


def test_check__equal_fields_pass() -> None:
    assert make().check(make().fields) == ()


def test_check__an_accepted_difference_is_recorded_with_both_values() -> None:
    (accepted,) = make().check({"panel": "panel-2", "map": "map-1"}, accept=["panel"])
    assert (accepted.field, accepted.recorded, accepted.found, accepted.step) == ("panel", "panel-1", "panel-2", 7)


def test_check__accepting_one_field_does_not_accept_another() -> None:
    with pytest.raises(ProvenanceMismatchError, match="the map differs"):
        make().check({"panel": "panel-2", "map": "map-2"}, accept=["panel"])


def test_check__inputs_of_another_meaning_are_never_accepted() -> None:
    with pytest.raises(ProvenanceMismatchError, match="the inputs differ"):
        make().check({"inputs": "inputs-2"}, accept=["inputs"])
    with pytest.raises(ProvenanceMismatchError, match=r"the inputs differ \(panel too\).*train anew"):
        make().check({"panel": "panel-2", "inputs": "inputs-2"})


def test_check__a_field_that_does_not_exist_cannot_be_accepted() -> None:
    with pytest.raises(ConfigError, match="'colour' is not a field"):
        make().check({}, accept=["colour"])


def test_record__that_lacks_a_field_is_none() -> None:
    fields = {name: "x" for name in FIELDS if name != "split"}
    with pytest.raises(ProvenanceMissingError, match="'split'"):
        Provenance(fields=fields, described={}, versions={}, step=0, metric="", files={})


def test_json__round_trip(tmp_path: Path) -> None:
    accepted = make().check({"panel": "panel-2"}, accept=["panel"])
    record = Provenance(
        fields=make().fields, described={}, versions={"torch": "2"}, step=3, metric="m", files={}, accepted=accepted
    )
    assert from_json(to_json(record), tmp_path) == record


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"format": 1, "accepted": [{"x": 1}]}'])
def test_json__what_is_no_record_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ProvenanceMissingError):
        from_json(text, tmp_path / "provenance.json")


def test_json__another_format_is_refused(tmp_path: Path) -> None:
    table = json.loads(to_json(make()))
    table["format"] = 99
    with pytest.raises(ProvenanceMissingError, match="format 99"):
        from_json(json.dumps(table), tmp_path)


def test_json__a_record_of_another_version_says_where_and_what_to_do(tmp_path: Path) -> None:
    table = json.loads(to_json(make()))
    del table["fields"]["inputs"]
    with pytest.raises(ProvenanceMissingError, match=rf"{tmp_path}: .*'inputs' was.*train anew"):
        from_json(json.dumps(table), tmp_path)


def test_read__a_checkpoint_without_provenance_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ProvenanceMissingError, match=PROVENANCE_FILE):
        read_provenance(tmp_path)
