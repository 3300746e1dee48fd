# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_wake: flows that wait for a next hop are named once it is known, each once, and no others."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import PAUSES, Signal, params, reset, rng, start_clock


class TB:
    def __init__(self, dut, pause="none"):
        self.dut, self.r = dut, rng("wake")
        self.n, self.flows = params()["N"], 1 << params()["FW"]
        for name in ("ask_valid", "ask_flow", "ask_ip", "known_valid", "known_ip", "wake_ready"):
            setattr(self, name, Signal(getattr(dut, name)))
        for name in ("wake_valid", "wake_flow", "busy"):
            setattr(self, name, Signal(getattr(dut, name)))
        self.pause = PAUSES[pause](rng("pause"))
        self.edge = RisingEdge(dut.clk)
        self.woken: list[int] = []
        self.idle()
        start_clock(dut)

    def idle(self):
        self.ask_valid.set(0)
        self.known_valid.set(0)
        self.wake_ready.set(0)

    async def step(self, ask=None, known=None):
        """One clock. ask: (flow, ip)."""
        r = self.r
        flow, ip = ask or (r.randrange(self.flows), r.getrandbits(32))
        self.ask_valid.set(int(ask is not None))
        self.ask_flow.set(flow)
        self.ask_ip.set(ip)
        self.known_valid.set(int(known is not None))
        self.known_ip.set(r.getrandbits(32) if known is None else known)
        self.wake_ready.set(int(not self.pause()))
        await self.edge
        assert self.busy.get() == self.wake_valid.get()
        if self.wake_valid.get() and self.wake_ready.last:
            self.woken.append(self.wake_flow.get())

    async def drain(self):
        for _ in range(20 * self.n):
            await self.step()
        assert not self.wake_valid.get()
        woken, self.woken = self.woken, []
        return woken


@cocotb.test()
@cocotb.parametrize(pause=["none", "most"])
async def all_that_fit(dut, pause):
    """As many as there are places: each is woken by its own next hop, once."""
    tb = TB(dut, pause)
    await reset(dut)
    for _ in range(60):
        hops = [tb.r.getrandbits(32) for _ in range(3)]
        waits = {f: tb.r.choice(hops) for f in tb.r.sample(range(tb.flows), tb.r.randint(1, tb.n))}
        for flow, ip in waits.items():
            for _ in range(tb.r.choice((1, 1, 2))):  # who asks again still stands there once
                await tb.step((flow, ip))
            if tb.r.random() < 0.3:
                await tb.step()
        assert not tb.wake_valid.get()
        await tb.step(known=hops[0] ^ 1)
        for ip in hops:
            await tb.step(known=ip)
            assert sorted(await tb.drain()) == sorted(f for f in waits if waits[f] == ip)
            await tb.step(known=ip)
            assert await tb.drain() == []


@cocotb.test()
async def another_hop(dut):
    """Who asks for another next hop waits for that one alone."""
    tb = TB(dut)
    await reset(dut)
    await tb.step((5, 100))
    await tb.step((5, 200))
    await tb.step(known=100)
    assert await tb.drain() == []
    await tb.step(known=200)
    assert await tb.drain() == [5]


@cocotb.test()
async def too_many(dut):
    """More than there are places: the latest ones are kept, nobody is invented or woken twice."""
    tb = TB(dut)
    await reset(dut)
    for extra in (1, 3, tb.n):
        flows = tb.r.sample(range(tb.flows), tb.n + extra)
        for flow in flows:
            await tb.step((flow, 7))
        await tb.step(known=7)
        woken = await tb.drain()
        assert len(woken) == len(set(woken)) == tb.n
        assert set(woken) <= set(flows) and flows[-1] in woken


@cocotb.test()
@cocotb.parametrize(pause=["none", "bursts"])
async def random_traffic(dut, pause):
    """Asking and learning in any clock: whoever is woken has asked, and its next hop was known after that."""
    tb = TB(dut, pause)
    await reset(dut)
    hops = [tb.r.getrandbits(32) for _ in range(4)]
    asked: dict[int, int] = {}  # flow -> next hop, not known since
    due: list[int] = []
    total = 0
    for _ in range(6000):
        ask = known = None
        if tb.r.random() < 0.3 and len(asked) + len(due) < tb.n:
            free = [f for f in range(tb.flows) if f not in due]
            ask = (tb.r.choice(free), tb.r.choice(hops))
        if tb.r.random() < 0.05:
            known = tb.r.choice(hops)
            if ask and (ask[0] in asked or ask[1] == known):
                ask = None  # in one clock: either may count
        await tb.step(ask, known)
        for flow in tb.woken:
            assert flow in due, f"{flow} woken without reason"
            due.remove(flow)
            total += 1
        tb.woken.clear()
        if ask:
            asked[ask[0]] = ask[1]
        now = [f for f in asked if asked[f] == known]
        due += now
        for flow in now:
            del asked[flow]
    assert sorted(await tb.drain()) == sorted(due) and total > 100


@cocotb.test()
async def reset_mid_traffic(dut):
    """Nobody waits after a reset."""
    tb = TB(dut)
    for _ in range(10):
        await reset(dut)
        for flow in range(8):
            await tb.step((flow, 3))
        await tb.step(known=3 if tb.r.random() < 0.5 else None)
        tb.idle()
    await reset(dut)
    tb.woken.clear()
    await tb.step(known=3)
    assert await tb.drain() == []


@pytest.mark.parametrize("n", [4, 16])
def test_nk_tcp_wake(n):
    run_module("nk_tcp_wake", __file__, {"FW": 6, "N": n})
