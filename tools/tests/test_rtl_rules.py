# SPDX-License-Identifier: Apache-2.0
"""Every rule of the RTL checker speaks up on a file that breaks it, and is silent on a good one."""

from __future__ import annotations

from pathlib import Path

import pytest
import rtl_ast
import rtl_rules

GOOD = """\
// SPDX-License-Identifier: Apache-2.0
// Purpose: an example that keeps all the rules.

`default_nettype none

module example #(
    // Bits of a word, 1 or more.
    parameter W = 8
) (
    // Clock and reset.
    input  wire         clk,
    input  wire         rst,
    // Words in and out.
    input  wire         s_valid,
    output wire         s_ready,
    input  wire [W-1:0] s_data,
    output reg  [W-1:0] m_data     // doubled
);
    assign s_ready = 1'b1;
    reg [W-1:0] next;
    integer i;
    always @* begin
        next = m_data;
        case (s_valid)
            1'b1: for (i = 0; i < W; i = i + 1) next[i] = s_data[i];
            default: ;
        endcase
    end
    always @(posedge clk) begin
        m_data <= next;
        if (rst) m_data <= {W{1'b0}};
    end
endmodule

`default_nettype wire
"""

BREAKS = [
    ("head", "Apache-2.0", "MIT"),
    ("head", "// Purpose: an example that keeps all the rules.", "//"),
    ("one-module", "module example", "module other"),
    ("nettype", "`default_nettype wire", ""),
    ("documented", "    // Clock and reset.\n", "    input  wire         x,\n"),
    ("documented", "    // Bits of a word, 1 or more.\n", ""),
    ("handshake", "input  wire         s_valid,", "input  wire         s_vld,"),
    ("handshake", "output wire         s_ready,", "input  wire         s_ready,"),
    ("clocking", "@(posedge clk)", "@(posedge clk or posedge rst)"),
    ("clocking", "m_data <= next;", "m_data = next;"),
    ("clocking", "        next = m_data;", "        next <= m_data;"),
    ("no-latch", "        next = m_data;\n", ""),
    ("case-default", "            default: ;\n", ""),
    ("no-initialiser", "    reg [W-1:0] next;", "    reg [W-1:0] next;\n    reg q = 1'b0;"),
    ("named-ports", "    integer i;", "    integer i;\n    nk_skid u_s (clk, rst);"),
    ("length", "`default_nettype none", "`default_nettype none" + "\n" * 600),
]


def findings(folder: Path, text: str) -> list[rtl_rules.Finding]:
    path = folder / "example.v"
    path.write_text(text, encoding="utf-8")
    return rtl_rules.check(rtl_ast.parse(path, rtl_ast.FileSet({}, ())))


def test_good_file_has_no_finding(tmp_path: Path) -> None:
    assert findings(tmp_path, GOOD) == []


@pytest.mark.parametrize(("rule", "find", "replace"), BREAKS, ids=[b[0] for b in BREAKS])
def test_rule_finds_its_break(tmp_path: Path, rule: str, find: str, replace: str) -> None:
    assert GOOD.count(find) == 1
    assert rule in {f.rule for f in findings(tmp_path, GOOD.replace(find, replace))}


def test_every_rule_is_tested() -> None:
    assert set(rtl_rules.RULES) == {b[0] for b in BREAKS}


def test_lines_are_right_behind_an_include(tmp_path: Path) -> None:
    """An include of many lines must not shift what is reported."""
    (tmp_path / "defs.vh").write_text("`define X 1\n" * 50, encoding="utf-8")
    text = GOOD.replace("`default_nettype none", '`default_nettype none\n`include "defs.vh"')
    text = text.replace("m_data <= next;", "m_data = next;")
    wanted = text.splitlines().index("        m_data = next;") + 1
    assert [f.line for f in findings(tmp_path, text)] == [wanted]


def test_syntax_error_is_an_rtl_error(tmp_path: Path) -> None:
    with pytest.raises(rtl_ast.RtlError, match=r"example\.v"):
        findings(tmp_path, GOOD.replace("endmodule", ""))


def test_ports_and_parameters(tmp_path: Path) -> None:
    path = tmp_path / "example.v"
    path.write_text(GOOD, encoding="utf-8")
    module = rtl_ast.parse(path, rtl_ast.FileSet({}, ()))
    assert [(p.name, p.default) for p in module.params] == [("W", "8")]
    assert module.purpose() == "an example that keeps all the rules."
    last = module.ports[-1]
    assert (last.name, last.direction, last.width) == ("m_data", "output", "W-1:0")
    assert (last.group, last.doc) == ("Words in and out.", "doubled")
