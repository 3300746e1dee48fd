// SPDX-License-Identifier: Apache-2.0
// nk_core for benchmarks: handshakes gathered in one word, and counters of what passes and what waits at each block's edge.
`default_nettype none
module nk_perf_tb #(
    parameter W        = 512,
    parameter NVF      = 4,
    parameter NQS      = 1,
    parameter FLOWS    = 1024,
    parameter MSS_MIN  = 1,
    parameter BUILD_ID = 32'h12345678,
    parameter LW       = $clog2(W/8),
    parameter N        = 56
) (
    input  wire             clk,
    input  wire             rst,
    input  wire [31:0]      now_us,
    // {tx_first, busy, tx_last, tx beat taken, rx_ready, irq_valid, wdat_last, wdat_valid, wrreq_valid, rdat_ready,
    //  rdreq_valid, mmio_rvalid, mmio_ready}
    output wire [12:0]      status,

    input  wire             mmio_valid,
    input  wire [7:0]       mmio_func,
    input  wire             mmio_write,
    input  wire [16:0]      mmio_addr,
    input  wire [31:0]      mmio_wdata,
    output wire [31:0]      mmio_rdata,

    output wire [87:0]      rdreq,           // {len, addr, func}
    output wire [95:0]      rdreq_more,      // {wrap_addr, wrap_len, lane}
    input  wire             rdat_valid,
    input  wire [W-1:0]     rdat_data,
    input  wire             rdat_last,

    output wire [87:0]      wrreq,
    output wire [7:0]       wrreq_lane,
    output wire [W-1:0]     wdat_data,

    input  wire             rx_valid,
    input  wire [W-1:0]     rx_data,
    input  wire             rx_last,
    input  wire [LW:0]      rx_bytes,
    input  wire             tx_ready,
    output wire [W-1:0]     tx_data,
    output wire [LW:0]      tx_bytes,

    input  wire             count,           // probes count
    output reg  [32*N-1:0]  probes
);
    wire        mmio_ready, mmio_rvalid, rdreq_valid, rdat_ready, wrreq_valid, wdat_valid, wdat_last;
    wire        irq_valid, rx_ready, tx_valid, tx_last, busy, next_us_valid;
    wire [31:0] next_us;
    wire [7:0]  rdreq_func, wrreq_func, irq_func, irq_vector;
    wire [63:0] rdreq_addr, rdreq_wrap_addr, wrreq_addr, wrreq_wrap_addr;
    wire [15:0] rdreq_len, rdreq_wrap_len, wrreq_len, wrreq_wrap_len;
    wire [LW-1:0] rdreq_lane, wrreq_lane_w;
    reg         tx_first_reg;
    wire        tx_go = tx_valid && tx_ready;

    assign status = {tx_first_reg, busy, tx_last, tx_go, rx_ready, irq_valid, wdat_last, wdat_valid, wrreq_valid,
                     rdat_ready, rdreq_valid, mmio_rvalid, mmio_ready};
    assign rdreq  = {rdreq_len, rdreq_addr, rdreq_func};
    assign rdreq_more = {rdreq_wrap_addr, rdreq_wrap_len, {(16 - LW){1'b0}}, rdreq_lane};
    assign wrreq  = {wrreq_len, wrreq_addr, wrreq_func};
    assign wrreq_lane = {{(8 - LW){1'b0}}, wrreq_lane_w};

    // The host is ideal: it takes whatever comes in the clock in which it comes.
    nk_core #(.W(W), .NVF(NVF), .NQS(NQS), .FLOWS(FLOWS), .BUILD_ID(BUILD_ID), .MSS_MIN(MSS_MIN)) core (
        .clk(clk), .rst(rst), .now_us(now_us),
        .mmio_valid(mmio_valid), .mmio_ready(mmio_ready), .mmio_func(mmio_func), .mmio_write(mmio_write),
        .mmio_addr(mmio_addr), .mmio_wdata(mmio_wdata), .mmio_rvalid(mmio_rvalid), .mmio_rdata(mmio_rdata),
        .rdreq_valid(rdreq_valid), .rdreq_ready(1'b1), .rdreq_func(rdreq_func), .rdreq_addr(rdreq_addr),
        .rdreq_len(rdreq_len), .rdreq_lane(rdreq_lane), .rdreq_wrap_len(rdreq_wrap_len),
        .rdreq_wrap_addr(rdreq_wrap_addr),
        .rdat_valid(rdat_valid), .rdat_ready(rdat_ready), .rdat_data(rdat_data), .rdat_last(rdat_last),
        .wrreq_valid(wrreq_valid), .wrreq_ready(1'b1), .wrreq_func(wrreq_func), .wrreq_addr(wrreq_addr),
        .wrreq_len(wrreq_len), .wrreq_lane(wrreq_lane_w), .wrreq_wrap_len(wrreq_wrap_len),
        .wrreq_wrap_addr(wrreq_wrap_addr),
        .wdat_valid(wdat_valid), .wdat_ready(1'b1), .wdat_data(wdat_data), .wdat_last(wdat_last),
        .irq_valid(irq_valid), .irq_ready(1'b1), .irq_func(irq_func), .irq_vector(irq_vector),
        .busy(busy), .next_us_valid(next_us_valid), .next_us(next_us),
        .rx_valid(rx_valid), .rx_ready(rx_ready), .rx_data(rx_data), .rx_last(rx_last), .rx_bytes(rx_bytes),
        .tx_valid(tx_valid), .tx_ready(tx_ready), .tx_data(tx_data), .tx_last(tx_last), .tx_bytes(tx_bytes)
    );

    always @(posedge clk) begin
        if (tx_go) tx_first_reg <= tx_last;
        if (rst)   tx_first_reg <= 1'b1;
    end

    // ---- probes: traffic.py names them in this order ---------------------------------------------------
    wire [7:0]   pick = core.tcp.go ? 8'd1 << core.tcp.pick : 8'd0;
    wire [N-1:0] now = {
        core.tcp.start && core.tcp.spare,                           // 55 pass_spare
        12'd1 << core.tcp.open_i.st_reg,                           // 43..54 open_* by state
        core.nqe.op_valid && core.nqe.op_ready,                    // 42 op
        core.nqe.op_valid && !core.nqe.op_ready,                   // 41 op_wait
        core.nq_wr_valid && !core.nq_wr_ready,                     // 40 nqe_wr_wait
        core.nq_wr_valid && core.nq_wr_ready,                      // 39 nqe_wr
        core.pl_wd_valid && !core.pl_wd_ready,                     // 38 place_beat_wait
        core.pl_wr_valid && !core.pl_wr_ready,                     // 37 place_wr_wait
        core.pl_wr_valid && core.pl_wr_ready,                      // 36 place_wr
        core.ev_valid && !core.ev_ready,                           // 35 event_wait
        core.ev_valid && core.ev_ready,                            // 34 event
        core.pay_valid && !core.pay_ready,                         // 33 payload_wait
        core.pay_valid && core.pay_ready,                          // 32 payload_beat
        core.tcp.wb_tmr_set,                                       // 31 timer_set
        core.tcp.ntq_valid && !core.tcp.ev_room,                   // 30 ntq_no_room
        core.tcp.txq_valid,                                        // 29 txq_waits
        core.tcp.req == 8'd0,                                      // 28 nobody
        !core.tcp.room && !core.tcp.open_room,                     // 27 no_room_open
        !core.tcp.tx_room,                                         // 26 no_room_txd
        core.tcp.act_level > core.tcp.ACT_ROOM,                    // 25 no_room_act
        !core.tcp.room,                                            // 24 no_room
        core.tcp.f_valid && !core.tcp.f_ready,                     // 23 front_wait
        core.tcp.f_valid && core.tcp.f_ready,                      // 22 front
        core.seg_valid && !core.seg_ready,                         // 21 seg_wait
        core.seg_valid && core.seg_ready,                          // 20 seg
        pick,                                                      // 12..19 rx op open tmr flush ptb ntf tx
        core.txd_valid && !core.txd_ready,                         // 11 txd_wait
        core.txd_valid && core.txd_ready,                          // 10 txd
        wdat_valid,                                                // 9 wdat
        wrreq_valid,                                               // 8 wrreq
        rdat_valid && !rdat_ready,                                 // 7 rdat_wait
        rdat_valid && rdat_ready,                                  // 6 rdat
        rdreq_valid,                                               // 5 rdreq
        tx_go && tx_last,                                          // 4 tx_frame
        tx_go,                                                     // 3 tx_beat
        rx_valid && rx_ready && rx_last,                           // 2 rx_frame
        rx_valid && !rx_ready,                                     // 1 rx_wait
        rx_valid && rx_ready                                       // 0 rx_beat
    };
    integer i;
    always @(posedge clk) begin
        if (count)
            for (i = 0; i < N; i = i + 1)
                probes[32*i +: 32] <= probes[32*i +: 32] + {31'd0, now[i]};
        if (rst) probes <= {(32*N){1'b0}};
    end
endmodule
`default_nettype wire
