// SPDX-License-Identifier: Apache-2.0
// Purpose: one ICMP 'fragmentation needed' at a time on its way to its flow: looked up, then given a pass.
//
// Another one that comes meanwhile is lost, as ICMP may be.

`default_nettype none
`include "nk_tcp_seg.vh"

module nk_tcp_icmp #(
    parameter FW = 10,              // bits of a flow number
    parameter SW = `SEG_W + 6       // segment word, its lane on top
) (
    // Clock and reset (synchronous, active high).
    input  wire          clk,
    input  wire          rst,
    // The message (a pulse): its VF, addresses and sequence number of the quoted segment, MTU.
    input  wire          ptb_valid,
    input  wire [7:0]    ptb_vf,
    input  wire [31:0]   ptb_rip,
    input  wire [15:0]   ptb_rport,
    input  wire [15:0]   ptb_lport,
    input  wire [31:0]   ptb_seq,
    input  wire [15:0]   ptb_mtu,
    // Look-up: the question may be asked now; the answer.
    input  wire          lk_free,
    output wire          lk_valid,
    output wire [71:0]   lk_key,
    input  wire          lk_done,
    input  wire          lk_hit,
    input  wire [FW-1:0] lk_flow,
    // Its pass; fields that nk_tcp_ptb reads in the segment's place.
    output wire          m_valid,
    input  wire          m_ready,
    output wire [FW-1:0] m_flow,
    output reg  [SW-1:0] m_word,
    // Pulse: no such flow. And: a message is here.
    output wire          stat_none,
    output wire          busy
);
    reg          wait_reg;          // for its look-up
    reg          look_reg;          // is being looked up
    reg          go_reg;            // wants its pass
    reg  [119:0] word_reg;          // vf 8 | rip 32 | rport 16 | lport 16 | seq 32 | mtu 16
    reg  [FW-1:0] flow_reg;

    assign lk_valid  = wait_reg && lk_free;
    assign lk_key    = {word_reg[7:0], word_reg[39:8], word_reg[55:40], word_reg[71:56]};
    assign m_valid   = go_reg;
    assign m_flow    = flow_reg;
    assign stat_none = look_reg && lk_done && !lk_hit;
    assign busy      = wait_reg || look_reg || go_reg;

    always @* begin
        m_word = {SW{1'b0}};
        m_word[`SEG_VF]    = word_reg[7:0];
        m_word[`SEG_RIP]   = word_reg[39:8];
        m_word[`SEG_RPORT] = word_reg[55:40];
        m_word[`SEG_LPORT] = word_reg[71:56];
        m_word[`SEG_SEQ]   = word_reg[103:72];
        m_word[`SEG_MSS]   = word_reg[119:104];
    end

    always @(posedge clk) begin
        if (ptb_valid && !busy) begin
            wait_reg <= 1'b1;
            word_reg <= {ptb_mtu, ptb_seq, ptb_lport, ptb_rport, ptb_rip, ptb_vf};
        end else if (lk_valid) begin
            wait_reg <= 1'b0;
            look_reg <= 1'b1;
        end else if (look_reg && lk_done) begin
            look_reg <= 1'b0;
            go_reg   <= lk_hit;
            flow_reg <= lk_flow;
        end else if (m_ready) go_reg <= 1'b0;
        if (rst) begin
            wait_reg <= 1'b0;
            look_reg <= 1'b0;
            go_reg   <= 1'b0;
        end
    end
endmodule

`default_nettype wire
