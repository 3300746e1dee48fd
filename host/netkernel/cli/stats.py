# SPDX-License-Identifier: Apache-2.0
"""nk-hw stats: the counters of the card."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from netkernel.cli.common import Json, console, emit_json, rundir
from netkernel.coreengine import CoreEngineClient
from netkernel.coreengine import schema as sc
from netkernel.errors import BadRequest


def flat(stats: sc.StatsResult) -> dict[str, int]:
    """Every counter under one name: rx_frames, nqe.SEND, vf0.tx_bytes, vf0.qs1.sends."""
    values = dict(stats.counters)
    values.update((f"nqe.{name}", count) for name, count in stats.nqes.items())
    for vf, counters in sorted(stats.vfs.items()):
        values.update((f"vf{vf}.{name}", count) for name, count in counters.items())
        for qs, of_set in sorted(stats.queue_sets.get(vf, {}).items()):
            values.update((f"vf{vf}.qs{qs}.{name}", count) for name, count in of_set.items())
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


class _Sample:
    """Counters of one moment."""

    def __init__(self, client: CoreEngineClient, request: sc.StatsRequest) -> None:
        self.stats = sc.StatsResult.model_validate(client.request(request))
        self.at = time.monotonic()
        self.values = flat(self.stats)

    def document(self, before: _Sample | None) -> dict[str, Any]:
        """For programs; `rates`: changes a second since `before`."""
        made = self.stats.model_dump()
        if before is not None:
            made["seconds"] = round(self.at - before.at, 6)
            made["rates"] = {
                name: round((value - before.values.get(name, value)) / (self.at - before.at), 3)
                for name, value in self.values.items()
            }
        return made

    def table(self, before: _Sample | None, every: bool) -> Table:
        """For people."""
        values = before.values if before else {}
        seconds = self.at - before.at if before else 0
        return _table(self.values, values, seconds, every, self.stats.nsm)


def _samples(
    client: CoreEngineClient, request: sc.StatsRequest, seconds: float
) -> Iterator[_Sample]:
    while True:
        yield _Sample(client, request)
        time.sleep(seconds)


def stats(
    ctx: typer.Context,
    vf: Annotated[int | None, typer.Option(help="Counters of this VF only.")] = None,
    queue_sets: Annotated[
        bool, typer.Option("--queue-sets", "-q", help="Those of each queue set, too.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Repeat until Ctrl-C.")] = False,
    interval: Annotated[
        float | None,
        typer.Option(help="Show rates over so many seconds; 1 by default with --watch."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", "-a", help="Show those that are 0, too.")] = False,
    as_json: Json = False,
) -> None:
    """Show the counters of the card, its VFs and queue sets, and the NSM profile of each VF."""
    if interval is not None and interval <= 0:
        raise BadRequest("--interval must be greater than 0")
    request = sc.StatsRequest(vf=vf, queue_sets=queue_sets)
    with CoreEngineClient(rundir(ctx)) as client:
        samples = _samples(client, request, interval or 1.0)
        first = next(samples)
        if watch:
            try:
                _watch(samples, first, every, as_json)
            except KeyboardInterrupt:
                return
        last, before = (first, None) if interval is None else (next(samples), first)
        if as_json:
            emit_json(last.document(before))
        else:
            console.print(last.table(before, every))


def _watch(samples: Iterator[_Sample], before: _Sample, every: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps(before.document(None)), flush=True)
        for sample in samples:
            print(json.dumps(sample.document(before)), flush=True)
            before = sample
    with Live(console=console, auto_refresh=False) as live:
        for sample in samples:
            live.update(sample.table(before, every), refresh=True)
            before = sample
