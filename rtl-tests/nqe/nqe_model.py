# SPDX-License-Identifier: Apache-2.0
"""Independent model of the queue manager's surroundings: tenants with rings in host memory, the host
interface, a fake protocol engine. It knows the ABI and the contracts, and nothing of the RTL.

`Bench` drives the ports of nqe_system.v in one loop a clock. What the card reads by DMA is judged when
it is delivered, from the bytes as delivered: that copy is what the card must have used.
"""

from __future__ import annotations

import random
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge
from common.stream import Signal, params, reset, rng, start_clock
from netkernel import abi
from netkernel.abi import DB, PF, QS, VF, VFE, Op, Queue, Status

PAGE = 4096
NQE = Struct("<BBBBIQQII")
M32 = (1 << 32) - 1
SEND_OPS = (Op.SEND, Op.CREDIT)
JOB_OPS = (
    Op.SOCKET, Op.LISTEN, Op.CONNECT, Op.ACCEPT, Op.SHUTDOWN, Op.CLOSE, Op.ABORT, Op.SETOPT, Op.INFO,
)  # fmt: skip


@dataclass(frozen=True)
class Nqe:
    op: int = 0
    vm_id: int = 0
    queue_set: int = 0
    flags: int = 0
    socket: int = 0
    op_data: int = 0
    data_ptr: int = 0
    size: int = 0
    word: int = 0  # cookie and status

    def pack(self) -> bytes:
        return NQE.pack(*self.__dict__.values())

    @classmethod
    def unpack(cls, raw: bytes) -> Nqe:
        return cls(*NQE.unpack(raw))


def judge(n: Nqe, queue: int, phase: int, qs: int, quota: int, pages: int) -> Status:
    """What the ABI says about an NQE that a tenant wrote, before the protocol engine sees it."""
    if n.flags & 1 != phase or n.flags & 0xFC or n.queue_set != qs or n.word >> 24:
        return Status.BAD_FLAGS
    if n.op not in (JOB_OPS if queue == Queue.JOB else SEND_OPS):
        return Status.BAD_OP
    if n.socket >= quota or (n.op == Op.ACCEPT and n.op_data & M32 >= quota):
        return Status.BAD_SOCKET
    if n.op == Op.SOCKET:
        logs = (n.size & 255, n.size >> 8 & 255)
        if n.size >> 16 or not all(12 <= log2 <= 24 for log2 in logs):
            return Status.BAD_SIZE
        for ptr, log2 in zip((n.data_ptr, n.op_data), logs, strict=True):
            if ptr % PAGE or ptr + (1 << log2) > pages * PAGE:
                return Status.BAD_PTR
    return Status.OK


def engine_answer(
    vf: int, code: int, socket: int, size: int, data: int
) -> tuple[int, int, int, int]:
    """The fake engine's verdict, a function of the operation: (status, data, ptr, size)."""
    h = zlib.crc32(f"{vf} {code} {socket} {size} {data}".encode())
    status = Status.BAD_STATE if h % 5 == 0 else Status.OK
    return status, h * 0x100000001 & (1 << 64) - 1, h * 0x987654321 & (1 << 64) - 1, ~h & M32


# ------------------------------------------------------------------------------------- tenants


class QueueSet:
    """One queue set as its tenant sees it, and what the card owes it."""

    def __init__(self, tenant: Tenant, qs: int, first_page: int, log2s: tuple[int, ...]) -> None:
        self.tenant, self.qs, self.log2s = tenant, qs, log2s
        self.pages: list[int] = []
        page = first_page
        for log2 in log2s:
            self.pages.append(page)
            page += max(1, (32 << log2) // PAGE)
        self.status_page = page
        self.end_page = page + 1
        self.on = False
        self.forget()

    def forget(self) -> None:
        """As after switching on: everything at 0."""
        self.index = [0, 0, 0, 0]  # written (job, send) or consumed (completion, receive)
        self.rung = [0, 0, 0, 0]  # last doorbell values
        self.fetched = [0, 0, 0, 0]  # NQEs that the card has asked for
        self.got = [0, 0, 0, 0]  # and has
        self.written = [0, 0, 0, 0]  # NQEs that the card has written
        self.done = [0, 0]  # job_head, send_head as last seen in the status block
        self.arm = 0
        self.expect: list[deque[Nqe]] = [deque(), deque()]  # completions for jobs, for sends
        self.events: deque[Nqe] = deque()  # events sent and not yet seen
        self.ops: list[deque[tuple[int, ...]]] = [deque(), deque()]  # operations owed to the engine
        self.job_bar: deque[int] = deque()  # for each job good so far: sends that come first
        self.sends_run = 0
        self.bars: list[tuple[int, int]] = []  # (job tail, send tail) of the job doorbells
        self.good_sends = [0]  # good ones among the first n sends fetched
        self.completed = 0
        self.seen_events = 0

    # -- memory

    def slot(self, queue: int, index: int) -> int:
        return self.pages[queue] * PAGE + 32 * (index & (1 << self.log2s[queue]) - 1)

    def phase(self, queue: int, index: int) -> int:
        return ~(index >> self.log2s[queue]) & 1

    def clear_memory(self) -> None:
        for queue in range(4):
            at = self.pages[queue] * PAGE
            self.tenant.mem[at : at + (32 << self.log2s[queue])] = bytes(32 << self.log2s[queue])

    # -- posting

    def room(self, queue: int) -> int:
        head = self.done[0 if queue == Queue.JOB else 1]
        return (1 << self.log2s[queue]) - (self.index[queue] - head)

    def post(self, queue: int, n: Nqe, phase: int | None = None) -> None:
        assert self.room(queue) > 0
        i = self.index[queue]
        if phase is None:
            n = Nqe(**{**n.__dict__, "flags": n.flags ^ self.phase(queue, i)})
        at = self.slot(queue, i)
        self.tenant.mem[at : at + 32] = n.pack()
        self.index[queue] = i + 1

    async def db(self, reg: int, value: int) -> None:
        await self.tenant.write(VF.DB_BASE + VF.DB_STRIDE * self.qs + reg, value & M32)

    async def ring(self, queue: int) -> None:
        self.rung[queue] = self.index[queue]
        if queue == Queue.JOB:
            self.bars.append((self.index[Queue.JOB], self.rung[Queue.SEND]))
        reg = {Queue.JOB: DB.JOB_TAIL, Queue.SEND: DB.SEND_TAIL}[Queue(queue)]
        await self.db(reg, self.index[queue])

    # -- consuming

    def poll(self) -> int:
        """Take all completions and events that stand; compare with what is owed."""
        n = 0
        for queue in (Queue.COMPLETION, Queue.RECEIVE):
            while True:
                at = self.slot(queue, self.index[queue])
                got = Nqe.unpack(bytes(self.tenant.mem[at : at + 32]))
                if got.flags & 1 != self.phase(queue, self.index[queue]):
                    break
                self.index[queue] += 1
                n += 1
                self._check(queue, got)
        at = self.status_page * PAGE
        raw = bytes(self.tenant.mem[at : at + 8])
        for k, value in enumerate((raw[:4], raw[4:])):
            head = int.from_bytes(value, "little")
            assert self.done[k] <= head <= self.rung[(Queue.JOB, Queue.SEND)[k]], "status block"
            self.done[k] = head
        return n

    def _check(self, queue: int, got: Nqe) -> None:
        assert got.vm_id == self.tenant.vf and got.queue_set == self.qs and got.flags < 2, got
        plain = Nqe(**{**got.__dict__, "flags": 0})
        if queue == Queue.RECEIVE:
            assert plain == self.events.popleft(), f"event {got}"
            self.seen_events += 1
            return
        # The tenant marks the cookies of its send NQEs, so that the two orders can be told apart.
        which = got.word >> 23 & 1
        assert self.expect[which], f"completion for nothing: {got}"
        want = self.expect[which].popleft()
        assert plain == want, f"completion {got}, expected {want}"
        self.completed += 1

    async def consume(self) -> int:
        n = self.poll()
        await self.heads()
        return n

    async def heads(self) -> None:
        for queue, reg in (
            (Queue.COMPLETION, DB.COMPLETION_HEAD),
            (Queue.RECEIVE, DB.RECEIVE_HEAD),
        ):
            if self.rung[queue] != self.index[queue]:
                self.rung[queue] = self.index[queue]
                await self.db(reg, self.index[queue])

    async def arm_irq(self) -> None:
        self.arm += 1
        await self.db(DB.IRQ_ARM, self.arm)

    def settled(self) -> bool:
        return not any(self.expect) and not self.events and not any(self.ops)

    # -- what the card does

    def card_read(self, addr: int, length: int) -> list[tuple[int, int]]:
        """Which NQEs (queue, index) a DMA read of the card fetches."""
        for queue in (Queue.JOB, Queue.SEND):
            first = self.pages[queue] * PAGE
            if first <= addr < first + (32 << self.log2s[queue]):
                i = self.fetched[queue]
                assert addr == self.slot(queue, i), "fetch at the wrong slot"
                assert length % 32 == 0 and 0 < length <= 256
                n = length // 32
                assert i + n <= self.rung[queue], "fetch beyond the doorbell"
                self.fetched[queue] += n
                return [(queue, i + k) for k in range(n)]
        raise AssertionError(f"DMA read outside the rings: {addr:#x}")

    def card_got(self, queue: int, index: int, n: Nqe) -> None:
        """The card holds this copy now."""
        t = self.tenant
        self.got[queue] += 1
        status = judge(n, queue, self.phase(queue, index), self.qs, t.quota, t.pages)
        which = 0 if queue == Queue.JOB else 1
        answer = (status, n.op_data, n.data_ptr, n.size)
        if status == Status.OK:
            op = (n.op, t.sock_base + n.socket, n.socket,
                  (t.sock_base + n.op_data) % t.bench.flows if n.op == Op.ACCEPT else -1,
                  n.op_data, n.data_ptr, n.size)  # fmt: skip
            self.ops[which].append(op)
            verdict = engine_answer(t.vf, n.op, n.socket, n.size, n.op_data)
            info = n.op == Op.INFO and verdict[0] == Status.OK
            answer = verdict if info else (verdict[0], n.op_data, n.data_ptr, n.size)
            if which == 0:
                bar = next(s for j, s in self.bars if index < j)
                self.job_bar.append(bar)
        if which == 1:
            self.good_sends.append(self.good_sends[-1] + (status == Status.OK))
        if which == 0 or answer[0] != Status.OK:
            self.expect[which].append(
                Nqe(n.op, t.vf, self.qs, 0, n.socket, answer[1], answer[2], answer[3],
                    n.word & 0xFFFFFF | answer[0] << 24)
            )  # fmt: skip
        if answer[0] != Status.OK:
            t.errors += 1

    def card_wrote(self, addr: int, data: bytes) -> None:
        """A DMA write of the card into this set's pages."""
        if addr == self.status_page * PAGE:
            assert len(data) == 8
            return
        assert len(data) == 32
        for queue in (Queue.COMPLETION, Queue.RECEIVE):
            i = self.written[queue]
            first = self.pages[queue] * PAGE
            if first <= addr < first + (32 << self.log2s[queue]):
                assert addr == self.slot(queue, i), "written at the wrong slot"
                assert i - self.rung[queue] < 1 << self.log2s[queue], (
                    "wrote over an entry not consumed"
                )
                assert data[3] & 1 == self.phase(queue, i)
                self.written[queue] = i + 1
                return
        raise AssertionError(f"DMA write outside the rings: {addr:#x}")

    def engine_ran(self, which: int, op: tuple[int, ...]) -> None:
        assert self.ops[which], f"operation for nothing: {op}"
        want = self.ops[which].popleft()
        assert tuple(w if w != -1 else o for w, o in zip(want, op, strict=True)) == op, (want, op)
        if which == 1:
            self.sends_run += 1
        else:
            bar = self.job_bar.popleft()
            assert self.fetched[Queue.SEND] >= bar
            assert self.sends_run >= self.good_sends[bar], "a job overtook sends posted before it"


@dataclass
class Tenant:
    """One VF: its memory and its queue sets."""

    bench: Bench
    vf: int
    base: int
    pages: int
    quota: int
    sock_base: int
    log2s: list[tuple[int, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mem = bytearray(self.pages * PAGE)
        self.sets: list[QueueSet] = []
        self.errors = 0
        self.dead = False  # between stop and the next enable: no DMA at all
        page = 1
        for qs, log2s in enumerate(self.log2s):
            self.sets.append(QueueSet(self, qs, page, log2s))
            page = self.sets[-1].end_page
        assert page <= self.pages

    async def write(self, addr: int, value: int) -> None:
        await self.bench.mmio(self.vf + 1, addr, value)

    async def read(self, addr: int) -> int:
        return await self.bench.mmio(self.vf + 1, addr)

    async def setup_pf(self) -> None:
        entry = PF.VF_BASE + PF.VF_STRIDE * self.vf
        for ofs, value in ((VFE.SOCKET_BASE, self.sock_base), (VFE.SOCKET_COUNT, self.quota),
                           (VFE.MAC_LO, 0x0A000000 + self.vf), (VFE.IPV4, 0x0A010001 + self.vf),
                           (VFE.CTRL, 1)):  # fmt: skip
            await self.bench.mmio(0, entry + ofs, value)

    async def setup_vf(self) -> None:
        await self.write(VF.REGION_BASE_LO, self.base & M32)
        await self.write(VF.REGION_BASE_HI, self.base >> 32)
        await self.write(VF.REGION_PAGES, self.pages)
        await self.write(VF.CTRL, 1)
        assert await self.read(VF.STATUS) == 3
        self.dead = False

    async def setup_set(self, s: QueueSet, moderation: int = 0) -> None:
        at = VF.QS_BASE + VF.QS_STRIDE * s.qs
        for ofs, page in zip((QS.JOB_BASE, QS.COMPLETION_BASE, QS.SEND_BASE, QS.RECEIVE_BASE,
                              QS.STATUS_BASE), (*s.pages, s.status_page), strict=True):  # fmt: skip
            await self.write(at + ofs, page)
        await self.write(at + QS.SIZES, sum(v << 8 * k for k, v in enumerate(s.log2s)))
        await self.write(at + QS.IRQ_MODERATION, moderation)
        await self.enable_set(s)

    async def enable_set(self, s: QueueSet) -> None:
        s.clear_memory()
        self.mem[s.status_page * PAGE : s.status_page * PAGE + 8] = bytes(8)
        s.forget()
        s.on = True
        self.dead = False
        at = VF.QS_BASE + VF.QS_STRIDE * s.qs
        await self.write(at + QS.CTRL, 1)
        assert await self.read(at + QS.CTRL) == 1, "queue set does not switch on"

    async def setup(self, moderation: int = 0) -> None:
        await self.setup_pf()
        await self.setup_vf()
        for s in self.sets:
            await self.setup_set(s, moderation)

    async def stat(self, name: str) -> int:
        at = PF.VF_STATS_BASE + PF.VF_STATS_STRIDE * self.vf + 8 * abi.VF_COUNTERS[name]
        return await self.bench.mmio(0, at) | await self.bench.mmio(0, at + 4) << 32

    # -- making NQEs

    def good(self, r: random.Random, queue: int) -> Nqe:
        qs_word = r.getrandbits(23)
        if queue == Queue.SEND:
            return Nqe(r.choice(SEND_OPS), 0, 0, r.choice((0, 2)), r.randrange(self.quota),
                       r.getrandbits(64), r.getrandbits(64), r.getrandbits(32), qs_word | 1 << 23)  # fmt: skip
        op = r.choice(JOB_OPS)
        data, ptr, size = r.getrandbits(64), r.getrandbits(64), r.getrandbits(32)
        if op == Op.ACCEPT:
            data = r.randrange(self.quota) | r.getrandbits(32) << 32
        if op == Op.SOCKET:
            a, b = r.randint(12, 14), r.randint(12, 14)
            ptr = r.randrange(self.pages - (1 << a - 12) + 1) * PAGE
            data = r.randrange(self.pages - (1 << b - 12) + 1) * PAGE
            size = a | b << 8
        return Nqe(op, r.getrandbits(8), 0, r.choice((0, 2)), r.randrange(self.quota), data, ptr, size,
                   qs_word)  # fmt: skip

    def hostile(self, r: random.Random, queue: int, qs: int) -> Nqe:
        """A good NQE with one thing wrong, mostly at an edge."""
        n = self.with_qs(self.good(r, queue), qs)
        d = dict(n.__dict__)
        kind = r.randrange(11)
        end = self.pages * PAGE
        if kind == 0:
            d["op"] = r.getrandbits(8)
        elif kind == 1:
            d["flags"] ^= r.choice((1, 4, 8, 0x80))
        elif kind == 2:
            d["queue_set"] = r.choice((qs ^ 1, qs + 8, 255))
        elif kind == 3:
            d["word"] ^= 1 << r.randrange(24, 32)
        elif kind == 4:
            d["socket"] = r.choice((self.quota, self.quota - 1, M32, 1 << 16, 1 << 31))
        elif kind == 5 and queue == Queue.JOB:
            d.update(op=Op.ACCEPT, op_data=r.choice((self.quota, M32, 1 << 31, self.quota - 1)))
        elif kind == 6 and queue == Queue.JOB:
            d["op"] = r.choice(SEND_OPS)
        elif queue == Queue.JOB:
            log2 = r.choice((12, 12, 13, 24))
            sizes = r.choice((log2 | 12 << 8, 11 | 12 << 8, 25 << 8 | 12, 12 | 12 << 8 | 1 << 16, 0,
                              44 | 12 << 8, 12 | 44 << 8))  # fmt: skip
            d.update(op=Op.SOCKET, size=r.choice((log2 | 12 << 8, 12 | log2 << 8, sizes)))
            ptrs = (end, end - PAGE, end - 2 * PAGE, 1, 0, end - 1, (1 << 64) - PAGE, 1 << 63, 1 << 32,
                    (1 << 32) - PAGE, 1 << 44, (1 << 64) - 1, r.getrandbits(64) & ~4095)  # fmt: skip
            d["data_ptr"], d["op_data"] = r.choice(ptrs), r.choice((0, r.choice(ptrs)))
            if r.random() < 0.5:
                d["data_ptr"], d["op_data"] = d["op_data"], d["data_ptr"]
        else:
            d["op"] = r.choice((*JOB_OPS, 0, 0x22, 0x90, 255))
        return Nqe(**d)

    @staticmethod
    def with_qs(n: Nqe, qs: int) -> Nqe:
        return Nqe(**{**n.__dict__, "queue_set": qs})


# --------------------------------------------------------------------------------------- bench


@dataclass
class Stalls:
    """Shares of clocks with which each side is held back; latencies in clocks."""

    ready: float = 0.0
    data: float = 0.0
    latency: tuple[int, int] = (4, 10)
    engine: tuple[int, int] = (0, 6)


PORTS = [
    "mmio_valid",
    "mmio_func",
    "mmio_write",
    "mmio_addr",
    "mmio_wdata",
    "mmio_ready",
    "mmio_rvalid",
    "mmio_rdata",
    "rdreq_valid",
    "rdreq_ready",
    "rdreq_func",
    "rdreq_addr",
    "rdreq_len",
    "rdreq_lane",
    "rdreq_wrap_len",
    "rdreq_wrap_addr",
    "rdat_valid",
    "rdat_ready",
    "rdat_data",
    "rdat_last",
    "wrreq_valid",
    "wrreq_ready",
    "wrreq_func",
    "wrreq_addr",
    "wrreq_len",
    "wrreq_lane",
    "wrreq_wrap_len",
    "wdat_valid",
    "wdat_ready",
    "wdat_data",
    "wdat_last",
    "irq_valid",
    "irq_ready",
    "irq_func",
    "irq_vector",
    "pay_valid",
    "pay_ready",
    "pay_func",
    "pay_addr",
    "pay_len",
    "payd_valid",
    "payd_ready",
    "payd_data",
    "payd_last",
    "op_valid",
    "op_ready",
    "op_vf",
    "op_qs",
    "op_code",
    "op_flow",
    "op_socket",
    "op_child",
    "op_child_ok",
    "op_data",
    "op_ptr",
    "op_size",
    "opr_valid",
    "opr_status",
    "opr_data",
    "opr_ptr",
    "opr_size",
    "ev_valid",
    "ev_ready",
    "ev_vf",
    "ev_qs",
    "ev_op",
    "ev_socket",
    "ev_data",
    "ev_size",
    "ev_status",
    "recv_room",
    "flush_valid",
    "flush_ready",
    "flush_vf",
    "flush_done",
    "tr_valid",
    "tr_vf",
    "tr_qs",
    "tr_queue",
    "tr_nqe",
    "cfg_en",
    "stat_ev_lost",
    "busy",
    "next_valid",
    "next_us",
    "now_us",
]


class Bench:
    """Host interface, engine and clock around nqe_system.v."""

    def __init__(self, dut: Any, stalls: Stalls | None = None) -> None:
        self.dut = dut
        p = params()
        self.w, self.nvf, self.nqs = p["W"], p.get("NVF", 2), p.get("NQS", 1)
        self.flows = p.get("FLOWS", 64)
        self.nb = self.w // 8
        self.r = rng("bench")
        self.stalls = stalls or Stalls()
        self.s = {n: Signal(getattr(dut, n)) for n in PORTS}
        self.tenants: dict[int, Tenant] = {}
        self.clocks = 0
        self.now = self.r.getrandbits(32)  # time wraps too
        self.clocks_per_us = 50
        self.irqs: dict[tuple[int, int], int] = {}
        self.on_irq: Callable[[int, int], None] | None = None
        self.torn: Callable[[], None] | None = None  # called between beats of a read
        self.engine_stopped = False
        self.flush_hook: Callable[[int], int] | None = None  # clocks until flush_done
        self.flushes: list[int] = []
        self.ev_lost = 0
        # NQEs by (vf, queue set, queue): as the trace port showed them, as the memory saw them.
        self.traced: dict[tuple[int, int, int], list[Nqe]] = {}
        self.truth: dict[tuple[int, int, int], list[Nqe]] = {}
        self.task: Any = None
        start_clock(dut)

    async def reset(self) -> None:
        if self.task is None:
            self.forget()
            self.s["now_us"].set(self.now)
            # The loop starts in reset: before it, outputs may be anything.
            self.dut.rst.value = 1
            await RisingEdge(self.dut.clk)
            self.task = cocotb.start_soon(self._run())
        await reset(self.dut)

    def forget(self) -> None:
        """Nothing is under way (the card is in reset)."""
        for name in ("mmio_valid", "rdreq_ready", "rdat_valid", "wrreq_ready", "wdat_ready",
                     "irq_ready", "pay_valid", "payd_valid", "op_ready", "opr_valid", "ev_valid",
                     "flush_ready", "flush_done"):  # fmt: skip
            self.s[name].set(0)
        self.mmio_queue: deque[list[Any]] = deque()
        self.mmio_now: list[Any] | None = None
        self.mmio_sent = False
        self.reads: deque[tuple[int, int, list[tuple[int, int]], int]] = deque()
        self.rbeats: deque[tuple[int, int, int, int]] = deque()
        self.rpart: list[int] = []
        self.reading: tuple[QueueSet, list[tuple[int, int]]] | None = None
        self.writes: deque[tuple[int, int, int]] = deque()
        self.wpart: list[int] = []
        self.op_due: tuple[int, tuple[int, int, int, int]] | None = None
        self.ev_queue: deque[tuple[Any, ...]] = deque()
        self.ev_now: tuple[Any, ...] | None = None
        self.pay_beats: deque[tuple[int, int]] = deque()
        self.pay_cmd = False
        self.flush_due: int | None = None
        self.traced.clear()
        self.truth.clear()

    def tenant(self, vf: int, pages: int = 64, quota: int = 16,
               log2s: list[tuple[int, ...]] | None = None) -> Tenant:  # fmt: skip
        base = self.r.choice((0x10000000, 0x7_0000_0000, (1 << 64) - (pages << 12))) & ~4095
        base = (base + vf * 0x1000000) & ((1 << 64) - 1) if base < 1 << 40 else base
        t = Tenant(self, vf, base, pages, quota, vf * 16, log2s or [(6, 6, 6, 6)] * self.nqs)
        self.tenants[vf] = t
        return t

    # ---- for tests

    async def clk(self, n: int = 1) -> None:
        edge = RisingEdge(self.dut.clk)
        for _ in range(n):
            await edge

    async def until(self, cond: Callable[[], Any], clocks: int = 20000, what: str = "") -> None:
        edge = RisingEdge(self.dut.clk)
        for _ in range(clocks):
            if cond():
                return
            await edge
        raise AssertionError(f"not within {clocks} clocks: {what}")

    async def mmio(self, func: int, addr: int, value: int | None = None) -> int:
        entry: list[Any] = [func, addr, value, None]
        self.mmio_queue.append(entry)
        await self.until(lambda: entry[3] is not None, 5000, f"MMIO {func} {addr:#x} {value}")
        return int(entry[3])

    async def counter(self, name: str) -> int:
        at = PF.STATS + 8 * abi.COUNTERS[name]
        return await self.mmio(0, at) | await self.mmio(0, at + 4) << 32

    def event(self, t: Tenant, qs: int, n: Nqe, payload: bytes = b"", at: int = 0) -> None:
        """The engine's notification, after `payload` written at region offset `at`."""
        self.ev_queue.append((t, qs, n, payload, at))

    def event_bit(self, t: Tenant, qs: int) -> int:
        return self.s["recv_room"].get() >> (t.vf * self.nqs + qs) & 1

    async def idle(self, clocks: int = 20000) -> None:
        """Until the card says that it does nothing and nothing is under way outside."""

        def quiet() -> bool:
            return not (self.s["busy"].get() or self.reads or self.rbeats or self.writes or self.op_due
                        or self.ev_queue or self.ev_now or self.mmio_queue or self.mmio_now
                        or self.flush_due is not None)  # fmt: skip

        for _ in range(3):
            await self.until(quiet, clocks, "idle")
            await self.clk(4)

    # ---- the loop

    async def _run(self) -> None:
        s, edge, r = self.s, RisingEdge(self.dut.clk), self.r
        rst = Signal(self.dut.rst)
        while True:
            await edge
            self.clocks += 1
            if rst.get():
                self.forget()
                continue
            st = self.stalls
            self._mmio()
            self._dma_read(st, r)
            self._dma_write()
            self._engine(st, r)
            self._events()
            if s["irq_valid"].get() and s["irq_ready"].last:
                key = (s["irq_func"].get() - 1, s["irq_vector"].get())
                self.irqs[key] = self.irqs.get(key, 0) + 1
                if self.on_irq:
                    self.on_irq(*key)
            if s["tr_valid"].get():
                where = (s["tr_vf"].get(), s["tr_qs"].get(), s["tr_queue"].get())
                got = Nqe.unpack(s["tr_nqe"].get().to_bytes(32, "little"))
                self.traced.setdefault(where, []).append(got)
            self.ev_lost += s["stat_ev_lost"].get()
            for name in ("rdreq_ready", "wrreq_ready", "wdat_ready", "irq_ready"):
                s[name].set(0 if st.ready and r.random() < st.ready else 1)
            if self.clocks % self.clocks_per_us == 0:
                self.now = (self.now + 1) & M32
                s["now_us"].set(self.now)

    def _mmio(self) -> None:
        s = self.s
        if self.mmio_now is not None:
            entry = self.mmio_now
            if not self.mmio_sent and s["mmio_ready"].get():
                s["mmio_valid"].set(0)
                self.mmio_sent, self.mmio_since = True, self.clocks
                if entry[2] is not None:
                    entry[3], self.mmio_now = 0, None
            if self.mmio_now is not None and self.mmio_sent:
                assert self.clocks - self.mmio_since <= 64, "MMIO read data late"
                if s["mmio_rvalid"].get():
                    entry[3], self.mmio_now = s["mmio_rdata"].get(), None
        elif s["mmio_rvalid"].get():
            raise AssertionError("MMIO read data without a read")
        if self.mmio_now is None and self.mmio_queue:
            self.mmio_now, self.mmio_sent = self.mmio_queue.popleft(), False
            func, addr, value, _ = self.mmio_now
            s["mmio_func"].set(func)
            s["mmio_addr"].set(addr)
            s["mmio_write"].set(int(value is not None))
            s["mmio_wdata"].set((value or 0) & M32)
            s["mmio_valid"].set(1)

    def _owner(self, func: int, addr: int, length: int) -> tuple[Tenant, int]:
        t = self.tenants.get(func - 1)
        assert t is not None, f"DMA for function {func}"
        offset = addr - t.base
        assert offset >= 0 and offset + length <= len(t.mem), f"DMA outside the region: {addr:#x}"
        assert not t.dead, "DMA after the VF was stopped"
        return t, offset

    def _dma_read(self, st: Stalls, r: random.Random) -> None:
        s = self.s
        if s["rdreq_valid"].get() and s["rdreq_ready"].last:
            length, wrap = s["rdreq_len"].get(), s["rdreq_wrap_len"].get()
            func = s["rdreq_func"].get()
            t, at = self._owner(func, s["rdreq_addr"].get(), min(length, wrap))
            parts = [(at, min(length, wrap))]
            if length > wrap:
                parts.append(
                    (self._owner(func, s["rdreq_wrap_addr"].get(), length - wrap)[1], length - wrap)
                )
            assert s["rdreq_lane"].get() == 0
            q = self._set_of(t, at)
            nqes = q.card_read(at, length)
            slots = [q.slot(queue, i) for queue, i in nqes]
            flat = [a + k for a, n in parts for k in range(0, n, 32)]
            assert flat == slots, "the read does not follow the ring"
            self.reads.append((self.clocks + r.randint(*st.latency), func, nqes, q.qs))
        if s["rdat_valid"].last and s["rdat_ready"].get():
            s["rdat_valid"].set(0)
        if not self.rbeats and self.reads and self.reads[0][0] <= self.clocks:
            _, func, nqes, qs = self.reads.popleft()
            self.reading = (self.tenants[func - 1].sets[qs], nqes)
            total = 32 * len(nqes)
            self.rbeats.extend((k, min(self.nb, total - k), int(k + self.nb >= total), 0)
                               for k in range(0, total, self.nb))  # fmt: skip
        if self.rbeats and not s["rdat_valid"].last and not (st.data and r.random() < st.data):
            k, n, last, _ = self.rbeats.popleft()
            if self.torn:
                self.torn()
            assert self.reading is not None
            q, nqes = self.reading
            data = b""
            for byte in range(k, k + n, 8):
                queue, i = nqes[byte // 32]
                at = q.slot(queue, i) + byte % 32
                data += bytes(q.tenant.mem[at : at + 8])
            self.rpart += data
            while len(self.rpart) >= 32:
                raw, self.rpart = bytes(self.rpart[:32]), self.rpart[32:]
                queue, i = nqes[(k + n - len(self.rpart)) // 32 - 1]
                got = Nqe.unpack(raw)
                self.truth.setdefault((q.tenant.vf, q.qs, int(queue)), []).append(got)
                if q.on:
                    q.card_got(queue, i, got)
            rubbish = self.r.getrandbits(self.w) >> 8 * n << 8 * n
            s["rdat_data"].set(int.from_bytes(data, "little") | rubbish & (1 << self.w) - 1)
            s["rdat_last"].set(last)
            s["rdat_valid"].set(1)

    def _set_of(self, t: Tenant, at: int) -> QueueSet:
        for q in t.sets:
            if q.pages[0] * PAGE <= at < q.end_page * PAGE:
                return q
        raise AssertionError(f"DMA in no queue set: {at:#x}")

    def _dma_write(self) -> None:
        s = self.s
        if s["wrreq_valid"].get() and s["wrreq_ready"].last:
            func, length = s["wrreq_func"].get(), s["wrreq_len"].get()
            assert s["wrreq_wrap_len"].get() == 0xFFFF and s["wrreq_lane"].get() == 0
            self._owner(func, s["wrreq_addr"].get(), length)
            self.writes.append((func, s["wrreq_addr"].get(), length))
        if s["wdat_valid"].get() and s["wdat_ready"].last:
            assert self.writes, "data before their command"
            func, addr, length = self.writes[0]
            self.wpart += s["wdat_data"].get().to_bytes(self.nb, "little")
            done = len(self.wpart) >= length
            assert bool(s["wdat_last"].get()) == done
            if done:
                data, self.wpart = bytes(self.wpart[:length]), []
                self.writes.popleft()
                t, at = self._owner(func, addr, length)
                if length > 32:  # payload
                    t.mem[at : at + length] = data
                    return
                q = self._set_of(t, at)
                q.card_wrote(at, data)
                t.mem[at : at + length] = data
                if length == 32:
                    queue = Queue.COMPLETION if at < q.pages[2] * PAGE else Queue.RECEIVE
                    key = (t.vf, q.qs, int(queue))
                    self.truth.setdefault(key, []).append(Nqe.unpack(data))

    def _engine(self, st: Stalls, r: random.Random) -> None:
        s = self.s
        if s["opr_valid"].last:
            s["opr_valid"].set(0)
        if s["op_valid"].get() and s["op_ready"].last:
            vf, qs, code = s["op_vf"].get(), s["op_qs"].get(), s["op_code"].get()
            socket, size, data = s["op_socket"].get(), s["op_size"].get(), s["op_data"].get()
            op = (code, s["op_flow"].get(), socket, s["op_child"].get() if code == Op.ACCEPT else -1,
                  data, s["op_ptr"].get(), size)  # fmt: skip
            assert s["op_child_ok"].get() == (code == Op.ACCEPT)
            q = self.tenants[vf].sets[qs]
            if q.on:
                q.engine_ran(int(code in SEND_OPS), op)
            self.op_due = (
                self.clocks + r.randint(*st.engine),
                engine_answer(vf, code, socket, size, data),
            )
            s["op_ready"].set(0)
        elif self.op_due is None and not s["op_ready"].last:
            s["op_ready"].set(
                int(not self.engine_stopped and (not st.ready or r.random() >= st.ready))
            )
        if self.op_due is not None and self.op_due[0] <= self.clocks:
            for name, value in zip(("status", "data", "ptr", "size"), self.op_due[1], strict=True):
                s[f"opr_{name}"].set(value)
            s["opr_valid"].set(1)
            self.op_due = None
        # flush of a VF
        if s["flush_done"].last:
            s["flush_done"].set(0)
        if s["flush_valid"].get() and s["flush_ready"].last:
            vf = s["flush_vf"].get()
            self.flushes.append(vf)
            if vf in self.tenants:
                self.tenants[vf].dead = True
            self.flush_due = self.clocks + (
                self.flush_hook(vf) if self.flush_hook else r.randint(0, 40)
            )
            s["flush_ready"].set(0)
        elif self.flush_due is None:
            s["flush_ready"].set(int(r.random() < 0.5))
        if self.flush_due is not None and self.flush_due <= self.clocks and not self.ev_queue:
            s["flush_done"].set(1)
            self.flush_due = None

    def _events(self) -> None:
        s = self.s
        if s["pay_valid"].last and s["pay_ready"].get():
            s["pay_valid"].set(0)
        if s["payd_valid"].last and s["payd_ready"].get():
            s["payd_valid"].set(0)
        if self.pay_beats and not s["payd_valid"].last and not s["pay_valid"].last:
            data, last = self.pay_beats.popleft()
            s["payd_data"].set(data)
            s["payd_last"].set(last)
            s["payd_valid"].set(1)
        if s["ev_valid"].last and s["ev_ready"].get():
            s["ev_valid"].set(0)
            self.ev_now = None
        if self.ev_now is None and self.ev_queue:
            t, qs, n, payload, at = self.ev_now = self.ev_queue.popleft()
            if payload:
                s["pay_func"].set(t.vf + 1)
                s["pay_addr"].set(t.base + at)
                s["pay_len"].set(len(payload))
                s["pay_valid"].set(1)
                for k in range(0, len(payload), self.nb):
                    part = int.from_bytes(payload[k : k + self.nb], "little")
                    self.pay_beats.append((part, int(k + self.nb >= len(payload))))
        paid = not (self.pay_beats or s["pay_valid"].last or s["payd_valid"].last)
        if self.ev_now is not None and paid and not s["ev_valid"].last:
            t, qs, n, _, _ = self.ev_now
            s["ev_vf"].set(t.vf)
            s["ev_qs"].set(qs)
            s["ev_op"].set(n.op)
            s["ev_socket"].set(n.socket)
            s["ev_data"].set(n.op_data)
            s["ev_size"].set(n.size)
            s["ev_status"].set(n.word >> 24)
            s["ev_valid"].set(1)
            if t.sets[qs].on and not t.dead:
                t.sets[qs].events.append(Nqe(**{**n.__dict__, "vm_id": t.vf, "queue_set": qs}))
