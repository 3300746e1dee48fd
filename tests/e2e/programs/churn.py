# SPDX-License-Identifier: Apache-2.0
"""churn.py ADDRESS PORT TIMES: connect, exchange a few bytes with an echo server, close; in a row."""

import socket
import sys


def main() -> None:
    address, port, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for i in range(times):
        message = f"number {i}".encode()
        with socket.create_connection((address, port), timeout=20) as sock:
            sock.sendall(message)
            back = b""
            while len(back) < len(message):
                part = sock.recv(100)
                if not part:
                    sys.exit(f"connection {i} ended early: {back!r}")
                back += part
            if back != message:
                sys.exit(f"connection {i}: {back!r}")
            if i % 2:  # half of them let the other side close first
                sock.shutdown(socket.SHUT_WR)
                if sock.recv(1):
                    sys.exit(f"connection {i}: more bytes")
    print(f"done {times}")


main()
