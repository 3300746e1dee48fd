# SPDX-License-Identifier: Apache-2.0
"""What the figures of the TCP engine are held against: goals, physical and published limits; and their plots.

A row in results.json has, besides what tools/bench.py keeps, `bound` and `bound_by` (what no design with this bus
and this pipeline can exceed, or what others have published) and `now` (what is busiest in the measurement).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import RESULTS, Row, record, rows, verdict

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


def keep(
    name: str,
    value: float,
    unit: str,
    *,
    params: Mapping[str, Any] | None = None,
    goal: float | None = None,
    limit: float | None = None,
    bound: float | None = None,
    bound_by: str = "",
    now: str = "",
) -> Row:
    """record(), and what stands beside the figure."""
    record(name, value, unit, params=params, goal=goal, limit=limit)
    with RESULTS.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        table = rows()
        row = next(r for r in table if (r["name"], r["params"]) == (name, dict(params or {})))
        row.update(bound=bound, bound_by=bound_by, now=now)
        fresh = RESULTS.with_suffix(".new")
        fresh.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        os.replace(fresh, RESULTS)
    return row


def table(found: list[Row]) -> str:
    lines = [f"{'':46} {'value':>8} {'goal':>7} {'bound':>7}"]
    for r in found:
        what = r["name"] + " " + " ".join(f"{k}={v}" for k, v in r["params"].items())
        numbers = ["-" if x is None else f"{x:.4g}" for x in (r["goal"], r["bound"])]
        lines.append(
            f"{what:46} {r['value']:>8.4g} {numbers[0]:>7} {numbers[1]:>7}  {verdict(r):10} "
            f"bound: {r['bound_by']}; now: {r['now']}"
        )
    return "\n".join(line.rstrip() for line in lines)


def plot(found: list[Row], folder: Path) -> list[Path]:
    """Bars beside goal and bound: segments a clock, bytes a clock, latency."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    made = []
    for name, unit in (
        ("tcp.segments_per_clock", "segments a clock"),
        ("tcp.bytes_per_clock", "bytes of payload a clock"),
    ):
        fig, axes = plt.subplots(1, 3, figsize=(13, 4))
        for ax, direction in zip(axes, DIRECTIONS):
            for i, flows in enumerate(FLOWS):
                chosen = [
                    r
                    for p in PAYLOADS
                    for r in found
                    if r["name"] == name
                    and r["params"] == {"direction": direction, "flows": flows, "payload": p}
                ]
                at = [k + (i - 0.5) * 0.4 for k in range(len(chosen))]
                ax.bar(
                    at, [r["value"] for r in chosen], 0.36, label=f"{flows} flow{'s'[: flows > 1]}"
                )
                for x, r in zip(at, chosen):
                    ax.hlines(r["bound"], x - 0.2, x + 0.2, colors="black")
                    if r["goal"] is not None:
                        ax.hlines(r["goal"], x - 0.2, x + 0.2, colors="red", linestyles="dotted")
            ax.set_xticks(range(len(PAYLOADS)), [str(p) for p in PAYLOADS])
            ax.set_xlabel("payload of a segment, bytes")
            ax.set_title(
                {"rx": "receive", "tx": "transmit", "both": "both at once (sum)"}[direction]
            )
            ax.grid(axis="y", alpha=0.3)
        axes[0].set_ylabel(unit)
        axes[0].legend(title="line: bound, dots: goal")
        fig.tight_layout()
        made.append(folder / f"{name}.png")
        fig.savefig(made[-1], dpi=110)
        plt.close(fig)

    fig, ax = plt.subplots(figsize=(7, 4))
    chosen = [r for r in found if r["name"] in ("tcp.latency_clocks", "tcp.open_close_clocks")]
    ax.bar(range(len(chosen)), [r["value"] for r in chosen], 0.5)
    for x, r in enumerate(chosen):
        ax.hlines(r["goal"], x - 0.3, x + 0.3, colors="red", linestyles="dotted")
        if r["bound"] is not None:
            ax.hlines(r["bound"], x - 0.3, x + 0.3, colors="black")
    names = [r["params"].get("path", "open and close") for r in chosen]
    ax.set_xticks(range(len(chosen)), names)
    ax.set_ylabel("clocks")
    ax.set_title("dots: goal, line: ETH's TOE")
    ax.grid(axis="y", alpha=0.3)
    fig.tight_layout()
    made.append(folder / "tcp.latency_clocks.png")
    fig.savefig(made[-1], dpi=110)
    plt.close(fig)
    return made
