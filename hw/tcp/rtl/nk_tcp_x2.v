// SPDX-License-Identifier: Apache-2.0
// Pipeline stage X2: the sender (what an ACK or a timeout means) beside the receiver (what the payload means).
//
// Combinational. They change disjoint fields, so neither waits for the other (docs/pipeline.md).

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"
`include "nk_tcp_seg.vh"

module nk_tcp_x2 #(
    parameter SW = `SEG_W + 6           // bits of a segment word
) (
    // The pass: what X1 found (data_ok, ack, new, dup, syn, rto, reo, tlp), state, segment, time.
    input  wire              valid,
    input  wire              op,            // an operation on a flow: new data may end a silence
    input  wire [7:0]        ev,
    input  wire [`TCB_W-1:0] tcb,
    input  wire [SW-1:0]     seg,
    input  wire [47:0]       now_ext,
    input  wire [31:0]       ts_offset,
    // Profiles and parameters.
    input  wire [8*32-1:0]   nsm_ctrl,
    input  wire [8*64-1:0]   nsm_prm,
    input  wire [31:0]       p_rto_min,
    input  wire [31:0]       p_rto_max,
    input  wire [31:0]       p_delayed_ack,
    input  wire [7:0]        p_initial_cwnd,
    // State after it, payload to place, data for a socket that is closed, counter pulses by their index.
    output reg  [`TCB_W-1:0] tcb_out,
    output wire              place,
    output wire [31:0]       place_seq,
    output wire [15:0]       place_skip,
    output wire [15:0]       place_len,
    output wire              refuse,
    output reg  [63:0]       stat
);
    wire [2:0]  prof   = tcb[`TCB_PROF];
    wire [31:0] nsm    = nsm_ctrl[prof * 32 +: 32];
    wire [63:0] prm    = nsm_prm[prof * 64 +: 64];
    wire [7:0]  iw     = nsm[23:16] == 8'd0 ? p_initial_cwnd : nsm[23:16];
    wire [31:0] ts_now = now_ext[41:10] + ts_offset;
    wire [8:0]  flags  = seg[`SEG_FLAGS];
    wire        snd_en = valid && (op || ev[6:0] != 7'd0);
    wire        rcv_en = valid && ev[7];

    wire [`TCB_W-1:0] snd_tcb;
    wire [`TCB_W-1:0] rcv_tcb;
    wire rcv_place, rcv_refuse;
    wire st_dupack, st_fast, st_undo, st_rx_dsack, st_renege, st_ece, st_ooo, st_duplicate, st_no_room, st_tx_dsack, st_ce;

    nk_tcp_snd snd_i (
        .en(snd_en), .tcb(tcb), .now_us(now_ext[31:0]), .ts_now(ts_now),
        .ev_ack(ev[6]), .ev_new(ev[5]), .ev_dup(ev[4]), .ev_syn(ev[3]), .ev_rto(ev[2]), .ev_reo(ev[1]), .ev_tlp(ev[0]),
        .ack(seg[`SEG_ACK]), .ts_valid(seg[`SEG_TSV]), .tsecr(seg[`SEG_TSECR]), .ece(flags[`NK_TF_ECE]),
        .sack_n(seg[`SEG_SACKN]), .sack(seg[`SEG_SACK]),
        .p_rto_min(p_rto_min), .p_rto_max(p_rto_max), .p_flags(nsm[15:8]), .p_cc(nsm[3:0]), .p_ccp(prm), .p_initial_cwnd(iw),
        .tcb_out(snd_tcb), .st_dupack(st_dupack), .st_fast(st_fast), .st_undo(st_undo), .st_dsack(st_rx_dsack),
        .st_renege(st_renege), .st_ece(st_ece)
    );

    nk_tcp_rcv rcv_i (
        .en(rcv_en), .tcb(tcb), .now_us(now_ext[31:0]), .seq(seg[`SEG_SEQ]), .len(seg[`SEG_LEN]), .f_fin(flags[`NK_TF_FIN]),
        .f_cwr(flags[`NK_TF_CWR]), .ecn(seg[`SEG_ECN]), .p_delayed_ack(p_delayed_ack), .p_cc(nsm[3:0]),
        .tcb_out(rcv_tcb), .place(rcv_place), .place_seq(place_seq), .place_skip(place_skip), .place_len(place_len),
        .refuse(rcv_refuse), .st_ooo(st_ooo), .st_duplicate(st_duplicate), .st_no_room(st_no_room), .st_dsack(st_tx_dsack), .st_ce(st_ce)
    );
    assign place  = rcv_en && rcv_place;
    assign refuse = rcv_en && rcv_refuse;

    always @* begin
        tcb_out = rcv_en ? rcv_tcb : tcb;
        stat    = 64'd0;
        if (snd_en) begin
            tcb_out[`TCB_SND]      = snd_tcb[`TCB_SND];
            tcb_out[`TCB_W_ACKED]  = snd_tcb[`TCB_W_ACKED];
            tcb_out[`TCB_W_REO]    = snd_tcb[`TCB_W_REO];
            tcb_out[`TCB_W_REO_US] = snd_tcb[`TCB_W_REO_US];
            stat[`NK_CNT_TX_DUP_ACKS_RX]     = st_dupack;
            stat[`NK_CNT_TX_FAST_RETRANSMIT] = st_fast;
            stat[`NK_CNT_TX_UNDO]            = st_undo;
            stat[`NK_CNT_RX_DSACK]           = st_rx_dsack;
            stat[`NK_CNT_RX_RENEGE]          = st_renege;
            stat[`NK_CNT_RX_ECE]             = st_ece;
        end
        if (rcv_en) begin
            stat[`NK_CNT_RX_OUT_OF_ORDER] = st_ooo;
            stat[`NK_CNT_RX_DUPLICATE]    = st_duplicate;
            stat[`NK_CNT_RX_OOO_NO_ROOM]  = st_no_room;
            stat[`NK_CNT_TX_DSACK]        = st_tx_dsack;
            stat[`NK_CNT_RX_CE]           = st_ce;
        end
    end

    // The other fields of the sender's result are the receiver's to give.
    wire unused = &{1'b0, snd_tcb, nsm, seg, flags, now_ext};
endmodule

`default_nettype wire
