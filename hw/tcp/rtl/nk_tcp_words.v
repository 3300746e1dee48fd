// SPDX-License-Identifier: Apache-2.0
// Turns an event's result into the words that the outside takes: actions for nk_place, descriptors for nk_net_tx.
//
// Combinational. Here sequence numbers become ring addresses: each is an offset into its ring.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_words #(
    parameter W    = 512,            // bus bits, for byte lanes only
    parameter LW   = $clog2(W / 8),  // derived
    parameter ACTW = 186 + LW,       // action word, see nk_place
    parameter TXDW = 390             // descriptor word: the txd_* fields, vf in the lowest bits
) (
    // The flow before the event, its VF and that VF's region.
    input  wire [`TCB_W-1:0] tcb,
    input  wire [7:0]        vf,
    input  wire [63:0]       region,
    input  wire              is_rx,
    input  wire [47:0]       next_mac,
    // The received segment.
    input  wire [47:0]       e_smac,
    input  wire [31:0]       e_rip,
    input  wire [15:0]       e_rport,
    input  wire [15:0]       e_lport,
    input  wire [31:0]       e_seq,
    input  wire [31:0]       e_ack,
    input  wire [8:0]        e_flags,
    input  wire [15:0]       e_len,
    input  wire [LW-1:0]     e_lane,
    // Payload to place.
    input  wire [31:0]       place_seq,
    input  wire [15:0]       place_skip,
    input  wire [15:0]       place_len,
    // Event to announce; VF whose flush ends.
    input  wire [7:0]        ev_op,
    input  wire [63:0]       ev_data,
    input  wire [31:0]       ev_size,
    input  wire [7:0]        ev_status,
    input  wire [7:0]        flush_vf,
    // Segment to send.
    input  wire [31:0]       seg_seq,
    input  wire [31:0]       seg_ack,
    input  wire [8:0]        seg_flags,
    input  wire [15:0]       seg_wnd,
    input  wire [15:0]       seg_mss,
    input  wire              seg_ws_valid,
    input  wire [15:0]       seg_len,
    // Words.
    output wire [ACTW-1:0]   word_place,
    output wire [ACTW-1:0]   word_drop,
    output wire [ACTW-1:0]   word_event,
    output wire [ACTW-1:0]   word_flush,
    output wire [TXDW-1:0]   txd_flow,
    output wire [TXDW-1:0]   txd_stranger   // RST for a segment without a flow
);
    // Ring addresses: a sequence number is an offset into its ring.
    wire [31:0] rx_mask = (32'd1 << tcb[`TCB_RX_LOG2]) - 32'd1;
    wire [31:0] rx_off  = (place_seq - tcb[`TCB_IRS] - 32'd1) & rx_mask;
    wire [63:0] rx_ring = region + {32'd0, tcb[`TCB_RX_PAGE], 12'd0};
    wire [31:0] rx_left = rx_mask - rx_off + 32'd1;
    wire [15:0] rx_wrap = rx_left > 32'hffff ? 16'hffff : rx_left[15:0];
    wire [31:0] tx_mask = (32'd1 << tcb[`TCB_TX_LOG2]) - 32'd1;
    wire [31:0] tx_off  = (seg_seq - tcb[`TCB_ISS] - 32'd1) & tx_mask;
    wire [63:0] tx_ring = region + {32'd0, tcb[`TCB_TX_PAGE], 12'd0};
    wire [31:0] tx_left = tx_mask - tx_off + 32'd1;
    wire [15:0] tx_wrap = tx_left > 32'hffff ? 16'hffff : tx_left[15:0];

    // Trimmed bytes at the front: whole beats are skipped, the rest moves the first lane.
    wire [16:0] first_byte = {1'b0, place_skip} + {{(17 - LW){1'b0}}, e_lane};
    wire [15:0] skip_beats = {{(LW - 1){1'b0}}, first_byte[16:LW]};
    assign word_place = {rx_ring, rx_wrap, skip_beats, first_byte[LW-1:0], place_len, rx_ring + {32'd0, rx_off}, vf, 2'd0};
    assign word_drop = {{(ACTW - 2){1'b0}}, 2'd1};
    assign word_event = {{(ACTW - 146){1'b0}}, ev_status, ev_size, ev_data, tcb[`TCB_SOCKET], ev_op, tcb[`TCB_QS], tcb[`TCB_VF], 2'd2};
    assign word_flush = {{(ACTW - 10){1'b0}}, flush_vf, 2'd3};

    // RST for a segment without a flow (RFC 9293, 3.10.7.1).
    wire        e_has_ack = e_flags[`NK_TF_ACK];
    wire [31:0] e_end     = e_seq + {16'd0, e_len} + {31'd0, e_flags[`NK_TF_SYN]} + {31'd0, e_flags[`NK_TF_FIN]};
    wire [8:0]  stranger_flags = e_has_ack ? 9'd1 << `NK_TF_RST : (9'd1 << `NK_TF_RST) | (9'd1 << `NK_TF_ACK);
    assign txd_stranger = {64'd0, 16'hffff, 64'd0, 16'd0, 1'b0, 4'd0, 16'd0, 16'd0, stranger_flags,
                                    e_has_ack ? 32'd0 : e_end, e_has_ack ? e_ack : 32'd0,
                                    e_lport, e_rport, e_rip, e_smac, vf};
    // An answer to a segment goes where it came from; all else to the next hop.
    wire [47:0] ex_dmac  = is_rx ? e_smac : next_mac;
    wire [31:0] ex_rip   = is_rx ? e_rip : tcb[`TCB_RIP];
    wire [15:0] ex_rport = is_rx ? e_rport : tcb[`TCB_RPORT];
    wire [15:0] ex_lport = is_rx ? e_lport : tcb[`TCB_LPORT];
    wire [4:0]  own_ws   = tcb[`TCB_RX_LOG2] > 5'd15 ? tcb[`TCB_RX_LOG2] - 5'd15 : 5'd0;
    assign txd_flow = {tx_ring, tx_wrap, tx_ring + {32'd0, tx_off}, seg_len, seg_ws_valid, own_ws[3:0],
                                seg_mss, seg_wnd, seg_flags, seg_ack, seg_seq, ex_lport, ex_rport, ex_rip, ex_dmac, vf};

    // Of these only some fields and bits are needed.
    wire unused = &{1'b0, tcb, own_ws, e_flags};
endmodule

`default_nettype wire
