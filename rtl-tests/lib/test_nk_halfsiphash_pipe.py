# SPDX-License-Identifier: Apache-2.0
"""nk_halfsiphash_pipe against the Python definition: a message every clock, answers in order."""

from __future__ import annotations

from collections import deque

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import PAUSES, Signal, params, reset, rng, start_clock
from lib.halfsiphash import VECTOR_KEY, VECTORS, check_vectors, halfsiphash


class TB:
    def __init__(self, dut):
        self.dut = dut
        self.rng = rng("pipe")
        self.words, self.c, self.d = (params()[p] for p in ("WORDS", "C", "D"))
        self.latency = self.c * self.words + self.d
        names = ("s_valid", "s_key", "s_msg", "m_valid", "m_hash", "m_msg")
        self.valid, self.key, self.msg, self.m_valid, self.m_hash, self.m_msg = (
            Signal(getattr(dut, n)) for n in names
        )
        self.edge = RisingEdge(dut.clk)
        start_clock(dut)
        self.due: deque[tuple[int, int] | None] = deque()
        self.valid.set(0)

    async def reset(self):
        self.valid.set(0)
        await reset(self.dut)
        self.due = deque([None] * self.latency)

    async def step(self, key=None, data=b""):
        """One clock; key None: nothing is asked, and rubbish on the wires."""
        padded = self.rng.randbytes(4 * self.words)
        if key is not None:
            assert len(data) // 4 + 1 == self.words
            padded = data + bytes(4 * self.words - 1 - len(data)) + bytes([len(data) & 0xFF])
        self.valid.set(int(key is not None))
        self.key.set(int.from_bytes(key or self.rng.randbytes(8), "little"))
        msg = int.from_bytes(padded, "little")
        self.msg.set(msg)
        await self.edge
        want = self.due.popleft()
        assert self.m_valid.get() == (want is not None)
        if want is not None:
            assert (self.m_hash.get(), self.m_msg.get()) == want
        self.due.append(None if key is None else (halfsiphash(key, data, self.c, self.d), msg))

    def data(self):
        return self.rng.randbytes(4 * (self.words - 1) + self.rng.randrange(4))


@cocotb.test()
async def vectors(dut):
    tb = TB(dut)
    await tb.reset()
    for rounds, length, want in VECTORS:
        if rounds == (tb.c, tb.d) and length // 4 + 1 == tb.words:
            await tb.step(VECTOR_KEY, bytes(range(length)))
            assert tb.due[-1] is not None and tb.due[-1][0] == want
    for _ in range(tb.latency):
        await tb.step()


@cocotb.test()
@cocotb.parametrize(pause=list(PAUSES))
async def random_messages(dut, pause):
    tb = TB(dut)
    await tb.reset()
    gap = PAUSES[pause](tb.rng)
    for _ in range(600):
        await tb.step(None if gap() else tb.rng.randbytes(8), tb.data())
    for _ in range(tb.latency):
        await tb.step()


@cocotb.test()
async def reset_mid_traffic(dut):
    """What is under way at a reset is not answered."""
    tb = TB(dut)
    for _ in range(10):
        await tb.reset()
        for _ in range(tb.rng.randrange(1, 30)):
            await tb.step(tb.rng.randbytes(8), tb.data())


def test_model_vectors():
    """The judge itself."""
    check_vectors()


@pytest.mark.parametrize(("words", "c", "d"), [(1, 1, 3), (3, 1, 3), (4, 2, 4)])
def test_nk_halfsiphash_pipe(words, c, d):
    run_module("nk_halfsiphash_pipe", __file__, {"WORDS": words, "C": c, "D": d})
