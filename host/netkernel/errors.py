# SPDX-License-Identifier: Apache-2.0
"""One tree of errors. Each kind has a code that crosses sockets and an exit code of its own.

NkError
├── UnknownDevice         3   no such device, VF or socket file
├── PermissionDenied      4   the operating system says no
├── PortInUse             5   an address or name is taken by somebody else
├── AbiMismatch           6   the device speaks an ABI that this software does not know
├── TwinGone              7   the device stopped answering (a dead twin, a removed card)
├── CoreEngineNotRunning  8   nobody answers on coreengine.sock
├── BadRequest            9   the request is wrong in itself
├── NothingFree          10   no VF, socket range or memory is left
├── AlreadyRunning       11   a second instance was refused
├── ProtocolError        12   the other side sent what the protocol does not allow
├── DeviceRefused        13   the device refused an operation
├── NotSupported         14   this kind of device cannot do that
├── BuildFailed          15   building or starting a part of NetKernel-HW failed
└── Busy                 16   in use right now
"""

from __future__ import annotations

from typing import ClassVar, Final


class NkError(Exception):
    """What a user is told: one sentence, and what to do next."""

    code: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 1
    meaning: ClassVar[str] = "unexpected failure"
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint

    def as_dict(self) -> dict[str, str]:
        """The form that crosses sockets and `--json`."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class UnknownDevice(NkError):
    code = "unknown_device"
    exit_code = 3
    meaning = "no such device, VF or socket file"
    default_hint = "`nk-hw list` shows what there is."


class PermissionDenied(NkError):
    code = "permission_denied"
    exit_code = 4
    meaning = "the operating system refused access"
    default_hint = "Run as the user that started it, or as root."


class PortInUse(NkError):
    code = "port_in_use"
    exit_code = 5
    meaning = "an address or a name is taken by somebody else"
    default_hint = "Choose another one, or stop who holds it."


class AbiMismatch(NkError):
    code = "abi_mismatch"
    exit_code = 6
    meaning = "the device speaks an ABI that this software does not know"
    default_hint = "Build device and software from one revision (for the twin: `nk-hw twin start`)."


class TwinGone(NkError):
    code = "twin_gone"
    exit_code = 7
    meaning = "the device stopped answering"
    default_hint = "Start it again: `nk-hw twin start`, then `nk-hw coreengine start`."


class CoreEngineNotRunning(NkError):
    code = "coreengine_not_running"
    exit_code = 8
    meaning = "CoreEngine does not answer"
    default_hint = "Start it: `nk-hw coreengine start`"


class BadRequest(NkError):
    code = "bad_request"
    exit_code = 9
    meaning = "the request is wrong in itself"


class NothingFree(NkError):
    code = "nothing_free"
    exit_code = 10
    meaning = "no VF, socket range or memory is left"
    default_hint = "`nk-hw vf list` shows who holds what."


class AlreadyRunning(NkError):
    code = "already_running"
    exit_code = 11
    meaning = "a second instance was refused"


class ProtocolError(NkError):
    code = "protocol_error"
    exit_code = 12
    meaning = "the other side sent what the protocol does not allow"
    default_hint = "Both sides should be of one revision; restart both."


class DeviceRefused(NkError):
    code = "device_refused"
    exit_code = 13
    meaning = "the device refused an operation"


class NotSupported(NkError):
    code = "not_supported"
    exit_code = 14
    meaning = "this kind of device cannot do that"


class BuildFailed(NkError):
    code = "build_failed"
    exit_code = 15
    meaning = "building or starting a part of NetKernel-HW failed"


class Busy(NkError):
    code = "busy"
    exit_code = 16
    meaning = "in use right now"


KINDS: Final[tuple[type[NkError], ...]] = (
    UnknownDevice,
    PermissionDenied,
    PortInUse,
    AbiMismatch,
    TwinGone,
    CoreEngineNotRunning,
    BadRequest,
    NothingFree,
    AlreadyRunning,
    ProtocolError,
    DeviceRefused,
    NotSupported,
    BuildFailed,
    Busy,
)

_BY_CODE: Final = {kind.code: kind for kind in KINDS}

# Exit code -> meaning: the one table (`nk-hw exit-codes`). 2 is what the option parser uses.
EXIT_CODES: Final[dict[int, str]] = {
    0: "done",
    1: NkError.meaning,
    2: "wrong use of the command line",
    **{kind.exit_code: kind.meaning for kind in KINDS},
}


def from_dict(error: dict[str, str]) -> NkError:
    """The error that `as_dict` described; NkError itself for a code that we do not know."""
    kind = _BY_CODE.get(error.get("code", ""), NkError)
    return kind(error.get("message", "no reason given"), error.get("hint", ""))
