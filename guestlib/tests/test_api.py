# SPDX-License-Identifier: Apache-2.0
"""Every socket call, one named test each: tests/api/t_*.c run under GuestLib on the software NSM."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

SOURCES = Path(__file__).with_name("api")
NAMES = [
    m
    for f in sorted(SOURCES.glob("t_*.c"))
    for m in re.findall(r"^TEST\((\w+)\)", f.read_text(), re.M)
]
# Tests that need a card of their own kind; those that end the device are below.
CARD = {
    "sockets_run_out": ("--sockets", "8"),
    "bulk_odd_sizes": ("--rx-log2", "12", "--tx-log2", "12", "--chunk", "777"),
    "crowd": ("--sockets", "32"),
    "many_connections": ("--sockets", "24", "--time-wait-ms", "2000"),
    "many_accepts": ("--sockets", "24"),
}
APART = {"device_dies", "supervisor_killed", "owner_killed", "liar"}


@pytest.mark.parametrize("name", [n for n in NAMES if n not in APART])
def test_api(guest: Any, build: Path, name: str) -> None:
    run = guest(build / "api", name, card=CARD.get(name, ("--sockets", "48")))
    code, out = run.wait()
    assert code == 0, out
    run.assert_clean()


NODELAY, CORK, KEEPALIVE, KEEPIDLE, KEEPINTVL, KEEPCNT, USER_TIMEOUT, QUICKACK = range(1, 9)


def test_options_on_the_card(guest: Any, build: Path) -> None:
    """Each option as SETOPT, once, in the card's units and limits; a listener's on all that it accepts."""
    run = guest(build / "api", "options_to_card", card=("--sockets", "48"))
    code, out = run.wait()
    assert code == 0, out
    run.assert_clean()
    log = run.stats("card")["setopts"]
    ids = list(dict.fromkeys(s for s, _, _ in log))
    active = [(o, v) for s, o, v in log if s == ids[0]]
    before = {(NODELAY, 1), (USER_TIMEOUT, 2), (KEEPINTVL, 255)}
    assert set(active[:3]) == before
    assert active[3:] == [
        (KEEPALIVE, 1), (KEEPIDLE, 30), (KEEPCNT, 15), (QUICKACK, 1), (QUICKACK, 1),
        (NODELAY, 0), (USER_TIMEOUT, 0),
    ]  # fmt: skip
    passive = {i: [(o, v) for s, o, v in log if s == i] for i in ids[1:]}
    assert all((KEEPALIVE, 1) in options for options in passive.values())
    assert [(KEEPALIVE, 1), (KEEPIDLE, 44), (KEEPIDLE, 45)] in passive.values()


@pytest.mark.parametrize("name", ["many_accepts", "options_to_card", "poll_accept_and_write_space"])
def test_no_listener_without_credits(guest: Any, build: Path, name: str) -> None:
    """LISTEN and the first accept credits are one batch: a SYN finds both or neither."""
    run = guest(build / "api", name, card=CARD.get(name, ("--sockets", "48")))
    code, out = run.wait()
    assert code == 0, out
    assert run.stats("card")["bare_listeners"] == 0


@pytest.mark.parametrize(
    "name",
    [
        "bulk_one",
        "bulk_many",
        "call_variants",
        "epoll_edge",
        "fork_shares",
        "many_connections",
        "crowd",
        "peer_reset",
        "options_to_card",
        "cork",
        "linger",
    ],
)
def test_api_sanitized(guest: Any, build: Path, name: str) -> None:
    """With UBSan's traps in the library, ASan and UBSan in the daemon, and rings that are always full."""
    run = guest(build / "api", name, card=("--sockets", "48", "--queue-log2", "6"), san=True)
    code, out = run.wait()
    assert code == 0, out
    run.assert_clean()


def test_device_dies(guest: Any, build: Path) -> None:
    """CoreEngine or the twin goes: every wait ends with an error, and stderr says why."""
    run = guest(
        build / "api", "device_dies", card=("--die-after-ms", "500", "--syn-timeout-ms", "9000")
    )
    code, out = run.wait()
    assert code == 0, out
    assert "survived" in out
    assert "the NetKernel device is gone" in out


@pytest.mark.parametrize("who", ["supervisor_killed", "owner_killed"])
def test_guestd_killed(guest: Any, build: Path, who: str) -> None:
    """kill -9 of either of nk-guestd's two processes: no wait hangs."""
    _, out = guest(build / "api", who, card=("--syn-timeout-ms", "9000")).wait()
    assert "survived" in out, out


LIES = [
    "data-overflow",
    "data-huge",
    "data-zero",
    "sent-overflow",
    "connected-twice",
    "closed",
    "reset",
]


@pytest.mark.parametrize("lie", LIES)
def test_card_that_lies(guest: Any, build: Path, lie: str) -> None:
    """The socket that is lied about may fail; the daemon lives, and the next 40 connections work."""
    run = guest(build / "api", "liar", card=("--evil", lie), san=True)
    code, out = run.wait()
    assert code == 0, out
    assert lie in ("reset", "closed") or run.stats("guestd")["violations"] > 0


@pytest.mark.parametrize("name", ["bulk_many", "epoll_pingpong_edge", "many_connections", "crowd"])
def test_noise_from_the_card(guest: Any, build: Path, name: str) -> None:
    """Before each true event one that concerns no live socket: counted, and nothing else happens."""
    run = guest(
        build / "api", name, card=("--evil", "noise", "--sockets", "48", "--seed", "7"), san=True
    )
    code, out = run.wait()
    assert code == 0, out
    assert run.stats("guestd")["violations"] > 10
