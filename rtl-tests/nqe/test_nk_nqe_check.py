# SPDX-License-Identifier: Apache-2.0
"""nk_nqe_check: good, bad and random NQEs against the rules of the ABI in plain Python."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import with_timeout
from common.runner import run_module
from common.stream import (
    PAUSES,
    Signal,
    WordSink,
    WordSource,
    cycles,
    params,
    reset,
    rng,
    start_clock,
)
from netkernel.abi import Queue, Status
from nqe.nqe_model import Nqe, Tenant, judge

IN = ("data", "set", "queue", "phase", "last", "count")
OUT = ("data", "set", "queue", "last", "count", "status", "flow", "child")


class TB:
    def __init__(self, dut, s_pause="none", m_pause="none"):
        self.dut, self.r = dut, rng("check")
        p = params()
        self.nvf, self.nqs, self.fw = p["NVF"], p["NQS"], p["FW"]
        start_clock(dut)
        self.source = WordSource(dut, "nq", IN, PAUSES[s_pause](rng("s")))
        self.sink = WordSink(dut, "ck", OUT, PAUSES[m_pause](rng("m")))
        self.tenants = []
        for vf in range(self.nvf):
            pages = self.r.choice((1, 2, 64, 4096, 1 << 20)) if vf else 64
            quota = self.r.choice((0, 1, 16, 300)) if vf else 16
            t = Tenant.__new__(Tenant)
            t.vf, t.pages, t.quota, t.sock_base = vf, pages, quota, vf * 3
            self.tenants.append(t)
        for name, attr in (("region_pages", "pages"), ("cfg_sock_base", "sock_base"),
                           ("cfg_sock_count", "quota")):  # fmt: skip
            value = sum(getattr(t, attr) << 32 * k for k, t in enumerate(self.tenants))
            Signal(getattr(dut, name)).set(value)

    def entry(self, hostile: float):
        """An input word and what must come out."""
        r = self.r
        t, qs = r.choice(self.tenants), r.randrange(self.nqs)
        queue = r.choice((Queue.JOB, Queue.SEND))
        phase = r.randrange(2)
        quota, pages = t.quota, t.pages
        t.quota, t.pages = max(quota, 1), max(pages, 4)  # the makers need some room
        n = t.hostile(r, queue, qs) if r.random() < hostile else t.with_qs(t.good(r, queue), qs)
        t.quota, t.pages = quota, pages
        n = Nqe(**{**n.__dict__, "flags": n.flags ^ phase})
        if r.random() < 0.05:
            n = Nqe.unpack(r.randbytes(32))
        status = judge(n, queue, phase, qs, quota, pages)
        side = {"set": t.vf * self.nqs + qs, "queue": int(queue == Queue.SEND),
                "last": r.randrange(2), "count": r.randint(1, 8)}  # fmt: skip
        data = int.from_bytes(n.pack(), "little")
        mask = (1 << self.fw) - 1
        out = {"data": data, **side, "status": status, "flow": t.sock_base + n.socket & mask,
               "child": t.sock_base + n.op_data & mask}  # fmt: skip
        return {"data": data, "phase": phase, **side}, out


@cocotb.test()
@cocotb.parametrize(s_pause=["none", "bursts"], m_pause=["none", "most"])
async def all_rules(dut, s_pause, m_pause):
    """Each status comes up, and for the reasons that the ABI gives."""
    tb = TB(dut, s_pause, m_pause)
    await reset(dut)
    pairs = [tb.entry(0.7) for _ in range(1500)]
    tb.source.send_all([i for i, _ in pairs])
    got = await with_timeout(tb.sink.recv_n(len(pairs)), 500, "us")
    for g, (_, want) in zip(got, pairs, strict=True):
        assert g == want, Nqe.unpack(want["data"].to_bytes(32, "little"))
    seen = {g["status"] for g in got}
    assert seen == {Status.OK, Status.BAD_FLAGS, Status.BAD_OP, Status.BAD_SOCKET, Status.BAD_SIZE,
                    Status.BAD_PTR}  # fmt: skip


@cocotb.test()
async def full_rate(dut):
    """One NQE a clock."""
    tb = TB(dut)
    await reset(dut)
    await cycles(dut, 2)
    tb.source.send_all([tb.entry(0.5)[0] for _ in range(100)])
    await cycles(dut, 105)
    assert tb.sink.received == 100


@cocotb.test()
async def reset_mid_traffic(dut):
    """What is inside is gone."""
    tb = TB(dut, "none", "most")
    for _ in range(10):
        await reset(dut)
        tb.sink.clear()
        tb.source.send_all([tb.entry(0.5)[0] for _ in range(20)])
        await cycles(dut, tb.r.randint(1, 20))
    await reset(dut)
    tb.sink.clear()
    await cycles(dut, 10)
    assert tb.sink.empty()


@pytest.mark.parametrize(("nvf", "nqs", "fw"), [(1, 1, 6), (3, 2, 10), (8, 8, 16)])
def test_nk_nqe_check(nvf, nqs, fw):
    run_module("nk_nqe_check", __file__, {"NVF": nvf, "NQS": nqs, "FW": fw})
