# SPDX-License-Identifier: Apache-2.0
"""nk_qs_stats against integers: each counter has its own source, a record in every clock, none lost."""

from __future__ import annotations

from collections import Counter

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import Signal, params, reset, rng, start_clock

Record = dict[int, tuple[int, int]]  # counter -> set, increment


class TB:
    def __init__(self, dut):
        self.dut = dut
        self.rng = rng("qs stats")
        self.sw, self.n = params()["SW"], params()["N"]
        names = ("qsc_valid", "qsc_set", "qsc_inc", "r_req", "r_set", "r_index")
        self.valid, self.set, self.inc, self.r_req, self.r_set, self.r_index = (
            Signal(getattr(dut, n)) for n in names
        )
        self.r_valid, self.r_data = Signal(dut.r_valid), Signal(dut.r_data)
        self.ready, self.busy = Signal(dut.ready), Signal(dut.busy)
        self.edge = RisingEdge(dut.clk)
        start_clock(dut)
        self.clear()

    def clear(self):
        self.want: Counter[tuple[int, int]] = Counter()
        self.recent: dict[tuple[int, int], int] = {}  # counted by the last clock
        self.reading = None
        self.at_least = 0
        self.value = None
        self.clocks = 0
        self.valid.set(0)
        self.r_req.set(0)

    async def reset(self):
        self.clear()
        await reset(self.dut)

    async def step(self, record: Record | None = None, read: tuple[int, int] | None = None):
        """One clock; sources without a record show anything."""
        r, record = self.rng, record or {}
        sets, incs = r.getrandbits(self.sw * self.n), r.getrandbits(8 * self.n)
        for i, (at, inc) in record.items():
            sets = sets & ~(((1 << self.sw) - 1) << self.sw * i) | at << self.sw * i
            incs = incs & ~(0xFF << 8 * i) | inc << 8 * i
        self.valid.set(sum(1 << i for i in record))
        self.set.set(sets)
        self.inc.set(incs)
        self.r_req.set(int(read is not None))
        self.r_set.set(read[0] if read else r.getrandbits(self.sw))
        self.r_index.set(read[1] if read else r.randrange(16))
        if read is not None:
            assert self.reading is None
            # What came two clocks ago or before must be seen.
            self.reading, self.clocks, self.at_least = (
                read,
                0,
                self.want[read] - self.recent.get(read, 0),
            )
        await self.edge
        # In the clock of a record and in the one behind it, where it is written.
        assert self.busy.get() or not (record or self.recent)
        self.value = None
        if self.r_valid.get():
            assert self.reading is not None, "an answer that nobody asked for"
            self.value = self.r_data.get()
            assert self.at_least <= self.value <= self.want[self.reading]
            self.reading = None
        elif self.reading is not None and self.ready.get():
            self.clocks += 1
            assert self.clocks <= 4, "no answer to a read"
        self.recent = {}
        if self.ready.get():
            for i, (at, inc) in record.items():
                self.want[at, i] += inc
                self.recent[at, i] = inc

    async def wait_ready(self):
        clocks = 0
        while not self.ready.get():
            assert self.busy.get()
            await self.step()
            clocks += 1
            assert clocks <= (1 << self.sw) + 2

    async def finish(self, recent=()):
        """All counters compared, as soon as it is not busy."""
        await self.step()
        while self.busy.get():
            await self.step()
        every = [(at, i) for at in range(1 << self.sw) for i in range(self.n)]
        if len(every) > 300:
            every = self.rng.sample(every, 300)
        for key in (*recent, *every):
            await self.step(read=key)
            while self.value is None:
                await self.step()
            assert self.value == self.want[key], f"set {key[0]} counter {key[1]}"


@cocotb.test()
@cocotb.parametrize(load=[0.3, 1])
async def stress(dut, load):
    """Each source on sets of its own choice, often the same one again; reads in between."""
    tb = TB(dut)
    await tb.reset()
    await tb.wait_ready()
    r, reads = tb.rng, 0
    few = [r.getrandbits(tb.sw) for _ in range(2)]
    for clock in range(3000):
        record = {
            i: (r.choice(few) if clock // 500 % 2 else r.getrandbits(tb.sw), r.choice((1, 255, 7)))
            for i in range(tb.n)
            if r.random() < load
        }
        read = None
        if tb.reading is None and r.random() < 0.1:
            read = (r.choice(few), r.randrange(tb.n))
            reads += 1
        await tb.step(record, read)
    while tb.reading is not None:
        await tb.step()
    await tb.finish(recent=[(at, i) for at in few for i in range(tb.n)])
    assert reads > 100


@cocotb.test()
async def one_set_in_every_clock(dut):
    """Each record takes the sum of the one before, in every counter at once."""
    tb = TB(dut)
    await tb.reset()
    await tb.wait_ready()
    last = (1 << tb.sw) - 1
    for _ in range(2000):
        await tb.step({i: (last, 255) for i in range(tb.n)})
    await tb.finish(recent=[(last, i) for i in range(tb.n)])


@cocotb.test()
async def no_such_counter(dut):
    """An index behind the last counter reads as 0; a read during the clearing is answered after it."""
    tb = TB(dut)
    await tb.reset()
    assert not tb.ready.get()
    await tb.step(read=(0, 0))
    await tb.wait_ready()
    for _ in range(5):
        await tb.step({i: (0, 3) for i in range(tb.n)})
    assert tb.reading is None
    for index in range(tb.n, 16):
        tb.want[0, index] = 0
        await tb.step(read=(0, index))
        while tb.value is None:
            await tb.step()
        assert tb.value == 0


@cocotb.test()
async def reset_mid_traffic(dut):
    """After a reset all counters are 0 again, and what is added to them too."""
    tb = TB(dut)
    for _ in range(4):
        await tb.reset()
        await tb.wait_ready()
        for _ in range(tb.rng.randrange(1, 200)):
            await tb.step({i: (tb.rng.getrandbits(tb.sw), 200) for i in range(tb.n)})
    # The set that is first again below: nothing of it is left to be forwarded.
    await tb.step({i: (0, 200) for i in range(tb.n)})
    await tb.reset()
    await tb.wait_ready()
    for at in range(1 << tb.sw):
        await tb.step({i: (at, 1) for i in range(tb.n)})
    await tb.finish()


@pytest.mark.parametrize(("sw", "n"), [(1, 1), (6, 7), (11, 16)])
def test_nk_qs_stats(sw, n):
    run_module("nk_qs_stats", __file__, {"SW": sw, "N": n})
