# SPDX-License-Identifier: Apache-2.0
"""nk_nqe_dmaw: one command and its beats for each write, busy until both are taken."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import PAUSES, Signal, WordSink, cycles, params, reset, rng, start_clock

CMD = ("func", "addr", "len", "lane", "wrap_len", "wrap_addr")


@cocotb.test()
@cocotb.parametrize(cmd=["none", "most"], dat=["none", "some", "most"])
async def writes(dut, cmd, dat):
    r, w = rng("dmaw"), params()["W"]
    start_clock(dut)
    s = {n: Signal(getattr(dut, n)) for n in ("start", "brief", "func", "addr", "data", "busy")}
    s["start"].set(0)
    commands = WordSink(dut, "wr", CMD, PAUSES[cmd](rng("c")))
    data = WordSink(dut, "wd", ("data", "last"), PAUSES[dat](rng("d")))
    for turn in range(80):
        if turn % 20 == 0:
            await reset(dut)  # also with a write under way
            commands.clear()
            data.clear()
        brief, func = r.randrange(2), r.randrange(256)
        addr, value = r.getrandbits(61) << 3, r.getrandbits(256)
        for n, v in (
            ("brief", brief),
            ("func", func),
            ("addr", addr),
            ("data", value),
            ("start", 1),
        ):
            s[n].set(v)
        await RisingEdge(dut.clk)
        s["start"].set(0)
        for n in ("brief", "func", "addr", "data"):
            s[n].set(r.getrandbits(s[n].width))
        if turn % 20 == 19:
            await cycles(dut, r.randint(0, 3))
            continue
        await RisingEdge(dut.clk)
        while s["busy"].get():
            await RisingEdge(dut.clk)
        await cycles(dut, 2)
        assert commands.queue.popleft() == {"func": func, "addr": addr, "len": 8 if brief else 32,
                                            "lane": 0, "wrap_len": 0xFFFF, "wrap_addr": 0}  # fmt: skip
        beats = list(data.queue)
        data.clear()
        assert len(beats) == (1 if brief else max(1, 256 // w)) and not commands.queue
        assert [b["last"] for b in beats] == [0] * (len(beats) - 1) + [1]
        got = sum(b["data"] << w * k for k, b in enumerate(beats))
        bits = 64 if brief else 256
        assert got & (1 << bits) - 1 == value & (1 << bits) - 1


@pytest.mark.parametrize("w", [64, 128, 256, 512])
def test_nk_nqe_dmaw(w):
    run_module("nk_nqe_dmaw", __file__, {"W": w})
