// SPDX-License-Identifier: Apache-2.0
// After every event: the zero-window timer, and what the flow's new state asks of its surroundings.
//
// Combinational. Comparing old and new state here, once, saves every event from knowing about lists,
// the timer memory and the flow table.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_post (
    // The event that just passed.
    input  wire [`TCB_W-1:0] tcb_old,      // before the event
    input  wire [`TCB_W-1:0] tcb,          // after it
    input  wire              blocked,      // of nk_tcp_txsel, on the state after it
    input  wire              idle,         // the same: nothing to send
    // Time and bound of the timeout, microseconds.
    input  wire [31:0]       now_us,
    input  wire [31:0]       p_rto_max,
    input  wire [15:0]       tx_mark,      // descriptors handed to nk_net_tx so far
    // The state to write back.
    output reg  [`TCB_W-1:0] tcb_out,
    // A new deadline for the timer memory.
    output wire              timer_set,
    output wire              timer_armed,
    output wire [31:0]       timer_deadline,
    // Life of the flow.
    output wire              hash_delete,  // the flow has left the table
    output wire              opened,       // left FREE
    output wire              freed         // became FREE
);
    wire [3:0]  was = tcb_old[`TCB_STATE];
    wire [3:0]  is  = tcb[`TCB_STATE];
    wire        in_table_before = was >= `NK_FS_SYN_SENT && was <= `NK_FS_TIME_WAIT;
    wire        in_table_after  = is >= `NK_FS_SYN_SENT && is <= `NK_FS_TIME_WAIT;
    wire        listens_before  = was == `NK_FS_LISTEN && !tcb_old[`TCB_CLOSED];
    wire        listens_after   = is == `NK_FS_LISTEN && !tcb[`TCB_CLOSED];

    assign hash_delete = (in_table_before && !in_table_after) || (listens_before && !listens_after);
    assign opened = was == `NK_FS_FREE && is != `NK_FS_FREE;
    assign freed  = was != `NK_FS_FREE && is == `NK_FS_FREE;

    wire [47:0] backed_off = {16'd0, tcb[`TCB_RTO]} << tcb[`TCB_BACKOFF];
    wire [31:0] interval   = backed_off > {16'd0, p_rto_max} ? p_rto_max : backed_off[31:0];
    wire        rto_runs   = tcb[`TCB_RTX_ON] && tcb[`TCB_RTX_KIND] == `NK_RTX_RTO;
    wire        live       = is >= `NK_FS_SYN_SENT && is <= `NK_FS_LAST_ACK;
    wire        drains     = is == `NK_FS_DRAIN && was != `NK_FS_DRAIN;

    always @* begin
        tcb_out = tcb;
        if (blocked && !tcb[`TCB_RTX_ON] && !tcb[`TCB_PROBE]) begin
            tcb_out[`TCB_RTX_ON]   = 1'b1;
            tcb_out[`TCB_RTX_KIND] = `NK_RTX_PERSIST;
            tcb_out[`TCB_RTX_T]    = now_us + interval;
        end else if (blocked && rto_runs) begin
            // The window shut over what was in flight: a peer that still answers is not to be given up.
            tcb_out[`TCB_RTX_KIND] = `NK_RTX_PERSIST;
        end else if (idle && live && !tcb[`TCB_RTX_ON] && tcb[`TCB_SND_MAX] != tcb[`TCB_SND_UNA]) begin
            // The wait for the next hop took the timer, and what waited has become needless: what is in
            // flight must not be left without one.
            tcb_out[`TCB_RTX_ON]   = 1'b1;
            tcb_out[`TCB_RTX_KIND] = `NK_RTX_RTO;
            tcb_out[`TCB_RTX_T]    = now_us + interval;
            tcb_out[`TCB_RETRIES]  = 8'd0;
        end
        // A socket that ends remembers which descriptors may still read its TX ring.
        if (drains) tcb_out[`TCB_SND_NXT] = {16'd0, tx_mark};
    end

    // The timer memory holds the earlier deadline.
    wire        rtx_o   = tcb_out[`TCB_RTX_ON];
    wire        dack_o  = tcb_out[`TCB_DACK_ON];
    wire        rtx_sooner = `SEQ_LT(tcb_out[`TCB_RTX_T], tcb_out[`TCB_DACK_T]);
    assign timer_armed    = rtx_o || dack_o;
    assign timer_deadline = rtx_o && (!dack_o || rtx_sooner) ? tcb_out[`TCB_RTX_T] : tcb_out[`TCB_DACK_T];

    wire        rtx_b   = tcb_old[`TCB_RTX_ON];
    wire        dack_b  = tcb_old[`TCB_DACK_ON];
    assign timer_set = rtx_o != rtx_b || dack_o != dack_b
                    || (rtx_o && tcb_out[`TCB_RTX_T] != tcb_old[`TCB_RTX_T])
                    || (dack_o && tcb_out[`TCB_DACK_T] != tcb_old[`TCB_DACK_T]);

    wire unused = &{1'b0, tcb_old};
endmodule

`default_nettype wire
