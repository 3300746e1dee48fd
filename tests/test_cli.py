# SPDX-License-Identifier: Apache-2.0
"""nk-hw on a running card: exit codes, JSON, traces."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest
from lab import BIN, HOST_IP, Lab
from servers import http_server, random_file

pytestmark = pytest.mark.e2e


def nk(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [str(BIN / "nk-hw"), *args], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **env},
    )  # fmt: skip


def clear(done: subprocess.CompletedProcess[str], code: int) -> str:
    """It failed with this code, and said why in a few words."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    return done.stderr


def test_nothing_runs(tmp_path):
    """Without twin and CoreEngine each command says which one to start."""
    env = {"NK_RUNDIR": f"/tmp/nk-none-{tmp_path.name}"}
    assert "nk-hw coreengine start" in clear(nk("run", "--", "true", **env), 8)
    assert "nk-hw coreengine start" in clear(nk("vf", "list", **env), 8)
    assert "nk-hw twin start" in clear(nk("coreengine", "start", **env), 3)
    clear(nk("twin", "status", **env), 3)
    assert json.loads(nk("list", "--json", **env).stdout) == {"devices": []}


def test_wrong_use():
    clear(nk("no-such-command"), 2)
    clear(nk("vf", "create"), 2)


def test_help_has_examples():
    for command in ([], ["vf", "create"], ["run"], ["trace", "pcap"], ["twin", "link"], ["stats"]):
        done = nk(*command, "--help")
        assert done.returncode == 0
        assert "xample" in done.stdout or "Start with" in done.stdout, command


def test_exit_codes_are_listed():
    codes = json.loads(nk("exit-codes", "--json").stdout)
    assert {"0", "1", "2", "3", "4", "5", "6", "7", "8"} <= set(codes)


def test_errors_on_a_running_card(lab: Lab):
    clear(lab.nk("run", "--vf", "5", "--", "true", check=False), 3)
    clear(lab.nk("info", "0000:99:00.0", check=False), 3)
    clear(lab.nk("twin", "start", check=False), 11)
    clear(lab.nk("coreengine", "start", check=False), 11)
    clear(lab.nk("vf", "create", "999.1.1.1/24", check=False), 9)
    again = lab.nk("vf", "create", "10.1.0.2/16", check=False)
    assert again.returncode != 0
    assert "Traceback" not in again.stderr
    busy = lab.start(0, ["sleep", "30"])
    lab.until(
        lambda: lab.nk_json("vf", "list")["vfs"][0]["state"] == "leased", 10, "the VF is leased"
    )
    assert lab.nk("run", "--vf", "0", "--", "true", check=False).returncode in (10, 16)
    assert lab.nk("vf", "delete", "0", check=False).returncode == 16
    busy.stop()
    lab.until(lambda: lab.nk("vf", "delete", "0", check=False).returncode == 0, 10, "deleted")


def test_exit_code_of_the_program(lab: Lab):
    assert lab.run(0, ["sh", "-c", "exit 37"]).returncode == 37
    assert lab.run(0, ["true"]).returncode == 0
    assert lab.run(0, ["/no/such/program"]).returncode == 127


def test_list_info_stats(lab: Lab):
    (device,) = lab.nk_json("list")["devices"]
    assert device["device"] == "twin"
    info = lab.nk_json("info")
    assert info["card"]["vfs"] >= 8
    assert info["card"]["flows"] >= 1024
    stats = lab.nk_json("stats")
    assert stats["counters"]["clocks"] > 0
    for command in (["list"], ["info"], ["stats"], ["vf", "list"], ["twin", "status"]):
        assert lab.nk(*command).stdout.strip()


def test_traces(lab: Lab):
    """A pcap that scapy and tcpdump open, with the whole conversation; NQEs in readable form."""
    logging.getLogger("scapy").setLevel(logging.ERROR)
    scapy = pytest.importorskip("scapy.all")
    pcap = lab.work / "wire.pcap"
    lab.nk("trace", "pcap", str(pcap))
    random_file(lab.work / "file", 100_000)
    http_server(lab)
    lab.run(0, ["curl", "-sS", "-o", "got", f"http://{HOST_IP}:8000/file"], check=True)
    lab.all_free()
    lab.nk("trace", "pcap", "--stop")
    packets = [p for p in scapy.rdpcap(str(pcap)) if p.haslayer("TCP")]
    flags = [str(p["TCP"].flags) for p in packets]
    assert flags[:3] == ["S", "SA", "A"]
    payload = sum(len(p["TCP"].payload) for p in packets if p["TCP"].sport == 8000)
    assert payload >= 100_000
    times = [float(p.time) for p in packets]
    assert times == sorted(times)
    text = lab.nk("trace", "nqe", "0").stdout
    for word in ("SOCKET", "CONNECT", "CONNECTED", "SEND", "DATA", "CLOSE", "CLOSED"):
        assert word in text, f"{word} is not in the trace"
    rows = lab.nk_json("trace", "nqe", "0")["nqes"]
    assert [r["seq"] for r in rows] == sorted(r["seq"] for r in rows)
    if not subprocess.run(["sh", "-c", "command -v tcpdump"], capture_output=True).returncode:
        out = subprocess.run(["tcpdump", "-nr", str(pcap)], capture_output=True, check=True)
        assert b"Flags [S]" in out.stdout


def test_second_twin_is_refused(lab: Lab):
    done = subprocess.run(
        [sys.executable, "-m", "netkernel.twin", "--rundir", str(lab.rundir), "--no-wire"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 11
    assert "nk-hw twin stop" in done.stderr
