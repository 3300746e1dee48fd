# SPDX-License-Identifier: Apache-2.0
"""A listening Unix socket with a thread for each connection, and an orderly end."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_BACKLOG: Final = 16
_PATIENCE_SECONDS: Final = 1.0  # for answers under way
_END_SECONDS: Final = 15.0  # for what a thread does after its connection has ended


class Listener:
    """`serve` gets each connection in a thread of its own; the socket is closed when it returns."""

    def __init__(self, path: Path, name: str, serve: Callable[[socket.socket], None]) -> None:
        self.path = path
        self._name = name
        self._serve = serve
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._closing = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        path.chmod(0o600)
        self._socket.listen(_BACKLOG)
        self._thread = threading.Thread(target=self._accept, name=f"{name}-accept", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._run, args=(sock,), name=self._name, daemon=True)
            with self._lock:
                if self._closing:
                    sock.close()
                    return
                self._connections[sock] = thread
            thread.start()

    def _run(self, sock: socket.socket) -> None:
        try:
            self._serve(sock)
        finally:
            with self._lock:
                del self._connections[sock]
                sock.close()

    def close(self) -> None:
        """Connections end as if their peers had hung up; returns when all threads are through."""
        with self._lock:
            self._closing = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        with self._lock:
            threads = list(self._connections.values())
        self._shut(socket.SHUT_RD)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._shut(socket.SHUT_RDWR)  # somebody does not read the answer
        for thread in threads:
            thread.join(_END_SECONDS)
        self.path.unlink(missing_ok=True)

    def _shut(self, how: int) -> None:
        with self._lock:
            for sock in self._connections:
                with contextlib.suppress(OSError):
                    sock.shutdown(how)
