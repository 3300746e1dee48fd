# SPDX-License-Identifier: Apache-2.0
"""Two places on a path through the link model: a peer with Linux TCP, and opposite to it either Linux too or the card.

    namespace "place" ── TAP ──┐                                         twin ── TAP ──┐
                               ├─ nk-linkmodel ── TAP ── peer    or                    ├─ nk-linkmodel ── TAP ── peer
                  10.1.0.2     ┘                     10.1.0.1           10.1.0.2+VF    ┘                     10.1.0.1

End 0 of the link model is the place, end 1 the peer; the peer and the model are the same for both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "e2e"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from linkmodel import LinkModel  # noqa: E402
from rig import PEER_IP, Rig, RigError  # noqa: E402

PORT = 5001
STREAM = HERE / "stream.py"


@dataclass(frozen=True)
class Profile:
    """What the sender's TCP is to use; an NSM profile of the card."""

    cc: str
    ecn: bool


# The card's NSM profiles; VF n has profile n.
PROFILES = (
    Profile("reno", False),
    Profile("cubic", False),
    Profile("dctcp", True),
    Profile("reno", True),
    Profile("cubic", True),
)
LINUX_HAS = tuple(
    Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text(encoding="ascii").split()
)


@dataclass(frozen=True)
class Run:
    """A transfer as the receiving application saw it, with what link and TCPs counted."""

    bytes: int
    equal: bool
    seconds: float
    silence: float
    tenths: list[int]
    link: dict[str, dict[str, int]]
    counters: dict[str, int]

    @property
    def mbps(self) -> float:
        return self.bytes * 8 / self.seconds / 1e6


class Namespace:
    """A network namespace, there until stop() or the end of this process."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        self.pid = self._holder.pid
        own = os.readlink("/proc/self/ns/net")
        Rig.until(lambda: os.readlink(f"/proc/{self.pid}/ns/net") != own, "a network namespace")

    def stop(self) -> None:
        self._holder.communicate()

    @property
    def enter(self) -> list[str]:
        """The words before a command line that is to run inside."""
        return enter(self.pid)


def enter(pid: int) -> list[str]:
    return ["nsenter", "-t", str(pid), "-n", "--"]


def check(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RigError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def take_interface(pid: int, tap: str, ip: str) -> None:
    """Give an interface of the namespace `pid` its address. IPv6's own traffic would only disturb."""
    # Linux remembers paths (ssthresh, RTT) over connections; each transfer is to be the first one.
    sysctls = "; ".join(
        f"echo {value} >/proc/sys/net/{key}"
        for key, value in (
            (f"ipv6/conf/{tap}/disable_ipv6", 1),
            ("ipv4/tcp_no_metrics_save", 1),
        )
    )
    check([*enter(pid), "sh", "-ec", sysctls])
    check([*enter(pid), "ip", "addr", "add", f"{ip}/24", "dev", tap])
    for interface in (tap, "lo"):
        check([*enter(pid), "ip", "link", "set", interface, "up"])


def linux_cc(profile: Profile) -> str:
    """The congestion control of this kernel for a profile: Reno where it does not have the profile's."""
    return profile.cc if profile.cc in LINUX_HAS else "reno"


def offer_ecn(pid: int, yes: bool) -> None:
    """Linux in the namespace `pid` asks for ECN and takes it, or neither."""
    check([*enter(pid), "sh", "-ec", f"echo {int(yes)} >/proc/sys/net/ipv4/tcp_ecn"])


def linux_counters(pid: int) -> dict[str, int]:
    """TCP counters of the kernel in a namespace."""
    found: dict[str, int] = {}
    for file in ("snmp", "netstat"):
        lines = check([*enter(pid), "cat", f"/proc/net/{file}"]).splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            if names.split(":")[0] in ("Tcp", "TcpExt"):
                found.update(zip(names.split()[1:], map(int, values.split()[1:]), strict=True))
    return found


class TwoPlaces:
    """A path with its two places. Subclasses put something at the place."""

    model: LinkModel
    peer_pid: int

    def __init__(self, folder: Path):
        self.folder = folder

    def place_ip(self, profile: Profile) -> str:
        raise NotImplementedError

    def place_cmd(self, argv: Sequence[str], profile: Profile) -> list[str]:
        raise NotImplementedError

    def sender_options(self, profile: Profile) -> list[str]:
        """What stream.py needs besides at the place."""
        return []

    def place_counters(self) -> dict[str, int]:
        raise NotImplementedError

    def env(self) -> dict[str, str]:
        return dict(os.environ)

    def settle(self) -> None:
        """Wait until the last transfer has left nothing behind."""

    def transfer(
        self,
        role: str,
        profile: Profile,
        size: int,
        seed: int,
        link: dict[str, float],
        timeout: float = 180,
    ) -> Run:
        """Move `size` bytes; role: what the place is, `sender` or `receiver`. The sender's profile counts.

        A receiver that is the card only offers or refuses ECN by it.
        """
        offer_ecn(self.peer_pid, profile.ecn)
        self.model.set("both", **{**PERFECT, **link, "seed": seed})
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        mine = profile if role == "sender" else Profile("reno", profile.ecn)
        peer = [*enter(self.peer_pid)]
        ip = PEER_IP if role == "sender" else self.place_ip(mine)
        tail = [ip, str(PORT), str(size), str(seed)]
        receiving = [sys.executable, str(STREAM), "recv", *tail, str(ready)]
        sending = [sys.executable, str(STREAM), "send", *tail]
        if role == "sender":
            sending += self.sender_options(mine)
            commands = [*peer, *receiving], self.place_cmd(sending, mine)
        else:
            commands = self.place_cmd(receiving, mine), [*peer, *sending, linux_cc(profile)]
        before = self._counters()
        receiver = self._spawn(commands[0])
        sender = None
        try:
            Rig.until(lambda: ready.exists() or receiver.poll() is not None, "the receiver", 30)
            sender = self._spawn(commands[1])
            out, err = receiver.communicate(timeout=timeout)
            sent = sender.communicate(timeout=30)
            if receiver.returncode or sender.returncode:
                raise RigError(f"{role} {profile}: {out}{err}{sent[0]}{sent[1]}")
        except subprocess.TimeoutExpired as error:
            raise RigError(
                f"{role} {profile} {link} seed {seed}: stalled; path {self.model.stats()}, "
                f"counters {self._counters()}"
            ) from error
        finally:
            for child in (receiver, sender):
                if child and child.poll() is None:
                    child.kill()
                    child.communicate()
        self.settle()
        after = self._counters()
        counted = {k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0)}
        return Run(**json.loads(out), link=self.model.stats(), counters=counted)

    def _counters(self) -> dict[str, int]:
        peer = {f"peer_{k}": v for k, v in linux_counters(self.peer_pid).items()}
        return {**self.place_counters(), **peer}

    def _spawn(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, env=self.env(), cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )  # fmt: skip


PERFECT: dict[str, float] = {
    "rate_mbps": 0, "queue_bytes": 65536, "mark_bytes": 0, "delay_us": 0,
    "loss": 0, "burst": 0, "burst_frames": 4, "reorder": 0, "reorder_us": 4000,
}  # fmt: skip


class LinuxPath(TwoPlaces):
    """Linux at the place. A context manager."""

    IP = "10.1.0.2"

    def __enter__(self) -> LinuxPath:
        self._place, self._peer = Namespace(), Namespace()
        taps = [f"nkl{n}-{os.getpid() % 100000}" for n in range(2)]
        self.model = LinkModel(f"tap:{taps[0]}", f"tap:{taps[1]}")
        ips = (self.IP, PEER_IP)
        for tap, namespace, ip in zip(taps, (self._place, self._peer), ips, strict=True):
            check(["ip", "link", "set", tap, "netns", str(namespace.pid)])
            take_interface(namespace.pid, tap, ip)
        self.peer_pid = self._peer.pid
        return self

    def __exit__(self, *_: object) -> None:
        self.model.stop()
        self._place.stop()
        self._peer.stop()

    def place_ip(self, profile: Profile) -> str:
        return self.IP

    def place_cmd(self, argv: Sequence[str], profile: Profile) -> list[str]:
        offer_ecn(self._place.pid, profile.ecn)
        return [*self._place.enter, *argv]

    def sender_options(self, profile: Profile) -> list[str]:
        return [linux_cc(profile)]

    def place_counters(self) -> dict[str, int]:
        return linux_counters(self._place.pid)


class CardRig(Rig):
    """A rig whose wire leads through the link model."""

    def __init__(self, folder: Path):
        super().__init__(folder, vfs=len(PROFILES), max_sockets=64)

    def start(self) -> None:
        super().start()
        for vf, profile in enumerate(PROFILES):
            name = f"{profile.cc}-ecn" if profile.ecn else profile.cc
            ecn = "--ecn" if profile.ecn else "--no-ecn"
            self.nk("nsm", "create", name, "--cc", profile.cc, ecn)
            self.nk("nsm", "assign", name, str(vf))
        assert self._holder
        self.peer_pid = self._holder.pid
        # Between card and peer: both interfaces end in a namespace of their own, in which nothing else talks.
        self._middle = Namespace()
        check(
            [*enter(self.peer_pid), "ip", "link", "set", self.tap, "netns", str(self._middle.pid)]
        )
        quiet = f"echo 1 >/proc/sys/net/ipv6/conf/{self.tap}/disable_ipv6; ip link set {self.tap} arp off up"
        check([*self._middle.enter, "sh", "-ec", quiet])
        tap = f"nkp-{os.getpid() % 100000}"
        self.model = LinkModel(f"packet:{self.tap}", f"tap:{tap}", self._middle.enter)
        check([*self._middle.enter, "ip", "link", "set", tap, "netns", str(self.peer_pid)])
        take_interface(self.peer_pid, tap, PEER_IP)

    def stop(self) -> None:
        if hasattr(self, "model"):
            self.model.stop()
        if hasattr(self, "_middle"):
            self._middle.stop()
        super().stop()


class CardPath(TwoPlaces):
    """The card at the place. A context manager."""

    def __enter__(self) -> CardPath:
        self.rig = CardRig(self.folder)
        self.rig.__enter__()
        self.model, self.peer_pid = self.rig.model, self.rig.peer_pid
        return self

    def __exit__(self, *_: object) -> None:
        self.rig.stop()

    def env(self) -> dict[str, str]:
        return self.rig.env

    def place_ip(self, profile: Profile) -> str:
        return self.rig.vf_ip(PROFILES.index(profile))

    def place_cmd(self, argv: Sequence[str], profile: Profile) -> list[str]:
        return self.rig.card_cmd(argv, PROFILES.index(profile))

    def place_counters(self) -> dict[str, int]:
        twin: dict[str, Any] = self.rig.nk_json("twin", "status")
        return {**self.rig.counters(), "twin_skipped_us": int(twin.get("time_skipped_us", 0))}

    def settle(self) -> None:
        self.rig.until(lambda: self.rig.flows_in_use() == 0, "free flows", 60)
