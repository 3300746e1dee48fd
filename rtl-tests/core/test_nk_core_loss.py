# SPDX-License-Identifier: Apache-2.0
"""nk_core as a sender: RTO, fast retransmit, NewReno, window probes; each by hand-made ACKs."""

from __future__ import annotations

import cocotb
from core.core_tb import TB, RawConn, run_core
from model.frames import ACK, FIN
from netkernel.abi import PF, Status

M = 1460


async def opened(dut, regs=None, link=None, **kw):
    tb = TB(dut, link=link)
    await tb.start(regs=regs)
    raw = tb.raw()
    args = {"tx_log2": 17, "wscale": 7, "window": 65535, **kw}
    sock, conn = await tb.raw_accept(raw, **args)
    raw.skip()
    return tb, raw, sock, conn


async def burst(tb: TB, sock, conn: RawConn, segments: int) -> list:
    """Send so many full segments' worth and take those that leave; conn.ack = the first's number."""
    sock.send(tb.rng.randbytes(segments * M))
    return [await conn.get(f"segment {i}") for i in range(min(10, segments))]


@cocotb.test()
async def retransmission_by_timer(dut):
    """RFC 6298: the first unacknowledged segment again after RTO, then doubled each time."""
    tb, raw, sock, conn = await opened(dut)
    sock.send(tb.rng.randbytes(1000))  # less than a segment: no sign of a path with a smaller MTU
    first = await conn.get()
    times = [tb.now]
    for _ in range(4):
        again = await conn.get("retransmission", 60_000_000)
        assert (again.seq, again.payload) == (first.seq, first.payload)
        times.append(tb.now)
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    assert 199_000 <= gaps[0] <= 1_100_000, gaps
    for a, b in zip(gaps, gaps[1:], strict=False):
        assert 1.9 < b / a < 2.1, gaps
    conn.ack = first.seq + 1000
    conn.put(ACK)
    await tb.until(lambda: sock.all_acked)
    raw.skip()
    await raw.silence(5_000_000)
    c = await tb.finish()
    assert (c["tx_rto"], c["tx_retransmits"], c["tx_blackhole"]) == (4, 4, 0)


@cocotb.test()
async def black_hole(dut):
    """RFC 4821: full segments that vanish three times in a row are sent in smaller ones from then on."""
    tb, _, sock, conn = await opened(dut)
    data = tb.rng.randbytes(3 * M)
    sock.send(data)
    first = [await conn.get() for _ in range(3)]
    assert [len(f.payload) for f in first] == [M] * 3
    for n in (M, M, 536):
        again = await conn.get("retransmission", 60_000_000)
        assert (again.seq, again.payload) == (first[0].seq, data[:n])
    got = bytearray(again.payload)
    while len(got) < len(data):
        conn.ack = first[0].seq + len(got)
        conn.put(ACK)
        f = await conn.get("the rest in small segments")
        at = f.seq - first[0].seq & 0xFFFFFFFF
        assert len(f.payload) <= 536 and f.payload == data[at : at + len(f.payload)]
        if at <= len(got):
            got[at:] = f.payload
    conn.ack = first[0].seq + len(data)
    conn.put(ACK)
    await tb.until(lambda: sock.all_acked)
    job = sock.info()
    await tb.ok(job)
    assert job.size >> 20 == 536 // 4, "MSS"
    c = await tb.finish()
    assert c["tx_blackhole"] == 1


@cocotb.test()
async def rto_follows_the_measured_rtt(dut):
    """After samples of 400 ms the timer waits for longer than that, though the minimum is 200 ms."""
    tb, raw, sock, conn = await opened(dut)
    for _ in range(16):
        (f,) = await burst(tb, sock, conn, 1)
        await tb.sleep(400_000)
        conn.ack = f.seq + M
        conn.put(ACK)
        await tb.until(lambda: sock.all_acked)
        raw.skip()  # retransmissions, as long as the estimate is too short
    job = sock.info()
    await tb.ok(job)
    srtt = job.op_data & 0xFFFFFFFF
    assert 300_000 <= srtt <= 500_000, srtt
    (f,) = await burst(tb, sock, conn, 1)
    start = tb.now
    again = await conn.get("retransmission", 5_000_000)
    assert again.seq == f.seq
    assert 400_000 < tb.now - start < 1_500_000, tb.now - start
    await tb.finish()


@cocotb.test()
async def karn(dut):
    """An ACK of a segment sent twice gives no RTT sample."""
    tb, raw, sock, conn = await opened(dut, link={"delay_us": 1000})
    for _ in range(4):
        (f,) = await burst(tb, sock, conn, 1)
        conn.ack = f.seq + M
        conn.put(ACK)
        await tb.until(lambda: sock.all_acked)
    job = sock.info()
    await tb.ok(job)
    before = job.op_data & 0xFFFFFFFF
    (f,) = await burst(tb, sock, conn, 1)
    await conn.get("retransmission", 5_000_000)
    conn.ack = f.seq + M
    conn.put(ACK)
    await tb.until(lambda: sock.all_acked)
    job = sock.info()
    await tb.ok(job)
    after = job.op_data & 0xFFFFFFFF
    assert after == before, f"srtt {before} became {after} through an ambiguous ACK"
    raw.skip()
    await tb.finish()


@cocotb.test()
async def timeout_makes_the_window_small(dut):
    """After a timeout one segment leaves; each ACK then lets more out (slow start)."""
    tb, raw, sock, conn = await opened(dut)
    segs = await burst(tb, sock, conn, 10)
    again = await conn.get("retransmission", 5_000_000)
    assert again.seq == segs[0].seq
    await raw.silence(100_000)
    conn.ack = segs[1].seq
    conn.put(ACK)
    await tb.sleep(5000)
    more = raw.skip()
    assert [f.seq for f in more] == [segs[1].seq, segs[2].seq], [str(f) for f in more]
    conn.ack = segs[9].seq + M
    conn.put(ACK)
    await tb.until(lambda: sock.all_acked)
    await tb.finish()


@cocotb.test()
async def three_duplicate_acks(dut):
    """RFC 5681: the third duplicate ACK, not the second, sends the missing segment at once."""
    tb, raw, sock, conn = await opened(dut)
    segs = await burst(tb, sock, conn, 10)
    conn.ack = segs[0].seq
    conn.put(ACK)
    conn.put(ACK)
    await raw.silence(20_000)
    start = tb.now
    conn.put(ACK)
    again = await conn.get("fast retransmit", 100_000)
    assert (again.seq, again.payload) == (segs[0].seq, segs[0].payload)
    assert tb.now - start < 1000
    conn.ack = segs[9].seq + M
    conn.put(ACK)
    await tb.until(lambda: sock.all_acked)
    c = await tb.finish()
    assert (c["tx_fast_retransmit"], c["tx_rto"], c["tx_retransmits"]) == (1, 0, 1)
    assert c["tx_dup_acks_rx"] >= 3


@cocotb.test()
async def not_every_repeated_ack_is_a_duplicate(dut):
    """RFC 5681: with data, or with another window, an equal ACK is no duplicate."""
    tb, raw, sock, conn = await opened(dut)
    segs = await burst(tb, sock, conn, 4)
    conn.ack = segs[0].seq
    for i in range(5):
        conn.put(ACK, window=60_000 + i)
    for _ in range(5):
        conn.put(ACK, b"data")
    await tb.sleep(30_000)
    assert not [f for f in raw.skip() if f.payload], "retransmitted without duplicate ACKs"
    conn.ack = segs[3].seq + M
    conn.put(ACK)
    await tb.until(lambda: sock.all_acked)
    c = await tb.finish()
    assert c["tx_fast_retransmit"] == 0


@cocotb.test()
async def partial_ack_sends_the_next_hole(dut):
    """RFC 6582: two losses in one window are both repaired without a timeout."""
    tb, raw, sock, conn = await opened(dut)
    segs = await burst(tb, sock, conn, 10)
    conn.ack = segs[0].seq  # 0 and 4 lost
    for _ in range(8):
        conn.put(ACK)
    again = await conn.get("fast retransmit", 100_000)
    assert again.seq == segs[0].seq
    await tb.sleep(2000)
    raw.skip()
    start = tb.now
    conn.ack = segs[4].seq
    conn.put(ACK)
    hole = await conn.get("the next hole", 100_000)
    assert hole.seq == segs[4].seq
    assert tb.now - start < 1000
    conn.ack = segs[9].seq + M
    conn.put(ACK)
    await tb.until(lambda: sock.all_acked)
    c = await tb.finish()
    assert (c["tx_fast_retransmit"], c["tx_rto"], c["tx_retransmits"]) == (1, 0, 2)


@cocotb.test()
async def recovery_halves_the_window(dut):
    """ssthresh becomes half of what was under way, and the window comes down to it."""
    tb, raw, sock, conn = await opened(dut)
    segs = await burst(tb, sock, conn, 10)
    conn.ack = segs[0].seq
    for _ in range(3):
        conn.put(ACK)
    await conn.get("fast retransmit", 100_000)
    conn.ack = segs[9].seq + M
    conn.put(ACK)
    await tb.until(lambda: sock.all_acked)
    job = sock.info()
    await tb.ok(job)
    cwnd, ssthresh = job.op_data >> 32, job.data_ptr >> 32
    assert ssthresh == 5 * M
    assert M <= cwnd <= 6 * M, cwnd
    raw.skip()
    await tb.finish()


@cocotb.test()
async def lost_retransmission_falls_back_to_the_timer(dut):
    tb, raw, sock, conn = await opened(dut)
    segs = await burst(tb, sock, conn, 6)
    conn.ack = segs[0].seq
    for _ in range(3):
        conn.put(ACK)
    await conn.get("fast retransmit", 100_000)
    again = await conn.get("by timer", 5_000_000)
    assert again.seq == segs[0].seq
    conn.ack = segs[5].seq + M
    conn.put(ACK)
    await tb.until(lambda: sock.all_acked)
    raw.skip()
    c = await tb.finish()
    assert c["tx_rto"] >= 1


@cocotb.test()
async def gives_up(dut):
    """After the number of retransmissions set: TIMEOUT, and the socket waits for CLOSE."""
    tb, raw, sock, conn = await opened(dut, regs={PF.RETRIES: 3 | 6 << 8 | 60 << 16})
    await burst(tb, sock, conn, 1)
    await tb.until(lambda: sock.ended is not None, 60_000_000, "TIMEOUT")
    assert sock.ended == Status.TIMED_OUT
    assert sock.events == ["ACCEPTED", "TIMEOUT"]
    sent = [f for f in raw.skip() if f.payload]
    assert len(sent) == 3
    await tb.ok(sock.close())
    await tb.until(lambda: sock.closed)
    c = await tb.finish()
    assert c["flow_timeouts"] == 1


@cocotb.test()
async def fin_is_retransmitted(dut):
    tb, _, sock, conn = await opened(dut)
    await tb.ok(sock.shutdown())
    fin = await conn.expect(ACK | FIN)
    again = await conn.expect(ACK | FIN, "FIN again", seq=fin.seq)
    conn.ack = again.seq + 1
    conn.put(ACK | FIN)
    await conn.expect(ACK, "ACK of the peer's FIN", ack=conn.seq)
    await tb.finish()


@cocotb.test()
async def ack_numbers_do_not_go_back_after_a_timeout(dut):
    """After a timeout a pure ACK still carries the highest number sent, or the peer would ignore it."""
    tb, raw, sock, conn = await opened(dut)
    segs = await burst(tb, sock, conn, 10)
    await conn.get("retransmission", 5_000_000)
    raw.skip()
    conn.ack = segs[0].seq
    conn.put(ACK, b"a", ack=segs[0].seq)
    conn.put(ACK, b"b", ack=segs[0].seq)
    await tb.sleep(30_000)
    acks = [f for f in raw.skip() if not f.payload and f.ack == conn.seq]
    assert acks, "no ACK came"
    assert acks[-1].seq == segs[9].seq + M & 0xFFFFFFFF
    await tb.finish()


@cocotb.test()
async def zero_window_and_probe(dut):
    """A window of 0 stops data; probes come with backoff, for ever; an opened window ends it."""
    tb, raw, sock, conn = await opened(dut)
    conn.put(ACK, window=0)
    await tb.sleep(1000)
    data = tb.rng.randbytes(5000)
    sock.send(data)
    times = []
    first = None
    for _ in range(5):
        probe = await conn.get("probe", 60_000_000)
        assert len(probe.payload) <= 1
        first = first or probe
        assert probe.seq == first.seq
        times.append(tb.now)
        conn.put(ACK, window=0)
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    assert all(b > 1.5 * a for a, b in zip(gaps, gaps[1:], strict=False)), gaps
    assert sock.ended is None
    raw.skip()
    conn.put(ACK, window=65535)
    got: dict[int, bytes] = {}
    while sum(map(len, got.values())) < len(data):
        f = await conn.get("data after the window opened", 5_000_000)
        got[f.seq] = f.payload
        conn.ack = f.seq + len(f.payload)
        conn.put(ACK)
    assert b"".join(got[s] for s in sorted(got))[-len(data) :] == data
    await tb.until(lambda: sock.all_acked)
    c = await tb.finish()
    assert c["tx_zero_window_probe"] >= 5


@cocotb.test()
async def probes_do_not_time_out(dut):
    """A peer that answers probes with a zero window is alive: no TIMEOUT, however long."""
    tb, _, sock, conn = await opened(
        dut, regs={PF.RETRIES: 3 | 6 << 8 | 60 << 16, PF.RTO_MAX_US: 2_000_000}
    )
    conn.put(ACK, window=0)
    await tb.sleep(1000)
    sock.send(b"x" * 100)
    for _ in range(12):
        await conn.get("probe", 10_000_000)
        conn.put(ACK, window=0)
    assert sock.ended is None
    await tb.finish()


@cocotb.test()
async def window_limits_what_leaves(dut):
    """Never more than the peer's window; a growing window lets the rest out."""
    tb, raw, sock, conn = await opened(dut, wscale=None, window=4000)
    sock.send(tb.rng.randbytes(12_000))
    await tb.sleep(3000)
    first = raw.skip()
    assert sum(len(f.payload) for f in first) <= 4000
    assert sum(len(f.payload) for f in first) >= 2 * M
    base = first[0].seq
    conn.put(ACK, ack=base, window=8000)
    await tb.sleep(3000)
    more = raw.skip()
    assert more and all(f.seq + len(f.payload) <= base + 8000 for f in more)
    conn.ack = base + 12_000
    for _ in range(20):
        if sock.all_acked:
            break
        got = raw.skip()
        high = max([f.seq + len(f.payload) for f in got], default=0)
        if high:
            conn.put(ACK, ack=high, window=60_000)
        else:
            conn.put(ACK, ack=more[-1].seq + len(more[-1].payload), window=60_000)
        await tb.sleep(3000)
    assert sock.all_acked
    await tb.finish()


@cocotb.test()
async def old_acks_change_nothing(dut):
    """An ACK left of SND.UNA, and a window in an old segment, are ignored."""
    tb, raw, sock, conn = await opened(dut)
    segs = await burst(tb, sock, conn, 3)
    conn.ack = segs[2].seq + M
    conn.put(ACK)
    await tb.until(lambda: sock.all_acked)
    conn.put(ACK, ack=segs[0].seq, window=0)
    await tb.sleep(1000)
    (f,) = await burst(tb, sock, conn, 1)
    assert len(f.payload) == M
    raw.skip()
    await tb.finish()


@cocotb.test()
async def window_of_an_overtaken_segment(dut):
    """RFC 9293: the window of the segment with the higher number counts, whichever came last."""
    tb, raw, sock, conn = await opened(dut, wscale=None)
    start = conn.seq
    conn.put(ACK, b"b" * 100, seq=start + 100, window=1000)
    conn.put(ACK, b"a" * 100, seq=start, window=60_000)
    await tb.until(lambda: len(sock.received) == 200)
    raw.skip()
    sock.send(tb.rng.randbytes(5000))
    await tb.sleep(250_000)  # less than half of the largest window: it waits (RFC 9293, 3.8.6.2.1)
    sent = sum(len(f.payload) for f in raw.skip())
    assert 0 < sent <= 1000, f"{sent} bytes into a window of 1000"
    await tb.finish()


@cocotb.test()
async def karn_in_fast_retransmit(dut):
    """The segment being timed is sent again by duplicate ACKs: its ACK is no sample either."""
    tb, raw, sock, conn = await opened(dut, link={"delay_us": 1000})
    for _ in range(4):
        (f,) = await burst(tb, sock, conn, 1)
        conn.ack = f.seq + M
        conn.put(ACK)
        await tb.until(lambda: sock.all_acked)
    job = sock.info()
    await tb.ok(job)
    before = job.op_data & 0xFFFFFFFF
    segs = await burst(tb, sock, conn, 5)
    await tb.sleep(100_000)
    conn.ack = segs[0].seq
    for _ in range(3):
        conn.put(ACK)
    again = await conn.get("fast retransmit", 50_000)
    assert again.seq == segs[0].seq
    conn.ack = segs[4].seq + M
    conn.put(ACK)
    await tb.until(lambda: sock.all_acked)
    job = sock.info()
    await tb.ok(job)
    assert job.op_data & 0xFFFFFFFF == before, "an ambiguous ACK was a sample"
    raw.skip()
    await tb.finish()


def test_nk_core_loss():
    run_core(__file__)
