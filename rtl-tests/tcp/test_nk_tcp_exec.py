# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_exec: one result is chosen, and it is that of the event; the parts have their own tests.

The judge is what must follow for each kind of event, and a flow's whole life driven through the one module.
"""

from __future__ import annotations

import cocotb
from cocotb.triggers import Timer
from common.runner import run_module
from common.stream import rng
from common.tcb import M32, established, pack, unpack
from netkernel.abi import Op, Status
from tcp.tcp_dut import ACK, FIN, PSH, RST, RTO, SYN, T_DATA, T_SYN, S, expect

EVENTS = ("is_rx", "is_op", "is_tmr", "is_tx", "is_ntf")
OUT = (
    "place", "place_seq", "place_skip", "place_len", "seg_send", "seg_seq", "seg_ack", "seg_flags", "seg_wnd", "seg_mss",
    "seg_ws_valid", "seg_len", "arp_ask", "op_status",
)  # fmt: skip
STATS = (
    "unacceptable", "bad_ack", "rst", "dupack", "fast", "ooo", "duplicate", "no_room", "rto", "give_up", "retransmit", "probe",
)  # fmt: skip
PARAMS = dict(
    mtu=1500, p_rto_min=200_000, p_rto_init=1_000_000, p_rto_max=60_000_000, p_time_wait=2_000_000, p_delayed_ack=20_000,
    p_neigh_retry=50_000, p_fin_wait2=60_000_000, p_retries_data=6, p_retries_syn=3, p_retries_neigh=4, p_initial_cwnd=10,
)  # fmt: skip


class Exec:
    """The module with every input at rest; an event is given by name with the inputs that it needs."""

    def __init__(self, dut):
        self.dut = dut
        ports = [n for n in dir(dut) if n.split("_")[0] in ("rx", "op", "sel", "ntf")]
        for name in ports:
            if name not in ("op_status", "op_needs_hash", "op_pre_ok", "op_wake"):
                getattr(dut, name).value = 0
        for name in (*EVENTS, "isn", "neigh_hit"):
            getattr(dut, name).value = 0
        for name, value in PARAMS.items():
            getattr(dut, name).value = value

    async def event(self, event, tcb, now=5000, **inputs):
        dut = self.dut
        for name, value in inputs.items():
            getattr(dut, name).value = value
        for name in EVENTS:
            getattr(dut, name).value = int(name == event)
        dut.tcb.value, dut.now_us.value = pack(tcb), now
        await Timer(1, "ns")
        out = {name: int(getattr(dut, name).value) for name in OUT}
        out["stats"] = {s for s in STATS if int(getattr(dut, f"st_{s}").value)}
        for name in inputs:
            getattr(dut, name).value = 0
        return unpack(int(dut.tcb_out.value)), out


def segment(tcb, flags, seq=0, ack=0, length=0, wnd=60000):
    """A segment with numbers relative to what the flow expects."""
    return dict(
        rx_flags=flags,
        rx_seq=(tcb["RCV_NXT"] + seq) & M32,
        rx_ack=(tcb["SND_UNA"] + ack) & M32,
        rx_len=length,
        rx_wnd=wnd,
    )


@cocotb.test()
async def no_event_no_effect(dut):
    rnd = rng("none")
    ex = Exec(dut)
    for _ in range(100):
        tcb = established(
            rnd, STATE=rnd.randrange(15), RTX_ON=1, RTX_T=0, PROBE=1, REXMIT=1, N_CONN=1
        )
        seg = segment(tcb, rnd.choice([ACK, RST, SYN, FIN | ACK]), length=10)
        new, out = await ex.event("", tcb, sel_kind=T_DATA, sel_len=9, neigh_hit=1, ntf_go=1, **seg)
        expect(new, tcb, {}, "no event")
        assert not (out["place"] or out["seg_send"] or out["arp_ask"] or out["stats"])


@cocotb.test()
async def one_event_is_chosen(dut):
    """The same flow and the same inputs under each event: each leaves its own mark and no other's."""
    rnd = rng("one")
    ex = Exec(dut)
    marks = {
        "is_rx": lambda t, n: n["RCV_NXT"] == (t["RCV_NXT"] + 100) & M32,
        "is_op": lambda t, n: n["TX_END"] == (t["TX_END"] + 55) & M32,
        "is_tmr": lambda t, n: n["RETRIES"] == t["RETRIES"] + 1,
        "is_tx": lambda t, n: n["SND_NXT"] == (t["SND_NXT"] + 33) & M32,
        "is_ntf": lambda t, n: n["N_CONN"] == 0,
    }
    for _ in range(60):
        tcb = established(rnd, RTX_ON=1, RTX_KIND=RTO, RTX_T=4000, N_CONN=1)
        tcb["SND_MAX"] = tcb["SND_NXT"] = tcb["TX_END"] = (tcb["SND_UNA"] + 500) & M32
        for event in EVENTS:
            new, out = await ex.event(
                event, tcb, op_code=Op.SEND, op_size=55, sel_kind=T_DATA, sel_seq=tcb["SND_NXT"], sel_len=33, sel_psh=1,
                neigh_hit=1, ntf_go=1, ntf_tcb=pack(tcb | {"N_CONN": 0}), **segment(tcb, ACK, length=100),
            )  # fmt: skip
            got = {name for name, mark in marks.items() if mark(tcb, new)}
            assert got == {event}
            assert out["place"] == (event == "is_rx") and out["seg_send"] == (event == "is_tx")
            assert out["stats"] == ({"rto"} if event == "is_tmr" else set())
            if event == "is_tx":
                assert (out["seg_seq"], out["seg_ack"], out["seg_len"]) == (
                    tcb["SND_NXT"],
                    tcb["RCV_NXT"],
                    33,
                )
                assert out["seg_flags"] == ACK | PSH and out["seg_wnd"] == 65535


@cocotb.test()
async def answers(dut):
    """The resets: their numbers as RFC 9293, 3.5.2 and 3.10.7 want them."""
    rnd = rng("answers")
    ex = Exec(dut)
    for _ in range(50):
        tcb = established(rnd, STATE=S.SYN_RCVD)
        tcb["SND_UNA"] = tcb["ISS"]
        seg = segment(tcb, ACK, ack=rnd.choice([0, 2, 77]))
        new, out = await ex.event("is_rx", tcb, **seg)
        assert (
            out["seg_send"]
            and out["seg_flags"] == RST
            and out["seg_seq"] == seg["rx_ack"]
            and out["seg_ack"] == 0
        )
        assert new == tcb and out["stats"] == {"bad_ack"}

        tcb = established(rnd, STATE=S.FIN_WAIT2, CLOSED=1)  # data for nobody
        tcb["SND_MAX"] = tcb["SND_NXT"] = tcb["SND_UNA"] = (tcb["TX_END"] + 1) & M32
        new, out = await ex.event("is_rx", tcb, **segment(tcb, ACK, length=9))
        assert out["seg_send"] and out["seg_flags"] == RST | ACK and not out["place"]
        assert (out["seg_seq"], out["seg_ack"]) == (tcb["SND_MAX"], tcb["RCV_NXT"])
        assert (new["STATE"], new["N_STATUS"]) == (S.DRAIN, Status.ABORTED)

        tcb = established(rnd)
        tcb["SND_MAX"] = (tcb["SND_UNA"] + 999) & M32
        for known in (0, 1):
            new, out = await ex.event("is_op", tcb, op_code=Op.ABORT, neigh_hit=known)
            assert out["seg_send"] == known and new["STATE"] == S.DRAIN
            assert out["seg_flags"] == RST | ACK and out["seg_seq"] == tcb["SND_MAX"]
            new, out = await ex.event("is_op", tcb, op_flush=1, neigh_hit=known)
            assert out["seg_send"] == known and new["STATE"] == S.FREE

        syn = established(rnd, STATE=S.SYN_SENT, RCV_NXT=77)
        new, out = await ex.event("is_tx", syn, sel_kind=T_SYN, sel_seq=syn["ISS"], neigh_hit=1)
        assert (
            out["seg_flags"] == SYN
            and out["seg_ack"] == 0
            and out["seg_mss"] == 1460
            and out["seg_ws_valid"]
        )
        new, out = await ex.event("is_tx", syn, sel_kind=T_SYN, sel_seq=syn["ISS"], neigh_hit=0)
        assert out["arp_ask"] and not out["seg_send"] and out["stats"] == set()


@cocotb.test()
async def a_segment_is_ack_and_data(dut):
    """One segment acknowledges, brings bytes and the FIN; an unacceptable one does none of it."""
    rnd = rng("both")
    ex = Exec(dut)
    for _ in range(100):
        tcb = established(rnd, STATE=S.FIN_WAIT1, FIN_REQ=1, RTX_ON=1)
        tcb["SND_MAX"] = tcb["SND_NXT"] = (tcb["SND_UNA"] + 1) & M32  # only the FIN is out
        seg = segment(tcb, ACK | FIN, ack=1, length=rnd.choice([0, 1, 700]))
        new, out = await ex.event("is_rx", tcb, **seg)
        assert (new["STATE"], new["SND_UNA"]) == (S.TIME_WAIT, tcb["SND_MAX"])
        assert (
            new["RCV_NXT"] == (tcb["RCV_NXT"] + seg["rx_len"] + 1) & M32
            and new["N_FIN"]
            and new["ACK_NOW"]
        )
        assert out["place"] == (seg["rx_len"] > 0) and not out["stats"]
        seg = segment(tcb, ACK | FIN, seq=70000, ack=1, length=5)
        new, out = await ex.event("is_rx", tcb, **seg)
        expect(new, tcb, {"ACK_NOW": 1}, "beyond the window")
        assert out["stats"] == {"unacceptable"} and not out["place"]
        # The peer has acknowledged our SYN and sent data with it: both count, and the data has its place.
        rcvd = established(rnd, STATE=S.SYN_RCVD, PASSIVE=1)
        rcvd["SND_UNA"] = rcvd["ISS"]
        new, out = await ex.event("is_rx", rcvd, **segment(rcvd, ACK, ack=1, length=30))
        assert (new["STATE"], new["N_CONN"], out["place"], out["place_seq"]) == (
            S.ESTABLISHED,
            1,
            1,
            rcvd["RCV_NXT"],
        )


def test_nk_tcp_exec():
    run_module("nk_tcp_exec", __file__)
