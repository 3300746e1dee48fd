# SPDX-License-Identifier: Apache-2.0
"""File transfers over the card, judged by SHA-256: what the demo shows, the tests check and the benchmark measures."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rig import Rig


@dataclass(frozen=True)
class Transfer:
    """One file fetched. seconds: wall time of the client; clocks, busy_seconds: the twin's during it."""

    direction: str
    size: int
    seconds: float
    clocks: int
    busy_seconds: float
    equal: bool

    @property
    def mbps(self) -> float:
        return self.size * 8 / self.seconds / 1e6

    @property
    def clocks_per_second(self) -> float:
        """Of the simulation while it was busy."""
        return self.clocks / self.busy_seconds


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_file(path: Path, size: int) -> Path:
    """A file of random bytes: nothing on the way can guess it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for at in range(0, size, 1 << 20):
            file.write(os.urandom(min(1 << 20, size - at)))
    return path


def fetch_in(rig: Rig, file: Path, vf: int = 0, port: int = 80, timeout: float = 300) -> Transfer:
    """curl over the card fetches `file` from the peer's web server (see Rig.serve_files)."""
    out = rig.folder / f"received-in-vf{vf}"
    url = f"http://{rig.peer_ip}:{port}/{file.name}"
    return _timed(
        rig, "in", file, out, lambda: rig.run(["curl", "-sSf", "-o", out, url], vf, timeout)
    )


def fetch_out(rig: Rig, file: Path, vf: int = 0, port: int = 80, timeout: float = 300) -> Transfer:
    """The peer's curl fetches `file` from nginx over the card (see Rig.serve_nginx)."""
    out = rig.folder / f"received-out-vf{vf}"
    url = f"http://{rig.vf_ip(vf)}:{port}/{file.name}"
    return _timed(
        rig, "out", file, out, lambda: rig.peer(["curl", "-sSf", "-o", out, url], timeout)
    )


def _timed(
    rig: Rig, direction: str, file: Path, out: Path, fetch: Callable[[], object]
) -> Transfer:
    out.unlink(missing_ok=True)
    before = rig.nk_json("twin", "status")
    start = time.monotonic()
    fetch()
    seconds = time.monotonic() - start
    after = rig.nk_json("twin", "status")
    return Transfer(
        direction,
        file.stat().st_size,
        seconds,
        after["clocks"] - before["clocks"],
        after["busy_seconds"] - before["busy_seconds"],
        sha256(file) == sha256(out),
    )
