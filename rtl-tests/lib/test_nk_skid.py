# SPDX-License-Identifier: Apache-2.0
"""nk_skid against its model, a queue: every word once, in order, at full rate when nobody waits."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import with_timeout
from common.runner import run_module
from common.stream import PAUSES, WordSink, WordSource, cycles, params, reset, rng, start_clock


class TB:
    """Clock, reset, one source, one sink; the model is the list of the words sent."""

    def __init__(self, dut, s_pause="none", m_pause="none"):
        self.dut = dut
        self.rng = rng("skid")
        self.width = params()["W"]
        start_clock(dut)
        self.source = WordSource(dut, "s", pause=PAUSES[s_pause](rng("s pause")))
        self.sink = WordSink(dut, "m", pause=PAUSES[m_pause](rng("m pause")))
        self.expected: list[int] = []

    async def reset(self, clocks=3):
        self.expected.clear()
        await reset(self.dut, clocks)
        self.sink.clear()

    def send(self, n):
        words = [self.rng.getrandbits(self.width) for _ in range(n)]
        self.source.send_all(words)
        self.expected += words

    async def check(self, timeout_us=100):
        got = await with_timeout(self.sink.recv_n(len(self.expected)), timeout_us, "us")
        assert got == self.expected
        self.expected.clear()
        await cycles(self.dut, 5)
        assert self.sink.empty(), "more words came out than went in"
        assert self.source.pending() == 0


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
    """Without stalls a word leaves in every cycle, after a start of three."""
    tb = TB(dut)
    await tb.reset()
    await cycles(dut, 2)
    tb.send(200)
    await cycles(dut, 203)
    assert tb.sink.received == 200
    await tb.check()


@cocotb.test()
async def holds_two_words(dut):
    """A stopped consumer costs the producer nothing for two words, and then it waits."""
    tb = TB(dut, m_pause="none")
    tb.sink.pause = lambda: True
    await tb.reset()
    tb.send(10)
    await cycles(dut, 20)
    assert tb.source.sent == 2
    assert tb.sink.received == 0
    tb.sink.pause = lambda: False
    await tb.check()


@cocotb.test()
async def reset_mid_traffic(dut):
    """A reset at any moment drops what is inside; afterwards nothing old appears."""
    tb = TB(dut, "some", "bursts")
    for _ in range(20):
        # Also of one clock: a longer one flushes the buffer even if it resets only half of it.
        await tb.reset(tb.rng.randrange(1, 4))
        tb.send(50)
        await cycles(dut, tb.rng.randrange(1, 60))
        got = list(tb.sink.queue)
        assert got == tb.expected[: len(got)], "a word survived the reset"
    await tb.reset()
    tb.send(100)
    await tb.check()


@pytest.mark.parametrize("w", [1, 8, 64, 513])
def test_nk_skid(w):
    run_module("nk_skid", __file__, {"W": w})


def test_nk_skid_icarus():
    """Four states: nothing undefined comes out after reset."""
    run_module("nk_skid", __file__, {"W": 64}, simulator="icarus")
