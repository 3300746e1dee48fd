// SPDX-License-Identifier: Apache-2.0
// Test top: a pass without its middle. The flow's memory word through X1's operations and timers to `x1_tcb`; what the
// test makes of it comes back as `mid_tcb` and goes through X4 to the memory word that is written.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"

module nk_tcp_life (
    // The memory word before the pass, the event, its time.
    input  wire [`TCB_MEM_W-1:0] mem,
    input  wire [47:0]           now_ext,
    input  wire                  is_op,
    input  wire                  is_tmr,
    input  wire [7:0]            op,
    input  wire [63:0]           data,
    input  wire [31:0]           size,
    input  wire                  ins_done,
    input  wire                  uncredit,
    input  wire [31:0]           isn,
    output wire [7:0]            status,
    output wire                  want_insert,
    output wire                  send_rst,
    output wire                  ev_rto,
    output wire                  ev_tlp,
    output wire                  st_give_up,
    output wire [`TCB_W-1:0]     x1_tcb,
    // What X2 and X3 have made of it.
    input  wire [`TCB_W-1:0]     mid_tcb,
    input  wire                  blocked,
    input  wire                  more_tx,
    input  wire                  ring_room,
    input  wire                  from_txq,
    input  wire                  from_ntq,
    input  wire [15:0]           tx_issued,
    input  wire [15:0]           tx_done,
    // What the tenant and the surroundings hear.
    output wire                  ev_valid,
    output wire [7:0]            ev_op,
    output wire [31:0]           ev_size,
    output wire [7:0]            ev_status,
    output wire                  timer_set,
    output wire                  timer_armed,
    output wire [31:0]           timer_deadline,
    output wire                  push_tx,
    output wire                  push_ntf,
    output wire                  hash_delete,
    output wire                  opened,
    output wire                  freed,
    output wire [`TCB_MEM_W-1:0] mem_out
);
    wire [31:0]       now_us = now_ext[31:0];
    wire [15:0]       now_s  = now_ext[35:20];
    wire [`TCB_W-1:0] tcb;
    wire [`TCB_W-1:0] op_tcb;
    wire [`TCB_W-1:0] tmr_tcb;
    wire              end_listener, ev_reo, st_rto, st_blackhole;
    wire [31:0]       rst_seq;

    nk_tcb_unpack unpack (.mem(mem), .now_us(now_us), .tcb(tcb));
    nk_tcp_op op_i (
        .en(is_op), .tcb(tcb), .flush(1'b0), .op(op), .vf(8'd1), .qs(8'd0), .socket(16'd3), .data(data), .ptr(64'h3000), .size(size),
        .listener_ok(1'b1), .uncredit(uncredit), .listener_done(1'b0), .ins_done(ins_done), .ins_ok(1'b1), .ins_hit(1'b0),
        .isn(isn), .prof(3'd0), .p_flags(8'h1f), .now_s(now_s), .tcb_out(op_tcb), .status(status), .want_insert(want_insert),
        .end_listener(end_listener), .send_rst(send_rst), .rst_seq(rst_seq)
    );
    nk_tcp_tmr tmr_i (
        .en(is_tmr), .tcb(tcb), .now_us(now_us), .now_s(now_s), .p_retries_data(8'd8), .p_retries_syn(8'd4), .tcb_out(tmr_tcb),
        .ev_rto(ev_rto), .ev_reo(ev_reo), .ev_tlp(ev_tlp), .st_rto(st_rto), .st_give_up(st_give_up), .st_blackhole(st_blackhole)
    );
    assign x1_tcb = is_op ? op_tcb : is_tmr ? tmr_tcb : tcb;

    wire [3:0]        was_state  = tcb[`TCB_STATE];
    wire              rtx_first  = tcb[`TCB_RTX_ON] && (!tcb[`TCB_DACK_ON] || $signed(tcb[`TCB_RTX_T] - tcb[`TCB_DACK_T]) < 0);
    wire [31:0]       mark       = mid_tcb[`TCB_SND_NXT];
    wire              tx_drained = was_state == `NK_FS_DRAIN && (tx_done - mark[15:0]) >> 15 == 16'd0;
    wire              any, waits, more;
    wire [63:0]       ev_data;
    wire [`TCB_W-1:0] ntf_tcb;
    wire [`TCB_W-1:0] post_tcb;

    nk_tcp_ntf ntf_i (
        .tcb(mid_tcb), .tx_drained(tx_drained), .any(any), .op(ev_op), .op_data(ev_data), .size(ev_size), .status(ev_status),
        .tcb_out(ntf_tcb), .waits(waits), .more(more)
    );
    assign ev_valid = any && ring_room;
    nk_tcp_post post_i (
        .tcb(ev_valid ? ntf_tcb : mid_tcb), .was_state(was_state), .was_closed(tcb[`TCB_CLOSED]),
        .was_armed(tcb[`TCB_RTX_ON] || tcb[`TCB_DACK_ON]), .was_deadline(rtx_first ? tcb[`TCB_RTX_T] : tcb[`TCB_DACK_T]),
        .blocked(blocked), .more_tx(more_tx), .more_ntf(ev_valid ? more : any || waits), .from_txq(from_txq), .from_ntq(from_ntq),
        .now_us(now_us), .now_s(now_s), .p_rto_min(32'd200000), .p_rto_init(32'd1000000), .p_rto_max(32'd60000000),
        .p_time_wait(32'd30000000), .p_fin_wait2(32'd60000000), .p_neigh_retry(32'd500000), .p_delayed_ack(32'd20000),
        .p_flags(8'h1f), .tx_mark(tx_issued), .tcb_out(post_tcb), .timer_set(timer_set), .timer_armed(timer_armed),
        .timer_deadline(timer_deadline), .push_tx(push_tx), .push_ntf(push_ntf), .hash_delete(hash_delete), .opened(opened), .freed(freed)
    );
    nk_tcb_pack pack (.tcb(post_tcb), .mem(mem_out));

    wire unused = &{1'b0, now_ext, ev_data, end_listener, ev_reo, st_rto, st_blackhole, rst_seq, mark};
endmodule

`default_nettype wire
