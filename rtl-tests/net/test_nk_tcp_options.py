# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_options against net_model.parse_options: right ones, wrong ones, random bytes."""

from __future__ import annotations

import cocotb
from common.runner import run_module
from common.stream import cycles, reset, rng, start_clock
from net.net_model import parse_options


async def walk(dut, raw: bytes):
    """Start the walker; returns (mss, wscale, valid) and the clocks it took."""
    dut.options.value = int.from_bytes(raw + rng(raw.hex()).randbytes(40 - len(raw)), "little")
    dut.length.value = len(raw)
    dut.start.value = 1
    await cycles(dut)
    dut.start.value = 0
    for clocks in range(1, 60):
        await cycles(dut)
        if int(dut.done.value):
            valid = bool(int(dut.wscale_valid.value))
            scale = int(dut.wscale.value) if valid else 0
            return (int(dut.mss.value), scale, valid), clocks
    raise AssertionError(f"no end: {raw.hex()}")


async def begin(dut):
    start_clock(dut)
    dut.start.value = 0
    dut.options.value = 0
    dut.length.value = 0
    await reset(dut)


@cocotb.test()
async def random_options(dut):
    """Made of right pieces and rubbish, every length."""
    await begin(dut)
    r = rng("options")
    found = 0
    for _ in range(1500):
        pieces = [
            b"\1",
            b"\0",
            b"\2\4" + r.randbytes(2),
            b"\3\3" + bytes([r.randrange(18)]),
            b"\4\2",
            b"\x08\x0a" + r.randbytes(8),
            bytes([r.randrange(6), r.randrange(6)]),
            r.randbytes(r.randrange(1, 4)),
        ]
        weights = [3, 0.3, 3, 3, 2, 1, 1, 0.5]
        raw = b"".join(r.choices(pieces, weights, k=r.randrange(9)))[: r.choice([0, 4, 20, 39, 40])]
        got, clocks = await walk(dut, raw)
        assert got == parse_options(raw), raw.hex()
        assert clocks <= len(raw) + 2
        found += got[2]
    assert found > 200


@cocotb.test()
async def every_length_of_a_known_option(dut):
    """MSS and window scale with each length byte, at the front and at the end."""
    await begin(dut)
    for kind in (2, 3):
        for length in range(256):
            for lead in (0, 34, 36, 37, 38, 39):
                raw = (b"\1" * lead + bytes([kind, length, 5, 6, 3, 3, 7]) + b"\1" * 40)[:40]
                got, _ = await walk(dut, raw)
                assert got == parse_options(raw), raw.hex()


@cocotb.test()
async def results_stay(dut):
    """Between `done` and the next start they do not move; a start clears them."""
    await begin(dut)
    await walk(dut, b"\2\4\5\xb4\3\3\7")
    await cycles(dut, 20)
    assert int(dut.mss.value) == 1460
    assert int(dut.wscale.value) == 7
    assert (await walk(dut, b"\1"))[0] == (0, 0, False)


@cocotb.test()
async def reset_in_a_walk(dut):
    """No `done` comes out of a walk that a reset ended."""
    await begin(dut)
    for wait in range(1, 20):
        dut.options.value = int.from_bytes(b"\1" * 40, "little")
        dut.length.value = 40
        dut.start.value = 1
        await cycles(dut)
        dut.start.value = 0
        await cycles(dut, wait)
        await reset(dut)
        for _ in range(45):
            await cycles(dut)
            assert not int(dut.done.value)
    assert (await walk(dut, b"\2\4\1\2"))[0] == (0x102, 0, False)


def test_nk_tcp_options():
    run_module("nk_tcp_options", __file__)


def test_nk_tcp_options_icarus():
    """Four states: nothing undefined comes out."""
    run_module(
        "nk_tcp_options", __file__, simulator="icarus", testcase="random_options|results_stay"
    )
