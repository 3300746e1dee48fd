# SPDX-License-Identifier: Apache-2.0
"""NSM profiles and socket options, from the operator and the program to the wire."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rig import Rig

PROGRAMS = Path(__file__).parent / "programs"
PORT = 7007
ECE_CWR = 0xC0


@contextmanager
def capture(rig: Rig, name: str) -> Iterator[list[Any]]:
    """What crosses the wire, filled in at the end: IPv4 packets of TCP."""
    from scapy.all import IP, TCP, rdpcap

    file = rig.folder / name
    packets: list[Any] = []
    rig.nk("trace", "pcap", str(file))
    try:
        yield packets
    finally:
        rig.nk("trace", "pcap", "--stop")
    for frame in rdpcap(str(file)):
        if TCP in frame:
            frame[IP].time = frame.time
            packets.append(frame[IP])


def of_port(packets: list[Any], port: int) -> list[Any]:
    """A connection's packets from the card."""
    from scapy.all import TCP

    return [p for p in packets if p.src == "10.1.0.2" and p[TCP].sport == port]


def sizes(packets: list[Any], port: int) -> list[int]:
    """Payload bytes of the segments with data that the card sent."""
    found = [p.len - 4 * p.ihl - 4 * p.payload.dataofs for p in of_port(packets, port)]
    return [n for n in found if n]


@pytest.fixture
def echo(clean: Rig) -> Rig:
    """The rig, with an echo server of Linux on the peer."""
    server = [sys.executable, PROGRAMS / "echo_server.py", clean.peer_ip, str(PORT)]
    clean.spawn(clean.peer_cmd(server), "echo.log")
    clean.wait_listen(clean.peer_ip, PORT)
    return clean


def test_profile_changes_under_a_running_program(echo: Rig) -> None:
    """New connections take the new congestion control, old ones keep theirs, the program notices nothing."""
    from scapy.all import TCP

    echo.nk("nsm", "create", "dc", "--cc", "dctcp")
    orders, log = echo.folder / "orders", echo.folder / "two.log"
    orders.write_text("")
    argv = [sys.executable, PROGRAMS / "two_connections.py", echo.peer_ip, str(PORT), orders]

    def connect(n: int) -> int:
        orders.write_text("connect " * n)
        found = re.compile(rf"connection {n} from port (\d+)")
        echo.until(lambda: found.search(log.read_text()), f"connection {n}: {log}", 60)
        port = found.search(log.read_text())
        assert port
        return int(port[1])

    try:
        with capture(echo, "profiles.pcap") as packets:
            program = echo.spawn(echo.card_cmd(argv, vf=0), log.name)
            ports = [connect(1)]
            for n, profile in ((2, "dc"), (3, "default")):
                pid = echo.nk_json("vf", "list")["vfs"][0]["holder_pid"]
                echo.nk("nsm", "assign", profile, "0")
                row = echo.nk_json("vf", "list")["vfs"][0]
                assert (row["nsm"], row["state"], row["holder_pid"]) == (profile, "leased", pid)
                ports.append(connect(n))
            orders.write_text("end")
            assert program.wait(60) == 0, log.read_text()
    finally:
        echo.nk("nsm", "assign", "default", "0")
        echo.nk("nsm", "delete", "dc")
    flows = [of_port(packets, port) for port in ports]
    syns = [int(flow[0][TCP].flags) for flow in flows]
    assert [syn & 0x12 for syn in syns] == [2, 2, 2]
    # DCTCP asks for ECN in its SYN, CUBIC does not.
    assert [syn & ECE_CWR for syn in syns] == [0, ECE_CWR, 0]
    # Linux agreed. So the data of the second connection is ECN-capable, to its end; that of the others is not.
    for flow, wanted in zip(flows, (0, 2, 0), strict=True):
        data = [p.tos & 3 for p in flow if p.len > 4 * p.ihl + 4 * p[TCP].dataofs]
        assert len(data) >= 1 and set(data) == {wanted}
    assert len([p for p in flows[0] if p.time > flows[2][0].time]) > 0, "the first one went on"


OPTIONS = """
import socket, sys, time
peer = (sys.argv[1], int(sys.argv[2]))

def echoed(s, n):
    while n:
        n -= len(s.recv(65536))

def say(what, s):
    print(what, s.getsockname()[1], flush=True)

corked = socket.create_connection(peer)
say("corked", corked)
corked.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
for _ in range(10):
    corked.sendall(b"x" * 100)
corked.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
echoed(corked, 1000)

plain = socket.create_connection(peer)
say("plain", plain)
for _ in range(10):
    plain.sendall(b"x" * 100)
echoed(plain, 1000)

eager = socket.socket()
eager.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
eager.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
eager.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
eager.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
eager.connect(peer)
say("eager", eager)
for _ in range(10):
    eager.sendall(b"x" * 100)
    time.sleep(0.05)
echoed(eager, 1000)
time.sleep(5)
eager.sendall(b"still there")
echoed(eager, 11)
"""

GIVES_UP = """
import socket, sys, time
s = socket.socket()
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2500)
s.connect((sys.argv[1], int(sys.argv[2])))
s.sendall(b"hello")
s.recv(5)
print("connected", flush=True)
start = time.monotonic()
try:
    while True:
        s.sendall(b"x")
        time.sleep(0.1)
except OSError as error:
    print(error.errno, time.monotonic() - start, flush=True)
"""


def test_options_reach_the_wire(echo: Rig) -> None:
    """TCP_CORK, Nagle's rule and TCP_NODELAY by the sizes of segments; keep-alive by its probes."""
    before = echo.counters()["tx_keepalive"]
    with capture(echo, "options.pcap") as packets:
        argv = [sys.executable, "-c", OPTIONS, echo.peer_ip, str(PORT)]
        said = echo.run(argv, vf=0).stdout.decode().split()
    port = dict(zip(said[::2], map(int, said[1::2]), strict=True))
    assert sizes(packets, port["corked"]) == [1000]
    plain = sizes(packets, port["plain"])
    assert plain[0] == 100 and len(plain) < 10 and sum(plain) == 1000
    assert sizes(packets, port["eager"])[:10] == [100] * 10
    assert 3 <= echo.counters()["tx_keepalive"] - before <= 6


def test_user_timeout(echo: Rig) -> None:
    """A peer that is not heard any more: the connection ends after TCP_USER_TIMEOUT, not after all retransmissions."""
    log = echo.folder / "gives_up.log"
    argv = [sys.executable, "-c", GIVES_UP, echo.peer_ip, str(PORT)]
    program = echo.spawn(echo.card_cmd(argv, vf=0), log.name)
    echo.until(lambda: "connected" in log.read_text(), "the connection", 60)
    echo.link(loss=1.0)
    assert program.wait(60) == 0, log.read_text()
    errno, seconds = log.read_text().split()[1:]
    assert int(errno) in (110, 32), errno  # ETIMEDOUT; EPIPE if the first call has told it
    assert 2.5 <= float(seconds) <= 12
