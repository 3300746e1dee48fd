// SPDX-License-Identifier: Apache-2.0
// Leaves the first slow start before the queue overflows: HyStart (RFC 9438, 4.10) by ACK train and by delay, as Linux has it.
//
// Combinational, beside every algorithm of nk_cc while ssthresh is not yet known. Its state stands in bits of cc_s that
// no algorithm needs then (nk_cc); the round is DCTCP's.
//
//  40    32 31   23 22 20 19     10 9       0
// +--------+-------+-----+---------+---------+
// |  last  | began |  n  | of this | lowest  |
// +--------+-------+-----+---------+---------+
// lowest: round trip of the connection, of this: of this round, after n samples (7: 7 or more), both in 1024 us plus one,
// 0: none; began: the round; last: its latest ACK that came close behind the one before, both in 512 us.

`default_nettype none

module nk_cc_hystart (
    // Its state.
    input  wire [40:0] hy,
    // The round: valid, and the lowest bits of SND_NXT when it began.
    input  wire        on,
    input  wire [24:0] round_end,
    // The round trip that the ACK measures, in 1024 us, and the time, in 512 us.
    input  wire        rtt_v,
    input  wire [10:0] rtt,
    input  wire [8:0]  now,
    // The flow.
    input  wire [31:0] cwnd,
    input  wire [15:0] mss,
    input  wire [31:0] snd_una,      // before the ACK
    input  wire [31:0] snd_nxt,
    input  wire [31:0] ack,
    // Slow start is over: ssthresh = cwnd. Else the state after the ACK, and its round.
    output wire        leave,
    output wire [40:0] hy_out,
    output wire [24:0] round_end_out
);
    localparam [8:0] GAP  = 9'd4;                                // of two ACKs in a train: 2 ms
    localparam [9:0] FINE = 10'd8;                               // half of less cannot be told by this clock

    wire [9:0]  lowest  = hy[9:0];
    wire [9:0]  of_this = hy[19:10];
    wire [2:0]  n       = hy[22:20];
    wire [8:0]  began   = hy[31:23];
    wire [8:0]  last    = hy[40:32];

    wire [24:0] to_end  = round_end - snd_una[24:0];
    wire [24:0] moved   = ack[24:0] - snd_una[24:0];
    wire        over    = !on || moved > to_end;

    wire [9:0]  sample  = rtt > 11'd1022 ? 10'd1023 : rtt[9:0] + 10'd1;
    wire        lower   = n == 3'd0 || sample < of_this;
    wire        lowers  = lowest == 10'd0 || sample < lowest;

    // ACKs without a gap for half a round trip: what the path holds has been acknowledged at the bottleneck's pace.
    wire [8:0]  gap     = now - last;
    wire [8:0]  length  = now - began;
    wire        close   = gap <= GAP;
    wire        train   = close && lowest >= FINE && {1'b0, length} > lowest;

    // Eight samples, the least of them an eighth above the connection's: but 4 to 16 ms.
    wire [6:0]  eighth  = lowest[9:3];
    wire [10:0] slack   = eighth < 7'd4 ? 11'd4 : eighth > 7'd16 ? 11'd16 : {4'd0, eighth};
    wire [10:0] limit   = {1'b0, lowest} + slack;
    wire        longer  = rtt_v && n == 3'd7 && {1'b0, sample} >= limit && {1'b0, of_this} >= limit;

    wire        wide    = cwnd[24:0] >= {5'd0, mss, 4'd0};       // it is not worth it in a smaller window
    wire [22:0] first   = rtt_v ? {3'd1, sample, lowers ? sample : lowest} : {13'd0, lowest};
    wire [22:0] more    = rtt_v ? {n == 3'd7 ? n : n + 3'd1, lower ? sample : of_this, lowers ? sample : lowest} : hy[22:0];

    assign leave         = wide && !over && (train || longer);
    assign hy_out        = over ? {now, now, first} : {close ? now : last, began, more};
    assign round_end_out = over ? snd_nxt[24:0] : round_end;

    wire unused = &{1'b0, cwnd[31:25], snd_una[31:25], snd_nxt[31:25], ack[31:25]};
endmodule

`default_nettype wire
