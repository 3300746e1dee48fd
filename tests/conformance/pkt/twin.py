# SPDX-License-Identifier: Apache-2.0
"""Scripts on the twin: the same RTL in real time as a process, a socket pair as its wire, no root needed.

The tenant drives VF 0 through netkernel.device (vfio-user) and mapped doorbells. Time is the wall
clock's, so tolerances are wide.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
from common.hostmem import Memory
from common.tenant import Tenant
from netkernel import abi
from netkernel.abi import DB, PF, VF, VFE, Queue
from netkernel.device.vfio_user import VfioUserDevice

from .lang import Script
from .play import SOCKETS, Player, vf_writes

ROOT = Path(__file__).resolve().parents[3]
PAGES = 1024
BASE = 0x4_0000_0000
START_S = 900  # the first start builds it
POLL_S = 0.0002


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """However pytest ends, its twin ends too."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class TwinCard:
    """A twin of its own, for all scripts of a session."""

    settle_us = 15_000

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="nk-pkt-")
        rundir = Path(self._folder.name)
        self._wire, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._wire.setblocking(False)
        with theirs, (rundir / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "netkernel.twin", "--rundir", str(rundir),
                    "--wire-fd", str(theirs.fileno()), "--seed", "1",
                ],
                pass_fds=[theirs.fileno()], stdout=log, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(ROOT / "host")}, preexec_fn=_end_with_parent,
            )  # fmt: skip
        self.on_frame: Callable[[bytes, int], None] = lambda frame, at: None
        self.tenant: Tenant = None  # type: ignore[assignment]
        try:
            self._await_start(rundir)
            self.pf = VfioUserDevice(rundir / "pf.sock")
            self.vf = VfioUserDevice(rundir / "vf0.sock")
            self._map_memory()
        except BaseException:
            self.close()
            raise
        for i in range(4):
            self.pf.bar_write(PF.HASH_KEY + 4 * i, int.from_bytes(os.urandom(4), "little"))

    def _await_start(self, rundir: Path) -> None:
        end = time.monotonic() + START_S
        while not (rundir / "twin.sock").exists():
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(
                    f"the twin did not start:\n{(rundir / 'log').read_text()[-3000:]}"
                )
            time.sleep(0.05)

    def _map_memory(self) -> None:
        nbytes = PAGES * 4096
        fd = os.memfd_create("nk-pkt", os.MFD_CLOEXEC)
        os.ftruncate(fd, nbytes)
        self._memory = mmap.mmap(fd, nbytes)
        self.vf.dma_map(fd, 0, BASE, nbytes)
        os.close(fd)
        pages = self.vf.doorbells()
        self._doorbells = mmap.mmap(pages.fd, pages.size, offset=pages.offset)
        self._words = memoryview(self._doorbells).cast("I")

    def close(self) -> None:
        for device in (getattr(self, "vf", None), getattr(self, "pf", None)):
            if device is not None:
                device.close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._wire.close()
        self._folder.cleanup()

    # ---- what a tenant needs -------------------------------------------------------------------

    def doorbell(self, func: int, addr: int, value: int) -> None:
        if addr - VF.DB_BASE == DB.JOB_TAIL:
            # A job may overtake what was sent before it until the card counts that as taken.
            q = self.tenant.qs[0]
            end = time.monotonic() + 1
            while q.room(Queue.SEND) < q.rings[Queue.SEND].size and time.monotonic() < end:
                time.sleep(0.00005)
        self._words[(addr - VF.DB_BASE) // 4] = value

    # ---- what the player needs -----------------------------------------------------------------

    @property
    def now(self) -> int:
        return time.monotonic_ns() // 1000

    def tolerance(self, us: int) -> int:
        return 40_000 + us * 3 // 10

    def send(self, frame: bytes) -> None:
        self._wire.send(frame)

    def _look(self) -> None:
        try:
            while True:
                self.on_frame(self._wire.recv(4096), self.now)
        except BlockingIOError:
            pass
        if self.tenant is not None:
            self.tenant.poll()

    async def wait(self, cond: Callable[[], Any], until: int) -> bool:
        while True:
            self._look()
            if cond():
                return True
            left = (until - self.now) / 1e6
            if left <= 0:
                return False
            select.select([self._wire], [], [], min(left, POLL_S))

    async def fresh(self, writes: list[tuple[int, int]], mtu: int) -> None:
        self.on_frame = lambda frame, at: None
        self.pf.bar_write(PF.VF_BASE + VFE.CTRL, 0)
        await self._until_bit(PF.VF_BASE + VFE.STATUS, abi.VFE.STATUS_RESETTING.mask, 0)
        for addr, value in writes:
            self.pf.bar_write(addr, value)
        for reg, value in vf_writes(mtu):
            self.pf.bar_write(PF.VF_BASE + reg, value)
        memory = Memory(BASE, PAGES)
        memory.bytes = np.frombuffer(self._memory, dtype=np.uint8)
        memory.bytes[:] = 0xEE
        self.tenant = Tenant(self, 0, memory, max_sockets=SOCKETS)
        self.tenant.reset()
        for addr, value in self.tenant.register_writes():
            self.vf.bar_write(addr, value)
        status = self.vf.bar_read(VF.STATUS)
        assert status & 7 == 3, f"VF status {status:#x}"
        await self.wait(lambda: False, self.now + 2000)  # what the reset sent

    async def _until_bit(self, addr: int, mask: int, value: int) -> None:
        end = time.monotonic() + 5
        while self.pf.bar_read(addr) & mask != value:
            assert time.monotonic() < end, "the VF's reset does not end"
            time.sleep(0.001)

    async def pf_read(self, addr: int) -> int:
        return self.pf.bar_read(addr)


_CARD: list[TwinCard] = []


def card() -> TwinCard:
    if not _CARD:
        _CARD.append(TwinCard())
    return _CARD[0]


def close() -> None:
    while _CARD:
        _CARD.pop().close()


def drive(work: Coroutine[Any, Any, None]) -> None:
    """Run what waits by itself to its end."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise RuntimeError("a script on the twin never yields")


def play(script: Script) -> None:
    player = Player(script, card())
    try:
        drive(player.run())
    except AssertionError as failure:
        text = str(failure)
        if player.log and player.log[-1] not in text:
            text += "\n  the exchange, in ms:\n" + "\n".join(player.exchange())
        raise AssertionError(text) from None
