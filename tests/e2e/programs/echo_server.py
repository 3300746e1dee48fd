# SPDX-License-Identifier: Apache-2.0
"""echo_server.py ADDRESS PORT: sends back what comes, with half-close, until it is ended."""

import selectors
import socket
import sys

LIMIT = 1 << 20


def main() -> None:
    listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=256)
    listener.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    pending: dict[socket.socket, bytearray] = {}
    ended: set[socket.socket] = set()

    def drop(sock: socket.socket) -> None:
        selector.unregister(sock)
        del pending[sock]
        ended.discard(sock)
        sock.close()

    def watch(sock: socket.socket) -> None:
        want = selectors.EVENT_WRITE if pending[sock] else 0
        if sock not in ended and len(pending[sock]) < LIMIT:
            want |= selectors.EVENT_READ
        if want:
            selector.modify(sock, want)
        else:  # all sent, and the other side has ended
            drop(sock)

    print("ready", flush=True)
    while True:
        for key, mask in selector.select():
            sock = key.fileobj
            if sock is listener:
                try:
                    conn, _ = listener.accept()
                except BlockingIOError:
                    continue
                conn.setblocking(False)
                pending[conn] = bytearray()
                selector.register(conn, selectors.EVENT_READ)
                continue
            assert isinstance(sock, socket.socket)
            try:
                if mask & selectors.EVENT_READ:
                    data = sock.recv(65536)
                    if not data:
                        ended.add(sock)
                    pending[sock] += data
                if mask & selectors.EVENT_WRITE:
                    del pending[sock][: sock.send(pending[sock])]
                watch(sock)
            except BlockingIOError:
                continue
            except OSError:
                drop(sock)


main()
