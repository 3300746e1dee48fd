# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_snd, nk_tcp_txsel and nk_tcp_tx in the loop: a sender on a hostile path, judged segment by segment (snd_world)."""

from __future__ import annotations

import itertools

import cocotb
from common.runner import run_module
from common.stream import rng
from tcp.snd_world import DATA, REXMIT, TLP, Path, Receiver, Sender

MSS = 1448


async def transfer(dut, rnd, path, rcv, size, fin=True, **more):
    s = Sender(dut, rnd, rcv, path, **more)
    await s.open()
    await s.give(size, fin)
    await s.until(s.all_acked)
    assert s.rcv.nxt == size + fin and not s.rcv.held.all
    return s


@cocotb.test()
async def clean_path(dut):
    """Nothing is sent twice, and the window grows every round trip."""
    rnd = rng("clean")
    for cc, sack, ts in itertools.product((0, 1, 2), (True, False), (True, False)):
        s = await transfer(
            dut, rnd, Path(), Receiver(sack=sack, ts=ts, every=rnd.choice([1, 2])), 300_000, cc=cc
        )
        assert (s.rexmits, s.tlps, s.rtos, s.fast, s.undo, s.rcv.bytes_twice) == (
            0,
            0,
            0,
            0,
            0,
            0,
        ), str(s)
        assert s.now < 200_000, f"no slow start: {s}"


@cocotb.test()
async def few_losses(dut):
    """Any one to three of the first segments are lost: each goes out once more, never by the timeout."""
    rnd = rng("few")
    for sack, k in itertools.product((True, False), (1, 2, 3)):
        combos = list(itertools.combinations(range(12), k))
        for gone in combos if len(combos) < 30 else rnd.sample(combos, 30):
            rcv = Receiver(sack=sack, ts=rnd.random() < 0.5, every=rnd.choice([1, 2]))
            s = await transfer(dut, rnd, Path(lose=lambda n, _, g=gone: n in g), rcv, 60_000)
            assert s.rtos == 0, f"{gone} sack {sack}: {s}"
            assert s.rexmits + s.tlps == len(gone) and s.rcv.bytes_twice == 0, (
                f"{gone} sack {sack}: {s}"
            )


@cocotb.test()
async def tails(dut):
    """The last segments are lost, FIN and all: the probe finds out (RFC 8985, 7)."""
    rnd = rng("tails")
    for last in (1, 2, 3, 7, 15):
        fin = rnd.random() < 0.5
        path = Path(lose=lambda n, _, k=last: 21 - k <= n < 21)
        s = await transfer(dut, rnd, path, Receiver(), 21 * MSS - rnd.randrange(MSS), fin, iw=30)
        assert (s.rtos, s.tlps, s.rexmits) == (0, 1, last - 1), f"{last} of the tail: {s}"
        assert s.get("SSTHRESH") < 30 * MSS or last == 1
    # The probe's ACK told that one segment was lost; the next ACK beyond it cuts the window (7.4).
    s = Sender(dut, rnd, Receiver(), Path(lose=lambda n, _: n == 20), iw=30)
    await s.open()
    await s.give(21 * MSS)
    await s.until(s.all_acked)
    before = s.get("CWND")
    await s.give(5 * MSS)
    await s.until(s.all_acked)
    assert s.tlps == 1 and s.get("CWND") < before and s.get("SSTHRESH") < before, str(s)
    # Only late, not lost: a D-SACK says so, and nothing is cut.
    s = Sender(dut, rnd, Receiver(), Path(late=lambda n, _: 120_000 if n == 20 else 0), iw=30)
    await s.open()
    await s.give(21 * MSS)
    await s.until(s.all_acked)
    await s.until(lambda: not s.get("TLP_OUT"))
    await s.give(5 * MSS)
    await s.until(s.all_acked)
    assert s.tlps == 1 and s.get("SSTHRESH") > 1 << 24, str(s)


@cocotb.test()
async def front_and_tail(dut):
    """A hole in front and the tail: the ACK for the copy in front says that the tail is lost, all of it at once."""
    rnd = rng("front and tail")
    for slack, last in ((0, 1), (0, 3), (1, 3)):
        gone = {3, *range(21 - last, 21)}
        path = Path(lose=lambda n, _, g=gone: n in g)
        s = Sender(dut, rnd, Receiver(), path, iw=30)
        await s.open()
        s.set(REO_SEEN=slack)
        await s.give(21 * MSS)
        await s.until(s.all_acked)
        assert (s.rtos, s.rexmits, s.rcv.bytes_twice) == (0, last + 1, 0), str(s)
        assert s.now < 20_000 * (5 if slack else 3.5), f"one round trip for the tail: {s}"


@cocotb.test()
async def random_loss(dut):
    """Retransmissions match the losses; while the peer's ACKs bring news there is no timeout."""
    rnd = rng("loss")
    for rate, cc in ((0.01, 0), (0.01, 1), (0.03, 0), (0.03, 1), (0.1, 0)):
        path = Path(lose=lambda _n, _s, p=rate: rnd.random() < p)
        s = await transfer(
            dut, rnd, path, Receiver(every=rnd.choice([1, 2])), 600_000, cc=cc, iw=30
        )
        # With more holes than ranges something is sent for nothing.
        assert s.rexmits + s.tlps <= (s.lost * 3 + 60 if s.forgot else s.lost * 1.1 + 3), str(s)
        assert s.undo == 0 and not s.get("REO_SEEN"), f"nothing was reordered: {s}"
        assert s.rtos <= (2 if rate < 0.05 else 10), str(s)


@cocotb.test()
async def lost_again(dut):
    """Retransmissions are lost too. As long as there is new data, what it brings shows it, without a timeout."""
    rnd = rng("again")
    for sack, times in ((True, 1), (True, 2), (True, 4)):
        left = dict.fromkeys((8, 11, 12, 17), times)

        def lose(n, seg, left=left):
            at = seg.seq // MSS
            if left.get(at, -1) >= 0 and seg.kind in (DATA, REXMIT):
                left[at] -= 1
                return True
            return False

        s = await transfer(dut, rnd, Path(lose=lose), Receiver(sack=sack, ts=True), 400_000, iw=40)
        assert s.rtos == 0 and s.lost == 4 * (times + 1), str(s)
        assert s.rexmits + s.tlps <= s.lost + 3, str(s)


@cocotb.test()
async def lost_again_without_new_data(dut):
    """A later copy arrives, the oldest one not: that segment alone is sent once more (RFC 8985, 6.2)."""
    rnd = rng("rescue")
    left = {3: 1, 6: 0}

    def lose(n, seg):
        at = seg.seq // MSS
        if left.get(at, -1) >= 0:
            left[at] -= 1
            return True
        return False

    s = await transfer(dut, rnd, Path(lose=lose), Receiver(), 14 * MSS, iw=20)
    assert (s.rtos, s.lost, s.rexmits) == (0, 3, 3), str(s)


@cocotb.test()
async def bursts_and_queue(dut):
    """A queue that overflows, and bursts: more holes than the board has ranges."""
    rnd = rng("bursts")
    for cc in (0, 1):
        s = await transfer(dut, rnd, Path(gap=200, queue=30), Receiver(every=2), 1_500_000, cc=cc)
        assert s.rtos == 0 and s.forgot and s.rexmits < 3 * s.lost, str(s)
        assert s.now < 4 * 200 * 1_500_000 / MSS, f"the link stood idle: {s}"
    gone = set(itertools.chain(range(40, 60), range(90, 95)))
    s = await transfer(dut, rnd, Path(lose=lambda n, _: n in gone), Receiver(), 400_000, iw=20)
    assert s.rtos == 0 and s.rexmits == s.lost == len(gone), str(s)


@cocotb.test()
async def reordering(dut):
    """Reordering is learned: after the first mistakes the window stays, and nothing is sent twice any more."""
    rnd = rng("reorder")
    s = Sender(dut, rnd, Receiver(), Path(late=lambda n, _: rnd.choice([0, 0, 0, 3000])))
    await s.open()
    for _ in range(6):
        await s.give(200_000)
        await s.until(s.all_acked)
    assert s.get("REO_SEEN") and s.rtos == 0
    before = s.rexmits
    await s.give(600_000)
    await s.until(s.all_acked)
    assert s.rexmits - before <= 8 and s.rexmits < 60, str(s)
    # A single swap, seen before three segments are held, costs nothing at all.
    s = await transfer(
        dut, rnd, Path(late=lambda n, _: 150 if n % 10 == 5 else 0), Receiver(), 300_000
    )
    assert (s.rexmits, s.fast) == (0, 0) and s.get("REO_SEEN"), str(s)


@cocotb.test()
async def early_retransmit(dut):
    """Too few segments behind the hole for three duplicates: the reordering window decides (RFC 8985, 6.2)."""
    rnd = rng("early")
    for size in (2, 3):
        s = await transfer(
            dut, rnd, Path(lose=lambda n, _: n == 0), Receiver(), size * MSS, fin=False
        )
        assert (s.rtos, s.tlps, s.rexmits) == (0, 0, 1), f"{size}: {s}"
        assert s.now < 20_000 * 2.5 + 3000, f"{size}: {s}"


@cocotb.test()
async def spurious_timeout(dut):
    """The path stands still longer than the RTO: Eifel takes the cut back (RFC 3522, 4015); without timestamps it stays."""
    rnd = rng("spurious")
    for ts in (True, False):
        s = Sender(dut, rnd, Receiver(ts=ts), Path())
        s.path.late = lambda n, _, s=s: max(0, 460_000 - s.now) if s.now >= 60_000 else 0
        await s.open()
        await s.give(600_000)
        await s.until(s.all_acked)
        assert s.rtos >= 1, str(s)
        if ts:
            # That the path has become slow may end slow start, in the window that there is.
            assert s.undo == 1 and s.get("SSTHRESH") > 100 * MSS and s.rexmits < 6, str(s)
        else:
            assert s.undo == 0 and s.get("SSTHRESH") < 70 * MSS, str(s)


@cocotb.test()
async def acks_lost_and_doubled(dut):
    rnd = rng("acks")
    s = await transfer(
        dut, rnd, Path(lose_ack=lambda n: n < 250 and rnd.random() < 0.3), Receiver(), 400_000
    )
    assert s.rtos == 0 and s.rexmits == 0, str(s)
    s = await transfer(dut, rnd, Path(twice=lambda _n, _s: rnd.random() < 0.2), Receiver(), 400_000)
    assert (s.rexmits, s.rtos, s.fast) == (0, 0, 0), str(s)


@cocotb.test()
async def everything_at_once(dut):
    rnd = rng("all")
    for _ in range(6):
        path = Path(
            delay=rnd.choice([100, 3000, 20_000]),
            lose=lambda _n, _s: rnd.random() < 0.03,
            late=lambda _n, _s: rnd.choice([0] * 9 + [500, 2500]),
            twice=lambda _n, _s: rnd.random() < 0.05,
            lose_ack=lambda _n: rnd.random() < 0.1,
        )
        rcv = Receiver(
            sack=rnd.random() < 0.7, ts=rnd.random() < 0.5, dsack=rnd.random() < 0.7, every=rnd.choice([1, 2]), wnd=rnd.choice([5000, 60_000, 1 << 20])
        )  # fmt: skip
        s = Sender(dut, rnd, rcv, path, cc=rnd.choice([0, 1, 2]), ECN_OK=1)
        await s.open()
        while s.given < 250_000:
            last = s.given >= 200_000
            await s.give(rnd.choice([1, 700, MSS, 20_000, 60_000]), fin=last)
            if last:
                break
            if rnd.random() < 0.5:
                await s.until(s.all_acked)
        await s.until(s.all_acked, 400_000_000)


@cocotb.test()
async def ecn(dut):
    """One cut a window, CWR in the data that follows (RFC 3168); DCTCP cuts by the share of marks."""
    rnd = rng("ecn")
    for cc in (0, 1, 2):
        s = await transfer(
            dut,
            rnd,
            Path(mark=lambda n, _: n in (40, 41, 42, 47)),
            Receiver(),
            400_000,
            cc=cc,
            ECN_OK=1,
        )
        assert s.ece == 1 and s.rexmits == 0 and sum(x.cwr for x in s.sent) == 1, str(s)
    s = await transfer(
        dut, rnd, Path(mark=lambda _n, _s: rnd.random() < 0.05), Receiver(), 400_000, ECN_OK=1
    )
    assert s.ece >= 2 and s.rexmits == 0 and s.rtos == 0, str(s)
    # A loss and a mark in one window are one cut.
    path = Path(mark=lambda n, _: n == 40, lose=lambda n, _: n == 44)
    s = await transfer(dut, rnd, path, Receiver(), 200_000, ECN_OK=1)
    assert s.ece == 1 and s.fast == 1 and s.get("SSTHRESH") >= 20 * MSS, str(s)


@cocotb.test()
async def windows(dut):
    """Small, shut and silent windows: probes, no silly segments, everything arrives."""
    rnd = rng("windows")
    for wnd in (500, MSS, 4000, 30_000):
        await transfer(
            dut, rnd, Path(lose=lambda _n, _s: rnd.random() < 0.01), Receiver(wnd=wnd), 30_000
        )
    for rate in (0, 0.05):
        for tells in (True, False):
            took, size = [0], rnd.choice([3000, 8000, 20_000])
            rcv = Receiver()
            rcv.shut = lambda took=took, size=size, rcv=rcv: max(0, took[0] + size - rcv.nxt)
            s = Sender(dut, rnd, rcv, Path(lose=lambda _n, _s, p=rate: rnd.random() < p))

            async def drain(s=s, rcv=rcv, took=took, tells=tells):
                took[0] = rcv.nxt
                if tells:
                    s.reply(rcv.answer())
                if not s.all_acked():
                    s.at(rnd.choice([30_000, 700_000]), drain)

            await s.open()
            s.at(1000, drain)
            await s.give(40_000, True)
            await s.until(s.all_acked)
            assert s.probes or size > 3000 or rate, str(s)


@cocotb.test()
async def reneging(dut):
    """The peer drops what it had reported: it is sent again, and counted."""
    rnd = rng("renege")
    rcv = Receiver()
    s = Sender(dut, rnd, rcv, Path(lose=lambda n, _: n in (5, 30)), iw=40)
    await s.open()
    await s.give(60 * MSS)
    await s.until(lambda: rcv.held.size() > 4 * MSS)
    await s.until(lambda: s.get("SK_V") != 0)
    rcv.held.all.clear()
    rcv.order.clear()
    s.forgot = True
    await s.until(s.all_acked)
    assert s.renege >= 1 and rcv.nxt == 60 * MSS, str(s)


@cocotb.test()
async def held_back_by_the_vf(dut):
    """tx_ok = 0 now and then: nothing but ACKs leaves, and nothing is forgotten."""
    rnd = rng("tx_ok")
    s = Sender(dut, rnd, Receiver(), Path(lose=lambda _n, _s: rnd.random() < 0.03))
    s.tx_ok = lambda: rnd.random() < 0.5
    await s.open()
    await s.give(200_000, True)
    await s.until(s.all_acked)
    assert all(x.kind in (DATA, REXMIT, TLP) for x in s.sent)


def test_nk_tcp_snd():
    run_module(
        "nk_tcp_snd_loop",
        __file__,
        sources=["rtl-tests/tcp/nk_tcp_snd_loop.v"],
        visible=["nk_tcp_snd_loop"],
    )
