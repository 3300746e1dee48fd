# SPDX-License-Identifier: Apache-2.0
"""Where the sockets of one NetKernel-HW instance live."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from netkernel.errors import BadRequest, PermissionDenied

COREENGINE_SOCK: Final = "coreengine.sock"
COREENGINE_LOCK: Final = "coreengine.lock"
COREENGINE_LOG: Final = "coreengine.log"
NSM_PROFILES: Final = "nsm.json"
TWIN_SOCK: Final = "twin.sock"
TWIN_LOG: Final = "twin.log"
TWIN_LOCK: Final = "twin.lock"
PF_SOCK: Final = "pf.sock"

_SUN_PATH_MAX: Final = 107  # sockaddr_un.sun_path less its NUL


def vf_sock(vf: int) -> str:
    """File name of a VF's vfio-user socket."""
    return f"vf{vf}.sock"


def default_rundir() -> Path:
    """NK_RUNDIR, else /run/netkernel for root, else $XDG_RUNTIME_DIR/netkernel."""
    if chosen := os.environ.get("NK_RUNDIR"):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/run/netkernel")
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "netkernel"
    return Path(f"/tmp/netkernel-{os.geteuid()}")


def is_locked(path: Path) -> bool:
    """A daemon of ours holds this lock file, so has not ended yet."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def prepare(rundir: Path) -> Path:
    """Create the folder, for its owner alone. Refuses one that belongs to somebody else."""
    longest = len(os.fsencode(str(rundir.absolute() / COREENGINE_SOCK)))
    if longest > _SUN_PATH_MAX:
        raise BadRequest(
            f"the path {rundir} is too long for Unix sockets ({longest} > {_SUN_PATH_MAX} bytes)",
            "Set NK_RUNDIR to a shorter one.",
        )
    try:
        rundir.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = rundir.stat().st_uid
    except PermissionError as error:
        raise PermissionDenied(
            f"cannot create {rundir}: {error.strerror}",
            "Run as root, or set NK_RUNDIR to a folder of your own.",
        ) from error
    except FileExistsError as error:
        raise BadRequest(f"{rundir} is not a folder", "Set NK_RUNDIR to another path.") from error
    if owner != os.geteuid() and os.geteuid() != 0:
        raise PermissionDenied(
            f"{rundir} belongs to user {owner}", "Set NK_RUNDIR to a folder of your own."
        )
    return rundir
