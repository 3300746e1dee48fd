# SPDX-License-Identifier: Apache-2.0
"""nk_core against floods, forged messages and peers that have gone: cookies, rate limits, path MTU, timers for the silent."""

from __future__ import annotations

import cocotb
from core.core_tb import TB, Raw, RawConn, run_core, vf_ip, vf_mac
from model import frames as fr
from model.frames import ACK, FIN, RST, SYN
from netkernel.abi import PF, Option, Status

M = 1460


async def opened(dut, regs=None, **kw):
    tb = TB(dut)
    await tb.start(regs=regs)
    raw = tb.raw()
    sock, conn = await tb.raw_accept(raw, **{"tx_log2": 16, **kw})
    raw.skip()
    return tb, raw, sock, conn


async def syns(tb: TB, raw: Raw, ports: range, port: int = 8080) -> dict[int, int]:
    """A SYN from each of these ports, as fast as the card can take them up; gives their sequence numbers."""
    seqs = {p: tb.rng.getrandbits(32) for p in ports}
    for p, seq in seqs.items():
        raw.tcp(p, port, seq, 0, SYN, options=fr.tcp_options(1400, 7, sack_ok=True, ts=(1, 0)))
        await tb.sleep(3)
    return seqs


# ---- SYN flood -----------------------------------------------------------------------------------


@cocotb.test()
async def cookies(dut):
    """Hundreds of SYNs from strangers hold three quarters of the credits; the rest get cookies, by which a client comes in."""
    tb = TB(dut)
    tenant = await tb.start(regs={PF.RETRIES: 12 | 1 << 8 | 60 << 16})
    raw = tb.raw()
    raw.arp_now()
    listener = await tb.listen(8080, credits=8)
    socks = list(tenant.sockets.values())
    used = await tb.pf_read(PF.HASH_IN_USE)
    seqs = await syns(tb, raw, range(1000, 1300))
    await tb.sleep(1000)
    answers = {f.dport: f for f in raw.skip() if f.flags == SYN | ACK}
    assert set(answers) == set(seqs), "every SYN is answered"
    assert all(f.ack == seqs[p] + 1 & 0xFFFFFFFF for p, f in answers.items())
    half = [p for p, f in answers.items() if f.ts is not None]
    assert len(half) == 6 == await tb.pf_read(PF.HASH_IN_USE) - used, "the others hold no state"
    c = await tb.counters("tx_cookies", "rx_syn_no_credit", "rx_syn_no_room")
    assert c == {"tx_cookies": 294, "rx_syn_no_credit": 0, "rx_syn_no_room": 0}
    assert len({f.seq for f in answers.values()}) == 300, "numbers differ"

    # A forged ACK opens nothing; the answer to a cookie does, with the MSS that its SYN asked for or less.
    last = answers[1299]
    assert last.ts is None and not last.sack_ok and last.wscale is None
    for wrong in (1, 1 << 3, 1 << 24, 1 << 31):
        raw.tcp(1299, 8080, seqs[1299] + 1, last.seq + 1 + wrong, ACK)
        f = await raw.next("RST for a forged cookie", 1000)
        assert (f.flags & RST, f.seq) == (RST, last.seq + 1 + wrong & 0xFFFFFFFF), f
    raw.tcp(1298, 8080, seqs[1299] + 1, last.seq + 1, ACK)  # somebody else's cookie
    assert (await raw.next("RST", 1000)).flags & RST
    assert not any(s.connected for s in socks)
    conn = RawConn(raw, 1299, 8080, seqs[1299] + 1)
    conn.ack = last.seq + 1
    conn.put(ACK)
    await tb.until(lambda: any(s.connected for s in socks), 1000, "ACCEPTED by a cookie")
    sock = next(s for s in socks if s.connected)
    assert sock.peer == (raw.ip, 1299)
    conn.put(ACK, b"hello")
    await conn.expect(ACK, "ACK of data", 1000, ack=conn.seq)
    await tb.until(lambda: sock.received == b"hello", 1000)
    sock.send(bytes(3000))
    f = await conn.get("data", 1000)
    assert 536 <= len(f.payload) <= 1400
    c = await tb.counters("rx_cookies", "rx_cookies_bad")
    assert c == {"rx_cookies": 1, "rx_cookies_bad": 5}
    raw.tcp(1299, 8080, conn.seq, 0, RST)
    await tb.until(lambda: sock.ended is not None)

    # Who never answers is given up; the credits' sockets come back, and the listener serves as before.
    await tb.sleep(10_000_000)
    raw.skip()
    assert await tb.pf_read(PF.HASH_IN_USE) == used
    await tb.ok(listener.close())
    await tb.until(lambda: listener.closed)
    raw.tcp(1297, 8080, seqs[1297] + 1, answers[1297].seq + 1, ACK)
    assert (await raw.next("no listener any more", 1000)).flags & RST
    await tb.finish()


@cocotb.test()
async def old_cookies(dut):
    """A cookie is good for one or two turns of 67 s, no longer."""
    tb = TB(dut)
    await tb.start(regs={PF.RETRIES: 12 | 1 << 8 | 60 << 16})
    raw = tb.raw()
    raw.arp_now()
    listener = await tb.listen(8080, credits=4)
    seqs = await syns(tb, raw, range(2000, 2010))
    await tb.sleep(1000)
    answers = {f.dport: f for f in raw.skip() if f.flags == SYN | ACK}
    cookie = [p for p, f in answers.items() if f.ts is None]
    await tb.sleep(150_000_000)
    await syns(tb, raw, range(3000, 3010))  # cookies are still being made
    await tb.sleep(1000)
    raw.skip()
    p = cookie[0]
    raw.tcp(p, 8080, seqs[p] + 1, answers[p].seq + 1, ACK)
    assert (await raw.next("RST", 1000)).flags & RST
    assert await tb.counter("rx_cookies") == 0
    await tb.ok(listener.close())
    await tb.finish()


@cocotb.test()
async def flood_beside_data(dut):
    """A flood of SYNs at line rate holds up no established connection, of the flooded tenant or another."""
    tb = TB(dut, link={"delay_us": 20})
    await tb.start(vfs=2, regs={PF.RETRIES: 12 | 1 << 8 | 60 << 16})
    raw = tb.raw()
    raw.arp_now()
    own, own_conn = await tb.connect(0, rx_log2=16, tx_log2=16)
    other, other_conn = await tb.connect(1, rx_log2=16, tx_log2=16)
    listener = await tb.listen(8080, credits=4)
    up, down = tb.rng.randbytes(40 * M), tb.rng.randbytes(40 * M)
    start, before = tb.now, await tb.counter("clocks")
    for sock, conn in ((own, own_conn), (other, other_conn)):
        sock.send(up)
        conn.send(down)
    tb.collect()
    n = 0

    def flood() -> None:
        """The wire is never empty."""
        nonlocal n
        while len(tb.shim.rx_queue) < 40:
            n += 1
            options = fr.tcp_options(1460)
            segment = fr.tcp(raw.ip, vf_ip(0), n & 0xFFFF, 8080, n, 0, SYN, 1000, b"", options)
            packet = fr.ipv4(raw.ip, vf_ip(0), fr.IP_TCP, segment)
            tb.inject(fr.ethernet(vf_mac(0), raw.mac, fr.ETH_IPV4, packet))

    def done() -> bool:
        flood()
        return all(
            c.received == up and s.received == down
            for s, c in ((own, own_conn), (other, other_conn))
        )

    # On a quiet wire it takes a few round trips of 40 us.
    await tb.until(done, 1_000, "bytes of the established connections")
    clocks = await tb.counter("clocks") - before
    c = await tb.counters("tx_rto", "tx_retransmits", "tx_cookies", "rx_syn_no_room", "rx_segments")
    dut._log.info("%d SYNs in %d us, %d clocks: %s", n, tb.now - start, clocks, c)
    assert n > clocks // 4, "no flood"
    assert (c["tx_rto"], c["tx_retransmits"]) == (0, 0)
    assert c["tx_cookies"] > 20 and c["rx_syn_no_room"] > n // 2
    await tb.sleep(10_000_000)
    await tb.ok(listener.close())
    await tb.close_both(own, own_conn)
    await tb.close_both(other, other_conn)
    await tb.finish()


# ---- rate limits ---------------------------------------------------------------------------------


@cocotb.test()
async def challenges_are_limited(dut):
    """RFC 5961, 7: at most a bucket full of challenge ACKs at once, one more a millisecond; RSTs have their own."""
    tb, raw, sock, conn = await opened(dut)

    async def challenges(n: int) -> int:
        for _ in range(n):
            conn.put(RST, seq=conn.seq + 100)
        await tb.sleep(300)
        got = raw.skip()
        assert all(f.flags == ACK and f.ack == conn.seq for f in got)
        return len(got)

    first = await challenges(400)
    assert 200 <= first <= 256, first
    counted = await tb.counters("tx_challenge_acks", "challenge_limited")
    assert counted == {"tx_challenge_acks": first, "challenge_limited": 400 - first}
    await tb.sleep(20 * 1024)
    assert 19 <= await challenges(400) <= 22
    # The connection works as before, and strangers still get their RST.
    conn.put(ACK, b"data")
    await conn.expect(ACK, "ACK", 1000, ack=conn.seq)
    raw.tcp(7, 7, 1, 2, ACK)
    assert (await raw.next("RST", 1000)).flags & RST
    assert sock.ended is None
    await tb.finish()


@cocotb.test()
async def resets_are_limited(dut):
    """RSTs for segments to nobody: a bucket full at once; challenge ACKs are not held up by it."""
    tb, raw, _, conn = await opened(dut)
    for i in range(400):
        raw.tcp(7, i, 1, 2, ACK)
    await tb.sleep(300)
    got = raw.skip()
    assert 200 <= len(got) <= 256 and all(f.flags == RST and f.seq == 2 for f in got)
    c = await tb.counters("tx_rst", "challenge_limited", "rx_no_flow")
    assert c == {"tx_rst": len(got), "challenge_limited": 400 - len(got), "rx_no_flow": 400}
    conn.put(RST, seq=conn.seq + 100)
    await conn.expect(ACK, "challenge ACK", 1000)
    await tb.finish()


@cocotb.test()
async def stale_look_up(dut):
    """Segments right behind the one that ends their flow, looked up while it was still there: the flow is not theirs."""
    tb, raw, sock, conn = await opened(dut)
    conn.put(RST)
    for i in range(5):
        conn.put(ACK, b"late", ack=conn.ack + i)
    await tb.until(lambda: sock.ended == Status.PEER_RESET, 1000)
    await tb.sleep(100)
    got = raw.skip()
    assert [(f.flags, f.seq) for f in got] == [(RST, conn.ack + i) for i in range(5)], got
    assert await tb.counter("rx_no_flow") == 5 and not sock.received
    await tb.finish()


# ---- path MTU --------------------------------------------------------------------------------------


@cocotb.test()
async def path_mtu(dut):
    """RFC 1191: what was too large goes again at once in smaller segments; forged messages change nothing."""
    tb, raw, sock, conn = await opened(dut, wscale=7)
    data = tb.rng.randbytes(6 * M)
    sock.send(data)
    sent = [await conn.get(f"segment {i}", 1000) for i in range(6)]
    job = sock.info()
    await tb.ok(job)
    cwnd = job.op_data >> 32

    def tell(mtu: int, seq: int, port: int = conn.lport) -> None:
        """The router quotes the IP header and 8 bytes of a segment."""
        quoted = fr.tcp(vf_ip(0), raw.ip, conn.rport, port, seq & 0xFFFFFFFF, 0, ACK, 0)
        quoted = fr.ipv4(vf_ip(0), raw.ip, fr.IP_TCP, quoted)
        packet = fr.ipv4(fr.ip("10.1.0.77"), vf_ip(0), fr.IP_ICMP, fr.frag_needed(quoted, mtu))
        tb.to_card(fr.ethernet(vf_mac(0), raw.mac, fr.ETH_IPV4, packet))

    for mtu, seq, port in (
        (1000, sent[0].seq - 1, conn.lport),  # acknowledged long ago
        (1000, sent[5].seq + M, conn.lport),  # not sent
        (1000, sent[0].seq, 4999),  # no such connection
        (1500, sent[0].seq, conn.lport),  # not smaller
        (40, sent[0].seq, conn.lport),  # no link has that
    ):
        tell(mtu, seq, port)
        await tb.sleep(20)
    await raw.silence(1000)
    assert await tb.counters("rx_ptb", "rx_ptb_bad") == {"rx_ptb": 0, "rx_ptb_bad": 5}

    tell(1000, sent[2].seq)
    got = bytearray()
    while len(got) < len(data):
        f = await conn.get("again, smaller", 1000)
        assert len(f.payload) <= 960, f
        assert f.seq == sent[0].seq + len(got) & 0xFFFFFFFF
        got += f.payload
        conn.ack = f.seq + len(f.payload)
        conn.put(ACK)
    assert got == data
    await tb.until(lambda: sock.all_acked)
    job = sock.info()
    await tb.ok(job)
    assert job.op_data >> 32 >= cwnd, "no congestion"
    assert job.size >> 20 == 960 // 4
    c = await tb.finish()
    assert (c["rx_ptb"], c["tx_rto"]) == (1, 0)


# ---- TIME_WAIT -----------------------------------------------------------------------------------


async def time_wait(dut, **kw):
    """A connection that the card has closed first, in TIME_WAIT, and a listener on its port."""
    tb, raw, sock, conn = await opened(dut, **kw)
    await tb.ok(sock.close())
    f = await conn.expect(ACK | FIN, "FIN", 1000)
    conn.ack = f.seq + 1
    conn.put(ACK | FIN)
    await conn.expect(ACK, "last ACK", 1000, ack=conn.seq)
    listener = await tb.listen(8080, 1)
    return tb, raw, sock, conn, listener


@cocotb.test()
@cocotb.parametrize(ts=[None, 1000])
async def time_wait_reuse(dut, ts):
    """RFC 6191: a SYN with a newer timestamp, or a higher number without, opens anew at once."""
    tb, raw, sock, conn, listener = await time_wait(dut, ts=ts)
    # An old SYN is answered as RFC 5961 has it, and ends nothing.
    old = conn.seq - 100
    options = fr.tcp_options(M, ts=None if ts is None else (ts - 1, 0))
    raw.tcp(conn.lport, 8080, old if ts is None else conn.seq + 5, 0, SYN, options=options)
    await conn.expect(ACK, "challenge ACK", 1000, ack=conn.seq)
    assert not sock.closed
    new = conn.seq + 1 if ts is None else old  # with timestamps the number does not matter
    options = fr.tcp_options(M, ts=None if ts is None else (ts + 1, 0))
    raw.tcp(conn.lport, 8080, new, 0, SYN, options=options)
    f = await conn.expect(ACK | SYN, "SYN,ACK of the new one", 1000, ack=new + 1)
    await tb.until(lambda: sock.closed, 1000, "CLOSED of the old one")
    again = RawConn(raw, conn.lport, 8080, new + 1)
    again.ack, again.tsval = f.seq + 1, None if ts is None else ts + 2
    again.put(ACK, b"new life")
    child = next(s for s in tb.tenants[0].sockets.values() if s.listener is listener)
    await tb.until(lambda: child.received == b"new life", 1000)
    await tb.finish()


# ---- the silent ----------------------------------------------------------------------------------


@cocotb.test()
async def keepalive(dut):
    """RFC 9293, 3.8.4: a probe after the idle time; an answer starts it anew; the set number without one ends it."""
    tb, raw, sock, conn = await opened(dut)
    await raw.silence(5_000_000)
    conn.put(ACK, b"x")
    await conn.expect(ACK, "ACK", ack=conn.seq)
    for option, value in (
        (Option.KEEPIDLE, 4),
        (Option.KEEPINTVL, 2),
        (Option.KEEPCNT, 3),
        (Option.KEEPALIVE, 1),
    ):
        await tb.ok(sock.setopt(option, value))
    for _ in range(3):
        start = tb.now
        f = await conn.expect(ACK, "probe", 8_000_000, seq=conn.ack - 1, ack=conn.seq, payload=b"")
        assert 3_000_000 <= tb.now - start <= 6_000_000, tb.now - start
        conn.put(ACK)
    start, times = tb.now, []
    while sock.ended is None:
        await tb.until(lambda: sock.ended is not None or len(raw.got) > raw._seen, 9_000_000)
        for f in raw.skip():
            times.append((tb.now - start) / 1e6)
            if f.flags == ACK:
                assert f.seq == conn.ack - 1
    assert sock.ended == Status.TIMED_OUT
    probes = times[:3]
    assert 3 <= probes[0] <= 6
    assert all(1.5 <= b - a <= 3.2 for a, b in zip(probes, probes[1:], strict=False)), times
    assert 7 <= (tb.now - start) / 1e6 <= 14, times
    c = await tb.finish()
    assert c["tx_keepalive"] == 6


@cocotb.test()
@cocotb.parametrize(shut=[False, True])
async def user_timeout(dut, shut):
    """RFC 5482: unacknowledged for that long, or a window shut that answers nothing: the end, in time."""
    tb, raw, sock, conn = await opened(dut)
    await tb.ok(sock.setopt(Option.USER_TIMEOUT, 7))
    sock.send(bytes(1000))
    await tb.sleep(1000)
    if shut:
        conn.ack += 1000
        conn.put(ACK, window=0)
        await tb.until(lambda: sock.all_acked)
        sock.send(b"more")
    start = tb.now
    await tb.until(lambda: sock.ended is not None, 20_000_000)
    assert sock.ended == Status.TIMED_OUT
    assert 6_500_000 <= tb.now - start <= 9_500_000, tb.now - start
    raw.skip()
    await tb.finish()


# ---- next hop ------------------------------------------------------------------------------------


@cocotb.test()
@cocotb.parametrize(flows=[1, 16, 24])
async def arp_reply_wakes(dut, flows):
    """Flows that wait for a next hop go on as soon as it answers: 16 of them at once, more with their own timer."""
    tb = TB(dut)
    tenant = await tb.start()
    raw = tb.raw()
    raw.answer_arp = False
    for i in range(flows):
        tenant.socket(12, 12).connect(raw.ip, 2000 + i)
    asked = lambda: [f for _, w, f in tb.wire if w == "out" and fr.parse(f).kind == "arp"]  # noqa: E731
    await tb.until(lambda: len(asked()) >= 1, 1000, "ARP request")
    await tb.sleep(7_000)
    assert not raw.got
    start = tb.now
    request = fr.parse(asked()[0])
    tb.to_card(fr.arp(2, raw.mac, raw.ip, request.sha, request.spa))
    await tb.until(lambda: len(raw.got) >= min(flows, 16), 1000, "SYNs")
    assert tb.now - start < 1000
    await tb.until(lambda: len(raw.got) == flows, 50_000, "the other SYNs")
    assert {f.dport for f in raw.got} == {2000 + i for i in range(flows)}
    assert all(f.flags == SYN for f in raw.got)
    await tb.finish()


def test_nk_core_defence():
    run_core(__file__)
