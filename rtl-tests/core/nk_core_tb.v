// SPDX-License-Identifier: Apache-2.0
// nk_core with its handshake outputs gathered in one word: the test bench then reads one signal a clock instead of ten.
`default_nettype none
module nk_core_tb #(
    parameter W        = 512,
    parameter NVF      = 8,
    parameter NQS      = 2,
    parameter FLOWS    = 1024,
    parameter BUILD_ID = 32'h12345678,
    parameter LW       = $clog2(W/8)
) (
    input  wire             clk,
    input  wire             rst,
    input  wire [31:0]      now_us,
    // {next_us_valid, busy, tx_last, tx_valid, rx_ready, irq_valid, wdat_last, wdat_valid, wrreq_valid, rdat_ready,
    //  rdreq_valid, mmio_rvalid, mmio_ready}
    output wire [12:0]      status,
    output wire [31:0]      next_us,

    input  wire             mmio_valid,
    input  wire [7:0]       mmio_func,
    input  wire             mmio_write,
    input  wire [16:0]      mmio_addr,
    input  wire [31:0]      mmio_wdata,
    output wire [31:0]      mmio_rdata,

    input  wire             rdreq_ready,
    output wire [168+LW-1:0] rdreq,          // {wrap_addr, wrap_len, lane, len, addr, func}
    input  wire             rdat_valid,
    input  wire [W-1:0]     rdat_data,
    input  wire             rdat_last,

    input  wire             wrreq_ready,
    output wire [168+LW-1:0] wrreq,
    input  wire             wdat_ready,
    output wire [W-1:0]     wdat_data,

    input  wire             irq_ready,
    output wire [15:0]      irq,             // {vector, func}

    input  wire             rx_valid,
    input  wire [W-1:0]     rx_data,
    input  wire             rx_last,
    input  wire [LW:0]      rx_bytes,
    input  wire             tx_ready,
    output wire [W-1:0]     tx_data,
    output wire [LW:0]      tx_bytes
);
    wire        mmio_ready, mmio_rvalid, rdreq_valid, rdat_ready, wrreq_valid, wdat_valid, wdat_last;
    wire        irq_valid, rx_ready, tx_valid, tx_last, busy, next_us_valid;
    wire [7:0]  rdreq_func, wrreq_func, irq_func, irq_vector;
    wire [63:0] rdreq_addr, rdreq_wrap_addr, wrreq_addr, wrreq_wrap_addr;
    wire [15:0] rdreq_len, rdreq_wrap_len, wrreq_len, wrreq_wrap_len;
    wire [LW-1:0] rdreq_lane, wrreq_lane;

    assign status = {next_us_valid, busy, tx_last, tx_valid, rx_ready, irq_valid, wdat_last, wdat_valid, wrreq_valid,
                     rdat_ready, rdreq_valid, mmio_rvalid, mmio_ready};
    assign rdreq  = {rdreq_wrap_addr, rdreq_wrap_len, rdreq_lane, rdreq_len, rdreq_addr, rdreq_func};
    assign wrreq  = {wrreq_wrap_addr, wrreq_wrap_len, wrreq_lane, wrreq_len, wrreq_addr, wrreq_func};
    assign irq    = {irq_vector, irq_func};

    nk_core #(.W(W), .NVF(NVF), .NQS(NQS), .FLOWS(FLOWS), .BUILD_ID(BUILD_ID)) core (
        .clk(clk), .rst(rst), .now_us(now_us),
        .mmio_valid(mmio_valid), .mmio_ready(mmio_ready), .mmio_func(mmio_func), .mmio_write(mmio_write),
        .mmio_addr(mmio_addr), .mmio_wdata(mmio_wdata), .mmio_rvalid(mmio_rvalid), .mmio_rdata(mmio_rdata),
        .rdreq_valid(rdreq_valid), .rdreq_ready(rdreq_ready), .rdreq_func(rdreq_func), .rdreq_addr(rdreq_addr),
        .rdreq_len(rdreq_len), .rdreq_lane(rdreq_lane), .rdreq_wrap_len(rdreq_wrap_len),
        .rdreq_wrap_addr(rdreq_wrap_addr),
        .rdat_valid(rdat_valid), .rdat_ready(rdat_ready), .rdat_data(rdat_data), .rdat_last(rdat_last),
        .wrreq_valid(wrreq_valid), .wrreq_ready(wrreq_ready), .wrreq_func(wrreq_func), .wrreq_addr(wrreq_addr),
        .wrreq_len(wrreq_len), .wrreq_lane(wrreq_lane), .wrreq_wrap_len(wrreq_wrap_len),
        .wrreq_wrap_addr(wrreq_wrap_addr),
        .wdat_valid(wdat_valid), .wdat_ready(wdat_ready), .wdat_data(wdat_data), .wdat_last(wdat_last),
        .irq_valid(irq_valid), .irq_ready(irq_ready), .irq_func(irq_func), .irq_vector(irq_vector),
        .busy(busy), .next_us_valid(next_us_valid), .next_us(next_us),
        .rx_valid(rx_valid), .rx_ready(rx_ready), .rx_data(rx_data), .rx_last(rx_last), .rx_bytes(rx_bytes),
        .tx_valid(tx_valid), .tx_ready(tx_ready), .tx_data(tx_data), .tx_last(tx_last), .tx_bytes(tx_bytes)
    );
endmodule
`default_nettype wire
