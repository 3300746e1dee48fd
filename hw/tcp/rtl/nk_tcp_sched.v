// SPDX-License-Identifier: Apache-2.0
// Which flow may act next: the transmit list of each VF, or the event list of each queue set.
//
// Lists that hold flows and are eligible take turns. What is offered still stands in its list until it is
// taken: when its list stops being eligible, the offer is withdrawn and another list's turn comes.

`default_nettype none

module nk_tcp_sched #(
    parameter FLOWS = 1024,             // flows, power of two
    parameter FW    = $clog2(FLOWS),    // derived
    parameter LISTS = 8,                // lists, 1 to 2048
    parameter LLW   = (LISTS > 1) ? $clog2(LISTS) : 1  // derived
) (
    input  wire             clk,
    input  wire             rst,
    input  wire [LISTS-1:0] eligible,   // lists that may be served now
    // A flow, that stands in no list, wants to act. Always taken.
    input  wire             push_valid,
    input  wire [LLW-1:0]   push_list,
    input  wire [FW-1:0]    push_flow,
    // The next one. It may change or go while it is not taken.
    output wire             next_valid,
    input  wire             next_ready,
    output wire [FW-1:0]    next_flow,
    output wire [LISTS-1:0] waiting,    // lists with a flow that stands in them or is offered (not one on its way between)
    output wire             busy        // somebody may be served
);
    wire             sel_valid;
    wire             sel_ready;
    wire [LLW-1:0]   sel_list;
    wire [LISTS-1:0] nonempty;
    wire [LLW-1:0]   offered;
    assign waiting = nonempty | ({{(LISTS - 1){1'b0}}, next_valid} << offered);
    wire             lists_busy;

    nk_arb_rr #(.N(LISTS)) arb (
        .clk(clk), .rst(rst), .req(nonempty & eligible), .advance(sel_ready),
        .grant_valid(sel_valid), .grant(sel_list)
    );

    nk_flow_lists #(.FLOWS(FLOWS), .FW(FW), .LISTS(LISTS), .LLW(LLW)) lists (
        .clk(clk), .rst(rst),
        .push_valid(push_valid), .push_list(push_list), .push_flow(push_flow),
        .nonempty(nonempty), .sel_valid(sel_valid), .sel_ready(sel_ready), .sel_list(sel_list),
        .allow(eligible), .out_valid(next_valid), .out_ready(next_ready), .out_list(offered), .out_flow(next_flow),
        .busy(lists_busy)
    );

    assign busy = lists_busy || sel_valid;
endmodule

`default_nettype wire
