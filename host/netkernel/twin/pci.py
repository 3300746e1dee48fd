# SPDX-License-Identifier: Apache-2.0
"""PCI configuration space of a function of the twin, and the ids that it carries.

0x00 header            BAR0 (64 bit): registers and doorbells; BAR2 (64 bit): MSI-X table and PBA
0x40 power management
0x50 MSI-X             table at 0 and pending bits at 0x800 of BAR2
0x60 PCI Express       endpoint
"""

from __future__ import annotations

import struct
from typing import Final

# The one place of our ids. PCI-SIG has given 0x4e4b ("NK") to nobody; a product needs its own.
VENDOR_ID: Final = 0x4E4B
DEVICE_ID_PF: Final = 0x0001
DEVICE_ID_VF: Final = 0x0002
CLASS_CODE: Final = 0x028000  # network controller, other
REVISION: Final = 1

CONFIG_SIZE: Final = 4096
MSIX_BAR: Final = 2
MSIX_BAR_SIZE: Final = 4096
MSIX_PBA_OFFSET: Final = 0x800
MSIX_ENTRY_SIZE: Final = 16

COMMAND: Final = 0x04
COMMAND_MASTER: Final = 1 << 2

_PM: Final = 0x40
_MSIX: Final = 0x50
_PCIE: Final = 0x60
_STATUS_CAPABILITIES: Final = 1 << 4
_BAR_MEMORY_64: Final = 0b100

# What software may change: offset -> bits. BARs are not among it: their owner keeps the addresses.
_WRITABLE: Final = {
    COMMAND: 0x46,  # memory, bus master, parity
    COMMAND + 1: 0x05,  # SERR, INTx off
    0x0C: 0xFF,  # cache line size
    0x0D: 0xFF,  # latency timer
    0x3C: 0xFF,  # interrupt line
    _PM + 4: 0x03,  # power state
    _MSIX + 3: 0xC0,  # MSI-X enable, function mask
    _PCIE + 8: 0xFF,  # device control, without function-level reset (vfio-user has its own)
    _PCIE + 9: 0x7F,
}


class ConfigSpace:
    """The bytes of one function; reads give them, writes change what may be changed."""

    def __init__(self, *, device_id: int, vectors: int) -> None:
        self._initial = self._build(device_id, vectors)
        self._data = bytearray(self._initial)

    @staticmethod
    def _build(device_id: int, vectors: int) -> bytes:
        data = bytearray(CONFIG_SIZE)

        def put(offset: int, layout: str, *values: int) -> None:
            struct.pack_into("<" + layout, data, offset, *values)

        put(0x00, "HHHH", VENDOR_ID, device_id, 0, _STATUS_CAPABILITIES)
        put(0x08, "I", CLASS_CODE << 8 | REVISION)
        put(0x10, "III", _BAR_MEMORY_64, 0, _BAR_MEMORY_64)
        put(0x2C, "HH", VENDOR_ID, device_id)
        put(0x34, "B", _PM)
        put(_PM, "BBHH", 0x01, _MSIX, 3, 1 << 3)  # version 3; no reset when power comes back
        put(_MSIX, "BBHII", 0x11, _PCIE, vectors - 1, MSIX_BAR, MSIX_PBA_OFFSET | MSIX_BAR)
        put(_PCIE, "BBHI", 0x10, 0, 2, 1 << 15)  # version 2, endpoint; role-based error reporting
        put(_PCIE + 12, "IHH", 0x11, 0, 0x11)  # link: one lane of the first generation, up
        return bytes(data)

    def reset(self) -> None:
        self._data[:] = self._initial

    def read(self, offset: int, count: int) -> bytes:
        return bytes(self._data[offset : offset + count])

    def write(self, offset: int, data: bytes) -> None:
        for at, value in enumerate(data, offset):
            mask = _WRITABLE.get(at, 0)
            self._data[at] = (self._data[at] & ~mask) | (value & mask)

    @property
    def bus_master(self) -> bool:
        return bool(self._data[COMMAND] & COMMAND_MASTER)
