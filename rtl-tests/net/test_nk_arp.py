# SPDX-License-Identifier: Apache-2.0
"""nk_arp: answers, requests and what is learned, against frames that scapy makes."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import with_timeout
from common.runner import run_module
from common.stream import (
    PAUSES,
    FrameSink,
    Pulses,
    Signal,
    WordSink,
    WordSource,
    cycles,
    params,
    reset,
    rng,
    start_clock,
)
from net.net_model import arp_frame, drive_config, ip_str, mac_str, make_vfs

EVENT = ("mine", "request", "vf", "sha", "spa", "forged")
BCAST = "ff:ff:ff:ff:ff:ff"


class TB:
    def __init__(self, dut, m_pause="none"):
        self.dut = dut
        self.rng = rng("arp")
        self.vfs = make_vfs(params()["NVF"])
        start_clock(dut)
        drive_config(dut, self.vfs)
        self.event = WordSource(dut, "arp", EVENT)
        self.req = WordSource(dut, "arp_req", ("vf", "ip"))
        self.learn = WordSink(dut, "ln", ("create", "ip", "mac"))
        self.sink = FrameSink(dut, "m", pause=PAUSES[m_pause](rng("pause")))
        self.local = Signal(dut.m_local)
        self.stats = Pulses(dut, ["stat_tx_arp_requests", "stat_tx_arp_replies"])

    async def reset(self):
        await reset(self.dut)
        self.learn.clear()
        self.sink.clear()
        for name in self.stats.count:
            self.stats.count[name] = 0

    def random_event(self, **fields):
        r = self.rng
        event = {
            "mine": 1,
            "request": 1,
            "vf": r.randrange(len(self.vfs)),
            "sha": r.getrandbits(48) & ~(1 << 40),
            "spa": r.randrange(0x01000000, 0xE0000000),
            "forged": 0,
        }
        return {**event, **fields}

    def reply_to(self, e):
        vf = self.vfs[e["vf"]]
        return arp_frame(vf, 2, mac_str(e["sha"]), mac_str(e["sha"]), ip_str(e["spa"]))

    def request(self, vf, ip):
        return arp_frame(self.vfs[vf], 1, BCAST, "00:00:00:00:00:00", ip_str(ip))

    async def recv(self):
        return await with_timeout(self.sink.recv(), 20, "us")


@cocotb.test()
@cocotb.parametrize(m_pause=["none", "most", "bursts"])
async def answers(dut, m_pause):
    """Each request for a VF is answered with that VF's addresses, a probe too."""
    tb = TB(dut, m_pause)
    await tb.reset()
    for i in range(40):
        event = tb.random_event(spa=0) if i % 8 == 0 else tb.random_event()
        tb.event.send(event)
        assert await tb.recv() == tb.reply_to(event)
    assert tb.stats["stat_tx_arp_replies"] == 40
    assert tb.stats["stat_tx_arp_requests"] == 0


@cocotb.test()
@cocotb.parametrize(m_pause=["none", "most"])
async def requests(dut, m_pause):
    """Requests go out as they were asked for."""
    tb = TB(dut, m_pause)
    await tb.reset()
    asked = [(tb.rng.randrange(len(tb.vfs)), tb.rng.getrandbits(32)) for _ in range(30)]
    for vf, ip in asked:
        tb.req.send({"vf": vf, "ip": ip})
    for vf, ip in asked:
        assert await tb.recv() == tb.request(vf, ip)
    await cycles(dut, 5)
    assert tb.stats["stat_tx_arp_requests"] == 30
    assert not int(dut.busy.value)


@cocotb.test()
async def both(dut):
    """Answers and requests mixed: each comes out once, whole."""
    tb = TB(dut, "some")
    await tb.reset()
    want = []
    for _ in range(40):
        vf, ip = tb.rng.randrange(len(tb.vfs)), tb.rng.getrandbits(32)
        tb.req.send({"vf": vf, "ip": ip})
        want.append(tb.request(vf, ip))
        while not int(dut.arp_room.value):
            await cycles(dut)
        event = tb.random_event()
        tb.event.send(event)
        want.append(tb.reply_to(event))
        await cycles(dut, 3)
    got = [await tb.recv() for _ in want]
    assert sorted(got) == sorted(want)


@cocotb.test()
async def room(dut):
    """Requests in a row are answered, four beside the one being sent; `arp_room` says when another would be lost."""
    tb = TB(dut)
    await tb.reset()
    tb.sink.pause = lambda: True
    events = [tb.random_event() for _ in range(6)]
    for event in events:
        tb.event.send(event)
    await tb.event.idle()
    await cycles(dut, 4)
    assert not int(dut.arp_room.value)
    tb.sink.pause = lambda: False
    for event in events[:5]:
        assert await tb.recv() == tb.reply_to(event)
    await cycles(dut, 20)
    assert tb.sink.empty()
    assert int(dut.arp_room.value)
    assert not int(dut.busy.value)


@cocotb.test()
async def learning(dut):
    """Senders that can exist are learned; entries are made only for frames meant for us."""
    tb = TB(dut)
    await tb.reset()
    want = []
    for i in range(200):
        event = tb.random_event(
            mine=tb.rng.getrandbits(1), request=tb.rng.getrandbits(1), forged=int(i % 9 == 0)
        )
        if i % 7 == 0:
            event["spa"] = tb.rng.choice([0, 0xFFFFFFFF, 0xE0000001, 0xEFFFFFFF, 0xF0000000])
        tb.event.send(event)
        if event["spa"] and event["spa"] < 0xE0000000 and not event["forged"]:
            want.append({"create": event["mine"], "ip": event["spa"], "mac": event["sha"]})
    await tb.event.idle()
    await cycles(dut, 4)
    assert list(tb.learn.queue) == want


@cocotb.test()
async def reset_mid_traffic(dut):
    """A reset drops what waits."""
    tb = TB(dut, "most")
    for _ in range(15):
        await tb.reset()
        tb.event.send(tb.random_event())
        tb.req.send({"vf": 0, "ip": 1})
        await cycles(dut, tb.rng.randrange(1, 20))
    await tb.reset()
    await cycles(dut, 4)
    assert tb.sink.empty()
    assert not int(dut.busy.value)
    event = tb.random_event()
    tb.event.send(event)
    assert await tb.recv() == tb.reply_to(event)


@cocotb.test()
async def requests_for_a_vf_here(dut):
    """A request for the address of an enabled VF is marked, no other request and no answer."""
    tb = TB(dut)
    await tb.reset()
    enabled = int(dut.cfg_en.value)
    for vf, v in enumerate(tb.vfs):
        address = int.from_bytes(bytes(map(int, v.ip.split("."))), "big")
        for ip in (address, address ^ 1 << 31):
            tb.req.send({"vf": vf, "ip": ip})
            assert await tb.recv() == tb.request(vf, ip)
            here = any(
                enabled >> n & 1 and ip_str(ip) == other.ip for n, other in enumerate(tb.vfs)
            )
            assert bool(tb.local.get()) == here, ip_str(ip)
        event = tb.random_event(spa=address)
        tb.event.send(event)
        assert await tb.recv() == tb.reply_to(event)
        assert not tb.local.get()


@pytest.mark.parametrize("w", [64, 256, 512])
def test_nk_arp(w):
    run_module("nk_arp", __file__, {"W": w, "NVF": 5})
