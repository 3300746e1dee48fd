# SPDX-License-Identifier: Apache-2.0
"""One request and its answer over a Unix socket of JSON lines: the twin's control socket."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any, Final

from netkernel.errors import PermissionDenied, ProtocolError, TwinGone, UnknownDevice, from_dict
from netkernel.rundir import TWIN_SOCK

_ANSWER_MAX: Final = 64 << 20  # a trace of many NQEs


def ask_twin(rundir: Path, request: dict[str, Any], timeout: float = 10.0) -> dict[str, Any]:
    """The twin's answer to `request`; its error as an exception."""
    path = rundir / TWIN_SOCK
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect(str(path))
        except FileNotFoundError as error:
            raise UnknownDevice(
                f"no twin runs in {rundir}", "Start it: `nk-hw twin start`"
            ) from error
        except PermissionError as error:
            raise PermissionDenied(f"no permission to open {path}") from error
        except OSError as error:
            raise TwinGone(f"nobody answers at {path}: {error.strerror or error}") from error
        try:
            sock.sendall(json.dumps(request).encode() + b"\n")
            line = b""
            while not line.endswith(b"\n"):
                part = sock.recv(1 << 16)
                if not part or len(line) > _ANSWER_MAX:
                    raise TwinGone("the twin ended before it answered")
                line += part
        except TimeoutError as error:
            raise TwinGone(f"the twin has not answered for {timeout:g} s") from error
        except OSError as error:
            raise TwinGone(f"the connection to the twin broke: {error.strerror}") from error
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise ProtocolError("the twin's answer is no JSON") from error
    if not isinstance(answer, dict):
        raise ProtocolError("the twin's answer is no JSON object")
    if isinstance(answer.get("error"), dict):
        raise from_dict(answer["error"])
    if answer.get("ok") is False:
        raise ProtocolError(f"the twin says: {answer.get('error', 'no')}")
    return answer
