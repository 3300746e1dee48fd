# SPDX-License-Identifier: Apache-2.0
"""What the figures of the TCP engine are held against: goals, physical and published limits."""

from __future__ import annotations

from collections.abc import Mapping

NBYTES = 64
HEADER = 54  # Ethernet, IPv4, TCP without options
FRAME_MIN = 60
SPACING = 4  # clocks between two passes of one flow
PAYLOADS = (1, 64, 256, 1460)
DIRECTIONS = ("rx", "tx", "both")
FLOWS = (1, 64)
BYTES_GOAL = 60.0  # of payload a clock, in segments of 1460
# Clocks: ours, and those of ETH's TOE in the same simulator (application to wire, wire to application).
LATENCY = {"doorbell_to_wire": (60, 62), "wire_to_event": (60, 82), "ack": (40, None)}
OPEN_CLOSE_GOAL = 50
STATE_BITS_GOAL = 1200


def beats(payload: int) -> int:
    """Bus beats of a segment without options, the same on the wire and on a DMA channel (with payload)."""
    return -(-max(FRAME_MIN, HEADER + payload) // NBYTES)


def bound(direction: str, flows: int, payload: int) -> tuple[float, str]:
    """Segments a clock, at most; for both directions their sum."""
    bus, passes = 1 / beats(payload), 1 / SPACING if flows == 1 else 1.0
    one = min(bus, passes)
    by = "bus" if bus <= passes else f"pipeline: {SPACING} clocks between passes of a flow"
    return (2 * one if direction == "both" else one), by


def goal(direction: str, flows: int, payload: int) -> float:
    """Segments a clock that we want; for both directions their sum."""
    one = (
        BYTES_GOAL / payload
        if payload == 1460
        else min(0.5 if flows > 1 else 0.25, 1 / beats(payload))
    )
    return 2 * one if direction == "both" else one


def busiest(probe: Mapping[str, int], clocks: int, flows: int) -> str:
    """What has the fewest clocks to spare."""
    passes = sum(n for name, n in probe.items() if name.startswith("pass_"))
    share = {
        "receive bus": probe["rx_beat"],
        "transmit bus": probe["tx_beat"],
        "DMA write": probe["wdat"],
        "DMA read": probe["rdat"],
        "pipeline": passes * (SPACING if flows == 1 else 1),
    }
    name = max(share, key=lambda n: share[n])
    return f"{name} {100 * share[name] / clocks:.0f} %"
