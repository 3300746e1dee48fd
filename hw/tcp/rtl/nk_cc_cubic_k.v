// SPDX-License-Identifier: Apache-2.0
// The time that CUBIC takes back to W_max: K = cbrt((W_max - cwnd) / C) (RFC 9438, 4.2), in 1024 us, within 1 %.
//
// cbrt(x) = 2^q * cbrt(m) with x = 2^(3q) * m and m in [1, 8): the leading one gives q, and the six bits behind it
// choose cbrt(m) from a table. The same for 1 / cbrt(C * MSS); one multiplication joins the two.

`default_nettype none

module nk_cc_cubic_k (
    // bytes, and C * MSS * 100
    input  wire [24:0] w_max,
    input  wire [24:0] cwnd,
    input  wire [23:0] c_mss,
    // 0 if the window is not below w_max; at most 2^17 - 1
    output wire [16:0] k
);
    // cbrt(m) * 2^10 and cbrt(10^20 / 2^66 / m) * 2^11 in the middle of each step, m = 2^r * (1 + (i + 1/2) / 64);
    // 10^20 / 2^30 turns 1 / (100 s^3) into 1024-us steps, and 2^12 of its root is in the shift below.
    function [11:0] root_of;
        input [7:0] index;          // r * 64 + i
        input inverse;
        integer bit_no;
        reg [63:0] m_128;           // m * 128
        reg [63:0] v;
        begin
            m_128   = {56'd0, 1'b1, index[5:0], 1'b1} << index[7:6];
            root_of = 12'd0;
            for (bit_no = 11; bit_no >= 0; bit_no = bit_no - 1) begin
                v = {52'd0, root_of} | (64'd1 << bit_no);
                if (inverse ? v * v * v * m_128 <= 64'd1490116119385 : v * v * v <= m_128 << 23)
                    root_of = v[11:0];
            end
        end
    endfunction

    wire [192*12-1:0] roots;
    wire [192*12-1:0] inverses;
    genvar g;
    generate
        for (g = 0; g < 192; g = g + 1) begin : g_table
            localparam [11:0] ROOT    = root_of(g, 1'b0);
            localparam [11:0] INVERSE = root_of(g, 1'b1);
            assign roots[g*12 +: 12]    = ROOT;
            assign inverses[g*12 +: 12] = INVERSE;
        end
    endgenerate

    wire [24:0] x  = w_max > cwnd ? w_max - cwnd : 25'd0;

    // The highest three bits that are not 0 give q, their leading one r.
    wire [26:0] x_in = {2'd0, x};
    wire [26:0] c_in = {3'd0, c_mss};
    reg  [3:0]  x_q;
    reg  [3:0]  c_q;
    integer n;
    always @* begin
        x_q = 4'd0;
        c_q = 4'd0;
        for (n = 0; n < 9; n = n + 1) begin
            if (x_in[3*n +: 3] != 3'd0) x_q = n[3:0];
            if (c_in[3*n +: 3] != 3'd0) c_q = n[3:0];
        end
    end
    wire [26:0] x_up  = x_in << (5'd3 * (5'd8 - {1'b0, x_q}));
    wire [26:0] c_up  = c_in << (5'd3 * (5'd8 - {1'b0, c_q}));
    wire [7:0]  x_at  = x_up[26] ? {2'd2, x_up[25:20]} : x_up[25] ? {2'd1, x_up[24:19]} : {2'd0, x_up[23:18]};
    wire [7:0]  c_at  = c_up[26] ? {2'd2, c_up[25:20]} : c_up[25] ? {2'd1, c_up[24:19]} : {2'd0, c_up[23:18]};
    wire [11:0] x_root = roots[{24'd0, x_at} * 12 +: 12];
    wire [11:0] c_root = inverses[{24'd0, c_at} * 12 +: 12];

    wire [23:0] product = x_root * c_root;                       // in 2^-21
    wire [23:0] time_us = product >> (5'd9 + {1'b0, c_q} - {1'b0, x_q});
    assign k = x == 25'd0 ? 17'd0 : time_us[23:17] != 7'd0 ? 17'h1FFFF : time_us[16:0];

    wire unused = &{1'b0, x_up[17:0], c_up[17:0]};
endmodule

`default_nettype wire
