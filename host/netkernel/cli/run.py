# SPDX-License-Identifier: Apache-2.0
"""nk-hw run: an unmodified program whose TCP sockets are those of a VF."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from netkernel.cli.common import rundir
from netkernel.coreengine import CoreEngineClient
from netkernel.coreengine import schema as sc
from netkernel.coreengine.client import Lease
from netkernel.errors import BuildFailed


def find_guestd() -> Path:
    """nk-guestd: NK_GUESTD, the build of this checkout, or on PATH."""
    if chosen := os.environ.get("NK_GUESTD"):
        return Path(chosen)
    built = Path(__file__).resolve().parents[3] / "guestlib/build/nk-guestd"
    if built.exists():
        return built
    if found := shutil.which("nk-guestd"):
        return Path(found)
    raise BuildFailed("nk-guestd is not built", "Build it: `make -C guestlib`")


def layout_text(layout: sc.Layout) -> str:
    """The layout as nk-guestd reads it: key=value lines."""
    lines = {
        "vf": layout.vf,
        "ip": layout.ip,
        "prefix": layout.prefix,
        "gateway": layout.gateway,
        "mtu": layout.mtu,
        "max_sockets": layout.max_sockets,
        "nqs": len(layout.queue_sets),
        "db_offset": layout.doorbell_offset,
        "db_stride": layout.doorbell_stride,
        "region_bytes": layout.region_bytes,
        "heap_offset": layout.heap.offset,
        "heap_bytes": layout.heap.bytes,
        "rx_log2": layout.rx_log2,
        "tx_log2": layout.tx_log2,
        "cc": layout.cc,
    }
    for n, queues in enumerate(layout.queue_sets):
        for name in ("job", "completion", "send", "receive"):
            queue: sc.Ring = getattr(queues, name)
            lines[f"qs{n}_{name}_offset"] = queue.offset
            lines[f"qs{n}_{name}_log2"] = queue.log2
        lines[f"qs{n}_status_offset"] = queues.status
    return "".join(f"{key}={value}\n" for key, value in lines.items())


def guestd_argv(guestd: Path, lease: Lease, lease_fd: int, program: list[str]) -> list[str]:
    """The command line of nk-guestd. The descriptors on it are made inheritable."""
    layout_fd = os.memfd_create("netkernel-layout", 0)
    os.write(layout_fd, layout_text(lease.layout).encode())
    os.lseek(layout_fd, 0, os.SEEK_SET)
    options = [
        ("--layout-fd", layout_fd),
        ("--bar-fd", lease.doorbell_fd),
        ("--region-fd", lease.region_fd),
        *(("--irq-fd", fd) for fd in lease.irq_fds),
        ("--lease-fd", lease_fd),
    ]
    argv = [str(guestd)]
    for name, fd in options:
        os.set_inheritable(fd, True)
        argv += [name, str(fd)]
    return [*argv, "--", *program]


def run(
    ctx: typer.Context,
    program: Annotated[list[str], typer.Argument(metavar="-- PROGRAM [ARGS]...")],
    vf: Annotated[int | None, typer.Option(help="Use this VF; any free one by default.")] = None,
    rx_log2: Annotated[int, typer.Option(min=12, max=24, help="log2 of a socket's RX ring.")] = 18,
    tx_log2: Annotated[int, typer.Option(min=12, max=24, help="log2 of a socket's TX ring.")] = 18,
) -> None:
    """Run a program on a VF: its TCP sockets are served by the card. The exit code is its own."""
    client = CoreEngineClient(rundir(ctx))
    guestd = find_guestd()
    lease = client.lease(sc.LeaseRequest(vf=vf, rx_log2=rx_log2, tx_log2=tx_log2))
    client.sock.settimeout(None)
    argv = guestd_argv(guestd, lease, client.sock.fileno(), program)
    try:
        os.execv(guestd, argv)
    except OSError as error:
        client.close()
        raise BuildFailed(f"cannot start {guestd}: {error.strerror}") from error
