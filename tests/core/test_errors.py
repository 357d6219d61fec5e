"""The error tree: as drawn, and each reason its own."""

from __future__ import annotations

import inspect
import re

from vcfrag_core import errors
from vcfrag_core.errors import InputError, VcfragError

DRAWN_LINE = re.compile(r"(?P<branch>[│ ]*[├└]── )?(?P<name>\w+Error)(?: +(?P<reason>[A-Z_]+)(?:\s|$))?")


def drawn_tree() -> dict[str, tuple[str | None, str | None]]:
    """Class to (base, reason), read from the docstring."""
    tree: dict[str, tuple[str | None, str | None]] = {}
    path: list[str] = []
    for line in inspect.cleandoc(errors.__doc__ or "").splitlines():
        match = DRAWN_LINE.match(line)
        if match:
            depth = len(match["branch"] or "") // 4
            path[depth:] = [match["name"]]
            tree[match["name"]] = (path[depth - 1] if depth else None, match["reason"])
    return tree


def class_tree() -> dict[str, tuple[str | None, str | None]]:
    """Class to (base, reason of its own), read from the module."""
    tree: dict[str, tuple[str | None, str | None]] = {"VcfragError": (None, None)}
    for c in all_classes():
        if c.__base__ is not None and c is not VcfragError:
            tree[c.__name__] = (c.__base__.__name__, own_reason(c))
    return tree


def own_reason(error: type[VcfragError]) -> str | None:
    return error.__dict__.get("reason")


def all_classes() -> list[type[VcfragError]]:
    return [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, VcfragError)]


def test_tree__as_drawn() -> None:
    assert len(drawn_tree()) > 30
    assert drawn_tree() == class_tree()


def test_reasons__unique_and_stable() -> None:
    reasons = [own_reason(c) for c in all_classes() if own_reason(c)]
    assert len(set(reasons)) == len(reasons)
    assert all(re.fullmatch(r"[A-Z][A-Z_]*", reason) for reason in reasons if reason)


def test_reasons__only_families_lack_one_and_nobody_is_without() -> None:
    without = {c.__name__ for c in all_classes() if not own_reason(c)}
    assert without == {"IdentityError", "ServiceError"}
    assert all(c.__subclasses__() for c in all_classes() if c.__name__ in without)


def test_input_error__says_where() -> None:
    error = InputError("broken", path="a.vcf", record="20:5 A>C", sample="HG1")
    assert str(error) == "a.vcf, record 20:5 A>C, sample HG1: broken"
    assert (error.path, error.record, error.sample) == ("a.vcf", "20:5 A>C", "HG1")
    assert str(InputError("broken")) == "broken"
