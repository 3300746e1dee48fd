# SPDX-License-Identifier: Apache-2.0
"""nk-hw: exit codes, clear errors, help, JSON, on a running card and without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rig import NK_HW, Rig


def nk(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*NK_HW, *args], env=env, capture_output=True, text=True, timeout=60, check=False
    )


def fails(done: subprocess.CompletedProcess[str], *codes: int) -> str:
    """It failed with one of these codes, and said why in a few words."""
    assert done.returncode in codes, (done.args, done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    return done.stderr


def test_nothing_runs(tmp_path: Path) -> None:
    """Without twin and CoreEngine each command names the one that starts what is missing."""
    env = os.environ | {"NK_RUNDIR": f"/tmp/nk-none-{os.getpid()}"}
    assert "nk-hw coreengine start" in fails(nk("run", "--", "true", env=env), 8)
    assert "nk-hw coreengine start" in fails(nk("vf", "list", env=env), 8)
    assert "nk-hw twin start" in fails(nk("twin", "status", env=env), 3)
    assert "nk-hw twin start" in fails(nk("coreengine", "start", env=env), 3)
    assert json.loads(nk("list", "--json", env=env).stdout) == {"devices": []}


def test_wrong_use() -> None:
    fails(nk("no-such-command"), 2)
    fails(nk("vf", "create"), 2)


@pytest.mark.parametrize(
    "command", ["", "vf create", "run", "trace pcap", "twin link", "stats", "coreengine start"]
)
def test_help_has_an_example(command: str) -> None:
    done = nk(*command.split(), "--help")
    assert done.returncode == 0
    assert "nk-hw" in done.stdout
    assert "xample" in done.stdout or "Start with" in done.stdout


def test_exit_codes_are_listed() -> None:
    codes = json.loads(nk("exit-codes", "--json").stdout)
    assert set(map(str, range(9))) <= set(codes)


def test_errors_on_a_running_card(clean: Rig) -> None:
    env = clean.env
    fails(nk("run", "--vf", "5", "--", "true", env=env), 3)
    done = nk("run", "--vf", "99", "--", "true", env=env)
    assert done.returncode != 0
    assert done.stderr.strip()
    fails(nk("info", "0000:99:00.0", env=env), 3)
    fails(nk("twin", "start", env=env), 11)
    fails(nk("coreengine", "start", env=env), 11)
    fails(nk("vf", "create", "999.1.1.1/24", env=env), 9)
    fails(nk("vf", "create", "10.1.0.2/24", env=env), 5, 9, 16)  # VF 0's address
    done = subprocess.run(
        [sys.executable, "-m", "netkernel.twin", "--rundir", str(clean.rundir), "--no-wire"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "nk-hw twin stop" in fails(done, 11)


def test_a_held_vf_is_nobody_elses(clean: Rig) -> None:
    holder = clean.spawn(clean.card_cmd(["sleep", "100"], vf=0), "holder.log")
    clean.until(
        lambda: clean.nk_json("vf", "list")["vfs"][0]["state"] == "leased", "the VF is held"
    )
    fails(nk("run", "--vf", "0", "--", "true", env=clean.env), 10, 16)
    fails(nk("vf", "delete", "0", env=clean.env), 16)
    clean.end(holder)
    clean.until(lambda: clean.nk_json("vf", "list")["vfs"][0]["state"] == "free", "the VF is free")


def test_exit_code_of_the_program(clean: Rig) -> None:
    for code, argv in (
        (7, ["sh", "-c", "exit 7"]),
        (37, ["sh", "-c", "exit 37"]),
        (0, ["true"]),
        (127, ["/no/such/program"]),
    ):
        assert clean.run(argv, vf=0, check=False).returncode == code, argv


def test_list_info_stats(clean: Rig) -> None:
    (device,) = clean.nk_json("list")["devices"]
    assert device["device"] == "twin"
    card = clean.nk_json("info")["card"]
    assert card["vfs"] >= 8
    assert card["flows"] >= 1024
    assert clean.nk_json("stats")["counters"]["clocks"] > 0
    for command in (
        ["list"],
        ["info"],
        ["stats"],
        ["vf", "list"],
        ["twin", "status"],
        ["nsm", "list"],
    ):
        assert clean.nk(*command).strip()


def test_nqe_trace_tells_the_whole_story(clean: Rig) -> None:
    """From SOCKET to CLOSE, in order, in words and in JSON."""
    first = [r["seq"] for r in clean.nk_json("trace", "nqe", "0", "--count", "1")["nqes"]]
    clean.run(["curl", "-sSf", "-o", "/dev/null", f"http://{clean.peer_ip}/small"], vf=0)
    clean.wait_free()
    rows = clean.nk_json("trace", "nqe", "0", "--count", "8000")["nqes"]
    rows = [r for r in rows if not first or r["seq"] > first[0]]
    assert [r["seq"] for r in rows] == sorted(r["seq"] for r in rows)
    story = [r["text"] for r in rows]
    at = -1
    for word in ("SOCKET", "CONNECT ", "CONNECTED", "SEND", "DATA", "CLOSE "):
        found = [i for i, text in enumerate(story) if word in text + " "]
        assert found, f"no {word} in the trace"
        assert found[-1] > at or found[0] > at, f"{word} comes too early"
        at = found[0]
    text = clean.nk("trace", "nqe", "0")
    assert "CONNECT" in text
    assert "DATA" in text


def test_pcap_opens_in_other_tools(clean: Rig) -> None:
    """The capture has the conversation from SYN on, times in order; tcpdump reads it if it is here."""
    pcap = clean.folder / "cli.pcap"
    clean.nk("trace", "pcap", str(pcap))
    clean.run(["curl", "-sSf", "-o", "/dev/null", f"http://{clean.peer_ip}/small"], vf=0)
    clean.nk("trace", "pcap", "--stop")
    from scapy.all import TCP, rdpcap

    packets = [p for p in rdpcap(str(pcap)) if TCP in p]
    assert [str(p[TCP].flags) for p in packets[:3]] == ["S", "SA", "A"]
    times = [float(p.time) for p in packets]
    assert times == sorted(times)
    assert sum(len(p[TCP].payload) for p in packets if p[TCP].sport == 80) > 100_000
    tcpdump = subprocess.run(["sh", "-c", "command -v tcpdump"], capture_output=True, check=False)
    if tcpdump.returncode == 0:
        out = subprocess.run(["tcpdump", "-nr", str(pcap)], capture_output=True, check=True)
        assert b"Flags [S]" in out.stdout
