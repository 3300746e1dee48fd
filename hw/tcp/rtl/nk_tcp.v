// SPDX-License-Identifier: Apache-2.0
// The TCP block: the protocol pipeline and all that brings events to it and takes its results away.
//
// Flow look-up (nk_tcp_front, nk_flow_hash), opening and listeners (nk_tcp_open), the choice of the next event
// (nk_tcp_choose), the pipeline (nk_tcp_pipe), timers, lists of flows that want a turn, VF flush, rate limits.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"
`include "nk_tcp_seg.vh"

module nk_tcp #(
    parameter W       = 512,                          // bus bits, for byte lanes only
    parameter NVF     = 8,                            // VFs
    parameter NQS     = 1,                            // queue sets a VF
    parameter FLOWS   = 1024,                         // flows, power of two
    parameter MSS_MIN = 64,                           // smallest MSS that a peer may ask for
    parameter PDL     = 5,                            // log2 of the words in nk_place's FIFO
    parameter FW      = $clog2(FLOWS),                // derived
    parameter LW      = $clog2(W / 8),                // derived
    parameter VW      = (NVF > 1) ? $clog2(NVF) : 1,  // derived
    parameter ACTW    = 324 + LW,                     // derived: action word, see nk_place
    parameter TXDW    = 717                           // derived: descriptor word, see nk_tcp_words
) (
    // Clock and reset (synchronous, active high); time in microseconds.
    input  wire                clk,
    input  wire                rst,
    input  wire [31:0]         now_us,
    // Configuration of the VFs and of the NSM profiles.
    input  wire [NVF*32-1:0]   cfg_ip,
    input  wire [NVF*32-1:0]   cfg_mask,
    input  wire [NVF*32-1:0]   cfg_gw,
    input  wire [NVF*16-1:0]   cfg_mtu,
    input  wire [NVF*3-1:0]    cfg_nsm,
    input  wire [NVF*32-1:0]   cfg_sock_base,
    input  wire [NVF*32-1:0]   cfg_sock_count,
    // Shares and rates: weight, Mb/s (0: none), {rx, tx} bursts in KiB. A pulse: this VF waited so long for its largest rate.
    input  wire [NVF*8-1:0]    cfg_weight,
    input  wire [NVF*20-1:0]   cfg_tx_max,
    input  wire [NVF*20-1:0]   cfg_tx_min,
    input  wire [NVF*32-1:0]   cfg_burst,
    output wire                tx_late_valid,
    output wire [VW-1:0]       tx_late_vf,
    output wire [15:0]         tx_late_us,
    input  wire [NVF*64-1:0]   region_base,
    input  wire [8*32-1:0]     nsm_ctrl,
    input  wire [8*64-1:0]     nsm_prm,
    input  wire [127:0]        hash_key,
    // Parameters of all.
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
    // Received segments.
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
    input  wire [1:0]          seg_ecn,
    input  wire                seg_ts_valid,
    input  wire [31:0]         seg_tsval,
    input  wire [31:0]         seg_tsecr,
    input  wire                seg_sack_ok,
    input  wire [2:0]          seg_sack_n,
    input  wire [255:0]        seg_sack,
    // ICMP fragmentation needed.
    input  wire                ptb_valid,
    input  wire [7:0]          ptb_vf,
    input  wire [31:0]         ptb_rip,
    input  wire [15:0]         ptb_rport,
    input  wire [15:0]         ptb_lport,
    input  wire [31:0]         ptb_seq,
    input  wire [15:0]         ptb_mtu,
    // Segments to send, as one word (nk_tcp_words); a pulse for each whose payload has been read.
    output wire                txd_valid,
    input  wire                txd_ready,
    output wire [TXDW-1:0]     txd,
    input  wire                txd_done,
    // Neighbours.
    output wire [31:0]         nq_ip,
    input  wire                nq_hit,
    input  wire [47:0]         nq_mac,
    input  wire                nb_new_valid,
    input  wire [31:0]         nb_new_ip,
    output wire                arp_req_valid,
    input  wire                arp_req_ready,
    output wire [7:0]          arp_req_vf,
    output wire [31:0]         arp_req_ip,
    // Jobs of tenants; answers in their order.
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
    // SEND and CREDIT, which wait for no job; answers in their order.
    input  wire                sop_valid,
    output wire                sop_ready,
    input  wire [7:0]          sop_vf,
    input  wire [7:0]          sop_qs,
    input  wire [7:0]          sop_code,
    input  wire [FW-1:0]       sop_flow,
    input  wire [15:0]         sop_socket,
    input  wire [31:0]         sop_size,
    output wire                sopr_valid,
    output wire [7:0]          sopr_status,
    // Ordered actions (nk_place): the FIFO's level, and a pulse for each event handed on.
    output wire                act_valid,
    output wire [ACTW-1:0]     act,
    input  wire [PDL:0]        act_level,
    input  wire                ev_out,
    input  wire                wr_busy,         // the DMA write channel has a beat
    input  wire [NVF*NQS-1:0]  recv_room,
    // VF flush.
    input  wire                flush_valid,
    output wire                flush_ready,
    input  wire [7:0]          flush_vf,
    // Counters: global ones by their index; a record of the VF's; SYNs dropped for want of a credit.
    output wire [NVF*16-1:0]   vf_sockets,
    output wire [31:0]         flows_in_use,
    output wire [31:0]         hash_in_use,
    output wire [63:0]         stat,
    output wire                vst_valid,
    output wire [7:0]          vst_vf,
    output wire                vst_rx,
    output wire [15:0]         vst_rx_bytes,
    output wire                vst_tx,
    output wire [15:0]         vst_tx_bytes,
    output wire                vst_retx,
    output wire                vst_opened,
    output wire                vst_closed,
    output wire                vst_drop,
    output wire [7:0]          vst_drop_vf,
    // Activity.
    output wire                busy,
    output wire                next_us_valid,
    output wire [31:0]         next_us
);
    localparam SW  = `SEG_W + LW;
    localparam NL  = NVF * NQS;
    localparam NLW = (NL > 1) ? $clog2(NL) : 1;

    // ---- time: 48 bits of microseconds -----------------------------------------------------------------
    reg  [15:0] epoch_reg;
    reg  [31:0] seen_reg;
    wire [47:0] now_ext = {now_us < seen_reg ? epoch_reg + 16'd1 : epoch_reg, now_us};
    always @(posedge clk) begin
        seen_reg  <= now_us;
        epoch_reg <= now_ext[47:32];
        if (rst) begin
            seen_reg  <= now_us;
            epoch_reg <= 16'd0;
        end
    end

    // ---- what the pipeline gives ------------------------------------------------------------------------
    wire              wb_valid;
    wire [2:0]        wb_cls;
    wire [FW-1:0]     wb_flow;
    wire [7:0]        wb_vf;
    wire [7:0]        wb_qs;
    wire              wb_act_event;
    wire              wb_txd_valid;
    wire [TXDW-1:0]   wb_txd;
    wire              wb_tmr_set, wb_tmr_armed;
    wire [31:0]       wb_tmr_at;
    wire              wb_push_tx, wb_push_ntf;
    wire              wb_delete;
    wire [7:0]        wb_del_vf;
    wire [31:0]       wb_del_rip;
    wire [15:0]       wb_del_rport;
    wire [15:0]       wb_del_lport;
    wire              wb_ask;
    wire [31:0]       wb_ask_ip;
    wire              wb_op_done, wb_op_quiet, wb_op_send, wb_want_insert, wb_end_listener, wb_unlisten, wb_half_dec, wb_reopen;
    wire [15:0]       wb_listener;
    wire [SW-1:0]     wb_seg;
    wire              wb_opened, wb_freed, wb_drop_syn;
    wire [63:0]       pipe_stat;
    wire              pipe_init, pipe_busy;

    // ---- flow table ---------------------------------------------------------------------------------------
    wire          open_lk_valid;
    wire [71:0]   open_lk_key;
    wire          front_lk_valid;
    wire          lk_done, lk_hit;
    wire [FW-1:0] lk_flow;
    wire          up_valid, up_ready, up_done, up_ok, up_hit;
    wire [1:0]    up_op;
    wire [71:0]   up_key;
    wire [FW-1:0] up_flow;
    wire          table_init;
    wire          ptb_ask;
    wire [71:0]   seg_key = {seg_vf, seg_rip, seg_rport, seg_lport};
    wire [71:0]   ptb_key;
    wire [71:0]   lk_key  = open_lk_valid ? open_lk_key : ptb_ask ? ptb_key : seg_key;

    nk_flow_hash #(.FLOWS(FLOWS), .FW(FW)) table_i (
        .clk(clk), .rst(rst), .key(hash_key),
        .lk_valid(open_lk_valid || ptb_ask || front_lk_valid), .lk_vf(lk_key[71:64]), .lk_rip(lk_key[63:32]), .lk_rport(lk_key[31:16]),
        .lk_lport(lk_key[15:0]), .lk_done(lk_done), .lk_hit(lk_hit), .lk_flow(lk_flow),
        .up_valid(up_valid), .up_ready(up_ready), .up_op(up_op), .up_vf(up_key[71:64]), .up_rip(up_key[63:32]), .up_rport(up_key[31:16]),
        .up_lport(up_key[15:0]), .up_flow(up_flow), .up_done(up_done), .up_ok(up_ok), .up_hit(up_hit),
        .in_use(hash_in_use), .init_done(table_init)
    );

    // Answers come in the order of the questions: whose was it?
    wire [1:0] who;
    wire       who_valid, who_ready;
    wire [5:0] who_level;
    nk_fifo #(.W(2), .DEPTH_LOG2(5)) asker (
        .clk(clk), .rst(rst), .s_data({ptb_ask, open_lk_valid}), .s_valid(open_lk_valid || ptb_ask || front_lk_valid),
        .s_ready(who_ready), .m_data(who), .m_valid(who_valid), .m_ready(lk_done), .level(who_level)
    );

    // ---- segments, with their flow ---------------------------------------------------------------------------
    wire [SW-1:0] seg_word = {seg_lane, seg_sack, seg_sack_n, seg_sack_ok, seg_tsecr, seg_tsval, seg_ts_valid, seg_ecn, seg_len,
                              seg_wscale_valid, seg_wscale, seg_mss, seg_wnd, seg_flags, seg_ack, seg_seq, seg_lport, seg_rport,
                              seg_rip, seg_smac, seg_vf};
    wire          f_valid, f_ready, f_hit, front_busy;
    wire [SW-1:0] f_word;
    wire [FW-1:0] f_flow;
    nk_tcp_front #(.FW(FW), .SW(SW)) front (
        .clk(clk), .rst(rst), .s_valid(seg_valid), .s_ready(seg_ready), .s_word(seg_word),
        .lk_free(!open_lk_valid && !ptb_ask && table_init), .lk_valid(front_lk_valid), .lk_done(lk_done && who == 2'd0), .lk_hit(lk_hit), .lk_flow(lk_flow),
        .m_valid(f_valid), .m_ready(f_ready), .m_word(f_word), .m_hit(f_hit), .m_flow(f_flow), .busy(front_busy)
    );
    // Without a flow: a SYN, or an ACK that may answer a cookie, goes to nk_tcp_open; its payload is dropped in its turn.
    wire [8:0]    f_flags  = f_word[`SEG_FLAGS];
    wire          f_rst    = f_flags[`NK_TF_RST];
    wire          f_syn    = f_flags[`NK_TF_SYN] && !f_flags[`NK_TF_ACK] && !f_rst;
    wire          cookies_on;
    wire          f_answer = cookies_on && f_flags[`NK_TF_ACK] && !f_flags[`NK_TF_SYN] && !f_rst;
    wire          f_open   = !f_hit && (f_syn || f_answer);

    wire          ptb_valid_p, ptb_take, ptb_none, ptb_busy;
    wire [FW-1:0] ptb_flow;
    wire [SW-1:0] ptb_seg;
    nk_tcp_icmp #(.FW(FW), .SW(SW)) icmp (
        .clk(clk), .rst(rst), .ptb_valid(ptb_valid), .ptb_vf(ptb_vf), .ptb_rip(ptb_rip), .ptb_rport(ptb_rport), .ptb_lport(ptb_lport),
        .ptb_seq(ptb_seq), .ptb_mtu(ptb_mtu), .lk_free(!open_lk_valid), .lk_valid(ptb_ask), .lk_key(ptb_key),
        .lk_done(lk_done && who[1]), .lk_hit(lk_hit), .lk_flow(lk_flow), .m_valid(ptb_valid_p), .m_ready(ptb_take), .m_flow(ptb_flow),
        .m_word(ptb_seg), .stat_none(ptb_none), .busy(ptb_busy)
    );

    // ---- operations ------------------------------------------------------------------------------------------------
    wire              op_slow  = op_code == `NK_OP_CONNECT || op_code == `NK_OP_LISTEN || op_code == `NK_OP_ACCEPT
                              || op_code == `NK_OP_CLOSE || op_code == `NK_OP_ABORT;
    wire [`OPW_W-1:0] op_word  = {8'd0, op_size, op_ptr, op_data, op_socket, op_qs, op_code};
    wire              open_o_ready, open_o_busy;
    reg  [3:0]        ops_reg;           // answers still to come
    wire              op_go;             // a pass for an operation that takes just one
    wire              fast_valid = op_valid && !op_slow && !open_o_busy && ops_reg != 4'd15;
    wire              slow_valid = op_valid && op_slow && !open_o_busy && ops_reg == 4'd0;
    assign op_ready  = op_slow ? slow_valid && open_o_ready : op_go;
    assign opr_valid = wb_op_done && !wb_op_quiet && !wb_op_send && !wb_want_insert;

    wire [`OPW_W-1:0] sop_word = {1'b1, 7'd0, sop_size, 128'd0, sop_socket, sop_qs, sop_code};
    reg  [3:0]        sops_reg;          // answers still to come
    wire              sop_go;
    assign sop_ready   = sop_go;
    assign sopr_valid  = wb_op_done && wb_op_send;
    assign sopr_status = opr_status;

    // ---- opening, listeners, table upkeep --------------------------------------------------------------------------
    wire              p_valid, p_ready, p_has_flow, p_open, p_cookie, open_room, open_init, open_busy, del_idle;
    wire [2:0]        p_cls;
    wire [FW-1:0]     p_flow;
    wire [7:0]        p_vf;
    wire [SW-1:0]     p_seg;
    wire [`OPW_W-1:0] p_op;
    wire [31:0]       p_isn;
    wire [15:0]       p_listener;
    wire [1:0]        p_raw;
    wire              open_s_ready;
    wire              st_no_credit, st_no_room, st_cookie_ok, st_cookie_bad, st_inserts, st_deletes;
    wire [7:0]        st_vf;
    // A SYN that ended TIME_WAIT comes before new ones. One that finds the queue full is dropped, and comes again:
    // a flood must not hold up the segments behind it.
    wire              f_to_open = f_ready && f_open && open_s_ready;
    wire              f_drop    = f_ready && f_open && !open_s_ready;

    nk_tcp_open #(.NVF(NVF), .FW(FW), .SW(SW)) open_i (
        .clk(clk), .rst(rst), .now_ext(now_ext), .key(hash_key), .cfg_ip(cfg_ip), .cfg_sock_base(cfg_sock_base),
        .s_valid(wb_reopen || f_to_open), .s_ready(open_s_ready), .s_word(wb_reopen ? wb_seg : f_word), .s_ack(!wb_reopen && !f_syn), .cookies_on(cookies_on),
        .o_valid(slow_valid), .o_ready(open_o_ready), .o_vf(op_vf), .o_flow(op_flow), .o_child(op_child), .o_child_ok(op_child_ok),
        .o_op(op_word), .o_busy(open_o_busy),
        .p_valid(p_valid), .p_ready(p_ready), .p_has_flow(p_has_flow), .p_cls(p_cls), .p_flow(p_flow), .p_vf(p_vf), .p_seg(p_seg), .p_op(p_op),
        .p_open(p_open), .p_cookie(p_cookie), .p_isn(p_isn), .p_listener(p_listener), .p_raw(p_raw),
        .wb_op_done(wb_op_done && !wb_op_quiet && !wb_op_send), .wb_flow(wb_flow), .wb_vf(wb_vf), .wb_status(opr_status), .wb_want_insert(wb_want_insert),
        .wb_end_listener(wb_end_listener), .wb_unlisten(wb_unlisten), .wb_half_dec(wb_half_dec), .wb_listener(wb_listener),
        .wb_delete(wb_delete), .wb_del_key({wb_del_vf, wb_del_rip, wb_del_rport, wb_del_lport}), .wb_room(open_room), .del_idle(del_idle),
        .lk_valid(open_lk_valid), .lk_key(open_lk_key), .lk_done(lk_done && who[0]), .lk_hit(lk_hit), .lk_flow(lk_flow),
        .up_valid(up_valid), .up_ready(up_ready), .up_op(up_op), .up_key(up_key), .up_flow(up_flow), .up_done(up_done), .up_ok(up_ok), .up_hit(up_hit),
        .init_done(open_init), .busy(open_busy),
        .stat_no_credit(st_no_credit), .stat_no_room(st_no_room), .stat_cookie_ok(st_cookie_ok), .stat_cookie_bad(st_cookie_bad),
        .stat_inserts(st_inserts), .stat_deletes(st_deletes), .stat_vf(st_vf)
    );

    // ---- timers and lists --------------------------------------------------------------------------------------------
    wire          exp_valid, exp_ready, tmr_busy, tmr_init;
    wire [FW-1:0] exp_flow;
    nk_tcp_timers #(.FLOWS(FLOWS), .FW(FW)) timers_i (
        .clk(clk), .rst(rst), .now_us(now_us),
        .set_valid(wb_tmr_set), .set_flow(wb_flow), .set_armed(wb_tmr_armed), .set_deadline(wb_tmr_at),
        .exp_valid(exp_valid), .exp_ready(exp_ready), .exp_flow(exp_flow),
        .next_valid(tmr_next_valid), .next_us(tmr_next), .busy(tmr_busy), .init_done(tmr_init)
    );

    wire          txq_valid, txq_ready, txq_busy, ntq_valid, ntq_ready, ntq_busy;
    wire [FW-1:0] txq_flow;
    wire [FW-1:0] ntq_flow;
    wire [15:0]   wb_ring = wb_vf * NQS + {8'd0, wb_qs};
    nk_tcp_sched #(.FLOWS(FLOWS), .FW(FW), .LISTS(NVF)) txq (
        .clk(clk), .rst(rst), .eligible(tx_ok),
        .push_valid(wb_push_tx), .push_list(wb_vf[VW-1:0]), .push_flow(wb_flow),
        .next_valid(txq_valid), .next_ready(txq_ready), .next_flow(txq_flow), .waiting(txq_some), .busy(txq_busy)
    );
    nk_tcp_sched #(.FLOWS(FLOWS), .FW(FW), .LISTS(NL)) ntq (
        .clk(clk), .rst(rst), .eligible(recv_room),
        .push_valid(wb_push_ntf), .push_list(wb_ring[NLW-1:0]), .push_flow(wb_flow),
        .next_valid(ntq_valid), .next_ready(ntq_ready), .next_flow(ntq_flow), .waiting(ntq_some), .busy(ntq_busy)
    );

    // ---- shares and rates of the VFs -------------------------------------------------------------------------------------
    localparam TXD_LOG2 = 5;       // log2 of the descriptors that wait
    wire [TXD_LOG2:0] txd_level;
    wire [NVF-1:0] txq_some, tx_ok;
    wire [NL-1:0]  ntq_some;
    wire           sh_next_valid, sh_busy, tmr_next_valid;
    wire [31:0]    sh_next, tmr_next;
    nk_tcp_shares #(.NVF(NVF), .TXDW(TXDW)) shares (
        .clk(clk), .rst(rst), .now_us(now_us), .cfg_weight(cfg_weight), .cfg_tx_max(cfg_tx_max), .cfg_tx_min(cfg_tx_min), .cfg_burst(cfg_burst),
        .waiting(txq_some), .idle(txd_level <= 6'd2), .txd_valid(wb_txd_valid), .txd(wb_txd), .ok(tx_ok),
        .late_valid(tx_late_valid), .late_vf(tx_late_vf), .late_us(tx_late_us), .next_valid(sh_next_valid), .next_us(sh_next), .busy(sh_busy)
    );
    wire           sh_first = sh_next_valid && (!tmr_next_valid || `SEQ_LT(sh_next, tmr_next));
    assign next_us_valid = tmr_next_valid || sh_next_valid;
    assign next_us       = sh_first ? sh_next : tmr_next;

    wire          ev_calm, ev_turn;
    nk_tcp_pace #(.FW(FW)) pace_i (
        .clk(clk), .rst(rst), .wr_busy(wr_busy), .enters(wb_push_ntf), .leaves(ntq_ready), .calm(ev_calm), .turn(ev_turn)
    );

    // ---- next hops that answer -------------------------------------------------------------------------------------------
    wire          wake_valid, wake_ready, wake_busy;
    wire [FW-1:0] wake_flow;
    nk_tcp_wake #(.FW(FW)) wake_i (
        .clk(clk), .rst(rst), .ask_valid(wb_ask), .ask_flow(wb_flow), .ask_ip(wb_ask_ip), .known_valid(nb_new_valid), .known_ip(nb_new_ip),
        .wake_valid(wake_valid), .wake_ready(wake_ready), .wake_flow(wake_flow), .busy(wake_busy)
    );
    wire          arp_in_ready;
    wire [2:0]    arp_level;
    // A request that finds no room here is asked again by the flow's timer.
    nk_fifo #(.W(40), .DEPTH_LOG2(2)) arp_fifo (
        .clk(clk), .rst(rst), .s_data({wb_vf, wb_ask_ip}), .s_valid(wb_ask), .s_ready(arp_in_ready),
        .m_data({arp_req_vf, arp_req_ip}), .m_valid(arp_req_valid), .m_ready(arp_req_ready), .level(arp_level)
    );

    // ---- VF flush ------------------------------------------------------------------------------------------------------------
    reg  [15:0]   tx_issued_reg;
    reg  [15:0]   tx_done_reg;
    wire          fl_flow_valid, fl_end_valid, fl_take, fl_busy;
    wire [FW-1:0] fl_flow;
    wire [7:0]    fl_vf;
    reg           fl_wait_reg;     // its pass is in the pipeline
    nk_tcp_flush #(.NVF(NVF), .FW(FW)) flush_i (
        .clk(clk), .rst(rst), .cfg_sock_base(cfg_sock_base), .cfg_sock_count(cfg_sock_count),
        .flush_valid(flush_valid), .flush_ready(flush_ready), .flush_vf(flush_vf), .tx_issued(tx_issued_reg), .tx_done(tx_done_reg),
        .flow_valid(fl_flow_valid), .flow(fl_flow), .flow_done(wb_valid && wb_cls == `NK_EV_FLUSH && fl_flow_valid),
        .end_valid(fl_end_valid), .end_taken(fl_take && fl_end_valid), .vf(fl_vf), .busy(fl_busy)
    );

    // ---- rate limits --------------------------------------------------------------------------------------------------------------
    wire challenge_ok, rst_ok;
    nk_tcp_guard challenge_i (.clk(clk), .rst(rst), .now_us(now_us), .ok(challenge_ok), .spend(pipe_stat[`NK_CNT_TX_CHALLENGE_ACKS]));
    nk_tcp_guard reset_i (.clk(clk), .rst(rst), .now_us(now_us), .ok(rst_ok), .spend(pipe_stat[`NK_CNT_RX_NO_FLOW] && pipe_stat[`NK_CNT_TX_RST]));

    // ---- choice and start -------------------------------------------------------------------------------------------------------------
    localparam RX = 4'd0, OP = 4'd1, OPEN = 4'd2, TMR = 4'd3, FLUSH = 4'd4, PTB = 4'd5, NTF = 4'd6, TX = 4'd7, SOP = 4'd8;
    wire [8:0]    req;
    wire [3:0]    pick;
    wire          start, spare, i_has, spare_valid;
    wire [FW-1:0] spare_flow;
    wire [FW-1:0] i_flow;
    wire [2:0]    pipe_busy_valid;
    wire [3*FW-1:0] pipe_busy_flow;
    reg  [4:0]    events_reg;      // in nk_place's FIFO
    localparam [PDL:0] ACT_ROOM = (1 << PDL) - 10;
    // The reserve is for the passes that are under way.
    wire          room    = act_level <= ACT_ROOM && open_room && pipe_init && table_init && open_init && tmr_init;
    wire          ev_room = events_reg <= 5'd5;
    wire          fl_now  = (fl_flow_valid && !fl_wait_reg) || (fl_end_valid && del_idle);
    // A turn in the transmit list and a next hop that has answered start the same pass.
    wire          tx_wake = wake_valid;

    // What is received, what tenants hear and what they ask for does not wait for the transmit side: without room such a
    // pass sends nothing but a RST, and its flow enters the transmit list.
    wire          tx_room = txd_level <= 6'd7;
    wire          tx_hold = txd_level <= 6'd20;
    wire [8:0]    may     = {tx_hold, tx_room, tx_hold, {4{tx_room}}, {2{tx_hold}}};
    // A received segment sends the flow's next segment as well as its turn in the list would.
    wire          tx_turn = tx_wake || (txq_valid && !(f_valid && f_hit && f_flow == txq_flow));
    wire [8:0]    wants   = {sop_valid && sops_reg != 4'd15, tx_turn, ntq_valid && ev_room && ev_turn, ptb_valid_p, fl_now, exp_valid, p_valid, fast_valid,
                             f_valid && !(wb_reopen && f_open)};
    assign req = wants & may;
    nk_tcp_choose #(.N(9), .FW(FW)) choose (
        .clk(clk), .rst(rst), .req(req),
        .has_flow({1'b1, 1'b1, 1'b1, 1'b1, fl_flow_valid, 1'b1, p_has_flow, 1'b1, f_hit}),
        .flow({sop_flow, tx_wake ? wake_flow : txq_flow, ntq_flow, ptb_flow, fl_flow, exp_flow, p_flow, op_flow, f_flow}),
        .busy_valid(pipe_busy_valid), .busy_flow(pipe_busy_flow), .room(room),
        .spare_valid(spare_valid && tx_room), .spare_flow(spare_flow), .start(start), .spare(spare), .pick(pick),
        .pick_flow(i_flow), .pick_has_flow(i_has)
    );
    wire          go      = start && !spare;
    assign f_ready    = go && pick == RX;
    assign op_go      = go && pick == OP;
    assign sop_go     = go && pick == SOP;
    assign p_ready    = go && pick == OPEN;
    assign exp_ready  = go && pick == TMR;
    assign fl_take    = go && pick == FLUSH;
    assign ptb_take   = go && pick == PTB;
    assign ntq_ready  = go && pick == NTF;
    assign wake_ready = go && pick == TX && tx_wake;
    assign txq_ready  = go && pick == TX && !tx_wake;

    reg  [2:0]    i_cls;
    reg  [7:0]    i_vf;
    always @* begin
        i_cls = `NK_EV_TX;
        i_vf  = fl_vf;
        if (!spare) case (pick)
            RX: begin
                i_cls = f_hit ? `NK_EV_RX : `NK_EV_RAW;
                i_vf  = f_word[`SEG_VF];
            end
            OP: begin
                i_cls = `NK_EV_OP;
                i_vf  = op_vf;
            end
            SOP: begin
                i_cls = `NK_EV_OP;
                i_vf  = sop_vf;
            end
            OPEN: begin
                i_cls = p_cls;
                i_vf  = p_vf;
            end
            TMR:   i_cls = `NK_EV_TMR;
            FLUSH: i_cls = `NK_EV_FLUSH;
            PTB: begin
                i_cls = `NK_EV_PTB;
                i_vf  = ptb_seg[`SEG_VF];
            end
            NTF:     i_cls = `NK_EV_NTF;
            default: i_cls = `NK_EV_TX;
        endcase
    end
    wire [1:0] f_raw = f_open || f_rst ? `NK_RAW_NONE : `NK_RAW_RST;

    nk_tcp_pipe #(.W(W), .NVF(NVF), .NQS(NQS), .FLOWS(FLOWS), .MSS_MIN(MSS_MIN), .ACTW(ACTW), .TXDW(TXDW)) pipe (
        .clk(clk), .rst(rst), .now_ext(now_ext), .ts_offset(hash_key[127:96]), .init_done(pipe_init), .busy(pipe_busy),
        .cfg_ip(cfg_ip), .cfg_mask(cfg_mask), .cfg_gw(cfg_gw), .cfg_mtu(cfg_mtu), .cfg_nsm(cfg_nsm), .cfg_sock_base(cfg_sock_base), .region_base(region_base), .tx_ok(tx_ok),
        .nsm_ctrl(nsm_ctrl), .nsm_prm(nsm_prm), .p_rto_min(p_rto_min), .p_rto_init(p_rto_init), .p_rto_max(p_rto_max), .p_time_wait(p_time_wait),
        .p_delayed_ack(p_delayed_ack), .p_neigh_retry(p_neigh_retry), .p_fin_wait2(p_fin_wait2), .p_retries_data(p_retries_data),
        .p_retries_syn(p_retries_syn), .p_retries_neigh(p_retries_neigh), .p_initial_cwnd(p_initial_cwnd),
        .i_valid(start), .i_has_flow(i_has), .i_cls(i_cls), .i_flow(i_flow), .i_vf(i_vf),
        .i_seg(pick == RX ? f_word : pick == PTB ? ptb_seg : p_seg), .i_op(pick == SOP ? sop_word : pick == OP ? op_word : p_op),
        .i_open(!spare && pick == OPEN && p_open), .i_cookie(!spare && pick == OPEN && p_cookie), .i_isn(p_isn), .i_listener(p_listener),
        .i_raw(pick == OPEN ? p_raw : f_raw), .i_wake(!spare && pick == TX && tx_wake), .i_front(!spare && pick == RX), .i_payload(!spare && pick == RX && f_word[`SEG_LEN] != 16'd0),
        .i_flush_end(!spare && pick == FLUSH && !fl_flow_valid),
        .i_listed(!spare && pick == TX && !tx_wake), .i_hold(!tx_room),
        .busy_valid(pipe_busy_valid), .busy_flow(pipe_busy_flow), .spare_valid(spare_valid), .spare_flow(spare_flow), .nq_ip(nq_ip), .nq_hit(nq_hit), .nq_mac(nq_mac),
        .challenge_ok(challenge_ok), .rst_ok(rst_ok), .ev_room(ev_room), .ev_calm(ev_calm), .recv_room(recv_room), .tx_issued(tx_issued_reg), .tx_done(tx_done_reg),
        .wb_valid(wb_valid), .wb_cls(wb_cls), .wb_flow(wb_flow), .wb_vf(wb_vf), .wb_qs(wb_qs),
        .wb_act_valid(act_valid), .wb_act(act), .wb_act_event(wb_act_event), .wb_txd_valid(wb_txd_valid), .wb_txd(wb_txd),
        .wb_tmr_set(wb_tmr_set), .wb_tmr_armed(wb_tmr_armed), .wb_tmr_at(wb_tmr_at), .wb_push_tx(wb_push_tx), .wb_push_ntf(wb_push_ntf),
        .wb_delete(wb_delete), .wb_del_vf(wb_del_vf), .wb_del_rip(wb_del_rip), .wb_del_rport(wb_del_rport), .wb_del_lport(wb_del_lport),
        .wb_ask(wb_ask), .wb_ask_ip(wb_ask_ip), .wb_op_done(wb_op_done), .wb_op_quiet(wb_op_quiet), .wb_op_send(wb_op_send), .wb_op_status(opr_status),
        .wb_want_insert(wb_want_insert), .wb_end_listener(wb_end_listener), .wb_unlisten(wb_unlisten), .wb_half_dec(wb_half_dec),
        .wb_listener(wb_listener), .wb_info_data(opr_data), .wb_info_ptr(opr_ptr), .wb_info_size(opr_size),
        .wb_reopen(wb_reopen), .wb_seg(wb_seg), .wb_opened(wb_opened), .wb_freed(wb_freed), .wb_drop_syn(wb_drop_syn),
        .stat(pipe_stat), .vst_valid(vst_valid), .vst_vf(vst_vf), .vst_rx(vst_rx), .vst_rx_bytes(vst_rx_bytes), .vst_tx(vst_tx),
        .vst_tx_bytes(vst_tx_bytes), .vst_retx(vst_retx)
    );

    // ---- descriptors to nk_net_tx --------------------------------------------------------------------------------------------------
    wire txd_in_ready;
    nk_fifo #(.W(TXDW), .DEPTH_LOG2(TXD_LOG2)) txd_fifo (
        .clk(clk), .rst(rst), .s_data(wb_txd), .s_valid(wb_txd_valid), .s_ready(txd_in_ready),
        .m_data(txd), .m_valid(txd_valid), .m_ready(txd_ready), .level(txd_level)
    );

    // ---- counters ---------------------------------------------------------------------------------------------------------------------
    reg  [63:0] stat_all;
    always @* begin
        stat_all = pipe_stat;
        stat_all[`NK_CNT_RX_SYN_NO_CREDIT] = st_no_credit || wb_drop_syn;
        stat_all[`NK_CNT_RX_SYN_NO_ROOM]   = st_no_room || f_drop;
        stat_all[`NK_CNT_RX_COOKIES]       = st_cookie_ok;
        stat_all[`NK_CNT_RX_COOKIES_BAD]   = st_cookie_bad;
        stat_all[`NK_CNT_HASH_INSERTS]     = st_inserts;
        stat_all[`NK_CNT_HASH_DELETES]     = st_deletes;
        if (ptb_none) stat_all[`NK_CNT_RX_PTB_BAD] = 1'b1;
    end
    assign stat        = stat_all;
    assign vst_opened  = wb_opened;
    assign vst_closed  = wb_freed;
    assign vst_drop    = st_no_credit;
    assign vst_drop_vf = st_vf;

    reg  [31:0]       in_use_reg;
    reg  [NVF*16-1:0] sockets_reg;
    assign flows_in_use = in_use_reg;
    assign vf_sockets   = sockets_reg;
    assign busy = pipe_busy || sh_busy || open_busy || front_busy || seg_valid || op_valid || txq_busy || ntq_busy || tmr_busy || wake_busy
               || fl_busy || txd_valid || arp_req_valid || ptb_busy || ops_reg != 4'd0 || sops_reg != 4'd0 || sop_valid
               || tx_issued_reg != tx_done_reg || !table_init;

    wire op_in  = op_valid && op_ready;
    wire unused = &{1'b0, ntq_some, who_valid, who_ready, who_level, arp_in_ready, arp_level, txd_in_ready, wb_ring, f_flags};

    integer i;
    always @(posedge clk) begin
        if (wb_txd_valid) tx_issued_reg <= tx_issued_reg + 16'd1;
        if (txd_done)     tx_done_reg   <= tx_done_reg + 16'd1;
        events_reg <= events_reg + {4'd0, wb_act_event} - {4'd0, ev_out};
        ops_reg    <= ops_reg + {3'd0, op_in} - {3'd0, opr_valid};
        sops_reg   <= sops_reg + {3'd0, sop_go} - {3'd0, sopr_valid};

        if (fl_take && fl_flow_valid) fl_wait_reg <= 1'b1;
        else if (wb_valid && wb_cls == `NK_EV_FLUSH) fl_wait_reg <= 1'b0;

        if (wb_opened) in_use_reg <= in_use_reg + 32'd1;
        if (wb_freed)  in_use_reg <= in_use_reg - 32'd1;
        for (i = 0; i < NVF; i = i + 1)
            if ((wb_opened || wb_freed) && wb_vf == i[7:0])
                sockets_reg[i*16 +: 16] <= wb_opened ? sockets_reg[i*16 +: 16] + 16'd1 : sockets_reg[i*16 +: 16] - 16'd1;

        if (rst) begin
            tx_issued_reg <= 16'd0;
            tx_done_reg   <= 16'd0;
            events_reg    <= 5'd0;
            ops_reg       <= 4'd0;
            sops_reg      <= 4'd0;
            fl_wait_reg   <= 1'b0;
            in_use_reg    <= 32'd0;
            sockets_reg   <= {(NVF * 16){1'b0}};
        end
    end
endmodule

`default_nettype wire
