# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_sched against queues in Python: order within a list, turns between lists, no wish lost or invented."""

from __future__ import annotations

from collections import Counter, deque

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


class TB:
    def __init__(self, dut, push="none", take="none"):
        self.dut = dut
        self.rng = rng(f"sched {push} {take}")
        self.flows, self.lists = params()["FLOWS"], params()["LISTS"]
        start_clock(dut)
        self.push = WordSource(dut, "push", ("list", "flow"), PAUSES[push](rng("push")))
        self.next = WordSink(dut, "next", ("flow",), PAUSES[take](rng("take")))
        self.eligible = Signal(dut.eligible)
        self.eligible.set((1 << self.lists) - 1)

    async def reset(self, clocks=3):
        await reset(self.dut, clocks)
        self.next.clear()
        ready = Signal(self.dut.init_done)
        while not ready.get():
            await cycles(self.dut)

    def home(self, flow):
        """The list of a flow, fixed: as a flow's VF is."""
        return flow % self.lists

    def wish(self, flow):
        self.push.send({"list": self.home(flow), "flow": flow})

    async def quiet(self):
        async def wait():
            busy = Signal(self.dut.busy)
            while self.push.pending() or busy.get():
                await cycles(self.dut)

        await with_timeout(wait(), 2000, "us")
        await cycles(self.dut, 2)


@cocotb.test()
@cocotb.parametrize(push=["none", "bursts"], take=["none", "most"])
async def order_in_each_list(dut, push, take):
    """Flows that wish once each come once each, in their list's order."""
    tb = TB(dut, push, take)
    await tb.reset()
    flows = list(range(tb.flows))
    for _ in range(3):
        tb.rng.shuffle(flows)
        queues = [deque(f for f in flows if tb.home(f) == k) for k in range(tb.lists)]
        for flow in flows:
            tb.wish(flow)
        await tb.quiet()
        assert tb.next.received and len(tb.next.queue) == tb.flows
        while tb.next.queue:
            flow = tb.next.queue.popleft()
            assert queues[tb.home(flow)].popleft() == flow


@cocotb.test()
async def turns(dut):
    """Lists that are never empty get the same share, whatever their lengths."""
    tb = TB(dut)
    if tb.lists < 2:
        return
    await tb.reset()
    tb.next.pause = lambda: True
    for flow in range(tb.flows):
        tb.wish(flow)
    await tb.push.idle()
    await cycles(dut, 10)
    tb.next.pause = lambda: False
    await tb.quiet()
    order = [tb.home(f) for f in tb.next.queue]
    shortest = tb.flows // tb.lists
    for start in range(0, (shortest - 1) * tb.lists, tb.lists):
        turn = order[start + 1 : start + 1 + tb.lists]
        assert len(set(turn)) == tb.lists, f"a list was passed over: {turn}"


@cocotb.test()
@cocotb.parametrize(take=list(PAUSES))
async def wishes_are_neither_lost_nor_invented(dut, take):
    """Wishes again and again while lists open and close. Each wish is followed by a grant, each grant had a wish."""
    tb = TB(dut, "some", take)
    await tb.reset()
    edge, rnd = RisingEdge(dut.clk), tb.rng
    valid, ready, flow_in = Signal(dut.push_valid), Signal(dut.push_ready), Signal(dut.push_flow)
    wished, waiting = Counter(), set()
    granted = Counter()
    for step in range(4000):
        if step % 50 == 0 and step < 3500:
            tb.eligible.set(rnd.getrandbits(tb.lists))
        if step < 3500 and rnd.random() < 0.3:
            tb.wish(rnd.randrange(tb.flows))
        if step == 3500:
            tb.eligible.set((1 << tb.lists) - 1)
        await edge
        while tb.next.queue:
            flow = tb.next.queue.popleft()
            granted[flow] += 1
            assert granted[flow] <= wished[flow], "a grant that nobody wished for"
            waiting.discard(flow)
        if valid.get() and ready.get():
            wished[flow_in.get()] += 1
            waiting.add(flow_in.get())
    await tb.quiet()
    waiting -= set(tb.next.queue)
    assert not waiting and tb.push.pending() == 0
    assert len(wished) > tb.flows // 2


@cocotb.test()
async def closed_lists_wait(dut):
    """A list that is not eligible keeps its flows and stops no other; the module is idle then, not busy."""
    tb = TB(dut)
    await tb.reset()
    for closed in range(tb.lists):
        tb.eligible.set(((1 << tb.lists) - 1) & ~(1 << closed))
        for flow in range(tb.flows):
            tb.wish(flow)
        await tb.quiet()
        assert all(tb.home(f) != closed for f in tb.next.queue)
        others = sum(tb.home(f) != closed for f in range(tb.flows))
        assert len(tb.next.queue) == others
        tb.eligible.set((1 << tb.lists) - 1)
        await cycles(dut, 2)
        await tb.quiet()
        assert len(tb.next.queue) == tb.flows
        tb.next.clear()


@cocotb.test()
async def reset_mid_traffic(dut):
    tb = TB(dut, "some", "some")
    for _ in range(10):
        await tb.reset(tb.rng.randrange(1, 4))
        for _ in range(40):
            tb.wish(tb.rng.randrange(tb.flows))
        await cycles(dut, tb.rng.randrange(1, 150))
    await tb.reset()
    await cycles(dut, 30)
    assert tb.next.empty(), "a wish survived the reset"
    tb.wish(tb.flows - 1)
    await tb.quiet()
    await cycles(dut, 10)
    assert list(tb.next.queue) == [tb.flows - 1]


@pytest.mark.parametrize(("flows", "lists"), [(16, 1), (64, 5), (64, 8)])
def test_nk_tcp_sched(flows, lists):
    run_module("nk_tcp_sched", __file__, {"FLOWS": flows, "LISTS": lists})
