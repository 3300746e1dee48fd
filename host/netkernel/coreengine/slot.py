# SPDX-License-Identifier: Apache-2.0
"""Where a card's functions are found: the twin's sockets, or PCI addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from netkernel.device import Device, VfioDevice, VfioUserDevice
from netkernel.errors import UnknownDevice
from netkernel.rundir import PF_SOCK, vf_sock


class Slot(Protocol):
    """Opens the functions of one card."""

    name: str

    def open_pf(self) -> Device: ...

    def open_vf(self, vf: int) -> Device: ...


class TwinSlot:
    """The twin of a run directory."""

    def __init__(self, rundir: Path, timeout: float = 5.0) -> None:
        self.name = f"twin in {rundir}"
        self._rundir = rundir
        self._timeout = timeout

    def open_pf(self) -> Device:
        return VfioUserDevice(self._rundir / PF_SOCK, timeout=self._timeout)

    def open_vf(self, vf: int) -> Device:
        return VfioUserDevice(self._rundir / vf_sock(vf), timeout=self._timeout)


class VfioSlot:
    """A card whose PF has the given PCI address; its VFs are found through sysfs."""

    def __init__(self, bdf: str, sysfs: Path = Path("/sys/bus/pci/devices")) -> None:
        self.name = f"card at {bdf}"
        self._bdf = bdf
        self._sysfs = sysfs

    def open_pf(self) -> Device:
        return VfioDevice(self._bdf, sysfs=self._sysfs)

    def open_vf(self, vf: int) -> Device:
        link = self._sysfs / self._bdf / f"virtfn{vf}"
        if not link.exists():
            raise UnknownDevice(
                f"{self._bdf} has no VF {vf}", f"Write a number to {link.parent}/sriov_numvfs."
            )
        return VfioDevice(link.resolve().name, sysfs=self._sysfs)


def find_slot(device: str, rundir: Path) -> Slot:
    """`twin`, or the PCI address of a card's PF."""
    return TwinSlot(rundir) if device == "twin" else VfioSlot(device)
