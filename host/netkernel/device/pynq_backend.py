# SPDX-License-Identifier: Apache-2.0
"""A function in the fabric of a Zynq board, reached by pynq's MMIO.

pynq gives registers. Memory for DMA must come from pynq's own allocator there (contiguous, at a
physical address), and interrupts through its UIO driver; mapping a file descriptor is not among
what the board can do, so those calls say NotSupported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from netkernel import abi
from netkernel.device.base import Device, Doorbells, check_address
from netkernel.errors import NotSupported, PermissionDenied, TwinGone


class PynqDevice(Device):
    """BAR0 of a function at physical address `base`."""

    def __init__(self, base: int, *, device: Any = None) -> None:
        """`device` is a pynq Device; pynq's active one by default."""
        import pynq  # takes a second to load, and is wanted on boards only

        self._name = f"pynq:{base:#x}"
        self._base = base
        self._memory: int | None = None
        try:
            self._mmio = pynq.MMIO(base, abi.Lim.BAR0_SIZE, device=device)
        except PermissionError as error:
            raise PermissionDenied("no permission to map the registers", "Run as root.") from error
        self._device = self._mmio.device
        self._open = True
        self.identity = self._check_identity(self._name)

    def bar_read(self, address: int) -> int:
        check_address(address)
        self._check_open()
        return int(self._mmio.read(address))

    def bar_write(self, address: int, value: int) -> None:
        check_address(address)
        self._check_open()
        self._mmio.write(address, value & 0xFFFF_FFFF)

    def doorbells(self) -> Doorbells:
        if not self._device.has_capability("MEMORY_MAPPED"):
            raise NotSupported(f"the registers of {self._name} are not in this machine's memory")
        if self._memory is None:
            try:
                self._memory = os.open("/dev/mem", os.O_RDWR | os.O_SYNC | os.O_CLOEXEC)
            except PermissionError as error:
                raise PermissionDenied("no permission to open /dev/mem", "Run as root.") from error
        size = max(1, self.identity.queue_sets) * abi.VF.DB_STRIDE
        return Doorbells(self._memory, self._base + abi.VF.DB_BASE, size)

    def dma_map(self, fd: int, offset: int, iova: int, size: int) -> None:  # noqa: ARG002
        raise NotSupported(f"{self._name} has no IOMMU: use pynq.allocate for its memory")

    def dma_unmap(self, iova: int, size: int) -> None:  # noqa: ARG002
        raise NotSupported(f"{self._name} has no IOMMU: use pynq.allocate for its memory")

    def set_irq_eventfds(self, fds: Sequence[int]) -> None:
        if fds:
            raise NotSupported(f"{self._name} has no interrupts as eventfds")

    def reset(self) -> None:
        """Fabric has no function-level reset: a VF is reset by its control register."""
        if self.identity.is_pf:
            raise NotSupported(f"{self._name}: load the bitstream again to reset it")
        self.bar_write(abi.VF.CTRL, abi.VF.CTRL_RESET.put(1))

    def close(self) -> None:
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None
        self._open = False

    def _check_open(self) -> None:
        if not self._open:
            raise TwinGone(f"{self._name} is closed", "")
