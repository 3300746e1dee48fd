# SPDX-License-Identifier: Apache-2.0
"""nk_core: segments out of order, overlapping, repeated, outside the window."""

from __future__ import annotations

import cocotb
from core.core_tb import TB, run_core
from model.frames import ACK, FIN, SYN
from netkernel.abi import Option

MSS = 1000


async def opened(dut, **socket):
    tb = TB(dut)
    await tb.start()
    raw = tb.raw()
    sock, conn = await tb.raw_accept(raw, **{"auto_credit": False, "rx_log2": 15, **socket})
    raw.skip()
    return tb, raw, sock, conn


@cocotb.test()
async def one_hole(dut):
    """A segment ahead is held, answered by a duplicate ACK at once; the hole filled, both appear."""
    tb, _, sock, conn = await opened(dut)
    start = conn.seq
    a, b = tb.rng.randbytes(MSS), tb.rng.randbytes(MSS)
    conn.put(ACK, b, seq=start + MSS)
    sent = tb.now
    await conn.expect(ACK, "duplicate ACK", ack=start)
    assert tb.now - sent < 1000, "the duplicate ACK came late"
    assert not sock.received
    conn.put(ACK, a, seq=start)
    await conn.expect(ACK, "ACK of both", ack=start + 2 * MSS)
    await tb.until(lambda: sock.received == a + b)
    c = await tb.finish()
    assert c["rx_out_of_order"] == 1


@cocotb.test()
async def permutations(dut):
    """Up to five segments in every kind of order: four intervals hold them all."""
    tb, raw, sock, conn = await opened(dut)
    want = b""
    for _ in range(25):
        n = tb.rng.randrange(2, 6)
        parts = [tb.rng.randbytes(tb.rng.randrange(1, 300)) for _ in range(n)]
        starts, at = [], conn.seq
        for part in parts:
            starts.append(at)
            at += len(part)
        for i in tb.rng.sample(range(n), n):
            conn.put(ACK, parts[i], seq=starts[i])
        conn.seq = at & 0xFFFFFFFF
        want += b"".join(parts)
        await tb.until(lambda: sock.received == want, 1_000_000, "all parts")  # noqa: B023
        sock.give_credit()
        await tb.sleep(30_000)  # the last ACK may be delayed
        acks = raw.skip()
        assert acks[-1].ack == conn.seq
    c = await tb.finish()
    assert c["rx_ooo_no_room"] == 0


@cocotb.test()
async def random_overlaps(dut):
    """Pieces of every size at every place, overlapping, repeated: the stream comes out once."""
    tb, raw, sock, conn = await opened(dut)
    base = conn.seq
    data = tb.rng.randbytes(20_000)
    done = 0
    for _ in range(150):
        s = min(len(data) - 1, max(0, done + tb.rng.randrange(-600, 1500)))
        e = min(len(data), s + tb.rng.randrange(1, 1400))
        conn.put(ACK, data[s:e], seq=base + s)
        await tb.sleep(tb.rng.randrange(1, 60))
        done = len(sock.received)
        assert data.startswith(bytes(sock.received))
        if tb.rng.random() < 0.3:
            sock.give_credit()
    sock.give_credit()
    for s in range(done - done % MSS, len(data), MSS):
        conn.put(ACK, data[s : s + MSS], seq=base + s)
        await tb.sleep(60)
        sock.give_credit()
    await tb.until(lambda: sock.received == data)
    raw.skip()
    await tb.finish()


@cocotb.test()
async def more_holes_than_intervals(dut):
    """Six holes: what finds no interval is dropped and counted, nothing is lost in the end."""
    tb, raw, sock, conn = await opened(dut)
    base = conn.seq
    data = tb.rng.randbytes(14 * 100)
    for i in range(1, 14, 2):
        conn.put(ACK, data[100 * i : 100 * i + 100], seq=base + 100 * i)
    await tb.sleep(2000)
    assert all(f.ack == base for f in raw.skip())
    assert await tb.counter("rx_ooo_no_room") >= 1
    for i in range(14):
        conn.put(ACK, data[100 * i : 100 * i + 100], seq=base + 100 * i)
    await tb.until(lambda: sock.received == data)
    await tb.finish()


@cocotb.test()
async def repeated_segment(dut):
    """An old segment again: an ACK at once, no DATA, nothing overwritten."""
    tb, _, sock, conn = await opened(dut)
    await tb.ok(sock.setopt(Option.QUICKACK, 0))
    start = conn.seq
    conn.put(ACK, b"x" * 500)
    conn.put(ACK, b"y" * 500)
    await conn.expect(ACK, ack=start + 1000)
    conn.put(ACK, b"x" * 500, seq=start)
    await conn.expect(ACK, "ACK of a repeated segment", ack=start + 1000)
    await tb.sleep(1000)
    assert sock.received == b"x" * 500 + b"y" * 500
    c = await tb.finish()
    assert c["rx_duplicate"] + c["rx_unacceptable"] >= 1


@cocotb.test()
async def outside_the_window(dut):
    """Data left and right of the window: an ACK, a count, no byte placed."""
    tb, _, sock, conn = await opened(dut, rx_log2=12)
    start = conn.seq
    conn.put(ACK, b"r" * 100, seq=start + 4096)
    await conn.expect(ACK, "ACK of data right of the window", ack=start)
    conn.put(ACK, b"l" * 100, seq=start - 5000)
    await conn.expect(ACK, "ACK of data left of the window", ack=start)
    await tb.sleep(1000)
    assert not sock.received
    c = await tb.finish()
    assert c["rx_unacceptable"] == 2


@cocotb.test()
async def beyond_the_right_edge_is_cut(dut):
    """A segment that crosses the right edge: its part inside is taken."""
    tb, _, sock, conn = await opened(dut, rx_log2=12)
    start = conn.seq
    data = tb.rng.randbytes(5 * 900)
    for i in range(5):
        conn.put(ACK, data[900 * i : 900 * i + 900], seq=start + 900 * i)
    await tb.sleep(50_000)
    assert data.startswith(bytes(sock.received))
    assert 3600 <= len(sock.received) <= 4096
    sock.give_credit()
    await tb.sleep(1000)  # until the window is open again
    at = len(sock.received)
    conn.put(ACK, data[at:], seq=start + at)
    await tb.until(lambda: sock.received == data)
    await tb.finish()


@cocotb.test()
async def fin_ahead_of_data(dut):
    """A FIN that overtakes its data counts only when the data is there."""
    tb, _, sock, conn = await opened(dut)
    start = conn.seq
    conn.put(ACK | FIN, b"end", seq=start + 500)
    await conn.expect(ACK, ack=start)
    await tb.sleep(2000)
    assert not sock.peer_closed
    conn.put(ACK, b"d" * 500, seq=start)
    await conn.expect(ACK, "ACK of data and FIN", ack=start + 504)
    await tb.until(lambda: sock.peer_closed)
    assert sock.received == b"d" * 500 + b"end"
    await tb.finish()


@cocotb.test()
async def empty_fin_ahead_of_data(dut):
    tb, _, sock, conn = await opened(dut)
    start = conn.seq
    conn.put(ACK | FIN, seq=start + 700)
    await conn.expect(ACK, ack=start)
    conn.put(ACK, b"b" * 400, seq=start + 300)
    conn.put(ACK, b"a" * 300, seq=start)
    await tb.until(lambda: sock.peer_closed)
    assert sock.received == b"a" * 300 + b"b" * 400
    await tb.finish()


@cocotb.test()
async def holes_near_the_ring_end(dut):
    """Out-of-order data that wraps in the RX ring lands at its place."""
    tb, raw, sock, conn = await opened(dut, rx_log2=12)
    want = b""
    for _ in range(12):
        parts = [tb.rng.randbytes(700) for _ in range(3)]
        at = conn.seq
        for i in (2, 1, 0):
            conn.put(ACK, parts[i], seq=at + 700 * i)
        conn.seq = at + 2100 & 0xFFFFFFFF
        want += b"".join(parts)
        await tb.until(lambda: sock.received == want, 1_000_000)  # noqa: B023
        sock.give_credit()
        await tb.sleep(100)
        raw.skip()
    await tb.finish()


@cocotb.test()
async def syn_in_an_established_connection(dut):
    """RFC 5961: a SYN is challenged by an ACK, the connection lives on."""
    tb, _, sock, conn = await opened(dut)
    conn.put(SYN, seq=conn.seq)
    await conn.expect(ACK, "challenge ACK", ack=conn.seq)
    conn.put(ACK, b"alive")
    await tb.until(lambda: sock.received == b"alive")
    await tb.finish()


@cocotb.test()
async def segment_without_ack_is_dropped(dut):
    tb, raw, sock, conn = await opened(dut)
    conn.put(0, b"no ack bit", seq=conn.seq)
    await tb.sleep(50_000)
    assert not sock.received
    raw.skip()
    conn.put(ACK, b"with")
    await tb.until(lambda: sock.received == b"with")
    await tb.finish()


@cocotb.test()
async def ack_of_data_never_sent(dut):
    """Answered by an ACK, counted, and its payload is not taken."""
    tb, _, sock, conn = await opened(dut)
    conn.put(ACK, b"bad", seq=conn.seq, ack=conn.ack + 1000)
    await conn.expect(ACK, ack=conn.seq)
    await tb.sleep(30_000)
    assert not sock.received
    c = await tb.finish()
    assert c["rx_bad_ack"] == 1


def test_nk_core_order():
    run_core(__file__)
