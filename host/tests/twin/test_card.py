# SPDX-License-Identifier: Apache-2.0
"""The library around the stub core: MMIO, doorbells, DMA, interrupts, time, sleep, wire, traces."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from netkernel import abi
from netkernel.twin.library import Card, LinkConfig, TwinLibrary
from stub_card import PAGE, Memory, Stub, eventually, readable

RW = 3
BASE = 0x1_2345_6000  # a bus address above 4 GiB


@contextlib.contextmanager
def mapped(
    card: Card, func: int, pages: int = 4, base: int = BASE, prot: int = RW
) -> Iterator[Memory]:
    memory = Memory(pages * PAGE)
    card.dma_map(func, base, memory.size, memory.fd, 0, prot)
    card.set_bus_master(func, True)
    yield memory
    card.dma_unmap_all(func)
    memory.close()


@contextlib.contextmanager
def doorbells(card: Card, func: int = 1) -> Iterator[Memory]:
    memory = Memory(card.info.queue_sets * PAGE)
    card.set_doorbells(func, memory.fd, 0, card.info.queue_sets)
    yield memory
    card.set_doorbells(func, -1)
    memory.close()


def oserror(code: int) -> pytest.RaisesExc[OSError]:
    return pytest.raises(OSError, check=lambda error: error.errno == code)


# ---------------------------------------------------------------------------------------------- MMIO


def test_identity(stub_card: Card) -> None:
    assert stub_card.mmio_read(0, abi.PF.MAGIC) == abi.MAGIC
    assert stub_card.mmio_read(2, abi.VF.FUNCTION) == 1
    assert stub_card.mmio_read(1, abi.VF.BUILD_ID) == stub_card.info.build_id != 0


def test_writes_arrive_in_order(stub: Stub) -> None:
    wanted = [(n % 3, 0x100 + 4 * n, n * 0x01010101) for n in range(200)]
    for func, addr, value in wanted:
        stub.card.mmio_write(func, addr, value, timeout_ms=0)
    assert stub.log() == wanted


def test_block_read(stub_card: Card) -> None:
    # The stub answers an address that it does not know with the address.
    assert stub_card.mmio_read_block(1, 0x3000, 1024) == list(range(0x3000, 0x4000, 4))


@pytest.mark.parametrize(("func", "addr"), [(3, 0), (0, 0x20000), (0, 2)])
def test_bad_addresses_are_refused(stub_card: Card, func: int, addr: int) -> None:
    with oserror(errno.EINVAL):
        stub_card.mmio_read(func, addr)
    with oserror(errno.EINVAL):
        stub_card.mmio_write(func, addr, 0)


def test_block_read_beyond_the_bar_is_refused(stub_card: Card) -> None:
    with oserror(errno.EINVAL):
        stub_card.mmio_read_block(0, 0x1FFFC, 2)


def test_a_read_that_the_core_never_answers_times_out(stub: Stub) -> None:
    stub.set(stub.MUTE, 1)
    start = time.monotonic()
    with oserror(errno.ETIMEDOUT):
        stub.get(0)
    assert time.monotonic() - start < 3
    stub.set(stub.MUTE, 0)
    assert stub.get(0) == abi.MAGIC
    assert stub.card.status()["mmio_timeouts"] == 1


def test_readers_of_a_stopped_card_are_told(library: TwinLibrary) -> None:
    card = Card(library)
    with oserror(errno.ESHUTDOWN):
        card.mmio_read(0, 0)
    card.start()
    failed: list[int | None] = []

    def reader() -> None:
        try:
            while True:
                card.mmio_read(0, 0)
        except OSError as error:
            failed.append(error.errno)

    threads = [threading.Thread(target=reader) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    card.stop()
    for thread in threads:
        thread.join(timeout=5)
    assert failed == [errno.ESHUTDOWN] * 4
    card.close()


# ----------------------------------------------------------------------------------------- doorbells


def test_doorbell_memory_reaches_the_core(stub: Stub) -> None:
    with doorbells(stub.card) as memory:
        memory.word(abi.DB.SEND_TAIL).value = 7
        eventually(lambda: len(stub.log()) == 1)
        memory.word(PAGE + abi.DB.JOB_TAIL).value = 9
        eventually(lambda: len(stub.log()) == 2)
        assert stub.log() == [
            (1, abi.VF.DB_BASE + abi.DB.SEND_TAIL, 7),
            (1, abi.VF.DB_BASE + PAGE + abi.DB.JOB_TAIL, 9),
        ]
        assert stub.card.status()["doorbells"] == 2


def test_heads_go_before_the_arm_word(stub: Stub, seed: int) -> None:
    """Whatever is polled together, the arm word is the last; and the last value of each word arrives."""
    rng = random.Random(seed)
    with doorbells(stub.card) as memory, mapped(stub.card, 1):
        stub.set(stub.ADDR, BASE & 0xFFFFFFFF)
        stub.set(stub.ADDR + 4, BASE >> 32)
        heads = (abi.DB.COMPLETION_HEAD, abi.DB.RECEIVE_HEAD)
        values = dict.fromkeys(heads, 0)
        for arm in range(1, 60):
            for head in heads:
                if rng.random() < 0.7:
                    values[head] += rng.randrange(1, 5)
                    memory.word(head).value = values[head]
            memory.word(abi.DB.IRQ_ARM).value = arm
            if rng.random() < 0.3:
                time.sleep(0.0005)
        eventually(lambda: (1, abi.VF.DB_BASE + abi.DB.IRQ_ARM, 59) in stub.log())
        log = [(addr - abi.VF.DB_BASE, data) for func, addr, data in stub.log() if func == 1]
        seen = dict.fromkeys(heads, 0)
        for offset, data in log:
            if offset != abi.DB.IRQ_ARM:
                seen[offset] = data
        assert seen == values
        assert log[-1] == (abi.DB.IRQ_ARM, 59), "the heads written before it came before it"


def test_a_doorbell_precedes_a_later_register_access(stub: Stub) -> None:
    with doorbells(stub.card) as memory:
        for n in range(1, 50):
            memory.word(abi.DB.SEND_TAIL).value = n
            stub.card.mmio_write(1, 0x200, n)
        log = stub.log()
    expected = []
    for n in range(1, 50):
        expected += [(1, abi.VF.DB_BASE + abi.DB.SEND_TAIL, n), (1, 0x200, n)]
    assert log == expected


@pytest.mark.parametrize(
    ("func", "addr", "value", "cleared"),
    [
        (1, abi.VF.QS_BASE + abi.QS.CTRL, 1, (True, False)),
        (1, abi.VF.QS_BASE + abi.VF.QS_STRIDE + abi.QS.CTRL, 1, (False, True)),
        (1, abi.VF.QS_BASE + abi.QS.CTRL, 0, (True, False)),
        (1, abi.VF.CTRL, 2, (True, True)),
        (1, abi.VF.CTRL, 0, (True, True)),
        (1, abi.VF.CTRL, 1, (False, False)),
        (0, abi.PF.VF_BASE + abi.VFE.CTRL, 0, (True, True)),
        (0, abi.PF.VF_BASE + abi.VFE.CTRL, 1, (False, False)),
        (0, abi.PF.VF_BASE + abi.PF.VF_STRIDE + abi.VFE.CTRL, 0, (False, False)),
        (2, abi.VF.CTRL, 2, (False, False)),
        (1, abi.VF.QS_BASE + abi.QS.SIZES, 1, (False, False)),
    ],
)
def test_doorbells_are_cleared_with_the_cores_indices(
    stub: Stub, func: int, addr: int, value: int, cleared: tuple[bool, bool]
) -> None:
    with doorbells(stub.card) as memory:
        for page in range(2):
            memory.word(page * PAGE + abi.DB.SEND_TAIL).value = 5
        eventually(lambda: stub.card.status()["doorbells"] == 2)
        stub.card.mmio_write(func, addr, value)
        now = tuple(memory.word(page * PAGE + abi.DB.SEND_TAIL).value == 0 for page in range(2))
        assert now == cleared
        before = stub.card.status()["doorbells"]
        # The same number again is news after a reset, and none otherwise.
        for page in range(2):
            memory.word(page * PAGE + abi.DB.SEND_TAIL).value = 5
        stub.get(0)
        assert stub.card.status()["doorbells"] - before == sum(cleared)


def test_trapped_doorbells_are_the_same_memory(stub_card: Card) -> None:
    with doorbells(stub_card) as memory:
        stub_card.doorbell_write(1, PAGE + abi.DB.SEND_TAIL, 0xABCD)
        assert memory.word(PAGE + abi.DB.SEND_TAIL).value == 0xABCD
        memory.word(abi.DB.JOB_TAIL).value = 3
        assert stub_card.doorbell_read(1, abi.DB.JOB_TAIL) == 3
        for offset in (2, 2 * PAGE):
            with oserror(errno.EINVAL):
                stub_card.doorbell_write(1, offset, 0)


# ----------------------------------------------------------------------------------------------- DMA


@pytest.fixture(params=["library", "narrow_library"])
def any_stub(request: pytest.FixtureRequest) -> Iterator[Stub]:
    """On a bus of 512 and of 64 bits."""
    card = Card(request.getfixturevalue(request.param), read_latency=random.randrange(0, 9))
    card.start()
    yield Stub(card)
    assert card.status()["protocol_errors"] == 0
    card.close()


def test_dma_lanes_and_wraps(any_stub: Stub, seed: int) -> None:
    """Bytes go from one place to another through a buffer in lanes; compared with slices of a bytearray."""
    stub, rng = any_stub, random.Random(seed)
    with mapped(stub.card, 1) as memory:
        content = rng.randbytes(memory.size)
        memory.data[:] = content
        model = bytearray(content)

        def pieces(length: int) -> tuple[int, int, int]:
            """(address, wrap_len, wrap_address) of a transfer of `length` bytes in the memory."""
            kind = rng.randrange(4)
            start = rng.randrange(memory.size - length)
            other = rng.randrange(memory.size - length)
            if kind == 0:
                return start, 0xFFFF, other
            if kind == 1:
                return start, length + rng.randrange(3), other  # long enough: no wrap
            return start, rng.randrange(1, length + 1), other

        for _ in range(60):
            length = rng.choice([1, 2, 7, 8, 31, 32, 33, 63, 64, 65, 100, 1460, 4095, 4096])
            lane = rng.randrange(stub.beat)
            start, wrap, other = pieces(length)
            stub.dma(stub.READ, 1, BASE + start, length, lane, wrap, BASE + other)
            first = min(wrap, length)
            moved = bytes(model[start : start + first] + model[other : other + length - first])
            start, wrap, other = pieces(length)
            stub.dma(stub.WRITE, 1, BASE + start, length, lane, wrap, BASE + other)
            first = min(wrap, length)
            model[start : start + first] = moved[:first]
            model[other : other + length - first] = moved[first:]
            assert memory.data[:] == model
        status = stub.card.status()
    assert status["dma_errors"] == 0
    assert (status["dma_reads"], status["dma_writes"]) == (60, 60)


def test_dma_across_mappings(stub: Stub) -> None:
    """Neighbouring bus pages in different files, mapped in any order."""
    stub.card.set_bus_master(1, True)
    memories = [Memory(PAGE) for _ in range(3)]
    for n in (1, 0, 2):
        memories[n].data[:] = bytes([n + 1]) * PAGE
        stub.card.dma_map(1, BASE + n * PAGE, PAGE, memories[n].fd, 0, RW)
    stub.dma(stub.READ, 1, BASE + PAGE - 10, 4096, 3)
    stub.dma(stub.WRITE, 1, BASE + 2 * PAGE - 5, 15, 3)
    assert memories[1].data[PAGE - 5 :] == b"\x01" * 5
    assert memories[2].data[:12] == b"\x01" * 5 + b"\x02" * 5 + b"\x03" * 2
    assert stub.card.status()["dma_errors"] == 0


def errors_of(stub: Stub, command: int, func: int, addr: int, length: int) -> int:
    before = stub.card.status()["dma_errors"]
    stub.dma(command, func, addr, length, 0)
    status = stub.card.status()
    if status["dma_errors"] > before:
        assert (status["dma_error_func"], status["dma_error_addr"]) == (func, addr)
        assert status["dma_error_write"] == (command == stub.WRITE)
    return int(status["dma_errors"] - before)


def test_dma_to_nowhere_reads_zeros_and_writes_nothing(stub: Stub) -> None:
    with mapped(stub.card, 1, pages=2) as memory:
        memory.data[:] = b"\xaa" * memory.size
        assert errors_of(stub, stub.READ, 1, BASE, 64) == 0
        assert errors_of(stub, stub.WRITE, 1, BASE - 64, 64) == 1
        assert errors_of(stub, stub.WRITE, 1, BASE + memory.size, 64) == 1
        assert errors_of(stub, stub.WRITE, 2, BASE, 64) == 1, "memory of another function"
        assert errors_of(stub, stub.WRITE, 1, (1 << 64) - 32, 64) == 1
        assert memory.data[:] == b"\xaa" * memory.size
        # Partly mapped: the part that is there is served.
        assert errors_of(stub, stub.READ, 1, BASE + memory.size - 32, 64) == 1
        assert errors_of(stub, stub.WRITE, 1, BASE, 64) == 0
        assert memory.data[:65] == b"\xaa" * 32 + bytes(32) + b"\xaa"


def test_bus_master_off_means_no_dma(stub: Stub) -> None:
    with mapped(stub.card, 1) as memory:
        memory.data[:64] = b"\x55" * 64
        stub.card.set_bus_master(1, False)
        assert errors_of(stub, stub.READ, 1, BASE, 64) == 1
        stub.card.set_bus_master(1, True)
        assert errors_of(stub, stub.WRITE, 1, BASE, 64) == 0
        assert memory.data[:64] == bytes(64), "the read gave zeros"


@pytest.mark.parametrize(("prot", "read", "write"), [(1, 0, 1), (2, 1, 0), (0, 1, 1)])
def test_mapping_permissions(stub: Stub, prot: int, read: int, write: int) -> None:
    with mapped(stub.card, 1, prot=prot):
        assert errors_of(stub, stub.READ, 1, BASE, 8) == read
        assert errors_of(stub, stub.WRITE, 1, BASE, 8) == write


def test_mapping_without_fd_cannot_be_reached(stub: Stub) -> None:
    stub.card.set_bus_master(1, True)
    stub.card.dma_map(1, BASE, PAGE, -1, 0, RW)
    assert errors_of(stub, stub.READ, 1, BASE, 8) == 1
    assert stub.card.dma_unmap(1, BASE, PAGE) == 1


def test_unmapped_memory_is_let_go(stub: Stub) -> None:
    with mapped(stub.card, 1) as memory:
        memory.data[:8] = b"8 bytes."
        stub.dma(stub.READ, 1, BASE, 8, 0)
        assert stub.card.dma_unmap(1, BASE, memory.size) == 1
        assert errors_of(stub, stub.WRITE, 1, BASE + 64, 8) == 1
        assert memory.data[64:72] == bytes(8)
        assert stub.card.dma_unmap(1, BASE, memory.size) == 0


def test_a_truncated_file_does_not_kill_the_card(stub: Stub) -> None:
    """The tenant holds the file as well, and may shorten it whenever it likes."""
    with mapped(stub.card, 1) as memory:
        assert errors_of(stub, stub.WRITE, 1, BASE + PAGE, 64) == 0
        lost = stub.card.status()["dma_errors"]
        os.ftruncate(memory.fd, 0)
        stub.dma(stub.WRITE, 1, BASE + PAGE, 64, 0)
        stub.dma(stub.READ, 1, BASE, 64, 0)
        assert stub.card.status()["dma_errors"] > lost
        assert stub.get(0) == abi.MAGIC


def test_maps_that_are_refused(stub_card: Card, tmp_path: Path) -> None:
    with mapped(stub_card, 1, pages=2) as memory:
        for code, iova, size, offset, prot in (
            (errno.EEXIST, BASE, PAGE, 0, RW),
            (errno.EEXIST, BASE + PAGE, 2 * PAGE, 0, RW),
            (errno.EEXIST, BASE - PAGE, 2 * PAGE, 0, RW),
            (errno.EINVAL, BASE + 4 * PAGE, 3 * PAGE, 0, RW),  # longer than the file
            (errno.EINVAL, BASE + 4 * PAGE, PAGE, 2 * PAGE, RW),
            (errno.EINVAL, BASE + 4 * PAGE, PAGE, 1 << 63, RW),
            (errno.EINVAL, BASE + 4 * PAGE, 0, 0, RW),
            (errno.EINVAL, BASE + 4 * PAGE + 1, PAGE, 0, RW),
            (errno.EINVAL, BASE + 4 * PAGE, 100, 0, RW),
            (errno.EINVAL, BASE + 4 * PAGE, PAGE, 100, RW),
            (errno.EINVAL, BASE + 4 * PAGE, PAGE, 0, 4),
            (errno.EINVAL, (1 << 64) - PAGE, 2 * PAGE, 0, RW),
        ):
            with oserror(code):
                stub_card.dma_map(1, iova, size, memory.fd, offset, prot)
        for iova, size in ((BASE, PAGE), (BASE + PAGE, PAGE), (BASE + PAGE, 4 * PAGE), (BASE, 0)):
            with oserror(errno.EINVAL):
                stub_card.dma_unmap(1, iova, size)
        disk = tmp_path / "disk"
        disk.write_bytes(bytes(PAGE))
        read_end, write_end = os.pipe()
        with disk.open("r+b") as file:
            for fd in (read_end, *([] if _is_memory_fs(tmp_path) else [file.fileno()])):
                with oserror(errno.EINVAL):
                    stub_card.dma_map(1, BASE + 4 * PAGE, PAGE, fd, 0, RW)
        os.close(read_end)
        os.close(write_end)
        # The top page of the address space is an address like any other.
        stub_card.dma_map(1, (1 << 64) - PAGE, PAGE, memory.fd, 0, RW)
        assert stub_card.dma_unmap(1, (1 << 64) - PAGE, PAGE) == 1
        assert stub_card.dma_unmap(1, 0, 1 << 63) == 1


def _is_memory_fs(path: Path) -> bool:
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    inside = [(where, kind) for where, kind in mounts if path.is_relative_to(where)]
    return max(inside, key=lambda m: len(m[0]))[1] == "tmpfs"


def test_many_maps(stub: Stub, seed: int) -> None:
    rng = random.Random(seed)
    memory = Memory(64 * PAGE)
    stub.card.set_bus_master(1, True)
    order = list(range(64))
    rng.shuffle(order)
    for n in order:
        memory.data[n * PAGE] = n
        stub.card.dma_map(1, n * 2 * PAGE, PAGE, memory.fd, n * PAGE, RW)
    for n in rng.sample(range(64), 16):
        stub.dma(stub.READ, 1, n * 2 * PAGE, 8, 0)
        stub.dma(stub.WRITE, 1, n * 2 * PAGE + 8, 8, 0)
        assert memory.data[n * PAGE + 8] == n
        assert errors_of(stub, stub.READ, 1, (n * 2 + 1) * PAGE, 8) == 1
    assert stub.card.dma_unmap_all(1) == 64


# ---------------------------------------------------------------------------------------- interrupts


def test_interrupt_follows_the_writes_before_it(stub: Stub) -> None:
    event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    with doorbells(stub.card) as bells, mapped(stub.card, 1) as memory:
        stub.card.set_irq(1, 1, event)
        # A queue set that is on is looked at all the time, another one only now and then.
        stub.card.mmio_write(1, abi.VF.QS_BASE + abi.VF.QS_STRIDE + abi.QS.CTRL, 1)
        stub.set(stub.ADDR, BASE & 0xFFFFFFFF)
        stub.set(stub.ADDR + 4, BASE >> 32)
        for n in range(20):
            memory.data[:64] = b"\xff" * 64
            bells.word(PAGE + abi.DB.IRQ_ARM).value = n + 1
            assert readable(event)
            assert os.eventfd_read(event) == 1
            assert memory.data[:64] == struct.pack("<I", n) * 16
    os.close(event)


def test_an_interrupt_waits_for_data_that_is_still_to_come(stub: Stub) -> None:
    """Its write was accepted before it; the data comes 100,000 clocks later."""
    event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    stub.card.set_irq(1, 0, event)
    with mapped(stub.card, 1) as memory:
        memory.data[:64] = b"w" * 64
        stub.dma(stub.READ, 1, BASE, 64, 0)
        stub.set(stub.ADDR, (BASE + PAGE) & 0xFFFFFFFF)
        stub.set(stub.VECTOR, 0)
        stub.set(stub.SPIN, 100_000)
        stub.set(stub.CMD, stub.WRITE_IRQ)
        assert readable(event, 5)
        assert memory.data[PAGE : PAGE + 64] == b"w" * 64
    os.close(event)


def test_interrupts_go_to_their_own_vector(stub: Stub) -> None:
    events = {
        (func, vector): os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        for func in range(3)
        for vector in range(2)
    }
    for (func, vector), fd in events.items():
        stub.card.set_irq(func, vector, fd)
    stub.irq(2, 1)
    assert readable(events[2, 1])
    assert [key for key, fd in events.items() if readable(fd, 0)] == [(2, 1)]
    stub.card.set_irq(2, 1, -1)
    stub.irq(2, 1)
    eventually(lambda: stub.card.status()["irqs_dropped"] == 1)
    for fd in events.values():
        os.close(fd)


def test_masked_interrupt_waits(stub: Stub) -> None:
    event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    stub.card.set_irq(1, 0, event)
    stub.card.mask_irq(1, 0, True)
    stub.irq(1, 0)
    stub.irq(1, 0)
    stub.get(0)
    assert not readable(event, 0.05)
    stub.card.mask_irq(1, 0, False)
    assert readable(event, 0)
    assert os.eventfd_read(event) == 1
    stub.card.trigger_irq(1, 0)
    assert os.eventfd_read(event) == 1
    os.close(event)


def test_only_eventfds_are_taken(stub_card: Card) -> None:
    read_end, write_end = os.pipe()
    for fd in (read_end, write_end, 9999):
        with oserror(errno.EINVAL):
            stub_card.set_irq(1, 0, fd)
    os.close(read_end)
    os.close(write_end)


def test_a_full_eventfd_is_skipped(stub: Stub) -> None:
    event = os.eventfd(0, os.EFD_CLOEXEC)
    stub.card.set_irq(1, 0, event)
    os.eventfd_write(event, (1 << 64) - 2)
    stub.irq(1, 0)
    eventually(lambda: stub.card.status()["irqs_dropped"] == 1)
    os.eventfd_read(event)
    stub.irq(1, 0)
    assert readable(event)
    os.close(event)


def test_an_eventfd_that_blocks_is_given_up(stub: Stub) -> None:
    """A tenant that holds the eventfd as well makes it blocking and full: the card goes on without it."""
    event = os.eventfd(0, os.EFD_CLOEXEC)
    stub.card.set_irq(1, 0, event)
    fcntl.fcntl(event, fcntl.F_SETFL, 0)
    os.eventfd_write(event, (1 << 64) - 2)
    for addr, value in ((stub.FUNC, 1), (stub.VECTOR, 0), (stub.CMD, stub.IRQ)):
        stub.card.mmio_write(0, addr, value, timeout_ms=0)
    time.sleep(0.05)  # it is stuck by now
    stub.card.watchdog()
    stub.card.watchdog()
    eventually(lambda: stub.card.status()["irqs_dropped"] == 1)
    assert stub.get(0) == abi.MAGIC
    os.close(event)


# -------------------------------------------------------------------------------------- time and sleep


def test_an_idle_card_does_not_clock(stub: Stub) -> None:
    with doorbells(stub.card):
        stub.card.mmio_write(1, abi.VF.QS_BASE + abi.QS.CTRL, 1)
        eventually(lambda: bool(stub.card.status()["asleep"]))
        before = stub.card.status()
        time.sleep(0.5)
        after = stub.card.status()
    assert after["clocks"] == before["clocks"]
    assert after["now_us"] - before["now_us"] >= 450_000, "time goes on without clocks"
    # At 150 us while work was near, then once a millisecond.
    assert after["sleeps"] - before["sleeps"] < 0.5 / 150e-6


def test_the_core_is_woken_for_its_timer(stub: Stub) -> None:
    event = os.eventfd(0, os.EFD_CLOEXEC)
    stub.card.set_irq(0, 0, event)
    now = stub.get(abi.PF.NOW_US)
    clocks = stub.card.status()["clocks"]
    stub.set(stub.TIMER, (now + 200_000) & 0xFFFFFFFF)
    assert not readable(event, 0.15)
    assert readable(event, 2)
    late = (stub.get(abi.PF.NOW_US) - now - 200_000) & 0xFFFFFFFF
    assert late < 100_000  # on a loaded machine; some tens of microseconds otherwise
    assert stub.card.status()["clocks"] - clocks < 2000
    os.close(event)


def test_a_busy_core_is_clocked_until_it_rests(stub: Stub) -> None:
    before = stub.card.status()["clocks"]
    stub.set(stub.SPIN, 100_000)
    eventually(lambda: bool(stub.card.status()["asleep"]))
    status = stub.card.status()
    assert 100_000 <= status["clocks"] - before < 101_000
    assert status["busy_ns"] > 0
    assert status["clocks_per_second"] > 1000


def test_time_does_not_jump_over_a_stop(library: TwinLibrary) -> None:
    """With a guard of 1 us every gap is one: card time falls behind, and says by how much."""
    card = Card(library, guard_us=1)
    card.start()
    Stub(card).set(Stub.SPIN, 300_000)
    eventually(lambda: bool(card.status()["asleep"]))
    status = card.status()
    card.close()
    assert status["time_skipped_us"] > 1000
    behind = status["uptime_ns"] / 1000 - (status["now_us"] - 1_000_000)
    assert 0.9 * status["time_skipped_us"] <= behind <= status["time_skipped_us"] + 100_000


# ------------------------------------------------------------------------------------------------ MAC


@pytest.fixture
def wire(stub_card: Card) -> Iterator[socket.socket]:
    """The other end of the cable. The stub sends back what it gets."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stub_card.set_wire(theirs.fileno())
    theirs.close()
    ours.settimeout(2)
    yield ours
    ours.close()


def test_frames_of_all_lengths(stub_card: Card, wire: socket.socket, seed: int) -> None:
    rng = random.Random(seed)
    lengths = [1, 60, 63, 64, 65, 127, 128, 1514, 2048, *rng.sample(range(14, 2048), 40)]
    for length in lengths:
        frame = rng.randbytes(length)
        wire.send(frame)
        assert wire.recv(4096) == frame
    status = stub_card.status()
    assert status["frames_rx"] == status["frames_tx"] == len(lengths)
    assert status["bytes_rx"] == status["bytes_tx"] == sum(lengths)
    assert status["protocol_errors"] == 0


def test_a_frame_wakes_the_card(stub_card: Card, wire: socket.socket) -> None:
    start = time.monotonic()
    for _ in range(10):
        eventually(lambda: bool(stub_card.status()["asleep"]))
        time.sleep(0.002)
        wire.send(bytes(60))
        wire.recv(4096)
    assert time.monotonic() - start < 1.5, (
        "some microseconds each; half a second each without waking"
    )


def test_bursts_of_frames_in_order(stub_card: Card, wire: socket.socket) -> None:
    for burst in range(20):
        for n in range(100):
            wire.send(struct.pack("<II", burst, n) * 8)
        for n in range(100):
            assert wire.recv(4096) == struct.pack("<II", burst, n) * 8
    assert stub_card.status()["wire_tx_drops"] == 0


def test_a_wire_that_takes_nothing_loses_frames_not_the_card(
    stub_card: Card, wire: socket.socket
) -> None:
    """Nobody reads: a bounded number of frames waits, the rest is dropped and counted."""
    wire.setblocking(False)
    sent = 0
    while stub_card.status()["wire_tx_drops"] == 0:
        with contextlib.suppress(BlockingIOError):
            wire.send(struct.pack("<I", sent) * 300)
            sent += 1
        assert sent < 20_000
    assert stub_card.mmio_read(0, 0) == abi.MAGIC
    wire.settimeout(2)
    assert wire.recv(4096) == struct.pack("<I", 0) * 300


def test_frames_in_small_beats(narrow_library: TwinLibrary, seed: int) -> None:
    rng = random.Random(seed)
    card = Card(narrow_library)
    card.start()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    card.set_wire(theirs.fileno())
    ours.settimeout(2)
    for length in (1, 7, 8, 9, 60, 1514):
        frame = rng.randbytes(length)
        ours.send(frame)
        assert ours.recv(4096) == frame
    card.close()
    ours.close()
    theirs.close()


def test_too_long_frames_are_counted(stub_card: Card, wire: socket.socket) -> None:
    wire.send(bytes(2049))
    wire.send(bytes(60))
    assert wire.recv(4096) == bytes(60)
    assert stub_card.status()["wire_rx_errors"] == 1


def test_a_cut_cable(stub_card: Card, wire: socket.socket) -> None:
    assert stub_card.status()["link_up"] == 1
    wire.close()
    eventually(lambda: stub_card.status()["link_up"] == 0)
    assert stub_card.mmio_read(0, 0) == abi.MAGIC


def test_link_model_in_place(stub_card: Card, wire: socket.socket) -> None:
    stub_card.set_link(0, LinkConfig(loss=1))
    wire.send(bytes(60))
    eventually(lambda: stub_card.link(0)[1]["lost"] == 1)
    assert stub_card.status()["frames_rx"] == 0
    stub_card.set_link(0, LinkConfig())
    stub_card.set_link(1, LinkConfig(duplicate=1))
    wire.send(b"\x77" * 60)
    assert wire.recv(4096) == wire.recv(4096) == b"\x77" * 60
    stub_card.set_link(1, LinkConfig(delay_us=100_000))
    start = time.monotonic()
    wire.send(bytes(60))
    wire.recv(4096)
    assert time.monotonic() - start >= 0.099


def pcap_frames(path: Path) -> list[tuple[float, bytes]]:
    data = path.read_bytes()
    assert struct.unpack_from("<IHHiIII", data)[0::6] == (0xA1B2C3D4, 1)
    frames, at = [], 24
    while at < len(data):
        seconds, micros, captured, length = struct.unpack_from("<IIII", data, at)
        assert captured == length
        frames.append((seconds + micros / 1e6, data[at + 16 : at + 16 + captured]))
        at += 16 + captured
    return frames


def test_capture(stub_card: Card, wire: socket.socket, tmp_path: Path) -> None:
    """Both directions, at the MAC: what the link model loses towards the card was never there."""
    path = tmp_path / "trace.pcap"
    wire.send(b"before")
    wire.recv(4096)
    start = time.time()
    stub_card.trace_pcap(path)
    stub_card.set_link(0, LinkConfig(loss=1))
    wire.send(b"lost")
    eventually(lambda: stub_card.link(0)[1]["lost"] == 1)
    stub_card.set_link(0, LinkConfig())
    stub_card.set_link(1, LinkConfig(loss=1))
    wire.send(b"sent in vain")
    eventually(lambda: stub_card.link(1)[1]["lost"] == 1)
    stub_card.set_link(1, LinkConfig())
    wire.send(b"x" * 1514)
    wire.recv(4096)
    stub_card.trace_pcap(None)
    wire.send(b"after")
    wire.recv(4096)
    frames = pcap_frames(path)
    assert [f for _, f in frames] == [b"sent in vain"] * 2 + [b"x" * 1514] * 2
    times = [t for t, _ in frames]
    assert times == sorted(times)
    assert start - 0.1 <= times[0] <= times[-1] <= time.time() + 0.1


def test_capture_reaches_the_file_while_it_runs(
    stub_card: Card, wire: socket.socket, tmp_path: Path
) -> None:
    path = tmp_path / "trace.pcap"
    stub_card.trace_pcap(path)
    wire.send(b"hello")
    wire.recv(4096)
    eventually(lambda: len(pcap_frames(path)) == 2)


# --------------------------------------------------------------------------------------------- traces


def test_nqe_trace(stub: Stub) -> None:
    start = time.time() * 1e6
    with doorbells(stub.card) as first, doorbells(stub.card, 2) as second:
        for n in range(1, 6):
            first.word(abi.DB.JOB_TAIL).value = n
            second.word(PAGE + abi.DB.JOB_TAIL).value = 0x100 + n
            stub.get(0)
    nqes = stub.card.trace_nqes(0, 0, 100)
    assert [n.seq for n in nqes] == [1, 2, 3, 4, 5]
    assert [n.nqe for n in nqes] == [struct.pack("<I", n) * 8 for n in range(1, 6)]
    assert {(n.vf, n.queue_set, n.queue) for n in nqes} == {(0, 0, 0)}
    assert all(start - 1e6 < n.time_us < time.time() * 1e6 + 1e6 for n in nqes)
    others = stub.card.trace_nqes(1, 3, 1)
    assert [(n.seq, n.queue_set, n.nqe[:4]) for n in others] == [(4, 1, b"\x04\x01\0\0")]
    assert stub.card.trace_nqes(0, 5, 100) == []
    with oserror(errno.EINVAL):
        stub.card.trace_nqes(2, 0, 1)


def test_nqe_trace_keeps_the_latest(stub: Stub) -> None:
    count = 8192 + 100
    for n in range(1, count + 1):
        stub.card.mmio_write(1, abi.VF.DB_BASE + abi.DB.JOB_TAIL, n, timeout_ms=0)
    eventually(lambda: stub.card.status()["nqes"] == count, 20)
    nqes = stub.card.trace_nqes(0, 0, 20_000)
    assert [n.seq for n in nqes] == list(range(101, count + 1))
    assert nqes[-1].nqe[:4] == struct.pack("<I", count)
