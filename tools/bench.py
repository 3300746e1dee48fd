# SPDX-License-Identifier: Apache-2.0
"""Keep measured figures in build/bench/results.json: one row for each name and set of parameters.

    from bench import record
    record("twin.clocks_per_second", 182_000, "1/s", params={"w": 512}, goal=150_000, limit=100_000)

`goal` is what we want, `limit` what is no longer acceptable; goal above limit means more is better, and where there is
no limit `less` says so. `bound` and `bound_by` are what no design with this bus and pipeline can exceed, or what others
have published; `now` is what was busiest in the measurement. `python tools/bench.py show` prints the table, `plot`
draws it: a PNG each for rates, latencies and the goodput beside Linux, in the same folder. Benchmarks are pytest tests
marked `perf`; `make bench` runs them, shows and plots.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent.parent / "build" / "bench" / "results.json"
Row = dict[str, Any]
# Designs that were measured in the same simulator, with ideal memories: segments a
# clock by direction and flows, and latencies in clocks.
PEER_RATES: dict[str, dict[tuple[str, int], float]] = {
    "ETH TOE": {("rx", 1): 1 / 14, ("rx", 64): 1 / 14, ("tx", 1): 1 / 10, ("tx", 64): 1 / 10},
    "Beehive": {("rx", 1): 1 / 7, ("rx", 64): 1 / 7, ("tx", 1): 1 / 9, ("tx", 64): 1 / 9},
    "Tonic": {("tx", 1): 1 / 1.91, ("tx", 64): 1.0},
}
PEER_LATENCIES: dict[str, dict[str, int]] = {
    "ETH TOE": {"doorbell_to_wire": 62, "wire_to_event": 82},
    "Beehive, headers only": {"doorbell_to_wire": 9, "wire_to_event": 6, "ack": 13},
    "Tonic, sender only": {"doorbell_to_wire": 12},
}
DIRECTIONS = {"rx": "receive", "tx": "transmit", "both": "both at once (sum)"}


def rows(path: Path = RESULTS) -> list[Row]:
    """All rows, oldest first; empty when nothing was measured."""
    if not path.is_file():
        return []
    return list(json.loads(path.read_text(encoding="utf-8")))


def record(
    name: str,
    value: float,
    unit: str,
    *,
    params: Mapping[str, Any] | None = None,
    goal: float | None = None,
    limit: float | None = None,
    less: bool = False,
    bound: float | None = None,
    bound_by: str = "",
    now: str = "",
    path: Path = RESULTS,
) -> Row:
    """Add a row, or replace the one with the same name and parameters. Safe among processes."""
    row: Row = {
        "name": name,
        "params": dict(params or {}),
        "value": value,
        "unit": unit,
        "goal": goal,
        "limit": limit,
        "less": less,
        "bound": bound,
        "bound_by": bound_by,
        "now": now,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        same = (row["name"], row["params"])
        kept = [r for r in rows(path) if (r["name"], r["params"]) != same]
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps([*kept, row], indent=1) + "\n", encoding="utf-8")
        os.replace(fresh, path)
    return row


def verdict(row: Row) -> str:
    """'goal', 'ok' (within the limit), 'MISSED', or '' when there is nothing to compare with."""
    goal, limit, value = row["goal"], row["limit"], row["value"]
    # More is better, unless the row or the order of goal and limit says otherwise.
    up = not row.get("less") if goal is None or limit is None else goal >= limit

    def reached(mark: float) -> bool:
        return bool(value >= mark if up else value <= mark)

    if goal is not None and reached(goal):
        return "goal"
    if limit is not None:
        return "ok" if reached(limit) else "MISSED"
    return "" if goal is None else "below goal" if up else "above goal"


def bounds(row: Row) -> str:
    """What bounds a figure, in words."""
    words = []
    if row.get("bound") is not None or row.get("bound_by"):
        number = "" if row.get("bound") is None else f"{row['bound']:.4g} "
        words.append(
            f"bound {number}({row['bound_by']})"
            if row.get("bound_by")
            else f"bound {number}".strip()
        )
    if row.get("now"):
        words.append(f"now: {row['now']}")
    return "; ".join(words)


def show(path: Path = RESULTS, only: Sequence[Row] | None = None) -> str:
    table = [("name", "params", "value", "unit", "goal", "limit", "", "what bounds it")]
    chosen = rows(path) if only is None else only
    for r in sorted(chosen, key=lambda r: (r["name"], str(r["params"]))):
        params = " ".join(f"{k}={v}" for k, v in r["params"].items())
        marks = ["-" if r[k] is None else f"{r[k]:.4g}" for k in ("goal", "limit")]
        row = (r["name"], params, f"{r['value']:.6g}", r["unit"], *marks, verdict(r), bounds(r))
        table.append(row)
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in table)
    return "\n".join(line.rstrip() for line in lines)


# ------------------------------------------------------------------------------------------- plots


def plot(path: Path = RESULTS) -> list[Path]:
    """Draw what is there to be drawn beside results.json; the files made."""
    import matplotlib

    matplotlib.use("Agg")
    found = rows(path)
    made = []
    for name, draw in (
        ("tcp.segments_per_clock", _rates),
        ("tcp.bytes_per_clock", _rates),
        ("tcp.latency_clocks", _latencies),
        ("interop.goodput_ratio", _ratios),
    ):
        chosen = [r for r in found if r["name"] == name]
        if chosen:
            figure = draw(name, chosen, found)
            made.append(path.parent / f"{name}.png")
            figure.savefig(made[-1], dpi=110)
            _close(figure)
    return made


def _subplots(columns: int, width: float, height: float) -> tuple[Any, Any]:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        1, columns, figsize=(width, height), squeeze=False, layout="constrained"
    )
    return figure, axes[0]


def _close(figure: Any) -> None:
    from matplotlib import pyplot as plt

    plt.close(figure)


def _rates(name: str, chosen: list[Row], _: list[Row]) -> Any:
    """A bar for each payload and number of flows; a panel for each direction."""
    payloads = sorted({r["params"]["payload"] for r in chosen})
    crowds = sorted({r["params"]["flows"] for r in chosen})
    figure, axes = _subplots(len(DIRECTIONS), 14, 4.4)
    per_segment = name == "tcp.segments_per_clock"
    for axis, (direction, title) in zip(axes, DIRECTIONS.items(), strict=True):
        for n, flows in enumerate(crowds):
            mine = [
                r
                for r in chosen
                if (r["params"]["direction"], r["params"]["flows"]) == (direction, flows)
            ]
            at = [
                payloads.index(r["params"]["payload"])
                + (n - (len(crowds) - 1) / 2) * 0.8 / len(crowds)
                for r in mine
            ]
            half = 0.4 / len(crowds)
            label = f"{flows} flow{'s'[: flows > 1]}"
            bars = axis.bar(at, [r["value"] for r in mine], 1.8 * half, label=label)
            axis.bar_label(bars, fmt="%.3g", fontsize=6, padding=1)
            for x, r in zip(at, mine, strict=True):
                for key, colour, style in (("bound", "black", "solid"), ("goal", "red", "dotted")):
                    if r.get(key) is not None:
                        axis.hlines(r[key], x - half, x + half, colors=colour, linestyles=style)
        small = sum(p <= 256 for p in payloads)
        for n, (who, rates) in enumerate(PEER_RATES.items() if per_segment else ()):
            if value := rates.get((direction, 64)):
                label = f"{who}, 64 flows, up to 256 bytes"
                axis.hlines(
                    value,
                    -0.5,
                    small - 0.5,
                    colors=f"C{4 + n}",
                    linewidth=0.8,
                    linestyle="dashed",
                    label=label,
                )
        axis.set_xticks(range(len(payloads)), [str(p) for p in payloads])
        axis.set_xlabel("payload of a segment, bytes")
        axis.set_title(title)
        axis.grid(axis="y", alpha=0.3)
        axis.legend(fontsize="x-small")
    axes[0].set_ylabel("segments a clock" if per_segment else "bytes of payload a clock")
    figure.suptitle("black: bound of bus or pipeline, red dots: goal", fontsize="small")
    return figure


def _latencies(_: str, chosen: list[Row], found: list[Row]) -> Any:
    """Ours beside what was measured of others; and open plus close."""
    chosen = chosen + [r for r in found if r["name"] == "tcp.open_close_clocks"]
    names = [r["params"].get("path", "open_and_close") for r in chosen]
    series = {
        "this engine": {n: r["value"] for n, r in zip(names, chosen, strict=True)},
        **PEER_LATENCIES,
    }
    figure, (axis,) = _subplots(1, 8.5, 4.4)
    width = 0.8 / len(series)
    for n, (who, clocks) in enumerate(series.items()):
        places = [i for i, name in enumerate(names) if name in clocks]
        at = [i + (n - (len(series) - 1) / 2) * width for i in places]
        bars = axis.bar(at, [clocks[names[i]] for i in places], 0.9 * width, label=who)
        axis.bar_label(bars, fmt="%.3g", fontsize=7)
    for i, r in enumerate(chosen):
        if r["goal"] is not None:
            axis.hlines(r["goal"], i - 0.4, i + 0.4, colors="red", linestyles="dotted")
    axis.set_xticks(range(len(names)), [n.replace("_", " ") for n in names])
    axis.set_ylabel("clocks")
    axis.set_title("red dots: goal; host latency excluded", fontsize="small")
    axis.grid(axis="y", alpha=0.3)
    axis.legend(fontsize="x-small")
    return figure


def _ratios(_: str, chosen: list[Row], __: list[Row]) -> Any:
    """Goodput of the card over that of a Linux TCP in its place."""
    lines = list(dict.fromkeys((r["params"]["role"], r["params"]["cc"]) for r in chosen))
    paths = list(dict.fromkeys(r["params"]["path"] for r in chosen))
    value = {
        (r["params"]["role"], r["params"]["cc"], r["params"]["path"]): r["value"] for r in chosen
    }
    figure, (axis,) = _subplots(1, 1.8 + 0.95 * len(paths), 1.6 + 0.55 * len(lines))
    grid = [[value.get((*line, path), float("nan")) for path in paths] for line in lines]
    image = axis.imshow(grid, cmap="RdYlGn", vmin=0.5, vmax=1.5, aspect="auto")
    for y, line in enumerate(lines):
        for x, path in enumerate(paths):
            if (*line, path) in value:
                axis.text(x, y, f"{value[*line, path]:.2f}", ha="center", va="center", fontsize=8)
    axis.set_xticks(range(len(paths)), paths)
    axis.set_yticks(range(len(lines)), [f"{role}, {cc}" for role, cc in lines])
    axis.set_title("goodput of the card / of Linux in its place; goal 1.0", fontsize="small")
    figure.colorbar(image, ax=axis)
    return figure


def main() -> int:
    parser = argparse.ArgumentParser(description="Show and plot the figures of `make bench`.")
    parser.add_argument("command", nargs="+", choices=["show", "plot"])
    wanted = parser.parse_args().command
    if "show" in wanted:
        print(show())
    if "plot" in wanted:
        for file in plot():
            print(f"plot: {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
