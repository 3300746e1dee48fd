# SPDX-License-Identifier: Apache-2.0
"""nk_core: identity, registers, enabling VFs, ARP and ping."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from core.core_tb import BUILD_ID, TB, run_core, vf_ip, vf_mac
from model import frames as fr
from netkernel import abi
from netkernel.abi import PF, QS, VF, VFE


@cocotb.test()
async def identity(dut):
    """PF and VFs say what they are, and the PF's timers have their documented reset values."""
    tb = TB(dut)
    await tb.start()
    p = tb.params
    for func in range(p["NVF"] + 1):
        assert await tb.shim.read(func, PF.MAGIC) == abi.MAGIC
        assert await tb.shim.read(func, PF.ABI_VERSION) == abi.ABI_VERSION
        assert await tb.shim.read(func, PF.BUILD_ID) == BUILD_ID
        caps = await tb.shim.read(func, PF.CAPS)
        assert PF.CAPS_QUEUE_SETS.get(caps) == p["NQS"]
        assert PF.CAPS_VFS.get(caps) == p["NVF"]
        assert PF.CAPS_BUS_BYTES.get(caps) == p["W"] // 8
        assert 1 << PF.CAPS_FLOWS_LOG2.get(caps) == p["FLOWS"]
        function = await tb.shim.read(func, PF.FUNCTION)
        assert PF.FUNCTION_IS_PF.get(function) == (func == 0)
        assert PF.FUNCTION_VM_ID.get(function) == max(0, func - 1)
    for name, value in abi.PF_RESET.items():
        assert await tb.pf_read(getattr(PF, name)) == (0 if name == "HASH_KEY" else value), name
    await tb.finish()


@cocotb.test()
async def vf_configuration(dut):
    """A VF reads what the PF gave it; the entry is locked while enabled, free again afterwards."""
    tb = TB(dut)
    await tb.start(sockets=32)
    mac = vf_mac(0)
    for reg, want in (
        (VF.MAX_SOCKETS, 32),
        (VF.MAC_LO, mac & 0xFFFFFFFF),
        (VF.MAC_HI, mac >> 32),
        (VF.IPV4, vf_ip(0)),
        (VF.NETMASK, 0xFFFF0000),
        (VF.GATEWAY, fr.ip("10.1.0.1")),
        (VF.MTU, 1500),
    ):
        assert await tb.vf_read(0, reg) == want, hex(reg)
    await tb.pf_write(PF.VF_BASE + VFE.IPV4, 0x01020304)
    assert await tb.vf_read(0, VF.IPV4) == vf_ip(0), "written while the VF is enabled"
    await tb.finish(counters=False)


@cocotb.test()
async def vf_needs_the_pf(dut):
    """A VF that the PF has not enabled stays off, whatever its tenant writes."""
    tb = TB(dut)
    await tb.start()
    assert await tb.vf_read(1, VF.STATUS) == 0
    await tb.vf_write(1, VF.REGION_PAGES, 64)
    await tb.vf_write(1, VF.CTRL, 1)
    assert await tb.vf_read(1, VF.STATUS) == 0
    assert await tb.vf_read(1, VF.CTRL) & 1 == 0
    await tb.finish(counters=False)


@cocotb.test()
async def vf_needs_a_region(dut):
    tb = TB(dut)
    tb.shim.start()
    await tb.shim.reset()
    await tb.program(1, 16)
    await tb.vf_write(0, VF.CTRL, 1)
    assert await tb.vf_read(0, VF.STATUS) == 1
    await tb.add_tenant(0, sockets=16)
    await tb.vf_write(0, VF.REGION_PAGES, 7)
    assert await tb.vf_read(0, VF.REGION_PAGES) == 1024, "the region changed under an enabled VF"
    await tb.finish(counters=False)


@cocotb.test()
async def vf_range_outside_the_table_is_refused(dut):
    tb = TB(dut)
    tb.shim.start()
    await tb.shim.reset()
    await tb.pf_write(PF.VF_BASE + VFE.SOCKET_BASE, tb.params["FLOWS"] - 8)
    await tb.pf_write(PF.VF_BASE + VFE.SOCKET_COUNT, 9)
    await tb.pf_write(PF.VF_BASE + VFE.CTRL, 1)
    assert await tb.vf_read(0, VF.STATUS) == 0
    await tb.pf_write(PF.VF_BASE + VFE.SOCKET_COUNT, 8)
    await tb.pf_write(PF.VF_BASE + VFE.CTRL, 1)
    assert await tb.vf_read(0, VF.STATUS) == 1


@cocotb.test()
async def queue_set_rings_must_lie_in_the_region(dut):
    tb = TB(dut)
    tenant = await tb.start(pages=256, queue_sets=1)
    good = dict(tenant.queue_set_writes(tenant.qs[0]))
    ctrl = VF.QS_BASE + QS.CTRL
    for reg, bad in (
        (QS.JOB_BASE, 256),
        (QS.COMPLETION_BASE, 0xFFFFFFFF),
        (QS.SEND_BASE, 1 << 20),
        (QS.RECEIVE_BASE, 256),
        (QS.STATUS_BASE, 256),
        (QS.SIZES, 0x0606_0605),
        (QS.SIZES, 0x1106_0606),
        (QS.SIZES, 0x1010_1010),
    ):
        at = VF.QS_BASE + reg
        await tb.vf_write(0, ctrl, 0)
        await tb.vf_write(0, at, bad)
        await tb.vf_write(0, ctrl, 1)
        assert await tb.vf_read(0, ctrl) == 0, f"register {reg:#x} = {bad:#x} was accepted"
        await tb.vf_write(0, at, good[at])
    await tb.vf_write(0, ctrl, 1)
    assert await tb.vf_read(0, ctrl) == 1
    await tb.finish(counters=False)


@cocotb.test()
async def unknown_registers(dut):
    """No register: reads give 0, writes change nothing, both are counted."""
    tb = TB(dut)
    await tb.start()
    before = await tb.counter("mmio_errors")
    for func, addr in ((0, 0x7C), (0, 0x1FFFC), (1, 0x3C), (1, 0xFFFC), (1, 0x1F00)):
        assert await tb.shim.read(func, addr) == 0, hex(addr)
        await tb.shim.write(func, addr, 0xFFFFFFFF)
    assert await tb.counter("mmio_errors") == before + 10
    tb.expected["mmio_errors"] = before + 10
    await tb.finish()


@cocotb.test()
async def arp(dut):
    """The card answers for enabled VFs and no other address, and learns who asked."""
    tb = TB(dut)
    await tb.start(vfs=2)
    raw = tb.raw()
    replies: list[fr.Frame] = []
    keep = raw.input

    def watch(frame: bytes, now: int) -> None:
        f = fr.parse(frame)
        if f.kind == "arp" and f.op == 2:
            replies.append(f)
            assert len(frame) == 60
        keep(frame, now)

    raw.input = watch  # type: ignore[method-assign]
    for vf in (0, 1, 2):
        tb.to_card(fr.arp(1, raw.mac, raw.ip, 0, vf_ip(vf)) + bytes(18))
    await tb.sleep(2000)
    got = [(f.dst, f.sha, f.spa, f.tha, f.tpa) for f in replies]
    assert got == [(raw.mac, vf_mac(v), vf_ip(v), raw.mac, raw.ip) for v in (0, 1)]
    entries = []
    for i in range(256):
        await tb.pf_write(PF.NEIGH_INDEX, i)
        high = await tb.pf_read(PF.NEIGH_MAC_HI)
        if high >> 31:
            entries.append((await tb.pf_read(PF.NEIGH_IP), (high & 0xFFFF) << 32
                            | await tb.pf_read(PF.NEIGH_MAC_LO)))  # fmt: skip
        if entries:
            break
    assert entries == [(raw.ip, raw.mac)]
    await tb.finish()


@cocotb.test()
async def ping(dut):
    """Echo replies repeat the data, whatever its size; both VFs answer."""
    tb = TB(dut)
    await tb.start(vfs=2)
    want = []
    for size in (0, 1, 2, 7, 8, 17, 18, 19, 22, 23, 56, 63, 64, 100, 511, 1000, 1472):
        for vf in (0, 1):
            data = tb.rng.randbytes(size)
            tb.host.ping(vf_ip(vf), data)
            want.append((vf_ip(vf), data))
            tb.collect()
            await tb.until(lambda: len(tb.host.pongs) == len(want), what=f"pong of {size} bytes")
    assert tb.host.pongs == want
    c = await tb.finish()
    assert c["rx_icmp_echo"] == len(want)


@cocotb.test()
async def pings_faster_than_answers(dut):
    """One request at a time is held: those that come meanwhile are dropped and counted."""
    tb = TB(dut)
    await tb.start()
    tb.host.ping(vf_ip(0), b"first")
    tb.collect()
    await tb.until(lambda: len(tb.host.pongs) == 1)
    for i in range(20):
        tb.host.ping(vf_ip(0), bytes([i]) * 1000)
    tb.collect()
    await tb.sleep(10_000)
    c = await tb.finish()
    assert c["rx_icmp_echo"] == len(tb.host.pongs) >= 2
    assert c["rx_icmp_echo"] + c["rx_drop_icmp"] + c["rx_drop_overflow"] == 21
    assert all(data == data[:1] * 1000 for _, data in tb.host.pongs[1:])


@cocotb.test()
async def strangers_are_filtered(dut):
    """Frames for other MACs, other addresses or disabled VFs vanish, counted."""
    tb = TB(dut)
    await tb.start(vfs=1)
    host = tb.host
    echo = fr.icmp(8, 0, b"\0\1\0\1data")
    before = await tb.counter("rx_drop_filter")
    for dst_mac, dst_ip in (
        (vf_mac(1), vf_ip(1)),
        (vf_mac(0), vf_ip(1)),
        (0x020304050607, vf_ip(0)),
    ):
        packet = fr.ipv4(host.ip, dst_ip, fr.IP_ICMP, echo)
        tb.to_card(fr.ethernet(dst_mac, host.mac, fr.ETH_IPV4, packet))
    await tb.sleep(2000)
    assert not host.pongs
    assert await tb.counter("rx_drop_filter") == before + 3
    await tb.finish()


@cocotb.test()
async def time_is_the_tick(dut):
    """The card's time is the input, not its clock."""
    tb = TB(dut, start_us=123_456)
    await tb.start()
    await tb.sleep(1000)
    seen = await tb.pf_read(PF.NOW_US)
    assert abs(seen - tb.now) <= 2
    clocks = await tb.counter("clocks")
    for _ in range(50):
        await RisingEdge(dut.clk)
    assert await tb.counter("clocks") > clocks
    await tb.finish()


def test_nk_core_bringup():
    run_core(__file__)


@pytest.mark.slow
def test_nk_core_bringup_w64():
    run_core(__file__, 64, "identity|arp|ping")
