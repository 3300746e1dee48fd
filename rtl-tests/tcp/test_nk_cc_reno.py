# SPDX-License-Identifier: Apache-2.0
"""nk_cc_reno against RFC 5681 and RFC 3465 in plain arithmetic, over random histories."""

from __future__ import annotations

import cocotb
from common.runner import run_module
from common.stream import rng
from tcp.cc_flow import M25, UNKNOWN, Flow, Plug


class Rfc5681:
    """The window in exact integers. `share` is what a loss leaves of it."""

    def __init__(self, mss: int, cwnd: int, share: float):
        self.mss, self.cwnd, self.share = mss, cwnd, share
        self.ssthresh, self.counted = UNKNOWN, 0

    def ack(self, n: int) -> None:
        if self.cwnd < self.ssthresh:
            self.cwnd += min(n, 2 * self.mss)  # RFC 3465, 2.2
        else:
            self.counted += n  # RFC 3465, 2.1
            # A window of whole segments: of what cwnd has besides no ACK ever comes.
            if self.counted > self.cwnd - self.mss:
                self.counted = min(max(self.counted - self.cwnd, 0), UNKNOWN)  # 25 bits are kept
                self.cwnd += self.mss
        self.cwnd = min(self.cwnd, M25)

    def cut(self, flight: int) -> None:
        self.ssthresh = max(int(min(flight, self.cwnd) * self.share), 2 * self.mss)  # (4)
        self.counted = 0


@cocotb.test()
async def random_histories(dut):
    rnd = rng("reno")
    seen = {}
    for _ in range(80):
        beta = rnd.choice([0, 0, 64, 179, 255])
        mss = rnd.choice([64, 536, 1448])
        f = Flow(
            Plug(dut),
            mss=mss,
            prm=beta | rnd.getrandbits(56) << 8,
            iss=rnd.choice([0, 2**32 - 9 * mss]),
        )
        m = Rfc5681(mss, f.cwnd, (beta or 128) / 256)
        ups = rnd.choice([0.3, 1, 30])
        for _ in range(150):
            f.limited = rnd.random() < 0.9
            room = max(0, min(f.cwnd + 2 * mss, 1 << 24) - f.flight)
            f.nxt += rnd.choice([room, rnd.randint(0, room)])
            kind = rnd.choices(
                ["ack", "round", "loss", "rto", "ecn", "exit", "idle", "undo", "none"],
                [30 * ups, 3, 1, 0.3, 0.6, 0.6, 0.3, 0.3, 1],
            )[0]
            acked = rnd.randint(0, f.flight) if kind in ("ack", "round", "ecn", "exit") else 0
            if (kind == "ack" and not acked) or (kind == "undo" and f.undo == (0, 0)):
                continue
            undo = f.undo
            before = (f.cwnd, f.ssthresh, f.cc_s)
            names = [] if kind == "none" else [f"ev_{kind}"]
            if kind in ("ack", "ecn", "exit", "loss") and rnd.random() < 0.8:
                names.append("ev_round")
            # The graver event wins: nk_cc lists them in this order.
            if kind in ("loss", "ecn", "exit", "undo", "idle") and acked and rnd.random() < 0.5:
                names.append("ev_ack")
            flight = f.flight
            await f.event(rnd.getrandbits(32), *names, acked=acked, ece=rnd.random() < 0.5)
            f.una += acked
            if kind == "ack" and f.limited:
                m.ack(acked)
            elif kind in ("loss", "rto", "ecn"):
                m.cut(flight)
                m.cwnd = (
                    mss if kind == "rto" else m.cwnd if kind == "loss" else min(m.cwnd, m.ssthresh)
                )
            elif kind == "exit":
                m.cwnd, m.counted = m.ssthresh, acked  # the first ACK of the new window
            elif kind == "undo":
                m.cwnd, m.ssthresh = max(m.cwnd, undo[0]), undo[1]
            elif kind == "idle":
                m.ssthresh = max(m.ssthresh, m.cwnd - m.cwnd // 4)
                m.cwnd, m.counted = min(m.cwnd, 10 * mss), 0
            elif kind in ("none", "round"):
                assert (f.cwnd, f.ssthresh, f.cc_s) == before
            if flight > 2 * mss:
                seen[kind] = seen.get(kind, 0) + 1
            assert (f.cwnd, f.ssthresh) == (m.cwnd, m.ssthresh), kind
            assert f.cc_s == m.counted, kind
    assert min(seen.values()) > 20 and len(seen) == 9, f"history too tame: {seen}"


@cocotb.test()
async def one_segment_a_window(dut):
    """Congestion avoidance over a long time: the remainders are never lost, whatever the ACKs' sizes."""
    rnd = rng("reno-ca")
    f = Flow(Plug(dut), mss=1000, cwnd=20_000, ssthresh=20_000)
    windows = 0.0
    for _ in range(3000):
        n = rnd.randint(1, f.cwnd // 3)
        f.nxt += n
        windows += n / f.cwnd
        await f.event(0, "ev_ack", acked=n)
        f.una += n
    grown = (f.cwnd - 20_000) / 1000
    # At most the part of a segment that a window cannot hold is given away at each step.
    early = sum(0.999 / (20 + i) for i in range(int(grown)))
    assert windows - 2 < grown <= windows + early + 1, f"{grown} segments in {windows:.1f} windows"
    # Whole segments, and a window that is not: exactly one step a round trip.
    for mss in (536, 1448):
        f = Flow(Plug(dut), mss=mss, cwnd=5 * mss + mss // 2, ssthresh=5 * mss)
        for held in range(5, 60):
            for _ in range(held):
                assert f.cwnd // mss == held, f"{f.cwnd / mss} segments, not {held}"
                f.nxt = f.una + held * mss
                await f.event(0, "ev_ack", acked=mss)
                f.una += mss


@cocotb.test()
async def never_beyond_25_bits(dut):
    f = Flow(Plug(dut), mss=2000, cwnd=M25 - 3000)
    f.nxt = 1 << 24
    for _ in range(5):
        await f.event(0, "ev_ack", acked=100_000)
    assert f.cwnd == M25
    f.cwnd = f.ssthresh = M25 - 100
    for _ in range(5):
        await f.event(0, "ev_ack", acked=1 << 24)
    assert f.cwnd == M25


def test_nk_cc_reno():
    run_module("nk_cc_reno", __file__)
