# SPDX-License-Identifier: Apache-2.0
"""nk_tcb_pack and nk_tcb_unpack: what a pass leaves comes back in the next one, for every state that can be.

The rules are read from hw/tcp/data/tcb.yaml; what they mean is written down here once more.
"""

from __future__ import annotations

from pathlib import Path

import cocotb
import yaml
from cocotb.triggers import Timer
from common.filelist import ROOT
from common.runner import run_module
from common.stream import Signal, rng
from common.tcb import FIELDS, M32, pack, unpack

HERE = Path(__file__).resolve().parent
RULES = {
    name: keep
    for name, _, keep, _ in yaml.safe_load((ROOT / "hw/tcp/data/tcb.yaml").read_text())["fields"]
}
BASE = {"una": "SND_UNA", "nxt": "RCV_NXT", "now": "now"}


def elements(name: str) -> tuple[str, int, int, int]:
    """(kind, kept bits, elements, bits of an element at work) of a field."""
    kind, _, size = RULES[name].partition(":")
    bits, _, times = size.partition("*")
    count = int(times or 1)
    width = FIELDS[name][1] // count
    return kind, int(bits) if size else width, count, width


def limits(kind: str, bits: int) -> tuple[int, int]:
    """Smallest and largest value, or distance, that this rule keeps."""
    if kind in ("una", "nxt", "now"):
        return -(1 << bits - 1), (1 << bits - 1) - 1
    return 0, (1 << bits) - 1


class TB:
    def __init__(self, dut):
        self.r = rng("tcb")
        self.tcb, self.now_us, self.mem, self.out = (
            Signal(getattr(dut, n)) for n in ("tcb", "now_us", "mem", "tcb_out")
        )

    def edge_value(self, low: int, high: int) -> int:
        """Ends and their neighbours often, else anything between."""
        r = self.r
        return r.choice(
            (low, high, min(low + 1, high), 0, r.randint(low, high), r.randint(low, high))
        )

    def base(self) -> int:
        r = self.r
        return r.choice((0, M32, 1 << 31, r.getrandbits(32), (1 << 31) - r.randrange(1 << 27)))

    def field(self, name: str, bases: dict[str, int]) -> int:
        """A value that this field can have, beside these SND_UNA, RCV_NXT and time."""
        kind, bits, count, width = elements(name)
        if kind == "none":
            return 0
        word = 0
        for i in range(count):
            value = self.edge_value(*limits(kind, bits))
            if kind.rstrip("+") in BASE:
                value = value + bases[BASE[kind.rstrip("+")]] & M32
            word |= value << width * i
        return word

    def state(self) -> tuple[dict[str, int], int]:
        """A state that can be, and the time."""
        bases = {name: self.base() for name in BASE.values()}
        values = {n: bases[n] if n in bases else self.field(n, bases) for n in FIELDS}
        return values, bases["now"]

    async def loop(self, values: dict[str, int], now: int, later: int | None = None):
        self.tcb.set(pack(values))
        self.now_us.set(now if later is None else later)
        await Timer(1, "ns")
        return unpack(self.out.get())


@cocotb.test()
async def all_that_can_be(dut):
    """Every field comes back, at both ends of its range too, wherever the sequence numbers stand on their circle."""
    tb = TB(dut)
    for _ in range(3000):
        values, now = tb.state()
        got = await tb.loop(values, now)
        wrong = {n: (hex(values[n]), hex(got[n])) for n in FIELDS if got[n] != values[n]}
        assert not wrong, wrong


@cocotb.test()
async def one_field_at_a_time(dut):
    """No field's bits stand in another's place: one changes, the others stay."""
    tb = TB(dut)
    values, now = tb.state()
    bases = {**values, "now": now}
    for name in FIELDS:
        if name in BASE.values():  # the others are kept as distances from these
            continue
        other = values[name]
        while other == values[name] and RULES[name] != "none":
            other = tb.field(name, bases)
        got = await tb.loop({**values, name: other}, now)
        assert got == {**values, name: other}, name


@cocotb.test()
async def requests_do_not_last(dut):
    """What one stage asks of a later one is not kept; time that passes moves no deadline."""
    tb = TB(dut)
    none = [n for n, keep in RULES.items() if keep == "none"]
    assert none
    for _ in range(500):
        values, now = tb.state()
        for name in ("RTX_T", "DACK_T", "RTT_T"):
            values[name] = now + tb.r.randrange(1 << 19) & M32
        set_all = {n: (1 << FIELDS[n][1]) - 1 for n in none}
        got = await tb.loop({**values, **set_all}, now, now + tb.r.randrange(1 << 19) & M32)
        assert got == values


@cocotb.test()
async def nothing_is_free(dut):
    """A memory word of zeros, as after a reset, is a free flow."""
    tb = TB(dut)
    got = await tb.loop(unpack(0), tb.r.getrandbits(32))
    assert tb.mem.get() == 0 and got["STATE"] == 0 and got["RTX_ON"] == got["DACK_ON"] == 0


def test_nk_tcb_pack():
    run_module("nk_tcb_loop", __file__, sources=[HERE / "nk_tcb_loop.v"])
