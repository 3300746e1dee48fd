// SPDX-License-Identifier: Apache-2.0
// What sending the segment that nk_tcp_txsel chose does to the flow's state, and what stands in its header.
//
// Combinational. Without a next hop nothing is sent: the flow waits for ARP on its timer.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_tx (
    // Flow state before it; time in microseconds and of our timestamps; is the next hop known?
    input  wire [`TCB_W-1:0] tcb,
    input  wire [31:0]       now_us,
    input  wire [31:0]       ts_now,
    input  wire              neigh_hit,
    // Parameters: tries for the next hop, MTU of the VF in bytes.
    input  wire [7:0]        p_retries_neigh,
    input  wire [15:0]       mtu,
    // what nk_tcp_txsel says
    input  wire [3:0]        kind,
    input  wire [31:0]       seq,
    input  wire [15:0]       len,
    input  wire              fin,
    input  wire              psh,
    // result
    output wire [`TCB_W-1:0] tcb_out,
    output wire              send,          // a segment goes out
    output wire              ask,           // an ARP request goes out
    // header
    output wire [8:0]        seg_flags,
    output wire [15:0]       seg_wnd,
    output wire [1:0]        seg_ecn,
    output wire [15:0]       seg_mss,       // 0: no option
    output wire              seg_ws_valid,
    output wire              seg_sack_ok,
    output wire              seg_ts_valid,
    output wire [31:0]       seg_tsval,
    output wire [31:0]       seg_tsecr,
    output wire [2:0]        seg_sack_n,
    output wire [255:0]      seg_sack,      // {end, start} a block, first block lowest
    // Counter pulses.
    output wire              is_retransmit,
    output wire              is_probe,      // of a shut window
    output wire              is_tlp,
    output wire              is_keep,
    output wire              is_dsack
);
    wire [3:0] state  = tcb[`TCB_STATE];
    wire       syn    = kind == `NK_TX_SYN;
    wire       wanted = kind != `NK_TX_NONE;
    wire       bare   = kind == `NK_TX_ACK || kind == `NK_TX_KEEP;
    // RETRIES counts tries for the next hop only while one is being looked for.
    wire       asking  = tcb[`TCB_RTX_KIND] == `NK_RTX_NEIGH;
    wire [7:0] tries   = asking ? tcb[`TCB_RETRIES] : 8'd0;
    wire       gave_up = tries >= p_retries_neigh;

    assign send = wanted && neigh_hit;
    assign ask  = wanted && !neigh_hit;

    // -- receive window. After the peer's FIN, RCV_NXT may stand one past the edge -----------------------
    wire [31:0] rcv_nxt  = tcb[`TCB_RCV_NXT];
    wire [31:0] rcv_edge = tcb[`TCB_RCV_EDGE];
    wire [31:0] rcv_adv  = tcb[`TCB_RCV_ADV];
    wire [31:0] space    = `SEQ_GT(rcv_nxt, rcv_edge) ? 32'd0 : rcv_edge - rcv_nxt;
    wire [31:0] left     = `SEQ_GT(rcv_nxt, rcv_adv)  ? 32'd0 : rcv_adv - rcv_nxt;
    wire [3:0]  shift    = syn ? 4'd0 : tcb[`TCB_RCV_WS];
    // The right edge stays where it is until it may move by a segment or half the ring (RFC 9293, 3.8.6.2.2), so what
    // is left of the window is rounded up, as far as there is space for it.
    wire [31:0] rx_half  = 32'd1 << tcb[`TCB_RX_LOG2] >> 1;
    wire [31:0] mss32    = {16'd0, tcb[`TCB_MSS]};
    wire        moves    = space - left >= (mss32 < rx_half ? mss32 : rx_half);
    wire [31:0] units    = space >> shift;
    wire [31:0] stays    = (left + (32'd1 << shift) - 32'd1) >> shift;
    wire [31:0] scaled   = !moves && stays < units ? stays : units;
    wire [15:0] wnd      = scaled > 32'd65535 ? 16'hffff : scaled[15:0];
    wire [31:0] wnd_real = {16'd0, wnd} << shift;

    // -- header --------------------------------------------------------------------------------------------
    // The tenant has not heard of a passive connection before its handshake is done.
    wire        unknown = tcb[`TCB_PASSIVE] && state == `NK_FS_SYN_RCVD;
    wire        syn_ack = syn && state == `NK_FS_SYN_RCVD;
    wire        ecn_ok  = tcb[`TCB_ECN_OK];
    wire [31:0] snd_nxt = tcb[`TCB_SND_NXT];
    wire        fresh   = (kind == `NK_TX_DATA || kind == `NK_TX_TLP) && seq == snd_nxt;
    wire        cwr     = fresh && len != 16'd0 && ecn_ok && tcb[`TCB_CWR_SEND];
    // A SYN that asks for ECN and gets no answer is sent without (RFC 3168, 6.1.1.1).
    wire        syn_ecn = syn && ecn_ok && (syn_ack || tcb[`TCB_BACKOFF] == 4'd0);

    assign seg_flags    = {1'b0, syn ? syn_ecn && !syn_ack : cwr, syn ? syn_ecn : ecn_ok && tcb[`TCB_ECE_SEND], 1'b0,
                           !syn || syn_ack, psh && len != 16'd0, 1'b0, syn, fin};
    assign seg_wnd      = wnd;
    // New data alone, also for DCTCP (RFC 3168, 6.1.1 to 6.1.6).
    assign seg_ecn      = fresh && len != 16'd0 && ecn_ok ? `NK_ECN_ECT0 : `NK_ECN_NOT;
    assign seg_mss      = syn ? mtu - 16'd40 : 16'd0;
    // In SYN_SENT these fields say what is offered, later what was agreed on.
    assign seg_ws_valid = syn && tcb[`TCB_WS_OK];
    assign seg_sack_ok  = syn && tcb[`TCB_SACK_OK];
    assign seg_ts_valid = tcb[`TCB_TS_OK];
    assign seg_tsval    = ts_now;
    assign seg_tsecr    = syn && !syn_ack ? 32'd0 : tcb[`TCB_TS_RECENT];

    nk_tcp_tx_sack blocks (
        .en(kind == `NK_TX_ACK && tcb[`TCB_SACK_OK]), .ts(tcb[`TCB_TS_OK]),
        .dup_v(tcb[`TCB_DSACK_V]), .dup_s(tcb[`TCB_DSACK_S]), .dup_len(tcb[`TCB_DSACK_LEN]),
        .iv_v(tcb[`TCB_OOO_V]), .iv_s(tcb[`TCB_OOO_S]), .iv_e(tcb[`TCB_OOO_E]), .ord(tcb[`TCB_OOO_ORD]),
        .n(seg_sack_n), .blk(seg_sack)
    );

    // -- state -----------------------------------------------------------------------------------------------
    wire [31:0] seq_end = seq + {16'd0, len} + {31'd0, fin} + {31'd0, syn};
    wire        carries = len != 16'd0 || fin || syn;
    wire        old     = `SEQ_LT(seq, snd_nxt);
    wire        further = `SEQ_GT(seq_end, snd_nxt);
    wire [31:0] nxt_out = further ? seq_end : snd_nxt;
    wire        rexmit  = kind == `NK_TX_REXMIT;
    wire        tlp     = kind == `NK_TX_TLP;
    wire        probe   = kind == `NK_TX_PROBE;
    wire [31:0] rxt_nxt = tcb[`TCB_RXT_NXT];
    wire        repairing = tcb[`TCB_IN_REC] || tcb[`TCB_IN_LOSS];
    wire [31:0] prr_out = tcb[`TCB_PRR_OUT];
    wire [25:0] prr_sum = {1'b0, prr_out[24:0]} + {10'd0, len};

    assign is_probe      = send && probe;
    assign is_retransmit = send && carries && !probe && old;
    assign is_tlp        = send && tlp;
    assign is_keep       = send && kind == `NK_TX_KEEP;
    assign is_dsack      = send && kind == `NK_TX_ACK && tcb[`TCB_DSACK_V];

    reg [`TCB_W-1:0] t;
    assign tcb_out = wanted ? t : tcb;

    always @* begin
        t = tcb;
        if (ask) begin
            if (bare) begin
                // Not worth waiting for: the timer may have another duty, and the peer will ask again.
                t[`TCB_ACK_NOW]  = 1'b0;
                t[`TCB_KA_PROBE] = 1'b0;
            end else if (gave_up) begin
                t[`TCB_STATE]    = tcb[`TCB_CLOSED] || unknown ? `NK_FS_DRAIN : `NK_FS_DEAD;
                t[`TCB_N_RST]    = 1'b1;
                t[`TCB_N_STATUS] = `NK_ST_UNREACHABLE;
                t[`TCB_DACK_ON]  = 1'b0;
            end else begin
                t[`TCB_RETRIES]  = tries + 8'd1;
                t[`TCB_W_NEIGH]  = 1'b1;
            end
        end
        if (send) begin
            // Every segment but a first SYN acknowledges.
            if (!syn || syn_ack) begin
                t[`TCB_ACK_NOW] = 1'b0;
                t[`TCB_ACK_CNT] = 2'd0;
                t[`TCB_DACK_ON] = 1'b0;
                t[`TCB_RCV_ADV] = rcv_nxt + wnd_real;
            end
            if (kind == `NK_TX_ACK)  t[`TCB_DSACK_V]  = 1'b0;
            if (kind == `NK_TX_KEEP) t[`TCB_KA_PROBE] = 1'b0;
            t[`TCB_SND_NXT] = nxt_out;
            if (carries) begin
                t[`TCB_W_SENT] = 1'b1;
                t[`TCB_PROBE]  = 1'b0;
                if (fresh && len != 16'd0) t[`TCB_SML] = len < tcb[`TCB_MSS] || (tcb[`TCB_SML] && tcb[`TCB_SND_NXT] != tcb[`TCB_SND_UNA]);
                // Tries for the next hop do not count as tries for the peer.
                if (asking) t[`TCB_RETRIES] = 8'd0;
                // Karn: what was sent twice is no measure of the round trip. In recovery RTT_T has another duty: when
                // the oldest segment was last sent again.
                if (old || probe) begin
                    t[`TCB_RTT_ON] = 1'b0;
                    if (seq == tcb[`TCB_SND_UNA]) t[`TCB_RTT_T] = now_us;
                end else if (!tcb[`TCB_RTT_ON] && !repairing) begin
                    t[`TCB_RTT_ON]  = 1'b1;
                    t[`TCB_RTT_SEQ] = seq_end;
                    t[`TCB_RTT_T]   = now_us;
                end
            end
            if (rexmit || syn) begin
                if (`SEQ_GT(seq_end, rxt_nxt)) t[`TCB_RXT_NXT] = seq_end;
                t[`TCB_RXT_MARK] = nxt_out;
                t[`TCB_TLP_DUE]  = 1'b0;
            end
            if (tlp) begin
                t[`TCB_TLP_DUE]  = 1'b0;
                t[`TCB_TLP_OUT]  = 1'b1;
                t[`TCB_TLP_RETX] = !fresh;
                t[`TCB_TLP_END]  = nxt_out;
            end
            // A probe's byte counts as lost: when the window opens it goes out again at once.
            if (probe) begin
                t[`TCB_LOST_END] = nxt_out;
                t[`TCB_RXT_NXT]  = seq;
            end
            if (cwr) t[`TCB_CWR_SEND] = 1'b0;
            // A SYN without it is an answer for good (RFC 3168, 6.1.1), whatever the peer says to it.
            if (syn && !syn_ecn) t[`TCB_ECN_OK] = 1'b0;
            if (tcb[`TCB_IN_REC] && !probe)
                t[`TCB_PRR_OUT] = {7'd0, prr_sum[25] ? 25'h1ff_ffff : prr_sum[24:0]};
            if (is_retransmit) begin
                t[`TCB_W_RETX] = 1'b1;
                if (tcb[`TCB_RETX_TOTAL] != 16'hffff) t[`TCB_RETX_TOTAL] = tcb[`TCB_RETX_TOTAL] + 16'd1;
            end
        end
    end
    wire unused = &{1'b0, prr_out[31:25]};
endmodule

`default_nettype wire
