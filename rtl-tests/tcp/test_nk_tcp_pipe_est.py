# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_pipe_est against sets of bytes, by RFC 6675's words: in the network is what is neither held nor lost, or was sent again."""

from __future__ import annotations

import cocotb
from cocotb.triggers import Timer
from common.runner import run_module
from common.stream import rng
from common.tcb import M32
from tcp.test_nk_tcp_sack import board


@cocotb.test()
async def random_states(dut):
    rnd = rng("pipe")
    many = 0
    for _ in range(12_000):
        size, unit = rnd.choice([5, 20, 60]), rnd.choice([1, 1448, 250_000])
        base = rnd.choice(
            [1000, M32 - rnd.randrange(size * unit), 0x7FFFFFFF - 5, rnd.getrandbits(32)]
        )
        sack = rnd.random() < 0.8
        ranges = board(rnd, size) if sack and size > 9 else []
        lost_end, rxt = (
            rnd.choice([0, size, rnd.randrange(size + 1)]),
            rnd.choice([0, rnd.randrange(size + 1)]),
        )
        guess = 0 if sack else rnd.choice([0, rnd.randrange(size + 1)])

        def at(x, base=base, unit=unit):
            return base + x * unit & M32

        dut.snd_una.value, dut.snd_nxt.value = at(0), at(size)
        dut.lost_end.value, dut.rxt_nxt.value, dut.sack_ok.value = at(lost_end), at(rxt), sack
        dut.sk_v.value = (1 << len(ranges)) - 1
        dut.sk_s.value = sum(at(s) << 32 * i for i, (s, _) in enumerate(ranges))
        ends = sum(at(e) << 32 * i for i, (_, e) in enumerate(ranges))
        dut.sk_e.value = ends if sack else at(guess)
        await Timer(1, "ns")
        held = {b for s, e in ranges for b in range(s, e)}
        waiting = [b for b in range(rxt, lost_end) if b not in held]
        out = set(range(size)) - held - set(waiting)
        what = f"{size} ranges {ranges} lost below {lost_end}, again below {rxt}, guess {guess}"
        assert int(dut.pipe.value) == max(0, len(out) - guess) * unit, what
        assert int(dut.again.value) == bool(waiting), what
        if waiting:
            first = stop = waiting[0]
            while stop in waiting:
                stop += 1
            assert (int(dut.again_off.value), int(dut.again_end.value)) == (
                first * unit,
                stop * unit,
            ), what
            many += stop - first < len(waiting)
    assert many > 500


def test_nk_tcp_pipe_est():
    run_module("nk_tcp_pipe_est", __file__)
