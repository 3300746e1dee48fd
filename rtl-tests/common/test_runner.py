# SPDX-License-Identifier: Apache-2.0
"""The runner itself: it fails when a cocotb test fails, when none runs, when the RTL is broken."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.filelist import ROOT, BuildError, closure, read_filelists
from common.runner import build, run_module

PASSING = """
import cocotb
@cocotb.test()
async def passes(dut):
    assert int(dut.W.value) == 8
"""
FAILING = (
    PASSING
    + """
@cocotb.test()
async def fails(dut):
    assert False, "as it must"
"""
)


def run(tmp_path: Path, text: str, **more: str) -> None:
    path = tmp_path / "cocotb_example.py"
    path.write_text(text, encoding="utf-8")
    run_module("nk_skid", path, {"W": 8}, **more)


def test_passes(tmp_path: Path) -> None:
    run(tmp_path, PASSING)


def test_failing_cocotb_test_fails(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"(?s)1 of 2 cocotb tests failed.*as it must"):
        run(tmp_path, FAILING)


def test_failure_says_how_to_repeat_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NK_SEED", "77")
    with pytest.raises(pytest.fail.Exception, match=r"NK_SEED=77 make t T="):
        run(tmp_path, FAILING)


def test_no_test_fails(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="no cocotb test ran"):
        run(tmp_path, "import cocotb\n")


def test_filter_that_matches_nothing_fails(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="no cocotb test ran"):
        run(tmp_path, PASSING, testcase="no_such_test")


def test_broken_import_fails(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception):
        run(tmp_path, "import no_such_module\n")


def test_endless_simulation_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NK_TIMEOUT_S", "2")
    text = PASSING + "    while True: pass\n"
    with pytest.raises(pytest.fail.Exception, match="still running after 2"):
        run(tmp_path, text)


def test_simulation_ends_with_a_killed_pytest(tmp_path: Path) -> None:
    """SIGKILL leaves nobody to clean up: the simulation must end by itself."""
    pid_file = tmp_path / "pid"
    code = f"    import os, pathlib\n    pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\n"
    (tmp_path / "cocotb_example.py").write_text(PASSING + code + "    while True: pass\n")
    build("nk_skid", {"W": 8})
    call = f"run_module('nk_skid', {str(tmp_path / 'cocotb_example.py')!r}, {{'W': 8}})"
    with subprocess.Popen(
        [sys.executable, "-c", f"from common.runner import run_module; {call}"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "rtl-tests")},
        stdout=subprocess.DEVNULL,
    ) as parent:
        end = time.monotonic() + 60
        while not (pid_file.exists() and pid_file.read_text()):
            assert parent.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        simulation = int(pid_file.read_text())
        assert alive(simulation)
        parent.send_signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while alive(simulation):
        assert time.monotonic() < end, f"simulation {simulation} runs on"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """It is there, and no zombie that nobody has waited for yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in "ZX"


def test_build_is_used_again() -> None:
    first = build("nk_skid", {"W": 8})
    made = (first.folder / "sim").stat().st_mtime_ns
    again = build("nk_skid", {"W": 8})
    assert again.folder == first.folder
    assert (again.folder / "sim").stat().st_mtime_ns == made
    assert build("nk_skid", {"W": 9}).folder != first.folder


def test_broken_rtl_is_a_build_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "hw" / "lib", tmp_path / "hw" / "lib")
    path = tmp_path / "hw" / "lib" / "rtl" / "nk_skid.v"
    path.write_text(path.read_text(encoding="utf-8").replace("endmodule", ""), encoding="utf-8")
    monkeypatch.setenv("NK_HW_ROOT", str(tmp_path / "hw"))
    monkeypatch.setenv("NK_BUILD_ROOT", str(tmp_path / "build"))
    with pytest.raises(BuildError, match="build failed"):
        build("nk_skid", {"W": 8})


def test_closure_takes_what_is_used_and_no_more(tmp_path: Path) -> None:
    block = tmp_path / "a"
    block.mkdir()
    (block / "a.f").write_text("# list\n+incdir+inc\ntop.v\nsub.v // used\nother.v\n", "utf-8")
    (block / "inc").mkdir()
    (block / "inc" / "d.vh").write_text("`define D 1\n", "utf-8")
    (block / "top.v").write_text('`include "d.vh"\nmodule top; sub u (); endmodule // other\n')
    (block / "sub.v").write_text("module sub; endmodule\n", "utf-8")
    (block / "other.v").write_text("module other; endmodule\n", "utf-8")
    paths, headers = closure("top", read_filelists(tmp_path))
    assert [p.name for p in paths] == ["sub.v", "top.v"]
    assert [p.name for p in headers] == ["d.vh"]
    with pytest.raises(BuildError, match="no file list"):
        closure("nothing", read_filelists(tmp_path))
