# SPDX-License-Identifier: Apache-2.0
"""nk_tcb_pack and nk_tcb_unpack: what a pass leaves and a later one needs comes back, for every state that can be.

What can be is written down here from what the fields mean (RFC 9293, rings of at most 2^24 bytes), not from the rules of
tcb.yaml; so is which field is needed when.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cocotb
from cocotb.triggers import Timer
from common.runner import run_module
from common.stream import Signal, rng
from common.tcb import FIELDS, M32, pack, unpack

HERE = Path(__file__).resolve().parent
RING = 1 << 24
FLIGHT = RING + 1  # data and a FIN
NEAR: dict[str, tuple[str, int, int]] = {
    "ISS": ("SND_UNA", -(1 << 23), (1 << 23) - 1),
    "SND_NXT": ("SND_UNA", 0, FLIGHT),
    "TX_END": ("SND_UNA", -1, RING),  # -1: our FIN is acknowledged
    "SND_NTF": ("SND_UNA", -FLIGHT, 1),  # 1: our SYN is not
    "LOST_END": ("SND_UNA", 0, FLIGHT),
    "RXT_NXT": ("SND_UNA", 0, FLIGHT),
    "RXT_MARK": ("SND_UNA", 0, FLIGHT),
    "RECOVER": ("SND_UNA", -1, FLIGHT),
    "RTT_SEQ": ("SND_UNA", 1, FLIGHT),
    "TLP_END": ("SND_UNA", 0, FLIGHT),
    "SND_WL1": ("RCV_NXT", -RING, RING - 1),
    "IRS": ("RCV_NXT", -(1 << 23), (1 << 23) - 1),
    "RCV_NTF": ("RCV_NXT", -FLIGHT, 0),
    "RCV_EDGE": ("RCV_NXT", -1, RING),
    "FIN_SEQ": ("RCV_NXT", 1, RING),
    "DSACK_S": ("RCV_NXT", -RING, RING),
    "RTT_T": ("now", -(1 << 26) + 1, 0),
    "RTX_T": ("now", -(1 << 24), 250_000_000),
}
BITS = {
    "N_STATUS": 4, "QS": 3, "MSS": 11, "DUPACKS": 2, "CWND": 25, "PRR_DELIV": 25, "PRR_OUT": 25, "PRR_FS": 5, "RETRIES": 6,
    "REO_MULT": 2, "UNDO_TS": 20, "DSACK_LEN": 11,
}  # fmt: skip
FLOATS = {
    "SSTHRESH": (25, 11),
    "UNDO_CWND": (25, 11),
    "UNDO_SST": (25, 11),
    "SRTT8": (27, 13),
    "RTTVAR4": (26, 12),
}
"""bits of the largest value, bits that count"""
NONE = ("SOCKET", "W_ACKED", "W_SENT", "W_RETX", "W_REO", "W_REO_US", "W_TW", "W_NEIGH")
RANGES = {"SK": ("SND_UNA", RING + 1), "OOO": ("RCV_NXT", RING)}
DACK_UNIT = 256


def rounded(name: str, value: int) -> int:
    """The value with the bits that count; all ones stay."""
    wide, bits = FLOATS[name]
    drop = max(0, value.bit_length() - bits)
    cut = value >> drop << drop
    return (1 << wide) - 1 if cut == (1 << wide) - (1 << wide - bits) else cut


class TB:
    def __init__(self, dut):
        self.r = rng("tcb")
        self.tcb, self.now_us, self.mem, self.out = (
            Signal(getattr(dut, n)) for n in ("tcb", "now_us", "mem", "tcb_out")
        )
        self.seen: Counter[str] = Counter()

    def between(self, low: int, high: int) -> int:
        """Ends and their neighbours often, else anything between."""
        r = self.r
        return r.choice(
            (
                low,
                high,
                min(low + 1, high),
                max(low, high - 1),
                r.randint(low, high),
                r.randint(low, high),
            )
        )

    def base(self) -> int:
        r = self.r
        return r.choice((0, M32, 1 << 31, r.getrandbits(32), (1 << 31) - r.randrange(1 << 27)))

    def field(self, name: str, s: dict[str, int], now: int) -> int:
        """A value that this field can have beside those that are already there."""
        r = self.r
        width = FIELDS[name][1]
        if name in NONE:
            return 0
        if name in NEAR:
            base, low, high = NEAR[name]
            return (now if base == "now" else s[base]) + self.between(low, high) & M32
        if name in FLOATS:
            wide = FLOATS[name][0]
            return r.choice(
                (0, 1, (1 << wide) - 1, r.getrandbits(wide), r.getrandbits(r.randint(1, wide)))
            )
        if name in ("RX_LOG2", "TX_LOG2"):
            return r.randint(12, 24)
        if name == "SND_WND":  # 16 bits and a shift
            return min(self.between(0, 65535) << r.randint(0, 14), RING)
        if name == "RCV_ADV":
            return s["RCV_EDGE"] - self.between(0, 4095) & M32
        if name == "RCV_WS":
            return max(0, s["RX_LOG2"] - 15) if s["WS_OK"] else 0
        if name == "DACK_T":
            return (now // DACK_UNIT + self.between(-(1 << 12), (1 << 12) - 1)) * DACK_UNIT & M32
        if name == "OOO_ORD":
            return sum(k << 2 * i for i, k in enumerate(r.sample(range(4), 4)))
        return self.between(0, (1 << BITS.get(name, width)) - 1)

    def ranges(self, s: dict[str, int], name: str, most: int) -> None:
        """Ascending ranges beyond the base, none empty or adjacent; rubbish in those that are not valid."""
        r = self.r
        base, reach = RANGES[name]
        n = r.randint(0, most)
        cuts: list[int] = []
        while len(set(cuts)) != 2 * n or any(b - a < 2 for a, b in zip(cuts[1::2], cuts[2::2])):
            cuts = sorted(self.between(1, reach) for _ in range(2 * n))
        if name == "SK" and n == 1 and cuts == [1, reach]:
            cuts = [1, reach - 1]  # all but the first byte, FIN and all: may be forgotten
        starts, ends = r.getrandbits(128), r.getrandbits(128)
        for i in range(n):
            keep = ~(M32 << 32 * i)
            starts = starts & keep | (s[base] + cuts[2 * i] & M32) << 32 * i
            ends = ends & keep | (s[base] + cuts[2 * i + 1] & M32) << 32 * i
        s |= {f"{name}_V": (1 << n) - 1, f"{name}_S": starts, f"{name}_E": ends}
        self.seen[f"{name} {n}"] += 1

    def state(self) -> tuple[dict[str, int], int]:
        """A state that can be, and the time."""
        s, now = {"SND_UNA": self.base(), "RCV_NXT": self.base()}, self.base()
        late = ("RCV_ADV", "RCV_WS")
        for name in (*(n for n in FIELDS if n not in late), *late):
            if name not in s and not name.startswith(("SK_", "OOO_")):
                s[name] = self.field(name, s, now)
        if s["IN_REC"]:  # nk_tcp_snd, nk_tcp_tmr
            s |= {"IN_LOSS": 0, "IN_CWR": 0, "MTU_FAIL": 0}
        s["OOO_ORD"] = self.field("OOO_ORD", s, now)
        self.ranges(s, "OOO", 3 if s["FIN_SEEN"] else 4)
        self.ranges(s, "SK", 4 if s["SACK_OK"] else 0)
        if not s["SACK_OK"]:
            s["SK_E"] = s["SK_E"] & ~M32 | (s["SND_UNA"] + self.between(0, RING - 1) & M32)
        return s, now

    def wanted(self, s: dict[str, int]) -> dict[str, int | None]:
        """What must come back of a state; None: nobody looks at it."""
        want: dict[str, int | None] = dict(s)
        rec, tlp = s["IN_REC"], s["TLP_OUT"]
        want |= {name: rounded(name, s[name]) for name in FLOATS}
        want |= {
            name: None for name in (("LISTENER", "RTT_SEQ") if rec else ("PRR_DELIV", "PRR_OUT"))
        }
        if rec:  # a probe is over by then
            want |= {"RTT_ON": 0, "TLP_RETX": 0}
        if tlp:
            want["RXT_MARK"] = s["SND_NXT"]
        else:
            want["TLP_END"] = None
        if not s["FIN_SEEN"]:
            want["FIN_SEQ"] = None
        if s["FIN_SEEN"] or s["OOO_V"] == 15:
            want["DSACK_V"] = 0
        if not want["DSACK_V"]:
            want |= {"DSACK_S": None, "DSACK_LEN": None}
        for name, on in (
            ("recovery", rec),
            ("tail loss probe", tlp),
            ("early FIN", s["FIN_SEEN"]),
            ("D-SACK", want["DSACK_V"]),
        ):
            self.seen[f"{name} {on}"] += 1
        return want

    def differs(
        self, s: dict[str, int], got: dict[str, int], want: dict[str, int | None]
    ) -> dict[str, tuple[str, str]]:
        """Fields that are not as wanted."""
        wrong = {}
        for name, w in want.items():
            if w is None:
                continue
            g = got[name]
            if name[:-2] in RANGES and name[-1] in "SE":  # only valid ones count
                valid = s[f"{name[:-2]}_V"] | (name == "SK_E" and not s["SACK_OK"])
                mask = sum(M32 << 32 * i for i in range(4) if valid >> i & 1)
                g, w = g & mask, w & mask
            if g != w:
                wrong[name] = (hex(w), hex(g))
        return wrong

    async def loop(self, values: dict[str, int], now: int, later: int | None = None):
        self.tcb.set(pack(values))
        self.now_us.set(now if later is None else later)
        await Timer(1, "ns")
        return unpack(self.out.get())


@cocotb.test()
async def all_that_can_be(dut):
    """Every field that is needed comes back, at both ends of its range too, whoever stands in the shared places."""
    tb = TB(dut)
    for _ in range(4000):
        s, now = tb.state()
        got = await tb.loop(s, now)
        assert not (wrong := tb.differs(s, got, tb.wanted(s))), wrong
    kinds = {
        f"{n} {v}" for n in ("recovery", "tail loss probe", "early FIN", "D-SACK") for v in (0, 1)
    }
    kinds |= {f"{n} {k}" for n in RANGES for k in range(5)}
    assert all(tb.seen[k] > 100 for k in kinds), tb.seen


@cocotb.test()
async def one_field_at_a_time(dut):
    """No field's bits stand in another's place that is needed: one changes, the others stay."""
    tb = TB(dut)
    for _ in range(40):
        s, now = tb.state()
        alone = ("IN_REC", *(("IN_LOSS", "IN_CWR", "MTU_FAIL") if s["IN_REC"] else ()))
        for name in FIELDS:
            if (
                name in alone
                or name
                in ("SND_UNA", "RCV_NXT", "RCV_EDGE", "RX_LOG2", "WS_OK", "FIN_SEEN", "SACK_OK")
                or name[:-2] in RANGES
            ):
                continue  # others depend on these
            other = s | {name: tb.field(name, s, now)}
            got = await tb.loop(other, now)
            assert not (wrong := tb.differs(other, got, tb.wanted(other))), (name, wrong)


@cocotb.test()
async def twice_is_once(dut):
    """What has been through the memory goes through it again as it is: nothing creeps."""
    tb = TB(dut)
    for _ in range(500):
        s, now = tb.state()
        once = await tb.loop(s, now)
        twice = await tb.loop(once, now)
        assert not (
            wrong := tb.differs(once, twice, {**tb.wanted(once), **{n: once[n] for n in FLOATS}})
        ), wrong


@cocotb.test()
async def floats(dut):
    """Rounded down by less than the bits that count, never out of order; none, twice a segment and 'not yet known' are exact."""
    tb = TB(dut)
    s, now = tb.state()
    for name, (wide, bits) in FLOATS.items():
        values = {0, 1, (1 << wide) - 1, (1 << wide) - 2}
        values |= {(1 << k) + d for k in range(wide) for d in (-1, 0, 1)} | {
            tb.r.getrandbits(tb.r.randint(1, wide)) for _ in range(300)
        }
        values |= {2 * mss for mss in (536, 1220, 1448, 1460)}
        last = -1
        for v in sorted(v for v in values if 0 <= v < 1 << wide):
            got = (await tb.loop(s | {name: v}, now))[name]
            assert got >= last and got == rounded(name, v), (name, v, got)
            assert got == (1 << wide) - 1 or 0 <= v - got <= v >> bits - 1, (name, v, got)
            assert got == v or v >= 1 << bits
            last = got


@cocotb.test()
async def far_edges(dut):
    """How far the advertised window is behind the free space matters up to 4,095 bytes; ISS and IRS by their lowest 24 bits."""
    tb = TB(dut)
    for _ in range(500):
        s, now = tb.state()
        behind = tb.between(-1, RING)
        s["RCV_ADV"] = s["RCV_EDGE"] - behind & M32
        s["ISS"], s["IRS"] = tb.r.getrandbits(32), tb.r.getrandbits(32)
        got = await tb.loop(s, now)
        assert s["RCV_EDGE"] - got["RCV_ADV"] & M32 == min(max(behind, 0), 4095)
        assert (got["ISS"] ^ s["ISS"]) % RING == 0 == (got["IRS"] ^ s["IRS"]) % RING


@cocotb.test()
async def requests_do_not_last(dut):
    """What one stage asks of a later one is not kept; time that passes moves no deadline."""
    tb = TB(dut)
    for _ in range(500):
        s, now = tb.state()
        s["RTX_T"], s["RTT_T"] = (
            now + tb.r.randrange(1 << 19) & M32,
            now - tb.r.randrange(1 << 19) & M32,
        )
        s["DACK_T"] = (now // DACK_UNIT + tb.r.randrange(1 << 11)) * DACK_UNIT & M32
        set_all = {n: (1 << FIELDS[n][1]) - 1 for n in NONE}
        got = await tb.loop({**s, **set_all}, now, now + tb.r.randrange(1 << 19) & M32)
        assert not (wrong := tb.differs(s, got, tb.wanted(s))), wrong


@cocotb.test()
async def nothing_is_free(dut):
    """A memory word of zeros, as after a reset, is a free flow."""
    tb = TB(dut)
    got = await tb.loop(unpack(0) | {"RX_LOG2": 16, "TX_LOG2": 16}, tb.r.getrandbits(32))
    assert tb.mem.get() == 0 and got["STATE"] == 0 and got["RTX_ON"] == got["DACK_ON"] == 0


def test_nk_tcb_pack():
    run_module("nk_tcb_loop", __file__, sources=[HERE / "nk_tcb_loop.v"])
