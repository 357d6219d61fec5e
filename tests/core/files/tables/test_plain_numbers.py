"""Tables of plain numbers that are read at once, against Python's own reading of every field."""

from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.files.tables.plain_numbers import PlainTable

numbers = st.one_of(
    st.integers(0, 10**15 - 1).map(str),
    st.from_regex(r"[0-9]{0,7}\.[0-9]{1,8}|[0-9]{1,7}\.", fullmatch=True),
)
blanks = st.sampled_from(["", " ", "\t", "  "])


@given(
    rows=st.lists(st.tuples(numbers, st.integers(0, 10**15 - 1).map(str)), min_size=1, max_size=20),
    before=blanks,
    after=blanks,
    empty=st.integers(0, 2),
    ends=st.booleans(),
)
def test_plain_table__has_the_numbers_that_python_reads(
    rows: list[tuple[str, str]], before: str, after: str, empty: int, ends: bool
) -> None:
    lines = [f"{before}{one} chr9\t{other}{after}" for one, other in rows]
    text = "\n" * empty + ("\n" * (1 + empty)).join(lines) + "\n" * ends
    table = PlainTable(text.encode(), 3)
    assert table.numbers.tolist() == [i + 1 for i, line in enumerate(text.split("\n")) if line.strip()]
    assert table.word(1) == "chr9"
    assert table.decimal(0).tolist() == [float(one) for one, _ in rows]
    assert table.decimal(2).tolist() == [float(other) for _, other in rows]
    assert table.whole(2).tolist() == [int(other) for _, other in rows]
    if any("." in one for one, _ in rows):
        with pytest.raises(ValueError, match="whole"):
            table.whole(0)


@given(field=st.text(string.digits + ".-+eE_naif", min_size=1, max_size=20))
def test_plain_table__reads_a_field_as_python_does_or_not_at_all(field: str) -> None:
    table = PlainTable(f"1 {field}\n2 0.5\n".encode(), 2)
    try:
        found = table.decimal(1)
    except ValueError:
        return
    np.testing.assert_array_equal(found, [float(field), 0.5])


@pytest.mark.parametrize("text", ["", "\n", "1 2\n3\n4 5 6\n", "1\n2 3 4\n", "1 2 3 4\n", "1 2\r\n3 4\n", "1 2\n3 é\n"])
def test_plain_table__nothing_else_is_one(text: str) -> None:
    with pytest.raises(ValueError, match="no "):
        PlainTable(text.encode(), 2)


def test_word__those_that_differ_are_none() -> None:
    for text in ("1 1\n1 2\n", "1 1\n1 11\n"):
        with pytest.raises(ValueError, match="differ"):
            PlainTable(text.encode(), 2).word(1)
