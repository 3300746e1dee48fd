# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_post: after every pass something is to come, at the time that the RFCs name; lists and books in order."""

from __future__ import annotations

import cocotb
from common.runner import run_module
from common.stream import rng
from common.tcb import M32, WIDTH, pack, unpack
from netkernel.abi import FlowState
from tcp.life import (
    CORK,
    FINWAIT2,
    KEEP,
    NEIGH,
    PERSIST,
    PF_TLP,
    REO,
    RTO,
    TIMEWAIT,
    TLP,
    flow,
)
from tcp.tcp_dut import LIVE, S, ask, expect, on_circle

OUT = (
    "timer_set", "timer_armed", "timer_deadline", "push_tx", "push_ntf", "hash_delete", "opened", "freed",
)  # fmt: skip
P = {
    "p_rto_min": 200_000, "p_rto_init": 1_000_000, "p_rto_max": 60_000_000, "p_time_wait": 30_000_000, "p_fin_wait2": 40_000_000,
    "p_neigh_retry": 500_000, "p_delayed_ack": 20_000, "p_flags": PF_TLP,
}  # fmt: skip
LONGEST = 1 << 28  # what is kept of RTX_T: 29 bits, signed
IN_TABLE = {*LIVE, S.TIME_WAIT}
SYNCED = tuple(s for s in LIVE if s not in (S.SYN_SENT, S.SYN_RCVD))
REQUESTS = ("W_ACKED", "W_SENT", "W_RETX", "W_REO", "W_REO_US", "W_TW", "W_NEIGH")
UNIT = 1.048576  # seconds a count of now_s


def armed(tcb):
    """What the timer memory must hold for a state: the earlier deadline, or None."""
    on = [tcb[t] for t, flag in (("RTX_T", "RTX_ON"), ("DACK_T", "DACK_ON")) if tcb[flag]]
    return on


def signed(value):
    return (value + (1 << 31) & M32) - (1 << 31)


async def post(dut, tcb, was=None, now=0, now_s=0, mark=0, **more):
    """One pass that ended in `tcb`; `was`: the state before it (the same, if nothing is said)."""
    was = was or tcb
    held = sorted(armed(was), key=lambda t: signed(t - now))
    give = P | {"blocked": 0, "more_tx": 0, "more_ntf": 0, "from_txq": 0, "from_ntq": 0} | more
    out = await ask(
        dut, ("tcb_out", *OUT), tcb=pack(tcb), was_state=was["STATE"], was_closed=was["CLOSED"], was_armed=int(bool(held)),
        was_deadline=held[0] if held else 0, now_us=now, now_s=now_s, tx_mark=mark, **give,
    )  # fmt: skip
    new = unpack(out.pop("tcb_out"))
    # True of every pass, whatever happened in it.
    assert not any(new[n] for n in REQUESTS), "a request outlives its pass"
    after = sorted(armed(new), key=lambda t: signed(t - now))
    assert out["timer_armed"] == bool(after)
    if after:
        assert out["timer_deadline"] == after[0]
    assert out["timer_set"] == (after[:1] != held[:1]), "the memory holds another deadline"
    if new["RTX_ON"]:
        assert -LONGEST <= signed(new["RTX_T"] - now) < LONGEST or new["RTX_T"] == tcb["RTX_T"]
    return new, out


def rto_of(tcb):
    """RFC 6298, 2: from the estimate, doubled, bounded."""
    if tcb["SRTT8"]:
        base = max(P["p_rto_min"], tcb["SRTT8"] // 8 + max(1, tcb["RTTVAR4"]))
    else:
        base = P["p_rto_init"]
        # RFC 6298, 5.7: 3 s after a lost SYN, which stands as two doublings that are no timeouts of data.
        if tcb["STATE"] in SYNCED and tcb["BACKOFF"] > max(1, tcb["RETRIES"]):
            return min(max(3_000_000, base) << tcb["BACKOFF"] - 2, P["p_rto_max"])
    return min(base << tcb["BACKOFF"], P["p_rto_max"])


def pto_of(tcb, flying):
    """RFC 8985, 7.2; None: no probe, or not before the timeout."""
    if not tcb["SRTT8"]:
        return None
    pto = max(tcb["SRTT8"] // 4 + (P["p_delayed_ack"] if flying <= tcb["MSS"] else 0), 2000)
    return pto if pto <= rto_of(tcb) else None


def in_flight(rnd, tcb, flying, unsent=0):
    una = rnd.randrange(1, 900)
    return tcb | on_circle(
        tcb["ISS"],
        SND_UNA=una,
        SND_NXT=una + flying,
        TX_END=una + flying + unsent,
        RXT_NXT=una,
        LOST_END=una,
    )


def clock(rnd):
    return rnd.choice([0, 5, M32, M32 - 100_000, rnd.getrandbits(32)])


@cocotb.test()
async def books(dut):
    """Table and use follow from the pair of states, for every pair; a socket that ends keeps its mark."""
    for was in FlowState:
        for now_is in FlowState:
            for closed_before, closed in ((0, 0), (0, 1), (1, 1)):
                old = flow(STATE=was, CLOSED=closed_before)
                new = flow(STATE=now_is, CLOSED=closed)
                after, out = await post(dut, new, old, mark=0xBEEF)
                held = was in IN_TABLE or (was == S.LISTEN and not closed_before)
                holds = now_is in IN_TABLE or (now_is == S.LISTEN and not closed)
                if held and holds and (was == S.LISTEN) != (now_is == S.LISTEN):
                    continue  # no event does this
                assert out["hash_delete"] == (held and not holds), (was, now_is)
                assert out["opened"] == (was == S.FREE != now_is)
                assert out["freed"] == (was != S.FREE == now_is)
                if now_is == S.DRAIN != was:
                    # As it comes back from the memory: an unsigned distance of 25 bits from SND_UNA.
                    kept = after["SND_UNA"] + (after["SND_NXT"] - after["SND_UNA"] & (1 << 25) - 1)
                    assert kept & 0xFFFF == 0xBEEF
                else:
                    assert after["SND_NXT"] == new["SND_NXT"]


@cocotb.test()
async def lists(dut):
    """A flow stands in a list at most once, and does so as long as it has something to do there."""
    rnd = rng("lists")
    flows = [flow(rnd) for _ in range(4)]
    stand = {"TX": [0] * 4, "NT": [0] * 4}
    for _ in range(2000):
        k = rnd.randrange(4)
        taken = {name: stand[name][k] and rnd.randrange(2) for name in stand}
        more = {name: rnd.randrange(2) for name in stand}
        hop = rnd.random() < 0.1  # waits for a next hop: its timer brings it back
        flows[k], out = await post(
            dut,
            flows[k] | {"W_NEIGH": int(hop)},
            more_tx=more["TX"],
            more_ntf=more["NT"],
            from_txq=taken["TX"],
            from_ntq=taken["NT"],
        )
        for name, push in (("TX", out["push_tx"]), ("NT", out["push_ntf"])):
            stand[name][k] += push - taken[name]
            assert 0 <= stand[name][k] <= 1, "twice in a list"
            assert stand[name][k] or not more[name] or (hop and name == "TX"), "forgotten"
            assert flows[k][f"IN_{name}Q"] == stand[name][k]


@cocotb.test()
async def ends(dut):
    """Who has no connection has no timer; TIME_WAIT and an orphan's FIN_WAIT2 have one of their own."""
    rnd = rng("ends")
    for _ in range(600):
        now = clock(rnd)
        state = rnd.choice([s for s in FlowState if s not in LIVE])
        kind = rnd.choice([RTO, TIMEWAIT, KEEP, NEIGH])
        tcb = flow(
            rnd,
            STATE=state,
            RTX_ON=rnd.randrange(2),
            RTX_KIND=kind,
            DACK_ON=1,
            RTX_T=now + 900 & M32,
        )
        tcb |= {
            "DACK_T": now + 5 & M32,
            "W_TW": rnd.randrange(2),
            "KA_ON": 1,
            "CLOSED": rnd.randrange(2),
        }
        new, _ = await post(dut, tcb, now=now)
        if state == S.TIME_WAIT:
            runs = tcb["RTX_ON"] and kind == TIMEWAIT and not tcb["W_TW"]
            want = tcb["RTX_T"] if runs else now + P["p_time_wait"] & M32
            assert (new["RTX_ON"], new["RTX_KIND"], new["RTX_T"]) == (1, TIMEWAIT, want)
            assert new["DACK_ON"]
        else:
            assert not new["RTX_ON"] and not new["DACK_ON"], state.name
    for closed in (0, 1):
        for on, kind in ((0, RTO), (1, RTO), (1, FINWAIT2), (1, KEEP)):
            tcb = flow(STATE=S.FIN_WAIT2, CLOSED=closed, RTX_ON=on, RTX_KIND=kind, RTX_T=77)
            new, _ = await post(dut, tcb, now=50)
            if not closed:
                assert not new["RTX_ON"]
            else:
                want = 77 if on and kind == FINWAIT2 else 50 + P["p_fin_wait2"]
                assert (new["RTX_ON"], new["RTX_KIND"], new["RTX_T"]) == (1, FINWAIT2, want)
    # More than can be kept is cut, not wrapped.
    for state, kind, name in (
        (S.TIME_WAIT, TIMEWAIT, "p_time_wait"),
        (S.FIN_WAIT2, FINWAIT2, "p_fin_wait2"),
    ):
        tcb = flow(STATE=state, CLOSED=1)
        for period in (240_000_000, 280_000_000, M32):
            new, _ = await post(dut, tcb, now=9, **{name: period})
            assert (new["RTX_ON"], new["RTX_KIND"]) == (1, kind)
            assert new["RTX_T"] - 9 == min(period, 250_000_000)


@cocotb.test()
async def retransmission_timer(dut):
    """RFC 6298, 5, RFC 8985, 7.2, and the order of the timers, against rules in words over random passes."""
    rnd = rng("rto")
    seen: dict[str, int] = {}
    for _ in range(9000):
        now, now_s = clock(rnd), rnd.getrandbits(16)
        state = rnd.choice([*LIVE, S.ESTABLISHED])
        tcb = flow(
            rnd,
            STATE=state,
            MSS=1000,
            SACK_OK=int(rnd.random() < 0.9),
            RETRIES=rnd.choice([0, 0, 2]),
        )
        flying = rnd.choice([0, 1, 999, 1000, 1001, 5000])
        tcb = in_flight(rnd, tcb, flying)
        kind = rnd.choice([RTO, RTO, TLP, TLP, REO, PERSIST, NEIGH, KEEP, CORK])
        ahead = rnd.choice([-3, 0, 1, 50_000, 150_000, 400_000])
        tcb |= {
            "RTX_ON": rnd.randrange(2), "RTX_KIND": kind, "RTX_T": now + ahead & M32, "SRTT8": rnd.choice([0, 80, 400_000, 3_000_000]),
            "RTTVAR4": rnd.choice([0, 40_000, 500_000]), "BACKOFF": rnd.choice([0, 0, 2, 15]), "LAST_T": now_s - 9 & 0xFFFF,
            "IN_REC": int(rnd.random() < 0.1), "IN_LOSS": int(rnd.random() < 0.1), "SK_V": int(rnd.random() < 0.1),
            "TLP_OUT": int(rnd.random() < 0.1), "TLP_DUE": int(rnd.random() < 0.1), "SND_WND": rnd.choice([0, 5000]),
            "W_ACKED": rnd.randrange(2), "W_SENT": rnd.randrange(2), "W_RETX": int(rnd.random() < 0.2), "W_REO": int(rnd.random() < 0.1),
            "W_REO_US": 7777, "W_NEIGH": int(rnd.random() < 0.1),
        }  # fmt: skip
        tcb |= {"RTT_T": now - rnd.choice([0, 0, 1, 50_000]) & M32}
        if rnd.random() < 0.2:  # a probe is planned, and all is well
            calm = (
                "W_ACKED",
                "W_RETX",
                "W_REO",
                "W_NEIGH",
                "IN_REC",
                "IN_LOSS",
                "SK_V",
                "TLP_OUT",
                "TLP_DUE",
            )
            tcb |= {"RTX_ON": 1, "RTX_KIND": TLP, "SACK_OK": 1} | dict.fromkeys(calm, 0)
        kind = tcb["RTX_KIND"]
        more_tx = int(rnd.random() < 0.3)
        flags = rnd.choice([PF_TLP, PF_TLP, 0])
        new, _ = await post(dut, tcb, now=now, now_s=now_s, more_tx=more_tx, p_flags=flags)

        synced = state in SYNCED
        on, head = tcb["RTX_ON"], tcb["W_RETX"] and tcb["RTT_T"] == now
        quiet = flags and synced and tcb["SACK_OK"] and tcb["SRTT8"]
        quiet = quiet and not any(
            tcb[n] for n in ("IN_REC", "IN_LOSS", "SK_V", "TLP_OUT", "TLP_DUE")
        )
        clean = tcb | ({"BACKOFF": 0} if kind == PERSIST else {})  # the window is open
        pto = pto_of(clean, flying) if quiet else None
        fresh = (1, TLP, now + pto) if pto else (1, RTO, now + rto_of(clean))
        same = (on, kind, tcb["RTX_T"])
        if tcb["W_NEIGH"]:
            why, want = "next hop", (1, NEIGH, now + P["p_neigh_retry"])
        elif kind == NEIGH and not tcb["W_SENT"] and (on or more_tx):
            why, want = "waits for the next hop", same
        elif not flying:
            why, want = "all is acknowledged", (0, None, None)  # RFC 6298, 5.2
        elif tcb["W_REO"]:
            why, want = "reordering", (1, REO, now + 7777)
        elif not on:
            idle = more_tx and not tcb["W_SENT"] and not tcb["W_ACKED"]
            why, want = (
                ("its turn is to come", (0, None, None)) if idle else ("start", fresh)
            )  # 5.1
        elif kind not in (RTO, TLP, REO):
            why, want = "another timer ran", fresh
        elif tcb["W_ACKED"] or head:
            why, want = "restart", fresh  # 5.3
        elif kind == TLP and not quiet:
            why, want = "no probe any more", fresh
        elif kind == TLP and tcb["W_SENT"] and pto and ahead >= 0 and pto < ahead:
            why, want = "probe earlier", fresh
        else:
            why, want = "runs", same
        seen[why] = seen.get(why, 0) + 1
        assert new["RTX_ON"] == want[0], (why, want)
        if want[0]:
            assert (new["RTX_KIND"], new["RTX_T"]) == (want[1], want[2] & M32), (
                why,
                new["RTX_KIND"],
                new["RTX_T"],
            )
        # The silence before we had anything to wait for is not the peer's.
        waited = kind in (RTO, TLP, REO, PERSIST) and (on or tcb["RETRIES"])
        begins = why in ("start", "another timer ran", "reordering") and not waited
        assert new["LAST_T"] == (now_s if begins else tcb["LAST_T"]), why
        # Tries of another kind are not tries for the peer; those for the next hop go on until it is found.
        other = (
            kind in (NEIGH, KEEP)
            and why not in ("waits for the next hop",)
            and not (why == "next hop" and kind == NEIGH)
        )
        assert new["RETRIES"] == (0 if begins or other else tcb["RETRIES"]), (why, kind)
        assert new["BACKOFF"] == clean["BACKOFF"]
        if why == "waits for the next hop":
            assert new["RTX_KIND"] == NEIGH, "the tries for it would begin anew"
    assert min(seen.values()) > 20 and len(seen) == 11, seen


@cocotb.test()
async def shut_window(dut):
    """RFC 9293, 3.8.6.1: probes as long as the window is shut, further and further apart, and data once it opens."""
    rnd = rng("shut")
    for _ in range(1000):
        now = clock(rnd)
        kind = rnd.choice([RTO, TLP, REO, PERSIST, KEEP, CORK])
        probed = rnd.randrange(2)  # the byte of a probe, which the peer did not take
        tcb = in_flight(
            rnd,
            flow(rnd, STATE=rnd.choice([S.ESTABLISHED, S.FIN_WAIT1, S.CLOSE_WAIT])),
            probed,
            5000,
        )
        tcb |= {
            "RTX_ON": rnd.randrange(2), "RTX_KIND": kind, "RTX_T": now + 300 & M32, "SND_WND": 0, "RETRIES": rnd.choice([0, 3]),
            "BACKOFF": rnd.choice([0, 4]), "W_ACKED": rnd.randrange(2), "SRTT8": 80_000, "SK_V": 0, "SACK_OK": 1,
            "PROBE": int(rnd.random() < 0.2),
        }  # fmt: skip
        waits = tcb["PROBE"] and rnd.randrange(2)
        new, _ = await post(dut, tcb, now=now, blocked=1, more_tx=waits)
        keeps = tcb["RTX_ON"] and (
            kind == PERSIST or (kind in (RTO, TLP, REO) and not tcb["W_ACKED"])
        )
        assert new["RTX_KIND"] == PERSIST and new["BACKOFF"] == tcb["BACKOFF"]
        if keeps:
            assert (new["RTX_ON"], new["RTX_T"]) == (1, tcb["RTX_T"])
        elif waits:
            assert not new["RTX_ON"], "a probe that waits for its turn is no try"
        else:
            assert (new["RTX_ON"], new["RTX_T"]) == (1, now + rto_of(tcb) & M32)
        # It opens: what was probed goes out as data, and its timeout is not that of the probes.
        opened = in_flight(rnd, new, 1000, 4000) | {
            "SND_WND": 9000,
            "W_SENT": 1,
            "BACKOFF": 9,
            "PROBE": 1,
        }
        new, _ = await post(dut, opened, now=now, more_tx=1, p_flags=rnd.choice([0, PF_TLP]))
        assert (
            new["RTX_ON"]
            and new["RTX_KIND"] in (RTO, TLP)
            and not new["BACKOFF"]
            and not new["PROBE"]
        )
        assert signed(new["RTX_T"] - now) <= 200_000


@cocotb.test()
async def something_always_comes(dut):
    """What waits for the peer, or waits to be sent, has a timer or stands in the list: else it would hang."""
    rnd = rng("hang")
    for _ in range(6000):
        now = clock(rnd)
        state = rnd.choice(LIVE)
        flying, unsent = rnd.choice([0, 0, 1, 700]), rnd.choice([0, 1, 3000])
        tcb = in_flight(
            rnd,
            flow(rnd, STATE=state, RTX_ON=rnd.randrange(2), RTX_KIND=rnd.randrange(9)),
            flying,
            unsent,
        )
        tcb |= {
            n: rnd.randrange(2)
            for n in (
                "CORK",
                "CLOSED",
                "PROBE",
                "KA_ON",
                "KA_PROBE",
                "W_SENT",
                "W_ACKED",
                "W_NEIGH",
            )
        }
        tcb |= {
            "SND_WND": rnd.choice([0, 1000]),
            "RTX_T": now + rnd.randrange(1 << 20) & M32,
            "W_REO": rnd.randrange(2),
        }
        blocked = int(state in SYNCED and not flying and unsent and not tcb["SND_WND"])
        more_tx = rnd.randrange(2)
        new, out = await post(dut, tcb, now=now, blocked=blocked, more_tx=more_tx)
        if flying or (unsent and state in SYNCED) or (state == S.FIN_WAIT2 and tcb["CLOSED"]):
            assert new["RTX_ON"] or new["IN_TXQ"], f"nothing will ever happen in {state.name}"
        assert out["push_tx"] == (more_tx and not tcb["W_NEIGH"])


@cocotb.test()
async def corked(dut):
    """A remainder that TCP_CORK holds back waits 200 ms from when no ACK is to come, not longer."""
    rnd = rng("cork")
    for _ in range(200):
        now = clock(rnd)
        tcb = in_flight(rnd, flow(rnd, CORK=1, KA_ON=rnd.randrange(2)), 0, 100)
        first, _ = await post(dut, tcb, now=now)
        assert (first["RTX_ON"], first["RTX_KIND"], first["RTX_T"]) == (
            1,
            CORK,
            now + 200_000 & M32,
        )
        # More of it does not make it wait longer.
        more = first | {"TX_END": first["TX_END"] + 50 & M32}
        again, _ = await post(dut, more, now=now + 1000 & M32)
        assert again == more
        # A timer that is over, but still of its kind, is a permission for that one pass.
        over, _ = await post(dut, again | {"RTX_ON": 0}, now=now + 200_000 & M32)
        assert over["RTX_ON"] and over["RTX_KIND"] == CORK
        sent = in_flight(rnd, again, 150) | {"RTX_ON": 0, "W_SENT": 1}
        over, _ = await post(dut, sent, now=now + 200_000 & M32)
        assert over["RTX_ON"] and over["RTX_KIND"] == RTO
        done, _ = await post(dut, in_flight(rnd, again, 0) | {"KA_ON": 0}, now=now)
        assert not done["RTX_ON"] and done["RTX_KIND"] != CORK, "a permission that nobody gave"


@cocotb.test()
async def keep_alive(dut):
    """The first probe KA_IDLE seconds after the peer was heard, the next ones KA_INTVL apart; options count at once."""
    rnd = rng("keep")
    for _ in range(800):
        now, now_s = clock(rnd), rnd.getrandbits(16)
        idle, every = rnd.choice([1, 10, 60, 200, 7200, 16383]), rnd.choice([1, 75, 255])
        silent = rnd.choice([0, 1, 5, 50, 3000])
        tcb = flow(
            rnd,
            STATE=rnd.choice([S.ESTABLISHED, S.CLOSE_WAIT, S.FIN_WAIT2]),
            KA_ON=1,
            KA_IDLE=idle,
            KA_INTVL=every,
        )
        tcb |= {
            "LAST_T": now_s - silent & 0xFFFF,
            "RTX_ON": rnd.randrange(2),
            "RTX_KIND": rnd.choice([RTO, KEEP]),
        }
        tcb |= {"RTX_T": now + 123_456 & M32, "RETRIES": rnd.choice([0, 2])}
        new, _ = await post(dut, tcb, now=now, now_s=now_s)
        assert (new["RTX_ON"], new["RTX_KIND"]) == (1, KEEP)
        ahead = signed(new["RTX_T"] - now) / 1e6
        probing = tcb["RTX_KIND"] == KEEP and tcb["RETRIES"] and not (tcb["RTX_ON"] and silent == 0)
        if probing and tcb["RTX_ON"]:
            assert new["RTX_T"] == tcb["RTX_T"]
        else:
            want = every if probing else max(0, idle - silent * UNIT)
            assert abs(ahead - min(want, 249.98)) < want * 1e-4 + 0.034, (ahead, want)
        assert new["RETRIES"] == (tcb["RETRIES"] if probing else 0)
        assert new["LAST_T"] == tcb["LAST_T"]
        # Switched off: no timer; a probe that waits for its turn: no second one.
        off, _ = await post(dut, new | {"KA_ON": 0}, now=now, now_s=now_s)
        assert not off["RTX_ON"]
        waits, _ = await post(
            dut,
            tcb | {"KA_PROBE": 1, "RTX_ON": 0, "RTX_KIND": KEEP},
            now=now,
            now_s=now_s,
            more_tx=1,
        )
        assert not waits["RTX_ON"] and waits["RTX_KIND"] == KEEP


@cocotb.test()
async def user_timeout(dut):
    """RFC 5482: no wait for the peer goes beyond it (but by the count that LAST_T is cut off to)."""
    rnd = rng("uto")
    for _ in range(800):
        now, now_s = clock(rnd), rnd.getrandbits(16)
        limit, silent = rnd.choice([1, 5, 40, 200, 1023]), rnd.choice([0, 1, 4, 30, 100])
        tcb = in_flight(
            rnd,
            flow(rnd, UTO=limit, BACKOFF=rnd.choice([0, 3, 10]), RETRIES=rnd.choice([0, 3])),
            100,
        )
        tcb |= {"LAST_T": now_s - silent & 0xFFFF, "W_SENT": 1}
        new, _ = await post(dut, tcb, now=now, now_s=now_s, p_rto_max=240_000_000)
        begins = not tcb["RETRIES"]
        left = max(0, limit + UNIT - (0 if begins else silent * UNIT)) * 1e6
        first = 3_000_000 >> 2 if tcb["BACKOFF"] > tcb["RETRIES"] else 1_000_000  # a lost SYN
        want = min(first << tcb["BACKOFF"], 240_000_000, left)
        ahead = signed(new["RTX_T"] - now)
        assert new["RTX_ON"] and abs(ahead - want) < want * 1e-4 + 34_000, (ahead, want)
        assert new["LAST_T"] == (now_s if begins else tcb["LAST_T"])


@cocotb.test()
async def nothing_else_changes(dut):
    """Fields that are others' business leave as they came."""
    rnd = rng("rest")
    mine = {*REQUESTS, "MTU_FAIL", "RTX_ON", "RTX_KIND", "RTX_T", "LAST_T", "RETRIES", "BACKOFF", "PROBE", "DACK_ON", "IN_TXQ", "IN_NTQ"}  # fmt: skip
    for _ in range(500):
        tcb = unpack(rnd.getrandbits(WIDTH)) | {
            "STATE": rnd.choice(list(FlowState)),
            "W_REO_US": 5,
            "DACK_ON": 0,
            "RTX_ON": 0,
        }
        new, _ = await post(dut, tcb, more_tx=rnd.randrange(2), blocked=rnd.randrange(2))
        expect(new, tcb, {n: new[n] for n in mine}, "others' fields")
        assert new["MTU_FAIL"] == (0 if tcb["W_ACKED"] else tcb["MTU_FAIL"]), (
            "timeouts in a row are counted"
        )


def test_nk_tcp_post():
    run_module("nk_tcp_post", __file__)
