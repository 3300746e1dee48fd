# SPDX-License-Identifier: Apache-2.0
"""nk_ram_1rw1r against a dictionary: old word on collision on both ports, data held without an access."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import Signal, params, rng, start_clock


@cocotb.test()
async def random_access(dut):
    r = rng("ram")
    width, words = params()["W"], 1 << params()["AW"]
    names = ("a_re", "a_addr", "b_en", "b_we", "b_addr", "b_wdata")
    inputs = [Signal(getattr(dut, n)) for n in names]
    a_rdata, b_rdata = Signal(dut.a_rdata), Signal(dut.b_rdata)
    start_clock(dut)
    edge = RisingEdge(dut.clk)
    memory: dict[int, int] = {}
    a_want = b_want = None  # None: never written, nothing to expect
    collisions = held = 0
    for _ in range(4000):
        a_re, b_en, b_we = (int(r.random() < 0.5) for _ in range(3))
        b_addr, word = r.randrange(words), r.getrandbits(width)
        a_addr = b_addr if r.random() < 0.3 else r.randrange(words)
        for sig, value in zip(inputs, (a_re, a_addr, b_en, b_we, b_addr, word), strict=True):
            sig.set(value)
        await edge
        if a_want is not None:
            assert a_rdata.get() == a_want
            held += not a_re
        if b_want is not None:
            assert b_rdata.get() == b_want
            held += not b_en
        if a_re:
            a_want = memory.get(a_addr)
            collisions += b_en and b_we and a_addr == b_addr and a_addr in memory
        if b_en:
            b_want = memory.get(b_addr)
            if b_we:
                memory[b_addr] = word
    assert collisions > 50
    assert held > 50


@pytest.mark.parametrize(("w", "aw"), [(1, 1), (33, 4), (89, 6)])
def test_nk_ram_1rw1r(w, aw):
    run_module("nk_ram_1rw1r", __file__, {"W": w, "AW": aw})
