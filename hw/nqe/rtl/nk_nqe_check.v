// SPDX-License-Identifier: Apache-2.0
// Purpose: checks every field of an NQE that a tenant wrote, on the copy that was read, and turns it into an operation.
//
// Two stages, one NQE a clock: first the VF's limits are looked up, then all rules are judged at once. The first
// one broken, in this order, gives the status:
//
//   BAD_FLAGS    phase bit, reserved flag, queue set, or status byte wrong
//   BAD_OP       opcode unknown, or not for this queue
//   BAD_SOCKET   socket, or the child of ACCEPT, not below the quota
//   BAD_SIZE     SOCKET: a ring's log2 outside its limits, or bits 31:16 of size set
//   BAD_PTR      SOCKET: a ring not on a page boundary, or not all inside the region

`default_nettype none
`include "nk_abi.vh"

module nk_nqe_check #(
    // VFs, 1 to 64.
    parameter NVF = 8,
    // Queue sets a VF, 1, 2, 4 or 8.
    parameter NQS = 1,
    // log2 of the flows of the flow table, 1 to 16.
    parameter FW = 10,
    // Number of sets, leave it.
    parameter NR = NVF * NQS,
    // Width of a set number, leave it.
    parameter SW = (NR > 1) ? $clog2(NR) : 1
) (
    // Clock and reset (synchronous, active high).
    input  wire              clk,
    input  wire              rst,

    // Limits of the VFs.
    input  wire [NVF*32-1:0] region_pages,
    input  wire [NVF*32-1:0] cfg_sock_base,
    input  wire [NVF*32-1:0] cfg_sock_count,

    // NQEs from nk_nqe_unpack.
    input  wire              nq_valid,
    output wire              nq_ready,
    input  wire [255:0]      nq_data,
    input  wire [SW-1:0]     nq_set,
    input  wire              nq_queue,
    input  wire              nq_phase,
    input  wire              nq_last,
    input  wire [3:0]        nq_count,

    // Judged: the NQE with its place, status, flow numbers.
    output wire              ck_valid,
    input  wire              ck_ready,
    output wire [255:0]      ck_data,
    output wire [SW-1:0]     ck_set,
    output wire              ck_queue,
    output wire              ck_last,
    output wire [3:0]        ck_count,
    output wire [7:0]        ck_status,
    output wire [FW-1:0]     ck_flow,
    output wire [FW-1:0]     ck_child
);

    localparam QSW = $clog2(NQS);
    localparam VW  = (NVF > 1) ? $clog2(NVF) : 1;
    localparam [31:0] RMIN = `NK_LIM_RING_LOG2_MIN;
    localparam [31:0] RMAX = `NK_LIM_RING_LOG2_MAX;
    localparam PAGE_LOG2 = $clog2(`NK_LIM_PAGE);

    initial begin
        if (NVF < 1 || NVF > 64 || FW < 1 || FW > 16) begin
            $display("%m: NVF = %0d, FW = %0d: illegal", NVF, FW);
            $finish;
        end
    end

    function [7:0] vf_of;
        input [SW-1:0] set;
        reg [SW+7:0] full_unused;
        begin
            full_unused = {8'd0, set} >> QSW;
            vf_of = full_unused[7:0];
        end
    endfunction

    function [7:0] qs_of;
        input [SW-1:0] set;
        reg [SW+7:0] full_unused;
        begin
            full_unused = {8'd0, set};
            qs_of = full_unused[7:0] & (NQS[7:0] - 8'd1);
        end
    endfunction

    // A payload ring at byte offset ptr of the region: on a page boundary, its end not beyond the region. Offsets
    // of 2^32 and more fail before the addition, so it cannot wrap.
    function ring_ok;
        input [63:0] ptr;
        input [4:0]  log2;
        input [31:0] pages;
        reg [32:0] last_page;
        begin
            last_page = {13'd0, ptr[31:12]} + (33'd1 << (log2 - PAGE_LOG2[4:0]));
            ring_ok = ptr[11:0] == 12'd0 && ptr[63:32] == 32'd0 && last_page <= {1'b0, pages};
        end
    endfunction

    // Vectors of the VFs as arrays.
    wire [31:0] pages_of [0:NVF-1];
    wire [31:0] sbase_of [0:NVF-1];
    wire [31:0] quota_of [0:NVF-1];
    genvar g;
    generate
        for (g = 0; g < NVF; g = g + 1) begin : g_vf
            assign pages_of[g] = region_pages[32*g +: 32];
            assign sbase_of[g] = cfg_sock_base[32*g +: 32];
            assign quota_of[g] = cfg_sock_count[32*g +: 32];
        end
    endgenerate

    // -------------------------------------------------------------------------- stage 0: look-up

    reg          a_valid_reg;
    reg [255:0]  a_data_reg;
    reg [SW-1:0] a_set_reg;
    reg          a_queue_reg;
    reg          a_phase_reg;
    reg          a_last_reg;
    reg [3:0]    a_count_reg;
    reg [31:0]   a_pages_reg;
    reg [31:0]   a_base_reg;
    reg [31:0]   a_quota_reg;

    // --------------------------------------------------------------------------- stage 1: judged

    reg          b_valid_reg;
    reg [255:0]  b_data_reg;
    reg [SW-1:0] b_set_reg;
    reg          b_queue_reg;
    reg          b_last_reg;
    reg [3:0]    b_count_reg;
    reg [7:0]    b_status_reg;
    reg [FW-1:0] b_flow_reg;
    reg [FW-1:0] b_child_reg;

    wire b_free = !b_valid_reg || ck_ready;
    wire a_free = !a_valid_reg || b_free;

    assign nq_ready = a_free;

    wire [7:0]  op      = a_data_reg[`NK_NQE_OP_LSB +: 8];
    wire [7:0]  qs      = a_data_reg[`NK_NQE_QUEUE_SET_LSB +: 8];
    wire [7:0]  flags   = a_data_reg[`NK_NQE_FLAGS_LSB +: 8];
    wire [31:0] socket  = a_data_reg[`NK_NQE_SOCKET_LSB +: 32];
    wire [63:0] op_data = a_data_reg[`NK_NQE_OP_DATA_LSB +: 64];
    wire [63:0] ptr     = a_data_reg[`NK_NQE_DATA_PTR_LSB +: 64];
    wire [31:0] size    = a_data_reg[`NK_NQE_SIZE_LSB +: 32];
    wire [7:0]  status  = a_data_reg[`NK_NQE_COOKIE_LSB + `NK_COOKIE_STATUS_LSB +: 8];
    wire [7:0]  rx_log2 = size[`NK_RING_SIZES_RX_LOG2_LSB +: 8];
    wire [7:0]  tx_log2 = size[`NK_RING_SIZES_TX_LOG2_LSB +: 8];

    reg job_op;
    reg send_op;

    always @* begin
        job_op  = 1'b0;
        send_op = 1'b0;
        case (op)
            `NK_OP_SOCKET, `NK_OP_LISTEN, `NK_OP_CONNECT, `NK_OP_ACCEPT, `NK_OP_SHUTDOWN, `NK_OP_CLOSE,
            `NK_OP_ABORT, `NK_OP_SETOPT, `NK_OP_INFO: job_op  = 1'b1;
            `NK_OP_SEND, `NK_OP_CREDIT: send_op = 1'b1;
            default: ;
        endcase
    end

    wire flags_bad  = flags[`NK_FLAG_PHASE_BIT] != a_phase_reg
                   || (flags & ~(`NK_FLAG_PHASE | `NK_FLAG_MORE)) != 8'd0
                   || qs != qs_of(a_set_reg) || status != 8'd0;
    wire op_bad     = a_queue_reg ? !send_op : !job_op;
    wire socket_bad = socket >= a_quota_reg
                   || (op == `NK_OP_ACCEPT && op_data[31:0] >= a_quota_reg);
    wire is_socket  = op == `NK_OP_SOCKET;
    wire size_bad   = is_socket && (rx_log2 < RMIN[7:0] || rx_log2 > RMAX[7:0] || tx_log2 < RMIN[7:0]
                                    || tx_log2 > RMAX[7:0] || size[31:16] != 16'd0);
    wire ptr_bad    = is_socket && !(ring_ok(ptr, rx_log2[4:0], a_pages_reg)
                                     && ring_ok(op_data, tx_log2[4:0], a_pages_reg));
    wire [7:0] vf   = vf_of(nq_set);

    always @(posedge clk) begin
        if (a_free) begin
            a_valid_reg <= nq_valid;
            if (nq_valid) begin
                a_data_reg  <= nq_data;
                a_set_reg   <= nq_set;
                a_queue_reg <= nq_queue;
                a_phase_reg <= nq_phase;
                a_last_reg  <= nq_last;
                a_count_reg <= nq_count;
                a_pages_reg <= pages_of[vf[VW-1:0]];
                a_base_reg  <= sbase_of[vf[VW-1:0]];
                a_quota_reg <= quota_of[vf[VW-1:0]];
            end
        end
        if (b_free) begin
            b_valid_reg <= a_valid_reg;
            if (a_valid_reg) begin
                b_data_reg   <= a_data_reg;
                b_set_reg    <= a_set_reg;
                b_queue_reg  <= a_queue_reg;
                b_last_reg   <= a_last_reg;
                b_count_reg  <= a_count_reg;
                b_flow_reg   <= a_base_reg[FW-1:0] + socket[FW-1:0];
                b_child_reg  <= a_base_reg[FW-1:0] + op_data[FW-1:0];
                b_status_reg <= flags_bad  ? `NK_ST_BAD_FLAGS
                              : op_bad     ? `NK_ST_BAD_OP
                              : socket_bad ? `NK_ST_BAD_SOCKET
                              : size_bad   ? `NK_ST_BAD_SIZE
                              : ptr_bad    ? `NK_ST_BAD_PTR
                                           : `NK_ST_OK;
            end
        end
        if (rst) begin
            a_valid_reg <= 1'b0;
            b_valid_reg <= 1'b0;
        end
    end

    wire base_unused = |a_base_reg[31:FW];
    wire vf_unused   = |vf;

    assign ck_valid  = b_valid_reg;
    assign ck_data   = b_data_reg;
    assign ck_set    = b_set_reg;
    assign ck_queue  = b_queue_reg;
    assign ck_last   = b_last_reg;
    assign ck_count  = b_count_reg;
    assign ck_status = b_status_reg;
    assign ck_flow   = b_flow_reg;
    assign ck_child  = b_child_reg;

endmodule

`default_nettype wire
