# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the host tests: a run directory and a fake card in it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_card import FakeCard


@pytest.fixture
def rundir() -> Iterator[Path]:
    # Short, since Unix socket paths are: pytest's own tmp_path can be too long.
    with tempfile.TemporaryDirectory(prefix="nk-") as name:
        yield Path(name)


@pytest.fixture
def card(rundir: Path) -> Iterator[FakeCard]:
    fake = FakeCard(rundir)
    yield fake
    fake.stop()
    assert fake.errors == []
