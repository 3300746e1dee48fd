# SPDX-License-Identifier: Apache-2.0
"""Unmodified programs under `nk-hw run`: redis, iperf3, nginx with workers, Python."""

from __future__ import annotations

import json
import sys

import pytest
from rig import Rig


def test_redis(clean: Rig) -> None:
    server = clean.spawn(
        clean.card_cmd(
            [
                "redis-server",
                "--port",
                "6379",
                "--bind",
                clean.vf_ip(0),
                "--protected-mode",
                "no",
                "--dir",
                str(clean.folder),
            ],
            vf=0,
        ),
        "redis.log",
    )
    clean.wait_listen(clean.vf_ip(0), 6379)
    cli = ["redis-cli", "-h", clean.vf_ip(0)]
    clean.peer([*cli, "set", "key", "value" * 1000])
    # The child that saves inherits every socket; the parent's connections must not notice.
    assert clean.peer([*cli, "bgsave"]).stdout.startswith(b"Background saving")
    assert clean.peer([*cli, "get", "key"]).stdout.strip() == b"value" * 1000
    done = clean.peer(
        [
            "redis-benchmark",
            "-h",
            clean.vf_ip(0),
            "-n",
            "2000",
            "-c",
            "20",
            "-t",
            "set,get",
            "--csv",
        ]
    )
    assert done.stdout.count(b"\n") >= 2
    # And the client on the card, from another VF's point of view: to a redis on the peer.
    clean.end(server)
    peer = clean.spawn(
        clean.peer_cmd(
            [
                "redis-server",
                "--port",
                "6380",
                "--bind",
                clean.peer_ip,
                "--protected-mode",
                "no",
                "--save",
                "",
            ]
        ),
        "redis-peer.log",
    )
    clean.wait_listen(clean.peer_ip, 6380)
    done = clean.run(
        [
            "redis-benchmark",
            "-h",
            clean.peer_ip,
            "-p",
            "6380",
            "-n",
            "1000",
            "-c",
            "10",
            "-t",
            "set,get",
            "--csv",
        ],
        vf=0,
    )
    assert done.stdout.count(b"\n") >= 2
    clean.end(peer)


@pytest.mark.parametrize("reverse", [False, True], ids=["to_server", "from_server"])
def test_iperf3_client_on_card(clean: Rig, reverse: bool) -> None:
    server = clean.spawn(clean.peer_cmd(["iperf3", "-s", "-1", "-p", "5301"]), "iperf-peer.log")
    clean.peer(
        [
            "sh",
            "-c",
            "for i in $(seq 100); do ss -ltn | grep -q :5301 && exit 0; sleep 0.1; done; exit 1",
        ]
    )
    out = clean.run(
        [
            "iperf3",
            "-c",
            clean.peer_ip,
            "-p",
            "5301",
            "-t",
            "2",
            "-J",
            *(["-R"] if reverse else []),
        ],
        vf=0,
    )
    assert json.loads(out.stdout)["end"]["sum_received"]["bytes"] > 1_000_000
    clean.end(server)


@pytest.mark.parametrize("reverse", [False, True], ids=["to_server", "from_server"])
def test_iperf3_server_on_card(clean: Rig, reverse: bool) -> None:
    """The server closes its listener and opens it again for each test, two tests in a row."""
    server = clean.spawn(
        clean.card_cmd(["iperf3", "-s", "--forceflush", "-B", clean.vf_ip(0)], vf=0),
        "iperf-card.log",
    )
    log = clean.folder / "iperf-card.log"
    clean.until(lambda: b"Server listening" in log.read_bytes(), "iperf3 listening")
    for n in (1, 2):
        out = clean.peer(
            ["iperf3", "-c", clean.vf_ip(0), "-t", "2", "-J", *(["-R"] if reverse else [])]
        )
        assert json.loads(out.stdout)["end"]["sum_received"]["bytes"] > 1_000_000
        clean.until(
            lambda n=n: log.read_bytes().count(b"Server listening") > n, "iperf3 listening again"
        )
    clean.end(server)


def test_nginx_workers_keepalive(clean: Rig) -> None:
    """Two workers share one listener; a client asks many times over one connection."""
    web = clean.serve_nginx(clean.folder / "www", vf=1, port=8081, workers=2)
    url = f"http://{clean.vf_ip(1)}:8081/small"
    done = clean.peer(
        [
            "curl",
            "-sSf",
            *(
                w
                for _ in range(20)
                for w in ("-o", "/dev/null", "-w", "%{num_connects} %{size_download}\\n", url)
            ),
        ]
    )
    lines = done.stdout.split(b"\n")[:20]
    assert [x.split()[1] for x in lines] == [b"100000"] * 20
    assert sum(int(x.split()[0]) for x in lines) == 1, "keep-alive did not hold"
    clean.end(web)


SERVER = """
import socket, sys
s = socket.create_server((sys.argv[1], 7777))
c, peer = s.accept()
got = b""
while piece := c.recv(65536):
    got += piece
c.sendall(got[::-1])
c.shutdown(socket.SHUT_WR)
c.close()
"""

CLIENT = """
import hashlib, random, socket, sys
data = random.Random(1).randbytes(300_000)
c = socket.create_connection((sys.argv[1], 7777), 20)
c.sendall(data)
c.shutdown(socket.SHUT_WR)
back = b""
while piece := c.recv(65536):
    back += piece
assert back == data[::-1], (len(back), len(data))
"""


@pytest.mark.parametrize("card_serves", [True, False], ids=["server_on_card", "client_on_card"])
def test_half_close(clean: Rig, card_serves: bool) -> None:
    """One side closes its half first; the other still answers with every byte."""
    ip = clean.vf_ip(0) if card_serves else clean.peer_ip
    serve, fetch = [sys.executable, "-c", SERVER, ip], [sys.executable, "-c", CLIENT, ip]
    server = clean.spawn(
        clean.card_cmd(serve, vf=0) if card_serves else clean.peer_cmd(serve), "half-close.log"
    )
    for _ in range(40):
        done = (
            clean.peer(fetch, check=False) if card_serves else clean.run(fetch, vf=0, check=False)
        )
        if b"ConnectionRefusedError" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr.decode()
    assert server.wait(20) == 0


RELISTEN = """
import socket, sys
for i in range(20):
    s = socket.create_server((sys.argv[1], 7878))
    c, _ = s.accept()
    c.recv(1)
    c.close()
    s.close()
"""

VISITOR = """
import socket, sys, time
for i in range(20):
    for _ in range(200):
        try:
            c = socket.create_connection((sys.argv[1], 7878), 5)
            break
        except ConnectionError:
            time.sleep(0.01)
    try:
        c.sendall(b"x")
        c.recv(1)
    except ConnectionError:
        pass
    c.close()
"""


def test_listen_again_at_once(clean: Rig) -> None:
    """SO_REUSEADDR: a server that restarts its listener at once gets its port, though old connections linger."""
    ip = clean.vf_ip(0)
    server = clean.spawn(clean.card_cmd([sys.executable, "-c", RELISTEN, ip], vf=0), "relisten.log")
    clean.peer([sys.executable, "-c", VISITOR, ip], timeout=60)
    assert server.wait(30) == 0, (clean.folder / "relisten.log").read_text()
