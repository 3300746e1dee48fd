# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the twin's tests: the library built around stub/nk_core.v, a running card, and a driver of the stub.

The stub is a small nk_core of which every port does something that a test can see; its header says what.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from netkernel.twin.build import TwinConfig, build
from netkernel.twin.library import Card, TwinLibrary

STUB = Path(__file__).parent / "stub" / "nk_core.v"
PAGE = 4096


def stub_config(width: int) -> TwinConfig:
    return TwinConfig(width=width, vfs=2, queue_sets=2, flows=64)


@pytest.fixture(scope="session")
def library() -> TwinLibrary:
    return TwinLibrary(build(stub_config(512), extra=[STUB]))


@pytest.fixture(scope="session")
def narrow_library() -> TwinLibrary:
    return TwinLibrary(build(stub_config(64), extra=[STUB]))


@pytest.fixture
def stub_card(library: TwinLibrary) -> Iterator[Card]:
    card = Card(library, seed=1)
    card.start()
    yield card
    card.close()


@pytest.fixture
def stub(stub_card: Card) -> Stub:
    return Stub(stub_card)


@pytest.fixture
def seed() -> int:
    """NK_SEED, or a random one; a failing test shows what was printed."""
    value = int(os.environ.get("NK_SEED") or random.SystemRandom().getrandbits(31))
    print(f"NK_SEED={value}")
    return value


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Waits until `condition` holds; fails if it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.001)


def readable(fd: int, seconds: float = 2.0) -> bool:
    return bool(select.select([fd], [], [], seconds)[0])


@dataclass
class Memory:
    """A memfd and its mapping here."""

    size: int
    fd: int = field(init=False)
    data: mmap.mmap = field(init=False)

    def __post_init__(self) -> None:
        self.fd = os.memfd_create("test", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, self.size)
        self.data = mmap.mmap(self.fd, self.size)

    def word(self, offset: int) -> ctypes.c_uint32:
        return ctypes.c_uint32.from_buffer(self.data, offset)

    def close(self) -> None:
        os.close(self.fd)


class Stub:
    """Registers of stub/nk_core.v."""

    CMD, FUNC, ADDR, LEN, LANE = 0x2000, 0x2004, 0x2008, 0x2010, 0x2014
    WRAP_LEN, WRAP, DONE, LOG_COUNT, LOG_INDEX, LOG = 0x2018, 0x201C, 0x2024, 0x2028, 0x202C, 0x2030
    TIMER, SPIN, VECTOR, MUTE = 0x203C, 0x2040, 0x2044, 0x2048
    READ, WRITE, IRQ, WRITE_IRQ = 1, 2, 3, 4

    def __init__(self, card: Card) -> None:
        self.card = card
        self.beat = card.info.width // 8

    def set(self, addr: int, value: int) -> None:
        self.card.mmio_write(0, addr, value)

    def get(self, addr: int) -> int:
        return self.card.mmio_read(0, addr)

    def dma(
        self, command: int, func: int, addr: int, length: int, lane: int,
        wrap_len: int = 0xFFFF, wrap_addr: int = 0,
    ) -> None:  # fmt: skip
        """One transfer between host memory and the stub's buffer; returns when it is over."""
        done = self.get(self.DONE)
        for register, value in (
            (self.FUNC, func),
            (self.ADDR, addr & 0xFFFFFFFF),
            (self.ADDR + 4, addr >> 32),
            (self.LEN, length),
            (self.LANE, lane),
            (self.WRAP_LEN, wrap_len),
            (self.WRAP, wrap_addr & 0xFFFFFFFF),
            (self.WRAP + 4, wrap_addr >> 32),
            (self.CMD, command),
        ):
            self.set(register, value)
        eventually(lambda: self.get(self.DONE) == done + 1)

    def irq(self, func: int, vector: int) -> None:
        self.set(self.FUNC, func)
        self.set(self.VECTOR, vector)
        self.set(self.CMD, self.IRQ)

    def log(self) -> list[tuple[int, int, int]]:
        """Every MMIO write that the core saw, but for those that read this log: (func, addr, data)."""
        count = self.get(self.LOG_COUNT)
        entries = []
        for n in range(count):
            self.set(self.LOG_INDEX, n)
            func, addr, data = self.card.mmio_read_block(0, self.LOG, 3)
            entries.append((func, addr, data))
        return [e for e in entries if e[:2] != (0, self.LOG_INDEX)]
