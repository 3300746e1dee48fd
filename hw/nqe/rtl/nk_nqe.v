// SPDX-License-Identifier: Apache-2.0
// Purpose: the NQE queue manager: doorbells, fetch, check, hand-over to the protocol engine, completions, events,
// interrupts of all queue sets of all VFs.
//
//  qreg_* ─▶ nk_nqe_regs ─▶ nk_nqe_rings ◀─────────── indices ───────────┐──────────────────┐
//               │ work                                    │                  │
//               ▼                                         │                  │
//        nk_nqe_fetch ─▶ DMA read ─▶ nk_nqe_unpack ─▶ FIFO ─▶ nk_nqe_tap ─▶ nk_nqe_check
//                                                                            │
//        DMA write ◀─ nk_nqe_writer ◀─ FIFO ◀─ nk_nqe_exec ◀─────────────────┘
//                       ▲      │                 ▲ │
//                     ev_*     └▶ nk_irq     opr_*  op_*

`default_nettype none
`include "nk_abi.vh"

module nk_nqe #(
    // Bus width in bits: 64, 128, 256 or 512.
    parameter W = 512,
    // VFs, 1 to 64.
    parameter NVF = 8,
    // Queue sets a VF, 1, 2, 4 or 8.
    parameter NQS = 1,
    // Flows of the flow table, a power of two, 2 to 65536.
    parameter FLOWS = 1024,
    // Events that may be between the engine's look at recv_room and this block's acceptance of them, 0 to 56.
    parameter EV_SLACK = 24,
    // Beats that the DMA write path holds between its clients and the host interface (nk_dma_wr_arb: 2).
    parameter DRAIN = 2,
    // Width of a byte lane number; follows from W, leave it.
    parameter LW = $clog2(W / 8),
    // Width of a flow number; follows from FLOWS, leave it.
    parameter FW = $clog2(FLOWS),
    // Width of a VF index; follows from NVF, leave it.
    parameter VW = (NVF > 1) ? $clog2(NVF) : 1,
    // Number of sets, leave it.
    parameter NR = NVF * NQS
) (
    // Clock and reset (synchronous, active high).
    input  wire                 clk,
    input  wire                 rst,

    // Card time, microseconds.
    input  wire [31:0]          now_us,

    // State of the VFs, from nk_regs.
    input  wire [NVF-1:0]       vf_enabled,
    input  wire [NVF-1:0]       vf_resetting,
    input  wire [NVF*64-1:0]    region_base,
    input  wire [NVF*32-1:0]    region_pages,
    input  wire [NVF*32-1:0]    cfg_sock_base,
    input  wire [NVF*32-1:0]    cfg_sock_count,

    // Queue-set registers and doorbells, from nk_regs: one answer an access.
    input  wire                 qreg_valid,
    output wire                 qreg_ready,
    input  wire [7:0]           qreg_vf,
    input  wire [7:0]           qreg_qs,
    input  wire                 qreg_db,
    input  wire [5:0]           qreg_ofs,
    input  wire                 qreg_write,
    input  wire [31:0]          qreg_wdata,
    output wire                 qreg_rvalid,
    output wire [31:0]          qreg_rdata,
    output wire                 qreg_err,

    // Stop of a VF, from nk_regs: held until the pulse of done.
    input  wire                 stop_vf_valid,
    input  wire [7:0]           stop_vf,
    output wire                 stop_vf_done,

    // Operations to the protocol engine.
    output wire                 op_valid,
    input  wire                 op_ready,
    output wire [7:0]           op_vf,
    output wire [7:0]           op_qs,
    output wire [7:0]           op_code,
    output wire [FW-1:0]        op_flow,
    output wire [15:0]          op_socket,
    output wire [FW-1:0]        op_child,
    output wire                 op_child_ok,
    output wire [63:0]          op_data,
    output wire [63:0]          op_ptr,
    output wire [31:0]          op_size,
    input  wire                 opr_valid,
    input  wire [7:0]           opr_status,
    input  wire [63:0]          opr_data,
    input  wire [63:0]          opr_ptr,
    input  wire [31:0]          opr_size,

    // Events, and room for them.
    input  wire                 ev_valid,
    output wire                 ev_ready,
    input  wire [7:0]           ev_vf,
    input  wire [7:0]           ev_qs,
    input  wire [7:0]           ev_op,
    input  wire [15:0]          ev_socket,
    input  wire [63:0]          ev_data,
    input  wire [31:0]          ev_size,
    input  wire [7:0]           ev_status,
    output wire [NR-1:0]        recv_room,

    // DMA read, a client of nk_dma_rd_arb.
    output wire                 rd_valid,
    input  wire                 rd_ready,
    output wire [7:0]           rd_func,
    output wire [63:0]          rd_addr,
    output wire [15:0]          rd_len,
    output wire [LW-1:0]        rd_lane,
    output wire [15:0]          rd_wrap_len,
    output wire [63:0]          rd_wrap_addr,
    input  wire                 rdat_valid,
    output wire                 rdat_ready,
    input  wire [W-1:0]         rdat_data,

    // DMA write, a client of nk_dma_wr_arb.
    output wire                 wr_valid,
    input  wire                 wr_ready,
    output wire [7:0]           wr_func,
    output wire [63:0]          wr_addr,
    output wire [15:0]          wr_len,
    output wire [LW-1:0]        wr_lane,
    output wire [15:0]          wr_wrap_len,
    output wire [63:0]          wr_wrap_addr,
    output wire                 wd_valid,
    input  wire                 wd_ready,
    output wire [W-1:0]         wd_data,
    output wire                 wd_last,

    // DMA write data channel of the host interface, watched only: interrupts wait for what they announce.
    input  wire                 mon_wdat_valid,
    input  wire                 mon_wdat_ready,

    // Interrupts.
    output wire                 irq_valid,
    input  wire                 irq_ready,
    output wire [7:0]           irq_func,
    output wire [7:0]           irq_vector,

    // Trace: every NQE read or written.
    output wire                 tr_valid,
    output wire [7:0]           tr_vf,
    output wire [7:0]           tr_qs,
    output wire [1:0]           tr_queue,
    output wire [255:0]         tr_nqe,

    // Statistics: pulses, opcodes, and five sources for the counters of the VFs.
    output wire                 stat_nqe_fetched,
    output wire                 stat_nqe_errors,
    output wire                 stat_doorbell_errors,
    output wire                 stat_irq_sent,
    output wire                 stat_ev_lost,
    output wire                 opc_valid,
    output wire [5:0]           opc,
    output wire [4:0]           vfc_valid,
    input  wire [4:0]           vfc_ready,
    output wire [5*(VW+4)-1:0]  vfc_addr,
    output wire [79:0]          vfc_inc,

    // Activity: without new input nothing happens before now_us reaches next_us.
    output wire                 busy,
    output wire                 next_valid,
    output wire [31:0]          next_us
);

    localparam SW = (NR > 1) ? $clog2(NR) : 1;
    localparam CREDIT_LOG2 = 4;
    localparam [31:0] IDX_NQE_ERRORS      = `NK_VFCNT_NQE_ERRORS;
    localparam [31:0] IDX_DOORBELL_ERRORS = `NK_VFCNT_DOORBELL_ERRORS;
    localparam [31:0] IDX_IRQS            = `NK_VFCNT_IRQS;

    // ------------------------------------------------------------------------------ registers, rings

    wire [NR-1:0] on;
    wire          work_valid;
    wire [SW-1:0] work_set;
    wire          arm_valid;
    wire          arm_is_arm;
    wire          arm_is_clear;
    wire [SW-1:0] arm_set;
    wire          sc_read;
    wire [SW-1:0] sc_set;
    wire [31:0]   sc_job_tail;
    wire [31:0]   sc_job_head;
    wire [31:0]   sc_send_tail;
    wire [31:0]   sc_send_head;
    wire [31:0]   sc_send_bar;
    wire [31:0]   sc_comp_tail;
    wire [31:0]   sc_comp_head;
    wire [31:0]   sc_promised;
    wire [31:0]   sc_resolved;
    wire [14:0]   sc_log2s;
    wire [19:0]   sc_job_page;
    wire [19:0]   sc_send_page;
    wire          fc_valid;
    wire [SW-1:0] fc_set;
    wire          fc_queue;
    wire [31:0]   fc_head;
    wire [31:0]   fc_promised;
    wire [3:0]    fc_count;
    wire          fc_active;
    wire          wr_read;
    wire [SW-1:0] wr_set;
    wire          wr_on;
    wire [31:0]   wr_comp_tail;
    wire [31:0]   wr_recv_tail;
    wire [31:0]   wr_recv_head;
    wire [31:0]   wr_job_done;
    wire [31:0]   wr_send_done;
    wire [9:0]    wr_log2s;
    wire [19:0]   wr_comp_page;
    wire [19:0]   wr_recv_page;
    wire [19:0]   wr_stat_page;
    wire          wu_comp;
    wire          wu_recv;
    wire          wu_resolved;
    wire          wu_done;
    wire          wu_queue;
    wire [3:0]    wu_count;
    wire          wr_active;
    wire          ir_read;
    wire [SW-1:0] ir_set;
    wire          ir_on;
    wire [31:0]   ir_comp_pend;
    wire [31:0]   ir_recv_pend;
    wire [15:0]   ir_usecs;
    wire [7:0]    ir_count;
    wire          ir_active;
    wire [7:0]    regs_vf;
    wire          rings_busy;

    wire [31:0]   q_job_base;
    wire [31:0]   q_comp_base;
    wire [31:0]   q_send_base;
    wire [31:0]   q_recv_base;
    wire [31:0]   q_sizes;
    wire [31:0]   q_stat_base;
    wire [23:0]   q_moder;
    wire [31:0]   q_job_tail;
    wire [31:0]   q_send_tail;
    wire [31:0]   q_comp_head;
    wire [31:0]   q_recv_head;
    wire [31:0]   q_arm_last;
    wire [31:0]   q_job_done;
    wire [31:0]   q_send_done;
    wire [31:0]   q_comp_tail;
    wire [31:0]   q_recv_tail;
    wire          q_on;
    wire          q_drain;
    wire          q_init;
    wire          q_clear;
    wire          q_cleared;
    wire          q_off;
    wire          q_set_ring;
    wire          q_set_moder;
    wire          q_set_job;
    wire          q_set_send;
    wire          q_set_comp;
    wire          q_set_recv;
    wire          q_set_arm;
    wire          q_read;
    wire [SW-1:0] q_set;
    wire [5:0]    q_ofs;
    wire [31:0]   q_wdata;
    wire          regs_busy;

    nk_nqe_regs #(.NVF(NVF), .NQS(NQS)) u_regs (
        .clk(clk), .rst(rst),
        .qreg_valid(qreg_valid), .qreg_ready(qreg_ready), .qreg_vf(qreg_vf), .qreg_qs(qreg_qs),
        .qreg_db(qreg_db), .qreg_ofs(qreg_ofs), .qreg_write(qreg_write), .qreg_wdata(qreg_wdata),
        .qreg_rvalid(qreg_rvalid), .qreg_rdata(qreg_rdata), .qreg_err(qreg_err),
        .vf_enabled(vf_enabled), .vf_resetting(vf_resetting), .region_pages(region_pages),
        .q_read(q_read), .q_set(q_set), .q_job_base(q_job_base), .q_comp_base(q_comp_base),
        .q_send_base(q_send_base), .q_recv_base(q_recv_base), .q_sizes(q_sizes),
        .q_stat_base(q_stat_base), .q_moder(q_moder), .q_job_tail(q_job_tail),
        .q_send_tail(q_send_tail), .q_comp_head(q_comp_head), .q_recv_head(q_recv_head),
        .q_arm_last(q_arm_last), .q_job_done(q_job_done), .q_send_done(q_send_done),
        .q_comp_tail(q_comp_tail), .q_recv_tail(q_recv_tail), .q_on(q_on), .q_drain(q_drain),
        .q_init(q_init), .q_clear(q_clear), .q_cleared(q_cleared), .q_off(q_off),
        .q_set_ring(q_set_ring), .q_ofs(q_ofs), .q_set_moder(q_set_moder), .q_set_job(q_set_job),
        .q_set_send(q_set_send), .q_set_comp(q_set_comp), .q_set_recv(q_set_recv),
        .q_set_arm(q_set_arm), .q_wdata(q_wdata),
        .work_valid(work_valid), .work_set(work_set),
        .arm_valid(arm_valid), .arm_is_arm(arm_is_arm), .arm_is_clear(arm_is_clear), .arm_set(arm_set),
        .stat_doorbell_errors(stat_doorbell_errors),
        .vfc_valid(vfc_valid[0]), .vfc_ready(vfc_ready[0]), .vfc_vf(regs_vf), .busy(regs_busy)
    );

    nk_nqe_rings #(.NVF(NVF), .NQS(NQS), .RECV_NEED(8 + EV_SLACK), .DRAIN(DRAIN)) u_rings (
        .clk(clk), .rst(rst),
        .q_read(q_read), .q_set(q_set), .q_job_base(q_job_base), .q_comp_base(q_comp_base),
        .q_send_base(q_send_base), .q_recv_base(q_recv_base), .q_sizes(q_sizes),
        .q_stat_base(q_stat_base), .q_moder(q_moder), .q_job_tail(q_job_tail),
        .q_send_tail(q_send_tail), .q_comp_head(q_comp_head), .q_recv_head(q_recv_head),
        .q_arm_last(q_arm_last), .q_job_done(q_job_done), .q_send_done(q_send_done),
        .q_comp_tail(q_comp_tail), .q_recv_tail(q_recv_tail), .q_on(q_on), .q_drain(q_drain),
        .q_init(q_init), .q_clear(q_clear), .q_cleared(q_cleared), .q_off(q_off),
        .q_set_ring(q_set_ring), .q_ofs(q_ofs), .q_set_moder(q_set_moder), .q_set_job(q_set_job),
        .q_set_send(q_set_send), .q_set_comp(q_set_comp), .q_set_recv(q_set_recv),
        .q_set_arm(q_set_arm), .q_wdata(q_wdata),
        .stop_vf_valid(stop_vf_valid), .stop_vf(stop_vf), .stop_vf_done(stop_vf_done),
        .mon_offer(mon_wdat_valid), .mon_take(mon_wdat_ready),
        .on(on), .recv_room(recv_room),
        .sc_read(sc_read), .sc_set(sc_set), .sc_job_tail(sc_job_tail), .sc_job_head(sc_job_head),
        .sc_send_tail(sc_send_tail), .sc_send_head(sc_send_head), .sc_send_bar(sc_send_bar),
        .sc_comp_tail(sc_comp_tail), .sc_comp_head(sc_comp_head), .sc_promised(sc_promised),
        .sc_resolved(sc_resolved), .sc_log2s(sc_log2s), .sc_job_page(sc_job_page),
        .sc_send_page(sc_send_page),
        .fc_valid(fc_valid), .fc_set(fc_set), .fc_queue(fc_queue), .fc_head(fc_head),
        .fc_promised(fc_promised), .fc_count(fc_count), .fc_active(fc_active),
        .wr_read(wr_read), .wr_set(wr_set), .wr_on(wr_on), .wr_comp_tail(wr_comp_tail),
        .wr_recv_tail(wr_recv_tail), .wr_recv_head(wr_recv_head), .wr_job_done(wr_job_done),
        .wr_send_done(wr_send_done), .wr_log2s(wr_log2s), .wr_comp_page(wr_comp_page),
        .wr_recv_page(wr_recv_page), .wr_stat_page(wr_stat_page),
        .wu_comp(wu_comp), .wu_recv(wu_recv), .wu_resolved(wu_resolved), .wu_done(wu_done),
        .wu_queue(wu_queue), .wu_count(wu_count), .wr_active(wr_active),
        .ir_read(ir_read), .ir_set(ir_set), .ir_on(ir_on), .ir_comp_pend(ir_comp_pend),
        .ir_recv_pend(ir_recv_pend), .ir_usecs(ir_usecs), .ir_count(ir_count), .ir_active(ir_active),
        .busy(rings_busy)
    );

    // -------------------------------------------------------------------------------------- fetch

    wire          b_valid;
    wire          b_ready;
    wire [SW-1:0] b_set;
    wire          b_queue;
    wire [3:0]    b_count;
    wire [16:0]   b_index;
    wire [4:0]    b_log2;
    wire          credit;
    wire          again_valid;
    wire [SW-1:0] entry_set;
    wire          fetch_busy;

    nk_nqe_fetch #(.W(W), .NVF(NVF), .NQS(NQS), .CREDIT_LOG2(CREDIT_LOG2)) u_fetch (
        .clk(clk), .rst(rst), .region_base(region_base), .on(on),
        .work_valid(work_valid), .work_set(work_set), .again_valid(again_valid), .again_set(entry_set),
        .sc_read(sc_read), .sc_set(sc_set), .sc_job_tail(sc_job_tail), .sc_job_head(sc_job_head),
        .sc_send_tail(sc_send_tail), .sc_send_head(sc_send_head), .sc_send_bar(sc_send_bar),
        .sc_comp_tail(sc_comp_tail), .sc_comp_head(sc_comp_head), .sc_promised(sc_promised),
        .sc_resolved(sc_resolved), .sc_log2s(sc_log2s), .sc_job_page(sc_job_page),
        .sc_send_page(sc_send_page),
        .fc_valid(fc_valid), .fc_set(fc_set), .fc_queue(fc_queue), .fc_head(fc_head),
        .fc_promised(fc_promised), .fc_count(fc_count), .fc_active(fc_active), .credit(credit),
        .rd_valid(rd_valid), .rd_ready(rd_ready), .rd_func(rd_func), .rd_addr(rd_addr), .rd_len(rd_len),
        .rd_lane(rd_lane), .rd_wrap_len(rd_wrap_len), .rd_wrap_addr(rd_wrap_addr),
        .b_valid(b_valid), .b_ready(b_ready), .b_set(b_set), .b_queue(b_queue), .b_count(b_count),
        .b_index(b_index), .b_log2(b_log2), .busy(fetch_busy)
    );

    // NQE with its set, queue, expected phase, last of its batch, size of the batch.
    localparam NW = 256 + SW + 7;

    wire          u_valid;
    wire          u_ready;
    wire [NW-1:0] u_word;

    nk_nqe_unpack #(.W(W), .SW(SW)) u_unpack (
        .clk(clk), .rst(rst),
        .b_valid(b_valid), .b_ready(b_ready), .b_set(b_set), .b_queue(b_queue), .b_count(b_count),
        .b_index(b_index), .b_log2(b_log2),
        .rdat_valid(rdat_valid), .rdat_ready(rdat_ready), .rdat_data(rdat_data),
        .nq_valid(u_valid), .nq_ready(u_ready), .nq_data(u_word[255:0]), .nq_set(u_word[256 +: SW]),
        .nq_queue(u_word[NW-7]), .nq_phase(u_word[NW-6]), .nq_last(u_word[NW-5]),
        .nq_count(u_word[NW-1 -: 4])
    );

    wire                 n_valid;
    wire                 n_ready;
    wire [NW-1:0]        n_word;
    wire [CREDIT_LOG2:0] n_level_unused;

    nk_fifo #(.W(NW), .DEPTH_LOG2(CREDIT_LOG2)) u_nqes (
        .clk(clk), .rst(rst), .s_data(u_word), .s_valid(u_valid), .s_ready(u_ready),
        .m_data(n_word), .m_valid(n_valid), .m_ready(n_ready), .level(n_level_unused)
    );

    assign credit = n_valid && n_ready;

    // -------------------------------------------------------------------------------- tap and check

    wire          c_valid;
    wire          c_ready;
    wire          w_tr_valid;
    wire [7:0]    w_tr_vf;
    wire [7:0]    w_tr_qs;
    wire [1:0]    w_tr_queue;
    wire [255:0]  w_tr_nqe;
    wire [7:0]    tap_vf;
    wire [3:0]    tap_idx;
    wire [3:0]    tap_inc;

    nk_nqe_tap #(.NQS(NQS), .SW(SW)) u_tap (
        .clk(clk), .rst(rst),
        .s_valid(n_valid), .s_ready(n_ready), .m_valid(c_valid), .m_ready(c_ready),
        .nqe(n_word[255:0]), .set(n_word[256 +: SW]), .is_send(n_word[NW-7]), .last(n_word[NW-5]),
        .count(n_word[NW-1 -: 4]),
        .w_valid(w_tr_valid), .w_vf(w_tr_vf), .w_qs(w_tr_qs), .w_queue(w_tr_queue), .w_nqe(w_tr_nqe),
        .tr_valid(tr_valid), .tr_vf(tr_vf), .tr_qs(tr_qs), .tr_queue(tr_queue), .tr_nqe(tr_nqe),
        .stat_nqe_fetched(stat_nqe_fetched), .opc_valid(opc_valid), .opc(opc),
        .vfc_valid(vfc_valid[1]), .vfc_ready(vfc_ready[1]), .vfc_vf(tap_vf), .vfc_idx(tap_idx),
        .vfc_inc(tap_inc)
    );

    wire          ck_valid;
    wire          ck_ready;
    wire [255:0]  ck_data;
    wire [SW-1:0] ck_set;
    wire          ck_queue;
    wire          ck_last;
    wire [3:0]    ck_count;
    wire [7:0]    ck_status;
    wire [FW-1:0] ck_flow;
    wire [FW-1:0] ck_child;

    nk_nqe_check #(.NVF(NVF), .NQS(NQS), .FW(FW)) u_check (
        .clk(clk), .rst(rst),
        .region_pages(region_pages), .cfg_sock_base(cfg_sock_base), .cfg_sock_count(cfg_sock_count),
        .nq_valid(c_valid), .nq_ready(c_ready), .nq_data(n_word[255:0]), .nq_set(n_word[256 +: SW]),
        .nq_queue(n_word[NW-7]), .nq_phase(n_word[NW-6]), .nq_last(n_word[NW-5]),
        .nq_count(n_word[NW-1 -: 4]),
        .ck_valid(ck_valid), .ck_ready(ck_ready), .ck_data(ck_data), .ck_set(ck_set),
        .ck_queue(ck_queue), .ck_last(ck_last), .ck_count(ck_count), .ck_status(ck_status),
        .ck_flow(ck_flow), .ck_child(ck_child)
    );

    // ------------------------------------------------------------------------------ exec and write

    // Completion with its set, queue, needed, last of its batch, size of the batch.
    localparam RW = 256 + SW + 7;

    wire          x_valid;
    wire          x_ready;
    wire [RW-1:0] x_word;
    wire          r_valid;
    wire          r_ready;
    wire [RW-1:0] r_word;
    wire [2:0]    r_level_unused;
    wire [7:0]    exec_vf;

    nk_nqe_exec #(.NQS(NQS), .FW(FW), .SW(SW)) u_exec (
        .clk(clk), .rst(rst),
        .ck_valid(ck_valid), .ck_ready(ck_ready), .ck_data(ck_data), .ck_set(ck_set),
        .ck_queue(ck_queue), .ck_last(ck_last), .ck_count(ck_count), .ck_status(ck_status),
        .ck_flow(ck_flow), .ck_child(ck_child),
        .op_valid(op_valid), .op_ready(op_ready), .op_vf(op_vf), .op_qs(op_qs), .op_code(op_code),
        .op_flow(op_flow), .op_socket(op_socket), .op_child(op_child), .op_child_ok(op_child_ok),
        .op_data(op_data), .op_ptr(op_ptr), .op_size(op_size),
        .opr_valid(opr_valid), .opr_status(opr_status), .opr_data(opr_data), .opr_ptr(opr_ptr),
        .opr_size(opr_size),
        .rt_valid(x_valid), .rt_ready(x_ready), .rt_data(x_word[255:0]), .rt_set(x_word[256 +: SW]),
        .rt_queue(x_word[RW-7]), .rt_need(x_word[RW-6]), .rt_last(x_word[RW-5]),
        .rt_count(x_word[RW-1 -: 4]),
        .stat_nqe_errors(stat_nqe_errors),
        .vfc_valid(vfc_valid[2]), .vfc_ready(vfc_ready[2]), .vfc_vf(exec_vf)
    );

    nk_fifo #(.W(RW), .DEPTH_LOG2(2)) u_done (
        .clk(clk), .rst(rst), .s_data(x_word), .s_valid(x_valid), .s_ready(x_ready),
        .m_data(r_word), .m_valid(r_valid), .m_ready(r_ready), .level(r_level_unused)
    );

    wire       entry_valid;
    wire [7:0] writer_vf;
    wire [3:0] writer_idx;

    nk_nqe_writer #(.W(W), .NVF(NVF), .NQS(NQS)) u_writer (
        .clk(clk), .rst(rst), .region_base(region_base),
        .rt_valid(r_valid), .rt_ready(r_ready), .rt_data(r_word[255:0]), .rt_set(r_word[256 +: SW]),
        .rt_queue(r_word[RW-7]), .rt_need(r_word[RW-6]), .rt_last(r_word[RW-5]),
        .rt_count(r_word[RW-1 -: 4]),
        .ev_valid(ev_valid), .ev_ready(ev_ready), .ev_vf(ev_vf), .ev_qs(ev_qs), .ev_op(ev_op),
        .ev_socket(ev_socket), .ev_data(ev_data), .ev_size(ev_size), .ev_status(ev_status),
        .wr_read(wr_read), .wr_set(wr_set), .wr_on(wr_on), .wr_comp_tail(wr_comp_tail),
        .wr_recv_tail(wr_recv_tail), .wr_recv_head(wr_recv_head), .wr_job_done(wr_job_done),
        .wr_send_done(wr_send_done), .wr_log2s(wr_log2s), .wr_comp_page(wr_comp_page),
        .wr_recv_page(wr_recv_page), .wr_stat_page(wr_stat_page),
        .wu_comp(wu_comp), .wu_recv(wu_recv), .wu_resolved(wu_resolved), .wu_done(wu_done),
        .wu_queue(wu_queue), .wu_count(wu_count), .wr_active(wr_active),
        .again_valid(again_valid), .entry_valid(entry_valid), .entry_set(entry_set),
        .wq_valid(wr_valid), .wq_ready(wr_ready), .wq_func(wr_func), .wq_addr(wr_addr), .wq_len(wr_len),
        .wq_lane(wr_lane), .wq_wrap_len(wr_wrap_len), .wq_wrap_addr(wr_wrap_addr),
        .wd_valid(wd_valid), .wd_ready(wd_ready), .wd_data(wd_data), .wd_last(wd_last),
        .tr_valid(w_tr_valid), .tr_vf(w_tr_vf), .tr_qs(w_tr_qs), .tr_queue(w_tr_queue),
        .tr_nqe(w_tr_nqe),
        .stat_ev_lost(stat_ev_lost),
        .vfc_valid(vfc_valid[3]), .vfc_ready(vfc_ready[3]), .vfc_vf(writer_vf), .vfc_idx(writer_idx)
    );

    // ---------------------------------------------------------------------------------- interrupts

    wire [7:0] irq_vf;
    wire       irq_busy;

    nk_irq #(.NQS(NQS), .NR(NR), .DRAIN(DRAIN)) u_irq (
        .clk(clk), .rst(rst), .now_us(now_us),
        .arm_valid(arm_valid), .arm_is_arm(arm_is_arm), .arm_is_clear(arm_is_clear), .arm_set(arm_set),
        .entry_valid(entry_valid), .entry_set(entry_set),
        .ir_read(ir_read), .ir_set(ir_set), .ir_on(ir_on), .ir_comp_pend(ir_comp_pend),
        .ir_recv_pend(ir_recv_pend), .ir_usecs(ir_usecs), .ir_count(ir_count), .ir_active(ir_active),
        .mon_offer(mon_wdat_valid), .mon_take(mon_wdat_ready),
        .irq_valid(irq_valid), .irq_ready(irq_ready), .irq_func(irq_func), .irq_vector(irq_vector),
        .next_valid(next_valid), .next_us(next_us), .stat_irq_sent(stat_irq_sent),
        .vfc_valid(vfc_valid[4]), .vfc_ready(vfc_ready[4]), .vfc_vf(irq_vf), .busy(irq_busy)
    );

    // ------------------------------------------------------------------------- counters, activity

    assign vfc_addr = {irq_vf[VW-1:0], IDX_IRQS[3:0],
                       writer_vf[VW-1:0], writer_idx,
                       exec_vf[VW-1:0], IDX_NQE_ERRORS[3:0],
                       tap_vf[VW-1:0], tap_idx,
                       regs_vf[VW-1:0], IDX_DOORBELL_ERRORS[3:0]};
    assign vfc_inc  = {16'd1, 16'd1, 16'd1, 12'd0, tap_inc, 16'd1};

    wire vf_unused = |{irq_vf, writer_vf, exec_vf, tap_vf, regs_vf};

    // Batches between fetch and status block.
    reg [7:0] batches_reg;

    always @(posedge clk) begin
        if (fc_valid != wu_done)
            batches_reg <= fc_valid ? batches_reg + 8'd1 : batches_reg - 8'd1;
        if (rst)
            batches_reg <= 8'd0;
    end

    assign busy = qreg_valid || stop_vf_valid || ev_valid || regs_busy || rings_busy || fetch_busy || wr_active
               || irq_busy || (|vfc_valid) || batches_reg != 8'd0;

endmodule

`default_nettype wire
