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
            timestamps=r.random() < 0.5, sack=r.random() < 0.5, ecn=r.random() < 0.5,
            rcv_buf=r.choice((4096, 65536, 300_000)), retries=40,
        )  # fmt: skip


def test_loss_makes_fast_retransmits_not_only_timeouts():
    world = exchange(5, {"loss": 0.02, "delay_us": 5000}, size=400_000)
    assert world.ab.counts["lost"] + world.ba.counts["lost"] > 3
    assert world.now < 260_000_000


def test_sack_repairs_faster():
    """The same losses over twelve seeds: with SACK it takes less time than without."""
    took = dict.fromkeys((False, True), 0)
    for seed in range(12):
        for sack in took:
            link = {"loss": 0.03, "delay_us": 10_000}
            world = exchange(seed, link, size=600_000, sack=sack, timestamps=True, rcv_buf=200_000)
            took[sack] += world.now - 240_000_000
    assert took[True] < 0.9 * took[False], took


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


@pytest.mark.parametrize("option", ["timestamps", "sack", "ecn"])
@pytest.mark.parametrize(("x", "y"), [(True, True), (True, False), (False, True)])
def test_options_need_both(option, x, y):
    a, b = hosts(1, Options(**{option: x}), Options(**{option: y}))
    world, client, server = connected(a, b)
    name = {"timestamps": "ts_on", "sack": "sack_on", "ecn": "ecn_on"}[option]
    assert getattr(client, name) == getattr(server, name) == (x and y)
    client.send(bytes(30_000))
    server.send(bytes(30_000))
    assert world.run(lambda: len(server.received) == len(client.received) == 30_000)
    clean(a, b)


def test_marks_are_echoed_and_answered():
    """RFC 3168: CE, ECE until CWR, half the window once."""
    a, b = hosts(1, Options(ecn=True), Options(ecn=True))
    world, client, server = connected(a, b)
    before = client.cwnd
    real, marked = b.input, []

    def input_marked(frame, now):
        f = fr.parse(frame)
        if f.kind == "tcp" and f.ecn == fr.ECT0 and len(marked) < 1:
            marked.append(f.seq)
            raw = bytearray(frame)
            raw[15] |= 3
            raw[24:26] = b"\0\0"
            raw[24:26] = fr.checksum(bytes(raw[14:34])).to_bytes(2, "big")
            frame = bytes(raw)
        real(frame, now)

    b.input = input_marked
    client.send(bytes(60_000))
    assert world.run(lambda: len(server.received) == 60_000)
    assert server.ce_seen == 1
    assert not server.ece_now, "CWR came"
    assert client.ssthresh < before
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

    def put(self, flags, seq, ack, data=b"", window=60000, options=b""):
        segment = fr.tcp(fr.ip(A), fr.ip(B), 5, 80, seq, ack, flags, window, data, options)
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


def sack_raw():
    raw = Raw.__new__(Raw)
    raw.host = Host(B, 0x020000000002, opts=Options(sack=True))
    raw.host.neigh[fr.ip(A)] = 1
    raw.listener = raw.host.listen(80)
    raw.now = 0
    raw.put(SYN, 1000, 0, options=fr.tcp_options(1460, sack_ok=True))
    (synack,) = raw.get()
    assert synack.sack_ok
    raw.iss = synack.seq
    raw.put(ACK, 1001, raw.iss + 1)
    raw.conn = raw.listener.conns[0]
    return raw


def test_sack_blocks_latest_first_and_dsack():
    raw = sack_raw()
    for at in (100, 300, 500):
        raw.put(ACK, 1001 + at, raw.iss + 1, bytes(100))
    assert raw.get()[-1].sack == ((1501, 1601), (1101, 1201), (1301, 1401))
    raw.put(ACK, 1101, raw.iss + 1, bytes(100))
    assert raw.get()[-1].sack[0] == (1101, 1201), "D-SACK"


def test_sack_holes_go_again_once():
    raw = sack_raw()
    raw.conn.send(bytes(1460 * 10))
    assert len(raw.get()) == 10
    una = raw.iss + 1
    m = 1460
    got = []
    for end in (2, 3, 4):
        raw.put(ACK, 1001, una, options=fr.tcp_options(sack=[(una + m, una + end * m)]))
        got += [f.seq - una for f in raw.get() if f.payload]
    assert got == [0]
    blocks = [(una + 5 * m, una + 10 * m), (una + m, una + 4 * m)]
    raw.put(ACK, 1001, una, options=fr.tcp_options(sack=blocks))
    assert [f.seq - una for f in raw.get() if f.payload] == [4 * m]


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
        "SACK blocks that nobody": lambda raw: raw.put(
            ACK, 1001, raw.iss + 1, options=fr.tcp_options(sack=[(1, 2)])
        ),
        "timestamps not agreed": lambda raw: raw.put(
            ACK, 1001, raw.iss + 1, options=fr.tcp_options(ts=(1, 2))
        ),
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
