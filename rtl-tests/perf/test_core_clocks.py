# SPDX-License-Identifier: Apache-2.0
"""Clock cycles of nk_core with an ideal host: a segment in and out, and latency; into build/bench/results.json.

`make bench` runs it. The figures count busy clocks only: time that is skipped costs none.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import cocotb
import pytest
from bench import record
from common.hostmem import Stalls
from core.core_tb import TB, run_core
from model import frames as fr

TS_HEADER = 66  # Ethernet, IPv4, TCP with timestamps
IDEAL = Stalls(read_latency=(4, 4))


def report(name: str, value: float) -> None:
    with Path(os.environ["NK_FIGURES"]).open("a", encoding="utf-8") as out:
        out.write(json.dumps([name, value]) + "\n")


async def stream(dut, receive: bool, flows: int, size: int) -> float:
    """Clocks a full segment, from first to last byte, with so many flows at once."""
    tb = TB(dut, stalls=IDEAL, clocks_per_us=250)
    await tb.start(sockets=64, pages=4096, logs=(8, 8, 8, 8))
    pairs = [await tb.connect(port=100 + i, rx_log2=16, tx_log2=16) for i in range(flows)]
    data = tb.rng.randbytes(size // flows)
    start = tb.shim.busy_clocks
    for sock, conn in pairs:
        if receive:
            conn.send(data)
        else:
            sock.send(data)
    tb.collect()
    await tb.until(
        lambda: all((s.received if receive else c.received) == data for s, c in pairs), 60_000_000
    )
    clocks = tb.shim.busy_clocks - start
    return clocks / (flows * len(data) / 1460)


@cocotb.test()
@cocotb.parametrize(receive=[True, False], flows=[1, 32])
async def segments(dut, receive, flows):
    clocks = await stream(dut, receive, flows, 400 * 1460)
    report(f"core.{'rx' if receive else 'tx'}_clocks_per_segment {flows}", clocks)


@cocotb.test()
async def latency(dut):
    """From the last beat of a 24-byte segment at the card's port to its DATA event in memory."""
    tb = TB(dut, stalls=IDEAL, clocks_per_us=250)
    await tb.start()
    sock, conn = await tb.raw_accept(tb.raw())
    await tb.idle()
    tb.tenants[0].hold_events = True
    written: list[int] = []
    ring = tb.tenants[0].qs[0].rings[3]
    slot = ring.offset + (ring.index & ring.size - 1) * 32

    def on_write(func: int, offset: int, length: int) -> None:
        tb._dirty.add(func)
        if offset == slot:
            written.append(tb.shim.clocks)

    tb.shim.on_write = on_write
    start = tb.shim.clocks
    conn.put(fr.ACK, b"x" * 24)
    await tb.until(lambda: bool(written))
    # The frame takes two beats at 512 bits; its first is on the port a clock after `put`.
    report("core.rx_event_clocks 24B", written[0] - start - 3)
    tb.tenants[0].hold_events = False
    tb.tenants[0].poll()
    assert sock.received == b"x" * 24


@pytest.mark.perf
@pytest.mark.parametrize("w", [64, 512])
def test_core_clocks(w: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = tmp_path / "figures"
    monkeypatch.setenv("NK_FIGURES", str(figures))
    run_core(__file__, w)
    for line in figures.read_text(encoding="utf-8").splitlines():
        name, value = json.loads(line)
        name, _, what = name.partition(" ")
        more = {}
        if "per_segment" in name:
            bus = -(-(TS_HEADER + 1460) // (w // 8))
            near = "bus" if value < 1.1 * bus else "the closed loop of window, ACKs and credits"
            more = {"bound": bus, "bound_by": "bus", "now": near}
        params = {"w": w, "case": what}
        record(name, round(value, 1), "clocks", params=params, less=True, **more)
