# SPDX-License-Identifier: Apache-2.0
"""nk_net_tx: the frame of each descriptor, byte by byte, against scapy; reads, order and rate."""

from __future__ import annotations

from collections import deque

import cocotb
import pytest
from cocotb.triggers import RisingEdge, with_timeout
from common.runner import run_module
from common.stream import (
    PAUSES,
    FrameSink,
    Pulses,
    Signal,
    WordSource,
    cycles,
    params,
    reset,
    rng,
    start_clock,
)
from net.net_model import drive_config, make_vfs, tx_frame
from net.net_tb import HostMemory

TXD_FIELDS = (
    "vf",
    "dmac",
    "rip",
    "rport",
    "lport",
    "seq",
    "ack",
    "flags",
    "wnd",
    "mss",
    "wscale",
    "wscale_valid",
    "len",
    "addr",
    "wrap_len",
    "wrap_addr",
)
NO_WRAP = 0xFFFF


class TB:
    def __init__(self, dut, txd_pause="none", m_pause="none", dma_pause="none", latency=0):
        self.dut = dut
        self.rng = rng("tx")
        p = params()
        self.nbytes = p["W"] // 8
        self.vfs = make_vfs(p["NVF"])
        start_clock(dut)
        drive_config(dut, self.vfs)
        self.host = HostMemory(
            dut, funcs=p["NVF"] + 1, req_pause=dma_pause, dat_pause=dma_pause, latency=latency
        )
        self.txd = WordSource(dut, "txd", TXD_FIELDS, pause=PAUSES[txd_pause](rng("txd pause")))
        self.sink = FrameSink(dut, "m", pause=PAUSES[m_pause](rng("m pause")))
        self.stats = Pulses(dut, ["stat_tx_segments", "txd_done"])
        cocotb.start_soon(self._watch_done())
        self.forget()

    def forget(self):
        self.expected: deque[bytes] = deque()
        self.reads: deque[dict[str, int]] = deque()
        self.has_read: list[bool] = []
        self.ids = [0] * len(self.vfs)
        self.done = 0
        self.host.clear()
        for name in self.stats.count:
            self.stats.count[name] = 0

    async def reset(self):
        self.host.stop()
        await reset(self.dut)
        self.sink.clear()
        self.forget()

    async def _watch_done(self):
        """txd_done of the k-th descriptor comes after the last beats of all reads up to it."""
        edge = RisingEdge(self.dut.clk)
        done, rst = Signal(self.dut.txd_done), Signal(self.dut.rst)
        await RisingEdge(self.dut.rst)
        while True:
            await edge
            if rst.get():
                self.has_read, self.done = [], 0
            elif done.get():
                self.done += 1
                assert self.done <= len(self.has_read), "txd_done without a descriptor"
                assert self.host.lasts >= sum(self.has_read[: self.done]), (
                    "txd_done before its data"
                )

    def send(self, length=0, vf=None, syn=False, **fields):
        r = self.rng
        vf = r.randrange(len(self.vfs)) if vf is None else vf
        size = len(self.host.mem[0])
        d = {
            "vf": vf,
            "dmac": r.getrandbits(48) & ~(1 << 40),
            "rip": r.getrandbits(32),
            "rport": r.getrandbits(16),
            "lport": r.getrandbits(16),
            "seq": r.getrandbits(32),
            "ack": r.getrandbits(32),
            "flags": r.getrandbits(9),
            "wnd": r.getrandbits(16),
            "mss": r.choice([0, 1460, 536, 0xFFFF]) if syn else 0,
            "wscale": r.getrandbits(4),
            "wscale_valid": r.getrandbits(1) if syn else 0,
            "len": length,
            "addr": r.randrange(size - length),
            "wrap_len": NO_WRAP,
            "wrap_addr": r.randrange(size - length),
        }
        if length > 1 and r.random() < 0.3:
            d["wrap_len"] = r.choice([1, length - 1, length, length + 1, r.randrange(1, length)])
        d.update(fields)
        if length:
            payload = self.host.read(vf + 1, d["addr"], length, d["wrap_len"], d["wrap_addr"])
            names = ("addr", "len", "wrap_len", "wrap_addr")
            header = 54 + 4 * (d["mss"] != 0) + 4 * d["wscale_valid"]
            self.reads.append(
                {"func": vf + 1, "lane": header % self.nbytes, **{n: d[n] for n in names}}
            )
        else:
            payload = b""
        self.expected.append(tx_frame(self.vfs[vf], d, payload, self.ids[vf]))
        self.ids[vf] = (self.ids[vf] + 1) & 0xFFFF
        self.has_read.append(length > 0)
        self.txd.send(d)

    async def check(self, timeout_us=4000):
        n = len(self.expected)
        for _ in range(n):
            frame = await with_timeout(self.sink.recv(), timeout_us, "us")
            want = self.expected.popleft()
            assert frame == want, f"\n got {frame.hex()}\nwant {want.hex()}"
        await cycles(self.dut, 10)
        assert self.sink.empty()
        assert not int(self.dut.busy.value)
        assert list(self.host.requests) == list(self.reads)
        assert self.stats["stat_tx_segments"] == len(self.has_read) == self.stats["txd_done"]
        assert self.host.most <= 4
        self.host.requests.clear()
        self.reads.clear()


@cocotb.test()
@cocotb.parametrize(
    m_pause=["none", "most", "bursts"], dma_pause=["none", "some", "bursts"], latency=[0, 40]
)
async def stress(dut, m_pause, dma_pause, latency):
    """SYNs, empty segments and data of any length, in any mix of stalls."""
    tb = TB(dut, "some", m_pause, dma_pause, latency)
    await tb.reset()
    for _ in range(40):
        kind = tb.rng.randrange(4)
        if kind == 0:
            tb.send(0, syn=True)
        elif kind == 1:
            tb.send(0)
        else:
            tb.send(tb.rng.choice([1, 2, 9, 10, 11, 73, 74, 75, 500, tb.rng.randrange(1, 1461)]))
    await tb.check(8000)


@cocotb.test()
async def payload_lengths(dut):
    """Each length around the ends of beats; short ones padded with zeros, not with old bytes."""
    tb = TB(dut)
    await tb.reset()
    tb.send(1460)
    for n in [*range(2 * tb.nbytes + 8), 1459, 1460]:
        tb.send(n)
    await tb.check()


@cocotb.test()
async def options_and_data(dut):
    """Options in front of data: the lane asked for moves with the header."""
    tb = TB(dut)
    await tb.reset()
    for n in (0, 1, 2, 6, 7, 64, 100):
        for mss, scale in ((1460, 0), (0, 1), (1460, 1)):
            tb.send(n, mss=mss, wscale_valid=scale)
    await tb.check()


@cocotb.test()
async def header_fields(dut):
    """All ones and all zeros in each field: the carries of both checksums."""
    tb = TB(dut)
    await tb.reset()
    widths = {
        "dmac": 48,
        "rip": 32,
        "rport": 16,
        "lport": 16,
        "seq": 32,
        "ack": 32,
        "flags": 9,
        "wnd": 16,
    }
    for name, width in widths.items():
        for value in (0, (1 << width) - 1):
            tb.send(0, **{name: value})
            tb.send(33, **{name: value})
    tb.send(0, **{n: 0 for n in widths})
    tb.send(0, **{n: (1 << w) - 1 for n, w in widths.items()})
    await tb.check()
    for func in tb.host.mem:
        func[0:1460] = b"\xff" * 1460
    for n in (1, 2, 1459, 1460):
        tb.send(n, addr=0, wrap_len=NO_WRAP)
    await tb.check()


@cocotb.test()
async def ids_count_for_each_vf(dut):
    """A VF's IPv4 ids say nothing about the others."""
    tb = TB(dut)
    await tb.reset()
    for vf in (0, 0, 1, 0, 1, 2, 0):
        tb.send(0, vf=vf)
    await tb.check()
    assert tb.ids[:3] == [4, 2, 1]


@cocotb.test()
async def reads_run_ahead(dut):
    """With the wire stopped up to four payloads are read, no more; then all leaves in order."""
    tb = TB(dut)
    tb.sink.pause = lambda: True
    await tb.reset()
    for _ in range(9):
        tb.send(1460)
    await cycles(dut, 9 * 1514 // tb.nbytes + 200)
    assert tb.host.lasts == 4
    assert tb.host.req.received == 4
    assert int(dut.busy.value)
    tb.sink.pause = lambda: False
    await tb.check()


@cocotb.test()
async def done_in_order(dut):
    """An empty segment behind a slow read is done after it, and each descriptor is done once."""
    tb = TB(dut)
    await tb.reset()
    tb.host.dat.pause = lambda: True
    tb.send(100)
    tb.send(0)
    tb.send(0)
    await cycles(dut, 100)
    assert tb.stats["txd_done"] == 0
    assert tb.sink.empty()
    tb.host.dat.pause = lambda: False
    await tb.check()


@cocotb.test()
async def rate(dut):
    """Reading the next payload overlaps sending the last; a frame costs its beats, and never under 4 clocks."""
    tb = TB(dut)
    await tb.reset()
    for length in (0, 1460):
        n = 30
        for _ in range(n):
            tb.send(length)
        while tb.stats["stat_tx_segments"] % n == 0:
            await cycles(dut)
        start = tb.stats["stat_tx_segments"]
        clocks = 0
        while tb.stats["stat_tx_segments"] < start + n - 1:
            await cycles(dut)
            clocks += 1
        beats = -(-max(60, 54 + length) // tb.nbytes)
        assert clocks <= (n - 1) * max(beats + 1, 5) + 8, f"{clocks} clocks, {beats} beats a frame"
        await tb.check()


@cocotb.test()
async def reset_mid_traffic(dut):
    """A reset at any moment leaves nothing behind."""
    tb = TB(dut, "some", "bursts", "bursts", 10)
    for _ in range(25):
        await tb.reset()
        for _ in range(8):
            tb.send(tb.rng.choice([0, 20, 1460]))
        await cycles(dut, tb.rng.randrange(1, 300))
    await tb.reset()
    await cycles(dut, 5)
    assert not int(dut.busy.value)
    assert tb.sink.empty()
    for _ in range(10):
        tb.send(tb.rng.choice([0, 20, 1460]))
    await tb.check()


@pytest.mark.parametrize("w", [64, 512])
def test_nk_net_tx(w):
    run_module("nk_net_tx", __file__, {"W": w, "NVF": 3})


@pytest.mark.parametrize("w", [128, 256])
def test_nk_net_tx_other_widths(w):
    run_module(
        "nk_net_tx",
        __file__,
        {"W": w, "NVF": 1},
        testcase="stress|payload_lengths|options_and_data",
    )
