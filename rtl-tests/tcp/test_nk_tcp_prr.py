# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_prr against RFC 6937 in whole numbers; the share of the window in sixteenths is the one liberty, and segments count whole."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import cocotb
from cocotb.triggers import Timer
from common.runner import run_module
from common.stream import rng


@cocotb.test()
async def random_acks(dut):
    rnd = rng("prr")
    modes = set()
    for _ in range(8000):
        top = rnd.choice([40, 2000, 60_000, 1 << 20, (1 << 24) - 1])
        flight = rnd.randrange(1, top)
        new = max(
            1, min((1 << 24) - 1, int(flight * rnd.choice([0.5, 0.7, 0.9, 1, 1.5, rnd.random()])))
        )
        share, mss = rnd.randrange(16), rnd.choice([1, 536, 1460])
        ssthresh, pipe = rnd.randrange(top), rnd.randrange(top)
        total, sent = rnd.randrange(top), rnd.choice([0, rnd.randrange(top)])
        delivered, safe = rnd.choice([0, rnd.randrange(total + 1)]), rnd.randrange(2)
        front = safe and rnd.randrange(2)
        for name, value in dict(
            flight=flight, ssthresh_new=new, share=share, ssthresh=ssthresh, pipe=pipe, total=total, sent=sent,
            delivered=delivered, mss=mss, safe=safe, front=front,
        ).items():  # fmt: skip
            getattr(dut, name).value = value
        await Timer(1, "ns")
        part = Fraction(int(dut.share_new.value) + 1, 16)
        assert part - Fraction(1, 16) < Fraction(min(new, flight), flight) <= part, (
            flight,
            new,
            part,
        )
        if pipe > ssthresh:
            count, mode = ceil(total * Fraction(share + 1, 16)) - sent, "proportional"
            if count > 0:  # CEIL of segments: a part of one is one
                count = max(count, mss)
        else:
            limit = max(total - sent, delivered) + mss if safe else total - sent
            count, mode = min(ssthresh - pipe, limit), f"bound {safe}"
        count = max(0, count, mss if sent == 0 or front else 0)
        assert int(dut.cwnd.value) == min(pipe + count, (1 << 25) - 1), (
            mode,
            pipe,
            ssthresh,
            total,
            sent,
        )
        modes.add(mode)
    assert len(modes) == 3


@cocotb.test()
async def a_recovery(dut):
    """Twenty segments out, one lost, window halved: what leaves is half of what arrives, and the end is at ssthresh."""
    mss, flight, ssthresh = 1000, 20_000, 10_000
    dut.flight.value, dut.ssthresh_new.value, dut.mss.value = flight, ssthresh, mss
    await Timer(1, "ns")
    share = int(dut.share_new.value)
    assert share == 7
    pipe, total, sent = flight - 4 * mss, 3 * mss, mss  # three held, the lost one sent again
    for _ in range(16):
        pipe, total = pipe - mss, total + mss
        for name, value in dict(
            share=share,
            ssthresh=ssthresh,
            pipe=pipe,
            total=total,
            sent=sent,
            delivered=mss,
            safe=0,
            front=0,
        ).items():
            getattr(dut, name).value = value
        await Timer(1, "ns")
        while int(dut.cwnd.value) - pipe >= mss:
            pipe, sent = pipe + mss, sent + mss
            dut.pipe.value, dut.sent.value = pipe, sent
            await Timer(1, "ns")
    assert pipe == ssthresh and abs(sent - total // 2) <= 2 * mss, (pipe, sent, total)


@cocotb.test()
async def every_second(dut):
    """As Linux, which counts in segments: with half the window to go, one for the first of every two that arrive."""
    mss = 1448
    dut.flight.value, dut.ssthresh_new.value, dut.mss.value = 20 * mss, 10 * mss, mss
    await Timer(1, "ns")
    share, pipe, total, sent, left = int(dut.share_new.value), 17 * mss, 0, 0, []
    for _ in range(12):
        pipe, total = pipe - mss, total + mss
        for name, value in dict(
            share=share, ssthresh=2 * mss, pipe=pipe, total=total, sent=sent, delivered=mss, safe=0, front=0
        ).items():  # fmt: skip
            getattr(dut, name).value = value
        await Timer(1, "ns")
        n = (int(dut.cwnd.value) - pipe) // mss
        left.append(n)
        pipe, sent = pipe + n * mss, sent + n * mss
    assert left == [1, 0] * 6, left


def test_nk_tcp_prr():
    run_module("nk_tcp_prr", __file__)
