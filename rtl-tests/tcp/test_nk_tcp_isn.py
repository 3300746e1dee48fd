# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_isn against RFC 6528 and a model of its SYN cookies, in plain Python."""

from __future__ import annotations

import cocotb
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import Signal, reset, rng, start_clock
from lib.halfsiphash import check_vectors, halfsiphash

M = 0xFFFFFFFF
LATENCY = 15
ISN, MAKE, CHECK = 0, 1, 2
PERIOD = 1 << 26
SIZES = (536, 1024, 1220, 1300, 1360, 1400, 1440, 1460)


class TB:
    def __init__(self, dut):
        self.dut = dut
        self.rng = rng("isn")

        def sig(name):
            return Signal(getattr(dut, name))

        self.key, self.now_ext = sig("key"), sig("now_ext")
        self.valid, self.ready = sig("req_valid"), sig("req_ready")
        self.kind = sig("req_cookie")
        self.rsp, self.isn, self.ok, self.mss = (
            sig(f"rsp_{f}") for f in ("valid", "isn", "ok", "mss")
        )
        names = ("lip", "lport", "rip", "rport", "irs", "mss", "cookie_value")
        self.fields = [sig(f"req_{f}") for f in names]
        self.edge = RisingEdge(dut.clk)
        start_clock(dut)
        self.time = 0  # microseconds
        self.set_key()
        self.rubbish()
        self.now_ext.set(0)

    def set_key(self):
        self.secret = self.rng.randbytes(16)
        self.key.set(int.from_bytes(self.secret, "little"))

    def rubbish(self):
        self.valid.set(0)
        for s in (self.kind, *self.fields):
            s.set(self.rng.getrandbits(s.width))

    async def reset(self, time=0):
        self.time = time
        self.now_ext.set(time)
        self.rubbish()
        await reset(self.dut)

    async def step(self, advance=0):
        self.time = (self.time + advance) % (1 << 48)
        self.now_ext.set(self.time)
        await self.edge

    def addresses(self):
        r = self.rng
        return r.getrandbits(32), r.getrandbits(16), r.getrandbits(32), r.getrandbits(16)

    def hash(self, addresses, irs, t):
        lip, lport, rip, rport = addresses
        data = lip.to_bytes(4, "little") + rip.to_bytes(4, "little")
        data += rport.to_bytes(2, "little") + lport.to_bytes(2, "little")
        data += irs.to_bytes(4, "little") + t.to_bytes(3, "little")
        return halfsiphash(self.secret[8:], data)

    def cookie(self, addresses, irs, index, period):
        t = 1 << 23 | index << 20 | period % (1 << 20)
        return period % 2 << 31 | index << 28 | self.hash(addresses, irs, t) % (1 << 28)

    async def ask(self, kind, addresses, irs=None, mss=None, value=None, advance=0):
        """(rsp_isn, rsp_ok, rsp_mss); time goes on by `advance` in each clock after the request."""
        r = self.rng
        others = (
            r.getrandbits(32) if irs is None else irs,
            r.getrandbits(16) if mss is None else mss,
            r.getrandbits(32) if value is None else value,
        )
        self.valid.set(1)
        self.kind.set(kind)
        for s, v in zip(self.fields, (*addresses, *others), strict=True):
            s.set(v)
        await self.step()
        while not self.ready.get():
            await self.step()
        self.rubbish()
        for clock in range(1, LATENCY + 1):
            await self.step(advance)
            assert self.rsp.get() == (clock == LATENCY)
        return self.isn.get(), self.ok.get(), self.mss.get()

    async def get(self, addresses, advance=0):
        """An ISN, judged."""
        isn, ok, _ = await self.ask(ISN, addresses, advance=advance)
        assert isn == ((self.time >> 2) + self.hash(addresses, 0, 0)) & M, f"at {self.time} us"
        assert ok
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
    """The same pair of sockets: the ISN goes on by 1 in 4 us, also over a time in which the clock stood
    still for longer than 2**32 us."""
    tb = TB(dut)
    await tb.reset()
    who = tb.addresses()
    first, start = await tb.get(who), tb.time
    for _ in range(60):
        await tb.step(
            tb.rng.choice((tb.rng.randrange(1 << 26, 1 << 29), tb.rng.randrange(1 << 40)))
        )
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
async def cookies_are_made(dut):
    """A cookie for each size of segment: the largest one of the table that the peer takes."""
    tb = TB(dut)
    await tb.reset(tb.rng.getrandbits(48))
    edges = [s + d for s in SIZES for d in (-1, 0, 1)]
    for mss in (0, 1, 65535, *edges, *(tb.rng.getrandbits(16) for _ in range(60))):
        await tb.step(tb.rng.getrandbits(40))
        who, irs, period = tb.addresses(), tb.rng.getrandbits(32), tb.time // PERIOD
        value, ok, got = await tb.ask(MAKE, who, irs, mss)
        index = max((i for i, s in enumerate(SIZES) if s <= mss), default=0)
        assert value == tb.cookie(who, irs, index, period)
        assert got == SIZES[index]
        assert ok == (mss == 0 or mss >= 536)


@cocotb.test()
async def cookies_are_good_for_two_periods(dut):
    """Made at any time of a period, checked in it, in the next one, and later; over the wrap of the count."""
    tb = TB(dut)
    for start in (0, (1 << 46) - PERIOD, (1 << 48) - PERIOD, tb.rng.getrandbits(48)):
        await tb.reset(start + tb.rng.randrange(PERIOD))
        for _ in range(25):
            who, irs, mss = tb.addresses(), tb.rng.getrandbits(32), tb.rng.choice(SIZES)
            made = tb.time
            value, _, _ = await tb.ask(MAKE, who, irs, mss)
            later = tb.rng.choice((0, 1, 1, 1, 2, 3, 4)) * tb.rng.randrange(PERIOD // 2, PERIOD)
            await tb.step(later)
            age = (tb.time // PERIOD - made // PERIOD) % (1 << 22)
            _, ok, got = await tb.ask(CHECK, who, irs, value=value)
            assert ok == (age <= 1), f"{age} periods old"
            if ok:
                assert got == mss


@cocotb.test()
async def cookies_are_not_forged(dut):
    """Another address, port, ISS or bit of the cookie: refused. An ISN is no cookie."""
    tb = TB(dut)
    await tb.reset(tb.rng.getrandbits(48))
    who, irs = tb.addresses(), tb.rng.getrandbits(32)
    value, _, _ = await tb.ask(MAKE, who, irs, 1460)
    assert (await tb.ask(CHECK, who, irs, value=value))[1]
    for bit in range(32):
        assert not (await tb.ask(CHECK, who, irs, value=value ^ 1 << bit))[1], f"bit {bit}"
    for field, width in enumerate((32, 16, 32, 16)):
        for bit in range(width):
            other = list(who)
            other[field] ^= 1 << bit
            assert not (await tb.ask(CHECK, tuple(other), irs, value=value))[1]
    for bit in range(32):
        assert not (await tb.ask(CHECK, who, irs ^ 1 << bit, value=value))[1]
    assert not (await tb.ask(CHECK, who, irs, value=await tb.get(who)))[1]
    tb.set_key()
    assert not (await tb.ask(CHECK, who, irs, value=value))[1]


@cocotb.test()
async def reset_mid_traffic(dut):
    tb = TB(dut)
    for _ in range(10):
        await tb.reset()
        tb.valid.set(1)
        await tb.step()
        tb.rubbish()
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
