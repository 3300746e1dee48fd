// SPDX-License-Identifier: Apache-2.0
// Purpose: round-robin arbiter: grants the next requester after the one that was served last.
//
// The grant is combinational and may move while `advance` is low; `advance` says that the granted
// requester is served in this clock. A requester that stays waits for at most N-1 others. More than 32
// requesters are arbitrated in two levels of the same order: the rest of the group of 32 in which the last
// one was served, else the next group that has one.

`default_nettype none

module nk_arb_rr #(
    // Number of requesters, 1 to 2048.
    parameter N = 2,
    // Width of `grant`; follows from N, leave it.
    parameter GW = (N > 1) ? $clog2(N) : 1
) (
    // Clock and reset (synchronous, active high; requester 0 is first then).
    input  wire          clk,
    input  wire          rst,

    // Requests, and: the granted one is served now.
    input  wire [N-1:0]  req,
    input  wire          advance,

    // Number of the granted requester, when there is one.
    output wire          grant_valid,
    output wire [GW-1:0] grant
);

    initial begin
        if (N < 1 || N > 2048 || GW != ((N > 1) ? $clog2(N) : 1)) begin
            $display("%m: N = %0d (1 to 2048), GW = %0d (derived)", N, GW);
            $finish;
        end
    end

    assign grant_valid = |req;

    generate
        if (N <= 32) begin : g_flat
            // Requesters with a higher number than the one served last: they go first.
            reg [N-1:0]  above_reg;
            wire [N-1:0] req_above = req & above_reg;
            wire [N-1:0] from      = (|req_above) ? req_above : req;
            reg [GW-1:0] pick;
            integer      i;
            integer      k;

            always @* begin
                pick = {GW{1'b0}};
                for (i = N - 1; i >= 0; i = i - 1)
                    if (from[i])
                        pick = i[GW-1:0];
            end

            assign grant = pick;

            always @(posedge clk) begin
                if (advance && grant_valid)
                    for (k = 0; k < N; k = k + 1)
                        above_reg[k] <= k[GW-1:0] > pick;
                if (rst)
                    above_reg <= {N{1'b1}};
            end
        end else begin : g_groups
            localparam G  = (N + 31) / 32;
            localparam HW = GW - 5;

            // The last one's group, the higher ones in it, and the higher groups.
            reg [HW-1:0]    group_reg;
            reg [31:0]      above_reg;
            reg [G-1:0]     higher_reg;

            wire [32*G-1:0] all = {{(32 * G - N){1'b0}}, req};
            reg  [G-1:0]    any;
            reg  [HW-1:0]   next_group;
            reg  [4:0]      pick;
            wire [31:0]     here    = all[32*group_reg +: 32] & above_reg;
            wire [G-1:0]    any_on  = any & higher_reg;
            wire [G-1:0]    from    = (|any_on) ? any_on : any;
            wire [HW-1:0]   group   = (|here) ? group_reg : next_group;
            wire [31:0]     word    = (|here) ? here : all[32*next_group +: 32];
            integer         i;
            integer         k;

            integer         j;
            integer         l;

            always @* begin
                for (i = 0; i < G; i = i + 1)
                    any[i] = |all[32*i +: 32];
            end

            always @* begin
                next_group = {HW{1'b0}};
                for (j = G - 1; j >= 0; j = j - 1)
                    if (from[j])
                        next_group = j[HW-1:0];
            end

            always @* begin
                pick = 5'd0;
                for (l = 31; l >= 0; l = l - 1)
                    if (word[l])
                        pick = l[4:0];
            end

            assign grant = {group, pick};

            always @(posedge clk) begin
                if (advance && grant_valid) begin
                    group_reg <= group;
                    for (k = 0; k < 32; k = k + 1)
                        above_reg[k] <= k[4:0] > pick;
                    for (k = 0; k < G; k = k + 1)
                        higher_reg[k] <= k[HW-1:0] > group;
                end
                if (rst) begin
                    group_reg  <= {HW{1'b0}};
                    above_reg  <= 32'hffffffff;
                    higher_reg <= {G{1'b1}};
                end
            end
        end
    endgenerate

endmodule

`default_nettype wire
