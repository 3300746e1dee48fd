# SPDX-License-Identifier: Apache-2.0
"""nk_cc_hystart against HyStart in plain Python (Ha and Rhee 2011, with Linux's constants): ACK by ACK, then on a path."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.triggers import Timer
from common.runner import run_module
from common.stream import rng

M25, M32 = (1 << 25) - 1, (1 << 32) - 1
TICK = 1024


@dataclass
class HyStart:
    """Round trips in ticks, times in half ticks; sequence numbers on a line."""

    end: int | None = None
    began: int = 0
    last: int = 0
    lowest: int | None = None
    samples: list[int] = field(default_factory=list)

    def ack(self, now: int, una: int, ack: int, nxt: int, rtt: int | None, wide: bool) -> bool:
        """Is slow start to end?"""
        new_round = self.end is None or ack > self.end
        if new_round:
            self.end, self.began, self.last, self.samples = nxt, now, now, []
        found = False
        if not new_round and now - self.last <= 4:
            self.last = now
            if self.lowest is not None and self.lowest >= 7:
                found = now - self.began > self.lowest + 1
        if rtt is not None:
            rtt = min(rtt, 1022)
            self.samples.append(rtt)
            if not new_round and len(self.samples) > 7 and self.lowest is not None:
                slack = min(max((self.lowest + 1) // 8, 4), 16)
                found |= min(self.samples) >= self.lowest + slack
            self.lowest = rtt if self.lowest is None else min(self.lowest, rtt)
        return found and wide


class Card:
    """The RTL with its state."""

    def __init__(self, dut: Any, iss: int, t0: int):
        self.dut, self.iss, self.t0 = dut, iss, t0
        self.hy = self.on = self.end = 0

    async def ack(
        self, now: int, una: int, ack: int, nxt: int, rtt: int | None, cwnd: int, mss: int
    ) -> bool:
        d = self.dut
        d.hy.value, d.on.value, d.round_end.value = self.hy, self.on, self.end
        d.rtt_v.value, d.rtt.value = int(rtt is not None), min(rtt or 0, 2047)
        d.now.value = self.t0 + now & 511
        d.cwnd.value, d.mss.value = cwnd, mss
        d.snd_una.value, d.ack.value, d.snd_nxt.value = (
            self.iss + x & M32 for x in (una, ack, nxt)
        )
        await Timer(1, "ns")
        self.hy, self.on, self.end = int(d.hy_out.value), 1, int(d.round_end_out.value)
        return bool(d.leave.value)


@cocotb.test()
async def random_acks(dut):
    """Every ACK of random histories: rounds, trains, gaps, samples that are missing."""
    rnd = rng("hystart")
    left = {"train": 0, "delay": 0}
    stayed = 0
    for _ in range(250):
        mss = rnd.choice([64, 536, 1448])
        card = Card(dut, rnd.choice([0, M32 - 20 * mss, rnd.getrandbits(32)]), rnd.getrandbits(9))
        model = HyStart()
        base = rnd.choice([0, 3, 6, 7, 8, 40, 200, 400])
        trains = rnd.random() < 0.5
        now, una, cwnd = 0, 0, 10 * mss
        for step in range(200):
            now += rnd.choice([0, 2, 4]) if trains else rnd.choice([0, 1, 2, 4, 5, 6, 15])
            n = rnd.choice([1, mss, mss, 2 * mss, 2 * mss])
            nxt = una + max(n, cwnd)
            queue = rnd.choice([0, 0, 2, 5]) if rnd.random() < 0.2 else step // 20 * 2
            rtt = None if rnd.random() < 0.1 else base + queue + rnd.choice([0, 0, 1])
            wide = cwnd >= 16 * mss
            before = model.lowest, len(model.samples)
            want = model.ack(now, una, una + n, nxt, rtt, wide)
            got = await card.ack(now, una, una + n, nxt, rtt, cwnd, mss)
            assert got == want, f"ACK {step} at {now}: {got}, {model} before {before}"
            una += n
            cwnd += min(n, 2 * mss)
            if got:
                train = now == model.last and now - model.began > model.lowest + 1
                left["train" if train and model.lowest > 6 else "delay"] += 1
                break
        else:
            stayed += 1
    assert min(*left.values(), stayed) > 20, f"too tame: {left}, {stayed} stayed"


async def slow_start(
    dut: Any, rnd: random.Random, base_us: int, segment_us: int, per_ack: int
) -> tuple[int, int]:
    """A flow that fills a path of `segment_us` a segment; the window in which it left slow start, and the longest queue."""
    mss = 1448
    card = Card(dut, rnd.getrandbits(32), rnd.getrandbits(9))
    cwnd, una, nxt, now, free_at, longest = 10, 0, 0, 0.0, 0.0, 0
    flying: list[tuple[float, float]] = []  # arrival of the ACK, when it was sent
    while cwnd < 4000:
        while nxt - una < cwnd:
            free_at = max(free_at, now) + segment_us
            longest = max(longest, int((free_at - now) / segment_us))
            flying.append((free_at + base_us, now))
            nxt += 1
        many = min(per_ack, nxt - una)
        now, sent = flying[many - 1][0], flying[0][1]
        del flying[:many]
        ticks = int(now / TICK) - int(sent / TICK)
        t = int(2 * now / TICK)
        if await card.ack(t, una * mss, (una + many) * mss, nxt * mss, ticks, cwnd * mss, mss):
            return cwnd, longest
        una, cwnd = una + many, cwnd + min(many, 2)
    return cwnd, longest


@cocotb.test()
async def on_a_path(dut):
    """Slow start ends when the window has filled the path, not before, and long before a queue of another window."""
    rnd = rng("path")
    for base_us, segment_us in ((40_000, 1200), (40_000, 120), (100_000, 300), (10_000, 100)):
        for per_ack in (1, 2):
            holds = base_us / segment_us
            cwnd, queue = await slow_start(dut, rnd, base_us, segment_us, per_ack)
            # Where delayed ACKs come too far apart for a train, only the delay of a round's first ACKs tells.
            most = 1.8 if segment_us * per_ack < 2000 else 3
            assert 0.7 * holds < cwnd < most * holds + 16, f"{holds:.0f} fill it, left at {cwnd}"
            assert queue < (most - 0.8) * holds + 16
    # Below what the clock can tell it is the delay's four milliseconds.
    cwnd, _ = await slow_start(dut, rnd, 100, 12, 1)
    assert cwnd > 4000 / 12


def test_nk_cc_hystart():
    run_module("nk_cc_hystart", __file__)
