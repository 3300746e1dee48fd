// SPDX-License-Identifier: Apache-2.0
// The protocol pipeline: flow memory, stages and forwarding. Nothing else writes a flow's state.
//
// A pass: S1 read, X1 what the event means, X2 sender beside receiver, X3 what to send, X4 what to tell and
// when to wake, WB write and hand out. The stages' logic is combinational and stands in modules of its own;
// docs/pipeline.md tells which does what. Passes of one flow start four clocks apart or more (nk_tcp_choose).

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"
`include "nk_tcp_seg.vh"

module nk_tcp_pipe #(
    parameter W       = 512,                          // bus bits, for byte lanes only
    parameter NVF     = 8,                            // VFs
    parameter NQS     = 1,                            // queue sets a VF
    parameter FLOWS   = 1024,                         // flows, power of two
    parameter MSS_MIN = 64,                           // smallest MSS that a peer may ask for
    parameter FW      = $clog2(FLOWS),                // derived
    parameter LW      = $clog2(W / 8),                // derived
    parameter VW      = (NVF > 1) ? $clog2(NVF) : 1,  // derived
    parameter SW      = `SEG_W + LW,                  // derived: segment word
    parameter ACTW    = 324 + LW,                     // action word, see nk_place
    parameter TXDW    = 717                           // descriptor word, see nk_tcp_words
) (
    // Clock and reset (synchronous, active high); microseconds since the first power-up, and the offset of our timestamps.
    input  wire                clk,
    input  wire                rst,
    input  wire [47:0]         now_ext,
    input  wire [31:0]         ts_offset,
    output wire                init_done,
    output wire                busy,
    // Configuration of the VFs and of the NSM profiles.
    input  wire [NVF*32-1:0]   cfg_ip,
    input  wire [NVF*32-1:0]   cfg_mask,
    input  wire [NVF*32-1:0]   cfg_gw,
    input  wire [NVF*16-1:0]   cfg_mtu,
    input  wire [NVF*3-1:0]    cfg_nsm,
    input  wire [NVF*32-1:0]   cfg_sock_base,  // flow of a VF's socket 0
    input  wire [NVF*64-1:0]   region_base,
    input  wire [NVF-1:0]      tx_ok,         // VFs that may send data
    input  wire [8*32-1:0]     nsm_ctrl,
    input  wire [8*64-1:0]     nsm_prm,
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
    // A pass starts: class, flow, and the event's own data.
    input  wire                i_valid,
    input  wire                i_has_flow,
    input  wire [2:0]          i_cls,
    input  wire [FW-1:0]       i_flow,
    input  wire [7:0]          i_vf,          // of RX, OP, FLUSH, RAW, PTB
    input  wire [SW-1:0]       i_seg,
    input  wire [`OPW_W-1:0]   i_op,
    input  wire                i_open,        // RX: SYN that takes an accept credit
    input  wire                i_cookie,      // RX: ACK of a SYN cookie that takes one
    input  wire [31:0]         i_isn,
    input  wire [15:0]         i_listener,    // socket id
    input  wire [1:0]          i_raw,         // NK_RAW_*
    input  wire                i_wake,        // TX: the next hop has become known
    input  wire                i_listed,      // TX: the flow was taken off the transmit list
    input  wire                i_hold,        // no room for a descriptor but a RST: the flow's own segment waits
    input  wire                i_front,       // the segment comes off the wire just now
    input  wire                i_payload,     // and its payload stands in the staging FIFO
    input  wire                i_flush_end,   // FLUSH without a flow: mark behind a VF's last write
    // Flows whose results are still to come.
    output wire [2:0]          busy_valid,
    output wire [3*FW-1:0]     busy_flow,
    // A flow that has more to send and may start again now, ahead of its turn in the list, if nobody else wants to.
    output wire                spare_valid,
    output wire [FW-1:0]       spare_flow,
    // Neighbours: asked in X2, answered in X3.
    output wire [31:0]         nq_ip,
    input  wire                nq_hit,
    input  wire [47:0]         nq_mac,
    // Leave to speak: rate limits, event FIFO, receive rings, descriptors handed out and done.
    input  wire                challenge_ok,
    input  wire                rst_ok,
    input  wire                ev_room,
    input  wire                ev_calm,       // else only turns of the event list tell
    input  wire [NVF*NQS-1:0]  recv_room,
    input  wire [15:0]         tx_issued,
    input  wire [15:0]         tx_done,
    // Results, all in the clock after X4.
    output wire                wb_valid,
    output wire [2:0]          wb_cls,
    output wire [FW-1:0]       wb_flow,
    output wire [7:0]          wb_vf,
    output wire [7:0]          wb_qs,
    output wire                wb_act_valid,
    output wire [ACTW-1:0]     wb_act,
    output wire                wb_act_event,  // it holds an event
    output wire                wb_txd_valid,
    output wire [TXDW-1:0]     wb_txd,
    output wire                wb_tmr_set,
    output wire                wb_tmr_armed,
    output wire [31:0]         wb_tmr_at,
    output wire                wb_push_tx,
    output wire                wb_push_ntf,
    output wire                wb_delete,     // flow table: key and flow to take out
    output wire [7:0]          wb_del_vf,
    output wire [31:0]         wb_del_rip,
    output wire [15:0]         wb_del_rport,
    output wire [15:0]         wb_del_lport,
    output wire                wb_ask,        // ARP request
    output wire [31:0]         wb_ask_ip,
    output wire                wb_op_done,    // an operation's answer
    output wire                wb_op_quiet,
    output wire                wb_op_send,    // of the send queue
    output wire [7:0]          wb_op_status,
    output wire                wb_want_insert,
    output wire                wb_end_listener,
    output wire                wb_unlisten,   // a listener has ended, however
    output wire                wb_half_dec,   // a half-open connection of listener wb_listener is one no more
    output wire [15:0]         wb_listener,
    output wire [63:0]         wb_info_data,
    output wire [63:0]         wb_info_ptr,
    output wire [31:0]         wb_info_size,
    output wire                wb_reopen,     // SYN that ended TIME_WAIT: to be offered again
    output wire [SW-1:0]       wb_seg,
    output wire                wb_opened,
    output wire                wb_freed,
    output wire                wb_drop_syn,
    // Counters: global ones by their index, and a record of the VF's.
    output wire [63:0]         stat,
    output wire                vst_valid,
    output wire [7:0]          vst_vf,
    output wire                vst_rx,
    output wire [15:0]         vst_rx_bytes,
    output wire                vst_tx,
    output wire [15:0]         vst_tx_bytes,
    output wire                vst_retx
);
    localparam NL  = NVF * NQS;
    localparam NLW = (NL > 1) ? $clog2(NL) : 1;

    // What goes with a pass unchanged, one word: lowest bits first.
    localparam T_CLS = 0, T_VF = 3, T_ISN = 11, T_RAW = 43, T_NOW = 45, T_FLOW = 93, T_SEG = 93 + FW,
               T_LISTED = 93 + FW + SW, T_HOLD = 94 + FW + SW, TW = 95 + FW + SW;

    // ---- flow memory ----------------------------------------------------------------------------------
    reg  [FW-1:0]         init_reg;
    reg                   init_done_reg;
    reg                   wb_valid_reg;
    reg                   wb_has_reg;
    reg  [TW-1:0]         wb_t_reg;
    reg  [`TCB_MEM_W-1:0] wb_mem_reg;
    reg                   late_has_reg;       // the pass before it, which the memory holds by now
    reg  [FW-1:0]         late_flow_reg;
    reg  [`TCB_MEM_W-1:0] late_mem_reg;
    wire [FW-1:0]         wb_flow_now = wb_t_reg[T_FLOW +: FW];
    wire [`TCB_MEM_W-1:0] ram_rdata;

    nk_ram_1w1r #(.W(`TCB_MEM_W), .AW(FW)) flow_ram (
        .clk(clk),
        .we(!init_done_reg || wb_has_reg), .waddr(init_done_reg ? wb_flow_now : init_reg),
        .wdata(init_done_reg ? wb_mem_reg : {`TCB_MEM_W{1'b0}}),
        .re(i_valid && i_has_flow), .raddr(i_flow), .rdata(ram_rdata)
    );
    assign init_done = init_done_reg;

    // ---- S1: the memory answers; a result that it does not show yet is taken from the end of the pipeline ----
    reg               s1_valid_reg;
    reg               s1_has_reg;
    reg  [TW-1:0]     s1_t_reg;
    reg  [`OPW_W-1:0] s1_op_reg;
    reg  [21:0]       s1_x_reg;               // front | listener 16 | wake | payload | flush end | cookie | open
    wire [FW-1:0]     s1_flow = s1_t_reg[T_FLOW +: FW];
    wire [`TCB_MEM_W-1:0] s1_mem = wb_has_reg && wb_flow_now == s1_flow ? wb_mem_reg
                                 : late_has_reg && late_flow_reg == s1_flow ? late_mem_reg : ram_rdata;

    // ---- X1: what the event means ------------------------------------------------------------------------
    reg               x1_valid_reg;
    reg               x1_has_reg;
    reg  [TW-1:0]     x1_t_reg;
    reg  [`OPW_W-1:0] x1_op_reg;
    reg  [21:0]       x1_x_reg;
    reg  [`TCB_MEM_W-1:0] x1_mem_reg;
    wire [2:0]        x1_cls  = x1_t_reg[T_CLS +: 3];
    wire [1:0]        x1_raw  = x1_t_reg[T_RAW +: 2];
    wire [47:0]       x1_now  = x1_t_reg[T_NOW +: 48];
    wire [FW-1:0]     x1_flow = x1_t_reg[T_FLOW +: FW];
    wire [`TCB_MEM_W-1:0] x1_mem = wb_has_reg && wb_flow_now == x1_flow ? wb_mem_reg : x1_mem_reg;
    wire [`TCB_W-1:0] x1_kept;
    nk_tcb_unpack unpack (.mem(x1_mem), .now_us(x1_now[31:0]), .tcb(x1_kept));
    // A flow's number is its VF's base plus the socket id (docs/decisions/0002), so the id is not kept.
    wire [7:0]        x1_owner  = x1_kept[`TCB_VF];
    wire [31:0]       x1_base   = cfg_sock_base[x1_owner[VW-1:0] * 32 +: 32];
    wire [31:0]       x1_socket = {{(32-FW){1'b0}}, x1_flow} - x1_base;
    reg  [`TCB_W-1:0] x1_tcb;
    always @* begin
        x1_tcb = x1_kept;
        x1_tcb[`TCB_SOCKET] = x1_socket[15:0];
    end

    // Timers and list turns know their VF from the flow alone.
    wire              x1_by_flow = x1_cls == `NK_EV_TMR || x1_cls == `NK_EV_TX || x1_cls == `NK_EV_NTF;
    wire [7:0]        x1_vf      = x1_by_flow ? x1_tcb[`TCB_VF] : x1_t_reg[T_VF +: 8];
    wire [`TCB_W-1:0] x1_out;
    wire              data_ok, ev_ack, ev_new, ev_dup, ev_syn, ev_rto, ev_reo, ev_tlp, stranger, reopen, want_insert, end_listener;
    wire [1:0]        x1_rst;
    wire [31:0]       x1_rst_seq;
    wire [7:0]        x1_status;
    wire [63:0]       x1_stat;

    nk_tcp_x1 #(.NVF(NVF), .VW(VW), .SW(SW), .MSS_MIN(MSS_MIN)) x1_i (
        .valid(x1_valid_reg && x1_has_reg), .cls(x1_cls), .vf(x1_vf), .seg(x1_t_reg[T_SEG +: SW]), .op(x1_op_reg), .is_open(x1_x_reg[0]),
        .is_cookie(x1_x_reg[1]), .isn(x1_t_reg[T_ISN +: 32]), .listener(x1_x_reg[20:5]), .wake(x1_x_reg[4]), .now_ext(x1_now),
        .tcb(x1_tcb), .cfg_mtu(cfg_mtu), .cfg_nsm(cfg_nsm), .nsm_ctrl(nsm_ctrl), .challenge_ok(challenge_ok),
        .p_retries_data(p_retries_data), .p_retries_syn(p_retries_syn),
        .tcb_out(x1_out), .data_ok(data_ok), .ev_ack(ev_ack), .ev_new(ev_new), .ev_dup(ev_dup), .ev_syn(ev_syn),
        .ev_rto(ev_rto), .ev_reo(ev_reo), .ev_tlp(ev_tlp), .rst_kind(x1_rst), .rst_seq(x1_rst_seq), .stranger(stranger),
        .reopen(reopen), .status(x1_status), .want_insert(want_insert), .end_listener(end_listener), .stat(x1_stat)
    );
    // What WB needs of it: front | status 8 | state before: deadline 32, armed, CLOSED, state 4 | flags, see F_*.
    localparam F_END_LISTENER = 0, F_INSERT = 1, F_REOPEN = 2, F_LOST_CREDIT = 3, F_QUIET = 4, F_PAYLOAD = 5, F_FLUSH_END = 6, F_FRONT = 53, F_SEND = 54, NW = 7 + 38 + 8 + 2;
    wire              rtx_first = x1_tcb[`TCB_RTX_ON] && (!x1_tcb[`TCB_DACK_ON] || `SEQ_LT(x1_tcb[`TCB_RTX_T], x1_tcb[`TCB_DACK_T]));
    wire [NW-1:0]     x1_note = {x1_op_reg[`OPW_SEND], x1_x_reg[21], x1_status, x1_tcb[`TCB_STATE], x1_tcb[`TCB_CLOSED], x1_tcb[`TCB_RTX_ON] || x1_tcb[`TCB_DACK_ON],
                                 rtx_first ? x1_tcb[`TCB_RTX_T] : x1_tcb[`TCB_DACK_T],
                                 x1_x_reg[2], x1_x_reg[3], x1_op_reg[`OPW_QUIET], stranger && x1_x_reg[0], reopen, want_insert, end_listener};

    // ---- X2: sender beside receiver -----------------------------------------------------------------------
    reg               x2_valid_reg;
    reg               x2_has_reg;
    reg  [TW-1:0]     x2_t_reg;
    reg  [NW-1:0]     x2_note_reg;
    reg  [`TCB_W-1:0] x2_tcb_reg;
    reg  [7:0]        x2_ev_reg;         // data_ok, ack, new, dup, syn, rto, reo, tlp
    reg  [1:0]        x2_rst_reg;        // 1: <SEQ=ack><RST>, 2: from our own numbers, 3: no flow
    reg  [31:0]       x2_rst_seq_reg;
    wire [`TCB_W-1:0] x2_out;
    wire              x2_place, x2_refuse;
    wire [31:0]       x2_place_seq;
    wire [15:0]       x2_place_skip;
    wire [15:0]       x2_place_len;
    wire [63:0]       x2_stat;
    nk_tcp_x2 #(.SW(SW)) x2_i (
        .valid(x2_valid_reg), .op(x2_has_reg && x2_t_reg[T_CLS +: 3] == `NK_EV_OP), .ev(x2_ev_reg), .tcb(x2_tcb_reg), .seg(x2_t_reg[T_SEG +: SW]), .now_ext(x2_t_reg[T_NOW +: 48]), .ts_offset(ts_offset),
        .nsm_ctrl(nsm_ctrl), .nsm_prm(nsm_prm), .p_rto_min(p_rto_min), .p_rto_max(p_rto_max), .p_delayed_ack(p_delayed_ack),
        .p_initial_cwnd(p_initial_cwnd), .tcb_out(x2_out), .place(x2_place), .place_seq(x2_place_seq), .place_skip(x2_place_skip),
        .place_len(x2_place_len), .refuse(x2_refuse), .stat(x2_stat)
    );

    wire [VW-1:0]     x2_ix   = x2_t_reg[T_VF +: VW];
    wire [31:0]       x2_ip   = cfg_ip[x2_ix * 32 +: 32];
    wire [31:0]       x2_mask = cfg_mask[x2_ix * 32 +: 32];
    wire [31:0]       x2_gw   = cfg_gw[x2_ix * 32 +: 32];
    wire              x2_near = ((x2_tcb_reg[`TCB_RIP] ^ x2_ip) & x2_mask) == 32'd0 || x2_gw == 32'd0;
    wire [31:0]       x2_hop  = x2_near ? x2_tcb_reg[`TCB_RIP] : x2_gw;
    assign nq_ip = x2_hop;

    // ---- X3: at most one segment leaves ----------------------------------------------------------------------
    reg               x3_valid_reg;
    reg               x3_has_reg;
    reg  [TW-1:0]     x3_t_reg;
    reg  [NW-1:0]     x3_note_reg;
    reg  [`TCB_W-1:0] x3_tcb_reg;
    reg  [1:0]        x3_rst_reg;
    reg  [31:0]       x3_rst_seq_reg;
    reg  [31:0]       x3_hop_reg;
    reg               x3_place_reg;
    reg  [63:0]       x3_what_reg;       // to place: length 16 | skip 16 | sequence number 32
    reg               x3_waits_reg;      // more than a segment of it waited before this pass
    wire [VW-1:0]     x3_ix = x3_t_reg[T_VF +: VW];
    wire [FW-1:0]     x3_flow = x3_t_reg[T_FLOW +: FW];
    wire              x3_follows;
    wire [`TCB_W-1:0] x3_tcb;
    wire              x3_send, x3_again, x3_ask;
    wire [`OUT_W-1:0] x3_out;
    wire [63:0]       x3_stat;
    nk_tcp_x3 #(.SW(SW)) x3_i (
        .valid(x3_valid_reg), .has_flow(x3_has_reg), .cls(x3_t_reg[T_CLS +: 3]), .raw(x3_t_reg[T_RAW +: 2]), .rst_kind(x3_rst_reg), .tx_ok(tx_ok[x3_ix]), .hold(x3_t_reg[T_HOLD]),
        .tcb(x3_tcb_reg), .seg(x3_t_reg[T_SEG +: SW]), .now_ext(x3_t_reg[T_NOW +: 48]), .ts_offset(ts_offset), .neigh_hit(nq_hit),
        .rst_ok(rst_ok), .p_retries_neigh(p_retries_neigh), .mtu(cfg_mtu[x3_ix * 16 +: 16]),
        .tcb_out(x3_tcb), .send(x3_send), .again(x3_again), .ask(x3_ask), .follows(x3_follows), .out(x3_out), .stat(x3_stat)
    );

    // ---- X4: tell the tenant, set the timer, ask for another turn -----------------------------------------------
    reg               x4_valid_reg;
    reg               x4_has_reg;
    reg  [TW-1:0]     x4_t_reg;
    reg  [NW-1:0]     x4_note_reg;
    reg  [`TCB_W-1:0] x4_tcb_reg;
    reg  [1:0]        x4_rst_reg;
    reg  [31:0]       x4_rst_seq_reg;
    reg  [31:0]       x4_hop_reg;
    reg  [47:0]       x4_mac_reg;
    reg               x4_place_reg;
    reg  [63:0]       x4_what_reg;
    reg               x4_send_reg;
    reg               x4_again_reg;
    reg               x4_ask_reg;
    reg               x4_follows_reg;
    reg  [`OUT_W-1:0] x4_out_reg;
    wire              x4_on   = x4_valid_reg && x4_has_reg;
    wire [2:0]        x4_cls  = x4_t_reg[T_CLS +: 3];
    wire [FW-1:0]     x4_flow = x4_t_reg[T_FLOW +: FW];
    wire [7:0]        x4_vf   = x4_t_reg[T_VF +: 8];
    wire [VW-1:0]     x4_ix   = x4_t_reg[T_VF +: VW];
    wire [SW-1:0]     x4_seg  = x4_t_reg[T_SEG +: SW];
    wire [37:0]       x4_was  = x4_note_reg[44:7];
    wire [15:0]       x4_ring = x4_tcb_reg[`TCB_VF] * NQS + {8'd0, x4_tcb_reg[`TCB_QS]};
    wire [2:0]        x4_prof = x4_tcb_reg[`TCB_PROF];
    wire [31:0]       x4_nsm  = nsm_ctrl[x4_prof * 32 +: 32];
    wire              x4_payload = x4_valid_reg && x4_note_reg[F_PAYLOAD];
    wire              x4_flushed = x4_valid_reg && x4_note_reg[F_FLUSH_END];
    wire [`TCB_W-1:0] x4_tcb;
    wire              tells, post_set, post_armed, post_push_tx, post_push_ntf, post_delete, post_opened, post_freed;
    wire [31:0]       post_at;
    wire [ACTW-1:0]   act;
    wire [TXDW-1:0]   txd;
    nk_tcp_x4 #(.W(W), .LW(LW), .SW(SW), .ACTW(ACTW), .TXDW(TXDW)) x4_i (
        .on(x4_on), .cls(x4_cls), .listed(x4_t_reg[T_LISTED]), .vf(x4_vf), .tcb(x4_tcb_reg), .seg(x4_seg), .now_ext(x4_t_reg[T_NOW +: 48]), .was(x4_was),
        .payload(x4_payload), .place(x4_place_reg), .place_seq(x4_what_reg[31:0]), .place_skip(x4_what_reg[47:32]), .place_len(x4_what_reg[63:48]),
        .flushed(x4_flushed), .raw(x4_t_reg[T_RAW +: 2]), .raw_seq(x4_t_reg[T_ISN +: 32]), .rst_kind(x4_rst_reg), .rst_seq(x4_rst_seq_reg),
        .out(x4_out_reg), .next_mac(x4_mac_reg), .ev_room(ev_room && (ev_calm || x4_cls == `NK_EV_NTF)), .ring_room(recv_room[x4_ring[NLW-1:0]]), .tx_issued(tx_issued), .tx_done(tx_done),
        .region(region_base[x4_ix * 64 +: 64]), .mtu(cfg_mtu[x4_ix * 16 +: 16]), .p_flags(x4_nsm[15:8]), .p_rto_min(p_rto_min),
        .p_rto_init(p_rto_init), .p_rto_max(p_rto_max), .p_time_wait(p_time_wait), .p_fin_wait2(p_fin_wait2), .p_neigh_retry(p_neigh_retry),
        .p_delayed_ack(p_delayed_ack), .tcb_out(x4_tcb), .tells(tells), .timer_set(post_set), .timer_armed(post_armed), .timer_deadline(post_at),
        .push_tx(post_push_tx), .push_ntf(post_push_ntf), .hash_delete(post_delete), .opened(post_opened), .freed(post_freed), .act(act), .txd(txd)
    );
    wire [`TCB_MEM_W-1:0] x4_mem;
    nk_tcb_pack pack (.tcb(x4_tcb), .mem(x4_mem));
`ifndef SYNTHESIS
    // A field that a later pass needs and that comes back wrong would be found nowhere else.
    wire [31:0]           x4_now = x4_t_reg[T_NOW +: 32];
    wire [`TCB_CHECK_W-1:0] x4_lost;
    nk_tcb_check check (.tcb(x4_tcb), .mem(x4_mem), .now_us(x4_now), .bad(x4_lost));
    // Before the first reset the stages hold anything.
    reg                   sane_reg;
    initial sane_reg = 1'b0;
    always @(posedge clk) begin
        if (rst) sane_reg <= 1'b1;
        if (!rst && sane_reg && x4_on && x4_lost != {`TCB_CHECK_W{1'b0}}) begin
            $display("%m: the flow memory loses a field of flow %0d, see nk_tcb_check: %h", x4_flow, x4_lost);
            $finish;
        end
    end
`endif

    // ---- a flow that sends on its own ------------------------------------------------------------------
    // Its way through the transmit list takes longer than the four clocks between its passes. What X3 says comes a
    // clock late for them, so a flow that had more to send the last time is expected to have more again.
    reg               spare_reg;
    reg  [FW-1:0]     spare_flow_reg;
    wire              spare_x4 = x4_on && x4_follows_reg && !(s1_has_reg && s1_flow == x4_flow);
    wire              spare_x3 = x3_valid_reg && x3_has_reg && x3_waits_reg && spare_reg && x3_flow == spare_flow_reg;
    wire [31:0]       x2_wait  = x2_tcb_reg[`TCB_TX_END] - x2_tcb_reg[`TCB_SND_NXT];
    assign spare_valid = spare_x4 || spare_x3;
    assign spare_flow  = spare_x4 ? x4_flow : x3_flow;

    // ---- WB -----------------------------------------------------------------------------------------------
    reg  [NW-1:0]     wb_note_reg;
    reg  [7:0]        wb_qs_reg;
    reg  [9:0]        wb_do_reg;         // what is done, see below
    reg               wb_tmr_armed_reg;
    reg  [31:0]       wb_tmr_at_reg;
    reg  [ACTW-1:0]   wb_act_reg;
    reg  [TXDW-1:0]   wb_txd_reg;
    reg  [71:0]       wb_del_key_reg;
    reg  [31:0]       wb_hop_reg;
    reg               wb_event_reg;
    reg               wb_unlisten_reg;
    reg               wb_half_reg;
    reg  [15:0]       wb_listener_reg;
    reg  [159:0]      wb_info_reg;
    reg  [63:0]       stat_reg;
    reg               vst_rx_reg;
    reg               vst_tx_reg;
    reg               vst_retx_reg;
    reg  [15:0]       vst_rx_bytes_reg;
    reg  [15:0]       vst_tx_bytes_reg;

    wire              was_listening = x4_was[37:34] == `NK_FS_LISTEN && !x4_was[33];
    wire [3:0]        x4_state      = x4_tcb_reg[`TCB_STATE];
    wire              lost_credit   = x4_note_reg[F_LOST_CREDIT];    // the credit was gone: its entry goes too
    wire [15:0]       mss4          = x4_tcb_reg[`TCB_MSS] >> 2;
    wire [31:0]       srtt          = x4_tcb_reg[`TCB_SRTT8] >> 3;
    wire [31:0]       rttvar        = x4_tcb_reg[`TCB_RTTVAR4] >> 2;

    always @(posedge clk) begin
        if (!init_done_reg) begin
            init_reg      <= init_reg + 1'b1;
            init_done_reg <= &init_reg;
        end

        s1_valid_reg <= i_valid;
        s1_has_reg   <= i_valid && i_has_flow;
        if (i_valid) begin
            s1_t_reg  <= {i_hold, i_listed, i_seg, i_flow, now_ext, i_cls == `NK_EV_RAW ? i_raw : `NK_RAW_NONE, i_isn, i_vf, i_cls};
            s1_op_reg <= i_op;
            s1_x_reg  <= {i_front, i_listener, i_wake, i_payload, i_flush_end, i_cookie, i_open};
        end

        x1_valid_reg <= s1_valid_reg;
        x1_has_reg   <= s1_has_reg;
        if (s1_valid_reg) begin
            x1_t_reg   <= s1_t_reg;
            x1_op_reg  <= s1_op_reg;
            x1_x_reg   <= s1_x_reg;
            x1_mem_reg <= s1_mem;
        end

        x2_valid_reg <= x1_valid_reg;
        x2_has_reg   <= x1_has_reg;
        if (x1_valid_reg) begin
            x2_t_reg            <= x1_t_reg;
            x2_t_reg[T_VF +: 8] <= x1_vf;
            x2_note_reg         <= x1_has_reg ? x1_note : {x1_x_reg[21], {(NW - 8){1'b0}}, x1_x_reg[2], x1_x_reg[3], 5'd0};
            x2_tcb_reg          <= x1_out;
            x2_ev_reg           <= x1_has_reg ? {data_ok, ev_ack, ev_new, ev_dup, ev_syn, ev_rto, ev_reo, ev_tlp} : 8'd0;
            x2_rst_reg          <= x1_has_reg ? x1_rst : x1_raw == `NK_RAW_RST ? 2'd3 : 2'd0;
            x2_rst_seq_reg      <= x1_rst_seq;
        end

        x3_valid_reg <= x2_valid_reg;
        x3_has_reg   <= x2_has_reg;
        if (x2_valid_reg) begin
            x3_t_reg       <= x2_t_reg;
            x3_note_reg    <= x2_note_reg;
            x3_tcb_reg     <= x2_out;
            x3_rst_reg     <= x2_refuse ? 2'd2 : x2_rst_reg;
            x3_rst_seq_reg <= x2_refuse ? x2_out[`TCB_SND_NXT] : x2_rst_seq_reg;
            x3_hop_reg     <= x2_hop;
            x3_place_reg   <= x2_place;
            x3_what_reg    <= {x2_place_len, x2_place_skip, x2_place_seq};
            x3_waits_reg   <= !x2_wait[31] && x2_wait > {16'd0, x2_tcb_reg[`TCB_MSS]};
        end

        x4_valid_reg <= x3_valid_reg;
        x4_has_reg   <= x3_has_reg;
        if (x3_valid_reg) begin
            x4_t_reg       <= x3_t_reg;
            x4_note_reg    <= x3_note_reg;
            x4_tcb_reg     <= x3_tcb;
            x4_rst_reg     <= x3_rst_reg;
            x4_rst_seq_reg <= x3_rst_seq_reg;
            x4_hop_reg     <= x3_hop_reg;
            x4_mac_reg     <= nq_mac;
            x4_place_reg   <= x3_place_reg;
            x4_what_reg    <= x3_what_reg;
            x4_send_reg    <= x3_send;
            x4_again_reg   <= x3_again;
            x4_ask_reg     <= x3_ask;
            x4_follows_reg <= x3_follows;
            x4_out_reg     <= x3_out;
        end

        if (x4_on && x4_follows_reg) begin
            spare_reg      <= 1'b1;
            spare_flow_reg <= x4_flow;
        end else if (x4_on && x4_flow == spare_flow_reg) spare_reg <= 1'b0;

        wb_valid_reg    <= x4_valid_reg;
        wb_has_reg      <= x4_on;
        wb_do_reg       <= {x4_on && lost_credit, x4_on && post_freed, x4_on && post_opened, x4_on && x4_ask_reg, x4_on && (post_delete || lost_credit),
                            x4_on && post_push_ntf, x4_on && post_push_tx, x4_on && (post_set || x4_cls == `NK_EV_TMR),
                            x4_valid_reg && x4_send_reg, x4_payload || tells || x4_flushed};
        wb_event_reg    <= tells;
        wb_unlisten_reg <= x4_on && was_listening && post_delete;
        wb_half_reg     <= x4_on && x4_was[37:34] == `NK_FS_SYN_RCVD && x4_tcb_reg[`TCB_PASSIVE] && x4_state != `NK_FS_SYN_RCVD;
        if (x4_valid_reg) begin
            wb_t_reg         <= x4_t_reg;
            wb_note_reg      <= x4_note_reg;
            wb_mem_reg       <= x4_mem;
            wb_qs_reg        <= x4_tcb_reg[`TCB_QS];
            wb_act_reg       <= act;
            wb_txd_reg       <= txd;
            wb_tmr_armed_reg <= post_armed;
            wb_tmr_at_reg    <= post_at;
            wb_del_key_reg   <= lost_credit ? {x4_vf, x4_seg[`SEG_RIP], x4_seg[`SEG_RPORT], x4_seg[`SEG_LPORT]}
                              : {x4_vf, was_listening ? 48'd0 : {x4_tcb_reg[`TCB_RIP], x4_tcb_reg[`TCB_RPORT]}, x4_tcb_reg[`TCB_LPORT]};
            wb_hop_reg       <= x4_hop_reg;
            wb_listener_reg  <= x4_tcb_reg[`TCB_LISTENER];
            wb_info_reg      <= {mss4[11:0], x4_state, x4_tcb_reg[`TCB_RETX_TOTAL], x4_tcb_reg[`TCB_SSTHRESH], rttvar, x4_tcb_reg[`TCB_CWND], srtt};
        end
        late_has_reg  <= wb_has_reg;
        late_flow_reg <= wb_flow_now;
        if (wb_has_reg) late_mem_reg <= wb_mem_reg;

        // Counters, each in the stage that knows.
        stat_reg <= (x1_valid_reg && x1_has_reg ? x1_stat : 64'd0) | x2_stat | x3_stat
                  | (x4_on ? {63'd0, post_opened} << `NK_CNT_FLOWS_OPENED : 64'd0) | (x4_on ? {63'd0, post_freed} << `NK_CNT_FLOWS_CLOSED : 64'd0);
        vst_rx_reg       <= x4_valid_reg && x4_note_reg[F_FRONT];
        vst_tx_reg       <= x4_valid_reg && x4_send_reg;
        vst_retx_reg     <= x4_on && x4_send_reg && x4_again_reg;
        vst_rx_bytes_reg <= x4_valid_reg && x4_place_reg ? x4_what_reg[63:48] : 16'd0;
        vst_tx_bytes_reg <= x4_valid_reg && x4_send_reg ? x4_out_reg[`OUT_LEN] : 16'd0;

        if (rst) begin
            init_reg        <= {FW{1'b0}};
            init_done_reg   <= 1'b0;
            s1_valid_reg    <= 1'b0;
            s1_has_reg      <= 1'b0;
            x1_valid_reg    <= 1'b0;
            x1_has_reg      <= 1'b0;
            x2_valid_reg    <= 1'b0;
            x2_has_reg      <= 1'b0;
            x3_valid_reg    <= 1'b0;
            x3_has_reg      <= 1'b0;
            x4_valid_reg    <= 1'b0;
            x4_has_reg      <= 1'b0;
            wb_valid_reg    <= 1'b0;
            wb_has_reg      <= 1'b0;
            wb_do_reg       <= 10'd0;
            wb_event_reg    <= 1'b0;
            spare_reg       <= 1'b0;
            wb_unlisten_reg <= 1'b0;
            wb_half_reg     <= 1'b0;
            late_has_reg    <= 1'b0;
            stat_reg        <= 64'd0;
            vst_rx_reg      <= 1'b0;
            vst_tx_reg      <= 1'b0;
            vst_retx_reg    <= 1'b0;
        end
    end
    assign busy       = !init_done_reg || s1_valid_reg || x1_valid_reg || x2_valid_reg || x3_valid_reg || x4_valid_reg || wb_valid_reg;
    assign busy_valid = {x2_has_reg, x1_has_reg, s1_has_reg};
    assign busy_flow  = {x2_t_reg[T_FLOW +: FW], x1_flow, s1_flow};
    assign wb_valid   = wb_valid_reg;
    assign wb_cls     = wb_t_reg[T_CLS +: 3];
    assign wb_flow    = wb_flow_now;
    assign wb_vf      = wb_t_reg[T_VF +: 8];
    assign wb_qs      = wb_qs_reg;
    assign {wb_drop_syn, wb_freed, wb_opened, wb_ask, wb_delete, wb_push_ntf, wb_push_tx, wb_tmr_set, wb_txd_valid, wb_act_valid} = wb_do_reg;
    assign wb_act     = wb_act_reg;
    assign wb_act_event = wb_event_reg;
    assign wb_txd     = wb_txd_reg;
    assign wb_tmr_armed = wb_tmr_armed_reg;
    assign wb_tmr_at  = wb_tmr_at_reg;
    assign {wb_del_vf, wb_del_rip, wb_del_rport, wb_del_lport} = wb_del_key_reg;
    assign wb_ask_ip  = wb_hop_reg;
    assign wb_op_done = wb_has_reg && wb_cls == `NK_EV_OP;
    assign wb_op_quiet     = wb_note_reg[F_QUIET];
    assign wb_op_send      = wb_note_reg[F_SEND];
    assign wb_op_status    = wb_note_reg[52:45];
    assign wb_want_insert  = wb_op_done && wb_note_reg[F_INSERT];
    assign wb_end_listener = wb_op_done && wb_note_reg[F_END_LISTENER];
    assign wb_unlisten = wb_unlisten_reg;
    assign wb_half_dec = wb_half_reg;
    assign wb_listener = wb_listener_reg;
    assign {wb_info_size, wb_info_ptr, wb_info_data} = wb_info_reg;
    assign wb_reopen   = wb_has_reg && wb_cls == `NK_EV_RX && wb_note_reg[F_REOPEN];
    assign wb_seg      = wb_t_reg[T_SEG +: SW];
    assign stat         = stat_reg;
    assign vst_valid    = vst_rx_reg || vst_tx_reg || wb_opened || wb_freed;
    assign vst_vf       = wb_vf;
    assign vst_rx       = vst_rx_reg;
    assign vst_rx_bytes = vst_rx_bytes_reg;
    assign vst_tx       = vst_tx_reg;
    assign vst_tx_bytes = vst_tx_bytes_reg;
    assign vst_retx     = vst_retx_reg;

    // Numbers that are wider in the flow's state than in this build, and hints that nobody needs.
    wire unused = &{1'b0, x1_owner, x1_socket, x4_ring, x4_nsm, mss4, srtt, rttvar, wb_t_reg};
endmodule

`default_nettype wire
