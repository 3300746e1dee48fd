# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_rcv against a dictionary of bytes, from RFC 9293, 2018, 2883, 5681, 3168 and 8257.

The model knows, for each byte number of an unbounded line, when it last came. What stands out of order, the order of SACK
blocks and the duplicate to report follow from that; there are no intervals in it that could be merged wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cocotb
from common.runner import run_module
from common.stream import rng
from common.tcb import M32, pack, unpack
from netkernel.abi import CongestionControl as CC
from netkernel.abi import FlowState as S
from netkernel.abi import Status
from tcp.rx_flow import ECN_CE, rubbish, somewhere
from tcp.tcp_dut import ask_tcb, expect

OUT = (
    "place", "place_seq", "place_skip", "place_len", "refuse",
    "st_ooo", "st_duplicate", "st_no_room", "st_dsack", "st_ce",
)  # fmt: skip
TAKES = (S.ESTABLISHED, S.FIN_WAIT1, S.FIN_WAIT2)
INTERVALS = 4
DELAY = 20_000


def runs(held) -> list[tuple[int, int]]:
    """Maximal runs [start, end) of a set of integers, ascending."""
    out: list[list[int]] = []
    for b in sorted(held):
        if out and out[-1][1] == b:
            out[-1][1] = b + 1
        else:
            out.append([b, b + 1])
    return [(s, e) for s, e in out]


@dataclass
class Receiver:
    """Bytes by number, 0 the first one that has not come when the test begins."""

    edge: int
    state: S
    sack: bool
    ecn: bool
    dctcp: bool
    quick: int
    came: dict[int, int] = field(default_factory=dict)
    clock: int = 0
    nxt: int = 0
    fin_at: int | None = None
    fin_done: bool = False
    unacked: int = 0
    ece: bool = False

    def ahead(self) -> list[tuple[int, int]]:
        """What is held beyond nxt, the run that a segment has touched last first (RFC 2018, 4)."""
        stands = runs(b for b in self.came if b >= self.nxt)
        return sorted(stands, key=lambda r: -max(self.came[b] for b in range(*r)))

    def segment(self, pos: int, length: int, fin: bool, ce: bool, cwr: bool) -> dict[str, Any]:
        """Take a segment that is acceptable; tell what it must lead to."""
        self.clock += 1
        limit = self.edge if self.fin_at is None else min(self.edge, self.fin_at)
        whole = range(pos, pos + length)
        wanted = {b for b in whole if self.nxt <= b < limit}
        had = {b for b in whole if b < self.nxt or b in self.came}
        fresh = wanted - had
        told: dict[str, Any] = {
            "wanted": wanted,
            "fresh": fresh,
            "dsack": None,
            "why": set(),
            "fin_lost": False,
        }
        gap_before = any(b >= self.nxt for b in self.came)
        after = runs({b for b in self.came if b >= self.nxt} | wanted)
        in_order = self.nxt in wanted
        # A FIN that waits takes the last interval's place.
        most = INTERVALS - (self.fin_at is not None)
        told["no_room"] = not in_order and bool(fresh) and len(after) > most
        told["ahead"] = bool(fresh) and not in_order and not told["no_room"]
        # RFC 2883, 4: the lowest contiguous run; what is acknowledged already ends at nxt.
        if had:
            told["why"].add("duplicate")
            told["dsack"] = next(iter(runs(had)))
        if not told["no_room"]:
            self.came |= dict.fromkeys(wanted, self.clock)
        start = self.nxt
        while self.nxt in self.came:
            self.nxt += 1
        if fin and self.fin_at is None and pos + length <= self.edge:
            told["fin_lost"] = pos + length != self.nxt and len(self.ahead()) == INTERVALS
            if not told["fin_lost"]:
                self.fin_at = pos + length
        moved = self.nxt > start
        if moved:
            self.unacked = min(3, self.unacked + 1)
        # When is an ACK due at once? RFC 5681, 4.2, and the FIN (RFC 1122, 4.2.3.2 delays data only).
        if self.fin_at == self.nxt:
            self.fin_done = True
            told["why"].add("fin")
        if not moved:
            told["why"].add("nothing in order")
        if gap_before or any(b >= self.nxt for b in self.came):
            told["why"].add("gap")
        if moved and self.unacked > 1:
            told["why"].add("second")
        if length and self.ecn:
            was, self.ece = self.ece, ce if self.dctcp else ce or (self.ece and not cwr)
            if self.ece != was and (
                self.dctcp or ce
            ):  # RFC 8257, 3.2; the first mark of RFC 3168 likewise
                told["why"].add("mark")
        if self.quick:
            told["why"].add("quick")
        if told["why"] & {"duplicate"} or (wanted and not in_order):
            self.quick = 15
        elif moved and not gap_before and self.quick:
            self.quick -= 1
        return told


class TB:
    def __init__(self, dut, name: str):
        self.dut = dut
        self.rnd = rng(name)
        dut.en.value = 1
        dut.p_delayed_ack.value = DELAY

    def start(self, edge: int, **more: int) -> dict[str, int]:
        """A flow that waits for byte 0 of the line, at some place of the circle."""
        self.base = somewhere(self.rnd)
        tcb = rubbish(self.rnd) | {
            "STATE": self.rnd.choice(TAKES), "CLOSED": 0, "RCV_NXT": self.base, "RCV_EDGE": self.at(edge), "OOO_V": 0, "FIN_SEEN": 0,
            "FIN_RCVD": 0, "ACK_CNT": 0, "ACK_NOW": 0, "DACK_ON": 0, "ECE_SEND": 0, "DSACK_V": 0, "QUICK": self.rnd.choice([0, 0, 2, 15]),
        }  # fmt: skip
        return tcb | more

    def at(self, pos: int) -> int:
        return self.base + pos & M32

    async def give(self, tcb, pos, length, fin=0, ecn=0, cwr=0, cc=CC.RENO, now=1000):
        return await ask_tcb(
            self.dut,
            tcb,
            OUT,
            seq=self.at(pos),
            len=length,
            f_fin=fin,
            f_cwr=cwr,
            ecn=ecn,
            p_cc=cc,
            now_us=now,
        )

    def intervals(self, tcb: dict[str, int]) -> list[tuple[int, int]]:
        """Intervals of the state on the line, by age."""
        n = tcb["OOO_V"].bit_count()
        assert tcb["OOO_V"] == (1 << n) - 1, "valid ones come first"
        place = self.at(0)
        ivs = [
            tuple((tcb[f] >> 32 * i) - place & M32 for f in ("OOO_S", "OOO_E")) for i in range(n)
        ]
        assert ivs == sorted(ivs), "out of order"
        ages = [tcb["OOO_ORD"] >> 2 * i & 3 for i in range(n)]
        assert sorted(ages) == list(range(n)), f"ages {ages} of {n} intervals"
        return [ivs[i] for i in ages]


@cocotb.test()
async def any_order_any_overlap(dut):
    tb = TB(dut, "rcv")
    rnd = tb.rnd
    count: dict[str, int] = {}

    def saw(name: str, times: int = 1) -> None:
        count[name] = count.get(name, 0) + times

    for flow in range(400):
        edge = rnd.choice([65536, 65536, 5000, 700])
        total = rnd.randrange(200, 12000)
        tcb = tb.start(edge)
        cc = rnd.choice([CC.RENO, CC.DCTCP])
        m = Receiver(
            edge,
            S(tcb["STATE"]),
            bool(tcb["SACK_OK"]),
            bool(tcb["ECN_OK"]),
            cc == CC.DCTCP,
            tcb["QUICK"],
        )
        tame = rnd.random() < 0.3
        for step in range(80):
            near = [m.nxt] * (8 if tame else 1) + [
                m.nxt + rnd.randrange(9000),
                m.nxt + rnd.randrange(-900, 6000),
                m.nxt + rnd.randrange(-100, 100),
            ]
            stands = [b for r in m.ahead() for b in r] or [m.nxt]
            near += [rnd.choice(stands), rnd.choice(stands) - rnd.choice([1, 100])]
            pos = max(0, min(total, rnd.choice(near)))
            length = min(rnd.choice([0, 1, 7, 100, 536, 1460]), total - pos)
            fin = int(pos + length == total and rnd.random() < 0.5)
            # nk_tcp_rx_chk passes only acceptable segments; that its window may be shut is its own test.
            last = pos + length + fin - 1
            if length + fin == 0 or not (
                m.nxt <= pos < edge or m.nxt <= last < edge or (pos, length) == (m.nxt, 0)
            ):
                continue
            ce, cwr, now = rnd.random() < 0.2, rnd.random() < 0.2, rnd.getrandbits(32)
            old_nxt, old_quick, old_ece = m.nxt, m.quick, m.ece
            told = m.segment(pos, length, bool(fin), ce, cwr)
            new, out = await tb.give(
                tcb, pos, length, fin, ECN_CE if ce else rnd.randrange(3), int(cwr), cc, now
            )
            what = f"flow {flow} step {step}: {pos}+{length}{' FIN' if fin else ''} before {old_nxt}, {told['why']}"
            # What goes into the ring: every new byte, none outside the window, none that is announced.
            placed = set()
            if out["place"]:
                first = out["place_seq"] - tb.base & M32
                placed = set(range(first, first + out["place_len"]))
                assert (
                    first - out["place_skip"] == pos
                    and out["place_skip"] + out["place_len"] <= length
                ), what
                assert placed, what
            if told["no_room"]:
                assert not placed, what
            else:
                assert told["fresh"] <= placed <= told["wanted"], what
                assert bool(placed) == bool(told["fresh"]), what
            # The state: just this changes.
            change: dict[str, Any] = {
                "OOO_S": new["OOO_S"],
                "OOO_E": new["OOO_E"],
                "OOO_V": new["OOO_V"],
                "OOO_ORD": new["OOO_ORD"],
            }
            if m.fin_done:
                assert new["OOO_V"] == 0, what
                change |= {"FIN_RCVD": 1, "N_FIN": 1}
                change["STATE"] = {
                    S.ESTABLISHED: S.CLOSE_WAIT,
                    S.FIN_WAIT1: S.CLOSING,
                    S.FIN_WAIT2: S.TIME_WAIT,
                }[m.state]
                if m.state == S.FIN_WAIT2:
                    change["W_TW"] = 1
            else:
                assert tb.intervals(new) == m.ahead(), what
            change["RCV_NXT"] = tb.at(m.nxt + m.fin_done)
            if m.fin_at is not None:
                change |= {"FIN_SEEN": 1, "FIN_SEQ": tb.at(m.fin_at)}
            if told["dsack"] and m.sack:
                s, e = told["dsack"]
                change |= {"DSACK_V": 1, "DSACK_S": tb.at(s), "DSACK_LEN": e - s}
            change |= {
                "ACK_CNT": m.unacked,
                "QUICK": m.quick,
                "ECE_SEND": int(m.ece) if m.ecn else tcb["ECE_SEND"],
            }
            if told["why"]:
                change["ACK_NOW"] = 1
            elif not tcb["DACK_ON"]:
                change |= {"DACK_ON": 1, "DACK_T": now + DELAY}
            expect(new, tcb, change, what)
            want = {
                "st_ooo": told["ahead"], "st_no_room": told["no_room"], "st_duplicate": bool(length) and told["dsack"] is not None
                and not told["fresh"], "st_dsack": bool(told["dsack"] and m.sack), "st_ce": bool(ce and length and m.ecn), "refuse": 0,
            }  # fmt: skip
            if length and not told["fresh"] and told["dsack"] is None:
                want["st_duplicate"] = False  # all of it lies behind the window or a FIN
            assert {n: out[n] for n in want} == want, (what, out)
            for name in told["why"]:
                saw(name)
            saw("ahead", told["ahead"])
            saw("no room", told["no_room"])
            saw("delayed", not told["why"])
            saw("cut", bool(placed) and pos + length > edge)
            saw("dsack held", bool(told["dsack"]) and told["dsack"][0] >= old_nxt)
            saw("four", len(m.ahead()) == INTERVALS)
            saw("early fin", m.fin_at is not None and not m.fin_done)
            saw("fin lost", told["fin_lost"])
            saw("no room beside a fin", told["no_room"] and len(m.ahead()) < INTERVALS)
            saw("quick used", m.quick < old_quick)
            saw("ece off", old_ece and not m.ece)
            tcb = new
            if m.fin_done:
                break
            if new["ACK_NOW"] and rnd.random() < 0.9:  # the ACK leaves, as nk_tcp_tx does it
                tcb = new | {"ACK_NOW": 0, "ACK_CNT": 0, "DACK_ON": 0, "DSACK_V": 0}
                m.unacked = 0
    assert len(count) == 18 and min(count.values()) > 3, f"too tame: {count}"


@cocotb.test()
async def peer_contradicts_its_own_fin(dut):
    """FINs at several places and data behind them: the first FIN counts, and nothing is placed where it does not belong."""
    tb = TB(dut, "hostile")
    rnd = tb.rnd
    ended = behind = 0
    for _ in range(400):
        edge = rnd.choice([65536, 3000])
        tcb, nxt, fin_at = tb.start(edge), 0, None
        for _ in range(40):
            pos = max(-1400, nxt + rnd.choice([0, 0, rnd.randrange(-900, 5000)]))
            length, fin = rnd.choice([0, 1, 100, 1460]), rnd.randrange(4) == 0
            if not (nxt <= pos < edge or nxt <= pos + length + fin - 1 < edge):
                continue
            new, out = await tb.give(tcb, pos, length, int(fin))
            if out["place"]:
                first = out["place_seq"] - tb.base & M32
                assert (
                    nxt
                    <= first
                    < first + out["place_len"]
                    <= (edge if fin_at is None else min(fin_at, edge))
                )
                assert (
                    first - out["place_skip"] == pos
                    and out["place_skip"] + out["place_len"] <= length
                )
            behind += fin_at is not None and pos + length > fin_at
            if (
                fin
                and fin_at is None
                and pos + length <= edge
                and (new["OOO_V"] < 15 or new["FIN_RCVD"])
            ):
                fin_at = pos + length
            assert not (new["FIN_SEEN"] and new["OOO_V"] == 15)
            moved = new["RCV_NXT"] - tcb["RCV_NXT"] & M32
            assert moved <= edge + 1 and nxt + moved <= edge + 1
            nxt += moved
            ivs = sorted(tb.intervals(new))
            assert all(nxt <= s < e <= edge for s, e in ivs)
            assert all(a[1] < b[0] for a, b in zip(ivs, ivs[1:], strict=False))
            tcb = new | {"ACK_NOW": 0, "ACK_CNT": 0, "DSACK_V": 0}
            if new["FIN_RCVD"]:
                ended += 1
                assert nxt == fin_at + 1
                break
    assert ended > 100 and behind > 100, (ended, behind)


@cocotb.test()
async def duplicates_of_rfc_2883(dut):
    """Its examples: a whole duplicate, a partial one, one inside a block held, two at once."""
    tb = TB(dut, "examples")
    for held, seg, report in (
        (
            [],
            (-500, 500),
            (-500, 0),
        ),  # 4.1 with the window behind it: acceptable only if something is new
        ([], (-500, 1000), (-500, 0)),
        ([(1000, 2000)], (1000, 500), (1000, 1500)),
        ([(1000, 2000)], (500, 1000), (1000, 1500)),
        ([(500, 1000), (1500, 2000)], (500, 1500), (500, 1000)),  # only the first of two
        ([(500, 1000), (1500, 2000)], (-100, 1900), (-100, 0)),
        ([(500, 1000)], (1000, 500), None),
    ):
        for sack in (0, 1):
            tcb = tb.start(65536, SACK_OK=sack)
            for s, e in held:
                tcb, _ = await tb.give(tcb, s, e - s)
            tcb |= {"DSACK_V": 0}
            new, out = await tb.give(tcb, *seg)
            assert new["DSACK_V"] == out["st_dsack"] == int(sack and report is not None), (
                held,
                seg,
            )
            if sack and report:
                assert (new["DSACK_S"], new["DSACK_LEN"]) == (
                    tb.at(report[0]),
                    report[1] - report[0],
                ), (held, seg)
            assert new["ACK_NOW"]


@cocotb.test()
async def ecn_echo(dut):
    """RFC 3168, 6.1.3: ECE until CWR. RFC 8257, 3.2, figure 1: ECE follows the marks, every change reported at once."""
    tb = TB(dut, "ecn")
    for cc in (CC.RENO, CC.CUBIC, CC.DCTCP):
        for _ in range(60):
            tcb = tb.start(1 << 20, ECN_OK=1, QUICK=0)
            pos, ece = 0, False
            for _ in range(30):
                ce, cwr, length = (
                    tb.rnd.random() < 0.3,
                    tb.rnd.random() < 0.3,
                    tb.rnd.choice([0, 100]),
                )
                tcb |= {"ACK_NOW": 0, "ACK_CNT": 0, "DACK_ON": 0}
                new, out = await tb.give(
                    tcb, pos, length, ecn=ECN_CE if ce else tb.rnd.randrange(3), cwr=int(cwr), cc=cc
                )
                was = ece
                if length and cc == CC.DCTCP:
                    ece = ce
                if length and cc != CC.DCTCP and (ce or cwr):
                    ece = ce
                assert new["ECE_SEND"] == ece and out["st_ce"] == (ce and length > 0)
                assert new["ACK_NOW"] == (was != ece if cc == CC.DCTCP else ece and not was)
                pos, tcb = pos + length, new


@cocotb.test()
async def delayed_and_quick(dut):
    """Every second segment; the timer is not pushed back; quick ACKs count down; PSH is no matter."""
    tb = TB(dut, "acks")
    tcb = tb.start(65536, QUICK=0)
    new, _ = await tb.give(tcb, 0, 100, now=777)
    assert (new["ACK_NOW"], new["DACK_ON"], new["DACK_T"], new["ACK_CNT"]) == (0, 1, 777 + DELAY, 1)
    late, _ = await tb.give(
        new | {"ACK_CNT": 0}, 100, 100, now=900
    )  # the ACK left without the timer
    assert (late["ACK_NOW"], late["DACK_T"]) == (0, 777 + DELAY)
    new, _ = await tb.give(new, 100, 100, now=900)
    assert new["ACK_NOW"] == 1 and new["ACK_CNT"] == 2
    for n in range(2, 8):
        new, _ = await tb.give(new, 100 * n, 100)
    assert new["ACK_CNT"] == 3, "must not come round to 0"
    tcb = tb.start(65536, QUICK=2)
    for n, at_once in enumerate((1, 1, 0)):
        tcb, _ = await tb.give(tcb, 10 * n, 10)
        assert tcb["ACK_NOW"] == at_once
        tcb |= {"ACK_NOW": 0, "ACK_CNT": 0}


@cocotb.test()
async def nobody_reads(dut):
    """RFC 9293, 3.6.1: new data after the tenant's CLOSE ends the connection; a FIN, an ACK and old bytes do not."""
    tb = TB(dut, "closed")
    for state in TAKES:
        for pos, length, fin, ends in (
            (0, 10, 0, 1),
            (-5, 10, 1, 1),
            (700, 10, 0, 1),
            (0, 0, 1, 0),
            (0, 0, 0, 0),
            (-10, 10, 1, 0),
        ):
            tcb = tb.start(65536, STATE=state, CLOSED=1)
            new, out = await tb.give(tcb, pos, length, fin)
            assert out["refuse"] == ends and not out["place"], (state, pos, length, fin)
            if ends:
                expect(
                    new,
                    tcb,
                    {"STATE": S.DRAIN, "N_STATUS": Status.ABORTED, "DACK_ON": 0},
                    "refused",
                )
                assert not any(x for n, x in out.items() if n.startswith("st_")), out
            else:
                assert new["STATE"] != S.DRAIN and new["FIN_RCVD"] == fin


@cocotb.test()
async def states_that_take_nothing(dut):
    """RFC 9293, 3.10.7.4, seventh: after the peer's FIN text is ignored, and acknowledged."""
    tb = TB(dut, "states")
    for state in set(S) - set(TAKES):
        tcb = tb.start(65536, STATE=state, ECN_OK=0)
        new, out = await tb.give(tcb, 0, 100, 1)
        expect(new, tcb, {"ACK_NOW": 1}, state.name)
        assert not any(
            x for n, x in out.items() if n not in ("place_seq", "place_len", "place_skip")
        ), (state, out)
        new, out = await tb.give(tcb, 0, 0)
        expect(new, tcb, {}, f"bare ACK in {state.name}")


@cocotb.test()
async def disabled(dut):
    tb = TB(dut, "disabled")
    dut.en.value = 0
    for _ in range(200):
        tcb = rubbish(tb.rnd)
        tb.base = tcb["RCV_NXT"]
        new, out = await tb.give(tcb, tb.rnd.randrange(-50, 50), tb.rnd.randrange(100), 1, ECN_CE)
        assert new == unpack(pack(tcb))
        assert not any(
            x for n, x in out.items() if n not in ("place_seq", "place_len", "place_skip")
        ), out


def test_nk_tcp_rcv():
    run_module("nk_tcp_rcv", __file__)
