# SPDX-License-Identifier: Apache-2.0
"""A function of a card, through the kernel's VFIO (groups and containers).

The function must be bound to vfio-pci. One container a function: memory of one tenant is never in
the IOMMU domain of another.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from netkernel import abi
from netkernel.device import _structs as vs
from netkernel.device.base import Device, Doorbells, check_address
from netkernel.errors import (
    BadRequest,
    Busy,
    DeviceRefused,
    NkError,
    NotSupported,
    PermissionDenied,
    TwinGone,
    UnknownDevice,
)

_BASE: Final = ord(";") << 8 | 100  # linux/vfio.h: _IO(VFIO_TYPE, VFIO_BASE + n)
GET_API_VERSION: Final = _BASE + 0
CHECK_EXTENSION: Final = _BASE + 1
SET_IOMMU: Final = _BASE + 2
GROUP_GET_STATUS: Final = _BASE + 3
GROUP_SET_CONTAINER: Final = _BASE + 4
GROUP_GET_DEVICE_FD: Final = _BASE + 6
DEVICE_GET_INFO: Final = _BASE + 7
DEVICE_GET_REGION_INFO: Final = _BASE + 8
DEVICE_GET_IRQ_INFO: Final = _BASE + 9
DEVICE_SET_IRQS: Final = _BASE + 10
DEVICE_RESET: Final = _BASE + 11
IOMMU_MAP_DMA: Final = _BASE + 13
IOMMU_UNMAP_DMA: Final = _BASE + 14

TYPE1V2_IOMMU: Final = 3
GROUP_VIABLE: Final = 1

Ioctl = Callable[[int, int, Any], int]


class VfioDevice(Device):
    """A PCI function, named by its address (0000:03:00.1)."""

    def __init__(
        self,
        bdf: str,
        *,
        sysfs: Path = Path("/sys/bus/pci/devices"),
        devfs: Path = Path("/dev/vfio"),
        ioctl: Ioctl = fcntl.ioctl,
    ) -> None:
        self._name = bdf
        self._raw_ioctl = ioctl
        self._fds: list[int] = []
        self._windows: dict[int, mmap.mmap] = {}
        self._bar: mmap.mmap | None = None
        group = _group_of(sysfs / bdf, bdf)
        try:
            self._open(devfs, group)
            self._load_info()
            self.identity = self._check_identity(bdf)
        except BaseException:
            self.close()
            raise

    # ---- Device ----

    def bar_read(self, address: int) -> int:
        check_address(address)
        raw = os.pread(self._device, 4, self._bar_offset + address)
        if len(raw) != 4:
            raise TwinGone(f"{self._name} does not answer register reads")
        value = int.from_bytes(raw, "little")
        # What PCIe gives for a device that fell off the bus; no register below reads as this.
        if value == 0xFFFF_FFFF and address == abi.VF.MAGIC:
            raise TwinGone(f"{self._name} fell off the bus", "Look at dmesg; rescan the PCI bus.")
        return value

    def bar_write(self, address: int, value: int) -> None:
        check_address(address)
        raw = (value & 0xFFFF_FFFF).to_bytes(4, "little")
        if os.pwrite(self._device, raw, self._bar_offset + address) != 4:
            raise TwinGone(f"{self._name} does not take register writes")

    def doorbells(self) -> Doorbells:
        size = max(1, self.identity.queue_sets) * abi.VF.DB_STRIDE
        inside = any(
            offset <= abi.VF.DB_BASE and abi.VF.DB_BASE + size <= offset + length
            for offset, length in self._areas
        )
        if not inside:
            raise NotSupported(f"the kernel does not let the doorbells of {self._name} be mapped")
        return Doorbells(self._device, self._bar_offset + abi.VF.DB_BASE, size)

    def dma_map(self, fd: int, offset: int, iova: int, size: int) -> None:
        if iova in self._windows:
            raise BadRequest(f"bus address {iova:#x} is mapped already")
        window = mmap.mmap(fd, size, offset=offset)
        vaddr = int(vs.ffi.cast("uintptr_t", vs.ffi.from_buffer(window)))
        request = vs.pack(
            "vfio_iommu_type1_dma_map",
            argsz=vs.sizeof("vfio_iommu_type1_dma_map"),
            flags=vs.DMA_READ | vs.DMA_WRITE,
            vaddr=vaddr,
            iova=iova,
            size=size,
        )
        self._ioctl(self._container, IOMMU_MAP_DMA, request, "map DMA memory")
        self._windows[iova] = window

    def dma_unmap(self, iova: int, size: int) -> None:
        length = vs.sizeof("vfio_iommu_type1_dma_unmap")
        request = vs.pack("vfio_iommu_type1_dma_unmap", argsz=length, iova=iova, size=size)
        self._ioctl(self._container, IOMMU_UNMAP_DMA, request, "unmap DMA memory")
        self._windows.pop(iova, None)

    def set_irq_eventfds(self, fds: Sequence[int]) -> None:
        if len(fds) > self._vectors:
            raise BadRequest(f"{self._name} has {self._vectors} interrupt vectors, not {len(fds)}")
        data = vs.IRQ_DATA_EVENTFD if fds else vs.IRQ_DATA_NONE
        request = vs.pack(
            "vfio_irq_set",
            argsz=vs.sizeof("vfio_irq_set") + 4 * len(fds),
            flags=data | vs.IRQ_ACTION_TRIGGER,
            index=vs.IRQ_MSIX,
            count=len(fds),
        ) + struct.pack(f"<{len(fds)}i", *fds)
        self._ioctl(self._device, DEVICE_SET_IRQS, request, "set interrupts")

    def reset(self) -> None:
        self._ioctl(self._device, DEVICE_RESET, 0, "reset")
        self._enable_bus_master()

    def close(self) -> None:
        self._windows.clear()  # the kernel unmaps DMA when the container closes
        while self._fds:
            os.close(self._fds.pop())

    # ---- start-up ----

    def _open(self, devfs: Path, group: str) -> None:
        self._container = self._open_fd(devfs / "vfio")
        if self._ioctl(self._container, GET_API_VERSION, 0, "ask VFIO for its version") != 0:
            raise NotSupported("this kernel's VFIO has an interface that we do not know")
        if self._ioctl(self._container, CHECK_EXTENSION, TYPE1V2_IOMMU, "ask for the IOMMU") != 1:
            raise NotSupported("this kernel's VFIO has no type 1 IOMMU")
        group_fd = self._open_fd(devfs / group)
        status = vs.pack("vfio_group_status", argsz=vs.sizeof("vfio_group_status"))
        answer = self._ioctl_read(group_fd, GROUP_GET_STATUS, status, "look at the IOMMU group")
        if not vs.unpack("vfio_group_status", answer).flags & GROUP_VIABLE:
            raise Busy(
                f"IOMMU group {group} of {self._name} is not usable",
                "Bind every function of that group to vfio-pci.",
            )
        container = struct.pack("<i", self._container)
        self._ioctl(group_fd, GROUP_SET_CONTAINER, container, "join the container")
        self._ioctl(self._container, SET_IOMMU, TYPE1V2_IOMMU, "set the IOMMU")
        name = self._name.encode() + b"\0"
        self._device = self._ioctl(group_fd, GROUP_GET_DEVICE_FD, name, "open the function")
        self._fds.append(self._device)

    def _load_info(self) -> None:
        self._bar_offset, size, answer = self._region(vs.REGION_BAR0)
        if size < abi.Lim.BAR0_SIZE:
            raise BadRequest(f"BAR0 of {self._name} has {size} bytes: no NetKernel device")
        self._areas = vs.sparse_areas(answer, size)
        self._config_offset, _, _ = self._region(vs.REGION_CONFIG)
        length = vs.sizeof("vfio_irq_info")
        request = vs.pack("vfio_irq_info", argsz=length, index=vs.IRQ_MSIX)
        answer = self._ioctl_read(self._device, DEVICE_GET_IRQ_INFO, request, "read interrupts")
        self._vectors = int(vs.unpack("vfio_irq_info", answer).count)
        self._enable_bus_master()

    def _region(self, index: int) -> tuple[int, int, bytes]:
        """Offset and size of a region, and its description with capabilities."""
        length = vs.sizeof("vfio_region_info")
        while True:
            request = vs.pack("vfio_region_info", argsz=length, index=index)
            request = request.ljust(length, b"\0")
            answer = self._ioctl_read(
                self._device, DEVICE_GET_REGION_INFO, request, "read the regions"
            )
            info = vs.unpack("vfio_region_info", answer)
            if info.argsz <= length:
                return int(info.offset), int(info.size), answer
            length = info.argsz

    def _enable_bus_master(self) -> None:
        at = self._config_offset + vs.PCI_COMMAND
        command = int.from_bytes(os.pread(self._device, 2, at), "little")
        command |= vs.PCI_COMMAND_MEMORY | vs.PCI_COMMAND_MASTER
        os.pwrite(self._device, command.to_bytes(2, "little"), at)

    def _open_fd(self, path: Path) -> int:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise _translate(error, f"open {path}") from error
        self._fds.append(fd)
        return fd

    def _ioctl(self, fd: int, request: int, argument: bytes | int, what: str) -> int:
        try:
            return self._raw_ioctl(fd, request, argument)
        except OSError as error:
            raise _translate(error, f"{what} ({self._name})") from error

    def _ioctl_read(self, fd: int, request: int, argument: bytes, what: str) -> bytes:
        buffer = bytearray(argument)
        try:
            self._raw_ioctl(fd, request, buffer)
        except OSError as error:
            raise _translate(error, f"{what} ({self._name})") from error
        return bytes(buffer)


def _group_of(device: Path, bdf: str) -> str:
    if not device.exists():
        raise UnknownDevice(f"there is no PCI function {bdf}")
    driver = device / "driver"
    if not driver.exists() or driver.resolve().name != "vfio-pci":
        raise BadRequest(
            f"{bdf} is not bound to vfio-pci",
            f"echo vfio-pci > {device}/driver_override; echo {bdf} > /sys/bus/pci/drivers_probe",
        )
    group = device / "iommu_group"
    if not group.exists():
        raise NotSupported(f"{bdf} has no IOMMU group", "Switch the IOMMU on in firmware and boot.")
    return group.resolve().name


def _translate(error: OSError, what: str) -> NkError:
    text = f"cannot {what}: {error.strerror or error}"
    if isinstance(error, PermissionError):
        return PermissionDenied(text)
    if isinstance(error, FileNotFoundError):
        return NotSupported(text, "Load the module: modprobe vfio-pci")
    if error.errno == 16:  # EBUSY
        return Busy(text, "Another process holds this function.")
    return DeviceRefused(text)
