# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_rtt against RFC 6298 in exact fractions: the shifts may cost a few microseconds, no more."""

from __future__ import annotations

from fractions import Fraction

import cocotb
from cocotb.triggers import Timer
from common.runner import run_module
from common.stream import rng


@cocotb.test()
async def follows_rfc6298(dut):
    rnd = rng("rtt")
    for _ in range(40):
        srtt8 = rttvar4 = 0
        srtt = rttvar = None
        base = rnd.choice([50, 900, 30_000, 400_000, 6_000_000])
        for step in range(60):
            sample = max(1, int(base * rnd.uniform(0.3, 2.5)))
            dut.srtt8.value, dut.rttvar4.value, dut.sample.value = srtt8, rttvar4, sample
            await Timer(1, "ns")
            srtt8, rttvar4 = int(dut.srtt8_out.value), int(dut.rttvar4_out.value)
            if srtt is None:
                srtt, rttvar = Fraction(sample), Fraction(sample, 2)
            else:
                rttvar = Fraction(3, 4) * rttvar + Fraction(1, 4) * abs(srtt - sample)
                srtt = Fraction(7, 8) * srtt + Fraction(1, 8) * sample
            assert abs(srtt8 / 8 - srtt) <= 2, f"SRTT off at step {step}"
            assert abs(rttvar4 / 4 - rttvar) <= 4, f"RTTVAR off at step {step}"


@cocotb.test()
async def extremes(dut):
    """0 is no sample's value, and what the flow memory keeps (27 and 26 bits) is enough for the longest."""
    for sample, want in ((0, 1), (0xFFFFFFFF, (1 << 24) - 1)):
        dut.srtt8.value = dut.rttvar4.value = 0
        for _ in range(50):
            dut.sample.value = sample
            await Timer(1, "ns")
            dut.srtt8.value, dut.rttvar4.value = (
                int(dut.srtt8_out.value),
                int(dut.rttvar4_out.value),
            )
            assert int(dut.srtt8_out.value) >> 3 == want
            assert int(dut.srtt8_out.value) < 1 << 27 and int(dut.rttvar4_out.value) < 1 << 26


def test_nk_tcp_rtt():
    run_module("nk_tcp_rtt", __file__)
