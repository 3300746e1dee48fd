# SPDX-License-Identifier: Apache-2.0
"""nk_core: bytes through established connections on a good wire."""

from __future__ import annotations

import cocotb
import pytest
from common.hostmem import Stalls
from core.core_tb import TB, run_core, vf_ip
from model import frames as fr
from model.frames import ACK, PSH
from netkernel.abi import Option, Status


async def both_ways(tb: TB, sock, conn, up: bytes, down: bytes, us: int = 60_000_000) -> None:
    if up:
        sock.send(up)
    if down:
        conn.send(down)
    tb.collect()
    await tb.until(
        lambda: len(conn.received) >= len(up) and len(sock.received) >= len(down),
        us,
        f"{len(conn.received)}/{len(up)} up, {len(sock.received)}/{len(down)} down",
    )
    assert conn.received == up, "bytes towards the wire differ"
    assert sock.received == down, "bytes from the wire differ"
    await tb.until(lambda: sock.all_acked, what="all data announced as SENT")


@cocotb.test()
@cocotb.parametrize(size=[1, 2, 63, 64, 65, 127, 128, 1459, 1460, 1461, 2920, 8191])
async def sizes(dut, size):
    """Sizes around bus beats and segments, each way."""
    tb = TB(dut)
    await tb.start()
    sock, conn = await tb.connect()
    await both_ways(tb, sock, conn, tb.rng.randbytes(size), tb.rng.randbytes(size))
    await tb.close_both(sock, conn)
    c = await tb.finish()
    assert c["tx_retransmits"] == 0
    assert c["rx_duplicate"] == 0


@cocotb.test()
async def upload(dut):
    """200 KiB from the tenant: full segments, in order, none twice."""
    tb = TB(dut, link={"delay_us": 20})
    await tb.start()
    sock, conn = await tb.connect(tx_log2=16)
    data = tb.rng.randbytes(200 * 1024)
    await both_ways(tb, sock, conn, data, b"")
    lengths = [len(f.payload) for _, w, x in tb.wire if w == "out" and (f := fr.parse(x)).payload]
    assert lengths.count(1460) > 0.9 * len(lengths), "few full segments"
    await tb.close_both(sock, conn)
    c = await tb.finish()
    assert c["tx_retransmits"] == 0


@cocotb.test()
async def download(dut):
    """200 KiB to the tenant, at least every second full segment acknowledged."""
    tb = TB(dut, link={"delay_us": 20})
    await tb.start()
    sock, conn = await tb.connect(rx_log2=16)
    await both_ways(tb, sock, conn, b"", tb.rng.randbytes(200 * 1024))
    acks = sum(1 for _, w, x in tb.wire if w == "out" and not fr.parse(x).payload)
    segments = sum(1 for _, w, x in tb.wire if w == "in" and fr.parse(x).payload)
    assert acks >= segments // 3, f"{acks} ACKs for {segments} segments"
    await tb.close_both(sock, conn)
    await tb.finish()


@cocotb.test()
@cocotb.parametrize(passive=[False, True])
async def both_at_once(dut, passive):
    tb = TB(dut, link={"delay_us": 20})
    await tb.start()
    opener = tb.accept if passive else tb.connect
    sock, conn, *listener = await opener(rx_log2=15, tx_log2=15)
    r = tb.rng
    await both_ways(tb, sock, conn, r.randbytes(100_000), r.randbytes(100_000))
    await tb.close_both(sock, conn)
    for each in listener:
        await tb.ok(each.close())
    await tb.finish()


@cocotb.test()
@cocotb.parametrize(rx_log2=[12, 13], tx_log2=[12, 13])
async def tiny_rings(dut, rx_log2, tx_log2):
    """The smallest rings, wrapped many times at odd places."""
    tb = TB(dut, link={"delay_us": 5})
    await tb.start()
    sock, conn = await tb.connect(rx_log2=rx_log2, tx_log2=tx_log2)
    data = tb.rng.randbytes(40_003)
    conn.send(tb.rng.randbytes(0))
    sent = 0
    down = tb.rng.randbytes(40_001)
    conn.send(down)
    tb.collect()
    while sent < len(data):
        n = tb.rng.randrange(1, 3000)
        sock.send(data[sent : sent + n])
        sent += n
        await tb.sleep(tb.rng.randrange(1, 50))
    await tb.until(lambda: conn.received == data and sock.received == down, 60_000_000)
    await tb.close_both(sock, conn)
    await tb.finish()


@cocotb.test()
async def many_small_writes(dut):
    """Single bytes and handfuls, faster than they can leave: none lost, order kept."""
    tb = TB(dut)
    await tb.start(logs=(6, 6, 7, 7))
    sock, conn = await tb.connect()
    data = tb.rng.randbytes(1500)
    at = 0
    while at < len(data):
        n = tb.rng.choice((1, 1, 2, 3, 17))
        sock.send(data[at : at + n])
        at += n
        if tb.rng.random() < 0.05:
            await tb.sleep(3)
    await tb.until(lambda: conn.received == data, what="every byte")
    await tb.close_both(sock, conn)
    await tb.finish()


@cocotb.test()
async def rough_host(dut):
    """The host stalls every channel at random and answers reads late."""
    tb = TB(dut, link={"delay_us": 20}, stalls=Stalls.rough())
    await tb.start()
    sock, conn = await tb.connect(rx_log2=14, tx_log2=14)
    await both_ways(tb, sock, conn, tb.rng.randbytes(60_000), tb.rng.randbytes(60_000))
    await tb.close_both(sock, conn)
    await tb.finish()


@cocotb.test()
async def small_mtu(dut):
    tb = TB(dut)
    await tb.start(mtu=576)
    sock, conn = await tb.connect()
    assert conn.mss == 536
    await both_ways(tb, sock, conn, tb.rng.randbytes(9000), tb.rng.randbytes(9000))
    biggest = max(len(x) for _, w, x in tb.wire if w == "out")
    assert biggest == 14 + 576
    await tb.close_both(sock, conn)
    await tb.finish()


@cocotb.test()
async def card_sequence_numbers_wrap(dut):
    """The card's initial number lies just below 2^32: time is moved until it does (RFC 6528)."""
    tb = TB(dut, link={"delay_us": 5})
    await tb.start()
    raw = tb.raw()
    raw.arp_now()
    tb.host.listen(80)
    warm, _ = await tb.connect(port=81)  # from here on ARP costs no time
    await tb.ok(warm.abort())
    probe = tb.tenants[0].socket()
    await tb.ok(probe.connect(tb.host.ip, 80, 3333))
    await tb.until(lambda: probe.connected)
    iss, at = tb.host.listeners[80].conns[0].irs, tb.now
    await tb.ok(probe.abort())
    await tb.until(lambda: probe.closed)
    target = at + 4 * (((1 << 32) - 12_000 - iss) % (1 << 32))
    while tb.now < target:
        await tb.sleep(min(target - tb.now, 900_000_000))
    sock = tb.tenants[0].socket()
    await tb.ok(sock.connect(tb.host.ip, 80, 3333))
    await tb.until(lambda: sock.connected)
    conn = tb.host.listeners[80].conns[1]
    assert (1 << 32) - 12_000 <= conn.irs < 1 << 32, f"ISS {conn.irs:#x}"
    await both_ways(tb, sock, conn, tb.rng.randbytes(40_000), tb.rng.randbytes(1000))
    assert conn.rcv_nxt > 1 << 32
    await tb.close_both(sock, conn)
    await tb.finish()


@cocotb.test()
@cocotb.parametrize(below=[1, 2, 700, 5000])
async def peer_sequence_numbers_wrap(dut, below):
    tb = TB(dut, link={"delay_us": 5})
    await tb.start()
    tb.host.next_isn = (1 << 32) - below
    sock, conn, _ = await tb.accept()
    assert conn.iss == (1 << 32) - below
    await both_ways(tb, sock, conn, tb.rng.randbytes(1000), tb.rng.randbytes(40_000))
    await tb.close_both(sock, conn)
    await tb.finish()


@cocotb.test()
async def clock_wraps(dut):
    """now_us passes 2^32 in mid-connection: no timer fires early, late or never."""
    tb = TB(dut, start_us=(1 << 32) - 60_000, link={"delay_us": 5})
    await tb.start()
    sock, conn = await tb.connect()
    raw = tb.raw()
    r = tb.rng
    up, down = b"", b""
    for _ in range(6):
        more_up, more_down = r.randbytes(3000), r.randbytes(3000)
        up, down = up + more_up, down + more_down
        sock.send(more_up)
        conn.send(more_down)
        tb.collect()
        await tb.sleep(20_000)
    assert tb.now > 1 << 32
    await tb.until(lambda: conn.received == up and sock.received == down)
    assert not raw.got
    await tb.close_both(sock, conn)
    c = await tb.finish()
    assert c["tx_retransmits"] == 0


@cocotb.test()
async def data_with_the_handshake_ack(dut):
    """Data in the segment that completes the handshake is not lost."""
    tb = TB(dut)
    await tb.start()
    raw = tb.raw()
    raw.arp_now()
    listener = await tb.listen(8080, credits=1)
    from core.core_tb import RawConn
    from model.frames import SYN

    conn = RawConn(raw, 5000, 8080)
    conn.put(SYN, options=fr.tcp_options(1460))
    f = await conn.expect(SYN | ACK)
    conn.ack = f.seq + 1
    conn.put(ACK | PSH, b"first words")
    kid = next(s for s in tb.tenants[0].sockets.values() if s is not listener)
    await tb.until(lambda: kid.received == b"first words")
    await conn.expect(ACK, ack=conn.seq)
    await tb.finish()


@cocotb.test()
async def info(dut):
    """INFO tells state, MSS, RTT and congestion window of a live connection."""
    tb = TB(dut, link={"delay_us": 500})
    await tb.start()
    sock, conn = await tb.connect()
    await both_ways(tb, sock, conn, tb.rng.randbytes(30_000), b"")
    job = sock.info()
    await tb.ok(job)
    srtt, cwnd = job.op_data & 0xFFFFFFFF, job.op_data >> 32
    assert 900 <= srtt < 20_000, f"srtt {srtt} us on a wire with a round trip of 1000 us"
    assert cwnd >= 10 * 1460
    assert job.size >> 16 & 15 == 6, "state ESTABLISHED"
    assert job.size >> 20 == 1460 // 4
    assert job.size & 0xFFFF == 0, "retransmissions"
    await tb.close_both(sock, conn)
    await tb.finish()


@cocotb.test()
async def initial_window_is_ten_segments(dut):
    """Without ACKs ten segments leave (RFC 6928), then slow start adds one for each ACK."""
    tb = TB(dut)
    await tb.start()
    raw = tb.raw()
    sock, conn = await tb.raw_accept(raw, wscale=7, window=65535, tx_log2=17)
    sock.send(bytes(100_000))
    await tb.sleep(3000)
    first = raw.skip()
    assert [len(f.payload) for f in first] == [1460] * 10
    conn.put(ACK, ack=first[1].seq)  # one segment acknowledged: it left, and one more may be out
    await tb.sleep(1000)
    assert len(raw.skip()) == 2
    await tb.finish()


@cocotb.test()
async def nodelay(dut):
    """With TCP_NODELAY what is less than a segment waits for no ACK."""
    tb = TB(dut)
    await tb.start()
    raw = tb.raw()
    sock, _ = await tb.raw_accept(raw)
    await tb.ok(sock.setopt(Option.NODELAY, 1))
    sock.send(bytes(1460 + 100))
    await tb.sleep(1000)
    assert [len(f.payload) for f in raw.skip()] == [1460, 100]
    sock.send(b"and more")
    await tb.sleep(1000)
    assert [f.payload for f in raw.skip()] == [b"and more"]
    await tb.finish()


@cocotb.test()
async def nagle(dut):
    """Nagle's rule in Minshall's form: a small segment waits for the ACK of a small one before it, not of full ones."""
    tb = TB(dut)
    await tb.start()
    raw = tb.raw()
    sock, conn = await tb.raw_accept(raw)
    raw.skip()
    sock.send(bytes(1460 + 100))
    first = [await conn.get(), await conn.get("small segment behind a full one", 1000)]
    assert [len(f.payload) for f in first] == [1460, 100]
    for piece in (b"two", b" small", b" pieces"):
        sock.send(piece)
    await raw.silence(1000)
    conn.put(ACK, ack=first[1].seq)  # the full one is acknowledged, the small one is not
    await raw.silence(1000)
    sock.send(bytes(1460 - 16))  # now a full segment waits
    full = await conn.get("full segment", 1000)
    assert full.payload == b"two small pieces" + bytes(1460 - 16)
    conn.ack = full.seq + 1460
    conn.put(ACK)
    sock.send(b"first")
    await conn.expect(ACK, "alone", 1000, payload=b"first")
    sock.send(b"second")
    await raw.silence(1000)
    conn.ack += 5
    conn.put(ACK)
    await conn.expect(ACK, "after the ACK", 1000, payload=b"second")
    sock.send(b"last")
    await raw.silence(1000)
    await tb.ok(sock.shutdown())
    await conn.expect(ACK | fr.FIN, "FIN takes it along", 1000, payload=b"last")
    await tb.finish()


@cocotb.test()
async def cork(dut):
    """TCP_CORK: full segments only, the rest 200 ms later or when the cork is pulled."""
    tb = TB(dut)
    await tb.start()
    raw = tb.raw()
    sock, conn = await tb.raw_accept(raw)
    raw.skip()
    await tb.ok(sock.setopt(Option.CORK, 1))
    sock.send(b"c" * 100)
    start = tb.now
    await raw.silence(150_000)
    await conn.expect(ACK, "end of the wait", payload=b"c" * 100)
    assert 195_000 <= tb.now - start <= 230_000, tb.now - start
    conn.ack += 100
    conn.put(ACK)
    sock.send(b"d" * 1500)
    await conn.expect(ACK, "full segment", 1000, payload=b"d" * 1460)
    conn.ack += 1460
    conn.put(ACK)
    await raw.silence(1000)
    await tb.ok(sock.setopt(Option.CORK, 0))
    await conn.expect(ACK, "pulled", 1000, payload=b"d" * 40)
    await tb.finish()


@cocotb.test()
async def delayed_ack(dut):
    """A lone segment is acknowledged after the delay set, every second one at once."""
    tb = TB(dut)
    await tb.start()
    raw = tb.raw()
    sock, conn = await tb.raw_accept(raw, auto_credit=False)
    raw.skip()
    await tb.ok(sock.setopt(Option.QUICKACK, 0))
    start = tb.now
    conn.put(ACK, bytes(1000))
    await conn.expect(ACK, "delayed ACK", ack=conn.seq)
    assert 18_000 <= tb.now - start <= 25_000, tb.now - start
    start = tb.now
    conn.put(ACK, bytes(1460))
    conn.put(ACK, bytes(1460))
    await conn.expect(ACK, "ACK of two segments", ack=conn.seq)
    assert tb.now - start < 1000
    await tb.until(lambda: len(sock.received) == 1000 + 2920)
    await tb.finish()


@cocotb.test()
async def quick_acks(dut):
    """At the start, and again after QUICKACK, 15 segments in a row are acknowledged at once; then ACKs are delayed."""
    tb = TB(dut)
    await tb.start()
    raw = tb.raw()
    sock, conn = await tb.raw_accept(raw)
    raw.skip()
    for turn in range(2):
        for i in range(15):
            conn.put(ACK, bytes(100))
            await conn.expect(ACK, f"ACK {i} in turn {turn}", 1000, ack=conn.seq)
        start = tb.now
        conn.put(ACK, bytes(100))
        await conn.expect(ACK, "delayed ACK", ack=conn.seq)
        assert 18_000 <= tb.now - start <= 25_000, tb.now - start
        await tb.ok(sock.setopt(Option.QUICKACK, 1))
        await raw.silence(30_000)
    await tb.finish()


@cocotb.test()
async def ping_pong(dut):
    """Requests and answers in turn: each ACK rides on data where it can."""
    tb = TB(dut, link={"delay_us": 10})
    await tb.start()
    sock, conn = await tb.connect()
    conn.on_data = lambda c, data: c.send(data[::-1])
    log = b""
    for i in range(20):
        message = tb.rng.randbytes(tb.rng.randrange(1, 300))
        sock.send(message)
        log += message[::-1]
        await tb.until(lambda: sock.received == log, 1_000_000, f"answer {i}")  # noqa: B023
    await tb.close_both(sock, conn)
    c = await tb.finish()
    assert c["tx_retransmits"] == 0


@cocotb.test()
async def vf_counters(dut):
    """The counters of a VF agree with what went over the wire."""
    tb = TB(dut, link={"delay_us": 20})
    await tb.start(vfs=2)
    sock, conn = await tb.connect()
    await both_ways(tb, sock, conn, tb.rng.randbytes(10_000), tb.rng.randbytes(7_000))
    assert await tb.counter("tx_bytes", 0) == 10_000
    assert await tb.counter("rx_bytes", 0) == 7_000
    assert await tb.counter("flows_opened", 0) >= 1
    assert await tb.counter("job_nqes", 0) == 2
    assert await tb.counter("tx_bytes", 1) == 0
    await tb.close_both(sock, conn)
    assert await tb.counter("completions", 0) == 3
    c = await tb.finish()
    frames_out = sum(1 for _, w, _ in tb.wire if w == "out")
    assert c["tx_frames"] == frames_out
    assert c["rx_frames"] == sum(1 for _, w, _ in tb.wire if w == "in")


@cocotb.test()
async def trust_no_ip_length(dut):
    """Ethernet padding behind a short segment is not payload."""
    tb = TB(dut)
    await tb.start()
    raw = tb.raw()
    sock, conn = await tb.raw_accept(raw)
    segment = fr.tcp(raw.ip, vf_ip(0), 5000, 8080, conn.seq, conn.ack, ACK, 65535, b"abc")
    packet = fr.ipv4(raw.ip, vf_ip(0), fr.IP_TCP, segment)
    tb.to_card(fr.ethernet(0x024E4B000000, raw.mac, fr.ETH_IPV4, packet) + b"\xaa" * 20)
    await tb.until(lambda: len(sock.received) >= 3)
    await tb.sleep(30_000)
    assert sock.received == b"abc"
    assert (await tb.status(sock.info())) == Status.OK
    await tb.finish()


def test_nk_core_data():
    run_core(__file__)


@pytest.mark.slow
def test_nk_core_data_w64():
    run_core(__file__, 64, "sizes|tiny_rings|both_at_once")
