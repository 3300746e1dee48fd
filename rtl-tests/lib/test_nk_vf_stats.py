# SPDX-License-Identifier: Apache-2.0
"""nk_vf_stats against integers: a record in every clock, none lost, whatever follows on the same VF."""

from __future__ import annotations

from collections import Counter

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import Signal, params, reset, rng, start_clock


class TB:
    def __init__(self, dut):
        self.dut = dut
        self.rng = rng("vf stats")
        self.vfs, self.n = 1 << params()["VW"], params()["N"]
        names = ("s_valid", "s_vf", "s_inc", "r_req", "r_vf", "r_index")
        self.valid, self.vf, self.inc, self.r_req, self.r_vf, self.r_index = (
            Signal(getattr(dut, n)) for n in names
        )
        self.r_valid, self.r_data = Signal(dut.r_valid), Signal(dut.r_data)
        self.ready, self.busy = Signal(dut.ready), Signal(dut.busy)
        self.edge = RisingEdge(dut.clk)
        start_clock(dut)
        self.clear()

    def clear(self):
        self.want: Counter[tuple[int, int]] = Counter()
        self.reading = None  # (vf, index), value when it was asked for
        self.value = None
        self.clocks = 0
        self.floor, self.floor_of = 0, None  # what was read last
        self.valid.set(0)
        self.r_req.set(0)

    async def reset(self):
        self.clear()
        await reset(self.dut)

    async def step(self, record=None, read=None):
        """record: (vf, increments); read: (vf, index)."""
        r = self.rng
        vf, incs = record or (r.randrange(self.vfs), [r.getrandbits(16) for _ in range(self.n)])
        self.valid.set(int(record is not None))
        self.vf.set(vf)
        self.inc.set(sum(inc << 16 * i for i, inc in enumerate(incs)))
        self.r_req.set(int(read is not None))
        self.r_vf.set(read[0] if read else r.randrange(self.vfs))
        self.r_index.set(read[1] if read else r.randrange(16))
        if read is not None:
            assert self.reading is None
            self.reading, self.clocks = read, 0
            self.at_least = self.floor if self.floor_of == read else 0
        await self.edge
        self.value = None
        if self.r_valid.get():
            assert self.reading is not None, "an answer that nobody asked for"
            self.value = self.r_data.get()
            assert self.at_least <= self.value <= self.want[self.reading]
            self.floor, self.floor_of = self.value, self.reading
            self.reading = None
        elif self.reading is not None and self.ready.get():
            self.clocks += 1
            assert self.clocks <= 4, "no answer to a read"
        if record is not None and self.ready.get():
            for i, inc in enumerate(incs):
                self.want[vf, i] += inc

    async def wait_ready(self):
        clocks = 0
        while not self.ready.get():
            assert self.busy.get()
            await self.step()
            clocks += 1
            assert clocks <= self.vfs + 2

    async def finish(self, recent=()):
        """All counters compared, as soon as it is not busy."""
        await self.step()
        while self.busy.get():
            await self.step()
        every = [(vf, i) for vf in range(self.vfs) for i in range(self.n)]
        if len(every) > 300:
            every = self.rng.sample(every, 300)
        for at in (*recent, *every):
            await self.step(read=at)
            while self.value is None:
                await self.step()
            assert self.value == self.want[at], f"VF {at[0]} counter {at[1]}"


@cocotb.test()
@cocotb.parametrize(load=[0.3, 0.8, 1])
async def stress(dut, load):
    """Few VFs, so that records of one follow each other closely; reads in between."""
    tb = TB(dut)
    await tb.reset()
    await tb.wait_ready()
    reads = 0
    few = [tb.rng.randrange(tb.vfs) for _ in range(2)]
    vf = 0
    for clock in range(3000):
        vf = tb.rng.choice(few) if clock // 500 % 2 else tb.rng.randrange(tb.vfs)
        # Most counters of a record are 0, another pattern each time.
        incs = [tb.rng.choice((0, 0, 1, 0xFFFF, tb.rng.getrandbits(16))) for _ in range(tb.n)]
        record = (vf, incs) if tb.rng.random() < load else None
        read = None
        if tb.reading is None and tb.rng.random() < 0.1:
            read = (vf, tb.rng.randrange(tb.n))
            reads += 1
        await tb.step(record, read)
    await tb.finish(recent=[(vf, i) for i in range(tb.n)] if tb.reading is None else ())
    assert reads > 100


@cocotb.test()
async def one_vf_in_every_clock(dut):
    """Each record takes the sum of the one before; the sum goes beyond 32 bits."""
    tb = TB(dut)
    await tb.reset()
    await tb.wait_ready()
    for _ in range(70000 if tb.n < 3 else 2000):
        await tb.step((tb.vfs - 1, [0xFFFF] * tb.n))
    await tb.finish(recent=[(tb.vfs - 1, i) for i in range(tb.n)])


@cocotb.test()
async def read_waits_for_clearing(dut):
    """A read that comes during the clearing is answered after it."""
    tb = TB(dut)
    await tb.reset()
    assert not tb.ready.get()
    await tb.step(read=(0, 0))
    await tb.wait_ready()
    for _ in range(5):
        await tb.step()
    assert tb.reading is None


@cocotb.test()
async def reset_mid_traffic(dut):
    """After a reset all counters are 0 again."""
    tb = TB(dut)
    for _ in range(4):
        await tb.reset()
        await tb.wait_ready()
        for _ in range(tb.rng.randrange(1, 200)):
            await tb.step((tb.rng.randrange(tb.vfs), [tb.rng.getrandbits(16) for _ in range(tb.n)]))
    await tb.reset()
    await tb.wait_ready()
    # What is added to must be 0 too, not only what is read.
    for vf in range(tb.vfs):
        await tb.step((vf, [1] * tb.n))
    await tb.finish()


@pytest.mark.parametrize(("vw", "n"), [(1, 1), (3, 8), (8, 16)])
def test_nk_vf_stats(vw, n):
    run_module("nk_vf_stats", __file__, {"VW": vw, "N": n})
