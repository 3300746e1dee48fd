# SPDX-License-Identifier: Apache-2.0
"""A traffic generator and an ideal host around nk_perf_tb.v: a beat a clock on every channel, without bubbles.

The host answers a DMA read in the clock after its request and a beat a clock from then on, takes every write at
once, and never holds back. Payload is one byte over and over, so its beats cost Python next to nothing; it is
counted, and samples of it are compared. What the card sends is checked as it leaves: each flow's bytes follow
one another, in full segments.

The peer is one host with a connection for each flow. It acknowledges every second segment, or with its own data.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from common.hostmem import Memory
from common.runner import seed
from common.stream import Signal, rng, start_clock
from common.tenant import Sock, Tenant
from model import frames as fr
from netkernel.abi import PF, VF, VFE, Op, Option, Status

(MMIO_READY, MMIO_RVALID, RDREQ, RDAT_READY, WRREQ, WDAT, WDAT_LAST, IRQ, RX_READY, TX, TX_LAST, BUSY,
 TX_FIRST) = (1 << i for i in range(13))  # fmt: skip
NBYTES = 64
CLOCKS_PER_US = 250
FILL = 0x5A
FILL_BEAT = int.from_bytes(bytes([FILL]) * NBYTES, "little")
CARD_MAC, PEER_MAC = 0x02_4E_4B_00_00_00, 0x02_00_00_00_00_C8
CARD_IP, PEER_IP = fr.ip("10.1.0.2"), fr.ip("10.1.0.200")
PORT, FIRST_PORT = 80, 10000
WSCALE = 8
U32 = 0xFFFFFFFF
HEADER = 54
# NSM profile: SACK, window scale, tail loss probes; no timestamps.
PROFILE = 0x1900
SPARE = 8  # accept credits beyond those that are used
SAMPLE = 32  # every so many frames of the card one is looked at from end to end

PROBES = (
    *("rx_beat", "rx_wait", "rx_frame", "tx_beat", "tx_frame", "rdreq", "rdat", "rdat_wait", "wrreq", "wdat"),
    *("txd", "txd_wait", "pass_rx", "pass_op", "pass_open", "pass_tmr", "pass_flush", "pass_ptb", "pass_ntf"),
    *("pass_tx", "seg", "seg_wait", "front", "front_wait", "no_room", "no_room_act", "no_room_txd"),
    *("no_room_open", "nobody", "txq_waits", "ntq_no_room", "timer_set", "payload_beat", "payload_wait"),
    *("event", "event_wait", "place_wr", "place_wr_wait", "place_beat_wait", "nqe_wr", "nqe_wr_wait"),
    *("op_wait", "op", "open_idle", "open_1", "open_isn", "open_pop", "open_ins", "open_pass", "open_wait"),
    *("open_push", "open_init", "open_bit", "open_dec", "open_peek", "pass_spare"),
)  # fmt: skip

Beats = list[tuple[int, int, int]]  # data, last, bytes


def beats_of(frame: bytes) -> Beats:
    """A frame as bus beats, padded to 60 bytes."""
    frame = frame.ljust(60, b"\0")
    n = len(frame)
    return [
        (int.from_bytes(frame[i : i + NBYTES], "little"), int(i + NBYTES >= n), min(NBYTES, n - i))
        for i in range(0, n, NBYTES)
    ]


class Peer:
    """The other end of one connection."""

    def __init__(self, index: int, iss: int) -> None:
        self.port = FIRST_PORT + index
        self.seq = iss
        self.ack = 0
        self.sent = 0  # payload bytes
        self.got = 0
        self.unacked = 0  # segments received since we last acknowledged
        self.established = False
        self.closed = False
        self.sock: Sock | None = None
        self._ports = struct.pack(">HH", self.port, PORT)
        self._sum = (PEER_IP >> 16) + (PEER_IP & 0xFFFF) + (CARD_IP >> 16) + (CARD_IP & 0xFFFF)
        self._sum += fr.IP_TCP + self.port + PORT
        self._plain: dict[int, tuple[bytes, int, Beats]] = {}

    def template(self, length: int) -> tuple[bytes, int, Beats]:
        """What does not change from segment to segment: fixed header, its sum, beats behind the first."""
        found = self._plain.get(length)
        if found is None:
            payload = bytes([FILL]) * length
            ip = fr.ipv4(PEER_IP, CARD_IP, fr.IP_TCP, b"\0" * (20 + length))[:20]
            head = fr.ethernet(CARD_MAC, PEER_MAC, fr.ETH_IPV4, ip) + self._ports
            tail = (payload + b"\0")[: length + (length & 1)]
            total = self._sum + 20 + length
            total += sum(struct.unpack(f">{len(tail) // 2}H", tail))
            rest = beats_of(b"\0" * HEADER + payload)
            found = self._plain[length] = (head, total, rest)
        return found

    def segment(self, length: int, flags: int = fr.ACK) -> Beats:
        """The next segment, with the acknowledgement as it stands."""
        head, total, rest = self.template(length)
        seq, ack = self.seq, self.ack if flags & fr.ACK else 0
        total += (
            (seq >> 16) + (seq & 0xFFFF) + (ack >> 16) + (ack & 0xFFFF) + 0x5000 + flags + 0xFFFF
        )
        # A sum of words is never 0 here, so neither is its complement 0xFFFF.
        csum = 0xFFFF - (total % 65535)
        first = head + struct.pack(">IIHHHH", seq, ack, 0x5000 | flags, 0xFFFF, csum, 0)
        data = int.from_bytes(first, "little") | rest[0][0]
        self.seq = seq + length + (flags & 1) & U32
        self.sent += length
        self.unacked = 0
        return [(data, rest[0][1], rest[0][2]), *rest[1:]]

    def syn(self, mss: int, flags: int = fr.SYN) -> Beats:
        options = fr.tcp_options(mss, WSCALE, sack_ok=True)
        ack = self.ack if flags & fr.ACK else 0
        segment = fr.tcp(
            PEER_IP, CARD_IP, self.port, PORT, self.seq, ack, flags, 65535, b"", options
        )
        packet = fr.ipv4(PEER_IP, CARD_IP, fr.IP_TCP, segment)
        self.seq = self.seq + 1 & U32
        return beats_of(fr.ethernet(CARD_MAC, PEER_MAC, fr.ETH_IPV4, packet))


class Bench:
    """Card, host and wire. `supply` is asked for the next frame whenever the wire is free."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.rng = rng("perf")
        self.clocks = 0
        self.payload = 0  # of a full segment, either way
        self.read_latency = 0  # clocks that the host adds to its answer to a DMA read
        self.peers: dict[int, Peer] = {}
        self.supply: Callable[[], Beats | None] = self.pending_acks
        self.urgent: deque[Beats] = deque()  # frames that go before those of `supply`
        self.owing: deque[Peer] = deque()
        self.every = 2  # segments of the card that one acknowledgement of ours covers
        self.tx_data = self.tx_pure = 0  # frames of the card with and without payload
        self.rx_data = 0  # frames to the card with payload
        self.placed = 0  # bytes that the card wrote into RX rings
        self.event_bytes = {int(Op.DATA): 0, int(Op.SENT): 0}
        self.events = 0
        # Clocks of the last frame's first beat, out and in, and of the last event.
        self.first_tx = self.first_rx = self.first_event = 0
        self.dirty = False
        self.live = True  # the tenant reads its rings; else events are only counted
        self.closes = False  # the peer sends a FIN as soon as a connection is open
        self.mmio: deque[tuple[int, int, int, int]] = deque()
        self.answers: deque[int] = deque()
        self.wanted = 0  # register reads outstanding
        self.doorbell_clock = 0
        self._frames = 0
        start_clock(dut)

    # ---- bus of the tenant ---------------------------------------------------------------------

    def doorbell(self, func: int, addr: int, value: int) -> None:
        self.mmio.append((func, 1, addr, value))

    # ---- the loop ------------------------------------------------------------------------------

    async def run(self, until: Callable[[], Any], limit: int = 400_000, what: str = "") -> None:
        """Let clocks pass until the condition holds."""
        end = self.clocks + limit
        while not until():
            if self.clocks >= end:
                raise AssertionError(f"not within {limit} clocks: {what or 'condition'}: {self}")
            await self.step()

    def __str__(self) -> str:
        return (
            f"tx {self.tx_data}+{self.tx_pure} frames, rx {self.rx_data}, placed {self.placed} bytes, "
            f"{self.events} events {self.event_bytes}, "
            f"{sum(p.established for p in self.peers.values())} of {len(self.peers)} established"
        )

    async def reset(self) -> None:
        from cocotb.triggers import RisingEdge

        dut = self.dut
        self._edge = RisingEdge(dut.clk)
        names = ("status", "now_us", "rdreq", "rdreq_more", "wrreq", "wrreq_lane", "wdat_data", "tx_data",
                 "tx_bytes", "rdat_valid", "rdat_data", "rdat_last", "rx_valid", "rx_data", "rx_last",
                 "rx_bytes", "tx_ready", "mmio_valid", "mmio_func", "mmio_write", "mmio_addr", "mmio_wdata",
                 "mmio_rdata", "count", "probes")  # fmt: skip
        self._sig = sig = {n: Signal(getattr(dut, n)) for n in names}
        for n in ("rdat_valid", "rx_valid", "mmio_valid", "now_us", "count"):
            sig[n].set(0)
        sig["tx_ready"].set(1)
        dut.rst.value = 1
        for _ in range(3):
            await self._edge
        dut.rst.value = 0
        await self._edge
        self._now = 1000
        self._tick = 0
        self._reads: deque[tuple[int, int, int, int, tuple[int, int]]] = deque()
        self._rdat: deque[tuple[int, int]] = deque()
        self._writes: deque[tuple[int, int, bool]] = deque()
        self._rx: deque[tuple[int, int, int]] = deque()
        self._rx_head = 1
        self._keep: list[bytes] | None = None
        sig["now_us"].set(self._now)
        # Shorthands: this loop runs a few hundred thousand times.
        self._status = sig["status"].get
        self._get_rdreq, self._get_wrreq = sig["rdreq"].get, sig["wrreq"].get
        self._get_wdat, self._get_tx = sig["wdat_data"].get, sig["tx_data"].get
        self._rdat_valid, self._rdat_data = sig["rdat_valid"], sig["rdat_data"]
        self._rdat_last = sig["rdat_last"]
        self._rx_valid, self._rx_data = sig["rx_valid"], sig["rx_data"]
        self._rx_last, self._rx_bytes = sig["rx_last"], sig["rx_bytes"]
        self._mmio_valid = sig["mmio_valid"]

    async def step(self) -> None:
        """One clock."""
        await self._edge
        self.clocks += 1
        st = self._status()

        # DMA read requests
        if st & RDREQ:
            self._read(self._get_rdreq())
        # DMA writes; data may come in the clock of their command
        if st & WRREQ:
            word = self._get_wrreq()
            addr, length = word >> 8 & 0xFFFFFFFFFFFFFFFF, word >> 72
            offset = addr - self.memory.base
            queue = offset < self.queue_end
            lane = 0 if queue else self._sig["wrreq_lane"].get()
            self._writes.append((offset, length, queue))
            self._wbeats = 0
            if not queue:
                self.placed += length
                self._check_lane(offset, lane, length)
        if st & WDAT:
            self._written(bool(st & WDAT_LAST))
        if st & TX:
            if st & TX_FIRST:
                self._frame(self._get_tx(), bool(st & TX_LAST))
            elif self._keep is not None:
                self._keep.append(self._get_tx().to_bytes(NBYTES, "little"))
                if st & TX_LAST:
                    self._whole()

        # MMIO
        if self._mmio_valid.last or self.mmio or self.wanted:
            self._registers(st)

        # DMA read data
        valid = self._rdat_valid.last
        if valid and st & RDAT_READY:
            valid = 0
        if not valid:
            if not self._rdat and self._reads and self._reads[0][0] <= self.clocks:
                self._answer(*self._reads.popleft()[1:])
            if self._rdat:
                data, last = self._rdat.popleft()
                self._rdat_data.set(data)
                self._rdat_last.set(last)
                valid = 1
        self._rdat_valid.set(valid)

        # frames to the card
        valid = self._rx_valid.last
        if valid and st & RX_READY:
            valid = 0
            if self._rx_head:
                self.first_rx = self.clocks
            self._rx_head = self._rx_last.last
        if not valid:
            if not self._rx:
                beats = self.urgent.popleft() if self.urgent else self.supply()
                if beats is not None:
                    self._rx.extend(beats)
            if self._rx:
                data, last, nbytes = self._rx.popleft()
                self._rx_data.set(data)
                self._rx_last.set(last)
                self._rx_bytes.set(nbytes)
                valid = 1
        self._rx_valid.set(valid)

        self._tick += 1
        if self._tick == CLOCKS_PER_US:
            self._tick = 0
            self._now += 1
            self._sig["now_us"].set(self._now)
        if self.dirty and self.live and not self.clocks & 31:
            self.dirty = False
            self.tenant.poll()

    # ---- registers -----------------------------------------------------------------------------

    def _registers(self, st: int) -> None:
        sig = self._sig
        if st & MMIO_RVALID:
            self.answers.append(sig["mmio_rdata"].get())
            self.wanted -= 1
        if self._mmio_valid.last:
            if not st & MMIO_READY:
                return
            self.doorbell_clock = self.clocks
            self._mmio_valid.set(0)
        if self.mmio and not self.wanted:
            func, write, addr, value = self.mmio.popleft()
            for name, v in zip(("func", "write", "addr", "wdata"), (func, write, addr, value)):
                sig[f"mmio_{name}"].set(v)
            self._mmio_valid.set(1)
            if not write:
                self.wanted += 1

    def write(self, func: int, addr: int, value: int) -> None:
        self.mmio.append((func, 1, addr, value & U32))

    async def read(self, func: int, addr: int) -> int:
        await self.run(lambda: not self.mmio and not self.wanted)
        self.answers.clear()
        self.mmio.append((func, 0, addr, 0))
        await self.run(lambda: self.answers)
        return self.answers.popleft()

    async def counter(self, name: str) -> int:
        from netkernel import abi

        return await self.read(0, PF.STATS + 8 * abi.COUNTERS[name])

    # ---- the host's memory -----------------------------------------------------------------------

    def _read(self, word: int) -> None:
        addr, length = word >> 8 & 0xFFFFFFFFFFFFFFFF, word >> 72
        more = self._sig["rdreq_more"].get()
        wrap = (more >> 16 & 0xFFFF, (more >> 32) - self.memory.base)
        where = (addr - self.memory.base, length, more & 0xFFFF, wrap)
        self._reads.append((self.clocks + self.read_latency, *where))

    def _answer(self, offset: int, length: int, lane: int, wrap: tuple[int, int]) -> None:
        beats = -(-(lane + length) // NBYTES)
        if offset >= self.queue_end:
            if beats == 1:
                self._rdat.append((FILL_BEAT, 1))
            else:
                self._rdat.extend([(FILL_BEAT, 0)] * (beats - 1))
                self._rdat.append((FILL_BEAT, 1))
            return
        first = min(length, wrap[0])
        data = self.memory.bytes[offset : offset + first].tobytes()
        data += self.memory.bytes[wrap[1] : wrap[1] + length - first].tobytes()
        for at in range(0, length, NBYTES):
            word = int.from_bytes(data[at : at + NBYTES], "little")
            self._rdat.append((word, int(at + NBYTES >= length)))

    def _check_lane(self, offset: int, lane: int, length: int) -> None:
        if not 1 <= length <= 4096 or offset + length > self.memory.size + 4096:
            raise AssertionError(f"DMA write of {length} bytes at offset {offset:#x}")
        if lane != HEADER % NBYTES:
            raise AssertionError(f"payload on lane {lane}")

    def _written(self, last: bool) -> None:
        offset, length, queue = self._writes[0]
        if queue:
            data = self._get_wdat().to_bytes(NBYTES, "little")[:length]
            self.memory.bytes[offset : offset + length] = memoryview(data)
            self.dirty = True
            if self.receive_ring[0] <= offset < self.receive_ring[1]:
                self.events += 1
                self.first_event = self.clocks
                op, size = data[0], int.from_bytes(data[24:28], "little")
                if op in self.event_bytes:
                    self.event_bytes[op] += size
        if last:
            self._writes.popleft()

    # ---- frames from the card --------------------------------------------------------------------

    def _frame(self, word: int, last: bool) -> None:
        """The first beat of a frame: everything that the generator must know stands in it."""
        self.first_tx = self.clocks
        data = word.to_bytes(NBYTES, "little")
        if data[12:14] != b"\x08\x00" or data[23] != fr.IP_TCP:
            return
        (total,) = struct.unpack_from(">H", data, 16)
        _, dport, seq, ack, off = struct.unpack_from(">HHIIH", data, 34)
        peer = self.peers.get(dport)
        if peer is None:
            raise AssertionError(f"segment to port {dport}")
        length = total - 20 - (off >> 12) * 4
        if off & (fr.SYN | fr.FIN | fr.RST):
            self._special(peer, seq, off & 0x1FF, data)
        elif seq != peer.ack and length:
            raise AssertionError(f"port {dport}: seq {seq}, expected {peer.ack}: {self}")
        elif length:
            if length != self.payload:
                raise AssertionError(f"port {dport}: {length} bytes in a segment")
            peer.ack = seq + length & U32
            peer.got += length
            self.tx_data += 1
            peer.unacked += 1
            if peer.unacked == self.every:
                self.owing.append(peer)
        else:
            self.tx_pure += 1
        if peer.seq - ack & U32 >= 1 << 31 and off & fr.ACK:
            raise AssertionError(f"port {dport}: acknowledges {ack}, {peer.seq} is our next")
        self._frames += 1
        if not self._frames % SAMPLE:
            self._keep = [data]
            if last:
                self._whole()

    def _whole(self) -> None:
        """A sample: checksums and payload, from end to end."""
        assert self._keep is not None
        f = fr.parse(b"".join(self._keep))
        self._keep = None
        if f.payload != bytes([FILL]) * len(f.payload):
            raise AssertionError(f"payload of {f}")

    def _special(self, peer: Peer, seq: int, flags: int, data: bytes) -> None:
        if flags & fr.RST:
            raise AssertionError(f"RST to port {peer.port}: {self}")
        if flags & fr.SYN:
            peer.ack = seq + 1 & U32
            peer.established = True
            self.urgent.append(
                peer.segment(0) if flags & fr.ACK else peer.syn(1460, fr.SYN | fr.ACK)
            )
            if self.closes:
                self.urgent.append(peer.segment(0, fr.ACK | fr.FIN))
        if flags & fr.FIN:
            if seq != peer.ack:
                raise AssertionError(f"FIN to port {peer.port}: seq {seq}, expected {peer.ack}")
            peer.ack = seq + 1 & U32
            peer.closed = True
            self.urgent.append(peer.segment(0))

    # ---- what the wire carries to the card -----------------------------------------------------------

    def pending_acks(self) -> Beats | None:
        """Nothing but acknowledgements."""
        while self.owing:
            peer = self.owing.popleft()
            if peer.unacked:
                return peer.segment(0)
        return None

    def data_of(self, peers: list[Peer]) -> Callable[[], Beats | None]:
        """Full segments of each in turn, without end. They acknowledge what came."""
        ring = list(peers)
        at = 0
        n = len(ring)
        payload = self.payload

        def supply() -> Beats:
            nonlocal at
            peer = ring[at]
            at = at + 1 if at + 1 < n else 0
            self.rx_data += 1
            self.owing.clear()
            return peer.segment(payload)

        return supply

    # ---- set-up --------------------------------------------------------------------------------------

    async def start(self, *, flows: int, rx_log2: int, tx_log2: int, cards_flows: int = 0) -> None:
        """Reset; PF and VF 0 set up, with the last flows of the table; the card knows the peer's MAC."""
        sockets = flows + 1 + SPARE
        base = max(0, cards_flows - sockets)
        logs = (10, 10, 10, 16)
        queue_bytes = sum(32 << n for n in logs) + 8192
        pages = (
            (queue_bytes >> 12)
            + 2
            + flows * ((1 << rx_log2) + (1 << tx_log2) >> 12)
            + 8
            + 2 * (SPARE + 1)
        )
        self.memory = Memory((self.rng.getrandbits(28) << 16), pages)
        self.tenant = Tenant(self, 0, self.memory, logs=logs, max_sockets=sockets, seed=seed())
        self.tenant.reset()
        q = self.tenant.qs[0]
        self.queue_end = q.status_offset + 4096
        ring = q.rings[3]
        self.receive_ring = (ring.offset, ring.offset + ring.size * 32)
        await self.reset()
        for i in range(4):
            self.write(0, PF.HASH_KEY + 4 * i, self.rng.getrandbits(32))
        self.write(0, PF.NSM_BASE, PROFILE)
        for reg, value in (
            (VFE.MAC_LO, CARD_MAC & U32), (VFE.MAC_HI, CARD_MAC >> 32), (VFE.IPV4, CARD_IP),
            (VFE.NETMASK, 0xFFFF0000), (VFE.GATEWAY, 0), (VFE.SOCKET_BASE, base),
            (VFE.SOCKET_COUNT, sockets), (VFE.MTU, 1500), (VFE.CTRL, 1),
        ):  # fmt: skip
            self.write(0, PF.VF_BASE + reg, value)
        for addr, value in self.tenant.register_writes():
            self.write(1, addr, value)
        status = await self.read(1, VF.STATUS)
        assert status & 7 == 3, f"VF status {status:#x}"
        self.urgent.append(beats_of(fr.arp(1, PEER_MAC, PEER_IP, 0, CARD_IP)))

    async def open(self, flows: int, mss: int, rx_log2: int, tx_log2: int) -> list[Peer]:
        """A listener, and a connection for each flow, opened by the peer."""
        self.payload = mss
        tenant = self.tenant
        listener = tenant.socket(12, 12)
        jobs = [listener.created, listener.listen(PORT)]
        for i in range(flows + SPARE):
            sock = tenant.socket(
                *((rx_log2, tx_log2) if i < flows else (12, 12)), auto_credit=False
            )
            jobs += [sock.created, sock.setopt(Option.NODELAY, 1), listener.credit_accept(sock)]
        await self.run(lambda: all(j.done for j in jobs), what="sockets")
        bad = [j for j in jobs if j.status != Status.OK]
        assert not bad, bad[:3]
        children = [s for s in tenant.sockets.values() if s is not listener]
        for i in range(flows):
            peer = Peer(i, self.rng.getrandbits(32))
            self.peers[peer.port] = peer
            self.urgent.append(peer.syn(mss))
            # More half-open connections than credits left would get SYN cookies, which know few MSS.
            if i % 4 == 3 or i + 1 == flows:
                await self.run(
                    lambda i=i: sum(s.connected for s in children) == i + 1, what="accepted"
                )
        by_port = {s.peer[1]: s for s in tenant.sockets.values() if s.peer}
        for peer in self.peers.values():
            peer.sock = by_port[peer.port]
        return list(self.peers.values())

    def send(self, peer: Peer, nbytes: int) -> None:
        """One SEND for all of it: what lies in the ring is FILL wherever one looks."""
        sock = peer.sock
        assert sock is not None
        sock.sent += nbytes
        self.tenant.send_op(sock, Op.SEND, nbytes)

    # ---- measuring -------------------------------------------------------------------------------------

    def stop_wire(self, on: bool) -> None:
        """The wire takes no frames of the card."""
        self._sig["tx_ready"].set(int(not on))

    def count(self, on: bool) -> None:
        """Start or stop the probes."""
        self._sig["count"].set(int(on))

    def probe(self) -> dict[str, int]:
        """How many clocks each of the probes was on."""
        word = self._sig["probes"].get()
        return {name: word >> 32 * i & U32 for i, name in enumerate(PROBES)}

    async def clean(self) -> None:
        """Nothing was lost, sent again or refused."""
        for name in ("tx_retransmits", "rx_out_of_order", "rx_duplicate", "rx_unacceptable", "rx_bad_ack",
                     "rx_drop_runt", "rx_drop_filter", "rx_drop_ip_header", "rx_drop_tcp_csum",
                     "rx_drop_overflow", "events_lost", "tx_rst"):  # fmt: skip
            value = await self.counter(name)
            assert not value, f"{name}: {value}"
