# SPDX-License-Identifier: Apache-2.0
"""The VFIO backend against a stand-in for the kernel's ioctls: order, structures, refusals.

What only a card can show (IOMMU, interrupts, the bus) is not proven here.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from netkernel import abi
from netkernel.coreengine import VfioSlot, find_slot
from netkernel.device import VfioDevice
from netkernel.errors import (
    AbiMismatch,
    BadRequest,
    Busy,
    DeviceRefused,
    NkError,
    NotSupported,
    PermissionDenied,
    TwinGone,
    UnknownDevice,
)

BDF = "0000:03:00.1"
CONFIG_OFFSET = abi.Lim.BAR0_SIZE  # where the stand-in keeps configuration space


class Kernel:
    """Answers the ioctls; the device's descriptor is a memfd with BAR0 and configuration space."""

    def __init__(self, root: Path) -> None:
        self.sysfs, self.devfs = root / "devices", root / "vfio"
        function = self.sysfs / BDF
        function.mkdir(parents=True)
        (root / "drivers/vfio-pci").mkdir(parents=True)
        (root / "groups/17").mkdir(parents=True)
        (function / "driver").symlink_to(root / "drivers/vfio-pci")
        (function / "iommu_group").symlink_to(root / "groups/17")
        self.devfs.mkdir()
        (self.devfs / "vfio").touch()
        (self.devfs / "17").touch()
        self.device = os.memfd_create("device", os.MFD_CLOEXEC)
        os.ftruncate(self.device, CONFIG_OFFSET + abi.Lim.BAR0_SIZE + 4096)
        self.poke(abi.VF.MAGIC, abi.MAGIC)
        self.poke(abi.VF.ABI_VERSION, abi.ABI_VERSION)
        self.poke(abi.VF.CAPS, 1 | 8 << 8 | 64 << 16 | 10 << 24)
        self.poke(abi.VF.FUNCTION, 1)
        self.calls: list[int] = []
        self.maps: dict[int, tuple[int, int]] = {}
        self.irqs: list[int] = []
        self.viable = 1
        self.fail: dict[int, int] = {}

    def poke(self, address: int, value: int) -> None:
        os.pwrite(self.device, struct.pack("<I", value), address)

    def open(self) -> VfioDevice:
        return VfioDevice(BDF, sysfs=self.sysfs, devfs=self.devfs, ioctl=self.ioctl)

    def ioctl(self, _fd: int, request: int, argument: Any) -> int:
        number = request - (ord(";") << 8) - 100  # linux/vfio.h
        self.calls.append(number)
        if number in self.fail:
            raise OSError(self.fail[number], os.strerror(self.fail[number]))
        answers: dict[int, Callable[[Any], int | None]] = {
            0: lambda _: 0,
            1: lambda kind: int(kind == 3),
            3: lambda a: struct.pack_into("<II", a, 0, 8, self.viable),
            6: lambda name: os.dup(self.device) if name == BDF.encode() + b"\0" else -1,
            8: self._region,
            9: lambda a: struct.pack_into("<IIII", a, 0, 16, 1, 2, 4),
            10: self._irqs,
            13: self._map,
            14: self._unmap,
        }
        return answers.get(number, lambda _: 0)(argument) or 0

    def _region(self, a: bytearray) -> None:
        argsz, _, index = struct.unpack_from("<III", a)
        if index == 7:
            struct.pack_into("<IIIIQQ", a, 0, 32, 3, 7, 0, 4096, CONFIG_OFFSET)
            return
        struct.pack_into("<IIIIQQ", a, 0, 64, 15, 0, 32, abi.Lim.BAR0_SIZE, 0)
        if argsz >= 64:
            struct.pack_into("<HHIIIQQ", a, 32, 1, 1, 0, 1, 0, 0x10000, 0x8000)

    def _irqs(self, a: bytes) -> None:
        argsz, _, index, start, count = struct.unpack_from("<IIIII", a)
        assert (argsz, index, start) == (20 + 4 * count, 2, 0)
        self.irqs = list(struct.unpack_from(f"<{count}i", a, 20))

    def _map(self, a: bytes) -> None:
        argsz, flags, vaddr, iova, size = struct.unpack("<IIQQQ", a)
        assert (argsz, flags) == (32, 3)
        self.maps[iova] = (vaddr, size)

    def _unmap(self, a: bytes) -> None:
        argsz, _, iova, size = struct.unpack("<IIQQ", a)
        assert argsz == 24
        assert self.maps.pop(iova)[1] == size


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def test_open_and_use(kernel: Kernel) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with kernel.open() as device:
        assert kernel.calls[:6] == [0, 1, 3, 4, 2, 6]  # the order that the kernel demands
        assert (device.identity.vm_id, device.identity.flows) == (1, 1024)
        assert os.pread(kernel.device, 2, CONFIG_OFFSET + 4) == b"\x06\x00"
        device.bar_write(abi.VF.REGION_PAGES, 5)
        assert device.bar_read(abi.VF.REGION_PAGES) == 5
        bells = device.doorbells()
        assert (bells.offset, bells.size) == (0x10000, 4096)
        memory = os.memfd_create("region", os.MFD_CLOEXEC)
        os.ftruncate(memory, 8192)
        device.dma_map(memory, 0, 0x1_0000_0000, 8192)
        assert kernel.maps[0x1_0000_0000][1] == 8192
        with pytest.raises(BadRequest, match="mapped already"):
            device.dma_map(memory, 0, 0x1_0000_0000, 8192)
        device.dma_unmap(0x1_0000_0000, 8192)
        assert kernel.maps == {}
        os.close(memory)
        device.set_irq_eventfds([5, 6])
        assert kernel.irqs == [5, 6]
        device.set_irq_eventfds([])
        assert kernel.irqs == []
        with pytest.raises(BadRequest, match="4 interrupt vectors"):
            device.set_irq_eventfds([1] * 5)
        device.reset()
        assert 11 in kernel.calls
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("call", "number", "kind"),
    [
        (6, errno.EBUSY, Busy),
        (2, errno.EPERM, PermissionDenied),
        (4, errno.EINVAL, DeviceRefused),
        (8, errno.EIO, DeviceRefused),
    ],
)
def test_kernel_refuses(kernel: Kernel, call: int, number: int, kind: type[NkError]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    kernel.fail[call] = number
    with pytest.raises(kind, match="cannot"):
        kernel.open()
    assert len(os.listdir("/proc/self/fd")) == before


def test_group_not_viable(kernel: Kernel) -> None:
    kernel.viable = 0
    with pytest.raises(Busy, match="not usable"):
        kernel.open()


def test_wrong_device(kernel: Kernel) -> None:
    kernel.poke(abi.VF.ABI_VERSION, 7 << 16)
    with pytest.raises(AbiMismatch, match=r"ABI 7\.0"):
        kernel.open()
    kernel.poke(abi.VF.MAGIC, 0xFFFF_FFFF)
    with pytest.raises(TwinGone, match="fell off the bus"):
        kernel.open()


def test_where_the_function_stands(kernel: Kernel, tmp_path: Path) -> None:
    with pytest.raises(UnknownDevice):
        VfioDevice("0000:99:00.0", sysfs=kernel.sysfs, devfs=kernel.devfs)
    (kernel.devfs / "vfio").unlink()
    with pytest.raises(NotSupported, match="open"):
        kernel.open()
    function = kernel.sysfs / BDF
    (function / "iommu_group").unlink()
    with pytest.raises(NotSupported, match="IOMMU group"):
        kernel.open()
    (function / "driver").unlink()
    (function / "driver").symlink_to(tmp_path / "drivers/igb")
    with pytest.raises(BadRequest, match="not bound to vfio-pci") as caught:
        kernel.open()
    assert "driver_override" in caught.value.hint


def test_slot(kernel: Kernel, tmp_path: Path) -> None:
    slot = VfioSlot(BDF, sysfs=kernel.sysfs)
    with pytest.raises(UnknownDevice, match="has no VF 0"):
        slot.open_vf(0)
    assert isinstance(find_slot("0000:03:00.0", tmp_path), VfioSlot)
    assert find_slot("twin", tmp_path).name.startswith("twin in")
