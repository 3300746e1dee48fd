# SPDX-License-Identifier: Apache-2.0
"""A test run that is killed leaves no twin, no CoreEngine, no program and no interface behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from netkernel.rundir import COREENGINE_LOCK, TWIN_LOCK, is_locked
from rig import Rig, why_not

OWNER = """
import sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from rig import Rig
with Rig(Path(sys.argv[2]), vfs=1) as rig:
    peer = rig.spawn(rig.peer_cmd(["sleep", "1000"]), "peer.log")
    card = rig.spawn(rig.card_cmd(["sleep", "1000"]), "card.log")
    rig.until(lambda: rig.nk_json("vf", "list")["vfs"][0]["state"] == "leased", "the lease")
    print(peer.pid, card.pid, rig.holder_pid, rig.tap, flush=True)
    time.sleep(1000)
"""


def running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in "ZX"


def test_killed_owner(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.fail(f"no end-to-end test can run here: {reason}")
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(Path(__file__).parent), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout
        *pids, tap = owner.stdout.readline().split()
        assert is_locked(tmp_path / "run" / TWIN_LOCK)
        assert is_locked(tmp_path / "run" / COREENGINE_LOCK)
        assert all(running(int(pid)) for pid in pids)
        owner.send_signal(signal.SIGKILL)
        owner.wait()

    def over() -> bool:
        locks = [is_locked(tmp_path / "run" / lock) for lock in (TWIN_LOCK, COREENGINE_LOCK)]
        return not any(locks) and not any(running(int(pid)) for pid in pids)

    Rig.until(over, "the end of everything that a killed owner had started", 40)
    time.sleep(0.1)
    assert tap not in Path("/proc/net/dev").read_text()
