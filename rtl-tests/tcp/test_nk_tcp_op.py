# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_op: which operation is allowed in which state (a table), and what it does; rings counted byte by byte."""

from __future__ import annotations

import cocotb
from common.runner import run_module
from common.stream import rng
from common.tcb import FIELDS, M32, WIDTH, unpack
from netkernel.abi import FlowState, Op, Option, Status
from tcp.life import BOTH_KNOW, PF_ECN, PF_SACK, PF_TS, PF_WS, flow
from tcp.tcp_dut import S, ask_tcb, expect, on_circle

OUT = ("status", "want_insert", "end_listener", "send_rst", "rst_seq")
IDLE_IN = dict(
    en=1, flush=0, vf=3, qs=1, socket=17, data=0, ptr=0, size=0, listener_ok=0, uncredit=0, listener_done=0,
    ins_done=0, ins_ok=0, ins_hit=0, isn=0, prof=5, p_flags=0, now_s=777,
)  # fmt: skip

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
    Op.SETOPT: {s: s for s in FlowState if s not in (S.FREE, S.DRAIN)},
    Op.INFO: {s: s for s in FlowState if s != S.FREE},
}  # fmt: skip
ADDR = 0x0A000002 | 443 << 32 | 50000 << 48


def setopt(option, value):
    return {"data": option | value << 32}


def inputs(op, **more):
    need = {
        Op.SOCKET: dict(ptr=0x5000, data=0x9000, size=14 | 13 << 8),
        Op.LISTEN: dict(data=80 << 48, ins_done=1, ins_ok=1),
        Op.CONNECT: dict(data=ADDR, ins_done=1, ins_ok=1, isn=0xFFFFFFFF),
        Op.ACCEPT: dict(listener_ok=1),
        Op.SEND: dict(size=10),
        Op.CREDIT: dict(size=10),
        Op.SETOPT: setopt(Option.NODELAY, 0),
    }.get(op, {})
    return IDLE_IN | {"op": op} | need | more


@cocotb.test()
async def table_of_states(dut):
    """Every operation in every state, with and without an earlier CLOSE."""
    for op, after in AFTER.items():
        for state in FlowState:
            for closed in (0, 1):
                tcb = flow(STATE=state, CLOSED=closed, RTX_ON=1, DACK_ON=1)
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
                    assert not (out["send_rst"] or out["end_listener"] or out["want_insert"]), what
                    continue
                assert (out["status"], new["STATE"]) == (Status.OK, want), what
                assert not out["want_insert"], what
                ends_loudly = op == Op.ABORT or (op == Op.CLOSE and state == S.SYN_RCVD)
                assert out["send_rst"] == (ends_loudly and state in BOTH_KNOW), what
                listener = op in (Op.CLOSE, Op.ABORT) and state == S.LISTEN
                assert out["end_listener"] == listener, what
                if listener:
                    expect(new, tcb, {"CLOSED": 1}, what)
                if op in (Op.CLOSE, Op.ABORT):
                    assert new["CLOSED"] == 1, what
                    if want == S.DRAIN:
                        assert not new["RTX_ON"] and not new["DACK_ON"], what
                        loud = ends_loudly and state not in (S.IDLE, S.SYN_SENT, S.DEAD)
                        assert new["N_STATUS"] == (Status.ABORTED if loud else Status.OK), what
                    elif want in (S.FIN_WAIT1, S.LAST_ACK):
                        assert new["FIN_REQ"], what
                if op == Op.SHUTDOWN:
                    assert new["FIN_REQ"] and not (new["CLOSED"] and not closed), what
                if op == Op.INFO:
                    expect(new, tcb, {}, what)


@cocotb.test()
async def opens(dut):
    rnd = rng("opens")
    for _ in range(50):
        old = unpack(rnd.getrandbits(WIDTH)) | {"STATE": S.FREE}
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
            MSS=536,  # RFC 9293, 3.7.1
            SSTHRESH=(1 << 25) - 1,  # as far as it is kept: not yet known
            KA_IDLE=7200,  # RFC 1122, 4.2.3.6: no less than two hours
            KA_INTVL=75,
            KA_CNT=9,
            QUICK=15,
            OOO_ORD=0b11100100,  # a permutation from the start
            IN_TXQ=old["IN_TXQ"],  # the lists know nothing of sockets
            IN_NTQ=old["IN_NTQ"],
        )
        expect(new, unpack(0), fresh, "nothing of the socket before survives")

        idle = new
        isn = rnd.choice([0, M32, rnd.getrandbits(32)])
        flags = rnd.getrandbits(8)
        new, _ = await ask_tcb(dut, idle, OUT, **inputs(Op.CONNECT, isn=isn, p_flags=flags))
        change = dict(STATE=S.SYN_SENT, RIP=0x0A000002, RPORT=443, LPORT=50000, PROF=5, LAST_T=777)
        points = ("ISS", "SND_UNA", "SND_NXT", "LOST_END", "RXT_NXT", "RXT_MARK", "RECOVER")
        change |= dict.fromkeys((*points, "TLP_END"), isn)
        change |= dict.fromkeys(("TX_END", "SND_NTF"), isn + 1)
        change |= {"RCV_EDGE": 1 << rx}  # the window of the SYN
        offers = {"SACK_OK": PF_SACK, "TS_OK": PF_TS, "ECN_OK": PF_ECN, "WS_OK": PF_WS}
        change |= {name: int(bool(flags & bit)) for name, bit in offers.items()}
        expect(new, idle, change, "CONNECT")

    for op in (Op.LISTEN, Op.CONNECT):
        tcb = flow(STATE=S.IDLE)
        for ok, hit, status in ((0, 1, Status.ADDR_IN_USE), (0, 0, Status.NO_RESOURCE)):
            new, out = await ask_tcb(dut, tcb, OUT, **inputs(op, ins_ok=ok, ins_hit=hit))
            assert out["status"] == status and new == tcb and not out["want_insert"]
        new, out = await ask_tcb(dut, tcb, OUT, **inputs(op, ins_done=0, ins_ok=0))
        assert out["want_insert"] and new == tcb, "asked before the table was"
    bad = [0, 443 << 32 | 5 << 48, 0x0A000002 | 5 << 48, 0x0A000002 | 443 << 32]
    bad += [ip | 443 << 32 | 5 << 48 for ip in (0xFFFFFFFF, 0xE0000001, 0xF0000000, 0x7F000001)]
    for data in bad:
        for done in (0, 1):
            new, out = await ask_tcb(dut, tcb, OUT, **inputs(Op.CONNECT, data=data, ins_done=done))
            assert (out["status"], out["want_insert"]) == (Status.BAD_ADDR, 0), hex(data)
            assert new == tcb, hex(data)
    new, out = await ask_tcb(dut, tcb, OUT, **inputs(Op.LISTEN, data=0, ins_done=0))
    assert (out["status"], out["want_insert"]) == (Status.BAD_ADDR, 0) and new == tcb

    new, out = await ask_tcb(dut, tcb, OUT, **inputs(Op.ACCEPT))
    expect(new, tcb, {"STATE": S.CREDIT}, "ACCEPT")
    new, out = await ask_tcb(dut, tcb, OUT, **inputs(Op.ACCEPT, listener_ok=0))
    assert out["status"] == Status.BAD_STATE and new == tcb


@cocotb.test()
async def listener_ends(dut):
    """Credits go back with status OK, then the listener itself; whoever is no credit any more is left alone."""
    for state in FlowState:
        for closed in (0, 1):
            for op in (Op.SOCKET, Op.SEND, 0):  # whatever op says
                tcb = flow(STATE=state, CLOSED=closed, N_STATUS=Status.PEER_RESET)
                gone = {"STATE": S.DRAIN, "CLOSED": 1, "N_STATUS": Status.OK}
                new, out = await ask_tcb(dut, tcb, OUT, **inputs(op, uncredit=1))
                expect(new, tcb, gone if state == S.CREDIT else {}, f"uncredit {state.name}")
                assert out["status"] == Status.OK and not out["send_rst"]
                new, out = await ask_tcb(dut, tcb, OUT, **inputs(op, listener_done=1))
                done = state == S.LISTEN and closed
                expect(new, tcb, gone if done else {}, f"listener_done {state.name} {closed}")
                assert not (out["send_rst"] or out["end_listener"] or out["want_insert"])


@cocotb.test()
async def options(dut):
    """Every option with every kind of value, in every state in which a socket exists."""
    rnd = rng("options")
    top = {
        Option.KEEPIDLE: 16383,
        Option.KEEPINTVL: 255,
        Option.KEEPCNT: 15,
        Option.USER_TIMEOUT: 1023,
    }
    low = {Option.KEEPIDLE: 1, Option.KEEPINTVL: 1, Option.KEEPCNT: 1}
    field = {
        Option.NODELAY: "NODELAY", Option.CORK: "CORK", Option.KEEPALIVE: "KA_ON", Option.KEEPIDLE: "KA_IDLE",
        Option.KEEPINTVL: "KA_INTVL", Option.KEEPCNT: "KA_CNT", Option.USER_TIMEOUT: "UTO",
    }  # fmt: skip
    for option in Option:
        most, least = top.get(option, 1), low.get(option, 0)
        values = {0, 1, 2, most - 1, most, most + 1, 1 << 31, M32, rnd.randrange(most + 1)}
        for value in sorted(values):
            for state in FlowState:
                held = rnd.randrange(2)
                tcb = flow(rnd, STATE=state, DACK_ON=held, QUICK=6, NODELAY=rnd.randrange(2))
                new, out = await ask_tcb(
                    dut, tcb, OUT, **inputs(Op.SETOPT, **setopt(option, value))
                )
                what = f"{option.name} = {value} in {state.name}"
                if state in (S.FREE, S.DRAIN):
                    assert out["status"] == Status.BAD_STATE and new == tcb, what
                elif not least <= value <= most:
                    assert out["status"] == Status.BAD_SIZE and new == tcb, what
                elif option == Option.QUICKACK:
                    now = {"ACK_NOW": 1} if value and held else {}
                    expect(new, tcb, {"QUICK": 15 * value, **now}, what)
                else:
                    expect(new, tcb, {field[option]: value}, what)
    for option in set(range(256)) - set(Option):
        tcb = flow()
        new, out = await ask_tcb(dut, tcb, OUT, **inputs(Op.SETOPT, **setopt(option, 1)))
        assert out["status"] == Status.BAD_OP and new == tcb, option


@cocotb.test()
async def reset_inside_the_window(dut):
    """The peer takes a RST only inside its window, which ends at SND_UNA + SND_WND (RFC 9293, 3.5.2, 3.10.7.4)."""
    rnd = rng("reset")
    for _ in range(500):
        state = rnd.choice(BOTH_KNOW)
        una = rnd.randrange(1, 5000)
        flying = rnd.choice([0, 1, 100, rnd.randrange(60000)])
        wnd = rnd.choice([0, 1, flying, max(flying, 1) - 1, rnd.randrange(65536)])
        tcb = flow(rnd, STATE=state, SND_WND=wnd)
        tcb |= on_circle(tcb["ISS"], SND_UNA=una, SND_NXT=una + flying)
        for more in ({"op": Op.ABORT}, {"flush": 1}):
            _, out = await ask_tcb(dut, tcb, OUT, **inputs(Op.ABORT) | more)
            assert out["send_rst"]
            got = (out["rst_seq"] - tcb["ISS"]) & M32
            if state == S.SYN_RCVD:
                assert got == una + flying  # the SYN takes no part of a window
            else:
                assert got == min(una + flying, una + wnd), (una, flying, wnd)


@cocotb.test()
async def close_over_unread_bytes(dut):
    """Bytes that the tenant has not been told of: CLOSE resets (RFC 9293, 3.6.1, SHLD-3); the peer's FIN is no byte."""
    rnd = rng("unread")
    for _ in range(600):
        state = rnd.choice([s for s in (*BOTH_KNOW, S.TIME_WAIT) if s != S.SYN_RCVD])
        fin = int(state in (S.CLOSE_WAIT, S.CLOSING, S.LAST_ACK, S.TIME_WAIT))
        got, told = rnd.choice([(0, 0), (1, 0), (1, 1), (5000, 4999), (5000, 5000), (70_000, 4000)])
        tcb = flow(rnd, STATE=state, FIN_RCVD=fin, N_FIN=rnd.randrange(2), RTX_ON=1, DACK_ON=1)
        tcb |= on_circle(
            tcb["IRS"], RCV_NXT=1 + got + fin, RCV_NTF=1 + told, RCV_EDGE=1 + 65536 + told
        )
        new, out = await ask_tcb(dut, tcb, OUT, **inputs(Op.CLOSE))
        assert out["status"] == Status.OK and new["CLOSED"]
        loud = got != told and state != S.TIME_WAIT
        assert out["send_rst"] == loud, (state.name, got, told)
        if loud:
            change = {"STATE": S.DRAIN, "CLOSED": 1, "N_STATUS": Status.ABORTED}
            expect(new, tcb, change | {"RTX_ON": 0, "DACK_ON": 0}, f"{got} {told}")
        else:
            assert new["STATE"] == AFTER[Op.CLOSE][state] and new["FIN_REQ"] == 1


@cocotb.test()
async def tx_ring_never_overflows(dut):
    """SENDs against a counter of the ring's bytes; what is announced as SENT is free again."""
    rnd = rng("tx ring")
    for _ in range(30):
        log2 = rnd.choice([12, 14, 24])
        tcb, used = flow(rnd, TX_LOG2=log2, STATE=rnd.choice([S.ESTABLISHED, S.CLOSE_WAIT])), 0
        ring = 1 << log2
        for _ in range(60):
            size = rnd.choice(
                [0, 1, rnd.randrange(3000), ring - used, ring - used + 1, M32, 1 << 31]
            )
            new, out = await ask_tcb(dut, tcb, OUT, **inputs(Op.SEND, size=size))
            if 0 < size <= ring - used:
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
    woken = small = 0
    for _ in range(60):
        log2, mss = rnd.choice([(12, 1460), (16, 1460), (16, 536)])
        ring = 1 << log2
        tcb = flow(
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
            # RFC 9293, 3.8.6.2.2: the right edge moves; by two segments, or by one where less than that is left.
            opened = 1 + ring + credited - max(advertised, got)
            worth = opened >= min(ring // 2, mss if advertised - got < mss else 2 * mss)
            small += worth and opened < min(ring // 2, 2 * mss)
            expect(
                new,
                tcb,
                {"RCV_EDGE": tcb["RCV_EDGE"] + size, "ACK_NOW": int(worth)},
                f"opened {opened}",
            )
            woken += worth
    assert woken > 50 and small > 5, (woken, small)
    for state in (
        S.CLOSE_WAIT,
        S.CLOSING,
        S.TIME_WAIT,
        S.DEAD,
    ):  # the peer will send nothing any more
        tcb = flow(STATE=state, FIN_RCVD=1)
        tcb |= {"RCV_NTF": (tcb["RCV_NTF"] + 9000) & M32}
        new, out = await ask_tcb(dut, tcb, OUT, **inputs(Op.CREDIT, size=9000))
        assert out["status"] == Status.OK and not new["ACK_NOW"]


@cocotb.test()
async def flush_ends_everything(dut):
    rnd = rng("flush")
    for state in FlowState:
        tcb = flow(rnd, STATE=state, RTX_ON=1, DACK_ON=1, IN_TXQ=1)
        for op in (Op.SOCKET, Op.CONNECT, 0xFF):
            new, out = await ask_tcb(dut, tcb, OUT, **inputs(op, flush=1))
            expect(new, tcb, {"STATE": S.FREE, "RTX_ON": 0, "DACK_ON": 0}, state.name)
            assert out["send_rst"] == (state in BOTH_KNOW)
            assert not out["want_insert"] and not out["end_listener"]


@cocotb.test()
async def unknown_operations(dut):
    for op in set(range(256)) - set(AFTER):
        tcb = flow()
        new, out = await ask_tcb(dut, tcb, OUT, **inputs(op))
        assert out["status"] == Status.BAD_OP and new == tcb and not out["want_insert"]


@cocotb.test()
async def off(dut):
    """Without `en` nothing happens, whatever the other inputs say."""
    rnd = rng("off")
    for _ in range(100):
        tcb = unpack(rnd.getrandbits(WIDTH))
        assert set(tcb) == set(FIELDS)
        more = {
            n: rnd.randrange(2)
            for n in ("flush", "uncredit", "listener_done", "ins_done", "ins_ok")
        }
        new, out = await ask_tcb(dut, tcb, OUT, **inputs(rnd.randrange(20), en=0, **more))
        assert new == tcb and not (out["send_rst"] or out["want_insert"] or out["end_listener"])


def test_nk_tcp_op():
    run_module("nk_tcp_op", __file__)
