// SPDX-License-Identifier: Apache-2.0
// Which event starts a pass in this clock: a received segment every second time if one waits, the other sources by who waits longest.
//
// A source whose flow is in the pipeline's first three stages waits without holding up the others; then the
// result of the earlier pass is there in time (docs/pipeline.md). A clock that nobody wants is the spare flow's.
// Who could start and does not steps forward: past another source by its order, past the segments once they have gone ahead twice.
// So nobody starves whose flow the others use as well: at most 20 starts go by in which it could have started (8 sources).

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

    // Whose turn is before whose: bit j of row i says that j goes before i. The one that starts goes behind all.
    reg  [N*N-1:0] ahead_reg;
    reg  [N-1:0]   once_reg;       // a segment went ahead of it, the last time that it could have started
    reg  [N-1:0]   twice_reg;      // and the time before
    wire [N-1:0]   able   = req & clear;
    wire           rx_now = able[0] && !rx_last_reg && (able & twice_reg) == {N{1'b0}};
    wire [N-1:0]   rivals = able[N-1:1] == {(N-1){1'b0}} ? able : {able[N-1:1], 1'b0};
    reg  [N-1:0]   first;          // one bit
    reg  [NB-1:0]  rest;
    integer        j;
    integer        l;
    always @* begin
        rest = {NB{1'b0}};
        for (j = 0; j < N; j = j + 1) begin
            first[j] = rivals[j] && (rivals & ahead_reg[j*N +: N]) == {N{1'b0}};
            if (first[j]) rest = rest | j[NB-1:0];
        end
    end

    assign spare         = able == {N{1'b0}};
    assign start         = room && (!spare || spare_valid);
    assign pick          = rx_now ? {NB{1'b0}} : rest;
    assign pick_flow     = spare ? spare_flow : flow[pick*FW +: FW];
    assign pick_has_flow = spare || has_flow[pick];

    always @(posedge clk) begin
        if (start) begin
            rx_last_reg <= rx_now;
            once_reg    <= rx_now ? once_reg | able : once_reg & ~able;
            twice_reg   <= rx_now ? twice_reg | (able & once_reg) : twice_reg & ~able;
            if (rx_now) begin
                once_reg[0]  <= 1'b0;
                twice_reg[0] <= 1'b0;
            end else
                for (l = 0; l < N; l = l + 1)
                    ahead_reg[l*N +: N] <= first[l] ? ~first : ahead_reg[l*N +: N] & ~first;
        end
        if (rst) begin
            rx_last_reg <= 1'b0;
            once_reg    <= {N{1'b0}};
            twice_reg   <= {N{1'b0}};
            for (l = 0; l < N; l = l + 1)
                ahead_reg[l*N +: N] <= ~({N{1'b1}} << l);
        end
    end
endmodule

`default_nettype wire
