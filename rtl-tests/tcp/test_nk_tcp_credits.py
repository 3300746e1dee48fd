# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_credits against deques and counts in Python."""

from __future__ import annotations

from collections import deque

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import Signal, params, reset, rng, start_clock

INIT, PUSH, POP, HALF, DEC = range(5)
LATENCY = 3


class Listener:
    def __init__(self):
        self.queue: deque[int] = deque()
        self.half = 0

    @property
    def flooded(self):
        """Of what is free or half-open at most a quarter is free; or one alone, beside two and more half-open ones."""
        free, half = len(self.queue), self.half
        return half > 0 and (4 * free <= free + half or (free == 1 and half > 1))


class TB:
    def __init__(self, dut):
        self.dut = dut
        self.rng = rng("credits")
        self.flows = params()["FLOWS"]

        def sig(name):
            return Signal(getattr(dut, name))

        self.valid, self.ready, self.op = sig("req_valid"), sig("req_ready"), sig("req_op")
        self.listener, self.flow = sig("req_listener"), sig("req_flow")
        self.rsp, self.hit, self.rsp_flow = sig("rsp_valid"), sig("rsp_hit"), sig("rsp_flow")
        self.flood, self.init_done = sig("rsp_flood"), sig("init_done")
        self.edge = RisingEdge(dut.clk)
        start_clock(dut)
        self.rubbish()

    def rubbish(self):
        self.valid.set(0)
        for s in (self.op, self.listener, self.flow):
            s.set(self.rng.getrandbits(s.width))

    async def reset(self):
        self.rubbish()
        await reset(self.dut)
        self.model: dict[int, Listener] = {}
        clocks = 0
        while not self.init_done.get():
            assert not self.ready.get()
            await self.edge
            clocks += 1
            assert clocks <= self.flows + 2

    async def request(self, op, listener, flow=None):
        self.valid.set(1)
        self.op.set(op)
        self.listener.set(listener)
        self.flow.set(self.rng.randrange(self.flows) if flow is None else flow)
        await self.edge
        while not self.ready.get():
            await self.edge
        self.rubbish()

    async def do(self, op, listener, flow=None):
        """One request, judged; the flow that was popped, or None."""
        await self.request(op, listener, flow)
        for clock in range(1, LATENCY + 1):
            await self.edge
            assert self.rsp.get() == (clock == LATENCY)
        mine = self.model.setdefault(listener, Listener())
        popped = None
        if op == INIT:
            mine = self.model[listener] = Listener()
        elif op == PUSH:
            mine.queue.append(flow)
        elif op == DEC:
            mine.half = max(0, mine.half - 1)
        elif mine.queue:
            popped = mine.queue.popleft()
            mine.half += op == HALF
        assert self.hit.get() == (popped is not None)
        if popped is not None:
            assert self.rsp_flow.get() == popped
        assert self.flood.get() == mine.flooded
        return popped


@cocotb.test()
@cocotb.parametrize(listeners=[1, 3, 40])
async def random_requests(dut, listeners):
    """A flow is a credit of one listener at a time; lists fill, run empty and begin anew."""
    tb = TB(dut)
    await tb.reset()
    lists = tb.rng.sample(range(tb.flows), min(listeners, tb.flows // 2))
    free = [f for f in range(min(tb.flows, 300)) if f not in lists]
    flooded = pops = 0
    for clock in range(3000):
        where = tb.rng.choice(lists)
        fill = clock // 300 % 2 == 0
        op = tb.rng.choice((PUSH, PUSH, POP, HALF, DEC) if fill else (PUSH, POP, HALF, HALF, DEC))
        if tb.rng.random() < 0.01:
            op = INIT
            free += tb.model[where].queue if where in tb.model else ()
        if op == PUSH and not free:
            op = HALF
        flow = free.pop(tb.rng.randrange(len(free))) if op == PUSH else None
        popped = await tb.do(op, where, flow)
        if popped is not None:
            free.append(popped)
            pops += 1
        flooded += tb.flood.get()
        for _ in range(tb.rng.choice((0, 0, 0, 1, 3))):
            await tb.edge
    assert pops > 300
    assert flooded > 100


@cocotb.test()
async def all_flows_for_one_listener(dut):
    """The longest list there can be: order, and the counts do not wrap."""
    tb = TB(dut)
    await tb.reset()
    n = min(tb.flows, 2000)
    order = list(range(n))
    tb.rng.shuffle(order)
    await tb.do(INIT, n - 1)
    for flow in order:
        await tb.do(PUSH, n - 1, flow)
    for i, flow in enumerate(order):
        assert await tb.do(HALF, n - 1) == flow
        assert tb.flood.get() == (i + 1 >= 3 * (n - 1 - i) or i == n - 2 > 0)
    assert await tb.do(HALF, n - 1) is None
    for _ in range(n + 1):
        await tb.do(DEC, n - 1)
    assert not tb.flood.get()


@cocotb.test()
async def empty_after_reset(dut):
    """A reset in the middle of a request: no answer, and no listener holds anything."""
    tb = TB(dut)
    for _ in range(4):
        await tb.reset()
        for i in range(10):
            await tb.do(PUSH, i % 3, 3 + i if 3 + i < tb.flows else 3)
        await tb.request(tb.rng.choice((PUSH, POP, HALF)), 1)
        for _ in range(tb.rng.randrange(LATENCY - 1)):
            await tb.edge
        await tb.reset()
        for _ in range(LATENCY + 1):
            assert not tb.rsp.get()
            await tb.edge
        for i in range(3):
            assert await tb.do(POP, i) is None


@pytest.mark.parametrize(("flows", "fw"), [(1024, 10), (100, 7)])
def test_nk_tcp_credits(flows, fw):
    run_module("nk_tcp_credits", __file__, {"FLOWS": flows, "FW": fw})


def test_nk_tcp_credits_largest():
    p = {"FLOWS": 65536, "FW": 16}
    run_module("nk_tcp_credits", __file__, p, testcase="random_requests.*40|all_flows")
