# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_guard against a bucket of tokens that gains one a millisecond of 1,024 us."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import Signal, params, reset, rng, start_clock

MS = 1024


class TB:
    """Two ideal buckets beside the RTL's: one fills before it spends, one after a run of spends. Leave lies between them."""

    def __init__(self, dut):
        self.dut, self.r = dut, rng("guard")
        self.full, self.keep = params()["BURST"], params()["RESERVE"]
        self.now_us, self.ok, self.spend = (Signal(dut[n]) for n in ("now_us", "ok", "spend"))
        self.edge = RisingEdge(dut.clk)
        self.time = self.r.choice((0, (1 << 32) - 5 * MS, self.r.getrandbits(32)))
        self.now_us.set(self.time & 0xFFFFFFFF)
        self.spend.set(0)
        self.quiet = 0  # clocks without a spend or a new millisecond
        start_clock(dut)

    async def start(self):
        await reset(self.dut)
        self.tokens = self.late = self.full
        self.owed = 0  # milliseconds that the late bucket has not counted
        self.ms = self.time // MS

    async def step(self, spend: bool = False, us: int = 0) -> bool:
        """One clock; then time moves on. Gives the leave that the RTL had given in it."""
        self.spend.set(int(spend))
        await self.edge
        ok = bool(self.ok.get())
        ideal = self.tokens > self.keep
        assert not ok or self.late > self.keep, f"leave with {self.late} tokens"
        if self.quiet >= 2:
            assert ok or not ideal, f"no leave with {self.tokens} tokens"
        if spend:
            assert self.late > 0, "the reserve did not cover it"
            self.tokens = max(0, self.tokens - 1)
            self.late -= 1
        else:
            self.late, self.owed = min(self.full, self.late + self.owed), 0
        self.time += us
        self.now_us.set(self.time & 0xFFFFFFFF)
        ms = self.time // MS
        self.quiet = 0 if spend or ms != self.ms else self.quiet + 1
        self.owed += ms - self.ms
        if self.late == self.full:
            self.owed = 0
        self.tokens, self.ms = min(self.full, self.tokens + ms - self.ms), ms
        return ok


@cocotb.test()
async def random_traffic(dut):
    """Answers in bursts, each up to RESERVE clocks after its leave; time runs, stands still and jumps."""
    tb = TB(dut)
    await tb.start()
    late: list[bool] = [False] * tb.keep
    given = refused = 0
    for clock in range(30_000):
        share = (0.0, 1.0, 0.3)[clock // 500 % 3]
        us = tb.r.choice((0, 0, 1, 1, 30)) if clock // 700 % 2 else 0
        if tb.r.random() < 0.002:
            us = tb.r.choice((MS, 20 * MS, 300 * MS, 1 << 22, MS - 1))
        ok = await tb.step(late.pop(0), us)
        wants = tb.r.random() < share
        late.append(wants and ok)
        given += late[-1]
        refused += wants and not ok
    assert given > 300 and refused > 100


@cocotb.test()
async def burst_and_refill(dut):
    """A full bucket less the reserve at once; then just one a millisecond; full again after a pause, not fuller."""
    tb = TB(dut)
    await tb.start()

    async def burst() -> int:
        n, ok = 0, await tb.step()
        while ok:
            await tb.step(True)
            n += 1
            ok = await tb.step()
        return n

    assert await burst() == tb.full - tb.keep
    for _ in range(20):
        await tb.step(us=MS)
        await tb.step()
        assert await burst() == 1
    await tb.step(us=7 * MS)
    await tb.step()
    assert await burst() == 7
    for us in (tb.full * MS, 5000 * MS, 1 << 31):
        await tb.step(us=us)
        for _ in range(3):
            await tb.step()
        assert await burst() == tb.full - tb.keep, us


@cocotb.test()
async def reset_fills_it(dut):
    """After a reset the bucket is full, whatever the time is."""
    tb = TB(dut)
    await tb.start()
    for _ in range(tb.full - tb.keep):
        await tb.step(True)
    assert not await tb.step()
    tb.time += 12345
    tb.now_us.set(tb.time & 0xFFFFFFFF)
    await tb.start()
    tb.quiet = 0
    assert await tb.step()


@pytest.mark.parametrize(("burst", "reserve"), [(255, 8), (20, 3)])
def test_nk_tcp_guard(burst, reserve):
    run_module("nk_tcp_guard", __file__, {"BURST": burst, "RESERVE": reserve})
