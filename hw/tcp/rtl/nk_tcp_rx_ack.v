// SPDX-License-Identifier: Apache-2.0
// A received segment, first half: acceptability, RST, SYN and ACK processing (RFC 9293, 3.10.7).
//
// Combinational. What the segment carries is for nk_tcp_rx_data, if `data_ok` says so.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_rx_ack (
    // Flow state before the segment; time in microseconds.
    input  wire              en,            // saves simulation time while 0
    input  wire [`TCB_W-1:0] tcb,
    input  wire              is_open,       // SYN that takes this flow, an accept credit, from its listener
    input  wire [31:0]       isn,           // our initial sequence number then
    input  wire [31:0]       now_us,
    // segment
    input  wire [31:0]       seq,
    input  wire [31:0]       ack,
    input  wire [8:0]        flags,
    input  wire [15:0]       wnd,
    input  wire [15:0]       mss,           // 0: no option
    input  wire [3:0]        wscale,
    input  wire              wscale_valid,
    input  wire [15:0]       len,
    input  wire [31:0]       rip,
    input  wire [15:0]       rport,
    input  wire [15:0]       lport,
    input  wire [15:0]       listener,      // socket id
    // parameters
    input  wire [15:0]       mtu,
    input  wire [31:0]       p_rto_min,
    input  wire [31:0]       p_rto_init,
    input  wire [31:0]       p_rto_max,
    input  wire [31:0]       p_time_wait,
    input  wire [31:0]       p_fin_wait2,
    input  wire [7:0]        p_initial_cwnd,
    // result
    output reg  [`TCB_W-1:0] tcb_out,
    output reg               data_ok,
    output reg               reply_rst,     // answer with <SEQ=ack><RST>
    output reg               st_unacceptable,
    output reg               st_bad_ack,
    output reg               st_rst,
    output wire              st_dupack,
    output wire              st_fast
);
    wire f_fin = flags[`NK_TF_FIN];
    wire f_syn = flags[`NK_TF_SYN];
    wire f_rst = flags[`NK_TF_RST];
    wire f_ack = flags[`NK_TF_ACK];

    wire [3:0]  state   = tcb[`TCB_STATE];
    wire [31:0] snd_una = tcb[`TCB_SND_UNA];
    wire [31:0] snd_nxt = tcb[`TCB_SND_NXT];
    wire [31:0] snd_max = tcb[`TCB_SND_MAX];
    wire [31:0] tx_end  = tcb[`TCB_TX_END];
    wire [31:0] rcv_nxt = tcb[`TCB_RCV_NXT];
    wire [31:0] cur_mss = {16'd0, tcb[`TCB_MSS]};

    // -- acceptability: the four cases of RFC 9293, 3.4 ------------------------------------------
    wire [31:0] rcv_wnd  = `SEQ_GT(rcv_nxt, tcb[`TCB_RCV_EDGE]) ? 32'd0 : tcb[`TCB_RCV_EDGE] - rcv_nxt;
    wire [31:0] seg_len  = {16'd0, len} + {31'd0, f_syn} + {31'd0, f_fin};
    wire [31:0] first    = seq - rcv_nxt;
    wire [31:0] last     = first + seg_len - 32'd1;
    wire        first_in = first < rcv_wnd;
    wire        last_in  = last < rcv_wnd;
    // A bare FIN needs no room, and what it closes must not hang on a shut window.
    wire        bare_fin = f_fin && len == 16'd0 && !f_syn && first == 32'd0;
    wire        accept   = seg_len == 32'd0 ? (rcv_wnd == 32'd0 ? first == 32'd0 : first_in)
                         : bare_fin || (rcv_wnd != 32'd0 && (first_in || last_in));

    // A shut window still takes valid ACKs (RFC 9293, 3.10.7.4): that of a probe, and one that stands behind a
    // probe's byte. Otherwise two ends that have both shut their windows never hear of them opening.
    wire        ack_only = !accept && rcv_wnd == 32'd0 && f_ack && !f_rst && !f_syn
                         && (first == 32'd0 || (first == 32'd1 && seg_len == 32'd0));

    // -- acknowledgement --------------------------------------------------------------------------
    wire        ack_new  = `SEQ_GT(ack, snd_una) && `SEQ_LE(ack, snd_max);
    wire        ack_far  = `SEQ_GT(ack, snd_max);
    wire [31:0] new_wnd  = {16'd0, wnd} << tcb[`TCB_SND_WS];
    wire        wnd_newer = `SEQ_LT(tcb[`TCB_SND_WL1], seq)
                         || (tcb[`TCB_SND_WL1] == seq && `SEQ_LE(tcb[`TCB_SND_WL2], ack));
    wire        outstanding = snd_max != snd_una;
    // An answer to a zero-window probe repeats ack and window too, but tells nothing of a loss.
    wire        ack_dup  = ack == snd_una && outstanding && len == 16'd0 && !f_syn && !f_fin
                         && new_wnd == tcb[`TCB_SND_WND] && new_wnd != 32'd0;
    wire        fin_acked = tcb[`TCB_FIN_REQ] && ack == tx_end + 32'd1;
    wire        synced   = state >= `NK_FS_ESTABLISHED && state <= `NK_FS_TIME_WAIT;
    wire        ack_event = en && synced && (accept || ack_only) && f_ack && !f_rst && !f_syn;

    wire [31:0] cc_cwnd;
    wire [31:0] cc_ssthresh;
    wire [31:0] cc_recover;
    wire [31:0] cc_ca_acc;
    wire        cc_in_rec;
    wire [3:0]  cc_dupacks;
    wire        cc_rexmit;

    assign st_dupack = ack_event && ack_dup;

    nk_cc_newreno cc (
        .cwnd(tcb[`TCB_CWND]), .ssthresh(tcb[`TCB_SSTHRESH]), .recover(tcb[`TCB_RECOVER]),
        .ca_acc(tcb[`TCB_CA_ACC]), .in_rec(tcb[`TCB_IN_REC]), .dupacks(tcb[`TCB_DUPACKS]),
        .ev_ack(ack_event && ack_new), .ev_dupack(ack_event && ack_dup), .ev_rto(1'b0),
        .ack(ack), .snd_una(snd_una), .snd_max(snd_max), .mss(cur_mss),
        .cwnd_out(cc_cwnd), .ssthresh_out(cc_ssthresh), .recover_out(cc_recover),
        .ca_acc_out(cc_ca_acc), .in_rec_out(cc_in_rec), .dupacks_out(cc_dupacks),
        .rexmit(cc_rexmit), .entered(st_fast)
    );

    // -- round trip -------------------------------------------------------------------------------
    wire        rtt_end = tcb[`TCB_RTT_ON] && ack_new && `SEQ_GE(ack, tcb[`TCB_RTT_SEQ]);
    wire [31:0] rtt_srtt8;
    wire [31:0] rtt_rttvar4;
    wire [31:0] rtt_rto;

    nk_tcp_rtt rtt (
        .srtt8(tcb[`TCB_SRTT8]), .rttvar4(tcb[`TCB_RTTVAR4]), .sample(now_us - tcb[`TCB_RTT_T]),
        .p_rto_min(p_rto_min), .p_rto_max(p_rto_max),
        .srtt8_out(rtt_srtt8), .rttvar4_out(rtt_rttvar4), .rto(rtt_rto)
    );
    wire [31:0] rto_now = rtt_end ? rtt_rto : tcb[`TCB_RTO];
    // Without a sample the timer starts again with the backed-off RTO.
    wire [47:0] backed_off = {16'd0, tcb[`TCB_RTO]} << tcb[`TCB_BACKOFF];
    wire [31:0] rto_next   = rtt_end ? rtt_rto : backed_off > {16'd0, p_rto_max} ? p_rto_max : backed_off[31:0];

    // -- what a SYN settles -----------------------------------------------------------------------
    wire [15:0] own_mss  = mtu - 16'd40;
    wire [15:0] peer_mss = mss == 16'd0 ? 16'd`NK_LIM_MSS_DEFAULT : mss < 16'd64 ? 16'd64 : mss;
    wire [15:0] eff_mss  = peer_mss < own_mss ? peer_mss : own_mss;
    wire [3:0]  peer_ws  = wscale > 4'd14 ? 4'd14 : wscale;
    // 2^15 << shift covers the ring, so that a full window still fits the field.
    wire [4:0]  ring_ws  = tcb[`TCB_RX_LOG2] > 5'd15 ? tcb[`TCB_RX_LOG2] - 5'd15 : 5'd0;
    wire [31:0] rx_ring  = 32'd1 << tcb[`TCB_RX_LOG2];
    wire [31:0] init_cwnd = {24'd0, p_initial_cwnd};

    always @* begin
        tcb_out         = tcb;
        data_ok         = 1'b0;
        reply_rst       = 1'b0;
        st_unacceptable = 1'b0;
        st_bad_ack      = 1'b0;
        st_rst          = 1'b0;
        if (!en) begin
            tcb_out = tcb;
        end else if (is_open || (state == `NK_FS_SYN_SENT && f_syn && !f_rst
                                 && (!f_ack || ack_new))) begin
            // A SYN that we take: what it tells us is the same in all three ways to open.
            tcb_out[`TCB_IRS]      = seq;
            tcb_out[`TCB_RCV_NXT]  = seq + 32'd1;
            tcb_out[`TCB_RCV_NTF]  = seq + 32'd1;
            tcb_out[`TCB_RCV_ADV]  = seq + 32'd1;
            tcb_out[`TCB_RCV_EDGE] = seq + 32'd1 + rx_ring;
            tcb_out[`TCB_MSS]      = eff_mss;
            tcb_out[`TCB_CWND]     = init_cwnd * {16'd0, eff_mss};
            tcb_out[`TCB_WS_OK]    = wscale_valid;
            tcb_out[`TCB_SND_WS]   = wscale_valid ? peer_ws : 4'd0;
            tcb_out[`TCB_RCV_WS]   = wscale_valid ? ring_ws[3:0] : 4'd0;
            tcb_out[`TCB_SND_WND]  = {16'd0, wnd};
            tcb_out[`TCB_SND_WL1]  = seq;
            tcb_out[`TCB_SND_WL2]  = ack;
            tcb_out[`TCB_RTX_ON]   = 1'b0;
            if (is_open) begin
                tcb_out[`TCB_STATE]   = `NK_FS_SYN_RCVD;
                tcb_out[`TCB_PASSIVE] = 1'b1;
                tcb_out[`TCB_LINK]    = listener;
                tcb_out[`TCB_RIP]     = rip;
                tcb_out[`TCB_RPORT]   = rport;
                tcb_out[`TCB_LPORT]   = lport;
                tcb_out[`TCB_ISS]     = isn;
                tcb_out[`TCB_SND_UNA] = isn;
                tcb_out[`TCB_SND_NXT] = isn;
                tcb_out[`TCB_SND_MAX] = isn;
                tcb_out[`TCB_TX_END]  = isn + 32'd1;
                tcb_out[`TCB_SND_NTF] = isn + 32'd1;
                tcb_out[`TCB_RECOVER] = isn;
                tcb_out[`TCB_RTO]     = p_rto_init;
            end else if (f_ack) begin
                tcb_out[`TCB_STATE]   = `NK_FS_ESTABLISHED;
                tcb_out[`TCB_SND_UNA] = ack;
                tcb_out[`TCB_N_CONN]  = 1'b1;
                tcb_out[`TCB_ACK_NOW] = 1'b1;
                tcb_out[`TCB_BACKOFF] = 4'd0;
                tcb_out[`TCB_RETRIES] = 8'd0;
                tcb_out[`TCB_RTT_ON]  = 1'b0;
                tcb_out[`TCB_RTO]     = rto_now;
                if (rtt_end) begin
                    tcb_out[`TCB_SRTT8]   = rtt_srtt8;
                    tcb_out[`TCB_RTTVAR4] = rtt_rttvar4;
                end
            end else begin
                // Simultaneous open: our SYN goes out again, now with an ACK.
                tcb_out[`TCB_STATE]   = `NK_FS_SYN_RCVD;
                tcb_out[`TCB_SND_NXT] = tcb[`TCB_ISS];
                tcb_out[`TCB_RTT_ON]  = 1'b0;
            end
        end else if (state == `NK_FS_SYN_SENT) begin
            if (f_ack && !ack_new) begin
                st_bad_ack = 1'b1;
                reply_rst  = !f_rst;
            end else if (f_rst && f_ack) begin
                st_rst                 = 1'b1;
                tcb_out[`TCB_STATE]    = tcb[`TCB_CLOSED] ? `NK_FS_DRAIN : `NK_FS_DEAD;
                tcb_out[`TCB_N_RST]    = 1'b1;
                tcb_out[`TCB_N_STATUS] = `NK_ST_REFUSED;
                tcb_out[`TCB_RTX_ON]   = 1'b0;
            end
        end else if (state == `NK_FS_SYN_RCVD && f_syn && !f_ack && !f_rst && seq == tcb[`TCB_IRS]) begin
            // Our SYN-ACK was lost: send it again now rather than at the timeout.
            tcb_out[`TCB_SND_NXT] = tcb[`TCB_ISS];
            tcb_out[`TCB_RTT_ON]  = 1'b0;
        end else if (!accept && !(ack_only && synced)) begin
            st_unacceptable       = 1'b1;
            tcb_out[`TCB_ACK_NOW] = tcb[`TCB_ACK_NOW] || !f_rst;
            // RFC 9293, 3.10.7.8: the peer's FIN again means that our last ACK was lost.
            if (state == `NK_FS_TIME_WAIT && f_fin)
                tcb_out[`TCB_RTX_T] = now_us + p_time_wait;
        end else if (f_rst) begin
            if (seq == rcv_nxt) begin
                st_rst                 = 1'b1;
                tcb_out[`TCB_STATE]    = tcb[`TCB_CLOSED] || (state == `NK_FS_SYN_RCVD && tcb[`TCB_PASSIVE])
                                       ? `NK_FS_DRAIN : `NK_FS_DEAD;
                // In TIME_WAIT nothing is lost by it, and the user does not hear of it (RFC 9293, 3.10.7.4).
                tcb_out[`TCB_N_RST]    = state != `NK_FS_TIME_WAIT;
                tcb_out[`TCB_N_STATUS] = state == `NK_FS_SYN_RCVD && !tcb[`TCB_PASSIVE]
                                       ? `NK_ST_REFUSED : `NK_ST_PEER_RESET;
                tcb_out[`TCB_RTX_ON]   = 1'b0;
                tcb_out[`TCB_DACK_ON]  = 1'b0;
            end else begin
                tcb_out[`TCB_ACK_NOW] = 1'b1;     // challenge ACK (RFC 5961, 3.2)
            end
        end else if (f_syn) begin
            tcb_out[`TCB_ACK_NOW] = 1'b1;         // challenge ACK (RFC 5961, 4.2)
        end else if (f_ack && state == `NK_FS_SYN_RCVD) begin
            if (!ack_new) begin
                st_bad_ack = 1'b1;
                reply_rst  = 1'b1;
            end else begin
                data_ok                = 1'b1;
                tcb_out[`TCB_STATE]    = tcb[`TCB_FIN_REQ] ? `NK_FS_FIN_WAIT1 : `NK_FS_ESTABLISHED;
                tcb_out[`TCB_SND_UNA]  = ack;
                tcb_out[`TCB_SND_NXT]  = ack;
                tcb_out[`TCB_SND_WND]  = new_wnd;
                tcb_out[`TCB_SND_WL1]  = seq;
                tcb_out[`TCB_SND_WL2]  = ack;
                tcb_out[`TCB_N_CONN]   = 1'b1;
                tcb_out[`TCB_RTX_ON]   = 1'b0;
                tcb_out[`TCB_BACKOFF]  = 4'd0;
                tcb_out[`TCB_RETRIES]  = 8'd0;
                tcb_out[`TCB_RTT_ON]   = 1'b0;
                tcb_out[`TCB_RTO]      = rto_now;
                if (rtt_end) begin
                    tcb_out[`TCB_SRTT8]   = rtt_srtt8;
                    tcb_out[`TCB_RTTVAR4] = rtt_rttvar4;
                end
            end
        end else if (f_ack && ack_far) begin
            st_bad_ack            = 1'b1;
            tcb_out[`TCB_ACK_NOW] = 1'b1;
        end else if (f_ack) begin
            data_ok               = accept;
            tcb_out[`TCB_RETRIES] = 8'd0;
            if (!accept && seg_len != 32'd0) begin
                st_unacceptable       = 1'b1;
                tcb_out[`TCB_ACK_NOW] = 1'b1;
            end
            if (`SEQ_GE(ack, snd_una) && wnd_newer) begin
                tcb_out[`TCB_SND_WND] = new_wnd;
                tcb_out[`TCB_SND_WL1] = ack_only ? rcv_nxt : seq;
                tcb_out[`TCB_SND_WL2] = ack;
                // An open window ends the probing; what was probed goes out as data.
                if (new_wnd != 32'd0 && tcb[`TCB_RTX_ON] && tcb[`TCB_RTX_KIND] == `NK_RTX_PERSIST) begin
                    tcb_out[`TCB_RTX_ON]  = 1'b0;
                    tcb_out[`TCB_PROBE]   = 1'b0;
                    tcb_out[`TCB_BACKOFF] = 4'd0;
                end
            end
            tcb_out[`TCB_CWND]     = cc_cwnd;
            tcb_out[`TCB_SSTHRESH] = cc_ssthresh;
            tcb_out[`TCB_RECOVER]  = cc_recover;
            tcb_out[`TCB_CA_ACC]   = cc_ca_acc;
            tcb_out[`TCB_IN_REC]   = cc_in_rec;
            tcb_out[`TCB_DUPACKS]  = cc_dupacks;
            if (cc_rexmit) tcb_out[`TCB_REXMIT] = 1'b1;
            if (ack_new) begin
                tcb_out[`TCB_SND_UNA] = ack;
                if (`SEQ_LT(snd_nxt, ack)) tcb_out[`TCB_SND_NXT] = ack;
                if (!cc_rexmit) tcb_out[`TCB_REXMIT] = 1'b0;
                // Karn: the longer RTO stays until a segment sent once gives a new sample (RFC 6298, 5).
                if (rtt_end) begin
                    tcb_out[`TCB_BACKOFF] = 4'd0;
                    tcb_out[`TCB_SRTT8]   = rtt_srtt8;
                    tcb_out[`TCB_RTTVAR4] = rtt_rttvar4;
                    tcb_out[`TCB_RTO]     = rtt_rto;
                    tcb_out[`TCB_RTT_ON]  = 1'b0;
                end
                // RFC 6298, 5.2 and 5.3.
                if (tcb[`TCB_RTX_ON] && tcb[`TCB_RTX_KIND] == `NK_RTX_RTO) begin
                    tcb_out[`TCB_RTX_ON] = ack != snd_max;
                    tcb_out[`TCB_RTX_T]  = now_us + rto_next;
                end
                if (fin_acked) begin
                    case (state)
                        `NK_FS_FIN_WAIT1: begin
                            tcb_out[`TCB_STATE] = `NK_FS_FIN_WAIT2;
                            if (tcb[`TCB_CLOSED]) begin
                                tcb_out[`TCB_RTX_ON]   = 1'b1;
                                tcb_out[`TCB_RTX_KIND] = `NK_RTX_FINWAIT2;
                                tcb_out[`TCB_RTX_T]    = now_us + p_fin_wait2;
                            end
                        end
                        `NK_FS_CLOSING: begin
                            tcb_out[`TCB_STATE]    = `NK_FS_TIME_WAIT;
                            tcb_out[`TCB_RTX_ON]   = 1'b1;
                            tcb_out[`TCB_RTX_KIND] = `NK_RTX_TIMEWAIT;
                            tcb_out[`TCB_RTX_T]    = now_us + p_time_wait;
                        end
                        `NK_FS_LAST_ACK: begin
                            tcb_out[`TCB_STATE]   = tcb[`TCB_CLOSED] ? `NK_FS_DRAIN : `NK_FS_DEAD;
                            tcb_out[`TCB_RTX_ON]  = 1'b0;
                            tcb_out[`TCB_DACK_ON] = 1'b0;
                        end
                        default: tcb_out[`TCB_STATE] = state;
                    endcase
                end
            end
        end
    end

    // PSH asks for nothing here; urgent data is ordinary data, and ECN is not negotiated.
    wire unused = &{1'b0, flags, ring_ws};
endmodule

`default_nettype wire
