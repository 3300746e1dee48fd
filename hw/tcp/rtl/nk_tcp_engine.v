// SPDX-License-Identifier: Apache-2.0
// The protocol pipeline: every event of every flow passes here, and nothing else writes a flow's state.
//
// Events: segments, tenant operations, timers, transmit grants, event grants, VF flushes. One at a time:
// look up, read, execute, write, hand out the actions. See hw/tcp/doc/nk_tcp_engine.md for the clocks.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_engine #(
    parameter W     = 512,                              // bus bits, for byte lanes only
    parameter NVF   = 8,                                // VFs
    parameter NQS   = 1,                                // queue sets a VF
    parameter FLOWS = 1024,                             // flows, power of two
    parameter FW    = $clog2(FLOWS),                    // derived
    parameter LW    = $clog2(W / 8),                    // derived
    parameter VW    = (NVF > 1) ? $clog2(NVF) : 1,      // derived
    parameter ACTW  = 186 + LW,                         // derived: action word, see nk_place
    parameter TXDW  = 390                               // derived: descriptor word, see the end
) (
    // Clock and reset (synchronous, active high); time in microseconds.
    input  wire                clk,
    input  wire                rst,
    input  wire [31:0]         now_us,
    // configuration
    input  wire [NVF*32-1:0]   cfg_ip,
    input  wire [NVF*32-1:0]   cfg_mask,
    input  wire [NVF*32-1:0]   cfg_gw,
    input  wire [NVF*16-1:0]   cfg_mtu,
    input  wire [NVF*32-1:0]   cfg_sock_base,
    input  wire [NVF*32-1:0]   cfg_sock_count,
    input  wire [NVF*64-1:0]   region_base,
    input  wire [127:0]        hash_key,
    input  wire [31:0]         p_rto_min,
    input  wire [31:0]         p_rto_init,
    input  wire [31:0]         p_rto_max,
    input  wire [31:0]         p_time_wait,
    input  wire [31:0]         p_delayed_ack,
    input  wire [31:0]         p_neigh_retry,
    input  wire [31:0]         p_fin_wait2,
    input  wire [7:0]          p_retries_data,
    input  wire [7:0]          p_retries_syn,
    input  wire [7:0]          p_retries_neigh,
    input  wire [7:0]          p_initial_cwnd,
    // received segments
    input  wire                seg_valid,
    output wire                seg_ready,
    input  wire [7:0]          seg_vf,
    input  wire [47:0]         seg_smac,
    input  wire [31:0]         seg_rip,
    input  wire [15:0]         seg_rport,
    input  wire [15:0]         seg_lport,
    input  wire [31:0]         seg_seq,
    input  wire [31:0]         seg_ack,
    input  wire [8:0]          seg_flags,
    input  wire [15:0]         seg_wnd,
    input  wire [15:0]         seg_mss,
    input  wire [3:0]          seg_wscale,
    input  wire                seg_wscale_valid,
    input  wire [15:0]         seg_len,
    input  wire [LW-1:0]       seg_lane,
    // segments to send
    output wire                txd_valid,
    input  wire                txd_ready,
    output wire [7:0]          txd_vf,
    output wire [47:0]         txd_dmac,
    output wire [31:0]         txd_rip,
    output wire [15:0]         txd_rport,
    output wire [15:0]         txd_lport,
    output wire [31:0]         txd_seq,
    output wire [31:0]         txd_ack,
    output wire [8:0]          txd_flags,
    output wire [15:0]         txd_wnd,
    output wire [15:0]         txd_mss,
    output wire [3:0]          txd_wscale,
    output wire                txd_wscale_valid,
    output wire [15:0]         txd_len,
    output wire [63:0]         txd_addr,
    output wire [15:0]         txd_wrap_len,
    output wire [63:0]         txd_wrap_addr,
    input  wire                txd_done,
    // neighbours
    output wire [31:0]         nq_ip,
    input  wire                nq_hit,
    input  wire [47:0]         nq_mac,
    output wire                arp_req_valid,
    input  wire                arp_req_ready,
    output wire [7:0]          arp_req_vf,
    output wire [31:0]         arp_req_ip,
    // tenant operations
    input  wire                op_valid,
    output wire                op_ready,
    input  wire [7:0]          op_vf,
    input  wire [7:0]          op_qs,
    input  wire [7:0]          op_code,
    input  wire [FW-1:0]       op_flow,
    input  wire [15:0]         op_socket,
    input  wire [FW-1:0]       op_child,
    input  wire                op_child_ok,
    input  wire [63:0]         op_data,
    input  wire [63:0]         op_ptr,
    input  wire [31:0]         op_size,
    output wire                opr_valid,
    output wire [7:0]          opr_status,
    output wire [63:0]         opr_data,
    output wire [63:0]         opr_ptr,
    output wire [31:0]         opr_size,
    // ordered actions (nk_place)
    output wire                act_valid,
    input  wire                act_ready,
    output wire [ACTW-1:0]     act,
    input  wire                act_room,
    input  wire [NVF*NQS-1:0]  recv_room,
    // VF flush
    input  wire                flush_valid,
    output wire                flush_ready,
    input  wire [7:0]          flush_vf,
    // counters
    output wire [NVF*16-1:0]   vf_sockets,
    output wire [31:0]         flows_in_use,
    output wire [31:0]         hash_in_use,
    output wire                stat_rx_no_flow,
    output wire                stat_rx_syn_no_credit,
    output wire                stat_rx_syn_no_room,
    output wire                stat_rx_unacceptable,
    output wire                stat_rx_bad_ack,
    output wire                stat_rx_out_of_order,
    output wire                stat_rx_duplicate,
    output wire                stat_rx_ooo_no_room,
    output wire                stat_rx_rst,
    output wire                stat_tx_rst,
    output wire                stat_tx_retransmits,
    output wire                stat_tx_rto,
    output wire                stat_tx_fast_retransmit,
    output wire                stat_tx_zero_window_probe,
    output wire                stat_tx_dup_acks_rx,
    output wire                stat_flows_opened,
    output wire                stat_flows_closed,
    output wire                stat_hash_inserts,
    output wire                stat_hash_deletes,
    output wire                stat_flow_timeouts,
    output wire                stat_neigh_misses,
    // counters of the VFs: {vf, index} and increment, one source a counter
    output wire [6:0]          vst_valid,
    input  wire [6:0]          vst_ready,
    output wire [7*(VW+4)-1:0] vst_addr,
    output wire [7*16-1:0]     vst_inc,
    // activity
    output wire                busy,
    output wire                next_us_valid,
    output wire [31:0]         next_us
);
    localparam NL  = NVF * NQS;
    localparam NLW = (NL > 1) ? $clog2(NL) : 1;

    // ---- event classes and states --------------------------------------------------------------
    localparam [2:0] C_FLUSH = 3'd0, C_TMR = 3'd1, C_OP = 3'd2, C_RX = 3'd3, C_NTF = 3'd4, C_TX = 3'd5;
    localparam [3:0] S_INIT  = 4'd0,   // clearing the flow table
                     S_IDLE  = 4'd1,
                     S_HASH  = 4'd2,   // flow table request
                     S_HASHW = 4'd3,   // and answer
                     S_RD    = 4'd4,   // flow state: address
                     S_RDW   = 4'd5,   // flow state: data
                     S_NB    = 4'd6,   // neighbour
                     S_ISN   = 4'd7,
                     S_ISNW  = 4'd8,
                     S_EX    = 4'd9,   // execute
                     S_POST  = 4'd10,  // write back, collect the actions
                     S_ACT   = 4'd11,  // until every action is handed over
                     S_STRANGER = 4'd12,  // a segment that finds no socket
                     S_DROP_SYN = 4'd13;  // a SYN that cannot be taken now: the sender will try again
    // What a look-up, and what a read, is for.
    localparam [1:0] H_CONN = 2'd0, H_PORT = 2'd1, H_INSERT = 2'd2;
    localparam [1:0] R_MAIN = 2'd0, R_LISTENER = 2'd1, R_CREDIT = 2'd2;

    reg  [3:0]        st_reg;
    reg  [2:0]        cls_reg;
    reg  [1:0]        hwhy_reg;
    reg  [1:0]        rwhy_reg;
    reg  [FW-1:0]     flow_reg;
    reg  [FW-1:0]     lflow_reg;      // listener of this event
    reg  [31:0]       now_reg;        // one time for the whole event
    reg  [`TCB_W-1:0] tcb_reg;        // state before
    reg  [`TCB_W-1:0] new_reg;        // and after
    reg               l_ok_reg;       // listener: listens
    reg               l_link_v_reg;   // and its first credit
    reg  [15:0]       l_link_reg;
    reg  [15:0]       l_socket_reg;
    reg  [`TCB_W-1:0] ltcb_reg;       // its whole state, to write the credit list back
    reg               rx_open_reg;
    reg               closing_reg;    // a closing listener hands back one credit
    reg  [31:0]       isn_reg;
    reg               hash_done_reg;
    reg               hash_ok_reg;
    reg               hash_hit_reg;

    // ---- the event's own data --------------------------------------------------------------------
    reg  [7:0]    e_vf_reg;
    reg  [47:0]   e_smac_reg;
    reg  [31:0]   e_rip_reg;
    reg  [15:0]   e_rport_reg;
    reg  [15:0]   e_lport_reg;
    reg  [31:0]   e_seq_reg;
    reg  [31:0]   e_ack_reg;
    reg  [8:0]    e_flags_reg;
    reg  [15:0]   e_wnd_reg;
    reg  [15:0]   e_mss_reg;
    reg  [3:0]    e_wscale_reg;
    reg           e_wscale_valid_reg;
    reg  [15:0]   e_len_reg;
    reg  [LW-1:0] e_lane_reg;
    reg  [7:0]    o_qs_reg;
    reg  [7:0]    o_code_reg;
    reg  [15:0]   o_socket_reg;
    reg  [FW-1:0] o_child_reg;
    reg           o_child_ok_reg;
    reg  [63:0]   o_data_reg;
    reg  [63:0]   o_ptr_reg;
    reg  [31:0]   o_size_reg;

    // ---- flow state memory -------------------------------------------------------------------------
    reg               init_done_reg;
    reg  [FW-1:0]     init_reg;
    wire              ram_we;
    wire [FW-1:0]     ram_waddr;
    wire [`TCB_W-1:0] ram_wdata;
    wire [`TCB_W-1:0] ram_rdata;

    nk_ram_1w1r #(.W(`TCB_W), .AW(FW)) tcb_ram (
        .clk(clk), .we(ram_we), .waddr(ram_waddr), .wdata(ram_wdata),
        .re(st_reg == S_RD), .raddr(flow_reg), .rdata(ram_rdata)
    );

    wire [15:0] ram_link = ram_rdata[`TCB_LINK];
    wire [15:0] tcb_link = tcb_reg[`TCB_LINK];

    // ---- configuration of the flow's VF -----------------------------------------------------------
    // The VF is known from the event; for timers and grants from the flow's own state.
    wire [7:0]  vf_now   = (cls_reg == C_RX || cls_reg == C_OP || cls_reg == C_FLUSH) ? e_vf_reg : tcb_reg[`TCB_VF];
    wire [VW-1:0] vf_ix  = vf_now[VW-1:0];
    wire [31:0] my_ip    = cfg_ip[vf_ix * 32 +: 32];
    wire [31:0] my_mask  = cfg_mask[vf_ix * 32 +: 32];
    wire [31:0] my_gw    = cfg_gw[vf_ix * 32 +: 32];
    wire [15:0] my_mtu   = cfg_mtu[vf_ix * 16 +: 16];
    wire [63:0] my_base  = region_base[vf_ix * 64 +: 64];
    wire        on_link  = ((tcb_reg[`TCB_RIP] ^ my_ip) & my_mask) == 32'd0 || my_gw == 32'd0;
    wire [31:0] next_hop = on_link ? tcb_reg[`TCB_RIP] : my_gw;
    assign nq_ip = next_hop;

    // ---- flow table -------------------------------------------------------------------------------
    wire          hash_ready;
    wire          hash_rsp;
    wire          hash_hit;
    wire [FW-1:0] hash_flow;
    wire          hash_ok;
    wire          hash_init;
    reg           pend_del_reg;
    wire          del_now   = st_reg == S_ACT && pend_del_reg;
    wire          del_port  = tcb_reg[`TCB_STATE] == `NK_FS_LISTEN;
    wire          conn_key  = hwhy_reg == H_CONN || (hwhy_reg == H_INSERT && (cls_reg == C_RX || o_code_reg == `NK_OP_CONNECT));
    wire [1:0]    hash_op   = del_now ? 2'd2 : hwhy_reg == H_INSERT ? 2'd1 : 2'd0;
    wire [31:0]   hash_rip  = del_now ? (del_port ? 32'd0 : tcb_reg[`TCB_RIP])
                            : !conn_key ? 32'd0 : cls_reg == C_RX ? e_rip_reg : o_data_reg[31:0];
    wire [15:0]   hash_rp   = del_now ? (del_port ? 16'd0 : tcb_reg[`TCB_RPORT])
                            : !conn_key ? 16'd0 : cls_reg == C_RX ? e_rport_reg : o_data_reg[47:32];
    wire [15:0]   hash_lp   = del_now ? tcb_reg[`TCB_LPORT] : cls_reg == C_RX ? e_lport_reg : o_data_reg[63:48];
    reg           del_sent_reg;
    wire          hash_req  = st_reg == S_HASH || (del_now && !del_sent_reg);

    nk_flow_hash #(.FLOWS(FLOWS), .FW(FW)) table_i (
        .clk(clk), .rst(rst), .key(hash_key),
        .req_valid(hash_req), .req_ready(hash_ready), .req_op(hash_op),
        .req_vf(vf_now), .req_rip(hash_rip), .req_rport(hash_rp), .req_lport(hash_lp), .req_flow(flow_reg),
        .rsp_valid(hash_rsp), .rsp_hit(hash_hit), .rsp_flow(hash_flow), .rsp_ok(hash_ok),
        .in_use(hash_in_use), .init_done(hash_init)
    );

    // ---- initial sequence numbers -------------------------------------------------------------------
    wire        isn_ready;
    wire        isn_rsp;
    wire [31:0] isn_value;

    nk_tcp_isn isn_i (
        .clk(clk), .rst(rst), .key(hash_key), .now_us(now_us),
        .req_valid(st_reg == S_ISN), .req_ready(isn_ready),
        .req_lip(my_ip), .req_lport(cls_reg == C_RX ? e_lport_reg : o_data_reg[63:48]),
        .req_rip(cls_reg == C_RX ? e_rip_reg : o_data_reg[31:0]),
        .req_rport(cls_reg == C_RX ? e_rport_reg : o_data_reg[47:32]),
        .rsp_valid(isn_rsp), .rsp_isn(isn_value)
    );

    // ---- timers -------------------------------------------------------------------------------------
    wire          exp_valid;
    wire [FW-1:0] exp_flow;
    wire          tmr_ready;
    wire          tmr_busy;
    wire          tmr_init;
    reg           pend_tmr_reg;
    reg           tmr_armed_reg;
    reg  [31:0]   tmr_at_reg;
    wire          take;               // an event is accepted in this clock
    wire [2:0]    pick;

    nk_tcp_timers #(.FLOWS(FLOWS), .FW(FW)) timers_i (
        .clk(clk), .rst(rst), .now_us(now_us),
        .set_valid(st_reg == S_ACT && pend_tmr_reg), .set_ready(tmr_ready), .set_flow(flow_reg),
        .set_armed(tmr_armed_reg), .set_deadline(tmr_at_reg),
        .exp_valid(exp_valid), .exp_ready(take && pick == C_TMR), .exp_flow(exp_flow),
        .next_valid(next_us_valid), .next_us(next_us), .busy(tmr_busy), .init_done(tmr_init)
    );

    // ---- who may act next ------------------------------------------------------------------------
    reg           pend_tx_reg;
    reg           pend_ntf_reg;
    reg           pend_ltx_reg;       // the closing listener again
    wire          txq_push_ready;
    wire          ntq_push_ready;
    wire          txq_valid;
    wire          ntq_valid;
    wire [FW-1:0] txq_flow;
    wire [FW-1:0] ntq_flow;
    wire          txq_init;
    wire          ntq_init;
    wire          txq_busy;
    wire          ntq_busy;
    wire [7:0]    new_vf   = new_reg[`TCB_VF];
    wire [15:0]   new_ring = new_vf * NQS + {8'd0, new_reg[`TCB_QS]};
    wire          act_tx   = st_reg == S_ACT && (pend_tx_reg || pend_ltx_reg);
    wire          act_ntf  = st_reg == S_ACT && pend_ntf_reg;

    nk_tcp_sched #(.FLOWS(FLOWS), .FW(FW), .LISTS(NVF)) txq (
        .clk(clk), .rst(rst), .eligible({NVF{1'b1}}),
        .push_valid(act_tx), .push_ready(txq_push_ready), .push_list(new_vf[VW-1:0]),
        .push_flow(pend_tx_reg ? flow_reg : lflow_reg),
        .next_valid(txq_valid), .next_ready(take && pick == C_TX), .next_flow(txq_flow),
        .init_done(txq_init), .busy(txq_busy)
    );

    nk_tcp_sched #(.FLOWS(FLOWS), .FW(FW), .LISTS(NL)) ntq (
        .clk(clk), .rst(rst), .eligible(recv_room),
        .push_valid(act_ntf), .push_ready(ntq_push_ready), .push_list(new_ring[NLW-1:0]),
        .push_flow(flow_reg),
        .next_valid(ntq_valid), .next_ready(take && pick == C_NTF), .next_flow(ntq_flow),
        .init_done(ntq_init), .busy(ntq_busy)
    );

    wire acts_done;                   // every action of this event is handed over

    // ---- VF flush: every flow of the VF, then a mark behind its last write ---------------------------
    wire          fl_flow_valid;      // a flow of it is to be ended
    wire [FW-1:0] fl_flow;
    wire          fl_end_valid;       // all are free and no segment of them waits
    wire [7:0]    fl_vf;
    wire          fl_busy;

    nk_tcp_flush #(.NVF(NVF), .FW(FW)) flush_i (
        .clk(clk), .rst(rst), .cfg_sock_base(cfg_sock_base), .cfg_sock_count(cfg_sock_count),
        .flush_valid(flush_valid), .flush_ready(flush_ready), .flush_vf(flush_vf),
        .tx_issued(tx_issued_reg), .tx_done(tx_done_reg),
        .flow_valid(fl_flow_valid), .flow(fl_flow), .flow_done(st_reg == S_ACT && acts_done && cls_reg == C_FLUSH && fl_flow_valid),
        .end_valid(fl_end_valid), .end_taken(take && pick == C_FLUSH && fl_end_valid), .vf(fl_vf), .busy(fl_busy)
    );

    // ---- descriptors handed to nk_net_tx, and done there ----------------------------------------------
    reg  [15:0] tx_issued_reg;
    reg  [15:0] tx_done_reg;

    // ---- choice of the next event --------------------------------------------------------------------
    wire        txd_room;
    wire [5:0]  req;
    wire        any;
    assign req[C_FLUSH] = (fl_flow_valid && txd_room) || (fl_end_valid && act_room);
    assign req[C_TMR]   = exp_valid;
    assign req[C_OP]    = op_valid && txd_room;
    assign req[C_RX]    = seg_valid && act_room && txd_room;
    assign req[C_NTF]   = ntq_valid && act_room;
    assign req[C_TX]    = txq_valid && txd_room;
    assign take = st_reg == S_IDLE && any;

    nk_arb_rr #(.N(6)) choose (
        .clk(clk), .rst(rst), .req(req), .advance(take), .grant_valid(any), .grant(pick)
    );
    assign seg_ready = take && pick == C_RX;
    assign op_ready  = take && pick == C_OP;

    // ---- execute ---------------------------------------------------------------------------------------
    wire ex = st_reg == S_EX;
    wire [`TCB_W-1:0] sel_tcb = st_reg == S_POST ? new_reg : tcb_reg;
    wire [2:0]        sel_kind;
    wire [31:0]       sel_seq;
    wire [15:0]       sel_len;
    wire              sel_fin;
    wire              sel_psh;
    wire              sel_blocked;

    nk_tcp_txsel txsel_i (
        .tcb(sel_tcb), .kind(sel_kind), .seq(sel_seq), .len(sel_len), .fin(sel_fin), .psh(sel_psh),
        .blocked(sel_blocked)
    );

    wire [31:0]       drain_mark = sel_tcb[`TCB_SND_NXT];   // of a socket in DRAIN, see nk_tcp_post
    wire              tx_drained = (tx_done_reg - drain_mark[15:0]) >> 15 == 16'd0;
    wire              ntf_any;
    wire              ntf_waits;
    wire [7:0]        ntf_op;
    wire [63:0]       ntf_data;
    wire [31:0]       ntf_size;
    wire [7:0]        ntf_status;
    wire [`TCB_W-1:0] ntf_tcb;
    wire [15:0]       ring_now  = tcb_reg[`TCB_VF] * NQS + {8'd0, tcb_reg[`TCB_QS]};
    wire              ring_room = recv_room[ring_now[NLW-1:0]];

    nk_tcp_ntf ntf_i (
        .tcb(sel_tcb), .tx_drained(tx_drained),
        .any(ntf_any), .op(ntf_op), .op_data(ntf_data), .size(ntf_size), .status(ntf_status),
        .tcb_out(ntf_tcb), .waits(ntf_waits)
    );
    wire ntf_go = ntf_any && ring_room;

    wire [`TCB_W-1:0] ex_tcb;
    wire [7:0]        ex_status;
    wire              ex_needs_hash;
    wire              ex_pre_ok;
    wire              ex_wake;
    wire              ex_place;
    wire [31:0]       ex_place_seq;
    wire [15:0]       ex_place_skip;
    wire [15:0]       ex_place_len;
    wire              ex_send;
    wire [31:0]       ex_seq;
    wire [31:0]       ex_ack;
    wire [8:0]        ex_flags;
    wire [15:0]       ex_wnd;
    wire [15:0]       ex_mss;
    wire              ex_ws_valid;
    wire [15:0]       ex_len;
    wire              ex_ask;
    wire              x_unacceptable, x_bad_ack, x_rst, x_dupack, x_fast, x_ooo, x_duplicate, x_no_room;
    wire              x_rto, x_give_up, x_again, x_probe;

    nk_tcp_exec exec_i (
        .is_rx(ex && cls_reg == C_RX), .is_op(ex && (cls_reg == C_OP || cls_reg == C_FLUSH)),
        .is_tmr(ex && cls_reg == C_TMR), .is_tx(ex && cls_reg == C_TX), .is_ntf(ex && cls_reg == C_NTF),
        .tcb(tcb_reg), .now_us(now_reg),
        .rx_open(rx_open_reg), .isn(isn_reg), .rx_rip(e_rip_reg), .rx_rport(e_rport_reg), .rx_lport(e_lport_reg),
        .rx_seq(e_seq_reg), .rx_ack(e_ack_reg), .rx_flags(e_flags_reg), .rx_wnd(e_wnd_reg), .rx_mss(e_mss_reg),
        .rx_wscale(e_wscale_reg), .rx_wscale_valid(e_wscale_valid_reg), .rx_len(e_len_reg), .rx_listener(l_socket_reg),
        .op_flush(cls_reg == C_FLUSH), .op_code(o_code_reg), .op_vf(e_vf_reg), .op_qs(o_qs_reg), .op_socket(o_socket_reg),
        .op_data(o_data_reg), .op_ptr(o_ptr_reg), .op_size(o_size_reg),
        .op_listener_ok(l_ok_reg && o_child_ok_reg), .op_listener_v(l_link_v_reg), .op_listener_link(l_link_reg),
        .op_hash_done(hash_done_reg), .op_hash_ok(hash_ok_reg), .op_hash_hit(hash_hit_reg),
        .op_status(ex_status), .op_needs_hash(ex_needs_hash), .op_pre_ok(ex_pre_ok), .op_wake(ex_wake),
        .sel_kind(sel_kind), .sel_seq(sel_seq), .sel_len(sel_len), .sel_fin(sel_fin), .sel_psh(sel_psh),
        .neigh_hit(nq_hit), .ntf_go(ntf_go), .ntf_tcb(ntf_tcb),
        .mtu(my_mtu), .p_rto_min(p_rto_min), .p_rto_init(p_rto_init), .p_rto_max(p_rto_max),
        .p_time_wait(p_time_wait), .p_delayed_ack(p_delayed_ack), .p_neigh_retry(p_neigh_retry),
        .p_fin_wait2(p_fin_wait2), .p_retries_data(p_retries_data), .p_retries_syn(p_retries_syn),
        .p_retries_neigh(p_retries_neigh), .p_initial_cwnd(p_initial_cwnd),
        .tcb_out(ex_tcb), .place(ex_place), .place_seq(ex_place_seq), .place_skip(ex_place_skip), .place_len(ex_place_len),
        .seg_send(ex_send), .seg_seq(ex_seq), .seg_ack(ex_ack), .seg_flags(ex_flags), .seg_wnd(ex_wnd),
        .seg_mss(ex_mss), .seg_ws_valid(ex_ws_valid), .seg_len(ex_len), .arp_ask(ex_ask),
        .st_unacceptable(x_unacceptable), .st_bad_ack(x_bad_ack), .st_rst(x_rst), .st_dupack(x_dupack),
        .st_fast(x_fast), .st_ooo(x_ooo), .st_duplicate(x_duplicate), .st_no_room(x_no_room),
        .st_rto(x_rto), .st_give_up(x_give_up), .st_retransmit(x_again), .st_probe(x_probe)
    );

    // ---- write back --------------------------------------------------------------------------------------
    wire [`TCB_W-1:0] post_tcb;
    wire              post_timer;
    wire              post_armed;
    wire [31:0]       post_at;
    wire              post_delete;
    wire              post_opened;
    wire              post_freed;

    nk_tcp_post post_i (
        .tcb_old(tcb_reg), .tcb(new_reg), .blocked(sel_blocked), .idle(sel_kind == `NK_TX_NONE), .now_us(now_reg), .p_rto_max(p_rto_max),
        .tx_mark(tx_issued_reg), .tcb_out(post_tcb),
        .timer_set(post_timer), .timer_armed(post_armed), .timer_deadline(post_at),
        .hash_delete(post_delete), .opened(post_opened), .freed(post_freed)
    );

    // The listener's new credit list goes back in the clock after the flow's own state.
    reg               pend_l_reg;
    reg  [`TCB_W-1:0] ltcb_next;
    always @* begin
        ltcb_next = ltcb_reg;
        ltcb_next[`TCB_LINK_V] = l_link_v_reg;
        ltcb_next[`TCB_LINK]   = l_link_reg;
    end
    wire write_l = st_reg == S_ACT && pend_l_reg;
    assign ram_we    = st_reg == S_INIT || st_reg == S_POST || write_l;
    assign ram_waddr = st_reg == S_INIT ? init_reg : write_l ? lflow_reg : flow_reg;
    assign ram_wdata = st_reg == S_INIT ? {`TCB_W{1'b0}} : write_l ? ltcb_next : post_tcb;

    // ---- actions ---------------------------------------------------------------------------------------
    reg             pend_act_reg;
    reg             pend_txd_reg;
    reg             pend_arp_reg;
    reg             pend_opr_reg;
    reg  [6:0]      pend_vst_reg;
    reg  [ACTW-1:0] act_reg;
    reg  [TXDW-1:0] txd_reg;
    reg  [7:0]      opr_status_reg;
    reg  [31:0]     arp_ip_reg;

    wire            e_has_ack = e_flags_reg[`NK_TF_ACK];
    wire [ACTW-1:0] word_place;
    wire [ACTW-1:0] word_drop;
    wire [ACTW-1:0] word_event;
    wire [ACTW-1:0] word_flush;
    wire [TXDW-1:0] txd_stranger;
    wire [TXDW-1:0] txd_flow;

    nk_tcp_words #(.W(W), .ACTW(ACTW), .TXDW(TXDW)) words_i (
        .tcb(tcb_reg), .vf(vf_now), .region(my_base), .is_rx(cls_reg == C_RX), .next_mac(nq_mac),
        .e_smac(e_smac_reg), .e_rip(e_rip_reg), .e_rport(e_rport_reg), .e_lport(e_lport_reg), .e_seq(e_seq_reg),
        .e_ack(e_ack_reg), .e_flags(e_flags_reg), .e_len(e_len_reg), .e_lane(e_lane_reg),
        .place_seq(ex_place_seq), .place_skip(ex_place_skip), .place_len(ex_place_len),
        .ev_op(ntf_op), .ev_data(ntf_data), .ev_size(ntf_size), .ev_status(ntf_status), .flush_vf(fl_vf),
        .seg_seq(ex_seq), .seg_ack(ex_ack), .seg_flags(ex_flags), .seg_wnd(ex_wnd), .seg_mss(ex_mss),
        .seg_ws_valid(ex_ws_valid), .seg_len(ex_len),
        .word_place(word_place), .word_drop(word_drop), .word_event(word_event), .word_flush(word_flush),
        .txd_flow(txd_flow), .txd_stranger(txd_stranger)
    );

    wire e_rst = e_flags_reg[`NK_TF_RST];
    wire e_syn = e_flags_reg[`NK_TF_SYN] && !e_has_ack && !e_rst;

    assign acts_done = !pend_act_reg && !pend_txd_reg && !pend_arp_reg && !pend_opr_reg && !pend_del_reg
                  && !pend_tmr_reg && !pend_tx_reg && !pend_ntf_reg && !pend_ltx_reg && !pend_l_reg
                  && pend_vst_reg == 7'd0;

    // ---- descriptor FIFO ---------------------------------------------------------------------------------
    wire            txd_push_ready;
    wire [TXDW-1:0] txd_word;
    wire [2:0]      txd_level;
    nk_fifo #(.W(TXDW), .DEPTH_LOG2(2)) txd_fifo (
        .clk(clk), .rst(rst), .s_data(txd_reg), .s_valid(st_reg == S_ACT && pend_txd_reg), .s_ready(txd_push_ready),
        .m_data(txd_word), .m_valid(txd_valid), .m_ready(txd_ready), .level(txd_level)
    );
    assign txd_room = txd_level <= 3'd2;
    assign {txd_wrap_addr, txd_wrap_len, txd_addr, txd_len, txd_wscale_valid, txd_wscale, txd_mss, txd_wnd, txd_flags,
            txd_ack, txd_seq, txd_lport, txd_rport, txd_rip, txd_dmac, txd_vf} = txd_word;

    assign act_valid     = st_reg == S_ACT && pend_act_reg;
    assign act           = act_reg;
    assign arp_req_valid = st_reg == S_ACT && pend_arp_reg;
    assign arp_req_vf    = vf_now;
    assign arp_req_ip    = arp_ip_reg;
    assign opr_valid     = st_reg == S_ACT && pend_opr_reg;
    assign opr_status    = opr_status_reg;
    wire [31:0] info_srtt   = tcb_reg[`TCB_SRTT8] >> 3;
    wire [31:0] info_rttvar = tcb_reg[`TCB_RTTVAR4] >> 2;
    wire [15:0] info_mss    = tcb_reg[`TCB_MSS] >> 2;
    assign opr_data      = {tcb_reg[`TCB_CWND], info_srtt};
    assign opr_ptr       = {tcb_reg[`TCB_SSTHRESH], info_rttvar};
    assign opr_size      = {info_mss[11:0], tcb_reg[`TCB_STATE], tcb_reg[`TCB_RETX_TOTAL]};

    // ---- counters -------------------------------------------------------------------------------------------
    reg  [15:0] vst_rx_bytes_reg;
    reg  [15:0] vst_tx_bytes_reg;
    reg         vst_freed_reg;
    reg  [VW-1:0] vst_vf_reg;
    assign vst_valid = st_reg == S_ACT ? pend_vst_reg : 7'd0;
    assign vst_addr  = {vst_vf_reg, 4'd`NK_VFCNT_ACCEPT_DROPS,
                        vst_vf_reg, vst_freed_reg ? 4'd`NK_VFCNT_FLOWS_CLOSED : 4'd`NK_VFCNT_FLOWS_OPENED,
                        vst_vf_reg, 4'd`NK_VFCNT_TX_RETRANSMITS,
                        vst_vf_reg, 4'd`NK_VFCNT_TX_BYTES, vst_vf_reg, 4'd`NK_VFCNT_TX_SEGMENTS,
                        vst_vf_reg, 4'd`NK_VFCNT_RX_BYTES, vst_vf_reg, 4'd`NK_VFCNT_RX_SEGMENTS};
    assign vst_inc   = {16'd1, 16'd1, 16'd1, vst_tx_bytes_reg, 16'd1, vst_rx_bytes_reg, 16'd1};

    reg no_flow_reg;
    reg no_credit_reg;
    reg no_room_reg;
    assign stat_rx_no_flow           = no_flow_reg;
    assign stat_rx_syn_no_credit     = no_credit_reg;
    assign stat_rx_syn_no_room       = no_room_reg;
    assign stat_rx_unacceptable      = x_unacceptable;
    assign stat_rx_bad_ack           = x_bad_ack;
    assign stat_rx_out_of_order      = x_ooo;
    assign stat_rx_duplicate         = x_duplicate;
    assign stat_rx_ooo_no_room       = x_no_room;
    assign stat_rx_rst               = x_rst;
    assign stat_tx_rst               = st_reg == S_ACT && pend_txd_reg && txd_push_ready && txd_reg[184 + `NK_TF_RST];
    assign stat_tx_retransmits       = x_again;
    assign stat_tx_rto               = x_rto;
    assign stat_tx_fast_retransmit   = x_fast;
    assign stat_tx_zero_window_probe = x_probe;
    assign stat_tx_dup_acks_rx       = x_dupack;
    assign stat_flows_opened         = st_reg == S_POST && post_opened;
    assign stat_flows_closed         = st_reg == S_POST && post_freed;
    assign stat_hash_inserts         = st_reg == S_HASHW && hash_rsp && hwhy_reg == H_INSERT && hash_ok;
    assign stat_hash_deletes         = st_reg == S_ACT && pend_del_reg && hash_rsp && hash_ok;
    assign stat_flow_timeouts        = x_give_up;
    assign stat_neigh_misses         = ex_ask;

    reg  [31:0]       in_use_reg;
    reg  [NVF*16-1:0] sockets_reg;
    assign flows_in_use = in_use_reg;
    assign vf_sockets   = sockets_reg;

    assign busy = st_reg != S_IDLE || seg_valid || op_valid || txq_busy || ntq_busy || tmr_busy
               || fl_busy || txd_valid || tx_issued_reg != tx_done_reg;

    // The upper bits of numbers that are wider in the flow's state than in this build.
    wire unused = &{1'b0, new_ring, ring_now, info_mss, ram_link, tcb_link, drain_mark};

    integer i;
    always @(posedge clk) begin
        no_flow_reg   <= 1'b0;
        no_credit_reg <= 1'b0;
        no_room_reg   <= 1'b0;
        if (txd_done) tx_done_reg <= tx_done_reg + 16'd1;

        case (st_reg)
            S_INIT: begin
                init_reg <= init_reg + 1'b1;
                if (&init_reg) init_done_reg <= 1'b1;
                if (init_done_reg && hash_init && tmr_init && txq_init && ntq_init) st_reg <= S_IDLE;
            end

            S_IDLE: if (any) begin
                cls_reg       <= pick;
                now_reg       <= now_us;
                rx_open_reg   <= 1'b0;
                closing_reg   <= 1'b0;
                l_ok_reg      <= 1'b0;
                hash_done_reg <= 1'b0;
                rwhy_reg      <= R_MAIN;
                st_reg        <= S_RD;
                case (pick)
                    C_FLUSH: begin
                        e_vf_reg <= fl_vf;
                        flow_reg <= fl_flow;
                        if (fl_end_valid) begin
                            pend_act_reg <= 1'b1;
                            act_reg      <= word_flush;
                            st_reg       <= S_ACT;
                        end
                    end
                    C_TMR: flow_reg <= exp_flow;
                    C_OP: begin
                        e_vf_reg       <= op_vf;
                        o_qs_reg       <= op_qs;
                        o_code_reg     <= op_code;
                        o_socket_reg   <= op_socket;
                        o_child_reg    <= op_child;
                        o_child_ok_reg <= op_child_ok;
                        o_data_reg     <= op_data;
                        o_ptr_reg      <= op_ptr;
                        o_size_reg     <= op_size;
                        flow_reg       <= op_flow;
                        if (op_code == `NK_OP_ACCEPT) rwhy_reg <= R_LISTENER;
                    end
                    C_RX: begin
                        e_vf_reg     <= seg_vf;
                        e_smac_reg   <= seg_smac;
                        e_rip_reg    <= seg_rip;
                        e_rport_reg  <= seg_rport;
                        e_lport_reg  <= seg_lport;
                        e_seq_reg    <= seg_seq;
                        e_ack_reg    <= seg_ack;
                        e_flags_reg  <= seg_flags;
                        e_wnd_reg    <= seg_wnd;
                        e_mss_reg    <= seg_mss;
                        e_wscale_reg <= seg_wscale;
                        e_wscale_valid_reg <= seg_wscale_valid;
                        e_len_reg    <= seg_len;
                        e_lane_reg   <= seg_lane;
                        hwhy_reg     <= H_CONN;
                        st_reg       <= S_HASH;
                    end
                    C_NTF: flow_reg <= ntq_flow;
                    default: flow_reg <= txq_flow;
                endcase
            end

            S_HASH: if (hash_ready) st_reg <= S_HASHW;

            S_HASHW: if (hash_rsp) begin
                case (hwhy_reg)
                    H_CONN:
                        if (hash_hit) begin
                            flow_reg <= hash_flow;
                            st_reg   <= S_RD;
                        end else if (e_syn) begin
                            hwhy_reg <= H_PORT;
                            st_reg   <= S_HASH;
                        end else st_reg <= S_STRANGER;
                    H_PORT:
                        if (hash_hit) begin
                            flow_reg <= hash_flow;
                            rwhy_reg <= R_LISTENER;
                            st_reg   <= S_RD;
                        end else st_reg <= S_STRANGER;
                    default: begin
                        hash_done_reg <= 1'b1;
                        hash_ok_reg   <= hash_ok;
                        hash_hit_reg  <= hash_hit;
                        if (cls_reg == C_RX && !hash_ok) begin
                            no_room_reg <= 1'b1;
                            st_reg <= S_DROP_SYN;
                        end else if (hash_ok && (cls_reg == C_RX || o_code_reg == `NK_OP_CONNECT)) st_reg <= S_ISN;
                        else st_reg <= S_EX;
                    end
                endcase
            end

            S_RD: st_reg <= S_RDW;

            S_RDW: begin
                tcb_reg <= ram_rdata;
                case (rwhy_reg)
                    R_LISTENER: begin
                        lflow_reg    <= flow_reg;
                        ltcb_reg     <= ram_rdata;
                        l_ok_reg     <= ram_rdata[`TCB_STATE] == `NK_FS_LISTEN && !ram_rdata[`TCB_CLOSED];
                        l_link_v_reg <= ram_rdata[`TCB_LINK_V];
                        l_link_reg   <= ram_rdata[`TCB_LINK];
                        l_socket_reg <= ram_rdata[`TCB_SOCKET];
                        if (cls_reg == C_OP) begin
                            flow_reg <= o_child_reg;
                            rwhy_reg <= R_MAIN;
                            st_reg   <= S_RD;
                        end else if (ram_rdata[`TCB_LINK_V]) begin
                            flow_reg <= ram_link[FW-1:0];
                            rwhy_reg <= R_CREDIT;
                            st_reg   <= S_RD;
                        end else begin
                            no_credit_reg <= 1'b1;
                            st_reg <= S_DROP_SYN;
                        end
                    end
                    R_CREDIT: begin
                        // Take the credit out of the list, whatever comes of it.
                        l_link_v_reg <= ram_rdata[`TCB_LINK_V];
                        l_link_reg   <= ram_rdata[`TCB_LINK];
                        if (ram_rdata[`TCB_STATE] != `NK_FS_CREDIT) begin
                            // Its VF is being flushed: the credit is gone already, the listener soon.
                            st_reg <= S_ACT;
                            if (cls_reg == C_RX) begin
                                no_credit_reg <= 1'b1;
                                st_reg <= S_DROP_SYN;
                            end
                        end else if (cls_reg == C_RX) begin
                            rx_open_reg <= 1'b1;
                            hwhy_reg    <= H_INSERT;
                            st_reg      <= S_HASH;
                        end else st_reg <= S_NB;
                    end
                    default: st_reg <= S_NB;
                endcase
            end

            S_NB: begin
                // A closing listener gives its credits back one at a time, each in its turn.
                if (cls_reg == C_TX && !closing_reg && tcb_reg[`TCB_STATE] == `NK_FS_LISTEN && tcb_reg[`TCB_CLOSED]) begin
                    closing_reg <= 1'b1;
                    lflow_reg   <= flow_reg;
                    ltcb_reg    <= tcb_reg;
                    if (tcb_reg[`TCB_LINK_V]) begin
                        flow_reg <= tcb_link[FW-1:0];
                        rwhy_reg <= R_CREDIT;
                        st_reg   <= S_RD;
                    end
                end else if (cls_reg == C_OP && ex_needs_hash && ex_pre_ok) begin
                    hwhy_reg <= H_INSERT;
                    st_reg   <= S_HASH;
                end else st_reg <= S_EX;
            end

            S_ISN: if (isn_ready) st_reg <= S_ISNW;

            S_ISNW: if (isn_rsp) begin
                isn_reg <= isn_value;
                st_reg  <= S_EX;
            end

            S_EX: begin
                new_reg <= ex_tcb;
                if (closing_reg) begin
                    new_reg                 <= tcb_reg;
                    new_reg[`TCB_STATE]     <= `NK_FS_DRAIN;
                    new_reg[`TCB_N_STATUS]  <= `NK_ST_OK;
                    pend_l_reg              <= rwhy_reg == R_CREDIT;
                    pend_ltx_reg            <= rwhy_reg == R_CREDIT;
                end
                if (cls_reg == C_RX) begin
                    pend_act_reg <= e_len_reg != 16'd0;
                    act_reg      <= ex_place ? word_place : word_drop;
                    pend_l_reg   <= rx_open_reg;
                end
                if (cls_reg == C_OP) begin
                    pend_opr_reg   <= 1'b1;
                    opr_status_reg <= ex_status;
                    if (o_code_reg == `NK_OP_ACCEPT && ex_status == `NK_ST_OK) begin
                        pend_l_reg   <= 1'b1;
                        l_link_v_reg <= 1'b1;
                        l_link_reg   <= {{(16 - FW){1'b0}}, flow_reg};
                    end
                end
                if (cls_reg == C_NTF && ntf_go) begin
                    pend_act_reg <= 1'b1;
                    act_reg      <= word_event;
                end
                if (ex_send) begin
                    pend_txd_reg <= 1'b1;
                    txd_reg      <= txd_flow;
                end
                pend_arp_reg     <= ex_ask;
                arp_ip_reg       <= next_hop;
                pend_vst_reg     <= {2'b00, x_again, ex_send && ex_len != 16'd0, ex_send,
                                     cls_reg == C_RX && ex_place, cls_reg == C_RX};
                vst_rx_bytes_reg <= ex_place_len;
                vst_tx_bytes_reg <= ex_len;
                vst_vf_reg       <= vf_ix;
                pend_tx_reg      <= cls_reg == C_OP && ex_wake;
                st_reg           <= S_POST;
            end

            S_POST: begin
                pend_tmr_reg  <= post_timer || cls_reg == C_TMR;
                tmr_armed_reg <= post_armed;
                tmr_at_reg    <= post_at;
                pend_del_reg  <= post_delete;
                pend_ntf_reg  <= ntf_any || ntf_waits;
                if (sel_kind != `NK_TX_NONE) pend_tx_reg <= 1'b1;
                if (post_opened || post_freed) pend_vst_reg[5] <= 1'b1;
                vst_freed_reg <= post_freed;
                if (post_opened) in_use_reg <= in_use_reg + 32'd1;
                if (post_freed)  in_use_reg <= in_use_reg - 32'd1;
                for (i = 0; i < NVF; i = i + 1)
                    if ((post_opened || post_freed) && new_reg[`TCB_VF] == i[7:0])
                        sockets_reg[i*16 +: 16] <= post_opened ? sockets_reg[i*16 +: 16] + 16'd1 : sockets_reg[i*16 +: 16] - 16'd1;
                st_reg <= S_ACT;
            end

            S_ACT: begin
                if (act_valid && act_ready) pend_act_reg <= 1'b0;
                if (pend_txd_reg && txd_push_ready) begin
                    pend_txd_reg  <= 1'b0;
                    tx_issued_reg <= tx_issued_reg + 16'd1;
                end
                if (arp_req_valid && arp_req_ready) pend_arp_reg <= 1'b0;
                pend_opr_reg <= 1'b0;
                pend_l_reg   <= 1'b0;
                if (hash_req && hash_ready) del_sent_reg <= 1'b1;
                if (pend_del_reg && hash_rsp) begin
                    pend_del_reg <= 1'b0;
                    del_sent_reg <= 1'b0;
                end
                if (pend_tmr_reg && tmr_ready) pend_tmr_reg <= 1'b0;
                if (txq_push_ready) begin
                    if (pend_tx_reg) pend_tx_reg <= 1'b0;
                    else pend_ltx_reg <= 1'b0;
                end
                if (ntq_push_ready) pend_ntf_reg <= 1'b0;
                pend_vst_reg <= pend_vst_reg & ~vst_ready;
                if (acts_done) st_reg <= S_IDLE;
            end

            S_STRANGER: begin
                no_flow_reg  <= 1'b1;
                pend_txd_reg <= !e_rst;
                txd_reg      <= txd_stranger;
                pend_act_reg <= e_len_reg != 16'd0;
                act_reg      <= word_drop;
                st_reg       <= S_ACT;
            end

            S_DROP_SYN: begin
                pend_vst_reg[6] <= 1'b1;
                vst_vf_reg      <= vf_ix;
                pend_act_reg    <= e_len_reg != 16'd0;
                act_reg         <= word_drop;
                st_reg          <= S_ACT;
            end

            default: st_reg <= S_IDLE;
        endcase

        if (rst) begin
            st_reg        <= S_INIT;
            init_reg      <= {FW{1'b0}};
            init_done_reg <= 1'b0;
            tx_issued_reg <= 16'd0;
            tx_done_reg   <= 16'd0;
            in_use_reg    <= 32'd0;
            sockets_reg   <= {(NVF * 16){1'b0}};
            pend_act_reg  <= 1'b0;
            pend_txd_reg  <= 1'b0;
            pend_arp_reg  <= 1'b0;
            pend_opr_reg  <= 1'b0;
            pend_del_reg  <= 1'b0;
            del_sent_reg  <= 1'b0;
            pend_tmr_reg  <= 1'b0;
            pend_tx_reg   <= 1'b0;
            pend_ntf_reg  <= 1'b0;
            pend_ltx_reg  <= 1'b0;
            pend_l_reg    <= 1'b0;
            pend_vst_reg  <= 7'd0;
        end
    end
endmodule

`default_nettype wire
