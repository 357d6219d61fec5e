"""How kernels are loaded that were compiled before.

With a kernel's machine code numba keeps what it is compiled from as part of another. To load it numba makes ready for
compiling whatever there is and reads that, too: 0.4 s for the 30 kernels of a run, where the machine code takes 0.05.
Here both wait until something is compiled. All this leans on how numba keeps kernels, which `kernel.TRIED` bounds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import llvmlite.binding as llvm
from numba.core.caching import CompileResultCacheImpl, FunctionCache, NullCache
from numba.core.codegen import JITCodeLibrary
from numba.core.runtime import nrt


class Kept(NullCache):
    """Where a kernel is kept, looked for when it is first called: few of those that are imported are."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    @functools.cached_property
    def _files(self) -> _Files:
        return cast(_Files, cast(Any, _Files)(self._function))

    @property
    def cache_path(self) -> str:
        return cast(str, self._files.cache_path)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        return self._files.load_overload(signature, target_context)

    def save_overload(self, signature: Any, result: Any) -> None:
        cast(Any, self._files).save_overload(signature, result)


class _Loading(CompileResultCacheImpl):
    """Makes a kernel of what was kept of it."""

    def rebuild(self, target_context: Any, kept: Any) -> Any:
        rebuild = cast(Any, super().rebuild)
        (name, kind, code), described, *others = kept
        if kind != "object":
            return rebuild(target_context, kept)
        machine_code, source = code
        # numba takes from the source which names there are.
        target_context.codegen()._engine._defined_symbols.add(described.llvm_cpython_wrapper_name)
        result = rebuild(target_context, ((name, kind, (machine_code, _no_source())), described, *others))
        result.library.__class__ = _Loaded
        result.library.source = source
        return result


class _Files(FunctionCache):
    """The files of one kernel."""

    _impl_class = _Loading

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        _name_runtime()
        return cast(Any, self._load_overload)(signature, target_context)


class _Loaded(JITCodeLibrary):
    """A kernel's machine code, and LLVM's form of it for compiling others that call it."""

    source: bytes | None

    def _get_module_for_linking(self) -> Any:
        if self.source is not None:
            self._shared_module = llvm.parse_bitcode(self.source)
            self._codegen._engine._load_defined_symbols(self._shared_module)
            self.source = None
        return self._shared_module


@functools.cache
def _no_source() -> bytes:
    return cast(bytes, llvm.parse_assembly("").as_bitcode())


@functools.cache
def _name_runtime() -> None:
    """Tells LLVM where the functions of numba's runtime are, as numba does before it compiles the first of them."""
    for name, address in cast(Any, nrt)._nrt.c_helpers.items():
        llvm.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)
