# SPDX-License-Identifier: Apache-2.0
"""Starting a daemon of ours in the background, and waiting until it serves."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from netkernel.errors import KINDS, BuildFailed, Busy, NkError, from_dict
from netkernel.rundir import is_locked

_TAIL_BYTES = 4096
_END_SECONDS = 30


def start(
    argv: Sequence[str],
    *,
    log: Path,
    ready: Callable[[], bool],
    what: str,
    limit: float,
    env: dict[str, str] | None = None,
) -> int:
    """Start `argv`, its output going to `log`; return its process id once `ready` says True."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=env if env is not None else os.environ.copy(),
        )
    deadline = time.monotonic() + limit
    with Console(stderr=True).status(f"starting {what}") as status:
        while not ready():
            if process.poll() is not None:
                raise _failure(what, process.returncode, log)
            if time.monotonic() > deadline:
                process.terminate()
                process.wait()
                raise BuildFailed(f"{what} did not get ready within {limit:g} s", f"See {log}.")
            if line := _last_line(log):
                status.update(f"starting {what}: {line[:80]}")
            time.sleep(0.05)
    # It lives on; nobody here will wait for it.
    process.returncode = 0
    return process.pid


def await_end(lock: Path, what: str, log: Path) -> None:
    """Until the daemon that holds `lock` has ended."""
    deadline = time.monotonic() + _END_SECONDS
    while is_locked(lock):
        if time.monotonic() > deadline:
            raise Busy(f"{what} has not ended within {_END_SECONDS} s", f"See {log}.")
        time.sleep(0.02)


def _tail(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _last_line(log: Path) -> str:
    lines = _tail(log)
    return lines[-1] if lines else ""


def _failure(what: str, code: int, log: Path) -> NkError:
    """The child's own error: its exit code says the kind, its last lines the text."""
    lines = _tail(log)
    said = [n for n, line in enumerate(lines) if line.startswith("error: ")]
    if said:
        message = lines[said[-1]].removeprefix("error: ")
        hint = " ".join(lines[said[-1] + 1 :]) or f"See {log}."
        kind = next((k.code for k in KINDS if k.exit_code == code), "internal")
        return from_dict({"code": kind, "message": message, "hint": hint})
    last = f": {lines[-1]}" if lines else ""
    return BuildFailed(f"{what} ended with code {code} while starting{last}", f"See {log}.")
