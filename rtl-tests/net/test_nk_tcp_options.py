# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_options against net_model.parse_options: right ones, wrong ones, random bytes, one each clock."""

from __future__ import annotations

from collections import deque

import cocotb
from common.runner import run_module
from common.stream import Signal, cycles, has, reset, rng, start_clock
from net.net_model import NO_OPTIONS, parse_options
from scapy.layers.inet import TCP

LATENCY = 3


class TB:
    """A segment (or none) goes in every clock; what comes out three clocks later is compared in every clock."""

    def __init__(self, dut):
        self.dut = dut
        self.rng = rng("options")
        self.outputs = {n: Signal(getattr(dut, n)) for n in NO_OPTIONS}
        self.pipe: deque[tuple[str, dict[str, int]]] = deque()
        start_clock(dut)
        for name in ("en", "syn", "words", "options"):
            assert has(dut, name)
            getattr(dut, name).value = 0

    async def reset(self):
        self.dut.en.value = 0
        await reset(self.dut)
        self.pipe = deque([("nothing", NO_OPTIONS)] * LATENCY)

    async def clock(self, raw: bytes | None = None, syn: bool = False):
        """Bytes behind the options are rubbish: they must not matter."""
        d, r = self.dut, self.rng
        if raw is None:
            d.en.value = 0
            d.options.value = r.getrandbits(320)
            d.words.value = r.randrange(11)
            self.pipe.append(("nothing", NO_OPTIONS))
        else:
            raw = raw[:40] + b"\1" * (-len(raw[:40]) % 4)
            d.en.value = int(len(raw) > 0)
            d.syn.value = int(syn)
            d.words.value = len(raw) // 4
            d.options.value = int.from_bytes(raw + r.randbytes(40 - len(raw)), "little")
            self.pipe.append((f"{raw.hex()} syn={syn}", parse_options(raw, syn)))
        await cycles(d)
        what, want = self.pipe.popleft()
        got = {n: s.get() for n, s in self.outputs.items()}
        assert got == want, f"{what}\n got {got}\nwant {want}"

    async def drain(self):
        for _ in range(LATENCY + 1):
            await self.clock()


def piece(r) -> bytes:
    """An option, right or wrong."""
    sack = r.choice([1, 2, 3, 4])
    pieces = [
        b"\1",
        b"\0",
        b"\2\4" + r.randbytes(2),
        b"\3\3" + bytes([r.randrange(18)]),
        b"\4\2",
        b"\x08\x0a" + r.randbytes(8),
        bytes([5, 2 + 8 * sack]) + r.randbytes(8 * sack),
        bytes([r.randrange(10), r.randrange(42)]),
        bytes([r.randrange(256), r.randrange(2, 9)]) + r.randbytes(r.randrange(7)),
        r.randbytes(r.randrange(1, 4)),
    ]
    return r.choices(pieces, [4, 0.15, 2, 2, 2, 2, 2, 0.5, 0.5, 0.3])[0]


@cocotb.test()
async def random_options(dut):
    """Made of right pieces and rubbish, every length, back to back and with gaps."""
    tb = TB(dut)
    await tb.reset()
    r = tb.rng
    seen = dict.fromkeys(NO_OPTIONS, 0)
    for _ in range(6000):
        if r.random() < 0.1:
            await tb.clock()
            continue
        raw = b"".join(piece(r) for _ in range(r.randrange(14)))[
            : r.choice([0, 4, 12, 20, 39, 40, 40])
        ]
        syn = r.random() < 0.5
        await tb.clock(raw, syn)
        for name, value in parse_options(raw, syn).items():
            seen[name] += bool(value)
    await tb.drain()
    assert min(seen.values()) > 100, seen


@cocotb.test()
async def random_bytes(dut):
    """Rubbish, of few kinds and short lengths so that the walk goes far."""
    tb = TB(dut)
    await tb.reset()
    r = tb.rng
    for _ in range(3000):
        few = r.choice([4, 6, 11, 256])
        await tb.clock(bytes(r.randrange(few) for _ in range(40)), r.random() < 0.5)
    await tb.drain()


@cocotb.test()
async def every_place(dut):
    """Each known option behind 0 to 40 NOPs, and behind one unknown option of each length."""
    tb = TB(dut)
    await tb.reset()
    r = tb.rng
    known = [b"\2\4\5\xb4", b"\3\3\7", b"\4\2", b"\x08\x0a" + r.randbytes(8)]
    known += [bytes([5, 2 + 8 * n]) + r.randbytes(8 * n) for n in (1, 2, 3, 4)]
    for option in known:
        for lead in range(41):
            for syn in (False, True):
                await tb.clock(b"\1" * lead + option, syn)
                if lead >= 2:
                    await tb.clock(bytes([99, lead]) + r.randbytes(lead - 2) + option, syn)
    await tb.drain()


@cocotb.test()
async def every_length_of_a_known_option(dut):
    """Each known kind with each length byte, at the front, in the middle and at the end."""
    tb = TB(dut)
    await tb.reset()
    r = tb.rng
    for kind in (0, 1, 2, 3, 4, 5, 8):
        for length in range(256):
            for lead in (0, 3, 7, 28, 34, 36, 37, 38, 39):
                raw = b"\1" * lead + bytes([kind, length]) + r.randbytes(3) + b"\3\3\7" + b"\1" * 40
                await tb.clock(raw[: r.choice([40, 40, 4 * r.randrange(1, 11)])], lead % 2 == 0)
    await tb.drain()


@cocotb.test()
async def as_scapy_builds_them(dut):
    """Lists of right options in any order; the model must read what scapy was told to write."""
    tb = TB(dut)
    await tb.reset()
    r = tb.rng
    for _ in range(1500):
        syn = r.random() < 0.4
        edges = tuple(r.getrandbits(32) for _ in range(2 * r.randrange(1, 4)))
        stamps = (r.getrandbits(32), r.getrandbits(32))
        mss, scale = r.randrange(1, 65536), r.randrange(15)
        options = [("Timestamp", stamps)]
        options += [("MSS", mss), ("WScale", scale), ("SAckOK", b"")] if syn else [("SAck", edges)]
        options = r.sample(options, r.randrange(len(options) + 1))
        for _ in range(r.randrange(3)):
            options.insert(r.randrange(len(options) + 1), ("NOP", None))
        raw = bytes(TCP(options=options))[20:]
        names = [name for name, _ in options]
        want = dict(NO_OPTIONS)
        if "Timestamp" in names:
            want.update(ts_valid=1, tsval=stamps[0], tsecr=stamps[1])
        if "MSS" in names:
            want["mss"] = mss
        if "WScale" in names:
            want.update(wscale=scale, wscale_valid=1)
        want["sack_ok"] = int("SAckOK" in names)
        if "SAck" in names:
            want["sack_n"] = len(edges) // 2
            want["sack"] = sum(e << (32 * i) for i, e in enumerate(edges))
        assert len(raw) <= 40
        assert parse_options(raw, syn) == want, raw.hex()
        await tb.clock(raw, syn)
    await tb.drain()


@cocotb.test()
async def timestamps_at_full_rate(dut):
    """NOP NOP TS in every clock, mixed with near misses of it."""
    tb = TB(dut)
    await tb.reset()
    r = tb.rng
    for _ in range(500):
        raw = bytearray(b"\1\1\x08\x0a" + r.randbytes(8))
        if r.random() < 0.2:
            raw[r.randrange(4)] = r.randrange(12)
        if r.random() < 0.1:
            raw += b"\1\1\5\x0a" + r.randbytes(8)
        await tb.clock(bytes(raw), r.random() < 0.1)
    await tb.drain()


@cocotb.test()
async def reset_in_a_walk(dut):
    """Nothing comes out of a segment that a reset ended."""
    tb = TB(dut)
    await tb.reset()
    for ahead in range(1, 6):
        for _ in range(ahead):
            await tb.clock(b"\2\4\5\xb4\1\3\3\7\1\1\x08\x0a12345678\4\2\1\1", syn=True)
        await tb.reset()
        await tb.drain()


def test_nk_tcp_options():
    run_module("nk_tcp_options", __file__)


def test_nk_tcp_options_icarus():
    """Four states: nothing undefined comes out."""
    run_module(
        "nk_tcp_options", __file__, simulator="icarus", testcase="every_place|reset_in_a_walk"
    )
