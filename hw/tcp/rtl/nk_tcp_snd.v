// SPDX-License-Identifier: Apache-2.0
// What an ACK or a timeout means for the sender: scoreboard, loss, recovery, round trip, congestion window.
//
// Combinational. SACK-based recovery by RFC 6675 with the time rules of RACK-TLP (RFC 8985) in a form that keeps no time
// a segment: what is not held below LOST_END is lost, and of that what lies below RXT_NXT was sent again. Windows are
// nk_cc's outside recovery and nk_tcp_prr's in it. What is sent follows from the state alone (nk_tcp_txsel).

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_snd (
    // Flow state after X1. `en` in every pass that may send: the idle restart needs no event.
    input  wire              en,            // 0: the state passes through
    input  wire [`TCB_W-1:0] tcb,
    input  wire [31:0]       now_us,
    input  wire [31:0]       ts_now,        // our timestamp clock, in 1024 us
    // Events of X1.
    input  wire              ev_ack,        // an ACK that counts
    input  wire              ev_new,        // it moves SND.UNA
    input  wire              ev_dup,        // it is a duplicate by RFC 5681
    input  wire              ev_syn,        // it ends our handshake
    input  wire              ev_rto,
    input  wire              ev_reo,
    input  wire              ev_tlp,
    // The ACK and its options.
    input  wire [31:0]       ack,
    input  wire              ts_valid,
    input  wire [31:0]       tsecr,
    input  wire              ece,
    input  wire [2:0]        sack_n,
    input  wire [255:0]      sack,          // {end, start} a block, first block lowest
    // Parameters: us; profile flags, congestion control and its parameters; initial window, segments.
    input  wire [31:0]       p_rto_min,
    input  wire [31:0]       p_rto_max,
    input  wire [7:0]        p_flags,
    input  wire [3:0]        p_cc,
    input  wire [63:0]       p_ccp,
    input  wire [7:0]        p_initial_cwnd,
    // State after it: the fields of TCB_SND, W_ACKED, W_REO and W_REO_US.
    output wire [`TCB_W-1:0] tcb_out,
    // Counter pulses.
    output wire              st_dupack,
    output wire              st_fast,       // fast recovery begins
    output wire              st_undo,
    output wire              st_dsack,
    output wire              st_renege,
    output wire              st_ece         // the window was cut for ECE
);
    localparam [31:0] UNKNOWN = 32'h01ff_ffff;      // ssthresh before the first loss: all that the memory keeps
    localparam [3:0]  PERSIST = 4'd15;              // recoveries, less one, until REO_MULT falls (RFC 8985, 6.2)

    // -- the event ------------------------------------------------------------------------------------
    wire [3:0]  state   = tcb[`TCB_STATE];
    wire        synced  = state >= `NK_FS_ESTABLISHED && state <= `NK_FS_TIME_WAIT;
    wire        sack_ok = tcb[`TCB_SACK_OK];
    wire        opened  = en && ev_syn;
    wire        acks    = en && ev_ack && !ev_syn;
    wire        adv     = acks && ev_new;
    wire        rto     = en && ev_rto && tcb[`TCB_SND_NXT] != tcb[`TCB_SND_UNA];
    wire        reo     = en && ev_reo && synced;

    wire [31:0] una_old = tcb[`TCB_SND_UNA];
    wire [31:0] una     = adv ? ack : una_old;
    wire [31:0] snd_nxt = tcb[`TCB_SND_NXT];
    wire [31:0] recover = tcb[`TCB_RECOVER];
    wire [31:0] lost_was = tcb[`TCB_LOST_END];
    wire [31:0] rxt_was = tcb[`TCB_RXT_NXT];
    wire [31:0] rxt_mark = tcb[`TCB_RXT_MARK];
    wire [31:0] tlp_end = tcb[`TCB_TLP_END];
    wire [31:0] moved   = una - una_old;
    wire [31:0] flight  = snd_nxt - una;
    wire [31:0] flight_old = snd_nxt - una_old;
    wire [31:0] mss     = {16'd0, tcb[`TCB_MSS]};
    wire [3:0]  old_v   = tcb[`TCB_SK_V];
    wire [127:0] old_e  = tcb[`TCB_SK_E];
    // End of the highest range before this event.
    wire [31:0] old_top = old_v[3] ? old_e[127:96] : old_v[2] ? old_e[95:64] : old_v[1] ? old_e[63:32] : old_e[31:0];

    // -- scoreboard -----------------------------------------------------------------------------------
    wire [3:0]   sk_v;
    wire [127:0] sk_s;
    wire [127:0] sk_e;
    wire [31:0]  top_s;
    wire [31:0]  top_e;
    wire [24:0]  held_old;
    wire [24:0]  held;
    wire         renege;
    wire         dsack;
    wire         news;
    wire         late;
    wire         again;

    nk_tcp_sack board (
        .en(acks && sack_ok), .snd_una(una_old), .una(una), .snd_nxt(snd_nxt), .rxt_nxt(rxt_was),
        .sk_v(tcb[`TCB_SK_V]), .sk_s(tcb[`TCB_SK_S]), .sk_e(tcb[`TCB_SK_E]), .blk_n(sack_n), .blk(sack),
        .sk_v_out(sk_v), .sk_s_out(sk_s), .sk_e_out(sk_e), .top_s(top_s), .top_e(top_e),
        .held_old(held_old), .held(held), .renege(renege), .dsack(dsack), .news(news), .late(late), .again(again)
    );
    // After a second timeout in a row the board is not believed any more (RFC 2018, 8).
    wire        forget  = renege || (rto && tcb[`TCB_IN_LOSS] && tcb[`TCB_BACKOFF] >= 4'd2);
    wire        any     = sk_v[0] && !forget;

    // -- what goes on before this event -----------------------------------------------------------------
    wire        past    = `SEQ_GE(una, recover);
    wire        in_rec  = tcb[`TCB_IN_REC]  && !(acks && past);
    wire        in_loss = tcb[`TCB_IN_LOSS] && !(acks && past);
    wire        over    = (tcb[`TCB_IN_REC] && !in_rec) || (tcb[`TCB_IN_LOSS] && !in_loss);
    // Until an ACK beyond it: only that shows that CWR has arrived (as in Linux).
    wire        in_cwr  = tcb[`TCB_IN_CWR] && !(acks && `SEQ_GT(una, recover));

    // Eifel (RFC 3522): the first ACK after a retransmission answers what was sent before it.
    wire        judged  = adv && tcb[`TCB_UNDO_OK] && (tcb[`TCB_IN_REC] || tcb[`TCB_IN_LOSS]);
    wire [31:0] ts_gap  = tsecr - tcb[`TCB_UNDO_TS];
    wire        undo    = judged && tcb[`TCB_TS_OK] && ts_valid && ts_gap[19];

    // -- duplicates, without SACK each for a segment that has left the network ----------------------------
    wire        dup     = acks && !adv && (sack_ok ? news : ev_dup);
    wire [7:0]  dupacks = adv ? 8'd0 : dup && tcb[`TCB_DUPACKS] != 8'd3 ? tcb[`TCB_DUPACKS] + 8'd1 : tcb[`TCB_DUPACKS];
    wire [31:0] est_old = sack_ok ? 32'd0 : old_e[31:0] - una_old;
    wire [31:0] est_more = est_old + mss;
    // No more than was out when it began (RFC 5681, 3.2), before it no more than limited transmit needs.
    wire [31:0] est_out = in_rec ? recover - una : flight;
    wire [31:0] est_most = est_out > mss ? est_out - mss : 32'd0;
    wire        est_up  = dup && !in_loss && (in_rec || tcb[`TCB_DUPACKS] != 8'd3) && est_most > est_old;
    wire [31:0] est_less = moved > mss ? moved - mss : 32'd0;    // one segment filled the hole, the others were held
    wire [31:0] est     = sack_ok || undo                        ? 32'd0
                        : adv     ? (in_rec && est_old > est_less ? est_old - est_less : 32'd0)
                        : est_up  ? (est_more < est_most ? est_more : est_most)
                        : est_old;
    wire [31:0] gain    = sack_ok ? moved + {7'd0, held} - {7'd0, held_old} : moved + est - est_old;
    // A full board does not show what a block beyond it brings: a segment at least.
    wire        unseen  = sack_ok && dup && sk_v[3] && (gain[31] || gain < mss);
    wire [24:0] delivered = unseen ? mss[24:0] : !acks || gain[31] ? 25'd0 : gain[24:0];

    // -- reordering -------------------------------------------------------------------------------------
    // A hole was filled by what was never sent again.
    wire        reordered = acks && sack_ok && !tcb[`TCB_IN_LOSS] && !tcb[`TCB_TLP_OUT]
                         && (late || (adv && old_v[0] && `SEQ_LE(rxt_was, una_old)));
    wire        slack   = tcb[`TCB_REO_SEEN] || reordered || (undo && tcb[`TCB_IN_REC]);
    // (REO_MULT + 1) / 4 of the round trip, at most all of it.
    wire [31:0] quarter = tcb[`TCB_SRTT8] >> 5;
    wire [31:0] reo_wnd = tcb[`TCB_REO_MULT] == 3'd0 ? quarter : tcb[`TCB_REO_MULT] == 3'd1 ? quarter << 1
                        : tcb[`TCB_REO_MULT] == 3'd2 ? (quarter << 1) + quarter : quarter << 2;
    wire        tlp_dup = tcb[`TCB_TLP_OUT] && tcb[`TCB_TLP_RETX];
    wire        widen   = acks && dsack && !tlp_dup && !tcb[`TCB_IN_LOSS] && tcb[`TCB_REO_SEEN] && tcb[`TCB_REO_LEFT] != PERSIST;

    // PRR_FS keeps what nk_tcp_prr needs of RecoverFS, and whether this recovery began with no copies in flight.
    wire [31:0] prr_fs  = tcb[`TCB_PRR_FS];
    wire        fresh   = prr_fs[4];

    // -- loss -------------------------------------------------------------------------------------------
    wire [31:0] lost0   = `SEQ_LT(lost_was, una) ? una : lost_was;
    wire [31:0] rxt0    = `SEQ_LT(rxt_was, una)  ? una : rxt_was;
    wire        enough  = dupacks == 8'd3 || {7'd0, held} > (mss << 1) || sk_v[2];
    // All below the highest range: at once, or when the reordering window has passed.
    wire        at_once = acks && any && !slack && (in_rec || in_loss || enough);
    wire        to_top  = (at_once || (reo && any)) && `SEQ_LT(lost0, top_s);
    // An ACK for a copy, and still short of RECOVER: what was sent before the copy and is not there is lost, unless the
    // copy itself is older than this recovery. The peer lists all that it holds only while it has room for more blocks.
    wire        partial = adv && in_rec && !undo && sack_ok && sack_n <= 3'd2 && `SEQ_GT(rxt_was, una_old);
    wire        to_rec  = (partial && !slack && fresh) || (reo && in_rec && !any && lost0 == una);
    // Without SACK: the segment at SND.UNA, at the third duplicate (RFC 6582, 3.2: not for an earlier recovery's) and
    // at each partial ACK.
    wire [31:0] first   = una + (flight < mss ? flight : mss);
    wire        third   = dup && !sack_ok && tcb[`TCB_DUPACKS] == 8'd2 && !in_rec && !in_loss && `SEQ_GT(una, recover);
    wire        next    = adv && !sack_ok && in_rec && !undo;
    wire [31:0] lost_rec = to_top && `SEQ_GT(top_s, recover) ? top_s : recover;
    wire [31:0] lost1   = undo            ? una
                        : renege          ? (`SEQ_LT(lost0, old_top) ? old_top : lost0)
                        : third || next   ? (`SEQ_LT(lost0, first) ? first : lost0)
                        : to_rec && `SEQ_LT(lost0, recover) ? lost_rec
                        : to_top          ? top_s : lost0;
    wire        rise    = !undo && (third || renege || to_top || (to_rec && `SEQ_LT(lost0, recover)));

    // The copies are lost too when something sent after the last of them has arrived.
    wire        resent  = `SEQ_GT(rxt0, una);
    wire        beyond  = any && resent && `SEQ_GT(top_e, rxt_mark) && (acks || reo);
    wire        restart = (beyond && (!slack || reo)) || renege || undo || third || next;
    wire [31:0] rxt1    = restart ? una : rxt0;
    // A later copy has arrived, the oldest one not, a round trip after it was sent: that one segment alone.
    wire [31:0] age     = now_us - tcb[`TCB_RTT_T];
    wire [31:0] srtt    = tcb[`TCB_SRTT8] >> 3;
    wire        aged    = age >= (slack ? srtt + reo_wnd : srtt - quarter);
    wire        rescue  = acks && again && !adv && resent && (in_rec || in_loss) && !tcb[`TCB_RTT_ON] && aged && !renege;

    // -- tail loss probe (RFC 8985, 7.4) ------------------------------------------------------------------
    wire        probed  = acks && tcb[`TCB_TLP_OUT] && `SEQ_GE(una, tlp_end);
    wire        tlp_end_ok = probed && (!tcb[`TCB_TLP_RETX] || dsack || (ev_dup && sack_n == 3'd0));
    wire        tlp_hit = probed && !tlp_end_ok && `SEQ_GT(una, tlp_end);

    // -- recovery -----------------------------------------------------------------------------------------
    wire        left    = over && `SEQ_GT(lost1, una);
    wire        enter   = (acks || reo) && synced && !in_rec && !in_loss && !undo && (rise || left);
    // What was lost again, or found lost, before the last retransmission belongs to that time, not to this one.
    wire [31:0] point   = enter && left && resent ? rxt_mark : snd_nxt;
    wire        in_rec1 = (in_rec || enter) && !undo && !rto;
    wire        tlp_cut = tlp_hit && !in_rec && !in_loss && !in_cwr && !enter;
    wire        ecn_cut = acks && ece && tcb[`TCB_ECN_OK] && !in_cwr && !in_rec && !in_loss && !enter && !undo
                       && `SEQ_GT(una, recover);
    // RFC 5681: ssthresh stays while the same segment times out again; as in Linux also after a cut in this window.
    wire        rto_cut = rto && synced && !tcb[`TCB_IN_REC] && !tcb[`TCB_IN_CWR]
                       && (!tcb[`TCB_IN_LOSS] || tcb[`TCB_BACKOFF] <= 4'd1);

    wire [31:0] lost2   = rto ? snd_nxt : lost1;
    wire [31:0] rxt2    = rto ? una : rxt1;

    // -- round trip ---------------------------------------------------------------------------------------
    wire [31:0] rtt_seq = tcb[`TCB_RTT_SEQ];
    wire        rtt_end = tcb[`TCB_RTT_ON] && (adv || opened) && `SEQ_GE(ack, rtt_seq);
    // By timestamps only where that is fine enough, or where nothing else can end the backoff.
    wire [31:0] ticks   = ts_now - tsecr;
    wire        ts_end  = !tcb[`TCB_RTT_ON] && (adv || opened) && tcb[`TCB_TS_OK] && ts_valid && ticks[31:14] == 18'd0
                       && (tcb[`TCB_BACKOFF] != 4'd0 || tcb[`TCB_SRTT8] == 32'd0 || ticks[13:2] != 12'd0);
    wire        sampled = rtt_end || ts_end;
    wire [31:0] sample  = rtt_end ? age : {8'd0, ticks[13:0], 10'd512};
    wire [31:0] srtt8;
    wire [31:0] rttvar4;

    nk_tcp_rtt rtt (
        .srtt8(tcb[`TCB_SRTT8]), .rttvar4(tcb[`TCB_RTTVAR4]), .sample(sample),
        .srtt8_out(srtt8), .rttvar4_out(rttvar4)
    );

    // More than one SYN was lost: one segment (RFC 6928, 2).
    wire [7:0]  iw_segs = opened && tcb[`TCB_BACKOFF] > 4'd1 ? 8'd1 : p_initial_cwnd == 8'd0 ? 8'd1 : p_initial_cwnd;
    wire [31:0] iw      = iw_segs * tcb[`TCB_MSS];

    // -- idle (RFC 5681, 4.1): nothing in flight, data to send, and the last was sent more than an RTO ago ------
    wire [31:0] tx_end  = tcb[`TCB_TX_END];
    wire [31:0] rto_us;
    nk_tcp_rto rto_i (
        .srtt8(tcb[`TCB_SRTT8]), .rttvar4(tcb[`TCB_RTTVAR4]), .backoff(tcb[`TCB_BACKOFF]),
        .p_rto_min(p_rto_min), .p_rto_init(p_rto_min), .p_rto_max(p_rto_max), .rto(rto_us)
    );
    wire        idle    = en && synced && !ev_syn && !adv && snd_nxt == una_old && `SEQ_LT(snd_nxt, tx_end)
                       && tcb[`TCB_SRTT8] != 32'd0 && age > rto_us && tcb[`TCB_CWND] > iw;

    // -- congestion window ----------------------------------------------------------------------------------
    wire [31:0] cwnd    = tcb[`TCB_CWND];
    wire [31:0] ssthresh = tcb[`TCB_SSTHRESH];
    // RFC 7661, 4.3: half of it was used. Bursts of ACKs find less in flight than the window allows.
    wire        limited = in_loss || (flight_old << 1) >= cwnd;
    wire        exits   = tcb[`TCB_IN_REC] && over;
    wire [31:0] cc_cwnd;
    wire [31:0] cc_ssthresh;
    wire [95:0] cc_s;

    nk_cc cc (
        .alg(p_cc), .prm(p_ccp), .cwnd(tcb[`TCB_IN_REC] && over ? ssthresh : cwnd), .ssthresh(ssthresh), .cc_s(tcb[`TCB_CC_S]),
        .ev_rto(rto_cut), .ev_loss((enter && !in_cwr) || tlp_cut), .ev_ecn(ecn_cut), .ev_undo(undo),
        .ev_exit(exits), .ev_idle(idle),
        .ev_ack(adv && !in_rec && !in_cwr), .ev_round(adv),
        .acked(in_loss || exits ? {7'd0, delivered} : moved), .ece(acks && ece), .limited(limited),
        .rtt_v(tcb[`TCB_TS_OK] && ts_valid && ticks[31:11] == 21'd0), .rtt(ticks[10:0]),
        .flight(flight_old), .mss(tcb[`TCB_MSS]), .iw(iw),
        .undo_cwnd(tcb[`TCB_UNDO_CWND]), .undo_sst(tcb[`TCB_UNDO_SST]), .srtt8(tcb[`TCB_SRTT8]), .now_us(now_us),
        .snd_una(una_old), .snd_nxt(snd_nxt), .ack(una),
        .cwnd_out(cc_cwnd), .ssthresh_out(cc_ssthresh), .cc_s_out(cc_s)
    );

    wire [24:0] pipe;
    wire        have_again;
    wire [24:0] again_off;
    wire [24:0] again_end;
    nk_tcp_pipe_est est_i (
        .snd_una(una), .snd_nxt(snd_nxt), .lost_end(lost1), .rxt_nxt(rxt1), .sack_ok(sack_ok),
        .sk_v(any ? sk_v : 4'd0), .sk_s(sk_s), .sk_e(sack_ok ? sk_e : {96'd0, una + est}),
        .pipe(pipe), .again(have_again), .again_off(again_off), .again_end(again_end)
    );

    wire [31:0] prr_deliv = tcb[`TCB_PRR_DELIV];
    wire [31:0] prr_out = tcb[`TCB_PRR_OUT];
    wire [25:0] total_sum = {1'b0, prr_deliv[24:0]} + {1'b0, delivered};
    wire [24:0] total   = total_sum[25] ? 25'h1ff_ffff : total_sum[24:0];
    wire [3:0]  share;
    wire [24:0] prr_cwnd;
    nk_tcp_prr prr (
        .flight(flight_old[24:0]), .ssthresh_new(in_cwr ? ssthresh[24:0] : cc_ssthresh[24:0]), .share_new(share),
        .share(prr_fs[3:0]), .ssthresh(ssthresh[24:0]), .pipe(pipe), .total(total),
        .sent(prr_out[24:0]), .delivered(delivered), .mss(tcb[`TCB_MSS]), .safe(adv && !rise),
        .front(adv && rxt1 == una && `SEQ_GT(lost1, una)), .cwnd(prr_cwnd)
    );
    // At the start the one retransmission that leaves at once; the next ACK reckons with this one too.
    wire [31:0] start_cwnd = {7'd0, pipe} + mss;
    wire        paces   = in_rec && (delivered != 25'd0 || rise || restart);
    wire [31:0] cwnd1   = opened  ? iw
                        : rto     ? mss
                        : undo    ? cc_cwnd
                        : enter   ? start_cwnd
                        : paces   ? {7'd0, prr_cwnd}
                        : in_rec  ? cwnd
                        : tlp_cut ? (cc_ssthresh < cwnd ? cc_ssthresh : cwnd)
                        : cc_cwnd;
    wire [31:0] cwnd2   = cwnd1 > UNKNOWN ? UNKNOWN : cwnd1;
    wire [31:0] sst     = opened ? UNKNOWN : cc_ssthresh > UNKNOWN ? UNKNOWN : cc_ssthresh;

    // -- timer for what may only be reordered -----------------------------------------------------------------
    wire        hole    = any && `SEQ_LT(lost1, top_s);
    wire        waits   = acks && sack_ok && synced && !undo && tcb[`TCB_SRTT8] != 32'd0
                       && (hole || (slack && beyond && !restart) || (partial && (slack || !fresh)));
    // Nothing but silence can tell of the tail when the copy is older: as long as a tail loss probe waits.
    wire [31:0] wait_us = partial && !fresh && !hole ? srtt << 1 : reo_wnd;
    wire [31:0] left_us = tcb[`TCB_RTX_T] - now_us;
    wire        running = tcb[`TCB_RTX_ON] && tcb[`TCB_RTX_KIND] == `NK_RTX_REO && left_us <= wait_us;

    wire        cut_now = enter || tlp_cut || ecn_cut || rto_cut;
    // A cut may be taken back only if no copy sent before it can bring the ACK that judges it.
    wire        guess   = !resent && !tlp_dup && ((enter && !in_cwr) || (rto && synced && !tcb[`TCB_IN_REC] && !tcb[`TCB_IN_LOSS]));

    // -- state after it ---------------------------------------------------------------------------------------
    reg [`TCB_W-1:0] t;
    assign tcb_out = en ? t : tcb;

    always @* begin
        t = tcb;
        if (opened) begin
            t[`TCB_SND_UNA]  = ack;
            t[`TCB_SK_V]     = 4'd0;
            t[`TCB_SK_S]     = {4{ack}};
            t[`TCB_SK_E]     = {4{ack}};
            t[`TCB_LOST_END] = ack;
            t[`TCB_RXT_NXT]  = ack;
            t[`TCB_RXT_MARK] = ack;
            t[`TCB_TLP_END]  = ack;
            t[`TCB_RECOVER]  = ack - 32'd1;
            t[`TCB_DUPACKS]  = 8'd0;
            t[`TCB_IN_REC]   = 1'b0;
            t[`TCB_IN_LOSS]  = 1'b0;
            t[`TCB_IN_CWR]   = 1'b0;
            t[`TCB_CWR_SEND] = 1'b0;
            t[`TCB_CWND]     = cwnd2;
            t[`TCB_SSTHRESH] = sst;
            t[`TCB_CC_S]     = 96'd0;
            t[`TCB_TLP_OUT]  = 1'b0;
            t[`TCB_TLP_DUE]  = 1'b0;
            t[`TCB_UNDO_OK]  = 1'b0;
            t[`TCB_REO_SEEN] = 1'b0;
            t[`TCB_REO_MULT] = 3'd0;
            t[`TCB_REO_LEFT] = 4'd0;
            t[`TCB_W_ACKED]  = 1'b1;
            // RFC 6298, 5.7: three seconds at least when a SYN was lost and its round trip is not known.
            if (!sampled && tcb[`TCB_BACKOFF] != 4'd0) t[`TCB_BACKOFF] = 4'd2;
        end else if (en && synced) begin
            t[`TCB_SND_UNA]  = una;
            t[`TCB_SK_V]     = forget ? 4'd0 : sk_v;
            t[`TCB_SK_S]     = sk_s;
            t[`TCB_SK_E]     = sack_ok ? sk_e : {sk_e[127:32], una + (rto ? 32'd0 : est)};
            t[`TCB_LOST_END] = lost2;
            t[`TCB_RXT_NXT]  = rxt2;
            if (`SEQ_LT(rxt_mark, una)) t[`TCB_RXT_MARK] = una;
            // Never further behind than this, so that it keeps its place on the circle.
            if (`SEQ_LT(recover, una)) t[`TCB_RECOVER] = una - 32'd1;
            t[`TCB_DUPACKS]  = rto || undo ? 8'd0 : dupacks;
            t[`TCB_IN_REC]   = in_rec1;
            t[`TCB_IN_LOSS]  = (in_loss && !undo) || rto;
            t[`TCB_IN_CWR]   = (in_cwr && !enter && !rto && !undo) || ecn_cut;
            t[`TCB_CWND]     = cwnd2;
            t[`TCB_SSTHRESH] = sst;
            t[`TCB_CC_S]     = cc_s;
            if (enter || rto || ecn_cut) t[`TCB_RECOVER] = point;
            if (cut_now && tcb[`TCB_ECN_OK]) t[`TCB_CWR_SEND] = 1'b1;
            if (enter) begin
                t[`TCB_PRR_DELIV] = {7'd0, delivered};
                t[`TCB_PRR_OUT]   = 32'd0;
                t[`TCB_PRR_FS]    = {27'd0, !resent, share};
            end else if (in_rec) begin
                t[`TCB_PRR_DELIV] = {7'd0, total};
            end
            if (guess) begin
                t[`TCB_UNDO_OK]   = 1'b1;
                t[`TCB_UNDO_CWND] = tcb[`TCB_IN_REC] && over ? ssthresh : cwnd;
                t[`TCB_UNDO_SST]  = ssthresh;
                t[`TCB_UNDO_TS]   = ts_now;
            end else if (judged || enter) begin
                t[`TCB_UNDO_OK]   = 1'b0;
            end
            t[`TCB_REO_SEEN] = slack;
            if (widen) begin
                t[`TCB_REO_LEFT] = PERSIST;
                if (tcb[`TCB_REO_MULT] != 3'd3) t[`TCB_REO_MULT] = tcb[`TCB_REO_MULT] + 3'd1;
            end else if (tcb[`TCB_IN_REC] && !in_rec && tcb[`TCB_REO_LEFT] != 4'd0) begin
                t[`TCB_REO_LEFT] = tcb[`TCB_REO_LEFT] - 4'd1;
                if (tcb[`TCB_REO_LEFT] == 4'd1) t[`TCB_REO_MULT] = 3'd0;
            end
            if (probed && (tlp_end_ok || tlp_hit)) t[`TCB_TLP_OUT] = 1'b0;
            if (enter || rto) t[`TCB_TLP_OUT] = 1'b0;
            if (adv || enter || rto) t[`TCB_TLP_DUE] = 1'b0;
            if (rescue || (ev_tlp && flight != 32'd0 && !in_rec && !in_loss)) t[`TCB_TLP_DUE] = 1'b1;
            if (rto) t[`TCB_RTT_ON] = 1'b0;
            if (adv) t[`TCB_W_ACKED] = 1'b1;
            t[`TCB_W_REO]    = waits;
            t[`TCB_W_REO_US] = running ? (left_us == 32'd0 ? 32'd1 : left_us) : wait_us == 32'd0 ? 32'd1 : wait_us;
        end else if (rto) begin
            // A SYN: again, and no measure of the round trip.
            t[`TCB_LOST_END] = snd_nxt;
            t[`TCB_RXT_NXT]  = una_old;
            t[`TCB_RTT_ON]   = 1'b0;
        end
        if (sampled) begin
            t[`TCB_SRTT8]   = srtt8;
            t[`TCB_RTTVAR4] = rttvar4;
            t[`TCB_RTT_ON]  = 1'b0;
            t[`TCB_BACKOFF] = 4'd0;
        end
    end

    assign st_dupack = acks && ev_dup;
    assign st_fast   = enter;
    assign st_undo   = undo;
    assign st_dsack  = acks && dsack;
    assign st_renege = renege;
    assign st_ece    = ecn_cut;

    wire unused = &{1'b0, p_flags, have_again, again_off, again_end, gain, ts_gap, prr_deliv[31:25], prr_out[31:25], prr_fs[31:5]};
endmodule

`default_nettype wire
