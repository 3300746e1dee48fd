# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_op: which operation is allowed in which state (a table), and what it does; rings counted byte by byte."""

from __future__ import annotations

import cocotb
from common.runner import run_module
from common.stream import rng
from common.tcb import M32, established, unpack
from netkernel.abi import FlowState, Op, Status
from tcp.tcp_dut import FINWAIT2, S, ask_tcb, expect, on_circle

OUT = ("status", "needs_hash", "pre_ok", "send_rst", "wake")
IDLE_IN = dict(
    flush=0, vf=3, qs=1, socket=17, data=0, ptr=0, size=0, listener_ok=0, listener_v=0, listener_link=0,
    hash_done=0, hash_ok=0, hash_hit=0, isn=0, now_us=1000, p_rto_init=1_000_000, p_fin_wait2=60_000_000,
)  # fmt: skip
BOTH_KNOW = (
    S.SYN_RCVD,
    S.ESTABLISHED,
    S.FIN_WAIT1,
    S.FIN_WAIT2,
    S.CLOSE_WAIT,
    S.CLOSING,
    S.LAST_ACK,
)

# What docs/abi.md and RFC 9293, 3.10.1 to 3.10.5 allow, as the state afterwards; absent: BAD_STATE.
AFTER = {
    Op.SOCKET: {S.FREE: S.IDLE},
    Op.LISTEN: {S.IDLE: S.LISTEN},
    Op.CONNECT: {S.IDLE: S.SYN_SENT},
    Op.ACCEPT: {S.IDLE: S.CREDIT},
    Op.SEND: {s: s for s in (S.ESTABLISHED, S.CLOSE_WAIT)},
    Op.CREDIT: {s: s for s in (*BOTH_KNOW[1:], S.TIME_WAIT, S.DEAD)},
    Op.SHUTDOWN: {S.ESTABLISHED: S.FIN_WAIT1, S.CLOSE_WAIT: S.LAST_ACK},
    Op.CLOSE: {
        S.IDLE: S.DRAIN, S.LISTEN: S.LISTEN, S.SYN_SENT: S.DRAIN, S.SYN_RCVD: S.DRAIN, S.ESTABLISHED: S.FIN_WAIT1,
        S.FIN_WAIT1: S.FIN_WAIT1, S.FIN_WAIT2: S.FIN_WAIT2, S.CLOSE_WAIT: S.LAST_ACK, S.CLOSING: S.CLOSING,
        S.LAST_ACK: S.LAST_ACK, S.TIME_WAIT: S.TIME_WAIT, S.DEAD: S.DRAIN,
    },
    Op.ABORT: {S.LISTEN: S.LISTEN, **dict.fromkeys((S.IDLE, S.SYN_SENT, *BOTH_KNOW, S.TIME_WAIT, S.DEAD), S.DRAIN)},
    Op.INFO: {s: s for s in FlowState if s != S.FREE},
}  # fmt: skip
ADDR = 0x0A000002 | 443 << 32 | 50000 << 48


def inputs(op, **more):
    need = {
        Op.SOCKET: dict(ptr=0x5000, data=0x9000, size=14 | 13 << 8),
        Op.LISTEN: dict(data=80 << 48, hash_done=1, hash_ok=1),
        Op.CONNECT: dict(data=ADDR, hash_done=1, hash_ok=1, isn=0xFFFFFFFF),
        Op.ACCEPT: dict(listener_ok=1, listener_v=1, listener_link=5),
        Op.SEND: dict(size=10),
        Op.CREDIT: dict(size=10),
    }.get(op, {})
    return IDLE_IN | {"op": op} | need | more


@cocotb.test()
async def table_of_states(dut):
    """Every operation in every state, with and without an earlier CLOSE."""
    for op, after in AFTER.items():
        for state in FlowState:
            for closed in (0, 1):
                tcb = established(STATE=state, CLOSED=closed, RTX_ON=1, DACK_ON=1)
                tcb |= {
                    "RCV_EDGE": (tcb["RCV_NXT"] + 65536 - 5000) & M32,
                    "RCV_NTF": tcb["RCV_NXT"],
                }
                tcb |= {"FIN_REQ": int(state in (S.FIN_WAIT1, S.FIN_WAIT2, S.CLOSING, S.LAST_ACK))}
                new, out = await ask_tcb(dut, tcb, OUT, **inputs(op))
                what = f"{op.name} in {state.name} closed={closed}"
                want = after.get(state)
                if closed and op == Op.CLOSE:
                    want = None  # once is enough
                if closed and op == Op.ABORT and state not in (*BOTH_KNOW, S.TIME_WAIT):
                    want = None
                if want is None:
                    assert out["status"] == Status.BAD_STATE, what
                    expect(new, tcb, {}, what)
                    assert not (out["send_rst"] or out["wake"] or out["pre_ok"]), what
                    continue
                assert (out["status"], new["STATE"]) == (Status.OK, want), what
                assert out["needs_hash"] == (op in (Op.LISTEN, Op.CONNECT)) == out["pre_ok"], what
                ends_loudly = op == Op.ABORT or (op == Op.CLOSE and state == S.SYN_RCVD)
                assert out["send_rst"] == (ends_loudly and state in BOTH_KNOW), what
                assert out["wake"] == (op in (Op.CLOSE, Op.ABORT) and state == S.LISTEN), what
                if op in (Op.CLOSE, Op.ABORT):
                    assert new["CLOSED"] == 1, what
                    if want == S.DRAIN:
                        assert not new["RTX_ON"] and not new["DACK_ON"], what
                        loud = ends_loudly and state not in (S.IDLE, S.SYN_SENT, S.DEAD)
                        assert new["N_STATUS"] == (Status.ABORTED if loud else Status.OK), what
                    elif want in (S.FIN_WAIT1, S.LAST_ACK):
                        assert new["FIN_REQ"], what
                    if want == S.FIN_WAIT2:  # nobody waits for the peer's FIN for ever
                        got = (new["RTX_ON"], new["RTX_KIND"], new["RTX_T"])
                        assert got == (1, FINWAIT2, 60_001_000), what
                if op == Op.SHUTDOWN:
                    assert new["FIN_REQ"] and not (new["CLOSED"] and not closed), what
                if op == Op.INFO:
                    expect(new, tcb, {}, what)


@cocotb.test()
async def opens(dut):
    rnd = rng("opens")
    for _ in range(50):
        old = unpack(rnd.getrandbits(1344)) | {"STATE": S.FREE}
        rx, tx = rnd.randrange(12, 25), rnd.randrange(12, 25)
        rx_at, tx_at = rnd.getrandbits(20) << 12, rnd.getrandbits(20) << 12
        new, _ = await ask_tcb(
            dut, old, OUT, **inputs(Op.SOCKET, ptr=rx_at, data=tx_at, size=rx | tx << 8)
        )
        fresh = dict(
            STATE=S.IDLE,
            VF=3,
            QS=1,
            SOCKET=17,
            RX_PAGE=rx_at >> 12,
            TX_PAGE=tx_at >> 12,
            RX_LOG2=rx,
            TX_LOG2=tx,
        )
        expect(
            new,
            unpack(0),
            fresh | {"MSS": 536, "SSTHRESH": 0x7FFFFFFF},
            "nothing of the socket before survives",
        )

        idle = new
        isn = rnd.choice([0, M32, rnd.getrandbits(32)])
        new, _ = await ask_tcb(dut, idle, OUT, **inputs(Op.CONNECT, isn=isn))
        assert (new["RIP"], new["RPORT"], new["LPORT"]) == (0x0A000002, 443, 50000)
        assert all(new[n] == isn for n in ("ISS", "SND_UNA", "SND_NXT", "SND_MAX"))
        assert new["TX_END"] == new["SND_NTF"] == (isn + 1) & M32
        assert (new["RTO"], new["RCV_EDGE"] - new["RCV_NXT"]) == (1_000_000, 1 << rx)

    for op in (Op.LISTEN, Op.CONNECT):
        tcb = established(STATE=S.IDLE)
        for ok, hit, status in ((0, 1, Status.ADDR_IN_USE), (0, 0, Status.NO_RESOURCE)):
            new, out = await ask_tcb(dut, tcb, OUT, **inputs(op, hash_ok=ok, hash_hit=hit))
            assert out["status"] == status and new == tcb
        first, out = await ask_tcb(dut, tcb, OUT, **inputs(op, hash_done=0, hash_ok=0))
        assert out["pre_ok"] and out["needs_hash"], "asked before the table was"
    bad = [0, 443 << 32 | 5 << 48, 0x0A000002 | 5 << 48, 0x0A000002 | 443 << 32]
    bad += [ip | 443 << 32 | 5 << 48 for ip in (0xFFFFFFFF, 0xE0000001, 0xF0000000, 0x7F000001)]
    for data in bad:
        new, out = await ask_tcb(dut, tcb, OUT, **inputs(Op.CONNECT, data=data))
        assert (out["status"], out["pre_ok"]) == (Status.BAD_ADDR, 0) and new == tcb, hex(data)
    new, out = await ask_tcb(dut, tcb, OUT, **inputs(Op.LISTEN, data=0))
    assert (out["status"], out["pre_ok"]) == (Status.BAD_ADDR, 0) and new == tcb

    for first in (0, 1):
        new, _ = await ask_tcb(
            dut, tcb, OUT, **inputs(Op.ACCEPT, listener_v=first, listener_link=77)
        )
        assert (new["STATE"], new["LINK_V"], new["LINK"]) == (S.CREDIT, first, 77)
    new, out = await ask_tcb(dut, tcb, OUT, **inputs(Op.ACCEPT, listener_ok=0))
    assert out["status"] == Status.BAD_STATE and new == tcb


@cocotb.test()
async def tx_ring_never_overflows(dut):
    """SENDs against a counter of the ring's bytes; what is announced as SENT is free again."""
    rnd = rng("tx ring")
    for _ in range(30):
        log2 = rnd.choice([12, 14])
        tcb, used = (
            established(rnd, TX_LOG2=log2, STATE=rnd.choice([S.ESTABLISHED, S.CLOSE_WAIT])),
            0,
        )
        for _ in range(60):
            size = rnd.choice(
                [
                    0,
                    1,
                    rnd.randrange(3000),
                    (1 << log2) - used,
                    (1 << log2) - used + 1,
                    M32,
                    1 << 31,
                ]
            )
            new, out = await ask_tcb(dut, tcb, OUT, **inputs(Op.SEND, size=size))
            if 0 < size <= (1 << log2) - used:
                used += size
                expect(new, tcb, {"TX_END": tcb["TX_END"] + size}, "SEND")
                assert out["status"] == Status.OK
            else:
                assert out["status"] == Status.BAD_SIZE and new == tcb, size
            freed = rnd.randrange(used + 1)
            used -= freed
            tcb = new | {"SND_NTF": (new["SND_NTF"] + freed) & M32}
        _, out = await ask_tcb(dut, tcb | {"FIN_REQ": 1}, OUT, **inputs(Op.SEND, size=1))
        assert out["status"] == Status.BAD_STATE


@cocotb.test()
async def credit_never_exceeds_what_was_announced(dut):
    """CREDITs against a counter of announced bytes, and the receiver's silly window avoidance."""
    rnd = rng("credit")
    woken = 0
    for _ in range(60):
        log2, mss = rnd.choice([(12, 1460), (16, 1460), (16, 536)])
        ring = 1 << log2
        tcb = established(
            rnd, RX_LOG2=log2, MSS=mss, STATE=rnd.choice([S.ESTABLISHED, S.FIN_WAIT1, S.FIN_WAIT2])
        )
        held, got, credited, advertised = 0, 1, 0, 1 + ring
        for _ in range(40):
            held_new = rnd.randrange(ring - held + 1)  # data arrives and is announced
            held, got = held + held_new, got + held_new
            advertised = max(advertised, 1 + ring + credited) if rnd.random() < 0.3 else advertised
            tcb |= on_circle(
                tcb["IRS"],
                RCV_NXT=got,
                RCV_NTF=got,
                RCV_EDGE=1 + ring + credited,
                RCV_ADV=advertised,
            )
            tcb |= {"ACK_NOW": 0}
            size = rnd.choice([0, 1, held, held + 1, M32, rnd.randrange(held + 1)])
            new, out = await ask_tcb(dut, tcb, OUT, **inputs(Op.CREDIT, size=size))
            if not 0 < size <= held:
                assert out["status"] == Status.BAD_SIZE and new == tcb, (size, held)
                continue
            held, credited = held - size, credited + size
            opened = 1 + ring + credited - advertised  # RFC 9293, 3.8.6.2.2
            worth = opened >= min(ring // 2, 2 * mss)
            expect(
                new,
                tcb,
                {"RCV_EDGE": tcb["RCV_EDGE"] + size, "ACK_NOW": int(worth)},
                f"opened {opened}",
            )
            woken += worth
    assert woken > 50
    for state in (
        S.CLOSE_WAIT,
        S.CLOSING,
        S.TIME_WAIT,
        S.DEAD,
    ):  # the peer will send nothing any more
        tcb = established(STATE=state, FIN_RCVD=1)
        tcb |= {"RCV_NTF": (tcb["RCV_NTF"] + 9000) & M32}
        new, out = await ask_tcb(dut, tcb, OUT, **inputs(Op.CREDIT, size=9000))
        assert out["status"] == Status.OK and not new["ACK_NOW"]


@cocotb.test()
async def flush_ends_everything(dut):
    rnd = rng("flush")
    for state in FlowState:
        tcb = established(rnd, STATE=state, RTX_ON=1, DACK_ON=1)
        for op in (Op.SOCKET, Op.CONNECT, 0xFF):
            new, out = await ask_tcb(dut, tcb, OUT, **inputs(op, flush=1))
            expect(new, tcb, {"STATE": S.FREE, "RTX_ON": 0, "DACK_ON": 0}, state.name)
            assert (
                out["send_rst"] == (state in BOTH_KNOW)
                and not out["needs_hash"]
                and not out["wake"]
            )


@cocotb.test()
async def unknown_operations(dut):
    for op in set(range(256)) - set(AFTER):
        tcb = established()
        new, out = await ask_tcb(dut, tcb, OUT, **inputs(op))
        assert out["status"] == Status.BAD_OP and new == tcb and not out["needs_hash"]


def test_nk_tcp_op():
    run_module("nk_tcp_op", __file__)
