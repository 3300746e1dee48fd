# SPDX-License-Identifier: Apache-2.0
"""nk_regs against a register model in Python, with a fake queue manager, engine and counters around it."""

from __future__ import annotations

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from common.runner import run_module
from common.stream import Pulses, Signal, cycles, params, reset, rng, start_clock
from netkernel import abi
from netkernel.abi import DB, NSM, PF, VF, VFE

M32 = (1 << 32) - 1
BUILD = 0xC0FFEE01

# What may be written at any time -> port, width of the register, reset value.
SHARES = {
    "MAX_TX_RATE": ("cfg_tx_max", 20, 0),
    "MIN_TX_RATE": ("cfg_tx_min", 20, 0),
    "MAX_RX_RATE": ("cfg_rx_max", 20, 0),
    "NQE_RATE": ("cfg_nqe_rate", 32, 0),
    "BURST": ("cfg_burst", 32, 64 << 16 | 64),
    "LIMITS": ("cfg_limits", 32, M32),
}


class TB:
    """MMIO master, and everything that nk_regs asks: queue registers, counters, flushes."""

    def __init__(self, dut):
        self.dut, self.r = dut, rng("regs")
        p = params()
        self.nvf, self.nqs, self.flows, self.w = p["NVF"], p["NQS"], p["FLOWS"], p["W"]
        names = [
            "mmio_valid",
            "mmio_ready",
            "mmio_func",
            "mmio_write",
            "mmio_addr",
            "mmio_wdata",
            "mmio_rvalid",
            "mmio_rdata",
            "qreg_valid",
            "qreg_ready",
            "qreg_vf",
            "qreg_qs",
            "qreg_db",
            "qreg_ofs",
            "qreg_write",
            "qreg_wdata",
            "qreg_rvalid",
            "qreg_rdata",
            "qreg_err",
            "stop_vf_valid",
            "stop_vf",
            "stop_vf_done",
            "flush_valid",
            "flush_ready",
            "flush_vf",
            "flush_done",
            "gs_raddr",
            "gs_rdata",
            "os_raddr",
            "os_rdata",
            "vs_req",
            "vs_addr",
            "vs_valid",
            "vs_data",
            "nb_index",
            "nb_ip",
            "nb_mac",
            "nb_valid",
            "busy",
            "flows_in_use",
            "hash_in_use",
            "now_us",
            "vf_sockets",
            "cfg_en",
            "cfg_mac",
            "cfg_ip",
            "cfg_mask",
            "cfg_gw",
            "cfg_mtu",
            "cfg_nsm",
            "nsm_ctrl",
            "nsm_prm",
            "cfg_sock_base",
            "cfg_sock_count",
            "vf_enabled",
            "vf_resetting",
            "region_base",
            "region_pages",
            "hash_key",
            "db_valid",
            "db_ready",
            "db_vf",
            "db_qs",
            "db_ofs",
            "db_wdata",
            "qc_req",
            "qc_vf",
            "qc_qs",
            "qc_index",
            "qc_valid",
            "qc_data",
            *(port for port, _, _ in SHARES.values()),
            "cfg_vlan",
            "cfg_vni",
            "cfg_remote",
        ]
        self.s = {n: Signal(getattr(dut, n)) for n in names}
        self.errors = Pulses(dut, ["stat_mmio_errors"])
        self.qlog: list[tuple[int, ...]] = []
        self.q_bad = False
        self.db_pause = 0.5
        self.vf_counter = {}
        self.steps: list[tuple[str, int]] = []
        self.hold = {"stop": 0, "flush": 0}
        self.tasks = []
        start_clock(dut)

    async def queue_manager(self):
        s, edge = self.s, RisingEdge(self.dut.clk)
        while True:
            await edge
            s["qreg_rvalid"].set(0)
            if s["qreg_valid"].get() and s["qreg_ready"].last:
                got = tuple(
                    s[f"qreg_{n}"].get() for n in ("vf", "qs", "db", "ofs", "write", "wdata")
                )
                self.qlog.append(got)
                s["qreg_ready"].set(0)
                await cycles(self.dut, self.r.randint(0, 12))
                s["qreg_rdata"].set(got[0] << 24 | got[1] << 16 | got[2] << 8 | got[3])
                s["qreg_err"].set(int(self.q_bad))
                s["qreg_rvalid"].set(1)
                continue
            s["qreg_ready"].set(self.r.randint(0, 1))
            s["qreg_err"].set(self.r.randint(0, 1))

    async def doorbells(self):
        """Takes doorbells whenever it likes; what is offered stays until then."""
        s, edge = self.s, RisingEdge(self.dut.clk)
        names = ("vf", "qs", "ofs", "wdata")
        waits = None
        while True:
            await edge
            now = tuple(s[f"db_{n}"].get() for n in names) if s["db_valid"].get() else None
            assert waits in (None, now), "a doorbell changed while it waited"
            waits = now
            if now is not None and s["db_ready"].last:
                self.qlog.append((now[0], now[1], 1, now[2], 1, now[3]))
                waits = None
            s["db_ready"].set(int(self.r.random() >= self.db_pause))

    async def set_counters(self):
        s, edge = self.s, RisingEdge(self.dut.clk)
        while True:
            await edge
            s["qc_valid"].set(0)
            if s["qc_req"].get():
                at = [s[f"qc_{n}"].get() for n in ("vf", "qs", "index")]
                await cycles(self.dut, self.r.randint(1, 9))
                self.set_reads += 1
                s["qc_data"].set(self.set_count(*at))
                s["qc_valid"].set(1)

    def set_count(self, vf, qs, index):
        """Another value with every read."""
        key = (vf << 8 | qs << 4 | index) + 1
        return (key * 0x9E37_79B9_7F4A_7C15 + self.set_reads) & (1 << 64) - 1

    async def counters(self):
        s, edge = self.s, RisingEdge(self.dut.clk)
        while True:
            await edge
            s["gs_rdata"].set(self.global_counter(s["gs_raddr"].get()))
            s["os_rdata"].set(self.global_counter(s["os_raddr"].get()) ^ 0xFFFF_0000_FFFF_00FF)
            s["vs_valid"].set(0)
            if s["vs_req"].get():
                addr = s["vs_addr"].get()
                await cycles(self.dut, self.r.randint(1, 9))
                s["vs_data"].set(self.vf_count(addr >> 5, addr & 31))
                s["vs_valid"].set(1)

    @staticmethod
    def global_counter(i):
        return (i + 1) * 0x8F01_2345_6789_ABCD & (1 << 64) - 1

    @staticmethod
    def vf_count(vf, i):
        return (vf * 32 + i + 1) * 0x8CAB_CDEF_0123_4567 & (1 << 64) - 1

    async def resets(self):
        """Stop and flush, each taking its time; nothing twice, nothing in between."""
        s, edge = self.s, RisingEdge(self.dut.clk)
        while True:
            await edge
            s["stop_vf_done"].set(0)
            s["flush_done"].set(0)
            if s["stop_vf_valid"].get() and not s["stop_vf_done"].last:
                vf = s["stop_vf"].get()
                self.steps.append(("stop", vf))
                await cycles(self.dut, self.hold["stop"] or self.r.randint(0, 20))
                assert s["stop_vf_valid"].get() and s["stop_vf"].get() == vf
                s["stop_vf_done"].set(1)
                await edge
                s["stop_vf_done"].set(0)
                while not s["flush_valid"].get():
                    await edge
                assert s["flush_vf"].get() == vf
                await cycles(self.dut, self.r.randint(0, 5))
                s["flush_ready"].set(1)
                at_once = self.r.random() < 0.3
                s["flush_done"].set(int(at_once))
                await edge
                self.steps.append(("flush", vf))
                s["flush_ready"].set(0)
                s["flush_done"].set(0)
                if not at_once:
                    await cycles(self.dut, self.hold["flush"] or self.r.randint(0, 20))
                    s["flush_done"].set(1)

    async def reset(self):
        """Hardware reset; whatever the helpers were in ends."""
        for task in self.tasks:
            task.cancel()
        for n in ("mmio_valid", "qreg_ready", "qreg_rvalid", "stop_vf_done", "flush_ready", "flush_done",
                  "vs_valid", "db_ready", "qc_valid"):  # fmt: skip
            self.s[n].set(0)
        await reset(self.dut)
        helpers = (self.queue_manager(), self.doorbells(), self.counters(), self.set_counters(),
                   self.resets())  # fmt: skip
        self.tasks = [cocotb.start_soon(x) for x in helpers]
        self.errors.count["stat_mmio_errors"] = 0
        self.set_reads = 0
        await cycles(self.dut, 2)

    async def mmio(self, func, addr, value=None):
        s, edge = self.s, RisingEdge(self.dut.clk)
        for n, v in (("func", func), ("addr", addr), ("write", int(value is not None)),
                     ("wdata", (value if value is not None else self.r.getrandbits(32)) & M32),
                     ("valid", 1)):  # fmt: skip
            s[f"mmio_{n}"].set(v)
        await edge
        while not s["mmio_ready"].get():
            await edge
        s["mmio_valid"].set(0)
        s["mmio_addr"].set(self.r.getrandbits(17))
        s["mmio_func"].set(self.r.getrandbits(8))
        for _ in range(64):
            await edge
            if s["mmio_rvalid"].get():
                assert value is None, "read data for a write"
                return s["mmio_rdata"].get()
            if value is not None and s["mmio_ready"].get():
                await edge
                return 0
        raise AssertionError("no answer within 64 clocks")

    async def ok(self, func, addr, value=None):
        """An access that counts no error."""
        before = self.errors["stat_mmio_errors"]
        got = await self.mmio(func, addr, value)
        await cycles(self.dut, 2)
        assert self.errors["stat_mmio_errors"] == before, f"error counted: {func} {addr:#x} {value}"
        return got

    async def bad(self, func, addr, value=None):
        """An access that counts one error; a read gives 0."""
        before = self.errors["stat_mmio_errors"]
        got = await self.mmio(func, addr, value)
        await cycles(self.dut, 2)
        assert self.errors["stat_mmio_errors"] == before + 1, f"no error: {func} {addr:#x} {value}"
        assert got == 0

    def some_vfs(self, n=6):
        """All VFs, or so many of a large table, its ends among them."""
        if self.nvf <= 8:
            return list(range(self.nvf))
        return sorted({0, self.nvf - 1, *self.r.sample(range(self.nvf), n)})

    def field(self, name, vf, width):
        return self.s[name].get() >> vf * width & (1 << width) - 1

    async def entry(self, vf, **regs):
        at = PF.VF_BASE + PF.VF_STRIDE * vf
        for name, value in regs.items():
            await self.ok(0, at + getattr(VFE, name), value)

    async def bring_up(self, vf):
        await self.entry(vf, SOCKET_BASE=0, SOCKET_COUNT=self.flows, CTRL=1)
        await self.ok(vf + 1, VF.REGION_PAGES, 5)
        await self.ok(vf + 1, VF.CTRL, 1)

    async def settled(self, vf, what=""):
        for _ in range(200):
            if not await self.ok(vf + 1, VF.STATUS) & 4:
                return
        raise AssertionError(f"reset does not end {what}")


PARAMS = {"RTO_MIN_US": "p_rto_min", "RTO_INIT_US": "p_rto_init", "RTO_MAX_US": "p_rto_max",
          "TIME_WAIT_US": "p_time_wait", "DELAYED_ACK_US": "p_delayed_ack",
          "NEIGH_RETRY_US": "p_neigh_retry", "FIN_WAIT2_US": "p_fin_wait2"}  # fmt: skip


@cocotb.test()
async def identity(dut):
    """The first page, alike in PF and VFs but for FUNCTION; nothing of it can be written."""
    tb = TB(dut)
    await tb.reset()
    for func in range(tb.nvf + 1):
        assert await tb.ok(func, PF.MAGIC) == abi.MAGIC
        assert await tb.ok(func, PF.ABI_VERSION) == abi.ABI_VERSION
        assert await tb.ok(func, PF.BUILD_ID) == BUILD
        caps = await tb.ok(func, PF.CAPS)
        want = (tb.nqs, tb.nvf, tb.w // 8, tb.flows.bit_length() - 1)
        assert tuple(caps.to_bytes(4, "little")) == want
        assert await tb.ok(func, PF.FUNCTION) == (0x100 if func == 0 else func - 1)
        for addr in (PF.MAGIC, PF.ABI_VERSION, PF.BUILD_ID, PF.CAPS, PF.FUNCTION):
            await tb.bad(func, addr, 0)


@cocotb.test()
async def globals_and_reset_values(dut):
    """Global parameters: reset values, what is written is read and stands at the output."""
    tb = TB(dut)
    await tb.reset()
    for name, value in abi.PF_RESET.items():
        if hasattr(PF, name):
            assert await tb.ok(0, getattr(PF, name)) == value, name
    for name, port in PARAMS.items():
        assert int(getattr(dut, port).value) == abi.PF_RESET[name]
        value = tb.r.getrandbits(32)
        await tb.ok(0, getattr(PF, name), value)
        assert await tb.ok(0, getattr(PF, name)) == value == int(getattr(dut, port).value)
    await tb.ok(0, PF.RETRIES, 0xFF070503)
    assert await tb.ok(0, PF.RETRIES) == 0x070503
    ports = ("p_retries_data", "p_retries_syn", "p_retries_neigh")
    assert [int(getattr(dut, p).value) for p in ports] == [3, 5, 7]
    await tb.ok(0, PF.INITIAL_CWND, 0x1234)
    assert await tb.ok(0, PF.INITIAL_CWND) == 0x34 == int(dut.p_initial_cwnd.value)
    key = tb.r.getrandbits(128)
    for k in range(4):
        await tb.ok(0, PF.HASH_KEY + 4 * k, key >> 32 * k & M32)
        assert await tb.ok(0, PF.HASH_KEY + 4 * k) == 0, "the key can be read"
    assert tb.s["hash_key"].get() == key
    for name, port in (
        ("FLOWS_IN_USE", "flows_in_use"),
        ("HASH_IN_USE", "hash_in_use"),
        ("NOW_US", "now_us"),
    ):
        tb.s[port].set(value := tb.r.getrandbits(32))
        assert await tb.ok(0, getattr(PF, name)) == value
        await tb.bad(0, getattr(PF, name), 1)
    assert await tb.ok(0, PF.FEATURES) == PF.FEATURES_TX_RATES.put(1)
    await tb.bad(0, PF.FEATURES, 0x7F)
    await tb.ok(0, PF.NEIGH_INDEX, 0xA5)
    assert tb.s["nb_index"].get() == 0xA5 == await tb.ok(0, PF.NEIGH_INDEX)
    for n, v in (("nb_ip", 0x0A000001), ("nb_mac", 0x112233445566), ("nb_valid", 1)):
        tb.s[n].set(v)
    assert await tb.ok(0, PF.NEIGH_IP) == 0x0A000001
    assert await tb.ok(0, PF.NEIGH_MAC_LO) == 0x33445566
    assert await tb.ok(0, PF.NEIGH_MAC_HI) == 0x80001122


@cocotb.test()
async def counters(dut):
    """64-bit counters: the low word latches the high one."""
    tb = TB(dut)
    await tb.reset()
    for base, f in (
        (PF.STATS, tb.global_counter),
        (PF.NQE_STATS, lambda i: tb.global_counter(i) ^ 0xFFFF_0000_FFFF_00FF),
    ):
        for i in (0, 1, 45, 63):
            low = await tb.ok(0, base + 8 * i)
            assert low | await tb.ok(0, base + 8 * i + 4) << 32 == f(i)
    for vf in tb.some_vfs():
        for i in range(32):
            at = PF.VF_STATS_BASE + PF.VF_STATS_STRIDE * vf + 8 * i
            low = await tb.ok(0, at)
            assert await tb.ok(0, at + 4) << 32 | low == tb.vf_count(vf, i)
    # High without low: what the last low word left.
    await tb.ok(0, PF.STATS + 8 * 7)
    assert await tb.ok(0, PF.STATS + 8 * 9 + 4) == tb.global_counter(7) >> 32
    await tb.bad(0, PF.STATS, 1)
    await tb.bad(0, PF.VF_STATS_BASE, 1)
    for vf in (tb.nvf, 252, 255):
        await tb.bad(0, PF.VF_STATS_BASE + PF.VF_STATS_STRIDE * vf)


@cocotb.test()
async def vf_table(dut):
    """Entries: own values for each VF, shown to its tenant, locked while enabled, range checked."""
    tb = TB(dut)
    await tb.reset()
    want = {}
    ports = {"IPV4": "cfg_ip", "NETMASK": "cfg_mask", "GATEWAY": "cfg_gw",
             "SOCKET_BASE": "cfg_sock_base", "SOCKET_COUNT": "cfg_sock_count"}  # fmt: skip
    for vf in range(tb.nvf):
        assert await tb.ok(0, PF.VF_BASE + PF.VF_STRIDE * vf + VFE.MTU) == 1500
        w = {n: tb.r.getrandbits(32) for n in ("MAC_LO", "IPV4", "NETMASK", "GATEWAY")}
        w.update(
            MAC_HI=tb.r.getrandbits(16),
            MTU=tb.r.getrandbits(16),
            SOCKET_BASE=vf,
            SOCKET_COUNT=7 + vf,
        )
        want[vf] = w
        await tb.entry(vf, **w)
    for vf, w in want.items():
        at = PF.VF_BASE + PF.VF_STRIDE * vf
        for name, value in w.items():
            assert await tb.ok(0, at + getattr(VFE, name)) == value
            same = {"SOCKET_COUNT": "MAX_SOCKETS", "SOCKET_BASE": None}.get(name, name)
            if same:
                assert await tb.ok(vf + 1, getattr(VF, same)) == value
                await tb.bad(vf + 1, getattr(VF, same), 1)
        for name, port in ports.items():
            assert tb.field(port, vf, 32) == w[name]
        assert tb.field("cfg_mac", vf, 48) == w["MAC_HI"] << 32 | w["MAC_LO"]
        assert tb.field("cfg_mtu", vf, 16) == w["MTU"]
        # Enabled: locked.
        assert not tb.field("cfg_en", vf, 1)
        await tb.ok(0, at + VFE.CTRL, 1)
        assert tb.field("cfg_en", vf, 1) and await tb.ok(0, at + VFE.CTRL) == 1
        for name, value in w.items():
            await tb.bad(0, at + getattr(VFE, name), value ^ 1)
            assert await tb.ok(0, at + getattr(VFE, name)) == value
        await tb.bad(0, at + VFE.STATUS, 1)
        for ofs in (VFE.VXLAN_REMOTE + 4, 0x7C):
            await tb.bad(0, at + ofs)
            await tb.bad(0, at + ofs, 1)
    for vf in (tb.nvf, 252, 255):
        await tb.bad(0, PF.VF_BASE + PF.VF_STRIDE * vf, 1)
        await tb.bad(0, PF.VF_BASE + PF.VF_STRIDE * vf)
    sockets = [tb.r.getrandbits(16) for _ in range(tb.nvf)]
    tb.s["vf_sockets"].set(sum(v << 16 * k for k, v in enumerate(sockets)))
    for vf in range(tb.nvf):
        assert await tb.ok(0, PF.VF_BASE + PF.VF_STRIDE * vf + VFE.STATUS) == sockets[vf] << 16


def profiles(tb):
    """What the card's stack is told: CTRL and the 64 bits of parameters of each profile."""
    ctrl, prm = tb.s["nsm_ctrl"].get(), tb.s["nsm_prm"].get()
    return [(ctrl >> 32 * k & M32, prm >> 64 * k & (1 << 64) - 1) for k in range(8)]


@cocotb.test()
async def nsm_profiles(dut):
    """Profiles against a model: reset values, own words for each, refused algorithms, whoever runs on them."""
    tb = TB(dut)
    await tb.reset()
    fields = (1 << 4) - 1 | 0b11111 << 8 | 0xFF << 16  # cc, five switches, initial window
    # Reno, SACK, timestamps, window scale, tail loss probes; no ECN.
    reset_ctrl = 1 << 8 | 1 << 9 | 1 << 11 | 1 << 12
    assert reset_ctrl == abi.NSM_RESET["CTRL"]
    model = [[reset_ctrl, 0, 0] for _ in range(8)]
    for k in range(8):
        at = PF.NSM_BASE + PF.NSM_STRIDE * k
        assert [await tb.ok(0, at + r) for r in (NSM.CTRL, NSM.PARAM_LO, NSM.PARAM_HI)] == model[k]
    assert profiles(tb) == [(reset_ctrl, 0)] * 8
    await tb.bring_up(0)
    for _ in range(150):
        k, word = tb.r.randrange(8), tb.r.randrange(4)
        at = PF.NSM_BASE + PF.NSM_STRIDE * k + 4 * word
        value = tb.r.choice((tb.r.getrandbits(32), 0, M32)) if word else tb.r.getrandbits(32)
        if word == 3:
            await tb.bad(0, at, value)
            await tb.bad(0, at)
            continue
        if word == 0 and tb.r.random() < 0.7:
            value = value & ~15 | tb.r.choice(list(abi.CongestionControl))
        if word == 0 and value & 15 > 2:
            await tb.bad(0, at, value)
        else:
            await tb.ok(0, at, value)
            model[k][word] = value & fields if word == 0 else value
        assert await tb.ok(0, at) == model[k][word]
        assert profiles(tb) == [(c, hi << 32 | lo) for c, lo, hi in model]
        # Nobody else's: a VF has no such address, and there is no ninth.
        await tb.bad(tb.r.randint(1, tb.nvf), at, value)
        await tb.bad(0, PF.NSM_BASE + PF.NSM_STRIDE * 8 + (at & 0x7F), value)
        await tb.bad(0, at + tb.r.randint(1, 3), value)
    for k in range(8):
        at = PF.NSM_BASE + PF.NSM_STRIDE * k
        assert [await tb.ok(0, at + r) for r in (NSM.CTRL, NSM.PARAM_LO, NSM.PARAM_HI)] == model[k]
    assert tb.field("vf_enabled", 0, 1) and not tb.s["vf_resetting"].get()
    await tb.reset()
    assert profiles(tb) == [(reset_ctrl, 0)] * 8


@cocotb.test()
async def vf_profile(dut):
    """The profile of each VF: written at any time, enabled or resetting, and by the PF alone."""
    tb = TB(dut)
    await tb.reset()
    model = [0] * tb.nvf

    async def check():
        for vf in range(tb.nvf):
            at = PF.VF_BASE + PF.VF_STRIDE * vf + VFE.NSM
            assert await tb.ok(0, at) == model[vf] == tb.field("cfg_nsm", vf, 3)

    async def give(vf, value):
        await tb.ok(0, PF.VF_BASE + PF.VF_STRIDE * vf + VFE.NSM, value)
        model[vf] = value & 7
        assert tb.field("cfg_nsm", vf, 3) == model[vf]

    await check()
    for vf in range(tb.nvf):
        await give(vf, vf + 1 | tb.r.getrandbits(29) << 3)
    await check()
    await tb.bring_up(0)
    for value in (7, 0, 5):
        await give(0, value)
        assert await tb.ok(1, VF.STATUS) == 3, "the VF goes on"
    tb.hold["flush"] = 200
    await tb.ok(1, VF.CTRL, 2)
    assert await tb.ok(1, VF.STATUS) & 4
    await give(0, 2)
    await tb.settled(0)
    await check()
    # The VF cannot see it, nor change it.
    before = tb.s["cfg_nsm"].get()
    for addr in (VFE.NSM, PF.VF_BASE + VFE.NSM):
        if addr != VF.GATEWAY:  # the same offset on a VF's page
            await tb.bad(1, addr)
        await tb.bad(1, addr, 3)
    assert tb.s["cfg_nsm"].get() == before
    # The PF switches it off: the entry keeps its profile.
    await tb.ok(0, PF.VF_BASE + VFE.CTRL, 0)
    await tb.settled(0)
    await check()
    await tb.reset()
    assert tb.s["cfg_nsm"].get() == 0


@cocotb.test()
async def shares_and_limits(dut):
    """Weights, rates, bursts, limits: own values for each VF, written at any time, by the PF alone."""
    tb = TB(dut)
    await tb.reset()
    vfs = tb.some_vfs()

    def entry(vf, name):
        return PF.VF_BASE + PF.VF_STRIDE * vf + getattr(VFE, name)

    model = {(vf, name): reset for vf in range(tb.nvf) for name, (_, _, reset) in SHARES.items()}
    weights = {vf: 1 for vf in range(tb.nvf)}  # with vm_share in bit 8

    async def check(read=True):
        for vf in vfs:
            for name, (port, width, _) in SHARES.items():
                assert tb.field(port, vf, width) == model[vf, name], (vf, name)
                if read:
                    assert await tb.ok(0, entry(vf, name)) == model[vf, name]
        weight, shared = int(dut.cfg_weight.value), int(dut.cfg_vm_share.value)
        for vf in range(tb.nvf):
            assert (weight >> 8 * vf & 255) | (shared >> vf & 1) << 8 == weights[vf]
        if read:
            for vf in vfs:
                assert await tb.ok(0, entry(vf, "SHARE")) == weights[vf]

    async def write(vf):
        name = tb.r.choice((*SHARES, "SHARE"))
        value = tb.r.choice((0, 1, M32, tb.r.getrandbits(32)))
        await tb.ok(0, entry(vf, name), value)
        if name == "SHARE":
            weights[vf] = value & 0x1FF
        else:
            model[vf, name] = value & (1 << SHARES[name][1]) - 1

    await check()
    for _ in range(60):
        await write(tb.r.choice(vfs))
        await check(read=False)
    await check()
    await tb.bring_up(0)
    for _ in range(20):
        await write(0)
    assert await tb.ok(1, VF.STATUS) == 3, "the VF goes on"
    tb.hold["stop"] = 400
    await tb.ok(0, PF.VF_BASE + VFE.CTRL, 0)
    for _ in range(10):
        await write(0)
    assert await tb.ok(1, VF.STATUS) & 4
    await tb.settled(0)
    await check()
    # None of it on the page of the VF.
    for ofs in (VFE.NQE_RATE, 0x54, 0x58):
        await tb.bad(1, ofs, 1)
    for name in SHARES:
        await tb.bad(1, entry(0, name), 1)
    await check(read=False)
    await tb.reset()
    model = {(vf, name): SHARES[name][2] for vf, name in model}
    weights = dict.fromkeys(range(tb.nvf), 1)
    await check()


@cocotb.test()
async def networks(dut):
    """VLAN and VXLAN of a VF: own values, only their bits, locked while the VF is on or resetting."""
    tb = TB(dut)
    await tb.reset()
    last = tb.nvf - 1
    at = PF.VF_BASE + PF.VF_STRIDE * last
    for _ in range(20):
        vlan, vni, peer = (tb.r.choice((M32, tb.r.getrandbits(32))) for _ in range(3))
        await tb.entry(last, VLAN=vlan, VNI=vni, VXLAN_REMOTE=peer)
        assert await tb.ok(0, at + VFE.VLAN) == vlan & 0x17FFF == tb.field("cfg_vlan", last, 17)
        assert await tb.ok(0, at + VFE.VNI) == vni & 0x80FF_FFFF
        assert tb.field("cfg_vni", last, 25) == vni & 0xFF_FFFF | (vni >> 31) << 24
        assert await tb.ok(0, at + VFE.VXLAN_REMOTE) == peer == tb.field("cfg_remote", last, 32)
        for port, width in (("cfg_vlan", 17), ("cfg_vni", 25), ("cfg_remote", 32)):
            assert not tb.s[port].get() & (1 << width * last) - 1, "another VF's"
    await tb.bring_up(last)
    for name in ("VLAN", "VNI", "VXLAN_REMOTE"):
        await tb.bad(0, at + getattr(VFE, name), 1)
    tb.hold["stop"] = 100
    await tb.ok(0, at + VFE.CTRL, 0)
    for name in ("VLAN", "VNI", "VXLAN_REMOTE"):
        await tb.bad(0, at + getattr(VFE, name), 1)
    await tb.settled(last)
    await tb.entry(last, VLAN=0, VNI=0, VXLAN_REMOTE=0)


@cocotb.test()
async def vtep(dut):
    """The card's own station below VXLAN."""
    tb = TB(dut)
    await tb.reset()
    ports = {"VTEP_IP": ("p_vtep_ip", 32), "VTEP_NETMASK": ("p_vtep_mask", 32),
             "VTEP_GATEWAY": ("p_vtep_gw", 32), "VXLAN_PORT": ("p_vxlan_port", 16)}  # fmt: skip
    assert int(dut.p_vxlan_port.value) == 4789
    for _ in range(4):
        for name, (port, width) in ports.items():
            value = tb.r.getrandbits(32)
            await tb.ok(0, getattr(PF, name), value)
            want = value & (1 << width) - 1
            assert await tb.ok(0, getattr(PF, name)) == want == int(getattr(dut, port).value)
        low, high = tb.r.getrandbits(32), tb.r.getrandbits(32)
        await tb.ok(0, PF.VTEP_MAC_LO, low)
        await tb.ok(0, PF.VTEP_MAC_HI, high)
        assert await tb.ok(0, PF.VTEP_MAC_LO) == low
        assert await tb.ok(0, PF.VTEP_MAC_HI) == high & 0xFFFF
        assert int(dut.p_vtep_mac.value) == (high & 0xFFFF) << 32 | low


@cocotb.test()
async def queue_set_counters(dut):
    """QSTAT: a selection takes the value of that moment; what does not exist is refused and changes nothing."""
    tb = TB(dut)
    await tb.reset()
    assert [await tb.ok(0, a) for a in (PF.QSTAT_SELECT, PF.QSTAT_LO, PF.QSTAT_HI)] == [0, 0, 0]
    chosen, value = 0, 0
    for _ in range(60):
        vf = tb.r.choice((0, tb.nvf - 1, tb.nvf, 255, tb.r.randrange(tb.nvf)))
        qs, index = tb.r.randrange(tb.nqs + 2) & 15, tb.r.randrange(9)
        word = vf | qs << 8 | index << 16 | tb.r.getrandbits(12) << 20 | tb.r.getrandbits(4) << 12
        if vf < tb.nvf and qs < tb.nqs and index < len(abi.QS_COUNTERS):
            await tb.ok(0, PF.QSTAT_SELECT, word)
            chosen = vf | qs << 8 | index << 16
            await cycles(dut, 12)
            value = tb.set_count(vf, qs, index)
        else:
            await tb.bad(0, PF.QSTAT_SELECT, word)
        for _ in range(2):
            assert await tb.ok(0, PF.QSTAT_SELECT) == chosen
            assert await tb.ok(0, PF.QSTAT_LO) == value & M32
            assert await tb.ok(0, PF.QSTAT_HI) == value >> 32


@cocotb.test()
async def doorbells_are_posted(dut):
    """One doorbell in two clocks; an access of anyone waits until those before it have left."""
    tb = TB(dut)
    await tb.reset()
    s, edge, r = tb.s, RisingEdge(dut.clk), tb.r

    async def push(func, addr, value):
        for n, v in (("func", func), ("addr", addr), ("write", 1), ("wdata", value), ("valid", 1)):
            s[f"mmio_{n}"].set(v)
        clocks = 1
        await edge
        while not s["mmio_ready"].get():
            clocks += 1
            await edge
        s["mmio_valid"].set(0)
        return clocks

    tb.db_pause = 0
    await cycles(dut, 3)
    want, clocks = [], 0
    for k in range(200):
        vf, qs = r.randrange(tb.nvf), r.randrange(tb.nqs)
        ofs = r.choice((DB.JOB_TAIL, DB.SEND_TAIL, DB.COMPLETION_HEAD, DB.RECEIVE_HEAD, DB.IRQ_ARM))
        clocks += await push(vf + 1, VF.DB_BASE + VF.DB_STRIDE * qs + ofs, k)
        want.append((vf, qs, 1, ofs, 1, k))
    await cycles(dut, 4)
    assert tb.qlog == want
    assert clocks <= 2 * 200 + 2, f"{clocks} clocks for 200 doorbells"
    # Doorbells and other accesses of queue sets: all in the order of their coming.
    tb.db_pause = 0.8
    tb.qlog.clear()
    want.clear()
    for k in range(200):
        vf, qs = r.randrange(tb.nvf), r.randrange(tb.nqs)
        if r.random() < 0.6:
            await push(vf + 1, VF.DB_BASE + VF.DB_STRIDE * qs + DB.SEND_TAIL, k)
            want.append((vf, qs, 1, DB.SEND_TAIL, 1, k))
        elif r.random() < 0.5:
            await push(vf + 1, VF.QS_BASE + VF.QS_STRIDE * qs, k)
            want.append((vf, qs, 0, 0, 1, k))
        else:
            await tb.mmio(vf + 1, VF.DB_BASE + VF.DB_STRIDE * qs + DB.SEND_TAIL)
            want.append((vf, qs, 1, DB.SEND_TAIL, 0))
    await cycles(dut, 60)
    assert [q[: len(w)] for q, w in zip(tb.qlog, want, strict=True)] == want


@cocotb.test()
async def flow_ranges(dut):
    """A VF whose flows end outside the table cannot be enabled, sums beyond 32 bits neither."""
    tb = TB(dut)
    await tb.reset()
    ctrl = PF.VF_BASE + VFE.CTRL
    n = tb.flows
    for base, count, ok in ((0, n, 1), (n - 1, 1, 1), (n, 0, 1), (1, n, 0), (n, 1, 0), (0, n + 1, 0),
                            (M32, 1, 0), (1 << 31, 1 << 31, 0), (M32, n, 0), (0, M32, 0)):  # fmt: skip
        await tb.entry(0, SOCKET_BASE=base, SOCKET_COUNT=count)
        await (tb.ok if ok else tb.bad)(0, ctrl, 1)
        assert await tb.ok(0, ctrl) == ok
        await tb.ok(0, ctrl, 0)
        await tb.settled(0)


@cocotb.test()
async def vf_control(dut):
    """CTRL.enable: refused without the PF's consent or region; the region is locked and bounded."""
    tb = TB(dut)
    await tb.reset()
    vf = tb.nvf - 1
    f = vf + 1
    await tb.ok(f, VF.REGION_PAGES, 4)
    await tb.bad(f, VF.CTRL, 1)
    assert await tb.ok(f, VF.STATUS) == 0
    await tb.ok(f, VF.REGION_PAGES, 0)
    await tb.entry(vf, SOCKET_BASE=0, SOCKET_COUNT=4, CTRL=1)
    assert await tb.ok(f, VF.STATUS) == 1
    await tb.bad(f, VF.CTRL, 1)  # no region
    await tb.bad(f, VF.REGION_PAGES, (1 << 20) + 1)
    await tb.bad(f, VF.REGION_BASE_LO, 0x800)
    await tb.ok(f, VF.REGION_PAGES, 1 << 20)
    # The end of the address space is a border.
    await tb.ok(f, VF.REGION_BASE_HI, M32)
    await tb.ok(f, VF.REGION_BASE_LO, 0x1000)
    await tb.bad(f, VF.CTRL, 1)
    await tb.ok(f, VF.REGION_BASE_LO, 0)
    await tb.ok(f, VF.CTRL, 1)
    assert await tb.ok(f, VF.CTRL) == 1 and await tb.ok(f, VF.STATUS) == 3
    assert tb.field("vf_enabled", vf, 1)
    assert await tb.ok(0, PF.VF_BASE + PF.VF_STRIDE * vf + VFE.STATUS) & 1
    assert tb.field("region_base", vf, 64) == M32 << 32
    assert tb.field("region_pages", vf, 32) == 1 << 20
    for addr in (VF.REGION_BASE_LO, VF.REGION_BASE_HI, VF.REGION_PAGES):
        value = await tb.ok(f, addr)
        await tb.bad(f, addr, 0x2000)
        assert await tb.ok(f, addr) == value
    await tb.ok(f, VF.CTRL, 1)  # nothing new
    assert not tb.steps
    for other in range(tb.nvf):
        if other != vf:
            assert await tb.ok(other + 1, VF.STATUS) == 0 and not tb.field("region_base", other, 64)
    # A reset with enable keeps it; without, it goes.
    await tb.ok(f, VF.CTRL, 3)
    await tb.settled(vf)
    assert await tb.ok(f, VF.STATUS) == 3 and tb.steps == [("stop", vf), ("flush", vf)]
    await tb.ok(f, VF.CTRL, 2)
    await tb.settled(vf)
    assert await tb.ok(f, VF.STATUS) == 1
    await tb.bad(f, VF.CTRL, 3)  # a reset does not enable
    await tb.settled(vf)
    assert await tb.ok(f, VF.STATUS) == 1


@cocotb.test()
async def locked_while_resetting(dut):
    """Until STATUS.resetting falls, nothing that the card still uses can move."""
    tb = TB(dut)
    await tb.reset()
    await tb.bring_up(0)
    tb.hold.update(stop=300, flush=300)
    at = PF.VF_BASE
    await tb.ok(0, at + VFE.CTRL, 0)
    assert await tb.ok(1, VF.STATUS) == 4
    assert await tb.ok(0, at + VFE.STATUS) & 3 == 2
    assert tb.field("cfg_en", 0, 1), (
        "the address goes only after the flush has said goodbye to peers"
    )
    for func, addr, value in ((0, at + VFE.IPV4, 1), (0, at + VFE.SOCKET_BASE, 1), (0, at + VFE.CTRL, 1),
                              (1, VF.REGION_PAGES, 1), (1, VF.REGION_BASE_LO, 0), (1, VF.CTRL, 1)):  # fmt: skip
        await tb.bad(func, addr, value)
    assert tb.field("region_pages", 0, 32) == 5
    tb.hold.update(stop=0, flush=0)
    await tb.settled(0)
    assert not tb.field("cfg_en", 0, 1)
    assert tb.field("region_pages", 0, 32) == 0, "the next tenant must not see where the region was"
    await tb.bring_up(0)
    assert await tb.ok(1, VF.STATUS) == 3


@cocotb.test()
async def many_resets(dut):
    """Any VFs ask at any time: stop and flush of each, in pairs, none lost, from every state."""
    tb = TB(dut)
    await tb.reset()
    r = tb.r
    for _ in range(60):
        tb.steps.clear()
        asked = set()
        for _ in range(r.randint(1, 2 * tb.nvf)):
            vf = r.randrange(tb.nvf)
            kind = r.randrange(4)
            at = PF.VF_BASE + PF.VF_STRIDE * vf
            if kind == 0:
                on = await tb.ok(0, at + VFE.CTRL)
                await tb.ok(0, at + VFE.CTRL, 0)
                asked |= {vf} if on else set()
            elif kind == 1:
                on = await tb.ok(vf + 1, VF.CTRL)
                await tb.ok(vf + 1, VF.CTRL, 0)
                asked |= {vf} if on else set()
            else:
                await tb.ok(vf + 1, VF.CTRL, 2)
                asked.add(vf)
            if r.random() < 0.3:
                await cycles(dut, r.randint(0, 60))
        for vf in range(tb.nvf):
            await tb.settled(vf)
        await cycles(dut, 4)
        assert not tb.s["busy"].get()
        assert {vf for _, vf in tb.steps} == asked
        assert tb.steps[::2] == [("stop", vf) for _, vf in tb.steps[1::2]]
        for vf in r.sample(range(tb.nvf), r.randint(0, tb.nvf)):
            if not await tb.ok(vf + 1, VF.STATUS) & 1:
                await tb.bring_up(vf)


@cocotb.test()
async def queue_registers(dut):
    """QS and DB accesses go to the queue manager with the VF of the function; the rest is refused here."""
    tb = TB(dut)
    await tb.reset()
    for _ in range(150):
        vf, qs, db = tb.r.randrange(tb.nvf), tb.r.randrange(8), tb.r.randrange(2)
        ofs = 4 * tb.r.randrange(16)
        addr = (VF.DB_BASE + VF.DB_STRIDE * qs if db else VF.QS_BASE + VF.QS_STRIDE * qs) + ofs
        value = tb.r.choice((None, tb.r.getrandbits(32)))
        tb.qlog.clear()
        if qs >= tb.nqs:
            await tb.bad(vf + 1, addr, value)
            assert not tb.qlog
            continue
        if db and value is not None and ofs > DB.IRQ_ARM:
            await tb.bad(vf + 1, addr, value)
            assert not tb.qlog
            continue
        # A doorbell is posted: it has no answer that could be an error.
        tb.q_bad = not (db and value is not None) and tb.r.random() < 0.3
        before = tb.errors["stat_mmio_errors"]
        got = await tb.mmio(vf + 1, addr, value)
        await cycles(dut, 20)
        assert tb.errors["stat_mmio_errors"] == before + tb.q_bad
        assert len(tb.qlog) == 1 and tb.qlog[0][:5] == (vf, qs, db, ofs, int(value is not None))
        if value is None:
            assert got == vf << 24 | qs << 16 | db << 8 | ofs
        else:
            assert tb.qlog[0][5] == value
    tb.qlog.clear()
    for addr in (
        VF.DB_BASE + 0x40,
        VF.DB_BASE + 0xFFC,
        VF.DB_BASE + 0x8000,
        0xFFC,
        0x1200,
        0x2000,
        0x8000,
    ):
        await tb.bad(1, addr, 1)
        await tb.bad(1, addr)
    assert not tb.qlog


@cocotb.test()
async def nothing_there(dut):
    """Random addresses and functions: no register answers 0 and counts; a VF never reaches the PF's."""
    tb = TB(dut)
    await tb.reset()
    known = {0x14 + 4 * k for k in range(-5, 7)} | {0x40, 0x44, 0x48, 0x4C, 0x50}
    for _ in range(400):
        func = tb.r.choice((*range(1, tb.nvf + 3), 255))
        addr = tb.r.choice(
            (tb.r.getrandbits(17), tb.r.randrange(0x100), PF.VF_BASE + tb.r.randrange(0x400))
        )
        write = tb.r.choice((None, tb.r.getrandbits(32)))
        in_qs = 0x1000 <= addr < 0x1000 + 64 * tb.nqs
        in_db = 0x10000 <= addr < 0x10000 + 4096 * tb.nqs and addr & 0xFC0 == 0
        if func <= tb.nvf and addr % 4 == 0 and (addr in known or in_qs or in_db):
            continue
        await tb.bad(func, addr, write)
    for addr in (
        0x01,
        0x82,
        PF.VF_BASE + 1,
        PF.STATS + 2,
        0xFFC,
        0x2080,
        PF.VF_BASE + PF.VF_STRIDE * tb.nvf,
        0x1FFFC,
        0xBFFC,
        0xC000,
        0xA4,
        0xDC,
        0x104,
        0x18,
    ):
        await tb.bad(0, addr)
        await tb.bad(0, addr, 1)
    for addr in (PF.QSTAT_LO, PF.QSTAT_HI):
        await tb.bad(0, addr, 1)
    assert await tb.ok(0, PF.RTO_MIN_US) == 200000 and not tb.s["cfg_en"].get() and not tb.steps


@cocotb.test()
async def reset_mid_traffic(dut):
    """A hardware reset during accesses and VF resets: all as after power-on."""
    tb = TB(dut)
    for _ in range(10):
        await tb.reset()
        for vf in range(tb.nvf):
            assert await tb.ok(vf + 1, VF.STATUS) == 0
        await tb.ok(0, PF.RTO_MIN_US, 5)
        await tb.bring_up(0)
        await tb.ok(1, VF.CTRL, 2)
        await cycles(dut, tb.r.randint(0, 20))
        await tb.reset()
        tb.steps.clear()
        for name in (
            "cfg_en",
            "vf_enabled",
            "vf_resetting",
            "region_pages",
            "stop_vf_valid",
            "flush_valid",
        ):
            assert tb.s[name].get() == 0, name
        assert await tb.ok(0, PF.RTO_MIN_US) == 200000
        await cycles(dut, 40)
        assert not tb.steps


@pytest.mark.parametrize(
    ("w", "nvf", "nqs", "flows"), [(64, 2, 1, 64), (512, 8, 2, 1024), (256, 3, 8, 65536)]
)
def test_nk_regs(w, nvf, nqs, flows):
    run_module(
        "nk_regs", __file__, {"W": w, "NVF": nvf, "NQS": nqs, "FLOWS": flows, "BUILD_ID": BUILD}
    )


def test_nk_regs_252_vfs():
    """The largest table: the ends of it, and what must not reach beyond."""
    run_module(
        "nk_regs",
        __file__,
        {"W": 512, "NVF": 252, "NQS": 8, "FLOWS": 65536, "BUILD_ID": BUILD},
        testcase="counters|shares_and_limits|networks|queue_set_counters|doorbells_are_posted|nothing_there",
    )
