"""A device that is this machine: the kernels' own source, built by the C++ compiler at hand, run thread by thread."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from vcfrag_indexd.engines.cuda import driver
from vcfrag_indexd.engines.cuda.device import AnyArray, DeviceMemoryError, Launch

HERE = Path(__file__).parent
MADE_FROM = (HERE / "nearest_on_host.cc", HERE / "cuda_on_host.h", driver.SOURCE)
POISON = 0xA5


class HostDevice:
    """Offers what `CudaDevice` does; memory is the host's and comes filled with rubbish."""

    name = "host:0"

    def __init__(self, *, memory_bytes: int = 1 << 30, shared_bytes: int = 160 * 1024, reverse: bool = False) -> None:
        self.shared_bytes = shared_bytes
        self.launched: list[str] = []
        self._memory_bytes = memory_bytes
        self._held: dict[int, AnyArray] = {}
        self._library = library()
        self._reverse = reverse

    def use(self) -> None:
        pass

    def free_bytes(self) -> int:
        return self._memory_bytes - sum(array.nbytes for array in self._held.values())

    def allocate(self, n_bytes: int) -> int:
        if n_bytes > self.free_bytes():
            raise DeviceMemoryError(f"{self.name} has no room for {n_bytes} bytes")
        # Aligned as the driver aligns.
        array = np.full(n_bytes + 256, POISON, dtype=np.uint8)
        address = -(-array.ctypes.data // 256) * 256
        self._held[address] = array
        return address

    def free(self, address: int) -> None:
        self._held.pop(address, None)

    def upload(self, address: int, array: AnyArray) -> None:
        assert array.flags.c_contiguous
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def download(self, address: int, array: AnyArray) -> None:
        assert array.flags.c_contiguous
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def fill(self, address: int, value: int, n_bytes: int) -> None:
        ctypes.memset(address, value, n_bytes)

    def launch(self, launch: Launch) -> None:
        assert min(launch.grid) > 0
        assert launch.shared_bytes <= self.shared_bytes
        self.launched.append(launch.kernel)
        self._library.reverse_threads(int(self._reverse))
        given = (ctypes.c_void_p * len(launch.arguments))(
            *(ctypes.cast(ctypes.pointer(argument), ctypes.c_void_p).value for argument in launch.arguments)
        )
        grid = (ctypes.c_uint32 * 3)(*launch.grid)
        self._library[f"launch_{launch.kernel}"](grid, launch.threads, launch.shared_bytes, given)

    def close(self) -> None:
        self._held.clear()


def compiler() -> str | None:
    """A C++ compiler, if this machine has one."""
    return next((found for name in ("g++", "clang++") if (found := shutil.which(name))), None)


@functools.cache
def library() -> ctypes.CDLL:
    """The kernels, built once for each version of their source."""
    digest = hashlib.blake2b(b"".join(path.read_bytes() for path in MADE_FROM), digest_size=8).hexdigest()
    built = Path(tempfile.gettempdir()) / f"vcfrag-nearest-{os.getuid()}-{digest}.so"
    if not built.exists():
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "made.so"
            options = ("-std=c++17", "-O2", "-fPIC", "-shared", "-Wno-unknown-pragmas")
            command = [compiler() or "g++", *options, f"-I{driver.SOURCE.parent}", "-x", "c++", str(MADE_FROM[0])]
            subprocess.run([*command, "-o", str(made)], check=True, capture_output=True)
            shutil.move(made, built)
    return ctypes.CDLL(str(built))
