# SPDX-License-Identifier: Apache-2.0
"""What hw/formal/tcb.v assumes of a flow's state: the bounds of hw/tcp/data/tcb.yaml, as Verilog."""

from __future__ import annotations

from pathlib import Path

import yaml
from common.filelist import hw_root


def text() -> str:
    """One `assume` a field (and element) that the memory does not keep whole."""
    lines = ["// SPDX-License-Identifier: Apache-2.0"]
    source = hw_root() / "tcp" / "data" / "tcb.yaml"
    for name, width, keep, _ in yaml.safe_load(source.read_text(encoding="utf-8"))["fields"]:
        kind, _, size = keep.partition(":")
        bits, _, times = size.partition("*")
        if kind == "all":
            continue
        if kind == "none":
            lines.append(f"assume (t[`TCB_{name}] == 0);")
            continue
        for i in range(int(times or 1)):
            part = width // int(times or 1)
            # A part of a part-select is no Verilog: shift the element down and cut it off.
            x = f"(t[`TCB_{name}] >> {i * part}) & {part}'d{(1 << part) - 1}"
            if kind == "low":
                lines.append(f"assume (({x}) >> {bits} == 0);")
            else:
                base = {"una": "una", "nxt": "nxt", "now": "now_us"}[kind.rstrip("+")]
                rule = "ahead" if kind.endswith("+") else "near"
                lines.append(f"assume ({rule}({x}, {base}, {bits}));")
    return "\n".join(lines) + "\n"


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(), encoding="utf-8")
