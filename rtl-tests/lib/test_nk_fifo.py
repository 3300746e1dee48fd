# SPDX-License-Identifier: Apache-2.0
"""nk_fifo against a queue: every word once, in order, at full rate; `level` always exact."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import RisingEdge, with_timeout
from common.runner import run_module
from common.stream import (
    PAUSES,
    Signal,
    WordSink,
    WordSource,
    cycles,
    params,
    reset,
    rng,
    start_clock,
)


class TB:
    """One source, one sink, and a monitor that counts words in and out to judge `level`."""

    def __init__(self, dut, s_pause="none", m_pause="none"):
        self.dut = dut
        self.rng = rng("fifo")
        self.width = params()["W"]
        self.depth = 1 << params()["DEPTH_LOG2"]
        self.fast = bool(params().get("FAST"))
        dut.rst.value = 1
        start_clock(dut)
        self.source = WordSource(dut, "s", pause=PAUSES[s_pause](rng("s pause")))
        self.sink = WordSink(dut, "m", pause=PAUSES[m_pause](rng("m pause")))
        self.expected: list[int] = []
        self.max_level = 0
        self._monitor = cocotb.start_soon(self._watch_level())

    async def _watch_level(self):
        names = ("s_valid", "s_ready", "m_valid", "m_ready", "level", "rst")
        s_valid, s_ready, m_valid, m_ready, level, rst = (
            Signal(getattr(self.dut, n)) for n in names
        )
        edge = RisingEdge(self.dut.clk)
        held = None
        while True:
            await edge
            if rst.get():
                held = 0
                continue
            if held is None:
                continue
            assert level.get() == held, "level differs from words in minus words out"
            self.max_level = max(self.max_level, held)
            held += (s_valid.get() & s_ready.get()) - (m_valid.get() & m_ready.get())

    async def reset(self):
        self.expected.clear()
        await reset(self.dut)
        self.sink.clear()

    def send(self, n):
        words = [self.rng.getrandbits(self.width) for _ in range(n)]
        self.source.send_all(words)
        self.expected += words

    async def check(self, timeout_us=1000):
        got = await with_timeout(self.sink.recv_n(len(self.expected)), timeout_us, "us")
        assert got == self.expected
        self.expected.clear()
        await cycles(self.dut, 5)
        assert self.sink.empty(), "more words came out than went in"
        assert self.source.pending() == 0
        assert not self._monitor.done()


@cocotb.test()
@cocotb.parametrize(s_pause=list(PAUSES), m_pause=list(PAUSES))
async def stress(dut, s_pause, m_pause):
    """All words, in order, under each mix of stalls."""
    tb = TB(dut, s_pause, m_pause)
    await tb.reset()
    tb.send(400)
    await tb.check()


@cocotb.test()
async def full_rate(dut):
    """A word in and a word out in each clock; the first one shows two clocks after it was taken (FAST: one).

    Two words of storage do not cover these two clocks and the registered s_ready: that gives two
    words in three clocks.
    """
    tb = TB(dut)
    await tb.reset()
    await cycles(dut, 2)
    tb.send(200)
    await cycles(dut, (204 if tb.depth > 2 or tb.fast else 304) - tb.fast)
    assert tb.sink.received == 200
    await tb.check()
    assert tb.max_level <= 2 - tb.fast


@cocotb.test()
async def holds_its_depth(dut):
    """It takes exactly 2**DEPTH_LOG2 words when nobody reads, and then loses none."""
    tb = TB(dut)
    tb.sink.pause = lambda: True
    await tb.reset()
    tb.send(3 * tb.depth)
    await cycles(dut, 3 * tb.depth + 10)
    assert tb.source.sent == tb.depth
    assert tb.max_level == tb.depth
    tb.sink.pause = lambda: False
    await tb.check()


@cocotb.test()
async def reset_mid_traffic(dut):
    """A reset at any moment empties it; afterwards nothing old appears."""
    tb = TB(dut, "some", "bursts")
    for _ in range(20):
        await tb.reset()
        tb.send(50)
        await cycles(dut, tb.rng.randrange(1, 60))
    await tb.reset()
    await cycles(dut, 5)
    assert tb.sink.empty(), "a word survived the reset"
    tb.send(100)
    await tb.check()


@pytest.mark.parametrize(("w", "depth_log2"), [(1, 1), (8, 3), (64, 4), (513, 2)])
def test_nk_fifo(w, depth_log2):
    run_module("nk_fifo", __file__, {"W": w, "DEPTH_LOG2": depth_log2})


@pytest.mark.parametrize(("w", "depth_log2"), [(8, 1), (8, 3), (513, 2)])
def test_nk_fifo_fast(w, depth_log2):
    run_module("nk_fifo", __file__, {"W": w, "DEPTH_LOG2": depth_log2, "FAST": 1})


@pytest.mark.parametrize("fast", [0, 1])
def test_nk_fifo_icarus(fast):
    """Four states: nothing undefined comes out after reset."""
    run_module("nk_fifo", __file__, {"W": 64, "DEPTH_LOG2": 2, "FAST": fast}, simulator="icarus")
