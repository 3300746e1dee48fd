// SPDX-License-Identifier: Apache-2.0
// Purpose: the one place that all NQEs pass on their way in: counts them and shows them, and what the writer wrote, on
// the trace port.
//
// The trace port shows one NQE a clock; the writer goes first, an NQE on its way in waits a clock.

`default_nettype none
`include "nk_abi.vh"

module nk_nqe_tap #(
    // Queue sets a VF, 1, 2, 4 or 8.
    parameter NQS = 1,
    // Width of a set number, 1 to 9.
    parameter SW = 3
) (
    // Clock and reset (synchronous, active high).
    input  wire          clk,
    input  wire          rst,

    // NQEs in and out: only the handshake passes here, the data go beside.
    input  wire          s_valid,
    output wire          s_ready,
    output wire          m_valid,
    input  wire          m_ready,
    input  wire [255:0]  nqe,
    input  wire [SW-1:0] set,
    input  wire          is_send,
    input  wire          last,
    input  wire [3:0]    count,

    // What the writer wrote.
    input  wire          w_valid,
    input  wire [7:0]    w_vf,
    input  wire [7:0]    w_qs,
    input  wire [1:0]    w_queue,
    input  wire [255:0]  w_nqe,

    // Trace: every NQE read from a job or send ring, and every one written.
    output wire          tr_valid,
    output wire [7:0]    tr_vf,
    output wire [7:0]    tr_qs,
    output wire [1:0]    tr_queue,
    output wire [255:0]  tr_nqe,

    // Pulses: NQE read; opcode of an NQE read or an event written (completions carry a job's opcode again).
    output wire          stat_nqe_fetched,
    output wire          opc_valid,
    output wire [5:0]    opc,
    // VF counter source: NQEs of a batch.
    output wire          vfc_valid,
    input  wire          vfc_ready,
    output wire [7:0]    vfc_vf,
    output wire [3:0]    vfc_idx,
    output wire [3:0]    vfc_inc
);

    localparam QSW = $clog2(NQS);
    localparam [31:0] IDX_JOB   = `NK_VFCNT_JOB_NQES;
    localparam [31:0] IDX_SEND  = `NK_VFCNT_SEND_NQES;
    localparam [31:0] Q_JOB     = `NK_QUEUE_JOB;
    localparam [31:0] Q_SEND    = `NK_QUEUE_SEND;
    localparam [31:0] Q_RECEIVE = `NK_QUEUE_RECEIVE;

    initial begin
        if (SW < 1 || SW > 9) begin
            $display("%m: SW = %0d, must be 1 to 9", SW);
            $finish;
        end
    end

    function [7:0] vf_of;
        input [SW-1:0] s;
        reg [SW+7:0] full_unused;
        begin
            full_unused = {8'd0, s} >> QSW;
            vf_of = full_unused[7:0];
        end
    endfunction

    function [7:0] qs_of;
        input [SW-1:0] s;
        reg [SW+7:0] full_unused;
        begin
            full_unused = {8'd0, s};
            qs_of = full_unused[7:0] & (NQS[7:0] - 8'd1);
        end
    endfunction

    reg       vfc_valid_reg;
    reg [7:0] vfc_vf_reg;
    reg [3:0] vfc_idx_reg;
    reg [3:0] vfc_inc_reg;

    wire pass = !w_valid && !vfc_valid_reg;
    wire go   = s_valid && m_ready && pass;

    assign m_valid = s_valid && pass;
    assign s_ready = m_ready && pass;

    assign tr_valid = w_valid || go;
    assign tr_vf    = w_valid ? w_vf : vf_of(set);
    assign tr_qs    = w_valid ? w_qs : qs_of(set);
    assign tr_queue = w_valid ? w_queue : is_send ? Q_SEND[1:0] : Q_JOB[1:0];
    assign tr_nqe   = w_valid ? w_nqe : nqe;

    assign stat_nqe_fetched = go;
    assign opc_valid        = (go || (w_valid && w_queue == Q_RECEIVE[1:0])) && tr_nqe[7:6] == 2'd0;
    assign opc              = tr_nqe[5:0];

    assign vfc_valid = vfc_valid_reg;
    assign vfc_vf    = vfc_vf_reg;
    assign vfc_idx   = vfc_idx_reg;
    assign vfc_inc   = vfc_inc_reg;

    always @(posedge clk) begin
        if (vfc_ready)
            vfc_valid_reg <= 1'b0;
        if (go && last) begin
            vfc_valid_reg <= 1'b1;
            vfc_vf_reg    <= vf_of(set);
            vfc_idx_reg   <= is_send ? IDX_SEND[3:0] : IDX_JOB[3:0];
            vfc_inc_reg   <= count;
        end
        if (rst)
            vfc_valid_reg <= 1'b0;
    end

endmodule

`default_nettype wire
