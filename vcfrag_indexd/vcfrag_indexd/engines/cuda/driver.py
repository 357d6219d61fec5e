"""A CUDA device by the driver's own interface: no torch, no CUDA toolkit, kernels compiled where they run."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vcfrag_core.errors import ConfigError
from vcfrag_indexd.engines.cuda.device import AnyArray, DeviceMemoryError, Launch
from vcfrag_indexd.engines.installed import GPU_LINE

SOURCE = Path(__file__).with_name("nearest.cu")
KERNELS = (
    "filter_count", "filter_weighted", "filter_weighted_long", "settle", "settle_many", "start", "tabulate", "pack",
    "transpose",
)  # fmt: skip
PINNED_BYTES = 1 << 20
OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY


class CudaDevice:
    """One CUDA device with a stream of its own."""

    def __init__(self, number: int) -> None:
        driver = _driver()
        _checked(driver.cuInit(0))
        n_devices = _checked(driver.cuDeviceGetCount())
        if number >= n_devices:
            raise ConfigError(f"bitscan-gpu asks for device {number}, and there are {n_devices}")
        self._driver = driver
        self._number = number
        self._device = _checked(driver.cuDeviceGet(number))
        self._context = _checked(driver.cuDevicePrimaryCtxRetain(self._device))
        _checked(driver.cuCtxSetCurrent(self._context))
        attribute = driver.CUdevice_attribute
        major, minor, self._shared = (
            _checked(driver.cuDeviceGetAttribute(what, self._device))
            for what in (
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
                attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            )
        )
        self._stream = _checked(driver.cuStreamCreate(int(driver.CUstream_flags.CU_STREAM_NON_BLOCKING)))
        code, _ = compile_kernels(SOURCE.read_text(), f"sm_{major}{minor}")
        self._module = _checked(driver.cuModuleLoadData(code))
        self._kernels = {name: self._kernel(name) for name in KERNELS}
        self._pinned = [_Pinned(driver, PINNED_BYTES) for _ in range(2)]  # up and down
        self._uploaded = 0
        self._closed = False

    @property
    def name(self) -> str:
        return f"cuda:{self._number}"

    @property
    def shared_bytes(self) -> int:
        return int(self._shared)

    def use(self) -> None:
        _checked(self._driver.cuCtxSetCurrent(self._context))

    def free_bytes(self) -> int:
        return int(_checked(self._driver.cuMemGetInfo())[0])

    def allocate(self, n_bytes: int) -> int:
        return int(_checked(self._driver.cuMemAlloc(n_bytes)))

    def free(self, address: int) -> None:
        if not self._closed:
            self.use()
            self._driver.cuMemFree(address)

    def upload(self, address: int, array: AnyArray) -> None:
        # By way of pinned memory, so that the copy runs beside the host and the array is free at once.
        view = array.reshape(-1).view(np.uint8)
        pinned = self._room_in_pinned(0, len(view))
        for begin in range(0, len(view), len(pinned.view)):
            part = view[begin : begin + len(pinned.view)]
            if self._uploaded + len(part) > len(pinned.view):
                self.synchronise()
            place = slice(self._uploaded, self._uploaded + len(part))
            pinned.view[place] = part
            _checked(
                self._driver.cuMemcpyHtoDAsync(address + begin, pinned.address + place.start, len(part), self._stream)
            )
            self._uploaded += -(-len(part) // 256) * 256

    def download(self, address: int, array: AnyArray) -> None:
        view = array.reshape(-1).view(np.uint8)
        pinned = self._room_in_pinned(1, len(view))
        for begin in range(0, len(view), len(pinned.view)):
            part = view[begin : begin + len(pinned.view)]
            _checked(self._driver.cuMemcpyDtoHAsync(pinned.address, address + begin, len(part), self._stream))
            self.synchronise()
            part[:] = pinned.view[: len(part)]

    def _room_in_pinned(self, which: int, n_bytes: int) -> _Pinned:
        """Page-locked memory for so many bytes; less where the host has no more of it, for one part after another."""
        if n_bytes > len(self._pinned[which].view):
            self.synchronise()
            with contextlib.suppress(DeviceMemoryError):
                more = _Pinned(self._driver, 2 * n_bytes)
                self._pinned[which].free()
                self._pinned[which] = more
        return self._pinned[which]

    def fill(self, address: int, value: int, n_bytes: int) -> None:
        _checked(self._driver.cuMemsetD8Async(address, value, n_bytes, self._stream))

    def launch(self, launch: Launch) -> None:
        pointers = (ctypes.c_void_p * len(launch.arguments))(
            *(ctypes.cast(ctypes.pointer(argument), ctypes.c_void_p).value for argument in launch.arguments)
        )
        _checked(
            self._driver.cuLaunchKernel(
                self._kernels[launch.kernel], *launch.grid, launch.threads, 1, 1, launch.shared_bytes, self._stream,
                ctypes.addressof(pointers), 0,
            )
        )  # fmt: skip

    def synchronise(self) -> None:
        """Waits for everything that was asked for."""
        _checked(self._driver.cuStreamSynchronize(self._stream))
        self._uploaded = 0

    def close(self) -> None:
        """Gives back the device with all of its memory that is still held."""
        self.use()
        self.synchronise()
        self._closed = True
        for pinned in self._pinned:
            pinned.free()
        self._driver.cuModuleUnload(self._module)
        self._driver.cuStreamDestroy(self._stream)
        self._driver.cuDevicePrimaryCtxRelease(self._device)

    def _kernel(self, name: str) -> Any:
        kernel = _checked(self._driver.cuModuleGetFunction(self._module, name.encode()))
        attribute = self._driver.CUfunction_attribute
        fixed = _checked(self._driver.cuFuncGetAttribute(attribute.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, kernel))
        most = attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        _checked(self._driver.cuFuncSetAttribute(kernel, most, self._shared - fixed))
        return kernel


class _Pinned:
    """Page-locked host memory."""

    def __init__(self, driver: Any, n_bytes: int) -> None:
        self._driver = driver
        self.address = int(_checked(driver.cuMemHostAlloc(n_bytes, 0)))
        self.view = np.ctypeslib.as_array((ctypes.c_uint8 * n_bytes).from_address(self.address))

    def free(self) -> None:
        self._driver.cuMemFreeHost(self.address)


def device_names() -> list[str]:
    """Names of this machine's CUDA devices; none where there is no driver.

    Raises:
        ConfigError: CUDA's Python bindings are not installed.
    """
    driver = _driver()
    try:
        _checked(driver.cuInit(0))
    except RuntimeError:  # the bindings' own, or of a code that means no device
        return []
    devices = [_checked(driver.cuDeviceGet(i)) for i in range(_checked(driver.cuDeviceGetCount()))]
    return [_name_of(driver, device) for device in devices]


def _name_of(driver: Any, device: Any) -> str:
    return str(_checked(driver.cuDeviceGetName(128, device)).split(b"\0")[0].decode())


def free_bytes_of(number: int) -> int:
    """Free memory of a device, of which this process has the primary context afterwards.

    Raises:
        ConfigError: CUDA's Python bindings are not installed.
    """
    driver = _driver()
    _checked(driver.cuInit(0))
    _checked(driver.cuCtxSetCurrent(_checked(driver.cuDevicePrimaryCtxRetain(_checked(driver.cuDeviceGet(number))))))
    return int(_checked(driver.cuMemGetInfo())[0])


def compile_kernels(source: str, architecture: str, options: Sequence[str] = ()) -> tuple[bytes, str]:
    """Machine code of the kernels for a compute capability such as `sm_90`, and the compiler's log; needs no device.

    Raises:
        ConfigError: NVRTC is not installed, or does not compile them.
    """
    nvrtc = _nvrtc()
    program = _compiler(nvrtc.nvrtcCreateProgram(source.encode(), b"nearest.cu", 0, [], []))
    given = [option.encode() for option in ("--std=c++17", f"--gpu-architecture={architecture}", *options)]
    (error,) = nvrtc.nvrtcCompileProgram(program, len(given), given)
    log = bytearray(_compiler(nvrtc.nvrtcGetProgramLogSize(program)))
    _compiler(nvrtc.nvrtcGetProgramLog(program, log))
    if int(error):
        raise ConfigError(f"NVRTC does not compile nearest.cu for {architecture}: {log.decode(errors='replace')}")
    code = bytearray(_compiler(nvrtc.nvrtcGetCUBINSize(program)))
    _compiler(nvrtc.nvrtcGetCUBIN(program, code))
    return bytes(code), log.rstrip(b"\0").decode(errors="replace")


@functools.cache
def _driver() -> Any:
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise ConfigError(f"bitscan-gpu needs CUDA's Python bindings ({error}): run `{GPU_LINE}`") from error
    return driver


@functools.cache
def _nvrtc() -> Any:
    try:
        from cuda.bindings import nvrtc
    except ImportError as error:
        raise ConfigError(f"bitscan-gpu needs CUDA's Python bindings ({error}): run `{GPU_LINE}`") from error
    return nvrtc


def _checked(result: tuple[Any, ...]) -> Any:
    """What the driver gave.

    Raises:
        DeviceMemoryError: It has no memory, of whichever kind it was asked for.
        RuntimeError: Any other error of its.
    """
    error, *values = result
    if int(error) == OUT_OF_MEMORY:
        raise DeviceMemoryError("CUDA has no memory left")
    if int(error):
        raise RuntimeError(f"CUDA: {error.name}")
    return values[0] if len(values) == 1 else tuple(values)


def _compiler(result: tuple[Any, ...]) -> Any:
    error, *values = result
    if int(error):
        raise ConfigError(f"NVRTC: {error.name}: reinstall it, `{GPU_LINE}`")
    return values[0] if values else None
