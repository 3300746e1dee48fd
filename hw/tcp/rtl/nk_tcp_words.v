// SPDX-License-Identifier: Apache-2.0
// Turns a pass's result into the words that the outside takes: actions for nk_place, descriptors for nk_net_tx.
//
// Combinational. Here sequence numbers become ring addresses: each is an offset into its ring.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"
`include "nk_tcp_seg.vh"

module nk_tcp_words #(
    parameter W    = 512,            // bus bits, for byte lanes only
    parameter LW   = $clog2(W / 8),  // derived
    parameter SW   = `SEG_W + LW,    // derived: segment word, its lane on top
    parameter ACTW = 324 + LW,       // action word, see nk_place
    parameter TXDW = 717             // descriptor word: the txd_* fields, vf in the lowest bits
) (
    // The flow after the pass, its VF with region and MTU; the segment that came in; MAC of the flow's next hop.
    input  wire [`TCB_W-1:0] tcb,
    input  wire [7:0]        vf,
    input  wire [63:0]       region,
    input  wire [15:0]       mtu,
    input  wire [SW-1:0]     seg,
    input  wire [47:0]       next_mac,
    // Its payload: there is some; place what stands in the window, else drop it all.
    input  wire              payload,
    input  wire              place,
    input  wire [31:0]       place_seq,
    input  wire [15:0]       place_skip,
    input  wire [15:0]       place_len,
    // Event to announce; or the mark that ends the VF's flush.
    input  wire              event_valid,
    input  wire [7:0]        ev_op,
    input  wire [63:0]       ev_data,
    input  wire [31:0]       ev_size,
    input  wire [7:0]        ev_status,
    input  wire              flushed,
    // What is sent in place of the flow's own segment: an answer without a flow (NK_RAW_*, raw_seq: SYN cookie), or a
    // RST (1: <SEQ=ack>, 2: with the flow's numbers and rst_seq, 3: as without a flow). It goes back to where the
    // segment came from.
    input  wire [1:0]        raw,
    input  wire [31:0]       raw_seq,
    input  wire [1:0]        rst_kind,
    input  wire [31:0]       rst_seq,
    input  wire              from_wire,     // this pass has a segment that came in
    // The flow's own segment, from nk_tcp_tx.
    input  wire [31:0]       seg_seq,
    input  wire [31:0]       seg_ack,
    input  wire [8:0]        seg_flags,
    input  wire [15:0]       seg_wnd,
    input  wire [15:0]       seg_mss,
    input  wire              seg_ws_valid,
    input  wire [3:0]        seg_ws,
    input  wire [15:0]       seg_len,
    input  wire              seg_sack_ok,
    input  wire              seg_ts_valid,
    input  wire [31:0]       seg_tsval,
    input  wire [31:0]       seg_tsecr,
    input  wire [2:0]        seg_sack_n,
    input  wire [255:0]      seg_sack,
    input  wire [1:0]        seg_ecn,
    // Words.
    output wire [ACTW-1:0]   word_act,
    output wire [TXDW-1:0]   word_txd
);
    localparam [1:0] PAY_NONE = 2'd0, PAY_PLACE = 2'd1, PAY_DROP = 2'd2;
    localparam [1:0] EV_NONE = 2'd0, EV_EVENT = 2'd1, EV_FLUSHED = 2'd2;
    localparam [8:0] F_RST     = 9'd1 << `NK_TF_RST;
    localparam [8:0] F_RST_ACK = (9'd1 << `NK_TF_RST) | (9'd1 << `NK_TF_ACK);
    localparam [8:0] F_SYN_ACK = (9'd1 << `NK_TF_SYN) | (9'd1 << `NK_TF_ACK);
    // Which accept credit a cookie's connection will take is not known yet: the window of the smallest ring.
    localparam [15:0] COOKIE_WND = 16'd1 << `NK_LIM_RING_LOG2_MIN;

    // -- ring addresses: a sequence number is an offset into its ring ------------------------------------
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

    // -- action -----------------------------------------------------------------------------------------
    // Trimmed bytes at the front: whole beats are skipped, the rest moves the first lane.
    wire [LW-1:0] lane       = seg[`SEG_W +: LW];
    wire [16:0]   first_byte = {1'b0, place_skip} + {{(17 - LW){1'b0}}, lane};
    wire [15:0]   skip_beats = {{(LW - 1){1'b0}}, first_byte[16:LW]};
    wire [1:0]    pay        = !payload ? PAY_NONE : place ? PAY_PLACE : PAY_DROP;
    wire [1:0]    kind       = event_valid ? EV_EVENT : flushed ? EV_FLUSHED : EV_NONE;
    assign word_act = {ev_status, ev_size, ev_data, tcb[`TCB_SOCKET], ev_op, tcb[`TCB_QS], kind,
                       rx_ring, rx_wrap, skip_beats, first_byte[LW-1:0], place_len, rx_ring + {32'd0, rx_off}, vf, pay};

    // -- descriptor -------------------------------------------------------------------------------------
    wire [8:0]  e_flags   = seg[`SEG_FLAGS];
    wire [31:0] e_seq     = seg[`SEG_SEQ];
    wire [31:0] e_ack     = seg[`SEG_ACK];
    wire [15:0] e_len     = seg[`SEG_LEN];
    wire [31:0] e_end     = e_seq + {16'd0, e_len} + {31'd0, e_flags[`NK_TF_SYN]} + {31'd0, e_flags[`NK_TF_FIN]};
    wire        cookie    = raw == `NK_RAW_COOKIE;
    wire        stranger  = raw == `NK_RAW_RST || rst_kind == 2'd3;
    wire        is_rst    = rst_kind != 2'd0 || raw == `NK_RAW_RST;
    wire        own       = !cookie && !is_rst;                // the flow's own segment
    wire        back      = !own && from_wire;

    reg  [31:0] seq;
    reg  [31:0] ack;
    reg  [8:0]  flags;
    always @* begin
        seq   = seg_seq;
        ack   = seg_ack;
        flags = seg_flags;
        if (cookie) begin
            seq   = raw_seq;
            ack   = e_seq + 32'd1;
            flags = F_SYN_ACK;
        end else if (stranger) begin
            // RFC 9293, 3.10.7.1.
            seq   = e_flags[`NK_TF_ACK] ? e_ack : 32'd0;
            ack   = e_flags[`NK_TF_ACK] ? 32'd0 : e_end;
            flags = e_flags[`NK_TF_ACK] ? F_RST : F_RST_ACK;
        end else if (rst_kind == 2'd1) begin
            seq   = e_ack;
            ack   = 32'd0;
            flags = F_RST;
        end else if (rst_kind == 2'd2) begin
            seq   = rst_seq;
            ack   = tcb[`TCB_RCV_NXT];
            flags = F_RST_ACK;
        end
    end

    wire [47:0] dmac  = back ? seg[`SEG_SMAC] : next_mac;
    wire [31:0] rip   = back ? seg[`SEG_RIP] : tcb[`TCB_RIP];
    wire [15:0] rport = back ? seg[`SEG_RPORT] : tcb[`TCB_RPORT];
    wire [15:0] lport = back ? seg[`SEG_LPORT] : tcb[`TCB_LPORT];
    wire [15:0] wnd   = own ? seg_wnd : cookie ? COOKIE_WND : 16'd0;
    wire [15:0] mss   = own ? seg_mss : cookie ? mtu - 16'd40 : 16'd0;
    wire [15:0] len   = own ? seg_len : 16'd0;

    // Options other than the MSS, and ECN, are the flow's own segments' alone: a cookie has no room to remember them.
    assign word_txd = {seg_sack, own ? seg_sack_n : 3'd0, own && seg_sack_ok, seg_tsecr, seg_tsval, own && seg_ts_valid,
                       own ? seg_ecn : 2'd0, tx_ring, tx_wrap, tx_ring + {32'd0, tx_off}, len, own && seg_ws_valid, seg_ws,
                       mss, wnd, flags, ack, seq, lport, rport, rip, dmac, vf};

    // Of these only some fields are needed.
    wire unused = &{1'b0, tcb, seg, e_flags};
endmodule

`default_nettype wire
