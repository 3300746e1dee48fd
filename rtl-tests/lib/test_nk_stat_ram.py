# SPDX-License-Identifier: Apache-2.0
"""nk_stat_ram against a list of integers: no update lost, whatever follows on the same counter."""

from __future__ import annotations

from collections import Counter, deque

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import PAUSES, Signal, params, reset, rng, start_clock


class TB:
    def __init__(self, dut, pause="none"):
        self.dut = dut
        self.rng = rng("stat ram")
        self.n, self.aw = params()["NSRC"], params()["AW"]

        def sig(name):
            return Signal(getattr(dut, name))

        self.s_valid, self.s_ready = sig("s_valid"), sig("s_ready")
        self.s_addr, self.s_inc = sig("s_addr"), sig("s_inc")
        self.r_req, self.r_addr = sig("r_req"), sig("r_addr")
        self.r_valid, self.r_data = sig("r_valid"), sig("r_data")
        self.ready, self.busy = sig("ready"), sig("busy")
        self.pauses = [PAUSES[pause](rng(f"p{i}")) for i in range(self.n)]
        self.edge = RisingEdge(dut.clk)
        start_clock(dut)
        self.clear()

    def clear(self):
        self.todo = [deque() for _ in range(self.n)]
        self.offered = [None] * self.n
        self.accepted: Counter[int] = Counter()
        self.reading = None
        self.read_clocks = 0
        self.last_read: dict[int, int] = {}
        self.recent: deque[int] = deque(maxlen=8)  # counters updated last
        self.reads = 0
        self.resting = False
        self.s_valid.set(0)
        self.r_req.set(0)

    async def reset(self):
        self.clear()
        await reset(self.dut)

    async def step(self, read=None):
        """One clock; `read` asks for that counter."""
        addr, inc = self.rng.getrandbits(self.n * self.aw), self.rng.getrandbits(self.n * 16)
        for i in range(self.n):
            if self.offered[i] is None and self.todo[i] and not self.pauses[i]():
                self.offered[i] = self.todo[i].popleft()
            if self.offered[i] is not None:
                a, v = self.offered[i]
                addr = addr & ~((1 << self.aw) - 1 << i * self.aw) | a << i * self.aw
                inc = inc & ~(0xFFFF << 16 * i) | v << 16 * i
        self.s_addr.set(addr)
        self.s_inc.set(inc)
        self.s_valid.set(sum(1 << i for i, o in enumerate(self.offered) if o is not None))
        self.r_req.set(int(read is not None))
        self.r_addr.set(self.rng.getrandbits(self.aw) if read is None else read)
        if read is not None:
            assert self.reading is None
            self.reading, self.read_clocks = read, 0
        await self.edge
        # Not busy means at rest: it does not become busy again by itself.
        busy, disturbed = self.busy.get(), self.s_valid.last or self.r_req.last
        assert not (self.resting and busy and not disturbed), "busy again without new input"
        self.resting = not busy and not disturbed
        if self.r_valid.get():
            assert self.reading is not None, "an answer that nobody asked for"
            value = self.r_data.get()
            # Between what was read before and all that was accepted: the rest waits in FIFOs.
            assert self.last_read.get(self.reading, 0) <= value <= self.accepted[self.reading]
            self.last_read[self.reading] = value
            self.value, self.reading = value, None
            self.reads += 1
        elif self.reading is not None and self.ready.get():
            self.read_clocks += 1
            assert self.read_clocks <= 4, "no answer to a read"
        taken = self.s_ready.get() & self.s_valid.last
        for i in range(self.n):
            if taken >> i & 1:
                a, v = self.offered[i]
                self.accepted[a] += v
                self.offered[i] = None
                self.recent.append(a)

    async def finish(self):
        """All updates done, then all counters compared."""
        for _ in range(200000):
            if not any(self.todo) and not any(self.offered):
                break
            await self.step()
        await self.step()
        while self.busy.get():
            await self.step()
        # Those updated last first: not busy means that they too are done.
        for a in (*reversed(self.recent), *range(1 << self.aw)):
            await self.step(read=a)
            while self.reading is not None:
                await self.step()
            assert self.value == self.accepted[a], f"counter {a}"


@cocotb.test()
@cocotb.parametrize(pause=list(PAUSES))
async def stress(dut, pause):
    """Few counters, so that updates of one follow each other closely; reads in between."""
    tb = TB(dut, pause)
    await tb.reset()
    few = [tb.rng.getrandbits(tb.aw) for _ in range(2)]
    for i in range(tb.n):
        for _ in range(600):
            a = tb.rng.choice(few) if tb.rng.random() < 0.8 else tb.rng.getrandbits(tb.aw)
            tb.todo[i].append((a, tb.rng.choice((0, 1, 0xFFFF, tb.rng.getrandbits(16)))))
    while any(tb.todo):
        ask = tb.reading is None and tb.rng.random() < 0.1
        await tb.step(read=tb.rng.choice(few) if ask else None)
    await tb.finish()
    assert tb.reads > 20


@cocotb.test()
async def same_counter(dut):
    """One update a clock, all of the same counter: each takes the sum of the one before."""
    tb = TB(dut)
    await tb.reset()
    while not tb.ready.get():
        await tb.step()
    for i in range(tb.n):
        tb.todo[i].extend([(1, 1)] * 300)
    clocks = 0
    while any(tb.todo) or any(tb.offered):
        await tb.step()
        clocks += 1
    assert clocks <= 300 * tb.n + 10
    await tb.finish()


@cocotb.test()
async def waits_for_clearing(dut):
    """Updates and a read that come during the clearing are kept until it is over."""
    tb = TB(dut)
    await tb.reset()
    for i in range(tb.n):
        tb.todo[i].extend([(0, 3), (1, 4)])
    assert not tb.ready.get()
    await tb.step(read=0)
    await tb.finish()


@cocotb.test()
async def reset_mid_traffic(dut):
    """After a reset all counters are 0 again."""
    tb = TB(dut, "some")
    for _ in range(5):
        await tb.reset()
        for i in range(tb.n):
            tb.todo[i].extend((tb.rng.getrandbits(tb.aw), 9) for _ in range(100))
        for _ in range((1 << tb.aw) + tb.rng.randrange(50)):
            await tb.step()
    await tb.reset()
    await tb.finish()


@pytest.mark.parametrize(("aw", "nsrc"), [(1, 1), (4, 3), (7, 2)])
def test_nk_stat_ram(aw, nsrc):
    run_module("nk_stat_ram", __file__, {"AW": aw, "NSRC": nsrc})
