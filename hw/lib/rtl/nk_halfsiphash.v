// SPDX-License-Identifier: Apache-2.0
// Purpose: HalfSipHash-C-D of a message of fixed length, 32-bit result, one round a clock.
//
// The user forms the words: the first in the lowest bits, each little-endian in its bytes; the last one is
// {length of the message modulo 256, up to three remaining bytes}, as HalfSipHash pads it.

`default_nettype none

module nk_halfsiphash #(
    // Number of 32-bit words, the padded last one included, 1 to 15.
    parameter WORDS = 4,
    // Rounds a word, 1 to 4.
    parameter C = 2,
    // Rounds at the end, 1 to 8.
    parameter D = 4
) (
    // Clock and reset (synchronous, active high).
    input  wire                clk,
    input  wire                rst,

    // Request: key {k1, k0} and message are read in this clock.
    input  wire                req_valid,
    output wire                req_ready,
    input  wire [63:0]         key,
    input  wire [32*WORDS-1:0] msg,

    // Answer, a pulse C*WORDS + D + 1 clocks after the request.
    output wire                rsp_valid,
    output wire [31:0]         rsp_hash
);

    initial begin
        if (WORDS < 1 || WORDS > 15 || C < 1 || C > 4 || D < 1 || D > 8) begin
            $display("%m: WORDS = %0d (1 to 15), C = %0d (1 to 4), D = %0d (1 to 8)", WORDS, C, D);
            $finish;
        end
    end

    localparam       MW     = 32 * WORDS;
    localparam [3:0] LAST_C = C - 1;
    localparam [3:0] LAST_D = D - 1;
    localparam [3:0] LAST_W = WORDS - 1;

    reg          run_reg;
    reg          final_reg;
    reg          rsp_valid_reg;
    reg [3:0]    round_reg;
    reg [3:0]    word_reg;
    reg [MW-1:0] msg_reg;
    reg [31:0]   v0_reg;
    reg [31:0]   v1_reg;
    reg [31:0]   v2_reg;
    reg [31:0]   v3_reg;

    // One SipRound on 32-bit words; rotations as concatenations.
    reg [31:0] a0;
    reg [31:0] a1;
    reg [31:0] a2;
    reg [31:0] a3;
    reg [31:0] b0;
    reg [31:0] b1;
    reg [31:0] b2;
    reg [31:0] b3;

    always @* begin
        a0 = v0_reg + v1_reg;
        a1 = {v1_reg[26:0], v1_reg[31:27]} ^ a0;
        a2 = v2_reg + v3_reg;
        a3 = {v3_reg[23:0], v3_reg[31:24]} ^ a2;
        b0 = {a0[15:0], a0[31:16]} + a3;
        b3 = {a3[24:0], a3[31:25]} ^ b0;
        b2 = a2 + a1;
        b1 = {a1[18:0], a1[31:19]} ^ b2;
        b2 = {b2[15:0], b2[31:16]};
    end

    wire last_round = round_reg == (final_reg ? LAST_D : LAST_C);
    wire last_word  = word_reg == LAST_W;
    // The word behind the current one. Behind the last: nothing, it is not used then.
    wire [31:0] msg_next;

    generate
        if (WORDS > 1) begin : g_next
            assign msg_next = msg_reg[63:32];
        end else begin : g_no_next
            assign msg_next = 32'd0;
        end
    endgenerate

    assign req_ready = !run_reg;
    assign rsp_valid = rsp_valid_reg;
    assign rsp_hash  = v1_reg ^ v3_reg;

    always @(posedge clk) begin
        rsp_valid_reg <= 1'b0;

        if (!run_reg) begin
            if (req_valid) begin
                run_reg   <= 1'b1;
                final_reg <= 1'b0;
                round_reg <= 4'd0;
                word_reg  <= 4'd0;
                msg_reg   <= msg;
                v0_reg    <= key[31:0];
                v1_reg    <= key[63:32];
                v2_reg    <= key[31:0] ^ 32'h6c796765;
                v3_reg    <= key[63:32] ^ 32'h74656462 ^ msg[31:0];
            end
        end else begin
            round_reg <= last_round ? 4'd0 : round_reg + 4'd1;
            v0_reg    <= b0;
            v1_reg    <= b1;
            v2_reg    <= b2;
            v3_reg    <= b3;
            if (last_round && final_reg) begin
                run_reg       <= 1'b0;
                rsp_valid_reg <= 1'b1;
            end else if (last_round) begin
                v0_reg    <= b0 ^ msg_reg[31:0];
                v2_reg    <= last_word ? b2 ^ 32'h000000ff : b2;
                v3_reg    <= last_word ? b3 : b3 ^ msg_next;
                final_reg <= last_word;
                word_reg  <= word_reg + 4'd1;
                msg_reg   <= msg_reg >> 32;
            end
        end

        if (rst) begin
            run_reg       <= 1'b0;
            rsp_valid_reg <= 1'b0;
        end
    end

endmodule

`default_nettype wire
