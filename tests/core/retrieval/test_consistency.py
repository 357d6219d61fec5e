"""The consistency check, beside one that goes site by site."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import (
    IdentityError,
    MaskMismatchError,
    RangeError,
    ShapeError,
    TooManyMissingError,
    VcfragError,
)
from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.consistency import ANY_SHARE, QueryBits, check_built_from, check_search
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.retrieval.layout import SegmentLayout
from vcfrag_core.retrieval.queries import EXTERNAL, QueryBlock
from vcfrag_core.types import BoolArray

FIELDS = ("panel", "split", "mask", "metric", "layout")
IDENTITY = Identity(**{field: f"{i}" * 32 for i, field in enumerate(FIELDS)})


@dataclasses.dataclass(frozen=True)
class Index:
    observed: BoolArray
    identity: Identity = IDENTITY

    def site_label(self, site: int) -> str:
        return f"1:{1000 + site} A>C"


INDEX = Index(np.arange(40) % 3 != 0)


def queries(start: int = 5, stop: int = 31, n: int = 2) -> QueryBits:
    """Without a missing call, of ALT alone."""
    observed = INDEX.observed[start:stop]
    return QueryBits.of(
        QueryBlock(
            start=start,
            stop=stop,
            samples=(EXTERNAL,) * n,
            observed=observed,
            alleles=np.ones((n, stop - start), dtype=np.int8),
        )
    )


def check(made: QueryBits, max_missing_share: float = ANY_SHARE, stated: Identity = IDENTITY) -> None:
    check_search(INDEX, stated, made, max_missing_share=max_missing_share)


def flipped(data: bytes, n_rows: int, row: int, site: int, n_sites: int) -> bytes:
    width = bit.n_bytes(n_sites)
    rows = np.frombuffer(data or bytes(n_rows * width), dtype=np.uint8).reshape(n_rows, width).copy()
    rows[row, site >> 3] ^= 1 << (site & 7)
    return rows.tobytes()


def has(data: bytes, n_sites: int, row: int, site: int) -> bool:
    return bool(data) and bool(data[row * bit.n_bytes(n_sites) + (site >> 3)] >> (site & 7) & 1)


def expected(made: QueryBits, max_missing_share: float) -> type[VcfragError] | None:
    """What `check_search` must say of well-sized queries, one site at a time."""
    n = made.stop - made.start
    cells = [(q, site) for q in range(len(made.samples)) for site in range(n)]
    observed, missing, alleles = (
        {cell for cell in cells if has(data, n, *cell)} for data in (made.observed, made.missing, made.alleles)
    )
    mask = {(q, site) for q, site in cells if INDEX.observed[made.start + site]}
    if observed | missing != mask:
        return MaskMismatchError
    if observed & missing or alleles - observed:
        return ShapeError
    lacking = [sum(1 for cell in missing if cell[0] == q) for q in range(len(made.samples))]
    if max(lacking) > max_missing_share * int(INDEX.observed[made.start : made.stop].sum()):
        return TooManyMissingError
    return None


@given(
    change=st.lists(
        st.tuples(st.sampled_from(["observed", "missing", "alleles"]), st.integers(0, 1), st.integers(0, 25)),
        max_size=4,
    ),
    gaps=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 25)), max_size=4),
    share=st.sampled_from([0.0, 0.05, 0.1, ANY_SHARE]),
)
def test_check_search__says_what_the_slow_check_says(change, gaps, share: float) -> None:
    made = queries()
    for row, site in gaps:
        if INDEX.observed[5 + site] and has(made.observed, 26, row, site):
            made = dataclasses.replace(
                made,
                observed=flipped(made.observed, 2, row, site, 26),
                alleles=flipped(made.alleles, 2, row, site, 26),
                missing=flipped(made.missing, 2, row, site, 26),
            )
    for name, row, site in change:
        made = dataclasses.replace(made, **{name: flipped(getattr(made, name), 2, row, site, 26)})
    error = expected(made, share)
    if error is None:
        check(made, share)
    else:
        with pytest.raises(error):
            check(made, share)


@pytest.mark.parametrize("field", FIELDS)
def test_check_search__another_digest_is_refused_naming_both(field: str) -> None:
    other = dataclasses.replace(IDENTITY, **{field: "f" * 32})
    with pytest.raises(IdentityError, match=rf"the {field} differs.*{getattr(IDENTITY, field)}.*{'f' * 32}"):
        check(queries(), stated=other)


@pytest.mark.parametrize(("site", "says"), [(6, "masked in the index"), (7, "observed in the index")])
def test_check_search__another_mask_names_query_and_site(site: int, says: str) -> None:
    made = queries()
    made = dataclasses.replace(made, observed=flipped(made.observed, 2, 1, site - 5, 26))
    with pytest.raises(MaskMismatchError) as caught:
        check(made)
    label = f"site {site} (1:{1000 + site} A>C) is {says} and not in the query"
    assert str(caught.value) == f"query 1 was masked with another mask: {label}"


def test_check_search__too_many_missing_names_the_worst_query() -> None:
    alleles = np.ones((3, 40), dtype=np.int8)
    alleles[1, [1, 2]] = alleles[2, [1, 2, 4]] = -1
    block = QueryBlock(start=0, stop=40, samples=(EXTERNAL,) * 3, observed=INDEX.observed, alleles=alleles)
    check(QueryBits.of(block), 3 / 26)
    with pytest.raises(TooManyMissingError, match=r"^query 2 lacks 3 of 26 observed sites among 40, more than 10.0%"):
        check(QueryBits.of(block), 0.1)


@pytest.mark.parametrize(("start", "stop"), [(-1, 25), (5, 41), (7, 7), (9, 5)])
def test_check_search__sites_outside_the_panel_are_refused(start: int, stop: int) -> None:
    with pytest.raises(RangeError, match="of a panel of 40"):
        check(dataclasses.replace(queries(), start=start, stop=stop))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"observed": b"x"}, "observed has 1 bytes; 2 rows of 26 bits need 8"),
        ({"missing": b"x"}, "missing has 1 bytes"),
        ({"alleles": b""}, "alleles has 0 bytes"),
        ({"alleles": b"\0\0\0\0\0\0\0\x80"}, "alleles has padding bits that are not 0"),
        ({"samples": (), "observed": b"", "alleles": b""}, "at least one query"),
    ],
)
def test_check_search__bytes_of_another_shape_are_refused(change: dict[str, object], match: str) -> None:
    with pytest.raises(ShapeError, match=match):
        check(dataclasses.replace(queries(), **change))


def test_query_bits__of_a_block_are_its_calls() -> None:
    block = QueryBlock(
        start=1,
        stop=4,
        samples=("A",),
        observed=np.array([True, False, True]),
        alleles=np.array([[1, 1, -1]], dtype=np.int8),
    )
    assert QueryBits.of(block) == QueryBits(
        start=1, stop=4, samples=("A",), observed=b"\x01", missing=b"\x04", alleles=b"\x01"
    )


OBSERVED, WEIGHTS = INDEX.observed, np.ones(40, dtype=np.float32)
SPLIT = Split(name="train", reference=("A", "B"), groups={"A": "A", "B": "B"})
LAYOUT = SegmentLayout(n_sites=40, lengths=(4, 8))
BUILT = Identity.of("p" * 32, split=SPLIT, observed=OBSERVED, weights=WEIGHTS, layout=LAYOUT)


def build(stated: Identity = BUILT, **change: object) -> None:
    given = {
        "panel_name": "here",
        "panel_digest": "p" * 32,
        "n_sites": 40,
        "split": SPLIT,
        "layout": LAYOUT,
        "observed": OBSERVED,
        "weights": WEIGHTS,
    }
    check_built_from(stated, **(given | change))


@pytest.mark.parametrize("field", FIELDS)
def test_check_built_from__an_array_without_its_digest_is_refused(field: str) -> None:
    build()
    with pytest.raises(IdentityError, match=r"has the digest .*, this call states ffff") as caught:
        build(dataclasses.replace(BUILT, **{field: "f" * 32}))
    assert caught.value.reason == f"{field.upper()}_MISMATCH"


@pytest.mark.parametrize(("name", "field"), [("observed", "mask"), ("weights", "metric")])
def test_check_built_from__arrays_that_did_not_come_are_not_asked_for(name: str, field: str) -> None:
    build(dataclasses.replace(BUILT, **{field: "f" * 32}), **{name: None})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"observed": OBSERVED[1:]}, "the mask is of 39 sites, the panel has 40"),
        ({"weights": WEIGHTS[1:]}, "39 weights for 40 sites"),
        ({"n_sites": 41}, "the layout is of 40 sites, panel 'here' has 41"),
    ],
)
def test_check_built_from__arrays_of_another_size_are_refused(change: dict[str, object], match: str) -> None:
    with pytest.raises(ShapeError, match=match):
        build(**change)
