# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_ntf: grants until silence must tell a tenant the whole truth, each part once, in the order programs need."""

from __future__ import annotations

import cocotb
from common.runner import run_module
from common.stream import rng
from netkernel.abi import FlowState, Op, Status
from tcp.life import HEARD, flow
from tcp.tcp_dut import S, ask_tcb, expect, on_circle

OUT = ("any", "op", "op_data", "size", "status", "waits", "more")


@cocotb.test()
async def all_events_of_a_flow(dut):
    rnd = rng("ntf")
    seen = set()
    for _ in range(3000):
        state = rnd.choice(HEARD)
        tcb = flow(rnd, STATE=state, PASSIVE=rnd.randrange(2), LISTENER=99, MSS=1234)
        fin = int(state not in (S.ESTABLISHED, S.FIN_WAIT1, S.FIN_WAIT2) and rnd.random() < 0.8)
        told_rx, rx = sorted(1 + rnd.choice([0, 0, 9, rnd.randrange(60000)]) for _ in range(2))
        told_tx, tx = sorted(1 + rnd.choice([0, 0, 9, rnd.randrange(60000)]) for _ in range(2))
        end = tx + rnd.choice([0, 0, 500])
        # Our own FIN's acknowledgement is no byte of the ring.
        una = end + 1 if tx == end and rnd.random() < 0.4 else tx
        tcb |= on_circle(tcb["IRS"], RCV_NTF=told_rx, RCV_NXT=rx + fin)
        tcb |= on_circle(tcb["ISS"], SND_NTF=told_tx, SND_UNA=una, TX_END=end)
        reason = rnd.choice(
            [Status.PEER_RESET, Status.REFUSED, Status.UNREACHABLE, Status.TIMED_OUT]
        )
        tcb |= {
            "FIN_RCVD": fin,
            "N_CONN": rnd.randrange(2),
            "N_FIN": fin & rnd.randrange(2),
            "N_RST": rnd.randrange(2),
        }
        tcb |= {"N_STATUS": reason}
        due = []
        if tcb["N_CONN"]:
            addr = tcb["RIP"] | tcb["RPORT"] << 32 | tcb["LPORT"] << 48
            due.append(
                (Op.ACCEPTED, addr, 99, 0) if tcb["PASSIVE"] else (Op.CONNECTED, addr, 1234, 0)
            )
        if rx > told_rx:
            due.append((Op.DATA, 0, rx - told_rx, 0))
        if tx > told_tx:
            due.append((Op.SENT, 0, tx - told_tx, 0))
        if tcb["N_FIN"]:
            due.append((Op.PEER_CLOSED, 0, 0, 0))
        if tcb["N_RST"]:
            due.append((Op.TIMEOUT if reason == Status.TIMED_OUT else Op.RESET, 0, 0, reason))
        told = []
        for _ in range(len(due) + 1):
            new, out = await ask_tcb(dut, tcb, OUT, tx_drained=rnd.randrange(2))
            assert not out["waits"]
            if not out["any"]:
                assert new == tcb and not out["more"]
                break
            told.append((out["op"], out["op_data"], out["size"], out["status"]))
            assert out["more"] == (len(told) < len(due)), (
                "the flow would be asked for nothing, or not again"
            )
            tcb = new
        assert told == due
        seen |= {op for op, *_ in told}
        assert tcb["STATE"] == state
    assert seen == {
        Op.CONNECTED,
        Op.ACCEPTED,
        Op.DATA,
        Op.SENT,
        Op.PEER_CLOSED,
        Op.RESET,
        Op.TIMEOUT,
    }


@cocotb.test()
async def closed_once_memory_is_quiet(dut):
    """CLOSED waits for the last DMA read; it is the only event after the tenant's CLOSE."""
    for status in (Status.OK, Status.ABORTED, Status.PEER_RESET):
        tcb = flow(STATE=S.DRAIN, CLOSED=1, N_RST=1, N_CONN=1, N_STATUS=status)
        new, out = await ask_tcb(dut, tcb, OUT, tx_drained=0)
        assert (out["any"], out["waits"], out["more"]) == (0, 1, 0)
        new, out = await ask_tcb(dut, tcb, OUT, tx_drained=1)
        assert (out["any"], out["waits"], out["op"], out["status"]) == (1, 0, Op.CLOSED, status)
        assert not out["more"]
        expect(new, tcb, {"STATE": S.FREE}, "CLOSED")


@cocotb.test()
async def silence(dut):
    """States of which a tenant has nothing to hear, and sockets that it has closed."""
    rnd = rng("silence")
    for state in FlowState:
        for closed in (0, 1):
            if state == S.DRAIN or (state in HEARD and not closed):
                continue
            tcb = flow(rnd, STATE=state, CLOSED=closed, N_CONN=1, N_FIN=1, N_RST=1)
            tcb |= on_circle(tcb["IRS"], RCV_NXT=100) | on_circle(tcb["ISS"], SND_UNA=50, TX_END=50)
            _, out = await ask_tcb(dut, tcb, OUT, tx_drained=1)
            assert not (out["any"] or out["waits"] or out["more"]), f"{state.name} closed={closed}"


def test_nk_tcp_ntf():
    run_module("nk_tcp_ntf", __file__)
