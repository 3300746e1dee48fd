# SPDX-License-Identifier: Apache-2.0
"""echo_many.py ADDRESS PORT CONNECTIONS BYTES SEED: that many connections at the same time to an
echo server, each with its own random bytes; exit code 0 when every one got its own back."""

import contextlib
import random
import selectors
import socket
import sys
import time


def main() -> int:
    address, port = sys.argv[1], int(sys.argv[2])
    count, size, seed = map(int, sys.argv[3:6])
    selector = selectors.DefaultSelector()
    state: dict[socket.socket, list] = {}
    for i in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex((address, port))
        data = random.Random(f"{seed} {i}").randbytes(size)
        state[sock] = [data, 0, bytearray()]  # what to send, how much was sent, what came back
        selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
    most = 0
    end = time.monotonic() + 300
    good = 0
    while state:
        if time.monotonic() > end:
            print(f"{len(state)} connections not ended", file=sys.stderr)
            return 2
        for key, mask in selector.select(5):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            data, sent, back = state[sock]
            if mask & selectors.EVENT_WRITE and sent < len(data):
                with contextlib.suppress(BlockingIOError):
                    sent += sock.send(data[sent : sent + 65536])
                state[sock][1] = sent
                most = max(most, sum(1 for s in state.values() if s[1]))
                if sent == len(data):
                    sock.shutdown(socket.SHUT_WR)
                    selector.modify(sock, selectors.EVENT_READ)
            if mask & selectors.EVENT_READ:
                try:
                    part = sock.recv(65536)
                except BlockingIOError:
                    continue
                back += part
                if not part:
                    if back != data:
                        print(f"{len(back)} of {len(data)} bytes, or others", file=sys.stderr)
                        return 1
                    good += 1
                    selector.unregister(sock)
                    sock.close()
                    del state[sock]
    print(f"good {good} at a time {most}")
    return 0


sys.exit(main())
