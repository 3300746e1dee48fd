# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_sched against queues in Python: order within a list, turns between lists, no flow lost or invented."""

from __future__ import annotations

from collections import Counter, deque

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import PAUSES, Signal, params, reset, rng, start_clock


class TB:
    """A flow belongs to one list for ever, as a flow's VF is. step() is one clock."""

    def __init__(self, dut, pause="none"):
        self.dut = dut
        self.rng = rng(f"sched {pause}")
        self.flows, self.lists = params()["FLOWS"], params()["LISTS"]

        def sig(name):
            return Signal(getattr(dut, name))

        self.push_valid, self.push_list, self.push_flow = (
            sig(f"push_{f}") for f in ("valid", "list", "flow")
        )
        self.next_valid, self.next_ready, self.next_flow = (
            sig(f"next_{f}") for f in ("valid", "ready", "flow")
        )
        self.eligible, self.busy = sig("eligible"), sig("busy")
        self.pause = PAUSES[pause](rng("take"))
        self.edge = RisingEdge(dut.clk)
        start_clock(dut)
        self.everything = (1 << self.lists) - 1
        self.clear()

    def clear(self):
        self.queues = [deque() for _ in range(self.lists)]
        self.granted: list[int] = []
        self.open = self.everything
        self.last_open = self.everything
        self.push_valid.set(0)
        self.next_ready.set(0)
        self.eligible.set(self.open)

    async def reset(self, clocks=3):
        self.clear()
        await reset(self.dut, clocks)

    def home(self, flow):
        return flow % self.lists

    def waits(self, flow):
        return flow in self.queues[self.home(flow)]

    async def step(self, push=None, take=None):
        r = self.rng
        flow = r.randrange(self.flows) if push is None else push
        self.push_valid.set(int(push is not None))
        self.push_flow.set(flow)
        self.push_list.set(r.randrange(self.lists) if push is None else self.home(flow))
        self.next_ready.set(int(not self.pause() if take is None else take))
        self.eligible.set(self.open)
        await self.edge
        offered = self.next_flow.get() if self.next_valid.get() else None
        if offered is not None:
            home = self.home(offered)
            assert self.last_open >> home & 1, "an offer of a closed list"
            assert self.queues[home] and self.queues[home][0] == offered, (
                "not the first of its list"
            )
            assert self.busy.get()
            if self.next_ready.last:
                self.queues[home].popleft()
                self.granted.append(offered)
        elif any(q and self.open >> i & 1 for i, q in enumerate(self.queues)):
            assert self.busy.get(), "somebody may be served, and it is not busy"
        if push is not None:
            self.queues[self.home(push)].append(push)
        self.last_open = self.open
        return offered

    async def quiet(self):
        """Until it rests; nothing that may be served waits then."""
        limit = 100 + 10 * self.flows
        await self.step()
        while self.busy.get():
            await self.step()
            limit -= 1
            assert limit, "it does not come to rest"
        assert not any(q and self.open >> i & 1 for i, q in enumerate(self.queues))


@cocotb.test()
@cocotb.parametrize(take=list(PAUSES))
async def nothing_lost_nothing_invented(dut, take):
    """Flows push again and again while lists open and close."""
    tb = TB(dut, take)
    await tb.reset()
    flows = min(tb.flows, 200)
    for step in range(4000):
        if step % 40 == 0:
            tb.open = tb.rng.getrandbits(tb.lists) if step < 3500 else tb.everything
        flow = tb.rng.randrange(flows if step // 400 % 2 else min(flows, 4))
        rate = (0.1, 0.5, 1)[step // 500 % 3]
        await tb.step(None if tb.waits(flow) or tb.rng.random() > rate else flow)
    await tb.quiet()
    assert not any(tb.queues)
    assert len(tb.granted) > 150
    assert len(set(tb.granted)) > flows // 2


@cocotb.test()
async def turns(dut):
    """Lists that are never empty get the same share, one after the other, whatever their lengths."""
    tb = TB(dut)
    if tb.lists < 2:
        return
    await tb.reset()
    used = tb.flows // tb.lists * tb.lists
    for flow in range(used):
        await tb.step(flow, take=0)
    for _ in range(5):
        await tb.step(take=0)
    while len(tb.granted) < used - 3 * tb.lists:
        await tb.step(take=1)
    order = [tb.home(f) for f in tb.granted]
    for start in range(0, len(order) - tb.lists, tb.lists):
        turn = order[start : start + tb.lists]
        assert len(set(turn)) == tb.lists, f"a list was passed over: {turn}"
    await tb.quiet()


@cocotb.test()
async def same_share_for_small_lists(dut):
    """Each list holds one flow that comes back as soon as it was served; one holds many. Nobody waits for
    more than a turn or two."""
    tb = TB(dut)
    if tb.lists < 2:
        return
    await tb.reset()
    for flow in range(0, tb.flows, tb.lists):
        await tb.step(flow, take=0)
    for flow in range(1, tb.lists):
        await tb.step(flow, take=0)
    for _ in range(5):
        await tb.step(take=0)
    tb.granted.clear()
    since: dict[int, int] = {}
    back: deque[int] = deque()
    for clock in range(60 * tb.lists):
        before = len(tb.granted)
        push = back.popleft() if back else None
        if push is not None:
            since[push] = clock
        await tb.step(push, take=1)
        for flow in tb.granted[before:]:
            if tb.home(flow) and flow in since:
                # Four clocks to the offer, and each other list once or twice in between.
                assert clock - since[flow] <= 2 * tb.lists + 8
            back.append(flow)
    shares = Counter(map(tb.home, tb.granted))
    assert len(shares) == tb.lists
    while back:
        await tb.step(back.popleft())
    await tb.quiet()


@cocotb.test()
async def closed_lists_wait(dut):
    """A list that is not eligible keeps its flows and stops no other; the module is idle then, not busy."""
    tb = TB(dut)
    await tb.reset()
    for closed in range(min(tb.lists, 10)):
        tb.granted.clear()
        tb.open = tb.everything & ~(1 << closed)
        for flow in range(tb.flows):
            await tb.step(flow)
        await tb.quiet()
        assert len(tb.granted) == sum(tb.home(f) != closed for f in range(tb.flows))
        tb.open = tb.everything
        await tb.quiet()
        assert len(tb.granted) == tb.flows


@cocotb.test()
async def closed_while_offered(dut):
    """Offers that nobody takes, and then their lists close: the others' flows come, and then these."""
    tb = TB(dut)
    if tb.lists < 2:
        return
    await tb.reset()
    for _ in range(20):
        tb.granted.clear()
        flows = tb.rng.sample(range(tb.flows), min(tb.flows, 3 * tb.lists))
        for flow in flows:
            await tb.step(flow, take=0)
        for _ in range(4):
            offered = await tb.step(take=0)
        closed = tb.home(offered)
        tb.open = tb.everything & ~(1 << closed)
        await tb.step(take=0)
        others = sum(tb.home(f) != closed for f in flows)
        for _ in range(3 * others + 8):
            await tb.step(take=1)
        assert len(tb.granted) == others
        tb.open = tb.everything
        await tb.quiet()
        assert sorted(tb.granted) == sorted(flows)


@cocotb.test()
async def one_grant_a_clock(dut):
    """Two lists or more: a push and a grant in every clock. From a push to its offer: four clocks."""
    tb = TB(dut)
    await tb.reset()
    await tb.step(0)
    clocks = 1
    while await tb.step(take=1) is None:
        clocks += 1
    assert clocks == 4
    await tb.quiet()
    flows = tb.flows // tb.lists * tb.lists
    for flow in range(flows):
        await tb.step(flow, take=0)
    tb.granted.clear()
    again = None
    for _ in range(300):
        before = len(tb.granted)
        await tb.step(again, take=1)
        again = tb.granted[-1] if len(tb.granted) > before else None
    assert len(tb.granted) >= (299 if tb.lists > 1 else 149)
    if again is not None:
        await tb.step(again)
    await tb.quiet()


@cocotb.test()
async def reset_mid_traffic(dut):
    tb = TB(dut, "some")
    for _ in range(10):
        await tb.reset(tb.rng.randrange(1, 4))
        for _ in range(tb.rng.randrange(1, 100)):
            flow = tb.rng.randrange(tb.flows)
            await tb.step(None if tb.waits(flow) else flow)
    await tb.reset()
    for _ in range(20):
        assert await tb.step() is None, "a flow survived the reset"
    await tb.step(tb.flows - 1)
    await tb.quiet()
    assert tb.granted == [tb.flows - 1]


@pytest.mark.parametrize(("flows", "lists"), [(16, 1), (64, 2), (64, 5), (64, 8), (512, 70)])
def test_nk_tcp_sched(flows, lists):
    run_module("nk_tcp_sched", __file__, {"FLOWS": flows, "LISTS": lists})


def test_nk_tcp_sched_largest():
    """65,536 flows in the lists of 252 VFs with 8 queue sets each."""
    p = {"FLOWS": 65536, "LISTS": 2016}
    run_module("nk_tcp_sched", __file__, p, testcase="nothing_lost.*most|reset_mid")
