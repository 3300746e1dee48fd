# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the host tests: a run directory and a fake card in it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_card import FakeCard
from netkernel.cli import main

Run = Callable[..., tuple[int, str, str]]


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


@pytest.fixture
def nk_hw(rundir: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """nk-hw in this process: exit code, output, error output."""

    def call(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["--rundir", str(rundir), *args])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call
