// SPDX-License-Identifier: Apache-2.0
// Purpose: one deadline per flow; says which flow's deadline has come, and when to look again.
//
// The deadlines stand in memory, LANES in a row. A lower bound of all armed deadlines (min_reg) is kept:
// a set can only lower it, a cancel leaves it. Only when time reaches the bound are all rows read, a row a
// clock; that gives the expired flows and the exact bound again. A row that changes while it is under
// examination, by a set or because one of its flows expired, is read once more, so that a decision is never
// taken on an old word.

`default_nettype none

module nk_tcp_timers #(
    // Number of flows, up to 2**FW.
    parameter FLOWS = 1024,
    // Width of a flow number: more than log2(LANES), up to 20.
    parameter FW = 10,
    // Deadlines a row, a power of two, 2 to 64.
    parameter LANES = 8
) (
    // Clock and reset (synchronous, active high; then all deadlines are disarmed, 2**FW/LANES clocks).
    input  wire          clk,
    input  wire          rst,

    // Time, microseconds.
    input  wire [31:0]   now_us,

    // Arm (set_armed = 1) or cancel the deadline of a flow. Always ready once init_done.
    input  wire          set_valid,
    output wire          set_ready,
    input  wire [FW-1:0] set_flow,
    input  wire          set_armed,
    input  wire [31:0]   set_deadline,

    // A flow whose deadline has come; it is disarmed.
    output wire          exp_valid,
    input  wire          exp_ready,
    output wire [FW-1:0] exp_flow,

    // When not busy: nothing expires before next_us (next_valid = 0: at all) unless something is set.
    output wire          next_valid,
    output wire [31:0]   next_us,
    // Rows are being read, or are to be read now, or an expiry waits.
    output wire          busy,
    output wire          init_done
);

    localparam LB   = $clog2(LANES);
    localparam AW   = FW - LB;
    localparam ROWS = (FLOWS + LANES - 1) / LANES;
    localparam integer LAST_ROW = ROWS - 1;

    initial begin
        if (LANES < 2 || LANES > 64 || (LANES & (LANES - 1)) != 0 || FW <= LB || FW > 20
            || FLOWS < 1 || FLOWS > (1 << FW)) begin
            $display("%m: FLOWS = %0d (1 .. 2**FW), FW = %0d, LANES = %0d (power of two, 2 to 64)",
                     FLOWS, FW, LANES);
            $finish;
        end
    end

    localparam ST_INIT = 2'd0;
    localparam ST_IDLE = 2'd1;
    localparam ST_SCAN = 2'd2;
    // The lanes' minima become one, a lane a clock.
    localparam ST_MIN  = 2'd3;

    reg [1:0]     state_reg;
    // Row that is read in this clock; row whose words are in the read registers.
    reg [AW-1:0]  read_row_reg;
    reg           read_reg;
    reg [AW-1:0]  cmp_row_reg;
    reg           cmp_reg;
    // The row was written in the clock in which it was read.
    reg           cmp_old_reg;
    reg [LB-1:0]  lane_reg;

    reg           min_valid_reg;
    reg [31:0]    min_reg;
    reg           exp_valid_reg;
    reg [FW-1:0]  exp_flow_reg;

    wire          init = state_reg == ST_INIT;

    // ------------------------------------------------------------------------- writes: set, disarm

    wire          set_go = set_valid && set_ready;
    wire [AW-1:0] set_row  = set_flow[FW-1:LB];
    wire [LB-1:0] set_lane = set_flow[LB-1:0];

    wire [LANES-1:0] expired;
    reg  [LB-1:0]    exp_lane;
    integer          i;

    always @* begin
        exp_lane = {LB{1'b0}};
        for (i = LANES - 1; i >= 0; i = i - 1)
            if (expired[i])
                exp_lane = i[LB-1:0];
    end

    wire          fresh     = cmp_reg && !cmp_old_reg;
    wire          exp_found = fresh && (|expired);
    wire          exp_free  = !exp_valid_reg || exp_ready;
    // There is one write port, and a set may change this very row.
    wire          disarm    = exp_found && exp_free && !set_go;
    wire          replay    = cmp_reg && (cmp_old_reg || exp_found);
    wire          advance   = cmp_reg && !replay;

    wire          row_write = set_go || disarm;
    wire [AW-1:0] write_row = init ? read_row_reg : set_go ? set_row : cmp_row_reg;

    // ------------------------------------------------------------------------------- rows of lanes

    wire [LANES-1:0]    lane_min_valid;
    wire [LANES*32-1:0] lane_min;
    wire                scan_start;

    genvar g;
    generate
        for (g = 0; g < LANES; g = g + 1) begin : g_lane
            wire        armed;
            wire [31:0] deadline;
            reg         lane_min_valid_reg;
            reg [31:0]  lane_min_reg;

            nk_ram_1w1r #(.W(33), .AW(AW)) u_ram (
                .clk(clk),
                .we(init || (set_go && set_lane == g) || (disarm && exp_lane == g)),
                .waddr(write_row),
                .wdata({set_go && set_armed, set_deadline}),
                .re(read_reg),
                .raddr(read_row_reg),
                .rdata({armed, deadline})
            );

            // Times are compared by the sign of their difference: right up to 2**31 us, 35 minutes.
            wire        sooner = $signed(deadline - lane_min_reg) < 0;

            assign expired[g]           = armed && $signed(now_us - deadline) >= 0;
            assign lane_min_valid[g]    = lane_min_valid_reg;
            assign lane_min[32*g +: 32] = lane_min_reg;

            always @(posedge clk) begin
                if (scan_start)
                    lane_min_valid_reg <= 1'b0;
                else if (advance && armed && (!lane_min_valid_reg || sooner)) begin
                    lane_min_valid_reg <= 1'b1;
                    lane_min_reg       <= deadline;
                end
            end
        end
    endgenerate

    // ---------------------------------------------------------------------------------- the bound

    wire due = min_valid_reg && $signed(now_us - min_reg) >= 0;

    assign scan_start = state_reg == ST_IDLE && due;

    // What may lower the bound in this clock: a set, else (it waits for no set) a lane's minimum.
    reg         cand_valid;
    reg  [31:0] cand;
    wire        cand_sooner = $signed(cand - min_reg) < 0;
    wire        lane_take   = state_reg == ST_MIN && !set_go;
    integer     k;

    always @* begin
        cand_valid = set_go && set_armed;
        cand       = set_deadline;
        for (k = 0; k < LANES; k = k + 1)
            if (lane_take && lane_reg == k[LB-1:0]) begin
                cand_valid = lane_min_valid[k];
                cand       = lane_min[32*k +: 32];
            end
    end

    assign set_ready  = !init;
    assign exp_valid  = exp_valid_reg;
    assign exp_flow   = exp_flow_reg;
    assign next_valid = min_valid_reg;
    assign next_us    = min_reg;
    assign busy       = state_reg != ST_IDLE || due || exp_valid_reg;
    assign init_done  = !init;

    always @(posedge clk) begin
        case (state_reg)
            ST_INIT: begin
                read_row_reg <= read_row_reg + {{AW-1{1'b0}}, 1'b1};
                if (read_row_reg == LAST_ROW[AW-1:0])
                    state_reg <= ST_IDLE;
            end

            ST_IDLE: if (due) begin
                state_reg    <= ST_SCAN;
                read_row_reg <= {AW{1'b0}};
                read_reg     <= 1'b1;
                cmp_reg      <= 1'b0;
            end

            ST_SCAN: begin
                cmp_reg     <= read_reg && !replay;
                cmp_row_reg <= read_row_reg;
                cmp_old_reg <= row_write && write_row == read_row_reg;
                if (replay) begin
                    read_row_reg <= cmp_row_reg;
                    read_reg     <= 1'b1;
                end else begin
                    read_row_reg <= read_row_reg + {{AW-1{1'b0}}, 1'b1};
                    if (read_row_reg == LAST_ROW[AW-1:0])
                        read_reg <= 1'b0;
                end
                if (advance && cmp_row_reg == LAST_ROW[AW-1:0]) begin
                    state_reg <= ST_MIN;
                    lane_reg  <= {LB{1'b0}};
                end
            end

            default: if (lane_take) begin
                lane_reg <= lane_reg + {{LB-1{1'b0}}, 1'b1};
                if (&lane_reg)
                    state_reg <= ST_IDLE;
            end
        endcase

        // The old bound ends with the scan's start; from then on sets build the new one.
        if (cand_valid && (!min_valid_reg || scan_start || cand_sooner)) begin
            min_valid_reg <= 1'b1;
            min_reg       <= cand;
        end else if (scan_start) begin
            min_valid_reg <= 1'b0;
        end

        if (disarm) begin
            exp_valid_reg <= 1'b1;
            exp_flow_reg  <= {cmp_row_reg, exp_lane};
        end else if (exp_ready) begin
            exp_valid_reg <= 1'b0;
        end

        if (rst) begin
            state_reg     <= ST_INIT;
            read_row_reg  <= {AW{1'b0}};
            read_reg      <= 1'b0;
            cmp_reg       <= 1'b0;
            min_valid_reg <= 1'b0;
            exp_valid_reg <= 1'b0;
        end
    end

endmodule

`default_nettype wire
