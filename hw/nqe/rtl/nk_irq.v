// SPDX-License-Identifier: Apache-2.0
// Purpose: interrupts of the queue sets: one-shot, armed by the tenant, moderated by count and time.
//
// Vector = queue set number. After an arm, one interrupt follows as soon as entries stand beyond the heads:
// at once when moderation is 0/0, else once `count` entries stand or `usecs` have passed since the first
// was seen (or since the arm, if it was there before). A count or time of 0 does not fire by itself then.
//
// No wake-up is lost. The tenant: (1) writes its heads, (2) writes IRQ_ARM, (3) may look at the rings once more,
// (4) sleeps. The card: (a) entry accepted by the DMA write path, (b) tail moves, (c) check_reg of the set
// is set. (2) sets check_reg too. A set is examined after its check bit was cleared, so the examination that follows
// the later one of (2) and (c) sees both the armed bit and the tail, and fires. An entry that was counted in a
// head which the tenant wrote before (2) was seen by it, and needs no interrupt.
//
// An interrupt leaves only when the writes it announces have left the arbiter: they are at most DRAIN beats back.

`default_nettype none

module nk_irq #(
    // Queue sets a VF, 1, 2, 4 or 8.
    parameter NQS = 1,
    // Number of sets, VFs * NQS.
    parameter NR = 8,
    // Beats that the DMA write path holds between its clients and the host interface.
    parameter DRAIN = 2,
    // Width of a set number; follows from NR, leave it.
    parameter SW = (NR > 1) ? $clog2(NR) : 1
) (
    // Clock and reset (synchronous, active high).
    input  wire          clk,
    input  wire          rst,

    // Card time, microseconds.
    input  wire [31:0]   now_us,

    // From the registers: condition may have changed; the tenant armed it; the set is new.
    input  wire          arm_valid,
    input  wire          arm_is_arm,
    input  wire          arm_is_clear,
    input  wire [SW-1:0] arm_set,
    // From the writer: an entry was written.
    input  wire          entry_valid,
    input  wire [SW-1:0] entry_set,

    // Look-up in nk_nqe_rings: answer one clock after ir_read, held.
    output wire          ir_read,
    output wire [SW-1:0] ir_set,
    input  wire          ir_on,
    input  wire [31:0]   ir_comp_pend,
    input  wire [31:0]   ir_recv_pend,
    input  wire [15:0]   ir_usecs,
    input  wire [7:0]    ir_count,
    // An interrupt of set ir_set is being sent.
    output wire          ir_active,

    // DMA write data channel of the host interface, watched only.
    input  wire          mon_offer,
    input  wire          mon_take,

    // Interrupt.
    output wire          irq_valid,
    input  wire          irq_ready,
    output wire [7:0]    irq_func,
    output wire [7:0]    irq_vector,

    // Earliest end of a moderation time that runs.
    output wire          next_valid,
    output wire [31:0]   next_us,

    // Pulse, and VF counter source.
    output wire          stat_irq_sent,
    output wire          vfc_valid,
    input  wire          vfc_ready,
    output wire [7:0]    vfc_vf,

    output wire          busy
);

    localparam QSW = $clog2(NQS);
    localparam [2:0] I_IDLE = 3'd0, I_COUNT = 3'd1, I_JUDGE = 3'd2, I_DRAIN = 3'd3, I_SEND = 3'd4,
                     I_NOTE = 3'd5;

    initial begin
        if (NR < 1 || DRAIN < 1 || DRAIN > 15) begin
            $display("%m: NR = %0d, DRAIN = %0d: illegal", NR, DRAIN);
            $finish;
        end
    end

    reg [2:0]    state_reg;
    reg [NR-1:0] check_reg;
    reg [NR-1:0] armed_reg;
    reg [NR-1:0] timing_reg;
    reg [31:0]   deadline [0:NR-1];
    reg [SW-1:0] set_reg;
    reg [31:0]   pend_reg;
    reg [31:0]   this_deadline_reg;
    reg          next_valid_reg;
    reg [31:0]   next_us_reg;
    reg [3:0]    drain_reg;

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

    wire          grant_valid;
    wire [SW-1:0] grant;
    wire          pick = state_reg == I_IDLE && grant_valid;

    nk_arb_rr #(.N(NR)) u_arb (
        .clk(clk), .rst(rst), .req(check_reg), .advance(pick), .grant_valid(grant_valid), .grant(grant)
    );

    assign ir_read    = pick;
    assign ir_set     = pick ? grant : set_reg;
    assign ir_active  = state_reg == I_DRAIN || state_reg == I_SEND || state_reg == I_NOTE;

    // -------------------------------------------------------------------------------------- judge

    wire        armed   = armed_reg[set_reg] && ir_on;
    wire        timing  = timing_reg[set_reg];
    wire        any     = pend_reg != 32'd0;
    wire        at_once = ir_usecs == 16'd0 && ir_count == 8'd0;
    wire        enough  = ir_count != 8'd0 && pend_reg >= {24'd0, ir_count};
    wire        late    = timing && $signed(now_us - this_deadline_reg) >= 0;
    wire        judge   = state_reg == I_JUDGE;
    wire        fire    = judge && armed && any && (at_once || enough || late);
    wire        wait_on = judge && armed && any && !fire && ir_usecs != 16'd0;
    wire [31:0] until_us   = timing ? this_deadline_reg : now_us + {16'd0, ir_usecs};

    // ------------------------------------------------------------------------------- moderation time

    // When the earliest one ends, all sets that wait are examined, and the next earliest comes from that.
    wire        expire  = next_valid_reg && $signed(now_us - next_us_reg) >= 0;
    wire        keep    = next_valid_reg && !expire;
    wire        earlier = $signed(until_us - next_us_reg) < 0;

    assign next_valid = next_valid_reg;
    assign next_us    = next_us_reg;

    assign irq_valid     = state_reg == I_SEND;
    assign irq_func      = vf_of(set_reg) + 8'd1;
    assign irq_vector    = qs_of(set_reg);
    assign stat_irq_sent = irq_valid && irq_ready;
    assign vfc_valid     = state_reg == I_NOTE;
    assign vfc_vf        = vf_of(set_reg);
    assign busy          = (|check_reg) || state_reg != I_IDLE || expire;

    wire arm_clear = arm_valid && arm_is_clear;

    always @(posedge clk) begin
        if (pick)
            check_reg[grant] <= 1'b0;
        if (expire) begin
            check_reg      <= (check_reg & ~(pick ? {{NR-1{1'b0}}, 1'b1} << grant : {NR{1'b0}})) | timing_reg;
            next_valid_reg <= 1'b0;
        end

        case (state_reg)
            I_IDLE:
                if (grant_valid) begin
                    set_reg   <= grant;
                    state_reg <= I_COUNT;
                end

            I_COUNT: begin
                pend_reg          <= ir_comp_pend + ir_recv_pend;
                this_deadline_reg <= deadline[set_reg];
                state_reg         <= I_JUDGE;
            end

            I_JUDGE: begin
                timing_reg[set_reg] <= wait_on;
                if (fire || !ir_on)
                    armed_reg[set_reg] <= 1'b0;
                if (wait_on) begin
                    deadline[set_reg] <= until_us;
                    next_valid_reg    <= 1'b1;
                    if (!keep || earlier)
                        next_us_reg <= until_us;
                end
                drain_reg <= DRAIN[3:0];
                state_reg <= fire ? I_DRAIN : I_IDLE;
            end

            I_DRAIN:
                if (!mon_offer || drain_reg == 4'd0)
                    state_reg <= I_SEND;
                else if (mon_take)
                    drain_reg <= drain_reg - 4'd1;

            I_SEND:
                if (irq_ready)
                    state_reg <= I_NOTE;

            default: // I_NOTE
                if (vfc_ready)
                    state_reg <= I_IDLE;
        endcase

        // After the above: what comes in now must not be lost.
        if (entry_valid)
            check_reg[entry_set] <= 1'b1;
        if (arm_valid)
            check_reg[arm_set] <= 1'b1;
        if (arm_valid && arm_is_arm)
            armed_reg[arm_set] <= 1'b1;
        if (arm_clear) begin
            armed_reg[arm_set]  <= 1'b0;
            timing_reg[arm_set] <= 1'b0;
        end

        if (rst) begin
            state_reg      <= I_IDLE;
            check_reg      <= {NR{1'b0}};
            armed_reg      <= {NR{1'b0}};
            timing_reg     <= {NR{1'b0}};
            next_valid_reg <= 1'b0;
        end
    end

endmodule

`default_nettype wire
