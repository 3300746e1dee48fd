# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_sack against sets of bytes: what the peer reported, no more, and the highest ranges when there are too many."""

from __future__ import annotations

import cocotb
from cocotb.triggers import Timer
from common.runner import run_module
from common.stream import rng
from common.tcb import M32
from tcp.snd_world import Ranges


def runs(held: set[int]) -> list[tuple[int, int]]:
    r = Ranges()
    for b in sorted(held):
        r.add(b, b + 1)
    return r.all


def board(rnd, size):
    """Up to four ranges, ascending, none at 0, not adjacent."""
    cuts = sorted(rnd.sample(range(1, size), 2 * rnd.randrange(5)))
    got = [(cuts[i], cuts[i + 1]) for i in range(0, len(cuts), 2)]
    return [r for i, r in enumerate(got) if i == 0 or got[i - 1][1] < r[0]]


@cocotb.test()
async def random_acks(dut):
    rnd = rng("sack")
    seen = set()
    for _ in range(12_000):
        size, unit = rnd.choice([12, 30, 60]), rnd.choice([1, 1, 700, 250_000])
        base = rnd.choice(
            [1000, M32 - rnd.randrange(size * unit), 0x7FFFFFFF - 5, rnd.getrandbits(32)]
        )
        old = board(rnd, size)
        una = rnd.choice([0, 0, rnd.randrange(size + 1)])
        rxt = rnd.choice([0, una, rnd.randrange(size + 1)])
        blocks = []
        for _ in range(rnd.randrange(5)):
            s, e = sorted((rnd.randrange(-3, size + 3), rnd.randrange(-3, size + 3)))
            if old and rnd.random() < 0.4:  # a range reported again, a little larger
                s, e = rnd.choice(old)
                s, e = s - rnd.choice([0, 0, 1]), e + rnd.choice([0, 1, 2])
            blocks.append((s, e) if rnd.random() < 0.95 else (e, s))
        if blocks and rnd.random() < 0.2:
            blocks[0] = (una - rnd.randrange(1, 5), una)
        en = rnd.random() < 0.95

        def at(x, base=base, unit=unit):
            return base + x * unit & M32

        word = lambda rs, k: sum(at(r[k]) << 32 * i for i, r in enumerate(rs))  # noqa: E731
        dut.en.value = en
        dut.snd_una.value, dut.una.value, dut.snd_nxt.value = at(0), at(una), at(size)
        dut.rxt_nxt.value = at(rxt)
        dut.sk_v.value = (1 << len(old)) - 1
        dut.sk_s.value, dut.sk_e.value = word(old, 0), word(old, 1)
        dut.blk_n.value = len(blocks)
        dut.blk.value = sum((at(s) | at(e) << 32) << 64 * i for i, (s, e) in enumerate(blocks))
        await Timer(1, "ns")

        was = {b for s, e in old for b in range(s, e)}
        kept = {b for b in was if b >= una}
        valid = [(s, e) for s, e in blocks if una < s < e <= size]
        renege = en and una in was
        new = set() if renege else kept | {b for s, e in valid for b in range(s, e)}
        all_of = runs(new)
        want = old if not en else all_of[-4:]
        v, s32, e32 = (int(getattr(dut, n).value) for n in ("sk_v_out", "sk_s_out", "sk_e_out"))
        got = [(s32 >> 32 * i & M32, e32 >> 32 * i & M32) for i in range(v.bit_length())]
        what = f"una {una} of {size}, board {old}, blocks {blocks}"
        assert v == (1 << len(want)) - 1 and got == [(at(s), at(e)) for s, e in want], (
            f"{what}: {got} want {want}"
        )
        assert int(dut.renege.value) == renege, what
        assert int(dut.held_old.value) == len(was) * unit, what
        assert int(dut.held.value) == sum(e - s for s, e in want) * unit, what
        if want:
            assert (int(dut.top_s.value), int(dut.top_e.value)) == (
                at(want[-1][0]),
                at(want[-1][1]),
            ), what
        # RFC 2883: below the cumulative ACK, or inside the second block.
        dup = False
        if blocks and en:
            s, e = blocks[0]
            dup = s < e <= una
            if len(blocks) > 1 and blocks[0] in valid and blocks[1] in valid:
                dup |= blocks[1][0] <= s and e <= blocks[1][1]
        assert int(dut.dsack.value) == dup, what
        lows = (
            [min(set(range(s, e)) - kept) for s, e in valid if set(range(s, e)) - kept]
            if en
            else []
        )
        assert int(dut.news.value) == bool(lows), what
        # RFC 2018, 4: what has just arrived stands first, or behind the duplicate (RFC 2883).
        first = [b for b in blocks[int(dup) : int(dup) + 1] if b in valid] if en else []
        if dup and blocks[0] in valid and en:
            first.append(blocks[0])  # it brings nothing new, or the peer is mad
        just = [min(set(range(s, e)) - kept) for s, e in first if set(range(s, e)) - kept]
        assert int(dut.again.value) == any(x < rxt for x in just), what
        assert int(dut.late.value) == any(rxt <= x < (old[-1][0] if old else 0) for x in just), what
        seen |= {
            ("renege", renege),
            ("dup", dup),
            ("full", len(runs(new)) > 4),
            ("again", any(x < rxt for x in just)),
            ("later news", bool(lows) and not just),
        }
    assert len(seen) == 10, seen


def test_nk_tcp_sack():
    run_module("nk_tcp_sack", __file__)
