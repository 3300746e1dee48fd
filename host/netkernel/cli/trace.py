# SPDX-License-Identifier: Apache-2.0
"""nk-hw trace: frames on the wire, NQEs of a VF."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from netkernel import nqe
from netkernel.cli.common import Json, emit_json, rundir
from netkernel.errors import BadRequest, ProtocolError
from netkernel.jsonline import ask_twin

app = typer.Typer(no_args_is_help=True, help="Frames on the wire, and NQEs.")


@app.command(epilog="Example: nk-hw trace pcap /tmp/nk.pcap; nk-hw trace pcap --stop")
def pcap(
    ctx: typer.Context,
    path: Annotated[Path | None, typer.Argument(help="File that Wireshark opens.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="End the running capture.")] = False,
    as_json: Json = False,
) -> None:
    """Start or stop writing the frames of the twin's wire to a pcap file."""
    if stop == (path is not None):
        raise BadRequest("give either a path or --stop")
    target = str(path.absolute()) if path is not None else None
    answer = ask_twin(rundir(ctx), {"cmd": "trace_pcap", "path": target})
    if as_json:
        answer.pop("ok", None)
        emit_json({"path": target, **answer})
    else:
        print(f"frames go to {target}" if target else "the capture has ended")


@app.command("nqe", epilog="Example: nk-hw trace nqe 0 --count 20")
def trace_nqe(
    ctx: typer.Context,
    vf: Annotated[int, typer.Argument(help="Number of the VF.")],
    count: Annotated[int, typer.Option(min=1, help="How many of the latest.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Show the latest NQEs of a VF in readable form (with --json --follow: one object a line)."""
    entries = _Entries(rundir(ctx), vf, count)
    if as_json and not follow:
        emit_json({"nqes": list(entries.batch())})
        return
    try:
        while True:
            for row in entries.batch():
                print(json.dumps(row) if as_json else _line(row), flush=True)
            if not follow:
                return
            time.sleep(0.1)
    except KeyboardInterrupt:
        return


class _Entries:
    """What the twin recorded of a VF's NQEs, in order; each is given once."""

    def __init__(self, folder: Path, vf: int, count: int) -> None:
        self._folder = folder
        self._vf = vf
        self._count = count
        self._after = 0

    def batch(self) -> Iterator[dict[str, Any]]:
        """Those that are new since the last call."""
        request = {"cmd": "trace_nqe", "vf": self._vf, "count": self._count}
        if self._after:
            request["after"] = self._after
        answer = ask_twin(self._folder, request)
        try:
            for entry in answer["nqes"]:
                seq = int(entry["seq"])
                if seq <= self._after:
                    continue
                self._after = seq
                decoded = nqe.view(bytes.fromhex(entry["nqe"]))[0]
                extra = {"seq": seq, "time_us": entry["time_us"], "queue": entry["queue"]}
                yield {**extra, **nqe.as_dict(decoded), "text": nqe.text(decoded)}
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ProtocolError("the twin's trace is not what we know") from error


def _line(row: dict[str, Any]) -> str:
    seconds = row["time_us"] / 1e6
    clock = time.strftime("%H:%M:%S", time.localtime(seconds))
    return f"{clock}.{row['time_us'] % 1_000_000:06d}  {row['queue']:<10}  {row['text']}"
