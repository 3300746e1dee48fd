# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_timers against a dictionary of deadlines: none early, none lost, one too many only where it is allowed."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import PAUSES, Signal, params, reset, rng, start_clock

M = 0xFFFFFFFF


def reached(now, deadline):
    return (now - deadline) & M < 1 << 31


class TB:
    """The model takes a flow out when its expiry first shows: the flow must be due then by all sets
    before that clock. Allowed besides, and counted in `extra`: an expiry that crosses a set of the clock
    before, and one more of a flow that has expired and was not set since.
    """

    def __init__(self, dut, pause="none"):
        self.dut = dut
        self.rng = rng("timers")
        self.flows, self.lanes = params()["FLOWS"], params()["LANES"]
        self.rows = -(-self.flows // self.lanes)

        def sig(name):
            return Signal(getattr(dut, name))

        self.now_us = sig("now_us")
        self.set_valid = sig("set_valid")
        self.set_flow, self.set_armed, self.set_deadline = (
            sig("set_flow"),
            sig("set_armed"),
            sig("set_deadline"),
        )
        self.exp_valid, self.exp_ready, self.exp_flow = (
            sig("exp_valid"),
            sig("exp_ready"),
            sig("exp_flow"),
        )
        self.next_valid, self.next_us = sig("next_valid"), sig("next_us")
        self.busy, self.init_done = sig("busy"), sig("init_done")
        self.pause = PAUSES[pause](rng("exp"))
        self.edge = RisingEdge(dut.clk)
        start_clock(dut)
        self.now = 0
        self.clear()

    def clear(self):
        self.armed: dict[int, int] = {}
        self.shown = None  # flow shown and not taken
        self.expired: list[int] = []
        self.ghosts: set[int] = set()  # expired and not set since
        self.crossed = None  # flow that was set in the last clock and had expired before
        self.extra = 0
        self.busy_clocks = 0
        self.set_valid.set(0)
        self.exp_ready.set(0)

    async def reset(self, now=None):
        self.clear()
        self.now = self.rng.getrandbits(32) if now is None else now & M
        self.now_us.set(self.now)
        await reset(self.dut)
        clocks = 0
        while not self.init_done.get():
            await self.step()
            clocks += 1
            assert clocks <= self.rows + 2

    async def step(self, change=None, advance=0):
        """One clock: `change` = (flow, deadline or None) is set, time goes on by `advance`."""
        before = self.now
        self.now = (self.now + advance) & M
        self.now_us.set(self.now)
        flow, deadline = change or (self.rng.randrange(self.flows), self.rng.getrandbits(32))
        self.set_valid.set(int(change is not None))
        self.set_flow.set(flow)
        self.set_armed.set(int(change is None or deadline is not None))
        self.set_deadline.set(self.rng.getrandbits(32) if deadline is None else deadline & M)
        self.exp_ready.set(int(not self.pause()))
        await self.edge

        if self.exp_valid.get():
            flow = self.exp_flow.get()
            if self.shown is None:
                if flow in self.armed and reached(before, self.armed[flow]):
                    del self.armed[flow]
                    self.ghosts.add(flow)
                    self.expired.append(flow)
                else:
                    allowed = flow == self.crossed or flow in self.ghosts
                    assert allowed, f"flow {flow} expires early, or is not armed"
                    self.extra += 1
                self.shown = flow
            assert flow == self.shown, "the expiry changed while it waited"
            assert self.busy.get()
            if self.exp_ready.last:
                self.shown = None
        else:
            assert self.shown is None, "an expiry vanished"

        if not self.busy.get():
            self.busy_clocks = 0
            if self.armed:
                earliest = min((d - self.now) & M for d in self.armed.values())
                assert earliest < 1 << 31, "a deadline passed, and nothing is done about it"
                assert self.next_valid.get(), "armed deadlines, but next_valid is 0"
                assert (self.next_us.get() - self.now) & M <= earliest, "next_us is too late"
        else:
            self.busy_clocks += 1
        self.crossed = None
        if change is not None:
            flow, deadline = change
            was = self.armed.pop(flow, None)
            if flow in self.ghosts or (was is not None and reached(self.now, was)):
                self.crossed = flow
            self.ghosts.discard(flow)
            if deadline is not None:
                self.armed[flow] = deadline & M

    async def settle(self):
        """Until it rests; everything that is due has expired then."""
        limit = 20 * (self.rows + self.lanes) + 20 * len(self.armed)
        await self.step()
        while self.busy.get():
            await self.step()
            limit -= 1
            assert limit > 0, "it does not come to rest"
        assert not any(reached(self.now, d) for d in self.armed.values())


@cocotb.test()
@cocotb.parametrize(pause=list(PAUSES))
async def stress(dut, pause):
    """Sets and cancels at any time, in every clock too, also of flows whose row is being read; time passes its wrap."""
    tb = TB(dut, pause)
    await tb.reset(now=-6000)
    for clock in range(6000):
        change = None
        if tb.rng.random() < (0.05, 0.6, 1)[clock // 500 % 3]:
            flow = tb.rng.randrange(tb.flows if clock // 250 % 2 else min(tb.flows, 8))
            ahead = tb.rng.choice((-5, 0, 1, 30, 300, tb.rng.randrange(1000)))
            change = flow, None if tb.rng.random() < 0.25 else tb.now + ahead
        await tb.step(change, advance=tb.rng.choice((0, 1, 1, 3)))
    tb.pause = PAUSES["some"](tb.rng)
    await tb.settle()
    for _ in range(5):
        await tb.step(advance=500)
        await tb.settle()
    assert not tb.armed
    assert len(tb.expired) > 150
    assert tb.extra < len(tb.expired)


@cocotb.test()
@cocotb.parametrize(which=["one_flow", "one_lane", "all"])
async def set_in_every_clock(dut, which):
    """Sets without a gap hold up no expiry: it comes within two scans of its deadline."""
    tb = TB(dut)
    await tb.reset()
    victims = tb.rng.sample(range(tb.flows), min(20, tb.flows // 2))
    others = [f for f in range(tb.flows) if f not in victims]
    if which == "one_flow":
        others = others[:1]
    if which == "one_lane":
        others = [f for f in others if f % tb.lanes == victims[0] % tb.lanes] or others[:1]
    others = others[:2000]
    for flow in victims:
        await tb.step((flow, tb.now + tb.rng.randrange(300, 600)))
    # A scan: a clock a row, one more for each expiry, the lanes' minima.
    limit = 600 + 2 * (tb.rows + tb.lanes + len(victims) + 8)
    clocks = 0
    while not set(victims) <= set(tb.expired):
        flow = tb.rng.choice(others)
        await tb.step((flow, tb.now + tb.rng.choice((5, 1000, 100000))), advance=1)
        clocks += 1
        assert clocks <= limit, f"missing: {set(victims) - set(tb.expired)}"
    for flow in others:
        await tb.step((flow, None))
    await tb.settle()


@cocotb.test()
async def every_flow(dut):
    """All flows armed, all due at once: each expires once."""
    tb = TB(dut)
    await tb.reset()
    for flow in range(tb.flows):
        await tb.step((flow, tb.now + 1000))
    await tb.settle()
    assert not tb.expired
    await tb.step(advance=999)
    await tb.settle()
    assert not tb.expired
    await tb.step(advance=1)
    await tb.settle()
    assert sorted(tb.expired) == list(range(tb.flows))
    assert not tb.extra
    # The bound needs one more scan at most to see that nothing is left.
    await tb.settle()
    assert not tb.next_valid.get()


@cocotb.test()
async def rests_until_next_us(dut):
    """One deadline a row and lane: after each scan next_us is exact, no scan comes before it."""
    tb = TB(dut)
    await tb.reset()
    start = tb.now
    order = [tb.rng.randrange(tb.flows) for _ in range(10)]
    order = list(dict.fromkeys(order))
    for i, flow in enumerate(order):
        await tb.step((flow, start + 1000 * (i + 1)))
    for i, flow in enumerate(order):
        await tb.step()
        assert not tb.busy.get()
        assert tb.next_us.get() == (start + 1000 * (i + 1)) & M
        await tb.step(advance=(start + 1000 * (i + 1) - 1 - tb.now) & M)
        assert not tb.busy.get()
        await tb.step(advance=1)
        assert tb.busy.get()
        await tb.settle()
        assert tb.expired[-1] == flow
    assert tb.expired == order
    assert not tb.next_valid.get()


@cocotb.test()
async def cancelled_in_time(dut):
    """A cancelled or postponed deadline costs a scan, not an expiry; a scan takes a clock a row."""
    tb = TB(dut)
    await tb.reset()
    last = tb.flows - 1
    for flow in (0, last):
        await tb.step((flow, tb.now + 100))
    await tb.step((0, None))
    await tb.step((last, tb.now + 700))
    assert tb.next_us.get() == (tb.now + 100) & M
    await tb.step(advance=100)
    await tb.settle()
    assert not tb.expired
    assert tb.next_us.get() == tb.armed[last]
    await tb.step(advance=(tb.armed[last] - tb.now - 1) & M)
    assert not tb.busy.get()
    await tb.step((last, tb.now + 100), advance=0)
    await tb.step(advance=1)
    tb.busy_clocks = 0
    while tb.busy.get():
        clocks = tb.busy_clocks
        await tb.step()
    assert clocks <= tb.rows + tb.lanes + 3
    assert not tb.expired


@cocotb.test()
async def reset_mid_traffic(dut):
    """After a reset nothing is armed, whatever was."""
    tb = TB(dut, "most")
    for _ in range(6):
        await tb.reset()
        for _ in range(tb.rng.randrange(5, 150)):
            await tb.step((tb.rng.randrange(tb.flows), tb.now + tb.rng.randrange(20)), advance=1)
    await tb.reset()
    for _ in range(3):
        await tb.step(advance=1 << 20)
        await tb.settle()
    assert not tb.expired
    assert not tb.next_valid.get()


@cocotb.test()
async def scan_time(dut):
    """A scan without expiries takes a clock a row, one a lane and two."""
    tb = TB(dut)
    await tb.reset()
    await tb.step((0, tb.now + 10))
    await tb.step((0, None))
    await tb.step(advance=10)
    clocks = 0
    while tb.busy.get() or not clocks:
        clocks += tb.busy.get()
        await tb.step()
    dut._log.info(f"{tb.flows} flows: {clocks} clocks")
    assert clocks == tb.rows + tb.lanes + 2
    assert not tb.next_valid.get()


@pytest.mark.parametrize(
    ("flows", "fw", "lanes"), [(1024, 10, 8), (64, 6, 4), (6, 3, 2)], ids=["1024", "64", "6"]
)
def test_nk_tcp_timers(flows, fw, lanes):
    run_module("nk_tcp_timers", __file__, {"FLOWS": flows, "FW": fw, "LANES": lanes})


@pytest.mark.parametrize(("flows", "fw", "lanes"), [(16384, 14, 16), (65536, 16, 32)])
def test_nk_tcp_timers_large(flows, fw, lanes):
    p = {"FLOWS": flows, "FW": fw, "LANES": lanes}
    run_module(
        "nk_tcp_timers", __file__, p, testcase="scan_time|rests|cancelled|one_lane|which=all"
    )
