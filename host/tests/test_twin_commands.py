# SPDX-License-Identifier: Apache-2.0
"""nk-hw twin and trace against a stand-in for the twin's control socket; PCI cards in sysfs."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from netkernel import abi, errors
from netkernel.jsonline import ask_twin

Run = Callable[..., tuple[int, str, str]]


class Control:
    """Answers from a table: command -> answer, bytes as they are."""

    def __init__(self, rundir: Path) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answers: dict[str, Any] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(rundir / "twin.sock"))
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock, sock.makefile("rb") as lines:
                request = json.loads(lines.readline())
                self.requests.append(request)
                answer = self.answers.get(request["cmd"], {"ok": True})
                raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b"\n"
                sock.sendall(raw)

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def control(rundir: Path) -> Iterator[Control]:
    made = Control(rundir)
    yield made
    made.stop()


def test_status(nk_hw: Run, control: Control) -> None:
    control.answers["status"] = {"ok": True, "clocks": 5, "parameters": {"width": 512}}
    assert json.loads(nk_hw("twin", "status", "--json")[1]) == {
        "clocks": 5,
        "parameters": {"width": 512},
    }
    assert "parameters.width  512" in nk_hw("twin", "status")[1]


def test_link(nk_hw: Run, control: Control) -> None:
    state = {"loss": 0.01, "counters": {"lost": 3}}
    control.answers["link"] = {"ok": True, "rx": state, "tx": {**state, "loss": 0.0}}
    code, out, _ = nk_hw("twin", "link", "--dir", "rx", "--loss", "0.01", "--seed", "7")
    assert code == 0
    assert control.requests == [{"cmd": "link", "dir": "rx", "loss": 0.01, "seed": 7}]
    assert "counters.lost" in out
    nk_hw("twin", "link")
    assert control.requests[1] == {"cmd": "link", "dir": "both"}
    assert nk_hw("twin", "link", "--loss", "2")[0] == 2


def test_pcap(nk_hw: Run, control: Control, tmp_path: Path) -> None:
    code, out, _ = nk_hw("trace", "pcap", str(tmp_path / "x.pcap"))
    assert (code, control.requests[0]["path"]) == (0, str(tmp_path / "x.pcap"))
    assert "x.pcap" in out
    assert nk_hw("trace", "pcap", "--stop")[0] == 0
    assert control.requests[1]["path"] is None


def test_nqes(nk_hw: Run, control: Control) -> None:
    entry = np.zeros(1, abi.NQE_DTYPE)
    entry["op"], entry["socket"], entry["size"] = abi.Op.SEND, 4, 1000
    row = {"seq": 9, "time_us": 1_700_000_000_123_456, "vf": 2, "queue_set": 0, "queue": "send"}
    control.answers["trace_nqe"] = {"ok": True, "nqes": [{**row, "nqe": entry.tobytes().hex()}]}
    code, out, _ = nk_hw("trace", "nqe", "2", "--count", "5")
    assert code == 0
    assert control.requests == [{"cmd": "trace_nqe", "vf": 2, "count": 5}]
    assert ".123456  send" in out
    assert "SEND" in out
    assert "1000 bytes" in out
    shown = json.loads(nk_hw("trace", "nqe", "2", "--json")[1])["nqes"]
    assert (shown[0]["op"], shown[0]["size"], shown[0]["queue"]) == ("SEND", 1000, "send")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"no json\n", errors.ProtocolError),
        (b"[]\n", errors.ProtocolError),
        (b"", errors.TwinGone),
        (b'{"ok":true', errors.TwinGone),
        ({"ok": False}, errors.ProtocolError),
        ({"ok": False, "error": {"code": "bad_request", "message": "x"}}, errors.BadRequest),
        ({"ok": True, "nqes": [{"seq": 1}]}, errors.ProtocolError),
        (
            {"ok": True, "nqes": [{"seq": 1, "time_us": 0, "queue": "job", "nqe": "zz"}]},
            errors.ProtocolError,
        ),
        (
            {"ok": True, "nqes": [{"seq": 1, "time_us": 0, "queue": "job", "nqe": "00"}]},
            errors.ProtocolError,
        ),
    ],
)
def test_wrong_answers(
    nk_hw: Run, control: Control, answer: Any, kind: type[errors.NkError]
) -> None:
    control.answers["trace_nqe"] = answer
    code, _, err = nk_hw("trace", "nqe", "0")
    assert code == kind.exit_code, err


def test_twin_that_left_its_socket(nk_hw: Run, rundir: Path) -> None:
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stale.bind(str(rundir / "twin.sock"))
    stale.close()
    assert nk_hw("twin", "status")[0] == errors.TwinGone.exit_code


def test_silent_twin(rundir: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(rundir / "twin.sock"))
        listener.listen(1)
        with pytest.raises(errors.TwinGone, match=r"0\.1 s"):
            ask_twin(rundir, {"cmd": "status"}, timeout=0.1)


@pytest.mark.usefixtures("control")
def test_start_twice(nk_hw: Run) -> None:
    assert nk_hw("twin", "start")[0] == errors.AlreadyRunning.exit_code


def test_start_that_fails(nk_hw: Run, rundir: Path) -> None:
    # 48 bits are no width: the twin says so itself, in its own words and with its own exit code
    code, _, err = nk_hw("twin", "start", "--width", "48")
    assert code == errors.BadRequest.exit_code, err
    assert err.startswith("error: ")
    assert (rundir / "twin.log").exists()


def test_pci_cards_are_listed(nk_hw: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for bdf, ids in {"0000:03:00.0": ("0x4e4b", "0x0001"), "0000:00:1f.0": ("0x8086", "1")}.items():
        (tmp_path / bdf).mkdir()
        (tmp_path / bdf / "vendor").write_text(ids[0] + "\n")
        (tmp_path / bdf / "device").write_text(ids[1] + "\n")
    monkeypatch.setattr("netkernel.cli.devices._SYSFS", tmp_path)
    assert json.loads(nk_hw("list", "--json")[1])["devices"] == [
        {"device": "0000:03:00.0", "where": "PCI, driver none"}
    ]
    assert "0000:03:00.0" in nk_hw("list")[1]
