# SPDX-License-Identifier: Apache-2.0
"""The project's own rules for Verilog, checked on pyverilog's syntax tree (part of `make lint`).

A finding can be waived in hw/lint_waivers.vlt by a line `// nk_rule: RULE FILE -- reason`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pyverilog.vparser import ast as va
from rtl_ast import Module, Port, source, walk


@dataclass(frozen=True)
class Finding:
    rule: str
    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: [{self.rule}] {self.text}"


Rule = Callable[[Module], Iterator[tuple[int, str]]]
RULES: dict[str, Rule] = {}


def rule(name: str) -> Callable[[Rule], Rule]:
    def add(function: Rule) -> Rule:
        RULES[name] = function
        return function

    return add


@rule("head")
def head(m: Module) -> Iterator[tuple[int, str]]:
    """SPDX line, then the file's purpose in a sentence."""
    lines = [*m.text.splitlines()[:2], "", ""]
    if lines[0] != "// SPDX-License-Identifier: Apache-2.0":
        yield 1, "first line must be the SPDX line"
    if not re.match(r"// \S.{15,}", lines[1]):
        yield 2, "second line must say the purpose of the module"


@rule("one-module")
def one_module(m: Module) -> Iterator[tuple[int, str]]:
    """One module a file, named after it: a name leads to everything."""
    if m.names != [m.path.stem]:
        yield m.line(m.tree), f"holds modules {m.names}, must hold {m.path.stem} alone"


@rule("nettype")
def nettype(m: Module) -> Iterator[tuple[int, str]]:
    """No implicit nets here, and none forbidden in the file after this one (vendor code)."""
    found = re.findall(r"^`default_nettype\s+(\w+)", m.text, re.M)
    if found != ["none", "wire"]:
        yield (
            1,
            "needs `default_nettype none before the module and `default_nettype wire at the end",
        )


@rule("documented")
def documented(m: Module) -> Iterator[tuple[int, str]]:
    """Each parameter and port has a comment behind it or a heading above it; clk, rst need none."""
    for param in m.params:
        if not param.doc:
            yield param.line, f"parameter {param.name} has no comment"
    for port in m.ports:
        if port.direction == "?":
            yield m.line(m.tree), f"port {port.name}: declare direction and width in the header"
        elif not port.doc and not port.group and port.name not in ("clk", "rst"):
            yield port.line, f"port {port.name} has neither comment nor heading"


@rule("handshake")
def handshake(m: Module) -> Iterator[tuple[int, str]]:
    """A ready has a valid of the same prefix that flows the other way."""
    ports: dict[str, Port] = {p.name: p for p in m.ports}
    for port in m.ports:
        if not port.name.endswith("_ready"):
            continue
        partner = ports.get(port.name.removesuffix("_ready") + "_valid")
        if partner is None:
            yield port.line, f"{port.name} has no {port.name.removesuffix('_ready')}_valid"
        elif partner.direction == port.direction:
            yield port.line, f"{port.name} and {partner.name} flow the same way"


@rule("clocking")
def clocking(m: Module) -> Iterator[tuple[int, str]]:
    """One clock edge or @*: no asynchronous resets, no hand-written sensitivity lists.

    Clocked blocks assign with <=, combinational ones with =.
    """
    for always in _always(m):
        sens = list(always.sens_list.list) if always.sens_list else []
        clocked = len(sens) == 1 and sens[0].type == "posedge"
        if not clocked and not (len(sens) == 1 and sens[0].type == "all"):
            yield m.line(always), "sensitivity must be one posedge, or *"
            continue
        loops = set(_loop_variables(always)) | _integers(m)
        for node in walk(always.statement):
            if isinstance(node, va.BlockingSubstitution) and clocked:
                if not set(_targets(node.left)) <= loops:
                    yield m.line(node), f"= in a clocked block: {source(node.left)}"
            elif isinstance(node, va.NonblockingSubstitution) and not clocked:
                yield m.line(node), f"<= in a combinational block: {source(node.left)}"


@rule("no-latch")
def no_latch(m: Module) -> Iterator[tuple[int, str]]:
    """A combinational block assigns whatever it assigns on every path (best: defaults first)."""
    for always in _always(m):
        sens = list(always.sens_list.list) if always.sens_list else []
        if not sens or sens[0].type != "all":
            continue
        every, some = _assigned(always.statement)
        loops = set(_loop_variables(always)) | _integers(m)
        for name in sorted(some - every - loops):
            yield m.line(always), f"{name} keeps its value on some path of this block: a latch"


@rule("case-default")
def case_default(m: Module) -> Iterator[tuple[int, str]]:
    """A case has a default, so that an impossible value has a defined effect. No casex."""
    for node in walk(m.tree):
        if isinstance(node, va.CasexStatement):
            yield m.line(node), "casex takes an x for a match: use casez or compare"
        if isinstance(node, va.CaseStatement) and all(c.cond is not None for c in node.caselist):
            yield m.line(node), "case without default"


@rule("named-ports")
def named_ports(m: Module) -> Iterator[tuple[int, str]]:
    """Instances connect by name: a port added later must not shift the others."""
    for node in walk(m.tree):
        if isinstance(node, va.Instance):
            if any(p.portname is None for p in node.portlist):
                yield m.line(node), f"instance {node.name}: connect ports by name"
            if any(p.paramname is None for p in node.parameterlist):
                yield m.line(node), f"instance {node.name}: set parameters by name"


@rule("no-initialiser")
def no_initialiser(m: Module) -> Iterator[tuple[int, str]]:
    """Registers start by reset, not by an initial value that only some targets honour."""
    for node in walk(m.tree):
        if not isinstance(node, va.Decl):
            continue
        regs = {d.name for d in node.list if isinstance(d, va.Reg)}
        for item in node.list:
            if isinstance(item, va.Assign) and set(_targets(item.left)) & regs:
                yield m.line(item), f"reg {source(item.left)} has an initial value"


@rule("length")
def length(m: Module) -> Iterator[tuple[int, str]]:
    """A module that one can still read: 600 lines at most, 100 to 400 are comfortable."""
    lines = m.text.count("\n")
    if lines > 600:
        yield lines, f"{lines} lines: two modules in one?"


# ------------------------------------------------------------------------------------------ help


def _always(m: Module) -> Iterator[Any]:
    return (n for n in walk(m.tree) if isinstance(n, va.Always))


def _integers(m: Module) -> set[str]:
    return {n.name for n in walk(m.tree) if isinstance(n, va.Integer)}


def _loop_variables(node: Any) -> Iterator[str]:
    for loop in walk(node):
        if isinstance(loop, va.ForStatement):
            yield from _targets(loop.pre.left)


def _targets(left: Any) -> Iterator[str]:
    """Names that an assignment's left side writes."""
    if isinstance(left, va.Lvalue):
        yield from _targets(left.var)
    elif isinstance(left, va.Concat):
        for part in left.list:
            yield from _targets(part)
    elif isinstance(left, va.Partselect | va.Pointer):
        yield from _targets(left.var)
    elif isinstance(left, va.Identifier):
        yield str(left.name)


Sets = tuple[set[str], set[str]]


def _assigned(node: Any) -> Sets:
    """Names assigned (on every path, on some path) through a statement."""
    if node is None:
        return set(), set()
    if isinstance(node, va.Block):
        every: set[str] = set()
        some: set[str] = set()
        for statement in node.statements:
            e, s = _assigned(statement)
            every |= e
            some |= s
        return every, some
    if isinstance(node, va.Substitution):
        # A part-select on its own line is taken for the whole: Verilator's -Wall looks at the bits.
        names = set(_targets(node.left))
        return names, names
    if isinstance(node, va.IfStatement):
        return _join([_assigned(node.true_statement), _assigned(node.false_statement)])
    if isinstance(node, va.CaseStatement):
        branches = [_assigned(c.statement) for c in node.caselist]
        if all(c.cond is not None for c in node.caselist):
            branches.append((set(), set()))
        return _join(branches)
    if isinstance(node, va.ForStatement):
        e, s = _assigned(node.statement)
        return e, s  # bounds are constants: the body runs
    return set(), set()


def _join(branches: Iterable[Sets]) -> Sets:
    branches = list(branches)
    every = set.intersection(*(e for e, _ in branches))
    some = set.union(*(s for _, s in branches))
    return every, some


def check(module: Module) -> list[Finding]:
    """All findings of one file, waivers not yet applied."""
    return [
        Finding(name, str(module.path), line, text)
        for name, function in RULES.items()
        for line, text in function(module)
    ]
