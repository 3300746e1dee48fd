# SPDX-License-Identifier: Apache-2.0
"""`python -m netkernel.twin`: start, control socket, signals, death, what is left behind."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from netkernel import abi
from netkernel.device import VfioUserDevice
from netkernel.errors import EXIT_CODES, AlreadyRunning, BadRequest, NkError, TwinGone
from netkernel.jsonline import ask_twin
from netkernel.twin.library import TwinLibrary
from netkernel.twin.process import LOCK, PIDFILE
from netkernel.twin.wire import open_tap
from stub_card import STUB, Stub, eventually

START_SECONDS = 300  # a first start compiles


class Twin:
    """A twin in a process of its own."""

    def __init__(self, rundir: Path, *options: str, pass_fds: tuple[int, ...] = ()) -> None:
        self.rundir = rundir
        command = ["setpriv", "--pdeathsig", "KILL", "--"]  # a killed pytest leaves no twin
        command += [sys.executable, "-m", "netkernel.twin", "--rundir", str(rundir)]
        command += ["--rtl", str(STUB), "--nvf", "2", "--nqs", "2", "--flows", "64"]
        command += options
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            text=True,
        )

    def until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not (self.rundir / "twin.sock").exists():
            if self.process.poll() is not None:
                pytest.fail(f"the twin ended: {self.output()}")
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def ask(self, cmd: str, **request: Any) -> dict[str, Any]:
        return ask_twin(self.rundir, {"cmd": cmd, **request})

    def output(self) -> str:
        return self.process.communicate(timeout=20)[0]

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=20)


Start = Callable[..., Twin]


@pytest.fixture
def start(rundir: Path) -> Iterator[Start]:
    started: list[Twin] = []

    def run(*options: str, ready: bool = True, pass_fds: tuple[int, ...] = ()) -> Twin:
        started.append(Twin(rundir, *options, pass_fds=pass_fds))
        if ready:
            started[-1].until_ready()
        return started[-1]

    yield run
    for twin in started:
        twin.end()


def exit_code(kind: type[NkError]) -> int:
    assert kind.exit_code in EXIT_CODES
    return kind.exit_code


# ---------------------------------------------------------------------------------------- life


def test_start_and_stop(start: Start, rundir: Path) -> None:
    twin = start("--seed", "7")
    names = {p.name for p in rundir.iterdir()}
    assert names == {"pf.sock", "vf0.sock", "vf1.sock", "twin.sock", LOCK, PIDFILE}
    assert (rundir / PIDFILE).read_text() == f"{twin.process.pid}\n"
    for path in rundir.glob("*.sock"):
        assert path.stat().st_mode & 0o077 == 0
    assert twin.ask("status")["pid"] == twin.process.pid
    twin.ask("stop")
    text = twin.output()
    assert twin.process.returncode == 0
    assert "ready in" in text
    assert "link model seed 7" in text
    assert not any(rundir.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(start: Start, rundir: Path, number: signal.Signals) -> None:
    twin = start()
    with VfioUserDevice(rundir / "vf0.sock") as device:
        twin.process.send_signal(number)
        assert twin.process.wait(timeout=20) == 0
        with pytest.raises(TwinGone):
            device.bar_read(0)
    assert f"ends: {number.name}" in twin.output()
    assert not any(rundir.iterdir())


def test_card_time_may_start_anywhere(start: Start) -> None:
    """Half a second before its 32 bits wrap: the core's clock wraps, the twin's goes on."""
    twin = start("--start-us", str((1 << 32) - 500_000))
    eventually(lambda: twin.ask("status")["now_us"] > (1 << 32) + 100_000, seconds=20)


def test_a_second_one_is_refused(start: Start, rundir: Path) -> None:
    first = start()
    second = start(ready=False)
    text = second.output()
    assert second.process.returncode == exit_code(AlreadyRunning)
    assert f"a twin runs already in {rundir} (process {first.process.pid})" in text
    assert first.ask("status")["ok"]


def test_death_is_seen_by_clients_and_leaves_no_obstacle(start: Start, rundir: Path) -> None:
    twin = start()
    with VfioUserDevice(rundir / "pf.sock") as pf, VfioUserDevice(rundir / "vf0.sock") as vf:
        twin.process.kill()
        twin.process.wait()
        for device in (pf, vf):
            begun = time.monotonic()
            with pytest.raises(TwinGone):
                device.bar_read(0)
            assert time.monotonic() - begun < 1
    with pytest.raises(TwinGone):
        twin.ask("status")
    assert (rundir / "twin.sock").exists(), "a killed process cannot tidy up"
    (rundir / "twin.sock").unlink()  # so that `start` waits for the new one
    again = start()
    with VfioUserDevice(rundir / "vf0.sock") as device:
        assert device.bar_read(0) == abi.MAGIC
    again.ask("stop")
    again.output()
    assert not any(rundir.iterdir())


def test_a_stopped_process_does_not_see_time_jump(start: Start) -> None:
    twin = start()
    before = twin.ask("status")
    twin.process.send_signal(signal.SIGSTOP)
    time.sleep(1.2)
    twin.process.send_signal(signal.SIGCONT)
    after = twin.ask("status")
    assert after["time_skipped_us"] - before["time_skipped_us"] > 400_000
    # Half a second of sleep and the guard may pass at once, not more.
    assert after["now_us"] - before["now_us"] < 900_000


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        (["--seed", "-1"], BadRequest, "seed -1"),
        (["--w", "100"], BadRequest, "bus width 100"),
        (["--nvf", "253"], BadRequest, "253 VFs"),
        (["--flows", "1000"], BadRequest, "1000 flows"),
        (["--wire-fd", "77"], BadRequest, "77 is not open"),
        (["--wire-fd", "0"], BadRequest, "neither a datagram socket nor a TAP"),
        (["--tap", "a-name-of-many-letters"], BadRequest, "no name of a network interface"),
        (["--pcap", "/nowhere/x.pcap"], BadRequest, "/nowhere/x.pcap"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(
    start: Start, rundir: Path, options: list[str], kind: type[NkError], text: str
) -> None:
    twin = Twin(rundir, *options)
    with contextlib.ExitStack() as stack:
        stack.callback(twin.end)
        output = twin.output()
    last = [line for line in output.splitlines() if line.startswith("error: ")]
    assert text in last[-1], output
    assert "Traceback" not in output
    assert twin.process.returncode == exit_code(kind)
    assert not any(rundir.iterdir())


# ------------------------------------------------------------------------------------- control socket


def test_status(start: Start, rundir: Path) -> None:
    twin = start("--seed", "99")
    with VfioUserDevice(rundir / "vf1.sock"):
        status = twin.ask("status")
    assert status["seed"] == 99
    assert status["wire"] == "none"
    assert status["link_up"] == 0
    assert status["clients"] == ["vf1"]
    assert status["parameters"] == {"width": 512, "vfs": 2, "queue_sets": 2, "flows": 64}
    assert status["clocks"] > 0
    assert status["clocks_per_second"] > 0
    assert 0 < status["busy_fraction"] < 1
    for name in ("frames_rx", "frames_tx", "dma_errors", "pcap"):
        assert not status[name]
    assert len(status["build_id"]) == 8


def test_link_commands(start: Start) -> None:
    twin = start("--seed", "5")
    shown = twin.ask("link")
    assert shown["rx"]["loss"] == shown["tx"]["loss"] == 0
    assert shown["rx"]["seed"] == shown["tx"]["seed"] == 5
    twin.ask("link", dir="rx", loss=0.25, delay_us=10)
    twin.ask("link", loss=0.5, dir="tx")
    answer = twin.ask("link", rate_mbps=100, seed=123)
    for name, loss, delay in (("rx", 0.25, 10), ("tx", 0.5, 0)):
        link = answer[name]
        assert (link["loss"], link["delay_us"], link["rate_mbps"]) == (loss, delay, 100)
        assert link["seed"] == 123
    assert twin.ask("status")["link"] == {k: answer[k] for k in ("rx", "tx")}


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"cmd": "dance"}, "cmd must be one of"),
        ({}, "cmd must be one of"),
        ({"cmd": "link", "dir": "up"}, "dir must be"),
        ({"cmd": "link", "loss": 2}, "loss = 2"),
        ({"cmd": "link", "loss": "much"}, "loss must be a number"),
        ({"cmd": "link", "loss": True}, "loss must be a number"),
        ({"cmd": "link", "delay_us": 0.5}, "delay_us must be a number"),
        ({"cmd": "link", "delay_us": -1}, "delay_us = -1"),
        ({"cmd": "link", "seed": 1 << 70}, "seed"),
        ({"cmd": "link", "colour": 1}, "colour is none of"),
        ({"cmd": "trace_pcap", "path": "relative"}, "absolute path"),
        ({"cmd": "trace_pcap", "path": 5}, "absolute path"),
        ({"cmd": "trace_pcap", "path": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"cmd": "trace_pcap", "path": "/dev/null"}, "not a regular file"),
        ({"cmd": "trace_nqe", "vf": 2}, "vf must be"),
        ({"cmd": "trace_nqe", "vf": "x"}, "vf must be"),
        ({"cmd": "trace_nqe", "count": 0}, "count must be"),
        ({"cmd": "trace_nqe", "after": -1}, "after must be"),
        ({"cmd": "status", "more": 1}, "unknown field more"),
    ],
)
@pytest.mark.usefixtures("shared_twin")
def test_requests_that_are_refused(shared_twin: Twin, request_: dict[str, Any], text: str) -> None:
    with pytest.raises(NkError) as info:
        ask_twin(shared_twin.rundir, request_)
    assert text in info.value.message


@pytest.fixture(scope="module")
def shared_twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    twin = Twin(tmp_path_factory.mktemp("t", numbered=True))
    twin.until_ready()
    yield twin
    twin.end()


@contextlib.contextmanager
def raw(twin: Twin) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(twin.rundir / "twin.sock"))
        yield sock


def test_lines_that_are_no_requests(shared_twin: Twin) -> None:
    for line in (b"hello\n", b"[1]\n", b"\xff\xff\n", b"null\n", b"\n", b'{"cmd": {"a": 1}}\n'):
        with raw(shared_twin) as sock, sock.makefile("rb") as lines:
            sock.sendall(line)
            answer = json.loads(lines.readline())
            assert answer["ok"] is False
            assert answer["error"]["code"] == "bad_request"
            sock.sendall(b'{"cmd": "status"}\n')  # the connection lives on
            assert json.loads(lines.readline())["ok"]


def test_an_endless_line_is_cut_off(shared_twin: Twin) -> None:
    with raw(shared_twin) as sock, sock.makefile("rb") as lines:
        with contextlib.suppress(ConnectionError):
            sock.sendall(b"x" * (1 << 17))
        with contextlib.suppress(ConnectionError):
            answer = lines.readline()
            assert not answer or json.loads(answer)["ok"] is False
    assert shared_twin.ask("status")["ok"]


def test_nqes_are_traced_and_followed(start: Start, rundir: Path) -> None:
    twin = start()
    with VfioUserDevice(rundir / "vf1.sock") as vf:
        tail = abi.VF.DB_BASE + abi.DB.JOB_TAIL
        for n in range(1, 6):
            vf.bar_write(tail, n)
            vf.bar_read(0)
        got = twin.ask("trace_nqe", vf=1, count=2)["nqes"]
        assert [(e["seq"], e["queue"], e["queue_set"], e["vf"]) for e in got] == [
            (4, "job", 0, 1),
            (5, "job", 0, 1),
        ]
        assert bytes.fromhex(got[1]["nqe"]) == struct.pack("<I", 5) * 8
        assert [e["seq"] for e in twin.ask("trace_nqe", vf=1, after=1, count=2)["nqes"]] == [2, 3]
        assert twin.ask("trace_nqe", vf=0)["nqes"] == []
        with raw(twin) as sock, sock.makefile("rb") as lines:
            sock.sendall(b'{"cmd": "trace_nqe", "vf": 1, "count": 1, "follow": true}\n')
            assert [e["seq"] for e in json.loads(lines.readline())["nqes"]] == [5]
            vf.bar_write(tail, 6)
            assert [e["seq"] for e in json.loads(lines.readline())["nqes"]] == [6]


def test_a_wire_that_is_handed_over(start: Start, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    first = tmp_path / "first.pcap"
    with ours:
        with theirs:
            twin = start(
                "--wire-fd", str(theirs.fileno()), "--pcap", str(first), pass_fds=(theirs.fileno(),)
            )
        ours.settimeout(5)
        ours.send(b"f" * 100)
        assert ours.recv(2000) == b"f" * 100
        status = twin.ask("status")
        assert (status["frames_rx"], status["frames_tx"], status["link_up"]) == (1, 1, 1)
        assert status["pcap_on"] == 1
        second = tmp_path / "second.pcap"
        assert twin.ask("trace_pcap", path=str(second))["path"] == str(second)
        assert twin.ask("status")["pcap"] == str(second)
        ours.send(b"g" * 60)
        ours.recv(2000)
        assert twin.ask("trace_pcap", path=None)["path"] is None
        assert twin.ask("status")["pcap"] is None
        assert first.stat().st_size == 24 + 2 * (16 + 100)
        assert second.stat().st_size == 24 + 2 * (16 + 60)
        twin.ask("link", dir="rx", loss=1)
        ours.send(b"h" * 60)
        eventually(lambda: twin.ask("status")["link"]["rx"]["counters"]["lost"] == 1)


def test_the_clock_can_be_seen_working(start: Start, rundir: Path) -> None:
    twin = start()
    with VfioUserDevice(rundir / "pf.sock") as pf:
        before = twin.ask("status")
        pf.bar_write(Stub.SPIN, 200_000)
        eventually(lambda: bool(twin.ask("status")["asleep"]))
        after = twin.ask("status")
    assert after["clocks"] - before["clocks"] >= 200_000
    assert after["busy_seconds"] > before["busy_seconds"]


# ------------------------------------------------------------------------------------------------ TAP

_SIOCGIFFLAGS = 0x8913


def _tap_possible() -> bool:
    try:
        os.close(open_tap("nkprobe0"))
    except NkError:
        return False
    return True


needs_tap = pytest.mark.skipif(not _tap_possible(), reason="no permission to create TAP devices")


@needs_tap
def test_tap(start: Start) -> None:
    name = f"nkt{os.getpid() % 100000}"
    twin = start("--tap", name)
    assert twin.ask("status")["wire"] == f"tap {name}"
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sock:
        sock.bind((name, 0))
        answer = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16s24x", name.encode()))
        assert struct.unpack_from("H", answer, 16)[0] & 1, "it is up"
        frame = b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x88\xb5" + bytes(46)
        sock.settimeout(5)
        sock.send(frame)
        while True:
            data, address = sock.recvfrom(2000)
            if data == frame and address[2] != socket.PACKET_OUTGOING:
                break
    twin.ask("stop")
    twin.output()
    assert name not in [n for _, n in socket.if_nameindex()]


@needs_tap
def test_a_tap_of_somebody_else(start: Start, rundir: Path) -> None:
    name = f"nku{os.getpid() % 100000}"
    fd = open_tap(name)
    twin = start("--tap", name, ready=False)
    output = twin.output()
    os.close(fd)
    assert f"error: the TAP device {name} is in use by another process" in output
    assert twin.process.returncode == 5
    assert not any(rundir.iterdir())


def test_tap_names(library: TwinLibrary) -> None:
    for name in ("", "a" * 16, "a/b", "a b"):
        with pytest.raises(BadRequest):
            open_tap(name)
