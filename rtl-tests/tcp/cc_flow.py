# SPDX-License-Identifier: Apache-2.0
"""What the tests of the congestion controls share: a flow that asks the RTL, and a bottleneck to share.

A flow's numbers are kept here; each event goes to the RTL and its answer comes back into them. The bottleneck
is a plain event simulation: a server, a queue that drops or marks, and flows that send what their windows allow.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from typing import Any

from cocotb.triggers import Timer

M25, M32 = (1 << 25) - 1, (1 << 32) - 1
EVENTS = (
    "ev_rto",
    "ev_loss",
    "ev_ecn",
    "ev_undo",
    "ev_exit",
    "ev_idle",
    "ev_ack",
    "ev_round",
)
PLUG_ONLY = ("alg", "rtt_v", "rtt")
UNKNOWN = M25
"""ssthresh before the first loss."""


class Plug:
    """The device under test: nk_cc, or an algorithm by itself."""

    def __init__(self, dut: Any):
        self.dut = dut
        self.last: dict[str, int] = {}
        self.chooses = hasattr(dut, "alg")

    async def ask(self, **inputs: int) -> tuple[int, int, int]:
        """Drive what has changed; returns cwnd, ssthresh, cc_s."""
        for name, value in inputs.items():
            if self.last.get(name) != value and (name not in PLUG_ONLY or self.chooses):
                getattr(self.dut, name).value = int(value)
                self.last[name] = value
        await Timer(1, "ns")
        d = self.dut
        return int(d.cwnd_out.value), int(d.ssthresh_out.value), int(d.cc_s_out.value)


@dataclass
class Flow:
    """One sender. `una` and `nxt` count on a line from `iss`; time is in us, also on a line."""

    plug: Plug
    mss: int = 1448
    alg: int = 0
    prm: int = 0
    iss: int = 0
    cwnd: int = 0
    ssthresh: int = UNKNOWN
    cc_s: int = 0
    una: int = 0
    nxt: int = 0
    srtt_us: int = 20_000
    limited: bool = True
    undo: tuple[int, int] = (0, 0)
    recover: int | None = None  # in fast recovery until una gets there
    cwr: int | None = None  # the window was cut for ECN until una gets there
    history: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cwnd = self.cwnd or 10 * self.mss

    @property
    def flight(self) -> int:
        return self.nxt - self.una

    async def event(
        self, now: int, *names: str, acked: int = 0, ece: bool = False, rtt: int | None = None
    ) -> None:
        """Hand an event to the RTL, and take the answer. rtt: what the ACK measures, in 1024 us."""
        before = self.cwnd, self.ssthresh
        self.cwnd, self.ssthresh, self.cc_s = await self.plug.ask(
            alg=self.alg,
            prm=self.prm,
            cwnd=self.cwnd,
            ssthresh=self.ssthresh,
            cc_s=self.cc_s,
            **{e: int(e in names) for e in EVENTS},
            acked=acked,
            ece=int(ece),
            limited=int(self.limited),
            rtt_v=int(rtt is not None),
            rtt=rtt or 0,
            flight=self.flight,
            mss=self.mss,
            iw=10 * self.mss,
            undo_cwnd=self.undo[0],
            undo_sst=self.undo[1],
            srtt8=8 * self.srtt_us,
            now_us=now & M32,
            snd_una=(self.iss + self.una) & M32,
            snd_nxt=(self.iss + self.nxt) & M32,
            ack=(self.iss + self.una + acked) & M32,
        )
        if {"ev_rto", "ev_loss"} & set(names):
            self.undo = before
        assert self.mss <= self.cwnd <= M25, f"{names}: cwnd {self.cwnd}"
        assert 2 * self.mss <= self.ssthresh <= M25, f"{names}: ssthresh {self.ssthresh}"

    async def acked(self, now: int, count: int, ece: bool = False) -> None:
        """`count` bytes acknowledged, as nk_tcp_snd would tell it; recovery is Reno's without PRR."""
        names = ["ev_round"]
        if self.recover is not None:
            if self.una + count >= self.recover:
                names.append("ev_exit")
                self.recover = None
        elif ece and self.cwr is None:
            names.append("ev_ecn")
            self.cwr = self.nxt
        elif self.cwr is None:
            names.append("ev_ack")
        await self.event(now, *names, acked=count, ece=ece)
        self.una += count
        if self.cwr is not None and self.una >= self.cwr:
            self.cwr = None
        self.history.append((now, self.cwnd))

    async def lost(self, now: int) -> None:
        """A segment was lost (and is taken as repaired at once)."""
        if self.recover is None:
            await self.event(now, "ev_loss")
            self.cwnd = max(self.mss, min(self.cwnd, self.ssthresh))
            self.recover = self.nxt
        self.una += self.mss


async def share_bottleneck(
    flows: list[Flow],
    rnd: random.Random,
    *,
    rate: float,
    rtt: list[int],
    queue: int,
    until: int,
    mark_at: int | None = None,
    start: list[int] | None = None,
) -> dict[str, Any]:
    """Run the flows over one link of `rate` segments a second with `queue` places.

    rtt: without queueing, us, a flow. mark_at: CE from this queue length on. Returns delivered segments by flow
    in the second half of the time, the queue's mean length then, and how long the link idled.
    """
    serve = 1e6 / rate
    free_at = 0.0  # when the link has sent what is in its queue
    events: list[tuple[float, int, int, str]] = []
    serial = 0
    delivered = [0] * len(flows)
    queued: list[float] = []
    busy = 0.0

    def push(at: float, flow: int, kind: str) -> None:
        nonlocal serial
        serial += 1
        heapq.heappush(events, (at, serial, flow, kind))

    def send(now: float, i: int) -> None:
        nonlocal free_at, busy
        f = flows[i]
        while f.flight + f.mss <= f.cwnd:
            f.nxt += f.mss
            waiting = max(0.0, free_at - now) / serve
            if now > until / 2:
                queued.append(waiting)
            leaves = max(free_at, now) + serve
            jitter = rnd.uniform(0, serve)  # or flows of one RTT lock into a pattern
            if waiting >= queue:
                push(leaves + rtt[i] + jitter, i, "lost")
                continue
            free_at = leaves
            if now > until / 2:
                busy += serve
            marked = mark_at is not None and waiting >= mark_at
            push(leaves + rtt[i] + jitter, i, "marked" if marked else "acked")

    for i in range(len(flows)):
        push(start[i] if start else i * 1000, i, "start")
    while events:
        now, _, i, kind = heapq.heappop(events)
        if now > until:
            break
        f = flows[i]
        if kind == "lost":
            await f.lost(int(now))
        elif kind != "start":
            await f.acked(int(now), f.mss, kind == "marked")
            if now > until / 2:
                delivered[i] += 1
        send(now, i)
    return {
        "delivered": delivered,
        "queue": sum(queued) / max(1, len(queued)),
        "used": busy / (until / 2),
    }


def jain(shares: list[int]) -> float:
    """Jain's fairness index: 1 is equal."""
    return sum(shares) ** 2 / (len(shares) * sum(s * s for s in shares))
