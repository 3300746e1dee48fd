// SPDX-License-Identifier: Apache-2.0
// Purpose: test bench top: nk_regs and nk_nqe with the DMA arbiters and counters around them, as nk_core wires them.

`default_nettype none
`include "nk_abi.vh"

module nqe_system #(
    parameter W = 64,
    parameter NVF = 2,
    parameter NQS = 1,
    parameter FLOWS = 64,
    parameter LW = $clog2(W / 8),
    parameter FW = $clog2(FLOWS),
    parameter VW = (NVF > 1) ? $clog2(NVF) : 1
) (
    input  wire               clk,
    input  wire               rst,
    input  wire [31:0]        now_us,

    input  wire               mmio_valid,
    output wire               mmio_ready,
    input  wire [7:0]         mmio_func,
    input  wire               mmio_write,
    input  wire [16:0]        mmio_addr,
    input  wire [31:0]        mmio_wdata,
    output wire               mmio_rvalid,
    output wire [31:0]        mmio_rdata,

    output wire               rdreq_valid,
    input  wire               rdreq_ready,
    output wire [7:0]         rdreq_func,
    output wire [63:0]        rdreq_addr,
    output wire [15:0]        rdreq_len,
    output wire [LW-1:0]      rdreq_lane,
    output wire [15:0]        rdreq_wrap_len,
    output wire [63:0]        rdreq_wrap_addr,
    input  wire               rdat_valid,
    output wire               rdat_ready,
    input  wire [W-1:0]       rdat_data,
    input  wire               rdat_last,

    output wire               wrreq_valid,
    input  wire               wrreq_ready,
    output wire [7:0]         wrreq_func,
    output wire [63:0]        wrreq_addr,
    output wire [15:0]        wrreq_len,
    output wire [LW-1:0]      wrreq_lane,
    output wire [15:0]        wrreq_wrap_len,
    output wire [63:0]        wrreq_wrap_addr,
    output wire               wdat_valid,
    input  wire               wdat_ready,
    output wire [W-1:0]       wdat_data,
    output wire               wdat_last,

    output wire               irq_valid,
    input  wire               irq_ready,
    output wire [7:0]         irq_func,
    output wire [7:0]         irq_vector,

    // Another client of the DMA write arbiter: payload.
    input  wire               pay_valid,
    output wire               pay_ready,
    input  wire [7:0]         pay_func,
    input  wire [63:0]        pay_addr,
    input  wire [15:0]        pay_len,
    input  wire               payd_valid,
    output wire               payd_ready,
    input  wire [W-1:0]       payd_data,
    input  wire               payd_last,

    output wire               op_valid,
    input  wire               op_ready,
    output wire [7:0]         op_vf,
    output wire [7:0]         op_qs,
    output wire [7:0]         op_code,
    output wire [FW-1:0]      op_flow,
    output wire [15:0]        op_socket,
    output wire [FW-1:0]      op_child,
    output wire               op_child_ok,
    output wire [63:0]        op_data,
    output wire [63:0]        op_ptr,
    output wire [31:0]        op_size,
    input  wire               opr_valid,
    input  wire [7:0]         opr_status,
    input  wire [63:0]        opr_data,
    input  wire [63:0]        opr_ptr,
    input  wire [31:0]        opr_size,

    input  wire               ev_valid,
    output wire               ev_ready,
    input  wire [7:0]         ev_vf,
    input  wire [7:0]         ev_qs,
    input  wire [7:0]         ev_op,
    input  wire [15:0]        ev_socket,
    input  wire [63:0]        ev_data,
    input  wire [31:0]        ev_size,
    input  wire [7:0]         ev_status,
    output wire [NVF*NQS-1:0] recv_room,

    output wire               flush_valid,
    input  wire               flush_ready,
    output wire [7:0]         flush_vf,
    input  wire               flush_done,

    output wire               tr_valid,
    output wire [7:0]         tr_vf,
    output wire [7:0]         tr_qs,
    output wire [1:0]         tr_queue,
    output wire [255:0]       tr_nqe,

    output wire [NVF-1:0]     cfg_en,
    output wire               stat_ev_lost,
    output wire               busy,
    output wire               next_valid,
    output wire [31:0]        next_us
);

    wire [NVF*32-1:0]   cfg_sock_base;
    wire [NVF*32-1:0]   cfg_sock_count;
    wire [NVF-1:0]      vf_enabled;
    wire [NVF-1:0]      vf_resetting;
    wire [NVF*64-1:0]   region_base;
    wire [NVF*32-1:0]   region_pages;
    wire [5:0]          gs_raddr;
    wire [63:0]         gs_rdata;
    wire [5:0]          os_raddr;
    wire [63:0]         os_rdata;
    wire                vs_req;
    wire [VW+4:0]       vs_addr;
    wire                vs_valid;
    wire [63:0]         vs_data;
    wire                db_valid;
    wire                db_ready;
    wire [7:0]          db_vf;
    wire [7:0]          db_qs;
    wire [5:0]          db_ofs;
    wire [31:0]         db_wdata;
    wire                rreg_valid;
    wire                rreg_ready;
    wire [7:0]          rreg_vf;
    wire [7:0]          rreg_qs;
    wire                rreg_db;
    wire [5:0]          rreg_ofs;
    wire                rreg_write;
    wire [31:0]         rreg_wdata;
    wire                rreg_rvalid;
    wire                db_busy;
    wire                qreg_valid;
    wire                qreg_ready;
    wire [7:0]          qreg_vf;
    wire [7:0]          qreg_qs;
    wire                qreg_db;
    wire [5:0]          qreg_ofs;
    wire                qreg_write;
    wire [31:0]         qreg_wdata;
    wire                qreg_rvalid;
    wire [31:0]         qreg_rdata;
    wire                qreg_err;
    wire                stop_vf_valid;
    wire [7:0]          stop_vf;
    wire                stop_vf_done;
    wire                stat_mmio_errors;
    wire                stat_nqe_fetched;
    wire                stat_nqe_errors;
    wire                stat_doorbell_errors;
    wire                stat_irq_sent;
    wire                opc_valid;
    wire [5:0]          opc;
    wire [4:0]          vfc_valid;
    wire [4:0]          vfc_ready;
    wire [5*(VW+4)-1:0] vfc_addr;
    wire [79:0]         vfc_inc;
    wire                regs_busy;
    wire                nqe_busy;
    wire                ram_busy;
    wire                rd_busy;
    wire                wr_busy;

    assign busy = regs_busy || db_busy || nqe_busy || ram_busy || rd_busy || wr_busy;

    nk_regs #(.W(W), .NVF(NVF), .NQS(NQS), .FLOWS(FLOWS), .BUILD_ID(32'h12345678)) u_regs (
        .clk(clk), .rst(rst),
        .mmio_valid(mmio_valid), .mmio_ready(mmio_ready), .mmio_func(mmio_func), .mmio_write(mmio_write),
        .mmio_addr(mmio_addr), .mmio_wdata(mmio_wdata), .mmio_rvalid(mmio_rvalid), .mmio_rdata(mmio_rdata),
        .p_rto_min(), .p_rto_init(), .p_rto_max(), .p_time_wait(), .p_delayed_ack(), .p_neigh_retry(),
        .p_retries_data(), .p_retries_syn(), .p_retries_neigh(), .p_fin_wait2(), .p_initial_cwnd(),
        .hash_key(),
        .cfg_en(cfg_en), .cfg_mac(), .cfg_ip(), .cfg_mask(), .cfg_gw(), .cfg_mtu(),
        .cfg_sock_base(cfg_sock_base), .cfg_sock_count(cfg_sock_count),
        .vf_enabled(vf_enabled), .vf_resetting(vf_resetting), .region_base(region_base),
        .region_pages(region_pages),
        .flows_in_use(32'd0), .hash_in_use(32'd0), .now_us(now_us), .vf_sockets({NVF{16'd0}}),
        .nb_index(), .nb_ip(32'd0), .nb_mac(48'd0), .nb_valid(1'b0),
        .gs_raddr(gs_raddr), .gs_rdata(gs_rdata), .os_raddr(os_raddr), .os_rdata(os_rdata),
        .vs_req(vs_req), .vs_addr(vs_addr), .vs_valid(vs_valid), .vs_data(vs_data),
        .qc_req(), .qc_vf(), .qc_qs(), .qc_index(), .qc_valid(1'b0), .qc_data(64'd0),
        .db_valid(db_valid), .db_ready(db_ready), .db_vf(db_vf), .db_qs(db_qs), .db_ofs(db_ofs), .db_wdata(db_wdata),
        .qreg_valid(rreg_valid), .qreg_ready(rreg_ready), .qreg_vf(rreg_vf), .qreg_qs(rreg_qs),
        .qreg_db(rreg_db), .qreg_ofs(rreg_ofs), .qreg_write(rreg_write), .qreg_wdata(rreg_wdata),
        .qreg_rvalid(rreg_rvalid), .qreg_rdata(qreg_rdata), .qreg_err(qreg_err),
        .stop_vf_valid(stop_vf_valid), .stop_vf(stop_vf), .stop_vf_done(stop_vf_done),
        .flush_valid(flush_valid), .flush_ready(flush_ready), .flush_vf(flush_vf), .flush_done(flush_done),
        .stat_mmio_errors(stat_mmio_errors), .busy(regs_busy)
    );

    nk_db_qreg u_db (
        .clk(clk), .rst(rst),
        .db_valid(db_valid), .db_ready(db_ready), .db_vf(db_vf), .db_qs(db_qs), .db_ofs(db_ofs), .db_wdata(db_wdata),
        .s_valid(rreg_valid), .s_ready(rreg_ready), .s_vf(rreg_vf), .s_qs(rreg_qs), .s_db(rreg_db), .s_ofs(rreg_ofs),
        .s_write(rreg_write), .s_wdata(rreg_wdata), .s_rvalid(rreg_rvalid),
        .m_valid(qreg_valid), .m_ready(qreg_ready), .m_vf(qreg_vf), .m_qs(qreg_qs), .m_db(qreg_db), .m_ofs(qreg_ofs),
        .m_write(qreg_write), .m_wdata(qreg_wdata), .m_rvalid(qreg_rvalid), .busy(db_busy)
    );

    wire          rd_valid;
    wire          rd_ready;
    wire [7:0]    rd_func;
    wire [63:0]   rd_addr;
    wire [15:0]   rd_len;
    wire [LW-1:0] rd_lane;
    wire [15:0]   rd_wrap_len;
    wire [63:0]   rd_wrap_addr;
    wire          nd_valid;
    wire          nd_ready;
    wire [W-1:0]  nd_data;
    wire          wr_valid;
    wire          wr_ready;
    wire [7:0]    wr_func;
    wire [63:0]   wr_addr;
    wire [15:0]   wr_len;
    wire [LW-1:0] wr_lane;
    wire [15:0]   wr_wrap_len;
    wire [63:0]   wr_wrap_addr;
    wire          wd_valid;
    wire          wd_ready;
    wire [W-1:0]  wd_data;
    wire          wd_last;

    nk_nqe #(.W(W), .NVF(NVF), .NQS(NQS), .FLOWS(FLOWS)) u_nqe (
        .clk(clk), .rst(rst), .now_us(now_us),
        .vf_enabled(vf_enabled), .vf_resetting(vf_resetting), .region_base(region_base),
        .region_pages(region_pages), .cfg_sock_base(cfg_sock_base), .cfg_sock_count(cfg_sock_count),
        .qreg_valid(qreg_valid), .qreg_ready(qreg_ready), .qreg_vf(qreg_vf), .qreg_qs(qreg_qs),
        .qreg_db(qreg_db), .qreg_ofs(qreg_ofs), .qreg_write(qreg_write), .qreg_wdata(qreg_wdata),
        .qreg_rvalid(qreg_rvalid), .qreg_rdata(qreg_rdata), .qreg_err(qreg_err),
        .stop_vf_valid(stop_vf_valid), .stop_vf(stop_vf), .stop_vf_done(stop_vf_done),
        .op_valid(op_valid), .op_ready(op_ready), .op_vf(op_vf), .op_qs(op_qs), .op_code(op_code),
        .op_flow(op_flow), .op_socket(op_socket), .op_child(op_child), .op_child_ok(op_child_ok),
        .op_data(op_data), .op_ptr(op_ptr), .op_size(op_size),
        .opr_valid(opr_valid), .opr_status(opr_status), .opr_data(opr_data), .opr_ptr(opr_ptr),
        .opr_size(opr_size),
        .ev_valid(ev_valid), .ev_ready(ev_ready), .ev_vf(ev_vf), .ev_qs(ev_qs), .ev_op(ev_op),
        .ev_socket(ev_socket), .ev_data(ev_data), .ev_size(ev_size), .ev_status(ev_status),
        .recv_room(recv_room),
        .rd_valid(rd_valid), .rd_ready(rd_ready), .rd_func(rd_func), .rd_addr(rd_addr), .rd_len(rd_len),
        .rd_lane(rd_lane), .rd_wrap_len(rd_wrap_len), .rd_wrap_addr(rd_wrap_addr),
        .rdat_valid(nd_valid), .rdat_ready(nd_ready), .rdat_data(nd_data),
        .wr_valid(wr_valid), .wr_ready(wr_ready), .wr_func(wr_func), .wr_addr(wr_addr), .wr_len(wr_len),
        .wr_lane(wr_lane), .wr_wrap_len(wr_wrap_len), .wr_wrap_addr(wr_wrap_addr),
        .wd_valid(wd_valid), .wd_ready(wd_ready), .wd_data(wd_data), .wd_last(wd_last),
        .mon_wdat_valid(wdat_valid), .mon_wdat_ready(wdat_ready),
        .irq_valid(irq_valid), .irq_ready(irq_ready), .irq_func(irq_func), .irq_vector(irq_vector),
        .tr_valid(tr_valid), .tr_vf(tr_vf), .tr_qs(tr_qs), .tr_queue(tr_queue), .tr_nqe(tr_nqe),
        .stat_nqe_fetched(stat_nqe_fetched), .stat_nqe_errors(stat_nqe_errors),
        .stat_doorbell_errors(stat_doorbell_errors), .stat_irq_sent(stat_irq_sent),
        .stat_ev_lost(stat_ev_lost), .opc_valid(opc_valid), .opc(opc),
        .vfc_valid(vfc_valid), .vfc_ready(vfc_ready), .vfc_addr(vfc_addr), .vfc_inc(vfc_inc),
        .busy(nqe_busy), .next_valid(next_valid), .next_us(next_us)
    );

    nk_dma_rd_arb #(.W(W), .N(1)) u_rd (
        .clk(clk), .rst(rst),
        .s_valid(rd_valid), .s_ready(rd_ready), .s_func(rd_func), .s_addr(rd_addr), .s_len(rd_len),
        .s_lane(rd_lane), .s_wrap_len(rd_wrap_len), .s_wrap_addr(rd_wrap_addr),
        .d_valid(nd_valid), .d_ready(nd_ready), .d_data(nd_data), .d_last(),
        .rdreq_valid(rdreq_valid), .rdreq_ready(rdreq_ready), .rdreq_func(rdreq_func),
        .rdreq_addr(rdreq_addr), .rdreq_len(rdreq_len), .rdreq_lane(rdreq_lane),
        .rdreq_wrap_len(rdreq_wrap_len), .rdreq_wrap_addr(rdreq_wrap_addr),
        .rdat_valid(rdat_valid), .rdat_ready(rdat_ready), .rdat_data(rdat_data), .rdat_last(rdat_last),
        .busy(rd_busy)
    );

    nk_dma_wr_arb #(.W(W), .N(2)) u_wr (
        .clk(clk), .rst(rst),
        .s_valid({pay_valid, wr_valid}), .s_ready({pay_ready, wr_ready}), .s_func({pay_func, wr_func}),
        .s_addr({pay_addr, wr_addr}), .s_len({pay_len, wr_len}), .s_lane({{LW{1'b0}}, wr_lane}),
        .s_wrap_len({16'hffff, wr_wrap_len}), .s_wrap_addr({64'd0, wr_wrap_addr}),
        .sd_valid({payd_valid, wd_valid}), .sd_ready({payd_ready, wd_ready}),
        .sd_data({payd_data, wd_data}), .sd_last({payd_last, wd_last}),
        .wrreq_valid(wrreq_valid), .wrreq_ready(wrreq_ready), .wrreq_func(wrreq_func),
        .wrreq_addr(wrreq_addr), .wrreq_len(wrreq_len), .wrreq_lane(wrreq_lane),
        .wrreq_wrap_len(wrreq_wrap_len), .wrreq_wrap_addr(wrreq_wrap_addr),
        .wdat_valid(wdat_valid), .wdat_ready(wdat_ready), .wdat_data(wdat_data), .wdat_last(wdat_last),
        .busy(wr_busy)
    );

    reg [`NK_CNT_COUNT*16-1:0] inc;

    always @* begin
        inc = {`NK_CNT_COUNT*16{1'b0}};
        inc[16*`NK_CNT_NQE_FETCHED]     = stat_nqe_fetched;
        inc[16*`NK_CNT_NQE_ERRORS]      = stat_nqe_errors;
        inc[16*`NK_CNT_DOORBELL_ERRORS] = stat_doorbell_errors;
        inc[16*`NK_CNT_IRQ_SENT]        = stat_irq_sent;
        inc[16*`NK_CNT_MMIO_ERRORS]     = stat_mmio_errors;
    end

    nk_stat_counters #(.N(`NK_CNT_COUNT)) u_global (
        .clk(clk), .rst(rst), .inc(inc), .raddr(gs_raddr), .rdata(gs_rdata)
    );

    nk_opcode_counters u_ops (
        .clk(clk), .rst(rst), .opc_valid(opc_valid), .opc(opc), .raddr(os_raddr), .rdata(os_rdata)
    );

    // The queue manager's addresses are {vf, index[3:0]}.
    wire [5*(VW+5)-1:0] vfc_addr5;
    genvar c;
    generate
        for (c = 0; c < 5; c = c + 1) begin : g_vfc
            assign vfc_addr5[(VW+5)*c +: VW + 5] = {vfc_addr[(VW+4)*c + 4 +: VW], 1'b0, vfc_addr[(VW+4)*c +: 4]};
        end
    endgenerate
    nk_stat_ram #(.AW(VW + 5), .NSRC(5)) u_vf (
        .clk(clk), .rst(rst), .s_valid(vfc_valid), .s_ready(vfc_ready), .s_addr(vfc_addr5), .s_inc(vfc_inc),
        .r_req(vs_req), .r_addr(vs_addr), .r_valid(vs_valid), .r_data(vs_data), .ready(), .busy(ram_busy)
    );

endmodule

`default_nettype wire
