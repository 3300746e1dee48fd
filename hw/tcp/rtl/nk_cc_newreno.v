// SPDX-License-Identifier: Apache-2.0
// Congestion control by RFC 5681 and RFC 6582 (NewReno): the window after one acknowledgement or timeout.
//
// Combinational, and the plug that other algorithms will fit: events in, a small state in and out.

`default_nettype none
`include "nk_tcp_defs.vh"

module nk_cc_newreno (
    // state
    input  wire [31:0] cwnd,
    input  wire [31:0] ssthresh,
    input  wire [31:0] recover,
    input  wire [31:0] ca_acc,
    input  wire        in_rec,
    input  wire [3:0]  dupacks,
    // event: at most one of these
    input  wire        ev_ack,       // new data acknowledged, snd_una becomes ack
    input  wire        ev_dupack,    // one more duplicate ACK
    input  wire        ev_rto,       // retransmission timeout
    input  wire [31:0] ack,
    input  wire [31:0] snd_una,
    input  wire [31:0] snd_max,
    input  wire [31:0] mss,
    // state after it
    output reg  [31:0] cwnd_out,
    output reg  [31:0] ssthresh_out,
    output reg  [31:0] recover_out,
    output reg  [31:0] ca_acc_out,
    output reg         in_rec_out,
    output reg  [3:0]  dupacks_out,
    output reg         rexmit,       // send the segment at snd_una again
    output reg         entered       // fast recovery begins
);
    wire [31:0] acked     = ack - snd_una;
    wire [31:0] flight    = snd_max - snd_una;
    wire [31:0] half      = flight >> 1;
    wire [31:0] two_mss   = {mss[30:0], 1'b0};
    wire [31:0] reduced   = half > two_mss ? half : two_mss;
    wire [31:0] left      = snd_max - ack;
    wire [31:0] left_mss  = (left > mss ? left : mss) + mss;
    wire        full_ack  = `SEQ_GE(ack, recover);
    wire [31:0] step      = acked < mss ? acked : mss;
    wire [31:0] acc       = ca_acc + acked;
    wire [31:0] deflated  = cwnd > acked ? cwnd - acked : 32'd0;
    wire [31:0] partial   = deflated + (acked >= mss ? mss : 32'd0);
    // Nothing useful grows beyond a ring, and the sum must not wrap.
    wire        can_grow  = cwnd < 32'h0400_0000;

    always @* begin
        cwnd_out     = cwnd;
        ssthresh_out = ssthresh;
        recover_out  = recover;
        ca_acc_out   = ca_acc;
        in_rec_out   = in_rec;
        dupacks_out  = dupacks;
        rexmit       = 1'b0;
        entered      = 1'b0;
        if (ev_ack) begin
            dupacks_out = 4'd0;
            if (in_rec && full_ack) begin
                in_rec_out = 1'b0;
                cwnd_out   = left_mss < ssthresh ? left_mss : ssthresh;
                ca_acc_out = 32'd0;
            end else if (in_rec) begin
                rexmit   = 1'b1;
                cwnd_out = partial < mss ? mss : partial;
            end else if (cwnd < ssthresh) begin
                if (can_grow) cwnd_out = cwnd + step;
            end else if (acc >= cwnd) begin
                ca_acc_out = acc - cwnd;
                if (can_grow) cwnd_out = cwnd + mss;
            end else begin
                ca_acc_out = acc;
            end
        end else if (ev_dupack) begin
            if (dupacks != 4'd15) dupacks_out = dupacks + 4'd1;
            if (in_rec) begin
                if (can_grow) cwnd_out = cwnd + mss;
            end else if (dupacks == 4'd2 && `SEQ_GT(snd_una, recover)) begin
                // RFC 6582, 3.2: not for duplicates that an earlier timeout's retransmissions caused.
                entered      = 1'b1;
                rexmit       = 1'b1;
                in_rec_out   = 1'b1;
                recover_out  = snd_max;
                ssthresh_out = reduced;
                cwnd_out     = reduced + two_mss + mss;
            end
        end else if (ev_rto) begin
            ssthresh_out = reduced;
            cwnd_out     = mss;
            recover_out  = snd_max;
            in_rec_out   = 1'b0;
            dupacks_out  = 4'd0;
            ca_acc_out   = 32'd0;
        end
    end
endmodule

`default_nettype wire
