# SPDX-License-Identifier: Apache-2.0
"""Random traffic over the card for a long time, with deaths of every kind; then the books must balance and nothing be left.

    .venv/bin/python tests/soak/run.py [SECONDS] [--seed N]      (make soak; NK_SOAK_S, NK_SEED)

README.md says what is done and what is checked.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
for folder in (HERE, HERE.parent / "e2e", HERE.parent / "interop", ROOT / "host"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from books import Row, Snapshot, Trouble, audit, pairs  # noqa: E402
from netkernel import abi  # noqa: E402
from netkernel.coreengine import CoreEngineClient  # noqa: E402
from netkernel.coreengine import schema as sc  # noqa: E402
from netkernel.device import VfioUserDevice  # noqa: E402
from netkernel.errors import NkError  # noqa: E402
from netkernel.jsonline import ask_twin  # noqa: E402
from netkernel.rundir import COREENGINE_LOG, PF_SOCK, TWIN_LOG  # noqa: E402
from places import take_interface  # noqa: E402
from rig import PEER_IP, Rig, RigError, enter_user_namespace, why_not  # noqa: E402
from worker import BROKEN_ON_PURPOSE  # noqa: E402

FLAKY_IP = "10.1.0.9"  # the peer's second address, which goes away now and then
PORT = 7000
SOCKETS = 128  # quota of a VF
PROFILES = {
    "reno": ("--cc", "reno"),
    "cubic": ("--cc", "cubic", "--ecn"),
    "dctcp": ("--cc", "dctcp"),
    "bare": ("--cc", "reno", "--no-sack", "--no-timestamps", "--no-window-scale", "--no-tlp"),
}
CALM: dict[str, float] = {
    "loss": 0.0, "burst_loss": 0.0, "reorder": 0.0, "duplicate": 0.0, "corrupt": 0.0,
    "delay_us": 0, "jitter_us": 0, "rate_mbps": 0.0,
}  # fmt: skip
WIRES: tuple[dict[str, float], ...] = (
    {},
    {"loss": 0.01},
    {"loss": 0.03, "delay_us": 2000},
    {"burst_loss": 0.003, "burst_frames": 6.0},
    {"reorder": 0.05, "duplicate": 0.02},
    {"corrupt": 0.01, "jitter_us": 3000},
    {"loss": 0.005, "reorder": 0.02, "duplicate": 0.01, "corrupt": 0.003, "delay_us": 1000},
    {"rate_mbps": 10.0, "delay_us": 5000},
)
WRAP_US = 1 << 32
WRAP_AFTER_S = 30  # the card's 32-bit clock wraps so long after the start, with traffic on
QUIET_S = 150  # until everything is over once nothing new is begun


class Defect(Exception):
    """Something that the soak is there to find."""


class Soak:
    """A rig, a program on each VF, one on the peer, and the hand that disturbs them."""

    def __init__(self, folder: Path, seconds: float, seed: int, say: Callable[[str], None] = print):
        self.folder, self.seconds, self.seed, self.say = folder, seconds, seed, say
        self.rng = random.Random(seed)
        self.rig = Rig(folder, vfs=len(PROFILES), seed=seed, max_sockets=SOCKETS)
        self.rig.env["NK_TWIN_START_US"] = str(WRAP_US - WRAP_AFTER_S * 1_000_000)
        self.traffic: dict[str, subprocess.Popen[bytes]] = {}  # place -> its program
        self.logs: list[Path] = []
        self.read: dict[Path, int] = {}
        self.rows: list[Row] = []
        self.trouble = Trouble()
        self.ready: set[str] = set()
        self.idle: set[str] = set()
        self.life = Counter[str]()
        self.base: Snapshot | None = None
        self.epoch = 0
        self.tally = Counter[str]()
        self.peak = 0
        short = seconds < 120
        self.kill_s = 6.0 if short else 25.0
        self.check_s = seconds if short else min(300.0, seconds / 8)

    # ---- places

    def places(self) -> dict[str, str]:
        """Address -> the letter that tags of its place begin with."""
        return {
            PEER_IP: "p",
            FLAKY_IP: "p",
            **{self.rig.vf_ip(n): f"v{n}" for n in range(self.rig.vfs)},
        }

    def start_place(self, place: str) -> None:
        """Start the program of `p` or of a VF, `v0` ..."""
        self.life[place] += 1
        tag = f"{place}-{self.life[place]}"
        if place == "p":
            targets = [f"{self.rig.vf_ip(n)}:{PORT}:2" for n in range(self.rig.vfs)]
        else:
            targets = [f"{PEER_IP}:{PORT}:3"] * 3 + [f"{FLAKY_IP}:{PORT}:3"]
        processes, threads = (3, 3) if place == "p" else (2, 2)
        argv = [
            sys.executable, str(HERE / "worker.py"), tag, PORT, processes, threads, self.seed,
            self.folder, self.kill_s, *targets,
        ]  # fmt: skip
        command = (
            self.rig.peer_cmd(argv) if place == "p" else self.rig.card_cmd(argv, int(place[1:]))
        )
        log = self.folder / f"traffic-{tag}.log"
        with log.open("wb") as out, (self.folder / f"traffic-{tag}.err").open("wb") as err:
            self.traffic[place] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *map(str, command)],
                env=self.rig.env, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        self.logs.append(log)

    def await_ready(self, place: str) -> None:
        want = {f"{place}-{self.life[place]}.{n}" for n in range(3 if place == "p" else 2)}

        def there() -> bool:
            self.collect()
            if self.traffic[place].poll() is not None:
                raise Defect(f"the program of {place} ended: {self.words(place)}")
            return want <= self.ready

        self.rig.until(there, f"the program of {place}", 60)

    def words(self, place: str) -> str:
        file = self.folder / f"traffic-{place}-{self.life[place]}.err"
        return file.read_text(errors="replace")[-1500:]

    def kill_place(self, place: str) -> float:
        """The whole tree at once, as a VM that is destroyed."""
        at = time.time()
        with suppress(ProcessLookupError):
            os.killpg(self.traffic[place].pid, signal.SIGKILL)
        self.traffic[place].wait()
        return at

    # ---- what the programs say

    def collect(self) -> None:
        for log in self.logs:
            with log.open("rb") as file:
                file.seek(self.read.get(log, 0))
                data = file.read()
            whole = data.rfind(b"\n") + 1
            self.read[log] = self.read.get(log, 0) + whole
            for line in data[:whole].splitlines():
                self.hear(json.loads(line))

    def hear(self, row: Row) -> None:
        match row["what"]:
            case "ready":
                self.ready.add(row["tag"].rsplit(".", 1)[0])
            case "idle":
                self.idle.add(f"{row['epoch']} {row['tag'].rsplit('.', 1)[0]}")
            case "kill":
                self.trouble.killed[row["tag"]] = row["time"]
                self.tally["processes killed"] += 1
            case "died" if not self.trouble.away(row["tag"].split("-")[0], row["time"]):
                raise Defect(
                    f"a traffic process died by itself: {row}; {self.words(row['tag'].split('-')[0])}"
                )
            case "client" | "served":
                self.rows.append(row)
                if row["end"].startswith("WRONG"):
                    raise Defect(f"content: {row}")

    # ---- looking

    def snapshot(self) -> Snapshot:
        with CoreEngineClient(self.rig.rundir) as client:
            stats = client.request(sc.StatsRequest())
            vfs = client.request(sc.VfList())["vfs"]
            status = client.request(sc.StatusRequest())
        twin = ask_twin(self.rig.rundir, {"cmd": "status"})
        fds = {
            name: len(os.listdir(f"/proc/{pid}/fd"))
            for name, pid in (("coreengine", status["pid"]), ("twin", twin["pid"]))
        }
        return Snapshot(
            stats["counters"], stats["nqes"], stats["vfs"],
            {str(v["vf"]): v["sockets"] for v in vfs}, status["card"], twin, fds,
        )  # fmt: skip

    def stable(self, what: str, enough: Callable[[Snapshot], bool], seconds: float) -> Snapshot:
        """The first of two looks between which nothing moved, and which are `enough`."""
        end = time.monotonic() + seconds
        old = self.snapshot()
        while True:
            time.sleep(0.3)
            new = self.snapshot()
            if enough(new) and new.still(old):
                return new
            if time.monotonic() > end:
                raise Defect(
                    f"{what}: not after {seconds} s; sockets {new.sockets}, card {new.card}"
                )
            old = new

    # ---- disturbances

    def wire(self, **faults: float) -> None:
        seed = self.rng.randrange(1 << 31)
        for n, direction in enumerate(("rx", "tx")):
            ask_twin(
                self.rig.rundir,
                {"cmd": "link", "dir": direction, **CALM, **faults, "seed": seed + n},
            )

    def outage(self) -> None:
        """The wire is cut for some seconds: everything must survive."""
        self.wire(loss=1.0)
        self.run_for(self.rng.uniform(0.5, 4))
        self.wire()

    def lost_peer(self) -> None:
        """One address of the peer is gone, with all its connections."""
        begun = time.time()
        self.rig.peer(["ip", "addr", "del", f"{FLAKY_IP}/24", "dev", self.rig.tap])
        self.trouble.out(FLAKY_IP, begun, begun + 3600)
        self.run_for(self.rng.uniform(2, 10))
        self.rig.peer(["ip", "addr", "add", f"{FLAKY_IP}/24", "dev", self.rig.tap])
        # Both sides meet again at the next retransmission, which may be twice the outage away.
        self.trouble.outages[FLAKY_IP][-1] = (begun, time.time() + 2 * (time.time() - begun) + 5)

    def killed_tenant(self) -> None:
        """A tenant's whole tree dies: CoreEngine takes the VF back, and another tenant gets it."""
        place = f"v{self.rng.randrange(self.rig.vfs)}"
        at = self.kill_place(place)
        self.trouble.out(place, at, at + 3600)
        n = int(place[1:])
        self.rig.until(
            lambda: self.vf_state(n) == "free", f"VF {n} free after its tenant's death", 40
        )
        self.start_place(place)
        self.await_ready(place)
        self.trouble.outages[place][-1] = (at, time.time())

    def killed_peer(self) -> None:
        at = self.kill_place("p")
        self.trouble.out("p", at, at + 3600)
        self.start_place("p")
        self.await_ready("p")
        self.trouble.outages["p"][-1] = (at, time.time())

    def killed_coreengine(self) -> None:
        """All leases end with it; a new one finds the VFs."""
        at = time.time()
        for n in range(self.rig.vfs):
            self.trouble.out(f"v{n}", at, at + 3600)
        with CoreEngineClient(self.rig.rundir) as client:
            os.kill(client.request(sc.StatusRequest())["pid"], signal.SIGKILL)
        for n in range(self.rig.vfs):
            with suppress(subprocess.TimeoutExpired):
                self.traffic[f"v{n}"].wait(20)
            self.kill_place(f"v{n}")
        self.rig.nk("coreengine", "start")
        for n in range(self.rig.vfs):
            self.start_place(f"v{n}")
        for n in range(self.rig.vfs):
            self.await_ready(f"v{n}")
            self.trouble.outages[f"v{n}"][-1] = (at, time.time())

    def vf_state(self, n: int) -> str:
        with CoreEngineClient(self.rig.rundir) as client:
            return str(client.request(sc.VfList())["vfs"][n]["state"])

    def run_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(min(0.5, max(0.0, end - time.monotonic())))
            self.collect()
            for place, program in self.traffic.items():
                if program.poll() is not None:
                    raise Defect(
                        f"the program of {place} ended with {program.returncode}: {self.words(place)}"
                    )

    # ---- the run

    def check(self, what: str) -> Snapshot:
        """Nothing new is begun; when all is over, the books must balance and each VF hold its listeners alone."""
        self.wire()
        self.epoch += 1
        (self.folder / "pause").write_text(str(self.epoch))
        want = {
            f"{self.epoch} {place}-{self.life[place]}.{n}"
            for place in self.traffic
            for n in range(3 if place == "p" else 2)
        }

        def over() -> bool:
            self.collect()
            return want <= self.idle

        try:
            self.rig.until(over, "the end of what was begun", QUIET_S)
        except RigError as error:
            raise Defect(f"{what}: {error}; still busy: {sorted(want - self.idle)}") from error
        base = self.base
        now = self.stable(
            f"{what}: sockets as before any traffic {base.sockets if base else ''}",
            lambda s: base is None or s.sockets == base.sockets,
            QUIET_S,
        )
        wrong = audit(now, bool(self.tally["killed_coreengine"]))
        if base and now.card["hash_in_use"] != base.card["hash_in_use"]:
            wrong.append(
                f"{now.card['hash_in_use']} hash entries, {base.card['hash_in_use']} before any traffic"
            )
        for name, count in now.fds.items():
            if base and count > base.fds[name] + 2:
                wrong.append(f"{name} has {count} descriptors, {base.fds[name]} before any traffic")
        found, tally = pairs(self.rows, self.trouble, self.places(), BROKEN_ON_PURPOSE)
        self.tally.update(tally)
        self.rows.clear()
        if wrong or found:
            raise Defect(
                f"{what}: " + "\n  ".join([*wrong, *found[:10], f"({len(found)} connections)"])
            )
        self.say(
            f"{what}: card time {now.card['now_us'] / 1e6:.0f} s, {now.counters['flows_opened']} sockets opened, "
            f"{dict(self.tally)}, retransmits {now.counters['tx_retransmits']}"
        )
        (self.folder / "pause").unlink()
        return now

    def run(self) -> dict[str, Any]:
        """Everything; the figures of the run. Defect where something is wrong."""
        begun = time.monotonic()
        with self.rig:
            take_interface_again(self.rig)
            self.rig.peer(["ip", "addr", "add", f"{FLAKY_IP}/24", "dev", self.rig.tap])
            for n, (name, options) in enumerate(PROFILES.items()):
                self.rig.nk("nsm", "create", name, *options)
                self.rig.nk("nsm", "assign", name, str(n))
            (self.folder / "pause").write_text("0")
            try:
                for place in ["p", *(f"v{n}" for n in range(self.rig.vfs))]:
                    self.start_place(place)
                    self.await_ready(place)
                self.base = self.check("before any traffic")
                self.disturb(time.monotonic() + self.seconds)
                self.stop_traffic()
                self.say("traffic ended")
                last = self.stable("a card without tenants holds no socket", empty, 60)
                wrong = audit(last, bool(self.tally["killed_coreengine"]))
                if wrong:
                    raise Defect("at the end: " + "\n  ".join(wrong))
                self.exact_bytes()
                self.every_socket_again()
                self.left_in_the_card()
            except Exception as error:
                self.keep(error)
                raise
            finally:
                for place in self.traffic:
                    self.kill_place(place)
        return {
            "seconds": round(time.monotonic() - begun),
            "segments": last.counters["rx_segments"] + last.counters["tx_segments"],
            "payload_bytes": sum(v["rx_bytes"] + v["tx_bytes"] for v in last.vfs.values()),
            "sockets": last.counters["flows_opened"],
            "connections": last.nqes["CONNECTED"] + last.nqes["ACCEPTED"],
            "retransmits": last.counters["tx_retransmits"],
            "busy_seconds": round(last.twin["busy_seconds"]),
            **self.tally,
        }

    def disturb(self, end: float) -> None:
        acts = [
            self.outage,
            self.lost_peer,
            self.killed_tenant,
            self.killed_peer,
            self.killed_coreengine,
        ]
        weights = (3, 2, 3, 2, 1)
        queue = (
            acts[:3] if self.seconds < 120 else []
        )  # a short run has each of the usual ones once
        due = time.monotonic() + self.check_s
        while time.monotonic() < end:
            self.wire(**self.rng.choice(WIRES))
            self.run_for(self.rng.uniform(2, 5) if self.seconds < 120 else self.rng.uniform(4, 20))
            act = queue.pop() if queue else self.rng.choices(acts, weights)[0]
            self.tally[act.__name__] += 1
            act()
            if time.monotonic() > due or time.monotonic() >= end:
                self.check(f"after {self.seconds - (end - time.monotonic()):.0f} s")
                due = time.monotonic() + self.check_s

    def stop_traffic(self) -> None:
        (self.folder / "pause").write_text("end")
        for program in self.traffic.values():
            program.terminate()
        for place, program in self.traffic.items():
            try:
                program.wait(30)
            except subprocess.TimeoutExpired as error:
                raise Defect(f"the program of {place} does not end") from error
        for n in range(self.rig.vfs):
            self.rig.until(lambda n=n: self.vf_state(n) == "free", f"VF {n} free at the end", 40)

    # ---- the end

    def exact_bytes(self) -> None:
        """On a good wire every byte is sent once and placed once: the counters tell the programs' own numbers."""
        programs = HERE.parent / "e2e" / "programs"
        count, size = 10, 30_000
        server = self.rig.spawn(
            self.rig.peer_cmd([sys.executable, str(programs / "echo_server.py"), PEER_IP, "7900"]),
            "echo.log",
        )
        self.rig.wait_listen(PEER_IP, 7900)
        for vf in range(self.rig.vfs):
            before = self.snapshot()
            self.rig.run(
                [sys.executable, str(programs / "echo_many.py"), PEER_IP, "7900", count, size, vf],
                vf=vf,
            )
            now = self.stable("free after the exact bytes", empty, 60)
            d = {k: now.vfs[str(vf)][k] - before.vfs[str(vf)][k] for k in now.vfs[str(vf)]}
            extra = sum(
                now.counters[k] - before.counters[k] for k in ("rx_duplicate", "rx_out_of_order")
            )
            want, mss = count * size, 1460
            if not want <= d["tx_bytes"] <= want + mss * d["tx_retransmits"]:
                raise Defect(
                    f"VF {vf}: tx_bytes {d['tx_bytes']} for {want} sent, {d['tx_retransmits']} retransmits"
                )
            if not want <= d["rx_bytes"] or (not extra and d["rx_bytes"] != want):
                raise Defect(
                    f"VF {vf}: rx_bytes {d['rx_bytes']} for {want} received, {extra} not in order"
                )
        self.rig.end(server)

    def every_socket_again(self) -> None:
        """As many connections at a time as a fresh card gives: no socket, no credit has been lost."""
        programs = HERE.parent / "e2e" / "programs"
        many = SOCKETS * 7 // 8 - 8  # GuestLib keeps an eighth for others
        server = self.rig.spawn(
            self.rig.peer_cmd([sys.executable, str(programs / "echo_server.py"), PEER_IP, "7901"]),
            "echo-many.log",
        )
        self.rig.wait_listen(PEER_IP, 7901)
        for vf in range(self.rig.vfs):
            done = self.rig.run(
                [sys.executable, str(programs / "echo_many.py"), PEER_IP, "7901", many, 3000, vf],
                vf=vf,
                timeout=200,
            )
            if not done.stdout.startswith(f"good {many}".encode()):
                raise Defect(f"VF {vf}: {done.stdout!r}")
            listener = self.rig.spawn(
                self.rig.card_cmd(
                    [sys.executable, str(programs / "echo_server.py"), "0.0.0.0", "7902"], vf
                ),
                f"echo-v{vf}.log",
            )
            self.rig.wait_listen(self.rig.vf_ip(vf), 7902)
            done = self.rig.peer(
                [
                    sys.executable,
                    str(programs / "echo_many.py"),
                    self.rig.vf_ip(vf),
                    "7902",
                    "48",
                    "3000",
                    vf,
                ],
                timeout=200,
            )
            if not done.stdout.startswith(b"good 48"):
                raise Defect(f"VF {vf} as a server: {done.stdout!r}")
            self.rig.end(listener)
        self.rig.end(server)
        self.stable("free after every socket was used", empty, 60)

    def left_in_the_card(self) -> None:
        """What registers and doorbell pages show once nobody holds anything."""
        for vf in range(self.rig.vfs):
            with CoreEngineClient(self.rig.rundir) as client:
                lease = client.lease(sc.LeaseRequest(vf=vf))
                size = lease.layout.doorbell_stride * len(lease.layout.queue_sets)
                with mmap.mmap(
                    lease.doorbell_fd, size, offset=lease.layout.doorbell_offset
                ) as page:
                    if any(page[:]):
                        raise Defect(f"VF {vf}: doorbells of a former tenant")
                for fd in (lease.doorbell_fd, lease.region_fd, *lease.irq_fds):
                    os.close(fd)
        self.stable("free after the leases", empty, 60)
        self.rig.nk("coreengine", "stop")
        with VfioUserDevice(self.rig.rundir / PF_SOCK) as pf:
            for name in ("FLOWS_IN_USE", "HASH_IN_USE"):
                if value := pf.bar_read(getattr(abi.PF, name)):
                    raise Defect(f"{name} is {value}")
            known = []
            for n in range(256):
                pf.bar_write(abi.PF.NEIGH_INDEX, n)
                if pf.bar_read(abi.PF.NEIGH_MAC_HI) >> 31:
                    known.append(pf.bar_read(abi.PF.NEIGH_IP))
            ours = {
                int.from_bytes(bytes(map(int, ip.split("."))), "big") for ip in (PEER_IP, FLAKY_IP)
            }
            if set(known) - ours:
                raise Defect(f"neighbours that never were: {[hex(k) for k in known]}")
            for vf in range(pf.identity.vfs):
                status = pf.bar_read(abi.PF.VF_BASE + abi.PF.VF_STRIDE * vf + abi.VFE.STATUS)
                if status:
                    raise Defect(f"VF {vf} has status {status:#x}")

    def keep(self, error: Exception) -> None:
        """What a post-mortem needs, in the run's folder."""
        with suppress(NkError, OSError, RigError):
            shot = self.snapshot()
            (self.folder / "snapshot.json").write_text(json.dumps(vars(shot), indent=1))
            for vf in range(self.rig.vfs):
                trace = ask_twin(self.rig.rundir, {"cmd": "trace_nqe", "vf": vf, "count": 8192})
                (self.folder / f"nqe-vf{vf}.json").write_text(json.dumps(trace["nqes"]))
        self.say(f"FAILED, seed {self.seed}: {error}")
        for log in (COREENGINE_LOG, TWIN_LOG):
            with suppress(OSError):
                self.say(f"{log}: ...{(self.rig.rundir / log).read_text()[-600:]}")


def empty(shot: Snapshot) -> bool:
    return not shot.card["flows_in_use"] and not shot.card["hash_in_use"]


def take_interface_again(rig: Rig) -> None:
    """IPv6 off at the peer: its own frames would only disturb the counting."""
    assert rig.holder_pid
    rig.peer(["ip", "addr", "flush", "dev", rig.tap])
    take_interface(rig.holder_pid, rig.tap, PEER_IP)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "seconds", type=float, nargs="?", default=float(os.environ.get("NK_SOAK_S") or 3600)
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=int(os.environ.get("NK_SEED") or random.SystemRandom().randrange(1 << 31)),
    )
    parser.add_argument(
        "--keep", type=Path, help="folder for sockets and logs, kept (default: build/soak)"
    )
    args = parser.parse_args()
    enter_user_namespace()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # take everything down all the same
    if reason := why_not():
        print(f"The soak cannot run here: {reason}")
        return 1
    print(f"NK_SOAK_S={args.seconds:g} NK_SEED={args.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="nk-soak-"))
    folder.chmod(0o755)

    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    try:
        figures = Soak(folder, args.seconds, args.seed, say).run()
    except (Defect, RigError, NkError, subprocess.SubprocessError) as error:
        print(
            f"{error}\nrepeat with:  make soak NK_SOAK_S={args.seconds:g} NK_SEED={args.seed}\nlogs: {folder}",
            flush=True,
        )
        return 1
    print(json.dumps(figures, indent=1))
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
