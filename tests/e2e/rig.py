# SPDX-License-Identifier: Apache-2.0
"""A whole NetKernel set-up on one machine: the twin, CoreEngine, and a Linux host on the other end of the wire.

    with Rig(folder, vfs=2, seed=7) as rig:
        rig.serve_files(rig.folder / "www")              # nginx or Python's server, kernel TCP, in a namespace
        rig.run(["curl", "-o", out, f"http://{rig.peer_ip}/file"], vf=0)

The demo, the end-to-end tests and the benchmarks all stand on it. The peer lives in a network namespace of its own, so its
kernel TCP and the card meet only over the twin's TAP.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# What ends this process, SIGKILL too, ends its children; the daemons are the guard's (below).
WITH_US = ["setpriv", "--pdeathsig", "TERM", "--"]
NK_HW = [sys.executable, "-m", "netkernel.cli"]
PEER_IP = "10.1.0.1"


class RigError(RuntimeError):
    """A part did not start or did not answer; the message says which and shows its last words."""


def why_not() -> str:
    """Return why this machine cannot hold a rig, or an empty string."""
    missing = [p for p in ("ip", "nsenter", "setpriv", "unshare") if not shutil.which(p)]
    if missing:
        return f"missing programs: {' '.join(missing)} (apt-get install iproute2 util-linux)"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return f"/dev/net/tun: {error.strerror}; load the tun module, or run as root"
    if subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode != 0:
        return "no network namespace can be made: run as root, or allow user namespaces (kernel.unprivileged_userns_clone)"
    return ""


def enter_user_namespace() -> None:
    """Without root: run this program again as root of a user namespace, if the kernel allows one."""
    if os.geteuid() == 0 or os.environ.get("NK_IN_USERNS"):
        return
    if subprocess.run(["unshare", "-Urn", "true"], capture_output=True).returncode == 0:
        os.environ["NK_IN_USERNS"] = "1"
        os.execvp("unshare", ["unshare", "-Urn", sys.executable, *sys.argv])


class Rig:
    """The twin, CoreEngine and a peer; a context manager that takes everything down again.

    folder: where sockets, logs and files go. vfs: VFs created, 10.1.0.2/24 and up. seed: of the link model.
    width, flows: of the card.
    """

    peer_ip = PEER_IP

    def __init__(
        self,
        folder: Path,
        vfs: int = 1,
        seed: int | None = None,
        width: int = 512,
        flows: int = 1024,
        max_sockets: int | None = None,
    ):
        self.folder = folder
        self.vfs, self.seed, self.width, self.flows, self.max_sockets = (
            vfs,
            seed,
            width,
            flows,
            max_sockets,
        )
        self.rundir = folder / "run"
        self.tap = f"nk{os.getpid() % 100000}"
        self._children: list[subprocess.Popen[bytes]] = []
        self._holder: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self.env = os.environ | {"NK_RUNDIR": str(self.rundir)}

    # ---- life ----------------------------------------------------------------------------------

    def __enter__(self) -> Rig:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self.rundir.mkdir(parents=True, exist_ok=True)
        # Twin and CoreEngine have sessions of their own; the guard sees our end as the end of its input.
        self._guard = subprocess.Popen(
            [sys.executable, __file__, "--guard", str(self.rundir)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        # Holds the namespace; ends with us, however we end, since its input does.
        self._holder = subprocess.Popen(
            ["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        own = os.readlink("/proc/self/ns/net")
        self.until(
            lambda: os.readlink(f"/proc/{self._holder.pid}/ns/net") != own,
            "the peer's network namespace",
        )
        args = [
            "twin",
            "start",
            "--tap",
            self.tap,
            "--width",
            str(self.width),
            "--flows",
            str(self.flows),
        ]
        if self.seed is not None:
            args += ["--seed", str(self.seed)]
        self.nk(*args, timeout=900)
        self._check(["ip", "link", "set", self.tap, "netns", str(self._holder.pid)])
        self._check(self.peer_cmd(["ip", "addr", "add", f"{PEER_IP}/24", "dev", self.tap]))
        self._check(self.peer_cmd(["ip", "link", "set", self.tap, "up"]))
        self._check(self.peer_cmd(["ip", "link", "set", "lo", "up"]))
        self.nk("coreengine", "start")
        for vf in range(self.vfs):
            quota = ["--max-sockets", str(self.max_sockets)] if self.max_sockets else []
            self.nk("vf", "create", f"{self.vf_ip(vf)}/24", "--vf", str(vf), *quota)

    def stop(self) -> None:
        for child in reversed(self._children):
            self._end(child)
        self._children.clear()
        for part in ("coreengine", "twin"):
            subprocess.run([*NK_HW, part, "stop"], env=self.env, capture_output=True, timeout=60)
        if self._holder:
            self._holder.kill()
            self._holder.communicate()
            self._holder = None
        if self._guard:
            self._guard.communicate()
            self._guard = None

    @staticmethod
    def _end(child: subprocess.Popen[bytes]) -> None:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    # ---- parts ---------------------------------------------------------------------------------

    @property
    def holder_pid(self) -> int:
        """A process in the peer's network namespace."""
        assert self._holder
        return self._holder.pid

    def vf_ip(self, vf: int) -> str:
        return f"10.1.0.{2 + vf}"

    def nk(self, *args: str, timeout: float = 120) -> str:
        """Run `nk-hw`; return its output."""
        return self._check([*NK_HW, *args], timeout=timeout)

    def nk_json(self, *args: str) -> Any:
        return json.loads(self.nk(*args, "--json"))

    def link(self, direction: str = "both", **faults: float) -> None:
        """Set the twin's link model: loss, reorder, duplicate, corrupt (probabilities), delay_us, rate_mbps ..."""
        options = [w for k, v in faults.items() for w in (f"--{k.replace('_', '-')}", str(v))]
        self.nk("twin", "link", "--dir", direction, *options)

    def counters(self) -> dict[str, int]:
        """Global counters of the card, by name."""
        return dict(self.nk_json("stats")["counters"])

    def flows_in_use(self) -> int:
        return sum(int(vf["sockets"]) for vf in self.nk_json("vf", "list")["vfs"])

    def wait_free(self, seconds: float = 30) -> None:
        """Wait until the card counts no socket in use and no entry in its flow table."""
        self.until(lambda: self.flows_in_use() == 0, "free flows", seconds)
        counters = self.counters()
        for opened, closed in (("flows_opened", "flows_closed"), ("hash_inserts", "hash_deletes")):
            if counters[opened] != counters[closed]:
                raise RigError(f"{opened} {counters[opened]}, but {closed} {counters[closed]}")
        broken = self.nk_json("twin", "status")["protocol_errors"]
        if broken or counters["events_lost"]:
            raise RigError(
                f"the core broke its host interface {broken} times, lost {counters['events_lost']} events"
            )

    def card_cmd(self, argv: Sequence[str], vf: int | None = None) -> list[str]:
        """Command line that runs a program over the card."""
        return [
            *NK_HW,
            "run",
            *(["--vf", str(vf)] if vf is not None else []),
            "--",
            *map(str, argv),
        ]

    def peer_cmd(self, argv: Sequence[str]) -> list[str]:
        """Command line that runs a program on the peer."""
        assert self._holder
        return ["nsenter", "-t", str(self._holder.pid), "-n", "--", *map(str, argv)]

    def run(
        self, argv: Sequence[str], vf: int | None = None, timeout: float = 120, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program over the card to its end."""
        return self._finish(self.card_cmd(argv, vf), timeout, check)

    def peer(
        self, argv: Sequence[str], timeout: float = 120, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program on the peer to its end."""
        return self._finish(self.peer_cmd(argv), timeout, check)

    def spawn(self, command: Sequence[str], log: str) -> subprocess.Popen[bytes]:
        """Start a long-running command (of card_cmd or peer_cmd); its output goes to a file in the folder."""
        with (self.folder / log).open("wb") as out:
            child = subprocess.Popen(
                [*WITH_US, *command],
                env=self.env,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )
        self._children.append(child)
        return child

    def end_all(self, keep: Sequence[subprocess.Popen[bytes]] = ()) -> None:
        """Stop what spawn() started, but for `keep`."""
        for child in [c for c in self._children if c not in keep]:
            self.end(child)

    def children(self) -> list[subprocess.Popen[bytes]]:
        return list(self._children)

    def end(self, child: subprocess.Popen[bytes]) -> None:
        """Stop what spawn() started."""
        self._end(child)
        self._children.remove(child)

    def serve_files(self, www: Path, port: int = 80) -> subprocess.Popen[bytes]:
        """A web server with kernel TCP on the peer: nginx, or Python's without it."""
        if shutil.which("nginx"):
            conf = nginx_conf(self.folder / "peer-nginx", www, port)
            command = ["nginx", "-c", str(conf)]
        else:
            command = [sys.executable, "-m", "http.server", "-d", str(www), str(port)]
        child = self.spawn(self.peer_cmd(command), f"peer-http-{port}.log")
        self.wait_listen(PEER_IP, port)
        return child

    def serve_nginx(
        self, www: Path, vf: int = 0, port: int = 80, workers: int = 1
    ) -> subprocess.Popen[bytes]:
        """An unmodified nginx over the card."""
        conf = nginx_conf(self.folder / f"nginx-vf{vf}", www, port, workers)
        child = self.spawn(self.card_cmd(["nginx", "-c", str(conf)], vf), f"nginx-vf{vf}.log")
        self.wait_listen(self.vf_ip(vf), port)
        return child

    def wait_listen(self, ip: str, port: int, seconds: float = 30) -> None:
        """Wait until a TCP port answers the peer."""
        probe = f"import socket; socket.create_connection(({ip!r}, {port}), 2).close()"
        self.until(
            lambda: (
                subprocess.run(
                    self.peer_cmd([sys.executable, "-c", probe]), capture_output=True
                ).returncode
                == 0
            ),
            f"{ip} port {port}",
            seconds,
        )

    # ---- help ----------------------------------------------------------------------------------

    def _finish(
        self, command: list[str], timeout: float, check: bool
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [*WITH_US, *command],
            env=self.env,
            capture_output=True,
            timeout=timeout,
            cwd=self.folder,
        )
        if check and done.returncode:
            raise RigError(
                f"{' '.join(command)}: exit code {done.returncode}\n"
                f"{done.stdout.decode(errors='replace')[-2000:]}{done.stderr.decode(errors='replace')[-2000:]}"
            )
        return done

    def _check(self, command: list[str], timeout: float = 60) -> str:
        return self._finish(command, timeout, True).stdout.decode()

    @staticmethod
    def until(done: Any, what: str, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if done():
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise RigError(f"{what}: not there after {seconds:.0f} s")


def nginx_conf(folder: Path, www: Path, port: int, workers: int = 1) -> Path:
    """Write a configuration for an nginx that stays in the foreground and keeps to its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = "\n".join(
        f"    {k}_temp_path {folder}/{k};"
        for k in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf = folder / "nginx.conf"
    conf.write_text(
        f"""daemon off;
{"user root;" if os.geteuid() == 0 else ""}
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log {folder}/access.log;
{paths}
    sendfile on;
    send_timeout 300s;
    server {{ listen {port}; root {www}; }}
}}
"""
    )
    return conf


def guard(rundir: Path) -> None:
    """Wait for the end of the rig's owner; then end the daemons that it has left in `rundir`."""
    from netkernel.rundir import COREENGINE_LOCK, TWIN_LOCK, is_locked

    sys.stdin.buffer.read()
    for lock, pid_file in ((COREENGINE_LOCK, COREENGINE_LOCK), (TWIN_LOCK, "twin.pid")):
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not is_locked(rundir / lock):
                break
            try:
                os.kill(int((rundir / pid_file).read_text()), number)
            except (OSError, ValueError):
                continue
            end = time.monotonic() + 15
            while is_locked(rundir / lock) and time.monotonic() < end:
                time.sleep(0.05)


if __name__ == "__main__":
    assert sys.argv[1] == "--guard"
    guard(Path(sys.argv[2]))
