# SPDX-License-Identifier: Apache-2.0
"""nk_arb_rr against a rotating list: the first requester after the one served last is granted."""

from __future__ import annotations

from collections import Counter

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import Signal, params, reset, rng, start_clock


class TB:
    def __init__(self, dut):
        self.dut = dut
        self.rng = rng("arb")
        self.n = params()["N"]
        self.edge = RisingEdge(dut.clk)
        self.req, self.advance, self.valid, self.grant = (
            Signal(getattr(dut, s)) for s in ("req", "advance", "grant_valid", "grant")
        )
        self.order: list[int] = []  # requesters, the next to be considered first
        self.served: Counter[int] = Counter()
        start_clock(dut)
        self.drive(0, 0)

    def drive(self, req, advance):
        self.req.set(req)
        self.advance.set(advance)

    async def reset(self):
        self.drive(0, 0)
        await reset(self.dut)
        self.order = list(range(self.n))
        self.served.clear()

    async def step(self, req, advance):
        """One clock with these inputs; judge the grant."""
        self.drive(req, advance)
        await self.edge
        want = next((i for i in self.order if req >> i & 1), None)
        assert self.valid.get() == (want is not None)
        if want is None:
            return
        assert self.grant.get() == want, f"req {req:0{self.n}b}"
        if advance:
            at = self.order.index(want) + 1
            self.order = self.order[at:] + self.order[:at]
            self.served[want] += 1


@cocotb.test()
async def random_requests(dut):
    tb = TB(dut)
    await tb.reset()
    for i in range(3000):
        req = tb.rng.getrandbits(tb.n)
        if i // 100 % 2:  # few ask, so that whole groups do not
            req = 0
            for _ in range(tb.rng.randrange(4)):
                req |= 1 << tb.rng.randrange(tb.n)
        await tb.step(req, tb.rng.random() < 0.6)
    assert sum(tb.served.values()) > 1000 * (tb.n > 1)


@cocotb.test()
async def all_ask(dut):
    """Under full load everybody gets the same share."""
    tb = TB(dut)
    await tb.reset()
    rounds = 20 if tb.n <= 100 else 2
    for _ in range(rounds * tb.n):
        await tb.step((1 << tb.n) - 1, 1)
    assert tb.served == Counter(dict.fromkeys(range(tb.n), rounds))


@cocotb.test()
async def nobody_starves(dut):
    """A requester that stays is served after at most N-1 others, whatever they do."""
    tb = TB(dut)
    await tb.reset()
    for me in range(tb.n) if tb.n <= 10 else tb.rng.sample(range(tb.n), 5):
        for _ in range(50 if tb.n <= 100 else 2):
            others = 0
            while True:
                before = tb.served[me]
                await tb.step(tb.rng.getrandbits(tb.n) | 1 << me, 1)
                if tb.served[me] > before:
                    break
                others += 1
            assert others <= tb.n - 1


@cocotb.test()
async def reset_mid_traffic(dut):
    """After a reset requester 0 is first again."""
    tb = TB(dut)
    for _ in range(20):
        await tb.reset()
        for _ in range(tb.rng.randrange(1, 20)):
            await tb.step(tb.rng.getrandbits(tb.n), 1)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 32, 33, 64, 75, 2016])
def test_nk_arb_rr(n):
    run_module("nk_arb_rr", __file__, {"N": n})
