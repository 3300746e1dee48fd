# SPDX-License-Identifier: Apache-2.0
"""Plays a script on a card: peer and tenant at once, each answer compared with what the script says.

The card is whatever gives `Card`: nk_core in a simulator (sim) or the twin (twin). Time is the card's,
in microseconds; a step is timed from the moment at which the one before was over.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from common.tenant import Job, Sock, Tenant
from model import frames as fr
from netkernel import abi
from netkernel.abi import NSM, PF, VFE

from .lang import ECN_NAMES, LISTENER, Option, Script, Segment, Setup, Step, Term, Value

MOD = 1 << 32
PEER_IP, PEER_MAC = fr.ip("10.1.0.200"), 0x0200000000C8
CARD_IP, CARD_MAC = fr.ip("10.1.0.2"), 0x024E4B000000
LISTEN_PORT, FIRST_PEER_PORT, SERVER_PORT, FIRST_CARD_PORT = 8080, 5000, 80, 40000
SOCKETS = 64

# One long row of random bytes for each stream, so that a byte at a wrong place is a wrong byte.
_STREAM = 65521
_ROWS = [random.Random(f"stream {i}").randbytes(_STREAM) * 40 for i in range(3)]
PEER_STREAM, PEER_OTHER, TENANT_STREAM = range(3)


def stream(row: int, at: int, n: int) -> bytes:
    at %= _STREAM
    return _ROWS[row][at : at + n]


class ScriptFailed(AssertionError):
    """The card did otherwise than the script says."""


class Card(Protocol):
    """Where a script is played."""

    tenant: Tenant
    on_frame: Callable[[bytes, int], None]
    settle_us: int  # how long stray frames may take

    @property
    def now(self) -> int: ...
    def tolerance(self, us: int) -> int: ...
    def send(self, frame: bytes) -> None: ...
    async def wait(self, cond: Callable[[], Any], until: int) -> bool: ...
    async def fresh(self, writes: list[tuple[int, int]], mtu: int) -> None: ...
    async def pf_read(self, addr: int) -> int: ...


def register_writes(setup: Setup) -> list[tuple[int, int]]:
    """PF registers: timers, limits and NSM profile 0 as the script wants them, all others as after reset."""
    card = {
        "rto_min": 200_000, "rto_init": 1_000_000, "rto_max": 60_000_000, "time_wait": 2_000_000,
        "delayed_ack": 20_000, "fin_wait2": 60_000_000, "retries": 12, "syn_retries": 6,
        "initial_cwnd": 10, **setup.card,
    }  # fmt: skip
    prof = {
        "cc": 0, "sack": 1, "timestamps": 1, "ecn": 0, "window_scale": 1, "tlp": 1,
        "initial_cwnd": 0, "param": 0, **setup.profile,
    }  # fmt: skip
    ctrl = 0
    for name in ("cc", "sack", "timestamps", "ecn", "window_scale", "tlp", "initial_cwnd"):
        at = getattr(NSM, f"CTRL_{name.upper()}")
        ctrl |= prof[name] << at.lsb
    return [
        (PF.RTO_MIN_US, card["rto_min"]),
        (PF.RTO_INIT_US, card["rto_init"]),
        (PF.RTO_MAX_US, card["rto_max"]),
        (PF.TIME_WAIT_US, card["time_wait"]),
        (PF.DELAYED_ACK_US, card["delayed_ack"]),
        (PF.FIN_WAIT2_US, card["fin_wait2"]),
        (PF.RETRIES, card["retries"] | card["syn_retries"] << 8 | 60 << 16),
        (PF.INITIAL_CWND, card["initial_cwnd"]),
        (PF.NSM_BASE + NSM.CTRL, ctrl),
        (PF.NSM_BASE + NSM.PARAM_LO, prof["param"] & 0xFFFFFFFF),
        (PF.NSM_BASE + NSM.PARAM_HI, prof["param"] >> 32),
    ]


def vf_writes(mtu: int) -> list[tuple[int, int]]:
    """The VF table entry of VF 0, relative to it; CTRL last."""
    return [
        (VFE.MAC_LO, CARD_MAC & 0xFFFFFFFF),
        (VFE.MAC_HI, CARD_MAC >> 32),
        (VFE.IPV4, CARD_IP),
        (VFE.NETMASK, 0xFFFF0000),
        (VFE.GATEWAY, 0),
        (VFE.SOCKET_BASE, 0),
        (VFE.SOCKET_COUNT, SOCKETS),
        (VFE.MTU, mtu),
        (VFE.NSM, 0),
        (VFE.CTRL, 1),
    ]


# ------------------------------------------------------------------------------ a connection


@dataclass
class Event:
    at: int
    name: str
    text: str


@dataclass
class Got:
    """A segment of the card's. update: a pure ACK that only opens the window further."""

    at: int
    f: fr.Frame
    update: bool


@dataclass
class Life:
    """One socket of the tenant: what it sent and got."""

    sock: Sock
    conn: Conn  # the label that hears of it
    given: int = 0  # bytes sent
    data: int = 0  # bytes announced by DATA
    data_told: int = 0  # of them, named in the script
    sent_told: int = 0
    data_at: int = 0
    sent_at: int = 0


@dataclass
class Conn:
    """A label of the script: a pair of ports, both initial sequence numbers, the tenant's socket."""

    name: str
    peer_port: int
    card_port: int
    peer_isn: int
    peer_ts: int
    card_iss: int | None = None
    card_ts: int | None = None  # the first TSval of the card
    last_ts: int | None = None
    win: int = 65535
    syn_ts: list[bool] = field(default_factory=lambda: [False, False])  # offered: peer, card
    frames: deque[Got] = field(default_factory=deque)
    last: tuple[int, int, int] | None = None  # seq, ack, window of the last segment
    events: deque[Event] = field(default_factory=deque)
    life: Life | None = None
    peer_sent: list[bytearray] = field(default_factory=lambda: [bytearray(), bytearray()])

    @property
    def ts_on(self) -> bool:
        return all(self.syn_ts)

    def card_rel(self, seq: int) -> int:
        """A number of the card's, relative to its first one (as it is while that is unknown)."""
        return signed(seq - (self.card_iss or 0)) if self.card_iss is not None else seq

    def peer_rel(self, seq: int) -> int:
        return signed(seq - self.peer_isn)

    def show(self, f: fr.Frame, out: bool) -> str:
        """A segment in the script's own words."""
        mine, other = (self.card_rel, self.peer_rel) if out else (self.peer_rel, self.card_rel)
        letters = "".join(c for c, b in _LETTERS if f.flags & b) or "0"
        seq, n = mine(f.seq), len(f.payload)
        ecn = {v: k for k, v in ECN_NAMES.items()}[f.ecn]
        text = f"[{ecn}] " if f.ecn else ""
        text += f"{letters} {seq}:{seq + n}({n})"
        text += f" ack {other(f.ack)}" if f.flags & fr.ACK else ""
        text += f" win {f.window}"
        opts = []
        if f.mss is not None:
            opts.append(f"mss {f.mss}")
        if f.sack_ok:
            opts.append("sackOK")
        if f.ts is not None:
            base, ebase = self.card_ts or 0, self.peer_ts
            if not out:
                base, ebase = ebase, base
            ecr = signed(f.ts[1] - ebase) if f.ts[1] else "zero"
            opts.append(f"TS val {signed(f.ts[0] - base)} ecr {ecr}")
        if f.wscale is not None:
            opts.append(f"wscale {f.wscale}")
        if f.sack:
            opts.append("sack " + " ".join(f"{other(s)}:{other(e)}" for s, e in f.sack))
        return text + (f" <{', '.join(opts)}>" if opts else "")


_LETTERS = (
    ("F", fr.FIN), ("S", fr.SYN), ("R", fr.RST), ("P", fr.PSH), ("U", fr.URG), ("E", fr.ECE),
    ("W", fr.CWR), ("A", fr.AE), (".", fr.ACK),
)  # fmt: skip


def signed(n: int) -> int:
    return ((n + (MOD >> 1)) % MOD) - (MOD >> 1)


# ------------------------------------------------------------------------------ the player


class Player:
    """Plays one script on one card."""

    def __init__(self, script: Script, card: Card) -> None:
        self.script, self.card, self.setup = script, card, script.setup
        self.conns: dict[str, Conn] = {}
        self.names: dict[str, int] = {"zero": 0}
        self.log: list[str] = []
        self.strangers: list[str] = []
        self.broken: list[str] = []  # what is wrong at whatever step: bytes, timestamps
        self.start = self.base = 0
        self.listener: Sock | None = None
        self.counters: dict[str, int] = {}
        self.over = False
        self._chosen = self._more = False  # of a group of alternatives: one came; others follow

    async def run(self) -> None:
        await self._prepare()
        for i, step in enumerate(self.script.steps):
            if step.mode == "|" and self._chosen:
                continue  # another one of its group came
            rest = self.script.steps[i + 1 :]
            self._more = step.mode == "|" and bool(rest) and rest[0].mode == "|"
            await getattr(self, f"_step_{step.kind}")(step)
            self._check_broken(step)
            self._chosen = step.mode == "|" and not self._more
        await self._finish()

    # ---- before and after ----------------------------------------------------------------------

    async def _prepare(self) -> None:
        card = self.card
        await card.fresh(register_writes(self.setup), self.setup.card.get("mtu", 1500))
        card.on_frame = self._frame
        self._arp()
        await card.wait(lambda: False, card.now + 20)
        if self.setup.card_iss is not None:
            await self._await_iss(self.setup.card_iss)
        names = {k for s in self.script.steps if s.kind == "counter" for k, _ in s.values}
        self.counters = {name: await self._counter(name) for name in sorted(names)}
        self.start = self.base = card.now
        self.log.clear()

    def _arp(self) -> None:
        """Tell the card our MAC by asking for its."""
        self.card.send(fr.arp(1, PEER_MAC, PEER_IP, 0, CARD_IP))

    async def _await_iss(self, wanted: int) -> None:
        """RFC 9293, 3.4.1: initial numbers move with time. Wait until those of our ports are near.

        A connection that is refused tells what they are now.
        """
        active = any(s.kind == "call" and s.name == "connect" for s in self.script.steps)
        probe = self._conn("main")
        if active:
            sock = self._socket(probe)
            await self._job(sock.connect(PEER_IP, SERVER_PORT, self._active(probe)))
        else:
            listener = self.card.tenant.socket(12, 12)
            await self._job(listener.listen(LISTEN_PORT))
            sock = self._socket(probe)
            await self._job(listener.credit_accept(sock))
            self._inject(probe, fr.SYN, 0, options=fr.tcp_options(1460))
        await self._must(lambda: probe.frames, 3_000_000, "a SYN to learn the initial number")
        at, frame = probe.frames[0].at, probe.frames[0].f
        if active:
            self._inject(probe, fr.RST | fr.ACK, 0, ack=frame.seq + 1)
        else:
            self._inject(probe, fr.RST, 1)
        await self.card.wait(lambda: False, self.card.now + 1000)
        jobs = [sock.abort()] + ([] if active else [listener.close()])
        for job in jobs:
            await self._must(lambda job=job: job.done, 1_000_000, "the end of the probe")
        await self._must(lambda: not self.card.tenant.sockets, 1_000_000, "the end of the probe")
        self.conns.clear()
        ahead = (wanted - frame.seq) % MOD * 4  # its clock counts in 4 us
        await self.card.wait(lambda: False, at + ahead)
        self._arp()  # hours later
        await self.card.wait(lambda: False, self.card.now + 20)

    async def _finish(self) -> None:
        """Nothing more may come; then everything must be free again."""
        card = self.card
        where = self.script.steps[-1].where
        await card.wait(self._pending, card.now + card.settle_us)
        self._none_left(where, "after the last step")
        for conn in self.conns.values():
            life = conn.life
            if life and life.data_told and life.data_told != life.data:
                self._fail(where, f"{life.data_told} bytes of DATA on {conn.name}", f"{life.data}")
            if life and life.sent_told and life.sent_told != life.sock.acked:
                self._fail(
                    where, f"{life.sent_told} bytes SENT on {conn.name}", f"{life.sock.acked}"
                )
        self.over = True
        tenant = card.tenant
        for sock in list(tenant.sockets.values()):
            if not sock.closing:
                sock.abort()
        free = await card.wait(lambda: not tenant.sockets and tenant.quiet, card.now + 400_000_000)
        if not free:
            self._fail(
                where, "every socket CLOSED after ABORT", repr(list(tenant.sockets.values()))
            )
        await card.wait(lambda: False, card.now + card.settle_us)
        for reg, what in ((PF.FLOWS_IN_USE, "flows"), (PF.HASH_IN_USE, "hash entries")):
            left = await card.pf_read(reg)
            if left:
                self._fail(where, f"no {what} in use at the end", str(left))
        lost = await self._counter("events_lost")
        if lost:
            self._fail(where, "no event lost", str(lost))

    # ---- what comes from the card --------------------------------------------------------------

    def _frame(self, frame: bytes, at: int) -> None:
        f = fr.parse(frame)
        if f.kind == "arp":
            if f.op == 1 and f.tpa == PEER_IP:
                self.card.send(fr.arp(2, PEER_MAC, PEER_IP, f.sha, f.spa))
            return
        if self.over:
            return
        conn = next(
            (c for c in self.conns.values() if (c.card_port, c.peer_port) == (f.sport, f.dport)),
            None,
        )
        if f.kind != "tcp" or conn is None:
            self.strangers.append(str(f))
            self._note(at, "", ">", str(f))
            return
        if f.flags & fr.SYN:
            if conn.card_iss is None:
                conn.card_iss = f.seq
            conn.syn_ts[1] = f.ts is not None
        if f.ts is not None:
            if conn.card_ts is None:
                conn.card_ts = f.ts[0]
            if conn.last_ts is not None and signed(f.ts[0] - conn.last_ts) < 0:
                self.broken.append(
                    f"TSval went back from {conn.last_ts} to {f.ts[0]} (RFC 7323, 5.4)"
                )
            conn.last_ts = f.ts[0]
        self._note(at, conn.name, ">", conn.show(f, True))
        self._watch(conn, f)
        conn.frames.append(Got(at, f, self._is_update(conn, f)))
        conn.last = (f.seq + len(f.payload) & 0xFFFFFFFF, f.ack, f.window)

    def _is_update(self, conn: Conn, f: fr.Frame) -> bool:
        """With automatic credit window updates come when they like; a script need not name them."""
        if not self.setup.auto_credit or f.payload or f.sack or conn.last is None:
            return False
        return f.flags == fr.ACK and (f.seq, f.ack) == conn.last[:2] and f.window > conn.last[2]

    def _watch(self, conn: Conn, f: fr.Frame) -> None:
        """What holds for each segment, whatever the script."""
        if not f.flags & (fr.SYN | fr.RST) and (f.ts is not None) != conn.ts_on:
            text = "without a timestamp" if conn.ts_on else "with a timestamp that nobody agreed on"
            self.broken.append(f"a segment {text} (RFC 7323, 3.2): {conn.show(f, True)}")
        at, n = conn.card_rel(f.seq) - 1, len(f.payload)
        keepalive = n == 1 and f.flags & fr.SYN == 0 and at >= 0  # may hold any byte
        if n and conn.card_iss is not None and not f.flags & fr.SYN:
            want = stream(TENANT_STREAM, at, n) if at >= 0 else b""
            if f.payload != want and not (keepalive and conn.life and at < conn.life.sock.acked):
                self.broken.append(f"other bytes than the tenant gave: {conn.show(f, True)}")
            if at >= 0 and conn.life and at + n > conn.life.given:
                self.broken.append(f"bytes that the tenant never gave: {conn.show(f, True)}")

    def _on_event(self, life: Life, name: str) -> None:
        at, sock, conn = self.card.now, life.sock, life.conn
        if name == "ACCEPTED" and sock.peer is not None and sock.peer[1] != conn.peer_port:
            # Credits are taken in their own order: the socket follows the peer that got it.
            conn.life = None if conn.life is life else conn.life
            conn = next(c for c in self.conns.values() if c.peer_port == sock.peer[1])
            conn.life, life.conn = life, conn
        text = name
        if name == "DATA":
            life.data_at = at
            text = f"DATA, {life.data} in all"
        elif name == "SENT":
            life.sent_at = at
            text = f"SENT, {sock.acked} in all"
        elif name == "RESET":
            text = f"RESET {sock.ended.name}" if sock.ended is not None else name
        elif name == "CONNECTED":
            text = f"CONNECTED mss={sock.mss}"
        if not self.over:
            self._note(at, conn.name, "@", text)
            if name not in ("DATA", "SENT"):
                conn.events.append(Event(at, name, text))

    def _on_data(self, life: Life, data: bytes) -> None:
        at, n, conn = life.data, len(data), life.conn
        life.data += n
        own, other = conn.peer_sent
        if own[at : at + n] == b"\1" * n and not any(other[at : at + n]):
            good = data == stream(PEER_STREAM, at, n)
        else:  # each byte as it was sent at least once
            rows = ((own, stream(PEER_STREAM, at, n)), (other, stream(PEER_OTHER, at, n)))
            good = all(
                any(at + i < len(m) and m[at + i] and data[i] == row[i] for m, row in rows)
                for i in range(n)
            )
        if not good and not self.over:
            self.broken.append(f"{conn.name}: DATA of {n} bytes at {at} is not what the peer sent")

    # ---- steps ---------------------------------------------------------------------------------

    async def _step_wait(self, step: Step) -> None:
        await self._advance(step)

    async def _step_in(self, step: Step) -> None:
        assert step.segment is not None
        await self._advance(step)
        conn, seg = self._conn(step.label), step.segment
        for i, (seq, n) in enumerate(parts := seg.parts()):
            self._inject_segment(step, conn, seg, seq, n, last=i == len(parts) - 1)
        self.base = self.card.now

    async def _step_ptb(self, step: Step) -> None:
        """ICMP about a segment of the card's, which quotes its IP header and 8 bytes of TCP."""
        await self._advance(step)
        conn = self._conn(step.label)
        seq = (conn.card_iss or 0) + int(step.args[0]) & 0xFFFFFFFF
        port = conn.card_port if step.args[1] != "unknown" else 1
        segment = fr.tcp(CARD_IP, PEER_IP, port, conn.peer_port, seq, 0, fr.ACK, 0, bytes(1400))
        packet = fr.ipv4(CARD_IP, PEER_IP, fr.IP_TCP, segment)
        body = fr.ipv4(PEER_IP, CARD_IP, fr.IP_ICMP, fr.frag_needed(packet, step.mtu))
        self.card.send(fr.ethernet(CARD_MAC, PEER_MAC, fr.ETH_IPV4, body))
        self._note(self.card.now, conn.name, "<", step.text.split("<", 1)[1].strip())
        self.base = self.card.now

    async def _step_out(self, step: Step) -> None:
        assert step.segment is not None
        conn, seg = self._conn(step.label), step.segment
        parts = seg.parts()
        begin, end = self._window(step)
        if step.mode == "*":
            await self._drain(conn, seg, end)
            return
        for i, (seq, n) in enumerate(parts):
            if not await self._step_out_one(
                step, conn, seg, seq, n, i == len(parts) - 1, begin, end
            ):
                return

    async def _step_out_one(
        self,
        step: Step,
        conn: Conn,
        seg: Segment,
        seq: int,
        n: int,
        last: bool,
        begin: int,
        end: int,
    ) -> bool:
        """False: an optional segment that did not come."""
        want = self._want(seg, seq, n)
        while True:
            if not await self.card.wait(lambda: conn.frames or self.broken, end) or not conn.frames:
                self._check_broken(step)
                if step.mode == "?" or self._more:
                    return False
                since = (end - self.start) / 1000
                self._fail(step.where, want, f"nothing until {since:.3f} ms", step)
            at, f = conn.frames[0].at, conn.frames[0].f
            wrong = self._compare(conn, seg, seq, n, last, f)
            if wrong and conn.frames[0].update:
                conn.frames.popleft()
                continue
            if wrong and self._more:
                return False
            absorbed = (
                step.mode == "~" and wrong and not f.payload
                and not f.flags & (fr.SYN | fr.FIN | fr.RST)
                and conn.peer_rel(f.ack) <= (seg.ack or 0)
            )  # fmt: skip
            if wrong and step.mode == "?":
                return False
            if wrong and not absorbed:
                got = f"{conn.show(f, True)}\n    wrong: {'; '.join(wrong)}"
                self._fail(step.where, want, got, step)
            conn.frames.popleft()
            if absorbed:
                continue
            if step.mode == "?" and at < begin:
                begin = at
            if at < begin or at > end:
                early, late = (begin - self.start) / 1000, (end - self.start) / 1000
                got = f"it came at {(at - self.start) / 1000:.3f} ms"
                self._fail(
                    step.where, f"{want}\n    between {early:.3f} and {late:.3f} ms", got, step
                )
            self._bind(conn, seg, f)
            self.base = max(self.base, at)
            self._more = False
            return True

    async def _drain(self, conn: Conn, seg: Segment, end: int) -> None:
        """Take what matches, as long as the step says or until something else comes."""
        while await self.card.wait(lambda: conn.frames or self.broken, end) and conn.frames:
            if self._compare(conn, seg, seg.seq, seg.length, True, conn.frames[0].f):
                return
            conn.frames.popleft()
        self.base = self.card.now

    async def _step_event(self, step: Step) -> None:
        conn = self._conn(step.label)
        begin, end = self._window(step)
        life = conn.life
        if step.name in ("DATA", "SENT"):
            if life is None:
                self._fail(step.where, step.text, "no socket", step)
            n = int(step.args[0])
            told = f"{step.name.lower()}_told"
            setattr(life, told, getattr(life, told) + n)
            want = getattr(life, told)

            def have() -> int:
                return life.data if step.name == "DATA" else life.sock.acked

            await self.card.wait(lambda: have() >= want or self.broken, end)
            self._check_broken(step)
            at = getattr(life, f"{step.name.lower()}_at")
            if have() != want:
                self._fail(step.where, f"{want} bytes of {step.name} in all", str(have()), step)
        else:
            if not await self.card.wait(lambda: conn.events or self.broken, end) or not conn.events:
                self._check_broken(step)
                since = (end - self.start) / 1000
                self._fail(step.where, f"@ {step.name}", f"no event until {since:.3f} ms", step)
            event = conn.events.popleft()
            at = event.at
            text = " ".join((step.name, *step.args))
            if event.name != step.name or (step.args and event.text != text):
                self._fail(step.where, f"@ {text}", f"@ {event.text}", step)
        if step.when.lo and at < begin:
            got = f"it came at {(at - self.start) / 1000:.3f} ms"
            self._fail(step.where, f"{step.name} not before {(begin - self.start) / 1000:.3f}", got)
        self.base = max(self.base, at)

    async def _step_call(self, step: Step) -> None:
        await self._advance(step)
        job = self._call(step)
        if job is not None:
            await self._must(lambda: job.done, 2_000_000, f"the completion of {step.name}", step)
            if job.status.name != step.status:
                self._fail(step.where, f"{step.name} = {step.status}", job.status.name, step)
        self.base = self.card.now

    async def _step_info(self, step: Step) -> None:
        await self._advance(step)
        conn = self._conn(step.label)
        if conn.life is None:
            self._fail(step.where, "INFO", "no socket", step)
        job = conn.life.sock.info()
        await self._must(lambda: job.done, 2_000_000, "the completion of INFO", step)
        got = {
            "srtt": job.op_data & 0xFFFFFFFF, "cwnd": job.op_data >> 32,
            "rttvar": job.data_ptr & 0xFFFFFFFF, "ssthresh": job.data_ptr >> 32,
            "retrans": job.size & 0xFFFF, "mss": (job.size >> 20) * 4,
        }  # fmt: skip
        state = abi.FlowState(job.size >> 16 & 15).name
        shown = ", ".join(f"{k}={v}" for k, v in got.items()) + f", state={state}"
        self._note(self.card.now, conn.name, "i", shown)
        for want in step.args:
            if state != want:
                self._fail(step.where, f"state={want}", shown, step)
        for name, value in step.values:
            if not self._in(value, got[name], 0):
                self._fail(step.where, f"{name}={value}", shown, step)
        self.base = self.card.now

    async def _step_counter(self, step: Step) -> None:
        await self._advance(step)
        for name, value in step.values:
            got = await self._counter(name) - self.counters[name]
            if not self._in(value, got, 0):
                self._fail(step.where, f"{name} rose by {value}", str(got), step)
        self.base = self.card.now

    async def _step_rebase(self, step: Step) -> None:
        """Another connection on the same ports: new initial numbers."""
        await self._advance(step)
        conn = self._conn(step.label)
        for word in step.args:
            if word == "card":
                conn.card_iss = None
            else:
                conn.peer_isn = conn.peer_isn + int(word[5:]) & 0xFFFFFFFF
                conn.peer_sent = [bytearray(), bytearray()]

    # ---- the tenant ----------------------------------------------------------------------------

    def _call(self, step: Step) -> Job | None:
        """Do what the tenant does; gives the job whose completion counts."""
        self._note(self.card.now, step.label, "!", " ".join((step.name, *step.args)))
        tenant = self.card.tenant
        if step.name == "listen":
            self.listener = tenant.socket(12, 12)
            conn = self._conn(LISTENER)
            self._follow(conn, self.listener)
            return self.listener.listen(LISTEN_PORT)
        conn = self._conn(step.label)
        if step.name == "socket":
            return self._socket(conn).created
        if step.name == "accept":
            if self.listener is None:
                self._fail(step.where, "a listener", "none", step)
            fresh = conn.life is None or conn.life.sock.connected or conn.life.sock.closed
            sock = self._socket(conn) if fresh else conn.life.sock  # type: ignore[union-attr]
            return self.listener.credit_accept(sock)
        if step.name == "connect":
            fresh = conn.life is None or conn.life.sock.closing
            sock = self._socket(conn) if fresh else conn.life.sock  # type: ignore[union-attr]
            return sock.connect(PEER_IP, SERVER_PORT, self._active(conn))
        if conn.life is None:
            self._fail(step.where, step.name, f"{step.label} has no socket", step)
        life, sock = conn.life, conn.life.sock
        match step.name:
            case "send":
                n = int(step.args[0])
                life.given += n
                sock.send(stream(TENANT_STREAM, life.given - n, n))
                return None
            case "credit":
                sock.give_credit(int(step.args[0]))
                return None
            case "setopt":
                return sock.setopt(abi.Option[step.args[0]], int(step.args[1]))
        return getattr(sock, step.name)()

    def _socket(self, conn: Conn) -> Sock:
        setup = self.setup
        sock = self.card.tenant.socket(setup.rx_log2, setup.tx_log2, auto_credit=setup.auto_credit)
        self._follow(conn, sock)
        return sock

    def _follow(self, conn: Conn, sock: Sock) -> None:
        life = conn.life = Life(sock, conn)
        sock.on_event = lambda _, name: self._on_event(life, name)
        sock.on_data = lambda _, data: self._on_data(life, data)

    def _active(self, conn: Conn) -> int:
        """The label's ports are those of a connection that the tenant opens."""
        if conn.peer_port != SERVER_PORT:
            conn.card_port = FIRST_CARD_PORT + conn.peer_port - FIRST_PEER_PORT
            conn.peer_port = SERVER_PORT
        return conn.card_port

    # ---- the peer ------------------------------------------------------------------------------

    def _conn(self, label: str) -> Conn:
        if label not in self.conns:
            n = len(self.conns)
            self.conns[label] = Conn(
                label, FIRST_PEER_PORT + n, LISTEN_PORT,
                self.setup.peer_isn + 0x10000000 * n & 0xFFFFFFFF, self.setup.peer_ts,
            )  # fmt: skip
        return self.conns[label]

    def _inject(
        self,
        conn: Conn,
        flags: int,
        seq: int,
        *,
        ack: int = 0,
        win: int = 65535,
        payload: bytes = b"",
        options: bytes = b"",
        ecn: int = 0,
    ) -> None:
        """A segment to the card: seq relative, ack as it is on the wire."""
        segment = fr.tcp(
            PEER_IP, CARD_IP, conn.peer_port, conn.card_port,
            conn.peer_isn + seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, flags, win, payload, options,
        )  # fmt: skip
        packet = fr.ipv4(PEER_IP, CARD_IP, fr.IP_TCP, segment, tos=ecn)
        frame = fr.ethernet(CARD_MAC, PEER_MAC, fr.ETH_IPV4, packet)
        self._note(self.card.now, conn.name, "<", conn.show(fr.parse(frame), False))
        self.card.send(frame)

    def _inject_segment(
        self, step: Step, conn: Conn, seg: Segment, seq: int, n: int, last: bool
    ) -> None:
        flags = seg.flags if last else seg.flags & ~(fr.FIN | fr.PSH)
        if seg.win is not None:
            conn.win = self._number(step, seg.win, 0)
        if flags & fr.SYN and not flags & fr.ACK:
            conn.syn_ts[0] = False
        options = self._options(step, conn, seg, flags)
        if flags & fr.SYN:
            conn.syn_ts[0] = seg.option("TS") is not None
        payload = b""
        if n:
            payload = stream(PEER_OTHER if seg.alt else PEER_STREAM, seq - 1, n)
            row = conn.peer_sent[seg.alt]
            end = seq - 1 + n
            row.extend(bytes(max(0, end - len(row))))
            first = max(0, seq - 1)
            row[first:end] = b"\1" * (end - first)
        ack = (conn.card_iss or 0) + (seg.ack or 0) if seg.ack is not None else 0
        self._inject(
            conn, flags, seq, ack=ack, win=conn.win, payload=payload, options=options,
            ecn=seg.ecn or 0,
        )  # fmt: skip

    def _options(self, step: Step, conn: Conn, seg: Segment, flags: int) -> bytes:
        out = b""
        given = seg.options or ()
        auto = conn.ts_on and not flags & fr.SYN and not {o.kind for o in given} & {"TS", "noTS"}
        if auto:
            ms = (self.card.now - self.start) // 1000
            out += fr.tcp_options(ts=(conn.peer_ts + ms, conn.last_ts or 0))
        for o in given:
            match o.kind:
                case "mss":
                    out += fr.tcp_options(mss=self._number(step, o.a, 0))
                case "wscale":
                    out += fr.tcp_options(wscale=self._number(step, o.a, 0))
                case "sackOK":
                    out += fr.tcp_options(sack_ok=True)
                case "TS":
                    val = self._number(step, o.a, conn.peer_ts)
                    self.names["last"] = conn.last_ts or 0
                    base = 0 if flags & fr.SYN and not flags & fr.ACK else conn.card_ts or 0
                    out += fr.tcp_options(ts=(val, self._number(step, o.b, base)))
                case "sack":
                    iss = conn.card_iss or 0
                    out += fr.tcp_options(sack=[(iss + s, iss + e) for s, e in o.blocks])
                case "hex":
                    out += o.data
                case "nop":
                    out += b"\1"
                case "eol":
                    out += b"\0"
        return out + b"\0" * (-len(out) % 4)

    # ---- comparing -----------------------------------------------------------------------------

    def _compare(
        self, conn: Conn, seg: Segment, seq: int, n: int, last: bool, f: fr.Frame
    ) -> list[str]:
        """What is wrong with a segment of the card's."""
        wrong = []
        flags = seg.flags if last else seg.flags & ~(fr.FIN | fr.PSH)
        care = 0x1FF if flags & fr.PSH else 0x1FF & ~fr.PSH
        if (f.flags ^ flags) & care:
            wrong.append("flags")
        longest = n if seg.chunk else seg.longest
        if conn.card_rel(f.seq) != seq or not n <= len(f.payload) <= longest:
            wrong.append("sequence numbers")
        if seg.ack is not None and f.flags & fr.ACK and conn.peer_rel(f.ack) != seg.ack:
            wrong.append("ack")
        if seg.win is not None and not self._in(seg.win, f.window, 0):
            wrong.append(f"window {f.window}")
        if seg.ecn is not None and f.ecn != seg.ecn:
            wrong.append("ECN field of the IP header")
        if not seg.any_options:
            wrong += self._compare_options(conn, seg, f)
        return wrong

    def _compare_options(self, conn: Conn, seg: Segment, f: fr.Frame) -> list[str]:
        syn = bool(f.flags & fr.SYN)
        if seg.options is None and syn:
            return []
        wrong = []
        given = {o.kind: o for o in seg.options or ()}
        have = {
            "mss": f.mss is not None, "wscale": f.wscale is not None, "sackOK": f.sack_ok,
            "sack": bool(f.sack), "TS": f.ts is not None,
        }  # fmt: skip
        for kind, there in have.items():
            if kind == "TS" and there and not syn and not given.keys() & {"TS", "noTS"}:
                continue  # on each segment once agreed; `_watch` sees to that
            if there != (kind in given):
                wrong.append(f"option {kind} {'not expected' if there else 'missing'}")
        for o in given.values():
            if have.get(o.kind):
                wrong += self._compare_option(conn, o, f)
        return wrong

    def _compare_option(self, conn: Conn, o: Option, f: fr.Frame) -> list[str]:
        if o.kind == "mss" and not self._in(o.a, f.mss or 0, 0):
            return [f"mss {f.mss}"]
        if o.kind == "wscale" and not self._in(o.a, f.wscale or 0, 0):
            return [f"wscale {f.wscale}"]
        if o.kind == "TS":
            assert f.ts is not None
            wrong = []
            if not self._in(o.a, f.ts[0], conn.card_ts or 0):
                wrong.append("TSval")
            ebase = 0 if f.flags & fr.SYN and not f.flags & fr.ACK else conn.peer_ts
            if not self._in(o.b, f.ts[1], ebase):
                wrong.append("TSecr")
            return wrong
        if o.kind == "sack":
            got = tuple((conn.peer_rel(s), conn.peer_rel(e)) for s, e in f.sack)
            return ["SACK blocks"] if got != o.blocks else []
        return []

    def _bind(self, conn: Conn, seg: Segment, f: fr.Frame) -> None:
        """A name not yet used stands for what came."""
        ts = seg.option("TS")
        if ts is not None and f.ts is not None:
            for value, got in ((ts.a, f.ts[0]), (ts.b, f.ts[1])):
                if (name := value.bare_name) and name not in self.names:
                    self.names[name] = got

    def _resolve(self, term: Term, base: int) -> int:
        if term.name is None:
            return base + term.number
        return self.names[term.name] + term.number

    def _in(self, value: Value, got: int, base: int) -> bool:
        """Does a number match; modulo 2^32 where it has a base."""
        if value.lo is None or value.hi is None:
            return True
        if (name := value.bare_name) and name not in self.names:
            return True
        lo, hi = self._resolve(value.lo, base), self._resolve(value.hi, base)
        if base or value.lo.name:
            return (got - lo) % MOD <= (hi - lo) % MOD
        return lo <= got <= hi

    def _number(self, step: Step, value: Value, base: int) -> int:
        if value.lo is None or value.lo != value.hi:
            self._fail(step.where, "one number in a segment to the card", str(value), step)
        if value.lo.name and value.lo.name not in self.names:
            self._fail(step.where, f"a value for {value.lo.name}", "none was seen", step)
        return self._resolve(value.lo, base) & 0xFFFFFFFF

    @staticmethod
    def _want(seg: Segment, seq: int, n: int) -> str:
        letters = "".join(c for c, b in _LETTERS if seg.flags & b) or "0"
        text = f"{letters} {seq}:{seq + n}({n})"
        text += f" ack {seg.ack}" if seg.ack is not None else ""
        text += f" win {seg.win}" if seg.win is not None else ""
        if seg.options is not None:
            text += f" <{', '.join(map(str, seg.options))}>"
        return text

    # ---- time ----------------------------------------------------------------------------------

    def _window(self, step: Step) -> tuple[int, int]:
        when, tol = step.when, self.card.tolerance
        if when.hi is None:
            return 0, self.base + 200_000_000
        begin = self.base + when.lo - tol(when.lo) if when.lo else 0
        return begin, self.base + when.hi + tol(when.hi)

    async def _advance(self, step: Step) -> None:
        """Let time pass until the step; nothing may come that the script did not name."""
        if step.when.hi is None or not step.when.exact:
            self._fail(step.where, "one time for what peer and tenant do", str(step.when), step)
        if not step.when.lo:
            return
        target = self.base + step.when.lo
        while self.card.now < target:
            await self.card.wait(self._pending, target)
            self._check_broken(step)
            self._none_left(step.where, "before this step")
        self.base = max(target, self.base)

    def _pending(self) -> bool:
        for conn in self.conns.values():
            while conn.frames and conn.frames[0].update:
                conn.frames.popleft()
        return bool(self.broken or self.strangers) or any(
            c.frames or c.events for c in self.conns.values()
        )

    def _none_left(self, where: str, when: str) -> None:
        self._pending()  # window updates aside
        if self.strangers:
            self._fail(where, f"nothing {when}", self.strangers[0])
        for conn in self.conns.values():
            if conn.frames:
                got = conn.frames[0]
                at = (got.at - self.start) / 1000
                text = f"at {at:.3f} ms: {conn.name} > {conn.show(got.f, True)}"
                self._fail(where, f"nothing {when}", text)
            if conn.events:
                event = conn.events[0]
                text = f"at {(event.at - self.start) / 1000:.3f} ms: {conn.name} @ {event.text}"
                self._fail(where, f"nothing {when}", text)

    async def _must(
        self, cond: Callable[[], Any], us: int, what: str, step: Step | None = None
    ) -> None:
        if not await self.card.wait(cond, self.card.now + us):
            where = step.where if step else str(self.script.path)
            self._fail(where, what, f"not within {us} us", step)

    async def _job(self, job: Job) -> None:
        await self._must(lambda: job.done, 2_000_000, f"the completion of {job}")
        if job.status != abi.Status.OK:
            self._fail(str(self.script.path), "OK", str(job))

    async def _counter(self, name: str) -> int:
        at = PF.STATS + 8 * abi.COUNTERS[name]
        low = await self.card.pf_read(at)
        return low | (await self.card.pf_read(at + 4)) << 32

    # ---- saying what went wrong ----------------------------------------------------------------

    def _note(self, at: int, label: str, way: str, text: str) -> None:
        name = "" if label == "main" else label
        self.log.append(f"{(at - self.start) / 1000:>12.3f}  {name:>8} {way} {text}")

    def exchange(self) -> list[str]:
        """All that happened; of many equal lines in a row the first and the last."""
        out: list[str] = []
        at, log = 0, self.log
        while at < len(log):
            end = at
            while end + 1 < len(log) and log[end + 1][12:] == log[at][12:]:
                end += 1
            out.append(log[at])
            if end > at + 2:
                out.append(f"{'':>14}... {end - at - 1} times the same")
            out += log[max(at + 1, end) : end + 1] if end != at + 2 else log[at + 1 : end + 1]
            at = end + 1
        return out

    def _check_broken(self, step: Step) -> None:
        if self.broken:
            self._fail(step.where, "what holds for every segment", self.broken[0], step)

    def _fail(self, where: str, want: str, got: str, step: Step | None = None) -> Any:
        lines = [where + (f":  {step.text}" if step else "")]
        lines += [f"  expected  {want}", f"  got       {got}"]
        lines += [f"  proves: {self.script.title} ({self.script.rfc})"]
        lines += ["  the exchange, in ms:", *self.exchange()]
        raise ScriptFailed("\n".join(lines))
