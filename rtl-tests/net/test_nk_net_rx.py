# SPDX-License-Identifier: Apache-2.0
"""nk_net_rx against net_model.judge: every frame comes out as a segment or in exactly one drop counter."""

from __future__ import annotations

import cocotb
import pytest
from common.runner import run_module
from common.stream import PAUSES, Signal, WordSink, cycles, rng
from net.net_model import Peer, csum, fix_ip, fix_tcp, judge, with_ip_options
from net.net_tb import RxTB, set_idle

LATENCY = 6  # clocks from a frame's last beat to its descriptor
OPTIONS = [("MSS", 1460), ("NOP", None), ("WScale", 7), ("SAckOK", b""), ("Timestamp", (1, 2))]


def ack_options(r) -> list:
    """What segments without SYN carry."""
    stamps = [("NOP", None), ("NOP", None), ("Timestamp", (r.getrandbits(32), r.getrandbits(32)))]
    edges = tuple(r.getrandbits(32) for _ in range(2 * r.randrange(1, 4)))
    sack = [("NOP", None), ("NOP", None), ("SAck", edges)]
    return r.choice([stamps, stamps + sack, sack, sack + stamps, []])


def with_options(tb, raw: bytes, flags="S", payload=b"") -> bytes:
    """A segment with these option bytes, filled up with NOPs."""
    raw = raw[:40] + b"\1" * (-len(raw[:40]) % 4)
    base = tb.peer.segment(tb.vfs[0], b"", flags, pad=0)
    frame = bytearray(base[:54] + raw + payload)
    frame[46] = (5 + len(raw) // 4) << 4 | frame[46] & 15
    return tb.peer.padded(fix_tcp(fix_ip(bytes(frame))))


class TB(RxTB):
    def __init__(self, dut, *pauses):
        super().__init__(dut, *pauses)
        set_idle(dut, arp_room=1, echo_room=1)
        self.arp = WordSink(dut, "arp", ("mine", "request", "vf", "sha", "spa", "forged"))
        self.echo = WordSink(dut, "echo", ("len", "hdr"))

    async def reset(self):
        await super().reset()
        self.arp.clear()
        self.echo.clear()

    async def check(self, timeout_us=4000, **counters):
        await self.settle(timeout_us)
        for verdict in self.verdicts:
            if verdict.arp is not None:
                got = self.arp.queue.popleft()
                if "vf" not in verdict.arp:
                    got.pop("vf")
                assert got == verdict.arp
            if verdict.echo is not None:
                want = {
                    "len": len(verdict.echo),
                    "hdr": int.from_bytes(verdict.echo[:38], "little"),
                }
                assert self.echo.queue.popleft() == want
        assert self.arp.empty()
        assert self.echo.empty()
        await super().check(timeout_us, **counters)


def any_frame(tb: TB) -> bytes:
    """A good frame of any kind, or one with a byte changed somewhere."""
    r, peer = tb.rng, tb.peer
    vf = r.choice(tb.vfs)
    kind = r.randrange(10)
    if kind < 6:
        syn = r.random() < 0.3
        payload = b"" if syn else r.randbytes(r.choice([0, 1, 5, 6, 7, r.randrange(1461)]))
        options = r.sample(OPTIONS, r.randrange(len(OPTIONS) + 1)) if syn else ack_options(r)
        ip_options = b"\x01" * (4 * r.randrange(1, 11)) if r.random() < 0.15 else b""
        payload = payload[: 1420 - len(ip_options)]
        flags = 2 if syn else r.getrandbits(9) & ~2
        frame = peer.segment(vf, payload, flags, options, ip_options)
    elif kind < 7:
        frame = peer.ptb(vf, r.choice([0, 68, 576, 1400, 65535]), r.choice([0, 1, 12, 500]))
    elif kind < 8:
        frame = peer.echo(vf, r.randbytes(r.choice([0, 1, 56, r.randrange(1473)])))
    else:
        frame = peer.arp(vf, op=r.choice([1, 2]))
    if r.random() < 0.3:
        at = r.randrange(len(frame))
        frame = frame[:at] + bytes([frame[at] ^ (1 << r.randrange(8))]) + frame[at + 1 :]
    return frame


@cocotb.test()
@cocotb.parametrize(s_pause=["none", "some", "bursts"], m_pause=["none", "most", "bursts"])
async def stress(dut, s_pause, m_pause):
    """A mix of everything under each mix of stalls."""
    tb = TB(dut, s_pause, m_pause)
    await tb.reset()
    for _ in range(100):
        tb.send(any_frame(tb))
    await tb.check(timeout_us=8000)


@cocotb.test()
async def payload_lengths(dut):
    """Each payload length around the ends of beats, and the longest; with and without padding."""
    tb = TB(dut)
    await tb.reset()
    lengths = [*range(2 * tb.nbytes + 8), 1445, 1459, 1460]
    for n in lengths:
        for pad in (None, tb.rng.randrange(40)):
            payload = tb.rng.randbytes(n)
            frame = tb.peer.segment(tb.vfs[0], payload, pad=pad)
            tb.send(frame, "rx_segments" if len(frame) <= 1514 else "rx_drop_runt")
    await tb.check(20000)


@cocotb.test()
async def data_offsets(dut):
    """Every TCP header length under every IPv4 header length, payload behind it."""
    tb = TB(dut)
    await tb.reset()
    for ihl in range(5, 16):
        for doff in range(5, 16):
            options = [("NOP", None)] * (4 * (doff - 5))
            payload = tb.rng.randbytes(tb.rng.randrange(70))
            frame = tb.peer.segment(tb.vfs[0], payload, "PA", options, b"\x01" * (4 * (ihl - 5)))
            tb.send(frame, "rx_segments")
    await tb.check()


@cocotb.test()
async def truncated_at_every_length(dut):
    """A frame cut off anywhere is dropped, and the next good one passes."""
    tb = TB(dut)
    await tb.reset()
    syn = tb.peer.segment(tb.vfs[0], b"", "S", OPTIONS)
    data = tb.peer.segment(tb.vfs[0], tb.rng.randbytes(90), ip_options=b"\x01" * 8)
    arp = tb.peer.arp(tb.vfs[0])
    echo = tb.peer.echo(tb.vfs[0], tb.rng.randbytes(40))
    for frame in (syn, data, arp, echo):
        for n in range(1, len(frame)):
            verdict = tb.send(frame[:n])
            if frame in (syn, data, echo):
                assert verdict.counter in ("rx_drop_runt", "rx_drop_filter")
            if n % 3 == 0:
                tb.send_good(20)
    tb.send_good()
    await tb.check(20000)


@cocotb.test()
async def long_frames_truncated(dut):
    """Full frames cut off near beat ends, between good ones."""
    tb = TB(dut)
    await tb.reset()
    full = tb.peer.segment(tb.vfs[0], tb.rng.randbytes(1460))
    for n in [64, 127, 128, 129, 512, 1000, 1472, 1473, 1512, 1513]:
        tb.send(full[:n], "rx_drop_runt")
        tb.send(full, "rx_segments")
    await tb.check(20000)


@cocotb.test()
async def every_header_bit(dut):
    """A frame with any one bit of its headers wrong is dropped, or is what the model says it is."""
    tb = TB(dut)
    await tb.reset()
    frame = tb.peer.segment(tb.vfs[0], tb.rng.randbytes(30), "PA", OPTIONS[:3])
    for bit in range(8 * 66):
        broken = bytearray(frame)
        broken[bit // 8] ^= 1 << bit % 8
        # Only the sender's MAC address is not covered by a check.
        if not 48 <= bit < 96:
            assert judge(bytes(broken), tb.vfs).counter != "rx_segments"
        tb.send(bytes(broken))
        if bit % 5 == 0:
            tb.send_good(9)
    await tb.check(20000)


@cocotb.test()
async def every_payload_byte_is_summed(dut):
    """A wrong bit anywhere in the payload is found, also in the odd last byte."""
    tb = TB(dut)
    await tb.reset()
    for length in (1, 10, 11, 74, 75, 138, 139, 1459):
        frame = tb.peer.segment(tb.vfs[0], tb.rng.randbytes(length), pad=0)
        for at in {54, 54 + length - 1, *(54 + tb.rng.randrange(length) for _ in range(6))}:
            broken = bytearray(frame)
            broken[at] ^= 1 << tb.rng.randrange(8)
            tb.send(bytes(broken), "rx_drop_tcp_csum")
        tb.send(frame, "rx_segments")
    await tb.check(20000)


@cocotb.test()
async def length_lies(dut):
    """IHL, total length and data offset that lie, with checksums made right for the lie."""
    tb = TB(dut)
    await tb.reset()
    frame = tb.peer.segment(tb.vfs[0], tb.rng.randbytes(60))
    n = len(frame)
    for ihl in range(16):
        lie = fix_ip(frame, ihl=ihl) if ihl >= 5 else fix_ip(frame)
        if ihl < 5:
            lie = bytearray(lie)
            lie[14] = 0x40 | ihl
            lie[24:26] = b"\0\0"
            lie[24:26] = csum(bytes(lie[14 : 14 + 4 * ihl])).to_bytes(2, "big")
        tb.send(bytes(lie))
        tb.send_good(5)
    for total in [
        0,
        1,
        19,
        20,
        21,
        39,
        40,
        41,
        n - 15,
        n - 14,
        n - 13,
        n,
        1500,
        1501,
        0x7FFF,
        0xFFFF,
    ]:
        lie = fix_ip(frame, total=total)
        if 40 <= total <= n - 14:
            lie = fix_tcp(lie, end=14 + total)
        tb.send(lie)
        tb.send_good(5)
    for doff in range(16):
        lie = bytearray(frame)
        lie[46] = doff << 4 | lie[46] & 15
        verdict = tb.send(fix_tcp(bytes(lie)))
        assert (verdict.counter == "rx_drop_tcp_header") == (doff < 5)
        tb.send_good(5)
    short = tb.peer.segment(tb.vfs[0], b"")
    for doff in range(6, 16):
        lie = bytearray(short)
        lie[46] = doff << 4
        tb.send(fix_tcp(bytes(lie), end=54), "rx_drop_tcp_header")
        tb.send_good(5)
    for version in range(16):
        lie = bytearray(frame)
        lie[14] = version << 4 | 5
        tb.send(fix_ip(bytes(lie)) if version == 4 else bytes(lie))
    await tb.check(20000)


@cocotb.test()
async def fragments(dut):
    """First, middle and last fragments; DF alone is none."""
    tb = TB(dut)
    await tb.reset()
    frame = tb.peer.segment(tb.vfs[0], tb.rng.randbytes(64))
    for word in [0x2000, 0x2001, 0x0001, 0x1000, 0x1FFF, 0x3FFF, 0x6000, 0x4000, 0x0000]:
        changed = bytearray(frame)
        changed[20:22] = word.to_bytes(2, "big")
        tb.send(fix_ip(bytes(changed)), "rx_drop_fragment" if word & 0x3FFF else "rx_segments")
    await tb.check()


@cocotb.test()
async def oversize(dut):
    """Longer than the MTU, longer than any frame, much longer: dropped, and nothing overflows."""
    tb = TB(dut, "none", "some")
    await tb.reset()
    full = tb.peer.segment(tb.vfs[0], tb.rng.randbytes(1460))
    small = tb.peer.segment(tb.vfs[1], tb.rng.randbytes(536))
    for n in [1515, 1518, 1600, 2048, 4000, 9018, 17000]:
        tb.send(full + tb.rng.randbytes(n - len(full)), "rx_drop_runt")
        tb.send(full, "rx_segments")
        big = tb.peer.segment(tb.vfs[0], tb.rng.randbytes(n - 54))
        tb.send(big, "rx_drop_runt")
        tb.send(small, "rx_segments")
    tb.send(small + b"x", "rx_drop_runt")
    tb.send(tb.peer.segment(tb.vfs[1], tb.rng.randbytes(537)), "rx_drop_runt")
    tb.send(small, "rx_segments")
    await tb.check(60000)


@cocotb.test()
async def oversize_behind_waiting_frames(dut):
    """A giant frame is swallowed while the consumer stands still, and touches nothing that waits for it."""
    tb = TB(dut)
    tb.seg.pause = tb.pay.pause = lambda: True
    await tb.reset()
    for _ in range(3):
        tb.send_good(1460)
    tb.send(tb.peer.segment(tb.vfs[0], tb.rng.randbytes(20000)), "rx_drop_runt")
    tb.send_good(30)
    await cycles(dut, tb.source.pending() + 20)
    assert tb.stats["stat_rx_frames"] == 5
    tb.seg.pause = tb.pay.pause = lambda: False
    await tb.check(20000)


@cocotb.test()
async def filter_by_address(dut):
    """MAC and IP must be of the same enabled VF; a sender must be one that can be answered."""
    tb = TB(dut)
    await tb.reset()
    r = tb.rng
    for vf in tb.vfs:
        tb.send(tb.peer.segment(vf, b"x" * 9), "rx_segments" if vf.enabled else "rx_drop_filter")
        tb.send(
            tb.peer.echo(vf, b"x" * 9, pad=0), "rx_icmp_echo" if vf.enabled else "rx_drop_filter"
        )
    frame = tb.peer.segment(tb.vfs[0], r.randbytes(20))

    def changed(at, data):
        new = bytearray(frame)
        new[at : at + len(data)] = data
        return fix_tcp(fix_ip(bytes(new)))

    other = bytes(map(int, tb.vfs[1].ip.split(".")))
    own = bytes(map(int, tb.vfs[0].ip.split(".")))
    tb.send(changed(30, other), "rx_drop_filter")
    tb.send(changed(30, b"\xff\xff\xff\xff"), "rx_drop_filter")
    for source in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xe0\0\0\1", own):
        tb.send(changed(26, source), "rx_drop_filter")
    tb.send(changed(26, other), "rx_segments")
    tb.send(changed(6, b"\x03\0\0\0\0\1"), "rx_drop_filter")
    for mac in (b"\xff" * 6, b"\x01\0\x5e\0\0\1", b"\x33\x33\0\0\0\1", b"\0" * 6):
        tb.send(changed(0, mac), "rx_drop_filter")
    for etype in (b"\x86\xdd", b"\x81\0", b"\x88\xa8", b"\0\x40", b"\x08\x01"):
        tb.send(changed(12, etype), "rx_drop_proto")
    for proto in (0, 2, 17, 47, 132, 255):
        tb.send(changed(23, bytes([proto])), "rx_drop_proto")
    tb.send(frame, "rx_segments")
    await tb.check()

    # Of this card itself: a VF may talk to its own address.
    tb.forget()
    tb.local = True
    dut.rx_local.value = 1
    tb.send(changed(26, own), "rx_segments")
    tb.send(changed(26, b"\0\0\0\0"), "rx_drop_filter")
    tb.send(changed(30, other), "rx_drop_filter")
    await tb.check()


@cocotb.test()
async def configuration_changes(dut):
    """Addresses and enables apply to the next frame."""
    tb = TB(dut)
    await tb.reset()
    from dataclasses import replace

    from net.net_model import drive_config

    for step in range(6):
        for vf in tb.vfs:
            tb.send(tb.peer.segment(vf, b"hello"))
        await tb.check()
        on = step % len(tb.vfs)
        tb.vfs[on] = replace(tb.vfs[on], enabled=not tb.vfs[on].enabled, ip=f"10.9.{step}.1")
        drive_config(dut, tb.vfs)


@cocotb.test()
async def syn_options(dut):
    """MSS and window scale in any order; options that are wrong end the walk and harm nobody."""
    tb = TB(dut)
    await tb.reset()

    mss, scale = bytes.fromhex("020405b4"), bytes.fromhex("030307")
    good = [
        mss,
        scale,
        mss + scale,
        scale + mss,
        b"\1\1" + scale + b"\1\1\1" + mss,
        b"\1" * 33 + mss + scale,
    ]
    for raw in good:
        tb.send(with_options(tb, raw), "rx_segments")
        tb.send(with_options(tb, raw, "SA"), "rx_segments")
        tb.send(with_options(tb, raw, "A"), "rx_segments")
    assert tb.verdicts[-3].seg["mss"] == 1460
    assert tb.verdicts[-1].seg["mss"] == 0
    for raw in [
        b"\x02\x00" + mss,
        b"\x02\x01" + mss,
        b"\x05\x00" + scale,
        b"\x08\xff" + mss,
        b"\0" + mss,
        b"\x02\x03\x05" + scale,
        b"\x02\x05\x05\xb4\x00" + scale,
        b"\x03\x02" + mss,
        b"\x03\x03\xff" + mss,
        b"\x03\x03\x0f",
        b"\1\1\1\x02",
        b"\1\1\x02\x04",
        b"\1\x02\x04\x05",
        b"\x1e\x08\0\0\0\0\0\0" + mss + scale,
        mss + b"\x02\x04\x02\x18",
    ]:
        tb.send(with_options(tb, raw), "rx_segments")
    await tb.check(10000)


@cocotb.test()
async def fuzzed_options(dut):
    """Any bytes as options, with and without SYN, with payload behind them: parsed as the model does."""
    tb = TB(dut)
    await tb.reset()
    r = tb.rng
    known = [b"\2\4\5\xb4", b"\3\3\7", b"\4\2", b"\x08\x0a\0\1\2\3\4\5\6\7", b"\1"]
    known.append(b"\5\x12" + bytes(range(100, 116)))
    for _ in range(300):
        wrong = [bytes([r.randrange(256), r.randrange(12)]), r.randbytes(3)]
        raw = b"".join(r.choice(known + wrong) for _ in range(r.randrange(14)))
        payload = r.randbytes(r.choice([0, 0, 5, 70]))
        tb.send(with_options(tb, raw, r.choice(["S", "SA", "A", "FPA"]), payload), "rx_segments")
    await tb.check(20000)


@cocotb.test()
async def syn_with_data(dut):
    """A SYN may carry data."""
    tb = TB(dut, "none", "some")
    await tb.reset()
    for n in (1, 40, 700):
        tb.send(tb.peer.segment(tb.vfs[0], tb.rng.randbytes(n), "S", OPTIONS), "rx_segments")
    await tb.check()


@cocotb.test()
async def icmp(dut):
    """Echo requests are handed over; everything else of ICMP is dropped."""
    tb = TB(dut)
    await tb.reset()
    for n in (0, 1, 17, 56, 1471, 1472):
        tb.send(tb.peer.echo(tb.vfs[0], tb.rng.randbytes(n)), "rx_icmp_echo")
    good = tb.peer.echo(tb.vfs[0], tb.rng.randbytes(51))
    for at in range(34, len(good)):
        broken = bytearray(good)
        broken[at] ^= 1 << tb.rng.randrange(8)
        tb.send(bytes(broken), "rx_drop_icmp")
    for kind in (0, 3, 5, 11, 13):
        tb.send(tb.peer.echo(tb.vfs[0], b"x" * 30, type=kind), "rx_drop_icmp")
    tb.send(tb.peer.echo(tb.vfs[0], b"x" * 30, code=1), "rx_drop_icmp")
    tb.send(with_ip_options(good, b"\1\1\1\1"), "rx_drop_icmp")
    for total in (20, 24, 27):
        tb.send(fix_ip(good, total=total), "rx_drop_icmp")
    tb.send(good, "rx_icmp_echo")
    await tb.check()


@cocotb.test()
async def too_big(dut):
    """'Fragmentation needed' about a segment of this VF's is told; anything else like it is dropped."""
    tb = TB(dut)
    await tb.reset()
    r, vf = tb.rng, tb.vfs[0]

    def right(**fields):
        return tb.peer.ptb(vf, r.getrandbits(16), r.choice([0, 12, 200]), **fields)

    def changed(frame: bytes, at: int, data: bytes) -> bytes:
        """Other bytes, with both checksums made right."""
        new = bytearray(fix_ip(frame[: 14 + int.from_bytes(frame[16:18], "big")]))
        new[at : at + len(data)] = data
        start = 14 + 4 * (new[14] & 15)
        new[start + 2 : start + 4] = b"\0\0"
        new[start + 2 : start + 4] = csum(bytes(new[start:])).to_bytes(2, "big")
        return tb.peer.padded(bytes(new))

    async def one(frame: bytes, expect: str):
        tb.send(frame, expect)
        await tb.check()
        assert tb.ptb.empty()

    def told() -> int:
        return tb.ptb.received

    for other in tb.vfs:
        frame = tb.peer.ptb(other, 1280)
        tb.send(frame, "rx_ptb" if other.enabled else "rx_drop_filter")
        await tb.settle()
        assert told() == (1 if other.enabled else 0)
        await tb.check()
    for mtu in (0, 68, 1400, 65535):
        verdict = tb.send(tb.peer.ptb(vf, mtu), "rx_ptb")
        await tb.settle()
        assert verdict.ptb["mtu"] == mtu
        assert list(tb.ptb.queue) == [verdict.ptb]
        await tb.check()
    good = right()
    await one(with_ip_options(good, b"\1\1\1\1"), "rx_ptb")
    for at in range(34, 14 + int.from_bytes(good[16:18], "big")):
        broken = bytearray(good)
        broken[at] ^= 1 << r.randrange(8)
        tb.send(bytes(broken), "rx_drop_icmp")
    await tb.check()
    quoted = 42
    wrong = [
        (34, b"\x0b"),  # type
        (35, b"\3"),  # code
        (quoted, b"\x46"),  # IPv4 options
        (quoted, b"\x65"),
        (quoted + 6, b"\x20\1"),  # a later fragment
        (quoted + 7, b"\x80"),
        (quoted + 9, b"\x11"),  # UDP
        (quoted + 12, bytes(map(int, tb.vfs[1].ip.split(".")))),  # another VF's segment
        (quoted + 15, bytes([good[quoted + 15] ^ 1])),
    ]
    for at, data in wrong:
        await one(changed(right(), at, data), "rx_drop_icmp")
    # A first fragment, a TTL of 0, any header checksum of the quoted header: all as a router may see them.
    for at, data in [(quoted + 6, b"\x20\0"), (quoted + 8, b"\0"), (quoted + 10, b"\x12\x34")]:
        await one(changed(right(), at, data), "rx_ptb")
    whole = tb.peer.ptb(vf, 1400, 30)
    for total in range(20, 20 + 8 + 20 + 12):
        cut = changed(fix_ip(whole[: 14 + total]), 38, b"\0\0")
        await one(cut, "rx_ptb" if total >= 20 + 8 + 20 + 8 else "rx_drop_icmp")


@cocotb.test()
async def too_big_too_often(dut):
    """Never two pulses within 16 clocks, whatever comes; the rest is counted. After 16 clocks the next one passes."""
    tb = TB(dut)
    await tb.reset()
    at, clock = [], 0
    pulse = Signal(dut.ptb_valid)

    async def watch():
        nonlocal clock
        while True:
            await cycles(dut)
            clock += 1
            if pulse.get():
                at.append(clock)

    cocotb.start_soon(watch())
    for _ in range(60):
        tb.send(tb.peer.ptb(tb.vfs[0], tb.rng.getrandbits(16)), "rx_ptb")
    beats = -(-len(tb.sent[0]) // tb.nbytes)
    await tb.check()
    gaps = [b - a for a, b in zip(at, at[1:], strict=False)]
    # The first frame that comes 16 clocks behind the last one told.
    assert set(gaps) == {-(-16 // beats) * beats}


@cocotb.test()
async def arp_frames(dut):
    """Requests and replies for us, for others, and wrong ones."""
    tb = TB(dut)
    await tb.reset()
    p, vfs = tb.peer, tb.vfs
    stranger = Peer().arp(vfs[0], pdst="10.1.77.77")
    tb.send(stranger, "rx_drop_filter")
    for vf in vfs:
        for op in (1, 2):
            tb.send(p.arp(vf, op))
    tb.send(p.arp(vfs[0], 1, dst=vfs[1].mac), "rx_arp")
    tb.send(p.arp(vfs[0], 2, dst="ff:ff:ff:ff:ff:ff"), "rx_drop_filter")
    tb.send(p.arp(vfs[0], 2, hwdst="02:00:00:00:00:01"), "rx_drop_filter")
    tb.send(p.arp(vfs[0], 1, psrc=vfs[0].ip), "rx_arp")
    tb.send(p.arp(vfs[0], 1, psrc=vfs[1].ip, hwsrc=vfs[1].mac), "rx_arp")
    tb.send(p.arp(vfs[0], 1, psrc="0.0.0.0"), "rx_arp")
    wrong = [{"op": 3}, {"hwtype": 6}, {"ptype": 0x86DD}, {"hwlen": 8}, {"plen": 16}]
    wrong += [{"hwsrc": "ff:ff:ff:ff:ff:ff"}, {"hwsrc": "00:00:00:00:00:00"}]
    good = bytearray(p.arp(vfs[0]))
    for at in range(14, 22):
        bad = bytearray(good)
        bad[at] ^= 1 << tb.rng.randrange(2, 8)
        tb.send(bytes(bad), "rx_drop_proto")
    for sender in (b"\xff" * 6, b"\1\0\0\0\0\0", b"\0" * 6):
        bad = bytearray(good)
        bad[22:28] = sender
        tb.send(bytes(bad), "rx_drop_proto")
    tb.send(bytes(good[:42]), "rx_arp")
    tb.send(bytes(good[:41]), "rx_drop_runt")
    tb.send(bytes(good) + b"\0" * 1500, "rx_drop_runt")
    await tb.check()


@cocotb.test()
async def no_room_for_answers(dut):
    """With answers occupied, requests count as overflow; replies and segments are not concerned."""
    tb = TB(dut)
    await tb.reset()
    set_idle(dut, arp_room=0, echo_room=0)
    tb.send(tb.peer.arp(tb.vfs[0], 1))
    tb.send(tb.peer.echo(tb.vfs[0], b"abc"))
    tb.send(tb.peer.arp(tb.vfs[0], 2))
    tb.send_good()
    await tb.settle()
    assert tb.stats["stat_rx_drop_overflow"] == 2
    assert tb.stats["stat_rx_arp"] == 1
    assert tb.stats["stat_rx_icmp_echo"] == 0
    tb.check_segments()


@cocotb.test()
async def staging_full(dut):
    """With a stopped consumer at least four full frames are taken, then rx_ready falls; nothing is lost."""
    tb = TB(dut)
    tb.seg.pause = tb.pay.pause = lambda: True
    await tb.reset()
    for _ in range(12):
        tb.send_good(1460)
    await cycles(dut, 12 * (1514 // tb.nbytes + 10))
    taken = tb.stats["stat_rx_frames"]
    assert 4 <= taken < 12
    assert not int(dut.rx_ready.value)
    assert tb.source.pending()
    assert int(dut.busy.value)
    tb.seg.pause = tb.pay.pause = lambda: False
    await tb.check(20000)


@cocotb.test()
async def many_small_segments_wait(dut):
    """More segments without payload than the descriptor list holds: rx_ready falls, nothing is lost."""
    tb = TB(dut)
    tb.seg.pause = lambda: True
    await tb.reset()
    for i in range(40):
        tb.send_good(i % 3)
    await cycles(dut, 1200)
    assert 8 <= tb.stats["stat_rx_frames"] < 40
    tb.seg.pause = lambda: False
    await tb.check(20000)


@cocotb.test()
async def bad_frames_take_no_room(dut):
    """Ever more bad frames pass a full consumer by: they are rolled back, not stored."""
    tb = TB(dut)
    tb.seg.pause = tb.pay.pause = lambda: True
    await tb.reset()
    broken = bytearray(tb.peer.segment(tb.vfs[0], tb.rng.randbytes(1460)))
    broken[700] ^= 1
    tb.send_good(1460)
    for _ in range(20):
        tb.send(bytes(broken), "rx_drop_tcp_csum")
    tb.send_good(1460)
    await cycles(dut, 22 * (1514 // tb.nbytes + 8))
    assert tb.stats["stat_rx_frames"] == 22
    tb.seg.pause = tb.pay.pause = lambda: False
    await tb.check(20000)


@cocotb.test()
async def nothing_before_the_checksum(dut):
    """Neither descriptor nor payload shows before the last beat has come."""
    tb = TB(dut)
    await tb.reset()
    hold = [False]
    tb.source.pause = lambda: hold[0]
    tb.send_good(1460)
    beats = tb.source.pending()
    while tb.source.pending() > 1:
        await cycles(dut)
    assert beats > 1
    hold[0] = True
    await cycles(dut, 50)
    waiting = tb.source.pending()
    assert waiting <= 1
    if waiting:
        assert not int(dut.seg_valid.value)
        assert not int(dut.pay_valid.value)
        assert not tb.seg.received
    hold[0] = False
    await tb.check()


@cocotb.test()
@cocotb.parametrize(options=["none", "stamps", "stamps and sack"])
async def rate(dut, options):
    """A beat a clock, whatever the frames hold: taken at the bus bound, and handed on as fast."""
    tb = TB(dut)
    await tb.reset()
    await cycles(dut, 3)
    r = tb.rng
    lists = {
        "none": b"",
        "stamps": b"\1\1\x08\x0a" + r.randbytes(8),
        "stamps and sack": b"\1\1\x08\x0a" + r.randbytes(8) + b"\1\1\5\x12" + r.randbytes(16),
    }
    for payload in (0, 1, 6, 10, 64, 74, 256, 1420):
        n = 100
        for _ in range(n):
            tb.send(with_options(tb, lists[options], "A", r.randbytes(payload)), "rx_segments")
        beats = tb.source.pending()
        segments, clocks = tb.seg.received, 0
        while tb.stats["stat_rx_frames"] < n:
            await cycles(dut)
            clocks += 1
        # The driver and the counter pulse take three of them.
        assert clocks <= beats + 3, f"{clocks} clocks for {n} frames of {beats // n} beats"
        await cycles(dut, LATENCY)
        assert tb.seg.received - segments == n
        cocotb.log.info(
            f"rate: W={8 * tb.nbytes} {options} payload={payload}: {clocks / n} clocks a frame"
        )
        await tb.check(20000)


@cocotb.test()
async def rate_of_others(dut):
    """ARP, ping, wrong frames and 'fragmentation needed' do not slow segments down either."""
    tb = TB(dut)
    await tb.reset()
    await cycles(dut, 3)
    r = tb.rng
    for _ in range(60):
        broken = bytearray(tb.peer.segment(tb.vfs[0], r.randbytes(70)))
        broken[60] ^= 1
        tb.send(bytes(broken), "rx_drop_tcp_csum")
        tb.send_good(6)
        tb.send(tb.peer.arp(tb.vfs[0]), "rx_arp")
        tb.send(tb.peer.echo(tb.vfs[0], b""), "rx_icmp_echo")
        tb.send(tb.peer.ptb(tb.vfs[0]), "rx_ptb")
        tb.send(tb.peer.segment(tb.vfs[0], b"", "S", OPTIONS), "rx_segments")
    n, beats, clocks = len(tb.sent), tb.source.pending(), 0
    while tb.stats["stat_rx_frames"] < n:
        await cycles(dut)
        clocks += 1
    assert clocks <= beats + 3
    await tb.check()


@cocotb.test()
async def latency(dut):
    """From the last beat of a frame to its descriptor, its payload, its counter, its ARP and ICMP pulses."""
    tb = TB(dut)
    await tb.reset()
    fields = {"rx": [Signal(getattr(dut, f"rx_{n}")) for n in ("valid", "ready", "last")]}
    watched = {
        n: Signal(getattr(dut, n)) for n in ("seg_valid", "pay_valid", "arp_valid", "ptb_valid")
    }

    async def clocks_to(name: str, frame: bytes) -> int:
        tb.send(frame)
        while not all(f.get() for f in fields["rx"]):
            await cycles(dut)
        clocks = 0
        while not watched[name].get():
            await cycles(dut)
            clocks += 1
        await tb.settle()
        return clocks

    vf = tb.vfs[0]
    options = [("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]
    assert await clocks_to("seg_valid", tb.peer.segment(vf)) == LATENCY
    assert await clocks_to("seg_valid", tb.peer.segment(vf, b"x" * 1400, "A", options)) == LATENCY
    assert await clocks_to("seg_valid", tb.peer.segment(vf, b"", "S", OPTIONS)) == LATENCY
    assert await clocks_to("pay_valid", tb.peer.segment(vf, b"x" * 10)) == LATENCY + 2
    assert await clocks_to("arp_valid", tb.peer.arp(vf)) == LATENCY - 1
    assert await clocks_to("ptb_valid", tb.peer.ptb(vf)) == LATENCY
    await tb.check()


@cocotb.test()
async def reset_mid_traffic(dut):
    """A reset at any moment leaves nothing behind."""
    tb = TB(dut, "some", "bursts")
    for _ in range(25):
        await tb.reset()
        for _ in range(8):
            tb.send(any_frame(tb))
        await cycles(dut, tb.rng.randrange(1, 400))
    await tb.reset()
    await cycles(dut, 5)
    assert not int(dut.busy.value)
    assert tb.seg.empty()
    assert tb.pay.empty()
    for _ in range(10):
        tb.send(any_frame(tb))
    tb.source.pause = PAUSES["none"](rng("x"))
    await tb.check(8000)


@pytest.mark.parametrize("w", [64, 512])
def test_nk_net_rx(w):
    run_module("nk_net_rx", __file__, {"W": w, "NVF": 4})


@pytest.mark.parametrize("w", [128, 256])
def test_nk_net_rx_other_widths(w):
    run_module(
        "nk_net_rx",
        __file__,
        {"W": w, "NVF": 2},
        testcase="stress|data_offsets|payload_lengths|rate|latency|fuzzed_options|too_big_too",
    )
