# SPDX-License-Identifier: Apache-2.0
"""nk_net_sum: masked beats and sums of frames that come back to back."""

from __future__ import annotations

import cocotb
import pytest
from common.runner import run_module
from common.stream import cycles, params, reset, rng, start_clock
from net.net_model import csum


def fold_le(x: int) -> int:
    """A little-endian sum to its 16 bits, in wire order."""
    while x >> 16:
        x = (x & 0xFFFF) + (x >> 16)
    return (x & 255) << 8 | x >> 8


async def begin(dut):
    start_clock(dut)
    for name in ("s_valid", "s_last", "s_data", "s_from", "s_to"):
        getattr(dut, name).value = 0
    await reset(dut)


def idle(dut, r):
    dut.s_valid.value = 0
    dut.s_last.value = r.getrandbits(1)
    dut.s_data.value = r.getrandbits(len(dut.s_data))


@cocotb.test()
@cocotb.parametrize(gaps=[0.0, 0.4], fill=["random", "ones"])
async def sums(dut, gaps, fill):
    """Random ranges of random frames; `ones` makes every carry."""
    await begin(dut)
    r = rng("sum")
    nbytes = params()["W"] // 8
    want: list[int] = []
    got: list[int] = []
    masks: list[int] = []

    async def watch():
        while True:
            await cycles(dut)
            if int(dut.sum_valid.value):
                got.append(fold_le(int(dut.sum.value)))

    watcher = cocotb.start_soon(watch())
    for frame in range(60):
        n = r.choice([1, 1, 2, 3, 1518 // nbytes + 1]) if frame else 190
        content = b""
        for i in range(n):
            if r.random() < gaps:
                idle(dut, r)
                await cycles(dut, r.randrange(1, 4))
            data = b"\xff" * nbytes if fill == "ones" else r.randbytes(nbytes)
            # `from` is even; `to` is the end of the data and may be odd.
            start = 2 * r.randrange(nbytes // 2) if i == 0 else 0
            stop = r.randrange(nbytes + 1) if i == n - 1 else nbytes
            kept = bytes(b if start <= k < stop else 0 for k, b in enumerate(data))
            content += kept
            dut.s_valid.value = 1
            dut.s_last.value = int(i == n - 1)
            dut.s_data.value = int.from_bytes(data, "little")
            dut.s_from.value = start
            dut.s_to.value = stop
            await cycles(dut)
            if masks:
                assert int(dut.masked_data.value) == masks.pop()
            masks.append(int.from_bytes(kept, "little"))
        want.append(csum(content) ^ 0xFFFF)
        if gaps:
            masks.clear()
            idle(dut, r)
            await cycles(dut)
    idle(dut, r)
    await cycles(dut, 6)
    watcher.cancel()
    # 0 and ffff are one number in ones' complement; a sum that is not all zero never folds to 0.
    assert got == want


@cocotb.test()
async def latency(dut):
    """The sum stands four clocks after the last beat, for one clock."""
    await begin(dut)
    dut.s_valid.value = 1
    dut.s_last.value = 1
    dut.s_to.value = 2
    dut.s_data.value = 0x3412
    await cycles(dut)
    dut.s_valid.value = 0
    seen = []
    for _ in range(8):
        await cycles(dut)
        seen.append(int(dut.sum_valid.value))
    assert seen == [0, 0, 0, 1, 0, 0, 0, 0]


@cocotb.test()
async def reset_in_a_frame(dut):
    """What was summed before a reset is forgotten."""
    await begin(dut)
    for wait in range(1, 7):
        dut.s_valid.value = 1
        dut.s_last.value = 0
        dut.s_from.value = 0
        dut.s_to.value = 8
        dut.s_data.value = 0xFFFF_1234
        await cycles(dut, wait)
        dut.s_valid.value = 0
        await reset(dut)
        dut.s_valid.value = 1
        dut.s_last.value = 1
        dut.s_data.value = 0x0201
        await cycles(dut)
        dut.s_valid.value = 0
        while not int(dut.sum_valid.value):
            await cycles(dut)
        assert int(dut.sum.value) == 0x0201
        await cycles(dut, 5)


@pytest.mark.parametrize("w", [64, 128, 256, 512])
def test_nk_net_sum(w):
    run_module("nk_net_sum", __file__, {"W": w})
