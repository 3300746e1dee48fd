# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_choose: who may start a pass, in any clock; nobody starves, received segments go first, but not past anybody thrice."""

from __future__ import annotations

from collections import Counter

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import Signal, params, reset, rng, start_clock

INS = ("req", "has_flow", "flow", "busy_valid", "busy_flow", "spare_valid", "spare_flow", "room")
OUTS = ("start", "spare", "pick", "pick_flow", "pick_has_flow")


class TB:
    def __init__(self, dut):
        self.dut, self.r = dut, rng("choose")
        self.n, self.fw = params()["N"], params()["FW"]
        self.ins = {n: Signal(getattr(dut, n)) for n in INS}
        self.outs = {n: Signal(getattr(dut, n)) for n in OUTS}
        self.edge = RisingEdge(dut.clk)
        for s in self.ins.values():
            s.set(0)
        start_clock(dut)
        self.busy: list[int | None] = [None] * 3
        self.lost = [
            0
        ] * self.n  # starts of others, since its own last one, that this source could have had

    async def step(self, req, flows, spare=None, room=True, busy=None):
        """One clock. req: a set; flows[i]: flow of source i or None. Gives who started: a source, 'spare' or None."""
        r, n, fw = self.r, self.n, self.fw
        busy = self.busy if busy is None else busy

        def vector(values):
            return sum(
                (r.getrandbits(fw) if v is None else v) << fw * i for i, v in enumerate(values)
            )

        self.ins["req"].set(sum(1 << i for i in req))
        self.ins["has_flow"].set(sum(1 << i for i in range(n) if flows[i] is not None))
        self.ins["flow"].set(vector(flows))
        self.ins["busy_valid"].set(sum(1 << k for k in range(3) if busy[k] is not None))
        self.ins["busy_flow"].set(vector(busy))
        self.ins["spare_valid"].set(int(spare is not None))
        self.ins["spare_flow"].set(r.getrandbits(fw) if spare is None else spare)
        self.ins["room"].set(int(room))
        await self.edge
        out = {k: s.get() for k, s in self.outs.items()}
        held = {b for b in busy if b is not None}
        able = {i for i in req if flows[i] is None or flows[i] not in held}
        assert out["start"] == (room and (bool(able) or spare is not None))
        who, flow = None, None
        if out["start"]:
            assert out["spare"] == (not able)
            if able:
                who = out["pick"]
                assert who in able, f"{who} of {able}"
                flow = flows[who]
                assert out["pick_has_flow"] == (flow is not None)
                assert flow is None or out["pick_flow"] == flow
            else:
                who, flow = "spare", spare
                assert (out["pick_flow"], out["pick_has_flow"]) == (spare, 1)
            for i in range(n):
                if i == who or i not in req:
                    self.lost[i] = 0
                elif i in able:
                    self.lost[i] += 1
            assert self.lost[0] <= n, "a segment lost too often"
            assert max(self.lost) <= max(3 * n - 4, n), f"lost {self.lost}"
        self.busy = [flow, *self.busy[:2]]
        return who


@cocotb.test()
@cocotb.parametrize(flows=[4, 200])
async def random_sources(dut, flows):
    """With few flows nearly all collide, with many hardly any does. The stages behind hold the last three that started."""
    tb = TB(dut)
    await reset(dut)
    r, n = tb.r, tb.n
    seen: Counter = Counter()
    want: list[int | None] = [None] * n
    req: set[int] = set()
    for clock in range(8000):
        share = (0.3, 0.02)[clock // 500 % 2]
        for i in range(n):
            if i not in req and r.random() < share:
                req.add(i)
                want[i] = None if r.random() < 0.15 else r.randrange(flows)
        free = [f for f in range(flows) if f not in tb.busy]
        spare = r.choice(free) if free and r.random() < 0.3 else None
        who = await tb.step(req, want, spare, r.random() < 0.9)
        seen[who] += 1
        req.discard(who)
        if r.random() < 0.2:  # a source may withdraw
            req.discard(r.randrange(n))
    assert min(seen[i] for i in range(n)) > 100 and seen["spare"] > 10 and seen[None] > 10


@cocotb.test()
async def any_busy_stages(dut):
    """Each of the three stages behind holds its flow back, and only that."""
    tb = TB(dut)
    await reset(dut)
    for _ in range(3000):
        busy = [tb.r.choice((None, tb.r.randrange(8))) for _ in range(3)]
        flows = [tb.r.choice((None, tb.r.randrange(8))) for _ in range(tb.n)]
        req = {i for i in range(tb.n) if tb.r.random() < 0.4}
        free = [f for f in range(8) if f not in busy]
        await tb.step(req, flows, tb.r.choice((None, tb.r.choice(free))), busy=busy)


@cocotb.test()
async def shares(dut):
    """All want all the time: nobody waits for more than two segments, the others get equal parts. Beside one other: half and half."""
    tb = TB(dut)
    await reset(dut)
    n = tb.n
    seen: Counter = Counter()
    for _ in range((n + 1) * 50):
        seen[await tb.step(set(range(n)), [None] * n)] += 1
    rest = [seen[i] for i in range(1, n)]
    assert max(rest) - min(rest) <= 1
    assert seen[0] >= min(rest) * (2 if n > 2 else 1) - 2
    pair = Counter([await tb.step({0, n - 1}, [None] * n) for _ in range(100)])
    assert abs(pair[0] - pair[n - 1]) <= 2
    # A segment alone, or one other alone, starts every clock.
    for only in (0, n - 1):
        for _ in range(20):
            assert await tb.step({only}, [None] * n) == only


@cocotb.test()
async def an_operation_of_a_busy_flow(dut):
    """Segments of a flow back to back, another flow that sends, and an operation on the first one: it starts soon."""
    tb = TB(dut)
    await reset(dut)
    flows: list[int | None] = [None] * tb.n
    flows[0] = flows[1] = 5
    if tb.n > 2:
        flows[2] = 6
    for _ in range(20):
        await tb.step({0, 2} & set(range(tb.n)), flows)
    started = [await tb.step({0, 1, 2} & set(range(tb.n)), flows) for _ in range(30)]
    assert 1 in started, "the operation starves"


@cocotb.test()
async def one_flow(dut):
    """Events of one flow start four clocks apart; between them the others go on."""
    tb = TB(dut)
    await reset(dut)
    starts = [clock for clock in range(40) if await tb.step({0}, [5] * tb.n) == 0]
    assert {b - a for a, b in zip(starts, starts[1:], strict=False)} == {4}
    for _ in range(4):
        await tb.step(set(), [None] * tb.n)
    other = tb.n - 1
    seen = Counter([await tb.step({0, other}, [5, *[7] * other]) for _ in range(40)])
    assert seen[0] == seen[other] == 10


def test_nk_tcp_choose():
    run_module("nk_tcp_choose", __file__, {"N": 9, "FW": 8})


@pytest.mark.parametrize("n", [2, 5])
def test_nk_tcp_choose_n(n):
    run_module("nk_tcp_choose", __file__, {"N": n, "FW": 8})
