#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turn the ABI's description (hw/abi/) into its Verilog, C, Python and documentation forms.

Without options it writes the committed outputs; --check compares them only, and exits 1 with a
diff when one is stale.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import yaml
from systemrdl.compiler import RDLCompiler
from systemrdl.node import RegfileNode, RegNode

ROOT = Path(__file__).resolve().parent.parent
YAML = ROOT / "hw/abi/nk_abi.yaml"
RDL = ROOT / "hw/abi/nk_regs.rdl"

# template -> output
OUTPUTS = {
    "nk_abi.vh.j2": "hw/abi/gen/nk_abi.vh",
    "nk_abi.h.j2": "guestlib/include/nk_abi.h",
    "abi.py.j2": "host/netkernel/abi.py",
    "abi.md.j2": "docs/abi.md",
}

# Arrays of register files get a name of their own for what lies within one element.
ELEMENT_PREFIX = {
    "nk_vf.QS": "QS",
    "nk_vf.DB": "DB",
    "nk_pf.VF": "VFE",
    "nk_pf.NSM": "NSM",
    "nk_pf.VF_STATS": "VFC",
}


class AbiError(Exception):
    """The description contradicts itself."""


@dataclass
class Field:
    name: str
    lsb: int
    width: int
    access: str
    desc: str

    @property
    def whole(self) -> bool:
        """The field is the register: its position says nothing."""
        return self.lsb == 0 and self.width == 32


@dataclass
class Reg:
    name: str
    addr: int
    title: str
    desc: str
    fields: list[Field]
    reset: int | None  # None: nothing in it has a reset value (a status of the card)
    stride: int = 0
    count: int = 1


@dataclass
class Block:
    """Registers with one address base: a function's BAR0, or an element of an array in it."""

    prefix: str
    title: str
    size: int
    regs: list[Reg] = field(default_factory=list)
    elements: list[Element] = field(default_factory=list)


@dataclass
class Element:
    """An array of register files inside a block."""

    name: str
    base: int
    stride: int
    count: int
    block: Block


def _text(node: Any, prop: str) -> str:
    value = node.get_property(prop, default="") or ""
    return " ".join(str(value).split())


def _access(f: Any) -> str:
    if f.get_property("singlepulse"):
        return "w1"
    return str(f.get_property("sw").name)


def _reg(node: RegNode, base: int) -> Reg:
    fields = []
    reset: int | None = None
    for f in node.fields():
        fields.append(Field(f.inst_name.upper(), f.lsb, f.width, _access(f), _text(f, "desc")))
        value = f.get_property("reset")
        if isinstance(value, int):
            reset = (reset or 0) | (value << f.lsb)
    title = node.get_property("name")
    return Reg(
        name=node.inst_name,
        addr=base + node.raw_address_offset,
        title="" if title == node.inst_name else title,
        desc=_text(node, "desc"),
        fields=fields,
        reset=reset,
        stride=node.array_stride or 0 if node.is_array else 0,
        count=node.n_elements if node.is_array else 1,
    )


def _fill(block: Block, node: Any, path: str, base: int = 0) -> None:
    for child in node.children():
        if isinstance(child, RegNode):
            block.regs.append(_reg(child, base))
        elif isinstance(child, RegfileNode) and not child.is_array:
            _fill(block, child, path, base + child.raw_address_offset)
        elif isinstance(child, RegfileNode):
            prefix = ELEMENT_PREFIX[f"{path}.{child.inst_name}"]
            inner = Block(prefix, "", child.array_stride or 0)
            _fill(inner, child, path)
            block.elements.append(
                Element(
                    child.inst_name,
                    base + child.raw_address_offset,
                    child.array_stride or 0,
                    child.n_elements,
                    inner,
                )
            )
        else:
            raise AbiError(f"{path}.{child.inst_name}: kind of node not handled")


def load_blocks() -> list[Block]:
    """The register map: VF and PF, each with its arrays of register files."""
    compiler = RDLCompiler()
    compiler.compile_file(str(RDL))
    blocks = []
    for top, prefix in (("nk_vf", "VF"), ("nk_pf", "PF")):
        node = compiler.elaborate(top_def_name=top).top
        block = Block(prefix, node.get_property("name"), 0)
        _fill(block, node, top)
        blocks.append(block)
    return blocks


def load_abi() -> dict[str, Any]:
    """nk_abi.yaml, with the values that follow from it filled in and its own rules checked."""
    abi: dict[str, Any] = yaml.safe_load(YAML.read_text())
    nqe = abi["nqe"]
    _check_layout("nqe", nqe["fields"], nqe["size"])
    _check_layout("status_block", abi["status_block"]["fields"], abi["status_block"]["size"])
    by_name = {f["name"]: f for f in nqe["fields"]}
    for sub in nqe["subfields"]:
        if sub["of"] not in by_name:
            raise AbiError(f"subfield {sub['name']} of unknown field {sub['of']}")
        for part in sub["parts"]:
            if part["lsb"] + part["width"] > 8 * by_name[sub["of"]]["bytes"]:
                raise AbiError(f"part {part['name']} does not fit into {sub['of']}")
    for key, number in (
        ("queues", "index"),
        ("ops", "value"),
        ("status", "value"),
        ("flow_states", "value"),
        ("options", "value"),
        ("congestion_controls", "value"),
    ):
        _check_unique(key, abi[key], number)
    for key in ("global", "vf", "queue_set"):
        _check_unique(f"counters.{key}", abi["counters"][key], "index")
        abi["counters"][key + "_count"] = 1 + max(c["index"] for c in abi["counters"][key])
    queues = {q["name"] for q in abi["queues"]}
    for op in abi["ops"]:
        if op["queue"] not in queues:
            raise AbiError(f"op {op['name']} is in unknown queue {op['queue']}")
    abi["version"] = abi["abi"]["major"] << 16 | abi["abi"]["minor"]
    return abi


def _check_layout(what: str, fields: list[dict[str, Any]], size: int) -> None:
    end = 0
    for f in fields:
        if f["offset"] < end:
            raise AbiError(f"{what}.{f['name']} overlaps the field before it")
        if f["offset"] % f["bytes"]:
            raise AbiError(f"{what}.{f['name']} is not naturally aligned")
        end = f["offset"] + f["bytes"]
    if end > size:
        raise AbiError(f"{what}: fields end at {end}, size is {size}")


def _check_unique(what: str, rows: list[dict[str, Any]], number: str) -> None:
    for key in ("name", number):
        values = [row[key] for row in rows]
        if len(values) != len(set(values)):
            raise AbiError(f"{what}: a {key} is there twice")


def render() -> dict[str, str]:
    """Path below the repository -> text, for every output."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT / "tools/templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters["hex"] = lambda value, digits=0: f"0x{value:0{digits}x}"
    env.filters["vhex"] = lambda value: f"{value:x}"
    env.filters["cell"] = lambda text: str(text).replace("|", "\\|")
    blocks = load_blocks()
    names = {
        "abi": load_abi(),
        "blocks": blocks,
        "pages": [*blocks, *(e.block for b in blocks for e in b.elements)],
        "notice": "Generated by tools/gen_abi.py from hw/abi/nk_abi.yaml and hw/abi/nk_regs.rdl;"
        " do not edit, run `make gen`.",
    }
    texts = {out: env.get_template(template).render(names) for template, out in OUTPUTS.items()}
    for out in ("hw/abi/gen/nk_abi.vh", "guestlib/include/nk_abi.h"):
        macros = re.findall(r"^[#`]define (\w+) ", texts[out], re.MULTILINE)
        twice = {m for m in macros if macros.count(m) > 1}
        if twice:
            raise AbiError(f"{out}: defined twice: {', '.join(sorted(twice))}")
    return texts


def check(texts: dict[str, str]) -> int:
    """Print a diff of what is stale; the number of stale files."""
    stale = 0
    for name, fresh in texts.items():
        path = ROOT / name
        old = path.read_text() if path.exists() else ""
        if old == fresh:
            continue
        stale += 1
        diff = difflib.unified_diff(
            old.splitlines(True), fresh.splitlines(True), f"{name} (committed)", f"{name} (fresh)"
        )
        sys.stdout.writelines(diff)
    return stale


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    parser.add_argument("--out", type=Path, default=ROOT, help="write below this folder")
    args = parser.parse_args(argv)
    texts = render()
    if args.check:
        stale = check(texts)
        if stale:
            print(f"\n{stale} generated file(s) differ from hw/abi: run `make gen` and commit.")
        return 1 if stale else 0
    for name, text in texts.items():
        path = args.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:  # keep the time stamp: make looks at it
            path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
