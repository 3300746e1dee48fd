# SPDX-License-Identifier: Apache-2.0
"""A hostile link for one direction: loses, reorders, duplicates, corrupts, delays, all by seed.

Plain Python with the caller's clock in microseconds; the parameter names are the twin's::

    link = Link({"loss": 0.01, "reorder": 0.05, "delay_us": 100, "seed": 1})
    link.send(frame, now)
    for frame in link.due(now): ...
    link.next_time()        # when due() gives something next, or None
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping
from typing import Any

DEFAULTS: Mapping[str, float] = {
    "loss": 0.0,  # share of frames lost, each on its own
    "burst_loss": 0.0,  # share of frames at which a run of losses begins (4 frames on average)
    "reorder": 0.0,  # share of frames that later ones overtake
    "duplicate": 0.0,  # share of frames that arrive twice
    "corrupt": 0.0,  # share of frames with one wrong byte
    "delay_us": 0,
    "jitter_us": 0,  # further delay, uniform; frames stay in order
    "rate_mbps": 0,  # 0: without limit
    "seed": 0,
}
MEAN_BURST = 4


class Link:
    """One direction of a wire. Without parameters it hands every frame on at once, in order."""

    def __init__(self, config: Mapping[str, Any] | None = None, name: str = "") -> None:
        given = dict(config or {})
        if unknown := set(given) - set(DEFAULTS):
            raise ValueError(f"unknown link parameters: {sorted(unknown)}")
        self.cfg: dict[str, Any] = {**DEFAULTS, **given}
        self.rng = random.Random(f"{self.cfg['seed']}:{name}")
        self.counts = dict.fromkeys(
            ("sent", "delivered", "lost", "reordered", "duplicated", "corrupted"), 0
        )
        self._queue: list[tuple[int, int, bytes]] = []
        self._order = 0
        self._burst = False
        self._last = 0  # arrival of the latest frame that kept its place
        self._free = 0.0  # when the wire is free again (rate)

    def set(self, **config: Any) -> None:
        """Change parameters while it runs."""
        if unknown := set(config) - set(DEFAULTS):
            raise ValueError(f"unknown link parameters: {sorted(unknown)}")
        self.cfg.update(config)

    def send(self, frame: bytes, now: int) -> None:
        cfg, chance, counts = self.cfg, self.rng.random, self.counts
        counts["sent"] += 1
        if self._burst:
            self._burst = chance() >= 1 / MEAN_BURST
        elif cfg["burst_loss"] and chance() < cfg["burst_loss"]:
            self._burst = True
        if self._burst or (cfg["loss"] and chance() < cfg["loss"]):
            counts["lost"] += 1
            return
        if cfg["corrupt"] and chance() < cfg["corrupt"]:
            frame = self._corrupt(frame)
        at = now
        if cfg["rate_mbps"]:
            self._free = max(self._free, float(now)) + len(frame) * 8 / cfg["rate_mbps"]
            at = int(self._free)
        at += int(cfg["delay_us"])
        if cfg["jitter_us"]:
            at += self.rng.randrange(int(cfg["jitter_us"]) + 1)
        if cfg["reorder"] and chance() < cfg["reorder"]:
            # Held back long enough that a few of the next frames overtake it.
            counts["reordered"] += 1
            at += self.rng.randrange(1, 4) * max(20, int(cfg["delay_us"]) // 2)
        else:
            at = self._last = max(at, self._last)
        self._push(at, frame)
        if cfg["duplicate"] and chance() < cfg["duplicate"]:
            counts["duplicated"] += 1
            self._push(at + self.rng.randrange(50), frame)

    def due(self, now: int) -> list[bytes]:
        """Frames that have arrived by now, in order of arrival."""
        out = []
        while self._queue and self._queue[0][0] <= now:
            out.append(heapq.heappop(self._queue)[2])
        self.counts["delivered"] += len(out)
        return out

    def next_time(self) -> int | None:
        return self._queue[0][0] if self._queue else None

    def clear(self) -> None:
        """Drop what is under way."""
        self._queue.clear()

    def _push(self, at: int, frame: bytes) -> None:
        self._order += 1
        heapq.heappush(self._queue, (at, self._order, frame))

    def _corrupt(self, frame: bytes) -> bytes:
        # One wrong byte after the Ethernet header, where the Internet checksum always finds it. ARP
        # has no checksum: on a real wire the FCS stands before it, so it is spared.
        if len(frame) < 34 or frame[12:14] != b"\x08\x00":
            return frame
        self.counts["corrupted"] += 1
        at = self.rng.randrange(14, len(frame))
        wrong = frame[at] ^ self.rng.randrange(1, 256)
        return frame[:at] + bytes((wrong,)) + frame[at + 1 :]
