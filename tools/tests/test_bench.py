# SPDX-License-Identifier: Apache-2.0
"""bench.py: verdicts without a limit, what bounds a figure, plots of whatever was measured."""

from __future__ import annotations

from pathlib import Path

import bench
import pytest


@pytest.mark.parametrize(
    ("value", "less", "verdict"),
    [
        (34, True, "goal"),
        (1747, True, "above goal"),
        (0.2, False, "below goal"),
        (50, False, "goal"),
    ],
)
def test_verdict_without_a_limit(value: float, less: bool, verdict: str) -> None:
    goal = 40 if less else 1
    assert bench.verdict({"value": value, "goal": goal, "limit": None, "less": less}) == verdict


def test_show_says_what_bounds_it(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    bench.record(
        "a", 0.4, "1/clock", goal=0.5, bound=0.5, bound_by="bus", now="receive bus 80 %", path=path
    )
    bench.record("b", 3, "bits", path=path)
    text = bench.show(path)
    assert "below goal" in text
    assert "bound 0.5 (bus); now: receive bus 80 %" in text
    assert text.splitlines()[0].endswith("what bounds it")


def test_rows_of_an_older_version_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text('[{"name": "a", "params": {}, "value": 1, "unit": "x", "goal": 2, "limit": 1}]')
    assert "ok" in bench.show(path)
    assert bench.plot(path) == []


def test_plots(tmp_path: Path) -> None:
    """Each kind, with gaps in what was measured; files are PNGs of a sensible size."""
    path = tmp_path / "results.json"
    for direction, flows, payload in (("rx", 1, 64), ("rx", 64, 1460), ("both", 64, 64)):
        params = {"direction": direction, "flows": flows, "payload": payload}
        for name in ("tcp.segments_per_clock", "tcp.bytes_per_clock"):
            bench.record(
                name, 0.3, "", params=params, goal=0.5, bound=0.5, bound_by="bus", path=path
            )
    bench.record(
        "tcp.latency_clocks", 33, "clocks", params={"path": "ack"}, goal=40, less=True, path=path
    )
    bench.record("tcp.open_close_clocks", 47, "clocks", goal=50, less=True, path=path)
    for role, cc, where in (("sender", "reno", "clean"), ("receiver", "cubic", "loss1")):
        params = {"role": role, "cc": cc, "path": where}
        bench.record("interop.goodput_ratio", 0.97, "", params=params, goal=1.0, path=path)
    made = bench.plot(path)
    assert [p.name for p in made] == [
        "tcp.segments_per_clock.png",
        "tcp.bytes_per_clock.png",
        "tcp.latency_clocks.png",
        "interop.goodput_ratio.png",
    ]
    for file in made:
        assert file.read_bytes().startswith(b"\x89PNG")
        assert file.stat().st_size > 5000
