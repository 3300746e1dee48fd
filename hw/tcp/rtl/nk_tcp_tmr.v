// SPDX-License-Identifier: Apache-2.0
// Timer expiry: what a flow does when its delayed-ACK or its long timer has run out.
//
// Combinational. Checks the deadlines itself, since the timer memory holds only the earlier of the two
// and may fire for a deadline that has moved.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_tmr (
    // Flow state before the expiry; time in microseconds.
    input  wire [`TCB_W-1:0] tcb,
    input  wire [31:0]       now_us,
    // Timeouts in a row after which the connection is given up.
    input  wire [7:0]        p_retries_data,
    input  wire [7:0]        p_retries_syn,
    // State after it; counter pulses: a retransmission timeout, given up.
    output reg  [`TCB_W-1:0] tcb_out,
    output wire              st_rto,
    output wire              st_give_up
);
    wire [3:0] state    = tcb[`TCB_STATE];
    wire [2:0] kind     = tcb[`TCB_RTX_KIND];
    wire       dack_due = tcb[`TCB_DACK_ON] && `SEQ_GE(now_us, tcb[`TCB_DACK_T]);
    wire       rtx_due  = tcb[`TCB_RTX_ON] && `SEQ_GE(now_us, tcb[`TCB_RTX_T]);
    wire       syn      = state == `NK_FS_SYN_SENT || state == `NK_FS_SYN_RCVD;
    wire       live     = state >= `NK_FS_SYN_SENT && state <= `NK_FS_LAST_ACK;
    wire       probing  = kind == `NK_RTX_RTO || kind == `NK_RTX_PERSIST;
    wire       spent    = tcb[`TCB_RETRIES] >= (syn ? p_retries_syn : p_retries_data);
    wire       unknown  = state == `NK_FS_SYN_RCVD && tcb[`TCB_PASSIVE];

    assign st_give_up = rtx_due && live && probing && spent;
    assign st_rto     = rtx_due && live && kind == `NK_RTX_RTO && !spent;

    wire [31:0] cc_cwnd;
    wire [31:0] cc_ssthresh;
    wire [31:0] cc_recover;
    wire [31:0] cc_ca_acc;
    wire        cc_in_rec;
    wire [3:0]  cc_dupacks;
    wire        cc_rexmit;
    wire        cc_entered;

    nk_cc_newreno cc (
        .cwnd(tcb[`TCB_CWND]), .ssthresh(tcb[`TCB_SSTHRESH]), .recover(tcb[`TCB_RECOVER]),
        .ca_acc(tcb[`TCB_CA_ACC]), .in_rec(tcb[`TCB_IN_REC]), .dupacks(tcb[`TCB_DUPACKS]),
        .ev_ack(1'b0), .ev_dupack(1'b0), .ev_rto(st_rto && !syn),
        .ack(tcb[`TCB_SND_UNA]), .snd_una(tcb[`TCB_SND_UNA]), .snd_max(tcb[`TCB_SND_MAX]),
        .mss({16'd0, tcb[`TCB_MSS]}),
        .cwnd_out(cc_cwnd), .ssthresh_out(cc_ssthresh), .recover_out(cc_recover),
        .ca_acc_out(cc_ca_acc), .in_rec_out(cc_in_rec), .dupacks_out(cc_dupacks),
        .rexmit(cc_rexmit), .entered(cc_entered)
    );

    wire unused = &{1'b0, cc_rexmit, cc_entered};

    always @* begin
        tcb_out = tcb;
        if (dack_due) begin
            tcb_out[`TCB_DACK_ON] = 1'b0;
            tcb_out[`TCB_ACK_NOW] = 1'b1;
        end
        if (st_give_up) begin
            tcb_out[`TCB_STATE]    = tcb[`TCB_CLOSED] || unknown ? `NK_FS_DRAIN : `NK_FS_DEAD;
            tcb_out[`TCB_N_RST]    = 1'b1;
            tcb_out[`TCB_N_STATUS] = `NK_ST_TIMED_OUT;
            tcb_out[`TCB_RTX_ON]   = 1'b0;
            tcb_out[`TCB_DACK_ON]  = 1'b0;
        end else if (rtx_due) begin
            tcb_out[`TCB_RTX_ON] = 1'b0;
            case (kind)
                `NK_RTX_RTO: if (live) begin
                    // Go back to the oldest byte; nk_tcp_tx starts the timer again with the longer RTO.
                    tcb_out[`TCB_SND_NXT]  = tcb[`TCB_SND_UNA];
                    tcb_out[`TCB_CWND]     = cc_cwnd;
                    tcb_out[`TCB_SSTHRESH] = cc_ssthresh;
                    tcb_out[`TCB_RECOVER]  = cc_recover;
                    tcb_out[`TCB_CA_ACC]   = cc_ca_acc;
                    tcb_out[`TCB_IN_REC]   = cc_in_rec;
                    tcb_out[`TCB_DUPACKS]  = cc_dupacks;
                    tcb_out[`TCB_REXMIT]   = 1'b0;
                    tcb_out[`TCB_RTT_ON]   = 1'b0;
                    tcb_out[`TCB_RETRIES]  = tcb[`TCB_RETRIES] + 8'd1;
                    if (tcb[`TCB_BACKOFF] != 4'd15) tcb_out[`TCB_BACKOFF] = tcb[`TCB_BACKOFF] + 4'd1;
                end
                `NK_RTX_PERSIST: if (live) begin
                    tcb_out[`TCB_PROBE]   = 1'b1;
                    tcb_out[`TCB_RETRIES] = tcb[`TCB_RETRIES] + 8'd1;
                    if (tcb[`TCB_BACKOFF] != 4'd15) tcb_out[`TCB_BACKOFF] = tcb[`TCB_BACKOFF] + 4'd1;
                end
                `NK_RTX_TIMEWAIT, `NK_RTX_FINWAIT2: begin
                    tcb_out[`TCB_STATE]   = tcb[`TCB_CLOSED] ? `NK_FS_DRAIN : `NK_FS_DEAD;
                    tcb_out[`TCB_DACK_ON] = 1'b0;
                end
                default: tcb_out[`TCB_RTX_ON] = 1'b0;   // NEIGH: the flow may try to send again
            endcase
        end
    end
endmodule

`default_nettype wire
