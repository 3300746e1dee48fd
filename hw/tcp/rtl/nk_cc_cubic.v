// SPDX-License-Identifier: Apache-2.0
// CUBIC's congestion window after one event (RFC 9438). Slow start and the cut are Reno's, with another share.
//
//  95   74 73    49 48  27 26    2 1       0
// +-------+--------+------+-------+-------+-----+
// |  acc  | w_est  |  t0  | w_max |lowered| on  |  cc_s
// +-------+--------+------+-------+-------+-----+
// on: an epoch runs; w_max, w_est: bytes, w_max 0: no loss has told it since the flow or its last timeout began; lowered: by fast convergence; t0: when the curve reaches w_max (RFC 9438's
// epoch_start + K), in 1024 us; acc: acknowledged since w_est grew, in units of 16 bytes.

`default_nettype none

module nk_cc_cubic (
    // profile; prm[7:0]: share of the window that a cut leaves, in 1/256 (0: 179); prm[15:8]: C in 1/100 (0: 40);
    // prm[23:16]: windows to acknowledge for a segment of w_est, in 1/64 (0: 121); prm[24]: no fast convergence
    input  wire [63:0] prm,
    // state
    input  wire [31:0] cwnd,
    input  wire [31:0] ssthresh,
    input  wire [95:0] cc_s,
    // events, see nk_cc
    input  wire        ev_rto,
    input  wire        ev_loss,
    input  wire        ev_ecn,
    input  wire        ev_undo,
    input  wire        ev_exit,
    input  wire        ev_idle,
    input  wire        ev_ack,
    input  wire        ev_round,
    // what came with it
    input  wire [31:0] acked,
    input  wire        ece,
    input  wire        limited,
    // the flow
    input  wire [31:0] flight,
    input  wire [15:0] mss,
    input  wire [31:0] iw,
    input  wire [31:0] undo_cwnd,
    input  wire [31:0] undo_sst,
    input  wire [31:0] srtt8,
    input  wire [31:0] now_us,
    input  wire [31:0] snd_una,
    input  wire [31:0] snd_nxt,
    input  wire [31:0] ack,
    // state after it
    output wire [31:0] cwnd_out,
    output wire [31:0] ssthresh_out,
    output wire [95:0] cc_s_out
);
    localparam [24:0] MOST = 25'h1FFFFFF;

    wire        on      = cc_s[0];
    wire        lowered = cc_s[1];
    wire [24:0] w_max   = cc_s[26:2];
    wire [21:0] t0      = cc_s[48:27];
    wire [24:0] w_est   = cc_s[73:49];
    wire [21:0] acc     = cc_s[95:74];

    wire [7:0]  beta    = prm[7:0]   == 8'd0 ? 8'd179 : prm[7:0];
    wire [7:0]  c_100   = prm[15:8]  == 8'd0 ? 8'd40  : prm[15:8];
    wire [7:0]  est_64  = prm[23:16] == 8'd0 ? 8'd121 : prm[23:16];

    wire [31:0] reno_cwnd;
    wire [95:0] reno_s;
    wire        slow    = cwnd[24:0] < ssthresh[24:0];
    nk_cc_reno reno (
        .prm({56'd0, beta}), .cwnd(cwnd), .ssthresh(ssthresh), .cc_s(96'd0),
        .ev_rto(ev_rto), .ev_loss(ev_loss), .ev_ecn(ev_ecn), .ev_undo(ev_undo), .ev_exit(ev_exit),
        .ev_idle(ev_idle), .ev_ack(ev_ack && slow), .ev_round(ev_round),
        .acked(acked), .ece(ece), .limited(limited), .flight(flight), .mss(mss), .iw(iw),
        .undo_cwnd(undo_cwnd), .undo_sst(undo_sst), .srtt8(srtt8), .now_us(now_us),
        .snd_una(snd_una), .snd_nxt(snd_nxt), .ack(ack),
        .cwnd_out(reno_cwnd), .ssthresh_out(ssthresh_out), .cc_s_out(reno_s)
    );

    // The curve, and where it would begin now: both of the state before the event alone.
    wire [23:0] c_mss = mss * c_100;                // bytes per 100 s^3
    wire [21:0] now   = now_us[31:10];
    wire [24:0] w_cubic;
    wire        stale;
    wire [16:0] k;
    wire        untold  = w_max == 25'd0;           // then the curve begins flat where slow start ended
    nk_cc_cubic_w curve (.now(now), .t0(t0), .w_max(untold ? ssthresh[24:0] : w_max), .c_mss(c_mss), .w_cubic(w_cubic), .stale(stale));
    nk_cc_cubic_k rise  (.w_max(w_max), .cwnd(cwnd[24:0]), .c_mss(c_mss), .k(k));

    // A Reno flow's window beside it: a segment for every 1/alpha windows acknowledged, alpha = 1 once w_est has come
    // back to the window before the cut (which is w_max * 2 / (1 + beta) after fast convergence).
    wire [33:0] est_part = w_est * {1'b1, beta};
    wire        back     = (lowered ? est_part[33:9] : w_est) >= w_max;
    wire [7:0]  pace     = back ? 8'd64 : est_64;
    wire [28:0] windows  = cwnd[24:4] * pace;
    // As Linux does, a window whose W_max is not told grows by a twentieth a round trip: the curve would take its time.
    wire [21:0] fastest  = {6'd0, mss} + {8'd0, mss[15:2]};       // 20 segments
    wire [21:0] slower   = windows[28] ? 22'h3FFFFF : windows[27:6];
    wire [21:0] need     = untold && slower > fastest ? fastest : slower;
    wire [21:0] units    = ack[25:4] - snd_una[25:4];
    wire [22:0] sum      = {1'b0, acc} + {1'b0, units};
    wire [21:0] acc_sum  = sum[22] ? 22'h3FFFFF : sum[21:0];
    wire        full     = acc_sum >= need;
    wire [21:0] acc_new  = full ? acc_sum - need : acc_sum;
    wire [25:0] est_sum  = {1'b0, w_est} + {10'd0, full ? mss : 16'd0};
    wire [24:0] est_new  = est_sum[25] ? MOST : est_sum[24:0];

    // The curve is followed as it is, by at most half of what is acknowledged: 1.5 windows a round trip.
    wire [25:0] reach    = {1'b0, cwnd[24:0]} + {2'd0, acked[24:1]};
    wire [24:0] most     = reach[25] ? MOST : reach[24:0];
    wire [24:0] curved   = w_cubic < most ? w_cubic : most;
    wire [25:0] step     = {1'b0, cwnd[24:0]} + {10'd0, mss};
    wire [24:0] friendly = {1'b0, est_new} < step ? est_new : step[24:0];  // always, but for state that is not its own
    wire [24:0] target   = curved > friendly ? curved : friendly;
    wire [24:0] grown    = target > cwnd[24:0] ? target : cwnd[24:0];
    // The curve has run away from a window that nobody filled.
    wire        away     = w_cubic > cwnd[24:0] && w_cubic - cwnd[24:0] > {3'd0, cwnd[24:3]};

    // A cut: the window that was too large, or less if it was smaller than the last one (fast convergence).
    wire        shrinks  = cwnd[24:0] < w_max && !prm[24];
    wire [33:0] part     = cwnd[24:0] * {1'b1, beta};

    wire        other    = ev_rto || ev_loss || ev_ecn || ev_undo || ev_exit || ev_idle;
    wire        avoid    = ev_ack && !slow && !other;
    wire        above    = cwnd[24:0] >= w_max;     // a new epoch would have nothing to come back to

    wire unused = &{1'b0, prm[63:25], reno_s,
                    ack[31:26], snd_una[31:26], est_part[8:0], windows[5:0], part[8:0]};

    reg [95:0] s;
    always @* begin
        s = cc_s;
        if (ev_rto) begin
            s = 96'd0;                              // RFC 9438, 4.8: K = 0, w_max the window of the next epoch's begin
        end else if (ev_loss || ev_ecn) begin
            s[0]     = 1'b0;
            s[1]     = shrinks;
            s[26:2]  = shrinks ? part[33:9] : cwnd[24:0];
        end else if (ev_undo || ev_exit || ev_idle) begin
            s[0]     = 1'b0;
        end else if (avoid && !limited) begin
            s[0]     = on && !away;
        end else if (avoid && (!on || stale)) begin
            s[0]     = 1'b1;
            s[1]     = lowered && !above;
            s[26:2]  = untold || !above ? w_max : cwnd[24:0];
            s[48:27] = now + {5'd0, k};
            s[73:49] = cwnd[24:0];
            s[95:74] = 22'd0;
        end else if (avoid) begin
            s[73:49] = est_new;
            s[95:74] = acc_new;
        end
    end
    assign cc_s_out = s;
    assign cwnd_out = avoid && limited && on && !stale ? {7'd0, grown} : reno_cwnd;
endmodule

`default_nettype wire
