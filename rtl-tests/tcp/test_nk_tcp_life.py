# SPDX-License-Identifier: Apache-2.0
"""Whole lives of sockets through nk_tcp_op, nk_tcp_tmr, nk_tcp_ntf and nk_tcp_post, and through the flow memory's word.

The middle of the pass (what a segment means, what is sent) and the peer are a few lines of Python here: just enough of
TCP that every life has an end. What is judged is what a tenant and the surroundings of a flow rely on.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import Timer
from common.runner import run_module
from common.stream import rng
from common.tcb import M32, pack, unpack
from netkernel.abi import Op, Option, Status
from tcp.life import CORK, NEIGH
from tcp.tcp_dut import SENDING, S

DELAY = 10_000  # us, one way
OUTPUTS = (
    "ev_valid", "ev_op", "ev_size", "ev_status", "timer_set", "timer_armed", "timer_deadline", "push_tx", "push_ntf",
    "hash_delete", "opened", "freed", "mem_out",
)  # fmt: skip


class Life:
    """One flow, its surroundings, its tenant and its peer."""

    def __init__(self, dut: Any, rnd: random.Random, start: int, peer: str = "good") -> None:
        self.dut, self.rnd, self.now = dut, rnd, start
        self.peer = (
            peer  # good, dead, shut (takes nothing), deaf (answers nothing from some time on)
        )
        self.mem = 0
        self.timer: int | None = None  # absolute deadline, as the timer memory has it
        self.lists = {"tx": 0, "ntf": 0}
        self.pending: list[
            tuple[int, str, int]
        ] = []  # segments under way to us: time, what, number
        self.issued = self.done = 0  # descriptors
        self.reads: list[int] = []  # when their DMA reads are over
        self.events: list[tuple[int, Op, int, int]] = []
        self.sent: list[tuple[int, str, int]] = []
        self.inserted = self.opened = self.gave_up = 0
        self.closed_at: int | None = None
        self.got = 0  # bytes that the peer has in order, on the line from ISS + 1
        self.fin_got = False
        self.peer_fin = False
        self.hop = True  # the next hop is known

    # -- one pass ---------------------------------------------------------------------------------------
    async def run(self, change=None, from_list: str = "", **event: int) -> int:
        d = self.dut
        given = (
            dict.fromkeys(
                ("is_op", "is_tmr", "op", "data", "size", "ins_done", "uncredit", "isn"), 0
            )
            | event
        )
        for name, value in given.items():
            getattr(d, name).value = int(value)
        d.mem.value, d.now_ext.value = self.mem, self.now
        await Timer(1, "ns")
        tcb = unpack(int(d.x1_tcb.value))
        status = int(d.status.value)
        self.gave_up += int(d.st_give_up.value)
        if int(d.ev_rto.value):
            self.lost = True
        if int(d.ev_tlp.value):
            tcb["TLP_DUE"] = 1
        if change:
            change(tcb)
        self.transmit(tcb)
        blocked, more = self.wants(tcb)
        d.mid_tcb.value = pack(tcb)
        d.blocked.value, d.more_tx.value = blocked, more
        d.ring_room.value = room = self.rnd.random() < 0.8
        d.from_txq.value, d.from_ntq.value = from_list == "tx", from_list == "ntf"
        self.done += sum(1 for t in self.reads if t <= self.now)
        self.reads = [t for t in self.reads if t > self.now]
        d.tx_issued.value, d.tx_done.value = self.issued & 0xFFFF, self.done & 0xFFFF
        await Timer(1, "ns")
        out = {name: int(getattr(d, name).value) for name in OUTPUTS}
        self.mem = out["mem_out"]
        if out["ev_valid"]:
            assert room
            self.events.append((self.now, Op(out["ev_op"]), out["ev_size"], out["ev_status"]))
            if out["ev_op"] == Op.CLOSED:
                assert not self.reads, "CLOSED while a descriptor may still read the TX ring"
        if from_list:
            self.lists[from_list] -= 1
        for name, push in (("tx", out["push_tx"]), ("ntf", out["push_ntf"])):
            self.lists[name] += push
            assert self.lists[name] in (0, 1)
        if out["timer_set"] or event.get("is_tmr"):
            ahead = (out["timer_deadline"] - self.now + (1 << 31) & M32) - (1 << 31)
            self.timer = self.now + ahead if out["timer_armed"] else None
        else:
            assert (self.timer is not None) == bool(out["timer_armed"])
        self.inserted -= out["hash_delete"]
        self.opened += out["opened"] - out["freed"]
        assert self.inserted in (0, 1) and self.opened in (0, 1)
        return status

    # -- X3, in few words: everything at once, as one segment ---------------------------------------------
    lost = False

    def wants(self, t: dict[str, int]) -> tuple[int, int]:
        """Is the window shut over data; is there something to send?"""
        unsent = (t["TX_END"] - t["SND_NXT"] + (1 << 31) & M32) - (1 << 31)
        flight = t["SND_NXT"] - t["SND_UNA"] & M32
        if t["STATE"] in (S.SYN_SENT, S.SYN_RCVD):
            return 0, int(
                (not flight or self.lost) and not (t["RTX_ON"] and t["RTX_KIND"] == NEIGH)
            )
        if t["STATE"] not in SENDING:
            return 0, t["KA_PROBE"]
        held = t["CORK"] and not (t["RTX_KIND"] == CORK and not t["RTX_ON"])
        blocked = int(not flight and unsent > 0 and t["SND_WND"] == 0)
        data = unsent > 0 and t["SND_WND"] > flight and not (held and not t["FIN_REQ"])
        fin = t["FIN_REQ"] and unsent == 0
        if t["RTX_ON"] and t["RTX_KIND"] == NEIGH:
            return blocked, 0
        return blocked, int(
            bool(
                data
                or fin
                or (self.lost and flight)
                or t["KA_PROBE"]
                or t["TLP_DUE"]
                or (blocked and t["PROBE"])
            )
        )

    def transmit(self, t: dict[str, int]) -> None:
        if not self.wants(t)[1]:
            return
        if not self.hop:
            t["W_NEIGH"] = 1
            return
        t["W_SENT"] = int(not t["KA_PROBE"])
        line = t["ISS"] + 1
        kind = "keep" if t["KA_PROBE"] else "probe" if t["PROBE"] else "data"
        if t["STATE"] in (S.SYN_SENT, S.SYN_RCVD):
            kind, top = "syn", t["ISS"] + 1
            t["SND_NXT"] = top & M32
        elif kind == "data":
            held = (
                t["CORK"] and not (t["RTX_KIND"] == CORK and not t["RTX_ON"]) and not t["FIN_REQ"]
            )
            flight = t["SND_NXT"] - t["SND_UNA"] & M32
            room = max(0, t["SND_WND"] - flight)
            unsent = max(0, (t["TX_END"] - t["SND_NXT"] + (1 << 31) & M32) - (1 << 31))
            more = 0 if held else min(unsent, room)
            fin = int(t["FIN_REQ"] and t["SND_NXT"] + more & M32 == t["TX_END"])
            if self.lost or t["TLP_DUE"]:
                t["W_RETX"] = int(self.lost)
                t["RTT_T"] = self.now & M32
                t["TLP_OUT"] = t["TLP_DUE"] or t["TLP_OUT"]
            else:
                t["SND_NXT"] = t["SND_NXT"] + more + fin & M32
            self.issued += 1
            self.reads.append(self.now + self.rnd.choice([0, 50, 3000]))
        t["KA_PROBE"] = t["PROBE"] = t["TLP_DUE"] = 0
        self.lost = False
        self.sent.append((self.now, kind, t["SND_NXT"]))
        self.reply(t, kind, line)

    # -- the peer: takes all that is sent, answers after two delays -----------------------------------------
    def reply(self, t: dict[str, int], kind: str, line: int) -> None:
        if self.peer == "dead" or (self.peer == "deaf" and kind != "syn" and self.got):
            return
        if kind == "probe" and self.peer == "shut":
            self.pending.append((self.now + 2 * DELAY, "ack", t["SND_UNA"]))
            return
        past_fin = t["FIN_REQ"] and t["SND_NXT"] == t["TX_END"] + 1 & M32
        if kind == "data":
            self.got = (t["SND_NXT"] - line - past_fin) & M32
            self.fin_got = self.fin_got or bool(past_fin)
        self.pending.append((self.now + 2 * DELAY, "syn" if kind == "syn" else "ack", t["SND_NXT"]))
        if self.fin_got and not self.peer_fin:
            self.peer_fin = True
            self.pending.append((self.now + 2 * DELAY + self.rnd.choice([0, 5, 10**6]), "fin", 0))

    def segment(self, what: str, number: int):
        """X1 and X2 for a segment of the peer's."""

        def change(t: dict[str, int]) -> None:
            if not S.SYN_SENT <= t["STATE"] <= S.TIME_WAIT:
                return
            t["LAST_T"], t["RETRIES"] = self.now >> 20 & 0xFFFF, 0
            if what == "syn" and t["STATE"] == S.SYN_SENT:
                t |= {
                    "STATE": S.ESTABLISHED,
                    "N_CONN": 1,
                    "RCV_NXT": 5001,
                    "RCV_NTF": 5001,
                    "IRS": 5000,
                    "RCV_ADV": 5001,
                }
                t |= {
                    "RCV_EDGE": 5001 + 4096,
                    "SRTT8": 8 * 2 * DELAY,
                    "RTTVAR4": 20_000,
                    "SACK_OK": 1,
                }
            if what in ("syn", "ack"):
                moved = number - t["SND_UNA"] & M32
                if 0 < moved <= (t["SND_NXT"] - t["SND_UNA"] & M32):
                    t |= {"SND_UNA": number, "W_ACKED": 1, "BACKOFF": 0, "TLP_OUT": 0, "TLP_DUE": 0}
                    t |= dict.fromkeys(("LOST_END", "RXT_NXT", "RXT_MARK", "TLP_END"), number) | {
                        "RECOVER": number - 1 & M32
                    }
                    self.lost = False
                t["SND_WND"] = 0 if self.peer == "shut" and self.got >= 3000 else 60000
                if t["FIN_REQ"] and t["SND_UNA"] == t["TX_END"] + 1 & M32:
                    step = {
                        S.FIN_WAIT1: S.FIN_WAIT2,
                        S.CLOSING: S.TIME_WAIT,
                        S.LAST_ACK: S.DRAIN if t["CLOSED"] else S.DEAD,
                    }
                    t["STATE"] = step.get(t["STATE"], t["STATE"])
            if what == "data" and t["STATE"] in (S.ESTABLISHED, S.FIN_WAIT1, S.FIN_WAIT2):
                t["RCV_NXT"] = t["RCV_NXT"] + min(number, t["RCV_EDGE"] - t["RCV_NXT"] & M32) & M32
                t |= {"DACK_ON": 1, "DACK_T": self.now + 20_000 & M32}
            if (
                what == "fin"
                and not t["FIN_RCVD"]
                and t["STATE"] in (S.ESTABLISHED, S.FIN_WAIT1, S.FIN_WAIT2)
            ):
                t |= {"RCV_NXT": t["RCV_NXT"] + 1 & M32, "FIN_RCVD": 1, "N_FIN": 1}
                t["STATE"] = {S.ESTABLISHED: S.CLOSE_WAIT, S.FIN_WAIT1: S.CLOSING}.get(
                    t["STATE"], S.TIME_WAIT
                )
                t["W_TW"] = int(t["STATE"] == S.TIME_WAIT)

        return change

    # -- the tenant -------------------------------------------------------------------------------------------
    async def op(self, op: Op, **more: int) -> int:
        return await self.run(is_op=1, op=op, **more)

    async def connect(self) -> None:
        assert await self.op(Op.SOCKET, data=0x8000, size=12 | 16 << 8) == Status.OK
        where = {
            "data": 0x0A000002 | 80 << 32 | 4000 << 48,
            "isn": self.rnd.choice([7, M32 - 2000, M32, self.rnd.getrandbits(32)]),
        }
        assert await self.op(Op.CONNECT, **where) == Status.OK and int(self.dut.want_insert.value)
        self.inserted = 1
        assert await self.op(Op.CONNECT, ins_done=1, **where) == Status.OK

    # -- the clock: whatever is next -----------------------------------------------------------------------------
    async def step(self, limit: int) -> bool:
        """Do what comes next before `limit`; False: nothing does."""
        for name in ("ntf", "tx"):
            if self.lists[name]:
                self.now += self.rnd.choice([0, 1, 40])
                await self.run(from_list=name)
                return True
        due = [t for t, *_ in self.pending] + ([self.timer] if self.timer is not None else [])
        if not due or min(due) > limit:
            return False
        self.now = max(self.now, min(due))
        self.pending.sort()
        if self.pending and self.pending[0][0] <= self.now:
            _, what, number = self.pending.pop(0)
            await self.run(self.segment(what, number))
        else:
            if self.rnd.random() < 0.1:  # an expiry that came too early
                self.now -= 1
                await self.run(is_tmr=1)
                self.now += 1
            await self.run(is_tmr=1)
            if self.rnd.random() < 0.1:  # and one that came twice
                await self.run(is_tmr=1)
        return True

    async def until(self, limit: int) -> None:
        steps = 0
        while await self.step(limit):
            steps += 1
            assert steps < 3000, "it never rests"
        self.now = max(self.now, limit)

    @property
    def tcb(self) -> dict[str, int]:
        return {"STATE": self.mem & 15}

    def told(self, op: Op) -> list[int]:
        return [size for _, o, size, _ in self.events if o == op]

    async def end(self) -> None:
        """Every life ends: CLOSED once, and nothing is left of it."""
        for _ in range(20):
            await self.until(self.now + 250_000_000)
            if self.tcb["STATE"] == S.FREE:
                break
        assert self.tcb["STATE"] == S.FREE, (
            f"stuck in {S(self.tcb['STATE']).name}: {self.events[-3:]}"
        )
        assert len(self.told(Op.CLOSED)) == 1 and self.events[-1][1] == Op.CLOSED
        assert (self.inserted, self.opened, self.timer) == (0, 0, None)
        # The socket id can be used again at once.
        assert await self.op(Op.SOCKET, data=0x8000, size=12 | 16 << 8) == Status.OK


def begin(rnd):
    """A time, often just before one of its numbers wraps."""
    return rnd.choice(
        [1000, (1 << 32) - 400_000, (1 << 36) - 300_000, (1 << 48) // 3, rnd.getrandbits(44)]
    )


@cocotb.test()
async def lives(dut):
    """Random lives with every kind of peer: all data announced, in order, and an end."""
    rnd = rng("lives")
    kinds: dict[str, int] = {}
    for _ in range(60):
        peer = rnd.choice(["good", "good", "dead", "shut", "deaf"])
        life = Life(dut, rnd, begin(rnd), peer)
        await life.connect()
        given = taken = credited = 0
        for _ in range(rnd.randrange(1, 25)):
            await life.until(life.now + rnd.choice([0, 1000, 50_000, 3_000_000, 40_000_000]))
            act = rnd.choice(["send", "send", "data", "credit", "option", "hop"])
            if act == "send":
                size = rnd.choice([1, 100, 3000])
                if await life.op(Op.SEND, size=size) == Status.OK:
                    given += size
            elif act == "data":
                life.pending.append((life.now, "data", rnd.choice([1, 1460])))
            elif act == "credit":
                taken = sum(life.told(Op.DATA))
                size = rnd.choice([1, taken - credited, taken - credited + 1])
                if await life.op(Op.CREDIT, size=size) == Status.OK:
                    credited += size
                assert credited <= taken
            elif act == "option":
                option, value = rnd.choice(
                    [
                        (Option.CORK, 1),
                        (Option.CORK, 0),
                        (Option.KEEPALIVE, 1),
                        (Option.USER_TIMEOUT, 30),
                    ]
                )
                assert await life.op(Op.SETOPT, data=option | value << 32) == Status.OK
            else:
                life.hop = rnd.random() < 0.7
        life.hop = True
        heard = [op for _, op, _, _ in life.events]
        gone = {Op.RESET, Op.TIMEOUT} & set(heard)
        if Op.CONNECTED in heard:
            assert heard[0] == Op.CONNECTED and heard.count(Op.CONNECTED) == 1
        assert sum(life.told(Op.SENT)) <= min(life.got, given)
        how = rnd.choice([Op.CLOSE, Op.CLOSE, Op.ABORT])
        if peer in ("shut",) and how == Op.CLOSE and not gone:
            await life.op(how)
            await life.until(life.now + 100_000_000)
            how = Op.ABORT  # a peer that answers all probes may keep a closed socket for ever
            if life.tcb["STATE"] not in (S.FREE, S.DRAIN):
                assert await life.op(how) == Status.OK
        elif life.tcb["STATE"] not in (S.FREE, S.DRAIN):
            assert await life.op(how) == Status.OK
        await life.end()
        kinds[f"{peer} {how.name}"] = kinds.get(f"{peer} {how.name}", 0) + 1
    assert {k.split()[0] for k in kinds} == {"good", "dead", "shut", "deaf"}, kinds


@cocotb.test()
async def all_is_acknowledged(dut):
    """With a good peer: each byte announced as sent, PEER_CLOSED, TIME_WAIT of its length, no timeout at all."""
    rnd = rng("good")
    for _ in range(10):
        life = Life(dut, rnd, begin(rnd))
        await life.connect()
        await life.until(life.now + 100_000)
        for size in (1, 700, 5000):
            assert await life.op(Op.SEND, size=size) == Status.OK
            await life.until(life.now + rnd.choice([0, 5_000, 100_000]))
        await life.until(life.now + 1_000_000)
        assert sum(life.told(Op.SENT)) == 5701 == life.got
        assert await life.op(Op.SHUTDOWN) == Status.OK
        await life.until(life.now + 5_000_000)
        assert life.told(Op.PEER_CLOSED) == [0] and life.tcb["STATE"] == S.TIME_WAIT
        fin_at = life.now
        assert await life.op(Op.CLOSE) == Status.OK
        await life.end()
        closed = life.events[-1][0]
        assert 30_000_000 - 5_100_000 <= closed - fin_at <= 30_000_000, "TIME_WAIT"
        assert not life.gave_up and not life.told(Op.TIMEOUT)


@cocotb.test()
async def dead_peer(dut):
    """The intervals double from RTO to its bound; the SYN is given up after 4, data after 8 of them."""
    rnd = rng("dead")
    for _ in range(5):
        life = Life(dut, rnd, begin(rnd), "dead")
        await life.connect()
        await life.until(life.now + 200_000_000)
        at = [t for t, kind, _ in life.sent if kind == "syn"]
        gaps = [b - a for a, b in zip(at, at[1:])]
        assert len(gaps) == 4
        assert all(abs(gap - (1_000_000 << k)) < 200 for k, gap in enumerate(gaps)), gaps
        assert life.told(Op.TIMEOUT) == [0] and life.gave_up == 1
        assert await life.op(Op.CLOSE) == Status.OK
        await life.end()

        life = Life(dut, rnd, begin(rnd), "deaf")
        await life.connect()
        await life.until(life.now + 100_000)
        assert await life.op(Op.SEND, size=10) == Status.OK  # taken and acknowledged
        await life.until(life.now + 100_000)
        life.got, life.sent = 1, []
        life.peer = "dead"
        first = life.now
        assert await life.op(Op.SEND, size=3000) == Status.OK
        await life.until(life.now + 400_000_000)
        at = [t for t, _, _ in life.sent]
        gaps = [b - a for a, b in zip(at, at[1:])]
        assert at[0] - first < 200
        assert abs(gaps[0] - 2 * 2 * DELAY) < 200, "a tail loss probe after two round trips"
        assert all(abs(gap - (200_000 << k)) < 200 for k, gap in enumerate(gaps[1:])), gaps
        assert len(gaps) == 1 + 8 and life.told(Op.TIMEOUT) == [0]
        assert await life.op(Op.CLOSE) == Status.OK
        await life.end()


@cocotb.test()
async def user_timeout_ends_it(dut):
    rnd = rng("uto")
    for limit in (2, 20, 100):
        life = Life(dut, rnd, begin(rnd))
        await life.connect()
        assert await life.op(Op.SETOPT, data=Option.USER_TIMEOUT | limit << 32) == Status.OK
        await life.until(
            life.now + rnd.choice([100_000, 3_600_000_000])
        )  # silence before it does not count
        life.peer = "dead"
        first = life.now
        assert await life.op(Op.SEND, size=100) == Status.OK
        await life.until(life.now + 300_000_000)
        (when,) = (t for t, op, _, _ in life.events if op == Op.TIMEOUT)
        assert limit <= (when - first) / 1e6 <= limit + 2.3, (when - first) / 1e6
        assert await life.op(Op.ABORT) == Status.OK
        await life.end()


@cocotb.test()
async def keep_alive_finds_a_dead_peer(dut):
    """Probes after KA_IDLE, KA_CNT of them KA_INTVL apart; longer than a deadline can be, too."""
    rnd = rng("keep")
    for idle, every, count in ((5, 3, 4), (900, 75, 9)):
        for peer in ("good", "dead"):
            life = Life(dut, rnd, begin(rnd))
            await life.connect()
            for option, value in (
                (Option.KEEPIDLE, idle),
                (Option.KEEPINTVL, every),
                (Option.KEEPCNT, count),
                (Option.KEEPALIVE, 1),
            ):
                assert await life.op(Op.SETOPT, data=option | value << 32) == Status.OK
            await life.until(life.now + 100_000)
            heard, life.peer, life.sent = life.now, peer, []
            await life.until(life.now + (idle + every * count + 5) * 1_000_000)
            at = [(t - heard) / 1e6 for t, kind, _ in life.sent if kind == "keep"]
            if peer == "dead":
                assert len(at) == count and life.told(Op.TIMEOUT) == [0]
                assert all(
                    abs(t - (idle + k * every)) < 2.2 + 1e-3 * t for k, t in enumerate(at)
                ), at
            else:
                assert not life.told(Op.TIMEOUT) and at
                assert all(abs(b - a - idle) < 2.2 for a, b in zip(at, at[1:])), at
            assert await life.op(Op.ABORT) == Status.OK
            await life.end()


@cocotb.test()
async def shut_window_is_probed(dut):
    """Probes back off and never end while the peer answers them; data goes on when it opens."""
    rnd = rng("shut")
    for _ in range(4):
        life = Life(dut, rnd, begin(rnd), "shut")
        await life.connect()
        await life.until(life.now + 100_000)
        for _ in range(2):
            assert await life.op(Op.SEND, size=3000) == Status.OK
            await life.until(life.now + 100_000)
        await life.until(life.now + 900_000_000)
        at = [t for t, kind, _ in life.sent if kind == "probe"]
        gaps = [b - a for a, b in zip(at, at[1:])]
        assert len(at) > 15 and not life.gave_up
        assert all(
            abs(gap - min(60_000_000, gaps[0] << k)) < (2000 << k) for k, gap in enumerate(gaps[:8])
        ), gaps
        assert all(abs(gap - 60_000_000) < 1000 for gap in gaps[10:]), gaps
        life.peer = "good"
        life.pending.append((life.now, "ack", life.sent[-1][2]))
        await life.until(life.now + 100_000)
        assert life.got == 6000 == sum(life.told(Op.SENT))
        assert await life.op(Op.CLOSE) == Status.OK
        await life.end()


@cocotb.test()
async def next_hop_comes_late(dut):
    """Every p_neigh_retry another try; afterwards all goes on, and the peer's tries begin at 0."""
    rnd = rng("hop")
    life = Life(dut, rnd, begin(rnd))
    life.hop = False
    await life.connect()
    begun = life.now
    await life.until(life.now + 1_900_000)
    assert not life.sent and life.timer is not None
    life.hop = True
    await life.until(life.now + 300_000)
    assert [kind for _, kind, _ in life.sent] == ["syn"]
    assert abs(life.sent[0][0] - begun - 2_000_000) < 400
    assert life.told(Op.CONNECTED)
    assert await life.op(Op.ABORT) == Status.OK
    await life.end()


@cocotb.test()
async def credit_goes_back(dut):
    """A credit of a closing listener: CLOSED with status OK, no timer, no RST."""
    rnd = rng("credit")
    for _ in range(10):
        life = Life(dut, rnd, begin(rnd))
        assert await life.op(Op.SOCKET, data=0x8000, size=12 | 16 << 8) == Status.OK
        assert await life.op(Op.ACCEPT) == Status.OK and life.tcb["STATE"] == S.CREDIT
        assert await life.op(Op.SETOPT, data=Option.KEEPALIVE | 1 << 32) == Status.OK
        await life.run(is_op=1, uncredit=1)
        assert not int(dut.send_rst.value)
        await life.end()
        assert [(op, status) for _, op, _, status in life.events] == [(Op.CLOSED, Status.OK)]


@cocotb.test()
async def cork_gives_way(dut):
    rnd = rng("cork")
    life = Life(dut, rnd, begin(rnd))
    await life.connect()
    assert await life.op(Op.SETOPT, data=Option.CORK | 1 << 32) == Status.OK
    await life.until(life.now + 100_000)
    life.sent = []
    begun = life.now
    for _ in range(4):
        assert await life.op(Op.SEND, size=10) == Status.OK
        await life.until(life.now + 40_000)
    assert not life.sent
    await life.until(life.now + 1_000_000)
    assert [kind for _, kind, _ in life.sent] == ["data"] and abs(
        life.sent[0][0] - begun - 200_000
    ) < 300
    assert life.got == 40 == sum(life.told(Op.SENT))
    assert await life.op(Op.CLOSE) == Status.OK
    await life.end()


def test_nk_tcp_life():
    run_module("nk_tcp_life", __file__, sources=["rtl-tests/tcp/nk_tcp_life.v"])
