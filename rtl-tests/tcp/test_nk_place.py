# SPDX-License-Identifier: Apache-2.0
"""nk_place against a memory of bytes: each wanted byte at its address, nothing else, events behind their data."""

from __future__ import annotations

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

PLACE, DROP, EVENT, FLUSHED = range(4)
WR = ("func", "addr", "len", "lane", "wrap_len", "wrap_addr")
EV = ("vf", "qs", "op", "socket", "data", "size", "status")


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
        make = PAUSES[pause]
        start_clock(dut)
        self.log: list[tuple[str, dict]] = []
        self.act = ActSource(dut, make(rng("act")))
        self.pay = WordSource(dut, "pay", ("data", "last"), make(rng("pay")))
        ports = (("wr", WR), ("wd", ("data", "last")), ("ev", EV))
        self.sinks = {p: Logged(dut, p, fields, make(rng(p)), self.log) for p, fields in ports}
        self.want: list[tuple] = []
        cocotb.start_soon(self._watch())

    async def _watch(self):
        dut, edge = self.dut, RisingEdge(self.dut.clk)
        flushed, vf, room, ready, rst = (
            Signal(getattr(dut, n)) for n in ("flushed", "ev_vf", "act_room", "act_ready", "rst")
        )
        up = False
        while True:
            await edge
            if rst.get():
                up = False
                continue
            up = up or bool(ready.get())  # from the second clock after a reset on
            if flushed.get():
                self.log.append(("flushed", {"vf": vf.get()}))
            assert ready.get() or not (room.get() and up), "promised room and had none"

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

    def place(self, length, lane, skip, count, addr, wrap_len=0xFFFF, wrap_addr=0, vf=2):
        """The engine's word: whole beats before the first wanted byte are skipped, the rest moves the lane."""
        data = self.segment(length, lane)
        beats, first = divmod(skip + lane, self.nbytes)
        word, at = 0, 0
        fields = (
            (PLACE, 2),
            (vf, 8),
            (addr, 64),
            (count, 16),
            (first, self.lw),
            (beats, 16),
            (wrap_len, 16),
            (wrap_addr, 64),
        )
        for value, width in fields:
            word, at = word | value << at, at + width
        self.act.send(word)
        self.want.append(("place", vf, data[skip : skip + count], addr, wrap_len, wrap_addr))

    def drop(self, length, lane):
        self.segment(length, lane)
        self.act.send(DROP | self.rng.getrandbits(180) << 2)

    def event(self):
        r = self.rng
        ev = {n: r.getrandbits(w) for n, w in zip(EV, (8, 8, 8, 16, 64, 32, 8), strict=True)}
        word, at = EVENT, 2
        for name, width in (
            ("vf", 8),
            ("qs", 8),
            ("op", 8),
            ("socket", 16),
            ("data", 64),
            ("size", 32),
            ("status", 8),
        ):
            word, at = word | ev[name] << at, at + width
        self.act.send(word)
        self.want.append(("ev", ev))

    def flush(self):
        vf = self.rng.randrange(256)
        self.act.send(FLUSHED | vf << 2)
        self.want.append(("flushed", vf))

    def random_actions(self, n):
        r, b = self.rng, self.nbytes
        for _ in range(n):
            kind = r.choices([PLACE, DROP, EVENT, FLUSHED], [6, 2, 3, 1])[0]
            length, lane = r.choice([1, b, b - 1, b + 1, r.randrange(1, 300), 1460]), r.randrange(b)
            if kind == PLACE:
                skip = r.choice([0, 0, length - 1, r.randrange(length)])
                count = r.choice([1, length - skip, r.randrange(1, length - skip + 1)])
                wrap = r.choice([0xFFFF, count, 1, r.randrange(1, count + 1)])
                self.place(
                    length,
                    lane,
                    skip,
                    count,
                    r.getrandbits(63),
                    wrap,
                    r.getrandbits(63),
                    r.randrange(8),
                )
            elif kind == DROP:
                self.drop(length, lane)
            elif kind == EVENT:
                self.event()
            else:
                self.flush()

    async def settle(self):
        async def quiet():
            busy = Signal(self.dut.busy)
            while self.act.pending() or self.pay.pending() or busy.get():
                await cycles(self.dut)
            await cycles(self.dut, 3)

        await with_timeout(quiet(), 4000, "us")

    def check(self):
        """Replay the log into what happened, as ('place' ...), ('ev' ...), ('flushed' ...)."""
        log, got = iter(self.log), []
        for name, word in log:
            if name == "wr":
                beats = -(-(word["lane"] + word["len"]) // self.nbytes)
                stream = b""
                for k in range(beats):
                    name, beat = next(log)
                    assert name == "wd" and beat["last"] == (k == beats - 1), (
                        "beats of a write are not as its command says"
                    )
                    stream += beat["data"].to_bytes(self.nbytes, "little")
                data = stream[word["lane"] : word["lane"] + word["len"]]
                got.append(
                    (
                        "place",
                        word["func"] - 1,
                        data,
                        word["addr"],
                        word["wrap_len"],
                        word["wrap_addr"],
                    )
                )
            else:
                assert name != "wd", "data without a command"
                got.append((name, word if name == "ev" else word["vf"]))
        assert got == self.want
        self.want.clear()
        self.log.clear()


@cocotb.test()
@cocotb.parametrize(pause=list(PAUSES))
async def stress(dut, pause):
    tb = TB(dut, pause)
    await tb.reset()
    tb.random_actions(150)
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
    tb.place(300, 0, 0, 300, 0x4000)
    tb.event()
    await cycles(dut, 200)
    assert not any(name == "ev" for name, _ in tb.log)
    stopped = False
    await tb.settle()
    tb.check()


@cocotb.test()
async def full_rate(dut):
    """Long payloads without stalls: a beat a clock, and three clocks a command."""
    tb = TB(dut)
    await tb.reset()
    for _ in range(8):
        tb.place(1440, 0, 0, 1440, 0)
    beats = 8 * -(-1440 // tb.nbytes)
    await cycles(dut, beats + 8 * 3 + 8)
    assert len(tb.want) == 8 and sum(name == "wd" for name, _ in tb.log) == beats
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
