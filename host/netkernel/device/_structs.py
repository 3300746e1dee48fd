# SPDX-License-Identifier: Apache-2.0
"""The kernel's VFIO structures and those of the vfio-user protocol, laid out by cffi."""

from __future__ import annotations

from typing import Any, Final

import cffi

from netkernel.errors import ProtocolError

ffi: Final = cffi.FFI()
ffi.cdef(
    """
    /* vfio-user only */
    struct vfio_user_header {
        uint16_t id; uint16_t cmd; uint32_t size; uint32_t flags; uint32_t error; };
    struct vfio_user_version { uint16_t major; uint16_t minor; };
    struct vfio_user_dma_map {
        uint32_t argsz; uint32_t flags; uint64_t offset; uint64_t address; uint64_t size; };
    struct vfio_user_dma_unmap { uint32_t argsz; uint32_t flags; uint64_t address; uint64_t size; };
    struct vfio_user_region_access { uint64_t offset; uint32_t region; uint32_t count; };

    /* linux/vfio.h, and the same over vfio-user */
    struct vfio_device_info {
        uint32_t argsz; uint32_t flags; uint32_t num_regions; uint32_t num_irqs; };
    struct vfio_region_info {
        uint32_t argsz; uint32_t flags; uint32_t index; uint32_t cap_offset;
        uint64_t size; uint64_t offset; };
    struct vfio_info_cap_header { uint16_t id; uint16_t version; uint32_t next; };
    struct vfio_sparse_mmap { uint32_t nr_areas; uint32_t reserved; };
    struct vfio_sparse_area { uint64_t offset; uint64_t size; };
    struct vfio_irq_info { uint32_t argsz; uint32_t flags; uint32_t index; uint32_t count; };
    struct vfio_irq_set {
        uint32_t argsz; uint32_t flags; uint32_t index; uint32_t start; uint32_t count; };

    /* linux/vfio.h only */
    struct vfio_group_status { uint32_t argsz; uint32_t flags; };
    struct vfio_iommu_type1_dma_map {
        uint32_t argsz; uint32_t flags; uint64_t vaddr; uint64_t iova; uint64_t size; };
    struct vfio_iommu_type1_dma_unmap {
        uint32_t argsz; uint32_t flags; uint64_t iova; uint64_t size; };
    """
)

# Indices of regions and interrupts that PCI devices have.
REGION_BAR0: Final = 0
REGION_CONFIG: Final = 7
IRQ_MSIX: Final = 2

DEVICE_FLAG_RESET: Final = 1 << 0
DEVICE_FLAG_PCI: Final = 1 << 1

REGION_FLAG_READ: Final = 1 << 0
REGION_FLAG_WRITE: Final = 1 << 1
REGION_FLAG_MMAP: Final = 1 << 2
REGION_FLAG_CAPS: Final = 1 << 3
CAP_SPARSE_MMAP: Final = 1

IRQ_DATA_NONE: Final = 1 << 0
IRQ_DATA_EVENTFD: Final = 1 << 2
IRQ_ACTION_TRIGGER: Final = 1 << 5

DMA_READ: Final = 1 << 0
DMA_WRITE: Final = 1 << 1

PCI_COMMAND: Final = 4  # offset in configuration space
PCI_COMMAND_MEMORY: Final = 1 << 1
PCI_COMMAND_MASTER: Final = 1 << 2


def sizeof(name: str) -> int:
    """Bytes of `struct name`."""
    return int(ffi.sizeof(f"struct {name}"))


def pack(name: str, **fields: int) -> bytes:
    """`struct name` as bytes."""
    value = ffi.new(f"struct {name} *", fields)
    return bytes(ffi.buffer(value))


def unpack(name: str, data: bytes, offset: int = 0) -> Any:
    """`struct name` out of `data` (a copy); ProtocolError when it does not fit."""
    if offset < 0 or offset + sizeof(name) > len(data):
        raise ProtocolError(f"answer of {len(data)} bytes is too short for {name} at {offset}")
    value = ffi.new(f"struct {name} *")
    ffi.buffer(value)[:] = data[offset : offset + sizeof(name)]
    return value


def sparse_areas(info: bytes, region_size: int) -> list[tuple[int, int]]:
    """(offset, size) of the areas in a region that may be mapped; the whole region by default.

    `info` is struct vfio_region_info with its capabilities behind it.
    """
    region = unpack("vfio_region_info", info)
    if not region.flags & REGION_FLAG_MMAP:
        return []
    at = region.cap_offset if region.flags & REGION_FLAG_CAPS else 0
    seen = set()
    while at:
        if at in seen:
            raise ProtocolError("capabilities of a region form a loop")
        seen.add(at)
        header = unpack("vfio_info_cap_header", info, at)
        if header.id == CAP_SPARSE_MMAP:
            head_size = sizeof("vfio_info_cap_header")
            sparse = unpack("vfio_sparse_mmap", info, at + head_size)
            first = at + head_size + sizeof("vfio_sparse_mmap")
            areas = []
            for n in range(min(sparse.nr_areas, 256)):
                area = unpack("vfio_sparse_area", info, first + n * sizeof("vfio_sparse_area"))
                if area.offset + area.size > region_size:
                    raise ProtocolError("a mappable area lies outside its region")
                areas.append((int(area.offset), int(area.size)))
            return areas
        at = header.next
    return [(0, region_size)]
