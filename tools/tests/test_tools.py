# SPDX-License-Identifier: Apache-2.0
"""mutants.py, bench.py and test_summary.py."""

from __future__ import annotations

from pathlib import Path

import bench
import mutants
import pytest
import test_summary


def test_all_mutants_are_well_formed() -> None:
    """Each names a text that occurs once and a test file that exists: `make mutants` runs them."""
    entries = mutants.load()
    assert entries
    assert {m.id: text for m in entries if (text := mutants.check(m))} == {}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"find": "no such text"}, "occurs 0 times"),
        ({"find": "rst"}, "must be once"),
        ({"file": "lib/rtl/nk_nothing.v"}, "no file"),
        ({"test": "rtl-tests/lib/test_nothing.py::test"}, "no test file"),
    ],
)
def test_bad_mutant_is_refused(change: dict[str, str], complaint: str) -> None:
    good = next(m for m in mutants.load() if m.id == "skid-wrong-order")
    bad = mutants.Mutant(**{**vars(good), **change})
    assert complaint in mutants.check(bad)


def test_mutant_list_errors(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- id: x\n  fiel: y\n", encoding="utf-8")
    with pytest.raises(ValueError, match="fiel"):
        mutants.load(tmp_path)


@pytest.mark.parametrize(
    ("code", "output", "verdict"),
    [
        (0, "1 passed", "SURVIVED"),
        (1, "1 of 3 cocotb tests failed:", "caught"),
        (1, "simulation still running after 300 s", "caught"),
        (1, "common.filelist.BuildError: RTL build failed", "no build"),
        (1, "ImportError", "error"),
        (4, "not found", "error"),
    ],
)
def test_mutant_verdict(code: int, output: str, verdict: str) -> None:
    assert mutants.judge(code, output)[0] == verdict


def test_bench_replaces_by_name_and_params(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "results.json"
    bench.record("a", 1, "x", params={"w": 64}, path=path)
    bench.record("a", 2, "x", params={"w": 512}, path=path)
    bench.record("a", 3, "x", params={"w": 64}, goal=4, limit=2, path=path)
    assert [(r["params"]["w"], r["value"]) for r in bench.rows(path)] == [(512, 2), (64, 3)]
    assert bench.verdict(bench.rows(path)[1]) == "ok"
    assert "w=512" in bench.show(path)


@pytest.mark.parametrize(
    ("value", "goal", "limit", "verdict"),
    [
        (10, 9, 5, "goal"),
        (7, 9, 5, "ok"),
        (4, 9, 5, "MISSED"),
        (4, 5, 9, "goal"),
        (10, 5, 9, "MISSED"),
    ],
)
def test_bench_verdict(value: float, goal: float, limit: float, verdict: str) -> None:
    assert bench.verdict({"value": value, "goal": goal, "limit": limit}) == verdict


def test_summary_adds_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = '<testsuites><testsuite tests="{}" failures="{}" errors="0" skipped="{}" time="1"/>'
    suite += "</testsuites>"
    (tmp_path / "a.xml").write_text(suite.format(5, 0, 1), encoding="utf-8")
    assert test_summary.main(str(tmp_path)) == 0
    (tmp_path / "b.xml").write_text(suite.format(3, 1, 0), encoding="utf-8")
    assert test_summary.main(str(tmp_path)) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "total: 6 passed, 1 failed, 1 skipped"


def test_summary_fails_when_nothing_ran(tmp_path: Path) -> None:
    assert test_summary.main(str(tmp_path)) == 1
