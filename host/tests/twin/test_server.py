# SPDX-License-Identifier: Apache-2.0
"""The vfio-user servers, spoken to in raw messages: what QEMU and our client say, and what nobody should say.

The layouts of messages are written down here a second time on purpose: a mistake in the package's own would
otherwise be made by both sides alike.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from netkernel import abi
from netkernel.device import VfioUserDevice
from netkernel.errors import TwinGone
from netkernel.twin import pci
from netkernel.twin.function import Function
from netkernel.twin.library import Card
from netkernel.twin.server import FunctionServer
from stub_card import PAGE, Memory, Stub, eventually, readable

VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, REGION_INFO = 1, 2, 3, 4, 5
IRQ_INFO, SET_IRQS, REGION_READ, REGION_WRITE, RESET = 7, 8, 9, 10, 13
BAR0, BAR2, CONFIG = 0, 2, 7
MSIX = 2
DATA_NONE, DATA_BOOL, DATA_EVENTFD, MASK, UNMASK, TRIGGER = 1, 2, 4, 8, 16, 32
CAPABILITIES = json.dumps(
    {"capabilities": {"max_msg_fds": 8, "max_data_xfer_size": 1048576, "pgsizes": 4096}}
).encode()


class Refused(Exception):
    """An error reply."""

    def __init__(self, code: int) -> None:
        super().__init__(errno.errorcode.get(code, str(code)))
        self.code = code


class Client:
    """A vfio-user client that checks no more than the frame of the messages."""

    opened: ClassVar[list[Client]] = []

    def __init__(self, path: Path, *, negotiate: bool = True) -> None:
        self.opened.append(self)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(5)
        self.sock.connect(str(path))
        self.ident = 0x7000
        if negotiate:
            self.call(VERSION, struct.pack("<HH", 0, 0) + CAPABILITIES + b"\0")

    def send(self, cmd: int, body: bytes, fds: Sequence[int] = (), flags: int = 0) -> None:
        self.ident = (self.ident + 1) & 0xFFFF
        message = struct.pack("<HHIII", self.ident, cmd, 16 + len(body), flags, 0) + body
        socket.send_fds(self.sock, [message], list(fds))

    def receive(self) -> tuple[int, bytes, list[int]]:
        """(errno, body, fds) of the reply to the last message."""
        head, fds, _, _ = socket.recv_fds(self.sock, 16, 8)
        if not head:
            raise EOFError
        ident, _, size, flags, error = struct.unpack("<HHIII", head)
        assert ident == self.ident
        assert flags in (1, 0x21)
        assert bool(flags & 0x20) == (error != 0)
        body = b""
        while len(body) < size - 16:
            body += self.sock.recv(size - 16 - len(body))
        return error, body, fds

    def call_fds(
        self, cmd: int, body: bytes = b"", fds: Sequence[int] = ()
    ) -> tuple[bytes, list[int]]:
        self.send(cmd, body, fds)
        error, answer, answer_fds = self.receive()
        if error:
            raise Refused(error)
        return answer, answer_fds

    def call(self, cmd: int, body: bytes = b"", fds: Sequence[int] = ()) -> bytes:
        answer, answer_fds = self.call_fds(cmd, body, fds)
        assert not answer_fds
        return answer

    def read(self, region: int, offset: int, count: int) -> bytes:
        answer = self.call(REGION_READ, struct.pack("<QII", offset, region, count))
        assert answer[:16] == struct.pack("<QII", offset, region, count)
        return answer[16:]

    def write(self, region: int, offset: int, data: bytes) -> None:
        answer = self.call(REGION_WRITE, struct.pack("<QII", offset, region, len(data)) + data)
        assert answer == struct.pack("<QII", offset, region, len(data))

    def reg(self, offset: int) -> int:
        return int.from_bytes(self.read(BAR0, offset, 4), "little")

    def set_reg(self, offset: int, value: int) -> None:
        self.write(BAR0, offset, value.to_bytes(4, "little"))

    def set_irqs(
        self, flags: int, start: int, count: int, data: bytes = b"", fds: Sequence[int] = (), index: int = MSIX
    ) -> None:  # fmt: skip
        body = struct.pack("<IIIII", 20 + len(data), flags, index, start, count) + data
        assert self.call(SET_IRQS, body, fds) == b""

    def dma_map(
        self, iova: int, size: int, fds: Sequence[int], offset: int = 0, flags: int = 3
    ) -> None:
        assert self.call(DMA_MAP, struct.pack("<IIQQQ", 32, flags, offset, iova, size), fds) == b""

    def dma_unmap(self, iova: int, size: int, flags: int = 0) -> None:
        body = struct.pack("<IIQQ", 24, flags, iova, size)
        assert self.call(DMA_UNMAP, body) == body

    def bus_master(self, on: bool) -> None:
        self.write(CONFIG, 4, struct.pack("<H", 6 if on else 2))

    def close(self) -> None:
        self.sock.close()


@contextlib.contextmanager
def refused(code: int) -> Iterator[None]:
    with pytest.raises(Refused) as info:
        yield
    assert errno.errorcode[info.value.code] == errno.errorcode[code]


@pytest.fixture
def servers(stub_card: Card, rundir: Path) -> Iterator[list[FunctionServer]]:
    names = ("pf.sock", "vf0.sock", "vf1.sock")
    made = [
        FunctionServer(Function(stub_card, func), rundir / name, lambda _: None)
        for func, name in enumerate(names)
    ]
    yield made
    for server in made:
        server.close()
    assert not any(rundir.iterdir())


@pytest.fixture(autouse=True)
def close_clients() -> Iterator[None]:
    yield
    for client in Client.opened:
        client.close()
    Client.opened.clear()


@pytest.fixture
def vf(servers: list[FunctionServer]) -> Client:
    return Client(servers[1].path)


@pytest.fixture
def pf(servers: list[FunctionServer]) -> Client:
    return Client(servers[0].path)


# ----------------------------------------------------------------------------------------- negotiation


def test_version(servers: list[FunctionServer]) -> None:
    client = Client(servers[1].path, negotiate=False)
    request = struct.pack("<HH", 0, 0) + CAPABILITIES + b"\0"
    answer = client.call(VERSION, request)
    assert answer[:4] == bytes(4)
    assert answer.endswith(b"\0")
    assert len(answer) <= len(request)
    offer = json.loads(answer[4:-1])["capabilities"]
    assert offer["max_msg_fds"] == 8
    assert offer["max_data_xfer_size"] >= 4096


def test_version_reply_is_no_longer_than_the_request(servers: list[FunctionServer]) -> None:
    client = Client(servers[1].path, negotiate=False)
    assert client.call(VERSION, bytes(4)) == bytes(4)
    assert client.reg(abi.VF.MAGIC) == abi.MAGIC


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0",
        struct.pack("<HH", 1, 0),
        bytes(4) + b"{nonsense\0",
        bytes(4) + b"[1, 2]\0",
        bytes(4) + b"\xff\xfe\0",
    ],
)
def test_version_that_is_refused(servers: list[FunctionServer], body: bytes) -> None:
    client = Client(servers[1].path, negotiate=False)
    with refused(errno.EINVAL):
        client.call(VERSION, body)
    client.call(VERSION, bytes(4))


def test_the_version_comes_first_and_once(servers: list[FunctionServer]) -> None:
    client = Client(servers[1].path, negotiate=False)
    with refused(errno.EPROTO):
        client.call(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0))
    client.call(VERSION, bytes(4))
    with refused(errno.EINVAL):
        client.call(VERSION, bytes(4))


# ---------------------------------------------------------------------------------------- information


def test_device_info(vf: Client) -> None:
    assert vf.call(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0)) == struct.pack("<IIII", 16, 3, 9, 5)
    with refused(errno.EINVAL):
        vf.call(GET_INFO, struct.pack("<IIII", 15, 0, 0, 0))


def test_doorbells_are_offered_for_mapping(vf: Client) -> None:
    """First with room for nothing but the structure, as QEMU asks, then with room for all."""
    ask = struct.pack("<IIIIQQ", 32, 0, BAR0, 0, 0, 0)
    answer, fds = vf.call_fds(REGION_INFO, ask)
    assert not fds
    assert len(answer) == 32
    needed, flags, index, cap, size, offset = struct.unpack("<IIIIQQ", answer)
    assert (flags, index, cap, size, offset) == (0xF, BAR0, 32, 0x20000, 0)
    assert needed > 32
    answer, fds = vf.call_fds(REGION_INFO, struct.pack("<IIIIQQ", needed, 0, BAR0, 0, 0, 0))
    assert len(answer) == needed
    assert struct.unpack_from("<HHI", answer, 32) == (1, 1, 0)  # sparse mmap, version 1, last
    assert struct.unpack_from("<II", answer, 40) == (1, 0)
    area, length = struct.unpack_from("<QQ", answer, 48)
    assert (area, length) == (abi.VF.DB_BASE, 2 * PAGE)
    (fd,) = fds
    memory = mmap.mmap(fd, length, offset=area)
    vf.set_reg(abi.VF.DB_BASE + PAGE + abi.DB.SEND_TAIL, 0x1234)
    assert struct.unpack_from("<I", memory, PAGE + abi.DB.SEND_TAIL) == (0x1234,)
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(fd, 0)  # sealed: a tenant cannot take it away
    os.close(fd)


@pytest.mark.parametrize(
    ("region", "flags", "size"),
    [(1, 0, 0), (2, 3, 4096), (3, 0, 0), (4, 0, 0), (5, 0, 0), (6, 0, 0), (7, 3, 4096), (8, 0, 0)],
)
def test_other_regions(vf: Client, region: int, flags: int, size: int) -> None:
    answer = vf.call(REGION_INFO, struct.pack("<IIIIQQ", 64, 0, region, 0, 0, 0))
    assert answer == struct.pack("<IIIIQQ", 32, flags, region, 0, size, 0)


def test_the_pf_has_no_doorbells(pf: Client) -> None:
    answer = pf.call(REGION_INFO, struct.pack("<IIIIQQ", 64, 0, BAR0, 0, 0, 0))
    assert answer == struct.pack("<IIIIQQ", 32, 3, BAR0, 0, 0x20000, 0)


def test_interrupt_info(vf: Client, pf: Client) -> None:
    for client, count in ((vf, 2), (pf, 1)):
        for index in range(5):
            answer = client.call(IRQ_INFO, struct.pack("<IIII", 16, 0, index, 0))
            assert answer == struct.pack("<IIII", 16, 1, index, count if index == MSIX else 0)


@pytest.mark.parametrize("index", [9, 1 << 31])
def test_indices_out_of_range(vf: Client, index: int) -> None:
    with refused(errno.EINVAL):
        vf.call(REGION_INFO, struct.pack("<IIIIQQ", 64, 0, index, 0, 0, 0))
    with refused(errno.EINVAL):
        vf.call(IRQ_INFO, struct.pack("<IIII", 16, 0, index, 0))


# -------------------------------------------------------------------------------- configuration space


def test_config_space(vf: Client, pf: Client) -> None:
    for client, device in ((vf, pci.DEVICE_ID_VF), (pf, pci.DEVICE_ID_PF)):
        config = client.read(CONFIG, 0, 256)
        assert struct.unpack_from("<HH", config) == (pci.VENDOR_ID, device)
        assert config[0x0B:0x08:-1] == b"\x02\x80\x00"  # network controller, other
        assert config[0x0E] == 0
        assert struct.unpack_from("<IIIIII", config, 0x10) == (4, 0, 4, 0, 0, 0)
        found = {}
        at = config[0x34]
        while at:
            found[config[at]] = at
            at = config[at + 1]
        assert set(found) == {0x01, 0x10, 0x11}
        control, table, pba = struct.unpack_from("<HII", config, found[0x11] + 2)
        assert (control & 0x7FF) + 1 == (2 if client is vf else 1)
        assert (table, pba) == (2, 0x802)
        assert (
            struct.unpack_from("<H", config, found[0x10] + 2)[0] & 0xFF == 2
        )  # endpoint, version 2


def test_config_writes_change_only_what_they_may(vf: Client) -> None:
    before = vf.read(CONFIG, 0, 4096)
    vf.write(CONFIG, 0, b"\xff" * 4096)
    after = vf.read(CONFIG, 0, 4096)
    changed = {at for at in range(4096) if before[at] != after[at]}
    assert changed == set(pci._WRITABLE)
    assert after[0x10:0x28] == before[0x10:0x28], "BAR sizing is the client's affair"
    assert struct.unpack_from("<H", after, 4) == (0x546,)


def test_bus_master_bit_opens_dma(vf: Client, stub: Stub) -> None:
    memory = Memory(PAGE)
    vf.dma_map(0x10000, PAGE, [memory.fd])
    errors = []
    for on in (False, True, False):
        vf.bus_master(on)
        before = stub.card.status()["dma_errors"]
        stub.dma(stub.READ, 1, 0x10000, 8, 0)
        errors.append(stub.card.status()["dma_errors"] - before)
    assert errors == [1, 0, 1]


def test_msix_table_is_memory(vf: Client) -> None:
    entries = bytes(range(32))
    vf.write(BAR2, 0, entries)
    assert vf.read(BAR2, 0, 32) == entries
    vf.write(BAR2, 0x800, b"\xff" * 8)
    assert vf.read(BAR2, 0x800, 8) == bytes(8), "pending bits are the card's"


# ------------------------------------------------------------------------------------------ registers


def test_registers(vf: Client, pf: Client, stub: Stub) -> None:
    assert vf.reg(abi.VF.MAGIC) == abi.MAGIC
    assert pf.reg(abi.PF.FUNCTION) == 0x100
    vf.set_reg(0x204, 0xDEADBEEF)
    vf.write(BAR0, 0x208, struct.pack("<II", 1, 2))
    assert stub.log() == [(1, 0x204, 0xDEADBEEF), (1, 0x208, 1), (1, 0x20C, 2)]
    assert vf.read(BAR0, 0x3000, 4096) == struct.pack("<1024I", *range(0x3000, 0x4000, 4))


@pytest.mark.parametrize(("offset", "count"), [(1, 4), (0, 1), (0, 2), (4, 6)])
def test_crooked_register_accesses(vf: Client, stub: Stub, offset: int, count: int) -> None:
    """The ABI: anything but whole registers is answered with 0, and written nowhere."""
    assert vf.read(BAR0, offset, count) == bytes(count)
    vf.write(BAR0, offset, b"\xff" * count)
    assert stub.log() == []


@pytest.mark.parametrize(
    ("region", "offset", "count", "code"),
    [
        (BAR0, 0x20000, 4, errno.EINVAL),
        (BAR0, 0x1FFFC, 8, errno.EINVAL),
        (BAR0, (1 << 64) - 4, 4, errno.EINVAL),
        (BAR0, 0, 0, errno.EINVAL),
        (BAR0, 0, 8192, errno.E2BIG),
        (BAR0, 0, 0xFFFFFFFF, errno.E2BIG),
        (CONFIG, 4096, 1, errno.EINVAL),
        (BAR2, 4090, 8, errno.EINVAL),
        (1, 0, 4, errno.EINVAL),
        (8, 0, 4, errno.EINVAL),
        (9, 0, 4, errno.EINVAL),
        (0xFFFFFFFF, 0, 4, errno.EINVAL),
    ],
)
def test_accesses_outside(vf: Client, region: int, offset: int, count: int, code: int) -> None:
    with refused(code):
        vf.read(region, offset, count)
    if count <= 8192:
        with refused(code):
            vf.write(region, offset, bytes(count))
    assert vf.reg(0) == abi.MAGIC


def test_doorbells_by_message(vf: Client, stub: Stub) -> None:
    vf.set_reg(abi.VF.DB_BASE + abi.DB.SEND_TAIL, 5)
    assert vf.reg(abi.VF.DB_BASE + abi.DB.SEND_TAIL) == 5
    assert stub.log() == [(1, abi.VF.DB_BASE + abi.DB.SEND_TAIL, 5)]


def test_a_silent_core_gives_an_error_not_a_hang(vf: Client, stub: Stub) -> None:
    stub.set(stub.MUTE, 1)
    start = time.monotonic()
    with refused(errno.ETIMEDOUT):
        vf.reg(0)
    assert time.monotonic() - start < 4
    # Configuration space never asks the core.
    assert vf.read(CONFIG, 0, 2) == struct.pack("<H", pci.VENDOR_ID)
    stub.set(stub.MUTE, 0)
    assert vf.reg(0) == abi.MAGIC


# ----------------------------------------------------------------------------------------- interrupts


@pytest.fixture
def events() -> Iterator[list[int]]:
    fds = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(2)]
    yield fds
    for fd in fds:
        os.close(fd)


def test_eventfds_as_qemu_sets_them(vf: Client, stub: Stub, events: list[int]) -> None:
    """No descriptor, then none at all, then one after the other, then all."""
    vf.set_irqs(DATA_EVENTFD | TRIGGER, 0, 1)
    vf.set_irqs(DATA_NONE | TRIGGER, 0, 0)
    vf.set_irqs(DATA_EVENTFD | TRIGGER, 0, 1, fds=events[:1])
    vf.set_irqs(DATA_EVENTFD | TRIGGER, 0, 2, fds=events)
    stub.irq(1, 1)
    assert readable(events[1])
    assert not readable(events[0], 0)
    os.eventfd_read(events[1])
    vf.set_irqs(DATA_EVENTFD | TRIGGER, 1, 1)
    stub.irq(1, 1)
    stub.irq(1, 0)
    assert readable(events[0])
    assert not readable(events[1], 0)
    vf.set_irqs(DATA_NONE | TRIGGER, 0, 0)
    os.eventfd_read(events[0])
    stub.irq(1, 0)
    stub.get(0)
    assert not readable(events[0], 0.02)


def test_loopback_and_masks(vf: Client, events: list[int]) -> None:
    vf.set_irqs(DATA_EVENTFD | TRIGGER, 0, 2, fds=events)
    vf.set_irqs(DATA_BOOL | TRIGGER, 0, 2, b"\0\1")
    assert readable(events[1], 0)
    assert not readable(events[0], 0)
    os.eventfd_read(events[1])
    vf.set_irqs(DATA_NONE | MASK, 0, 2)
    vf.set_irqs(DATA_NONE | TRIGGER, 0, 2)
    assert not readable(events[0], 0)
    vf.set_irqs(DATA_BOOL | UNMASK, 0, 1, b"\1")
    assert readable(events[0], 0)
    assert not readable(events[1], 0)


@pytest.mark.parametrize(
    ("flags", "index", "start", "count", "fds"),
    [
        (DATA_EVENTFD | TRIGGER, MSIX, 0, 3, 0),
        (DATA_EVENTFD | TRIGGER, MSIX, 2, 1, 1),
        (DATA_EVENTFD | TRIGGER, MSIX, 0xFFFFFFFF, 2, 0),
        (DATA_EVENTFD | TRIGGER, MSIX, 0, 0xFFFFFFFF, 0),
        (DATA_EVENTFD | TRIGGER, MSIX, 0, 2, 1),
        (DATA_EVENTFD | TRIGGER, MSIX, 0, 1, 2),
        (DATA_EVENTFD | MASK, MSIX, 0, 1, 1),
        (DATA_EVENTFD | DATA_NONE | TRIGGER, MSIX, 0, 1, 0),
        (TRIGGER, MSIX, 0, 1, 0),
        (DATA_NONE, MSIX, 0, 1, 0),
        (DATA_NONE | TRIGGER | MASK, MSIX, 0, 1, 0),
        (DATA_NONE | TRIGGER | 64, MSIX, 0, 1, 0),
        (DATA_BOOL | TRIGGER, MSIX, 0, 2, 0),
        (DATA_NONE | TRIGGER, 0, 0, 1, 0),
        (DATA_NONE | TRIGGER, 5, 0, 0, 0),
    ],
)
def test_interrupt_settings_that_are_refused(
    vf: Client, events: list[int], flags: int, index: int, start: int, count: int, fds: int
) -> None:
    with refused(errno.EINVAL):
        vf.set_irqs(flags, start, count, fds=events[:fds], index=index)


# ------------------------------------------------------------------------------------------------ DMA


def test_dma(vf: Client, stub: Stub) -> None:
    memory = Memory(4 * PAGE)
    memory.data[PAGE : PAGE + 8] = b"from VM!"
    vf.bus_master(True)
    vf.dma_map(0x8000_0000, 2 * PAGE, [memory.fd], offset=PAGE)
    stub.dma(stub.READ, 1, 0x8000_0000, 8, 5)
    stub.dma(stub.WRITE, 1, 0x8000_0000 + 2 * PAGE - 8, 8, 5)
    assert memory.data[3 * PAGE - 8 : 3 * PAGE] == b"from VM!"
    vf.dma_unmap(0x8000_0000, 2 * PAGE)
    stub.dma(stub.WRITE, 1, 0x8000_0000, 8, 5)
    assert stub.card.status()["dma_errors"] == 1


def test_unmap_all(vf: Client, stub: Stub) -> None:
    memory = Memory(PAGE)
    for n in range(5):
        vf.dma_map(n * PAGE, PAGE, [memory.fd] if n % 2 else [])
    vf.dma_unmap(0, 0, flags=2)
    vf.dma_map(0, 5 * PAGE, [])


def test_dma_messages_that_are_refused(vf: Client) -> None:
    memory = Memory(2 * PAGE)
    vf.dma_map(0, PAGE, [memory.fd])
    with refused(errno.EEXIST):
        vf.dma_map(0, PAGE, [memory.fd])
    with refused(errno.EINVAL):
        vf.dma_map(PAGE, 4 * PAGE, [memory.fd])
    with refused(errno.EINVAL):
        vf.dma_map(PAGE, PAGE, [memory.fd], flags=4)
    with refused(errno.EINVAL):
        vf.dma_map(PAGE, PAGE, [memory.fd, memory.fd])
    with refused(errno.EINVAL):
        vf.dma_map((1 << 64) - PAGE, 2 * PAGE, [memory.fd])
    with refused(errno.ENOENT):
        vf.dma_unmap(PAGE, PAGE)
    with refused(errno.ENOTSUP):
        vf.dma_unmap(0, PAGE, flags=1)


# -------------------------------------------------------------------------------------- life of a client


def test_device_reset(vf: Client, stub: Stub) -> None:
    memory = Memory(PAGE)
    vf.dma_map(0, PAGE, [memory.fd])
    vf.bus_master(True)
    vf.set_reg(abi.VF.DB_BASE + abi.DB.SEND_TAIL, 5)
    stub.get(0)
    assert vf.call(RESET) == b""
    assert stub.log()[-1] == (1, abi.VF.CTRL, 2)
    assert not stub.card.mmio_read(1, abi.VF.STATUS) & 4, "the reply came when it was over"
    assert vf.reg(abi.VF.DB_BASE + abi.DB.SEND_TAIL) == 0
    # As the kernel's VFIO does it: mappings and bus master stay.
    stub.dma(stub.READ, 1, 0, 8, 0)
    assert stub.card.status()["dma_errors"] == 0


def test_reset_of_the_pf_switches_the_vfs_off(pf: Client, stub: Stub) -> None:
    pf.call(RESET)
    first = abi.PF.VF_BASE + abi.VFE.CTRL
    assert stub.log() == [(0, first, 0), (0, first + abi.PF.VF_STRIDE, 0)]


def test_a_dead_client_leaves_nothing(
    servers: list[FunctionServer], stub: Stub, events: list[int]
) -> None:
    client = Client(servers[1].path)
    memory = Memory(PAGE)
    client.dma_map(0, PAGE, [memory.fd])
    client.bus_master(True)
    client.set_irqs(DATA_EVENTFD | TRIGGER, 0, 2, fds=events)
    _, fds = client.call_fds(REGION_INFO, struct.pack("<IIIIQQ", 64, 0, BAR0, 0, 0, 0))
    old_bells = mmap.mmap(fds[0], PAGE, offset=abi.VF.DB_BASE)
    client.close()
    eventually(lambda: not servers[1].connected)
    assert stub.log()[-1] == (1, abi.VF.CTRL, 2)
    stub.irq(1, 0)
    stub.dma(stub.WRITE, 1, 0, 8, 0)
    status = stub.card.status()
    assert (status["dma_errors"], status["irqs_dropped"]) == (1, 1)

    after = Client(servers[1].path)
    assert after.read(CONFIG, 4, 2) == bytes(2), "its configuration space is new"
    count = len(stub.log())
    old_bells[abi.DB.SEND_TAIL] = 99
    after.set_reg(abi.VF.DB_BASE + abi.DB.JOB_TAIL, 1)
    stub.get(0)
    assert stub.log()[count:] == [(1, abi.VF.DB_BASE + abi.DB.JOB_TAIL, 1)], "old mappings are dead"


def test_a_dead_pf_client_resets_nothing(servers: list[FunctionServer], stub: Stub) -> None:
    """CoreEngine may be killed and started again: the card holds the truth."""
    client = Client(servers[0].path)
    client.close()
    eventually(lambda: not servers[0].connected)
    assert stub.log() == []


def test_one_client_at_a_time(servers: list[FunctionServer], vf: Client) -> None:
    second = Client(servers[1].path, negotiate=False)
    with refused(errno.EBUSY):
        second.call(VERSION, bytes(4))
    assert second.sock.recv(1) == b""
    assert vf.reg(0) == abi.MAGIC
    Client(servers[2].path).close()


def test_a_client_may_come_back_at_once(servers: list[FunctionServer]) -> None:
    for _ in range(30):
        client = Client(servers[1].path)
        assert client.reg(0) == abi.MAGIC
        client.close()


def test_functions_do_not_wait_for_each_other(servers: list[FunctionServer], vf: Client) -> None:
    """A client that stops in the middle of a message holds up nobody else."""
    stuck = Client(servers[2].path)
    stuck.sock.send(b"\x01\x00")
    assert vf.reg(0) == abi.MAGIC


def test_our_own_client(servers: list[FunctionServer], stub: Stub) -> None:
    with VfioUserDevice(servers[1].path) as device:
        assert device.identity.vfs == 2
        assert device.identity.queue_sets == 2
        bells = device.doorbells()
        assert bells.size == 2 * PAGE
        mmap.mmap(bells.fd, bells.size, offset=bells.offset)[4:8] = b"\x05\0\0\0"
        device.bar_write(0x300, 1)
        assert stub.log()[-2:] == [(1, abi.VF.DB_BASE + 4, 5), (1, 0x300, 1)]
        device.reset()


def test_closing_the_server_gives_clients_an_end(servers: list[FunctionServer], vf: Client) -> None:
    with VfioUserDevice(servers[2].path) as device:
        for server in servers:
            server.close()
        with pytest.raises((EOFError, ConnectionError)):
            vf.reg(0)
        with pytest.raises(TwinGone):
            device.bar_read(0)


# ------------------------------------------------------------------------------------ malformed messages


@pytest.mark.parametrize("cmd", [0, 6, 11, 12, 14, 15, 0xFFFF])
def test_unknown_commands(vf: Client, cmd: int) -> None:
    with refused(errno.ENOTSUP):
        vf.call(cmd, bytes(64))
    assert vf.reg(0) == abi.MAGIC


@pytest.mark.parametrize(
    "cmd",
    [DMA_MAP, DMA_UNMAP, GET_INFO, REGION_INFO, IRQ_INFO, SET_IRQS, REGION_READ, REGION_WRITE],
)
def test_bodies_that_are_too_short(vf: Client, cmd: int) -> None:
    for length in (0, 1, 11):
        with refused(errno.EINVAL):
            vf.call(cmd, b"\x20" * length)
    assert vf.reg(0) == abi.MAGIC


def test_a_write_with_another_length_than_announced(vf: Client, stub: Stub) -> None:
    for data in (b"", b"1234567", b"123456789"):
        with refused(errno.EINVAL):
            vf.call(REGION_WRITE, struct.pack("<QII", 0x200, BAR0, 8) + data)
    assert stub.log() == []


def test_a_reply_is_no_command(vf: Client) -> None:
    vf.send(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0), flags=1)
    assert vf.receive()[0] == errno.EINVAL


def test_no_reply_wanted(vf: Client, stub: Stub) -> None:
    vf.send(REGION_WRITE, struct.pack("<QIII", 0x200, BAR0, 4, 77), flags=0x10)
    vf.send(99, b"", flags=0x10)
    assert vf.reg(0) == abi.MAGIC
    assert stub.log() == [(1, 0x200, 77)]


@pytest.mark.parametrize("size", [0, 15, (1 << 21), 0xFFFFFFFF])
def test_a_length_that_cannot_be_true_ends_the_connection(
    servers: list[FunctionServer], vf: Client, size: int
) -> None:
    vf.ident = 5
    vf.sock.sendall(struct.pack("<HHIII", 5, GET_INFO, size, 0, 0))
    assert vf.receive()[0] == errno.EINVAL
    with pytest.raises((EOFError, ConnectionError)):
        vf.receive()
    eventually(lambda: not servers[1].connected)
    assert Client(servers[1].path).reg(0) == abi.MAGIC


def test_a_message_in_pieces(vf: Client) -> None:
    message = struct.pack("<HHIII", 9, REGION_READ, 32, 0, 0) + struct.pack("<QII", 0, BAR0, 4)
    for n in range(len(message)):
        vf.sock.sendall(message[n : n + 1])
    vf.ident = 9
    assert vf.receive()[1][16:] == struct.pack("<I", abi.MAGIC)


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_descriptors_are_not_leaked(servers: list[FunctionServer], events: list[int]) -> None:
    memory = Memory(PAGE)
    client = Client(servers[1].path)
    client.reg(0)
    before = open_fds()
    many = [memory.fd] * 5
    for cmd in (99, GET_INFO, DMA_MAP, SET_IRQS, REGION_READ):
        for body in (b"", bytes(32)):
            client.send(cmd, body, many)
            assert client.receive()[0] != 0
    client.set_irqs(DATA_EVENTFD | TRIGGER, 0, 2, fds=events)
    client.set_irqs(DATA_EVENTFD | TRIGGER, 0, 2)
    client.dma_map(0, PAGE, [memory.fd])
    eventually(lambda: open_fds() == before)  # it closes them after the reply


def test_more_descriptors_than_agreed(servers: list[FunctionServer]) -> None:
    memory = Memory(PAGE)
    before = open_fds()
    client = Client(servers[1].path)
    client.send(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0), [memory.fd] * 20)
    with pytest.raises((EOFError, ConnectionError)):
        client.receive()
    client.close()
    eventually(lambda: not servers[1].connected and open_fds() == before)


def test_fuzz(servers: list[FunctionServer], seed: int) -> None:
    """Random messages, most of them nearly right. The server answers each, or ends that connection; and works on."""
    rng = random.Random(seed)
    memory = Memory(2 * PAGE)
    event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    interesting = [0, 1, 2, 3, 4, 7, 8, 9, 16, 20, 24, 32, 64, PAGE, 0x10000, 0x1FFFC, 0x20000]
    interesting += [0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]

    def body(length: int) -> bytes:
        words = [
            rng.choice(interesting) if rng.random() < 0.8 else rng.getrandbits(32)
            for _ in range((length + 3) // 4)
        ]
        return struct.pack(f"<{len(words)}I", *words)[:length]

    client = Client(servers[1].path)
    answered = 0
    for _ in range(1500):
        cmd = rng.choice([*range(15), rng.getrandbits(16)])
        if cmd == RESET:
            continue  # correct as it is, and slow
        data = body(rng.choice([0, 4, 16, 20, 24, 32, 36, rng.randrange(64)]))
        fds = [rng.choice([memory.fd, event])] * rng.choice([0, 0, 0, 1, 2])
        flags = rng.choice([0, 0, 0, 0, 1, 0x20])
        try:
            client.send(cmd, data, fds, flags)
            _, _, got = client.receive()
            answered += 1
            for fd in got:
                os.close(fd)
        except (EOFError, ConnectionError):
            client.close()
            client = Client(servers[1].path)
    assert answered == 1500 or answered > 1000
    client.close()
    # Bytes that are no messages at all.
    for _ in range(30):
        noise = Client(servers[1].path, negotiate=rng.random() < 0.5)
        with contextlib.suppress(ConnectionError):
            noise.sock.sendall(rng.randbytes(rng.randrange(1, 200)))
        noise.close()
    last = Client(servers[1].path)
    assert last.reg(0) == abi.MAGIC
    last.close()
    os.close(event)


def test_clients_of_all_functions_at_once(servers: list[FunctionServer], seed: int) -> None:
    failures: list[BaseException] = []

    def work(path: Path, number: int) -> None:
        rng = random.Random(seed + number)
        memory = Memory(8 * PAGE)
        try:
            for _ in range(3):
                client = Client(path)
                for _ in range(60):
                    page = rng.randrange(8)
                    client.dma_map(page * PAGE, PAGE, [memory.fd], offset=page * PAGE)
                    assert client.reg(0) == abi.MAGIC
                    client.set_reg(0x400, rng.getrandbits(32))
                    client.dma_unmap(page * PAGE, PAGE)
                client.close()
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(server.path, n)) for n, server in enumerate(servers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
