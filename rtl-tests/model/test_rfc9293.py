# SPDX-License-Identifier: Apache-2.0
"""The oracle: silent over correct hosts on any wire, and each fault that it is to notice, noticed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from model import frames as fr
from model.frames import ACK, FIN, PSH, RST, SYN
from model.rfc9293 import Oracle, Ranges
from model.tcp_peer import Conn, Host, Options
from model.world import World

A, B = "10.1.0.1", "10.1.0.2"


def test_ranges_against_a_set():
    r = random.Random(1)
    for _ in range(200):
        ranges, plain = Ranges(), set()
        for _ in range(30):
            s = r.randrange(60)
            e = s + r.randrange(12)
            ranges.add(s, e)
            plain |= set(range(s, e))
            x = r.randrange(70)
            y = x + r.randrange(1, 8)
            assert ranges.covers(x, y) == set(range(x, y)).issubset(plain)
            end = x
            while end in plain:
                end += 1
            assert ranges.end_from(x) == end
        assert ranges.starts == sorted(ranges.starts)


class Shadowed(World):
    """Two hosts, of which `b` stands in the card's place."""

    def __init__(self, a: Host, b: Host, link: dict[str, Any]) -> None:
        super().__init__(a, b, link)
        self.oracle = Oracle(b.ip, rto_min=200_000)
        take, inp, tick = b.take, b.input, b.tick

        def watched_take() -> list[bytes]:
            frames = take()
            for frame in frames:
                self.oracle.sent(frame, b.now)
            return frames

        def watched_input(frame: bytes, now: int) -> None:
            self.oracle.received(frame, now)
            inp(frame, now)

        def watched_tick(now: int) -> None:
            tick(now)
            self.oracle.tick(now)

        b.take, b.input, b.tick = watched_take, watched_input, watched_tick

    def accept(self, data: bytes) -> Callable[[Conn], None]:
        """What b's tenant does with a new connection: sends, closes."""

        def on_accept(conn: Conn) -> None:
            key = (conn.lport, conn.rip, conn.rport)
            self.oracle.conns[key].ring = conn.opts.rcv_buf
            self.oracle.gave(key, data)
            self.oracle.shutdown(key)
            conn.send(data)
            conn.shutdown()
            conn.on_data = lambda c, got: self.got(key, got)

        return on_accept

    def got(self, key: Any, data: bytes) -> None:
        oracle, c = self.oracle, self.oracle.conns[key]
        if not c.told:
            oracle.event(key, "ACCEPTED", self.now)
        oracle.event(key, "DATA", self.now, data)
        oracle.took(key, len(data))


@pytest.mark.parametrize("block", range(6))
def test_no_false_alarm(block):
    for seed in range(block * 25, block * 25 + 25):
        r = random.Random(seed)
        link = {
            "loss": r.choice((0, 0.01, 0.1)), "reorder": r.choice((0, 0.1, 0.3)),
            "duplicate": r.choice((0, 0.1)), "corrupt": r.choice((0, 0.05)),
            "delay_us": r.choice((50, 20_000)), "jitter_us": r.choice((0, 500)), "seed": seed,
        }  # fmt: skip
        opts = {
            "mss": r.choice((None, 536, 1460)), "wscale": r.choice((None, 0, 7)),
            "timestamps": r.random() < 0.5, "sack": r.random() < 0.5, "ecn": r.random() < 0.5,
            "rcv_buf": r.choice((4096, 65536, 300_000)), "retries": 40, "time_wait": 240_000_000,
        }  # fmt: skip
        exchange(seed, r, link, Options(**opts))


def exchange(seed: int, r: random.Random, link: dict[str, Any], opts: Options) -> None:
    a, b = Host(A, 0x020000000001, seed=seed), Host(B, 0x020000000002, seed=seed)
    a.opts = b.opts = opts
    world = Shadowed(a, b, link)
    world.oracle.listen(80)
    up, down = r.randbytes(r.randrange(40_000)), r.randbytes(r.randrange(40_000))
    b.listen(80, world.accept(down))
    client = a.connect(B, 80)
    client.send(up)
    client.shutdown()
    assert world.run(lambda: client.received == down and not b.conns)
    world.oracle.check()
    assert world.oracle.judged > 5


# ---- each fault, by hand-made frames ---------------------------------------------------------------


class Card:
    """A connection of the card's, whose every segment the test writes."""

    def __init__(self, **options: Any) -> None:
        self.oracle = Oracle(fr.ip(B))
        self.now = 0
        self.key = (80, fr.ip(A), 5)
        self.oracle.listen(80)
        full = {"mss": 1460, "wscale": 2, **options}
        if "ts" in options:
            full["ts"] = (10, 0)
        self.into(SYN, 1000, 0, options=fr.tcp_options(**full))
        full |= options
        self.oracle.conns[self.key].ring = 65536
        self.out(SYN | ACK, 500, 1001, win=65535, options=fr.tcp_options(**full))
        self.into(ACK, 1001, 501, ts=(11, 7) if "ts" in options else None)
        self.oracle.event(self.key, "ACCEPTED", self.now)
        self.oracle.check()

    def _frame(self, sip, dip, sport, dport, seq, ack, flags, win, data, options, ecn) -> bytes:
        segment = fr.tcp(sip, dip, sport, dport, seq, ack, flags, win, data, options)
        return fr.ethernet(1, 2, fr.ETH_IPV4, fr.ipv4(sip, dip, fr.IP_TCP, segment, tos=ecn))

    def into(self, flags, seq, ack, data=b"", win=10_000, options=b"", ts=None, ecn=0, sack=()):
        self.now += 10_000
        options = options or fr.tcp_options(ts=ts, sack=sack)
        self.oracle.received(
            self._frame(fr.ip(A), fr.ip(B), 5, 80, seq, ack, flags, win, data, options, ecn),
            self.now,
        )

    def out(self, flags, seq, ack, data=b"", win=16384, options=b"", ts=None, ecn=0, sack=()):
        self.now += 10_000
        options = options or fr.tcp_options(ts=ts, sack=sack)
        self.oracle.sent(
            self._frame(fr.ip(B), fr.ip(A), 80, 5, seq, ack, flags, win, data, options, ecn),
            self.now,
        )

    def gave(self, data: bytes) -> None:
        self.oracle.gave(self.key, data)

    def event(self, name: str, **kw: Any) -> None:
        self.oracle.event(self.key, name, self.now, **kw)


TS = {"ts": (7, 10)}
SACK = {"sack_ok": True}

FAULTS: dict[str, tuple[str, dict[str, Any], Callable[[Card], Any]]] = {
    "ack ahead": ("did not arrive", {}, lambda c: c.out(ACK, 501, 1002)),
    "ack back": (
        "goes back", {},
        lambda c: (c.into(ACK, 1001, 501, b"abc"), c.out(ACK, 501, 1004), c.out(ACK, 501, 1001)),
    ),
    "window back": (
        "taken back", {}, lambda c: (c.out(ACK, 501, 1001), c.out(ACK, 501, 1001, win=16000)),
    ),
    "window beyond ring": ("beyond the ring", {}, lambda c: c.out(ACK, 501, 1001, win=17000)),
    "data beyond window": (
        "beyond the peer's window", {},
        lambda c: (c.into(ACK, 1001, 501, win=100), c.gave(bytes(70_000)),
                   [c.out(ACK, 501 + 1460 * i, 1001, bytes(1460)) for i in range(28)]),
    ),
    "not the tenant's bytes": (
        "other bytes", {}, lambda c: (c.gave(b"abc"), c.out(ACK, 501, 1001, b"abd")),
    ),
    "bytes never given": ("never gave", {}, lambda c: (c.gave(b"abc"), c.out(ACK, 501, 1001, b"abcd"))),
    "gap": ("a gap", {}, lambda c: (c.gave(b"abcdef"), c.out(ACK, 504, 1001, b"def"))),
    "above the mss": ("longer than", {}, lambda c: (c.gave(bytes(2000)), c.out(ACK, 501, 1001, bytes(1461)))),
    "too much in flight": (
        "in flight", {},
        lambda c: (c.gave(bytes(40_000)),
                   [c.out(ACK, 501 + 1460 * i, 1001, bytes(1460)) for i in range(16)]),
    ),
    "again without a reason": (
        "without a reason", {},
        lambda c: (c.gave(b"abcdef"), c.out(ACK, 501, 1001, b"abcdef"), c.out(ACK, 501, 1001, b"abcdef")),
    ),
    "again what is acknowledged": (
        "is acknowledged", {},
        lambda c: (c.gave(b"abcdef"), c.out(ACK, 501, 1001, b"abcdef"), c.into(ACK, 1001, 507),
                   c.out(ACK, 501, 1001, b"abcdef")),
    ),
    "pure ack with an old number": (
        "a pure ACK with", {},
        lambda c: (c.gave(b"abcdef"), c.out(ACK, 501, 1001, b"abcdef"), c.out(ACK, 501, 1001)),
    ),
    "fin uncalled for": ("has not closed", {}, lambda c: c.out(FIN | ACK, 501, 1001)),
    "fin before data": (
        "before the end", {},
        lambda c: (c.gave(b"abc"), c.oracle.shutdown(c.key), c.out(FIN | ACK, 501, 1001)),
    ),
    "data after fin": (
        "never gave", {},
        lambda c: (c.oracle.shutdown(c.key), c.out(FIN | ACK, 501, 1001), c.out(ACK, 502, 1001, b"x" * 70)),
    ),
    "rst uncalled for": ("RST without", {}, lambda c: c.out(RST | ACK, 501, 1001)),
    "after rst": (
        "after our RST", {},
        lambda c: (c.oracle.abort(c.key), c.out(RST | ACK, 501, 1001), c.out(ACK, 501, 1001)),
    ),
    "no timestamp": ("timestamps missing", TS, lambda c: c.out(ACK, 501, 1001)),
    "timestamp not agreed": ("not agreed", {}, lambda c: c.out(ACK, 501, 1001, ts=(8, 11))),
    "timestamp goes back": (
        "TSval goes back", TS, lambda c: (c.out(ACK, 501, 1001, ts=(9, 11)), c.out(ACK, 501, 1001, ts=(8, 11))),
    ),
    "echo of nothing": ("never came", TS, lambda c: c.out(ACK, 501, 1001, ts=(8, 12))),
    "echo goes back": (
        "echo goes back", TS,
        lambda c: (c.out(ACK, 501, 1001, ts=(8, 11)), c.out(ACK, 501, 1001, ts=(8, 7))),
    ),
    "sack of nothing": ("did not arrive", SACK, lambda c: c.out(ACK, 501, 1001, sack=[(1101, 1201)])),
    "sack not agreed": (
        "nobody agreed", {},
        lambda c: (c.into(ACK, 1101, 501, bytes(100)), c.out(ACK, 501, 1001, sack=[(1101, 1201)])),
    ),
    "dsack of what came once": (
        "came once", SACK,
        lambda c: (c.into(ACK, 1001, 501, bytes(100)), c.out(ACK, 501, 1101, sack=[(1001, 1101)])),
    ),
    "the same block twice": (
        "came once", SACK,
        lambda c: (c.into(ACK, 1101, 501, bytes(100)),
                   c.out(ACK, 501, 1001, sack=[(1101, 1201), (1101, 1201)])),
    ),
    "ece uncalled for": ("no mark", {}, lambda c: c.out(ACK | fr.ECE, 501, 1001)),
    "cwr uncalled for": ("CWR though", {}, lambda c: c.out(ACK | fr.CWR, 501, 1001)),
    "ect not agreed": ("ECN field", {}, lambda c: (c.gave(b"abc"), c.out(ACK, 501, 1001, b"abc", ecn=2))),
    "announced too early": (
        "not all of it", {}, lambda c: (c.into(ACK, 1011, 501, b"abc"), c.event("DATA", data=b"abc")),
    ),
    "announced wrong bytes": (
        "other bytes than the peer", {},
        lambda c: (c.into(ACK, 1001, 501, b"abc"), c.event("DATA", data=b"abd")),
    ),
    "announced twice": (
        "not all of it", {},
        lambda c: (c.into(ACK, 1001, 501, b"abc"), c.event("DATA", data=b"abc"), c.event("DATA", data=b"abc")),
    ),
    "confirmed too early": (
        "not acknowledged", {},
        lambda c: (c.gave(b"abc"), c.out(ACK | PSH, 501, 1001, b"abc"), c.event("SENT", n=3)),
    ),
    "closed too early": ("FIN is not there", {}, lambda c: c.event("PEER_CLOSED")),
    "reset from nowhere": ("without a RST", {}, lambda c: c.event("RESET")),
    "reset by a blind rst": ("without a RST", {}, lambda c: (c.into(RST, 1005, 0), c.event("RESET"))),
    "freed too early": (
        "before the peer acknowledged", {},
        lambda c: (c.oracle.shutdown(c.key, close=True), c.out(FIN | ACK, 501, 1001), c.event("CLOSED")),
    ),
    "never acknowledged": (
        "not acknowledged for half", {},
        lambda c: (c.out(ACK, 501, 1001), c.into(ACK, 1001, 501, b"abc"), c.oracle.tick(c.now + 600_000)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_notices(name):
    says, options, act = FAULTS[name]
    card = Card(**options)
    act(card)
    assert card.oracle.violations, "nothing noticed"
    assert any(says in text for text in card.oracle.violations), card.oracle.violations
