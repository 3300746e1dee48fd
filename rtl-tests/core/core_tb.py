# SPDX-License-Identifier: Apache-2.0
"""The bench for nk_core: card, host memory, tenants, a wire with a link model, and hosts on the wire.

tb = TB(dut)
await tb.start()                     # reset, PF set up, VF 0 enabled
sock, peer = await tb.connect()      # an established connection, opened by the tenant
...
await tb.finish()                    # everything closed, every flow and ring entry free again
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.hostmem import Memory, Shim, Stalls
from common.link import Link
from common.runner import run_module
from common.stream import params, rng, start_clock
from common.tenant import Sock, Tenant
from model import frames as fr
from model.tcp_peer import Conn, Host, Options
from netkernel import abi
from netkernel.abi import NSM, PF, VF, VFE, Status

HERE = Path(__file__).resolve().parent
BUILD_ID = 0x12345678
HOST_IP = "10.1.0.1"


def run_core(test_file: str, w: int = 512, testcase: str | None = None, **extra: Any) -> None:
    """Run the cocotb tests of a file on nk_core. One set of parameters: one compilation for all."""
    parameters = {"W": w, "NVF": 4, "NQS": 2, "FLOWS": 256, "BUILD_ID": BUILD_ID, **extra}
    run_module(
        "nk_core_tb",
        test_file,
        parameters,
        sources=[HERE / "nk_core_tb.v"],
        testcase=testcase,
    )


def profile(at: int = 0, param: int = 0, **change: int) -> dict[int, int]:
    """Register writes for an NSM profile: cc, sack, timestamps, ecn, window_scale, tlp, initial_cwnd."""
    values = {"cc": 0, "sack": 1, "timestamps": 1, "ecn": 0, "window_scale": 1, "tlp": 1, **change}
    base = PF.NSM_BASE + PF.NSM_STRIDE * at
    ctrl = sum(getattr(NSM, f"CTRL_{name.upper()}").put(value) for name, value in values.items())
    return {
        base + NSM.CTRL: ctrl,
        base + NSM.PARAM_LO: param & 0xFFFFFFFF,
        base + NSM.PARAM_HI: param >> 32,
    }


def vf_ip(vf: int) -> int:
    return fr.ip(f"10.1.0.{2 + vf}")


def vf_mac(vf: int) -> int:
    return 0x02_4E_4B_00_00_00 + vf


class Raw:
    """A hand-driven host on the wire: keeps what it gets, sends what the test says.

    It answers ARP for its address unless told not to, and nothing else.
    """

    def __init__(self, tb: TB, address: str = "10.1.0.200", mac: int = 0x0200000000C8) -> None:
        self.tb, self.ip, self.mac = tb, fr.ip(address), mac
        self.answer_arp = True
        self.got: list[fr.Frame] = []
        self._seen = 0

    def input(self, frame: bytes, now: int) -> None:
        f = fr.parse(frame)
        if f.kind == "arp":
            if f.op == 1 and f.tpa == self.ip and self.answer_arp:
                self.tb.to_card(fr.arp(2, self.mac, self.ip, f.sha, f.spa))
        elif f.dst == self.mac and f.dip == self.ip:
            self.got.append(f)

    def tcp(
        self,
        sport: int,
        dport: int,
        seq: int,
        ack: int,
        flags: int,
        window: int = 65535,
        payload: bytes = b"",
        options: bytes = b"",
        vf: int = 0,
        ecn: int = 0,
    ) -> None:
        segment = fr.tcp(
            self.ip, vf_ip(vf), sport, dport, seq, ack, flags, window, payload, options
        )
        packet = fr.ipv4(self.ip, vf_ip(vf), fr.IP_TCP, segment, tos=ecn)
        self.tb.to_card(fr.ethernet(vf_mac(vf), self.mac, fr.ETH_IPV4, packet))

    async def next(self, what: str = "a frame", us: int = 5_000_000) -> fr.Frame:
        """The next frame not yet looked at."""
        await self.tb.until(lambda: len(self.got) > self._seen, us, what)
        self._seen += 1
        return self.got[self._seen - 1]

    async def silence(self, us: int) -> None:
        """Nothing comes within this time."""
        await self.tb.sleep(us)
        new = self.got[self._seen :]
        assert not new, f"unexpected: {', '.join(map(str, new))}"

    def skip(self) -> list[fr.Frame]:
        """Forget what has come so far."""
        new = self.got[self._seen :]
        self._seen = len(self.got)
        return new

    def arp_now(self, vf: int = 0) -> None:
        """Tell the card our MAC by asking for its."""
        self.tb.to_card(fr.arp(1, self.mac, self.ip, 0, vf_ip(vf)))


class RawConn:
    """A connection driven by hand from the `Raw` host: counts sequence numbers, nothing else.

    With timestamps (tsval is not None) each segment carries them; the test moves tsval.
    """

    def __init__(self, raw: Raw, lport: int, rport: int, iss: int = 1000, vf: int = 0) -> None:
        self.raw, self.lport, self.rport, self.vf = raw, lport, rport, vf
        self.seq, self.ack = iss, 0
        self.window = 65535
        self.tsval: int | None = None
        self.tsecr = 0

    def put(
        self,
        flags: int = fr.ACK,
        payload: bytes = b"",
        *,
        seq: int | None = None,
        ack: int | None = None,
        window: int | None = None,
        options: bytes = b"",
        sack: Sequence[tuple[int, int]] = (),
        ecn: int = 0,
    ) -> None:
        """Send a segment; without an explicit seq it takes the next sequence numbers."""
        at = self.seq if seq is None else seq
        if seq is None:
            taken = len(payload) + (flags & 1) + (flags >> 1 & 1)
            self.seq = self.seq + taken & 0xFFFFFFFF
        if not options:
            ts = None if self.tsval is None else (self.tsval, self.tsecr)
            options = fr.tcp_options(ts=ts, sack=sack)
        acknowledge = (self.ack if ack is None else ack) if flags & fr.ACK else 0
        self.raw.tcp(
            self.lport, self.rport, at & 0xFFFFFFFF, acknowledge & 0xFFFFFFFF, flags,
            self.window if window is None else window, payload, options, self.vf, ecn,
        )  # fmt: skip

    async def get(self, what: str = "a segment", us: int = 5_000_000) -> fr.Frame:
        f = await self.raw.next(what, us)
        assert (f.sport, f.dport) == (self.rport, self.lport), f"{what}: {f}"
        if f.ts is not None:
            self.tsecr = f.ts[0]
        return f

    async def expect(
        self, flags: int, what: str = "", us: int = 5_000_000, **fields: Any
    ) -> fr.Frame:
        """The next segment has exactly these flags (PSH aside) and field values."""
        f = await self.get(what or fr.flags_text(flags), us)
        assert f.flags & ~fr.PSH == flags, f"expected {fr.flags_text(flags)} {what}: {f}"
        for name, value in fields.items():
            got = getattr(f, name)
            assert got == value, f"{what}: {name} is {got}, expected {value}: {f}"
        return f


class TB:
    def __init__(
        self,
        dut: Any,
        *,
        link: Mapping[str, Any] | None = None,
        clocks_per_us: int = 20,
        stalls: Stalls | None = None,
        start_us: int | None = None,
        opts: Options | None = None,
    ) -> None:
        self.dut = dut
        self.params = params()
        self.seed = int(os.environ.get("NK_SEED", "0"))
        self.rng = rng("core")
        start_clock(dut)
        self.shim = Shim(dut, self.params["W"], rng("shim"), clocks_per_us)
        self.shim.now = self.rng.randrange(1 << 20) if start_us is None else start_us
        if stalls:
            self.shim.stalls = stalls
        self.until, self.sleep = self.shim.until, self.shim.sleep
        self.host = Host(HOST_IP, seed=self.seed, opts=opts)
        self.hosts: list[Host] = [self.host]
        self.raws: list[Raw] = []
        config = {"seed": self.seed, **(link or {})}
        self.link_in, self.link_out = Link(config, "to card"), Link(config, "from card")
        ordered = not config.get("reorder") and not config.get("duplicate")
        self.host.watch_shrink = ordered
        self.tenants: dict[int, Tenant] = {}
        self.wire: list[tuple[int, str, bytes]] = []  # (time, direction, frame)
        self._dirty: set[int] = set()
        self.shim.on_write = lambda func, offset, n: self._dirty.add(func)
        self.shim.on_frame = self._from_card
        self.shim.step = self._step
        self.shim.next_event = self._next_event
        self.shim.explain = self.log_wire
        self.expected = dict.fromkeys(("mmio_errors", "doorbell_errors", "nqe_errors"), 0)
        self._polled = 0

    # ---- the wire --------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        return self.shim.now

    def to_card(self, frame: bytes) -> None:
        """A frame on the wire towards the card, through the link model."""
        self.wire.append((self.now, "in", frame))
        self.link_in.send(frame, self.now)
        self._kick()

    def inject(self, frame: bytes) -> None:
        """A frame straight into the card's receive port."""
        self.shim.rx_queue.append(frame)

    def _from_card(self, frame: bytes) -> None:
        fr.parse(frame)  # whatever the card sends is well formed, checksums included
        self.wire.append((self.now, "out", frame))
        self.link_out.send(frame, self.now)
        self._kick()
        self.shim.changed.set()

    def _kick(self) -> None:
        """Hand over what needs no time to pass."""
        self.shim.rx_queue.extend(self.link_in.due(self.now))
        for frame in self.link_out.due(self.now):
            for host in self.hosts:
                host.input(frame, self.now)
            for raw in self.raws:
                raw.input(frame, self.now)
            self.shim.changed.set()
        self.collect()

    def collect(self) -> None:
        """What the hosts want to send goes onto the wire; call after using a host directly."""
        for host in self.hosts:
            if host.out:
                for frame in host.take():
                    self.wire.append((self.now, "in", frame))
                    self.link_in.send(frame, self.now)
        self.shim.rx_queue.extend(self.link_in.due(self.now))

    def _step(self, now: int) -> bool:
        for host in self.hosts:
            host.tick(now)
        active = False
        if self._dirty:
            active = self.poll_tenants()
        self._kick()
        return active

    def poll_tenants(self) -> bool:
        dirty, self._dirty = self._dirty, set()
        n = 0
        for vf, tenant in self.tenants.items():
            if vf + 1 in dirty:
                n += tenant.poll()
        self.collect()
        return n > 0 or bool(dirty)

    def _next_event(self) -> int | None:
        if self._dirty:
            return self.now + 1
        times = [self.link_in.next_time(), self.link_out.next_time()]
        times += [h.next_timer() for h in self.hosts]
        return min((t for t in times if t is not None), default=None)

    def raw(self, address: str = "10.1.0.200", mac: int = 0x0200000000C8) -> Raw:
        raw = Raw(self, address, mac)
        self.raws.append(raw)
        return raw

    # ---- registers -------------------------------------------------------------------------------

    async def pf_read(self, addr: int) -> int:
        return await self.shim.read(0, addr)

    async def pf_write(self, addr: int, value: int) -> None:
        await self.shim.write(0, addr, value)

    async def vf_read(self, vf: int, addr: int) -> int:
        return await self.shim.read(vf + 1, addr)

    async def vf_write(self, vf: int, addr: int, value: int) -> None:
        await self.shim.write(vf + 1, addr, value)

    async def counter(self, name: str, vf: int | None = None) -> int:
        if vf is None:
            at = PF.STATS + 8 * abi.COUNTERS[name]
        else:
            at = PF.VF_STATS_BASE + PF.VF_STATS_STRIDE * vf + 8 * abi.VF_COUNTERS[name]
        low = await self.pf_read(at)
        return low | (await self.pf_read(at + 4)) << 32

    async def counters(self, *names: str) -> dict[str, int]:
        return {n: await self.counter(n) for n in names or abi.COUNTERS}

    # ---- set-up ------------------------------------------------------------------------------------

    async def start(
        self,
        vfs: int = 1,
        *,
        sockets: int = 64,
        pages: int = 1024,
        logs: tuple[int, int, int, int] = (6, 6, 6, 6),
        queue_sets: int = 1,
        mtu: int = 1500,
        regs: Mapping[int, int] | None = None,
    ) -> Tenant:
        """Reset, program the PF, enable VFs 0 .. vfs-1 with a tenant each; gives VF 0's tenant."""
        self.shim.start()
        await self.shim.reset()
        await self.program(vfs, sockets, mtu, regs)
        for vf in range(vfs):
            await self.add_tenant(
                vf, pages=pages, sockets=sockets, logs=logs, queue_sets=queue_sets
            )
        return self.tenants[0]

    async def program(
        self, vfs: int, sockets: int, mtu: int = 1500, regs: Mapping[int, int] | None = None
    ) -> None:
        for i in range(4):
            await self.pf_write(PF.HASH_KEY + 4 * i, self.rng.getrandbits(32))
        for addr, value in (regs or {}).items():
            await self.pf_write(addr, value)
        for vf in range(vfs):
            at = PF.VF_BASE + PF.VF_STRIDE * vf
            mac = vf_mac(vf)
            for reg, value in (
                (VFE.MAC_LO, mac & 0xFFFFFFFF),
                (VFE.MAC_HI, mac >> 32),
                (VFE.IPV4, vf_ip(vf)),
                (VFE.NETMASK, 0xFFFF0000),
                (VFE.GATEWAY, fr.ip(HOST_IP)),
                (VFE.SOCKET_BASE, sockets * vf),
                (VFE.SOCKET_COUNT, sockets),
                (VFE.MTU, mtu),
                (VFE.CTRL, 1),
            ):
                await self.pf_write(at + reg, value)
            status = await self.vf_read(vf, VF.STATUS)
            assert status & 1, f"VF {vf} is not ready: {status:#x}"

    async def add_tenant(
        self,
        vf: int,
        *,
        pages: int = 1024,
        sockets: int = 64,
        logs: tuple[int, int, int, int] = (6, 6, 6, 6),
        queue_sets: int = 1,
    ) -> Tenant:
        base = (self.rng.getrandbits(28) << 16) + (vf << 48)
        memory = Memory(base, pages, fill=0xEE)
        self.shim.memory[vf + 1] = memory
        tenant = Tenant(
            self.shim, vf, memory,
            logs=logs, queue_sets=queue_sets, max_sockets=sockets, seed=self.seed,
        )  # fmt: skip
        tenant.reset()
        self.tenants[vf] = tenant
        await self.enable(tenant)
        return tenant

    async def enable(self, tenant: Tenant) -> None:
        for addr, value in tenant.register_writes():
            await self.vf_write(tenant.vf, addr, value)
        status = await self.vf_read(tenant.vf, VF.STATUS)
        assert status & 7 == 3, f"VF {tenant.vf} status {status:#x}"
        for q in tenant.qs:
            at = VF.QS_BASE + VF.QS_STRIDE * q.index + abi.QS.CTRL
            assert await self.vf_read(tenant.vf, at) == 1, f"queue set {q.index} is off"

    # ---- connections -------------------------------------------------------------------------------

    async def ok(self, *jobs: Any) -> None:
        """Wait for jobs; each ends with OK."""
        for job in jobs:
            if job is not None:
                await self.until(lambda job=job: job.done, what=f"completion of {job}")
                assert job.status == Status.OK, f"{job}"

    async def status(self, job: Any) -> Status:
        await self.until(lambda: job.done, what=f"completion of {job}")
        return job.status

    async def connect(
        self,
        vf: int = 0,
        port: int = 80,
        *,
        host: Host | None = None,
        opts: Options | None = None,
        wait: bool = True,
        **socket: Any,
    ) -> tuple[Sock, Conn]:
        """An established connection that the tenant opened to a host."""
        host = host or self.host
        listener = host.listeners.get(port) or host.listen(port, opts=opts)
        if opts is not None:
            listener.opts = opts
        before = len(listener.conns)
        sock = self.tenants[vf].socket(**socket)
        await self.ok(sock.connect(host.ip, port))
        await self.until(lambda: sock.connected, what="CONNECTED")
        await self.until(
            lambda: any(c.state == "ESTABLISHED" for c in listener.conns[before:]),
            what="the host's side established",
        )
        return sock, listener.conns[before]

    async def listen(self, port: int = 8080, credits: int = 1, vf: int = 0, **socket: Any) -> Sock:
        """A listening socket with accept credits."""
        tenant = self.tenants[vf]
        listener = tenant.socket(12, 12, socket.get("qs", 0))
        await self.ok(listener.listen(port))
        for _ in range(credits):
            await self.ok(listener.credit_accept(tenant.socket(**socket)))
        return listener

    async def accept(
        self,
        port: int = 8080,
        *,
        vf: int = 0,
        opts: Options | None = None,
        host: Host | None = None,
        **socket: Any,
    ) -> tuple[Sock, Conn, Sock]:
        """An established connection that a host opened: (socket, host's side, listener)."""
        host = host or self.host
        listener = await self.listen(port, 0, vf, qs=socket.get("qs", 0))
        child = self.tenants[vf].socket(**socket)
        await self.ok(listener.credit_accept(child))
        conn = host.connect(vf_ip(vf), port, opts=opts)
        self.collect()
        await self.until(lambda: child.connected, what="ACCEPTED")
        await self.until(lambda: conn.state == "ESTABLISHED")
        return child, conn, listener

    async def raw_accept(
        self,
        raw: Raw,
        port: int = 8080,
        *,
        lport: int = 5000,
        iss: int = 1000,
        mss: int | None = 1460,
        wscale: int | None = None,
        window: int = 65535,
        ts: int | None = None,
        sack: bool = False,
        ecn: bool = False,
        agreed: bool = True,
        vf: int = 0,
        **socket: Any,
    ) -> tuple[Sock, RawConn]:
        """A connection opened by hand from `raw`, established; its listener is closed again.

        ts, sack, ecn: offered by the SYN, and `agreed` by the card (ecn always).
        """
        listener = await self.listen(port, 0, vf)
        child = self.tenants[vf].socket(**socket)
        await self.ok(listener.credit_accept(child))
        conn = RawConn(raw, lport, port, iss, vf)
        conn.window, conn.tsval = window, ts
        raw.arp_now(vf)
        await self.until(lambda: True)
        options = fr.tcp_options(mss, wscale, sack_ok=sack, ts=None if ts is None else (ts, 0))
        conn.put(fr.SYN | (fr.ECE | fr.CWR if ecn else 0), options=options)
        f = await conn.expect(fr.SYN | fr.ACK | (fr.ECE if ecn else 0), "SYN,ACK", ack=conn.seq)
        assert (f.ts is not None, f.sack_ok) == (agreed and ts is not None, agreed and sack), f
        if not agreed:
            conn.tsval = None
        conn.ack = f.seq + 1 & 0xFFFFFFFF
        conn.put(fr.ACK)
        await self.until(lambda: child.connected, what="ACCEPTED")
        await self.ok(listener.close())
        await self.until(lambda: listener.closed)
        return child, conn

    async def close_both(self, sock: Sock, conn: Conn) -> None:
        """Orderly end from both sides, until the socket is free."""
        if not conn.fin_queued and conn.state in ("ESTABLISHED", "CLOSE_WAIT"):
            conn.shutdown()
            self.collect()
        await self.until(lambda: sock.all_acked or sock.ended is not None, what="data acknowledged")
        await self.ok(sock.close())
        await self.until(lambda: sock.closed, 400_000_000, what="CLOSED")

    # ---- the end of every test ---------------------------------------------------------------------

    async def idle(self, us: int = 50_000_000) -> None:
        """Until the card has nothing to do now."""
        self.shim.hold_skip = False
        before = self.shim.skipped_us
        await self.until(lambda: self.shim.skipped_us > before, us, "idle card")

    async def finish(self, *, close: bool = True, counters: bool = True) -> dict[str, int]:
        """Close what is open; then nothing may be left anywhere. Gives the card's counters."""
        for tenant in self.tenants.values():
            tenant.hold_events = tenant.hold_completions = False
            tenant.poll()
            if close:
                for sock in list(tenant.sockets.values()):
                    if not sock.closing:
                        sock.abort()
        await self.until(
            lambda: all(not t.sockets and t.quiet for t in self.tenants.values()),
            400_000_000,
            "every socket CLOSED and every job completed",
        )
        for host in self.hosts:
            assert not host.violations, host.violations[:5]
        await self.sleep(1000)
        assert await self.pf_read(PF.FLOWS_IN_USE) == 0, "flows in use"
        assert await self.pf_read(PF.HASH_IN_USE) == 0, "hash entries in use"
        for vf, tenant in self.tenants.items():
            at = PF.VF_BASE + PF.VF_STRIDE * vf + VFE.STATUS
            assert (await self.pf_read(at)) >> 16 == 0, f"sockets of VF {vf}"
            for q in tenant.qs:
                regs = VF.QS_BASE + VF.QS_STRIDE * q.index
                for ring, reg in zip(
                    q.rings,
                    (
                        abi.QS.JOB_HEAD,
                        abi.QS.COMPLETION_TAIL,
                        abi.QS.SEND_HEAD,
                        abi.QS.RECEIVE_TAIL,
                    ),
                    strict=True,
                ):
                    got = await self.vf_read(vf, regs + reg)
                    assert got == ring.index & 0xFFFFFFFF, f"ring at register {reg:#x}: {got}"
                status = q.status[0]
                assert int(status["job_head"]) == q.rings[0].index & 0xFFFFFFFF
                assert int(status["send_head"]) == q.rings[2].index & 0xFFFFFFFF
        if not counters:
            return {}
        c = await self.counters()
        assert c["flows_opened"] == c["flows_closed"], "flows opened and closed"
        assert c["hash_inserts"] == c["hash_deletes"], "hash entries inserted and deleted"
        for name, want in self.expected.items():
            assert c[name] == want, f"{name}: {c[name]}, expected {want}"
        return c

    def log_wire(self, last: int = 30) -> str:
        """The state and the last frames, for a failing test's message."""
        lines = [f"now {self.now} us, {self.host.violations[:3]}"]
        lines += [repr(s) for t in self.tenants.values() for s in list(t.sockets.values())[:6]]
        for at, way, frame in self.wire[-last:]:
            try:
                text = str(fr.parse(frame))
            except fr.FrameError as problem:
                text = f"bad frame: {problem}"
            lines.append(f"{at:>12} {way:>3} {text}")
        return "\n".join(lines)
