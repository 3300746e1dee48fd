# SPDX-License-Identifier: Apache-2.0
"""nk_cc: the table of the algorithms, and how flows of each share a link (RTL in the loop)."""

from __future__ import annotations

import re

import cocotb
import yaml
from common.filelist import ROOT, hw_root
from common.runner import run_module
from common.stream import rng
from tcp.cc_flow import Flow, Plug, jain, share_bottleneck

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
