# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests: what must be built, and a laboratory for each test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from lab import PATH, ROOT, Lab, whynot  # noqa: E402


@pytest.fixture(scope="session")
def built() -> None:
    """The twin's library and GuestLib; quick when they are there."""
    if why := whynot():
        pytest.skip(f"no laboratory: {why}")
    for argv in (
        [sys.executable, "-m", "netkernel.twin.build"],
        ["make", "-s", "-C", str(ROOT / "guestlib")],
    ):
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{argv}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.fixture
def lab(built: None, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A fresh laboratory with one VF; `@pytest.mark.parametrize("lab", [...], indirect=True)` gives
    other arguments of Lab. At its end the card must have every flow free again."""
    arguments = getattr(request, "param", {})
    with Lab(**{"vfs": 1, **arguments}) as made:
        yield made
        failed = getattr(request.node, "failed", False)
        if failed:
            made.keep = True
            for program in made.programs:
                print(program.tail())
        elif made.twin.running():
            for program in reversed(made.programs):
                if program is not made.twin:
                    program.stop()
            made.link_off()
            made.all_free()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: object) -> Iterator[None]:
    report = yield
    if report.when == "call" and report.failed:
        item.failed = True  # type: ignore[attr-defined]
    return report


@pytest.fixture
def programs() -> Path:
    """Small programs that the tests run, under GuestLib or without."""
    return HERE / "programs"


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", PATH)
