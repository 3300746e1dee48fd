# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_isn against RFC 6528 in plain Python: a 4 us clock plus a keyed hash of the addresses."""

from __future__ import annotations

import cocotb
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import Signal, reset, rng, start_clock
from lib.halfsiphash import check_vectors, halfsiphash

M = 0xFFFFFFFF
LATENCY = 13


class TB:
    def __init__(self, dut):
        self.dut = dut
        self.rng = rng("isn")

        def sig(name):
            return Signal(getattr(dut, name))

        self.key, self.now_us = sig("key"), sig("now_us")
        self.valid, self.ready, self.rsp, self.isn = (
            sig("req_valid"),
            sig("req_ready"),
            sig("rsp_valid"),
            sig("rsp_isn"),
        )
        self.fields = [sig(f"req_{f}") for f in ("lip", "lport", "rip", "rport")]
        self.edge = RisingEdge(dut.clk)
        start_clock(dut)
        self.time = 0  # microseconds since reset, not wrapped
        self.set_key()
        self.rubbish()
        self.now_us.set(0)

    def set_key(self):
        self.secret = self.rng.randbytes(16)
        self.key.set(int.from_bytes(self.secret, "little"))

    def rubbish(self):
        self.valid.set(0)
        for s in self.fields:
            s.set(self.rng.getrandbits(s.width))

    async def reset(self):
        self.time = 0
        self.now_us.set(0)
        self.rubbish()
        await reset(self.dut)

    async def step(self, advance=0):
        self.time += advance
        self.now_us.set(self.time & M)
        await self.edge

    def addresses(self):
        r = self.rng
        return r.getrandbits(32), r.getrandbits(16), r.getrandbits(32), r.getrandbits(16)

    def expect(self, addresses):
        lip, lport, rip, rport = addresses
        data = lip.to_bytes(4, "little") + rip.to_bytes(4, "little")
        data += rport.to_bytes(2, "little") + lport.to_bytes(2, "little")
        return ((self.time >> 2) + halfsiphash(self.secret[8:], data)) & M

    async def request(self, addresses):
        self.valid.set(1)
        for s, value in zip(self.fields, addresses, strict=True):
            s.set(value)
        await self.step()
        while not self.ready.get():
            await self.step()
        self.rubbish()

    async def get(self, addresses, advance=0):
        """An ISN, judged; time goes on by `advance` in each clock."""
        await self.request(addresses)
        for clock in range(1, LATENCY + 1):
            await self.step(advance)
            assert self.rsp.get() == (clock == LATENCY)
        isn = self.isn.get()
        assert isn == self.expect(addresses), f"at {self.time} us"
        return isn


@cocotb.test()
async def random_addresses(dut):
    tb = TB(dut)
    await tb.reset()
    for _ in range(300):
        await tb.get(tb.addresses(), tb.rng.choice((0, 1, 7, 100000)))
        await tb.step(tb.rng.choice((0, 0, 1 << 20)))
    tb.set_key()
    for _ in range(20):
        await tb.get(tb.addresses())


@cocotb.test()
async def grows_by_the_clock(dut):
    """The same pair of sockets: the ISN goes on by 1 in 4 us, through all wraps of now_us."""
    tb = TB(dut)
    await tb.reset()
    who = tb.addresses()
    first, start = await tb.get(who), tb.time
    for _ in range(60):
        for _ in range(4):
            await tb.step(tb.rng.randrange(1 << 26, 1 << 29))
        isn = await tb.get(who)
        assert (isn - first) & M == (tb.time // 4 - start // 4) & M
    assert tb.time > 1 << 34, "the clock of the ISN must have wrapped"


@cocotb.test()
async def addresses_and_key_matter(dut):
    """One bit more in any field, or another key: another ISN (a collision has odds of 2**-32)."""
    tb = TB(dut)
    await tb.reset()
    who = tb.addresses()
    seen = {await tb.get(who)}
    for field, width in enumerate((32, 16, 32, 16)):
        for bit in range(width):
            other = list(who)
            other[field] ^= 1 << bit
            seen.add(await tb.get(tuple(other)))
    assert len(seen) == 1 + 96
    tb.set_key()
    assert await tb.get(who) not in seen


@cocotb.test()
async def reset_mid_traffic(dut):
    tb = TB(dut)
    for _ in range(10):
        await tb.reset()
        await tb.request(tb.addresses())
        for _ in range(tb.rng.randrange(LATENCY - 1)):
            await tb.step(1)
        await tb.reset()
        for _ in range(LATENCY + 1):
            await tb.step(1)
            assert not tb.rsp.get()
        await tb.get(tb.addresses(), 1)


def test_model_vectors():
    """The judge's hash itself."""
    check_vectors()


def test_nk_tcp_isn():
    run_module("nk_tcp_isn", __file__)
