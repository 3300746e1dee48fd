# SPDX-License-Identifier: Apache-2.0
"""The RTL's file lists hw/*/*.f, and which files a module needs.

No imports beyond Python's own: lint, documentation, twin and test runner all use it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class BuildError(Exception):
    """The RTL does not fit together or did not compile.

    tools/mutants.py tells it apart from a failing test by this name.
    """


def hw_root() -> Path:
    """Where the RTL is: NK_HW_ROOT, or hw/ of the repository."""
    return Path(os.environ.get("NK_HW_ROOT") or ROOT / "hw").resolve()


@dataclass(frozen=True)
class FileSet:
    """Every RTL file that the lists hw/*/*.f name: module name -> file, and include folders."""

    modules: Mapping[str, Path]
    incdirs: tuple[Path, ...]
    problems: tuple[str, ...] = ()  # `make lint` reports them; a build fails if it needs the file


def read_filelists(hw: Path | None = None) -> FileSet:
    """Read hw/*/*.f: a path a line, relative to the list; `+incdir+path`; `#` or `//` comments."""
    hw = hw or hw_root()
    modules: dict[str, Path] = {}
    incdirs: list[Path] = []
    problems: list[str] = []
    for flist in sorted(hw.glob("*/*.f")):
        for raw in flist.read_text(encoding="utf-8").splitlines():
            line = re.sub(r"(#|//).*", "", raw).strip()
            if not line:
                continue
            if line.startswith("+incdir+"):
                incdirs.append((flist.parent / line[len("+incdir+") :]).resolve())
                continue
            path = (flist.parent / line).resolve()
            if not path.is_file():
                problems.append(f"{flist}: names {line}, which does not exist")
            elif modules.setdefault(path.stem, path) != path:
                problems.append(f"{flist}: {path.name} is also {modules[path.stem]}")
    return FileSet(modules, tuple(dict.fromkeys(incdirs)), tuple(problems))


_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
_WORD = re.compile(r"\b[A-Za-z_]\w*\b")
_INCLUDE = re.compile(r'`include\s+"([^"]+)"')


def closure(top: str, files: FileSet) -> tuple[list[Path], list[Path]]:
    """The files that `top` needs (itself last) and the headers that they include.

    A module is needed when its name stands in the text of a needed file. That takes at times one
    file too many, never one too few, and keeps a build's hash free of files that it does not use.
    """
    if top not in files.modules:
        raise BuildError(f"no file list in hw/*/*.f names a module {top}")
    needed: dict[str, Path] = {}
    headers: dict[Path, None] = {}

    def scan(path: Path) -> None:
        text = _COMMENT.sub(" ", path.read_text(encoding="utf-8"))
        for name in _INCLUDE.findall(text):
            for folder in (path.parent, *files.incdirs):
                header = folder / name
                if header.is_file():
                    if header not in headers:
                        headers[header] = None
                        scan(header)
                    break
            else:
                raise BuildError(f"{path}: cannot find include file {name}")
        for word in dict.fromkeys(_WORD.findall(text)):
            if word in files.modules and word not in needed and word != top:
                needed[word] = files.modules[word]
                scan(files.modules[word])

    scan(files.modules[top])
    return [*needed.values(), files.modules[top]], list(headers)
