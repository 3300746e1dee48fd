# SPDX-License-Identifier: Apache-2.0
"""The C unit tests: rings, socket state machine, the daemon's table on a fake device (ASan and UBSan)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["ring", "conn", "guestd"])
def test_unit(build: Path, name: str) -> None:
    done = subprocess.run(
        [build / f"test_{name}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"test_{name}: ok" in done.stdout


def test_exports_only_wrappers(build: Path) -> None:
    """The library adds no name to a program but the calls that it wraps."""
    out = subprocess.run(
        ["nm", "-D", "--defined-only", build / "libnkpreload.so"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = {line.split()[2] for line in out.splitlines() if line.split()[1] == "T"}
    assert {"socket", "connect", "epoll_wait", "__recv_chk", "sendfile64"} <= names
    assert not {n for n in names if n.startswith("nk_")}
