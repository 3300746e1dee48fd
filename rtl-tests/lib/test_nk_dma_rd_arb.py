# SPDX-License-Identifier: Apache-2.0
"""nk_dma_rd_arb: several clients, one memory that answers in order; everybody gets its own data.

The memory's bytes follow from the request alone, so a client knows what must come back to it.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from dataclasses import dataclass

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import PAUSES, Signal, params, reset, rng, start_clock

FIELDS = {"func": 8, "addr": 64, "len": 16, "lane": None, "wrap_len": 16, "wrap_addr": 64}


@dataclass(frozen=True)
class Request:
    func: int
    addr: int
    len: int
    lane: int
    wrap_len: int
    wrap_addr: int

    def beats(self, nbytes: int) -> list[tuple[int, int]]:
        """What memory answers: (data, last) of each beat."""
        r = random.Random(str(self))
        n = -(-(self.lane + self.len) // nbytes)
        return [(r.getrandbits(8 * nbytes), int(i == n - 1)) for i in range(n)]


class TB:
    def __init__(self, dut, s_pause="none", m_pause="none"):
        self.dut = dut
        self.rng = rng("rd arb")
        self.n, self.w = params()["N"], params()["W"]
        self.depth = 1 << params()["DEPTH_LOG2"]
        self.nbytes = self.w // 8
        self.widths = {f: b or self.nbytes.bit_length() - 1 for f, b in FIELDS.items()}
        self.edge = RisingEdge(dut.clk)
        sig = {n: Signal(getattr(dut, n)) for n in ("s_valid", "s_ready", "d_valid", "d_ready")}
        self.s_valid, self.s_ready, self.d_valid, self.d_ready = sig.values()
        self.s = {f: Signal(getattr(dut, f"s_{f}")) for f in FIELDS}
        self.m = {f: Signal(getattr(dut, f"rdreq_{f}")) for f in FIELDS}
        names = ("rdreq_valid", "rdreq_ready", "rdat_valid", "rdat_ready", "rdat_data", "rdat_last")
        (self.m_valid, self.m_ready, self.r_valid, self.r_ready, self.r_data, self.r_last) = (
            Signal(getattr(dut, n)) for n in names
        )
        self.d_data, self.d_last, self.busy = (
            Signal(getattr(dut, n)) for n in ("d_data", "d_last", "busy")
        )
        # A pause of its own for each handshake.
        self.s_pauses = [PAUSES[s_pause](rng(f"s{i}")) for i in range(self.n)]
        self.d_pauses = [PAUSES[m_pause](rng(f"d{i}")) for i in range(self.n)]
        self.m_pause = PAUSES[m_pause](rng("m"))
        self.r_pause = PAUSES[s_pause](rng("r"))
        start_clock(dut)
        self.clear()

    def clear(self):
        self.todo = [deque() for _ in range(self.n)]  # requests not offered yet
        self.offered = [None] * self.n
        self.asked = [deque() for _ in range(self.n)]  # accepted, not yet seen at rdreq
        self.due = [deque() for _ in range(self.n)]  # beats that a client waits for
        self.memory = deque()  # beats that memory will answer with
        self.answering = None
        self.order: list[int] = []
        self.got: Counter[int] = Counter()
        self.under_way = self.max_under_way = 0
        for sig in (self.s_valid, self.d_ready, self.m_ready, self.r_valid):
            sig.set(0)

    async def reset(self):
        self.clear()
        await reset(self.dut)

    def request(self, client):
        nbytes, r = self.nbytes, self.rng
        self.todo[client].append(
            Request(
                func=r.getrandbits(8),
                addr=r.getrandbits(64),
                len=r.randrange(1, 6 * nbytes),
                lane=r.randrange(nbytes),
                wrap_len=r.getrandbits(16),
                wrap_addr=r.getrandbits(64),
            )
        )

    def pack(self):
        """The vectors of the requests offered; who offers none has rubbish there."""
        for field, bits in self.widths.items():
            value = self.rng.getrandbits(self.n * bits)
            for i, req in enumerate(self.offered):
                if req is not None:
                    mask = (1 << bits) - 1 << i * bits
                    value = value & ~mask | getattr(req, field) << i * bits
            self.s[field].set(value)
        self.s_valid.set(sum(1 << i for i, q in enumerate(self.offered) if q is not None))

    def idle(self):
        return not (any(self.todo) or any(self.offered) or any(self.due) or self.memory)

    def sample(self):
        """What the edge that has just come transferred."""
        if self.under_way or self.s_valid.last:
            assert self.busy.get(), "not busy with requests under way"
        ready = self.s_ready.get() & (self.s_valid.last or 0)
        assert ready.bit_count() <= 1, "one request a clock"
        for i in range(self.n):
            if ready >> i & 1:
                req = self.offered[i]
                self.offered[i] = None
                self.asked[i].append(req)
                self.due[i].extend(req.beats(self.nbytes))
                self.order.append(i)
                self.under_way += 1
                self.max_under_way = max(self.max_under_way, self.under_way)
        if self.m_valid.get() and self.m_ready.last:
            fields = {f: s.get() for f, s in self.m.items()}
            client = self.order.pop(0)
            want = self.asked[client].popleft()
            assert Request(**fields) == want, f"request of client {client}"
            self.memory.extend(want.beats(self.nbytes))
        if self.r_valid.last and self.r_ready.get():
            self.answering = None
        valid = self.d_valid.get()
        assert valid.bit_count() <= 1, "a beat has one owner"
        for i in range(self.n):
            if valid & (self.d_ready.last or 0) & 1 << i:
                assert self.due[i], f"client {i} gets a beat that it did not ask for"
                want = self.due[i].popleft()
                assert (self.d_data.get(), self.d_last.get()) == want, f"beat of client {i}"
                self.got[i] += 1
                self.under_way -= want[1]

    def drive(self):
        for i in range(self.n):
            if self.offered[i] is None and self.todo[i] and not self.s_pauses[i]():
                self.offered[i] = self.todo[i].popleft()
        self.pack()
        self.m_ready.set(int(not self.m_pause()))
        if self.answering is None and self.memory and not self.r_pause():
            self.answering = self.memory.popleft()
            self.r_data.set(self.answering[0])
            self.r_last.set(self.answering[1])
        self.r_valid.set(int(self.answering is not None))
        self.d_ready.set(sum(1 << i for i in range(self.n) if not self.d_pauses[i]()))

    async def run(self, clocks):
        for _ in range(clocks):
            self.drive()
            await self.edge
            self.sample()
            if self.idle() and not self.answering:
                return

    async def finish(self):
        await self.run(20000)
        assert self.idle(), "requests are stuck"
        for _ in range(5):
            self.drive()
            await self.edge
            self.sample()
        assert not self.busy.get()


@cocotb.test()
@cocotb.parametrize(s_pause=list(PAUSES), m_pause=list(PAUSES))
async def stress(dut, s_pause, m_pause):
    """Each client's data, in its order, under each mix of stalls."""
    tb = TB(dut, s_pause, m_pause)
    await tb.reset()
    for i in range(tb.n):
        for _ in range(tb.rng.randrange(10, 40)):
            tb.request(i)
    await tb.finish()


@cocotb.test()
async def same_share(dut):
    """Clients that always ask are served in turn."""
    tb = TB(dut)
    await tb.reset()
    for i in range(tb.n):
        for _ in range(30):
            tb.request(i)
    turns = []
    while all(tb.todo):
        before = list(tb.offered)
        tb.drive()
        await tb.edge
        before = list(tb.offered)
        tb.sample()
        turns += [i for i in range(tb.n) if before[i] is not None and tb.offered[i] is None]
    for at in range(len(turns) - tb.n):
        assert len(set(turns[at : at + tb.n])) == tb.n, "somebody was served twice in a round"
    assert len(turns) > 10 * tb.n
    await tb.finish()


@cocotb.test()
async def bounded(dut):
    """When memory does not answer, the order FIFO bounds what is under way."""
    tb = TB(dut)
    tb.r_pause = lambda: True
    await tb.reset()
    for i in range(tb.n):
        for _ in range(3 * tb.depth):
            tb.request(i)
    await tb.run(10 * tb.depth * tb.n)
    assert tb.under_way == tb.depth
    tb.r_pause = lambda: False
    await tb.finish()
    assert tb.max_under_way <= tb.depth + 1


@cocotb.test()
async def full_rate(dut):
    """Without stalls, data of long requests pass at a beat a clock."""
    tb = TB(dut)
    await tb.reset()
    for _ in range(20):
        tb.todo[0].append(Request(1, tb.rng.getrandbits(64), 16 * tb.nbytes, 0, 0xFFFF, 0))
    clocks = 0
    while not tb.idle() and clocks < 1000:
        tb.drive()
        await tb.edge
        tb.sample()
        clocks += 1
    assert tb.got[0] == 320
    assert clocks < 320 + 20


@cocotb.test()
@cocotb.parametrize(delay=[0, 12])
async def full_rate_short(dut, delay):
    """Reads of one beat go at one a clock, whoever they are from, also after memory was slow to begin.

    Four under way do not cover the way to memory and back: from eight on.
    """
    tb = TB(dut)
    each = 200 // tb.n
    await tb.reset()
    for i in range(tb.n):
        for _ in range(each):
            tb.todo[i].append(Request(i, tb.rng.getrandbits(64), tb.nbytes, 0, 0xFFFF, 0))
    late = deque([True] * delay)
    tb.r_pause = lambda: late.popleft() if late else False
    clocks = 0
    while not tb.idle() and clocks < 3000:
        tb.drive()
        await tb.edge
        tb.sample()
        clocks += 1
    assert sum(tb.got.values()) == tb.n * each
    if tb.depth >= 8:
        assert clocks <= tb.n * each + delay + 10
    await tb.finish()


@cocotb.test()
async def reset_mid_traffic(dut):
    """A reset forgets what is under way; the next answers go to the right clients."""
    tb = TB(dut, "some", "some")
    for _ in range(15):
        await tb.reset()
        for i in range(tb.n):
            for _ in range(8):
                tb.request(i)
        await tb.run(tb.rng.randrange(1, 80))
    await tb.reset()
    for i in range(tb.n):
        tb.request(i)
    await tb.finish()


@pytest.mark.parametrize(
    ("w", "n", "depth_log2"), [(64, 1, 2), (64, 3, 3), (512, 4, 4), (128, 2, 2), (512, 2, 8)]
)
def test_nk_dma_rd_arb(w, n, depth_log2):
    run_module("nk_dma_rd_arb", __file__, {"W": w, "N": n, "DEPTH_LOG2": depth_log2})
