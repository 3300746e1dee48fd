// SPDX-License-Identifier: Apache-2.0
// Which flow may act next: the transmit list of each VF and the event list of each queue set.
//
// A flow waits in at most one place of each kind, so nothing overflows. VFs take turns; an event list
// whose receive ring is full waits without stopping the others.

`default_nettype none

module nk_tcp_sched #(
    parameter FLOWS = 1024,             // flows, power of two
    parameter FW    = $clog2(FLOWS),    // derived
    parameter LISTS = 8,                // lists, 1 or more
    parameter LLW   = (LISTS > 1) ? $clog2(LISTS) : 1  // derived
) (
    input  wire             clk,
    input  wire             rst,
    input  wire [LISTS-1:0] eligible,   // lists that may be served now
    // a flow wants to act
    input  wire             push_valid,
    output wire             push_ready,
    input  wire [LLW-1:0]   push_list,
    input  wire [FW-1:0]    push_flow,
    // the next one
    output wire             next_valid,
    input  wire             next_ready,
    output wire [FW-1:0]    next_flow,
    output wire             init_done,
    output wire             busy        // somebody may be served
);
    wire [LISTS-1:0] nonempty;
    wire [LISTS-1:0] req = nonempty & eligible;
    wire             grant_valid;
    wire [LLW-1:0]   grant;
    wire             pop_ready;
    wire             pop_done;
    wire             pop_hit;
    wire             lists_busy;
    wire [FW-1:0]    pop_flow;

    reg              have_reg;
    reg  [FW-1:0]    flow_reg;
    reg              popping_reg;

    wire pop_valid = init_done && grant_valid && !have_reg && !popping_reg;

    nk_arb_rr #(.N(LISTS)) arb (
        .clk(clk), .rst(rst), .req(req), .advance(pop_valid && pop_ready),
        .grant_valid(grant_valid), .grant(grant)
    );

    nk_flow_lists #(.FLOWS(FLOWS), .FW(FW), .LISTS(LISTS), .LLW(LLW)) lists (
        .clk(clk), .rst(rst),
        .push_valid(push_valid), .push_ready(push_ready), .push_list(push_list), .push_flow(push_flow),
        .pop_valid(pop_valid), .pop_ready(pop_ready), .pop_list(grant),
        .pop_done(pop_done), .pop_hit(pop_hit), .pop_flow(pop_flow),
        .nonempty(nonempty), .init_done(init_done), .busy(lists_busy)
    );

    always @(posedge clk) begin
        if (pop_valid && pop_ready) popping_reg <= 1'b1;
        if (pop_done) begin
            popping_reg <= 1'b0;
            have_reg    <= pop_hit;
            flow_reg    <= pop_flow;
        end else if (next_valid && next_ready) begin
            have_reg <= 1'b0;
        end
        if (rst) begin
            have_reg    <= 1'b0;
            popping_reg <= 1'b0;
        end
    end

    assign next_valid = have_reg;
    assign next_flow  = flow_reg;
    assign busy       = lists_busy || grant_valid || have_reg || popping_reg || push_valid;
endmodule

`default_nettype wire
