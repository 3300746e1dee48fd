# SPDX-License-Identifier: Apache-2.0
"""When something dies: clear errors, no hang, and what it held comes back."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
from lab import HOST_IP, Lab, vf_ip
from servers import http_server, random_file, sha256

pytestmark = pytest.mark.e2e
PY = sys.executable
MIB = 1 << 20


def slow_download(lab: Lab, vf: int = 0):
    """A curl on the card that takes long, in mid-transfer."""
    random_file(lab.work / "file", 4 * MIB)
    http_server(lab)
    curl = lab.start(
        vf, ["curl", "-sS", "--limit-rate", "100K", "-o", "got", f"http://{HOST_IP}:8000/file"]
    )
    lab.until(
        lambda: (lab.work / "got").exists() and (lab.work / "got").stat().st_size > 10_000,
        30,
        "the download runs",
    )
    return curl


def twin_pid(lab: Lab) -> int:
    return int((lab.rundir / "twin.pid").read_text())


def test_twin_killed(lab: Lab):
    """kill -9 of the twin: the program ends soon with an error, nk-hw says what is wrong."""
    curl = slow_download(lab)
    os.kill(twin_pid(lab), signal.SIGKILL)
    start = time.monotonic()
    assert curl.wait(20) != 0, "curl believed in success"
    assert time.monotonic() - start < 15
    for command in (["stats"], ["twin", "status"], ["run", "--", "true"]):
        done = lab.nk(*command, check=False)
        assert done.returncode in (3, 7, 8, 10), (command, done.returncode, done.stderr)
        text = done.stderr.strip()
        assert text
        assert "Traceback" not in text
        assert len(text.splitlines()) <= 4, text


def test_server_sees_the_twin_die(lab: Lab, programs):
    """A server blocked in epoll on the card does not sleep for ever when the twin dies."""
    server = lab.start(0, [PY, str(programs / "echo_server.py"), "0.0.0.0", "7000"])
    lab.reachable(0, 7000, server)
    os.kill(twin_pid(lab), signal.SIGKILL)
    server.wait(20)
    assert server.process.returncode != 0


def test_program_killed(lab: Lab, programs):
    """kill -9 of a program in mid-transfer: CoreEngine takes the VF back, the next one gets it."""
    curl = slow_download(lab)
    assert lab.in_use()[0] >= 1
    curl.stop(signal.SIGKILL)

    def free() -> bool:
        (row,) = lab.nk_json("vf", "list")["vfs"]
        return row["state"] == "free" and row["sockets"] == 0

    lab.until(free, 20, "the VF is free")
    lab.all_free()
    lab.run(0, ["curl", "-sS", "-o", "again", f"http://{HOST_IP}:8000/file"], 120, check=True)
    assert sha256(lab.work / "again") == sha256(lab.work / "file")


def test_server_killed_resets_its_clients(lab: Lab, programs):
    """The peers of a killed program get RST, not silence."""
    server = lab.start(0, [PY, str(programs / "echo_server.py"), "0.0.0.0", "7000"])
    lab.reachable(0, 7000, server)
    script = (
        "import socket,sys\n"
        "s=socket.create_connection((sys.argv[1],7000),timeout=20)\n"
        "s.sendall(b'x'); s.recv(1); print('connected',flush=True)\n"
        "try:\n  print('end', s.recv(1))\n"
        "except ConnectionResetError: print('reset')\n"
    )
    client = lab.host([PY, "-c", script, vf_ip(0)])
    lab.until(lambda: "connected" in client.output(), 20, "connected")
    server.stop(signal.SIGKILL)
    client.wait(20)
    assert "reset" in client.output() or "end" in client.output(), client.output()


def test_host_killed(lab: Lab, programs):
    """The Linux program dies: the program on the card sees its connection end."""
    random_file(lab.work / "file", 4 * MIB)
    server = http_server(lab)
    curl = lab.start(
        0, ["curl", "-sS", "--limit-rate", "200K", "-o", "got", f"http://{HOST_IP}:8000/file"]
    )
    lab.until(lambda: (lab.work / "got").exists(), 30, "the download runs")
    server.stop(signal.SIGKILL)
    assert curl.wait(30) != 0


def test_connection_refused(lab: Lab):
    done = lab.run(0, ["curl", "-sS", f"http://{HOST_IP}:1/"], 30)
    assert done.returncode == 7, done.stderr
    assert "refused" in done.stderr.lower()


def test_coreengine_killed(lab: Lab):
    """CoreEngine dies: a clear error names the command that starts it; started again, all works."""
    status = lab.nk_json("coreengine", "status")
    os.kill(status["pid"], signal.SIGKILL)
    lab.until(lambda: lab.nk("vf", "list", check=False).returncode == 8, 10, "exit code 8")
    done = lab.nk("run", "--", "true", check=False)
    assert done.returncode == 8
    assert "nk-hw coreengine start" in done.stderr
    lab.nk("coreengine", "start")
    if not lab.nk_json("vf", "list")["vfs"]:
        lab.vf_create(0)
    random_file(lab.work / "file", MIB)
    http_server(lab)
    lab.run(0, ["curl", "-sS", "-o", "got", f"http://{HOST_IP}:8000/file"], 60, check=True)


def test_loopback_and_udp_stay_with_the_kernel(lab: Lab, programs):
    """127.0.0.1 and UDP of a program under GuestLib are the kernel's."""
    script = (
        "import socket,threading\n"
        "l=socket.create_server(('127.0.0.1',0)); a=l.getsockname()\n"
        "c=socket.create_connection(a,timeout=5); s,_=l.accept()\n"
        "c.sendall(b'tcp'); assert s.recv(3)==b'tcp'\n"
        "u=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); u.bind(('127.0.0.1',0))\n"
        "v=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); v.sendto(b'udp',u.getsockname())\n"
        "u.settimeout(5); assert u.recv(3)==b'udp'; print('both')\n"
    )
    done = lab.run(0, [PY, "-c", script], 60, check=True)
    assert done.stdout.strip() == "both"
    assert lab.counters()["flows_opened"] == lab.counters()["flows_closed"]
