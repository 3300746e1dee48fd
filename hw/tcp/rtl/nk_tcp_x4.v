// SPDX-License-Identifier: Apache-2.0
// Pipeline stage X4: tell the tenant at most one thing, set the timer, ask for another turn, make the words for outside.
//
// Combinational.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"
`include "nk_tcp_seg.vh"

module nk_tcp_x4 #(
    parameter W    = 512,               // bus bits, for byte lanes only
    parameter LW   = $clog2(W / 8),     // derived
    parameter SW   = `SEG_W + LW,       // derived: segment word
    parameter ACTW = 324 + LW,          // action word, see nk_place
    parameter TXDW = 717                // descriptor word, see nk_tcp_words
) (
    // The pass: with a flow, class, VF, state, segment, time; state before the event (state, CLOSED, armed, deadline).
    input  wire              on,
    input  wire [2:0]        cls,
    input  wire              listed,        // its flow was just taken off the transmit list
    input  wire [7:0]        vf,
    input  wire [`TCB_W-1:0] tcb,
    input  wire [SW-1:0]     seg,
    input  wire [47:0]       now_ext,
    input  wire [37:0]       was,
    // Payload: there is some, and what to place of it; end of a VF's flush.
    input  wire              payload,
    input  wire              place,
    input  wire [31:0]       place_seq,
    input  wire [15:0]       place_skip,
    input  wire [15:0]       place_len,
    input  wire              flushed,
    // What leaves.
    input  wire [1:0]        raw,
    input  wire [31:0]       raw_seq,
    input  wire [1:0]        rst_kind,
    input  wire [31:0]       rst_seq,
    input  wire [`OUT_W-1:0] out,
    input  wire [47:0]       next_mac,
    // Room for an event here and in the flow's receive ring; descriptors handed out and done; VF and parameters.
    input  wire              ev_room,
    input  wire              ring_room,
    input  wire [15:0]       tx_issued,
    input  wire [15:0]       tx_done,
    input  wire [63:0]       region,
    input  wire [15:0]       mtu,
    input  wire [7:0]        p_flags,
    input  wire [31:0]       p_rto_min,
    input  wire [31:0]       p_rto_init,
    input  wire [31:0]       p_rto_max,
    input  wire [31:0]       p_time_wait,
    input  wire [31:0]       p_fin_wait2,
    input  wire [31:0]       p_neigh_retry,
    input  wire [31:0]       p_delayed_ack,
    // State after it, an event among the actions, timer, lists, life, words.
    output wire [`TCB_W-1:0] tcb_out,
    output wire              tells,
    output wire              timer_set,
    output wire              timer_armed,
    output wire [31:0]       timer_deadline,
    output wire              push_tx,
    output wire              push_ntf,
    output wire              hash_delete,
    output wire              opened,
    output wire              freed,
    output wire [ACTW-1:0]   act,
    output wire [TXDW-1:0]   txd
);
    // Which descriptors may still read a drained flow's ring stands in SND_NXT (nk_tcp_post), since its pass before.
    wire [31:0]       mark    = tcb[`TCB_SND_NXT];
    wire              drained = was[37:34] == `NK_FS_DRAIN && (tx_done - mark[15:0]) >> 15 == 16'd0;
    wire              any, waits, more;
    wire [7:0]        op;
    wire [7:0]        status;
    wire [63:0]       data;
    wire [31:0]       size;
    wire [`TCB_W-1:0] ntf_tcb;
    nk_tcp_ntf ntf_i (
        .tcb(tcb), .tx_drained(drained), .any(any), .op(op), .op_data(data), .size(size), .status(status),
        .tcb_out(ntf_tcb), .waits(waits), .more(more)
    );
    assign tells = on && any && ring_room && ev_room && cls != `NK_EV_FLUSH;
    wire [`TCB_W-1:0] told = tells ? ntf_tcb : tcb;

    wire [3:0]        kind;
    wire [31:0]       seq;
    wire [15:0]       len;
    wire              fin, psh, blocked, follows;
    nk_tcp_txsel again_i (
        .tcb(told), .tx_ok(1'b1), .kind(kind), .seq(seq), .len(len), .fin(fin), .psh(psh), .blocked(blocked), .more(follows)
    );

    nk_tcp_post post_i (
        .tcb(told), .was_state(was[37:34]), .was_closed(was[33]), .was_armed(was[32]), .was_deadline(was[31:0]),
        .blocked(blocked), .more_tx(kind != `NK_TX_NONE), .more_ntf(tells ? more : any || waits),
        .from_txq(listed), .from_ntq(cls == `NK_EV_NTF), .now_us(now_ext[31:0]), .now_s(now_ext[35:20]),
        .p_rto_min(p_rto_min), .p_rto_init(p_rto_init), .p_rto_max(p_rto_max), .p_time_wait(p_time_wait), .p_fin_wait2(p_fin_wait2),
        .p_neigh_retry(p_neigh_retry), .p_delayed_ack(p_delayed_ack), .p_flags(p_flags), .tx_mark(tx_issued),
        .tcb_out(tcb_out), .timer_set(timer_set), .timer_armed(timer_armed), .timer_deadline(timer_deadline),
        .push_tx(push_tx), .push_ntf(push_ntf), .hash_delete(hash_delete), .opened(opened), .freed(freed)
    );

    nk_tcp_words #(.W(W), .LW(LW), .SW(SW), .ACTW(ACTW), .TXDW(TXDW)) words_i (
        .tcb(tcb), .vf(vf), .region(region), .mtu(mtu), .seg(seg), .next_mac(next_mac),
        .payload(payload), .place(place), .place_seq(place_seq), .place_skip(place_skip), .place_len(place_len),
        .event_valid(tells), .ev_op(op), .ev_data(data), .ev_size(size), .ev_status(status), .flushed(flushed),
        .raw(raw), .raw_seq(raw_seq), .rst_kind(rst_kind), .rst_seq(rst_seq), .from_wire(cls == `NK_EV_RX || cls == `NK_EV_RAW),
        .seg_seq(out[`OUT_SEQ]), .seg_ack(out[`OUT_ACK]), .seg_flags(out[`OUT_FLAGS]), .seg_wnd(out[`OUT_WND]), .seg_mss(out[`OUT_MSS]),
        .seg_ws_valid(out[`OUT_WSV]), .seg_ws(out[`OUT_WS]), .seg_len(out[`OUT_LEN]), .seg_sack_ok(out[`OUT_SACKOK]),
        .seg_ts_valid(out[`OUT_TSV]), .seg_tsval(out[`OUT_TSVAL]), .seg_tsecr(out[`OUT_TSECR]), .seg_sack_n(out[`OUT_SACKN]),
        .seg_sack(out[`OUT_SACK]), .seg_ecn(out[`OUT_ECN]), .word_act(act), .word_txd(txd)
    );

    wire unused = &{1'b0, mark, seq, len, fin, psh, follows, now_ext};
endmodule

`default_nettype wire
