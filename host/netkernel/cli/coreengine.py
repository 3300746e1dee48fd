# SPDX-License-Identifier: Apache-2.0
"""nk-hw coreengine: start and stop the daemon."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from netkernel.cli import spawn
from netkernel.cli.common import Json, emit_json, pairs, rundir
from netkernel.coreengine import CoreEngineClient
from netkernel.coreengine import schema as sc
from netkernel.coreengine.metrics import metrics_address
from netkernel.errors import AlreadyRunning, CoreEngineNotRunning
from netkernel.rundir import COREENGINE_LOCK, COREENGINE_LOG, prepare

app = typer.Typer(no_args_is_help=True, help="The daemon that lends VFs to processes.")


def _status(folder: Path) -> sc.StatusResult:
    with CoreEngineClient(folder) as client:
        return sc.StatusResult.model_validate(client.request(sc.StatusRequest()))


def _ready(folder: Path) -> bool:
    try:
        _status(folder)
    except CoreEngineNotRunning:
        return False
    return True


@app.command(epilog="Example: nk-hw coreengine start")
def start(
    ctx: typer.Context,
    device: Annotated[str, typer.Option(help="`twin`, or the PCI address of a PF.")] = "twin",
    metrics: Annotated[
        str | None,
        typer.Option(help="[HOST:]PORT of a Prometheus endpoint; localhost if no host is given."),
    ] = None,
    foreground: Annotated[bool, typer.Option(help="Stay here instead of going away.")] = False,
    as_json: Json = False,
) -> None:
    """Start CoreEngine on a device."""
    folder = prepare(rundir(ctx))
    argv = [sys.executable, "-m", "netkernel.coreengine", "--rundir", str(folder)]
    argv += ["--device", device]
    if metrics is not None:
        metrics_address(metrics)
        argv += ["--metrics", metrics]
    if foreground:
        os.execv(sys.executable, argv)
    if _ready(folder):
        raise AlreadyRunning(
            f"CoreEngine runs already in {folder}", "Stop it: `nk-hw coreengine stop`"
        )
    log = folder / COREENGINE_LOG
    pid = spawn.start(argv, log=log, ready=lambda: _ready(folder), what="CoreEngine", limit=30)
    result = {"pid": pid, "rundir": str(folder), "log": str(log)}
    if as_json:
        emit_json(result)
    else:
        print(f"CoreEngine runs in {folder} (process {pid}, log {log})")


@app.command(epilog="Example: nk-hw coreengine stop")
def stop(ctx: typer.Context, as_json: Json = False) -> None:
    """Stop CoreEngine; what it had lent is taken back."""
    folder = rundir(ctx)
    with CoreEngineClient(folder) as client:
        client.request(sc.ShutdownRequest())
    spawn.await_end(folder / COREENGINE_LOCK, "CoreEngine", folder / COREENGINE_LOG)
    if as_json:
        emit_json({"stopped": True})


@app.command(epilog="Example: nk-hw coreengine status --json")
def status(ctx: typer.Context, as_json: Json = False) -> None:
    """Show what CoreEngine serves."""
    result = _status(rundir(ctx))
    if as_json:
        emit_json(result.model_dump())
        return
    shown = result.model_dump(exclude={"card"})
    pairs({**shown, **result.card.model_dump()})
