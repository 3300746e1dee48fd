# SPDX-License-Identifier: Apache-2.0
"""CoreEngine and nk-hw on the real twin (a small one): leases, NQEs, and every kind of sudden death."""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from netkernel import abi, nqe
from netkernel.coreengine import CoreEngineClient
from netkernel.coreengine import schema as sc
from netkernel.coreengine.client import Lease
from netkernel.errors import CoreEngineNotRunning, TwinGone
from netkernel.rundir import COREENGINE_LOCK, TWIN_LOCK, is_locked

pytestmark = pytest.mark.slow

HOST = Path(__file__).parents[1]
SIZE = ["--width", "64", "--vfs", "4", "--flows", "256"]


class Rig:
    """A twin and a CoreEngine in a run directory, driven by nk-hw as a user would."""

    def __init__(self, rundir: Path) -> None:
        self.rundir = rundir
        self.pids: dict[str, int] = {}

    def nk_hw(self, *args: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "netkernel.cli", "--rundir", str(self.rundir), *args],
            env={**os.environ, "PYTHONPATH": str(HOST)},
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        return done.returncode, done.stdout + done.stderr

    def start(self, what: str, *args: str) -> None:
        code, out = self.nk_hw(what, "start", *args, "--json")
        assert code == 0, out
        self.pids[what] = json.loads(out)["pid"]

    def kill(self, what: str) -> None:
        os.kill(self.pids.pop(what), signal.SIGKILL)

    def client(self) -> CoreEngineClient:
        return CoreEngineClient(self.rundir, timeout=10)

    def vf(self, n: int) -> dict[str, object]:
        with self.client() as client:
            rows = client.request(sc.VfList())["vfs"]
        return next(row for row in rows if row["vf"] == n)

    def stop(self) -> None:
        for pid in self.pids.values():
            os.kill(pid, signal.SIGTERM)
        self.pids.clear()


@pytest.fixture
def rig(rundir: Path) -> Iterator[Rig]:
    made = Rig(rundir)
    try:
        made.start("twin", *SIZE)
        made.start("coreengine")
        yield made
    finally:
        made.stop()
        for lock in (COREENGINE_LOCK, TWIN_LOCK):  # nothing of a test stays behind
            eventually(lambda lock=lock: not is_locked(rundir / lock))


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def create(rig: Rig, ip: str) -> None:
    with rig.client() as client:
        config = sc.VfConfig.model_validate({"ip": ip, "max_sockets": 16})
        client.request(sc.VfCreate(config=config))


def close(lease: Lease) -> None:
    for fd in (lease.doorbell_fd, lease.region_fd, *lease.irq_fds):
        os.close(fd)


def jobs(lease: Lease, entries: list[dict[str, int]]) -> list[np.void]:
    """Put NQEs into the job ring of a fresh lease, ring, and wait for as many completions."""
    layout = lease.layout
    region = mmap.mmap(lease.region_fd, layout.region_bytes)
    bells = mmap.mmap(lease.doorbell_fd, 4096, offset=layout.doorbell_offset)
    queues = layout.queue_sets[0]
    job = nqe.ring(region, queues.job.offset, queues.job.log2)
    completion = nqe.ring(region, queues.completion.offset, queues.completion.log2)
    for n, fields in enumerate(entries):
        entry = np.zeros((), abi.NQE_DTYPE)
        for name, value in {"flags": abi.Flag.PHASE, "cookie": n + 1, **fields}.items():
            entry[name] = value
        job[n] = entry
    word = np.frombuffer(bells, "<u4")
    word[abi.DB.IRQ_ARM // 4] = 1
    word[abi.DB.JOB_TAIL // 4] = len(entries)
    eventually(lambda: nqe.ready(completion, 0) >= len(entries))
    return list(completion[: len(entries)].copy())


def test_nqes_and_return_of_the_vf(rig: Rig) -> None:
    create(rig, "10.1.0.2/24")
    for _ in range(3):  # the second and third holder find a clean VF
        with rig.client() as client:
            lease = client.lease(sc.LeaseRequest(rx_log2=14, tx_log2=14))
            heap = lease.layout.heap.offset
            rings = {"data_ptr": heap, "op_data": heap + (1 << 14), "size": 14 | 14 << 8}
            answers = jobs(
                lease,
                [
                    {"op": abi.Op.SOCKET, "socket": 3, **rings},
                    {"op": abi.Op.LISTEN, "socket": 3, "op_data": 80 << 48},
                    {"op": abi.Op.SOCKET, "socket": 16, **rings},
                    {"op": 0x3E},
                ],
            )
            statuses = [abi.COOKIE_STATUS.get(int(a["cookie"])) for a in answers]
            assert statuses == [
                abi.Status.OK,
                abi.Status.OK,
                abi.Status.BAD_SOCKET,
                abi.Status.BAD_OP,
            ]
            assert [abi.COOKIE_VALUE.get(int(a["cookie"])) for a in answers] == [1, 2, 3, 4]
            eventually(lambda: rig.vf(0)["sockets"] == 1)
            os.set_blocking(lease.irq_fds[0], True)
            assert os.eventfd_read(lease.irq_fds[0]) >= 1
            client.request(sc.ReleaseRequest())
            close(lease)
        assert (rig.vf(0)["state"], rig.vf(0)["sockets"]) == ("free", 0)
    _, out = rig.nk_hw("stats", "--json")
    stats = json.loads(out)
    assert stats["nqes"]["LISTEN"] == 3
    assert stats["counters"]["flows_opened"] == stats["counters"]["flows_closed"] == 3
    code, out = rig.nk_hw("trace", "nqe", "0")
    assert code == 0
    assert "BAD_SOCKET" in out


def test_killed_coreengine(rig: Rig) -> None:
    create(rig, "10.1.0.2/24")
    create(rig, "10.1.0.3/24")
    holder = rig.client()
    lease = holder.lease(sc.LeaseRequest(vf=1))
    rig.kill("coreengine")
    with pytest.raises(CoreEngineNotRunning):
        holder.request(sc.StatusRequest())
    holder.close()
    close(lease)
    rig.start("coreengine")
    assert [rig.vf(n)["ip"] for n in (0, 1)] == ["10.1.0.2/24", "10.1.0.3/24"]
    with rig.client() as client:  # and both can be lent again
        for n in (0, 1):
            close(client.lease(sc.LeaseRequest(vf=n)))
            client.request(sc.ReleaseRequest())


def test_killed_twin(rig: Rig) -> None:
    create(rig, "10.1.0.2/24")
    with rig.client() as holder:
        close(holder.lease(sc.LeaseRequest()))
        rig.kill("twin")
        with pytest.raises(TwinGone):
            holder.request(sc.StatusRequest())
    eventually(lambda: not (rig.rundir / "coreengine.sock").exists())
    rig.pids.pop("coreengine")
    code, out = rig.nk_hw("twin", "status")
    assert code == TwinGone.exit_code, out
    # The two commands that the error names bring everything back.
    rig.start("twin", *SIZE)
    rig.start("coreengine")
    create(rig, "10.1.0.2/24")


def test_second_twin_and_orderly_stop(rig: Rig) -> None:
    code, out = rig.nk_hw("twin", "start")
    assert (code, "runs already" in out) == (11, True)
    assert rig.nk_hw("coreengine", "stop")[0] == 0
    assert rig.nk_hw("twin", "stop")[0] == 0
    rig.pids.clear()
    assert rig.nk_hw("list")[1].startswith("no device")
