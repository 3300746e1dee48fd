# SPDX-License-Identifier: Apache-2.0
"""nk_core with large flow tables, and under pressure that the generator of the benchmarks makes well."""

from __future__ import annotations

from pathlib import Path

import cocotb
import pytest
from common.runner import run_module
from common.stream import params
from netkernel.abi import PF, Op
from perf.traffic import Bench, Peer

HERE = Path(__file__).resolve().parent


async def exchange(b: Bench, peers: list[Peer], segments: int) -> None:
    """So many segments each way on each connection, with all events."""
    n = segments * b.payload
    live, b.live = b.live, False
    before = dict(b.event_bytes)
    acks = b.supply
    for peer in peers:
        b.send(peer, n)
    left = {p.port: segments for p in peers}

    def supply():
        for p in peers:
            if left[p.port] and left[p.port] == max(left.values()):
                left[p.port] -= 1
                return p.segment(b.payload)
        return acks()

    b.supply = supply
    want = n * len(peers)
    await b.run(
        lambda: (
            b.event_bytes[Op.DATA] - before[Op.DATA] == want
            and sum(p.got for p in peers) >= want
            and not any(left.values())
        ),
        what="data both ways",
    )
    for p in peers:  # what is not acknowledged yet
        b.urgent.append(p.segment(0))
    await b.run(lambda: b.event_bytes[Op.SENT] - before[Op.SENT] == want, what="SENT")
    b.supply, b.live = acks, live


@cocotb.test()
async def top_of_the_table(dut):
    """The last flows of the table: connections open, carry data both ways, close, and leave everything free."""
    b = Bench(dut)
    await b.start(flows=3, rx_log2=14, tx_log2=14, cards_flows=params()["FLOWS"])
    peers = await b.open(3, 1000, 14, 14)
    await exchange(b, peers, 8)
    for peer in peers:
        assert peer.got == peer.sent == 8000
    tenant = b.tenant
    for sock in list(tenant.sockets.values()):
        if not sock.peer:
            sock.close()
    await b.run(lambda: len(tenant.sockets) == 3, what="listener and credits closed")
    b.closes = True
    for peer in peers:
        b.urgent.append(peer.segment(0, 0x11))
        assert peer.sock is not None
        peer.sock.close()
    await b.run(lambda: not tenant.sockets, what="CLOSED")
    await b.clean()
    assert await b.read(0, PF.FLOWS_IN_USE) == 0
    assert await b.read(0, PF.HASH_IN_USE) == 0


@cocotb.test()
async def blocked_wire(dut):
    """The wire takes nothing for a while: what is received goes on, nothing is lost or sent twice."""
    b = Bench(dut)
    flows, payload, log2 = 8, 256, 16
    await b.start(flows=flows, rx_log2=log2, tx_log2=log2)
    peers = await b.open(flows, payload, log2, log2)
    b.live = False
    segments = (1 << log2) // payload
    for peer in peers:
        b.send(peer, segments * payload)
    turn = 0

    def supply():
        nonlocal turn
        turn += 1
        peer = peers[turn % flows]
        return peer.segment(payload) if peer.sent < segments * payload else b.pending_acks()

    b.supply = supply
    await b.run(lambda: b.tx_data > 300, what="segments of the card")
    b.stop_wire(True)
    stopped, placed = b.tx_data, b.placed
    for _ in range(3000):
        await b.step()
    assert b.tx_data == stopped
    # 3,000 clocks carry 600 segments: all of them have arrived, or all that there were.
    assert b.placed - placed > 400 * payload, f"only {b.placed - placed} bytes received meanwhile"
    b.stop_wire(False)
    total = flows * segments * payload
    await b.run(lambda: sum(p.got for p in peers) == total, what="all data of the card")
    await b.run(lambda: b.event_bytes[Op.DATA] == b.placed == total, what="all DATA events")
    for peer in peers:
        b.urgent.append(peer.segment(0))
    await b.run(lambda: b.event_bytes[Op.SENT] == total, what="all SENT events")
    await b.clean()


def run(testcase: str, flows: int) -> None:
    run_module(
        "nk_perf_tb",
        __file__,
        {"W": 512, "FLOWS": flows},
        sources=[HERE / "nk_perf_tb.v"],
        testcase=testcase,
    )


@pytest.mark.slow
@pytest.mark.parametrize("flows", [16384, 65536])
def test_large_tables(flows: int) -> None:
    run("top_of_the_table", flows)


def test_pressure() -> None:
    run("blocked_wire|top_of_the_table", 1024)
