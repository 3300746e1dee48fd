# SPDX-License-Identifier: Apache-2.0
"""The bench for nk_tcp: fake neighbours, net_tx, place and nqe, tenants' memory, hosts on a hostile link.

tb = TB(dut)
await tb.start()
s = await tb.socket(vf=0, sock=1)
assert (await tb.op(s, Op.CONNECT, data=...)).status == 0
await tb.until(lambda: s.state == "established")
await tb.finish()                 # everything closed: nothing may be left in the card

Time is the bench's: a microsecond passes every few clocks, and when card and bench are idle it jumps to the next
deadline, as a shim does (`busy`, `next_us`). A run that never gets anywhere ends by `limit_us`.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.triggers import Event, RisingEdge
from common.link import Link
from common.stream import Signal, WordSource, params, rng, start_clock
from model import frames as fr
from model.tcp_peer import Host
from netkernel.abi import COUNTERS, Op, Status

REGION = 1 << 20
CLOCKS_PER_US = 4
VST = ("rx_segments", "rx_bytes", "tx_segments", "tx_bytes", "tx_retransmits")
SEG = (
    "vf", "smac", "rip", "rport", "lport", "seq", "ack", "flags", "wnd", "mss", "wscale", "wscale_valid", "len", "lane",
    "ecn", "ts_valid", "tsval", "tsecr", "sack_ok", "sack_n", "sack",
)  # fmt: skip
TXD = dict(
    vf=8, dmac=48, rip=32, rport=16, lport=16, seq=32, ack=32, flags=9, wnd=16, mss=16, wscale=4, wscale_valid=1, len=16, addr=64,
    wrap_len=16, wrap_addr=64, ecn=2, ts_valid=1, tsval=32, tsecr=32, sack_ok=1, sack_n=3, sack=256,
)  # fmt: skip
"""Fields of the descriptor word, lowest bits first."""
OPF = ("vf", "qs", "code", "flow", "socket", "child", "child_ok", "data", "ptr", "size")
SOPF = ("vf", "qs", "code", "flow", "socket", "size")
P = dict(
    p_rto_min=20_000, p_rto_init=100_000, p_rto_max=2_000_000, p_time_wait=50_000, p_delayed_ack=2_000, p_neigh_retry=10_000,
    p_fin_wait2=300_000, p_retries_data=8, p_retries_syn=4, p_retries_neigh=3, p_initial_cwnd=10,
)  # fmt: skip


def _fields(word: int) -> dict[str, int]:
    """A descriptor word, taken apart."""
    out = {}
    for name, width in TXD.items():
        out[name], word = word & (1 << width) - 1, word >> width
    return out


def vf_ip(vf: int) -> int:
    return 0x0A010002 + vf


def vf_mac(vf: int) -> int:
    return 0x024E4B000000 + vf


@dataclass(frozen=True)
class Answer:
    status: int
    data: int
    ptr: int
    size: int


@dataclass
class Sock:
    """A tenant's socket: its rings in the region, and what it has heard."""

    vf: int
    sock: int
    rx: int
    tx: int
    rx_log2: int
    tx_log2: int
    qs: int = 0
    events: list[tuple[Op, int, int, int]] = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)
    sent: int = 0  # bytes written into the TX ring
    freed: int = 0  # of them announced as SENT
    read: bool = True  # give CREDIT at once
    held: int = 0  # received and not yet given back
    peer: tuple[int, int] = (0, 0)

    def heard(self, op: Op) -> bool:
        return any(e[0] == op for e in self.events)

    @property
    def established(self) -> bool:
        return self.heard(Op.CONNECTED) or self.heard(Op.ACCEPTED)

    @property
    def closed(self) -> bool:
        return self.heard(Op.CLOSED)

    @property
    def over(self) -> bool:
        return self.heard(Op.RESET) or self.heard(Op.TIMEOUT)


class TB:
    def __init__(self, dut: Any, stalls: float = 0.3, link: dict[str, Any] | None = None) -> None:
        self.dut, self.stalls, self.rng = dut, stalls, rng("engine")
        self.nvf, self.nqs, self.flows = params()["NVF"], params()["NQS"], params()["FLOWS"]
        self.nbytes = params()["W"] // 8
        self.quota = self.flows // self.nvf
        self.now = self.rng.choice([1000, 0xFFFFFFFF - 300_000, 0x7FFFFFFF - 300_000])
        self.memory = [bytearray(REGION) for _ in range(self.nvf)]
        self.base = [0x1_0000_0000 * (vf + 1) + 0x3000 for vf in range(self.nvf)]
        self.socks: dict[tuple[int, int], Sock] = {}
        self.hosts: list[Host] = []
        config = {"delay_us": 20, "seed": self.rng.getrandbits(30), **(link or {})}
        self.to_host, self.to_card = Link(config, "out"), Link(config, "in")
        self.sent: list[fr.Frame] = []  # every segment that the engine sent
        self.neigh: dict[int, int] = {}
        self.nsm = 0x1B00  # profile 0: Reno, SACK, timestamps, window scale, tail loss probes
        self.arp: list[tuple[int, int]] = []
        self._arp_new: deque[int] = deque()
        self.arp_answers: dict[int, tuple[int, int]] = {}  # ip: mac, microseconds until it answers
        self._arp_due: list[tuple[int, int, int]] = []
        self.payload: deque[tuple[int, bytes]] = deque()
        self.actions: deque[int] = deque()
        self.tx_queue: deque[dict[str, int]] = deque()
        self.stat: Counter[str] = Counter()
        self.vst: Counter[tuple[int, str]] = Counter()
        self.room_closed: set[int] = set()  # receive rings without room
        self.hold_tx = False  # net_tx takes descriptors and reads nothing
        self.flushed: list[int] = []
        self.answers: deque[Answer] = deque()
        self._ops: deque[tuple[dict[str, int], Event, list[Answer]]] = deque()
        self._op_busy = False
        self._sops: deque[tuple[dict[str, int], Event, list[Answer]]] = deque()
        self._sent_ops: deque[tuple[Event, list[Answer]]] = deque()
        self._sig = {}
        start_clock(dut)

    # ---- set-up ----------------------------------------------------------------------------------

    def host(
        self, address: str = "10.1.0.100", mac: int = 0x0200000000AA, known: bool = True, **kw: Any
    ) -> Host:
        host = Host(address, mac, seed=self.rng.getrandbits(20), **kw)
        host.neigh = {vf_ip(vf): vf_mac(vf) for vf in range(self.nvf)}
        host.now = self.now_line
        # The rings are reused as soon as bytes are acknowledged.
        host.strict_old = host.watch_shrink = False
        if known:
            self.neigh[host.ip] = mac
        self.arp_answers[host.ip] = (mac, 500)
        self.hosts.append(host)
        return host

    @property
    def now_line(self) -> int:
        return self.now  # hosts and links count on beyond 32 bits

    async def start(self) -> None:
        dut = self.dut
        vector = lambda width, values: sum(v << width * i for i, v in enumerate(values))  # noqa: E731
        vfs = range(self.nvf)
        for name, value in {
            "cfg_ip": vector(32, [vf_ip(v) for v in vfs]), "cfg_mask": vector(32, [0xFFFF0000] * self.nvf),
            "cfg_gw": vector(32, [0x0A010001] * self.nvf), "cfg_mtu": vector(16, [1500] * self.nvf),
            "cfg_sock_base": vector(32, [v * self.quota for v in vfs]), "cfg_sock_count": vector(32, [self.quota] * self.nvf),
            "region_base": vector(64, self.base), "cfg_nsm": 0, "nsm_ctrl": vector(32, [self.nsm] * 8), "nsm_prm": 0, "ptb_valid": 0, "cfg_weight": 0, "cfg_tx_max": 0, "cfg_tx_min": 0, "cfg_burst": vector(32, [64] * self.nvf), "hash_key": self.rng.getrandbits(128), **P,
        }.items():  # fmt: skip
            getattr(dut, name).value = value
        for name in ("act", "act_valid", "act_level", "ev_out", "nq_ip", "txd_valid", "txd", "arp_req_valid", "arp_req_vf", "arp_req_ip",
                     "busy", "next_us_valid", "next_us", "now_us", "nq_hit", "nq_mac", "txd_ready", "txd_done", "nb_new_valid", "nb_new_ip",
                     "arp_req_ready", "recv_room", "vst_valid", "vst_vf", "vst_rx", "vst_rx_bytes", "vst_tx", "vst_tx_bytes", "vst_retx",
                     "vst_opened", "vst_closed", "vst_drop", "vst_drop_vf", "flush_valid", "stat",
                     "flush_ready", "flush_vf", "opr_valid", "opr_status", "sopr_valid", "sopr_status", "opr_data", "opr_ptr", "opr_size", "rst",
                     "flows_in_use", "hash_in_use", "vf_sockets"):  # fmt: skip
            self._sig[name] = Signal(getattr(dut, name))
        for name in ("act_level", "ev_out", "nq_hit", "nq_mac", "txd_ready", "txd_done", "arp_req_ready", "recv_room", "nb_new_valid",
                     "nb_new_ip", "flush_valid", "flush_vf"):  # fmt: skip
            self._sig[name].set(0)
        self._sig["now_us"].set(self.now & 0xFFFFFFFF)
        pause = (lambda: self.rng.random() < self.stalls) if self.stalls else (lambda: False)
        self.seg = WordSource(dut, "seg", SEG, pause)
        self.ops = WordSource(dut, "op", OPF, pause)
        self.sops = WordSource(dut, "sop", SOPF, pause)
        await self.reset()
        cocotb.start_soon(self._clock())

    async def reset(self) -> None:
        edge = RisingEdge(self.dut.clk)
        await edge
        self.dut.rst.value = 1
        for _ in range(3):
            await edge
        self.dut.rst.value = 0
        await edge  # the sources forget until here
        self.payload.clear()
        self.actions.clear()
        self.tx_queue.clear()
        self.stat.clear()
        self.vst.clear()
        self._ops.clear()
        self._op_busy = False
        self._sops.clear()
        self._sent_ops.clear()
        self.socks.clear()
        self._sig["txd_done"].set(0)

    # ---- the clock: all fakes, one step ------------------------------------------------------------

    async def _clock(self) -> None:
        s, r, edge = self._sig, self.rng, RisingEdge(self.dut.clk)
        clocks = idle = 0
        offered = 0
        while True:
            await edge
            if s["rst"].get():
                for name in (
                    "act_level",
                    "ev_out",
                    "txd_ready",
                    "txd_done",
                    "arp_req_ready",
                    "nb_new_valid",
                    "flush_valid",
                ):
                    s[name].set(0)
                offered = 0
                continue
            clocks += 1
            stalled = (lambda: r.random() < self.stalls) if self.stalls else (lambda: False)
            if pulses := s["stat"].get():
                for name, index in COUNTERS.items():
                    if pulses >> index & 1:
                        self.stat[name] += 1
            # Neighbour table: the answer stands in the next clock.
            mac = self.neigh.get(s["nq_ip"].get())
            s["nq_hit"].set(int(mac is not None))
            s["nq_mac"].set(mac if mac is not None else r.getrandbits(48))
            if s["arp_req_valid"].get() and s["arp_req_ready"].last:
                self._arp_asked(s["arp_req_vf"].get(), s["arp_req_ip"].get())
            s["arp_req_ready"].set(int(not stalled()))
            if s["opr_valid"].get():
                self._op_answer(
                    Answer(*(s[f"opr_{n}"].get() for n in ("status", "data", "ptr", "size")))
                )
            if s["sopr_valid"].get():
                done, box = self._sent_ops.popleft()
                box.append(Answer(s["sopr_status"].get(), 0, 0, 0))
                done.set()
                self._next_op()
            # Actions.
            if s["act_valid"].get():
                self.actions.append(s["act"].get())
                assert len(self.actions) <= 32, "more actions than the FIFO holds"
            told = bool(self.actions) and not stalled() and self._act(self.actions.popleft())
            s["ev_out"].set(int(told))
            s["act_level"].set(len(self.actions))
            # Descriptors.
            if s["txd_valid"].get():
                now = s["txd"].get()
                assert offered in (0, now), "a descriptor changed while it waited"
                offered = now
                if s["txd_ready"].last:
                    self.tx_queue.append(_fields(now))
                    offered = 0
            done = bool(self.tx_queue) and not self.hold_tx and not stalled()
            if done:
                self._transmit(self.tx_queue.popleft())
            s["txd_done"].set(int(done))
            s["txd_ready"].set(int(len(self.tx_queue) < 6 and not stalled()))
            # Counters of the VFs.
            self._count()
            room = sum(1 << k for k in range(self.nvf * self.nqs) if k not in self.room_closed)
            if self.stalls and r.random() < 0.1:
                room &= r.getrandbits(self.nvf * self.nqs)
            s["recv_room"].set(room)
            if s["flush_valid"].get() and s["flush_ready"].get():
                s["flush_valid"].set(0)
            # Wire.
            for host in self.hosts:
                for frame in host.take():
                    self.to_card.send(frame, self.now_line)
                host.tick(self.now_line)
            for frame in self.to_card.due(self.now_line):
                self._frame_in(frame)
            for frame in self.to_host.due(self.now_line):
                for host in self.hosts:
                    host.input(frame, self.now_line)
            for due, ip, mac in self._arp_due[:]:
                if due <= self.now:
                    self.neigh[ip] = mac
                    self._arp_new.append(ip)
                    self._arp_due.remove((due, ip, mac))
            s["nb_new_valid"].set(int(bool(self._arp_new)))
            if self._arp_new:
                s["nb_new_ip"].set(self._arp_new.popleft())
            # Time.
            quiet = not (
                s["busy"].get() or self.actions or self.tx_queue or self.seg.pending() or self.ops.pending()
                or self._op_busy or self._sops or self._sent_ops or s["flush_valid"].last or any(h.out for h in self.hosts)
            )  # fmt: skip
            idle = idle + 1 if quiet else 0
            if idle > 6:
                self.now = max(self.now + 1, self._next_time())
                idle = 0
            elif clocks % CLOCKS_PER_US == 0:
                self.now += 1
            s["now_us"].set(self.now & 0xFFFFFFFF)

    def _next_time(self) -> int:
        times = [self.now + 1_000_000]
        if self._sig["next_us_valid"].get():
            ahead = (self._sig["next_us"].get() - self.now) & 0xFFFFFFFF
            times.append(self.now + (ahead if ahead < 1 << 31 else 0))
        for source in (
            self.to_host.next_time(),
            self.to_card.next_time(),
            *(h.next_timer() for h in self.hosts),
        ):
            if source is not None:
                times.append(source)
        times += [due for due, _, _ in self._arp_due]
        return min(times)

    def _arp_asked(self, vf: int, ip: int) -> None:
        self.arp.append((vf, ip))
        if ip in self.arp_answers:
            mac, wait = self.arp_answers[ip]
            self._arp_due.append((self.now + wait, ip, mac))

    def _count(self) -> None:
        s = self._sig
        if s["vst_valid"].get():
            vf = s["vst_vf"].get()
            for name, value in zip(
                VST,
                (
                    s["vst_rx"].get(),
                    s["vst_rx_bytes"].get(),
                    s["vst_tx"].get(),
                    s["vst_tx_bytes"].get(),
                    s["vst_retx"].get(),
                ),
                strict=True,
            ):
                self.vst[(vf, name)] += value
            self.vst[(vf, "opened")] += s["vst_opened"].get()
            self.vst[(vf, "closed")] += s["vst_closed"].get()
        if s["vst_drop"].get():
            self.vst[(s["vst_drop_vf"].get(), "accept_drops")] += 1

    # ---- nk_place and the tenant ----------------------------------------------------------------------

    def _act(self, word: int) -> bool:
        """Carry out one pass's action word (nk_place); True if it told the tenant something."""
        lw = self.nbytes.bit_length() - 1

        def take(width: int) -> int:
            nonlocal word
            value, word = word & (1 << width) - 1, word >> width
            return value

        pay, vf = take(2), take(8)
        addr, length, lane, skip, wrap, wrap_addr = (take(n) for n in (64, 16, lw, 16, 16, 64))
        kind, qs, op, sock, data, size, status = (take(n) for n in (2, 8, 8, 16, 64, 32, 8))
        if pay == 1:
            seg_lane, held = self.payload.popleft()
            first = skip * self.nbytes + lane - seg_lane
            assert length > 0 and first >= 0 and first + length <= len(held), (
                "places bytes that the segment does not have"
            )
            for k, byte in enumerate(held[first : first + length]):
                self._store(vf, addr + k if k < wrap else wrap_addr + k - wrap, byte)
        elif pay == 2:
            self.payload.popleft()
        if kind == 1:
            self._event(vf, qs, Op(op), sock, data, size, status)
        elif kind == 2:
            self.flushed.append(vf)
        return kind == 1

    def _store(self, vf: int, addr: int, byte: int) -> None:
        at = addr - self.base[vf]
        owner = [
            s
            for s in self.socks.values()
            if s.vf == vf and s.rx <= at < s.rx + (1 << s.rx_log2) and not s.closed
        ]
        assert len(owner) == 1, f"writes at {at:#x} of VF {vf}, in no socket's RX ring"
        self.memory[vf][at] = byte

    def _event(
        self, vf: int, qs: int, op: Op, sock: int, data: int, size: int, status: int
    ) -> None:
        s = self.socks[(vf, sock)]
        assert qs == s.qs and not s.closed, f"{op.name} for a socket that is gone"
        s.events.append((op, data, size, status))
        if op in (Op.CONNECTED, Op.ACCEPTED):
            s.peer = (data & 0xFFFFFFFF, data >> 32 & 0xFFFF)
        elif op == Op.DATA:
            ring = 1 << s.rx_log2
            for _ in range(size):
                s.received.append(self.memory[vf][s.rx + len(s.received) % ring])
            s.held += size
            assert s.held <= ring, "more bytes announced than the ring holds"
            if s.read:
                self.submit(s, Op.CREDIT, size=s.held)
                s.held = 0
        elif op == Op.SENT:
            s.freed += size
            assert s.freed <= s.sent, "more bytes announced as sent than were given"

    # ---- nk_net_tx and the wire -------------------------------------------------------------------------

    def _transmit(self, d: dict[str, int]) -> None:
        vf, data = d["vf"], b""
        if d["len"]:
            at = [
                d["addr"] + k if k < d["wrap_len"] else d["wrap_addr"] + k - d["wrap_len"]
                for k in range(d["len"])
            ]
            at = [a - self.base[vf] for a in at]
            owner = [s for s in self.socks.values() if s.vf == vf and not s.closed
                     and all(s.tx <= a < s.tx + (1 << s.tx_log2) for a in at)]  # fmt: skip
            assert len(owner) == 1, "reads outside of its TX ring, or after CLOSED"
            data = bytes(self.memory[vf][a] for a in at)
        options = fr.tcp_options(
            d["mss"] or None,
            d["wscale"] if d["wscale_valid"] else None,
            sack_ok=bool(d["sack_ok"]),
            ts=(d["tsval"], d["tsecr"]) if d["ts_valid"] else None,
            sack=[
                (d["sack"] >> 64 * k & 0xFFFFFFFF, d["sack"] >> 64 * k + 32 & 0xFFFFFFFF)
                for k in range(d["sack_n"])
            ],
        )
        segment = fr.tcp(
            vf_ip(vf),
            d["rip"],
            d["lport"],
            d["rport"],
            d["seq"],
            d["ack"],
            d["flags"],
            d["wnd"],
            data,
            options,
        )
        frame = fr.ethernet(
            d["dmac"], vf_mac(vf), fr.ETH_IPV4, fr.ipv4(vf_ip(vf), d["rip"], fr.IP_TCP, segment)
        )
        self.sent.append(fr.parse(frame))
        self.to_host.send(frame, self.now_line)

    def _frame_in(self, frame: bytes) -> None:
        f = fr.parse(frame)
        vf = f.dip - vf_ip(0)
        if f.kind != "tcp" or not 0 <= vf < self.nvf:
            return
        self.segment(vf, f.sip, f.sport, f.dport, f.seq, f.ack, f.flags, f.payload, f.window, f.mss, f.wscale, f.src,
                     ts=f.ts, sack_ok=f.sack_ok, sack=f.sack)  # fmt: skip

    def segment(self, vf, rip, rport, lport, seq, ack, flags, data=b"", wnd=0xFFFF, mss=None, ws=None, smac=0x77,
                ts=None, sack_ok=False, sack=(), ecn=0) -> None:  # fmt: skip
        """A segment from the wire, as nk_net_rx hands it over."""
        lane = self.rng.randrange(self.nbytes)
        if data:
            self.payload.append((lane, data))
        blocks = sum((end << 32 | start) << 64 * k for k, (start, end) in enumerate(sack))
        self.seg.send(dict(vf=vf, smac=smac, rip=rip, rport=rport, lport=lport, seq=seq & 0xFFFFFFFF, ack=ack & 0xFFFFFFFF,
                           flags=flags, wnd=wnd, mss=mss or 0, wscale=ws or 0, wscale_valid=int(ws is not None),
                           len=len(data), lane=lane, ecn=ecn, ts_valid=int(ts is not None), tsval=ts[0] if ts else 0,
                           tsecr=ts[1] if ts else 0, sack_ok=int(sack_ok), sack_n=len(sack), sack=blocks))  # fmt: skip

    # ---- operations ------------------------------------------------------------------------------------------

    def submit(
        self, s: Sock, op: Op, child: int = 0, child_ok: int = 1, **fields: int
    ) -> tuple[Event, list[Answer]]:
        """Queue an operation; `await event.wait()`, then the answer is in the list."""
        base = s.vf * self.quota
        word = dict(vf=s.vf, qs=s.qs, code=op, flow=base + s.sock, socket=s.sock, child=base + child, child_ok=child_ok,
                    data=0, ptr=0, size=0)  # fmt: skip
        done, answer = Event(), []
        queue = self._sops if op in (Op.SEND, Op.CREDIT) else self._ops
        queue.append((word | fields, done, answer))
        self._next_op()
        return done, answer

    def _next_op(self) -> None:
        """As the queue manager does: a job waits for the sends before it, and for the job before it; a send for neither."""
        while self._sops:
            word, done, answer = self._sops.popleft()
            self._sent_ops.append((done, answer))
            self.sops.send({name: word[name] for name in SOPF})
        if self._ops and not self._op_busy and not self._sent_ops:
            self._op_busy = True
            self.ops.send(self._ops[0][0])

    def _op_answer(self, answer: Answer) -> None:
        _, done, box = self._ops.popleft()
        box.append(answer)
        self._op_busy = False
        done.set()
        self._next_op()

    async def op(self, s: Sock, op: Op, **fields: int) -> Answer:
        _, answer = self.submit(s, op, **fields)
        await self.until(lambda: answer)
        return answer[0]

    async def socket(
        self, vf: int = 0, sock: int = 0, rx_log2: int = 13, tx_log2: int = 13, qs: int = 0
    ) -> Sock:
        old = self.socks.get((vf, sock))
        assert old is None or old.closed
        # 64 KiB for each socket: the two rings at random places of its two halves.
        half = REGION // self.quota // 2
        rx = sock * 2 * half + self.rng.randrange((half >> 12) - (1 << rx_log2 - 12) + 1) * 4096
        tx = (sock * 2 + 1) * half + self.rng.randrange(
            (half >> 12) - (1 << tx_log2 - 12) + 1
        ) * 4096
        s = self.socks[(vf, sock)] = Sock(vf, sock, rx, tx, rx_log2, tx_log2, qs)
        a = await self.op(s, Op.SOCKET, ptr=rx, data=tx, size=rx_log2 | tx_log2 << 8)
        assert a.status == Status.OK
        return s

    async def connect(self, s: Sock, rip: int, rport: int, lport: int) -> Answer:
        return await self.op(s, Op.CONNECT, data=rip | rport << 32 | lport << 48)

    async def send(self, s: Sock, data: bytes) -> Answer:
        """Write into the TX ring and post SEND; the caller keeps within the room."""
        ring = 1 << s.tx_log2
        assert len(data) <= ring - (s.sent - s.freed)
        for byte in data:
            self.memory[s.vf][s.tx + s.sent % ring] = byte
            s.sent += 1
        return await self.op(s, Op.SEND, size=len(data))

    async def stream(self, s: Sock, data: bytes) -> None:
        """Send all of it, as room becomes free; stops when the connection is over."""
        ring, at = 1 << s.tx_log2, 0
        while at < len(data):
            await self.until(lambda: s.sent - s.freed < ring or s.over)
            if s.over:
                return
            n = min(
                len(data) - at, ring - (s.sent - s.freed), self.rng.choice([1, 100, 1460, 5000])
            )
            assert (await self.send(s, data[at : at + n])).status == Status.OK
            at += n

    async def credit(self, s: Sock) -> None:
        held, s.held = s.held, 0
        assert held and (await self.op(s, Op.CREDIT, size=held)).status == Status.OK

    def flush(self, vf: int) -> None:
        self._sig["flush_vf"].set(vf)
        self._sig["flush_valid"].set(1)

    # ---- waiting, ending ------------------------------------------------------------------------------------

    async def until(self, condition, limit_us: int = 60_000_000, clocks: int = 400_000) -> None:
        edge, end = RisingEdge(self.dut.clk), self.now + limit_us
        for _ in range(clocks):
            if condition():
                return
            await edge
            assert self.now < end, "did not come about"
        raise AssertionError("did not come about in so many clocks")

    async def settle(self, us: int = 200) -> None:
        """Let everything under way arrive."""
        end = self.now + us
        await self.until(lambda: self.now >= end)

    def in_use(self) -> tuple[int, int, int]:
        return tuple(self._sig[n].get() for n in ("flows_in_use", "hash_in_use", "vf_sockets"))

    async def close_all(self, op: Op = Op.CLOSE) -> None:
        for s in [s for s in self.socks.values() if not s.closed]:
            await self.op(s, op)

    async def finish(self) -> None:
        """Close what is open; the card must be as empty as after a reset, and its books must agree."""
        edge = RisingEdge(self.dut.clk)
        await self.close_all(Op.ABORT)
        await self.until(lambda: all(s.closed for s in self.socks.values()))
        await self.until(lambda: self.in_use() == (0, 0, 0))
        await self.until(
            lambda: not (self.actions or self.tx_queue or self.payload or self.seg.pending())
        )
        for _ in range(300):
            await edge
        assert self.stat["flows_opened"] == self.stat["flows_closed"] > 0
        assert self.stat["hash_inserts"] == self.stat["hash_deletes"]
        opened = sum(n for (_, name), n in self.vst.items() if name == "opened")
        closed = sum(n for (_, name), n in self.vst.items() if name == "closed")
        assert opened == closed == self.stat["flows_opened"], "the VFs' counters disagree"
        assert not self._sig["busy"].get() and not self._sig["next_us_valid"].get(), (
            "something still runs in an empty card"
        )
        for host in self.hosts:
            assert not host.violations, host.violations[:3]
