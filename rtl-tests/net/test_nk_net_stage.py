# SPDX-License-Identifier: Apache-2.0
"""nk_net_stage against a list: committed beats come out once, in order; rolled-back ones never."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import with_timeout
from common.runner import run_module
from common.stream import PAUSES, WordSink, cycles, params, reset, rng, start_clock


class TB:
    def __init__(self, dut, m_pause="none"):
        self.dut = dut
        self.rng = rng("stage")
        self.width, self.depth = params()["W"], 1 << params()["AW"]
        start_clock(dut)
        self.sink = WordSink(dut, "pay", ("data", "last"), pause=PAUSES[m_pause](rng("pause")))
        for name in ("we", "wdata", "end_valid", "end_first", "end_beats"):
            getattr(dut, name).value = 0
        self.expected: list[dict[str, int]] = []

    async def reset(self):
        self.dut.we.value = 0
        self.dut.end_valid.value = 0
        await reset(self.dut)
        self.sink.clear()
        self.expected.clear()

    async def write(self, beats: int, gaps: float = 0.0) -> list[int]:
        """Write beats, each when there is room."""
        return await with_timeout(self._write(beats, gaps), 50, "us")

    async def _write(self, beats: int, gaps: float) -> list[int]:
        words = []
        for _ in range(beats):
            self.dut.we.value = 0
            while not int(self.dut.room.value) or self.rng.random() < gaps:
                await cycles(self.dut)
            words.append(self.rng.getrandbits(self.width))
            self.dut.wdata.value = words[-1]
            self.dut.we.value = 1
            await cycles(self.dut)
            self.dut.we.value = 0
            # `room` after this write shows once the write has happened.
            await cycles(self.dut)
        return words

    async def end(self, words: list[int], first: int, keep: int):
        self.dut.end_first.value = first
        self.dut.end_beats.value = keep
        self.dut.end_valid.value = 1
        await cycles(self.dut)
        for _ in range(5000):
            if int(self.dut.end_ready.value):
                break
            await cycles(self.dut)
        else:
            raise AssertionError("end_ready never comes")
        self.dut.end_valid.value = 0
        kept = words[first : first + keep]
        self.expected += [{"data": w, "last": int(i == keep - 1)} for i, w in enumerate(kept)]
        await cycles(self.dut)

    async def check(self):
        got = await with_timeout(self.sink.recv_n(len(self.expected)), 500, "us")
        assert got == self.expected
        await cycles(self.dut, 5)
        assert self.sink.empty()
        assert not int(self.dut.busy.value)
        self.expected.clear()


@cocotb.test()
@cocotb.parametrize(m_pause=list(PAUSES))
async def stress(dut, m_pause):
    """Frames of any length, some kept in part, some not at all."""
    tb = TB(dut, m_pause)
    await tb.reset()
    for _ in range(80):
        n = tb.rng.randrange(1, tb.depth // 2)
        words = await tb.write(n, gaps=0.1)
        if tb.rng.random() < 0.4:
            await tb.end(words, tb.rng.randrange(n), 0)
        else:
            first = tb.rng.randrange(n)
            await tb.end(words, first, tb.rng.randrange(1, n - first + 1))
    await tb.check()


@cocotb.test()
async def full_and_rolled_back(dut):
    """A frame that fills the memory stops at its size; rolled back, all of it is free again."""
    tb = TB(dut)
    tb.sink.pause = lambda: True
    await tb.reset()
    for _ in range(3):
        words = await tb.write(tb.depth)
        assert not int(dut.room.value)
        await tb.end(words, 0, 0)
        assert int(dut.room.value)
        assert not int(dut.busy.value)
    words = await tb.write(tb.depth)
    await tb.end(words, 0, tb.depth)
    await cycles(dut, 20)
    assert tb.sink.received == 0
    tb.sink.pause = lambda: False
    await tb.check()


@cocotb.test()
async def uncommitted_stays_inside(dut):
    """Nothing is shown before the commit."""
    tb = TB(dut)
    await tb.reset()
    words = await tb.write(5)
    await cycles(dut, 20)
    assert tb.sink.received == 0
    await tb.end(words, 2, 3)
    await tb.check()


@cocotb.test()
async def list_full(dut):
    """More frames than the list holds: end_ready falls, a roll-back is still taken."""
    tb = TB(dut)
    tb.sink.pause = lambda: True
    await tb.reset()
    taken = 0
    while True:
        words = await tb.write(1)
        dut.end_first.value = 0
        dut.end_beats.value = 1
        await cycles(dut)
        if not int(dut.end_ready.value):
            break
        await tb.end(words, 0, 1)
        taken += 1
        assert taken < 40
    assert taken >= 16
    await tb.end(words, 0, 0)
    tb.sink.pause = lambda: False
    await tb.check()


@cocotb.test()
async def full_rate(dut):
    """A waiting frame leaves at a beat a clock."""
    tb = TB(dut)
    tb.sink.pause = lambda: True
    await tb.reset()
    words = await tb.write(tb.depth)
    await tb.end(words, 0, tb.depth)
    await cycles(dut, 5)
    tb.sink.pause = lambda: False
    await cycles(dut, tb.depth + 4)
    assert tb.sink.received == tb.depth
    await tb.check()


@cocotb.test()
async def reset_mid_traffic(dut):
    """A reset drops what was committed and what was not."""
    tb = TB(dut, "most")
    for _ in range(15):
        await tb.reset()
        for _ in range(tb.rng.randrange(1, 4)):
            words = await tb.write(tb.rng.randrange(1, 5))
            await tb.end(words, 0, len(words))
        await tb.write(tb.rng.randrange(3))
    await tb.reset()
    await cycles(dut, 10)
    assert tb.sink.empty()
    assert not int(dut.busy.value)
    words = await tb.write(4)
    await tb.end(words, 1, 2)
    await tb.check()


@pytest.mark.parametrize(("w", "aw"), [(64, 6), (512, 5)])
def test_nk_net_stage(w, aw):
    run_module("nk_net_stage", __file__, {"W": w, "AW": aw, "FRAMES_LOG2": 4})
