# SPDX-License-Identifier: Apache-2.0
"""The generated ABI: outputs are fresh; gcc, numpy and the description agree on every layout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import gen_abi
import numpy as np
import pytest
import yaml
from netkernel import abi

ROOT = Path(__file__).resolve().parents[2]
CFLAGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{ROOT / 'guestlib/include'}"]


def _compile(tmp_path: Path, source: str, *compiler: str) -> Path:
    path = tmp_path / "abi_test.c"
    path.write_text(source)
    out = tmp_path / "abi_test"
    subprocess.run([*compiler, *CFLAGS, str(path), "-o", str(out)], check=True)
    return out


def test_committed_outputs_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    assert gen_abi.main(["--check"]) == 0, capsys.readouterr().out


def test_check_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = gen_abi.render()
    stale = tmp_path / "docs/abi.md"
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    stale.write_text(stale.read_text().replace("SOCKET", "SOCKT"))
    monkeypatch.setattr(gen_abi, "render", lambda: texts)
    monkeypatch.setattr(gen_abi, "ROOT", tmp_path)
    assert gen_abi.main(["--check"]) == 1
    out = capsys.readouterr().out
    assert "make gen" in out
    assert "-| `0x01` | `SOCKT`" in out


def test_gcc_sees_the_layout_of_numpy(tmp_path: Path) -> None:
    names = abi.NQE_DTYPE.names
    assert names is not None
    lines = "".join(
        f'printf("{n} %zu %zu\\n", offsetof(struct nk_nqe, {n}),'
        f" sizeof(((struct nk_nqe *)0)->{n}));"
        for n in names
    )
    source = (
        "#include <stddef.h>\n#include <stdio.h>\n#include <nk_abi.h>\n"
        f'int main(void) {{ printf("all 0 %zu\\n", sizeof(struct nk_nqe)); {lines} return 0; }}\n'
    )
    program = _compile(tmp_path, source, "gcc", "-std=c11")
    answer = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    seen = {n: (int(o), int(s)) for n, o, s in (line.split() for line in answer.splitlines())}
    assert seen.pop("all") == (0, abi.NQE_DTYPE.itemsize)
    fields = abi.NQE_DTYPE.fields
    assert fields is not None
    assert seen == {n: (fields[n][1], fields[n][0].itemsize) for n in names}


ECHO = r"""
#include <stdio.h>
#include <inttypes.h>
#include <nk_abi.h>
int main(void)
{
    struct nk_nqe e;

    while (fread(&e, sizeof(e), 1, stdin) == 1)
        printf("%u %u %u %u %" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRIu32
               " %" PRIu32 " %u %u %u %d\n",
               (unsigned)e.op, (unsigned)e.vm_id, (unsigned)e.queue_set, (unsigned)e.flags,
               e.socket, e.op_data, e.data_ptr, e.size, e.cookie,
               nk_addr_remote_ip(e.op_data), (unsigned)nk_addr_remote_port(e.op_data),
               (unsigned)nk_addr_local_port(e.op_data), (unsigned)nk_cookie_status(e.cookie),
               nk_status_errno(nk_cookie_status(e.cookie)));
    return 0;
}
"""


@pytest.mark.parametrize("compiler", [("gcc", "-std=c11"), ("g++", "-x", "c++", "-std=c++17")])
def test_random_nqes_from_numpy_to_c(tmp_path: Path, compiler: tuple[str, ...]) -> None:
    seed = 20261
    rng = np.random.default_rng(seed)
    nqes = rng.integers(0, 256, 200 * abi.NQE_SIZE, dtype=np.uint8).view(abi.NQE_DTYPE)
    nqes["cookie"] &= 0x1F_FFFFFF  # known and unknown status codes, both often
    program = _compile(tmp_path, ECHO, *compiler)
    answer = subprocess.run([program], check=True, capture_output=True, input=nqes.tobytes()).stdout
    rows = [[int(w) for w in line.split()] for line in answer.splitlines()]
    assert len(rows) == len(nqes)
    for nqe, row in zip(nqes, rows, strict=True):
        op_data, cookie = int(nqe["op_data"]), int(nqe["cookie"])
        status = abi.COOKIE_STATUS.get(cookie)
        errnos = {int(s): e for s, e in abi.STATUS_ERRNO.items()}
        expected = [
            *(int(x) for x in nqe.item()),
            abi.ADDR_REMOTE_IP.get(op_data),
            abi.ADDR_REMOTE_PORT.get(op_data),
            abi.ADDR_LOCAL_PORT.get(op_data),
            status,
            errnos.get(status, errnos[abi.Status.BAD_FLAGS]),
        ]
        assert row == expected, f"seed {seed}"


def test_macros_agree_with_the_description() -> None:
    """The Verilog macros carry the numbers of the YAML, counted independently of the generator."""
    text = (ROOT / "hw/abi/gen/nk_abi.vh").read_text()
    macros = dict(
        line.split(maxsplit=2)[1:]
        for line in text.splitlines()
        if line.count(" ") >= 2 and "`def" in line
    )
    source = yaml.safe_load((ROOT / "hw/abi/nk_abi.yaml").read_text())
    for op in source["ops"]:
        assert macros[f"NK_OP_{op['name']}"] == f"8'h{op['value']:02x}"
    for status in source["status"]:
        assert macros[f"NK_ST_{status['name']}"] == f"8'd{status['value']}"
    for row in source["counters"]["global"]:
        assert macros[f"NK_CNT_{row['name'].upper()}"] == str(row["index"])
    # Addresses written out here by hand, as anchors.
    assert macros["NK_VF_REGION_PAGES_ADDR"] == "17'h00050"
    assert macros["NK_VF_DB_BASE"] == "17'h10000"
    assert macros["NK_PF_STATS_ADDR"] == "17'h01000"
    assert macros["NK_VFE_SOCKET_COUNT_OFS"] == "28"
    assert macros["NK_PF_RETRIES_RESET"] == str(60 << 16 | 6 << 8 | 12)
    assert macros["NK_VF_STATUS_RESETTING_LSB"] == "2"


def test_fields_get_and_put() -> None:
    field = abi.PF.RETRIES_SYN
    assert field.get(0x3C060C) == 6
    assert field.put(6) == 0x600
    with pytest.raises(ValueError, match="does not fit"):
        field.put(256)


def test_contradictions_are_refused() -> None:
    fields = [
        {"name": "a", "offset": 0, "bytes": 4},
        {"name": "b", "offset": 2, "bytes": 2},
    ]
    with pytest.raises(gen_abi.AbiError, match="overlaps"):
        gen_abi._check_layout("x", fields, 8)
    with pytest.raises(gen_abi.AbiError, match="aligned"):
        gen_abi._check_layout("x", [{"name": "a", "offset": 2, "bytes": 4}], 8)
    with pytest.raises(gen_abi.AbiError, match="twice"):
        gen_abi._check_unique("x", [{"name": "a", "value": 1}, {"name": "b", "value": 1}], "value")
