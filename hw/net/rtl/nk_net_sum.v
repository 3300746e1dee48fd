// SPDX-License-Identifier: Apache-2.0
// Purpose: masks the beats of a frame to a byte range and makes their Internet checksum (RFC 1071).
//
// The sum runs over 32-bit words as they stand on the bus, byte 0 in the low bits: 2**32 = 1 modulo 65535,
// and the byte order of a ones'-complement sum is that of its words, so the result is the little-endian
// view of the sum, folded once (18 bits; the user adds the rest of the header and folds again).
//
//   clock  0      1        2             3            4
//          s_*    masked   partial sums  accumulated  sum_valid, sum

`default_nettype none

module nk_net_sum #(
    // Bus width in bits: 64, 128, 256 or 512.
    parameter W = 512,
    // log2 of the bytes of a beat; follows from W, leave it.
    parameter LW = $clog2(W/8)
) (
    input  wire         clk,
    input  wire         rst,

    // A beat, and its bytes that count: `s_from` up to `s_to`-1. Byte 0 of the beat is at an even place
    // of the frame. Beats may come in every clock, frames back to back.
    input  wire         s_valid,
    input  wire         s_last,
    input  wire [W-1:0] s_data,
    input  wire [LW:0]  s_from,
    input  wire [LW:0]  s_to,

    // One clock later: the beat with all other bytes 0.
    output wire [W-1:0] masked_data,

    // Four clocks after the last beat of a frame.
    output wire         sum_valid,
    output wire [17:0]  sum
);

    initial begin
        if ((W != 64 && W != 128 && W != 256 && W != 512) || LW != $clog2(W/8)) begin
            $display("%m: W = %0d (64, 128, 256 or 512), LW = %0d (derived)", W, LW);
            $finish;
        end
    end

    // Words of a partial sum, and partial sums of a beat.
    localparam GW = (W < 128) ? W/32 : 4;
    localparam NG = W / 32 / GW;
    localparam [31:0] BYTES = W / 8;
    localparam [LW:0] FULL  = BYTES[LW:0];

    reg [W-1:0]     data_reg;
    reg             valid_reg;
    reg             last_reg;
    reg [NG*34-1:0] part_reg;
    reg             part_valid_reg;
    reg             part_last_reg;
    // 2**32 * 16 words * 190 beats (a frame of 1518 bytes at W = 64) need 44 bits at most.
    reg [43:0]      acc_reg;
    reg [43:0]      total_reg;
    reg             total_valid_reg;
    reg [17:0]      sum_reg;
    reg             sum_valid_reg;

    assign masked_data = data_reg;
    assign sum_valid   = sum_valid_reg;
    assign sum         = sum_reg;

    reg [NG*34-1:0] part_next;
    reg [43:0]      acc_next;
    integer         g;
    integer         k;
    integer         n;

    always @* begin
        part_next = {NG*34{1'b0}};
        for (g = 0; g < NG; g = g + 1)
            for (k = 0; k < GW; k = k + 1)
                part_next[34*g +: 34] = part_next[34*g +: 34] + {2'd0, data_reg[32*(GW*g + k) +: 32]};
    end

    always @* begin
        acc_next = acc_reg;
        for (n = 0; n < NG; n = n + 1)
            acc_next = acc_next + {10'd0, part_reg[34*n +: 34]};
    end

    always @(posedge clk) begin
        valid_reg <= s_valid;
        last_reg  <= s_last;
        // Shifting masks over the whole bus is for the first and the last beats only.
        if (s_valid) begin
            if (s_to == {LW+1{1'b0}})
                data_reg <= {W{1'b0}};
            else if (s_from == {LW+1{1'b0}} && s_to == FULL)
                data_reg <= s_data;
            else
                data_reg <= s_data & ({W{1'b1}} << {s_from, 3'd0}) & ~({W{1'b1}} << {s_to, 3'd0});
        end

        part_valid_reg <= valid_reg;
        part_last_reg  <= last_reg;
        if (valid_reg)
            part_reg <= part_next;

        total_valid_reg <= part_valid_reg && part_last_reg;
        if (part_valid_reg) begin
            acc_reg   <= part_last_reg ? 44'd0 : acc_next;
            total_reg <= acc_next;
        end

        sum_valid_reg <= total_valid_reg;
        if (total_valid_reg)
            sum_reg <= {2'd0, total_reg[15:0]} + {2'd0, total_reg[31:16]} + {6'd0, total_reg[43:32]};

        if (rst) begin
            valid_reg       <= 1'b0;
            part_valid_reg  <= 1'b0;
            total_valid_reg <= 1'b0;
            sum_valid_reg   <= 1'b0;
            acc_reg         <= 44'd0;
        end
    end

endmodule

`default_nettype wire
