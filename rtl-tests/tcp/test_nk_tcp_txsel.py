# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_txsel: what may leave is judged from sets of sequence numbers, not by the same arithmetic."""

from __future__ import annotations

import cocotb
from cocotb.triggers import Timer
from common.runner import run_module
from common.stream import rng
from common.tcb import M32, established, pack

NONE, SYN, REXMIT, PROBE, DATA, ACK = range(6)
SENDERS = (6, 7, 9, 10, 11)  # ESTABLISHED, FIN_WAIT1, CLOSE_WAIT, CLOSING, LAST_ACK


async def choose(dut, tcb):
    dut.tcb.value = pack(tcb)
    await Timer(1, "ns")
    return {n: int(getattr(dut, n).value) for n in ("kind", "seq", "len", "fin", "psh", "blocked")}


@cocotb.test()
async def random_states(dut):
    rnd = rng("txsel")
    seen = set()
    for _ in range(6000):
        tcb = established(rnd, STATE=rnd.choice([6, 6, 6, 7, 8, 9, 10, 11, 12, 13]))
        una = (tcb["ISS"] + 1) & M32
        sent, given = sorted(
            (rnd.choice([0, 1, rnd.randrange(4000)]), rnd.choice([0, rnd.randrange(9000)]))
        )
        if rnd.random() < 0.3:
            given = sent
        fin_req = rnd.random() < 0.4 and tcb["STATE"] != 6
        fin_sent = fin_req and sent == given and rnd.random() < 0.5
        back = rnd.randrange(sent + 1) if rnd.random() < 0.3 else sent + fin_sent
        tcb |= {
            "SND_NXT": (una + back) & M32,
            "SND_MAX": (una + sent + fin_sent) & M32,
            "TX_END": (una + given) & M32,
            "FIN_REQ": int(fin_req),
            "MSS": rnd.choice([100, 536, 1460]),
            "SND_WND": rnd.choice([0, 50, 1460, 5000, 60000]),
            "CWND": rnd.choice([536, 1460, 3000, 50000]),
            "ACK_NOW": rnd.randrange(2),
            "REXMIT": int(rnd.random() < 0.2),
            "PROBE": int(rnd.random() < 0.1),
        }
        tcb["CWND"] = max(tcb["CWND"], tcb["MSS"])
        got = await choose(dut, tcb)
        seen.add(got["kind"])
        first = (got["seq"] - una) & M32
        carried = range(first, first + got["len"])
        window = min(tcb["SND_WND"], tcb["CWND"])
        if got["kind"] in (DATA, REXMIT, PROBE):
            assert tcb["STATE"] in SENDERS
            assert got["len"] <= tcb["MSS"] and all(b < given for b in carried), (
                "sends what was not given"
            )
            assert got["len"] or got["fin"], "an empty segment"
            if got["fin"]:
                assert fin_req and first + got["len"] == given, "FIN before the last byte"
        if got["kind"] == DATA:
            assert first == back and all(b < window for b in carried), "beyond the window"
            assert got["len"] in (0, tcb["MSS"], given - back) or back == 0, "a silly segment"
        if got["kind"] == REXMIT:
            assert first == 0 and all(b < sent for b in carried) and tcb["REXMIT"]
        if got["kind"] == PROBE:
            assert (first, got["len"], got["fin"]) == (0, 1, 0) and tcb["PROBE"]
        if got["kind"] == ACK:
            probed = tcb["SND_WND"] == 0 and back == 0 and sent + fin_sent == 1
            assert (
                tcb["ACK_NOW"] and got["len"] == 0 and first == (0 if probed else sent + fin_sent)
            )
        # Nothing that must leave stays: an owed ACK, a full segment that fits, a FIN with nothing before it.
        if got["kind"] == NONE and tcb["STATE"] in SENDERS:
            assert not tcb["ACK_NOW"]
            assert back > given or min(given - back, window - back) < tcb["MSS"]
            assert not (fin_req and back == given)
        assert got["blocked"] == (
            tcb["STATE"] in SENDERS and back == 0 and given > 0 and window == 0
        )
    assert seen >= {NONE, REXMIT, PROBE, DATA, ACK}, seen


@cocotb.test()
async def syn_states(dut):
    for state in (4, 5):
        tcb = established(STATE=state)
        tcb |= {n: tcb["ISS"] for n in ("SND_UNA", "SND_NXT", "SND_MAX")}
        assert (await choose(dut, tcb))["kind"] == SYN
        tcb["SND_NXT"] = tcb["SND_MAX"] = (tcb["ISS"] + 1) & M32
        tcb["ACK_NOW"] = 1
        assert (await choose(dut, tcb))["kind"] == (ACK if state == 5 else NONE)


@cocotb.test()
async def waits_for_the_next_hop(dut):
    tcb = established(ACK_NOW=1, RTX_ON=1, RTX_KIND=4)
    tcb["TX_END"] = (tcb["TX_END"] + 5000) & M32
    assert (await choose(dut, tcb))["kind"] == NONE


def test_nk_tcp_txsel():
    run_module("nk_tcp_txsel", __file__)
