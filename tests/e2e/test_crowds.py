# SPDX-License-Identifier: Apache-2.0
"""Crowds of connections, at the same time or one after another, each with its own bytes both ways."""

from __future__ import annotations

import sys
from pathlib import Path

from rig import Rig

PROGRAMS = Path(__file__).resolve().parent / "programs"
ECHO = [sys.executable, str(PROGRAMS / "echo_server.py")]
CHURN = [sys.executable, str(PROGRAMS / "churn.py")]
MANY = [sys.executable, str(PROGRAMS / "echo_many.py")]


def crowd(output: bytes) -> int:
    """How many connections had begun at the same moment, from echo_many's last line."""
    words = output.decode().split()
    assert words[0] == "good", output
    return int(words[-1])


def test_sixty_four_clients_on_one_vf(clean: Rig) -> None:
    clean.spawn(clean.peer_cmd([*ECHO, clean.peer_ip, "7000"]), "echo-peer.log")
    clean.wait_listen(clean.peer_ip, 7000)
    done = clean.run([*MANY, clean.peer_ip, "7000", "64", "40000", "1"], vf=0, timeout=240)
    assert done.stdout.startswith(b"good 64")
    assert crowd(done.stdout) >= 32, f"hardly at the same time: {done.stdout!r}"


def test_sixty_four_connections_to_one_vf(clean: Rig) -> None:
    clean.spawn(clean.card_cmd([*ECHO, "0.0.0.0", "7000"], vf=0), "echo-card.log")
    clean.wait_listen(clean.vf_ip(0), 7000)
    done = clean.peer([*MANY, clean.vf_ip(0), "7000", "64", "40000", "2"], timeout=240)
    assert done.stdout.startswith(b"good 64")


def test_two_vfs_at_the_same_time(clean: Rig) -> None:
    """Two tenants with the same ports: crowds of clients on both, then servers on both."""
    before = clean.nk_json("stats")["vfs"]
    clean.spawn(clean.peer_cmd([*ECHO, clean.peer_ip, "7000"]), "echo-peer.log")
    clean.wait_listen(clean.peer_ip, 7000)
    argv = [*MANY, clean.peer_ip, "7000", "32", "30000"]
    runs = [clean.spawn(clean.card_cmd([*argv, str(vf)], vf=vf), f"many-{vf}.log") for vf in (0, 1)]
    for vf, run in enumerate(runs):
        assert run.wait(240) == 0, (clean.folder / f"many-{vf}.log").read_text()
    for vf in (0, 1):
        clean.spawn(clean.card_cmd([*ECHO, "0.0.0.0", "7000"], vf=vf), f"echo-{vf}.log")
        clean.wait_listen(clean.vf_ip(vf), 7000)
    runs = [
        clean.spawn(
            clean.peer_cmd([*MANY, clean.vf_ip(vf), "7000", "32", "30000", str(vf + 7)]),
            f"peer-{vf}.log",
        )
        for vf in (0, 1)
    ]
    for vf, run in enumerate(runs):
        assert run.wait(240) == 0, (clean.folder / f"peer-{vf}.log").read_text()
    after = clean.nk_json("stats")["vfs"]
    for vf in ("0", "1"):
        assert after[vf]["rx_bytes"] - before[vf]["rx_bytes"] >= 64 * 30_000


def test_two_thousand_connections(clean: Rig) -> None:
    """1,000 opened by the card and 1,000 by the peer, one after another: every flow is free again (counted in hardware)."""
    before = clean.counters()
    peer = clean.spawn(clean.peer_cmd([*ECHO, clean.peer_ip, "7000"]), "echo-peer.log")
    clean.wait_listen(clean.peer_ip, 7000)
    done = clean.run([*CHURN, clean.peer_ip, "7000", "1000"], vf=0, timeout=200)
    assert b"done 1000" in done.stdout
    clean.end(peer)
    card = clean.spawn(clean.card_cmd([*ECHO, clean.vf_ip(0), "7000"], vf=0), "echo-card.log")
    clean.wait_listen(clean.vf_ip(0), 7000)
    done = clean.peer([*CHURN, clean.vf_ip(0), "7000", "1000"], timeout=200)
    assert b"done 1000" in done.stdout
    clean.end(card)
    clean.wait_free()
    after = clean.counters()
    assert after["hash_inserts"] - before["hash_inserts"] >= 2000
    assert after["events_lost"] == 0
