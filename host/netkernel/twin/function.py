# SPDX-License-Identifier: Apache-2.0
"""One PCI function of the twin as its vfio-user client sees it: regions, interrupts, DMA, reset.

Whoever is refused gets an OSError with the errno that goes into the reply. A client's life:
begin(), any number of the other calls, end(). Nothing of one client is left for the next.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from netkernel import abi
from netkernel.device import _structs as vs
from netkernel.twin import pci
from netkernel.twin.library import Card

REGIONS: Final = 9  # six BARs, ROM, configuration space, VGA
IRQS: Final = 5  # INTx, MSI, MSI-X, error, request
BAR_ACCESS_MAX: Final = 4096  # bytes of registers in one message

_RESET_SECONDS: Final = 2.0
_DMA_FLAGS: Final = vs.DMA_READ | vs.DMA_WRITE
_IRQ_DATA_BOOL: Final = 1 << 1
_IRQ_ACTION_MASK: Final = 1 << 3
_IRQ_ACTION_UNMASK: Final = 1 << 4
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


@dataclass(frozen=True)
class Region:
    """A region of the function. `areas` may be mapped from `fd` at the region's own offsets."""

    size: int
    flags: int
    fd: int | None = None
    areas: tuple[tuple[int, int], ...] = ()


def _refuse(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class Function:
    """func: 0 is the PF, n + 1 is VF n."""

    def __init__(self, card: Card, func: int) -> None:
        self._card = card
        self.func = func
        self.is_pf = func == 0
        self.name = "pf" if self.is_pf else f"vf{func - 1}"
        self.vectors = 1 if self.is_pf else card.info.queue_sets
        self._config = pci.ConfigSpace(
            device_id=pci.DEVICE_ID_PF if self.is_pf else pci.DEVICE_ID_VF, vectors=self.vectors
        )
        self._msix = bytearray(pci.MSIX_BAR_SIZE)
        self._doorbell_fd: int | None = None
        self._doorbell_bytes = 0 if self.is_pf else card.info.queue_sets * abi.VF.DB_STRIDE

    # ---- a client comes and goes

    def begin(self) -> None:
        """Fresh configuration space and, for a VF, fresh doorbell memory: a mapping that an earlier
        client left behind in some process reaches nothing any more.
        """
        self._config.reset()
        self._msix[:] = bytes(len(self._msix))
        if self.is_pf:
            return
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        fd = os.memfd_create(f"netkernel-{self.name}-doorbells", flags)
        # As long as BAR0, so that offsets in the file are those in the BAR; only the pages exist.
        os.ftruncate(fd, abi.Lim.BAR0_SIZE)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        self._doorbell_fd = fd
        self._card.set_doorbells(self.func, fd, abi.VF.DB_BASE, self._card.info.queue_sets)

    def end(self) -> None:
        """Reset, unless it is the PF: its settings belong to the card and outlive CoreEngine."""
        if not self.is_pf:
            # If the card has stopped or is stuck, what follows cuts it off.
            with contextlib.suppress(OSError):
                self._reset_vf()
            self._card.set_doorbells(self.func, -1)
        self._card.set_bus_master(self.func, False)
        self._card.dma_unmap_all(self.func)
        for vector in range(self.vectors):
            self._card.set_irq(self.func, vector, -1)
            self._card.mask_irq(self.func, vector, False)
        if self._doorbell_fd is not None:
            os.close(self._doorbell_fd)
            self._doorbell_fd = None

    # ---- reset

    def reset(self) -> None:
        """Function-level reset. Of the PF: all VFs are switched off."""
        if self.is_pf:
            for vf in range(self._card.info.vfs):
                entry = abi.PF.VF_BASE + vf * abi.PF.VF_STRIDE
                self._card.mmio_write(0, entry + abi.VFE.CTRL, 0)
                self._wait_clear(0, entry + abi.VFE.STATUS, abi.VFE.STATUS_RESETTING)
        else:
            self._reset_vf()

    def _reset_vf(self) -> None:
        self._card.mmio_write(self.func, abi.VF.CTRL, abi.VF.CTRL_RESET.put(1))
        self._wait_clear(self.func, abi.VF.STATUS, abi.VF.STATUS_RESETTING)

    def _wait_clear(self, func: int, addr: int, field: abi.Field) -> None:
        deadline = time.monotonic() + _RESET_SECONDS
        pause = 50e-6
        while field.get(self._card.mmio_read(func, addr)):
            if time.monotonic() > deadline:
                raise _refuse(errno.ETIMEDOUT)
            time.sleep(pause)
            pause = min(2 * pause, 10e-3)

    # ---- regions

    def region(self, index: int) -> Region:
        if not 0 <= index < REGIONS:
            raise _refuse(errno.EINVAL)
        rw = vs.REGION_FLAG_READ | vs.REGION_FLAG_WRITE
        if index == vs.REGION_BAR0 and self._doorbell_fd is not None:
            area = (abi.VF.DB_BASE, self._doorbell_bytes)
            return Region(abi.Lim.BAR0_SIZE, rw | vs.REGION_FLAG_MMAP, self._doorbell_fd, (area,))
        sizes = {
            vs.REGION_BAR0: abi.Lim.BAR0_SIZE,
            pci.MSIX_BAR: pci.MSIX_BAR_SIZE,
            vs.REGION_CONFIG: pci.CONFIG_SIZE,
        }
        size = sizes.get(index, 0)
        return Region(size, rw if size else 0)

    def read(self, index: int, offset: int, count: int) -> bytes:
        self._check_range(index, offset, count)
        if index == vs.REGION_CONFIG:
            return self._config.read(offset, count)
        if index == pci.MSIX_BAR:
            return bytes(self._msix[offset : offset + count])
        if offset % 4 or count % 4:
            return bytes(count)  # as the ABI says: registers are accessed whole
        if self._is_doorbell(offset):
            words = [self._doorbell_read(at) for at in range(offset, offset + count, 4)]
        else:
            words = self._card.mmio_read_block(self.func, offset, count // 4)
        return struct.pack(f"<{len(words)}I", *words)

    def write(self, index: int, offset: int, data: bytes) -> None:
        self._check_range(index, offset, len(data))
        if index == vs.REGION_CONFIG:
            self._config.write(offset, data)
            self._card.set_bus_master(self.func, self._config.bus_master)
        elif index == pci.MSIX_BAR:
            # The table alone; pending bits are the card's.
            end = min(offset + len(data), self.vectors * pci.MSIX_ENTRY_SIZE)
            if end > offset:
                self._msix[offset:end] = data[: end - offset]
        elif offset % 4 == 0 and len(data) % 4 == 0:
            for at in range(0, len(data), 4):
                self._write_register(offset + at, int.from_bytes(data[at : at + 4], "little"))

    def _check_range(self, index: int, offset: int, count: int) -> None:
        size = self.region(index).size
        if count <= 0 or offset < 0 or offset + count > size:
            raise _refuse(errno.EINVAL)
        if index == vs.REGION_BAR0 and count > BAR_ACCESS_MAX:
            raise _refuse(errno.E2BIG)

    def _is_doorbell(self, offset: int) -> bool:
        return abi.VF.DB_BASE <= offset < abi.VF.DB_BASE + self._doorbell_bytes

    def _doorbell_read(self, offset: int) -> int:
        if not self._is_doorbell(offset):
            return 0
        return self._card.doorbell_read(self.func, offset - abi.VF.DB_BASE)

    def _write_register(self, offset: int, value: int) -> None:
        if self._is_doorbell(offset):
            self._card.doorbell_write(self.func, offset - abi.VF.DB_BASE, value)
        else:
            self._card.mmio_write(self.func, offset, value)

    # ---- interrupts

    def irq_count(self, index: int) -> int:
        if not 0 <= index < IRQS:
            raise _refuse(errno.EINVAL)
        return self.vectors if index == vs.IRQ_MSIX else 0

    def set_irqs(
        self, flags: int, index: int, start: int, count: int, bools: bytes, fds: Sequence[int]
    ) -> None:
        """VFIO_DEVICE_SET_IRQS. bools: the data of IRQ_DATA_BOOL, a byte a vector."""
        vectors = self.irq_count(index)
        if start > vectors or count > vectors - start:
            raise _refuse(errno.EINVAL)
        data = flags & (vs.IRQ_DATA_NONE | _IRQ_DATA_BOOL | vs.IRQ_DATA_EVENTFD)
        action = flags & (_IRQ_ACTION_MASK | _IRQ_ACTION_UNMASK | vs.IRQ_ACTION_TRIGGER)
        if flags != data | action or data.bit_count() != 1 or action.bit_count() != 1:
            raise _refuse(errno.EINVAL)
        chosen = range(start, start + count)
        if data == vs.IRQ_DATA_EVENTFD:
            self._set_eventfds(action, chosen, fds)
            return
        if data == _IRQ_DATA_BOOL:
            if len(bools) < count:
                raise _refuse(errno.EINVAL)
            chosen_vectors = [v for v, on in zip(chosen, bools, strict=False) if on]
        else:
            chosen_vectors = list(chosen)
        if action == vs.IRQ_ACTION_TRIGGER and data == vs.IRQ_DATA_NONE and count == 0:
            self._disable_irqs()
            return
        for vector in chosen_vectors:
            if action == vs.IRQ_ACTION_TRIGGER:
                self._card.trigger_irq(self.func, vector)
            else:
                self._card.mask_irq(self.func, vector, action == _IRQ_ACTION_MASK)

    def _set_eventfds(self, action: int, vectors: range, fds: Sequence[int]) -> None:
        # No descriptor at all means -1 for each: that is how these vectors are switched off.
        if action != vs.IRQ_ACTION_TRIGGER or len(fds) not in (0, len(vectors)):
            raise _refuse(errno.EINVAL)
        for n, vector in enumerate(vectors):
            self._card.set_irq(self.func, vector, fds[n] if fds else -1)

    def _disable_irqs(self) -> None:
        for vector in range(self.vectors):
            self._card.set_irq(self.func, vector, -1)

    # ---- DMA

    def dma_map(self, flags: int, offset: int, address: int, size: int, fds: Sequence[int]) -> None:
        if flags & ~_DMA_FLAGS or len(fds) > 1:
            raise _refuse(errno.EINVAL)
        # Both directions unless told otherwise would be generous: no flag, no access.
        fd = fds[0] if fds else -1
        self._card.dma_map(self.func, address, size, fd, offset, flags & _DMA_FLAGS)

    def dma_unmap(self, address: int, size: int) -> None:
        if self._card.dma_unmap(self.func, address, size) == 0:
            raise _refuse(errno.ENOENT)

    def dma_unmap_all(self) -> None:
        self._card.dma_unmap_all(self.func)
