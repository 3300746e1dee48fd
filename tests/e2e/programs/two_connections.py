# SPDX-License-Identifier: Apache-2.0
"""Connects again for each line that appears in a file, and echoes on all its connections: HOST PORT FILE."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

host, port, orders = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
connections: list[socket.socket] = []
while True:
    lines = orders.read_text().split()
    if "end" in lines:
        break
    if len(lines) <= len(connections):
        time.sleep(0.02)
        continue
    connections.append(socket.create_connection((host, port), 30))
    # Every connection speaks, the old ones too: the profile of each is on the wire.
    for n, connection in enumerate(connections):
        text = f"{n} says {len(connections)}".encode() * 50
        connection.sendall(text)
        got = b""
        while len(got) < len(text):
            part = connection.recv(65536)
            assert part, f"connection {n} ended"
            got += part
        assert got == text, n
    print(f"connection {len(connections)} from port {connections[-1].getsockname()[1]}", flush=True)
