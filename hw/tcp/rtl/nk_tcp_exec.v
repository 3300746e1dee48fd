// SPDX-License-Identifier: Apache-2.0
// The protocol pipeline's execute stage: every event's logic side by side, and the choice of one result.
//
// Combinational. `tcb` is the flow's state before the event, `tcb_out` after it; the other outputs are
// the event's actions, in protocol terms (addresses and handshakes are the engine's).

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_exec (
    // which event; at most one
    input  wire              is_rx,
    input  wire              is_op,         // tenant operation, or flush
    input  wire              is_tmr,
    input  wire              is_tx,
    input  wire              is_ntf,
    input  wire [`TCB_W-1:0] tcb,
    input  wire [31:0]       now_us,
    // received segment
    input  wire              rx_open,       // SYN for an accept credit
    input  wire [31:0]       isn,
    input  wire [31:0]       rx_rip,
    input  wire [15:0]       rx_rport,
    input  wire [15:0]       rx_lport,
    input  wire [31:0]       rx_seq,
    input  wire [31:0]       rx_ack,
    input  wire [8:0]        rx_flags,
    input  wire [15:0]       rx_wnd,
    input  wire [15:0]       rx_mss,
    input  wire [3:0]        rx_wscale,
    input  wire              rx_wscale_valid,
    input  wire [15:0]       rx_len,
    input  wire [15:0]       rx_listener,   // socket id
    // operation
    input  wire              op_flush,
    input  wire [7:0]        op_code,
    input  wire [7:0]        op_vf,
    input  wire [7:0]        op_qs,
    input  wire [15:0]       op_socket,
    input  wire [63:0]       op_data,
    input  wire [63:0]       op_ptr,
    input  wire [31:0]       op_size,
    input  wire              op_listener_ok,
    input  wire              op_listener_v,
    input  wire [15:0]       op_listener_link,
    input  wire              op_hash_done,
    input  wire              op_hash_ok,
    input  wire              op_hash_hit,
    output wire [7:0]        op_status,
    output wire              op_needs_hash,
    output wire              op_pre_ok,
    output wire              op_wake,
    // what to send (nk_tcp_txsel on `tcb`)
    input  wire [2:0]        sel_kind,
    input  wire [31:0]       sel_seq,
    input  wire [15:0]       sel_len,
    input  wire              sel_fin,
    input  wire              sel_psh,
    input  wire              neigh_hit,
    // what to announce (nk_tcp_ntf on `tcb`)
    input  wire              ntf_go,
    input  wire [`TCB_W-1:0] ntf_tcb,
    // parameters
    input  wire [15:0]       mtu,
    input  wire [31:0]       p_rto_min,
    input  wire [31:0]       p_rto_init,
    input  wire [31:0]       p_rto_max,
    input  wire [31:0]       p_time_wait,
    input  wire [31:0]       p_delayed_ack,
    input  wire [31:0]       p_neigh_retry,
    input  wire [31:0]       p_fin_wait2,
    input  wire [7:0]        p_retries_data,
    input  wire [7:0]        p_retries_syn,
    input  wire [7:0]        p_retries_neigh,
    input  wire [7:0]        p_initial_cwnd,
    // result
    output reg  [`TCB_W-1:0] tcb_out,
    output wire              place,
    output wire [31:0]       place_seq,
    output wire [15:0]       place_skip,
    output wire [15:0]       place_len,
    output reg               seg_send,
    output reg  [31:0]       seg_seq,
    output reg  [31:0]       seg_ack,
    output reg  [8:0]        seg_flags,
    output reg  [15:0]       seg_wnd,
    output reg  [15:0]       seg_mss,
    output reg               seg_ws_valid,
    output reg  [15:0]       seg_len,
    output wire              arp_ask,
    // counters
    output wire              st_unacceptable,
    output wire              st_bad_ack,
    output wire              st_rst,
    output wire              st_dupack,
    output wire              st_fast,
    output wire              st_ooo,
    output wire              st_duplicate,
    output wire              st_no_room,
    output wire              st_rto,
    output wire              st_give_up,
    output wire              st_retransmit,
    output wire              st_probe
);
    wire [`TCB_W-1:0] ack_tcb;
    wire [`TCB_W-1:0] data_tcb;
    wire [`TCB_W-1:0] op_tcb;
    wire [`TCB_W-1:0] tmr_tcb;
    wire [`TCB_W-1:0] tx_tcb;
    wire              data_ok;
    wire              reply_rst;
    wire              refuse;
    wire              op_rst;
    wire              tx_send;
    wire              tx_ask;
    wire [8:0]        tx_flags;
    wire [15:0]       tx_wnd;
    wire [15:0]       tx_mss;
    wire              tx_ws_valid;
    wire              tmr_rto;
    wire              tmr_give_up;
    wire              tx_again;
    wire              tx_probe;

    nk_tcp_rx_ack rx_ack_i (
        .en(is_rx), .tcb(tcb), .is_open(rx_open), .isn(isn), .now_us(now_us),
        .seq(rx_seq), .ack(rx_ack), .flags(rx_flags), .wnd(rx_wnd), .mss(rx_mss),
        .wscale(rx_wscale), .wscale_valid(rx_wscale_valid), .len(rx_len),
        .rip(rx_rip), .rport(rx_rport), .lport(rx_lport), .listener(rx_listener),
        .mtu(mtu), .p_rto_min(p_rto_min), .p_rto_init(p_rto_init), .p_rto_max(p_rto_max),
        .p_time_wait(p_time_wait), .p_fin_wait2(p_fin_wait2), .p_initial_cwnd(p_initial_cwnd),
        .tcb_out(ack_tcb), .data_ok(data_ok), .reply_rst(reply_rst),
        .st_unacceptable(st_unacceptable), .st_bad_ack(st_bad_ack), .st_rst(st_rst),
        .st_dupack(st_dupack), .st_fast(st_fast)
    );

    nk_tcp_rx_data rx_data_i (
        .en(is_rx && data_ok), .tcb(ack_tcb), .now_us(now_us),
        .seq(rx_seq), .len(rx_len), .f_fin(rx_flags[`NK_TF_FIN]),
        .p_delayed_ack(p_delayed_ack), .p_time_wait(p_time_wait),
        .tcb_out(data_tcb), .place(place), .place_seq(place_seq), .place_skip(place_skip),
        .place_len(place_len), .refuse(refuse),
        .st_ooo(st_ooo), .st_duplicate(st_duplicate), .st_no_room(st_no_room)
    );

    nk_tcp_op op_i (
        .tcb(tcb), .flush(op_flush), .op(op_code), .vf(op_vf), .qs(op_qs), .socket(op_socket),
        .data(op_data), .ptr(op_ptr), .size(op_size),
        .listener_ok(op_listener_ok), .listener_v(op_listener_v), .listener_link(op_listener_link),
        .hash_done(op_hash_done), .hash_ok(op_hash_ok), .hash_hit(op_hash_hit), .isn(isn),
        .now_us(now_us), .p_rto_init(p_rto_init), .p_fin_wait2(p_fin_wait2),
        .tcb_out(op_tcb), .status(op_status), .needs_hash(op_needs_hash), .pre_ok(op_pre_ok),
        .send_rst(op_rst), .wake(op_wake)
    );

    nk_tcp_tmr tmr_i (
        .tcb(tcb), .now_us(now_us), .p_retries_data(p_retries_data), .p_retries_syn(p_retries_syn),
        .tcb_out(tmr_tcb), .st_rto(tmr_rto), .st_give_up(tmr_give_up)
    );

    nk_tcp_tx tx_i (
        .tcb(tcb), .now_us(now_us), .neigh_hit(neigh_hit), .p_rto_max(p_rto_max),
        .p_neigh_retry(p_neigh_retry), .p_retries_neigh(p_retries_neigh), .mtu(mtu),
        .kind(sel_kind), .seq(sel_seq), .len(sel_len), .fin(sel_fin), .psh(sel_psh),
        .tcb_out(tx_tcb), .send(tx_send), .ask(tx_ask), .seg_flags(tx_flags), .seg_wnd(tx_wnd),
        .seg_mss(tx_mss), .seg_ws_valid(tx_ws_valid), .is_retransmit(tx_again), .is_probe(tx_probe)
    );

    assign st_rto        = is_tmr && tmr_rto;
    assign st_give_up    = is_tmr && tmr_give_up;
    assign st_retransmit = is_tx && tx_again;
    assign st_probe      = is_tx && tx_probe;
    assign arp_ask       = is_tx && tx_ask;

    localparam [8:0] F_RST     = 9'd1 << `NK_TF_RST;
    localparam [8:0] F_RST_ACK = (9'd1 << `NK_TF_RST) | (9'd1 << `NK_TF_ACK);

    always @* begin
        tcb_out      = tcb;
        seg_send     = 1'b0;
        seg_seq      = tcb[`TCB_SND_MAX];
        seg_ack      = tcb[`TCB_RCV_NXT];
        seg_flags    = F_RST_ACK;
        seg_wnd      = 16'd0;
        seg_mss      = 16'd0;
        seg_ws_valid = 1'b0;
        seg_len      = 16'd0;
        if (is_rx) begin
            tcb_out  = data_tcb;
            seg_send = reply_rst || refuse;
            if (reply_rst) begin
                seg_seq   = rx_ack;
                seg_ack   = 32'd0;
                seg_flags = F_RST;
            end
        end else if (is_op) begin
            tcb_out  = op_tcb;
            seg_send = op_rst && neigh_hit;
        end else if (is_tmr) begin
            tcb_out = tmr_tcb;
        end else if (is_tx) begin
            tcb_out      = tx_tcb;
            seg_send     = tx_send;
            seg_seq      = sel_seq;
            seg_flags    = tx_flags;
            seg_wnd      = tx_wnd;
            seg_mss      = tx_mss;
            seg_ws_valid = tx_ws_valid;
            seg_len      = sel_len;
            // A first SYN acknowledges nothing.
            if (!tx_flags[`NK_TF_ACK]) seg_ack = 32'd0;
        end else if (is_ntf && ntf_go) begin
            tcb_out = ntf_tcb;
        end
    end
endmodule

`default_nettype wire
