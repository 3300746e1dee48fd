// SPDX-License-Identifier: Apache-2.0
// What a received segment means for its flow: acceptability, RST, SYN, ACK (RFC 9293, 3.10.7; RFC 7323, 5961, 6191).
//
// Combinational. What the segment carries is for nk_tcp_rcv, if `data_ok` says so; what its ACK means for the
// sender is for nk_tcp_snd, by the ev_* outputs.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_rx_chk #(
    // Bytes: an MSS option below it counts as this, 32 to 536. A peer must not make us send headers without data.
    parameter MSS_MIN = 64
) (
    // Flow state before the segment; time in 2^20 us (LAST_T) and 2^34 us (TS_AGE).
    input  wire              en,            // 0: the state passes through
    input  wire [`TCB_W-1:0] tcb,
    input  wire [15:0]       now_s,
    input  wire [8:0]        ts_age,
    // The flow is an accept credit that this segment takes.
    input  wire              is_open,       // it is a SYN to a listener
    input  wire              is_cookie,     // it is the ACK of a SYN cookie; `mss` is the cookie's
    input  wire [31:0]       isn,           // our initial sequence number for a SYN
    input  wire [15:0]       listener,      // socket id
    input  wire [2:0]        prof,          // NSM profile of the VF
    // The segment: whose, from whom, to which port.
    input  wire [7:0]        vf,
    input  wire [31:0]       rip,
    input  wire [15:0]       rport,
    input  wire [15:0]       lport,
    // Its header and options.
    input  wire [31:0]       seq,
    input  wire [31:0]       ack,
    input  wire [8:0]        flags,
    input  wire [15:0]       wnd,
    input  wire [15:0]       mss,           // 0: no option
    input  wire [3:0]        wscale,
    input  wire              wscale_valid,
    input  wire              sack_ok,
    input  wire              ts_valid,
    input  wire [31:0]       tsval,
    input  wire [15:0]       len,           // payload bytes
    // Of the VF and of the flow's profile; leave to send a challenge ACK.
    input  wire [15:0]       mtu,
    input  wire [7:0]        p_flags,       // NK_PF_*
    input  wire              challenge_ok,
    // State after it; events for X2.
    output reg  [`TCB_W-1:0] tcb_out,
    output reg               data_ok,       // nk_tcp_rcv may look at what it carries
    output reg               ev_ack,        // SND.UNA =< SEG.ACK =< SND.NXT, and it counts
    output reg               ev_new,        // SND.UNA < SEG.ACK
    output reg               ev_dup,        // duplicate ACK (RFC 5681, 2)
    output reg               ev_syn,        // acknowledges our SYN
    // What the pipeline has to do.
    output reg               reply_rst,     // answer with <SEQ=ack><RST>
    output reg               reopen,        // SYN that ends TIME_WAIT: to be looked up again
    output reg               challenge,     // a challenge ACK is called for; sent if challenge_ok
    output wire              stranger,      // not this flow's segment: treat it as one for no flow
    // Counter pulses.
    output reg               st_unacceptable,
    output reg               st_bad_ack,
    output reg               st_rst,
    output reg               st_paws,
    output wire              st_challenge,
    output wire              st_limited,
    output reg               st_dsack
);
    initial begin
        if (MSS_MIN < 1 || MSS_MIN > 536) begin
            $display("%m: MSS_MIN = %0d (1 to 536)", MSS_MIN);
            $finish;
        end
    end

    // RFC 7323, 5.5: a TS.Recent of 24 days or more is void; they are 121 * 2^34 us. The age comes round after 101 days.
    localparam [8:0]  TS_VOID   = 9'd121;
    // Segments to be acknowledged at once after a silence: the peer starts from a small window again.
    localparam [3:0]  QUICK_ALL = 4'd15;
    localparam [31:0] WND_MAX   = 32'd1 << 24;
    localparam [15:0] MSS_LOW   = MSS_MIN;

    wire f_fin = flags[`NK_TF_FIN];
    wire f_syn = flags[`NK_TF_SYN];
    wire f_rst = flags[`NK_TF_RST];
    wire f_ack = flags[`NK_TF_ACK];
    wire f_ece = flags[`NK_TF_ECE];
    wire f_cwr = flags[`NK_TF_CWR];

    wire [3:0]  state    = tcb[`TCB_STATE];
    wire [31:0] snd_una  = tcb[`TCB_SND_UNA];
    wire [31:0] snd_nxt  = tcb[`TCB_SND_NXT];
    wire [31:0] rcv_nxt  = tcb[`TCB_RCV_NXT];
    wire        ts_on    = tcb[`TCB_TS_OK];
    wire        syn_sent = state == `NK_FS_SYN_SENT;
    wire        syn_rcvd = state == `NK_FS_SYN_RCVD;
    wire        in_tw    = state == `NK_FS_TIME_WAIT;

    // -- whose segment is it? ----------------------------------------------------------------------
    // Between the look-up and this pass the flow may have ended, and even have become another.
    wire        connected = state >= `NK_FS_SYN_SENT && state <= `NK_FS_TIME_WAIT;
    wire        same_peer = tcb[`TCB_VF] == vf && tcb[`TCB_RIP] == rip
                         && tcb[`TCB_RPORT] == rport && tcb[`TCB_LPORT] == lport;
    wire        takes     = is_open || is_cookie;
    assign stranger = en && !(takes ? state == `NK_FS_CREDIT : connected && same_peer);

    // -- acceptability: the four cases of RFC 9293, 3.4 (a SYN never comes that far) ----------------
    wire [31:0] room     = tcb[`TCB_RCV_EDGE] - rcv_nxt;
    wire [31:0] rcv_wnd  = room[31] ? 32'd0 : room;
    wire        shut     = rcv_wnd == 32'd0;
    wire        empty    = len == 16'd0 && !f_fin;
    wire [31:0] first    = seq - rcv_nxt;
    wire [31:0] last     = first + {16'd0, len} - {31'd0, !f_fin};
    wire        first_in = first < rcv_wnd;
    wire        in_turn  = first == 32'd0;
    // A bare FIN needs no room, and what it closes must not hang on a shut window.
    wire        bare_fin = f_fin && len == 16'd0 && in_turn;
    wire        accept   = empty ? first_in || (shut && in_turn)
                         : bare_fin || first_in || last < rcv_wnd;
    // A shut window still takes valid ACKs (RFC 9293, 3.10.7.4): that of a probe, and one that stands behind a
    // probe's byte. Otherwise two ends that have both shut their windows never hear of them opening.
    wire        ack_only = !accept && shut && f_ack && !syn_rcvd && (in_turn || (first == 32'd1 && empty));
    // Keep-alive and other probes of one byte before the window want an answer, and so does data, since the peer
    // will send it again otherwise. Other bare ACKs are answered as challenges: two ends out of step must not
    // answer each other's ACKs for ever.
    wire        is_probe = first == 32'hffff_ffff || !empty;

    // -- timestamps (RFC 7323) ---------------------------------------------------------------------
    wire [8:0]  age      = ts_age - tcb[`TCB_TS_AGE];
    wire        ts_void  = age >= TS_VOID;
    wire        ts_older = `SEQ_LT(tsval, tcb[`TCB_TS_RECENT]) && !ts_void;
    wire        ts_gone  = ts_on && !ts_valid;         // 3.2: SHOULD be dropped without a word
    wire        paws     = ts_on && ts_valid && ts_older;
    // An ACK that others have overtaken is no reason for an ACK of ours (as in Linux).
    wire        late_ack = empty && f_ack && `SEQ_LE(ack, snd_una);
    // 5.3, R3. All up to rcv_nxt was acknowledged (Last.ACK.sent) when no segment waits for its ACK.
    wire        ts_take  = ts_on && ts_valid && accept && (in_turn || first[31]) && tcb[`TCB_ACK_CNT] == 2'd0;

    // -- acknowledgement ---------------------------------------------------------------------------
    wire [31:0] behind   = snd_una - ack;              // positive: an old ACK
    wire        ack_far  = `SEQ_GT(ack, snd_nxt);
    wire        ack_back = !behind[31] && behind != 32'd0;
    wire        ack_new  = behind[31] && !ack_far;
    // RFC 5961, 5.2. Of MAX.SND.WND the highest bit is kept: it is less than twice that.
    wire        ack_old  = ack_back && behind >= 32'd2 << tcb[`TCB_MAX_WND_L2];
    wire [31:0] scaled   = {16'd0, wnd} << tcb[`TCB_SND_WS];
    wire [31:0] new_wnd  = (|scaled[31:24]) ? WND_MAX : scaled;
    // SND.WL2 is not needed: it is an ACK that counted, so never beyond SND.UNA.
    wire        wnd_news = !ack_back && `SEQ_LE(tcb[`TCB_SND_WL1], seq);
    // log2 of the window, rounded down: as it stands in a SYN, which is not scaled, and in others.
    reg  [3:0]  wnd_l2;
    integer     i;
    always @* begin
        wnd_l2 = 4'd0;
        for (i = 1; i < 16; i = i + 1) if (wnd[i]) wnd_l2 = i[3:0];
    end
    wire [4:0]  sum_l2   = {1'b0, wnd_l2} + {1'b0, tcb[`TCB_SND_WS]};
    wire [4:0]  new_l2   = wnd == 16'd0 ? 5'd0 : sum_l2 > 5'd24 ? 5'd24 : sum_l2;
    wire [4:0]  max_l2   = new_l2 > tcb[`TCB_MAX_WND_L2] ? new_l2 : tcb[`TCB_MAX_WND_L2];
    // An answer to a zero-window probe repeats ack and window too, but tells nothing of a loss.
    wire        ack_dup  = behind == 32'd0 && snd_nxt != snd_una && empty
                         && new_wnd == tcb[`TCB_SND_WND] && new_wnd != 32'd0;
    wire        fin_ack  = ack_new && tcb[`TCB_FIN_REQ] && ack == tcb[`TCB_TX_END] + 32'd1;

    // -- what a SYN settles: each option only if both ends offer it --------------------------------
    // In SYN_SENT the *_OK fields say what we have offered.
    wire        opens    = is_open || (syn_sent && f_syn && !f_rst && (!f_ack || ack_new));
    wire        may_ts   = is_open ? p_flags[`NK_PF_TS]   : ts_on;
    wire        may_sack = is_open ? p_flags[`NK_PF_SACK] : tcb[`TCB_SACK_OK];
    wire        may_ws   = is_open ? p_flags[`NK_PF_WS]   : tcb[`TCB_WS_OK];
    wire        may_ecn  = is_open ? p_flags[`NK_PF_ECN]  : tcb[`TCB_ECN_OK];
    wire        ok_ts    = opens && may_ts && ts_valid;
    wire        ok_ws    = opens && may_ws && wscale_valid;
    // RFC 3168, 6.1.1: an ECN-setup SYN has ECE and CWR, an ECN-setup SYN-ACK has ECE alone.
    wire        ok_ecn   = opens && may_ecn && f_ece && f_cwr == !f_ack;
    wire [15:0] own_mss  = mtu - 16'd40;
    wire [15:0] peer_mss = mss == 16'd0 ? 16'd`NK_LIM_MSS_DEFAULT : mss < MSS_LOW ? MSS_LOW : mss;
    wire [15:0] eff_mss  = peer_mss < own_mss ? peer_mss : own_mss;
    wire [3:0]  peer_ws  = wscale > 4'd14 ? 4'd14 : wscale;
    // 2^15 << shift covers the ring, so that a full window still fits the field.
    wire [4:0]  ring_ws  = tcb[`TCB_RX_LOG2] > 5'd15 ? tcb[`TCB_RX_LOG2] - 5'd15 : 5'd0;
    wire [31:0] rx_ring  = 32'd1 << tcb[`TCB_RX_LOG2];
    wire [31:0] irs      = is_cookie ? seq - 32'd1 : seq;
    wire [31:0] rcv_1st  = is_cookie ? seq : seq + 32'd1;
    wire [31:0] iss      = is_cookie ? ack - 32'd1 : isn;

    // RFC 6191, 2: which SYN may end TIME_WAIT.
    wire        new_ts   = ts_valid && p_flags[`NK_PF_TS];
    wire        higher   = `SEQ_GT(seq, rcv_nxt);
    wire        newer    = !new_ts ? higher
                         : !ts_on || `SEQ_GT(tsval, tcb[`TCB_TS_RECENT]) || ts_void
                         || (tsval == tcb[`TCB_TS_RECENT] && higher);

    // A passive flow that ends before its handshake is done ends in silence: the tenant has not heard of it.
    wire [3:0]  over     = tcb[`TCB_CLOSED] || (syn_rcvd && tcb[`TCB_PASSIVE]) ? `NK_FS_DRAIN : `NK_FS_DEAD;
    // What we have sent waits for its ACK: until that comes nothing else shows that the peer hears us (RFC 9293, 3.8.3).
    // A peer that answers probes of its shut window is heard.
    wire [3:0]  kind     = tcb[`TCB_RTX_KIND];
    wire        owed     = snd_nxt != snd_una && (kind == `NK_RTX_RTO || kind == `NK_RTX_TLP || kind == `NK_RTX_REO);
    // RFC 9293, figure 8: SYNs have crossed, and this is the peer's with its ACK of ours.
    wire        crossed  = syn_rcvd && !tcb[`TCB_PASSIVE] && f_ack && seq == tcb[`TCB_IRS] && ack_new && !(ts_on && (!ts_valid || ts_older));
    wire        silence  = now_s - tcb[`TCB_LAST_T] > 16'd1;
    // Payload that begins a window at most before rcv_nxt has been here already (RFC 2883).
    wire        again    = tcb[`TCB_SACK_OK] && len != 16'd0 && (&first[31:24]);
    wire [15:0] old_len  = 32'd0 - first < {16'd0, len} ? 16'd0 - first[15:0] : len;

    reg         alive;      // the segment shows that the peer is there
    reg         refused;    // not acceptable: acknowledge, report the duplicate

    always @* begin
        tcb_out         = tcb;
        data_ok         = 1'b0;
        ev_ack          = 1'b0;
        ev_new          = 1'b0;
        ev_dup          = 1'b0;
        ev_syn          = 1'b0;
        reply_rst       = 1'b0;
        reopen          = 1'b0;
        challenge       = 1'b0;
        st_unacceptable = 1'b0;
        st_bad_ack      = 1'b0;
        st_rst          = 1'b0;
        st_paws         = 1'b0;
        st_dsack        = 1'b0;
        alive           = 1'b0;
        refused         = 1'b0;
        if (!en || stranger) begin
            tcb_out = tcb;
        end else if (opens || is_cookie) begin
            // What it tells us is the same in all four ways to open.
            alive = 1'b1;
            tcb_out[`TCB_IRS]       = irs;
            tcb_out[`TCB_RCV_NXT]   = rcv_1st;
            tcb_out[`TCB_RCV_NTF]   = rcv_1st;
            tcb_out[`TCB_RCV_ADV]   = rcv_1st;
            tcb_out[`TCB_RCV_EDGE]  = rcv_1st + rx_ring;
            tcb_out[`TCB_SND_WND]   = {16'd0, wnd};
            tcb_out[`TCB_SND_WL1]   = seq;
            tcb_out[`TCB_MAX_WND_L2] = {1'b0, wnd_l2};
            tcb_out[`TCB_MSS]       = ok_ts ? eff_mss - 16'd12 : eff_mss;
            tcb_out[`TCB_TS_OK]     = ok_ts;
            tcb_out[`TCB_TS_RECENT] = tsval;
            tcb_out[`TCB_TS_AGE]    = ts_age;
            tcb_out[`TCB_SACK_OK]   = opens && may_sack && sack_ok;
            tcb_out[`TCB_ECN_OK]    = ok_ecn;
            tcb_out[`TCB_WS_OK]     = ok_ws;
            tcb_out[`TCB_SND_WS]    = ok_ws ? peer_ws : 4'd0;
            tcb_out[`TCB_RCV_WS]    = ok_ws ? ring_ws[3:0] : 4'd0;
            if (takes) begin
                tcb_out[`TCB_STATE]    = is_open ? `NK_FS_SYN_RCVD : `NK_FS_ESTABLISHED;
                tcb_out[`TCB_PASSIVE]  = 1'b1;
                tcb_out[`TCB_LISTENER] = listener;
                tcb_out[`TCB_PROF]     = prof;
                tcb_out[`TCB_RIP]      = rip;
                tcb_out[`TCB_RPORT]    = rport;
                tcb_out[`TCB_LPORT]    = lport;
                tcb_out[`TCB_ISS]      = iss;
                tcb_out[`TCB_SND_UNA]  = iss;
                tcb_out[`TCB_SND_NXT]  = is_open ? iss : ack;
                tcb_out[`TCB_TX_END]   = iss + 32'd1;
                tcb_out[`TCB_SND_NTF]  = iss + 32'd1;
                tcb_out[`TCB_LOST_END] = iss;
                tcb_out[`TCB_RXT_NXT]  = iss;
                tcb_out[`TCB_RXT_MARK] = iss;
                tcb_out[`TCB_RECOVER]  = iss;
                tcb_out[`TCB_TLP_END]  = iss;
            end
            if (is_cookie || (!is_open && f_ack)) begin
                tcb_out[`TCB_STATE]  = `NK_FS_ESTABLISHED;
                tcb_out[`TCB_N_CONN] = 1'b1;
                ev_ack = 1'b1;
                ev_new = 1'b1;
                ev_syn = 1'b1;
            end
            if (is_cookie) data_ok = 1'b1;
            else if (f_ack) tcb_out[`TCB_ACK_NOW] = 1'b1;
            else if (!is_open) begin
                // Simultaneous open: our SYN goes out again, now with an ACK.
                tcb_out[`TCB_STATE]    = `NK_FS_SYN_RCVD;
                tcb_out[`TCB_LOST_END] = snd_nxt;
                tcb_out[`TCB_RXT_NXT]  = snd_una;
                tcb_out[`TCB_RTT_ON]   = 1'b0;
            end
        end else if (syn_sent) begin
            if (f_ack && !ack_new) begin
                st_bad_ack = 1'b1;
                reply_rst  = !f_rst;
            end else if (f_rst && f_ack) begin
                st_rst                 = 1'b1;
                tcb_out[`TCB_STATE]    = over;
                tcb_out[`TCB_N_RST]    = 1'b1;
                tcb_out[`TCB_N_STATUS] = `NK_ST_REFUSED;
                tcb_out[`TCB_DACK_ON]  = 1'b0;
            end
        end else if (f_rst) begin
            // RFC 5961, 3.2: only where it stands counts, not what it carries; timestamps neither (RFC 7323, 5.2).
            if (in_turn) begin
                st_rst                 = 1'b1;
                tcb_out[`TCB_STATE]    = over;
                // In TIME_WAIT nothing is lost by it, and the user does not hear of it (RFC 9293, 3.10.7.4).
                tcb_out[`TCB_N_RST]    = !in_tw;
                tcb_out[`TCB_N_STATUS] = syn_rcvd && !tcb[`TCB_PASSIVE] ? `NK_ST_REFUSED : `NK_ST_PEER_RESET;
                tcb_out[`TCB_DACK_ON]  = 1'b0;
            end else if (first_in) challenge = 1'b1;
            else st_unacceptable = 1'b1;
        end else if (f_syn) begin
            if (in_tw && !f_ack && newer) begin
                reopen                = 1'b1;
                tcb_out[`TCB_STATE]   = over;
                tcb_out[`TCB_DACK_ON] = 1'b0;
            end else if (syn_rcvd && seq == tcb[`TCB_IRS] && !f_ack) begin
                // Our SYN-ACK was lost: send it again now rather than at the timeout.
                tcb_out[`TCB_LOST_END] = snd_nxt;
                tcb_out[`TCB_RXT_NXT]  = snd_una;
                tcb_out[`TCB_RTT_ON]   = 1'b0;
                // RFC 3168, 6.1.1.1: the peer may have given up ECN after the first try.
                tcb_out[`TCB_ECN_OK]   = tcb[`TCB_ECN_OK] && f_ece && f_cwr;
            end else if (crossed) begin
                // Our ACK of it establishes a peer that has missed our SYN-ACK.
                alive  = 1'b1;
                ev_ack = 1'b1;
                ev_new = 1'b1;
                ev_syn = 1'b1;
                tcb_out[`TCB_STATE]      = tcb[`TCB_FIN_REQ] ? `NK_FS_FIN_WAIT1 : `NK_FS_ESTABLISHED;
                tcb_out[`TCB_SND_WND]    = {16'd0, wnd};
                tcb_out[`TCB_SND_WL1]    = seq;
                if ({1'b0, wnd_l2} > tcb[`TCB_MAX_WND_L2]) tcb_out[`TCB_MAX_WND_L2] = {1'b0, wnd_l2};
                tcb_out[`TCB_N_CONN]     = 1'b1;
                tcb_out[`TCB_ACK_NOW]    = 1'b1;
                if (ts_on) begin
                    tcb_out[`TCB_TS_RECENT] = tsval;
                    tcb_out[`TCB_TS_AGE]    = ts_age;
                end
            end else if (syn_rcvd && seq == tcb[`TCB_IRS]) begin
                // Not acceptable: an ACK says where we stand.
                st_unacceptable       = 1'b1;
                tcb_out[`TCB_ACK_NOW] = 1'b1;
            end else begin
                // RFC 5961, 4.2, whatever its sequence number and timestamp. A peer that has forgotten us answers
                // with a RST; that is safer than going back to LISTEN for any SYN.
                challenge = 1'b1;
            end
        end else if (ts_gone) begin
            st_paws = 1'b1;
        end else if (paws) begin
            st_paws = 1'b1;
            refused = !late_ack;
        end else if (!accept && !ack_only) begin
            st_unacceptable = 1'b1;
            refused         = 1'b1;
            // RFC 9293, 3.10.7.8: the peer's FIN again means that our last ACK was lost.
            if (in_tw && f_fin && last == 32'hffff_ffff) tcb_out[`TCB_W_TW] = 1'b1;
        end else if (f_ack && syn_rcvd) begin
            if (!ack_new) begin
                st_bad_ack = 1'b1;
                reply_rst  = 1'b1;
            end else begin
                alive   = 1'b1;
                data_ok = 1'b1;
                ev_ack  = 1'b1;
                ev_new  = 1'b1;
                ev_syn  = 1'b1;
                tcb_out[`TCB_STATE]   = tcb[`TCB_FIN_REQ] ? `NK_FS_FIN_WAIT1 : `NK_FS_ESTABLISHED;
                tcb_out[`TCB_SND_WND] = new_wnd;
                tcb_out[`TCB_SND_WL1] = seq;
                tcb_out[`TCB_MAX_WND_L2] = max_l2;
                tcb_out[`TCB_N_CONN]  = 1'b1;
            end
        end else if (f_ack && (ack_far || ack_old)) begin
            st_bad_ack = 1'b1;
            challenge  = 1'b1;
        end else if (f_ack) begin
            alive   = 1'b1;
            data_ok = accept;
            ev_ack  = !ack_back;
            ev_new  = ack_new;
            ev_dup  = ack_dup;
            if (!accept && !empty) begin
                st_unacceptable       = 1'b1;
                tcb_out[`TCB_ACK_NOW] = 1'b1;
            end
            if (wnd_news) begin
                tcb_out[`TCB_SND_WND] = new_wnd;
                tcb_out[`TCB_SND_WL1] = ack_only ? rcv_nxt : seq;
                tcb_out[`TCB_MAX_WND_L2] = max_l2;
                // An open window ends the probing; what was probed goes out as data.
                if (new_wnd != 32'd0) begin
                    tcb_out[`TCB_PROBE] = 1'b0;
                    if (tcb[`TCB_RTX_ON] && tcb[`TCB_RTX_KIND] == `NK_RTX_PERSIST) tcb_out[`TCB_BACKOFF] = 4'd0;
                end
            end
            if (fin_ack) begin
                case (state)
                    `NK_FS_FIN_WAIT1: tcb_out[`TCB_STATE] = `NK_FS_FIN_WAIT2;
                    `NK_FS_CLOSING: begin
                        tcb_out[`TCB_STATE] = `NK_FS_TIME_WAIT;
                        tcb_out[`TCB_W_TW]  = 1'b1;
                    end
                    `NK_FS_LAST_ACK: begin
                        data_ok               = 1'b0;
                        tcb_out[`TCB_STATE]   = over;
                        tcb_out[`TCB_DACK_ON] = 1'b0;
                    end
                    default: tcb_out[`TCB_STATE] = state;
                endcase
            end
        end
        if (refused) begin
            if (is_probe) tcb_out[`TCB_ACK_NOW] = 1'b1;
            else challenge = 1'b1;
            if (again) begin
                st_dsack = 1'b1;
                tcb_out[`TCB_DSACK_V]   = 1'b1;
                tcb_out[`TCB_DSACK_S]   = seq;
                tcb_out[`TCB_DSACK_LEN] = old_len;
                tcb_out[`TCB_QUICK]     = QUICK_ALL;
            end
        end
        if (challenge && challenge_ok) tcb_out[`TCB_ACK_NOW] = 1'b1;
        if (alive) begin
            if (!owed || ev_new || opens) begin
                tcb_out[`TCB_LAST_T]  = now_s;
                tcb_out[`TCB_RETRIES] = 8'd0;
            end
            tcb_out[`TCB_KA_PROBE] = 1'b0;
            // Only what has passed every check may set TS.Recent: a blind segment must not.
            if (!f_syn && !is_cookie) begin
                if (ts_take) begin
                    tcb_out[`TCB_TS_RECENT] = tsval;
                    tcb_out[`TCB_TS_AGE]    = ts_age;
                end
                if (silence && len != 16'd0) tcb_out[`TCB_QUICK] = QUICK_ALL;
            end
        end
    end

    assign st_challenge = challenge && challenge_ok;
    assign st_limited   = challenge && !challenge_ok;

    wire unused = &{1'b0, flags, p_flags, ring_ws};
endmodule

`default_nettype wire
