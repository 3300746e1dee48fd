# SPDX-License-Identifier: Apache-2.0
"""What hw/formal/tcb.v assumes of a flow's state: the bounds of hw/tcp/data/tcb.yaml, as Verilog.

A field that stands in another's place, or is needed only at times, is bound only then.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from common.filelist import hw_root

RULE = re.compile(
    r"(?P<kind>[a-z]+)(?P<way>[+-]?)(:(?P<bits>\d+)(/(?P<unit>\d+))?(\*(?P<count>\d+))?)?"
    r"(@(?P<shift>-?\d+)(\?(?P<flag>\w+))?)?( in \S+)?( if (?P<cond>.+?))?( else \w+)?"
)


def flags(text: str) -> str:
    """A condition on fields as Verilog."""
    return re.sub(
        r"([A-Z][A-Z0-9_]*)(?:\[(\d)\])?",
        lambda m: f"((t[`TCB_{m[1]}] >> {m[2] or 0}) & 1'b1)",
        text,
    )


def text() -> str:
    """One `assume` a field (and element) that the memory does not keep whole."""
    lines = ["// SPDX-License-Identifier: Apache-2.0"]
    source = yaml.safe_load((hw_root() / "tcp/data/tcb.yaml").read_text(encoding="utf-8"))
    needed, lowest = source["check"]["needed"], source["check"]["lowest"]
    valid: dict[str, str] = {}
    for name, _, keep, _ in source["fields"]:
        if keep.startswith("apart:"):
            for field in keep[6:].partition(" ")[0].split(","):
                valid[field] = name
    for name, width, keep, _ in source["fields"]:
        m = RULE.fullmatch(keep)
        # What follows from other fields, or is bound by tcb.v itself.
        if keep.startswith(("apart:", "is:")) or m["kind"] in (
            "all",
            "none",
            "edge",
            "order",
            "ring",
        ):
            continue
        kind, bits, count = m["kind"], int(m["bits"]), int(m["count"] or 1)
        for i in range(count):
            part = width // count
            # A part of a part-select is no Verilog: shift the element down and cut it off.
            x = f"(t[`TCB_{name}] >> {i * part}) & {part}'d{(1 << part) - 1}"
            on = [flags(c) for c in (m["cond"], needed.get(name)) if c]
            if name in valid:
                on.append(f"((t[`TCB_{valid[name]}] >> {i}) & 1'b1)")
            if name in lowest and kind in ("una", "nxt"):
                on.append("opening")
            if kind in ("low", "float"):
                if name in lowest:
                    continue
                rule = f"(({x}) >> {bits}) == 0"
            else:
                base = {"una": "una", "nxt": "nxt", "now": "now_us"}[kind]
                if m["shift"]:
                    # Written as nk_tcb_unpack does, so that the solver sees one sum, not two.
                    amount = f"{'-' if int(m['shift']) < 0 else ''}32'd{abs(int(m['shift']))}"
                    amount = f"({flags(m['flag'])} ? {amount} : 32'd0)" if m["flag"] else amount
                    base = f"{base} + {amount}"
                if unit := int(m["unit"] or 0):  # kept without its lowest bits
                    x, base = f"(({x}) >> {unit}) << {unit}", f"({base} >> {unit}) << {unit}"
                rule = {
                    "": f"near({x}, {base}, {bits})",
                    "+": f"ahead({x}, {base}, {bits})",
                    "-": f"ahead({base}, {x}, {bits})",
                }[m["way"]]
            lines.append(f"assume ({' || '.join([*(f'!({c})' for c in on), rule])});")
    return "\n".join(lines) + "\n"


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(), encoding="utf-8")
