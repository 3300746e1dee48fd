# SPDX-License-Identifier: Apache-2.0
"""Read a Verilog file with pyverilog: syntax tree, ports, parameters, instances.

Shared by rtl_rules.py and rtl_docs.py. pyverilog's own preprocessor call loses the line numbers
after an `include`, so the preprocessing (by Icarus, as in pyverilog) is done here.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyverilog.ast_code_generator.codegen import ASTCodeGenerator
from pyverilog.vparser import ast as va
from pyverilog.vparser.parser import VerilogParser

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "rtl-tests"))
from common.filelist import FileSet, read_filelists  # noqa: E402,F401

TABLES = ROOT / "build" / "pyverilog"  # PLY's parse tables


class RtlError(Exception):
    """A file that does not parse; the text says where."""


@dataclass(frozen=True)
class Port:
    name: str
    direction: str  # input, output, inout
    width: str  # "1" or "W-1:0"
    group: str  # heading comment above
    doc: str  # comment behind
    line: int


@dataclass(frozen=True)
class Param:
    name: str
    default: str
    doc: str
    line: int


@dataclass
class Module:
    """What the syntax tree and the comments of one file say."""

    path: Path
    text: str
    tree: Any  # pyverilog ModuleDef
    lines: list[int]  # preprocessed line -> source line
    names: list[str] = field(default_factory=list)  # modules in the file
    params: list[Param] = field(default_factory=list)
    ports: list[Port] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.tree.name)

    def line(self, node: Any) -> int:
        """Source line of a node."""
        at = int(node.lineno)
        return self.lines[at] if at < len(self.lines) else 0

    def purpose(self) -> str:
        """First sentence of the comment at the file's head, without 'Purpose:'."""
        words: list[str] = []
        for line in self.text.splitlines()[1:]:
            text = line.removeprefix("//").strip()
            if not line.startswith("//") or not text:
                break
            words.append(text)
        text = re.sub(r"^Purpose:\s*", "", " ".join(words))
        match = re.match(r"(.*?\.)(\s|$)", text)
        return match.group(1) if match else text

    def instances(self) -> list[str]:
        """Names of the modules that it instantiates, without repetition."""
        found = [n.module for n in walk(self.tree) if isinstance(n, va.InstanceList)]
        return sorted(set(found))


def walk(node: Any) -> Iterator[Any]:
    """The node and everything below it."""
    yield node
    for child in node.children():
        if isinstance(child, va.Node):
            yield from walk(child)


_GENERATOR = None


def source(node: Any) -> str:
    """Verilog text of an expression."""
    global _GENERATOR
    if _GENERATOR is None:
        _GENERATOR = ASTCodeGenerator()
    text = str(_GENERATOR.visit(node)).strip()
    # pyverilog puts brackets around every operator; drop those around the whole.
    while text.startswith("(") and text.endswith(")") and _closes_at_end(text):
        text = text[1:-1]
    return text


def _closes_at_end(text: str) -> bool:
    depth = 0
    for at, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return at == len(text) - 1
    return False


def preprocess(path: Path, files: FileSet) -> tuple[str, list[int]]:
    """Text without macros and includes, and for each of its lines the line in `path`."""
    raw = path.read_text(encoding="utf-8").splitlines()
    marked: list[str] = []
    for number, line in enumerate(raw, 1):
        marked.append(line)
        if line.lstrip().startswith("`include"):
            marked.append(f"//@nk-line {number + 1}")
    with tempfile.NamedTemporaryFile("w", suffix=path.name, encoding="utf-8") as copy:
        copy.write("\n".join(marked) + "\n")
        copy.flush()
        incs = [f"-I{d}" for d in (path.parent, *files.incdirs)]
        run = subprocess.run(
            ["iverilog", "-g2005", "-E", *incs, "-o", "/dev/stdout", copy.name],
            capture_output=True,
            text=True,
        )
        if run.returncode:
            raise RtlError(run.stderr.replace(copy.name, str(path)).strip())
    out: list[str] = []
    lines = [0]  # pyverilog counts from 1
    at = 1
    for line in run.stdout.splitlines():
        mark = re.match(r"//@nk-line (\d+)", line)
        out.append("" if mark else line)
        lines.append(at)
        at = int(mark.group(1)) if mark else at + 1
    return "\n".join(out) + "\n", lines


_PARSER: VerilogParser | None = None


def _parse_text(text: str) -> Any:
    """Parse with one parser for all files: making its tables takes a second, a file some 50 ms."""
    global _PARSER
    if _PARSER is None:
        _PARSER = VerilogParser(outputdir=str(TABLES), debug=False)
    _PARSER.lexer.reset_lineno()
    _PARSER.lexer.default_nettype = "wire"
    return _PARSER.parse(text, debug=0)


def parse(path: Path, files: FileSet) -> Module:
    """Parse one file. Raises RtlError."""
    text, lines = preprocess(path, files)
    try:
        tree = _parse_text(text)
    except Exception as error:  # pyverilog raises several kinds, its own and Python's
        where = re.sub(
            r"line:\s*(\d+)",
            lambda m: f"line {lines[min(int(m.group(1)), len(lines) - 1)]}",
            str(error) or type(error).__name__,
        )
        raise RtlError(f"{path}: pyverilog: {where.strip()}") from error
    found = [n for n in tree.description.definitions if isinstance(n, va.ModuleDef)]
    if not found:
        raise RtlError(f"{path}: no module")
    module = Module(path, path.read_text(encoding="utf-8"), found[0], lines)
    module.names = [m.name for m in found]
    _read_header(module)
    return module


def _read_header(module: Module) -> None:
    """Fill in parameters and ports: from the tree; their comments from the text."""
    raw = module.text.splitlines()
    for decl in module.tree.paramlist.params if module.tree.paramlist else ():
        for param in decl.list:
            at = module.line(param)
            behind = _comment_behind(raw, at, param.name)
            doc = behind or _comment_above(raw, at)
            module.params.append(Param(param.name, source(param.value), doc, at))
    group = ""
    last = max([module.line(module.tree), *(p.line for p in module.params)])
    for port in module.tree.portlist.ports if module.tree.portlist else ():
        first = getattr(port, "first", None)
        if first is None:  # Verilog-1995 list of names: the checker complains
            module.ports.append(Port(port.name, "?", "?", "", "", 0))
            continue
        at = module.line(first)
        for number in range(last + 1, at):  # a heading stands on a line of its own
            line = raw[number - 1].strip()
            if line.startswith("//"):
                above = raw[number - 2].strip().startswith("//")
                text = line.removeprefix("//").strip()
                group = f"{group} {text}" if above and last < number - 1 else text
        last = at
        width = "1"
        if first.width is not None:
            width = f"{_bound(first.width.msb)}:{_bound(first.width.lsb)}"
        direction = type(first).__name__.lower()
        doc = _comment_behind(raw, at, first.name)
        module.ports.append(Port(first.name, direction, width, group, doc, at))


def _bound(node: Any) -> str:
    """A bound of a range: a number where it is constant, else the expression."""
    text = source(node).replace(" ", "")
    match = re.fullmatch(r"(\d+)-(\d+)", text)
    return str(int(match.group(1)) - int(match.group(2))) if match else text


def _comment_behind(raw: list[str], line: int, name: str) -> str:
    text = raw[line - 1] if 0 < line <= len(raw) else ""
    code, _, comment = text.partition("//")
    return comment.strip() if re.search(rf"\b{re.escape(name)}\b", code) else ""


def _comment_above(raw: list[str], line: int) -> str:
    """The comment lines directly above; parameters on successive lines may share them."""
    at = line - 2
    words: list[str] = []
    while at >= 0 and raw[at].strip().startswith("//"):
        words.insert(0, raw[at].strip().removeprefix("//").strip())
        at -= 1
    return " ".join(words)
