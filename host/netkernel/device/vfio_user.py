# SPDX-License-Identifier: Apache-2.0
"""A function behind a vfio-user socket: the twin, or any other vfio-user server.

Everything that arrives is checked for its size; a server that dies or stays silent gives TwinGone
within the timeout. After such an error the connection is of no use any more, and every later call
says so at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from netkernel import abi
from netkernel.device import _structs as vs
from netkernel.device.base import Device, Doorbells, check_address
from netkernel.errors import (
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

VERSION: Final = 1
DMA_MAP: Final = 2
DMA_UNMAP: Final = 3
DEVICE_GET_INFO: Final = 4
DEVICE_GET_REGION_INFO: Final = 5
DEVICE_GET_IRQ_INFO: Final = 7
DEVICE_SET_IRQS: Final = 8
REGION_READ: Final = 9
REGION_WRITE: Final = 10
DEVICE_RESET: Final = 13

FLAG_TYPE_MASK: Final = 0xF
FLAG_REPLY: Final = 1
FLAG_ERROR: Final = 0x20

_MAX_REPLY: Final = 1 << 16
_MAX_FDS: Final = 8
_BLOCK_WORDS: Final = 256
_HEADER: Final = vs.sizeof("vfio_user_header")


class VfioUserDevice(Device):
    """Client of a vfio-user server."""

    def __init__(
        self,
        path: Path | str,
        *,
        sock: socket.socket | None = None,
        timeout: float = 5.0,
    ) -> None:
        """Connect to the socket at `path` (or use `sock`) and check what answers."""
        self._name = str(path)
        self._broken: NkError | None = None
        self._id = 0
        self._region_fd: int | None = None
        self._sock = sock if sock is not None else _connect(Path(path), timeout)
        self._sock.settimeout(timeout)
        try:
            self._negotiate()
            self._load_info()
            self.identity = self._check_identity(self._name)
            self._enable_bus_master()
        except BaseException:
            self.close()
            raise

    # ---- Device ----

    def bar_read(self, address: int) -> int:
        check_address(address)
        return int.from_bytes(self._region_read(vs.REGION_BAR0, address, 4), "little")

    def bar_read_block(self, address: int, count: int) -> list[int]:
        check_address(address)
        check_address(address + 4 * (count - 1))
        values: list[int] = []
        while len(values) < count:  # one message for many registers
            words = min(count - len(values), _BLOCK_WORDS)
            data = self._region_read(vs.REGION_BAR0, address + 4 * len(values), 4 * words)
            values.extend(struct.unpack(f"<{words}I", data))
        return values

    def bar_write(self, address: int, value: int) -> None:
        check_address(address)
        self._region_write(vs.REGION_BAR0, address, (value & 0xFFFF_FFFF).to_bytes(4, "little"))

    def doorbells(self) -> Doorbells:
        size = max(1, self.identity.queue_sets) * abi.VF.DB_STRIDE
        if self._region_fd is None:
            raise NotSupported(f"{self._name} offers no descriptor to map its doorbells with")
        inside = any(
            offset <= abi.VF.DB_BASE and abi.VF.DB_BASE + size <= offset + length
            for offset, length in self._areas
        )
        if not inside:
            raise ProtocolError(f"{self._name} does not let its doorbell pages be mapped")
        return Doorbells(self._region_fd, self._region_offset + abi.VF.DB_BASE, size)

    def dma_map(self, fd: int, offset: int, iova: int, size: int) -> None:
        if offset % abi.Lim.PAGE or iova % abi.Lim.PAGE or size % abi.Lim.PAGE or size <= 0:
            raise BadRequest("DMA memory must consist of whole pages")
        request = vs.pack(
            "vfio_user_dma_map",
            argsz=vs.sizeof("vfio_user_dma_map"),
            flags=vs.DMA_READ | vs.DMA_WRITE,
            offset=offset,
            address=iova,
            size=size,
        )
        self._call(DMA_MAP, request, fds=[fd])

    def dma_unmap(self, iova: int, size: int) -> None:
        length = vs.sizeof("vfio_user_dma_unmap")
        request = vs.pack("vfio_user_dma_unmap", argsz=length, flags=0, address=iova, size=size)
        self._call(DMA_UNMAP, request, minimum=length)

    def set_irq_eventfds(self, fds: Sequence[int]) -> None:
        if len(fds) > self._vectors:
            raise BadRequest(f"{self._name} has {self._vectors} interrupt vectors, not {len(fds)}")
        if not fds:
            self._set_irqs(vs.IRQ_DATA_NONE | vs.IRQ_ACTION_TRIGGER, 0, [], 0)
        for start in range(0, len(fds), _MAX_FDS):
            part = fds[start : start + _MAX_FDS]
            flags = vs.IRQ_DATA_EVENTFD | vs.IRQ_ACTION_TRIGGER
            self._set_irqs(flags, start, part, len(part))

    def reset(self) -> None:
        self._call(DEVICE_RESET, b"")
        self._enable_bus_master()

    def close(self) -> None:
        if self._region_fd is not None:
            os.close(self._region_fd)
            self._region_fd = None
        self._sock.close()
        if self._broken is None:
            self._broken = TwinGone(f"{self._name} is closed", "")

    def fileno(self) -> int | None:
        """The connection: readable outside a call means that the server is gone."""
        return self._sock.fileno() if self._sock.fileno() >= 0 else None

    # ---- start-up ----

    def _negotiate(self) -> None:
        capabilities = {"capabilities": {"max_msg_fds": _MAX_FDS, "max_data_xfer_size": _MAX_REPLY}}
        text = json.dumps(capabilities).encode() + b"\0"
        try:
            answer, _ = self._call(
                VERSION, vs.pack("vfio_user_version", major=0, minor=0) + text, minimum=4
            )
        except DeviceRefused as error:
            raise Busy(f"{self._name} has another client", "Its VF or PF is in use.") from error
        version = vs.unpack("vfio_user_version", answer)
        if version.major != 0:
            raise ProtocolError(f"{self._name} speaks vfio-user {version.major}, we speak 0")

    def _load_info(self) -> None:
        length = vs.sizeof("vfio_device_info")
        request = vs.pack("vfio_device_info", argsz=length)
        answer, _ = self._call(DEVICE_GET_INFO, request, minimum=length)
        info = vs.unpack("vfio_device_info", answer)
        if not info.flags & vs.DEVICE_FLAG_PCI:
            raise ProtocolError(f"{self._name} is no PCI device")
        if info.num_regions <= vs.REGION_CONFIG or info.num_irqs <= vs.IRQ_MSIX:
            raise ProtocolError(f"{self._name} lacks regions or interrupts of a PCI device")
        self._load_bar0()
        length = vs.sizeof("vfio_irq_info")
        request = vs.pack("vfio_irq_info", argsz=length, index=vs.IRQ_MSIX)
        answer, _ = self._call(DEVICE_GET_IRQ_INFO, request, minimum=length)
        self._vectors = int(vs.unpack("vfio_irq_info", answer).count)

    def _load_bar0(self) -> None:
        base = vs.sizeof("vfio_region_info")
        argsz = base
        # Twice at most: the first answer says how many bytes its capabilities need.
        for _ in range(2):
            request = vs.pack("vfio_region_info", argsz=argsz, index=vs.REGION_BAR0)
            answer, fds = self._call(
                DEVICE_GET_REGION_INFO, request.ljust(base, b"\0"), minimum=base, max_fds=1
            )
            if fds:
                if self._region_fd is not None:
                    os.close(self._region_fd)
                self._region_fd = fds[0]
            info = vs.unpack("vfio_region_info", answer)
            if info.argsz <= argsz:
                break
            if info.argsz > _MAX_REPLY:
                raise ProtocolError(f"{self._name} wants {info.argsz} bytes for a region's facts")
            argsz = info.argsz
        if info.size < abi.Lim.BAR0_SIZE:
            raise ProtocolError(
                f"BAR0 of {self._name} has {info.size} bytes, not {abi.Lim.BAR0_SIZE}"
            )
        self._region_offset = int(info.offset)
        self._areas = vs.sparse_areas(answer, int(info.size))

    def _enable_bus_master(self) -> None:
        raw = self._region_read(vs.REGION_CONFIG, vs.PCI_COMMAND, 2)
        command = int.from_bytes(raw, "little") | vs.PCI_COMMAND_MEMORY | vs.PCI_COMMAND_MASTER
        self._region_write(vs.REGION_CONFIG, vs.PCI_COMMAND, command.to_bytes(2, "little"))

    # ---- messages ----

    def _region_read(self, region: int, offset: int, count: int) -> bytes:
        head = vs.sizeof("vfio_user_region_access")
        request = vs.pack("vfio_user_region_access", offset=offset, region=region, count=count)
        answer, _ = self._call(REGION_READ, request, minimum=head)
        got = vs.unpack("vfio_user_region_access", answer)
        if got.count != count or len(answer) != head + count:
            raise self._break(ProtocolError(f"{self._name}: a read of {count} bytes gave others"))
        return answer[head:]

    def _region_write(self, region: int, offset: int, data: bytes) -> None:
        request = vs.pack("vfio_user_region_access", offset=offset, region=region, count=len(data))
        head = vs.sizeof("vfio_user_region_access")
        answer, _ = self._call(REGION_WRITE, request + data, minimum=head)
        if vs.unpack("vfio_user_region_access", answer).count != len(data):
            raise DeviceRefused(f"{self._name} took a write at {offset:#x} in part only")

    def _set_irqs(self, flags: int, start: int, fds: Sequence[int], count: int) -> None:
        request = vs.pack(
            "vfio_irq_set",
            argsz=vs.sizeof("vfio_irq_set"),
            flags=flags,
            index=vs.IRQ_MSIX,
            start=start,
            count=count,
        )
        self._call(DEVICE_SET_IRQS, request, fds=fds)

    def _call(
        self,
        cmd: int,
        payload: bytes,
        *,
        fds: Sequence[int] = (),
        minimum: int = 0,
        max_fds: int = 0,
    ) -> tuple[bytes, list[int]]:
        """One request and its answer: payload and descriptors."""
        if self._broken is not None:
            raise type(self._broken)(self._broken.message, self._broken.hint)
        self._id = (self._id + 1) & 0xFFFF
        header = vs.pack("vfio_user_header", id=self._id, cmd=cmd, size=_HEADER + len(payload))
        received: list[int] = []
        try:
            with self._link_errors():
                self._send(header + payload, fds)
                answer = self._receive(received)
                body = self._check_reply(cmd, answer)
            if len(body) < minimum:
                raise self._break(
                    ProtocolError(
                        f"{self._name}: {len(body)} bytes in answer to command {cmd},"
                        f" {minimum} expected"
                    )
                )
            if len(received) > max_fds:
                raise self._break(ProtocolError(f"{self._name} sent descriptors unasked"))
        except BaseException:
            for fd in received:
                os.close(fd)
            raise
        return body, received

    def _send(self, message: bytes, fds: Sequence[int]) -> None:
        # Descriptors travel with the first byte; the rest may need more than one call.
        sent = socket.send_fds(self._sock, [message], list(fds)) if fds else 0
        self._sock.sendall(message[sent:])

    def _receive(self, fds: list[int]) -> bytes:
        """Header and payload of one message; descriptors are added to `fds`."""
        data = b""
        want = _HEADER
        while len(data) < want:
            part, new, _, _ = socket.recv_fds(
                self._sock, want - len(data), _MAX_FDS, socket.MSG_CMSG_CLOEXEC
            )
            fds.extend(new)
            if not part:
                raise TwinGone(f"{self._name} closed the connection: the device is gone")
            data += part
            if len(data) == _HEADER and want == _HEADER:
                (want,) = struct.unpack_from("<I", data, 4)
                if not _HEADER <= want <= _MAX_REPLY:
                    raise ProtocolError(f"{self._name} sent a message of {want} bytes")
        return data

    def _check_reply(self, cmd: int, data: bytes) -> bytes:
        header = vs.unpack("vfio_user_header", data)
        if header.flags & FLAG_TYPE_MASK != FLAG_REPLY or (header.id, header.cmd) != (
            self._id,
            cmd,
        ):
            raise ProtocolError(
                f"{self._name}: expected the answer {self._id} to command {cmd},"
                f" got {header.id} to {header.cmd} with flags {header.flags:#x}"
            )
        if header.flags & FLAG_ERROR:
            raise DeviceRefused(f"{self._name} refused command {cmd}: {os.strerror(header.error)}")
        return data[_HEADER:]

    @contextlib.contextmanager
    def _link_errors(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            seconds = self._sock.gettimeout()
            text = f"{self._name} has not answered for {seconds:g} s"
            raise self._break(TwinGone(text)) from error
        except OSError as error:
            text = f"the connection to {self._name} broke: {error.strerror or error}"
            raise self._break(TwinGone(text)) from error
        except (TwinGone, ProtocolError) as error:
            raise self._break(error) from None

    def _break(self, error: NkError) -> NkError:
        self._broken = error
        return error


def _connect(path: Path, timeout: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    try:
        sock.connect(str(path))
    except FileNotFoundError as error:
        sock.close()
        raise UnknownDevice(
            f"there is no device at {path}", "Start the twin: `nk-hw twin start`"
        ) from error
    except PermissionError as error:
        sock.close()
        raise PermissionDenied(f"no permission to open {path}") from error
    except OSError as error:  # refused, timed out, path too long
        sock.close()
        raise TwinGone(f"nobody answers at {path}: {error.strerror or error}") from error
    return sock
