# SPDX-License-Identifier: Apache-2.0
"""docs/testplan.md names tests that exist, every test file, and a place for every RTL module."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLAN = (ROOT / "docs" / "testplan.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w./-]+\.py(?:::\w+)?)`", PLAN)))
TEST_FOLDERS = ("rtl-tests", "host/tests", "guestlib/tests", "tools/tests", "tests")


@cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_the_plan_names_tests() -> None:
    assert len(NAMED) > 100


@pytest.mark.parametrize("name", NAMED)
def test_named_test_exists(name: str) -> None:
    file, _, test = name.partition("::")
    path = ROOT / file
    assert path.is_file(), f"docs/testplan.md names {file}"
    if test:
        found = re.search(rf"^(async )?def {test}\(", text(path), re.M)
        assert found, f"docs/testplan.md names {test}, which is not in {file}"
        if not test.startswith("test_"):
            decorated = rf"^@cocotb\.test\(.*\)\n(?:@.*\n)*async def {test}\("
            assert re.search(decorated, text(path), re.M), f"{test} in {file} is never run"


def modules() -> list[Path]:
    return sorted((ROOT / "hw").glob("*/rtl/*.v"))


def test_every_module_has_its_test() -> None:
    within = set(re.findall(r"^\| `(nk_\w+)` \| `rtl-tests/", PLAN, re.M))
    missing = []
    for module in modules():
        block = module.parents[1].name
        own = ROOT / "rtl-tests" / block / f"test_{module.stem}.py"
        if own.is_file():
            assert module.stem not in within, f"{module.stem} has a test of its own: not 'within'"
        elif module.stem not in within:
            missing.append(module.stem)
    assert not missing, f"no test, and no line in docs/testplan.md: {missing}"


def test_every_test_file_is_in_the_plan() -> None:
    files = {name.partition("::")[0] for name in NAMED}
    blocks = {f"rtl-tests/{m.parents[1].name}/test_{m.stem}.py" for m in modules()}
    missing = []
    for folder in TEST_FOLDERS:
        for path in sorted((ROOT / folder).rglob("test_*.py")):
            name = str(path.relative_to(ROOT))
            if name not in files and name not in blocks:
                missing.append(name)
    assert not missing, f"not named in docs/testplan.md: {missing}"
