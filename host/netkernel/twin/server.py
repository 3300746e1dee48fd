# SPDX-License-Identifier: Apache-2.0
"""vfio-user servers: a Unix socket a function, one client at a time, a thread a client.

No thread here waits for the simulation without a bound: a register access takes at most two
seconds, everything else is answered from memory. What a client sends is checked before it is used:
a message that is wrong gets an error reply, one whose length cannot be true ends the connection.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from netkernel.device import _structs as vs
from netkernel.device import vfio_user as proto
from netkernel.errors import ProtocolError
from netkernel.twin.function import IRQS, REGIONS, Function
from netkernel.twin.listener import Listener

MAX_FDS: Final = 8
MAX_DATA: Final = 1 << 20
_HEADER: Final = struct.Struct("<HHIII")
_ACCESS: Final = struct.Struct("<QII")
_MAX_MESSAGE: Final = MAX_DATA + 256
_NO_REPLY: Final = 0x10
_COMMAND: Final = 0
_IRQ_FLAG_EVENTFD: Final = 1
_UNMAP_ALL: Final = 1 << 1
_REFUSE_SECONDS: Final = 1.0
_END_SECONDS: Final = 5.0

Log = Callable[[str], None]


class BrokenMessage(Exception):
    """The stream cannot be followed any more."""


class Connection:
    """One client of one function."""

    def __init__(self, sock: socket.socket, function: Function) -> None:
        self._sock = sock
        self._function = function
        self._negotiated = False
        self._handlers: dict[int, Callable[[bytes, list[int]], tuple[bytes, list[int]]]] = {
            proto.VERSION: self._version,
            proto.DMA_MAP: self._dma_map,
            proto.DMA_UNMAP: self._dma_unmap,
            proto.DEVICE_GET_INFO: self._get_info,
            proto.DEVICE_GET_REGION_INFO: self._get_region_info,
            proto.DEVICE_GET_IRQ_INFO: self._get_irq_info,
            proto.DEVICE_SET_IRQS: self._set_irqs,
            proto.REGION_READ: self._region_read,
            proto.REGION_WRITE: self._region_write,
            proto.DEVICE_RESET: self._reset,
        }

    def serve(self) -> None:
        """Until the client goes."""
        with contextlib.suppress(ConnectionError, BrokenMessage, TimeoutError):
            while self._serve_one():
                pass

    def _serve_one(self) -> bool:
        fds: list[int] = []
        try:
            head = _receive(self._sock, _HEADER.size, fds)
            if head is None:
                return False
            ident, cmd, size, flags, _ = _HEADER.unpack(head)
            if not _HEADER.size <= size <= _MAX_MESSAGE:
                self._reply(ident, cmd, flags, b"", (), errno.EINVAL)
                raise BrokenMessage
            body = _receive(self._sock, size - _HEADER.size, fds)
            if body is None:
                return False
            answer, answer_fds, error = self._handle(cmd, flags, body, fds)
            self._reply(ident, cmd, flags, answer, answer_fds, error)
            return True
        finally:
            for fd in fds:
                os.close(fd)

    def _handle(
        self, cmd: int, flags: int, body: bytes, fds: list[int]
    ) -> tuple[bytes, Sequence[int], int]:
        try:
            handler = self._handlers.get(cmd)
            if flags & proto.FLAG_TYPE_MASK != _COMMAND:
                raise OSError(errno.EINVAL, "not a command")
            if handler is None:
                raise OSError(errno.ENOTSUP, "unknown command")
            if not self._negotiated and cmd != proto.VERSION:
                raise OSError(errno.EPROTO, "the version comes first")
            answer, answer_fds = handler(body, fds)
        except OSError as error:
            return b"", (), error.errno or errno.EIO
        except (ProtocolError, OverflowError, struct.error):
            return b"", (), errno.EINVAL  # too short, or a number that fits nowhere
        return answer, answer_fds, 0

    def _reply(
        self, ident: int, cmd: int, flags: int, body: bytes, fds: Sequence[int], error: int
    ) -> None:
        if flags & _NO_REPLY:
            return
        kind = proto.FLAG_REPLY | (proto.FLAG_ERROR if error else 0)
        message = _HEADER.pack(ident, cmd, _HEADER.size + len(body), kind, error) + body
        if fds:
            sent = socket.send_fds(self._sock, [message], list(fds))
            self._sock.sendall(message[sent:])
        else:
            self._sock.sendall(message)

    # ---- one method a command: body and descriptors in, body and descriptors out

    def _version(self, body: bytes, _fds: list[int]) -> tuple[bytes, list[int]]:
        version = vs.unpack("vfio_user_version", body)
        head = vs.sizeof("vfio_user_version")
        text = body[head:]
        if version.major != 0 or self._negotiated:
            raise OSError(errno.EINVAL, "version")
        if text:
            try:
                wanted = json.loads(text.rstrip(b"\0").decode() or "{}")
            except ValueError as error:
                raise OSError(errno.EINVAL, "capabilities are no JSON") from error
            if not isinstance(wanted, dict):
                raise OSError(errno.EINVAL, "capabilities are no object")
        self._negotiated = True
        offer: dict[str, Any] = {"max_msg_fds": MAX_FDS, "max_data_xfer_size": MAX_DATA}
        answer = json.dumps({"capabilities": offer}, separators=(",", ":")).encode() + b"\0"
        # QEMU wants no more than it sent.
        if len(answer) > len(text):
            answer = b""
        return vs.pack("vfio_user_version", major=0, minor=0) + answer, []

    def _get_info(self, body: bytes, _fds: list[int]) -> tuple[bytes, list[int]]:
        size = vs.sizeof("vfio_device_info")
        _check_argsz(vs.unpack("vfio_device_info", body).argsz, size)
        flags = vs.DEVICE_FLAG_PCI | vs.DEVICE_FLAG_RESET
        return (
            vs.pack(
                "vfio_device_info", argsz=size, flags=flags, num_regions=REGIONS, num_irqs=IRQS
            ),
            [],
        )

    def _get_region_info(self, body: bytes, _fds: list[int]) -> tuple[bytes, list[int]]:
        head = vs.sizeof("vfio_region_info")
        request = vs.unpack("vfio_region_info", body)
        _check_argsz(request.argsz, head)
        region = self._function.region(request.index)
        areas = b""
        if region.areas:
            areas = vs.pack("vfio_info_cap_header", id=vs.CAP_SPARSE_MMAP, version=1, next=0)
            areas += vs.pack("vfio_sparse_mmap", nr_areas=len(region.areas))
            for offset, size in region.areas:
                areas += vs.pack("vfio_sparse_area", offset=offset, size=size)
        # With too little room the client learns how much is needed, and asks again.
        fits = request.argsz >= head + len(areas)
        info = vs.pack(
            "vfio_region_info",
            argsz=head + len(areas),
            flags=region.flags | (vs.REGION_FLAG_CAPS if areas else 0),
            index=request.index,
            cap_offset=head if areas else 0,
            size=region.size,
        )
        fds = [region.fd] if region.fd is not None and fits else []
        return info + (areas if fits else b""), fds

    def _get_irq_info(self, body: bytes, _fds: list[int]) -> tuple[bytes, list[int]]:
        size = vs.sizeof("vfio_irq_info")
        request = vs.unpack("vfio_irq_info", body)
        _check_argsz(request.argsz, size)
        count = self._function.irq_count(request.index)
        return (
            vs.pack(
                "vfio_irq_info",
                argsz=size,
                flags=_IRQ_FLAG_EVENTFD,
                index=request.index,
                count=count,
            ),
            [],
        )

    def _set_irqs(self, body: bytes, fds: list[int]) -> tuple[bytes, list[int]]:
        request = vs.unpack("vfio_irq_set", body)
        bools = body[vs.sizeof("vfio_irq_set") :]
        self._function.set_irqs(
            request.flags, request.index, request.start, request.count, bools, fds
        )
        return b"", []

    def _dma_map(self, body: bytes, fds: list[int]) -> tuple[bytes, list[int]]:
        request = vs.unpack("vfio_user_dma_map", body)
        self._function.dma_map(request.flags, request.offset, request.address, request.size, fds)
        return b"", []

    def _dma_unmap(self, body: bytes, _fds: list[int]) -> tuple[bytes, list[int]]:
        request = vs.unpack("vfio_user_dma_unmap", body)
        if request.flags == _UNMAP_ALL and request.address == 0 and request.size == 0:
            self._function.dma_unmap_all()
        elif request.flags:
            raise OSError(errno.ENOTSUP, "no dirty page log")
        else:
            self._function.dma_unmap(request.address, request.size)
        return body[: vs.sizeof("vfio_user_dma_unmap")], []

    def _region_read(self, body: bytes, _fds: list[int]) -> tuple[bytes, list[int]]:
        offset, region, count = _ACCESS.unpack_from(body)
        if count > MAX_DATA:
            raise OSError(errno.E2BIG, "too much at once")
        data = self._function.read(region, offset, count)
        return _ACCESS.pack(offset, region, count) + data, []

    def _region_write(self, body: bytes, _fds: list[int]) -> tuple[bytes, list[int]]:
        offset, region, count = _ACCESS.unpack_from(body)
        data = body[_ACCESS.size :]
        if count != len(data):
            raise OSError(errno.EINVAL, "not as many bytes as announced")
        self._function.write(region, offset, data)
        return _ACCESS.pack(offset, region, count), []

    def _reset(self, _body: bytes, _fds: list[int]) -> tuple[bytes, list[int]]:
        self._function.reset()
        return b"", []


def _check_argsz(argsz: int, needed: int) -> None:
    if argsz < needed:
        raise OSError(errno.EINVAL, "argsz is too small")


def _receive(sock: socket.socket, count: int, fds: list[int]) -> bytes | None:
    """Exactly `count` bytes, descriptors added to `fds`; None when the client has gone."""
    data = b""
    while len(data) < count:
        part, new, flags, _ = socket.recv_fds(
            sock, count - len(data), MAX_FDS, socket.MSG_CMSG_CLOEXEC
        )
        fds.extend(new)
        if not part:
            return None
        if flags & socket.MSG_CTRUNC or len(fds) > MAX_FDS:
            raise BrokenMessage
        data += part
    return data


def refuse(sock: socket.socket, code: int) -> None:
    """Answers a client's first message, whatever it is, with an error."""
    fds: list[int] = []
    with contextlib.suppress(OSError, BrokenMessage):
        sock.settimeout(_REFUSE_SECONDS)
        head = _receive(sock, _HEADER.size, fds)
        if head is not None:
            ident, cmd, size, _, _ = _HEADER.unpack(head)
            _receive(sock, min(size, _MAX_MESSAGE) - _HEADER.size, fds)
            flags = proto.FLAG_REPLY | proto.FLAG_ERROR
            sock.sendall(_HEADER.pack(ident, cmd, _HEADER.size, flags, code))
    for fd in fds:
        os.close(fd)


def _hung_up(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))


class FunctionServer:
    """The socket of one function."""

    def __init__(self, function: Function, path: Path, log: Log) -> None:
        self.function = function
        self.path = path
        self._log = log
        self._client: socket.socket | None = None
        self._changed = threading.Condition()
        self._listener = Listener(path, function.name, self._serve)

    @property
    def connected(self) -> bool:
        return self._client is not None

    def _take(self, sock: socket.socket) -> bool:
        """Makes `sock` the client, unless there is one; one that hung up gets time to go."""
        with self._changed:
            if self._client is not None and _hung_up(self._client):
                self._changed.wait_for(lambda: self._client is None, _END_SECONDS)
            if self._client is not None:
                return False
            self._client = sock
            return True

    def _serve(self, sock: socket.socket) -> None:
        name = self.function.name
        if not self._take(sock):
            self._log(f"{name}: a second client was refused")
            refuse(sock, errno.EBUSY)
            return
        self._log(f"{name}: client connected")
        try:
            self.function.begin()
            Connection(sock, self.function).serve()
        finally:
            # Whoever waits for the end of the connection finds nothing of it left in the card.
            try:
                self.function.end()
            finally:
                with self._changed:
                    self._client = None
                    self._changed.notify_all()
                self._log(f"{name}: client gone")

    def close(self) -> None:
        """Ends the client's connection too; returns when its thread has left the card alone."""
        self._listener.close()
