# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_post: the invariants that hold after every event: a timer for what waits, the earlier deadline, the books."""

from __future__ import annotations

import cocotb
from common.runner import run_module
from common.stream import rng
from common.tcb import M32, established, pack
from netkernel.abi import FlowState
from tcp.tcp_dut import LIVE, NEIGH, PERSIST, RTO, S, ask_tcb, expect, on_circle

OUT = ("timer_set", "timer_armed", "timer_deadline", "hash_delete", "opened", "freed")
RTO_MAX = 60_000_000
IN_TABLE = {*LIVE, S.TIME_WAIT}


async def post(dut, old, new, blocked=0, idle=1, now=0, mark=0):
    dut.tcb_old.value = pack(old)
    return await ask_tcb(
        dut, new, OUT, blocked=blocked, idle=idle, now_us=now, p_rto_max=RTO_MAX, tx_mark=mark
    )


@cocotb.test()
async def books(dut):
    """Table and use follow from the pair of states, for every pair."""
    for was in FlowState:
        for now_is in FlowState:
            for closed_before, closed in ((0, 0), (0, 1), (1, 1)):
                old = established(STATE=was, CLOSED=closed_before)
                new = established(STATE=now_is, CLOSED=closed)
                after, out = await post(dut, old, new, mark=0xBEEF)
                held = was in IN_TABLE or (was == S.LISTEN and not closed_before)
                holds = now_is in IN_TABLE or (now_is == S.LISTEN and not closed)
                if held and holds and (was == S.LISTEN) != (now_is == S.LISTEN):
                    continue  # no event does this
                assert out["hash_delete"] == (held and not holds), (was, now_is)
                assert out["opened"] == (was == S.FREE != now_is) and out["freed"] == (
                    was != S.FREE == now_is
                )
                change = {"SND_NXT": 0xBEEF} if now_is == S.DRAIN != was else {}
                expect(after, new, change, f"{was.name} -> {now_is.name}")


@cocotb.test()
async def the_earlier_deadline(dut):
    rnd = rng("post")
    for _ in range(3000):
        now = rnd.choice([0, M32, rnd.getrandbits(32)])
        pair = []
        base = {n: rnd.randrange(1 << 25) for n in ("RTX_T", "DACK_T")}
        for _ in range(2):
            after = {
                n: v if rnd.random() < 0.7 else rnd.randrange(1 << 25) for n, v in base.items()
            }
            flow = established(STATE=S.TIME_WAIT, RTX_ON=rnd.randrange(2), DACK_ON=rnd.randrange(2))
            pair.append((flow | {n: (now + v) & M32 for n, v in after.items()}, after))
        (old, _), (new, after) = pair
        _, out = await post(dut, old, new, now=now)
        armed = [after[n] for n, on in (("RTX_T", "RTX_ON"), ("DACK_T", "DACK_ON")) if new[on]]
        assert out["timer_armed"] == bool(armed)
        if armed:
            assert out["timer_deadline"] == (now + min(armed)) & M32
        deadlines = [
            {n: f[n] for n, on in (("RTX_T", "RTX_ON"), ("DACK_T", "DACK_ON")) if f[on]}
            for f in (old, new)
        ]
        assert out["timer_set"] == (deadlines[0] != deadlines[1]), (
            "the memory would hold an old deadline"
        )


@cocotb.test()
async def something_always_comes(dut):
    """What waits for the peer has a timer, or something to send; otherwise the connection would hang."""
    rnd = rng("hang")
    count = {"persist": 0, "turned": 0, "rto": 0}
    for _ in range(4000):
        state = rnd.choice([*LIVE, S.TIME_WAIT, S.DEAD])
        tcb = established(rnd, STATE=state, BACKOFF=rnd.choice([0, 2, 15]), RETRIES=3, RTX_T=11)
        una = rnd.randrange(1, 900)
        flying = rnd.choice([0, 0, 1, 700]) if state in LIVE and state != S.FIN_WAIT2 else 0
        tcb |= on_circle(tcb["ISS"], SND_UNA=una, SND_MAX=una + flying)
        tcb |= {
            "RTX_ON": rnd.randrange(2),
            "RTX_KIND": rnd.choice([RTO, PERSIST, NEIGH]),
            "PROBE": int(rnd.random() < 0.2),
        }
        blocked = int(
            state in LIVE
            and state not in (S.SYN_SENT, S.SYN_RCVD, S.FIN_WAIT2)
            and rnd.random() < 0.4
        )
        idle = int(not tcb["PROBE"]) if blocked else rnd.randrange(2)
        now = rnd.choice([0, M32, rnd.getrandbits(32)])
        new, _ = await post(dut, tcb, tcb, blocked, idle, now)
        due = {"RTX_ON": 1, "RTX_T": now + min(RTO_MAX, tcb["RTO"] << tcb["BACKOFF"])}
        change = {}
        if blocked and not tcb["RTX_ON"] and not tcb["PROBE"]:
            change, count["persist"] = {**due, "RTX_KIND": PERSIST}, count["persist"] + 1
        elif blocked and tcb["RTX_ON"] and tcb["RTX_KIND"] == RTO:
            change, count["turned"] = {"RTX_KIND": PERSIST}, count["turned"] + 1
        elif flying and idle and not tcb["RTX_ON"]:
            change, count["rto"] = {**due, "RTX_KIND": RTO, "RETRIES": 0}, count["rto"] + 1
        expect(
            new, tcb, change, f"{S(state).name} blocked={blocked} idle={idle} in flight {flying}"
        )
        if state in LIVE and (flying or blocked):
            assert new["RTX_ON"] or not idle, "nothing will ever happen here"
    assert min(count.values()) > 20, count


def test_nk_tcp_post():
    run_module("nk_tcp_post", __file__)
