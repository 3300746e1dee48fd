// SPDX-License-Identifier: Apache-2.0
// Purpose: hands good NQEs to the protocol engine, one at a time, and says what becomes of each: completion or none.

`default_nettype none
`include "nk_abi.vh"

module nk_nqe_exec #(
    // Queue sets a VF, 1, 2, 4 or 8.
    parameter NQS = 1,
    // log2 of the flows of the flow table, 1 to 16.
    parameter FW = 10,
    // Width of a set number, 1 to 9.
    parameter SW = 3
) (
    // Clock and reset (synchronous, active high).
    input  wire          clk,
    input  wire          rst,

    // Checked NQEs.
    input  wire          ck_valid,
    output wire          ck_ready,
    input  wire [255:0]  ck_data,
    input  wire [SW-1:0] ck_set,
    input  wire          ck_queue,
    input  wire          ck_last,
    input  wire [3:0]    ck_count,
    input  wire [7:0]    ck_status,
    input  wire [FW-1:0] ck_flow,
    input  wire [FW-1:0] ck_child,

    // Operation to the protocol engine, and its answer (a pulse).
    output wire          op_valid,
    input  wire          op_ready,
    output wire [7:0]    op_vf,
    output wire [7:0]    op_qs,
    output wire [7:0]    op_code,
    output wire [FW-1:0] op_flow,
    output wire [15:0]   op_socket,
    output wire [FW-1:0] op_child,
    output wire          op_child_ok,
    output wire [63:0]   op_data,
    output wire [63:0]   op_ptr,
    output wire [31:0]   op_size,
    input  wire          opr_valid,
    input  wire [7:0]    opr_status,
    input  wire [63:0]   opr_data,
    input  wire [63:0]   opr_ptr,
    input  wire [31:0]   opr_size,

    // Done: the completion (without phase bit and VM id) when rt_need, and the end of a batch.
    output wire          rt_valid,
    input  wire          rt_ready,
    output wire [255:0]  rt_data,
    output wire [SW-1:0] rt_set,
    output wire          rt_queue,
    output wire          rt_need,
    output wire          rt_last,
    output wire [3:0]    rt_count,

    // Pulse: answered with a status other than OK; and a VF counter source for it.
    output wire          stat_nqe_errors,
    output wire          vfc_valid,
    input  wire          vfc_ready,
    output wire [7:0]    vfc_vf
);

    localparam QSW = $clog2(NQS);
    localparam [2:0] X_IDLE = 3'd0, X_OP = 3'd1, X_WAIT = 3'd2, X_ERROR = 3'd3, X_RETIRE = 3'd4;

    initial begin
        if (FW < 1 || FW > 16 || SW < 1 || SW > 9) begin
            $display("%m: FW = %0d, SW = %0d: illegal", FW, SW);
            $finish;
        end
    end

    reg [2:0]    state_reg;
    reg [255:0]  data_reg;
    reg [SW-1:0] set_reg;
    reg          queue_reg;
    reg          last_reg;
    reg [3:0]    count_reg;
    reg [7:0]    status_reg;
    reg [FW-1:0] flow_reg;
    reg [FW-1:0] child_reg;
    reg          error_reg;

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

    wire [7:0]  own_qs = qs_of(set_reg);
    wire        bad    = status_reg != `NK_ST_OK;

    // Stamped, checked or replaced: vm_id, queue set, flags, status.
    wire data_unused = |{data_reg[255:248], data_reg[31:8]};

    assign ck_ready    = state_reg == X_IDLE;
    assign op_valid    = state_reg == X_OP;
    assign op_vf       = vf_of(set_reg);
    assign op_qs       = own_qs;
    assign op_code     = data_reg[`NK_NQE_OP_LSB +: 8];
    assign op_flow     = flow_reg;
    assign op_socket   = data_reg[`NK_NQE_SOCKET_LSB +: 16];
    assign op_child    = child_reg;
    assign op_child_ok = op_code == `NK_OP_ACCEPT;
    assign op_data     = data_reg[`NK_NQE_OP_DATA_LSB +: 64];
    assign op_ptr      = data_reg[`NK_NQE_DATA_PTR_LSB +: 64];
    assign op_size     = data_reg[`NK_NQE_SIZE_LSB +: 32];

    assign rt_valid = state_reg == X_RETIRE;
    assign rt_data  = {status_reg, data_reg[`NK_NQE_COOKIE_LSB +: 24], data_reg[`NK_NQE_COOKIE_LSB-1:32],
                       8'd0, own_qs, 8'd0, data_reg[7:0]};
    assign rt_set   = set_reg;
    assign rt_queue = queue_reg;
    // A job is always answered; a send only when it failed.
    assign rt_need  = !queue_reg || bad;
    assign rt_last  = last_reg;
    assign rt_count = count_reg;

    assign stat_nqe_errors = error_reg;
    assign vfc_valid       = state_reg == X_ERROR;
    assign vfc_vf          = op_vf;

    wire answer = opr_valid && (state_reg == X_WAIT || (state_reg == X_OP && op_ready));

    always @(posedge clk) begin
        error_reg <= 1'b0;

        case (state_reg)
            X_IDLE:
                if (ck_valid) begin
                    data_reg   <= ck_data;
                    set_reg    <= ck_set;
                    queue_reg  <= ck_queue;
                    last_reg   <= ck_last;
                    count_reg  <= ck_count;
                    status_reg <= ck_status;
                    flow_reg   <= ck_flow;
                    child_reg  <= ck_child;
                    state_reg  <= (ck_status == `NK_ST_OK) ? X_OP : X_ERROR;
                end
            X_OP:
                if (op_ready)
                    state_reg <= X_WAIT;
            X_ERROR:
                if (vfc_ready) begin
                    error_reg <= 1'b1;
                    state_reg <= X_RETIRE;
                end
            X_RETIRE:
                if (rt_ready)
                    state_reg <= X_IDLE;
            default: ;
        endcase

        if (answer) begin
            status_reg <= opr_status;
            if (op_code == `NK_OP_INFO && opr_status == `NK_ST_OK) begin
                data_reg[`NK_NQE_OP_DATA_LSB +: 64]  <= opr_data;
                data_reg[`NK_NQE_DATA_PTR_LSB +: 64] <= opr_ptr;
                data_reg[`NK_NQE_SIZE_LSB +: 32]     <= opr_size;
            end
            state_reg <= (opr_status == `NK_ST_OK) ? X_RETIRE : X_ERROR;
        end

        if (rst) begin
            state_reg <= X_IDLE;
            error_reg <= 1'b0;
        end
    end

endmodule

`default_nettype wire
