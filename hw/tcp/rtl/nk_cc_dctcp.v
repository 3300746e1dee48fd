// SPDX-License-Identifier: Apache-2.0
// DCTCP's congestion window after one event (RFC 8257): Reno that cuts by the share of marked bytes.
//
//  95    83 82    67 66   51 50      26 25 24        0
// +--------+--------+-------+----------+--+-----------+
// |  calm  | marked | total |   end    |on|    acc    |  cc_s
// +--------+--------+-------+----------+--+-----------+
// calm: 1 - alpha, in 2^-13 (so that a new flow begins with alpha = 1); total, marked: acknowledged in this window,
// and of it with ECE, in units of 512 bytes; end: DCTCP.WindowEnd, lowest bits; on: it is valid; acc: Reno's.

`default_nettype none

module nk_cc_dctcp (
    // profile; prm[7:0]: share of the window that a loss leaves, in 1/256 (0: 128); prm[11:8]: -log2(g) (0: 4)
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
    wire [12:0] calm   = cc_s[95:83];
    wire [15:0] marked = cc_s[82:67];
    wire [15:0] total  = cc_s[66:51];
    wire [24:0] last   = cc_s[50:26];
    wire        on     = cc_s[25];

    // Losses and growth are Reno's.
    wire [31:0] reno_cwnd;
    wire [31:0] reno_ssthresh;
    wire [95:0] reno_s;
    nk_cc_reno reno (
        .prm({56'd0, prm[7:0]}), .cwnd(cwnd), .ssthresh(ssthresh), .cc_s({71'd0, cc_s[24:0]}),
        .ev_rto(ev_rto), .ev_loss(ev_loss), .ev_ecn(ev_ecn), .ev_undo(ev_undo), .ev_exit(ev_exit),
        .ev_idle(ev_idle), .ev_ack(ev_ack), .ev_round(ev_round),
        .acked(acked), .ece(ece), .limited(limited), .flight(flight), .mss(mss), .iw(iw),
        .undo_cwnd(undo_cwnd), .undo_sst(undo_sst), .srtt8(srtt8), .now_us(now_us),
        .snd_una(snd_una), .snd_nxt(snd_nxt), .ack(ack),
        .cwnd_out(reno_cwnd), .ssthresh_out(reno_ssthresh), .cc_s_out(reno_s)
    );

    // The cut: cwnd * (1 - alpha / 2), by the alpha of the windows before this ACK.
    wire        ecn_cut = ev_ecn && !ev_loss && !ev_rto;
    wire [38:0] product = cwnd[24:0] * {1'b1, calm};
    wire [24:0] two_mss = {8'd0, mss, 1'b0};
    wire [24:0] cut     = product[38:14] > two_mss ? product[38:14] : two_mss;
    assign ssthresh_out = ecn_cut ? {7'd0, cut} : reno_ssthresh;
    assign cwnd_out     = !ecn_cut ? reno_cwnd : cut < cwnd[24:0] ? {7'd0, cut} : cwnd;

    // The window's sums. An ACK that moves over a multiple of 512 counts that unit: nothing is lost between ACKs.
    wire [15:0] units      = ack[24:9] - snd_una[24:9];
    wire [16:0] total_sum  = {1'b0, total} + {1'b0, units};
    wire [16:0] marked_sum = {1'b0, marked} + {1'b0, ece ? units : 16'd0};
    wire [15:0] total_new  = total_sum[16] ? 16'hFFFF : total_sum[15:0];
    wire [15:0] marked_new = marked_sum[16] ? 16'hFFFF : marked_sum[15:0];
    wire [24:0] to_end     = last - snd_una[24:0];
    wire [24:0] moved_by   = ack[24:0] - snd_una[24:0];
    wire        over       = !on || moved_by > to_end;

    // The share of it that was not marked, 1 - M: with total's leading one at bit 15, times a reciprocal from a table.
    wire [15:0] clean      = total_new - marked_new;
    reg  [3:0]  shift;
    integer     i;
    always @* begin
        shift = 4'd0;
        for (i = 0; i < 16; i = i + 1)
            if (total_new[i]) shift = 4'd15 - i[3:0];
    end
    wire [15:0] total_up   = total_new << shift;
    wire [15:0] clean_up   = clean << shift;

    // 2^12 / (1 + (k + 1/2) / 64), rounded: the reciprocal in the middle of each sixty-fourth.
    wire [64*12-1:0] reciprocals;
    genvar k;
    generate
        for (k = 0; k < 64; k = k + 1) begin : g_reciprocal
            localparam [31:0] VALUE = (2 * 4096 * 128 / (129 + 2 * k) + 1) / 2;
            assign reciprocals[k*12 +: 12] = VALUE[11:0];
        end
    endgenerate
    wire [11:0] reciprocal = reciprocals[{4'd0, total_up[14:9]} * 12 +: 12];
    wire [27:0] quotient   = clean_up * reciprocal;               // in 2^-27
    wire [12:0] share      = clean == total_new || quotient[27] ? 13'h1FFF : quotient[26:14];

    // alpha = (1 - g) * alpha + g * M, here for 1 - alpha.
    wire [3:0]  g_log2   = prm[11:8] == 4'd0 ? 4'd4 : prm[11:8];
    wire signed [13:0] change = $signed({1'b0, share}) - $signed({1'b0, calm});
    wire signed [13:0] moved  = change >>> g_log2;
    wire [12:0] calm_new = calm + moved[12:0];

    wire unused = &{1'b0, prm[63:12], reno_s[95:25], snd_nxt[31:25], ack[31:25], ack[8:0], product[13:0], total_up[15],
                    total_up[8:0], quotient[13:0], moved[13]};

    // A window in which no unit was counted goes on for another round trip.
    wire        closes   = ev_round && over && total_new != 16'd0;
    assign cc_s_out[24:0]  = reno_s[24:0];
    assign cc_s_out[25]    = on || ev_round;
    assign cc_s_out[50:26] = ev_round && over ? snd_nxt[24:0] : last;
    assign cc_s_out[66:51] = closes ? 16'd0 : ev_round ? total_new  : total;
    assign cc_s_out[82:67] = closes ? 16'd0 : ev_round ? marked_new : marked;
    assign cc_s_out[95:83] = closes ? calm_new : calm;
endmodule

`default_nettype wire
