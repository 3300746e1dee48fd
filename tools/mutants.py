# SPDX-License-Identifier: Apache-2.0
"""Break the RTL on purpose, one break at a time; the test that a break names must catch it.

    python tools/mutants.py [--check] [--json] [--keep] [ID ...]

Breaks stand in rtl-tests/mutants/*.yaml, a list of
    id:      unique name
    file:    path below hw/
    find:    text that occurs there exactly once
    replace: what stands there instead
    test:    pytest node that must fail, e.g. rtl-tests/lib/test_nk_skid.py::test_nk_skid[64]
    cases:   optional regular expression: run only these cocotb tests of it (quicker)
    why:     what kind of mistake this stands for

The named tests are first run on the RTL as it is, and must pass. Exit code 0: all breaks caught;
1: one survived, or did not compile; 2: the list is wrong, or a test fails without a break.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
LISTS = ROOT / "rtl-tests" / "mutants"
WORK = ROOT / "build" / "mutants"
WORKERS = 2
TIMEOUT_S = 300  # of one simulation: a break may well hang it


@dataclass(frozen=True)
class Mutant:
    id: str
    file: str
    find: str
    replace: str
    test: str
    cases: str = ""
    why: str = ""


@dataclass(frozen=True)
class Result:
    mutant: Mutant
    verdict: str  # caught, SURVIVED, no build, error
    seconds: float
    detail: str


def load(folder: Path = LISTS) -> list[Mutant]:
    """All mutants. Raises ValueError for a list that is wrong."""
    found: dict[str, Mutant] = {}
    for path in sorted(folder.glob("*.yaml")):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8")) or []:
            try:
                mutant = Mutant(**entry)
            except TypeError as error:
                raise ValueError(f"{path.name}: {entry.get('id', entry)}: {error}") from error
            if mutant.id in found:
                raise ValueError(f"{path.name}: {mutant.id} is there twice")
            found[mutant.id] = mutant
    return list(found.values())


def check(mutant: Mutant, hw: Path = ROOT / "hw") -> str:
    """What is wrong with a mutant's entry, or ''."""
    path = hw / mutant.file
    if not path.is_file():
        return f"no file hw/{mutant.file}"
    count = path.read_text(encoding="utf-8").count(mutant.find)
    if count != 1:
        return f"`find` occurs {count} times in hw/{mutant.file}, must be once"
    if mutant.find == mutant.replace:
        return "`replace` is the same as `find`"
    if not (ROOT / mutant.test.split("::")[0]).is_file():
        return f"no test file {mutant.test.split('::')[0]}"
    return ""


def pytest(nodes: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    # A fixed seed: whether a break is caught must not be a matter of luck.
    full = {"NK_SEED": "1", **os.environ, "NK_JOBS": "1", "NK_TIMEOUT_S": str(TIMEOUT_S), **env}
    cmd = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *nodes]
    return subprocess.run(
        cmd, cwd=ROOT, env=full, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def try_one(mutant: Mutant, keep: bool) -> Result:
    started = time.monotonic()
    folder = WORK / mutant.id
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "hw", folder / "hw")
    path = folder / "hw" / mutant.file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(mutant.find, mutant.replace), encoding="utf-8")
    env = {"NK_HW_ROOT": str(folder / "hw"), "NK_BUILD_ROOT": str(folder / "build")}
    if mutant.cases:
        env["COCOTB_TEST_FILTER"] = mutant.cases
    done = pytest([mutant.test], **env)
    (WORK / f"{mutant.id}.log").write_text(done.stdout, encoding="utf-8")
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    verdict, detail = judge(done.returncode, done.stdout)
    return Result(mutant, verdict, time.monotonic() - started, detail)


def judge(code: int, output: str) -> tuple[str, str]:
    """Verdict and a line of explanation from what pytest said."""
    if code == 0:
        return "SURVIVED", "the test passed on broken RTL"
    if code != 1:
        return "error", f"pytest exit code {code}"
    if "BuildError" in output:
        return "no build", "the broken RTL does not compile: a compiler caught it, not the test"
    for sign in ("cocotb tests failed", "simulation still running", "simulator ended abnormally"):
        if sign in output:
            return "caught", sign
    return "error", "the test failed for another reason than a simulation"


def table(results: list[Result]) -> str:
    width = max(len(r.mutant.id) for r in results)
    lines = [
        f"{r.verdict:9} {r.mutant.id:{width}} {r.seconds:5.1f} s  {r.mutant.test.split('/')[-1]}"
        + (
            ""
            if r.verdict == "caught"
            else f"\n          {r.detail}; build/mutants/{r.mutant.id}.log"
        )
        for r in results
    ]
    caught = sum(r.verdict == "caught" for r in results)
    blocks = len({r.mutant.file.split("/")[0] for r in results})
    return "\n".join([*lines, f"mutants: {caught} of {len(results)} caught, in {blocks} blocks"])


def as_json(results: list[Result]) -> list[dict[str, Any]]:
    return [
        {**asdict(r.mutant), "verdict": r.verdict, "seconds": round(r.seconds, 1)} for r in results
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Deliberate RTL breaks, each caught by its test.")
    parser.add_argument("--check", action="store_true", help="only check the list itself")
    parser.add_argument("--json", action="store_true", help="report as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the broken copies")
    parser.add_argument("ids", nargs="*", help="only these (shell patterns)")
    args = parser.parse_args()
    say = sys.stderr if args.json else sys.stdout

    try:
        mutants = load()
    except ValueError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2
    if args.ids:
        mutants = [m for m in mutants if any(fnmatch.fnmatch(m.id, p) for p in args.ids)]
    wrong = [f"{m.id}: {text}" for m in mutants if (text := check(m))]
    if wrong or not mutants:
        print("\n".join(wrong or ["no such mutant"]), file=sys.stderr)
        return 2
    if args.check:
        print(f"mutants: {len(mutants)} entries are well-formed")
        return 0

    WORK.mkdir(parents=True, exist_ok=True)
    tests = sorted({m.test for m in mutants})
    print(f"{len(tests)} tests on the RTL as it is", file=say, flush=True)
    clean = pytest([*tests, "-n", str(WORKERS)])
    if clean.returncode:
        print(clean.stdout[-5000:], file=sys.stderr)
        print("mutants: a named test fails without any break", file=sys.stderr)
        return 2
    results: list[Result] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for result in pool.map(lambda m: try_one(m, args.keep), mutants):
            results.append(result)
            print(f"  {result.verdict:9} {result.mutant.id}", file=say, flush=True)
    report = json.dumps(as_json(results), indent=1)
    (WORK / "report.json").write_text(report + "\n", encoding="utf-8")
    print(report if args.json else table(results))
    return int(any(r.verdict != "caught" for r in results))


if __name__ == "__main__":
    sys.exit(main())
