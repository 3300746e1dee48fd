# SPDX-License-Identifier: Apache-2.0
"""nk_vf_reset: requests at any time from any VF; stop, flush, done of one after the other, none lost."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import Signal, params, reset, rng, start_clock


class TB:
    def __init__(self, dut):
        self.dut, self.r = dut, rng("vf reset")
        self.nvf = params()["NVF"]
        names = [
            "request",
            "resetting",
            "done",
            "done_vf",
            "stop_vf_valid",
            "stop_vf",
            "stop_vf_done",
            "flush_valid",
            "flush_ready",
            "flush_vf",
            "flush_done",
        ]
        self.s = {n: Signal(getattr(dut, n)) for n in names}
        for n in ("request", "stop_vf_done", "flush_ready", "flush_done"):
            self.s[n].set(0)
        self.edge = RisingEdge(dut.clk)
        start_clock(dut)

    def drive(self, **values):
        for n in ("request", "stop_vf_done", "flush_ready", "flush_done"):
            self.s[n].set(values.get(n, 0))


@cocotb.test()
async def any_order(dut):
    """A model of the steps: whatever the pace, each request is followed by a full stop and flush."""
    tb = TB(dut)
    await reset(dut)
    s, r = tb.s, tb.r
    owed = [0] * tb.nvf  # a request not yet followed by a stop: clock + 1
    state, vf, wait, served = "idle", 0, 0, []
    asked_since = [False] * tb.nvf
    last = [-9] * tb.nvf
    for clock in range(6000):
        await tb.edge
        done = s["done"].get()
        if done:
            assert state == "end" and s["done_vf"].get() == vf and not asked_since[vf]
        drive = {}
        resetting = s["resetting"].get()
        for k in range(tb.nvf):
            if owed[k] and clock > owed[k]:
                assert resetting >> k & 1, "resetting fell before the reset"
                assert clock - owed[k] < tb.nvf * 120 + 120, "starved"
        # What the block offers, as seen at this edge with last clock's drive in force.
        if state in ("idle", "end") and s["stop_vf_valid"].get():
            vf = s["stop_vf"].get()
            assert owed[vf], "reset that nobody asked for"
            # A request in the clock of the choice, two clocks ago, or after it is one of its own.
            asked_since[vf] = last[vf] >= clock - 2
            owed[vf] = last[vf] + 1 if asked_since[vf] else 0
            state, wait = "stop", r.randint(0, 20)
        if state == "stop":
            assert s["stop_vf_valid"].get() and s["stop_vf"].get() == vf
            if wait == 0:
                drive["stop_vf_done"] = 1
                state = "stopped"
            wait -= 1
        elif state == "stopped":
            state = "flush?"
        elif state == "flush?":
            assert (
                s["flush_valid"].get()
                and s["flush_vf"].get() == vf
                and not s["stop_vf_valid"].get()
            )
            if r.random() < 0.3:
                drive["flush_ready"] = 1
                state, wait = "taken", r.choice((0, r.randint(1, 30)))
                if wait == 0:
                    drive["flush_done"] = 1
        elif state == "taken":
            if wait <= 1:
                drive["flush_done"] = int(wait == 1)
                state = "end"
                served.append(vf)
            wait -= 1
        request = 0
        if clock < 5000 and r.random() < 0.05:
            request = r.getrandbits(tb.nvf)
        for k in range(tb.nvf):
            if request >> k & 1:
                owed[k] = owed[k] or clock + 1
                asked_since[k] = True
                last[k] = clock
        tb.drive(request=request, **drive)
    assert not any(owed) and not s["resetting"].get()
    assert set(served) == set(range(tb.nvf))


@cocotb.test()
async def reset_mid_traffic(dut):
    tb = TB(dut)
    for _ in range(10):
        await reset(dut)
        tb.drive(request=(1 << tb.nvf) - 1)
        await tb.edge
        tb.drive()
        for _ in range(tb.r.randint(1, 20)):
            await tb.edge
            tb.drive(stop_vf_done=tb.r.randrange(2), flush_ready=tb.r.randrange(2))
        tb.drive()
    await reset(dut)
    for _ in range(10):
        await tb.edge
        assert (
            not tb.s["resetting"].get()
            and not tb.s["stop_vf_valid"].get()
            and not tb.s["flush_valid"].get()
        )


@pytest.mark.parametrize("nvf", [1, 5, 8])
def test_nk_vf_reset(nvf):
    run_module("nk_vf_reset", __file__, {"NVF": nvf})
