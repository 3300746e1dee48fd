# SPDX-License-Identifier: Apache-2.0
"""nk_net_loop and nk_net_rx_mux: who gets which frame; nothing is split, and a full loop drops whole frames."""

from __future__ import annotations

from pathlib import Path

import cocotb
import pytest
from cocotb.triggers import with_timeout
from common.runner import run_module
from common.stream import (
    PAUSES,
    FrameSink,
    FrameSource,
    Pulses,
    Signal,
    cycles,
    params,
    reset,
    rng,
    start_clock,
)

HERE = Path(__file__).resolve().parent


class TB:
    """A frame: destination MAC, number, whether it is an ARP request for a VF here (`local`), rubbish."""

    def __init__(self, dut, s_pause="none", tx_pause="none", rx_pause="none", w_pause="none"):
        self.dut, self.rng = dut, rng("loop")
        self.nvf = params()["NVF"]
        start_clock(dut)
        self.macs = [self.rng.getrandbits(47) & ~(1 << 40) for _ in range(self.nvf)]
        self.enabled = [True] * self.nvf
        self.card = FrameSource(dut, "s", pause=PAUSES[s_pause](rng("s")))
        self.wire = FrameSource(dut, "w", pause=PAUSES[w_pause](rng("w")))
        self.tx = FrameSink(dut, "tx", pause=PAUSES[tx_pause](rng("tx")))
        self.rx = FrameSink(dut, "m", pause=PAUSES[rx_pause](rng("rx")))
        self.stats = Pulses(dut, ["stat_tx_frames", "stat_loop", "stat_loop_drop"])
        self.locals: list[bool] = []
        self.bytes = {"stat_tx_frames": 0, "stat_loop": 0}
        cocotb.start_soon(self._watch())

    def config(self):
        self.dut.s_local.value = 0
        self.dut.cfg_en.value = sum(e << i for i, e in enumerate(self.enabled))
        self.dut.cfg_mac.value = sum(m << 48 * i for i, m in enumerate(self.macs))

    async def _watch(self):
        names = ("m_valid", "m_ready", "m_last", "m_local", "stat_tx_frames", "stat_tx_bytes_inc", "stat_loop", "stat_loop_bytes")  # fmt: skip
        s = {n: Signal(getattr(self.dut, n)) for n in names}
        inside: bool | None = None
        await cycles(self.dut, 4)
        while True:
            await cycles(self.dut)
            if s["m_valid"].get() and s["m_ready"].get():
                here = bool(s["m_local"].get())
                assert inside in (None, here), "the source changed within a frame"
                inside = here
                if s["m_last"].get():
                    self.locals.append(here)
                    inside = None
            if s["stat_tx_frames"].get():
                self.bytes["stat_tx_frames"] += s["stat_tx_bytes_inc"].get()
            if s["stat_loop"].get():
                self.bytes["stat_loop"] += s["stat_loop_bytes"].get()

    async def start(self):
        self.config()
        await reset(self.dut)
        self.tx.clear()
        self.rx.clear()
        self.locals.clear()
        self.stats.count.update(dict.fromkeys(self.stats.count, 0))
        self.bytes = dict.fromkeys(self.bytes, 0)

    def frame(self, mac, number, length=None):
        length = length or self.rng.choice([60, 61, 64, 128, self.rng.randrange(60, 1515)])
        return mac.to_bytes(6, "big") + number.to_bytes(4, "big") + self.rng.randbytes(length - 10)


async def some(sink, n, us=2000):
    return [await with_timeout(sink.recv(), us, "us") for _ in range(n)]


@cocotb.test()
@cocotb.parametrize(
    s_pause=["none", "bursts"], tx_pause=["none", "most"], rx_pause=["none", "some"]
)
async def switched(dut, s_pause, tx_pause, rx_pause):
    """Each frame goes to the wire or round, by its MAC; each stream keeps its order; frames of the wire come in between."""
    tb = TB(dut, s_pause, tx_pause, rx_pause, "some")
    tb.enabled = [v != 1 for v in range(tb.nvf)]
    await tb.start()
    to_wire, to_round, from_wire = [], [], []
    for n in range(80):
        vf = tb.rng.randrange(2 * tb.nvf)
        mac = tb.macs[vf] if vf < tb.nvf else tb.rng.choice([(1 << 48) - 1, tb.macs[0] ^ 1])
        frame = tb.frame(mac, n)
        (to_round if vf < tb.nvf and tb.enabled[vf] else to_wire).append(frame)
        tb.card.send(frame)
        if n % 2:
            other = tb.frame(tb.macs[0], 1000 + n)
            from_wire.append(other)
            tb.wire.send(other)
        # So slow that the loop never fills.
        await cycles(dut, 1515 // (params()["W"] // 8) * 5 + 10)
    assert await some(tb.tx, len(to_wire)) == to_wire
    got = await some(tb.rx, len(to_round) + len(from_wire))
    assert [f for f, here in zip(got, tb.locals, strict=True) if here] == to_round
    assert [f for f, here in zip(got, tb.locals, strict=True) if not here] == from_wire
    await cycles(dut, 5)
    assert tb.stats["stat_loop"] == len(to_round) and tb.stats["stat_loop_drop"] == 0
    assert tb.stats["stat_tx_frames"] == len(to_wire)
    assert tb.bytes["stat_loop"] == sum(map(len, to_round))
    assert tb.bytes["stat_tx_frames"] == sum(map(len, to_wire))
    assert not int(dut.busy.value)


@cocotb.test()
async def requests_for_a_vf_here(dut):
    """A broadcast that nk_arp marks goes round and not to the wire."""
    tb = TB(dut)
    await tb.start()
    everybody = (1 << 48) - 1
    dut.s_local.value = 1
    marked = tb.frame(everybody, 1, 60)
    tb.card.send(marked)
    assert await some(tb.rx, 1) == [marked]
    dut.s_local.value = 0
    plain = tb.frame(everybody, 2, 60)
    tb.card.send(plain)
    assert await some(tb.tx, 1) == [plain]
    await cycles(dut, 20)
    assert tb.rx.empty() and tb.tx.empty()


@cocotb.test()
async def full(dut):
    """Nobody takes what goes round: whole frames are dropped and counted, the wire is served, and what was kept is right."""
    tb = TB(dut, rx_pause="none")
    tb.rx.pause = lambda: True
    await tb.start()
    frames = [tb.frame(tb.macs[n % tb.nvf], n, tb.rng.randrange(60, 1515)) for n in range(40)]
    wire = tb.frame(tb.macs[0] ^ 1, 99)
    for f in frames:
        tb.card.send(f)
    tb.card.send(wire)
    assert await some(tb.tx, 1) == [wire], "the transmit side waited"
    kept = tb.stats["stat_loop"]
    assert tb.stats["stat_loop_drop"] == 40 - kept and 0 < kept < 40
    tb.rx.pause = PAUSES["none"](rng("open"))
    got = await some(tb.rx, kept)
    at = [frames.index(f) for f in got]
    assert at == sorted(set(at)) and got[0] == frames[0]
    room = (1 << params()["LOOP_LOG2"]) - 1515
    assert sum(map(len, got)) > room - 40 * (params()["W"] // 8), "dropped while there was room"
    for n in range(3):
        after = tb.frame(tb.macs[0], 200 + n)
        tb.card.send(after)
        assert await some(tb.rx, 1) == [after]


@cocotb.test()
@cocotb.parametrize(s_pause=["none", "bursts"], rx_pause=["some", "most"])
async def overrun(dut, s_pause, rx_pause):
    """More goes round, and comes from the wire, than is taken: what arrives is whole and in order, the rest is counted."""
    tb = TB(dut, s_pause, rx_pause=rx_pause)
    await tb.start()
    round_, wire = [], []
    for n in range(120):
        round_.append(tb.frame(tb.macs[n % tb.nvf], n))
        wire.append(tb.frame(tb.macs[0], 1000 + n, 60))
        tb.card.send(round_[-1])
        tb.wire.send(wire[-1])
    await with_timeout(tb.card.idle(), 5000, "us")
    await cycles(dut, 3)
    kept = tb.stats["stat_loop"]
    assert kept + tb.stats["stat_loop_drop"] == 120 and kept > 10
    got = await some(tb.rx, kept + 120, 5000)
    assert [f for f, here in zip(got, tb.locals, strict=True) if not here] == wire
    at = [round_.index(f) for f, here in zip(got, tb.locals, strict=True) if here]
    assert at == sorted(set(at)) and len(at) == kept


@cocotb.test()
async def turns(dut):
    """Both sources full: frames alternate."""
    tb = TB(dut)
    await tb.start()
    for n in range(12):
        tb.card.send(tb.frame(tb.macs[0], n, 1000))
        tb.wire.send(tb.frame(tb.macs[0], 100 + n, 1000))
    await some(tb.rx, 24)
    middle = tb.locals[4:20]
    assert all(a != b for a, b in zip(middle, middle[1:], strict=False)), tb.locals


@cocotb.test()
async def reset_in_mid_frame(dut):
    """After a reset in mid-frame nothing is left of it."""
    tb = TB(dut)
    await tb.start()
    for _ in range(5):
        for n in range(6):
            tb.card.send(tb.frame(tb.macs[0], n))
        await cycles(dut, tb.rng.randrange(5, 80))
        tb.card.clear()
        await tb.start()
        clean = tb.frame(tb.macs[0], 7)
        tb.card.send(clean)
        assert await some(tb.rx, 1) == [clean]


@pytest.mark.parametrize("w", [64, 256, 512])
def test_nk_net_loop(w):
    run_module(
        "nk_net_loop_tb",
        __file__,
        {"W": w, "NVF": 4, "LOOP_LOG2": 13},
        sources=[HERE / "nk_net_loop_tb.v"],
    )
