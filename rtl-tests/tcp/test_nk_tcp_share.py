# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_share with a wire and VFs that send as they like: shares by weight, and a wire that never stands still."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import Signal, params, reset, rng, start_clock

BUS = 64  # bytes of the wire a clock


class Wire:
    """A wire with a short queue before it. A VF's list is seen empty while its flow is in the pipeline."""

    def __init__(self, dut):
        self.dut, self.rng = dut, rng("share")
        self.nvf = params()["NVF"]
        for n in ("weight", "waiting", "idle", "charge_valid", "charge_vf", "charge_bytes", "ok"):
            setattr(self, n, Signal(getattr(dut, n)))
        self.waiting.set(0)
        self.charge_valid.set(0)
        self.idle.set(1)
        self.weights = [1] * self.nvf
        self.sent = [0] * self.nvf
        self.clocks = self.moved = 0
        start_clock(dut)
        self.edge = RisingEdge(dut.clk)

    async def start(self):
        self.weight.set(sum(w << 8 * i for i, w in enumerate(self.weights)))
        await reset(self.dut, 3)

    async def run(self, clocks, size, flows, active=lambda vf, clock: True):
        """`size(vf)`: bytes of a segment; `flows[vf]`: passes it can have under way; active: wants to send now."""
        queue: list[int] = []
        backlog = 0
        under_way: list[tuple[int, int]] = []  # (clock of return, vf)
        delayed: list[tuple[int, int, int]] = []
        for clock in range(clocks):
            # The wire.
            if backlog:
                self.moved += min(BUS, backlog)
                backlog -= min(BUS, backlog)
                while queue and sum(queue) - queue[0] >= backlog:
                    queue.pop(0)
            under_way = [(t, v) for t, v in under_way if t > clock]
            out = [0] * self.nvf
            for _, v in under_way:
                out[v] += 1
            want = [active(v, clock) and flows[v] > out[v] for v in range(self.nvf)]
            self.waiting.set(sum(w << v for v, w in enumerate(want)))
            self.idle.set(int(len(queue) <= 1))
            due = [d for d in delayed if d[0] == clock]
            delayed = [d for d in delayed if d[0] != clock]
            self.charge_valid.set(int(bool(due)))
            if due:
                _, vf, n = due[0]
                self.charge_vf.set(vf)
                self.charge_bytes.set(n)
            await self.edge
            self.clocks += 1
            if len(queue) >= 6:
                continue
            may = [v for v in range(self.nvf) if want[v] and self.ok.get() >> v & 1]
            if may:
                v = self.rng.choice(may)
                n = size(v)
                queue.append(n)
                backlog += n
                self.sent[v] += n
                under_way.append((clock + 8, v))
                delayed.append((clock + 5, v, n))


def jain(x):
    return sum(x) ** 2 / (len(x) * sum(v * v for v in x))


@cocotb.test()
async def equal_shares(dut):
    """Few flows or many, small segments or large: equal weights get equal bytes."""
    tb = Wire(dut)
    await tb.start()
    flows = [1 if v % 2 else 50 for v in range(tb.nvf)]
    await tb.run(60_000, lambda v: 1514 if v % 2 == 0 else 400, flows)
    mean = sum(tb.sent) / tb.nvf
    assert max(abs(x - mean) for x in tb.sent) <= 0.02 * mean, tb.sent
    assert tb.moved >= 0.99 * BUS * tb.clocks, "the wire stood still"


@cocotb.test()
async def weights(dut):
    """Shares follow the weights within 3 %."""
    tb = Wire(dut)
    tb.weights = [tb.rng.choice([0, 1, 2, 5]) for _ in range(tb.nvf)]
    await tb.start()
    await tb.run(120_000, lambda v: 1514, [8] * tb.nvf)
    each = [s / max(1, w) for s, w in zip(tb.sent, tb.weights, strict=True)]
    mean = sum(each) / len(each)
    assert max(abs(e - mean) for e in each) <= 0.03 * mean + 3 * 1514, each


@cocotb.test()
async def nothing_is_wasted(dut):
    """VFs that come and go leave no gap on the wire, and one that was alone does not pay for it afterwards."""
    tb = Wire(dut)
    await tb.start()
    await tb.run(
        20_000,
        lambda v: 64 if v else 1514,
        [8] * tb.nvf,
        lambda v, clock: v == 0 or clock % 50 == v,
    )
    assert tb.moved >= 0.99 * BUS * tb.clocks
    tb.sent = [0] * tb.nvf
    await tb.run(30_000, lambda v: 1514, [8] * tb.nvf)
    tb.dut._log.info("after being alone: %s", tb.sent)
    assert jain(tb.sent) >= 0.99, tb.sent


@pytest.mark.parametrize(("nvf", "quantum_log2"), [(2, 14), (8, 12)])
def test_nk_tcp_share(nvf, quantum_log2):
    run_module(
        "nk_tcp_share",
        __file__,
        {"NVF": nvf, "QUANTUM_LOG2": quantum_log2, "VW": (nvf - 1).bit_length()},
    )
