# SPDX-License-Identifier: Apache-2.0
"""Keep measured figures in build/bench/results.json: one row for each name and set of parameters.

    from bench import record
    record("twin.clocks_per_second", 182_000, "1/s", params={"w": 512}, goal=150_000, limit=100_000)

`goal` is what we want, `limit` what is no longer acceptable; goal above limit means more is better.
`python tools/bench.py show` prints the table. Benchmarks are pytest tests marked `perf`;
`make bench` runs them and shows the table.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent.parent / "build" / "bench" / "results.json"
Row = dict[str, Any]


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
    up = goal is None or limit is None or goal >= limit  # more is better

    def reached(bound: float) -> bool:
        return bool(value >= bound if up else value <= bound)

    if goal is not None and reached(goal):
        return "goal"
    if limit is not None:
        return "ok" if reached(limit) else "MISSED"
    return "" if goal is None else "below goal"


def show(path: Path = RESULTS) -> str:
    table = [("name", "params", "value", "unit", "goal", "limit", "")]
    for r in sorted(rows(path), key=lambda r: (r["name"], str(r["params"]))):
        params = " ".join(f"{k}={v}" for k, v in r["params"].items())
        bounds = ["-" if r[k] is None else f"{r[k]:g}" for k in ("goal", "limit")]
        table.append((r["name"], params, f"{r['value']:.6g}", r["unit"], *bounds, verdict(r)))
    widths = [max(len(row[i]) for row in table) for i in range(7)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in table)
    return "\n".join(line.rstrip() for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Show the figures of `make bench`.")
    parser.add_argument("command", choices=["show"])
    parser.parse_args()
    print(show())
    return 0


if __name__ == "__main__":
    sys.exit(main())
