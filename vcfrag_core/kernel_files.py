"""How kernels are loaded that were compiled before.

With a kernel's machine code numba keeps what it is compiled from as part of another. To load it numba makes ready for
compiling whatever there is and reads that, too: 0.4 s for the 30 kernels of a run, where the machine code takes 0.05.
Here both wait until something is compiled. All this leans on how numba keeps kernels, which `kernel.TRIED` bounds.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import llvmlite.binding as llvm
from numba.core.caching import CompileResultCacheImpl, FunctionCache, NullCache
from numba.core.codegen import JITCodeLibrary
from numba.core.runtime import nrt

_log = logging.getLogger(__name__)
# What reading a file raises that is no kept kernel (the documentation of `pickle`), or no file.
_UNREADABLE: Final = (OSError, EOFError, pickle.UnpicklingError, AttributeError, ImportError, IndexError, ValueError)
# Folders of which something was said.
_told: set[str] = set()


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
        try:
            cast(Any, self._files).save_overload(signature, result)
        except OSError as error:
            _warn_once(self.cache_path, f"compiled kernels are not kept: {error}")


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
        """The kept kernel; None, as where there is none, of files that cannot be read."""
        _name_runtime()
        try:
            return cast(Any, self._load_overload)(signature, target_context)
        except _UNREADABLE as error:
            index = Path(cast(Any, self._cache_file)._index_path)
            _warn_once(str(index.parent), f"compiled kernels in {index.parent} are damaged and made again: {error}")
            # Without it the damaged files are written anew.
            with contextlib.suppress(OSError):
                index.unlink()
            return None


class _Loaded(JITCodeLibrary):
    """A kernel's machine code, and LLVM's form of it for compiling others that call it."""

    source: bytes | None

    def _get_module_for_linking(self) -> Any:
        if self.source is not None:
            self._shared_module = llvm.parse_bitcode(self.source)
            self._codegen._engine._load_defined_symbols(self._shared_module)
            self.source = None
        return self._shared_module


def _warn_once(folder: str, text: str) -> None:
    """Says one thing of each folder: every kernel in it has its own files."""
    if folder not in _told:
        _told.add(folder)
        _log.warning("%s", text)


@functools.cache
def _no_source() -> bytes:
    return cast(bytes, llvm.parse_assembly("").as_bitcode())


@functools.cache
def _name_runtime() -> None:
    """Tells LLVM where the functions of numba's runtime are, as numba does before it compiles the first of them."""
    for name, address in cast(Any, nrt)._nrt.c_helpers.items():
        llvm.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)
