# SPDX-License-Identifier: Apache-2.0
"""Speed of the TCP engine in clocks, at 512 bits with an ideal host: the tcp.* rows of results.json and their plots.

`make bench` runs it. Segments have no timestamps. Rates are of the steady state: the clocks for 2,000 segments, after
600; received segments are counted where their payload leaves for the host. Latencies are the longest of a few. The host answers
a DMA read in the clock after its request, takes a write at once, and costs nothing else.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import cocotb
import pytest
from bench import RESULTS, plot, record, show
from common.filelist import hw_root
from common.runner import run_module
from common.tenant import Sock
from netkernel.abi import Op
from perf import figures as fg
from perf.traffic import FIRST_PORT, PEER_IP, PORT, Beats, Bench, Peer

HERE = Path(__file__).resolve().parent
WARM, COUNT = 600, 2000
MSS = 1460


def report(kind: str, **values: Any) -> None:
    with Path(os.environ["NK_FIGURES"]).open("a", encoding="utf-8") as out:
        out.write(json.dumps({"kind": kind, **values}) + "\n")


@cocotb.test()
@cocotb.parametrize(direction=list(fg.DIRECTIONS), flows=list(fg.FLOWS), payload=list(fg.PAYLOADS))
async def rate(dut, direction, flows, payload):
    """Segments a clock. Each flow has all its data in the TX ring and told by one SEND; no RX ring fills up."""
    rx, tx = direction != "tx", direction != "rx"
    # Each direction may be three times as fast as the other.
    need = 3 * (WARM + COUNT) // flows * payload * 5 // 4
    log2 = max(12, need.bit_length())
    b = Bench(dut)
    await b.start(flows=flows, rx_log2=log2, tx_log2=log2)
    peers = await b.open(flows, payload, log2, log2)
    b.live = False
    if tx:
        for peer in peers:
            b.send(peer, (1 << log2) // payload * payload)
    acks = b.supply
    if rx:
        b.supply = b.data_of(peers)

    def done(received: int, sent: int) -> bool:
        return (not rx or b.placed >= received * payload) and (not tx or b.tx_data >= sent)

    await b.run(lambda: done(WARM, WARM), what="warm-up")
    start, received, sent = b.clocks, b.placed, b.tx_data
    b.count(True)
    await b.run(lambda: done(received // payload + COUNT, sent + COUNT), what="measurement")
    b.count(False)
    clocks = b.clocks - start
    rate_rx, rate_tx = (b.placed - received) / payload / clocks, (b.tx_data - sent) / clocks
    # All that was received is told; nothing went wrong.
    b.supply = acks
    total = sum(p.sent for p in peers)
    await b.run(lambda: b.event_bytes[Op.DATA] == b.placed == total, what="all DATA events")
    await b.clean()
    probe = b.probe()
    report("rate", direction=direction, flows=flows, payload=payload, rx=rate_rx, tx=rate_tx,
           now=fg.busiest(probe, clocks, flows), clocks=clocks, probe=probe)  # fmt: skip


@cocotb.test()
async def latency(dut):
    """64 bytes through an idle card; from first beat to first beat, doorbell to first beat, first beat to event."""
    b = Bench(dut)
    await b.start(flows=1, rx_log2=16, tx_log2=16)
    (peer,) = await b.open(1, MSS, 16, 16)
    b.payload = 64

    async def rest() -> None:
        for _ in range(300 + b.rng.randrange(40)):
            await b.step()

    await rest()
    doorbell, event, ack = [], [], []
    for _ in range(12):
        sent = b.tx_data
        b.send(peer, b.payload)
        await b.run(lambda sent=sent: b.tx_data > sent, 1000, "segment")
        doorbell.append(b.first_tx - b.doorbell_clock)
        b.urgent.append(peer.segment(0))
        await rest()
    # The first segments of a connection are acknowledged at once.
    for _ in range(8):
        pure, events = b.tx_pure, b.events
        b.urgent.append(peer.segment(b.payload))
        await b.run(
            lambda pure=pure, events=events: b.events > events and b.tx_pure > pure,
            1000,
            "event, ACK",
        )
        event.append(b.first_event - b.first_rx)
        ack.append(b.first_tx - b.first_rx)
        await rest()
    await b.clean()
    for path, found in (("doorbell_to_wire", doorbell), ("wire_to_event", event), ("ack", ack)):
        report("latency", path=path, clocks=max(found))


@cocotb.test()
@cocotb.parametrize(active=[False, True])
async def open_close(dut, active):
    """Clocks a connection from SYN to CLOSED, in a crowd: the tenant or the peer opens, the peer closes, the tenant follows.

    With it goes all that a connection costs: SOCKET, ACCEPT or CONNECT, CLOSE, their completions, three events.
    """
    warm, total, at_once, credits = 100, 400, 16, 96
    b = Bench(dut)
    b.closes = True
    await b.start(flows=credits, rx_log2=12, tx_log2=12)
    tenant = b.tenant
    closed = opened = 0
    under_way: set[int] = set()

    def peer() -> Peer:
        nonlocal opened
        p = Peer(opened, b.rng.getrandbits(32))
        b.peers[p.port] = p
        under_way.add(p.port)
        opened += 1
        return p

    def on_event(sock: Sock, name: str) -> None:
        nonlocal closed
        if name == "PEER_CLOSED":
            sock.close()
        if name == "CLOSED":
            closed += 1
            assert sock.peer is not None
            under_way.discard(sock.peer[1])
            another()

    def another() -> None:
        if active and opened == total:
            return
        sock = tenant.socket(12, 12, auto_credit=False)
        sock.on_event = on_event
        if active:
            sock.connect(PEER_IP, FIRST_PORT + opened, PORT)
            peer()
        else:
            listener.credit_accept(sock)

    def syns() -> Beats | None:
        """A new connection whenever there are too few."""
        return peer().syn(MSS) if opened < total and len(under_way) < at_once else None

    if active:
        for _ in range(2 * at_once):
            another()
    else:
        listener = tenant.socket(12, 12)
        job = listener.listen(PORT)
        await b.run(lambda: job.done, what="LISTEN")
        for _ in range(credits):
            another()
        await b.run(lambda: tenant.quiet, what="accept credits")
        b.supply = syns
    await b.run(lambda: closed >= warm, what="first connections")
    start, first = b.clocks, closed
    b.count(True)
    await b.run(lambda: closed >= total - at_once, what="all connections")
    b.count(False)
    each = (b.clocks - start) / (closed - first)
    await b.run(lambda: closed == total, what="the last ones")
    await b.clean()
    probe = {name: round(n / (closed - first), 2) for name, n in b.probe().items()}
    report("open_close", active=active, clocks=each, probe=probe)


def state_bits() -> int:
    text = (hw_root() / "tcp" / "rtl" / "nk_tcb.vh").read_text(encoding="utf-8")
    found = re.search(r"`define TCB_MEM_W (\d+)", text)
    assert found
    return int(found[1])


def memories(bits: int, flows: int) -> str:
    """UltraScale+ primitives of the flow memory: block RAM (72 by 512) when shallow, else UltraRAM (72 by 4096)."""
    wide = -(-bits // 72)
    if flows <= 1024:
        return f"{flows} flows: {wide * -(-flows // 512)} RAMB36"
    return f"{flows} flows: {wide * -(-flows // 4096)} URAM288"


@pytest.mark.perf
def test_tcp_clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "figures"
    monkeypatch.setenv("NK_FIGURES", str(file))
    run_module("nk_perf_tb", __file__, {"W": 512}, sources=[HERE / "nk_perf_tb.v"])
    found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    table = []
    for r in (r for r in found if r["kind"] == "rate"):
        params = {k: r[k] for k in ("direction", "flows", "payload")}
        value, p = r["rx"] + r["tx"], r["payload"]
        if r["direction"] != "both":
            value = r[r["direction"]]
        most, by = fg.bound(**params)
        want = fg.goal(**params)
        now = (
            f"{r['now']}, rx {r['rx']:.3f} + tx {r['tx']:.3f}"
            if r["direction"] == "both"
            else r["now"]
        )
        more = {"params": params, "bound_by": by, "now": now}
        table.append(
            record(
                "tcp.segments_per_clock", round(value, 4), "1/clock", goal=want, bound=most, **more
            )
        )
        want_bytes = want * p if p == MSS else None
        table.append(
            record(
                "tcp.bytes_per_clock",
                round(value * p, 2),
                "bytes/clock",
                goal=want_bytes,
                bound=most * p,
                **more,
            )
        )
    for r in (r for r in found if r["kind"] == "latency"):
        want, theirs = fg.LATENCY[r["path"]]
        table.append(record("tcp.latency_clocks", r["clocks"], "clocks", params={"path": r["path"]}, goal=want, less=True, bound=theirs,
                             bound_by="ETH's TOE" if theirs else "none published",
                             now="64 bytes, host latency 0 (answers in the next clock)"))  # fmt: skip
    ways = {
        ("active" if r["active"] else "passive"): r["clocks"]
        for r in found
        if r["kind"] == "open_close"
    }
    now = ", ".join(f"{way} open {clocks:.1f}" for way, clocks in ways.items())
    table.append(record("tcp.open_close_clocks", round(max(ways.values()), 1), "clocks", goal=fg.OPEN_CLOSE_GOAL, less=True,
                         bound_by="none published", now=now))  # fmt: skip
    bits = state_bits()
    table.append(record("tcp.state_bits", bits, "bits", goal=fg.STATE_BITS_GOAL, less=True, bound_by="memory",
                         now="; ".join(memories(bits, n) for n in (1024, 16384, 65536))))  # fmt: skip
    (RESULTS.parent / "tcp_clocks.json").write_text(
        json.dumps(found, indent=1) + "\n", encoding="utf-8"
    )
    print("\n" + show(only=table))
    print("plots: " + ", ".join(str(p) for p in plot()))
