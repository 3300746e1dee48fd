// SPDX-License-Identifier: Apache-2.0
// Purpose: round-robin arbiter: grants the next requester after the one that was served last.
//
// The grant is combinational and may move while `advance` is low; `advance` says that the granted
// requester is served in this clock. A requester that stays waits for at most N-1 others.

`default_nettype none

module nk_arb_rr #(
    // Number of requesters, 1 or more.
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
        if (N < 1 || GW != ((N > 1) ? $clog2(N) : 1)) begin
            $display("%m: N = %0d (1 or more), GW = %0d (derived)", N, GW);
            $finish;
        end
    end

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

    assign grant_valid = |req;
    assign grant       = pick;

    always @(posedge clk) begin
        if (advance && grant_valid)
            for (k = 0; k < N; k = k + 1)
                above_reg[k] <= k[GW-1:0] > pick;
        if (rst)
            above_reg <= {N{1'b1}};
    end

endmodule

`default_nettype wire
