# SPDX-License-Identifier: Apache-2.0
"""The twin as a process: locks its run directory, starts the card and its sockets, and takes all
away at its end.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from netkernel.errors import AlreadyRunning, BadRequest, NkError
from netkernel.rundir import PF_SOCK, TWIN_SOCK, prepare, vf_sock
from netkernel.twin.build import TwinConfig, build
from netkernel.twin.control import ControlServer, TwinControl
from netkernel.twin.function import Function
from netkernel.twin.library import START_US, Card, TwinLibrary
from netkernel.twin.server import FunctionServer
from netkernel.twin.wire import check_wire_fd, open_tap

LOCK: Final = "twin.lock"
PIDFILE: Final = "twin.pid"
_WATCHDOG_SECONDS: Final = 0.1


@dataclass(frozen=True)
class Options:
    """What the command line says. One of tap and wire_fd at most; neither: no wire."""

    rundir: Path
    config: TwinConfig = field(default_factory=TwinConfig)
    tap: str | None = None
    wire_fd: int | None = None
    seed: int | None = None
    pcap: Path | None = None
    read_latency: int = 4
    start_us: int = START_US
    rtl: tuple[Path, ...] = ()  # in the place of files of hw/ with the same names


def say(text: str) -> None:
    sys.stdout.write(f"twin: {text}\n")  # one write: lines of several threads stay whole
    sys.stdout.flush()


@contextlib.contextmanager
def locked(rundir: Path) -> Iterator[None]:
    """Holds RUNDIR for this process; the lock ends with it, however it ends."""
    path = rundir / LOCK
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            pid = ""
            with contextlib.suppress(OSError):
                pid = (rundir / PIDFILE).read_text(encoding="ascii").strip()
            raise AlreadyRunning(
                f"a twin runs already in {rundir}" + (f" (process {pid})" if pid else ""),
                "Stop it: `nk-hw twin stop`; or give another --rundir.",
            ) from None
        # The file may have been removed by its former holder between open and lock.
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(fd).st_ino:
                break
        os.close(fd)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)


class TwinProcess:
    """A card with all its sockets in RUNDIR, from creation to close()."""

    def __init__(self, options: Options, library: TwinLibrary) -> None:
        self._stopping = threading.Event()
        self._why = ""
        self._servers: list[FunctionServer] = []
        self._control: ControlServer | None = None
        rundir = options.rundir
        seed = secrets.randbits(32) if options.seed is None else options.seed
        if not 0 <= seed < 1 << 64:
            raise BadRequest(f"seed {seed} is not a number of 64 bits")
        self.card = Card(
            library, seed=seed, read_latency=options.read_latency, start_us=options.start_us
        )
        self._pidfile = rundir / PIDFILE
        try:
            wire = self._open_wire(options)
            if options.pcap is not None:
                self._capture(options.pcap)
            self.card.start(lambda _: self._stopping.set())
            for func in range(library.info.vfs + 1):
                path = rundir / (PF_SOCK if func == 0 else vf_sock(func - 1))
                path.unlink(missing_ok=True)  # of a twin that was killed: the lock is ours
                self._servers.append(FunctionServer(Function(self.card, func), path, say))
            self._pidfile.write_text(f"{os.getpid()}\n", encoding="ascii")
            (rundir / TWIN_SOCK).unlink(missing_ok=True)
            control = TwinControl(
                self.card, wire=wire, seed=seed, servers=self._servers, stop=self.stop
            )
            # Last: whoever gets an answer there finds everything else in place.
            self._control = ControlServer(control, rundir / TWIN_SOCK)
        except BaseException:
            self.close()
            raise
        say(f"link model seed {seed}")

    def _open_wire(self, options: Options) -> str:
        if options.tap is not None:
            fd = open_tap(options.tap)
            self.card.set_wire(fd)
            os.close(fd)
            return f"tap {options.tap}"
        if options.wire_fd is not None:
            check_wire_fd(options.wire_fd)
            self.card.set_wire(options.wire_fd)
            os.close(options.wire_fd)
            return f"fd {options.wire_fd}"
        return "none"

    def _capture(self, path: Path) -> None:
        try:
            self.card.trace_pcap(path)
        except OSError as error:
            raise BadRequest(f"cannot write {path}: {error.strerror}") from error

    @property
    def why(self) -> str:
        """What asked for the end."""
        return self._why

    def stop(self, why: str = "asked by the command `stop`") -> None:
        self._why = why
        self._stopping.set()

    def wait(self) -> None:
        """Until somebody asks for the end, or the model ended by itself: then NkError."""
        while not self._stopping.wait(_WATCHDOG_SECONDS):
            self.card.watchdog()
        if self.card.ended is not None:
            reason = (
                "$finish in the RTL"
                if self.card.ended == -errno.EPROTO
                else os.strerror(-self.card.ended)
            )
            raise NkError(f"the simulation ended by itself: {reason}")

    def close(self) -> None:
        """Clients first: their functions are reset while the card still runs."""
        if self._control is not None:
            self._control.close()
        for server in self._servers:
            server.close()
        self.card.close()
        self._pidfile.unlink(missing_ok=True)


def run(options: Options) -> None:
    """Builds if needed, serves until SIGTERM, SIGINT or the command `stop`."""
    rundir = prepare(options.rundir)
    with locked(rundir):
        library = TwinLibrary(build(options.config, extra=options.rtl, progress=say))
        twin = TwinProcess(options, library)
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda n, _: twin.stop(signal.Signals(n).name))
            say(f"ready in {rundir} (process {os.getpid()})")
            twin.wait()
            say(f"ends: {twin.why}")
        finally:
            twin.close()
    say("ended")


def fail(error: NkError) -> int:
    """The last lines of the output say what went wrong; the exit code says which kind."""
    print(f"error: {error.message}\n{error.hint}".rstrip(), file=sys.stderr, flush=True)
    return error.exit_code
