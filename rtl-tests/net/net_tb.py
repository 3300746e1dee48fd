# SPDX-License-Identifier: Apache-2.0
"""Test bench that the tests of hw/net share: receive side with scoreboard."""

from __future__ import annotations

import cocotb
from cocotb.triggers import RisingEdge, SimTimeoutError, with_timeout
from common.stream import (
    PAUSES,
    FrameSource,
    Pulses,
    Signal,
    WordSink,
    cycles,
    has,
    params,
    reset,
    rng,
    start_clock,
)
from net.net_model import RX_OUTCOMES, Peer, Verdict, drive_config, judge, make_vfs

SEG_FIELDS = (
    "vf",
    "smac",
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
    "ecn",
    "ts_valid",
    "tsval",
    "tsecr",
    "sack_ok",
    "sack_n",
    "sack",
    "len",
    "lane",
)
PTB_FIELDS = ("vf", "rip", "rport", "lport", "seq", "mtu")


class RxTB:
    """Frames in, segments and payload out, each judged by the model; counters compared at the end."""

    def __init__(self, dut, s_pause="none", m_pause="none"):
        self.dut = dut
        self.rng = rng("rx")
        p = params()
        self.nbytes = p["W"] // 8
        self.vfs = make_vfs(p.get("NVF", 8))
        self.peer = Peer(rng=self.rng)
        start_clock(dut)
        drive_config(dut, self.vfs)
        self.local = False
        if has(dut, "rx_local"):
            dut.rx_local.value = 0
        self.source = FrameSource(dut, "rx", pause=PAUSES[s_pause](rng("rx pause")))
        self.seg = WordSink(dut, "seg", SEG_FIELDS, pause=PAUSES[m_pause](rng("seg pause")))
        self.pay = WordSink(dut, "pay", ("data", "last"), pause=PAUSES[m_pause](rng("pay pause")))
        self.ptb = WordSink(dut, "ptb", PTB_FIELDS)
        # Outputs are undefined before the first reset: watched from then on.
        self.stats = None
        self.sent: list[bytes] = []
        self.verdicts: list[Verdict] = []
        self.bytes_counted = 0

    def forget(self):
        """Start counting and expecting anew."""
        self.sent.clear()
        self.verdicts.clear()
        self.bytes_counted = 0
        self.ptb.clear()
        self.ptb.received = 0
        for name in self.stats.count:
            self.stats.count[name] = 0

    async def _count_bytes(self):
        frames = Signal(self.dut.stat_rx_frames)
        inc = Signal(self.dut.stat_rx_bytes_inc)
        edge = RisingEdge(self.dut.clk)
        while True:
            await edge
            if frames.get():
                self.bytes_counted += inc.get()

    async def reset(self):
        await reset(self.dut)
        if self.stats is None:
            self.stats = Pulses(self.dut, [f"stat_{n}" for n in ("rx_frames", *RX_OUTCOMES)])
            cocotb.start_soon(self._count_bytes())
        self.seg.clear()
        self.pay.clear()
        self.ptb.clear()
        self.ptb.received = 0
        self.forget()

    def send(self, frame: bytes, expect: str | None = None) -> Verdict:
        """Queue a frame; `expect`: the test's own opinion of its fate."""
        verdict = judge(frame, self.vfs, self.local)
        if expect is not None:
            assert verdict.counter == expect, f"model says {verdict.counter}, test {expect}"
        self.sent.append(frame)
        self.verdicts.append(verdict)
        self.source.send(frame)
        return verdict

    def send_good(self, payload_len: int | None = None, vf: int = 0) -> Verdict:
        length = self.rng.randrange(0, 200) if payload_len is None else payload_len
        payload = self.rng.randbytes(length)
        return self.send(self.peer.segment(self.vfs[vf], payload), "rx_segments")

    async def settle(self, timeout_us=4000):
        """Until everything sent has been judged and nothing is held any more."""

        async def quiet():
            await self.source.idle()
            while self.stats["stat_rx_frames"] < len(self.sent) or int(self.dut.busy.value):
                await cycles(self.dut)
            await cycles(self.dut, 4)

        try:
            await with_timeout(quiet(), timeout_us, "us")
        except SimTimeoutError:
            raise AssertionError(
                f"stuck: {self.source.pending()} beats wait, counted {self.stats.count}"
            ) from None

    def payload(self, header: int, length: int) -> bytes:
        """Take the beats of one payload out of the sink."""
        lane = header % self.nbytes
        n = -(-(lane + length) // self.nbytes)
        assert len(self.pay.queue) >= n, f"{len(self.pay.queue)} payload beats, {n} expected"
        got = b""
        for i in range(n):
            word = self.pay.queue.popleft()
            assert word["last"] == (i == n - 1), "pay_last at the wrong beat"
            got += word["data"].to_bytes(self.nbytes, "little")
        return got[lane : lane + length]

    def check_segments(self):
        for verdict in self.verdicts:
            if verdict.seg is None:
                continue
            assert self.seg.queue, "a segment is missing"
            got = self.seg.queue.popleft()
            want = {**verdict.seg, "lane": verdict.header % self.nbytes}
            assert got == want
            if verdict.payload:
                assert self.payload(verdict.header, len(verdict.payload)) == verdict.payload
        assert self.seg.empty(), "a segment that nobody expected"
        assert self.pay.empty(), "payload that nobody expected"

    def check_counters(self, tolerate_overflow=False):
        """Each frame in exactly one counter. With `tolerate_overflow` an answer may have found no room.

        Of 'fragmentation needed' those that come within 16 clocks of another one are overflow.
        """
        want = dict.fromkeys((*RX_OUTCOMES, "rx_ptb"), 0)
        for verdict in self.verdicts:
            want[verdict.counter] += 1
        got = {n: self.stats[f"stat_{n}"] for n in RX_OUTCOMES}
        got["rx_ptb"] = self.ptb.received
        offered = iter([v.ptb for v in self.verdicts if v.ptb is not None])
        for word in self.ptb.queue:
            assert word in offered, "a wrong ptb_*, or in a wrong order"
        late = want["rx_ptb"] - got["rx_ptb"]
        want["rx_ptb"] -= late
        want["rx_drop_overflow"] += late
        assert sum(got.values()) == len(self.sent) == self.stats["stat_rx_frames"]
        if tolerate_overflow:
            for name in ("rx_icmp_echo", "rx_arp", "rx_drop_overflow"):
                want.pop(name)
                got.pop(name)
        assert got == want
        assert self.bytes_counted == sum(map(len, self.sent))

    async def check(self, timeout_us=4000, **counters):
        await self.settle(timeout_us)
        self.check_segments()
        self.check_counters(**counters)
        self.forget()


def set_idle(dut, **values):
    """Drive inputs that no driver of this test owns."""
    for name, value in values.items():
        if has(dut, name):
            getattr(dut, name).value = value
