# SPDX-License-Identifier: Apache-2.0
"""A card that exists in registers only: vfio-user servers on real sockets, one a function.

It answers as the protocol says (written from the protocol's page, not from the client), keeps the
rules of the register map that CoreEngine depends on, and can be told to misbehave.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from netkernel import abi

HEADER = struct.Struct("<HHIII")
VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, REGION_INFO, IRQ_INFO, SET_IRQS = 1, 2, 3, 4, 5, 7, 8
READ, WRITE, RESET = 9, 10, 13

# (function, command, id, payload) -> bytes to send instead of the answer; None: answer as usual
Hook = Callable[["Function", int, int, bytes], bytes | None]


@dataclass
class Vf:
    """State of a VF that both its own registers and the PF's table show."""

    entry: dict[int, int] = field(default_factory=dict)
    regs: dict[int, int] = field(default_factory=dict)
    on: bool = False  # PF's enable
    enabled: bool = False
    resetting: int = 0  # looks at STATUS until the reset is over
    sockets: int = 0
    resets: int = 0
    dma: dict[int, tuple[int, int]] = field(default_factory=dict)  # iova -> offset, size
    irqs: list[int] = field(default_factory=list)
    qs_on: set[int] = field(default_factory=set)


class Function:
    """One function: its socket, its thread."""

    def __init__(self, card: FakeCard, number: int, path: Path | None) -> None:
        self.card = card
        self.number = number  # 0: PF, n + 1: VF n
        self.command = 0
        self.connections = 0
        self.sock: socket.socket | None = None
        if path is not None:
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.listener.bind(str(path))
            self.listener.listen(1)
            self.thread = threading.Thread(target=self._accept, daemon=True)
            self.thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.serve(sock)

    def stop(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if self.sock is not None:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)

    def serve(self, sock: socket.socket) -> None:
        self.sock = sock
        try:
            while self._one(sock):
                pass
        except (ConnectionError, BrokenPipeError):
            pass
        except Exception as error:
            self.card.errors.append(error)
        finally:
            sock.close()

    def _one(self, sock: socket.socket) -> bool:
        head, fds, _, _ = socket.recv_fds(sock, HEADER.size, 8, socket.MSG_CMSG_CLOEXEC)
        if not head:
            return False
        ident, cmd, size, flags, _ = HEADER.unpack(head)
        assert flags == 0
        payload = b""
        while len(payload) < size - HEADER.size:
            payload += sock.recv(size - HEADER.size - len(payload))
        if self.card.hook is not None:
            other = self.card.hook(self, cmd, ident, payload)
            if other is not None:
                sock.sendall(other)
                return bool(other)
        try:
            body, out = self._answer(cmd, payload, fds)
        except OSError as error:
            sock.sendall(HEADER.pack(ident, cmd, HEADER.size, 0x21, error.errno or 5))
            return True
        reply = HEADER.pack(ident, cmd, HEADER.size + len(body), 1, 0) + body
        socket.send_fds(sock, [reply], out) if out else sock.sendall(reply)
        return True

    def _answer(self, cmd: int, payload: bytes, fds: list[int]) -> tuple[bytes, list[int]]:
        card = self.card
        if cmd == VERSION:
            assert payload[-1] == 0
            return struct.pack("<HH", 0, 0) + b'{"capabilities":{"max_msg_fds":8}}\0', []
        if cmd == GET_INFO:
            return struct.pack("<IIII", 16, 3, 9, 5), []
        if cmd == REGION_INFO:
            return self._region_info(payload)
        if cmd == IRQ_INFO:
            return struct.pack("<IIII", 16, 1, 2, card.vectors), []
        if cmd in (READ, WRITE):
            return self._access(cmd, payload), []
        if cmd == RESET:
            return b"", []
        vf = card.vfs[self.number - 1]
        if cmd == DMA_MAP:
            argsz, flags, offset, iova, size = struct.unpack("<IIQQQ", payload)
            assert (argsz, flags, len(fds)) == (32, 3, 1)
            assert os.fstat(fds[0]).st_size >= offset + size
            vf.dma[iova] = (offset, size)
            card.memory[self.number - 1] = fds[0]
            return b"", []
        if cmd == DMA_UNMAP:
            _, _, iova, size = struct.unpack("<IIQQ", payload)
            if vf.dma.get(iova, (0, 0))[1] != size:
                raise OSError(22, "no such mapping")
            assert not vf.enabled, "unmapped while the VF may still use the memory"
            assert not vf.resetting
            del vf.dma[iova]
            os.close(card.memory.pop(self.number - 1))
            return payload, []
        if cmd == SET_IRQS:
            _, flags, index, start, count = struct.unpack_from("<IIIII", payload)
            assert index == 2
            for fd in vf.irqs if start == 0 else []:
                os.close(fd)
            vf.irqs = (vf.irqs if start else []) + fds
            assert flags == (0x24 if count else 0x21)
            assert len(fds) == count
            return b"", []
        raise OSError(95, "no such command")

    def _region_info(self, payload: bytes) -> tuple[bytes, list[int]]:
        argsz, _, index = struct.unpack_from("<III", payload)
        assert index == 0
        need = 32 + 8 + 8 + 16
        flags = 1 | 2 | 4 | 8
        size = abi.Lim.BAR0_SIZE
        if argsz < need:
            return struct.pack("<IIIIQQ", need, flags, 0, 32, size, 0), []
        caps = struct.pack("<HHIII", 1, 1, 0, 1, 0)
        area = struct.pack("<QQ", abi.VF.DB_BASE, abi.VF.DB_STRIDE * abi.VF.DB_COUNT)
        head = struct.pack("<IIIIQQ", need, flags, 0, 32, size, 0)
        return head + caps + area, [self.card.bar_fd]

    def _access(self, cmd: int, payload: bytes) -> bytes:
        offset, region, count = struct.unpack_from("<QII", payload)
        data, value = payload[16:], 0
        with self.card.lock:
            if region == 7:
                assert (offset, count) == (4, 2)
                if cmd == WRITE:
                    self.command = int.from_bytes(data, "little")
                value = self.command
            else:
                assert region == 0
                assert offset % 4 == 0
                if cmd == WRITE:
                    assert count == 4
                    self.card.write(self.number, offset, int.from_bytes(data, "little"))
                elif cmd == READ:
                    for at in range(0, count, 4):
                        value |= self.card.read(self.number, offset + at) << 8 * at
        answer = struct.pack("<QII", offset, region, count)
        return answer + (value.to_bytes(count, "little") if cmd == READ else b"")


_ENTRY_RESET = {getattr(abi.VFE, name): value for name, value in abi.VFE_RESET.items()}
# What may be written while the VF is on, and the bits that there are.
_LIVE = {
    abi.VFE.SHARE: 0x1FF,
    abi.VFE.MAX_TX_RATE: 0xF_FFFF,
    abi.VFE.MIN_TX_RATE: 0xF_FFFF,
    abi.VFE.MAX_RX_RATE: 0xF_FFFF,
    abi.VFE.NQE_RATE: 0xFFFF_FFFF,
    abi.VFE.BURST: 0xFFFF_FFFF,
    abi.VFE.LIMITS: 0xFFFF_FFFF,
}


class FakeCard:
    """All functions of a card, and what they share."""

    def __init__(self, rundir: Path | None, nvf: int = 4, flows_log2: int = 10, nqs: int = 2):
        self.lock = threading.Lock()
        self.hook: Hook | None = None
        self.errors: list[Exception] = []
        self.version = abi.ABI_VERSION
        self.magic = abi.MAGIC
        self.caps = nqs | nvf << 8 | 64 << 16 | flows_log2 << 24
        self.vectors = nqs
        self.flows = 1 << flows_log2
        self.reset_looks = 3
        self.leak_sockets = 0
        self.refuse_enable = False
        self.frozen = False  # entries of the VF table do not change
        self.vfs = [Vf() for _ in range(nvf)]
        self.memory: dict[int, int] = {}
        self.pf_regs: dict[int, int] = {abi.PF.FEATURES: 0x7F}
        # Counters of queue sets by (VF, queue set, index), and the one that was selected.
        self.queue_sets: dict[tuple[int, int, int], int] = {}
        self.qstat = 0
        self.bar_fd = os.memfd_create("bar0", os.MFD_CLOEXEC)
        os.ftruncate(self.bar_fd, abi.Lim.BAR0_SIZE)
        self.pf = Function(self, 0, rundir / "pf.sock" if rundir else None)
        self.functions = [
            Function(self, n + 1, rundir / f"vf{n}.sock" if rundir else None) for n in range(nvf)
        ]
        self._running = rundir is not None
        self._rundir = rundir

    def stop(self) -> None:
        """End as a process that is killed: every connection breaks."""
        if self._running:
            for function in [self.pf, *self.functions]:
                function.stop()
        self._running = False
        for fd in [*self.memory.values(), *(fd for vf in self.vfs for fd in vf.irqs)]:
            os.close(fd)
        self.memory.clear()
        for vf in self.vfs:
            vf.irqs.clear()
        if self.bar_fd >= 0:
            os.close(self.bar_fd)
            self.bar_fd = -1

    # ---- registers ----

    def read(self, number: int, address: int) -> int:
        common = {
            abi.VF.MAGIC: self.magic,
            abi.VF.ABI_VERSION: self.version,
            abi.VF.BUILD_ID: 0xB111D,
            abi.VF.CAPS: self.caps,
            abi.VF.FUNCTION: 0x100 if number == 0 else number - 1,
        }
        if address in common:
            return common[address]
        if number == 0:
            return self._pf_read(address)
        vf = self.vfs[number - 1]
        if address == abi.VF.STATUS:
            return int(vf.on) | int(vf.enabled) << 1 | self._resetting(vf) << 2
        if address == abi.VF.CTRL:
            return int(vf.enabled)
        return vf.regs.get(address, 0)

    def write(self, number: int, address: int, value: int) -> None:
        if number == 0:
            self._pf_write(address, value)
            return
        vf = self.vfs[number - 1]
        if address == abi.VF.CTRL:
            self._vf_ctrl(vf, value)
        elif abi.VF.QS_BASE <= address < abi.VF.QS_BASE + abi.VF.QS_STRIDE * abi.VF.QS_COUNT:
            n, register = divmod(address - abi.VF.QS_BASE, abi.VF.QS_STRIDE)
            if register == abi.QS.CTRL and value & 1:
                if not vf.enabled or not self._rings_fit(vf, n):
                    return
                vf.qs_on.add(n)
            vf.regs[address] = value
        elif not vf.enabled:
            vf.regs[address] = value

    def _rings_fit(self, vf: Vf, n: int) -> bool:
        base = abi.VF.QS_BASE + n * abi.VF.QS_STRIDE
        pages = vf.regs.get(abi.VF.REGION_PAGES, 0)
        sizes = vf.regs[base + abi.QS.SIZES].to_bytes(4, "little")
        spans = [(vf.regs[base + abi.QS.STATUS_BASE], 1)]
        for i, log2 in enumerate(sizes):
            if not 6 <= log2 <= 16:
                return False
            spans.append((vf.regs[base + 4 * i], -(-(32 << log2) // 4096)))
        spans.sort()
        apart = all(a + n <= b for (a, n), (b, _) in itertools.pairwise(spans))
        return apart and spans[-1][0] + spans[-1][1] <= pages

    def _vf_ctrl(self, vf: Vf, value: int) -> None:
        if value & 2 or (vf.enabled and not value & 1):
            vf.resets += 1
            vf.resetting = self.reset_looks
            vf.sockets = self.leak_sockets
            vf.qs_on.clear()
        if value & 1:
            pages = vf.regs.get(abi.VF.REGION_PAGES, 0)
            vf.enabled = vf.on and pages > 0 and not self.refuse_enable
        else:
            vf.enabled = False

    def _resetting(self, vf: Vf) -> bool:
        if vf.resetting > 0:
            vf.resetting -= 1
            return True
        return False

    def _pf_read(self, address: int) -> int:
        if abi.PF.VF_BASE <= address < abi.PF.VF_BASE + abi.PF.VF_STRIDE * len(self.vfs):
            n, register = divmod(address - abi.PF.VF_BASE, abi.PF.VF_STRIDE)
            vf = self.vfs[n]
            if register == abi.VFE.CTRL:
                return int(vf.on)
            if register == abi.VFE.STATUS:
                return int(vf.enabled) | self._resetting(vf) << 1 | vf.sockets << 16
            return vf.entry.get(register, _ENTRY_RESET.get(register, 0))
        if (register := self._nsm_register(address)) is not None:
            return self.pf_regs.get(address, abi.NSM_RESET[register])
        if address in (abi.PF.QSTAT_LO, abi.PF.QSTAT_HI):
            return self.qstat >> 32 * (address == abi.PF.QSTAT_HI) & 0xFFFF_FFFF
        for name, value in abi.PF_RESET.items():
            if address == getattr(abi.PF, name):
                return self.pf_regs.get(address, value)
        return self.pf_regs.get(address, 0)

    @staticmethod
    def _nsm_register(address: int) -> str | None:
        """Name of a register of a profile."""
        slot, register = divmod(address - abi.PF.NSM_BASE, abi.PF.NSM_STRIDE)
        at = {getattr(abi.NSM, name): name for name in abi.NSM_RESET}
        return at.get(register) if 0 <= slot < abi.PF.NSM_COUNT else None

    def _pf_write(self, address: int, value: int) -> None:
        if self._nsm_register(address) == "CTRL":
            if value & 15 > max(abi.CongestionControl):
                return
            value &= 0x00FF_1F0F
        if not abi.PF.VF_BASE <= address < abi.PF.VF_BASE + abi.PF.VF_STRIDE * len(self.vfs):
            self.pf_regs[address] = value
            if address == abi.PF.QSTAT_SELECT:
                key = (value & 0xFF, value >> 8 & 0xF, value >> 16 & 0xF)
                self.qstat = self.queue_sets.get(key, 0)
            return
        n, register = divmod(address - abi.PF.VF_BASE, abi.PF.VF_STRIDE)
        vf = self.vfs[n]
        if register == abi.VFE.CTRL:
            end = vf.entry.get(abi.VFE.SOCKET_BASE, 0) + vf.entry.get(abi.VFE.SOCKET_COUNT, 0)
            was, vf.on = vf.on, bool(value & 1) and end <= self.flows
            if was and not vf.on:
                self._vf_ctrl(vf, 0)
        elif self.frozen:
            return
        elif not vf.on or register == abi.VFE.NSM or register in _LIVE:
            vf.entry[register] = value & _LIVE.get(register, 0xFFFF_FFFF)
