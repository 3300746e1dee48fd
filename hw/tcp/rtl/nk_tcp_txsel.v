// SPDX-License-Identifier: Apache-2.0
// Decides, from a flow's state alone, what its next segment is: the one place where that is decided.
//
// Combinational. The engine asks twice: before a transmit grant, to build the segment, and after
// every event, to learn whether the flow belongs into the transmit list.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_txsel (
    // Flow state.
    input  wire [`TCB_W-1:0] tcb,
    // Its next segment.
    output reg  [2:0]        kind,     // NK_TX_*; NK_TX_NONE: nothing to send
    output reg  [31:0]       seq,      // sequence number of the segment
    output reg  [15:0]       len,      // payload bytes
    output reg               fin,      // FIN goes with it
    output reg               psh,      // last byte that the tenant gave
    output wire              blocked   // data waits, nothing is in flight and the window is shut
);
    wire [3:0]  state   = tcb[`TCB_STATE];
    wire [31:0] snd_una = tcb[`TCB_SND_UNA];
    wire [31:0] snd_nxt = tcb[`TCB_SND_NXT];
    wire [31:0] snd_max = tcb[`TCB_SND_MAX];
    wire [31:0] tx_end  = tcb[`TCB_TX_END];
    wire [31:0] mss     = {16'd0, tcb[`TCB_MSS]};

    wire syn_state  = state == `NK_FS_SYN_SENT || state == `NK_FS_SYN_RCVD;
    wire synced     = state >= `NK_FS_ESTABLISHED && state <= `NK_FS_TIME_WAIT;
    wire may_send   = synced && state != `NK_FS_FIN_WAIT2 && state != `NK_FS_TIME_WAIT;
    wire no_nexthop = tcb[`TCB_RTX_ON] && tcb[`TCB_RTX_KIND] == `NK_RTX_NEIGH;

    // A FIN already sent puts snd_nxt one past tx_end.
    wire        past_fin = `SEQ_GT(snd_nxt, tx_end);
    wire [31:0] unsent   = past_fin ? 32'd0 : tx_end - snd_nxt;
    wire [31:0] flight   = snd_nxt - snd_una;
    wire [31:0] window   = tcb[`TCB_SND_WND] < tcb[`TCB_CWND] ? tcb[`TCB_SND_WND] : tcb[`TCB_CWND];
    wire [31:0] usable   = window > flight ? window - flight : 32'd0;
    wire [31:0] fits     = usable < mss ? usable : mss;
    wire [31:0] dlen     = unsent < fits ? unsent : fits;
    // Sender's half of silly window avoidance (RFC 9293, 3.8.6.2.1): a full segment, or all there is,
    // or anything when no ACK is on its way that could open the window.
    wire        send_data = dlen != 32'd0 && (dlen == mss || dlen == unsent || flight == 32'd0);
    wire        send_fin  = tcb[`TCB_FIN_REQ] && !past_fin && dlen == unsent;

    wire [31:0] rex_end  = `SEQ_LT(snd_max, tx_end) ? snd_max : tx_end;
    wire [31:0] rex_left = rex_end - snd_una;
    wire [31:0] rex_len  = `SEQ_GT(snd_una, tx_end) ? 32'd0 : rex_left < mss ? rex_left : mss;
    wire        rex_fin  = tcb[`TCB_FIN_REQ] && `SEQ_GT(snd_max, tx_end) && rex_left == rex_len;

    wire        waiting  = snd_max != snd_una;
    // A probe's byte stands beyond the shut window. An ACK beyond it would be dropped there, and two ends that
    // probe each other would answer each other's ACKs for ever.
    wire        probed   = tcb[`TCB_SND_WND] == 32'd0 && flight == 32'd0 && snd_max - snd_una == 32'd1;
    assign blocked = may_send && unsent != 32'd0 && flight == 32'd0 && usable == 32'd0;

    always @* begin
        kind = `NK_TX_NONE;
        seq  = snd_max;
        len  = 16'd0;
        fin  = 1'b0;
        psh  = 1'b0;
        if (no_nexthop) begin
            // Nothing can leave before ARP has answered; the timer asks again.
            kind = `NK_TX_NONE;
        end else if (syn_state && snd_nxt == tcb[`TCB_ISS]) begin
            kind = `NK_TX_SYN;
            seq  = snd_nxt;
        end else if (may_send && tcb[`TCB_REXMIT] && waiting) begin
            kind = `NK_TX_REXMIT;
            seq  = snd_una;
            len  = rex_len[15:0];
            fin  = rex_fin;
            psh  = 1'b1;
        end else if (may_send && tcb[`TCB_PROBE] && `SEQ_LT(snd_una, tx_end)) begin
            kind = `NK_TX_PROBE;
            seq  = snd_una;
            len  = 16'd1;
        end else if (may_send && (send_data || send_fin)) begin
            kind = `NK_TX_DATA;
            seq  = snd_nxt;
            len  = dlen[15:0];
            fin  = send_fin;
            psh  = dlen == unsent;
        end else if ((synced || state == `NK_FS_SYN_RCVD) && tcb[`TCB_ACK_NOW]) begin
            kind = `NK_TX_ACK;
            if (probed) seq = snd_una;
        end
    end

    // A pure function of a few of the state's fields.
    wire unused = &{1'b0, tcb};
endmodule

`default_nettype wire
