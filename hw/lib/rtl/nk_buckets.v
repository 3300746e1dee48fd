// SPDX-License-Identifier: Apache-2.0
// Purpose: a token bucket for each VF: what may be spent of a rate, in bits, with debts.
//
// `granted` and `used` only grow, and each has one writer: the walker, which visits every VF once a time step,
// and the charge. Their difference is what the bucket holds. Spending is allowed while that is above 0; what is
// spent beyond it is a debt, so that the mean is exact however late a charge comes.
//
// A rate is in Mb/s, which is bits a microsecond: no rounding. 0: no limit, and nothing is charged.

`default_nettype none

module nk_buckets #(
    // VFs, 1 to 252.
    parameter NVF = 8,
    // Microseconds until the next look at a bucket in debt, while its owner waits: 1 to 255.
    parameter STEP_US = 32,
    // Width of a VF index; follows from NVF, leave it.
    parameter VW = (NVF > 1) ? $clog2(NVF) : 1
) (
    // Clock and reset (synchronous, active high; then all buckets are empty and fill).
    input  wire              clk,
    input  wire              rst,
    // Card time, microseconds. It may jump.
    input  wire [31:0]       now_us,
    // Rate in Mb/s, and size of the bucket in KiB, of each VF.
    input  wire [NVF*20-1:0] rate,
    input  wire [NVF*16-1:0] burst,
    // VFs that would spend if they could.
    input  wire [NVF-1:0]    waiting,
    // Spent: up to 2^17 bits.
    input  wire              charge_valid,
    input  wire [VW-1:0]     charge_vf,
    input  wire [17:0]       charge_bits,
    // VFs that may spend.
    output wire [NVF-1:0]    ok,
    // Pulse: this VF waited in vain for so many microseconds.
    output wire              late_valid,
    output wire [VW-1:0]     late_vf,
    output wire [15:0]       late_us,
    // Somebody waits for tokens: look again at next_us. A walk is under way.
    output wire              next_valid,
    output wire [31:0]       next_us,
    output wire              busy
);
    initial begin
        if (NVF < 1 || NVF > 252 || STEP_US < 1 || STEP_US > 255) begin
            $display("%m: NVF = %0d (1 to 252), STEP_US = %0d (1 to 255)", NVF, STEP_US);
            $finish;
        end
    end

    reg  [39:0]    granted [0:NVF-1];
    reg  [39:0]    used    [0:NVF-1];
    reg  [NVF-1:0] rich_reg;            // holds more than nothing
    reg  [NVF-1:0] full_reg;
    wire [NVF-1:0] limited;
    wire [19:0]    rate_of  [0:NVF-1];
    wire [15:0]    burst_of [0:NVF-1];
    genvar g;
    generate
        for (g = 0; g < NVF; g = g + 1) begin : g_vf
            assign rate_of[g]  = rate[20*g +: 20];
            assign burst_of[g] = burst[16*g +: 16];
            assign limited[g]  = rate[20*g +: 20] != 20'd0;
        end
    endgenerate
    assign ok = rich_reg | ~limited;

    // ---- charge ------------------------------------------------------------------------------------------
    wire        take      = charge_valid && limited[charge_vf];
    wire [39:0] used_now  = used[charge_vf] + {22'd0, charge_bits};
    wire [39:0] rest      = granted[charge_vf] - used_now;
    wire        rest_rich = !rest[39] && rest != 40'd0;

    // ---- walk: a VF every two clocks ---------------------------------------------------------------------
    localparam [31:0] LAST_VF = NVF - 1;
    reg             init_reg;
    reg             walk_reg;
    reg             second_reg;
    reg  [VW-1:0]   vf_reg;
    reg  [31:0]     seen_us_reg;        // time up to which tokens were granted
    reg  [19:0]     step_reg;           // microseconds of this walk, at most 2^20 - 1
    reg  [39:0]     gain_reg;
    wire [31:0]     gone    = now_us - seen_us_reg;
    wire            need    = |(limited & ~full_reg);
    wire            hit     = take && charge_vf == vf_reg;
    wire [39:0]     used_vf = hit ? used_now : used[vf_reg];
    wire [39:0]     size    = {11'd0, burst_of[vf_reg], 13'd0};
    wire [39:0]     grown   = granted[vf_reg] + gain_reg;
    wire [39:0]     held    = grown - used_vf;
    wire            over    = !held[39] && held >= size;
    wire [39:0]     keep    = over ? size : held;
    wire            write   = walk_reg && second_reg && limited[vf_reg];

    assign late_valid = write && waiting[vf_reg] && !rich_reg[vf_reg];
    assign late_vf    = vf_reg;
    assign late_us    = (step_reg > 20'hffff) ? 16'hffff : step_reg[15:0];
    assign next_valid = |(waiting & ~ok);
    assign next_us    = seen_us_reg + STEP_US;
    assign busy       = init_reg || walk_reg;

    always @(posedge clk) begin
        if (take) begin
            used[charge_vf]     <= used_now;
            rich_reg[charge_vf] <= rest_rich;
            full_reg[charge_vf] <= 1'b0;
        end
        if (init_reg) begin
            granted[vf_reg] <= 40'd0;
            used[vf_reg]    <= 40'd0;
            vf_reg          <= vf_reg + {{(VW - 1){1'b0}}, 1'b1};
            if (vf_reg == LAST_VF[VW-1:0]) begin
                init_reg <= 1'b0;
                vf_reg   <= {VW{1'b0}};
            end
            seen_us_reg <= now_us;
        end else if (!walk_reg) begin
            // With all buckets full, time passes without tokens.
            if (gone != 32'd0) begin
                seen_us_reg <= now_us;
                step_reg    <= (gone > 32'hfffff) ? 20'hfffff : gone[19:0];
                walk_reg    <= need;
                second_reg  <= 1'b0;
            end
        end else if (!second_reg) begin
            gain_reg   <= rate_of[vf_reg] * step_reg;
            second_reg <= 1'b1;
        end else begin
            if (write) begin
                granted[vf_reg]  <= used_vf + keep;
                rich_reg[vf_reg] <= !keep[39] && keep != 40'd0;
                full_reg[vf_reg] <= over;
            end
            second_reg <= 1'b0;
            vf_reg     <= (vf_reg == LAST_VF[VW-1:0]) ? {VW{1'b0}} : vf_reg + {{(VW - 1){1'b0}}, 1'b1};
            walk_reg   <= vf_reg != LAST_VF[VW-1:0];
        end
        if (rst) begin
            init_reg <= 1'b1;
            walk_reg <= 1'b0;
            vf_reg   <= {VW{1'b0}};
            rich_reg <= {NVF{1'b0}};
            full_reg <= {NVF{1'b0}};
        end
    end
endmodule

`default_nettype wire
