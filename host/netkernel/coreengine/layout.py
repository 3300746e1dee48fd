# SPDX-License-Identifier: Apache-2.0
"""How a tenant's region is divided: queues first, then the heap for the sockets' payload rings."""

from __future__ import annotations

from dataclasses import dataclass

from netkernel import abi
from netkernel.coreengine.schema import Extent, QueueSetLayout, Ring
from netkernel.errors import BadRequest

_PAGE = abi.Lim.PAGE
_REGION_MAX = (1 << 20) * _PAGE  # REGION_PAGES


@dataclass(frozen=True)
class RegionPlan:
    """Offsets and sizes within the region, in bytes."""

    queue_sets: list[QueueSetLayout]
    heap: Extent
    size: int


def _log2_at_least(entries: int) -> int:
    return max(0, entries - 1).bit_length()


def plan(max_sockets: int, queue_sets: int, rx_log2: int, tx_log2: int) -> RegionPlan:
    """The region of a VF with `max_sockets` sockets.

    The completion ring takes an answer to everything that can stand in the job ring and in the
    send ring together, so it never overflows. The receive ring may fill: the card waits for room.
    """
    job = min(11, max(10, _log2_at_least(2 * max_sockets)))
    send = job
    completion = job + 1
    receive = 12
    at = 0

    def take(entries_log2: int) -> Ring:
        nonlocal at
        ring = Ring(offset=at, log2=entries_log2)
        at += -(-(abi.NQE_SIZE << entries_log2) // _PAGE) * _PAGE
        return ring

    sets = []
    for _ in range(queue_sets):
        rings = {
            "job": take(job),
            "completion": take(completion),
            "send": take(send),
            "receive": take(receive),
        }
        sets.append(QueueSetLayout(**rings, status=at))
        at += _PAGE
    heap = Extent(offset=at, bytes=max_sockets * ((1 << rx_log2) + (1 << tx_log2)))
    size = heap.offset + heap.bytes
    if size > _REGION_MAX:
        raise BadRequest(
            f"{max_sockets} sockets with rings of 2^{rx_log2} and 2^{tx_log2} bytes need"
            f" {size >> 20} MiB; a region has at most {_REGION_MAX >> 20}",
            "Ask for smaller rings, or give the VF a smaller socket quota.",
        )
    return RegionPlan(sets, heap, size)
