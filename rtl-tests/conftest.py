# SPDX-License-Identifier: Apache-2.0
"""pytest settings of the RTL tests. cocotb's tests are run by common.runner, not collected."""

from __future__ import annotations

import inspect
import os

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(obj: object) -> list[pytest.Item] | None:
    """Collect nothing from what cocotb decorated, whatever its name; leave the rest to pytest."""
    ours = inspect.iscoroutinefunction(obj) or type(obj).__module__.startswith("cocotb")
    return [] if ours else None


def pytest_report_header() -> str:
    env = os.environ
    return f"RTL: simulator {env.get('NK_SIM', 'verilator')}, seed {env.get('NK_SEED', 'random')}"
