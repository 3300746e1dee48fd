# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_tmr against RFC 6298, 5.4 to 5.7, and the states' own timers; deadlines near the wrap of the clock."""

from __future__ import annotations

import cocotb
from common.runner import run_module
from common.stream import rng
from common.tcb import M32, established
from netkernel.abi import FlowState, Status
from tcp.tcp_dut import (
    FINWAIT2,
    LIVE,
    NEIGH,
    PERSIST,
    RTO,
    TIMEWAIT,
    S,
    ask_tcb,
    expect,
    on_circle,
)

OUT = ("st_rto", "st_give_up")
DATA_TRIES, SYN_TRIES = 6, 3


def quiet(dut):
    dut.p_retries_data.value = DATA_TRIES
    dut.p_retries_syn.value = SYN_TRIES


@cocotb.test()
async def random_expiries(dut):
    rnd = rng("tmr")
    quiet(dut)
    seen: dict[str, int] = {}
    for _ in range(6000):
        state = rnd.choice(list(FlowState))
        now = rnd.choice([0, 3, M32, rnd.getrandbits(32)])
        tcb = established(rnd, STATE=state)
        una = rnd.randrange(1, 3000)
        top = una + rnd.randrange(8000)
        tcb |= on_circle(tcb["ISS"], SND_UNA=una, SND_NXT=rnd.randrange(una, top + 1), SND_MAX=top)
        late = {
            name: rnd.choice([-1, 0, 1, 5, -5, 1 << 30, -(1 << 30)]) for name in ("RTX_T", "DACK_T")
        }
        tcb |= {name: (now - by) & M32 for name, by in late.items()}
        tcb |= {
            "RTX_ON": rnd.randrange(2), "DACK_ON": rnd.randrange(2), "CLOSED": rnd.randrange(2), "PASSIVE": rnd.randrange(2),
            "RTX_KIND": rnd.choice([RTO, RTO, PERSIST, TIMEWAIT, FINWAIT2, NEIGH]), "RETRIES": rnd.choice([0, 2, 3, 5, 6, 255]),
            "BACKOFF": rnd.choice([0, 7, 14, 15]), "MSS": 1000, "CWND": 12345, "SSTHRESH": 99999, "IN_REC": rnd.randrange(2),
            "DUPACKS": 3, "CA_ACC": 77, "REXMIT": rnd.randrange(2), "RTT_ON": rnd.randrange(2),
        }  # fmt: skip
        new, out = await ask_tcb(dut, tcb, OUT, now_us=now)
        change, verdict = {}, "early"
        if tcb["DACK_ON"] and late["DACK_T"] >= 0:
            change |= {"DACK_ON": 0, "ACK_NOW": 1}
        opening = state in (S.SYN_SENT, S.SYN_RCVD)
        if tcb["RTX_ON"] and late["RTX_T"] >= 0:
            kind, over = tcb["RTX_KIND"], S.DRAIN if tcb["CLOSED"] else S.DEAD
            verdict, change["RTX_ON"] = "nothing", 0
            longer = {"RETRIES": tcb["RETRIES"] + 1, "BACKOFF": min(15, tcb["BACKOFF"] + 1)}
            if kind in (RTO, PERSIST) and state in LIVE:
                if tcb["RETRIES"] >= (SYN_TRIES if opening else DATA_TRIES):
                    verdict = "gives up"
                    if state == S.SYN_RCVD and tcb["PASSIVE"]:
                        over = S.DRAIN  # the tenant never heard of it
                    change |= {
                        "STATE": over,
                        "N_RST": 1,
                        "N_STATUS": Status.TIMED_OUT,
                        "DACK_ON": 0,
                    }
                elif kind == PERSIST:
                    verdict = "probe"
                    change |= {"PROBE": 1, **longer}
                else:
                    verdict = "rto"
                    change |= {
                        "REXMIT": 0,
                        "RTT_ON": 0,
                        **longer,
                        **on_circle(tcb["ISS"], SND_NXT=una),
                    }
                    if not opening:  # RFC 5681, 3.1 (4); RFC 6582, 3.2 (4)
                        change |= {
                            "SSTHRESH": max((top - una) // 2, 2000),
                            "CWND": 1000,
                            "IN_REC": 0,
                            "DUPACKS": 0,
                        }
                        change |= {"CA_ACC": 0, **on_circle(tcb["ISS"], RECOVER=top)}
            elif kind in (TIMEWAIT, FINWAIT2):
                verdict = "waited"
                change |= {"STATE": over, "DACK_ON": 0}
            elif kind == NEIGH:
                verdict = "next hop"
        seen[verdict] = seen.get(verdict, 0) + 1
        expect(new, tcb, change, f"{verdict} in {state.name} late {late}")
        assert (out["st_rto"], out["st_give_up"]) == (verdict == "rto", verdict == "gives up")
    assert (
        min(
            seen.get(v, 0)
            for v in ("early", "nothing", "gives up", "probe", "rto", "waited", "next hop")
        )
        > 30
    ), seen


@cocotb.test()
async def backs_off_until_it_gives_up(dut):
    """As often as allowed, and no more; the number says what the RFC calls R2."""
    quiet(dut)
    for state, tries in ((S.SYN_SENT, SYN_TRIES), (S.ESTABLISHED, DATA_TRIES)):
        tcb = established(STATE=state)
        for k in range(tries + 1):
            tcb |= {
                "RTX_ON": 1,
                "RTX_KIND": RTO,
                "RTX_T": 50,
                "SND_NXT": (tcb["SND_UNA"] + 1) & M32,
            }
            tcb, out = await ask_tcb(dut, tcb, OUT, now_us=50)
            assert (out["st_rto"], out["st_give_up"]) == (k < tries, k == tries)
            assert tcb["BACKOFF"] == min(k + 1, tries)
        assert (tcb["STATE"], tcb["RTX_ON"]) == (S.DEAD, 0)


def test_nk_tcp_tmr():
    run_module("nk_tcp_tmr", __file__)
