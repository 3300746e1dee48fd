# SPDX-License-Identifier: Apache-2.0
"""Light valid/ready drivers and monitors for words and for frame streams, on raw integers.

Frame stream, prefix p: p_valid, p_ready, p_data (byte 0 in bits 7:0), p_last, p_bytes (valid bytes
in this beat, 1..W/8; all beats but the last are full). Word stream: p_valid, p_ready, any fields.

Every cycle costs a few Python statements per stream and touches the simulator only where something
changed, which is what makes runs of 100,000 cycles cheap. All sampling is just before the rising
edge; all driving just after it.

    src = FrameSource(dut, "s", pause=random_pause(rng, 0.3))
    sink = FrameSink(dut, "m", pause=random_pause(rng, 0.3))
    src.send(b"...")            # queue a frame; returns at once
    await src.idle()            # until all is accepted
    frame = await sink.recv()   # bytes
"""

from __future__ import annotations

import itertools
import json
import os
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Event, RisingEdge

Pause = Callable[[], bool]  # asked once a cycle: hold back in this cycle?


# ------------------------------------------------------------------------------ seeds, pauses


def rng(name: str = "") -> random.Random:
    """A generator of its own for each use, all from the run's one seed (printed by the runner)."""
    return random.Random(f"{os.environ.get('NK_SEED', '0')}:{name}")


def params() -> dict[str, Any]:
    """The Verilog parameters that run_module was given."""
    return dict(json.loads(os.environ.get("NK_PARAMS", "{}")))


def never() -> bool:
    return False


def random_pause(r: random.Random, p: float) -> Pause:
    """Hold back in a share p of the cycles, independently."""
    return lambda: r.random() < p


def bursty_pause(r: random.Random, mean_run: float = 8, mean_pause: float = 8) -> Pause:
    """Runs and pauses with geometric lengths: finds what full and empty buffers do."""
    state = [False]

    def step() -> bool:
        if r.random() < 1 / (mean_pause if state[0] else mean_run):
            state[0] = not state[0]
        return state[0]

    return step


def pattern_pause(pattern: Iterable[bool | int]) -> Pause:
    """Repeat a fixed pattern, for example [1, 0]: every other cycle."""
    it = itertools.cycle([bool(x) for x in pattern])
    return lambda: next(it)


PAUSES: Mapping[str, Callable[[random.Random], Pause]] = {
    "none": lambda _: never,
    "some": lambda r: random_pause(r, 0.25),
    "most": lambda r: random_pause(r, 0.75),
    "alternate": lambda _: pattern_pause([0, 1]),
    "bursts": lambda r: bursty_pause(r),
}
"""Pause shapes by name, to cross in tests."""


# ------------------------------------------------------------------------------ signal access


class Signal:
    """One signal as an unsigned integer. Writes are skipped when nothing changes.

    Only one Signal may drive a given input.
    """

    __slots__ = ("_handle", "_obj", "last", "width")

    def __init__(self, obj: Any) -> None:
        self._obj = obj
        self._handle = obj._handle
        self.width = len(obj)
        self.last: int | None = None

    def get(self) -> int:
        """The value; raises ValueError when a bit is x or z."""
        return int(self._handle.get_signal_val_binstr(), 2)

    def is_not_low(self) -> bool:
        """High, or not driven yet: what a reset looks like before the test has begun (Icarus)."""
        return self._handle.get_signal_val_binstr() != "0"

    def set(self, value: int) -> None:
        if value != self.last:
            self.last = value
            self._obj.value = value


def has(dut: Any, name: str) -> bool:
    return getattr(dut, name, None) is not None


def start_clock(dut: Any, name: str = "clk", period_ns: int = 10) -> None:
    """Start the clock (driven in C++ by cocotb)."""
    Clock(getattr(dut, name), period_ns, unit="ns").start()


async def cycles(dut: Any, n: int = 1, name: str = "clk") -> None:
    edge = RisingEdge(getattr(dut, name))
    for _ in range(n):
        await edge


async def reset(dut: Any, n: int = 3, name: str = "rst") -> None:
    """Hold reset for n cycles; return after the first cycle without it."""
    edge = RisingEdge(dut.clk)
    sig = getattr(dut, name)
    await edge
    sig.value = 1
    for _ in range(n):
        await edge
    sig.value = 0
    await edge


# ---------------------------------------------------------------------------------- word streams


class _Endpoint:
    """What sources and sinks share: signals, pause, reset, the task that steps once a cycle."""

    def __init__(self, dut: Any, prefix: str, pause: Pause, clk: str, rst: str | None) -> None:
        self.name = prefix
        self.pause = pause
        self._edge = RisingEdge(getattr(dut, clk))
        self._rst = Signal(getattr(dut, rst)) if rst and has(dut, rst) else None
        self.valid = Signal(getattr(dut, f"{prefix}_valid"))
        # A stream without ready (`_valid` only) is always accepted.
        ready = f"{prefix}_ready"
        self.ready = Signal(getattr(dut, ready)) if has(dut, ready) else None
        self._changed = Event()
        self._task = cocotb.start_soon(self._run())

    async def _run(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        self._task.cancel()

    async def _wait_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class WordSource(_Endpoint):
    """Drives {field: value} words: `fields` names the signals <prefix>_<field>.

    With one field (by default "data") words may be plain integers. A reset drops what is queued
    beyond recall: `send` again after it.
    """

    def __init__(
        self,
        dut: Any,
        prefix: str = "s",
        fields: Sequence[str] = ("data",),
        pause: Pause = never,
        clk: str = "clk",
        rst: str | None = "rst",
        scramble: bool = True,
    ) -> None:
        self.fields = tuple(fields)
        self._data = [Signal(getattr(dut, f"{prefix}_{f}")) for f in self.fields]
        self.queue: deque[tuple[int, ...]] = deque()
        self.sent = 0  # words accepted
        self._busy = False
        # Payload is undefined while valid is low: drive rubbish, so that a block that looks fails.
        self._rubbish = rng(f"rubbish {prefix}") if scramble else None
        super().__init__(dut, prefix, pause, clk, rst)
        self.valid.set(0)

    def send(self, word: int | Mapping[str, int]) -> None:
        """Queue a word; returns at once."""
        if isinstance(word, Mapping):
            self.queue.append(tuple(word[f] for f in self.fields))
        else:
            self.queue.append((word,))
        self._changed.set()

    def send_all(self, words: Iterable[int | Mapping[str, int]]) -> None:
        for word in words:
            self.send(word)

    def pending(self) -> int:
        """Words not accepted yet."""
        return len(self.queue) + self._busy

    async def idle(self) -> None:
        """Until everything queued has been accepted."""
        while self.pending():
            await self._wait_change()

    def clear(self) -> None:
        """Forget what is queued (after a reset). A word on the wires stays until accepted."""
        self.queue.clear()
        self._changed.set()

    async def _run(self) -> None:
        edge, valid, ready, queue, rst = self._edge, self.valid, self.ready, self.queue, self._rst
        while True:
            await edge
            if rst is not None and rst.is_not_low():
                valid.set(0)
                self._busy = False
                queue.clear()
                self._changed.set()
                continue
            if self._busy:
                if ready is not None and not ready.get():
                    continue  # valid and data stay until accepted
                self.sent += 1
                self._busy = False
                self._changed.set()
            if queue and not self.pause():
                for sig, value in zip(self._data, queue.popleft(), strict=True):
                    sig.set(value)
                valid.set(1)
                self._busy = True
            elif valid.last:
                valid.set(0)
                if self._rubbish is not None:
                    for sig in self._data:
                        sig.set(self._rubbish.getrandbits(sig.width))


class WordSink(_Endpoint):
    """Receives words, as integers with one field, else as {field: value}.

    Checks that a word offered and not taken stays as it is.
    """

    def __init__(
        self,
        dut: Any,
        prefix: str = "m",
        fields: Sequence[str] = ("data",),
        pause: Pause = never,
        clk: str = "clk",
        rst: str | None = "rst",
    ) -> None:
        self.fields = tuple(fields)
        self._data = [Signal(getattr(dut, f"{prefix}_{f}")) for f in self.fields]
        self.queue: deque[Any] = deque()
        self.received = 0
        super().__init__(dut, prefix, pause, clk, rst)
        if self.ready is not None:
            self.ready.set(0)

    async def recv(self) -> Any:
        while not self.queue:
            await self._wait_change()
        return self.queue.popleft()

    async def recv_n(self, n: int) -> list[Any]:
        return [await self.recv() for _ in range(n)]

    def empty(self) -> bool:
        return not self.queue

    def clear(self) -> None:
        self.queue.clear()

    def _accept(self, word: tuple[int, ...]) -> None:
        self.queue.append(word[0] if len(word) == 1 else dict(zip(self.fields, word, strict=True)))

    def _reset(self) -> None:
        pass

    async def _run(self) -> None:
        edge, valid, ready, rst = self._edge, self.valid, self.ready, self._rst
        data = self._data
        held: tuple[int, ...] | None = None
        while True:
            await edge
            if rst is not None and rst.is_not_low():
                held = None
                self._reset()
                if ready is not None:
                    ready.set(0)
                continue
            taking = ready is None or ready.last == 1
            if valid.get():
                if taking:
                    word = tuple([s.get() for s in data])
                    if held is not None and word != held:
                        raise AssertionError(f"{self.name}: word changed while it waited")
                    held = None
                    self.received += 1
                    self._accept(word)
                    self._changed.set()
                elif held is None:
                    held = tuple([s.get() for s in data])
            elif held is not None:
                raise AssertionError(f"{self.name}: valid fell before the word was taken")
            if ready is not None:
                ready.set(0 if self.pause() else 1)


# --------------------------------------------------------------------------------- frame streams

FRAME_FIELDS = ("data", "last", "bytes")


def beats(frame: bytes, nbytes: int) -> Iterator[tuple[int, int, int]]:
    """A frame as (data, last, bytes) beats of nbytes."""
    if not frame:
        raise ValueError("a frame has at least one byte")
    end = len(frame)
    for at in range(0, end, nbytes):
        part = frame[at : at + nbytes]
        yield int.from_bytes(part, "little"), int(at + nbytes >= end), len(part)


class FrameSource(WordSource):
    """Sends frames (bytes). Bytes beyond the end of the last beat are rubbish, as they may be."""

    def __init__(
        self,
        dut: Any,
        prefix: str = "s",
        pause: Pause = never,
        clk: str = "clk",
        rst: str | None = "rst",
        extra: Sequence[str] = (),
    ) -> None:
        super().__init__(dut, prefix, (*FRAME_FIELDS, *extra), pause, clk, rst)
        self.nbytes = self._data[0].width // 8
        self.extra = tuple(extra)

    def send(self, frame: bytes, **extra: int) -> None:  # type: ignore[override]
        """Queue a frame. `extra` gives side fields (same in each beat of the frame)."""
        side = tuple(extra[f] for f in self.extra)
        for data, last, count in beats(frame, self.nbytes):
            if count < self.nbytes and self._rubbish is not None:
                data |= self._rubbish.getrandbits(8 * (self.nbytes - count)) << (8 * count)
            self.queue.append((data, last, count, *side))
        self._changed.set()


class FrameSink(WordSink):
    """Receives frames as bytes; `recv_extra` also gives the side fields of the first beat.

    Checks the convention: all beats but the last full, the last with 1..W/8 bytes.
    """

    def __init__(
        self,
        dut: Any,
        prefix: str = "m",
        pause: Pause = never,
        clk: str = "clk",
        rst: str | None = "rst",
        extra: Sequence[str] = (),
    ) -> None:
        self._part: list[bytes] = []
        self._side: tuple[int, ...] = ()
        super().__init__(dut, prefix, (*FRAME_FIELDS, *extra), pause, clk, rst)
        self.nbytes = self._data[0].width // 8

    def _reset(self) -> None:
        self._part = []

    def _accept(self, word: tuple[int, ...]) -> None:
        data, last, count, *side = word
        if not 1 <= count <= self.nbytes or (not last and count != self.nbytes):
            raise AssertionError(f"{self.name}: beat with bytes={count} last={last}")
        if not self._part:
            self._side = tuple(side)
        self._part.append((data & ((1 << 8 * count) - 1)).to_bytes(count, "little"))
        if last:
            self.queue.append((b"".join(self._part), self._side))
            self._part = []

    async def recv(self) -> bytes:
        return (await self.recv_extra())[0]

    async def recv_extra(self) -> tuple[bytes, dict[str, int]]:
        while not self.queue:
            await self._wait_change()
        frame, side = self.queue.popleft()
        return frame, dict(zip(self.fields[3:], side, strict=True))

    def mid_frame(self) -> bool:
        """A frame has begun and not ended."""
        return bool(self._part)


class Pulses:
    """Counts the cycles in which each of some one-bit signals is high (error and drop pulses)."""

    def __init__(self, dut: Any, names: Sequence[str], clk: str = "clk") -> None:
        self.count = dict.fromkeys(names, 0)
        self._signals = [(n, Signal(getattr(dut, n))) for n in names]
        self._edge = RisingEdge(getattr(dut, clk))
        cocotb.start_soon(self._run())

    def __getitem__(self, name: str) -> int:
        return self.count[name]

    async def _run(self) -> None:
        while True:
            await self._edge
            for name, sig in self._signals:
                if sig.get():
                    self.count[name] += 1
