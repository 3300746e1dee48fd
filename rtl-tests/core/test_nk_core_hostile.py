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
    for _ in range(10):  # chance may spare one exchange
        await exchange(tb)
        counts = [k.counts for k in (tb.link_in, tb.link_out)]
        hurt = sum(c[k] for c in counts for k in ("lost", "reordered", "duplicated", "corrupted"))
        if hurt or wire == "jitter":
            break
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


class Pair:
    """One connection of the chaos: the tenant's socket, the host's side once it is known."""

    def __init__(self, sock):
        self.sock, self.conn = sock, None
        self.up, self.down = b"", b""
        self.broken = False  # somebody aborted: only prefixes may be compared

    def alive(self) -> bool:
        conn = self.conn
        return self.sock.connected and conn is not None and conn.state != "CLOSED"


@cocotb.test()
@cocotb.parametrize(i=range(3))
async def chaos(dut, i):
    """Up to twenty connections open, talk, end and are aborted by either side, all at random, with
    small rings, unread data and a hostile wire. What arrives is always the beginning of what was
    sent, all of it where nobody aborted, and in the end everything is free."""
    tb = TB(dut, stalls=Stalls(ready=0.1, data=0.1, read_latency=(2, 60)))
    tb.rng.seed(f"{tb.seed} chaos {i}")
    r = tb.rng
    for wire in (tb.link_in, tb.link_out):
        wire.rng.seed(f"{tb.seed} chaos {i} {id(wire) == id(tb.link_in)}")
    await tb.start(
        regs={PF.RETRIES: 40 | 20 << 8 | 60 << 16, PF.RTO_MAX_US: 2_000_000,
              PF.TIME_WAIT_US: 50_000},
        sockets=24,
    )  # fmt: skip
    tenant, host = tb.tenants[0], tb.host
    host.watch_shrink = False
    # Too short a TIME_WAIT would answer the last FIN's retransmission with RST.
    host.opts = Options(retries=40, time_wait=60_000_000, rto_max=2_000_000, rcv_buf=20_000)
    host.listen(80)
    warm, _ = await tb.connect(port=81)  # ARP is done while the wire is good
    await tb.ok(warm.abort())
    await tb.until(lambda: warm.closed)
    for wire in (tb.link_in, tb.link_out):
        wire.set(**WIRES["everything"])
    listener = await tb.listen(8080, 0)
    pairs: list[Pair] = []
    waiting: list[Pair] = []  # credits without a connection yet

    def find_conns() -> None:
        for pair in pairs:
            sock = pair.sock
            if pair.conn is None and sock.connected:
                _, rport = sock.peer
                for conn in [*host.listeners[80].conns, *outgoing]:
                    mine = (conn.rport, conn.lport) == (sock.user or 8080, rport)
                    if mine and conn.user is None:
                        conn.user, pair.conn = pair, conn
                        break

    outgoing = []
    next_port = 20_000
    for _ in range(500):
        find_conns()
        waiting = [p for p in waiting if not p.sock.connected and not p.sock.closed]
        pairs = [p for p in pairs if not (p.sock.closed and p.conn is None)]
        for pair in pairs:
            sock, conn = pair.sock, pair.conn
            both = sock.peer_closed and sock.shut and len(sock.received) >= len(pair.down)
            if (both or sock.ended is not None) and not sock.closing and r.random() < 0.2:
                sock.close()  # its id and rings serve the next connection
        live = [p for p in pairs if p.alive()]
        act = r.randrange(12)
        if act < 3 and len(tenant.free_ids) > 2 and len(live) < 20:
            sock = tenant.socket(12, 12, auto_credit=r.random() < 0.7)
            pair = Pair(sock)
            pairs.append(pair)
            if r.random() < 0.5:
                next_port += 1
                sock.user = next_port
                sock.connect(host.ip, 80, next_port)
            else:
                listener.credit_accept(sock)
                waiting.append(pair)
        elif act == 3 and waiting:
            outgoing.append(host.connect(vf_ip(0), 8080))
        elif live:
            pair = r.choice(live)
            sock, conn = pair.sock, pair.conn
            data = r.randbytes(r.choice((1, 10, 500, 5000)))
            if act in (4, 5) and not (sock.shut or sock.shut_when_sent or sock.closing):
                if sock.ended is None:
                    pair.up += data
                    sock.send(data)
            elif act in (6, 7) and not conn.fin_queued:
                pair.down += data
                conn.send(data)
            elif act == 8 and not (sock.shut or sock.closing or sock.shut_when_sent):
                if sock.ended is None:
                    sock.shutdown()
            elif act == 9 and not conn.fin_queued:
                conn.shutdown()
            elif act == 10 and r.random() < 0.3:
                pair.broken = True
                if r.random() < 0.5 and not sock.closing:
                    sock.abort()
                else:
                    conn.abort()
            elif act == 11 and not sock.closed:
                sock.give_credit()
        tb.collect()
        await tb.sleep(r.choice((1, 20, 200, 3000, 30_000)))
    # The end: everybody reads, everybody closes.
    for pair in pairs:
        pair.sock.auto_credit = True
        if not pair.sock.closed and not pair.sock.closing and pair.sock.ended is None:
            pair.sock.give_credit()
    for pair in waiting:
        pair.broken = True
    find_conns()
    for pair in pairs:
        sock, conn = pair.sock, pair.conn
        if conn is None:
            pair.broken = True
            continue
        if conn.state != "CLOSED" and not conn.fin_queued:
            conn.shutdown()
            tb.collect()
        if not pair.broken:
            await tb.until(
                lambda s=sock, p=pair: len(s.received) >= len(p.down) or s.ended is not None,
                600_000_000, f"{sock}: {len(pair.down)} bytes down",
            )  # fmt: skip
            await tb.until(
                lambda s=sock, c=conn, p=pair: len(c.received) >= len(p.up) or s.ended is not None,
                600_000_000, f"{sock}: {len(pair.up)} bytes up",
            )  # fmt: skip
    for sock in list(tenant.sockets.values()):
        if not sock.closing:
            sock.close()
    await tb.until(lambda: not tenant.sockets, 600_000_000, "every socket CLOSED")
    equal = 0
    for pair in pairs:
        if pair.conn is None:
            continue
        pair.broken |= "aborted" in pair.conn.events
        assert pair.up.startswith(bytes(pair.conn.received)), "other bytes went up"
        assert pair.down.startswith(bytes(pair.sock.received)), "other bytes came down"
        if not pair.broken:
            assert pair.sock.ended is None, f"{pair.sock} ended by itself"
            assert pair.conn.received == pair.up
            assert pair.sock.received == pair.down
            equal += 1
    dut._log.info(
        "chaos: %d sockets, %d connections, %d with all bytes equal, %d bytes",
        len(pairs), sum(p.conn is not None for p in pairs), equal,
        sum(len(p.up) + len(p.down) for p in pairs),
    )  # fmt: skip
    assert equal >= 3, "hardly a connection lived to its end: the test shows little"
    await tb.until(lambda: tenant.quiet)
    tb.expected["nqe_errors"] = len(tenant.rejects) + tenant.failed_jobs
    await tb.finish()


def test_nk_core_hostile():
    run_core(__file__)


@pytest.mark.slow
def test_nk_core_hostile_w64():
    run_core(__file__, 64, "wires.*(mixed|everything)")
