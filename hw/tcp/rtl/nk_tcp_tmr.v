// SPDX-License-Identifier: Apache-2.0
// Timer expiry: what a flow does when its delayed-ACK or its long timer has run out.
//
// Combinational. Checks the deadlines itself, since the timer memory holds only the earlier of the two
// and may fire for a deadline that has moved. What follows a timeout (window, what to send again) is
// nk_tcp_snd's; that a timer runs again is nk_tcp_post's.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_tmr (
    // Flow state before the expiry; time in microseconds and in 2^20 us.
    input  wire              en,           // 0: the state passes through
    input  wire [`TCB_W-1:0] tcb,
    input  wire [31:0]       now_us,
    input  wire [15:0]       now_s,
    // Timeouts in a row after which the connection is given up; at most 63 count.
    input  wire [7:0]        p_retries_data,
    input  wire [7:0]        p_retries_syn,
    // State after it.
    output reg  [`TCB_W-1:0] tcb_out,
    // For nk_tcp_snd: retransmission timeout, reordering window over, tail loss probe due.
    output wire              ev_rto,
    output wire              ev_reo,
    output wire              ev_tlp,
    // Counter pulses: a retransmission timeout, connection given up, segment size lowered.
    output wire              st_rto,
    output wire              st_give_up,
    output wire              st_blackhole
);
    wire [3:0] state    = tcb[`TCB_STATE];
    wire [3:0] kind     = tcb[`TCB_RTX_KIND];
    wire       dack_due = en && tcb[`TCB_DACK_ON] && `SEQ_GE(now_us, tcb[`TCB_DACK_T]);
    wire       rtx_due  = en && tcb[`TCB_RTX_ON] && `SEQ_GE(now_us, tcb[`TCB_RTX_T]);
    wire       syn      = state == `NK_FS_SYN_SENT || state == `NK_FS_SYN_RCVD;
    wire       synced   = state >= `NK_FS_ESTABLISHED && state <= `NK_FS_LAST_ACK;
    wire       live     = syn || synced;
    wire       unknown  = state == `NK_FS_SYN_RCVD && tcb[`TCB_PASSIVE];

    // -- how long the peer has been silent, in 2^14 us; a second is 61 + 1/32 of them (0.006 % short) --
    wire [15:0] quiet    = now_s - tcb[`TCB_LAST_T];
    wire [22:0] quiet_t  = {1'b0, quiet, 6'd0};
    wire [22:0] idle     = {9'd0, tcb[`TCB_KA_IDLE]};
    wire [22:0] idle_t   = (idle << 6) - (idle << 1) - idle + (idle >> 5);
    wire [22:0] uto      = {13'd0, tcb[`TCB_UTO]};
    wire [22:0] uto_t    = (uto << 6) - (uto << 1) - uto + (uto >> 5);
    wire        uto_on   = tcb[`TCB_UTO] != 10'd0;
    // LAST_T is cut off, so silence may look longer or shorter by one count. Nobody is given up too early.
    wire        uto_over = uto_on && quiet_t >= uto_t + 23'd64;
    wire        idle_over = quiet_t + 23'd64 > idle_t;

    // -- whether to give up -----------------------------------------------------------------------
    wire [7:0] allowed  = syn ? p_retries_syn : p_retries_data;
    wire       counted  = {2'd0, tcb[`TCB_RETRIES]} >= {2'd0, allowed[7:6] != 2'd0 ? 8'd63 : allowed};
    wire       spent    = uto_over || (counted && (syn || !uto_on));
    wire       keep_spent = uto_on ? uto_over && tcb[`TCB_RETRIES] != 8'd0
                                   : tcb[`TCB_RETRIES] >= {4'd0, tcb[`TCB_KA_CNT]};
    wire       waits    = rtx_due && live && (kind == `NK_RTX_RTO || kind == `NK_RTX_PERSIST);
    wire       keeps    = rtx_due && synced && kind == `NK_RTX_KEEP && tcb[`TCB_KA_ON] && idle_over;

    assign st_give_up = (waits && spent) || (keeps && keep_spent);
    assign ev_rto     = waits && !spent && kind == `NK_RTX_RTO;
    assign ev_reo     = rtx_due && live && kind == `NK_RTX_REO;
    assign ev_tlp     = rtx_due && synced && kind == `NK_RTX_TLP;
    assign st_rto     = ev_rto;

    wire [7:0] retries  = tcb[`TCB_RETRIES] >= 8'd63 ? 8'd63 : tcb[`TCB_RETRIES] + 8'd1;
    wire [3:0] backoff  = tcb[`TCB_BACKOFF] == 4'd15 ? 4'd15 : tcb[`TCB_BACKOFF] + 4'd1;

    // -- black hole (RFC 4821, 7.7 in its simplest form): full segments vanish time after time --------
    // nk_tcp_post sets MTU_FAIL to 0 when new data is acknowledged.
    wire [31:0] flight = tcb[`TCB_SND_NXT] - tcb[`TCB_SND_UNA];
    wire [15:0] base   = tcb[`TCB_TS_OK] ? 16'd524 : 16'd536;
    wire        full   = synced && tcb[`TCB_MSS] > base && flight >= {16'd0, tcb[`TCB_MSS]};
    wire [1:0]  fails  = !full ? 2'd0 : tcb[`TCB_MTU_FAIL] == 2'd3 ? 2'd3 : tcb[`TCB_MTU_FAIL] + 2'd1;
    assign st_blackhole = ev_rto && fails == 2'd3;

    always @* begin
        tcb_out = tcb;
        if (dack_due) begin
            tcb_out[`TCB_DACK_ON] = 1'b0;
            tcb_out[`TCB_ACK_NOW] = 1'b1;
        end
        if (rtx_due) tcb_out[`TCB_RTX_ON] = 1'b0;
        if (st_give_up) begin
            tcb_out[`TCB_STATE]    = tcb[`TCB_CLOSED] || unknown ? `NK_FS_DRAIN : `NK_FS_DEAD;
            tcb_out[`TCB_N_RST]    = 1'b1;
            tcb_out[`TCB_N_STATUS] = `NK_ST_TIMED_OUT;
            tcb_out[`TCB_DACK_ON]  = 1'b0;
        end else if (rtx_due) begin
            case (kind)
                `NK_RTX_RTO: if (live) begin
                    tcb_out[`TCB_RETRIES]  = retries;
                    tcb_out[`TCB_BACKOFF]  = backoff;
                    tcb_out[`TCB_MTU_FAIL] = fails;
                    if (st_blackhole) tcb_out[`TCB_MSS] = base;
                end
                `NK_RTX_PERSIST: if (live) begin
                    tcb_out[`TCB_PROBE]   = 1'b1;
                    tcb_out[`TCB_RETRIES] = retries;
                    tcb_out[`TCB_BACKOFF] = backoff;
                end
                `NK_RTX_KEEP: if (keeps) begin
                    tcb_out[`TCB_KA_PROBE] = 1'b1;
                    tcb_out[`TCB_RETRIES]  = retries;
                end else begin
                    // The peer has spoken meanwhile, or the period is longer than a deadline can be.
                    tcb_out[`TCB_RETRIES]  = 8'd0;
                end
                `NK_RTX_TIMEWAIT, `NK_RTX_FINWAIT2:
                    if (state == `NK_FS_TIME_WAIT || state == `NK_FS_FIN_WAIT2) begin
                        tcb_out[`TCB_STATE]   = tcb[`TCB_CLOSED] ? `NK_FS_DRAIN : `NK_FS_DEAD;
                        tcb_out[`TCB_DACK_ON] = 1'b0;
                    end
                // TLP, REO: nk_tcp_snd. NEIGH: the flow may try to send again. CORK: a timer that is off but
                // still of this kind lets nk_tcp_txsel send what is corked, in this pass alone.
                default: tcb_out[`TCB_RTX_ON] = 1'b0;
            endcase
        end
    end
endmodule

`default_nettype wire
