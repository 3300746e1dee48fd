# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_tx: what a segment that leaves does to the flow, counted on a line; its header; and a next hop that is not known."""

from __future__ import annotations

import cocotb
from common.runner import run_module
from common.stream import rng
from common.tcb import M32
from netkernel.abi import Status
from tcp.life import NEIGH, PERSIST, RTO, flow
from tcp.snd_world import ACK as T_ACK
from tcp.snd_world import DATA, KEEP, NONE, PROBE, REXMIT, TLP
from tcp.snd_world import SYN as T_SYN
from tcp.tcp_dut import ACK, FIN, PSH, SENDING, SYN, SYNCED, S, ask_tcb, expect, on_circle

ECE, CWR = 64, 128
HEADER = (
    "seg_flags", "seg_wnd", "seg_ecn", "seg_mss", "seg_ws_valid", "seg_sack_ok", "seg_ts_valid", "seg_tsval", "seg_tsecr",
    "seg_sack_n", "seg_sack",
)  # fmt: skip
OUT = ("send", "ask", "is_retransmit", "is_probe", "is_tlp", "is_keep", "is_dsack", *HEADER)
NEIGH_TRIES, MTU = 4, 1400
SEEN: dict[str, int] = {}


def quiet(dut):
    dut.p_retries_neigh.value = NEIGH_TRIES
    dut.mtu.value = MTU
    dut.neigh_hit.value = 1


def random_case(rnd):
    """A flow, its numbers on the line, and a segment that nk_tcp_txsel may choose for it."""
    kind = rnd.choice(
        [T_SYN, REXMIT, REXMIT, PROBE, DATA, DATA, DATA, TLP, TLP, T_ACK, T_ACK, KEEP, NONE]
    )
    state = rnd.choice([S.SYN_SENT, S.SYN_RCVD]) if kind == T_SYN else rnd.choice(SENDING)
    if kind in (T_ACK, KEEP, NONE):
        state = rnd.choice([*SYNCED, S.SYN_RCVD] if kind != KEEP else SYNCED)
    tcb = flow(rnd, STATE=state)
    una = 0 if kind == T_SYN else rnd.randrange(1, 5000)
    nxt = una + (rnd.randrange(2) if kind == T_SYN else rnd.choice([0, 1, 1460, 9000]))
    if kind == REXMIT:
        nxt = max(nxt, una + 1)
    again = kind == REXMIT or (kind == TLP and nxt > una and rnd.random() < 0.5)
    seq = {T_SYN: una, PROBE: una, KEEP: una - 1}.get(kind, nxt)
    if again:
        seq = rnd.choice([una, rnd.randrange(una, nxt)])
    fin = int(kind in (REXMIT, DATA, TLP) and rnd.random() < 0.3)
    length = (
        1 if kind == PROBE else rnd.choice([1, 100, 1460]) if kind in (REXMIT, DATA, TLP) else 0
    )
    if again:
        length = min(length, nxt - seq - fin)
        fin = int(fin and seq + length + fin == nxt)
        if length + fin == 0:
            length, fin = nxt - seq, 0
    if fin and kind == DATA and rnd.random() < 0.3:
        length = 0
    rcv = rnd.randrange(1, 3000)
    edge = rcv + rnd.choice([-1, 0, 1, 777, 65535, 65536, 1 << 20])
    rxt = rnd.randrange(una, nxt + 1)
    tcb |= on_circle(
        tcb["ISS"], SND_UNA=una, SND_NXT=nxt, RXT_NXT=rxt, RXT_MARK=una, LOST_END=nxt, TLP_END=una
    )
    ring = rnd.choice([12, 16, 20, 24])
    adv = rcv + rnd.choice([-1, 0, 1, 700, edge - rcv, rnd.randrange(max(1, edge - rcv))])
    adv = max(min(adv, edge), rcv - 1, edge - rcv - (1 << ring))
    tcb |= on_circle(tcb["IRS"], RCV_NXT=rcv, RCV_EDGE=edge, RCV_ADV=adv)
    tcb |= {"RX_LOG2": ring, "MSS": rnd.choice([536, 1460])}
    tcb |= {
        "RCV_WS": rnd.choice([0, 1, 5, 9, 14]), "PASSIVE": rnd.randrange(2), "CLOSED": rnd.randrange(2),
        "ACK_NOW": rnd.randrange(2), "ACK_CNT": rnd.randrange(4), "DACK_ON": rnd.randrange(2), "PROBE": 1, "KA_PROBE": 1,
        "SML": rnd.randrange(2), "RTT_ON": rnd.randrange(2), "RTT_SEQ": 5, "RTT_T": 6, "RTX_ON": rnd.randrange(2), "RTX_T": 7,
        "RTX_KIND": rnd.choice([RTO, RTO, PERSIST, NEIGH]), "BACKOFF": rnd.choice([0, 0, 1, 15]), "RETRIES": rnd.randrange(7),
        "RETX_TOTAL": rnd.choice([0, 8, 0xFFFE, 0xFFFF]), "IN_REC": int(rnd.random() < 0.4), "IN_LOSS": int(rnd.random() < 0.2),
        "PRR_OUT": rnd.choice([0, 5000, (1 << 25) - 700]), "TLP_DUE": 1, "CWR_SEND": rnd.randrange(2), "ECE_SEND": rnd.randrange(2),
        "DSACK_V": rnd.randrange(2), "DSACK_S": rnd.getrandbits(32), "DSACK_LEN": 77, "TS_RECENT": rnd.getrandbits(32),
        "OOO_V": rnd.choice([0, 1, 7]), "OOO_S": rnd.getrandbits(128), "OOO_E": rnd.getrandbits(128), "OOO_ORD": 0,
    }  # fmt: skip
    # The latest of three stands third; one alone stands first, and behind its rank is what earlier ones left.
    tcb["OOO_ORD"] = 0b11_01_00_10 if tcb["OOO_V"] == 7 else 0b11_10_01_00
    for name in ("WS_OK", "TS_OK", "SACK_OK", "ECN_OK"):
        tcb[name] = rnd.randrange(2)
    line = dict(una=una, nxt=nxt, seq=seq, rcv=rcv, edge=edge, adv=adv, rxt=rxt)
    return (
        tcb,
        line,
        dict(kind=kind, seq=(tcb["ISS"] + seq) & M32, len=length, fin=fin, psh=rnd.randrange(2)),
    )


def header(tcb, n, seg, out, ts_now, what):
    kind, is_syn = seg["kind"], seg["kind"] == T_SYN
    acks = not is_syn or tcb["STATE"] == S.SYN_RCVD
    new = kind in (DATA, TLP) and n["seq"] == n["nxt"]
    marks = new and seg["len"] > 0 and tcb["ECN_OK"]
    flags = ACK * acks | SYN * is_syn | FIN * seg["fin"] | PSH * (seg["psh"] and seg["len"] > 0)
    if (
        is_syn and tcb["ECN_OK"]
    ):  # RFC 3168, 6.1.1: asks with both, answers with ECE; a SYN again asks no more
        flags |= ECE if acks else 0 if tcb["BACKOFF"] else ECE | CWR
    elif not is_syn and tcb["ECN_OK"]:
        flags |= ECE * tcb["ECE_SEND"] | CWR * (marks and tcb["CWR_SEND"])
    assert out["seg_flags"] == flags, what
    assert out["seg_ecn"] == (2 if marks else 0), what
    assert out["seg_mss"] == (MTU - 40 if is_syn else 0)
    assert out["seg_ws_valid"] == (is_syn and tcb["WS_OK"]) and out["seg_sack_ok"] == (
        is_syn and tcb["SACK_OK"]
    )
    assert out["seg_ts_valid"] == tcb["TS_OK"] and out["seg_tsval"] == ts_now
    assert out["seg_tsecr"] == (tcb["TS_RECENT"] if acks else 0)
    blocks = 0
    if kind == T_ACK and tcb["SACK_OK"]:
        blocks = min(4 - tcb["TS_OK"], tcb["DSACK_V"] + tcb["OOO_V"].bit_count())
    assert out["seg_sack_n"] == blocks and (out["seg_sack"] != 0) == (blocks != 0), what
    if blocks and tcb["DSACK_V"]:
        assert out["seg_sack"] & M32 == tcb["DSACK_S"], what
    elif blocks:
        i = tcb["OOO_ORD"] & 3
        assert out["seg_sack"] & M32 == tcb["OOO_S"] >> 32 * i & M32, what
    # The window: never more than the room; a SYN's is not scaled. Its right edge moves by as much as the field can say, but not
    # by less than a segment or half the ring (RFC 9293, 3.8.6.2.2); nor back, where the field can say that.
    shift = 0 if is_syn else tcb["RCV_WS"]
    room, left = max(0, n["edge"] - n["rcv"]), max(0, n["adv"] - n["rcv"])
    offered = out["seg_wnd"] << shift
    assert offered <= room, what
    most = out["seg_wnd"] == 0xFFFF or room < offered + (1 << shift)
    if room - left >= min(tcb["MSS"], 1 << tcb["RX_LOG2"] - 1):
        assert most, f"the window stays shut: {what}"
        SEEN["moves"] = SEEN.get("moves", 0) + 1
    else:
        assert offered < left + (1 << shift), f"a silly window: {what}"
        assert offered >= left or most, f"taken back: {what}"
        SEEN["stays"] = SEEN.get("stays", 0) + (room > left + (1 << shift))
    return acks, offered, marks


@cocotb.test()
async def sends(dut):
    rnd = rng("tx")
    quiet(dut)
    kinds = set()
    for _ in range(8000):
        tcb, n, seg = random_case(rnd)
        now, ts_now = rnd.choice([5, M32 - 100, rnd.getrandbits(32)]), rnd.getrandbits(32)
        new, out = await ask_tcb(dut, tcb, OUT, now_us=now, ts_now=ts_now, **seg)
        kind = seg["kind"]
        what = f"{n} {seg} {S(tcb['STATE']).name}"
        assert out["send"] == (kind != NONE) and not out["ask"], what
        if kind == NONE:
            expect(new, tcb, {}, what)
            continue
        kinds.add(kind)
        acks, offered, marks = header(tcb, n, seg, out, ts_now, what)
        numbers = [n["seq"] + k for k in range(seg["len"] + seg["fin"] + (kind == T_SYN))]
        again = bool(numbers) and kind != PROBE and numbers[0] < n["nxt"]
        assert out["is_retransmit"] == again and out["is_probe"] == (kind == PROBE), what
        assert (out["is_tlp"], out["is_keep"]) == (kind == TLP, kind == KEEP), what
        assert out["is_dsack"] == (kind == T_ACK and tcb["DSACK_V"]), what
        stop = numbers[-1] + 1 if numbers else n["seq"]
        top = max(n["nxt"], stop)
        change = on_circle(tcb["ISS"], SND_NXT=top)
        if acks:
            change |= {
                "ACK_NOW": 0,
                "ACK_CNT": 0,
                "DACK_ON": 0,
                **on_circle(tcb["IRS"], RCV_ADV=n["rcv"] + offered),
            }
        if kind == T_ACK:
            change["DSACK_V"] = 0
        if kind == KEEP:
            change["KA_PROBE"] = 0
        if numbers:
            change |= {"W_SENT": 1, "PROBE": 0}
            if (
                kind in (DATA, TLP) and not again and seg["len"]
            ):  # Minshall: is a small one on its way?
                change["SML"] = int(
                    seg["len"] < tcb["MSS"] or (tcb["SML"] and n["nxt"] != n["una"])
                )
            if tcb["RTX_KIND"] == NEIGH:  # those were tries for the next hop
                change["RETRIES"] = 0
            if again or kind == PROBE:  # Karn's rule (RFC 6298, 3)
                change["RTT_ON"] = 0
                if n["seq"] == n["una"]:
                    change["RTT_T"] = now
            elif not tcb["RTT_ON"] and not tcb["IN_REC"] and not tcb["IN_LOSS"]:
                change |= {"RTT_ON": 1, "RTT_T": now, **on_circle(tcb["ISS"], RTT_SEQ=stop)}
            if tcb["IN_REC"] and kind != PROBE:
                change["PRR_OUT"] = min((1 << 25) - 1, tcb["PRR_OUT"] + seg["len"])
        if kind in (REXMIT, T_SYN):
            change |= {
                "TLP_DUE": 0,
                **on_circle(tcb["ISS"], RXT_NXT=max(n["rxt"], stop), RXT_MARK=top),
            }
        if kind == TLP:
            change |= {
                "TLP_DUE": 0,
                "TLP_OUT": 1,
                "TLP_RETX": int(again),
                **on_circle(tcb["ISS"], TLP_END=top),
            }
        if kind == PROBE:
            change |= on_circle(tcb["ISS"], LOST_END=top, RXT_NXT=n["una"])
        if kind == T_SYN and tcb["STATE"] == S.SYN_SENT and tcb["BACKOFF"]:
            change["ECN_OK"] = 0  # RFC 3168, 6.1.1: after a SYN without it no data is ECT
        if marks and tcb["CWR_SEND"]:
            change["CWR_SEND"] = 0
        if again:
            change |= {"W_RETX": 1, "RETX_TOTAL": min(0xFFFF, tcb["RETX_TOTAL"] + 1)}
        expect(new, tcb, change, what)
    assert min(SEEN.get("moves", 0), SEEN.get("stays", 0)) > 200, SEEN
    assert kinds == {T_SYN, REXMIT, PROBE, DATA, TLP, T_ACK, KEEP}


@cocotb.test()
async def no_next_hop(dut):
    """Asks, waits, gives up after as many tries as allowed; timeouts before it do not count as tries."""
    rnd = rng("no next hop")
    quiet(dut)
    for _ in range(600):
        tcb, n, seg = random_case(rnd)
        if seg["kind"] == NONE:
            continue
        tcb |= {"RETRIES": rnd.randrange(9), "N_STATUS": 0}
        if tcb["RTX_KIND"] == NEIGH:
            tcb["RTX_KIND"] = RTO
        for tries in range(NEIGH_TRIES + 1):
            new, out = await ask_tcb(dut, tcb, OUT, now_us=1000, ts_now=0, neigh_hit=0, **seg)
            assert out["ask"] and not any(
                out[k]
                for k in ("send", "is_retransmit", "is_probe", "is_tlp", "is_keep", "is_dsack")
            )
            if seg["kind"] in (T_ACK, KEEP):  # not worth a timer
                expect(new, tcb, {"ACK_NOW": 0, "KA_PROBE": 0}, f"{n}")
                break
            if tries < NEIGH_TRIES:
                expect(new, tcb, {"W_NEIGH": 1, "RETRIES": tries + 1}, f"try {tries} {n}")
            else:
                unheard = tcb["STATE"] == S.SYN_RCVD and tcb["PASSIVE"]
                over = S.DRAIN if tcb["CLOSED"] or unheard else S.DEAD
                end = {"STATE": over, "N_RST": 1, "N_STATUS": Status.UNREACHABLE, "DACK_ON": 0}
                expect(new, tcb, end, f"gives up {n}")
            tcb = new | {"RTX_KIND": NEIGH, "W_NEIGH": 0}  # as nk_tcp_post leaves it
    dut.neigh_hit.value = 1


def test_nk_tcp_tx():
    run_module("nk_tcp_tx", __file__)
