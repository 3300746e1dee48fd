# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_tx_sack: the duplicate, then the intervals by age; as many as there is room for (RFC 2018, RFC 2883)."""

from __future__ import annotations

import cocotb
from cocotb.triggers import Timer
from common.runner import run_module
from common.stream import rng
from common.tcb import M32


@cocotb.test()
async def random_intervals(dut):
    rnd = rng("tx sack")
    for _ in range(4000):
        count, dup, ts, en = (
            rnd.randrange(5),
            rnd.randrange(2),
            rnd.randrange(2),
            rnd.random() < 0.9,
        )
        starts, ends = (
            [rnd.getrandbits(32) for _ in range(4)],
            [rnd.getrandbits(32) for _ in range(4)],
        )
        # The ranks of those that are there; behind them stands what earlier ones left.
        order = rnd.sample(range(count), count) + rnd.choices(range(4), k=4 - count)
        dup_s, dup_len = rnd.getrandbits(32), rnd.randrange(2000)
        dut.en.value, dut.ts.value = en, ts
        dut.dup_v.value, dut.dup_s.value, dut.dup_len.value = dup, dup_s, dup_len
        dut.iv_v.value = (1 << count) - 1
        dut.iv_s.value = sum(x << 32 * i for i, x in enumerate(starts))
        dut.iv_e.value = sum(x << 32 * i for i, x in enumerate(ends))
        dut.ord.value = sum(x << 2 * i for i, x in enumerate(order))
        await Timer(1, "ns")
        want = [(dup_s, (dup_s + dup_len) & M32)] if dup else []
        want += [(starts[i], ends[i]) for i in order[:count]]
        want = want[: 3 if ts else 4] if en else []
        assert int(dut.n.value) == len(want)
        assert int(dut.blk.value) == sum((s | e << 32) << 64 * i for i, (s, e) in enumerate(want))


def test_nk_tcp_tx_sack():
    run_module("nk_tcp_tx_sack", __file__)
