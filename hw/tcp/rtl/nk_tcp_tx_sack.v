// SPDX-License-Identifier: Apache-2.0
// The SACK blocks of a pure ACK: the duplicate first (RFC 2883), then the intervals held, the latest first (RFC 2018, 4).
//
// Combinational.

`default_nettype none

module nk_tcp_tx_sack (
    // Put blocks on this segment; with timestamps there is room for three, else four.
    input  wire         en,
    input  wire         ts,
    // The duplicate to report.
    input  wire         dup_v,
    input  wire [31:0]  dup_s,
    input  wire [15:0]  dup_len,
    // Intervals beyond RCV.NXT, and their order by age: four indices, the latest in the lowest bits.
    input  wire [3:0]   iv_v,
    input  wire [127:0] iv_s,
    input  wire [127:0] iv_e,
    input  wire [7:0]   ord,
    // Blocks, {end, start} each, the first lowest; those beyond `n` are 0.
    output reg  [2:0]   n,
    output reg  [255:0] blk
);
    wire [2:0] most = ts ? 3'd3 : 3'd4;
    reg  [1:0] k;
    integer    i;

    always @* begin
        n   = 3'd0;
        blk = 256'd0;
        k   = 2'd0;
        if (en && (dup_v || iv_v != 4'd0)) begin
            if (dup_v) begin
                blk[63:0] = {dup_s + {16'd0, dup_len}, dup_s};
                n         = 3'd1;
            end
            // There are as many ranks as intervals; those beyond are left over from others.
            for (i = 0; i < 4; i = i + 1) begin
                k = ord[2*i +: 2];
                if (iv_v[i] && n < most) begin
                    blk[64*n[1:0] +: 64] = {iv_e[32*k +: 32], iv_s[32*k +: 32]};
                    n                    = n + 3'd1;
                end
            end
        end
    end
endmodule

`default_nettype wire
