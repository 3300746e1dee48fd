# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_ptb against RFC 1191 and 5927: what may lower the MSS, and how far."""

from __future__ import annotations

import cocotb
from common.runner import run_module
from common.stream import rng
from common.tcb import M32, pack, unpack
from netkernel.abi import FlowState as S
from tcp.rx_flow import rubbish, somewhere
from tcp.tcp_dut import SENDING, ask_tcb, expect, on_circle

OUT = ("st_ptb", "st_ptb_bad")
PLATEAUS = (65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68)  # RFC 1191, 7
FLOOR = 536 - 40 - 12


def next_size(mtu: int, size: int) -> int:
    """The datagram size that the router means."""
    return mtu or max(p for p in PLATEAUS if p < size)


@cocotb.test()
async def messages(dut):
    rnd = rng("ptb")
    dut.en.value = 1
    seen: dict[str, int] = {}
    for _ in range(20_000):
        iss = somewhere(rnd)
        una = 1 + rnd.randrange(5000)
        nxt = una + rnd.choice([0, 1, 1460, rnd.randrange(1 << 24)])
        seq = rnd.choice(
            [una, una, una - 1, nxt - 1, nxt, nxt + 1, una + (1 << 31), rnd.randrange(una, nxt + 1)]
        )
        t = rubbish(rnd) | on_circle(iss, SND_UNA=una, SND_NXT=nxt)
        t["STATE"] = rnd.choice([*SENDING] * 4 + list(S))
        t["MSS"] = rnd.choice([1460, 1448, 1200, 954, 485, 484, 483, 100])
        headers = 40 + 12 * t["TS_OK"]
        size = t["MSS"] + headers
        mtu = rnd.choice(
            [
                0,
                0,
                1492,
                1400,
                1006,
                576,
                552,
                535,
                508,
                296,
                68,
                67,
                1,
                size,
                size - 1,
                size + 1,
                9000,
                65535,
            ]
        )
        who = {"vf": t["VF"], "rip": t["RIP"], "rport": t["RPORT"], "lport": t["LPORT"]}
        wrong = rnd.choice([None] * 12 + list(who))
        if wrong:
            who[wrong] ^= 1 << rnd.randrange(8)
        new, out = await ask_tcb(dut, t, OUT, seq=iss + seq & M32, mtu=mtu, **who)
        means = next_size(mtu, size)
        if wrong or t["STATE"] not in (*SENDING, S.FIN_WAIT2):
            name = "not ours"
        elif seq not in range(una, nxt):
            name = "not in flight"
        elif means < 68 or means >= size or t["MSS"] <= FLOOR:
            name = "not sane"
        else:
            name = "floor" if means - headers < FLOOR else "plateau" if mtu == 0 else "taken"
        what = f"{name}: MSS {t['MSS']} TS {t['TS_OK']} mtu {mtu} seq {seq} of {una}..{nxt} {S(t['STATE']).name}"
        change = {}
        if name in ("floor", "plateau", "taken"):
            change = {
                "MSS": max(FLOOR, means - headers),
                **on_circle(iss, LOST_END=nxt, RXT_NXT=una),
            }
            assert change["MSS"] < t["MSS"], "only ever smaller"
        expect(new, t, change, what)
        assert out == {"st_ptb": bool(change), "st_ptb_bad": not change}, what
        seen[name] = seen.get(name, 0) + 1
    assert len(seen) == 6 and min(seen.values()) > 30, seen


@cocotb.test()
async def disabled(dut):
    rnd = rng("disabled")
    dut.en.value = 0
    for _ in range(100):
        t = rubbish(rnd) | {"STATE": S.ESTABLISHED, "MSS": 1460}
        who = {"vf": t["VF"], "rip": t["RIP"], "rport": t["RPORT"], "lport": t["LPORT"]}
        new, out = await ask_tcb(dut, t, OUT, seq=t["SND_UNA"], mtu=1000, **who)
        assert new == unpack(pack(t)) and not any(out.values())


def test_nk_tcp_ptb():
    run_module("nk_tcp_ptb", __file__)
