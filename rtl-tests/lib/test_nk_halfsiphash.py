# SPDX-License-Identifier: Apache-2.0
"""nk_halfsiphash against the Python definition, and that against the published vectors."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import Signal, params, reset, rng, start_clock
from lib.halfsiphash import VECTOR_KEY, VECTORS, check_vectors, halfsiphash


class TB:
    def __init__(self, dut):
        self.dut = dut
        self.rng = rng("hash")
        self.words, self.c, self.d = (params()[p] for p in ("WORDS", "C", "D"))
        names = ("req_valid", "req_ready", "key", "msg", "rsp_valid", "rsp_hash")
        self.valid, self.ready, self.key, self.msg, self.rsp, self.hash = (
            Signal(getattr(dut, n)) for n in names
        )
        self.edge = RisingEdge(dut.clk)
        start_clock(dut)
        self.rubbish()

    def rubbish(self):
        """Key and message count only in the clock of the request."""
        self.valid.set(0)
        self.key.set(self.rng.getrandbits(64))
        self.msg.set(self.rng.getrandbits(32 * self.words))

    async def request(self, key, data):
        """Ask; return when it was accepted."""
        assert len(data) // 4 + 1 == self.words
        padded = data + bytes(4 * self.words - 1 - len(data)) + bytes([len(data) & 0xFF])
        self.valid.set(1)
        self.key.set(int.from_bytes(key, "little"))
        self.msg.set(int.from_bytes(padded, "little"))
        await self.edge
        while not self.ready.get():
            await self.edge
        self.rubbish()

    async def answer(self):
        """The hash, which must come after exactly C*WORDS + D + 1 clocks."""
        for clock in range(1, self.c * self.words + self.d + 2):
            await self.edge
            assert self.rsp.get() == (clock == self.c * self.words + self.d + 1), f"clock {clock}"
        return self.hash.get()

    async def check(self, key, data):
        await self.request(key, data)
        assert await self.answer() == halfsiphash(key, data, self.c, self.d)


@cocotb.test()
async def vectors(dut):
    tb = TB(dut)
    await reset(dut)
    for rounds, length, want in VECTORS:
        if rounds == (tb.c, tb.d) and length // 4 + 1 == tb.words:
            await tb.request(VECTOR_KEY, bytes(range(length)))
            assert await tb.answer() == want


@cocotb.test()
async def random_messages(dut):
    """All lengths that fit, random keys; half of the requests follow without a pause."""
    tb = TB(dut)
    await reset(dut)
    for _ in range(400):
        length = 4 * (tb.words - 1) + tb.rng.randrange(4)
        await tb.check(tb.rng.randbytes(8), tb.rng.randbytes(length))
        for _ in range(tb.rng.choice((0, 0, 1, 5))):
            await tb.edge
            assert not tb.rsp.get()


@cocotb.test()
async def reset_mid_traffic(dut):
    """A reset ends the work without an answer; the next one is right."""
    tb = TB(dut)
    for _ in range(20):
        await reset(dut)
        await tb.request(tb.rng.randbytes(8), tb.rng.randbytes(4 * tb.words - 1))
        for _ in range(tb.rng.randrange(tb.c * tb.words + tb.d)):
            await tb.edge
        await reset(dut)
        for _ in range(3):
            await tb.edge
            assert not tb.rsp.get()
        await tb.check(tb.rng.randbytes(8), tb.rng.randbytes(4 * tb.words - 1))


def test_model_vectors():
    """The judge itself."""
    check_vectors()


@pytest.mark.parametrize(
    ("words", "c", "d"), [(1, 1, 3), (3, 1, 3), (4, 2, 4), (2, 2, 4), (3, 2, 4)]
)
def test_nk_halfsiphash(words, c, d):
    run_module("nk_halfsiphash", __file__, {"WORDS": words, "C": c, "D": d})
