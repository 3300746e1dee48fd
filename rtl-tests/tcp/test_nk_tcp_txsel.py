# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_txsel: what may leave is judged from sets of bytes, and nothing that must leave stays."""

from __future__ import annotations

import cocotb
from cocotb.triggers import Timer
from common.runner import run_module
from common.stream import rng
from common.tcb import M32, pack
from tcp.life import CORK, NEIGH, RTO, flow
from tcp.snd_world import ACK, DATA, KEEP, NONE, PROBE, REXMIT, SYN, TLP
from tcp.tcp_dut import SENDING, S
from tcp.test_nk_tcp_sack import board

OUT = ("kind", "seq", "len", "fin", "psh", "blocked", "more")


async def choose(dut, tcb, tx_ok=1):
    dut.tcb.value = pack(tcb)
    dut.tx_ok.value = tx_ok
    await Timer(1, "ns")
    return {n: int(getattr(dut, n).value) for n in OUT}


def random_flow(rnd):
    """A flow, and its numbers on the line from SND_UNA; bytes come in units, so that sets stay small."""
    unit = rnd.choice([1, 100])
    tcb = flow(rnd, STATE=rnd.choice([*SENDING, S.ESTABLISHED, S.FIN_WAIT2, S.TIME_WAIT]))
    data = rnd.choice([0, 0, 1, 3, rnd.randrange(60)])  # sent bytes
    given = data + rnd.choice([0, 0, 1, 7, rnd.randrange(60)])
    if tcb["STATE"] in (S.FIN_WAIT2, S.TIME_WAIT):
        data = given = 0
    fin_req = tcb["STATE"] not in (S.ESTABLISHED, S.CLOSE_WAIT) or rnd.random() < 0.2
    fin_sent = int(fin_req and given == data and rnd.random() < 0.6)
    ranges = board(rnd, data) if data > 9 and rnd.random() < 0.6 else []
    lost, rxt = (
        rnd.choice([0, 0, data, rnd.randrange(data + 1)]),
        rnd.choice([0, rnd.randrange(data + 1)]),
    )
    una = tcb["SND_UNA"]

    def at(x, fin=0):
        return una + x * unit + fin & M32

    n = dict(
        unit=unit,
        data=data * unit,
        nxt=data * unit + fin_sent,
        given=given * unit,
        fin_req=int(fin_req),
        fin_sent=fin_sent,
    )
    n |= dict(ranges=[(s * unit, e * unit) for s, e in ranges], rxt=rxt * unit)
    n["lost"] = n["nxt"] if lost == data else lost * unit
    tcb |= {
        "SND_NXT": at(data, fin_sent), "TX_END": at(given), "FIN_REQ": int(fin_req), "SACK_OK": 1,
        "SK_V": (1 << len(ranges)) - 1, "SK_S": sum(at(s) << 32 * i for i, (s, _) in enumerate(ranges)),
        "SK_E": sum(at(e) << 32 * i for i, (_, e) in enumerate(ranges)),
        "LOST_END": una + n["lost"] & M32, "RXT_NXT": at(rxt), "MSS": rnd.choice([4, 10, 300]) * rnd.choice([1, unit]),
        "SND_WND": rnd.choice([0, 0, 5, 20, 100, 9000]) * unit, "CWND": rnd.choice([1, 5, 20, 60, 9000]) * unit,
        "MAX_WND_L2": rnd.choice([0, 1, 4, 7, 13, 24]),
        "NODELAY": rnd.randrange(2), "SML": rnd.randrange(2), "CORK": int(rnd.random() < 0.2), "ACK_NOW": rnd.randrange(2),
        "OOO_V": rnd.choice([0, 0, 3]), "DSACK_V": int(rnd.random() < 0.1), "PROBE": int(rnd.random() < 0.4),
        "TLP_DUE": int(rnd.random() < 0.15), "IN_REC": int(rnd.random() < 0.3), "KA_PROBE": int(rnd.random() < 0.1),
        "RTX_KIND": rnd.choice([RTO, RTO, CORK]), "RTX_ON": rnd.randrange(2),
    }  # fmt: skip
    return tcb, n


@cocotb.test()
async def random_states(dut):
    rnd = rng("txsel")
    seen = {}
    cut = silly = 0
    for _ in range(12_000):
        tcb, n = random_flow(rnd)
        tx_ok = int(rnd.random() < 0.9)
        got = await choose(dut, tcb, tx_ok)
        kind, una, mss, wnd = got["kind"], tcb["SND_UNA"], tcb["MSS"], tcb["SND_WND"]
        seen[kind] = seen.get(kind, 0) + 1
        held = {b for s, e in n["ranges"] for b in range(s, e)}
        waiting = sorted(b for b in range(n["rxt"], n["lost"]) if b not in held)
        pipe = n["nxt"] - len(held) - len(waiting)
        free = max(0, tcb["CWND"] - pipe)
        first = (got["seq"] - una + (1 << 31) & M32) - (1 << 31)
        bytes_ = range(first, first + got["len"])
        sends = tcb["STATE"] in SENDING
        repair = bool(tcb["IN_REC"])
        uncork = tcb["RTX_KIND"] == CORK and not tcb["RTX_ON"]
        what = (
            f"{got} {n} mss {mss} wnd {wnd} cwnd {tcb['CWND']} pipe {pipe} {S(tcb['STATE']).name} "
            + str(
                {
                    k: tcb[k]
                    for k in (
                        "NODELAY",
                        "CORK",
                        "TLP_DUE",
                        "IN_REC",
                        "PROBE",
                        "ACK_NOW",
                        "OOO_V",
                        "DSACK_V",
                    )
                }
            )
        )
        owes_sack = tcb["ACK_NOW"] and (tcb["OOO_V"] or tcb["DSACK_V"])
        # What leaves is allowed.
        assert got["len"] <= mss and all(0 <= b < n["given"] for b in bytes_), (
            f"what was not given: {what}"
        )
        if kind in (DATA, REXMIT, TLP, PROBE):
            assert sends and tx_ok and not owes_sack and got["len"] + got["fin"], what
            if got["fin"]:
                assert n["fin_req"] and first + got["len"] == n["given"], (
                    f"FIN before the last byte: {what}"
                )
            assert (
                got["psh"] == (first + got["len"] == n["given"]) or not got["len"] or kind == PROBE
            ), what
        if kind == DATA:
            left = n["given"] - n["data"]
            assert first == n["nxt"] and all(b < wnd for b in bytes_), f"beyond the window: {what}"
            assert not got["len"] or pipe == 0 or got["len"] <= free, f"beyond cwnd: {what}"
            if 0 < got["len"] < mss:
                tail = got["len"] == left
                # RFC 9293, 3.8.6.2.1: (3) or (4), the largest window being known but for its lower bits.
                worth = got["len"] * 2 >= 1 << tcb["MAX_WND_L2"] or uncork
                assert tail or (n["nxt"] == 0 and worth), f"a silly segment: {what}"
                cut += not tail
                if tail and not n["fin_req"]:
                    assert not tcb["CORK"] or uncork, f"corked: {what}"
                    assert tcb["NODELAY"] or n["nxt"] == 0 or not tcb["SML"], f"Nagle: {what}"
        if kind == REXMIT:
            rescue = tcb["TLP_DUE"] and repair and wnd
            assert not held & set(bytes_), f"held: {what}"
            if rescue:
                assert first == 0, what
            else:
                assert first == waiting[0] and set(bytes_) <= set(waiting), (
                    f"not what is lost: {what}"
                )
                assert pipe == 0 or got["len"] <= free, what
            assert all(b < wnd for b in bytes_), f"beyond the window: {what}"
        if kind == TLP:
            assert tcb["TLP_DUE"] and not repair and n["nxt"] > 0, what
            if first == n["nxt"]:
                assert got["len"] and all(b < wnd for b in bytes_), what
            else:
                assert first + got["len"] + got["fin"] == n["nxt"] and got["len"] == min(
                    mss, n["data"]
                ), what
        if kind == PROBE:
            assert (
                (first, got["len"], got["fin"]) == (0, 1, 0)
                and tcb["PROBE"]
                and got["blocked"]
                and wnd == 0
            ), what
        if kind == ACK:
            assert tcb["ACK_NOW"] and got["len"] == 0 and first == min(n["nxt"], wnd), what
        if kind == KEEP:
            assert tcb["KA_PROBE"] and (first, got["len"]) == (-1, 0), what
        if owes_sack:
            assert kind == ACK, what
        # What must leave does not stay.
        left, room = n["given"] - n["data"], max(0, wnd - n["nxt"])
        piece = min(left, room, mss)
        may_data = sends and (free >= piece or pipe == 0)
        if kind in (NONE, ACK, KEEP) and sends and not owes_sack and tx_ok:
            assert not (may_data and piece and piece == mss), f"a full segment stays: {what}"
            assert not (
                may_data
                and piece
                and piece == left
                and (n["fin_req"] or ((tcb["NODELAY"] or not tcb["SML"]) and not tcb["CORK"]))
            ), what
            assert not (n["fin_req"] and not n["fin_sent"] and left == 0), f"the FIN stays: {what}"
            if may_data and n["nxt"] == 0 and 0 < piece < min(mss, left):
                assert piece * 2 < 2 << tcb["MAX_WND_L2"] and not uncork, f"half stays: {what}"
                silly += 1
            if waiting and waiting[0] < n["data"] and waiting[0] < wnd:
                assert free < mss and pipe, f"lost bytes stay: {what}"
            if waiting == [n["data"]] and n["fin_sent"]:
                raise AssertionError(f"the lost FIN stays: {what}")
        if kind == NONE:
            assert not tcb["ACK_NOW"] and not tcb["KA_PROBE"], what
        shut = (waiting[0] < n["data"] and waiting[0] >= wnd) if waiting else left > 0 and room == 0
        assert got["blocked"] == (sends and pipe == 0 and shut), what
        if not tx_ok and (await choose(dut, tcb))["kind"] in (DATA, REXMIT, TLP, PROBE):
            assert got["more"], f"would be forgotten: {what}"
    assert min(cut, silly) > 20, (cut, silly)
    assert min(seen.get(k, 0) for k in (NONE, REXMIT, PROBE, DATA, ACK, TLP, KEEP)) > 20, seen


@cocotb.test()
async def syn_states(dut):
    """First time and again: SND_NXT never goes back, the lost SYN is lost like any other byte."""
    for state in (S.SYN_SENT, S.SYN_RCVD):
        for iss in (1000, M32):
            tcb = flow(
                STATE=state, ISS=iss, ACK_NOW=1, SND_UNA=iss, SND_NXT=iss, TX_END=iss + 1 & M32
            )
            tcb |= dict.fromkeys(("LOST_END", "RXT_NXT"), iss)
            got = await choose(dut, tcb)
            assert (got["kind"], got["seq"]) == (SYN, iss)
            tcb |= {"SND_NXT": iss + 1 & M32, "RXT_NXT": iss + 1 & M32}
            assert (await choose(dut, tcb))["kind"] == (ACK if state == S.SYN_RCVD else NONE)
            tcb |= {"LOST_END": iss + 1 & M32, "RXT_NXT": iss}
            got = await choose(dut, tcb)
            assert (got["kind"], got["seq"]) == (SYN, iss)
            tcb |= {"RTX_ON": 1, "RTX_KIND": NEIGH}
            assert (await choose(dut, tcb))["kind"] == NONE


@cocotb.test()
async def probes_alternate(dut):
    """A probe's byte stays lost: it is probed again while the window is shut, and goes out first when it opens."""
    rnd = rng("probes")
    tcb = flow(rnd, SND_WND=0, PROBE=1)
    una = tcb["SND_UNA"]
    tcb |= {
        "TX_END": una + 3000 & M32,
        "SND_NXT": una + 1 & M32,
        "LOST_END": una + 1 & M32,
        "RXT_NXT": una,
    }
    got = await choose(dut, tcb)
    assert (got["kind"], got["seq"], got["len"], got["blocked"]) == (PROBE, una, 1, 1)
    got = await choose(dut, tcb | {"PROBE": 0})
    assert (got["kind"], got["blocked"]) == (NONE, 1)
    got = await choose(dut, tcb | {"PROBE": 0, "ACK_NOW": 1})
    assert (got["kind"], got["seq"]) == (ACK, una), "an ACK beyond the window would never be heard"
    got = await choose(dut, tcb | {"SND_WND": 5000})
    assert (got["kind"], got["seq"], got["len"], got["blocked"]) == (REXMIT, una, 1, 0)


@cocotb.test()
async def without_sack_the_estimate_counts(dut):
    """Each duplicate ACK lets a segment more leave (RFC 3042, RFC 5681)."""
    tcb = flow(SACK_OK=0, CWND=4 * 1460, NODELAY=1)
    una = tcb["SND_UNA"]
    tcb |= {"TX_END": una + 50_000 & M32, "SND_NXT": una + 4 * 1460 & M32}
    for held, kind in ((0, NONE), (1459, NONE), (1460, DATA)):
        assert (await choose(dut, tcb | {"SK_E": una + held & M32}))["kind"] == kind


def test_nk_tcp_txsel():
    run_module("nk_tcp_txsel", __file__)
