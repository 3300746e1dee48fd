# SPDX-License-Identifier: Apache-2.0
"""Life and death: many connections in a row, programs killed, VFs taken back, the twin dying, traces, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rig import NK_HW, Rig

CHURN = """
import socket, sys
ip, n = sys.argv[1], int(sys.argv[2])
for i in range(n):
    c = socket.create_connection((ip, 7000), 20)
    c.sendall(b"x")
    assert c.recv(1) == b"x", i
    c.close()
print("done", n)
"""

ECHO = """
import socket, sys, threading
s = socket.create_server((sys.argv[1], 7000), backlog=64)
while True:
    c, _ = s.accept()
    with c:
        while d := c.recv(100):
            c.sendall(d)
"""


def test_two_thousand_connections(clean: Rig) -> None:
    """1,000 opened by the card and 1,000 by the peer, one after another: every flow is free again (counted in hardware)."""
    before = clean.counters()
    peer = clean.spawn(clean.peer_cmd([sys.executable, "-c", ECHO, clean.peer_ip]), "echo-peer.log")
    clean.wait_listen(clean.peer_ip, 7000)
    assert (
        b"done 1000"
        in clean.run([sys.executable, "-c", CHURN, clean.peer_ip, "1000"], vf=0, timeout=200).stdout
    )
    clean.end(peer)
    card = clean.spawn(
        clean.card_cmd([sys.executable, "-c", ECHO, clean.vf_ip(0)], vf=0), "echo-card.log"
    )
    clean.wait_listen(clean.vf_ip(0), 7000)
    assert (
        b"done 1000"
        in clean.peer([sys.executable, "-c", CHURN, clean.vf_ip(0), "1000"], timeout=200).stdout
    )
    clean.end(card)
    clean.wait_free()
    after = clean.counters()
    assert after["hash_inserts"] - before["hash_inserts"] >= 2000
    assert after["events_lost"] == 0


def test_killed_program_frees_its_vf(clean: Rig) -> None:
    """kill -9 of the whole tree in mid-transfer: the peer gets a RST, the VF is free for the next."""
    out = clean.folder / "killed"
    child = subprocess.Popen(
        clean.card_cmd(
            ["curl", "-sS", "--limit-rate", "200k", "-o", out, f"http://{clean.peer_ip}/file"], vf=0
        ),
        env=clean.env,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    clean.until(lambda: out.exists() and out.stat().st_size > 0, "first bytes")
    assert clean.flows_in_use() > 0
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    clean.wait_free()
    assert (
        clean.run(["curl", "-sSf", "-o", out, f"http://{clean.peer_ip}/small"], vf=0).returncode
        == 0
    )


def test_refused_and_unreachable(clean: Rig) -> None:
    done = clean.run(["curl", "-sS", f"http://{clean.peer_ip}:9/"], vf=0, check=False)
    assert done.returncode == 7
    assert b"onnect" in done.stderr
    start = time.monotonic()
    done = clean.run(["curl", "-sS", "http://10.1.0.77/"], vf=0, check=False)
    assert done.returncode == 7
    assert time.monotonic() - start < 20


def test_loopback_stays_with_the_kernel(clean: Rig) -> None:
    before = clean.counters()["nqe_fetched"]
    code = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(s.getsockname());"
        "a, _ = s.accept(); c.sendall(b'x'); assert a.recv(1) == b'x'"
    )
    clean.run([sys.executable, "-c", code], vf=0)
    assert clean.counters()["nqe_fetched"] == before


def test_traces(clean: Rig) -> None:
    pcap = clean.folder / "trace.pcap"
    clean.nk("trace", "pcap", str(pcap))
    clean.run(["curl", "-sSf", "-o", "/dev/null", f"http://{clean.peer_ip}/small"], vf=0)
    clean.nk("trace", "pcap", "--stop")
    from scapy.all import TCP, rdpcap

    packets = rdpcap(str(pcap))
    payload = sum(len(p[TCP].payload) for p in packets if TCP in p and p[TCP].sport == 80)
    assert payload > 100_000
    text = clean.nk("trace", "nqe", "0")
    assert "CONNECT" in text
    assert "DATA" in text


def test_exit_codes(clean: Rig, tmp_path: Path) -> None:
    assert clean.run(["sh", "-c", "exit 7"], vf=0, check=False).returncode == 7
    empty = os.environ | {"NK_RUNDIR": str(tmp_path)}
    done = subprocess.run([*NK_HW, "run", "--", "true"], env=empty, capture_output=True, text=True)
    assert done.returncode not in (0, 1)
    assert "nk-hw coreengine start" in done.stderr
    done = subprocess.run(
        [*NK_HW, "run", "--vf", "99", "--", "true"], env=clean.env, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert done.stderr.strip()


def test_twin_dies(rig: Rig) -> None:
    """Last in the file: kill the card under a running program. A clear error, no hang, for all."""
    child = subprocess.Popen(
        rig.card_cmd(
            [
                "curl",
                "-sS",
                "--limit-rate",
                "100k",
                "-o",
                rig.folder / "x",
                f"http://{rig.peer_ip}/file",
            ],
            vf=0,
        ),
        env=rig.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    rig.until(lambda: rig.flows_in_use() > 0, "the connection")
    pid = rig.nk_json("twin", "status")["pid"]
    os.kill(pid, signal.SIGKILL)
    try:
        _, err = child.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        child.kill()
        pytest.fail("the program hangs on a dead card")
    assert child.returncode != 0
    assert err.strip()
    done = subprocess.run(
        [*NK_HW, "stats"], env=rig.env, capture_output=True, text=True, timeout=20
    )
    assert done.returncode != 0
    assert done.stderr.strip()
