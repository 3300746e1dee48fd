# SPDX-License-Identifier: Apache-2.0
"""The vfio-user client against a real peer on a socket, one that behaves and one that does not."""

from __future__ import annotations

import errno
import mmap
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_card import HEADER, IRQ_INFO, READ, REGION_INFO, VERSION, FakeCard, Function
from netkernel import abi
from netkernel.device import VfioUserDevice
from netkernel.errors import (
    AbiMismatch,
    BadRequest,
    Busy,
    DeviceRefused,
    NkError,
    NotSupported,
    PermissionDenied,
    ProtocolError,
    TwinGone,
    UnknownDevice,
)


@pytest.fixture
def vf0(card: FakeCard, rundir: Path) -> Iterator[VfioUserDevice]:
    with VfioUserDevice(rundir / "vf0.sock", timeout=2) as device:
        yield device
    assert card.vfs[0].dma == {}


def test_identity(card: FakeCard, rundir: Path) -> None:
    with VfioUserDevice(rundir / "pf.sock") as pf:
        assert pf.identity.is_pf
        assert (pf.identity.vfs, pf.identity.flows, pf.identity.queue_sets) == (4, 1024, 2)
        assert pf.identity.build_id == 0xB111D
    with VfioUserDevice(rundir / "vf2.sock") as vf:
        assert (vf.identity.is_pf, vf.identity.vm_id) == (False, 2)
    assert card.pf.command & 0x6 == 0x6  # memory space and bus master


def test_registers(card: FakeCard, vf0: VfioUserDevice) -> None:
    vf0.bar_write(abi.VF.REGION_BASE_LO, 0x1234_5000)
    assert card.vfs[0].regs[abi.VF.REGION_BASE_LO] == 0x1234_5000
    assert vf0.bar_read(abi.VF.REGION_BASE_LO) == 0x1234_5000
    for bad in (2, -4, abi.Lim.BAR0_SIZE):
        with pytest.raises(BadRequest, match="no register address"):
            vf0.bar_read(bad)


def test_doorbells_are_shared_memory(card: FakeCard, vf0: VfioUserDevice) -> None:
    bells = vf0.doorbells()
    assert (bells.offset, bells.size, bells.stride) == (0x10000, 2 * 4096, 4096)
    with mmap.mmap(bells.fd, bells.size, offset=bells.offset) as page:
        struct.pack_into("<I", page, abi.DB.SEND_TAIL, 77)
    assert os.pread(card.bar_fd, 4, abi.VF.DB_BASE + abi.DB.SEND_TAIL) == struct.pack("<I", 77)


def test_dma_and_interrupts(card: FakeCard, vf0: VfioUserDevice) -> None:
    memory = os.memfd_create("tenant", os.MFD_CLOEXEC)
    os.ftruncate(memory, 1 << 20)
    vf0.dma_map(memory, 4096, 0x1_0000_0000, 0x80000)
    os.pwrite(memory, b"payload", 4096)
    assert card.vfs[0].dma == {0x1_0000_0000: (4096, 0x80000)}
    assert os.pread(card.memory[0], 7, 4096) == b"payload"  # the card has the same memory
    with pytest.raises(DeviceRefused, match="Invalid argument"):
        vf0.dma_unmap(0x2_0000_0000, 0x80000)
    vf0.dma_unmap(0x1_0000_0000, 0x80000)
    assert card.vfs[0].dma == {}
    with pytest.raises(BadRequest, match="whole pages"):
        vf0.dma_map(memory, 1, 0, 4096)
    os.close(memory)

    event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    vf0.set_irq_eventfds([event])
    os.write(card.vfs[0].irqs[0], struct.pack("<Q", 1))
    assert os.eventfd_read(event) == 1
    vf0.set_irq_eventfds([])
    assert card.vfs[0].irqs == []
    with pytest.raises(BadRequest, match="2 interrupt vectors"):
        vf0.set_irq_eventfds([event] * 3)
    os.close(event)
    vf0.reset()


@pytest.mark.parametrize(
    ("magic", "version", "text"),
    [
        (0xDEADBEEF, abi.ABI_VERSION, "no NetKernel device"),
        (abi.MAGIC, abi.ABI_VERSION + 0x10000, f"ABI 1.{abi.ABI_MINOR}"),
        (abi.MAGIC, abi.ABI_VERSION + 1, f"ABI 0.{abi.ABI_MINOR + 1}"),
    ],
)
def test_wrong_abi(card: FakeCard, rundir: Path, magic: int, version: int, text: str) -> None:
    card.magic, card.version = magic, version
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(AbiMismatch, match=text):
        VfioUserDevice(rundir / "pf.sock")
    # nothing leaked: the fake's own side may close a little later
    for _ in range(100):
        if len(os.listdir("/proc/self/fd")) <= before:
            break
        time.sleep(0.01)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_nobody_there(rundir: Path) -> None:
    with pytest.raises(UnknownDevice, match="no device at"):
        VfioUserDevice(rundir / "pf.sock")
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stale.bind(str(rundir / "pf.sock"))
    stale.close()
    with pytest.raises(TwinGone, match="nobody answers"):
        VfioUserDevice(rundir / "pf.sock")


def test_no_permission(rundir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Denied(socket.socket):
        def connect(self, _address: object) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("netkernel.device.vfio_user.socket.socket", Denied)
    with pytest.raises(PermissionDenied):
        VfioUserDevice(rundir / "pf.sock")


def test_server_dies(card: FakeCard, vf0: VfioUserDevice) -> None:
    card.stop()
    with pytest.raises(TwinGone, match=r"gone|broke"):
        vf0.bar_read(0)
    with pytest.raises(TwinGone):  # and again, at once
        vf0.bar_write(abi.VF.CTRL, 0)


def test_server_is_silent(card: FakeCard, rundir: Path) -> None:
    vf = VfioUserDevice(rundir / "vf1.sock", timeout=0.2)
    release = threading.Event()

    def silent(_function: Function, _cmd: int, _ident: int, _payload: bytes) -> bytes | None:
        release.wait(5)
        return b""

    card.hook = silent
    start = time.monotonic()
    with pytest.raises(TwinGone, match=r"0\.2 s"):
        vf.bar_read(0)
    assert time.monotonic() - start < 2
    release.set()
    vf.close()


def reply(ident: int, cmd: int, body: bytes, *, size: int | None = None, flags: int = 1) -> bytes:
    return (
        HEADER.pack(ident, cmd, HEADER.size + len(body) if size is None else size, flags, 0) + body
    )


GOOD = struct.pack("<QIII", 0, 0, 4, 0)  # a well-formed body, so that only the header is wrong

GARBAGE = {
    "size below header": lambda i, c: reply(i, c, b"", size=3),
    "size beyond reason": lambda i, c: reply(i, c, b"", size=1 << 31),
    "another id": lambda i, c: reply((i + 1) & 0xFFFF, c, GOOD),
    "another command": lambda i, _: reply(i, 13, GOOD),
    "not a reply": lambda i, c: reply(i, c, GOOD, flags=0),
    "short body": lambda i, c: reply(i, c, b"\0" * 4),
    "long body": lambda i, c: reply(i, c, struct.pack("<QII", 0, 0, 4) + b"\0" * 64),
    "other count": lambda i, c: reply(i, c, struct.pack("<QII", 0, 0, 8) + b"\0" * 8),
    "cut short": lambda i, c: reply(i, c, b"\0" * 4, size=60),
    "noise": lambda _i, _c: bytes(range(200, 256)),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_answers(card: FakeCard, rundir: Path, kind: str) -> None:
    device = VfioUserDevice(rundir / "vf0.sock", timeout=0.3)
    card.hook = lambda _f, cmd, ident, _p: GARBAGE[kind](ident, cmd) if cmd == READ else None
    with pytest.raises((ProtocolError, TwinGone)):
        device.bar_read(abi.VF.STATUS)
    card.hook = None
    with pytest.raises(NkError):  # out of step for good: never a wrong value later
        device.bar_read(abi.VF.STATUS)
    device.close()


@pytest.mark.parametrize("cmd", [VERSION, REGION_INFO, IRQ_INFO])
def test_garbage_while_opening(card: FakeCard, rundir: Path, cmd: int) -> None:
    card.hook = lambda _f, c, ident, _p: reply(ident, c, b"\xff") if c == cmd else None
    with pytest.raises(ProtocolError):
        VfioUserDevice(rundir / "vf0.sock", timeout=0.3)


def region_info(*area: int) -> bytes:
    head = struct.pack("<IIIIQQ", 32, 15, 0, 32, abi.Lim.BAR0_SIZE, 0)
    return head + struct.pack("<HHIIIQQ", 1, 1, 0, 1, 0, *area)


def test_mappable_area_outside_the_region(card: FakeCard, rundir: Path) -> None:
    info = region_info(0, 1 << 40)
    card.hook = lambda _f, cmd, i, _p: reply(i, cmd, info) if cmd == REGION_INFO else None
    with pytest.raises(ProtocolError, match="outside its region"):
        VfioUserDevice(rundir / "vf0.sock", timeout=1)


def test_doorbells_that_cannot_be_mapped(card: FakeCard, rundir: Path) -> None:
    info = region_info(0, 4096)
    card.hook = lambda _f, cmd, i, _p: reply(i, cmd, info) if cmd == REGION_INFO else None
    with VfioUserDevice(rundir / "vf0.sock", timeout=1) as device:
        with pytest.raises(NotSupported):  # no descriptor came along
            device.doorbells()
        device._region_fd = os.dup(card.bar_fd)
        with pytest.raises(ProtocolError, match="doorbell pages"):
            device.doorbells()


def test_capability_loop(card: FakeCard, rundir: Path) -> None:
    def hook(_f: Function, cmd: int, ident: int, _p: bytes) -> bytes | None:
        if cmd != REGION_INFO:
            return None
        head = struct.pack("<IIIIQQ", 40, 15, 0, 32, abi.Lim.BAR0_SIZE, 0)
        return reply(ident, cmd, head + struct.pack("<HHI", 9, 1, 32))

    card.hook = hook
    with pytest.raises(ProtocolError, match="loop"):
        VfioUserDevice(rundir / "vf0.sock", timeout=1)


def test_block_of_registers(card: FakeCard, vf0: VfioUserDevice) -> None:
    card.vfs[0].regs.update({0x1000 + 4 * n: n * 0x0101_0101 & 0xFFFF_FFFF for n in range(700)})
    values = vf0.bar_read_block(0x1000, 700)
    assert values == [vf0.bar_read(0x1000 + 4 * n) for n in range(700)]
    with pytest.raises(BadRequest):
        vf0.bar_read_block(abi.Lim.BAR0_SIZE - 4, 2)


def test_second_client(card: FakeCard, rundir: Path) -> None:
    card.hook = lambda _f, cmd, i, _p: (
        HEADER.pack(i, cmd, HEADER.size, 0x21, errno.EBUSY) if cmd == VERSION else None
    )
    with pytest.raises(Busy, match="another client"):
        VfioUserDevice(rundir / "vf0.sock")
