# SPDX-License-Identifier: Apache-2.0
"""Card and Linux through the link model: bytes are equal and nothing stalls. Speed is for `make bench-interop`."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from against_linux import QUICK, Cell, judge
from places import CardPath, LinuxPath, Profile, TwoPlaces
from rig import why_not

MIB = 1 << 20
pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def seed() -> int:
    value = int(os.environ.get("NK_SEED") or random.SystemRandom().randrange(1 << 31))
    print(f"NK_SEED={value}")
    return value


@pytest.fixture(scope="module", params=["card", "linux"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TwoPlaces]:
    reason = why_not()
    assert not reason, f"no end-to-end test can run here: {reason}"
    folder = tmp_path_factory.mktemp("path")
    with (CardPath if request.param == "card" else LinuxPath)(folder) as path:
        yield path


@pytest.mark.parametrize("cell", [Cell(*c) for c in QUICK], ids=[".".join(c) for c in QUICK])
def test_bytes_arrive(place: TwoPlaces, cell: Cell, seed: int) -> None:
    run = place.transfer(cell.role, cell.profile, MIB, seed, cell.link)
    assert not judge(run, MIB), (run.link, run.counters)
    way = run.link["0" if cell.role == "sender" else "1"]
    if cell.path == "ecn":
        assert way["marked"] > 0
    if cell.path in ("loss1", "bursts"):
        assert way["lost"] + way["burst_lost"] > 0
    if cell.path == "reorder":
        assert way["reordered"] > 0


def test_profiles_take_effect(place: TwoPlaces, seed: int) -> None:
    """ECN is agreed on where the profile says so, and nowhere else."""
    marks = {}
    for ecn in (False, True):
        link = {"rate_mbps": 10.0, "delay_us": 5000, "mark_bytes": 8000}
        run = place.transfer("sender", Profile("cubic", ecn), MIB, seed, link)
        marks[ecn] = run.link["0"]["marked"]
    assert marks[False] == 0 < marks[True]
