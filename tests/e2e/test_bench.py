# SPDX-License-Identifier: Apache-2.0
"""Figures of the twin (`make bench`): clocks a second while busy, and goodput of a file in each direction."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rig import Rig
from transfer import Transfer, fetch_in, fetch_out, make_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
from bench import record

MIB = 1 << 20


@pytest.mark.perf
def test_demo_figures(rig: Rig) -> None:
    """Whole design at 512 bits, 64 MiB. The bound is the simulation: one core clocks the card."""
    file = make_file(rig.folder / "www" / "bench", 64 * MIB)
    rig.serve_nginx(rig.folder / "www", vf=1)
    runs: list[Transfer] = [fetch_in(rig, file, vf=0), fetch_out(rig, file, vf=1)]
    for run in runs:
        assert run.equal
        params = {"direction": run.direction, "w": rig.width}
        mbps = {"goal": 20, "limit": 20, "now": "clocks a second of the simulation"}
        record("demo.goodput_mbps", run.mbps, "Mb/s", params=params, **mbps)
        record(
            "twin.clocks_per_second",
            run.clocks_per_second,
            "1/s",
            params=params,
            goal=150_000,
            limit=100_000,
            now="one core of this machine, and what else runs on it",
        )
        each = run.clocks * 1460 / run.size
        bus = {"bound": 24, "bound_by": "bus", "now": "the closed loop with a peer of Linux"}
        record("demo.clocks_per_segment", each, "clocks", params=params, less=True, **bus)
