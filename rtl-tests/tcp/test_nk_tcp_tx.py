# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_tx: what a segment that leaves does to the flow, counted on a line; and a next hop that is not known."""

from __future__ import annotations

import cocotb
from common.runner import run_module
from common.stream import rng
from common.tcb import M32, established
from netkernel.abi import Status
from tcp.tcp_dut import (
    ACK,
    FIN,
    NEIGH,
    PERSIST,
    PSH,
    RTO,
    SENDING,
    SYN,
    SYNCED,
    T_ACK,
    T_DATA,
    T_NONE,
    T_PROBE,
    T_REXMIT,
    T_SYN,
    S,
    ask_tcb,
    expect,
    on_circle,
)

OUT = (
    "send",
    "ask",
    "seg_flags",
    "seg_wnd",
    "seg_mss",
    "seg_ws_valid",
    "is_retransmit",
    "is_probe",
)
RTO_MAX, NEIGH_US, NEIGH_TRIES, MTU = 60_000_000, 50_000, 4, 1400


def quiet(dut):
    for name, value in dict(
        p_rto_max=RTO_MAX, p_neigh_retry=NEIGH_US, p_retries_neigh=NEIGH_TRIES, mtu=MTU, neigh_hit=1
    ).items():
        getattr(dut, name).value = value


def random_case(rnd):
    """A flow, its numbers on the line, and a segment that nk_tcp_txsel may choose for it."""
    kind = rnd.choice([T_SYN, T_REXMIT, T_PROBE, T_DATA, T_DATA, T_DATA, T_ACK, T_NONE])
    state = rnd.choice([S.SYN_SENT, S.SYN_RCVD]) if kind == T_SYN else rnd.choice(SENDING)
    if kind in (T_ACK, T_NONE):
        state = rnd.choice([*SYNCED, S.SYN_RCVD])
    tcb = established(rnd, STATE=state)
    una = 0 if kind == T_SYN else rnd.randrange(1, 5000)
    top = una + (rnd.randrange(2) if kind == T_SYN else rnd.choice([0, 1, 1460, 9000]))
    if kind == T_REXMIT:
        top = max(top, una + 1)
    nxt = una if kind in (T_SYN, T_PROBE) else rnd.choice([top, una, rnd.randrange(una, top + 1)])
    seq = {T_SYN: una, T_REXMIT: una, T_PROBE: una, T_DATA: nxt}.get(kind, top)
    fin = int(kind in (T_REXMIT, T_DATA) and state != S.ESTABLISHED and rnd.random() < 0.3)
    length = (
        1 if kind == T_PROBE else rnd.choice([1, 100, 1460]) if kind in (T_REXMIT, T_DATA) else 0
    )
    if kind == T_REXMIT:
        length = min(length, top - una)
    if fin and rnd.random() < 0.3:
        length = 0
    rcv = rnd.randrange(1, 3000)
    edge = rcv + rnd.choice([-1, 0, 1, 777, 65535, 65536, 1 << 20])
    tcb |= on_circle(tcb["ISS"], SND_UNA=una, SND_NXT=nxt, SND_MAX=top)
    tcb |= on_circle(tcb["IRS"], RCV_NXT=rcv, RCV_EDGE=edge, RCV_ADV=rcv)
    tcb |= {
        "RCV_WS": rnd.choice([0, 1, 5, 9]), "PASSIVE": rnd.randrange(2), "WS_OK": rnd.randrange(2), "CLOSED": rnd.randrange(2),
        "ACK_NOW": rnd.randrange(2), "ACK_CNT": rnd.randrange(4), "DACK_ON": rnd.randrange(2), "REXMIT": 1, "PROBE": 1,
        "RTT_ON": rnd.randrange(2), "RTT_SEQ": 5, "RTT_T": 6, "RTX_ON": rnd.randrange(2), "RTX_T": 7,
        "RTX_KIND": rnd.choice([RTO, RTO, PERSIST, NEIGH]), "BACKOFF": rnd.choice([0, 1, 6, 15]), "RETRIES": rnd.randrange(7),
        "RTO": rnd.choice([1000, 200_000, 3_000_000]), "RETX_TOTAL": rnd.choice([0, 8, 0xFFFE, 0xFFFF]),
    }  # fmt: skip
    line = dict(una=una, nxt=nxt, top=top, seq=seq, rcv=rcv, edge=edge)
    return (
        tcb,
        line,
        dict(kind=kind, seq=(tcb["ISS"] + seq) & M32, len=length, fin=fin, psh=rnd.randrange(2)),
    )


@cocotb.test()
async def sends(dut):
    rnd = rng("tx")
    quiet(dut)
    kinds = set()
    for _ in range(6000):
        tcb, n, seg = random_case(rnd)
        now = rnd.choice([5, M32 - 100, rnd.getrandbits(32)])
        new, out = await ask_tcb(dut, tcb, OUT, now_us=now, **seg)
        kind, is_syn = seg["kind"], seg["kind"] == T_SYN
        what = f"{n} {seg} {S(tcb['STATE']).name}"
        assert out["send"] == (kind != T_NONE) and not out["ask"], what
        if kind == T_NONE:
            expect(new, tcb, {}, what)
            continue
        kinds.add(kind)
        acks = not is_syn or tcb["STATE"] == S.SYN_RCVD
        flags = ACK * acks | SYN * is_syn | FIN * seg["fin"] | PSH * (seg["psh"] and seg["len"] > 0)
        assert out["seg_flags"] == flags, what
        assert out["seg_mss"] == (MTU - 40 if is_syn else 0)
        # A SYN-ACK answers the option only to a peer that sent it (RFC 7323, 2.2).
        assert out["seg_ws_valid"] == (is_syn and (not acks or tcb["WS_OK"]))
        # The window: all the room that the field can say, never more; a SYN's is not scaled.
        shift = 0 if is_syn else tcb["RCV_WS"]
        room = max(0, n["edge"] - n["rcv"])
        offered = out["seg_wnd"] << shift
        assert offered <= room and (out["seg_wnd"] == 0xFFFF or room < offered + (1 << shift)), what
        numbers = [n["seq"] + k for k in range(seg["len"] + seg["fin"] + is_syn)]
        again = bool(numbers) and kind != T_PROBE and numbers[0] < n["top"]
        assert out["is_retransmit"] == again and out["is_probe"] == (kind == T_PROBE), what
        stop = numbers[-1] + 1 if numbers else n["seq"]
        change = on_circle(tcb["ISS"], SND_MAX=max(n["top"], stop))
        if kind in (T_SYN, T_DATA):
            change |= on_circle(tcb["ISS"], SND_NXT=stop)
        if acks:
            change |= {
                "ACK_NOW": 0,
                "ACK_CNT": 0,
                "DACK_ON": 0,
                **on_circle(tcb["IRS"], RCV_ADV=n["rcv"] + offered),
            }
        if kind == T_REXMIT:
            change["REXMIT"] = 0
        if kind == T_PROBE:
            change["PROBE"] = 0
        if numbers:
            if again or kind == T_PROBE:  # Karn's rule (RFC 6298, 3)
                change["RTT_ON"] = 0
            elif not tcb["RTT_ON"]:
                change |= {"RTT_ON": 1, "RTT_T": now, **on_circle(tcb["ISS"], RTT_SEQ=stop)}
            if not (tcb["RTX_ON"] and tcb["RTX_KIND"] == RTO):  # RFC 6298, 5.1 and 5.5
                kind_of = PERSIST if kind == T_PROBE else RTO
                change |= {
                    "RTX_ON": 1,
                    "RTX_KIND": kind_of,
                    "RTX_T": now + min(RTO_MAX, tcb["RTO"] << tcb["BACKOFF"]),
                }
                if tcb["RTX_KIND"] == NEIGH:
                    change["RETRIES"] = 0
            if again:
                change["RETX_TOTAL"] = min(0xFFFF, tcb["RETX_TOTAL"] + 1)
        expect(new, tcb, change, what)
    assert kinds == {T_SYN, T_REXMIT, T_PROBE, T_DATA, T_ACK}


@cocotb.test()
async def no_next_hop(dut):
    """Asks, waits, gives up after as many tries as allowed; timeouts before it do not count as tries."""
    rnd = rng("no next hop")
    quiet(dut)
    for _ in range(400):
        tcb, n, seg = random_case(rnd)
        if seg["kind"] == T_NONE:
            continue
        if tcb["RTX_KIND"] == NEIGH:
            tcb |= {"RTX_KIND": RTO}
        tcb |= {"RETRIES": rnd.randrange(9), "N_STATUS": 0}
        for tries in range(NEIGH_TRIES + 1):
            new, out = await ask_tcb(dut, tcb, OUT, now_us=1000, neigh_hit=0, **seg)
            assert out["ask"] and not (out["send"] or out["is_retransmit"] or out["is_probe"])
            if seg["kind"] == T_ACK:  # not worth a timer
                expect(new, tcb, {"ACK_NOW": 0}, f"{n}")
                break
            if tries < NEIGH_TRIES:
                wait = {
                    "RTX_ON": 1,
                    "RTX_KIND": NEIGH,
                    "RTX_T": 1000 + NEIGH_US,
                    "RETRIES": tries + 1,
                }
                expect(new, tcb, wait, f"try {tries} {n}")
            else:
                unheard = tcb["STATE"] == S.SYN_RCVD and tcb["PASSIVE"]
                over = S.DRAIN if tcb["CLOSED"] or unheard else S.DEAD
                end = {
                    "STATE": over,
                    "N_RST": 1,
                    "N_STATUS": Status.UNREACHABLE,
                    "RTX_ON": 0,
                    "DACK_ON": 0,
                }
                expect(new, tcb, end, f"gives up {n}")
            tcb = new
    dut.neigh_hit.value = 1


def test_nk_tcp_tx():
    run_module("nk_tcp_tx", __file__)
