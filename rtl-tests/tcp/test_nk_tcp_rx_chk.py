# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_rx_chk against RFC 9293, 3.10.7, with RFC 7323, 5961, 6191, 2883 and 3168, written on an unbounded line.

The model counts from ISS and IRS without wraps, enumerates the bytes of a segment, and holds times in microseconds and
timestamps as plain integers, so it shares no arithmetic with the RTL. Fields that a test does not speak of are random.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cocotb
from common.runner import run_module
from common.stream import rng
from common.tcb import M32, pack, unpack
from netkernel.abi import FlowState as S
from netkernel.abi import Status
from tcp.rx_flow import CWR, ECE, PF_ECN, PF_SACK, PF_TS, PF_WS, rubbish, somewhere
from tcp.tcp_dut import ACK, FIN, PSH, RST, SYN, SYNCED, ask_tcb, expect, on_circle

OUT = (
    "data_ok", "ev_ack", "ev_new", "ev_dup", "ev_syn", "reply_rst", "reopen", "challenge", "stranger",
    "st_unacceptable", "st_bad_ack", "st_rst", "st_paws", "st_challenge", "st_limited", "st_dsack",
)  # fmt: skip
DAY = 86_400_000_000
AGE_UNIT = 1 << 34  # us
RTO, PERSIST, TIMEWAIT, FINWAIT2, NEIGH, TLP, REO, KEEP, CORK = range(9)


@dataclass
class Flow:
    """What the model knows of a connection. Send numbers from ISS, receive numbers from IRS."""

    state: S
    passive: int
    closed: int
    una: int
    nxt: int
    end: int
    fin_req: int
    rcv: int
    edge: int
    wl1: int
    snd_ws: int
    snd_wnd: int
    ts_ok: int
    sack_ok: int
    ecn_ok: int
    recent: int
    recent_at: int  # us
    unacked: int  # in-order segments not yet acknowledged
    heard: int  # in 2^20 us
    persist: int
    waits: int = 0  # a retransmission timer of some kind runs
    max_wnd: int = 65536  # the largest window that the peer has offered

    @property
    def over(self) -> S:
        embryo = self.state == S.SYN_RCVD and self.passive
        return S.DRAIN if self.closed or embryo else S.DEAD


@dataclass
class Seg:
    flags: int
    seq: int
    ack: int
    length: int
    wnd: int  # as on the wire
    ts: int | None

    def bytes(self) -> range:
        return range(self.seq, self.seq + self.length + bool(self.flags & FIN))


@dataclass
class Verdict:
    name: str
    change: dict[str, int] = field(default_factory=dict)
    out: dict[str, int] = field(default_factory=dict)


def log2(window: int) -> int:
    return max(window.bit_length() - 1, 0)


def judge(f: Flow, s: Seg, now: int, challenge_ok: int, p_flags: int) -> Verdict:
    """A segment in SYN_RCVD or later, by the order of RFC 9293, 3.10.7.4."""
    v = Verdict("")
    window = range(f.rcv, max(f.rcv, f.edge))
    valid_recent = now - f.recent_at < 24 * DAY

    def done(name: str, **out: int) -> Verdict:
        v.name = name
        v.out |= out
        return v

    def challenge() -> None:
        v.out |= {"challenge": 1, "st_challenge": challenge_ok, "st_limited": 1 - challenge_ok}
        if challenge_ok:
            v.change["ACK_NOW"] = 1

    def refuse() -> None:
        if s.bytes() or s.seq == f.rcv - 1:
            v.change["ACK_NOW"] = 1
        else:  # a bare ACK that is no probe
            challenge()
        had = [b for b in range(s.seq, s.seq + s.length) if b < f.rcv]
        if f.sack_ok and had and f.rcv - s.seq <= 1 << 24:
            v.out["st_dsack"] = 1
            v.change |= {
                "DSACK_V": 1,
                "DSACK_S": ("irs", s.seq),
                "DSACK_LEN": len(had),
                "QUICK": 15,
            }

    if s.flags & RST:  # RFC 5961, 3.2; RFC 7323, 5.3: no PAWS for RST
        if s.seq == f.rcv:
            v.change |= {"STATE": f.over, "N_RST": int(f.state != S.TIME_WAIT), "DACK_ON": 0}
            refused = f.state == S.SYN_RCVD and not f.passive
            v.change["N_STATUS"] = Status.REFUSED if refused else Status.PEER_RESET
            return done("reset", st_rst=1)
        if s.seq in window:
            challenge()
            return done("rst challenged")
        return done("rst outside", st_unacceptable=1)

    if s.flags & SYN:
        if f.state == S.TIME_WAIT and not s.flags & ACK:  # RFC 6191, 2
            higher = s.seq > f.rcv
            if s.ts is None or not p_flags & PF_TS:
                honour = higher
            elif not f.ts_ok or not valid_recent:
                honour = True
            else:
                honour = s.ts > f.recent or (s.ts == f.recent and higher)
            if honour:
                v.change |= {"STATE": f.over, "DACK_ON": 0}
                return done("reopened", reopen=1)
        if f.state == S.SYN_RCVD and s.seq == 0:
            if s.flags & ACK:
                v.change["ACK_NOW"] = 1
                stamped = not f.ts_ok or (
                    s.ts is not None and (s.ts >= f.recent or not valid_recent)
                )
                if f.passive or not f.una < s.ack <= f.nxt or not stamped:
                    return done("syn-ack of nobody", st_unacceptable=1)
                # 3.5, figure 8, line 6: both have sent a SYN, and now each has the other's ACK.
                v.change |= {"LAST_T": now >> 20, "RETRIES": 0, "KA_PROBE": 0, "N_CONN": 1}
                v.change["STATE"] = S.FIN_WAIT1 if f.fin_req else S.ESTABLISHED
                v.change |= {"SND_WND": s.wnd, "SND_WL1": ("irs", 0)}  # RFC 7323, 2.2: not scaled
                v.change["MAX_WND_L2"] = max(log2(f.max_wnd), log2(s.wnd))
                if f.ts_ok:
                    v.change |= {"TS_RECENT": ("ts", s.ts), "TS_AGE": now // AGE_UNIT & 511}
                return done("crossing syn-ack", ev_ack=1, ev_new=1, ev_syn=1)
            v.change |= {"LOST_END": ("iss", f.nxt), "RXT_NXT": ("iss", f.una), "RTT_ON": 0}
            v.change["ECN_OK"] = int(f.ecn_ok and s.flags & (ECE | CWR) == ECE | CWR)
            return done("syn again")
        challenge()
        return done("syn challenged")

    if f.ts_ok and s.ts is None:  # RFC 7323, 3.2
        return done("no timestamp", st_paws=1)
    if f.ts_ok and s.ts < f.recent and valid_recent:  # RFC 7323, 5.3, R1
        if s.bytes() or not s.flags & ACK or s.ack > f.una:
            refuse()
            return done("paws", st_paws=1)
        return done("overtaken ack", st_paws=1)

    # RFC 9293, 3.4, table 6, byte by byte; a bare FIN in its turn needs no room.
    occupied = s.bytes()
    if not occupied:
        good = s.seq in window or (not window and s.seq == f.rcv)
    else:
        good = occupied[0] in window or occupied[-1] in window
        good = good or (s.flags & FIN != 0 and list(occupied) == [f.rcv])
    # 3.10.7.4: a shut window takes valid ACKs: with a probe in its place, or behind one.
    probe = not window and s.flags & ACK and not good and f.state != S.SYN_RCVD
    probe = probe and (s.seq == f.rcv or (s.seq == f.rcv + 1 and not occupied))
    if not good and not probe:
        refuse()
        if f.state == S.TIME_WAIT and s.flags & FIN and occupied[-1] == f.rcv - 1:
            v.change["W_TW"] = 1
            return done("fin again in TIME_WAIT", st_unacceptable=1)
        return done("unacceptable", st_unacceptable=1)
    if not s.flags & ACK:
        return done("no ack")

    alive: dict[str, Any] = {"KA_PROBE": 0}
    # RFC 9293, 3.8.3: while a retransmission waits for its ACK, only an ACK of something new ends the count; 3.8.6.1: who
    # answers probes of a shut window is there.
    if not f.waits or f.una == f.nxt or f.una < s.ack <= f.nxt:
        alive |= {"LAST_T": now >> 20, "RETRIES": 0}
    if s.length and (now >> 20) - f.heard > 1:
        alive["QUICK"] = 15
    # RFC 7323, 5.3, R3: SEG.SEQ =< Last.ACK.sent, which is RCV.NXT while no segment waits for its ACK.
    if f.ts_ok and good and not f.unacked and s.seq <= f.rcv:
        alive |= {"TS_RECENT": ("ts", s.ts), "TS_AGE": now // AGE_UNIT & 511}
    wnd = min(s.wnd << f.snd_ws, 1 << 24)

    if f.state == S.SYN_RCVD:
        if not f.una < s.ack <= f.nxt:
            return done("bad ack in SYN_RCVD", st_bad_ack=1, reply_rst=1)
        v.change = alive | {"SND_WND": wnd, "SND_WL1": ("irs", s.seq), "N_CONN": 1}
        v.change["MAX_WND_L2"] = max(log2(f.max_wnd), log2(wnd))
        v.change["STATE"] = S.FIN_WAIT1 if f.fin_req else S.ESTABLISHED
        return done("established", data_ok=1, ev_ack=1, ev_new=1, ev_syn=1)

    # RFC 5961, 5.2; MAX.SND.WND is known but for its lower bits.
    largest = (2 << log2(f.max_wnd)) - 1
    assert largest >= f.max_wnd
    if s.ack > f.nxt or s.ack < f.una - largest:
        challenge()
        return done("ack of nothing sent" if s.ack > f.nxt else "ack too old", st_bad_ack=1)
    v.change = alive
    v.out["data_ok"] = int(good)
    v.out["ev_ack"] = int(s.ack >= f.una)
    v.out["ev_new"] = int(s.ack > f.una)
    if probe and occupied:
        v.out["st_unacceptable"] = 1
        v.change["ACK_NOW"] = 1
    # RFC 5681, 2: data outstanding, no data, no SYN or FIN, the greatest ACK yet, the same window.
    if s.ack == f.una < f.nxt and not occupied and wnd == f.snd_wnd != 0:
        v.out["ev_dup"] = 1
    if s.ack >= f.una and s.seq >= f.wl1:
        v.change |= {"SND_WND": wnd, "SND_WL1": ("irs", f.rcv if probe else s.seq)}
        v.change["MAX_WND_L2"] = max(log2(f.max_wnd), log2(wnd))
        if wnd:
            v.change["PROBE"] = 0
            if f.persist:
                v.change["BACKOFF"] = 0
    name = "new ack" if s.ack > f.una else "same ack" if s.ack == f.una else "old ack"
    if f.fin_req and s.ack > f.una and f.end in range(f.una, s.ack):  # the number of our FIN
        if f.state == S.FIN_WAIT1:
            v.change["STATE"] = S.FIN_WAIT2
        elif f.state == S.CLOSING:
            v.change |= {"STATE": S.TIME_WAIT, "W_TW": 1}
        elif f.state == S.LAST_ACK:
            v.change |= {"STATE": f.over, "DACK_ON": 0}
            v.out["data_ok"] = 0
        name = f"fin acked in {f.state.name}"
    return done("shut window: " + name if probe else name)


class TB:
    def __init__(self, dut, name: str):
        self.dut = dut
        self.rnd = rng(name)
        self.iss = self.irs = self.ts0 = 0
        self.seen: dict[str, int] = {}
        self.owner = dict(vf=0, rip=0, rport=0, lport=0)
        for n in ("en", "challenge_ok"):
            getattr(dut, n).value = 1
        for n in (
            "is_open",
            "is_cookie",
            "isn",
            "listener",
            "prof",
            "mss",
            "wscale",
            "wscale_valid",
            "sack_ok",
            "ts_valid",
            "tsval",
        ):
            getattr(dut, n).value = 0
        dut.mtu.value = 1500
        dut.p_flags.value = 0xF

    def tcb(self, f: Flow) -> dict[str, int]:
        """The flow on the circle, all else random."""
        r = self.rnd
        self.iss, self.irs, self.ts0 = somewhere(r), somewhere(r), somewhere(r)
        t = rubbish(r)
        t |= on_circle(self.iss, ISS=0, SND_UNA=f.una, SND_NXT=f.nxt, TX_END=f.end)
        t |= on_circle(self.irs, IRS=0, RCV_NXT=f.rcv, RCV_EDGE=f.edge, SND_WL1=f.wl1)
        t |= {
            "STATE": f.state, "PASSIVE": f.passive, "CLOSED": f.closed, "FIN_REQ": f.fin_req, "SND_WS": f.snd_ws,
            "SND_WND": f.snd_wnd, "TS_OK": f.ts_ok, "SACK_OK": f.sack_ok, "ECN_OK": f.ecn_ok, "ACK_CNT": f.unacked,
            "TS_RECENT": self.ts0 + f.recent & M32, "TS_AGE": f.recent_at // AGE_UNIT & 511, "LAST_T": f.heard & 0xFFFF,
            "MAX_WND_L2": log2(f.max_wnd),
        }  # fmt: skip
        if f.persist:
            t |= {"RTX_ON": 1, "RTX_KIND": PERSIST}
        elif f.waits:
            t["RTX_KIND"] = r.choice([RTO, TLP, REO])
        else:
            t["RTX_KIND"] = r.choice([PERSIST, TIMEWAIT, FINWAIT2, NEIGH, KEEP, CORK])
            t["RTX_ON"] &= t["RTX_KIND"] != PERSIST
        self.owner = {"vf": t["VF"], "rip": t["RIP"], "rport": t["RPORT"], "lport": t["LPORT"]}
        return t

    def inputs(self, s: Seg, now: int, **more: int) -> dict[str, int]:
        return {
            "seq": self.irs + s.seq & M32, "ack": self.iss + s.ack & M32, "flags": s.flags, "wnd": s.wnd, "len": s.length,
            "ts_valid": s.ts is not None, "tsval": self.ts0 + (s.ts or 0) & M32,
            "now_s": now >> 20 & 0xFFFF, "ts_age": now // AGE_UNIT & 511, **self.owner, **more,
        }  # fmt: skip

    def place(self, change: dict[str, Any]) -> dict[str, int]:
        base = {"iss": self.iss, "irs": self.irs, "ts": self.ts0}
        return {
            n: base[v[0]] + v[1] & M32 if isinstance(v, tuple) else v for n, v in change.items()
        }

    async def check(self, f: Flow, s: Seg, now: int, ok: int = 1, p_flags: int = 0xF) -> Verdict:
        t = self.tcb(f)
        v = judge(f, s, now, ok, p_flags)
        new, out = await ask_tcb(
            self.dut, t, OUT, **self.inputs(s, now, challenge_ok=ok, p_flags=p_flags)
        )
        what = f"{v.name} in {f.state.name}: {f} {s} now={now}"
        expect(
            new,
            t,
            {n: x & 0xFFFF if n == "LAST_T" else x for n, x in self.place(v.change).items()},
            what,
        )
        want = dict.fromkeys(OUT, 0) | v.out
        assert out == want, f"{what}: {[(n, out[n], want[n]) for n in OUT if out[n] != want[n]]}"
        self.seen[v.name] = self.seen.get(v.name, 0) + 1
        return v


def random_flow(rnd, now: int) -> Flow:
    state = rnd.choice([*SYNCED, S.ESTABLISHED, S.ESTABLISHED, S.SYN_RCVD])
    closed = int(state not in (S.ESTABLISHED, S.CLOSE_WAIT, S.SYN_RCVD) and rnd.random() < 0.5)
    fin_req = int(state not in (S.ESTABLISHED, S.CLOSE_WAIT, S.SYN_RCVD))
    una = rnd.choice([1, 1 + rnd.randrange(5000), 20_000_000])
    end = una + rnd.choice([0, 1, 1460, rnd.randrange(20000)])
    nxt = rnd.choice([end, end, rnd.randrange(una, end + 1)])
    if state in (S.FIN_WAIT2, S.TIME_WAIT):
        una = nxt = end + 1
    elif state == S.SYN_RCVD:
        una, nxt, end = 0, 1, 1
    elif fin_req and nxt == end and rnd.random() < 0.8:
        nxt = end + 1
    rcv = 1 if state == S.SYN_RCVD else 1 + rnd.choice([rnd.randrange(4000), 30_000_000])
    edge = rcv + rnd.choice([0, 0, 1, 100, 65536, 1 << 24, -1])
    ws = rnd.choice([0, 0, 3, 8, 9, 14])
    return Flow(
        state, rnd.randrange(2), closed, una, nxt, end, fin_req, rcv, edge, rcv - rnd.choice([0, 0, 1, 500]), ws,
        rnd.choice([0, 4096, 60000 << ws if ws < 9 else 1 << 24]), rnd.randrange(2), rnd.randrange(2), rnd.randrange(2),
        10_000, now - rnd.choice([0, 5_000_000, 3 * DAY, 23 * DAY, int(24.3 * DAY), 25 * DAY, 80 * DAY]), rnd.choice([0, 0, 1, 2, 3]),
        (now >> 20) - rnd.choice([0, 1, 2, 100, 60000]), *rnd.choice([(1, 0), (0, 1), (0, 1), (0, 0)]),
        rnd.choice([0, 1, 4095, 4096, 65535, rnd.randrange(1 << 24), 1 << 24]),
    )  # fmt: skip


def random_segment(rnd, f: Flow) -> Seg:
    flags = rnd.choice(
        [ACK] * 16 + [ACK | FIN] * 4 + [0, FIN, RST, RST | ACK, SYN, SYN | ACK]
    ) | rnd.choice([0, PSH, ECE, CWR, ECE | CWR])
    length = rnd.choice([0, 0, 0, 1, 2, 100, 1460])
    near = [f.rcv] * 6 + [f.rcv - 1, f.rcv + 1, f.edge, f.edge - 1, f.edge + 1, 0]
    near += [
        f.rcv - length,
        f.rcv - length - 1,
        f.rcv - rnd.randrange(2000),
        f.rcv + rnd.randrange(3000),
    ]
    near += [f.rcv - (1 << 24), f.rcv - (1 << 24) - 1, f.rcv - (1 << 30), f.rcv + (1 << 30)]
    most = (2 << log2(f.max_wnd)) - 1
    acks = [f.una] * 4 + [
        f.una - 1,
        f.una + 1,
        f.nxt,
        f.nxt,
        f.nxt,
        f.nxt + 1,
        f.end,
        f.end + 1,
        f.una - most,
        f.una - most - 1,
    ]
    acks += [rnd.randrange(f.una, f.nxt + 1), f.una - 1000, f.nxt + (1 << 30), f.una - (1 << 30)]
    wnd = (
        rnd.choice([0, f.snd_wnd >> f.snd_ws, f.snd_wnd >> f.snd_ws, 0xFFFF, rnd.getrandbits(16)])
        & 0xFFFF
    )
    ts = [f.recent] * 3 + [
        f.recent - 1,
        f.recent + 1,
        f.recent + rnd.randrange(10**6),
        f.recent - rnd.randrange(1, 1 << 31),
    ]
    has_ts = rnd.random() < (0.93 if f.ts_ok else 0.3)
    if f.state == S.SYN_RCVD and rnd.random() < 0.2:  # the peer's SYN once more, now with an ACK
        flags, near, length = SYN | ACK, [0], 0
    return Seg(
        flags, rnd.choice(near), rnd.choice(acks), length, wnd, rnd.choice(ts) if has_ts else None
    )


def random_now(rnd) -> int:
    return 120 * DAY + rnd.randrange(400 * DAY)


@cocotb.test()
async def every_state(dut):
    tb = TB(dut, "rx_chk")
    wanted = (
        "reset", "rst challenged", "rst outside", "reopened", "syn again", "crossing syn-ack", "syn-ack of nobody", "syn challenged", "no timestamp",
        "paws", "overtaken ack", "unacceptable", "no ack", "established", "bad ack in SYN_RCVD", "ack of nothing sent",
        "ack too old", "new ack", "same ack", "old ack", "fin acked in FIN_WAIT1", "fin acked in CLOSING", "fin acked in LAST_ACK",
        "shut window: new ack", "shut window: same ack", "fin again in TIME_WAIT",
    )  # fmt: skip
    for turn in range(60_000):
        now = random_now(tb.rnd)
        f = random_flow(tb.rnd, now)
        await tb.check(
            f,
            random_segment(tb.rnd, f),
            now,
            tb.rnd.choice([1, 1, 1, 0]),
            tb.rnd.choice([0xF, 0xF, 0]),
        )
        if turn >= 12_000 and all(tb.seen.get(n, 0) > 10 for n in wanted):
            return
    raise AssertionError(f"too tame: {[n for n in wanted if tb.seen.get(n, 0) <= 10]} of {tb.seen}")


@cocotb.test()
async def acceptability_at_every_edge(dut):
    """All starts and lengths around a small window."""
    tb = TB(dut, "edges")
    now = random_now(tb.rnd)
    for room in (-1, 0, 1, 2, 5):
        for flags in (ACK, ACK | FIN, ACK | SYN, ACK | RST):
            for length in (0, 1, 2, 3, 7):
                for seq in range(-4, 12):
                    f = Flow(
                        S.ESTABLISHED,
                        0,
                        0,
                        1,
                        1,
                        1,
                        0,
                        4,
                        4 + room,
                        1,
                        0,
                        500,
                        0,
                        0,
                        0,
                        0,
                        now,
                        0,
                        now >> 20,
                        0,
                    )
                    await tb.check(f, Seg(flags, seq, 1, length, 500, None), now)
    assert tb.seen["unacceptable"] > 100 and tb.seen["same ack"] > 30


@cocotb.test()
async def paws_forgets_after_24_days(dut):
    """RFC 7323, 5.5, over idle times up to where 9 bits of 2^34 us come round."""
    tb = TB(dut, "age")
    for _ in range(600):
        now = random_now(tb.rnd)
        days = tb.rnd.choice([0, 1, 12, 20, 23.8, 24.3, 25, 25.4, 26, 51, 76, 100, 101.5])
        f = Flow(
            S.ESTABLISHED,
            0,
            0,
            1,
            1,
            1,
            0,
            4,
            900,
            1,
            0,
            500,
            1,
            1,
            0,
            7,
            now - int(days * DAY),
            0,
            now >> 20,
            0,
        )
        v = await tb.check(f, Seg(ACK, 4, 1, 100, 500, 7 - tb.rnd.randrange(1, 1 << 31)), now)
        assert v.name == ("paws" if days < 24 else "same ack")


@cocotb.test()
async def time_wait_reuse(dut):
    """RFC 6191, 2: which SYN may end TIME_WAIT, in a table."""
    tb = TB(dut, "reuse")
    now = random_now(tb.rnd)
    honoured = 0
    for old_ts in (0, 1):
        for p_flags in (0xF, 0xF & ~PF_TS):
            for ts in (None, 6, 7, 8):
                for seq in (-50, 4, 5, 60_000, 1 << 30):
                    for extra in (0, ACK, ECE | CWR):
                        f = Flow(
                            S.TIME_WAIT,
                            0,
                            1,
                            2,
                            2,
                            1,
                            1,
                            4,
                            900,
                            1,
                            0,
                            500,
                            old_ts,
                            1,
                            0,
                            7,
                            now,
                            0,
                            now >> 20,
                            0,
                        )
                        v = await tb.check(
                            f, Seg(SYN | extra, seq, 0, 0, 500, ts), now, p_flags=p_flags
                        )
                        honoured += v.name == "reopened"
    assert 0 < honoured < 200


def syn_sent(tb: TB, sent: bool, offers: int) -> dict[str, int]:
    """A flow after CONNECT: the *_OK fields say what it offers."""
    tb.iss, tb.irs = somewhere(tb.rnd), somewhere(tb.rnd)
    t = rubbish(tb.rnd) | on_circle(
        tb.iss, ISS=0, SND_UNA=0, SND_NXT=int(sent), TX_END=1, SND_NTF=1
    )
    t |= {
        "STATE": S.SYN_SENT,
        "PASSIVE": 0,
        "CLOSED": 0,
        "FIN_REQ": 0,
        "RX_LOG2": tb.rnd.choice([12, 15, 16, 24]),
    }
    for name, bit in (("SACK_OK", PF_SACK), ("TS_OK", PF_TS), ("ECN_OK", PF_ECN), ("WS_OK", PF_WS)):
        t[name] = int(bool(offers & bit))
    tb.owner = {"vf": t["VF"], "rip": t["RIP"], "rport": t["RPORT"], "lport": t["LPORT"]}
    return t


def random_offer(rnd) -> dict[str, int]:
    """The options of a peer's SYN."""
    return {
        "mss": rnd.choice([0, 1, 63, 64, 535, 536, 1448, 1460, 9000, 65535]), "wscale": rnd.randrange(16), "wscale_valid": rnd.randrange(2),
        "sack_ok": rnd.randrange(2), "ts_valid": rnd.randrange(2), "tsval": rnd.getrandbits(32),
        "mtu": rnd.choice([576, 1280, 1500]), "now_s": rnd.getrandbits(16), "ts_age": rnd.getrandbits(9),
    }  # fmt: skip


def settled(offers: int, syn: dict[str, int], flags: int, irs: int, rx_log2: int) -> dict[str, int]:
    """What a SYN or SYN-ACK settles, each option only if both offer it."""
    ts = int(bool(offers & PF_TS) and syn["ts_valid"])
    ws = int(bool(offers & PF_WS) and syn["wscale_valid"])
    ecn = ECE if flags & ACK else ECE | CWR  # RFC 3168, 6.1.1
    return {
        "TS_OK": ts, "TS_RECENT": syn["tsval"], "TS_AGE": syn["ts_age"], "WS_OK": ws, "SACK_OK": int(bool(offers & PF_SACK) and syn["sack_ok"]),
        "ECN_OK": int(bool(offers & PF_ECN) and flags & (ECE | CWR) == ecn),
        "SND_WS": min(14, syn["wscale"]) if ws else 0, "RCV_WS": max(0, rx_log2 - 15) if ws else 0,
        # RFC 6691: the MSS option knows nothing of options; timestamps take 12 bytes of each segment.
        "MSS": min(syn["mtu"] - 40, max(64, syn["mss"] or 536)) - 12 * ts,
        "IRS": irs, "RCV_NXT": irs + 1, "RCV_NTF": irs + 1, "RCV_ADV": irs + 1, "RCV_EDGE": irs + 1 + (1 << rx_log2),
        "LAST_T": syn["now_s"], "RETRIES": 0, "KA_PROBE": 0,
    }  # fmt: skip


@cocotb.test()
async def opens_actively(dut):
    """RFC 9293, 3.10.7.3: all combinations of SYN, ACK, RST, of good and bad acknowledgements; negotiation."""
    tb = TB(dut, "syn_sent")
    seen: dict[str, int] = {}
    for _ in range(80):
        for base in (0, FIN, ACK, SYN, SYN | ACK, RST, RST | ACK, RST | SYN, RST | SYN | ACK):
            for acked in (-1, 0, 1, 2, 1 << 31):
                sent, offers = tb.rnd.random() < 0.8, tb.rnd.choice([0xF, tb.rnd.randrange(16)])
                flags = base | tb.rnd.choice([0, ECE, ECE, CWR, ECE | CWR, ECE | CWR])
                t = syn_sent(tb, sent, offers)
                syn = random_offer(tb.rnd)
                irs, wnd = somewhere(tb.rnd), tb.rnd.getrandbits(16)
                new, out = await ask_tcb(dut, t, OUT, seq=irs, ack=tb.iss + acked & M32, flags=flags, wnd=wnd, len=tb.rnd.choice([0, 9]),
                                         p_flags=tb.rnd.randrange(16), **tb.owner, **syn)  # fmt: skip
                good = acked == 1 and sent
                change: dict[str, int] = {}
                want = dict.fromkeys(OUT, 0)
                if flags & ACK and not good:
                    name = "bad ack"
                    want |= {"st_bad_ack": 1, "reply_rst": int(not flags & RST)}
                elif flags & RST:
                    name = "refused" if flags & ACK else "rst without ack"
                    if flags & ACK:
                        want["st_rst"] = 1
                        change = {
                            "STATE": S.DEAD,
                            "N_RST": 1,
                            "N_STATUS": Status.REFUSED,
                            "DACK_ON": 0,
                        }
                elif not flags & SYN:
                    name = "no syn"
                else:
                    change = settled(offers, syn, flags, irs, t["RX_LOG2"]) | {
                        "SND_WND": wnd,
                        "SND_WL1": irs,
                        "MAX_WND_L2": log2(wnd),
                    }
                    if flags & ACK:
                        name = "established"
                        change |= {"STATE": S.ESTABLISHED, "N_CONN": 1, "ACK_NOW": 1}
                        want |= {"ev_ack": 1, "ev_new": 1, "ev_syn": 1}
                    else:
                        name = "simultaneous"
                        change |= {
                            "STATE": S.SYN_RCVD,
                            "LOST_END": t["SND_NXT"],
                            "RXT_NXT": t["SND_UNA"],
                            "RTT_ON": 0,
                        }
                expect(
                    new,
                    t,
                    change,
                    f"{name}: flags {flags:#x} ack ISS+{acked} sent={sent} offers={offers:#x} {syn}",
                )
                assert out == want, (name, out)
                seen[name] = seen.get(name, 0) + 1
    assert len(seen) == 6 and min(seen.values()) > 20, seen


@cocotb.test()
async def opens_passively(dut):
    """A SYN takes a credit; what the tenant has set on the credit stays."""
    tb = TB(dut, "passive")
    ecn = 0
    for _ in range(1500):
        t = rubbish(tb.rnd) | {"STATE": S.CREDIT, "RX_LOG2": tb.rnd.choice([12, 15, 16, 24])}
        p_flags, syn = tb.rnd.choice([0xF, tb.rnd.randrange(16)]), random_offer(tb.rnd)
        isn, irs, wnd = somewhere(tb.rnd), somewhere(tb.rnd), tb.rnd.getrandbits(16)
        flags = SYN | tb.rnd.choice([0, ECE, CWR, ECE | CWR, ECE | CWR, ECE | CWR | 256])
        who = {
            "vf": t["VF"],
            "rip": tb.rnd.getrandbits(32),
            "rport": tb.rnd.getrandbits(16),
            "lport": 80,
        }
        new, out = await ask_tcb(dut, t, OUT, is_open=1, isn=isn, listener=33, prof=5, seq=irs, ack=0, flags=flags, wnd=wnd, len=0,
                                 p_flags=p_flags, **who, **syn)  # fmt: skip
        dut.is_open.value = 0
        change = settled(p_flags, syn, flags, irs, t["RX_LOG2"]) | {"SND_WND": wnd, "SND_WL1": irs}
        change["MAX_WND_L2"] = log2(wnd)
        change |= dict.fromkeys(
            ("ISS", "SND_UNA", "SND_NXT", "LOST_END", "RXT_NXT", "RXT_MARK", "RECOVER", "TLP_END"),
            isn,
        )
        change |= {
            "TX_END": isn + 1,
            "SND_NTF": isn + 1,
            "STATE": S.SYN_RCVD,
            "PASSIVE": 1,
            "LISTENER": 33,
            "PROF": 5,
        }
        change |= {"RIP": who["rip"], "RPORT": who["rport"], "LPORT": 80}
        expect(new, t, change, f"SYN to a listener: {flags:#x} profile {p_flags:#x} {syn}")
        assert not any(out.values()), out
        ecn += new["ECN_OK"]
    assert 50 < ecn < 1400


@cocotb.test()
async def opens_by_cookie(dut):
    """The ACK of a SYN cookie: established at once, without options; its payload counts."""
    tb = TB(dut, "cookie")
    for _ in range(1000):
        t = rubbish(tb.rnd) | {"STATE": S.CREDIT, "RX_LOG2": tb.rnd.choice([12, 16, 24])}
        syn = random_offer(tb.rnd)
        seq, ack, wnd = somewhere(tb.rnd), somewhere(tb.rnd), tb.rnd.getrandbits(16)
        who = {
            "vf": t["VF"],
            "rip": tb.rnd.getrandbits(32),
            "rport": tb.rnd.getrandbits(16),
            "lport": 443,
        }
        flags = ACK | tb.rnd.choice([0, PSH, FIN, ECE | CWR])
        new, out = await ask_tcb(dut, t, OUT, is_cookie=1, isn=tb.rnd.getrandbits(32), listener=9, prof=2, seq=seq, ack=ack, flags=flags,
                                 wnd=wnd, len=tb.rnd.choice([0, 100]), p_flags=0xF, **who, **syn)  # fmt: skip
        dut.is_cookie.value = 0
        change = settled(0, syn, 0, seq - 1, t["RX_LOG2"]) | {"SND_WND": wnd, "SND_WL1": seq}
        change["MAX_WND_L2"] = log2(wnd)
        change |= dict.fromkeys(
            ("ISS", "SND_UNA", "LOST_END", "RXT_NXT", "RXT_MARK", "RECOVER", "TLP_END"), ack - 1
        )
        change |= {
            "SND_NXT": ack,
            "TX_END": ack,
            "SND_NTF": ack,
            "STATE": S.ESTABLISHED,
            "N_CONN": 1,
            "PASSIVE": 1,
        }
        change |= {"LISTENER": 9, "PROF": 2, "RIP": who["rip"], "RPORT": who["rport"], "LPORT": 443}
        expect(new, t, change, f"ACK of a cookie {syn}")
        assert {n for n, x in out.items() if x} == {"data_ok", "ev_ack", "ev_new", "ev_syn"}, out


@cocotb.test()
async def strangers(dut):
    """A flow that has changed hands since the look-up is left alone."""
    tb = TB(dut, "strangers")
    for _ in range(2000):
        now = random_now(tb.rnd)
        f = random_flow(tb.rnd, now)
        f.state = tb.rnd.choice(list(S))
        t = tb.tcb(f)
        inputs = tb.inputs(random_segment(tb.rnd, f), now)
        why = tb.rnd.choice(["vf", "rip", "rport", "lport", None])
        if why:
            inputs[why] ^= 1 << tb.rnd.randrange({"vf": 8, "rip": 32}.get(why, 16))
        takes = tb.rnd.choice([{}, {}, {"is_open": 1}, {"is_cookie": 1}])
        new, out = await ask_tcb(dut, t, OUT, **inputs, **({"is_open": 0, "is_cookie": 0} | takes))
        connected = S.SYN_SENT <= f.state <= S.TIME_WAIT
        strange = f.state != S.CREDIT if takes else bool(why) or not connected
        assert out["stranger"] == strange, f"{f.state.name} {why} {takes}"
        if strange:
            expect(new, t, {}, "a stranger changes nothing")
            assert not any(x for n, x in out.items() if n != "stranger"), out
    dut.is_open.value = dut.is_cookie.value = 0


@cocotb.test()
async def disabled(dut):
    """Without `en` nothing happens, whatever the inputs are."""
    tb = TB(dut, "disabled")
    dut.en.value = 0
    for _ in range(300):
        now = random_now(tb.rnd)
        f = random_flow(tb.rnd, now)
        t = tb.tcb(f)
        new, out = await ask_tcb(
            dut, t, OUT, is_open=tb.rnd.randrange(2), **tb.inputs(random_segment(tb.rnd, f), now)
        )
        assert new == unpack(pack(t)) and not any(out.values()), out


def test_nk_tcp_rx_chk():
    run_module("nk_tcp_rx_chk", __file__)
