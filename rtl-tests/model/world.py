# SPDX-License-Identifier: Apache-2.0
"""Two hosts and the wire between them, in simulated time without any simulator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from common.link import Link

from .tcp_peer import Host


class World:
    """Runs hosts `a` and `b` over a link in each direction; time jumps from event to event."""

    def __init__(self, a: Host, b: Host, link: Mapping[str, Any] | None = None, delay_us: int = 50):
        config = {"delay_us": delay_us, **(link or {})}
        self.a, self.b = a, b
        self.ab, self.ba = Link(config, "ab"), Link(config, "ba")
        ordered = not config.get("reorder") and not config.get("duplicate")
        a.watch_shrink = b.watch_shrink = ordered
        self.now = 0
        self.frames: list[tuple[int, str, bytes]] = []

    def run(self, until: Callable[[], bool], limit_us: int = 3_600_000_000) -> bool:
        """True when the condition holds; False when nothing is left to happen, or time is over."""
        end = self.now + limit_us
        while not until():
            for name, host, link in (("a", self.a, self.ab), ("b", self.b, self.ba)):
                for frame in host.take():
                    self.frames.append((self.now, name, frame))
                    link.send(frame, self.now)
            times = [t for x in (self.ab, self.ba) if (t := x.next_time()) is not None]
            times += [t for x in (self.a, self.b) if (t := x.next_timer()) is not None]
            if not times or min(times) > end:
                return until()
            self.now = max(self.now, min(times))
            for frame in self.ab.due(self.now):
                self.b.input(frame, self.now)
            for frame in self.ba.due(self.now):
                self.a.input(frame, self.now)
            self.a.tick(self.now)
            self.b.tick(self.now)
        return True
