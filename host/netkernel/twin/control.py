# SPDX-License-Identifier: Apache-2.0
"""The control socket: a JSON object a line in, one out. README.md has the table of commands.

Answers carry "ok": true, or "ok": false and an "error" of code, message and hint.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from netkernel import abi
from netkernel.errors import BadRequest, NkError, PermissionDenied
from netkernel.twin.library import Card, LinkConfig, TracedNqe
from netkernel.twin.listener import Listener
from netkernel.twin.server import FunctionServer

_LINE_MAX: Final = 64 << 10
_TRACE_MAX: Final = 8192  # as many as the library keeps for each VF
_FOLLOW_SECONDS: Final = 0.05
_SEED_MASK: Final = (1 << 64) - 1
_DIRECTIONS: Final = {"rx": (0,), "tx": (1,), "both": (0, 1)}
_LINK_FIELDS: Final = {field.name: field.type for field in fields(LinkConfig)}
_QUEUES: Final = {queue.value: queue.name.lower() for queue in abi.Queue}


def _direction_seed(direction: int, seed: int) -> int:
    """One seed stands for both directions; they must not lose the same frames. Its own inverse."""
    return seed if direction == 0 else ~seed & _SEED_MASK


class TwinControl:
    """What the commands do."""

    def __init__(
        self,
        card: Card,
        *,
        wire: str,
        seed: int,
        servers: list[FunctionServer],
        stop: Callable[[], None],
    ) -> None:
        self._card = card
        self._wire = wire
        self._seed = seed
        self._servers = servers
        self._stop = stop
        self._pcap: str | None = None
        self._lock = threading.Lock()  # of what changes: link and capture
        self._commands: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "status": self._status,
            "link": self._link,
            "trace_pcap": self._trace_pcap,
            "trace_nqe": self._trace_nqe,
            "stop": self._stop_twin,
        }

    def answer(self, line: bytes) -> dict[str, Any]:
        """The answer to one line."""
        try:
            try:
                request = json.loads(line)
            except ValueError as error:
                raise BadRequest("this line is no JSON") from error
            if not isinstance(request, dict):
                raise BadRequest("a request is a JSON object")
            command = self._commands.get(str(request.pop("cmd", None)))
            if command is None:
                raise BadRequest(f"cmd must be one of {', '.join(self._commands)}")
            return {"ok": True, **command(request)}
        except NkError as error:
            return {"ok": False, "error": error.as_dict()}
        except OSError as error:
            return {"ok": False, "error": NkError(error.strerror or str(error)).as_dict()}

    # ---- status

    def _status(self, request: dict[str, Any]) -> dict[str, Any]:
        _no_more(request)
        figures = self._card.status()
        info = self._card.info
        with self._lock:
            self._pcap = self._pcap if figures["pcap_on"] else None
            pcap = self._pcap
        busy, uptime = figures.pop("busy_ns") / 1e9, figures.pop("uptime_ns") / 1e9
        return {
            "pid": os.getpid(),
            "uptime_seconds": uptime,
            "busy_seconds": busy,
            "busy_fraction": busy / uptime if uptime else 0.0,
            **figures,
            "wire": self._wire,
            "seed": self._seed,
            "pcap": pcap,
            "build_id": f"{info.build_id:08x}",
            "parameters": {
                "width": info.width,
                "vfs": info.vfs,
                "queue_sets": info.queue_sets,
                "flows": info.flows,
            },
            "clients": [s.function.name for s in self._servers if s.connected],
            "link": self._link_state(),
        }

    # ---- link model

    def _link_state(self) -> dict[str, Any]:
        state = {}
        for name, direction in (("rx", 0), ("tx", 1)):
            config, counters = self._card.link(direction)
            shown = asdict(config)
            shown["seed"] = _direction_seed(direction, config.seed)
            state[name] = {**shown, "counters": counters}
        return state

    def _link(self, request: dict[str, Any]) -> dict[str, Any]:
        directions = _DIRECTIONS.get(request.pop("dir", "both"))
        if directions is None:
            raise BadRequest("dir must be rx, tx or both")
        for name, value in request.items():
            if name not in _LINK_FIELDS:
                raise BadRequest(f"{name} is none of {', '.join(_LINK_FIELDS)}")
            good = (int,) if _LINK_FIELDS[name] == "int" else (int, float)
            if isinstance(value, bool) or not isinstance(value, good):
                raise BadRequest(f"{name} must be a number, not {value!r}")
        with self._lock:
            for direction in directions if request else ():
                values = dict(request)
                if "seed" in values:
                    values["seed"] = _direction_seed(direction, values["seed"])
                try:
                    self._card.set_link(direction, self._card.link(direction)[0].changed(**values))
                except ValueError as error:
                    raise BadRequest(str(error)) from error
        return self._link_state()

    # ---- traces

    def _trace_pcap(self, request: dict[str, Any]) -> dict[str, Any]:
        path = request.pop("path", None)
        _no_more(request)
        if path is not None and (not isinstance(path, str) or not os.path.isabs(path)):
            raise BadRequest("path must be an absolute path, or null to end the capture")
        with self._lock:
            try:
                self._card.trace_pcap(Path(path) if path is not None else None)
            except PermissionError as error:
                raise PermissionDenied(f"the twin may not write {path}") from error
            except OSError as error:
                raise BadRequest(f"cannot write {path}: {error.strerror}") from error
            self._pcap = path
        return {"path": path}

    def _trace_nqe(self, request: dict[str, Any]) -> dict[str, Any]:
        vf, count = request.pop("vf", 0), request.pop("count", 100)
        after = request.pop("after", None)
        _no_more(request)
        if not isinstance(vf, int) or not 0 <= vf < self._card.info.vfs:
            raise BadRequest(f"vf must be 0 to {self._card.info.vfs - 1}")
        if not isinstance(count, int) or count < 1:
            raise BadRequest("count must be 1 or more")
        if after is not None and (not isinstance(after, int) or not 0 <= after < 1 << 63):
            raise BadRequest("after must be the seq of an NQE")
        count = min(count, _TRACE_MAX)
        if after is None:
            nqes = self._card.trace_nqes(vf, 0, _TRACE_MAX)[-count:]
        else:
            nqes = self._card.trace_nqes(vf, after, count)
        return {"nqes": [_nqe_dict(nqe) for nqe in nqes]}

    def _stop_twin(self, request: dict[str, Any]) -> dict[str, Any]:
        _no_more(request)
        self._stop()
        return {}


def _no_more(request: dict[str, Any]) -> None:
    if request:
        raise BadRequest(f"unknown field {next(iter(request))}")


def _nqe_dict(nqe: TracedNqe) -> dict[str, Any]:
    return {
        "seq": nqe.seq,
        "time_us": nqe.time_us,
        "vf": nqe.vf,
        "queue_set": nqe.queue_set,
        "queue": _QUEUES.get(nqe.queue, str(nqe.queue)),
        "nqe": nqe.nqe.hex(),
    }


class ControlServer:
    """The control socket."""

    def __init__(self, control: TwinControl, path: Path) -> None:
        self._control = control
        self._listener = Listener(path, "control", self._serve)

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock.makefile("rb") as lines:
            while line := lines.readline(_LINE_MAX):
                if not line.endswith(b"\n"):
                    self._send(sock, self._control.answer(b"too long"))
                    return
                self._serve_line(sock, line)

    def _serve_line(self, sock: socket.socket, line: bytes) -> None:
        follow: dict[str, Any] | None = None
        with contextlib.suppress(ValueError, AttributeError):
            request = json.loads(line)
            if request.get("cmd") == "trace_nqe" and request.pop("follow", False):
                follow = request
                line = json.dumps(request).encode()
        answer = self._control.answer(line)
        self._send(sock, answer)
        if follow is not None and answer["ok"]:
            self._follow(sock, follow, answer["nqes"])

    def _follow(self, sock: socket.socket, request: dict[str, Any], nqes: list[Any]) -> None:
        """New NQEs, as they come, until the client hangs up or says anything else."""
        after = nqes[-1]["seq"] if nqes else request.get("after") or 0
        while not select.select([sock], [], [], _FOLLOW_SECONDS)[0]:
            answer = self._control.answer(json.dumps({**request, "after": after}).encode())
            if answer.get("nqes"):
                after = answer["nqes"][-1]["seq"]
                self._send(sock, answer)

    @staticmethod
    def _send(sock: socket.socket, answer: dict[str, Any]) -> None:
        sock.sendall(json.dumps(answer).encode() + b"\n")

    def close(self) -> None:
        self._listener.close()
