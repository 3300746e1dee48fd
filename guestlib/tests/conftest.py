# SPDX-License-Identifier: Apache-2.0
"""Builds GuestLib once, and runs programs on it against the software NSM."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

GUESTLIB = Path(__file__).resolve().parents[1]
BUILD = GUESTLIB / "build"
VF_IP = "10.99.0.2"
PEER_IP = "10.99.0.1"
_nets = itertools.count()


@pytest.fixture(scope="session")
def build() -> Path:
    """guestlib/build with everything in it; parallel test workers take turns."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            ["make", "-s", "-C", str(GUESTLIB), "tests", "san"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, f"make -C guestlib tests san\n{done.stdout}{done.stderr}"
    return BUILD


@dataclass
class Run:
    """A program under GuestLib, with the software NSM as its card."""

    argv: list[str]
    env: dict[str, str]
    tmp: Path
    net: str
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            self.argv,
            env=self.env,
            cwd=self.tmp,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )

    @property
    def vf(self) -> str:
        """Where the kernel's programs reach the VF."""
        return f"{self.net}.2"

    def wait(self, timeout: float = 30) -> tuple[int, str]:
        try:
            out, _ = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.stop()
            raise
        return self.process.returncode, out

    def wait_port(self, port: int, timeout: float = 10) -> None:
        """Until something listens on the VF's port."""
        end = time.monotonic() + timeout
        while True:
            try:
                socket.create_connection((self.vf, port), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None, self.wait()[1]
                assert time.monotonic() < end, f"nothing listens on {self.vf}:{port}"
                time.sleep(0.02)

    def stats(self, which: str) -> dict[str, int]:
        """`card` or `guestd`, after the run."""
        return json.loads((self.tmp / f"{which}.json").read_text())

    def assert_clean(self) -> None:
        """Nobody broke the ABI, and no entry of either table is lost or held."""
        card, guestd = self.stats("card"), self.stats("guestd")
        statuses = card["statuses"]
        assert isinstance(statuses, dict)
        # BAD_STATE is legal where two messages crossed (an INFO or ABORT and a CLOSED).
        assert {k for k, v in statuses.items() if v} <= {"OK", "BAD_STATE", "ADDR_IN_USE"}, statuses
        assert card["credit_overflow"] == card["doorbell_errors"] == 0, card
        assert guestd["violations"] == guestd["held"] == 0, guestd
        assert guestd["free"] + guestd["closing"] == guestd["sockets"], guestd
        # What is not free has sent all it had: it waits in TIME_WAIT, or for its peer's FIN.
        assert card["used"] == card["waiting"], card

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.communicate(timeout=8)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.communicate()


@pytest.fixture
def guest(build: Path, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """guest(PROGRAM, ARG..., card=[softnsm options], san=False) -> Run"""
    runs: list[Run] = []

    def start(*program: str | Path, card: tuple[str, ...] = (), san: bool = False) -> Run:
        n = os.getpid() * 16 + next(_nets)
        net = f"127.{160 + (n >> 8) % 90}.{n % 256}"
        argv = [
            str(build / "softnsm"),
            *("--net", net, "--stats", "card.json", "--guestd-stats", "guestd.json"),
            *("--guestd", str(build / ("san/nk-guestd" if san else "nk-guestd"))),
            *card,
            "--",
            *map(str, program),
        ]
        env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        # The daemon keeps its table until it exits, on purpose.
        env["ASAN_OPTIONS"] = "detect_leaks=0"
        runs.append(Run(argv, env, tmp_path, net))
        return runs[-1]

    yield start
    for run in runs:
        run.stop()
