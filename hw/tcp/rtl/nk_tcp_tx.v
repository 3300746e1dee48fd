// SPDX-License-Identifier: Apache-2.0
// Transmit grant: what sending the segment that nk_tcp_txsel chose does to the flow's state.
//
// Combinational. Without a next hop nothing is sent: the flow waits for ARP on its timer.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_tx (
    // Flow state before the grant; time in microseconds; is the next hop known?
    input  wire [`TCB_W-1:0] tcb,
    input  wire [31:0]       now_us,
    input  wire              neigh_hit,
    // Parameters: periods in microseconds, tries for the next hop.
    input  wire [31:0]       p_rto_max,
    input  wire [31:0]       p_neigh_retry,
    input  wire [7:0]        p_retries_neigh,
    input  wire [15:0]       mtu,           // of the VF, bytes
    // what nk_tcp_txsel says
    input  wire [2:0]        kind,
    input  wire [31:0]       seq,
    input  wire [15:0]       len,
    input  wire              fin,
    input  wire              psh,
    // result
    output reg  [`TCB_W-1:0] tcb_out,
    output wire              send,          // a segment goes out
    output wire              ask,           // an ARP request goes out
    output wire [8:0]        seg_flags,
    output wire [15:0]       seg_wnd,
    output wire [15:0]       seg_mss,       // 0: no option
    output wire              seg_ws_valid,
    output wire              is_retransmit,
    output wire              is_probe
);
    wire [3:0] state  = tcb[`TCB_STATE];
    wire       syn    = kind == `NK_TX_SYN;
    wire       wanted = kind != `NK_TX_NONE;
    // RETRIES counts tries for the next hop only while one is being looked for.
    wire [7:0] tries   = tcb[`TCB_RTX_KIND] == `NK_RTX_NEIGH ? tcb[`TCB_RETRIES] : 8'd0;
    wire       gave_up = tries >= p_retries_neigh;

    assign send = wanted && neigh_hit;
    assign ask  = wanted && !neigh_hit;

    // Receive window. After the peer's FIN, rcv_nxt may stand one past the edge.
    wire [31:0] space    = `SEQ_GT(tcb[`TCB_RCV_NXT], tcb[`TCB_RCV_EDGE]) ? 32'd0
                         : tcb[`TCB_RCV_EDGE] - tcb[`TCB_RCV_NXT];
    wire [31:0] scaled   = syn ? space : space >> tcb[`TCB_RCV_WS];
    wire [15:0] wnd      = scaled > 32'd65535 ? 16'hffff : scaled[15:0];
    wire [31:0] wnd_real = syn ? {16'd0, wnd} : {16'd0, wnd} << tcb[`TCB_RCV_WS];

    // The tenant has not heard of a passive connection before its handshake is done.
    wire unknown = tcb[`TCB_PASSIVE] && state == `NK_FS_SYN_RCVD;
    wire syn_ack = syn && state == `NK_FS_SYN_RCVD;
    assign seg_flags    = {4'd0, !syn || syn_ack, psh && len != 16'd0, 1'b0, syn, fin};
    assign seg_wnd      = wnd;
    assign seg_mss      = syn ? mtu - 16'd40 : 16'd0;
    assign seg_ws_valid = syn && (!syn_ack || tcb[`TCB_WS_OK]);

    wire [31:0] seq_end = seq + {16'd0, len} + {31'd0, fin} + {31'd0, syn};
    wire        carries = len != 16'd0 || fin || syn;
    assign is_probe      = send && kind == `NK_TX_PROBE;
    assign is_retransmit = send && carries && !is_probe && `SEQ_LT(seq, tcb[`TCB_SND_MAX]);

    wire [47:0] backed_off = {16'd0, tcb[`TCB_RTO]} << tcb[`TCB_BACKOFF];
    wire [31:0] rto        = backed_off > {16'd0, p_rto_max} ? p_rto_max : backed_off[31:0];
    wire        rto_runs   = tcb[`TCB_RTX_ON] && tcb[`TCB_RTX_KIND] == `NK_RTX_RTO;

    always @* begin
        tcb_out = tcb;
        if (ask) begin
            if (kind == `NK_TX_ACK) begin
                // Not worth waiting for: the timer may have another duty, and the peer will ask again.
                tcb_out[`TCB_ACK_NOW] = 1'b0;
            end else if (gave_up) begin
                tcb_out[`TCB_STATE]    = tcb[`TCB_CLOSED] || unknown ? `NK_FS_DRAIN : `NK_FS_DEAD;
                tcb_out[`TCB_N_RST]    = 1'b1;
                tcb_out[`TCB_N_STATUS] = `NK_ST_UNREACHABLE;
                tcb_out[`TCB_RTX_ON]   = 1'b0;
                tcb_out[`TCB_DACK_ON]  = 1'b0;
            end else begin
                tcb_out[`TCB_RETRIES]  = tries + 8'd1;
                tcb_out[`TCB_RTX_ON]   = 1'b1;
                tcb_out[`TCB_RTX_KIND] = `NK_RTX_NEIGH;
                tcb_out[`TCB_RTX_T]    = now_us + p_neigh_retry;
            end
        end
        if (send) begin
            // Every segment but a first SYN acknowledges.
            if (!syn || syn_ack) begin
                tcb_out[`TCB_ACK_NOW] = 1'b0;
                tcb_out[`TCB_ACK_CNT] = 2'd0;
                tcb_out[`TCB_DACK_ON] = 1'b0;
                tcb_out[`TCB_RCV_ADV] = tcb[`TCB_RCV_NXT] + wnd_real;
            end
            if (kind == `NK_TX_SYN || kind == `NK_TX_DATA)
                tcb_out[`TCB_SND_NXT] = seq_end;
            if (`SEQ_GT(seq_end, tcb[`TCB_SND_MAX]))
                tcb_out[`TCB_SND_MAX] = seq_end;
            if (kind == `NK_TX_REXMIT) tcb_out[`TCB_REXMIT] = 1'b0;
            if (kind == `NK_TX_PROBE)  tcb_out[`TCB_PROBE]  = 1'b0;
            if (carries) begin
                // Karn: a segment sent twice is no measure of the round trip.
                if (is_retransmit || is_probe)
                    tcb_out[`TCB_RTT_ON] = 1'b0;
                else if (!tcb[`TCB_RTT_ON]) begin
                    tcb_out[`TCB_RTT_ON]  = 1'b1;
                    tcb_out[`TCB_RTT_SEQ] = seq_end;
                    tcb_out[`TCB_RTT_T]   = now_us;
                end
                if (!rto_runs) begin
                    tcb_out[`TCB_RTX_ON]   = 1'b1;
                    tcb_out[`TCB_RTX_KIND] = is_probe ? `NK_RTX_PERSIST : `NK_RTX_RTO;
                    tcb_out[`TCB_RTX_T]    = now_us + rto;
                    // Tries for the next hop do not count as tries for the peer.
                    if (tcb[`TCB_RTX_KIND] == `NK_RTX_NEIGH) tcb_out[`TCB_RETRIES] = 8'd0;
                end
                if (is_retransmit && tcb[`TCB_RETX_TOTAL] != 16'hffff)
                    tcb_out[`TCB_RETX_TOTAL] = tcb[`TCB_RETX_TOTAL] + 16'd1;
            end
        end
    end
endmodule

`default_nettype wire
