# SPDX-License-Identifier: Apache-2.0
"""Build a module with Verilator (or Icarus) once, then run cocotb tests on it from pytest.

A test file holds both the cocotb tests and the pytest function that runs them::

    @cocotb.test()
    async def stress(dut): ...          # named without `test_`: pytest must not collect it

    @pytest.mark.parametrize("w", [8, 64])
    def test_nk_skid(w):
        run_module("nk_skid", __file__, {"W": w})

Builds live in build/rtl/<top>-<hash>/, keyed by everything that goes into them, so the same sources
and parameters are compiled once, whatever number of tests and runs use them.

Environment:
    NK_SEED             replay a run
    NK_WAVES=1          write dump.vcd into the run's folder
    NK_SIM=icarus       four-state simulator
    NK_HW_ROOT          another copy of hw/ (tools/mutants.py)
    NK_BUILD_ROOT       another build folder
    NK_JOBS             compiler processes at a time (2)
    NK_TIMEOUT_S        upper bound of every simulation's run time
    COCOTB_TEST_FILTER  regular expression: run only these cocotb tests
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import find_libpython
import pytest
from cocotb_tools import config as cocotb_config

from common.filelist import ROOT, BuildError, FileSet, closure, read_filelists

RTL_TESTS = ROOT / "rtl-tests"
SHARED = ROOT / "build" / "rtl"  # what does not depend on the RTL
BIN = Path(sys.executable).parent  # the venv's programs, without following the symbolic link

# OPT_SLOW=-O0: one generated constructor file takes minutes at -O2 and runs once.
MAKE_VARS = ["OPT_FAST=-O2", "OPT_SLOW=-O0", "OPT_GLOBAL=-O2"]
# The pip wheel's verilated.mk leaves these three empty.
WHEEL_VARS = [
    "CFG_CXXFLAGS_PCH_I=-include",
    "CFG_LDLIBS_THREADS=-pthread",
    "CFG_CXXFLAGS_STD=-std=gnu++17",
]
# Warnings are `make lint`'s business. Unreset registers start at random values (2-state simulation
# would otherwise hide a missing reset).
VERILATOR_FLAGS = ["-Wno-fatal", "-Wno-lint", "-Wno-style", "--x-initial", "unique"]
# Whatever ends this process, SIGKILL too, ends what it has started: no simulation is left to run on alone.
WITH_US = ["setpriv", "--pdeathsig", "KILL", "--"]
CACHE_VERSION = "1"  # raise it when this file changes how builds are made
KEEP_BUILDS_PER_TOP = 24


def build_root() -> Path:
    return Path(os.environ.get("NK_BUILD_ROOT") or ROOT / "build").resolve() / "rtl"


def seed() -> int:
    """NK_SEED, or a fresh random seed."""
    given = os.environ.get("NK_SEED")
    return int(given, 0) if given else random.SystemRandom().getrandbits(31)


# ----------------------------------------------------------------------------------------- build


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _run_logged(cmd: list[str], cwd: Path, log: Path, env: Mapping[str, str]) -> None:
    with log.open("a", encoding="utf-8") as out:
        out.write("$ " + shlex.join(cmd) + "\n")
        out.flush()
        code = subprocess.run(
            [*WITH_US, *cmd], cwd=cwd, stdout=out, stderr=subprocess.STDOUT, env=env
        ).returncode
    if code:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-40:])
        raise BuildError(f"RTL build failed ({cmd[0]} exit {code}); full log: {log}\n{tail}")


def _vcode(value: object) -> str:
    """A parameter value as Verilog text. Wide Python integers become sized hexadecimal."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int) and not -(2**31) <= value < 2**31:
        return f"{max(value.bit_length(), 1)}'h{value:x}"
    if isinstance(value, str) and not re.match(r"^\d*'[hdb]", value):
        return f'"{value}"'
    return str(value)


@dataclass(frozen=True)
class Build:
    """One finished compilation."""

    top: str
    simulator: str
    folder: Path
    waves: bool

    def command(self, run_seed: int) -> list[str]:
        if self.simulator == "icarus":
            lib = cocotb_config.lib_entry("vpi", "icarus")
            return ["vvp", "-m", str(lib), str(self.folder / "sim.vvp")]
        # +rand+reset+2: registers without reset start random, by this run's seed.
        args = ["+verilator+rand+reset+2", f"+verilator+seed+{run_seed % 0x7FFFFFFE + 1}"]
        return [str(self.folder / "sim"), *(["--trace"] if self.waves else []), *args]


def build(
    top: str,
    parameters: Mapping[str, object] | None = None,
    defines: Mapping[str, object] | None = None,
    sources: Iterable[str | Path] | None = None,
    simulator: str = "verilator",
    visible: Iterable[str] = (),
    waves: bool = False,
) -> Build:
    """Compile `top`, or find it compiled. See run_module for the arguments."""
    files = read_filelists()
    extra = {Path(s).stem: (ROOT / s).resolve() for s in sources or ()}
    files = FileSet({**files.modules, **extra}, files.incdirs)
    paths, headers = closure(top, files)
    params = {k: _vcode(v) for k, v in sorted((parameters or {}).items())}
    defs = {k: str(v) for k, v in sorted((defines or {}).items())}
    modules_seen = sorted({top, *visible})

    digest = hashlib.sha256()
    meta = [CACHE_VERSION, simulator, waves, top, params, defs, modules_seen]
    meta += [MAKE_VARS, VERILATOR_FLAGS, _tool_version(simulator)]
    digest.update(json.dumps(meta).encode())
    for path in [*paths, *headers]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    folder = build_root() / f"{top}-{digest.hexdigest()[:16]}"
    done = folder / ".done"

    with _lock(build_root() / ".locks" / folder.name):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            incs = [f"-I{d}" for d in dict.fromkeys(h.parent for h in headers)]
            incs += [f"-I{d}" for d in files.incdirs]
            dflags = [f"-D{k}={v}" for k, v in defs.items()]
            if simulator == "icarus":
                _build_icarus(top, folder, params, [*incs, *dflags], paths)
            else:
                _build_verilator(top, folder, params, [*incs, *dflags], paths, modules_seen, waves)
            (folder / "params.json").write_text(json.dumps(params), encoding="utf-8")
            _prune(top, keep=folder)
        done.touch()
    return Build(top, simulator, folder, waves)


def _tool_version(simulator: str) -> str:
    if simulator == "icarus":
        return "icarus"
    from importlib.metadata import version

    return f"{version('verilator')} {version('cocotb')} {sys.version_info[:2]}"


def _build_icarus(
    top: str, folder: Path, params: Mapping[str, str], flags: list[str], paths: list[Path]
) -> None:
    pflags = [f"-P{top}.{k}={v}" for k, v in params.items()]
    # Every register of Icarus starts as x by itself. Its time unit must allow cocotb's clock steps.
    scale = folder / "timescale.f"
    scale.write_text("+timescale+1ns/1ps\n", encoding="utf-8")
    cmd = ["iverilog", "-g2005", "-o", str(folder / "sim.vvp"), "-s", top, "-f", str(scale)]
    cmd += [*flags, *pflags, *map(str, paths)]
    _run_logged(cmd, folder, folder / "build.log", _tool_env())


def _build_verilator(
    top: str,
    folder: Path,
    params: Mapping[str, str],
    flags: list[str],
    paths: list[Path],
    modules_seen: list[str],
    waves: bool,
) -> None:
    # Only the modules asked for are open to cocotb: --public-flat-rw would slow the whole design.
    control = folder / "visible.vlt"
    lines = [f'public_flat_rw -module "{m}" -var "*"' for m in modules_seen]
    control.write_text("\n".join(["`verilator_config", *lines, ""]), encoding="utf-8")
    libs = cocotb_config.libs_dir
    main = cocotb_config.share_dir / "lib" / "verilator" / "verilator.cpp"
    cmd = [str(BIN / "verilator"), "--cc", "--exe", "--vpi", "-Mdir", str(folder)]
    cmd += ["--top-module", top, "--prefix", "Vtop", "-o", "sim", "--timescale", "1ns/1ps"]
    cmd += ["-LDFLAGS", f"-Wl,-rpath,{libs} -L{libs} -lcocotbvpi_verilator"]
    cmd += [*VERILATOR_FLAGS, *(["--trace"] if waves else []), *flags]
    cmd += [f"-G{k}={v}" for k, v in params.items()]
    cmd += [str(main), str(control), *map(str, paths)]
    log = folder / "build.log"
    _run_logged(cmd, folder, log, _tool_env())

    # Verilator's own runtime is the same for every model and slower to compile than most of them:
    # take its objects from the first build that made them.
    tag = hashlib.sha256(json.dumps([_tool_version("verilator"), MAKE_VARS, waves]).encode())
    runtime = SHARED / f".runtime-{tag.hexdigest()[:12]}"
    make = ["make", "-j", os.environ.get("NK_JOBS", "2"), "-f", "Vtop.mk", f"VM_TRACE={int(waves)}"]
    make += [*MAKE_VARS, *WHEEL_VARS]
    with _lock(SHARED / ".locks" / runtime.name):
        if not runtime.is_dir():
            # verilated*.o are their own targets; see VK_GLOBAL_OBJS in verilated.mk.
            mk = (folder / "Vtop_classes.mk").read_text(encoding="utf-8")
            objects = sorted(set(re.findall(r"^\s+(verilated\w*)\s*\\?$", mk, re.M)))
            _run_logged([*make, *(f"{o}.o" for o in objects)], folder, log, _tool_env())
            staging = runtime.with_name(runtime.name + ".new")
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            for obj in objects:
                shutil.copy2(folder / f"{obj}.o", staging)
            staging.rename(runtime)
    for obj in runtime.glob("*.o"):
        shutil.copy(obj, folder)  # newer than its source: make takes it as it is
    _run_logged(make, folder, log, _tool_env())
    for junk in [*folder.glob("*.gch"), *folder.glob("*.o"), *folder.glob("*.a")]:
        junk.unlink()


def _tool_env() -> dict[str, str]:
    """The environment for compilers: an outer make's flags and job server stay outside."""
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    env["PATH"] = f"{BIN}{os.pathsep}{env.get('PATH', '')}"
    return env


def _prune(top: str, keep: Path) -> None:
    """Drop the oldest builds of one module, so that the cache does not grow for ever."""
    olds = [p for p in build_root().glob(f"{top}-*/.done") if p.parent != keep]
    for done in sorted(olds, key=lambda p: p.stat().st_mtime)[: -KEEP_BUILDS_PER_TOP or None]:
        shutil.rmtree(done.parent, ignore_errors=True)


# ------------------------------------------------------------------------------------------- run


def run_module(
    toplevel: str,
    test_module: str | Path,
    parameters: Mapping[str, object] | None = None,
    sources: Iterable[str | Path] | None = None,
    defines: Mapping[str, object] | None = None,
    simulator: str | None = None,
    *,
    visible: Iterable[str] = (),
    testcase: str | None = None,
    timeout_s: float = 800,
    extra_env: Mapping[str, str] | None = None,
) -> None:
    """Build `toplevel` and run the cocotb tests of `test_module` on it.

    Fails the calling pytest test if one of them fails, or if none ran.

    test_module: path of the Python file (`__file__`), or an importable name.
    parameters:  Verilog parameters of the top.
    sources:     files beside those of hw/*/*.f (test-only Verilog), relative to the repository.
    defines:     Verilog macros.
    simulator:   "verilator" or "icarus" (four states); NK_SIM otherwise.
    visible:     modules below the top whose signals the test reads; else only the top's are open.
    testcase:    regular expression: run only the cocotb tests whose name it finds.
    extra_env:   for the test, read there with os.environ.
    """
    __tracebackhide__ = True
    simulator = simulator or os.environ.get("NK_SIM") or "verilator"
    waves = os.environ.get("NK_WAVES", "0") not in ("", "0")
    timeout_s = min(timeout_s, float(os.environ.get("NK_TIMEOUT_S", "inf")))
    made = build(toplevel, parameters, defines, sources, simulator, visible, waves)
    run_seed = seed()

    # "rtl-tests/lib/test_nk_skid.py::test_nk_skid[8] (call)" while pytest runs, else empty.
    node = os.environ.get("PYTEST_CURRENT_TEST", "").rsplit(" ", 1)[0]
    label = re.sub(r"[^\w.-]+", "_", node.split("::", 1)[-1] or Path(test_module).stem)
    run_dir = build_root().parent / "rtl-runs" / Path(test_module).stem / f"{label}-{os.getpid()}"
    shutil.rmtree(run_dir, ignore_errors=True)
    run_dir.mkdir(parents=True)
    results, log = run_dir / "results.xml", run_dir / "sim.log"

    env = {
        **_tool_env(),
        "PYTHONPATH": os.pathsep.join(
            map(str, (RTL_TESTS, Path(test_module).resolve().parent, ROOT / "host"))
        ),
        "PYGPI_PYTHON_BIN": sys.executable,
        "GPI_USERS": f"{find_libpython.find_libpython()};{cocotb_config.pygpi_entry_point()}",
        "COCOTB_TOPLEVEL": toplevel,
        "COCOTB_TEST_MODULES": Path(test_module).stem,
        "TOPLEVEL_LANG": "verilog",
        "COCOTB_RESULTS_FILE": str(results),
        "COCOTB_RANDOM_SEED": str(run_seed),
        "COCOTB_LOG_LEVEL": os.environ.get("COCOTB_LOG_LEVEL", "INFO"),
        "NK_SEED": str(run_seed),
        "NK_PARAMS": json.dumps(dict(parameters or {})),
        "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", "default"),
        **(extra_env or {}),
    }
    if simulator == "verilator":
        env["COCOTB_TRUST_INERTIAL_WRITES"] = "1"
    if testcase:
        env["COCOTB_TEST_FILTER"] = testcase
    env["PATH"] += os.pathsep + str(cocotb_config.libs_dir)

    print(f"{toplevel} {dict(parameters or {})} on {simulator}: NK_SEED={run_seed} log={log}")
    timed_out = False
    with log.open("w") as out:
        sim = subprocess.Popen(
            [*WITH_US, *made.command(run_seed)],
            cwd=run_dir,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = sim.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            timed_out, code = True, -1
        finally:
            if sim.poll() is None:
                os.killpg(sim.pid, signal.SIGKILL)
                sim.wait()

    ran, failed = _read_results(results)
    problem = ""
    if timed_out:
        problem = f"simulation still running after {timeout_s} s"
    elif failed:
        reasons = [f"  {name}: {text}" for name, text in failed.items()]
        problem = f"{len(failed)} of {ran} cocotb tests failed:\n" + "\n".join(reasons[:5])
    elif code:
        problem = f"simulator ended abnormally (exit code {code})"
    elif not ran:
        problem = "no cocotb test ran: a test that does not run proves nothing"
    if problem:
        # A cocotb failure says its reason itself; what else went wrong stands at the log's end.
        lines = [] if failed else log.read_text(errors="replace").splitlines()[-40:]
        tail = "\n".join(lines)
        again = f"NK_SEED={run_seed} make t T='{node or test_module}'"
        pytest.fail(
            f"{problem}\nlog: {log}\n{tail}\nagain: {again}\n"
            f"       (NK_WAVES=1 writes {run_dir}/dump.vcd)",
            pytrace=False,
        )
    print(f"{ran} cocotb tests passed")
    shutil.rmtree(run_dir, ignore_errors=True)


def _read_results(path: Path) -> tuple[int, dict[str, str]]:
    """Number of tests that ran, and those that failed with their reasons."""
    if not path.is_file():
        return 0, {}
    ran: int = 0
    failed: dict[str, str] = {}
    try:
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    except ElementTree.ParseError:  # the simulator died while writing
        return 0, {}
    for case in cases:
        if case.find("skipped") is not None:
            continue
        ran += 1
        bad = case.find("failure") if case.find("failure") is not None else case.find("error")
        if bad is not None:
            text = (bad.text or bad.get("message") or "").strip().splitlines()
            failed[case.get("name", "?")] = "\n    ".join(text[-12:])
    return ran, failed
