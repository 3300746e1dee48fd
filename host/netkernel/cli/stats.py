# SPDX-License-Identifier: Apache-2.0
"""nk-hw stats: the counters of the card."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Table

from netkernel.cli.common import Json, console, emit_json, rundir
from netkernel.coreengine import CoreEngineClient
from netkernel.coreengine import schema as sc
from netkernel.errors import BadRequest


def flat(stats: sc.StatsResult) -> dict[str, int]:
    """Every counter under one name: rx_frames, nqe.SEND, vf0.tx_bytes."""
    values = dict(stats.counters)
    values.update((f"nqe.{name}", count) for name, count in stats.nqes.items())
    for vf, counters in sorted(stats.vfs.items()):
        values.update((f"vf{vf}.{name}", count) for name, count in counters.items())
    return values


def _table(
    values: dict[str, int], before: dict[str, int], seconds: float, every: bool, nsm: dict[int, str]
) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("COUNTER", no_wrap=True)
    made.add_column("VALUE", justify="right")
    if seconds:
        made.add_column("PER SECOND", justify="right")
    for name, value in values.items():
        if value == 0 and not every:
            continue
        row = [name, str(value)]
        if seconds:
            row.append(f"{(value - before.get(name, value)) / seconds:.0f}")
        made.add_row(*row)
    for vf, profile in sorted(nsm.items()):
        made.add_row(f"vf{vf}.nsm", profile)
    return made


def _samples(client: CoreEngineClient, vf: int | None, seconds: float) -> Iterator[sc.StatsResult]:
    while True:
        yield sc.StatsResult.model_validate(client.request(sc.StatsRequest(vf=vf)))
        time.sleep(seconds)


def stats(
    ctx: typer.Context,
    vf: Annotated[int | None, typer.Option(help="Counters of this VF only.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Repeat until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(help="Seconds between looks, with --watch.")] = 1.0,
    every: Annotated[bool, typer.Option("--all", "-a", help="Show those that are 0, too.")] = False,
    as_json: Json = False,
) -> None:
    """Show the counters of the card and its VFs, and the NSM profile of each VF."""
    if interval <= 0:
        raise BadRequest("--interval must be greater than 0")
    with CoreEngineClient(rundir(ctx)) as client:
        samples = _samples(client, vf, interval)
        first = next(samples)
        if not watch:
            if as_json:
                emit_json(first.model_dump())
            else:
                console.print(_table(flat(first), {}, 0, every, first.nsm))
            return
        try:
            if as_json:
                print(json.dumps(first.model_dump()), flush=True)
                for sample in samples:
                    print(json.dumps(sample.model_dump()), flush=True)
            _watch(samples, flat(first), every)
        except KeyboardInterrupt:
            return


def _watch(samples: Iterator[sc.StatsResult], before: dict[str, int], every: bool) -> None:
    then = time.monotonic()
    with Live(console=console, auto_refresh=False) as live:
        for sample in samples:
            values, now = flat(sample), time.monotonic()
            live.update(_table(values, before, now - then, every, sample.nsm), refresh=True)
            before, then = values, now
