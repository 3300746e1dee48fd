# SPDX-License-Identifier: Apache-2.0
"""For all tests: after a failure, say the command that repeats just it."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.stats.get("failed", []) + terminalreporter.stats.get("error", [])
    if reports:
        terminalreporter.section("repeat one")
        for node in dict.fromkeys(r.nodeid for r in reports):
            terminalreporter.line(f"make t T='{node}'")
