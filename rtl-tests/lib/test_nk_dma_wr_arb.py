# SPDX-License-Identifier: Apache-2.0
"""nk_dma_wr_arb: several clients, one write channel; beats follow commands in grant order."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import PAUSES, Signal, params, reset, rng, start_clock

FIELDS = {"func": 8, "addr": 64, "len": 16, "lane": None, "wrap_len": 16, "wrap_addr": 64}


@dataclass(frozen=True)
class Command:
    func: int
    addr: int
    len: int
    lane: int
    wrap_len: int
    wrap_addr: int

    def beats(self, nbytes: int) -> list[tuple[int, int]]:
        """The data that the client sends with it: (data, last) of each beat."""
        r = random.Random(str(self))
        n = -(-(self.lane + self.len) // nbytes)
        return [(r.getrandbits(8 * nbytes), int(i == n - 1)) for i in range(n)]


class TB:
    """Clients offer data as soon as they have a command to give, even before it is granted."""

    def __init__(self, dut, s_pause="none", m_pause="none"):
        self.dut = dut
        self.rng = rng("wr arb")
        self.n, self.w = params()["N"], params()["W"]
        self.nbytes = self.w // 8
        self.widths = {f: b or self.nbytes.bit_length() - 1 for f, b in FIELDS.items()}
        self.edge = RisingEdge(dut.clk)

        def sig(name):
            return Signal(getattr(dut, name))

        self.s_valid, self.s_ready, self.busy = sig("s_valid"), sig("s_ready"), sig("busy")
        self.s = {f: sig(f"s_{f}") for f in FIELDS}
        self.sd_valid, self.sd_ready = sig("sd_valid"), sig("sd_ready")
        self.sd_data, self.sd_last = sig("sd_data"), sig("sd_last")
        self.m_valid, self.m_ready = sig("wrreq_valid"), sig("wrreq_ready")
        self.m = {f: sig(f"wrreq_{f}") for f in FIELDS}
        self.w_valid, self.w_ready = sig("wdat_valid"), sig("wdat_ready")
        self.w_data, self.w_last = sig("wdat_data"), sig("wdat_last")
        self.s_pauses = [PAUSES[s_pause](rng(f"s{i}")) for i in range(self.n)]
        self.sd_pauses = [PAUSES[s_pause](rng(f"sd{i}")) for i in range(self.n)]
        self.m_pause = PAUSES[m_pause](rng("m"))
        self.w_pause = PAUSES[m_pause](rng("w"))
        start_clock(dut)
        self.clear()

    def clear(self):
        self.todo = [deque() for _ in range(self.n)]
        self.offered = [None] * self.n
        self.data = [deque() for _ in range(self.n)]
        self.beat = [None] * self.n
        self.granted = deque()  # commands in the order of the grants
        self.expect = deque()  # beats of the commands that have left, in order
        self.beats_before = 0  # beats that came, of commands in `expect`
        self.turns: list[int] = []
        self.received = 0
        for s in (self.s_valid, self.sd_valid, self.m_ready, self.w_ready):
            s.set(0)

    async def reset(self):
        self.clear()
        await reset(self.dut)

    def command(self, client, length=None):
        nbytes, r = self.nbytes, self.rng
        cmd = Command(
            func=r.getrandbits(8),
            addr=r.getrandbits(64),
            len=length or r.randrange(1, 6 * nbytes),
            lane=0 if length else r.randrange(nbytes),
            wrap_len=r.getrandbits(16),
            wrap_addr=r.getrandbits(64),
        )
        self.todo[client].append(cmd)
        self.data[client].extend(cmd.beats(nbytes))

    def idle(self):
        return not (
            any(self.todo) or any(self.offered) or any(self.data) or self.granted or self.expect
        ) and all(b is None for b in self.beat)

    def pack(self):
        for field, bits in self.widths.items():
            value = self.rng.getrandbits(self.n * bits)
            for i, cmd in enumerate(self.offered):
                if cmd is not None:
                    mask = (1 << bits) - 1 << i * bits
                    value = value & ~mask | getattr(cmd, field) << i * bits
            self.s[field].set(value)
        self.s_valid.set(sum(1 << i for i, q in enumerate(self.offered) if q is not None))
        data, last = self.rng.getrandbits(self.n * self.w), self.rng.getrandbits(self.n)
        for i, beat in enumerate(self.beat):
            if beat is not None:
                mask = (1 << self.w) - 1 << i * self.w
                data = data & ~mask | beat[0] << i * self.w
                last = last & ~(1 << i) | beat[1] << i
        self.sd_data.set(data)
        self.sd_last.set(last)
        self.sd_valid.set(sum(1 << i for i, b in enumerate(self.beat) if b is not None))

    def sample(self):
        # A beat first: one that comes in the clock of its command came too early.
        if self.w_valid.get() and self.w_ready.last:
            assert self.expect, "a data beat before its command"
            assert (self.w_data.get(), self.w_last.get()) == self.expect.popleft()
            self.received += 1
        if self.m_valid.get() and self.m_ready.last:
            got = Command(**{f: s.get() for f, s in self.m.items()})
            assert got == self.granted.popleft()
            self.expect.extend(got.beats(self.nbytes))
        ready = self.s_ready.get() & (self.s_valid.last or 0)
        assert ready.bit_count() <= 1, "one command a clock"
        taken = self.sd_ready.get() & (self.sd_valid.last or 0)
        assert taken.bit_count() <= 1, "one beat a clock"
        for i in range(self.n):
            if ready >> i & 1:
                self.granted.append(self.offered[i])
                self.offered[i] = None
                self.turns.append(i)
            if taken >> i & 1:
                self.beat[i] = None
        if self.granted or self.expect or any(self.offered):
            assert self.busy.get(), "not busy with writes under way"

    def drive(self):
        for i in range(self.n):
            if self.offered[i] is None and self.todo[i] and not self.s_pauses[i]():
                self.offered[i] = self.todo[i].popleft()
            if self.beat[i] is None and self.data[i] and not self.sd_pauses[i]():
                self.beat[i] = self.data[i].popleft()
        self.pack()
        self.m_ready.set(int(not self.m_pause()))
        self.w_ready.set(int(not self.w_pause()))

    async def run(self, clocks):
        for clock in range(clocks):
            if self.idle():
                return clock
            self.drive()
            await self.edge
            self.sample()
        return clocks

    async def finish(self):
        await self.run(20000)
        assert self.idle(), "writes are stuck"
        for _ in range(5):
            self.drive()
            await self.edge
            self.sample()
        assert not self.busy.get()


@cocotb.test()
@cocotb.parametrize(s_pause=list(PAUSES), m_pause=list(PAUSES))
async def stress(dut, s_pause, m_pause):
    """All commands and beats, in posted order, under each mix of stalls."""
    tb = TB(dut, s_pause, m_pause)
    await tb.reset()
    for i in range(tb.n):
        for _ in range(tb.rng.randrange(10, 40)):
            tb.command(i)
    await tb.finish()


@cocotb.test()
async def same_share(dut):
    """Clients that always have a command are granted in turn."""
    tb = TB(dut)
    await tb.reset()
    for i in range(tb.n):
        for _ in range(20):
            tb.command(i)
    await tb.finish()
    for at in range(0, len(tb.turns), tb.n):
        assert len(set(tb.turns[at : at + tb.n])) == tb.n, "somebody was granted twice in a round"


@cocotb.test()
async def full_rate(dut):
    """Writes of one beat (NQEs) go at one a clock, whoever they are from."""
    tb = TB(dut)
    await tb.reset()
    for i in range(tb.n):
        for _ in range(100):
            tb.command(i, length=tb.nbytes)
    clocks = await tb.run(1000 * tb.n)
    assert tb.received == 100 * tb.n
    assert clocks <= 100 * tb.n + 8


@cocotb.test()
async def late_data(dut):
    """While a granted client has no data yet, the others' data wait: the order stays."""
    tb = TB(dut)
    await tb.reset()
    slow = [True]
    tb.sd_pauses[0] = lambda: slow[0]
    for i in range(tb.n):
        tb.command(i)
        tb.command(i)
    await tb.run(100)
    assert tb.received == 0
    slow[0] = False
    await tb.finish()


@cocotb.test()
async def reset_mid_traffic(dut):
    """A reset forgets what is under way; what follows is right."""
    tb = TB(dut, "some", "some")
    for _ in range(15):
        await tb.reset()
        for i in range(tb.n):
            for _ in range(8):
                tb.command(i)
        await tb.run(tb.rng.randrange(1, 80))
    await tb.reset()
    for i in range(tb.n):
        tb.command(i)
    await tb.finish()


@pytest.mark.parametrize(("w", "n"), [(64, 1), (64, 3), (512, 4)])
def test_nk_dma_wr_arb(w, n):
    run_module("nk_dma_wr_arb", __file__, {"W": w, "N": n})
