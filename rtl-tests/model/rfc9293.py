# SPDX-License-Identifier: Apache-2.0
"""An RFC 9293 endpoint as a judge: shadows connections of the card and says what no endpoint may do.

It sees what the card received (`received`), what it sent (`sent`), what its tenant asked for (`connect`,
`listen`, `gave`, `took`, `shut`, `aborted`) and was told (`event`), each with the time in microseconds. It keeps, for
each connection, what the endpoint *can* know by then: the bytes that arrived, the numbers and windows that the
other side gave. An endpoint may be slower than that, never ahead. So there is no exact prediction, and no wrong alarm
when segments wait inside the card; each step is judged by what must hold whatever the order inside:

- bytes: those of the tenant, in both directions, and no others under a number used before
- ACK: never of what did not arrive, never back; of what arrived in order within half a second
- window: never taken back, never more than the ring holds; data never beyond the other side's
- SACK blocks true; D-SACK only of what came twice; timestamps as RFC 7323 wants them; ECN as RFC 3168
- SYN, FIN, RST where the RFC has them, states in the order that RFC 9293, figure 5, allows
- retransmissions only of data in flight, and only with a reason: duplicate ACK, SACK, ICMP, or time
- the tenant is told what is true: bytes in order, bytes acknowledged, the peer's FIN, the end and its reason

Sequence numbers are unbounded integers inside.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from . import frames as fr
from .frames import ACK, FIN, RST, SYN, Frame, FrameError
from .tcp_peer import MOD, unwrap

Key = tuple[int, int, int]  # (card's port, other side's address, its port)

ACK_WITHIN_US = 500_000  # RFC 5681, 4.2
INSIDE_US = 3_000  # how long a segment may wait inside the card before it counts
SYNCHRONIZED = (
    "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSE_WAIT", "CLOSING", "LAST_ACK", "TIME_WAIT",
)  # fmt: skip


class Ranges:
    """A set of integers as disjoint ranges."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        if start >= end:
            return
        first = bisect_right(self.ends, start - 1)
        last = bisect_right(self.starts, end)
        if first < last:
            start = min(start, self.starts[first])
            end = max(end, self.ends[last - 1])
        self.starts[first:last] = [start]
        self.ends[first:last] = [end]

    def covers(self, start: int, end: int) -> bool:
        i = bisect_right(self.starts, start) - 1
        return i >= 0 and end <= self.ends[i]

    def end_from(self, at: int) -> int:
        """The end of the range that holds `at`, or `at`."""
        i = bisect_right(self.starts, at) - 1
        return self.ends[i] if i >= 0 and self.ends[i] > at else at


@dataclass
class Shadow:
    """One connection as an endpoint in the card's place must see it."""

    key: Key
    opened: bool  # by the tenant (CONNECT), else by a SYN
    ring: int = 0  # bytes of the receive ring; 0: not known yet
    mtu: int = 1500
    told: list[str] = field(default_factory=list)  # events, in order
    # numbers
    iss: int | None = None
    irs: int | None = None
    # what arrived
    got: Ranges = field(default_factory=Ranges)
    twice: Ranges = field(default_factory=Ranges)
    data: dict[int, bytes] = field(default_factory=dict)  # seq -> payload, as they came
    fin_at: int | None = None  # the peer's FIN
    their_acks: int = 0  # highest number acknowledged by the peer
    acked_at: list[tuple[int, int]] = field(default_factory=list)  # (number, when it came)
    their_edge: int = 0  # furthest right edge that the peer gave
    their_mss: int = 536
    their_scale: int = 0
    scales: bool = False
    peer_offers: dict[str, bool] = field(default_factory=dict)
    tsvals: set[int] = field(default_factory=set)
    ce: int = 0
    eces: int = 0
    hints: int = 0  # duplicate ACKs, SACK blocks, ICMP
    hint_at: int = -1 << 60
    delivered: int = 0  # bytes that left the network by the peer's word, generously
    rst_at: list[int] = field(default_factory=list)  # numbers of RSTs that arrived
    refusals: int = 0  # RSTs in answer to our SYN
    bad_acks: int = 0
    late_data: bool = False  # data after the tenant's CLOSE
    # what the card sent
    card_offers: dict[str, bool] = field(default_factory=dict)
    our_scale: int = 0
    ack: int = 0  # latest number acknowledged by the card
    edge: int = 0  # right edge of its window
    snd_max: int = 0
    sends: list[tuple[int, int, int]] = field(default_factory=list)  # (start, end, when)
    repeats: int = 0  # retransmissions
    fin_sent: int | None = None
    last_ts: int | None = None
    last_echo: int | None = None
    rst_sent: bool = False
    owed: list[tuple[int, int]] = field(default_factory=list)  # (number, by when)
    syns_sent: int = 0
    # the tenant
    out: bytearray = field(default_factory=bytearray)
    taken: int = 0  # bytes credited
    announced: int = 0  # DATA
    confirmed: int = 0  # SENT
    shut: bool = False
    closing: bool = False
    aborted: bool = False
    over: bool = False

    @property
    def ts_on(self) -> bool:
        return self._both("ts")

    @property
    def sack_on(self) -> bool:
        return self._both("sack")

    @property
    def ecn_on(self) -> bool:
        return self._both("ecn")

    def _both(self, name: str) -> bool:
        return self.peer_offers.get(name, False) and self.card_offers.get(name, False)

    @property
    def unread(self) -> bool:
        """The tenant has closed over bytes that it has not taken (RFC 9293, 3.6.1, SHLD-3)."""
        if self.irs is None or not self.closing:
            return False
        return self.irs + 1 + self.taken < self.got.end_from(self.irs + 1)

    @property
    def finished(self) -> bool:
        """Both FINs are acknowledged: the endpoint may be in CLOSED already, where anything gets a RST."""
        got = self.fin_at is not None and self.rcv_limit > self.fin_at
        return (
            self.closing and got and self.fin_sent is not None and self.their_acks > self.fin_sent
        )

    @property
    def rcv_limit(self) -> int:
        """The number that an endpoint with endless patience would acknowledge by now."""
        if self.irs is None:
            return 0
        at = self.got.end_from(self.irs + 1)
        return at + 1 if self.fin_at == at else at


class Oracle:
    """Judges all connections of one address. `violations` says what was wrong, with the time."""

    def __init__(self, address: int, *, rto_min: int = 200_000, in_order: bool = True) -> None:
        self.ip = address
        self.rto_min = rto_min
        self.conns: dict[Key, Shadow] = {}
        self.listening: set[int] = set()
        self.violations: list[str] = []
        self.judged = 0
        self.now = 0
        # Whether frames reach us in the order in which the card sends them.
        self.in_order = in_order

    def _wrong(self, c: Shadow | None, text: str) -> None:
        who = f"{c.key[0]}-{fr.ip_text(c.key[1])}:{c.key[2]}" if c else ""
        self.violations.append(f"{self.now} us {who}: {text}")

    # ---- the tenant asks -----------------------------------------------------------------------

    def listen(self, port: int, on: bool = True) -> None:
        (self.listening.add if on else self.listening.discard)(port)

    def connect(self, key: Key, ring: int) -> None:
        self.conns[key] = Shadow(key, True, ring)

    def gave(self, key: Key, data: bytes) -> None:
        """SEND."""
        c = self.conns[key]
        if c.shut:
            raise ValueError("the tenant sends after SHUTDOWN")
        c.out += data

    def took(self, key: Key, n: int) -> None:
        """CREDIT."""
        self.conns[key].taken += n

    def shutdown(self, key: Key, close: bool = False) -> None:
        c = self.conns[key]
        c.shut = True
        c.closing |= close

    def abort(self, key: Key) -> None:
        self.conns[key].aborted = True

    # ---- the tenant is told --------------------------------------------------------------------

    def event(self, key: Key, name: str, now: int, data: bytes = b"", n: int = 0) -> None:
        self.now = now
        c = self.conns.get(key)
        if c is None:
            self.violations.append(f"{now} us: {name} for {key}, of which nothing is known")
            return
        self.judged += 1
        if c.over:
            self._wrong(c, f"{name} after the end")
        getattr(self, f"_told_{name.lower()}")(c, data, n)
        if name not in ("DATA", "SENT"):
            c.told.append(name)

    def _told_connected(self, c: Shadow, data: bytes, n: int) -> None:
        if c.irs is None or c.iss is None or c.their_acks <= c.iss:
            self._wrong(c, "told of a connection that is not established")
        if c.told:
            self._wrong(c, f"established after {c.told}")

    _told_accepted = _told_connected

    def _told_data(self, c: Shadow, data: bytes, n: int) -> None:
        assert c.irs is not None
        start = c.irs + 1 + c.announced
        if not c.got.covers(start, start + len(data)):
            self._wrong(c, f"DATA up to {c.announced + len(data)}: not all of it arrived in order")
        elif not self._matches(c, start, data):
            self._wrong(c, f"DATA at {c.announced}: other bytes than the peer sent")
        c.announced += len(data)
        if "PEER_CLOSED" in c.told:
            self._wrong(c, "DATA after PEER_CLOSED")

    @staticmethod
    def _matches(c: Shadow, start: int, data: bytes) -> bool:
        """Each byte as some segment had it."""
        want = bytearray(len(data))
        have = bytearray(len(data))
        for seq, payload in c.data.items():
            lo, hi = max(seq, start), min(seq + len(payload), start + len(data))
            if lo < hi:
                want[lo - start : hi - start] = payload[lo - seq : hi - seq]
                have[lo - start : hi - start] = b"\1" * (hi - lo)
        # What was delivered needs no keeping.
        for seq in [s for s, p in c.data.items() if s + len(p) <= start]:
            del c.data[seq]
        return want == data and all(have)

    def _told_sent(self, c: Shadow, data: bytes, n: int) -> None:
        assert c.iss is not None
        c.confirmed += n
        if c.iss + 1 + c.confirmed > c.their_acks:
            self._wrong(c, f"SENT up to {c.confirmed}, but that was not acknowledged")

    def _told_peer_closed(self, c: Shadow, data: bytes, n: int) -> None:
        if c.fin_at is None or c.irs is None or c.irs + 1 + c.announced != c.fin_at:
            self._wrong(c, f"PEER_CLOSED after {c.announced} bytes: the FIN is not there")

    def _told_reset(self, c: Shadow, data: bytes, n: int) -> None:
        established = "CONNECTED" in c.told or "ACCEPTED" in c.told
        if not (c.rst_at if established else c.refusals or c.rst_at):
            self._wrong(c, "RESET without a RST that could have caused it")

    def _told_timeout(self, c: Shadow, data: bytes, n: int) -> None:
        if not c.sends and c.syns_sent < 2 and c.iss is not None:
            self._wrong(c, "TIMEOUT though nothing was sent")

    def _told_closed(self, c: Shadow, data: bytes, n: int) -> None:
        c.over = True
        gone = c.rst_at or c.refusals or c.rst_sent or c.aborted or "TIMEOUT" in c.told
        if gone or not c.closing:
            return
        established = "CONNECTED" in c.told or "ACCEPTED" in c.told
        if established and (c.fin_sent is None or c.their_acks <= c.fin_sent):
            self._wrong(c, "CLOSED before the peer acknowledged our FIN")

    # ---- a frame reaches the card --------------------------------------------------------------

    def received(self, frame: bytes, now: int) -> None:
        self.now = now
        try:
            f = fr.parse(frame)
        except FrameError:
            return
        if f.kind == "icmp" and f.payload[:2] == b"\3\4":
            for c in self.conns.values():
                c.hints, c.hint_at = c.hints + 1, now
            return
        if f.kind != "tcp" or f.dip != self.ip:
            return
        key = (f.dport, f.sip, f.sport)
        c = self.conns.get(key)
        if c is None or (c.over and f.flags & SYN and not f.flags & ACK):
            if f.dport not in self.listening or f.flags & (SYN | ACK | RST) != SYN:
                return
            c = self.conns[key] = Shadow(key, False)
        self.judged += 1
        if f.flags & RST:
            self._rst_arrives(c, f)
        elif f.flags & SYN:
            self._syn_arrives(c, f)
        elif c.irs is not None:
            self._segment_arrives(c, f)

    def _rst_arrives(self, c: Shadow, f: Frame) -> None:
        if c.irs is None:
            c.refusals += 1
            return
        seq = unwrap(f.seq, c.ack)
        # Exactly RCV.NXT (RFC 5961), which lies between what was acknowledged and what arrived.
        if c.ack <= seq <= c.rcv_limit:
            c.rst_at.append(seq)

    def _syn_arrives(self, c: Shadow, f: Frame) -> None:
        if c.irs is not None or (c.opened and c.iss is None):
            return
        if f.flags & ACK and (c.iss is None or unwrap(f.ack, c.iss) != c.iss + 1):
            return
        c.irs = f.seq
        c.ack = c.irs + 1
        c.their_mss = f.mss if f.mss is not None else 536
        c.their_scale = min(f.wscale or 0, 14)
        c.scales = f.wscale is not None
        asks = f.flags & (fr.ECE | fr.CWR)
        c.peer_offers = {
            "ts": f.ts is not None,
            "sack": f.sack_ok,
            "ecn": asks == (fr.ECE if f.flags & ACK else fr.ECE | fr.CWR),
        }
        if f.ts is not None:
            c.tsvals.add(f.ts[0])
        if f.flags & ACK:
            assert c.iss is not None
            self._note_ack(c, c.iss + 1)
            c.their_edge = c.iss + 1 + f.window
        else:
            c.their_edge = -1 - f.window  # from the ISS, once it is known

    @staticmethod
    def _counts(c: Shadow, f: Frame, seq: int) -> bool:
        """The segment is acceptable wherever RCV.NXT stands just now, and not too old by its timestamp."""
        inside = c.rcv_limit <= seq < c.edge or seq < c.rcv_limit < seq + len(f.payload)
        fresh = f.ts is None or c.last_echo is None or (f.ts[0] - c.last_echo) % MOD < MOD >> 1
        return inside and fresh

    def _note_ack(self, c: Shadow, number: int, counts: bool = True) -> None:
        if number > c.their_acks:
            c.delivered += number - c.their_acks if c.their_acks else 0
            c.their_acks = number
        # The ACK of a segment that is not acceptable is lost with it (RFC 9293, 3.10.7.4).
        if counts and (not c.acked_at or number > c.acked_at[-1][0]):
            c.acked_at.append((number, self.now))

    def _segment_arrives(self, c: Shadow, f: Frame) -> None:
        assert c.irs is not None
        seq = unwrap(f.seq, c.ack)
        n = len(f.payload)
        if f.ts is not None:
            c.tsvals.add(f.ts[0])
        c.ce += f.ecn == fr.CE
        c.eces += bool(f.flags & fr.ECE)
        if f.flags & ACK and c.iss is not None:
            number = unwrap(f.ack, max(c.their_acks, c.iss))
            if number <= c.snd_max:
                hint = (number == c.their_acks and not n) or f.sack
                self._note_ack(c, number, self._counts(c, f, seq))
                scale = c.their_scale if c.scales and c.card_offers.get("ws") else 0
                c.their_edge = max(c.their_edge, number + (f.window << scale))
                if hint:
                    c.hints, c.hint_at = c.hints + 1, self.now
                    c.delivered += max(c.their_mss, sum((e - s) % MOD for s, e in f.sack))
            else:
                c.bad_acks += 1
        if not f.flags & ACK:
            return
        end = seq + n
        if n:
            if c.closing and end > c.ack:
                c.late_data = True
            self._note_twice(c, seq, end)
            c.got.add(max(seq, c.irs + 1), end)
            c.data[seq] = f.payload if len(f.payload) >= len(c.data.get(seq, b"")) else c.data[seq]
            self._owe(c, f, seq, end)
        if f.flags & FIN and c.fin_at is None:
            c.fin_at = end

    @staticmethod
    def _note_twice(c: Shadow, seq: int, end: int) -> None:
        for s, e in zip(c.got.starts, c.got.ends, strict=True):
            c.twice.add(max(s, seq), min(e, end))

    def _owe(self, c: Shadow, f: Frame, seq: int, end: int) -> None:
        """Data that certainly is in order and inside the window is acknowledged in time."""
        sure = seq <= c.ack < end <= c.edge and c.iss is not None and c.told
        fresh = f.ts is None or c.last_echo is None or (f.ts[0] - c.last_echo) % MOD < MOD >> 1
        if sure and fresh and (f.ts is not None) == c.ts_on and f.flags & ACK:
            assert c.iss is not None
            if c.iss < unwrap(f.ack, c.iss) <= c.snd_max:
                c.owed.append((end, self.now + ACK_WITHIN_US + INSIDE_US))

    # ---- a frame leaves the card ---------------------------------------------------------------

    def sent(self, frame: bytes, now: int) -> None:
        self.now = now
        f = fr.parse(frame)
        if f.kind != "tcp" or f.sip != self.ip:
            return
        self.judged += 1
        c = self.conns.get((f.sport, f.dip, f.dport))
        if c is None:
            if not f.flags & RST:
                self._wrong(None, f"a segment of no connection: {f}")
            return
        if f.flags & RST:
            self._judge_rst(c, f)
            return
        if c.rst_sent and not f.flags & SYN:
            self._wrong(c, f"a segment after our RST: {f}")
        if f.flags & SYN:
            self._judge_syn(c, f)
            return
        if c.iss is None or c.irs is None:
            self._wrong(c, f"a segment before the handshake: {f}")
            return
        if not f.flags & ACK:
            self._wrong(c, f"a segment without ACK: {f}")
        self._judge_ack(c, f)
        self._judge_options(c, f)
        self._judge_data(c, f)

    def _judge_rst(self, c: Shadow, f: Frame) -> None:
        reason = (
            c.aborted or c.bad_acks or c.late_data or c.over or c.rst_at or c.refusals
            or c.unread or c.finished or "RESET" in c.told or "TIMEOUT" in c.told
        )  # fmt: skip
        if c.told and not reason:
            self._wrong(c, f"RST without a reason: {f}")
        if c.aborted or c.late_data or c.unread:
            c.rst_sent = True

    def _judge_syn(self, c: Shadow, f: Frame) -> None:
        c.syns_sent += 1
        if c.iss is None:
            c.iss = f.seq
            c.snd_max = c.their_acks = c.iss
            c.snd_max = c.iss + 1
            if c.their_edge < 0:
                c.their_edge = c.iss + 1 - (c.their_edge + 1)
            c.edge = (c.irs or 0) + 1 + f.window
        elif f.seq != c.iss & (MOD - 1) and not c.over:
            self._wrong(c, f"a SYN with another number: {f}")
        if bool(f.flags & ACK) != (c.irs is not None) and not c.opened:
            self._wrong(c, f"SYN without an ACK of the peer's: {f}")
        if f.payload:
            self._wrong(c, f"data on a SYN: {f}")
        offers = {"ts": f.ts is not None, "sack": f.sack_ok, "ws": f.wscale is not None}
        asks = f.flags & (fr.ECE | fr.CWR)
        offers["ecn"] = asks == (fr.ECE if f.flags & ACK else fr.ECE | fr.CWR)
        if f.flags & ACK:
            if c.irs is None or f.ack != c.irs + 1 & (MOD - 1):
                self._wrong(c, f"SYN,ACK with a wrong ACK: {f}")
            for name in ("ts", "sack", "ecn"):
                if offers[name] and not c.peer_offers.get(name):
                    self._wrong(c, f"{name} in a SYN,ACK though the SYN had none: {f}")
            if offers["ws"] and not c.scales:
                self._wrong(c, f"window scale in a SYN,ACK though the SYN had none: {f}")
            if f.ts is not None and f.ts[1] not in c.tsvals:
                self._wrong(c, f"echo of a timestamp that never came: {f}")
        c.card_offers = offers
        c.our_scale = f.wscale or 0
        if f.ecn != fr.NOT_ECT:
            self._wrong(c, f"ECT on a SYN: {f}")

    def _judge_ack(self, c: Shadow, f: Frame) -> None:
        number = unwrap(f.ack, c.ack)
        limit = c.rcv_limit
        if number > limit:
            self._wrong(c, f"ACK of {number - limit} bytes that did not arrive: {f}")
        if number < c.ack and self.in_order:
            self._wrong(c, f"ACK goes back by {c.ack - number}: {f}")
        scale = c.our_scale if c.scales and c.card_offers.get("ws") else 0
        edge = number + (f.window << scale)
        if self.in_order and edge + (1 << scale) <= c.edge:
            self._wrong(c, f"window taken back by {c.edge - edge}: {f}")
        assert c.irs is not None
        room = c.irs + 1 + c.ring + c.taken + (c.fin_at is not None)
        if c.ring and edge > room + (1 << scale) - 1:
            self._wrong(c, f"window {edge - room} bytes beyond the ring: {f}")
        c.ack = max(c.ack, number)
        c.edge = max(c.edge, edge)
        c.owed = [(n, by) for n, by in c.owed if n > c.ack]

    def _judge_options(self, c: Shadow, f: Frame) -> None:
        if (f.ts is not None) != c.ts_on:
            self._wrong(c, f"timestamps {'missing' if c.ts_on else 'not agreed'}: {f}")
        if f.ts is not None:
            if f.ts[1] not in c.tsvals:
                self._wrong(c, f"echo of a timestamp that never came: {f}")
            for last, new, what in ((c.last_ts, f.ts[0], "TSval"), (c.last_echo, f.ts[1], "echo")):
                if self.in_order and last is not None and (new - last) % MOD >= MOD >> 1:
                    self._wrong(c, f"{what} goes back from {last}: {f}")
            c.last_ts, c.last_echo = f.ts
        if f.sack and not c.sack_on:
            self._wrong(c, f"SACK blocks that nobody agreed on: {f}")
        blocks = [(unwrap(s, c.ack), unwrap(e, c.ack)) for s, e in f.sack]
        for i, (s, e) in enumerate(blocks):
            if s >= e or not c.got.covers(s, e):
                self._wrong(c, f"SACK block of what did not arrive: {f}")
                continue
            inside = any(s >= s2 and e <= e2 for s2, e2 in blocks[1:2])
            dsack = i == 0 and (e <= c.ack or s < c.ack or inside)
            if dsack and not c.twice.covers(s, e):
                self._wrong(c, f"D-SACK of what came once: {f}")
            if i and s <= c.ack:
                self._wrong(c, f"SACK block below the ACK: {f}")
        held = blocks[1:] if blocks and (blocks[0][0] < c.ack or len(blocks) > 1) else blocks
        for (s1, e1), (s2, e2) in ((x, y) for i, x in enumerate(held) for y in held[:i]):
            if max(s1, s2) < min(e1, e2):
                self._wrong(c, f"SACK blocks overlap: {f}")
        if f.flags & fr.ECE and not (c.ecn_on and c.ce):
            self._wrong(c, f"ECE though no mark came: {f}")
        if f.flags & fr.CWR and not (c.ecn_on and (c.eces or c.hints or c.repeats)):
            self._wrong(c, f"CWR though nothing asked for a smaller window: {f}")
        if f.ecn == fr.CE or (f.ecn != fr.NOT_ECT and not (c.ecn_on and f.payload)):
            self._wrong(c, f"ECN field {f.ecn}: {f}")

    def _judge_data(self, c: Shadow, f: Frame) -> None:
        assert c.iss is not None
        seq = unwrap(f.seq, c.snd_max)
        n = len(f.payload)
        end = seq + n
        if n + len(f.options) > min(c.their_mss or 536, c.mtu - 40) and n > 64:
            self._wrong(c, f"longer than the peer's MSS of {c.their_mss}: {f}")
        at = seq - c.iss - 1
        keepalive = n == 1 and end <= c.their_acks
        if n and not keepalive:
            self._judge_bytes(c, f, seq, at, n)
        elif not n and not f.flags & FIN and seq not in (c.snd_max, c.snd_max - 1):
            self._wrong(
                c, f"a pure ACK with the number {seq - c.iss}, not {c.snd_max - c.iss}: {f}"
            )
        if f.flags & FIN:
            if not c.shut:
                self._wrong(c, f"FIN though the tenant has not closed: {f}")
            if end != c.iss + 1 + len(c.out):
                self._wrong(c, f"FIN before the end of the data: {f}")
            if c.fin_sent is None and seq > c.snd_max:
                self._wrong(c, f"FIN ahead of data not sent: {f}")
            c.fin_sent = end
            c.snd_max = max(c.snd_max, end + 1)
        elif c.fin_sent is not None and end > c.fin_sent and n:
            self._wrong(c, f"data after our FIN: {f}")
        if n and not keepalive:
            c.sends.append((seq, end, self.now))
            if len(c.sends) > 4096:
                c.sends = [x for x in c.sends if x[1] > c.their_acks][-4096:]

    def _judge_bytes(self, c: Shadow, f: Frame, seq: int, at: int, n: int) -> None:
        assert c.iss is not None
        end = seq + n
        if at < 0 or at + n > len(c.out):
            self._wrong(c, f"bytes that the tenant never gave: {f}")
        else:
            # What is acknowledged may be overwritten by the tenant while a copy of it is under way.
            fresh = max(0, c.their_acks - seq)
            if c.out[at + fresh : at + n] != f.payload[fresh:]:
                self._wrong(c, f"other bytes than the tenant gave: {f}")
        if end > c.their_edge + (1 if n == 1 else 0):
            self._wrong(c, f"{end - c.their_edge} bytes beyond the peer's window: {f}")
        if seq > c.snd_max:
            self._wrong(c, f"a gap of {seq - c.snd_max} before it: {f}")
        if not c.told and not c.opened and c.their_acks <= c.iss:
            self._wrong(c, f"data before the handshake is over: {f}")
        again = seq < c.snd_max
        if again:
            self._judge_again(c, f, seq, end)
        flight = max(end, c.snd_max) - c.their_acks
        mss = min(c.their_mss or 536, c.mtu - 40)
        most = max(10 * mss, 14_600) + 2 * c.delivered + 4 * mss
        if flight > most:
            self._wrong(c, f"{flight} bytes in flight, {most} at most: {f}")
        if again and f.ecn != fr.NOT_ECT:
            self._wrong(c, f"ECT on a retransmission: {f}")
        c.snd_max = max(c.snd_max, end)

    def _known_ack(self, c: Shadow) -> int:
        """What was acknowledged long enough ago for the card to know."""
        known = c.iss or 0
        for number, at in reversed(c.acked_at):
            if at <= self.now - INSIDE_US:
                known = number
                break
        if len(c.acked_at) > 1000:
            c.acked_at = c.acked_at[-500:]
        return known

    def _judge_again(self, c: Shadow, f: Frame, seq: int, end: int) -> None:
        c.repeats += 1
        if end <= self._known_ack(c):
            self._wrong(c, f"sends again what is acknowledged: {f}")
        last = max((t for s, e, t in c.sends if s <= seq < e), default=None)
        if last is None:
            return
        waited = self.now - last
        reason = c.hint_at >= last - INSIDE_US or c.their_edge <= seq + 1
        enough = 1000 if c.sack_on else self.rto_min - 2000
        later = any(t > last and s < c.snd_max and s >= seq for s, e, t in c.sends)
        if waited < enough and not reason and not later and len(f.payload) > 1:
            self._wrong(c, f"sent again after {waited} us without a reason: {f}")

    # ---- as time passes, and at the end --------------------------------------------------------

    def states(self, key: Key) -> set[str]:
        """The states of RFC 9293 that an endpoint with this history can be in."""
        c = self.conns[key]
        if c.over or c.rst_sent or c.aborted:
            return {"DEAD", "FREE", "DRAIN", "IDLE", "CLOSED"}
        if c.iss is None:
            return {"SYN_SENT"} if c.opened else {"SYN_RCVD", "LISTEN", "CREDIT"}
        out: set[str] = set()
        if not c.told:
            out |= {"SYN_SENT"} if c.opened else set()
            out |= {"SYN_RCVD"} if c.irs is not None else set()
        if c.rst_at or c.refusals or {"RESET", "TIMEOUT"} & set(c.told):
            out |= {"DEAD", "DRAIN", "FREE"}
        if c.irs is None or c.their_acks <= c.iss:
            return out
        got_fin = {c.fin_at is not None and c.rcv_limit > c.fin_at}
        got_fin |= {c.fin_at is not None and c.ack > c.fin_at}
        acked = {c.fin_sent is not None and c.their_acks > c.fin_sent}
        acked |= {False} if self._known_ack(c) <= (c.fin_sent or 1 << 62) else set()
        for fin in got_fin:
            if not c.shut:
                out.add("CLOSE_WAIT" if fin else "ESTABLISHED")
                continue
            for done in acked:
                if fin:
                    # Which one depends on who was first.
                    out |= (
                        {"TIME_WAIT", "DEAD", "DRAIN", "FREE"} if done else {"CLOSING", "LAST_ACK"}
                    )
                else:
                    out.add("FIN_WAIT2" if done else "FIN_WAIT1")
        if c.shut:
            out |= {"CLOSE_WAIT", "ESTABLISHED"} if not acked - {False} else set()
        return out

    def tick(self, now: int) -> None:
        """What should have happened by now."""
        self.now = now
        for c in self.conns.values():
            if c.over or c.aborted or c.rst_at or c.rst_sent:
                continue
            late = [number for number, by in c.owed if by < now]
            if late:
                self._wrong(c, f"data up to {late[0]} not acknowledged for half a second")
                c.owed = []

    def check(self) -> None:
        assert not self.violations, "\n".join(self.violations[:8])
