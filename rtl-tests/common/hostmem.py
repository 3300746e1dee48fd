# SPDX-License-Identifier: Apache-2.0
"""The host's side of nk_core: memory of each function, DMA and MMIO servers, interrupts, the wire.

`Memory` is plain Python: the bytes a function registered, and for each page what the card may do there.
An access outside of that, or for a function without memory, is a fault and fails the test.

`Shim` drives the ports of nk_core_tb.v with raw integers in one loop a clock, stalls and delays at
random, owns the card's time and skips idle time: when the card says that it is not busy and nothing is
under way on the host's side, time jumps to the next event of card, wire, hosts or test.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

PAGE = 4096
READ, WRITE = 1, 2
NO_WRAP = 0xFFFF


class MemoryFault(AssertionError):
    """The card touched what it must not touch."""


class Memory:
    """The region of one function at a bus address, with permissions for each page."""

    def __init__(self, base: int, pages: int, fill: int = 0) -> None:
        if base % PAGE:
            raise ValueError("the base is a multiple of a page")
        self.base, self.pages, self.size = base, pages, pages * PAGE
        self.bytes = np.full(self.size, fill, dtype=np.uint8)
        self.perm = bytearray(pages)
        self._next = 1  # page 0 stays unused: an offset of 0 is then always a fault

    def alloc(self, nbytes: int, perm: int) -> int:
        """Take whole pages that the card may use as `perm` says; the byte offset of the first."""
        n = -(-nbytes // PAGE)
        for start in [*range(self._next, self.pages - n + 1), *range(1, self.pages - n + 1)]:
            if not any(self.perm[start : start + n]):
                self.perm[start : start + n] = bytes([perm]) * n
                self._next = start + n
                return start * PAGE
        raise MemoryError(f"no {n} pages left")

    def allow(self, offset: int, nbytes: int, perm: int) -> None:
        first, last = offset // PAGE, (offset + nbytes - 1) // PAGE
        for page in range(first, last + 1):
            self.perm[page] = perm

    def check(self, addr: int, nbytes: int, perm: int) -> int:
        """The offset of an access by the card, or MemoryFault."""
        offset = addr - self.base
        kind = "read" if perm == READ else "write"
        if offset < 0 or offset + nbytes > self.size:
            raise MemoryFault(f"DMA {kind} of {nbytes} bytes at {addr:#x}, outside the region")
        for page in range(offset // PAGE, (offset + nbytes - 1) // PAGE + 1):
            if not self.perm[page] & perm:
                raise MemoryFault(
                    f"DMA {kind} of {nbytes} bytes at offset {offset:#x}: page {page} is not for that"
                )
        return offset

    def dma_read(self, addr: int, nbytes: int) -> bytes:
        offset = self.check(addr, nbytes, READ)
        return self.bytes[offset : offset + nbytes].tobytes()

    def dma_write(self, addr: int, data: bytes) -> int:
        offset = self.check(addr, len(data), WRITE)
        self.bytes[offset : offset + len(data)] = np.frombuffer(data, dtype=np.uint8)
        return offset


@dataclass(frozen=True)
class Dma:
    """A DMA command as it stands on the wires."""

    func: int
    addr: int
    length: int
    lane: int
    wrap_len: int
    wrap_addr: int

    @classmethod
    def unpack(cls, word: int, lane_bits: int) -> Dma:
        def take(width: int) -> int:
            nonlocal word
            value = word & ((1 << width) - 1)
            word >>= width
            return value

        func, addr, length, lane = take(8), take(64), take(16), take(lane_bits)
        return cls(func, addr, length, lane, take(16), take(64))

    def parts(self) -> list[tuple[int, int]]:
        """(address, length) of the one or two runs of bytes."""
        if self.length <= self.wrap_len:
            return [(self.addr, self.length)]
        if self.wrap_len == 0:
            return [(self.wrap_addr, self.length)]
        return [(self.addr, self.wrap_len), (self.wrap_addr, self.length - self.wrap_len)]


@dataclass
class Stalls:
    """How unfriendly the host is: shares of clocks with ready (or valid) held back, and read latency."""

    ready: float = 0.0
    data: float = 0.0
    read_latency: tuple[int, int] = (5, 20)  # clocks, uniform
    mmio: float = 0.0

    @classmethod
    def friendly(cls) -> Stalls:
        return cls()

    @classmethod
    def rough(cls) -> Stalls:
        return cls(ready=0.3, data=0.3, read_latency=(1, 200), mmio=0.5)


(MMIO_READY, MMIO_RVALID, RDREQ, RDAT_READY, WRREQ, WDAT, WDAT_LAST, IRQ, RX_READY, TX, TX_LAST, BUSY,
 NEXT_US) = (1 << i for i in range(13))  # fmt: skip
# Nothing on any channel needs the host in a clock with none of these.
ATTENTION = MMIO_RVALID | RDREQ | WRREQ | WDAT | IRQ | TX
SIGNALS = (
    *("status", "now_us", "next_us"),
    *("mmio_valid", "mmio_func", "mmio_write", "mmio_addr", "mmio_wdata", "mmio_rdata"),
    *("rdreq_ready", "rdreq", "rdat_valid", "rdat_data", "rdat_last"),
    *("wrreq_ready", "wrreq", "wdat_ready", "wdat_data", "irq_ready", "irq"),
    *("rx_valid", "rx_data", "rx_last", "rx_bytes", "tx_ready", "tx_data", "tx_bytes"),
)
QUIET_CLOCKS = 4  # an input may take a few clocks until `busy` shows it


class Shim:
    """Everything around nk_core but software: call start() once, then use the queues."""

    def __init__(self, dut: Any, width: int, rng: random.Random, clocks_per_us: int = 20) -> None:
        from cocotb.triggers import Event

        self.dut, self.width, self.rng = dut, width, rng
        self.nbytes = width // 8
        self.lane_bits = self.nbytes.bit_length() - 1
        self.clocks_per_us = clocks_per_us
        self.now = 0
        self.clocks = 0
        self.busy_clocks = 0
        self.stalls = Stalls()
        self.memory: dict[int, Memory] = {}
        self.irqs: dict[tuple[int, int], int] = {}
        self.on_irq: Callable[[int, int], None] | None = None
        self.on_write: Callable[[int, int, int], None] | None = None  # func, offset, length
        self.on_frame: Callable[[bytes], None] | None = None  # a frame left the card
        self.step: Callable[[int], bool] | None = None  # each microsecond that passes; True: active
        self.next_event: Callable[[], int | None] | None = None
        self.explain: Callable[[], str] | None = None  # for the message of a wait in vain
        self.changed = Event()
        self.rx_queue: deque[bytes] = deque()
        self.mmio_queue: deque[tuple[int, int, int, int | None, Callable[[int], None] | None]] = (
            deque()
        )
        self.doorbells: dict[tuple[int, int], int] = {}
        self.deadlines: list[int] = []  # heap of times at which a test wants to wake
        self.dma_reads = self.dma_writes = self.dma_read_bytes = self.dma_write_bytes = 0
        self.skipped_us = 0
        self.hold_skip = False
        self.in_reset = True
        self.reset_state()

    def reset_state(self) -> None:
        """Forget what was under way (the card is in reset)."""
        self.rx_queue.clear()
        self.mmio_queue.clear()
        self.doorbells.clear()
        self._reads: deque[tuple[int, Dma]] = deque()
        self._rdat: deque[tuple[int, int]] = deque()
        self._writes: deque[Dma] = deque()
        self._wbeats: list[int] = []
        self._rx: deque[tuple[int, int, int]] = deque()
        self._tx: list[bytes] = []
        self._mmio: tuple[int, int, int, int | None, Callable[[int], None] | None] | None = None
        self._read_since: int | None = None
        self._read_done: Callable[[int], None] | None = None
        self._quiet = 0

    # ---- for tests -----------------------------------------------------------------------------

    def write_later(self, func: int, addr: int, value: int) -> None:
        """Queue a register write."""
        self.mmio_queue.append((func, 1, addr, value & 0xFFFFFFFF, None))

    def doorbell(self, func: int, addr: int, value: int) -> None:
        """Queue a doorbell; a newer value replaces one not yet sent."""
        self.doorbells[(func, addr)] = value & 0xFFFFFFFF

    async def read(self, func: int, addr: int) -> int:
        got: list[int] = []
        self.mmio_queue.append((func, 0, addr, None, got.append))
        while not got:
            self.changed.clear()
            await self.changed.wait()
        return got[0]

    async def write(self, func: int, addr: int, value: int) -> None:
        """Write and wait until the card has taken it."""
        done: list[int] = []
        self.mmio_queue.append((func, 1, addr, value & 0xFFFFFFFF, done.append))
        while not done:
            self.changed.clear()
            await self.changed.wait()

    async def until(self, cond: Callable[[], Any], us: int = 5_000_000, what: str = "") -> None:
        """Wait for a condition that depends on what the shim sees, for at most `us` of card time."""
        end = self.now + us
        heapq.heappush(self.deadlines, end)
        limit = self.clocks + 2_000_000
        while not cond():
            if self.now >= end or self.clocks > limit:
                text = self.explain() if self.explain else ""
                raise AssertionError(
                    f"not within {us} us ({self.clocks} clocks so far): {what or 'condition'}\n{text}"
                )
            self.changed.clear()
            await self.changed.wait()

    async def sleep(self, us: int) -> None:
        end = self.now + us
        heapq.heappush(self.deadlines, end)
        while self.now < end:
            self.changed.clear()
            await self.changed.wait()

    # ---- the loop ------------------------------------------------------------------------------

    def start(self) -> None:
        import cocotb

        cocotb.start_soon(self._run())

    async def reset(self, clocks: int = 3) -> None:
        """Reset the card, and with it everything under way on its ports."""
        from cocotb.triggers import RisingEdge

        edge = RisingEdge(self.dut.clk)
        self.in_reset = True
        self.dut.rst.value = 1
        for _ in range(clocks):
            await edge
        self.reset_state()
        self.dut.rst.value = 0
        await edge
        self.in_reset = False

    async def _run(self) -> None:
        from cocotb.triggers import RisingEdge

        from .stream import Signal

        dut, rnd, stall = self.dut, self.rng.random, self.stalls
        sig = {name: Signal(getattr(dut, name)) for name in SIGNALS}
        status = sig["status"]
        rdreq_ready, wrreq_ready = sig["rdreq_ready"], sig["wrreq_ready"]
        wdat_ready, irq_ready, tx_ready = sig["wdat_ready"], sig["irq_ready"], sig["tx_ready"]
        rdat_valid, rx_valid, mmio_valid = sig["rdat_valid"], sig["rx_valid"], sig["mmio_valid"]
        readies = (rdreq_ready, wrreq_ready, wdat_ready, irq_ready, tx_ready)
        valids = (rdat_valid, rx_valid, mmio_valid)
        for s in (*readies, *valids):
            s.set(0)
        sig["now_us"].set(self.now & 0xFFFFFFFF)
        edge = RisingEdge(dut.clk)
        tick = 0
        while True:
            await edge
            self.clocks += 1
            if self.in_reset:
                for s in (*readies, *valids):
                    s.set(0)
                self.changed.set()
                continue
            stall = self.stalls
            st = status.get()
            active = False

            if st & ATTENTION:
                active = True
                if st & RDREQ and rdreq_ready.last:
                    self._take_read(Dma.unpack(sig["rdreq"].get(), self.lane_bits))
                if st & WRREQ and wrreq_ready.last:
                    self._take_write(Dma.unpack(sig["wrreq"].get(), self.lane_bits))
                if st & WDAT and wdat_ready.last:
                    self._take_wdat(sig["wdat_data"].get(), bool(st & WDAT_LAST))
                if st & IRQ and irq_ready.last:
                    word = sig["irq"].get()
                    key = (word & 255, word >> 8)
                    self.irqs[key] = self.irqs.get(key, 0) + 1
                    if self.on_irq:
                        self.on_irq(*key)
                    self.changed.set()
                if st & TX and tx_ready.last:
                    self._take_tx(sig["tx_data"].get(), sig["tx_bytes"].get(), bool(st & TX_LAST))
                if st & MMIO_RVALID:
                    self._take_rdata(sig["mmio_rdata"].get())
            if self._read_since is not None and self.clocks - self._read_since > 80:
                raise AssertionError("no MMIO read data within 64 clocks")

            # MMIO master
            if mmio_valid.last:
                active = True
                if st & MMIO_READY:
                    mmio_valid.set(0)
                    if self._mmio is not None:
                        self._mmio_taken()
            if self.mmio_queue or self.doorbells:
                active = True
            idle = not mmio_valid.last and self._read_since is None
            if idle and self._next_mmio(stall, rnd):
                func, wr, addr, data, _ = self._mmio  # type: ignore[misc]
                sig["mmio_func"].set(func)
                sig["mmio_write"].set(wr)
                sig["mmio_addr"].set(addr)
                sig["mmio_wdata"].set(data or 0)
                mmio_valid.set(1)
                active = True

            # DMA read data
            if rdat_valid.last and st & RDAT_READY:
                rdat_valid.set(0)
            if self._rdat or self._reads:
                active = True
                if not self._rdat and self._reads[0][0] <= self.clocks:
                    self._answer_read(self._reads.popleft()[1])
                if self._rdat and not rdat_valid.last and not (stall.data and rnd() < stall.data):
                    data, last = self._rdat.popleft()
                    sig["rdat_data"].set(data)
                    sig["rdat_last"].set(last)
                    rdat_valid.set(1)
            elif rdat_valid.last:
                active = True

            # frames to the card
            if rx_valid.last:
                active = True
                if st & RX_READY:
                    rx_valid.set(0)
            if not rx_valid.last and (self._rx or self.rx_queue):
                active = True
                if not self._rx:
                    self._load_rx(self.rx_queue.popleft())
                if not (stall.data and rnd() < stall.data):
                    data, last, count = self._rx.popleft()
                    sig["rx_data"].set(data)
                    sig["rx_last"].set(last)
                    sig["rx_bytes"].set(count)
                    rx_valid.set(1)

            # readies
            if stall.ready:
                for s in readies:
                    s.set(int(rnd() >= stall.ready))
            elif not all(s.last for s in readies):  # after a reset, or when stalls end
                for s in readies:
                    s.set(1)

            # time
            tick += 1
            busy = st & BUSY
            if busy or active or self._writes:
                self._quiet = 0
                self.busy_clocks += 1
            else:
                self._quiet += 1
            if self._quiet >= QUIET_CLOCKS and not self.hold_skip:
                self._quiet = 0
                if self._skip(st, sig["next_us"]):
                    sig["now_us"].set(self.now & 0xFFFFFFFF)
                    tick = 0
            elif tick >= self.clocks_per_us:
                tick = 0
                self.now += 1
                sig["now_us"].set(self.now & 0xFFFFFFFF)
                self._pass_time()

    def _pass_time(self) -> None:
        if self.step and self.step(self.now):
            self.changed.set()
        if self.deadlines and self.deadlines[0] <= self.now:
            while self.deadlines and self.deadlines[0] <= self.now:
                heapq.heappop(self.deadlines)
            self.changed.set()

    def _skip(self, st: int, next_us: Any) -> bool:
        times = []
        if st & NEXT_US:
            # Signed distance: the card's clock has 32 bits.
            ahead = (next_us.get() - self.now) & 0xFFFFFFFF
            times.append(self.now + (ahead if ahead < 1 << 31 else 1))
        if self.next_event and (t := self.next_event()) is not None:
            times.append(t)
        if self.deadlines:
            times.append(self.deadlines[0])
        if not times:
            return False
        target = max(self.now + 1, min(times))
        self.skipped_us += target - self.now
        self.now = target
        self._pass_time()
        return True

    # ---- channels ------------------------------------------------------------------------------

    def _next_mmio(self, stall: Stalls, rnd: Callable[[], float]) -> bool:
        if not self.mmio_queue and not self.doorbells:
            return False
        if stall.mmio and rnd() < stall.mmio:
            return False
        if self.mmio_queue:
            self._mmio = self.mmio_queue.popleft()
        else:
            # In the order of posting: a doorbell behind another one never overtakes it.
            func, addr = next(iter(self.doorbells))
            self._mmio = (func, 1, addr, self.doorbells.pop((func, addr)), None)
        return True

    def _mmio_taken(self) -> None:
        assert self._mmio is not None
        _, wr, _, _, done = self._mmio
        self._mmio = None
        if wr:
            if done:
                done(0)
                self.changed.set()
        else:
            self._read_since, self._read_done = self.clocks, done

    def _take_rdata(self, value: int) -> None:
        if self._read_since is None and self._mmio is not None and not self._mmio[1]:
            self._mmio_taken()  # answered in the clock in which it was taken
        if self._read_since is None:
            raise AssertionError("MMIO read data without a request")
        self._read_since = None
        if self._read_done:
            self._read_done(value)
        self.changed.set()

    def _region(self, cmd: Dma) -> Memory:
        memory = self.memory.get(cmd.func)
        if memory is None:
            raise MemoryFault(f"DMA for function {cmd.func}, which has no memory: {cmd}")
        if not 1 <= cmd.length <= PAGE:
            raise MemoryFault(f"DMA length {cmd.length}")
        return memory

    def _take_read(self, cmd: Dma) -> None:
        memory = self._region(cmd)
        for addr, n in cmd.parts():
            memory.check(addr, n, READ)
        low, high = self.stalls.read_latency
        self._reads.append((self.clocks + self.rng.randint(low, high), cmd))
        self.dma_reads += 1
        self.dma_read_bytes += cmd.length

    def _answer_read(self, cmd: Dma) -> None:
        memory = self._region(cmd)
        data = b"".join(memory.dma_read(addr, n) for addr, n in cmd.parts())
        n = self.nbytes
        total = -(-(cmd.lane + cmd.length) // n)
        rubbish = self.rng.randbytes(total * n - cmd.length)
        data = rubbish[: cmd.lane] + data + rubbish[cmd.lane :]
        for at in range(0, len(data), n):
            word = int.from_bytes(data[at : at + n], "little")
            self._rdat.append((word, int(at + n >= len(data))))

    def _take_write(self, cmd: Dma) -> None:
        memory = self._region(cmd)
        for addr, n in cmd.parts():
            memory.check(addr, n, WRITE)
        self._writes.append(cmd)

    def _take_wdat(self, word: int, last: bool) -> None:
        if not self._writes:
            raise AssertionError("DMA write data before its command")
        cmd = self._writes[0]
        self._wbeats.append(word)
        want = -(-(cmd.lane + cmd.length) // self.nbytes)
        if (len(self._wbeats) == want) != last:
            raise AssertionError(f"{len(self._wbeats)} beats, last={last}, for {cmd}")
        if not last:
            return
        data = b"".join(w.to_bytes(self.nbytes, "little") for w in self._wbeats)
        data = data[cmd.lane : cmd.lane + cmd.length]
        self._wbeats = []
        self._writes.popleft()
        memory = self._region(cmd)
        self.dma_writes += 1
        self.dma_write_bytes += cmd.length
        for addr, n in cmd.parts():
            offset = memory.dma_write(addr, data[:n])
            data = data[n:]
            if self.on_write:
                self.on_write(cmd.func, offset, n)

    def _load_rx(self, frame: bytes) -> None:
        n = self.nbytes
        for at in range(0, len(frame), n):
            part = frame[at : at + n]
            count = len(part)
            if count < n:
                part += self.rng.randbytes(n - count)
            self._rx.append((int.from_bytes(part, "little"), int(at + n >= len(frame)), count))

    def _take_tx(self, word: int, count: int, last: bool) -> None:
        if not 1 <= count <= self.nbytes or (not last and count != self.nbytes):
            raise AssertionError(f"transmit beat with bytes={count} last={last}")
        self._tx.append((word & ((1 << 8 * count) - 1)).to_bytes(count, "little"))
        if last:
            frame = b"".join(self._tx)
            self._tx = []
            if len(frame) < 60:
                raise AssertionError(f"frame of {len(frame)} bytes is not padded to 60")
            if self.on_frame:
                self.on_frame(frame)
