# SPDX-License-Identifier: Apache-2.0
"""nk_cc_dctcp against RFC 8257 in floating point, bytes counted one by one."""

from __future__ import annotations

from dataclasses import dataclass

import cocotb
from common.runner import run_module
from common.stream import rng
from tcp.cc_flow import M25, M32, UNKNOWN, Flow, Plug

UNIT = 512
"""What the RTL counts in; docs of the module."""


def alpha_of(f: Flow) -> float:
    return 1 - (f.cc_s >> 83) / 8192


@dataclass
class Rfc8257:
    """The receiver of ACKs of RFC 8257, 3.3. Sequence numbers on a line."""

    g: float = 1 / 16
    alpha: float = 1.0
    window_end: int = 0
    bytes_acked: int = 0
    bytes_marked: int = 0
    windows: int = 0
    smallest: int = 1 << 30

    def ack(self, una: int, ack: int, nxt: int, ece: bool) -> None:
        self.bytes_acked += ack - una
        self.bytes_marked += (ack - una) * ece
        if ack <= self.window_end:
            return
        m = self.bytes_marked / self.bytes_acked
        self.alpha = (1 - self.g) * self.alpha + self.g * m
        self.window_end, self.windows = nxt, self.windows + 1
        self.smallest = min(self.smallest, self.bytes_acked)
        self.bytes_acked = self.bytes_marked = 0


@cocotb.test()
async def follows_the_marks(dut):
    """alpha over many windows at several marking rates, window sizes and gains."""
    rnd = rng("alpha")
    windows = 0
    for _ in range(60):
        shift = rnd.choice([0, 0, 1, 4, 6])
        mss = rnd.choice([64, 1448, 2000])
        window = rnd.choice([20_000, 100_000, 3_000_000])
        f = Flow(
            Plug(dut),
            mss=mss,
            prm=shift << 8,
            iss=rnd.getrandbits(32),
            cwnd=window,
            ssthresh=window,
        )
        m = Rfc8257(g=2.0 ** -(shift or 4))
        stretch = rnd.choice([1, 2, 8]) * max(mss, window // 200)
        f.nxt = window
        for _ in range(rnd.choice([1, 4])):
            rate = rnd.choice([0, 0.02, 0.3, 0.9, 1])
            target = m.windows + 60
            while m.windows < target:
                ece = rnd.random() < rate
                n = min(rnd.randint(1, 2 * stretch), f.flight)
                before = f.cwnd, f.ssthresh
                await f.event(0, "ev_round", acked=n, ece=ece)
                assert (f.cwnd, f.ssthresh) == before
                m.ack(f.una, f.una + n, f.nxt, ece)
                f.una += n
                f.nxt = f.una + window
                # Units are 512 bytes, the reciprocal good for 1/128, alpha kept in 1/8192; and a rest
                # below 1/g of that is not followed.
                noise = 2 * UNIT / m.smallest + 1 / 128 + 2 ** (shift or 4) / 8192
                assert abs(alpha_of(f) - m.alpha) <= noise + 0.001, f"window {m.windows}"
            if rate in (0, 1):
                assert abs(alpha_of(f) - rate) < 0.05 or shift == 6
        windows += m.windows
    assert windows > 3000


@cocotb.test()
async def cuts_by_alpha(dut):
    """ECE cuts by alpha / 2, whatever alpha; a loss and a timeout cut by half."""
    rnd = rng("cut")
    for _ in range(3000):
        mss = rnd.choice([64, 1448])
        f = Flow(Plug(dut), mss=mss, iss=rnd.getrandbits(32), cwnd=rnd.randint(mss, M25))
        f.ssthresh = rnd.choice([UNKNOWN, rnd.randint(2 * mss, M25)])
        f.cc_s = rnd.getrandbits(96)
        f.nxt = min(f.cwnd, 1 << 24)
        kind = rnd.choice(["ecn", "ecn", "loss", "rto"])
        cwnd, alpha, flight = f.cwnd, alpha_of(f), f.flight
        n = rnd.randint(1, f.flight)
        await f.event(0, f"ev_{kind}", "ev_round", acked=n, ece=kind == "ecn")
        share = 1 - alpha / 2 if kind == "ecn" else 0.5
        want = max(2 * mss, share * (cwnd if kind == "ecn" else flight))
        assert abs(f.ssthresh - want) <= 1.01, kind
        assert f.cwnd == {"ecn": min(cwnd, f.ssthresh), "loss": cwnd, "rto": mss}[kind]


@cocotb.test()
async def a_fresh_flow_is_cautious(dut):
    """alpha is 1 until it is known: the first mark halves."""
    f = Flow(Plug(dut), cwnd=100_000)
    f.nxt = 100_000
    await f.event(0, "ev_ecn", "ev_round", acked=1448, ece=True)
    assert f.cwnd == f.ssthresh == 50_000


@cocotb.test()
async def grows_as_reno(dut):
    """Without marks: two segments an ACK at most, then one a window, whatever the other state holds."""
    rnd = rng("grow")
    f = Flow(Plug(dut), mss=1000, cwnd=10_000, ssthresh=60_000, iss=M32 - 70_000)
    while f.cwnd < 60_000:
        n = rnd.randint(1, 3000)
        cwnd = f.cwnd
        f.nxt = f.una + f.cwnd
        await f.event(0, "ev_ack", "ev_round", acked=n)
        f.una += n
        assert f.cwnd == cwnd + min(n, 2000)
    windows, start = 0.0, f.cwnd
    for _ in range(5000):
        n = rnd.randint(1, 3000)
        f.nxt = f.una + f.cwnd
        windows += n / f.cwnd
        await f.event(0, "ev_ack", "ev_round", acked=n, ece=rnd.random() < 0.2)
        f.una += n
    assert abs((f.cwnd - start) / 1000 - windows) < 2
    # alpha went on in recovery too, and nothing grew there
    f.limited = False
    before, alpha = f.cwnd, alpha_of(f)
    for _ in range(500):
        f.nxt = f.una + f.cwnd
        await f.event(0, "ev_round", acked=1000, ece=True)
        f.una += 1000
    assert f.cwnd == before and alpha_of(f) > alpha


@cocotb.test()
async def tiny_windows(dut):
    """Windows smaller than a unit: the share over many of them is still right."""
    rnd = rng("tiny")
    f = Flow(Plug(dut), mss=64, cwnd=128, prm=6 << 8, iss=5)
    f.nxt = 128
    seen = []
    for step in range(20_000):
        n = 64
        await f.event(0, "ev_round", acked=n, ece=rnd.random() < 0.4)
        f.una += n
        f.nxt = f.una + 128
        if step > 6000:
            seen.append(alpha_of(f))
    assert abs(sum(seen) / len(seen) - 0.4) < 0.08


@cocotb.test()
async def random_histories(dut):
    rnd = rng("dctcp")
    for _ in range(60):
        mss = rnd.choice([64, 536, 1448, 2047])
        f = Flow(
            Plug(dut),
            mss=mss,
            prm=rnd.choice([0, rnd.getrandbits(64) | 64]),
            iss=rnd.getrandbits(32),
        )
        for _ in range(200):
            room = max(0, min(f.cwnd, 1 << 24) - f.flight)
            f.nxt += rnd.choice([room, rnd.randint(0, room)])
            f.limited = rnd.random() < 0.9
            kind = rnd.choices(
                ["ack", "loss", "rto", "ecn", "exit", "idle", "undo"],
                [rnd.choice([5, 100]), 1, 0.3, 3, 0.5, 0.3, 0.3],
            )[0]
            if kind == "undo" and f.undo == (0, 0):
                continue
            acked = rnd.randint(0, f.flight) if kind in ("ack", "ecn", "exit") else 0
            cwnd, ssthresh, undo = f.cwnd, f.ssthresh, f.undo
            await f.event(0, f"ev_{kind}", "ev_round", acked=acked, ece=kind == "ecn")
            f.una += acked
            assert 0 <= alpha_of(f) <= 1
            if kind == "ack":
                assert cwnd <= f.cwnd <= cwnd + (2 * mss if f.limited else 0)
            elif kind == "undo":
                assert (f.cwnd, f.ssthresh) == (max(cwnd, undo[0]), undo[1])
            elif kind == "exit":
                assert f.cwnd == ssthresh
            elif kind == "idle":
                assert f.cwnd == min(cwnd, 10 * mss) and f.ssthresh >= ssthresh


def test_nk_cc_dctcp():
    run_module("nk_cc_dctcp", __file__)
