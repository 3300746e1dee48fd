# SPDX-License-Identifier: Apache-2.0
"""nk_net_tx_arb: three frame streams become one, no frame is split, nobody is left out."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import with_timeout
from common.runner import run_module
from common.stream import (
    PAUSES,
    FrameSink,
    FrameSource,
    Signal,
    cycles,
    reset,
    rng,
    start_clock,
)

NAMES = ("tcp", "arp", "icmp")


class TB:
    def __init__(self, dut, s_pause="none", m_pause="none"):
        self.dut = dut
        self.rng = rng("arb")
        start_clock(dut)
        self.sources = [FrameSource(dut, n, pause=PAUSES[s_pause](rng(n))) for n in NAMES]
        self.sink = FrameSink(dut, "tx", pause=PAUSES[m_pause](rng("pause")))
        self.local = Signal(dut.tx_local)
        self.marks: list[bool] = []
        cocotb.start_soon(self._watch())
        self.sent: list[list[bytes]] = [[], [], []]

    async def _watch(self):
        """The mark of nk_arp stands beside its frame, and beside no other."""
        sig = {n: Signal(getattr(self.dut, f"tx_{n}")) for n in ("valid", "ready", "last")}
        await cycles(self.dut, 3)
        while True:
            await cycles(self.dut)
            if sig["valid"].get() and sig["ready"].get() and sig["last"].get():
                self.marks.append(bool(self.local.get()))

    async def reset(self):
        await reset(self.dut)
        self.sink.clear()
        self.sent = [[], [], []]
        self.marks.clear()
        self.dut.arp_local.value = 1

    def send(self, source, length=None):
        length = length or self.rng.choice([1, 60, 64, self.rng.randrange(60, 1515)])
        frame = bytes([source]) + self.rng.randbytes(length - 1)
        self.sources[source].send(frame)
        self.sent[source].append(frame)

    async def check(self):
        total = sum(map(len, self.sent))
        got: list[list[bytes]] = [[], [], []]
        order = []
        for _ in range(total):
            frame = await with_timeout(self.sink.recv(), 500, "us")
            got[frame[0]].append(frame)
            order.append(frame[0])
        assert got == self.sent
        await cycles(self.dut, 5)
        assert self.sink.empty()
        assert not int(self.dut.busy.value)
        assert self.marks == [NAMES[source] == "arp" for source in order]
        self.marks.clear()
        return order


@cocotb.test()
@cocotb.parametrize(s_pause=["none", "some", "bursts"], m_pause=["none", "most", "bursts"])
async def stress(dut, s_pause, m_pause):
    """Every frame once, whole, in the order of its stream."""
    tb = TB(dut, s_pause, m_pause)
    await tb.reset()
    for _ in range(60):
        tb.send(tb.rng.choice([0, 0, 0, 1, 2]))
    await tb.check()


@cocotb.test()
async def in_turn(dut):
    """Streams that all have frames are served in turn."""
    tb = TB(dut)
    await tb.reset()
    for _ in range(10):
        for source in range(3):
            tb.send(source, 200)
    order = await tb.check()
    assert order[3:] == [order[i % 3] for i in range(3, 30)]


@cocotb.test()
async def full_rate(dut):
    """A beat a clock, also across frames."""
    tb = TB(dut)
    await tb.reset()
    await cycles(dut, 2)
    for _ in range(30):
        tb.send(0, 600)
    beats = tb.sources[0].pending()
    await cycles(dut, beats + 4)
    assert tb.sink.received == beats
    await tb.check()


@cocotb.test()
async def full_rate_mixed(dut):
    """No clock is lost between frames of different streams, nor between frames of one beat."""
    tb = TB(dut)
    nbytes = tb.sink.nbytes
    for length in (nbytes, 2 * nbytes, 60):
        await tb.reset()
        await cycles(dut, 2)
        for i in range(60):
            tb.send(i % 3 if i < 45 else 0, length)
        beats = sum(s.pending() for s in tb.sources)
        start = tb.sink.received
        await cycles(dut, beats + 4)
        assert tb.sink.received - start == beats
        await tb.check()


@cocotb.test()
async def reset_mid_traffic(dut):
    """After a reset no rest of an old frame comes, and the next may be of any stream."""
    tb = TB(dut, "some", "some")
    for _ in range(15):
        await tb.reset()
        for source in range(3):
            tb.send(source, 900)
        await cycles(dut, tb.rng.randrange(1, 60))
    await tb.reset()
    for source in (2, 1, 0):
        tb.send(source)
    await tb.check()


@pytest.mark.parametrize("w", [64, 512])
def test_nk_net_tx_arb(w):
    run_module("nk_net_tx_arb", __file__, {"W": w})
