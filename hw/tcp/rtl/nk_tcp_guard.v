// SPDX-License-Identifier: Apache-2.0
// Rate limit for answers that a stranger can provoke: challenge ACKs (RFC 5961, 7) and RSTs.
//
// A bucket of tokens, one back a millisecond (1,024 us). The reserve covers the passes that are
// under way when the answer is asked for, so leave may be given some clocks ahead.

`default_nettype none

module nk_tcp_guard #(
    parameter BURST   = 255,  // tokens in a full bucket, at most 255
    parameter RESERVE = 8     // passes that may be under way
) (
    // Clock and reset (synchronous, active high); time in microseconds.
    input  wire        clk,
    input  wire        rst,
    input  wire [31:0] now_us,
    // Leave to answer; an answer has been given.
    output wire        ok,
    input  wire        spend
);
    localparam [7:0] FULL = BURST[7:0];
    localparam [7:0] KEEP = RESERVE[7:0];

    reg  [7:0]  tokens_reg;
    reg  [21:0] ms_reg;
    wire [21:0] gone = now_us[31:10] - ms_reg;
    wire        back = gone != 22'd0 && tokens_reg != FULL;

    assign ok = tokens_reg > KEEP;

    wire unused = &{1'b0, now_us[9:0]};

    always @(posedge clk) begin
        if (back && !spend) begin
            // The clock may have stood still for long: then the bucket is full again at once.
            tokens_reg <= gone > {14'd0, FULL - tokens_reg} ? FULL : tokens_reg + gone[7:0];
            ms_reg     <= now_us[31:10];
        end else if (spend && tokens_reg != 8'd0) begin
            tokens_reg <= tokens_reg - 8'd1;
        end
        if (tokens_reg == FULL) ms_reg <= now_us[31:10];
        if (rst) begin
            tokens_reg <= FULL;
            ms_reg     <= now_us[31:10];
        end
    end
endmodule

`default_nettype wire
