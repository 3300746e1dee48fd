# SPDX-License-Identifier: Apache-2.0
"""The link model as a process (linkmodel/*.cpp): builds it when needed, starts it, talks to it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SRC = Path(__file__).resolve().parent / "linkmodel"
BUILD = Path(__file__).resolve().parents[2] / "build" / "linkmodel"
FLAGS = ("-std=gnu++17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wshadow")


class LinkModelError(RuntimeError):
    """It did not start, or refused a command."""


def build() -> Path:
    """Path of nk-linkmodel, compiled if its sources or flags have changed."""
    sources = sorted(SRC.glob("*.cpp"))
    digest = hashlib.sha256(repr(FLAGS).encode())
    for path in sorted(SRC.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    program = BUILD / digest.hexdigest()[:16] / "nk-linkmodel"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        fresh = program.with_suffix(f".{os.getpid()}")
        command = ["g++", *FLAGS, "-o", str(fresh), *map(str, sources)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise LinkModelError(f"{' '.join(command)}\n{done.stderr}")
        fresh.rename(program)
    return program


class LinkModel:
    """A path between two ends (see linkmodel/main.cpp); lives until stop(), or until this process ends.

    prefix: words before its command line, as `nsenter ... --` for a namespace. pass_fds: of ends `fd:N`.
    """

    def __init__(
        self, end0: str, end1: str, prefix: Sequence[str] = (), pass_fds: Sequence[int] = ()
    ):
        self._process = subprocess.Popen(
            [*prefix, str(build()), end0, end1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=tuple(pass_fds),
            text=True,
        )
        self._answer("start")

    def set(self, direction: str = "both", **values: float) -> None:
        """Change a direction (`0`: from end 0 to end 1, `1`, `both`); numbers and counters begin again."""
        words = (f"{k}={v:.12g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items())
        self._ask(f"set {direction} {' '.join(words)}")

    def stats(self) -> dict[str, dict[str, int]]:
        """Counters since the last set(), by direction."""
        return {k: v for k, v in self._ask("stats").items() if k != "ok"}

    def pcap(self, end: int, file: Path | None) -> None:
        """Capture what a host at this end sees; None ends it."""
        self._ask(f"pcap {end} {file.absolute() if file else '-'}")

    def stop(self) -> None:
        self._process.communicate()

    def _ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer(command)

    def _answer(self, command: str) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise LinkModelError(f"the link model has ended: {self._process.communicate()[1]}")
        answer: dict[str, Any] = json.loads(line)
        if not answer["ok"]:
            raise LinkModelError(f"the link model refuses `{command}`")
        return answer
