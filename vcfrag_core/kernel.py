"""How kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])
# The first and the last version of numba whose kept kernels are known to load by `kernel_files`; of others numba loads
# its kernels itself, which takes longer.
TRIED: Final = ((0, 60), (0, 68))


def kernel(function: _Function) -> _Function:
    """The function compiled, without the GIL, and kept for later processes."""
    if not TRIED[0] <= numba.version_info.short <= TRIED[1]:
        return cast(_Function, cast(Any, numba.njit)(cache=True, nogil=True)(function))
    from vcfrag_core.kernel_files import Kept

    compiled = cast(Any, numba.njit)(nogil=True)(function)
    compiled._cache = Kept(function)
    return cast(_Function, compiled)
