// SPDX-License-Identifier: Apache-2.0
// Which event starts a pass in this clock: a received segment every second time if one waits, the other sources in turn.
//
// A source whose flow is in the pipeline's first three stages waits without holding up the others; then the
// result of the earlier pass is there in time (docs/pipeline.md). A clock that nobody wants is the spare flow's.

`default_nettype none

module nk_tcp_choose #(
    parameter N  = 8,               // sources; source 0 is the received segments
    parameter FW = 10,              // bits of a flow number
    parameter NB = $clog2(N)        // derived
) (
    // Clock and reset (synchronous, active high).
    input  wire            clk,
    input  wire            rst,
    // Sources: wants to start, works on a flow, and which.
    input  wire [N-1:0]    req,
    input  wire [N-1:0]    has_flow,
    input  wire [N*FW-1:0] flow,
    // Flows in the stages behind: their results are still to come.
    input  wire [2:0]      busy_valid,
    input  wire [3*FW-1:0] busy_flow,
    // A flow, not in those stages, that starts if no source does.
    input  wire            spare_valid,
    input  wire [FW-1:0]   spare_flow,
    // Everything that a pass may hand out has room.
    input  wire            room,
    // The one that starts: a source, or the spare flow.
    output wire            start,
    output wire            spare,
    output wire [NB-1:0]   pick,
    output wire [FW-1:0]   pick_flow,
    output wire            pick_has_flow
);
    reg  [N-1:0] clear;
    reg          rx_last_reg;
    integer      i;
    integer      k;
    always @* begin
        clear = {N{1'b1}};
        for (i = 0; i < N; i = i + 1)
            for (k = 0; k < 3; k = k + 1)
                if (has_flow[i] && busy_valid[k] && busy_flow[k*FW +: FW] == flow[i*FW +: FW]) clear[i] = 1'b0;
    end

    wire [N-1:0]  able   = req & clear;
    wire          rx_now = able[0] && !rx_last_reg;
    wire          rest_valid;
    wire [NB-1:0] rest;

    nk_arb_rr #(.N(N)) turn (
        .clk(clk), .rst(rst), .req(able), .advance(start && !rx_now), .grant_valid(rest_valid), .grant(rest)
    );
    assign spare         = !rest_valid;
    assign start         = room && (rest_valid || spare_valid);
    assign pick          = rx_now ? {NB{1'b0}} : rest;
    assign pick_flow     = spare ? spare_flow : flow[pick*FW +: FW];
    assign pick_has_flow = spare || has_flow[pick];

    always @(posedge clk) begin
        if (start) rx_last_reg <= rx_now;
        if (rst)   rx_last_reg <= 1'b0;
    end
endmodule

`default_nettype wire
