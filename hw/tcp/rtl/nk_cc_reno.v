// SPDX-License-Identifier: Apache-2.0
// Reno's congestion window after one event: RFC 5681 with byte counting (RFC 3465, L = 2).
//
// cc_s[24:0]: bytes acknowledged in congestion avoidance that no segment of window was given for yet.

`default_nettype none

module nk_cc_reno (
    // profile; prm[7:0]: share of the window that a loss leaves, in 1/256 (0: 128)
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
    output reg  [31:0] cwnd_out,
    output reg  [31:0] ssthresh_out,
    output reg  [95:0] cc_s_out
);
    localparam [24:0] MOST = 25'h1FFFFFF;   // no ring holds half of it; as ssthresh: not yet known

    // A cut. FlightSize does not count what limited transmit sent beyond cwnd (RFC 5681, 3.2 step 2).
    wire [7:0]  beta    = prm[7:0] == 8'd0 ? 8'd128 : prm[7:0];
    wire [24:0] base    = flight[24:0] < cwnd[24:0] ? flight[24:0] : cwnd[24:0];
    wire [32:0] product = base * beta;
    wire [24:0] two_mss = {8'd0, mss, 1'b0};
    wire [24:0] cut     = product[32:8] > two_mss ? product[32:8] : two_mss;

    // Growth.
    wire        slow    = cwnd[24:0] < ssthresh[24:0];
    wire [25:0] acc     = {1'b0, cc_s[24:0]} + {1'b0, acked[24:0]};
    // A window holds whole segments only: what is acknowledged in a round trip may be almost one less than cwnd.
    wire        full    = acc + {10'd0, mss} > {1'b0, cwnd[24:0]};
    wire [25:0] left    = acc > {1'b0, cwnd[24:0]} ? acc - {1'b0, cwnd[24:0]} : 26'd0;
    wire [24:0] step    = !slow                 ? {9'd0, mss}
                        : acked[24:0] < two_mss ? acked[24:0] : two_mss;
    wire [25:0] grown   = {1'b0, cwnd[24:0]} + {1'b0, step};

    // Idle: the threshold remembers what the path took (RFC 2861).
    wire [24:0] threeq  = cwnd[24:0] - {2'd0, cwnd[24:2]};

    wire unused = &{1'b0, prm[63:8], cc_s[95:25], cwnd[31:25], ssthresh[31:25], acked[31:25], flight[31:25],
                    iw[31:25], undo_cwnd[31:25], undo_sst[31:25], product[7:0],
                    ev_round, ece, srtt8, now_us, snd_una, snd_nxt, ack};

    always @* begin
        cwnd_out     = cwnd;
        ssthresh_out = ssthresh;
        cc_s_out     = cc_s;
        if (ev_rto || ev_loss || ev_ecn) begin
            ssthresh_out = {7'd0, cut};
            cc_s_out     = 96'd0;
            if (ev_rto)
                cwnd_out = {16'd0, mss};
            else if (!ev_loss && cut < cwnd[24:0])
                cwnd_out = {7'd0, cut};
        end else if (ev_undo) begin
            ssthresh_out = undo_sst;
            if (undo_cwnd[24:0] > cwnd[24:0])
                cwnd_out = undo_cwnd;
        end else if (ev_exit) begin
            cwnd_out = ssthresh;
            cc_s_out[24:0] = acked[24:0];           // what the last ACK of recovery delivers is the first of the next window
        end else if (ev_idle) begin
            cc_s_out = 96'd0;
            if (threeq > ssthresh[24:0])
                ssthresh_out = {7'd0, threeq};
            if (iw[24:0] < cwnd[24:0])
                cwnd_out = iw;
        end else if (ev_ack && limited) begin
            if (!slow)
                cc_s_out[24:0] = !full ? acc[24:0] : left[25] ? MOST : left[24:0];
            if (slow || full)
                cwnd_out = {7'd0, grown[25] ? MOST : grown[24:0]};
        end
    end
endmodule

`default_nettype wire
