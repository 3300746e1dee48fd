# SPDX-License-Identifier: Apache-2.0
"""The interface of a NetKernel function, and the check of what answers behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from netkernel import abi
from netkernel.errors import AbiMismatch, BadRequest


@dataclass(frozen=True)
class Identity:
    """What the first registers of every function say."""

    abi_major: int
    abi_minor: int
    build_id: int
    queue_sets: int  # queue sets a VF
    vfs: int  # VFs built in
    bus_bytes: int
    flows: int  # flows built in
    vm_id: int
    is_pf: bool


@dataclass(frozen=True)
class Doorbells:
    """Where a process maps the doorbell pages. The fd stays the device's; pass a copy."""

    fd: int
    offset: int  # of queue set 0's page, within the fd
    size: int  # bytes, a page a queue set
    stride: int = abi.VF.DB_STRIDE


class Device(ABC):
    """A function with its BAR0, interrupts and DMA. Creating one opens it and checks its ABI."""

    identity: Identity

    @abstractmethod
    def bar_read(self, address: int) -> int:
        """A 32-bit register of BAR0."""

    def bar_read_block(self, address: int, count: int) -> list[int]:
        """`count` registers in a row, read in order."""
        return [self.bar_read(address + 4 * n) for n in range(count)]

    @abstractmethod
    def bar_write(self, address: int, value: int) -> None:
        """Write a 32-bit register of BAR0; returns when the function has taken it."""

    @abstractmethod
    def doorbells(self) -> Doorbells:
        """The doorbell pages, for mapping."""

    @abstractmethod
    def dma_map(self, fd: int, offset: int, iova: int, size: int) -> None:
        """Let the function reach `size` bytes of `fd` from `offset` at bus address `iova`."""

    @abstractmethod
    def dma_unmap(self, iova: int, size: int) -> None:
        """The reverse; returns when the function will not touch the memory any more."""

    @abstractmethod
    def set_irq_eventfds(self, fds: Sequence[int]) -> None:
        """Interrupt vector n signals fds[n]; an empty sequence switches interrupts off."""

    @abstractmethod
    def reset(self) -> None:
        """Function-level reset."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the function. Closing twice is harmless."""

    def fileno(self) -> int | None:
        """A descriptor that becomes readable when the device is gone, if there is one."""
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_identity(self, name: str) -> Identity:
        magic = self.bar_read(abi.VF.MAGIC)
        if magic != abi.MAGIC:
            raise AbiMismatch(
                f"{name} is no NetKernel device: magic is {magic:#010x}, not {abi.MAGIC:#010x}"
            )
        version = self.bar_read(abi.VF.ABI_VERSION)
        major = abi.VF.ABI_VERSION_MAJOR.get(version)
        minor = abi.VF.ABI_VERSION_MINOR.get(version)
        # Until 1.0 a minor may change anything, so it must be equal too.
        if major != abi.ABI_MAJOR or (major == 0 and minor != abi.ABI_MINOR):
            raise AbiMismatch(
                f"{name} has ABI {major}.{minor}; this software knows"
                f" {abi.ABI_MAJOR}.{abi.ABI_MINOR}"
            )
        caps = self.bar_read(abi.VF.CAPS)
        function = self.bar_read(abi.VF.FUNCTION)
        return Identity(
            abi_major=major,
            abi_minor=minor,
            build_id=self.bar_read(abi.VF.BUILD_ID),
            queue_sets=abi.VF.CAPS_QUEUE_SETS.get(caps),
            vfs=abi.VF.CAPS_VFS.get(caps),
            bus_bytes=abi.VF.CAPS_BUS_BYTES.get(caps),
            flows=1 << abi.VF.CAPS_FLOWS_LOG2.get(caps),
            vm_id=abi.VF.FUNCTION_VM_ID.get(function),
            is_pf=bool(abi.VF.FUNCTION_IS_PF.get(function)),
        )


def check_address(address: int) -> None:
    """BAR0 takes aligned 4-byte accesses inside its size only."""
    if address % 4 or not 0 <= address < abi.Lim.BAR0_SIZE:
        raise BadRequest(f"{address:#x} is no register address of BAR0")
