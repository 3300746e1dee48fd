# SPDX-License-Identifier: Apache-2.0
"""nk_core on a hostile wire: loss, bursts, reordering, duplicates, corruption, by seed.

Each run ends in 'bytes equal and connection closed', and every flow free again.
"""

from __future__ import annotations

import os

import cocotb
import pytest
from common.hostmem import Stalls
from core.core_tb import TB, run_core, vf_ip
from model.tcp_peer import Options
from netkernel.abi import PF

# One source for the rates that the end-to-end tests use as well.
MIXED = {"loss": 0.01, "reorder": 0.05, "duplicate": 0.01, "corrupt": 0.005, "delay_us": 100}
WIRES = {
    "loss": {"loss": 0.03, "delay_us": 100},
    "heavy_loss": {"loss": 0.15, "delay_us": 100},
    "bursts": {"burst_loss": 0.04, "delay_us": 100},
    "reorder": {"reorder": 0.3, "delay_us": 100},
    "duplicate": {"duplicate": 0.3, "delay_us": 100},
    "corrupt": {"corrupt": 0.05, "delay_us": 100},
    "jitter": {"jitter_us": 300, "rate_mbps": 100},
    "mixed": MIXED,
    "everything": {
        "loss": 0.03, "burst_loss": 0.003, "reorder": 0.1, "duplicate": 0.05,
        "corrupt": 0.02, "delay_us": 200, "jitter_us": 100,
    },
}  # fmt: skip


def tb_seed(i: int) -> str:
    return f"{os.environ.get('NK_SEED', '0')} {i}"


async def exchange(tb: TB, streams: int = 2, size: int = 40_000, **socket) -> None:
    """Streams opened by both sides, random sizes both ways, both sides closing in either order."""
    r = tb.rng
    tenant = tb.tenants[0]
    opts = Options(
        retries=40, time_wait=60_000_000,
        mss=r.choice((None, 700, 1460)), wscale=r.choice((None, 3, 7)),
        rcv_buf=r.choice((8192, 65536, 300_000)), ack_every=r.choice((1, 2)),
    )  # fmt: skip
    tb.host.listen(80, opts=opts)
    for host in tb.hosts:
        host.watch_shrink = False
    rings = {
        "rx_log2": r.choice((12, 13, 16)), "tx_log2": r.choice((12, 14, 16)), **socket
    }  # fmt: skip
    listener = await tb.listen(8080, 0)
    tenant.on_accept = None
    pairs = []
    for i in range(streams):
        up, down = r.randbytes(r.randrange(size)), r.randbytes(r.randrange(size))
        sock = tenant.socket(**rings)
        if i % 2:
            await tb.ok(listener.credit_accept(sock))
            conn = tb.host.connect(vf_ip(0), 8080, opts=opts)
            tb.collect()
            await tb.until(lambda s=sock: s.connected, 400_000_000, "ACCEPTED")
        else:
            have = len(tb.host.listeners[80].conns)
            await tb.ok(sock.connect(tb.host.ip, 80))
            await tb.until(lambda s=sock: s.connected, 400_000_000, "CONNECTED")
            conn = tb.host.listeners[80].conns[have]
        sock.send(up)
        if up:
            await tb.until(lambda c=conn: c.state != "SYN_RCVD", 400_000_000)
        conn.send(down)
        tb.collect()
        pairs.append((sock, conn, up, down))
    for sock, conn, up, down in pairs:
        await tb.until(
            lambda s=sock, c=conn, u=up, d=down: (
                len(c.received) >= len(u) and len(s.received) >= len(d)
            ),
            1_200_000_000,
            f"bytes of {sock.id}: {len(conn.received)}/{len(up)}, {len(sock.received)}/{len(down)}",
        )
        assert conn.received == up
        assert sock.received == down
        if r.random() < 0.5:
            conn.shutdown()
            tb.collect()
            await tb.until(lambda s=sock: s.peer_closed, 600_000_000, "PEER_CLOSED")
        await tb.until(lambda s=sock: s.all_acked, 600_000_000, "everything SENT")
        await tb.ok(sock.close())
        if not conn.fin_queued:
            await tb.until(lambda c=conn: c.fin_received, 600_000_000, "the card's FIN")
            conn.shutdown()
            tb.collect()
    for sock, conn, _, _ in pairs:
        await tb.until(lambda s=sock: s.closed, 600_000_000, "CLOSED")
        await tb.until(lambda c=conn: c.state == "CLOSED", 600_000_000, "the host's side closed")
        assert conn.events[:2] == ["connected", "peer_closed"]
        # Its last ACK may be lost for good while our TIME_WAIT is shorter than its timer.
        assert conn.events[2] in ("closed", "reset")
        assert sock.ended is None
    await tb.ok(listener.close())


@cocotb.test()
@cocotb.parametrize(wire=list(WIRES))
async def wires(dut, wire):
    tb = TB(dut, link=WIRES[wire])
    await tb.start(regs={PF.RETRIES: 40 | 20 << 8 | 60 << 16, PF.RTO_MAX_US: 5_000_000})
    await exchange(tb)
    counts = [k.counts for k in (tb.link_in, tb.link_out)]
    hurt = sum(c[k] for c in counts for k in ("lost", "reordered", "duplicated", "corrupted"))
    assert hurt or wire == "jitter", "this wire did no harm: the test shows nothing"
    c = await tb.finish()
    bad = c["rx_drop_tcp_csum"] + c["rx_drop_ip_header"] + c["rx_drop_runt"]
    bad += c["rx_drop_fragment"] + c["rx_drop_proto"] + c["rx_drop_filter"] + c["rx_drop_icmp"]
    # What the wire corrupted was dropped: all of it, unless the byte was padding.
    assert bad <= tb.link_in.counts["corrupted"] + tb.link_in.counts["duplicated"]


@cocotb.test()
@cocotb.parametrize(i=range(4))
async def seeds(dut, i):
    """The mixed wire with seeds of their own, a rough host, and TX rings that are overwritten once free."""
    link = {**WIRES["everything"], "seed": tb_seed(i)}
    tb = TB(dut, link=link, stalls=Stalls.rough())
    tb.rng.seed(f"{tb.seed} {i}")
    await tb.start(regs={PF.RETRIES: 40 | 20 << 8 | 60 << 16, PF.RTO_MAX_US: 5_000_000})
    tb.tenants[0].poison_tx = True
    tb.host.strict_old = False
    await exchange(tb, streams=2, size=25_000)
    await tb.finish()


def test_nk_core_hostile():
    run_core(__file__)


@pytest.mark.slow
def test_nk_core_hostile_w64():
    run_core(__file__, 64, "wires.*(mixed|everything)")
