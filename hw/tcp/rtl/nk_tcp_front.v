// SPDX-License-Identifier: Apache-2.0
// Received segments on their way to the pipeline: looks up the flow of each, in order, one a clock.
//
// A segment waits in one FIFO while the flow table is asked, the answer in another: both are as deep, so
// an answer always finds room. What the table says may be out of date when the segment's turn comes;
// the pipeline compares the addresses again.

`default_nettype none
`include "nk_tcp_seg.vh"

module nk_tcp_front #(
    parameter FW         = 10,          // bits of a flow number
    parameter SW         = `SEG_W + 6,  // bits of a segment word: `SEG_W and the lane
    parameter DEPTH_LOG2 = 5            // log2 of the segments that may wait; more than the flow table's latency
) (
    // Clock and reset (synchronous, active high).
    input  wire          clk,
    input  wire          rst,
    // Segments in.
    input  wire          s_valid,
    output wire          s_ready,
    input  wire [SW-1:0] s_word,
    // Flow table: asked with the fields of s_word; lk_free: it takes a question in this clock.
    input  wire          lk_free,
    output wire          lk_valid,
    input  wire          lk_done,
    input  wire          lk_hit,
    input  wire [FW-1:0] lk_flow,
    // Segments out, with the flow that the table named.
    output wire          m_valid,
    input  wire          m_ready,
    output wire [SW-1:0] m_word,
    output wire          m_hit,
    output wire [FW-1:0] m_flow,
    output wire          busy
);
    wire                word_ready;
    wire                word_valid;
    wire                ans_ready;
    wire                ans_valid;
    wire [DEPTH_LOG2:0] word_level;
    wire [DEPTH_LOG2:0] ans_level;

    assign s_ready  = word_ready && lk_free;
    assign lk_valid = s_valid && s_ready;

    nk_fifo #(.W(SW), .DEPTH_LOG2(DEPTH_LOG2)) words (
        .clk(clk), .rst(rst), .s_data(s_word), .s_valid(lk_valid), .s_ready(word_ready),
        .m_data(m_word), .m_valid(word_valid), .m_ready(m_valid && m_ready), .level(word_level)
    );
    nk_fifo #(.W(FW + 1), .DEPTH_LOG2(DEPTH_LOG2)) answers (
        .clk(clk), .rst(rst), .s_data({lk_hit, lk_flow}), .s_valid(lk_done), .s_ready(ans_ready),
        .m_data({m_hit, m_flow}), .m_valid(ans_valid), .m_ready(m_valid && m_ready), .level(ans_level)
    );
    assign m_valid = word_valid && ans_valid;
    assign busy    = word_level != {(DEPTH_LOG2 + 1){1'b0}};

    wire unused = &{1'b0, ans_ready, ans_level};
endmodule

`default_nettype wire
