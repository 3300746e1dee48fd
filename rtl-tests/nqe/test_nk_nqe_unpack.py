# SPDX-License-Identifier: Apache-2.0
"""nk_nqe_unpack: batches in, beats in, the NQEs of the batches out, with phase bit and batch end."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import with_timeout
from common.runner import run_module
from common.stream import PAUSES, WordSink, WordSource, cycles, params, reset, rng, start_clock

BATCH = ("set", "queue", "count", "index", "log2")
OUT = ("data", "set", "queue", "phase", "last", "count")


def make(r, w):
    """A batch, its beats and its NQEs."""
    n, log2, index = r.randint(1, 8), r.randint(6, 16), r.getrandbits(17)
    batch = {
        "set": r.randrange(8),
        "queue": r.randrange(2),
        "count": n,
        "index": index,
        "log2": log2,
    }
    nqes = [r.getrandbits(256) for _ in range(n)]
    whole = sum(v << 256 * k for k, v in enumerate(nqes)) | r.getrandbits(256) << 256 * n
    beats = [whole >> w * k & (1 << w) - 1 for k in range(-(-256 * n // w))]
    out = [{"data": v, "set": batch["set"], "queue": batch["queue"], "phase": ~(index + k >> log2) & 1,
            "last": int(k == n - 1), "count": n} for k, v in enumerate(nqes)]  # fmt: skip
    return batch, beats, out


class TB:
    def __init__(self, dut, s_pause="none", m_pause="none"):
        self.r, self.w = rng("unpack"), params()["W"]
        start_clock(dut)
        self.batches = WordSource(dut, "b", BATCH, PAUSES[s_pause](rng("b")))
        self.beats = WordSource(dut, "rdat", ("data",), PAUSES[s_pause](rng("d")))
        self.sink = WordSink(dut, "nq", OUT, PAUSES[m_pause](rng("m")))

    def send(self, n):
        want = []
        for _ in range(n):
            batch, beats, out = make(self.r, self.w)
            self.batches.send(batch)
            self.beats.send_all(beats)
            want += out
        return want


@cocotb.test()
@cocotb.parametrize(s_pause=list(PAUSES), m_pause=["none", "most"])
async def stress(dut, s_pause, m_pause):
    tb = TB(dut, s_pause, m_pause)
    await reset(dut)
    want = tb.send(60)
    assert await with_timeout(tb.sink.recv_n(len(want)), 200, "us") == want
    await cycles(dut, 5)
    assert tb.sink.empty() and not tb.beats.pending()


@cocotb.test()
async def reset_mid_traffic(dut):
    tb = TB(dut, "some", "some")
    for _ in range(10):
        await reset(dut)
        tb.send(5)
        await cycles(dut, tb.r.randint(1, 40))
    await reset(dut)
    tb.sink.clear()
    want = tb.send(10)
    assert await with_timeout(tb.sink.recv_n(len(want)), 100, "us") == want


@pytest.mark.parametrize("w", [64, 128, 256, 512])
def test_nk_nqe_unpack(w):
    run_module("nk_nqe_unpack", __file__, {"W": w, "SW": 3})
