# SPDX-License-Identifier: Apache-2.0
"""nk_flow_lists against deques: requests are carried out in the order of their acceptance."""

from __future__ import annotations

from collections import deque

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import PAUSES, Signal, params, reset, rng, start_clock


class TB:
    def __init__(self, dut, push_pause="none", pop_pause="none"):
        self.dut = dut
        self.rng = rng("lists")
        self.flows, self.lists = params()["FLOWS"], params()["LISTS"]

        def sig(name):
            return Signal(getattr(dut, name))

        self.push_valid, self.push_ready = sig("push_valid"), sig("push_ready")
        self.push_list, self.push_flow = sig("push_list"), sig("push_flow")
        self.pop_valid, self.pop_ready = sig("pop_valid"), sig("pop_ready")
        self.pop_list = sig("pop_list")
        self.pop_done, self.pop_hit, self.pop_flow = (
            sig("pop_done"),
            sig("pop_hit"),
            sig("pop_flow"),
        )
        self.nonempty, self.busy, self.init_done = sig("nonempty"), sig("busy"), sig("init_done")
        self.push_pause = PAUSES[push_pause](rng("push"))
        self.pop_pause = PAUSES[pop_pause](rng("pop"))
        self.edge = RisingEdge(dut.clk)
        start_clock(dut)
        self.clear()

    def clear(self):
        self.model = [deque() for _ in range(self.lists)]
        self.where: dict[int, int] = {}  # flow -> list in which it stands
        self.push = self.pop = None  # what is offered
        self.answers: deque[int | None] = deque()  # of pops accepted; None: the list was empty
        self.pushes = self.repeated = self.pops = self.empty_pops = 0
        self.popped = None  # in the last clock
        self.push_valid.set(0)
        self.pop_valid.set(0)

    async def reset(self):
        self.clear()
        await reset(self.dut)

    async def step(self, want_push=None, want_pop=None):
        """One clock. want_push (list, flow) and want_pop (list) are offered if nothing else is."""
        if self.push is None and want_push is not None and not self.push_pause():
            self.push = want_push
        if self.pop is None and want_pop is not None and not self.pop_pause():
            self.pop = want_pop
        r = self.rng
        self.push_valid.set(int(self.push is not None))
        self.push_list.set(self.push[0] if self.push else r.randrange(self.lists))
        self.push_flow.set(self.push[1] if self.push else r.randrange(self.flows))
        self.pop_valid.set(int(self.pop is not None))
        self.pop_list.set(r.randrange(self.lists) if self.pop is None else self.pop)
        await self.edge

        if not self.busy.get():
            nonempty = sum(1 << i for i, q in enumerate(self.model) if q)
            assert self.nonempty.get() == nonempty
            assert not self.answers
        self.popped = None
        if self.pop_done.get():
            assert self.answers, "an answer to no request"
            want = self.answers.popleft()
            assert self.pop_hit.get() == (want is not None)
            if want is not None:
                assert self.pop_flow.get() == want
                self.popped = want
        if self.push is not None and self.push_ready.get():
            where, flow = self.push
            self.push = None
            self.pushes += 1
            if flow in self.where:
                self.repeated += 1
            else:
                self.where[flow] = where
                self.model[where].append(flow)
        if self.pop is not None and self.pop_ready.get():
            queue = self.model[self.pop]
            self.pop = None
            self.pops += 1
            self.empty_pops += not queue
            self.answers.append(queue.popleft() if queue else None)
            self.where.pop(self.answers[-1], None)

    async def wait_init(self):
        clocks = 0
        while not self.init_done.get():
            assert self.busy.get()
            await self.step()
            clocks += 1
            assert clocks <= self.flows + 2
        await self.step()

    async def finish(self):
        """Drain every list; nothing may be left anywhere."""
        for _ in range(4):
            await self.step()
        for i in range(self.lists):
            while self.model[i] or self.pop is not None:
                await self.step(want_pop=i)
        for _ in range(6):
            await self.step()
        assert not self.busy.get()
        assert self.nonempty.get() == 0
        assert not self.where
        assert not self.answers


@cocotb.test()
@cocotb.parametrize(push_pause=list(PAUSES), pop_pause=list(PAUSES))
async def stress(dut, push_pause, pop_pause):
    """Random pushes and pops, to few and to many flows, both sides at the same time."""
    tb = TB(dut, push_pause, pop_pause)
    await tb.reset()
    await tb.wait_init()
    for clock in range(2500):
        flows = tb.flows if clock // 200 % 2 else min(4, tb.flows)
        push = (tb.rng.randrange(tb.lists), tb.rng.randrange(flows))
        # Lists fill for a while, then run empty.
        pop = tb.rng.random() < (0.05 if clock % 500 < 250 else 1)
        await tb.step(want_push=push, want_pop=tb.rng.randrange(tb.lists) if pop else None)
    assert tb.pushes > 200
    assert tb.pops > 200
    assert tb.repeated > 10
    await tb.finish()


@cocotb.test()
async def all_flows_in_order(dut):
    """Every flow once through each list; a second push, to any list, changes nothing."""
    tb = TB(dut)
    await tb.reset()
    await tb.wait_init()
    for i in range(tb.lists):
        order = list(range(tb.flows))
        tb.rng.shuffle(order)
        again = [(tb.rng.randrange(tb.lists), flow) for flow in order]
        tb.rng.shuffle(again)
        for push in (*((i, flow) for flow in order), *again):
            done = tb.pushes + 1
            while tb.pushes < done:
                await tb.step(want_push=push)
        assert list(tb.model[i]) == order
        await tb.finish()


@cocotb.test()
async def push_again_after_pop(dut):
    """A flow may be pushed again in the clock after pop_done: it then stands in a list again."""
    tb = TB(dut)
    await tb.reset()
    await tb.wait_init()
    await tb.step(want_push=(0, 1))
    for _ in range(50):
        tb.pops = 0
        while tb.popped is None:
            # nonempty is up to date with a pop already in the clock of its answer.
            await tb.step(want_pop=0 if not tb.pops else None)
        assert tb.nonempty.get() == 0
        await tb.step(want_push=(0, tb.popped))
        for _ in range(tb.rng.randrange(4)):
            await tb.step()
    await tb.finish()


@cocotb.test()
async def rate(dut):
    """One request in two clocks, from both sides together."""
    tb = TB(dut)
    await tb.reset()
    await tb.wait_init()
    for _ in range(400):
        await tb.step((0, tb.rng.randrange(tb.flows)), 0)
    assert tb.pushes + tb.pops >= 195
    assert tb.pushes >= 95
    assert tb.pops >= 95
    await tb.finish()


@cocotb.test()
async def reset_mid_traffic(dut):
    """A reset empties all lists, also the queued bits."""
    tb = TB(dut)
    for _ in range(6):
        await tb.reset()
        await tb.wait_init()
        for _ in range(tb.rng.randrange(10, 100)):
            push = (tb.rng.randrange(tb.lists), tb.rng.randrange(tb.flows))
            await tb.step(push, tb.rng.choice((None, tb.rng.randrange(tb.lists))))
    await tb.reset()
    await tb.wait_init()
    assert tb.nonempty.get() == 0
    for flow in range(min(tb.flows, 100)):
        done = tb.pushes + 1
        while tb.pushes < done:
            await tb.step(want_push=(0, flow))
    await tb.finish()


@pytest.mark.parametrize(
    ("flows", "fw", "lists", "llw"), [(5, 3, 3, 2), (64, 6, 1, 1), (1024, 10, 4, 2)]
)
def test_nk_flow_lists(flows, fw, lists, llw):
    run_module("nk_flow_lists", __file__, {"FLOWS": flows, "FW": fw, "LISTS": lists, "LLW": llw})
