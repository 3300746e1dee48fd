# SPDX-License-Identifier: Apache-2.0
"""nk_net_stage against a list: committed beats come out once, in order; rolled-back ones never."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import with_timeout
from common.runner import run_module
from common.stream import PAUSES, WordSink, cycles, params, reset, rng, start_clock

RESERVE = 8


class TB:
    def __init__(self, dut, m_pause="none"):
        self.dut = dut
        self.rng = rng("stage")
        p = params()
        self.width, self.depth, self.frames = p["W"], 1 << p["AW"], 1 << p["FRAMES_LOG2"]
        start_clock(dut)
        self.sink = WordSink(dut, "pay", ("data", "last"), pause=PAUSES[m_pause](rng("pause")))
        for name in ("we", "wdata", "end_valid", "end_keep", "end_first", "end_stop"):
            getattr(dut, name).value = 0
        self.expected: list[dict[str, int]] = []

    async def reset(self):
        self.dut.we.value = 0
        self.dut.end_valid.value = 0
        await reset(self.dut)
        self.sink.clear()
        self.expected.clear()

    async def frame(
        self, beats: int, keep: tuple[int, int] | None, gaps=0.0, late=False, rooms=True
    ):
        """Write beats while there is room; the end comes with the last of them, or (`late`) behind it."""
        await with_timeout(self._frame(beats, keep, gaps, late, rooms), 100, "us")

    async def _frame(self, beats, keep, gaps, late, rooms):
        d = self.dut
        words = []
        for i in range(beats):
            while (rooms and not int(d.room.value)) or self.rng.random() < gaps:
                await cycles(d)
            words.append(self.rng.getrandbits(self.width))
            d.wdata.value = words[-1]
            d.we.value = 1
            if i == beats - 1 and not late:
                self._end(words, keep)
            await cycles(d)
            d.we.value = 0
            d.wdata.value = self.rng.getrandbits(self.width)
        if late:
            self._end(words, keep)
            await cycles(d)
        d.end_valid.value = 0

    def _end(self, words, keep):
        d = self.dut
        first, stop = keep or (self.rng.randrange(len(words)), self.rng.randrange(len(words) + 1))
        d.end_first.value = first
        d.end_stop.value = stop
        d.end_keep.value = int(keep is not None)
        d.end_valid.value = 1
        if keep is not None:
            kept = words[first:stop]
            last = len(kept) - 1
            self.expected += [{"data": w, "last": int(i == last)} for i, w in enumerate(kept)]

    async def check(self):
        got = await with_timeout(self.sink.recv_n(len(self.expected)), 500, "us")
        assert got == self.expected
        await cycles(self.dut, 5)
        assert self.sink.empty()
        assert not int(self.dut.busy.value)
        self.expected.clear()


@cocotb.test()
@cocotb.parametrize(m_pause=list(PAUSES), gaps=[0.0, 0.3])
async def stress(dut, m_pause, gaps):
    """Frames of any length, one behind the other, some kept in part, some not at all."""
    tb = TB(dut, m_pause)
    await tb.reset()
    for _ in range(150):
        n = tb.rng.choice([1, 1, 2, 3, tb.rng.randrange(1, tb.depth // 2)])
        keep = None
        if tb.rng.random() < 0.6:
            first = tb.rng.randrange(n)
            keep = (first, tb.rng.randrange(first, n) + 1)
        await tb.frame(n, keep, gaps, late=gaps > 0 and tb.rng.random() < 0.3)
    await tb.check()


@cocotb.test()
async def reserve(dut):
    """`room` falls RESERVE beats before the end; rolled back, all of the memory is free again."""
    tb = TB(dut)
    tb.sink.pause = lambda: True
    await tb.reset()
    for keep in (None, None, (0, tb.depth)):
        await tb.frame(tb.depth - RESERVE, None)
        await cycles(dut)
        assert int(dut.room.value)
        assert not int(dut.busy.value)
        fill = tb.depth - RESERVE + 1
        for i in range(tb.depth):
            await cycles(dut)
            assert int(dut.room.value) == (i < fill), f"after {i} beats"
            dut.we.value = 1
            dut.wdata.value = i
            if i == tb.depth - 1:
                dut.end_valid.value = 1
                dut.end_keep.value = int(keep is not None)
                dut.end_first.value = 0
                dut.end_stop.value = tb.depth
            await cycles(dut)
            dut.we.value = 0
            dut.end_valid.value = 0
    await cycles(dut, 20)
    tb.expected = [{"data": i, "last": int(i == tb.depth - 1)} for i in range(tb.depth)]
    tb.sink.pause = lambda: False
    await tb.check()


@cocotb.test()
async def uncommitted_stays_inside(dut):
    """Nothing is shown before the commit."""
    tb = TB(dut)
    await tb.reset()
    task = cocotb.start_soon(tb.frame(5, (2, 5), gaps=0.9, late=True))
    for _ in range(500):
        if tb.expected:
            break
        assert not int(dut.pay_valid.value)
        await cycles(dut)
    await task
    await tb.check()


@cocotb.test()
async def list_full(dut):
    """More frames than the list holds: `room` falls, those of the reserve find a place, and all come out."""
    tb = TB(dut)
    tb.sink.pause = lambda: True
    await tb.reset()
    taken = 0
    # The beats of the frames are skipped again and again: the list is full before the memory is.
    while int(dut.room.value) and taken < 2 * tb.frames:
        await tb.frame(1, (0, 1))
        await cycles(dut)
        taken += 1
    assert min(tb.frames, tb.depth) - RESERVE <= taken <= min(tb.frames, tb.depth) + 4
    # One of the reserve made `room` fall.
    for _ in range(RESERVE - 2):
        await tb.frame(1, (0, 1), rooms=False)
    await tb.frame(1, None, rooms=False)
    tb.sink.pause = lambda: False
    await tb.check()


@cocotb.test()
async def full_rate(dut):
    """Frames of one beat, or more, every beat kept: a beat a clock comes out, three clocks after the commit."""
    tb = TB(dut)
    await tb.reset()
    for n in (1, 2, 5):
        before = tb.sink.received
        count = 60 // n
        for _ in range(count):
            await tb.frame(n, (0, n))
        await cycles(dut, 2 + n)
        assert tb.sink.received - before == count * n
        await tb.check()


@cocotb.test()
async def reset_mid_traffic(dut):
    """A reset drops what was committed and what was not."""
    tb = TB(dut, "most")
    for _ in range(15):
        await tb.reset()
        for _ in range(tb.rng.randrange(1, 4)):
            n = tb.rng.randrange(1, 5)
            await tb.frame(n, (0, n))
        dut.we.value = tb.rng.randrange(2)
        await cycles(dut)
    await tb.reset()
    await cycles(dut, 10)
    assert tb.sink.empty()
    assert not int(dut.busy.value)
    await tb.frame(4, (1, 3))
    await tb.check()


@pytest.mark.parametrize(("w", "aw", "frames"), [(64, 6, 4), (512, 5, 5)])
def test_nk_net_stage(w, aw, frames):
    run_module("nk_net_stage", __file__, {"W": w, "AW": aw, "FRAMES_LOG2": frames})
