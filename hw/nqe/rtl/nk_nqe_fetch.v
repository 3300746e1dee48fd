// SPDX-License-Identifier: Apache-2.0
// Purpose: picks a queue set with work, round robin, and reads a batch of up to 8 NQEs of its job or send ring.
//
// `work_reg` has a bit a set: there may be work. A doorbell sets it; picking the set clears it, before its
// state is read, so that a doorbell in between is never lost. Whoever finds nothing to do costs the others 5 clocks.
//
// A batch is read only when the completion ring has room for an answer to each NQE of it beside all answers
// promised before, and when the NQE FIFO behind has room for all of it: data on the shared DMA read channel never
// wait for this block, so it can hold up nobody.

`default_nettype none
`include "nk_abi.vh"

module nk_nqe_fetch #(
    // Bus width in bits: 64, 128, 256 or 512.
    parameter W = 512,
    // VFs, 1 to 64.
    parameter NVF = 8,
    // Queue sets a VF, 1, 2, 4 or 8.
    parameter NQS = 1,
    // log2 of the NQEs that the FIFO behind holds, 3 to 6.
    parameter CREDIT_LOG2 = 4,
    // Width of a byte lane number, leave it.
    parameter LW = $clog2(W / 8),
    // Number of sets, leave it.
    parameter NR = NVF * NQS,
    // Width of a set number, leave it.
    parameter SW = (NR > 1) ? $clog2(NR) : 1
) (
    // Clock and reset (synchronous, active high).
    input  wire              clk,
    input  wire              rst,

    input  wire [NVF*64-1:0] region_base,

    // Sets that are on; there may be work in a set: from a doorbell, from the end of a batch.
    input  wire [NR-1:0]     on,
    input  wire              work_valid,
    input  wire [SW-1:0]     work_set,
    input  wire              again_valid,
    input  wire [SW-1:0]     again_set,

    // Look-up in nk_nqe_rings, and the start of a batch.
    output wire              sc_read,
    output wire [SW-1:0]     sc_set,
    input  wire [31:0]       sc_job_tail,
    input  wire [31:0]       sc_job_head,
    input  wire [31:0]       sc_send_tail,
    input  wire [31:0]       sc_send_head,
    input  wire [31:0]       sc_send_bar,
    input  wire [31:0]       sc_comp_tail,
    input  wire [31:0]       sc_comp_head,
    input  wire [31:0]       sc_promised,
    input  wire [31:0]       sc_resolved,
    input  wire [14:0]       sc_log2s,
    input  wire [19:0]       sc_job_page,
    input  wire [19:0]       sc_send_page,
    output wire              fc_valid,
    output wire [SW-1:0]     fc_set,
    output wire              fc_queue,
    output wire [31:0]       fc_head,
    output wire [31:0]       fc_promised,
    output wire [3:0]        fc_count,
    output wire              fc_active,

    // An NQE has left the FIFO behind.
    input  wire              credit,

    // DMA read requests.
    output wire              rd_valid,
    input  wire              rd_ready,
    output wire [7:0]        rd_func,
    output wire [63:0]       rd_addr,
    output wire [15:0]       rd_len,
    output wire [LW-1:0]     rd_lane,
    output wire [15:0]       rd_wrap_len,
    output wire [63:0]       rd_wrap_addr,

    // The batch, for nk_nqe_unpack: taken at once.
    output wire              b_valid,
    input  wire              b_ready,
    output wire [SW-1:0]     b_set,
    output wire              b_queue,
    output wire [3:0]        b_count,
    output wire [16:0]       b_index,
    output wire [4:0]        b_log2,

    // A set may have work, or NQEs are under way.
    output wire              busy
);

    localparam QSW = $clog2(NQS);
    localparam VW  = (NVF > 1) ? $clog2(NVF) : 1;
    localparam [2:0] F_IDLE = 3'd0, F_COUNT = 3'd1, F_CHOOSE = 3'd2, F_PLACE = 3'd3, F_ISSUE = 3'd4,
                     F_REQ = 3'd5;
    localparam [CREDIT_LOG2:0] CREDITS = {1'b1, {CREDIT_LOG2{1'b0}}};
    localparam [3:0] BATCH = 4'd8;
    localparam NQE_LOG2 = $clog2(`NK_NQE_BYTES);
    localparam PAGE_LOG2 = $clog2(`NK_LIM_PAGE);

    initial begin
        if (W < 64 || W > 512 || (W & (W - 1)) != 0 || CREDIT_LOG2 < 3 || CREDIT_LOG2 > 6) begin
            $display("%m: W = %0d, CREDIT_LOG2 = %0d: illegal", W, CREDIT_LOG2);
            $finish;
        end
    end

    reg [2:0]          state_reg;
    reg [NR-1:0]       work_reg;
    // The queue served last in a set: 1 send. The other one goes first.
    reg [NR-1:0]       last_reg;
    reg [SW-1:0]       set_reg;
    reg [CREDIT_LOG2:0] credit_reg;

    reg [31:0]         job_avail_reg;
    reg [31:0]         send_avail_reg;
    reg [31:0]         room_reg;
    reg                barrier_reg;
    reg                queue_reg;
    reg [3:0]          count_reg;
    reg [31:0]         head_reg;
    reg [4:0]          log2_reg;
    reg [63:0]         base_reg;
    reg [63:0]         ring_reg;
    reg [20:0]         ofs_reg;
    reg [16:0]         left_reg;

    wire               grant_valid;
    wire [SW-1:0]      grant;
    wire               pick = state_reg == F_IDLE && grant_valid;

    nk_arb_rr #(.N(NR)) u_arb (
        .clk(clk), .rst(rst), .req(work_reg), .advance(pick), .grant_valid(grant_valid), .grant(grant)
    );

    function [7:0] vf_of;
        input [SW-1:0] set;
        reg [SW+7:0] full_unused;
        begin
            full_unused = {8'd0, set} >> QSW;
            vf_of = full_unused[7:0];
        end
    endfunction

    // Vectors of the VFs as arrays.
    wire [63:0] base_of [0:NVF-1];
    genvar g;
    generate
        for (g = 0; g < NVF; g = g + 1) begin : g_vf
            assign base_of[g] = region_base[64*g +: 64];
        end
    endgenerate

    // Not more than 8.
    function [3:0] cap;
        input [31:0] n;
        begin
            cap = (n >= {28'd0, BATCH}) ? BATCH : n[3:0];
        end
    endfunction

    wire job_ready  = job_avail_reg != 32'd0 && barrier_reg;
    wire send_ready = send_avail_reg != 32'd0;
    wire to_send    = send_ready && !(job_ready && last_reg[set_reg]);
    wire [3:0] n_avail = cap(to_send ? send_avail_reg : job_avail_reg);
    wire [3:0] n_room  = cap(room_reg);
    wire [31:0] ring_mask = ~(32'hffffffff << log2_reg);
    wire [31:0] index  = head_reg & ring_mask;
    wire [31:0] to_end = ring_mask - index + 32'd1;
    wire [7:0]  vf     = vf_of(set_reg);
    wire        to_end_unused = |to_end[31:17];

    wire enough = credit_reg >= {{CREDIT_LOG2-3{1'b0}}, count_reg} && b_ready;
    wire start  = state_reg == F_ISSUE && enough && on[set_reg];

    assign sc_read     = pick;
    assign sc_set      = grant;
    assign fc_valid    = start;
    assign fc_set      = set_reg;
    assign fc_queue    = queue_reg;
    assign fc_head     = head_reg;
    assign fc_promised = sc_promised;
    assign fc_count    = count_reg;
    assign fc_active   = state_reg != F_IDLE;

    assign b_valid = start;
    assign b_set   = set_reg;
    assign b_queue = queue_reg;
    assign b_count = count_reg;
    assign b_index = head_reg[16:0];
    assign b_log2  = log2_reg;

    assign rd_valid     = state_reg == F_REQ;
    assign rd_func      = vf + 8'd1;
    assign rd_addr      = ring_reg + {43'd0, ofs_reg};
    assign rd_len       = {7'd0, count_reg, 5'd0};
    assign rd_lane      = {LW{1'b0}};
    assign rd_wrap_len  = (left_reg < {13'd0, count_reg}) ? {7'd0, left_reg[3:0], 5'd0} : 16'hffff;
    assign rd_wrap_addr = ring_reg;

    assign busy = (|work_reg) || state_reg != F_IDLE || credit_reg != CREDITS;

    always @(posedge clk) begin
        credit_reg <= credit_reg - (start ? {{CREDIT_LOG2-3{1'b0}}, count_reg} : {CREDIT_LOG2+1{1'b0}})
                      + {{CREDIT_LOG2{1'b0}}, credit};

        if (pick)
            work_reg[grant] <= 1'b0;

        case (state_reg)
            F_IDLE:
                if (grant_valid) begin
                    set_reg   <= grant;
                    state_reg <= F_COUNT;
                end

            // The look-up's answer is there.
            F_COUNT: begin
                job_avail_reg  <= sc_job_tail - sc_job_head;
                send_avail_reg <= sc_send_tail - sc_send_head;
                room_reg       <= (32'd1 << sc_log2s[9:5]) - (sc_comp_tail - sc_comp_head)
                                  - (sc_promised - sc_resolved);
                // The send head has reached the barrier.
                barrier_reg    <= $signed(sc_send_head - sc_send_bar) >= 0;
                base_reg       <= base_of[vf[VW-1:0]];
                state_reg      <= F_CHOOSE;
            end

            F_CHOOSE: begin
                queue_reg <= to_send;
                count_reg <= (n_avail < n_room) ? n_avail : n_room;
                head_reg  <= to_send ? sc_send_head : sc_job_head;
                log2_reg  <= to_send ? sc_log2s[14:10] : sc_log2s[4:0];
                // Nothing to do, or no room for answers: the next doorbell or batch end wakes the set.
                state_reg <= (on[set_reg] && (job_ready || send_ready) && n_room != 4'd0) ? F_PLACE : F_IDLE;
            end

            F_PLACE: begin
                ring_reg  <= base_reg + {32'd0, queue_reg ? sc_send_page : sc_job_page, {PAGE_LOG2{1'b0}}};
                ofs_reg   <= {index[15:0], {NQE_LOG2{1'b0}}};
                left_reg  <= to_end[16:0];
                state_reg <= F_ISSUE;
            end

            F_ISSUE:
                if (!on[set_reg]) begin
                    state_reg <= F_IDLE;
                end else if (enough) begin
                    last_reg[set_reg] <= queue_reg;
                    work_reg[set_reg] <= 1'b1;
                    state_reg         <= F_REQ;
                end

            default: // F_REQ
                if (rd_ready)
                    state_reg <= F_IDLE;
        endcase

        if (work_valid)
            work_reg[work_set] <= 1'b1;
        if (again_valid)
            work_reg[again_set] <= 1'b1;

        if (rst) begin
            state_reg  <= F_IDLE;
            work_reg   <= {NR{1'b0}};
            last_reg   <= {NR{1'b0}};
            credit_reg <= CREDITS;
        end
    end

endmodule

`default_nettype wire
