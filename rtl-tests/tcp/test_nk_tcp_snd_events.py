# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_snd event by event: each rule of the RFCs by itself, on a line from SND_UNA. Its life in the loop: test_nk_tcp_snd."""

from __future__ import annotations

import cocotb
from cocotb.triggers import Timer
from common.runner import run_module
from common.stream import rng
from common.tcb import FIELDS, M32, pack, unpack
from tcp.life import REO, flow
from tcp.rx_flow import rubbish
from tcp.tcp_dut import S

MSS, IW = 1000, 10
UNKNOWN = (1 << 25) - 1
NOW, TS = 9_000_000, 5_000
RTT = 20_000
OURS = [n for n, (lsb, _) in FIELDS.items() if FIELDS["ISS"][0] <= lsb <= FIELDS["KA_PROBE"][0]] + [
    "W_ACKED",
    "W_REO",
    "W_REO_US",
]
EVENTS = ("ev_ack", "ev_new", "ev_dup", "ev_syn", "ev_rto", "ev_reo", "ev_tlp")
STATS = ("st_dupack", "st_fast", "st_undo", "st_dsack", "st_renege", "st_ece")


def quiet(dut):
    for name in (*EVENTS, "ack", "ts_valid", "tsecr", "ece", "sack_n", "sack", "p_cc", "p_ccp"):
        getattr(dut, name).value = 0
    for name, value in dict(
        en=1,
        now_us=NOW,
        ts_now=TS,
        p_rto_min=200_000,
        p_rto_max=60_000_000,
        p_flags=31,
        p_initial_cwnd=IW,
    ).items():
        getattr(dut, name).value = value


def at(tcb, x):
    return tcb["SND_UNA"] + x & M32


def flying(rnd, size=20, **more):
    """`size` segments in flight, window full, round trip known."""
    tcb = flow(rnd, MSS=MSS, SACK_OK=1, TS_OK=1, SND_WND=1 << 20, CWND=size * MSS, SSTHRESH=UNKNOWN)
    tcb |= {"SRTT8": 8 * RTT, "RTTVAR4": 4000, "RTT_T": NOW - RTT, "RECOVER": at(tcb, -1)}
    tcb |= {"SND_NXT": at(tcb, size * MSS), "TX_END": at(tcb, 100 * MSS)}
    return tcb | more


def on_board(tcb, *ranges):
    """Ranges in segments."""
    return {
        "SK_V": (1 << len(ranges)) - 1,
        "SK_S": sum(at(tcb, s * MSS) << 32 * i for i, (s, _) in enumerate(ranges)),
        "SK_E": sum(at(tcb, e * MSS) << 32 * i for i, (_, e) in enumerate(ranges)),
    }


async def step(dut, tcb, ack=None, blocks=(), tsecr=None, **more):
    """One pass: an ACK of `ack` segments with SACK blocks in segments, or other events in `more`."""
    quiet(dut)
    if ack is not None:
        dut.ev_ack.value, dut.ev_new.value = 1, int(ack > 0)
        dut.ev_dup.value = int(ack == 0)
        dut.ack.value = at(tcb, int(ack * MSS))
        dut.sack_n.value = len(blocks)
        dut.sack.value = sum(
            (at(tcb, int(s * MSS)) | at(tcb, int(e * MSS)) << 32) << 64 * i
            for i, (s, e) in enumerate(blocks)
        )
    if tsecr is not None:
        dut.ts_valid.value, dut.tsecr.value = 1, tsecr & M32
    for name, value in more.items():
        getattr(dut, name).value = value
    dut.tcb.value = pack(tcb)
    await Timer(1, "ns")
    new = unpack(int(dut.tcb_out.value))
    stats = {n for n in STATS if int(getattr(dut, n).value)}
    return new, stats


def dist(tcb, new, name):
    """A number of the new state in segments from the old SND_UNA."""
    d = (new[name] - tcb["SND_UNA"] + (1 << 31) & M32) - (1 << 31)
    return d / MSS


@cocotb.test()
async def leaves_the_rest_alone(dut):
    rnd = rng("rest")
    for _ in range(1500):
        tcb = rubbish(rnd)
        quiet(dut)
        for name in EVENTS:
            getattr(dut, name).value = int(rnd.random() < 0.3)
        dut.en.value = en = rnd.randrange(2)
        for name in ("ack", "tsecr", "now_us"):
            getattr(dut, name).value = rnd.getrandbits(32)
        dut.sack_n.value, dut.sack.value, dut.p_cc.value = (
            rnd.randrange(5),
            rnd.getrandbits(256),
            rnd.randrange(4),
        )
        dut.tcb.value = pack(tcb)
        await Timer(1, "ns")
        new = unpack(int(dut.tcb_out.value))
        moved = [n for n in FIELDS if new[n] != tcb[n]]
        assert all(n in OURS for n in moved) if en else not moved, moved


@cocotb.test()
async def handshake(dut):
    rnd = rng("handshake")
    for lost, ts, segs in ((0, 1, IW), (1, 1, IW), (2, 1, 1), (1, 0, IW), (2, 0, 1)):
        tcb = rubbish(rnd) | {
            "STATE": S.ESTABLISHED,
            "MSS": MSS,
            "TS_OK": ts,
            "SACK_OK": 1,
            "BACKOFF": lost,
            "SRTT8": 0,
            "RTTVAR4": 0,
        }
        tcb |= {
            "SND_NXT": at(tcb, 1),
            "RTT_ON": int(lost == 0),
            "RTT_SEQ": at(tcb, 1),
            "RTT_T": NOW - 7000 & M32,
        }
        new, _ = await step(dut, tcb, 1 / MSS, tsecr=TS - 9 if ts else None, ev_syn=1)
        for name in ("SND_UNA", "LOST_END", "RXT_NXT", "RXT_MARK"):
            assert new[name] == at(tcb, 1), name
        assert (
            new["CWND"] == segs * MSS
            and new["SSTHRESH"] == UNKNOWN
            and new["SK_V"] == 0
            and new["CC_S"] == 0
        )
        assert not any(
            new[n]
            for n in (
                "IN_REC",
                "IN_LOSS",
                "IN_CWR",
                "TLP_OUT",
                "TLP_DUE",
                "UNDO_OK",
                "REO_SEEN",
                "DUPACKS",
                "RTT_ON",
            )
            if lost == 0
        )
        if lost == 0:
            assert new["SRTT8"] == 8 * 7000
        elif ts:  # RFC 7323: a timestamp knows which of them was answered
            assert abs(new["SRTT8"] / 8 - 9 * 1024) <= 1024 and new["BACKOFF"] == 0
        else:  # RFC 6298, 5.7: 3 s at least
            assert new["SRTT8"] == 0 and new["BACKOFF"] == 2


@cocotb.test()
async def round_trip(dut):
    rnd = rng("rtt")
    tcb = flying(rnd, RTT_ON=1, BACKOFF=3)
    tcb["RTT_SEQ"] = at(tcb, 5 * MSS)
    new, _ = await step(dut, tcb, 4)
    assert new["RTT_ON"] == 1 and new["SRTT8"] == tcb["SRTT8"] and new["BACKOFF"] == 3
    new, _ = await step(dut, tcb | {"RTT_T": NOW - 28_000}, 5)
    assert new["RTT_ON"] == 0 and new["SRTT8"] == 8 * RTT + 8000 and new["BACKOFF"] == 0
    # Karn: no measure without timestamps; with them one that ends the backoff.
    tcb = flying(rnd, BACKOFF=2)
    new, _ = await step(dut, tcb, 1)
    assert new["SRTT8"] == tcb["SRTT8"] and new["BACKOFF"] == 2
    new, _ = await step(dut, tcb, 1, tsecr=TS - 30)
    assert new["SRTT8"] > tcb["SRTT8"] and new["BACKOFF"] == 0
    # A clock of 1 ms is too coarse for 2 ms, and rubbish is no time at all.
    for ticks in (2, 1 << 20, -5):
        new, _ = await step(dut, tcb | {"BACKOFF": 0}, 1, tsecr=TS - ticks)
        assert new["SRTT8"] == tcb["SRTT8"], ticks


@cocotb.test()
async def timeout(dut):
    rnd = rng("rto")
    tcb = flying(rnd, RTT_ON=1, BACKOFF=1, DUPACKS=2, TLP_OUT=1)
    tcb |= on_board(tcb, (2, 4))
    new, _ = await step(dut, tcb, ev_rto=1)
    assert (
        new["IN_LOSS"] and not new["IN_REC"] and new["CWND"] == MSS and new["SSTHRESH"] == 10 * MSS
    )
    assert [dist(tcb, new, n) for n in ("SND_UNA", "RXT_NXT", "LOST_END", "RECOVER")] == [
        0,
        0,
        20,
        20,
    ]
    assert new["SK_V"] == 1 and new["RTT_ON"] == 0 and new["TLP_OUT"] == 0 and new["DUPACKS"] == 0
    assert new["UNDO_OK"] and new["UNDO_CWND"] == 20 * MSS and new["UNDO_TS"] == TS
    # The same segment again: ssthresh stays (RFC 5681, 3.1), and the board is not believed any more.
    second, _ = await step(dut, new | {"BACKOFF": 2, "CWND": 3 * MSS}, ev_rto=1)
    assert (
        second["SSTHRESH"] == 10 * MSS
        and second["CWND"] == MSS
        and second["SK_V"] == 0
        and second["UNDO_CWND"] == 20 * MSS
    )
    # In recovery the window was cut already.
    again, _ = await step(
        dut,
        tcb | {"IN_REC": 1, "SSTHRESH": 8 * MSS, "RECOVER": tcb["SND_NXT"], "CWND": 4 * MSS},
        ev_rto=1,
    )
    assert (
        again["SSTHRESH"] == 8 * MSS
        and again["CWND"] == MSS
        and again["IN_LOSS"]
        and not again["IN_REC"]
    )
    # Slow start, and the end where everything is acknowledged that was out then.
    grown, _ = await step(dut, new | {"UNDO_OK": 0}, 1)
    assert grown["IN_LOSS"] and grown["CWND"] == 2 * MSS
    over, _ = await step(dut, new | {"UNDO_OK": 0, "SK_V": 0}, 20)
    assert not over["IN_LOSS"] and dist(tcb, over, "LOST_END") == 20
    # A SYN: once more, and nothing else.
    for state in (S.SYN_SENT, S.SYN_RCVD):
        tcb = flow(rnd, STATE=state, RTT_ON=1)
        tcb |= {"SND_NXT": at(tcb, 1)}
        new, _ = await step(dut, tcb, ev_rto=1)
        changed = {n for n in FIELDS if new[n] != tcb[n]}
        assert changed == {"LOST_END", "RTT_ON"} and new["LOST_END"] == at(tcb, 1), changed


@cocotb.test()
async def without_sack(dut):
    """Three duplicates, partial ACKs, and no second recovery for the first one's echoes (RFC 6582)."""
    rnd = rng("newreno")
    tcb = flying(rnd, SACK_OK=0, TS_OK=0)
    tcb["SK_E"] = tcb["SND_UNA"]
    now = tcb
    for k in (1, 2, 3):
        now, stats = await step(dut, now, 0)
        assert ("st_fast" in stats) == (k == 3) and "st_dupack" in stats
        assert now["SK_E"] & M32 == at(tcb, k * MSS)
    assert now["IN_REC"] and dist(tcb, now, "LOST_END") == 1 and dist(tcb, now, "RECOVER") == 20
    assert now["SSTHRESH"] == 10 * MSS and now["CWND"] == 20 * MSS - 4 * MSS + MSS
    # A partial ACK: the next segment, at once. Of the four segments one filled the hole, three were held.
    part, _ = await step(dut, now | {"RXT_NXT": at(tcb, MSS)}, 4)
    assert (
        part["IN_REC"]
        and [dist(tcb, part, n) for n in ("RXT_NXT", "LOST_END")] == [4, 5]
        and part["SK_E"] & M32 == at(tcb, 4 * MSS)
    )
    full, _ = await step(dut, part, 16)
    assert not full["IN_REC"] and full["CWND"] == 10 * MSS and full["SND_UNA"] == tcb["SND_NXT"]
    # A flood: no more than was out when recovery began counts as arrived (RFC 5681, 3.2), and new data changes nothing.
    flood, passed = now, []
    for k in range(40):
        flood, _ = await step(dut, flood, 0)
        grown = {"SND_NXT": at(flood, flood["SND_NXT"] - flood["SND_UNA"] + MSS)}
        if flood["CWND"] > (flood["SND_NXT"] - flood["SK_E"] & M32):
            passed.append(k)
            flood |= grown | {"PRR_OUT": flood["PRR_OUT"] + MSS}
    assert flood["SK_E"] & M32 == at(tcb, 19 * MSS) and len(passed) < 20, passed
    # Before recovery two duplicates, and the third that does not begin one, let a segment go each (RFC 3042); none after them.
    quiet_ = tcb | {"RECOVER": at(tcb, 0)}
    for _ in range(9):
        quiet_, _ = await step(dut, quiet_, 0)
    assert not quiet_["IN_REC"] and quiet_["SK_E"] & M32 == at(tcb, 3 * MSS)
    # Duplicates of the retransmissions right behind.
    more = full | {"SND_NXT": at(full, 10 * MSS), "DUPACKS": 2}
    new, stats = await step(dut, more, 0)
    assert not new["IN_REC"] and "st_fast" not in stats
    more, _ = await step(dut, more, 1)
    new, stats = await step(dut, more | {"DUPACKS": 2}, 0)
    assert new["IN_REC"] and "st_fast" in stats


@cocotb.test()
async def loss_by_sack(dut):
    rnd = rng("loss")
    tcb = flying(rnd)
    # Two segments held: maybe only reordered. The timer is asked for, a quarter of the round trip.
    new, _ = await step(dut, tcb, 0, [(1, 3)])
    assert (
        not new["IN_REC"]
        and dist(tcb, new, "LOST_END") == 0
        and (new["W_REO"], new["W_REO_US"]) == (1, RTT // 4)
    )
    late, stats = await step(dut, new | {"W_REO": 0}, ev_reo=1)
    assert (
        late["IN_REC"]
        and "st_fast" in stats
        and dist(tcb, late, "LOST_END") == 1
        and not late["W_REO"]
    )
    # It runs already: its end stays.
    new, _ = await step(dut, tcb | {"RTX_ON": 1, "RTX_KIND": REO, "RTX_T": NOW + 1234}, 0, [(1, 3)])
    assert (new["W_REO"], new["W_REO_US"]) == (1, 1234)
    # More than two segments held, three duplicates, three ranges: lost (RFC 6675, IsLost; RFC 8985, 6.2).
    for more, blocks in (
        ({}, [(1, 3.1)]),
        ({"DUPACKS": 2}, [(1, 1.1)]),
        ({}, [(1, 1.1), (3, 3.1), (5, 5.1)]),
    ):
        new, stats = await step(dut, tcb | more, 0, blocks)
        assert (
            new["IN_REC"] and "st_fast" in stats and dist(tcb, new, "LOST_END") == blocks[-1][0]
        ), blocks
        assert new["SSTHRESH"] == 10 * MSS and dist(tcb, new, "RECOVER") == 20 and new["UNDO_OK"]
    # In recovery every hole is lost at once; what was sent again counts as in flight.
    tcb = new | {"RXT_NXT": at(tcb, MSS), "RXT_MARK": at(tcb, 20 * MSS), "PRR_OUT": MSS}
    new, stats = await step(dut, tcb, 0, [(9, 10)])
    assert (
        dist(tcb, new, "LOST_END") == 9
        and dist(tcb, new, "RXT_NXT") == 1
        and "st_fast" not in stats
    )
    # A path that reorders waits even then.
    new, _ = await step(dut, tcb | {"REO_SEEN": 1}, 0, [(9, 10)])
    assert dist(tcb, new, "LOST_END") == 5 and new["W_REO"]
    # The whole is acknowledged: ssthresh is the window.
    new, _ = await step(dut, tcb, 20)
    assert (
        not new["IN_REC"]
        and new["CWND"] == 10 * MSS
        and new["SK_V"] == 0
        and dist(tcb, new, "LOST_END") == 20
    )


@cocotb.test()
async def copies(dut):
    rnd = rng("copies")
    base = flying(rnd, IN_REC=1, SSTHRESH=10 * MSS, PRR_FS=16 | 7, PRR_OUT=2 * MSS, RTT_T=NOW - RTT)
    base |= on_board(base, (1, 4), (6, 18)) | {
        "RECOVER": at(base, 18 * MSS),
        "RXT_MARK": at(base, 18 * MSS),
    }
    base |= {"LOST_END": at(base, 6 * MSS), "RXT_NXT": at(base, 6 * MSS)}
    # Beyond the mark: sent after the last copy, and there. All copies that are not are lost.
    new, _ = await step(dut, base, 0, [(6, 19)])
    assert dist(base, new, "RXT_NXT") == 0
    new, _ = await step(dut, base, 0, [(6, 18)])
    assert dist(base, new, "RXT_NXT") == 6 and not new["TLP_DUE"]
    slack = base | {"REO_SEEN": 1}
    new, _ = await step(dut, slack, 0, [(6, 19)])
    assert dist(base, new, "RXT_NXT") == 6 and new["W_REO"]
    new, _ = await step(dut, slack | on_board(base, (1, 4), (6, 19)), ev_reo=1)
    assert dist(base, new, "RXT_NXT") == 0
    # A later copy has come, a round trip after the oldest one was sent: that one alone once more.
    new, _ = await step(dut, base, 0, [(4, 5)])
    assert dist(base, new, "RXT_NXT") == 6 and new["TLP_DUE"]
    new, _ = await step(dut, base | {"RTT_T": NOW - RTT // 2}, 0, [(4, 5)])
    assert not new["TLP_DUE"]
    # A partial ACK with nothing held beyond: what was sent before the copy is lost.
    tail = flying(rnd, IN_REC=1, SSTHRESH=10 * MSS, PRR_FS=16 | 7, PRR_OUT=2 * MSS)
    tail |= {
        "RECOVER": at(tail, 20 * MSS),
        "RXT_MARK": at(tail, 20 * MSS),
        "LOST_END": at(tail, MSS),
        "RXT_NXT": at(tail, MSS),
    }
    new, _ = await step(dut, tail, 12)
    assert [dist(tail, new, n) for n in ("RXT_NXT", "LOST_END")] == [12, 20]
    # The copy may be older than the recovery: then only silence tells.
    new, _ = await step(dut, tail | {"PRR_FS": 7}, 12)
    assert dist(tail, new, "LOST_END") == 12 and new["W_REO"] and new["W_REO_US"] == 2 * RTT
    new, _ = await step(dut, new | {"W_REO": 0}, ev_reo=1)
    assert dist(tail, new, "LOST_END") == 20


@cocotb.test()
async def spurious(dut):
    rnd = rng("eifel")
    rec = flying(
        rnd,
        CWND=8 * MSS,
        SSTHRESH=10 * MSS,
        UNDO_OK=1,
        UNDO_CWND=20 * MSS,
        UNDO_SST=UNKNOWN,
        UNDO_TS=TS - 4,
    )
    rec |= on_board(rec, (1, 5)) | {
        "RECOVER": at(rec, 20 * MSS),
        "LOST_END": at(rec, MSS),
        "RXT_NXT": at(rec, MSS),
    }
    for where in ({"IN_REC": 1}, {"IN_LOSS": 1, "SK_V": 0}):
        new, stats = await step(dut, rec | where, 5, tsecr=TS - 5)
        assert (
            "st_undo" in stats and not new["IN_REC"] and not new["IN_LOSS"] and not new["UNDO_OK"]
        )
        assert (
            new["CWND"] == 20 * MSS
            and new["SSTHRESH"] == UNKNOWN
            and dist(rec, new, "LOST_END") == 5
        )
        assert new["REO_SEEN"] == int("IN_REC" in where)
        for tsecr, more in ((TS - 4, {}), (TS - 3, {}), (None, {}), (TS - 5, {"TS_OK": 0})):
            new, stats = await step(dut, rec | where | more, 5, tsecr=tsecr)
            assert (
                "st_undo" not in stats and not new["UNDO_OK"] and (new["IN_REC"] or new["IN_LOSS"])
            )
    # Cut while older copies are on their way: their ACK would prove nothing.
    tcb = flying(rnd, RXT_NXT=0)
    tcb |= {"RXT_NXT": at(tcb, MSS)}
    new, _ = await step(dut, tcb, 0, [(1, 5)])
    assert new["IN_REC"] and not new["UNDO_OK"]


@cocotb.test()
async def reordering(dut):
    rnd = rng("reo")
    tcb = flying(rnd)
    tcb |= on_board(tcb, (1, 2))
    new, _ = await step(dut, tcb, 2)
    assert new["REO_SEEN"], "a hole was filled by what was never sent again"
    new, _ = await step(dut, tcb | {"RXT_NXT": at(tcb, MSS), "LOST_END": at(tcb, MSS)}, 2)
    assert not new["REO_SEEN"]
    tcb |= on_board(tcb, (1, 2), (5, 6))
    new, _ = await step(dut, tcb, 0, [(3, 4)])
    assert new["REO_SEEN"]
    new, _ = await step(dut, tcb, 0, [(7, 8)])
    assert not new["REO_SEEN"]
    # D-SACKs widen the window for reordering, once a recovery, up to a whole round trip; 16 recoveries narrow it.
    tcb = flying(rnd, REO_SEEN=1)
    for mult in (1, 2, 3, 3):
        tcb, stats = await step(dut, tcb | {"REO_LEFT": 4}, 0, [(-2, -1)])
        assert "st_dsack" in stats and tcb["REO_MULT"] == mult and tcb["REO_LEFT"] == 15
    same, _ = await step(dut, tcb | {"REO_MULT": 1}, 0, [(-2, -1)])
    assert same["REO_MULT"] == 1
    for mult, part in ((0, 1), (1, 2), (2, 3), (3, 4)):
        new, _ = await step(dut, tcb | {"REO_MULT": mult}, 0, [(1, 2)])
        assert new["W_REO"] and new["W_REO_US"] == RTT * part // 4
    tcb |= {"IN_REC": 1, "RECOVER": at(tcb, 5 * MSS), "REO_LEFT": 2, "SSTHRESH": 10 * MSS}
    new, _ = await step(dut, tcb, 5)
    assert (new["REO_LEFT"], new["REO_MULT"]) == (1, 3)
    new, _ = await step(dut, tcb | {"REO_LEFT": 1}, 5)
    assert (new["REO_LEFT"], new["REO_MULT"]) == (0, 0)


@cocotb.test()
async def tail_loss_probe(dut):
    """RFC 8985, 7.4: which ACK says that the probe has repaired a loss."""
    rnd = rng("tlp")
    tcb = flying(rnd, TLP_OUT=1, TLP_RETX=1)
    tcb["TLP_END"] = at(tcb, 10 * MSS)
    new, _ = await step(dut, tcb, 10)
    assert new["TLP_OUT"] and new["SSTHRESH"] == UNKNOWN
    hit, _ = await step(dut, tcb, 11)
    assert not hit["TLP_OUT"] and hit["SSTHRESH"] == 10 * MSS == hit["CWND"]
    none, _ = await step(dut, tcb | {"TLP_RETX": 0}, 11)
    assert not none["TLP_OUT"] and none["SSTHRESH"] == UNKNOWN
    for more, blocks in (({}, [(9, 10)]), ({}, [])):
        both, _ = await step(dut, new | more, 0, [(s - 10, e - 10) for s, e in blocks])
        assert not both["TLP_OUT"] and both["SSTHRESH"] == UNKNOWN, blocks
    for more, due in (({}, 1), ({"IN_REC": 1}, 0), ({"SND_NXT": tcb["SND_UNA"]}, 0)):
        asked, _ = await step(dut, tcb | more, ev_tlp=1)
        assert asked["TLP_DUE"] == due


@cocotb.test()
async def congestion_marks(dut):
    rnd = rng("ecn")
    tcb = flying(rnd, ECN_OK=1)
    new, stats = await step(dut, tcb, 1, ece=1)
    assert (
        "st_ece" in stats
        and new["IN_CWR"]
        and new["CWR_SEND"]
        and new["CWND"] == new["SSTHRESH"] == 10 * MSS
    )
    assert dist(tcb, new, "RECOVER") == 20
    new, stats = await step(dut, new, 1, ece=1)
    assert not stats and new["CWND"] == 10 * MSS, "once a window, and no growth in it"
    same, stats = await step(dut, new | {"SND_NXT": at(new, 40 * MSS)}, 18, ece=1)
    assert not stats and same["IN_CWR"], "the segment with CWR is not acknowledged yet"
    _, stats = await step(dut, new | {"SND_NXT": at(new, 40 * MSS)}, 19, ece=1)
    assert "st_ece" in stats
    for more in (
        {"ECN_OK": 0},
        {"IN_REC": 1, "RECOVER": at(tcb, 20 * MSS), "PRR_OUT": 1},
        {"IN_LOSS": 1, "RECOVER": at(tcb, 20 * MSS)},
    ):
        new, stats = await step(dut, tcb | more, 1, ece=1)
        assert "st_ece" not in stats
    # A loss in the same window is repaired, not punished again.
    cwr = tcb | {"IN_CWR": 1, "RECOVER": at(tcb, 20 * MSS), "SSTHRESH": 10 * MSS, "CWND": 10 * MSS}
    new, stats = await step(dut, cwr, 0, [(1, 5)])
    assert (
        "st_fast" in stats and new["IN_REC"] and not new["IN_CWR"] and new["SSTHRESH"] == 10 * MSS
    )


@cocotb.test()
async def full_board(dut):
    """Beyond four ranges the board is blind: an ACK with news counts a segment, and the hole that is next leaves at once."""
    rnd = rng("full board")
    tcb = flying(
        rnd, 30, IN_REC=1, RECOVER=0, CWND=20 * MSS, SSTHRESH=10 * MSS, PRR_FS=7, PRR_DELIV=4 * MSS
    )
    tcb |= on_board(tcb, (1, 2), (3, 4), (5, 6), (20, 22))
    tcb |= {
        "RECOVER": tcb["SND_NXT"],
        "LOST_END": at(tcb, 20 * MSS),
        "RXT_NXT": at(tcb, MSS),
        "RXT_MARK": tcb["SND_NXT"],
    }
    tcb |= {"PRR_OUT": 2 * MSS}
    for block, delivered in (((10, 11), 1), ((20, 25), 3), ((26, 27), 1), ((21, 22), 0)):
        new, _ = await step(dut, tcb, 0, [block], tsecr=TS - 1)
        assert new["PRR_DELIV"] == (4 + delivered) * MSS, f"{block}: {new['PRR_DELIV'] / MSS}"
    # SND_UNA moves to a hole that was not sent again: one segment, though more has left than arrived.
    for front in (True, False):
        late = tcb | {"PRR_OUT": 20 * MSS, "SSTHRESH": 5 * MSS}
        if not front:
            late |= {"RXT_NXT": at(tcb, 5 * MSS)}
        new, _ = await step(dut, late, 2, [(20, 23)], tsecr=TS - 1)
        # In the network: those above the highest range, and copies that are not lost.
        assert new["CWND"] == (7 + 1 if front else 7 + 2) * MSS, f"{front}: {new['CWND'] / MSS}"


@cocotb.test()
async def the_last_ack_of_recovery(dut):
    """What it delivers is the first of the next window's growth."""
    rnd = rng("exit")
    tcb = flying(rnd, 12, IN_REC=1, CWND=6 * MSS, SSTHRESH=6 * MSS, RXT_NXT=0, CC_S=0)
    tcb |= on_board(tcb, (1, 10))
    tcb |= {"RECOVER": at(tcb, 10 * MSS), "LOST_END": at(tcb, MSS), "RXT_NXT": at(tcb, MSS)}
    new, _ = await step(dut, tcb, 12, tsecr=TS - 1)
    assert not new["IN_REC"] and new["CWND"] == 6 * MSS and new["CC_S"] == 3 * MSS


@cocotb.test()
async def growth_and_idle(dut):
    rnd = rng("idle")
    tcb = flying(rnd)
    new, _ = await step(dut, tcb, 2)
    assert new["CWND"] == 22 * MSS and new["W_ACKED"]
    new, _ = await step(dut, tcb | {"CWND": 50 * MSS}, 2)
    assert new["CWND"] == 50 * MSS, "the window is not what holds the sender back"
    # RFC 5681, 4.1.
    idle = flying(rnd, 0, CWND=40 * MSS, RTT_T=NOW - 300_000)
    idle |= {"TX_END": at(idle, 5 * MSS)}
    new, _ = await step(dut, idle)
    assert new["CWND"] == IW * MSS
    for more in (
        {"RTT_T": NOW - 150_000},
        {"TX_END": idle["SND_UNA"]},
        {"SND_NXT": at(idle, MSS)},
        {"CWND": 4 * MSS},
        {"BACKOFF": 2},
    ):
        new, _ = await step(dut, idle | more)
        assert new["CWND"] == (idle | more)["CWND"], more
    # Windows as large as the memory keeps.
    top = flying(rnd, 20_000, MSS=1000, CWND=UNKNOWN - 100, SSTHRESH=UNKNOWN)
    new, _ = await step(dut, top, 2)
    assert UNKNOWN - 100 <= new["CWND"] <= UNKNOWN


@cocotb.test()
async def reneged(dut):
    rnd = rng("renege")
    tcb = flying(rnd)
    tcb |= on_board(tcb, (2, 5), (8, 9))
    for ack in (2, 3.5):
        new, stats = await step(dut, tcb, ack)
        assert "st_renege" in stats and new["SK_V"] == 0
        assert (
            dist(tcb, new, "LOST_END") == 9 and dist(tcb, new, "RXT_NXT") == ack and new["IN_REC"]
        )
    new, stats = await step(dut, tcb, 5)
    assert "st_renege" not in stats and new["SK_V"] == 1


def test_nk_tcp_snd_events():
    run_module("nk_tcp_snd", __file__)
