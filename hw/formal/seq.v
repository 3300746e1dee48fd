// SPDX-License-Identifier: Apache-2.0
// Proof: the comparisons of sequence numbers order the circle (RFC 9293, 3.4), wrap included.

`default_nettype none
`include "nk_tcp_defs.vh"

module seq (
    input wire [31:0] a,
    input wire [31:0] b,
    input wire [31:0] x
);
    wire opposite = (a ^ b) == 32'h8000_0000;      // as far apart as can be: neither comes first
    wire near_x   = (x - a) < 32'h4000_0000 && (b - x) < 32'h4000_0000;

    always @* begin
        // Each is the other's negation, or the other with its arguments swapped: always.
        assert (`SEQ_GE(a, b) == !(`SEQ_LT(a, b)));
        assert (`SEQ_LE(a, b) == !(`SEQ_GT(a, b)));
        assert (`SEQ_GT(a, b) == `SEQ_LT(b, a));
        assert (`SEQ_GE(a, b) == `SEQ_LE(b, a));
        // Trichotomy and antisymmetry, but for opposite points.
        if (!opposite) begin
            assert ({2'd0, `SEQ_LT(a, b)} + {2'd0, `SEQ_GT(a, b)} + {2'd0, a == b} == 3'd1);
            assert (!(`SEQ_LE(a, b) && `SEQ_LE(b, a)) || a == b);
        end
        // On a line of less than half the circle they are the line's own order.
        if (b - a < 32'h8000_0000) begin
            assert (`SEQ_LE(a, b));
            assert (`SEQ_LT(a, b) == (a != b));
        end
        // Transitive within half the circle.
        if (near_x) assert (`SEQ_LE(a, x) && `SEQ_LE(x, b) && `SEQ_LE(a, b));
        // Moving both by the same distance changes nothing.
        assert (`SEQ_LT(a, b) == ((a + x) - (b + x) >= 32'h8000_0000));
    end
endmodule

`default_nettype wire
