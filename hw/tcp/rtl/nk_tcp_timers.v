// SPDX-License-Identifier: Apache-2.0
// Purpose: one deadline per flow, a set every clock; says which flow's deadline has come, and when to look again.
//
// The deadlines stand in memory, LANES in a row. A lower bound of all armed deadlines is kept: that of the
// last scan (scan_reg) and that of the sets since it began (sets_reg). Only when time reaches it are all rows
// read, a row a clock; that gives the expired flows and a new bound. No expiry is lost: a set while its row
// is being read counts in sets_reg. One too many may come: an expired flow is disarmed in passing, but not
// if a set needs the lane's write port in that clock.

`default_nettype none

module nk_tcp_timers #(
    // Number of flows, up to 2**FW.
    parameter FLOWS = 1024,
    // Width of a flow number: more than log2(LANES), up to 20.
    parameter FW = 10,
    // Deadlines a row, a power of two, 2 to 64.
    parameter LANES = (FLOWS > 16384) ? 32 : (FLOWS > 1024) ? 16 : 8
) (
    // Clock and reset (synchronous, active high; then all deadlines are disarmed, FLOWS/LANES clocks).
    input  wire          clk,
    input  wire          rst,

    // Time, microseconds.
    input  wire [31:0]   now_us,

    // Arm (set_armed = 1) or cancel the deadline of a flow. Always taken, once init_done.
    input  wire          set_valid,
    input  wire [FW-1:0] set_flow,
    input  wire          set_armed,
    input  wire [31:0]   set_deadline,

    // A flow whose deadline had come when it was looked at.
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

    reg [1:0]       state_reg;
    // Row that is read in this clock.
    reg [AW-1:0]    read_row_reg;
    reg             read_reg;
    // Row whose words are in the read registers; lanes that were set since it was read.
    reg [AW-1:0]    cmp_row_reg;
    reg             cmp_reg;
    reg [LANES-1:0] cmp_set_reg;
    // Expired flows of a row, that go out one after the other.
    reg [AW-1:0]    pend_row_reg;
    reg [LANES-1:0] pend_reg;
    reg [LB-1:0]    lane_reg;

    reg             scan_valid_reg;
    reg [31:0]      scan_reg;
    reg             sets_valid_reg;
    reg [31:0]      sets_reg;
    reg             exp_valid_reg;
    reg [FW-1:0]    exp_flow_reg;

    wire            init = state_reg == ST_INIT;

    wire            set_go   = set_valid && !init;
    wire [AW-1:0]   set_row  = set_flow[FW-1:LB];
    wire [LB-1:0]   set_lane = set_flow[LB-1:0];
    reg [LANES-1:0] set_mask;

    always @* begin
        set_mask           = {LANES{1'b0}};
        set_mask[set_lane] = set_go;
    end

    // ------------------------------------------------------------------------- rows: read, compare

    wire [LANES-1:0] expired;
    reg  [LB-1:0]    pend_lane;
    integer          i;

    always @* begin
        pend_lane = {LB{1'b0}};
        for (i = LANES - 1; i >= 0; i = i - 1)
            if (pend_reg[i])
                pend_lane = i[LB-1:0];
    end

    wire exp_free = !exp_valid_reg || exp_ready;
    wire pend_go  = exp_free && (|pend_reg);
    // A lane that is set in the clock of its reading, or while the row waits, is judged in the next scan.
    wire [LANES-1:0] cmp_set  = (set_row == cmp_row_reg) ? cmp_set_reg | set_mask : cmp_set_reg;
    wire [LANES-1:0] cmp_due  = expired & ~cmp_set & {LANES{cmp_reg}};
    wire             advance  = cmp_reg && ((cmp_due == {LANES{1'b0}}) || (pend_reg == {LANES{1'b0}}));
    wire             read_go  = read_reg && (!cmp_reg || advance);

    // The lane of the expiry that goes out, if it has not just been set again and no set has its port.
    wire [LANES-1:0] pend_one = {{(LANES-1){1'b0}}, 1'b1} << pend_lane;
    wire [LANES-1:0] disarm   = pend_one & {LANES{pend_go}} & ~set_mask;

    wire [LANES*32-1:0] lane_min;
    wire [LANES-1:0]    lane_min_valid;
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
                .we(init || set_mask[g] || disarm[g]),
                .waddr(init ? read_row_reg : set_mask[g] ? set_row : pend_row_reg),
                .wdata({set_mask[g] && set_armed, set_deadline}),
                .re(read_go),
                .raddr(read_row_reg),
                .rdata({armed, deadline})
            );

            // Times are compared by the sign of their difference: right up to 2**31 us, 35 minutes.
            wire        sooner = $signed(deadline - lane_min_reg) < 0;

            assign expired[g]           = armed && $signed(now_us - deadline) >= 0;
            assign lane_min_valid[g]    = lane_min_valid_reg;
            assign lane_min[32*g +: 32] = lane_min_reg;

            // What expires now does not bound the next scan. What was set meanwhile may: too soon, never too late.
            always @(posedge clk) begin
                if (scan_start)
                    lane_min_valid_reg <= 1'b0;
                else if (advance && armed && !expired[g] && (!lane_min_valid_reg || sooner)) begin
                    lane_min_valid_reg <= 1'b1;
                    lane_min_reg       <= deadline;
                end
            end
        end
    endgenerate

    // ---------------------------------------------------------------------------------- the bound

    wire due = (scan_valid_reg && $signed(now_us - scan_reg) >= 0) || (sets_valid_reg && $signed(now_us - sets_reg) >= 0);

    assign scan_start = state_reg == ST_IDLE && due;

    reg        min_valid;
    reg [31:0] min;
    integer    k;

    always @* begin
        min_valid = 1'b0;
        min       = 32'd0;
        for (k = 0; k < LANES; k = k + 1)
            if (lane_reg == k[LB-1:0]) begin
                min_valid = state_reg == ST_MIN && lane_min_valid[k];
                min       = lane_min[32*k +: 32];
            end
    end

    wire set_sooner  = $signed(set_deadline - sets_reg) < 0;
    wire min_sooner  = $signed(min - scan_reg) < 0;
    wire sets_sooner = $signed(sets_reg - scan_reg) < 0;

    assign exp_valid  = exp_valid_reg;
    assign exp_flow   = exp_flow_reg;
    assign next_valid = scan_valid_reg || sets_valid_reg;
    assign next_us    = (sets_valid_reg && (!scan_valid_reg || sets_sooner)) ? sets_reg : scan_reg;
    assign busy       = state_reg != ST_IDLE || due || exp_valid_reg || (|pend_reg);
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
            end

            ST_SCAN: if (advance && cmp_row_reg == LAST_ROW[AW-1:0]) begin
                state_reg <= ST_MIN;
                lane_reg  <= {LB{1'b0}};
            end

            default: begin
                lane_reg <= lane_reg + {{LB-1{1'b0}}, 1'b1};
                if (&lane_reg)
                    state_reg <= ST_IDLE;
            end
        endcase

        if (read_go) begin
            cmp_reg      <= 1'b1;
            cmp_row_reg  <= read_row_reg;
            cmp_set_reg  <= (set_row == read_row_reg) ? set_mask : {LANES{1'b0}};
            read_row_reg <= read_row_reg + {{AW-1{1'b0}}, 1'b1};
            if (read_row_reg == LAST_ROW[AW-1:0])
                read_reg <= 1'b0;
        end else begin
            if (advance)
                cmp_reg <= 1'b0;
            cmp_set_reg <= cmp_set;
        end

        if (advance && cmp_due != {LANES{1'b0}}) begin
            pend_reg     <= cmp_due;
            pend_row_reg <= cmp_row_reg;
        end else begin
            // Set again before its turn came: that counts, the old deadline does not.
            pend_reg <= pend_reg & ~(pend_go ? pend_one : {LANES{1'b0}})
                        & ~((set_row == pend_row_reg) ? set_mask : {LANES{1'b0}});
        end

        if (pend_go) begin
            exp_valid_reg <= 1'b1;
            exp_flow_reg  <= {pend_row_reg, pend_lane};
        end else if (exp_ready) begin
            exp_valid_reg <= 1'b0;
        end

        // The bounds begin anew with each scan.
        if (scan_start)
            scan_valid_reg <= 1'b0;
        else if (min_valid && (!scan_valid_reg || min_sooner)) begin
            scan_valid_reg <= 1'b1;
            scan_reg       <= min;
        end
        if (set_go && set_armed && (!sets_valid_reg || scan_start || set_sooner)) begin
            sets_valid_reg <= 1'b1;
            sets_reg       <= set_deadline;
        end else if (scan_start) begin
            sets_valid_reg <= 1'b0;
        end

        if (rst) begin
            state_reg      <= ST_INIT;
            read_row_reg   <= {AW{1'b0}};
            read_reg       <= 1'b0;
            cmp_reg        <= 1'b0;
            pend_reg       <= {LANES{1'b0}};
            scan_valid_reg <= 1'b0;
            sets_valid_reg <= 1'b0;
            exp_valid_reg  <= 1'b0;
        end
    end

endmodule

`default_nettype wire
