# SPDX-License-Identifier: Apache-2.0
"""The client's side of coreengine.sock."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pydantic

from netkernel.coreengine import schema as sc
from netkernel.errors import (
    CoreEngineNotRunning,
    PermissionDenied,
    ProtocolError,
    from_dict,
)
from netkernel.rundir import COREENGINE_SOCK

_REPLY_MAX: Final = 1 << 20
_MAX_FDS: Final = 32


@dataclass(frozen=True)
class Lease:
    """A VF in this process's hands, until the client's socket is closed."""

    layout: sc.Layout
    doorbell_fd: int
    region_fd: int
    irq_fds: list[int]


class CoreEngineClient:
    """One connection. Descriptors that come with an answer are the caller's."""

    def __init__(self, rundir: Path, timeout: float = 30.0) -> None:
        path = rundir / COREENGINE_SOCK
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self._buffer = b""
        try:
            self.sock.connect(str(path))
        except PermissionError as error:
            self.sock.close()
            raise PermissionDenied(f"no permission to open {path}") from error
        except OSError as error:
            self.sock.close()
            raise CoreEngineNotRunning(f"CoreEngine is not running in {rundir}") from error

    def request(self, request: sc.Request) -> dict[str, Any]:
        """Send a request; its result, or the error that was answered."""
        result, fds = self._exchange(request)
        for fd in fds:
            os.close(fd)
        return result

    def lease(self, request: sc.LeaseRequest) -> Lease:
        """Take a VF."""
        result, fds = self._exchange(request)
        try:
            layout = sc.Layout.model_validate(result)
            if len(fds) != 2 + len(layout.queue_sets):
                raise ProtocolError(f"CoreEngine sent {len(fds)} descriptors with a lease")
        except BaseException as error:
            for fd in fds:
                os.close(fd)
            if isinstance(error, pydantic.ValidationError):
                raise ProtocolError("CoreEngine's answer to `lease` is no layout") from error
            raise
        return Lease(layout, fds[0], fds[1], fds[2:])

    def close(self) -> None:
        """End the connection, and with it the lease."""
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _exchange(self, request: sc.Request) -> tuple[dict[str, Any], list[int]]:
        fds: list[int] = []
        try:
            # A daemon that ended may have said why before it closed: read on all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.sock.sendall(request.model_dump_json(exclude_none=True).encode() + b"\n")
            line = self._line(fds)
            try:
                reply = sc.Reply.model_validate_json(line)
            except pydantic.ValidationError as error:
                raise ProtocolError("CoreEngine's answer is not what its schema says") from error
            if reply.error is not None:
                raise from_dict(reply.error.model_dump())
            if not reply.ok or reply.result is None:
                raise ProtocolError("CoreEngine's answer has neither result nor error")
        except BaseException as error:
            for fd in fds:
                os.close(fd)
            if isinstance(error, TimeoutError):
                raise CoreEngineNotRunning("CoreEngine does not answer", "See its log.") from error
            if isinstance(error, OSError):
                raise CoreEngineNotRunning(
                    f"CoreEngine broke the connection: {error.strerror or error}"
                ) from error
            raise
        return reply.result, fds

    def _line(self, fds: list[int]) -> bytes:
        while b"\n" not in self._buffer:
            data, new, _, _ = socket.recv_fds(self.sock, 1 << 16, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)
            fds.extend(new)
            if not data:
                raise CoreEngineNotRunning("CoreEngine closed the connection")
            self._buffer += data
            if len(self._buffer) > _REPLY_MAX:
                raise ProtocolError("CoreEngine's answer has no end")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line
