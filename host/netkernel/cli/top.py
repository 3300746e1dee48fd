# SPDX-License-Identifier: Apache-2.0
"""nk-hw top: what each VF does right now."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from netkernel.cli.common import Json, console, rundir
from netkernel.coreengine import CoreEngineClient
from netkernel.coreengine import schema as sc
from netkernel.errors import BadRequest


@dataclass(frozen=True)
class _Look:
    """The VFs and their counters at one moment."""

    at: float
    status: sc.StatusResult
    vfs: list[sc.VfInfo]
    counters: dict[int, dict[str, int]]


Rate = Callable[[str], float]


def _mbps(name: str) -> Callable[[sc.VfInfo, Rate], float]:
    return lambda _row, rate: rate(name) * 8 / 1e6


def _sum(*names: str) -> Callable[[sc.VfInfo, Rate], float]:
    return lambda _row, rate: sum(rate(name) for name in names)


# Column -> its value, from the VF and the change a second of its counters.
COLUMNS: Final[dict[str, Callable[[sc.VfInfo, Rate], Any]]] = {
    "vf": lambda row, _: row.vf,
    "state": lambda row, _: row.state,
    "ip": lambda row, _: row.ip,
    "pid": lambda row, _: row.holder_pid,
    "sockets": lambda row, _: row.sockets,
    "tx_mbps": _mbps("tx_bytes"),
    "rx_mbps": _mbps("rx_bytes"),
    "tx_seg": _sum("tx_segments"),
    "rx_seg": _sum("rx_segments"),
    "nqes": _sum("job_nqes", "send_nqes"),
    "events": _sum("events", "completions"),
    "opened": _sum("flows_opened"),
    "retx": _sum("tx_retransmits"),
    "drops": _sum("accept_drops"),
    "errors": _sum("nqe_errors", "doorbell_errors"),
    "irqs": _sum("irqs"),
}


def _look(client: CoreEngineClient) -> _Look:
    status = sc.StatusResult.model_validate(client.request(sc.StatusRequest()))
    vfs = [sc.VfInfo.model_validate(row) for row in client.request(sc.VfList())["vfs"]]
    stats = sc.StatsResult.model_validate(
        client.request(sc.StatsRequest(vf=None, queue_sets=False))
    )
    return _Look(time.monotonic(), status, vfs, stats.vfs)


def rows(before: _Look, now: _Look, sort: str) -> list[dict[str, Any]]:
    """A row a VF: numbers largest first, names and VF numbers in their order."""
    seconds = max(now.at - before.at, 1e-9)
    made = []
    for vf in now.vfs:
        new = now.counters.get(vf.vf, {})
        # A VF that is new, or was made again, begins here.
        old = before.counters.get(vf.vf, new)

        def rate(name: str, new: dict[str, int] = new, old: dict[str, int] = old) -> float:
            return max(0, new.get(name, 0) - old.get(name, 0)) / seconds

        made.append({name: value(vf, rate) for name, value in COLUMNS.items()})
    downwards = sort not in ("vf", "state", "ip")

    def key(row: dict[str, Any]) -> Any:
        if sort in ("state", "ip"):
            return row[sort], row["vf"]
        value = row[sort] or 0
        return (-value if downwards else value), row["vf"]

    return sorted(made, key=key)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1f}" if value < 100 else f"{value:.0f}"
    return "" if value is None else str(value)


def _screen(now: _Look, made: list[dict[str, Any]], sort: str) -> Group:
    card = now.status.card
    head = Text(
        f"{now.status.device}: {now.status.leases} of {now.status.vfs_configured} VFs lent,"
        f" {card.flows_in_use} of {card.flows} sockets in use"
    )
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in COLUMNS:
        text = name in ("state", "ip")
        shown.add_column(
            name.upper() + ("*" if name == sort else ""),
            justify="left" if text else "right",
            no_wrap=True,
        )
    for row in made:
        shown.add_row(*(_cell(value) for value in row.values()))
    return Group(head, shown)


def _looks(client: CoreEngineClient, seconds: float) -> Iterator[_Look]:
    while True:
        yield _look(client)
        time.sleep(seconds)


def top(
    ctx: typer.Context,
    sort: Annotated[str, typer.Option(help="Column to sort by.")] = "tx_mbps",
    interval: Annotated[float, typer.Option(help="Seconds between looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="One interval, then end.")] = False,
    as_json: Json = False,
) -> None:
    """Show live what each VF does: rates a second, sorted by a column (marked *)."""
    if interval <= 0:
        raise BadRequest("--interval must be greater than 0")
    sort = sort.lower()
    if sort not in COLUMNS:
        raise BadRequest(f"there is no column {sort!r}", f"Columns: {', '.join(COLUMNS)}")
    with CoreEngineClient(rundir(ctx)) as client:
        looks = _looks(client, interval)
        before = next(looks)
        try:
            if not once and not as_json:
                _live(looks, before, sort)
            for now in looks:
                made = rows(before, now, sort)
                if as_json:
                    print(json.dumps({"seconds": now.at - before.at, "vfs": made}), flush=True)
                else:
                    console.print(_screen(now, made, sort))
                if once:
                    return
                before = now
        except KeyboardInterrupt:
            return


def _live(looks: Iterator[_Look], before: _Look, sort: str) -> None:
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        for now in looks:
            live.update(_screen(now, rows(before, now, sort), sort), refresh=True)
            before = now
