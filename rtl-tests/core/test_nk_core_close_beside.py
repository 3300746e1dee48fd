# SPDX-License-Identifier: Apache-2.0
"""nk_core: CLOSE beside other jobs of nk_tcp_open: a listener that is closing, SYNs that nobody listens for."""

from __future__ import annotations

import cocotb
from core.core_tb import TB, run_core
from model.frames import SYN


@cocotb.test()
async def closes_behind_a_closing_listener(dut):
    """The answer of each CLOSE comes, though credits of the listener go back in between."""
    tb = TB(dut)
    await tb.start(sockets=64)
    for round_ in range(4):
        listener = await tb.listen(8080, credits=12)
        others = [tb.tenants[0].socket(12, 12) for _ in range(24)]
        await tb.until(lambda others=others: tb.tenants[0].quiet, what="SOCKETs")
        jobs = [s.close() for s in others[:round_]]
        jobs += [listener.close(), *(s.close() for s in others[round_:])]
        await tb.ok(*jobs)
        await tb.until(lambda: not tb.tenants[0].sockets, what="CLOSED")
    await tb.finish()


@cocotb.test()
async def closes_beside_syns(dut):
    """SYNs to no listener, whose RSTs take a pass of nk_tcp_open's, at every distance from a CLOSE."""
    tb = TB(dut)
    await tb.start(sockets=64)
    raw = tb.raw()
    for gap in range(1, 40):
        sock = tb.tenants[0].socket(12, 12)
        await tb.until(lambda: tb.tenants[0].quiet, what="SOCKET")
        job = sock.close()
        for n in range(3):
            raw.tcp(1000 + 3 * gap + n, 9, 77, 0, SYN)
        await tb.sleep(gap % 7)
        await tb.ok(job)
        await tb.until(lambda: not tb.tenants[0].sockets, what="CLOSED")
    raw.skip()
    await tb.finish()


def test_nk_core_close_beside():
    run_core(__file__)
