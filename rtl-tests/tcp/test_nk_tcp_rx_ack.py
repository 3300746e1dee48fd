# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_rx_ack against the rules of RFC 9293, 3.10.7, written on sets of bytes of an unbounded line.

The model counts from ISS and IRS without wraps and enumerates bytes, so it shares no arithmetic with the RTL.
"""

from __future__ import annotations

import cocotb
from cocotb.triggers import Timer
from common.runner import run_module
from common.stream import rng
from common.tcb import M32, established, pack, unpack
from netkernel.abi import Status
from tcp.tcp_dut import (
    ACK,
    FIN,
    FINWAIT2,
    NEIGH,
    PERSIST,
    RST,
    RTO,
    SENDING,
    SYN,
    SYNCED,
    TIMEWAIT,
    S,
    ask_tcb,
    expect,
    on_circle,
)

OUT = ("data_ok", "reply_rst", "st_unacceptable", "st_bad_ack", "st_rst", "st_dupack", "st_fast")
PARAMS = {
    "mtu": 1500, "p_rto_min": 200_000, "p_rto_init": 1_000_000, "p_rto_max": 60_000_000,
    "p_time_wait": 2_000_000, "p_fin_wait2": 60_000_000, "p_initial_cwnd": 10,
}  # fmt: skip
CC = ("CWND", "SSTHRESH", "RECOVER", "CA_ACC", "IN_REC", "DUPACKS")
RTT = ("SRTT8", "RTTVAR4", "RTO")


def quiet(dut):
    """Inputs that a test does not speak of."""
    for name, value in PARAMS.items():
        getattr(dut, name).value = value
    for name in (
        "is_open",
        "isn",
        "mss",
        "wscale",
        "wscale_valid",
        "rip",
        "rport",
        "lport",
        "listener",
    ):
        getattr(dut, name).value = 0
    dut.en.value = 1


def acceptable(nxt, edge, seq, flags, length):
    """RFC 9293, 3.4, table 5, byte by byte; a bare FIN in its turn needs no room."""
    window = range(nxt, edge)
    occupied = [seq + k for k in range(length + bool(flags & SYN) + bool(flags & FIN))]
    if not occupied:
        return seq in window or (not window and seq == nxt)
    if flags & FIN and not flags & SYN and occupied == [nxt]:
        return True
    return occupied[0] in window or occupied[-1] in window


def random_flow(rnd):
    """A synchronised flow and its numbers on the line: una <= snd_nxt <= max, all bytes given by TX_END."""
    state = rnd.choice([*SYNCED, S.ESTABLISHED, S.ESTABLISHED])
    closed = int(state not in (S.ESTABLISHED, S.CLOSE_WAIT) and rnd.random() < 0.5)
    fin_req = int(state not in (S.ESTABLISHED, S.CLOSE_WAIT))
    una = rnd.choice([1, 1 + rnd.randrange(5000)])
    end = una + rnd.choice([0, 1, 1460, rnd.randrange(20000)])
    top = rnd.choice([end, rnd.randrange(una, end + 1)])
    if state in (S.FIN_WAIT2, S.TIME_WAIT):
        una = top = end + 1
    elif fin_req and top == end and rnd.random() < 0.8:
        top = end + 1
    nxt = rnd.choice([top, una, rnd.randrange(una, top + 1)])
    rcv = 1 + rnd.randrange(4000)
    edge = rcv + rnd.choice([0, 1, 100, 65536])
    tcb = established(rnd)
    shift = rnd.choice([0, 0, 3])
    tcb |= on_circle(tcb["ISS"], SND_UNA=una, SND_NXT=nxt, SND_MAX=top, TX_END=end, SND_NTF=una)
    tcb |= on_circle(tcb["IRS"], RCV_NXT=rcv, RCV_EDGE=edge, RCV_ADV=edge, RCV_NTF=rcv)
    wl1, wl2 = rcv - rnd.choice([0, 0, 1, 500]), una - rnd.choice([0, 0, 1])
    tcb |= {"SND_WL1": (tcb["IRS"] + wl1) & M32, "SND_WL2": (tcb["ISS"] + wl2) & M32}
    tcb |= {
        "STATE": state, "CLOSED": closed, "FIN_REQ": fin_req, "SND_WS": shift,
        "SND_WND": rnd.choice([0, 4096, 60000]) << shift, "ACK_NOW": rnd.randrange(2), "REXMIT": rnd.randrange(2),
        "RTX_ON": int(top > una), "RTX_KIND": rnd.choice([RTO, RTO, PERSIST, NEIGH]), "RTX_T": rnd.getrandbits(32),
        "PROBE": rnd.randrange(2), "BACKOFF": rnd.choice([0, 0, 1, 3, 9]), "RETRIES": rnd.randrange(5),
        "RTT_ON": rnd.randrange(2), "RTT_T": 5_000_000, "SRTT8": rnd.choice([0, 8 * 30_000]), "RTTVAR4": 4 * 9000,
        "DUPACKS": rnd.choice([0, 1, 2, 2, 5]), "SSTHRESH": rnd.choice([5000, 0x7FFFFFFF]), "PASSIVE": rnd.randrange(2),
    }  # fmt: skip
    if state == S.TIME_WAIT:
        tcb |= {"RTX_ON": 1, "RTX_KIND": TIMEWAIT}
    timed = rnd.randrange(una + 1, top + 1) if top > una else una
    tcb["RTT_SEQ"] = (tcb["ISS"] + timed) & M32
    if rnd.random() < 0.3 and top > una:
        tcb |= {
            "IN_REC": 1,
            "RECOVER": (tcb["ISS"] + rnd.randrange(una, top + 1)) & M32,
            "DUPACKS": 4,
        }
    line = dict(
        una=una, nxt=nxt, top=top, end=end, rcv=rcv, edge=edge, wl1=wl1, wl2=wl2, timed=timed
    )
    return tcb, line


def random_segment(rnd, n):
    flags = rnd.choice([ACK] * 14 + [ACK | FIN] * 4 + [0, FIN, RST, RST | ACK, SYN, SYN | ACK])
    near = [
        n["rcv"],
        n["rcv"],
        n["rcv"],
        n["rcv"] - 1,
        n["rcv"] + 1,
        n["edge"],
        n["edge"] - 1,
        n["edge"] + 1,
    ]
    length = rnd.choice([0, 0, 0, 1, 100, 1460])
    seq = rnd.choice(
        [*near, n["rcv"] - length, n["rcv"] - rnd.randrange(2000), n["rcv"] + rnd.randrange(3000)]
    )
    acks = [
        n["una"],
        n["una"],
        n["una"] - 1,
        n["una"] + 1,
        n["top"],
        n["top"],
        n["top"] + 1,
        n["end"],
        n["end"] + 1,
    ]
    ack = rnd.choice([*acks, rnd.randrange(n["una"], n["top"] + 1), n["nxt"], n["nxt"] + 1])
    return {"flags": flags, "length": length, "seq": seq, "ack": ack}


def congestion(tcb, ev, ack):
    """nk_cc_newreno's own reference, which its test holds against the RFCs."""
    from test_nk_cc_newreno import Model

    m = Model(tcb["MSS"], tcb["ISS"])
    m.cwnd, m.ssthresh, m.recover, m.acc = (
        tcb["CWND"],
        tcb["SSTHRESH"],
        tcb["RECOVER"],
        tcb["CA_ACC"],
    )
    m.una, m.max, m.dups, m.recovering = (
        tcb["SND_UNA"],
        tcb["SND_MAX"],
        tcb["DUPACKS"],
        bool(tcb["IN_REC"]),
    )
    resend = m.ack(ack) if ev == "new" else m.dup() if ev == "dup" else False
    return resend, {
        "CWND": m.cwnd, "SSTHRESH": m.ssthresh, "RECOVER": m.recover, "CA_ACC": m.acc,
        "IN_REC": int(m.recovering), "DUPACKS": m.dups,
    }  # fmt: skip


@cocotb.test()
async def synchronised_states(dut):
    rnd = rng("rx_ack")
    quiet(dut)
    seen: dict[str, int] = {}
    for turn in range(8000):
        tcb, n = random_flow(rnd)
        seg = random_segment(rnd, n)
        flags, seq, ack, length = seg["flags"], seg["seq"], seg["ack"], seg["length"]
        raw = rnd.choice(
            [
                0,
                tcb["SND_WND"] >> tcb["SND_WS"],
                tcb["SND_WND"] >> tcb["SND_WS"],
                rnd.getrandbits(16),
            ]
        )
        wnd = raw << tcb["SND_WS"]
        now = 5_000_000 + rnd.randrange(1, 400_000)
        new, out = await ask_tcb(dut, tcb, OUT, seq=(tcb["IRS"] + seq) & M32, ack=(tcb["ISS"] + ack) & M32,
                                 flags=flags, wnd=raw, len=length, now_us=now)  # fmt: skip
        state, change, verdict = S(tcb["STATE"]), {}, ""
        over = S.DRAIN if tcb["CLOSED"] else S.DEAD
        good = acceptable(n["rcv"], n["edge"], seq, flags, length)
        # RFC 9293, 3.10.7.4: a shut window takes valid ACKs: with a probe in its place, or behind one.
        probe = n["rcv"] == n["edge"] and flags & ACK and not flags & (RST | SYN) and not good
        probe = probe and (
            seq == n["rcv"] or (seq == n["rcv"] + 1 and length == 0 and not flags & FIN)
        )
        if not good and not probe:
            verdict = "unacceptable"
            change["ACK_NOW"] = tcb["ACK_NOW"] | (not flags & RST)
            if state == S.TIME_WAIT and flags & FIN:
                change["RTX_T"] = now + PARAMS["p_time_wait"]
        elif flags & RST and seq == n["rcv"]:
            verdict = "reset"
            change = {"STATE": over, "N_STATUS": Status.PEER_RESET, "RTX_ON": 0, "DACK_ON": 0}
            # The user hears of it while there is something to lose (RFC 9293, 3.10.7.4); not in TIME_WAIT.
            change["N_RST"] = state != S.TIME_WAIT
        elif flags & (RST | SYN):
            verdict = "challenge"
            change["ACK_NOW"] = 1
        elif not flags & ACK:
            verdict = "no ack"
        elif ack > n["top"]:
            verdict = "bad ack"
            change["ACK_NOW"] = 1
        else:
            fresh = set(range(n["una"], ack))
            verdict = "new" if fresh else "old"
            same = wnd == tcb["SND_WND"] and wnd != 0
            if ack == n["una"] != n["top"] and length == 0 and not flags & FIN and same:
                verdict = "dup"
            change["RETRIES"] = 0
            if probe and length + (flags & FIN):
                change["ACK_NOW"] = 1
            if ack >= n["una"] and (n["wl1"] < seq or (n["wl1"] == seq and n["wl2"] <= ack)):
                change |= {
                    "SND_WND": wnd,
                    **on_circle(tcb["IRS"], SND_WL1=n["rcv"] if probe else seq),
                    **on_circle(tcb["ISS"], SND_WL2=ack),
                }
                if wnd and tcb["RTX_ON"] and tcb["RTX_KIND"] == PERSIST:
                    change |= {"RTX_ON": 0, "PROBE": 0, "BACKOFF": 0}
            resend, cc = congestion(tcb, verdict, (tcb["ISS"] + ack) & M32)
            change |= cc
            if resend:
                change["REXMIT"] = 1
            if fresh:
                change |= on_circle(tcb["ISS"], SND_UNA=ack, SND_NXT=max(n["nxt"], ack))
                change["REXMIT"] = int(resend)
                sampled = tcb["RTT_ON"] and ack >= n["timed"]
                if sampled:
                    change |= {name: new[name] for name in RTT} | {"RTT_ON": 0, "BACKOFF": 0}
                    r = now - tcb["RTT_T"]
                    assert (
                        abs(new["SRTT8"] / 8 - (r if not tcb["SRTT8"] else 30_000 * 7 / 8 + r / 8))
                        < 3
                    )
                    assert PARAMS["p_rto_min"] <= new["RTO"] <= PARAMS["p_rto_max"]
                if (
                    tcb["RTX_ON"] and tcb["RTX_KIND"] == RTO
                ):  # RFC 6298, 5.2 and 5.3, for the RTO as it is now
                    backoff = 0 if sampled else tcb["BACKOFF"]
                    change["RTX_ON"] = int(ack != n["top"])
                    change["RTX_T"] = now + min(new["RTO"] << backoff, PARAMS["p_rto_max"])
                if tcb["FIN_REQ"] and n["end"] in fresh:  # the FIN's own number
                    verdict = f"fin acked in {state.name}"
                    if state == S.FIN_WAIT1:
                        change["STATE"] = S.FIN_WAIT2
                        if tcb["CLOSED"]:
                            change |= {
                                "RTX_ON": 1,
                                "RTX_KIND": FINWAIT2,
                                "RTX_T": now + PARAMS["p_fin_wait2"],
                            }
                    elif state == S.CLOSING:
                        change |= {"STATE": S.TIME_WAIT, "RTX_ON": 1, "RTX_KIND": TIMEWAIT}
                        change["RTX_T"] = now + PARAMS["p_time_wait"]
                    elif state == S.LAST_ACK:
                        change |= {"STATE": over, "RTX_ON": 0, "DACK_ON": 0}
        seen[verdict] = seen.get(verdict, 0) + 1
        if new["RTX_ON"] == 0:
            change["RTX_T"] = new["RTX_T"]  # of no timer
        expect(new, tcb, change, f"turn {turn}: {verdict} in {state.name} {n} {seg} wnd={wnd}")
        taken = verdict in ("new", "old", "dup") or verdict.startswith("fin")
        assert out["data_ok"] == (taken and not probe)
        refused = verdict == "unacceptable" or (taken and probe and length + (flags & FIN) > 0)
        assert out["st_unacceptable"] == refused and not out["reply_rst"]
        assert out["st_bad_ack"] == (verdict == "bad ack") and out["st_rst"] == (verdict == "reset")
        assert out["st_dupack"] == (verdict == "dup"), verdict
        assert out["st_fast"] == (new["IN_REC"] and not tcb["IN_REC"])
    for verdict in ("unacceptable", "reset", "challenge", "no ack", "bad ack", "new", "old", "dup",
                    "fin acked in FIN_WAIT1", "fin acked in CLOSING", "fin acked in LAST_ACK"):  # fmt: skip
        assert seen.get(verdict, 0) > 15, f"too tame: {seen}"


@cocotb.test()
async def acceptability_at_every_edge(dut):
    """All starts and lengths around a small window, against the sets."""
    quiet(dut)
    for irs in (7, M32 - 3, 0x7FFFFFFC):
        for room in (0, 1, 2, 5):
            tcb = established(IRS=irs) | on_circle(
                irs, RCV_NXT=4, RCV_EDGE=4 + room, RCV_ADV=4 + room
            )
            dut.ack.value = tcb["SND_UNA"]
            dut.wnd.value = 60000
            for flags in (ACK, ACK | FIN, ACK | SYN, ACK | RST):
                dut.flags.value = flags
                for length in (0, 1, 2, 3, 7):
                    for seq in range(-4, 12):
                        _, out = await ask_tcb(dut, tcb, OUT, seq=(irs + seq) & M32, len=length)
                        want = not acceptable(4, 4 + room, seq, flags, length)
                        if room == 0 and flags == ACK and seq == 5 and length == 0:
                            want = False  # an ACK behind a probe's byte
                        assert out["st_unacceptable"] == want, (
                            f"{seq}+{length} {flags:#x} window 4..{4 + room}"
                        )


def opening(rnd, state=S.SYN_SENT, **more):
    """A flow that has sent its SYN."""
    tcb = established(
        rnd,
        STATE=state,
        IRS=0,
        RCV_NXT=0,
        RCV_NTF=0,
        RCV_EDGE=65536,
        RCV_ADV=0,
        SND_WL1=0,
        SND_WL2=0,
    )
    tcb |= on_circle(tcb["ISS"], SND_UNA=0, SND_NXT=1, SND_MAX=1, TX_END=1, SND_NTF=1)
    return (
        tcb
        | {"CWND": 0, "SND_WND": 0, "MSS": 536, "RTX_ON": 1, "RTX_T": 9, "RTO": 1_000_000}
        | more
    )


@cocotb.test()
async def syn_sent(dut):
    """RFC 9293, 3.10.7.3, all combinations of SYN, ACK, RST and of good and bad acknowledgements."""
    rnd = rng("syn_sent")
    quiet(dut)
    for _ in range(60):
        for flags in (0, FIN, ACK, SYN, SYN | ACK, RST, RST | ACK, RST | SYN, RST | SYN | ACK):
            for acked in (-1, 0, 1, 2):
                sent = rnd.random() < 0.8
                tcb = opening(rnd, RX_LOG2=rnd.choice([12, 15, 16, 24]), CLOSED=0)
                if not sent:  # still waits for its first transmit grant
                    tcb |= on_circle(tcb["ISS"], SND_NXT=0, SND_MAX=0) | {"RTX_ON": 0}
                ws_on, ws, mss = (
                    rnd.randrange(2),
                    rnd.randrange(16),
                    rnd.choice([0, 1, 536, 1460, 9000]),
                )
                irs, wnd = rnd.choice([5, M32, rnd.getrandbits(32)]), rnd.getrandbits(16)
                new, out = await ask_tcb(dut, tcb, OUT, seq=irs, ack=(tcb["ISS"] + acked) & M32, flags=flags, wnd=wnd,
                                         mss=mss, wscale=ws, wscale_valid=ws_on, len=0, now_us=77)  # fmt: skip
                what = f"flags {flags:#x} ack ISS+{acked} sent={sent}"
                good = acked == 1 and sent
                if flags & ACK and not good:
                    assert new == tcb and out["st_bad_ack"], what
                    assert out["reply_rst"] == (not flags & RST), what
                elif flags & RST:
                    assert out["st_rst"] == bool(flags & ACK) and not out["reply_rst"], what
                    if flags & ACK:
                        got = (new["STATE"], new["N_RST"], new["N_STATUS"], new["RTX_ON"])
                        assert got == (S.DEAD, 1, Status.REFUSED, 0), what
                    else:
                        assert new == tcb, what
                elif not flags & SYN:
                    assert new == tcb and not out["reply_rst"], what
                else:
                    assert new["RCV_NXT"] == new["RCV_NTF"] == (irs + 1) & M32, what
                    assert (new["RCV_EDGE"] - new["RCV_NXT"]) & M32 == 1 << tcb["RX_LOG2"], what
                    assert (
                        new["MSS"] == min(1460, max(64, mss or 536))
                        and new["CWND"] == 10 * new["MSS"]
                    )
                    assert new["WS_OK"] == ws_on and new["SND_WS"] == (min(14, ws) if ws_on else 0)
                    assert new["RCV_WS"] == (max(0, tcb["RX_LOG2"] - 15) if ws_on else 0)
                    assert new["SND_WND"] == wnd, "the window of a SYN is not scaled"
                    assert new["RTX_ON"] == 0 and not out["data_ok"]
                    if flags & ACK:
                        assert (new["STATE"], new["N_CONN"], new["ACK_NOW"]) == (
                            S.ESTABLISHED,
                            1,
                            1,
                        ), what
                        assert (
                            new["SND_UNA"] == new["SND_NXT"] == new["SND_MAX"] == new["TX_END"]
                        ), what
                    else:  # simultaneous open: SYN again, with ACK
                        assert (new["STATE"], new["N_CONN"]) == (S.SYN_RCVD, 0), what
                        assert new["SND_NXT"] == new["SND_UNA"] == tcb["ISS"], what


@cocotb.test()
async def passive_open_and_syn_rcvd(dut):
    rnd = rng("passive")
    quiet(dut)
    for _ in range(300):
        credit = established(rnd, STATE=S.CREDIT, RIP=0, RPORT=0, LPORT=0, RTO=0, CWND=0)
        isn, irs = (
            rnd.choice([0, M32, rnd.getrandbits(32)]),
            rnd.choice([0, M32, rnd.getrandbits(32)]),
        )
        new, out = await ask_tcb(dut, credit, OUT, is_open=1, isn=isn, seq=irs, ack=0, flags=SYN, wnd=500, len=0, mss=1000,
                                 rip=0x0A000009, rport=4000, lport=80, listener=33, wscale=7, wscale_valid=1)  # fmt: skip
        dut.is_open.value = 0
        assert (new["STATE"], new["PASSIVE"], new["LINK"], new["N_CONN"]) == (S.SYN_RCVD, 1, 33, 0)
        assert (new["RIP"], new["RPORT"], new["LPORT"], new["MSS"]) == (0x0A000009, 4000, 80, 1000)
        assert all(new[n] == isn for n in ("ISS", "SND_UNA", "SND_NXT", "SND_MAX", "RECOVER"))
        assert (
            new["TX_END"] == new["SND_NTF"] == (isn + 1) & M32
            and new["RTO"] == PARAMS["p_rto_init"]
        )
        assert (new["SND_WS"], new["RCV_WS"], new["WS_OK"]) == (7, 1, 1) and not any(out.values())
        sent = (
            new | on_circle(isn, SND_NXT=1, SND_MAX=1) | {"RTX_ON": 1, "RETRIES": 2, "BACKOFF": 2}
        )

        async def give(flags, seq, acked, length=0, tcb=sent, irs=irs, isn=isn):
            return await ask_tcb(dut, tcb, OUT, seq=(irs + seq) & M32, ack=(isn + acked) & M32, flags=flags,
                                 wnd=900, len=length, now_us=123)  # fmt: skip

        again, _ = await give(SYN, 0, 0)
        expect(again, sent, {"SND_NXT": isn, "RTT_ON": 0}, "the SYN again: SYN-ACK again")
        est, out = await give(ACK, 1, 1, rnd.choice([0, 100]))
        assert (est["STATE"], est["N_CONN"], est["RTX_ON"], est["RETRIES"]) == (
            S.ESTABLISHED,
            1,
            0,
            0,
        )
        assert est["SND_UNA"] == est["SND_NXT"] == (isn + 1) & M32 and out["data_ok"]
        assert est["SND_WND"] == 900 << 7, "from here on windows are scaled"
        for acked in (-1, 0, 2, 5):  # RFC 9293, 3.10.7.4, fifth: RST, and the state stays
            same, out = await give(ACK, 1, acked)
            assert out["reply_rst"] and out["st_bad_ack"] and not out["data_ok"]
            expect(same, sent, {}, "bad ACK in SYN_RCVD")
        for passive in (0, 1):
            flow = sent | {"PASSIVE": passive}
            dead, out = await give(RST, 1, 0, tcb=flow)
            want = (S.DRAIN, Status.PEER_RESET) if passive else (S.DEAD, Status.REFUSED)
            assert (
                (dead["STATE"], dead["N_STATUS"]) == want and out["st_rst"] and dead["RTX_ON"] == 0
            )
            same, out = await give(RST, 2, 0, tcb=flow)
            expect(same, flow, {"ACK_NOW": 1}, "RST inside the window, not at its start")
        # Simultaneous open: the peer's SYN-ACK stands before the window and is answered by an ACK.
        same, out = await give(SYN | ACK, 0, 1, tcb=sent | {"PASSIVE": 0})
        expect(same, sent, {"PASSIVE": 0, "ACK_NOW": 1}, "SYN-ACK in SYN_RCVD")


@cocotb.test()
async def disabled(dut):
    """Without `en` nothing happens, whatever the inputs are."""
    rnd = rng("disabled")
    quiet(dut)
    dut.en.value = 0
    for _ in range(50):
        tcb = established(rnd, STATE=rnd.choice(SENDING))
        dut.tcb.value = pack(tcb)
        for name in ("seq", "ack", "flags", "wnd", "len"):
            getattr(dut, name).value = rnd.getrandbits(9)
        await Timer(1, "ns")
        assert unpack(int(dut.tcb_out.value)) == tcb
        assert not any(int(getattr(dut, name).value) for name in OUT)


def test_nk_tcp_rx_ack():
    run_module("nk_tcp_rx_ack", __file__)
