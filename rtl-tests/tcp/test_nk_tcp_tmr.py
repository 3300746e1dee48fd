# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_tmr against RFC 6298, 5.4 to 5.7, RFC 1122's keep-alive, RFC 5482's user timeout, and the states' own timers."""

from __future__ import annotations

import cocotb
from common.runner import run_module
from common.stream import rng
from common.tcb import M32, WIDTH, unpack
from netkernel.abi import FlowState, Status
from tcp.life import (
    CORK,
    FINWAIT2,
    KEEP,
    NEIGH,
    PERSIST,
    REO,
    RTO,
    TIMEWAIT,
    TLP,
    flow,
)
from tcp.tcp_dut import LIVE, S, ask_tcb, expect, on_circle

OUT = ("ev_rto", "ev_reo", "ev_tlp", "st_rto", "st_give_up", "st_blackhole")
DATA_TRIES, SYN_TRIES = 6, 3
UNIT = 1.048576  # seconds a count of now_s
OPENING = (S.SYN_SENT, S.SYN_RCVD)


def quiet(dut):
    dut.en.value = 1
    dut.p_retries_data.value = DATA_TRIES
    dut.p_retries_syn.value = SYN_TRIES
    dut.now_s.value = 0


def silence(rnd, limit: int) -> int:
    """Counts of now_s, around `limit` seconds but not so near that rounding decides."""
    while True:
        counts = rnd.choice(
            [0, 1, 5, int(limit / UNIT) + rnd.randrange(-3, 4), rnd.getrandbits(16)]
        )
        near = any(abs((counts + k) * UNIT - limit) < limit * 1e-4 + 0.01 for k in (-1, 1))
        if 0 <= counts < 1 << 16 and not near:
            return counts


@cocotb.test()
async def random_expiries(dut):
    rnd = rng("tmr")
    quiet(dut)
    seen: dict[str, int] = {}
    for _ in range(12000):
        state = rnd.choice([*FlowState, S.ESTABLISHED, S.ESTABLISHED])
        now = rnd.choice([0, 3, M32, rnd.getrandbits(32)])
        now_s = rnd.choice([0, 1, 0xFFFF, rnd.getrandbits(16)])
        tcb = flow(rnd, STATE=state)
        una = rnd.randrange(1, 3000)
        mss = rnd.choice([536, 524, 525, 537, 1448, 1460])
        flying = rnd.choice([0, 1, mss - 1, mss, mss + 1, 8000])
        tcb |= on_circle(tcb["ISS"], SND_UNA=una, SND_NXT=una + flying)
        late = {
            name: rnd.choice([-1, 0, 1, 5, -5, 1 << 30, -(1 << 30)]) for name in ("RTX_T", "DACK_T")
        }
        tcb |= {name: (now - by) & M32 for name, by in late.items()}
        uto = rnd.choice([0, 0, 1, 20, 1023])
        idle = rnd.choice([1, 2, 10, 7200, 16383])
        silent = silence(rnd, rnd.choice([uto, idle]))
        kind = rnd.choice([RTO, RTO, RTO, PERSIST, KEEP, KEEP, rnd.randrange(9)])
        tcb |= {
            "RTX_ON": int(rnd.random() < 0.8), "DACK_ON": rnd.randrange(2), "CLOSED": rnd.randrange(2), "PASSIVE": rnd.randrange(2),
            "RTX_KIND": kind, "RETRIES": rnd.choice([0, 0, 2, 3, 5, 6, 63]), "BACKOFF": rnd.choice([0, 1, 14, 15]), "MSS": mss,
            "TS_OK": rnd.randrange(2), "MTU_FAIL": rnd.randrange(4), "UTO": uto, "KA_ON": int(rnd.random() < 0.8), "KA_IDLE": idle,
            "KA_CNT": rnd.choice([1, 3, 9]), "LAST_T": (now_s - silent) & 0xFFFF, "CWND": 12345, "SSTHRESH": 99999,
        }  # fmt: skip
        new, out = await ask_tcb(dut, tcb, OUT, now_us=now, now_s=now_s)
        change: dict[str, int] = {}
        verdict, events = "early", dict.fromkeys(OUT, 0)
        if tcb["DACK_ON"] and late["DACK_T"] >= 0:
            change |= {"DACK_ON": 0, "ACK_NOW": 1}
        opening, synced = state in OPENING, state in LIVE and state not in OPENING
        if tcb["RTX_ON"] and late["RTX_T"] >= 0:
            verdict, change["RTX_ON"] = "nothing", 0
            over = S.DRAIN if tcb["CLOSED"] else S.DEAD
            tries = tcb["RETRIES"]
            # LAST_T says when only to a count: who is given up was surely silent that long.
            too_long = bool(uto) and (silent - 1) * UNIT >= uto
            more = {"RETRIES": min(tries + 1, 63)}
            ended = False
            if kind in (RTO, PERSIST) and state in LIVE:
                if opening:
                    ended = tries >= SYN_TRIES or too_long
                else:
                    ended = too_long if uto else tries >= DATA_TRIES
                if not ended:
                    change |= {**more, "BACKOFF": min(15, tcb["BACKOFF"] + 1)}
                    if kind == PERSIST:
                        verdict, change["PROBE"] = "probe", 1
                    else:
                        verdict = "rto"
                        events |= {"ev_rto": 1, "st_rto": 1}
                        least = 524 if tcb["TS_OK"] else 536
                        full = synced and mss > least and flying >= mss
                        change["MTU_FAIL"] = row = min(tcb["MTU_FAIL"] + 1, 3) if full else 0
                        if row == 3:
                            verdict = "black hole"
                            change["MSS"], events["st_blackhole"] = least, 1
            elif kind == KEEP:
                verdict = "heard meanwhile"
                if synced and tcb["KA_ON"] and (silent + 1) * UNIT > idle:
                    ended = (too_long and tries > 0) if uto else tries >= tcb["KA_CNT"]
                    if not ended:
                        verdict = "keep-alive"
                        change |= {"KA_PROBE": 1, **more}
                else:
                    change["RETRIES"] = 0
            elif kind == TLP and synced:
                verdict, events["ev_tlp"] = "tlp", 1
            elif kind == REO and state in LIVE:
                verdict, events["ev_reo"] = "reo", 1
            elif kind in (TIMEWAIT, FINWAIT2) and state in (S.TIME_WAIT, S.FIN_WAIT2):
                verdict = "waited"
                change |= {"STATE": over, "DACK_ON": 0}
            elif kind in (NEIGH, CORK):
                verdict = "go on"
            if ended:
                verdict = "gives up"
                if state == S.SYN_RCVD and tcb["PASSIVE"]:
                    over = S.DRAIN  # the tenant never heard of it
                change |= {"STATE": over, "N_RST": 1, "N_STATUS": Status.TIMED_OUT, "DACK_ON": 0}
                events["st_give_up"] = 1
        seen[verdict] = seen.get(verdict, 0) + 1
        expect(
            new, tcb, change, f"{verdict} in {state.name} kind {kind} late {late} silent {silent}"
        )
        assert out == events, (verdict, out)
    want = "early nothing heard-meanwhile go-on gives-up probe rto black-hole keep-alive tlp reo waited"
    assert (
        min(seen.get(v.replace("-", " ") if v != "keep-alive" else v, 0) for v in want.split()) > 15
    ), seen


@cocotb.test()
async def backs_off_until_it_gives_up(dut):
    """As often as allowed, and no more; the number says what the RFC calls R2."""
    quiet(dut)
    for state, tries in ((S.SYN_SENT, SYN_TRIES), (S.ESTABLISHED, DATA_TRIES)):
        tcb = flow(STATE=state)
        for k in range(tries + 1):
            tcb |= {"RTX_ON": 1, "RTX_KIND": RTO, "RTX_T": 50}
            tcb, out = await ask_tcb(dut, tcb, OUT, now_us=50)
            assert (out["ev_rto"], out["st_give_up"]) == (k < tries, k == tries)
            assert tcb["BACKOFF"] == min(k + 1, tries)
        assert (tcb["STATE"], tcb["RTX_ON"]) == (S.DEAD, 0)
    # More tries than can be counted are as many as can be counted.
    dut.p_retries_data.value = 255
    tcb = flow(RTX_KIND=RTO)
    for k in range(64):
        tcb |= {"RTX_ON": 1, "RTX_T": 50}
        tcb, out = await ask_tcb(dut, tcb, OUT, now_us=50)
        assert out["st_give_up"] == (k == 63)


@cocotb.test()
async def keep_alive_by_the_clock(dut):
    """RFC 1122, 4.2.3.6: idle, then KA_CNT probes; an answer begins all anew."""
    quiet(dut)
    for idle, count, answered in ((10, 3, False), (60, 1, False), (60, 4, True)):
        tcb = flow(KA_ON=1, KA_IDLE=idle, KA_CNT=count, KA_INTVL=5, LAST_T=0xFFF0)
        asked = second = 0
        while tcb["STATE"] == S.ESTABLISHED and second < 400:
            counts = (0xFFF0 + int(second / UNIT)) & 0xFFFF
            tcb |= {"RTX_ON": 1, "RTX_KIND": KEEP, "RTX_T": 7}
            tcb, _ = await ask_tcb(dut, tcb, OUT, now_us=7, now_s=counts)
            if tcb["KA_PROBE"]:
                asked += 1
                assert second >= idle - 2 * UNIT, "asked too early"
                tcb |= {"KA_PROBE": 0}
                if answered:
                    tcb |= {"LAST_T": counts, "RETRIES": 0}
                second += 4
            second += 1
        if answered:
            assert tcb["STATE"] == S.ESTABLISHED and asked >= 5
        else:
            assert (tcb["STATE"], asked, tcb["N_STATUS"]) == (S.DEAD, count, Status.TIMED_OUT)
            assert idle - 3 <= second - 5 * count <= idle + 3, second


@cocotb.test()
async def off(dut):
    rnd = rng("off")
    quiet(dut)
    dut.en.value = 0
    for _ in range(100):
        tcb = unpack(rnd.getrandbits(WIDTH)) | {"RTX_ON": 1, "DACK_ON": 1}
        new, out = await ask_tcb(dut, tcb, OUT, now_us=tcb["RTX_T"])
        assert new == tcb and not any(out.values())


def test_nk_tcp_tmr():
    run_module("nk_tcp_tmr", __file__)
