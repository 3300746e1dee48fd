# SPDX-License-Identifier: Apache-2.0
"""nk_stat_counters against a list of integers."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import Signal, params, reset, rng, start_clock


class TB:
    def __init__(self, dut):
        self.dut = dut
        self.rng = rng("stat")
        self.n = params()["N"]
        self.inc, self.raddr, self.rdata = (
            Signal(getattr(dut, s)) for s in ("inc", "raddr", "rdata")
        )
        self.edge = RisingEdge(dut.clk)
        start_clock(dut)
        self.inc.set(0)
        self.raddr.set(0)
        self.model = [0] * self.n

    async def reset(self):
        self.inc.set(0)
        await reset(self.dut)
        self.model = [0] * self.n

    async def step(self, incs):
        """One clock with these increments; the read of the clock before is judged."""
        want = self.model_at(self.raddr.last)
        value = 0
        for i, inc in enumerate(incs):
            value |= inc << 16 * i
        self.inc.set(value)
        await self.edge  # this edge counts incs and reads the values before them
        self.inc.set(0)
        for i, inc in enumerate(incs):
            self.model[i] += inc
        return want

    def model_at(self, addr):
        return self.model[addr] if addr < self.n else 0


@cocotb.test()
async def random_counts(dut):
    """Pulses and byte counts, many in the same clock, each clock one value read back."""
    tb = TB(dut)
    await tb.reset()
    want = None
    addresses = 1 << len(dut.raddr)
    for clock in range(4000):
        density = (0, 0.05, 0.5, 1)[clock // 50 % 4]
        incs = [
            (tb.rng.choice((1, 0xFFFF, tb.rng.getrandbits(16))) if tb.rng.random() < density else 0)
            for _ in range(tb.n)
        ]
        tb.raddr.set(tb.rng.randrange(addresses))
        reading = await tb.step(incs)
        if want is not None:
            assert tb.rdata.get() == want, f"clock {clock}"
        want = reading
    assert min(tb.model) > 1 << 24


@cocotb.test()
async def reset_clears(dut):
    tb = TB(dut)
    for _ in range(3):
        await tb.reset()
        for _ in range(20):
            await tb.step([7] * tb.n)
        await tb.reset()
        for i in range(tb.n):
            tb.raddr.set(i)
            await tb.edge
            await tb.edge
            assert tb.rdata.get() == 0


@pytest.mark.parametrize("n", [1, 3, 46, 64])
def test_nk_stat_counters(n):
    run_module("nk_stat_counters", __file__, {"N": n})
