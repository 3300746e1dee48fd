# SPDX-License-Identifier: Apache-2.0
"""nk_irq: arm, moderation, time and drain against the rule in the ABI, with rings that move at random."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import Signal, params, reset, rng, start_clock

M32 = (1 << 32) - 1


class TB:
    """The rings' state (entries beyond the heads) and everything that nk_irq watches."""

    def __init__(self, dut):
        self.dut, self.r = dut, rng("irq")
        p = params()
        self.nr, self.nqs, self.drain = p["NR"], p["NQS"], p.get("DRAIN", 2)
        names = [
            "now_us",
            "arm_valid",
            "arm_is_arm",
            "arm_is_clear",
            "arm_set",
            "entry_valid",
            "entry_set",
            "ir_read",
            "ir_set",
            "ir_on",
            "ir_comp_pend",
            "ir_recv_pend",
            "ir_usecs",
            "ir_count",
            "ir_active",
            "mon_offer",
            "mon_take",
            "irq_valid",
            "irq_ready",
            "irq_func",
            "irq_vector",
            "next_valid",
            "next_us",
            "vfc_valid",
            "vfc_ready",
            "vfc_vf",
            "busy",
            "stat_irq_sent",
        ]
        self.s = {n: Signal(getattr(dut, n)) for n in names}
        self.on = [True] * self.nr
        self.pend = [[0, 0] for _ in range(self.nr)]
        self.moder = [(0, 0)] * self.nr
        self.now = self.r.getrandbits(32)
        self.fired: list[int] = []
        self.counted = 0
        self.queue: list[tuple[str, int]] = []
        self.stall = 0.0
        self.path_stall: float | None = None
        self.flood = False  # the write path is never empty: other clients' beats, -1
        self.backlog: list[int] = []  # beats in the write path, by the set of their entry
        start_clock(dut)
        for n in ("arm_valid", "arm_is_arm", "arm_is_clear", "entry_valid", "mon_offer", "mon_take", "irq_ready",
                  "vfc_ready"):  # fmt: skip
            self.s[n].set(0)
        self.s["now_us"].set(self.now)
        cocotb.start_soon(self.run())

    async def run(self):
        """Look-ups answered one clock later; arms and entries one a clock; a write path of `drain` beats."""
        s, r, edge = self.s, self.r, RisingEdge(self.dut.clk)
        rst = Signal(self.dut.rst)
        while True:
            await edge
            if rst.get():
                continue
            if s["ir_read"].get():
                k = s["ir_set"].get()
                s["ir_on"].set(int(self.on[k]))
                s["ir_comp_pend"].set(self.pend[k][0])
                s["ir_recv_pend"].set(self.pend[k][1])
                s["ir_count"].set(self.moder[k][0])
                s["ir_usecs"].set(self.moder[k][1])
            if s["irq_valid"].get() and s["irq_ready"].last:
                vf, qs = s["irq_func"].get() - 1, s["irq_vector"].get()
                k = vf * self.nqs + qs
                assert k not in self.backlog, "interrupt before its writes left the arbiter"
                self.fired.append(k)
            if s["vfc_valid"].get() and s["vfc_ready"].last:
                assert s["vfc_vf"].get() == self.fired[-1] // self.nqs
                self.counted += 1
            if s["mon_offer"].last and s["mon_take"].last:
                self.backlog.pop(0)
            for n in ("arm_valid", "arm_is_arm", "arm_is_clear", "entry_valid"):
                s[n].set(0)
            if self.queue and len(self.backlog) < self.drain:
                kind, k = self.queue.pop(0)
                if kind == "entry":
                    self.pend[k][r.randrange(2)] += 1
                    self.backlog.append(k)
                    s["entry_set"].set(k)
                    s["entry_valid"].set(1)
                else:
                    s["arm_set"].set(k)
                    s["arm_valid"].set(1)
                    s["arm_is_arm"].set(int(kind == "arm"))
                    s["arm_is_clear"].set(int(kind == "clear"))
            if self.flood and len(self.backlog) < self.drain:
                self.backlog.append(-1)
            path = self.stall if self.path_stall is None else self.path_stall
            s["mon_offer"].set(int(bool(self.backlog)))
            s["mon_take"].set(int(r.random() >= path))
            s["irq_ready"].set(int(r.random() >= self.stall))
            s["vfc_ready"].set(int(r.random() >= self.stall))

    async def settle(self, limit=5000):
        edge = RisingEdge(self.dut.clk)
        quiet = 0
        for _ in range(limit):
            await edge
            quiet = 0 if self.queue or self.s["busy"].get() or self.backlog else quiet + 1
            if quiet > 3:
                return
        raise AssertionError("does not become quiet")

    async def at(self, us):
        self.now += us
        self.s["now_us"].set(self.now & M32)
        await self.settle()


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.7])
async def rules(dut, stall):
    """Random arms, entries, consumption, time: after each step exactly the interrupts that the rule asks for."""
    tb = TB(dut)
    tb.stall = stall
    await reset(dut)
    r = tb.r
    armed = [False] * tb.nr
    since: list[int | None] = [None] * tb.nr  # when the time of an armed set began
    for k in range(tb.nr):
        tb.moder[k] = r.choice(((0, 0), (0, 50), (3, 0), (4, 30), (1, 0)))
    want: list[int] = []

    def judge() -> None:
        for k in range(tb.nr):
            count, usecs = tb.moder[k]
            entries = sum(tb.pend[k])
            if not armed[k] or not entries:
                continue
            if since[k] is None:
                since[k] = tb.now
            late = usecs and tb.now - since[k] >= usecs
            if (not count and not usecs) or (count and entries >= count) or late:
                armed[k], since[k] = False, None
                want.append(k)

    for _ in range(400):
        for _ in range(r.randint(0, 3)):
            k = r.randrange(tb.nr)
            what = r.randrange(5)
            if what == 0:
                # Two arms may lead to one interrupt or two, by the time between them: here, two.
                await tb.settle()
                judge()
                tb.queue.append(("arm", k))
                armed[k] = True
                await tb.settle()
                judge()
            elif what in (1, 2):
                tb.queue.append(("entry", k))
            elif what == 3:
                # Consumed, and the heads written before an arm: a time that runs begins anew.
                await tb.settle()
                judge()
                if not armed[k]:
                    tb.pend[k] = [0, 0]
            else:
                await tb.settle()
                judge()
        await tb.settle()
        judge()
        running = [
            since[k] + tb.moder[k][1]
            for k in range(tb.nr)
            if since[k] is not None and tb.moder[k][1]
        ]
        assert bool(tb.s["next_valid"].get()) >= bool(running)
        if running:
            assert (
                tb.s["next_us"].get() == min(running) & M32
                or not tb.s["next_valid"].get()
                or ((tb.s["next_us"].get() - tb.now & M32) <= min(running) - tb.now)
            ), "would wake too late"
        await tb.at(r.choice((0, 1, 5, 20, 40)))
        judge()
        assert sorted(tb.fired) == sorted(want)
    assert tb.counted == len(want) > 50


@cocotb.test()
@cocotb.parametrize(flood=[False, True])
async def behind_the_write(dut, flood):
    """A write path that hardly moves: no interrupt before its write has left, even if the path is never empty; and it
    does come."""
    tb = TB(dut)
    await reset(dut)
    tb.path_stall, tb.flood = 0.9, flood
    edge = RisingEdge(dut.clk)
    for turn in range(60):
        k = tb.r.randrange(tb.nr)
        tb.pend[k] = [0, 0]
        tb.queue += [("arm", k), ("entry", k)]
        for _ in range(1000):
            await edge
            if len(tb.fired) > turn:
                break
        assert len(tb.fired) == turn + 1 and tb.fired[-1] == k


@cocotb.test()
async def cleared_and_off(dut):
    """A set that is new is not armed; one that is off never fires and forgets its arm."""
    tb = TB(dut)
    await reset(dut)
    tb.queue += [("arm", 0), ("clear", 0), ("entry", 0)]
    await tb.settle()
    assert not tb.fired
    tb.on[1] = False
    tb.queue += [("arm", 1), ("entry", 1)]
    await tb.settle()
    tb.on[1] = True
    tb.queue.append(("entry", 1))
    await tb.settle()
    assert not tb.fired
    tb.queue.append(("arm", 1))
    await tb.settle()
    assert tb.fired == [1]


@cocotb.test()
async def reset_mid_traffic(dut):
    """Arms and times of before the reset are gone."""
    tb = TB(dut)
    for _ in range(10):
        await reset(dut)
        tb.moder = [(0, 10)] * tb.nr
        tb.queue += [("arm", k) for k in range(tb.nr)] + [("entry", k) for k in range(tb.nr)]
        for _ in range(tb.r.randint(1, 20)):
            await RisingEdge(dut.clk)
        tb.queue.clear()
    await reset(dut)
    before = len(tb.fired)
    await tb.at(100)
    assert len(tb.fired) == before and not tb.s["next_valid"].get()


@pytest.mark.parametrize(("nr", "nqs"), [(2, 1), (12, 4)])
def test_nk_irq(nr, nqs):
    run_module("nk_irq", __file__, {"NR": nr, "NQS": nqs})
