# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_front: each segment comes out once, in order, with the answer that the flow table gave for it."""

from __future__ import annotations

from collections import deque

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


class Table:
    """The flow table: answers in order after a fixed latency; what it answers follows from the segment alone."""

    def __init__(self, dut, latency: int, busy: float):
        self.dut, self.latency, self.busy = dut, latency, busy
        self.r = rng("table")
        self.free, self.asked = Signal(dut.lk_free), Signal(dut.lk_valid)
        self.word, self.rst = Signal(dut.s_word), Signal(dut.rst)
        self.done, self.hit, self.flow = (Signal(dut[f"lk_{n}"]) for n in ("done", "hit", "flow"))
        self.pipe: deque = deque([None] * latency)
        self.questions = 0
        self.hold = False
        self.free.set(0)
        self.done.set(0)
        cocotb.start_soon(self.run())

    @staticmethod
    def answer(word: int) -> tuple[int, int]:
        return word & 1, word >> 1 & 1023

    async def run(self):
        edge = RisingEdge(self.dut.clk)
        while True:
            await edge
            question = None
            if self.rst.get():
                self.pipe = deque([None] * self.latency)
            elif self.asked.get():
                assert self.free.last, "asked while the table is not free"
                question = self.word.get()
                self.questions += 1
            self.pipe.append(question)
            due = self.pipe.popleft()
            self.done.set(int(due is not None))
            hit, flow = (
                (self.r.getrandbits(1), self.r.getrandbits(10)) if due is None else self.answer(due)
            )
            self.hit.set(hit)
            self.flow.set(flow)
            self.free.set(int(not self.hold and self.r.random() >= self.busy))


class TB:
    def __init__(self, dut, s_pause="none", m_pause="none", latency=7, busy=0.0):
        self.dut, self.r = dut, rng("front")
        self.width = params()["SW"]
        start_clock(dut)
        self.source = WordSource(dut, "s", ("word",), PAUSES[s_pause](rng("s")))
        self.sink = WordSink(dut, "m", ("word", "hit", "flow"), PAUSES[m_pause](rng("m")))
        self.table = Table(dut, latency, busy)

    def words(self, n: int) -> list[int]:
        return [self.r.getrandbits(self.width) for _ in range(n)]

    @staticmethod
    def want(words: list[int]) -> list[dict[str, int]]:
        return [
            {"word": w, **dict(zip(("hit", "flow"), Table.answer(w), strict=True))} for w in words
        ]


@cocotb.test()
@cocotb.parametrize(s_pause=["none", "bursts"], m_pause=["none", "most"], busy=[0.0, 0.6])
async def in_order(dut, s_pause, m_pause, busy):
    """Whatever stalls: word and answer belong together."""
    tb = TB(dut, s_pause, m_pause, tb_latency(), busy)
    await reset(dut)
    words = tb.words(400)
    tb.source.send_all(words)
    assert await with_timeout(tb.sink.recv_n(400), 100, "us") == tb.want(words)
    await cycles(dut, 3)
    assert not int(dut.busy.value) and tb.sink.empty() and tb.table.questions == 400


def tb_latency() -> int:
    return rng("latency").randint(1, 12)


@cocotb.test()
async def full_rate(dut):
    """One segment a clock, with a table that takes twelve clocks."""
    tb = TB(dut, latency=12)
    await reset(dut)
    await cycles(dut, 2)
    tb.source.send_all(tb.words(300))
    await cycles(dut, 300 + 20)
    assert tb.sink.received == 300


@cocotb.test()
async def no_answer_is_lost(dut):
    """Nobody takes anything: it stops asking before an answer could find no room."""
    tb = TB(dut, latency=12)
    tb.sink.pause = lambda: True
    await reset(dut)
    words = tb.words(100)
    tb.source.send_all(words)
    await cycles(dut, 200)
    depth = 1 << params()["DEPTH_LOG2"]
    assert tb.table.questions == depth and int(dut.busy.value)
    tb.sink.pause = lambda: False
    assert await with_timeout(tb.sink.recv_n(100), 20, "us") == tb.want(words)


@cocotb.test()
async def waits_for_the_table(dut):
    """While the table is busy no segment is taken."""
    tb = TB(dut)
    tb.table.hold = True
    await reset(dut)
    tb.source.send_all(tb.words(3))
    await cycles(dut, 30)
    assert not int(dut.s_ready.value) and tb.table.questions == 0 and tb.sink.empty()
    tb.table.hold = False
    await with_timeout(tb.sink.recv_n(3), 2, "us")


@cocotb.test()
async def reset_mid_traffic(dut):
    """What waits is gone, answers under way too: nothing is paired wrongly afterwards."""
    tb = TB(dut, "bursts", "most", 9)
    for _ in range(12):
        await reset(dut, 12)
        tb.sink.clear()
        tb.source.send_all(tb.words(40))
        await cycles(dut, tb.r.randrange(1, 60))
    await reset(dut, 12)
    tb.sink.clear()
    tb.source.clear()
    assert not int(dut.busy.value)
    words = tb.words(50)
    tb.source.send_all(words)
    assert await with_timeout(tb.sink.recv_n(50), 20, "us") == tb.want(words)


@pytest.mark.parametrize("depth", [4, 5])
def test_nk_tcp_front(depth):
    run_module("nk_tcp_front", __file__, {"FW": 10, "SW": 100, "DEPTH_LOG2": depth})
