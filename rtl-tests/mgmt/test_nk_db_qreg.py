# SPDX-License-Identifier: Apache-2.0
"""nk_db_qreg: doorbells and register accesses on one port, each answered to whom it belongs."""

from __future__ import annotations

from collections import deque

import cocotb
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import Signal, cycles, reset, rng, start_clock

DB = ("vf", "qs", "ofs", "wdata")
REG = ("vf", "qs", "db", "ofs", "write", "wdata")


class TB:
    """A source of doorbells, a master of registers with one access under way, and a queue manager."""

    def __init__(self, dut):
        self.dut, self.r = dut, rng("db qreg")
        names = [f"db_{n}" for n in ("valid", "ready", *DB)]
        names += [f"{side}_{n}" for side in "sm" for n in ("valid", "ready", "rvalid", *REG)]
        self.s = {n: Signal(getattr(dut, n)) for n in (*names, "busy")}
        start_clock(dut)

    async def run(self, n, slow):
        """`n` of each; the order on the port, and who was answered when."""
        s, r, edge = self.s, self.r, RisingEdge(self.dut.clk)
        bells = deque([r.getrandbits(8), r.getrandbits(3), 4 * r.randrange(5), r.getrandbits(32)]
                      for _ in range(n))  # fmt: skip
        regs = deque([r.getrandbits(8), r.getrandbits(3), r.getrandbits(1), 4 * r.randrange(16),
                      r.getrandbits(1), r.getrandbits(32)] for _ in range(n))  # fmt: skip
        want_bells = [(b[0], b[1], 1, b[2], 1, b[3]) for b in bells]
        want_regs = [tuple(x) for x in regs]
        taken: list[tuple[str, tuple[int, ...]]] = []  # by the adapter
        seen: list[tuple[int, ...]] = []  # by the queue manager
        waiting = 0  # clocks until the queue manager answers; 0: nothing under way
        owner = deque()  # whose accesses the queue manager has
        reg_open = False
        answers = 0
        for _ in range(400 * n):
            # `owner`: what the queue manager still has; `taken` but not `seen`: what the adapter holds.
            if not (bells or regs or owner or len(seen) < len(taken)):
                break
            if not s["db_valid"].last and bells and r.random() < 0.5:
                for name, value in zip(DB, bells[0], strict=True):
                    s[f"db_{name}"].set(value)
                s["db_valid"].set(1)
            if not s["s_valid"].last and not reg_open and regs and r.random() < 0.5:
                for name, value in zip(REG, regs[0], strict=True):
                    s[f"s_{name}"].set(value)
                s["s_valid"].set(1)
            s["m_ready"].set(int(not waiting and r.random() > slow))
            s["m_rvalid"].set(int(waiting == 1))
            await edge
            bell = s["db_valid"].last and s["db_ready"].get()
            if s["s_rvalid"].get():
                assert reg_open and s["m_rvalid"].last
                assert owner.popleft() == "reg", "a doorbell's answer went to the registers"
                reg_open = False
                answers += 1
            elif s["m_rvalid"].last:
                assert owner.popleft() == "db", "an answer was lost"
            if waiting:
                waiting -= 1
            if s["m_valid"].get() and s["m_ready"].last:
                now = tuple(s[f"m_{name}"].get() for name in REG)
                mine = bool(s["s_valid"].last and s["s_ready"].get())
                owner.append("reg" if mine else "db")
                seen.append(now)
                waiting = r.randint(1, 9)
                if mine:
                    taken.append(("reg", tuple(regs.popleft())))
                    reg_open = True
                    s["s_valid"].set(0)
            else:
                assert not (s["s_valid"].last and s["s_ready"].get())
            if bell:  # in the clock of an access it comes after that
                b = bells.popleft()
                taken.append(("db", (b[0], b[1], 1, b[2], 1, b[3])))
                s["db_valid"].set(0)
        await cycles(self.dut, 3)
        assert not s["busy"].get()
        assert answers == n
        assert [t for k, t in taken if k == "db"] == want_bells
        assert [t for k, t in taken if k == "reg"] == want_regs
        # Everything arrives, whole, in the order in which the adapter took it.
        assert seen == [t for _, t in taken]


@cocotb.test()
@cocotb.parametrize(slow=[0, 0.3, 0.8])
async def order_and_answers(dut, slow):
    """Random doorbells and accesses at once."""
    tb = TB(dut)
    for name in ("db_valid", "s_valid", "m_ready", "m_rvalid"):
        tb.s[name].set(0)
    await reset(dut)
    await tb.run(150, slow)


@cocotb.test()
async def reset_mid_traffic(dut):
    """A doorbell that was held is gone after a reset."""
    tb = TB(dut)
    for name in ("db_valid", "s_valid", "m_ready", "m_rvalid"):
        tb.s[name].set(0)
    await reset(dut)
    for _ in range(5):
        tb.s["db_valid"].set(1)
        await cycles(dut, 1 + tb.r.randrange(4))
        tb.s["db_valid"].set(0)
        await reset(dut)
        assert not tb.s["busy"].get() and not tb.s["m_valid"].get()
    await tb.run(20, 0.3)


def test_nk_db_qreg():
    run_module("nk_db_qreg", __file__, {})
