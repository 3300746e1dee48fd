# SPDX-License-Identifier: Apache-2.0
"""A tenant: drives one VF through the ABI as GuestLib does, and checks every promise of the card.

Nothing here waits. Calls write NQEs and queue doorbells; `poll()` reads what the card wrote and calls the
hooks. So it runs inside a simulation as well as without one.

Checked for each NQE and socket: phase, vm_id and queue set; exactly one completion for each job, in
order, with the cookie; DATA never beyond the credit, SENT never beyond what was sent; no DATA after
PEER_CLOSED; one CONNECTED or ACCEPTED; one end; nothing after CLOSED, and exactly one CLOSED. Rings lose
their DMA permission with CLOSED, so any later touch is a memory fault.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from netkernel import abi
from netkernel.abi import Op, Queue, Status

from common.hostmem import PAGE, READ, WRITE, Memory

U32 = 0xFFFFFFFF


class Bus(Protocol):
    """What a tenant needs of the shim."""

    def doorbell(self, func: int, addr: int, value: int) -> None: ...


class Broken(AssertionError):
    """The card broke a promise of the ABI."""


@dataclass
class Job:
    """A job NQE on its way; filled in by its completion."""

    op: int
    socket: int
    cookie: int
    done: bool = False
    status: Status = Status.OK
    op_data: int = 0
    data_ptr: int = 0
    size: int = 0


def addr(rip: int, rport: int, lport: int = 0) -> int:
    return rip | rport << 32 | lport << 48


class Ring:
    """One NQE ring in the tenant's memory. Indices run freely, modulo 2^32."""

    def __init__(self, memory: Memory, log2: int, to_card: bool) -> None:
        self.log2, self.size = log2, 1 << log2
        nbytes = self.size * abi.NQE_SIZE
        self.offset = memory.alloc(nbytes, READ if to_card else WRITE)
        view = memory.bytes[self.offset : self.offset + nbytes]
        self.entries = view.view(abi.NQE_DTYPE)
        self.index = 0  # tail of what we write, or head of what we read

    def phase(self) -> int:
        return ~self.index >> self.log2 & 1

    def reset(self) -> None:
        self.index = 0
        self.entries.view(np.uint8)[:] = 0

    def push(
        self,
        op: int,
        queue_set: int,
        socket: int,
        op_data: int = 0,
        data_ptr: int = 0,
        size: int = 0,
        cookie: int = 0,
        flags: int = 0,
    ) -> None:
        entry = (op, 0xEE, queue_set, flags ^ self.phase(), socket, op_data, data_ptr, size, cookie)
        self.entries[self.index & self.size - 1] = entry
        self.index += 1

    def pop(self) -> tuple[int, ...] | None:
        """The next entry that the card wrote, or None."""
        entry = self.entries[self.index & self.size - 1].item()
        if entry[3] & 1 != self.phase():
            return None
        # Again: where the card runs beside us, the first look may have copied the end before the phase.
        entry = self.entries[self.index & self.size - 1].item()
        self.index += 1
        return tuple(entry)


@dataclass
class Sock:
    """One socket of the tenant."""

    tenant: Tenant
    id: int
    qs: int
    rx_log2: int
    tx_log2: int
    rx_offset: int
    tx_offset: int
    auto_credit: bool = True
    received: bytearray = field(default_factory=bytearray, repr=False)
    credited: int = 0
    to_send: deque[bytes] = field(default_factory=deque, repr=False)
    sent: int = 0  # bytes given to the card
    acked: int = 0
    events: list[str] = field(default_factory=list)
    peer: tuple[int, int] | None = None
    created: Job | None = None
    mss: int = 0
    listener: Sock | None = None
    connected: bool = False
    peer_closed: bool = False
    ended: Status | None = None
    closing: bool = False
    closed: bool = False
    shut: bool = False
    shut_when_sent: bool = False
    on_data: Callable[[Sock, bytes], None] | None = None
    on_event: Callable[[Sock, str], None] | None = None
    user: Any = None

    # ---- calls -------------------------------------------------------------------------------

    def connect(self, rip: int, rport: int, lport: int | None = None) -> Job:
        """Open actively; without `lport` from the tenant's next ephemeral port (ports are the tenant's)."""
        if lport is None:
            lport = self.tenant.next_port
            self.tenant.next_port = 32768 + (lport + 1 - 32768) % 28000
        return self.tenant.job(self, Op.CONNECT, addr(rip, rport, lport))

    def listen(self, port: int) -> Job:
        return self.tenant.job(self, Op.LISTEN, addr(0, 0, port))

    def credit_accept(self, child: Sock) -> Job:
        child.listener = self
        return self.tenant.job(self, Op.ACCEPT, child.id)

    def send(self, data: bytes) -> None:
        """Queue data; it goes into the TX ring as room appears."""
        self.to_send.append(bytes(data))
        self.pump()

    def shutdown(self) -> Job | None:
        """FIN after all data. With data still waiting for ring room it follows later (None)."""
        if self.to_send:
            self.shut_when_sent = True
            return None
        self.shut = True
        return self.tenant.job(self, Op.SHUTDOWN)

    def close(self) -> Job:
        self.closing = True
        return self.tenant.job(self, Op.CLOSE)

    def abort(self) -> Job:
        self.closing = True
        return self.tenant.job(self, Op.ABORT)

    def info(self) -> Job:
        return self.tenant.job(self, Op.INFO)

    def setopt(self, option: int, value: int) -> Job:
        """`option`: one of abi.Option."""
        return self.tenant.job(self, Op.SETOPT, option | value << 32)

    def give_credit(self, n: int | None = None) -> None:
        """Hand consumed bytes back to the card, which opens the window."""
        n = len(self.received) - self.credited if n is None else n
        if n:
            self.credited += n
            self.tenant.send_op(self, Op.CREDIT, n)

    @property
    def outstanding(self) -> int:
        return self.sent - self.acked

    @property
    def all_acked(self) -> bool:
        return not self.to_send and self.acked == self.sent

    # ---- the TX ring ---------------------------------------------------------------------------

    def pump(self) -> None:
        """Move queued data into the TX ring and tell the card, while there is room."""
        if not (self.connected or self.peer) or self.ended is not None:
            return
        tenant, size = self.tenant, 1 << self.tx_log2
        while self.to_send:
            room = size - self.outstanding
            if not room or not tenant.send_room(self.qs):
                break
            data = self.to_send.popleft()
            part, rest = data[:room], data[room:]
            if rest:
                self.to_send.appendleft(rest)
            self._put(part)
            self.sent += len(part)
            tenant.send_op(self, Op.SEND, len(part))
        if self.shut_when_sent and not self.to_send:
            self.shut_when_sent = False
            self.shutdown()

    def _put(self, data: bytes) -> None:
        size = 1 << self.tx_log2
        ring = self.tenant.memory.bytes[self.tx_offset : self.tx_offset + size]
        at = self.sent & size - 1
        first = min(len(data), size - at)
        view = np.frombuffer(data, dtype=np.uint8)
        ring[at : at + first] = view[:first]
        ring[: len(data) - first] = view[first:]

    def _take(self, n: int) -> bytes:
        size = 1 << self.rx_log2
        ring = self.tenant.memory.bytes[self.rx_offset : self.rx_offset + size]
        at = len(self.received) & size - 1
        first = min(n, size - at)
        data = ring[at : at + first].tobytes() + ring[: n - first].tobytes()
        # Whoever reads consumed bytes again, or announces them twice, gets rubbish.
        ring[at : at + first] = 0xDB
        ring[: n - first] = 0xDB
        return data


class QueueSet:
    """The four rings and the status block of one queue set."""

    def __init__(self, memory: Memory, index: int, logs: tuple[int, int, int, int]) -> None:
        self.index = index
        self.rings = [Ring(memory, log2, q in (0, 2)) for q, log2 in enumerate(logs)]
        self.status_offset = memory.alloc(PAGE, WRITE)
        end = self.status_offset + abi.STATUS_BLOCK_SIZE
        self.status = memory.bytes[self.status_offset : end].view(abi.STATUS_BLOCK_DTYPE)
        self.pending: deque[Job] = deque()
        self.backlog: deque[tuple[int, tuple[Any, ...]]] = deque()
        self.expected_rejects: deque[tuple[int, int]] = deque()
        self.arm = 0

    def reset(self) -> None:
        for ring in self.rings:
            ring.reset()
        self.status.view(np.uint8)[:] = 0
        self.pending.clear()
        self.backlog.clear()
        self.expected_rejects.clear()

    def room(self, queue: Queue) -> int:
        """Free entries of a ring towards the card."""
        ring = self.rings[queue]
        head = int(self.status[0]["job_head" if queue == Queue.JOB else "send_head"])
        return ring.size - (ring.index - head & U32)


class Tenant:
    """One VF's software: queue sets, sockets, and the checks."""

    def __init__(
        self,
        bus: Bus,
        vf: int,
        memory: Memory,
        *,
        logs: tuple[int, int, int, int] = (6, 6, 6, 6),
        queue_sets: int = 1,
        max_sockets: int = 64,
        seed: int = 0,
    ) -> None:
        self.bus, self.vf, self.func, self.memory = bus, vf, vf + 1, memory
        self.rng = random.Random(f"tenant {vf} {seed}")
        self.qs = [QueueSet(memory, i, logs) for i in range(queue_sets)]
        self.max_sockets = max_sockets
        self.sockets: dict[int, Sock] = {}
        self.free_ids = deque(range(max_sockets))
        self.next_port = 32768
        self.closed_total = 0
        self.failed_jobs = 0
        self.past: set[int] = set()  # ids that were free again at some time
        self.rejects: list[tuple[int, Status]] = []
        self.poison_tx = False
        self.hold_events = False  # a tenant that does not read its receive ring
        self.hold_completions = False
        self.events_seen = 0
        self.on_accept: Callable[[Sock], None] | None = None

    # ---- registers -----------------------------------------------------------------------------

    def register_writes(self) -> list[tuple[int, int]]:
        """(address, value) that set the VF up, in order, from a fresh reset."""
        base, out = self.memory.base, []
        out.append((abi.VF.REGION_BASE_LO, base & U32))
        out.append((abi.VF.REGION_BASE_HI, base >> 32))
        out.append((abi.VF.REGION_PAGES, self.memory.pages))
        out.append((abi.VF.CTRL, 1))
        for q in self.qs:
            out += self.queue_set_writes(q)
        return out

    @staticmethod
    def queue_set_writes(q: QueueSet) -> list[tuple[int, int]]:
        at = abi.VF.QS_BASE + abi.VF.QS_STRIDE * q.index
        regs = (abi.QS.JOB_BASE, abi.QS.COMPLETION_BASE, abi.QS.SEND_BASE, abi.QS.RECEIVE_BASE)
        out = [(at + r, ring.offset // PAGE) for r, ring in zip(regs, q.rings, strict=True)]
        sizes = sum(ring.log2 << 8 * i for i, ring in enumerate(q.rings))
        out.append((at + abi.QS.SIZES, sizes))
        out.append((at + abi.QS.STATUS_BASE, q.status_offset // PAGE))
        out.append((at + abi.QS.CTRL, 1))
        return out

    def reset(self) -> None:
        """Forget everything after a reset of the VF or the card."""
        for q in self.qs:
            q.reset()
        for sock in self.sockets.values():
            self._release_rings(sock)
        self.sockets.clear()
        self.free_ids = deque(range(self.max_sockets))

    def _db(self, q: QueueSet, reg: int, value: int) -> None:
        at = abi.VF.DB_BASE + abi.VF.DB_STRIDE * q.index + reg
        self.bus.doorbell(self.func, at, value & U32)

    def arm(self, qs: int = 0) -> None:
        q = self.qs[qs]
        q.arm += 1
        self._db(q, abi.DB.IRQ_ARM, q.arm)

    # ---- jobs and sends --------------------------------------------------------------------------

    def socket(
        self,
        rx_log2: int = 14,
        tx_log2: int = 14,
        qs: int = 0,
        *,
        auto_credit: bool = True,
    ) -> Sock:
        """Take a free id and rings, and create the socket."""
        sid = self.free_ids.popleft()
        rx = self.memory.alloc(1 << rx_log2, WRITE)
        tx = self.memory.alloc(1 << tx_log2, READ)
        sock = Sock(self, sid, qs, rx_log2, tx_log2, rx, tx, auto_credit)
        self.sockets[sid] = sock
        sock.created = self.job(sock, Op.SOCKET, tx, rx, rx_log2 | tx_log2 << 8)
        return sock

    def job(self, sock: Sock, op: int, op_data: int = 0, data_ptr: int = 0, size: int = 0) -> Job:
        return self.raw_job(op, sock.id, op_data, data_ptr, size, qs=sock.qs)

    def raw_job(
        self,
        op: int,
        socket: int,
        op_data: int = 0,
        data_ptr: int = 0,
        size: int = 0,
        *,
        qs: int = 0,
        flags: int = 0,
        queue_set: int | None = None,
        status: int = 0,
    ) -> Job:
        """Post a job NQE, good or bad. It waits in software while the ring is full."""
        q = self.qs[qs]
        job = Job(op, socket, self.rng.getrandbits(24))
        q.pending.append(job)
        entry = (op, qs if queue_set is None else queue_set, socket, op_data, data_ptr, size)
        q.backlog.append((Queue.JOB, (*entry, job.cookie | status << 24, flags)))
        self._flush(q)
        return job

    def send_room(self, qs: int) -> bool:
        return self.qs[qs].room(Queue.SEND) > 0

    def send_op(self, sock: Sock, op: int, n: int) -> None:
        q = self.qs[sock.qs]
        q.backlog.append((Queue.SEND, (op, sock.qs, sock.id, 0, 0, n, 0, 0)))
        self._flush(q)

    def raw_send(self, op: int, socket: int, size: int, *, qs: int = 0, flags: int = 0) -> int:
        """Post a send NQE that the card must reject; its completion carries the cookie returned."""
        q = self.qs[qs]
        cookie = self.rng.getrandbits(24)
        q.expected_rejects.append((op, cookie))
        q.backlog.append((Queue.SEND, (op, qs, socket, 0, 0, size, cookie, flags)))
        self._flush(q)
        return cookie

    def _flush(self, q: QueueSet) -> None:
        moved = set()
        keep: deque[tuple[int, tuple[Any, ...]]] = deque()
        full: set[int] = set()
        for queue, entry in q.backlog:
            if queue in full or not q.room(Queue(queue)):
                full.add(queue)
                keep.append((queue, entry))
                continue
            q.rings[queue].push(*entry)
            moved.add(queue)
        q.backlog = keep
        if Queue.JOB in moved:
            self._db(q, abi.DB.JOB_TAIL, q.rings[Queue.JOB].index)
        if Queue.SEND in moved:
            self._db(q, abi.DB.SEND_TAIL, q.rings[Queue.SEND].index)

    # ---- what comes back ---------------------------------------------------------------------------

    def poll(self) -> int:
        """Take everything that stands in the completion and receive rings."""
        n = 0
        for q in self.qs:
            before = n
            if not self.hold_completions:
                while (entry := q.rings[Queue.COMPLETION].pop()) is not None:
                    self._completion(q, entry)
                    n += 1
                if n > before:
                    index = q.rings[Queue.COMPLETION].index
                    self._db(q, abi.DB.COMPLETION_HEAD, index)
            before = n
            if not self.hold_events:
                while (entry := q.rings[Queue.RECEIVE].pop()) is not None:
                    self._event(q, entry)
                    n += 1
                if n > before:
                    self._db(q, abi.DB.RECEIVE_HEAD, q.rings[Queue.RECEIVE].index)
            if q.backlog:
                self._flush(q)
        if n:
            for sock in list(self.sockets.values()):
                if sock.to_send or sock.shut_when_sent:
                    sock.pump()
        return n

    def _common(self, q: QueueSet, entry: tuple[int, ...]) -> None:
        _, vm_id, queue_set, flags = entry[:4]
        if vm_id != self.vf:
            raise Broken(f"VF {self.vf} got an NQE stamped {vm_id}: {entry}")
        if queue_set != q.index:
            raise Broken(f"queue set {q.index} got an NQE of {queue_set}: {entry}")
        if flags & ~3:
            raise Broken(f"flags {flags:#x}: {entry}")

    def _completion(self, q: QueueSet, entry: tuple[int, ...]) -> None:
        self._common(q, entry)
        op, socket, op_data, data_ptr, size, word = entry[0], *entry[4:9]
        cookie, status = word & 0xFFFFFF, Status(word >> 24)
        if q.pending and (q.pending[0].cookie, q.pending[0].op) == (cookie, op):
            job = q.pending.popleft()
            if socket != job.socket:
                raise Broken(f"completion for socket {socket}, job was for {job.socket}")
            job.status, job.op_data, job.data_ptr, job.size = status, op_data, data_ptr, size
            job.done = True
            self.failed_jobs += status != Status.OK
            self._completed(job)
            return
        if (op, cookie) in q.expected_rejects:
            q.expected_rejects.remove((op, cookie))
            if status == Status.OK:
                raise Broken(f"send NQE {op:#x} completed with OK")
            self.rejects.append((op, status))
            return
        if op in (Op.SEND, Op.CREDIT) and status == Status.BAD_STATE:
            # The connection ended while our SEND or CREDIT was on its way; the socket may even have
            # been freed since: completions and events have no order among each other.
            sock = self.sockets.get(socket)
            over = sock is not None and (sock.ended is not None or sock.closing)
            if over or socket in self.past or self._end_coming(q):
                self.rejects.append((op, status))
                return
        raise Broken(
            f"completion out of order or for no job: {entry}; pending {list(q.pending)[:3]}"
        )

    def _end_coming(self, q: QueueSet) -> bool:
        """Completions and events are two rings: the end may stand unread in the other one."""
        ring = q.rings[Queue.RECEIVE]
        here = ring.index
        try:
            while (entry := ring.pop()) is not None:
                if entry[0] in (Op.RESET, Op.TIMEOUT, Op.CLOSED):
                    return True
            return False
        finally:
            ring.index = here

    def _completed(self, job: Job) -> None:
        if job.op == Op.SOCKET and job.status != Status.OK:
            sock = self.sockets.get(job.socket)
            if sock is not None and sock.created is job:
                del self.sockets[sock.id]
                self._release_rings(sock)
                self.free_ids.append(sock.id)

    def _event(self, q: QueueSet, entry: tuple[int, ...]) -> None:
        self._common(q, entry)
        self.events_seen += 1
        op, socket, op_data, _, size, word = entry[0], *entry[4:9]
        status = Status(word >> 24)
        sock = self.sockets.get(socket)
        if sock is None:
            raise Broken(f"event {op:#x} for socket {socket}, which is closed or never was")
        if sock.qs != q.index:
            raise Broken(f"event for socket {socket} in queue set {q.index}")
        if sock.ended is not None and op != Op.CLOSED:
            raise Broken(f"{Op(op).name} after the end: {sock}")
        name = Op(op).name
        handler = getattr(self, f"_on_{name.lower()}", None)
        if handler is None:
            raise Broken(f"{name} is no event")
        handler(sock, op_data, size, status)
        if name not in ("DATA", "SENT"):
            sock.events.append(name)
        if sock.on_event:
            sock.on_event(sock, name)

    def _on_connected(self, sock: Sock, op_data: int, size: int, status: Status) -> None:
        if sock.connected or sock.listener:
            raise Broken(f"CONNECTED: {sock}")
        sock.connected, sock.mss = True, size
        sock.peer = (op_data & U32, op_data >> 32 & 0xFFFF)
        sock.pump()

    def _on_accepted(self, sock: Sock, op_data: int, size: int, status: Status) -> None:
        if sock.connected or sock.listener is None or size != sock.listener.id:
            raise Broken(f"ACCEPTED with listener {size}: {sock}")
        sock.connected = True
        sock.peer = (op_data & U32, op_data >> 32 & 0xFFFF)
        sock.pump()
        if self.on_accept:
            self.on_accept(sock)

    def _on_data(self, sock: Sock, op_data: int, size: int, status: Status) -> None:
        if not sock.connected or sock.peer_closed or not size:
            raise Broken(f"DATA of {size}: {sock}")
        if len(sock.received) + size - sock.credited > 1 << sock.rx_log2:
            raise Broken(f"DATA of {size} bytes beyond the credit: {sock}")
        data = sock._take(size)
        sock.received += data
        if sock.on_data:
            sock.on_data(sock, data)
        if sock.auto_credit:
            sock.give_credit()

    def _on_sent(self, sock: Sock, op_data: int, size: int, status: Status) -> None:
        if not size or sock.acked + size > sock.sent:
            raise Broken(f"SENT of {size}: {sock.sent} sent, {sock.acked} acknowledged")
        if self.poison_tx:
            ring = 1 << sock.tx_log2
            at = (np.arange(size) + sock.acked) & ring - 1
            self.memory.bytes[sock.tx_offset + at] = 0xDB
        sock.acked += size
        sock.pump()

    def _on_peer_closed(self, sock: Sock, op_data: int, size: int, status: Status) -> None:
        if not sock.connected or sock.peer_closed:
            raise Broken(f"PEER_CLOSED: {sock}")
        sock.peer_closed = True

    def _on_reset(self, sock: Sock, op_data: int, size: int, status: Status) -> None:
        if status not in (Status.PEER_RESET, Status.REFUSED, Status.UNREACHABLE):
            raise Broken(f"RESET with status {status!r}")
        sock.ended = status

    def _on_timeout(self, sock: Sock, op_data: int, size: int, status: Status) -> None:
        sock.ended = Status.TIMED_OUT

    def _on_closed(self, sock: Sock, op_data: int, size: int, status: Status) -> None:
        listener = sock.listener
        handed_back = listener is not None and not sock.connected
        if not sock.closing and not handed_back:
            raise Broken(f"CLOSED without CLOSE: {sock}")
        sock.closed = True
        self.closed_total += 1
        del self.sockets[sock.id]
        self._release_rings(sock)
        self.free_ids.append(sock.id)
        self.past.add(sock.id)

    def _release_rings(self, sock: Sock) -> None:
        self.memory.allow(sock.rx_offset, 1 << sock.rx_log2, 0)
        self.memory.allow(sock.tx_offset, 1 << sock.tx_log2, 0)

    # ---- at the end of a test ------------------------------------------------------------------------

    @property
    def quiet(self) -> bool:
        """No job without completion, nothing that still waits for ring room."""
        return all(not q.pending and not q.backlog and not q.expected_rejects for q in self.qs)
