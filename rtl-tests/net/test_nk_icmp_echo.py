# SPDX-License-Identifier: Apache-2.0
"""nk_icmp_echo: the reply to each request against one that scapy makes anew."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import with_timeout
from common.runner import run_module
from common.stream import PAUSES, FrameSink, beats, cycles, params, reset, rng, start_clock
from net.net_model import Peer, csum, echo_reply, make_vfs


def same_but_zero(got: bytes, want: bytes) -> bool:
    """Equal, but for an ICMP checksum of ffff where scapy writes 0: both are right, ffff always."""
    if want[36:38] == b"\0\0":
        want = want[:36] + b"\xff\xff" + want[38:]
    if got[36:38] == b"\0\0":
        return False
    return got == want


class TB:
    def __init__(self, dut, m_pause="none"):
        self.dut = dut
        self.rng = rng("echo")
        self.nbytes = params()["W"] // 8
        self.vf = make_vfs(1)[0]
        self.peer = Peer(rng=self.rng)
        start_clock(dut)
        for name in ("tap_valid", "tap_first", "tap_data", "echo_valid", "echo_hdr", "echo_len"):
            getattr(dut, name).value = 0
        self.sink = FrameSink(dut, "m", pause=PAUSES[m_pause](rng("pause")))

    async def reset(self):
        self.dut.tap_valid.value = 0
        self.dut.echo_valid.value = 0
        await reset(self.dut)
        self.sink.clear()

    async def frame(self, frame: bytes, verdict=True, gaps=0.0) -> bool:
        """Show a frame as nk_net_rx does; True when the request was taken."""
        d = self.dut
        total = 14 + int.from_bytes(frame[16:18], "big")
        # Nothing but the datagram: bytes before and behind are 0.
        masked = bytes(14) + frame[14:total] + bytes(len(frame) - total)
        taken = False
        for i, (data, last, _) in enumerate(beats(masked, self.nbytes)):
            while self.rng.random() < gaps:
                await cycles(d)
            d.tap_valid.value = 1
            d.tap_first.value = int(i == 0)
            d.tap_data.value = data
            if last and verdict:
                d.echo_valid.value = 1
                d.echo_hdr.value = int.from_bytes(frame[:38], "little")
                d.echo_len.value = total
            await cycles(d)
            taken = bool(last and verdict and int(d.echo_room.value))
            d.tap_valid.value = 0
            d.tap_first.value = self.rng.getrandbits(1)
            d.echo_valid.value = 0
        d.tap_data.value = self.rng.getrandbits(8 * self.nbytes)
        return taken

    async def expect(self, request: bytes):
        total = 14 + int.from_bytes(request[16:18], "big")
        got = await with_timeout(self.sink.recv(), 100, "us")
        want = echo_reply(request[:total])
        assert same_but_zero(got, want), f"\n got {got.hex()}\nwant {want.hex()}"
        assert not csum(got[34:total])
        await cycles(self.dut, 3)
        assert self.sink.empty()


@cocotb.test()
@cocotb.parametrize(m_pause=list(PAUSES))
async def every_size(dut, m_pause):
    """From no data to the MTU; padding holds nothing of the frames before."""
    tb = TB(dut, m_pause)
    await tb.reset()
    for n in [1472, *range(0, 90, 3 if m_pause != "none" else 1), 500, 1471, 1472, 0]:
        request = tb.peer.echo(tb.vf, tb.rng.randbytes(n), pad=tb.rng.choice([None, 0]))
        assert await tb.frame(request, gaps=0.1)
        await tb.expect(request)


@cocotb.test()
async def checksum_ends(dut):
    """Sums that end at 0 and at ffff, and every TTL."""
    tb = TB(dut)
    await tb.reset()
    requests = [tb.peer.echo(tb.vf, bytes(n), id=0, seq=0) for n in (0, 1, 8, 100)]
    requests += [tb.peer.echo(tb.vf, b"\xff" * n, id=0xFFFF, seq=0xFFFF) for n in (0, 1, 8)]
    requests += [
        tb.peer.echo(tb.vf, b"", id=i, seq=0xF7FF - i + d) for i in (0, 7) for d in (-1, 0, 1)
    ]
    requests += [tb.peer.echo(tb.vf, b"x") for _ in range(300)]
    for request in requests:
        assert await tb.frame(request)
        await tb.expect(request)


@cocotb.test()
async def one_at_a_time(dut):
    """While a reply waits no other request is taken, nor a part of a frame that began before it left."""
    tb = TB(dut)
    await tb.reset()
    tb.sink.pause = lambda: True
    first, second = (tb.peer.echo(tb.vf, tb.rng.randbytes(700)) for _ in range(2))
    assert await tb.frame(first)
    assert not await tb.frame(second)
    assert int(dut.busy.value)
    # The reply leaves while the next request is arriving: too late for that one.
    task = cocotb.start_soon(tb.frame(second, gaps=0.9))
    await cycles(dut, 20)
    tb.sink.pause = lambda: False
    await tb.expect(first)
    assert not await task
    await cycles(dut, 20)
    assert tb.sink.empty()
    assert await tb.frame(second)
    await tb.expect(second)


@cocotb.test()
async def next_frame_at_once(dut):
    """Whatever follows in the next clock leaves the request alone."""
    tb = TB(dut)
    await tb.reset()
    tb.sink.pause = lambda: True
    for n in (0, 4, 18, 22, 60, 300, 1472):
        request = tb.peer.echo(tb.vf, tb.rng.randbytes(n))
        assert await tb.frame(request)
        assert not await tb.frame(tb.peer.echo(tb.vf, tb.rng.randbytes(n)))
        await tb.frame(tb.peer.segment(tb.vf, tb.rng.randbytes(100)), verdict=False)
        tb.sink.pause = lambda: False
        await tb.expect(request)
        tb.sink.pause = lambda: True


@cocotb.test()
async def other_frames_leave_no_trace(dut):
    """Frames without a verdict are overwritten by the next; padding that a request lacks shows none of them."""
    tb = TB(dut)
    await tb.reset()
    for _ in range(10):
        await tb.frame(
            tb.peer.segment(tb.vf, tb.rng.randbytes(tb.rng.randrange(40, 1460))), verdict=False
        )
        request = tb.peer.echo(tb.vf, tb.rng.randbytes(tb.rng.randrange(30)), pad=0)
        assert await tb.frame(request)
        await tb.expect(request)


@cocotb.test()
async def reset_mid_traffic(dut):
    """A reset drops the frame held."""
    tb = TB(dut, "most")
    for _ in range(20):
        await tb.reset()
        await tb.frame(tb.peer.echo(tb.vf, tb.rng.randbytes(200)))
        await cycles(dut, tb.rng.randrange(1, 40))
    await tb.reset()
    await cycles(dut, 5)
    assert not int(dut.busy.value)
    assert tb.sink.empty()
    request = tb.peer.echo(tb.vf, b"after")
    assert await tb.frame(request)
    await tb.expect(request)


@pytest.mark.parametrize("w", [64, 128, 512])
def test_nk_icmp_echo(w):
    run_module("nk_icmp_echo", __file__, {"W": w})
