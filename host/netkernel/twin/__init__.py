# SPDX-License-Identifier: Apache-2.0
"""The twin: the card's RTL, Verilated, running in real time with a TAP port for a wire and
vfio-user sockets for a PCIe slot. `python -m netkernel.twin --help`; README.md says how it works.
"""

from netkernel.twin.library import Card, CardInfo, LinkConfig, LinkModel, TracedNqe, TwinLibrary

__all__ = [
    "Card",
    "CardInfo",
    "LinkConfig",
    "LinkModel",
    "TracedNqe",
    "TwinLibrary",
]
