# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_pace: on a free channel everybody tells at once; on a full one turns are spaced by how many flows wait."""

from __future__ import annotations

import cocotb
import pytest
from common.runner import run_module
from common.stream import params, rng, start_clock

WINDOW, FULL = 64, 60


def spacing(waiting: int) -> int:
    """Clocks from one turn to the next on a full channel: 16,384 shared by a crowd, within 16 and 256."""
    for crowd in (64, 128, 256, 512):
        if waiting <= crowd:
            return 16384 // crowd
    return 16


@cocotb.test()
async def follows_the_channel(dut):
    """Shares of busy clocks about the limit, crowds of every size, turns taken at once or late, resets in between."""
    from cocotb.triggers import RisingEdge

    r = rng()
    start_clock(dut)
    edge = RisingEdge(dut.clk)
    most = 1 << params()["FW"]
    sizes = [n for n in (0, 1, 63, 64, 65, 128, 129, 256, 257, 512, 513) if n <= most]
    seen = {True: 0, False: 0}  # clocks with a full channel and without
    told: dict[int, int] = {}  # shortest distance of two turns on a full channel, by spacing
    for _ in range(3):
        dut.rst.value, dut.wr_busy.value, dut.enters.value, dut.leaves.value = 1, 1, 1, 0
        await edge
        await edge
        dut.rst.value = 0
        busy: list[int] = []  # of the window under way
        waiting, since, full, quiet = 0, 0, False, 10_000
        for i in range(25_000):
            if i % 1000 == 0:
                share = r.choice([0.5, 58 / 64, 60 / 64, 62 / 64, 1.0, 1.0])
                crowd = r.choice(sizes)
                eager = r.choice([1.0, 1.0, 0.05])
            turn = not full or since >= spacing(waiting) - 1
            wr_busy = int(r.random() < share)
            enters = int(waiting < crowd and r.random() < 0.9)
            leaves = int(waiting > 0 and turn and (r.random() < eager or waiting > crowd))
            dut.wr_busy.value, dut.enters.value, dut.leaves.value = wr_busy, enters, leaves
            await edge
            got = int(dut.calm.value), int(dut.turn.value)
            assert got == (not full, turn), (
                f"calm, turn {got}: {since} clocks, {waiting} wait, full {full}"
            )
            seen[full] += 1
            quiet += 1
            if leaves:
                if full:
                    told[spacing(waiting)] = min(quiet, told.get(spacing(waiting), quiet))
                quiet = 0
            since = 0 if leaves else since + 1
            waiting += enters - leaves
            busy.append(wr_busy)
            if len(busy) == WINDOW:
                full, busy = sum(busy) >= FULL, []
    assert min(seen.values()) > 3000, seen
    assert 256 in told and (most < 1024 or len(told) > 1), told


@pytest.mark.parametrize("fw", [4, 10])
def test_nk_tcp_pace(fw):
    run_module("nk_tcp_pace", __file__, {"FW": fw})
