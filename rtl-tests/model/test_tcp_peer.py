# SPDX-License-Identifier: Apache-2.0
"""The TCP peer against itself, on a good and on a hostile wire, and its rules one by one."""

from __future__ import annotations

import random

import pytest

from model import frames as fr
from model.frames import ACK, FIN, PSH, RST, SYN
from model.tcp_peer import Conn, Host, Options, unwrap
from model.world import World

A, B = "10.1.0.1", "10.1.0.2"


def hosts(seed: int = 1, a: Options | None = None, b: Options | None = None) -> tuple[Host, Host]:
    return (
        Host(A, 0x020000000001, seed=seed, opts=a),
        Host(B, 0x020000000002, seed=seed, opts=b),
    )


def clean(*hosts: Host) -> None:
    for host in hosts:
        assert not host.violations, host.violations[:5]


def exchange(seed: int, link: dict, size: int = 60_000, **options) -> World:
    """Both send `size` bytes, then close; bytes must be equal and both connections gone."""
    r = random.Random(seed)
    # Too short a TIME_WAIT would answer the last FIN's retransmission with RST.
    options = {"time_wait": 240_000_000, **options}
    a, b = hosts(seed, Options(**options), Options(**options))
    up, down = r.randbytes(r.randrange(size)), r.randbytes(r.randrange(size))
    served: list[Conn] = []

    def accept(conn: Conn) -> None:
        served.append(conn)
        conn.send(down)
        conn.shutdown()

    b.listen(80, accept)
    client = a.connect(B, 80)
    client.send(up)
    client.shutdown()
    world = World(a, b, {**link, "seed": seed})

    def over() -> bool:
        return bool(served) and not a.conns and not b.conns

    assert world.run(over), f"stuck: {client!r} {served!r}"
    assert served[-1].received == up
    assert client.received == down
    assert client.events == ["connected", "peer_closed", "closed"]
    clean(a, b)
    return world


def test_clean_wire():
    world = exchange(1, {})
    assert world.now < 242_000_000


@pytest.mark.parametrize("block", range(8))
def test_hostile_wire(block):
    """Many seeds of loss, bursts, reorder, duplication and corruption together."""
    for seed in range(block * 40, block * 40 + 40):
        r = random.Random(seed)
        link = {
            "loss": r.choice((0, 0.01, 0.05, 0.2)),
            "burst_loss": r.choice((0, 0.01)),
            "reorder": r.choice((0, 0.05, 0.3)),
            "duplicate": r.choice((0, 0.01, 0.2)),
            "corrupt": r.choice((0, 0.005, 0.1)),
            "delay_us": r.choice((0, 50, 20_000)),
            "jitter_us": r.choice((0, 500)),
            "rate_mbps": r.choice((0, 10)),
        }
        exchange(
            seed, link, size=30_000,
            mss=r.choice((None, 536, 1460)), wscale=r.choice((None, 0, 7)),
            rcv_buf=r.choice((4096, 65536, 300_000)), retries=40,
        )  # fmt: skip


def test_loss_makes_fast_retransmits_not_only_timeouts():
    world = exchange(5, {"loss": 0.02, "delay_us": 5000}, size=400_000)
    assert world.ab.counts["lost"] + world.ba.counts["lost"] > 3
    assert world.now < 260_000_000


def test_link_model_does_what_it_says():
    world = exchange(7, {"loss": 0.1, "reorder": 0.1, "duplicate": 0.1, "corrupt": 0.1}, 300_000)
    for link in (world.ab, world.ba):
        for what in ("lost", "reordered", "duplicated", "corrupted"):
            share = link.counts[what] / link.counts["sent"]
            assert 0.03 < share < 0.2, (what, link.counts)


def connected(a: Host, b: Host, **kw) -> tuple[World, Conn, Conn]:
    listener = b.listen(80)
    client = a.connect(B, 80)
    world = World(a, b, kw)
    assert world.run(lambda: bool(listener.conns) and listener.conns[0].state == "ESTABLISHED")
    return world, client, listener.conns[0]


def test_options_in_syn():
    a, b = hosts(1, Options(mss=1000, wscale=3), Options(mss=700, wscale=5))
    _, client, server = connected(a, b)
    assert (client.mss, server.mss) == (700, 1000)
    assert (client.snd_ws, client.rcv_ws, server.snd_ws, server.rcv_ws) == (5, 3, 3, 5)


@pytest.mark.parametrize(("wa", "wb"), [(None, 5), (5, None), (None, None)])
def test_window_scale_needs_both(wa, wb):
    a, b = hosts(1, Options(wscale=wa), Options(wscale=wb))
    world, client, server = connected(a, b)
    assert (client.snd_ws, client.rcv_ws, server.snd_ws, server.rcv_ws) == (0, 0, 0, 0)
    client.send(bytes(300_000))
    assert world.run(lambda: len(server.received) == 300_000)
    clean(a, b)


def test_no_mss_option_means_536():
    a, b = hosts(1, Options(mss=None), Options(mss=None))
    world, client, server = connected(a, b)
    assert client.mss == server.mss == 536
    client.send(bytes(5000))
    assert world.run(lambda: len(server.received) == 5000)
    assert max(len(f) for _, _, f in world.frames) == 54 + 536


@pytest.mark.parametrize("probe", ["new", "old"])
def test_zero_window_and_probes(probe):
    a, b = hosts(1, Options(probe=probe), Options(auto_read=False, rcv_buf=4096))
    world, client, server = connected(a, b)
    data = random.Random(3).randbytes(20_000)
    client.send(data)
    world.run(lambda: world.now > 5_000_000)
    assert 4096 - 128 < len(server.received) <= 4097  # the window field counts in 128 bytes
    assert client.snd_wnd == 0
    got = b""
    while len(got) < len(data):
        got += server.read(3000)
        here = len(server.received)
        world.run(lambda here=here: len(server.received) > here, limit_us=2_000_000)
    assert got == data
    clean(a, b)


def test_lost_window_update_is_found_by_a_probe():
    a, b = hosts(1, None, Options(auto_read=False, rcv_buf=4096))
    world, client, server = connected(a, b)
    client.send(bytes(8000))
    world.run(lambda: len(server.received) == 4096)
    world.run(lambda: False, limit_us=100_000)
    world.ba.set(loss=1.0)
    server.read()
    world.run(lambda: False, limit_us=1000)
    world.ba.set(loss=0.0)

    def over() -> bool:
        server.read()
        return len(server.received) == 8000

    assert world.run(over)


def test_half_close():
    a, b = hosts()
    world, client, server = connected(a, b)
    client.shutdown()
    assert world.run(lambda: server.state == "CLOSE_WAIT" and client.state == "FIN_WAIT_2")
    server.send(b"late")
    assert world.run(lambda: client.received == b"late")
    server.shutdown()
    assert world.run(lambda: client.state == "TIME_WAIT" and server.state == "CLOSED")
    assert world.run(lambda: client.state == "CLOSED")
    clean(a, b)


def test_simultaneous_close():
    a, b = hosts()
    world, client, server = connected(a, b)
    world.run(lambda: False, limit_us=100_000)
    client.shutdown()
    server.shutdown()
    seen = set()

    def over() -> bool:
        seen.update((client.state, server.state))
        return client.state == server.state == "CLOSED"

    assert world.run(over)
    assert "CLOSING" in seen
    clean(a, b)


def test_simultaneous_open():
    a, b = hosts()
    a.neigh[b.ip], b.neigh[a.ip] = b.mac, a.mac
    x = a.connect(B, 2000, lport=1000)
    y = b.connect(A, 1000, lport=2000)
    world = World(a, b)
    assert world.run(lambda: x.state == y.state == "ESTABLISHED")
    x.send(b"one")
    y.send(b"two")
    assert world.run(lambda: x.received == b"two" and y.received == b"one")
    clean(a, b)


def test_refused_and_aborted():
    a, b = hosts()
    conn = a.connect(B, 81)
    world = World(a, b)
    assert world.run(lambda: conn.state == "CLOSED")
    assert conn.events == ["refused"]
    world2, client, server = connected(*hosts())
    client.abort()
    assert world2.run(lambda: server.state == "CLOSED")
    assert server.events[-1] == "reset"


def test_gives_up():
    a, b = hosts(1, Options(retries=3))
    b.silent = True
    a.neigh[b.ip] = b.mac
    conn = a.connect(B, 80)
    world = World(a, b)
    assert world.run(lambda: conn.state == "CLOSED")
    assert conn.events == ["timeout"]
    assert sum(1 for _, n, _ in world.frames if n == "a") == 4
    assert world.now == 1_000_000 * (1 + 2 + 4 + 8)


def test_ping_and_arp():
    a, b = hosts()
    a.ping(B, b"hello")
    assert World(a, b).run(lambda: a.pongs == [(b.ip, b"hello")])


def test_sequence_numbers_wrap():
    a, b = hosts()
    a.next_isn = fr.ip("255.255.255.200")
    b.next_isn = (1 << 32) - 5
    world, client, server = connected(a, b)
    data = random.Random(1).randbytes(50_000)
    client.send(data)
    server.send(data)
    assert world.run(lambda: server.received == client.received == data)
    clean(a, b)


def test_unwrap():
    for near in (0, 5, 1 << 31, (1 << 32) - 3, 7 << 32, (7 << 32) + 12345):
        for delta in (-(1 << 31) + 1, -1000, -1, 0, 1, 1000, (1 << 31) - 1):
            assert unwrap((near + delta) % (1 << 32), near) == near + delta


# ---- single rules, by hand-made segments --------------------------------------------------------


class Raw:
    """A hand-driven other end of one connection of host `b`."""

    def __init__(self, opts: Options | None = None) -> None:
        self.host = Host(B, 0x020000000002, opts=opts)
        self.host.neigh[fr.ip(A)] = 1
        self.listener = self.host.listen(80)
        self.now = 0
        self.put(SYN, 1000, 0)
        (synack,) = self.get()
        self.iss = synack.seq
        self.put(ACK, 1001, self.iss + 1)
        assert not self.get()
        self.conn = self.listener.conns[0]

    def put(self, flags, seq, ack, data=b"", window=60000):
        segment = fr.tcp(fr.ip(A), fr.ip(B), 5, 80, seq, ack, flags, window, data)
        frame = fr.ethernet(2 << 40 | 2, 1, fr.ETH_IPV4, fr.ipv4(fr.ip(A), fr.ip(B), 6, segment))
        self.now += 1
        self.host.input(frame, self.now)

    def get(self) -> list[fr.Frame]:
        return [fr.parse(f) for f in self.host.take()]


def test_reset_must_be_exact():
    raw = Raw()
    raw.put(RST, 1005, 0)
    (challenge,) = raw.get()
    assert (challenge.flags, challenge.ack) == (ACK, 1001)
    raw.put(RST, 1001 - 5, 0)
    assert not raw.get()
    assert raw.conn.state == "ESTABLISHED"
    raw.put(RST, 1001, 0)
    assert raw.conn.state == "CLOSED"


def test_syn_in_a_connection_is_challenged():
    raw = Raw()
    raw.put(SYN, 1001, 0)
    (challenge,) = raw.get()
    assert challenge.flags == ACK
    assert raw.conn.state == "ESTABLISHED"


def test_three_duplicate_acks_send_the_hole_at_once():
    raw = Raw()
    raw.conn.send(bytes(536 * 8))
    assert len(raw.get()) == 8
    una = raw.iss + 1
    raw.put(ACK, 1001, una)
    raw.put(ACK, 1001, una)
    assert not raw.get()
    raw.put(ACK, 1001, una)
    (again,) = raw.get()
    assert again.seq == una
    raw.put(ACK, 1001, una + 2 * 536)  # partial: next hole
    assert raw.get()[0].seq == una + 2 * 536
    raw.put(ACK, 1001, una + 8 * 536)
    assert not raw.conn.in_recovery
    assert raw.conn.retransmits == 2


def test_out_of_order_pieces_and_overlaps():
    data = bytes(range(200))
    r = random.Random(5)
    for _ in range(50):
        raw = Raw()
        pieces = [(s, s + r.randrange(1, 40)) for s in (r.randrange(200) for _ in range(60))]
        pieces += [(i, i + 20) for i in range(0, 200, 20)]
        r.shuffle(pieces)
        for s, e in pieces:
            raw.put(ACK | PSH, 1001 + s, raw.iss + 1, data[s:e])
        assert raw.conn.received == data
        assert raw.get()[-1].ack == 1201
        assert not raw.host.violations


def test_fin_before_its_data():
    raw = Raw()
    raw.put(ACK | FIN, 1011, raw.iss + 1, b"")
    assert raw.conn.state == "ESTABLISHED"
    raw.put(ACK, 1001, raw.iss + 1, b"0123456789")
    assert raw.conn.state == "CLOSE_WAIT"
    assert raw.get()[-1].ack == 1012


def test_watches_the_other_side():
    """Each fault that the peer is to notice in the card is noticed."""
    for name, act in {
        "other bytes": lambda raw: (
            raw.put(ACK, 1001, raw.iss + 1, b"abc"),
            raw.put(ACK, 1001, raw.iss + 1, b"abd"),
        ),
        "beyond the window": lambda raw: raw.put(ACK, 1001 + 65000, raw.iss + 1, bytes(1000)),
        "never sent": lambda raw: raw.put(ACK, 1001, raw.iss + 100),
        "MSS": lambda raw: raw.put(ACK, 1001, raw.iss + 1, bytes(1461)),
        "after FIN": lambda raw: (
            raw.put(FIN | ACK, 1001, raw.iss + 1),
            raw.put(ACK, 1002, raw.iss + 1, b"x"),
        ),
        "shrank": lambda raw: (
            raw.put(ACK, 1001, raw.iss + 1, window=50000),
            raw.put(ACK, 1001, raw.iss + 1, window=100),
        ),
    }.items():
        raw = Raw(Options(rcv_buf=65000))
        act(raw)
        assert any(name in v for v in raw.host.violations), (name, raw.host.violations)
