# SPDX-License-Identifier: Apache-2.0
"""A flow's state of four bits for hw/formal/pipe.v: every field is the whole of it, so that the RTL still finds their names.

But for the socket id, four more bits: the memory does not keep it.
"""

from __future__ import annotations

import re
from pathlib import Path

from common.filelist import hw_root


def text() -> str:
    real = (hw_root() / "tcp" / "rtl" / "nk_tcb.vh").read_text(encoding="utf-8")
    field = re.sub(r"^(`define TCB_\w+) \d+(:\d+)?$", r"\1 3:0", real, flags=re.M)
    for name, bits in (("SOCKET", "7:4"), ("W", "8"), ("MEM_W", "4")):
        field, n = re.subn(rf"^(`define TCB_{name}) 3:0$", rf"\1 {bits}", field, flags=re.M)
        assert n == 1, f"nk_tcb.vh: no TCB_{name}"
    return field


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(), encoding="utf-8")
