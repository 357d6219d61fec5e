"""How functions are compiled that compiled loops call.

A leaf makes no arrays, and in return counts no references to those that it is given: an atomic addition for each that
goes in and another as it comes out are 150 ns for ten arrays, where what is done may take 20. Assigning a row to a row
may make one, too. What is compiled of a leaf is part of those that call it, and is kept with them: a leaf that Python
calls is compiled by every process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def leaf(function: _Function) -> _Function:
    """The function compiled, without the GIL."""
    return cast(_Function, cast(Any, numba.njit)(nogil=True, _nrt=False)(function))


def reordered_leaf(function: _Function) -> _Function:
    """The same for sums that may be taken in any order."""
    return cast(_Function, cast(Any, numba.njit)(nogil=True, fastmath=True, _nrt=False)(function))


def dividing_leaf(function: _Function) -> _Function:
    """The leaf of a loop that divides, by zero as NumPy does: no test for that keeps it from being vector code."""
    options = {"nogil": True, "error_model": "numpy", "_nrt": False}
    return cast(_Function, cast(Any, numba.njit)(**options)(function))
