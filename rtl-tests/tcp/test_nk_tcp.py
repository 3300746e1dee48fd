# SPDX-License-Identifier: Apache-2.0
"""nk_tcp with fake neighbours on all sides: every operation, whole connections, and an empty card at the end."""

from __future__ import annotations

import cocotb
import pytest
from common.runner import run_module
from model.tcp_peer import Options
from netkernel.abi import FlowState, Op, Status
from tcp.tcp_dut import ACK, FIN, RST, SYN
from tcp.tcp_tb import TB, P, vf_ip

HOSTILE = {"loss": 0.04, "reorder": 0.06, "duplicate": 0.03}


def names(s):
    return [e[0].name for e in s.events]


async def listening(tb, vf=0, sock=0, port=80, credits=(1,)):
    """A listener with accept credits; returns it and the credited sockets."""
    listener = await tb.socket(vf, sock)
    assert (await tb.op(listener, Op.LISTEN, data=port << 48)).status == Status.OK
    children = []
    for c in credits:
        child = await tb.socket(vf, c)
        assert (await tb.op(listener, Op.ACCEPT, child=c)).status == Status.OK
        children.append(child)
    return listener, children


async def echo_both_ways(tb, conn, s, n):
    """n bytes each way at the same time; equal at the end."""
    up, down = tb.rng.randbytes(n), tb.rng.randbytes(n)
    conn.send(down)
    await tb.stream(s, up)
    await tb.until(lambda: len(conn.received) >= n and len(s.received) >= n)
    assert bytes(conn.received[-n:]) == up and bytes(s.received[-n:]) == down


@cocotb.test()
async def connects_and_closes(dut):
    """Active open, data both ways, close by the tenant, TIME_WAIT, CLOSED."""
    tb = TB(dut)
    await tb.start()
    host = tb.host()
    listener = host.listen(443)
    s = await tb.socket(0, 3)
    assert (await tb.connect(s, host.ip, 443, 50000)).status == Status.OK
    await tb.until(lambda: s.established)
    op, data, size, status = s.events[0]
    assert (op, data, status) == (
        Op.CONNECTED,
        host.ip | 443 << 32 | 50000 << 48,
        0,
    ) and size == 1460
    conn = listener.conns[0]
    await echo_both_ways(tb, conn, s, 20_000)
    info = await tb.op(s, Op.INFO)
    assert info.size >> 16 & 15 == FlowState.ESTABLISHED and (info.size >> 20) * 4 == 1460
    assert info.data >> 32 >= 10 * 1460 and info.data & 0xFFFFFFFF < 5_000
    assert (await tb.op(s, Op.CLOSE)).status == Status.OK
    await tb.until(lambda: conn.fin_received)
    start = tb.now
    conn.shutdown()
    await tb.until(lambda: s.closed)
    assert tb.now - start >= P["p_time_wait"], "TIME_WAIT was cut short"
    assert s.events[-1] == (Op.CLOSED, 0, 0, Status.OK)
    assert conn.state == "CLOSED" and host.counts["rst_in"] == 0
    await tb.finish()


@cocotb.test()
async def accepts_with_a_credit(dut):
    """A SYN to a listener: without credit it is dropped and counted, with one it opens. The peer closes first."""
    tb = TB(dut)
    await tb.start()
    host = tb.host(opts=Options(rto_init=50_000))
    listener, _ = await listening(tb, credits=())
    conn = host.connect(vf_ip(0), 80)
    await tb.until(lambda: tb.stat["rx_syn_no_credit"] >= 2)
    await tb.until(lambda: tb.vst[(0, "accept_drops")] >= 2)
    assert tb.sent == [] and tb.vst[(0, "accept_drops")] == tb.stat["rx_syn_no_credit"]
    child = await tb.socket(0, 5, qs=1)
    assert (await tb.op(listener, Op.ACCEPT, child=5)).status == Status.OK
    await tb.until(lambda: child.established)
    assert child.events[0] == (Op.ACCEPTED, host.ip | conn.lport << 32 | 80 << 48, 0, 0)
    await echo_both_ways(tb, conn, child, 10_000)
    conn.shutdown()
    await tb.until(lambda: child.heard(Op.PEER_CLOSED))
    assert (await tb.send(child, b"last words")).status == Status.OK  # half closed: we still may
    assert (await tb.op(child, Op.SHUTDOWN)).status == Status.OK
    await tb.until(lambda: conn.fin_received)
    assert conn.received.endswith(b"last words")
    await tb.settle(3000)
    assert (await tb.op(child, Op.CLOSE)).status == Status.OK
    await tb.until(lambda: child.closed)
    assert (await tb.op(listener, Op.CLOSE)).status == Status.OK
    await tb.finish()


@cocotb.test()
async def listener_close_hands_credits_back(dut):
    """CLOSED for each unused credit and for the listener; a SYN afterwards gets a RST."""
    tb = TB(dut)
    await tb.start()
    for op in (Op.CLOSE, Op.ABORT):
        listener, children = await listening(tb, credits=range(1, 8))
        host = tb.host()
        conn = host.connect(vf_ip(0), 80)
        used = children[0]  # the oldest credit goes first
        await tb.until(lambda: used.established)  # noqa: B023
        assert (await tb.op(listener, op)).status == Status.OK
        await tb.until(lambda: listener.closed and sum(c.closed for c in children) == 6)  # noqa: B023
        assert not used.closed and (await tb.op(listener, Op.INFO)).status == Status.BAD_STATE
        assert all(names(c) == ["CLOSED"] for c in children[1:])
        before = tb.stat["rx_no_flow"]
        late = host.connect(vf_ip(0), 80)
        await tb.until(lambda: late.state == "CLOSED")  # noqa: B023
        assert "refused" in late.events and tb.stat["rx_no_flow"] == before + 1
        assert (await tb.op(used, Op.ABORT)).status == Status.OK
        await tb.until(lambda: used.closed and conn.state == "CLOSED")  # noqa: B023
        assert used.events[-1][3] == Status.ABORTED
        tb.hosts.remove(host)
    await tb.finish()


@cocotb.test()
async def refused_and_bad_operations(dut):
    """What the tenant asks for wrongly: one status each, and nothing changes."""
    tb = TB(dut)
    await tb.start()
    host = tb.host()
    s, other = await tb.socket(0, 0), await tb.socket(0, 1)
    for op in (Op.SEND, Op.CREDIT, Op.SHUTDOWN, Op.SOCKET):
        assert (await tb.op(s, op, size=1)).status == Status.BAD_STATE, op
    assert (await tb.op(s, Op.ACCEPT, child=1)).status == Status.BAD_STATE  # not a listener
    assert (await tb.connect(s, 0xE0000001, 5, 5)).status == Status.BAD_ADDR
    assert (await tb.op(s, Op.LISTEN, data=80 << 48)).status == Status.OK
    assert (await tb.op(other, Op.LISTEN, data=80 << 48)).status == Status.ADDR_IN_USE
    assert (await tb.op(s, Op.ACCEPT, child=0)).status == Status.BAD_STATE  # itself
    assert (await tb.op(s, Op.ACCEPT, child=1, child_ok=0)).status == Status.BAD_STATE
    assert (await tb.op(s, Op.ACCEPT, child=9)).status == Status.BAD_STATE  # a free one
    assert (await tb.connect(other, host.ip, 9, 7000)).status == Status.OK
    third = await tb.socket(0, 2)
    assert (await tb.connect(third, host.ip, 9, 7000)).status == Status.ADDR_IN_USE
    await tb.until(lambda: other.over)  # nobody listens there
    assert other.events == [(Op.RESET, 0, 0, Status.REFUSED)]
    assert (await tb.connect(third, host.ip, 9, 7000)).status == Status.OK  # the pair is free again
    twin = await tb.socket(1, 2)  # another tenant has ports of its own
    assert (await tb.op(twin, Op.LISTEN, data=80 << 48)).status == Status.OK
    await tb.until(lambda: third.over)
    await tb.finish()


@cocotb.test()
async def retransmits_by_timer_and_gives_up(dut):
    """A peer that falls silent: doubling timeouts, then TIMEOUT; the unsent bytes go nowhere."""
    tb = TB(dut)
    await tb.start()
    host = tb.host()
    host.listen(1)
    s = await tb.socket(0, 0)
    await tb.connect(s, host.ip, 1, 2000)
    await tb.until(lambda: s.established)
    await tb.settle(5000)
    host.silent = True
    tb.sent.clear()
    start, times = tb.now, []
    await tb.send(s, b"x" * 3000)
    while not s.over:
        n = tb.stat["tx_rto"]
        await tb.until(lambda: tb.stat["tx_rto"] > n or s.over)  # noqa: B023
        times.append(tb.now - start)
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    assert tb.stat["tx_rto"] == P["p_retries_data"] and tb.stat["flow_timeouts"] == 1
    for a, b in zip(gaps, gaps[1:], strict=False):
        assert b > P["p_rto_max"] * 0.99 or 1.9 < b / a < 2.1, f"not doubling: {gaps}"
    assert s.events[-1] == (Op.TIMEOUT, 0, 0, Status.TIMED_OUT)
    assert (
        len({f.seq for f in tb.sent})
        == 3  # after three timeouts in a row the first goes out shorter (RFC 4821)
        and tb.stat["tx_retransmits"] >= P["p_retries_data"]
    )
    silent = await tb.socket(0, 1)  # and a SYN into the void
    rto = tb.stat["tx_rto"]
    await tb.connect(silent, host.ip, 1, 2001)
    await tb.until(lambda: silent.over)
    assert tb.stat["tx_rto"] - rto == P["p_retries_syn"] and names(silent) == ["TIMEOUT"]
    await tb.finish()


@cocotb.test()
@cocotb.parametrize(stalls=[0.0, 0.5])
async def hostile_link(dut, stalls):
    """Loss, reordering, duplicates: bytes equal both ways and the connection closed, several at a time."""
    tb = TB(dut, stalls, link=HOSTILE)
    await tb.start()
    host = tb.host(
        opts=Options(
            rto_min=20_000,
            rto_init=100_000,
            time_wait=2_000_000,
            wscale=tb.rng.choice([None, 0, 7]),
        )
    )
    server = host.listen(80)
    _, children = await listening(tb, 1, 0, 8080, range(1, 4))
    mine = [
        await tb.socket(0, k, rx_log2=tb.rng.choice([12, 14]), tx_log2=tb.rng.choice([12, 14]))
        for k in range(3)
    ]
    for k, s in enumerate(mine):
        await tb.connect(s, host.ip, 80, 3000 + k)
    theirs = [host.connect(vf_ip(1), 8080) for _ in range(3)]
    await tb.until(lambda: all(s.established for s in (*mine, *children)))

    pairs = [(s, next(c for c in server.conns if c.rport == 3000 + s.sock)) for s in mine]
    pairs += [(s, next(c for c in theirs if c.lport == s.peer[1])) for s in children]
    jobs = [cocotb.start_soon(echo_both_ways(tb, c, s, 20_000)) for s, c in pairs]
    for job in jobs:
        await job
    for s, c in pairs:
        order = tb.rng.choice(["tenant", "peer", "both"])
        if order != "tenant":
            c.shutdown()
        if order != "peer":
            await tb.op(s, Op.CLOSE)
        else:
            await tb.until(lambda: s.heard(Op.PEER_CLOSED))  # noqa: B023
            await tb.op(s, Op.CLOSE)
        c.shutdown()
    await tb.until(lambda: all(s.closed for s, _ in pairs))
    ends = {(s.vf, s.sock): (Status(s.events[-1][3]).name, c.events, c.state) for s, c in pairs}
    assert all(s.events[-1][3] == Status.OK for s, _ in pairs), f"not closed in peace: {ends}"
    assert tb.stat["tx_retransmits"] and tb.stat["rx_out_of_order"]
    await tb.finish()


@cocotb.test()
async def unknown_next_hop(dut):
    """Asks, waits, goes on when the answer comes; gives up as UNREACHABLE when it does not. The gateway serves strangers."""
    tb = TB(dut)
    await tb.start()
    host = tb.host(known=False)
    host.listen(80)
    s = await tb.socket(0, 0)
    await tb.connect(s, host.ip, 80, 900)
    await tb.until(lambda: s.established)
    assert tb.arp[0] == (0, host.ip) and tb.stat["neigh_misses"] == len(tb.arp) == 1
    await tb.settle(5000)
    # The entry ages out in the middle of a connection.
    del tb.neigh[host.ip]
    await tb.send(s, b"again")
    await tb.until(lambda: s.freed == 5)
    assert len(tb.arp) >= 2
    far = await tb.socket(0, 1)
    await tb.connect(far, 0x08080808, 53, 901)
    await tb.until(lambda: far.over)
    assert far.events == [(Op.RESET, 0, 0, Status.UNREACHABLE)]
    await tb.settle(20)
    assert [ip for _, ip in tb.arp].count(0x0A010001) == P["p_retries_neigh"] + 1, (
        "asks the gateway, as often as allowed"
    )
    assert not [f for f in tb.sent if f.dip == 0x08080808]
    await tb.finish()


@cocotb.test()
async def strangers_get_a_reset(dut):
    """RFC 9293, 3.10.7.1, by the numbers; a RST itself is never answered. Payload of strangers is dropped."""
    tb = TB(dut)
    await tb.start()
    await listening(tb, 0, 0, 80, ())
    r = tb.rng
    for _ in range(40):
        flags = r.choice([ACK, SYN, FIN, 0, RST, SYN | ACK, RST | ACK, ACK | FIN])
        seq, ack, data = r.getrandbits(32), r.getrandbits(32), r.randbytes(r.choice([0, 0, 1, 900]))
        lport = 80 if flags & ACK and r.random() < 0.3 else 9999
        tb.sent.clear()
        before = tb.stat["rx_no_flow"]
        tb.segment(
            1 if lport != 80 else 0, 0x0A010055, 1234, lport, seq, ack, flags, data, smac=0x123456
        )
        await tb.until(lambda: tb.stat["rx_no_flow"] > before)  # noqa: B023
        await tb.settle(50)
        if flags & RST:
            assert tb.sent == []
            continue
        (f,) = tb.sent
        assert (f.dst, f.dip, f.dport, f.sport, len(f.payload)) == (
            0x123456,
            0x0A010055,
            1234,
            lport,
            0,
        )
        if flags & ACK:
            assert (f.flags, f.seq) == (RST, ack)
        else:
            end = seq + len(data) + bool(flags & SYN) + bool(flags & FIN)
            assert (f.flags, f.seq, f.ack) == (RST | ACK, 0, end & 0xFFFFFFFF)
    assert not tb.payload
    await tb.finish()


@cocotb.test()
async def zero_window_both_ways(dut):
    """The peer shuts its window: probes, no timeout; the tenant stops reading: the peer must stop, and go on after CREDIT."""
    tb = TB(dut)
    await tb.start()
    host = tb.host(opts=Options(rcv_buf=4096, auto_read=False, wscale=0))
    server = host.listen(80)
    s = await tb.socket(0, 0, rx_log2=12)
    s.read = False
    await tb.connect(s, host.ip, 80, 901)
    await tb.until(lambda: s.established)
    conn = server.conns[0]
    up, down = tb.rng.randbytes(8000), tb.rng.randbytes(20_000)
    conn.send(down)
    await tb.send(s, up)
    await tb.until(lambda: len(s.received) == 4096 and tb.stat["tx_zero_window_probe"] >= 3)
    assert len(conn.received) == 4096 and not s.over
    before = tb.now
    await tb.settle(20_000_000)  # as long as it takes
    assert not s.over and tb.now - before >= 20_000_000
    assert len(tb.sent) < 200, "the two ends answer each other's ACKs"
    s.read = True
    await tb.credit(s)
    while len(conn.received) < len(up):
        conn.read()
        await tb.settle(1000)
    conn.read()
    await tb.until(lambda: len(s.received) == len(down) and s.freed == len(up))
    assert bytes(conn.received) == up and bytes(s.received) == down
    await tb.finish()


@cocotb.test()
async def full_rings_do_not_stop_others(dut):
    """A receive ring without room: its events wait, nothing is lost, the other queue set goes on."""
    tb = TB(dut)
    await tb.start()
    host = tb.host()
    server = host.listen(80)
    a, b = await tb.socket(0, 0, qs=0), await tb.socket(0, 1, qs=1)
    for k, s in enumerate((a, b)):
        await tb.connect(s, host.ip, 80, 1000 + k)
    await tb.until(lambda: a.established and b.established)
    tb.room_closed.add(0)
    await tb.settle(20)
    told = len(a.events)
    for c in server.conns:
        c.send(tb.rng.randbytes(3000))
    await tb.until(lambda: len(b.received) == 3000)
    await tb.settle(1000)
    assert len(a.events) == told
    tb.room_closed.clear()
    await tb.until(lambda: len(a.received) == 3000)
    await tb.finish()


@cocotb.test()
async def closed_waits_for_the_last_read(dut):
    """CLOSED comes only when no descriptor can read the TX ring any more."""
    tb = TB(dut)
    await tb.start()
    host = tb.host()
    host.listen(80)
    s = await tb.socket(0, 0)
    await tb.connect(s, host.ip, 80, 77)
    await tb.until(lambda: s.established)
    tb.hold_tx = True
    await tb.send(s, b"z" * 2000)
    await tb.until(lambda: len(tb.tx_queue) >= 2)
    await tb.op(s, Op.ABORT)
    await tb.settle(3000)
    assert not s.closed
    tb.hold_tx = False
    await tb.until(lambda: s.closed)
    await tb.finish()


@cocotb.test()
@cocotb.parametrize(stalls=[0.0, 0.4])
async def flush_of_a_vf(dut, stalls):
    """Every flow of the VF goes at once, with RST to the peers; the other VF notices nothing."""
    tb = TB(dut, stalls)
    await tb.start()
    host = tb.host()
    host.listen(80)
    _, children = await listening(tb, 0, 0, 8080, range(1, 6))
    mine = [await tb.socket(0, k) for k in (tb.quota - 1, 7, 8)]
    other = await tb.socket(1, 4)
    for k, s in enumerate((*mine[:2], other)):
        await tb.connect(s, host.ip, 80, 100 + k)
    theirs = [host.connect(vf_ip(0), 8080) for _ in range(2)]
    await tb.until(lambda: all(s.established for s in (*mine[:2], other, *children[:2])))
    for c in list(host.conns.values()):
        c.send(b"still on its way" * 300)
    tb.flush(0)
    await tb.until(lambda: tb.flushed == [0])
    flows, hashed, per_vf = tb.in_use()
    assert (flows, hashed, per_vf & 0xFFFF) == (1, 1, 0)
    gone = [s for s in tb.socks.values() if s.vf == 0]
    heard = [len(s.events) for s in gone]
    assert all(not s.closed for s in gone)
    await tb.until(lambda: all(c.state == "CLOSED" for c in theirs))
    await tb.settle(100_000)
    assert [len(s.events) for s in gone] == heard, "an event after the flush's end"
    assert len(other.received) == 4800
    for s in gone:
        del tb.socks[(0, s.sock)]
    again = await tb.socket(0, 7)  # the VF can be used again
    await tb.connect(again, host.ip, 80, 100)
    await tb.until(lambda: again.established)
    await tb.finish()


@cocotb.test()
async def simultaneous_open_and_close(dut):
    """Both send SYN; later both send FIN (RFC 9293, 3.5 figure 7 and 3.6 figure 13)."""
    tb = TB(dut, link={"delay_us": 3000})
    await tb.start()
    host = tb.host()
    s = await tb.socket(0, 0)
    await tb.connect(s, host.ip, 555, 666)
    conn = host.connect(vf_ip(0), 666, 555)
    await tb.until(lambda: s.established and conn.state == "ESTABLISHED")
    await echo_both_ways(tb, conn, s, 3000)
    await tb.settle(20_000)
    conn.shutdown()
    await tb.op(s, Op.SHUTDOWN)
    await tb.until(lambda: s.heard(Op.PEER_CLOSED) and conn.fin_received and conn.done_sending)
    await tb.op(s, Op.CLOSE)
    await tb.until(lambda: s.closed)
    assert s.events[-1][3] == Status.OK and host.counts["rst_in"] == 0
    await tb.finish()


@cocotb.test()
async def resets(dut):
    """A RST at the right number ends, one beside it is challenged; data after the tenant's CLOSE is answered by RST."""
    tb = TB(dut)
    await tb.start()
    host = tb.host()
    server = host.listen(80)
    a, b = await tb.socket(0, 0), await tb.socket(0, 1)
    for k, s in enumerate((a, b)):
        await tb.connect(s, host.ip, 80, 1000 + k)
    await tb.until(lambda: a.established and b.established)
    await tb.settle(100)
    ca, cb = server.conns if server.conns[0].rport == 1000 else reversed(server.conns)
    tb.segment(0, host.ip, 80, 1000, ca.snd_nxt + 5, 0, RST, smac=host.mac)
    await tb.settle(500)
    assert not a.over
    ca.abort()
    await tb.until(lambda: a.over)
    assert a.events[-1] == (Op.RESET, 0, 0, Status.PEER_RESET) and tb.stat["rx_rst"] == 1
    await tb.op(b, Op.CLOSE)
    await tb.until(lambda: cb.fin_received)
    cb.send(b"too late")
    await tb.until(lambda: b.closed and cb.state == "CLOSED")
    assert b.events[-1][3] == Status.ABORTED and "reset" in cb.events
    await tb.finish()


@cocotb.test()
async def table_full_and_all_flows(dut):
    """Every flow of both VFs in use at a time, then none; SYNs beyond the credits are dropped."""
    tb = TB(dut, 0.1)
    await tb.start()
    host = tb.host(opts=Options(retries=2, rto_init=50_000))
    host.listen(80)
    opened = []
    for vf in range(tb.nvf):
        for k in range(tb.quota):
            s = await tb.socket(vf, k)
            a = await tb.connect(s, host.ip, 80, 2000 + k)
            # Two buckets of four for a key: a few pairs may find no room while most do.
            assert a.status in (Status.OK, Status.NO_RESOURCE)
            if a.status == Status.OK:
                opened.append(s)
    assert len(opened) > tb.flows * 3 // 4
    await tb.until(lambda: all(s.established for s in opened))
    assert tb.in_use()[:2] == (tb.flows, len(opened))
    for s in opened:
        await tb.send(s, b"hello")
    await tb.until(lambda: all(s.freed == 5 for s in opened))
    await tb.finish()


@cocotb.test()
async def reset_mid_traffic(dut):
    """After a reset the card is empty and works, whatever it was doing."""
    tb = TB(dut)
    await tb.start()
    for _ in range(6):
        host = tb.host()
        server = host.listen(80)
        for k in range(4):
            s = await tb.socket(k % 2, k)
            await tb.connect(s, host.ip, 80, 10 + k)
        await tb.settle(tb.rng.randrange(1, 60))
        for c in server.conns:
            if c.state == "ESTABLISHED":
                c.send(b"q" * 4000)
        await tb.settle(tb.rng.randrange(1, 60))
        tb.hosts.clear()
        tb.to_card.clear()
        tb.to_host.clear()
        await tb.reset()
        await tb.until(lambda: tb.in_use() == (0, 0, 0))
    host = tb.host()
    server = host.listen(80)
    s = await tb.socket(1, 3)
    await tb.connect(s, host.ip, 80, 13)
    await tb.until(lambda: s.established)
    await echo_both_ways(tb, server.conns[0], s, 5000)
    await tb.finish()


@pytest.mark.parametrize("w", [64, 512])
def test_nk_tcp(w):
    run_module("nk_tcp", __file__, {"W": w, "NVF": 2, "NQS": 2, "FLOWS": 32})
