"""What the engine asks of a device: memory, copies, launches. CUDA's is `cuda.driver`; tests have one on the host."""

from __future__ import annotations

import ctypes
import dataclasses
from typing import Any, Protocol

from numpy.typing import NDArray

Argument = ctypes.Structure | ctypes.c_uint32 | ctypes.c_uint64
AnyArray = NDArray[Any]


class DeviceMemoryError(Exception):
    """The device has no room for an allocation."""


@dataclasses.dataclass(frozen=True, slots=True)
class Launch:
    """How a kernel is launched.

    Attributes:
        kernel: Its name.
        grid: Blocks in x, y and z.
        threads: Threads of a block.
        arguments: As the kernel declares them.
        shared_bytes: Dynamic shared memory of a block.
    """

    kernel: str
    grid: tuple[int, int, int]
    threads: int
    arguments: tuple[Argument, ...]
    shared_bytes: int = 0


class Device(Protocol):
    """One device, used by one thread at a time. Copies and launches happen in the order in which they are asked for."""

    @property
    def name(self) -> str:
        """Such as `cuda:0`."""

    @property
    def shared_bytes(self) -> int:
        """Dynamic shared memory that a block may ask for."""

    def use(self) -> None:
        """To be called by a thread before it asks for anything else."""

    def free_bytes(self) -> int:
        """Memory that is free now."""

    def allocate(self, n_bytes: int) -> int:
        """The address of new memory.

        Raises:
            DeviceMemoryError: There is none left.
        """

    def free(self, address: int) -> None:
        """Gives memory back, once everything asked for before is done."""

    def upload(self, address: int, array: AnyArray) -> None:
        """Copies a C-contiguous array to the device; it may be changed afterwards."""

    def download(self, address: int, array: AnyArray) -> None:
        """Fills a C-contiguous array from the device, waiting for everything asked for before."""

    def fill(self, address: int, value: int, n_bytes: int) -> None:
        """Sets every byte."""

    def launch(self, launch: Launch) -> None:
        """Runs a kernel."""

    def close(self) -> None:
        """Gives back the device; memory that is freed afterwards is gone already."""


class DeviceArray:
    """Memory of a device that is given back with the last reference to it."""

    def __init__(self, device: Device, n_bytes: int) -> None:
        self._device = device
        self.address = device.allocate(max(n_bytes, 1))
        self.n_bytes = n_bytes

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self._device.free(self.address)
