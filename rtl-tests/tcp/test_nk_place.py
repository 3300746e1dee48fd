# SPDX-License-Identifier: Apache-2.0
"""nk_place against a memory of bytes: each wanted byte at its address, nothing else, events behind their data."""

from __future__ import annotations

from collections import deque

import cocotb
import pytest
from cocotb.triggers import RisingEdge, with_timeout
from common.runner import run_module
from common.stream import (
    PAUSES,
    Signal,
    WordSink,
    WordSource,
    cycles,
    params,
    reset,
    rng,
    start_clock,
)

NONE, PLACE, DROP = range(3)
EVENT, FLUSHED = 1, 2
WR = ("func", "addr", "len", "lane", "wrap_len", "wrap_addr")
EV = {"vf": 8, "qs": 8, "op": 8, "socket": 16, "data": 64, "size": 32, "status": 8}
NO_WRAP = 0xFFFF


class ActSource(WordSource):
    """Action words: the data port is called `act` alone."""

    def __init__(self, dut, pause):
        super().__init__(dut, "act", (), pause)
        self._data = [Signal(dut.act)]


class Logged(WordSink):
    """A sink that also writes into a log which all sinks share, so that the order between them shows."""

    def __init__(self, dut, prefix, fields, pause, log):
        self.log = log
        super().__init__(dut, prefix, fields, pause)

    def _accept(self, word):
        self.log.append((self.name, dict(zip(self.fields, word, strict=True))))


class TB:
    def __init__(self, dut, pause="none"):
        self.dut = dut
        self.rng = rng(f"place {pause}")
        self.nbytes = params()["W"] // 8
        self.lw = self.nbytes.bit_length() - 1
        self.depth = 1 << params().get("DEPTH_LOG2", 5)
        make = PAUSES[pause]
        start_clock(dut)
        self.log: list[tuple[str, dict]] = []
        self.act = ActSource(dut, make(rng("act")))
        self.pay = WordSource(dut, "pay", ("data", "last"), make(rng("pay")))
        ports = (("wr", WR), ("wd", ("data", "last")), ("ev", tuple(EV)))
        self.sinks = {p: Logged(dut, p, fields, make(rng(p)), self.log) for p, fields in ports}
        self.want: list[tuple] = []
        self.most = 0
        cocotb.start_soon(self._watch())

    async def _watch(self):
        dut, edge = self.dut, RisingEdge(self.dut.clk)
        names = ("flushed", "ev_vf", "act_level", "act_ready", "rst", "busy")
        flushed, vf, level, ready, rst, busy = (Signal(getattr(dut, n)) for n in names)
        while not rst.is_not_low():  # before the first reset nothing is defined
            await edge
        up = False
        while True:
            await edge
            if rst.is_not_low():
                up = False
                continue
            up = up or bool(ready.get())  # from the second clock after a reset on
            if flushed.get():
                self.log.append(("flushed", {"vf": vf.get()}))
            held = level.get()
            self.most = max(self.most, held)
            assert held <= self.depth
            assert ready.get() == (held < self.depth) or not up, "act_level says another thing"
            assert busy.get() or not held, "not busy with words held"

    async def reset(self, clocks=3):
        await reset(self.dut, clocks)
        self.want.clear()
        self.log.clear()

    def segment(self, length, lane):
        """Queue a segment's payload; returns its bytes."""
        data = self.rng.randbytes(length)
        rest = -(lane + length) % self.nbytes
        stream = self.rng.randbytes(lane) + data + self.rng.randbytes(rest)
        for at in range(0, len(stream), self.nbytes):
            word = int.from_bytes(stream[at : at + self.nbytes], "little")
            self.pay.send({"data": word, "last": int(at + self.nbytes == len(stream))})
        return data

    def word(self, pay, vf, place=None, kind=NONE, event=None):
        """An action word; fields that mean nothing hold rubbish."""
        r = self.rng
        names = {"addr": 64, "len": 16, "lane": self.lw, "skip": 16, "wrap_len": 16}
        names |= {"wrap_addr": 64}
        word, at = pay | vf << 2, 10
        for name, width in names.items():
            word |= (place[name] if place else r.getrandbits(width)) << at
            at += width
        word, at = word | kind << at, at + 2
        for name, width in list(EV.items())[1:]:
            word |= (event[name] if event else r.getrandbits(width)) << at
            at += width
        self.act.send(word)

    def action(self, payload=None, behind=None, vf=2):
        """One pass. `payload`: None, ("drop", length, lane) or ("place", length, lane, skip, count, addr, wrap_len,
        wrap_addr); `behind`: None, "event" or "flushed"."""
        pay, place = NONE, None
        if payload and payload[0] == "drop":
            pay = DROP
            self.segment(*payload[1:])
        elif payload:
            pay = PLACE
            _, length, lane, skip, count, addr, wrap_len, wrap_addr = payload
            data = self.segment(length, lane)
            # Whole beats before the first wanted byte are skipped, the rest moves the lane.
            beats, first = divmod(skip + lane, self.nbytes)
            place = {"addr": addr, "len": count, "lane": first, "skip": beats}
            place |= {"wrap_len": wrap_len, "wrap_addr": wrap_addr}
            self.want.append(("place", vf, data[skip : skip + count], addr, wrap_len, wrap_addr))
        if behind == "event":
            ev = {n: self.rng.getrandbits(w) for n, w in EV.items()} | {"vf": vf}
            self.want.append(("ev", ev))
            self.word(pay, vf, place, EVENT, ev)
        elif behind == "flushed":
            self.want.append(("flushed", vf))
            self.word(pay, vf, place, FLUSHED)
        else:
            self.word(pay, vf, place)

    def place(self, length, lane, skip, count, addr, behind=None):
        self.action(("place", length, lane, skip, count, addr, NO_WRAP, 0), behind)

    def random_actions(self, n):
        r, b = self.rng, self.nbytes
        for _ in range(n):
            behind = r.choices([None, "event", "flushed"], [4, 5, 1])[0]
            kind = r.choices(["place", "drop", None], [6, 2, 3])[0]
            length, lane = r.choice([1, b, b - 1, b + 1, r.randrange(1, 300), 1460]), r.randrange(b)
            payload = (kind, length, lane) if kind == "drop" else None
            if kind == "place":
                skip = r.choice([0, 0, length - 1, r.randrange(length)])
                count = r.choice([1, length - skip, r.randrange(1, length - skip + 1)])
                wrap = r.choice([NO_WRAP, count, 1, r.randrange(1, count + 1)])
                payload = (kind, length, lane, skip, count, r.getrandbits(63), wrap)
                payload += (r.getrandbits(63),)
            self.action(payload, behind, r.randrange(8))

    async def settle(self):
        async def quiet():
            busy = Signal(self.dut.busy)
            while self.act.pending() or self.pay.pending() or busy.get():
                await cycles(self.dut)
            await cycles(self.dut, 3)

        await with_timeout(quiet(), 4000, "us")

    def check(self):
        """Replay the log: writes put together of commands and beats, events only when all beats before them are out."""
        got, after = [], []
        open_writes: deque[tuple[dict, int]] = deque()  # commands and where they stand in `got`
        stream = b""
        for name, word in self.log:
            if name == "wr":
                open_writes.append((word, len(got)))
                got.append(None)
            elif name == "wd":
                assert open_writes, "data without a command"
                cmd, at = open_writes[0]
                stream += word["data"].to_bytes(self.nbytes, "little")
                end = len(stream) >= cmd["lane"] + cmd["len"]
                assert word["last"] == end, "beats of a write are not as its command says"
                if end:
                    open_writes.popleft()
                    data = stream[cmd["lane"] : cmd["lane"] + cmd["len"]]
                    where = (cmd["addr"], cmd["wrap_len"], cmd["wrap_addr"])
                    got[at] = ("place", cmd["func"] - 1, data, *where)
                    stream = b""
            else:
                after.append((name, word if name == "ev" else word["vf"]))
                # Everything wanted before this one has happened.
                at = [i for i, w in enumerate(self.want) if w[0] != "place"][len(after) - 1]
                writes = sum(w[0] == "place" for w in self.want[:at])
                done = sum(g is not None for g in got)
                assert done >= writes, f"{name} overtook its data"
        assert not open_writes and not stream
        assert got == [w for w in self.want if w[0] == "place"]
        assert after == [w for w in self.want if w[0] != "place"]
        self.want.clear()
        self.log.clear()

    def like_the_arbiter(self):
        """Data are taken two clocks after their command at the earliest, as nk_dma_wr_arb does."""
        seen = deque([0, 0], maxlen=2)

        def pause():
            lasts = sum(name == "wd" and w["last"] for name, w in self.log)
            commands = sum(name == "wr" for name, _ in self.log)
            before = seen[0]
            seen.append(commands)
            return before <= lasts

        self.sinks["wd"].pause = pause


@cocotb.test()
@cocotb.parametrize(pause=list(PAUSES))
async def stress(dut, pause):
    tb = TB(dut, pause)
    await tb.reset()
    tb.random_actions(200)
    await tb.settle()
    tb.check()


@cocotb.test()
async def every_lane_and_skip(dut):
    """Short segments: all lanes, all bytes skipped in front, all lengths behind."""
    tb = TB(dut)
    await tb.reset()
    b = tb.nbytes
    lanes = range(b) if b == 8 else [0, 1, b // 2, b - 1]
    for lane in lanes:
        length = b + 2
        for skip in range(0, length, 1 if b == 8 else 7):
            for count in {1, length - skip, (length - skip + 1) // 2}:
                tb.place(length, lane, skip, count, 0x1000 + skip)
    await tb.settle()
    tb.check()


@cocotb.test()
async def event_waits_for_its_data(dut):
    """The write behind which an event stands is stopped: the event must not show."""
    tb = TB(dut)
    await tb.reset()
    stopped = True
    tb.sinks["wd"].pause = lambda: stopped
    tb.place(300, 0, 0, 300, 0x4000, "event")
    tb.action(None, "event")
    tb.action(None, "flushed")
    await cycles(dut, 200)
    assert not any(name in ("ev", "flushed") for name, _ in tb.log)
    stopped = False
    await tb.settle()
    tb.check()


@cocotb.test()
async def data_never_wait_for_events(dut):
    """The taker of events waits for ever: every write whose command was given gets its data.

    He may need the DMA channel himself before he can take the next event: otherwise the card would stand still.
    """
    tb = TB(dut)
    await tb.reset()
    stopped = True
    tb.sinks["ev"].pause = lambda: stopped
    for i in range(30):
        tb.place(40 + i, i % tb.nbytes, 0, 40 + i, 0x4000, "event" if i % 3 else None)
        tb.action(None, "event")
    await cycles(dut, 600)
    commands = sum(name == "wr" for name, _ in tb.log)
    lasts = sum(name == "wd" and word["last"] for name, word in tb.log)
    assert commands == lasts > 2
    assert not any(name == "ev" for name, _ in tb.log)
    stopped = False
    await tb.settle()
    tb.check()


@cocotb.test()
async def level_counts_to_the_end(dut):
    """It holds what `act_level` promises when nothing moves, and no more."""
    tb = TB(dut)
    await tb.reset()
    stopped = True
    tb.sinks["wr"].pause = lambda: stopped
    for _ in range(tb.depth + 5):
        tb.place(1, 0, 0, 1, 0)
    await cycles(dut, tb.depth + 20)
    assert tb.act.sent == tb.depth == tb.most == int(dut.act_level.value)
    stopped = False
    await tb.settle()
    tb.check()


async def clocks_for(tb, n, send):
    """Clocks between the first and the last of n writes' (or events') ends."""
    for _ in range(n):
        send()
    ends = [w for w in tb.want if w[0] == "place"] or tb.want
    name = "wd" if ends[0][0] == "place" else "ev"

    def done():
        return sum(k == name and w.get("last", 1) for k, w in tb.log)

    clocks = 0
    while done() < 1:
        await cycles(tb.dut)
    while done() < n:
        await cycles(tb.dut)
        clocks += 1
        assert clocks < 400 * n + 1000
    await tb.settle()
    tb.check()
    return clocks


@cocotb.test()
@cocotb.parametrize(arbiter=[False, True])
async def rate(dut, arbiter):
    """A payload costs its beats and no more, with an event behind each and without; an event a clock."""
    tb = TB(dut)
    if arbiter:
        tb.like_the_arbiter()
    await tb.reset()
    n = 40
    for behind in (None, "event"):
        for length in (1, 64, 256, 1460):
            beats = -(-length // tb.nbytes)
            if beats > 100:
                n = 10

            def send(length=length, behind=behind):
                tb.place(length, 0, 0, length, 0, behind)

            clocks = await clocks_for(tb, n, send)
            assert clocks <= (n - 1) * beats + 1
    assert await clocks_for(tb, 60, lambda: tb.action(None, "event")) <= 60


@cocotb.test()
async def latency(dut):
    """Action to command in the next clock, to the first beat in the one after, to the event one later."""
    tb = TB(dut)
    await tb.reset()
    await cycles(dut, 5)
    signals = [Signal(getattr(dut, f"{n}_valid")) for n in ("act", "wr", "wd", "ev")]
    tb.place(1, 0, 0, 1, 0, "event")
    first: dict[int, int] = {}
    for clock in range(12):
        await cycles(dut)
        for i, s in enumerate(signals):
            if s.get():
                first.setdefault(i, clock)
    assert [first[i] - first[0] for i in range(4)] == [0, 1, 2, 3]
    await tb.settle()
    tb.check()


@cocotb.test()
async def reset_mid_traffic(dut):
    tb = TB(dut, "some")
    for _ in range(25):
        await tb.reset(tb.rng.randrange(1, 4))
        tb.random_actions(4)  # nothing of what the reset cut short may show in these
        await tb.settle()
        tb.check()
        tb.random_actions(12)
        await cycles(dut, tb.rng.randrange(1, 120))


@pytest.mark.parametrize("w", [64, 512])
def test_nk_place(w):
    run_module("nk_place", __file__, {"W": w})


def test_nk_place_shallow():
    run_module("nk_place", __file__, {"W": 128, "DEPTH_LOG2": 2}, testcase="stress|level|reset")


def test_nk_place_icarus():
    """Four states: nothing undefined comes out after reset."""
    run_module("nk_place", __file__, {"W": 64}, testcase="stress|reset", simulator="icarus")
