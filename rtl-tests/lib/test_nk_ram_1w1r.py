# SPDX-License-Identifier: Apache-2.0
"""nk_ram_1w1r against a dictionary: data a clock later, old word on collision, held without re."""

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
    names = ("we", "waddr", "wdata", "re", "raddr", "rdata")
    we, waddr, wdata, re, raddr, rdata = (Signal(getattr(dut, n)) for n in names)
    start_clock(dut)
    edge = RisingEdge(dut.clk)
    memory: dict[int, int] = {}
    expected = None
    collisions = held = 0
    for _ in range(4000):
        w, wa, wd = int(r.random() < 0.5), r.randrange(words), r.getrandbits(width)
        ra = wa if r.random() < 0.3 else r.randrange(words)
        rd = int(r.random() < 0.5)
        for sig, value in zip((we, waddr, wdata, re, raddr), (w, wa, wd, rd, ra), strict=True):
            sig.set(value)
        await edge
        if expected is not None:
            assert rdata.get() == expected
            held += not rd
        if rd:
            expected = memory.get(ra)  # None: never written, nothing to expect
            collisions += w and wa == ra and ra in memory
        if w:
            memory[wa] = wd
    assert collisions > 50
    assert held > 50


@pytest.mark.parametrize(("w", "aw"), [(1, 1), (33, 4), (512, 6)])
def test_nk_ram_1w1r(w, aw):
    run_module("nk_ram_1w1r", __file__, {"W": w, "AW": aw})
