# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_rx_data against a set of bytes: what is placed, how far rcv_nxt moves, when a FIN counts."""

from __future__ import annotations

import cocotb
from cocotb.triggers import Timer
from common.runner import run_module
from common.stream import rng
from common.tcb import M32, established, pack, unpack

RING = 65536
EST, FW1, FW2, CLOSE_WAIT, CLOSING, TIME_WAIT, DRAIN = 6, 7, 8, 9, 10, 12, 14


async def give(dut, tcb, seq, length, fin=0, en=1, now=1000):
    for name, value in dict(
        tcb=pack(tcb),
        seq=seq & M32,
        len=length,
        f_fin=fin,
        en=en,
        now_us=now,
        p_delayed_ack=20000,
        p_time_wait=2000000,
    ).items():
        getattr(dut, name).value = value
    await Timer(1, "ns")
    out = {
        n: int(getattr(dut, n).value)
        for n in (
            "place",
            "place_seq",
            "place_skip",
            "place_len",
            "refuse",
            "st_ooo",
            "st_duplicate",
            "st_no_room",
        )
    }
    return unpack(int(dut.tcb_out.value)), out


def runs(held: set[int], nxt: int) -> int:
    """Number of separate intervals beyond `nxt`."""
    return sum(1 for b in held if b >= nxt and b - 1 not in held)


@cocotb.test()
async def any_order_any_overlap(dut):
    """The model is a set of byte numbers, which knows nothing of intervals."""
    rnd = rng("rx")
    count = {"no_room": 0, "ooo": 0, "dup": 0, "cut": 0, "fin": 0}
    for _ in range(150):
        tcb = established(rnd)
        base = tcb["RCV_NXT"]
        edge = rnd.choice([RING, 5000, 700])
        tcb["RCV_EDGE"] = (base + edge) & M32
        total = rnd.randrange(200, 12000)
        held: set[int] = set()
        nxt, fin_done, fin_known = 0, False, False
        for step in range(150):
            pos = max(
                0,
                min(
                    total,
                    nxt
                    + rnd.choice(
                        [
                            0,
                            rnd.randrange(9000),
                            rnd.randrange(-900, 6000),
                            rnd.randrange(-900, 6000),
                            rnd.randrange(-100, 100),
                        ]
                    ),
                ),
            )
            length = min(rnd.choice([0, 1, 7, 100, 536, 1460]), total - pos)
            fin = int(pos + length == total and rnd.random() < 0.7)
            last = pos + length + fin - 1
            # The caller passes only acceptable segments.
            if length + fin == 0 or not (nxt <= pos < edge or nxt <= last < edge) or fin_done:
                continue
            tcb["ACK_NOW"] = 0
            new, out = await give(dut, tcb, base + pos, length, fin)
            want = {b for b in range(pos, pos + length) if nxt <= b < edge}
            fresh = want - held
            if out["st_no_room"]:
                count["no_room"] += 1
                assert not out["place"] and runs(held | want, nxt) > 4, (
                    "refused with an interval left"
                )
                assert new["RCV_NXT"] == tcb["RCV_NXT"] and new["OOO_V"] == tcb["OOO_V"]
            elif fresh:
                assert out["place"], f"step {step}: new bytes not placed"
                first = (out["place_seq"] - base) & M32
                placed = set(range(first, first + out["place_len"]))
                assert placed <= want and fresh <= placed, (
                    "placed other bytes than the window allows"
                )
                assert first - out["place_skip"] == pos, "skip does not lead to the byte placed"
                assert out["place_skip"] + out["place_len"] <= length
                count["cut"] += pos + length > edge
                held |= placed
                count["ooo"] += out["st_ooo"]
            else:
                assert not out["place"] or length == 0
                count["dup"] += out["st_duplicate"]
            fin_known = fin_known or (fin and pos + length <= edge)
            while nxt in held:
                nxt += 1
            fin_done = bool(fin_known and nxt == total)
            assert new["RCV_NXT"] == (base + nxt + fin_done) & M32, f"step {step}: rcv_nxt"
            assert new["FIN_RCVD"] == fin_done and (new["STATE"] == CLOSE_WAIT) == fin_done
            ivs = [
                (
                    (new["OOO_S"] >> 32 * i & M32) - base & M32,
                    (new["OOO_E"] >> 32 * i & M32) - base & M32,
                )
                for i in range(4)
                if new["OOO_V"] >> i & 1
            ]
            assert (
                ivs == sorted(ivs)
                and all(s < e for s, e in ivs)
                and all(a[1] < b[0] for a, b in zip(ivs, ivs[1:]))
            )
            assert {b for s, e in ivs for b in range(s, e)} == {b for b in held if b >= nxt}
            if out["st_ooo"] or not out["place"] or new["OOO_V"] or fin_done:
                assert new["ACK_NOW"], "a gap, a duplicate or a FIN wants an ACK at once"
            count["fin"] += fin_done
            tcb = new
    assert min(count.values()) > 5, f"too tame: {count}"


@cocotb.test()
async def every_second_segment(dut):
    tcb = established(SND_WND=1)
    new, _ = await give(dut, tcb, tcb["RCV_NXT"], 100, now=777)
    assert (new["ACK_NOW"], new["DACK_ON"], new["DACK_T"]) == (0, 1, 20777)
    new, _ = await give(dut, new, new["RCV_NXT"], 100, now=900)
    assert new["ACK_NOW"] == 1


@cocotb.test()
async def fin_by_state(dut):
    for state, then in ((EST, CLOSE_WAIT), (FW1, CLOSING), (FW2, TIME_WAIT)):
        tcb = established(STATE=state)
        new, _ = await give(dut, tcb, tcb["RCV_NXT"], 0, fin=1)
        assert (new["STATE"], new["N_FIN"], new["ACK_NOW"]) == (then, 1, 1)
        assert (then != TIME_WAIT) or (new["RTX_ON"], new["RTX_T"]) == (1, 2001000)


@cocotb.test()
async def data_after_close_ends_the_connection(dut):
    """RFC 9293, 3.6: nobody will read it, and the peer has to know."""
    tcb = established(STATE=FW2, CLOSED=1, RTX_ON=1)
    new, out = await give(dut, tcb, tcb["RCV_NXT"], 10)
    assert out["refuse"] and not out["place"] and (new["STATE"], new["RTX_ON"]) == (DRAIN, 0)


@cocotb.test()
async def not_asked(dut):
    tcb = established()
    new, out = await give(dut, tcb, tcb["RCV_NXT"], 10, en=0)
    assert new == tcb and not any(v for n, v in out.items() if n in ("place", "refuse"))


def test_nk_tcp_rx_data():
    run_module("nk_tcp_rx_data", __file__)
