# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests: one rig a module, its seed printed."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rig import Rig, why_not
from transfer import make_file

MIB = 1 << 20


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def seed() -> int:
    value = int(os.environ.get("NK_SEED") or random.SystemRandom().randrange(1 << 31))
    print(f"NK_SEED={value}")
    return value


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Iterator[Rig]:
    """Two VFs, 10.1.0.2 and 10.1.0.3, and a peer that serves `www/` on port 80."""
    reason = why_not()
    assert not reason, f"no end-to-end test can run here: {reason}"
    folder = tmp_path_factory.mktemp("rig")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)  # nginx' workers may have another user
    make_file(folder / "www" / "small", 100_000)
    make_file(folder / "www" / "medium", MIB)
    make_file(folder / "www" / "file", 8 * MIB)
    with Rig(folder, vfs=2, seed=seed, max_sockets=512) as rig:
        rig.serve_files(folder / "www")
        yield rig


@pytest.fixture
def clean(rig: Rig) -> Iterator[Rig]:
    """The rig; afterwards its programs are stopped, the link is perfect again and, by the card's own count, every flow is free."""
    before = rig.children()
    yield rig
    rig.end_all(keep=before)
    rig.link(loss=0, reorder=0, duplicate=0, corrupt=0, burst_loss=0)
    rig.wait_free()
