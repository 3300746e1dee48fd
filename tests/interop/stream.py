# SPDX-License-Identifier: Apache-2.0
"""One end of a transfer, an ordinary program: `recv` listens, checks every byte and takes the time; `send` connects.

    stream.py recv IP PORT BYTES SEED READY     READY: a file that appears once it listens
    stream.py send IP PORT BYTES SEED [CC]          CC: congestion control that the kernel is to use

`recv` prints a line of JSON: bytes, equal, seconds from the connection to the last byte, longest silence, and how
many bytes were there at each tenth of a second.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import time
from pathlib import Path

TIMEOUT = 120  # seconds without progress


def content(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def send(ip: str, port: int, size: int, seed: int, cc: str) -> None:
    data = content(size, seed)
    with socket.socket() as sock:
        if cc:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, cc.encode())
        sock.settimeout(TIMEOUT)
        sock.connect((ip, port))
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b"", "the receiver has nothing to say"


def receive(ip: str, port: int, size: int, seed: int, ready: Path) -> None:
    expected = content(size, seed)
    buffer = bytearray(size + 1)  # one more: a byte too many shows
    view, have, silence, tenths = memoryview(buffer), 0, 0.0, [0]
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ip, port))
        listener.listen(1)
        ready.touch()
        listener.settimeout(TIMEOUT)
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(TIMEOUT)
            start = last = time.monotonic()
            while got := sock.recv_into(view[have:]):
                now = time.monotonic()
                have, silence, last = have + got, max(silence, now - last), now
                tenths += [tenths[-1]] * (int((now - start) * 10) + 1 - len(tenths))
                tenths[-1] = have
    result = {
        "bytes": have,
        "equal": buffer[:have] == expected,
        "seconds": last - start,
        "silence": silence,
        "tenths": tenths,
    }
    print(json.dumps(result), flush=True)


def main(argv: list[str]) -> None:
    role, ip, port, size, seed = argv[0], argv[1], int(argv[2]), int(argv[3]), int(argv[4])
    if role == "recv":
        receive(ip, port, size, seed, Path(argv[5]))
    else:
        send(ip, port, size, seed, argv[5] if len(argv) > 5 else "")


if __name__ == "__main__":
    main(sys.argv[1:])
