// SPDX-License-Identifier: Apache-2.0
// Purpose: HalfSipHash-C-D of a message of fixed length, a message every clock, one round a stage.
//
// As nk_halfsiphash, but without waiting: the answer comes C*WORDS + D clocks after the message, with the
// message beside it. The user forms the words as described there.

`default_nettype none

module nk_halfsiphash_pipe #(
    // Number of 32-bit words, the padded last one included, 1 to 15.
    parameter WORDS = 3,
    // Rounds a word, 1 to 4.
    parameter C = 1,
    // Rounds at the end, 1 to 8.
    parameter D = 3
) (
    // Clock and reset (synchronous, active high).
    input  wire                clk,
    input  wire                rst,

    // Message, and the key {k1, k0} that it is hashed under.
    input  wire                s_valid,
    input  wire [63:0]         s_key,
    input  wire [32*WORDS-1:0] s_msg,

    // Answer, C*WORDS + D clocks later.
    output wire                m_valid,
    output wire [31:0]         m_hash,
    output wire [32*WORDS-1:0] m_msg
);

    initial begin
        if (WORDS < 1 || WORDS > 15 || C < 1 || C > 4 || D < 1 || D > 8) begin
            $display("%m: WORDS = %0d (1 to 15), C = %0d (1 to 4), D = %0d (1 to 8)", WORDS, C, D);
            $finish;
        end
    end

    localparam MW     = 32 * WORDS;
    localparam STAGES = C * WORDS + D;

    // One SipRound on {v3, v2, v1, v0}; rotations as concatenations.
    function [127:0] sip_round;
        input [127:0] v;
        reg [31:0] a0;
        reg [31:0] a1;
        reg [31:0] a2;
        reg [31:0] a3;
        reg [31:0] b0;
        reg [31:0] b1;
        reg [31:0] b2;
        reg [31:0] b3;
        begin
            a0 = v[31:0] + v[63:32];
            a1 = {v[58:32], v[63:59]} ^ a0;
            a2 = v[95:64] + v[127:96];
            a3 = {v[119:96], v[127:120]} ^ a2;
            b0 = {a0[15:0], a0[31:16]} + a3;
            b3 = {a3[24:0], a3[31:25]} ^ b0;
            b2 = a2 + a1;
            b1 = {a1[18:0], a1[31:19]} ^ b2;
            sip_round = {b3, b2[15:0], b2[31:16], b1, b0};
        end
    endfunction

    // What stage g gets: stage 0 the start, the others what the stage before left.
    wire [STAGES:0]         valid;
    wire [128*STAGES+127:0] state;
    wire [MW*STAGES+MW-1:0] msg;

    assign valid[0]     = s_valid;
    assign state[127:0] = {s_key[63:32] ^ 32'h74656462 ^ s_msg[31:0], s_key[31:0] ^ 32'h6c796765,
                           s_key[63:32], s_key[31:0]};
    assign msg[MW-1:0]  = s_msg;

    genvar g;
    generate
        for (g = 0; g < STAGES; g = g + 1) begin : g_round
            // The word of this round. It is mixed in after its last round, and then the next one (after
            // the last word: the mark of the end).
            localparam WORD = (g < C * WORDS) ? g / C : WORDS - 1;
            localparam ENDS = (g < C * WORDS) && (g % C == C - 1);
            localparam LAST = WORD == WORDS - 1;

            reg           valid_reg;
            reg [127:0]   state_reg;
            reg [MW-1:0]  msg_reg;
            wire [MW-1:0] m = msg[MW*g +: MW];
            wire [127:0]  mix;

            if (!ENDS) begin : g_plain
                assign mix = 128'd0;
            end else if (LAST) begin : g_last
                assign mix = {32'd0, 32'h000000ff, 32'd0, m[32*WORD +: 32]};
            end else begin : g_next
                assign mix = {m[32*(WORD+1) +: 32], 64'd0, m[32*WORD +: 32]};
            end

            assign valid[g+1]            = valid_reg;
            assign state[128*(g+1) +: 128] = state_reg;
            assign msg[MW*(g+1) +: MW]   = msg_reg;

            always @(posedge clk) begin
                valid_reg <= valid[g] && !rst;
                if (valid[g]) begin
                    state_reg <= sip_round(state[128*g +: 128]) ^ mix;
                    msg_reg   <= m;
                end
            end
        end
    endgenerate

    assign m_valid = valid[STAGES];
    assign m_hash  = state[128*STAGES+32 +: 32] ^ state[128*STAGES+96 +: 32];
    assign m_msg   = msg[MW*STAGES +: MW];

    // Two of the four words do not enter the result.
    wire unused = &{1'b0, state[128*STAGES +: 32], state[128*STAGES+64 +: 32]};

endmodule

`default_nettype wire
