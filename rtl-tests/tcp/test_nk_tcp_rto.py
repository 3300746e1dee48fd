# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_rto against RFC 6298, 2 and 5.5."""

from __future__ import annotations

import cocotb
from cocotb.triggers import Timer
from common.runner import run_module
from common.stream import rng


@cocotb.test()
async def random_values(dut):
    rnd = rng("rto")
    for _ in range(5000):
        srtt, var4 = (
            rnd.choice([0, rnd.randrange(1, 1 << 24)]),
            rnd.choice([0, 1, rnd.randrange(1 << 25)]),
        )
        low, first = rnd.choice([0, 1000, 200_000]), rnd.choice([1000, 1_000_000])
        high, backoff = rnd.choice([50_000, 60_000_000, (1 << 31) - 1]), rnd.randrange(16)
        for name, value in dict(
            srtt8=8 * srtt + (rnd.randrange(8) if srtt else 0), rttvar4=var4, p_rto_min=low, p_rto_init=first, p_rto_max=high, backoff=backoff
        ).items():  # fmt: skip
            getattr(dut, name).value = value
        await Timer(1, "ns")
        plain = max(low, srtt + max(1, var4)) if srtt else first
        assert int(dut.rto.value) == min(high, plain * 2**backoff), (
            srtt,
            var4,
            low,
            first,
            high,
            backoff,
        )


def test_nk_tcp_rto():
    run_module("nk_tcp_rto", __file__)
