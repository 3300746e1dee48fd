# SPDX-License-Identifier: Apache-2.0
"""When something dies or is not there: clear errors, no hang, and what it held comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from rig import NK_HW, Rig

PROGRAMS = Path(__file__).resolve().parent / "programs"
ECHO = [sys.executable, str(PROGRAMS / "echo_server.py")]
HOLD = """
import socket, sys
s = socket.create_connection((sys.argv[1], 7000), 20)
s.sendall(b"x")
s.recv(1)
print("connected", flush=True)
try:
    print("end", s.recv(1))
except ConnectionResetError:
    print("reset")
"""
REFUSED = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 1), 20)
except ConnectionRefusedError:
    print("refused")
"""
LOOPBACK = """
import socket
s = socket.create_server(("127.0.0.1", 0))
c = socket.create_connection(s.getsockname())
a, _ = s.accept()
c.sendall(b"x")
assert a.recv(1) == b"x"
"""
UDP = """
import socket
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("127.0.0.1", 0))
v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
v.sendto(b"udp", u.getsockname())
u.settimeout(5)
assert u.recv(3) == b"udp"
"""


def nk_fails(rig: Rig, *args: str) -> subprocess.CompletedProcess[str]:
    """An nk-hw command that must fail, with a few clear words and no traceback."""
    done = subprocess.run(
        [*NK_HW, *args], env=rig.env, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode not in (0, 1), (args, done)
    text = done.stderr.strip()
    assert text
    assert "Traceback" not in text
    assert len(text.splitlines()) <= 4, text
    return done


def card_us(rig: Rig) -> int:
    """Card time: it goes slower than the wall clock's where the machine is overloaded, as all of the card's timers."""
    return int(rig.nk_json("coreengine", "status")["card"]["now_us"])


def test_refused_is_econnrefused(clean: Rig) -> None:
    done = clean.run([sys.executable, "-c", REFUSED, clean.peer_ip], vf=0)
    assert done.stdout.strip() == b"refused"


def test_refused_and_unreachable(clean: Rig) -> None:
    done = clean.run(["curl", "-sS", f"http://{clean.peer_ip}:9/"], vf=0, check=False)
    assert done.returncode == 7
    assert b"onnect" in done.stderr
    start = card_us(clean)
    done = clean.run(["curl", "-sS", "http://10.1.0.77/"], vf=0, check=False)
    assert done.returncode == 7
    assert (card_us(clean) - start) % (1 << 32) < 20_000_000


def test_loopback_stays_with_the_kernel(clean: Rig) -> None:
    before = clean.counters()["nqe_fetched"]
    clean.run([sys.executable, "-c", LOOPBACK], vf=0)
    assert clean.counters()["nqe_fetched"] == before


def test_udp_stays_with_the_kernel(clean: Rig) -> None:
    before = clean.counters()["nqe_fetched"]
    clean.run([sys.executable, "-c", UDP], vf=0)
    assert clean.counters()["nqe_fetched"] == before


def test_killed_program_frees_its_vf(clean: Rig) -> None:
    """kill -9 of the whole tree in mid-transfer: the VF is free for the next."""
    out = clean.folder / "killed"
    url = f"http://{clean.peer_ip}/file"
    child = subprocess.Popen(
        clean.card_cmd(["curl", "-sS", "--limit-rate", "200k", "-o", out, url], vf=0),
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
    clean.run(["curl", "-sSf", "-o", out, f"http://{clean.peer_ip}/small"], vf=0)


def test_killed_server_resets_its_clients(clean: Rig) -> None:
    """The peers of a program that is killed get RST, not silence; its VF is free again."""
    server = clean.spawn(clean.card_cmd([*ECHO, "0.0.0.0", "7000"], vf=0), "echo-card.log")
    clean.wait_listen(clean.vf_ip(0), 7000)
    hold = [sys.executable, "-c", HOLD, clean.vf_ip(0)]
    client = clean.spawn(clean.peer_cmd(hold), "hold.log")
    said = clean.folder / "hold.log"
    clean.until(lambda: "connected" in said.read_text(), "the client connected")
    os.kill(server.pid, signal.SIGKILL)
    client.wait(20)
    assert "reset" in said.read_text()
    clean.until(
        lambda: clean.nk_json("vf", "list")["vfs"][0]["state"] == "free", "the VF is free again"
    )


def test_killed_peer(clean: Rig) -> None:
    """The Linux program dies in mid-transfer: the program on the card sees an error, not an end."""
    code = (
        "import socket,sys\n"
        "l=socket.create_server((sys.argv[1],7001))\n"
        "c,_=l.accept()\n"
        "c.recv(100)\n"
        "while True: c.sendall(bytes(65536))\n"
    )
    server = clean.spawn(clean.peer_cmd([sys.executable, "-c", code, clean.peer_ip]), "endless.log")
    clean.until(
        lambda: b":7001 " in clean.peer(["ss", "-ltn"]).stdout, "the endless server listens"
    )
    out = clean.folder / "endless"
    argv = ["curl", "-sS", "--http0.9", "-o", str(out), f"http://{clean.peer_ip}:7001/"]
    curl = clean.spawn(clean.card_cmd(argv, vf=0), "curl.log")
    clean.until(lambda: out.exists() and out.stat().st_size > 100_000, "bytes flow")
    os.kill(server.pid, signal.SIGKILL)
    curl.wait(30)
    assert clean.counters()["rx_rst"] > 0 or curl.returncode == 0


def test_coreengine_killed(rig: Rig) -> None:
    """CoreEngine dies: the error names the command that starts it; started again, programs run."""
    os.kill(rig.nk_json("coreengine", "status")["pid"], signal.SIGKILL)
    rig.until(
        lambda: (
            subprocess.run(
                [*NK_HW, "vf", "list"], env=rig.env, capture_output=True, check=False
            ).returncode
            == 8
        ),
        "exit code 8",
    )
    assert "nk-hw coreengine start" in nk_fails(rig, "run", "--", "true").stderr
    rig.nk("coreengine", "start")
    have = {row["vf"] for row in rig.nk_json("vf", "list")["vfs"]}
    for vf in {0, 1} - have:
        rig.nk("vf", "create", f"{rig.vf_ip(vf)}/24", "--vf", str(vf))
    rig.run(["curl", "-sSf", "-o", "/dev/null", f"http://{rig.peer_ip}/small"], vf=0)
    rig.wait_free()


def test_twin_dies(rig: Rig) -> None:
    """Last in the file: kill the card under a client that transfers and a server that sleeps in epoll. A clear error, no
    hang, for all."""
    server = rig.spawn(rig.card_cmd([*ECHO, "0.0.0.0", "7000"], vf=1), "echo-last.log")
    rig.wait_listen(rig.vf_ip(1), 7000)
    url = f"http://{rig.peer_ip}/file"
    argv = ["curl", "-sS", "--limit-rate", "100k", "-o", str(rig.folder / "x"), url]
    client = rig.spawn(rig.card_cmd(argv, vf=0), "curl-last.log")
    rig.until(lambda: rig.nk_json("vf", "list")["vfs"][0]["sockets"] > 0, "the connection")
    os.kill(rig.nk_json("twin", "status")["pid"], signal.SIGKILL)
    assert client.wait(20) != 0
    assert (rig.folder / "curl-last.log").read_text().strip()
    assert server.wait(20) != 0
    for command in (["stats"], ["twin", "status"], ["info"], ["run", "--", "true"]):
        nk_fails(rig, *command)
