# SPDX-License-Identifier: Apache-2.0
"""The link model by itself: frames go in at one socket and come out at another, and each fault is counted by us."""

from __future__ import annotations

import itertools
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from linkmodel import LinkModel, LinkModelError

IP, UDP, TCP = 0x0800, 17, 6
SYN, ACK = 0x02, 0x10


def csum(data: bytes) -> int:
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def frame(n: int, size: int = 1000, flags: int = ACK, ecn: int = 0, ethertype: int = IP) -> bytes:
    """A TCP frame whose sequence number is n."""
    head = bytearray(20)
    head[0], head[1], head[8], head[9] = 0x45, ecn, 64, TCP
    head[2:4] = (size - 14).to_bytes(2, "big")
    head[12:20] = bytes((10, 1, 0, 2, 10, 1, 0, 1))
    head[10:12] = csum(bytes(head)).to_bytes(2, "big")
    tcp = bytearray(20)
    tcp[4:8], tcp[12], tcp[13] = n.to_bytes(4, "big"), 0x50, flags
    data = bytes(12) + ethertype.to_bytes(2, "big") + bytes(head) + bytes(tcp)
    return data + bytes(size - len(data))


def number(data: bytes) -> int:
    return int.from_bytes(data[38:42], "big")


class Ends:
    """A link model between two sockets of ours."""

    def __init__(self, model: LinkModel, sockets: list[socket.socket]):
        self.model, self.sockets = model, sockets

    def arrivals(self, count: int, wait: float = 0.3, end: int = 1) -> list[tuple[float, bytes]]:
        """Up to `count` frames with the time each came; ends when none comes for `wait` seconds."""
        got = []
        self.sockets[end].settimeout(wait)
        while len(got) < count:
            try:
                data = self.sockets[end].recv(4096)
            except TimeoutError:
                break
            got.append((time.monotonic(), data))
        return got

    def through(self, frames: list[bytes], gap: float = 0.0, end: int = 0) -> list[bytes]:
        """What comes out of these frames."""
        out: list[bytes] = []
        for n, data in enumerate(frames):
            self.sockets[end].send(data)
            # A socket holds a few hundred frames: take what is there, now and then.
            if gap or n % 50 == 49:
                out += [d for _, d in self.arrivals(100, gap or 0.002, 1 - end)]
        return out + [d for _, d in self.arrivals(len(frames), 0.3, 1 - end)]


@contextmanager
def ends() -> Iterator[Ends]:
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
    theirs = [theirs.fileno() for _, theirs in pairs]
    model = LinkModel(*(f"fd:{fd}" for fd in theirs), pass_fds=theirs)
    try:
        yield Ends(model, [ours for ours, _ in pairs])
    finally:
        model.stop()
        for pair in pairs:
            for sock in pair:
                sock.close()


def test_perfect_wire_both_ways() -> None:
    with ends() as e:
        frames = [frame(n, 60 + n) for n in range(200)]
        assert e.through(frames) == frames
        assert e.through(frames, end=1) == frames
        assert e.model.stats()["0"]["delivered"] == e.model.stats()["1"]["delivered"] == 200


def test_delay() -> None:
    with ends() as e:
        e.model.set("0", delay_us=30_000)
        start = time.monotonic()
        e.sockets[0].send(frame(1))
        ((at, _),) = e.arrivals(1, 1.0)
        # Never early; how late is the machine's affair, and the model says it.
        assert 0.030 <= at - start < 0.030 + e.model.stats()["0"]["late_max_us"] / 1e6 + 0.05


def test_rate_and_queue() -> None:
    """40 frames at once into 8 Mb/s and 20,000 bytes: what fits leaves at the rate, the rest is dropped."""
    with ends() as e:
        e.model.set("0", rate_mbps=8, queue_bytes=20_000)
        start = time.monotonic()
        for n in range(40):
            e.sockets[0].send(frame(n))
        sent = time.monotonic()
        got = e.arrivals(40)
        drops = e.model.stats()["0"]["queue_drops"]
        assert len(got) + drops == 40
        # 19 wait or are on the wire; a slow machine sends the burst slowly, and what has left makes room.
        assert 19 <= len(got) <= 21 + (sent - start) / 1024e-6
        assert got[-1][0] - start >= len(got) * 1024e-6
        assert [number(d) for _, d in got] == sorted(number(d) for _, d in got)


def lost(e: Ends, count: int, **config: float) -> set[int]:
    e.model.set("0", **config)
    got = {number(d) for d in e.through([frame(n, 60) for n in range(count)])}
    return set(range(count)) - got


def test_loss_is_by_seed_and_number_alone() -> None:
    with ends() as e:
        first = lost(e, 2000, loss=0.05, seed=11)
        assert 60 < len(first) < 140
        assert lost(e, 2000, loss=0.05, seed=11) == first
        assert lost(e, 2000, loss=0.05, seed=12) != first
        assert lost(e, 2000, loss=0.05, seed=11, rate_mbps=50) == first


def test_directions_lose_differently() -> None:
    with ends() as e:
        e.model.set("both", loss=0.05, seed=11)
        frames = [frame(n, 60) for n in range(1000)]
        there = {number(d) for d in e.through(frames)}
        assert there != {number(d) for d in e.through(frames, end=1)}


def test_bursts() -> None:
    """Losses stand in runs whose mean is what was asked for."""
    with ends() as e:
        gone = sorted(lost(e, 4000, burst=0.01, burst_frames=5, seed=5))
        runs = sum(n - 1 not in gone for n in gone)
        assert 20 < runs < 65
        assert 3 < len(gone) / runs < 7.5


def test_a_pause_ends_a_burst() -> None:
    """Half of the frames begin a burst of a million; after each one `through` waits 0.3 s."""
    with ends() as e:
        e.model.set("0", burst=0.5, burst_frames=1_000_000, seed=4)
        passed = [bool(e.through([frame(n, 60)])) for n in range(12)]
        assert (False, True) in itertools.pairwise(passed)
        e.model.set("0", burst=1.0, burst_frames=1_000_000)
        assert e.through([frame(n, 60) for n in range(20)]) == []


def test_reordering() -> None:
    with ends() as e:
        e.model.set("0", reorder=0.05, reorder_us=5000, seed=3)
        order = [number(d) for d in e.through([frame(n, 60) for n in range(500)], gap=0.0005)]
        assert sorted(order) == list(range(500))
        late = sum(b < a for a, b in itertools.pairwise(order))
        assert 8 < late <= e.model.stats()["0"]["reordered"] < 50


def test_marks() -> None:
    """Above the threshold ECN-capable packets get CE and a right checksum; others pass as they are."""
    with ends() as e:
        for ecn in (0, 1, 2, 3):
            e.model.set("0", rate_mbps=4, queue_bytes=60_000, mark_bytes=8000)
            frames = [frame(n, ecn=ecn) for n in range(20)]
            for data in frames:
                e.sockets[0].send(data)
            got = [d for _, d in e.arrivals(20)]
            assert len(got) == 20
            assert all(csum(d[14:34]) == 0 for d in got)
            marked = sum(d[15] & 3 == 3 for d in got)
            if ecn in (1, 2):
                assert 5 <= marked <= 12
                assert e.model.stats()["0"]["marked"] == marked
                assert got[0] == frames[0]
            else:
                assert got == frames


def test_handshakes_and_arp_are_never_lost() -> None:
    with ends() as e:
        e.model.set("both", loss=1.0)
        arp, syn = frame(1, 60, ethertype=0x0806), frame(2, flags=SYN)
        assert e.through([arp, syn, frame(3)]) == [arp, syn]


def test_pcap(tmp_path: Path) -> None:
    """Each end's capture has what enters there and what leaves there, in order."""
    with ends() as e:
        e.model.set("0", loss=0.5, seed=1)
        e.model.pcap(0, tmp_path / "0.pcap")
        e.model.pcap(1, tmp_path / "1.pcap")
        got = e.through([frame(n, 60) for n in range(50)])
        e.through([frame(99, 60)], end=1)
        for end in (0, 1):
            e.model.pcap(end, None)
    read = []
    for end in (0, 1):
        data, at, numbers = (tmp_path / f"{end}.pcap").read_bytes(), 24, []
        while at < len(data):
            size = int.from_bytes(data[at + 8 : at + 12], "little")
            numbers.append(number(data[at + 16 : at + 16 + size]))
            at += 16 + size
        read.append(numbers)
    assert read[0] == [*range(50), 99]
    assert read[1] == [*map(number, got), 99]
    assert 10 < len(got) < 40


@pytest.mark.parametrize("value", [{"loss": 2.0}, {"nonsense": 1}, {"queue_bytes": 5}])
def test_nonsense_is_refused(value: dict[str, float]) -> None:
    with ends() as e, pytest.raises(LinkModelError, match="refuses"):
        e.model.set("0", **value)
