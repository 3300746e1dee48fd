# SPDX-License-Identifier: Apache-2.0
"""The link model: each fault as often as asked for, nothing else harmed, and the same faults for the same seed."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from netkernel.twin.library import LinkConfig, LinkModel, TwinLibrary

N = 20_000
PAYLOAD = 40


def ipv4_frame(number: int, payload: int = PAYLOAD) -> bytes:
    """An IPv4 frame that carries its number; padded to the shortest Ethernet frame, if it must be."""
    ip = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + payload, 0, 0, 64, 6, 0, b"\x0a\0\0\1", b"\x0a\0\0\2"
    )
    frame = b"\x02\0\0\0\0\1\x02\0\0\0\0\2\x08\x00" + ip + struct.pack(">I", number)
    return (frame + bytes(payload - 4)).ljust(60, b"\0")


def number_of(frame: bytes) -> int:
    return int.from_bytes(frame[34:38], "big")


@contextmanager
def link(library: TwinLibrary, **values: float) -> Iterator[LinkModel]:
    model = LinkModel(library, LinkConfig().changed(**values))
    yield model
    model.close()


def drain(model: LinkModel, now: int) -> list[bytes]:
    frames = []
    while (frame := model.pop(now)) is not None:
        frames.append(frame)
    return frames


def pass_frames(model: LinkModel, count: int = N, step_us: int = 10) -> list[bytes]:
    """Offers `count` frames, one each step; gives what came out, the last stragglers included."""
    out: list[bytes] = []
    for n in range(count):
        model.push(ipv4_frame(n), n * step_us)
        out += drain(model, n * step_us)
    return out + drain(model, count * step_us + 10_000_000)


def assert_share(hits: int, probability: float, count: int = N) -> None:
    """Within five standard deviations. Seeds are fixed, so a test that passes goes on to pass."""
    sigma = math.sqrt(count * probability * (1 - probability))
    assert abs(hits - count * probability) <= 5 * sigma, (hits, count * probability, sigma)


def test_quiet_link_changes_nothing(library: TwinLibrary) -> None:
    with link(library) as model:
        assert [number_of(f) for f in pass_frames(model, 500)] == list(range(500))
        counters = model.counters()
    assert counters["frames"] == counters["delivered"] == 500
    assert counters["bytes"] == 500 * len(ipv4_frame(0))


@pytest.mark.parametrize("loss", [0.01, 0.3, 1.0])
def test_loss(library: TwinLibrary, loss: float) -> None:
    with link(library, loss=loss, seed=11) as model:
        numbers = [number_of(f) for f in pass_frames(model)]
        counters = model.counters()
    assert numbers == sorted(set(numbers)), "lost frames only: order and count of the others stay"
    assert counters["lost"] == N - len(numbers)
    assert_share(counters["lost"], loss)


def test_bursts_have_the_length_asked_for(library: TwinLibrary) -> None:
    with link(library, burst_loss=0.005, burst_frames=8, seed=12) as model:
        arrived = {number_of(f) for f in pass_frames(model)}
        counters = model.counters()
    bursts, inside = [], 0
    for n in range(N):
        if n not in arrived:
            inside += 1
        elif inside:
            bursts.append(inside)
            inside = 0
    assert counters["burst_lost"] == N - len(arrived)
    assert counters["lost"] == 0
    assert_share(len(bursts), 0.005 * len(arrived) / N)
    assert 6.5 < sum(bursts) / len(bursts) < 9.5


def test_duplicates(library: TwinLibrary) -> None:
    with link(library, duplicate=0.1, seed=13) as model:
        numbers = [number_of(f) for f in pass_frames(model)]
        counters = model.counters()
    assert set(numbers) == set(range(N))
    assert len(numbers) - N == counters["duplicated"]
    assert_share(counters["duplicated"], 0.1)


def test_corrupt_flips_one_bit_of_the_datagram(library: TwinLibrary) -> None:
    with link(library, corrupt=0.1, seed=14) as model:
        out = pass_frames(model)
        counters = model.counters()
    assert len(out) == N
    damaged = [(n, f) for n, f in enumerate(out) if f != ipv4_frame(n)]
    assert len(damaged) == counters["corrupted"]
    assert_share(len(damaged), 0.1)
    places = set()
    for n, frame in damaged:
        good = ipv4_frame(n)
        flipped = int.from_bytes(frame, "little") ^ int.from_bytes(good, "little")
        assert flipped.bit_count() == 1
        places.add(flipped.bit_length() - 1)
    assert min(places) >= 14 * 8, (
        "addresses and type are under the FCS that this wire does not have"
    )
    assert max(places) < (14 + 20 + PAYLOAD) * 8
    assert len(places) > 0.8 * (20 + PAYLOAD) * 8


def test_corrupt_padding_is_left_alone(library: TwinLibrary) -> None:
    with link(library, corrupt=1, seed=14) as model:
        for n in range(500):
            model.push(ipv4_frame(n, payload=4), 0)
        for n, frame in enumerate(drain(model, 0)):
            assert frame != ipv4_frame(n, payload=4)
            assert frame[38:] == bytes(len(frame) - 38)


def test_corrupt_arp_is_lost(library: TwinLibrary) -> None:
    """An ARP reply has no checksum: delivered with a wrong address it would be believed."""
    arp = b"\xff" * 6 + b"\x02\0\0\0\0\2\x08\x06" + b"\0\1\x08\0\x06\x04\0\2" + bytes(38)
    with link(library, corrupt=1, seed=15) as model:
        model.push(arp, 0)
        assert model.pop(1_000_000) is None
        assert model.counters()["corrupted"] == 1


def test_reorder(library: TwinLibrary) -> None:
    with link(library, reorder=0.05, seed=16) as model:
        numbers = [number_of(f) for f in pass_frames(model)]
        counters = model.counters()
    assert sorted(numbers) == list(range(N)), "none lost, none twice"
    assert_share(counters["reordered"], 0.05)
    late = [at - n for at, n in enumerate(numbers) if at > n]
    assert len(late) > 0.8 * counters["reordered"]
    # Overtaken by at most eight, and by those held back behind it.
    assert min(late) >= 1 and max(late) <= 16


def test_reordered_frame_does_not_wait_for_ever(library: TwinLibrary) -> None:
    with link(library, reorder=1, seed=16) as model:
        model.push(ipv4_frame(7), 1000)
        assert model.pop(1000) is None
        frame = model.pop(1000 + 10_000)
        assert frame is not None and number_of(frame) == 7


def test_delay_and_jitter(library: TwinLibrary) -> None:
    with link(library, delay_us=5000, jitter_us=2000, seed=17) as model:
        arrival: dict[int, int] = {}
        order = []
        for now in range(0, 300_000, 50):
            if now % 1000 == 0 and now < 200_000:
                model.push(ipv4_frame(now // 1000), now)
            for frame in drain(model, now):
                arrival[number_of(frame)] = now
                order.append(number_of(frame))
    assert order == list(range(200)), "jitter alone does not reorder"
    delays = [arrival[n] - n * 1000 for n in range(200)]
    assert min(delays) >= 5000
    # A frame may wait for a slower one before it, never longer than that one.
    assert max(delays) <= 7000 + 50
    assert max(delays) - min(delays) > 1000


def test_rate(library: TwinLibrary) -> None:
    size = 1500
    frame = ipv4_frame(0, payload=size - 34)
    assert len(frame) == size
    with link(library, rate_mbps=100, queue_bytes=100_000) as model:
        for _ in range(60):
            model.push(frame, 0)
        times = []
        for now in range(20_000):
            times += [now] * len(drain(model, now))
    assert len(times) == 60
    # 24 bytes of preamble, FCS and gap belong to each frame.
    expected = 60 * (size + 24) * 8 / 100
    assert abs(times[-1] - expected) < 5
    gaps = {b - a for a, b in zip(times, times[1:], strict=False)}
    assert gaps <= {121, 122}


def test_rate_queue_is_bounded(library: TwinLibrary) -> None:
    frame = ipv4_frame(0, payload=1466)
    with link(library, rate_mbps=10, queue_bytes=15_000) as model:
        for _ in range(50):
            model.push(frame, 0)
        counters = model.counters()
        assert len(drain(model, 10_000_000)) == 50 - counters["queue_dropped"]
    assert 9 <= 50 - counters["queue_dropped"] <= 11


@pytest.mark.parametrize("step_us", [1, 1000])
def test_decisions_depend_on_the_seed_alone(library: TwinLibrary, step_us: int) -> None:
    faults = {"loss": 0.05, "burst_loss": 0.01, "duplicate": 0.05, "corrupt": 0.05}

    def fate(seed: int, step: int) -> list[bytes]:
        with link(library, **faults, seed=seed) as model:
            return pass_frames(model, 2000, step)

    assert fate(5, 10) == fate(5, step_us), "the machine's load must not change them"
    assert fate(5, 10) != fate(6, 10)


def test_new_seed_starts_afresh(library: TwinLibrary) -> None:
    with link(library, loss=0.3, seed=5) as model:
        first = [number_of(f) for f in pass_frames(model, 1000)]
        model.set(LinkConfig(loss=0.3, seed=5))
        going_on = [number_of(f) for f in pass_frames(model, 1000)]
        model.set(LinkConfig(loss=0.3, seed=6))
        model.set(LinkConfig(loss=0.3, seed=5))
        again = [number_of(f) for f in pass_frames(model, 1000)]
    assert first == again
    assert first != going_on


@pytest.mark.parametrize(
    "values",
    [
        {"loss": -0.1},
        {"loss": 1.1},
        {"corrupt": float("nan")},
        {"burst_frames": 0.5},
        {"rate_mbps": -1},
        {"rate_mbps": 10, "queue_bytes": 100},
        {"delay_us": 1 << 31},
        {"delay_us": -1},
        {"seed": 1 << 64},
    ],
)
def test_impossible_values_are_refused(library: TwinLibrary, values: dict[str, float]) -> None:
    name = next(iter(values))
    with pytest.raises(ValueError, match=name if len(values) == 1 else "queue_bytes"):
        library.link_struct(LinkConfig().changed(**values))
