# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_rtt against RFC 6298 in exact fractions: the shifts may cost a few microseconds, no more."""

from __future__ import annotations

from fractions import Fraction

import cocotb
from cocotb.triggers import Timer
from common.runner import run_module
from common.stream import rng

MIN_US, MAX_US = 200_000, 60_000_000


@cocotb.test()
async def follows_rfc6298(dut):
    rnd = rng("rtt")
    dut.p_rto_min.value = MIN_US
    dut.p_rto_max.value = MAX_US
    for _ in range(40):
        srtt8 = rttvar4 = 0
        srtt = rttvar = None
        base = rnd.choice([50, 900, 30_000, 400_000, 9_000_000])
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
            rto = min(MAX_US, max(MIN_US, srtt + 4 * rttvar))
            assert abs(int(dut.rto.value) - rto) <= 20, f"RTO off at step {step}"


@cocotb.test()
async def extremes(dut):
    dut.p_rto_min.value = MIN_US
    dut.p_rto_max.value = MAX_US
    dut.srtt8.value = dut.rttvar4.value = 0
    for sample, srtt8 in ((0, 8), (0xFFFFFFFF, 8 * MAX_US)):
        dut.sample.value = sample
        await Timer(1, "ns")
        assert int(dut.srtt8_out.value) == srtt8
        assert MIN_US <= int(dut.rto.value) <= MAX_US


def test_nk_tcp_rtt():
    run_module("nk_tcp_rtt", __file__)
