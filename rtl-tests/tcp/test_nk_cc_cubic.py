# SPDX-License-Identifier: Apache-2.0
"""nk_cc_cubic and its two parts against RFC 9438 in floating point."""

from __future__ import annotations

from dataclasses import dataclass, field

import cocotb
import pytest
from cocotb.triggers import Timer
from common.runner import run_module
from common.stream import rng
from tcp.cc_flow import M25, M32, UNKNOWN, Flow, Plug

TICK = 1024e-6  # seconds
C, BETA = 0.4, 0.7


class Rfc9438:
    """Segments and seconds, one ACK after the other, in the RFC's own names."""

    def __init__(self, cwnd: float, c: float = C, beta: float = BETA, fast: bool = True):
        self.c, self.beta, self.fast = c, beta, fast
        self.alpha = 3 * (1 - beta) / (1 + beta)
        self.cwnd, self.ssthresh = cwnd, float("inf")
        self.w_max = self.cwnd_prior = self.w_est = 0.0
        self.epoch_start: float | None = None
        self.k = 0.0
        self.told = False  # a loss has told W_max; until then Linux's floor of 5 % a round trip

    def w_cubic(self, t: float) -> float:
        return self.c * (t - self.k) ** 3 + self.w_max

    def ack(self, now: float, segments: float, rtt: float) -> None:
        if self.cwnd < self.ssthresh:
            self.cwnd += min(segments, 2)
            return
        if self.epoch_start is None:
            self.epoch_start = now
            if self.cwnd >= self.w_max:
                self.w_max, self.k = self.cwnd, 0.0
                self.cwnd_prior = max(self.cwnd_prior, self.cwnd)
            else:
                self.k = ((self.w_max - self.cwnd) / self.c) ** (1 / 3)
            self.w_est = self.cwnd
        t = now - self.epoch_start
        target = min(max(self.w_cubic(t + rtt), self.cwnd), 1.5 * self.cwnd)
        alpha = 1 if self.w_est >= self.cwnd_prior else self.alpha
        self.w_est += max(alpha * segments / self.cwnd, 0 if self.told else segments / 20)
        if self.w_cubic(t) < self.w_est:
            self.cwnd = max(self.cwnd, self.w_est)
        else:
            self.cwnd += (target - self.cwnd) / self.cwnd * segments

    def cut(self, flight: float) -> None:
        self.cwnd_prior, self.told = self.cwnd, True
        if self.cwnd < self.w_max and self.fast:
            self.w_max = self.cwnd * (1 + self.beta) / 2
        else:
            self.w_max = self.cwnd
        self.ssthresh = max(flight * self.beta, 2)
        self.cwnd, self.epoch_start = self.ssthresh, None


# ------------------------------------------------------------------------------- the curve, its root


@cocotb.test()
async def curve(dut):
    """W(t) for random flows and times, near and far from the plateau."""
    rnd = rng("w")
    worst = 0.0
    for _ in range(4000):
        mss, c = rnd.choice([64, 536, 1448, 2047]), rnd.choice([40, 40, 10, 100])
        w_max = rnd.choice([rnd.randint(1, M25), rnd.randint(1, 100 * mss)])
        ticks = int(10 ** rnd.uniform(0, 6.3)) * rnd.choice([-1, 1])
        t0 = rnd.choice([0, 100, (1 << 22) - 50, rnd.getrandbits(22)])
        dut.now.value, dut.t0.value = (t0 + ticks) % (1 << 22), t0
        dut.w_max.value, dut.c_mss.value = w_max, mss * c
        await Timer(1, "ns")
        got = int(dut.w_cubic.value)
        far = abs(ticks) >= 1 << 17
        assert int(dut.stale.value) == (far and ticks < 0)
        if far and ticks < 0:
            continue
        ticks = min(ticks, (1 << 17) - 1)  # the curve ends there
        rise = mss * c / 100 * (ticks * TICK) ** 3
        want = min(max(w_max + rise, 0), M25)
        # A quantum of the cube, then 0.3 % of the way from the plateau.
        slack = mss * c / 100 * 0.08 + 0.003 * min(abs(rise), 2 * M25) + 2
        assert abs(got - want) <= slack, f"mss {mss} C {c} w_max {w_max} ticks {ticks}"
        worst = max(worst, abs(got - want) / mss)
    assert worst > 0.01  # it was a comparison


@cocotb.test()
async def root(dut):
    """K within 1 %, for windows of every size."""
    rnd = rng("k")
    for _ in range(6000):
        mss, c = rnd.choice([64, 65, 536, 1448, 2047]), rnd.choice([40, 40, 1, 7, 255])
        cwnd = rnd.randint(mss, M25)
        gap = min(M25 - cwnd, int(2 ** rnd.uniform(0, 25)))
        w_max = cwnd + gap if rnd.random() < 0.9 else rnd.randint(0, cwnd)
        dut.w_max.value, dut.cwnd.value, dut.c_mss.value = w_max, cwnd, mss * c
        await Timer(1, "ns")
        got = int(dut.k.value)
        want = (max(0, w_max - cwnd) / (mss * c / 100)) ** (1 / 3) / TICK
        if want >= (1 << 17) * 1.01:
            assert got == (1 << 17) - 1
        elif want < (1 << 17) * 0.99:
            assert abs(got - want) <= 0.01 * want + 1, f"mss {mss} C {c} gap {w_max - cwnd}"


# ---------------------------------------------------------------------------------- the whole window


@dataclass
class Pair:
    """A flow on the RTL and one by the RFC, given the same ACKs at the pace of the window."""

    f: Flow
    m: Rfc9438
    rtt: int
    bound: float = 0.02
    now: int = 0
    ratios: list[float] = field(default_factory=list)

    async def drive(self, us: int, steps: int = 2000) -> None:
        f, m, end = self.f, self.m, self.now + us
        while self.now < end:
            # About `steps` ACKs in all, but two a round trip at least.
            share = min(0.5, us / steps / self.rtt)
            n = min(f.cwnd, max(f.mss, int(f.cwnd * share)))
            self.now += max(1, int(self.rtt * n / f.cwnd))
            f.nxt = f.una + f.cwnd
            await f.event(self.now, "ev_ack", "ev_round", acked=n)
            f.una += n
            m.ack(self.now / 1e6, n / f.mss, self.rtt / 1e6)
            got = f.cwnd / f.mss
            self.ratios.append(got / m.cwnd)
            assert abs(got - m.cwnd) <= m.cwnd * self.bound + 1, (
                f"rtt {self.rtt} mss {f.mss} at {self.now}: {got:.2f} segments, not {m.cwnd:.2f}"
            )


@cocotb.test()
async def epochs(dut):
    """Several losses in a row, at windows above and below the last one: within 2 % of the RFC, all along."""
    rnd = rng("epochs")
    for rtt, segments, mss in (
        (1_000, 1500, 1448),
        (10_000, 40, 1448),
        (50_000, 300, 1448),
        (50_000, 300, 536),
        (100_000, 1000, 1448),
        (200_000, 100, 2000),
        (20_000, 4000, 64),
    ):
        now = rnd.choice([0, (1 << 32) - 3_000_000, rnd.getrandbits(32)])
        f = Flow(Plug(dut), mss=mss, iss=rnd.getrandbits(32), cwnd=segments * mss, srtt_us=rtt)
        m = Rfc9438(segments)
        pair = Pair(f, m, rtt, now=now)
        f.ssthresh, m.ssthresh = f.cwnd, m.cwnd
        k = (segments * 0.3 / C) ** (1 / 3)
        for share in (1.3, 0.5, 1.6, 0.8):
            f.nxt = f.una + f.cwnd
            flight = f.flight
            if share > 1:
                await f.event(pair.now, "ev_loss", "ev_round")
                await f.event(pair.now, "ev_exit")
            else:
                await f.event(pair.now, "ev_ecn", "ev_round")
            m.cut(m.cwnd)
            assert abs(f.ssthresh - flight * BETA) <= 0.002 * flight + mss, "cut"
            m.cwnd = m.ssthresh = f.cwnd / mss  # a difference so far is not to add up
            await pair.drive(int(min(share * k * 1e6, rtt * 2000)))
        low, high = min(pair.ratios), max(pair.ratios)
        dut._log.info(f"rtt {rtt} us, {segments} segments of {mss}: {low:.3f} to {high:.3f}")


@cocotb.test()
async def after_slow_start_and_timeouts(dut):
    """Without a W_max to come back to, the curve begins flat at the window it has (RFC 9438, 4.8), with Linux's 5 % as a floor."""
    for how in ("ev_rto", "fresh"):
        f = Flow(Plug(dut), cwnd=100 * 1448, iss=M32 - 5000)
        m = Rfc9438(100)
        now = 77
        if how == "ev_rto":
            await f.event(now, "ev_loss")
            f.nxt = f.una + f.cwnd
            await f.event(now, "ev_rto")
            assert f.cwnd == 1448 and f.cc_s == 0
            assert abs(f.ssthresh - 0.7 * f.flight) < 200
            while f.cwnd < f.ssthresh:
                f.nxt = f.una + f.cwnd
                await f.event(now, "ev_ack", acked=1448)
                f.una += 1448
        else:
            f.ssthresh = f.cwnd
        m.cwnd = m.ssthresh = f.cwnd / 1448
        start = f.cwnd

        await Pair(f, m, 40_000, bound=0.04, now=now).drive(1_600_000)
        assert f.cwnd > 5 * start


@cocotb.test()
async def is_no_slower_than_reno(dut):
    """On a short path the Reno-friendly region rules: 0.53 segments a round trip, then one (RFC 9438, 4.3)."""
    mss, rtt, rounds = 1448, 2_000, 0.0
    f = Flow(Plug(dut), mss=mss, cwnd=40 * mss)
    f.nxt = f.cwnd
    await f.event(0, "ev_loss")
    await f.event(0, "ev_exit")
    cut, now, slopes = f.cwnd, 0, []
    while f.cwnd < 60 * mss:
        f.nxt = f.una + f.cwnd
        now += int(rtt * mss / f.cwnd)
        rounds += mss / f.cwnd
        was = f.cwnd
        await f.event(now, "ev_ack", acked=mss)
        f.una += mss
        if f.cwnd != was:
            slopes.append((f.cwnd, rounds))
    back = next(r for w, r in slopes if w >= 40 * mss)
    assert abs(back - 12 / 0.529) < 3, f"{back:.1f} round trips back to the old window"
    end = slopes[-1][1]
    assert abs(end - back - 20) < 3, f"then {end - back:.1f} for 20 segments"
    assert cut == f.ssthresh


@cocotb.test()
async def the_remainder_counts(dut):
    """Small ACKs grow W_est as large ones do."""
    ends = []
    for n in (100, 1448, 14_480):
        f = Flow(Plug(dut), cwnd=30 * 1448, ssthresh=30 * 1448, iss=123)
        await f.event(0, "ev_ack", acked=0)
        while f.una < 3_000_000:
            f.nxt = f.una + f.cwnd
            await f.event(0, "ev_ack", acked=n)
            f.una += n
        ends.append(f.cwnd)
    assert max(ends) - min(ends) <= 1448 and min(ends) > 50 * 1448, ends


@cocotb.test()
async def idle_and_unused_windows(dut):
    """A window that nobody fills does not grow, and the curve does not run away from it meanwhile."""
    mss = 1448
    f = Flow(Plug(dut), cwnd=100 * mss)
    f.nxt = f.cwnd
    await f.event(0, "ev_loss")
    await f.event(0, "ev_exit")
    now = 0
    await f.event(now, "ev_ack", acked=0)
    for _ in range(3000):  # 30 s with little to send: far behind the plateau
        now += 10_000
        f.limited = False
        f.nxt = f.una + 10 * mss
        await f.event(now, "ev_ack", acked=mss)
        f.una += mss
    assert f.cwnd == f.ssthresh
    f.limited = True
    m = Rfc9438(f.cwnd / mss)
    m.w_max, m.ssthresh, m.cwnd_prior, m.told = 100.0, m.cwnd, 100.0, True
    pair = Pair(f, m, 20_000, bound=0.03, now=now)  # the curve begins where it stopped
    await pair.drive(6_000_000)
    now = pair.now
    await f.event(now, "ev_idle")
    assert f.cwnd == 10 * mss and f.cc_s & 1 == 0
    assert f.ssthresh >= 70 * mss


@cocotb.test()
async def random_histories(dut):
    """Whatever happens in whatever order: bounds, floors, no growth where none is due."""
    rnd = rng("cubic")
    for _ in range(80):
        mss = rnd.choice([64, 536, 1448, 2047])
        prm = rnd.choice([0, 0, rnd.getrandbits(25), rnd.getrandbits(64)])
        if prm & 0xFF and prm & 0xFF < 64:
            prm += 64
        f = Flow(Plug(dut), mss=mss, prm=prm, iss=rnd.getrandbits(32))
        now = rnd.getrandbits(32)
        for _ in range(200):
            now += int(10 ** rnd.uniform(0, rnd.choice([6, 9])))
            room = max(0, min(f.cwnd, 1 << 24) - f.flight)
            f.nxt += rnd.choice([room, rnd.randint(0, room)])
            f.limited = rnd.random() < 0.9
            kind = rnd.choices(
                ["ack", "loss", "rto", "ecn", "exit", "idle", "undo"],
                [rnd.choice([5, 100]), 1, 0.3, 0.5, 0.5, 0.3, 0.3],
            )[0]
            acked = rnd.randint(0, f.flight) if kind in ("ack", "ecn", "exit") else 0
            if kind == "undo" and f.undo == (0, 0):
                continue
            cwnd, ssthresh, undo = f.cwnd, f.ssthresh, f.undo
            if rnd.random() < 0.02:
                f.cc_s = rnd.getrandbits(96)  # of another algorithm: the profile has changed
            await f.event(now, f"ev_{kind}", "ev_round", acked=acked)
            if kind == "ack":
                assert f.ssthresh == ssthresh
                most = min(acked, 2 * mss) if cwnd < ssthresh else max(mss, acked // 2)
                assert cwnd <= f.cwnd <= cwnd + (most if f.limited else 0)
            elif kind == "undo":
                assert (f.cwnd, f.ssthresh) == (max(cwnd, undo[0]), undo[1])
            elif kind == "rto":
                assert f.cwnd == mss and f.ssthresh <= max(2 * mss, cwnd)
            elif kind == "loss":
                assert f.cwnd == cwnd and f.ssthresh <= max(2 * mss, cwnd)
            elif kind == "ecn":
                assert f.cwnd == min(cwnd, f.ssthresh)
            elif kind == "exit":
                assert f.cwnd == ssthresh
            elif kind == "idle":
                assert f.cwnd == min(cwnd, 10 * mss) and f.ssthresh >= ssthresh
            f.una += acked


@cocotb.test()
async def parameters(dut):
    """Share, C and fast convergence of a profile."""
    mss = 1000
    for beta in (128, 220):
        f = Flow(Plug(dut), mss=mss, prm=beta, cwnd=100 * mss)
        f.nxt = f.cwnd
        await f.event(0, "ev_loss")
        assert f.ssthresh == 100 * mss * beta // 256
    ends = []
    for c in (10, 40, 160):
        f = Flow(Plug(dut), mss=mss, prm=c << 8, cwnd=100 * mss, ssthresh=100 * mss)
        m = Rfc9438(100, c=c / 100)
        m.ssthresh = m.w_max = m.cwnd_prior = 100
        m.told = True
        f.cc_s = f.cwnd << 2  # a loss at this very window
        await Pair(f, m, 50_000).drive(8_000_000)
        ends.append(f.cwnd)
    assert ends == sorted(ends) and ends[0] < ends[2]
    for off in (0, 1):
        f = Flow(Plug(dut), mss=mss, prm=off << 24, cwnd=100 * mss)
        f.nxt = f.cwnd
        await f.event(0, "ev_loss")
        await f.event(0, "ev_exit")
        f.nxt = f.una + f.cwnd
        cwnd = f.cwnd
        await f.event(0, "ev_loss")
        w_max = f.cc_s >> 2 & M25
        assert abs(w_max - cwnd * (1 if off else 0.85)) <= 0.001 * cwnd
    assert f.ssthresh < UNKNOWN


CASES = {
    "nk_cc_cubic": "epochs|after_slow|is_no_slower|remainder|idle_and|random_h|parameters",
    "nk_cc_cubic_w": "curve",
    "nk_cc_cubic_k": "root",
}


@pytest.mark.parametrize("top", CASES)
def test_nk_cc_cubic(top):
    run_module(top, __file__, testcase=CASES[top])
