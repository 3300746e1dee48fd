# SPDX-License-Identifier: Apache-2.0
"""nk_core: SACK, timestamps, ECN and the congestion controls of the profiles, on the wire, by hand-made segments."""

from __future__ import annotations

import cocotb
from core.core_tb import TB, profile, run_core
from model.frames import ACK, CE, CWR, ECE, ECT0, FIN, NOT_ECT, PSH, RST
from netkernel.abi import PF, VFE, Option
from netkernel.abi import CongestionControl as CC

M = 1460
IW = 10  # segments


async def opened(dut, regs=None, link=None, **kw):
    """A connection from a hand-driven host; it may send a lot."""
    tb = TB(dut, link=link)
    await tb.start(regs=regs)
    raw = tb.raw()
    args = {"tx_log2": 17, "wscale": 7, "window": 65535, **kw}
    sock, conn = await tb.raw_accept(raw, **args)
    raw.skip()
    return tb, raw, sock, conn


async def window(sock) -> tuple[int, int]:
    """(cwnd, ssthresh) as INFO tells."""
    job = sock.info()
    await sock.tenant.bus.until(lambda: job.done)
    return job.op_data >> 32, job.data_ptr >> 32


async def flight(tb, sock, conn, segments: int) -> list:
    """So many full segments leave; all the same MSS."""
    size = 1448 if conn.tsval is not None else M
    sock.send(tb.rng.randbytes(segments * size))
    got = [await conn.get(f"segment {i}") for i in range(segments)]
    assert [len(f.payload) for f in got] == [size] * segments
    return got


# ---- receiver: SACK blocks -----------------------------------------------------------------------


def runs(pieces: set[int]) -> list[tuple[int, int]]:
    """Maximal runs [first, last + 1) of pieces."""
    firsts = sorted(i for i in pieces if i - 1 not in pieces)
    return [(i, next(k for k in range(i, 99) if k not in pieces)) for i in firsts]


@cocotb.test()
async def sack_blocks(dut):
    """RFC 2018, 4: with up to four holes each ACK reports all runs held, the one that changed last first."""
    tb, _, sock, conn = await opened(dut, sack=True)
    base, sent, most = conn.seq, b"", 0
    for _ in range(6):
        data = tb.rng.randbytes(1200)
        todo, got, age = tb.rng.sample(range(12), 12), set(), {}
        if not most:
            todo = [7, 1, 5, 3, 8, 0, 2, 4, 6, 9, 11, 10]  # surely four holes, and runs that meet
        step = 0
        while todo:
            i = todo.pop(0)
            if len(runs(got | {i})) - (0 in got | {i}) > 4:
                todo.append(i)  # the card keeps four runs
                continue
            step += 1
            got.add(i)
            age[i] = step
            conn.put(ACK, data[100 * i : 100 * i + 100], seq=base + 100 * i)
            held = runs(got)
            upto = held.pop(0)[1] if 0 in got else 0
            held.sort(key=lambda r: -max(age[k] for k in range(*r)))
            want = tuple((base + 100 * s, base + 100 * e) for s, e in held)
            await conn.expect(ACK, f"piece {i}", 1000, ack=base + 100 * upto, sack=want)
            most = max(most, len(want))
        sent += data
        base += 1200
    assert most == 4
    await tb.until(lambda: sock.received == sent)
    await tb.finish()


@cocotb.test()
async def three_blocks_with_timestamps(dut):
    """Timestamps leave room for three blocks: the latest three (RFC 2018, 3)."""
    tb, _, _, conn = await opened(dut, sack=True, ts=5000)
    base = conn.seq
    for n, i in enumerate((1, 3, 5, 7)):
        conn.put(ACK, bytes(100), seq=base + 100 * i)
        f = await conn.get(f"{n + 1} holes", 1000)
        want = [(base + 100 * k, base + 100 * k + 100) for k in (7, 5, 3, 1)[3 - n :]]
        assert (f.ack, f.sack, f.ts[1]) == (base, tuple(want[:3]), 5000)
    await tb.finish()


@cocotb.test()
@cocotb.parametrize(on_card=[0, 1])
async def no_sack_unless_agreed(dut, on_card):
    """A peer that did not ask for SACK gets no block; nor does one whose profile has it off."""
    tb, raw, _, conn = await opened(dut, regs=profile(sack=on_card), sack=not on_card, agreed=False)
    conn.put(ACK, bytes(100), seq=conn.seq + 100)
    await conn.expect(ACK, "duplicate ACK", 1000, options=b"")
    raw.skip()
    await tb.finish()


@cocotb.test()
async def dsack(dut):
    """RFC 2883, 4: a duplicate is reported once, first: below the ACK, or inside a run, which then follows."""
    tb, raw, sock, conn = await opened(dut, sack=True)
    base = conn.seq
    conn.put(ACK, b"a" * 300)
    await conn.expect(ACK, "in order", 1000, ack=base + 300, sack=())
    conn.put(ACK, b"a" * 300, seq=base)
    await conn.expect(ACK, "old", 1000, ack=base + 300, sack=((base, base + 300),))
    conn.put(ACK, b"a" * 100, seq=base + 200)
    await conn.expect(ACK, "its tail", 1000, ack=base + 300, sack=((base + 200, base + 300),))
    conn.put(ACK, b"c" * 400, seq=base + 400)
    run = (base + 400, base + 800)
    await conn.expect(ACK, "a hole", 1000, ack=base + 300, sack=(run,))
    conn.put(ACK, b"c" * 100, seq=base + 500)
    dup = (base + 500, base + 600)
    await conn.expect(ACK, "inside a run", 1000, ack=base + 300, sack=(dup, run))
    conn.put(ACK, b"b" * 100, seq=base + 300)
    await conn.expect(ACK, "the hole is filled", 1000, ack=base + 800, sack=())
    conn.put(ACK, b"c" * 100 + b"d" * 100, seq=base + 700)  # half of it is new
    await conn.expect(ACK, "half", 1000, ack=base + 900, sack=((base + 700, base + 800),))
    await tb.until(lambda: sock.received == b"a" * 300 + b"b" * 100 + b"c" * 400 + b"d" * 100)
    raw.skip()
    c = await tb.finish()
    assert c["tx_dsack"] == 4


# ---- sender: recovery by SACK --------------------------------------------------------------------


@cocotb.test()
async def recovery_by_sack(dut):
    """RFC 6675: of ten segments two are lost: just these two leave again, long before a timeout."""
    tb, raw, sock, conn = await opened(dut, sack=True)
    sent = await flight(tb, sock, conn, IW)
    at = [f.seq for f in sent] + [sent[-1].seq + M]
    conn.ack = at[0]
    start = tb.now
    # 0 and 4 are lost. Each ACK reports one more.
    conn.put(ACK, sack=[(at[1], at[2])])
    conn.put(ACK, sack=[(at[1], at[3])])
    conn.put(ACK, sack=[(at[1], at[4])])
    first = await conn.get("first loss", 1000)
    assert (first.seq, first.payload) == (at[0], sent[0].payload)
    for i in range(5, 10):
        conn.put(ACK, sack=[(at[5], at[i + 1]), (at[1], at[4])])
    second = await conn.get("second loss", 1000)
    assert (second.seq, second.payload) == (at[4], sent[4].payload)
    assert tb.now - start < 2000, "a timeout"
    await raw.silence(1000)
    conn.put(ACK, ack=at[4], sack=[(at[5], at[10])])
    await raw.silence(1000)
    conn.ack = at[10]
    conn.put(ACK)
    await tb.until(lambda: sock.all_acked)
    cwnd, ssthresh = await window(sock)
    assert 4 * M <= ssthresh <= 5 * M and cwnd <= ssthresh + M, (cwnd, ssthresh)
    c = await tb.finish()
    assert (c["tx_rto"], c["tx_fast_retransmit"], c["tx_retransmits"]) == (0, 1, 2)


@cocotb.test()
async def tail_loss_probe(dut):
    """RFC 8985, 7: the last segment again after two round trips, and its SACK starts recovery; no timeout."""
    tb, _, sock, conn = await opened(dut, sack=True, link={"delay_us": 5000})
    for _ in range(4):  # round trips of 10 ms are measured
        (f,) = await flight(tb, sock, conn, 1)
        conn.ack = f.seq + M
        conn.put(ACK)
        await tb.until(lambda: sock.all_acked)
    sent = await flight(tb, sock, conn, 4)
    start = tb.now
    conn.ack = sent[0].seq  # all are lost
    probe = await conn.get("probe", 190_000)
    assert probe.seq == sent[3].seq and tb.now - start < 100_000, (tb.now - start, str(probe))
    conn.put(ACK, sack=[(probe.seq, probe.seq + M)])
    again = [await conn.get("repair", 150_000) for _ in range(1)]
    while len(again) < 3:
        conn.ack = again[-1].seq + M
        conn.put(ACK, sack=[(probe.seq, probe.seq + M)])
        again.append(await conn.get("repair", 150_000))
    assert [f.seq for f in again] == [f.seq for f in sent[:3]]
    conn.ack = sent[3].seq + M
    conn.put(ACK)
    await tb.until(lambda: sock.all_acked)
    c = await tb.finish()
    assert c["tx_tlp"] == 1 and c["tx_rto"] == 0 and c["tx_fast_retransmit"] == 1


@cocotb.test()
async def undo_by_timestamp(dut):
    """RFC 3522, 4015: an echo older than the retransmission shows that nothing was lost: the windows come back."""
    tb, raw, sock, conn = await opened(
        dut, sack=True, ts=1, link={"delay_us": 3000}, regs=profile(tlp=0)
    )
    sent = await flight(tb, sock, conn, 4)
    before = await window(sock)
    conn.ack = sent[0].seq
    again = await conn.get("timeout", 3_000_000)
    assert again.seq == sent[0].seq and again.ts[0] != sent[0].ts[0]
    assert (await window(sock))[0] <= 2 * 1448
    conn.tsecr = sent[0].ts[0]  # the ACK was late: it echoes the original
    conn.ack = sent[3].seq + 1448
    conn.put(ACK)
    await tb.until(lambda: sock.all_acked)
    raw.skip()
    after = await window(sock)
    assert after[0] >= before[0] and after[1] == before[1], (before, after)
    c = await tb.finish()
    assert (c["tx_rto"], c["tx_undo"]) == (1, 1)


# ---- timestamps ----------------------------------------------------------------------------------


@cocotb.test()
async def timestamps_echo(dut):
    """RFC 7323, 3.2, 4.3: in every segment; ours runs, the peer's is echoed, of what was acknowledged in order."""
    tb, raw, sock, conn = await opened(dut, sack=True, ts=100)
    base = conn.seq
    conn.tsval = 110
    conn.put(ACK, bytes(100))
    first = await conn.expect(ACK, "ACK", 1000, ack=base + 100)
    assert first.ts[1] == 110
    conn.tsval = 120
    conn.put(ACK, bytes(100), seq=base + 200)  # a hole before it: not echoed
    f = await conn.expect(ACK, "duplicate ACK", 1000, ack=base + 100)
    assert f.ts[1] == 110
    conn.tsval = 130
    conn.put(ACK, bytes(100), seq=base + 100)
    f = await conn.expect(ACK, "filled", 1000, ack=base + 300)
    assert f.ts[1] == 130
    conn.seq = base + 300
    await tb.sleep(50 * 1024)
    sock.send(bytes(5))
    f = await conn.get("data", 1000)
    assert 48 <= f.ts[0] - first.ts[0] & 0xFFFFFFFF <= 54, "our clock: 1024 us a step"
    assert f.ts[1] == 130 and len(f.payload) == 5
    conn.ack = f.seq + 5
    conn.put(ACK)
    # A segment without timestamps is dropped without a word; one that is too old is not taken, but answered.
    conn.tsval = None
    conn.put(ACK, bytes(7), seq=base + 300)
    await raw.silence(30_000)
    conn.tsval = 129
    conn.put(ACK, bytes(7), seq=base + 300)
    f = await conn.expect(ACK, "PAWS", 1000, ack=base + 300)
    assert f.ts[1] == 130
    await tb.sleep(1000)
    assert len(sock.received) == 300
    conn.tsval = 131
    conn.put(ACK | FIN, bytes(7), seq=base + 300)
    await conn.expect(ACK, "FIN", ack=base + 308)
    conn.seq = base + 308
    c = await tb.finish()
    assert c["rx_paws"] == 2


# ---- ECN -----------------------------------------------------------------------------------------


@cocotb.test()
async def ecn_receiver(dut):
    """RFC 3168, 6.1.3: from a CE mark on every ACK has ECE, until the peer's CWR."""
    tb, raw, _, conn = await opened(dut, ecn=True, regs=profile(ecn=1))
    conn.put(ACK, bytes(100), ecn=ECT0)
    f = await conn.expect(ACK, "unmarked", 1000)
    assert f.ecn == NOT_ECT, "pure ACKs are not ECT"
    conn.put(ACK, bytes(100), ecn=CE)
    await conn.expect(ACK | ECE, "marked", 1000)
    conn.put(ACK, bytes(100), ecn=ECT0)
    await conn.expect(ACK | ECE, "until CWR", 1000)
    conn.put(ACK | CWR, bytes(100), ecn=ECT0)
    await conn.expect(ACK, "CWR ends it", 1000)
    conn.put(ACK | CWR, bytes(100), ecn=CE)
    await conn.expect(ACK | ECE, "CWR, but marked itself", 1000)
    assert await tb.counter("rx_ce") == 2
    raw.skip()
    await tb.finish()


@cocotb.test()
async def ecn_sender(dut):
    """RFC 3168, 6.1.2: ECE cuts the window once a round trip; the next new data has CWR, and only that."""
    tb, raw, sock, conn = await opened(dut, ecn=True, regs=profile(ecn=1))
    sent = await flight(tb, sock, conn, IW)
    assert {f.ecn for f in sent} == {ECT0}
    assert not any(f.flags & (CWR | ECE) for f in sent)
    sock.send(tb.rng.randbytes(20 * M))
    before = (await window(sock))[0]
    assert before == IW * M
    conn.ack = sent[0].seq + M
    conn.put(ACK | ECE)
    conn.ack = sent[1].seq + M
    conn.put(ACK | ECE)  # the same round trip
    await tb.sleep(100)
    cwnd, ssthresh = await window(sock)
    assert before // 2 - M <= cwnd <= before // 2 + M, "half, once"
    assert abs(ssthresh - before // 2) <= M
    conn.ack = sent[-1].seq + M
    conn.put(ACK | ECE)
    f = await conn.get("new data", 1000)
    assert f.flags & CWR and f.ecn == ECT0 and f.payload
    await tb.sleep(100)
    assert not any(f.flags & CWR for f in raw.skip()), "CWR stands in one segment only"
    assert await tb.counter("rx_ece") == 1
    # A retransmission is not ECT (6.1.5).
    conn.ack = f.seq
    again = await conn.get("timeout", 5_000_000)
    assert (again.seq, again.ecn) == (f.seq, NOT_ECT)
    raw.skip()
    await tb.finish()


@cocotb.test()
async def ecn_only_if_agreed(dut):
    """A peer that did not ask for ECN sees none of it; a mark is no signal then."""
    tb, raw, sock, conn = await opened(dut, regs=profile(ecn=1))
    conn.put(ACK, bytes(100), ecn=CE)
    await conn.expect(ACK, "no ECE", 1000)
    sock.send(bytes(100))
    f = await conn.get()
    assert f.ecn == NOT_ECT and f.flags & ~PSH == ACK
    before = await window(sock)
    conn.ack = f.seq + 100
    conn.put(ACK | ECE)
    await tb.until(lambda: sock.all_acked)
    assert (await window(sock))[1] == before[1]
    raw.skip()
    await tb.finish()


# ---- profiles: congestion control ------------------------------------------------------------------


@cocotb.test()
async def dctcp_receiver(dut):
    """RFC 8257, 3.2: ECE says whether the last segment was marked; a change is reported at once."""
    tb, raw, sock, conn = await opened(dut, ecn=True, regs=profile(cc=CC.DCTCP, ecn=1))
    await tb.ok(sock.setopt(Option.QUICKACK, 0))
    base, seen = conn.seq, []
    for n, mark in enumerate((0, 0, 1, 1, 1, 0, 0)):
        conn.put(ACK, bytes(100), ecn=CE if mark else ECT0)
        await tb.sleep(500)
        seen += [((f.ack - base) // 100, f.flags & ECE != 0) for f in raw.skip() if not f.payload]
        if seen and seen[-1][0] == n + 1:
            assert seen[-1][1] == bool(mark)
    await tb.sleep(30_000)
    seen += [((f.ack - base) // 100, f.flags & ECE != 0) for f in raw.skip()]
    # Each byte's last ACK tells its mark: 1-2 no, 3-5 yes, 6-7 no. Changes (3, 6) are not delayed.
    assert [s for s in seen if s[0] in (3, 6)] == [(3, True), (6, False)], seen
    assert seen[-1] == (7, False)
    await tb.finish()


async def cut(dut, cc: int, param: int = 0, rounds: int = 0, marks: bool = True) -> float:
    """The share of the window that one ECE leaves, after `rounds` windows with or without marks."""
    tb, raw, sock, conn = await opened(
        dut, ecn=True, regs=profile(cc=cc, ecn=1, param=param), link={"delay_us": 1000}
    )
    sock.send(tb.rng.randbytes(120_000))
    for _ in range(rounds):
        await tb.sleep(3000)
        got = raw.skip()
        assert got
        conn.ack = got[-1].seq + len(got[-1].payload)
        conn.put(ACK)
    await tb.sleep(3000)
    got = raw.skip()
    before = (await window(sock))[0]
    conn.ack = got[-1].seq + len(got[-1].payload)
    conn.put(ACK | ECE if marks else ACK)
    await tb.sleep(1500)
    after = (await window(sock))[0]
    await tb.finish()
    return after / before


@cocotb.test()
@cocotb.parametrize(
    case=[
        # Congestion control, its parameter, windows before without a mark, what one ECE leaves.
        (CC.RENO, 0, 0, 0.5),
        (CC.RENO, 205, 0, 0.8),
        (CC.CUBIC, 0, 0, 0.7),
        # alpha is 1 at first; four windows without a mark and g = 1/2 make it 1/16.
        (CC.DCTCP, 0, 0, 0.5),
        (CC.DCTCP, 1 << 8, 4, 1 - 1 / 32),
    ]
)
async def cut_of_a_profile(dut, case):
    """The cut that ECE brings: Reno half, CUBIC 0.7, DCTCP by its alpha; a parameter changes it."""
    cc, param, rounds, share = case
    tb, raw, sock, conn = await opened(
        dut, ecn=True, regs=profile(cc=cc, ecn=1, param=param), link={"delay_us": 1000}
    )
    sock.send(tb.rng.randbytes(120_000))
    for left in range(rounds, -1, -1):
        await tb.sleep(3000)
        got = raw.skip()
        before = (await window(sock))[0]
        conn.ack = got[-1].seq + len(got[-1].payload)
        conn.put(ACK if left else ACK | ECE)
    await tb.sleep(1500)
    after = (await window(sock))[0]
    assert abs(after / before - share) < 0.02, (before, after)
    raw.skip()
    await tb.finish()


@cocotb.test()
async def profile_of_a_vf(dut):
    """Each VF's connections use its own profile, from the moment they open; a change is for later ones."""
    tb = TB(dut)
    entry = PF.VF_BASE + PF.VF_STRIDE + VFE.NSM
    table = {**profile(0, timestamps=0, sack=0), **profile(3, cc=CC.CUBIC, initial_cwnd=4)}
    await tb.start(vfs=2, regs={**table, entry: 3})
    raw = tb.raw()
    for vf, want, agreed in ((1, 4, True), (0, IW, False)):
        sock, conn = await tb.raw_accept(
            raw, vf=vf, ts=1, sack=True, wscale=7, tx_log2=16, agreed=agreed
        )
        assert (conn.tsval is not None) == agreed
        raw.skip()
        sock.send(bytes(20 * M))
        await tb.sleep(100)
        assert len(raw.skip()) == want, "initial window"
        raw.tcp(conn.lport, conn.rport, conn.seq, 0, RST, vf=vf)
        await tb.until(lambda sock=sock: sock.ended is not None)
    for addr, value in profile(3, timestamps=0, initial_cwnd=7).items():
        await tb.pf_write(addr, value)
    sock, conn = await tb.raw_accept(
        raw, vf=1, lport=5001, ts=1, agreed=False, wscale=7, tx_log2=16
    )
    sock.send(bytes(20 * M))
    raw.skip()
    await tb.sleep(100)
    assert len(raw.skip()) == 7
    await tb.finish()


def test_nk_core_options():
    run_core(__file__)
