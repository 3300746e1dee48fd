# SPDX-License-Identifier: Apache-2.0
"""nk_core with several tenants who all want to send: rates, guaranteed rates, weights; the wire is what is short."""

from __future__ import annotations

import cocotb
from common.hostmem import Stalls
from core.core_tb import TB, run_core, vf_ip
from model import frames as fr
from netkernel.abi import PF, VFE


class Meter:
    """Bytes on the wire of each VF, by the frames that the card sends."""

    def __init__(self, tb: TB, vfs: int) -> None:
        self.tb, self.sent = tb, [0] * vfs
        self.of = {vf_ip(v): v for v in range(vfs)}
        inner = tb.shim.on_frame

        def on_frame(frame: bytes) -> None:
            f = fr.parse(frame)
            if f.kind == "tcp":
                self.sent[self.of[f.sip]] += len(frame)
            inner(frame)

        tb.shim.on_frame = on_frame

    async def rates(self, us: int) -> list[float]:
        """Mb/s of each VF over so much card time."""
        before, start = list(self.sent), self.tb.now
        await self.tb.sleep(us)
        return [(a - b) * 8 / (self.tb.now - start) for a, b in zip(self.sent, before, strict=True)]


async def set_vf(tb: TB, vf: int, **regs: int) -> None:
    for name, value in regs.items():
        await tb.pf_write(PF.VF_BASE + PF.VF_STRIDE * vf + getattr(VFE, name), value)


async def senders(tb: TB, flows: list[int], total: int = 4 << 20) -> None:
    """So many connections of each VF, all with more to send than the test takes."""
    for vf, n in enumerate(flows):
        for _ in range(n):
            sock, conn = await tb.connect(vf, port=100 + vf, tx_log2=16, rx_log2=12)
            conn.user = sock
            sock.send(bytes(total))


def jain(x: list[float]) -> float:
    return sum(x) ** 2 / (len(x) * sum(v * v for v in x))


@cocotb.test()
async def largest_rate(dut):
    """Each VF gets its largest rate within 1 %, one without is not held back by it; a change counts at once."""
    tb = TB(dut, link={"delay_us": 20}, clocks_per_us=4)
    await tb.start(vfs=3, sockets=8)
    for vf, rate in enumerate((100, 37, 0)):
        await set_vf(tb, vf, MAX_TX_RATE=rate, BURST=8 | 8 << 16)
    await senders(tb, [1, 3, 1], 16 << 20)
    meter = Meter(tb, 3)
    await tb.sleep(5_000)
    got = await meter.rates(40_000)
    dut._log.info("Mb/s %s", got)
    assert abs(got[0] - 100) <= 1.0 + 1514 * 8 / 40_000, got
    assert abs(got[1] - 37) <= 0.37 + 1514 * 8 / 40_000, got
    assert got[2] > 500, got
    await set_vf(tb, 0, MAX_TX_RATE=20)
    await tb.sleep(5_000)
    got = await meter.rates(40_000)
    assert abs(got[0] - 20) <= 0.2 + 1514 * 8 / 40_000, got
    # Time in vain is counted: nearly all of it for a VF that always has more.
    before, start = await tb.counter("tx_throttled_us", 0), tb.now
    await tb.sleep(10_000)
    late = await tb.counter("tx_throttled_us", 0) - before
    assert 0.8 * (tb.now - start) <= late <= tb.now - start + 64, late
    assert await tb.counter("tx_throttled_us", 2) == 0
    await set_vf(tb, 0, MAX_TX_RATE=0)
    await tb.finish(counters=False)  # SENDs behind an ABORT are refused


def short_wire(dut) -> TB:
    """A world whose wire takes less than the card could send: a beat of 64 bytes in 0.6 us, about 800 Mb/s."""
    return TB(dut, link={"delay_us": 2}, clocks_per_us=4, stalls=Stalls(ready=0.6))


@cocotb.test()
async def equal_shares(dut):
    """One flow against eight: two VFs share the wire evenly (Jain index 0.99)."""
    tb = short_wire(dut)
    await tb.start(vfs=2, sockets=12)
    await senders(tb, [1, 8])
    meter = Meter(tb, 2)
    await tb.sleep(3_000)
    got = await meter.rates(20_000)
    dut._log.info("Mb/s %s", got)
    assert jain(got) >= 0.99, got
    tb.shim.stalls = Stalls()
    await tb.finish(counters=False)  # SENDs behind an ABORT are refused


@cocotb.test()
async def by_weight(dut):
    """Weights 1, 2 and 4 share a short wire so, within 5 %."""
    tb = short_wire(dut)
    await tb.start(vfs=3, sockets=12)
    for vf, weight in enumerate((1, 2, 4)):
        await set_vf(tb, vf, SHARE=weight)
    await senders(tb, [6, 6, 6])
    meter = Meter(tb, 3)
    await tb.sleep(3_000)
    got = await meter.rates(20_000)
    dut._log.info("Mb/s %s", got)
    each = [g / w for g, w in zip(got, (1, 2, 4), strict=True)]
    mean = sum(each) / 3
    assert max(abs(e - mean) for e in each) <= 0.05 * mean, got
    tb.shim.stalls = Stalls()
    await tb.finish(counters=False)  # SENDs behind an ABORT are refused


@cocotb.test()
async def guaranteed_rate(dut):
    """A VF of weight 1 beside one of weight 20 gets what it was promised."""
    tb = short_wire(dut)
    await tb.start(vfs=2, sockets=12)
    await senders(tb, [4, 8])
    meter = Meter(tb, 2)
    await set_vf(tb, 1, SHARE=20)
    await tb.sleep(3_000)
    before = await meter.rates(10_000)
    promise = int(sum(before) / 3)
    assert before[0] < promise
    await set_vf(tb, 0, MIN_TX_RATE=promise)
    await tb.sleep(2_000)
    got = await meter.rates(20_000)
    dut._log.info("before %s, promised %d, now %s", before, promise, got)
    assert got[0] >= 0.97 * promise, got
    tb.shim.stalls = Stalls()
    await tb.finish(counters=False)  # SENDs behind an ABORT are refused


def test_shares() -> None:
    run_core(__file__)
