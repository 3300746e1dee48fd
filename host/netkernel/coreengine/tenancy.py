# SPDX-License-Identifier: Apache-2.0
"""One VF in the hands of one process: give it out, take it back."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable

from netkernel import abi
from netkernel.coreengine.card import VfEntry
from netkernel.coreengine.layout import RegionPlan, plan
from netkernel.coreengine.schema import Layout
from netkernel.device import Device
from netkernel.errors import BadRequest, DeviceRefused, NothingFree

REGION_IOVA = 0x1_0000_0000  # bus address of a tenant's region, in its own IOMMU domain

_F_ADD_SEALS = 1033
_SEALS = 0x1 | 0x2 | 0x4  # F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW

_LOOKS = 100  # register reads until a change of state is given up

_ENABLE = abi.VF.CTRL_ENABLE.put(1)
_RESET = abi.VF.CTRL_RESET.put(1)


class Tenancy:
    """Device, memory and interrupts of a leased VF.

    The memory is freed only after the card has said that no DMA of this VF is under way.
    """

    def __init__(
        self,
        vf: int,
        open_device: Callable[[], Device],
        entry: VfEntry,
        *,
        rx_log2: int,
        tx_log2: int,
        queue_sets: int,
        cc: int,
    ) -> None:
        self.vf = vf
        self._region_fd = -1
        self._irq_fds: list[int] = []
        self._mapped = 0
        self._disabled = False
        self.device = open_device()
        try:
            if queue_sets > self.device.identity.queue_sets:
                raise BadRequest(
                    f"VF {vf} has {self.device.identity.queue_sets} queue set(s), not {queue_sets}"
                )
            self._check_function()
            region = plan(entry.max_sockets, queue_sets, rx_log2, tx_log2)
            bells = self.device.doorbells()
            self._make_memory(region.size)
            self._irq_fds = [
                os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(queue_sets)
            ]
            self._program(region)
        except BaseException:
            self._abandon()
            raise
        self.fds = [bells.fd, self._region_fd, *self._irq_fds]
        self.layout = Layout(
            vf=vf,
            ip=str(entry.ip.ip),
            prefix=entry.ip.network.prefixlen,
            gateway=str(entry.gateway),
            mtu=entry.mtu,
            max_sockets=entry.max_sockets,
            queue_sets=region.queue_sets,
            doorbell_offset=bells.offset,
            doorbell_stride=bells.stride,
            region_bytes=region.size,
            heap=region.heap,
            rx_log2=rx_log2,
            tx_log2=tx_log2,
            cc=cc,
        )

    # ---- giving out ----

    def _check_function(self) -> None:
        me = self.device.identity
        if me.is_pf or me.vm_id != self.vf:
            raise DeviceRefused(f"the function opened for VF {self.vf} says it is another one")
        status = self.device.bar_read(abi.VF.STATUS)
        if not abi.VF.STATUS_READY.get(status):
            raise DeviceRefused(f"the PF has not enabled VF {self.vf}")

    def _make_memory(self, size: int) -> None:
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        self._region_fd = os.memfd_create(f"netkernel-vf{self.vf}", flags)
        try:
            os.ftruncate(self._region_fd, size)
        except OSError as error:
            raise NothingFree(
                f"no memory for a region of {size >> 20} MiB: {error.strerror}",
                "Ask for smaller rings, or give the VF a smaller socket quota.",
            ) from error
        # A tenant that shrank its memory would make the device's access to it fault.
        fcntl.fcntl(self._region_fd, _F_ADD_SEALS, _SEALS)

    def _program(self, region: RegionPlan) -> None:
        device = self.device
        device.bar_write(abi.VF.CTRL, 0)
        self._expect(abi.VF.STATUS_RESETTING, 0, f"VF {self.vf} did not come to rest")
        device.dma_map(self._region_fd, 0, REGION_IOVA, region.size)
        self._mapped = region.size
        device.set_irq_eventfds(self._irq_fds)
        device.bar_write(abi.VF.REGION_BASE_LO, REGION_IOVA & 0xFFFF_FFFF)
        device.bar_write(abi.VF.REGION_BASE_HI, REGION_IOVA >> 32)
        device.bar_write(abi.VF.REGION_PAGES, region.size // abi.Lim.PAGE)
        device.bar_write(abi.VF.CTRL, _ENABLE)
        self._expect(abi.VF.STATUS_ENABLED, 1, f"the card refused to enable VF {self.vf}")
        for n, queues in enumerate(region.queue_sets):
            base = abi.VF.QS_BASE + n * abi.VF.QS_STRIDE
            for register, offset in (
                (abi.QS.JOB_BASE, queues.job.offset),
                (abi.QS.COMPLETION_BASE, queues.completion.offset),
                (abi.QS.SEND_BASE, queues.send.offset),
                (abi.QS.RECEIVE_BASE, queues.receive.offset),
                (abi.QS.STATUS_BASE, queues.status),
            ):
                device.bar_write(base + register, offset // abi.Lim.PAGE)
            sizes = (
                abi.QS.SIZES_JOB.put(queues.job.log2)
                | abi.QS.SIZES_COMPLETION.put(queues.completion.log2)
                | abi.QS.SIZES_SEND.put(queues.send.log2)
                | abi.QS.SIZES_RECEIVE.put(queues.receive.log2)
            )
            device.bar_write(base + abi.QS.SIZES, sizes)
            device.bar_write(base + abi.QS.CTRL, abi.QS.CTRL_ENABLE.put(1))
            if not abi.QS.CTRL_ENABLE.get(device.bar_read(base + abi.QS.CTRL)):
                raise DeviceRefused(f"the card refused to enable queue set {n} of VF {self.vf}")

    def _expect(self, field: abi.Field, value: int, otherwise: str) -> None:
        """A bit of the status register, which may need some clocks to follow."""
        for _ in range(_LOOKS):
            if field.get(self.device.bar_read(abi.VF.STATUS)) == value:
                return
        raise DeviceRefused(otherwise)

    # ---- taking back ----

    def begin_drain(self) -> None:
        """Ask the card to end every flow of this VF."""
        self.device.bar_write(abi.VF.CTRL, _ENABLE | _RESET)

    def drained(self) -> bool:
        """One look at the card; True once it will not touch the memory any more."""
        if abi.VF.STATUS_RESETTING.get(self.device.bar_read(abi.VF.STATUS)):
            return False
        if not self._disabled:
            self.device.bar_write(abi.VF.CTRL, 0)
            self._disabled = True
            return self.drained()
        return True

    def finish(self) -> None:
        """Free everything; call it after `drained` said True."""
        status = self.device.bar_read(abi.VF.STATUS)
        if abi.VF.STATUS_ENABLED.get(status) or abi.VF.STATUS_RESETTING.get(status):
            raise DeviceRefused(f"VF {self.vf} is still active after its reset")
        self.device.set_irq_eventfds([])
        self.device.dma_unmap(REGION_IOVA, self._mapped)
        self._mapped = 0
        self._free()

    def drop(self) -> None:
        """The device is gone: free what is ours."""
        self._free()

    def _abandon(self) -> None:
        """Undo a lease that did not come about; the first error is the one that matters."""
        with contextlib.suppress(Exception):
            self.device.bar_write(abi.VF.CTRL, 0)
            if self._mapped:
                self.device.dma_unmap(REGION_IOVA, self._mapped)
            self.device.set_irq_eventfds([])
        self._free()

    def _free(self) -> None:
        self.device.close()
        for fd in [self._region_fd, *self._irq_fds]:
            if fd >= 0:
                os.close(fd)
        self._region_fd = -1
        self._irq_fds = []
