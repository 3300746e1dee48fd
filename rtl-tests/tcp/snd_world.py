# SPDX-License-Identifier: Apache-2.0
"""A sender (nk_tcp_snd_loop) on a path with a receiver: time in microseconds, events on a heap, data as sets of ranges.

The receiver and the path are plain Python from the RFCs; X1 and X4 of the pipeline are played by `Sender` after
docs/pipeline.md. Everything that leaves is judged: inside the window, not what the peer is known to hold, inside cwnd.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cocotb.triggers import Timer
from common.tcb import FIELDS, M32, pack

ESTABLISHED = 6
NONE, SYN, REXMIT, PROBE, DATA, ACK, TLP, KEEP = range(8)
RTO, PERSIST, TIMEWAIT, FINWAIT2, NEIGH, K_TLP, REO = range(7)
UNKNOWN = 0x1FFFFFF
PTO_MIN, DELACK = 2_000, 40_000


class Ranges:
    """A set of bytes as ascending, disjoint, not adjacent (start, end)."""

    def __init__(self) -> None:
        self.all: list[tuple[int, int]] = []

    def add(self, start: int, end: int) -> int:
        """Returns how many of the bytes are new."""
        before = self.size()
        joined = [(s, e) for s, e in self.all if s <= end and start <= e]
        rest = [(s, e) for s, e in self.all if not (s <= end and start <= e)]
        rest.append((min([start] + [s for s, _ in joined]), max([end] + [e for _, e in joined])))
        self.all = sorted(rest)
        return self.size() - before

    def size(self) -> int:
        return sum(e - s for s, e in self.all)

    def has(self, start: int, end: int) -> bool:
        return any(s <= start and end <= e for s, e in self.all)

    def meets(self, start: int, end: int) -> bool:
        return any(s < end and start < e for s, e in self.all)


@dataclass
class Segment:
    seq: int  # on the line: byte 0 is the first
    end: int
    kind: int
    tsval: int
    ecn: int = 0
    cwr: bool = False
    fin: bool = False


@dataclass
class Answer:
    ack: int
    wnd: int
    blocks: list[tuple[int, int]]
    tsecr: int
    ece: bool = False


@dataclass
class Path:
    """What happens to the segments: decided by functions of (number of the segment, segment)."""

    delay: int = 10_000  # one way
    gap: int = 100  # serialization of a full segment
    lose: Callable[[int, Segment], bool] = lambda n, s: False
    late: Callable[[int, Segment], int] = lambda n, s: 0
    twice: Callable[[int, Segment], bool] = lambda n, s: False
    mark: Callable[[int, Segment], bool] = lambda n, s: False
    lose_ack: Callable[[int], bool] = lambda n: False
    queue: int = 0  # segments that wait at most; 0: no limit


@dataclass
class Receiver:
    sack: bool = True
    ts: bool = True
    dsack: bool = True
    max_blocks: int = 3
    every: int = 1  # an ACK for every n-th segment in order
    wnd: int = 1 << 20
    nxt: int = 0
    held: Ranges = field(default_factory=Ranges)
    order: list[int] = field(default_factory=list)  # a byte of each range, the latest first
    recent: int = 0
    owed: int = 0
    ece: bool = False
    fin_at: int | None = None
    bytes_twice: int = 0
    shut: Callable[[], int] | None = None

    def window(self) -> int:
        return self.wnd if self.shut is None else self.shut()

    def take(self, seg: Segment) -> Answer | None:
        if seg.ecn == 3:
            self.ece = True
        elif seg.cwr:
            self.ece = False
        dup: tuple[int, int] | None = None
        if seg.fin:
            self.fin_at = seg.end - 1
        end = min(seg.end, self.nxt + self.window()) if not seg.fin else seg.end
        in_order = seg.seq <= self.nxt
        if seg.end <= self.nxt or self.held.has(seg.seq, seg.end):
            dup = (seg.seq, seg.end)
            self.bytes_twice += seg.end - seg.seq
        elif end > seg.seq:
            if in_order and seg.tsval - self.recent >= 0:
                self.recent = seg.tsval
            self.held.add(max(seg.seq, self.nxt), end)
            self.order = [max(seg.seq, self.nxt), *self.order]
            if self.held.all and self.held.all[0][0] <= self.nxt:
                self.nxt = self.held.all.pop(0)[1]
        gap = bool(self.held.all)
        self.owed += 1
        if not gap and dup is None and self.owed < self.every and not seg.fin:
            return None
        return self.answer(dup)

    def answer(self, dup: tuple[int, int] | None = None) -> Answer:
        self.owed = 0
        blocks: list[tuple[int, int]] = []
        if self.sack:
            if dup and self.dsack:
                blocks.append(dup)
            seen = set()
            for at in self.order:
                for r in self.held.all:
                    if r[0] <= at < r[1] and r not in seen:
                        seen.add(r)
                        blocks.append(r)
            self.order = [at for at in self.order if at >= self.nxt][:40]
            blocks = blocks[: self.max_blocks]
        return Answer(self.nxt, self.window(), blocks, self.recent, self.ece)


class Sender:
    """The RTL between X1 and X4, and those two played here."""

    def __init__(
        self, dut: Any, rnd: random.Random, rcv: Receiver, path: Path, **more: int
    ) -> None:
        self.dut, self.rnd, self.rcv, self.path = dut, rnd, rcv, path
        self.iss = more.pop(
            "ISS", rnd.choice([1000, M32 - 30_000, 0x7FFFFFFF - 20_000, rnd.getrandbits(32)])
        )
        self.base = (self.iss + 1) & M32
        self.t0 = rnd.choice([5_000_000, M32 - 300_000, rnd.getrandbits(32)])
        self.cc = more.pop("cc", 0)
        self.iw = more.pop("iw", 10)
        self.flags = more.pop("flags", 31)
        self.rto_min = more.pop("rto_min", 200_000)
        self.rtt0 = more.pop("rtt", 2 * path.delay)
        state = {n: 0 for n in FIELDS} | {
            "STATE": ESTABLISHED, "ISS": self.iss, "MSS": 1448 if rcv.ts else 1460, "SND_WND": rcv.window(),
            "TS_OK": int(rcv.ts), "SACK_OK": int(rcv.sack), "NODELAY": 1, "CWND": 0, "RTT_ON": 1,
            "RTT_T": (self.t0 - self.rtt0) & M32, "SND_UNA": self.iss, "SND_NXT": self.base, "RTT_SEQ": self.base,
        }  # fmt: skip
        for name in ("TX_END", "SND_NTF", "LOST_END", "RXT_NXT", "RXT_MARK", "RECOVER", "TLP_END"):
            state[name] = self.base
        state |= more
        self.word = pack(state)
        self.now = 0
        self.heap: list[tuple[int, int, Callable[[], Any]]] = []
        self.count = itertools.count()
        self.sent: list[Segment] = []
        self.known = Ranges()  # what the peer has reported, by any ACK that arrived
        self.acked = 0
        self.top = 0
        self.edge = rcv.window()
        self.lost = self.rexmits = self.tlps = self.rtos = self.probes = self.passes = self.acks = 0
        self.fast = self.undo = self.ece = self.renege = 0
        self.forgot = False  # the board has been full: it may have lost sight of something
        self.link_free = 0
        self.turn = False
        self.tx_ok: Callable[[], bool] = lambda: True
        self.given = 0

    # -- fields ---------------------------------------------------------------------------------------
    def get(self, name: str) -> int:
        lsb, width = FIELDS[name]
        return self.word >> lsb & (1 << width) - 1

    def set(self, **values: int) -> None:
        for name, value in values.items():
            lsb, width = FIELDS[name]
            mask = (1 << width) - 1
            self.word = self.word & ~(mask << lsb) | (value & mask) << lsb

    def line(self, name: str) -> int:
        """A sequence number of the state on the line."""
        d = (self.get(name) - self.base) & M32
        return d - (1 << 32) if d >> 31 else d

    def ts(self) -> int:
        return (self.t0 + self.now >> 10) + 77

    # -- one pass --------------------------------------------------------------------------------------
    async def run(
        self,
        ans: Answer | None = None,
        syn: bool = False,
        rto: bool = False,
        reo: bool = False,
        tlp: bool = False,
    ) -> None:
        self.passes += 1
        acks = new = dup = 0
        blocks: list[tuple[int, int]] = []
        if ans is not None:
            una, nxt = self.line("SND_UNA"), self.line("SND_NXT")
            assert ans.ack <= nxt, "the receiver acknowledges what was never sent"
            if ans.ack < una:
                return
            acks, new = 1, int(ans.ack > una)
            dup = int(
                ans.ack == una and nxt != una and ans.wnd == self.get("SND_WND") and ans.wnd != 0
            )
            blocks = ans.blocks
            self.set(SND_WND=ans.wnd, RETRIES=0)
            self.edge = max(self.edge, ans.ack + ans.wnd)
            self.acked = max(self.acked, ans.ack)
            for s, e in blocks:
                if s >= ans.ack:
                    self.known.add(s, e)
            if ans.wnd:
                self.set(PROBE=0)
        v = (
            1
            | acks << 1
            | new << 2
            | dup << 3
            | int(syn) << 4
            | int(rto) << 5
            | int(reo) << 6
            | int(tlp) << 7
        )
        v |= (
            int(ans is not None and self.rcv.ts) << 8
            | int(ans is not None and ans.ece) << 9
            | int(self.tx_ok()) << 10
            | 1 << 11
        )
        v |= len(blocks) << 12 | self.cc << 16 | self.flags << 24 | self.iw << 32
        now = self.t0 + self.now & M32
        v |= now << 64 | (self.ts() & M32) << 96
        v |= ((self.base + (ans.ack if ans else 0)) & M32) << 128 | (
            (ans.tsecr if ans else 0) & M32
        ) << 160
        v |= self.rto_min << 192 | 60_000_000 << 224
        for i, (s, e) in enumerate(blocks):
            v |= ((self.base + s) & M32 | ((self.base + e) & M32) << 32) << (512 + 64 * i)
        self.dut.tcb.value = self.word
        getattr(self.dut, "in").value = v
        await Timer(1, "ns")
        before = self.word
        self.word = int(self.dut.tcb_out.value)
        o = int(self.dut.out.value)
        kind, kind2, blocked2 = o & 15, o >> 20 & 15, o >> 25 & 1
        self.fast += o >> 5 & 1
        self.undo += o >> 6 & 1
        self.renege += o >> 8 & 1
        self.ece += o >> 9 & 1
        self.check_board(before)
        if o >> 16 & 1:
            self.leave(o, kind)
        assert kind == NONE or o >> 17 & 1 or kind2 == NONE, (
            f"says that nothing follows kind {kind}, but kind {kind2} does"
        )
        self.timer(o, kind2, bool(blocked2))
        if kind2 != NONE and not self.turn:
            self.turn = True
            self.at(1, self.my_turn)

    async def my_turn(self) -> None:
        self.turn = False
        await self.run()

    def check_board(self, before: int) -> None:
        una, nxt = self.line("SND_UNA"), self.line("SND_NXT")
        v = self.get("SK_V")
        assert v in (0, 1, 3, 7, 15), f"board has holes {v:04b}"
        last = una
        starts, ends = self.get("SK_S"), self.get("SK_E")
        for i in range(v.bit_length()):
            s = (starts >> 32 * i) - self.base & M32
            e = (ends >> 32 * i) - self.base & M32
            assert last < s < e <= nxt, f"range {i} [{s}, {e}) behind {last}, next to send {nxt}"
            assert self.known.has(s, e), (
                f"board says [{s}, {e}) is held; reported are {self.known.all}"
            )
            last = e
        if v == 15:
            self.forgot = True
        lost, rxt = self.line("LOST_END"), self.line("RXT_NXT")
        assert una <= lost <= nxt and una <= rxt <= nxt, (
            f"una {una} lost {lost} rxt {rxt} nxt {nxt}"
        )

    def holds(self, start: int, end: int) -> bool:
        """Some byte of it stands on the board."""
        v, starts, ends = self.get("SK_V"), self.get("SK_S"), self.get("SK_E")
        for i in range(v.bit_length()):
            s = (starts >> 32 * i) - self.base & M32
            e = (ends >> 32 * i) - self.base & M32
            if s < end and start < e:
                return True
        return False

    def leave(self, o: int, kind: int) -> None:
        seq = (o >> 32 & M32) - self.base & M32
        seq = seq - (1 << 32) if seq >> 31 else seq
        n, fin = o >> 64 & 0xFFFF, o >> 19 & 1
        flags, ecn = o >> 80 & 0x1FF, o >> 89 & 3
        end = seq + n + fin
        cwnd, pipe = o >> 160 & M32, o >> 193 & 0x1FFFFFF
        mss = self.get("MSS")
        what = f"kind {kind} [{seq}, {end}) at {self.now}"
        if kind in (ACK, KEEP):
            return
        assert n <= mss and n + fin > 0, what
        assert seq + n <= self.given, f"{what}: beyond what the tenant gave"
        una = self.line("SND_UNA")
        if kind == PROBE:
            self.probes += 1
        elif n:
            assert end - fin <= self.edge, f"{what}: beyond the window {self.edge}"
        if kind == DATA:
            assert seq == self.top, f"{what}: new data begins at {self.top}"
            assert pipe == 0 or pipe + n <= cwnd, f"{what}: pipe {pipe} cwnd {cwnd}"
            assert ecn == (2 if self.get("ECN_OK") and n else 0), what
        else:
            assert ecn == 0 or seq == self.top, f"{what}: ECT on what was sent before"
        if kind == REXMIT:
            self.rexmits += 1
            assert una <= seq < self.top, what
            assert not self.holds(seq, end), f"{what}: on the board"
            assert self.forgot or not self.known.meets(seq, end), (
                f"{what}: the peer has reported it"
            )
        if kind == TLP:
            self.tlps += 1
        self.top = max(self.top, end)
        assert self.top == self.line("SND_NXT"), what
        seg = Segment(seq, end, kind, o >> 96 & M32, ecn, bool(flags >> 7 & 1), bool(fin))
        number = len(self.sent)
        self.sent.append(seg)
        gap = max(1, self.path.gap * n // 1448)
        start = max(self.now, self.link_free)
        dropped = self.path.lose(number, seg)
        if self.path.queue and (start - self.now) // self.path.gap >= self.path.queue:
            dropped = True
        else:
            self.link_free = start + gap
        if dropped:
            self.lost += 1
            return
        if seg.ecn == 2 and self.path.mark(number, seg):
            seg.ecn = 3
        when = start + gap + self.path.delay + self.path.late(number, seg) - self.now
        self.at(when, lambda: self.arrive(seg))
        if self.path.twice(number, seg):
            self.at(when + 7, lambda: self.arrive(seg))

    async def arrive(self, seg: Segment) -> None:
        ans = self.rcv.take(seg)
        if ans is not None:
            self.reply(ans)
        elif self.rcv.owed == 1:
            self.at(DELACK, self.delayed)

    async def delayed(self) -> None:
        if self.rcv.owed:
            self.reply(self.rcv.answer())

    def reply(self, ans: Answer) -> None:
        self.acks += 1
        if not self.path.lose_ack(self.acks):
            self.at(self.path.delay, lambda: self.run(ans))

    # -- X4 ---------------------------------------------------------------------------------------------
    def timer(self, o: int, kind2: int, blocked: bool) -> None:
        acked, sent, retx, w_reo = (o >> 27 & 1, o >> 28 & 1, o >> 29 & 1, o >> 30 & 1)
        on, kind, now = self.get("RTX_ON"), self.get("RTX_KIND"), self.t0 + self.now & M32
        una, nxt, mss = self.line("SND_UNA"), self.line("SND_NXT"), self.get("MSS")
        flying = nxt - una
        srtt8, var4, backoff = self.get("SRTT8"), self.get("RTTVAR4"), self.get("BACKOFF")
        rto = min(
            60_000_000,
            max(self.rto_min, (srtt8 >> 3) + max(1, var4) if srtt8 else 1_000_000) << backoff,
        )
        tlp_ok = (
            self.flags >> 4 & 1 and self.get("SACK_OK") and not (self.get("IN_REC") or self.get("IN_LOSS") or self.get("SK_V"))
            and srtt8 and not self.get("TLP_OUT") and not self.get("TLP_DUE")
        )  # fmt: skip
        pto = max(PTO_MIN, (srtt8 >> 2) + (DELACK if flying <= mss else 0))
        use_pto = tlp_ok and pto <= rto
        head = retx and self.line("RXT_NXT") - una <= mss
        start = hold = False
        period = pto if use_pto else rto
        nxt_kind = kind
        if blocked or (
            kind == PERSIST and self.get("SND_WND") == 0 and (self.line("TX_END") > nxt or flying)
        ):
            nxt_kind, period = PERSIST, rto
            hold = bool(
                on and kind in (RTO, PERSIST, K_TLP, REO) and (kind == PERSIST or not acked)
            )
            start = not hold and not (self.get("PROBE") and kind2)
        elif flying:
            if w_reo:
                nxt_kind, period, start = REO, o >> 128 & M32, True
            elif on and kind == REO and not acked and not head:
                hold = True
            elif (
                on
                and kind in (RTO, K_TLP)
                and not acked
                and not head
                and not (kind == K_TLP and not tlp_ok)
            ):
                left = self.get("RTX_T") - now & M32
                start = bool(kind == K_TLP and sent and use_pto and left < 1 << 31 and pto < left)
                hold = not start
                nxt_kind = K_TLP if start else kind
            else:
                nxt_kind = K_TLP if use_pto else RTO
                start = bool(on or sent or acked or not kind2)
                if kind == PERSIST:
                    self.set(BACKOFF=0, PROBE=0)
        else:
            nxt_kind = RTO
        self.set(RTX_ON=int(start or hold), RTX_KIND=nxt_kind)
        if start:
            t = now + min(period, 250_000_000) & M32
            self.set(RTX_T=t)
            self.at(min(period, 250_000_000), lambda: self.expire(t))

    async def expire(self, t: int) -> None:
        if not self.get("RTX_ON") or self.get("RTX_T") != t:
            return
        kind = self.get("RTX_KIND")
        self.set(RTX_ON=0)
        if kind in (RTO, PERSIST):
            self.set(RETRIES=self.get("RETRIES") + 1, BACKOFF=min(15, self.get("BACKOFF") + 1))
        if kind == PERSIST:
            self.set(PROBE=1)
        if kind == RTO:
            self.rtos += 1
        await self.run(rto=kind == RTO, reo=kind == REO, tlp=kind == K_TLP)

    # -- the run ----------------------------------------------------------------------------------------
    def at(self, delay: int, what: Callable[[], Any]) -> None:
        heapq.heappush(self.heap, (self.now + delay, next(self.count), what))

    async def give(self, size: int, fin: bool = False) -> None:
        self.given += size
        self.set(TX_END=self.base + self.given & M32)
        if fin:
            self.set(FIN_REQ=1, STATE=7)
        await self.run()

    async def open(self) -> None:
        """The handshake's end."""
        self.dut.tcb.value = self.word
        ans = Answer(0, self.rcv.window(), [], self.ts() - (self.rtt0 >> 10))
        await self.run(ans, syn=True)
        assert self.line("SND_UNA") == 0

    async def until(self, done: Callable[[], bool], limit: int = 120_000_000) -> None:
        end = self.now + limit
        while not done():
            assert self.heap, (
                f"nothing will ever happen again: una {self.line('SND_UNA')} nxt {self.line('SND_NXT')}"
            )
            when, _, what = heapq.heappop(self.heap)
            assert when <= end, f"not done in {limit} us: {self}"
            self.now = when
            await what()

    def all_acked(self) -> bool:
        fin = self.get("FIN_REQ")
        return self.line("SND_UNA") == self.given + fin

    def __str__(self) -> str:
        return (
            f"t={self.now / 1e3:.1f}ms sent={len(self.sent)} lost={self.lost} rexmit={self.rexmits} tlp={self.tlps} rto={self.rtos} "
            f"fast={self.fast} undo={self.undo} acks={self.acks} una={self.line('SND_UNA')} nxt={self.line('SND_NXT')} "
            f"cwnd={self.get('CWND')} sst={self.get('SSTHRESH')} mult={self.get('REO_MULT')} seen={self.get('REO_SEEN')}"
        )
