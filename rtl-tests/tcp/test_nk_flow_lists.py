# SPDX-License-Identifier: Apache-2.0
"""nk_flow_lists against deques: what is offered is the first of its list, nothing is lost or invented."""

from __future__ import annotations

from collections import deque

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge
from common.runner import run_module
from common.stream import PAUSES, Signal, params, reset, rng, start_clock


class TB:
    """step() is one clock: what is driven, what is seen, and the model's own change.

    A push counts from the clock after it; a flow leaves the model when its offer is taken.
    """

    def __init__(self, dut, pause="none"):
        self.dut = dut
        self.rng = rng("lists")
        self.flows, self.lists = params()["FLOWS"], params()["LISTS"]

        def sig(name):
            return Signal(getattr(dut, name))

        self.push_valid, self.push_list, self.push_flow = (
            sig(f"push_{f}") for f in ("valid", "list", "flow")
        )
        self.sel_valid, self.sel_ready, self.sel_list = (
            sig(f"sel_{f}") for f in ("valid", "ready", "list")
        )
        self.out_valid, self.out_ready, self.out_list, self.out_flow = (
            sig(f"out_{f}") for f in ("valid", "ready", "list", "flow")
        )
        self.nonempty, self.allow, self.busy = sig("nonempty"), sig("allow"), sig("busy")
        self.pause = PAUSES[pause](rng("out"))
        self.rise, self.fall = RisingEdge(dut.clk), FallingEdge(dut.clk)
        start_clock(dut)
        self.everything = (1 << self.lists) - 1
        self.clear()

    def clear(self):
        self.model = [deque() for _ in range(self.lists)]
        self.filled = 0  # lists that hold flows
        self.free = set(range(self.flows))
        self.history = [self.everything] * 2  # allow in the last clocks
        self.pushes = self.pops = self.withdrawn = 0
        self.waiting = None  # offer not taken yet
        self.turn = 0
        self.push_valid.set(0)
        self.sel_valid.set(0)
        self.out_ready.set(0)
        self.allow.set(self.everything)

    async def reset(self):
        self.clear()
        await reset(self.dut)

    def choose(self, nonempty):
        """The next list in turn among those set."""
        above = nonempty >> self.turn << self.turn or nonempty
        if not above:
            return None
        at = (above & -above).bit_length() - 1
        self.turn = at + 1
        return at

    async def step(self, push=None, allow=None, take=None, choose=None):
        """push: (list, flow); take: whether an offer is taken (None: as the pause says)."""
        r = self.rng
        self.push_valid.set(int(push is not None))
        self.push_list.set(push[0] if push else r.randrange(self.lists))
        self.push_flow.set(push[1] if push else r.randrange(self.flows))
        allow = self.everything if allow is None else allow
        self.allow.set(allow)
        self.out_ready.set(int(not self.pause() if take is None else take))
        await self.fall  # settled
        nonempty = self.nonempty.get()
        assert not nonempty & ~self.filled or self.busy.get(), "an empty list wants to be served"
        pick = (choose or self.choose)(nonempty & allow) if self.sel_ready.get() else None
        self.sel_valid.set(int(pick is not None))
        self.sel_list.set(r.randrange(self.lists) if pick is None else pick)

        popped = None
        if self.out_valid.get():
            where, flow = self.out_list.get(), self.out_flow.get()
            assert self.history[-1] >> where & 1, "an offer of a list that is not allowed"
            assert self.model[where], "an offer of an empty list"
            assert self.model[where][0] == flow
            if self.waiting is not None:
                assert self.waiting == (where, flow), "the offer changed while it waited"
            self.waiting = None if self.out_ready.last else (where, flow)
            if self.out_ready.last:
                self.model[where].popleft()
                self.filled &= ~(0 if self.model[where] else 1 << where)
                popped = flow
                self.pops += 1
        elif self.waiting is not None:
            assert not self.history[-1] >> self.waiting[0] & 1, "an offer vanished"
            self.waiting = None
            self.withdrawn += 1
        self.history.append(allow)
        if push is not None:
            self.model[push[0]].append(push[1])
            self.filled |= 1 << push[0]
            self.free.discard(push[1])
            self.pushes += 1
        if popped is not None:
            self.free.add(popped)
        await self.rise
        return popped

    def some_flow(self, among=None):
        flows = sorted(f for f in self.free if among is None or f < among)
        return self.rng.choice(flows) if flows else None

    async def finish(self):
        limit = 20 * self.pushes + 200
        self.pause = PAUSES["none"](self.rng)
        while self.filled and limit:
            await self.step()
            limit -= 1
        assert not self.filled, "flows were left behind"
        for _ in range(6):
            await self.step()
        assert not self.busy.get()
        assert self.nonempty.get() == 0
        assert len(self.free) == self.flows


@cocotb.test()
@cocotb.parametrize(pause=list(PAUSES), few=[False, True])
async def stress(dut, pause, few):
    """Pushes and pops at any time, to few lists with few flows too, so that lists run empty all the time."""
    tb = TB(dut, pause)
    await tb.reset()
    lists = 1 if few else min(tb.lists, 6)
    for clock in range(3000):
        phase = clock // 100 % 4
        flow = tb.some_flow((1, 2, 3, tb.flows)[phase])
        push = None
        if flow is not None and tb.rng.random() < (0.3, 1, 0.7, 1)[phase]:
            push = tb.rng.randrange(lists), flow
        allow = tb.rng.getrandbits(tb.lists) if clock // 150 % 3 == 2 and clock % 7 == 0 else None
        await tb.step(push, allow)
    assert tb.pops > 150
    await tb.finish()


@cocotb.test()
async def pushed_again_at_once(dut):
    """A flow is pushed again in the clock after it was taken, to the same list or another one."""
    tb = TB(dut)
    await tb.reset()
    for flow in range(min(3, tb.flows)):
        await tb.step((flow % tb.lists, flow))
    popped = None
    for _ in range(1500):
        popped = await tb.step(
            None if popped is None else (tb.rng.randrange(min(2, tb.lists)), popped)
        )
    assert tb.pops > 150
    await tb.finish()


@cocotb.test()
async def all_flows_in_order(dut):
    """Every flow once through each list, a push every clock; then out, one in two clocks."""
    tb = TB(dut)
    await tb.reset()
    for i in range(min(tb.lists, 4)):
        order = list(range(min(tb.flows, 3000)))
        tb.rng.shuffle(order)
        for flow in order:
            await tb.step((i, flow), take=0)
        assert list(tb.model[i]) == order
        clocks = 0
        while tb.filled:
            await tb.step(take=1)
            clocks += 1
        assert clocks <= 2 * len(order) + 4
        await tb.finish()


@cocotb.test()
async def rates(dut):
    """Two lists or more: a push and a pop every clock, in the long run. One list: a pop in two clocks."""
    tb = TB(dut)
    for lists in {1, min(2, tb.lists), tb.lists}:
        await tb.reset()
        each = min(tb.flows // lists, 20)
        if each < 2:
            continue
        queue = [(i % lists, i) for i in range(each * lists)]
        for push in queue:
            await tb.step(push, take=0)
        back = None
        clocks = 0
        start = tb.pops
        while clocks < 200:
            popped = await tb.step(None if back is None else back, take=1)
            back = None if popped is None else (popped % lists, popped)
            clocks += 1
        if each > 4:
            assert tb.pops - start >= (98 if lists == 1 else 196), f"{lists} lists"
        if back is not None:
            await tb.step(back)
        await tb.finish()


@cocotb.test()
async def offered_soon(dut):
    """A flow pushed to an empty list is offered four clocks later."""
    tb = TB(dut)
    await tb.reset()
    for _ in range(30):
        flow = tb.some_flow()
        await tb.step((tb.rng.randrange(tb.lists), flow))
        clocks = 1
        while await tb.step() is None:
            clocks += 1
        assert clocks == 4
        for _ in range(tb.rng.randrange(5)):
            await tb.step()
    await tb.finish()


@cocotb.test()
async def reset_mid_traffic(dut):
    """A reset empties all lists at once."""
    tb = TB(dut, "some")
    for _ in range(6):
        await tb.reset()
        for _ in range(tb.rng.randrange(10, 100)):
            flow = tb.some_flow()
            await tb.step(None if flow is None else (tb.rng.randrange(tb.lists), flow))
    await tb.reset()
    assert tb.nonempty.get() == 0
    for _ in range(10):
        assert await tb.step() is None
    assert not tb.busy.get()
    await tb.step((0, 0))
    await tb.finish()


@pytest.mark.parametrize(
    ("flows", "fw", "lists", "llw"), [(5, 3, 3, 2), (64, 6, 1, 1), (1024, 10, 4, 2), (64, 6, 40, 6)]
)
def test_nk_flow_lists(flows, fw, lists, llw):
    run_module("nk_flow_lists", __file__, {"FLOWS": flows, "FW": fw, "LISTS": lists, "LLW": llw})


def test_nk_flow_lists_largest():
    """65,536 flows, 2,016 lists: 252 VFs of 8 queue sets."""
    p = {"FLOWS": 65536, "FW": 16, "LISTS": 2016, "LLW": 11}
    run_module("nk_flow_lists", __file__, p, testcase="all_flows_in_order|rates")
