# SPDX-License-Identifier: Apache-2.0
"""nk_net_tx: the frame of each descriptor, byte by byte, against scapy; reads, order, rate and latency."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

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
from net.net_model import drive_config, make_vfs
from net.tx_model import NO_WRAP, TXD_FIELDS, Host, tx_frame, tx_options

LENGTHS = (1, 2, 9, 10, 11, 64, 73, 74, 75, 500)


class TB:
    def __init__(self, dut, txd_pause="none", m_pause="none", dma_pause="none", latency=1):
        self.dut = dut
        self.rng = rng("tx")
        p = params()
        self.nbytes = p["W"] // 8
        self.slots = 1 << p.get("SLOTS_LOG2", 8)
        self.buffer = 1 << p.get("BUF_LOG2", 15)
        self.vfs = make_vfs(p["NVF"])
        start_clock(dut)
        drive_config(dut, self.vfs)
        pause = PAUSES[dma_pause]
        self.host = Host(
            dut,
            funcs=p["NVF"] + 1,
            req_pause=pause(rng("rdreq pause")),
            dat_pause=pause(rng("rdat pause")),
            latency=latency,
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
        await reset(self.dut)
        self.sink.clear()
        self.forget()

    async def _watch_done(self):
        """txd_done of the k-th descriptor comes after the last beats of all reads up to it."""
        edge = RisingEdge(self.dut.clk)
        done, rst = Signal(self.dut.txd_done), Signal(self.dut.rst)
        while not rst.is_not_low():  # before the first reset nothing is defined
            await edge
        while True:
            await edge
            if rst.is_not_low():
                self.has_read, self.done = [], 0
            elif done.get():
                self.done += 1
                assert self.done <= len(self.has_read), "txd_done without a descriptor"
                assert self.host.lasts >= sum(self.has_read[: self.done]), (
                    "txd_done before its data"
                )

    def descriptor(self, length=0, vf=None, kind="plain"):
        """A random descriptor: `kind` plain, ts (as after a handshake with timestamps), syn or sack."""
        r = self.rng
        vf = r.randrange(len(self.vfs)) if vf is None else vf
        size = len(self.host.mem[0])
        syn, sack = kind == "syn", kind == "sack"
        d = {n: r.getrandbits(b) for n, b in (("rip", 32), ("seq", 32), ("ack", 32), ("wnd", 16))}
        d |= {n: r.getrandbits(b) for n, b in (("rport", 16), ("lport", 16), ("flags", 9))}
        d |= {
            "vf": vf,
            "dmac": r.getrandbits(48) & ~(1 << 40),
            "mss": r.choice([0, 1460, 536, 0xFFFF]) if syn else 0,
            "wscale": r.getrandbits(4),
            "wscale_valid": r.getrandbits(1) if syn else 0,
            "ecn": r.choice([0, 2]),
            "ts_valid": r.getrandbits(1) if syn or sack else int(kind == "ts"),
            "tsval": r.getrandbits(32),
            "tsecr": r.getrandbits(32),
            "sack_ok": r.getrandbits(1) if syn else 0,
            "sack_n": r.randrange(1, 5) if sack else 0,
            "sack": r.getrandbits(256),
            "len": length,
            "addr": r.randrange(size - length),
            "wrap_len": NO_WRAP,
            "wrap_addr": r.randrange(size - length),
        }
        if length > 1 and r.random() < 0.3:
            d["wrap_len"] = r.choice([1, length - 1, length, length + 1, r.randrange(1, length)])
        return d

    def send(self, length=0, vf=None, kind="plain", **fields):
        """Queue a descriptor: a random one, but for `fields`."""
        d = self.descriptor(length, vf, kind) | fields
        vf, length = d["vf"], d["len"]
        payload = b""
        if length:
            payload = self.host.read(vf + 1, d["addr"], length, d["wrap_len"], d["wrap_addr"])
        frame = tx_frame(self.vfs[vf], d, payload, self.ids[vf])
        if length:
            header = 34 + 4 * (frame[46] >> 4)
            names = ("addr", "len", "wrap_len", "wrap_addr")
            self.reads.append(
                {"func": vf + 1, "lane": header % self.nbytes, **{n: d[n] for n in names}}
            )
        self.expected.append(frame)
        self.ids[vf] = (self.ids[vf] + 1) & 0xFFFF
        self.has_read.append(length > 0)
        self.txd.send(d)
        return d

    def send_any(self):
        kind = self.rng.choice(["syn", "plain", "plain", "ts", "ts", "sack"])
        length = self.rng.choice([0, 1, *LENGTHS, self.rng.randrange(1, 1421)])
        self.send(0 if kind in ("syn", "sack") else length, kind=kind)

    async def check(self, timeout_us=4000):
        for _ in range(len(self.expected)):
            frame = await with_timeout(self.sink.recv(), timeout_us, "us")
            want = self.expected.popleft()
            assert frame == want, f"\n got {frame.hex()}\nwant {want.hex()}"
        await cycles(self.dut, 10)
        assert self.sink.empty()
        assert not int(self.dut.busy.value)
        assert list(self.host.requests) == list(self.reads)
        assert self.stats["stat_tx_segments"] == len(self.has_read) == self.stats["txd_done"]
        assert self.host.most <= self.slots
        self.host.requests.clear()
        self.reads.clear()

    async def clocks_for(self, lengths, kind="plain", warm=8):
        """Clocks from the end of frame `warm` to that of the last one: the rate in the steady state."""
        start = self.stats["stat_tx_segments"]
        for length in lengths:
            self.send(length, kind=kind)
        limit = 100 + self.host.latency + warm * (60 + 1600 // self.nbytes)
        while self.stats["stat_tx_segments"] < start + warm:
            await cycles(self.dut)
            limit -= 1
            assert limit > 0, "no frames"
        clocks = 0
        while self.stats["stat_tx_segments"] < start + len(lengths):
            await cycles(self.dut)
            clocks += 1
            assert clocks < 20000, "no frames"
        await self.check()
        return clocks


def beats(nbytes, length, options=0):
    return -(-max(60, 54 + options + length) // nbytes)


@cocotb.test()
@cocotb.parametrize(
    m_pause=["none", "most", "bursts"], dma_pause=["none", "some", "bursts"], latency=[1, 60]
)
async def stress(dut, m_pause, dma_pause, latency):
    """SYNs, pure ACKs with SACK blocks and data of any length, in any mix of stalls."""
    tb = TB(dut, "some", m_pause, dma_pause, latency)
    await tb.reset()
    for _ in range(60):
        tb.send_any()
    await tb.check(8000)


@cocotb.test()
async def payload_lengths(dut):
    """Each length around the ends of beats; short ones padded with zeros, not with old bytes."""
    tb = TB(dut)
    await tb.reset()
    tb.send(1460)
    for n in [*range(2 * tb.nbytes + 8), 1459, 1460]:
        tb.send(n)
    for n in [*range(2 * tb.nbytes + 8), 1447, 1448]:
        tb.send(n, kind="ts")
    await tb.check()


@cocotb.test()
async def syn_options(dut):
    """Every set of SYN options; with data too: the lane asked for moves with the header."""
    tb = TB(dut)
    await tb.reset()
    for n in (0, 1, 6, 7, 64, 100):
        for bits in range(16):
            d = tb.send(
                n,
                mss=1460 * (bits & 1),
                wscale_valid=bits >> 1 & 1,
                ts_valid=bits >> 2 & 1,
                sack_ok=bits >> 3,
            )
            assert len(tx_options(d)) >= bits.bit_count()
    await tb.check()


@cocotb.test()
async def sack_blocks(dut):
    """Each number of blocks with and without timestamps; what is too many, and SYN options beside them, are left out."""
    tb = TB(dut)
    await tb.reset()
    for n in (0, 1, 33, 200):
        for blocks in range(8):
            for ts in (0, 1):
                tb.send(n, sack_n=blocks, ts_valid=ts)
        tb.send(n, sack_n=2, ts_valid=1, mss=1460, wscale_valid=1, sack_ok=1)
        tb.send(n, sack_n=4, mss=1460, wscale_valid=1, sack_ok=1)
    await tb.check()


@cocotb.test()
async def header_fields(dut):
    """All ones and all zeros in each field: the carries of both checksums."""
    tb = TB(dut)
    await tb.reset()
    widths = {"dmac": 48, "rip": 32, "rport": 16, "lport": 16, "seq": 32, "ack": 32, "flags": 9}
    widths |= {"wnd": 16, "ecn": 2, "tsval": 32, "tsecr": 32, "sack": 256}
    for name, width in widths.items():
        for value in (0, (1 << width) - 1):
            tb.send(0, **{name: value})
            tb.send(33, kind="ts", **{name: value})
            tb.send(0, sack_n=4, **{name: value})
    for kind in ("plain", "ts", "sack"):
        tb.send(0, kind=kind, **{n: 0 for n in widths})
        tb.send(0, kind=kind, **{n: (1 << w) - 1 for n, w in widths.items()})
    await tb.check()
    for func in tb.host.mem:
        func[0:1460] = b"\xff" * 1460
    for n in (1, 2, 1459, 1460):
        tb.send(n, addr=0, wrap_len=NO_WRAP)
    await tb.check()


@cocotb.test()
async def sums_at_the_ends(dut):
    """Sums whose last fold carries: few do, so a word of the header is chosen for it."""
    tb = TB(dut)
    tb.vfs[0] = replace(
        tb.vfs[0], ip="10.9.200.254"
    )  # its word alone makes the others' sum overflow
    drive_config(dut, tb.vfs)
    await tb.reset()
    # TCP: the sum ends at 1, 2, 3 or all ones, as either byte order sees it. What lacks goes into the window.
    ends = [n << s for n in (1, 2, 3) for s in (0, 8)] + [0xFFFF]
    for _ in range(15):
        for end in ends:
            d = tb.descriptor(tb.rng.randrange(2, 100), 0) | {"wnd": 0}
            data = tb.host.read(1, *(d[n] for n in ("addr", "len", "wrap_len", "wrap_addr")))
            frame = tx_frame(tb.vfs[0], d, data, tb.ids[0])
            d["wnd"] = (end - (0xFFFF ^ int.from_bytes(frame[50:52], "big"))) % 0xFFFF
            tb.send(**d)
    # IPv4: all ones, or nearly, in the 32-bit words' sum. What lacks goes into the address.
    for end in [0xFFFFFFFF, 0xFFFFFFFE, 0xFFFEFFFF, 0xFFFF0000, 0] * 10:
        d = tb.descriptor(0, 0) | {"rip": 0}
        frame = bytearray(tx_frame(tb.vfs[0], d, b"", tb.ids[0]))
        frame[24:26] = b"\0\0"
        have = sum(int.from_bytes(frame[i : i + 4], "little") for i in range(14, 34, 4))
        d["rip"] = int.from_bytes(((end - have) % 2**32).to_bytes(4, "little"), "big")
        tb.send(**d)
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
    """With the wire stopped, payload is asked for as far as the memory reaches, no further; nothing is lost."""
    tb = TB(dut)
    tb.sink.pause = lambda: True
    await tb.reset()
    each = beats(tb.nbytes, 1460) - 54 // tb.nbytes  # beats with payload
    room = tb.buffer // tb.nbytes
    taken = 0
    while room >= 2048 // tb.nbytes and taken < tb.slots:
        room, taken = room - each, taken + 1
    for _ in range(taken + 5):
        tb.send(1460)
    await cycles(dut, (taken + 5) * 1514 // tb.nbytes + 200)
    assert taken <= tb.host.received <= taken + 1  # the first beats may have gone to the output
    assert tb.host.lasts == tb.host.received
    assert int(dut.busy.value)
    tb.sink.pause = lambda: False
    await tb.check()


@cocotb.test()
async def slots_bound(dut):
    """Short segments: the number under way bounds what is asked for."""
    tb = TB(dut)
    tb.host.dat_pause = lambda: True
    await tb.reset()
    for _ in range(tb.slots + 8):
        tb.send(1)
    await cycles(dut, 2 * tb.slots + 50)
    assert tb.host.received == min(tb.slots, (tb.buffer - 2048) // tb.nbytes + 1)
    tb.host.dat_pause = lambda: False
    await tb.check()
    assert tb.host.most <= tb.slots


@cocotb.test()
async def done_in_order(dut):
    """An empty segment behind a slow read is done after it, and each descriptor is done once."""
    tb = TB(dut)
    await tb.reset()
    tb.host.dat_pause = lambda: True
    tb.send(100)
    tb.send(0)
    tb.send(0)
    await cycles(dut, 100)
    assert tb.stats["txd_done"] == 0
    assert tb.sink.empty()
    tb.host.dat_pause = lambda: False
    await tb.check()


@cocotb.test()
async def rate(dut):
    """A frame costs its beats and no more, whatever its length; also with timestamps."""
    tb = TB(dut)
    await tb.reset()
    for length in (0, 1, 64, 256, 1460):
        n = 60 if length < 1000 else 24
        clocks = await tb.clocks_for([length] * n)
        each = beats(tb.nbytes, length)
        assert clocks == (n - 8) * each, f"{length}: {clocks} clocks for {n - 8} of {each} beats"
    for length in (1, 64, 1448):
        clocks = await tb.clocks_for([length] * 24, "ts")
        assert clocks == 16 * beats(tb.nbytes, length, 12)
    mix = [tb.rng.choice([0, 1, 64, 300]) for _ in range(60)]
    clocks = await tb.clocks_for(mix)
    assert clocks <= sum(beats(tb.nbytes, n) for n in mix[8:]) + 4


@cocotb.test()
async def rate_with_latency(dut):
    """Reads that take 200 clocks cost nothing while what is under way covers them."""
    tb = TB(dut, latency=200)
    await tb.reset()
    for length, n in ((1, 600), (1460, 40)):
        each = beats(tb.nbytes, length)
        need = 220 / each  # segments under way
        room = min(tb.slots, (tb.buffer - 2048) // (tb.nbytes * each))
        if need > room:
            continue
        clocks = await tb.clocks_for([length] * n)
        assert clocks <= (n - 8) * each + 8


@cocotb.test()
async def latency(dut):
    """Clocks from a descriptor to its first beat, with a host that answers in the next clock."""
    tb = TB(dut)
    await tb.reset()
    valid, ready = Signal(dut.txd_valid), Signal(dut.txd_ready)
    for length, want in ((0, 8), (1, 9), (tb.nbytes // 2, 10)):
        await cycles(dut, 20)
        tb.send(length)
        while not (valid.get() and ready.get()):
            await cycles(dut)
        clocks = 0
        while not int(dut.m_valid.value):
            await cycles(dut)
            clocks += 1
        assert clocks == want, f"payload {length}: {clocks} clocks"
        await tb.check()


@cocotb.test()
async def reset_mid_traffic(dut):
    """A reset at any moment leaves nothing behind."""
    tb = TB(dut, "some", "bursts", "bursts", 10)
    for _ in range(25):
        await tb.reset()
        for _ in range(12):
            tb.send_any()
        await cycles(dut, tb.rng.randrange(1, 300))
    await tb.reset()
    await cycles(dut, 5)
    assert not int(dut.busy.value)
    assert tb.sink.empty()
    for _ in range(20):
        tb.send_any()
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
        testcase="stress|payload_lengths|syn_options|sack_blocks",
    )


@pytest.mark.parametrize("w", [64, 512])
def test_nk_net_tx_small(w):
    """The least memory and the fewest segments under way."""
    run_module(
        "nk_net_tx",
        __file__,
        {"W": w, "NVF": 3, "SLOTS_LOG2": 2, "BUF_LOG2": 13},
        testcase="stress|reads_run_ahead|slots_bound|reset_mid",
    )
