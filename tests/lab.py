# SPDX-License-Identifier: Apache-2.0
"""A laboratory on one machine: a Linux host in a network namespace, the twin, CoreEngine, programs.

    with Lab() as lab:
        lab.vf_create(0)
        server = lab.host(["python3", "-m", "http.server", "8000", "--bind", lab.host_ip])
        lab.run(0, ["curl", "-sS", f"http://{lab.host_ip}:8000/file"], check=True)

The twin's TAP lies in the host's namespace. Programs under GuestLib run in another one without any
interface but lo. Everything started here ends with the lab, by process id.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PATH = f"{BIN}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
HOST_IP = "10.1.0.1"
TAP = "nk0"
TOOLS = ("unshare", "nsenter", "ip")

# Rates at which the issue wants files to stay equal.
FAULTS = {"loss": 0.01, "reorder": 0.05, "duplicate": 0.01, "corrupt": 0.005}


class LabError(AssertionError):
    """A step of a test failed; the text has the log's end."""


def vf_ip(vf: int) -> str:
    return f"10.1.0.{2 + vf}"


def whynot() -> str:
    """Why no lab can be set up here; empty if one can."""
    for tool in TOOLS:
        if shutil.which(tool, path=PATH) is None:
            return f"the program {tool} is missing"
    try:
        with Namespace():
            pass
    except LabError as error:
        return str(error)
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "no access to /dev/net/tun"
    return ""


class Namespace:
    """A network namespace held open by a process; with a user namespace around it unless root."""

    def __init__(self) -> None:
        self.user = os.geteuid() != 0
        flags = ["-r", "-n"] if self.user else ["-n"]
        self.holder = subprocess.Popen(
            [
                "unshare",
                *flags,
                "sh",
                "-c",
                "ip link set lo up && echo ready && exec sleep 1000000",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PATH": PATH},
        )
        assert self.holder.stdout
        assert self.holder.stderr
        if self.holder.stdout.readline().strip() != "ready":
            self.holder.wait()
            why = self.holder.stderr.read().strip()
            self.close()
            raise LabError(f"no network namespace can be created here: {why}")

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """The same command, inside."""
        enter = ["-U", "--preserve-credentials", "-n"] if self.user else ["-n"]
        return ["nsenter", "-t", str(self.holder.pid), *enter, *argv]

    def close(self) -> None:
        self.holder.kill()
        self.holder.wait()
        for stream in (self.holder.stdout, self.holder.stderr):
            if stream:
                stream.close()

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Program:
    """A program of the lab, its output in a file."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, **popen: Any) -> None:
        self.name, self.log = name, log
        self._out = log.open("wb")
        self.process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **popen,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def running(self) -> bool:
        return self.process.poll() is None

    def wait(self, timeout: float) -> int:
        """Its exit code; LabError if it has not ended by then."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} still runs after {timeout:g} s\n{self.tail()}") from None

    def stop(self, how: int = signal.SIGTERM, grace: float = 5) -> None:
        """End it and what it started (its session is its own)."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, how)
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
        self._out.close()

    def tail(self, lines: int = 25) -> str:
        return f"--- {self.log}\n" + "\n".join(self.output().splitlines()[-lines:])


class Lab:
    """See the module. `rundir` is short, since Unix socket paths are."""

    host_ip = HOST_IP

    def __init__(
        self,
        *,
        seed: int = 1,
        pcap: Path | None = None,
        twin_args: Sequence[str] = (),
        vfs: int = 0,
    ) -> None:
        self.seed = seed
        self.rundir = Path(tempfile.mkdtemp(prefix="nk-", dir="/tmp"))
        self.work = self.rundir / "work"
        self.work.mkdir()
        self.programs: list[Program] = []
        self.twin_args = [*twin_args, *(["--pcap", str(pcap)] if pcap else [])]
        self.env = {**os.environ, "PATH": PATH, "NK_RUNDIR": str(self.rundir), "LC_ALL": "C"}
        self.keep = False
        self._spaces = contextlib.ExitStack()
        self._vfs = vfs

    # ---- life -----------------------------------------------------------------------------------

    def __enter__(self) -> Lab:
        try:
            self.net = self._spaces.enter_context(Namespace())
            self.guest = self._spaces.enter_context(Namespace())
            self.start_twin()
            self.nk("coreengine", "start")
            for vf in range(self._vfs):
                self.vf_create(vf)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for program in reversed(self.programs):
            program.stop()
        with contextlib.suppress(LabError):
            self.nk("coreengine", "stop", check=False)
            for pid in self._daemon_pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._spaces.close()
        if kind is None and not self.keep:
            shutil.rmtree(self.rundir, ignore_errors=True)
        else:
            print(f"logs: {self.rundir}", file=sys.stderr)

    def _daemon_pids(self) -> list[int]:
        """CoreEngine, if it did not end when asked: who holds our socket's folder open by name."""
        found = []
        for proc in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (proc / "cmdline").read_bytes().split(b"\0")
                if b"netkernel.coreengine" in words and str(self.rundir).encode() in words:
                    found.append(int(proc.name))
        return found

    def start_twin(self) -> None:
        """The twin, in the host's namespace, and the host's side of its TAP."""
        argv = [sys.executable, "-m", "netkernel.twin", "--rundir", str(self.rundir)]
        argv += ["--tap", TAP, "--seed", str(self.seed), *self.twin_args]
        self.twin = self._start("twin", self.net.wrap(argv))
        self.until(
            lambda: (
                self.nk("twin", "status", check=False).returncode == 0 or not self.twin.running()
            ),
            600,
            "the twin answers",
        )
        if not self.twin.running():
            raise LabError(f"the twin ended\n{self.twin.tail()}")
        for command in (
            f"sysctl -q -w net.ipv6.conf.{TAP}.disable_ipv6=1",
            f"ip addr add {HOST_IP}/16 dev {TAP}",
            f"ip link set {TAP} up",
        ):
            done = self.host_run(command.split())
            if done.returncode and not command.startswith("sysctl"):
                raise LabError(f"{command}: {done.stderr}")

    # ---- programs ---------------------------------------------------------------------------------

    def _start(self, name: str, argv: Sequence[str], **popen: Any) -> Program:
        log = self.rundir / f"{len(self.programs):02}-{name}.log"
        popen.setdefault("env", self.env)
        popen.setdefault("cwd", self.work)
        program = Program(name, argv, log, **popen)
        self.programs.append(program)
        return program

    def host(self, argv: Sequence[str], **popen: Any) -> Program:
        """Start a program on the Linux host."""
        return self._start(Path(argv[0]).name, self.net.wrap(argv), **popen)

    def host_run(
        self, argv: Sequence[str], timeout: float = 120, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on the Linux host to its end."""
        return self._run(self.net.wrap(argv), timeout, check)

    def guest_argv(self, vf: int | None, argv: Sequence[str]) -> list[str]:
        which = [] if vf is None else ["--vf", str(vf)]
        return self.guest.wrap([str(BIN / "nk-hw"), "run", *which, "--", *argv])

    def start(self, vf: int | None, argv: Sequence[str], **popen: Any) -> Program:
        """Start an unmodified program on a VF."""
        return self._start(f"vf{vf}-{Path(argv[0]).name}", self.guest_argv(vf, argv), **popen)

    def run(
        self, vf: int | None, argv: Sequence[str], timeout: float = 120, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run an unmodified program on a VF to its end."""
        return self._run(self.guest_argv(vf, argv), timeout, check)

    def _run(
        self, argv: Sequence[str], timeout: float, check: bool, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        process = subprocess.Popen(
            list(argv), cwd=self.work, env=dict(env or self.env), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise LabError(
                f"{' '.join(argv)}: still running after {timeout:g} s\n{out[-2000:]}\n{err[-2000:]}"
            ) from None
        done = subprocess.CompletedProcess(list(argv), process.returncode, out, err)
        if check and done.returncode:
            raise LabError(
                f"{' '.join(argv)}: exit code {done.returncode}\n{out[-2000:]}\n{err[-3000:]}"
            )
        return done

    # ---- nk-hw ------------------------------------------------------------------------------------

    def nk(self, *args: str, check: bool = True, timeout: float = 60) -> Any:
        """nk-hw with these arguments; CompletedProcess."""
        return self._run([str(BIN / "nk-hw"), *args], timeout, check)

    def nk_json(self, *args: str) -> Any:
        return json.loads(self.nk(*args, "--json").stdout)

    def vf_create(self, vf: int, **options: Any) -> None:
        extra = [f"--{k.replace('_', '-')}={v}" for k, v in options.items()]
        self.nk("vf", "create", f"{vf_ip(vf)}/16", "--vf", str(vf), "--gateway", HOST_IP, *extra)

    def counters(self) -> dict[str, int]:
        return dict(self.nk_json("stats")["counters"])

    def link(self, **values: Any) -> None:
        """Set the link model in both directions."""
        args = [f"--{k.replace('_', '-')}={v}" for k, v in values.items()]
        self.nk("twin", "link", *args)

    def link_off(self) -> None:
        self.link(loss=0, burst_loss=0, reorder=0, duplicate=0, corrupt=0, delay_us=0, jitter_us=0)

    # ---- waiting and judging ------------------------------------------------------------------------

    @staticmethod
    def until(cond: Callable[[], Any], seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while not cond():
            if time.monotonic() > end:
                raise LabError(f"not within {seconds:g} s: {what}")
            time.sleep(0.05)

    def listening(self, program: Program, port: int, where: Namespace, seconds: float = 20) -> None:
        """Wait until a port of the namespace listens (kernel TCP)."""
        hexport = f":{port:04X} "

        def look() -> bool:
            if not program.running():
                raise LabError(f"{program.name} ended\n{program.tail()}")
            table = Path(f"/proc/{where.holder.pid}/net/tcp").read_text()
            return any(hexport in line and " 0A " in line for line in table.splitlines())

        self.until(look, seconds, f"{program.name} listens on port {port}")

    def reachable(self, vf: int, port: int, program: Program, seconds: float = 30) -> None:
        """Wait until a program on a VF accepts connections from the host."""
        script = (
            "import socket,sys\n"
            "s=socket.create_connection((sys.argv[1],int(sys.argv[2])),timeout=2)\ns.close()"
        )

        def look() -> bool:
            if not program.running():
                raise LabError(f"{program.name} ended\n{program.tail()}")
            argv = [sys.executable, "-c", script, vf_ip(vf), str(port)]
            return self.host_run(argv, 30).returncode == 0

        self.until(look, seconds, f"{program.name} accepts on {vf_ip(vf)}:{port}")

    def in_use(self) -> tuple[int, int]:
        """Flows and hash entries in use, counted by the card."""
        card = self.nk_json("coreengine", "status")["card"]
        return card["flows_in_use"], card["hash_in_use"]

    def all_free(self, seconds: float = 30) -> None:
        """Every flow and hash entry of the card becomes free again."""
        self.until(lambda: self.in_use() == (0, 0), seconds, f"all flows free: {self.in_use()}")
        c = self.counters()
        assert c["flows_opened"] == c["flows_closed"]
        assert c["hash_inserts"] == c["hash_deletes"]
