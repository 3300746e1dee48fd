# SPDX-License-Identifier: Apache-2.0
"""Each .pkt is two pytest items: NAME.pkt::sim (nk_core, all scripts in one simulation) and ::twin.

On the twin scripts with `on smoke` alone are played, unless NK_NIGHTLY=1 or the file is named.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from common.runner import build_root, run_module, seed
from pkt.lang import ScriptError, load

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LONGEST_TWIN_US = 10_000_000  # longer ones are for virtual time
SIM_PARAMETERS = {"W": 512, "NVF": 4, "NQS": 2, "FLOWS": 256, "BUILD_ID": 0x12345678}
WRAPPER = ROOT / "rtl-tests" / "core" / "nk_core_tb.v"


@cache
def gaps() -> dict[str, str]:
    """Return the scripts of gaps.txt that must fail for now, with the reason."""
    lines = (HERE / "gaps.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines if line and not line.startswith("#"))


def pytest_collect_file(parent: pytest.Collector, file_path: Path) -> pytest.Collector | None:
    if file_path.suffix == ".pkt":
        return ScriptFile.from_parent(parent, path=file_path)
    return None


def pytest_sessionfinish() -> None:
    if "pkt.twin" in sys.modules:
        sys.modules["pkt.twin"].close()


class ScriptFile(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        try:
            script = load(self.path, HERE)
            on = script.setup.on if script.least_us <= LONGEST_TWIN_US else "sim"
        except ScriptError:
            on = "sim"  # the item says what is wrong
        sim = SimItem.from_parent(self, name="sim")
        if reason := gaps().get(str(self.path.relative_to(HERE))):
            sim.add_marker(pytest.mark.xfail(reason=reason, strict=True))
        yield sim
        asked = any(arg.split("::")[0].endswith(self.path.name) for arg in self.config.args)
        if on == "smoke" or (on == "both" and (asked or os.environ.get("NK_NIGHTLY"))):
            item = TwinItem.from_parent(self, name="twin")
            item.add_marker(pytest.mark.e2e)
            yield item


class ScriptItem(pytest.Item):
    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.parent.name}/{self.path.stem} on {self.name}"

    def repr_failure(self, excinfo: Any, style: Any = None) -> str:
        if excinfo.errisinstance((ScriptError, AssertionError)):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))


class SimItem(ScriptItem):
    def runtest(self) -> None:
        load(self.path, HERE)
        verdicts = simulate(self.session)
        problem = verdicts.get(str(self.path), "the simulation ended before this script was over")
        if problem:
            failed = sum(1 for text in verdicts.values() if text)
            raise AssertionError(f"{problem}\n{failed} of {len(verdicts)} cocotb tests failed")


class TwinItem(ScriptItem):
    def runtest(self) -> None:
        from pkt import twin

        twin.play(load(self.path, HERE))


_VERDICTS: dict[str, dict[str, str]] = {}


def simulate(session: pytest.Session) -> dict[str, str]:
    """Play all scripts that this session has collected, once; the problem of each, or ''.

    With several pytest workers one plays and the others wait for its verdicts.
    """
    paths = [str(i.path) for i in session.items if isinstance(i, SimItem)]
    playable = []
    for path in paths:
        try:
            load(Path(path), HERE)
            playable.append(path)
        except ScriptError:
            pass
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())
    key = hashlib.sha256("\n".join([run, *playable]).encode()).hexdigest()[:16]
    if key in _VERDICTS:
        return _VERDICTS[key]
    folder = build_root().parent / "conformance"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():  # verdicts that several workers shared
        if time.time() - old.stat().st_mtime > 86_400:
            old.unlink(missing_ok=True)
    scripts, lines = folder / f"{key}.scripts", folder / f"{key}.jsonl"
    with (folder / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / f"{key}.done"
        if not done.exists():
            scripts.write_text("\n".join(playable), encoding="utf-8")
            lines.unlink(missing_ok=True)
            env = {
                "NK_SCRIPTS": str(scripts),
                "NK_VERDICTS": str(lines),
                "NK_SEED": str(seed()),
            }
            try:
                run_module(
                    "nk_core_tb", HERE / "pkt" / "sim.py", SIM_PARAMETERS,
                    sources=[WRAPPER], extra_env=env,
                )  # fmt: skip
            except pytest.fail.Exception as failure:
                if not lines.exists():  # no script ran: it did not build, or it died
                    raise AssertionError(str(failure)) from None
            done.touch()
    text = lines.read_text(encoding="utf-8") if lines.exists() else ""
    verdicts = {v["script"]: v["problem"] for v in map(json.loads, text.splitlines())}
    if "PYTEST_XDIST_TESTRUNUID" not in os.environ:
        for path in folder.glob(f"{key}.*"):
            path.unlink()
    _VERDICTS[key] = verdicts
    return verdicts
