# SPDX-License-Identifier: Apache-2.0
"""nk_buckets against exact arithmetic in Python: what a VF may spend in any time is its rate and its burst."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import Signal, params, reset, rng, start_clock

KIB = 8192  # bits


class TB:
    """step() is one clock; the model learns of time as the walker may: exactly, but later."""

    def __init__(self, dut):
        self.dut, self.rng = dut, rng("buckets")
        self.nvf = params()["NVF"]
        for n in ("now_us", "rate", "burst", "waiting", "charge_valid", "charge_vf", "charge_bits", "ok", "late_valid",
                  "late_vf", "late_us", "next_valid", "next_us", "busy"):  # fmt: skip
            setattr(self, n, Signal(getattr(dut, n)))
        self.now = self.rng.getrandbits(32)
        self.rates, self.bursts = [0] * self.nvf, [64] * self.nvf
        self.late = [0] * self.nvf
        self.wait = 0
        self.charge_valid.set(0)
        start_clock(dut)
        self.edge = RisingEdge(dut.clk)

    def config(self):
        self.rate.set(sum(v << 20 * i for i, v in enumerate(self.rates)))
        self.burst.set(sum(v << 16 * i for i, v in enumerate(self.bursts)))
        self.waiting.set(self.wait)
        self.now_us.set(self.now & 0xFFFFFFFF)

    async def start(self):
        self.config()
        await reset(self.dut, 3)
        await self.settle()

    async def step(self, charge=None):
        """One clock; the charge, if there is one, is (vf, bits)."""
        self.charge_valid.set(int(charge is not None))
        if charge:
            self.charge_vf.set(charge[0])
            self.charge_bits.set(charge[1])
        await self.edge
        if self.late_valid.get():
            self.late[self.late_vf.get()] += self.late_us.get()

    async def settle(self):
        await self.step()
        while True:
            await self.step()
            if not self.busy.get():
                await self.step()
                if not self.busy.get():
                    return

    async def pass_time(self, us):
        self.now += us
        self.now_us.set(self.now & 0xFFFFFFFF)
        await self.settle()

    def allowed(self, vf):
        return bool(self.ok.get() >> vf & 1)


@cocotb.test()
async def any_time(dut):
    """With time settled between steps, `ok` is exactly what the sum of grants and charges says."""
    tb = TB(dut)
    r = tb.rng
    tb.rates = [r.choice([0, 1, 10, 1000, 100_000, (1 << 20) - 1]) for _ in range(tb.nvf)]
    tb.rates[0] = 40 if tb.nvf == 1 else 10  # short of tokens, and full, often enough
    tb.bursts = [r.choice([1, 4, 64, 1000]) for _ in range(tb.nvf)]
    tb.bursts[0] = 4
    await tb.start()
    held = [0] * tb.nvf
    full = [False] * tb.nvf
    seen_debt = seen_full = 0
    for _ in range(1200):
        vf = r.randrange(tb.nvf)
        what = r.random()
        if what < 0.6:
            bits = r.choice([1, 512, 12112, 131072])
            await tb.step((vf, bits))
            await tb.step()
            if tb.rates[vf]:
                held[vf] -= bits
                full[vf] = False
        else:
            us = r.choice([1, 1, 3, 50, 1000, 30_000])
            # A walk takes place only if somebody is short of tokens; a full bucket gains nothing.
            await tb.pass_time(us)
            for v in range(tb.nvf):
                if tb.rates[v]:
                    held[v] = min(held[v] + tb.rates[v] * us, tb.bursts[v] * KIB)
                    seen_full += held[v] == tb.bursts[v] * KIB
        for v in range(tb.nvf):
            seen_debt += held[v] <= 0 and bool(tb.rates[v])
            assert tb.allowed(v) == (tb.rates[v] == 0 or held[v] > 0), f"VF {v}: {held[v]} bits"
    assert seen_debt > 20 and seen_full > 20


@cocotb.test()
async def rate_is_kept(dut):
    """A VF that spends whenever it may gets its rate within 0.1 %, beside others, in whatever steps time comes."""
    tb = TB(dut)
    r = tb.rng
    tb.rates = [r.choice([0, 3, 50, 900, 10_000]) for _ in range(tb.nvf)]
    tb.rates[0] = 50
    tb.bursts = [r.choice([4, 64]) for _ in range(tb.nvf)]
    tb.wait = (1 << tb.nvf) - 1
    await tb.start()
    await tb.pass_time(1_000_000)  # all full
    spent = [0] * tb.nvf
    begin = tb.now
    for _ in range(4000):
        if r.random() < 0.5:
            tb.now += r.choice([1, 1, 2, 40])
            tb.now_us.set(tb.now & 0xFFFFFFFF)
        vf = r.choice([0, r.randrange(tb.nvf)])
        # The charge comes late, as it does from the end of a pipeline: `ok` was looked at before.
        if tb.allowed(vf):
            bits = r.choice([512, 12112, 12112])
            for _ in range(r.randrange(3)):
                await tb.step()
            await tb.step((vf, bits))
            spent[vf] += bits
        else:
            await tb.step()
    await tb.settle()
    us = tb.now - begin
    for v in range(tb.nvf):
        if tb.rates[v]:
            most = tb.rates[v] * us + tb.bursts[v] * KIB
            assert spent[v] <= most + 2 * 12112, f"VF {v}: {spent[v]} of {most} bits"
    v = 0
    most = tb.rates[v] * us + tb.bursts[v] * KIB
    while tb.allowed(v):
        await tb.step((v, 12112))
        await tb.step()
        spent[v] += 12112
    assert abs(spent[v] - most) <= 0.001 * most + 2 * 12112
    assert tb.next_valid.get() == 1
    assert (tb.next_us.get() - tb.now) & 0xFFFFFFFF <= 32
    before = tb.late[v]
    for _ in range(10):
        await tb.pass_time(1)
    assert tb.late[v] >= before + (10 if tb.rates[v] * 10 < 12112 else 0) or tb.allowed(v)


@cocotb.test()
async def charge_in_a_walk(dut):
    """A charge in any clock of a walk counts: what is left is a debt."""
    tb = TB(dut)
    tb.rates, tb.bursts = [10] * tb.nvf, [4] * tb.nvf
    await tb.start()
    vf = tb.rng.randrange(tb.nvf)
    for clock in range(2 * tb.nvf + 6):
        await tb.pass_time(20_000)
        await tb.step((vf, 4 * KIB - 5))
        await tb.settle()
        assert tb.allowed(vf)
        tb.now += 1
        tb.now_us.set(tb.now & 0xFFFFFFFF)
        for _ in range(clock):
            await tb.step()
        await tb.step((vf, 1000))
        await tb.settle()
        assert not tb.allowed(vf), f"charged in clock {clock}"


@cocotb.test()
async def changes(dut):
    """A limit set while the VF runs counts from then on; taken away, the VF is free at once."""
    tb = TB(dut)
    await tb.start()
    for _ in range(20):
        await tb.step((0, 131072))
    assert tb.allowed(0), "no limit, nothing charged"
    tb.rates[0], tb.bursts[0] = 10, 1
    tb.config()
    await tb.pass_time(2000)
    assert tb.allowed(0), "a full bucket"
    await tb.step((0, 20_000))
    await tb.step()
    assert not tb.allowed(0)
    await tb.pass_time(1180)
    assert not tb.allowed(0)
    await tb.pass_time(2)
    assert tb.allowed(0)
    await tb.step((0, 131072))
    await tb.step()
    tb.rates[0] = 0
    tb.config()
    await tb.step()
    await tb.step()
    assert tb.allowed(0)


@pytest.mark.parametrize("nvf", [1, 4, 64])
def test_nk_buckets(nvf):
    run_module("nk_buckets", __file__, {"NVF": nvf, "VW": max(1, (nvf - 1).bit_length())})
