# SPDX-License-Identifier: Apache-2.0
"""nk_cc: the table of the algorithms, and how flows of each share a link (RTL in the loop)."""

from __future__ import annotations

import re
from collections import deque

import cocotb
import yaml
from common.filelist import ROOT, hw_root
from common.runner import run_module
from common.stream import rng
from tcp.cc_flow import M25, UNKNOWN, Flow, Plug, jain, share_bottleneck

RENO, CUBIC, DCTCP = 0, 1, 2


@cocotb.test()
async def chooses(dut):
    """Each number is answered by its algorithm: the three cut differently. A number without one is Reno."""
    plug = Plug(dut)
    for alg in range(16):
        f = Flow(plug, alg=alg, cwnd=100_000)
        f.cc_s = 4096 << 83 if alg == DCTCP else 0  # alpha = 1/2
        f.nxt = 100_000
        await f.event(0, "ev_ecn")
        want = {CUBIC: 69_921, DCTCP: 75_000}.get(alg, 50_000)
        assert f.ssthresh == want, f"{alg}: {f.ssthresh}"


@cocotb.test()
async def two_flows_converge(dut):
    """A flow that comes late to a full link gets its share; the link stays busy."""
    for alg, name in ((RENO, "Reno"), (CUBIC, "CUBIC")):
        plug = Plug(dut)
        flows = [Flow(plug, alg=alg, iss=(1 << 32) - 9_000_000), Flow(plug, alg=alg, iss=77)]
        result = await share_bottleneck(
            flows,
            rng(name),
            rate=800,
            rtt=[20_000, 20_000],
            queue=20,
            until=40_000_000,
            start=[0, 5_000_000],
        )
        fair = jain(result["delivered"])
        dut._log.info(f"{name}: {result}, Jain {fair:.3f}")
        assert fair > 0.9 and result["used"] > 0.9, f"{name}: {result}"


@cocotb.test()
async def dctcp_keeps_the_queue_short(dut):
    """Three flows, marks from 10 segments on: equal shares, a busy link, a queue about there."""
    plug = Plug(dut)
    flows = [Flow(plug, alg=DCTCP, iss=i << 30) for i in range(3)]
    result = await share_bottleneck(
        flows,
        rng("dctcp"),
        rate=20_000,
        rtt=[1_000] * 3,
        queue=200,
        until=2_500_000,
        mark_at=10,
        start=[0, 100_000, 200_000],
    )
    fair = jain(result["delivered"])
    dut._log.info(f"DCTCP: {result}, Jain {fair:.3f}")
    assert fair > 0.95 and result["used"] > 0.95, result
    assert 3 < result["queue"] < 25, result


@cocotb.test()
async def cubic_fills_a_long_path(dut):
    """250 ms and 250 segments on the way: CUBIC comes back from a loss sooner than Reno."""
    used = {}
    for alg in (RENO, CUBIC):
        full = 265 * 1448
        flow = Flow(Plug(dut), alg=alg, cwnd=full, ssthresh=full)
        result = await share_bottleneck(
            [flow], rng("long"), rate=1000, rtt=[250_000], queue=30, until=30_000_000
        )
        used[alg] = result["used"]
    dut._log.info(f"used: {used}")
    assert used[CUBIC] > used[RENO] + 0.05 and used[CUBIC] > 0.9, used


async def fill(f: Flow, segment_us: int, base_us: int, acks: int) -> None:
    """The flow alone on a path that takes a segment each `segment_us`; every ACK is measured."""
    now, free_at, arrivals = 0.0, 0.0, deque()
    for _ in range(acks):
        while f.flight + f.mss <= f.cwnd:
            f.nxt += f.mss
            free_at = max(free_at, now) + segment_us
            arrivals.append((free_at + base_us, now))
        now, sent = arrivals.popleft()
        rtt = (int(now) >> 10) - (int(sent) >> 10)
        await f.event(int(now), "ev_ack", "ev_round", acked=f.mss, rtt=rtt)
        f.una += f.mss


@cocotb.test()
async def slow_start_ends_in_time(dut):
    """HyStart ends the first slow start of every algorithm, and of none that is told not to; the state is clean then."""
    rnd = rng("hystart")
    for alg in (RENO, CUBIC, DCTCP, 9):
        for off in (0, 1):
            f = Flow(Plug(dut), alg=alg, prm=off << 32, iss=rnd.getrandbits(32))
            await fill(f, 400, 40_000, 600)  # 100 segments fill it
            if off:
                assert f.ssthresh == UNKNOWN and f.cwnd == 610 * f.mss
                assert alg == DCTCP or f.cc_s == 0
                continue
            assert 80 * f.mss <= f.ssthresh <= 160 * f.mss, f"{alg}: left at {f.ssthresh / f.mss}"
            assert f.ssthresh <= f.cwnd < 2.2 * f.ssthresh
            assert alg == CUBIC or f.cc_s & M25 < f.cwnd, "what is left is the count of ACKs"
            # DCTCP has summed its windows all along: alpha has come down, and nothing is marked.
            if alg == DCTCP:
                assert f.cc_s >> 83 > 2000 and f.cc_s >> 67 & 0xFFFF == 0


@cocotb.test()
async def slow_start_begins_anew(dut):
    """What interrupts the first slow start leaves nothing of HyStart's in the algorithm's state, nor the other way round."""
    rnd, plug = rng("anew"), Plug(dut)
    for alg in (RENO, CUBIC, DCTCP):
        for what in ("ev_loss", "ev_rto", "ev_ecn", "ev_idle", "undo"):
            f = Flow(plug, alg=alg, iss=rnd.getrandbits(32))
            await fill(f, 1, 40_000, 40)
            assert f.ssthresh == UNKNOWN and f.cc_s & M25, "it has begun"
            clean = Flow(plug, alg=alg, prm=1 << 32, iss=f.iss)
            await fill(clean, 1, 40_000, 40)
            assert (clean.cwnd, clean.una, clean.nxt) == (f.cwnd, f.una, f.nxt)
            for g in (f, clean):
                await g.event(77, "ev_loss" if what == "undo" else what)
            assert (f.cwnd, f.ssthresh, f.cc_s) == (clean.cwnd, clean.ssthresh, clean.cc_s), what
            if what == "undo":
                await f.event(78, "ev_undo")
                assert f.ssthresh == UNKNOWN and f.cc_s & M25 == 0 and f.cc_s >> 67 & 0xFFFF == 0
                assert alg == DCTCP or f.cc_s == 0
    # Between its ACKs it keeps what it has.
    f = Flow(plug, alg=RENO)
    await fill(f, 1, 40_000, 40)
    state = f.cc_s
    await f.event(99)
    assert f.cc_s == state


def test_table():
    """The rows of nk_cc are those of the ABI's table."""
    text = (hw_root() / "tcp" / "rtl" / "nk_cc.v").read_text()
    rows = re.findall(r"^ +`NK_CC_ROW\(`NK_CC_(\w+), +nk_cc_(\w+), ", text, re.M)
    abi = yaml.safe_load((ROOT / "hw" / "abi" / "nk_abi.yaml").read_text())["congestion_controls"]
    assert [number for number, _ in rows] == [row["name"] for row in abi]
    assert [row["value"] for row in abi] == list(range(len(rows)))
    assert all(number.lower() == module for number, module in rows)


def test_nk_cc():
    run_module("nk_cc", __file__)
