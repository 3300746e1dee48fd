# SPDX-License-Identifier: Apache-2.0
"""nk-hw twin: the Verilated card as a process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from netkernel.cli import spawn
from netkernel.cli.common import Json, emit_json, flatten, pairs, rundir, table
from netkernel.errors import AlreadyRunning, BadRequest, TwinGone, UnknownDevice
from netkernel.jsonline import ask_twin
from netkernel.rundir import TWIN_LOCK, TWIN_LOG, prepare

app = typer.Typer(no_args_is_help=True, help="The twin: the card as a process.")


def _ready(folder: Path) -> bool:
    try:
        ask_twin(folder, {"cmd": "status"})
    except (UnknownDevice, TwinGone):
        return False
    return True


@app.command(epilog="Example: nk-hw twin start --tap nk0")
def start(
    ctx: typer.Context,
    tap: Annotated[str | None, typer.Option(help="TAP interface that is its wire.")] = None,
    pcap: Annotated[Path | None, typer.Option(help="Write a capture from the start.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the link model; random.")] = None,
    width: Annotated[int | None, typer.Option(help="Bits of the data bus, 64 to 512.")] = None,
    vfs: Annotated[int | None, typer.Option(help="VFs to build in.")] = None,
    flows: Annotated[int | None, typer.Option(help="Flows to build in.")] = None,
    as_json: Json = False,
) -> None:
    """Build the twin if needed, and start it."""
    folder = prepare(rundir(ctx))
    if _ready(folder):
        raise AlreadyRunning(f"a twin runs already in {folder}", "Stop it: `nk-hw twin stop`")
    argv = [sys.executable, "-m", "netkernel.twin", "--rundir", str(folder)]
    given = {
        "--tap": tap,
        "--pcap": pcap.absolute() if pcap is not None else None,
        "--seed": seed,
        "--w": width,
        "--nvf": vfs,
        "--flows": flows,
    }
    for name, value in given.items():
        if value is not None:
            argv += [name, str(value)]
    log = folder / TWIN_LOG
    # The first start compiles the Verilated model: minutes.
    pid = spawn.start(argv, log=log, ready=lambda: _ready(folder), what="the twin", limit=1800)
    if as_json:
        emit_json({"pid": pid, "rundir": str(folder), "log": str(log)})
    else:
        print(f"the twin runs in {folder} (process {pid}, log {log})")


@app.command(epilog="Example: nk-hw twin stop")
def stop(ctx: typer.Context, as_json: Json = False) -> None:
    """Stop the twin."""
    folder = rundir(ctx)
    ask_twin(folder, {"cmd": "stop"})
    spawn.await_end(folder / TWIN_LOCK, "the twin", folder / TWIN_LOG)
    if as_json:
        emit_json({"stopped": True})


@app.command(epilog="Example: nk-hw twin status --json")
def status(ctx: typer.Context, as_json: Json = False) -> None:
    """Show clocks, speed and frames."""
    answer = ask_twin(rundir(ctx), {"cmd": "status"})
    answer.pop("ok", None)
    if as_json:
        emit_json(answer)
    else:
        pairs(flatten(answer))


Probability = Annotated[float | None, typer.Option(min=0, max=1, help="Probability of a frame.")]
Number = Annotated[int | None, typer.Option(min=0)]


@app.command(epilog="Example: nk-hw twin link --loss 0.01 --reorder 0.05 --seed 7")
def link(
    ctx: typer.Context,
    direction: Annotated[str, typer.Option("--dir", help="rx, tx or both.")] = "both",
    loss: Probability = None,
    reorder: Probability = None,
    duplicate: Probability = None,
    corrupt: Probability = None,
    burst_loss: Probability = None,
    burst_frames: Annotated[float | None, typer.Option(min=1, help="Mean length.")] = None,
    delay_us: Number = None,
    jitter_us: Number = None,
    rate_mbps: Annotated[float | None, typer.Option(min=0, help="0: no limit.")] = None,
    seed: Number = None,
    as_json: Json = False,
) -> None:
    """Set the link model of the twin's wire; without options, show it."""
    if direction not in ("rx", "tx", "both"):
        raise BadRequest(f"--dir is rx, tx or both, not {direction}")
    given: dict[str, Any] = {
        "loss": loss,
        "reorder": reorder,
        "duplicate": duplicate,
        "corrupt": corrupt,
        "burst_loss": burst_loss,
        "burst_frames": burst_frames,
        "delay_us": delay_us,
        "jitter_us": jitter_us,
        "rate_mbps": rate_mbps,
        "seed": seed,
    }
    request = {name: value for name, value in given.items() if value is not None}
    answer = ask_twin(rundir(ctx), {"cmd": "link", "dir": direction, **request})
    answer.pop("ok", None)
    if as_json:
        emit_json(answer)
        return
    rx, tx = flatten(answer["rx"]), flatten(answer["tx"])
    table(["LINK", "RX", "TX"], [(name, value, tx.get(name)) for name, value in rx.items()])
