"""CUDA's driver as `CudaDevice` calls it, on this machine: memory and kernels of the host, and errors on request.

What a stream is given waits, as it may on a device, until somebody waits for the stream; so a copy from page-locked
memory that was used again too early copies the wrong bytes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tests.indexd.engines.cuda_on_host import HostDevice
from vcfrag_indexd.engines.cuda.device import DeviceMemoryError, Launch
from vcfrag_indexd.engines.cuda.job import PackArgument, SearchArgument

FINE, OUT_OF_MEMORY = 0, 2
U32, U64 = ctypes.c_uint32, ctypes.c_uint64
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "transpose": (U64, U64, U32),
    "tabulate": (U64, U64, U32, U32),
    "pack": (PackArgument,),
    "filter_count": (SearchArgument,),
}


class Code(int):
    """An error code with a name, as the bindings have them."""

    @property
    def name(self) -> str:
        return {FINE: "CUDA_SUCCESS", OUT_OF_MEMORY: "CUDA_ERROR_OUT_OF_MEMORY"}.get(self, "CUDA_ERROR_UNKNOWN")


class DriverOnHost:
    """The calls that are made of `cuda.bindings.driver`.

    Args:
        memory_bytes: Of the device.

    Attributes:
        failing: Call by call, the error codes that its next calls give instead of doing anything.
        calls: Names of all calls.
        copied: Bytes of each copy.
        host_memory: The page-locked memory, by address.
    """

    def __init__(self, memory_bytes: int = 1 << 30) -> None:
        self.failing: dict[str, list[int]] = {}
        self.calls: list[str] = []
        self.copied: list[int] = []
        self.host_memory: dict[int, Any] = {}
        self._device = HostDevice(memory_bytes=memory_bytes)
        self._stream: list[Callable[[], Any]] = []
        anything = SimpleNamespace
        self.CUstream_flags = anything(CU_STREAM_NON_BLOCKING=1)
        self.CUdevice_attribute = anything(
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=9,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=0,
            CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN=self._device.shared_bytes,
        )
        self.CUfunction_attribute = anything(
            CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES=0, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=1
        )

    def __getattr__(self, name: str) -> Any:
        """Every call of the driver, counted, and failing where it is to."""
        if not name.startswith("cu"):
            raise AttributeError(name)
        do = getattr(type(self), f"_{name}", lambda *_: 0)

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append(name)
            failing = self.failing.get(name)
            if failing and (code := failing.pop(0)):
                return (Code(code), None)
            try:
                return (Code(FINE), do(self, *arguments))
            except DeviceMemoryError:
                return (Code(OUT_OF_MEMORY), None)

        return call

    def _cuDeviceGetCount(self) -> int:
        return 1

    def _cuDeviceGetAttribute(self, what: int, _device: int) -> int:
        return what

    def _cuModuleGetFunction(self, _module: int, name: bytes) -> str:
        return name.decode()

    def _cuMemGetInfo(self) -> tuple[int, int]:
        return self._device.free_bytes(), 0

    def _cuMemAlloc(self, n_bytes: int) -> int:
        return self._device.allocate(n_bytes)

    def _cuStreamSynchronize(self, _stream: int) -> None:
        while self._stream:
            self._stream.pop(0)()

    def _cuMemFree(self, address: int) -> None:
        self._cuStreamSynchronize(0)
        self._device.free(address)

    def _cuMemHostAlloc(self, n_bytes: int, _flags: int) -> int:
        block = (ctypes.c_uint8 * n_bytes)()
        self.host_memory[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def _cuMemFreeHost(self, address: int) -> None:
        del self.host_memory[address]

    def _cuMemcpyHtoDAsync(self, to: int, source: int, n_bytes: int, _stream: int) -> None:
        self.copied.append(n_bytes)
        self._stream.append(lambda: ctypes.memmove(to, source, n_bytes))

    _cuMemcpyDtoHAsync = _cuMemcpyHtoDAsync

    def _cuMemsetD8Async(self, address: int, value: int, n_bytes: int, _stream: int) -> None:
        self._stream.append(lambda: self._device.fill(address, value, n_bytes))

    def _cuLaunchKernel(self, kernel: str, *rest: Any) -> None:
        x, y, z, threads, _, _, shared, _stream, given, _ = rest
        kinds = ARGUMENTS.get(kernel, (SearchArgument, U32))
        pointers = ctypes.cast(given, ctypes.POINTER(ctypes.c_void_p))
        # Arguments are taken at the launch, whatever becomes of them then.
        arguments = tuple(
            kind.from_buffer_copy(ctypes.string_at(pointers[i], ctypes.sizeof(kind))) for i, kind in enumerate(kinds)
        )
        launch = Launch(kernel, (x, y, z), threads, arguments, shared)
        self._stream.append(lambda: self._device.launch(launch))
